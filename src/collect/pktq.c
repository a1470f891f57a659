#include "collect/pktq.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Octets [tail, head) wait; when head < tail they are [tail, wrap) and then [0, head). head == tail: empty, so
 * the writer never fills the last octet before tail. */
struct pktq {
    uint8_t *mem;
    size_t cap;
    pthread_mutex_t lock; /* of the next four */
    size_t head, tail, wrap;
    bool closed;
    /* the writer's own: */
    size_t put_head, put_tail, put_wrap; /* put_tail: tail as last seen */
    bool put_some;                       /* since the last commit */
    /* the reader's own: */
    size_t take_at, take_head, take_wrap;
    bool took_some; /* since the last release */
};

pktq *pktq_new(size_t octets)
{
    pktq *q = calloc(1, sizeof *q);
    if (!q)
        return NULL;
    q->cap = octets < 256 * 1024 ? 256 * 1024 : octets & ~(size_t)7;
    q->mem = mmap(NULL, q->cap, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                  -1, 0);
    if (q->mem == MAP_FAILED) {
        free(q);
        return NULL;
    }
    (void)pthread_mutex_init(&q->lock, NULL);
    return q;
}

void pktq_free(pktq *q)
{
    if (!q)
        return;
    (void)munmap(q->mem, q->cap);
    (void)pthread_mutex_destroy(&q->lock);
    free(q);
}

static void see_tail(pktq *q)
{
    (void)pthread_mutex_lock(&q->lock);
    if (q->head == q->tail && q->put_head == q->head) /* empty and nothing put: start again */
        q->head = q->tail = q->put_head = 0;
    q->put_tail = q->tail;
    (void)pthread_mutex_unlock(&q->lock);
}

/* Where n octets fit, from what the writer knows of tail; SIZE_MAX: nowhere. */
static size_t room(pktq *q, size_t n)
{
    if (q->put_head >= q->put_tail) {
        if (q->cap - q->put_head > n)
            return q->put_head;
        if (n < q->put_tail) {
            q->put_wrap = q->put_head;
            return 0;
        }
        return SIZE_MAX;
    }
    return q->put_tail - q->put_head > n ? q->put_head : SIZE_MAX;
}

bool pktq_put(pktq *q, const weir_endpoint *from, int64_t received_ns, const void *data, size_t len)
{
    size_t n = (sizeof(struct pktq_item) + len + 7) & ~(size_t)7;
    if (!q->put_some)
        see_tail(q);
    size_t at = room(q, n);
    if (at == SIZE_MAX) {
        see_tail(q);
        at = room(q, n);
        if (at == SIZE_MAX)
            return false;
    }
    struct pktq_item *item = (struct pktq_item *)(void *)(q->mem + at);
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
    (void)pthread_mutex_lock(&q->lock);
    q->head = q->put_head;
    q->wrap = q->put_wrap;
    (void)pthread_mutex_unlock(&q->lock);
    q->put_some = false;
}

void pktq_close(pktq *q)
{
    pktq_commit(q);
    (void)pthread_mutex_lock(&q->lock);
    q->closed = true;
    (void)pthread_mutex_unlock(&q->lock);
}

const struct pktq_item *pktq_take(pktq *q)
{
    if (q->take_at == q->take_head || !q->took_some) {
        (void)pthread_mutex_lock(&q->lock);
        if (!q->took_some) /* the writer may have started again */
            q->take_at = q->tail;
        q->take_head = q->head;
        q->take_wrap = q->wrap;
        (void)pthread_mutex_unlock(&q->lock);
        if (q->take_at == q->take_head)
            return NULL;
    }
    if (q->take_head < q->take_at && q->take_at == q->take_wrap)
        q->take_at = 0;
    const struct pktq_item *item = (const struct pktq_item *)(void *)(q->mem + q->take_at);
    q->take_at += (sizeof *item + item->len + 7) & ~(size_t)7;
    q->took_some = true;
    return item;
}

void pktq_release(pktq *q)
{
    if (!q->took_some)
        return;
    (void)pthread_mutex_lock(&q->lock);
    q->tail = q->take_at;
    (void)pthread_mutex_unlock(&q->lock);
    q->took_some = false;
}

bool pktq_closed(pktq *q)
{
    (void)pthread_mutex_lock(&q->lock);
    bool closed = q->closed && q->head == q->tail;
    (void)pthread_mutex_unlock(&q->lock);
    return closed;
}

unsigned pktq_filled(pktq *q)
{
    (void)pthread_mutex_lock(&q->lock);
    size_t used = q->head >= q->tail ? q->head - q->tail : q->wrap - q->tail + q->head;
    (void)pthread_mutex_unlock(&q->lock);
    return (unsigned)(used / (q->cap / 1000));
}
