#include "collect/receiver.h"

#include "base/err.h"
#include "collect/steer.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Between two looks at the sockets it naps, so that many datagrams share what waking up costs; never longer than half of the
 * receive buffer takes to fill, should 16 times as much come as lately, or 2 Gbit/s. The decoding thread is woken when there
 * is enough (feed_waiting), or after a while. */
enum {
    NAP_MAX_NS = 10 * BELL_MS,
    NAP_MIN_NS = 50 * BELL_US,
    BURST = 16,
    BURST_OCTETS_PER_S = 250000000
};
enum { WAIT_NS = 50 * BELL_MS, RING_MS = 20 };

struct receiver {
    struct sock *socks;
    size_t n_socks;
    feed *feed;
    tee *tee; /* NULL: nothing is passed on */
    unsigned index, n_workers;
    sock_batch *batch;
    struct pollfd *poll; /* n_socks and stop_fd */
    pthread_t thread;
    bool started;
    int stop_fd;
    uint64_t buffer;       /* octets, of the smallest */
    uint64_t octets;       /* received since it began */
    uint64_t octets_s;     /* lately: */
    int64_t rate_since;    /* measured from there on, bell_now */
    uint64_t rate_octets;  /* octets then */
    atomic_llong drain_ns; /* 0: not stopping */
    struct bell *room;     /* while draining */
    _Atomic uint64_t misdirected;

    pthread_mutex_t lock; /* of the sockets' counters, twice a batch */
    uint64_t errors;
    int last_error;
    int64_t since_ns;
};

receiver *receiver_new(struct sock *socks, size_t n, feed *f, unsigned index, unsigned n_workers,
                       weir_err *err)
{
    receiver *r = calloc(1, sizeof *r);
    if (r) {
        *r = (receiver){.feed = f, .index = index, .n_workers = n_workers, .stop_fd = -1};
        (void)pthread_mutex_init(&r->lock, NULL);
        r->batch = sock_batch_new();
        r->socks = calloc(n, sizeof *r->socks);
        r->poll = calloc(n + 1, sizeof *r->poll);
        r->stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    }
    if (!r || !r->batch || !r->socks || !r->poll || r->stop_fd < 0) {
        (void)weir_err_set(err, WEIR_ENOMEM, 0, "out of memory for receiving");
        receiver_free(r);
        return NULL;
    }
    memcpy(r->socks, socks, n * sizeof *socks);
    r->n_socks = n;
    uint64_t least = UINT64_MAX;
    for (size_t i = 0; i < n; i++)
        least = socks[i].receive_buffer < least ? socks[i].receive_buffer : least;
    /* What comes after a nap comes at once: it must fit into the part of a queue that is kept free, too. */
    uint64_t free_part = feed_octets(f) / 4;
    r->buffer = least < free_part ? least : free_part;
    return r;
}

void receiver_free(receiver *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < r->n_socks; i++)
        sock_close(&r->socks[i]);
    if (r->stop_fd >= 0)
        (void)close(r->stop_fd);
    sock_batch_free(r->batch);
    free(r->socks);
    free(r->poll);
    (void)pthread_mutex_destroy(&r->lock);
    free(r);
}

/* The datagrams of one message. wait_until: bell_now up to which they wait for room, 0: not at all. */
static size_t push(receiver *r, const struct sock_message *m, int64_t wait_until)
{
    size_t n = 0, at = 0;
    do {
        size_t len = m->len - at < m->segment ? m->len - at : m->segment;
        while (wait_until && !feed_fits(r->feed, &m->from, len) && bell_now() < wait_until) {
            feed_commit(r->feed);
            feed_ring(r->feed);
            bell_wait(r->room, bell_now() + WAIT_NS);
        }
        feed_packet(r->feed, &m->from, m->received_ns, m->data + at, len);
        if (r->tee && feed_lets_in(r->feed, &m->from))
            tee_put(r->tee, r->index, &m->from, m->data + at, len);
        n++;
        at += len;
    } while (at < m->len);
    return n;
}

/* One batch from one socket; *newest_ns: arrival of its last message. Returns how many messages it had. */
static size_t receive(receiver *r, struct sock *s, int64_t wait_until, int64_t *newest_ns)
{
    struct sock_message m[SOCK_BATCH];
    int failed = 0;
    uint64_t datagrams = 0, octets = 0, misdirected = 0;
    (void)pthread_mutex_lock(&r->lock);
    struct sock seen = *s; /* others may look at s while this thread receives */
    (void)pthread_mutex_unlock(&r->lock);
    size_t n = sock_receive(&seen, r->batch, m, &failed);
    for (size_t i = 0; i < n; i++) {
        size_t k = push(r, &m[i], wait_until);
        datagrams += k;
        octets += m[i].len;
        if (r->n_workers > 1 && steer_of(&m[i].from, r->n_workers) != r->index)
            misdirected += k;
    }
    if (misdirected)
        atomic_fetch_add_explicit(&r->misdirected, misdirected, memory_order_relaxed);
    (void)pthread_mutex_lock(&r->lock);
    s->datagrams += datagrams;
    s->octets += octets;
    sock_see_drops(s, seen.drops_seen);
    if (failed) {
        r->errors++;
        r->last_error = failed;
    }
    if (r->tee)
        tee_commit(r->tee, r->index);
    feed_commit(r->feed); /* within the lock: a socket's count and the feed's belong together */
    (void)pthread_mutex_unlock(&r->lock);
    r->octets += octets;
    if (n)
        *newest_ns = m[n - 1].received_ns;
    return n;
}

/* What had arrived when it was told to stop is still taken. */
static void drain(receiver *r, int64_t drain_ns)
{
    int64_t until_ns = bell_clock(), deadline = bell_now() + drain_ns;
    for (size_t i = 0; i < r->n_socks; i++) {
        int64_t newest_ns = 0;
        while (receive(r, &r->socks[i], deadline, &newest_ns) && newest_ns <= until_ns &&
               bell_now() < deadline)
            ;
    }
}

/* How long it may nap. The rate is that of at least as long as the longest nap: what wakes it up comes in bursts. */
static int64_t nap_of(receiver *r, int64_t now)
{
    int64_t took = now - r->rate_since;
    if (took >= NAP_MAX_NS) {
        uint64_t rate = (r->octets - r->rate_octets) * (BELL_S / 1000) / (uint64_t)took * 1000,
                 faded = r->octets_s - r->octets_s / 8;
        r->octets_s = rate > faded ? rate : faded;
        r->rate_since = now;
        r->rate_octets = r->octets;
    }
    uint64_t burst =
        BURST * r->octets_s > BURST_OCTETS_PER_S ? BURST * r->octets_s : BURST_OCTETS_PER_S;
    uint64_t ns = r->buffer / 2 * (BELL_S / 1000) / (burst / 1000);
    return ns > NAP_MAX_NS ? NAP_MAX_NS : (int64_t)ns;
}

/* Wake those behind. */
static void ring(receiver *r)
{
    feed_ring(r->feed);
    if (r->tee)
        tee_ring(r->tee, r->index);
}

static void *run(void *arg)
{
    receiver *r = arg;
    struct pollfd *p = r->poll;
    for (size_t i = 0; i < r->n_socks; i++)
        p[i] = (struct pollfd){.fd = r->socks[i].fd, .events = POLLIN};
    p[r->n_socks] = (struct pollfd){.fd = r->stop_fd, .events = POLLIN};
    int64_t ring_by = 0; /* bell_now; 0: nothing waits unseen */
    size_t most = 0;     /* messages of a socket, in the last look */
    r->rate_since = bell_now();
    while (!atomic_load(&r->drain_ns)) {
        /* While something comes, looking again after a nap is enough: poll might have to be woken up once more. */
        bool flowing = most > 0;
        int ready = flowing ? 0 : poll(p, r->n_socks + 1, ring_by ? RING_MS : -1);
        int64_t newest_ns;
        most = 0;
        for (size_t i = 0; (flowing || ready > 0) && i < r->n_socks; i++) {
            size_t n = flowing || p[i].revents ? receive(r, &r->socks[i], 0, &newest_ns) : 0;
            most = n > most ? n : most;
        }
        if ((feed_waiting(r->feed) || (r->tee && tee_waiting(r->tee, r->index))) && !ring_by)
            ring_by = bell_now() + RING_MS * BELL_MS;
        if (feed_waiting(r->feed) == 2 || !most || (ring_by && bell_now() >= ring_by)) {
            ring(r);
            ring_by = 0;
        }
        int64_t nap_ns = nap_of(r, bell_now());
        if (most && most < SOCK_BATCH && nap_ns >= NAP_MIN_NS) {
            struct timespec nap = {.tv_nsec = nap_ns};
            (void)nanosleep(&nap, NULL);
        }
    }
    drain(r, atomic_load(&r->drain_ns));
    ring(r);
    return NULL;
}

void receiver_tee(receiver *r, tee *t)
{
    r->tee = t;
}

weir_status receiver_start(receiver *r, weir_err *err)
{
    (void)pthread_mutex_lock(&r->lock); /* the decoding thread may ask already */
    r->since_ns = bell_now();
    (void)pthread_mutex_unlock(&r->lock);
    int failed = pthread_create(&r->thread, NULL, run, r);
    if (failed)
        return weir_err_set(err, WEIR_ENOMEM, 0, "cannot start a thread: %s", strerror(failed));
    r->started = true;
    return WEIR_OK;
}

void receiver_stop(receiver *r, int64_t drain_ns, struct bell *room)
{
    uint64_t one = 1;
    if (!r->started)
        return;
    r->room = room;
    atomic_store(&r->drain_ns, drain_ns);
    (void)!write(r->stop_fd, &one, sizeof one);
    (void)pthread_join(r->thread, NULL);
}

void receiver_read(receiver *r, struct receiver_counters *out)
{
    *out = (struct receiver_counters){0};
    (void)pthread_mutex_lock(&r->lock);
    for (size_t i = 0; i < r->n_socks; i++) {
        sock_count_drops(&r->socks[i]);
        out->kernel_drops += r->socks[i].kernel_drops;
    }
    for (size_t i = 0; i < r->n_socks; i++)
        out->buffer += r->socks[i].receive_buffer;
    out->errors = r->errors;
    out->last_error = r->last_error;
    out->since_ns = r->since_ns;
    (void)pthread_mutex_unlock(&r->lock);
    out->misdirected = atomic_load_explicit(&r->misdirected, memory_order_relaxed);
}

size_t receiver_n_socks(const receiver *r)
{
    return r->n_socks;
}

void receiver_socks(receiver *r, struct sock *out, struct feed_counters *fed)
{
    (void)pthread_mutex_lock(&r->lock);
    memcpy(out, r->socks, r->n_socks * sizeof *out);
    feed_read(r->feed, fed);
    (void)pthread_mutex_unlock(&r->lock);
}

struct sock receiver_worst(receiver *r)
{
    (void)pthread_mutex_lock(&r->lock);
    struct sock worst = r->socks[0];
    for (size_t i = 1; i < r->n_socks; i++)
        if (r->socks[i].kernel_drops > worst.kernel_drops)
            worst = r->socks[i];
    (void)pthread_mutex_unlock(&r->lock);
    return worst;
}
