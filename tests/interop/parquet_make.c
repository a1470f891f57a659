/* parquet_make NAME CODEC ROWS GROUPS -- write a Parquet file with the writer to NAME: a column of every type, each required
 * and optional, with values that lead to every encoding. CODEC: none, zstd or lz4. The values follow from the row's
 * number alone (test_parquet.py has the same rules), so that others can say what they should read:
 *
 *   h(i)      i * 2654435761 modulo 2^32
 *   null      row i of column k, when optional: h(i * 31 + k) % 5 == 0; of "all_null" every row
 */
#include "base/err.h"
#include "parquet/writer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct parquet_column columns[] = {
    /* clang-format off */
    {.name = "bool", .type = PARQUET_BOOLEAN},
    {.name = "bool_opt", .type = PARQUET_BOOLEAN, .optional = true},
    {.name = "u8", .type = PARQUET_INT32, .logical = PARQUET_L_UINT8, .unsigned_order = true, .optional = true},
    {.name = "u16", .type = PARQUET_INT32, .logical = PARQUET_L_UINT16, .unsigned_order = true},
    {.name = "u32", .type = PARQUET_INT32, .logical = PARQUET_L_UINT32, .unsigned_order = true, .optional = true},
    {.name = "u64", .type = PARQUET_INT64, .logical = PARQUET_L_UINT64, .unsigned_order = true, .optional = true},
    {.name = "i8", .type = PARQUET_INT32, .logical = PARQUET_L_INT8, .optional = true},
    {.name = "i16", .type = PARQUET_INT32, .logical = PARQUET_L_INT16},
    {.name = "i32", .type = PARQUET_INT32, .optional = true},
    {.name = "i64", .type = PARQUET_INT64},
    {.name = "rising", .type = PARQUET_INT64},
    {.name = "time_us", .type = PARQUET_INT64, .logical = PARQUET_L_TIMESTAMP_US, .utc = true, .optional = true},
    {.name = "time_ms", .type = PARQUET_INT64, .logical = PARQUET_L_TIMESTAMP_MS},
    {.name = "date", .type = PARQUET_INT32, .logical = PARQUET_L_DATE, .optional = true},
    {.name = "float", .type = PARQUET_FLOAT, .optional = true},
    {.name = "double", .type = PARQUET_DOUBLE},
    {.name = "few", .type = PARQUET_BYTE_ARRAY, .logical = PARQUET_L_STRING, .optional = true},
    {.name = "many", .type = PARQUET_BYTE_ARRAY, .logical = PARQUET_L_STRING},
    {.name = "octets", .type = PARQUET_BYTE_ARRAY, .optional = true},
    {.name = "mac", .type = PARQUET_FIXED, .type_length = 6, .optional = true},
    {.name = "all_null", .type = PARQUET_INT64, .optional = true},
    {.name = "constant", .type = PARQUET_INT32, .logical = PARQUET_L_UINT8, .unsigned_order = true},
    {.name = "ints", .type = PARQUET_INT64, .list = true, .optional = true},
    {.name = "words", .type = PARQUET_BYTE_ARRAY, .logical = PARQUET_L_STRING, .list = true},
    /* clang-format on */
};
enum { N_COLUMNS = ARRAY_LEN(columns) };

static uint32_t h(uint64_t i)
{
    return (uint32_t)(i * 2654435761);
}

static weir_status to_file(void *user, const void *data, size_t len, weir_err *err)
{
    return fwrite(data, 1, len, user) == len ? WEIR_OK
                                             : weir_err_set(err, WEIR_EIO, 0, "cannot write");
}

/* Memory until the end of the program: a block's first word leads to the one before it. */
static void **last_block;

static void *room(size_t n)
{
    void **block = calloc(1, n + 2 * sizeof *block);
    if (!block) {
        perror("parquet_make");
        exit(1);
    }
    block[0] = (void *)last_block;
    last_block = block;
    return block + 2;
}

static void free_all(void)
{
    while (last_block) {
        void **before = last_block[0];
        free((void *)last_block);
        last_block = before;
    }
}

/* The octets of a text value: "few" repeats, "many" does not, "octets" are no text. */
static struct parquet_bytes octets_of(const struct parquet_column *c, uint8_t *at, uint64_t i)
{
    uint32_t v = h(i);
    int len = 0;
    if (c->type == PARQUET_FIXED) {
        len = (int)c->type_length;
        for (int k = 0; k < len; k++)
            at[k] = (uint8_t)(v >> (4 * k));
    } else if (strcmp(c->name, "octets") == 0) {
        len = (int)(v >> 8) % 9;
        for (int k = 0; k < len; k++)
            at[k] = (uint8_t)(v >> (4 * k));
    } else if (strcmp(c->name, "many") == 0) {
        len = snprintf((char *)at, 24, "%s%u", v % 3 ? "" : "\u00e4", v);
    } else {
        len = snprintf((char *)at, 24, "192.0.2.%u", v % 50);
    }
    return (struct parquet_bytes){at, (uint32_t)len};
}

static uint64_t number_of(const struct parquet_column *c, uint64_t i)
{
    uint64_t v = h(i);
    double d;
    float f;
    if (strcmp(c->name, "constant") == 0)
        return 6;
    if (strcmp(c->name, "rising") == 0)
        return 1700000000000000 + i * 1000 + v % 1000;
    switch (c->logical) {
    case PARQUET_L_UINT8:
    case PARQUET_L_INT8:
        return v >> 24;
    case PARQUET_L_UINT16:
    case PARQUET_L_INT16:
        return v >> 16;
    case PARQUET_L_TIMESTAMP_US:
        return 1700000000000000 + v;
    case PARQUET_L_TIMESTAMP_MS:
        return 1700000000000 + v % 1000 * 60000;
    case PARQUET_L_DATE:
        return v % 30000;
    default:
        break;
    }
    if (c->type == PARQUET_BOOLEAN)
        return v >> 5 & 1;
    if (c->type == PARQUET_FLOAT) {
        f = (float)(v >> 12) / 8;
        v = 0;
        memcpy(&v, &f, sizeof f);
        return v;
    }
    if (c->type == PARQUET_DOUBLE) {
        d = (double)v / 3;
        memcpy(&v, &d, sizeof d);
        return v;
    }
    return c->type == PARQUET_INT32 ? v : v << 32 | h(v);
}

static bool is_null(size_t column, uint64_t i)
{
    if (strcmp(columns[column].name, "all_null") == 0)
        return true;
    return columns[column].optional && h(i * 31 + column) % 5 == 0;
}

/* Rows `first` to first + n of a column. Item k of row i of a list is the value of 4 * i + k; there are h(i) % 4. */
static struct parquet_data make(size_t column, uint64_t first, size_t n)
{
    const struct parquet_column *c = &columns[column];
    size_t width = c->type == PARQUET_BYTE_ARRAY || c->type == PARQUET_FIXED
                       ? sizeof(struct parquet_bytes)
                   : c->type == PARQUET_BOOLEAN                           ? 1
                   : c->type == PARQUET_INT32 || c->type == PARQUET_FLOAT ? 4
                                                                          : 8;
    if (c->logical == PARQUET_L_UINT8 || c->logical == PARQUET_L_INT8)
        width = 1;
    if (c->logical == PARQUET_L_UINT16 || c->logical == PARQUET_L_INT16)
        width = 2;
    uint64_t *valid = room((n / 64 + 1) * 8);
    uint32_t *starts = room((n + 1) * sizeof *starts);
    uint8_t *values = room(4 * n * width), *text = room(4 * n * 24);
    size_t at = 0;
    for (size_t row = 0; row < n; row++) {
        uint64_t i = first + row;
        bool null = is_null(column, i);
        valid[row / 64] |= (uint64_t)!null << (row % 64);
        starts[row] = (uint32_t)at;
        size_t items = c->list ? (null ? 0 : h(i) % 4) : 1;
        for (size_t k = 0; k < items; k++, at++) {
            uint64_t which = c->list ? 4 * i + k : i;
            if (width == sizeof(struct parquet_bytes)) {
                struct parquet_bytes b = octets_of(c, text + 24 * at, which);
                memcpy(values + at * width, &b, width);
            } else {
                uint64_t v = number_of(c, which);
                memcpy(values + at * width, &v, width); /* little-endian */
            }
        }
    }
    starts[n] = (uint32_t)at;
    return (struct parquet_data){.n = n,
                                 .valid = c->optional ? valid : NULL,
                                 .values = values,
                                 .width = (uint8_t)width,
                                 .starts = c->list ? starts : NULL};
}

static weir_status write_file(FILE *out, uint8_t codec, size_t rows, size_t groups, weir_err *err)
{
    bool bloom[N_COLUMNS];
    for (size_t i = 0; i < N_COLUMNS; i++)
        bloom[i] = i % 2;
    const struct parquet_writer_options o = {.sink = to_file,
                                             .user = out,
                                             .codec = codec,
                                             .level = 3,
                                             .page_rows = 1000,
                                             .bloom = bloom,
                                             .sorted_by = 10,
                                             .created_by = "weir version 0.0.0"};
    const struct parquet_schema schema = {columns, N_COLUMNS};
    const struct parquet_key_value kv = {"weir.test", "value"};
    parquet_writer *w;
    WEIR_TRY(parquet_writer_new(&o, &schema, &w, err));
    weir_status status = WEIR_OK;
    for (size_t g = 0; g < groups && status == WEIR_OK; g++) {
        struct parquet_data data[N_COLUMNS];
        for (size_t i = 0; i < N_COLUMNS; i++)
            data[i] = make(i, g * rows, rows);
        status = parquet_writer_group(w, data, rows, err);
    }
    if (status == WEIR_OK)
        status = parquet_writer_finish(w, &kv, 1, err);
    parquet_writer_free(w);
    return status;
}

int main(int argc, char **argv)
{
    weir_err err = {0};
    if (argc != 5) {
        (void)fprintf(stderr, "usage: parquet_make NAME none|zstd|lz4 ROWS GROUPS\n");
        return 2;
    }
    uint8_t codec = strcmp(argv[2], "zstd") == 0  ? PARQUET_ZSTD
                    : strcmp(argv[2], "lz4") == 0 ? PARQUET_LZ4_RAW
                                                  : PARQUET_NONE;
    FILE *out = fopen(argv[1], "wb");
    if (!out) {
        perror(argv[1]);
        return 1;
    }
    weir_status status =
        write_file(out, codec, strtoul(argv[3], NULL, 10), strtoul(argv[4], NULL, 10), &err);
    if (status != WEIR_OK)
        (void)fprintf(stderr, "parquet_make: %s\n", err.msg);
    free_all();
    return fclose(out) != 0 || status != WEIR_OK;
}
