/* meta -- the footer's structs in memory and as Thrift compact octets, both ways. For the writer and the reader alone. */
#ifndef PARQUET_META_H
#define PARQUET_META_H

#include "base/buf.h"
#include "parquet/parquet.h"

/* Bounds that meta_parse gives are usable: of a leaf whose order is known (meta_leaf.ordered), of the type's size, no
 * NaN. They compare as parquet_column.unsigned_order says, floats as numbers, octets as unsigned octets. */
struct meta_stats {
    struct parquet_bytes min, max; /* data NULL: absent */
    bool min_exact, max_exact;
    bool old; /* from the fields that were before column orders: right only for signed orders */
    int64_t n_nulls; /* -1 absent */
};

struct meta_chunk {
    uint8_t type, codec;
    uint32_t encodings;   /* bit 1 << enum parquet_encoding */
    bool dict_pages_only; /* encoding_stats, or the encodings list, say so */
    int64_t n_values;     /* levels */
    int64_t octets_plain, octets;
    int64_t data_offset, dict_offset;         /* dict_offset 0: none */
    int64_t bloom_offset;                     /* 0: none */
    int32_t bloom_octets;                     /* 0: unknown */
    int64_t offset_index_at, column_index_at; /* 0: none */
    int32_t offset_index_octets, column_index_octets;
    int32_t n_pages;      /* data pages, written into encoding_stats; 0: unknown */
    int64_t value_octets; /* of BYTE_ARRAY values without lengths (SizeStatistics); -1: unknown */
    struct meta_stats stats;
};

struct meta_group {
    struct meta_chunk *chunks; /* one a leaf of the file, as in the footer */
    size_t n_chunks;
    int64_t n_rows, octets_plain, octets;
    int sorted_by; /* -1 none */
    bool sorted_descending;
};

struct meta_leaf {
    struct parquet_column column;
    uint8_t max_def, max_rep;
    bool readable; /* flat or a list of primitives; others stay out of the reader's schema */
    bool ordered;  /* minima and maxima have an order that we know */
};

struct meta_kv {
    const char *key, *value; /* value may be NULL */
};

struct meta_file {
    struct meta_leaf *leaves;
    size_t n_leaves;
    struct meta_group *groups;
    size_t n_groups;
    int64_t n_rows;
    struct meta_kv *kv;
    size_t n_kv;
    const char *created_by;
    bool typed_order; /* column_orders is there: min_value and max_value mean something */
    void *memory;     /* everything above lives there; meta_done frees it */
};

/* Parse FileMetaData. at: offset of p in the file, for messages. Strings and bounds are copied. */
weir_status meta_parse(const uint8_t *p, size_t len, uint64_t at, struct meta_file *out,
                       weir_err *err);
void meta_done(struct meta_file *m);

/* Append FileMetaData. */
void meta_write(base_buf *b, const struct meta_file *m);
/* The same in parts: what is before the row groups, n_groups times meta_group_write, what is behind them. */
void meta_head_write(base_buf *b, const struct meta_file *m, size_t n_groups);
void meta_tail_write(base_buf *b, const struct meta_file *m);

/* One RowGroup struct by itself, for what is kept of a file that is not finished. ordinal: number of the group.
 * A group that is parsed may have fewer chunks than there are leaves; its memory is freed with meta_memory_free. */
void meta_group_write(base_buf *b, const struct meta_leaf *leaves, const struct meta_group *g,
                      size_t ordinal);
weir_status meta_group_parse(const uint8_t *p, size_t len, uint64_t at,
                             const struct meta_leaf *leaves, size_t n_leaves,
                             struct meta_group *out, void **memory, weir_err *err);
void meta_memory_free(void *memory); /* takes NULL */

/* NULL: the column can be written; else why not, "has ...". */
const char *meta_column_problem(const struct parquet_column *c);
/* Set max_def, max_rep, readable and ordered of a leaf whose column is set, flat or a three-level list. */
void meta_leaf_levels(struct meta_leaf *leaf);
/* Whether a bound of the leaf's statistics or page index may be used: see struct meta_stats. */
bool meta_bound_usable(const struct meta_leaf *leaf, struct parquet_bytes bound);

struct meta_page {
    uint8_t kind; /* PageType of the format */
    int32_t octets_plain, octets;
    bool has_crc;
    uint32_t crc;
    int32_t n_values, n_nulls, n_rows; /* n_nulls, n_rows: v2 only */
    uint8_t encoding, def_encoding, rep_encoding;
    int32_t def_octets, rep_octets; /* v2 */
    bool compressed;                /* v2 */
};

/* Parse one PageHeader of at most len octets; *used: its octets. */
weir_status meta_page_parse(const uint8_t *p, size_t len, uint64_t at, struct meta_page *out,
                            size_t *used, weir_err *err);
void meta_page_write(base_buf *b, const struct meta_page *page); /* v1 data and dictionary pages */

/* Page index of one chunk. */
struct meta_page_place {
    int64_t offset, first_row;
    int32_t octets; /* header included */
};
struct meta_page_bounds {
    bool all_null;
    struct parquet_bytes min, max;
    int64_t n_nulls; /* -1 unknown */
};
void meta_offset_index_write(base_buf *b, const struct meta_page_place *pages, size_t n);
void meta_column_index_write(base_buf *b, const struct meta_page_bounds *pages, size_t n,
                             int order);
/* out arrays are malloc'ed, the caller's; bounds borrow from p. */
weir_status meta_offset_index_parse(const uint8_t *p, size_t len, uint64_t at,
                                    struct meta_page_place **out, size_t *n, weir_err *err);
weir_status meta_column_index_parse(const uint8_t *p, size_t len, uint64_t at,
                                    struct meta_page_bounds **out, size_t *n, weir_err *err);

/* Bloom filter header (uncompressed split-block XXH64): octets of the bitset; *used: those of the header. */
weir_status meta_bloom_parse(const uint8_t *p, size_t len, uint64_t at, uint32_t *n_octets,
                             size_t *used, weir_err *err);
void meta_bloom_write(base_buf *b, uint32_t n_octets);

#endif
