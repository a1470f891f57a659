#include "collect/tee.h"

#include "base/err.h"
#include "collect/pktq.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
    BATCH = 64,                           /* datagrams at a time */
    MESSAGES = BATCH + TEE_MAX_FRAGMENTS, /* of one call at most */
    SEND_BUFFER = 4 << 20,                /* asked for; the kernel may grant less */
    FULL_MS = 20,                         /* a full send buffer is waited for */
    FULL_TRIES = 5,
    IDLE_S = 1,
    IPV4_HEADER = 20,
    IPV6_HEADER = 40,
    UDP_HEADER = 8,
    FRAGMENT_HEADER = 8,
    SMALL = 1200, /* octets that fit every link, with headers */
    HOPS = 64,
    LEAST_QUEUE = 1 << 20
};

struct target {
    weir_endpoint at;
    struct sockaddr_storage address;
    socklen_t address_len;
    int own, raw; /* sockets; raw -1: addresses are not kept */
    uint64_t sent, failed, refused;
    uint64_t failing; /* of the batch at hand */
    int last_error;
};

/* What one receiving thread puts. */
struct feeder {
    pktq *packets;
    uint64_t pushed, dropped; /* its own */
    bool put, silent;         /* since the last commit, the last ring */
    _Atomic uint64_t seen_pushed, seen_dropped;
};

struct tee {
    struct target *targets;
    size_t n_targets;
    struct feeder *feeders;
    unsigned n_feeders;
    struct bell work;
    pthread_t thread;
    bool started;
    atomic_llong stop_by; /* bell_now; 0: not stopping */
    uint32_t id;          /* of the last fragmented datagram */

    pthread_mutex_t lock;    /* of targets' counters and these */
    uint64_t done, given_up; /* given_up: dropped at the end */

    /* the batch at hand */
    struct mmsghdr messages[MESSAGES];
    struct iovec iov[MESSAGES][2];
    struct tee_packet packets[MESSAGES];
    uint8_t item_of[MESSAGES];
    size_t n;
    bool lost[BATCH];
};

/* ---- packets ---- */

/* Sum of 16-bit words in memory order, an odd octet at the end filled with 0 (RFC 1071). */
static uint64_t sum_of(uint64_t sum, const uint8_t *p, size_t len)
{
    for (; len >= 4; p += 4, len -= 4) {
        uint32_t v;
        memcpy(&v, p, 4);
        sum += v;
    }
    if (len) {
        uint32_t v = 0;
        memcpy(&v, p, len);
        sum += v;
    }
    return sum;
}

static uint16_t folded(uint64_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

static void put16(uint8_t *p, size_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
    put16(p, v >> 16);
    put16(p + 2, v & 0xffff);
}

static void udp_header(const weir_endpoint *from, const weir_endpoint *to, const uint8_t *data,
                       size_t len, uint8_t *p)
{
    size_t addr = from->family == 4 ? 4 : 16;
    uint8_t pseudo[8] = {0};
    put16(p, from->port);
    put16(p + 2, to->port);
    put16(p + 4, UDP_HEADER + len);
    put16(p + 6, 0);
    put16(pseudo + 2, UDP_HEADER + len);
    pseudo[7] = IPPROTO_UDP; /* the sum is the same for both layouts of the pseudo header */
    uint64_t sum = sum_of(0, from->addr, addr);
    sum = sum_of(sum, to->addr, addr);
    sum = sum_of(sum, pseudo, sizeof pseudo);
    sum = sum_of(sum, p, UDP_HEADER);
    uint16_t check = folded(sum_of(sum, data, len));
    if (!check)
        check = 0xffff; /* 0: no checksum */
    memcpy(p + 6, &check, 2);
}

/* Before `rest` octets of the datagram from `off` on. */
static size_t ip_header(const weir_endpoint *from, const weir_endpoint *to, size_t off, size_t rest,
                        bool fragment, bool last, uint32_t id, uint8_t *p)
{
    if (from->family == 4) {
        memset(p, 0, IPV4_HEADER);
        p[0] = 0x45;
        put16(p + 2, IPV4_HEADER + rest);
        put16(p + 4, fragment ? id & 0xffffU : 0U); /* 0: the kernel finds one */
        put16(p + 6, off / 8 | (last ? 0U : 0x2000U));
        p[8] = HOPS;
        p[9] = IPPROTO_UDP;
        memcpy(p + 12, from->addr, 4);
        memcpy(p + 16, to->addr, 4);
        uint16_t check = folded(sum_of(0, p, IPV4_HEADER));
        memcpy(p + 10, &check, 2);
        return IPV4_HEADER;
    }
    memset(p, 0, IPV6_HEADER);
    p[0] = 0x60;
    put16(p + 4, rest + (fragment ? FRAGMENT_HEADER : 0));
    p[6] = fragment ? IPPROTO_FRAGMENT : IPPROTO_UDP;
    p[7] = HOPS;
    memcpy(p + 8, from->addr, 16);
    memcpy(p + 24, to->addr, 16);
    if (!fragment)
        return IPV6_HEADER;
    p += IPV6_HEADER;
    p[0] = IPPROTO_UDP;
    p[1] = 0;
    put16(p + 2, off | (last ? 0U : 1U));
    put32(p + 4, id);
    return IPV6_HEADER + FRAGMENT_HEADER;
}

size_t tee_packets(const weir_endpoint *from, const weir_endpoint *to, const uint8_t *data,
                   size_t len, size_t mtu, uint32_t id, struct tee_packet out[TEE_MAX_FRAGMENTS])
{
    size_t header = from->family == 4 ? IPV4_HEADER : IPV6_HEADER, all = UDP_HEADER + len;
    bool fragment = header + all > mtu;
    size_t most =
        fragment ? (mtu - header - (from->family == 4 ? 0 : FRAGMENT_HEADER)) & ~(size_t)7 : all;
    size_t n = 0;
    for (size_t off = 0; off < all && n < TEE_MAX_FRAGMENTS; n++) {
        struct tee_packet *p = &out[n];
        size_t piece = all - off < most ? all - off : most;
        p->head_len = ip_header(from, to, off, piece, fragment, off + piece == all, id, p->head);
        p->at = off ? off - UDP_HEADER : 0;
        p->len = off ? piece : piece - UDP_HEADER;
        if (!off) {
            udp_header(from, to, data, len, p->head + p->head_len);
            p->head_len += UDP_HEADER;
        }
        off += piece;
    }
    return n;
}

/* ---- sockets ---- */

static socklen_t address_of(const weir_endpoint *e, bool port, struct sockaddr_storage *out)
{
    memset(out, 0, sizeof *out);
    if (e->family == 4) {
        struct sockaddr_in *in = (struct sockaddr_in *)(void *)out;
        in->sin_family = AF_INET;
        in->sin_port = htons(port ? e->port : 0);
        memcpy(&in->sin_addr, e->addr, 4);
        return sizeof *in;
    }
    struct sockaddr_in6 *in = (struct sockaddr_in6 *)(void *)out;
    in->sin6_family = AF_INET6;
    in->sin6_port = htons(port ? e->port : 0);
    memcpy(&in->sin6_addr, e->addr, 16);
    return sizeof *in;
}

static int open_socket(const weir_endpoint *at, int type, int protocol)
{
    int size = SEND_BUFFER;
    int fd =
        socket(at->family == 4 ? AF_INET : AF_INET6, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
    if (fd >= 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    return fd;
}

static weir_status open_target(struct target *t, enum tee_source source, int *why, weir_err *err)
{
    char name[WEIR_ENDPOINT_TEXT];
    struct sockaddr_storage to;
    (void)weir_endpoint_text(&t->at, name);
    socklen_t len = address_of(&t->at, true, &to);
    t->own = open_socket(&t->at, SOCK_DGRAM, 0);
    if (t->own < 0 || connect(t->own, (struct sockaddr *)&to, len) != 0)
        return weir_err_set(err, WEIR_EIO, 0, "cannot pass datagrams on to %s: %s", name,
                            strerror(errno));
    /* Raw sockets of IPv6 want no port. */
    t->address_len = address_of(&t->at, false, &t->address);
    if (source == TEE_SOURCE_OWN)
        return WEIR_OK;
    t->raw = open_socket(&t->at, SOCK_RAW, IPPROTO_RAW);
    if (t->raw >= 0)
        return WEIR_OK;
    *why = errno;
    return source == TEE_SOURCE_ANY
               ? WEIR_OK
               : weir_err_set(err, WEIR_EIO, 0,
                              "cannot keep exporters' addresses towards %s: %s (grant CAP_NET_RAW, "
                              "or pass --tee-source own)",
                              name, strerror(*why));
}

weir_status tee_new(const struct tee_options *o, tee **out, int *why, weir_err *err)
{
    tee *t = calloc(1, sizeof *t);
    *why = 0;
    if (t) {
        (void)pthread_mutex_init(&t->lock, NULL);
        t->targets = calloc(o->n_targets, sizeof *t->targets);
        t->feeders = calloc(o->n_feeders, sizeof *t->feeders);
        t->id = (uint32_t)bell_clock();
    }
    size_t octets = o->queue_octets / o->n_feeders;
    for (unsigned i = 0; t && t->feeders && i < o->n_feeders; i++, t->n_feeders++)
        if (!(t->feeders[i].packets = pktq_new(octets > LEAST_QUEUE ? octets : LEAST_QUEUE)))
            break;
    if (!t || !t->targets || t->n_feeders < o->n_feeders) {
        tee_free(t);
        return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory for passing datagrams on");
    }
    for (size_t i = 0; i < o->n_targets; i++)
        t->targets[t->n_targets++] = (struct target){.at = o->targets[i], .own = -1, .raw = -1};
    for (size_t i = 0; i < o->n_targets; i++) {
        weir_status s = open_target(&t->targets[i], o->source, why, err);
        if (s != WEIR_OK) {
            tee_free(t);
            return s;
        }
    }
    *out = t;
    return WEIR_OK;
}

void tee_free(tee *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->n_targets; i++) {
        if (t->targets[i].own >= 0)
            (void)close(t->targets[i].own);
        if (t->targets[i].raw >= 0)
            (void)close(t->targets[i].raw);
    }
    for (unsigned i = 0; i < t->n_feeders; i++)
        pktq_free(t->feeders[i].packets);
    (void)pthread_mutex_destroy(&t->lock);
    free(t->targets);
    free(t->feeders);
    free(t);
}

static bool is_any(const weir_endpoint *e)
{
    static const uint8_t zero[16];
    return memcmp(e->addr, zero, e->family == 4 ? 4 : 16) == 0;
}

/* Whether a socket can be bound to it. */
static bool is_local(const weir_endpoint *e)
{
    struct sockaddr_storage at;
    socklen_t len = address_of(e, false, &at);
    int fd = socket(at.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool local = fd >= 0 && bind(fd, (struct sockaddr *)&at, len) == 0;
    if (fd >= 0)
        (void)close(fd);
    return local;
}

bool tee_is_loop(const weir_endpoint *target, const struct sock *socks, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const weir_endpoint *at = &socks[i].at;
        if (at->family != target->family || at->port != target->port)
            continue;
        if (memcmp(at->addr, target->addr, sizeof at->addr) == 0 || is_any(target) ||
            (is_any(at) && is_local(target)))
            return true;
    }
    return false;
}

/* ---- feeders ---- */

void tee_put(tee *t, unsigned feeder, const weir_endpoint *from, const uint8_t *data, size_t len)
{
    struct feeder *f = &t->feeders[feeder];
    if (pktq_put(f->packets, from, 0, data, len)) {
        f->pushed++;
        f->put = true;
    } else {
        f->dropped++;
    }
}

void tee_commit(tee *t, unsigned feeder)
{
    struct feeder *f = &t->feeders[feeder];
    atomic_store_explicit(&f->seen_dropped, f->dropped, memory_order_release);
    atomic_store_explicit(&f->seen_pushed, f->pushed, memory_order_release);
    if (!f->put)
        return;
    pktq_commit(f->packets); /* counted before it can be sent */
    f->put = false;
    f->silent = true;
}

void tee_ring(tee *t, unsigned feeder)
{
    if (t->feeders[feeder].silent)
        bell_ring(&t->work);
    t->feeders[feeder].silent = false;
}

bool tee_waiting(const tee *t, unsigned feeder)
{
    return t->feeders[feeder].silent;
}

/* ---- sending ---- */

static void note_error(tee *t, struct target *to, int e)
{
    (void)pthread_mutex_lock(&t->lock);
    if (e == ECONNREFUSED)
        to->refused++;
    to->last_error = e;
    (void)pthread_mutex_unlock(&t->lock);
}

/* All messages that were made, into one socket. */
static void flush(tee *t, struct target *to, int fd)
{
    int full = 0;
    bool again = false;
    for (size_t at = 0; at < t->n;) {
        int k = sendmmsg(fd, t->messages + at, (unsigned)(t->n - at), MSG_DONTWAIT);
        if (k > 0) {
            at += (size_t)k;
            full = 0;
            again = false;
            continue;
        }
        int e = errno;
        if (e == EINTR)
            continue;
        if ((e == EAGAIN || e == ENOBUFS) && full++ < FULL_TRIES) {
            struct pollfd p = {.fd = fd, .events = POLLOUT};
            if (e == ENOBUFS || poll(&p, 1, FULL_MS) == 0)
                (void)poll(NULL, 0, 1);
            continue;
        }
        note_error(t, to, e);
        if (e == ECONNREFUSED && !again) { /* said of one before: this one was not tried */
            again = true;
            continue;
        }
        t->lost[t->item_of[at++]] = true;
        full = 0;
        again = false;
    }
    t->n = 0;
}

static void add_message(tee *t, const struct target *to, size_t item, const struct pktq_item *p)
{
    size_t i = t->n++;
    struct tee_packet *packet = &t->packets[i];
    struct msghdr *h = &t->messages[i].msg_hdr;
    t->item_of[i] = (uint8_t)item;
    t->iov[i][0] = (struct iovec){packet->head, packet->head_len};
    t->iov[i][1] = (struct iovec){(void *)(uintptr_t)(p->data + packet->at), packet->len};
    *h = (struct msghdr){.msg_iov = t->iov[i], .msg_iovlen = 2};
    if (packet->head_len) {
        h->msg_name = (void *)(uintptr_t)&to->address;
        h->msg_namelen = to->address_len;
    }
}

/* What a packet to the target may have. */
static size_t mtu_of(const struct target *to)
{
    int mtu = 0;
    socklen_t len = sizeof mtu;
    bool v4 = to->at.family == 4;
    int r = getsockopt(to->own, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_MTU : IPV6_MTU, &mtu, &len);
    return r == 0 && mtu >= TEE_LEAST_MTU ? (size_t)mtu : v4 ? TEE_LEAST_MTU : 1280;
}

static bool keeps(const struct target *to, const struct pktq_item *p)
{
    return to->raw >= 0 && p->from.family == to->at.family;
}

static void send_kept(tee *t, struct target *to, const struct pktq_item *const *items, size_t n)
{
    size_t mtu = 0;
    for (size_t i = 0; i < n; i++) {
        const struct pktq_item *p = items[i];
        if (!keeps(to, p))
            continue;
        if (t->n > MESSAGES - TEE_MAX_FRAGMENTS)
            flush(t, to, to->raw);
        if (p->len > SMALL && !mtu)
            mtu = mtu_of(to);
        if (p->len > SMALL && !++t->id)
            t->id = 1;
        size_t k = tee_packets(&p->from, &to->at, p->data, p->len, p->len > SMALL ? mtu : SIZE_MAX,
                               t->id, &t->packets[t->n]);
        for (; k > 0; k--)
            add_message(t, to, i, p);
    }
    flush(t, to, to->raw);
}

static void send_own(tee *t, struct target *to, const struct pktq_item *const *items, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (keeps(to, items[i]))
            continue;
        t->packets[t->n] = (struct tee_packet){.len = items[i]->len};
        add_message(t, to, i, items[i]);
    }
    flush(t, to, to->own);
}

/* Some of what a feeder has put; returns how many datagrams. */
static size_t pass_on(tee *t, struct feeder *f)
{
    const struct pktq_item *items[BATCH];
    size_t n = 0;
    while (n < BATCH && (items[n] = pktq_take(f->packets)))
        n++;
    if (!n)
        return 0;
    for (size_t i = 0; i < t->n_targets; i++) {
        struct target *to = &t->targets[i];
        memset(t->lost, 0, sizeof t->lost);
        if (to->raw >= 0)
            send_kept(t, to, items, n);
        send_own(t, to, items, n);
        to->failing = 0;
        for (size_t k = 0; k < n; k++)
            to->failing += t->lost[k];
    }
    (void)pthread_mutex_lock(&t->lock);
    for (size_t i = 0; i < t->n_targets; i++) {
        t->targets[i].failed += t->targets[i].failing;
        t->targets[i].sent += n - t->targets[i].failing;
    }
    t->done += n;
    (void)pthread_mutex_unlock(&t->lock);
    pktq_release(f->packets);
    return n;
}

/* The time is over: the rest is dropped. */
static void give_up(tee *t)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < t->n_feeders; i++) {
        while (pktq_take(t->feeders[i].packets))
            n++;
        pktq_release(t->feeders[i].packets);
    }
    (void)pthread_mutex_lock(&t->lock);
    t->given_up += n;
    (void)pthread_mutex_unlock(&t->lock);
}

static void *run(void *arg)
{
    tee *t = arg;
    for (;;) {
        int64_t stop_by = atomic_load(&t->stop_by);
        size_t n = 0;
        for (unsigned i = 0; i < t->n_feeders; i++)
            n += pass_on(t, &t->feeders[i]);
        if (stop_by && (!n || bell_now() >= stop_by))
            break;
        if (!n)
            bell_wait(&t->work, bell_now() + IDLE_S * (int64_t)BELL_S);
    }
    give_up(t);
    return NULL;
}

weir_status tee_start(tee *t, weir_err *err)
{
    int failed = pthread_create(&t->thread, NULL, run, t);
    if (failed)
        return weir_err_set(err, WEIR_ENOMEM, 0, "cannot start a thread: %s", strerror(failed));
    t->started = true;
    return WEIR_OK;
}

void tee_stop(tee *t, int64_t stop_by)
{
    if (!t->started)
        return;
    atomic_store(&t->stop_by, stop_by);
    bell_ring(&t->work);
    (void)pthread_join(t->thread, NULL);
    t->started = false;
}

/* ---- counters ---- */

size_t tee_n_targets(const tee *t)
{
    return t->n_targets;
}

void tee_read(tee *t, struct tee_counters *out, struct tee_target_counters *targets)
{
    *out = (struct tee_counters){0};
    (void)pthread_mutex_lock(&t->lock);
    out->done = t->done;
    uint64_t given_up = t->given_up, pushed = 0;
    for (size_t i = 0; targets && i < t->n_targets; i++) {
        const struct target *to = &t->targets[i];
        targets[i] = (struct tee_target_counters){.at = to->at,
                                                  .keeps = to->raw >= 0,
                                                  .sent = to->sent,
                                                  .failed = to->failed,
                                                  .refused = to->refused,
                                                  .last_error = to->last_error};
    }
    (void)pthread_mutex_unlock(&t->lock);
    for (unsigned i = 0; i < t->n_feeders; i++) { /* after `done`: what is done was pushed before */
        pushed += atomic_load_explicit(&t->feeders[i].seen_pushed, memory_order_acquire);
        out->dropped += atomic_load_explicit(&t->feeders[i].seen_dropped, memory_order_acquire);
    }
    out->datagrams = pushed + out->dropped;
    out->queued = pushed - out->done - given_up;
    out->dropped += given_up;
}
