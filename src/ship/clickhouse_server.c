#include "ship/clickhouse_in.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    MAX_ANSWER = 1 << 26,  /* octets of an answer to our own questions */
    MAX_COLUMNS = 1 << 16, /* of a table */
    IDENTITY = 2,          /* columns that we add: file and row */
    DDL_UNFINISHED = 159   /* error: not all servers of the cluster have done it in time */
};

/* Statements ON CLUSTER wait so long for servers that are away. */
#define DDL_TARGET "/?distributed_ddl_task_timeout=30"

/* ---- what a server says ---- */

/* Errors that no patience helps against. */
static const struct {
    int code;
    const char *remedy;
} refusals[] = {
    {16, ""},
    {36, ""},
    {43, ""},
    {44, ""},
    {47, ""},
    {48, ""},
    {50, ""},
    {53, ""},
    {60, "--create makes the table"},
    {62, ""},
    {70, ""},
    {81, "--create makes the database"},
    {115, ""},
    {164, "the user may only read"},
    {192, "are user and password right?"},
    {193, "are user and password right?"},
    {194, "are user and password right?"},
    {195, "the server lets nobody in from here"},
    {291, "the user may not use this database"},
    {371, "a cluster with internal_replication needs engine=replicated"},
    {497, "the user needs a GRANT"},
    {516, "are user and password right?"},
};

/* The text of an exception in one line, without what repeats in all of them. */
static void exception_text(const char *text, size_t len, char *out, size_t cap)
{
    static const char mark[] = "DB::Exception: ";
    const char *at = memmem(text, len, mark, sizeof mark - 1);
    if (at) {
        at += sizeof mark - 1;
        len -= (size_t)(at - text);
        text = at;
    }
    at = memmem(text, len, ", e.what() = ", 13);
    len = at ? (size_t)(at - text) : len;
    at = memmem(text, len, " (version ", 10);
    len = at ? (size_t)(at - text) : len;
    size_t n = 0;
    for (size_t i = 0; i < len && n + 1 < cap; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c < ' ' || c == 127)
            c = ' ';
        if (c != ' ' || (n && out[n - 1] != ' '))
            out[n++] = (char)c;
    }
    while (n && (out[n - 1] == ' ' || (unsigned char)out[n - 1] >= 128) && n + 1 >= cap)
        n--; /* no half of a character */
    out[n] = '\0';
}

/* The server's words where a message has no room for them, once. */
static void say_all(ship_destination *d, const char *why)
{
    char line[1100];
    if (d->said && strcmp(d->said, why) == 0)
        return;
    free(d->said);
    d->said = strdup(why);
    (void)snprintf(line, sizeof line, "clickhouse: %s port %s says: %s", d->host, d->port, why);
    ship_ch_tell(d, line);
}

/* An answer that is no failure, or why. */
weir_status ship_ch_judge(ship_destination *d, const struct ship_http_answer *a, weir_err *err)
{
    bool exception = a->len > 6 && memcmp(a->text, "Code: ", 6) == 0;
    int code = exception ? atoi(a->text + 6) : 0;
    d->code = code;
    if (a->status == 200 && !exception)
        return WEIR_OK;
    char why[1000];
    exception_text(a->text, a->len, why, sizeof why);
    weir_status s = a->status >= 500 || exception ? WEIR_EIO : WEIR_EINVAL;
    const char *remedy = "";
    for (size_t i = 0; exception && i < ARRAY_LEN(refusals); i++)
        if (refusals[i].code == code) {
            s = WEIR_EINVAL;
            remedy = refusals[i].remedy;
        }
    if (!exception) {
        if (a->status == 401 || a->status == 403)
            remedy = "are user and password right?";
        else if (a->status == 408 || a->status == 429)
            s = WEIR_EIO;
        return weir_err_set(err, s, 0, "clickhouse: %s port %s: HTTP status %d%s%s: %s", d->host,
                            d->port, a->status, *remedy ? "; " : "", remedy, why);
    }
    if ((*remedy || strlen(why) > 90) && code != d->quiet)
        say_all(d, why);
    return weir_err_set(err, s, 0, "clickhouse: %s port %s: error %d%s%s%s", d->host, d->port, code,
                        *remedy ? " (" : ": ", *remedy ? remedy : why, *remedy ? ")" : "");
}

/* ---- questions and statements ---- */

size_t ship_ch_headers_of(const ship_destination *d, const char **out)
{
    size_t n = 0;
    if (d->user_header.len)
        out[n++] = d->user_header.data;
    if (d->key_header.len)
        out[n++] = d->key_header.data;
    return n;
}

static weir_status keep(void *user, const void *p, size_t n, weir_err *err)
{
    struct ship_ch_answer *a = user;
    if (a->b.len + n > MAX_ANSWER)
        return weir_err_set(err, WEIR_EFORMAT, 0, "clickhouse: an answer is longer than %d octets",
                            MAX_ANSWER);
    base_buf_add(&a->b, p, n);
    return a->b.failed ? ship_ch_no_memory(err) : WEIR_OK;
}

/* One question or statement; nothing may be flying. data NULL: no answer is wanted. */
weir_status ship_ch_ask(ship_destination *d, const char *sql, size_t len,
                        weir_status (*data)(void *user, const void *p, size_t n, weir_err *err),
                        void *user, weir_err *err)
{
    const char *headers[2];
    struct ship_http_request r = {.target = data         ? "/?wait_end_of_query=1"
                                            : d->cluster ? DDL_TARGET
                                                         : "/",
                                  .headers = headers,
                                  .n_headers = ship_ch_headers_of(d, headers),
                                  .body = sql,
                                  .len = len,
                                  .data = data,
                                  .user = user};
    struct ship_http_answer a;
    d->code = 0;
    d->asking = true;
    weir_status s = ship_http_post(d->http, &r, &a, err);
    d->asking = false;
    return s == WEIR_OK ? ship_ch_judge(d, &a, err) : s;
}

weir_status ship_ch_ask_buf(ship_destination *d, base_buf *sql, struct ship_ch_answer *a,
                            weir_err *err)
{
    weir_status s = sql->failed ? ship_ch_no_memory(err)
                                : ship_ch_ask(d, sql->data, sql->len, a ? keep : NULL, a, err);
    base_buf_done(sql);
    return s;
}

static weir_status define(ship_destination *d, const char *sql, size_t len, weir_err *err)
{
    weir_err why = {0};
    weir_status s = ship_ch_ask(d, sql, len, NULL, NULL, &why);
    if (s != WEIR_OK && d->code == DDL_UNFINISHED) {
        ship_ch_tell(d, "clickhouse: a server of the cluster does not answer; it is to change its "
                        "tables when it is back");
        return WEIR_OK;
    }
    if (s != WEIR_OK && err)
        *err = why;
    return s;
}

weir_status ship_ch_define(ship_destination *d, base_buf *sql, weir_err *err)
{
    weir_status s = sql->failed ? ship_ch_no_memory(err) : define(d, sql->data, sql->len, err);
    base_buf_done(sql);
    return s;
}

/* A String of RowBinary at *p. */
static bool take_text(const char **p, const char *end, const char **text, size_t *len)
{
    uint64_t n = 0;
    for (int shift = 0; *p < end && shift < 35; shift += 7) {
        uint8_t c = (uint8_t) * (*p)++;
        n |= (uint64_t)(c & 127) << shift;
        if (!(c & 128)) {
            if (n > (uint64_t)(end - *p))
                return false;
            *text = *p;
            *len = (size_t)n;
            *p += n;
            return true;
        }
    }
    return false;
}

static weir_status torn(weir_err *err)
{
    return weir_err_set(err, WEIR_EIO, 0, "clickhouse: an answer cannot be read");
}

static weir_status know_server(ship_destination *d, weir_err *err)
{
    static const char sql[] = "SELECT version() FORMAT RowBinary";
    struct ship_ch_answer a = {0};
    if (d->server_known)
        return WEIR_OK;
    weir_status s = ship_ch_ask(d, sql, sizeof sql - 1, keep, &a, err);
    const char *p = a.b.data, *text = "";
    size_t len = 0;
    if (s == WEIR_OK && !(a.b.len && take_text(&p, p + a.b.len, &text, &len)))
        s = weir_err_set(err, WEIR_EINVAL, 0,
                         "clickhouse: what answers at %s port %s is not ClickHouse", d->host,
                         d->port);
    if (s == WEIR_OK)
        s = ship_clickhouse_version(text, len, &d->server, err);
    base_buf_done(&a.b);
    d->server_known = s == WEIR_OK;
    return s;
}

/* ---- tables ---- */

int ship_ch_find_column(const struct ship_ch_table *t, const char *name, size_t len)
{
    for (size_t i = 0; i < t->n; i++)
        if (strlen(t->columns[i].name) == len && memcmp(t->columns[i].name, name, len) == 0)
            return (int)i;
    return -1;
}

static weir_status read_columns(struct ship_ch_table *t, const char *p, size_t octets,
                                weir_err *err)
{
    const char *end = p + octets, *text[3];
    size_t len[3], cap = 0;
    while (p < end) {
        for (int i = 0; i < 3; i++)
            if (!take_text(&p, end, &text[i], &len[i]))
                return torn(err);
        if (t->n == MAX_COLUMNS)
            return torn(err);
        if (t->n == cap) {
            cap = cap ? 2 * cap : 128;
            struct ship_ch_column *more = realloc(t->columns, cap * sizeof *more);
            if (!more)
                return ship_ch_no_memory(err);
            t->columns = more;
        }
        struct ship_ch_column *c = &t->columns[t->n];
        *c = (struct ship_ch_column){.name = strndup(text[0], len[0]),
                                     .type_text = strndup(text[1], len[1]),
                                     .computed =
                                         len[2] > 0 && strncmp(text[2], "DEFAULT", len[2]) != 0};
        t->n++;
        if (!c->name || !c->type_text)
            return ship_ch_no_memory(err);
        c->typed = ship_rowbinary_type_parse(c->type_text, &c->type);
    }
    return WEIR_OK;
}

/* Columns of the table as it is now; n 0: there is none. */
static weir_status look_at_columns(ship_destination *d, struct ship_ch_table *t, weir_err *err)
{
    base_buf sql = {0};
    struct ship_ch_answer a = {0};
    ship_ch_forget_columns(t);
    base_buf_str(&sql, "SELECT name, type, default_kind FROM system.columns WHERE database = ");
    ship_clickhouse_text(&sql, d->database, strlen(d->database));
    base_buf_str(&sql, " AND table = ");
    ship_clickhouse_text(&sql, t->name, strlen(t->name));
    base_buf_str(&sql, " FORMAT RowBinary");
    weir_status s = ship_ch_ask_buf(d, &sql, &a, err);
    if (s == WEIR_OK)
        s = read_columns(t, a.b.data, a.b.len, err);
    base_buf_done(&a.b);
    WEIR_TRY(s);
    t->file = ship_ch_find_column(t, "file", 4);
    t->row = ship_ch_find_column(t, "row", 3);
    return (t->active = calloc(t->n + IDENTITY, sizeof *t->active)) ? WEIR_OK
                                                                    : ship_ch_no_memory(err);
}

static weir_status look_at_engine(ship_destination *d, struct ship_ch_table *t, weir_err *err)
{
    base_buf sql = {0};
    struct ship_ch_answer a = {0};
    base_buf_str(&sql, "SELECT engine FROM system.tables WHERE database = ");
    ship_clickhouse_text(&sql, d->database, strlen(d->database));
    base_buf_str(&sql, " AND name = ");
    ship_clickhouse_text(&sql, t->name, strlen(t->name));
    base_buf_str(&sql, " FORMAT RowBinary");
    weir_status s = ship_ch_ask_buf(d, &sql, &a, err);
    const char *p = a.b.data, *text;
    size_t len;
    t->distributed = s == WEIR_OK && a.b.len && take_text(&p, p + a.b.len, &text, &len) &&
                     len == 11 && memcmp(text, "Distributed", 11) == 0;
    base_buf_done(&a.b);
    return s;
}

/* 'host:port,host:port' of the cluster's servers. */
static weir_status servers_of(ship_destination *d, base_buf *out, weir_err *err)
{
    base_buf sql = {0}, list = {0};
    struct ship_ch_answer a = {0};
    base_buf_str(&sql, "SELECT concat(host_name, ':', toString(port)) FROM system.clusters WHERE "
                       "cluster = ");
    ship_clickhouse_text(&sql, d->cluster, strlen(d->cluster));
    base_buf_str(&sql, " FORMAT RowBinary");
    weir_status s = ship_ch_ask_buf(d, &sql, &a, err);
    const char *p = a.b.data, *end = p + a.b.len, *text;
    size_t len;
    while (s == WEIR_OK && p < end) {
        if (!take_text(&p, end, &text, &len)) {
            s = torn(err);
            break;
        }
        base_buf_str(&list, list.len ? "," : "");
        base_buf_add(&list, text, len);
    }
    if (s == WEIR_OK && list.failed)
        s = ship_ch_no_memory(err);
    if (s == WEIR_OK)
        ship_clickhouse_text(out, list.len ? list.data : "", list.len);
    base_buf_done(&a.b);
    base_buf_done(&list);
    return s;
}

weir_status ship_ch_on_all_servers(ship_destination *d, const char *database, const char *table,
                                   base_buf *out, weir_err *err)
{
    if (ship_clickhouse_is_modern(&d->server)) {
        base_buf_str(out, "clusterAllReplicas(");
        ship_clickhouse_text(out, d->cluster, strlen(d->cluster));
    } else {
        base_buf_str(out, "remote(");
        WEIR_TRY(servers_of(d, out, err));
    }
    base_buf_str(out, ", ");
    ship_clickhouse_name(out, database, strlen(database));
    base_buf_str(out, ", ");
    ship_clickhouse_name(out, table, strlen(table));
    base_buf_char(out, ')');
    return WEIR_OK;
}

static weir_status one_statement(void *user, const char *sql, size_t len, weir_err *err)
{
    return define(user, sql, len, err);
}

/* `database`.`table` with a word behind its name. */
static void beside(base_buf *sql, const ship_destination *d, const struct ship_ch_table *t,
                   const char *word)
{
    base_buf name = {0};
    base_buf_printf(&name, "%s%s", t->name, word);
    base_buf_char(&name, '\0');
    if (name.failed)
        sql->failed = true;
    else
        ship_clickhouse_table(sql, d->database, name.data);
    base_buf_done(&name);
}

static void on_cluster(base_buf *sql, const ship_destination *d)
{
    base_buf_str(sql, " ON CLUSTER ");
    ship_clickhouse_name(sql, d->cluster, strlen(d->cluster));
}

static weir_status drop_beside(ship_destination *d, const struct ship_ch_table *t, const char *word,
                               weir_err *err)
{
    base_buf sql = {0};
    base_buf_str(&sql, "DROP TABLE IF EXISTS ");
    beside(&sql, d, t, word);
    on_cluster(&sql, d);
    return ship_ch_define(d, &sql, err);
}

/* What the engine's arguments are: its owner may have chosen others than ours. */
static weir_status engine_of(ship_destination *d, const struct ship_ch_table *t, base_buf *out,
                             weir_err *err)
{
    base_buf sql = {0};
    struct ship_ch_answer a = {0};
    base_buf_str(&sql, "SELECT engine_full FROM system.tables WHERE database = ");
    ship_clickhouse_text(&sql, d->database, strlen(d->database));
    base_buf_str(&sql, " AND name = ");
    ship_clickhouse_text(&sql, t->name, strlen(t->name));
    base_buf_str(&sql, " FORMAT RowBinary");
    weir_status s = ship_ch_ask_buf(d, &sql, &a, err);
    const char *p = a.b.data, *text = "";
    size_t len = 0;
    if (s == WEIR_OK && !(a.b.len && take_text(&p, p + a.b.len, &text, &len) && len))
        s = torn(err);
    if (s == WEIR_OK)
        base_buf_add(out, text, len);
    base_buf_done(&a.b);
    return s;
}

weir_status ship_ch_remake_distributed(ship_destination *d, const struct ship_ch_table *t,
                                       weir_err *err)
{
    static const char before[] = "_before_columns", after[] = "_with_columns";
    base_buf sql = {0}, engine = {0};
    weir_status s = engine_of(d, t, &engine, err);
    if (s == WEIR_OK)
        s = drop_beside(d, t, after, err);
    if (s == WEIR_OK)
        s = drop_beside(d, t, before, err);
    if (s == WEIR_OK) {
        base_buf_str(&sql, "CREATE TABLE ");
        beside(&sql, d, t, after);
        on_cluster(&sql, d);
        base_buf_str(&sql, " AS ");
        beside(&sql, d, t, "_local");
        base_buf_str(&sql, " ENGINE = ");
        base_buf_add(&sql, engine.data, engine.len);
        s = ship_ch_define(d, &sql, err);
    }
    base_buf_done(&engine);
    WEIR_TRY(s);
    base_buf_str(&sql, "RENAME TABLE ");
    beside(&sql, d, t, "");
    base_buf_str(&sql, " TO ");
    beside(&sql, d, t, before);
    base_buf_str(&sql, ", ");
    beside(&sql, d, t, after);
    base_buf_str(&sql, " TO ");
    beside(&sql, d, t, "");
    on_cluster(&sql, d);
    WEIR_TRY(ship_ch_define(d, &sql, err));
    return drop_beside(d, t, before, err);
}

static weir_status create(ship_destination *d, struct ship_ch_table *t, weir_err *err)
{
    const struct ship_clickhouse_form f = {.database = d->database,
                                           .flows = d->tables[0].name,
                                           .ledger = d->tables[1].name,
                                           .cluster = d->cluster,
                                           .engine = d->engine,
                                           .ttl_s = d->ttl_s,
                                           .rollup = d->rollup,
                                           .used = d->used};
    char text[200];
    WEIR_TRY(ship_clickhouse_create(&f, &d->server, t->id, one_statement, d, err));
    (void)snprintf(text, sizeof text,
                   "clickhouse: %s port %s: table %.60s made, in the form for server %s", d->host,
                   d->port, t->name, d->server.text);
    ship_ch_tell(d, text);
    return look_at_columns(d, t, err);
}

/* Room for what the identity columns and the active ones need. */
static void choose_identity(ship_destination *d, struct ship_ch_table *t)
{
    t->n_active = 0;
    bool both = t->file >= 0 && t->row >= 0 && !t->columns[t->file].computed &&
                !t->columns[t->row].computed && t->columns[t->file].typed &&
                t->columns[t->row].typed &&
                ship_rowbinary_takes(&t->columns[t->file].type, QUERY_TEXT) &&
                ship_rowbinary_takes(&t->columns[t->row].type, QUERY_U64);
    if (both) {
        t->active[t->n_active++] = (size_t)t->file;
        t->active[t->n_active++] = (size_t)t->row;
        t->columns[t->file].active = t->columns[t->row].active = true;
        return;
    }
    t->file = t->row = -1;
    char text[240];
    (void)snprintf(text, sizeof text,
                   "clickhouse: table %.60s has no columns `file` String and `row` UInt64: rows "
                   "that come again after a failure will be in it twice",
                   t->name);
    if (d->check)
        ship_ch_tell(d, text);
}

weir_status ship_ch_know_table(ship_destination *d, struct ship_ch_table *t, weir_err *err)
{
    if (t->known)
        return WEIR_OK;
    WEIR_TRY(know_server(d, err));
    WEIR_TRY(look_at_columns(d, t, err));
    if (d->create && !t->made && (!t->n || d->rollup))
        WEIR_TRY(create(d, t, err));
    t->made = true;
    if (!t->n)
        return weir_err_set(err, WEIR_EINVAL, 0,
                            "clickhouse: %s port %s has no table %.40s.%.40s; --create makes it",
                            d->host, d->port, d->database, t->name);
    WEIR_TRY(look_at_engine(d, t, err));
    choose_identity(d, t);
    t->known = true;
    return WEIR_OK;
}

void ship_ch_forget_columns(struct ship_ch_table *t)
{
    for (size_t i = 0; i < t->n; i++) {
        free(t->columns[i].name);
        free(t->columns[i].type_text);
    }
    free(t->columns);
    free(t->active);
    t->columns = NULL;
    t->active = NULL;
    t->n = t->n_active = 0;
    t->known = false;
}
