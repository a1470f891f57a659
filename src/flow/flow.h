/* flow -- what the files of this room share: the layout of a batch, so that the kernels of normalise.c write into its
 * columns without a call per value, and the table that says which element feeds which column. Nothing outside src/flow
 * includes it. */
#ifndef FLOW_FLOW_H
#define FLOW_FLOW_H

#include "flow/batch.h"
#include "flow/kernel.h"

#include <string.h>

/* ---- which element feeds which column ---- */

enum flow_how {
    FLOW_HOW_PLAIN,
    FLOW_HOW_DSCP, /* six bits, which stand above the two of ECN in the octet */
    FLOW_HOW_MS,   /* milliseconds into a column of microseconds */
    FLOW_HOW_AVC   /* Cisco AVC: what the text is stands before it */
};

struct flow_source {
    uint8_t v9; /* id is a NetFlow v9 field type */
    uint32_t pen;
    uint16_t id;
    uint8_t column;
    uint8_t rank; /* place among the column's sources, 0: preferred */
    uint8_t how;  /* enum flow_how */
};

/* The row of an element, or NULL. */
const struct flow_source *flow_source_find(enum flow_table table, bool v9, uint32_t pen,
                                           uint16_t id);

enum {
    FLOW_MAX_KEYS = 0x7ffffff0,
    FLOW_KEY_COST = 20 /* octets that a key of a dictionary takes beside its own: start and slots */
};

/* ---- columns ---- */

struct flow_col {
    const struct flow_column *column;
    void *data;          /* n values or codes; of a list n_items of them */
    uint32_t *starts;    /* of a list: n + 1 */
    uint64_t *valid;     /* n bits, when nulls */
    uint32_t n, n_valid; /* as in struct flow_vec */
    uint32_t n_items;
    uint8_t width; /* octets of a value or code */
    bool dict, list;
    bool nulls; /* some of the n rows may be null: valid says which */
    struct flow_keys keys;
    struct flow_extra
        *extra; /* of an extra column: its description; kept for the next one in this place */
    size_t data_cap, starts_cap, valid_cap; /* octets allocated */
};

struct flow_extra;
struct flow_memo;

struct flow_batch {
    enum flow_table table;
    uint32_t rows;
    uint32_t n_table, n_columns;
    uint32_t cap_columns;
    struct flow_col *cols;
    size_t octets;
    uint64_t seed[2]; /* of the hashes of keys: nobody outside can choose keys that collide */
    uint64_t generation;
    const struct flow_kernels *kernels;
    uint16_t *names; /* column + 1 by hash of its name */
    struct flow_memo *memo;
};

/* ---- keys ---- */

/* The code of a key whose hash is known; adds it when new. UINT32_MAX: out of memory. */
uint32_t flow_keys_put(flow_batch *b, struct flow_col *c, const void *key, uint32_t len,
                       uint64_t hash);
/* Room for n keys more of len octets each. False: out of memory, or there are too many. */
bool flow_keys_reserve(const flow_batch *b, struct flow_keys *k, uint32_t n, uint32_t len);
/* The same as flow_keys_put, with room reserved. */
uint32_t flow_keys_put_reserved(flow_batch *b, struct flow_keys *k, const void *key, uint32_t len,
                                uint64_t hash);
uint64_t flow_key_hash(const flow_batch *b, const void *key, uint32_t len);

/* Octets behind the last value of a column that may be written, so that kernels work in whole blocks. */
enum { FLOW_SLACK = FLOW_KERNEL_SLACK };

/* Give rows [row, row + n) a place in a column that is no list. valid: their bits, NULL: all are there. row may be
 * before the end of the column only when valid is NULL. Returns where their values (codes) go, NULL: out of memory. */
void *flow_col_open(flow_batch *b, struct flow_col *c, uint32_t row, uint32_t n,
                    const uint64_t *valid);

/* The same for n rows that are all there, which mostly follow the column's last one. */
static inline void *flow_col_append(flow_batch *b, struct flow_col *c, uint32_t row, uint32_t n)
{
    size_t at = (size_t)row * c->width, octets = (size_t)n * c->width;
    if (row != c->n || c->nulls || at + octets + FLOW_SLACK > c->data_cap)
        return flow_col_open(b, c, row, n, NULL);
    c->n += n;
    c->n_valid += n;
    b->octets += octets;
    return (uint8_t *)c->data + at;
}

/* Take back what a column has from row `rows` on: they are null. */
void flow_col_cut(flow_batch *b, uint32_t column, uint32_t rows);

/* Values for these rows alone, in rising order. False: out of memory. */
bool flow_fill_sparse(flow_batch *b, uint32_t column, const uint32_t *rows, const uint64_t *values,
                      uint32_t n);

/* The column with this name, an extra one made when new. WEIR_EFORMAT: it has another type, or the name cannot be one;
 * WEIR_ELIMIT: FLOW_MAX_EXTRA; WEIR_ENOMEM. */
weir_status flow_find_column(flow_batch *b, const char *name, size_t len, enum flow_type type,
                             bool list, uint32_t *out, weir_err *err);

#endif
