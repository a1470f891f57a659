/* tee -- datagrams passed on as they came to other collectors over UDP, by a thread of its own behind bounded queues: who
 * receives never waits for it; what does not fit is dropped and counted.
 *
 *   receiving threads   tee_put, tee_commit, tee_ring   -> a pktq each ->   tee's thread   -> targets
 *
 * The exporter's address and port are kept where raw sockets may be had (CAP_NET_RAW): IP and UDP headers are made here. To
 * a target of the other family, and where they may not be had, datagrams come from this machine. */
#ifndef COLLECT_TEE_H
#define COLLECT_TEE_H

#include "collect/bell.h"
#include "collect/socket.h"

enum tee_source {
    TEE_SOURCE_ANY, /* the exporter's where that is allowed, else our own */
    TEE_SOURCE_OWN,
    TEE_SOURCE_EXPORTER
};

struct tee_options {
    const weir_endpoint *targets; /* n_targets, 1 and more; copied */
    size_t n_targets;
    enum tee_source source;
    unsigned n_feeders;  /* threads that put */
    size_t queue_octets; /* of all feeders */
};

typedef struct tee tee;

/* WEIR_EIO: a socket cannot be had; err names the target, the reason and a remedy. *why: with TEE_SOURCE_ANY why addresses are not
 * kept (errno), 0: they are. */
weir_status tee_new(const struct tee_options *o, tee **out, int *why, weir_err *err);
weir_status tee_start(tee *t, weir_err *err);
/* No more is put. What waits is sent until stop_by (bell_now), the rest dropped. */
void tee_stop(tee *t, int64_t stop_by);
void tee_free(tee *t); /* takes NULL; after tee_stop when it was started */

/* By the thread of a feeder. Committed datagrams are seen by the tee's thread; ring wakes it for them. */
void tee_put(tee *t, unsigned feeder, const weir_endpoint *from, const uint8_t *data, size_t len);
void tee_commit(tee *t, unsigned feeder);
void tee_ring(tee *t, unsigned feeder);
bool tee_waiting(const tee *t,
                 unsigned feeder); /* something was committed since the last tee_ring */

/* Any thread. datagrams = dropped + queued + done, and of each target done = sent + failed. */
struct tee_target_counters {
    weir_endpoint at;
    bool keeps; /* the exporter's address */
    uint64_t sent, failed,
        refused;    /* refused: times that the other side said that nobody listens */
    int last_error; /* errno of what failed, 0: nothing did */
};
struct tee_counters {
    uint64_t datagrams, dropped, queued, done;
};
size_t tee_n_targets(const tee *t);
/* All of one moment. targets: tee_n_targets of them, or NULL. */
void tee_read(tee *t, struct tee_counters *out, struct tee_target_counters *targets);

/* A target that is one of these sockets, or at the port of one that listens on all addresses and an address of this machine: its
 * datagrams would come back for ever. */
bool tee_is_loop(const weir_endpoint *target, const struct sock *socks, size_t n);

/* --- for tests: the packets that are sent over raw sockets --------------------------------------- */

enum { TEE_HEAD = 56, TEE_MAX_FRAGMENTS = 128, TEE_LEAST_MTU = 576 };

/* One IP packet: a head, then octets [at, at + len) of the datagram. */
struct tee_packet {
    uint8_t head[TEE_HEAD];
    size_t head_len, at, len;
};

/* The packets of a datagram for a link of mtu octets (at least TEE_LEAST_MTU): one, or fragments (RFC 791 section 3.2, RFC 8200
 * section 4.5). from and to are of one family; id tells the fragments of one datagram from those of another, not 0. Returns
 * how many. */
size_t tee_packets(const weir_endpoint *from, const weir_endpoint *to, const uint8_t *data,
                   size_t len, size_t mtu, uint32_t id, struct tee_packet out[TEE_MAX_FRAGMENTS]);

#endif
