#include "analyze/entry.h"

#include "unit.h"

#include <string.h>

static const struct entry_host anyone = {.family = 0};

static weir_status parse(entry_parser *p, const char *text, struct entry *e, weir_err *err)
{
    static char line[65536];
    size_t len = strlen(text);
    assert_true(len + 1 < sizeof line);
    memcpy(line, text, len);
    line[len] = '\n';
    return entry_parse(p, line, len, e, err);
}

#define HEAD "{\"1600000000.25\": {\"client\": [\"192.0.2.1\", 2055], \"header\": "
#define V9 HEAD "{\"version\": 9, \"uptime\": 5000, \"timestamp\": 1600000000}, \"flows\": "

static void test_fields(void **state)
{
    (void)state;
    entry_parser *p = entry_parser_new(false, anyone);
    struct entry e;
    weir_err err = {0};
    weir_status st = parse(
        p,
        V9
        "[{\"IPV4_SRC_ADDR\": \"192.0.2.1\", \"IPV4_DST_ADDR\": \"192.0.2.255\", \"IN_BYTES\": 7, "
        "\"IN_PKTS\": 2, \"FIRST_SWITCHED\": 4000, \"LAST_SWITCHED\": 4500, \"L4_SRC_PORT\": 80, "
        "\"L4_DST_PORT\": 65535, \"PROTOCOL\": 17}]}}",
        &e, &err);
    UNIT_CHECK(st == WEIR_OK, "%s", err.msg);
    assert_string_equal(e.key, "1600000000.25");
    assert_true(e.time > 1600000000.2 && e.time < 1600000000.3);
    assert_int_equal(e.kind, FLOW_KIND_V9);
    assert_int_equal(e.n_flows, 1);
    const struct flow *f = e.flows;
    static const uint8_t src[16] = {192, 0, 2, 1}, dst[16] = {192, 0, 2, 255};
    assert_memory_equal(f->src, src, 16);
    assert_memory_equal(f->dst, dst, 16);
    assert_int_equal(f->family, 4);
    assert_int_equal(f->octets, 7);
    assert_int_equal(f->packets, 2);
    assert_int_equal(f->first, 4000);
    assert_int_equal(f->last, 4500);
    assert_int_equal(f->time, FLOW_TIME_UPTIME_MS);
    assert_int_equal(f->start_ms, 1599999999000);
    assert_int_equal(f->src_port, 80);
    assert_int_equal(f->dst_port, 65535);
    assert_int_equal(f->proto, 17);
    entry_parser_free(p);
}

/* Flows of one entry by start time, equal ones as they stood. */
static void test_order(void **state)
{
    (void)state;
    entry_parser *p = entry_parser_new(false, anyone);
    struct entry e;
    char text[8192] = V9 "[";
    static const unsigned firsts[] = {5, 3, 5, 1, 3, 9, 1};
    for (size_t i = 0; i < UNIT_N(firsts); i++)
        (void)snprintf(text + strlen(text), sizeof text - strlen(text),
                       "%s{\"IPV4_SRC_ADDR\": \"10.0.0.1\", \"IPV4_DST_ADDR\": \"10.0.0.2\", "
                       "\"FIRST_SWITCHED\": %u, "
                       "\"IN_BYTES\": %zu}",
                       i ? ", " : "", firsts[i], i);
    (void)strcat(text, "]}}");
    assert_int_equal(parse(p, text, &e, NULL), WEIR_OK);
    static const unsigned want[] = {3, 6, 1, 4, 0, 2, 5};
    assert_int_equal(e.n_flows, UNIT_N(want));
    for (size_t i = 0; i < UNIT_N(want); i++)
        assert_int_equal(e.flows[i].octets, want[i]);
    entry_parser_free(p);
}

/* Names are guessed from the record before: a change of names or of spacing must not shift values. */
static void test_guessing(void **state)
{
    (void)state;
    static const char *const records[] = {
        "{\"IPV4_SRC_ADDR\": \"10.0.0.1\", \"IPV4_DST_ADDR\": \"10.0.0.2\", \"IN_BYTES\": 5, "
        "\"IN_PKTS\": 6}",
        "{\"IPV4_SRC_ADDR\": \"10.0.0.1\", \"IPV4_DST_ADDR\": \"10.0.0.2\", \"IN_PKTS\": 6, "
        "\"IN_BYTES\": 5}",
        "{\"IPV4_SRC_ADDR\":\"10.0.0.1\",\"IPV4_DST_ADDR\":\"10.0.0.2\",\"IN_BYTES\":5,\"IN_PKTS\":"
        "6}",
        "{\"IPV4_SRC_ADDR\" :  \"10.0.0.1\" , \"IPV4_DST_ADDR\": \t\"10.0.0.2\", \"IN_BYTES\": 5 , "
        "\"IN_PKTS\":  6 }",
        "{\"IPV4_DST_ADDR\": \"10.0.0.2\", \"IN_BYTES2\": 9, \"IN_BYTES\": 5, \"IN_PKTS\": 6, "
        "\"IPV4_SRC_ADDR\": "
        "\"10.0.0.1\"}",
        "{\"IN_BYTE\": 9, \"IN_BYTES\": 5, \"IPV4_SRC_ADDR\": 167772161, \"IPV4_DST_ADDR\": "
        "167772162, \"IN_PKTS\": 6}",
        "{\"IN_B\\u0059TES\": 9, \"\": 1, \"IN_BYTES\": 5, \"IPV4_SRC_ADDR\": 167772161, "
        "\"IPV4_DST_ADDR\": "
        "167772162, \"IN_PKTS\": 6}",
    };
    entry_parser *p = entry_parser_new(false, anyone);
    for (size_t i = 0; i < UNIT_N(records); i++) {
        for (size_t k = 0; k < UNIT_N(records); k++) {
            char text[2048];
            struct entry e;
            (void)snprintf(text, sizeof text, V9 "[%s, %s]}}", records[i], records[k]);
            assert_int_equal(parse(p, text, &e, NULL), WEIR_OK);
            assert_int_equal(e.n_flows, 2);
            for (size_t f = 0; f < 2; f++)
                UNIT_CHECK(e.flows[f].octets == 5 && e.flows[f].packets == 6 &&
                               e.flows[f].src[3] == 1 && e.flows[f].dst[3] == 2,
                           "record %zu after %zu: wrong values", k, i);
        }
    }
    entry_parser_free(p);
}

static void test_only(void **state)
{
    (void)state;
    struct entry_host host = {.family = 0};
    assert_true(entry_address("10.0.0.2", 8, host.addr, &host.family));
    entry_parser *p = entry_parser_new(false, host);
    struct entry e;
    assert_int_equal(parse(p,
                           V9
                           "[{\"IPV4_SRC_ADDR\": \"10.0.0.1\", \"IPV4_DST_ADDR\": \"10.0.0.2\"}, "
                           "{\"IPV4_SRC_ADDR\": \"10.0.0.2\", \"IPV4_DST_ADDR\": \"10.0.0.3\"}, "
                           "{\"IPV4_SRC_ADDR\": \"10.0.0.1\", \"IPV4_DST_ADDR\": \"10.0.0.3\"}, "
                           "{\"IPV6_SRC_ADDR\": \"a00:2::\", \"IPV6_DST_ADDR\": \"::3\"}]}}",
                           &e, NULL),
                     WEIR_OK);
    assert_int_equal(e.n_flows, 2);
    entry_parser_free(p);
}

static void test_addresses(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int family; /* 0: none */
    } cases[] = {
        {"0.0.0.0", 4},
        {"255.255.255.255", 4},
        {"256.0.0.1", 0},
        {"1.2.3", 0},
        {"1.2.3.4.5", 0},
        {"01.2.3.4", 0},
        {"1.2.3.04", 0},
        {"::", 6},
        {"2001:DB8::1", 6},
        {"1::2::3", 0},
        {"::1%eth0", 0},
        {"", 0},
        {" 1.2.3.4", 0},
        {"1.2.3.4 ", 0},
        {"::ffff:1.2.3.4", 6},
        {"1.2.3.4000", 0},
        {"fe80:0000:0000:0000:0000:0000:0000:0001", 6},
        {"fe80:0000:0000:0000:0000:0000:0000:00001:more:and:more", 0},
    };
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        uint8_t addr[16], family = 0;
        bool ok = entry_address(cases[i].text, strlen(cases[i].text), addr, &family);
        UNIT_CHECK(ok == (cases[i].family != 0) && (!ok || family == cases[i].family),
                   "%s: %d, family %d", cases[i].text, ok, family);
        /* The quick way inside a line agrees. */
        char text[512];
        struct entry e;
        entry_parser *p = entry_parser_new(false, anyone);
        const char *v = cases[i].family == 6 ? "6" : "4";
        (void)snprintf(text, sizeof text,
                       V9 "[{\"IPV%s_SRC_ADDR\": \"%s\", \"IPV%s_DST_ADDR\": \"%s\"}]}}", v,
                       cases[i].text, v, cases[i].text);
        assert_int_equal(parse(p, text, &e, NULL), WEIR_OK);
        UNIT_CHECK(e.n_flows == (ok ? 1U : 0U), "%s: %zu flows", cases[i].text, e.n_flows);
        UNIT_CHECK(!ok || memcmp(e.flows->src, addr, 16) == 0, "%s: other octets", cases[i].text);
        entry_parser_free(p);
    }
}

static void test_timestamps(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool ok;
    } cases[] = {{"1600000000.123456", true},
                 {"1600000000", true},
                 {"-5", true},
                 {"1.6e9", true},
                 {".5", true},
                 {"5.", true},
                 {"", false},
                 {" 1", false},
                 {"1 ", false},
                 {"nan", false},
                 {"inf", false},
                 {"0x1p3", false},
                 {"1_000", false},
                 {"1e", false},
                 {"--1", false},
                 {"1.2.3", false},
                 {"253402300798", true},
                 {"253402300800", false},
                 {"-62135596800", true},
                 {"-62135596801", false},
                 {"1e400", false},
                 {"0000000000000000000000000000000000000000000000000000000000000001", false}};
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        double t;
        UNIT_CHECK(entry_key_time(cases[i].text, strlen(cases[i].text), &t) == cases[i].ok, "'%s'",
                   cases[i].text);
    }
}

/* Every cut of a line is told as malformed, at a place inside it. */
static void test_every_cut(void **state)
{
    (void)state;
    static const char text[] =
        V9 "[{\"IPV4_SRC_ADDR\": \"10.0.0.1\", \"IPV4_DST_ADDR\": \"10.0.0.2\", \"IN_BYTES\": 5},"
           " {\"flowStartMicroseconds\": [3, 4], \"x\": {\"y\": [null]}}]}}";
    entry_parser *p = entry_parser_new(false, anyone);
    for (size_t n = 0; n < sizeof text - 1; n++) {
        struct entry e;
        weir_err err = {0};
        char *line = malloc(n + 1);
        assert_non_null(line);
        memcpy(line, text, n);
        line[n] = '\n';
        UNIT_CHECK(entry_parse(p, line, n, &e, &err) == WEIR_EFORMAT, "cut to %zu octets", n);
        UNIT_CHECK(err.at <= n && err.msg[0], "cut to %zu octets: '%s' at %llu", n, err.msg,
                   (unsigned long long)err.at);
        free(line);
    }
    entry_parser_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields),    cmocka_unit_test(test_order),
        cmocka_unit_test(test_guessing),  cmocka_unit_test(test_only),
        cmocka_unit_test(test_addresses), cmocka_unit_test(test_timestamps),
        cmocka_unit_test(test_every_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
