/* columns -- the columns of a file of an archive, and the rows of a batch as a Parquet writer takes them. */
#ifndef ARCHIVE_COLUMNS_H
#define ARCHIVE_COLUMNS_H

#include "flow/batch.h"
#include "parquet/parquet.h"

struct archive_column {
    char *name;
    enum flow_type type;
    bool list;
};

/* The table's columns, then extra ones in order of appearance. Zero-initialise; done frees all. */
struct archive_columns {
    struct archive_column *items;
    size_t n, cap;
};

enum { ARCHIVE_MAX_COLUMNS = 4096 };

void archive_columns_done(struct archive_columns *c);
/* Forget all columns from n on. */
void archive_columns_cut(struct archive_columns *c, size_t n);
/* WEIR_ENOMEM; WEIR_ELIMIT: ARCHIVE_MAX_COLUMNS. */
weir_status archive_columns_add(struct archive_columns *c, const char *name, size_t len,
                                enum flow_type type, bool list, weir_err *err);
/* The column of this name in any case of letters, as readers of Parquet files look for it; SIZE_MAX: none. */
size_t archive_columns_find(const struct archive_columns *c, const char *name);
/* What a file begins with: all columns of its table, those that are null in all rows too, for SQL that names them. */
weir_status archive_columns_table(struct archive_columns *c, enum flow_table table, weir_err *err);
/* Whether the batch's columns can stand in this file: none has the name of one with another type or in another case, and
 * there is room. */
bool archive_columns_fit(const struct archive_columns *c, const flow_batch *b);
/* Add those of the batch's columns that are not there yet. On failure (WEIR_EFORMAT: one contradicts; WEIR_ELIMIT;
 * WEIR_ENOMEM) c is as before. */
weir_status archive_columns_take(struct archive_columns *c, const flow_batch *b, weir_err *err);

/* As Parquet has it; name is borrowed. */
struct parquet_column archive_parquet_column(const struct archive_column *c);
/* out[n - from]: the columns from `from` on, for a schema. NULL: out of memory. */
struct parquet_column *archive_parquet_columns(const struct archive_columns *c, size_t from);

/* All rows of a batch, for parquet_writer_group: data[columns->n]. Borrows from the batch and owns what had to be made;
 * zero-initialise, done frees; made again for another batch, it uses the same memory. Columns of the batch that the file
 * has not must be empty. */
struct archive_rows {
    struct parquet_data *data;
    struct archive_block {
        void *at;
        size_t octets;
    } * blocks;
    size_t n_blocks, n_used;
};
weir_status archive_rows_make(struct archive_rows *r, const struct archive_columns *c,
                              const flow_batch *b, weir_err *err);
void archive_rows_done(struct archive_rows *r);

/* The column of every table that says when: `received`, of the ledger `minute`. */
enum { ARCHIVE_TIME_COLUMN = 0 };
_Static_assert((int)FLOW_received == ARCHIVE_TIME_COLUMN &&
                   (int)FLOW_OPTION_received == ARCHIVE_TIME_COLUMN &&
                   (int)FLOW_LEDGER_minute == ARCHIVE_TIME_COLUMN,
               "times of all tables stand in their first column");

/* Smallest and largest time in that column in the rows from `from` on, microseconds since 1970; 0 and -1 when there is
 * none. */
void archive_received(const flow_batch *b, uint32_t from, int64_t *min, int64_t *max);

#endif
