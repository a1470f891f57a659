#include "archive/columns.h"

#include "archive/layout.h"
#include "base/text.h"

#include <stdlib.h>
#include <strings.h>
#include <xxhash.h>

static const struct {
    uint8_t type, logical;
    bool is_unsigned;
} forms[FLOW_N_TYPES] = {
    [FLOW_TYPE_BOOL] = {PARQUET_BOOLEAN, PARQUET_L_NONE, false},
    [FLOW_TYPE_U8] = {PARQUET_INT32, PARQUET_L_UINT8, true},
    [FLOW_TYPE_U16] = {PARQUET_INT32, PARQUET_L_UINT16, true},
    [FLOW_TYPE_U32] = {PARQUET_INT32, PARQUET_L_UINT32, true},
    [FLOW_TYPE_U64] = {PARQUET_INT64, PARQUET_L_UINT64, true},
    [FLOW_TYPE_S8] = {PARQUET_INT32, PARQUET_L_INT8, false},
    [FLOW_TYPE_S16] = {PARQUET_INT32, PARQUET_L_INT16, false},
    [FLOW_TYPE_S32] = {PARQUET_INT32, PARQUET_L_INT32, false},
    [FLOW_TYPE_S64] = {PARQUET_INT64, PARQUET_L_INT64, false},
    [FLOW_TYPE_F64] = {PARQUET_DOUBLE, PARQUET_L_NONE, false},
    [FLOW_TYPE_TIME] = {PARQUET_INT64, PARQUET_L_TIMESTAMP_US, false},
    [FLOW_TYPE_TIME_NS] = {PARQUET_INT64, PARQUET_L_TIMESTAMP_NS, false},
    [FLOW_TYPE_ADDR] = {PARQUET_BYTE_ARRAY, PARQUET_L_STRING, false},
    [FLOW_TYPE_MAC] = {PARQUET_BYTE_ARRAY, PARQUET_L_STRING, false},
    [FLOW_TYPE_TEXT] = {PARQUET_BYTE_ARRAY, PARQUET_L_STRING, false},
    [FLOW_TYPE_OCTETS] = {PARQUET_BYTE_ARRAY, PARQUET_L_NONE, false},
    [FLOW_TYPE_JSON] = {PARQUET_BYTE_ARRAY, PARQUET_L_JSON, false},
};

/* --- columns --------------------------------------------------------------------------------------- */

void archive_columns_cut(struct archive_columns *c, size_t n)
{
    while (c->n > n)
        free(c->items[--c->n].name);
}

void archive_columns_done(struct archive_columns *c)
{
    archive_columns_cut(c, 0);
    free(c->items);
    *c = (struct archive_columns){0};
}

weir_status archive_columns_add(struct archive_columns *c, const char *name, size_t len,
                                enum flow_type type, bool list, weir_err *err)
{
    if (c->n == ARCHIVE_MAX_COLUMNS)
        return weir_err_set(err, WEIR_ELIMIT, 0, "a file has room for %d columns",
                            ARCHIVE_MAX_COLUMNS);
    if (c->n == c->cap) {
        size_t cap = c->cap ? 2 * c->cap : 128;
        struct archive_column *items = realloc(c->items, cap * sizeof *items);
        if (!items)
            return archive_no_memory(err);
        c->items = items;
        c->cap = cap;
    }
    struct archive_column *to = &c->items[c->n];
    *to = (struct archive_column){strndup(name, len), type, list};
    if (!to->name)
        return archive_no_memory(err);
    c->n++;
    return WEIR_OK;
}

size_t archive_columns_find(const struct archive_columns *c, const char *name)
{
    for (size_t i = 0; i < c->n; i++) {
        if (strcasecmp(c->items[i].name, name) == 0)
            return i;
    }
    return SIZE_MAX;
}

weir_status archive_columns_table(struct archive_columns *c, enum flow_table table, weir_err *err)
{
    uint32_t n;
    const struct flow_column *columns = flow_table_columns(table, &n);
    for (size_t i = 0; i < n; i++)
        WEIR_TRY(archive_columns_add(c, columns[i].name, strlen(columns[i].name),
                                     (enum flow_type)columns[i].type, columns[i].list, err));
    return WEIR_OK;
}

/* Where a batch's column stands; the columns of a table have the same place in both nearly always. */
static size_t place(const struct archive_columns *c, uint32_t i, const char *name)
{
    return i < c->n && strcmp(c->items[i].name, name) == 0 ? i : archive_columns_find(c, name);
}

static bool same(const struct archive_column *a, const struct flow_column *b)
{
    return a->type == (enum flow_type)b->type && a->list == b->list &&
           strcmp(a->name, b->name) == 0;
}

bool archive_columns_fit(const struct archive_columns *c, const flow_batch *b)
{
    size_t n_new = 0;
    for (uint32_t i = 0; i < flow_batch_n_columns(b); i++) {
        struct flow_vec v;
        flow_batch_vec(b, i, &v);
        size_t at = place(c, i, v.column->name);
        if (at == SIZE_MAX)
            n_new++;
        else if (!same(&c->items[at], v.column))
            return false;
    }
    uint32_t n_table;
    (void)flow_table_columns(flow_batch_table(b), &n_table);
    return n_new == 0 || c->n + n_new <= n_table + FLOW_MAX_EXTRA;
}

weir_status archive_columns_take(struct archive_columns *c, const flow_batch *b, weir_err *err)
{
    size_t before = c->n;
    for (uint32_t i = 0; i < flow_batch_n_columns(b); i++) {
        struct flow_vec v;
        flow_batch_vec(b, i, &v);
        size_t at = place(c, i, v.column->name);
        if (at != SIZE_MAX && same(&c->items[at], v.column))
            continue;
        weir_status s =
            at != SIZE_MAX
                ? weir_err_set(err, WEIR_EFORMAT, 0,
                               "column %s has another type or case in this file", v.column->name)
                : archive_columns_add(c, v.column->name, strlen(v.column->name),
                                      (enum flow_type)v.column->type, v.column->list, err);
        if (s != WEIR_OK) {
            archive_columns_cut(c, before);
            return s;
        }
    }
    return WEIR_OK;
}

struct parquet_column archive_parquet_column(const struct archive_column *c)
{
    bool time = c->type == FLOW_TYPE_TIME || c->type == FLOW_TYPE_TIME_NS;
    return (struct parquet_column){.name = c->name,
                                   .type = forms[c->type].type,
                                   .logical = forms[c->type].logical,
                                   .optional = true,
                                   .list = c->list,
                                   .utc = time,
                                   .unsigned_order = forms[c->type].is_unsigned};
}

struct parquet_column *archive_parquet_columns(const struct archive_columns *c, size_t from)
{
    struct parquet_column *out = calloc(c->n - from + 1, sizeof *out);
    for (size_t i = from; out && i < c->n; i++)
        out[i - from] = archive_parquet_column(&c->items[i]);
    return out;
}

/* --- rows ------------------------------------------------------------------------------------------ */

void archive_rows_done(struct archive_rows *r)
{
    for (size_t i = 0; i < r->n_blocks; i++)
        free(r->blocks[i].at);
    free(r->blocks);
    free(r->data);
    *r = (struct archive_rows){0};
}

/* Memory for as long as r is not made again, with anything in it; NULL: out of memory. Batches that follow one another need
 * much the same blocks in the same order. */
static void *room(struct archive_rows *r, size_t n, size_t size)
{
    if (n > SIZE_MAX / size)
        return NULL;
    if (r->n_used == r->n_blocks) {
        size_t more = r->n_blocks ? 2 * r->n_blocks : 8;
        struct archive_block *blocks = realloc(r->blocks, more * sizeof *blocks);
        if (!blocks)
            return NULL;
        memset(blocks + r->n_blocks, 0, (more - r->n_blocks) * sizeof *blocks);
        r->blocks = blocks;
        r->n_blocks = more;
    }
    struct archive_block *b = &r->blocks[r->n_used];
    size_t octets = n ? n * size : 1;
    if (octets > b->octets || octets < b->octets / 4) {
        free(b->at);
        octets += octets / 8; /* the next batch may need a little more */
        b->at = malloc(octets);
        b->octets = b->at ? octets : 0;
    }
    r->n_used += b->at != NULL;
    return b->at;
}

/* The same, zeroes. */
static void *make(struct archive_rows *r, size_t n, size_t size)
{
    void *p = room(r, n, size);
    return p ? memset(p, 0, n * size) : NULL;
}

/* have values of `size` octets, in an array of want, the rest zeroes. */
static const void *longer(struct archive_rows *r, const void *values, size_t have, size_t want,
                          size_t size)
{
    void *p = make(r, want, size);
    if (p && have)
        memcpy(p, values, have * size);
    return p;
}

/* A column that ends before the batch does: null rows behind it. */
static bool lengthen(struct archive_rows *r, struct parquet_data *d, size_t have, size_t rows,
                     size_t octets)
{
    size_t words = (rows + 63) / 64;
    uint64_t *valid = make(r, words, sizeof *valid);
    if (!valid)
        return false;
    if (d->valid) {
        memcpy(valid, d->valid, (have + 63) / 64 * sizeof *valid);
    } else {
        memset(valid, 0xff, have / 64 * sizeof *valid);
        if (have % 64)
            valid[have / 64] = UINT64_MAX;
    }
    if (have % 64)
        valid[have / 64] &= (UINT64_C(1) << have % 64) - 1;
    d->valid = valid;
    if (d->starts) {
        uint32_t *starts = make(r, rows + 1, sizeof *starts);
        if (!starts)
            return false;
        memcpy(starts, d->starts, (have + 1) * sizeof *starts);
        for (size_t i = have + 1; i <= rows; i++)
            starts[i] = starts[have];
        d->starts = starts;
        return true;
    }
    if (d->codes)
        return (d->codes = longer(r, d->codes, have, rows, sizeof *d->codes)) != NULL;
    return (d->values = longer(r, d->values, have, rows, octets)) != NULL;
}

/* Two different keys have one text: an IPv4 address and the same mapped into IPv6, or a key of an odd length. The
 * format wants entries that differ, so codes of later ones become that of the first. */
static bool merge_equal(struct archive_rows *r, struct parquet_data *d, size_t n_codes)
{
    size_t slots = 64;
    while (slots < 2 * (size_t)d->n_dict)
        slots *= 2;
    uint32_t *table = make(r, slots, sizeof *table); /* entry + 1 */
    uint32_t *to = make(r, d->n_dict, sizeof *to);
    struct parquet_bytes *dict = make(r, d->n_dict, sizeof *dict);
    uint32_t *codes = make(r, n_codes, sizeof *codes);
    if (!table || !to || !dict || !codes)
        return false;
    uint32_t n = 0;
    for (uint32_t i = 0; i < d->n_dict; i++) {
        struct parquet_bytes e = d->dict[i];
        size_t at = XXH3_64bits(e.data, e.len) & (slots - 1);
        while (table[at] && (dict[table[at] - 1].len != e.len ||
                             memcmp(dict[table[at] - 1].data, e.data, e.len) != 0))
            at = (at + 1) & (slots - 1);
        if (!table[at]) {
            dict[n] = e;
            table[at] = ++n;
        }
        to[i] = table[at] - 1;
    }
    for (size_t i = 0; i < n_codes; i++)
        codes[i] = d->codes[i] < d->n_dict ? to[d->codes[i]] : 0;
    d->codes = codes;
    d->dict = dict;
    d->n_dict = n;
    return true;
}

static bool odd_address(const uint8_t *key, uint32_t len)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    return len == 16 ? memcmp(key, mapped, sizeof mapped) == 0 : len != 4;
}

/* Octets that the text of a key takes at most. */
static size_t most_text(enum flow_type type, uint32_t len)
{
    if (type == FLOW_TYPE_MAC)
        return len == 6 ? BASE_MAC_TEXT : len;
    return len == 4 ? BASE_IPV4_TEXT : len == 16 ? BASE_IPV6_TEXT : len;
}

/* What flow_key_text gives for an address or MAC, to memory that has room. Returns its length. */
static uint32_t put_text(enum flow_type type, const uint8_t *key, uint32_t len, char *to)
{
    if (type == FLOW_TYPE_MAC && len == 6)
        return (uint32_t)base_mac_text(to, key);
    if (type == FLOW_TYPE_ADDR && len == 4)
        return (uint32_t)base_ipv4_text(to, key);
    if (type == FLOW_TYPE_ADDR && len == 16)
        return (uint32_t)base_ipv6_text(to, key);
    if (len)
        memcpy(to, key, len);
    return len;
}

/* The dictionary of v as files have it. */
static bool make_dict(struct archive_rows *r, const struct flow_vec *v, size_t n_codes,
                      struct parquet_data *d)
{
    enum flow_type type = (enum flow_type)v->column->type;
    bool as_text = type == FLOW_TYPE_ADDR || type == FLOW_TYPE_MAC, odd = false;
    uint32_t n = v->dict.n;
    const uint32_t *starts = v->dict.starts;
    struct parquet_bytes *dict = room(r, n, sizeof *dict);
    size_t octets = 0;
    for (uint32_t i = 0; as_text && i < n; i++)
        octets += most_text(type, starts[i + 1] - starts[i]);
    char *text = as_text ? room(r, octets, 1) : NULL;
    if (!dict || (as_text && !text))
        return false;
    for (uint32_t i = 0; i < n; i++) {
        const uint8_t *key = v->dict.keys + starts[i];
        uint32_t len = starts[i + 1] - starts[i];
        if (!as_text) {
            dict[i] = (struct parquet_bytes){key, len};
            continue;
        }
        uint32_t text_len = put_text(type, key, len, text);
        dict[i] = (struct parquet_bytes){(const uint8_t *)text, text_len};
        text += text_len;
        odd |= type == FLOW_TYPE_ADDR ? odd_address(key, len) : len != 6;
    }
    d->dict = dict;
    d->n_dict = n;
    return !odd || merge_equal(r, d, n_codes);
}

static bool make_column(struct archive_rows *r, const struct flow_vec *v, size_t rows,
                        struct parquet_data *d)
{
    *d = (struct parquet_data){0};
    if (v->n == 0 || v->n_valid == 0)
        return true;
    size_t octets = flow_type_octets((enum flow_type)v->column->type);
    size_t n_items = v->starts ? v->starts[v->n] : v->n;
    *d = (struct parquet_data){
        .n = rows, .valid = v->valid, .starts = v->starts, .width = (uint8_t)octets};
    if (octets) {
        d->values = v->values;
        if (!d->values) /* lists without items */
            d->values = make(r, 1, octets);
    } else {
        d->codes = v->codes ? v->codes : make(r, 1, sizeof *d->codes);
        if (!d->codes || !make_dict(r, v, n_items, d))
            return false;
    }
    if (octets && !d->values)
        return false;
    return v->n >= rows || lengthen(r, d, v->n, rows, octets);
}

weir_status archive_rows_make(struct archive_rows *r, const struct archive_columns *c,
                              const flow_batch *b, weir_err *err)
{
    size_t rows = flow_batch_rows(b);
    free(r->data);
    r->n_used = 0;
    r->data = calloc(c->n + 1, sizeof *r->data);
    if (!r->data)
        return archive_no_memory(err);
    for (uint32_t i = 0; i < flow_batch_n_columns(b); i++) {
        struct flow_vec v;
        flow_batch_vec(b, i, &v);
        if (v.n_valid == 0)
            continue;
        size_t at = place(c, i, v.column->name);
        if (at == SIZE_MAX) {
            archive_rows_done(r);
            return weir_err_set(err, WEIR_EINVAL, 0, "the file has no column %s", v.column->name);
        }
        if (!make_column(r, &v, rows, &r->data[at])) {
            archive_rows_done(r);
            return archive_no_memory(err);
        }
    }
    return WEIR_OK;
}

void archive_received(const flow_batch *b, uint32_t from, int64_t *min, int64_t *max)
{
    struct flow_vec v = {0};
    flow_batch_vec(b, ARCHIVE_TIME_COLUMN, &v);
    const int64_t *t = v.values;
    *min = 0;
    *max = -1;
    for (uint32_t i = from; t && i < v.n; i++) {
        if (v.valid && !parquet_bit(v.valid, i))
            continue;
        if (*max < *min) {
            *min = *max = t[i];
            continue;
        }
        *min = t[i] < *min ? t[i] : *min;
        *max = t[i] > *max ? t[i] : *max;
    }
}
