#include "unit.h"

#include "ship/clickhouse.h"
#include "ship/destinations.h"

#include <string.h>

/* ---- types ---- */

static void test_types_are_read(void **state)
{
    static const struct {
        const char *text;
        bool ok;
        struct ship_rowbinary_type want;
    } cases[] = {
        {"UInt8", true, {.form = SHIP_ROWBINARY_UINT, .octets = 1}},
        {"Nullable(UInt64)", true, {.form = SHIP_ROWBINARY_UINT, .octets = 8, .nullable = true}},
        {"Int16", true, {.form = SHIP_ROWBINARY_INT, .octets = 2}},
        {"LowCardinality(String)", true, {.form = SHIP_ROWBINARY_STRING}},
        {"LowCardinality(Nullable(String))",
         true,
         {.form = SHIP_ROWBINARY_STRING, .nullable = true}},
        {"FixedString(16)", true, {.form = SHIP_ROWBINARY_FIXED, .octets = 16}},
        {"Nullable(IPv6)", true, {.form = SHIP_ROWBINARY_IPV6, .octets = 16, .nullable = true}},
        {"DateTime", true, {.form = SHIP_ROWBINARY_SECONDS, .octets = 4}},
        {"DateTime('UTC')", true, {.form = SHIP_ROWBINARY_SECONDS, .octets = 4}},
        {"DateTime64(6, 'UTC')", true, {.form = SHIP_ROWBINARY_TICKS, .octets = 8, .precision = 6}},
        {"DateTime64(0)", true, {.form = SHIP_ROWBINARY_TICKS, .octets = 8}},
        {"Array(UInt32)", true, {.form = SHIP_ROWBINARY_UINT, .octets = 4, .list = true}},
        {"Array(Nullable(UInt32))",
         true,
         {.form = SHIP_ROWBINARY_UINT, .octets = 4, .list = true, .nullable = true}},
        {"", false, {0}},
        {"UInt", false, {0}},
        {"UInt8 ", false, {0}},
        {"Enum8('a' = 1)", false, {0}},
        {"Decimal(9, 2)", false, {0}},
        {"FixedString(0)", false, {0}},
        {"FixedString(16", false, {0}},
        {"FixedString(99999999999)", false, {0}},
        {"DateTime64(10)", false, {0}},
        {"DateTime64()", false, {0}},
        {"Array(Array(UInt8))", false, {0}},
        {"Nullable()", false, {0}},
        {"Map(String, String)", false, {0}},
    };
    (void)state;
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        struct ship_rowbinary_type t = {0};
        bool ok = ship_rowbinary_type_parse(cases[i].text, &t);
        UNIT_CHECK(ok == cases[i].ok, "%s: %d", cases[i].text, ok);
        UNIT_CHECK(!ok || (t.form == cases[i].want.form && t.octets == cases[i].want.octets &&
                           t.nullable == cases[i].want.nullable && t.list == cases[i].want.list &&
                           t.precision == cases[i].want.precision),
                   "%s: form %d octets %u nullable %d list %d", cases[i].text, t.form, t.octets,
                   t.nullable, t.list);
    }
}

static void test_types_take_kinds(void **state)
{
    static const struct {
        const char *type;
        uint8_t kind;
        bool takes;
    } cases[] = {
        {"UInt8", QUERY_U64, true},         {"Int64", QUERY_S64, true},
        {"Float64", QUERY_U64, true},       {"UInt8", QUERY_F64, false},
        {"String", QUERY_U64, false},       {"UInt8", QUERY_TEXT, false},
        {"IPv6", QUERY_TEXT, true},         {"IPv6", QUERY_OCTETS, false},
        {"String", QUERY_OCTETS, true},     {"DateTime", QUERY_TIME, true},
        {"UInt32", QUERY_TIME, false},      {"Int64", QUERY_TIME, true},
        {"Array(UInt8)", QUERY_U64, false}, {"Array(UInt8)", QUERY_U64_LIST, true},
        {"UInt8", QUERY_U64_LIST, false},   {"Array(String)", QUERY_TEXT_LIST, true},
        {"Bool", QUERY_BOOL, true},         {"UInt8", QUERY_BOOL, true},
        {"Bool", QUERY_U64, false},         {"Array(Nullable(UInt8))", QUERY_U64_LIST, false},
        {"UInt8", QUERY_UNKNOWN, true},
    };
    (void)state;
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        struct ship_rowbinary_type t;
        assert_true(ship_rowbinary_type_parse(cases[i].type, &t));
        UNIT_CHECK(ship_rowbinary_takes(&t, cases[i].kind) == cases[i].takes, "%s and kind %d",
                   cases[i].type, cases[i].kind);
    }
}

/* ---- rows ---- */

enum { ROWS = 3 };

static const struct query_text words[] = {{"192.0.2.1", 9}, {"2001:db8::1", 11}, {"", 0}, {"x", 1}};

/* One column of three values, or of what `valid` leaves of them, as octets in hex or as the refusal's words. */
/* clang-format off */
static const struct {
    const char *what, *type;
    struct query_vec v;
    uint64_t num[2 * ROWS];
    uint32_t codes[ROWS], starts[ROWS + 1];
    uint64_t valid;
    const char *want; /* hex; NULL: it is refused */
    const char *words;
} columns[] = {
    {"number", "UInt16", {.kind = QUERY_U64}, {1, 0xffff, 256}, {0}, {0}, 7, "0100 ffff 0001", NULL},
    {"nullable", "Nullable(UInt32)", {.kind = QUERY_U64}, {1, 0, 2}, {0}, {0}, 5,
     "00 01000000  01  00 02000000", NULL},
    {"null where none can be", "UInt32", {.kind = QUERY_U64}, {1, 0, 2}, {0}, {0}, 5,
     "01000000 00000000 02000000", NULL},
    {"nothing, nullable", "Nullable(UInt64)", {.kind = QUERY_UNKNOWN}, {0}, {0}, {0}, 7, "01 01 01", NULL},
    {"nothing", "UInt16", {.kind = QUERY_UNKNOWN}, {0}, {0}, {0}, 7, "0000 0000 0000", NULL},
    {"no text", "String", {.kind = QUERY_UNKNOWN}, {0}, {0}, {0}, 7, "00 00 00", NULL},
    {"no list", "Array(UInt32)", {.kind = QUERY_UNKNOWN}, {0}, {0}, {0}, 7, "00 00 00", NULL},
    {"too large", "UInt8", {.kind = QUERY_U64}, {1, 256, 0}, {0}, {0}, 7, NULL, "UInt8"},
    {"too large for a sign", "Int8", {.kind = QUERY_U64}, {1, 128, 0}, {0}, {0}, 7, NULL, "Int8"},
    {"signed", "Int8", {.kind = QUERY_S64}, {127, (uint64_t)-128, (uint64_t)-1}, {0}, {0}, 7, "7f 80 ff", NULL},
    {"negative", "UInt64", {.kind = QUERY_S64}, {1, (uint64_t)-1, 0}, {0}, {0}, 7, NULL, "UInt64"},
    {"the greatest", "UInt64", {.kind = QUERY_U64}, {UINT64_MAX, 0, 1}, {0}, {0}, 7,
     "ffffffffffffffff 0000000000000000 0100000000000000", NULL},
    {"truth", "Bool", {.kind = QUERY_BOOL}, {1, 0, 1}, {0}, {0}, 7, "01 00 01", NULL},
    {"number as float", "Float64", {.kind = QUERY_U64}, {1, 2, 0}, {0}, {0}, 7,
     "000000000000f03f 0000000000000040 0000000000000000", NULL},
    {"double", "Float32", {.kind = QUERY_F64}, {0x3ff8000000000000, 0, 0xc000000000000000}, {0}, {0}, 7,
     "0000c03f 00000000 000000c0", NULL},
    {"microseconds", "DateTime64(6, 'UTC')", {.kind = QUERY_TIME}, {1, (uint64_t)-1, 0}, {0}, {0}, 7,
     "0100000000000000 ffffffffffffffff 0000000000000000", NULL},
    {"milliseconds, downwards", "DateTime64(3)", {.kind = QUERY_TIME}, {1999, (uint64_t)-1, 0}, {0}, {0}, 7,
     "0100000000000000 ffffffffffffffff 0000000000000000", NULL},
    {"nanoseconds", "DateTime64(9)", {.kind = QUERY_TIME}, {2, 0, 0}, {0}, {0}, 7,
     "d007000000000000 0000000000000000 0000000000000000", NULL},
    {"too far", "DateTime64(9)", {.kind = QUERY_TIME}, {INT64_MAX, 0, 0}, {0}, {0}, 7, NULL, "DateTime64"},
    {"seconds", "DateTime", {.kind = QUERY_TIME}, {1999999, 0, 60000000}, {0}, {0}, 7, "01000000 00000000 3c000000", NULL},
    {"before 1970", "DateTime", {.kind = QUERY_TIME}, {(uint64_t)-1, 0, 0}, {0}, {0}, 7, NULL, "DateTime"},
    {"text", "String", {.kind = QUERY_TEXT}, {0}, {3, 2, 0}, {0}, 7, "01 78  00  09 3139322e302e322e31", NULL},
    {"text, nullable", "Nullable(String)", {.kind = QUERY_TEXT}, {0}, {3, 0, 2}, {0}, 5, "00 01 78  01  00 00", NULL},
    {"text of a size", "FixedString(2)", {.kind = QUERY_TEXT}, {0}, {3, 2, 3}, {0}, 7, "7800 0000 7800", NULL},
    {"text too long", "FixedString(2)", {.kind = QUERY_TEXT}, {0}, {3, 0, 3}, {0}, 7, NULL, "9 octets"},
    {"addresses", "IPv6", {.kind = QUERY_TEXT}, {0}, {0, 1, 0}, {0}, 3,
     "00000000000000000000ffffc0000201 20010db8000000000000000000000001 00000000000000000000000000000000", NULL},
    {"IPv4", "Nullable(IPv4)", {.kind = QUERY_TEXT}, {0}, {0, 0, 0}, {0}, 5, "00 010200c0 01 00 010200c0", NULL},
    {"IPv6 in IPv4", "IPv4", {.kind = QUERY_TEXT}, {0}, {0, 1, 0}, {0}, 7, NULL, "no IPv4 address"},
    {"no address", "IPv6", {.kind = QUERY_TEXT}, {0}, {0, 3, 0}, {0}, 7, NULL, "no address"},
    {"no address where null", "IPv6", {.kind = QUERY_TEXT}, {0}, {0, 3, 0}, {0}, 5,
     "00000000000000000000ffffc0000201 00000000000000000000000000000000 00000000000000000000ffffc0000201", NULL},
    {"lists", "Array(UInt16)", {.kind = QUERY_U64_LIST}, {1, 2, 3}, {0}, {0, 2, 2, 3}, 7, "02 0100 0200  00  01 0300", NULL},
    {"item too large", "Array(UInt8)", {.kind = QUERY_U64_LIST}, {1, 256, 3}, {0}, {0, 2, 2, 3}, 7, NULL, "UInt8"},
    {"numbers into text", "String", {.kind = QUERY_U64}, {1, 2, 3}, {0}, {0}, 7, NULL, "whole numbers"},
};
/* clang-format on */

static void test_columns_are_written(void **state)
{
    (void)state;
    ship_rowbinary *r = ship_rowbinary_new();
    for (size_t i = 0; i < UNIT_N(columns); i++) {
        struct ship_rowbinary_column c = {
            .name = "a_column", .type_text = columns[i].type, .vec = columns[i].v};
        base_buf out = {0};
        weir_err err = {0};
        uint8_t want[256];
        assert_true(ship_rowbinary_type_parse(columns[i].type, &c.type));
        c.vec.num = columns[i].num;
        c.vec.codes = columns[i].codes;
        c.vec.dict = words;
        c.vec.n_dict = UNIT_N(words);
        c.vec.starts = columns[i].v.kind == QUERY_U64_LIST ? columns[i].starts : NULL;
        c.vec.valid = columns[i].valid == 7 ? NULL : &columns[i].valid;
        base_buf_str(&out, "before");
        weir_status s = ship_rowbinary_rows(r, &c, 1, 0, ROWS, &out, &err);
        if (!columns[i].want) {
            UNIT_CHECK(s == WEIR_EINVAL && out.len == 6, "%s: status %d", columns[i].what, s);
            UNIT_CHECK(strstr(err.msg, "a_column") && strstr(err.msg, columns[i].words), "%s: %s",
                       columns[i].what, err.msg);
        } else {
            size_t n = unhex(columns[i].want, want, sizeof want);
            UNIT_CHECK(s == WEIR_OK, "%s: %s", columns[i].what, err.msg);
            UNIT_CHECK(out.len == 6 + n && memcmp(out.data + 6, want, n) == 0,
                       "%s: %zu octets, wanted %zu, or others", columns[i].what, out.len - 6, n);
        }
        base_buf_done(&out);
    }
    ship_rowbinary_free(r);
}

/* Many rows of several columns at once: they are read back one value after the other. Lengths of text go beyond one octet of
 * length; the range begins and ends within a chunk. */
static void test_rows_are_read_back(void **state)
{
    enum { N = 2000, FROM = 37, TO = 1963, DICT = 200 };
    static uint64_t num[N], valid[N / 64 + 1];
    static uint32_t codes[N], starts[N + 1];
    static uint64_t items[4 * N];
    static char text[DICT][DICT];
    static struct query_text dict[DICT];
    (void)state;
    for (size_t i = 0; i < DICT; i++) {
        memset(text[i], (int)('a' + i % 26), i);
        dict[i] = (struct query_text){text[i], (uint32_t)i};
    }
    for (size_t i = 0; i < N; i++) {
        num[i] = i * 2654435761;
        codes[i] = (uint32_t)(i * 31 % DICT);
        if (i * 7 % 3)
            valid[i >> 6] |= UINT64_C(1) << (i & 63);
        else
            num[i] = codes[i] = 0;
        starts[i + 1] = starts[i] + (uint32_t)(i % 4);
        for (uint32_t k = starts[i]; k < starts[i + 1]; k++)
            items[k] = i + k;
    }
    struct ship_rowbinary_column c[] = {
        {.name = "a", .type_text = "", .vec = {.kind = QUERY_U64, .num = num, .valid = valid}},
        {.name = "b",
         .type_text = "",
         .vec = {.kind = QUERY_TEXT, .codes = codes, .dict = dict, .n_dict = DICT, .valid = valid}},
        {.name = "c",
         .type_text = "",
         .vec = {.kind = QUERY_U64_LIST, .num = items, .starts = starts}},
        {.name = "d", .type_text = "", .vec = {.kind = QUERY_UNKNOWN}},
    };
    static const char *const types[] = {"Nullable(UInt64)", "LowCardinality(Nullable(String))",
                                        "Array(UInt32)", "Nullable(IPv6)"};
    for (size_t i = 0; i < UNIT_N(c); i++)
        assert_true(ship_rowbinary_type_parse(types[i], &c[i].type));
    ship_rowbinary *r = ship_rowbinary_new();
    base_buf out = {0};
    assert_int_equal(ship_rowbinary_rows(r, c, UNIT_N(c), FROM, TO, &out, NULL), WEIR_OK);
    const uint8_t *p = (const uint8_t *)out.data;
    for (size_t i = FROM; i < TO; i++) {
        bool there = valid[i >> 6] >> (i & 63) & 1;
        UNIT_CHECK(*p++ == !there, "row %zu: flag", i);
        if (there) {
            UNIT_CHECK(memcmp(p, &num[i], 8) == 0, "row %zu: number", i);
            p += 8;
        }
        UNIT_CHECK(*p++ == !there, "row %zu: flag of the text", i);
        if (there) {
            uint32_t len = *p & 127;
            if (*p++ & 128)
                len |= (uint32_t)*p++ << 7;
            UNIT_CHECK(len == dict[codes[i]].len && memcmp(p, dict[codes[i]].data, len) == 0,
                       "row %zu: text", i);
            p += len;
        }
        UNIT_CHECK(*p++ == i % 4, "row %zu: items", i);
        for (uint32_t k = starts[i]; k < starts[i + 1]; k++, p += 4) {
            uint32_t v;
            memcpy(&v, p, 4);
            UNIT_CHECK(v == items[k], "row %zu: item %u", i, k);
        }
        UNIT_CHECK(*p++ == 1, "row %zu: null", i);
    }
    assert_ptr_equal(p, out.data + out.len);
    base_buf_done(&out);
    ship_rowbinary_free(r);
}

/* ---- SQL ---- */

static void test_names_and_texts_are_quoted(void **state)
{
    static const struct {
        const char *in, *name, *text;
        size_t len;
    } cases[] = {
        {"plain", "`plain`", "'plain'", 5},
        {"a`; DROP TABLE x; --", "`a\\`; DROP TABLE x; --`", "'a`; DROP TABLE x; --'", 20},
        {"it's", "`it's`", "'it\\'s'", 4},
        {"back\\", "`back\\\\`", "'back\\\\'", 5},
        {"\\`'", "`\\\\\\`'`", "'\\\\`\\''", 3},
        {"a\0b", "`a\\0b`", "'a\\0b'", 3},
        {"\xc3\xa9", "`\xc3\xa9`", "'\xc3\xa9'", 2},
        {"", "``", "''", 0},
    };
    (void)state;
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        base_buf name = {0}, text = {0};
        ship_clickhouse_name(&name, cases[i].in, cases[i].len);
        ship_clickhouse_text(&text, cases[i].in, cases[i].len);
        base_buf_char(&name, '\0');
        base_buf_char(&text, '\0');
        assert_string_equal(name.data, cases[i].name);
        assert_string_equal(text.data, cases[i].text);
        base_buf_done(&name);
        base_buf_done(&text);
    }
}

static void test_versions_and_spans(void **state)
{
    struct ship_clickhouse_server s;
    (void)state;
    assert_int_equal(ship_clickhouse_version("18.16.1", 7, &s, NULL), WEIR_OK);
    assert_false(ship_clickhouse_is_modern(&s));
    assert_int_equal(ship_clickhouse_version("26.9.2.1", 8, &s, NULL), WEIR_OK);
    assert_true(ship_clickhouse_is_modern(&s));
    assert_true(ship_clickhouse_is_at_least(&s, 26, 9));
    assert_false(ship_clickhouse_is_at_least(&s, 26, 10));
    assert_true(ship_clickhouse_is_at_least(&s, 22, 11));
    assert_int_equal(ship_clickhouse_version("nginx", 5, &s, NULL), WEIR_EFORMAT);
    assert_int_equal(ship_clickhouse_version("24", 2, &s, NULL), WEIR_EFORMAT);
    assert_int_equal(ship_clickhouse_version("", 0, &s, NULL), WEIR_EFORMAT);
    assert_int_equal(ship_clickhouse_span("90d"), 90 * 86400);
    assert_int_equal(ship_clickhouse_span("12h"), 12 * 3600);
    assert_int_equal(ship_clickhouse_span("1y"), 365 * 86400);
    static const char *const none[] = {"",     "d",  "90",           "0d", "-1d",
                                       "90dd", "1m", "99999999999d", "9 d"};
    for (size_t i = 0; i < UNIT_N(none); i++)
        UNIT_CHECK(ship_clickhouse_span(none[i]) == 0, "%s", none[i]);
}

static weir_status gather(void *user, const char *sql, size_t len, weir_err *err)
{
    base_buf *b = user;
    (void)err;
    assert_int_equal(strlen(sql), len);
    base_buf_add(b, sql, len);
    base_buf_str(b, ";\n");
    return WEIR_OK;
}

/* Statements for a form and version; freed by the next call. */
static const char *made(const struct ship_clickhouse_form *f, const char *version,
                        enum flow_table table, weir_status want)
{
    static base_buf all;
    struct ship_clickhouse_server s;
    weir_err err = {0};
    base_buf_done(&all);
    if (!f)
        return NULL;
    assert_int_equal(ship_clickhouse_version(version, strlen(version), &s, NULL), WEIR_OK);
    UNIT_CHECK(ship_clickhouse_create(f, &s, table, gather, &all, &err) == want, "%s", err.msg);
    base_buf_char(&all, '\0');
    return all.data;
}

static size_t count_of(const char *text, const char *what)
{
    size_t n = 0;
    for (; (text = strstr(text, what)); text += strlen(what))
        n++;
    return n;
}

static void test_tables_fit_the_server(void **state)
{
    const struct ship_clickhouse_form plain = {
        .database = "default", .flows = "flows", .ledger = "ledger"};
    (void)state;
    const char *sql = made(&plain, "24.8.1", FLOW_TABLE_FLOWS, WEIR_OK);
    assert_int_equal(count_of(sql, ";\n"), 1);
    assert_non_null(strstr(sql, "`received` DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)),"));
    assert_non_null(strstr(sql, "`exporter` IPv6 CODEC"));
    assert_non_null(strstr(sql, "`src_addr` Nullable(IPv6)"));
    assert_non_null(strstr(sql, "`app_name` LowCardinality(Nullable(String))"));
    assert_non_null(strstr(sql, "`mpls_labels` Array(UInt32)"));
    assert_non_null(strstr(sql, "ENGINE = MergeTree()"));
    assert_non_null(strstr(sql, "ORDER BY (toStartOfFiveMinutes(received), exporter, received)"));
    assert_null(strstr(sql, "TTL"));
    assert_int_equal(count_of(sql, "\n    `"), FLOW_N_COLUMNS + 2);
    assert_int_equal(count_of(sql, "TYPE minmax"), 3); /* file, first, last */

    sql = made(&plain, "18.16.1", FLOW_TABLE_FLOWS, WEIR_OK);
    static const char *const too_new[] = {"IPv6",  "DateTime64", "CODEC", "LowCardinality",
                                          "INDEX", "Bool",       "TTL"};
    for (size_t i = 0; i < UNIT_N(too_new); i++)
        UNIT_CHECK(!strstr(sql, too_new[i]), "18.16 has no %s", too_new[i]);
    assert_non_null(strstr(sql, "`src_addr` Nullable(FixedString(16))"));
    assert_non_null(strstr(sql, "`received` Int64"));

    /* Before, minmax indexes of columns with nulls are of no use. */
    assert_int_equal(count_of(made(&plain, "21.8.1", FLOW_TABLE_FLOWS, WEIR_OK), "TYPE minmax"), 1);

    sql = made(&plain, "24.8.1", FLOW_TABLE_LEDGER, WEIR_OK);
    assert_int_equal(count_of(sql, "TYPE minmax"), 1);
    assert_non_null(strstr(sql, "`minute` DateTime64(6, 'UTC')"));
    assert_non_null(strstr(sql, "`exporter` Nullable(IPv6)"));
    assert_int_equal(count_of(sql, "\n    `"), FLOW_N_LEDGER_COLUMNS + 2);

    struct ship_clickhouse_form f = plain;
    f.used = true;
    f.ttl_s = 86400;
    sql = made(&f, "24.8.1", FLOW_TABLE_FLOWS, WEIR_OK);
    assert_non_null(strstr(sql, "TTL toDateTime(received) + INTERVAL 86400 SECOND DELETE"));
    assert_null(strstr(sql, "tls_sni"));
    assert_non_null(strstr(sql, "`bytes`"));
    (void)made(&f, "18.16.1", FLOW_TABLE_FLOWS, WEIR_EINVAL);

    f = plain;
    f.rollup = true;
    sql = made(&f, "24.8.1", FLOW_TABLE_FLOWS, WEIR_OK);
    assert_int_equal(count_of(sql, ";\n"), 5);
    assert_int_equal(count_of(sql, "MATERIALIZED VIEW"), 2);
    assert_int_equal(count_of(sql, "SummingMergeTree"), 2);
    assert_int_equal(count_of(made(&f, "24.8.1", FLOW_TABLE_LEDGER, WEIR_OK), ";\n"), 1);
    (void)made(NULL, "", FLOW_TABLE_FLOWS, WEIR_OK);
}

static void test_clusters_have_local_tables(void **state)
{
    const struct ship_clickhouse_form f = {.database = "n`et",
                                           .flows = "fl'ows",
                                           .cluster = "c'l`u",
                                           .engine = SHIP_CLICKHOUSE_REPLICATED_REPLACING,
                                           .rollup = true};
    (void)state;
    const char *sql = made(&f, "24.8.1", FLOW_TABLE_FLOWS, WEIR_OK);
    assert_int_equal(count_of(sql, ";\n"),
                     9); /* database; table, Distributed; of each rollup table, view, Distributed */
    assert_int_equal(count_of(sql, " ON CLUSTER `c'l\\`u`"), 9);
    assert_non_null(strstr(sql, "CREATE DATABASE IF NOT EXISTS `n\\`et`"));
    assert_non_null(strstr(sql, "CREATE TABLE IF NOT EXISTS `n\\`et`.`fl'ows_local`"));
    assert_non_null(strstr(
        sql,
        "ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/n`et/fl\\'ows', '{replica}')"));
    assert_non_null(strstr(sql, "received, file, row)"));
    assert_non_null(strstr(
        sql,
        "Distributed('c\\'l`u', 'n`et', 'fl\\'ows_local', cityHash64(file, intDiv(row, 65536)))"));
    assert_non_null(strstr(sql, "ReplicatedSummingMergeTree('/clickhouse/tables/{shard}/n`et/"
                                "fl\\'ows_1m', '{replica}', (n_flows"));
    assert_non_null(strstr(
        sql, "Distributed('c\\'l`u', 'n`et', 'fl\\'ows_1h_local', cityHash64(time, exporter))"));
    (void)made(NULL, "", FLOW_TABLE_FLOWS, WEIR_OK);
}

/* ---- settings ---- */

static void test_settings_are_checked(void **state)
{
    static const struct {
        const char *url, *name, *value, *words; /* words NULL: it is right */
    } cases[] = {
        {"clickhouse://h/net", NULL, NULL, NULL},
        {"clickhouse://[::1]:8123", "rows", "10", NULL},
        {"clickhouses://u:p@h", "ttl", "90d", NULL},
        {"clickhouse://h/net/flows", NULL, NULL, "table=NAME"},
        {"clickhouse://a:1,b:2/net", NULL, NULL, "one host"},
        {"clickhouse:///net", NULL, NULL, "one host"},
        {"clickhouse://h", "rows", "0", "from 1 to"},
        {"clickhouse://h", "rows", "-1", "from 1 to"},
        {"clickhouse://h", "rows", "99999999999", "from 1 to"},
        {"clickhouse://h", "ttl", "90", "ttl=90"},
        {"clickhouse://h", "compress", "gzip", "lz4 or zstd"},
        {"clickhouse://h", "engine", "log", "replacing"},
        {"clickhouse://h", "verify", "maybe", "yes or no"},
        {"clickhouse://h", "tabel", "x", "no setting"},
        {"clickhouse://h", "table", "", "empty"},
        {"clickhouse://h", "ledger", "flows", "the same"},
        {"clickhouse://h", "ledger", "none", NULL},
        {"clickhouse://h", "user", "a\r\nX-Evil: 1", "control character"},
        {"clickhouse://h", "password", "a\nb", "control character"},
        {"clickhouse://u%0d%0aX:p@h", NULL, NULL, "control character"},
        {"clickhouse://h", "password_file", "/nonexistent/file", "password_file"},
        {"clickhouses://h", "ca", "/nonexistent/ca.pem", "ca.pem"},
    };
    (void)state;
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        const struct ship_setting one = {cases[i].name, cases[i].value};
        const struct ship_destination_options o = {
            .url = cases[i].url, .settings = &one, .n_settings = cases[i].name ? 1 : 0};
        ship_destination *d = NULL;
        weir_err err = {0};
        weir_status s = ship_clickhouse.open(&o, &d, &err);
        if (!cases[i].words)
            UNIT_CHECK(s == WEIR_OK, "%s %s: %s", cases[i].url, cases[i].name, err.msg);
        else
            UNIT_CHECK(s == WEIR_EINVAL && strstr(err.msg, cases[i].words), "%s %s=%s: %d %s",
                       cases[i].url, cases[i].name, cases[i].value, s, err.msg);
        if (s == WEIR_OK)
            ship_clickhouse.close(d);
    }
    ship_clickhouse.close(NULL);
}

/* What it wants of each table: all columns, and the extra ones behind them. */
static void test_fields_are_all_columns(void **state)
{
    const struct ship_setting none = {"ledger", "none"};
    const struct query_field extra = {.what = QUERY_F_EXTRA,
                                      .id = -1,
                                      .name = "x",
                                      .kind = QUERY_U64},
                             *fields;
    struct ship_destination_options o = {.url = "clickhouse://h"};
    ship_destination *d;
    size_t n;
    (void)state;
    assert_int_equal(ship_clickhouse.open(&o, &d, NULL), WEIR_OK);
    assert_int_equal(ship_clickhouse.fields(d, FLOW_TABLE_FLOWS, &extra, 1, &fields, &n, NULL),
                     WEIR_OK);
    assert_int_equal(n, FLOW_N_COLUMNS + 1);
    assert_string_equal(fields[FLOW_bytes].name, "bytes");
    assert_string_equal(fields[FLOW_N_COLUMNS].name, "x");
    assert_int_equal(ship_clickhouse.fields(d, FLOW_TABLE_LEDGER, NULL, 0, &fields, &n, NULL),
                     WEIR_OK);
    assert_int_equal(n, FLOW_N_LEDGER_COLUMNS);
    ship_clickhouse.close(d);
    o.settings = &none;
    o.n_settings = 1;
    assert_int_equal(ship_clickhouse.open(&o, &d, NULL), WEIR_OK);
    assert_int_equal(ship_clickhouse.fields(d, FLOW_TABLE_LEDGER, NULL, 0, &fields, &n, NULL),
                     WEIR_OK);
    assert_int_equal(n, 0);
    ship_clickhouse.close(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types_are_read),
        cmocka_unit_test(test_types_take_kinds),
        cmocka_unit_test(test_columns_are_written),
        cmocka_unit_test(test_rows_are_read_back),
        cmocka_unit_test(test_names_and_texts_are_quoted),
        cmocka_unit_test(test_versions_and_spans),
        cmocka_unit_test(test_tables_fit_the_server),
        cmocka_unit_test(test_clusters_have_local_tables),
        cmocka_unit_test(test_settings_are_checked),
        cmocka_unit_test(test_fields_are_all_columns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
