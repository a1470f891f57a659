#include "archive/gather.h"

#include "archive/layout.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum {
    BLOCK = 1 << 20, /* octets of dictionary entries allocated at a time */
    NOT_YET = -1
};

/* Different strings in order of appearance. */
struct dict {
    struct parquet_bytes *items;
    uint32_t n, cap;
    uint32_t *slots; /* item + 1; a power of two of them */
    size_t n_slots;
    char **blocks; /* the octets, which never move */
    size_t n_blocks, block_used, block_size, octets;
};

struct gathered {
    bool strings;
    uint8_t width; /* octets of a value in memory; of strings 4: codes */
    size_t n;      /* rows that have a place; those behind are null */
    size_t n_valid;
    uint64_t *valid; /* max_rows bits, made with the first row that has a value */
    uint8_t *values; /* or codes */
    size_t n_items, cap_items;
    uint32_t *starts; /* of lists */
    struct dict dict;
    /* the row group that is being read */
    parquet_cursor *cursor;
    const void *from_dict;
    uint32_t n_from_dict;
    int64_t *remap; /* of each entry there: code here, or NOT_YET */
};

struct archive_gather {
    const struct parquet_column *columns;
    size_t n, max_rows, rows;
    struct gathered *all;
    struct parquet_data *data;
    size_t group_left; /* rows of the open row group */
};

/* --- dictionaries ---------------------------------------------------------------------------------- */

static void dict_clear(struct dict *d)
{
    for (size_t i = 0; i < d->n_blocks; i++)
        free(d->blocks[i]);
    d->n = 0;
    d->n_blocks = d->block_used = d->block_size = d->octets = 0;
    if (d->slots)
        memset(d->slots, 0, d->n_slots * sizeof *d->slots);
}

static void dict_done(struct dict *d)
{
    dict_clear(d);
    free(d->items);
    free(d->slots);
    free(d->blocks);
}

static uint8_t *dict_octets(struct dict *d, const uint8_t *p, size_t len)
{
    if (d->block_size - d->block_used < len) {
        if ((d->n_blocks & (d->n_blocks - 1)) == 0) {
            char **blocks =
                realloc(d->blocks, (d->n_blocks ? 2 * d->n_blocks : 1) * sizeof *blocks);
            if (!blocks)
                return NULL;
            d->blocks = blocks;
        }
        size_t size = d->octets < BLOCK / 16 && len < BLOCK / 16 ? BLOCK / 16
                      : len > BLOCK                              ? len
                                                                 : BLOCK;
        char *block = malloc(size);
        if (!block)
            return NULL;
        d->blocks[d->n_blocks++] = block;
        d->block_size = size;
        d->block_used = 0;
        d->octets += size;
    }
    char *to = d->blocks[d->n_blocks - 1] + d->block_used;
    if (len)
        memcpy(to, p, len);
    d->block_used += len;
    return (uint8_t *)to;
}

static bool dict_grow(struct dict *d)
{
    size_t n_slots = d->n_slots ? 2 * d->n_slots : 256;
    uint32_t cap = (uint32_t)(n_slots / 2);
    struct parquet_bytes *items = realloc(d->items, cap * sizeof *items);
    if (!items)
        return false;
    d->items = items;
    d->cap = cap;
    uint32_t *slots = calloc(n_slots, sizeof *slots);
    if (!slots)
        return false;
    for (uint32_t i = 0; i < d->n; i++) {
        size_t at = XXH3_64bits(items[i].data, items[i].len) & (n_slots - 1);
        while (slots[at])
            at = (at + 1) & (n_slots - 1);
        slots[at] = i + 1;
    }
    free(d->slots);
    d->slots = slots;
    d->n_slots = n_slots;
    return true;
}

/* The code of a string; negative: out of memory. */
static int64_t dict_put(struct dict *d, struct parquet_bytes s)
{
    if (d->n >= d->n_slots / 2 && !dict_grow(d))
        return NOT_YET;
    size_t at = XXH3_64bits(s.data, s.len) & (d->n_slots - 1);
    for (; d->slots[at]; at = (at + 1) & (d->n_slots - 1)) {
        struct parquet_bytes e = d->items[d->slots[at] - 1];
        if (e.len == s.len && (s.len == 0 || memcmp(e.data, s.data, s.len) == 0))
            return d->slots[at] - 1;
    }
    uint8_t *octets = dict_octets(d, s.data, s.len);
    if (!octets)
        return NOT_YET;
    d->items[d->n] = (struct parquet_bytes){octets, s.len};
    d->slots[at] = ++d->n;
    return d->n - 1;
}

/* --- columns --------------------------------------------------------------------------------------- */

bool archive_gather_can(const struct parquet_column *c)
{
    return c->type != PARQUET_INT96 && c->type != PARQUET_FIXED && !c->item_optional;
}

static uint8_t width_of(const struct parquet_column *c)
{
    switch ((enum parquet_type)c->type) {
    case PARQUET_BOOLEAN:
        return 1;
    case PARQUET_INT32:
        return c->logical == PARQUET_L_UINT8 || c->logical == PARQUET_L_INT8     ? 1
               : c->logical == PARQUET_L_UINT16 || c->logical == PARQUET_L_INT16 ? 2
                                                                                 : 4;
    case PARQUET_FLOAT:
    case PARQUET_BYTE_ARRAY:
        return 4;
    case PARQUET_INT64:
    case PARQUET_DOUBLE:
    case PARQUET_INT96:
    case PARQUET_FIXED:
        break;
    }
    return 8;
}

archive_gather *archive_gather_new(const struct parquet_column *columns, size_t n, size_t max_rows)
{
    archive_gather *g = calloc(1, sizeof *g);
    if (!g)
        return NULL;
    *g = (archive_gather){.columns = columns,
                          .n = n,
                          .max_rows = max_rows,
                          .all = calloc(n + 1, sizeof *g->all),
                          .data = calloc(n + 1, sizeof *g->data)};
    if (!g->all || !g->data) {
        archive_gather_free(g);
        return NULL;
    }
    for (size_t i = 0; i < n; i++) {
        g->all[i].strings = columns[i].type == PARQUET_BYTE_ARRAY;
        g->all[i].width = width_of(&columns[i]);
    }
    return g;
}

static void column_reset(struct gathered *c)
{
    free(c->valid);
    free(c->values);
    free(c->starts);
    c->valid = NULL;
    c->values = NULL;
    c->starts = NULL;
    c->n = c->n_valid = c->n_items = c->cap_items = 0;
    dict_clear(&c->dict);
    for (uint32_t i = 0; c->remap && i < c->n_from_dict; i++)
        c->remap[i] = NOT_YET;
}

static void column_close(struct gathered *c)
{
    parquet_cursor_free(c->cursor);
    free(c->remap);
    c->cursor = NULL;
    c->remap = NULL;
    c->from_dict = NULL;
    c->n_from_dict = 0;
}

void archive_gather_free(archive_gather *g)
{
    if (!g)
        return;
    for (size_t i = 0; g->all && i < g->n; i++) {
        column_close(&g->all[i]);
        column_reset(&g->all[i]);
        dict_done(&g->all[i].dict);
    }
    free(g->all);
    free(g->data);
    free(g);
}

void archive_gather_reset(archive_gather *g)
{
    for (size_t i = 0; i < g->n; i++)
        column_reset(&g->all[i]);
    g->rows = 0;
}

size_t archive_gather_rows(const archive_gather *g)
{
    return g->rows;
}

size_t archive_gather_left(const archive_gather *g)
{
    return g->max_rows - g->rows;
}

size_t archive_gather_octets(const archive_gather *g)
{
    size_t octets = 0;
    for (size_t i = 0; i < g->n; i++) {
        const struct gathered *c = &g->all[i];
        octets += c->dict.octets + c->dict.n_slots * sizeof *c->dict.slots +
                  c->dict.cap * sizeof *c->dict.items;
        octets += c->valid ? g->max_rows / 8 : 0;
        octets += c->cap_items * c->width + (c->starts ? g->max_rows * sizeof *c->starts : 0);
    }
    return octets;
}

/* --- reading --------------------------------------------------------------------------------------- */

weir_status archive_gather_open(archive_gather *g, const parquet_file *file, size_t group,
                                const size_t *from, weir_err *err)
{
    struct parquet_group_info info;
    parquet_group(file, group, &info);
    g->group_left = info.n_rows;
    for (size_t i = 0; i < g->n; i++) {
        struct gathered *c = &g->all[i];
        column_close(c);
        if (from[i] == SIZE_MAX)
            continue;
        struct parquet_chunk_info chunk;
        parquet_chunk(file, group, from[i], &chunk);
        if (!g->columns[i].list && chunk.n_nulls >= 0 && (uint64_t)chunk.n_nulls == info.n_rows)
            continue; /* nothing to read */
        WEIR_TRY(parquet_cursor_new(file, group, from[i], &c->cursor, err));
        WEIR_TRY(parquet_cursor_dict(c->cursor, &c->from_dict, &c->n_from_dict, err));
        if (c->from_dict && c->strings) {
            c->remap = malloc(((size_t)c->n_from_dict + 1) * sizeof *c->remap);
            if (!c->remap)
                return archive_no_memory(err);
            for (uint32_t k = 0; k < c->n_from_dict; k++)
                c->remap[k] = NOT_YET;
        }
    }
    return WEIR_OK;
}

void archive_gather_leave(archive_gather *g)
{
    for (size_t i = 0; i < g->n; i++)
        column_close(&g->all[i]);
    g->group_left = 0;
}

static bool items_room(struct gathered *c, size_t more, size_t max_rows, bool list)
{
    size_t need = c->n_items + more;
    if (need <= c->cap_items)
        return true;
    size_t cap = list ? 2 * need : max_rows;
    uint8_t *values = realloc(c->values, cap * c->width);
    if (!values)
        return false;
    c->values = values;
    c->cap_items = cap;
    return true;
}

/* Places for rows up to g->rows of a column whose first values come now. */
static bool column_begin(const archive_gather *g, struct gathered *c, bool list)
{
    if (!c->valid) {
        c->valid = calloc((g->max_rows + 63) / 64 + 1, sizeof *c->valid);
        if (list)
            c->starts = calloc(g->max_rows + 2, sizeof *c->starts);
        if (!c->valid || (list && !c->starts))
            return false;
    }
    if (!list) { /* null rows have slots */
        size_t gap = g->rows - c->n;
        if (!items_room(c, gap, g->max_rows, false))
            return false;
        if (gap)
            memset(c->values + c->n_items * c->width, 0, gap * c->width);
        c->n_items += gap;
    } else {
        for (size_t i = c->n; i < g->rows; i++)
            c->starts[i + 1] = c->starts[i];
    }
    c->n = g->rows;
    return true;
}

/* n values or codes of d from slot `from` on, behind the items. present: one bit an item, NULL: all are there. */
static bool add_items(struct gathered *c, const struct parquet_column *column,
                      const struct parquet_data *d, size_t from, size_t n, const uint64_t *present)
{
    if (n == 0) /* lists without items: there may be no values at all */
        return true;
    if (c->strings) {
        uint32_t *to = (uint32_t *)(void *)c->values + c->n_items;
        const struct parquet_bytes *strings = d->values;
        for (size_t i = 0; i < n; i++) {
            to[i] = 0;
            if (present && !parquet_bit(present, from + i))
                continue;
            int64_t code;
            if (d->codes && c->remap) {
                uint32_t in = d->codes[from + i];
                code = c->remap[in];
                if (code == NOT_YET)
                    code = c->remap[in] =
                        dict_put(&c->dict, ((const struct parquet_bytes *)c->from_dict)[in]);
            } else {
                code = dict_put(&c->dict, strings[from + i]);
            }
            if (code < 0)
                return false;
            to[i] = (uint32_t)code;
        }
        c->n_items += n;
        return true;
    }
    size_t size = column->type == PARQUET_BOOLEAN                                  ? 1
                  : column->type == PARQUET_INT32 || column->type == PARQUET_FLOAT ? 4
                                                                                   : 8;
    const uint8_t *values = d->codes ? c->from_dict : d->values;
    uint8_t *to = c->values + c->n_items * c->width;
#define COPY(type, width)                                                                          \
    for (size_t i = 0; i < n; i++)                                                                 \
    memcpy(to + i * (width), values + (d->codes ? d->codes[from + i] : from + i) * sizeof(type),   \
           width)
    /* Little-endian (the low octets of a wider value come first): narrowing is a shorter copy. */
    if (d->codes && (!values || c->n_from_dict == 0)) /* all null */
        memset(to, 0, n * c->width);
    else if (size == 8)
        COPY(uint64_t, 8);
    else if (size == 1)
        COPY(uint8_t, 1);
    else if (c->width == 1)
        COPY(uint32_t, 1);
    else if (c->width == 2)
        COPY(uint32_t, 2);
    else
        COPY(uint32_t, 4);
#undef COPY
    c->n_items += n;
    return true;
}

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "narrowing above copies the low octets");

static void add_valid(struct gathered *c, size_t at, const struct parquet_data *d)
{
    for (size_t i = 0; i < d->n; i++) {
        if (d->valid && !parquet_bit(d->valid, i))
            continue;
        c->valid[(at + i) >> 6] |= UINT64_C(1) << ((at + i) & 63);
        c->n_valid++;
    }
}

static weir_status take_column(archive_gather *g, size_t i, size_t n, weir_err *err)
{
    struct gathered *c = &g->all[i];
    const struct parquet_column *column = &g->columns[i];
    for (size_t done = 0; done < n;) {
        struct parquet_data d = {0};
        weir_status s = parquet_cursor_read(c->cursor, n - done, &d, err);
        if (s == WEIR_END || (s == WEIR_OK && d.n == 0))
            return weir_err_set(err, WEIR_EFORMAT, 0,
                                "column %s has fewer values than its row group rows", column->name);
        WEIR_TRY(s);
        if (done == 0 && !column_begin(g, c, column->list))
            return archive_no_memory(err);
        size_t at = g->rows + done, first = 0, items = d.n;
        if (column->list) {
            first = d.starts[0];
            items = d.starts[d.n] - first;
        }
        if (items > UINT32_MAX - c->n_items)
            return weir_err_set(err, WEIR_ELIMIT, 0, "column %s has too many items", column->name);
        if (!items_room(c, items, g->max_rows, column->list))
            return archive_no_memory(err);
        if (column->list) {
            for (size_t k = 0; k < d.n; k++)
                c->starts[at + k + 1] = (uint32_t)(c->n_items + d.starts[k + 1] - first);
        }
        if (!add_items(c, column, &d, first, items, column->list ? NULL : d.valid))
            return archive_no_memory(err);
        add_valid(c, at, &d);
        done += d.n;
        c->n = at + d.n;
    }
    return WEIR_OK;
}

weir_status archive_gather_take(archive_gather *g, size_t n, bool (*stop)(void *user), void *user,
                                size_t *taken, weir_err *err)
{
    size_t left = archive_gather_left(g);
    n = n < left ? n : left;
    n = n < g->group_left ? n : g->group_left;
    *taken = n;
    for (size_t i = 0; i < g->n && n; i++) {
        if (!g->all[i].cursor)
            continue;
        if (stop && stop(user))
            return WEIR_END;
        WEIR_TRY(take_column(g, i, n, err));
    }
    g->rows += n;
    g->group_left -= n;
    if (g->group_left == 0)
        archive_gather_leave(g);
    return WEIR_OK;
}

/* --- sorting --------------------------------------------------------------------------------------- */

static int by_octets(const void *a_, const void *b_)
{
    const struct parquet_bytes *a = a_, *b = b_;
    uint32_t n = a->len < b->len ? a->len : b->len;
    int c = n ? memcmp(a->data, b->data, n) : 0;
    return c ? c : a->len < b->len ? -1 : a->len > b->len;
}

/* Dictionary entries in order of their octets; codes follow. */
static bool sort_dict(struct gathered *c)
{
    struct ranked {
        struct parquet_bytes s;
        uint32_t code;
    } *order = malloc(((size_t)c->dict.n + 1) * sizeof *order);
    uint32_t *to = malloc(((size_t)c->dict.n + 1) * sizeof *to);
    if (order && to) {
        for (uint32_t i = 0; i < c->dict.n; i++)
            order[i] = (struct ranked){c->dict.items[i], i};
        qsort(order, c->dict.n, sizeof *order, by_octets); /* s comes first in a struct ranked */
        for (uint32_t i = 0; i < c->dict.n; i++) {
            c->dict.items[i] = order[i].s;
            to[order[i].code] = i;
        }
        uint32_t *codes = (uint32_t *)(void *)c->values;
        for (size_t i = 0; c->dict.n && i < c->n_items; i++)
            codes[i] = to[codes[i]];
    }
    bool done = order && to;
    free(order);
    free(to);
    return done;
}

/* A row with the number it is sorted by; at: where it stood before. */
struct numbered {
    uint64_t key;
    uint32_t at, row;
    bool null;
};

static int by_number(const void *a_, const void *b_)
{
    const struct numbered *a = a_, *b = b_;
    if (a->null != b->null)
        return a->null ? 1 : -1;
    if (a->key != b->key)
        return a->key < b->key ? -1 : 1;
    return a->at < b->at ? -1 : a->at > b->at;
}

/* Rows as `before` has them (NULL: as they came), made to stand in the order of one key: order[i] is the row that comes
 * i-th. Stable, so that the last key may be sorted by first. NULL: out of memory. */
static uint32_t *make_order(const archive_gather *g, const struct gathered *key,
                            const uint32_t *before)
{
    size_t n = g->rows, buckets = (size_t)key->dict.n + 1; /* the last: nulls */
    uint32_t *order = malloc((n + 1) * sizeof *order), *at = calloc(buckets + 1, sizeof *at);
    const uint32_t *codes = (const uint32_t *)(const void *)key->values;
    if (order && at) {
#define BUCKET(i) (i < key->n && key->valid && parquet_bit(key->valid, i) ? codes[i] : buckets - 1)
        for (size_t i = 0; i < n; i++)
            at[BUCKET(i) + 1]++;
        for (size_t b = 1; b < buckets; b++)
            at[b] += at[b - 1];
        for (size_t i = 0; i < n; i++) {
            uint32_t row = before ? before[i] : (uint32_t)i;
            order[at[BUCKET(row)]++] = row;
        }
#undef BUCKET
    }
    free(at);
    if (!at) {
        free(order);
        order = NULL;
    }
    return order;
}

/* The same for a key of integers. */
static uint32_t *make_order_numbers(const archive_gather *g, const struct gathered *key,
                                    bool is_unsigned, const uint32_t *before)
{
    size_t n = g->rows;
    struct numbered *all = malloc((n + 1) * sizeof *all);
    uint32_t *order = malloc((n + 1) * sizeof *order);
    for (size_t i = 0; all && i < n; i++) {
        uint32_t row = before ? before[i] : (uint32_t)i;
        bool null = row >= key->n || !key->valid || !parquet_bit(key->valid, row);
        uint64_t v = 0;
        if (!null)
            memcpy(&v, key->values + (size_t)row * key->width, key->width);
        uint64_t sign = UINT64_C(1) << (8 * key->width - 1);
        all[i] = (struct numbered){is_unsigned ? v : v ^ sign, (uint32_t)i, row, null};
    }
    if (all && order) {
        qsort(all, n, sizeof *all, by_number);
        for (size_t i = 0; i < n; i++)
            order[i] = all[i].row;
    }
    free(all);
    if (!all) {
        free(order);
        order = NULL;
    }
    return order;
}

static bool is_integer(const struct parquet_column *c)
{
    return c->type == PARQUET_INT32 || c->type == PARQUET_INT64;
}

/* By all keys; *good false: out of memory. NULL without it: none of the keys is there. */
static uint32_t *make_orders(const archive_gather *g, const size_t *keys, size_t n_keys, bool *good)
{
    uint32_t *order = NULL;
    while (*good && n_keys-- > 0) {
        const size_t key = keys[n_keys];
        if (key == SIZE_MAX || g->columns[key].list || !g->all[key].n_valid ||
            (!g->all[key].strings && !is_integer(&g->columns[key])))
            continue;
        uint32_t *next =
            g->all[key].strings
                ? make_order(g, &g->all[key], order)
                : make_order_numbers(g, &g->all[key], g->columns[key].unsigned_order, order);
        free(order);
        order = next;
        *good = order != NULL;
    }
    return order;
}

static bool permute(struct gathered *c, const uint32_t *order, size_t n, bool list)
{
    uint64_t *valid = calloc((n + 63) / 64 + 1, sizeof *valid);
    uint8_t *values = malloc((c->n_items + 1) * c->width);
    uint32_t *starts = list ? malloc((n + 2) * sizeof *starts) : NULL;
    if (!valid || !values || (list && !starts)) {
        free(valid);
        free(values);
        free(starts);
        return false;
    }
    for (size_t i = 0; i < n; i++)
        valid[i >> 6] |= (uint64_t)parquet_bit(c->valid, order[i]) << (i & 63);
    if (list) {
        uint32_t at = 0;
        starts[0] = 0;
        for (size_t i = 0; i < n; i++) {
            uint32_t from = c->starts[order[i]], len = c->starts[order[i] + 1] - from;
            memcpy(values + (size_t)at * c->width, c->values + (size_t)from * c->width,
                   (size_t)len * c->width);
            at += len;
            starts[i + 1] = at;
        }
    } else {
#define MOVE(width)                                                                                \
    for (size_t i = 0; i < n; i++)                                                                 \
    memcpy(values + i * (width), c->values + (size_t)order[i] * (width), width)
        if (c->width == 1)
            MOVE(1);
        else if (c->width == 2)
            MOVE(2);
        else if (c->width == 4)
            MOVE(4);
        else
            MOVE(8);
#undef MOVE
    }
    free(c->valid);
    free(c->values);
    free(c->starts);
    c->valid = valid;
    c->values = values;
    c->starts = starts;
    c->cap_items = c->n_items + 1;
    return true;
}

weir_status archive_gather_finish(archive_gather *g, const size_t *keys, size_t n_keys,
                                  const struct parquet_data **data, weir_err *err)
{
    bool good = true;
    for (size_t i = 0; i < g->n && good; i++) {
        struct gathered *c = &g->all[i];
        if (c->n_valid == 0)
            continue;
        if (c->strings)
            good = sort_dict(c);
        if (good)
            good = column_begin(g, c, g->columns[i].list); /* null rows at the end */
    }
    uint32_t *order = make_orders(g, keys, n_keys, &good);
    for (size_t i = 0; i < g->n && good; i++) {
        struct gathered *c = &g->all[i];
        g->data[i] = (struct parquet_data){0};
        if (c->n_valid == 0)
            continue;
        if (order)
            good = permute(c, order, g->rows, g->columns[i].list);
        g->data[i] = (struct parquet_data){.n = g->rows,
                                           .valid = c->n_valid == g->rows ? NULL : c->valid,
                                           .width = c->width,
                                           .starts = c->starts};
        if (c->strings) {
            g->data[i].codes = (const uint32_t *)(const void *)c->values;
            g->data[i].dict = c->dict.items;
            g->data[i].n_dict = c->dict.n;
        } else {
            g->data[i].values = c->values;
        }
    }
    free(order);
    *data = g->data;
    return good ? WEIR_OK : archive_no_memory(err);
}
