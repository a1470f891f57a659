/* thrift and meta: what is written comes back, what is cut or damaged gives an error with its place, and unknown fields
 * are passed over. */
#include "unit.h"

#include "parquet/meta.h"
#include "parquet/thrift.h"

#include <math.h>
#include <string.h>

static uint64_t rng = 7;

static uint64_t any(void)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return rng;
}

/* ---- thrift ---- */

static void integers(void **state)
{
    (void)state;
    static const int64_t values[] = {0,   1,         -1,        63,        64,       -64,
                                     -65, INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < UNIT_N(values); i++) {
        base_buf b = {0};
        struct thrift_wr w = thrift_wr_of(&b);
        thrift_put_i64(&w, 1, values[i]);
        thrift_put_bool(&w, 30, true);
        thrift_put_i8(&w, 31, -5);
        thrift_end(&w);
        struct thrift_rd r = thrift_rd_of(b.data, b.len);
        struct thrift_field f = {0};
        assert_true(thrift_next(&r, &f) && f.id == 1);
        UNIT_CHECK(thrift_int(&r, &f) == values[i], "%lld", (long long)values[i]);
        assert_true(thrift_next(&r, &f) && f.id == 30 && thrift_bool(&r, &f));
        assert_true(thrift_next(&r, &f) && f.id == 31 && thrift_int(&r, &f) == -5);
        assert_false(thrift_next(&r, &f));
        assert_int_equal(r.bad, WEIR_OK);
        assert_int_equal(r.off, b.len);
        base_buf_done(&b);
    }
}

static const struct {
    const char *what, *hex;
    weir_status want;
    size_t at;
} skipped[] = {
    {"an empty struct", "00", WEIR_OK, 0},
    {"one of each",
     "11 13 07 14 8001 15 02 16 03 17 0000000000000000 18 02 6162 19 25 02 04 1b 01 85 01 61 02 1c "
     "11 00 "
     "1d 000102030405060708090a0b0c0d0e0f 1a 21 01 02 00",
     WEIR_OK, 0},
    {"a long field number", "05 d00f 02 00", WEIR_OK, 0},
    {"an empty map", "1b 00 00", WEIR_OK, 0},
    {"nothing", "", WEIR_ETRUNC, 0},
    {"a string past the end", "18 05 6162 00", WEIR_ETRUNC, 2},
    {"a list past the end", "19 f5 ffffffff0f 00", WEIR_ETRUNC, 7},
    {"a map past the end", "1b ffffffffffffffff7f 55 00", WEIR_ETRUNC, 12},
    {"an unknown type", "1e 00", WEIR_EFORMAT, 1},
    {"a list of nothing", "19 30 000000 00", WEIR_EFORMAT, 2},
    {"eleven octets of an integer", "15 ffffffffffffffffffff01", WEIR_EFORMAT, 11},
    {"more than 64 bits", "15 ffffffffffffffffff02 00", WEIR_EFORMAT, 11},
    {"a field number outside 16 bits", "05 80a004 02 00", WEIR_EFORMAT, 4},
};

static void skipping(void **state)
{
    (void)state;
    for (size_t i = 0; i < UNIT_N(skipped); i++) {
        uint8_t octets[256];
        size_t n = unhex(skipped[i].hex, octets, sizeof octets);
        struct thrift_rd r = thrift_rd_of(octets, n);
        struct thrift_field f = {0};
        while (thrift_next(&r, &f))
            thrift_skip(&r, &f);
        UNIT_CHECK(r.bad == skipped[i].want &&
                       (r.bad != WEIR_OK ? r.bad_off == skipped[i].at : r.off == n),
                   "%s: %s at %zu", skipped[i].what, weir_status_text(r.bad), r.bad_off);
    }
    uint8_t deep[1000];
    memset(deep, 0x1c, sizeof deep);
    struct thrift_rd r = thrift_rd_of(deep, sizeof deep);
    struct thrift_field f = {0};
    while (thrift_next(&r, &f))
        thrift_skip(&r, &f);
    assert_int_equal(r.bad, WEIR_ELIMIT);
    memset(deep, 0x19, sizeof deep); /* lists of lists */
    r = thrift_rd_of(deep, sizeof deep);
    f = (struct thrift_field){0};
    while (thrift_next(&r, &f))
        thrift_skip(&r, &f);
    assert_int_equal(r.bad, WEIR_ELIMIT);
}

/* ---- footers ---- */

static const struct parquet_column columns[] = {
    {.name = "flag", .type = PARQUET_BOOLEAN},
    {.name = "u8", .type = PARQUET_INT32, .logical = PARQUET_L_UINT8, .unsigned_order = true},
    {.name = "i16", .type = PARQUET_INT32, .logical = PARQUET_L_INT16, .optional = true},
    {.name = "u64", .type = PARQUET_INT64, .logical = PARQUET_L_UINT64, .unsigned_order = true},
    {.name = "plain", .type = PARQUET_INT64, .optional = true},
    {.name = "ms", .type = PARQUET_INT64, .logical = PARQUET_L_TIMESTAMP_MS, .utc = true},
    {.name = "us", .type = PARQUET_INT64, .logical = PARQUET_L_TIMESTAMP_US},
    {.name = "ns", .type = PARQUET_INT64, .logical = PARQUET_L_TIMESTAMP_NS, .utc = true},
    {.name = "date", .type = PARQUET_INT32, .logical = PARQUET_L_DATE},
    {.name = "time", .type = PARQUET_INT64, .logical = PARQUET_L_TIME_US, .utc = true},
    {.name = "float", .type = PARQUET_FLOAT},
    {.name = "double", .type = PARQUET_DOUBLE, .optional = true},
    {.name = "text", .type = PARQUET_BYTE_ARRAY, .logical = PARQUET_L_STRING, .optional = true},
    {.name = "json", .type = PARQUET_BYTE_ARRAY, .logical = PARQUET_L_JSON},
    {.name = "uuid", .type = PARQUET_FIXED, .logical = PARQUET_L_UUID, .type_length = 16},
    {.name = "price",
     .type = PARQUET_INT64,
     .logical = PARQUET_L_DECIMAL,
     .precision = 12,
     .scale = 3},
    {.name = "wide",
     .type = PARQUET_FIXED,
     .logical = PARQUET_L_DECIMAL,
     .precision = 30,
     .type_length = 13},
    {.name = "texts",
     .type = PARQUET_BYTE_ARRAY,
     .logical = PARQUET_L_STRING,
     .list = true,
     .optional = true},
    {.name = "numbers", .type = PARQUET_INT32, .list = true},
};
enum { N_COLUMNS = UNIT_N(columns), N_GROUPS = 3 };

static struct meta_leaf leaves[N_COLUMNS];
static struct meta_chunk chunks[N_GROUPS][N_COLUMNS];
static struct meta_group groups[N_GROUPS];
static const uint8_t lower[16] = "aaaaaaaaaaaaaaa", upper[16] = "zzzzzzzzzzzzzzz";

static uint32_t bound_len(const struct parquet_column *c)
{
    static const uint32_t sizes[] = {1, 4, 8, 12, 4, 8, 10, 0};
    return c->type == PARQUET_FIXED ? c->type_length : sizes[c->type];
}

static struct meta_file a_file(void)
{
    static struct meta_kv kv[] = {{"key", "value"}, {"alone", NULL}};
    struct meta_file m = {.leaves = leaves,
                          .n_leaves = N_COLUMNS,
                          .groups = groups,
                          .n_groups = N_GROUPS,
                          .kv = kv,
                          .n_kv = 2,
                          .created_by = "weir version 0.1.0",
                          .typed_order = true};
    for (size_t i = 0; i < N_COLUMNS; i++) {
        leaves[i] = (struct meta_leaf){.column = columns[i]};
        meta_leaf_levels(&leaves[i]);
    }
    for (size_t g = 0; g < N_GROUPS; g++) {
        groups[g] = (struct meta_group){.chunks = chunks[g],
                                        .n_chunks = N_COLUMNS,
                                        .n_rows = (int64_t)(g + 1) * 1000,
                                        .octets = 77777,
                                        .octets_plain = 99999,
                                        .sorted_by = g ? (int)g : -1,
                                        .sorted_descending = g == 2};
        m.n_rows += groups[g].n_rows;
        for (size_t i = 0; i < N_COLUMNS; i++) {
            bool dict = i % 2;
            chunks[g][i] =
                (struct meta_chunk){.type = columns[i].type,
                                    .codec = dict ? PARQUET_ZSTD : PARQUET_NONE,
                                    .encodings = dict ? 1 << 8 | 1 << 3 | 1 : 1 << 5 | 1 << 3,
                                    .dict_pages_only = dict,
                                    .n_values = 1000,
                                    .octets_plain = 5000,
                                    .octets = 4000,
                                    .data_offset = INT64_MAX / 2 + (int64_t)i,
                                    .dict_offset = dict ? 4 : 0,
                                    .n_pages = 3,
                                    .value_octets = columns[i].type == PARQUET_BYTE_ARRAY ? 9 : -1,
                                    .bloom_offset = i % 3 ? 0 : 12345,
                                    .bloom_octets = i % 3 ? 0 : 1040,
                                    .offset_index_at = i % 4 ? 100 : 0,
                                    .offset_index_octets = i % 4 ? 20 : 0,
                                    .column_index_at = i % 4 ? 200 : 0,
                                    .column_index_octets = i % 4 ? 30 : 0,
                                    .stats = {.n_nulls = (int64_t)i,
                                              .min = {lower, bound_len(&columns[i])},
                                              .max = {upper, bound_len(&columns[i])},
                                              .max_exact = dict}};
        }
    }
    return m;
}

static bool same_bytes(struct parquet_bytes a, struct parquet_bytes b)
{
    return (a.data == NULL) == (b.data == NULL) && a.len == b.len &&
           (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static void footer_round_trip(void **state)
{
    (void)state;
    struct meta_file m = a_file(), back;
    weir_err err;
    base_buf b = {0};
    meta_write(&b, &m);
    UNIT_CHECK(meta_parse((const uint8_t *)b.data, b.len, 1000, &back, &err) == WEIR_OK,
               "%s at %llu", err.msg, (unsigned long long)err.at);
    assert_true(back.n_leaves == N_COLUMNS && back.n_groups == N_GROUPS && back.n_rows == 6000);
    assert_true(back.typed_order && strcmp(back.created_by, m.created_by) == 0);
    assert_true(back.n_kv == 2 && strcmp(back.kv[0].value, "value") == 0 && !back.kv[1].value);
    for (size_t i = 0; i < N_COLUMNS; i++) {
        const struct parquet_column *want = &columns[i], *c = &back.leaves[i].column;
        bool same = strcmp(want->name, c->name) == 0 && want->type == c->type &&
                    want->logical == c->logical && want->optional == c->optional &&
                    want->list == c->list && want->utc == c->utc &&
                    want->unsigned_order == c->unsigned_order && want->scale == c->scale &&
                    want->precision == c->precision && want->type_length == c->type_length;
        UNIT_CHECK(same && back.leaves[i].readable && back.leaves[i].max_def == leaves[i].max_def &&
                       back.leaves[i].max_rep == leaves[i].max_rep,
                   "column %s", want->name);
        for (size_t g = 0; g < N_GROUPS; g++) {
            const struct meta_chunk *a = &chunks[g][i], *k = &back.groups[g].chunks[i];
            UNIT_CHECK(
                a->codec == k->codec && a->encodings == k->encodings &&
                    a->dict_pages_only == k->dict_pages_only && a->n_values == k->n_values &&
                    a->octets == k->octets && a->octets_plain == k->octets_plain &&
                    a->data_offset == k->data_offset && a->dict_offset == k->dict_offset &&
                    a->bloom_offset == k->bloom_offset && a->bloom_octets == k->bloom_octets &&
                    a->offset_index_at == k->offset_index_at &&
                    a->offset_index_octets == k->offset_index_octets &&
                    a->column_index_at == k->column_index_at &&
                    a->column_index_octets == k->column_index_octets && a->n_pages == k->n_pages &&
                    a->value_octets == k->value_octets && a->stats.n_nulls == k->stats.n_nulls,
                "group %zu, column %s", g, want->name);
            bool ordered = i != 16; /* a decimal of octets has an order that octets have not */
            UNIT_CHECK(
                same_bytes(k->stats.min, ordered ? a->stats.min : (struct parquet_bytes){0}) &&
                    same_bytes(k->stats.max, ordered ? a->stats.max : (struct parquet_bytes){0}),
                "bounds of group %zu, column %s", g, want->name);
        }
    }
    for (size_t g = 0; g < N_GROUPS; g++)
        assert_true(back.groups[g].sorted_by == groups[g].sorted_by &&
                    back.groups[g].sorted_descending == groups[g].sorted_descending &&
                    back.groups[g].octets == 77777);
    base_buf again = {0};
    meta_done(&back);
    m.typed_order = false; /* then minima and maxima mean nothing */
    meta_write(&again, &m);
    assert_int_equal(meta_parse((const uint8_t *)again.data, again.len, 0, &back, &err), WEIR_OK);
    assert_null(back.groups[0].chunks[0].stats.min.data);
    meta_done(&back);
    base_buf_done(&again);
    base_buf_done(&b);
}

/* Cut anywhere the footer is an error; changed anywhere it is one or not, but nothing worse. */
static void footer_damaged(void **state)
{
    (void)state;
    struct meta_file m = a_file(), back;
    base_buf b = {0};
    meta_write(&b, &m);
    for (size_t n = 0; n < b.len; n++) {
        weir_err err = {0};
        uint8_t *cut = malloc(n ? n : 1); /* so that a read past the end is seen */
        assert_non_null(cut);
        memcpy(cut, b.data, n);
        UNIT_CHECK(meta_parse(cut, n, 500, &back, &err) != WEIR_OK && err.msg[0] && err.at >= 500 &&
                       err.at <= 500 + n,
                   "cut to %zu: at %llu", n, (unsigned long long)err.at);
        free(cut);
    }
    uint8_t *changed = malloc(b.len);
    assert_non_null(changed);
    for (int round = 0; round < 20000; round++) {
        memcpy(changed, b.data, b.len);
        for (uint64_t k = any() % 4 + 1; k; k--)
            changed[any() % b.len] = (uint8_t)any();
        if (meta_parse(changed, b.len, 0, &back, NULL) == WEIR_OK)
            meta_done(&back);
    }
    free(changed);
    base_buf_done(&b);
}

static const struct {
    const char *what, *hex;
    weir_status want;
} footers[] = {
    /* 19 = list, 2c = two structs: root "r" of one child, INT32 "a" required; then rows 0, no groups */
    {"the least", "15 02 19 2c 48 01 72 15 02 00 15 02 25 00 18 01 61 00 16 00 19 0c 00", WEIR_OK},
    {"no schema", "15 02 26 00 19 0c 00", WEIR_EFORMAT},
    {"a child too many", "15 02 19 2c 48 01 72 15 04 00 15 02 25 00 18 01 61 00 16 00 19 0c 00",
     WEIR_EFORMAT},
    {"a child too few", "15 02 19 2c 48 01 72 15 00 00 15 02 25 00 18 01 61 00 16 00 19 0c 00",
     WEIR_EFORMAT},
    {"children below 0", "15 02 19 2c 48 01 72 15 03 00 15 02 25 00 18 01 61 00 16 00 19 0c 00",
     WEIR_EFORMAT},
    {"a type of 8", "15 02 19 2c 48 01 72 15 02 00 15 10 25 00 18 01 61 00 16 00 19 0c 00",
     WEIR_EFORMAT},
    {"no name", "15 02 19 2c 48 01 72 15 02 00 15 02 25 00 00 16 00 19 0c 00", WEIR_EFORMAT},
    {"no repetition", "15 02 19 2c 48 01 72 15 02 00 15 02 38 01 61 00 16 00 19 0c 00",
     WEIR_EFORMAT},
    {"a fixed length of none",
     "15 02 19 2c 48 01 72 15 02 00 15 0e 25 00 18 01 61 00 16 00 19 0c 00", WEIR_EFORMAT},
    {"rows that no group has",
     "15 02 19 2c 48 01 72 15 02 00 15 02 25 00 18 01 61 00 16 02 19 0c 00", WEIR_EFORMAT},
    {"a name that is a number", "15 02 19 2c 45 02 15 02 00 15 02 25 00 18 01 61 00 16 00 19 0c 00",
     WEIR_EFORMAT},
    {"a group without chunks",
     "15 02 19 2c 48 01 72 15 02 00 15 02 25 00 18 01 61 00 16 00 19 1c 26 00 16 00 00 00",
     WEIR_EFORMAT},
    {"an encrypted file",
     "15 02 19 2c 48 01 72 15 02 00 15 02 25 00 18 01 61 00 16 00 19 0c 4c 00 00", WEIR_EFORMAT},
    {"a billion elements", "15 02 19 fc 80 94 eb dc 03 48 01 72", WEIR_ETRUNC},
};

static void footers_by_hand(void **state)
{
    (void)state;
    for (size_t i = 0; i < UNIT_N(footers); i++) {
        uint8_t octets[256];
        struct meta_file m;
        weir_err err = {0};
        size_t n = unhex(footers[i].hex, octets, sizeof octets);
        weir_status got = meta_parse(octets, n, 0, &m, &err);
        UNIT_CHECK(got == footers[i].want, "%s: %s, %s at %llu", footers[i].what,
                   weir_status_text(got), err.msg, (unsigned long long)err.at);
        if (got == WEIR_OK) {
            assert_true(m.n_leaves == 1 && strcmp(m.leaves[0].column.name, "a") == 0);
            meta_done(&m);
        }
    }
}

/* Which bounds a reader may use. */
static void usable_bounds(void **state)
{
    (void)state;
    static const uint8_t nan32[] = {0, 0, 0xc0, 0x7f}, nan64[] = {0, 0, 0, 0, 0, 0, 0xf8, 0x7f};
    const struct {
        struct parquet_column c;
        struct parquet_bytes bound;
        bool want;
    } cases[] = {
        {{.type = PARQUET_INT32}, {lower, 4}, true},
        {{.type = PARQUET_INT32}, {lower, 8}, false},
        {{.type = PARQUET_INT64}, {lower, 4}, false},
        {{.type = PARQUET_FLOAT}, {lower, 4}, true},
        {{.type = PARQUET_FLOAT}, {nan32, 4}, false},
        {{.type = PARQUET_DOUBLE}, {nan64, 8}, false},
        {{.type = PARQUET_BOOLEAN}, {lower, 1}, true},
        {{.type = PARQUET_INT96}, {lower, 12}, false},
        {{.type = PARQUET_BYTE_ARRAY}, {lower, 0}, true},
        {{.type = PARQUET_FIXED, .type_length = 4}, {lower, 5}, false},
        {{.type = PARQUET_FIXED, .type_length = 12, .logical = PARQUET_L_INTERVAL},
         {lower, 12},
         false},
        {{.type = PARQUET_FIXED, .type_length = 2, .logical = PARQUET_L_FLOAT16},
         {lower, 2},
         false},
        {{.type = PARQUET_INT64, .logical = PARQUET_L_DECIMAL}, {lower, 8}, true},
        {{.type = PARQUET_BYTE_ARRAY, .logical = PARQUET_L_DECIMAL}, {lower, 8}, false},
    };
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        struct meta_leaf leaf = {.column = cases[i].c};
        meta_leaf_levels(&leaf);
        UNIT_CHECK(meta_bound_usable(&leaf, cases[i].bound) == cases[i].want, "case %zu", i);
    }
}

/* ---- pages, indexes, filters ---- */

static void page_headers(void **state)
{
    (void)state;
    for (uint8_t kind = 0; kind <= 2; kind = (uint8_t)(kind + 2)) {
        struct meta_page page = {.kind = kind,
                                 .octets_plain = 70000,
                                 .octets = INT32_MAX,
                                 .has_crc = true,
                                 .crc = 0xdeadbeef,
                                 .n_values = 32768,
                                 .encoding = kind ? PARQUET_PLAIN : PARQUET_RLE_DICTIONARY,
                                 .def_encoding = PARQUET_RLE,
                                 .rep_encoding = PARQUET_RLE},
                         back;
        base_buf b = {0};
        size_t used;
        weir_err err;
        meta_page_write(&b, &page);
        base_buf_add(&b, "\xff\xff", 2);
        assert_int_equal(meta_page_parse((const uint8_t *)b.data, b.len, 0, &back, &used, &err),
                         WEIR_OK);
        assert_int_equal(used, b.len - 2);
        assert_true(back.kind == kind && back.octets == page.octets && back.octets_plain == 70000 &&
                    back.has_crc && back.crc == page.crc && back.n_values == 32768 &&
                    back.encoding == page.encoding && back.compressed);
        for (size_t n = 0; n < used; n++)
            assert_int_not_equal(meta_page_parse((const uint8_t *)b.data, n, 0, &back, &used, &err),
                                 WEIR_OK);
        base_buf_done(&b);
    }
}

static const struct {
    const char *what, *hex;
    weir_status want;
} pages[] = {
    {"v1", "15 00 15 10 15 10 2c 15 02 15 00 15 06 15 06 00 00", WEIR_OK},
    {"v2", "15 06 15 10 15 10 5c 15 04 15 02 15 04 15 00 15 04 15 00 12 00 00", WEIR_OK},
    {"an index page", "15 02 15 10 15 10 00", WEIR_OK},
    {"a dictionary, sorted", "15 04 15 10 15 10 4c 15 02 15 00 11 00 00", WEIR_OK},
    {"v1 without its header", "15 00 15 10 15 10 00", WEIR_EFORMAT},
    {"a dictionary with a data page's header", "15 04 15 10 15 10 2c 15 02 15 00 15 06 15 06 00 00",
     WEIR_EFORMAT},
    {"a kind of 4", "15 08 15 10 15 10 2c 15 02 15 00 15 06 15 06 00 00", WEIR_EFORMAT},
    {"a size below 0", "15 00 15 0f 15 10 2c 15 02 15 00 15 06 15 06 00 00", WEIR_EFORMAT},
    {"a size outside 32 bits", "15 00 16 80808080 20 15 10 2c 15 02 15 00 15 06 15 06 00 00",
     WEIR_EFORMAT},
    {"values below 0", "15 00 15 10 15 10 2c 15 01 15 00 15 06 15 06 00 00", WEIR_EFORMAT},
    {"v2 with more nulls than values",
     "15 06 15 10 15 10 5c 15 04 15 06 15 04 15 00 15 04 15 00 12 00 00", WEIR_EFORMAT},
    {"v2 with levels longer than the page",
     "15 06 15 10 15 10 5c 15 04 15 02 15 04 15 00 15 14 15 00 12 00 00", WEIR_EFORMAT},
};

static void pages_by_hand(void **state)
{
    (void)state;
    for (size_t i = 0; i < UNIT_N(pages); i++) {
        uint8_t octets[256];
        struct meta_page page;
        size_t used, n = unhex(pages[i].hex, octets, sizeof octets);
        weir_err err = {0};
        weir_status got = meta_page_parse(octets, n, 0, &page, &used, &err);
        UNIT_CHECK(got == pages[i].want, "%s: %s, %s", pages[i].what, weir_status_text(got),
                   err.msg);
    }
}

static void page_indexes(void **state)
{
    (void)state;
    enum { N = 40 };
    struct meta_page_place places[N], *places_back;
    struct meta_page_bounds bounds[N], *bounds_back;
    size_t n;
    weir_err err;
    base_buf b = {0};
    for (int i = 0; i < N; i++) {
        places[i] = (struct meta_page_place){i * INT64_C(1000000000000), i * 32768, 500 + i};
        bounds[i] = (struct meta_page_bounds){.all_null = i % 5 == 0,
                                              .min = {lower, (uint32_t)i % 16},
                                              .max = {upper, (uint32_t)i % 16},
                                              .n_nulls = i};
    }
    meta_offset_index_write(&b, places, N);
    assert_int_equal(
        meta_offset_index_parse((const uint8_t *)b.data, b.len, 0, &places_back, &n, &err),
        WEIR_OK);
    assert_int_equal(n, N);
    for (int i = 0; i < N; i++)
        assert_true(places_back[i].offset == places[i].offset &&
                    places_back[i].first_row == places[i].first_row &&
                    places_back[i].octets == places[i].octets);
    free(places_back);
    for (size_t k = 0; k < b.len; k++)
        assert_int_not_equal(
            meta_offset_index_parse((const uint8_t *)b.data, k, 0, &places_back, &n, &err),
            WEIR_OK);
    base_buf_reset(&b);
    places[3].first_row = places[2].first_row;
    meta_offset_index_write(&b, places, N);
    assert_int_equal(
        meta_offset_index_parse((const uint8_t *)b.data, b.len, 0, &places_back, &n, &err),
        WEIR_EFORMAT);
    base_buf_reset(&b);
    meta_column_index_write(&b, bounds, N, 1);
    assert_int_equal(
        meta_column_index_parse((const uint8_t *)b.data, b.len, 0, &bounds_back, &n, &err),
        WEIR_OK);
    assert_int_equal(n, N);
    for (int i = 0; i < N; i++)
        assert_true(bounds_back[i].all_null == bounds[i].all_null && bounds_back[i].n_nulls == i &&
                    same_bytes(bounds_back[i].min, bounds[i].min) &&
                    same_bytes(bounds_back[i].max, bounds[i].max));
    free(bounds_back);
    for (size_t k = 0; k < b.len; k++)
        assert_int_not_equal(
            meta_column_index_parse((const uint8_t *)b.data, k, 0, &bounds_back, &n, &err),
            WEIR_OK);
    base_buf_done(&b);
    static const uint8_t uneven[] = {0x19, 0x21, 1, 1, 0x19, 0x18, 0, 0x19, 0x28, 0, 0, 0x15, 0, 0};
    assert_int_equal(meta_column_index_parse(uneven, sizeof uneven, 0, &bounds_back, &n, &err),
                     WEIR_EFORMAT);
}

static void bloom_headers(void **state)
{
    (void)state;
    base_buf b = {0};
    uint32_t octets;
    size_t used;
    weir_err err;
    meta_bloom_write(&b, 1 << 20);
    assert_int_equal(meta_bloom_parse((const uint8_t *)b.data, b.len, 0, &octets, &used, &err),
                     WEIR_OK);
    assert_true(octets == 1 << 20 && used == b.len);
    for (size_t k = 0; k < b.len; k++)
        assert_int_not_equal(meta_bloom_parse((const uint8_t *)b.data, k, 0, &octets, &used, &err),
                             WEIR_OK);
    base_buf_reset(&b);
    meta_bloom_write(&b, 48);
    assert_int_equal(meta_bloom_parse((const uint8_t *)b.data, b.len, 0, &octets, &used, &err),
                     WEIR_EFORMAT);
    base_buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers),          cmocka_unit_test(skipping),
        cmocka_unit_test(footer_round_trip), cmocka_unit_test(footer_damaged),
        cmocka_unit_test(footers_by_hand),   cmocka_unit_test(usable_bounds),
        cmocka_unit_test(page_headers),      cmocka_unit_test(pages_by_hand),
        cmocka_unit_test(page_indexes),      cmocka_unit_test(bloom_headers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
