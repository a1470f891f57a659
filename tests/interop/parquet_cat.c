/* parquet_cat [-w ROWS] [-v] FILE -- what the reader finds in a Parquet file, as JSON lines: one of the file, one a column
 * with all of its values. Octets are hex digits. -w: rows a window; -v: verify every chunk as well. */
#include "base/err.h"
#include "base/text.h"
#include "parquet/reader.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void put_bytes(base_buf *b, struct parquet_bytes v)
{
    base_json_hex(b, v.data ? v.data : (const uint8_t *)"", v.len);
}

/* Slot i of an array of values. */
static void put_value(base_buf *b, const struct parquet_column *c, const void *slots, size_t i)
{
    char text[BASE_F64_TEXT];
    size_t len;
    switch ((enum parquet_type)c->type) {
    case PARQUET_BOOLEAN:
        base_buf_str(b, ((const uint8_t *)slots)[i] ? "true" : "false");
        return;
    case PARQUET_INT32:
        len = c->unsigned_order ? base_u64_text(text, ((const uint32_t *)slots)[i])
                                : base_s64_text(text, ((const int32_t *)slots)[i]);
        break;
    case PARQUET_INT64:
        len = c->unsigned_order ? base_u64_text(text, ((const uint64_t *)slots)[i])
                                : base_s64_text(text, ((const int64_t *)slots)[i]);
        break;
    case PARQUET_FLOAT:
        base_json_f64(b, (double)((const float *)slots)[i]);
        return;
    case PARQUET_DOUBLE:
        base_json_f64(b, ((const double *)slots)[i]);
        return;
    case PARQUET_INT96:
    case PARQUET_BYTE_ARRAY:
    case PARQUET_FIXED:
        put_bytes(b, ((const struct parquet_bytes *)slots)[i]);
        return;
    default:
        return;
    }
    base_buf_add(b, text, len);
}

static void put_slot(base_buf *b, const struct parquet_column *c, const struct parquet_data *d,
                     const void *dict, size_t i)
{
    if (dict)
        put_value(b, c, dict, d->codes[i]);
    else
        put_value(b, c, d->values, i);
}

static void put_rows(base_buf *b, const struct parquet_column *c, const struct parquet_data *d,
                     const void *dict, bool *first)
{
    for (size_t i = 0; i < d->n; i++) {
        if (!*first)
            base_buf_char(b, ',');
        *first = false;
        if (d->valid && !parquet_bit(d->valid, i)) {
            base_buf_str(b, "null");
        } else if (c->list) {
            base_buf_char(b, '[');
            for (uint32_t k = d->starts[i]; k < d->starts[i + 1]; k++) {
                if (k > d->starts[i])
                    base_buf_char(b, ',');
                if (d->item_valid && !parquet_bit(d->item_valid, k))
                    base_buf_str(b, "null");
                else
                    put_slot(b, c, d, dict, k);
            }
            base_buf_char(b, ']');
        } else {
            put_slot(b, c, d, dict, i);
        }
    }
}

static weir_status put_chunk(base_buf *b, const parquet_file *f, size_t group, size_t column,
                             size_t window, bool *first, weir_err *err)
{
    const struct parquet_column *c = &parquet_schema_of(f)->columns[column];
    parquet_cursor *cursor;
    const void *dict;
    uint32_t n_dict;
    WEIR_TRY(parquet_cursor_new(f, group, column, &cursor, err));
    weir_status status = parquet_cursor_dict(cursor, &dict, &n_dict, err);
    while (status == WEIR_OK) {
        struct parquet_data d;
        status = parquet_cursor_read(cursor, window, &d, err);
        if (status == WEIR_OK)
            put_rows(b, c, &d, dict, first);
    }
    parquet_cursor_free(cursor);
    return status == WEIR_END ? WEIR_OK : status;
}

static weir_status put_column(base_buf *b, const parquet_file *f, size_t column, size_t window,
                              bool verify, weir_err *err)
{
    const struct parquet_column *c = &parquet_schema_of(f)->columns[column];
    bool first = true;
    base_buf_str(b, "{\"column\":");
    base_json_string(b, c->name, strlen(c->name), false);
    base_buf_printf(
        b,
        ",\"type\":%u,\"logical\":%u,\"optional\":%d,\"list\":%d,\"utc\":%d,\"scale\":%u,"
        "\"precision\":%u,\"length\":%u,\"chunks\":[",
        c->type, c->logical, c->optional, c->list, c->utc, c->scale, c->precision, c->type_length);
    for (size_t g = 0; g < parquet_n_groups(f); g++) {
        struct parquet_chunk_info info;
        struct parquet_page_info *pages;
        size_t n_pages;
        parquet_chunk(f, g, column, &info);
        WEIR_TRY(parquet_pages(f, g, column, &pages, &n_pages, err));
        parquet_pages_free(pages);
        base_buf_printf(b,
                        "%s{\"codec\":%u,\"encodings\":%u,\"dict\":%d,\"nulls\":%lld,\"pages\":%zu",
                        g ? "," : "", info.codec, info.encodings, info.has_dict,
                        (long long)info.n_nulls, n_pages);
        if (info.min.data) {
            base_buf_str(b, ",\"min\":");
            put_bytes(b, info.min);
        }
        if (info.max.data) {
            base_buf_str(b, ",\"max\":");
            put_bytes(b, info.max);
        }
        base_buf_char(b, '}');
        if (verify)
            WEIR_TRY(parquet_chunk_verify(f, g, column, err));
    }
    base_buf_str(b, "],\"values\":[");
    for (size_t g = 0; g < parquet_n_groups(f); g++)
        WEIR_TRY(put_chunk(b, f, g, column, window, &first, err));
    base_buf_str(b, "]}\n");
    return WEIR_OK;
}

int main(int argc, char **argv)
{
    size_t window = 4096;
    bool verify = false;
    weir_err err = {0};
    for (int opt; (opt = getopt(argc, argv, "w:v")) != -1;) {
        if (opt == 'w')
            window = strtoul(optarg, NULL, 10);
        else if (opt == 'v')
            verify = true;
        else
            return 2;
    }
    if (optind + 1 != argc || !window) {
        (void)fprintf(stderr, "usage: parquet_cat [-w ROWS] [-v] FILE\n");
        return 2;
    }
    int fd = open(argv[optind], O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        perror(argv[optind]);
        return 1;
    }
    parquet_file *f;
    base_buf b = {0};
    weir_status status = parquet_open(fd, argv[optind], &f, &err);
    if (status != WEIR_OK) {
        (void)fprintf(stderr, "parquet_cat: %s\n", err.msg);
        (void)close(fd);
        return 1;
    }
    base_buf_printf(&b, "{\"rows\":%llu,\"groups\":%zu,\"columns\":%zu}\n",
                    (unsigned long long)parquet_n_rows(f), parquet_n_groups(f),
                    parquet_schema_of(f)->n);
    for (size_t i = 0; i < parquet_schema_of(f)->n && status == WEIR_OK; i++)
        status = put_column(&b, f, i, window, verify, &err);
    if (status != WEIR_OK)
        (void)fprintf(stderr, "parquet_cat: %s\n", err.msg);
    if (b.failed)
        (void)fprintf(stderr, "parquet_cat: out of memory\n");
    if (status == WEIR_OK)
        (void)fwrite(b.data, 1, b.len, stdout);
    bool failed = b.failed;
    base_buf_done(&b);
    parquet_close(f);
    return status != WEIR_OK || failed || fflush(stdout) != 0;
}
