/* gather -- rows of several Parquet files gathered into one row group: columns by name, dictionaries merged, rows sorted.
 *
 *     file a   src "x" "y"   codes 0 1 0          gathered  codes 0 1 0 2 1   dict "x" "y" "z"
 *     file b   src "z" "y"   codes 0 1            sorted    ...               dict sorted as well
 */
#ifndef ARCHIVE_GATHER_H
#define ARCHIVE_GATHER_H

#include "parquet/reader.h"

typedef struct archive_gather archive_gather;

/* columns are borrowed; max_rows: of a group. NULL: out of memory. */
archive_gather *archive_gather_new(const struct parquet_column *columns, size_t n, size_t max_rows);
void archive_gather_free(archive_gather *g); /* takes NULL */

/* Whether it can hold such values (INT96, FIXED and lists with null items it cannot: we write none). */
bool archive_gather_can(const struct parquet_column *c);

size_t archive_gather_rows(const archive_gather *g);
/* Room for so many more rows. */
size_t archive_gather_left(const archive_gather *g);
size_t archive_gather_octets(const archive_gather *g); /* memory in use by rows and dictionaries */

/* Begin reading a row group: column i of the schema comes from the file's column from[i], or is null where that is
 * SIZE_MAX. file: borrowed until all is read, or archive_gather_leave. */
weir_status archive_gather_open(archive_gather *g, const parquet_file *file, size_t group,
                                const size_t *from, weir_err *err);
/* Give up reading it. */
void archive_gather_leave(archive_gather *g);
/* Take up to n rows of it, no more than there is room for; *taken 0: the row group is read. stop: asked between
 * columns; true ends with WEIR_END, and g is good for nothing but to be freed. */
weir_status archive_gather_take(archive_gather *g, size_t n, bool (*stop)(void *user), void *user,
                                size_t *taken, weir_err *err);

/* The rows as parquet_writer_group takes them: dictionaries sorted by octets; the rows too, by the columns keys[n_keys], the
 * first one foremost (strings and integers; others and SIZE_MAX are passed over; nulls last; equal ones as they came). data
 * is g's until reset. */
weir_status archive_gather_finish(archive_gather *g, const size_t *keys, size_t n_keys,
                                  const struct parquet_data **data, weir_err *err);
/* Ready for the next group; an open row group goes on where it was. */
void archive_gather_reset(archive_gather *g);

#endif
