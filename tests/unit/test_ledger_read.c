/* Reading the ledger: folding, order, ranges, several archives, and files that are not what they should be. */
#include "unit.h"

#include "archive_dir.h"
#include "ledger_rows.h"

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
        cmocka_unit_test(missing_flows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
