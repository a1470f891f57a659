/* load -- kernels: one field of fixed length out of n records into a column, without a branch per value. */
#ifndef FLOW_LOAD_H
#define FLOW_LOAD_H

#include "flow/flow.h"
#include "flow/stage.h"

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
/* The octets as keys of a dictionary column. */
enum flow_loaded flow_load_keys(flow_batch *b, struct flow_col *c, uint32_t row,
                                const struct flow_run *in);
/* The codes of n keys of 4 octets, as they lie in memory. False: out of memory. */
bool flow_codes4(flow_batch *b, struct flow_keys *k, const uint32_t *keys, uint32_t n,
                 uint32_t *codes);
/* The same value to n rows. */
bool flow_fill_u64(flow_batch *b, uint32_t column, uint32_t row, uint32_t n, uint64_t v);
/* A value for each span of n rows. */
bool flow_fill_spans(flow_batch *b, uint32_t column, uint32_t row, uint32_t n,
                     const struct flow_span *spans, const uint64_t *values, uint32_t n_spans);

#endif
