#include "collect/feed.h"

#include "collect/steer.h"

#include <pthread.h>
#include <string.h>

#include "unit.h"

enum { QUEUE = 256 * 1024, WORKERS = 3 };

struct rig {
    struct allow allow;
    struct bell work[WORKERS];
    struct feed_queue queues[WORKERS];
    feed *f;
};

static void start(struct rig *r)
{
    *r = (struct rig){0};
    for (int i = 0; i < WORKERS; i++)
        r->queues[i] = (struct feed_queue){.packets = pktq_new(QUEUE), .work = &r->work[i]};
    r->f = feed_new(&r->allow, r->queues, WORKERS);
    assert_non_null(r->f);
}

static void end(struct rig *r)
{
    feed_free(r->f);
    for (int i = 0; i < WORKERS; i++)
        pktq_free(r->queues[i].packets);
    allow_done(&r->allow);
}

static weir_endpoint host(uint32_t n)
{
    weir_endpoint e = {.family = 4, .port = (uint16_t)(n * 7), .addr = {192, 0}};
    e.addr[2] = (uint8_t)(n >> 8);
    e.addr[3] = (uint8_t)n;
    return e;
}

static struct feed_counters counted(struct rig *r)
{
    struct feed_counters n;
    feed_read(r->f, &n);
    assert_int_equal(n.datagrams, n.refused + n.dropped + n.pushed);
    return n;
}

static void each_to_its_worker(void **state)
{
    (void)state;
    struct rig r;
    start(&r);
    uint64_t want[WORKERS] = {0};
    static const uint8_t data[100];
    for (uint32_t i = 0; i < 600; i++) {
        weir_endpoint e = host(i);
        want[steer_of(&e, WORKERS)]++;
        feed_packet(r.f, &e, 1, data, sizeof data);
    }
    for (int i = 0; i < WORKERS; i++)
        assert_null(pktq_take(r.queues[i].packets)); /* not before it is committed */
    assert_int_equal(counted(&r).datagrams, 0);
    feed_commit(r.f);
    assert_int_equal(counted(&r).pushed, 600);
    assert_int_equal(counted(&r).octets, 60000);
    assert_int_equal(feed_waiting(r.f), 2); /* more than a 64th of 256 KiB */
    feed_ring(r.f);
    assert_int_equal(feed_waiting(r.f), 0);
    for (unsigned i = 0; i < WORKERS; i++) {
        const struct pktq_item *p;
        uint64_t n = 0;
        for (; (p = pktq_take(r.queues[i].packets)); n++)
            assert_int_equal(steer_of(&p->from, WORKERS), i);
        assert_int_equal(n, want[i]);
        assert_int_equal(atomic_load(&r.work[i].state), BELL_RUNG);
    }
    end(&r);
}

/* Who was refused or dropped is known by address, and when there are too many, at least how often. */
static void nothing_goes_unnoticed(void **state)
{
    (void)state;
    struct rig r;
    start(&r);
    weir_endpoint who;
    assert_false(feed_stranger(r.f, &who));
    assert_int_equal(allow_add(&r.allow, "192.0.0.0/24", NULL), WEIR_OK);
    static uint8_t data[60000];
    uint64_t refused = 0, dropped = 0;
    for (uint32_t i = 0; i < 4000; i++) {
        weir_endpoint e = host(i);
        bool fits = feed_fits(r.f, &e, sizeof data);
        feed_packet(r.f, &e, i, data, sizeof data);
        refused += i > 255;
        dropped += i <= 255 && !fits;
    }
    feed_commit(r.f);
    struct feed_counters n = counted(&r);
    assert_int_equal(n.refused, refused);
    assert_int_equal(n.dropped, dropped);
    assert_true(dropped > 200 && n.pushed > 3);
    assert_true(feed_stranger(r.f, &who));
    assert_true(who.addr[2] > 0);
    struct feed_miss m[100];
    size_t k, addresses = 0, nameless = 0;
    while ((k = feed_misses(r.f, m, 100)) > 0) {
        for (size_t i = 0; i < k; i++) {
            refused -= m[i].refused;
            dropped -= m[i].dropped;
            addresses += m[i].from.family == 4;
            nameless += m[i].from.family == 0;
            if (m[i].from.family == 4)
                assert_int_equal(m[i].refused + m[i].dropped, 1);
        }
    }
    assert_int_equal(refused, 0);
    assert_int_equal(dropped, 0);
    assert_true(addresses >= 1000);
    assert_int_equal(nameless, 1);
    end(&r);
}

struct reading {
    struct rig *rig;
    atomic_bool stop;
    bool bad;
};

static void *read_all(void *arg)
{
    struct reading *x = arg;
    uint64_t before = 0;
    while (!atomic_load(&x->stop)) {
        struct feed_counters n;
        feed_read(x->rig->f, &n);
        x->bad |= n.datagrams != n.refused + n.dropped + n.pushed || n.datagrams < before;
        before = n.datagrams;
    }
    return NULL;
}

/* Whoever looks sees counters of one moment. */
static void one_moment(void **state)
{
    (void)state;
    struct rig r;
    start(&r);
    struct reading x = {.rig = &r};
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, read_all, &x), 0);
    static const uint8_t data[1000];
    for (uint32_t i = 0; i < 100000; i++) {
        weir_endpoint e = host(i & 1023);
        feed_packet(r.f, &e, 1, data, sizeof data);
        if (i % 7 == 0)
            feed_commit(r.f);
    }
    feed_commit(r.f);
    atomic_store(&x.stop, true);
    (void)pthread_join(t, NULL);
    assert_false(x.bad);
    assert_int_equal(counted(&r).datagrams, 100000);
    end(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_to_its_worker),
        cmocka_unit_test(nothing_goes_unnoticed),
        cmocka_unit_test(one_moment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
