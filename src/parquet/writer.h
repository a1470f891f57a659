/* writer -- Parquet files, a row group at a time, each column's encoding and codec chosen from its data.
 *
 *     parquet_writer_new(&options, &schema, &w, &err);
 *     for each row group:  parquet_writer_group(w, data, n_rows, &meta, &err);   // octets go to the sink
 *     parquet_writer_finish(w, kv, n_kv, &err);                                  // page index, footer
 *
 * The metadata of each finished row group can be taken out and given back, so that a file that was interrupted can be
 * completed by another process (parquet_writer_resume): a journal keeps them. One thread at a time. */
#ifndef PARQUET_WRITER_H
#define PARQUET_WRITER_H

#include "base/buf.h"
#include "parquet/parquet.h"

typedef struct parquet_writer parquet_writer;

struct parquet_key_value {
    const char *key, *value;
};

struct parquet_writer_options {
    /* Takes the octets of the file in order. WEIR_OK or why not; nothing is written twice. */
    weir_status (*sink)(void *user, const void *data, size_t len, weir_err *err);
    void *user;
    uint8_t
        codec; /* enum parquet_codec: ZSTD, LZ4_RAW or NONE; a page that it does not shrink by 7 %
                                  makes its chunk be stored as it is */
    int level; /* of zstd, 1 to 22 */
    int text_level;   /* the same for dictionaries of texts; 0: level */
    size_t page_rows; /* rows a page, made a multiple of 8; 0: 32768. A page of large values ends
                                  early */
    size_t max_dict_octets; /* a larger dictionary is given up for plain values; 0: 64 MiB */
    const bool *bloom;      /* one a column: with a bloom filter; NULL: none */
    double bloom_fpp;       /* false positives; 0: 0.01 */
    int sorted_by;          /* column by which the rows of each group are sorted, -1: none */
    bool sorted_descending;
    const char *created_by; /* "weir version 0.1.0" */
};

/* schema is copied. WEIR_OK; WEIR_EINVAL; WEIR_ENOMEM; or the sink's. */
weir_status parquet_writer_new(const struct parquet_writer_options *o,
                               const struct parquet_schema *schema, parquet_writer **out,
                               weir_err *err);
void parquet_writer_free(parquet_writer *w); /* takes NULL; without finish the file has no footer */

/* Columns added behind the others, without bloom filters: the row groups already written get nulls for them, at
 * finish. The column must be optional. */
weir_status parquet_writer_add_columns(parquet_writer *w, const struct parquet_column *columns,
                                       size_t n, weir_err *err);

/* Write one row group: data[n columns], all of n_rows rows (1 to 2^31 - 1). A column whose data has n 0 is null in
 * all rows. Its bloom filters follow it. WEIR_EINVAL: data that breaks the rules of struct parquet_data; WEIR_ELIMIT: a
 * row of one column has more than 128 MiB; WEIR_ENOMEM; or the sink's. Nothing of a group that failed will be in the
 * file's footer; the writer cannot be used further. */
weir_status parquet_writer_group(parquet_writer *w, const struct parquet_data *data, size_t n_rows,
                                 weir_err *err);

/* Octets given to the sink so far: where the next row group begins. */
uint64_t parquet_writer_offset(const parquet_writer *w);

/* What finish needs to know of the last row group (its RowGroup struct and page index), appended to out: opaque, with a
 * version and a checksum of its own. Nothing before the first row group. */
void parquet_writer_group_meta(const parquet_writer *w, base_buf *out);

/* A writer that goes on behind `offset` octets of a file whose row groups are described by metas[n] (from
 * parquet_writer_group_meta, in order); schema as the columns are known now. WEIR_EFORMAT: a meta is damaged. */
weir_status parquet_writer_resume(const struct parquet_writer_options *o,
                                  const struct parquet_schema *schema, uint64_t offset,
                                  const struct parquet_bytes *metas, size_t n, parquet_writer **out,
                                  weir_err *err);

/* Nulls of added columns, page index, footer. With kv[n_kv] as key-value metadata. */
weir_status parquet_writer_finish(parquet_writer *w, const struct parquet_key_value *kv,
                                  size_t n_kv, weir_err *err);

/* Octets that finish would write, without writing them, for readers of an unfinished file (parquet_open_parts):
 * the file is then the octets written so far followed by `out`. The writer can go on afterwards. */
weir_status parquet_writer_preview(parquet_writer *w, base_buf *out, weir_err *err);

#endif
