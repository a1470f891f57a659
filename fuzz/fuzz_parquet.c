/* Any octets as a Parquet file: refused with a reason, or read; two ways of cutting its rows into windows see the same
 * values. */
#include "parquet/reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define FUZZ_CHECK(condition)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            (void)fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition);    \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

enum { MAX_ROWS = 20000, MAX_ITEMS = 200000, MAX_COLUMNS = 24, MAX_GROUPS = 3 };

static bool known(weir_status s)
{
    return s == WEIR_EFORMAT || s == WEIR_ETRUNC || s == WEIR_ELIMIT;
}

static void mix(uint64_t *sum, const void *p, size_t len)
{
    const uint8_t *octets = p;
    for (size_t i = 0; i < len; i++)
        *sum = (*sum ^ octets[i]) * UINT64_C(0x100000001b3);
}

static void mix_slot(uint64_t *sum, const struct parquet_column *c, const void *slots, size_t i)
{
    if (c->type == PARQUET_BOOLEAN) {
        mix(sum, (const uint8_t *)slots + i, 1);
    } else if (c->type == PARQUET_INT32 || c->type == PARQUET_FLOAT) {
        mix(sum, (const uint8_t *)slots + 4 * i, 4);
    } else if (c->type == PARQUET_INT64 || c->type == PARQUET_DOUBLE) {
        mix(sum, (const uint8_t *)slots + 8 * i, 8);
    } else {
        const struct parquet_bytes *b = (const struct parquet_bytes *)slots + i;
        mix(sum, b->data, b->len);
        mix(sum, &b->len, sizeof b->len);
    }
}

/* All that a window gives. */
static void mix_window(uint64_t *sum, const struct parquet_column *c, const struct parquet_data *d,
                       const void *dict, uint32_t n_dict)
{
    FUZZ_CHECK(!d->codes == !dict);
    for (size_t i = 0; i < d->n; i++) {
        bool valid = !d->valid || parquet_bit(d->valid, i);
        size_t at = c->list ? d->starts[i] : i, end = c->list ? d->starts[i + 1] : i + 1;
        FUZZ_CHECK(at <= end);
        FUZZ_CHECK(valid || !c->list || at == end);
        mix(sum, &valid, sizeof valid);
        for (; at < end; at++) {
            bool present = valid && (!d->item_valid || parquet_bit(d->item_valid, at));
            mix(sum, &present, sizeof present);
            if (present && dict)
                FUZZ_CHECK(d->codes[at] < n_dict);
            if (dict && !present)
                FUZZ_CHECK(d->codes[at] == 0);
            else if (dict)
                mix_slot(sum, c, dict, d->codes[at]);
            else
                mix_slot(sum, c, d->values, at); /* nulls are slots of 0 */
        }
    }
}

/* Read a chunk in windows, one pass over in three when `skip` says so. *sum: of what was read in one go only. */
static weir_status read_chunk(const parquet_file *f, size_t group, size_t column, size_t window,
                              bool skip, uint64_t *sum)
{
    const struct parquet_column *c = &parquet_schema_of(f)->columns[column];
    parquet_cursor *cursor;
    const void *dict;
    uint32_t n_dict;
    weir_status status = parquet_cursor_new(f, group, column, &cursor, NULL);
    if (status != WEIR_OK)
        return status;
    status = parquet_cursor_dict(cursor, &dict, &n_dict, NULL);
    size_t rows = 0, items = 0;
    *sum = 0;
    for (size_t i = 0; status == WEIR_OK && rows < MAX_ROWS && items < MAX_ITEMS; i++) {
        struct parquet_data d;
        if (skip && i % 3 == 1) {
            (void)parquet_cursor_skip(cursor, window * (i % 7), NULL);
            rows += window;
        }
        status = parquet_cursor_read(cursor, window, &d, NULL);
        if (status != WEIR_OK)
            break;
        FUZZ_CHECK(d.n && d.n <= window);
        mix_window(sum, c, &d, dict, n_dict);
        rows += d.n;
        items += c->list ? d.starts[d.n] : 0;
    }
    parquet_cursor_free(cursor);
    return status;
}

static void read_column(const parquet_file *f, size_t group, size_t column)
{
    struct parquet_group_info g;
    struct parquet_chunk_info info;
    struct parquet_page_info *pages;
    size_t n_pages;
    bool may;
    uint64_t one, other;
    parquet_group(f, group, &g);
    parquet_chunk(f, group, column, &info);
    weir_status status = parquet_pages(f, group, column, &pages, &n_pages, NULL);
    FUZZ_CHECK(status == WEIR_OK || known(status));
    for (size_t i = 0; status == WEIR_OK && i < n_pages; i++) {
        one = 0;
        mix(&one, pages[i].min.data, pages[i].min.len);
        mix(&one, pages[i].max.data, pages[i].max.len);
        FUZZ_CHECK(pages[i].n_rows && pages[i].first_row + pages[i].n_rows <= g.n_rows);
    }
    if (status == WEIR_OK)
        parquet_pages_free(pages);
    status = parquet_bloom_may_have(f, group, column, (struct parquet_bytes){NULL, 0}, &may, NULL);
    FUZZ_CHECK(status == WEIR_OK || known(status));

    weir_status a = read_chunk(f, group, column, 1000, false, &one);
    FUZZ_CHECK(a == WEIR_OK || a == WEIR_END || known(a));
    weir_status b = read_chunk(f, group, column, 37, false, &other);
    FUZZ_CHECK(b == WEIR_OK || b == WEIR_END || known(b));
    if (a == WEIR_END)
        FUZZ_CHECK(b == WEIR_END && one == other);
    b = read_chunk(f, group, column, 64, true, &other);
    FUZZ_CHECK(b == WEIR_OK || b == WEIR_END || known(b));
    if (g.n_rows <= MAX_ROWS && a == WEIR_END) {
        status = parquet_chunk_verify(f, group, column, NULL);
        FUZZ_CHECK(status == WEIR_OK || known(status));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    /* Every input ends as a Parquet file does. */
    uint8_t *octets = malloc(len ? len : 1);
    if (!octets)
        abort();
    if (len)
        memcpy(octets, data, len);
    if (len >= 12)
        memcpy(octets + len - 4, "PAR1", 4);
    parquet_file *f;
    weir_err err = {0};
    weir_status status = parquet_open_memory(octets, len, "fuzz", &f, &err);
    FUZZ_CHECK(status == WEIR_OK || known(status));
    if (status == WEIR_OK) {
        size_t n_columns = parquet_schema_of(f)->n, n_groups = parquet_n_groups(f);
        (void)parquet_key_value_find(f, "key");
        (void)parquet_column_find(f, "column");
        for (size_t g = 0; g < n_groups && g < MAX_GROUPS; g++)
            for (size_t c = 0; c < n_columns && c < MAX_COLUMNS; c++)
                read_column(f, g, c);
        parquet_close(f);
    } else {
        FUZZ_CHECK(err.code == status && err.msg[0]);
    }
    free(octets);
    return 0;
}
