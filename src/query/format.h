/* format -- results of a query as text, JSON, CSV or Parquet: a sink for run.h. nfdump's formats and tokens, and stable
 * names for machines. */
#ifndef QUERY_FORMAT_H
#define QUERY_FORMAT_H

#include "base/buf.h"
#include "query/run.h"

typedef struct query_format query_format;

struct query_format_options {
    const char *
        name; /* as -o has it: "line", "long", "csv", "json", "fmt:%sa %byt", ...; NULL: the mode's default */
    bool plain_numbers; /* -N */
    bool quiet;         /* -q: no header, no summary */
    bool full_ipv6;     /* -6 */
    bool color;
    bool utc;       /* times in UTC; else local */
    unsigned width; /* of the terminal, for charts */
    /* What -A, -s and -a make of the default formats */
    const struct query_stat *stats; /* of each result that is a statistic, NULL: none */
    size_t n_stats;
    bool aggregated;                /* -a, -A, -b */
    const struct query_field *keys; /* of -A */
    size_t n_keys;
    bool geo; /* --geo given */
    const struct query_field
        *extras; /* extra columns of the files, for formats that show everything */
    size_t n_extras;
    const struct query_summary
        *totals; /* what query_run fills: percentages are known before the end when its totals are
                                           there already as a statistic begins. NULL: rows are held back until its end */
    const char *chart_by; /* of chart: "bytes", "packets", "flows", "bps" or "pps"; NULL: "bytes" */
    bool ascii;           /* chart without block characters */
    bool no_row_number;   /* ndjson without "cnt", which counts the lines of one output */
    weir_status (*write)(void *user, const void *data, size_t len,
                         weir_err *err); /* WEIR_END: nobody reads any more */
    void *user;
};

/* WEIR_EFORMAT: name, a token or a name in csv: is unknown (err says which and what there is). The options' arrays are borrowed. */
weir_status query_format_new(const struct query_format_options *o, query_arena *a,
                             query_format **out, weir_err *err);
void query_format_free(query_format *f); /* takes NULL */

/* The fields that the format needs of a result: into query_result.fields. */
void query_format_fields(const query_format *f, size_t result, const struct query_field **fields,
                         size_t *n);

/* Whether its summary needs the totals. */
bool query_format_wants_totals(const query_format *f);

/* The sink to run with; query_format_summary at the end. */
const struct query_sink *query_format_sink(query_format *f);
weir_status query_format_summary(query_format *f, const struct query *q,
                                 const struct query_summary *s, weir_err *err);

/* For a format "ndjson" of records, without its sink: the lines of rows [from, to) of a block, appended to out without their
 * ends and with nothing between them; ends[i]: where that of row from + i ends in out. WEIR_ENOMEM. */
weir_status query_format_lines(query_format *f, const struct query_block *b, size_t from, size_t to,
                               base_buf *out, size_t *ends, weir_err *err);

/* Whether it shows every column that there is: extras should then be given. */
bool query_format_shows_all(const char *name);
/* Whether a group has a value for it besides its keys: counters, and what is made of them. */
bool query_format_of_groups(const struct query_field *f);
/* Whether its output is for people, with the summary in it; else it is data and nothing but data. */
bool query_format_for_people(const query_format *f);

/* The summary as people read it, and as one JSON object, appended to out. */
void query_summary_text(const struct query *q, const struct query_summary *s, bool plain_numbers,
                        bool utc, base_buf *out);
void query_summary_json(const struct query *q, const struct query_summary *s, base_buf *out);

#endif
