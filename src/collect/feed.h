/* feed -- datagrams from a socket or a capture on their way into the workers' queues: strangers are refused, each goes to
 * the worker of its exporter, what does not fit is dropped and remembered by exporter. One thread feeds. It takes no lock
 * and no memory, except to note a packet that is refused or dropped. */
#ifndef COLLECT_FEED_H
#define COLLECT_FEED_H

#include "collect/allow.h"
#include "collect/bell.h"
#include "collect/pktq.h"

/* A queue and who waits at its other end. */
struct feed_queue {
    pktq *packets;
    struct bell *work;
};

struct feed_counters {
    uint64_t datagrams, octets;
    uint64_t refused, dropped, pushed; /* the sum of these is datagrams */
};

/* Packets of one address that went nowhere. */
struct feed_miss {
    weir_endpoint from;  /* family 0: of addresses that there was no room to remember */
    int64_t received_ns; /* of the latest */
    uint64_t refused, dropped;
};

typedef struct feed feed;

/* queues: n of them, one a worker, borrowed. NULL: out of memory. */
feed *feed_new(const struct allow *allow, struct feed_queue *queues, unsigned n);
void feed_free(feed *f); /* takes NULL */

/* Put a datagram into its worker's queue, or refuse or drop it; feed_commit lets the workers see those that were put, and
 * everybody the counters; feed_ring wakes the workers for whom there is something. fits: there is room for it now, for those
 * who can wait. */
void feed_packet(feed *f, const weir_endpoint *from, int64_t received_ns, const uint8_t *data,
                 size_t len);
bool feed_lets_in(const feed *f, const weir_endpoint *from); /* it is not refused */
bool feed_fits(feed *f, const weir_endpoint *from, size_t len);
void feed_commit(feed *f);
void feed_ring(feed *f);
/* How much was committed since the last feed_ring: 0 nothing, 1 some, 2 enough to wake somebody for it. */
int feed_waiting(const feed *f);
size_t feed_octets(const feed *f); /* of its smallest queue */

/* Any thread: what was committed, all of one moment. */
void feed_read(feed *f, struct feed_counters *out);
/* Any thread: take what went nowhere since the last call, at most n of it. */
size_t feed_misses(feed *f, struct feed_miss *out, size_t n);
/* Any thread: the last one refused, for a warning; false: none ever was. */
bool feed_stranger(feed *f, weir_endpoint *out);

#endif
