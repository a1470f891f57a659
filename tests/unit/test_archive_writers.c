/* Several writers of one archive, each in its thread, beside a reader and a compaction; and what stays of all of them after a
 * crash. */
#include "archive_dir.h"

#include <pthread.h>
#include <stdatomic.h>

#define HOUR (3600 * SECOND)

enum { MAX_WRITERS = 8 };

static archive_writer *open_beside(const struct fixture *f, archive_writer *beside, unsigned worker)
{
    struct archive_options o = f->o;
    archive_writer *w = NULL;
    weir_err err = {0};
    o.worker = worker;
    o.beside = beside;
    if (beside)
        o.dir = NULL;
    UNIT_CHECK(archive_writer_open(&o, &w, &err) == WEIR_OK, "open %u: %s", worker, err.msg);
    return w;
}

static void store(archive_writer *w, uint64_t first, uint32_t n, int64_t ns)
{
    weir_err err = {0};
    flow_batch *b = flow_batch_new(FLOW_TABLE_FLOWS);
    assert_true(b && rows_fill(b, first, n, ns, NULL));
    UNIT_CHECK(archive_writer_store(w, b, ns, &err) == WEIR_OK, "%s", err.msg);
    flow_batch_free(b);
}

static void close_all(archive_writer **w, size_t n)
{
    while (n-- > 0) {
        weir_err err = {0};
        UNIT_CHECK(archive_writer_close(w[n], &err) == WEIR_OK, "close %zu: %s", n, err.msg);
    }
}

static void writers_stand_beside_each_other(void **state)
{
    struct fixture *f = *state;
    archive_writer *w[3], *bad = NULL;
    weir_err err = {0};
    char path[512];
    w[0] = open_beside(f, NULL, 0);
    w[1] = open_beside(f, w[0], 1);
    w[2] = open_beside(f, w[1], 7); /* beside any of them */
    for (unsigned i = 0; i < 3; i++)
        store(w[i], i * 10, 10, ROWS_START);
    fixture_expect(f->dir, 30, NULL, "three writers");
    assert_int_equal(fixture_count(f, ".part"), 3);
    struct archive_options o = f->o;
    o.beside = w[0];
    o.worker = 7;
    assert_int_equal(archive_writer_open(&o, &bad, &err), WEIR_EINVAL);
    assert_non_null(strstr(err.msg, "writer 7"));
    o.worker = 8;
    o.dir = "/tmp";
    assert_int_equal(archive_writer_open(&o, &bad, &err), WEIR_EINVAL);
    assert_null(bad);
    assert_int_equal(archive_repair(f->dir, false, NULL, NULL, &err), WEIR_ELIMIT);
    close_all(w + 2, 1);
    w[2] = open_beside(f, w[0], 7); /* again, while the others go on */
    store(w[2], 30, 10, ROWS_START);
    close_all(w, 3);
    assert_int_equal(fixture_find(f->dir, ".parquet", path, sizeof path), 4);
    assert_non_null(strstr(path, "/20261122T210000Z-w7-000004.parquet"));
    fixture_expect(f->dir, 40, NULL, "closed");
    assert_string_equal(f->said, "");
}

static void the_first_is_closed_last(void **state)
{
    struct fixture *f = *state;
    archive_writer *w[2], *again = NULL;
    weir_err err = {0};
    w[0] = open_beside(f, NULL, 0);
    w[1] = open_beside(f, w[0], 1);
    store(w[0], 0, 10, ROWS_START);
    assert_int_equal(archive_writer_close(w[0], &err), WEIR_EINVAL);
    assert_non_null(strstr(err.msg, "before 1 beside it"));
    assert_int_equal(archive_writer_open(&f->o, &again, &err), WEIR_ELIMIT); /* still locked */
    store(w[1], 10, 10, ROWS_START);
    assert_int_equal(archive_writer_close(w[1], &err), WEIR_OK);
    fixture_expect(f->dir, 20, NULL, "closed");
    fixture_open(f);
}

/* Starts with fewer and more writers than before, each after a crash: all rows of all of them come back, no file takes
 * the place of another. */
static void crashes_with_any_number_of_writers(void **state)
{
    struct fixture *f = *state;
    static const unsigned counts[] = {4, 1, 3, 8, 2};
    const char *const original = f->dir;
    char copies[2][80];
    uint64_t n = 0;
    unsigned files = 0;
    for (int i = 0; i < 2; i++)
        (void)snprintf(copies[i], sizeof copies[i], "%s-copy%d", original, i);
    for (size_t run = 0; run < UNIT_N(counts); run++) {
        archive_writer *w[MAX_WRITERS];
        uint64_t before = n;
        f->said[0] = 0;
        for (unsigned i = 0; i < counts[run]; i++)
            w[i] = open_beside(f, i ? w[0] : NULL, i);
        if (run) {
            assert_int_equal(archive_writer_counters(w[0])->recovered_files, counts[run - 1]);
            fixture_expect(f->o.dir, n, NULL, "after a start");
            assert_int_equal(fixture_find(f->o.dir, ".part", NULL, 0), 0);
        }
        for (unsigned step = 0; step < 3; step++) {
            for (unsigned i = 0; i < counts[run]; i++, n += 700)
                store(w[i], n, 700, ROWS_START + (int64_t)run * SECOND);
        }
        files += counts[run];
        /* The archive as it is now, and the lock of this process not in the way. */
        const char *copy = copies[run % 2];
        (void)nftw(copy, fixture_remove, 16, FTW_DEPTH | FTW_PHYS);
        fixture_copy_tree(f->o.dir, copy);
        close_all(w, counts[run]);
        assert_true(n > before);
        f->o.dir = copy;
        if (run == 2) { /* without the lock file numbers come from the names there are */
            char lock[128];
            (void)snprintf(lock, sizeof lock, "%s/lock", copy);
            assert_int_equal(unlink(lock), 0);
        }
    }
    fixture_open(f);
    fixture_close(f);
    fixture_expect(f->o.dir, n, NULL, "the end");
    assert_int_equal(fixture_find(f->o.dir, ".parquet", NULL, 0), files);
    assert_int_equal(fixture_verify(f->o.dir), 0);
    f->o.dir = original;
    for (int i = 0; i < 2; i++)
        (void)nftw(copies[i], fixture_remove, 16, FTW_DEPTH | FTW_PHYS);
}

/* --- threads ----------------------------------------------------------------------------------------- */

enum { N_THREADS = 4, ROWS_EACH = 40000, LEDGER_ROWS = 20 };

struct race {
    const struct fixture *f;
    archive_writer *first;
    _Atomic uint64_t stored[N_THREADS]; /* how many of its rows each has stored */
    _Atomic uint64_t ledger;
    _Atomic int64_t now[N_THREADS];
    atomic_uint done;
    atomic_bool failed;
};

struct racer {
    struct race *r;
    unsigned worker;
    archive_writer *w;
};

static bool race_fail(struct race *r, const char *what, const weir_err *err)
{
    if (!atomic_exchange(&r->failed, true))
        print_message("%s: %s\n", what, err->msg);
    return false;
}

/* Its rows are those whose number is its own modulo the number of threads, in portions of all sizes over four hours. */
static void *race_write(void *arg)
{
    struct racer *me = arg;
    struct race *r = me->r;
    weir_err err = {0};
    flow_batch *b = flow_batch_new(FLOW_TABLE_FLOWS), *l = flow_batch_new(FLOW_TABLE_LEDGER);
    uint64_t n = 0, random = me->worker + 1, ledger = 0;
    while (n < ROWS_EACH && !r->failed) {
        random = random * 6364136223846793005U + 1442695040888963407U;
        uint64_t portion = random >> 60 == 0 ? 1500 : 1 + (random >> 40) % 200;
        portion = portion < ROWS_EACH - n ? portion : ROWS_EACH - n;
        int64_t ns = ROWS_START + (int64_t)(n * 4 * (uint64_t)HOUR / ROWS_EACH);
        flow_batch_reset(b);
        bool good =
            rows_fill_steps(b, n * N_THREADS + me->worker, N_THREADS, (uint32_t)portion, ns, NULL);
        good = good && archive_writer_store(me->w, b, ns, &err) == WEIR_OK;
        n += portion;
        r->stored[me->worker] = n;
        flow_batch_reset(l);
        if (good && n * LEDGER_ROWS / ROWS_EACH > ledger) {
            good = rows_fill_ledger(l, ledger++ * N_THREADS + me->worker, me->worker, ns) &&
                   archive_writer_store(me->w, l, ns, &err) == WEIR_OK;
            r->ledger++;
        }
        r->now[me->worker] = ns;
        if (!good || archive_writer_tick(me->w, ns, &err) != WEIR_OK)
            (void)race_fail(r, "store", &err);
    }
    flow_batch_free(b);
    flow_batch_free(l);
    r->done++;
    return NULL;
}

static void *race_compact(void *arg)
{
    struct race *r = arg;
    uint64_t compacted = 0;
    for (bool last = false; !last && !r->failed;) {
        weir_err err = {0};
        struct archive_compact_counters c;
        int64_t now = INT64_MAX;
        last = r->done == N_THREADS; /* once more when all is there */
        for (unsigned i = 0; i < N_THREADS; i++)
            now = r->now[i] < now ? r->now[i] : now;
        struct archive_compact_options o = {
            .dir = r->f->dir, .zstd_level = 1, .group_rows = 5000, .older_than_ns = now};
        if (archive_compact(&o, &c, &err) != WEIR_OK)
            (void)race_fail(r, "compact", &err);
        compacted += c.files_before;
    }
    if (compacted == 0)
        (void)race_fail(r, "compact", &(weir_err){.msg = "nothing to do"});
    return NULL;
}

static bool race_read(struct race *r)
{
    uint64_t before[N_THREADS], ledger_before = r->ledger;
    for (unsigned i = 0; i < N_THREADS; i++)
        before[i] = r->stored[i];
    struct rows_seen seen;
    bool good = rows_read(r->f->dir, (uint64_t)N_THREADS * ROWS_EACH, NULL, false, &seen);
    if (!good)
        (void)race_fail(r, "read", &seen.err);
    for (unsigned i = 0; i < N_THREADS && good; i++) {
        uint64_t n = 0;
        while (n < ROWS_EACH && seen.times[n * N_THREADS + i])
            n++;
        good = n >= before[i];
    }
    if (!good || seen.twice || seen.alien) {
        print_message("%llu rows, %llu twice, %llu alien\n", (unsigned long long)seen.total,
                      (unsigned long long)seen.twice, (unsigned long long)seen.alien);
        good = false;
    }
    rows_seen_done(&seen);
    if (!rows_read_ledger(r->f->dir, N_THREADS * LEDGER_ROWS, &seen) ||
        seen.total < ledger_before || seen.twice || seen.alien)
        good = race_fail(r, "ledger", &seen.err);
    rows_seen_done(&seen);
    return good;
}

/* No row is missing or twice at any moment, whoever writes, closes files and merges them meanwhile. */
static void four_threads_write_at_once(void **state)
{
    struct fixture *f = *state;
    struct race r = {.f = f};
    struct racer all[N_THREADS];
    archive_writer *w[N_THREADS];
    pthread_t threads[N_THREADS], compacter;
    struct rows_seen ledger;
    f->o.log = NULL; /* called by all of them */
    for (unsigned i = 0; i < N_THREADS; i++) {
        w[i] = open_beside(f, i ? w[0] : NULL, i);
        r.now[i] = ROWS_START;
    }
    for (unsigned i = 0; i < N_THREADS; i++) {
        all[i] = (struct racer){&r, i, w[i]};
        assert_int_equal(pthread_create(&threads[i], NULL, race_write, &all[i]), 0);
    }
    assert_int_equal(pthread_create(&compacter, NULL, race_compact, &r), 0);
    unsigned readings = 0;
    while (r.done < N_THREADS && !r.failed) {
        if (!race_read(&r))
            r.failed = true;
        readings++;
    }
    for (unsigned i = 0; i < N_THREADS; i++)
        (void)pthread_join(threads[i], NULL);
    (void)pthread_join(compacter, NULL);
    assert_false(r.failed);
    assert_in_range(readings, 1, 1000000);
    close_all(w, N_THREADS);
    fixture_expect(f->dir, (uint64_t)N_THREADS * ROWS_EACH, NULL, "the end");
    assert_true(rows_read_ledger(f->dir, N_THREADS * LEDGER_ROWS, &ledger));
    assert_int_equal(ledger.total, N_THREADS * LEDGER_ROWS);
    assert_int_equal(ledger.twice + ledger.alien, 0);
    rows_seen_done(&ledger);
    assert_int_equal(fixture_verify(f->dir), 0);
    assert_int_equal(fixture_count(f, ".part") + fixture_count(f, ".journal"), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(writers_stand_beside_each_other),
        TEST(the_first_is_closed_last),
        TEST(crashes_with_any_number_of_writers),
        TEST(four_threads_write_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
