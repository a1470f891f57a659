#include "ship/encode_in.h"

#include <stdlib.h>

weir_status ship_no_memory(weir_err *err)
{
    return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory for messages");
}

/* --- formats ---------------------------------------------------------------------------------- */

typedef const struct ship_encoder_kind *kind_fn(void);

static kind_fn *const kinds[] = {ship_flowmessage_kind, ship_goflow2_kind, ship_json_kind,
                                 ship_ecs_kind};

const struct ship_format *ship_formats(void)
{
    static const struct ship_format formats[] = {
        {"flowmessage", "goflow2's protobuf FlowMessage", false},
        {"goflow2-json", "goflow2's JSON of the same message", true},
        {"json", "every column that has a value, as `weir query -o ndjson` writes it", true},
        {"ecs", "Elastic Common Schema", true},
        {NULL, NULL, false},
    };
    return formats;
}

static const struct ship_encoder_kind *kind_of(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds) && name; i++)
        if (strcmp(ship_formats()[i].name, name) == 0)
            return kinds[i]();
    return NULL;
}

/* --- fields ----------------------------------------------------------------------------------- */

int ship_encoder_field(ship_encoder *e, const struct query_field *f)
{
    for (size_t i = 0; i < e->n_fields; i++)
        if (query_field_same(&e->fields[i], f))
            return (int)i;
    if (e->n_fields == e->cap_fields) {
        size_t cap = e->cap_fields ? 2 * e->cap_fields : 64;
        struct query_field *more = cap <= INT16_MAX ? realloc(e->fields, cap * sizeof *more) : NULL;
        if (!more)
            return -1;
        e->fields = more;
        e->cap_fields = cap;
    }
    e->fields[e->n_fields] = *f;
    return (int)e->n_fields++;
}

int ship_encoder_column(ship_encoder *e, enum flow_column_id id)
{
    struct query_field f = query_field_column(id);
    return ship_encoder_field(e, &f);
}

/* The caller's extra columns may go before the encoder does. */
static bool copy_extras(ship_encoder *e, const struct ship_encoder_options *o)
{
    size_t octets = 1;
    for (size_t i = 0; i < o->n_extras; i++)
        octets += strlen(o->extras[i].name) + 1;
    e->names = malloc(octets);
    e->extras = calloc(o->n_extras + 1, sizeof *e->extras);
    if (!e->names || !e->extras)
        return false;
    char *at = e->names;
    for (size_t i = 0; i < o->n_extras; i++) {
        size_t len = strlen(o->extras[i].name) + 1;
        e->extras[i] = o->extras[i];
        e->extras[i].name = memcpy(at, o->extras[i].name, len);
        at += len;
    }
    e->n_extras = o->n_extras;
    return true;
}

/* --- encoders --------------------------------------------------------------------------------- */

weir_status ship_encoder_new(const struct ship_encoder_options *o, ship_encoder **out,
                             weir_err *err)
{
    *out = NULL;
    const struct ship_encoder_kind *kind = kind_of(o->format);
    if (!kind)
        return weir_err_set(err, WEIR_EINVAL, 0,
                            "%s: no such format: flowmessage, goflow2-json, json or ecs",
                            o->format ? o->format : "");
    ship_encoder *e = calloc(1, sizeof *e);
    if (!e)
        return ship_no_memory(err);
    e->kind = kind;
    e->delimited = o->delimited;
    weir_status s = copy_extras(e, o) ? kind->open(e, o, err) : ship_no_memory(err);
    if (s != WEIR_OK) {
        ship_encoder_free(e);
        return s;
    }
    *out = e;
    return WEIR_OK;
}

void ship_encoder_free(ship_encoder *e)
{
    if (!e)
        return;
    e->kind->free(e);
    free(e->fields);
    free(e->extras);
    free(e->names);
    free(e);
}

void ship_encoder_fields(const ship_encoder *e, const struct query_field **fields, size_t *n)
{
    *fields = e->borrowed ? e->borrowed : e->fields;
    *n = e->n_fields;
}

weir_status ship_encoder_rows(ship_encoder *e, const struct query_block *b, size_t from, size_t to,
                              base_buf *out, size_t *ends, weir_err *err)
{
    if (to > b->n || from > to)
        return weir_err_set(err, WEIR_EINVAL, 0, "rows %zu to %zu of a block of %zu", from, to,
                            b->n);
    if (from == to)
        return WEIR_OK;
    return e->kind->rows(e, b, from, to, out, ends, err);
}
