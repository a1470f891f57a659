#include "parquet/reader.h"

#include "parquet/bloom.h"
#include "parquet/file.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Octets read from the end at first: most footers fit. */
#define TAIL_OCTETS (64 << 10)

/* ---- octets of the file ---- */

weir_status file_read(const parquet_file *f, uint64_t at, void *to, size_t n, weir_err *err)
{
    if (!file_holds(f, at, n))
        return weir_err_set(err, WEIR_ETRUNC, at, "%s: %zu octets at %llu are behind its end",
                            f->name, n, (unsigned long long)at);
    uint8_t *out = to;
    if (f->fd < 0) {
        if (n)
            memcpy(out, f->data + at, n);
        return WEIR_OK;
    }
    while (n) {
        if (at >= f->fd_len) {
            memcpy(out, f->tail + (at - f->fd_len), n);
            return WEIR_OK;
        }
        size_t k = n < f->fd_len - at ? n : (size_t)(f->fd_len - at);
        ssize_t got = pread(f->fd, out, k, (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return weir_err_set(err, WEIR_EIO, at, "%s: cannot read: %s", f->name, strerror(errno));
        if (got == 0)
            return weir_err_set(err, WEIR_ETRUNC, at, "%s: became shorter while it was read",
                                f->name);
        out += got;
        at += (size_t)got;
        n -= (size_t)got;
    }
    return WEIR_OK;
}

/* ---- opening ---- */

/* The columns that can be read, and where each group begins. */
static weir_status make_schema(parquet_file *f, weir_err *err)
{
    const struct meta_file *m = &f->meta;
    size_t n = m->n_leaves ? m->n_leaves : 1;
    f->columns = calloc(n, sizeof *f->columns);
    f->leaf_of_column = calloc(n, sizeof *f->leaf_of_column);
    f->first_rows = calloc(m->n_groups ? m->n_groups : 1, sizeof *f->first_rows);
    if (!f->columns || !f->leaf_of_column || !f->first_rows)
        return weir_err_set(err, WEIR_ENOMEM, 0, "%s: out of memory", f->name);
    size_t n_columns = 0;
    for (size_t i = 0; i < m->n_leaves; i++) {
        if (!m->leaves[i].readable)
            continue;
        f->columns[n_columns] = m->leaves[i].column;
        f->leaf_of_column[n_columns++] = (uint32_t)i;
    }
    f->schema = (struct parquet_schema){f->columns, n_columns};
    uint64_t row = 0;
    for (size_t i = 0; i < m->n_groups; i++) {
        f->first_rows[i] = row;
        row += (uint64_t)m->groups[i].n_rows;
    }
    return WEIR_OK;
}

static weir_status read_footer(parquet_file *f, weir_err *err)
{
    static const char magic[4] = "PAR1", sealed[4] = "PARE";
    if (f->len < 12)
        return weir_err_set(err, WEIR_ETRUNC, f->len,
                            "%s: %llu octets are too few for a Parquet file", f->name,
                            (unsigned long long)f->len);
    size_t n = f->len < TAIL_OCTETS ? (size_t)f->len : TAIL_OCTETS;
    uint8_t *end = malloc(n), *footer = end;
    if (!end)
        return weir_err_set(err, WEIR_ENOMEM, 0, "%s: out of memory", f->name);
    weir_status status = file_read(f, f->len - n, end, n, err);
    uint32_t len = 0;
    if (status == WEIR_OK) {
        memcpy(&len, end + n - 8, sizeof len);
        len = le32toh(len);
        if (memcmp(end + n - 4, sealed, 4) == 0)
            status = weir_err_set(err, WEIR_EFORMAT, f->len - 4,
                                  "%s: its footer is encrypted, which is not supported", f->name);
        else if (memcmp(end + n - 4, magic, 4) != 0)
            status =
                weir_err_set(err, WEIR_EFORMAT, f->len - 4,
                             "%s: does not end in PAR1: no Parquet file, or cut short", f->name);
        else if (len > f->len - 12 || len > FILE_MAX_FOOTER_OCTETS)
            status = weir_err_set(err, WEIR_EFORMAT, f->len - 8,
                                  "%s: a footer of %u octets does not fit the file of %llu",
                                  f->name, len, (unsigned long long)f->len);
    }
    uint64_t at = f->len - 8 - len;
    if (status == WEIR_OK && len + 8 > n) {
        footer = malloc(len);
        status = footer ? file_read(f, at, footer, len, err)
                        : weir_err_set(err, WEIR_ENOMEM, at, "%s: out of memory", f->name);
    } else if (status == WEIR_OK) {
        footer = end + (n - 8 - len);
    }
    if (status == WEIR_OK) {
        weir_err why = {0};
        status = meta_parse(footer, len, at, &f->meta, &why);
        if (status != WEIR_OK)
            (void)weir_err_set(err, status, why.at, "%s: %s", f->name, why.msg);
    }
    if (status == WEIR_OK)
        status = make_schema(f, err);
    if (footer && (footer < end || footer >= end + n))
        free(footer);
    free(end);
    return status;
}

static weir_status open_file(const parquet_file *as, const char *name, parquet_file **out,
                             weir_err *err)
{
    parquet_file *f = malloc(sizeof *f);
    if (f) {
        *f = *as;
        f->name = strdup(name);
    }
    if (!f || !f->name) {
        free(f);
        return weir_err_set(err, WEIR_ENOMEM, 0, "%s: out of memory", name);
    }
    weir_status status = read_footer(f, err);
    if (status != WEIR_OK) {
        f->fd = -1; /* stays the caller's */
        f->tail = NULL;
        parquet_close(f);
        return status;
    }
    *out = f;
    return WEIR_OK;
}

weir_status parquet_open(int fd, const char *name, parquet_file **out, weir_err *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return weir_err_set(err, WEIR_EIO, 0, "%s: cannot read: %s", name, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return weir_err_set(err, WEIR_EINVAL, 0, "%s: not a regular file", name);
    parquet_file as = {.fd = fd, .fd_len = (uint64_t)st.st_size, .len = (uint64_t)st.st_size};
    return open_file(&as, name, out, err);
}

weir_status parquet_open_parts(int fd, uint64_t len, const void *tail, size_t tail_len,
                               const char *name, parquet_file **out, weir_err *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return weir_err_set(err, WEIR_EIO, 0, "%s: cannot read: %s", name, strerror(errno));
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size < len || len > INT64_MAX - tail_len)
        return weir_err_set(err, WEIR_ETRUNC, (uint64_t)st.st_size,
                            "%s: has not the %llu octets that it should have", name,
                            (unsigned long long)len);
    uint8_t *copy = malloc(tail_len ? tail_len : 1);
    if (!copy)
        return weir_err_set(err, WEIR_ENOMEM, 0, "%s: out of memory", name);
    if (tail_len)
        memcpy(copy, tail, tail_len);
    parquet_file as = {.fd = fd, .fd_len = len, .len = len + tail_len, .tail = copy};
    weir_status status = open_file(&as, name, out, err);
    if (status != WEIR_OK)
        free(copy);
    return status;
}

weir_status parquet_open_memory(const void *data, size_t len, const char *name, parquet_file **out,
                                weir_err *err)
{
    parquet_file as = {.fd = -1, .data = data, .len = len};
    return open_file(&as, name, out, err);
}

void parquet_close(parquet_file *f)
{
    if (!f)
        return;
    meta_done(&f->meta);
    if (f->fd >= 0)
        (void)close(f->fd);
    free(f->tail);
    free(f->columns);
    free(f->leaf_of_column);
    free(f->first_rows);
    free(f->name);
    free(f);
}

/* ---- what the footer says ---- */

const char *parquet_name(const parquet_file *f)
{
    return f->name;
}

uint64_t parquet_octets(const parquet_file *f)
{
    return f->len;
}

const struct parquet_schema *parquet_schema_of(const parquet_file *f)
{
    return &f->schema;
}

int parquet_column_find(const parquet_file *f, const char *name)
{
    for (size_t i = 0; i < f->schema.n; i++)
        if (strcmp(f->columns[i].name, name) == 0)
            return (int)i;
    return -1;
}

uint64_t parquet_n_rows(const parquet_file *f)
{
    return (uint64_t)f->meta.n_rows;
}

size_t parquet_n_groups(const parquet_file *f)
{
    return f->meta.n_groups;
}

const char *parquet_key_value_find(const parquet_file *f, const char *key)
{
    for (size_t i = 0; i < f->meta.n_kv; i++)
        if (strcmp(f->meta.kv[i].key, key) == 0)
            return f->meta.kv[i].value;
    return NULL;
}

void parquet_group(const parquet_file *f, size_t group, struct parquet_group_info *out)
{
    const struct meta_group *g = &f->meta.groups[group];
    *out = (struct parquet_group_info){.n_rows = (uint64_t)g->n_rows,
                                       .octets = (uint64_t)g->octets,
                                       .first_row = f->first_rows[group],
                                       .sorted_by = -1};
    for (size_t i = 0; i < f->schema.n; i++)
        if (g->sorted_by >= 0 && f->leaf_of_column[i] == (uint32_t)g->sorted_by)
            out->sorted_by = (int)i;
}

void parquet_chunk(const parquet_file *f, size_t group, size_t column,
                   struct parquet_chunk_info *out)
{
    const struct meta_chunk *c = file_chunk(f, group, column);
    *out = (struct parquet_chunk_info){.octets = (uint64_t)c->octets,
                                       .octets_plain = (uint64_t)c->octets_plain,
                                       .n_nulls = c->stats.n_nulls,
                                       .min = c->stats.min,
                                       .max = c->stats.max,
                                       .has_dict = c->dict_offset > 0 && c->dict_pages_only,
                                       .has_bloom = c->bloom_offset > 0,
                                       .codec = c->codec,
                                       .encodings = c->encodings};
}

/* ---- bloom filter ---- */

weir_status parquet_bloom_may_have(const parquet_file *f, size_t group, size_t column,
                                   struct parquet_bytes value, bool *may, weir_err *err)
{
    const struct meta_chunk *c = file_chunk(f, group, column);
    *may = true;
    if (c->bloom_offset <= 0)
        return WEIR_OK;
    uint64_t at = (uint64_t)c->bloom_offset;
    if (at >= f->len)
        return weir_err_set(err, WEIR_EFORMAT, at, "%s: bloom filter behind the end of the file",
                            f->name);
    uint8_t head[64];
    size_t have = f->len - at < sizeof head ? (size_t)(f->len - at) : sizeof head, used;
    uint32_t octets;
    WEIR_TRY(file_read(f, at, head, have, err));
    WEIR_TRY(meta_bloom_parse(head, have, at, &octets, &used, err));
    at += used;
    if (octets < 32 || !file_holds(f, at, octets))
        return weir_err_set(err, WEIR_EFORMAT, at,
                            "%s: bloom filter of %u octets does not fit the file", f->name, octets);
    uint64_t hash = bloom_hash(value.data ? value.data : (const uint8_t *)"", value.len);
    uint8_t block[BLOOM_BLOCK];
    WEIR_TRY(file_read(f, at + bloom_block(hash, octets), block, sizeof block, err));
    *may = bloom_check(block, hash);
    return WEIR_OK;
}

/* ---- page index ---- */

/* One index struct of the file, malloc'ed. */
static weir_status read_index(const parquet_file *f, int64_t at, int32_t octets, uint8_t **out,
                              weir_err *err)
{
    if (octets <= 0 || !file_holds(f, (uint64_t)at, (uint64_t)octets))
        return weir_err_set(err, WEIR_EFORMAT, (uint64_t)at,
                            "%s: page index of %d octets does not fit the file", f->name, octets);
    *out = malloc((size_t)octets);
    if (!*out)
        return weir_err_set(err, WEIR_ENOMEM, (uint64_t)at, "%s: out of memory", f->name);
    weir_status status = file_read(f, (uint64_t)at, *out, (size_t)octets, err);
    if (status != WEIR_OK)
        free(*out);
    return status;
}

weir_status file_offset_index(const parquet_file *f, size_t group, size_t column,
                              struct meta_page_place **out, size_t *n, weir_err *err)
{
    const struct meta_chunk *c = file_chunk(f, group, column);
    *out = NULL;
    *n = 0;
    if (c->offset_index_at <= 0)
        return WEIR_OK;
    uint64_t at = (uint64_t)c->offset_index_at;
    uint8_t *raw;
    WEIR_TRY(read_index(f, c->offset_index_at, c->offset_index_octets, &raw, err));
    weir_status status =
        meta_offset_index_parse(raw, (size_t)c->offset_index_octets, at, out, n, err);
    free(raw);
    if (status != WEIR_OK)
        return status;
    int64_t rows = f->meta.groups[group].n_rows, before = -1;
    for (size_t i = 0; i < *n && status == WEIR_OK; i++) {
        const struct meta_page_place *p = &(*out)[i];
        if (p->first_row <= before || (i == 0 && p->first_row != 0) || p->first_row >= rows ||
            p->offset < 0 || p->octets < 0 ||
            !file_holds(f, (uint64_t)p->offset, (uint64_t)p->octets))
            status = weir_err_set(err, WEIR_EFORMAT, at,
                                  "%s: page %zu of the offset index is outside its row group",
                                  f->name, i);
        before = p->first_row;
    }
    if (status == WEIR_OK && *n == 0 && rows)
        status = weir_err_set(err, WEIR_EFORMAT, at, "%s: an offset index without pages", f->name);
    if (status != WEIR_OK || *n == 0) {
        free(*out);
        *out = NULL;
        *n = 0;
    }
    return status;
}

weir_status parquet_pages(const parquet_file *f, size_t group, size_t column,
                          struct parquet_page_info **out, size_t *n, weir_err *err)
{
    const struct meta_chunk *c = file_chunk(f, group, column);
    *out = NULL;
    *n = 0;
    if (c->column_index_at <= 0 || c->offset_index_at <= 0)
        return WEIR_OK;
    struct meta_page_place *places = NULL;
    struct meta_page_bounds *bounds = NULL;
    struct parquet_page_info *pages = NULL;
    size_t n_places = 0, n_bounds = 0;
    uint64_t at = (uint64_t)c->column_index_at;
    if (c->column_index_octets <= 0 ||
        !file_holds(f, (uint64_t)c->column_index_at, (uint64_t)c->column_index_octets))
        return weir_err_set(err, WEIR_EFORMAT, at,
                            "%s: page index of %d octets does not fit the file", f->name,
                            c->column_index_octets);
    size_t len = (size_t)c->column_index_octets;
    weir_status status = file_offset_index(f, group, column, &places, &n_places, err);
    if (status == WEIR_OK && n_places) {
        /* The index stands behind the pages whose bounds point into it. */
        pages = calloc(1, n_places * sizeof *pages + len);
        status = pages ? WEIR_OK : weir_err_set(err, WEIR_ENOMEM, at, "%s: out of memory", f->name);
    }
    if (pages) {
        uint8_t *raw = (uint8_t *)(pages + n_places);
        status = file_read(f, at, raw, len, err);
        if (status == WEIR_OK)
            status = meta_column_index_parse(raw, len, at, &bounds, &n_bounds, err);
        if (status == WEIR_OK && n_bounds != n_places)
            status = weir_err_set(err, WEIR_EFORMAT, at,
                                  "%s: column index of %zu pages, offset index of %zu", f->name,
                                  n_bounds, n_places);
    }
    for (size_t i = 0; status == WEIR_OK && i < n_places; i++) {
        int64_t end = i + 1 < n_places ? places[i + 1].first_row : f->meta.groups[group].n_rows;
        pages[i] = (struct parquet_page_info){.first_row = (uint64_t)places[i].first_row,
                                              .n_rows = (uint64_t)(end - places[i].first_row),
                                              .all_null = bounds[i].all_null};
        if (bounds[i].all_null || !f->meta.typed_order)
            continue;
        if (meta_bound_usable(file_leaf(f, column), bounds[i].min))
            pages[i].min = bounds[i].min;
        if (meta_bound_usable(file_leaf(f, column), bounds[i].max))
            pages[i].max = bounds[i].max;
    }
    free(places);
    free(bounds);
    if (status != WEIR_OK) {
        free(pages);
        return status;
    }
    *out = pages;
    *n = n_places;
    return WEIR_OK;
}

void parquet_pages_free(struct parquet_page_info *pages)
{
    free(pages);
}
