/* Rows of an archive as entries: what becomes of each value, and that rows sort as the packets of lines do. */
#include "analyze/connection.h"
#include "analyze/order.h"
#include "analyze/row.h"

#include "unit.h"

#include <string.h>

static const struct entry_host anyone = {.family = 0};

static struct row row_of(const char *src, const char *dst)
{
    struct row r = {.version = 9,
                    .received_us = 1600000000250000,
                    .domain = 1,
                    .packet = 7,
                    .first_us = 1599999999000000,
                    .last_us = 1599999999500000,
                    .has_first = true,
                    .has_last = true,
                    .exporter = "192.0.2.99",
                    .exporter_len = 10,
                    .src = src,
                    .dst = dst,
                    .octets = 1500,
                    .packets = 3,
                    .src_port = 80,
                    .dst_port = 65535,
                    .proto = 6};
    r.src_len = src ? strlen(src) : 0;
    r.dst_len = dst ? strlen(dst) : 0;
    return r;
}

static void test_values(void **state)
{
    (void)state;
    static const struct {
        uint8_t version, kind, time;
        uint64_t first, last;
    } cases[] = {
        {9, FLOW_KIND_V9, FLOW_TIME_EPOCH_MS, 1599999999000, 1599999999500},
        {5, FLOW_KIND_V5, FLOW_TIME_EPOCH_MS, 1599999999000, 1599999999500},
        {1, FLOW_KIND_V5, FLOW_TIME_EPOCH_MS, 1599999999000, 1599999999500},
        {7, FLOW_KIND_V5, FLOW_TIME_EPOCH_MS, 1599999999000, 1599999999500},
        {10, FLOW_KIND_IPFIX, FLOW_TIME_EPOCH_NS, 1599999999000000000, 1599999999500000000},
    };
    static const uint8_t src[16] = {192, 0, 2, 1}, dst[16] = {192, 0, 2, 255};
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        struct row r = row_of("192.0.2.1", "192.0.2.255");
        struct flow flows[2];
        struct entry e;
        r.version = cases[i].version;
        row_entry(&r, &anyone, flows, &e);
        UNIT_CHECK(e.n_flows == 1 && e.n_no_address == 0 && e.flows == flows, "%u", r.version);
        assert_int_equal(e.kind, cases[i].kind);
        assert_int_equal(flows->kind, cases[i].kind);
        assert_int_equal(flows->time, cases[i].time);
        assert_int_equal(flows->first, cases[i].first);
        assert_int_equal(flows->last, cases[i].last);
        assert_int_equal(flows->start_ms, 1599999999000);
        assert_memory_equal(flows->src, src, 16);
        assert_memory_equal(flows->dst, dst, 16);
        assert_int_equal(flows->family, 4);
        assert_int_equal(flows->octets, 1500);
        assert_int_equal(flows->packets, 3);
        assert_int_equal(flows->src_port, 80);
        assert_int_equal(flows->dst_port, 65535);
        assert_int_equal(flows->proto, 6);
        double time;
        assert_int_equal(row_key_time_len(e.key, e.key_len), 13);
        assert_memory_equal(e.key, "1600000000.25 ", 14);
        assert_true(entry_key_time(e.key, 13, &time));
        assert_true(e.time >= time && e.time <= time);
        assert_int_equal(strlen(e.key), e.key_len);
    }
    assert_int_equal(row_key_time_len("1600000000.25", 13), 13); /* of a line */
}

static void test_times(void **state)
{
    (void)state;
    struct flow flows[2];
    struct entry e;
    struct row r = row_of("2001:db8::1", "2001:db8::2");
    r.has_first = false;
    row_entry(&r, &anyone, flows, &e);
    assert_int_equal(flows->family, 6);
    assert_int_equal(flows->first, 1599999999500);
    assert_int_equal(flows->last, 1599999999500);
    r.has_last = false;
    row_entry(&r, &anyone, flows, &e);
    assert_int_equal(flows->time, FLOW_TIME_NONE);
    assert_true(flows->start_ms == FLOW_START_UNKNOWN);
    r.version = 10;
    r.has_first = r.has_last = true;
    r.first_us = INT64_MIN;
    r.last_us = INT64_MAX;
    r.received_us = INT64_MIN;
    row_entry(&r, &anyone, flows, &e);
    assert_int_equal(flows->first, 0);
    assert_true(flows->last == UINT64_MAX);
    assert_true(e.key_len <= ENTRY_KEY_MAX);
    r.received_us = INT64_MAX;
    row_entry(&r, &anyone, flows, &e);
    assert_true(e.key_len <= ENTRY_KEY_MAX);
}

static void test_addresses(void **state)
{
    (void)state;
    static const struct {
        const char *src, *dst;
        size_t n, none;
    } cases[] = {
        {"192.0.2.1", "192.0.2.2", 1, 0},    {NULL, "192.0.2.2", 0, 1},
        {"192.0.2.1", NULL, 0, 1},           {"192.0.2.1", "2001:db8::1", 0, 1},
        {"192.0.2.1", "no address", 0, 1},   {"", "192.0.2.1", 0, 1},
        {"192.0.2.3", "192.0.2.4", 0, 0},    {"2001:db8::1", "2001:db8::2", 0, 0},
        {"198.51.100.1", "192.0.2.1", 1, 0},
    };
    struct entry_host only = {.addr = {192, 0, 2, 1}, .family = 4};
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        struct row r = row_of(cases[i].src, cases[i].dst);
        struct flow flows[2];
        struct entry e;
        row_entry(&r, &only, flows, &e);
        UNIT_CHECK(e.n_flows == cases[i].n && e.n_no_address == cases[i].none, "case %zu: %zu, %zu",
                   i, e.n_flows, e.n_no_address);
    }
}

static void test_both_ways(void **state)
{
    (void)state;
    struct flow flows[2];
    struct entry e;
    struct row r = row_of("192.0.2.1", "192.0.2.2");
    r.octets_back = 40;
    r.packets_back = 1;
    row_entry(&r, &anyone, flows, &e);
    assert_int_equal(e.n_flows, 2);
    assert_memory_equal(flows[1].src, flows[0].dst, 16);
    assert_memory_equal(flows[1].dst, flows[0].src, 16);
    assert_int_equal(flows[1].src_port, 65535);
    assert_int_equal(flows[1].dst_port, 80);
    assert_int_equal(flows[1].octets, 40);
    assert_int_equal(flows[1].packets, 1);
    assert_int_equal(flows[1].first, flows[0].first);
    pairing *p = pairing_new(PAIR_START, 0, 1 << 20);
    struct flow peer;
    assert_int_equal(pairing_find(p, &flows[0], 0, &peer), WEIR_END);
    assert_int_equal(pairing_find(p, &flows[1], 0, &peer), WEIR_OK);
    pairing_free(p);
}

/* v9: by start and source, among the flows of one exporter; a later flow takes the place of one like it. */
static void test_pairs(void **state)
{
    (void)state;
    struct flow flows[4][2], peer;
    struct entry e;
    struct row r = row_of("192.0.2.1", "192.0.2.2");
    row_entry(&r, &anyone, flows[0], &e);
    r.dst = "192.0.2.3";
    r.octets = 7;
    row_entry(&r, &anyone, flows[1], &e); /* takes the place of the first */
    r = row_of("192.0.2.4", "192.0.2.1");
    r.exporter = "192.0.2.98";
    row_entry(&r, &anyone, flows[2], &e); /* of another exporter */
    r.exporter = "192.0.2.99";
    row_entry(&r, &anyone, flows[3], &e);
    pairing *p = pairing_new(PAIR_START, 0, 1 << 20);
    assert_int_equal(pairing_find(p, &flows[0][0], 0, &peer), WEIR_END);
    assert_int_equal(pairing_find(p, &flows[1][0], 0, &peer), WEIR_END);
    assert_int_equal(pairing_waiting(p), 1);
    assert_int_equal(pairing_find(p, &flows[2][0], 0, &peer), WEIR_END);
    assert_int_equal(pairing_find(p, &flows[3][0], 0, &peer), WEIR_OK);
    assert_int_equal(peer.octets, 7);
    struct connection c = connection_of(&flows[3][0], &peer);
    assert_int_equal(connection_duration_ms(&c), 500);
    pairing_free(p);
}

/* However rows come, they are analysed by arrival, packet and start; equal ones as they came. */
static void test_order_of_rows(void **state)
{
    (void)state;
    static const struct {
        int64_t received_us, first_us;
        uint32_t packet, place;
    } rows[] = {
        {1600000000250000, 5000000, 1, 2}, {1600000000250001, 1000000, 3, 6},
        {1600000000250000, 9000000, 1, 4}, {1600000000250000, 5000000, 1, 3},
        {1600000000250000, 1000000, 2, 5}, {1600000000250000, -4000000, 1, 1},
        {1600000000000000, 9000000, 9, 0},
    };
    weir_err err = {0};
    order *o = order_new(1 << 20, "/tmp", true);
    for (size_t i = 0; i < UNIT_N(rows); i++) {
        struct row r = row_of("192.0.2.1", "192.0.2.2");
        struct flow flows[2];
        struct entry e;
        r.received_us = rows[i].received_us;
        r.first_us = rows[i].first_us;
        r.packet = rows[i].packet;
        r.octets = rows[i].place;
        row_entry(&r, &anyone, flows, &e);
        assert_int_equal(order_add(o, &e, &err), WEIR_OK);
    }
    struct order_item item;
    for (size_t i = 0; i < UNIT_N(rows); i++) {
        assert_int_equal(order_next(o, &item, &err), WEIR_OK);
        assert_int_equal(item.n, 1);
        UNIT_CHECK(item.flows[0].octets == i, "place %zu: %llu", i,
                   (unsigned long long)item.flows[0].octets);
    }
    assert_int_equal(order_next(o, &item, &err), WEIR_END);
    assert_int_equal(order_replaced(o), 0);
    order_free(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),        cmocka_unit_test(test_times),
        cmocka_unit_test(test_addresses),     cmocka_unit_test(test_both_ways),
        cmocka_unit_test(test_order_of_rows), cmocka_unit_test(test_pairs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
