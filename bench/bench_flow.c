/* flow -- how many flows a second become rows of a batch on one core, and where the time goes. Packets come as a collector
 * has them: in rounds of up to 256, just copied to where they were received (the copying is not counted); `cold` is the
 * same without rounds, out of memory that no cache holds. Input as bench_decode.c has it. One JSON line out, best of the
 * runs:
 *   batch    records gathered over packets, then a field at a time (flow_note_records)
 *   cold     the same, packets not in any cache
 *   set      a field at a time over the records of one set (flow_add_records)
 *   record   a record at a time
 *   *_cycles of a flow: decode (packets to records, handlers that do nothing), dictionary (addresses and texts to codes),
 *            normalise (all else of batch)
 *
 *     flowgen --format v9 --flows 1M --payload v9.bin && bench_flow v9.bin [runs [batch]]      batch: that alone, for a profiler */
#include "flow/flow.h"
#include "flow/load.h"
#include "flow/normalise.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum { ROWS = 131072 /* then the batch is handed on */, ROUND = 256, ROUND_OCTETS = 1 << 20 };

struct sink {
    flow_normaliser *n;
    flow_batch *b, *again; /* again: dictionaries made once more, for their share of the time */
    uint64_t rows, octets;
    bool dictionaries;
    double paused, dictionary;
};

static double now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* The keys of one column, in the order of the rows, into a dictionary of another batch. */
static void recode(struct sink *s, uint32_t column)
{
    enum { BLOCK = 512 };
    struct flow_vec v;
    flow_batch_vec(s->b, column, &v);
    if (!v.codes || v.column->list || v.dict.n < 64) /* few keys: looked up once a packet */
        return;
    static uint8_t keys[BLOCK * 16];
    struct flow_col *c = &s->again->cols[column];
    for (uint32_t i = 0; i < v.n;) {
        uint32_t n = 0, len = 0;
        for (; n < BLOCK && i + n < v.n; n++) {
            uint32_t at = v.dict.starts[v.codes[i + n]];
            uint32_t l = v.dict.starts[v.codes[i + n] + 1] - at;
            if (l > 16 || (n > 0 && l != len))
                break;
            len = l;
            memcpy(keys + n * len, v.dict.keys + at, len);
        }
        if (n == 0) {
            i++;
            continue;
        }
        struct flow_run run = {keys, len, n, len};
        double start = now();
        if (flow_load_keys(s->again, c, c->n, &run) != FLOW_LOADED)
            exit(1);
        s->dictionary += now() - start;
        i += n;
    }
}

static void hand_on(struct sink *s, uint32_t rows)
{
    if (flow_batch_rows(s->b) < rows)
        return;
    (void)flow_flush(s->n, s->b);
    s->rows += flow_batch_rows(s->b);
    s->octets += flow_batch_octets(s->b);
    if (s->dictionaries) {
        double start = now();
        for (uint32_t i = 0; i < flow_batch_n_columns(s->b) && i < s->again->n_table; i++)
            recode(s, i);
        s->paused += now() - start;
        start = now();
        flow_batch_reset(s->again);
        s->paused += now() - start;
    }
    flow_batch_reset(s->b);
}

static void note_records(void *user, const weir_record *first, size_t n)
{
    struct sink *s = user;
    (void)flow_note_records(s->n, s->b, first, n);
    hand_on(s, ROWS);
}

static void note_record(void *user, const weir_record *r)
{
    struct sink *s = user;
    (void)flow_note_record(s->n, s->b, r);
    hand_on(s, ROWS);
}

static void add_records(void *user, const weir_record *first, size_t n)
{
    struct sink *s = user;
    (void)flow_add_records(s->n, s->b, first, n);
    hand_on(s, ROWS);
}

static void add_record(void *user, const weir_record *r)
{
    struct sink *s = user;
    (void)flow_add_record(s->n, s->b, r);
    hand_on(s, ROWS);
}

static void no_records(void *user, const weir_record *first, size_t n)
{
    (void)first;
    ((struct sink *)user)->rows += n;
}

static void no_record(void *user, const weir_record *r)
{
    (void)r;
    ((struct sink *)user)->rows++;
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

static void decode(weir_decoder *d, const uint8_t *packet, const weir_handlers *on, struct sink *s)
{
    uint32_t head[2]; /* octets, number of the exporter */
    memcpy(head, packet, sizeof head);
    weir_endpoint from = {
        .family = 4,
        .port = 50000,
        .addr = {127, 0, (uint8_t)(1 + head[1] / 250), (uint8_t)(head[1] % 250 + 1)}};
    (void)weir_decode(d, &from, INT64_C(1700000000000000000), packet + 8, head[0], on, s, NULL);
}

static size_t octets_of(const uint8_t *packet)
{
    uint32_t octets;
    memcpy(&octets, packet, sizeof octets);
    return 8 + (size_t)octets;
}

/* Seconds for all packets. */
static double run(const uint8_t *data, size_t len, const weir_handlers *on, struct sink *s,
                  bool cold)
{
    static uint8_t round[ROUND_OCTETS];
    weir_decoder *d = weir_decoder_new(NULL, NULL);
    flow_normaliser_forget(s->n);
    s->rows = s->octets = 0;
    s->paused = 0;
    double took = 0;
    for (size_t at = 0; at + 8 <= len;) {
        const uint8_t *packets = data + at;
        size_t end = at;
        for (unsigned i = 0; end + 8 <= len && (cold || i < ROUND); i++) {
            size_t n = octets_of(data + end);
            if (!cold && end - at + n > sizeof round)
                break;
            end += n;
        }
        if (!cold)
            packets = memcpy(round, data + at, end - at);
        double start = now();
        for (size_t k = 0; k < end - at; k += octets_of(packets + k))
            decode(d, packets + k, on, s);
        if (end + 8 > len &&
            on->record != no_record) /* a batch that is emptied twice gives its memory back */
            hand_on(s, 0);
        took += now() - start;
        at = end;
    }
    weir_decoder_free(d);
    return took - s->paused;
}

/* Cycles a second: of additions that wait for each other. */
static double cycles(void)
{
#ifdef __x86_64__
    double best = 0;
    for (int i = 0; i < 5; i++) {
        enum { N = 8000000 };
        double start = now();
        for (uint64_t k = 0, x = 0; k < N; k += 8)
            __asm__ volatile("add $1, %0; add $1, %0; add $1, %0; add $1, %0;"
                             "add $1, %0; add $1, %0; add $1, %0; add $1, %0"
                             : "+r"(x));
        double hz = N / (now() - start);
        best = hz > best ? hz : best;
    }
    return best;
#else
    return 1e9; /* nanoseconds in place of cycles */
#endif
}

int main(int argc, char **argv)
{
    enum { BATCH, COLD, SET, RECORD, DECODE, N_WAYS };
    static const weir_handlers ways[N_WAYS] = {
        [BATCH] = {.records = note_records, .record = note_record},
        [COLD] = {.records = note_records, .record = note_record},
        [SET] = {.records = add_records, .record = add_record},
        [RECORD] = {.record = add_record},
        [DECODE] = {.records = no_records, .record = no_record},
    };
    if (argc < 2) {
        (void)fprintf(stderr, "usage: flow PAYLOADS [RUNS [batch]]\n");
        return 2;
    }
    size_t len;
    uint8_t *data = slurp(argv[1], &len);
    int runs = argc > 2 ? atoi(argv[2]) : 5;
    double best[N_WAYS], hz = cycles(), dictionary = 1e9;
    struct sink s = {.n = flow_normaliser_new(),
                     .b = flow_batch_new(FLOW_TABLE_FLOWS),
                     .again = flow_batch_new(FLOW_TABLE_FLOWS)};
    if (!s.n || !s.b || !s.again)
        return 1;
    for (int way = 0; way < N_WAYS; way++) {
        best[way] = 1e9;
        for (int i = 0; i < runs && (way == BATCH || argc < 4); i++) {
            double took = run(data, len, &ways[way], &s, way == COLD);
            best[way] = took < best[way] ? took : best[way];
        }
    }
    s.dictionaries = true;
    for (int i = 0; i < runs && argc < 4; i++) {
        s.dictionary = 0;
        (void)run(data, len, &ways[BATCH], &s, false);
        dictionary = s.dictionary < dictionary ? s.dictionary : dictionary;
    }
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    double rows = (double)(s.rows ? s.rows : 1), mflows = rows / 1e6, cycle = hz / rows;
    printf("{\"bench\":\"flow\",\"file\":\"%s\",\"flows\":%" PRIu64
           ",\"octets_per_flow\":%.1f,\"kernels\":\"%s\",\"ghz\":%.2f,\"batch_mflows_s\":%.2f,"
           "\"cold_mflows_s\":%.2f,\"set_mflows_s\":%.2f,\"record_mflows_s\":%.2f,"
           "\"batch_cycles\":%.1f,\"decode_cycles\":%.1f,\"dictionary_cycles\":%.1f,"
           "\"normalise_cycles\":%.1f,\"max_rss_mb\":%ld}\n",
           argv[1], s.rows, (double)s.octets / rows, s.b->kernels->name, hz / 1e9,
           mflows / best[BATCH], mflows / best[COLD], mflows / best[SET], mflows / best[RECORD],
           best[BATCH] * cycle, best[DECODE] * cycle, dictionary * cycle,
           (best[BATCH] - best[DECODE] - dictionary) * cycle, usage.ru_maxrss / 1024);
    free(data);
    flow_batch_free(s.b);
    flow_batch_free(s.again);
    flow_normaliser_free(s.n);
    return s.rows ? 0 : 1;
}
