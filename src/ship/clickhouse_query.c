#include "ship/clickhouse_query.h"

#include "base/text.h"
#include "query/books.h"
#include "query/sql.h"
#include "ship/clickhouse_in.h"
#include "ship/destinations.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    BLOCK = 4096,           /* rows that go to the sink together */
    BLOCK_OCTETS = 8 << 20, /* of their texts, after which they go */
    BLOCK_ITEMS = 1 << 20,  /* of their lists, likewise */
    MOST_ROW = 4 << 20,     /* octets of a row: more is no row; a record of IPFIX has 64 KiB */
    LONG_ROW =
        64
        << 10, /* octets from which on a row is looked at again only when there are twice as many */
    MOST_FILES = 4 << 20, /* of flows, that completeness looks at */
    N_TOTALS = 9
};

struct ship_clickhouse_query {
    query_arena *arena;
    ship_destination *d;
    const struct ship_destination_ops *ops;
    bool (*stop)(void *user);
    void *user;
    struct query_sql_column *columns, *ledger_columns;
    struct query_sql_table table, ledger;
    uint64_t octets;   /* of answers */
    base_buf settings; /* of the address: "&readonly=2&..." */
    unsigned
        patience_ms; /* for an answer, where the address names timeout=; 0: as long as it takes */
};

/* ---- the server and the table ---- */

static uint8_t form_of(const struct ship_ch_column *c)
{
    const struct ship_rowbinary_type *t = &c->type;
    if (!c->typed)
        return QUERY_SQL_OTHER;
    if (t->list)
        return t->form == SHIP_ROWBINARY_UINT     ? QUERY_SQL_NUMBERS
               : t->form == SHIP_ROWBINARY_STRING ? QUERY_SQL_TEXTS
                                                  : QUERY_SQL_OTHER;
    switch ((enum ship_rowbinary_form)t->form) {
    case SHIP_ROWBINARY_UINT:
        return QUERY_SQL_UNSIGNED;
    case SHIP_ROWBINARY_INT:
        return QUERY_SQL_SIGNED;
    case SHIP_ROWBINARY_BOOL:
        return QUERY_SQL_BOOL;
    case SHIP_ROWBINARY_FLOAT:
        return QUERY_SQL_REAL;
    case SHIP_ROWBINARY_STRING:
        return QUERY_SQL_TEXT;
    case SHIP_ROWBINARY_FIXED:
        return t->octets == 16 ? QUERY_SQL_SIXTEEN : QUERY_SQL_OTHER;
    case SHIP_ROWBINARY_IPV6:
        return QUERY_SQL_IPV6;
    case SHIP_ROWBINARY_SECONDS:
        return QUERY_SQL_SECONDS;
    case SHIP_ROWBINARY_TICKS:
        return t->precision == 6 ? QUERY_SQL_TICKS : QUERY_SQL_OTHER;
    case SHIP_ROWBINARY_IPV4:
    case SHIP_ROWBINARY_N_FORMS:
        break;
    }
    return QUERY_SQL_OTHER;
}

/* `first_time` beside `first`: computed for people, no column of flows. */
static bool for_people(const struct ship_ch_column *c)
{
    size_t n = strlen(c->name);
    return c->computed && n > 5 && strcmp(c->name + n - 5, "_time") == 0;
}

static weir_status know_table(ship_clickhouse_query *c, struct ship_ch_table *t,
                              struct query_sql_column **columns, struct query_sql_table *out,
                              weir_err *err)
{
    WEIR_TRY(ship_ch_know_table(c->d, t, err));
    *columns = calloc(t->n + 1, sizeof **columns);
    if (!*columns)
        return ship_ch_no_memory(err);
    *out =
        (struct query_sql_table){.database = c->d->database, .name = t->name, .columns = *columns};
    int identity = 0;
    for (size_t i = 0; i < t->n; i++) {
        const struct ship_ch_column *x = &t->columns[i];
        if (for_people(x))
            continue;
        (*columns)[out->n_columns++] = (struct query_sql_column){x->name, form_of(x)};
        identity += strcmp(x->name, "file") == 0 && form_of(x) == QUERY_SQL_TEXT;
        identity += strcmp(x->name, "row") == 0 && form_of(x) == QUERY_SQL_UNSIGNED;
    }
    out->ordered = identity == 2;
    return WEIR_OK;
}

static weir_status keep(void *user, const void *p, size_t n, weir_err *err)
{
    struct ship_ch_answer *a = user;
    if (a->b.len + n > 1 << 20)
        return weir_err_set(err, WEIR_EFORMAT, 0, "clickhouse: an answer is too long");
    base_buf_add(&a->b, p, n);
    return a->b.failed ? ship_ch_no_memory(err) : WEIR_OK;
}

/* Settings that make a question safe and let it go on when memory is short, as far as the server has them and the user may set them. */
static weir_status choose_settings(ship_clickhouse_query *c, weir_err *err)
{
    static const char sql[] =
        "SELECT name, value FROM system.settings WHERE name IN ('readonly', "
        "'cancel_http_readonly_queries_on_client_close', 'max_bytes_before_external_sort', "
        "'max_bytes_before_external_group_by', 'max_query_size') FORMAT TSV";
    struct ship_ch_answer a = {0};
    weir_status s = ship_ch_ask(c->d, sql, sizeof sql - 1, keep, &a, err);
    base_buf_char(&a.b, '\0');
    if (s == WEIR_OK && a.b.failed)
        s = ship_ch_no_memory(err);
    if (s == WEIR_OK && !strstr(a.b.data, "readonly\t1")) {
        if (!strstr(a.b.data, "readonly\t2")) /* who has it may not set it */
            base_buf_str(&c->settings, "&readonly=2");
        if (strstr(a.b.data, "cancel_http_readonly"))
            base_buf_str(&c->settings, "&cancel_http_readonly_queries_on_client_close=1");
        if (strstr(a.b.data, "max_bytes_before_external_sort\t0"))
            base_buf_str(&c->settings, "&max_bytes_before_external_sort=1000000000");
        if (strstr(a.b.data, "max_bytes_before_external_group_by\t0"))
            base_buf_str(&c->settings, "&max_bytes_before_external_group_by=1000000000");
        base_buf_str(&c->settings, "&max_query_size=67108864&max_ast_elements=1000000"
                                   "&max_expanded_ast_elements=4000000");
    }
    base_buf_char(&c->settings, '\0');
    if (s == WEIR_OK && c->settings.failed)
        s = ship_ch_no_memory(err);
    base_buf_done(&a.b);
    return s;
}

weir_status ship_clickhouse_query_open(const char *url, query_arena *a, bool (*stop)(void *user),
                                       void *user, ship_clickhouse_query **out, weir_err *err)
{
    struct ship_url u;
    *out = NULL;
    const struct ship_destination_ops *ops =
        strncmp(url, "clickhouses:", 12) == 0 ? &ship_clickhouses : &ship_clickhouse;
    size_t kind = strcspn(url, ":/@");
    if (ops == &ship_clickhouse && strncmp(url, "clickhouse:", 11) != 0)
        return weir_err_set(err, WEIR_EINVAL, 0,
                            "--from: an address is clickhouse://host:8123/database, not one that "
                            "begins with '%.*s'",
                            (int)(kind < 20 ? kind : 20), url);
    WEIR_TRY(ship_url_parse(url, &u, err));
    ship_clickhouse_query *c = calloc(1, sizeof *c);
    struct ship_setting *settings = calloc(u.n + 1, sizeof *settings);
    weir_status s = c && settings ? WEIR_OK : ship_ch_no_memory(err);
    for (size_t i = 0; settings && i < u.n; i++)
        settings[i] = (struct ship_setting){u.names[i], u.values[i]};
    struct ship_destination_options o = {
        .url = url, .settings = settings, .n_settings = u.n, .stop = stop, .user = user};
    if (s == WEIR_OK) {
        c->arena = a;
        c->ops = ops;
        c->stop = stop;
        c->user = user;
        s = ops->open(&o, &c->d, err);
        if (s == WEIR_OK && ship_setting_find(&o, "timeout"))
            c->patience_ms = c->d->timeout_s * 1000;
    }
    free(settings);
    ship_url_done(&u);
    if (s == WEIR_OK)
        s = know_table(c, &c->d->tables[0], &c->columns, &c->table, err);
    if (s == WEIR_OK)
        s = choose_settings(c, err);
    if (s != WEIR_OK) {
        ship_clickhouse_query_close(c);
        return s;
    }
    *out = c;
    return WEIR_OK;
}

void ship_clickhouse_query_close(ship_clickhouse_query *c)
{
    if (!c)
        return;
    if (c->d)
        c->ops->close(c->d);
    base_buf_done(&c->settings);
    free(c->columns);
    free(c->ledger_columns);
    free(c);
}

weir_status ship_clickhouse_query_extras(ship_clickhouse_query *c, struct query_extras *x,
                                         weir_err *err)
{
    static const uint8_t kinds[] = {
        [QUERY_SQL_OTHER] = QUERY_UNKNOWN,    [QUERY_SQL_UNSIGNED] = QUERY_U64,
        [QUERY_SQL_SIGNED] = QUERY_S64,       [QUERY_SQL_REAL] = QUERY_F64,
        [QUERY_SQL_BOOL] = QUERY_BOOL,        [QUERY_SQL_TEXT] = QUERY_TEXT,
        [QUERY_SQL_SIXTEEN] = QUERY_TEXT,     [QUERY_SQL_IPV6] = QUERY_TEXT,
        [QUERY_SQL_SECONDS] = QUERY_TIME,     [QUERY_SQL_TICKS] = QUERY_TIME,
        [QUERY_SQL_NUMBERS] = QUERY_U64_LIST, [QUERY_SQL_TEXTS] = QUERY_TEXT_LIST};
    for (size_t i = 0; i < c->table.n_columns; i++) {
        const struct query_sql_column *t = &c->columns[i];
        const char *name = t->name;
        if (flow_column_find(name, strlen(name)) >= 0 || t->form == QUERY_SQL_OTHER)
            continue;
        if (c->table.ordered && (strcmp(name, "file") == 0 || strcmp(name, "row") == 0))
            continue;
        if (strcmp(name, "element_file") == 0 || strcmp(name, "element_row") == 0)
            name += sizeof "element_" - 1;
        if (x->n == x->cap) {
            size_t cap = x->cap ? 2 * x->cap : 16;
            struct query_field *more = realloc(x->items, cap * sizeof *more);
            if (!more)
                return ship_ch_no_memory(err);
            x->items = more;
            x->cap = cap;
        }
        char *kept = query_arena_text(c->arena, name, strlen(name));
        if (!kept)
            return ship_ch_no_memory(err);
        x->items[x->n++] = (struct query_field){.what = QUERY_F_EXTRA,
                                                .id = -1,
                                                .name = kept,
                                                .kind = kinds[t->form],
                                                .bits4 = 255,
                                                .bits6 = 255};
    }
    return WEIR_OK;
}

/* ---- answers ---- */

/* A text of a row on its way: where it stands among the octets. */
struct place {
    size_t at;
    uint32_t len;
};

/* One field of the rows that wait for the sink. */
struct column {
    struct query_sql_field f;
    uint64_t *num, *valid; /* numbers, or items of lists */
    uint32_t *codes, *starts;
    struct place *places;
    struct query_text *dict;
    size_t n_items, cap_items; /* of lists */
};

struct reader {
    const struct query *q;
    const struct query_sink *sink;
    size_t result;
    struct column *columns;
    size_t n_columns, n;
    base_buf waiting; /* the beginning of a row */
    base_buf texts;
    struct query_vec *vecs;
    bool torn;     /* not a row: words of the server */
    size_t enough; /* octets that must wait before a long row is looked at again */
    uint64_t octets, rows, most_rows; /* most_rows 0: no limit */
    bool (*stop)(void *user);
    void *user;
};

static weir_status flush(struct reader *r, weir_err *err)
{
    if (!r->n)
        return WEIR_OK;
    for (size_t i = 0; i < r->n_columns; i++) {
        struct column *c = &r->columns[i];
        bool list = c->f.out == QUERY_SQL_OUT_NUMBERS || c->f.out == QUERY_SQL_OUT_TEXTS;
        bool text = c->f.out == QUERY_SQL_OUT_TEXT || c->f.out == QUERY_SQL_OUT_ADDR ||
                    c->f.out == QUERY_SQL_OUT_NET || c->f.out == QUERY_SQL_OUT_TEXTS;
        size_t n = list ? c->n_items : r->n;
        struct query_vec *v = &r->vecs[i];
        *v = (struct query_vec){.kind = c->f.kind};
        if (c->f.out == QUERY_SQL_OUT_NOTHING)
            continue;
        v->valid = c->valid;
        for (size_t k = 0; text && k < n; k++) {
            c->dict[k] = (struct query_text){.data = r->texts.data + c->places[k].at,
                                             .len = c->places[k].len};
            c->codes[k] = (uint32_t)k;
        }
        if (text) {
            v->codes = c->codes;
            v->dict = c->dict;
            v->n_dict = (uint32_t)n;
        } else {
            v->num = c->num;
        }
        v->starts = list ? c->starts : NULL;
    }
    struct query_block b = {.n = r->n, .vecs = r->vecs};
    weir_status s = r->stop && r->stop(r->user) ? weir_err_set(err, WEIR_END, 0, "query: stopped")
                                                : r->sink->block(r->sink->user, r->result, &b, err);
    r->n = 0;
    base_buf_reset(&r->texts);
    for (size_t i = 0; i < r->n_columns; i++) {
        struct column *c = &r->columns[i];
        c->n_items = 0;
        if (c->valid)
            memset(c->valid, 0, (BLOCK / 64 + 1) * sizeof *c->valid);
    }
    return s;
}

static bool take(const char **p, const char *end, void *out, size_t n)
{
    if ((size_t)(end - *p) < n)
        return false;
    memcpy(out, *p, n);
    *p += n;
    return true;
}

static bool take_length(const char **p, const char *end, uint64_t *out)
{
    *out = 0;
    for (int shift = 0; *p < end && shift < 63; shift += 7) {
        uint8_t c = (uint8_t) * (*p)++;
        *out |= (uint64_t)(c & 127) << shift;
        if (!(c & 128))
            return true;
    }
    return false;
}

static bool grow_items(struct column *c)
{
    if (c->n_items < c->cap_items)
        return true;
    size_t cap = c->cap_items ? 2 * c->cap_items : BLOCK;
    uint64_t *num = realloc(c->num, cap * sizeof *num);
    if (num)
        c->num = num;
    uint32_t *codes = realloc(c->codes, cap * sizeof *codes);
    if (codes)
        c->codes = codes;
    struct place *places = realloc(c->places, cap * sizeof *places);
    if (places)
        c->places = places;
    struct query_text *dict = realloc(c->dict, cap * sizeof *dict);
    if (dict)
        c->dict = dict;
    if (!num || !codes || !places || !dict)
        return false;
    c->cap_items = cap;
    return true;
}

static struct place put_text(struct reader *r, const char *p, size_t len)
{
    struct place x = {r->texts.len, (uint32_t)len};
    base_buf_add(&r->texts, p, len);
    return x;
}

static struct place put_address(struct reader *r, const uint8_t a[16], int bits)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    char t[BASE_IPV6_TEXT + 1 + BASE_U64_TEXT];
    bool four = memcmp(a, mapped, sizeof mapped) == 0;
    size_t n = four ? base_ipv4_text(t, a + 12) : base_ipv6_text(t, a);
    if (bits >= 0) {
        t[n++] = '/';
        n += base_u64_text(t + n, (uint64_t)bits);
    }
    return put_text(r, t, n);
}

enum took { TOOK, SHORT, NO_MEMORY };

static enum took take_list(struct reader *r, struct column *c, const char **p, const char *end)
{
    uint64_t n, len;
    bool text = c->f.out == QUERY_SQL_OUT_TEXTS;
    c->starts[r->n] = (uint32_t)c->n_items;
    if (!take_length(p, end, &n) || n > (uint64_t)(end - *p) / (text ? 1 : 8))
        return SHORT;
    for (uint64_t i = 0; i < n; i++) {
        if (!grow_items(c) || c->n_items >= UINT32_MAX)
            return NO_MEMORY;
        if (!text && !take(p, end, &c->num[c->n_items], 8))
            return SHORT;
        if (text) {
            if (!take_length(p, end, &len) || len > (uint64_t)(end - *p))
                return SHORT;
            c->places[c->n_items] = put_text(r, *p, (size_t)len);
            *p += len;
        }
        c->n_items++;
    }
    c->starts[r->n + 1] = (uint32_t)c->n_items;
    if (n)
        c->valid[r->n / 64] |= UINT64_C(1) << (r->n & 63);
    return TOOK;
}

static enum took take_field(struct reader *r, struct column *c, const char **p, const char *end)
{
    uint8_t null = 0, a[16], bits = 0;
    uint64_t len;
    size_t i = r->n;
    if (c->f.out == QUERY_SQL_OUT_NUMBERS || c->f.out == QUERY_SQL_OUT_TEXTS)
        return take_list(r, c, p, end);
    if (!take(p, end, &null, 1))
        return SHORT;
    bool text = c->f.out == QUERY_SQL_OUT_TEXT || c->f.out == QUERY_SQL_OUT_ADDR ||
                c->f.out == QUERY_SQL_OUT_NET;
    if (text)
        c->places[i] = (struct place){0};
    else
        c->num[i] = 0;
    if (!null) {
        if (c->f.out == QUERY_SQL_OUT_TEXT) {
            if (!take_length(p, end, &len) || len > (uint64_t)(end - *p))
                return SHORT;
            c->places[i] = put_text(r, *p, (size_t)len);
            *p += len;
        } else if (text) {
            if (!take(p, end, a, 16))
                return SHORT;
        } else if (!take(p, end, &c->num[i], 8)) {
            return SHORT;
        }
        c->valid[i / 64] |= UINT64_C(1) << (i & 63);
    }
    uint8_t no_bits = 0;
    if (c->f.out == QUERY_SQL_OUT_NET &&
        (!take(p, end, &no_bits, 1) || (!no_bits && !take(p, end, &bits, 1))))
        return SHORT;
    if (!null && c->f.out == QUERY_SQL_OUT_ADDR)
        c->places[i] = put_address(r, a, -1);
    if (!null && c->f.out == QUERY_SQL_OUT_NET)
        c->places[i] = put_address(r, a, bits);
    return TOOK;
}

/* A row at *p, which is moved behind it; SHORT: more octets are needed. */
static enum took take_row(struct reader *r, const char **p, const char *end)
{
    const char *at = *p + 1;
    size_t texts = r->texts.len;
    enum took t = TOOK;
    size_t k = 0;
    for (; k < r->n_columns && t == TOOK; k++)
        if (r->columns[k].f.out != QUERY_SQL_OUT_NOTHING)
            t = take_field(r, &r->columns[k], &at, end);
    if (r->texts.failed)
        return NO_MEMORY;
    if (t == TOOK) {
        *p = at;
        r->n++;
        return t;
    }
    r->texts.len = texts; /* as before: the row is read again from its beginning */
    for (size_t i = 0; i < k; i++) {
        struct column *c = &r->columns[i];
        if (c->f.out == QUERY_SQL_OUT_NOTHING)
            continue;
        c->valid[r->n / 64] &= ~(UINT64_C(1) << (r->n & 63));
        if (c->starts)
            c->n_items = c->starts[r->n];
    }
    return t;
}

static bool is_full(const struct reader *r)
{
    size_t items = 0;
    for (size_t i = 0; i < r->n_columns; i++)
        items += r->columns[i].n_items;
    return r->n == BLOCK || r->texts.len > BLOCK_OCTETS || items > BLOCK_ITEMS;
}

/* What waits, as rows; whole: there will be no more of it. */
static weir_status take_rows(struct reader *r, bool whole, weir_err *err)
{
    const char *p = r->waiting.data, *end = p + r->waiting.len;
    if (!r->waiting.len || (!whole && r->waiting.len < r->enough))
        return WEIR_OK;
    while (p < end && !r->torn) {
        if (*p != 1) {
            r->torn = true;
            break;
        }
        enum took t = take_row(r, &p, end);
        if (t == NO_MEMORY)
            return ship_ch_no_memory(err);
        if (t == SHORT)
            break;
        if (r->most_rows && ++r->rows > r->most_rows)
            return weir_err_set(err, WEIR_EFORMAT, 0,
                                "clickhouse: an answer has more rows than were asked for");
        if (is_full(r))
            WEIR_TRY(flush(r, err));
    }
    size_t left = (size_t)(end - p);
    if (left > MOST_ROW || (r->torn && left > SHIP_HTTP_TEXT))
        return weir_err_set(err, WEIR_EFORMAT, 0, "clickhouse: an answer cannot be read");
    memmove(r->waiting.data, p, left);
    r->waiting.len = left;
    r->enough = left > LONG_ROW ? 2 * left : 0;
    return WEIR_OK;
}

static weir_status rows_data(void *user, const void *data, size_t n, weir_err *err)
{
    struct reader *r = user;
    r->octets += n;
    base_buf_add(&r->waiting, data, n);
    return r->waiting.failed ? ship_ch_no_memory(err) : take_rows(r, false, err);
}

static void reader_done(struct reader *r)
{
    for (size_t i = 0; r->columns && i < r->n_columns; i++) {
        struct column *c = &r->columns[i];
        free(c->num);
        free(c->valid);
        free(c->codes);
        free(c->starts);
        free(c->places);
        free(c->dict);
    }
    free(r->columns);
    free(r->vecs);
    base_buf_done(&r->waiting);
    base_buf_done(&r->texts);
}

static bool reader_make(struct reader *r, const struct query_sql_field *fields, size_t n)
{
    r->columns = calloc(n + 1, sizeof *r->columns);
    r->vecs = calloc(n + 1, sizeof *r->vecs);
    r->n_columns = n;
    bool ok = r->columns && r->vecs;
    for (size_t i = 0; ok && i < n; i++) {
        struct column *c = &r->columns[i];
        c->f = fields[i];
        if (c->f.out == QUERY_SQL_OUT_NOTHING)
            continue;
        ok = grow_items(c) && (c->valid = calloc(BLOCK / 64 + 1, sizeof *c->valid));
        if (ok && (c->f.out == QUERY_SQL_OUT_NUMBERS || c->f.out == QUERY_SQL_OUT_TEXTS))
            ok = (c->starts = calloc(BLOCK + 2, sizeof *c->starts));
    }
    return ok;
}

/* ---- asking ---- */

static weir_status ask(ship_clickhouse_query *c, const base_buf *sql, bool whole, struct reader *r,
                       weir_err *err)
{
    const char *headers[2];
    base_buf target = {0};
    base_buf_printf(&target, "/?wait_end_of_query=%d%s", whole, c->settings.data);
    base_buf_char(&target, '\0');
    if (target.failed) {
        base_buf_done(&target);
        return ship_ch_no_memory(err);
    }
    struct ship_http_request request = {.target = target.data,
                                        .headers = headers,
                                        .n_headers = ship_ch_headers_of(c->d, headers),
                                        .body = sql->data,
                                        .len = sql->len,
                                        .data = rows_data,
                                        .user = r};
    struct ship_http_answer a;
    c->d->asking = true;
    ship_http_patience(c->d->http, c->patience_ms);
    weir_status s = ship_http_post(c->d->http, &request, &a, err);
    c->d->asking = false;
    c->octets += r->octets;
    base_buf_done(&target);
    WEIR_TRY(s);
    WEIR_TRY(ship_ch_judge(c->d, &a, err));
    WEIR_TRY(take_rows(r, true, err));
    if (r->torn) { /* it failed when rows had been sent already */
        const char *code = memmem(r->waiting.data, r->waiting.len, "Code: ", 6);
        a.text = code ? code : r->waiting.data;
        a.len = r->waiting.len - (size_t)(a.text - r->waiting.data);
        a.status = 500;
        return ship_ch_judge(c->d, &a, err);
    }
    if (r->waiting.len)
        return weir_err_set(err, WEIR_EIO, 0,
                            "clickhouse: %s port %s: the answer ends in the middle of a row",
                            c->d->host, c->d->port);
    return flush(r, err);
}

static weir_status take_totals(void *user, size_t result, const struct query_block *b,
                               weir_err *err)
{
    (void)result;
    (void)err;
    uint64_t *to = user;
    for (size_t i = 0; b->n && i < N_TOTALS + 2; i++)
        to[i] = b->vecs[i].num[0];
    return WEIR_OK;
}

/* Columns of totals are never null but for the times: they are read as the answer to a result is, from statements that make
 * them Nullable. */
static weir_status totals_of(ship_clickhouse_query *c, const struct query *q,
                             struct query_summary *out, weir_err *err)
{
    uint64_t n[N_TOTALS + 2] = {0};
    struct query_sql_field fields[N_TOTALS + 2];
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        fields[i] = i < N_TOTALS ? (struct query_sql_field){QUERY_SQL_OUT_U64, QUERY_U64}
                                 : (struct query_sql_field){QUERY_SQL_OUT_S64, QUERY_TIME};
    base_buf sql = {0};
    struct query_sink sink = {.block = take_totals, .user = n};
    struct reader r = {.q = q, .sink = &sink, .most_rows = 1};
    weir_status s = query_sql_totals(c->arena, q, &c->table, &sql, err);
    base_buf_str(&sql, " FORMAT RowBinary");
    if (s == WEIR_OK && (sql.failed || !reader_make(&r, fields, ARRAY_LEN(fields))))
        s = ship_ch_no_memory(err);
    if (s == WEIR_OK)
        s = ask(c, &sql, true, &r, err);
    reader_done(&r);
    base_buf_done(&sql);
    WEIR_TRY(s);
    out->rows = n[0];
    out->matched = n[1];
    out->flows = n[2];
    out->packets = n[3];
    out->bytes = n[4];
    out->out_packets = n[5];
    out->out_bytes = n[6];
    out->rows_scaled = n[7];
    out->rows_no_rate = n[8];
    out->first_us = (int64_t)n[9];
    out->last_us = (int64_t)n[10];
    return WEIR_OK;
}

static weir_status result_of(ship_clickhouse_query *c, const struct query *q, size_t i,
                             const struct query_sink *sink, struct query_summary *out,
                             weir_err *err)
{
    const struct query_result *x = &q->results[i];
    struct query_sql_field *fields = calloc(x->n_fields + 1, sizeof *fields);
    base_buf sql = {0};
    struct reader r = {
        .q = q, .sink = sink, .result = i, .stop = c->stop, .user = c->user, .most_rows = x->limit};
    weir_status s = fields ? query_sql_result(c->arena, q, i, &c->table, &sql, fields, err)
                           : ship_ch_no_memory(err);
    base_buf_str(&sql, " FORMAT RowBinary");
    if (s == WEIR_OK && (sql.failed || !reader_make(&r, fields, x->n_fields)))
        s = ship_ch_no_memory(err);
    if (s == WEIR_OK)
        s = sink->begin(sink->user, q, i, err);
    if (s == WEIR_OK)
        s = ask(c, &sql, x->grouped, &r, err);
    reader_done(&r);
    base_buf_done(&sql);
    free(fields);
    return s == WEIR_OK ? sink->end(sink->user, i, out, err) : s;
}

weir_status ship_clickhouse_query_run(ship_clickhouse_query *c, const struct query *q,
                                      bool want_totals, const struct query_sink *sink,
                                      struct query_summary *out, weir_err *err)
{
    *out = (struct query_summary){0};
    int64_t began = ship_ch_now_ms();
    /* What is not available is said before anything is asked. */
    base_buf all = {0};
    weir_status s = ship_clickhouse_query_explain(c, q, want_totals, &all, err);
    base_buf_done(&all);
    if (s == WEIR_OK && want_totals)
        s = totals_of(c, q, out, err);
    for (size_t i = 0; i < q->n_results && s == WEIR_OK; i++)
        s = result_of(c, q, i, sink, out, err);
    out->elapsed_ns = (uint64_t)(ship_ch_now_ms() - began) * 1000000;
    out->octets_read = c->octets;
    (void)snprintf(out->server, sizeof out->server, "ClickHouse %s at %s port %s",
                   c->d->server.text, c->d->host, c->d->port);
    return s;
}

weir_status ship_clickhouse_query_explain(ship_clickhouse_query *c, const struct query *q,
                                          bool want_totals, base_buf *out, weir_err *err)
{
    weir_status s = WEIR_OK;
    if (want_totals) {
        s = query_sql_totals(c->arena, q, &c->table, out, err);
        base_buf_str(out, ";\n");
    }
    for (size_t i = 0; i < q->n_results && s == WEIR_OK; i++) {
        struct query_sql_field *fields = calloc(q->results[i].n_fields + 1, sizeof *fields);
        s = fields ? query_sql_result(c->arena, q, i, &c->table, out, fields, err)
                   : ship_ch_no_memory(err);
        base_buf_str(out, ";\n");
        free(fields);
    }
    return s == WEIR_OK && out->failed ? ship_ch_no_memory(err) : s;
}

/* ---- how complete ---- */

enum { MOST_SOURCES = 4096, LEDGER_ROWS = 32768, N_KEYS = 6, MOST_LEDGER = 64 };

static const int64_t AROUND_US = 3 * INT64_C(3600000000); /* files are of an hour at most */

/* The ledgers of all archives that deliver here, one after the other. */
struct ledgers {
    query_arena *arena;
    query_books *books;                /* NULL: which files there are is not known */
    const char *sources[MOST_SOURCES]; /* n: archives, by the beginning of their files' names */
    bool begun[MOST_SOURCES];
    size_t n, at, n_files;
    struct ledger_books own[2]; /* of the archive that is read, and of the one before */
    unsigned turn;
    int64_t now_us, minute;
    char hour[12]; /* of the file */
    enum flow_ledger_id columns[MOST_LEDGER];
    size_t n_columns;
    ledger_completing *x;
    flow_batch *batch;
    bool one;
};

/* The archive that a file is of, new or not. MOST_SOURCES: too many, or out of memory. */
static size_t source_of(struct ledgers *l, const struct query_text *file, const char **name)
{
    const char *slash = file->len ? memrchr(file->data, '/', file->len) : NULL;
    size_t len = slash ? (size_t)(slash - file->data) : 0, i = 0;
    *name = slash ? slash + 1 : file->data;
    while (i < l->n &&
           (strlen(l->sources[i]) != len || (len && memcmp(l->sources[i], file->data, len) != 0)))
        i++;
    if (i < l->n || i == MOST_SOURCES)
        return i;
    l->sources[i] = query_arena_text(l->arena, len ? file->data : "", len);
    if (!l->sources[i])
        return MOST_SOURCES;
    l->n++;
    return i;
}

static weir_status too_many_sources(weir_err *err)
{
    return weir_err_set(err, WEIR_ELIMIT, 0, "the table has rows of more than %d archives",
                        MOST_SOURCES);
}

static bool is_there(const struct query_vec *v, size_t i)
{
    return v->kind != QUERY_UNKNOWN && (!v->valid || (v->valid[i / 64] >> (i & 63) & 1));
}

static weir_status take_files(void *user, size_t result, const struct query_block *b, weir_err *err)
{
    struct ledgers *l = user;
    (void)result;
    for (size_t i = 0; i < b->n; i++) {
        const struct query_text *file = &b->vecs[0].dict[b->vecs[0].codes[i]];
        const char *at;
        size_t source = source_of(l, file, &at);
        if (source == MOST_SOURCES)
            return too_many_sources(err);
        if (l->n_files++ == MOST_FILES)
            return weir_err_set(err, WEIR_ELIMIT, 0,
                                "the table has rows of more than %d files; ask for less time",
                                MOST_FILES);
        char *name = strndup(at, (size_t)(file->data + file->len - at));
        if (!name)
            return ship_ch_no_memory(err);
        query_books_add(l->books, source, name, b->vecs[3].num[i], (int64_t)b->vecs[1].num[i],
                        (int64_t)b->vecs[2].num[i]);
        free(name);
    }
    return WEIR_OK;
}

static weir_status give_rows(struct ledgers *l, weir_err *err)
{
    weir_status s =
        flow_batch_rows(l->batch) ? ledger_completing_rows(l->x, l->batch, err) : WEIR_OK;
    flow_batch_reset(l->batch);
    return s;
}

static weir_status begin_source(struct ledgers *l, size_t source, weir_err *err)
{
    /* Those of the archive before are looked at once more when its rows are complete, which is now. */
    struct ledger_books *before = &l->own[l->turn], *own = &l->own[l->turn = !l->turn];
    bool books = l->books && query_books_of_added(l->books, source, l->now_us, own);
    l->at = source;
    l->begun[source] = true;
    l->minute = INT64_MIN;
    weir_status s = ledger_completing_archive(l->x, books ? own : NULL, l->one, err);
    free(before->files);
    before->files = NULL;
    return s;
}

static bool put_value(flow_batch *b, enum flow_ledger_id id, uint32_t row,
                      const struct query_vec *v, size_t i)
{
    const struct flow_column *c = &flow_ledger_columns()[id];
    if (!is_there(v, i) || v->starts)
        return true; /* no column of ours is a list */
    if (v->kind == QUERY_TEXT) {
        const struct query_text *t = &v->dict[v->codes[i]];
        uint8_t a[16];
        char text[64];
        if (c->type == FLOW_TYPE_TEXT)
            return flow_batch_set_key(b, id, row, t->data, t->len);
        if (c->type != FLOW_TYPE_ADDR || t->len >= sizeof text)
            return true;
        memcpy(text, t->data, t->len);
        text[t->len] = '\0';
        if (inet_pton(AF_INET, text, a) == 1)
            return flow_batch_set_key(b, id, row, a, 4);
        return inet_pton(AF_INET6, text, a) != 1 || flow_batch_set_key(b, id, row, a, 16);
    }
    if (c->type == FLOW_TYPE_F64) {
        double d;
        memcpy(&d, &v->num[i], sizeof d);
        return v->kind != QUERY_F64 || flow_batch_set_f64(b, id, row, d);
    }
    bool number = c->type != FLOW_TYPE_TEXT && c->type != FLOW_TYPE_ADDR && v->kind != QUERY_F64;
    return !number || flow_batch_set_u64(b, id, row, v->num[i]);
}

static bool is_other_hour(const struct ledgers *l, const struct query_text *file, const char *name)
{
    size_t left = (size_t)(file->data + file->len - name), n = strlen(l->hour);
    return left < n || memcmp(name, l->hour, n) != 0;
}

static void keep_hour(struct ledgers *l, const struct query_text *file, const char *name)
{
    size_t left = (size_t)(file->data + file->len - name), n = sizeof l->hour - 1;
    n = left < n ? left : n;
    memcpy(l->hour, name, n);
    l->hour[n] = '\0';
}

/* Columns: the file, the minute, the other keys, what is counted. */
static weir_status take_ledger(void *user, size_t result, const struct query_block *b,
                               weir_err *err)
{
    static const struct query_text none = {.data = ""};
    struct ledgers *l = user;
    (void)result;
    for (size_t i = 0; i < b->n; i++) {
        const struct query_vec *file = &b->vecs[0];
        const char *at;
        size_t source = source_of(l, is_there(file, i) ? &file->dict[file->codes[i]] : &none, &at);
        if (source == MOST_SOURCES)
            return too_many_sources(err);
        int64_t minute = is_there(&b->vecs[1], i) ? (int64_t)b->vecs[1].num[i] : INT64_MIN;
        if (!l->begun[source] || source != l->at) {
            WEIR_TRY(give_rows(l, err));
            WEIR_TRY(begin_source(l, source, err));
        } else if (is_other_hour(l, is_there(file, i) ? &file->dict[file->codes[i]] : &none, at) ||
                   (minute != l->minute && flow_batch_rows(l->batch) >= LEDGER_ROWS)) {
            WEIR_TRY(give_rows(l, err)); /* what is together is folded, as in an archive */
        }
        keep_hour(l, is_there(file, i) ? &file->dict[file->codes[i]] : &none, at);
        l->minute = minute;
        uint32_t row = flow_batch_add_rows(l->batch, 1);
        bool good = row != UINT32_MAX;
        for (size_t k = 0; k < l->n_columns && good; k++)
            good = put_value(l->batch, l->columns[k], row, &b->vecs[1 + k], i);
        if (!good)
            return ship_ch_no_memory(err);
    }
    return WEIR_OK;
}

static weir_status ask_for(ship_clickhouse_query *c, base_buf *sql,
                           const struct query_sql_field *fields, size_t n,
                           const struct query_sink *sink, weir_err *err)
{
    struct reader r = {.sink = sink, .stop = c->stop, .user = c->user};
    base_buf_str(sql, " FORMAT RowBinary");
    weir_status s = sql->failed || !reader_make(&r, fields, n) ? ship_ch_no_memory(err) : WEIR_OK;
    if (s == WEIR_OK)
        s = ask(c, sql, false, &r, err);
    reader_done(&r);
    base_buf_done(sql);
    return s;
}

/* Which files the rows of flows came from. */
static weir_status read_files(ship_clickhouse_query *c, struct ledgers *l, int64_t from, int64_t to,
                              weir_err *err)
{
    static const struct query_sql_field fields[] = {{QUERY_SQL_OUT_TEXT, QUERY_TEXT},
                                                    {QUERY_SQL_OUT_S64, QUERY_TIME},
                                                    {QUERY_SQL_OUT_S64, QUERY_TIME},
                                                    {QUERY_SQL_OUT_U64, QUERY_U64}};
    const struct query_sink sink = {.block = take_files, .user = l};
    base_buf sql = {0};
    if (!c->table.ordered || !c->ledger.ordered)
        return WEIR_OK;
    if (!(l->books = query_books_new()))
        return ship_ch_no_memory(err);
    from = from > INT64_MIN + AROUND_US ? from - AROUND_US : INT64_MIN;
    to = to < INT64_MAX - AROUND_US ? to + AROUND_US : INT64_MAX;
    weir_status s = query_sql_files(c->arena, &c->table, from, to, &sql, err);
    if (s != WEIR_OK) {
        base_buf_done(&sql);
        return s;
    }
    return ask_for(c, &sql, fields, ARRAY_LEN(fields), &sink, err);
}

/* So much of the ledger is needed. */
static void reach(struct ledgers *l, int64_t *from, int64_t *to)
{
    int64_t least = *from, most = *to;
    for (size_t i = 0; l->books && i < l->n; i++) {
        struct ledger_books b;
        int64_t f = *from, t = *to;
        if (!query_books_of_added(l->books, i, l->now_us, &b))
            continue;
        ledger_balance_reach(&b, &f, &t);
        free(b.files);
        least = f < least ? f : least;
        most = t > most ? t : most;
    }
    *from = least > INT64_MIN + 120000000 ? least - 120000000 : INT64_MIN;
    *to = most < INT64_MAX - 120000000 ? most + 120000000 : INT64_MAX;
}

static weir_status read_ledger(ship_clickhouse_query *c, struct ledgers *l, int64_t from,
                               int64_t to, weir_err *err)
{
    static const enum flow_ledger_id keys[N_KEYS] = {
        FLOW_LEDGER_minute,        FLOW_LEDGER_worker, FLOW_LEDGER_exporter,
        FLOW_LEDGER_exporter_port, FLOW_LEDGER_domain, FLOW_LEDGER_protocol_version};
    struct query_sql_field fields[MOST_LEDGER + 1];
    const struct query_sink sink = {.block = take_ledger, .user = l};
    size_t n;
    const enum flow_ledger_id *more = ledger_completing_columns(&n);
    memcpy(l->columns, keys, sizeof keys);
    for (l->n_columns = N_KEYS; n && l->n_columns < MOST_LEDGER; n--)
        l->columns[l->n_columns++] = *more++;
    base_buf sql = {0};
    reach(l, &from, &to);
    l->one = l->n < 2;
    weir_status s = query_sql_ledger(c->arena, &c->ledger, l->columns, l->n_columns, from, to, &sql,
                                     fields, err);
    if (s != WEIR_OK) {
        base_buf_done(&sql);
        return s;
    }
    WEIR_TRY(ask_for(c, &sql, fields, 1 + l->n_columns, &sink, err));
    WEIR_TRY(give_rows(l, err));
    for (size_t i = 0; i < l->n; i++)
        if (!l->begun[i])
            WEIR_TRY(begin_source(l, i, err));
    return WEIR_OK;
}

static void fail(struct query_completeness *out, const weir_err *err)
{
    out->what = QUERY_COMPLETE_FAILED;
    (void)snprintf(out->failed, sizeof out->failed, "%s", err->msg);
}

void ship_clickhouse_query_complete(ship_clickhouse_query *c, const struct query *q, int64_t now_us,
                                    struct query_completeness *out)
{
    weir_err err = {.msg = "out of memory"};
    int64_t from, to;
    *out = (struct query_completeness){.what = QUERY_COMPLETE_KNOWN};
    struct ledgers *l = calloc(1, sizeof *l);
    weir_status s = l && (l->batch = flow_batch_new(FLOW_TABLE_LEDGER)) ? WEIR_OK : WEIR_ENOMEM;
    query_complete_window(q, now_us, &from, &to);
    if (s == WEIR_OK && !c->d->tables[1].name)
        s = weir_err_set(&err, WEIR_ENOTFOUND, 0, "the ledger was not asked for (ledger=none)");
    if (s == WEIR_OK && !c->ledger_columns)
        s = know_table(c, &c->d->tables[1], &c->ledger_columns, &c->ledger, &err);
    if (s == WEIR_OK) {
        l->arena = c->arena;
        l->now_us = now_us;
        s = read_files(c, l, from, to, &err);
    }
    if (s == WEIR_OK) {
        l->x = ledger_completing_new(from, to, query_complete_about(q),
                                     (void *)(uintptr_t)q->filter, &out->ledger);
        s = l->x ? read_ledger(c, l, from, to, &err) : ship_ch_no_memory(&err);
    }
    if (l && l->x) {
        weir_err why = {0};
        weir_status last = ledger_completing_end(l->x, &why);
        if (s == WEIR_OK && last != WEIR_OK) {
            s = last;
            err = why;
        }
    }
    if (q->to_us != INT64_MAX && q->to_us < to)
        out->ledger.to_us = q->to_us; /* as it was asked for */
    if (s != WEIR_OK)
        fail(out, &err);
    if (l) {
        free(l->own[0].files);
        free(l->own[1].files);
        flow_batch_free(l->batch);
        query_books_free(l->books);
    }
    free(l);
}
