/* clickhouse -- what weir knows of ClickHouse's tables: names and values in SQL, how columns are declared, the statements that
 * make the tables. clickhouse.c delivers rows; docs/clickhouse.md is the reference. */
#ifndef SHIP_CLICKHOUSE_H
#define SHIP_CLICKHOUSE_H

#include "base/buf.h"
#include "base/err.h"
#include "query/run.h"
#include "ship/rowbinary.h"

/* What a server said of itself. */
struct ship_clickhouse_server {
    unsigned major, minor; /* 24.8 */
    char text[48];         /* "24.8.1.1", for messages */
};

/* WEIR_EFORMAT: no version of ClickHouse. */
weir_status ship_clickhouse_version(const char *text, size_t len,
                                    struct ship_clickhouse_server *out, weir_err *err);

/* Servers since 21.8 get IPv6, DateTime64, LowCardinality, codecs, indexes and TTL; older ones FixedString(16) in the octets of
 * IPv6 and Int64 microseconds. */
bool ship_clickhouse_is_modern(const struct ship_clickhouse_server *s);
bool ship_clickhouse_is_at_least(const struct ship_clickhouse_server *s, unsigned major,
                                 unsigned minor);

enum ship_clickhouse_engine {
    SHIP_CLICKHOUSE_MERGE,
    SHIP_CLICKHOUSE_REPLACING,
    SHIP_CLICKHOUSE_REPLICATED,
    SHIP_CLICKHOUSE_REPLICATED_REPLACING
};

/* The tables as settings ask for them. */
struct ship_clickhouse_form {
    const char *database, *flows, *ledger; /* ledger NULL: none */
    const char *cluster;                   /* NULL: one server */
    enum ship_clickhouse_engine engine;
    uint64_t ttl_s; /* 0: rows stay */
    bool rollup;
    bool
        used; /* of the flows only columns that most exporters fill; others are added as they come up */
};

/* `name` in backticks, 'text' in quotes, with what means something there escaped. */
void ship_clickhouse_name(base_buf *b, const char *name, size_t len);
void ship_clickhouse_text(base_buf *b, const char *text, size_t len);
/* `database`.`table` */
void ship_clickhouse_table(base_buf *b, const char *database, const char *table);
/* The table of one shard that stands behind a Distributed one: "flows_local". */
void ship_clickhouse_local(base_buf *b, const char *table);

/* The type of a column of ours and its codec, "Nullable(UInt64) CODEC(T64, ZSTD(1))"; of an extra column of an enum query_kind. */
void ship_clickhouse_column(base_buf *b, const struct ship_clickhouse_server *s,
                            const struct flow_column *c, bool key);
void ship_clickhouse_extra(base_buf *b, const struct ship_clickhouse_server *s, uint8_t kind);

/* Columns that are never null: FLOW_received, FLOW_exporter; FLOW_LEDGER_minute. */
bool ship_clickhouse_is_key(enum flow_table table, uint32_t column);

/* The statements that make a table and what belongs to it where it is missing, one after the other to `statement`, which ends
 * it with any status but WEIR_OK. WEIR_EINVAL: the server is too old for what is asked for. WEIR_ENOMEM. */
weir_status ship_clickhouse_create(const struct ship_clickhouse_form *f,
                                   const struct ship_clickhouse_server *s, enum flow_table table,
                                   weir_status (*statement)(void *user, const char *sql, size_t len,
                                                            weir_err *err),
                                   void *user, weir_err *err);

/* "90d", "12h", "2w", "1y" in seconds; 0: none of these. */
uint64_t ship_clickhouse_span(const char *text);

#endif
