/* reader -- Parquet files: metadata, statistics, and the values of a row group's column, some rows at a time. Every
 * octet of a file is hostile: sizes are checked against the file, counts against what is there, and a bad file gives
 * WEIR_EFORMAT or WEIR_ETRUNC with the offset.
 *
 * A parquet_file is immutable once open: any number of threads may make cursors from it. A cursor belongs to one
 * thread. */
#ifndef PARQUET_READER_H
#define PARQUET_READER_H

#include "parquet/parquet.h"

typedef struct parquet_file parquet_file;
typedef struct parquet_cursor parquet_cursor;

/* fd: a regular file, closed by parquet_close; when opening fails it stays the caller's. name: for messages, copied.
 * WEIR_EFORMAT: no Parquet file, a damaged one, or an encrypted one; WEIR_ETRUNC; WEIR_EIO; WEIR_ENOMEM. */
weir_status parquet_open(int fd, const char *name, parquet_file **out, weir_err *err);
/* The first len octets of fd followed by tail[tail_len] (copied): a file whose footer is not on disk yet. fd as above. */
weir_status parquet_open_parts(int fd, uint64_t len, const void *tail, size_t tail_len,
                               const char *name, parquet_file **out, weir_err *err);
/* data[len] is borrowed until parquet_close. */
weir_status parquet_open_memory(const void *data, size_t len, const char *name, parquet_file **out,
                                weir_err *err);
void parquet_close(parquet_file *f); /* takes NULL */

const char *parquet_name(const parquet_file *f);
uint64_t parquet_octets(const parquet_file *f);
const struct parquet_schema *
parquet_schema_of(const parquet_file *f); /* leaves only; others are left out */
/* Column by name (exact), or -1. */
int parquet_column_find(const parquet_file *f, const char *name);
uint64_t parquet_n_rows(const parquet_file *f);
size_t parquet_n_groups(const parquet_file *f);
/* Value of a key of the key-value metadata, or NULL. */
const char *parquet_key_value_find(const parquet_file *f, const char *key);

struct parquet_group_info {
    uint64_t n_rows;
    uint64_t octets;    /* compressed */
    uint64_t first_row; /* of the file */
    int sorted_by;      /* first sorting column, -1: none */
};
void parquet_group(const parquet_file *f, size_t group, struct parquet_group_info *out);

/* What the footer says of one column of one row group. min and max are PLAIN values (little-endian integers, raw octets) or NULL
 * data when unknown; for strings they may be shortened, min down and max up. */
struct parquet_chunk_info {
    uint64_t octets;       /* compressed */
    uint64_t octets_plain; /* as pages, uncompressed */
    int64_t n_nulls;       /* -1 unknown */
    struct parquet_bytes min, max;
    bool has_dict; /* a dictionary page, and every data page uses it as far as the footer says */
    bool has_bloom;
    uint8_t codec;
    uint32_t encodings; /* bit 1 << enum parquet_encoding */
};
void parquet_chunk(const parquet_file *f, size_t group, size_t column,
                   struct parquet_chunk_info *out);

/* Whether a value may occur in the chunk according to its bloom filter (true when there is none). value: as PLAIN,
 * without length. Reads the filter's one block from the file. */
weir_status parquet_bloom_may_have(const parquet_file *f, size_t group, size_t column,
                                   struct parquet_bytes value, bool *may, weir_err *err);

/* Pages of a chunk by its page index, if it has one: *n 0 when not. rows are of the row group. */
struct parquet_page_info {
    uint64_t first_row, n_rows;
    bool all_null;
    struct parquet_bytes min, max; /* data NULL: unknown; borrowed until parquet_pages_free */
};
weir_status parquet_pages(const parquet_file *f, size_t group, size_t column,
                          struct parquet_page_info **out, size_t *n, weir_err *err);
void parquet_pages_free(struct parquet_page_info *pages);

/* A window of rows of one column; borrowed from the cursor until its next call. As struct parquet_data, with
 *   codes   when the cursor gives codes (parquet_cursor_dict is not NULL): valid rows' codes are < n_dict, null rows' 0
 *   values  else: INT32 -> int32_t/uint32_t, INT64 -> int64_t/uint64_t, BOOLEAN -> uint8_t, FLOAT, DOUBLE, BYTE_ARRAY,
 *           FIXED and INT96 -> struct parquet_bytes; null rows 0.
 * Lists: starts has n + 1 entries; item_valid, one bit a slot, is NULL unless there are null items (files of others).
 * Checksums of pages are not looked at here: zlib's crc32 would take as long as unpacking dictionary codes does; zstd
 * and the checks of every count and length find most damage, parquet_chunk_verify all. */
weir_status parquet_cursor_new(const parquet_file *f, size_t group, size_t column,
                               parquet_cursor **out, weir_err *err);
void parquet_cursor_free(parquet_cursor *c); /* takes NULL */

/* The chunk's dictionary when all of its pages are dictionary-encoded, else NULL with *n 0: integers and floats as an
 * array of their slot type, BYTE_ARRAY and FIXED as struct parquet_bytes. Lives as long as the cursor. The first call
 * reads the dictionary page. */
weir_status parquet_cursor_dict(parquet_cursor *c, const void **values, uint32_t *n, weir_err *err);

/* Read the next n rows (fewer only at the end of the row group: then WEIR_END after the last). out->valid is NULL when
 * all n rows have values. */
weir_status parquet_cursor_read(parquet_cursor *c, size_t n, struct parquet_data *out,
                                weir_err *err);

/* Pass over n rows, to the end of the row group at most; pages that hold none of the rows that are read are not
 * decompressed, nor read when the offset index tells where the next page of interest is. The work is done by the next
 * parquet_cursor_read, so skips add up. */
weir_status parquet_cursor_skip(parquet_cursor *c, uint64_t n, weir_err *err);

/* All checksums, levels, dictionaries, statistics, page bounds and the bloom filter of one row group's column, against
 * its values. */
weir_status parquet_chunk_verify(const parquet_file *f, size_t group, size_t column, weir_err *err);

#endif
