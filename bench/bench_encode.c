/* encode -- what a batch of flows costs on its way into Parquet: CPU of the archive's rows, of the whole row group and
 * of each column alone, and octets a row. Input: packets as flowgen writes them. One JSON line out, of the best run.
 *
 *     flowgen --format v9 --flows 1M --payload v9.bin && bench_encode v9.bin [rows a group] [runs] [level] [column alone] */
#include "archive/columns.h"
#include "flow/normalise.h"
#include "parquet/writer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct bench {
    flow_normaliser *n;
    flow_batch *b;
};

static double now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void fail(const char *what)
{
    (void)fprintf(stderr, "bench_encode: %s\n", what);
    exit(1);
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
    if (!f || fseek(f, 0, SEEK_END) != 0)
        fail(path);
    *len = (size_t)ftell(f);
    rewind(f);
    uint8_t *data = malloc(*len + 1);
    if (!data || fread(data, 1, *len, f) != *len)
        fail(path);
    (void)fclose(f);
    return data;
}

static weir_status sink(void *user, const void *data, size_t len, weir_err *err)
{
    (void)data;
    (void)err;
    *(uint64_t *)user += len;
    return WEIR_OK;
}

/* Writes the groups of all columns, or of one; returns the seconds of the fastest of a few. */
static double write_groups(const struct parquet_column *columns, const struct parquet_data *data,
                           size_t n, size_t rows, int level, int runs, uint64_t *octets)
{
    weir_err err = {0};
    parquet_writer *w;
    struct parquet_schema schema = {columns, n};
    struct parquet_writer_options o = {.sink = sink,
                                       .user = octets,
                                       .codec = PARQUET_ZSTD,
                                       .level = level,
                                       .sorted_by = -1,
                                       .created_by = "bench"};
    double best = 1e9;
    if (parquet_writer_new(&o, &schema, &w, &err) != WEIR_OK)
        fail(err.msg);
    for (int i = 0; i <= runs; i++) { /* the first finds its memory cold */
        *octets = 0;
        double start = now();
        if (parquet_writer_group(w, data, rows, &err) != WEIR_OK)
            fail(err.msg);
        double took = now() - start;
        best = i && took < best ? took : best;
    }
    parquet_writer_free(w);
    return best;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        (void)fprintf(stderr,
                      "usage: bench_encode PAYLOADS [ROWS A GROUP] [RUNS] [LEVEL] [COLUMN]\n");
        return 2;
    }
    size_t len;
    uint8_t *payloads = slurp(argv[1], &len);
    uint32_t rows = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 1000000;
    int runs = argc > 3 ? (int)strtol(argv[3], NULL, 10) : 5;
    int level = argc > 4 ? (int)strtol(argv[4], NULL, 10) : 1;
    struct bench s = {flow_normaliser_new(), flow_batch_new(FLOW_TABLE_FLOWS)};
    weir_decoder *d = weir_decoder_new(NULL, NULL);
    const weir_handlers on = {.records = on_records, .record = on_record};
    if (!s.n || !s.b || !d)
        fail("no memory");
    int64_t begin = INT64_C(1700000000000000000);
    for (size_t at = 0; at + 8 <= len && flow_batch_rows(s.b) < rows;) {
        uint32_t head[2];
        memcpy(head, payloads + at, sizeof head);
        weir_endpoint from = {
            .family = 4, .port = 50000, .addr = {127, 0, 1, (uint8_t)(1 + head[1] % 250)}};
        (void)weir_decode(d, &from, begin + (int64_t)flow_batch_rows(s.b) * 5000, payloads + at + 8,
                          head[0], &on, &s, NULL);
        at += 8 + head[0];
    }
    flow_batch_cut(s.b, flow_batch_rows(s.b) < rows ? flow_batch_rows(s.b) : rows);
    rows = flow_batch_rows(s.b);
    weir_err err = {0};
    struct archive_columns columns = {0};
    struct archive_rows r = {0};
    double making = 1e9;
    if (archive_columns_table(&columns, FLOW_TABLE_FLOWS, &err) != WEIR_OK ||
        archive_columns_take(&columns, s.b, &err) != WEIR_OK)
        fail(err.msg);
    for (int i = 0; i <= runs; i++) {
        double start = now();
        if (archive_rows_make(&r, &columns, s.b, &err) != WEIR_OK)
            fail(err.msg);
        double took = now() - start;
        making = took < making ? took : making;
    }
    struct parquet_column *described = archive_parquet_columns(&columns, 0);
    if (!described)
        fail("no memory");
    uint64_t octets;
    double all =
        argc > 5 ? 0 : write_groups(described, r.data, columns.n, rows, level, runs, &octets);
    double a_row = 1e9 / rows;
    printf("{\"bench\": \"encode\", \"rows\": %u, \"level\": %d, \"rows_ns\": %.2f, \"write_ns\": "
           "%.2f, \"octets_row\": %.4f, \"columns\": {",
           rows, level, making * a_row, all * a_row, (double)octets / rows);
    const char *comma = "";
    double none = 0;
    for (size_t i = 0; i < columns.n; i++) {
        if (argc > 5 && strcmp(argv[5], described[i].name) != 0)
            continue;
        double took = write_groups(&described[i], &r.data[i], 1, rows, level, runs, &octets);
        if (!r.data[i].n) {
            none += took;
            continue;
        }
        printf("%s\"%s\": {\"ns\": %.3f, \"octets\": %.4f}", comma, described[i].name, took * a_row,
               (double)octets / rows);
        comma = ", ";
    }
    printf("}, \"empty_columns_ns\": %.3f}\n", none * a_row);
    archive_rows_done(&r);
    archive_columns_done(&columns);
    free(described);
    weir_decoder_free(d);
    flow_batch_free(s.b);
    flow_normaliser_free(s.n);
    free(payloads);
    return 0;
}
