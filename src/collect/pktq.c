#include "collect/pktq.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { UNIT = 8, LEAST = 256 * 1024 };

/* Where what waits begins and ends, in units of 8 octets. [tail, head) waits; when head < tail it is [tail, wrap) and then
 * [0, head). head == tail: empty, so the writer never fills the last unit before tail. Both change at once, so that the
 * writer can begin anew at 0 when the reader has taken all. */
struct ends {
    uint32_t head, tail;
};

struct pktq {
    uint8_t *mem;
    uint32_t cap;
    _Atomic uint64_t ends; /* struct ends: head above tail */
    _Atomic uint32_t wrap; /* written before the head that goes round */
    atomic_bool closed;
    /* the writer's own: */
    _Alignas(64) uint32_t put_head, put_tail, put_wrap; /* put_tail: tail as last seen */
    bool put_some;                                      /* since the last commit */
    /* the reader's own: */
    _Alignas(64) uint32_t take_at, take_head, take_wrap;
    bool took_some; /* since the last release */
};

static uint64_t pack(struct ends e)
{
    return (uint64_t)e.head << 32 | e.tail;
}

static struct ends ends_of(uint64_t v)
{
    return (struct ends){.head = (uint32_t)(v >> 32), .tail = (uint32_t)v};
}

pktq *pktq_new(size_t octets)
{
    pktq *q = aligned_alloc(64, sizeof *q);
    if (!q)
        return NULL;
    *q = (struct pktq){0};
    size_t units = (octets < LEAST ? LEAST : octets) / UNIT;
    q->cap = units > UINT32_MAX ? UINT32_MAX : (uint32_t)units;
    q->mem = mmap(NULL, (size_t)q->cap * UNIT, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (q->mem == MAP_FAILED) {
        free(q);
        return NULL;
    }
    return q;
}

void pktq_free(pktq *q)
{
    if (!q)
        return;
    (void)munmap(q->mem, (size_t)q->cap * UNIT);
    free(q);
}

size_t pktq_octets(const pktq *q)
{
    return (size_t)q->cap * UNIT;
}

/* What the reader has given back; from the beginning again when that is all. */
static void see_tail(pktq *q)
{
    uint64_t seen = atomic_load_explicit(&q->ends, memory_order_acquire);
    struct ends e = ends_of(seen);
    if (e.head == e.tail && e.head && q->put_head == e.head &&
        atomic_compare_exchange_strong(&q->ends, &seen, 0))
        e.tail = q->put_head = 0;
    q->put_tail = e.tail;
}

/* Where n units fit, from what the writer knows of tail; UINT32_MAX: nowhere. */
static uint32_t room(pktq *q, uint32_t n)
{
    if (q->put_head >= q->put_tail) {
        if (q->cap - q->put_head > n)
            return q->put_head;
        if (n < q->put_tail) {
            q->put_wrap = q->put_head;
            return 0;
        }
        return UINT32_MAX;
    }
    return q->put_tail - q->put_head > n ? q->put_head : UINT32_MAX;
}

static uint32_t units_of(size_t len)
{
    return (uint32_t)((sizeof(struct pktq_item) + len + UNIT - 1) / UNIT);
}

/* The same, after a look at what the reader has given back. */
static uint32_t find_room(pktq *q, uint32_t n)
{
    if (!q->put_some)
        see_tail(q);
    uint32_t at = room(q, n);
    if (at == UINT32_MAX) {
        see_tail(q);
        at = room(q, n);
    }
    return at;
}

bool pktq_fits(pktq *q, size_t len)
{
    return find_room(q, units_of(len)) != UINT32_MAX;
}

bool pktq_put(pktq *q, const weir_endpoint *from, int64_t received_ns, const void *data, size_t len)
{
    uint32_t n = units_of(len);
    uint32_t at = find_room(q, n);
    if (at == UINT32_MAX)
        return false;
    struct pktq_item *item = (struct pktq_item *)(void *)(q->mem + (size_t)at * UNIT);
    item->received_ns = received_ns;
    item->from = *from;
    item->len = (uint32_t)len;
    if (len)
        memcpy(item->data, data, len);
    q->put_head = at + n;
    q->put_some = true;
    return true;
}

void pktq_commit(pktq *q)
{
    if (!q->put_some)
        return;
    atomic_store_explicit(&q->wrap, q->put_wrap, memory_order_relaxed);
    uint64_t seen = atomic_load_explicit(&q->ends, memory_order_relaxed), now;
    do
        now = pack((struct ends){.head = q->put_head, .tail = ends_of(seen).tail});
    while (!atomic_compare_exchange_weak_explicit(&q->ends, &seen, now, memory_order_release,
                                                  memory_order_relaxed));
    q->put_some = false;
}

void pktq_close(pktq *q)
{
    pktq_commit(q);
    atomic_store(&q->closed, true);
}

const struct pktq_item *pktq_take(pktq *q)
{
    if (q->take_at == q->take_head || !q->took_some) {
        struct ends e = ends_of(atomic_load_explicit(&q->ends, memory_order_acquire));
        if (!q->took_some) /* the writer may have started again */
            q->take_at = e.tail;
        q->take_head = e.head;
        q->take_wrap = atomic_load_explicit(&q->wrap, memory_order_relaxed);
        if (q->take_at == q->take_head)
            return NULL;
    }
    if (q->take_head < q->take_at && q->take_at == q->take_wrap)
        q->take_at = 0;
    const struct pktq_item *item =
        (const struct pktq_item *)(void *)(q->mem + (size_t)q->take_at * UNIT);
    q->take_at += units_of(item->len);
    q->took_some = true;
    return item;
}

void pktq_release(pktq *q)
{
    if (!q->took_some)
        return;
    uint64_t seen = atomic_load_explicit(&q->ends, memory_order_relaxed), now;
    do
        now = pack((struct ends){.head = ends_of(seen).head, .tail = q->take_at});
    while (!atomic_compare_exchange_weak_explicit(&q->ends, &seen, now, memory_order_release,
                                                  memory_order_relaxed));
    q->took_some = false;
}

bool pktq_empty(pktq *q)
{
    struct ends e = ends_of(atomic_load_explicit(&q->ends, memory_order_acquire));
    return e.head == e.tail;
}

bool pktq_closed(pktq *q)
{
    bool closed = atomic_load(&q->closed); /* before the ends: nothing comes after it */
    return closed && pktq_empty(q);
}

unsigned pktq_filled(pktq *q)
{
    struct ends e = ends_of(atomic_load_explicit(&q->ends, memory_order_acquire));
    uint64_t wrap = atomic_load_explicit(&q->wrap, memory_order_relaxed);
    uint64_t used = e.head >= e.tail ? e.head - e.tail
                    : wrap > e.tail  ? wrap - e.tail + e.head
                                     : e.head;
    used = used > q->cap ? q->cap : used;
    return (unsigned)(used * 1000 / q->cap);
}
