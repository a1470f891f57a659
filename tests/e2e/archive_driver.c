/* archive_driver -- what test_archive_crash.py kills, and what looks at the remains. Two writers (lanes) have every second number
 * each; COUNTS are four: flows and rows of the ledger of lane 0, then of lane 1.
 *
 *   write DIR COUNTS SEED       two threads store rows behind COUNTS for ever; after each store that succeeded a line with the
 *                               lane and its two counts goes to standard output
 *   fill DIR N START            one writer stores N flows received from second START on, 20 a second, and closes
 *   fill-ledger DIR N START     the same, with a row of the ledger after each store. Both print the two counts
 *   compact DIR                 compact hours that are over, again and again
 *   read DIR COUNTS             every number below COUNTS is there once, and none above the first gap. Prints COUNTS
 *   check DIR COUNTS            recover, then the same, and every file verifies
 *   race DIR SECONDS            write, compact and read at the same time; every reading must be a consistent snapshot */
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

/* One writer with its rows: those of the numbers lane, lane + lanes, ... */
struct feed {
    archive_writer *w;
    flow_batch *b, *ledger;
    uint64_t next, next_ledger, random; /* how many it has stored */
    int64_t now;
    unsigned lane, lanes;
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
                       .ledger = flow_batch_new(FLOW_TABLE_LEDGER),
                       .next = first,
                       .random = seed * 2654435761U + 1,
                       .now = ROWS_START + (int64_t)first * SECOND / 20,
                       .lanes = 1};
    return f->b && f->ledger ? archive_writer_open(&o, &f->w, err) : WEIR_ENOMEM;
}

/* Another one beside it, with every second number. */
static weir_status feed_beside(struct feed *f, struct feed *first, uint64_t n, uint64_t seed,
                               weir_err *err)
{
    struct archive_options o = small;
    o.beside = first->w;
    o.worker = 1;
    o.sync = ARCHIVE_SYNC_NEVER;
    *f = *first;
    f->b = flow_batch_new(FLOW_TABLE_FLOWS);
    f->ledger = flow_batch_new(FLOW_TABLE_LEDGER);
    f->next = n;
    f->random = seed * 0x9e3779b97f4a7c15U + 7;
    f->now = ROWS_START + (int64_t)n * SECOND / 20;
    f->lane = 1;
    f->lanes = first->lanes = 2;
    return f->b && f->ledger ? archive_writer_open(&o, &f->w, err) : WEIR_ENOMEM;
}

static weir_status feed_step(struct feed *f, weir_err *err)
{
    uint32_t n = choose_rows(&f->random);
    f->now += n * SECOND / 20;
    flow_batch_reset(f->b);
    if (!rows_fill_steps(f->b, f->next * f->lanes + f->lane, f->lanes, n, f->now,
                         choose_extra(&f->random)))
        return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
    WEIR_TRY(archive_writer_store(f->w, f->b, f->now, err));
    f->next += n;
    return archive_writer_tick(f->w, f->now, err);
}

static weir_status feed_ledger(struct feed *f, weir_err *err)
{
    flow_batch_reset(f->ledger);
    if (!rows_fill_ledger(f->ledger, f->next_ledger * f->lanes + f->lane, f->lane, f->now))
        return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
    WEIR_TRY(archive_writer_store(f->w, f->ledger, f->now, err));
    f->next_ledger++;
    return WEIR_OK;
}

static void feed_done(struct feed *f)
{
    flow_batch_free(f->b);
    flow_batch_free(f->ledger);
}

/* Store for ever, and say after each store how much there is: "lane flows ledger". */
static void *write_lane(void *arg)
{
    struct feed *f = arg;
    weir_err err = {0};
    for (;;) {
        if (feed_step(f, &err) != WEIR_OK ||
            (next_random(&f->random) % 4 == 0 && feed_ledger(f, &err) != WEIR_OK))
            exit(fail("store", &err));
        char line[64];
        int len = snprintf(line, sizeof line, "%u %llu %llu\n", f->lane,
                           (unsigned long long)f->next, (unsigned long long)f->next_ledger);
        if (write(STDOUT_FILENO, line, (size_t)len) != len)
            return NULL; /* the test is gone */
    }
}

/* Two writers, each in its thread. counts: flows and rows of the ledger that each lane has already. */
static int run_write(const char *dir, const uint64_t counts[4], uint64_t seed)
{
    weir_err err = {0};
    struct feed f[2];
    pthread_t other;
    if (feed_open(&f[0], dir, counts[0], seed, &err) != WEIR_OK ||
        feed_beside(&f[1], &f[0], counts[2], seed, &err) != WEIR_OK)
        return fail("open", &err);
    f[0].next_ledger = counts[1];
    f[1].next_ledger = counts[3];
    if (pthread_create(&other, NULL, write_lane, &f[1]) != 0)
        return 1;
    (void)write_lane(&f[0]);
    (void)pthread_join(other, NULL);
    return 0;
}

/* Flows from then on, and with_ledger a row of the ledger for each store. */
static int run_fill(const char *dir, uint64_t n, int64_t start_s, bool with_ledger)
{
    weir_err err = {0};
    struct feed f;
    if (feed_open(&f, dir, 0, 1, &err) != WEIR_OK)
        return fail("open", &err);
    f.now = start_s * SECOND;
    while (f.next < n) {
        if (feed_step(&f, &err) != WEIR_OK || (with_ledger && feed_ledger(&f, &err) != WEIR_OK))
            return fail("store", &err);
    }
    if (archive_writer_close(f.w, &err) != WEIR_OK)
        return fail("close", &err);
    (void)printf("%llu %llu\n", (unsigned long long)f.next, (unsigned long long)f.next_ledger);
    feed_done(&f);
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

/* How many numbers of a lane are there without a gap. */
static uint64_t without_gap(const struct rows_seen *seen, unsigned lane)
{
    uint64_t n = 0;
    while (2 * n + lane < seen->n && seen->times[2 * n + lane])
        n++;
    return n;
}

/* Of one table: what was acknowledged is there, once, and nothing but what was stored. *n: what each lane has. */
static bool check_table(const char *what, bool good, const struct rows_seen *seen,
                        const uint64_t acked[2], uint64_t n[2])
{
    for (unsigned lane = 0; lane < 2; lane++)
        n[lane] = without_gap(seen, lane);
    good = good && n[0] >= acked[0] && n[1] >= acked[1] && n[0] + n[1] == seen->total &&
           !seen->twice && !seen->alien && !seen->wrong;
    if (!good)
        (void)fprintf(
            stderr,
            "archive_driver: %s: %llu and %llu acknowledged, numbers go to %llu and %llu, "
            "%llu rows, %llu twice, %llu alien, %llu wrong, %llu open: %s\n",
            what, (unsigned long long)acked[0], (unsigned long long)acked[1],
            (unsigned long long)n[0], (unsigned long long)n[1], (unsigned long long)seen->total,
            (unsigned long long)seen->twice, (unsigned long long)seen->alien,
            (unsigned long long)seen->wrong, (unsigned long long)seen->open_parts, seen->err.msg);
    return good;
}

/* counts: as for write, what was acknowledged. */
static int run_check(const char *dir, const uint64_t counts[4], bool recover)
{
    weir_err err = {0};
    struct archive_options o = small;
    archive_writer *w = NULL;
    uint64_t n_files, n_bad, n[2], n_ledger[2];
    o.dir = dir;
    o.log = say;
    if (recover &&
        (archive_writer_open(&o, &w, &err) != WEIR_OK || archive_writer_close(w, &err) != WEIR_OK))
        return fail("recover", &err);
    if (archive_verify(dir, report, NULL, &n_files, &n_bad, &err) != WEIR_OK)
        return fail("verify", &err);
    struct rows_seen flows, ledger;
    bool read = rows_read(dir, 2 * (counts[0] > counts[2] ? counts[0] : counts[2]) + 1000000,
                          "httpStatus", true, &flows);
    bool good = check_table("flows", read, &flows, (const uint64_t[]){counts[0], counts[2]}, n);
    read = rows_read_ledger(dir, 2 * (counts[1] > counts[3] ? counts[1] : counts[3]) + 100000,
                            &ledger);
    good &=
        check_table("ledger", read, &ledger, (const uint64_t[]){counts[1], counts[3]}, n_ledger);
    uint64_t open = flows.open_parts + ledger.open_parts;
    rows_seen_done(&flows);
    rows_seen_done(&ledger);
    if (n_bad || (recover && open)) {
        (void)fprintf(stderr, "archive_driver: %llu of %llu files bad, %llu open\n",
                      (unsigned long long)n_bad, (unsigned long long)n_files,
                      (unsigned long long)open);
        return 1;
    }
    (void)printf("%llu %llu %llu %llu\n", (unsigned long long)n[0], (unsigned long long)n_ledger[0],
                 (unsigned long long)n[1], (unsigned long long)n_ledger[1]);
    return !good;
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
    feed_done(&f);
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
    uint64_t counts[4] = {0};
    for (int i = 0; i < 4 && i + 3 < argc; i++)
        counts[i] = strtoull(argv[i + 3], NULL, 10);
    if (argc == 8 && strcmp(argv[1], "write") == 0)
        return run_write(argv[2], counts, strtoull(argv[7], NULL, 10));
    if (argc == 5 && strcmp(argv[1], "fill") == 0)
        return run_fill(argv[2], counts[0], (int64_t)counts[1], false);
    if (argc == 5 && strcmp(argv[1], "fill-ledger") == 0)
        return run_fill(argv[2], counts[0], (int64_t)counts[1], true);
    if (argc == 3 && strcmp(argv[1], "compact") == 0)
        return run_compact(argv[2]);
    if (argc == 7 && strcmp(argv[1], "check") == 0)
        return run_check(argv[2], counts, true);
    if (argc == 7 && strcmp(argv[1], "read") == 0)
        return run_check(argv[2], counts, false);
    if (argc == 4 && strcmp(argv[1], "race") == 0)
        return run_race(argv[2], strtod(argv[3], NULL));
    (void)fprintf(stderr,
                  "usage: archive_driver write|fill|fill-ledger|compact|read|check|race DIR ...\n");
    return 2;
}
