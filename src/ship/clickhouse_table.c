#include "ship/clickhouse.h"

#include <stdlib.h>

bool ship_clickhouse_is_at_least(const struct ship_clickhouse_server *s, unsigned major,
                                 unsigned minor)
{
    return s->major > major || (s->major == major && s->minor >= minor);
}

bool ship_clickhouse_is_modern(const struct ship_clickhouse_server *s)
{
    return ship_clickhouse_is_at_least(s, 21, 8);
}

weir_status ship_clickhouse_version(const char *text, size_t len,
                                    struct ship_clickhouse_server *out, weir_err *err)
{
    size_t n = 0;
    while (n < len && n + 1 < sizeof out->text &&
           ((text[n] >= '0' && text[n] <= '9') || text[n] == '.'))
        n++;
    memcpy(out->text, text, n);
    out->text[n] = '\0';
    char *end;
    unsigned long major = strtoul(out->text, &end, 10),
                  minor = *end == '.' ? strtoul(end + 1, NULL, 10) : 0;
    if (!n || end == out->text || *end != '.' || major > 9999 || minor > 9999)
        return weir_err_set(err, WEIR_EFORMAT, 0,
                            "clickhouse: what answers there tells no version; is it ClickHouse?");
    out->major = (unsigned)major;
    out->minor = (unsigned)minor;
    return WEIR_OK;
}

uint64_t ship_clickhouse_span(const char *text)
{
    static const struct {
        char unit;
        uint64_t s;
    } units[] = {{'h', 3600}, {'d', 86400}, {'w', 7 * 86400}, {'y', 365 * UINT64_C(86400)}};
    char *end;
    unsigned long n = *text >= '0' && *text <= '9' ? strtoul(text, &end, 10) : 0;
    for (size_t i = 0; n && n <= 100000 && i < ARRAY_LEN(units); i++)
        if (end[0] == units[i].unit && !end[1])
            return n * units[i].s;
    return 0;
}

/* ---- names and values ---- */

static void quoted(base_buf *b, const char *text, size_t len, char quote)
{
    base_buf_char(b, quote);
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (c == '\\' || c == quote)
            base_buf_char(b, '\\');
        if (c)
            base_buf_char(b, c);
        else
            base_buf_str(b, "\\0");
    }
    base_buf_char(b, quote);
}

void ship_clickhouse_name(base_buf *b, const char *name, size_t len)
{
    quoted(b, name, len, '`');
}

void ship_clickhouse_text(base_buf *b, const char *text, size_t len)
{
    quoted(b, text, len, '\'');
}

void ship_clickhouse_table(base_buf *b, const char *database, const char *table)
{
    ship_clickhouse_name(b, database, strlen(database));
    base_buf_char(b, '.');
    ship_clickhouse_name(b, table, strlen(table));
}

void ship_clickhouse_local(base_buf *b, const char *table)
{
    base_buf_str(b, table);
    base_buf_str(b, "_local");
}

/* ---- columns ---- */

bool ship_clickhouse_is_key(enum flow_table table, uint32_t column)
{
    return table == FLOW_TABLE_LEDGER ? column == FLOW_LEDGER_minute
                                      : column == FLOW_received || column == FLOW_exporter;
}

/* Text of which a table has few different ones stands in dictionaries; the rest does not. */
static bool is_repeated(const struct flow_column *c)
{
    return strcmp(c->name, "http_url") != 0 && c->type != FLOW_TYPE_JSON;
}

void ship_clickhouse_column(base_buf *b, const struct ship_clickhouse_server *s,
                            const struct flow_column *c, bool key)
{
    bool modern = ship_clickhouse_is_modern(s), repeated = false;
    const char *type = "String", *codec = "ZSTD(1)";
    switch ((enum flow_type)c->type) {
    case FLOW_TYPE_BOOL:
        type = ship_clickhouse_is_at_least(s, 22, 1) ? "Bool" : "UInt8";
        break;
    case FLOW_TYPE_U8:
        type = "UInt8";
        break;
    case FLOW_TYPE_U16:
        type = "UInt16";
        break;
    case FLOW_TYPE_U32:
        type = "UInt32";
        break;
    case FLOW_TYPE_U64:
        type = "UInt64";
        codec = "T64, ZSTD(1)";
        break;
    case FLOW_TYPE_S8:
        type = "Int8";
        break;
    case FLOW_TYPE_S16:
        type = "Int16";
        break;
    case FLOW_TYPE_S32:
        type = "Int32";
        break;
    case FLOW_TYPE_S64:
        type = "Int64";
        codec = "T64, ZSTD(1)";
        break;
    case FLOW_TYPE_F64:
        type = "Float64";
        break;
    case FLOW_TYPE_TIME:
    case FLOW_TYPE_TIME_NS:
        type = modern ? "DateTime64(6, 'UTC')" : "Int64";
        codec = key ? "DoubleDelta, ZSTD(1)" : "Delta(8), ZSTD(1)";
        break;
    case FLOW_TYPE_ADDR:
        type = modern ? "IPv6" : "FixedString(16)";
        break;
    case FLOW_TYPE_MAC:
    case FLOW_TYPE_TEXT:
    case FLOW_TYPE_OCTETS:
    case FLOW_TYPE_JSON:
    case FLOW_N_TYPES:
        repeated = modern && !c->list && is_repeated(c);
        break;
    }
    if (c->list)
        base_buf_printf(b, "Array(%s)", type);
    else if (repeated)
        base_buf_printf(b, "LowCardinality(Nullable(%s))", type);
    else if (key)
        base_buf_str(b, type);
    else
        base_buf_printf(b, "Nullable(%s)", type);
    if (modern)
        base_buf_printf(b, " CODEC(%s)", codec);
}

void ship_clickhouse_extra(base_buf *b, const struct ship_clickhouse_server *s, uint8_t kind)
{
    static const uint8_t types[] = {
        [QUERY_U64] = FLOW_TYPE_U64,        [QUERY_S64] = FLOW_TYPE_S64,
        [QUERY_F64] = FLOW_TYPE_F64,        [QUERY_BOOL] = FLOW_TYPE_BOOL,
        [QUERY_TIME] = FLOW_TYPE_TIME,      [QUERY_TEXT] = FLOW_TYPE_JSON,
        [QUERY_OCTETS] = FLOW_TYPE_JSON,    [QUERY_U64_LIST] = FLOW_TYPE_U64,
        [QUERY_TEXT_LIST] = FLOW_TYPE_JSON, [QUERY_UNKNOWN] = FLOW_TYPE_JSON};
    struct flow_column c = {
        .name = "", .type = types[kind], .list = kind == QUERY_U64_LIST || kind == QUERY_TEXT_LIST};
    ship_clickhouse_column(b, s, &c, false);
}

/* ---- tables ---- */

/* Makes one statement after the other. */
struct maker {
    const struct ship_clickhouse_form *f;
    const struct ship_clickhouse_server *s;
    bool modern;
    base_buf sql;
    weir_status (*statement)(void *user, const char *sql, size_t len, weir_err *err);
    void *user;
    weir_err *err;
};

static weir_status say(struct maker *m)
{
    base_buf_char(&m->sql, '\0');
    if (m->sql.failed)
        return weir_err_set(m->err, WEIR_ENOMEM, 0, "ship: out of memory");
    weir_status s = m->statement(m->user, m->sql.data, m->sql.len - 1, m->err);
    base_buf_reset(&m->sql);
    return s;
}

static void on_cluster(struct maker *m)
{
    if (m->f->cluster) {
        base_buf_str(&m->sql, " ON CLUSTER ");
        ship_clickhouse_name(&m->sql, m->f->cluster, strlen(m->f->cluster));
    }
}

/* `database`.`table` with the ending of it, "" or "_1m"; local: of one shard. */
static void table_name(struct maker *m, const char *table, const char *ending, bool local)
{
    base_buf name = {0};
    base_buf_str(&name, table);
    base_buf_str(&name, ending);
    if (local && m->f->cluster)
        ship_clickhouse_local(&name, "");
    base_buf_char(&name, '\0');
    if (name.failed)
        m->sql.failed = true;
    else
        ship_clickhouse_table(&m->sql, m->f->database, name.data);
    base_buf_done(&name);
}

/* kind: "", "Replacing" or "Summing". */
static void engine(struct maker *m, const char *kind, const char *table, const char *ending,
                   const char *arguments)
{
    bool replicated = m->f->engine == SHIP_CLICKHOUSE_REPLICATED ||
                      m->f->engine == SHIP_CLICKHOUSE_REPLICATED_REPLACING;
    base_buf_printf(&m->sql, "\nENGINE = %s%sMergeTree", replicated ? "Replicated" : "", kind);
    base_buf_char(&m->sql, '(');
    if (replicated) { /* macros of the server's configuration */
        base_buf path = {0};
        base_buf_printf(&path, "/clickhouse/tables/{shard}/%s/%s%s", m->f->database, table, ending);
        if (path.failed)
            m->sql.failed = true;
        else
            ship_clickhouse_text(&m->sql, path.data, path.len);
        base_buf_done(&path);
        base_buf_printf(&m->sql, ", '{replica}'%s", *arguments ? ", " : "");
    }
    base_buf_printf(&m->sql, "%s)", arguments);
}

/* The table over all shards. The same row always goes to the same shard, and runs of rows stay together. */
static weir_status distributed(struct maker *m, const char *table, const char *ending,
                               const char *shard_by)
{
    base_buf local = {0};
    base_buf_str(&m->sql, "CREATE TABLE IF NOT EXISTS ");
    table_name(m, table, ending, false);
    on_cluster(m);
    base_buf_str(&m->sql, " AS ");
    table_name(m, table, ending, true);
    base_buf_str(&m->sql, "\nENGINE = Distributed(");
    ship_clickhouse_text(&m->sql, m->f->cluster, strlen(m->f->cluster));
    base_buf_str(&m->sql, ", ");
    ship_clickhouse_text(&m->sql, m->f->database, strlen(m->f->database));
    base_buf_str(&m->sql, ", ");
    base_buf_str(&local, table);
    base_buf_str(&local, ending);
    ship_clickhouse_local(&local, "");
    if (local.failed)
        m->sql.failed = true;
    else
        ship_clickhouse_text(&m->sql, local.data, local.len);
    base_buf_done(&local);
    base_buf_printf(&m->sql, ", %s)", shard_by);
    return say(m);
}

/* A rollup of the flows to a table of sums, and the view that fills it. */
static weir_status rollup(struct maker *m, const char *ending, const char *round,
                          const char *partition)
{
    const char *flows = m->f->flows;
    base_buf_str(&m->sql, "CREATE TABLE IF NOT EXISTS ");
    table_name(m, flows, ending, true);
    on_cluster(m);
    base_buf_printf(
        &m->sql,
        "\n(\n    time DateTime%s,\n    exporter %s,\n    in_if UInt32,\n    out_if UInt32,"
        "\n    proto UInt8,\n    src_as UInt32,\n    dst_as UInt32,"
        "\n    sampling_rate Float64,\n    n_flows UInt64,\n    n_packets UInt64,"
        "\n    n_bytes UInt64\n)",
        m->modern ? "('UTC')" : "", m->modern ? "IPv6" : "FixedString(16)");
    engine(m, "Summing", flows, ending, "(n_flows, n_packets, n_bytes)");
    base_buf_printf(&m->sql,
                    "\nPARTITION BY %s\nORDER BY (time, exporter, in_if, out_if, proto, src_as, "
                    "dst_as, sampling_rate)",
                    partition);
    WEIR_TRY(say(m));

    base_buf_str(&m->sql, "CREATE MATERIALIZED VIEW IF NOT EXISTS ");
    base_buf view = {0};
    base_buf_printf(&view, "%s_view", ending);
    base_buf_char(&view, '\0');
    if (view.failed)
        m->sql.failed = true;
    else
        table_name(m, flows, view.data, false);
    base_buf_done(&view);
    on_cluster(m);
    base_buf_str(&m->sql, " TO ");
    table_name(m, flows, ending, true);
    base_buf_printf(&m->sql,
                    "\nAS SELECT %s(%s, 'UTC') AS time, exporter, ifNull(in_if, 0) AS in_if,"
                    "\n    ifNull(out_if, 0) AS out_if, ifNull(proto, 0) AS proto,"
                    "\n    ifNull(src_as, 0) AS src_as, ifNull(dst_as, 0) AS dst_as,"
                    "\n    ifNull(sampling_rate, 0) AS sampling_rate,"
                    "\n    sum(ifNull(flows, 1)) AS n_flows, sum(ifNull(packets, 0)) AS n_packets,"
                    "\n    sum(ifNull(bytes, 0)) AS n_bytes\nFROM ",
                    round,
                    m->modern ? "toDateTime(received, 'UTC')"
                              : "toDateTime(intDiv(received, 1000000), 'UTC')");
    table_name(m, flows, "", true);
    base_buf_str(&m->sql, "\nGROUP BY time, exporter, in_if, out_if, proto, src_as, dst_as, "
                          "sampling_rate");
    WEIR_TRY(say(m));
    return m->f->cluster ? distributed(m, flows, ending, "cityHash64(time, exporter)") : WEIR_OK;
}

/* Columns that a table of flows has from the beginning, whatever comes. */
static bool is_core(uint32_t column)
{
    static const enum flow_column_id core[] = {
        FLOW_received,  FLOW_exporter, FLOW_domain,   FLOW_first,    FLOW_last,
        FLOW_src_addr,  FLOW_dst_addr, FLOW_src_port, FLOW_dst_port, FLOW_proto,
        FLOW_tcp_flags, FLOW_bytes,    FLOW_packets,  FLOW_flows,    FLOW_sampling_rate,
        FLOW_in_if,     FLOW_out_if,   FLOW_src_as,   FLOW_dst_as};
    for (size_t i = 0; i < ARRAY_LEN(core); i++)
        if (core[i] == column)
            return true;
    return false;
}

static void columns(struct maker *m, enum flow_table table)
{
    bool used = m->f->used && table == FLOW_TABLE_FLOWS;
    uint32_t n;
    const struct flow_column *c = flow_table_columns(table, &n);
    base_buf_str(&m->sql, "\n(");
    for (uint32_t i = 0; i < n; i++) {
        if (used && !is_core(i))
            continue;
        base_buf_str(&m->sql, "\n    ");
        ship_clickhouse_name(&m->sql, c[i].name, strlen(c[i].name));
        base_buf_char(&m->sql, ' ');
        ship_clickhouse_column(&m->sql, m->s, &c[i], ship_clickhouse_is_key(table, i));
        base_buf_char(&m->sql, ',');
    }
    base_buf_str(&m->sql, m->modern ? "\n    `file` LowCardinality(String) CODEC(ZSTD(1)),"
                                      "\n    `row` UInt64 CODEC(Delta(8), ZSTD(1))"
                                    : "\n    `file` String,\n    `row` UInt64");
    for (uint32_t i = 0; i < n && !m->modern; i++) /* times that people can read */
        if (c[i].type == FLOW_TYPE_TIME && (!used || is_core(i)))
            base_buf_printf(&m->sql,
                            ",\n    `%s_time` DateTime ALIAS toDateTime(intDiv(ifNull(`%s`, 0), "
                            "1000000))",
                            c[i].name, c[i].name);
    if (m->modern) /* each part has rows of few files: those that a file has are found at once */
        base_buf_str(&m->sql, ",\n    INDEX file_minmax `file` TYPE minmax GRANULARITY 1");
    /* What a window of time is compared with. Received, by which the table is sorted, is only near it. Servers before 21.9 know no bounds of
     * rows among which one has none. */
    if (table == FLOW_TABLE_FLOWS && ship_clickhouse_is_at_least(m->s, 22, 1))
        base_buf_str(&m->sql, ",\n    INDEX first_minmax `first` TYPE minmax GRANULARITY 1,"
                              "\n    INDEX last_minmax `last` TYPE minmax GRANULARITY 1");
    if (m->modern && table == FLOW_TABLE_FLOWS)
        base_buf_str(&m->sql,
                     ",\n    INDEX src_addr_bloom src_addr TYPE bloom_filter(0.01) GRANULARITY 4,"
                     "\n    INDEX dst_addr_bloom dst_addr TYPE bloom_filter(0.01) GRANULARITY 4");
    base_buf_str(&m->sql, "\n)");
}

/* Partitions of a day, of the ledger of a month. The key is by time first, in steps, so that an exporter's rows of five minutes
 * stand together; with file and row behind it where equal keys mean equal rows. */
static void order(struct maker *m, enum flow_table table)
{
    bool replacing = m->f->engine == SHIP_CLICKHOUSE_REPLACING ||
                     m->f->engine == SHIP_CLICKHOUSE_REPLICATED_REPLACING;
    const char *partition, *key;
    if (table == FLOW_TABLE_LEDGER) {
        partition = m->modern ? "toYYYYMM(minute)" : "intDiv(minute, 2592000000000)";
        key = "minute";
    } else {
        partition = m->modern ? "toYYYYMMDD(received)" : "intDiv(received, 86400000000)";
        key = m->modern ? "toStartOfFiveMinutes(received), exporter, received"
                        : "intDiv(received, 300000000), exporter, received";
    }
    base_buf_printf(&m->sql, "\nPARTITION BY %s\nORDER BY (%s%s)", partition, key,
                    replacing ? ", file, row" : "");
    if (m->f->ttl_s)
        base_buf_printf(&m->sql, "\nTTL toDateTime(%s) + INTERVAL %llu SECOND DELETE",
                        table == FLOW_TABLE_LEDGER ? "minute" : "received",
                        (unsigned long long)m->f->ttl_s);
    base_buf_printf(&m->sql, "\nSETTINGS index_granularity = 8192%s",
                    m->f->ttl_s ? ", ttl_only_drop_parts = 1" : "");
}

static weir_status tables(struct maker *m, enum flow_table table)
{
    const char *name = table == FLOW_TABLE_LEDGER ? m->f->ledger : m->f->flows;
    bool replacing = m->f->engine == SHIP_CLICKHOUSE_REPLACING ||
                     m->f->engine == SHIP_CLICKHOUSE_REPLICATED_REPLACING;
    if (strcmp(m->f->database, "default") != 0) {
        base_buf_str(&m->sql, "CREATE DATABASE IF NOT EXISTS ");
        ship_clickhouse_name(&m->sql, m->f->database, strlen(m->f->database));
        on_cluster(m);
        WEIR_TRY(say(m));
    }
    base_buf_str(&m->sql, "CREATE TABLE IF NOT EXISTS ");
    table_name(m, name, "", true);
    on_cluster(m);
    columns(m, table);
    engine(m, replacing ? "Replacing" : "", name, "", "");
    order(m, table);
    WEIR_TRY(say(m));
    if (m->f->cluster)
        WEIR_TRY(distributed(m, name, "", "cityHash64(file, intDiv(row, 65536))"));
    if (!m->f->rollup || table != FLOW_TABLE_FLOWS)
        return WEIR_OK;
    WEIR_TRY(rollup(m, "_1m", "toStartOfMinute", "toYYYYMMDD(time)"));
    return rollup(m, "_1h", "toStartOfHour", "toYYYYMM(time)");
}

weir_status ship_clickhouse_create(const struct ship_clickhouse_form *f,
                                   const struct ship_clickhouse_server *s, enum flow_table table,
                                   weir_status (*statement)(void *user, const char *sql, size_t len,
                                                            weir_err *err),
                                   void *user, weir_err *err)
{
    struct maker m = {.f = f,
                      .s = s,
                      .modern = ship_clickhouse_is_modern(s),
                      .statement = statement,
                      .user = user,
                      .err = err};
    if (f->ttl_s && !m.modern)
        return weir_err_set(
            err, WEIR_EINVAL, 0,
            "clickhouse: ttl= needs a server of 21.8 or later, this is %s; drop old "
            "partitions there instead",
            s->text);
    weir_status st = tables(&m, table);
    base_buf_done(&m.sql);
    return st;
}
