#include "query/field.h"

#include "query/words.h"

#include <string.h>

static const struct query_derived_row derived_rows[] = {
#define X(id, name, kind, unit, help) {name, unit, help, QUERY_##kind},
    QUERY_DERIVED_MAP(X)
#undef X
};

const struct query_derived_row *query_derived_rows(void)
{
    return derived_rows;
}

static uint8_t kind_of(const struct flow_column *c)
{
    switch ((enum flow_type)c->type) {
    case FLOW_TYPE_BOOL:
        return QUERY_BOOL;
    case FLOW_TYPE_U8:
    case FLOW_TYPE_U16:
    case FLOW_TYPE_U32:
    case FLOW_TYPE_U64:
        return c->list ? QUERY_U64_LIST : QUERY_U64;
    case FLOW_TYPE_S8:
    case FLOW_TYPE_S16:
    case FLOW_TYPE_S32:
    case FLOW_TYPE_S64:
        return QUERY_S64;
    case FLOW_TYPE_F64:
        return QUERY_F64;
    case FLOW_TYPE_TIME:
    case FLOW_TYPE_TIME_NS:
        return QUERY_TIME;
    case FLOW_TYPE_OCTETS:
        return QUERY_OCTETS;
    case FLOW_TYPE_ADDR:
    case FLOW_TYPE_MAC:
    case FLOW_TYPE_TEXT:
    case FLOW_TYPE_JSON:
    case FLOW_N_TYPES:
        break;
    }
    return c->list ? QUERY_TEXT_LIST : QUERY_TEXT;
}

struct query_field query_field_column(enum flow_column_id id)
{
    const struct flow_column *c = &flow_columns()[id];
    return (struct query_field){.what = QUERY_F_COLUMN,
                                .id = (int)id,
                                .name = c->name,
                                .kind = kind_of(c),
                                .bits4 = 255,
                                .bits6 = 255};
}

struct query_field query_field_derived(enum query_derived id)
{
    bool counted = id == QUERY_D_MPLS_LABEL || id == QUERY_D_MPLS_EXP_N ||
                   id == QUERY_D_ACL_IN_ID || id == QUERY_D_ACL_OUT_ID;
    return (struct query_field){.what = QUERY_F_DERIVED,
                                .id = (int)id,
                                .name = derived_rows[id].name,
                                .kind = derived_rows[id].kind,
                                .n = counted ? 1 : 0,
                                .bits4 = 255,
                                .bits6 = 255};
}

struct query_field query_field_named(const char *name)
{
    struct query_field f;
    size_t len = strlen(name);
    int column = flow_column_find(name, len);
    if (column >= 0)
        return query_field_column((enum flow_column_id)column);
    for (int i = 0; i < QUERY_N_DERIVED; i++)
        if (strcmp(derived_rows[i].name, name) == 0)
            return query_field_derived((enum query_derived)i);
    if (query_word_field((struct query_word){name, len}, &f))
        return f;
    return (struct query_field){.what = QUERY_F_EXTRA,
                                .id = -1,
                                .name = name,
                                .kind = QUERY_UNKNOWN,
                                .bits4 = 255,
                                .bits6 = 255};
}

bool query_field_same(const struct query_field *a, const struct query_field *b)
{
    if (a->what != b->what || a->id != b->id)
        return false;
    switch (a->what) {
    case QUERY_F_COLUMN:
        return true;
    case QUERY_F_EXTRA:
        return strcmp(a->name, b->name) == 0;
    case QUERY_F_DERIVED:
        break;
    }
    return a->bits4 == b->bits4 && a->bits6 == b->bits6 && a->n == b->n && a->span_us == b->span_us;
}

bool query_field_scales(const struct query_field *f)
{
    static const bool columns[FLOW_N_COLUMNS] = {
        [FLOW_bytes] = true,       [FLOW_packets] = true,   [FLOW_bytes_out] = true,
        [FLOW_packets_out] = true, [FLOW_bytes_rev] = true, [FLOW_packets_rev] = true};
    /* Not the octets per packet: both sides of the fraction scale. */
    static const bool derived[QUERY_N_DERIVED] = {
        [QUERY_D_PPS] = true,       [QUERY_D_BPS] = true,         [QUERY_D_OUT_BYTES] = true,
        [QUERY_D_ALL_BYTES] = true, [QUERY_D_OUT_PACKETS] = true, [QUERY_D_ALL_PACKETS] = true,
        [QUERY_D_OUT_PPS] = true,   [QUERY_D_OUT_BPS] = true,     [QUERY_D_ALL_PPS] = true,
        [QUERY_D_ALL_BPS] = true};
    return f->what == QUERY_F_COLUMN ? columns[f->id]
                                     : f->what == QUERY_F_DERIVED && derived[f->id];
}
