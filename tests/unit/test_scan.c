#include "analyze/scan.h"

#include "unit.h"

#include <string.h>

static const struct {
    const char *what, *text, *why; /* why: NULL for well-formed */
} cases[] = {
    {"object", "{\"a\": 1, \"b\": [true, false, null], \"c\": {}}", NULL},
    {"empty list", "[]", NULL},
    {"white space", " [ 1 ,\t2 ] \r", NULL},
    {"numbers", "[0, -0, 1.5, -1.5e+10, 1E9, 0.0, 123456789012345678901234567890123456789012345]",
     NULL},
    {"what Python writes", "[NaN, Infinity, -Infinity]", NULL},
    {"escapes", "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\ud800\"", NULL},
    {"UTF-8", "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x8c\x8a\"", NULL},
    {"delete is no control character", "\"\x7f\"", NULL},
    {"empty", "", "a number was expected"},
    {"leading zero", "01", "a number may not start with 0"},
    {"minus and leading zero", "-01", "a number may not start with 0"},
    {"no fraction", "1.", "a digit was expected"},
    {"no exponent", "1e+", "a digit was expected"},
    {"plus", "+1", "a number was expected"},
    {"only minus", "-", "a number was expected"},
    {"minus NaN", "-NaN", "a number was expected"},
    {"half a word", "tru", "a value was expected"},
    {"word too long", "nulll", "something stands behind the value"},
    {"two values", "1 2", "something stands behind the value"},
    {"open list", "[1", "the line ends too early"},
    {"open object", "{\"a\": 1", "the line ends too early"},
    {"trailing comma in a list", "[1,]", "a number was expected"},
    {"trailing comma in an object", "{\"a\": 1,}", "a string was expected"},
    {"wrong bracket", "[1}", "',' or ']' was expected"},
    {"wrong brace", "{\"a\": 1]", "',' or '}' was expected"},
    {"no colon", "{\"a\" 1}", "':' was expected"},
    {"name without quotes", "{a: 1}", "a string was expected"},
    {"open string", "\"abc", "the line ends inside a string"},
    {"string ends in an escape", "\"abc\\", "no such escape"},
    {"string ends in \\u", "\"\\u12", "\\u needs four hexadecimal digits"},
    {"unknown escape", "\"\\x\"", "no such escape"},
    {"control character", "\"\x01\"", "control character in a string"},
    {"overlong UTF-8", "\"\xc0\xaf\"", "ill-formed UTF-8"},
    {"surrogate in UTF-8", "\"\xed\xa0\x80\"", "ill-formed UTF-8"},
    {"UTF-8 cut short", "\"\xe2\x82\"", "ill-formed UTF-8"},
    {"UTF-8 cut by the end", "\"\xe2\x82", "ill-formed UTF-8"},
};

/* With the newline right at the end of an allocation of its own, so that a step too far is seen. */
static bool reads(const char *text, size_t len, const char **why)
{
    char *line = malloc(len + 1);
    assert_non_null(line);
    memcpy(line, text, len);
    line[len] = '\n';
    scan s = scan_of(line, len);
    bool ok = scan_skip(&s, 0) && scan_at_end(&s);
    UNIT_CHECK(s.p >= line && s.p <= line + len, "'%s': position %td outside", text, s.p - line);
    *why = ok ? NULL : s.why;
    free(line);
    return ok;
}

static void test_cases(void **state)
{
    (void)state;
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        const char *why;
        bool ok = reads(cases[i].text, strlen(cases[i].text), &why);
        UNIT_CHECK(ok == !cases[i].why, "%s: %s", cases[i].what, ok ? "was accepted" : why);
        UNIT_CHECK(ok || strcmp(why, cases[i].why) == 0, "%s: said '%s', not '%s'", cases[i].what,
                   why, cases[i].why);
    }
}

/* Every cut of a value that closes with a bracket is rejected, and read without a step too far. */
static void test_every_cut(void **state)
{
    (void)state;
    static const char text[] =
        "{\"a\\u00e9\": [1.5e-3, -Infinity, \"\xe2\x82\xac\", {\"b\": [null, true]}]}";
    const char *why;
    for (size_t n = 0; n + 1 < sizeof text; n++)
        UNIT_CHECK(!reads(text, n, &why), "cut to %zu octets was accepted", n);
    assert_true(reads(text, sizeof text - 1, &why));
}

static void test_depth(void **state)
{
    (void)state;
    char text[2 * SCAN_MAX_DEPTH + 3];
    const char *why;
    memset(text, '[', SCAN_MAX_DEPTH);
    memset(text + SCAN_MAX_DEPTH, ']', SCAN_MAX_DEPTH);
    assert_true(reads(text, 2 * SCAN_MAX_DEPTH, &why));
    memset(text, '[', SCAN_MAX_DEPTH + 1);
    memset(text + SCAN_MAX_DEPTH + 1, ']', SCAN_MAX_DEPTH + 1);
    assert_false(reads(text, 2 * SCAN_MAX_DEPTH + 2, &why));
    assert_string_equal(why, "nested too deeply");
}

static void test_numbers(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool whole;
        uint64_t high, low;
    } numbers[] = {
        {"0", true, 0, 0},
        {"18446744073709551615", true, 0, UINT64_MAX},
        {"18446744073709551616", true, 1, 0},
        {"340282366920938463463374607431768211455", true, UINT64_MAX, UINT64_MAX},
        {"340282366920938463463374607431768211456", false, 0, 0},
        {"9999999999999999999999999999999999999999", false, 0, 0},
        {"-1", false, 0, 0},
        {"1.0", false, 0, 0},
        {"1e3", false, 0, 0},
    };
    for (size_t i = 0; i < UNIT_N(numbers); i++) {
        char line[64];
        struct scan_number n;
        (void)snprintf(line, sizeof line, "%s\n", numbers[i].text);
        scan s = scan_of(line, strlen(line) - 1);
        assert_true(scan_number(&s, &n));
        UNIT_CHECK(n.whole == numbers[i].whole, "%s: whole is %d", numbers[i].text, n.whole);
        UNIT_CHECK(!n.whole || ((uint64_t)(n.value >> 64) == numbers[i].high &&
                                (uint64_t)n.value == numbers[i].low),
                   "%s: wrong value", numbers[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),
        cmocka_unit_test(test_every_cut),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
