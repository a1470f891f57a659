/* run -- a query over an archive: prune, scan, filter, group, order; results as blocks of columns to a sink.
 *
 * Partitions are pruned by the footer's statistics, row groups also by page index, dictionaries and bloom filters; filter
 * columns are decoded first, conditions are evaluated on dictionary entries, other columns only for rows that passed. */
#ifndef QUERY_RUN_H
#define QUERY_RUN_H

#include "query/filter.h"

/* One column of a block. n values; text columns as codes into a dictionary. Borrowed until the call returns. */
struct query_vec {
    uint8_t kind;          /* enum query_kind; QUERY_UNKNOWN: null in all rows */
    const uint64_t *valid; /* n bits, NULL: all are there */
    const uint64_t
        *num; /* U64, BOOL 0/1; S64, TIME as int64_t bits; F64 as double bits; null rows 0 */
    const uint32_t *codes; /* TEXT, OCTETS: into dict; null rows 0 */
    const struct query_text *dict;
    uint32_t n_dict;
    const uint32_t *starts; /* lists: n + 1, then num or codes hold the items */
};

struct query_block {
    size_t n;
    const struct query_vec *vecs; /* one a field of the result, in its order */
};

enum query_merge {
    QUERY_MERGE_NONE,
    QUERY_MERGE_BOTH, /* -b: a flow and its reverse become one record, the reverse in the out counters */
    QUERY_MERGE_GUESS /* -B: and the side with the port below 1024 becomes the destination */
};

/* One result of a query: rows as they are, or groups. */
struct query_result {
    const struct query_field
        *fields; /* n_fields columns of the result. In groups a field that is no key is:
                                         counters, flows: the sum; first: the least, last: the greatest; tcp_flags:
                                         or-ed; durations and rates: of those; anything else: of the group's first row */
    size_t n_fields;
    bool grouped;
    const struct query_field *keys; /* of the groups; n_keys 0: one group of all */
    size_t n_keys;
    bool either; /* keys are alternatives: a flow counts once for each different value */
    const struct query_field *also; /* further keys when either (":p"); n_also */
    size_t n_also;
    enum query_merge merge;           /* keys must then be the 5-tuple */
    const struct query_order *orders; /* first decides; n_orders 0: as they come (groups: by key) */
    size_t n_orders;
    uint64_t limit;                  /* rows that go to the sink, 0: all */
    const struct query_expr *having; /* -P, on the group's fields; NULL: all */
};

struct query_lookup; /* lookup.h: names from options records, MaxMind databases */

struct query {
    const char *const *paths; /* n_paths archives, directories or files */
    size_t n_paths;
    const char *range_from, *range_to; /* file names, NULL: all */
    const struct query_expr *filter;
    int64_t from_us,
        to_us; /* flows that overlap it: last >= from and first <= to; INT64_MIN, INT64_MAX: all */
    const struct query_result *results; /* n_results, all from one scan */
    size_t n_results;
    uint64_t stop_after; /* -c: rows that pass the filter, 0: all */
    bool raw;            /* counters as they are, not scaled */
    size_t
        max_octets; /* memory for groups and sorting, 0: a quarter of RAM; beyond it goes to temporary files */
    unsigned threads;            /* 0: all cores */
    const char *tmp;             /* directory for temporary files, NULL: $TMPDIR or /tmp */
    struct query_lookup *lookup; /* NULL: none */
    struct query_books
        *books; /* books.h: the files that there are, noted as they are found; NULL: not */
    bool (*stop)(void *user); /* asked often, from any thread; true: end with WEIR_END */
    void (*progress)(void *user, uint64_t octets_done, uint64_t octets_known,
                     uint64_t rows); /* NULL or called often */
    void *user;
};

enum query_skip {
    QUERY_SKIP_TIME,
    QUERY_SKIP_STATISTICS,
    QUERY_SKIP_DICTIONARY,
    QUERY_SKIP_BLOOM,
    QUERY_N_SKIPS
};
const char *query_skip_text(enum query_skip s); /* "outside the time window", ... */

struct query_summary {
    uint64_t files, files_failed;
    char failed[160];                /* message of the first file that could not be read */
    uint64_t groups, groups_read;    /* row groups seen, row groups whose rows were looked at */
    uint64_t skipped[QUERY_N_SKIPS]; /* row groups */
    uint64_t rows, rows_skipped;     /* rows of those read; of those skipped */
    uint64_t matched;                /* records that passed the filter */
    uint64_t flows, packets, bytes, out_packets, out_bytes; /* totals of those, scaled unless raw */
    uint64_t rows_scaled;                                   /* records with a rate above 1 */
    uint64_t rows_no_rate; /* records whose rate nobody knows, counted as 1 */
    uint64_t octets_read;
    uint64_t spilled;          /* octets of temporary files */
    char server[120];          /* who has answered instead of files, "" : files */
    int64_t first_us, last_us; /* of the matched flows */
    uint64_t elapsed_ns;
    uint64_t groups_found[16]; /* of each result: groups before the limit */
    const struct query_completeness
        *complete; /* complete.h; set by the caller before the summary is shown, NULL: not said */
};

/* All calls from one thread, results one after the other: begin, block..., end. Any status but WEIR_OK ends the query with it
 * (WEIR_END: nobody reads any more). A records result without orders streams while the scan runs. */
struct query_sink {
    weir_status (*begin)(void *user, const struct query *q, size_t result, weir_err *err);
    weir_status (*block)(void *user, size_t result, const struct query_block *b, weir_err *err);
    weir_status (*end)(void *user, size_t result, const struct query_summary *s, weir_err *err);
    void *user;
};

/* Totals for the summary cost columns: they are worked out only when want_totals. WEIR_OK; WEIR_END: stopped; WEIR_ENOTFOUND: nothing to
 * read; WEIR_EIO, WEIR_ENOMEM, WEIR_EINVAL. Files that cannot be read are counted and named in the summary. */
weir_status query_run(const struct query *q, bool want_totals, const struct query_sink *sink,
                      struct query_summary *out, weir_err *err);

#endif
