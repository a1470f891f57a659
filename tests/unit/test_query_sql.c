/* Queries as SQL: what a filter becomes for either form of the table, what is refused, and that nothing of a user's gets out of its
 * quotes. tests/e2e/test_query_clickhouse.py asks a server. */
#include "unit.h"

#include "query/sql.h"

#include <string.h>

static query_arena *arena;

static int arena_up(void **state)
{
    (void)state;
    arena = query_arena_new();
    return arena ? 0 : -1;
}

static int arena_down(void **state)
{
    (void)state;
    query_arena_free(arena);
    return 0;
}

/* clang-format off */
static const struct query_sql_column old_columns[] = {
    {"received", QUERY_SQL_SIGNED}, {"exporter", QUERY_SQL_SIXTEEN}, {"first", QUERY_SQL_SIGNED}, {"last", QUERY_SQL_SIGNED},
    {"src_addr", QUERY_SQL_SIXTEEN}, {"dst_addr", QUERY_SQL_SIXTEEN}, {"src_port", QUERY_SQL_UNSIGNED},
    {"dst_port", QUERY_SQL_UNSIGNED}, {"proto", QUERY_SQL_UNSIGNED}, {"tcp_flags", QUERY_SQL_UNSIGNED}, {"src_mask", QUERY_SQL_UNSIGNED},
    {"bytes", QUERY_SQL_UNSIGNED}, {"packets", QUERY_SQL_UNSIGNED}, {"sampling_rate", QUERY_SQL_REAL}, {"src_as", QUERY_SQL_UNSIGNED},
    {"http_host", QUERY_SQL_TEXT}, {"mpls_labels", QUERY_SQL_NUMBERS}, {"app_id", QUERY_SQL_TEXT}, {"some`thing", QUERY_SQL_TEXT},
    {"number", QUERY_SQL_UNSIGNED}, {"odd", QUERY_SQL_OTHER}, {"in_if_name", QUERY_SQL_TEXT}, {"file", QUERY_SQL_TEXT}, {"row", QUERY_SQL_UNSIGNED}};
static const struct query_sql_column new_columns[] = {
    {"first", QUERY_SQL_TICKS}, {"last", QUERY_SQL_TICKS}, {"src_addr", QUERY_SQL_IPV6}, {"dst_addr", QUERY_SQL_IPV6},
    {"proto", QUERY_SQL_UNSIGNED}, {"bytes", QUERY_SQL_UNSIGNED}, {"w_x", QUERY_SQL_TEXT},
    {"file", QUERY_SQL_TEXT}, {"row", QUERY_SQL_UNSIGNED}};
/* clang-format on */
static const struct query_sql_table old = {.database = "net",
                                           .name = "flows",
                                           .columns = old_columns,
                                           .n_columns = UNIT_N(old_columns),
                                           .ordered = true},
                                    current = {.database = "net",
                                               .name = "flows",
                                               .columns = new_columns,
                                               .n_columns = UNIT_N(new_columns),
                                               .ordered = true};

static struct query_expr *parse(const char *text, size_t len)
{
    struct query_error where;
    struct query_expr *e = NULL;
    weir_err err = {0};
    weir_status st =
        query_filter_parse(arena, text, len, &(struct query_filter_options){0}, &e, &where, &err);
    UNIT_CHECK(st == WEIR_OK, "%s: %s", text, err.msg);
    return e;
}

/* The statement for records that a filter leaves; NULL: refused, why in err. */
static char *statement(const struct query_sql_table *t, const struct query_expr *filter,
                       weir_err *err)
{
    static struct query_field fields[1];
    struct query_sql_field out[1];
    fields[0] = query_field_column(FLOW_src_addr);
    const struct query_result r = {.fields = fields, .n_fields = 1};
    const struct query q = {.filter = filter,
                            .from_us = INT64_MIN,
                            .to_us = INT64_MAX,
                            .results = &r,
                            .n_results = 1,
                            .raw = true};
    base_buf b = {0};
    weir_status st = query_sql_result(arena, &q, 0, t, &b, out, err);
    char *text = st == WEIR_OK ? query_arena_text(arena, b.data, b.len) : NULL;
    base_buf_done(&b);
    return text;
}

static const char *where(const struct query_sql_table *t, const char *filter)
{
    weir_err err = {0};
    char *sql = statement(t, parse(filter, strlen(filter)), &err);
    UNIT_CHECK(sql, "%s: %s", filter, err.msg);
    char *at = strstr(sql, "\nWHERE (");
    if (!at)
        return "";
    at += strlen("\nWHERE (");
    char *end = strstr(at, ")\n)\nORDER BY");
    UNIT_CHECK(end, "%s: %s", filter, sql);
    *end = '\0';
    return at;
}

static void filters(void **state)
{
    static const struct {
        bool current;
        const char *filter, *want;
    } cases[] = {
        {false, "any", ""},
        {false, "not any", "0"},
        {false, "proto tcp", "`proto` = 6"},
        {false, "not proto tcp", "NOT (ifNull(`proto` = 6, 0))"},
        {false, "src port 80 and dst port > 1024", "(`src_port` = 80) AND (`dst_port` > 1024)"},
        {false, "src_as != 0", "`src_as` != 0"},
        {false, "src port in [80, 90-99]",
         "(`src_port` >= 90 AND `src_port` <= 99) OR `src_port` IN (80)"},
        {false, "src_as present", "isNotNull(`src_as`)"},
        {false, "not src_as present", "NOT (ifNull(isNotNull(`src_as`), 0))"},
        {false, "dst_as = 5", "0"}, /* the table has none: null in all rows */
        {false, "not dst_as = 5", "NOT (0)"},
        {false, "bytes > 10k", "toUInt64(`bytes`) > 10000"},
        {false, "tcp_flags has SA", "bitAnd(`tcp_flags`, 18) = 18"},
        {false, "src ip 10.0.0.1",
         "`src_addr` = toFixedString(unhex('00000000000000000000ffff0a000001'), 16)"},
        {false, "src net 10.0.0.0/9",
         "(`src_addr` >= toFixedString(unhex('00000000000000000000ffff0a000000'), 16) AND "
         "`src_addr` <= toFixedString(unhex('00000000000000000000ffff0a7fffff'), 16))"},
        {true, "src ip 10.0.0.1", "`src_addr` = toIPv6('::ffff:10.0.0.1')"},
        {true, "src net 2001:db8::/32",
         "(`src_addr` >= toIPv6('2001:db8::') AND `src_addr` <= "
         "toIPv6('2001:db8:ffff:ffff:ffff:ffff:ffff:ffff'))"},
        /* IPv4 addresses lie within ::/0 in the table, and not in the language */
        {true, "src net ::/0",
         "(`src_addr` >= toIPv6('::') AND `src_addr` <= "
         "toIPv6('ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff') AND NOT (`src_addr` >= "
         "toIPv6('::ffff:0.0.0.0') AND `src_addr` <= toIPv6('::ffff:255.255.255.255')))"},
        {false, "first >= 2023-11-14T22:12:30Z", "`first` >= toInt64(1699999950000000)"},
        {true, "first >= 2023-11-14T22:12:30Z",
         "`first` >= fromUnixTimestamp64Micro(toInt64(1699999950000000), 'UTC')"},
        {true, "not first in [2023-11-14T00:00:00Z..2023-11-15T00:00:00Z]",
         "NOT (ifNull((`first` >= fromUnixTimestamp64Micro(toInt64(1699920000000000), 'UTC') AND "
         "`first` <= fromUnixTimestamp64Micro(toInt64(1700006400999999), 'UTC')), 0))"},
        /* where servers may not agree */
        {true, "last > 2200-01-01T00:00:00.000000Z",
         "toUnixTimestamp64Micro(`last`) > toInt64(7258118400000000)"},
        /* names of options records stand in the rows */
        {false, "in_if_name = eth0", "`in_if_name` IN ('eth0')"},
        {false, "app_name = ssh", "0"},
        {false, "http_host = example.org", "`http_host` IN ('example.org')"},
        {false, "http_host = \"A\" nocase", "lower(`http_host`) IN (lower('A'))"},
        {false, "http_host contains \"x\"", "position(`http_host`, 'x') > 0"},
        {false, "http_host ~ \"[.]org$\"", "match(`http_host`, '(?s)[.]org\\\\z')"},
        {false, "app_id = 0x0d000001", "`app_id` IN (unhex('0d000001'))"},
        {false, "mpls_labels in [16-20]",
         "arrayExists(x -> ((x >= 16 AND x <= 20)), `mpls_labels`)"},
        {false, "src_port = field dst_port", "`src_port` = `dst_port`"},
        {false, "number = 5", "`number` = 5"},
        {false, "number = \"5\"", "toString(`number`) IN ('5')"},
        {false, "no_such = 5", "0"},
        /* what would end a text or a name */
        {false, "http_host = \"a'b\\\"", "`http_host` IN ('a\\'b\\\\')"},
        {false, "http_host contains \"') OR 1 = 1 --\"",
         "position(`http_host`, '\\') OR 1 = 1 --') > 0"},
        {false, "http_host = \"a\nb\"", "`http_host` IN (unhex('610a62'))"},
        {false, "\"some`thing\" = x", "`some\\`thing` IN ('x')"},
    };
    (void)state;
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        const char *got = where(cases[i].current ? &current : &old, cases[i].filter);
        UNIT_CHECK(strcmp(got, cases[i].want) == 0, "%s:\n%s\nwanted\n%s", cases[i].filter, got,
                   cases[i].want);
    }
}

static void refused(void **state)
{
    static const struct {
        const char *filter, *why;
    } cases[] = {
        {"count 5", "count"},
        {"http_host ~ \"a\\b\"", "regular expression"},
        {"src_net contains \"10\"", "src_net"},
        {"odd = 5", "type that cannot be used"},
        {"http_host = field src_addr", "another type"},
    };
    (void)state;
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        weir_err err = {0};
        char *sql = statement(&old, parse(cases[i].filter, strlen(cases[i].filter)), &err);
        UNIT_CHECK(!sql && strstr(err.msg, "not available with --from") &&
                       strstr(err.msg, cases[i].why),
                   "%s: %s %s", cases[i].filter, sql ? sql : "", err.msg);
    }
}

/* A statement without what stands in quotes; NULL: one does not end. */
static char *unquoted(const char *sql)
{
    char *out = query_arena_alloc(arena, strlen(sql) + 1), *to = out;
    for (; *sql; sql++) {
        if (*sql != '\'' && *sql != '`') {
            *to++ = *sql;
            continue;
        }
        char quote = *sql;
        for (sql++; *sql && *sql != quote; sql++)
            if (*sql == '\\' && sql[1])
                sql++;
        if (!*sql)
            return NULL;
    }
    return out;
}

/* All octets, alone and with what may escape others, as texts and as names. */
static void nothing_gets_out(void **state)
{
    static const char *const more[] = {"",    "'",  "\\", "\\'", "''", "`",
                                       "\\`", "--", "/*", "*/",  ";",  "{x:String}"};
    (void)state;
    char *plain_text = NULL, *plain_name = NULL;
    for (unsigned c = 1; c < 256; c++)
        for (size_t i = 0; i < UNIT_N(more); i++) {
            char text[32];
            (void)snprintf(text, sizeof text, "%s%c%s", more[i], c, more[i]);
            struct query_text value = {.data = text, .len = (uint32_t)strlen(text)};
            struct query_sql_column columns[] = {{"src_addr", QUERY_SQL_SIXTEEN},
                                                 {"http_host", QUERY_SQL_TEXT},
                                                 {text, QUERY_SQL_TEXT}};
            const struct query_sql_table t = {
                .database = text, .name = text, .columns = columns, .n_columns = UNIT_N(columns)};
            const struct query_expr e = {.op = QUERY_OP_TEXT,
                                         .field = query_field_column(FLOW_http_host),
                                         .texts = &value,
                                         .n_texts = 1};
            struct query_expr extra = e;
            extra.field = (struct query_field){
                .what = QUERY_F_EXTRA, .id = -1, .name = text, .kind = QUERY_TEXT};
            weir_err err = {0};
            char *sql = statement(&t, &e, &err), *bare = sql ? unquoted(sql) : NULL;
            UNIT_CHECK(bare, "%s: %s %s", text, sql ? sql : "", err.msg);
            /* unhex('..') or '..': nothing else may differ */
            char *hex;
            while ((hex = strstr(bare, "unhex()")))
                memmove(hex, hex + 7, strlen(hex + 7) + 1);
            plain_text = plain_text ? plain_text : bare;
            UNIT_CHECK(strcmp(bare, plain_text) == 0, "%s: %s", text, sql);
            sql = statement(&t, &extra, &err);
            bare = sql ? unquoted(sql) : NULL;
            UNIT_CHECK(bare, "%s: %s %s", text, sql ? sql : "", err.msg);
            while ((hex = strstr(bare, "unhex()")))
                memmove(hex, hex + 7, strlen(hex + 7) + 1);
            plain_name = plain_name ? plain_name : bare;
            UNIT_CHECK(strcmp(bare, plain_name) == 0, "%s: %s", text, sql);
        }
}

/* Aliases are no columns, whatever an exporter calls its own. */
static void aliases(void **state)
{
    (void)state;
    weir_err err = {0};
    char *sql = statement(&current, NULL, &err);
    assert_non_null(sql);
    UNIT_CHECK(strstr(sql, " AS w_w_c0"), "%s", sql);
    UNIT_CHECK(!strstr(sql, " AS w_c0"), "%s", sql);
}

static void regular_expressions(void **state)
{
    static const struct {
        const char *posix, *want; /* NULL: refused */
    } cases[] = {
        {"", "(?s)"},
        {"^a.b$", "(?s)^a.b\\z"},
        {"(a|b){2,3}c*d+e?", "(?s)(?:a|b){2,3}c*d+e?"},
        {"a\\.b\\$\\(", "(?s)a\\.b\\$\\("},
        {"[[:alpha:]_-]+", "(?s)[[:alpha:]_-]+"},
        {"[]a]", "(?s)[\\]a]"},
        {"[^]a]", "(?s)[^\\]a]"},
        {"[\\]", "(?s)[\\\\]"}, /* a backslash is itself there */
        {"[a&&b]", "(?s)[a\\&\\&b]"},
        {"a)", "(?s)a\\)"},
        {"a]b}", "(?s)a\\]b\\}"},
        {"\xc3\xa9", "(?s)\xc3\xa9"},
        {"(a", NULL},
        {"a\\b", NULL},
        {"\\w", NULL},
        {"a\\", NULL},
        {"(a)\\1", NULL},
        {"a**", NULL},
        {"a*?", NULL},
        {"*a", NULL},
        {"(*a)", NULL},
        {"a{1001}", NULL},
        {"a{,3}", NULL},
        {"a{x", NULL},
        {"[a", NULL},
        {"[[=a=]]", NULL},
        {"[\xc3\xa9]", NULL},
        {"\xc3\xa9*", NULL},
    };
    (void)state;
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        base_buf b = {0};
        bool ok = query_sql_regex(cases[i].posix, strlen(cases[i].posix), &b);
        UNIT_CHECK(ok == (cases[i].want != NULL), "%s: %d", cases[i].posix, ok);
        UNIT_CHECK(
            !ok || (b.len == strlen(cases[i].want) && memcmp(b.data, cases[i].want, b.len) == 0),
            "%s: %.*s", cases[i].posix, (int)b.len, b.data);
        base_buf_done(&b);
    }
}

/* Of groups: keys, sums that do not wrap, the order with its ties, at most so many. */
static void groups_and_limits(void **state)
{
    (void)state;
    struct query_field key = query_field_column(FLOW_proto),
                       fields[2] = {key, query_field_column(FLOW_packets)};
    const struct query_order order = {.field = fields[1], .descending = true};
    const struct query_result r = {.fields = fields,
                                   .n_fields = 2,
                                   .grouped = true,
                                   .keys = &key,
                                   .n_keys = 1,
                                   .orders = &order,
                                   .n_orders = 1,
                                   .limit = 10};
    const struct query q = {.from_us = 5, .to_us = 7, .results = &r, .n_results = 1, .raw = true};
    struct query_sql_field out[2];
    base_buf b = {0};
    weir_err err = {0};
    weir_status st = query_sql_result(arena, &q, 0, &old, &b, out, &err);
    UNIT_CHECK(st == WEIR_OK, "%s", err.msg);
    base_buf_char(&b, '\0');
    static const char want[] =
        "SELECT toUInt8(1),\n"
        "  CAST(w_k0 AS Nullable(UInt64)),\n"
        "  CAST(w_g1 AS Nullable(UInt64))\n"
        "FROM (\n"
        "SELECT count() AS w_n, w_c0 AS w_k0, "
        "if(sum(bitShiftRight(toUInt64(ifNull(w_c1, 0)), 32)) + "
        "bitShiftRight(sum(bitAnd(toUInt64(ifNull(w_c1, 0)), 4294967295)), 32) > 4294967295, "
        "toUInt64(18446744073709551615), sum(toUInt64(ifNull(w_c1, 0)))) AS w_g1\n"
        "FROM (\n"
        "SELECT 1 AS w_one, `proto` AS w_c0, toUInt64(`packets`) AS w_c1\n"
        "FROM `net`.`flows`\n"
        "WHERE `last` >= toInt64(5)\n"
        "  AND `first` <= toInt64(7)\n"
        ")\n"
        "GROUP BY w_k0\n"
        ")\n"
        "WHERE w_n > 0\n"
        "ORDER BY w_g1 DESC NULLS LAST, w_k0 ASC NULLS LAST\n"
        "LIMIT 10";
    assert_string_equal(b.data, want);
    assert_int_equal(out[0].out, QUERY_SQL_OUT_U64);
    assert_int_equal(out[1].kind, QUERY_U64);
    base_buf_done(&b);
}

/* -t and --last: the columns as they are, so that the server may use their indexes. */
static void windows(void **state)
{
    static const struct {
        const struct query_sql_table *t;
        int64_t from, to;
        const char *want;
    } cases[] = {
        {&old, 1, 2, "WHERE `last` >= toInt64(1)\n  AND `first` <= toInt64(2)\n"},
        {&current, 1, 2,
         "WHERE `last` >= fromUnixTimestamp64Micro(toInt64(1), 'UTC')\n"
         "  AND `first` <= fromUnixTimestamp64Micro(toInt64(2), 'UTC')\n"},
        {&current, -1, INT64_MAX, "WHERE toUnixTimestamp64Micro(`last`) >= toInt64(-1)\n"},
        {&current, INT64_MIN, INT64_C(4294967295000000),
         "WHERE `first` <= fromUnixTimestamp64Micro(toInt64(4294967295000000), 'UTC')\n"},
        {&current, INT64_MIN, INT64_C(4294967295000001),
         "WHERE toUnixTimestamp64Micro(`first`) <= toInt64(4294967295000001)\n"},
    };
    (void)state;
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        struct query_field field = query_field_column(FLOW_proto);
        struct query_sql_field out[1];
        const struct query_result r = {.fields = &field, .n_fields = 1};
        const struct query q = {
            .from_us = cases[i].from, .to_us = cases[i].to, .results = &r, .n_results = 1};
        base_buf b = {0};
        weir_err err = {0};
        weir_status st = query_sql_result(arena, &q, 0, cases[i].t, &b, out, &err);
        UNIT_CHECK(st == WEIR_OK, "%s", err.msg);
        base_buf_char(&b, '\0');
        UNIT_CHECK(strstr(b.data, cases[i].want), "%s\nwanted\n%s", b.data, cases[i].want);
        base_buf_done(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(filters),
        cmocka_unit_test(refused),
        cmocka_unit_test(nothing_gets_out),
        cmocka_unit_test(aliases),
        cmocka_unit_test(regular_expressions),
        cmocka_unit_test(groups_and_limits),
        cmocka_unit_test(windows),
    };
    return cmocka_run_group_tests(tests, arena_up, arena_down);
}
