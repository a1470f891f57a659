#include "collect/pktq.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "unit.h"

enum { OCTETS = 256 * 1024, MAX_LEN = 65535 };

static uint32_t rnd(uint32_t *seed)
{
    *seed = *seed * 1664525 + 1013904223;
    return *seed >> 8;
}

/* Length and content of the n-th datagram follow from n. */
static size_t make(uint64_t n, uint8_t *out)
{
    uint32_t seed = (uint32_t)n * 2654435761U;
    uint32_t kind = rnd(&seed) % 16;
    size_t len = kind == 0 ? rnd(&seed) % (MAX_LEN + 1) : kind == 1 ? 0 : rnd(&seed) % 1500;
    memset(out, (int)(n & 255), len);
    return len;
}

static bool put(pktq *q, uint64_t n)
{
    static uint8_t data[MAX_LEN];
    weir_endpoint from = {.family = 4, .port = (uint16_t)n};
    return pktq_put(q, &from, (int64_t)n, data, make(n, data));
}

static void check(const struct pktq_item *p, uint64_t n)
{
    static uint8_t want[MAX_LEN];
    size_t len = make(n, want);
    UNIT_CHECK(p->received_ns == (int64_t)n && p->from.port == (uint16_t)n && p->len == len &&
                   (!len || memcmp(p->data, want, len) == 0),
               "datagram %llu is not what was put", (unsigned long long)n);
}

static void nothing_until_commit(void **state)
{
    (void)state;
    pktq *q = pktq_new(OCTETS);
    assert_null(pktq_take(q));
    assert_true(put(q, 1));
    assert_null(pktq_take(q));
    pktq_commit(q);
    assert_false(pktq_closed(q));
    check(pktq_take(q), 1);
    assert_null(pktq_take(q));
    pktq_release(q);
    assert_false(pktq_closed(q));
    pktq_close(q);
    assert_true(pktq_closed(q));
    pktq_free(q);
}

/* All orders of putting, committing, taking and releasing, against plain counters. */
static void any_order(void **state)
{
    (void)state;
    for (uint32_t seed = 1; seed <= 20; seed++) {
        uint32_t s = seed;
        pktq *q = pktq_new(OCTETS);
        uint64_t n_put = 0, committed = 0, taken = 0, full = 0;
        while (taken < 5000) {
            /* Some rounds fill, others drain, so that the ring is met full, empty and wrapped. */
            bool fill = taken / 500 % 2;
            for (uint32_t k = rnd(&s) % (fill ? 60 : 10); k; k--) {
                if (!put(q, n_put)) {
                    full++;
                    break;
                }
                n_put++;
            }
            if (rnd(&s) % 4) {
                pktq_commit(q);
                committed = n_put;
            }
            for (uint32_t k = rnd(&s) % (fill ? 10 : 60); k; k--) {
                const struct pktq_item *p = pktq_take(q);
                if (!p) {
                    assert_int_equal(taken, committed);
                    break;
                }
                check(p, taken++);
            }
            if (rnd(&s) % 4)
                pktq_release(q);
            assert_true(pktq_filled(q) <= 1000);
        }
        assert_true(full > 0);
        pktq_free(q);
    }
}

static void full_keeps_what_it_has(void **state)
{
    (void)state;
    pktq *q = pktq_new(OCTETS);
    uint64_t n = 0;
    while (put(q, n))
        n++;
    assert_true(n > 10);
    pktq_commit(q);
    assert_true(pktq_filled(q) > 700);
    for (uint64_t i = 0; i < n; i++)
        check(pktq_take(q), i);
    assert_null(pktq_take(q));
    pktq_release(q);
    assert_int_equal(pktq_filled(q), 0);
    pktq_free(q);
}

enum { THROUGH = 100000 };

static void *reader(void *arg)
{
    pktq *q = arg;
    uint64_t n = 0;
    while (!pktq_closed(q)) {
        const struct pktq_item *p = NULL;
        for (int k = 0; k < 50 && (p = pktq_take(q)); k++) {
            if (p->received_ns != (int64_t)n || p->from.port != (uint16_t)n)
                return NULL;
            n++;
        }
        pktq_release(q);
        if (!p)
            (void)sched_yield();
    }
    return (void *)(uintptr_t)n;
}

static void two_threads(void **state)
{
    (void)state;
    pktq *q = pktq_new(OCTETS);
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, reader, q), 0);
    for (uint64_t n = 0; n < THROUGH;) {
        for (uint64_t k = 0; k < n % 70 + 1 && n < THROUGH && put(q, n); k++)
            n++;
        pktq_commit(q);
    }
    pktq_close(q);
    void *got = NULL;
    assert_int_equal(pthread_join(t, &got), 0);
    assert_int_equal((uintptr_t)got, THROUGH);
    pktq_free(q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_until_commit),
        cmocka_unit_test(any_order),
        cmocka_unit_test(full_keeps_what_it_has),
        cmocka_unit_test(two_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
