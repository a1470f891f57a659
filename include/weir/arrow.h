/* arrow -- flows as Apache Arrow record batches: from a decoder, from a capture, from an archive. Through the Arrow C data
 * and C stream interfaces, so that pyarrow, DuckDB, polars, pandas, R and others take them without copying and without
 * this library linking to any of them.
 *
 *     struct ArrowArrayStream flows;
 *     weir_arrow_capture("exports.pcap", NULL, &flows, &err);
 *     for (struct ArrowArray batch; !flows.get_next(&flows, &batch) && batch.release; batch.release(&batch))
 *         ...
 *     flows.release(&flows);
 *
 * Columns are those of `weir fields`, named and typed as in the archive's Parquet files: counters are unsigned integers,
 * times timestamp[us, UTC], addresses, MACs and texts dictionary<uint32, utf8>, octets dictionary<uint32, binary>; every
 * column may have nulls. Arrays and schemas may be released in any order, after what they came from, and by any thread.
 *
 * These functions are in libweir-archive, which stands on libweir (pkg-config weir-archive); docs/arrow.md has an example. */
#ifndef WEIR_ARROW_H
#define WEIR_ARROW_H

#include <weir/decoder.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The two interfaces as the Arrow project defines them (https://arrow.apache.org/docs/format/CDataInterface.html). */
#ifndef ARROW_C_DATA_INTERFACE
#define ARROW_C_DATA_INTERFACE
#define ARROW_FLAG_DICTIONARY_ORDERED 1
#define ARROW_FLAG_NULLABLE 2
#define ARROW_FLAG_MAP_KEYS_SORTED 4
struct ArrowSchema {
    const char *format, *name, *metadata;
    int64_t flags, n_children;
    struct ArrowSchema **children, *dictionary;
    void (*release)(struct ArrowSchema *);
    void *private_data;
};
struct ArrowArray {
    int64_t length, null_count, offset, n_buffers, n_children;
    const void **buffers;
    struct ArrowArray **children, *dictionary;
    void (*release)(struct ArrowArray *);
    void *private_data;
};
#endif
#ifndef ARROW_C_STREAM_INTERFACE
#define ARROW_C_STREAM_INTERFACE
struct ArrowArrayStream {
    int (*get_schema)(struct ArrowArrayStream *, struct ArrowSchema *);
    int (*get_next)(struct ArrowArrayStream *, struct ArrowArray *);
    const char *(*get_last_error)(struct ArrowArrayStream *);
    void (*release)(struct ArrowArrayStream *);
    void *private_data;
};
#endif

/* ---- rows of a decoder ---- */

/* Rows gathered from the records of one decoder. One thread at a time. */
typedef struct weir_batch weir_batch;

typedef struct weir_batch_options {
    /* n_columns names: these, in this order. As in `weir fields`; or of an element that has no column of its own, under its
     * registry name ("e9_12242" one that no registry knows): null where a record has it several times. NULL: see take. */
    const char *const *columns;
    size_t n_columns;
    bool options;                  /* options records instead of flows */
    const weir_elements *elements; /* for names of columns: those of the decoder; NULL: built-in */
} weir_batch_options;

/* o may be NULL. NULL: out of memory, or a name that is no column or stands there twice (err names it). */
WEIR_API weir_batch *weir_batch_new(const weir_batch_options *o, weir_err *err);
WEIR_API void weir_batch_free(weir_batch *b); /* takes NULL; arrays that were taken live on */

/* The handlers that put records into a batch, for weir_decode with the batch as user: record, records and sampling (a
 * rate that comes after its first rows), or options. The others are NULL, to be set or called by whoever needs them
 * too. Rows are in the order of the calls; those that find no memory are counted by weir_batch_lost. */
WEIR_API weir_handlers weir_batch_handlers(const weir_batch *b);
WEIR_API size_t weir_batch_rows(weir_batch *b);
WEIR_API uint64_t weir_batch_lost(const weir_batch *b);

/* Its rows as one struct array, which the caller releases; the batch is then empty. Values are not copied, but for the texts
 * of addresses (once each) and booleans. Without columns named at the start: the columns that some row has a value for, in
 * the order of `weir fields`, then those of elements that have no column of their own. schema may be NULL.
 *
 *     src_addr: dictionary    bytes: uint64        weir_batch_take(b, &schema, &array, &err);
 *     0 -> "192.0.2.1"        1500                 array.children[0]->dictionary holds the texts, once each
 *     null                    40
 *
 * WEIR_OK; WEIR_ENOMEM; WEIR_ELIMIT: texts of one column have 2 GiB (take batches of fewer rows): the batch is as before. */
WEIR_API weir_status weir_batch_take(weir_batch *b, struct ArrowSchema *schema,
                                     struct ArrowArray *array, weir_err *err);

/* ---- a capture ---- */

typedef struct weir_capture_options {
    const weir_decoder_options *decoder; /* NULL: defaults */
    weir_batch_options
        rows; /* without columns: all those of the table, so that all batches are alike, and no extra ones */
    uint32_t batch_rows; /* 0: 65536; a batch ends with the packet that makes it so many */
    uint16_t port;       /* UDP destination port that counts, 0: what looks like exports */
} weir_capture_options;

/* Records of a pcap or pcapng capture, an IPFIX file, a payload or hex text (path "-": standard input; gzip and bzip2 are
 * opened), in wire order of the packets. Reading happens in get_next; what is damaged is passed over and counted, as
 * `weir decode` does. path and o are not needed afterwards, but for o->decoder->elements. WEIR_OK and *out, released by the
 * caller; WEIR_EIO, WEIR_EFORMAT, WEIR_ETRUNC, WEIR_EINVAL, WEIR_ENOMEM. get_next: EIO when reading fails half-way. */
WEIR_API weir_status weir_arrow_capture(const char *path, const weir_capture_options *o,
                                        struct ArrowArrayStream *out, weir_err *err);

/* What was read of a capture up to now. */
typedef struct weir_capture_counts {
    uint64_t frames, packets; /* of the file; export packets among them */
    uint64_t damaged;         /* frames, lines and gaps that could not be read */
    uint64_t lost;            /* records that found no memory */
    weir_counters decoder;
} weir_capture_counts;

/* Of a stream of weir_arrow_capture that is not released yet; else WEIR_EINVAL. */
WEIR_API weir_status weir_capture_counted(const struct ArrowArrayStream *s,
                                          weir_capture_counts *out);

/* ---- an archive ---- */

/* A question, in the words of `weir query`; NULL and 0 are its defaults. */
typedef struct weir_query {
    /* n_paths archives, directories or Parquet files; a single one may be a range of files as -R has it,
     * "archive/FIRST:LAST". NULL: "archive". */
    const char *const *paths;
    size_t n_paths;
    const char *filter; /* "dst port 53 and bytes > 1k"; host names and @include are refused */
    const char *window; /* as -t: "2026-11-22T21:00Z-2026-11-22T22:00Z", "-1h" */
    /* Fields as in `weir fields`, "src_addr,bytes". NULL: all columns of the table and the extra ones of the files, or
     * of groups their keys, first, last, flows, packets and bytes. */
    const char *columns;
    const char *by;    /* as -A: "src_addr,dst_port": a row a group */
    const char *order; /* as -O: "bytes", "first" */
    uint64_t limit;    /* rows of the answer, 0: all */
    /* Counters as sent. Else they are multiplied by the sampling rate, and a sampling_rate beside them is at most 1. */
    bool raw;
    unsigned threads;  /* 0: all cores */
    size_t max_octets; /* memory for groups and sorting, 0: a quarter of RAM */
} weir_query;

/* A question that runs. */
typedef struct weir_answer weir_answer;

/* Starts it on threads of its own, in which all signals are blocked and which wait when nobody takes batches. WEIR_OK: *out is
 * freed with weir_answer_free, *batches released by the caller, in any order; freeing either ends the question, and
 * get_next then says ECANCELED. q and its texts are not needed afterwards. Rows come as `weir query` orders them.
 * WEIR_EFORMAT the filter or a name is wrong (err says where); WEIR_ENOTFOUND nothing to read; WEIR_EIO, WEIR_ENOMEM,
 * WEIR_EINVAL. Files that cannot be read are told in the summary; when all of them cannot, get_next says EIO. */
WEIR_API weir_status weir_query_start(const weir_query *q, struct ArrowArrayStream *batches,
                                      weir_answer **out, weir_err *err);
/* What `weir query -o json --summary json` says of its answer, completeness included, as JSON; after the last batch
 * was taken, else WEIR_EINVAL. Borrowed until weir_answer_free. */
WEIR_API weir_status weir_answer_summary(weir_answer *a, const char **json, weir_err *err);
WEIR_API void weir_answer_free(weir_answer *a); /* takes NULL */

#ifdef __cplusplus
}
#endif
#endif
