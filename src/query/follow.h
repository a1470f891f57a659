/* follow -- the rows of one file in order, a window at a time, with their numbers: for those who go on behind what they have read
 * (ship) instead of asking for all of it. */
#ifndef QUERY_FOLLOW_H
#define QUERY_FOLLOW_H

#include "parquet/reader.h"
#include "query/run.h"

typedef struct query_follow query_follow; /* of one thread */

struct query_follow_options {
    const struct query_field
        *fields; /* n_fields columns of each block; copied, but for the names */
    size_t n_fields;
    const struct query_expr *filter; /* NULL: all rows; borrowed until query_follow_free */
    struct query_lookup *lookup;     /* NULL: none; borrowed likewise */
    bool scaled; /* counters are multiplied by the sampling rate; else as received */
};

/* WEIR_ENOMEM; WEIR_EINVAL. Extra columns have the type that the first file with them has. */
weir_status query_follow_new(const struct query_follow_options *o, query_follow **out,
                             weir_err *err);
void query_follow_free(query_follow *f); /* takes NULL */

/* Begin with row `from` of a file, counted through all its row groups. file is borrowed until the next call of this, or the
 * end. From beyond its last row: nothing will come. */
void query_follow_open(query_follow *f, const parquet_file *file, uint64_t from);

struct query_follow_rows {
    uint64_t from, to; /* rows [from, to) of the file were looked at */
    struct query_block
        block;          /* those that pass the filter, in order; n may be 0, and vecs then NULL */
    const uint32_t *at; /* of each row of the block: its number less `from`; NULL: all passed */
};

/* The next rows, at most `most` of them. Borrowed until the next call. WEIR_END: there are no more. Any other status: of the
 * file, which is of no more use. */
weir_status query_follow_next(query_follow *f, size_t most, struct query_follow_rows *out,
                              weir_err *err);

/* What values of a column of a file are: enum query_kind. */
uint8_t query_column_kind(const struct parquet_column *c);

#endif
