/* The store: what is stored is what readers see, at every moment; and what is left after a crash, whatever it tore. */
#include "archive_dir.h"

#include <xxhash.h>

static void rows_are_seen_at_once(void **state)
{
    struct fixture *f = *state;
    char path[512];
    fixture_open(f);
    uint64_t n = 0;
    static const uint32_t sizes[] = {1, 50, 3, 999, 1000, 1500, 2, 5000, 10, 600, 600, 4000, 1};
    for (size_t i = 0; i < UNIT_N(sizes); i++) {
        char when[64];
        (void)snprintf(when, sizeof when, "after store %zu", i);
        fixture_store(f, n, sizes[i], ROWS_START + (int64_t)i * SECOND, NULL);
        n += sizes[i];
        fixture_expect(f->dir, n, NULL, when);
    }
    assert_int_equal(fixture_count(f, ".part"), 1);
    assert_int_equal(archive_writer_counters(f->w)->rows, n);
    fixture_close(f);
    fixture_expect(f->dir, n, NULL, "closed");
    assert_int_equal(fixture_count(f, ".part"), 0);
    assert_int_equal(fixture_count(f, ".journal"), 0);
    assert_int_equal(fixture_find(f->dir, ".parquet", path, sizeof path), 1);
    assert_non_null(
        strstr(path, "/flows/date=2026-11-22/hour=21/20261122T210000Z-w0-000001.parquet"));
    assert_string_equal(f->said, "");
}

static void files_follow_the_clock(void **state)
{
    struct fixture *f = *state;
    f->o.rotate_ns = 600 * SECOND;
    fixture_open(f);
    assert_int_equal(archive_slot(f->w, ROWS_START + 1), ROWS_START);
    assert_int_equal(archive_slot(f->w, ROWS_START + 600 * SECOND), ROWS_START + 600 * SECOND);
    assert_int_equal(archive_slot(f->w, -1), -600 * SECOND);
    weir_err err = {0};
    fixture_store(f, 0, 10, ROWS_START + 5 * SECOND, NULL);
    assert_int_equal(archive_writer_tick(f->w, ROWS_START + 601 * SECOND, &err), WEIR_OK);
    assert_int_equal(fixture_count(f, ".part"), 1); /* late rows may be on their way */
    fixture_store(f, 10, 10, ROWS_START + 600 * SECOND, NULL);
    fixture_store(f, 20, 10, ROWS_START + 599 * SECOND, NULL);
    assert_int_equal(fixture_count(f, ".part"), 2);
    assert_int_equal(archive_writer_tick(f->w, ROWS_START + 602 * SECOND, &err), WEIR_OK);
    assert_int_equal(fixture_count(f, ".part"), 1);
    assert_int_equal(fixture_count(f, ".parquet"), 1);
    fixture_expect(f->dir, 30, NULL, "two slots");
    /* Without ticks (a capture is read) the files of slots that are over are closed as well. */
    for (unsigned i = 0; i < 12; i++)
        fixture_store(f, 30 + i, 1, ROWS_START + (1200 + i * 600) * SECOND, NULL);
    assert_in_range(fixture_count(f, ".part"), 1, 2);
    fixture_close(f);
    fixture_expect(f->dir, 42, NULL, "closed");
    assert_int_equal(fixture_find(f->dir, "hour=22/x", NULL, 0), 0);
    assert_int_equal(
        archive_writer_open(&(struct archive_options){.dir = f->dir, .rotate_ns = 7 * SECOND},
                            &f->w, &err),
        WEIR_EINVAL);
}

static void new_columns_come_in(void **state)
{
    struct fixture *f = *state;
    fixture_open(f);
    fixture_store(f, 0, 100, ROWS_START, NULL);
    fixture_store(f, 100, 1500, ROWS_START, NULL);
    fixture_store(f, 1600, 100, ROWS_START, "queueDelay");
    fixture_expect(f->dir, 1700, "queueDelay", "extra in the tail");
    fixture_store(f, 1700, 2000, ROWS_START, "queueDelay");
    fixture_store(f, 3700, 10, ROWS_START, "httpStatus");
    fixture_store(f, 3710, 2000, ROWS_START, NULL);
    fixture_expect(f->dir, 5710, "queueDelay", "extra in groups");
    fixture_expect(f->dir, 5710, "httpStatus", "extra in a tail that became a group");
    /* The same name with another type needs a file of its own, and goes on there. */
    weir_err err = {0};
    for (int i = 0; i < 5; i++) {
        flow_batch *b = flow_batch_new(FLOW_TABLE_FLOWS);
        uint64_t first = 5710 + (uint64_t)i * 20;
        assert_true(rows_fill(b, first, 10, ROWS_START, NULL));
        uint32_t x = flow_batch_extra(b, "queueDelay", FLOW_TYPE_TEXT, false);
        assert_true(flow_batch_set_key(b, x, 3, "long", 4));
        UNIT_CHECK(archive_writer_store(f->w, b, ROWS_START, &err) == WEIR_OK, "%s", err.msg);
        flow_batch_free(b);
        fixture_store(f, first + 10, 10, ROWS_START, "queueDelay");
    }
    assert_int_equal(fixture_count(f, ".part"), 2);
    fixture_expect(f->dir, 5810, NULL, "a contradiction");
    fixture_close(f);
    fixture_expect(f->dir, 5810, NULL, "closed");
    assert_int_equal(fixture_count(f, ".parquet"), 2);
}

/* Readers of Parquet files take names that differ only in case for one column: such batches need files of their own. */
static void names_that_differ_in_case(void **state)
{
    struct fixture *f = *state;
    fixture_open(f);
    fixture_store(f, 0, 10, ROWS_START, "httpUserAgent");
    fixture_store(f, 10, 10, ROWS_START, "HTTPUserAgent");
    fixture_store(f, 20, 2000, ROWS_START, "httpUserAgent");
    fixture_store(f, 2020, 2000, ROWS_START, "HTTPUserAgent");
    assert_int_equal(fixture_count(f, ".part"), 2);
    fixture_expect(f->dir, 4020, NULL, "open");
    fixture_close(f);
    fixture_expect(f->dir, 4020, NULL, "closed");
}

/* Long texts, and columns that only late rows have: what waits in memory and in the journal stays small. */
static void tails_are_bounded(void **state)
{
    enum { TEXT = 20000, COLUMNS = 400 };
    struct fixture *f = *state;
    weir_err err = {0};
    f->o.direct_octets = 1 << 20;
    f->o.direct_rows = f->o.group_rows = 1 << 20;
    fixture_open(f);
    char *text = calloc(1, TEXT);
    assert_non_null(text);
    memset(text, 'x', TEXT);
    uint64_t n = 0;
    for (unsigned i = 0; i < 80; i++) {
        flow_batch *b = flow_batch_new(FLOW_TABLE_FLOWS);
        assert_true(b && rows_fill(b, n++, 1, ROWS_START, NULL));
        (void)snprintf(text, TEXT, "%u", i);
        text[strlen(text)] = ' ';
        assert_true(flow_batch_set_key(b, FLOW_http_host, 0, text, TEXT));
        UNIT_CHECK(archive_writer_store(f->w, b, ROWS_START, &err) == WEIR_OK, "%s", err.msg);
        flow_batch_free(b);
    }
    free(text);
    assert_int_equal(archive_writer_counters(f->w)->groups, 1);
    for (unsigned i = 0; i < 20; i++) {
        fixture_store(f, n, 1000, ROWS_START, NULL);
        n += 1000;
        flow_batch *b = flow_batch_new(FLOW_TABLE_FLOWS);
        assert_true(b && rows_fill(b, n++, 1, ROWS_START, NULL));
        for (unsigned c = 0; c < COLUMNS; c++) {
            char name[16];
            (void)snprintf(name, sizeof name, "e1_%u", c);
            uint32_t x = flow_batch_extra(b, name, FLOW_TYPE_U64, false);
            assert_true(flow_batch_set_u64(b, x, 0, i));
        }
        UNIT_CHECK(archive_writer_store(f->w, b, ROWS_START, &err) == WEIR_OK, "%s", err.msg);
        flow_batch_free(b);
    }
    /* 400 columns over 1000 rows before them would take 3.2 MB: those rows became a group. */
    assert_int_equal(archive_writer_counters(f->w)->groups, 1 + 20);
    fixture_expect(f->dir, n, NULL, "open");
    fixture_close(f);
    fixture_expect(f->dir, n, NULL, "closed");
}

/* A file that has become large makes place for another one of the same slot. */
static void large_files_are_closed(void **state)
{
    enum { STORES = 12, ROWS = 2000 };
    struct fixture *f = *state;
    f->o.direct_rows = f->o.group_rows = ROWS;
    f->o.file_octets = 1; /* a row group is enough */
    fixture_open(f);
    for (uint64_t i = 0; i < STORES; i++) {
        fixture_store(f, i * ROWS, ROWS, ROWS_START, NULL);
        assert_int_equal(fixture_count(f, ".part"), 1);
        assert_int_equal(fixture_count(f, ".parquet"), i);
    }
    fixture_expect(f->dir, STORES * ROWS, NULL, "open");
    fixture_close(f);
    assert_int_equal(fixture_count(f, ".parquet"), STORES);
    fixture_expect(f->dir, STORES * ROWS, NULL, "closed");
}

static void options_have_a_table(void **state)
{
    struct fixture *f = *state;
    weir_err err = {0};
    fixture_open(f);
    fixture_store(f, 0, 10, ROWS_START, NULL);
    flow_batch *b = flow_batch_new(FLOW_TABLE_OPTIONS);
    uint32_t row = flow_batch_add_rows(b, 1);
    assert_true(flow_batch_set_u64(b, FLOW_received, row, (uint64_t)(ROWS_START / 1000)));
    UNIT_CHECK(archive_writer_store(f->w, b, ROWS_START, &err) == WEIR_OK, "%s", err.msg);
    flow_batch_free(b);
    assert_int_equal(archive_writer_counters(f->w)->option_rows, 1);
    for (int closed = 0; closed <= 1; closed++) {
        archive_scan *s = NULL;
        struct archive_part *parts = NULL;
        size_t n = 0, rows = 0;
        UNIT_CHECK(archive_scan_open(f->dir, FLOW_TABLE_OPTIONS, NULL, NULL, &s, &err) == WEIR_OK,
                   "%s", err.msg);
        while (archive_scan_next(s, &parts, &n, &err) == WEIR_OK) {
            for (size_t i = 0; i < n; i++) {
                rows += parquet_n_rows(parts[i].file);
                assert_int_equal(parts[i].open, !closed);
            }
            archive_scan_release(s, parts, n);
        }
        archive_scan_close(s);
        assert_int_equal(rows, 1);
        fixture_expect(f->dir, 10, NULL, "flows beside options");
        if (!closed)
            fixture_close(f);
    }
    assert_int_equal(fixture_count(f, ".pq"), 1);
}

static void rates_reach_the_tail(void **state)
{
    struct fixture *f = *state;
    static const uint8_t exporter[4] = {192, 0, 2, 1};
    char copy[80];
    (void)snprintf(copy, sizeof copy, "%s-copy", f->dir);
    fixture_open(f);
    fixture_store(f, 0, 10, ROWS_START, NULL);
    archive_writer_sampling(f->w, exporter, 4, 0, 0, 100, "options");
    fixture_store(f, 10, 10, ROWS_START, NULL);
    fixture_copy(f, copy);
    fixture_close(f);
    weir_err err = {0};
    UNIT_CHECK(archive_repair(copy, false, NULL, NULL, &err) == WEIR_OK, "%s", err.msg);
    const char *paths[] = {f->dir, copy};
    for (size_t p = 0; p < 2; p++) { /* in memory, and from the journal */
        archive_scan *s = NULL;
        struct archive_part *parts = NULL;
        size_t n = 0;
        struct rows_column c;
        assert_int_equal(archive_scan_open(paths[p], FLOW_TABLE_FLOWS, NULL, NULL, &s, &err),
                         WEIR_OK);
        do
            UNIT_CHECK(archive_scan_next(s, &parts, &n, &err) == WEIR_OK, "%s", err.msg);
        while (n == 0);
        assert_true(rows_open(&c, parts[0].file, 0, "sampling_rate", &err));
        assert_int_equal(parquet_cursor_read(c.cursor, 20, &c.data, &err), WEIR_OK);
        for (size_t i = 0; i < 20; i++) {
            double rate = 0;
            uint64_t bits = rows_u64(&c, i, 8);
            memcpy(&rate, &bits, sizeof rate);
            assert_int_equal(rows_valid(&c, i), i < 10);
            if (i < 10)
                assert_true(rate >= 100 && rate <= 100);
        }
        parquet_cursor_free(c.cursor);
        archive_scan_release(s, parts, n);
        archive_scan_close(s);
    }
    (void)nftw(copy, fixture_remove, 16, FTW_DEPTH | FTW_PHYS);
}

static void one_writer_an_archive(void **state)
{
    struct fixture *f = *state;
    fixture_open(f);
    archive_writer *second = NULL;
    weir_err err = {0};
    char pid[32];
    assert_int_equal(archive_writer_open(&f->o, &second, &err), WEIR_ELIMIT);
    assert_null(second);
    (void)snprintf(pid, sizeof pid, "process %ld", (long)getpid());
    assert_non_null(strstr(err.msg, pid));
    assert_non_null(strstr(err.msg, f->dir));
    assert_int_equal(archive_repair(f->dir, false, NULL, NULL, &err), WEIR_ELIMIT);
    fixture_close(f);
    fixture_open(f);
}

/* Every cut of the journal: the rows before it are there, none is wrong, and recovery makes the same of it. */
static void journals_are_good_up_to_any_cut(void **state)
{
    struct fixture *f = *state;
    char copy[80], journal[512];
    (void)snprintf(copy, sizeof copy, "%s-copy", f->dir);
    fixture_open(f);
    uint64_t ends[16][2] = {{0}}, n = 0; /* octets of the journal, rows */
    static const uint32_t sizes[] = {5, 1100, 20, 7, 900, 2000, 30, 40, 2};
    struct stat st;
    for (size_t i = 0; i < UNIT_N(sizes); i++) {
        fixture_store(f, n, sizes[i], ROWS_START, i >= 3 ? "queueDelay" : NULL);
        n += sizes[i];
        assert_int_equal(fixture_find(f->dir, ".journal", journal, sizeof journal), 1);
        assert_int_equal(stat(journal, &st), 0);
        ends[i][0] = (uint64_t)st.st_size;
        ends[i][1] = n;
    }
    for (off_t cut = st.st_size; cut >= 0; cut -= cut > 200 ? 499 : cut > 80 ? 7 : 3) {
        fixture_copy(f, copy);
        assert_int_equal(fixture_find(copy, ".journal", journal, sizeof journal), 1);
        assert_int_equal(truncate(journal, cut), 0);
        if (cut % 2) { /* what a crash of the machine may leave behind the cut */
            int fd = open(journal, O_WRONLY | O_APPEND);
            assert_int_equal(write(fd, "\0\0\0\5garbage that is no entry", 28), 28);
            (void)close(fd);
        }
        uint64_t least = 0;
        for (size_t i = 0; i < UNIT_N(sizes); i++)
            least = (uint64_t)cut >= ends[i][0] ? ends[i][1] : least;
        char when[64];
        (void)snprintf(when, sizeof when, "cut at %lld", (long long)cut);
        struct rows_seen seen;
        bool good = rows_read(copy, n, "queueDelay", true, &seen);
        UNIT_CHECK(good || cut < 64, "%s: %s", when, seen.err.msg);
        UNIT_CHECK(seen.total >= least && !seen.twice && !seen.wrong &&
                       (seen.total == 0 || seen.times[seen.total - 1]),
                   "%s: %llu rows, at least %llu", when, (unsigned long long)seen.total,
                   (unsigned long long)least);
        uint64_t before = seen.total;
        rows_seen_done(&seen);
        weir_err err = {0};
        UNIT_CHECK(archive_repair(copy, true, NULL, NULL, &err) == WEIR_OK, "%s: %s", when,
                   err.msg);
        fixture_expect(copy, before, "queueDelay", when);
        (void)snprintf(journal, sizeof journal, "%s/flows", copy);
        assert_int_equal(fixture_find(journal, ".part", NULL, 0) +
                             fixture_find(journal, ".journal", NULL, 0),
                         0);
    }
    (void)nftw(copy, fixture_remove, 16, FTW_DEPTH | FTW_PHYS);
}

static void put_file(const char *path, const char *text)
{
    FILE *out = fopen(path, "w");
    UNIT_CHECK(out && fputs(text, out) >= 0 && fclose(out) == 0, "cannot write %s", path);
}

/* What stands in a partition after a crash between any two steps. */
static void crashes_between_steps(void **state)
{
    struct fixture *f = *state;
    char hour[128], path[256];
    fixture_open(f);
    fixture_store(f, 0, 100, ROWS_START, NULL);
    fixture_close(f);
    (void)snprintf(hour, sizeof hour, "%s/flows/date=2026-11-22/hour=21", f->dir);
    static const struct {
        const char *name, *text;
    } files[] = {
        {"20261122T210000Z-w0-000002.part", ""},          /* made, its journal not yet */
        {"20261122T210000Z-w0-000003.journal", ""},       /* never seen, but harmless */
        {"20261122T210000Z-w0-000001.journal", "weirjr"}, /* of the closed file: not removed yet */
        {"20261122T210000Z-w0-000006.part", ""},
        {"20261122T210000Z-w0-000006.journal", "weirjr"}, /* its header not complete */
        /* what was written, and cannot be read: put aside, not removed */
        {"20261122T210000Z-w0-000004.part", "PAR1 and more"},
        {"20261122T210000Z-w0-000005.part", "PAR1 and more"},
        {"20261122T210000Z-w0-000005.journal",
         "this is no journal, though it is as long as the header of one, and more"},
        {"20261122T210000Z-w0-000008.part", ""},
        {"20261122T210000Z-w0-000008.journal", "junk"},
        {"20261122T210000Z-w0-000009.part", "PAR1 and more"},
        {"20261122T210000Z-w0-000009.journal", "weirjrnl"}, /* cut short, but there was more once */
    };
    for (size_t i = 0; i < UNIT_N(files); i++) {
        (void)snprintf(path, sizeof path, "%s/%s", hour, files[i].name);
        put_file(path, files[i].text);
    }
    struct rows_seen seen;
    /* What readers and verify name: those with octets whose journal is missing or junk, of whatever length. */
    assert_false(rows_read(f->dir, 100, NULL, true, &seen));
    assert_int_equal(seen.failures, 4);
    assert_int_equal(seen.total, 100);
    rows_seen_done(&seen);
    assert_int_equal(fixture_verify(f->dir), 4);
    fixture_open(f);
    fixture_expect(f->dir, 100, NULL, "after recovery");
    fixture_store(f, 100, 10, ROWS_START, NULL);
    fixture_close(f);
    fixture_expect(f->dir, 110, NULL, "and going on");
    assert_int_equal(fixture_count(f, ".parquet"), 2);
    (void)snprintf(path, sizeof path, "%s/20261122T210000Z-w0-000010.parquet",
                   hour); /* numbers are not used again */
    assert_int_equal(access(path, F_OK), 0);
    (void)snprintf(path, sizeof path, "%s/damaged", f->dir);
    assert_int_equal(fixture_find(path, ".part", NULL, 0), 4);
    assert_int_equal(fixture_find(path, ".journal", NULL, 0), 3);
    assert_int_equal(fixture_count(f, ".part"), 4);
    assert_int_equal(fixture_count(f, ".journal"), 3);
}

/* The journal of another boot: what it vouches for may not have reached the disk, and is checked. */
static void row_groups_that_the_disk_lost(void **state)
{
    struct fixture *f = *state;
    char copy[80], part[512], journal[512];
    (void)snprintf(copy, sizeof copy, "%s-copy", f->dir);
    fixture_open(f);
    fixture_store(f, 0, 2000, ROWS_START, NULL);
    struct stat first, st;
    assert_int_equal(fixture_find(f->dir, ".part", part, sizeof part), 1);
    assert_int_equal(stat(part, &first), 0);
    fixture_store(f, 2000, 2000, ROWS_START, NULL);
    fixture_store(f, 4000, 10, ROWS_START, NULL);
    assert_int_equal(stat(part, &st), 0);
    for (int way = 0; way < 3; way++) {
        weir_err err = {0};
        fixture_copy(f, copy);
        assert_int_equal(fixture_find(copy, ".part", part, sizeof part), 1);
        assert_int_equal(fixture_find(copy, ".journal", journal, sizeof journal), 1);
        int fd = open(journal, O_RDWR);
        uint8_t head[64];
        assert_int_equal(pread(fd, head, 64, 0), 64);
        memset(head + 32, 0x5a, 16); /* boot */
        uint64_t sum = __builtin_bswap64(XXH64(head, 56, 0));
        memcpy(head + 56, &sum, 8);
        assert_int_equal(pwrite(fd, head, 64, 0), 64);
        (void)close(fd);
        if (way == 1) /* zeroes where data was */
            assert_int_equal(truncate(part, first.st_size + 100) | truncate(part, st.st_size), 0);
        if (way == 2)
            assert_int_equal(truncate(part, st.st_size - 1), 0);
        f->said[0] = 0;
        UNIT_CHECK(archive_repair(copy, true, fixture_hear, f, &err) == WEIR_OK, "way %d: %s", way,
                   err.msg);
        struct rows_seen seen;
        UNIT_CHECK(rows_read(copy, 4010, NULL, true, &seen), "way %d: %s", way, seen.err.msg);
        assert_int_equal(seen.total, way ? 2010 : 4010);
        assert_int_equal(seen.times[1999] + seen.times[4000], 2);
        rows_seen_done(&seen);
        assert_int_equal(strstr(f->said, "lost") != NULL, way != 0);
    }
    (void)nftw(copy, fixture_remove, 16, FTW_DEPTH | FTW_PHYS);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(rows_are_seen_at_once),         TEST(files_follow_the_clock),
        TEST(new_columns_come_in),           TEST(names_that_differ_in_case),
        TEST(large_files_are_closed),        TEST(tails_are_bounded),
        TEST(options_have_a_table),          TEST(rates_reach_the_tail),
        TEST(one_writer_an_archive),         TEST(crashes_between_steps),
        TEST(row_groups_that_the_disk_lost), TEST(journals_are_good_up_to_any_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
