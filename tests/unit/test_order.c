#include "analyze/order.h"

#include "unit.h"

#include <string.h>

static struct entry entry_of(unsigned key, enum flow_kind kind, struct flow *flows, size_t n,
                             uint64_t mark)
{
    struct entry e = {.kind = kind, .flows = flows, .n_flows = n};
    e.key_len = (size_t)snprintf(e.key, sizeof e.key, "%u", key);
    for (size_t i = 0; i < n; i++)
        flows[i] = (struct flow){.first = i, .octets = mark};
    return e;
}

/* The same entries through much memory and through little come out alike, in order, and the last v9 one of a
 * timestamp wins wherever its rivals went. */
static void test_spilled_as_in_memory(void **state)
{
    (void)state;
    static struct flow flows[2000];
    order *wide = order_new(64 << 20, "/tmp", false), *tight = order_new(1, "/tmp", false);
    uint64_t x = 88172645463325252U, last_mark[300] = {0};
    unsigned seen[300] = {0}, n_v9 = 0, n_keys = 0;
    weir_err err = {0};
    for (unsigned i = 1; i <= 3000; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        unsigned key = (unsigned)(x % 300);
        size_t n = i % 500 == 0 ? 2000 : (x >> 20) % 30;
        enum flow_kind kind = (x >> 40) % 3 ? FLOW_KIND_V9 : FLOW_KIND_IPFIX;
        struct entry e = entry_of(key, kind, flows, n, i);
        if (kind == FLOW_KIND_V9) {
            n_v9++;
            n_keys += !seen[key]++;
            last_mark[key] = n ? i : 0;
        }
        UNIT_CHECK(order_add(wide, &e, &err) == WEIR_OK, "%s", err.msg);
        UNIT_CHECK(order_add(tight, &e, &err) == WEIR_OK, "%s", err.msg);
    }
    assert_int_equal(order_runs(wide), 0);
    struct order_item a, b;
    char before[64] = "";
    uint64_t marks[300] = {0};
    for (;;) {
        weir_status st = order_next(wide, &a, &err);
        UNIT_CHECK(order_next(tight, &b, &err) == st, "%s", err.msg);
        if (st == WEIR_END)
            break;
        assert_int_equal(st, WEIR_OK);
        assert_string_equal(a.key, b.key);
        assert_true(strcmp(before, a.key) <= 0);
        (void)snprintf(before, sizeof before, "%s", a.key);
        assert_int_equal(a.n, b.n);
        if (a.n)
            assert_memory_equal(a.flows, b.flows, a.n * sizeof *a.flows);
        unsigned key = (unsigned)strtoul(a.key, NULL, 10);
        for (size_t i = 0; i < a.n; i++)
            if (a.flows[i].octets == last_mark[key])
                marks[key] = last_mark[key];
    }
    assert_true(order_runs(tight) > 5);
    assert_memory_equal(marks, last_mark, sizeof marks);
    assert_int_equal(order_replaced(wide), n_v9 - n_keys);
    assert_int_equal(order_replaced(tight), n_v9 - n_keys);
    order_free(wide);
    order_free(tight);
}

static void test_keys_are_text(void **state)
{
    (void)state;
    static const char *const keys[] = {"10", "9", "1", "1.5", "10.5", "-1", "1e9"};
    static const char *const want[] = {"-1", "1", "1.5", "10", "10.5", "1e9", "9"};
    order *o = order_new(1 << 20, "/tmp", false);
    struct flow f;
    for (size_t i = 0; i < UNIT_N(keys); i++) {
        struct entry e = entry_of(0, FLOW_KIND_V9, &f, 1, i);
        e.key_len = (size_t)snprintf(e.key, sizeof e.key, "%s", keys[i]);
        assert_int_equal(order_add(o, &e, NULL), WEIR_OK);
    }
    struct order_item item;
    for (size_t i = 0; i < UNIT_N(want); i++) {
        assert_int_equal(order_next(o, &item, NULL), WEIR_OK);
        assert_string_equal(item.key, want[i]);
    }
    assert_int_equal(order_next(o, &item, NULL), WEIR_END);
    order_free(o);
}

static void test_kinds_of_one_timestamp(void **state)
{
    (void)state;
    static const enum flow_kind kinds[] = {FLOW_KIND_V9, FLOW_KIND_IPFIX, FLOW_KIND_V9,
                                           FLOW_KIND_V5};
    for (int keep = 0; keep < 2; keep++) {
        order *o = order_new(1 << 20, "/tmp", keep != 0);
        struct flow f;
        for (size_t i = 0; i < UNIT_N(kinds); i++) {
            struct entry e = entry_of(5, kinds[i], &f, 1, i);
            assert_int_equal(order_add(o, &e, NULL), WEIR_OK);
        }
        uint64_t got = 0;
        struct order_item item;
        while (order_next(o, &item, NULL) == WEIR_OK)
            got = got * 10 + item.flows[0].octets + 1;
        assert_int_equal(got,
                         keep ? 1234 : 324); /* the last v9 one, then the others as they came */
        assert_int_equal(order_replaced(o), keep ? 0 : 1);
        order_free(o);
    }
}

static void test_no_folder(void **state)
{
    (void)state;
    static struct flow flows[256];
    order *o = order_new(1, "/nonexistent", false);
    weir_status st = WEIR_OK;
    weir_err err = {0};
    for (unsigned i = 0; st == WEIR_OK && i < 100; i++) {
        struct entry e = entry_of(i, FLOW_KIND_V9, flows, 256, 1);
        st = order_add(o, &e, &err);
    }
    assert_int_equal(st, WEIR_EIO);
    assert_non_null(strstr(err.msg, "/nonexistent: No such file or directory"));
    order_free(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spilled_as_in_memory),
        cmocka_unit_test(test_keys_are_text),
        cmocka_unit_test(test_kinds_of_one_timestamp),
        cmocka_unit_test(test_no_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
