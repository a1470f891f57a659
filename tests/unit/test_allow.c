#include "collect/allow.h"

#include <string.h>

#include "unit.h"

static void networks(void **state)
{
    (void)state;
    static const struct {
        const char *net, *from;
        bool in;
    } cases[] = {
        {"192.0.2.0/24", "192.0.2.0", true},
        {"192.0.2.0/24", "192.0.2.255", true},
        {"192.0.2.0/24", "192.0.3.0", false},
        {"192.0.2.0/24", "192.0.1.255", false},
        {"192.0.2.128/25", "192.0.2.127", false},
        {"192.0.2.128/25", "192.0.2.128", true},
        {"192.0.2.4/31", "192.0.2.5", true},
        {"192.0.2.4/31", "192.0.2.6", false},
        {"192.0.2.1", "192.0.2.1", true},
        {"192.0.2.1", "192.0.2.2", false},
        {"192.0.2.1/32", "192.0.2.1", true},
        {"0.0.0.0/0", "203.0.113.7", true},
        {"0.0.0.0/0", "2001:db8::1", false},
        {"128.0.0.0/1", "127.255.255.255", false},
        {"128.0.0.0/1", "255.0.0.0", true},
        {"2001:db8::/32", "2001:db8:ffff::1", true},
        {"2001:db8::/32", "2001:db9::", false},
        {"2001:db8::8000/113", "2001:db8::8001", true},
        {"2001:db8::8000/113", "2001:db8::7fff", false},
        {"::1", "::1", true},
        {"::1/128", "::2", false},
        {"::/0", "2001:db8::1", true},
        {"::/0", "192.0.2.1", false},
    };
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        struct allow a = {0};
        weir_endpoint from;
        assert_true(allow_address(cases[i].from, &from));
        assert_int_equal(allow_add(&a, cases[i].net, NULL), WEIR_OK);
        UNIT_CHECK(allow_match(&a, &from) == cases[i].in, "%s in %s", cases[i].from, cases[i].net);
        allow_done(&a);
    }
}

static void several(void **state)
{
    (void)state;
    struct allow a = {0};
    weir_endpoint from;
    assert_true(allow_address("198.51.100.9", &from));
    assert_true(allow_match(&a, &from)); /* an empty list lets everybody in */
    assert_int_equal(allow_add(&a, "192.0.2.0/24", NULL), WEIR_OK);
    assert_false(allow_match(&a, &from));
    assert_int_equal(allow_add(&a, "::/0", NULL), WEIR_OK);
    assert_false(allow_match(&a, &from));
    assert_int_equal(allow_add(&a, "198.51.100.0/28", NULL), WEIR_OK);
    assert_true(allow_match(&a, &from));
    allow_done(&a);
    assert_true(allow_match(&a, &from));
}

static void wrong(void **state)
{
    (void)state;
    static const struct {
        const char *net, *word;
    } cases[] = {
        {"", "no network"},
        {"/24", "no network"},
        {"router", "no network"},
        {"192.0.2/24", "no network"},
        {"192.0.2.0/", "0 to 32"},
        {"192.0.2.0/33", "0 to 32"},
        {"192.0.2.0/-1", "0 to 32"},
        {"192.0.2.0/4294967320", "0 to 32"},
        {"192.0.2.0/24x", "0 to 32"},
        {"2001:db8::/129", "0 to 128"},
        {"192.0.2.1/24", "the network is 192.0.2.0/24"},
        {"2001:db8::1/64", "the network is 2001:db8::/64"},
        {"2001:0db8:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000/32",
         "no network"},
    };
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        struct allow a = {0};
        weir_err err = {0};
        UNIT_CHECK(allow_add(&a, cases[i].net, &err) == WEIR_EINVAL, "%s", cases[i].net);
        UNIT_CHECK(strstr(err.msg, cases[i].word), "%s: %s", cases[i].net, err.msg);
        assert_int_equal(a.n, 0);
        allow_done(&a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(networks),
        cmocka_unit_test(several),
        cmocka_unit_test(wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
