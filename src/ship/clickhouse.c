/* The destination: rows as RowBinary, some hundred thousand to an INSERT, over HTTP. While one INSERT is on its way the next one
 * is filled; no more than these two are in memory.
 *
 *     put ──▶ filling ──(rows=, 64 MiB, 1 s)──▶ flying ──▶ acknowledged: its puts are done
 *
 * Rows that come again after a failure or a restart are not inserted twice: before the first rows of a file the table is asked
 * which of them it has (columns file and row). An INSERT whose answer never came is waited for by its query id. */
#include "ship/clickhouse_in.h"
#include "ship/destinations.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { CONNECT_MS = 10000 };

/* clang-format off */
static const char *const settings[] = {
    "user", "who asks (default: default)",
    "password", "of the user; better in a file",
    "password_file", "file whose first line is the password",
    "table", "of flows (default flows)",
    "ledger", "table of the loss ledger (default ledger); none: it is not delivered",
    "source", "what tells this archive's files from those of others (default: the archive's id)",
    "rows", "of an INSERT, at most (default 500000)",
    "timeout", "seconds for the answer to an INSERT (default 300), or to a question of weir query (default: any)",
    "compress", "what is sent: auto (lz4 unless to this host), none, lz4, zstd (default auto)",
    "ca", "file of certificates to trust (default: the system's)",
    "verify", "the server's certificate: yes, no (default yes)",
    "check", "for rows that are there already: yes, no (default yes)",
    "missing", "columns that the table lacks: add, skip (default add)",
    "columns", "--create: all, or used: those that come up, which is faster (default used)",
    "engine", "--create: merge, replacing, replicated, replicated-replacing (default merge)",
    "cluster", "--create: a table on each server of it, and a Distributed one",
    "ttl", "--create: rows go after 90d, 12h, 2w, 1y (default: they stay)",
    "rollup", "--create: sums of each minute and hour: yes, no (default no)",
    NULL};
/* clang-format on */

weir_status ship_ch_no_memory(weir_err *err)
{
    return weir_err_set(err, WEIR_ENOMEM, 0, "ship: out of memory");
}

int64_t ship_ch_now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

bool ship_ch_stopped(const ship_destination *d)
{
    return d->stop && d->stop(d->user);
}

void ship_ch_tell(const ship_destination *d, const char *text)
{
    if (d->log)
        d->log(d->user, text);
}

/* ---- open and close ---- */

static bool question_stopped(void *user)
{
    const ship_destination *d = user;
    return d->asking && ship_ch_stopped(d);
}

static void clickhouse_close(ship_destination *d);

static weir_status bad(const char *name, const char *value, const char *right, weir_err *err)
{
    return weir_err_set(err, WEIR_EINVAL, 0, "clickhouse: %s=%.40s is not %s", name, value, right);
}

/* yes or no. */
static weir_status flag(const struct ship_destination_options *o, const char *name, bool *out,
                        weir_err *err)
{
    const char *v = ship_setting_find(o, name);
    if (v && strcmp(v, "yes") != 0 && strcmp(v, "no") != 0)
        return bad(name, v, "yes or no", err);
    *out = v ? strcmp(v, "yes") == 0 : *out;
    return WEIR_OK;
}

/* Which of the words, which end with NULL. */
static weir_status choice(const struct ship_destination_options *o, const char *name,
                          const char *const *words, const char *all, unsigned *out, weir_err *err)
{
    const char *v = ship_setting_find(o, name);
    for (unsigned i = 0; v && words[i]; i++)
        if (strcmp(v, words[i]) == 0) {
            *out = i;
            return WEIR_OK;
        }
    return v ? bad(name, v, all, err) : WEIR_OK;
}

static weir_status whole(const struct ship_destination_options *o, const char *name, uint64_t most,
                         uint64_t *out, weir_err *err)
{
    const char *v = ship_setting_find(o, name);
    char *end, right[40];
    if (!v)
        return WEIR_OK;
    unsigned long long n = *v >= '0' && *v <= '9' ? strtoull(v, &end, 10) : 0;
    (void)snprintf(right, sizeof right, "from 1 to %llu", (unsigned long long)most);
    if (!n || *end || n > most)
        return bad(name, v, right, err);
    *out = n;
    return WEIR_OK;
}

/* A setting's value or the other, copied. */
static char *text_of(const struct ship_destination_options *o, const char *name,
                     const char *otherwise)
{
    const char *v = ship_setting_find(o, name);
    return strdup(v ? v : otherwise);
}

static weir_status read_password(const char *path, char *out, size_t cap, weir_err *err)
{
    FILE *f = fopen(path, "re");
    if (!f)
        return weir_err_set(err, WEIR_EINVAL, 0, "clickhouse: cannot read password_file %.80s: %m",
                            path);
    bool ok = fgets(out, (int)cap, f) != NULL;
    (void)fclose(f);
    if (ok)
        out[strcspn(out, "\r\n")] = '\0';
    return ok ? WEIR_OK
              : weir_err_set(err, WEIR_EINVAL, 0, "clickhouse: password_file %.80s is empty", path);
}

/* A header with a value that cannot end it. */
static weir_status header(base_buf *b, const char *name, const char *value, const char *setting,
                          weir_err *err)
{
    for (const char *p = value; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 127)
            return weir_err_set(err, WEIR_EINVAL, 0,
                                "clickhouse: %s has a control character, which no header can carry",
                                setting);
    base_buf_printf(b, "%s: %s", name, value);
    base_buf_char(b, '\0');
    return b->failed ? ship_ch_no_memory(err) : WEIR_OK;
}

static weir_status credentials(const struct ship_destination_options *o, const struct ship_url *u,
                               ship_destination *d, weir_err *err)
{
    char line[1024] = "";
    const char *user = ship_setting_find(o, "user"), *password = ship_setting_find(o, "password"),
               *file = ship_setting_find(o, "password_file");
    user = user ? user : u->user;
    password = password ? password : u->password;
    if (file) {
        if (password)
            return weir_err_set(err, WEIR_EINVAL, 0,
                                "clickhouse: give the password or password_file, not both");
        weir_status s = read_password(file, line, sizeof line, err);
        password = line;
        WEIR_TRY(s);
    }
    weir_status s = WEIR_OK;
    if (user && *user)
        s = header(&d->user_header, "X-ClickHouse-User", user, "the user", err);
    if (s == WEIR_OK && password && *password)
        s = header(&d->key_header, "X-ClickHouse-Key", password, "the password", err);
    explicit_bzero(line, sizeof line);
    return s;
}

static bool is_here(const char *host)
{
    return strncmp(host, "127.", 4) == 0 || strcmp(host, "localhost") == 0 ||
           strcmp(host, "::1") == 0;
}

static weir_status numbers_and_choices(const struct ship_destination_options *o,
                                       ship_destination *d, weir_err *err)
{
    static const char *const
        packs[] = {"none", "lz4", "zstd", "auto", NULL},
        *const engines[] = {"merge", "replacing", "replicated", "replicated-replacing", NULL},
        *const missing[] = {"skip", "add", NULL}, *const columns[] = {"all", "used", NULL};
    uint64_t timeout = 300;
    unsigned pack = 3, engine = SHIP_CLICKHOUSE_MERGE, add = 1, used = 1;
    d->most_rows = 500000;
    d->verify = d->check = true;
    WEIR_TRY(whole(o, "rows", 10000000, &d->most_rows, err));
    WEIR_TRY(whole(o, "timeout", 86400, &timeout, err));
    WEIR_TRY(choice(o, "compress", packs, "auto, none, lz4 or zstd", &pack, err));
    WEIR_TRY(choice(o, "engine", engines, "merge, replacing, replicated or replicated-replacing",
                    &engine, err));
    WEIR_TRY(choice(o, "columns", columns, "all or used", &used, err));
    WEIR_TRY(choice(o, "missing", missing, "add or skip", &add, err));
    WEIR_TRY(flag(o, "verify", &d->verify, err));
    WEIR_TRY(flag(o, "check", &d->check, err));
    WEIR_TRY(flag(o, "rollup", &d->rollup, err));
    const char *ttl = ship_setting_find(o, "ttl");
    if (ttl && !(d->ttl_s = ship_clickhouse_span(ttl)))
        return bad("ttl", ttl, "a number with h, d, w or y", err);
    d->timeout_s = (unsigned)timeout;
    d->engine = (enum ship_clickhouse_engine)engine;
    d->add = add;
    d->used = used;
    d->pack = pack == 3 ? is_here(d->host) ? SHIP_CH_PACK_NONE : SHIP_CH_PACK_LZ4
                        : (enum ship_ch_pack)pack;
    return WEIR_OK;
}

static weir_status places(const struct ship_destination_options *o, const struct ship_url *u,
                          ship_destination *d, weir_err *err)
{
    d->tls = strcmp(u->scheme, "clickhouses") == 0;
    d->host = strdup(u->host);
    d->port = strdup(u->port ? u->port : d->tls ? "8443" : "8123");
    d->database = strdup(u->path && *u->path ? u->path : "default");
    d->source = text_of(o, "source", o->archive ? o->archive : "archive");
    const char *cluster = ship_setting_find(o, "cluster"), *ca = ship_setting_find(o, "ca");
    d->cluster = cluster ? strdup(cluster) : NULL;
    d->ca = ca ? strdup(ca) : NULL;
    d->tables[0].id = FLOW_TABLE_FLOWS;
    d->tables[1].id = FLOW_TABLE_LEDGER;
    d->tables[0].name = text_of(o, "table", "flows");
    d->tables[1].name = text_of(o, "ledger", "ledger");
    if (!d->host || !d->port || !d->database || !d->source || (cluster && !d->cluster) ||
        (ca && !d->ca) || !d->tables[0].name || !d->tables[1].name)
        return ship_ch_no_memory(err);
    if (strcmp(d->tables[1].name, "none") == 0) {
        free(d->tables[1].name);
        d->tables[1].name = NULL;
    }
    if (!*d->tables[0].name || (d->tables[1].name && !*d->tables[1].name))
        return weir_err_set(err, WEIR_EINVAL, 0, "clickhouse: a table's name is empty");
    if (d->tables[1].name && strcmp(d->tables[0].name, d->tables[1].name) == 0)
        return weir_err_set(err, WEIR_EINVAL, 0, "clickhouse: table and ledger are the same: %.40s",
                            d->tables[0].name);
    if (strchr(d->database, '/'))
        return weir_err_set(err, WEIR_EINVAL, 0,
                            "clickhouse: '%.60s' is no database: clickhouse://host:8123/DATABASE, "
                            "the table with --set table=NAME",
                            d->database);
    return WEIR_OK;
}

/* The columns of the schema, as fields of a query. Those of the ledger are named as extra columns are: by their names in the
 * files, since ids are those of the flow table. */
static weir_status own_fields(struct ship_ch_table *t, weir_err *err)
{
    uint32_t n;
    const struct flow_column *c = flow_table_columns(t->id, &n);
    if (!(t->own = calloc(n, sizeof *t->own)))
        return ship_ch_no_memory(err);
    t->n_own = n;
    for (uint32_t i = 0; i < n; i++)
        t->own[i] = t->id == FLOW_TABLE_FLOWS ? query_field_column((enum flow_column_id)i)
                                              : (struct query_field){.what = QUERY_F_EXTRA,
                                                                     .id = -1,
                                                                     .name = c[i].name,
                                                                     .kind = QUERY_UNKNOWN,
                                                                     .bits4 = 255,
                                                                     .bits6 = 255};
    return WEIR_OK;
}

static weir_status set_up(const struct ship_destination_options *o, const struct ship_url *u,
                          ship_destination *d, weir_err *err)
{
    if (!u->host || !*u->host || strchr(u->host, ','))
        return weir_err_set(err, WEIR_EINVAL, 0,
                            "clickhouse: one host is to be named: clickhouse://host:8123/database");
    /* They become part of an address: nothing in them may end it. */
    if (u->host[strcspn(u->host, "/?#@\\\"<>^`{|} \t\r\n")] ||
        (u->port && (!*u->port || u->port[strspn(u->port, "0123456789")])))
        return weir_err_set(
            err, WEIR_EINVAL, 0,
            "clickhouse: host and port cannot be read: clickhouse://host:8123/database");
    WEIR_TRY(places(o, u, d, err));
    WEIR_TRY(numbers_and_choices(o, d, err));
    WEIR_TRY(credentials(o, u, d, err));
    for (int i = 0; i < 2; i++)
        WEIR_TRY(own_fields(&d->tables[i], err));
    const struct ship_http_options h = {.what = "clickhouse",
                                        .host = d->host,
                                        .port = d->port,
                                        .remedy = "is it the HTTP port of a server that runs?",
                                        .tls = d->tls,
                                        .any_certificate = !d->verify,
                                        .ca = d->ca,
                                        .connect_ms = CONNECT_MS,
                                        .answer_ms = d->timeout_s * 1000,
                                        .stop = question_stopped,
                                        .user = d};
    WEIR_TRY(ship_http_new(&h, &d->http, err));
    return (d->encoder = ship_rowbinary_new()) ? WEIR_OK : ship_ch_no_memory(err);
}

static weir_status clickhouse_open(const struct ship_destination_options *o, ship_destination **out,
                                   weir_err *err)
{
    struct ship_url u;
    WEIR_TRY(ship_settings_known(o, settings, err));
    if (o->format && strcmp(o->format, "rowbinary") != 0)
        return weir_err_set(err, WEIR_EINVAL, 0,
                            "clickhouse: it takes rows as RowBinary, not as %.40s: leave the "
                            "format out",
                            o->format);
    WEIR_TRY(ship_url_parse(o->url, &u, err));
    ship_destination *d = calloc(1, sizeof *d);
    weir_status s = d ? WEIR_OK : ship_ch_no_memory(err);
    if (s == WEIR_OK) {
        d->create = o->create;
        d->stop = o->stop;
        d->log = o->log;
        d->user = o->user;
        d->filling = &d->batches[0];
        d->flying = &d->batches[1];
        s = set_up(o, &u, d, err);
    }
    ship_url_done(&u);
    if (s != WEIR_OK) {
        clickhouse_close(d);
        return s;
    }
    *out = d;
    return WEIR_OK;
}

/* As after open: what is not done comes again, and the server may be another one. */
static void start_over(ship_destination *d)
{
    ship_http_drop(d->http);
    d->is_flying = false;
    ship_ch_empty_batch(d->filling);
    ship_ch_empty_batch(d->flying);
    ship_ch_forget_columns(&d->tables[0]);
    ship_ch_forget_columns(&d->tables[1]);
    ship_ch_forget_seen(d);
    d->server_known = false;
    d->done = d->told = 0;
}

static void clickhouse_close(ship_destination *d)
{
    if (!d)
        return;
    if (d->http)
        start_over(d);
    ship_http_free(d->http);
    for (int i = 0; i < 2; i++) {
        struct ship_ch_table *t = &d->tables[i];
        for (size_t k = 0; k < t->n_skipped; k++)
            free(t->skipped[k]);
        free(t->skipped);
        free(t->own);
        free(t->fields);
        free(t->name);
        base_buf_done(&d->batches[i].body);
        base_buf_done(&d->batches[i].packed);
        base_buf_done(&d->batches[i].target);
    }
    ship_rowbinary_free(d->encoder);
    if (d->key_header.data)
        explicit_bzero(d->key_header.data, d->key_header.len);
    base_buf_done(&d->user_header);
    base_buf_done(&d->key_header);
    base_buf_done(&d->name);
    free(d->map);
    free(d->row_columns);
    free(d->numbers);
    free(d->zeros);
    free(d->host);
    free(d->port);
    free(d->database);
    free(d->cluster);
    free(d->source);
    free(d->said);
    free(d->ca);
    free(d);
}

static struct ship_ch_table *table_of(ship_destination *d, enum flow_table id)
{
    for (int i = 0; i < 2; i++)
        if (d->tables[i].id == id && d->tables[i].name)
            return &d->tables[i];
    return NULL;
}

static weir_status clickhouse_fields(ship_destination *d, enum flow_table table,
                                     const struct query_field *extras, size_t n_extras,
                                     const struct query_field **fields, size_t *n, weir_err *err)
{
    struct ship_ch_table *t = table_of(d, table);
    *fields = NULL;
    *n = 0;
    if (!t)
        return WEIR_OK;
    struct query_field *all = realloc(t->fields, (t->n_own + n_extras) * sizeof *all);
    if (!all)
        return ship_ch_no_memory(err);
    memcpy(all, t->own, t->n_own * sizeof *all);
    if (n_extras)
        memcpy(all + t->n_own, extras, n_extras * sizeof *all);
    t->fields = all;
    *fields = all;
    *n = t->n_own + n_extras;
    return WEIR_OK;
}

static weir_status put(ship_destination *d, const struct ship_rows *rows, weir_err *err)
{
    struct ship_ch_table *t = table_of(d, rows->table);
    if (!t)
        return weir_err_set(err, WEIR_EINVAL, 0, "clickhouse: this table is not delivered");
    if (rows->block.n) {
        WEIR_TRY(ship_ch_go(d, 0, err));
        if (!t->known) {
            WEIR_TRY(ship_ch_land(d, err));
            WEIR_TRY(ship_ch_know_table(d, t, err));
        }
        if (d->filling->table && d->filling->table != t)
            WEIR_TRY(ship_ch_send_off(d, err));
        WEIR_TRY(ship_ch_take(d, t, rows, err));
    }
    d->filling->puts++;
    ship_ch_settle(d);
    weir_status s = ship_ch_is_due(d) ? ship_ch_send_off(d, err) : ship_ch_go(d, 0, err);
    return s == WEIR_END ? WEIR_OK : s; /* these rows are taken: the next call hears of the stop */
}

/* A failure: at once, or after `done` was told what was done before. */
static weir_status fail(ship_destination *d, weir_status s, const weir_err *why, weir_err *err)
{
    if (s == WEIR_OK || s == WEIR_END) {
        if (err && s != WEIR_OK)
            *err = *why;
        return s;
    }
    if (d->done > d->told) {
        d->held = s;
        d->held_err = *why;
        return WEIR_OK;
    }
    d->held = WEIR_OK;
    if (err)
        *err = *why;
    start_over(d);
    return s;
}

static weir_status clickhouse_put(ship_destination *d, const struct ship_rows *rows, weir_err *err)
{
    weir_err why = {0};
    if (d->held != WEIR_OK) {
        d->told = d->done;
        why = d->held_err;
        return fail(d, d->held, &why, err);
    }
    weir_status s = put(d, rows, &why);
    return fail(d, s, &why, err);
}

static weir_status wait_for(ship_destination *d, int wait_ms, weir_err *err)
{
    uint64_t before = d->told;
    int64_t end = ship_ch_now_ms() + wait_ms;
    WEIR_TRY(ship_ch_go(d, 0, err));
    while (d->done == before) {
        if (!d->is_flying && d->filling->rows && (wait_ms > 0 || ship_ch_is_due(d)))
            WEIR_TRY(ship_ch_send_off(d, err));
        int64_t left = end - ship_ch_now_ms();
        if (!d->is_flying || left <= 0)
            break;
        WEIR_TRY(ship_ch_go(d, (int)(left < SHIP_CH_WAIT_MS ? left : SHIP_CH_WAIT_MS), err));
    }
    return WEIR_OK;
}

static weir_status clickhouse_done(ship_destination *d, int wait_ms, uint64_t *done, weir_err *err)
{
    weir_err why = {0};
    weir_status s = d->held;
    if (s != WEIR_OK)
        why = d->held_err;
    else
        s = wait_for(d, wait_ms, &why);
    s = fail(d, s, &why, err);
    d->told = *done = d->done;
    return s;
}

/* clang-format off */
const struct ship_destination_ops ship_clickhouse = {
    "clickhouse", "rows to a table of ClickHouse over HTTP: clickhouse://host:8123/database",
    settings, clickhouse_open, clickhouse_fields, clickhouse_put, clickhouse_done, clickhouse_close};
const struct ship_destination_ops ship_clickhouses = {
    "clickhouses", "the same over HTTPS: clickhouses://host:8443/database",
    settings, clickhouse_open, clickhouse_fields, clickhouse_put, clickhouse_done, clickhouse_close};
/* clang-format on */
