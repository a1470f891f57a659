/* schema -- the columns of a flow, one row of registry/flow-columns.tsv each: what the normaliser fills, the archive
 * stores, the query language names and the manual lists. tools/gen-columns makes the table. */
#ifndef FLOW_SCHEMA_H
#define FLOW_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How values of a column stand in a batch, and in a Parquet file. */
#define FLOW_TYPE_MAP(X)                                                                           \
    X(BOOL, "bool", 1) /* BOOLEAN */                                                               \
    X(U8, "u8", 1)     /* INT32 UINT_8 */                                                          \
    X(U16, "u16", 2)   /* INT32 UINT_16 */                                                         \
    X(U32, "u32", 4)   /* INT32 UINT_32 */                                                         \
    X(U64, "u64", 8)   /* INT64 UINT_64 */                                                         \
    X(S8, "s8", 1)                                                                                 \
    X(S16, "s16", 2)                                                                               \
    X(S32, "s32", 4)                                                                               \
    X(S64, "s64", 8)                                                                               \
    X(F64, "f64", 8)         /* DOUBLE */                                                          \
    X(TIME, "time", 8)       /* INT64 TIMESTAMP(MICROS, UTC): microseconds since 1970 */           \
    X(TIME_NS, "time_ns", 8) /* INT64 TIMESTAMP(NANOS, UTC) */                                     \
    X(ADDR, "addr", 0)       /* STRING; key in a batch: 4 or 16 octets */                          \
    X(MAC, "mac", 0)         /* STRING; key: 6 octets */                                           \
    X(TEXT, "text", 0)       /* STRING; key: UTF-8 */                                              \
    X(OCTETS, "octets", 0)   /* BYTE_ARRAY; key: the octets */                                     \
    X(JSON, "json", 0)       /* JSON; key: the text */

enum flow_type {
#define X(name, text, octets) FLOW_TYPE_##name,
    FLOW_TYPE_MAP(X)
#undef X
        FLOW_N_TYPES
};

const char *flow_type_text(enum flow_type t); /* "u64" */
/* Octets of a value in a batch, 0: a code into the column's dictionary. */
size_t flow_type_octets(enum flow_type t);

struct flow_column {
    const char *name; /* "src_addr"; in Parquet, JSON, SQL and the query language alike */
    uint8_t type;     /* enum flow_type; of the items of a list */
    bool list;
    const char *unit;    /* "octets", "packets", "us" or "" */
    const char *sources; /* as in the table: elements in order of preference */
    const char *filter;  /* words of the filter language, comma-separated, or "" */
    const char *token;   /* of nfdump's formats, "%sa", or "" */
    const char *csv;     /* nfdump's CSV header name, or "" */
    const char *json;    /* nfdump's JSON key, or "" */
    const char *goflow2; /* goflow2's field, or "" */
    const char *ecs;     /* field of the Elastic Common Schema, or "" */
    const char *help;
    uint8_t fold; /* enum flow_fold: of a column of the ledger */
};

enum flow_table { FLOW_TABLE_FLOWS, FLOW_TABLE_OPTIONS, FLOW_TABLE_LEDGER, FLOW_N_TABLES };

/* The columns of a table; *n of them. */
const struct flow_column *flow_table_columns(enum flow_table table, uint32_t *n);
/* By name (exact), or -1. */
int flow_table_find(enum flow_table table, const char *name, size_t len);

/* FLOW_received, FLOW_src_addr, ...: index into flow_columns. */
enum flow_column_id {
#include "flow_ids.inc"
    FLOW_N_COLUMNS
};

const struct flow_column *flow_columns(void); /* FLOW_N_COLUMNS of them */
/* By name (exact), or -1. */
int flow_column_find(const char *name, size_t len);

/* Options records have a table of their own, with columns of this second list (registry/option-columns.tsv): where they
 * came from as above, what they are about (scope), and what queries use. All other elements are extra columns, as in flows. */
/* FLOW_OPTION_received, ...: index into flow_option_columns. */
enum flow_option_id {
#include "flow_option_ids.inc"
    FLOW_N_OPTION_COLUMNS
};
const struct flow_column *flow_option_columns(void);

/* The loss ledger (registry/ledger-columns.tsv): what was received and what was not, a row for each worker, exporter, domain,
 * version and minute. Rows of the same keys may come several times: their other columns are folded. */
enum flow_fold {
    FLOW_FOLD_KEY,
    FLOW_FOLD_SUM,
    FLOW_FOLD_MIN,
    FLOW_FOLD_MAX,
    FLOW_FOLD_LAST /* of the row that was written last */
};

/* FLOW_LEDGER_minute, ...: index into flow_ledger_columns. */
enum flow_ledger_id {
#include "flow_ledger_ids.inc"
    FLOW_N_LEDGER_COLUMNS
};
const struct flow_column *flow_ledger_columns(void);

#endif
