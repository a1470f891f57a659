#include "collect/feed.h"

#include "base/err.h"
#include "collect/steer.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Octets for which the workers are woken: so many, of small queues a part. */
enum { MAX_MISSES = 1024, RING_OCTETS = 256 << 10, RING_SHARE = 64 };

struct feed {
    const struct allow *allow;
    struct feed_queue *queues;
    unsigned n_queues;
    struct feed_counters now; /* the feeding thread's own */
    /* By queue: something since the last commit, since the last ring; its own too. */
    struct {
        bool put, silent;
    } * at;
    size_t waiting, enough;
    /* What it has committed. Odd while it writes: a reader tries again. */
    _Atomic uint32_t version;
    _Atomic uint64_t datagrams, octets, refused, dropped, pushed;

    pthread_mutex_t lock; /* of all that follows */
    struct feed_miss misses[MAX_MISSES + 1];
    size_t n_misses;
    weir_endpoint stranger;
};

feed *feed_new(const struct allow *allow, struct feed_queue *queues, unsigned n)
{
    feed *f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    f->allow = allow;
    f->queues = queues;
    f->n_queues = n;
    f->at = calloc(n, sizeof *f->at);
    if (!f->at) {
        free(f);
        return NULL;
    }
    f->enough = RING_OCTETS;
    for (unsigned k = 0; k < n; k++) {
        size_t share = pktq_octets(queues[k].packets) / RING_SHARE;
        f->enough = share < f->enough ? share : f->enough;
    }
    (void)pthread_mutex_init(&f->lock, NULL);
    return f;
}

void feed_free(feed *f)
{
    if (!f)
        return;
    (void)pthread_mutex_destroy(&f->lock);
    free(f->at);
    free(f);
}

/* The place of an address among the misses; the last one is for all that found none. */
static struct feed_miss *miss_of(feed *f, const weir_endpoint *from)
{
    for (size_t i = f->n_misses; i-- > 0;)
        if (f->misses[i].from.family == from->family &&
            memcmp(f->misses[i].from.addr, from->addr, sizeof from->addr) == 0)
            return &f->misses[i];
    bool full = f->n_misses >= MAX_MISSES;
    if (full && f->n_misses > MAX_MISSES)
        return &f->misses[MAX_MISSES];
    struct feed_miss *m = &f->misses[f->n_misses++];
    *m = (struct feed_miss){0};
    if (!full) {
        m->from = *from;
        m->from.port = 0;
    }
    return m;
}

static void miss(feed *f, const weir_endpoint *from, int64_t received_ns, bool refused)
{
    *(refused ? &f->now.refused : &f->now.dropped) += 1;
    (void)pthread_mutex_lock(&f->lock);
    struct feed_miss *m = miss_of(f, from);
    m->received_ns = received_ns;
    *(refused ? &m->refused : &m->dropped) += 1;
    if (refused)
        f->stranger = *from;
    (void)pthread_mutex_unlock(&f->lock);
}

void feed_packet(feed *f, const weir_endpoint *from, int64_t received_ns, const uint8_t *data,
                 size_t len)
{
    f->now.datagrams++;
    f->now.octets += len;
    unsigned k = steer_of(from, f->n_queues);
    if (!allow_match(f->allow, from)) {
        miss(f, from, received_ns, true);
    } else if (!pktq_put(f->queues[k].packets, from, received_ns, data, len)) {
        miss(f, from, received_ns, false);
    } else {
        f->now.pushed++;
        f->at[k].put = true;
        f->waiting += len ? len : 1;
    }
}

bool feed_lets_in(const feed *f, const weir_endpoint *from)
{
    return allow_match(f->allow, from);
}

bool feed_fits(feed *f, const weir_endpoint *from, size_t len)
{
    return pktq_fits(f->queues[steer_of(from, f->n_queues)].packets, len);
}

/* Release and acquire keep the counters between the two changes of the version. */
#define STORE(member) atomic_store_explicit(&f->member, f->now.member, memory_order_release)

void feed_commit(feed *f)
{
    uint32_t version = atomic_load_explicit(&f->version, memory_order_relaxed);
    atomic_store_explicit(&f->version, version + 1, memory_order_relaxed);
    STORE(datagrams);
    STORE(octets);
    STORE(refused);
    STORE(dropped);
    STORE(pushed);
    atomic_store_explicit(&f->version, version + 2, memory_order_release);
    /* Counted before it can be decoded. */
    for (unsigned k = 0; k < f->n_queues; k++) {
        if (!f->at[k].put)
            continue;
        pktq_commit(f->queues[k].packets);
        f->at[k].put = false;
        f->at[k].silent = true;
    }
}

void feed_ring(feed *f)
{
    for (unsigned k = 0; k < f->n_queues; k++) {
        if (f->at[k].silent)
            bell_ring(f->queues[k].work);
        f->at[k].silent = false;
    }
    f->waiting = 0;
}

size_t feed_octets(const feed *f)
{
    size_t least = SIZE_MAX;
    for (unsigned k = 0; k < f->n_queues; k++) {
        size_t octets = pktq_octets(f->queues[k].packets);
        least = octets < least ? octets : least;
    }
    return least;
}

int feed_waiting(const feed *f)
{
    return f->waiting >= f->enough ? 2 : f->waiting > 0;
}

#define LOAD(member) out->member = atomic_load_explicit(&f->member, memory_order_acquire)

void feed_read(feed *f, struct feed_counters *out)
{
    for (;;) {
        uint32_t version = atomic_load_explicit(&f->version, memory_order_acquire);
        LOAD(datagrams);
        LOAD(octets);
        LOAD(refused);
        LOAD(dropped);
        LOAD(pushed);
        if (!(version & 1) && atomic_load_explicit(&f->version, memory_order_relaxed) == version)
            return;
    }
}

size_t feed_misses(feed *f, struct feed_miss *out, size_t n)
{
    (void)pthread_mutex_lock(&f->lock);
    n = n < f->n_misses ? n : f->n_misses;
    f->n_misses -= n;
    memcpy(out, f->misses + f->n_misses, n * sizeof *out);
    (void)pthread_mutex_unlock(&f->lock);
    return n;
}

bool feed_stranger(feed *f, weir_endpoint *out)
{
    (void)pthread_mutex_lock(&f->lock);
    *out = f->stranger;
    (void)pthread_mutex_unlock(&f->lock);
    return out->family != 0;
}
