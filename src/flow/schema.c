#include "flow/schema.h"

#include "base/err.h"
#include "flow/flow.h"

#include <string.h>

#include "column_table.inc"
#include "source_table.inc"

_Static_assert(ARRAY_LEN(flow_rows) == FLOW_N_COLUMNS, "one id a column");
_Static_assert(ARRAY_LEN(option_rows) == FLOW_N_OPTION_COLUMNS, "one id a column");

static const struct {
    const char *text;
    size_t octets;
} types[FLOW_N_TYPES] = {
#define X(name, text, octets) {text, octets},
    FLOW_TYPE_MAP(X)
#undef X
};

const char *flow_type_text(enum flow_type t)
{
    return (unsigned)t < FLOW_N_TYPES ? types[t].text : "unknown";
}

size_t flow_type_octets(enum flow_type t)
{
    return (unsigned)t < FLOW_N_TYPES ? types[t].octets : 0;
}

const struct flow_column *flow_columns(void)
{
    return flow_rows;
}

const struct flow_column *flow_option_columns(void)
{
    return option_rows;
}

int flow_column_find(const char *name, size_t len)
{
    for (int i = 0; i < (int)FLOW_N_COLUMNS; i++)
        if (strlen(flow_rows[i].name) == len && memcmp(flow_rows[i].name, name, len) == 0)
            return i;
    return -1;
}

const struct flow_source *flow_source_find(enum flow_table table, bool v9, uint32_t pen,
                                           uint16_t id)
{
    const struct flow_source *rows = table == FLOW_TABLE_FLOWS ? flow_sources : option_sources;
    size_t low = 0,
           high = table == FLOW_TABLE_FLOWS ? ARRAY_LEN(flow_sources) : ARRAY_LEN(option_sources);
    while (low < high) {
        size_t mid = (low + high) / 2;
        const struct flow_source *s = &rows[mid];
        bool below = s->v9 != v9 ? s->v9 < v9 : s->pen != pen ? s->pen < pen : s->id < id;
        if (below)
            low = mid + 1;
        else
            high = mid;
    }
    size_t n = table == FLOW_TABLE_FLOWS ? ARRAY_LEN(flow_sources) : ARRAY_LEN(option_sources);
    const struct flow_source *s = &rows[low];
    return low < n && s->v9 == v9 && s->pen == pen && s->id == id ? s : NULL;
}
