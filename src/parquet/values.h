/* values -- the values of one column of a row group, those that are there side by side. */
#ifndef PARQUET_VALUES_H
#define PARQUET_VALUES_H

#include "parquet/meta.h"

enum values_kind { VALUES_BOOLS, VALUES_INTS32, VALUES_INTS64, VALUES_OCTETS };

struct values {
    const struct meta_leaf *leaf;
    const struct parquet_data *data;
    size_t n_rows, n;
    size_t n_null; /* rows */
    enum values_kind kind;

    /* Integers as wide as they came, `width` octets: 1, 2, 4 or 8, at most as wide as a slot. */
    const void *ints;
    unsigned width;
    /* uint8_t, uint32_t, uint64_t (floats by their bits) or struct parquet_bytes. Of integers that are narrower only
     * after values_widen. */
    const void *slots;
    /* Codes of data->dict; the encoder puts those of the chunk's own dictionary into one of the two. */
    const uint32_t *codes;
    const uint8_t *narrow;
};

/* Fill in the rest of *v from leaf, data and n_rows. slots, codes: memory for what is not side by side or not as wide as
 * in the file; it is kept by the caller as long as v. WEIR_EINVAL: the data breaks its rules; WEIR_ENOMEM. */
weir_status values_gather(struct values *v, base_buf *slots, base_buf *codes, weir_err *err);
/* Integers as slots too. wide: memory for them. WEIR_ENOMEM. */
weir_status values_widen(struct values *v, base_buf *wide, weir_err *err);

bool values_are_ints(const struct parquet_column *c);
size_t values_slot_size(enum values_kind kind);
/* Octets that n values from i on take as PLAIN. */
uint64_t values_plain_octets(const struct values *v, size_t i, size_t n);
/* ... that one takes at most. */
size_t values_largest(const struct values *v);
/* Values of a row, and of the rows from row to end. */
size_t values_of_row(const struct parquet_data *d, size_t row);
size_t values_of_rows(const struct parquet_data *d, size_t row, size_t end);

#endif
