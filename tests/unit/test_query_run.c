/* The engine of queries against a brute-force twin: random rows with a fixed seed in small files of several makes (dictionaries
 * and plain values, columns that some files lack, one that changes its type), every kind of condition, groups of every
 * kind of key, in memory and spilled, with one thread and with several. */
#include "unit.h"

#include "parquet/writer.h"
#include "query/bits.h"
#include "query/lookup.h"
#include "query/run.h"

#include <dirent.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

static char dir[] = "/tmp/weir-query-run-XXXXXX";

/* ---- rows ---- */

enum {
    N_FILES = 3,
    N_GROUPS = 3,
    PER_GROUP = 700,
    N_ROWS = N_FILES * N_GROUPS * PER_GROUP + 40000
};

struct row {
    int64_t first, last;
    const char *src, *dst, *host; /* host: extra column, NULL: null */
    uint64_t src_port, dst_port, proto, bytes, packets, bytes_out, flags, in_if, extra, labels[3];
    double rate; /* 0: null */
    bool has_if, has_out, has_extra;
    unsigned n_labels;
};

static struct row *rows;
static size_t n_rows;

static uint64_t state = 88172645463325252u;
static uint64_t rnd(uint64_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % below;
}

static const char *const addresses[] = {
    "10.0.0.1",     "10.0.0.2",  "10.0.0.10",    "10.20.1.1",     "10.20.2.2",   "10.200.0.1",
    "192.0.2.1",    "192.0.2.2", "198.51.100.7", "203.0.113.255", "2001:db8::1", "2001:db8::2",
    "2001:db8:1::", "fe80::1",   "172.16.0.1",   "172.31.255.1",  "9.255.0.1",   "100.64.0.1",
};
static const char *const hosts[] = {"www.example.org", "Example.com",    "a", "",
                                    "10.0.0.1",        "ftp.example.org"};

static void make_rows(void)
{
    rows = calloc(N_ROWS, sizeof *rows);
    assert_non_null(rows);
    n_rows = N_ROWS;
    for (size_t i = 0; i < n_rows; i++) {
        struct row *r = &rows[i];
        size_t file = i / (N_GROUPS * PER_GROUP);
        r->first = INT64_C(1700000000000000) + (int64_t)(i * 5000) - (int64_t)rnd(30000000);
        r->last = r->first + (int64_t)(rnd(4) ? rnd(20000000) : 0) - (rnd(50) ? 0 : 1000);
        r->src = addresses[rnd(UNIT_N(addresses))];
        r->dst = addresses[rnd(rnd(3) ? UNIT_N(addresses) : 3)];
        r->src_port = rnd(3) ? 1024 + rnd(200) : rnd(5) * 100;
        r->dst_port = rnd(2) ? 443 : rnd(5) * 100;
        r->proto = (const uint64_t[]){6, 6, 17, 1}[rnd(4)];
        r->bytes = rnd(200) ? rnd(20000) : rnd(3) ? UINT64_C(1) << 33 : UINT64_MAX / 70;
        r->packets = 1 + rnd(100);
        r->has_out = !rnd(5);
        r->bytes_out = r->has_out ? rnd(5000) : 0;
        r->flags = rnd(256);
        r->has_if = rnd(4) != 0;
        r->in_if = r->has_if ? rnd(7) : 0;
        r->rate = file == 0 ? 0 : file == 1 ? 1 : (const double[]){0, 1, 100, 2.5}[rnd(4)];
        r->host = file == 0 || !rnd(3) ? NULL : hosts[rnd(UNIT_N(hosts))];
        r->has_extra = file != 1 && rnd(5);
        r->extra = r->has_extra ? rnd(30) : 0;
        r->n_labels = (unsigned)rnd(4);
        for (unsigned k = 0; k < r->n_labels; k++)
            r->labels[k] = 100 + rnd(5);
    }
}

/* ---- files ---- */

static weir_status to_file(void *user, const void *data, size_t len, weir_err *err)
{
    (void)err;
    return fwrite(data, 1, len, user) == len ? WEIR_OK : WEIR_EIO;
}

enum {
    C_FIRST,
    C_LAST,
    C_SRC,
    C_DST,
    C_SRC_PORT,
    C_DST_PORT,
    C_PROTO,
    C_BYTES,
    C_PACKETS,
    C_OUT,
    C_FLAGS,
    C_IF,
    C_RATE,
    C_LABELS,
    C_EXTRA,
    C_HOST,
    N_C
};

#define NUM(n, t, l, o)                                                                            \
    {                                                                                              \
        .name = n, .type = PARQUET_##t, .logical = PARQUET_L_##l, .optional = o,                   \
        .unsigned_order = PARQUET_L_##l >= PARQUET_L_UINT8 && PARQUET_L_##l <= PARQUET_L_UINT64    \
    }
static const struct parquet_column columns[N_C] = {
    [C_FIRST] = {.name = "first",
                 .type = PARQUET_INT64,
                 .logical = PARQUET_L_TIMESTAMP_US,
                 .utc = true},
    [C_LAST] = {.name = "last",
                .type = PARQUET_INT64,
                .logical = PARQUET_L_TIMESTAMP_US,
                .utc = true},
    [C_SRC] = {.name = "src_addr", .type = PARQUET_BYTE_ARRAY, .logical = PARQUET_L_STRING},
    [C_DST] = {.name = "dst_addr",
               .type = PARQUET_BYTE_ARRAY,
               .logical = PARQUET_L_STRING,
               .optional = true},
    [C_SRC_PORT] = {.name = "src_port",
                    .type = PARQUET_INT32,
                    .logical = PARQUET_L_UINT16,
                    .unsigned_order = true},
    [C_DST_PORT] = {.name = "dst_port",
                    .type = PARQUET_INT32,
                    .logical = PARQUET_L_UINT16,
                    .unsigned_order = true},
    [C_PROTO] = {.name = "proto",
                 .type = PARQUET_INT32,
                 .logical = PARQUET_L_UINT8,
                 .unsigned_order = true},
    [C_BYTES] = {.name = "bytes",
                 .type = PARQUET_INT64,
                 .logical = PARQUET_L_UINT64,
                 .unsigned_order = true},
    [C_PACKETS] = {.name = "packets",
                   .type = PARQUET_INT64,
                   .logical = PARQUET_L_UINT64,
                   .unsigned_order = true},
    [C_OUT] = {.name = "bytes_out",
               .type = PARQUET_INT64,
               .logical = PARQUET_L_UINT64,
               .unsigned_order = true,
               .optional = true},
    [C_FLAGS] = {.name = "tcp_flags",
                 .type = PARQUET_INT32,
                 .logical = PARQUET_L_UINT16,
                 .unsigned_order = true},
    [C_IF] = {.name = "in_if",
              .type = PARQUET_INT32,
              .logical = PARQUET_L_UINT32,
              .unsigned_order = true,
              .optional = true},
    [C_RATE] = {.name = "sampling_rate", .type = PARQUET_DOUBLE, .optional = true},
    [C_LABELS] = {.name = "mpls_labels",
                  .type = PARQUET_INT32,
                  .logical = PARQUET_L_UINT32,
                  .unsigned_order = true,
                  .optional = true,
                  .list = true},
    [C_EXTRA] = {.name = "someNumber",
                 .type = PARQUET_INT64,
                 .logical = PARQUET_L_UINT64,
                 .unsigned_order = true,
                 .optional = true},
    [C_HOST] = {.name = "someHost",
                .type = PARQUET_BYTE_ARRAY,
                .logical = PARQUET_L_STRING,
                .optional = true},
};

enum { MOST = 40000 };

/* Rows [from, from + n) as a row group. as_text: someNumber is a text column in this file. */
static void write_group(parquet_writer *w, size_t n_columns, size_t from, size_t n, bool coded,
                        bool as_text)
{
    static int64_t first[MOST], last[MOST];
    static uint32_t ports[3][MOST], flags[MOST], ifs[MOST], labels[MOST * 3], starts[MOST + 1],
        codes[2][MOST];
    static uint64_t bytes[MOST], packets[MOST], outs[MOST], extra[MOST], valid[N_C][MOST / 64 + 1];
    static double rates[MOST];
    static struct parquet_bytes texts[4][MOST], dict[UNIT_N(addresses)];
    static char numbers[MOST][24];
    memset(valid, 0, sizeof valid);
    uint32_t n_labels = 0;
#define SET(c, yes) valid[c][i >> 6] |= (uint64_t)(yes) << (i & 63)
    for (size_t i = 0; i < UNIT_N(addresses); i++)
        dict[i] =
            (struct parquet_bytes){(const uint8_t *)addresses[i], (uint32_t)strlen(addresses[i])};
    for (size_t i = 0; i < n; i++) {
        const struct row *r = &rows[from + i];
        first[i] = r->first;
        last[i] = r->last;
        const char *t[] = {r->src, r->dst, r->host ? r->host : ""};
        for (size_t k = 0; k < 3; k++)
            texts[k][i] = (struct parquet_bytes){(const uint8_t *)t[k], (uint32_t)strlen(t[k])};
        for (uint32_t k = 0; k < UNIT_N(addresses); k++) {
            codes[0][i] = r->src == addresses[k] ? k : codes[0][i];
            codes[1][i] = r->dst == addresses[k] ? k : codes[1][i];
        }
        ports[0][i] = (uint32_t)r->src_port;
        ports[1][i] = (uint32_t)r->dst_port;
        ports[2][i] = (uint32_t)r->proto;
        flags[i] = (uint32_t)r->flags;
        ifs[i] = (uint32_t)r->in_if;
        bytes[i] = r->bytes;
        packets[i] = r->packets;
        outs[i] = r->bytes_out;
        extra[i] = r->extra;
        int len = snprintf(numbers[i], sizeof numbers[i], "%" PRIu64, r->extra);
        texts[3][i] = (struct parquet_bytes){(const uint8_t *)numbers[i], (uint32_t)len};
        rates[i] = r->rate;
        starts[i] = n_labels;
        for (unsigned k = 0; k < r->n_labels; k++)
            labels[n_labels++] = (uint32_t)r->labels[k];
        SET(C_DST, true);
        SET(C_OUT, r->has_out);
        SET(C_IF, r->has_if);
        SET(C_RATE, r->rate != 0);
        SET(C_LABELS, true);
        SET(C_EXTRA, r->has_extra);
        SET(C_HOST, r->host != NULL);
    }
    starts[n] = n_labels;
    struct parquet_data d[N_C] = {
        [C_FIRST] = {.values = first, .width = 8},
        [C_LAST] = {.values = last, .width = 8},
        [C_SRC] = {.values = texts[0]},
        [C_DST] = {.values = texts[1], .valid = valid[C_DST]},
        [C_SRC_PORT] = {.values = ports[0], .width = 4},
        [C_DST_PORT] = {.values = ports[1], .width = 4},
        [C_PROTO] = {.values = ports[2], .width = 4},
        [C_BYTES] = {.values = bytes, .width = 8},
        [C_PACKETS] = {.values = packets, .width = 8},
        [C_OUT] = {.values = outs, .width = 8, .valid = valid[C_OUT]},
        [C_FLAGS] = {.values = flags, .width = 4},
        [C_IF] = {.values = ifs, .width = 4, .valid = valid[C_IF]},
        [C_RATE] = {.values = rates, .width = 8, .valid = valid[C_RATE]},
        [C_LABELS] = {.values = labels, .width = 4, .starts = starts, .valid = valid[C_LABELS]},
        [C_EXTRA] = {.values = extra, .width = 8, .valid = valid[C_EXTRA]},
        [C_HOST] = {.values = texts[2], .valid = valid[C_HOST]},
    };
    if (as_text)
        d[C_EXTRA] = (struct parquet_data){.values = texts[3], .valid = valid[C_EXTRA]};
    if (coded)
        for (size_t k = 0; k < 2; k++) {
            struct parquet_data *to = &d[k ? C_DST : C_SRC];
            to->values = NULL;
            to->codes = codes[k];
            to->dict = dict;
            to->n_dict = UNIT_N(addresses);
        }
    for (size_t c = 0; c < n_columns; c++)
        d[c].n = n;
    weir_err err = {0};
    weir_status st = parquet_writer_group(w, d, n, &err);
    UNIT_CHECK(st == WEIR_OK, "writing a row group: %s", err.msg);
}

static void write_file(const char *name, size_t from, const size_t *groups, size_t n_groups,
                       size_t n_columns, bool coded, bool as_text, size_t max_dict)
{
    char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    struct parquet_column own[N_C];
    memcpy(own, columns, sizeof own);
    if (as_text)
        own[C_EXTRA] = (struct parquet_column){.name = "someNumber",
                                               .type = PARQUET_BYTE_ARRAY,
                                               .logical = PARQUET_L_STRING,
                                               .optional = true};
    static const bool bloom[N_C] = {[C_SRC] = true, [C_DST] = true};
    struct parquet_writer_options o = {.sink = to_file,
                                       .user = f,
                                       .codec = PARQUET_ZSTD,
                                       .level = 1,
                                       .page_rows = 4096,
                                       .max_dict_octets = max_dict,
                                       .bloom = bloom,
                                       .sorted_by = -1};
    struct parquet_schema schema = {own, n_columns};
    parquet_writer *w;
    weir_err err = {0};
    assert_int_equal(parquet_writer_new(&o, &schema, &w, &err), WEIR_OK);
    for (size_t g = 0; g < n_groups; g++) {
        write_group(w, n_columns, from, groups[g], coded, as_text);
        from += groups[g];
    }
    assert_int_equal(parquet_writer_finish(w, NULL, 0, &err), WEIR_OK);
    parquet_writer_free(w);
    assert_int_equal(fclose(f), 0);
}

static int set_up(void **s)
{
    (void)s;
    assert_non_null(mkdtemp(dir));
    make_rows();
    const size_t small[] = {PER_GROUP, PER_GROUP, PER_GROUP},
                 last[] = {PER_GROUP, PER_GROUP, PER_GROUP + 40000 - 30000, 30000};
    write_file("a.parquet", 0, small, 3, C_HOST, true, false, 0); /* without someHost */
    write_file("b.parquet", 3 * PER_GROUP, small, 3, N_C, false, true, 0);
    write_file("c.parquet", 6 * PER_GROUP, last, 4, N_C, false, false, 64); /* texts plain */
    return 0;
}

static int tear_down(void **s)
{
    (void)s;
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));) {
        char path[sizeof dir + 300];
        (void)snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        (void)unlink(path);
    }
    if (d)
        (void)closedir(d);
    (void)rmdir(dir);
    free(rows);
    return 0;
}

/* ---- running ---- */

struct got {
    char *text; /* a line a row, fields separated by | */
    size_t len, cap;
    uint64_t rows;
    int began, ended;
    uint64_t fail_after; /* END after so many rows */
};

static void put_text(struct got *g, const char *p, size_t len)
{
    if (g->cap - g->len <= len) {
        g->cap = (g->cap + len + 64) * 2;
        g->text = realloc(g->text, g->cap);
        assert_non_null(g->text);
    }
    if (len)
        memcpy(g->text + g->len, p, len);
    g->len += len;
    g->text[g->len] = 0;
}

static void put_value(struct got *g, const struct query_vec *v, size_t slot)
{
    char text[48];
    int n = 0;
    if (v->kind == QUERY_TEXT || v->kind == QUERY_OCTETS || v->kind == QUERY_TEXT_LIST) {
        assert_true(v->codes[slot] < v->n_dict);
        put_text(g, v->dict[v->codes[slot]].data, v->dict[v->codes[slot]].len);
        return;
    }
    double d;
    memcpy(&d, &v->num[slot], sizeof d);
    if (v->kind == QUERY_F64)
        n = snprintf(text, sizeof text, "%g", d);
    else if (v->kind == QUERY_S64 || v->kind == QUERY_TIME)
        n = snprintf(text, sizeof text, "%" PRId64, (int64_t)v->num[slot]);
    else
        n = snprintf(text, sizeof text, "%" PRIu64, v->num[slot]);
    put_text(g, text, (size_t)n);
}

static weir_status begin(void *user, const struct query *q, size_t result, weir_err *err)
{
    (void)q, (void)result, (void)err;
    ((struct got *)user)->began++;
    return WEIR_OK;
}

static size_t n_fields;

static weir_status block(void *user, size_t result, const struct query_block *b, weir_err *err)
{
    struct got *g = user;
    (void)result, (void)err;
    assert_int_equal(g->began, 1);
    assert_int_equal(g->ended, 0);
    assert_true(b->n > 0);
    for (size_t i = 0; i < b->n; i++) {
        for (size_t f = 0; f < n_fields; f++) {
            const struct query_vec *v = &b->vecs[f];
            if (f)
                put_text(g, "|", 1);
            if (v->kind == QUERY_UNKNOWN || (v->valid && !parquet_bit(v->valid, i)))
                put_text(g, "-", 1);
            else if (v->starts)
                for (uint32_t k = v->starts[i]; k < v->starts[i + 1]; k++) {
                    put_value(g, v, k);
                    put_text(g, ",", 1);
                }
            else
                put_value(g, v, i);
        }
        put_text(g, "\n", 1);
        g->rows++;
    }
    return g->fail_after && g->rows >= g->fail_after ? WEIR_END : WEIR_OK;
}

static weir_status end(void *user, size_t result, const struct query_summary *s, weir_err *err)
{
    (void)result, (void)s, (void)err;
    ((struct got *)user)->ended++;
    return WEIR_OK;
}

static query_arena *arena;

static const struct query_expr *parse(const char *text)
{
    struct query_expr *e = NULL;
    struct query_error where;
    weir_err err = {0};
    if (!text)
        return NULL;
    weir_status st = query_filter_parse(arena, text, strlen(text),
                                        &(struct query_filter_options){0}, &e, &where, &err);
    UNIT_CHECK(st == WEIR_OK, "%s: %s", text, err.msg);
    return e;
}

static struct query_field *fields_of(const char *names, size_t *n)
{
    struct query_field *f = query_arena_alloc(arena, 32 * sizeof *f);
    char *copy = query_arena_text(arena, names, strlen(names)), *save = NULL;
    *n = 0;
    for (char *t = strtok_r(copy, ",", &save); t; t = strtok_r(NULL, ",", &save))
        f[(*n)++] = query_field_named(t);
    return f;
}

/* One query with one result, as text. */
struct ask {
    const char *filter, *fields, *keys, *order, *having;
    bool grouped, either, raw, rising, totals;
    enum query_merge merge;
    uint64_t limit, stop_after, fail_after;
    size_t max_octets;
    unsigned threads;
    int64_t from, to;
    bool (*stop)(void *user);
    weir_status want;
    const char *path;
};

static struct query_summary sum;

static char *run(const struct ask *a)
{
    struct query_result r = {
        .grouped = a->grouped, .either = a->either, .merge = a->merge, .limit = a->limit};
    r.fields = fields_of(a->fields, &r.n_fields);
    if (a->keys)
        r.keys = fields_of(a->keys, &r.n_keys);
    struct query_order order;
    if (a->order) {
        order =
            (struct query_order){.field = query_field_named(a->order), .descending = !a->rising};
        r.orders = &order;
        r.n_orders = 1;
    }
    r.having = parse(a->having);
    n_fields = r.n_fields;
    const char *paths[] = {a->path ? a->path : dir};
    struct query q = {.paths = paths,
                      .n_paths = 1,
                      .filter = parse(a->filter),
                      .from_us = a->from ? a->from : INT64_MIN,
                      .to_us = a->to ? a->to : INT64_MAX,
                      .results = &r,
                      .n_results = 1,
                      .stop_after = a->stop_after,
                      .raw = a->raw,
                      .max_octets = a->max_octets,
                      .threads = a->threads ? a->threads : 1,
                      .stop = a->stop};
    struct got g = {.fail_after = a->fail_after};
    struct query_sink sink = {begin, block, end, &g};
    weir_err err = {0};
    weir_status st = query_run(&q, a->totals, &sink, &sum, &err);
    UNIT_CHECK(st == a->want, "%s / %s: status %d, %s", a->filter ? a->filter : "any", a->fields,
               st, err.msg);
    if (st == WEIR_OK) {
        assert_int_equal(g.began, 1);
        assert_int_equal(g.ended, 1);
    }
    if (!g.text)
        put_text(&g, "", 0);
    return g.text;
}

static int with_arena(void **s)
{
    (void)s;
    arena = query_arena_new();
    return !arena;
}

static int without_arena(void **s)
{
    (void)s;
    query_arena_free(arena);
    return 0;
}

/* ---- the twin's view of a row ---- */

static uint64_t scaled(const struct row *r, uint64_t v)
{
    if (r->rate <= 1)
        return v;
    if (r->rate == 2.5) {
        double d = (double)v * 2.5 + 0.5;
        return d >= 18446744073709549568.0 ? UINT64_MAX : (uint64_t)d;
    }
    uint64_t x;
    return __builtin_mul_overflow(v, (uint64_t)r->rate, &x) ? UINT64_MAX : x;
}

static uint64_t plus(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static uint64_t ms_of(const struct row *r)
{
    return r->last > r->first ? (uint64_t)(r->last - r->first) / 1000 : 0;
}

static bool begins(const char *text, const char *with)
{
    return !strncmp(text, with, strlen(with));
}

static bool has_label(const struct row *r, uint64_t label)
{
    for (unsigned k = 0; k < r->n_labels; k++)
        if (r->labels[k] == label)
            return true;
    return false;
}

#define IS(name, expr)                                                                             \
    static bool name(const struct row *r)                                                          \
    {                                                                                              \
        return expr;                                                                               \
    }
IS(all, r != NULL)
IS(no, r == NULL)
IS(tcp, r->proto == 6)
IS(nfdumps, r->proto == 6 && r->dst_port == 443 && scaled(r, r->bytes) > 10000)
IS(port80, r->dst_port == 400 || r->src_port == 400)
IS(not_port, !(r->dst_port == 443))
IS(big, scaled(r, r->bytes) >= UINT64_C(4294967296))
IS(small, scaled(r, r->bytes) < 100)
IS(some_ports, r->dst_port == 100 || (r->dst_port >= 300 && r->dst_port <= 399))
IS(host, !strcmp(r->src, "10.0.0.2") || !strcmp(r->dst, "10.0.0.2"))
IS(no_host, !strcmp(r->src, "10.0.0.99"))
IS(net, begins(r->src, "10."))
IS(net20, begins(r->src, "10.20."))
IS(net6, begins(r->dst, "2001:db8:"))
IS(odd_net, !strcmp(r->src, "172.16.0.1") || !strcmp(r->src, "172.31.255.1"))
IS(not_net, !begins(r->dst, "10."))
IS(v6, strchr(r->src, ':') && strchr(r->dst, ':'))
IS(if5, r->has_if && r->in_if == 5)
IS(not_if5, !(r->has_if && r->in_if == 5))
IS(if_ne5, r->has_if && r->in_if != 5)
IS(if_gt, r->has_if && r->in_if > 4)
IS(if_there, r->has_if)
IS(if_not_there, !r->has_if)
IS(syn, r->proto == 6 && (r->flags & 2) == 2)
IS(long_flow, ms_of(r) > 10000)
IS(slow, (ms_of(r) ? scaled(r, r->packets) * 1000 / ms_of(r) : 0) < 5)
IS(bpp, scaled(r, r->bytes) / scaled(r, r->packets) > 100)
IS(out, (r->has_out ? scaled(r, r->bytes_out) : 0) > 3000)
IS(www, r->host &&begins(r->host, "www."))
IS(example, r->host &&strstr(r->host, "example"))
IS(example_i, r->host && (strstr(r->host, "xample")))
IS(host_is, r->host && !strcmp(r->host, "a"))
IS(host_not_there, !r->host)
IS(extra7, r->has_extra && r->extra == 7)
IS(extra_gt, r->has_extra && r->extra > 20)
IS(extra_below0, r->has_extra)
IS(label, has_label(r, 101))
IS(label2, r->n_labels >= 2 && r->labels[1] == 102)
IS(same_ports, r->src_port == r->dst_port)
IS(rate_gt, r->rate > 1.5)
IS(nested, (tcp(r) && !if5(r)) || (r->proto == 17 && (host(r) || big(r))))
IS(first_at, r->first >= INT64_C(1700000100000000))

static const struct {
    const char *filter;
    bool (*is)(const struct row *r);
} filters[] = {
    {NULL, all},
    {"any", all},
    {"not any", no},
    {"proto tcp", tcp},
    {"proto tcp and dst port 443 and bytes > 10000", nfdumps},
    {"port 400", port80},
    {"not dst port 443", not_port},
    {"bytes >= 4294967296", big},
    {"bytes < 100", small},
    {"dst port in [100 300-399]", some_ports},
    {"dst_port > 65535", no},
    {"dst_port <= 65535", all},
    {"ip 10.0.0.2", host},
    {"src ip 10.0.0.99", no_host},
    {"src net 10.0.0.0/8", net},
    {"src net 10.20.0.0/16", net20},
    {"dst net 2001:db8::/32", net6},
    {"src net 172.16.0.0/12", odd_net},
    {"not dst net 10.0.0.0/8", not_net},
    {"ipv6", v6},
    {"in if 5", if5},
    {"not in if 5", not_if5},
    {"in if != 5", if_ne5},
    {"in if > 4", if_gt},
    {"in_if present", if_there},
    {"not in_if present", if_not_there},
    {"flags S", syn},
    {"duration > 10000", long_flow},
    {"pps < 5", slow},
    {"bpp > 100", bpp},
    {"out bytes > 3000", out},
    {"someHost ~ \"^www\\.\"", www},
    {"someHost contains \"example\"", example},
    {"someHost contains \"XAMPLE\" nocase", example_i},
    {"someHost = \"a\"", host_is},
    {"not someHost present", host_not_there},
    {"noSuchColumn = 5", no},
    {"not noSuchColumn = 5", all},
    {"someNumber = 7", extra7},
    {"someNumber > 20", extra_gt},
    {"someNumber >= -1", extra_below0},
    {"mpls_labels = 101", label},
    {"mpls label2 102", label2},
    {"src_port = field dst_port", same_ports},
    {"sampling_rate > 1.5", rate_gt},
    {"(proto tcp and not in if 5) or (proto udp and (ip 10.0.0.2 or bytes >= 4294967296))", nested},
    {"first >= 2023-11-14T22:15:00Z", first_at},
};

static void conditions(void **s)
{
    (void)s;
    for (size_t i = 0; i < UNIT_N(filters); i++)
        for (unsigned threads = 1; threads <= 2; threads++) {
            char *got = run(&(struct ask){.filter = filters[i].filter,
                                          .fields = "first,src_addr,src_port",
                                          .totals = true,
                                          .threads = threads});
            struct got want = {0};
            int64_t least = INT64_MAX, greatest = INT64_MIN;
            uint64_t matched = 0, bytes = 0, packets = 0, outs = 0, n_scaled = 0, unknown = 0;
            for (size_t k = 0; k < n_rows; k++) {
                const struct row *r = &rows[k];
                if (!filters[i].is(r))
                    continue;
                char line[128];
                put_text(&want, line,
                         (size_t)snprintf(line, sizeof line, "%" PRId64 "|%s|%" PRIu64 "\n",
                                          r->first, r->src, r->src_port));
                matched++;
                least = r->first < least ? r->first : least;
                greatest = r->last > greatest ? r->last : greatest;
                bytes = plus(bytes, scaled(r, r->bytes));
                packets = plus(packets, scaled(r, r->packets));
                outs = plus(outs, r->has_out ? scaled(r, r->bytes_out) : 0);
                n_scaled += r->rate > 1;
                unknown += r->rate == 0;
            }
            const char *what = filters[i].filter ? filters[i].filter : "no filter";
            UNIT_CHECK(sum.matched == matched, "%s: %" PRIu64 " rows, not %" PRIu64, what,
                       sum.matched, matched);
            UNIT_CHECK(!strcmp(got, want.text ? want.text : ""),
                       "%s, %u threads: other rows or another order", what, threads);
            assert_int_equal(sum.flows, matched);
            assert_int_equal(sum.bytes, bytes);
            assert_int_equal(sum.packets, packets);
            assert_int_equal(sum.out_bytes, outs);
            assert_int_equal(sum.first_us, matched ? least : 0);
            assert_int_equal(sum.last_us, matched ? greatest : 0);
            assert_int_equal(sum.rows_scaled, n_scaled);
            assert_int_equal(sum.rows_no_rate, unknown);
            assert_int_equal(sum.rows + sum.rows_skipped, n_rows);
            /* The same totals when nothing else reads the times. */
            free(run(&(struct ask){.filter = filters[i].filter,
                                   .fields = "src_port",
                                   .totals = true,
                                   .threads = threads}));
            assert_int_equal(sum.first_us, matched ? least : 0);
            assert_int_equal(sum.last_us, matched ? greatest : 0);
            free(want.text);
            free(got);
        }
}

/* Conditions that footers, bloom filters or dictionaries answer. */
static void skipping(void **s)
{
    (void)s;
    free(run(&(struct ask){.filter = "src ip 10.0.0.99", .fields = "bytes"}));
    assert_int_equal(sum.groups, 10);
    assert_int_equal(sum.groups_read, 0);
    assert_int_equal(sum.skipped[QUERY_SKIP_BLOOM] + sum.skipped[QUERY_SKIP_STATISTICS] +
                         sum.skipped[QUERY_SKIP_DICTIONARY],
                     10);
    assert_true(sum.skipped[QUERY_SKIP_BLOOM] > 0);
    assert_int_equal(sum.rows_skipped, n_rows);
    free(run(
        &(struct ask){.filter = "bytes > 18446744073709551000", .fields = "bytes", .raw = true}));
    assert_int_equal(sum.skipped[QUERY_SKIP_STATISTICS], 10);
    free(run(&(struct ask){.fields = "bytes", .from = 1, .to = 2}));
    assert_int_equal(sum.skipped[QUERY_SKIP_TIME], 10);
    free(run(&(struct ask){.filter = "proto 5", .fields = "bytes"}));
    assert_int_equal(sum.groups_read, 0);
    assert_true(sum.skipped[QUERY_SKIP_DICTIONARY] > 0);
    for (size_t i = 0; i < QUERY_N_SKIPS; i++)
        assert_true(*query_skip_text((enum query_skip)i) != 0);
}

static void window(void **s)
{
    (void)s;
    int64_t from = rows[20000].first, to = from + 5000000;
    free(run(&(struct ask){.fields = "bytes", .from = from, .to = to}));
    uint64_t want = 0;
    for (size_t i = 0; i < n_rows; i++)
        want += rows[i].last >= from && rows[i].first <= to;
    assert_true(want > 0 && want < n_rows / 2);
    assert_int_equal(sum.matched, want);
}

/* ---- groups ---- */

struct group {
    char key[128];
    uint64_t n, bytes, packets, outs, flags;
    int64_t first, last;
};

static int by_key(const void *a, const void *b)
{
    return strcmp(((const struct group *)a)->key, ((const struct group *)b)->key);
}

static void key_num(char *out, size_t cap, bool there, uint64_t v)
{
    if (there)
        (void)snprintf(out, cap, "%" PRIu64, v);
    else
        (void)snprintf(out, cap, "-");
}

static void key_src(const struct row *r, char *out, size_t cap)
{
    (void)snprintf(out, cap, "%s", r->src);
}
static void key_pair(const struct row *r, char *out, size_t cap)
{
    (void)snprintf(out, cap, "%s|%s", r->src, r->dst);
}
static void key_ports(const struct row *r, char *out, size_t cap)
{
    (void)snprintf(out, cap, "%" PRIu64 "|%" PRIu64, r->proto, r->dst_port);
}
static void key_if(const struct row *r, char *out, size_t cap)
{
    key_num(out, cap, r->has_if, r->in_if);
}
static void key_if_host(const struct row *r, char *out, size_t cap)
{
    char num[32];
    key_num(num, sizeof num, r->has_if, r->in_if);
    (void)snprintf(out, cap, "%s|%s", num, r->host ? r->host : "-");
}
static void key_tuple(const struct row *r, char *out, size_t cap)
{
    (void)snprintf(out, cap, "%s|%s|%" PRIu64 "|%" PRIu64 "|%" PRIu64, r->src, r->dst, r->src_port,
                   r->dst_port, r->proto);
}
static void key_duration(const struct row *r, char *out, size_t cap)
{
    (void)snprintf(out, cap, "%" PRIu64, ms_of(r));
}
static void key_extra(const struct row *r, char *out, size_t cap)
{
    key_num(out, cap, r->has_extra, r->extra);
}
static void key_family(const struct row *r, char *out, size_t cap)
{
    (void)snprintf(out, cap, "%d", strchr(r->src, ':') ? 6 : 4);
}
static void key_none(const struct row *r, char *out, size_t cap)
{
    (void)r, (void)cap;
    *out = 0;
}

static const struct {
    const char *keys;
    unsigned n;
    void (*key)(const struct row *r, char *out, size_t cap);
} groupings[] = {
    {"", 0, key_none},
    {"src_addr", 1, key_src},
    {"src_addr,dst_addr", 2, key_pair},
    {"proto,dst_port", 2, key_ports},
    {"in_if", 1, key_if},
    {"in_if,someHost", 2, key_if_host},
    {"src_addr,dst_addr,src_port,dst_port,proto", 5, key_tuple},
    {"duration", 1, key_duration},
    {"someNumber", 1, key_extra},
    {"ip_family", 1, key_family},
};

static struct group *group_rows(bool (*is)(const struct row *r),
                                void (*key)(const struct row *, char *, size_t), size_t *n)
{
    struct group *g = calloc(n_rows + 1, sizeof *g);
    assert_non_null(g);
    size_t m = 0;
    for (size_t i = 0; i < n_rows; i++) {
        const struct row *r = &rows[i];
        if (!is(r))
            continue;
        struct group *x = &g[m++];
        key(r, x->key, sizeof x->key);
        x->n = 1;
        x->bytes = scaled(r, r->bytes);
        x->packets = scaled(r, r->packets);
        x->outs = r->has_out ? scaled(r, r->bytes_out) : 0;
        x->flags = r->flags;
        x->first = r->first;
        x->last = r->last;
    }
    qsort(g, m, sizeof *g, by_key);
    *n = 0;
    for (size_t i = 0; i < m; i++) {
        if (!i || strcmp(g[*n - 1].key, g[i].key)) {
            g[(*n)++] = g[i];
            continue;
        }
        struct group *to = &g[*n - 1];
        to->n++;
        to->bytes = plus(to->bytes, g[i].bytes);
        to->packets = plus(to->packets, g[i].packets);
        to->outs = plus(to->outs, g[i].outs);
        to->flags |= g[i].flags;
        to->first = g[i].first < to->first ? g[i].first : to->first;
        to->last = g[i].last > to->last ? g[i].last : to->last;
    }
    return g;
}

static int compare_lines(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The lines of a text, sorted, as one text again. */
static char *sorted(char *text)
{
    size_t n = 0, cap = 16;
    char **lines = malloc(cap * sizeof *lines), *save = NULL;
    struct got out = {0};
    assert_non_null(lines);
    for (char *t = strtok_r(text, "\n", &save); t; t = strtok_r(NULL, "\n", &save)) {
        if (n == cap)
            lines = realloc(lines, (cap *= 2) * sizeof *lines);
        assert_non_null(lines);
        lines[n++] = t;
    }
    qsort(lines, n, sizeof *lines, compare_lines);
    put_text(&out, "", 0);
    for (size_t i = 0; i < n; i++) {
        put_text(&out, lines[i], strlen(lines[i]));
        put_text(&out, "\n", 1);
    }
    free(lines);
    free(text);
    return out.text;
}

static void grouping(void **s)
{
    (void)s;
    static const struct {
        const char *filter;
        bool (*is)(const struct row *r);
    } some[] = {{NULL, all}, {"in if 5", if5}, {"src ip 10.0.0.99", no_host}};
    static const struct {
        unsigned threads;
        size_t max_octets;
    } ways[] = {{1, 0}, {2, 0}, {3, 0}, {1, 1 << 16}, {2, 1 << 16}, {1, 1}};
    for (size_t k = 0; k < UNIT_N(groupings); k++)
        for (size_t f = 0; f < UNIT_N(some); f++) {
            size_t n;
            struct group *g = group_rows(some[f].is, groupings[k].key, &n);
            struct got want = {0};
            put_text(&want, "", 0);
            for (size_t i = 0; i < n; i++) {
                char line[400];
                put_text(&want, line,
                         (size_t)snprintf(line, sizeof line,
                                          "%s%s%" PRIu64 "|%" PRIu64 "|%" PRIu64 "|%" PRIu64
                                          "|%" PRIu64 "|%" PRIu64 "|%" PRId64 "|%" PRId64 "\n",
                                          g[i].key, groupings[k].n ? "|" : "", g[i].n, g[i].n,
                                          g[i].bytes, g[i].packets, g[i].outs, g[i].flags,
                                          g[i].first, g[i].last));
            }
            free(g);
            want.text = sorted(want.text);
            char fields[160], *before = NULL;
            (void)snprintf(fields, sizeof fields,
                           "%s%sn_flows,count,bytes,packets,out_bytes,tcp_flags,first,last",
                           groupings[k].keys, groupings[k].n ? "," : "");
            for (size_t w = 0; w < UNIT_N(ways); w++) {
                char *got = run(&(struct ask){.filter = some[f].filter,
                                              .fields = fields,
                                              .keys = groupings[k].keys,
                                              .grouped = true,
                                              .threads = ways[w].threads,
                                              .max_octets = ways[w].max_octets});
                assert_int_equal(sum.groups_found[0], n);
                if (ways[w].max_octets && n > 2000)
                    assert_true(sum.spilled > 0);
                UNIT_CHECK(!before || !strcmp(before, got),
                           "%s: another order with %u threads, %zu octets", groupings[k].keys,
                           ways[w].threads, ways[w].max_octets);
                free(before);
                before = strdup(got);
                got = sorted(got);
                UNIT_CHECK(!strcmp(got, want.text),
                           "groups by %s of %s, %u threads, %zu octets:\n%.300s\nnot\n%.300s",
                           groupings[k].keys, some[f].filter ? some[f].filter : "all",
                           ways[w].threads, ways[w].max_octets, got, want.text);
                free(got);
            }
            free(before);
            free(want.text);
        }
}

static void keys_in_order(void **s)
{
    (void)s;
    char *got = run(&(struct ask){.fields = "src_addr", .keys = "src_addr", .grouped = true});
    assert_string_equal(
        got,
        "9.255.0.1\n10.0.0.1\n10.0.0.2\n10.0.0.10\n10.20.1.1\n10.20.2.2\n10.200.0.1\n100.64.0.1\n"
        "172.16.0.1\n172.31.255.1\n192.0.2.1\n192.0.2.2\n198.51.100.7\n203.0.113.255\n"
        "2001:db8::1\n2001:db8::2\n2001:db8:1::\nfe80::1\n");
    free(got);
}

/* A flow counts once for each different address. */
static void either(void **s)
{
    (void)s;
    uint64_t n[UNIT_N(addresses)] = {0}, bytes[UNIT_N(addresses)] = {0};
    for (size_t i = 0; i < n_rows; i++)
        for (size_t k = 0; k < UNIT_N(addresses); k++)
            if (rows[i].src == addresses[k] || rows[i].dst == addresses[k]) {
                n[k]++;
                bytes[k] = plus(bytes[k], rows[i].bytes);
            }
    struct got want = {0};
    for (size_t k = 0; k < UNIT_N(addresses); k++) {
        char line[100];
        put_text(&want, line,
                 (size_t)snprintf(line, sizeof line, "%s|%" PRIu64 "|%" PRIu64 "\n", addresses[k],
                                  n[k], bytes[k]));
    }
    want.text = sorted(want.text);
    for (unsigned threads = 1; threads <= 2; threads++) {
        char *got = sorted(run(&(struct ask){.fields = "src_addr,n_flows,bytes",
                                             .keys = "src_addr,dst_addr",
                                             .grouped = true,
                                             .either = true,
                                             .raw = true,
                                             .threads = threads,
                                             .max_octets = threads == 2 ? 1 << 12 : 0}));
        assert_string_equal(got, want.text);
        free(got);
    }
    free(want.text);
}

/* ---- both directions ---- */

struct both {
    const struct row *first;
    uint64_t in, out, n;
};

static void merging(void **s)
{
    (void)s;
    for (unsigned threads = 1; threads <= 2; threads++)
        for (int guess = 0; guess < 2; guess++) {
            struct both *b = calloc(n_rows, sizeof *b);
            size_t n = 0;
            assert_non_null(b);
            for (size_t i = 0; i < n_rows; i++) {
                const struct row *r = &rows[i];
                if (r->packets > 8) /* keeps the search below short */
                    continue;
                uint64_t outs = r->has_out ? r->bytes_out : 0;
                size_t k = 0;
                for (; k < n; k++) {
                    const struct row *f = b[k].first;
                    bool same = f->src == r->src && f->dst == r->dst &&
                                f->src_port == r->src_port && f->dst_port == r->dst_port;
                    bool back = f->src == r->dst && f->dst == r->src &&
                                f->src_port == r->dst_port && f->dst_port == r->src_port;
                    if (f->proto != r->proto || (!same && !back))
                        continue;
                    b[k].in = plus(b[k].in, same ? r->bytes : outs);
                    b[k].out = plus(b[k].out, same ? outs : r->bytes);
                    b[k].n++;
                    break;
                }
                if (k == n)
                    b[n++] = (struct both){r, r->bytes, outs, 1};
            }
            struct got want = {0};
            for (size_t k = 0; k < n; k++) {
                struct both x = b[k];
                const struct row *f = x.first;
                bool swap = guess && (f->proto == 6 || f->proto == 17) && f->src_port < 1024 &&
                            f->dst_port > 1024;
                char line[200];
                int len = swap ? snprintf(line, sizeof line,
                                          "%s|%s|%" PRIu64 "|%" PRIu64 "|%" PRIu64 "|%" PRIu64
                                          "|%" PRIu64 "|%" PRIu64 "\n",
                                          f->dst, f->src, f->dst_port, f->src_port, f->proto, x.out,
                                          x.in, x.n)
                               : snprintf(line, sizeof line,
                                          "%s|%s|%" PRIu64 "|%" PRIu64 "|%" PRIu64 "|%" PRIu64
                                          "|%" PRIu64 "|%" PRIu64 "\n",
                                          f->src, f->dst, f->src_port, f->dst_port, f->proto, x.in,
                                          x.out, x.n);
                put_text(&want, line, (size_t)len);
            }
            want.text = sorted(want.text);
            char *got = sorted(run(&(struct ask){
                .filter = "packets <= 8",
                .fields = "src_addr,dst_addr,src_port,dst_port,proto,bytes,out_bytes,n_flows",
                .keys = "src_addr,dst_addr,src_port,dst_port,proto",
                .grouped = true,
                .raw = true,
                .threads = threads,
                .max_octets = threads == 1 ? 1 : 0,
                .merge = guess ? QUERY_MERGE_GUESS : QUERY_MERGE_BOTH}));
            assert_string_equal(got, want.text);
            free(got);
            free(want.text);
            free(b);
        }
}

/* ---- order and limits ---- */

static int by_bytes(const void *a, const void *b)
{
    const struct row *x = *(const struct row *const *)a, *y = *(const struct row *const *)b;
    if (x->bytes != y->bytes)
        return x->bytes > y->bytes ? -1 : 1;
    return x < y ? -1 : 1;
}

static void ordering(void **s)
{
    (void)s;
    const struct row **r = malloc(n_rows * sizeof *r);
    assert_non_null(r);
    for (size_t i = 0; i < n_rows; i++)
        r[i] = &rows[i];
    qsort(r, n_rows, sizeof *r, by_bytes);
    static const struct {
        uint64_t limit;
        unsigned threads;
        size_t max_octets;
    } ways[] = {{0, 1, 0},  {0, 2, 0},  {0, 1, 1 << 19},   {0, 2, 1 << 19},
                {10, 1, 0}, {10, 2, 0}, {3000, 2, 1 << 16}};
    for (size_t w = 0; w < UNIT_N(ways); w++) {
        struct got want = {0};
        for (size_t i = 0; i < n_rows && (!ways[w].limit || i < ways[w].limit); i++) {
            char line[200];
            size_t len = (size_t)snprintf(line, sizeof line, "%" PRIu64 "|%s|%s|", r[i]->bytes,
                                          r[i]->src, r[i]->host ? r[i]->host : "-");
            for (unsigned k = 0; k < r[i]->n_labels; k++)
                len += (size_t)snprintf(line + len, sizeof line - len, "%" PRIu64 ",",
                                        r[i]->labels[k]);
            put_text(&want, line, len);
            put_text(&want, "\n", 1);
        }
        char *got = run(&(struct ask){.fields = "bytes,src_addr,someHost,mpls_labels",
                                      .order = "bytes",
                                      .raw = true,
                                      .limit = ways[w].limit,
                                      .threads = ways[w].threads,
                                      .max_octets = ways[w].max_octets});
        if (ways[w].max_octets)
            assert_true(sum.spilled > 0 || ways[w].limit);
        UNIT_CHECK(!strcmp(got, want.text), "by bytes, %zu octets, %u threads", ways[w].max_octets,
                   ways[w].threads);
        free(got);
        free(want.text);
    }
    free(r);
}

static void first_ones(void **s)
{
    (void)s;
    char *whole = run(&(struct ask){.fields = "first", .filter = "proto udp"});
    char *some =
        run(&(struct ask){.fields = "first", .filter = "proto udp", .limit = 1234, .threads = 2});
    assert_memory_equal(whole, some, strlen(some));
    size_t lines = 0;
    for (const char *p = some; *p; p++)
        lines += *p == '\n';
    assert_int_equal(lines, 1234);
    free(some);
    some = run(&(struct ask){.fields = "n_flows",
                             .keys = "",
                             .grouped = true,
                             .filter = "proto udp",
                             .stop_after = 777,
                             .threads = 2});
    assert_string_equal(some, "777\n");
    assert_int_equal(sum.matched, 777);
    free(some);
    free(whole);
    /* Groups of a statistic: the greatest, and those that a further filter leaves. */
    some = run(&(struct ask){.fields = "dst_port,n_flows",
                             .keys = "dst_port",
                             .grouped = true,
                             .order = "n_flows",
                             .limit = 1});
    assert_true(begins(some, "443|"));
    assert_int_equal(sum.groups_found[0], 6);
    free(some);
    some = run(&(struct ask){.fields = "dst_port",
                             .keys = "dst_port",
                             .grouped = true,
                             .having = "flows > 20000 and dst port > 5"});
    assert_string_equal(some, "443\n");
    assert_int_equal(sum.groups_found[0], 1);
    free(some);
    some =
        run(&(struct ask){.fields = "count,first", .filter = "count > 43000 and count <= 43003"});
    char want[200];
    (void)snprintf(want, sizeof want, "43001|%" PRId64 "\n43002|%" PRId64 "\n43003|%" PRId64 "\n",
                   rows[43000].first, rows[43001].first, rows[43002].first);
    assert_string_equal(some, want);
    free(some);
    /* What is no key and no counter is of the earliest row. */
    some = run(&(struct ask){.fields = "first,src_addr,mpls_labels,someHost,proto",
                             .keys = "proto",
                             .grouped = true,
                             .filter = "packets 50",
                             .threads = 2});
    char *again = run(&(struct ask){.fields = "first,src_addr,mpls_labels,someHost,proto",
                                    .keys = "proto",
                                    .grouped = true,
                                    .filter = "packets 50",
                                    .max_octets = 1});
    assert_string_equal(some, again);
    free(some);
    free(again);
}

static bool always(void *user)
{
    (void)user;
    return true;
}

static void stopping(void **s)
{
    (void)s;
    for (unsigned threads = 1; threads <= 2; threads++) {
        free(run(&(struct ask){
            .fields = "first", .stop = always, .want = WEIR_END, .threads = threads}));
        free(run(&(struct ask){.fields = "bytes",
                               .keys = "src_addr",
                               .grouped = true,
                               .stop = always,
                               .want = WEIR_END,
                               .threads = threads}));
        free(run(&(struct ask){
            .fields = "first", .fail_after = 100, .want = WEIR_END, .threads = threads}));
        free(run(&(struct ask){.fields = "first",
                               .order = "bytes",
                               .fail_after = 100,
                               .want = WEIR_END,
                               .threads = threads}));
    }
}

static void wrong_questions(void **s)
{
    (void)s;
    free(run(&(struct ask){
        .fields = "bytes", .keys = "mpls_labels", .grouped = true, .want = WEIR_EINVAL}));
    free(run(&(struct ask){.fields = "bytes",
                           .keys = "src_addr",
                           .grouped = true,
                           .merge = QUERY_MERGE_BOTH,
                           .want = WEIR_EINVAL}));
    free(run(&(struct ask){.fields = "bytes",
                           .keys = "src_addr,src_port",
                           .grouped = true,
                           .either = true,
                           .want = WEIR_EINVAL}));
    free(run(&(struct ask){.fields = "bytes", .having = "flows 5", .want = WEIR_EINVAL}));
}

/* Damaged files are named and passed over; the others are answered from. */
static void damaged(void **s)
{
    (void)s;
    char from[128], to[128];
    (void)snprintf(from, sizeof from, "%s/b.parquet", dir);
    (void)snprintf(to, sizeof to, "%s/bb.parquet", dir);
    FILE *f = fopen(from, "r");
    assert_non_null(f);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    size_t len = (size_t)ftell(f);
    char *data = malloc(len);
    assert_non_null(data);
    rewind(f);
    assert_int_equal(fread(data, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
    for (unsigned round = 0; round < 60; round++) {
        char *copy = malloc(len);
        assert_non_null(copy);
        memcpy(copy, data, len);
        size_t n = round == 0 ? 0 : round == 1 ? len / 2 : len;
        for (unsigned k = 0; k < 1 + round % 20 && round > 1; k++)
            copy[rnd(len)] = (char)rnd(256);
        f = fopen(to, "w");
        assert_non_null(f);
        assert_int_equal(fwrite(copy, 1, n, f), n);
        assert_int_equal(fclose(f), 0);
        free(copy);
        char *got = run(&(struct ask){.fields = "src_addr,bytes,first",
                                      .keys = "src_addr",
                                      .grouped = true,
                                      .threads = 1 + round % 2,
                                      .totals = true});
        assert_true(sum.matched >= n_rows || round > 1);
        if (round < 2) {
            assert_int_equal(sum.files_failed, 1);
            assert_true(strstr(sum.failed, "bb.parquet") != NULL);
            assert_int_equal(sum.matched, n_rows);
        }
        free(got);
        free(run(&(struct ask){.fields = "src_addr,bytes,first,mpls_labels,someHost",
                               .order = "bytes",
                               .limit = 5,
                               .filter = "bytes > 100 or someHost contains x or ip 10.0.0.1"}));
    }
    free(data);
    (void)unlink(to);
}

/* The kernels and their twins. */
static void kernels(void **s)
{
    (void)s;
    const struct query_bits_ops *ops[] = {query_bits_generic(), query_bits_best()};
    enum { N = 1000 };
    static uint32_t v32[N];
    static uint64_t v64[N], got[2][N / 64 + 1];
    uint8_t table[260] = {0};
    for (unsigned round = 0; round < 300; round++) {
        size_t n = round < 130 ? round : rnd(N);
        for (size_t i = 0; i < N; i++) {
            v32[i] = (uint32_t)rnd(256);
            v64[i] = rnd(3) ? rnd(300) : UINT64_MAX - rnd(300);
        }
        for (size_t i = 0; i < 256; i++)
            table[i] = (uint8_t)rnd(2);
        uint32_t code = (uint32_t)rnd(256), low = (uint32_t)rnd(300) - 50,
                 span = (uint32_t)rnd(200);
        uint64_t low64 = rnd(600) - 300, span64 = rnd(2) ? rnd(400) : UINT64_MAX - rnd(3);
        for (size_t what = 0; what < 4; what++) {
            memset(got, 0x55, sizeof got);
            for (size_t k = 0; k < 2; k++) {
                if (what == 0)
                    ops[k]->equal(v32, n, code, got[k]);
                else if (what == 1)
                    ops[k]->table(v32, n, table, got[k]);
                else if (what == 2)
                    ops[k]->range32(v32, n, low, span, got[k]);
                else
                    ops[k]->range64(v64, n, low64, span64, got[k]);
            }
            assert_memory_equal(got[0], got[1], sizeof got[0]);
            for (size_t i = 0; i < n; i++) {
                bool want = what == 0   ? v32[i] == code
                            : what == 1 ? table[v32[i]]
                            : what == 2 ? v32[i] - low <= span
                                        : v64[i] - low64 <= span64;
                assert_int_equal(parquet_bit(got[0], i), want);
            }
            uint32_t at[N + 8];
            size_t count = query_bits_rows(got[0], n, at);
            assert_int_equal(count, query_bits_count(got[0], n));
            for (size_t i = 0; i < count; i++)
                assert_true(at[i] < n && parquet_bit(got[0], at[i]));
        }
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, with_arena, without_arena)
    const struct CMUnitTest tests[] = {
        T(conditions),      T(skipping), T(window),   T(grouping),   T(keys_in_order),
        T(either),          T(merging),  T(ordering), T(first_ones), T(stopping),
        T(wrong_questions), T(damaged),  T(kernels),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
