/* Which minutes a file of an archive stands for, and up to when an archive that is written is looked at. */
#include "unit.h"

#include "archive_dir.h"

#include "archive/layout.h"
#include "query/books.h"

#include <stdlib.h>
#include <time.h>

#define MIN INT64_C(60000000)
#define START (INT64_C(1795381200) * 1000000) /* 2026-11-22T21:00:00Z */

static struct ledger_books books;
static query_books *seen;

static query_books *look(const char *path)
{
    archive_scan *scan;
    weir_err err = {0};
    query_books *b = query_books_new();
    struct archive_part *parts;
    size_t n;
    assert_non_null(b);
    assert_false(query_books_are_whole(b));
    UNIT_CHECK(archive_scan_open(path, FLOW_TABLE_FLOWS, NULL, NULL, &scan, &err) == WEIR_OK, "%s",
               err.msg);
    while (archive_scan_next(scan, &parts, &n, &err) != WEIR_END) {
        query_books_note(b, 3, parts, n);
        archive_scan_release(scan, parts, n);
    }
    archive_scan_close(scan);
    query_books_whole(b);
    assert_true(query_books_are_whole(b));
    return b;
}

static void read_books(struct fixture *f, const query_books *asked)
{
    query_books_free(seen);
    seen = look(f->dir);
    free(books.files);
    assert_true(query_books_of(seen, 3, f->dir, asked, &books));
    assert_int_equal(books.by_files, asked != NULL);
}

static void store(struct fixture *f, double minute, uint32_t rows, double arrived)
{
    flow_batch *b = flow_batch_new(FLOW_TABLE_FLOWS);
    weir_err err = {0};
    assert_true(rows_fill(b, 0, rows, (START + (int64_t)(arrived * (double)MIN)) * 1000, NULL));
    assert_int_equal(
        archive_writer_store(f->w, b, (START + (int64_t)(minute * (double)MIN)) * 1000, &err),
        WEIR_OK);
    flow_batch_free(b);
}

/* Files by their time: rows, minutes from and to. */
static void expect(size_t n, const int64_t (*want)[3])
{
    assert_int_equal(books.n_files, n);
    int64_t from = INT64_MIN, to = INT64_MAX;
    ledger_balance_reach(&books, &from, &to); /* sorts them */
    for (size_t i = 0; i < n; i++) {
        const struct ledger_stored *s = &books.files[i];
        UNIT_CHECK((int64_t)s->rows == want[i][0] && s->from_us == START + want[i][1] * MIN &&
                       s->to_us == START + want[i][2] * MIN,
                   "file %zu: %llu rows, %lld to %lld", i, (unsigned long long)s->rows,
                   (long long)(s->from_us - START), (long long)(s->to_us - START));
    }
}
#define EXPECT(...)                                                                                \
    do {                                                                                           \
        static const int64_t what[][3] = {__VA_ARGS__};                                            \
        expect(UNIT_N(what), what);                                                                \
    } while (0)

static void slots(void **state)
{
    struct fixture *f = *state;
    int64_t first, last;
    fixture_open(f);
    store(f, 0, 10, 0);
    store(f, 7, 20, 7);
    store(f, 23, 30, 23);
    fixture_close(f);
    read_books(f, NULL);
    EXPECT({10, 0, 5}, {20, 5, 10}, {30, 20, 25});
    assert_true(query_books_times(seen, &first, &last));
    assert_int_equal(first, START);
    assert_true(last >= START + 23 * MIN && last < START + 24 * MIN);
    assert_int_equal(books.until_us, INT64_MAX);
    assert_int_equal(books.since_us, INT64_MIN);
    /* Another writer's, with rows that came long before they could be read. */
    f->o.worker = 1;
    fixture_open(f);
    store(f, 21, 5, 11);
    fixture_close(f);
    f->o.worker = 0;
    read_books(f, NULL);
    EXPECT({10, 0, 5}, {20, 5, 10}, {5, 11, 25}, {30, 20, 25});
    /* As one: the hour, and what reaches out of it. */
    struct archive_compact_options c = {.dir = f->dir};
    struct archive_compact_counters counters = {0};
    weir_err err = {0};
    UNIT_CHECK(archive_compact(&c, &counters, &err) == WEIR_OK, "%s", err.msg);
    read_books(f, NULL);
    EXPECT({65, 0, 60});
}

/* Make closed files not say how long their slots are. */
static void forget_lengths(struct fixture *f)
{
    static const char key[] = "weir.slot_length";
    char path[512];
    unsigned n = fixture_count(f, ".parquet");
    assert_int_equal(fixture_find(f->dir, ".parquet", path, sizeof path), n);
    int fd = open(path, O_RDWR); /* the last one */
    off_t len = lseek(fd, 0, SEEK_END);
    char *all = malloc((size_t)len);
    assert_non_null(all);
    assert_int_equal(pread(fd, all, (size_t)len, 0), len);
    char *at = memmem(all, (size_t)len, key, sizeof key - 1);
    assert_non_null(at);
    assert_int_equal(pwrite(fd, "was", 3, at - all), 3);
    assert_int_equal(close(fd), 0);
    free(all);
}

static void store_slot(struct fixture *f, double minute)
{
    fixture_open(f);
    store(f, minute, 10, minute);
    fixture_close(f);
}

static void longer_slots(void **state)
{
    struct fixture *f = *state;
    f->o.rotate_ns = 900 * SECOND;
    store_slot(f, 2);
    read_books(f, NULL);
    EXPECT({10, 0, 15});
    /* Another length from now on. */
    f->o.rotate_ns = 60 * SECOND;
    store_slot(f, 17);
    read_books(f, NULL);
    EXPECT({10, 0, 15}, {10, 17, 18});
    /* One that a crash has left says it too. */
    fixture_open(f);
    store(f, 21, 10, 21);
    read_books(f, NULL);
    EXPECT({10, 0, 15}, {10, 17, 18}, {10, 21, 22});
    fixture_close(f);
}

/* Of a single slot that begins with the hour nobody knows how long it is, where it does not say so itself. */
static void slots_of_unknown_length(void **state)
{
    struct fixture *f = *state;
    f->o.rotate_ns = 900 * SECOND;
    store_slot(f, 2);
    forget_lengths(f);
    read_books(f, NULL);
    EXPECT({10, 0, 60});
    store_slot(f, 31);
    forget_lengths(f);
    read_books(f, NULL);
    EXPECT({10, 0, 30}, {10, 30, 60});
    store_slot(f, 47);
    forget_lengths(f);
    read_books(f, NULL);
    EXPECT({10, 0, 15}, {10, 30, 45}, {10, 45, 60});
    /* What others say is not about it. */
    f->o.rotate_ns = 60 * SECOND;
    store_slot(f, 59);
    read_books(f, NULL);
    EXPECT({10, 0, 15}, {10, 30, 45}, {10, 45, 60}, {10, 59, 60});
}

static void lengths_in_words(void **state)
{
    (void)state;
    static const struct {
        int64_t ns;
        const char *text;
    } good[] = {
        {SECOND, "1"}, {300 * SECOND, "300"}, {3600 * SECOND, "3600"}, {1500000000, "1.500000000"}};
    static const char *const bad[] = {
        "",       "0",    "3601",        "-1", "5m", "1.", "1.5s", ".", "99999999999999999999",
        "3600.1", " 300", "1.0000000001"};
    char text[ARCHIVE_SECONDS_TEXT];
    int64_t ns;
    for (size_t i = 0; i < UNIT_N(good); i++) {
        archive_seconds_text(text, good[i].ns);
        assert_string_equal(text, good[i].text);
        assert_true(archive_seconds(text, &ns));
        assert_int_equal(ns, good[i].ns);
    }
    assert_false(archive_seconds(NULL, &ns));
    for (size_t i = 0; i < UNIT_N(bad); i++)
        UNIT_CHECK(!archive_seconds(bad[i], &ns), "'%s'", bad[i]);
}

static void files_by_name(void **state)
{
    struct fixture *f = *state;
    char file[512] = "", copy[600];
    fixture_open(f);
    store(f, 0, 10, 0);
    store(f, 5, 20, 5);
    store(f, 10, 30, 10);
    fixture_close(f);
    assert_true(fixture_find(f->dir, ".parquet", file, sizeof file) > 1); /* the last one */
    query_books *asked = look(file);
    read_books(f, asked);
    EXPECT({10, 0, 5}, {20, 5, 10}, {30, 10, 15});
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(books.files[i].asked, i == 2);
    query_books_free(asked);
    /* Named by somebody else: the minutes of its rows. */
    (void)snprintf(copy, sizeof copy, "%s/flows/mine.parquet", f->dir);
    assert_int_equal(rename(file, copy), 0);
    read_books(f, NULL);
    assert_int_equal(books.n_files, 3);
    int64_t from = INT64_MIN, to = INT64_MAX;
    ledger_balance_reach(&books, &from, &to);
    assert_int_equal(books.files[2].from_us, START + 10 * MIN);
    assert_true(books.files[2].to_us > books.files[2].from_us &&
                books.files[2].to_us <= START + 11 * MIN);
}

static int64_t now_us(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void while_it_is_written(void **state)
{
    struct fixture *f = *state;
    assert_false(archive_is_locked(f->dir));
    fixture_open(f);
    assert_true(archive_is_locked(f->dir));
    store(f, 0, 10, 0);
    store(f, 7, 20, 7);
    store(f, 23, 30, 23);
    /* Files of two slots are open: that of 21:05 may still get rows. */
    read_books(f, NULL);
    assert_int_equal(books.until_us, START + 5 * MIN);
    assert_int_equal(books.n_files, 3);
    /* No open file: what came a minute ago is where it stays. */
    assert_int_equal(archive_writer_tick(f->w, (START + 40 * MIN) * 1000, NULL), WEIR_OK);
    read_books(f, NULL);
    assert_true(books.until_us <= now_us() - MIN && books.until_us > now_us() - 2 * MIN);
    fixture_close(f);
    assert_false(archive_is_locked(f->dir));
    /* Between the scan and the ledger, an open file was closed. */
    fixture_open(f);
    store(f, 30, 10, 30);
    query_books *before = look(f->dir);
    fixture_close(f);
    free(books.files);
    assert_true(query_books_of(before, 3, f->dir, NULL, &books));
    assert_int_equal(books.until_us, START + 30 * MIN);
    query_books_free(before);
    read_books(f, NULL);
    assert_int_equal(books.until_us, INT64_MAX);
}

static void oldest_hour_of_the_ledger(void **state)
{
    struct fixture *f = *state;
    char dir[200];
    static const char *const below[] = {"ledger",
                                        "ledger/date=2026-11-23",
                                        "ledger/date=2026-11-23/hour=07",
                                        "ledger/date=2026-11-22",
                                        "ledger/date=2026-11-22/hour=22",
                                        "ledger/date=2026-11-22/hour=21"};
    for (size_t i = 0; i < UNIT_N(below); i++) {
        (void)snprintf(dir, sizeof dir, "%s/%s", f->dir, below[i]);
        assert_int_equal(mkdir(dir, 0700), 0);
    }
    read_books(f, NULL);
    assert_int_equal(books.since_us, START);
    assert_int_equal(books.n_files, 0);
}

static int tear_down(void **state)
{
    query_books_free(seen);
    free(books.files);
    seen = NULL;
    books = (struct ledger_books){0};
    return fixture_tear_down(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lengths_in_words),
        cmocka_unit_test_setup_teardown(slots, fixture_set_up, tear_down),
        cmocka_unit_test_setup_teardown(longer_slots, fixture_set_up, tear_down),
        cmocka_unit_test_setup_teardown(slots_of_unknown_length, fixture_set_up, tear_down),
        cmocka_unit_test_setup_teardown(files_by_name, fixture_set_up, tear_down),
        cmocka_unit_test_setup_teardown(while_it_is_written, fixture_set_up, tear_down),
        cmocka_unit_test_setup_teardown(oldest_hour_of_the_ledger, fixture_set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
