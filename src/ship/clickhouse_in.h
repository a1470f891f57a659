/* clickhouse_in -- what the files of the destination clickhouse share: clickhouse.c (settings, the operations), clickhouse_server.c
 * (questions, tables), clickhouse_insert.c (INSERTs) and clickhouse_rows.c (rows of a block into an INSERT). */
#ifndef SHIP_CLICKHOUSE_IN_H
#define SHIP_CLICKHOUSE_IN_H

#include "ship/clickhouse.h"
#include "ship/destination.h"
#include "ship/http.h"

enum {
    SHIP_CH_SEND_OCTETS = 64 << 20, /* of rows in an INSERT */
    SHIP_CH_WAIT_MS = 100,
    SHIP_CH_MAX_COLUMNS = 2000, /* of a table: elements of exporters may not make it wider */
    SHIP_CH_SEEN = 64           /* files whose rows in the table are known */
};

enum ship_ch_pack { SHIP_CH_PACK_NONE, SHIP_CH_PACK_LZ4, SHIP_CH_PACK_ZSTD };

/* A column of a table. */
struct ship_ch_column {
    char *name, *type_text;
    struct ship_rowbinary_type type;
    bool typed;    /* we can write its type */
    bool computed; /* ALIAS, MATERIALIZED: nobody inserts it */
    bool active;   /* in the INSERTs */
};

struct ship_ch_table {
    enum flow_table id;
    char *name;                 /* NULL: nothing is delivered */
    struct query_field *own;    /* n_own columns of the schema */
    struct query_field *fields; /* and the extra ones, as `fields` gave them out; n_fields */
    size_t n_own, n_fields;
    bool known, made; /* it was looked at; --create was done */
    bool distributed;
    struct ship_ch_column *columns; /* n */
    size_t n;
    int file, row;  /* among columns, -1: there is none */
    size_t *active; /* n_active columns of each row, in this order */
    size_t n_active;
    char **skipped; /* n_skipped names that were said to be skipped */
    size_t n_skipped;
};

/* An INSERT. */
struct ship_ch_batch {
    struct ship_ch_table *table; /* NULL: nothing put */
    base_buf body, packed, target;
    uint64_t rows, puts;
    size_t head; /* octets of SQL before the rows */
    int64_t began_ms;
    char *id; /* query id: where it begins */
    char *last_file;
    uint64_t last_row;
};

/* Rows of a file that the table had when it was looked at. */
struct ship_ch_seen {
    char *file;
    enum flow_table table;
    uint64_t from;  /* of the first bit */
    uint64_t *have; /* n_bits; NULL: none of them */
    uint64_t n_bits;
};

struct ship_destination {
    bool create;
    bool (*stop)(void *user);
    void (*log)(void *user, const char *text);
    void *user;
    char *host, *port, *database, *cluster, *source;
    bool tls, verify, check, add, rollup, used;
    char *ca;
    base_buf user_header, key_header;
    uint64_t most_rows;
    unsigned timeout_s;
    enum ship_ch_pack pack;
    enum ship_clickhouse_engine engine;
    uint64_t ttl_s;
    struct ship_ch_table tables[2]; /* flows, ledger */
    /* what is known of the server */
    ship_http *http;
    bool asking; /* a question is on its way, which a stop ends */
    struct ship_clickhouse_server server;
    bool server_known, no_processes, no_replicas; /* may not be asked for */
    char *said; /* the last words of the server that were told in full */
    int code;   /* number of its last exception; 0: the last answer was none */
    int quiet;  /* number of an exception that is not told: what to do then is known; 0: all are */
    /* rows */
    ship_rowbinary *encoder;
    struct ship_ch_batch batches[2], *filling, *flying;
    bool is_flying;
    struct ship_ch_seen seen[SHIP_CH_SEEN];
    size_t next_seen;
    int *map; /* column of the table for each field of a block, or below 0; cap_map */
    size_t cap_map;
    struct ship_rowbinary_column *row_columns; /* cap_row_columns */
    size_t cap_row_columns;
    uint64_t *numbers; /* of rows; cap_numbers */
    uint32_t *zeros;   /* as many */
    size_t cap_numbers;
    base_buf name; /* source/file */
    uint64_t done, told;
    weir_status held; /* a failure that waits until `done` was told what was done before it */
    weir_err held_err;
};

/* Octets of an answer, up to so many. */
struct ship_ch_answer {
    base_buf b;
};

weir_status ship_ch_no_memory(weir_err *err);
int64_t ship_ch_now_ms(void);
bool ship_ch_stopped(const ship_destination *d);
void ship_ch_tell(const ship_destination *d, const char *text);

/* ---- clickhouse_server.c ---- */

/* An answer that is no failure, or why. */
weir_status ship_ch_judge(ship_destination *d, const struct ship_http_answer *a, weir_err *err);
/* Headers that say who asks; how many. */
size_t ship_ch_headers_of(const ship_destination *d, const char **out);
/* One question or statement; nothing may be flying. data NULL: no answer is wanted. */
weir_status ship_ch_ask(ship_destination *d, const char *sql, size_t len,
                        weir_status (*data)(void *user, const void *p, size_t n, weir_err *err),
                        void *user, weir_err *err);
/* The same, which frees sql; a NULL: no answer is wanted. */
weir_status ship_ch_ask_buf(ship_destination *d, base_buf *sql, struct ship_ch_answer *a,
                            weir_err *err);
/* A statement that makes or changes tables. When servers of the cluster are away, which do it when they are back, this is said,
 * and is no failure: who needs it looks whether it is done here. Frees sql. */
weir_status ship_ch_define(ship_destination *d, base_buf *sql, weir_err *err);
/* The Distributed table once more, with the columns that the tables of the shards have now: for servers that do not alter it. */
weir_status ship_ch_remake_distributed(ship_destination *d, const struct ship_ch_table *t,
                                       weir_err *err);
/* What to select from to see a table of every server of the cluster: one replica alone may lag behind what another one has
 * acknowledged. */
weir_status ship_ch_on_all_servers(ship_destination *d, const char *database, const char *table,
                                   base_buf *out, weir_err *err);
/* Version and columns, once; with --create makes the table. */
weir_status ship_ch_know_table(ship_destination *d, struct ship_ch_table *t, weir_err *err);
void ship_ch_forget_columns(struct ship_ch_table *t);
int ship_ch_find_column(const struct ship_ch_table *t, const char *name, size_t len); /* -1: none */

/* ---- clickhouse_insert.c ---- */

/* The SQL before the rows of what is filled, where there is none yet; row: its first. */
weir_status ship_ch_begin_batch(ship_destination *d, struct ship_ch_table *t, uint64_t row,
                                weir_err *err);
void ship_ch_empty_batch(struct ship_ch_batch *b);
bool ship_ch_is_due(const ship_destination *d);
/* What is filled goes off, when what is flying has landed. */
weir_status ship_ch_send_off(ship_destination *d, weir_err *err);
/* Go on with what is flying, at most wait_ms; wait until it has landed. */
weir_status ship_ch_go(ship_destination *d, int wait_ms, weir_err *err);
weir_status ship_ch_land(ship_destination *d, weir_err *err);
/* Puts without rows are done when nothing before them is left. */
void ship_ch_settle(ship_destination *d);
/* "weir/db.table/source/file/": the beginning of the ids of INSERTs with rows of a file. */
void ship_ch_query_id(const ship_destination *d, const struct ship_ch_table *t, base_buf *out);

/* ---- clickhouse_rows.c ---- */

/* Rows of a block into what is filled, but for those that the table has. */
weir_status ship_ch_take(ship_destination *d, struct ship_ch_table *t, const struct ship_rows *rows,
                         weir_err *err);
void ship_ch_forget_seen(ship_destination *d);

#endif
