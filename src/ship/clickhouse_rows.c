#include "ship/clickhouse_in.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    MAX_NAME = 80, /* octets of a column's name: its file's name has three for each, at most 255 */
    MAX_ROWS = 1 << 28,  /* of a file, looked for in the table */
    AROUND_S = 2 * 3600, /* a file's rows were received within an hour */
    /* Errors: */
    COLUMN_EXISTS = 44,
    NO_CLUSTER = 170,      /* there is none of that name */
    NO_SUCH_CLUSTER = 701, /* the same, later */
    NOT_REPLICATED = 371   /* ALTER ON CLUSTER of what is no Replicated table: servers of 2018 */
};

/* ---- columns of a block ---- */

static bool has_values(const struct query_vec *v, size_t n)
{
    if (v->kind == QUERY_UNKNOWN || !n)
        return false;
    if (v->starts && v->starts[n] == v->starts[0])
        return false;
    if (!v->valid)
        return true;
    for (size_t i = 0; i < n / 64; i++)
        if (v->valid[i])
            return true;
    return n % 64 && (v->valid[n / 64] & (UINT64_MAX >> (64 - n % 64)));
}

/* What the column of a field is called: elements do not take the names of our own two. */
static const char *column_name(const struct query_field *f, char *room, size_t cap)
{
    if (f->what != QUERY_F_EXTRA || (strcmp(f->name, "file") != 0 && strcmp(f->name, "row") != 0))
        return f->name;
    (void)snprintf(room, cap, "element_%s", f->name);
    return room;
}

/* Said once for each name: true if it was said before. */
static bool said(struct ship_ch_table *t, const char *name)
{
    for (size_t i = 0; i < t->n_skipped; i++)
        if (strcmp(t->skipped[i], name) == 0)
            return true;
    if (t->n_skipped >= SHIP_CH_MAX_COLUMNS)
        return true;
    char **more = realloc(t->skipped, (t->n_skipped + 1) * sizeof *more);
    char *copy = more ? strdup(name) : NULL;
    if (more)
        t->skipped = more;
    if (copy)
        t->skipped[t->n_skipped++] = copy;
    return !copy;
}

static void skip(ship_destination *d, struct ship_ch_table *t, const char *name, const char *why)
{
    char text[300];
    if (said(t, name))
        return;
    (void)snprintf(text, sizeof text, "clickhouse: column %.80s is not delivered: %s", name, why);
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < ' ')
            *p = '?';
    ship_ch_tell(d, text);
}

/* Whether the table can and may get a column of this name. */
static bool may_add(ship_destination *d, struct ship_ch_table *t, const char *name)
{
    const char *why = NULL;
    if (!d->add)
        why = "the table has none (--set missing=add adds it)";
    else if (t->n >= SHIP_CH_MAX_COLUMNS)
        why = "the table has 2000 columns";
    else if (!*name || strlen(name) > MAX_NAME)
        why = "its name is empty or longer than 80 octets";
    if (why)
        skip(d, t, name, why);
    return !why;
}

static const struct flow_column *schema_column(const struct ship_ch_table *t, const char *name)
{
    uint32_t n;
    const struct flow_column *c = flow_table_columns(t->id, &n);
    int at = flow_table_find(t->id, name, strlen(name));
    return at >= 0 ? &c[at] : NULL;
}

/* "ADD COLUMN `name` type" and a zero for each field with values that the table has no column for; *n of them. */
static weir_status missing_columns(ship_destination *d, struct ship_ch_table *t,
                                   const struct ship_rows *rows, base_buf *out, size_t *n)
{
    char room[64];
    *n = 0;
    for (size_t i = 0; i < rows->n_fields; i++) {
        const struct query_vec *v = &rows->block.vecs[i];
        const char *name = column_name(&rows->fields[i], room, sizeof room);
        if (d->map[i] != -1 || !has_values(v, rows->block.n) || !may_add(d, t, name))
            continue;
        const struct flow_column *c = schema_column(t, name);
        base_buf_str(out, "ADD COLUMN ");
        if (ship_clickhouse_is_modern(&d->server))
            base_buf_str(out, "IF NOT EXISTS ");
        ship_clickhouse_name(out, name, strlen(name));
        base_buf_char(out, ' ');
        if (c)
            ship_clickhouse_column(out, &d->server, c, false);
        else
            ship_clickhouse_extra(out, &d->server, v->kind);
        base_buf_char(out, '\0');
        ++*n;
    }
    return WEIR_OK;
}

/* ALTER TABLE with the first octets of what missing_columns made, which end with a zero. */
static weir_status alter_some(ship_destination *d, const char *table, const char *what, size_t len,
                              weir_err *err)
{
    base_buf sql = {0};
    base_buf_str(&sql, "ALTER TABLE ");
    ship_clickhouse_table(&sql, d->database, table);
    if (d->cluster) {
        base_buf_str(&sql, " ON CLUSTER ");
        ship_clickhouse_name(&sql, d->cluster, strlen(d->cluster));
    }
    for (size_t at = 0; at < len; at += strlen(what + at) + 1) {
        base_buf_str(&sql, at ? ", " : " ");
        base_buf_str(&sql, what + at);
    }
    return ship_ch_define(d, &sql, err);
}

/* All columns at once. Servers that know no IF NOT EXISTS here refuse that when some of them are there (which others added, or
 * we before something failed): then one after the other. */
static weir_status alter(ship_destination *d, const char *table, const base_buf *what,
                         weir_err *err)
{
    bool old = !ship_clickhouse_is_modern(&d->server);
    d->quiet = old ? COLUMN_EXISTS : 0;
    weir_status s = alter_some(d, table, what->data, what->len, err);
    bool again = s != WEIR_OK && old && d->code == COLUMN_EXISTS;
    for (size_t at = 0, n; again && at < what->len; at += n) {
        n = strlen(what->data + at) + 1;
        s = alter_some(d, table, what->data + at, n, err);
        again = s == WEIR_OK || d->code == COLUMN_EXISTS;
    }
    d->quiet = 0;
    return again ? WEIR_OK : s;
}

static weir_status add_columns(ship_destination *d, struct ship_ch_table *t, const base_buf *what,
                               weir_err *err)
{
    if (t->distributed && !d->cluster)
        return weir_err_set(err, WEIR_EINVAL, 0,
                            "clickhouse: table %.40s is Distributed and lacks columns: add them on "
                            "all servers, or --set cluster=NAME, or missing=skip",
                            t->name);
    base_buf local = {0};
    ship_clickhouse_local(&local, t->name);
    base_buf_char(&local, '\0');
    weir_status s = local.failed ? ship_ch_no_memory(err) : WEIR_OK;
    if (s == WEIR_OK && t->distributed)
        s = alter(d, local.data, what, err);
    base_buf_done(&local);
    WEIR_TRY(s);
    if (t->distributed) {
        d->quiet = NOT_REPLICATED;
        s = alter_some(d, t->name, what->data, what->len, err);
        d->quiet = 0;
        if (s != WEIR_OK && d->code == NOT_REPLICATED)
            s = ship_ch_remake_distributed(d, t, err);
    } else {
        s = alter(d, t->name, what, err);
    }
    WEIR_TRY(s);
    ship_ch_forget_columns(t);
    return ship_ch_know_table(d, t, err);
}

/* Whether the columns that were to be added are there: nothing is delivered silently without them. */
static weir_status were_added(ship_destination *d, struct ship_ch_table *t,
                              const struct ship_rows *rows, size_t n, weir_err *err)
{
    base_buf what = {0};
    size_t lacks;
    char text[160];
    WEIR_TRY(missing_columns(d, t, rows, &what, &lacks));
    base_buf_done(&what);
    if (lacks)
        return weir_err_set(err, WEIR_EIO, 0,
                            "clickhouse: table %.40s at %s port %s lacks %zu columns still; are "
                            "all servers of the cluster up?",
                            t->name, d->host, d->port, lacks);
    (void)snprintf(text, sizeof text, "clickhouse: %zu column%s added to table %.60s", n,
                   n > 1 ? "s" : "", t->name);
    ship_ch_tell(d, text);
    return WEIR_OK;
}

static weir_status map_fields(ship_destination *d, struct ship_ch_table *t,
                              const struct ship_rows *rows, weir_err *err)
{
    char room[64];
    if (rows->n_fields > d->cap_map) {
        int *more = realloc(d->map, rows->n_fields * sizeof *more);
        if (!more)
            return ship_ch_no_memory(err);
        for (size_t i = d->cap_map; i < rows->n_fields; i++)
            more[i] = -1;
        d->map = more;
        d->cap_map = rows->n_fields;
    }
    for (size_t i = 0; i < rows->n_fields; i++) {
        const char *name = column_name(&rows->fields[i], room, sizeof room);
        /* Mostly the same as last time. */
        if (d->map[i] >= 0 && (size_t)d->map[i] < t->n &&
            strcmp(t->columns[d->map[i]].name, name) == 0)
            continue;
        d->map[i] = ship_ch_find_column(t, name, strlen(name));
    }
    return WEIR_OK;
}

/* Each field with values gets its column: of the table, and in the INSERTs. */
static weir_status need_columns(ship_destination *d, struct ship_ch_table *t,
                                const struct ship_rows *rows, weir_err *err)
{
    base_buf what = {0};
    size_t n = 0;
    WEIR_TRY(map_fields(d, t, rows, err));
    weir_status s = missing_columns(d, t, rows, &what, &n);
    if (s == WEIR_OK && n) {
        s = what.failed ? ship_ch_no_memory(err) : ship_ch_send_off(d, err);
        if (s == WEIR_OK)
            s = ship_ch_land(d, err);
        if (s == WEIR_OK)
            s = add_columns(d, t, &what, err);
        if (s == WEIR_OK)
            s = map_fields(d, t, rows, err);
        if (s == WEIR_OK)
            s = were_added(d, t, rows, n, err);
    }
    base_buf_done(&what);
    WEIR_TRY(s);
    for (size_t i = 0; i < rows->n_fields; i++) {
        if (d->map[i] < 0 || !has_values(&rows->block.vecs[i], rows->block.n))
            continue;
        struct ship_ch_column *c = &t->columns[d->map[i]];
        if (c->computed) {
            skip(d, t, c->name, "the table computes it");
            continue;
        }
        if (!c->typed)
            return weir_err_set(err, WEIR_EINVAL, 0,
                                "clickhouse: column %.40s of table %.40s is %.40s, which weir does "
                                "not write",
                                c->name, t->name, c->type_text);
        if (c->active)
            continue;
        WEIR_TRY(ship_ch_send_off(d, err)); /* those before had one column less */
        c->active = true;
        t->active[t->n_active++] = (size_t)d->map[i];
    }
    return WEIR_OK;
}

/* ---- rows that the table has already ---- */

static struct ship_ch_seen *find_seen(ship_destination *d, enum flow_table table)
{
    for (size_t i = 0; i < SHIP_CH_SEEN; i++)
        if (d->seen[i].file && d->seen[i].table == table &&
            strlen(d->seen[i].file) == d->name.len &&
            memcmp(d->seen[i].file, d->name.data, d->name.len) == 0)
            return &d->seen[i];
    return NULL;
}

/* Row numbers, UInt64 after UInt64, which may be cut anywhere. */
struct finding {
    struct ship_ch_seen *s;
    uint8_t part[8];
    size_t n_part;
};

static weir_status note_row(struct ship_ch_seen *s, uint64_t row, weir_err *err)
{
    uint64_t at = row - s->from;
    if (row < s->from || at >= MAX_ROWS)
        return weir_err_set(err, WEIR_EFORMAT, 0,
                            "clickhouse: the table has row %llu of %.80s, which cannot be",
                            (unsigned long long)row, s->file);
    if (at >= s->n_bits) {
        uint64_t bits = s->n_bits ? s->n_bits : 1 << 16;
        while (bits <= at)
            bits *= 2;
        uint64_t *more = realloc(s->have, bits / 8);
        if (!more)
            return ship_ch_no_memory(err);
        memset(more + s->n_bits / 64, 0, (bits - s->n_bits) / 8);
        s->have = more;
        s->n_bits = bits;
    }
    s->have[at >> 6] |= UINT64_C(1) << (at & 63);
    return WEIR_OK;
}

static weir_status take_rows(void *user, const void *p, size_t n, weir_err *err)
{
    struct finding *f = user;
    const uint8_t *at = p;
    for (size_t i = 0; i < n; i++) {
        f->part[f->n_part++] = at[i];
        if (f->n_part < sizeof f->part)
            continue;
        uint64_t row;
        memcpy(&row, f->part, sizeof row);
        f->n_part = 0;
        WEIR_TRY(note_row(f->s, row, err));
    }
    return WEIR_OK;
}

/* Whether the shards' tables stand behind this one, so that each server of the cluster can be asked. */
static bool is_spread(const ship_destination *d, const struct ship_ch_table *t)
{
    return t->distributed && d->cluster && !d->no_replicas;
}

/* How many INSERTs of rows of this file run; everywhere: on any server of the cluster. */
static weir_status count_running(ship_destination *d, const struct ship_ch_table *t,
                                 struct ship_ch_answer *a, bool everywhere, weir_err *err)
{
    base_buf sql = {0}, id = {0};
    weir_status s = WEIR_OK;
    base_buf_reset(&a->b);
    ship_ch_query_id(d, t, &id);
    base_buf_str(&sql, "SELECT count() FROM ");
    if (everywhere)
        s = ship_ch_on_all_servers(d, "system", "processes", &sql, err);
    else
        base_buf_str(&sql, "system.processes");
    base_buf_str(&sql,
                 everywhere ? " WHERE position(initial_query_id, " : " WHERE position(query_id, ");
    ship_clickhouse_text(&sql, id.data ? id.data : "", id.len);
    base_buf_str(&sql, ") = 1");
    base_buf_str(&sql, everywhere ? " SETTINGS skip_unavailable_shards = 1 FORMAT RowBinary"
                                  : " FORMAT RowBinary");
    sql.failed |= id.failed;
    base_buf_done(&id);
    if (s == WEIR_OK)
        return ship_ch_ask_buf(d, &sql, a, err);
    base_buf_done(&sql);
    return s;
}

/* An INSERT of rows of this file that a server still works on, though we stopped waiting for it. Servers of 2018 do not tell
 * the shards whose INSERT it is. */
static weir_status none_running(ship_destination *d, const struct ship_ch_table *t, weir_err *err)
{
    struct ship_ch_answer a = {0};
    weir_err why = {0};
    if (d->no_processes)
        return WEIR_OK;
    bool everywhere = is_spread(d, t) && ship_clickhouse_is_modern(&d->server);
    weir_status s = count_running(d, t, &a, everywhere, &why);
    if (s != WEIR_OK && everywhere && d->code)
        s = count_running(d, t, &a, false, &why);
    uint64_t n = 0;
    if (s == WEIR_OK && a.b.len == sizeof n)
        memcpy(&n, a.b.data, sizeof n);
    base_buf_done(&a.b);
    if (s == WEIR_EINVAL) { /* not allowed to ask */
        d->no_processes = true;
        ship_ch_tell(
            d, "clickhouse: the user may not read system.processes: an INSERT that outlives its "
               "connection cannot be seen");
        return WEIR_OK;
    }
    if (s != WEIR_OK) {
        if (err)
            *err = why;
        return s;
    }
    return n ? weir_err_set(err, WEIR_EIO, 0,
                            "clickhouse: an INSERT of the same rows still runs at %s port %s; it "
                            "is waited for",
                            d->host, d->port)
             : WEIR_OK;
}

/* Bounds of the rows' arrival, for the server to find them faster: rows of one file arrived within an hour. */
static void arrived_around(const ship_destination *d, const struct ship_rows *rows, base_buf *sql)
{
    const struct query_vec *v = &rows->block.vecs[FLOW_received];
    if (rows->table != FLOW_TABLE_FLOWS || rows->n_fields <= FLOW_received ||
        v->kind != QUERY_TIME || v->valid || !rows->block.n)
        return;
    int64_t least = (int64_t)v->num[0], most = least;
    for (size_t i = 1; i < rows->block.n; i++) {
        least = (int64_t)v->num[i] < least ? (int64_t)v->num[i] : least;
        most = (int64_t)v->num[i] > most ? (int64_t)v->num[i] : most;
    }
    least = least / 1000000 - AROUND_S;
    most = most / 1000000 + AROUND_S;
    if (least < 0 || most > UINT32_MAX)
        return;
    const struct ship_ch_table *t = &d->tables[0];
    int at = ship_ch_find_column(t, "received", 8);
    if (at < 0 || !t->columns[at].typed)
        return;
    uint8_t form = t->columns[at].type.form;
    if (form == SHIP_ROWBINARY_SECONDS || form == SHIP_ROWBINARY_TICKS)
        base_buf_printf(sql, " AND received >= toDateTime(%lld) AND received <= toDateTime(%lld)",
                        (long long)least, (long long)most);
    else if (form == SHIP_ROWBINARY_INT)
        base_buf_printf(sql, " AND received >= %lld AND received <= %lld",
                        (long long)least * 1000000, (long long)most * 1000000);
}

/* Rows of the file that the table has; everywhere: that any replica of it has, but for those that are away. */
static weir_status ask_rows(ship_destination *d, const struct ship_ch_table *t,
                            const struct ship_rows *rows, struct finding *f, bool everywhere,
                            weir_err *err)
{
    base_buf sql = {0};
    weir_status s = WEIR_OK;
    base_buf_str(&sql, "SELECT toUInt64(row) FROM ");
    if (everywhere) {
        base_buf local = {0};
        ship_clickhouse_local(&local, t->name);
        base_buf_char(&local, '\0');
        s = local.failed ? ship_ch_no_memory(err)
                         : ship_ch_on_all_servers(d, d->database, local.data, &sql, err);
        base_buf_done(&local);
    } else {
        ship_clickhouse_table(&sql, d->database, t->name);
    }
    base_buf_str(&sql, " WHERE file = ");
    ship_clickhouse_text(&sql, d->name.data, d->name.len);
    base_buf_printf(&sql, " AND row >= %llu", (unsigned long long)rows->from);
    arrived_around(d, rows, &sql);
    base_buf_str(&sql, everywhere ? " SETTINGS skip_unavailable_shards = 1 FORMAT RowBinary"
                                  : " FORMAT RowBinary");
    f->n_part = 0;
    if (s == WEIR_OK)
        s = sql.failed ? ship_ch_no_memory(err)
                       : ship_ch_ask(d, sql.data, sql.len, take_rows, f, err);
    base_buf_done(&sql);
    return s;
}

/* What the table has of the rows from here on, when this is the first of the file since the connection began. */
static weir_status look_for_rows(ship_destination *d, struct ship_ch_table *t,
                                 const struct ship_rows *rows, struct ship_ch_seen **out,
                                 weir_err *err)
{
    *out = NULL;
    if (!d->check || t->file < 0 || t->row < 0 || (*out = find_seen(d, t->id)))
        return WEIR_OK;
    /* Rows of this file cannot be flying, unless it fell out of those seen: then they are before these. */
    WEIR_TRY(ship_ch_land(d, err));
    WEIR_TRY(none_running(d, t, err));
    struct ship_ch_seen *s = &d->seen[d->next_seen];
    free(s->file);
    free(s->have);
    *s = (struct ship_ch_seen){
        .file = strndup(d->name.data, d->name.len), .table = t->id, .from = rows->from};
    if (!s->file)
        return ship_ch_no_memory(err);
    struct finding f = {.s = s};
    /* The table itself fails when a shard is away; each replica may know more than the one that it asks. */
    weir_status st = ask_rows(d, t, rows, &f, false, err);
    if (st == WEIR_OK && is_spread(d, t)) {
        weir_err why = {0};
        st = ask_rows(d, t, rows, &f, true, &why);
        if (st == WEIR_EINVAL || d->code == NO_CLUSTER || d->code == NO_SUCH_CLUSTER) {
            d->no_replicas = true;
            st = WEIR_OK;
            ship_ch_tell(d, "clickhouse: the replicas cannot be asked one by one: after a failure, "
                            "rows that one of them lacks may come twice");
        } else if (st != WEIR_OK && err) {
            *err = why;
        }
    }
    if (st != WEIR_OK) {
        free(s->file);
        s->file = NULL;
        return st;
    }
    d->next_seen = (d->next_seen + 1) % SHIP_CH_SEEN;
    *out = s;
    return WEIR_OK;
}

static bool is_there(const struct ship_ch_seen *s, uint64_t row)
{
    uint64_t at = row - s->from;
    return row >= s->from && at < s->n_bits && (s->have[at >> 6] >> (at & 63) & 1);
}

/* ---- rows ---- */

static weir_status number_rows(ship_destination *d, const struct ship_rows *rows, weir_err *err)
{
    size_t n = rows->block.n;
    if (n > d->cap_numbers) {
        free(d->numbers);
        free(d->zeros);
        d->numbers = malloc(n * sizeof *d->numbers);
        d->zeros = calloc(n, sizeof *d->zeros);
        d->cap_numbers = d->numbers && d->zeros ? n : 0;
        if (!d->cap_numbers)
            return ship_ch_no_memory(err);
    }
    for (size_t i = 0; i < n; i++)
        d->numbers[i] = rows->from + (rows->at ? rows->at[i] : i);
    return WEIR_OK;
}

/* The active columns with this block's values. */
static weir_status fill_columns(ship_destination *d, const struct ship_ch_table *t,
                                const struct ship_rows *rows, struct query_text *name,
                                weir_err *err)
{
    if (t->n > d->cap_row_columns) {
        struct ship_rowbinary_column *more = realloc(d->row_columns, t->n * sizeof *more);
        if (!more)
            return ship_ch_no_memory(err);
        d->row_columns = more;
        d->cap_row_columns = t->n;
    }
    static const struct query_vec nothing = {.kind = QUERY_UNKNOWN};
    for (size_t k = 0; k < t->n_active; k++) {
        const struct ship_ch_column *c = &t->columns[t->active[k]];
        d->row_columns[k] = (struct ship_rowbinary_column){
            .name = c->name, .type_text = c->type_text, .type = c->type, .vec = nothing};
        if (t->active[k] == (size_t)t->file)
            d->row_columns[k].vec = (struct query_vec){
                .kind = QUERY_TEXT, .codes = d->zeros, .dict = name, .n_dict = 1};
        else if (t->active[k] == (size_t)t->row)
            d->row_columns[k].vec = (struct query_vec){.kind = QUERY_U64, .num = d->numbers};
        for (size_t i = 0; i < rows->n_fields; i++)
            if (d->map[i] == (int)t->active[k]) {
                uint32_t n_columns;
                const struct flow_column *all = flow_table_columns(t->id, &n_columns);
                d->row_columns[k].vec = rows->block.vecs[i];
                d->row_columns[k].address = i < n_columns && all[i].type == FLOW_TYPE_ADDR;
                break;
            }
    }
    return WEIR_OK;
}

static weir_status encode(ship_destination *d, struct ship_ch_table *t,
                          const struct ship_rows *rows, const struct ship_ch_seen *seen,
                          weir_err *err)
{
    struct query_text name = {.data = d->name.data, .len = (uint32_t)d->name.len};
    WEIR_TRY(number_rows(d, rows, err));
    WEIR_TRY(fill_columns(d, t, rows, &name, err));
    struct ship_ch_batch *b = d->filling;
    size_t n = rows->block.n;
    if (!rows->at && n != rows->to - rows->from) /* which rows they are is not known */
        seen = NULL;
    for (size_t from = 0, to; from < n; from = to) { /* runs of rows that are not there */
        to = from;
        if (seen && seen->have) {
            while (from < n && is_there(seen, d->numbers[from]))
                from++;
            for (to = from; to < n && !is_there(seen, d->numbers[to]);)
                to++;
        } else {
            to = n;
        }
        if (from == to)
            break;
        WEIR_TRY(ship_ch_begin_batch(d, t, d->numbers[from], err));
        WEIR_TRY(
            ship_rowbinary_rows(d->encoder, d->row_columns, t->n_active, from, to, &b->body, err));
        b->rows += to - from;
        b->last_row = d->numbers[to - 1];
    }
    return WEIR_OK;
}

weir_status ship_ch_take(ship_destination *d, struct ship_ch_table *t, const struct ship_rows *rows,
                         weir_err *err)
{
    struct ship_ch_seen *seen;
    base_buf_reset(&d->name);
    base_buf_printf(&d->name, "%s%s%s", d->source, *d->source ? "/" : "", rows->file);
    if (d->name.failed)
        return ship_ch_no_memory(err);
    WEIR_TRY(need_columns(d, t, rows, err));
    WEIR_TRY(look_for_rows(d, t, rows, &seen, err));
    WEIR_TRY(encode(d, t, rows, seen, err));
    struct ship_ch_batch *b = d->filling;
    if (b->rows && (!b->last_file || strlen(b->last_file) != d->name.len ||
                    memcmp(b->last_file, d->name.data, d->name.len) != 0)) {
        free(b->last_file);
        if (!(b->last_file = strndup(d->name.data, d->name.len)))
            return ship_ch_no_memory(err);
    }
    return WEIR_OK;
}

void ship_ch_forget_seen(ship_destination *d)
{
    for (size_t i = 0; i < SHIP_CH_SEEN; i++) {
        free(d->seen[i].file);
        free(d->seen[i].have);
        d->seen[i] = (struct ship_ch_seen){0};
    }
    d->next_seen = 0;
}
