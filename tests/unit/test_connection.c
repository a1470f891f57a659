#include "analyze/connection.h"
#include "analyze/report.h"

#include "unit.h"

#include <string.h>

static struct flow flow_of(uint8_t src, uint8_t dst, uint64_t first, uint8_t kind)
{
    struct flow f = {.first = first,
                     .last = first + 1000,
                     .octets = 10,
                     .packets = 1,
                     .start_ms = FLOW_START_UNKNOWN,
                     .family = 4,
                     .time = FLOW_TIME_UPTIME_MS,
                     .kind = kind,
                     .proto = 6,
                     .src_port = src,
                     .dst_port = dst,
                     .exporter = 1};
    f.src[0] = f.dst[0] = 10;
    f.src[3] = src;
    f.dst[3] = dst;
    return f;
}

static bool pairs(pairing *p, struct flow f, struct flow *peer)
{
    weir_status st = pairing_find(p, &f, 0, peer);
    assert_true(st == WEIR_OK || st == WEIR_END);
    return st == WEIR_OK;
}

static void test_texts(void **state)
{
    (void)state;
    static const struct {
        uint64_t octets;
        const char *text;
    } sizes[] = {{0, "0B"},
                 {1023, "1023B"},
                 {1024, "1.00K"},
                 {1029, "1.00K"},
                 {1030, "1.01K"},
                 {1536, "1.50K"},
                 {1048575, "1024.00K"},
                 {1048576, "1.00M"},
                 {1073741823, "1024.00M"},
                 {1073741824, "1.00G"},
                 {1099511627776, "1024.00G"},
                 {UINT64_MAX, "17179869184.00G"}};
    base_buf b = {0};
    for (size_t i = 0; i < UNIT_N(sizes); i++) {
        base_buf_reset(&b);
        size_text(&b, sizes[i].octets);
        base_buf_char(&b, 0);
        assert_string_equal(b.data, sizes[i].text);
    }
    static const struct {
        int64_t ms;
        const char *text;
    } spans[] = {{0, "0 sec"},
                 {999, "0 sec"},
                 {59999, "59 sec"},
                 {60000, "01:00 min"},
                 {3599999, "59:59 min"},
                 {3600000, "60:00 min"},
                 {3600999, "60:00 min"},
                 {3601000, "1:00.01 hours"},
                 {7322000, "2:02.02 hours"},
                 {4294967295, "1193:02.47 hours"},
                 {-1, "-1 sec"},
                 {-1000, "-1 sec"}};
    for (size_t i = 0; i < UNIT_N(spans); i++) {
        base_buf_reset(&b);
        duration_text(&b, spans[i].ms);
        base_buf_char(&b, 0);
        assert_string_equal(b.data, spans[i].text);
    }
    base_buf_done(&b);
}

/* The exact integer arithmetic of size_text gives what printf gives for the quotient. */
static void test_sizes_as_printf(void **state)
{
    (void)state;
    base_buf b = {0};
    uint64_t x = 88172645463325252U;
    for (int i = 0; i < 300000; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        uint64_t v = x >> (x % 54 + 10);
        if (i % 3 == 0) /* near ties: n.nn5 */
            v = (v % 4096) * 128 + (v >> 20) % 3 * ((1U << 20) / 200);
        char want[64];
        if (v < 1024)
            (void)snprintf(want, sizeof want, "%dB", (int)v);
        else if (v < 1U << 20)
            (void)snprintf(want, sizeof want, "%.2fK", (double)v / 1024);
        else if (v < 1U << 30)
            (void)snprintf(want, sizeof want, "%.2fM", (double)v / 1048576);
        else
            (void)snprintf(want, sizeof want, "%.2fG", (double)v / 1073741824);
        base_buf_reset(&b);
        size_text(&b, v);
        base_buf_char(&b, 0);
        UNIT_CHECK(strcmp(b.data, want) == 0, "%llu: %s, not %s", (unsigned long long)v, b.data,
                   want);
    }
    base_buf_done(&b);
}

static void test_addresses(void **state)
{
    (void)state;
    static const struct {
        const char *hex, *text;
    } cases[] = {
        {"00000000000000000000000000000000", "::"},
        {"00000000000000000000000000000001", "::1"},
        {"20010db8000000000000000000000001", "2001:db8::1"},
        {"20010db8000000000001000000000001", "2001:db8::1:0:0:1"},
        {"20010db8000100000001000000000000", "2001:db8:1:0:1::"},
        {"20010db8000100010001000100010000", "2001:db8:1:1:1:1:1:0"},
        {"00000000000000000000ffff01020304", "::ffff:102:304"},
        {"00000000000000000000000001020304", "::102:304"},
        {"ffffffffffffffffffffffffffffffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
        {"0fff00ff000f00000000000000000000", "fff:ff:f::"},
    };
    base_buf b = {0};
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        uint8_t addr[16];
        assert_int_equal(unhex(cases[i].hex, addr, sizeof addr), 16);
        base_buf_reset(&b);
        address_text(&b, addr, 6);
        base_buf_char(&b, 0);
        assert_string_equal(b.data, cases[i].text);
    }
    base_buf_done(&b);
}

static void test_seconds(void **state)
{
    (void)state;
    static const struct {
        double time;
        int64_t second;
    } cases[] = {{0, 0},           {0.999999, 0},
                 {0.9999994, 0},   {0.9999996, 1},
                 {1.5, 1},         {-0.0000004, 0},
                 {-0.0000006, -1}, {-1, -1},
                 {-1.5, -2},       {1600000000.9999998, 1600000001}};
    for (size_t i = 0; i < UNIT_N(cases); i++)
        UNIT_CHECK(report_second(cases[i].time) == cases[i].second, "%.7f: %lld", cases[i].time,
                   (long long)report_second(cases[i].time));
}

static void test_start_as_netflow(void **state)
{
    (void)state;
    pairing *p = pairing_new(PAIR_START, 0, 1 << 20);
    struct flow peer;
    assert_false(pairs(p, flow_of(1, 2, 5, FLOW_KIND_V9), &peer));
    assert_false(pairs(p, flow_of(2, 1, 6, FLOW_KIND_V9), &peer)); /* another start */
    assert_true(pairs(p, flow_of(2, 1, 5, FLOW_KIND_V9), &peer));
    assert_int_equal(peer.src[3], 1);
    /* The source of the waiting flow is all that counts: a stranger finds it. */
    assert_true(pairs(p, flow_of(7, 2, 6, FLOW_KIND_V9), &peer));
    assert_int_equal(pairing_waiting(p), 0);
    /* A second flow of the source takes the first one's place. */
    assert_false(pairs(p, flow_of(1, 2, 5, FLOW_KIND_V9), &peer));
    assert_false(pairs(p, flow_of(1, 3, 5, FLOW_KIND_V9), &peer));
    assert_int_equal(pairing_waiting(p), 1);
    assert_true(pairs(p, flow_of(2, 1, 5, FLOW_KIND_V9), &peer));
    assert_int_equal(peer.dst[3], 3);
    pairing_free(p);
}

static void test_start_of_other_protocols(void **state)
{
    (void)state;
    pairing *p = pairing_new(PAIR_START, 0, 1 << 20);
    struct flow peer, f = flow_of(1, 2, 5, FLOW_KIND_IPFIX);
    assert_false(pairs(p, f, &peer));
    assert_false(pairs(p, f, &peer)); /* the same again waits too */
    assert_false(pairs(p, flow_of(7, 1, 5, FLOW_KIND_IPFIX), &peer));
    assert_false(pairs(p, flow_of(2, 1, 5, FLOW_KIND_V5), &peer));
    struct flow other = flow_of(2, 1, 5, FLOW_KIND_IPFIX);
    other.exporter = 9;
    assert_false(pairs(p, other, &peer));
    other.exporter = 1;
    other.src_port = 99;
    assert_false(pairs(p, other, &peer));
    assert_true(pairs(p, flow_of(2, 1, 5, FLOW_KIND_IPFIX), &peer));
    assert_true(pairs(p, flow_of(2, 1, 5, FLOW_KIND_IPFIX), &peer));
    assert_int_equal(pairing_waiting(p), 4);
    pairing_free(p);
}

/* At the limit the oldest waiting flow goes, and is counted. */
static void test_limit(void **state)
{
    (void)state;
    pairing *p = pairing_new(PAIR_START, 0, 1);
    struct flow peer;
    uint64_t n = 0;
    for (; pairing_dropped(p) == 0; n++)
        assert_false(pairs(p, flow_of(1, 2, n, FLOW_KIND_V9), &peer));
    size_t most = pairing_waiting(p);
    assert_int_equal(most, n - 1);
    assert_false(pairs(p, flow_of(2, 1, 0, FLOW_KIND_V9), &peer)); /* 0 is gone; this drops 1 */
    assert_false(pairs(p, flow_of(2, 1, 1, FLOW_KIND_V9), &peer));
    assert_true(pairs(p, flow_of(2, 1, n - 1, FLOW_KIND_V9), &peer));
    assert_int_equal(pairing_dropped(p), 3);
    size_t left, starts;
    const struct flow **flows = pairing_left(p, &left, &starts);
    assert_int_equal(left, most - 1);
    assert_int_equal(starts, most - 1);
    for (size_t i = 1; i < left; i++)
        assert_true(flows[i - 1]->first < flows[i]->first);
    free(flows);
    pairing_free(p);
}

/* Against a list searched from end to end: random flows, both ways of every pair. */
static void test_start_as_a_plain_search(void **state)
{
    (void)state;
    enum { N = 4000 };
    static struct flow waiting[N];
    size_t n = 0;
    pairing *p = pairing_new(PAIR_START, 0, 1 << 20);
    uint64_t x = 88172645463325252U;
    for (int i = 0; i < N; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        struct flow f = flow_of((uint8_t)(x % 40), (uint8_t)(x >> 8) % 40, (x >> 16) % 30,
                                FLOW_KIND_V9),
                    peer;
        f.octets = (uint64_t)i;
        size_t at = n, own = n;
        for (size_t k = 0; k < n; k++) {
            if (waiting[k].first == f.first && waiting[k].src[3] == f.dst[3])
                at = k;
            if (waiting[k].first == f.first && waiting[k].src[3] == f.src[3])
                own = k;
        }
        bool found = pairs(p, f, &peer);
        assert_int_equal(found, at < n);
        if (found) {
            assert_int_equal(peer.octets, waiting[at].octets);
            memmove(&waiting[at], &waiting[at + 1], (--n - at) * sizeof *waiting);
        } else {
            waiting[own] = f;
            n += own == n;
        }
        assert_int_equal(pairing_waiting(p), n);
    }
    pairing_free(p);
}

static void test_direction_and_duration(void **state)
{
    (void)state;
    struct flow a = flow_of(1, 2, 5, FLOW_KIND_V9), b = flow_of(2, 1, 5, FLOW_KIND_V9);
    assert_int_equal(connection_of(&a, &b).src.src[3], 1); /* equal: the later */
    b.octets++;
    assert_int_equal(connection_of(&a, &b).src.src[3], 2);
    struct connection c = connection_of(&a, &b);
    c.src.first = UINT32_MAX;
    c.src.last = 4;
    assert_int_equal(connection_duration_ms(&c), 5);
    c.src.first = UINT64_MAX;
    assert_true(connection_duration_ms(&c) < 0);
    c.src.time = FLOW_TIME_EPOCH_NS;
    assert_int_equal(connection_duration_ms(&c), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_sizes_as_printf),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_seconds),
        cmocka_unit_test(test_start_as_netflow),
        cmocka_unit_test(test_start_of_other_protocols),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_start_as_a_plain_search),
        cmocka_unit_test(test_direction_and_duration),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
