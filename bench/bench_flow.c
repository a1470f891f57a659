/* flow -- how many flows a second become rows of a batch on one core: by the batch path (a field at a time over the
 * records of a set) and by the record path. Input as bench_decode.c has it. One JSON line out: best of the runs.
 *
 *     flowgen --format v9 --flows 1M --payload v9.bin && bench/flow v9.bin [runs [batch]]      batch: that path alone, for a profiler */
#include "flow/normalise.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum { ROWS = 131072 }; /* then the batch is handed on */

struct sink {
    flow_normaliser *n;
    flow_batch *b;
    uint64_t rows, octets;
};

static void hand_on(struct sink *s)
{
    if (flow_batch_rows(s->b) < ROWS)
        return;
    s->rows += flow_batch_rows(s->b);
    s->octets += flow_batch_octets(s->b);
    flow_batch_reset(s->b);
}

static void on_records(void *user, const weir_record *first, size_t n)
{
    struct sink *s = user;
    (void)flow_add_records(s->n, s->b, first, n);
    hand_on(s);
}

static void on_record(void *user, const weir_record *r)
{
    struct sink *s = user;
    (void)flow_add_record(s->n, s->b, r);
    hand_on(s);
}

static double now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
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
    uint8_t *data = malloc(*len);
    if (!data || fread(data, 1, *len, f) != *len) {
        perror(path);
        exit(1);
    }
    (void)fclose(f);
    return data;
}

static double run(const uint8_t *data, size_t len, const weir_handlers *on, struct sink *s)
{
    weir_decoder *d = weir_decoder_new(NULL, NULL);
    flow_normaliser_forget(s->n);
    flow_batch_reset(s->b);
    double start = now();
    for (size_t at = 0; at + 8 <= len;) {
        uint32_t head[2];
        memcpy(head, data + at, sizeof head);
        weir_endpoint from = {
            .family = 4,
            .port = 50000,
            .addr = {127, 0, (uint8_t)(1 + head[1] / 250), (uint8_t)(head[1] % 250 + 1)}};
        (void)weir_decode(d, &from, INT64_C(1700000000000000000), data + at + 8, head[0], on, s,
                          NULL);
        at += 8 + head[0];
    }
    double took = now() - start;
    s->rows += flow_batch_rows(s->b);
    s->octets += flow_batch_octets(s->b);
    weir_decoder_free(d);
    return took;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        (void)fprintf(stderr, "usage: flow PAYLOADS [RUNS [batch]]\n");
        return 2;
    }
    size_t len;
    uint8_t *data = slurp(argv[1], &len);
    int runs = argc > 2 ? atoi(argv[2]) : 5;
    double best[2] = {1e9, 1e9};
    struct sink s = {.n = flow_normaliser_new(), .b = flow_batch_new(FLOW_TABLE_FLOWS)};
    if (!s.n || !s.b)
        return 1;
    const weir_handlers ways[2] = {{.record = on_record},
                                   {.records = on_records, .record = on_record}};
    for (int i = 0; i < runs * 2; i++) {
        if (argc > 3 && (i & 1) == 0)
            continue;
        s.rows = s.octets = 0;
        double took = run(data, len, &ways[i & 1], &s);
        if (took < best[i & 1])
            best[i & 1] = took;
    }
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    printf("{\"bench\":\"flow\",\"file\":\"%s\",\"flows\":%" PRIu64
           ",\"octets_per_flow\":%.1f,\"batch_mflows_s\":%.2f,"
           "\"record_mflows_s\":%.2f,\"max_rss_mb\":%ld}\n",
           argv[1], s.rows, (double)s.octets / (double)(s.rows ? s.rows : 1),
           (double)s.rows / best[1] / 1e6, (double)s.rows / best[0] / 1e6, usage.ru_maxrss / 1024);
    free(data);
    flow_batch_free(s.b);
    flow_normaliser_free(s.n);
    return s.rows ? 0 : 1;
}
