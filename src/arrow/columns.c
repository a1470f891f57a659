#include "arrow/columns.h"

#include "base/err.h"
#include "flow/plan.h"

#include <stdlib.h>
#include <string.h>

static weir_status no_memory(weir_err *err)
{
    return weir_err_set(err, WEIR_ENOMEM, 0, "arrow: out of memory");
}

/* ---- choosing ---- */

/* "e9_12242", the column of an element that no registry knows. */
static bool unknown_element(const char *name)
{
    size_t pen = name[0] == 'e' ? strspn(name + 1, "0123456789") : 0;
    const char *id = name + 1 + pen;
    size_t digits = pen && *id == '_' ? strspn(id + 1, "0123456789") : 0;
    return pen <= 10 && digits && digits <= 5 && id[1 + digits] == 0;
}

/* The column that is filled from this element, NULL: none. */
static const struct flow_column *column_from(enum flow_table table, const char *element)
{
    uint32_t n;
    size_t len = strlen(element);
    const struct flow_column *columns = flow_table_columns(table, &n);
    for (uint32_t i = 0; i < n; i++)
        for (const char *at = columns[i].sources; *at; at += *at == ',') {
            size_t name = strcspn(at, ",:"); /* "ipDiffServCodePoint:dscp" */
            if (name == len && memcmp(at, element, len) == 0)
                return &columns[i];
            at += strcspn(at, ",");
        }
    return NULL;
}

static weir_status room(struct arrow_columns *c, enum flow_table table, size_t n, weir_err *err)
{
    *c = (struct arrow_columns){.table = table};
    c->types = calloc(n + 1, sizeof *c->types);
    c->column = calloc(n + 1, sizeof *c->column);
    return c->types && c->column ? WEIR_OK : no_memory(err);
}

weir_status arrow_columns_named(struct arrow_columns *c, enum flow_table table,
                                const char *const *names, size_t n, const weir_elements *elements,
                                weir_err *err)
{
    uint32_t n_table;
    const struct flow_column *columns = flow_table_columns(table, &n_table);
    WEIR_TRY(room(c, table, n, err));
    for (size_t i = 0; i < n; i++) {
        int at = flow_table_find(table, names[i], strlen(names[i]));
        struct arrow_type t = {.type = FLOW_TYPE_OCTETS};
        const weir_element *e = at < 0 ? weir_element_by_name(elements, names[i]) : NULL;
        const struct flow_column *from = e ? column_from(table, names[i]) : NULL;
        if (from)
            return weir_err_set(err, WEIR_EFORMAT, 0, "'%.60s' is in column '%s': name that",
                                names[i], from->name);
        if (at >= 0)
            t = (struct arrow_type){NULL, (enum flow_type)columns[at].type, columns[at].list};
        else if (e && strcmp(e->name, names[i]) == 0)
            t.type = flow_extra_type(e);
        else if (!unknown_element(names[i]))
            return weir_err_set(err, WEIR_EFORMAT, 0,
                                "'%.60s' is no column: 'weir fields' lists them, and elements "
                                "without a column go by their registry name",
                                names[i]);
        for (size_t k = 0; k < i; k++)
            if (strcmp(c->types[k].name, names[i]) == 0)
                return weir_err_set(err, WEIR_EFORMAT, 0, "column '%.60s' is named twice",
                                    names[i]);
        t.name = arrow_text(names[i]);
        if (!t.name)
            return no_memory(err);
        c->types[i] = t;
        c->column[i] = at;
        c->n = i + 1;
    }
    return WEIR_OK;
}

weir_status arrow_columns_table(struct arrow_columns *c, enum flow_table table, weir_err *err)
{
    uint32_t n;
    const struct flow_column *columns = flow_table_columns(table, &n);
    WEIR_TRY(room(c, table, n, err));
    for (uint32_t i = 0; i < n; i++) {
        char *name = arrow_text(columns[i].name);
        if (!name)
            return no_memory(err);
        c->types[i] = (struct arrow_type){name, (enum flow_type)columns[i].type, columns[i].list};
        c->column[i] = (int)i;
        c->n = i + 1;
    }
    return WEIR_OK;
}

void arrow_columns_done(struct arrow_columns *c)
{
    for (size_t i = 0; i < c->n; i++) {
        char *name;
        memcpy(&name, &c->types[i].name, sizeof name);
        free(name);
    }
    free(c->types);
    free(c->column);
    *c = (struct arrow_columns){.types = NULL};
}

/* ---- taking ---- */

static bool is_binary_key(enum flow_type type)
{
    return type == FLOW_TYPE_ADDR || type == FLOW_TYPE_MAC;
}

/* Addresses stand in a batch as octets: their texts, once each. */
static weir_status key_texts(enum flow_type type, const struct flow_dict *d, arrow_memory *m,
                             struct arrow_values *out, weir_err *err)
{
    base_buf texts = {0};
    int32_t *starts = arrow_memory_alloc(m, ((size_t)d->n + 1) * sizeof *starts);
    if (!starts)
        return no_memory(err);
    for (uint32_t i = 0; i < d->n && texts.len <= INT32_MAX; i++) {
        flow_key_text(type, d->keys + d->starts[i], d->starts[i + 1] - d->starts[i], &texts);
        starts[i + 1] = (int32_t)texts.len;
    }
    bool failed = texts.failed, large = texts.len > INT32_MAX;
    if (failed || large) {
        base_buf_done(&texts);
        return failed ? no_memory(err)
                      : weir_err_set(err, WEIR_ELIMIT, 0,
                                     "arrow: texts of one column have more than 2 GiB: take "
                                     "batches of fewer rows");
    }
    if (texts.data && !arrow_memory_take(m, texts.data))
        return no_memory(err);
    out->dict_starts = starts;
    out->dict_octets = texts.data;
    return WEIR_OK;
}

static weir_status values_of(const struct flow_vec *v, arrow_memory *m, struct arrow_values *out,
                             weir_err *err)
{
    enum flow_type type = (enum flow_type)v->column->type;
    *out = (struct arrow_values){.n_valid = v->n_valid};
    if (!v->n_valid)
        return WEIR_OK;
    out->valid = v->valid;
    out->values = v->values;
    out->codes = v->codes;
    if (v->column->list) {
        if (v->starts[v->n] > INT32_MAX)
            return weir_err_set(err, WEIR_ELIMIT, 0,
                                "arrow: lists of column %.60s have more than 2^31 items: take "
                                "batches of fewer rows",
                                v->column->name);
        out->starts = (const int32_t *)v->starts;
    }
    if (!v->codes)
        return WEIR_OK;
    out->n_dict = v->dict.n;
    if (is_binary_key(type))
        return key_texts(type, &v->dict, m, out, err);
    if (v->dict.starts[v->dict.n] > INT32_MAX)
        return weir_err_set(err, WEIR_ELIMIT, 0,
                            "arrow: texts of column %.60s have more than 2 GiB: take batches of "
                            "fewer rows",
                            v->column->name);
    out->dict_starts = (const int32_t *)v->dict.starts;
    out->dict_octets = v->dict.keys;
    return WEIR_OK;
}

/* The column of b that column i of c is: the vec, or one that is null in all rows. */
static void chosen(const struct arrow_columns *c, size_t i, const flow_batch *b,
                   struct flow_vec *out)
{
    uint32_t n;
    if (c->column[i] >= 0) {
        flow_batch_vec(b, (uint32_t)c->column[i], out);
        return;
    }
    flow_table_columns(c->table, &n);
    for (uint32_t k = n; k < flow_batch_n_columns(b); k++) {
        flow_batch_vec(b, k, out);
        /* The element may stand for a list here, or have another type in this exporter's words. */
        if (strcmp(out->column->name, c->types[i].name) == 0 &&
            out->column->type == (uint8_t)c->types[i].type && !out->column->list)
            return;
    }
    *out = (struct flow_vec){.column = NULL};
}

static void free_batch(void *b)
{
    flow_batch_free(b);
}

static weir_status make(const struct arrow_columns *c, const flow_batch *b, arrow_memory *m,
                        struct arrow_type *types, struct arrow_values *values,
                        struct ArrowSchema *schema, struct ArrowArray *array, weir_err *err)
{
    size_t n = 0;
    for (size_t i = 0; i < (c ? c->n : flow_batch_n_columns(b)); i++) {
        struct flow_vec v;
        if (c)
            chosen(c, i, b, &v);
        else
            flow_batch_vec(b, (uint32_t)i, &v);
        if (c)
            types[n] = c->types[i];
        else if (v.n_valid)
            types[n] =
                (struct arrow_type){v.column->name, (enum flow_type)v.column->type, v.column->list};
        else
            continue;
        if (v.column)
            WEIR_TRY(values_of(&v, m, &values[n], err));
        n++;
    }
    WEIR_TRY(arrow_array_make(types, values, n, flow_batch_rows(b), m, array, err));
    weir_status s = schema ? arrow_schema_make(types, n, schema, err) : WEIR_OK;
    if (s != WEIR_OK)
        array->release(array);
    return s;
}

weir_status arrow_columns_take(const struct arrow_columns *c, flow_batch *b,
                               struct ArrowSchema *schema, struct ArrowArray *array, weir_err *err)
{
    size_t n = c ? c->n : flow_batch_n_columns(b);
    arrow_memory *m = arrow_memory_new();
    struct arrow_type *types = calloc(n + 1, sizeof *types);
    struct arrow_values *values = calloc(n + 1, sizeof *values);
    weir_status s = WEIR_OK;
    if (!m || !types || !values || !flow_batch_settle(b))
        s = no_memory(err);
    if (s == WEIR_OK)
        s = make(c, b, m, types, values, schema, array, err);
    if (s == WEIR_OK)
        arrow_memory_keep(m, b, free_batch); /* it goes with the last array that is released */
    free(types);
    free(values);
    arrow_memory_drop(m);
    return s;
}
