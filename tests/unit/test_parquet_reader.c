/* Files of the writer, read back: every type, encoding, codec, pattern of nulls; windows and skips of all kinds; cut and
 * damaged files. */
#include "base/buf.h"
#include "parquet/meta.h"
#include "parquet/reader.h"
#include "parquet/writer.h"
#include "unit.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static uint64_t state;

static uint64_t random64(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state * UINT64_C(0x2545f4914f6cdd1d);
}

static size_t below(size_t n)
{
    return (size_t)(random64() % n);
}

static int set_up(void **unused)
{
    (void)unused;
    state = UINT64_C(88172645463325252);
    return 0;
}

static void *room(size_t n)
{
    void *p = calloc(1, n ? n : 1);
    assert_non_null(p);
    return p;
}

/* ---- tables ---- */

enum { MAX_ROWS = 3000, MAX_COLUMNS = 40 };

static const struct parquet_column all_columns[] = {
    {.name = "bool", .type = PARQUET_BOOLEAN},
    {.name = "bool_null", .type = PARQUET_BOOLEAN, .optional = true},
    {.name = "u8", .type = PARQUET_INT32, .logical = PARQUET_L_UINT8, .unsigned_order = true},
    {.name = "i16", .type = PARQUET_INT32, .logical = PARQUET_L_INT16, .optional = true},
    {.name = "u32",
     .type = PARQUET_INT32,
     .logical = PARQUET_L_UINT32,
     .optional = true,
     .unsigned_order = true},
    {.name = "i32", .type = PARQUET_INT32},
    {.name = "i64", .type = PARQUET_INT64, .optional = true},
    {.name = "u64", .type = PARQUET_INT64, .logical = PARQUET_L_UINT64, .unsigned_order = true},
    {.name = "time",
     .type = PARQUET_INT64,
     .logical = PARQUET_L_TIMESTAMP_US,
     .utc = true,
     .optional = true},
    {.name = "float", .type = PARQUET_FLOAT, .optional = true},
    {.name = "double", .type = PARQUET_DOUBLE},
    {.name = "text", .type = PARQUET_BYTE_ARRAY, .logical = PARQUET_L_STRING, .optional = true},
    {.name = "text_req", .type = PARQUET_BYTE_ARRAY, .logical = PARQUET_L_STRING},
    {.name = "mac", .type = PARQUET_FIXED, .type_length = 6, .optional = true},
    {.name = "fixed", .type = PARQUET_FIXED, .type_length = 1},
    {.name = "ints", .type = PARQUET_INT64, .list = true, .optional = true},
    {.name = "u8s",
     .type = PARQUET_INT32,
     .logical = PARQUET_L_UINT8,
     .list = true,
     .unsigned_order = true},
    {.name = "texts",
     .type = PARQUET_BYTE_ARRAY,
     .logical = PARQUET_L_STRING,
     .list = true,
     .optional = true},
    {.name = "fixeds", .type = PARQUET_FIXED, .type_length = 4, .list = true},
    {.name = "bools", .type = PARQUET_BOOLEAN, .list = true, .optional = true},
};

static bool has_bytes(const struct parquet_column *c)
{
    return c->type == PARQUET_BYTE_ARRAY || c->type == PARQUET_FIXED;
}

/* The memory of a made column, freed at once. */
struct made {
    struct parquet_data d;
    void *parts[6];
    size_t n_parts;
};

static void *part(struct made *m, size_t n)
{
    return m->parts[m->n_parts++] = room(n);
}

static struct parquet_bytes random_bytes(uint8_t *at, const struct parquet_column *c, uint64_t kind)
{
    size_t len = c->type == PARQUET_FIXED ? c->type_length : kind % 14;
    for (size_t i = 0; i < len; i++)
        at[i] = (uint8_t)('a' + (kind >> (4 * (i % 16))) % 16);
    return (struct parquet_bytes){at, (uint32_t)len};
}

/* n rows of a column: values that repeat, that rise, that are random, that are all the same; nulls of several kinds. */
static void make(struct made *m, const struct parquet_column *c, size_t n)
{
    *m = (struct made){.d = {.n = n}};
    size_t n_slots = n;
    unsigned nulls = c->optional ? (unsigned)below(6) : 0;
    if (nulls) {
        uint64_t *valid = part(m, (n / 64 + 1) * 8);
        m->d.valid = valid;
        bool on = below(2);
        for (size_t i = 0; i < n; i++) {
            if (nulls == 1)
                on = below(2);
            else if (nulls == 2)
                on = below(100) > 0;
            else if (nulls == 3)
                on = below(200) ? on : !on;
            else if (nulls == 4)
                on = false;
            else
                on = true;
            valid[i / 64] |= (uint64_t)on << (i % 64);
        }
    }
    if (c->list) {
        uint32_t *starts = part(m, (n + 1) * 4), at = 0;
        size_t longest = below(3) ? 5 : 1;
        for (size_t i = 0; i < n; i++) {
            starts[i] = at;
            if (!m->d.valid || parquet_bit(m->d.valid, i))
                at += (uint32_t)below(longest + 1);
        }
        starts[n] = at;
        m->d.starts = starts;
        n_slots = at;
    }
    unsigned style = (unsigned)below(4);
    uint64_t same = random64(), distinct = 1 + below(below(2) ? 5 : 400), now = random64() >> 20;
    if (has_bytes(c) && below(2)) { /* as codes */
        uint8_t *text = part(m, (size_t)distinct * 16);
        struct parquet_bytes *dict = part(m, (size_t)distinct * sizeof *dict);
        uint32_t *codes = part(m, n_slots * 4), n_dict = 0;
        for (uint64_t i = 0; i < distinct; i++) {
            struct parquet_bytes v =
                random_bytes(text + 16 * i, c, (i + 1) * UINT64_C(0x9e3779b97f4a7c15));
            bool old = false;
            for (uint32_t k = 0; k < n_dict && !old; k++)
                old = dict[k].len == v.len && memcmp(dict[k].data, v.data, v.len) == 0;
            if (!old)
                dict[n_dict++] = v;
        }
        for (size_t i = 0; i < n_slots; i++)
            codes[i] = (uint32_t)below(n_dict);
        m->d.codes = codes;
        m->d.dict = dict;
        m->d.n_dict = n_dict;
        return;
    }
    size_t width = 8;
    if (c->type == PARQUET_BOOLEAN)
        width = 1;
    else if (c->type == PARQUET_FLOAT)
        width = 4;
    else if (has_bytes(c))
        width = sizeof(struct parquet_bytes);
    else if (c->logical == PARQUET_L_UINT8)
        width = (size_t)1 << below(3);
    else if (c->logical == PARQUET_L_INT16)
        width = (size_t)2 << below(2);
    else if (c->type == PARQUET_INT32)
        width = 4;
    uint8_t *values = part(m, n_slots * width), *text = has_bytes(c) ? part(m, n_slots * 16) : NULL;
    for (size_t i = 0; i < n_slots; i++) {
        uint64_t v = random64();
        if (style == 0)
            v = same;
        else if (style == 1)
            v = v % distinct * UINT64_C(0x9e3779b97f4a7c15);
        else if (style == 2)
            v = now += v % 1000;
        if (c->type == PARQUET_BOOLEAN)
            v &= 1;
        else if (c->logical == PARQUET_L_UINT8)
            v &= 0xff;
        else if (c->logical == PARQUET_L_INT16)
            v = (uint64_t)(int64_t)(int16_t)v;
        if (text) {
            struct parquet_bytes b = random_bytes(text + 16 * i, c, v);
            memcpy(values + i * width, &b, sizeof b);
        } else if (c->type == PARQUET_FLOAT) {
            float f = (float)v;
            memcpy(values + i * width, &f, sizeof f);
        } else if (c->type == PARQUET_DOUBLE) {
            double f = (double)v / 3;
            memcpy(values + i * width, &f, sizeof f);
        } else {
            memcpy(values + i * width, &v, width); /* little-endian */
        }
    }
    m->d.values = values;
    m->d.width = (uint8_t)width;
}

static void unmake(struct made *m)
{
    for (size_t i = 0; i < m->n_parts; i++)
        free(m->parts[i]);
}

/* Slot i as octets that are the same whatever the width and whether there is a dictionary. */
static void put_slot(base_buf *b, const struct parquet_column *c, const void *slots, size_t width,
                     size_t i)
{
    if (has_bytes(c)) {
        const struct parquet_bytes *v = (const struct parquet_bytes *)slots + i;
        base_buf_u32(b, v->len);
        base_buf_add(b, v->data, v->len);
        return;
    }
    uint64_t v = 0;
    const uint8_t *at = (const uint8_t *)slots + i * width;
    memcpy(&v, at, width);
    if (c->type == PARQUET_INT32 || c->type == PARQUET_INT64) {
        bool negative = !c->unsigned_order && at[width - 1] >> 7;
        for (size_t k = width; k < 8 && negative; k++)
            v |= UINT64_C(0xff) << (8 * k);
    }
    base_buf_u64(b, v);
}

static void put_row(base_buf *b, const struct parquet_column *c, const struct parquet_data *d,
                    const void *dict, size_t i)
{
    static const uint8_t widths[] = {1, 4, 8, 12, 4, 8, 0, 0};
    if (d->valid && !parquet_bit(d->valid, i)) {
        base_buf_char(b, 'N');
        return;
    }
    size_t at = c->list ? d->starts[i] : i, end = c->list ? d->starts[i + 1] : i + 1;
    base_buf_char(b, c->list ? 'L' : 'V');
    base_buf_u32(b, (uint32_t)(end - at));
    for (; at < end; at++) {
        if (d->codes)
            put_slot(b, c, dict, widths[c->type], d->codes[at]);
        else
            put_slot(b, c, d->values, d->width, at);
    }
}

/* Rows as octets: of row i, text.data[ends[i - 1]] to [ends[i]]. */
struct rows {
    base_buf text;
    size_t *ends, n;
};

static void add_rows(struct rows *r, const struct parquet_column *c, const struct parquet_data *d,
                     const void *dict)
{
    r->ends = realloc(r->ends, (r->n + d->n + 1) * sizeof *r->ends);
    assert_non_null(r->ends);
    for (size_t i = 0; i < d->n; i++) {
        put_row(&r->text, c, d, dict, i);
        r->ends[r->n++] = r->text.len;
    }
    assert_false(r->text.failed);
}

static void rows_done(struct rows *r)
{
    base_buf_done(&r->text);
    free(r->ends);
    *r = (struct rows){0};
}

/* ---- files ---- */

static weir_status to_buf(void *user, const void *data, size_t len, weir_err *err)
{
    base_buf *b = user;
    (void)err;
    base_buf_add(b, data, len);
    return b->failed ? WEIR_ENOMEM : WEIR_OK;
}

struct file {
    base_buf octets;
    struct parquet_schema schema;
    struct rows rows[4][MAX_COLUMNS]; /* what was written */
    size_t n_groups, page_rows;
};

static const bool all_bloom[MAX_COLUMNS] = {true, true, true, true, true, true, true,
                                            true, true, true, true, true, true, true,
                                            true, true, true, true, true, true};

static void write_file(struct file *file, size_t n_groups, size_t most_rows, uint8_t codec,
                       size_t page_rows)
{
    weir_err err = {0};
    struct parquet_writer_options o = {.sink = to_buf,
                                       .user = &file->octets,
                                       .codec = codec,
                                       .level = 1,
                                       .page_rows = page_rows,
                                       .bloom = below(2) ? all_bloom : NULL,
                                       .sorted_by = -1,
                                       .created_by = "test"};
    parquet_writer *w;
    UNIT_CHECK(parquet_writer_new(&o, &file->schema, &w, &err) == WEIR_OK, "%s", err.msg);
    file->n_groups = n_groups;
    file->page_rows = page_rows ? page_rows : 32768;
    for (size_t g = 0; g < n_groups; g++) {
        struct made made[MAX_COLUMNS];
        struct parquet_data data[MAX_COLUMNS];
        size_t n = 1 + below(most_rows);
        for (size_t i = 0; i < file->schema.n; i++) {
            make(&made[i], &file->schema.columns[i], n);
            data[i] = made[i].d;
            add_rows(&file->rows[g][i], &file->schema.columns[i], &made[i].d, made[i].d.dict);
        }
        UNIT_CHECK(parquet_writer_group(w, data, n, &err) == WEIR_OK, "%s", err.msg);
        for (size_t i = 0; i < file->schema.n; i++)
            unmake(&made[i]);
    }
    const struct parquet_key_value kv[] = {{"one", "1"}, {"two", ""}};
    UNIT_CHECK(parquet_writer_finish(w, kv, 2, &err) == WEIR_OK, "%s", err.msg);
    parquet_writer_free(w);
}

static void file_done(struct file *file)
{
    base_buf_done(&file->octets);
    for (size_t g = 0; g < file->n_groups; g++)
        for (size_t i = 0; i < file->schema.n; i++)
            rows_done(&file->rows[g][i]);
    *file = (struct file){0};
}

static int file_fd(const base_buf *b)
{
    int fd = memfd_create("parquet", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, b->data, b->len), (ssize_t)b->len);
    return fd;
}

static parquet_file *open_memory(const base_buf *b)
{
    weir_err err = {0};
    parquet_file *f = NULL;
    UNIT_CHECK(parquet_open_memory(b->data, b->len, "memory", &f, &err) == WEIR_OK, "%s", err.msg);
    return f;
}

static parquet_file *open_fd(const base_buf *b)
{
    weir_err err = {0};
    parquet_file *f = NULL;
    UNIT_CHECK(parquet_open(file_fd(b), "fd", &f, &err) == WEIR_OK, "%s", err.msg);
    return f;
}

/* Read a chunk in windows of 1 to `most` rows, passing over some now and then, and compare. */
static void check_chunk(const parquet_file *f, size_t g, size_t column, const struct rows *want,
                        size_t most, bool skips)
{
    const struct parquet_column *c = &parquet_schema_of(f)->columns[column];
    weir_err err = {0};
    parquet_cursor *cursor;
    const void *dict;
    uint32_t n_dict;
    struct rows got = {0};
    size_t row = 0;
    UNIT_CHECK(parquet_cursor_new(f, g, column, &cursor, &err) == WEIR_OK, "%s", err.msg);
    UNIT_CHECK(parquet_cursor_dict(cursor, &dict, &n_dict, &err) == WEIR_OK, "%s", err.msg);
    for (;;) {
        struct parquet_data d;
        size_t n = 1 + below(most), skip = skips && below(2) ? below(below(3) ? 40 : 3 * most) : 0;
        if (skip) {
            assert_int_equal(parquet_cursor_skip(cursor, skip, &err), WEIR_OK);
            row += skip;
        }
        weir_status status = parquet_cursor_read(cursor, n, &d, &err);
        if (status == WEIR_END) {
            assert_true(row >= want->n);
            break;
        }
        UNIT_CHECK(status == WEIR_OK, "column %s: %s", c->name, err.msg);
        assert_true(row < want->n);
        assert_int_equal(d.n, n < want->n - row ? n : want->n - row);
        assert_int_equal(!dict, !d.codes);
        if (d.valid) {
            size_t nulls = 0;
            for (size_t i = 0; i < d.n; i++)
                nulls += !parquet_bit(d.valid, i);
            UNIT_CHECK(nulls, "column %s: valid is there, but no row is null", c->name);
        }
        got.n = 0;
        base_buf_reset(&got.text);
        add_rows(&got, c, &d, dict);
        size_t from = row ? want->ends[row - 1] : 0, to = want->ends[row + d.n - 1];
        UNIT_CHECK(got.text.len == to - from &&
                       memcmp(got.text.data, want->text.data + from, to - from) == 0,
                   "column %s: rows %zu to %zu of %zu differ", c->name, row, row + d.n, want->n);
        row += d.n;
    }
    struct parquet_data d;
    assert_int_equal(parquet_cursor_read(cursor, 1, &d, &err), WEIR_END);
    rows_done(&got);
    parquet_cursor_free(cursor);
}

/* A group of one page has no index. */
static void check_pages(const parquet_file *f, size_t g, size_t column, size_t n_rows,
                        size_t page_rows)
{
    struct parquet_page_info *pages;
    size_t n;
    weir_err err = {0};
    UNIT_CHECK(parquet_pages(f, g, column, &pages, &n, &err) == WEIR_OK, "%s", err.msg);
    size_t row = 0;
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(pages[i].first_row, row);
        row += (size_t)pages[i].n_rows;
    }
    UNIT_CHECK(n ? row == n_rows : n_rows <= page_rows, "%zu pages of %zu rows, not %zu", n, row,
               n_rows);
    parquet_pages_free(pages);
}

static void check_file(const struct file *file, const parquet_file *f, size_t most, bool skips)
{
    weir_err err = {0};
    uint64_t rows = 0;
    assert_int_equal(parquet_n_groups(f), file->n_groups);
    assert_int_equal(parquet_schema_of(f)->n, file->schema.n);
    for (size_t i = 0; i < file->schema.n; i++) {
        const struct parquet_column *a = &file->schema.columns[i],
                                    *b = &parquet_schema_of(f)->columns[i];
        UNIT_CHECK(a->type == b->type && a->logical == b->logical && a->optional == b->optional &&
                       a->list == b->list && a->utc == b->utc &&
                       a->unsigned_order == b->unsigned_order && a->type_length == b->type_length &&
                       !b->item_optional && !strcmp(a->name, b->name),
                   "column %s came back as %s", a->name, b->name);
        assert_int_equal(parquet_column_find(f, a->name), i);
    }
    for (size_t g = 0; g < file->n_groups; g++) {
        struct parquet_group_info info;
        parquet_group(f, g, &info);
        assert_int_equal(info.n_rows, file->rows[g][0].n);
        assert_int_equal(info.first_row, rows);
        assert_int_equal(info.sorted_by, -1);
        rows += info.n_rows;
        for (size_t i = 0; i < file->schema.n; i++) {
            check_chunk(f, g, i, &file->rows[g][i], most, skips);
            check_pages(f, g, i, file->rows[g][i].n, file->page_rows);
            UNIT_CHECK(parquet_chunk_verify(f, g, i, &err) == WEIR_OK, "%s", err.msg);
        }
    }
    assert_int_equal(parquet_n_rows(f), rows);
    assert_string_equal(parquet_key_value_find(f, "one"), "1");
    assert_string_equal(parquet_key_value_find(f, "two"), "");
    assert_null(parquet_key_value_find(f, "three"));
    assert_int_equal(parquet_column_find(f, "no such column"), -1);
}

static const uint8_t codecs[] = {PARQUET_NONE, PARQUET_ZSTD, PARQUET_LZ4_RAW};

static void test_round_trips(void **unused)
{
    (void)unused;
    for (size_t round = 0; round < 24; round++) {
        struct file file = {.schema = {all_columns, UNIT_N(all_columns)}};
        size_t page_rows = round % 4 == 0 ? 0 : 1 + below(700);
        write_file(&file, 1 + below(3), round % 3 ? 300 : MAX_ROWS, codecs[round % 3], page_rows);
        parquet_file *f = round % 2 ? open_memory(&file.octets) : open_fd(&file.octets);
        assert_int_equal(parquet_octets(f), file.octets.len);
        check_file(&file, f, round % 5 ? 200 : 5000, false);
        check_file(&file, f, 1 + below(100), true);
        parquet_close(f);
        file_done(&file);
    }
}

/* Chunks of many pages and larger than what is read at once; skips that use the offset index. */
static void test_large(void **unused)
{
    (void)unused;
    enum { N = 300000 };
    static const struct parquet_column columns[] = {
        {.name = "number", .type = PARQUET_INT64, .optional = true},
        {.name = "text", .type = PARQUET_BYTE_ARRAY},
        {.name = "list", .type = PARQUET_INT32, .list = true},
    };
    for (size_t round = 0; round < 2; round++) {
        struct file file = {.schema = {columns, UNIT_N(columns)}, .n_groups = 1};
        weir_err err = {0};
        struct parquet_writer_options o = {.sink = to_buf,
                                           .user = &file.octets,
                                           .codec = round ? PARQUET_ZSTD : PARQUET_NONE,
                                           .level = 1,
                                           .page_rows = 5000,
                                           .max_dict_octets = 1,
                                           .sorted_by = 0};
        parquet_writer *w;
        struct parquet_bytes *text = room(N * sizeof *text);
        uint64_t *numbers = room(N * sizeof *numbers), *valid = room((N / 64 + 1) * 8);
        uint32_t *starts = room((N + 1) * sizeof *starts), *items = room(N * sizeof *items);
        char *memory = room(N * 12);
        for (size_t i = 0; i < N; i++) {
            numbers[i] = random64();
            valid[i / 64] |= (uint64_t)(below(10) > 0) << (i % 64);
            int len = snprintf(memory + 12 * i, 12, "%zu", i * 7919 % 1000003);
            text[i] = (struct parquet_bytes){(uint8_t *)memory + 12 * i, (uint32_t)len};
            starts[i + 1] = starts[i] + (i % 3 == 0);
            items[i] = (uint32_t)random64();
        }
        struct parquet_data data[] = {
            {.n = N, .values = numbers, .width = 8, .valid = valid},
            {.n = N, .values = text},
            {.n = N, .values = items, .width = 4, .starts = starts},
        };
        UNIT_CHECK(parquet_writer_new(&o, &file.schema, &w, &err) == WEIR_OK, "%s", err.msg);
        UNIT_CHECK(parquet_writer_group(w, data, N, &err) == WEIR_OK, "%s", err.msg);
        UNIT_CHECK(parquet_writer_finish(w, NULL, 0, &err) == WEIR_OK, "%s", err.msg);
        parquet_writer_free(w);
        parquet_file *f = open_fd(&file.octets);
        struct parquet_group_info info;
        parquet_group(f, 0, &info);
        assert_int_equal(info.sorted_by, 0);
        for (size_t i = 0; i < 3; i++) {
            add_rows(&file.rows[0][i], &columns[i], &data[i], NULL);
            check_chunk(f, 0, i, &file.rows[0][i], 65536, false);
            check_chunk(f, 0, i, &file.rows[0][i], 20000, true);
            check_chunk(f, 0, i, &file.rows[0][i], 100000, true);
            check_chunk(f, 0, i, &file.rows[0][i], N, false);
            /* One row near the end. */
            for (size_t row = N - 3; row > N / 2; row -= 40009) {
                parquet_cursor *c;
                struct parquet_data d;
                struct rows got = {0};
                const struct rows *want = &file.rows[0][i];
                assert_int_equal(parquet_cursor_new(f, 0, i, &c, &err), WEIR_OK);
                assert_int_equal(parquet_cursor_skip(c, row, &err), WEIR_OK);
                UNIT_CHECK(parquet_cursor_read(c, 1, &d, &err) == WEIR_OK, "%s", err.msg);
                add_rows(&got, &columns[i], &d, NULL);
                assert_int_equal(got.text.len, want->ends[row] - want->ends[row - 1]);
                assert_memory_equal(got.text.data, want->text.data + want->ends[row - 1],
                                    got.text.len);
                parquet_cursor_free(c);
                rows_done(&got);
            }
        }
        parquet_close(f);
        free(text);
        free(numbers);
        free(valid);
        free(starts);
        free(items);
        free(memory);
        file_done(&file);
    }
}

/* Pages that are passed over are not decompressed: damage in them does no harm. */
static void test_skipped_pages_are_not_touched(void **unused)
{
    (void)unused;
    enum { N = 200000, PAGE = 1000 };
    static const struct parquet_column column = {.name = "n", .type = PARQUET_INT64};
    base_buf octets = {0};
    weir_err err = {0};
    struct parquet_writer_options o = {
        .sink = to_buf, .user = &octets, .codec = PARQUET_NONE, .page_rows = PAGE, .sorted_by = -1};
    struct parquet_schema schema = {&column, 1};
    uint64_t *numbers = room(N * sizeof *numbers);
    for (size_t i = 0; i < N; i++)
        numbers[i] = random64();
    struct parquet_data d = {.n = N, .values = numbers, .width = 8};
    parquet_writer *w;
    assert_int_equal(parquet_writer_new(&o, &schema, &w, &err), WEIR_OK);
    assert_int_equal(parquet_writer_group(w, &d, N, &err), WEIR_OK);
    assert_int_equal(parquet_writer_finish(w, NULL, 0, &err), WEIR_OK);
    parquet_writer_free(w);
    /* All pages but the first and the last lose their headers. */
    memset(octets.data + PAGE * 8 + 1000, 0xff, (size_t)(N - 4 * PAGE) * 8);
    parquet_file *f = open_fd(&octets);
    parquet_cursor *c;
    assert_int_equal(parquet_cursor_new(f, 0, 0, &c, &err), WEIR_OK);
    assert_int_equal(parquet_cursor_read(c, 10, &d, &err), WEIR_OK);
    assert_memory_equal(d.values, numbers, 80);
    assert_int_equal(parquet_cursor_skip(c, N - 10 - 5, &err), WEIR_OK);
    UNIT_CHECK(parquet_cursor_read(c, 10, &d, &err) == WEIR_OK, "%s", err.msg);
    assert_int_equal(d.n, 5);
    assert_memory_equal(d.values, numbers + N - 5, 40);
    parquet_cursor_free(c);
    /* And those that are read are checked. */
    assert_int_equal(parquet_cursor_new(f, 0, 0, &c, &err), WEIR_OK);
    assert_int_equal(parquet_cursor_read(c, N, &d, &err), WEIR_EFORMAT);
    parquet_cursor_free(c);
    parquet_close(f);
    free(numbers);
    base_buf_done(&octets);
}

/* The same without the index, by what the headers say: bodies of the pages between are damaged. */
static void test_skipped_pages_are_not_unpacked(void **unused)
{
    (void)unused;
    enum { N = 20000, PAGE = 1000 };
    static const struct parquet_column column = {
        .name = "n", .type = PARQUET_INT64, .optional = true};
    base_buf octets = {0};
    weir_err err = {0};
    struct parquet_writer_options o = {.sink = to_buf,
                                       .user = &octets,
                                       .codec = PARQUET_ZSTD,
                                       .level = 1,
                                       .page_rows = PAGE,
                                       .max_dict_octets = 1,
                                       .sorted_by = -1};
    struct parquet_schema schema = {&column, 1};
    uint64_t *numbers = room(N * sizeof *numbers);
    for (size_t i = 0; i < N; i++)
        numbers[i] = random64() & UINT64_C(0xff0000000000ff);
    struct parquet_data d = {.n = N, .values = numbers, .width = 8};
    parquet_writer *w;
    assert_int_equal(parquet_writer_new(&o, &schema, &w, &err), WEIR_OK);
    assert_int_equal(parquet_writer_group(w, &d, N, &err), WEIR_OK);
    assert_int_equal(parquet_writer_finish(w, NULL, 0, &err), WEIR_OK);
    parquet_writer_free(w);
    parquet_file *f = open_memory(&octets);
    struct parquet_chunk_info info;
    parquet_chunk(f, 0, 0, &info);
    assert_int_equal(info.codec, PARQUET_ZSTD);
    size_t at = 4;
    for (size_t i = 0; i < N / PAGE; i++) {
        struct meta_page page;
        size_t used;
        UNIT_CHECK(meta_page_parse((const uint8_t *)octets.data + at, octets.len - at, at, &page,
                                   &used, &err) == WEIR_OK,
                   "%s", err.msg);
        if (i != 0 && i != 15)
            memset(octets.data + at + used, 0x55, (size_t)page.octets);
        at += used + (size_t)page.octets;
    }
    parquet_cursor *c;
    assert_int_equal(parquet_cursor_new(f, 0, 0, &c, &err), WEIR_OK);
    assert_int_equal(parquet_cursor_read(c, 10, &d, &err), WEIR_OK);
    assert_int_equal(parquet_cursor_skip(c, 15 * PAGE + 500 - 10, &err), WEIR_OK);
    UNIT_CHECK(parquet_cursor_read(c, 500, &d, &err) == WEIR_OK, "%s", err.msg);
    assert_memory_equal(d.values, numbers + 15 * PAGE + 500, 500 * 8);
    assert_int_equal(parquet_cursor_read(c, 1, &d, &err), WEIR_EFORMAT);
    parquet_cursor_free(c);
    parquet_close(f);
    free(numbers);
    base_buf_done(&octets);
}

static void test_bloom(void **unused)
{
    (void)unused;
    enum { N = 5000 };
    static const struct parquet_column columns[] = {
        {.name = "with", .type = PARQUET_INT64},
        {.name = "without", .type = PARQUET_INT64},
        {.name = "text", .type = PARQUET_BYTE_ARRAY},
    };
    static const bool bloom[] = {true, false, true};
    base_buf octets = {0};
    weir_err err = {0};
    struct parquet_writer_options o = {
        .sink = to_buf, .user = &octets, .bloom = bloom, .sorted_by = -1};
    struct parquet_schema schema = {columns, 3};
    uint64_t *numbers = room(N * sizeof *numbers);
    struct parquet_bytes *text = room(N * sizeof *text);
    for (uint64_t i = 0; i < N; i++) {
        numbers[i] = i;
        text[i] = (struct parquet_bytes){(const uint8_t *)&numbers[i], 3};
    }
    struct parquet_data d[] = {{.n = N, .values = numbers, .width = 8},
                               {.n = N, .values = numbers, .width = 8},
                               {.n = N, .values = text}};
    parquet_writer *w;
    assert_int_equal(parquet_writer_new(&o, &schema, &w, &err), WEIR_OK);
    assert_int_equal(parquet_writer_group(w, d, N, &err), WEIR_OK);
    assert_int_equal(parquet_writer_finish(w, NULL, 0, &err), WEIR_OK);
    parquet_writer_free(w);
    parquet_file *f = open_memory(&octets);
    for (size_t c = 0; c < 3; c++) {
        struct parquet_chunk_info info;
        parquet_chunk(f, 0, c, &info);
        assert_int_equal(info.has_bloom, bloom[c]);
        size_t wrong = 0;
        for (uint64_t i = 0; i < 2 * N; i++) {
            bool may;
            struct parquet_bytes v = {(const uint8_t *)&i, c == 2 ? 3 : 8};
            assert_int_equal(parquet_bloom_may_have(f, 0, c, v, &may, &err), WEIR_OK);
            UNIT_CHECK(i >= N || may, "column %zu: %llu is there", c, (unsigned long long)i);
            wrong += i >= N && may;
        }
        if (bloom[c])
            UNIT_CHECK(wrong < N / 20, "column %zu: %zu of %d are false positives", c, wrong, N);
        else
            assert_int_equal(wrong, N);
    }
    parquet_close(f);
    free(numbers);
    free(text);
    base_buf_done(&octets);
}

static void test_statistics(void **unused)
{
    (void)unused;
    static const struct parquet_column columns[] = {
        {.name = "signed", .type = PARQUET_INT32},
        {.name = "unsigned",
         .type = PARQUET_INT32,
         .logical = PARQUET_L_UINT32,
         .unsigned_order = true,
         .optional = true},
        {.name = "text", .type = PARQUET_BYTE_ARRAY, .logical = PARQUET_L_STRING},
    };
    static const int32_t numbers[] = {-5, 7, 0, 3};
    static const uint32_t naturals[] = {4000000000, 1, 2, 9};
    static const struct parquet_bytes text[] = {{(const uint8_t *)"b", 1},
                                                {(const uint8_t *)"ab", 2},
                                                {(const uint8_t *)"a", 1},
                                                {(const uint8_t *)"", 0}};
    static const uint64_t valid = 0xd; /* not the 1 */
    base_buf octets = {0};
    weir_err err = {0};
    struct parquet_writer_options o = {.sink = to_buf, .user = &octets, .sorted_by = -1};
    struct parquet_schema schema = {columns, 3};
    struct parquet_data d[] = {{.n = 4, .values = numbers, .width = 4},
                               {.n = 4, .values = naturals, .width = 4, .valid = &valid},
                               {.n = 4, .values = text}};
    parquet_writer *w;
    assert_int_equal(parquet_writer_new(&o, &schema, &w, &err), WEIR_OK);
    assert_int_equal(parquet_writer_group(w, d, 4, &err), WEIR_OK);
    assert_int_equal(parquet_writer_finish(w, NULL, 0, &err), WEIR_OK);
    parquet_writer_free(w);
    parquet_file *f = open_memory(&octets);
    struct parquet_chunk_info info;
    parquet_chunk(f, 0, 0, &info);
    assert_int_equal(info.n_nulls, 0);
    assert_memory_equal(info.min.data, &numbers[0], 4);
    assert_memory_equal(info.max.data, &numbers[1], 4);
    parquet_chunk(f, 0, 1, &info);
    assert_int_equal(info.n_nulls, 1);
    assert_memory_equal(info.min.data, &naturals[2], 4);
    assert_memory_equal(info.max.data, &naturals[0], 4);
    parquet_chunk(f, 0, 2, &info);
    assert_int_equal(info.min.len, 0);
    assert_non_null(info.min.data);
    assert_true(info.max.len == 1 && info.max.data[0] == 'b');
    parquet_close(f);
    base_buf_done(&octets);
}

/* A file whose footer is not on disk: octets in a descriptor, the rest from memory. */
static void test_parts(void **unused)
{
    (void)unused;
    struct file file = {.schema = {all_columns, UNIT_N(all_columns)}};
    write_file(&file, 2, 500, PARQUET_ZSTD, 100);
    size_t cuts[] = {0, 1, 1000, file.octets.len / 2, file.octets.len - 5, file.octets.len};
    for (size_t i = 0; i < UNIT_N(cuts); i++) {
        weir_err err = {0};
        parquet_file *f;
        int fd = file_fd(&file.octets);
        /* What stands in the descriptor behind the cut does not count. */
        static const char other[] = "something else, which is longer than nothing";
        assert_true(pwrite(fd, other, sizeof other, (off_t)cuts[i]) > 0);
        UNIT_CHECK(parquet_open_parts(fd, cuts[i], file.octets.data + cuts[i],
                                      file.octets.len - cuts[i], "parts", &f, &err) == WEIR_OK,
                   "%s", err.msg);
        check_file(&file, f, 150, true);
        parquet_close(f);
    }
    weir_err err = {0};
    parquet_file *f;
    int fd = file_fd(&file.octets);
    assert_int_equal(parquet_open_parts(fd, file.octets.len + 1, "x", 1, "parts", &f, &err),
                     WEIR_ETRUNC);
    assert_int_equal(close(fd), 0);
    file_done(&file);
}

static void test_preview_and_added_columns(void **unused)
{
    (void)unused;
    struct file file = {.schema = {all_columns, 3}};
    static const struct parquet_column more = {
        .name = "more", .type = PARQUET_INT32, .optional = true};
    base_buf tail = {0};
    weir_err err = {0};
    struct parquet_writer_options o = {.sink = to_buf, .user = &file.octets, .sorted_by = -1};
    parquet_writer *w;
    assert_int_equal(parquet_writer_new(&o, &file.schema, &w, &err), WEIR_OK);
    for (size_t g = 0; g < 2; g++) {
        struct made made[4];
        struct parquet_data data[4];
        for (size_t i = 0; i < 3 + g; i++) {
            make(&made[i], i < 3 ? &all_columns[i] : &more, 100);
            data[i] = made[i].d;
        }
        UNIT_CHECK(parquet_writer_group(w, data, 100, &err) == WEIR_OK, "%s", err.msg);
        for (size_t i = 0; i < 3 + g; i++)
            unmake(&made[i]);
        if (!g)
            assert_int_equal(parquet_writer_add_columns(w, &more, 1, &err), WEIR_OK);
        base_buf_reset(&tail);
        UNIT_CHECK(parquet_writer_preview(w, &tail, &err) == WEIR_OK, "%s", err.msg);
        parquet_file *f;
        UNIT_CHECK(parquet_open_parts(file_fd(&file.octets), file.octets.len, tail.data, tail.len,
                                      "preview", &f, &err) == WEIR_OK,
                   "%s", err.msg);
        assert_int_equal(parquet_n_groups(f), g + 1);
        assert_int_equal(parquet_schema_of(f)->n, 4);
        parquet_cursor *c;
        struct parquet_data d;
        assert_int_equal(parquet_cursor_new(f, 0, 3, &c, &err), WEIR_OK);
        UNIT_CHECK(parquet_cursor_read(c, 1000, &d, &err) == WEIR_OK, "%s", err.msg);
        assert_int_equal(d.n, 100);
        for (size_t i = 0; i < 100; i++)
            assert_false(parquet_bit(d.valid, i));
        parquet_cursor_free(c);
        for (size_t i = 0; i < 4; i++)
            UNIT_CHECK(parquet_chunk_verify(f, 0, i, &err) == WEIR_OK, "%s", err.msg);
        parquet_close(f);
    }
    parquet_writer_free(w);
    base_buf_done(&tail);
    base_buf_done(&file.octets);
}

static void test_empty_files(void **unused)
{
    (void)unused;
    base_buf octets = {0};
    weir_err err = {0};
    struct parquet_writer_options o = {.sink = to_buf, .user = &octets, .sorted_by = -1};
    struct parquet_schema schema = {all_columns, UNIT_N(all_columns)};
    parquet_writer *w;
    assert_int_equal(parquet_writer_new(&o, &schema, &w, &err), WEIR_OK);
    assert_int_equal(parquet_writer_finish(w, NULL, 0, &err), WEIR_OK);
    parquet_writer_free(w);
    parquet_file *f = open_memory(&octets);
    assert_int_equal(parquet_n_groups(f), 0);
    assert_int_equal(parquet_n_rows(f), 0);
    assert_int_equal(parquet_schema_of(f)->n, UNIT_N(all_columns));
    parquet_close(f);
    base_buf_done(&octets);
}

/* ---- bad files ---- */

/* Everything that can be read of it. */
static void read_all(const parquet_file *f)
{
    weir_err err = {0};
    for (size_t g = 0; g < parquet_n_groups(f) && g < 4; g++) {
        for (size_t i = 0; i < parquet_schema_of(f)->n; i++) {
            struct parquet_page_info *pages;
            parquet_cursor *c;
            const void *dict;
            uint32_t n_dict;
            size_t n;
            bool may;
            if (parquet_pages(f, g, i, &pages, &n, &err) == WEIR_OK)
                parquet_pages_free(pages);
            (void)parquet_bloom_may_have(f, g, i, (struct parquet_bytes){NULL, 0}, &may, &err);
            if (parquet_cursor_new(f, g, i, &c, &err) != WEIR_OK) {
                assert_true(err.msg[0]);
                continue;
            }
            weir_status status = parquet_cursor_dict(c, &dict, &n_dict, &err);
            for (size_t k = 0; status == WEIR_OK && k < 20; k++) {
                struct parquet_data d;
                struct rows rows = {0};
                status = parquet_cursor_read(c, 50, &d, &err);
                if (status == WEIR_OK)
                    add_rows(&rows, &parquet_schema_of(f)->columns[i], &d, dict);
                rows_done(&rows);
            }
            assert_true(status == WEIR_OK || status == WEIR_END || err.msg[0]);
            parquet_cursor_free(c);
        }
    }
}

static void test_every_truncation(void **unused)
{
    (void)unused;
    struct file file = {.schema = {all_columns, UNIT_N(all_columns)}};
    write_file(&file, 1, 60, PARQUET_ZSTD, 20);
    for (size_t len = 0; len < file.octets.len; len++) {
        uint8_t *cut = room(len);
        memcpy(cut, file.octets.data, len);
        weir_err err = {0};
        parquet_file *f;
        weir_status status = parquet_open_memory(cut, len, "cut", &f, &err);
        UNIT_CHECK(status == WEIR_EFORMAT || status == WEIR_ETRUNC, "%zu of %zu octets: status %d",
                   len, file.octets.len, (int)status);
        assert_true(err.code == status && err.msg[0]);
        free(cut);
    }
    file_done(&file);
}

/* Open, then the file shrinks: an error, no signal. */
static void test_file_becomes_shorter(void **unused)
{
    (void)unused;
    struct file file = {.schema = {all_columns, UNIT_N(all_columns)}};
    write_file(&file, 1, 60, PARQUET_ZSTD, 20);
    int fd = file_fd(&file.octets);
    weir_err err = {0};
    parquet_file *f;
    parquet_cursor *c;
    struct parquet_data d;
    assert_int_equal(parquet_open(fd, "file", &f, &err), WEIR_OK);
    assert_int_equal(ftruncate(fd, 6), 0);
    assert_int_equal(parquet_cursor_new(f, 0, 1, &c, &err), WEIR_OK);
    assert_int_equal(parquet_cursor_read(c, 10, &d, &err), WEIR_ETRUNC);
    parquet_cursor_free(c);
    parquet_close(f);
    file_done(&file);
}

static void test_every_octet_damaged(void **unused)
{
    (void)unused;
    for (size_t round = 0; round < 3; round++) {
        struct file file = {.schema = {all_columns, UNIT_N(all_columns)}};
        write_file(&file, 1, 40, codecs[round], 25);
        uint8_t *octets = room(file.octets.len);
        for (size_t at = 0; at < file.octets.len; at++) {
            memcpy(octets, file.octets.data, file.octets.len);
            uint8_t to = (uint8_t)random64();
            octets[at] = to == octets[at] ? (uint8_t)~to : to;
            weir_err err = {0};
            parquet_file *f;
            if (parquet_open_memory(octets, file.octets.len, "damaged", &f, &err) != WEIR_OK)
                continue;
            read_all(f);
            parquet_close(f);
        }
        free(octets);
        file_done(&file);
    }
}

/* A changed octet in a page is found by its checksum. */
static void test_verify_finds_damage(void **unused)
{
    (void)unused;
    struct file file = {.schema = {all_columns, UNIT_N(all_columns)}};
    write_file(&file, 1, 300, PARQUET_NONE, 100);
    parquet_file *f = open_memory(&file.octets);
    uint64_t pages = 0;
    for (size_t i = 0; i < file.schema.n; i++) {
        struct parquet_chunk_info info;
        parquet_chunk(f, 0, i, &info);
        pages += info.octets;
    }
    size_t n_found = 0;
    for (size_t round = 0; round < 300; round++) {
        size_t at = 4 + below((size_t)pages), found = 0;
        file.octets.data[at] ^= 0x10;
        for (size_t i = 0; i < file.schema.n; i++)
            found += parquet_chunk_verify(f, 0, i, NULL) != WEIR_OK;
        UNIT_CHECK(found <= 1, "octet %zu: %zu chunks", at, found);
        n_found += found;
        file.octets.data[at] ^= 0x10;
    }
    /* Not every bit of a page's header means something to its reader. */
    UNIT_CHECK(n_found > 280, "%zu of 300 changes were found", n_found);
    parquet_close(f);
    file_done(&file);
}

static void test_not_parquet(void **unused)
{
    (void)unused;
    static const struct {
        const char *what, *hex;
        weir_status want;
    } cases[] = {
        {"nothing", "", WEIR_ETRUNC},
        {"only magic", "50415231 50415231", WEIR_ETRUNC},
        {"text", "48656c6c6f2c20776f726c642e0a", WEIR_EFORMAT},
        {"footer of no octets", "50415231 00000000 50415231", WEIR_EFORMAT},
        {"footer longer than the file", "50415231 00 ff000000 50415231", WEIR_EFORMAT},
        {"encrypted footer", "50415231 00 01000000 50415245", WEIR_EFORMAT},
        {"empty footer struct", "50415231 00 01000000 50415231", WEIR_EFORMAT},
    };
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        uint8_t octets[64];
        size_t len = unhex(cases[i].hex, octets, sizeof octets);
        weir_err err = {0};
        parquet_file *f;
        weir_status status = parquet_open_memory(octets, len, "name", &f, &err);
        UNIT_CHECK((status == WEIR_EFORMAT || status == WEIR_ETRUNC) && err.code == status &&
                       strncmp(err.msg, "name: ", 6) == 0,
                   "%s: status %d: %s", cases[i].what, (int)status, err.msg);
    }
    weir_err err = {0};
    parquet_file *f;
    int fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(parquet_open(fd, "/", &f, &err), WEIR_EINVAL);
    assert_int_equal(close(fd), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_round_trips, set_up),
        cmocka_unit_test_setup(test_large, set_up),
        cmocka_unit_test_setup(test_skipped_pages_are_not_touched, set_up),
        cmocka_unit_test_setup(test_skipped_pages_are_not_unpacked, set_up),
        cmocka_unit_test_setup(test_bloom, set_up),
        cmocka_unit_test_setup(test_statistics, set_up),
        cmocka_unit_test_setup(test_parts, set_up),
        cmocka_unit_test_setup(test_preview_and_added_columns, set_up),
        cmocka_unit_test_setup(test_empty_files, set_up),
        cmocka_unit_test_setup(test_every_truncation, set_up),
        cmocka_unit_test_setup(test_file_becomes_shorter, set_up),
        cmocka_unit_test_setup(test_every_octet_damaged, set_up),
        cmocka_unit_test_setup(test_verify_finds_damage, set_up),
        cmocka_unit_test_setup(test_not_parquet, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
