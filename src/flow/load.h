/* load -- kernels: one field of fixed length out of n records into a column, without a branch per value. */
#ifndef FLOW_LOAD_H
#define FLOW_LOAD_H

#include "flow/flow.h"

/* A field in n records: octets at[0 .. len), then the same `stride` octets further. at[(n - 1) * stride + len - 1] is
 * the last octet read. */
struct flow_run {
    const uint8_t *at;
    size_t stride;
    uint32_t n;
    uint32_t len;
};

enum flow_loaded {
    FLOW_LOADED,
    FLOW_LOAD_MISFIT, /* a value is too large for the column: nothing was written */
    FLOW_LOAD_NOMEM
};

/* Unsigned integers of 1 to 8 octets, big-endian, to rows from `row` on. */
enum flow_loaded flow_load_uint(flow_batch *b, struct flow_col *c, uint32_t row,
                                const struct flow_run *in);
/* The loop alone, for values of len octets into a column of at least as many: out holds in->n of them. */
typedef void flow_load_fn(void *restrict out, const struct flow_run *in);
flow_load_fn *flow_load_uint_fn(uint32_t len, size_t width);
/* The octets as keys of a dictionary column. */
enum flow_loaded flow_load_keys(flow_batch *b, struct flow_col *c, uint32_t row,
                                const struct flow_run *in);
/* The same value to n rows. */
bool flow_fill_u64(flow_batch *b, uint32_t column, uint32_t row, uint32_t n, uint64_t v);
bool flow_fill_key(flow_batch *b, uint32_t column, uint32_t row, uint32_t n, const void *key,
                   uint32_t len);

#endif
