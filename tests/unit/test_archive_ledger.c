/* The ledger in an archive: a table beside the flows that queries of flows do not meet, small, merged and removed with them. */
#include "archive_dir.h"

#include <xxhash.h>

#define MINUTE (60 * SECOND)
#define HOUR (3600 * SECOND)

/* Rows for one minute: of exporters n_from to n_to - 1, backwards; every third without a domain. */
static flow_batch *minute_of(int64_t minute_ns, unsigned worker, unsigned n_from, unsigned n_to)
{
    flow_batch *b = flow_batch_new(FLOW_TABLE_LEDGER);
    assert_non_null(b);
    for (unsigned e = n_to; e-- > n_from;) {
        uint8_t exporter[4] = {192, 0, 2, (uint8_t)e};
        uint32_t row = flow_batch_add_rows(b, 1);
        assert_true(flow_batch_set_u64(b, FLOW_LEDGER_minute, row, (uint64_t)(minute_ns / 1000)));
        assert_true(flow_batch_set_u64(b, FLOW_LEDGER_worker, row, worker));
        assert_true(flow_batch_set_key(b, FLOW_LEDGER_exporter, row, exporter, 4));
        if (e % 3)
            assert_true(flow_batch_set_u64(b, FLOW_LEDGER_domain, row, 4000000000U + e));
        assert_true(flow_batch_set_u64(b, FLOW_LEDGER_packets, row, e * 100 + 1));
    }
    return b;
}

static void put(archive_writer *w, flow_batch *b, int64_t ns)
{
    weir_err err = {0};
    UNIT_CHECK(archive_writer_store(w, b, ns, &err) == WEIR_OK, "%s", err.msg);
    flow_batch_free(b);
}

/* Stored as a minute is over. */
static void put_minute(archive_writer *w, int64_t minute_ns, unsigned n)
{
    put(w, minute_of(minute_ns, 0, 0, n), minute_ns + MINUTE + SECOND);
}

static uint64_t rows_of(const char *path, enum flow_table table, int64_t from, int64_t to)
{
    weir_err err = {0};
    archive_scan *s = NULL;
    struct archive_part *parts = NULL;
    size_t n = 0;
    uint64_t rows = 0;
    weir_status st = archive_scan_open(path, table, NULL, NULL, &s, &err);
    if (st == WEIR_ENOTFOUND)
        return 0;
    UNIT_CHECK(st == WEIR_OK, "%s: %s", path, err.msg);
    archive_scan_limit(s, from, to);
    while ((st = archive_scan_next(s, &parts, &n, &err)) == WEIR_OK) {
        for (size_t i = 0; i < n; i++)
            rows += parquet_n_rows(parts[i].file);
        archive_scan_release(s, parts, n);
    }
    UNIT_CHECK(st == WEIR_END, "%s: %s", path, err.msg);
    archive_scan_close(s);
    return rows;
}

static uint64_t ledger_rows(const char *path)
{
    return rows_of(path, FLOW_TABLE_LEDGER, INT64_MIN, INT64_MAX);
}

static parquet_file *open_file(const char *path)
{
    weir_err err = {0};
    parquet_file *p = NULL;
    UNIT_CHECK(parquet_open(open(path, O_RDONLY), path, &p, &err) == WEIR_OK, "%s", err.msg);
    return p;
}

static void compact(const char *dir)
{
    weir_err err = {0};
    struct archive_compact_options o = {.dir = dir, .older_than_ns = ROWS_START + 1000 * HOUR};
    UNIT_CHECK(archive_compact(&o, NULL, &err) == WEIR_OK, "%s", err.msg);
}

struct listed {
    uint64_t files[FLOW_N_TABLES], rows[FLOW_N_TABLES];
    int64_t min_us, max_us; /* of the ledger */
};

static bool list_file(void *user, const struct archive_file_info *info)
{
    struct listed *l = user;
    l->files[info->table]++;
    l->rows[info->table] += info->rows;
    if (info->table == FLOW_TABLE_LEDGER) {
        assert_true(info->has_received);
        l->min_us = info->received_min_us;
        l->max_us = info->received_max_us;
    }
    return true;
}

static void list_bad(void *user, const weir_err *err)
{
    (void)user;
    fail_msg("%s", err->msg);
}

/* SQL may name any column of the table: those that are null in all rows are there too. */
static void all_columns(const parquet_file *p)
{
    const struct parquet_schema *schema = parquet_schema_of(p);
    assert_int_equal(schema->n, FLOW_N_LEDGER_COLUMNS);
    for (size_t i = 0; i < schema->n; i++)
        assert_string_equal(schema->columns[i].name, flow_ledger_columns()[i].name);
}

static void the_ledger_has_a_table(void **state)
{
    struct fixture *f = *state;
    char path[512], at[128];
    weir_err err = {0};
    fixture_open(f);
    fixture_store(f, 0, 10, ROWS_START, NULL);
    for (int m = 0; m < 59; m++) {
        put_minute(f->w, ROWS_START + m * MINUTE, 2);
        assert_int_equal(archive_writer_tick(f->w, ROWS_START + (m + 1) * MINUTE, &err), WEIR_OK);
    }
    assert_int_equal(archive_writer_counters(f->w)->ledger_rows, 118);
    assert_int_equal(archive_writer_counters(f->w)->rows, 10);
    assert_int_equal(fixture_count(f, ".part"),
                     1); /* flows of 21:00 are closed, the ledger goes on */
    /* Whoever reads flows meets none of it: in the archive, above and within it. */
    for (int closed = 0; closed <= 1; closed++) {
        fixture_expect(f->dir, 10, NULL, "flows beside the ledger");
        assert_int_equal(ledger_rows(f->dir), 118);
        assert_int_equal(rows_of(f->dir, FLOW_TABLE_OPTIONS, INT64_MIN, INT64_MAX), 0);
        (void)snprintf(at, sizeof at, "%s/ledger", f->dir);
        assert_int_equal(rows_of(at, FLOW_TABLE_FLOWS, INT64_MIN, INT64_MAX), 0);
        char above[128];
        (void)snprintf(above, sizeof above, "%s-above", f->dir);
        assert_int_equal(mkdir(above, 0700), 0);
        (void)snprintf(path, sizeof path, "%s/archive", above);
        assert_int_equal(rename(f->dir, path), 0);
        assert_int_equal(rows_of(above, FLOW_TABLE_FLOWS, INT64_MIN, INT64_MAX), 10);
        assert_int_equal(rename(path, f->dir), 0);
        assert_int_equal(rmdir(above), 0);
        struct listed l = {0};
        assert_int_equal(archive_list(f->dir, list_file, list_bad, &l, &err), WEIR_OK);
        assert_int_equal(l.rows[FLOW_TABLE_FLOWS], 10);
        assert_int_equal(l.files[FLOW_TABLE_LEDGER], 1);
        assert_int_equal(l.rows[FLOW_TABLE_LEDGER], 118);
        assert_int_equal(l.min_us, ROWS_START / 1000);
        assert_int_equal(l.max_us, (ROWS_START + 58 * MINUTE) / 1000);
        if (!closed)
            fixture_close(f);
    }
    assert_int_equal(fixture_verify(f->dir), 0);
    assert_int_equal(fixture_count(f, ".parquet"), 1);
    assert_int_equal(fixture_find(f->dir, ".pq", path, sizeof path), 1);
    assert_non_null(strstr(path, "/ledger/date=2026-11-22/hour=21/20261122T210000Z-w0-000002.pq"));
    parquet_file *p = open_file(path);
    assert_string_equal(parquet_key_value_find(p, "weir.table"), "ledger");
    assert_string_equal(parquet_key_value_find(p, "weir.slot"), "2026-11-22T21:00:00.000000Z");
    assert_string_equal(parquet_key_value_find(p, "weir.slot_length"), "3600");
    all_columns(p);
    parquet_close(p);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_in_range(st.st_size, 100, 16384);
}

/* Rows with values in ever other columns survive a crash at any moment. */
static void any_column_survives(void **state)
{
    struct fixture *f = *state;
    char copy[80], path[512];
    weir_err err = {0};
    (void)snprintf(copy, sizeof copy, "%s-copy", f->dir);
    f->o.direct_rows = 50; /* so that a row group is among them */
    f->o.group_rows = 100;
    fixture_open(f);
    for (int m = 0; m < 30; m++) {
        flow_batch *b = minute_of(ROWS_START + m * MINUTE, 0, 0, 3);
        uint32_t column = (uint32_t)(FLOW_LEDGER_records + m / 3);
        assert_true(flow_batch_set_u64(b, column, 0, 7));
        put(f->w, b, ROWS_START + m * MINUTE);
        assert_int_equal(ledger_rows(f->dir), 3 * (m + 1));
        fixture_copy(f, copy);
        assert_int_equal(ledger_rows(copy), 3 * (m + 1));
        UNIT_CHECK(archive_repair(copy, false, NULL, NULL, &err) == WEIR_OK, "%s", err.msg);
        assert_int_equal(ledger_rows(copy), 3 * (m + 1));
        assert_int_equal(fixture_verify(copy), 0);
        assert_int_equal(fixture_find(copy, ".pq", path, sizeof path), 1);
        parquet_file *p = open_file(path);
        all_columns(p);
        assert_int_equal(parquet_n_groups(p) > 1, m > 16);
        parquet_close(p);
    }
    (void)nftw(copy, fixture_remove, 16, FTW_DEPTH | FTW_PHYS);
}

static void no_other_table_is_taken(void **state)
{
    struct fixture *f = *state;
    char path[512];
    weir_err err = {0};
    fixture_open(f);
    put_minute(f->w, ROWS_START, 2);
    assert_int_equal(fixture_find(f->dir, ".journal", path, sizeof path), 1);
    uint8_t head[64], good[64];
    int fd = open(path, O_RDWR);
    assert_int_equal(pread(fd, good, 64, 0), 64);
    assert_int_equal(good[10], FLOW_TABLE_LEDGER);
    static const uint8_t tables[] = {FLOW_N_TABLES, 128, 255, FLOW_TABLE_FLOWS};
    for (size_t i = 0; i < UNIT_N(tables); i++) { /* the last: a table, but not of this directory */
        memcpy(head, good, sizeof head);
        head[10] = tables[i];
        uint64_t sum = __builtin_bswap64(XXH64(head, 56, 0));
        memcpy(head + 56, &sum, 8);
        assert_int_equal(pwrite(fd, head, 64, 0), 64);
        assert_int_equal(fixture_verify(f->dir), 1);
        archive_scan *s = NULL;
        struct archive_part *parts = NULL;
        size_t n = 0;
        assert_int_equal(archive_scan_open(f->dir, FLOW_TABLE_LEDGER, NULL, NULL, &s, &err),
                         WEIR_OK);
        while ((n = 0, archive_scan_next(s, &parts, &n, &err) == WEIR_OK) && n == 0)
            archive_scan_release(s, parts, n);
        assert_int_equal(n, 0);
        assert_int_equal(err.code, WEIR_EFORMAT);
        archive_scan_close(s);
    }
    assert_int_equal(pwrite(fd, good, 64, 0), 64);
    (void)close(fd);
    assert_int_equal(fixture_verify(f->dir), 0);
    fixture_close(f);
    assert_int_equal(ledger_rows(f->dir), 2);
}

/* All of an hour, of two workers and out of order, becomes one file: by minute, exporter and domain; columns as the table
 * has them. */
static void the_files_of_an_hour_are_merged(void **state)
{
    struct fixture *f = *state;
    char path[512];
    weir_err err = {0};
    uint64_t n = 0;
    static const int minutes[] = {7, 3, 59, 0, 12, 3};
    f->o.worker = 1;
    fixture_open(f);
    for (size_t i = 0; i < UNIT_N(minutes); i++, n += 10) /* 21:59 is stored in the hour after */
        put_minute(f->w, ROWS_START + minutes[i] * MINUTE, 10);
    fixture_close(f);
    f->o.worker = 0;
    fixture_open(f);
    flow_batch *b = minute_of(ROWS_START + 5 * MINUTE, 0, 5, 15);
    assert_true(flow_batch_set_u64(b, FLOW_LEDGER_octets, 0, 9));
    assert_true(flow_batch_set_u64(b, FLOW_LEDGER_first, 0, 9));
    put(f->w, b, ROWS_START + 6 * MINUTE);
    n += 10;
    fixture_close(f);
    assert_int_equal(fixture_count(f, ".pq"), 3);
    compact(f->dir);
    assert_int_equal(fixture_count(f, ".pq"), 2);
    assert_int_equal(ledger_rows(f->dir), n);
    assert_int_equal(fixture_verify(f->dir), 0);
    assert_int_equal(fixture_find(f->dir, "20261122T210000Z-c0-000001.pq", path, sizeof path), 1);
    parquet_file *p = open_file(path);
    assert_string_equal(parquet_key_value_find(p, "weir.received_min"),
                        "2026-11-22T21:00:00.000000Z");
    assert_string_equal(parquet_key_value_find(p, "weir.received_max"),
                        "2026-11-22T21:12:00.000000Z");
    all_columns(p);
    struct parquet_group_info group;
    parquet_group(p, 0, &group);
    assert_int_equal(group.n_rows, 60);
    assert_int_equal(group.sorted_by, 0);
    struct rows_column v[4];
    static const char *const keys[] = {"minute", "exporter", "domain", "packets"};
    for (size_t k = 0; k < 4; k++) {
        assert_true(rows_open(&v[k], p, 0, keys[k], &err));
        assert_int_equal(parquet_cursor_read(v[k].cursor, 60, &v[k].data, &err), WEIR_OK);
    }
    uint64_t last_minute = 0;
    char last[32] = "";
    for (size_t i = 0; i < 60; i++) {
        struct parquet_bytes text = rows_text(&v[1], i);
        char exporter[32];
        (void)snprintf(exporter, sizeof exporter, "%.*s", (int)text.len, (const char *)text.data);
        uint64_t minute = rows_u64(&v[0], i, 8);
        assert_true(minute >= last_minute);
        if (minute == last_minute)
            assert_true(strcmp(exporter, last) >= 0);
        unsigned e = (unsigned)strtoul(strrchr(exporter, '.') + 1, NULL, 10);
        assert_int_equal(rows_u64(&v[3], i, 8), e * 100 + 1);
        assert_int_equal(rows_valid(&v[2], i), e % 3 != 0);
        if (e % 3)
            assert_int_equal((uint32_t)rows_u64(&v[2], i, 4), 4000000000U + e);
        memcpy(last, exporter, sizeof last);
        last_minute = minute;
    }
    for (size_t k = 0; k < 4; k++)
        parquet_cursor_free(v[k].cursor);
    parquet_close(p);
}

/* One exporter and minute, many domains: numbers in order, those above 2^31 at the end, nulls behind them, equal rows as
 * they came. */
static void domains_are_sorted(void **state)
{
    struct fixture *f = *state;
    char path[512];
    weir_err err = {0};
    static const uint32_t domains[] = {7, 4000000000U, 0, 3, 3, 2147483648U, 70000, 3};
    static const uint64_t order[] = {2, 3, 4, 7, 0, 6, 5, 1, 8};
    fixture_open(f);
    flow_batch *b = minute_of(ROWS_START, 0, 0, 1);
    flow_batch_reset(b);
    for (uint32_t i = 0; i <= UNIT_N(domains); i++) {
        static const uint8_t exporter[4] = {192, 0, 2, 1};
        assert_int_equal(flow_batch_add_rows(b, 1), i);
        assert_true(flow_batch_set_u64(b, FLOW_LEDGER_minute, i, (uint64_t)(ROWS_START / 1000)));
        assert_true(flow_batch_set_key(b, FLOW_LEDGER_exporter, i, exporter, 4));
        if (i < UNIT_N(domains))
            assert_true(flow_batch_set_u64(b, FLOW_LEDGER_domain, i, domains[i]));
        assert_true(flow_batch_set_u64(b, FLOW_LEDGER_packets, i, i));
    }
    put(f->w, b, ROWS_START);
    fixture_close(f);
    compact(f->dir);
    assert_int_equal(fixture_find(f->dir, "c0-000001.pq", path, sizeof path), 1);
    parquet_file *p = open_file(path);
    struct rows_column v;
    assert_true(rows_open(&v, p, 0, "packets", &err));
    assert_int_equal(parquet_cursor_read(v.cursor, 20, &v.data, &err), WEIR_OK);
    for (size_t i = 0; i < UNIT_N(order); i++)
        assert_int_equal(rows_u64(&v, i, 8), order[i]);
    parquet_cursor_free(v.cursor);
    parquet_close(p);
}

/* A row may be stored in the hour after that of its minute: a reader that asks for minutes gets it. */
static void late_rows_are_found(void **state)
{
    struct fixture *f = *state;
    fixture_open(f);
    for (int h = 0; h < 4; h++)
        put_minute(f->w, ROWS_START + (h * 60 + 59) * MINUTE, 1);
    int64_t at = ROWS_START + 59 * MINUTE;
    assert_in_range(rows_of(f->dir, FLOW_TABLE_LEDGER, at, at + MINUTE - 1), 1, 2);
    assert_int_equal(rows_of(f->dir, FLOW_TABLE_LEDGER, ROWS_START - 10 * HOUR, ROWS_START - HOUR),
                     0);
    assert_int_equal(rows_of(f->dir, FLOW_TABLE_LEDGER, ROWS_START + 4 * HOUR, INT64_MAX), 1);
}

static uint64_t expire(struct archive_expire_options o, const char *dir)
{
    weir_err err = {0};
    uint64_t octets = 0, n = 0;
    o.dir = dir;
    UNIT_CHECK(archive_expire(&o, &octets, &n, &err) == WEIR_OK, "%s", err.msg);
    return n;
}

static void check_hours(const char *dir, int from, int to)
{
    static const char *const tables[] = {"flows", "ledger", "options"};
    for (int h = 0; h < 3; h++) {
        for (size_t t = 0; t < UNIT_N(tables); t++) {
            char path[256];
            (void)snprintf(path, sizeof path, "%s/%s/date=2026-11-22/hour=%d", dir, tables[t],
                           21 + h);
            UNIT_CHECK((access(path, F_OK) == 0) == (h >= from && h < to), "%s", path);
        }
    }
}

/* Whatever the reason, an hour goes with all its tables. */
static void an_hour_goes_as_a_whole(void **state)
{
    struct fixture *f = *state;
    weir_err err = {0};
    for (int way = 0; way < 3; way++) {
        uint64_t octets = 0, n = 0;
        (void)nftw(f->dir, fixture_remove, 16, FTW_DEPTH | FTW_PHYS);
        fixture_open(f);
        for (int h = 0; h < 3; h++) {
            int64_t at = ROWS_START + h * HOUR;
            fixture_store(f, (uint64_t)h * 100, 100, at, NULL);
            put_minute(f->w, at, 5);
            flow_batch *b = flow_batch_new(FLOW_TABLE_OPTIONS);
            assert_int_equal(flow_batch_add_rows(b, 1), 0);
            assert_true(flow_batch_set_u64(b, FLOW_OPTION_received, 0, (uint64_t)(at / 1000)));
            put(f->w, b, at);
        }
        fixture_close(f);
        check_hours(f->dir, 0, 3);
        struct archive_expire_options all = {
            .dir = f->dir, .before_ns = INT64_MAX, .dry_run = true};
        assert_int_equal(archive_expire(&all, &octets, &n, &err), WEIR_OK);
        assert_int_equal(n, 9);
        if (way == 0) {
            assert_int_equal(
                expire((struct archive_expire_options){.before_ns = ROWS_START + HOUR}, f->dir), 3);
            check_hours(f->dir, 1, 3);
        } else if (way == 1) { /* one octet too many: its flows alone would be enough */
            assert_int_equal(
                expire((struct archive_expire_options){.max_octets = octets - 1}, f->dir), 3);
            check_hours(f->dir, 1, 3);
        } else {
            assert_int_equal(
                expire((struct archive_expire_options){.min_free = UINT64_MAX}, f->dir), 9);
            check_hours(f->dir, 0, 0);
        }
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(the_ledger_has_a_table),  TEST(any_column_survives),
        TEST(no_other_table_is_taken), TEST(the_files_of_an_hour_are_merged),
        TEST(domains_are_sorted),      TEST(late_rows_are_found),
        TEST(an_hour_goes_as_a_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
