/* dict -- the distinct values of a column chunk and each value's number among them. Buffers are kept from one chunk to
 * the next. */
#ifndef PARQUET_DICT_H
#define PARQUET_DICT_H

#include "parquet/parquet.h"

struct dict_slot;
struct dict_order;

struct dict_slots {
    struct dict_slot *at;
    size_t cap;
};

struct dict {
    uint64_t seed; /* of the hash tables: what peers send is hashed */

    /* The result: n entries, and codes of them. */
    uint32_t n;
    uint64_t *ints;              /* of dict_ints, dict_range: 32-bit values zero-extended */
    struct parquet_bytes *bytes; /* of dict_bytes, dict_codes; point to the caller's octets */
    uint64_t *keys; /* of bytes: never falling where the octets rise, but some share one */
    const uint32_t *codes;
    uint64_t octets;       /* of the entries of bytes, without lengths */
    uint64_t value_octets; /* ... times how often each occurs; dict_codes and dict_bytes */

    /* Room, in elements. */
    size_t cap_ints, cap_bytes, cap_codes, cap_counts, cap_order, cap_sorted, cap_keys;
    uint32_t *code_room, *counts;
    struct dict_order *order, *sorted;
    struct dict_slots slots, spare; /* a table grows from the one into the other */
};

void dict_done(struct dict *d);

/* The order of entries, all of these: by how often they occur, in powers of two, the most frequent ones first; and of
 * about the same frequency by value, strings by their first characters. Small codes for frequent values compress well,
 * and so do neighbours that are alike: of a million flows' addresses 2.9 octets a row, 3.3 by first appearance. Of few
 * entries the order is anything. It depends on nothing but the input. */

/* Of integers (32 bits each, or 64) that are all min + k * step, k <= range < 2^32. WEIR_ELIMIT, without a message: one
 * of them is not. */
weir_status dict_range(struct dict *d, const void *values, bool is64, size_t n, uint64_t min,
                       uint64_t step, uint32_t range, weir_err *err);
/* The largest step that some of the values allow, at least 1. */
uint64_t dict_step(const void *values, bool is64, size_t n, uint64_t min);

/* Of any integers. WEIR_ELIMIT, without a message: given up, because entries
 * come to cost more than max_bits at entry_bits each and n codes, or nearly each value is new. */
weir_status dict_ints(struct dict *d, const void *values, bool is64, size_t n, unsigned entry_bits,
                      uint64_t max_bits, weir_err *err);

/* Of octets; given up likewise, above max_octets of PLAIN entries. */
weir_status dict_bytes(struct dict *d, const struct parquet_bytes *values, size_t n,
                       uint64_t max_octets, weir_err *err);

/* Entries that codes[n] use, and codes of those. WEIR_EINVAL: a code is not below n_dict. */
weir_status dict_codes(struct dict *d, const uint32_t *codes, size_t n,
                       const struct parquet_bytes *dict, uint32_t n_dict, weir_err *err);

#endif
