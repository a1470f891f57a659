/* format_in -- what the files of format.c share: a format is a kind (how results begin, what a block becomes, how they
 * end) and a program of cells for each result. */
#ifndef QUERY_FORMAT_IN_H
#define QUERY_FORMAT_IN_H

#include "query/format.h"
#include "query/tokens.h"

/* How a result is written. All may be NULL but block. */
struct query_format_kind {
    /* The header, what stands before the rows. first: of all results. */
    weir_status (*begin)(query_format *f, const struct query *q, size_t result, weir_err *err);
    weir_status (*block)(query_format *f, size_t result, const struct query_block *b,
                         weir_err *err);
    weir_status (*end)(query_format *f, size_t result, const struct query_summary *s,
                       weir_err *err);
    void (*free)(query_format *f);
    bool people;  /* with a summary behind it */
    bool totals;  /* needs the totals even without one */
    bool records; /* a record a row: of grouped results the non-keys count as missing */
};

struct query_format_result {
    struct query_program program;
    base_buf header;
    const struct query_stat *stat; /* NULL: records or groups of -a, -A */
};

struct query_format {
    struct query_format_options o;
    query_arena *arena;
    const struct query_format_kind *kind;
    struct query_format_result *results;
    size_t n_results;
    struct query_writer w;
    base_buf out;
    struct query_sink sink;
    uint64_t limit; /* of the result that is written */
    bool begun, compact, csv_summary;
    void *state; /* of the kind */
};

enum { QUERY_FORMAT_OCTETS = 256 * 1024 }; /* output is written in pieces of about this size */

/* Write what is in f->out when there is enough of it, or all. */
weir_status query_format_flush(query_format *f, bool all, weir_err *err);

/* The use of tokens for a result: -A results have no values but their keys' and the counters'. */
struct query_token_use query_format_use(query_format *f, size_t result);

/* Rows of a block through the result's program. */
weir_status query_format_rows(query_format *f, size_t result, const struct query_block *b,
                              weir_err *err);

/* Counters of a statistic, by what it is ordered by: both directions together, in, or out. */
enum query_stat_side { QUERY_SIDE_ALL, QUERY_SIDE_IN, QUERY_SIDE_OUT };
enum query_stat_side query_stat_side(const struct query_stat *s);
enum query_stat_number {
    QUERY_SN_FLOWS,
    QUERY_SN_PACKETS,
    QUERY_SN_BYTES,
    QUERY_SN_PPS,
    QUERY_SN_BPS,
    QUERY_SN_BPP,
    QUERY_N_SN
};
struct query_field query_stat_field(const struct query_stat *s, enum query_stat_number n);
/* "bytes", as -s and -O name it. */
const char *query_order_name(const struct query_order *o);

/* Of one kind each: fill f->kind and the programs. arg: what follows the colon, or NULL. */
weir_status query_format_text(query_format *f, const char *tokens, weir_err *err);
weir_status query_format_csv(query_format *f, const char *list, bool long_form, weir_err *err);
weir_status query_format_json(query_format *f, const char *list, bool compact, weir_err *err);
weir_status query_format_raw(query_format *f, weir_err *err);
weir_status query_format_null(query_format *f, weir_err *err);
weir_status query_format_stat(query_format *f, weir_err *err);
weir_status query_format_stat_csv(query_format *f, weir_err *err);
weir_status query_format_chart(query_format *f, weir_err *err);
weir_status query_format_parquet(query_format *f, const char *list, weir_err *err);

#endif
