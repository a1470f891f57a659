/* query -- what the engine takes for a row of an archive, by kind of query, without any output: one thread unless told
 * otherwise. One JSON line a query, the best of the runs; CPU seconds are those of the process (user and system).
 *
 *     weir collect -r flows.pcap -a archive && bench/query archive [RUNS [THREADS [FILTER]]]
 *
 * With FILTER every query has it. */
#include "query/run.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static const struct {
    const char *name, *filter, *keys, *fields, *order;
    uint64_t limit;
    bool either, totals;
} queries[] = {
    {"count", NULL, "", "n_flows", NULL, 0, false, false},
    {"count_filtered", "proto tcp and dst port 443 and bytes > 10000", "", "n_flows", NULL, 0,
     false, false},
    {"count_net", "src net 10.21.0.0/16", "", "n_flows", NULL, 0, false, false},
    {"absent_host", "ip 192.0.2.99", NULL, "src_addr,dst_addr,bytes", NULL, 0, false, false},
    {"totals", NULL, "", "n_flows", NULL, 0, false, true},
    {"srcip_bytes", NULL, "src_addr", "src_addr,first,last,packets,bytes,n_flows", "bytes", 10,
     false, true},
    {"ip_bytes", NULL, "src_addr,dst_addr", "src_addr,first,last,packets,bytes,n_flows", "bytes",
     10, true, true},
    {"dstport_bytes", NULL, "dst_port", "dst_port,packets,bytes,n_flows", "bytes", 10, false,
     false},
    {"srcip_dstip_bytes", NULL, "src_addr,dst_addr",
     "src_addr,dst_addr,first,last,packets,bytes,n_flows", "bytes", 10, false, true},
    {"tuple_bytes", NULL, "src_addr,dst_addr,src_port,dst_port,proto",
     "src_addr,dst_addr,src_port,dst_port,proto,packets,bytes", "bytes", 10, false, false},
    {"top_flows", NULL, NULL, "src_addr,dst_addr,src_port,dst_port,proto,bytes", "bytes", 10, false,
     false},
    {"records", NULL, NULL,
     "first,last,proto,src_addr,src_port,dst_addr,dst_port,packets,bytes,n_flows", NULL, 0, false,
     true},
};

static double used(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static uint64_t rows_out;

static weir_status begin(void *user, const struct query *q, size_t result, weir_err *err)
{
    (void)user, (void)q, (void)result, (void)err;
    rows_out = 0;
    return WEIR_OK;
}

static weir_status block(void *user, size_t result, const struct query_block *b, weir_err *err)
{
    (void)user, (void)result, (void)err;
    rows_out += b->n;
    return WEIR_OK;
}

static weir_status end(void *user, size_t result, const struct query_summary *s, weir_err *err)
{
    (void)user, (void)result, (void)s, (void)err;
    return WEIR_OK;
}

static struct query_field *fields_of(query_arena *a, const char *names, size_t *n)
{
    struct query_field *f = query_arena_alloc(a, 32 * sizeof *f);
    char *copy = query_arena_text(a, names, strlen(names)), *save = NULL;
    *n = 0;
    if (f && copy)
        for (char *t = strtok_r(copy, ",", &save); t; t = strtok_r(NULL, ",", &save))
            f[(*n)++] = query_field_named(t);
    return f;
}

static int run(const char *path, size_t i, unsigned runs, unsigned threads, const char *filter)
{
    query_arena *a = query_arena_new();
    struct query_expr *e = NULL;
    struct query_error where;
    weir_err err = {0};
    const char *text = filter ? filter : queries[i].filter;
    if (!a || (text && query_filter_parse(a, text, strlen(text), &(struct query_filter_options){0},
                                          &e, &where, &err) != WEIR_OK)) {
        (void)fprintf(stderr, "query: %s\n", a ? err.msg : "out of memory");
        query_arena_free(a);
        return 1;
    }
    struct query_result r = {
        .grouped = queries[i].keys, .either = queries[i].either, .limit = queries[i].limit};
    r.fields = fields_of(a, queries[i].fields, &r.n_fields);
    if (queries[i].keys)
        r.keys = fields_of(a, queries[i].keys, &r.n_keys);
    struct query_order order = {.descending = true};
    if (queries[i].order) {
        order.field = query_field_named(queries[i].order);
        r.orders = &order;
        r.n_orders = 1;
    }
    struct query q = {.paths = &path,
                      .n_paths = 1,
                      .filter = e,
                      .from_us = INT64_MIN,
                      .to_us = INT64_MAX,
                      .results = &r,
                      .n_results = 1,
                      .threads = threads};
    const struct query_sink sink = {begin, block, end, NULL};
    struct query_summary s = {0};
    double best_cpu = 1e9, best_wall = 1e9;
    weir_status st = WEIR_OK;
    for (unsigned k = 0; k < runs && st == WEIR_OK; k++) {
        double before = used();
        st = query_run(&q, queries[i].totals, &sink, &s, &err);
        double cpu = used() - before, wall = (double)s.elapsed_ns / 1e9;
        best_cpu = cpu < best_cpu ? cpu : best_cpu;
        best_wall = wall < best_wall ? wall : best_wall;
    }
    query_arena_free(a);
    if (st != WEIR_OK) {
        (void)fprintf(stderr, "query: %s: %s\n", queries[i].name, err.msg);
        return 1;
    }
    double rows = (double)(s.rows + s.rows_skipped);
    printf("{\"bench\":\"query\",\"name\":\"%s\",\"rows\":%.0f,\"matched\":%" PRIu64
           ",\"groups\":%" PRIu64 ",\"rows_out\":%" PRIu64
           ",\"threads\":%u,\"cpu_s\":%.4f,\"wall_s\":%.4f,\"ns_per_row\":%.2f,"
           "\"octets_read\":%" PRIu64 "}\n",
           queries[i].name, rows, s.matched, s.groups_found[0], rows_out, threads, best_cpu,
           best_wall, rows > 0 ? best_cpu * 1e9 / rows : 0, s.octets_read);
    return fflush(stdout) ? 1 : 0;
}

int main(int argc, char **argv)
{
    if (argc < 2 || argc > 5) {
        (void)fprintf(stderr, "usage: query ARCHIVE [RUNS [THREADS [FILTER]]]\n");
        return 2;
    }
    unsigned runs = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 3,
             threads = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 1;
    int failed = 0;
    for (size_t i = 0; i < sizeof queries / sizeof *queries; i++)
        failed |=
            run(argv[1], i, runs ? runs : 1, threads ? threads : 1, argc > 4 ? argv[4] : NULL);
    return failed;
}
