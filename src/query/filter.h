/* filter -- nfdump's filter language, times, -s, -A and -O words: text into fields and conditions. All that is made lives
 * in a query_arena and goes with it. docs/query.md is the reference. */
#ifndef QUERY_FILTER_H
#define QUERY_FILTER_H

#include "query/expr.h"

typedef struct query_arena query_arena;
query_arena *query_arena_new(void);    /* NULL: out of memory */
void query_arena_free(query_arena *a); /* takes NULL; compiled regular expressions too */
/* n octets that live as long as a, zeroed; NULL: out of memory. */
void *query_arena_alloc(query_arena *a, size_t n);
char *query_arena_text(query_arena *a, const char *text, size_t len); /* copied, with a NUL */

struct query_filter_options {
    /* Host names are looked up with this (all its addresses, appended to out); NULL: names are refused. */
    weir_status (*resolve)(void *user, const char *name, struct query_prefix **out, size_t *n,
                           weir_err *err);
    void *user;
    /* Contents of @include FILE, malloc'ed; NULL: refused. */
    weir_status (*read)(void *user, const char *path, char **text, size_t *len, weir_err *err);
};

/* Where a text went wrong, for the caret: line 1-based, column 0-based in octets, len >= 1. */
struct query_error {
    const char *text; /* the line that is wrong, borrowed from the input */
    uint32_t line, column, len;
    char expected[160]; /* "a port number or a name", ... or "" */
};

/* NULL or empty text: QUERY_OP_TRUE. WEIR_EFORMAT: err->msg says what is wrong, *where the place. WEIR_ENOTFOUND: a
 * primitive of nfdump's that this program has no data for: err->msg "not available: ..." */
weir_status query_filter_parse(query_arena *a, const char *text, size_t len,
                               const struct query_filter_options *o, struct query_expr **out,
                               struct query_error *where, weir_err *err);

/* The tree as text again, with all fields' stable names, for -X and tests; parses to the same tree. */
struct base_buf;
void query_expr_print(const struct query_expr *e, struct base_buf *out);

/* The same tree, but for where it came from. */
bool query_expr_same(const struct query_expr *a, const struct query_expr *b);

/* The message with the line and a caret under the place, several lines, for people. */
void query_error_print(const struct query_error *where, const weir_err *err, const char *what,
                       struct base_buf *out);

/* -t: "2026/11/22.21:00-2026/11/22.22", with missing parts, ISO 8601, open ends ("2026-11-22T21:00-"), relative "-1h",
 * "-2h--1h". Local time unless a Z or offset stands behind. now_us: what relative times count from. */
weir_status query_window_parse(const char *text, int64_t now_us, int64_t *from_us, int64_t *to_us,
                               weir_err *err);

/* What to order by, with its direction. */
struct query_order {
    struct query_field field;
    bool descending;
};

/* -O and the part of -s behind the slash: "bytes", "tstart:a", ... */
weir_status query_order_parse(query_arena *a, const char *text, struct query_order *out,
                              weir_err *err);

/* -A "srcip4/24,dstport" and plain field names. *out[*n], in a. */
weir_status query_keys_parse(query_arena *a, const char *text, struct query_field **out, size_t *n,
                             weir_err *err);

/* -s "srcip:p/bytes/packets". either: both sides count (ip, port, as, ...): keys are tried one after the other, and a
 * flow is counted for each different one. by_proto: proto is a further key. record: -s record, on the 5-tuple. */
struct query_stat {
    const char *name;           /* as given: "srcip" */
    struct query_field keys[4]; /* more than one when either */
    size_t n_keys;
    bool either, by_proto, record;
    struct query_order *orders; /* one table each */
    size_t n_orders;
};
weir_status query_stat_parse(query_arena *a, const char *text, struct query_stat *out,
                             weir_err *err);

#endif
