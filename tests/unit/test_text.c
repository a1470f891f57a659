/* base/text and base/json: numbers, addresses, times and strings as text. */
#include "base/err.h"
#include "base/text.h"

#include "unit.h"

#include <arpa/inet.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A small fixed generator: the same values in every run. */
static uint64_t state = 42;
static uint64_t next_random(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static void same(const char *got, size_t len, const char *want)
{
    if (len != strlen(want) || memcmp(got, want, len) != 0)
        fail_msg("got '%.*s' (%zu), want '%s'", (int)len, got, len, want);
}

static void test_integers(void **unused)
{
    (void)unused;
    char out[BASE_U64_TEXT], want[32];
    for (unsigned bits = 0; bits < 64; bits++) {
        for (int k = 0; k < 2000; k++) {
            uint64_t v = next_random() >> bits;
            snprintf(want, sizeof want, "%llu", (unsigned long long)v);
            same(out, base_u64_text(out, v), want);
            snprintf(want, sizeof want, "%lld", (long long)v);
            same(out, base_s64_text(out, (int64_t)v), want);
        }
    }
    uint64_t power = 1;
    for (int digits = 0; digits < 20; digits++, power *= 10) {
        for (uint64_t v = power - 1; v != power + 2; v++) {
            snprintf(want, sizeof want, "%llu", (unsigned long long)v);
            same(out, base_u64_text(out, v), want);
        }
    }
    same(out, base_u64_text(out, UINT64_MAX), "18446744073709551615");
    same(out, base_s64_text(out, INT64_MIN), "-9223372036854775808");
}

static void test_big_endian_integers(void **unused)
{
    (void)unused;
    static const struct {
        const char *octets;
        size_t len;
        const char *want;
    } cases[] = {
        {"", 0, "0"},
        {"\x00", 1, "0"},
        {"\x01\x00\x00", 3, "65536"},
        {"\xff\xff\xff\xff\xff\xff\xff\xff", 8, "18446744073709551615"},
        {"\x01\x00\x00\x00\x00\x00\x00\x00\x00", 9, "18446744073709551616"},
        {"\x00\x00\x00\x00\x00\x00\x00\x00\x05", 9, "5"},
        {"\x8a\xc7\x23\x04\x89\xe8\x00\x00", 8, "10000000000000000000"},
        {"\x00\x8a\xc7\x23\x04\x89\xe8\x00\x00\x00", 10, "2560000000000000000000"},
        {"\x4b\x3b\x4c\xa8\x5a\x86\xc4\x7a\x09\x8a\x22\x40\x00\x00\x00\x00", 16,
         "100000000000000000000000000000000000000"},
        {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 16,
         "340282366920938463463374607431768211455"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char out[BASE_U128_TEXT];
        same(out, base_be_text(out, (const uint8_t *)cases[i].octets, cases[i].len), cases[i].want);
    }
}

static void test_floats(void **unused)
{
    (void)unused;
    static const struct {
        double v;
        const char *want; /* what Python's repr gives */
    } cases[] = {
        {0.0, "0.0"},
        {-0.0, "-0.0"},
        {1.0, "1.0"},
        {-2.5, "-2.5"},
        {0.1, "0.1"},
        {1.0 / 3.0, "0.3333333333333333"},
        {2.0 / 3.0, "0.6666666666666666"},
        {1e15, "1000000000000000.0"},
        {1e16, "1e+16"},
        {123456789012345680.0, "1.2345678901234568e+17"},
        {9007199254740993.0, "9007199254740992.0"},
        {1e22, "1e+22"},
        {1e100, "1e+100"},
        {0.0001, "0.0001"},
        {0.00012345, "0.00012345"},
        {0.00001, "1e-05"},
        {5e-324, "5e-324"},
        {1.7976931348623157e308, "1.7976931348623157e+308"},
        {1585735165.7293727, "1585735165.7293727"},
        {1700000000.123456, "1700000000.123456"},
        {123456.5, "123456.5"},
        {(double)0.1F, "0.10000000149011612"},
    };
    char out[BASE_F64_TEXT];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        same(out, base_f64_text(out, cases[i].v), cases[i].want);
    for (int k = 0; k < 20000; k++) {
        uint64_t bits = next_random();
        double v;
        memcpy(&v, &bits, sizeof v);
        if (!isfinite(v))
            continue;
        char text[BASE_F64_TEXT + 1];
        size_t n = base_f64_text(text, v);
        assert_true(n <= BASE_F64_TEXT);
        text[n] = 0;
        if (strtod(text, NULL) != v)
            fail_msg("%s does not read back as %.17g", text, v);
        assert_non_null(strpbrk(text, ".e"));
    }
}

static void test_addresses(void **unused)
{
    (void)unused;
    char out[64], want[INET6_ADDRSTRLEN];
    for (int k = 0; k < 20000; k++) {
        uint8_t a[16];
        for (int i = 0; i < 16; i += 8) {
            uint64_t r = next_random();
            memcpy(a + i, &r, 8);
        }
        out[BASE_IPV4_TEXT] = '#';
        inet_ntop(AF_INET, a, want, sizeof want);
        same(out, base_ipv4_text(out, a), want);
        assert_int_equal(out[BASE_IPV4_TEXT], '#');
        /* All patterns of zero groups; the first is not zero, for inet_ntop writes ::/96 with dots. */
        unsigned zeros = (unsigned)k & 0xff;
        for (unsigned g = 1; g < 8; g++)
            if (zeros >> g & 1)
                a[2 * g] = a[2 * g + 1] = 0;
        a[0] = 0x20;
        inet_ntop(AF_INET6, a, want, sizeof want);
        same(out, base_ipv6_text(out, a), want);
        same(out, base_ipv6_groups_text(out, a), want);
    }
    for (unsigned v = 0; v < 256; v++) {
        const uint8_t a[4] = {(uint8_t)v, 0, (uint8_t)v, (uint8_t)v};
        inet_ntop(AF_INET, a, want, sizeof want);
        same(out, base_ipv4_text(out, a), want);
    }
    static const char *const texts[] = {"::",
                                        "::1",
                                        "1::",
                                        "2001:db8::1",
                                        "::ffff:192.0.2.1",
                                        "1:0:0:2::3",
                                        "1::2:0:0:3:4",
                                        "1:2:3:4:5:6:7:8",
                                        "1:0:2:3:4:5:6:7",
                                        "0:2:3:4:5:6:7:8"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        uint8_t a[16];
        assert_int_equal(inet_pton(AF_INET6, texts[i], a), 1);
        same(out, base_ipv6_text(out, a), texts[i]);
    }
    uint8_t mapped[16];
    inet_pton(AF_INET6, "::ffff:192.0.2.1", mapped);
    same(out, base_ipv6_groups_text(out, mapped), "::ffff:c000:201");
    same(out, base_mac_text(out, (const uint8_t *)"\x00\x00\x5e\x00\x53\xaf"), "00:00:5e:00:53:af");
    same(out, base_hex_text(out, (const uint8_t *)"\x00\x9f\xf0", 3), "009ff0");
    same(out, base_hex_text(out, (const uint8_t *)"", 0), "");
}

static void test_times(void **unused)
{
    (void)unused;
    static const struct {
        int64_t ns;
        unsigned digits;
        const char *want;
    } cases[] = {
        {0, 0, "1970-01-01T00:00:00Z"},
        {-1, 9, "1969-12-31T23:59:59.999999999Z"},
        {-1, 0, "1969-12-31T23:59:59Z"},
        {-1000000000, 3, "1969-12-31T23:59:59.000Z"},
        {951782400000000000, 0, "2000-02-29T00:00:00Z"},
        {1795381500123456789, 3, "2026-11-22T21:05:00.123Z"},
        {1795381500123456789, 6, "2026-11-22T21:05:00.123456Z"},
        {1795381500123456789, 9, "2026-11-22T21:05:00.123456789Z"},
        {INT64_MAX, 9, "2262-04-11T23:47:16.854775807Z"},
        {INT64_MIN, 9, "1677-09-21T00:12:43.145224192Z"},
    };
    char out[BASE_TIME_TEXT];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        same(out, base_time_text(out, cases[i].ns, cases[i].digits), cases[i].want);
    for (int k = 0; k < 50000; k++) {
        int64_t ns = (int64_t)next_random();
        time_t s = ns / 1000000000 - (ns % 1000000000 < 0);
        struct tm tm;
        gmtime_r(&s, &tm);
        char want[40];
        strftime(want, sizeof want, "%Y-%m-%dT%H:%M:%SZ", &tm);
        same(out, base_time_text(out, ns, 0), want);
    }
}

static void test_json_strings(void **unused)
{
    (void)unused;
    static const struct {
        const char *what, *in;
        size_t len;
        const char *utf8, *ascii;
    } cases[] = {
        {"empty", "", 0, "\"\"", "\"\""},
        {"plain", "GigabitEthernet0/0/1", 20, "\"GigabitEthernet0/0/1\"",
         "\"GigabitEthernet0/0/1\""},
        {"quote and backslash", "a\"b\\c", 5, "\"a\\\"b\\\\c\"", "\"a\\\"b\\\\c\""},
        {"quote at the eighth octet", "1234567\"", 8, "\"1234567\\\"\"", "\"1234567\\\"\""},
        {"short escapes", "\b\f\n\r\t", 5, "\"\\b\\f\\n\\r\\t\"", "\"\\b\\f\\n\\r\\t\""},
        {"NUL inside", "a\0b", 3, "\"a\\u0000b\"", "\"a\\u0000b\""},
        {"other controls", "\x01\x1f\x7f", 3, "\"\\u0001\\u001f\\u007f\"",
         "\"\\u0001\\u001f\\u007f\""},
        {"C1 control", "\xc2\x9b", 2, "\"\\u009b\"", "\"\\u009b\""},
        {"two octets", "\xc3\xa9t\xc3\xa9", 5, "\"\xc3\xa9t\xc3\xa9\"", "\"\\u00e9t\\u00e9\""},
        {"three octets", "\xe2\x82\xac", 3, "\"\xe2\x82\xac\"", "\"\\u20ac\""},
        {"surrogate pair", "\xf0\x9f\x98\x80", 4, "\"\xf0\x9f\x98\x80\"", "\"\\ud83d\\ude00\""},
        {"overlong", "\xc0\xaf", 2, "\"\xef\xbf\xbd\xef\xbf\xbd\"", "\"\\ufffd\\ufffd\""},
        {"surrogate in UTF-8", "\xed\xa0\x80", 3, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"",
         "\"\\ufffd\\ufffd\\ufffd\""},
        {"cut short", "a\xe2\x82", 3, "\"a\xef\xbf\xbd\xef\xbf\xbd\"", "\"a\\ufffd\\ufffd\""},
        {"above U+10FFFF", "\xf4\x90\x80\x80", 4,
         "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"",
         "\"\\ufffd\\ufffd\\ufffd\\ufffd\""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        for (int ascii = 0; ascii < 2; ascii++) {
            const char *want = ascii ? cases[i].ascii : cases[i].utf8;
            base_buf b = {0};
            base_json_string(&b, cases[i].in, cases[i].len, ascii);
            if (b.len != strlen(want) || memcmp(b.data, want, b.len) != 0)
                fail_msg("%s: got %.*s, want %s", cases[i].what, (int)b.len, b.data, want);
            base_buf_done(&b);
        }
    }
    /* The fast scan and the slow one agree wherever the odd octet stands. */
    for (unsigned at = 0; at < 24; at++) {
        for (unsigned c = 0; c < 256; c++) {
            char in[24];
            memset(in, 'x', sizeof in);
            in[at] = (char)c;
            base_buf whole = {0}, parts = {0};
            base_json_string(&whole, in, sizeof in, true);
            for (size_t i = 0; i < sizeof in; i++) {
                base_buf one = {0};
                base_json_string(&one, in + i, 1, true);
                base_buf_add(&parts, one.data + 1, one.len - 2);
                base_buf_done(&one);
            }
            assert_int_equal(whole.len, parts.len + 2);
            assert_memory_equal(whole.data + 1, parts.data, parts.len);
            base_buf_done(&whole);
            base_buf_done(&parts);
        }
    }
}

static void test_json_values(void **unused)
{
    (void)unused;
    base_buf b = {0};
    base_json_hex(&b, (const uint8_t *)"\x00\xab\x7f", 3);
    base_json_hex(&b, NULL, 0);
    const double values[] = {0.1, (double)NAN, (double)INFINITY, -(double)INFINITY};
    for (size_t i = 0; i < UNIT_N(values); i++) {
        base_buf_char(&b, ' ');
        base_json_f64(&b, values[i]);
    }
    same(b.data, b.len, "\"00ab7f\"\"\" 0.1 \"NaN\" \"Infinity\" \"-Infinity\"");
    base_buf_done(&b);
    assert_true(base_utf8_ok(NULL, 0));
    assert_true(base_utf8_ok((const uint8_t *)"a\xc3\xa9\xe2\x82\xac", 6));
    assert_false(base_utf8_ok((const uint8_t *)"a\xc3\xa9\xe2\x82\xac", 5));
    assert_false(base_utf8_ok((const uint8_t *)"\xed\xa0\x80", 3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_integers),    cmocka_unit_test(test_big_endian_integers),
        cmocka_unit_test(test_floats),      cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_times),       cmocka_unit_test(test_json_strings),
        cmocka_unit_test(test_json_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
