/* ship -- what it takes to make the messages of an archive's rows, by format, on one thread. Reading the archive is not
 * counted. One JSON line a format, the best of the runs; with an output, the messages of the last run of each format, one a
 * line (flowmessage: each with its length in front).
 *
 *     weir collect -r flows.pcap -a archive && bench_ship archive [RUNS [FORMAT [OUTPUT]]]
 */
#include "query/extras.h"
#include "ship/encode.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct pass {
    ship_encoder *e;
    base_buf out;
    size_t *ends, cap;
    uint64_t rows, octets, ns;
    FILE *to;
    bool text;
};

static uint64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static weir_status begin(void *user, const struct query *q, size_t result, weir_err *err)
{
    (void)user, (void)q, (void)result, (void)err;
    return WEIR_OK;
}

static weir_status block(void *user, size_t result, const struct query_block *b, weir_err *err)
{
    struct pass *p = user;
    (void)result;
    if (b->n > p->cap) {
        free(p->ends);
        p->cap = b->n;
        if (!(p->ends = malloc(p->cap * sizeof *p->ends)))
            return WEIR_ENOMEM;
    }
    base_buf_reset(&p->out);
    uint64_t from = now_ns();
    weir_status s = ship_encoder_rows(p->e, b, 0, b->n, &p->out, p->ends, err);
    p->ns += now_ns() - from;
    p->rows += b->n;
    p->octets += p->out.len;
    for (size_t i = 0, at = 0; p->to && s == WEIR_OK && i < b->n; at = p->ends[i++]) {
        (void)fwrite(p->out.data + at, 1, p->ends[i] - at, p->to);
        if (p->text)
            (void)fputc('\n', p->to);
    }
    return s;
}

static weir_status end(void *user, size_t result, const struct query_summary *s, weir_err *err)
{
    (void)user, (void)result, (void)s, (void)err;
    return WEIR_OK;
}

static int run(const char *path, const struct ship_format *f, unsigned runs, const char *to)
{
    weir_err err = {0};
    query_arena *a = query_arena_new();
    struct query_extras x = {0};
    if (!a)
        return 1;
    struct query_paths paths = {0};
    const char *const in[] = {path};
    if (query_paths_find(a, in, 1, NULL, NULL, &paths, &err) == WEIR_OK)
        query_extras_find(a, &paths, NULL, NULL, &x);
    struct ship_encoder_options o = {
        .format = f->name, .delimited = true, .extras = x.items, .n_extras = x.n};
    struct pass p = {.text = f->text};
    uint64_t best = UINT64_MAX;
    weir_status s = ship_encoder_new(&o, &p.e, &err);
    for (unsigned k = 0; k < runs && s == WEIR_OK; k++) {
        struct query_result r = {0};
        ship_encoder_fields(p.e, &r.fields, &r.n_fields);
        struct query q = {.paths = in,
                          .n_paths = 1,
                          .from_us = INT64_MIN,
                          .to_us = INT64_MAX,
                          .results = &r,
                          .n_results = 1,
                          .raw = true,
                          .threads = 1};
        const struct query_sink sink = {begin, block, end, &p};
        struct query_summary sum = {0};
        p.rows = p.octets = p.ns = 0;
        p.to = to && k + 1 == runs ? fopen(to, "wb") : NULL;
        s = query_run(&q, false, &sink, &sum, &err);
        if (p.to && fclose(p.to) != 0)
            s = weir_err_set(&err, WEIR_EIO, 0, "%s: cannot be written", to);
        best = p.ns < best ? p.ns : best;
    }
    if (s == WEIR_OK && p.rows)
        printf("{\"bench\":\"ship\",\"format\":\"%s\",\"rows\":%" PRIu64
               ",\"octets_per_row\":%.1f,\"ns_per_row\":%.1f,\"cpu_s_per_million\":%.3f}\n",
               f->name, p.rows, (double)p.octets / (double)p.rows, (double)best / (double)p.rows,
               (double)best / (double)p.rows / 1e3);
    else
        (void)fprintf(stderr, "ship: %s: %s\n", f->name, s == WEIR_OK ? "no rows" : err.msg);
    ship_encoder_free(p.e);
    base_buf_done(&p.out);
    free(p.ends);
    query_extras_done(&x);
    query_arena_free(a);
    return s == WEIR_OK ? 0 : 1;
}

int main(int argc, char **argv)
{
    if (argc < 2 || argc > 5) {
        (void)fprintf(stderr, "usage: bench_ship ARCHIVE [RUNS [FORMAT [OUTPUT]]]\n");
        return 2;
    }
    unsigned runs = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 3;
    int failed = 0;
    for (const struct ship_format *f = ship_formats(); f->name; f++)
        if (argc < 4 || strcmp(argv[3], f->name) == 0)
            failed |= run(argv[1], f, runs ? runs : 1, argc > 4 ? argv[4] : NULL);
    return failed;
}
