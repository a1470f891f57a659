/* writer: what is written is read back value for value, with the encoding, bounds, indexes and filters that it should
 * have; files that are interrupted, resumed, looked at early and given columns late; a sink or an allocation that fails. */
#include "heap.h"
#include "unit.h"

#include "parquet/bounds.h"
#include "parquet/meta.h"
#include "parquet/reader.h"
#include "parquet/writer.h"

#include <math.h>
#include <string.h>

static uint64_t rng = 11;

static uint64_t any(void)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return rng;
}

static struct parquet_bytes bytes_of(const char *s)
{
    return (struct parquet_bytes){(const uint8_t *)s, (uint32_t)strlen(s)};
}

/* ---- a file in memory ---- */

static base_buf file;
static size_t sink_room = SIZE_MAX; /* octets until it fails */

static weir_status sink(void *user, const void *data, size_t len, weir_err *err)
{
    if (file.len + len > sink_room)
        return weir_err_set(err, WEIR_EIO, file.len, "the disk is full");
    base_buf_add(user, data, len);
    return WEIR_OK;
}

static struct parquet_writer_options options(void)
{
    return (struct parquet_writer_options){.sink = sink,
                                           .user = &file,
                                           .codec = PARQUET_ZSTD,
                                           .level = 1,
                                           .page_rows = 64,
                                           .sorted_by = -1,
                                           .created_by = "weir version 0.1.0"};
}

static parquet_writer *begin(const struct parquet_writer_options *o, const struct parquet_column *c,
                             size_t n)
{
    weir_err err;
    parquet_writer *w = NULL;
    base_buf_reset(&file);
    weir_status got = parquet_writer_new(o, &(struct parquet_schema){c, n}, &w, &err);
    UNIT_CHECK(got == WEIR_OK, "%s", err.msg);
    return w;
}

static void group(parquet_writer *w, const struct parquet_data *data, size_t n_rows)
{
    weir_err err;
    UNIT_CHECK(parquet_writer_group(w, data, n_rows, &err) == WEIR_OK, "%s", err.msg);
}

static void finish(parquet_writer *w)
{
    weir_err err;
    UNIT_CHECK(parquet_writer_finish(w, NULL, 0, &err) == WEIR_OK, "%s", err.msg);
    assert_int_equal(parquet_writer_offset(w), file.len);
    parquet_writer_free(w);
}

static parquet_file *open_file(void)
{
    weir_err err;
    parquet_file *f = NULL;
    weir_status got = parquet_open_memory(file.data, file.len, "test", &f, &err);
    UNIT_CHECK(got == WEIR_OK, "%s at %llu", err.msg, (unsigned long long)err.at);
    return f;
}

/* ---- columns of all types and shapes ---- */

enum { MAX_ROWS = 3000, MAX_ITEMS = 9000 };

static struct column {
    struct parquet_column c;
    uint8_t width;
    bool codes;
} columns[] = {
    {{.name = "u8", .type = PARQUET_INT32, .logical = PARQUET_L_UINT8, .unsigned_order = true},
     .width = 1},
    {{.name = "u16", .type = PARQUET_INT32, .logical = PARQUET_L_UINT16, .unsigned_order = true},
     .width = 2},
    {{.name = "u32", .type = PARQUET_INT32, .logical = PARQUET_L_UINT32, .unsigned_order = true},
     .width = 4},
    {{.name = "u64", .type = PARQUET_INT64, .logical = PARQUET_L_UINT64, .unsigned_order = true},
     .width = 8},
    {{.name = "u64of4", .type = PARQUET_INT64, .logical = PARQUET_L_UINT64, .unsigned_order = true},
     .width = 4},
    {{.name = "u64of1", .type = PARQUET_INT64, .logical = PARQUET_L_UINT64, .unsigned_order = true},
     .width = 1},
    {{.name = "i8", .type = PARQUET_INT32, .logical = PARQUET_L_INT8}, .width = 1},
    {{.name = "i16", .type = PARQUET_INT32, .logical = PARQUET_L_INT16}, .width = 2},
    {{.name = "i32", .type = PARQUET_INT32}, .width = 4},
    {{.name = "i64", .type = PARQUET_INT64}, .width = 8},
    {{.name = "i64of2", .type = PARQUET_INT64}, .width = 2},
    {{.name = "us", .type = PARQUET_INT64, .logical = PARQUET_L_TIMESTAMP_US, .utc = true},
     .width = 8},
    {{.name = "float", .type = PARQUET_FLOAT}},
    {{.name = "double", .type = PARQUET_DOUBLE}},
    {{.name = "bool", .type = PARQUET_BOOLEAN}},
    {{.name = "text", .type = PARQUET_BYTE_ARRAY, .logical = PARQUET_L_STRING}},
    {{.name = "code", .type = PARQUET_BYTE_ARRAY, .logical = PARQUET_L_STRING}, .codes = true},
    {{.name = "octets", .type = PARQUET_BYTE_ARRAY}},
    {{.name = "fixed", .type = PARQUET_FIXED, .type_length = 6}},
    {{.name = "fixcode", .type = PARQUET_FIXED, .type_length = 6}, .codes = true},
};

enum shape { CONSTANT, FEW, MANY, RISING, MIXED, N_SHAPES };
static const char *const shapes[] = {"constant", "few", "many", "rising", "mixed"};

/* What the slots of one column hold. */
static struct slots {
    uint64_t numbers[MAX_ITEMS];
    uint8_t raw[MAX_ITEMS * 8];
    struct parquet_bytes bytes[MAX_ITEMS], dict[MAX_ITEMS];
    uint32_t codes[MAX_ITEMS], starts[MAX_ROWS + 1];
    uint64_t valid[MAX_ROWS / 64 + 1];
    char text[MAX_ITEMS][24];
} slots;

static struct parquet_data make(const struct column *col, enum shape shape, size_t n_rows,
                                bool nulls)
{
    struct slots *s = &slots;
    const struct parquet_column *c = &col->c;
    size_t n = n_rows;
    struct parquet_data d = {.n = n_rows, .width = col->width};
    for (size_t i = 0; i <= n_rows / 64; i++)
        s->valid[i] = shape == RISING ? (i % 3 ? ~UINT64_C(0) : 0) : any() | any();
    if (nulls)
        d.valid = s->valid;
    if (c->list) {
        n = 0;
        for (size_t i = 0; i < n_rows; i++) {
            s->starts[i] = (uint32_t)n;
            n += any() % 3; /* null rows too may have slots, which do not count */
        }
        s->starts[n_rows] = (uint32_t)n;
        d.starts = s->starts;
    }
    uint64_t last = any();
    for (size_t i = 0; i < n; i++) {
        uint64_t v = shape == FEW      ? any() % 5 * 77
                     : shape == MANY   ? any()
                     : shape == RISING ? last += any() % 9
                                       : 0;
        if (shape == MIXED)
            v = i % 100 < 50 ? 3 : any() % 3 ? any() % 1000 * 1000 : any();
        s->numbers[i] = v;
        int len = snprintf(s->text[i], sizeof s->text[i], "v%llu", (unsigned long long)v);
        if (c->type == PARQUET_FIXED)
            len = (int)c->type_length;
        s->bytes[i] = (struct parquet_bytes){(const uint8_t *)s->text[i], (uint32_t)len};
        float f = (float)(int64_t)v;
        double dbl = shape == MIXED && i % 7 == 0 ? (double)NAN : (double)(int64_t)v;
        switch (c->type) {
        case PARQUET_BOOLEAN:
            s->numbers[i] = s->raw[i] = v & 1;
            break;
        case PARQUET_FLOAT:
            memcpy(s->raw + i * 4, &f, 4);
            break;
        case PARQUET_DOUBLE:
            memcpy(s->raw + i * 8, &dbl, 8);
            break;
        default:
            memcpy(s->raw + i * col->width, &v, col->width);
        }
    }
    if (col->codes) { /* half of the entries are not used */
        for (size_t i = 0; i < n; i++) {
            s->codes[i] = (uint32_t)(i / 2 * 2);
            s->dict[i] = s->bytes[i];
            for (size_t k = 0; k < i && k < 50; k += 2)
                if (bounds_compare_bytes(s->bytes[k], s->bytes[i]) == 0)
                    s->codes[i] = (uint32_t)k;
            s->bytes[i] = s->dict[s->codes[i]];
        }
        d.codes = s->codes;
        d.dict = s->dict;
        d.n_dict = (uint32_t)n;
    } else if (c->type == PARQUET_BYTE_ARRAY || c->type == PARQUET_FIXED) {
        d.values = s->bytes;
    } else {
        d.values = s->raw;
    }
    return d;
}

/* The number that slot i was made of, as its column's type makes it. */
static uint64_t number(const struct column *col, size_t i)
{
    unsigned bits = 64 - 8U * col->width;
    uint64_t v = slots.numbers[i] << bits;
    return col->c.unsigned_order ? v >> bits : (uint64_t)((int64_t)v >> bits);
}

static bool same_slot(const struct column *col, const struct parquet_data *d, size_t at, size_t i,
                      const void *dict)
{
    const void *v = d->codes ? dict : d->values;
    size_t k = d->codes ? d->codes[at] : at;
    struct parquet_bytes b;
    switch (col->c.type) {
    case PARQUET_BOOLEAN:
        return ((const uint8_t *)v)[k] == slots.numbers[i];
    case PARQUET_INT32:
        return ((const uint32_t *)v)[k] == (uint32_t)number(col, i);
    case PARQUET_INT64:
        return ((const uint64_t *)v)[k] == number(col, i);
    case PARQUET_FLOAT:
        return memcmp((const uint8_t *)v + k * 4, slots.raw + i * 4, 4) == 0;
    case PARQUET_DOUBLE:
        return memcmp((const uint8_t *)v + k * 8, slots.raw + i * 8, 8) == 0;
    default:
        b = ((const struct parquet_bytes *)v)[k];
        return b.len == slots.bytes[i].len && memcmp(b.data, slots.bytes[i].data, b.len) == 0;
    }
}

/* Read the only column and compare with what `d` gave. */
static void compare(const char *what, const struct column *col, const struct parquet_data *d)
{
    parquet_file *f = open_file();
    parquet_cursor *c;
    weir_err err = {0};
    const void *dict;
    uint32_t n_dict;
    UNIT_CHECK(parquet_chunk_verify(f, 0, 0, &err) == WEIR_OK, "%s: %s at %llu", what, err.msg,
               (unsigned long long)err.at);
    assert_int_equal(parquet_cursor_new(f, 0, 0, &c, &err), WEIR_OK);
    assert_int_equal(parquet_cursor_dict(c, &dict, &n_dict, &err), WEIR_OK);
    size_t row = 0;
    for (;;) {
        struct parquet_data got;
        weir_status status = parquet_cursor_read(c, 100, &got, &err);
        if (status == WEIR_END)
            break;
        UNIT_CHECK(status == WEIR_OK, "%s: row %zu: %s", what, row, err.msg);
        for (size_t i = 0; i < got.n; i++, row++) {
            bool want = !d->valid || parquet_bit(d->valid, row);
            UNIT_CHECK(want == (!got.valid || parquet_bit(got.valid, i)), "%s: null of row %zu",
                       what, row);
            if (!want)
                continue;
            if (!d->starts) {
                UNIT_CHECK(same_slot(col, &got, i, row, dict), "%s: row %zu", what, row);
                continue;
            }
            size_t n = d->starts[row + 1] - d->starts[row];
            UNIT_CHECK(got.starts[i + 1] - got.starts[i] == n, "%s: items of row %zu", what, row);
            for (size_t k = 0; k < n; k++)
                UNIT_CHECK(same_slot(col, &got, got.starts[i] + k, d->starts[row] + k, dict),
                           "%s: item %zu of row %zu", what, k, row);
        }
    }
    UNIT_CHECK(row == d->n, "%s: %zu rows of %zu", what, row, d->n);
    parquet_cursor_free(c);
    parquet_close(f);
}

static void round_trips(void **state)
{
    (void)state;
    static const size_t rows[] = {1, 7, 64, 65, 1500};
    static const uint8_t codecs[] = {PARQUET_ZSTD, PARQUET_LZ4_RAW, PARQUET_NONE};
    unsigned turn = 0;
    for (size_t i = 0; i < UNIT_N(columns); i++)
        for (enum shape shape = 0; shape < N_SHAPES; shape++)
            for (size_t r = 0; r < UNIT_N(rows); r++)
                for (int kind = 0; kind < 4; kind++, turn++) {
                    struct column col = columns[i];
                    struct parquet_writer_options o = options();
                    char what[100];
                    bool nulls = kind & 1;
                    bool bloom = turn % 2;
                    col.c.optional = nulls || turn % 3 == 0;
                    col.c.list = kind & 2;
                    o.codec = codecs[turn % 3];
                    o.page_rows = turn % 5 ? 64 : 0;
                    o.bloom = &bloom;
                    (void)snprintf(what, sizeof what, "%s, %s, %zu rows%s%s, codec %u", col.c.name,
                                   shapes[shape], rows[r], nulls ? ", nulls" : "",
                                   col.c.list ? ", lists" : "", o.codec);
                    struct parquet_data d = make(&col, shape, rows[r], nulls);
                    parquet_writer *w = begin(&o, &col.c, 1);
                    group(w, &d, rows[r]);
                    finish(w);
                    compare(what, &col, &d);
                }
}

/* ---- what is chosen ---- */

static struct parquet_chunk_info written(const struct parquet_column *c,
                                         const struct parquet_data *d, size_t n_rows)
{
    struct parquet_writer_options o = options();
    o.page_rows = 0;
    parquet_writer *w = begin(&o, c, 1);
    group(w, d, n_rows);
    finish(w);
    parquet_file *f = open_file();
    struct parquet_chunk_info info;
    weir_err err;
    UNIT_CHECK(parquet_chunk_verify(f, 0, 0, &err) == WEIR_OK, "%s: %s", c->name, err.msg);
    parquet_chunk(f, 0, 0, &info);
    info.min.data = info.max.data = NULL;
    parquet_close(f);
    return info;
}

static void encodings(void **state)
{
    (void)state;
    enum { N = 50000 };
    static uint64_t v[N];
    static uint32_t codes[N];
    static struct parquet_bytes text[N];
    static char memory[N][24];
    struct parquet_column c = {.name = "n", .type = PARQUET_INT64};
    struct parquet_data d = {.n = N, .values = v, .width = 8};
    struct parquet_chunk_info info;

    info = written(&c, &d, N);
    UNIT_CHECK(info.has_dict && info.octets < 200, "a constant takes %llu octets",
               (unsigned long long)info.octets);
    for (size_t i = 0; i < N; i++)
        v[i] = UINT64_C(1) << 40 | i;
    info = written(&c, &d, N);
    UNIT_CHECK(info.encodings == 1 << PARQUET_DELTA_BINARY_PACKED && info.octets < 1000,
               "a sequence takes %llu octets", (unsigned long long)info.octets);
    for (size_t i = 0; i < N; i++)
        v[i] = any();
    info = written(&c, &d, N);
    UNIT_CHECK(info.encodings == 1 << PARQUET_PLAIN && info.codec == PARQUET_NONE,
               "noise: encodings %x, codec %u", info.encodings, info.codec);
    for (size_t i = 0; i < N;
         i++) /* whole milliseconds in microseconds: a table, where deltas would waste ten bits */
        v[i] = UINT64_C(1700000000000000) + any() % 2000 * 1000;
    info = written(&c, &d, N);
    UNIT_CHECK(info.has_dict && info.octets < N * 12 / 8, "milliseconds take %llu octets",
               (unsigned long long)info.octets);
    for (size_t i = 0; i < N; i++)
        v[i] = any() % 16;
    info = written(&c, &d, N);
    UNIT_CHECK(info.has_dict && info.codec == PARQUET_NONE,
               "four bits that do not shrink have codec %u", info.codec);

    c = (struct parquet_column){
        .name = "s", .type = PARQUET_BYTE_ARRAY, .logical = PARQUET_L_STRING, .optional = true};
    d = (struct parquet_data){.n = N, .values = text};
    for (size_t i = 0; i < N; i++) {
        int len = snprintf(memory[i], sizeof memory[i], "%016llx", (unsigned long long)any());
        text[i] = (struct parquet_bytes){(const uint8_t *)memory[i], (uint32_t)len};
        codes[i] = (uint32_t)i;
    }
    info = written(&c, &d, N);
    UNIT_CHECK(!info.has_dict && info.encodings >> PARQUET_DELTA_LENGTH_BYTE_ARRAY & 1,
               "strings all different: encodings %x", info.encodings);
    d = (struct parquet_data){.n = N, .codes = codes, .dict = text, .n_dict = N};
    info = written(&c, &d, N);
    UNIT_CHECK(!info.has_dict, "codes all different: encodings %x", info.encodings);
    for (size_t i = 0; i < N; i++)
        codes[i] = (uint32_t)(any() % 100 * 7);
    info = written(&c, &d, N);
    UNIT_CHECK(info.has_dict && info.octets < N, "a hundred strings take %llu octets",
               (unsigned long long)info.octets);
    d = (struct parquet_data){0};
    info = written(&c, &d, N);
    UNIT_CHECK(info.octets < 64 && info.n_nulls == N && !info.has_dict, "nulls take %llu octets",
               (unsigned long long)info.octets);
}

static void bounds_of_pages(void **state)
{
    (void)state;
    enum { N = 1024 };
    static uint32_t v[N];
    static uint64_t valid[N / 64];
    struct parquet_column c = {.name = "n",
                               .type = PARQUET_INT32,
                               .optional = true,
                               .logical = PARQUET_L_UINT32,
                               .unsigned_order = true};
    struct parquet_data d = {.n = N, .values = v, .width = 4, .valid = valid};
    for (uint32_t i = 0; i < N; i++)
        v[i] = UINT32_C(0x7ffffff0) + i; /* across the sign bit */
    memset(valid, 0xff, sizeof valid);
    valid[2] = 0;
    struct parquet_writer_options o = options();
    o.sorted_by = 0;
    parquet_writer *w = begin(&o, &c, 1);
    group(w, &d, N);
    finish(w);
    parquet_file *f = open_file();
    struct parquet_page_info *pages;
    size_t n;
    weir_err err;
    assert_int_equal(parquet_pages(f, 0, 0, &pages, &n, &err), WEIR_OK);
    assert_int_equal(n, N / 64);
    for (uint32_t i = 0; i < n; i++) {
        assert_true(pages[i].first_row == i * 64 && pages[i].n_rows == 64);
        assert_int_equal(pages[i].all_null, i == 2);
        if (i == 2)
            continue;
        uint32_t bound[2] = {UINT32_C(0x7ffffff0) + i * 64, UINT32_C(0x7ffffff0) + i * 64 + 63};
        assert_memory_equal(pages[i].min.data, &bound[0], 4);
        assert_memory_equal(pages[i].max.data, &bound[1], 4);
    }
    parquet_pages_free(pages);
    struct parquet_group_info g;
    parquet_group(f, 0, &g);
    assert_int_equal(g.sorted_by, 0);
    struct parquet_chunk_info info;
    parquet_chunk(f, 0, 0, &info);
    assert_memory_equal(info.min.data, &v[0], 4);
    assert_memory_equal(info.max.data, &v[N - 1], 4);
    assert_int_equal(info.n_nulls, 64);
    parquet_close(f);
}

static void bloom_filters(void **state)
{
    (void)state;
    enum { N = 2000 };
    static uint64_t v[N];
    static struct parquet_bytes text[N];
    static char memory[N][16];
    const struct parquet_column c[] = {
        {.name = "n", .type = PARQUET_INT64, .logical = PARQUET_L_UINT64, .unsigned_order = true},
        {.name = "s", .type = PARQUET_BYTE_ARRAY, .logical = PARQUET_L_STRING},
        {.name = "none", .type = PARQUET_INT64},
    };
    for (size_t i = 0; i < N; i++) {
        v[i] = i * 3;
        int len = snprintf(memory[i], sizeof memory[i], "10.0.%zu.%zu", i / 256, i % 256);
        text[i] = (struct parquet_bytes){(const uint8_t *)memory[i], (uint32_t)len};
    }
    struct parquet_data d[] = {{.n = N, .values = v, .width = 8},
                               {.n = N, .values = text},
                               {.n = N, .values = v, .width = 8}};
    const bool bloom[] = {true, true, false};
    struct parquet_writer_options o = options();
    o.bloom = bloom;
    parquet_writer *w = begin(&o, c, 3);
    group(w, d, N);
    group(w, d, N);
    finish(w);
    parquet_file *f = open_file();
    unsigned wrong = 0;
    for (size_t g = 0; g < 2; g++) {
        for (size_t i = 0; i < 10000; i++) {
            bool may;
            uint64_t number = i;
            weir_err err;
            assert_int_equal(parquet_bloom_may_have(f, g, 0,
                                                    (struct parquet_bytes){(uint8_t *)&number, 8},
                                                    &may, &err),
                             WEIR_OK);
            bool is = i % 3 == 0 && i < 3 * N;
            assert_true(may || !is);
            wrong += may && !is;
        }
        bool may;
        assert_int_equal(parquet_bloom_may_have(f, g, 1, text[77], &may, NULL), WEIR_OK);
        assert_true(may);
        assert_int_equal(parquet_bloom_may_have(
                             f, g, 2, (struct parquet_bytes){(uint8_t *)&v[1], 8}, &may, NULL),
                         WEIR_OK);
        assert_true(may);
    }
    UNIT_CHECK(wrong < 400, "%u of 16000 false positives", wrong);
    parquet_close(f);
}

/* ---- files over time ---- */

static const struct parquet_column two[] = {
    {.name = "n", .type = PARQUET_INT64, .logical = PARQUET_L_UINT64, .unsigned_order = true},
    {.name = "s", .type = PARQUET_BYTE_ARRAY, .logical = PARQUET_L_STRING, .optional = true}};
static const struct parquet_column later[] = {
    {.name = "late", .type = PARQUET_INT32, .optional = true},
    {.name = "lates",
     .type = PARQUET_BYTE_ARRAY,
     .logical = PARQUET_L_STRING,
     .optional = true,
     .list = true}};

/* A row group of n rows of `two`, and of `later` where more is true. */
static void put(parquet_writer *w, size_t n, uint64_t from, bool more)
{
    static uint64_t v[1000];
    static uint32_t codes[1000];
    static uint32_t starts[1001];
    struct parquet_bytes dict[] = {bytes_of("one"), bytes_of("two"), bytes_of("not used")};
    for (size_t i = 0; i < n; i++) {
        v[i] = from + i;
        codes[i] = i % 2;
        starts[i + 1] = (uint32_t)i + 1;
    }
    struct parquet_data d[] = {
        {.n = n, .values = v, .width = 8},
        {.n = n, .codes = codes, .dict = dict, .n_dict = 3},
        {.n = n, .values = codes, .width = 4},
        {.n = n, .codes = codes, .dict = dict, .n_dict = 3, .starts = starts}};
    (void)more; /* without, the writer does not look at the last two */
    group(w, d, n);
}

static uint64_t sum_of(parquet_file *f, size_t *n_nulls)
{
    uint64_t sum = 0;
    *n_nulls = 0;
    for (size_t g = 0; g < parquet_n_groups(f); g++) {
        for (size_t i = 0; i < parquet_schema_of(f)->n; i++) {
            weir_err err;
            UNIT_CHECK(parquet_chunk_verify(f, g, i, &err) == WEIR_OK, "group %zu, column %zu: %s",
                       g, i, err.msg);
            struct parquet_chunk_info info;
            parquet_chunk(f, g, i, &info);
            *n_nulls += (size_t)info.n_nulls;
        }
        parquet_cursor *c;
        const void *dict;
        uint32_t n_dict;
        struct parquet_data d;
        assert_int_equal(parquet_cursor_new(f, g, 0, &c, NULL), WEIR_OK);
        assert_int_equal(parquet_cursor_dict(c, &dict, &n_dict, NULL), WEIR_OK);
        while (parquet_cursor_read(c, 500, &d, NULL) == WEIR_OK)
            for (size_t i = 0; i < d.n; i++)
                sum +=
                    dict ? ((const uint64_t *)dict)[d.codes[i]] : ((const uint64_t *)d.values)[i];
        parquet_cursor_free(c);
    }
    return sum;
}

static void columns_come_later(void **state)
{
    (void)state;
    struct parquet_writer_options o = options();
    parquet_writer *w = begin(&o, two, 2);
    weir_err err;
    put(w, 10, 0, false);
    put(w, 1000, 0, false);
    struct parquet_column must = {.name = "must", .type = PARQUET_INT32};
    assert_int_equal(parquet_writer_add_columns(w, &must, 1, &err), WEIR_EINVAL);
    assert_int_equal(parquet_writer_add_columns(w, later, 1, &err), WEIR_OK);
    assert_int_equal(parquet_writer_add_columns(w, later, 1, &err), WEIR_EINVAL); /* twice */
    put(w, 200, 0, true);
    assert_int_equal(parquet_writer_add_columns(w, later + 1, 1, &err), WEIR_OK);
    put(w, 200, 0, true);
    finish(w);
    parquet_file *f = open_file();
    size_t n_nulls;
    assert_int_equal(sum_of(f, &n_nulls), 45 + 499500 + 2 * 19900);
    assert_int_equal(n_nulls, 2 * 1010 + 200);
    assert_true(parquet_schema_of(f)->n == 4 && parquet_column_find(f, "lates") == 3);
    parquet_close(f);
}

/* A writer that is given up after each row group and resumed writes the same file, and previews what finish writes. */
static void resumed(void **state)
{
    (void)state;
    struct parquet_writer_options o = options();
    const bool bloom[] = {true, true};
    o.bloom = bloom;
    weir_err err;
    base_buf whole = {0}, metas[3] = {{0}};
    struct parquet_bytes kept[3];
    static const size_t rows[] = {300, 1, 700};
    parquet_writer *w = begin(&o, two, 2);
    for (size_t g = 0; g < 3; g++)
        put(w, rows[g], g, false);
    finish(w);
    base_buf_add(&whole, file.data, file.len);

    w = begin(&o, two, 2);
    for (size_t g = 0; g < 3; g++) {
        put(w, rows[g], g, false);
        parquet_writer_group_meta(w, &metas[g]);
        kept[g] = (struct parquet_bytes){(const uint8_t *)metas[g].data, (uint32_t)metas[g].len};
        base_buf before = {0}, after = {0};
        assert_int_equal(parquet_writer_preview(w, &before, &err), WEIR_OK);
        uint64_t offset = parquet_writer_offset(w);
        parquet_writer_free(w);
        UNIT_CHECK(parquet_writer_resume(&o, &(struct parquet_schema){two, 2}, offset, kept, g + 1,
                                         &w, &err) == WEIR_OK,
                   "%s", err.msg);
        assert_int_equal(parquet_writer_preview(w, &after, &err), WEIR_OK);
        assert_true(before.len == after.len && memcmp(before.data, after.data, after.len) == 0);
        base_buf seen = {0}; /* the file as it is now, with the preview as its end */
        base_buf_add(&seen, file.data, file.len);
        base_buf_add(&seen, after.data, after.len);
        parquet_file *f;
        size_t n_nulls;
        assert_int_equal(parquet_open_memory(seen.data, seen.len, "preview", &f, &err), WEIR_OK);
        assert_int_equal(parquet_n_groups(f), g + 1);
        assert_int_equal(sum_of(f, &n_nulls) > 0, 1);
        parquet_close(f);
        base_buf_done(&seen);
        base_buf_done(&before);
        base_buf_done(&after);
    }
    finish(w);
    assert_true(file.len == whole.len && memcmp(file.data, whole.data, whole.len) == 0);

    /* Any octet changed, or the file shorter than it says, is found out. */
    for (size_t i = 0; i < metas[2].len; i++) {
        metas[2].data[i] = (char)(metas[2].data[i] ^ 0x10);
        assert_int_equal(parquet_writer_resume(&o, &(struct parquet_schema){two, 2}, file.len, kept,
                                               3, &w, &err),
                         WEIR_EFORMAT);
        metas[2].data[i] = (char)(metas[2].data[i] ^ 0x10);
    }
    for (size_t n = 0; n < metas[0].len; n++) {
        struct parquet_bytes cut = {kept[0].data, (uint32_t)n};
        assert_int_equal(parquet_writer_resume(&o, &(struct parquet_schema){two, 2}, file.len, &cut,
                                               1, &w, &err),
                         WEIR_EFORMAT);
    }
    assert_int_equal(
        parquet_writer_resume(&o, &(struct parquet_schema){two, 2}, 20, kept, 1, &w, &err),
        WEIR_EFORMAT);
    assert_int_equal(
        parquet_writer_resume(&o, &(struct parquet_schema){two, 1}, file.len, kept, 1, &w, &err),
        WEIR_EFORMAT);
    /* More columns than the row groups have: nulls, if they may be. */
    o.bloom = NULL; /* which has one a column */
    struct parquet_column wider[3] = {two[0], two[1], later[0]};
    assert_int_equal(
        parquet_writer_resume(&o, &(struct parquet_schema){wider, 3}, file.len, kept, 3, &w, &err),
        WEIR_OK);
    parquet_writer_free(w);
    for (size_t g = 0; g < 3; g++)
        base_buf_done(&metas[g]);
    base_buf_done(&whole);
}

static void empty_files(void **state)
{
    (void)state;
    struct parquet_writer_options o = options();
    static const struct parquet_key_value kv[] = {{"weir.schema", "1"}, {"empty", ""}};
    weir_err err;
    parquet_writer *w = begin(&o, two, 2);
    assert_int_equal(parquet_writer_finish(w, kv, 2, &err), WEIR_OK);
    assert_int_equal(parquet_writer_finish(w, kv, 2, &err), WEIR_EINVAL);
    assert_int_equal(parquet_writer_add_columns(w, later, 1, &err), WEIR_EINVAL);
    parquet_writer_free(w);
    parquet_file *f = open_file();
    assert_true(parquet_n_rows(f) == 0 && parquet_n_groups(f) == 0);
    assert_string_equal(parquet_key_value_find(f, "weir.schema"), "1");
    assert_string_equal(parquet_key_value_find(f, "empty"), "");
    parquet_close(f);
}

/* ---- what is refused ---- */

static void bad_schemas(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        struct parquet_column c;
    } cases[] = {
        {"no name", {.type = PARQUET_INT32}},
        {"an empty name", {.name = "", .type = PARQUET_INT32}},
        {"INT96", {.name = "x", .type = PARQUET_INT96}},
        {"no such type", {.name = "x", .type = 8}},
        {"text of numbers", {.name = "x", .type = PARQUET_INT32, .logical = PARQUET_L_STRING}},
        {"an unknown meaning", {.name = "x", .type = PARQUET_INT32, .logical = PARQUET_L_OTHER}},
        {"unsigned in signed order",
         {.name = "x", .type = PARQUET_INT32, .logical = PARQUET_L_UINT8}},
        {"signed in unsigned order", {.name = "x", .type = PARQUET_INT32, .unsigned_order = true}},
        {"no length", {.name = "x", .type = PARQUET_FIXED}},
        {"items that may be null",
         {.name = "x", .type = PARQUET_INT32, .list = true, .item_optional = true}},
        {"twice the same", {.name = "n", .type = PARQUET_INT32}},
    };
    struct parquet_writer_options o = options();
    parquet_writer *w;
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        struct parquet_column c[] = {{.name = "n", .type = PARQUET_INT32}, cases[i].c};
        weir_err err = {0};
        UNIT_CHECK(parquet_writer_new(&o, &(struct parquet_schema){c, 2}, &w, &err) ==
                           WEIR_EINVAL &&
                       !w && err.msg[0],
                   "%s", cases[i].what);
    }
    struct parquet_schema schema = {two, 2};
    o.codec = PARQUET_SNAPPY;
    assert_int_equal(parquet_writer_new(&o, &schema, &w, NULL), WEIR_EINVAL);
    o = options();
    o.level = 23;
    assert_int_equal(parquet_writer_new(&o, &schema, &w, NULL), WEIR_EINVAL);
    o = options();
    o.sorted_by = 2;
    assert_int_equal(parquet_writer_new(&o, &schema, &w, NULL), WEIR_EINVAL);
}

static void bad_data(void **state)
{
    (void)state;
    static const uint32_t v[8], falling[9] = {0, 3, 2}, codes[8] = {0, 9};
    static const uint64_t valid[1] = {3};
    static struct parquet_bytes text[8];
    const struct {
        const char *what;
        struct parquet_column c;
        struct parquet_data d;
    } cases[] = {
        {"too few rows", {.name = "x", .type = PARQUET_INT32}, {.n = 7, .values = v, .width = 4}},
        {"no width", {.name = "x", .type = PARQUET_INT32}, {.n = 8, .values = v}},
        {"nulls that may not be",
         {.name = "x", .type = PARQUET_INT32},
         {.n = 8, .values = v, .width = 4, .valid = valid}},
        {"no values that may not be", {.name = "x", .type = PARQUET_INT32}, {.n = 0}},
        {"a list without starts",
         {.name = "x", .type = PARQUET_INT32, .list = true},
         {.n = 8, .values = v, .width = 4}},
        {"starts without a list",
         {.name = "x", .type = PARQUET_INT32},
         {.n = 8, .values = v, .width = 4, .starts = v}},
        {"starts that fall",
         {.name = "x", .type = PARQUET_INT32, .list = true},
         {.n = 8, .values = v, .width = 4, .starts = falling}},
        {"a code outside the dictionary",
         {.name = "x", .type = PARQUET_BYTE_ARRAY},
         {.n = 8, .codes = codes, .dict = text, .n_dict = 8}},
        {"codes of numbers",
         {.name = "x", .type = PARQUET_INT32},
         {.n = 8, .codes = codes, .width = 4}},
        {"a wrong length",
         {.name = "x", .type = PARQUET_FIXED, .type_length = 4},
         {.n = 8, .values = text}},
        {"a wrong length by code",
         {.name = "x", .type = PARQUET_FIXED, .type_length = 4},
         {.n = 8, .codes = v, .dict = text, .n_dict = 8}},
    };
    struct parquet_writer_options o = options();
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        weir_err err = {0};
        parquet_writer *w = begin(&o, &cases[i].c, 1);
        UNIT_CHECK(parquet_writer_group(w, &cases[i].d, 8, &err) == WEIR_EINVAL && err.msg[0],
                   "%s: %s", cases[i].what, err.msg);
        UNIT_CHECK(parquet_writer_finish(w, NULL, 0, &err) == WEIR_EINVAL, "%s: then finished",
                   cases[i].what);
        parquet_writer_free(w);
    }
    parquet_writer *w = begin(&o, two, 2);
    assert_int_equal(parquet_writer_group(w, NULL, 0, NULL), WEIR_EINVAL);
    assert_int_equal(parquet_writer_group(w, NULL, (size_t)INT32_MAX + 1, NULL), WEIR_EINVAL);
    parquet_writer_free(w);
}

static void large_values(void **state)
{
    (void)state;
    enum { N = 64, LEN = 1 << 20 };
    static uint8_t zeros[LEN];
    static struct parquet_bytes v[N];
    struct parquet_column c = {.name = "x", .type = PARQUET_BYTE_ARRAY};
    for (size_t i = 0; i < N; i++)
        v[i] = (struct parquet_bytes){zeros, LEN - (uint32_t)i};
    struct parquet_data d = {.n = N, .values = v};
    struct parquet_writer_options o = options();
    o.max_dict_octets = 1000; /* so that they are written out */
    parquet_writer *w = begin(&o, &c, 1);
    group(w, &d, N);
    finish(w);
    parquet_file *f = open_file();
    struct parquet_chunk_info info;
    parquet_chunk(f, 0, 0, &info);
    assert_true(!info.has_dict && info.octets_plain > 63 << 20 && info.octets < 1 << 20);
    assert_int_equal(parquet_chunk_verify(f, 0, 0, NULL), WEIR_OK);
    parquet_close(f);
    v[5].len = UINT32_MAX; /* refused before anybody looks at its octets */
    w = begin(&o, &c, 1);
    weir_err err;
    assert_int_equal(parquet_writer_group(w, &d, N, &err), WEIR_ELIMIT);
    parquet_writer_free(w);
}

static void sink_fails(void **state)
{
    (void)state;
    struct parquet_writer_options o = options();
    parquet_writer *w = begin(&o, two, 2);
    put(w, 100, 0, false);
    size_t len = file.len;
    finish(w);
    size_t whole = file.len;
    for (sink_room = 0; sink_room < whole; sink_room++) {
        weir_err err = {0};
        weir_status got;
        static uint64_t v[100];
        struct parquet_data d[] = {{.n = 100, .values = v, .width = 8}, {0}};
        base_buf_reset(&file);
        got = parquet_writer_new(&o, &(struct parquet_schema){two, 2}, &w, &err);
        if (got == WEIR_OK)
            got = parquet_writer_group(w, d, 100, &err);
        if (got == WEIR_OK)
            got = parquet_writer_finish(w, NULL, 0, &err);
        if (sink_room < len / 2)
            UNIT_CHECK(got == WEIR_EIO && strcmp(err.msg, "the disk is full") == 0,
                       "room for %zu: %s", sink_room, weir_status_text(got));
        if (w && got != WEIR_OK)
            assert_int_equal(parquet_writer_group(w, d, 100, &err), WEIR_EINVAL);
        parquet_writer_free(w);
    }
    sink_room = SIZE_MAX;
}

/* Every allocation fails once: an error, and nothing lost or left; the file is right when none failed. */
static void memory_fails(void **state)
{
    (void)state;
    enum { N = 300 };
    static uint64_t v[N];
    static struct parquet_bytes text[N];
    static uint32_t codes[N], starts[N + 1];
    static const struct parquet_column c[] = {
        {.name = "n", .type = PARQUET_INT64},
        {.name = "s", .type = PARQUET_BYTE_ARRAY, .logical = PARQUET_L_STRING, .optional = true},
        {.name = "c", .type = PARQUET_BYTE_ARRAY, .logical = PARQUET_L_STRING},
        {.name = "l",
         .type = PARQUET_BYTE_ARRAY,
         .logical = PARQUET_L_STRING,
         .list = true,
         .optional = true},
        {.name = "x", .type = PARQUET_INT32, .optional = true},
    };
    static const bool bloom[] = {true, true, true, true, true};
    static const uint64_t valid[N / 64 + 1] = {5, 6, 7, 8, 9};
    for (size_t i = 0; i < N; i++) {
        v[i] = i % 3 ? i : any();
        text[i] = bytes_of(i % 2 ? "one" : "another");
        codes[i] = (uint32_t)i % 2;
        starts[i + 1] = (uint32_t)i + 1;
    }
    struct parquet_data d[] = {{.n = N, .values = v, .width = 8},
                               {.n = N, .values = text, .valid = valid},
                               {.n = N, .codes = codes, .dict = text, .n_dict = 2},
                               {.n = N, .values = text, .starts = starts, .valid = valid},
                               {0}};
    struct parquet_writer_options o = options();
    o.bloom = bloom;
    bool done = false;
    base_buf_reset(&file);
    (void)base_buf_room(&file, 1 << 20); /* the sink's own */
    for (uint64_t k = 1; !done; k++) {
        parquet_writer *w = NULL;
        weir_err err = {0};
        base_buf preview = {0};
        base_buf_reset(&file);
        heap.calls = heap.failed = 0;
        heap.fail_at = k;
        weir_status got = parquet_writer_new(&o, &(struct parquet_schema){c, 4}, &w, &err);
        if (got == WEIR_OK)
            got = parquet_writer_group(w, d, N, &err);
        if (got == WEIR_OK)
            got = parquet_writer_add_columns(w, c + 4, 1, &err);
        if (got == WEIR_OK)
            got = parquet_writer_preview(w, &preview, &err);
        if (got == WEIR_OK)
            got = parquet_writer_group(w, d, N, &err);
        if (got == WEIR_OK)
            got = parquet_writer_finish(w, NULL, 0, &err);
        heap.fail_at = 0;
        done = heap.failed == 0;
        UNIT_CHECK(got == WEIR_OK ? file.len > 0 : !done && got == WEIR_ENOMEM && err.msg[0],
                   "allocation %llu: %s", (unsigned long long)k, weir_status_text(got));
        base_buf_done(&preview);
        parquet_writer_free(w);
        if (got != WEIR_OK)
            continue;
        parquet_file *f = open_file();
        for (size_t g = 0; g < 2; g++)
            for (size_t i = 0; i < 5; i++)
                UNIT_CHECK(parquet_chunk_verify(f, g, i, &err) == WEIR_OK, "allocation %llu: %s",
                           (unsigned long long)k, err.msg);
        parquet_close(f);
        UNIT_CHECK(k < 100000, "allocations without end");
    }
}

static int tear_down(void **state)
{
    (void)state;
    base_buf_done(&file);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trips),        cmocka_unit_test(encodings),
        cmocka_unit_test(bounds_of_pages),    cmocka_unit_test(bloom_filters),
        cmocka_unit_test(columns_come_later), cmocka_unit_test(resumed),
        cmocka_unit_test(empty_files),        cmocka_unit_test(bad_schemas),
        cmocka_unit_test(bad_data),           cmocka_unit_test(large_values),
        cmocka_unit_test(sink_fails),         cmocka_unit_test(memory_fails),
    };
    return cmocka_run_group_tests(tests, NULL, tear_down);
}
