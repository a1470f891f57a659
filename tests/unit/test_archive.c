/* The store: what is stored is what readers see, at every moment, and what is left after a crash. */
#include "archive_rows.h"
#include "unit.h"

#include <dirent.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECOND INT64_C(1000000000)

struct fixture {
    char dir[64];
    archive_writer *w;
    struct archive_options o;
    char said[8192];
};

static void listen_to(void *user, const char *text)
{
    struct fixture *f = user;
    size_t len = strlen(f->said);
    (void)snprintf(f->said + len, sizeof f->said - len, "%s\n", text);
}

static void open_writer(struct fixture *f)
{
    weir_err err = {0};
    UNIT_CHECK(archive_writer_open(&f->o, &f->w, &err) == WEIR_OK, "open: %s", err.msg);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    (void)snprintf(f->dir, sizeof f->dir, "/tmp/weir-archive-XXXXXX");
    if (!f || !mkdtemp(f->dir))
        return -1;
    f->o = (struct archive_options){.dir = f->dir, .direct_rows = 1000, .group_rows = 4000, .log = listen_to, .user = f};
    *state = f;
    return 0;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    (void)archive_writer_close(f->w, NULL);
    (void)nftw(f->dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    free(f);
    return 0;
}

static void store(struct fixture *f, uint64_t first, uint32_t n, int64_t ns, const char *extra)
{
    weir_err err = {0};
    flow_batch *b = flow_batch_new(FLOW_TABLE_FLOWS);
    assert_true(rows_fill(b, first, n, ns, extra));
    weir_status s = archive_writer_store(f->w, b, ns, &err);
    UNIT_CHECK(s == WEIR_OK, "store %llu: %s", (unsigned long long)first, err.msg);
    flow_batch_free(b);
}

static void expect(struct fixture *f, uint64_t n, const char *extra, const char *when)
{
    struct rows_seen seen;
    bool good = rows_read(f->dir, n, extra, true, &seen);
    UNIT_CHECK(good, "%s: reading: %s", when, seen.err.msg);
    UNIT_CHECK(seen.total == n && !seen.twice && !seen.alien && !seen.wrong,
               "%s: %llu rows of %llu, %llu twice, %llu alien, %llu wrong", when, (unsigned long long)seen.total,
               (unsigned long long)n, (unsigned long long)seen.twice, (unsigned long long)seen.alien,
               (unsigned long long)seen.wrong);
    rows_seen_done(&seen);
}

/* Files below dir whose name ends so. */
static const char *wanted_suffix;
static char found_path[512];
static unsigned n_found;

static int look_at(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)at;
    size_t len = strlen(path), n = strlen(wanted_suffix);
    if (type == FTW_F && len > n && strcmp(path + len - n, wanted_suffix) == 0) {
        n_found++;
        (void)snprintf(found_path, sizeof found_path, "%s", path);
    }
    return 0;
}

static unsigned count(const struct fixture *f, const char *suffix)
{
    wanted_suffix = suffix;
    n_found = 0;
    (void)nftw(f->dir, look_at, 16, FTW_PHYS);
    return n_found;
}

/* A writer that is gone without a word: its files stay as they are. */
static void crash(struct fixture *f)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(0);
    (void)child;
}

static void rows_are_seen_at_once(void **state)
{
    struct fixture *f = *state;
    open_writer(f);
    uint64_t n = 0;
    static const uint32_t sizes[] = {1, 50, 3, 999, 1000, 1500, 2, 5000, 10, 600, 600, 4000, 1};
    for (size_t i = 0; i < UNIT_N(sizes); i++) {
        char when[64];
        (void)snprintf(when, sizeof when, "after store %zu", i);
        store(f, n, sizes[i], ROWS_START + (int64_t)i * SECOND, NULL);
        n += sizes[i];
        expect(f, n, NULL, when);
    }
    weir_err err = {0};
    assert_int_equal(count(f, ".part"), 1);
    assert_int_equal(archive_writer_counters(f->w)->rows, n);
    UNIT_CHECK(archive_writer_close(f->w, &err) == WEIR_OK, "close: %s", err.msg);
    f->w = NULL;
    expect(f, n, NULL, "closed");
    assert_int_equal(count(f, ".part"), 0);
    assert_int_equal(count(f, ".journal"), 0);
    assert_int_equal(count(f, ".parquet"), 1);
    assert_non_null(strstr(found_path, "/flows/date=2026-11-22/hour=21/20261122T210000Z-w0-000001.parquet"));
}

static void crash_unused(void **state)
{
    (void)state;
    (void)crash;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(rows_are_seen_at_once, set_up, tear_down),
        cmocka_unit_test(crash_unused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
