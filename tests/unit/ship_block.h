/* ship_block -- blocks of rows made by hand, for tests of what src/ship sends. A block has the columns that somebody asked
 * for; a value for any other column is dropped, so that one list of values serves every format:
 *
 *     struct ship_block b;
 *     ship_block_init(&b, fields, n_fields, 2);
 *     ship_block_text(&b, "src_addr", 0, "192.0.2.1");
 *     ship_block_num(&b, "bytes", 1, 1500);
 *     ship_encoder_rows(e, ship_block_get(&b), 0, 2, &out, ends, &err);
 *     ship_block_done(&b);
 *
 * Rows that got no value are null; a column without any is QUERY_UNKNOWN. Out of memory ends the program. */
#ifndef TESTS_SHIP_BLOCK_H
#define TESTS_SHIP_BLOCK_H

#include "query/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct ship_block_column {
    uint8_t kind; /* of its values; QUERY_UNKNOWN: it has none yet */
    uint64_t *valid, *num;
    uint32_t *codes;
    struct query_text *dict; /* texts are the block's own */
    uint32_t n_dict, cap_dict;
    uint64_t **items; /* of lists, by row: numbers or codes */
    uint32_t *n_items;
    /* as the block has it */
    uint32_t *starts, *flat_codes;
    uint64_t *flat;
};

struct ship_block {
    const struct query_field *fields; /* borrowed */
    size_t n_fields, n_rows;
    struct ship_block_column *columns;
    struct query_vec *vecs;
    struct query_block block;
};

static inline void *ship_block_memory(size_t n, size_t size)
{
    void *p = calloc(n + 1, size);
    if (!p) {
        (void)fprintf(stderr, "ship_block: out of memory\n");
        abort();
    }
    return p;
}

static inline void ship_block_init(struct ship_block *b, const struct query_field *fields,
                                   size_t n_fields, size_t n_rows)
{
    *b = (struct ship_block){.fields = fields, .n_fields = n_fields, .n_rows = n_rows};
    b->columns = (struct ship_block_column *)ship_block_memory(n_fields, sizeof *b->columns);
    b->vecs = (struct query_vec *)ship_block_memory(n_fields, sizeof *b->vecs);
    for (size_t i = 0; i < n_fields; i++)
        b->columns[i].kind = QUERY_UNKNOWN;
}

static inline void ship_block_done(struct ship_block *b)
{
    for (size_t i = 0; i < b->n_fields; i++) {
        struct ship_block_column *c = &b->columns[i];
        for (uint32_t k = 0; k < c->n_dict; k++)
            free((void *)(uintptr_t)c->dict[k].data);
        for (size_t r = 0; c->items && r < b->n_rows; r++)
            free(c->items[r]);
        free(c->valid);
        free(c->num);
        free(c->codes);
        free(c->dict);
        free(c->items);
        free(c->n_items);
        free(c->starts);
        free(c->flat);
        free(c->flat_codes);
    }
    free(b->columns);
    free(b->vecs);
    *b = (struct ship_block){.fields = NULL};
}

/* The column of that name, about to get a value in a row; NULL: the block has no such column. */
static inline struct ship_block_column *ship_block_at(struct ship_block *b, const char *name,
                                                      size_t row, uint8_t kind)
{
    if (row >= b->n_rows) {
        (void)fprintf(stderr, "ship_block: row %zu of %zu\n", row, b->n_rows);
        abort();
    }
    for (size_t i = 0; i < b->n_fields; i++) {
        struct ship_block_column *c = &b->columns[i];
        if (strcmp(b->fields[i].name, name) != 0)
            continue;
        if (c->kind != QUERY_UNKNOWN && c->kind != kind) {
            (void)fprintf(stderr, "ship_block: %s has values of two kinds\n", name);
            abort();
        }
        c->kind = kind;
        if (!c->valid)
            c->valid = (uint64_t *)ship_block_memory(b->n_rows / 64 + 1, sizeof *c->valid);
        c->valid[row / 64] |= (uint64_t)1 << (row % 64);
        return c;
    }
    return NULL;
}

static inline void ship_block_null(struct ship_block *b, const char *name, size_t row)
{
    for (size_t i = 0; i < b->n_fields; i++) {
        struct ship_block_column *c = &b->columns[i];
        if (strcmp(b->fields[i].name, name) != 0 || !c->valid)
            continue;
        c->valid[row / 64] &= ~((uint64_t)1 << (row % 64));
        if (c->num)
            c->num[row] = 0;
        if (c->codes)
            c->codes[row] = 0;
        if (c->items)
            c->n_items[row] = 0;
    }
}

/* kind: QUERY_U64, QUERY_S64, QUERY_TIME, QUERY_BOOL or QUERY_F64 (then v has the double's bits). */
static inline void ship_block_value(struct ship_block *b, const char *name, size_t row,
                                    uint8_t kind, uint64_t v)
{
    struct ship_block_column *c = ship_block_at(b, name, row, kind);
    if (!c)
        return;
    if (!c->num)
        c->num = (uint64_t *)ship_block_memory(b->n_rows, sizeof *c->num);
    c->num[row] = v;
}

static inline void ship_block_num(struct ship_block *b, const char *name, size_t row, uint64_t v)
{
    ship_block_value(b, name, row, QUERY_U64, v);
}

/* Microseconds since 1970. */
static inline void ship_block_time(struct ship_block *b, const char *name, size_t row, int64_t us)
{
    ship_block_value(b, name, row, QUERY_TIME, (uint64_t)us);
}

static inline void ship_block_real(struct ship_block *b, const char *name, size_t row, double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    ship_block_value(b, name, row, QUERY_F64, bits);
}

/* The code of a text in the column's dictionary, added when new. */
static inline uint32_t ship_block_code(struct ship_block_column *c, const void *data, size_t len)
{
    for (uint32_t k = 0; k < c->n_dict; k++)
        if (c->dict[k].len == len && (!len || memcmp(c->dict[k].data, data, len) == 0))
            return k;
    if (c->n_dict == c->cap_dict) {
        c->cap_dict = c->cap_dict ? 2 * c->cap_dict : 16;
        struct query_text *more = (struct query_text *)ship_block_memory(c->cap_dict, sizeof *more);
        if (c->n_dict)
            memcpy(more, c->dict, c->n_dict * sizeof *more);
        free(c->dict);
        c->dict = more;
    }
    /* Without a NUL behind it: who reads too far is to be found out. */
    char *copy = (char *)malloc(len ? len : 1);
    if (!copy)
        abort();
    memcpy(copy, data, len);
    c->dict[c->n_dict] = (struct query_text){.data = copy, .len = (uint32_t)len};
    return c->n_dict++;
}

static inline void ship_block_bytes(struct ship_block *b, const char *name, size_t row,
                                    uint8_t kind, const void *data, size_t len)
{
    struct ship_block_column *c = ship_block_at(b, name, row, kind);
    if (!c)
        return;
    if (!c->codes)
        c->codes = (uint32_t *)ship_block_memory(b->n_rows, sizeof *c->codes);
    c->codes[row] = ship_block_code(c, data, len);
}

static inline void ship_block_text(struct ship_block *b, const char *name, size_t row,
                                   const char *text)
{
    ship_block_bytes(b, name, row, QUERY_TEXT, text, strlen(text));
}

static inline void ship_block_octets(struct ship_block *b, const char *name, size_t row,
                                     const void *data, size_t len)
{
    ship_block_bytes(b, name, row, QUERY_OCTETS, data, len);
}

static inline uint64_t *ship_block_items(struct ship_block *b, struct ship_block_column *c,
                                         size_t row, size_t n)
{
    if (!c->items) {
        c->items = (uint64_t **)ship_block_memory(b->n_rows, sizeof *c->items);
        c->n_items = (uint32_t *)ship_block_memory(b->n_rows, sizeof *c->n_items);
    }
    free(c->items[row]);
    c->n_items[row] = (uint32_t)n;
    return c->items[row] = (uint64_t *)ship_block_memory(n, sizeof(uint64_t));
}

/* A list of n numbers; n may be 0: an empty list, which is not null. */
static inline void ship_block_list(struct ship_block *b, const char *name, size_t row,
                                   const uint64_t *v, size_t n)
{
    struct ship_block_column *c = ship_block_at(b, name, row, QUERY_U64_LIST);
    uint64_t *items = c ? ship_block_items(b, c, row, n) : NULL;
    if (items && n)
        memcpy(items, v, n * sizeof *v);
}

static inline void ship_block_texts(struct ship_block *b, const char *name, size_t row,
                                    const char *const *texts, size_t n)
{
    struct ship_block_column *c = ship_block_at(b, name, row, QUERY_TEXT_LIST);
    uint64_t *items = c ? ship_block_items(b, c, row, n) : NULL;
    for (size_t i = 0; items && i < n; i++)
        items[i] = ship_block_code(c, texts[i], strlen(texts[i]));
}

static inline void ship_block_flatten(const struct ship_block *b, struct ship_block_column *c,
                                      struct query_vec *v)
{
    size_t n = 0;
    for (size_t r = 0; r < b->n_rows; r++)
        n += c->n_items[r];
    free(c->starts);
    free(c->flat);
    free(c->flat_codes);
    c->starts = (uint32_t *)ship_block_memory(b->n_rows + 1, sizeof *c->starts);
    c->flat = (uint64_t *)ship_block_memory(n, sizeof *c->flat);
    c->flat_codes = (uint32_t *)ship_block_memory(n, sizeof *c->flat_codes);
    uint32_t at = 0;
    for (size_t r = 0; r < b->n_rows; r++) {
        for (uint32_t k = 0; k < c->n_items[r]; k++) {
            c->flat[at] = c->items[r][k];
            c->flat_codes[at++] = (uint32_t)c->items[r][k];
        }
        c->starts[r + 1] = at;
    }
    v->starts = c->starts;
    if (c->kind == QUERY_TEXT_LIST) {
        v->codes = c->flat_codes;
        v->dict = c->dict;
        v->n_dict = c->n_dict;
    } else {
        v->num = c->flat;
    }
}

/* The block with the values so far; borrowed until the next call. */
static inline const struct query_block *ship_block_get(struct ship_block *b)
{
    for (size_t i = 0; i < b->n_fields; i++) {
        struct ship_block_column *c = &b->columns[i];
        struct query_vec *v = &b->vecs[i];
        *v = (struct query_vec){.kind = c->kind, .valid = c->valid};
        if (c->items) {
            ship_block_flatten(b, c, v);
        } else if (c->codes) {
            v->codes = c->codes;
            v->dict = c->dict;
            v->n_dict = c->n_dict;
        } else {
            v->num = c->num;
        }
        bool all =
            c->kind != QUERY_UNKNOWN; /* as query_run has it: no bits where they say nothing */
        for (size_t r = 0; all && r < b->n_rows; r++)
            all = c->valid[r / 64] >> (r % 64) & 1;
        if (all)
            v->valid = NULL;
    }
    b->block = (struct query_block){.n = b->n_rows, .vecs = b->vecs};
    return &b->block;
}

#endif
