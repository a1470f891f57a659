/* archive_driver -- what test_archive_crash.py kills, and what looks at the remains.
 *
 *   write DIR FIRST SEED   store rows numbered from FIRST for ever; after each store that succeeded the next number
 *                          goes to standard output as a line
 *   fill DIR N START       store N rows received from second START on, 20 a second, and close
 *   compact DIR            compact hours that are over, again and again
 *   read DIR ACKED         every number below ACKED is there once, and none above the first gap. Prints the number of rows
 *   check DIR ACKED        recover, then the same, and every file verifies
 *   race DIR SECONDS       write, compact and read at the same time; every reading must be a consistent snapshot */
#include "../unit/archive_rows.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#define SECOND INT64_C(1000000000)

static const struct archive_options small = {
    .direct_rows = 1000, .group_rows = 4000, .rotate_ns = 300 * SECOND};

static void say(void *user, const char *text)
{
    (void)user;
    (void)fprintf(stderr, "%s\n", text);
}

static int fail(const char *what, const weir_err *err)
{
    (void)fprintf(stderr, "archive_driver: %s: %s\n", what, err->msg);
    return 1;
}

static uint32_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005U + 1442695040888963407U;
    return (uint32_t)(*state >> 33);
}

/* Rows of a store, mostly few, sometimes a row group of their own. */
static uint32_t choose_rows(uint64_t *state)
{
    uint32_t r = next_random(state), n = 1 + next_random(state) % (r % 16 == 0  ? 3000
                                                                   : r % 4 == 0 ? 400
                                                                                : 40);
    return n;
}

static const char *choose_extra(uint64_t *state)
{
    uint32_t r = next_random(state) % 32;
    return r == 0 ? "httpStatus" : r == 1 ? "queueDelay" : NULL;
}

struct feed {
    archive_writer *w;
    flow_batch *b;
    uint64_t next, random;
    int64_t now;
};

static weir_status feed_open(struct feed *f, const char *dir, uint64_t first, uint64_t seed,
                             weir_err *err)
{
    struct archive_options o = small;
    o.dir = dir;
    o.sync = seed % 4 == 0 ? ARCHIVE_SYNC_CLOSE
                           : ARCHIVE_SYNC_NEVER; /* a kill loses nothing the kernel has */
    /* Time goes on from run to run, faster than it does: most runs see some files closed. */
    *f = (struct feed){.b = flow_batch_new(FLOW_TABLE_FLOWS),
                       .next = first,
                       .random = seed * 2654435761U + 1,
                       .now = ROWS_START + (int64_t)first * SECOND / 20};
    return f->b ? archive_writer_open(&o, &f->w, err) : WEIR_ENOMEM;
}

static weir_status feed_step(struct feed *f, weir_err *err)
{
    uint32_t n = choose_rows(&f->random);
    f->now += n * SECOND / 20;
    flow_batch_reset(f->b);
    if (!rows_fill(f->b, f->next, n, f->now, choose_extra(&f->random)))
        return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
    WEIR_TRY(archive_writer_store(f->w, f->b, f->now, err));
    f->next += n;
    return archive_writer_tick(f->w, f->now, err);
}

static int run_write(const char *dir, uint64_t first, uint64_t seed)
{
    weir_err err = {0};
    struct feed f;
    if (feed_open(&f, dir, first, seed, &err) != WEIR_OK)
        return fail("open", &err);
    for (;;) {
        if (feed_step(&f, &err) != WEIR_OK)
            return fail("store", &err);
        char line[32];
        int len = snprintf(line, sizeof line, "%llu\n", (unsigned long long)f.next);
        if (write(STDOUT_FILENO, line, (size_t)len) != len)
            return 0; /* the test is gone */
    }
}

static int run_fill(const char *dir, uint64_t n, int64_t start_s)
{
    weir_err err = {0};
    struct feed f;
    if (feed_open(&f, dir, 0, 1, &err) != WEIR_OK)
        return fail("open", &err);
    f.now = start_s * SECOND;
    while (f.next < n) {
        if (feed_step(&f, &err) != WEIR_OK)
            return fail("store", &err);
    }
    flow_batch_free(f.b);
    if (archive_writer_close(f.w, &err) != WEIR_OK)
        return fail("close", &err);
    (void)printf("%llu\n", (unsigned long long)f.next);
    return 0;
}

static int run_compact(const char *dir)
{
    weir_err err = {0};
    struct archive_compact_options o = {.dir = dir,
                                        .zstd_level = 1,
                                        .group_rows = 5000,
                                        .older_than_ns = ROWS_START + 1000000 * (3600 * SECOND)};
    for (;;) {
        weir_status s = archive_compact(&o, NULL, &err);
        if (s != WEIR_OK && s != WEIR_ELIMIT && s != WEIR_ENOTFOUND)
            return fail("compact", &err);
    }
}

static void report(void *user, const char *path, uint64_t rows, const weir_err *err)
{
    (void)user;
    (void)rows;
    if (err)
        (void)fprintf(stderr, "archive_driver: %s: %s\n", path ? path : "", err->msg);
}

static int run_check(const char *dir, uint64_t acked, bool recover)
{
    weir_err err = {0};
    struct archive_options o = small;
    archive_writer *w = NULL;
    uint64_t n_files, n_bad;
    o.dir = dir;
    o.log = say;
    if (recover &&
        (archive_writer_open(&o, &w, &err) != WEIR_OK || archive_writer_close(w, &err) != WEIR_OK))
        return fail("recover", &err);
    if (archive_verify(dir, report, NULL, &n_files, &n_bad, &err) != WEIR_OK)
        return fail("verify", &err);
    struct rows_seen seen;
    if (!rows_read(dir, acked + 1000000, "httpStatus", true, &seen))
        return fail("read", &seen.err);
    uint64_t n = 0;
    while (n < seen.n && seen.times[n])
        n++;
    bool good = n_bad == 0 && n >= acked && n == seen.total && !seen.twice && !seen.alien &&
                !seen.wrong && (!recover || !seen.open_parts);
    rows_seen_done(&seen);
    if (!good) {
        (void)fprintf(stderr,
                      "archive_driver: %llu acknowledged, numbers go to %llu, %llu rows, %llu "
                      "twice, %llu alien, %llu wrong, "
                      "%llu of %llu files bad, %llu open\n",
                      (unsigned long long)acked, (unsigned long long)n,
                      (unsigned long long)seen.total, (unsigned long long)seen.twice,
                      (unsigned long long)seen.alien, (unsigned long long)seen.wrong,
                      (unsigned long long)n_bad, (unsigned long long)n_files,
                      (unsigned long long)seen.open_parts);
        return 1;
    }
    (void)printf("%llu\n", (unsigned long long)n);
    return 0;
}

/* --- race ------------------------------------------------------------------------------------------ */

struct race {
    const char *dir;
    atomic_bool stop, failed;
    _Atomic uint64_t stored, tried; /* numbers below are there, and may be there */
    _Atomic int64_t now;
    _Atomic uint64_t compacted;
};

static void *race_write(void *arg)
{
    struct race *r = arg;
    weir_err err = {0};
    struct feed f;
    if (feed_open(&f, r->dir, 0, 5, &err) != WEIR_OK) {
        (void)fail("open", &err);
        r->failed = true;
        return NULL;
    }
    while (!r->stop && !r->failed) {
        r->tried = f.next + 3001;
        if (feed_step(&f, &err) != WEIR_OK) {
            (void)fail("store", &err);
            r->failed = true;
        }
        r->stored = f.next;
        r->now = f.now;
    }
    if (archive_writer_close(f.w, &err) != WEIR_OK) {
        (void)fail("close", &err);
        r->failed = true;
    }
    flow_batch_free(f.b);
    return NULL;
}

static void *race_compact(void *arg)
{
    struct race *r = arg;
    while (!r->stop && !r->failed) {
        weir_err err = {0};
        struct archive_compact_counters c;
        int64_t now = r->now;
        if (now == 0)
            continue;
        struct archive_compact_options o = {.dir = r->dir,
                                            .zstd_level = 1,
                                            .group_rows = 5000,
                                            .older_than_ns = now - now % (3600 * SECOND)};
        if (archive_compact(&o, &c, &err) != WEIR_OK) {
            (void)fail("compact", &err);
            r->failed = true;
        }
        r->compacted += c.files_before;
    }
    return NULL;
}

static int run_race(const char *dir, double seconds)
{
    struct race r = {.dir = dir};
    pthread_t writer, compacter;
    struct timespec begin, now;
    uint64_t n_read = 0, n_open = 0;
    (void)clock_gettime(CLOCK_MONOTONIC, &begin);
    if (pthread_create(&writer, NULL, race_write, &r) != 0 ||
        pthread_create(&compacter, NULL, race_compact, &r) != 0)
        return 1;
    while (r.stored == 0 && !r.failed)
        ;
    do {
        uint64_t at_least = r.stored;
        struct rows_seen seen;
        bool good = rows_read(dir, at_least + 4000000, NULL, false, &seen);
        uint64_t at_most = r.tried, n = 0;
        while (n < seen.n && seen.times[n])
            n++;
        if (!good || n < at_least || seen.total != n || seen.total > at_most || seen.twice) {
            (void)fprintf(stderr,
                          "archive_driver: read %llu rows, up to %llu without a gap, %llu twice, "
                          "stored %llu to %llu: %s\n",
                          (unsigned long long)seen.total, (unsigned long long)n,
                          (unsigned long long)seen.twice, (unsigned long long)at_least,
                          (unsigned long long)at_most, seen.err.msg);
            r.failed = true;
        }
        n_open += seen.open_parts;
        n_read++;
        rows_seen_done(&seen);
        (void)clock_gettime(CLOCK_MONOTONIC, &now);
    } while (!r.failed &&
             (double)(now.tv_sec - begin.tv_sec) + (double)(now.tv_nsec - begin.tv_nsec) / 1e9 <
                 seconds);
    r.stop = true;
    (void)pthread_join(writer, NULL);
    (void)pthread_join(compacter, NULL);
    (void)printf("%llu readings, %llu open parts, %llu rows, %llu files compacted\n",
                 (unsigned long long)n_read, (unsigned long long)n_open,
                 (unsigned long long)r.stored, (unsigned long long)r.compacted);
    return r.failed || n_read == 0;
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "write") == 0)
        return run_write(argv[2], strtoull(argv[3], NULL, 10), strtoull(argv[4], NULL, 10));
    if (argc == 5 && strcmp(argv[1], "fill") == 0)
        return run_fill(argv[2], strtoull(argv[3], NULL, 10), strtoll(argv[4], NULL, 10));
    if (argc == 3 && strcmp(argv[1], "compact") == 0)
        return run_compact(argv[2]);
    if (argc == 4 && strcmp(argv[1], "check") == 0)
        return run_check(argv[2], strtoull(argv[3], NULL, 10), true);
    if (argc == 4 && strcmp(argv[1], "read") == 0)
        return run_check(argv[2], strtoull(argv[3], NULL, 10), false);
    if (argc == 4 && strcmp(argv[1], "race") == 0)
        return run_race(argv[2], strtod(argv[3], NULL));
    (void)fprintf(stderr, "usage: archive_driver write|fill|compact|read|check|race DIR ...\n");
    return 2;
}
