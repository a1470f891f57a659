/* receiver -- one thread that takes datagrams from the sockets of one worker and feeds them on, whatever the threads behind
 * it are doing: decoding, writing and asking for numbers never make it wait. */
#ifndef COLLECT_RECEIVER_H
#define COLLECT_RECEIVER_H

#include "collect/feed.h"
#include "collect/socket.h"
#include "collect/tee.h"

typedef struct receiver receiver;

/* Takes over socks (n of them, closed by receiver_free). index of n_workers: datagrams whose sender belongs to another worker
 * are counted as misdirected (n_workers 1: none are). NULL: err says why. */
receiver *receiver_new(struct sock *socks, size_t n, feed *f, unsigned index, unsigned n_workers,
                       weir_err *err);
/* Pass on what is let in, as feeder `index`. Before the start; t is borrowed until receiver_stop. */
void receiver_tee(receiver *r, tee *t);
weir_status receiver_start(receiver *r, weir_err *err);

/* Take what had arrived when this is called, within drain_ns, and end the thread. */
void receiver_stop(receiver *r, int64_t drain_ns, struct bell *room);
void receiver_free(receiver *r); /* takes NULL; after receiver_stop when it was started */

/* Any thread. */
struct receiver_counters {
    uint64_t kernel_drops, errors, misdirected;
    int64_t since_ns; /* bell_now of the start, 0: not yet */
    uint64_t buffer;  /* octets that the kernel granted, of all sockets */
    int last_error;   /* errno */
};
void receiver_read(receiver *r, struct receiver_counters *out);
size_t receiver_n_socks(const receiver *r);
/* Copies of its sockets with their counters, and what its feed had counted at that moment. */
void receiver_socks(receiver *r, struct sock *out, struct feed_counters *fed);
/* The one of them that lost most. */
struct sock receiver_worst(receiver *r);

#endif
