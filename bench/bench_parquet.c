/* parquet -- what a row group of flows costs to write: CPU seconds, and octets a row of each column. Input: the CSV of
 * flowgen; columns of digits become integers of the width that they need, NAME_ms timestamps in microseconds, the rest
 * strings given as codes, as the archive gives them. One JSON line out, of the best run.
 *
 *     flowgen --flows 1000000 --csv flows.csv && bench_parquet flows.csv [runs] [zstd|lz4|none] [level] [out.parquet] */
#include "parquet/reader.h"
#include "parquet/writer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_COLUMNS 64

struct column {
    char *name;
    bool text;
    uint64_t *numbers, max;
    uint64_t *valid;
    bool nulls;
    uint32_t *codes;
    struct parquet_bytes *dict;
    uint32_t n_dict, n_slots, *slots; /* open addressing: entry + 1 */
    void *values;
    uint8_t width;
};

static void *need(void *p)
{
    if (!p) {
        perror("bench_parquet");
        exit(1);
    }
    return p;
}

static void fail(const weir_err *err)
{
    (void)fprintf(stderr, "bench_parquet: %s\n", err->msg);
    exit(1);
}

static double now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint32_t code_of(struct column *c, const char *s, size_t len)
{
    if (2 * (c->n_dict + 1) > c->n_slots) {
        uint32_t n = c->n_slots ? c->n_slots * 2 : 1024;
        uint32_t *slots = need(calloc(n, sizeof *slots));
        for (uint32_t i = 0; i < c->n_dict; i++) {
            uint32_t h = 2166136261;
            for (uint32_t k = 0; k < c->dict[i].len; k++)
                h = (h ^ c->dict[i].data[k]) * 16777619;
            while (slots[h % n])
                h++;
            slots[h % n] = i + 1;
        }
        free(c->slots);
        c->slots = slots;
        c->n_slots = n;
        c->dict = need(realloc(c->dict, n * sizeof *c->dict));
    }
    uint32_t h = 2166136261;
    for (size_t k = 0; k < len; k++)
        h = (h ^ (uint8_t)s[k]) * 16777619;
    for (;; h++) {
        uint32_t *slot = &c->slots[h % c->n_slots];
        if (!*slot) {
            c->dict[c->n_dict] = (struct parquet_bytes){need(strndup(s, len)), (uint32_t)len};
            *slot = ++c->n_dict;
        }
        if (c->dict[*slot - 1].len == len && memcmp(c->dict[*slot - 1].data, s, len) == 0)
            return *slot - 1;
    }
}

/* Fields of a line, in place; returns their number. */
static size_t split(char *line, char *fields[MAX_COLUMNS])
{
    size_t n = 0;
    line[strcspn(line, "\r\n")] = '\0';
    for (char *at = line; at && n < MAX_COLUMNS;) {
        fields[n++] = strsep(&at, ",");
    }
    return n;
}

static size_t load(const char *path, struct column *columns, size_t *n_columns)
{
    FILE *f = need(fopen(path, "r"));
    char line[4096], *fields[MAX_COLUMNS];
    size_t rows = 0, cap = 0;
    need(fgets(line, sizeof line, f));
    *n_columns = split(line, fields);
    for (size_t i = 0; i < *n_columns; i++)
        columns[i].name = need(strdup(fields[i]));
    for (; fgets(line, sizeof line, f); rows++) {
        if (rows == cap) {
            cap = cap ? cap * 2 : 1 << 16;
            for (size_t i = 0; i < *n_columns; i++) {
                struct column *c = &columns[i];
                c->numbers = need(realloc(c->numbers, cap * sizeof *c->numbers));
                c->codes = need(realloc(c->codes, cap * sizeof *c->codes));
                c->valid = need(realloc(c->valid, cap / 8));
                memset((char *)c->valid + rows / 8, 0, (cap - rows) / 8);
            }
        }
        size_t n = split(line, fields);
        for (size_t i = 0; i < *n_columns; i++) {
            struct column *c = &columns[i];
            const char *s = i < n ? fields[i] : "";
            c->text = c->text || s[strspn(s, "0123456789")];
            c->numbers[rows] = strtoull(s, NULL, 10);
            c->max = c->numbers[rows] > c->max ? c->numbers[rows] : c->max;
            c->nulls = c->nulls || !*s;
            if (*s)
                c->valid[rows / 64] |= UINT64_C(1) << rows % 64;
            c->codes[rows] = code_of(c, s, strlen(s));
        }
    }
    (void)fclose(f);
    return rows;
}

/* The numbers in slots of the width that they need, microseconds for milliseconds. */
static void settle(struct column *c, size_t rows, bool time)
{
    c->width = time || c->max > UINT32_MAX ? 8
               : c->max > UINT16_MAX       ? 4
               : c->max > UINT8_MAX        ? 2
                                           : 1;
    char *to = c->values = need(malloc(rows * c->width));
    for (size_t i = 0; i < rows; i++) {
        uint64_t v = time ? c->numbers[i] * 1000 : c->numbers[i];
        memcpy(to + i * c->width, &v, c->width);
    }
}

static struct parquet_column describe(const struct column *c, bool time)
{
    struct parquet_column out = {.name = c->name, .optional = c->nulls};
    if (c->text) {
        out.type = PARQUET_BYTE_ARRAY;
        out.logical = PARQUET_L_STRING;
    } else if (time) {
        out.type = PARQUET_INT64;
        out.logical = PARQUET_L_TIMESTAMP_US;
        out.utc = true;
    } else {
        static const uint8_t logical[] = {[1] = PARQUET_L_UINT8,
                                          [2] = PARQUET_L_UINT16,
                                          [4] = PARQUET_L_UINT64,
                                          [8] = PARQUET_L_UINT64};
        out.type = c->width < 4 ? PARQUET_INT32 : PARQUET_INT64;
        out.logical = logical[c->width];
        out.unsigned_order = true;
    }
    return out;
}

static weir_status sink(void *user, const void *data, size_t len, weir_err *err)
{
    (void)err;
    base_buf_add(user, data, len);
    return WEIR_OK;
}

static double write_once(const struct parquet_schema *schema, const struct parquet_data *data,
                         size_t rows, uint8_t codec, int level, base_buf *out)
{
    weir_err err;
    parquet_writer *w;
    struct parquet_writer_options o = {.sink = sink,
                                       .user = out,
                                       .codec = codec,
                                       .level = level,
                                       .sorted_by = -1,
                                       .created_by = "bench"};
    base_buf_reset(out);
    double start = now();
    if (parquet_writer_new(&o, schema, &w, &err) != WEIR_OK)
        fail(&err);
    for (int repeat = 0; repeat < 2; repeat++) { /* the second group finds its memory warm */
        start = now();
        if (parquet_writer_group(w, data, rows, &err) != WEIR_OK)
            fail(&err);
    }
    double took = now() - start;
    if (parquet_writer_finish(w, NULL, 0, &err) != WEIR_OK)
        fail(&err);
    parquet_writer_free(w);
    return took;
}

static double read_once(const parquet_file *f, size_t column)
{
    weir_err err;
    parquet_cursor *c;
    struct parquet_data d;
    double start = now();
    if (parquet_cursor_new(f, 0, column, &c, &err) != WEIR_OK)
        fail(&err);
    weir_status status;
    while ((status = parquet_cursor_read(c, 4096, &d, &err)) == WEIR_OK)
        ;
    if (status != WEIR_END)
        fail(&err);
    parquet_cursor_free(c);
    return now() - start;
}

int main(int argc, char **argv)
{
    static struct column columns[MAX_COLUMNS];
    static struct parquet_column described[MAX_COLUMNS];
    static struct parquet_data data[MAX_COLUMNS];
    size_t n;
    if (argc < 2) {
        (void)fprintf(stderr,
                      "usage: bench_parquet FILE.csv [runs] [zstd|lz4|none] [level] [out]\n");
        return 2;
    }
    int runs = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 3;
    const char *codec_name = argc > 3 ? argv[3] : "zstd";
    uint8_t codec = *codec_name == 'z'   ? PARQUET_ZSTD
                    : *codec_name == 'l' ? PARQUET_LZ4_RAW
                                         : PARQUET_NONE;
    int level = argc > 4 ? (int)strtol(argv[4], NULL, 10) : 1;
    size_t rows = load(argv[1], columns, &n);
    for (size_t i = 0; i < n; i++) {
        struct column *c = &columns[i];
        size_t len = strlen(c->name);
        bool time = !c->text && len > 3 && strcmp(c->name + len - 3, "_ms") == 0;
        settle(c, rows, time);
        described[i] = describe(c, time);
        data[i] = (struct parquet_data){
            .n = rows, .width = c->width, .valid = c->nulls ? c->valid : NULL};
        if (c->text) {
            data[i].codes = c->codes;
            data[i].dict = c->dict;
            data[i].n_dict = c->n_dict;
        } else {
            data[i].values = c->values;
        }
    }
    base_buf out = {0};
    struct parquet_schema schema = {described, n};
    double best = 1e9;
    for (int i = 0; i < runs; i++) {
        double took = write_once(&schema, data, rows, codec, level, &out);
        best = took < best ? took : best;
    }
    weir_err err;
    parquet_file *f;
    if (parquet_open_memory(out.data, out.len, "bench", &f, &err) != WEIR_OK)
        fail(&err);
    struct parquet_group_info group;
    parquet_group(f, 0, &group);
    printf("{\"bench\": \"parquet\", \"rows\": %zu, \"codec\": \"%s\", \"level\": %d, \"write_s\": "
           "%.4f, "
           "\"octets_row\": %.3f, \"columns\": {",
           rows, codec_name, level, best, (double)group.octets / (double)rows);
    for (size_t i = 0; i < n; i++) {
        struct parquet_chunk_info chunk;
        parquet_chunk(f, 0, i, &chunk);
        struct parquet_data one = data[i];
        struct parquet_schema schema_one = {&described[i], 1};
        base_buf scratch = {0};
        double write = write_once(&schema_one, &one, rows, codec, level, &scratch);
        base_buf_done(&scratch);
        printf("%s \"%s\": {\"octets_row\": %.4f, \"plain\": %.4f, \"codec\": %u, \"dict\": %s, "
               "\"encodings\": %u, "
               "\"write_ms\": %.2f, \"read_ms\": %.2f}",
               i ? "," : "", columns[i].name, (double)chunk.octets / (double)rows,
               (double)chunk.octets_plain / (double)rows, chunk.codec,
               chunk.has_dict ? "true" : "false", chunk.encodings, write * 1e3,
               read_once(f, i) * 1e3);
    }
    printf("}}\n");
    parquet_close(f);
    if (argc > 5) {
        FILE *file = need(fopen(argv[5], "wb"));
        (void)fwrite(out.data, 1, out.len, file);
        (void)fclose(file);
    }
    base_buf_done(&out);
    return 0;
}
