/* bell -- wake one thread from another: a ring is remembered until somebody has waited for it, so none is lost
 * and many rings before a wait are one. Also the monotonic clock that its deadlines are on. */
#ifndef COLLECT_BELL_H
#define COLLECT_BELL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

enum { BELL_US = 1000, BELL_MS = 1000000, BELL_S = 1000000000 }; /* in ns */

struct bell {
    pthread_mutex_t lock;
    pthread_cond_t rings;
    bool rung;
};

static inline int64_t bell_now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * BELL_S + t.tv_nsec;
}

static inline int64_t bell_clock(void) /* ns since 1970-01-01 UTC */
{
    struct timespec t;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * BELL_S + t.tv_nsec;
}

static inline void bell_init(struct bell *b)
{
    pthread_condattr_t a;
    (void)pthread_condattr_init(&a);
    (void)pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&b->rings, &a);
    (void)pthread_condattr_destroy(&a);
    (void)pthread_mutex_init(&b->lock, NULL);
    b->rung = false;
}

static inline void bell_done(struct bell *b)
{
    (void)pthread_cond_destroy(&b->rings);
    (void)pthread_mutex_destroy(&b->lock);
}

static inline void bell_ring(struct bell *b)
{
    (void)pthread_mutex_lock(&b->lock);
    if (!b->rung) {
        b->rung = true;
        (void)pthread_cond_signal(&b->rings);
    }
    (void)pthread_mutex_unlock(&b->lock);
}

/* Until somebody rings or until_ns of bell_now has come. */
static inline void bell_wait(struct bell *b, int64_t until_ns)
{
    struct timespec t = {.tv_sec = until_ns / BELL_S, .tv_nsec = until_ns % BELL_S};
    (void)pthread_mutex_lock(&b->lock);
    while (!b->rung && pthread_cond_timedwait(&b->rings, &b->lock, &t) == 0)
        ;
    b->rung = false;
    (void)pthread_mutex_unlock(&b->lock);
}

#endif
