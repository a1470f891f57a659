/* dict -- the distinct values of a column chunk and each value's number among them. Buffers are kept from one chunk to
 * the next. */
#ifndef PARQUET_DICT_H
#define PARQUET_DICT_H

#include "parquet/parquet.h"

struct dict_slot;

struct dict_slots {
    struct dict_slot *at;
    size_t cap;
};

/* Classes of frequency: one for each power of two that a 32-bit count has. */
enum { DICT_CLASSES = 33 };

struct dict {
    uint64_t seed; /* of the hash tables: what peers send is hashed */

    /* The result: n entries, and codes of them, of one octet where n is at most 256. */
    uint32_t n;
    uint64_t *ints;              /* of dict_ints, dict_range: 32-bit values zero-extended */
    struct parquet_bytes *bytes; /* of dict_bytes, dict_codes; point to the caller's octets */
    const uint8_t *narrow;       /* one of these two, the other is NULL */
    const uint32_t *codes;
    uint64_t octets;       /* of the entries of bytes, without lengths */
    uint64_t value_octets; /* ... times how often each occurs; dict_codes and dict_bytes */

    /* How bytes are in order: entries runs[i] .. runs[i + 1] are of one class, and within it their keys rise, as their
     * octets do as far as keys tell: of entries with the same key any may be the smaller. No runs: in no order. */
    uint32_t runs[DICT_CLASSES + 1];
    unsigned n_runs;
    uint64_t *keys;

    /* Room, in elements. */
    size_t cap_ints, cap_bytes, cap_spare_bytes, cap_codes, cap_narrow, cap_counts, cap_order,
        cap_sorted, cap_keys, cap_marks, cap_tallies, cap_places, cap_table;
    uint32_t *code_room, *counts;
    uint8_t *narrow_room;
    uint64_t *order, *sorted;
    struct parquet_bytes *spare_bytes;
    uint8_t *marks;
    uint16_t *tallies;
    uint32_t *places, *table;
    struct dict_slots slots, spare; /* a table grows from the one into the other */
};

void dict_done(struct dict *d);

/* The order of entries, all of these: by how often they occur, in powers of two, the most frequent ones first; and of
 * about the same frequency by value, strings by their first characters. Small codes for frequent values compress well,
 * and so do neighbours that are alike: of a million flows' addresses 2.9 octets a row, 3.3 by first appearance. Of few
 * entries the order is anything. It depends on nothing but the input. */

/* Of integers of `width` octets (1, 2, 4, 8), in the file 32 or 64 bits, that are all min + k * step, k <= range < 2^32.
 * WEIR_ELIMIT, without a message: one of them is not. */
weir_status dict_range(struct dict *d, const void *values, unsigned width, bool is64, size_t n,
                       uint64_t min, uint64_t step, uint32_t range, weir_err *err);
/* Of values that are all the same. */
weir_status dict_one(struct dict *d, uint64_t value, size_t n, weir_err *err);
/* The largest step that some of the values allow, at least 1. */
uint64_t dict_step(const void *values, bool is64, size_t n, uint64_t min);

/* Of any integers; min: about the least of them. WEIR_ELIMIT, without a message: given up, because entries
 * come to cost more than max_bits at entry_bits each and n codes, or nearly each value is new. */
weir_status dict_ints(struct dict *d, const void *values, bool is64, size_t n, uint64_t min,
                      unsigned entry_bits, uint64_t max_bits, weir_err *err);

/* Of octets; given up likewise, above max_octets of PLAIN entries. */
weir_status dict_bytes(struct dict *d, const struct parquet_bytes *values, size_t n,
                       uint64_t max_octets, weir_err *err);

/* Entries that codes[n] use (n at least 1), and codes of those. WEIR_EINVAL: a code is not below n_dict. */
weir_status dict_codes(struct dict *d, const uint32_t *codes, size_t n,
                       const struct parquet_bytes *dict, uint32_t n_dict, weir_err *err);

/* The smallest and the largest, in the order of their octets, of the bytes of codes from .. from + n, n at least 1.
 * WEIR_ENOMEM. */
weir_status dict_span(struct dict *d, size_t from, size_t n, uint32_t *min, uint32_t *max,
                      weir_err *err);

#endif
