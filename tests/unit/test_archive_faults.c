/* Disks that are full or fail, and crashes, at every call that changes a file: nothing that was stored is lost, nothing of
 * what failed is there, and the same rows can be stored again. */
#include "archive_dir.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

ssize_t __real_pwrite64(int fd, const void *p, size_t n, off_t at);
ssize_t __wrap_pwrite64(int fd, const void *p, size_t n, off_t at);
int __wrap_fsync(int fd);
int __wrap_fdatasync(int fd);
int __real_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to);
int __real_unlink(const char *path);
int __wrap_unlink(const char *path);

/* Which call fails: the one for which left becomes 0; `times` of them in a row. */
static struct {
    long left, times;
    int error;
    unsigned long calls, failed;
    unsigned long crash_at; /* the directory as it is before this call is copied to `copy` */
    const struct fixture *f;
    char copy[80];
    uint64_t stored, copied; /* rows; those that were stored when it was copied */
} plan;

static pthread_mutex_t plan_mutex = PTHREAD_MUTEX_INITIALIZER; /* a closer calls as well */
static struct {                                                /* fsync waits while it is shut */
    pthread_mutex_t mutex;
    pthread_cond_t opened;
    bool shut;
} gate = {.mutex = PTHREAD_MUTEX_INITIALIZER, .opened = PTHREAD_COND_INITIALIZER};

static void note_call(void)
{
    if (++plan.calls == plan.crash_at) {
        fixture_copy(plan.f, plan.copy);
        plan.copied = plan.stored;
    }
}

static bool fails(void)
{
    (void)pthread_mutex_lock(&plan_mutex);
    note_call();
    bool failed = plan.left > 0 && --plan.left == 0;
    if (failed) {
        plan.left = --plan.times > 0;
        plan.failed++;
    }
    int error = plan.error;
    (void)pthread_mutex_unlock(&plan_mutex);
    if (failed)
        errno = error;
    return failed;
}

static unsigned long failed_so_far(void)
{
    (void)pthread_mutex_lock(&plan_mutex);
    unsigned long n = plan.failed;
    (void)pthread_mutex_unlock(&plan_mutex);
    return n;
}

ssize_t __wrap_pwrite64(int fd, const void *p, size_t n, off_t at)
{
    if (!fails())
        return __real_pwrite64(fd, p, n, at);
    int error = errno;
    if (n > 1 && at + (off_t)n > 0 &&
        __real_pwrite64(fd, p, n / 2, at) < 0) /* some of it gets there */
        return -1;
    errno = error;
    return -1;
}

int __wrap_fsync(int fd)
{
    (void)fd; /* without the wait for the disk */
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 10;
    (void)pthread_mutex_lock(&gate.mutex);
    while (gate.shut && pthread_cond_timedwait(&gate.opened, &gate.mutex, &until) == 0)
        ;
    (void)pthread_mutex_unlock(&gate.mutex);
    return fails() ? -1 : 0;
}

static void gate_shut(bool shut)
{
    (void)pthread_mutex_lock(&gate.mutex);
    gate.shut = shut;
    (void)pthread_cond_broadcast(&gate.opened);
    (void)pthread_mutex_unlock(&gate.mutex);
}

int __wrap_fdatasync(int fd)
{
    (void)fd;
    return fails() ? -1 : 0;
}

int __wrap_unlink(const char *path)
{
    (void)pthread_mutex_lock(&plan_mutex);
    note_call(); /* a full disk does not hinder it */
    (void)pthread_mutex_unlock(&plan_mutex);
    return __real_unlink(path);
}

int __wrap_rename(const char *from, const char *to)
{
    return fails() ? -1 : __real_rename(from, to);
}

static void fail_at(long call, long times, int error)
{
    memset(&plan, 0, sizeof plan);
    plan.left = call;
    plan.times = times;
    plan.error = error;
}

/* Rows as they come: few, a group's worth, with a new column, into the next slot. */
static const struct {
    uint32_t n;
    int64_t at;
    const char *extra;
} steps[] = {
    {10, 0, NULL},   {2000, 1, NULL},         {30, 2, "queueDelay"}, {980, 3, NULL},  {5, 4, NULL},
    {3990, 5, NULL}, {1200, 6, "httpStatus"}, {20, 300, NULL},       {20, 302, NULL},
};

/* Everything in steps, with call k failing so often. The number of calls that there were. */
static unsigned long run_with_failure(struct fixture *f, long call, long times, int error)
{
    char when[64];
    (void)snprintf(when, sizeof when, "call %ld, %ld times, %s", call, times, strerror(error));
    fixture_open(f);
    fail_at(call, times, error);
    uint64_t n = 0;
    for (size_t i = 0; i < UNIT_N(steps); i++) {
        int64_t ns = ROWS_START + steps[i].at * SECOND;
        weir_err err = {0};
        for (int tries = 0;; tries++) {
            UNIT_CHECK(tries < 20, "%s: step %zu never succeeds: %s", when, i, err.msg);
            weir_status s = fixture_try(f, n, steps[i].n, ns, steps[i].extra, &err);
            if (s == WEIR_OK)
                break;
            UNIT_CHECK(s == (error == ENOSPC ? WEIR_ELIMIT : WEIR_EIO), "%s: status %d: %s", when,
                       (int)s, err.msg);
            fixture_expect(f->dir, n, "queueDelay", when);
        }
        n += steps[i].n;
        if (i % 3 == 0 || failed_so_far())
            fixture_expect(f->dir, n, "queueDelay", when);
        (void)archive_writer_tick(f->w, ns, &err); /* may fail: the file stays open */
    }
    weir_err err = {0};
    (void)archive_writer_close(f->w, &err); /* may fail as well: */
    f->w = NULL;
    fixture_expect(f->dir, n, "queueDelay", when);
    unsigned long calls = plan.calls;
    fail_at(0, 0, 0);
    fixture_open(f); /* the next start puts that right */
    fixture_expect(f->dir, n, "httpStatus", when);
    UNIT_CHECK(fixture_count(f, ".part") == 0 && fixture_count(f, ".journal") == 0,
               "%s: an open file is left", when);
    fixture_close(f);
    UNIT_CHECK(fixture_verify(f->dir) == 0, "%s: not sound", when);
    return calls;
}

static void empty(struct fixture *f)
{
    (void)nftw(f->dir, fixture_remove, 16, FTW_DEPTH | FTW_PHYS);
    assert_int_equal(mkdir(f->dir, 0700), 0);
}

static void every_call_fails_once(void **state)
{
    struct fixture *f = *state;
    f->o.sync = ARCHIVE_SYNC_FLUSH;
    unsigned long calls = run_with_failure(f, 0, 0, 0);
    assert_in_range(calls, 40, 1000000);
    long step = calls > 100 ? (long)calls / 80 : 1;
    for (long k = 1; k <= (long)calls; k += step) {
        empty(f);
        (void)run_with_failure(f, k, 1, k % 2 ? ENOSPC : EIO);
    }
}

static void a_full_disk_for_a_while(void **state)
{
    struct fixture *f = *state;
    f->o.sync = ARCHIVE_SYNC_CLOSE;
    unsigned long calls = run_with_failure(f, 0, 0, 0);
    for (long k = 1; k <= (long)calls; k += (long)calls / 25) {
        empty(f);
        (void)run_with_failure(f, k, 4, ENOSPC);
    }
}

/* The same with a closer: what fails in its thread is tried again. */
static void a_full_disk_and_a_closer(void **state)
{
    struct fixture *f = *state;
    f->o.closer = true;
    f->o.file_octets = 1;
    a_full_disk_for_a_while(state);
}

/* A disk that takes its time to close a file does not hold up the next. */
static void a_slow_disk_and_a_closer(void **state)
{
    struct fixture *f = *state;
    f->o.closer = true;
    f->o.sync = ARCHIVE_SYNC_CLOSE;
    f->o.file_octets = 1;
    fail_at(0, 0, 0);
    fixture_open(f);
    gate_shut(true);
    for (uint64_t i = 0; i < 4; i++)
        fixture_store(f, i * 2000, 2000, ROWS_START, NULL);
    assert_int_equal(fixture_count(f, ".parquet"), 0);
    assert_int_equal(fixture_count(f, ".part"), 4);
    fixture_expect(f->dir, 8000, NULL, "being closed");
    gate_shut(false);
    fixture_close(f);
    assert_int_equal(fixture_count(f, ".parquet"), 4);
    fixture_expect(f->dir, 8000, NULL, "closed");
}

/* The columns of a store that failed are forgotten: another type under the same name is as good. */
static void columns_of_a_failure(void **state)
{
    struct fixture *f = *state;
    weir_err err = {0};
    fixture_open(f);
    fixture_store(f, 0, 10, ROWS_START, NULL);
    fail_at(1, 1, ENOSPC);
    assert_int_equal(fixture_try(f, 10, 10, ROWS_START, "queueDelay", &err), WEIR_ELIMIT);
    fail_at(0, 0, 0);
    flow_batch *b = flow_batch_new(FLOW_TABLE_FLOWS);
    assert_true(b && rows_fill(b, 10, 10, ROWS_START, NULL));
    uint32_t x = flow_batch_extra(b, "queueDelay", FLOW_TYPE_TEXT, false);
    assert_true(flow_batch_set_key(b, x, 3, "long", 4));
    UNIT_CHECK(archive_writer_store(f->w, b, ROWS_START, &err) == WEIR_OK, "%s", err.msg);
    flow_batch_free(b);
    fixture_close(f);
    fixture_expect(f->dir, 20, NULL, "closed");
    assert_int_equal(fixture_count(f, ".parquet"), 1);
}

/* Full for so long that slots go by: what was stored stays readable, closing goes on trying. */
static void a_full_disk_over_slots(void **state)
{
    struct fixture *f = *state;
    weir_err err = {0};
    fixture_open(f);
    fixture_store(f, 0, 500, ROWS_START, NULL);
    fail_at(1, 1000000, ENOSPC);
    for (int slot = 1; slot < 40; slot++) {
        int64_t ns = ROWS_START + slot * 300 * SECOND;
        assert_int_equal(fixture_try(f, 500, 10, ns, NULL, &err), WEIR_ELIMIT);
        assert_non_null(strstr(err.msg, "No space left"));
        assert_int_equal(archive_writer_tick(f->w, ns + 2 * SECOND, &err), WEIR_ELIMIT);
    }
    fixture_expect(f->dir, 500, NULL, "full");
    assert_int_equal(fixture_count(f, ".part"), 1); /* none was left behind by the attempts */
    assert_int_equal(fixture_count(f, ".journal"), 1);
    fail_at(0, 0, 0);
    fixture_store(f, 500, 10, ROWS_START + 41 * 300 * SECOND, NULL);
    assert_int_equal(archive_writer_tick(f->w, ROWS_START + 42 * 300 * SECOND, &err), WEIR_OK);
    fixture_expect(f->dir, 510, NULL, "room again");
    /* A start while the disk is full: recovery waits, rows are seen, and a tick finishes it later. */
    fixture_close(f);
    empty(f);
    fixture_open(f);
    fixture_store(f, 0, 500, ROWS_START, NULL);
    char copy[80];
    (void)snprintf(copy, sizeof copy, "%s-copy", f->dir);
    fixture_copy(f, copy);
    fixture_close(f);
    f->o.dir = copy;
    fail_at(1, 1000000, ENOSPC);
    fixture_open(f);
    assert_non_null(strstr(f->said, "cannot be finished now"));
    fixture_expect(copy, 500, NULL, "not recovered");
    fail_at(0, 0, 0);
    assert_int_equal(archive_writer_tick(f->w, ROWS_START + 43 * 300 * SECOND, &err), WEIR_OK);
    assert_int_equal(fixture_find(copy, ".part", NULL, 0), 0);
    assert_int_equal(archive_writer_counters(f->w)->recovered_rows, 500);
    fixture_expect(copy, 500, NULL, "recovered late");
    fixture_close(f);
    f->o.dir = f->dir;
    (void)nftw(copy, fixture_remove, 16, FTW_DEPTH | FTW_PHYS);
}

/* What a crash before call k leaves, for each k: every row stored before is seen at once, and after recovery. */
static void every_call_may_be_the_last(void **state)
{
    struct fixture *f = *state;
    unsigned long calls = 1;
    for (unsigned long k = 1; k <= calls; k++) {
        weir_err err = {0};
        char when[32];
        (void)snprintf(when, sizeof when, "crash at call %lu", k);
        empty(f);
        fixture_open(f);
        fail_at(0, 0, 0);
        plan.crash_at = k;
        plan.f = f;
        (void)snprintf(plan.copy, sizeof plan.copy, "%s-copy", f->dir);
        uint64_t n = 0;
        for (size_t i = 0; i < UNIT_N(steps); i++) {
            fixture_store(f, n, steps[i].n, ROWS_START + steps[i].at * SECOND, steps[i].extra);
            plan.stored = n += steps[i].n;
            (void)archive_writer_tick(f->w, ROWS_START + steps[i].at * SECOND, &err);
        }
        fixture_close(f);
        calls = plan.calls;
        UNIT_CHECK(k > calls || access(plan.copy, F_OK) == 0, "%s: no copy", when);
        struct rows_seen seen;
        UNIT_CHECK(rows_read(plan.copy, n, "queueDelay", true, &seen), "%s: %s", when,
                   seen.err.msg);
        uint64_t rows = seen.total;
        UNIT_CHECK(rows >= plan.copied && rows <= n && !seen.twice && !seen.wrong &&
                       (rows == 0 || seen.times[rows - 1]),
                   "%s: %llu rows seen, %llu stored", when, (unsigned long long)rows,
                   (unsigned long long)plan.copied);
        rows_seen_done(&seen);
        plan.crash_at = 0;
        UNIT_CHECK(archive_repair(plan.copy, true, NULL, NULL, &err) == WEIR_OK, "%s: %s", when,
                   err.msg);
        fixture_expect(plan.copy, rows, "httpStatus", when);
        UNIT_CHECK(fixture_verify(plan.copy) == 0, "%s: not sound", when);
    }
    (void)nftw(plan.copy, fixture_remove, 16, FTW_DEPTH | FTW_PHYS);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(every_call_fails_once),    TEST(every_call_may_be_the_last),
        TEST(a_full_disk_for_a_while),  TEST(a_full_disk_and_a_closer),
        TEST(a_slow_disk_and_a_closer), TEST(a_full_disk_over_slots),
        TEST(columns_of_a_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
