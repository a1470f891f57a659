#include "flow/schema.h"

#include "base/err.h"
#include "flow/flow.h"

#include <string.h>

#include "column_table.inc"
#include "source_table.inc"

_Static_assert(ARRAY_LEN(flow_rows) == FLOW_N_COLUMNS, "one id a column");
_Static_assert(ARRAY_LEN(option_rows) == FLOW_N_OPTION_COLUMNS, "one id a column");
_Static_assert(ARRAY_LEN(ledger_rows) == FLOW_N_LEDGER_COLUMNS, "one id a column");

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

const struct flow_column *flow_ledger_columns(void)
{
    return ledger_rows;
}

const struct flow_column *flow_table_columns(enum flow_table table, uint32_t *n)
{
    static const struct {
        const struct flow_column *rows;
        uint32_t n;
    } tables[FLOW_N_TABLES] = {
        [FLOW_TABLE_FLOWS] = {flow_rows, FLOW_N_COLUMNS},
        [FLOW_TABLE_OPTIONS] = {option_rows, FLOW_N_OPTION_COLUMNS},
        [FLOW_TABLE_LEDGER] = {ledger_rows, FLOW_N_LEDGER_COLUMNS},
    };
    *n = tables[table].n;
    return tables[table].rows;
}

int flow_table_find(enum flow_table table, const char *name, size_t len)
{
    uint32_t n;
    const struct flow_column *rows = flow_table_columns(table, &n);
    for (uint32_t i = 0; i < n; i++)
        if (strlen(rows[i].name) == len && memcmp(rows[i].name, name, len) == 0)
            return (int)i;
    return -1;
}

int flow_column_find(const char *name, size_t len)
{
    return flow_table_find(FLOW_TABLE_FLOWS, name, len);
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
