/* Everything that a file says about one chunk, held against its values. */
#include "parquet/bloom.h"
#include "parquet/file.h"

#include <stdlib.h>
#include <string.h>

enum { WINDOW = 8192 };

struct verify {
    const parquet_file *f;
    size_t group, column;
    const struct meta_leaf *leaf;
    const struct meta_chunk *chunk;
    struct parquet_page_info *pages;
    size_t n_pages, page; /* page: the one that holds `row` */
    uint8_t *bloom;
    uint32_t n_bloom;
    uint64_t row, n_nulls;
};

static weir_status wrong(const struct verify *v, const char *what, weir_err *err)
{
    return weir_err_set(err, WEIR_EFORMAT, (uint64_t)v->chunk->data_offset,
                        "%s: row group %zu, column %s, row %llu: %s", v->f->name, v->group,
                        v->leaf->column.name, (unsigned long long)v->row, what);
}

/* The value of a slot as PLAIN octets. */
static struct parquet_bytes slot_bytes(const struct parquet_column *c, const void *slots, size_t i)
{
    size_t width = 0;
    switch ((enum parquet_type)c->type) {
    case PARQUET_BOOLEAN:
        width = 1;
        break;
    case PARQUET_INT32:
    case PARQUET_FLOAT:
        width = 4;
        break;
    case PARQUET_INT64:
    case PARQUET_DOUBLE:
        width = 8;
        break;
    case PARQUET_INT96:
    case PARQUET_BYTE_ARRAY:
    case PARQUET_FIXED:
        return ((const struct parquet_bytes *)slots)[i];
    }
    return (struct parquet_bytes){(const uint8_t *)slots + i * width, (uint32_t)width};
}

#define ORDER(type)                                                                                \
    do {                                                                                           \
        type x, y;                                                                                 \
        memcpy(&x, a.data, sizeof x);                                                              \
        memcpy(&y, b.data, sizeof y);                                                              \
        return (x > y) - (x < y);                                                                  \
    } while (0)

/* Below, at or above 0. NaN is neither below nor above anything. */
static int compare(const struct parquet_column *c, struct parquet_bytes a, struct parquet_bytes b)
{
    switch ((enum parquet_type)c->type) {
    case PARQUET_BOOLEAN:
        ORDER(uint8_t);
    case PARQUET_INT32:
        if (c->unsigned_order)
            ORDER(uint32_t);
        ORDER(int32_t);
    case PARQUET_INT64:
        if (c->unsigned_order)
            ORDER(uint64_t);
        ORDER(int64_t);
    case PARQUET_FLOAT:
        ORDER(float);
    case PARQUET_DOUBLE:
        ORDER(double);
    case PARQUET_INT96:
    case PARQUET_BYTE_ARRAY:
    case PARQUET_FIXED:
        break;
    }
    uint32_t least = a.len < b.len ? a.len : b.len;
    int order = least ? memcmp(a.data, b.data, least) : 0;
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

static weir_status check_value(struct verify *v, struct parquet_bytes value, weir_err *err)
{
    const struct parquet_column *c = &v->leaf->column;
    const struct meta_stats *s = &v->chunk->stats;
    if ((s->min.data && compare(c, value, s->min) < 0) ||
        (s->max.data && compare(c, value, s->max) > 0))
        return wrong(v, "a value is outside the minimum and maximum of the chunk", err);
    if (v->n_pages) {
        const struct parquet_page_info *p = &v->pages[v->page];
        if (p->all_null)
            return wrong(v, "a value is in a page of nulls, says the page index", err);
        if ((p->min.data && compare(c, value, p->min) < 0) ||
            (p->max.data && compare(c, value, p->max) > 0))
            return wrong(v, "a value is outside the bounds of its page in the page index", err);
    }
    if (v->bloom) {
        uint64_t hash = bloom_hash(value.len ? value.data : (const uint8_t *)"", value.len);
        if (!bloom_check(v->bloom + bloom_block(hash, v->n_bloom), hash))
            return wrong(v, "a value is not in the bloom filter", err);
    }
    return WEIR_OK;
}

/* Rows of a window, one after another. */
static weir_status check_window(struct verify *v, const struct parquet_data *d, const void *dict,
                                weir_err *err)
{
    const struct parquet_column *c = &v->leaf->column;
    for (size_t i = 0; i < d->n; i++, v->row++) {
        while (v->page + 1 < v->n_pages && v->pages[v->page + 1].first_row <= v->row)
            v->page++;
        if (d->valid && !parquet_bit(d->valid, i)) {
            v->n_nulls++;
            continue;
        }
        size_t at = c->list ? d->starts[i] : i, end = c->list ? d->starts[i + 1] : i + 1;
        for (; at < end; at++) {
            if (d->item_valid && !parquet_bit(d->item_valid, at))
                continue;
            WEIR_TRY(check_value(
                v, dict ? slot_bytes(c, dict, d->codes[at]) : slot_bytes(c, d->values, at), err));
        }
    }
    return WEIR_OK;
}

static weir_status check_rows(struct verify *v, parquet_cursor *cursor, weir_err *err)
{
    const void *dict;
    uint32_t n_dict;
    WEIR_TRY(parquet_cursor_dict(cursor, &dict, &n_dict, err));
    for (;;) {
        struct parquet_data d;
        weir_status status = parquet_cursor_read(cursor, WINDOW, &d, err);
        if (status == WEIR_END)
            break;
        WEIR_TRY(status);
        WEIR_TRY(check_window(v, &d, dict, err));
    }
    /* Of a list nulls are counted in levels, empty lists among them; not all writers agree. */
    if (!v->leaf->column.list && v->chunk->stats.n_nulls >= 0 &&
        (uint64_t)v->chunk->stats.n_nulls != v->n_nulls)
        return wrong(v, "the number of nulls is not that of the statistics", err);
    return WEIR_OK;
}

static weir_status load_bloom(struct verify *v, weir_err *err)
{
    uint64_t at = (uint64_t)v->chunk->bloom_offset;
    uint8_t head[64];
    size_t used;
    if (v->chunk->bloom_offset <= 0)
        return WEIR_OK;
    if (at >= v->f->len)
        return wrong(v, "its bloom filter is behind the end of the file", err);
    size_t have = v->f->len - at < sizeof head ? (size_t)(v->f->len - at) : sizeof head;
    WEIR_TRY(file_read(v->f, at, head, have, err));
    WEIR_TRY(meta_bloom_parse(head, have, at, &v->n_bloom, &used, err));
    if (!file_holds(v->f, at + used, v->n_bloom))
        return wrong(v, "its bloom filter does not fit the file", err);
    v->bloom = malloc(v->n_bloom);
    if (!v->bloom)
        return weir_err_set(err, WEIR_ENOMEM, at, "%s: out of memory", v->f->name);
    return file_read(v->f, at + used, v->bloom, v->n_bloom, err);
}

weir_status parquet_chunk_verify(const parquet_file *f, size_t group, size_t column, weir_err *err)
{
    struct verify v = {.f = f,
                       .group = group,
                       .column = column,
                       .leaf = file_leaf(f, column),
                       .chunk = file_chunk(f, group, column)};
    parquet_cursor *cursor = NULL;
    weir_status status = cursor_new_checked(f, group, column, &cursor, err);
    if (status == WEIR_OK)
        status = parquet_pages(f, group, column, &v.pages, &v.n_pages, err);
    if (status == WEIR_OK)
        status = load_bloom(&v, err);
    if (status == WEIR_OK)
        status = check_rows(&v, cursor, err);
    parquet_cursor_free(cursor);
    parquet_pages_free(v.pages);
    free(v.bloom);
    return status;
}
