/* chunk -- one column of one row group as pages: values are gathered, their encoding and codec chosen by trying them on
 * one page, pages written with their bounds and checksums, the page index and the bloom filter made. */
#ifndef PARQUET_CHUNK_H
#define PARQUET_CHUNK_H

#include "parquet/bounds.h"
#include "parquet/dict.h"
#include "parquet/meta.h"
#include "parquet/press.h"

/* Rows of a page unless options say otherwise: a page is the least that a reader decodes. */
#define CHUNK_PAGE_ROWS 32768
#define CHUNK_MAX_PAGE_ROWS (1 << 20)
/* A page ends early above this, and no single row may be larger than the other: a page must stay below 2^31 octets. */
#define CHUNK_PAGE_OCTETS (8 << 20)
#define CHUNK_MAX_ROW_OCTETS (128 << 20)
/* A codec must save at least this share of a chunk; else it is stored as it is and costs nothing to read. */
#define CHUNK_MIN_SAVING 0.07

/* Where rows and values of a page begin, and what is known of it. The element behind the last page tells the ends. */
struct chunk_page {
    size_t row, value;
    size_t n_levels;
    struct bounds bounds;
    int64_t offset; /* in the file */
    int32_t octets; /* header included */
};

/* A page's octets, as they are and compressed. */
struct chunk_body {
    base_buf plain, packed;
};

/* Encodes one chunk after the other; its buffers are kept. */
struct chunk_encoder {
    weir_status (*sink)(void *user, const void *data, size_t len, weir_err *err);
    void *user;
    uint8_t codec;
    int level, text_level;
    size_t page_rows;
    size_t max_dict_octets;
    double bloom_fpp;

    uint64_t offset; /* octets that the sink has */
    base_buf out;    /* ... and those that it has not yet */
    base_buf blooms; /* bloom filters of the row group's columns so far, with headers */

    struct press press;
    struct dict dict;
    struct chunk_page *pages;
    size_t cap_pages;
    uint32_t *levels;
    size_t cap_levels;
    base_buf slots, codes; /* gathered values */
    struct chunk_body best, trial, entries;
    base_buf scratch;
};

void chunk_encoder_done(struct chunk_encoder *e);

/* Hand to the sink what it has not got. */
weir_status chunk_flush(struct chunk_encoder *e, weir_err *err);

/* The page index of a row group's chunks, structs one after another. */
struct chunk_index {
    bool wanted; /* else it stays empty */
    base_buf columns, offsets;
};

/* Write a column's rows. Where a page index is wanted it is appended to *index, its lengths are in *meta (0: none), its
 * places are not. A bloom filter is appended to e->blooms, its place there, plus 1, is meta->bloom_offset. *all is the
 * memory of the bounds in *meta.
 * WEIR_OK; WEIR_EINVAL data that breaks its rules; WEIR_ELIMIT a row too large; WEIR_ENOMEM; the sink's. */
weir_status chunk_encode(struct chunk_encoder *e, const struct meta_leaf *leaf,
                         const struct parquet_data *data, size_t n_rows, bool bloom,
                         struct chunk_index *index, struct bounds *all, struct meta_chunk *meta,
                         weir_err *err);

/* A column that is null in all rows, appended to out, which begins at `offset` of the file. */
void chunk_encode_null(base_buf *out, uint64_t offset, const struct meta_leaf *leaf, size_t n_rows,
                       struct chunk_index *index, struct meta_chunk *meta);

#endif
