#include "collect/reassembly.h"

#include <stdlib.h>
#include <string.h>

#include "unit.h"

enum { SECOND = 1000000000, WHOLE = 3000 };

static uint8_t pattern[70000], other[70000];

static struct reassembly_fragment part(uint8_t family, uint32_t id, size_t offset, size_t len,
                                       bool more)
{
    struct reassembly_fragment f = {
        .key = {.id = id, .family = family, .proto = family == 4 ? 17 : 0, .src = {10, 0, 0, 1}},
        .offset = offset,
        .more = more,
        .next = 17,
        .data = pattern + offset,
        .len = len,
    };
    return f;
}

static enum reassembly_result add(reassembly *r, struct reassembly_fragment f,
                                  struct reassembly_datagram *out)
{
    struct reassembly_datagram mine;
    return reassembly_add(r, &f, out ? out : &mine);
}

/* Pieces of one datagram in an order: "0-16" is octets 0 to 15 with more to come, "16-30." the last. '!' takes
 * the octets from other[] instead of pattern[]. */
static const struct {
    const char *what, *pieces;
    uint8_t family;
    enum reassembly_result want; /* after the last piece */
    size_t len;
    uint64_t lost; /* after reassembly_finish */
    int other_at;  /* an octet that must come from other[], -1: none */
} orders[] = {
    {"in order", "0-16 16-30.", 4, REASSEMBLY_COMPLETE, 30, 0, -1},
    {"in order, v6", "0-16 16-30.", 6, REASSEMBLY_COMPLETE, 30, 0, -1},
    {"reversed", "16-30. 8-16 0-8", 4, REASSEMBLY_COMPLETE, 30, 0, -1},
    {"reversed, v6", "16-30. 8-16 0-8", 6, REASSEMBLY_COMPLETE, 30, 0, -1},
    {"hole", "0-8 16-30.", 4, REASSEMBLY_WAITING, 0, 2, -1},
    {"no end", "0-8 8-16", 4, REASSEMBLY_WAITING, 0, 2, -1},
    {"last alone", "8-16.", 4, REASSEMBLY_WAITING, 0, 1, -1},
    {"repeat", "0-16 0-16 16-30.", 4, REASSEMBLY_COMPLETE, 30, 0, -1},
    {"repeat, v6: same octets are no overlap", "0-16 0-16 16-30.", 6, REASSEMBLY_COMPLETE, 30, 0,
     -1},
    {"repeat with other octets: the first win", "0-16 !0-16 16-30.", 4, REASSEMBLY_COMPLETE, 30, 0,
     -1},
    {"repeat with other octets, v6", "0-16 !0-16", 6, REASSEMBLY_DROPPED, 0, 2, -1},
    {"overlap: the first win, the rest is taken", "0-16 !8-24 24-30.", 4, REASSEMBLY_COMPLETE, 30,
     0, 16},
    {"overlap from below", "8-24 !0-16 24-30.", 4, REASSEMBLY_COMPLETE, 30, 0, 0},
    {"overlap, v6", "0-16 8-24", 6, REASSEMBLY_DROPPED, 0, 2, -1},
    {"what comes after an overlap, v6", "0-16 8-24 0-16 16-30.", 6, REASSEMBLY_WAITING, 0, 4, -1},
    {"two ends", "8-16. 16-30.", 4, REASSEMBLY_DROPPED, 0, 2, -1},
    {"same end again", "16-30. 16-30. 0-16", 4, REASSEMBLY_COMPLETE, 30, 0, -1},
    {"octets behind the end", "16-30. 32-40", 4, REASSEMBLY_DROPPED, 0, 2, -1},
    {"end before octets already there", "32-40 16-30.", 4, REASSEMBLY_DROPPED, 0, 2, -1},
    {"more to come, but at the end", "16-32. 8-32", 4, REASSEMBLY_DROPPED, 0, 2, -1},
    {"no octets", "8-8", 4, REASSEMBLY_BROKEN, 0, 0, -1},
    {"no octets, last", "0-16 16-16.", 4, REASSEMBLY_BROKEN, 0, 1, -1},
    {"not a multiple of 8", "0-15", 4, REASSEMBLY_BROKEN, 0, 0, -1},
    {"offset not a multiple of 8", "4-12", 4, REASSEMBLY_BROKEN, 0, 0, -1},
    {"ends at 65535", "65528-65535.", 4, REASSEMBLY_WAITING, 0, 1, -1},
    {"ends above 65535", "65528-65544", 4, REASSEMBLY_BROKEN, 0, 0, -1},
    {"ends above 65535 by one", "65528-65536.", 4, REASSEMBLY_BROKEN, 0, 0, -1},
    {"65535 octets", "0-32768 32768-65528 65528-65535.", 4, REASSEMBLY_COMPLETE, 65535, 0, -1},
};

static void test_orders(void **state)
{
    (void)state;
    for (size_t i = 0; i < UNIT_N(orders); i++) {
        reassembly *r = reassembly_new(NULL);
        assert_non_null(r);
        struct reassembly_datagram d = {0};
        enum reassembly_result got = REASSEMBLY_WAITING;
        for (const char *p = orders[i].pieces; *p;) {
            bool from_other = *p == '!';
            char *end;
            size_t from = strtoul(p + from_other, &end, 10), to = strtoul(end + 1, &end, 10);
            struct reassembly_fragment f = part(orders[i].family, 7, from, to - from, *end != '.');
            if (from_other)
                f.data = other + from;
            got = reassembly_add(r, &f, &d);
            p = end + (*end == '.');
            p += *p == ' ';
            UNIT_CHECK(!*p || got != REASSEMBLY_COMPLETE, "%s: complete too early\n",
                       orders[i].what);
        }
        UNIT_CHECK(got == orders[i].want, "%s: result %d, not %d (%s)\n", orders[i].what, (int)got,
                   (int)orders[i].want, d.why ? d.why : "");
        UNIT_CHECK(d.len == orders[i].len, "%s: %zu octets\n", orders[i].what, d.len);
        UNIT_CHECK((d.why != NULL) == (got == REASSEMBLY_BROKEN || got == REASSEMBLY_DROPPED),
                   "%s: why\n", orders[i].what);
        if (got == REASSEMBLY_COMPLETE) {
            assert_int_equal(d.next, 17);
            assert_int_equal(reassembly_octets(r), 0);
            assert_memory_equal(d.data, orders[i].other_at == 0 ? other : pattern, 8);
            if (orders[i].other_at > 0) {
                assert_memory_equal(d.data, pattern, (size_t)orders[i].other_at);
                assert_memory_equal(d.data + orders[i].other_at, other + orders[i].other_at, 8);
            } else if (orders[i].other_at < 0) {
                assert_memory_equal(d.data, pattern, d.len);
            }
        }
        reassembly_finish(r);
        UNIT_CHECK(reassembly_lost(r) == orders[i].lost, "%s: %llu lost\n", orders[i].what,
                   (unsigned long long)reassembly_lost(r));
        assert_int_equal(reassembly_octets(r), 0);
        assert_int_equal(reassembly_waiting(r), 0);
        reassembly_free(r);
    }
}

/* Every order of five fragments gives the datagram exactly at the fifth. */
static void test_permutations(void **state)
{
    (void)state;
    reassembly *r = reassembly_new(NULL);
    for (uint32_t n = 0; n < 5 * 5 * 5 * 5 * 5; n++) {
        size_t order[5];
        unsigned have = 0;
        for (uint32_t i = 0, left = n; i < 5; i++, left /= 5)
            have |= 1u << (order[i] = left % 5);
        if (have != 31)
            continue;
        for (size_t i = 0; i < 5; i++) {
            size_t at = order[i] * 600;
            struct reassembly_datagram d;
            enum reassembly_result got = add(r, part(n % 2 ? 4 : 6, n, at, 600, at != 2400), &d);
            assert_int_equal(got, i == 4 ? REASSEMBLY_COMPLETE : REASSEMBLY_WAITING);
            if (i == 4) {
                assert_int_equal(d.len, WHOLE);
                assert_memory_equal(d.data, pattern, WHOLE);
            }
        }
    }
    assert_int_equal(reassembly_lost(r), 0);
    assert_int_equal(reassembly_waiting(r), 0);
    reassembly_free(r);
}

/* Fragments that differ in one part of the key belong to different datagrams. */
static void test_keys(void **state)
{
    (void)state;
    reassembly *r = reassembly_new(NULL);
    struct reassembly_fragment f = part(4, 7, 0, 16, true), last = part(4, 7, 16, 14, false);
    assert_int_equal(add(r, f, NULL), REASSEMBLY_WAITING);
    for (int i = 0; i < 5; i++) {
        struct reassembly_fragment x = last;
        x.key.src[3] ^= i == 0;
        x.key.dst[3] ^= i == 1;
        x.key.id ^= i == 2;
        x.key.proto ^= i == 3;
        x.key.family = i == 4 ? 6 : 4;
        assert_int_equal(add(r, x, NULL), REASSEMBLY_WAITING);
    }
    assert_int_equal(reassembly_waiting(r), 6);
    assert_int_equal(add(r, last, NULL), REASSEMBLY_COMPLETE);
    assert_int_equal(reassembly_waiting(r), 5);
    reassembly_free(r);
}

/* A flood of first fragments stays within both limits, the oldest go, and the newest still completes. */
static void test_limits(void **state)
{
    (void)state;
    const struct reassembly_limits rows[] = {{0, 0, 0}, {10, 0, 0}, {0, 100000, 0}};
    for (size_t i = 0; i < UNIT_N(rows); i++) {
        reassembly *r = reassembly_new(&rows[i]);
        size_t max_datagrams = rows[i].datagrams ? rows[i].datagrams : 1024;
        size_t max_octets = rows[i].octets ? rows[i].octets : 16u << 20;
        for (uint32_t id = 0; id < 5000; id++) {
            assert_int_equal(add(r, part(4, id, 32768, 24000, true), NULL), REASSEMBLY_WAITING);
            assert_in_range(reassembly_waiting(r), 1, max_datagrams);
            assert_in_range(reassembly_octets(r), 1, max_octets);
        }
        assert_int_equal(reassembly_lost(r) + reassembly_waiting(r), 5000);
        struct reassembly_datagram d;
        assert_int_equal(add(r, part(4, 4999, 0, 32768, true), NULL), REASSEMBLY_WAITING);
        assert_int_equal(add(r, part(4, 4999, 56768, 1000, false), &d), REASSEMBLY_COMPLETE);
        assert_int_equal(d.len, 57768);
        assert_memory_equal(d.data, pattern, d.len);
        reassembly_free(r);
    }
    /* Limits that not even one datagram fits in: no room for its bookkeeping, no room for its octets. */
    static const size_t tiny[] = {100, 3000};
    for (size_t i = 0; i < UNIT_N(tiny); i++) {
        const struct reassembly_limits limits = {.octets = tiny[i]};
        reassembly *r = reassembly_new(&limits);
        assert_int_equal(add(r, part(4, 1, 0, 16, true), NULL), REASSEMBLY_DROPPED);
        assert_int_equal(add(r, part(4, 1, 16, 8, false), NULL),
                         i ? REASSEMBLY_WAITING : REASSEMBLY_DROPPED);
        assert_int_equal(reassembly_lost(r), 2);
        assert_in_range(reassembly_octets(r), 0, tiny[i]);
        reassembly_free(r);
    }
}

static void test_time(void **state)
{
    (void)state;
    const struct {
        const char *what;
        int64_t first, second;
        enum reassembly_result want;
    } rows[] = {
        {"at once", 0, 0, REASSEMBLY_COMPLETE},
        {"30 s", 0, INT64_C(30) * SECOND, REASSEMBLY_COMPLETE},
        {"30 s and 1 ns", 0, INT64_C(30) * SECOND + 1, REASSEMBLY_WAITING},
        {"clock steps back", INT64_C(100) * SECOND, 0, REASSEMBLY_COMPLETE},
        {"from the first to the last moment", INT64_MIN, INT64_MAX, REASSEMBLY_WAITING},
        {"and back", INT64_MAX, INT64_MIN, REASSEMBLY_COMPLETE},
    };
    for (size_t i = 0; i < UNIT_N(rows); i++) {
        reassembly *r = reassembly_new(NULL);
        struct reassembly_fragment a = part(4, 1, 0, 16, true), b = part(4, 1, 16, 8, false);
        a.time_ns = rows[i].first;
        b.time_ns = rows[i].second;
        assert_int_equal(add(r, a, NULL), REASSEMBLY_WAITING);
        enum reassembly_result got = add(r, b, NULL);
        UNIT_CHECK(got == rows[i].want, "%s: result %d\n", rows[i].what, (int)got);
        assert_int_equal(reassembly_lost(r), got != REASSEMBLY_COMPLETE);
        reassembly_free(r);
    }
}

/* Whatever comes, memory stays inside and every fragment is in a datagram, lost, waiting or refused. */
static void test_random(void **state)
{
    (void)state;
    const struct reassembly_limits limits = {.datagrams = 16, .octets = 200000};
    reassembly *r = reassembly_new(&limits);
    uint64_t x = 88172645463325252u;
    size_t n_complete = 0;
    for (int i = 0; i < 200000; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        size_t offset = (x >> 8 & 7) * 8, len = (x >> 16 & 3) * 8 + (x >> 20 & 15 ? 0 : 3);
        if (x >> 24 & 1)
            offset *= 1024;
        struct reassembly_fragment f = part(x & 1 ? 4 : 6, x >> 32 & 31, offset, len, x >> 40 & 3);
        f.time_ns = (int64_t)i * 1000000;
        struct reassembly_datagram d;
        if (reassembly_add(r, &f, &d) == REASSEMBLY_COMPLETE) {
            n_complete++;
            assert_memory_equal(d.data, pattern, d.len);
        }
        assert_in_range(reassembly_octets(r), 0, 200000);
        assert_in_range(reassembly_waiting(r), 0, 16);
    }
    assert_in_range(n_complete, 100, 200000);
    reassembly_free(r);
}

int main(void)
{
    for (size_t i = 0; i < sizeof pattern; i++) {
        pattern[i] = (uint8_t)(i * 31 + (i >> 8));
        other[i] = (uint8_t)~pattern[i];
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_orders), cmocka_unit_test(test_permutations),
        cmocka_unit_test(test_keys),   cmocka_unit_test(test_limits),
        cmocka_unit_test(test_time),   cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
