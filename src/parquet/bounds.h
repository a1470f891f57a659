/* bounds -- the smallest and largest value of a page or chunk, as PLAIN octets, in the order of the column; long ones
 * are shortened so that they still bound. parquet-format parquet.thrift, ColumnOrder and Statistics. */
#ifndef PARQUET_BOUNDS_H
#define PARQUET_BOUNDS_H

#include "parquet/meta.h"

/* Octets that are kept of a value; a largest one that is made longer by stepping up its last character needs more. */
#define BOUNDS_OCTETS 64

struct bounds_value {
    uint8_t octets[BOUNDS_OCTETS + 4];
    uint8_t len;
    bool exact;
};

struct bounds {
    bool known; /* else there were no values, or none that has an order */
    struct bounds_value min, max;
};

/* Of integers of `width` octets (1, 2, 4, 8) in a column of 32 bits, or 64. */
void bounds_of_ints(struct bounds *b, const void *values, unsigned width, bool is_unsigned,
                    bool is64, size_t n);
void bounds_of_float(struct bounds *b, const float *values, size_t n);
void bounds_of_double(struct bounds *b, const double *values, size_t n);
void bounds_of_bools(struct bounds *b, const uint8_t *values, size_t n);
/* From the smallest and the largest octets of several; text: UTF-8, and so shall the bounds be. */
void bounds_of_bytes(struct bounds *b, struct parquet_bytes min, struct parquet_bytes max,
                     bool text);

/* Below 0, 0, above 0, in the order of the column. */
int bounds_compare(const struct parquet_column *c, const struct bounds_value *a,
                   const struct bounds_value *b);
/* Widen b to hold `more` too. */
void bounds_join(const struct parquet_column *c, struct bounds *b, const struct bounds *more);

int bounds_compare_bytes(struct parquet_bytes a, struct parquet_bytes b); /* unsigned octets */

#endif
