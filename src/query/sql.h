/* sql -- a query as SQL of ClickHouse: the same filter, scaling, groups and order that run.h works out, as text. Nothing here does
 * I/O. Every name is quoted, every value of a user's is escaped; nothing of either becomes SQL.
 *
 *     SELECT what the sink gets                     orders, limit, HAVING
 *     FROM (SELECT keys and sums ... GROUP BY)      of groups
 *     FROM (SELECT columns, scaled ... WHERE filter FROM the table)
 *
 * What cannot be said in SQL with the same answer is an error, WEIR_ENOTFOUND: "not available with --from: ..." */
#ifndef QUERY_SQL_H
#define QUERY_SQL_H

#include "base/buf.h"
#include "query/filter.h"
#include "query/run.h"

/* How the table holds a column. */
enum query_sql_form {
    QUERY_SQL_OTHER,    /* nothing that a query could work with */
    QUERY_SQL_UNSIGNED, /* UInt8 to UInt64 */
    QUERY_SQL_SIGNED,   /* Int8 to Int64; of a time: microseconds since 1970 */
    QUERY_SQL_REAL,     /* Float32, Float64 */
    QUERY_SQL_BOOL,     /* Bool */
    QUERY_SQL_TEXT,     /* String */
    QUERY_SQL_SIXTEEN,  /* FixedString(16): an address, IPv4 as ::ffff:a.b.c.d */
    QUERY_SQL_IPV6,     /* IPv6, likewise */
    QUERY_SQL_SECONDS,  /* DateTime */
    QUERY_SQL_TICKS,    /* DateTime64(6) */
    QUERY_SQL_NUMBERS,  /* Array(UIntN) */
    QUERY_SQL_TEXTS     /* Array(String) */
};

struct query_sql_column {
    const char *name;
    uint8_t form; /* enum query_sql_form */
};

/* The table of flows as it is: a column that it has not is null in all rows. Names and sampling rates of options records are columns like
 * others, with what was known when a row was delivered. */
struct query_sql_table {
    const char *database, *name;
    const struct query_sql_column *columns;
    size_t n_columns;
    bool ordered; /* it has `file` String and `row` UInt64: the order of the archive */
};

/* What comes out for a field of a result, one or two columns of RowBinary each. */
enum query_sql_out {
    QUERY_SQL_OUT_NOTHING, /* no column: null in all rows */
    QUERY_SQL_OUT_U64,     /* Nullable(UInt64) */
    QUERY_SQL_OUT_S64,     /* Nullable(Int64) */
    QUERY_SQL_OUT_F64,     /* Nullable(Float64) */
    QUERY_SQL_OUT_TEXT,    /* Nullable(String) */
    QUERY_SQL_OUT_ADDR,    /* Nullable of 16 octets */
    QUERY_SQL_OUT_NET,     /* the same and Nullable(UInt8), the length of its prefix */
    QUERY_SQL_OUT_NUMBERS, /* Array(UInt64), empty: null */
    QUERY_SQL_OUT_TEXTS    /* Array(String), likewise */
};

struct query_sql_field {
    uint8_t out;  /* enum query_sql_out */
    uint8_t kind; /* enum query_kind of its values */
};

/* The rows of one result, each behind an octet 1, appended to out without a FORMAT; fields: of q->results[result].n_fields.
 * WEIR_ENOTFOUND: not available; WEIR_EINVAL: makes no sense; WEIR_ENOMEM. */
weir_status query_sql_result(query_arena *a, const struct query *q, size_t result,
                             const struct query_sql_table *t, base_buf *out,
                             struct query_sql_field *fields, weir_err *err);

/* One row, behind an octet 1: rows of the table, rows that passed, flows, packets, bytes, packets and bytes back, rows with a rate above 1,
 * rows without a rate, as UInt64; least first, greatest last, as Nullable(Int64). */
weir_status query_sql_totals(query_arena *a, const struct query *q, const struct query_sql_table *t,
                             base_buf *out, weir_err *err);

/* The files that rows of [from_us, to_us] came from, by their arrival: file, earliest and latest arrival, rows: TEXT, S64, S64, U64. */
weir_status query_sql_files(query_arena *a, const struct query_sql_table *t, int64_t from_us,
                            int64_t to_us, base_buf *out, weir_err *err);

/* Rows of the ledger whose minute is in [from_us, to_us], archive by archive, in each hour of its files in order of minute: file (TEXT, or nothing), then n columns of
 * flow_ledger_columns; fields: n + 1 of them. */
weir_status query_sql_ledger(query_arena *a, const struct query_sql_table *t,
                             const enum flow_ledger_id *columns, size_t n, int64_t from_us,
                             int64_t to_us, base_buf *out, struct query_sql_field *fields,
                             weir_err *err);

/* `name`, and 'text' or unhex('...') of any octets. */
void query_sql_name(base_buf *b, const char *name);
void query_sql_text(base_buf *b, const char *text, size_t len);

/* A POSIX extended regular expression as RE2 writes it, appended to out (NUL-terminated text in, none out). False: it has parts that mean
 * something else there, or nothing. */
bool query_sql_regex(const char *posix, size_t len, base_buf *out);

#endif
