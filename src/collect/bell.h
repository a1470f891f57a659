/* bell -- wake one thread from others: a ring is remembered until somebody has waited for it, so none is lost
 * and many rings before a wait are one. A ring that nobody waits for costs one atomic exchange. Also the monotonic clock
 * that its deadlines are on. */
#ifndef COLLECT_BELL_H
#define COLLECT_BELL_H

#include <linux/futex.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { BELL_US = 1000, BELL_MS = 1000000, BELL_S = 1000000000 }; /* in ns */

enum { BELL_QUIET, BELL_RUNG, BELL_AWAITED };

/* Zero-initialised: quiet. */
struct bell {
    _Atomic uint32_t state;
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

static inline void bell_ring(struct bell *b)
{
    if (atomic_exchange(&b->state, BELL_RUNG) == BELL_AWAITED)
        (void)syscall(SYS_futex, &b->state, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* Until somebody rings or until_ns of bell_now has come. One thread at a time. */
static inline void bell_wait(struct bell *b, int64_t until_ns)
{
    struct timespec t = {.tv_sec = until_ns / BELL_S, .tv_nsec = until_ns % BELL_S};
    uint32_t quiet = BELL_QUIET;
    if (until_ns > 0 && atomic_compare_exchange_strong(&b->state, &quiet, BELL_AWAITED)) {
        /* Spurious returns are sorted out by the loop, the deadline is an absolute one. */
        while (atomic_load(&b->state) == BELL_AWAITED && bell_now() < until_ns)
            (void)syscall(SYS_futex, &b->state, FUTEX_WAIT_BITSET_PRIVATE, BELL_AWAITED, &t, NULL,
                          FUTEX_BITSET_MATCH_ANY);
    }
    atomic_store(&b->state, BELL_QUIET);
}

#endif
