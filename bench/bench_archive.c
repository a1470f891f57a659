/* archive -- what storing costs: octets written for each octet of the files that stay, CPU, and what compaction makes of
 * them. Time is simulated: packets of the input count as received RATE flows a second, are stored once a simulated
 * second, and files are rotated by that clock. One JSON line out.
 *
 *     flowgen --format v9 --flows 1M --rate 200000 --payload v9.bin && bench_archive v9.bin DIR 200000 [HOURS]
 *
 * HOURS: go on so long, with the input again and again; then the archive is compacted
 * and opened by a reader, which is timed too. DIR must not exist; it is left behind. */
#include "archive/archive.h"
#include "flow/normalise.h"
#include "parquet/reader.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define SECOND INT64_C(1000000000)

struct bench {
    flow_normaliser *n;
    flow_batch *b;
    archive_writer *w;
    int64_t begin, now; /* simulated */
    double rate;
    uint64_t rows, n_stores;
    weir_err err;
};

static double cpu(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double wall(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void on_records(void *user, const weir_record *first, size_t n)
{
    struct bench *s = user;
    (void)flow_add_records(s->n, s->b, first, n);
}

static void on_record(void *user, const weir_record *r)
{
    struct bench *s = user;
    (void)flow_add_record(s->n, s->b, r);
}

static uint8_t *slurp(const char *path, size_t *len)
{
    FILE *f = fopen(path, "rb");
    if (!f || fseek(f, 0, SEEK_END) != 0) {
        perror(path);
        exit(1);
    }
    *len = (size_t)ftell(f);
    rewind(f);
    uint8_t *data = malloc(*len + 1);
    if (!data || fread(data, 1, *len, f) != *len) {
        perror(path);
        exit(1);
    }
    (void)fclose(f);
    return data;
}

static void check(struct bench *s, weir_status st)
{
    if (st == WEIR_OK)
        return;
    (void)fprintf(stderr, "bench_archive: %s\n", s->err.msg);
    exit(1);
}

/* What has come in since the last store, if a second has gone by. */
static void step(struct bench *s, bool last)
{
    int64_t now = s->begin + (int64_t)((double)(s->rows + flow_batch_rows(s->b)) / s->rate * 1e9);
    if (!last && now / SECOND == s->now / SECOND)
        return;
    check(s, archive_writer_store(s->w, s->b, s->now, &s->err));
    check(s, archive_writer_tick(s->w, s->now, &s->err));
    s->rows += flow_batch_rows(s->b);
    s->n_stores++;
    flow_batch_reset(s->b);
    s->now = now;
}

static uint64_t read_footers(const char *dir, uint64_t *files)
{
    archive_scan *scan = NULL;
    struct archive_part *parts = NULL;
    size_t n = 0;
    uint64_t rows = 0;
    if (archive_scan_open(dir, FLOW_TABLE_FLOWS, NULL, NULL, &scan, NULL) != WEIR_OK)
        return 0;
    while (archive_scan_next(scan, &parts, &n, NULL) == WEIR_OK) {
        for (size_t i = 0; i < n; i++)
            rows += parquet_n_rows(parts[i].file);
        *files += n;
        archive_scan_release(scan, parts, n);
    }
    archive_scan_close(scan);
    return rows;
}

static void feed(struct bench *s, const uint8_t *data, size_t len, int64_t until)
{
    const weir_handlers on = {.records = on_records, .record = on_record};
    do {
        weir_decoder *d = weir_decoder_new(NULL, NULL);
        flow_normaliser_forget(s->n);
        for (size_t at = 0; at + 8 <= len && (until == 0 || s->now < until);) {
            uint32_t head[2];
            memcpy(head, data + at, sizeof head);
            weir_endpoint from = {
                .family = 4, .port = 50000, .addr = {127, 0, 1, (uint8_t)(1 + head[1] % 250)}};
            (void)weir_decode(d, &from, s->now, data + at + 8, head[0], &on, s, NULL);
            at += 8 + head[0];
            step(s, false);
        }
        weir_decoder_free(d);
    } while (until && s->now < until);
    step(s, true);
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        (void)fprintf(stderr, "usage: bench_archive PAYLOADS DIR RATE [HOURS]\n");
        return 2;
    }
    size_t len;
    uint8_t *data = slurp(argv[1], &len);
    double rate = strtod(argv[3], NULL), hours = argc > 4 ? strtod(argv[4], NULL) : 0;
    struct bench s = {.n = flow_normaliser_new(),
                      .b = flow_batch_new(FLOW_TABLE_FLOWS),
                      .rate = rate,
                      .begin = INT64_C(1699999200) * SECOND}; /* an hour begins */
    struct archive_options o = {.dir = argv[2], .sync = ARCHIVE_SYNC_NEVER};
    s.now = s.begin;
    if (!s.n || !s.b)
        return 1;
    check(&s, archive_writer_open(&o, &s.w, &s.err));
    double begin = cpu();
    feed(&s, data, len, hours > 0 ? s.begin + (int64_t)(hours * 3600e9) : 0);
    double stored = cpu() - begin;
    /* The counters go with the writer: close it by hand, through the clock. */
    check(&s, archive_writer_tick(s.w, s.now + 3700 * SECOND, &s.err));
    struct archive_counters c = *archive_writer_counters(s.w);
    check(&s, archive_writer_close(s.w, &s.err));
    printf("{\"bench\":\"archive\",\"rate\":%.0f,\"flows\":%" PRIu64 ",\"simulated_s\":%" PRId64
           ",\"files\":%" PRIu64 ",\"groups\":%" PRIu64 ",\"octets_written\":%" PRIu64
           ",\"octets_files\":%" PRIu64
           ",\"write_amplification\":%.3f,\"octets_a_flow\":%.2f,\"cpu_s\":%.2f",
           rate, c.rows, (s.now - s.begin) / SECOND, c.files, c.groups, c.octets, c.octets_files,
           (double)c.octets / (double)c.octets_files, (double)c.octets_files / (double)c.rows,
           stored);
    if (hours > 0) {
        struct archive_compact_options co = {.dir = argv[2],
                                             .older_than_ns = s.now + 7200 * SECOND};
        struct archive_compact_counters cc = {0};
        uint64_t n_before = 0, n_after = 0;
        double t0 = wall();
        (void)read_footers(argv[2], &n_before);
        double before = wall() - t0;
        begin = cpu();
        check(&s, archive_compact(&co, &cc, &s.err));
        double compacting = cpu() - begin;
        t0 = wall();
        uint64_t rows = read_footers(argv[2], &n_after);
        printf(",\"open_s\":%.3f,\"compacted\":{\"files\":%" PRIu64 ",\"octets\":%" PRIu64
               ",\"octets_a_flow\":%.2f,\"of_before\":%.3f,\"cpu_s\":%.2f,\"open_s\":%.3f,\"rows\":"
               "%" PRIu64 "}",
               before, n_after, cc.octets_after, (double)cc.octets_after / (double)cc.rows,
               (double)cc.octets_after / (double)cc.octets_before, compacting, wall() - t0, rows);
        if (rows != c.rows) {
            (void)fprintf(stderr, "bench_archive: %" PRIu64 " rows read\n", rows);
            return 1;
        }
    }
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    printf(",\"max_rss_mb\":%ld}\n", usage.ru_maxrss / 1024);
    free(data);
    flow_batch_free(s.b);
    flow_normaliser_free(s.n);
    return 0;
}
