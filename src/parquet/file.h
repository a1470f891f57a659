/* file -- an open Parquet file from the inside: for the parts of the reader alone. */
#ifndef PARQUET_FILE_H
#define PARQUET_FILE_H

#include "parquet/meta.h"
#include "parquet/reader.h"

enum {
    /* A page's values, uncompressed. Usual are 1 MiB; a dictionary may be larger. */
    FILE_MAX_PAGE_OCTETS = 256 << 20,
    FILE_MAX_FOOTER_OCTETS = 512 << 20,
    FILE_MAX_DICT_VALUES = 1 << 25,
};

struct parquet_file {
    char *name;
    int fd;              /* -1: the file is data[len] */
    const uint8_t *data; /* borrowed */
    uint8_t *tail;       /* what stands behind the first fd_len octets; NULL: nothing */
    uint64_t fd_len, len;
    struct meta_file meta;
    struct parquet_schema schema;
    struct parquet_column *columns; /* schema's */
    uint32_t *leaf_of_column;
    uint64_t *first_rows; /* of the groups */
};

/* n octets at `at`, all within the file. WEIR_ETRUNC: the file has become shorter; WEIR_EIO. */
weir_status file_read(const parquet_file *f, uint64_t at, void *to, size_t n, weir_err *err);

/* Whether at[n] lies within the file. */
static inline bool file_holds(const parquet_file *f, uint64_t at, uint64_t n)
{
    return at <= f->len && n <= f->len - at;
}

static inline const struct meta_leaf *file_leaf(const parquet_file *f, size_t column)
{
    return &f->meta.leaves[f->leaf_of_column[column]];
}

static inline const struct meta_chunk *file_chunk(const parquet_file *f, size_t group,
                                                  size_t column)
{
    return &f->meta.groups[group].chunks[f->leaf_of_column[column]];
}

/* The pages of a chunk by its offset index, malloc'ed; *n 0, *out NULL: it has none. They lie within the file, and
 * their first rows rise from 0 and stay below those of the group. */
weir_status file_offset_index(const parquet_file *f, size_t group, size_t column,
                              struct meta_page_place **out, size_t *n, weir_err *err);

/* A cursor that checks the checksums of the pages that it reads. */
weir_status cursor_new_checked(const parquet_file *f, size_t group, size_t column,
                               parquet_cursor **out, weir_err *err);

#endif
