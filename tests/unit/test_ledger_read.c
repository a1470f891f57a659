/* Reading the ledger: folding, order, ranges, several archives, and files that are not what they should be. */
#include "unit.h"

#include "archive_dir.h"
#include "ledger_rows.h"

#include "base/hash.h"
#include "ledger/account.h"
#include "ledger/checkpoint.h"
#include "parquet/writer.h"

#include <errno.h>
#include <math.h>

#define ADD(b, ...) assert_true(ledger_add(b, __VA_ARGS__, LEDGER_END))

enum { MAX_SEEN = 4096 };

struct seen {
    struct ledger_row rows[MAX_SEEN];
    size_t n, most; /* most: to end after, 0 never */
};

static struct seen seen;

static bool see(void *user, const struct ledger_row *row)
{
    struct seen *s = user;
    assert_true(s->n < MAX_SEEN);
    s->rows[s->n++] = *row;
    return s->n != s->most;
}

static const struct ledger_range all = {.from_us = INT64_MIN, .to_us = INT64_MAX};

static int64_t minute(int i)
{
    return LEDGER_START + i * LEDGER_MINUTE;
}

static weir_status read_dir(const char *dir, const struct ledger_range *range, weir_err *err)
{
    seen.n = 0;
    return ledger_each(&dir, 1, range, see, &seen, err);
}

static void store(struct fixture *f, const flow_batch *b, int at)
{
    weir_err err = {0};
    UNIT_CHECK(archive_writer_store(f->w, b, minute(at) * 1000, &err) == WEIR_OK, "store: %s",
               err.msg);
}

/* ---- folding ---- */

static void folds(void **state)
{
    (void)state;
    flow_batch *b = flow_batch_new(FLOW_TABLE_LEDGER);
    weir_err err = {0};
    assert_non_null(b);
    ADD(b, 1, 1, "192.0.2.9", 0, 5, LEDGER(packets, 1));
    ADD(b, 0, 0, "192.0.2.1", 7, 9, LEDGER(packets, 5), LEDGER(waiting, 3), LEDGER(first, 200),
        LEDGER(last, 300), LEDGER(templates, 4), LEDGER(clock_skew_min, -5),
        LEDGER(clock_skew_max, 9), LEDGER(sampling_rate, 100), LEDGER(sequence_lost, 3));
    ADD(b, 0, 0, NULL, -1, -1, LEDGER(listened, 60000000));
    ADD(b, 0, 1, NULL, -1, -1, LEDGER(listened, 59000000));
    ADD(b, 0, 1, "192.0.2.1", 7, 9, LEDGER(packets, 6), LEDGER(waiting, -4), LEDGER(first, 100),
        LEDGER(last, 250), LEDGER(templates, 2), LEDGER(clock_skew_min, 1),
        LEDGER(clock_skew_max, 2), LEDGER(sequence_lost, -2));
    ADD(b, 0, 1, "192.0.2.1", 7, 10, LEDGER(packets, 1));
    ADD(b, 0, 1, "192.0.2.1", 8, 9, LEDGER(packets, 1));
    ADD(b, 0, 1, "192.0.2.1", -1, -1, LEDGER(packets_dropped, 1));
    ADD(b, 0, 1, "2001:db8::1", 1, 9, LEDGER(packets, 1));
    uint32_t row = flow_batch_add_rows(b, 1); /* without a minute: nobody's */
    assert_int_not_equal(row, UINT32_MAX);
    assert_true(flow_batch_set_key(b, FLOW_LEDGER_sampling_source, 4, "options", 7));
    assert_true(flow_batch_set_key(b, FLOW_LEDGER_sampling_source, 5, "hearsay", 7));

    seen = (struct seen){0};
    assert_int_equal(ledger_each_of_batch(b, &all, see, &seen, &err), WEIR_OK);
    static const struct {
        const char *exporter;
        int minute, domain, version;
    } want[] = {{NULL, 0, -1, 0},        {"192.0.2.1", 0, -1, 0}, {"192.0.2.1", 0, 7, 9},
                {"192.0.2.1", 0, 7, 10}, {"192.0.2.1", 0, 8, 9},  {"2001:db8::1", 0, 1, 9},
                {"192.0.2.9", 1, 0, 5}};
    assert_int_equal(seen.n, UNIT_N(want));
    for (size_t i = 0; i < UNIT_N(want); i++) {
        const struct ledger_row *r = &seen.rows[i];
        char text[64] = "";
        if (r->exporter_len)
            assert_non_null(inet_ntop(r->exporter_len == 4 ? AF_INET : AF_INET6, r->exporter, text,
                                      sizeof text));
        UNIT_CHECK(strcmp(text, want[i].exporter ? want[i].exporter : "") == 0 &&
                       r->minute_us == minute(want[i].minute) &&
                       r->has_domain == (want[i].domain >= 0) && r->version == want[i].version,
                   "row %zu: %s domain %u version %u", i, text, r->domain, r->version);
    }
    assert_int_equal(ledger_count(&seen.rows[0], FLOW_LEDGER_listened), 119000000);
    const struct ledger_row *r = &seen.rows[2];
    assert_int_equal(ledger_count(r, FLOW_LEDGER_packets), 11);
    assert_int_equal(ledger_signed(r, FLOW_LEDGER_waiting), -1);
    assert_int_equal(ledger_signed(r, FLOW_LEDGER_sequence_lost), 1);
    assert_int_equal(r->values[FLOW_LEDGER_first].s64, 100);
    assert_int_equal(r->values[FLOW_LEDGER_last].s64, 300);
    assert_int_equal(ledger_count(r, FLOW_LEDGER_templates), 2);
    assert_int_equal(r->values[FLOW_LEDGER_clock_skew_min].s64, -5);
    assert_int_equal(r->values[FLOW_LEDGER_clock_skew_max].s64, 9);
    assert_true(r->values[FLOW_LEDGER_sampling_rate].f64 > 99);
    assert_string_equal(r->values[FLOW_LEDGER_sampling_source].text, "options");
    assert_string_equal(seen.rows[3].values[FLOW_LEDGER_sampling_source].text, "unknown");
    assert_false(ledger_has(r, FLOW_LEDGER_uptime));
    assert_int_equal(ledger_count(r, FLOW_LEDGER_uptime), 0);

    struct ledger_range workers = all;
    workers.by_worker = true;
    seen.n = 0;
    assert_int_equal(ledger_each_of_batch(b, &workers, see, &seen, &err), WEIR_OK);
    assert_int_equal(seen.n, UNIT_N(want) + 2);
    struct ledger_row sum = seen.rows[3];
    assert_int_equal(sum.worker, 0);
    ledger_fold(&sum, &seen.rows[4]);
    assert_int_equal(ledger_count(&sum, FLOW_LEDGER_packets), 11);
    assert_int_equal(ledger_count(&sum, FLOW_LEDGER_templates), 2);

    seen.n = 0;
    seen.most = 2;
    assert_int_equal(ledger_each_of_batch(b, &all, see, &seen, &err), WEIR_OK);
    assert_int_equal(seen.n, 2);
    seen.most = 0;

    uint64_t columns[LEDGER_WORDS] = {0};
    columns[FLOW_LEDGER_packets / 64] |= UINT64_C(1) << FLOW_LEDGER_packets % 64;
    struct ledger_range few = {INT64_MIN, INT64_MAX, .columns = columns};
    seen.n = 0;
    assert_int_equal(ledger_each_of_batch(b, &few, see, &seen, &err), WEIR_OK);
    assert_int_equal(ledger_count(&seen.rows[2], FLOW_LEDGER_packets), 11);
    assert_false(ledger_has(&seen.rows[2], FLOW_LEDGER_templates));
    flow_batch_free(b);

    flow_batch *other = flow_batch_new(FLOW_TABLE_FLOWS);
    assert_int_equal(ledger_each_of_batch(other, &all, see, &seen, &err), WEIR_EINVAL);
    flow_batch_free(other);
}

static void sums_do_not_wrap(void **state)
{
    (void)state;
    flow_batch *b = flow_batch_new(FLOW_TABLE_LEDGER);
    weir_err err = {0};
    for (int i = 0; i < 3; i++)
        ADD(b, 0, 0, "192.0.2.1", 1, 9, LEDGER(packets, INT64_MAX),
            LEDGER(sequence_lost, i == 2 ? 5 : INT64_MIN));
    seen = (struct seen){0};
    assert_int_equal(ledger_each_of_batch(b, &all, see, &seen, &err), WEIR_OK);
    assert_int_equal(seen.n, 1);
    assert_true(ledger_count(&seen.rows[0], FLOW_LEDGER_packets) == UINT64_MAX);
    assert_true(ledger_signed(&seen.rows[0], FLOW_LEDGER_sequence_lost) == INT64_MIN + 5);
    flow_batch_free(b);
}

/* More than there is room for comes in pieces: sums stay right. */
static void pieces(void **state)
{
    (void)state;
    flow_batch *b = flow_batch_new(FLOW_TABLE_LEDGER);
    weir_err err = {0};
    for (int i = 0; i < 900; i++)
        ADD(b, i % 100, 0, "192.0.2.1", 1, 9, LEDGER(packets, i));
    struct ledger_range range = all;
    for (size_t octets = 1; octets < 1 << 20; octets = octets * 3 + 1) {
        uint64_t sum = 0;
        range.max_octets = octets;
        seen = (struct seen){0};
        assert_int_equal(ledger_each_of_batch(b, &range, see, &seen, &err), WEIR_OK);
        for (size_t i = 0; i < seen.n; i++)
            sum += ledger_count(&seen.rows[i], FLOW_LEDGER_packets);
        assert_int_equal(sum, 900 * 899 / 2);
        assert_int_equal(seen.n, octets < 10000 ? 900 : seen.n);
        assert_true(seen.n >= 100 && seen.n <= 900);
    }
    assert_int_equal(seen.n, 100); /* there was room for all */
    flow_batch_free(b);
}

/* ---- archives ---- */

static void an_archive(void **state)
{
    struct fixture *f = *state;
    weir_err err = {0};
    fixture_open(f);
    flow_batch *b = flow_batch_new(FLOW_TABLE_LEDGER);
    for (int m = 0; m < 180; m++) {
        flow_batch_reset(b);
        ADD(b, m, 0, NULL, -1, -1, LEDGER(listened, 60000000));
        for (int e = 0; e < 5; e++) {
            char addr[16];
            (void)snprintf(addr, sizeof addr, "192.0.2.%d", e);
            ADD(b, m, 0, addr, e, 9, LEDGER(packets, m), LEDGER(flows, 22 * m));
            ADD(b, m, 1, addr, e, 9, LEDGER(packets, 1));
        }
        store(f, b, m);
    }
    for (int when = 0; when < 2; when++) { /* while it is written; closed */
        weir_status st = read_dir(f->dir, &all, &err);
        UNIT_CHECK(st == WEIR_OK, "%s", err.msg);
        assert_int_equal(seen.n, 180 * 6);
        for (size_t i = 0; i < seen.n; i++) {
            int m = (int)(i / 6);
            assert_int_equal(seen.rows[i].minute_us, minute(m));
            if (i % 6) {
                assert_int_equal(seen.rows[i].exporter[3], i % 6 - 1);
                assert_int_equal(ledger_count(&seen.rows[i], FLOW_LEDGER_packets), m + 1);
            }
        }
        struct ledger_range some = {minute(59), minute(61) + 5, false, NULL, 0};
        assert_int_equal(read_dir(f->dir, &some, &err), WEIR_OK);
        assert_int_equal(seen.n, 3 * 6);
        some = (struct ledger_range){minute(59) + 59999999, minute(60) - 1, false, NULL, 0};
        assert_int_equal(read_dir(f->dir, &some, &err), WEIR_OK);
        assert_int_equal(seen.n, 6);
        some = (struct ledger_range){minute(1000), minute(2000), false, NULL, 0};
        assert_int_equal(read_dir(f->dir, &some, &err), WEIR_OK);
        assert_int_equal(seen.n, 0);
        const char *const twice[] = {f->dir, f->dir, "/nonexistent"};
        seen.n = 0;
        assert_int_equal(ledger_each(twice, 3, &all, see, &seen, &err), WEIR_OK);
        assert_int_equal(seen.n, 2 * 180 * 6);
        if (!when)
            fixture_close(f);
    }
    assert_true(ledger_is_there(f->dir));
    char flows[128];
    (void)snprintf(flows, sizeof flows, "%s/ledger", f->dir);
    assert_false(ledger_is_there(flows));
    assert_int_equal(read_dir(flows, &all, &err), WEIR_OK);
    assert_int_equal(seen.n, 0);
    flow_batch_free(b);
}

/* ---- files that are not what they should be ---- */

static weir_status to_file(void *user, const void *data, size_t len, weir_err *err)
{
    return fwrite(data, 1, len, user) == len ? WEIR_OK : weir_err_set(err, WEIR_EIO, 0, "write");
}

struct odd {
    const char *name;
    uint8_t type, logical;
    const void *values; /* two of them */
    uint8_t width;
    bool is_unsigned, list;
};

static const int64_t minutes[2] = {LEDGER_START, LEDGER_START + LEDGER_MINUTE};
static const int64_t far_minutes[2] = {INT64_MAX, INT64_MIN};
static const uint64_t large[2] = {UINT64_MAX, 70000};
static const int64_t negative[2] = {-1, 4};
static const double reals[2] = {1.5, 0};
static const struct parquet_bytes addresses[2] = {{(const uint8_t *)"192.0.2.1", 9},
                                                  {(const uint8_t *)"2001:db8::1", 11}};
static const struct parquet_bytes words[2] = {{(const uint8_t *)"router", 6},
                                              {(const uint8_t *)"", 0}};
static const uint32_t starts[3] = {0, 1, 2};

#define MINUTES                                                                                    \
    {                                                                                              \
        "minute", PARQUET_INT64, PARQUET_L_TIMESTAMP_US, minutes, 8, false, false                  \
    }
#define ADDRESSES                                                                                  \
    {                                                                                              \
        "exporter", PARQUET_BYTE_ARRAY, PARQUET_L_STRING, addresses, 0, false, false               \
    }

static void write_odd(const char *path, const struct odd *columns, size_t n)
{
    struct parquet_column schema[8];
    struct parquet_data data[8];
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    for (size_t i = 0; i < n; i++) {
        schema[i] = (struct parquet_column){.name = columns[i].name,
                                            .type = columns[i].type,
                                            .logical = columns[i].logical,
                                            .optional = true,
                                            .list = columns[i].list,
                                            .unsigned_order = columns[i].is_unsigned};
        data[i] = (struct parquet_data){.n = 2,
                                        .values = columns[i].values,
                                        .width = columns[i].width,
                                        .starts = columns[i].list ? starts : NULL};
    }
    struct parquet_writer_options o = {
        .sink = to_file, .user = f, .codec = PARQUET_NONE, .sorted_by = -1};
    struct parquet_schema s = {schema, n};
    parquet_writer *w = NULL;
    weir_err err = {0};
    weir_status st = parquet_writer_new(&o, &s, &w, &err);
    if (st == WEIR_OK)
        st = parquet_writer_group(w, data, 2, &err);
    if (st == WEIR_OK)
        st = parquet_writer_finish(w, NULL, 0, &err);
    UNIT_CHECK(st == WEIR_OK, "%s", err.msg);
    parquet_writer_free(w);
    assert_int_equal(fclose(f), 0);
}

static void make_dirs(const char *dir, char *file, size_t size)
{
    static const char *const below[] = {"", "/ledger", "/ledger/date=2026-11-22",
                                        "/ledger/date=2026-11-22/hour=21"};
    for (size_t i = 0; i < UNIT_N(below); i++) {
        (void)snprintf(file, size, "%s%s", dir, below[i]);
        assert_true(mkdir(file, 0700) == 0 || errno == EEXIST);
    }
    (void)snprintf(file, size, "%s/flows", dir);
    assert_true(mkdir(file, 0700) == 0 || errno == EEXIST);
    (void)snprintf(file, size, "%s%s/20261122T210000Z-w0-000001.pq", dir, below[3]);
}

static void odd_files(void **state)
{
    struct fixture *f = *state;
    char path[256];
    weir_err err = {0};
    static const struct {
        const char *what;
        struct odd columns[4];
        size_t n_rows;
        weir_status want;
    } cases[] = {
        {"minutes alone", {MINUTES}, 1, WEIR_OK}, /* the collector's row of each minute */
        {"no minutes", {ADDRESSES}, 0, WEIR_EFORMAT},
        {"minutes are numbers",
         {{"minute", PARQUET_INT64, PARQUET_L_UINT64, minutes, 8, true, false}},
         0,
         WEIR_EFORMAT},
        {"minutes are milliseconds",
         {{"minute", PARQUET_INT64, PARQUET_L_TIMESTAMP_MS, minutes, 8, false, false}},
         0,
         WEIR_EFORMAT},
        {"minutes are a list",
         {{"minute", PARQUET_INT64, PARQUET_L_TIMESTAMP_US, minutes, 8, false, true}},
         0,
         WEIR_EFORMAT},
        {"minutes of nobody's time",
         {{"minute", PARQUET_INT64, PARQUET_L_TIMESTAMP_US, far_minutes, 8, false, false},
          ADDRESSES},
         0,
         WEIR_OK},
        {"exporters are words",
         {MINUTES, {"exporter", PARQUET_BYTE_ARRAY, PARQUET_L_STRING, words, 0, false, false}},
         0,
         WEIR_EFORMAT},
        {"exporters are numbers",
         {MINUTES, {"exporter", PARQUET_INT64, PARQUET_L_UINT64, large, 8, true, false}},
         0,
         WEIR_EFORMAT},
        {"counts are words",
         {MINUTES,
          ADDRESSES,
          {"packets", PARQUET_BYTE_ARRAY, PARQUET_L_STRING, words, 0, false, false}},
         0,
         WEIR_EFORMAT},
        {"counts are a list",
         {MINUTES, ADDRESSES, {"packets", PARQUET_INT64, PARQUET_L_UINT64, large, 8, true, true}},
         0,
         WEIR_EFORMAT},
        {"counts below 0 are null",
         {MINUTES,
          ADDRESSES,
          {"packets", PARQUET_INT64, PARQUET_L_INT64, negative, 8, false, false}},
         2,
         WEIR_OK},
        {"ports too large are null",
         {MINUTES,
          ADDRESSES,
          {"exporter_port", PARQUET_INT64, PARQUET_L_UINT64, large, 8, true, false},
          {"protocol_version", PARQUET_INT64, PARQUET_L_UINT64, large, 8, true, false}},
         2,
         WEIR_OK},
        {"rates are whole numbers",
         {MINUTES,
          ADDRESSES,
          {"sampling_rate", PARQUET_INT64, PARQUET_L_INT64, negative, 8, false, false}},
         0,
         WEIR_EFORMAT},
        {"rates",
         {MINUTES,
          ADDRESSES,
          {"sampling_rate", PARQUET_DOUBLE, PARQUET_L_NONE, reals, 8, false, false}},
         2,
         WEIR_OK},
    };
    make_dirs(f->dir, path, sizeof path);
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        size_t n = 0;
        while (n < 4 && cases[i].columns[n].name)
            n++;
        write_odd(path, cases[i].columns, n);
        weir_status st = read_dir(f->dir, &all, &err);
        size_t n_rows = i == 0 ? 2 : cases[i].n_rows;
        UNIT_CHECK(st == cases[i].want && seen.n == n_rows, "%s: %zu rows, status %d %s",
                   cases[i].what, seen.n, st, err.msg);
        if (st != WEIR_OK)
            UNIT_CHECK(strstr(err.msg, "000001.pq"), "%s: %s", cases[i].what, err.msg);
        for (size_t k = 0; k < seen.n; k++)
            assert_true(seen.rows[k].exporter_port == 0 && seen.rows[k].version == 0);
    }
    /* A file that is none, beside a good one: the good one's rows come. */
    static const struct odd good[] = {MINUTES, ADDRESSES};
    char bad[sizeof path];
    write_odd(path, good, 2);
    (void)snprintf(bad, sizeof bad, "%s", path);
    memcpy(strstr(bad, "000001.pq"), "000000.pq", 9);
    FILE *none = fopen(bad, "wb");
    assert_non_null(none);
    assert_true(fputs("PAR1 and nothing of the kind PAR1", none) >= 0);
    assert_int_equal(fclose(none), 0);
    assert_int_equal(read_dir(f->dir, &all, &err), WEIR_EFORMAT);
    assert_non_null(strstr(err.msg, "000000.pq"));
    assert_int_equal(seen.n, 2);
}

/* Every octet of a good file changed, and the file cut anywhere: never more than wrong numbers. */
static void damaged_files(void **state)
{
    struct fixture *f = *state;
    char path[256];
    static uint8_t octets[1 << 16];
    weir_err err = {0};
    static const struct odd columns[] = {
        MINUTES,
        ADDRESSES,
        {"packets", PARQUET_INT64, PARQUET_L_UINT64, large, 8, true, false},
        {"sampling_source", PARQUET_BYTE_ARRAY, PARQUET_L_STRING, words, 0, false, false}};
    make_dirs(f->dir, path, sizeof path);
    write_odd(path, columns, 4);
    FILE *in = fopen(path, "rb");
    assert_non_null(in);
    size_t n = fread(octets, 1, sizeof octets, in);
    assert_true(n > 100 && n < sizeof octets);
    assert_int_equal(fclose(in), 0);
    for (size_t i = 0; i < 2 * n; i++) {
        size_t at = i / 2;
        FILE *out = fopen(path, "wb");
        assert_non_null(out);
        octets[at] ^= (uint8_t)(i % 2 ? 0xff : 1 << i % 7);
        assert_int_equal(fwrite(octets, 1, i % 16 ? n : at, out), i % 16 ? n : at);
        assert_int_equal(fclose(out), 0);
        weir_status st = read_dir(f->dir, &all, &err);
        assert_true(st == WEIR_OK || st == WEIR_EFORMAT || st == WEIR_EIO || st == WEIR_ENOMEM);
        assert_true(seen.n <= 2);
        octets[at] ^= (uint8_t)(i % 2 ? 0xff : 1 << i % 7);
    }
}

/* ---- checkpoints ---- */

/* One part of what a worker counted in a minute: `packets` of 192.0.2.<worker>, up to second `last`; last below 0: nobody says. */
static void part(flow_batch *b, int at, unsigned worker, int last, int packets)
{
    char addr[16];
    (void)snprintf(addr, sizeof addr, "192.0.2.%u", worker);
    ADD(b, at, worker, addr, 1, 9, LEDGER(packets, packets));
    if (last < 0)
        ADD(b, at, worker, NULL, -1, -1, LEDGER(listened, 1));
    else
        ADD(b, at, worker, NULL, -1, -1, LEDGER(listened, 1),
            LEDGER(last, minute(at) + last * INT64_C(1000000)));
}

/* These rows as octets of a saved account, and `beyond` for who goes on from them. */
static void account_of(const flow_batch *rows, const flow_batch *beyond, base_buf *out)
{
    base_buf saved = {0};
    base_buf_reset(out);
    flow_batch_save(rows, 0, &saved);
    base_buf_str(out, "WEIRACC2");
    base_buf_u64(out, saved.len);
    base_buf_add(out, saved.data, saved.len);
    flow_batch_save(beyond, 0, out);
    base_buf_u64(out, base_hash(out->data, out->len, 0));
    base_buf_done(&saved);
    assert_false(out->failed);
}

static void checkpoint_octets(const struct fixture *f, unsigned worker, const void *account,
                              size_t len)
{
    base_buf b = {0};
    weir_err err = {0};
    ledger_checkpoint *c;
    ledger_checkpoint_put(&(struct ledger_checkpoint_data){.account = account, .account_len = len},
                          &b);
    char *path = ledger_checkpoint_path(f->dir, worker);
    assert_non_null(path);
    UNIT_CHECK(ledger_checkpoint_open(path, &c, &err) == WEIR_OK, "%s", err.msg);
    assert_int_equal(ledger_checkpoint_write(c, (const uint8_t *)b.data, b.len), WEIR_OK);
    ledger_checkpoint_close(c);
    free(path);
    base_buf_done(&b);
}

static void checkpoint(const struct fixture *f, unsigned worker, const flow_batch *rows)
{
    flow_batch *none = flow_batch_new(FLOW_TABLE_LEDGER);
    base_buf account = {0};
    account_of(rows, none, &account);
    checkpoint_octets(f, worker, account.data, account.len);
    base_buf_done(&account);
    flow_batch_free(none);
}

/* Packets of a worker's exporter in a minute, as they are read; -1: no row. */
static int64_t packets_of(int at, unsigned worker)
{
    int64_t n = -1;
    for (size_t i = 0; i < seen.n; i++)
        if (seen.rows[i].minute_us == minute(at) && seen.rows[i].exporter_len &&
            seen.rows[i].exporter[3] == worker)
            n = (n < 0 ? 0 : n) + (int64_t)ledger_count(&seen.rows[i], FLOW_LEDGER_packets);
    return n;
}

static void read_all(const struct fixture *f, bool by_worker)
{
    uint64_t columns[LEDGER_WORDS] = {0}; /* `last` is not asked for */
    columns[FLOW_LEDGER_packets / 64] |= UINT64_C(1) << FLOW_LEDGER_packets % 64;
    struct ledger_range range = {INT64_MIN, INT64_MAX, by_worker, columns, 0};
    weir_err err = {0};
    weir_status st = read_dir(f->dir, &range, &err);
    UNIT_CHECK(st == WEIR_OK, "%s", err.msg);
}

/* Every state of the disk in the life of two workers, over a restart in the middle of a minute: each packet counts once. */
static void checkpoints(void **state)
{
    struct fixture *f = *state;
    flow_batch *b = flow_batch_new(FLOW_TABLE_LEDGER);
    assert_non_null(b);
    assert_false(ledger_is_there(f->dir));
    part(b, 0, 0, 20, 7);
    checkpoint(f, 0, b);
    assert_true(ledger_is_there(f->dir));
    for (int by_worker = 0; by_worker < 2; by_worker++) { /* no file at all yet */
        read_all(f, by_worker);
        assert_int_equal(seen.n, 2);
        assert_int_equal(packets_of(0, 0), 7);
    }
    fixture_open(f);
    flow_batch_reset(b);
    part(b, 0, 1, 31, 5); /* another worker has no say in it */
    store(f, b, 0);
    read_all(f, false);
    assert_int_equal(packets_of(0, 0), 7);
    assert_int_equal(packets_of(0, 1), 5);
    flow_batch_reset(b);
    part(b, 0, 0, 60, 9); /* what it has grown to is stored, the checkpoint is still the old one */
    store(f, b, 0);
    for (int by_worker = 0; by_worker < 2; by_worker++) {
        read_all(f, by_worker);
        assert_int_equal(packets_of(0, 0), 9);
    }
    flow_batch_reset(b);
    part(b, 1, 0, 3, 2); /* the next minute; killed here */
    checkpoint(f, 0, b);
    read_all(f, false);
    assert_int_equal(packets_of(0, 0), 9);
    assert_int_equal(packets_of(1, 0), 2);
    store(f, b,
          1); /* the next run: what the checkpoint had is stored, the checkpoint not yet written */
    read_all(f, false);
    assert_int_equal(packets_of(1, 0), 2);
    flow_batch_reset(b);
    part(b, 1, 0, 12,
         4); /* another part of the same minute, while the first one is in the archive */
    checkpoint(f, 0, b);
    for (int by_worker = 0; by_worker < 2; by_worker++) {
        read_all(f, by_worker);
        assert_int_equal(packets_of(1, 0), 6);
    }
    fixture_close(f); /* and with closed files */
    read_all(f, false);
    assert_int_equal(packets_of(1, 0), 6);
    fixture_open(f);
    flow_batch_reset(b);
    part(b, 1, 0, 60, 8);
    store(f, b, 1);
    read_all(f, false);
    assert_int_equal(packets_of(1, 0), 10);

    /* Fewer workers: the first one's checkpoint has the account of one whose own is still there. */
    flow_batch_reset(b);
    part(b, 2, 1, 5, 11);
    checkpoint(f, 1, b);
    part(b, 2, 0, 6, 12);
    checkpoint(f, 0, b);
    read_all(f, false);
    assert_int_equal(packets_of(2, 0), 12);
    assert_int_equal(packets_of(2, 1), 11);
    /* Several parts of which the first is stored; and one that nobody says the end of. */
    flow_batch_reset(b);
    part(b, 2, 0, 6, 12);
    store(f, b, 2);
    part(b, 2, 0, 7, 1);
    part(b, 3, 0, -1, 3);
    checkpoint(f, 0, b);
    read_all(f, false);
    assert_int_equal(packets_of(2, 0), 13);
    assert_int_equal(packets_of(2, 1), 11);
    assert_int_equal(packets_of(3, 0), 3);
    flow_batch_reset(b);
    part(b, 3, 0, -1, 3);
    store(f, b, 3);
    read_all(f, false);
    assert_int_equal(packets_of(3, 0), 3);

    struct ledger_range some = {minute(2), minute(2) + 1, false, NULL, 0};
    weir_err err = {0};
    assert_int_equal(read_dir(f->dir, &some, &err), WEIR_OK);
    assert_int_equal(packets_of(2, 0), 13);
    assert_int_equal(packets_of(1, 0), -1);
    assert_int_equal(packets_of(3, 0), -1);
    seen.most = 1;
    assert_int_equal(read_dir(f->dir, &all, &err), WEIR_OK);
    assert_int_equal(seen.n, 1);
    seen.most = 0;
    /* Whoever only reads does not see what is for who goes on. */
    flow_batch *beyond = flow_batch_new(FLOW_TABLE_LEDGER);
    base_buf account = {0};
    flow_batch_reset(b);
    part(b, 4, 0, 9, 1);
    part(beyond, 4, 0, 10, 100);
    account_of(b, beyond, &account);
    checkpoint_octets(f, 0, account.data, account.len);
    read_all(f, false);
    assert_int_equal(packets_of(4, 0), 1);
    base_buf_done(&account);
    flow_batch_free(beyond);
    flow_batch_free(b);
}

static void damage(const struct fixture *f, char which, off_t at, off_t len)
{
    char path[128];
    uint8_t octet;
    (void)snprintf(path, sizeof path, "%s/weir.checkpoint-w0.%c", f->dir, which);
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &octet, 1, at), 1);
    octet ^= 0x5a;
    assert_int_equal(pwrite(fd, &octet, 1, at), 1);
    if (len)
        assert_int_equal(ftruncate(fd, len), 0);
    (void)close(fd);
}

static void torn_checkpoints(void **state)
{
    struct fixture *f = *state;
    flow_batch *b = flow_batch_new(FLOW_TABLE_LEDGER);
    for (int i = 1; i < 3; i++) { /* 1 in .b, 2 in .a */
        flow_batch_reset(b);
        part(b, 0, 0, i, i);
        checkpoint(f, 0, b);
    }
    read_all(f, false);
    assert_int_equal(packets_of(0, 0), 2);
    damage(f, 'a', 50, 0);
    read_all(f, false);
    assert_int_equal(packets_of(0, 0), 1);
    damage(f, 'b', 60, 40);
    read_all(f, false);
    assert_int_equal(seen.n, 0);
    flow_batch_free(b);
}

static uint64_t u64_at(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

/* Whole ones that no collector writes: what cannot be is passed over, and nothing takes much memory or time. */
static void hostile_checkpoints(void **state)
{
    struct fixture *f = *state;
    flow_batch *b = flow_batch_new(FLOW_TABLE_LEDGER), *none = flow_batch_new(FLOW_TABLE_LEDGER);
    base_buf account = {0}, changed = {0};
    part(b, 0, 0, 1, 3);
    account_of(b, none, &account);
    /* Its octets changed anywhere, the checksums made right again. */
    uint64_t seed = 4711;
    for (int i = 0; i < 600; i++) {
        base_buf_reset(&changed);
        size_t len = i % 7 ? account.len : u64_at(&seed) % account.len;
        base_buf_add(&changed, account.data, len);
        for (uint64_t k = u64_at(&seed) % 4; k > 0 && len > 8; k--)
            changed.data[8 + u64_at(&seed) % (len - 8)] = (char)u64_at(&seed);
        if (len >= 8) {
            changed.len -= 8;
            base_buf_u64(&changed, base_hash(changed.data, changed.len, 0));
        }
        checkpoint_octets(f, 0, changed.data, changed.len);
        read_all(f, i % 2);
        assert_true(seen.n <= 3);
    }
    /* An account that is none; a batch of flows; lengths beyond the end. */
    static const char *const texts[] = {"", "WEIRACC2", "WEIRACC1 and more than that", "\xff"};
    for (size_t i = 0; i < UNIT_N(texts); i++) {
        checkpoint_octets(f, 0, texts[i], strlen(texts[i]));
        read_all(f, false);
        assert_int_equal(seen.n, 0);
    }
    flow_batch *flows = flow_batch_new(FLOW_TABLE_FLOWS);
    assert_int_not_equal(flow_batch_add_rows(flows, 3), UINT32_MAX);
    account_of(flows, none, &account);
    checkpoint_octets(f, 0, account.data, account.len);
    read_all(f, false);
    assert_int_equal(seen.n, 0);
    flow_batch_free(flows);
    char *path = ledger_checkpoint_path(f->dir, 0);
    ledger_checkpoint *c;
    static const uint8_t lengths[16] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    assert_int_equal(ledger_checkpoint_open(path, &c, NULL), WEIR_OK);
    for (size_t len = 0; len <= sizeof lengths; len++) {
        assert_int_equal(ledger_checkpoint_write(c, lengths, len), WEIR_OK);
        read_all(f, false);
        assert_int_equal(seen.n, 0);
    }
    ledger_checkpoint_close(c);
    /* Few octets that stand for very many rows. */
    uint32_t n = (1 << 20) + 1;
    flow_batch_reset(b);
    assert_int_equal(flow_batch_add_rows(b, n), 0);
    assert_non_null(flow_batch_values(b, FLOW_LEDGER_packets, 0, n));
    assert_non_null(flow_batch_values(b, FLOW_LEDGER_minute, 0, n));
    account_of(b, none, &account);
    assert_true(account.len < 1 << 16);
    checkpoint_octets(f, 0, account.data, account.len);
    read_all(f, false);
    assert_int_equal(seen.n, 0);
    weir_err err = {0};
    const uint8_t *octets = (const uint8_t *)account.data;
    flow_batch *few = flow_batch_new(FLOW_TABLE_LEDGER);
    assert_int_equal(ledger_account_parse(octets, account.len, true, 8 << 20, few, &err),
                     WEIR_EFORMAT);
    assert_int_equal(flow_batch_rows(few), 0);
    assert_true(flow_batch_memory(few) < 1 << 20);
    assert_int_equal(ledger_account_parse(octets, account.len, true, 32 << 20, few, &err), WEIR_OK);
    assert_int_equal(flow_batch_rows(few), n);
    flow_batch_free(few);
    /* Nor is anything waited for. */
    ledger_checkpoint_remove(path);
    char fifo[128];
    (void)snprintf(fifo, sizeof fifo, "%s.a", path);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    read_all(f, false);
    assert_int_equal(seen.n, 0);
    free(path);
    base_buf_done(&account);
    base_buf_done(&changed);
    flow_batch_free(b);
    flow_batch_free(none);
}

static void missing_flows(void **state)
{
    (void)state;
    struct ledger_row r = {.version = 9};
    bool estimated = false;
    r.has[FLOW_LEDGER_sequence_lost / 64] |= UINT64_C(1) << FLOW_LEDGER_sequence_lost % 64;
    r.values[FLOW_LEDGER_sequence_lost].s64 = 4;
    assert_true(ledger_flows_missing(&r, &estimated) > 3.99); /* no average: a flow a packet */
    assert_true(estimated);
    r.has[FLOW_LEDGER_flows / 64] |= UINT64_C(1) << FLOW_LEDGER_flows % 64;
    r.has[FLOW_LEDGER_decoded / 64] |= UINT64_C(1) << FLOW_LEDGER_decoded % 64;
    r.values[FLOW_LEDGER_flows].u64 = 55;
    r.values[FLOW_LEDGER_decoded].u64 = 10;
    assert_true(fabs(ledger_flows_missing(&r, &estimated) - 22) < 1e-9);
    r.values[FLOW_LEDGER_sequence_lost].s64 = -2;
    assert_true(fabs(ledger_flows_missing(&r, &estimated) + 11) < 1e-9);
    estimated = false;
    r.version = 5;
    assert_true(fabs(ledger_flows_missing(&r, &estimated) + 2) < 1e-9);
    assert_false(estimated);
    /* Exporters that count something else. */
    r.has[FLOW_LEDGER_sequence_unit / 64] |= UINT64_C(1) << FLOW_LEDGER_sequence_unit % 64;
    r.values[FLOW_LEDGER_sequence_unit].text = "packets";
    assert_string_equal(ledger_sequence_unit(&r), "packets");
    assert_true(fabs(ledger_flows_missing(&r, &estimated) + 11) < 1e-9);
    assert_true(estimated);
    estimated = false;
    r.version = 9;
    r.values[FLOW_LEDGER_sequence_unit].text = "flows";
    assert_true(fabs(ledger_flows_missing(&r, &estimated) + 2) < 1e-9);
    assert_false(estimated);
    r.values[FLOW_LEDGER_sequence_unit].text = "records";
    r.has[FLOW_LEDGER_options / 64] |= UINT64_C(1) << FLOW_LEDGER_options % 64;
    r.values[FLOW_LEDGER_options].u64 = 55;
    assert_true(fabs(ledger_flows_missing(&r, &estimated) + 1) < 1e-9);
    assert_true(estimated);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(folds),
        cmocka_unit_test(sums_do_not_wrap),
        cmocka_unit_test(pieces),
        cmocka_unit_test_setup_teardown(an_archive, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(odd_files, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(damaged_files, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(checkpoints, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(torn_checkpoints, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(hostile_checkpoints, fixture_set_up, fixture_tear_down),
        cmocka_unit_test(missing_flows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
