#include "collect/collector.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "collect/capture.h"
#include "collect/notify.h"
#include "collect/state.h"
#include "collect/steer.h"
#include "collect/worker.h"

enum {
    STOP_S = 10,   /* at the end: how long a blocked output is waited for */
    DRAIN_S = 2,   /* at the end: how long what the kernel has is read */
    REPEAT_S = 60, /* between two warnings of one kind */
    ROUND = 256,   /* packets of a capture between two looks for signals */
    TEXT_EXPORTERS = 100,
    PORT_TRIES = 16,
    TEE_QUEUE = 32 << 20, /* octets */
    TEE_S = 1,            /* at the end: how long what is to be passed on is */
    LOG_WAIT_MS = 200     /* a reader of stderr that stalls is waited for */
};

/* A warning that may come again and again. */
struct repeated {
    double last;
    unsigned long held;
};

struct collector {
    const struct collector_config *cfg;
    bool live; /* sockets, not captures */
    int64_t started_ns;
    int signal_fd, gone_fd;
    int state_lock; /* -1: none */

    unsigned n_workers;
    worker **workers;
    struct feed_queue *queues; /* by worker */
    /* One feed and receiver a worker; one for all where the kernel cannot steer; one feed for captures. */
    unsigned n_feeds, n_receivers;
    feed **feeds;
    receiver **receivers;
    tee *tee; /* NULL: nothing is passed on */

    pthread_mutex_t lock; /* of the report that is being gathered */
    struct stats_part *parts;
    base_buf delivery; /* of cfg->delivery when it was asked last; under lock */
    unsigned n_parts;  /* that have come */
    bool gathering, again;

    bool reader_gone, stopping;
    int64_t next_stats, next_look;
    struct repeated refused_warning, drop_warning, queue_warning, error_warning, steer_warning,
        tee_warning, target_warning;
    uint64_t drops_told, dropped_told, refused_told, errors_told, tee_told, failed_told;
};

static bool due(struct repeated *r, unsigned long *held)
{
    *held = r->held;
    if (!log_due(&r->last, &r->held, (double)bell_now() / BELL_S, REPEAT_S))
        return false;
    r->held = 0;
    return true;
}

/* ---- accounting ---- */

/* On the keeper's thread. */
static void look_at_delivery(const char *dir, void *user)
{
    struct collector *c = user;
    base_buf b = {0}, before;
    c->cfg->delivery(dir, c->cfg->stats_as_json, &b);
    (void)pthread_mutex_lock(&c->lock);
    before = c->delivery;
    c->delivery = b;
    (void)pthread_mutex_unlock(&c->lock);
    base_buf_done(&before);
}

/* What the feeding side knows, on top of the workers' parts. With the lock, or when nobody else is there any more. */
static void print_stats(struct collector *c)
{
    struct stats s = {.time_ns = bell_clock(),
                      .started_ns = c->started_ns,
                      .archive = c->cfg->archive != NULL,
                      .delivery = c->delivery.failed ? NULL : &c->delivery,
                      .parts = c->parts,
                      .n_parts = c->n_workers};
    for (unsigned i = 0; i < c->n_receivers; i++)
        s.n_socks += receiver_n_socks(c->receivers[i]);
    struct sock *socks = calloc(s.n_socks ? s.n_socks : 1, sizeof *socks);
    s.socks = socks;
    s.n_socks = 0;
    for (unsigned i = 0; i < c->n_receivers; i++) {
        struct receiver_counters n;
        receiver_read(c->receivers[i], &n);
        s.receive_errors += n.errors;
        s.misdirected += n.misdirected;
    }
    for (unsigned i = 0; i < c->n_feeds; i++) {
        struct feed_counters n;
        if (i < c->n_receivers && socks) {
            receiver_socks(c->receivers[i], &socks[s.n_socks], &n);
            s.n_socks += receiver_n_socks(c->receivers[i]);
        } else {
            feed_read(c->feeds[i], &n);
        }
        s.datagrams += n.datagrams;
        s.octets += n.octets;
        s.refused += n.refused;
        s.dropped += n.dropped;
        s.pushed += n.pushed;
    }
    for (size_t i = 0; i < s.n_socks; i++)
        s.kernel_drops += socks[i].kernel_drops;
    struct tee_target_counters *targets = calloc(c->cfg->n_tee + 1, sizeof *targets);
    if (c->tee && targets) {
        tee_read(c->tee, &s.tee, targets);
        s.targets = targets;
        s.n_targets = tee_n_targets(c->tee);
    }
    base_buf b = {0};
    if (c->cfg->stats_as_json)
        stats_json(&b, &s);
    else
        stats_text(&b, &s, "weir collect: stats: ", TEXT_EXPORTERS);
    if (b.failed || !socks || !targets)
        log_error("out of memory: no statistics");
    else
        log_text(b.data, b.len);
    base_buf_done(&b);
    free(targets);
    free(socks);
}

static void forget_parts(struct collector *c)
{
    for (unsigned i = 0; i < c->n_workers; i++)
        stats_part_done(&c->parts[i]);
    c->n_parts = 0;
}

/* Ask all workers for their parts; the last one to answer prints them. */
static void ask(struct collector *c)
{
    (void)pthread_mutex_lock(&c->lock);
    bool busy = c->gathering;
    c->again |= busy;
    c->gathering = true;
    (void)pthread_mutex_unlock(&c->lock);
    for (unsigned i = 0; i < c->n_workers && !busy; i++)
        worker_ask(c->workers[i]);
}

static void take_report(void *user, unsigned index, const struct stats_part *part)
{
    struct collector *c = user;
    bool again = false;
    (void)pthread_mutex_lock(&c->lock);
    c->parts[index] = *part;
    if (++c->n_parts == c->n_workers) {
        print_stats(c);
        forget_parts(c);
        c->gathering = false;
        again = c->again;
        c->again = false;
    }
    (void)pthread_mutex_unlock(&c->lock);
    if (again)
        ask(c);
}

/* ---- signals ---- */

/* True: it is time to stop. */
static bool heed_signals(struct collector *c)
{
    struct signalfd_siginfo s;
    bool stop = false;
    while (read(c->signal_fd, &s, sizeof s) == (ssize_t)sizeof s) {
        switch (s.ssi_signo) {
        case SIGUSR1:
            ask(c);
            break;
        case SIGHUP:
            worker_reopen(c->workers[0]);
            break;
        default:
            stop = true;
            break;
        }
    }
    return stop || c->reader_gone;
}

/* What was not passed on. */
static void warn_of_tee(struct collector *c)
{
    struct tee_counters n;
    struct tee_target_counters *targets, worst = {0};
    uint64_t failed = 0;
    unsigned long held;
    if (!c->tee || !(targets = calloc(c->cfg->n_tee, sizeof *targets)))
        return;
    tee_read(c->tee, &n, targets);
    for (size_t i = 0; i < tee_n_targets(c->tee); i++) {
        uint64_t of_this = targets[i].failed + targets[i].refused;
        failed += of_this;
        if (of_this >= worst.failed + worst.refused && of_this)
            worst = targets[i];
    }
    free(targets);
    if (n.dropped > c->tee_told && due(&c->tee_warning, &held)) {
        log_warning("passing on is too slow: %" PRIu64 " datagrams so far were not (--tee)",
                    n.dropped);
        c->tee_told = n.dropped;
    }
    if (failed > c->failed_told && due(&c->target_warning, &held)) {
        char name[WEIR_ENDPOINT_TEXT];
        (void)weir_endpoint_text(&worst.at, name);
        log_warning("passing on to %s: %s (%" PRIu64 " times so far)", name,
                    strerror(worst.last_error), worst.failed + worst.refused);
        c->failed_told = failed;
    }
}

static void warn_of_drops(struct collector *c)
{
    uint64_t drops = 0, errors = 0, dropped = 0, refused = 0, misdirected = 0;
    struct sock last = {0};
    int last_error = 0;
    unsigned long held;
    for (unsigned i = 0; i < c->n_receivers; i++) {
        struct receiver_counters n;
        receiver_read(c->receivers[i], &n);
        drops += n.kernel_drops;
        errors += n.errors;
        misdirected += n.misdirected;
        last_error = n.last_error ? n.last_error : last_error;
        struct sock s = receiver_worst(c->receivers[i]);
        if (s.kernel_drops > last.kernel_drops || !last.name[0])
            last = s;
    }
    for (unsigned i = 0; i < c->n_feeds; i++) {
        struct feed_counters n;
        feed_read(c->feeds[i], &n);
        dropped += n.dropped;
        refused += n.refused;
    }
    if (drops > c->drops_told && due(&c->drop_warning, &held)) {
        log_warning("the kernel dropped %" PRIu64 " datagrams so far, on %s last (raise "
                    "--receive-buffer and net.core.rmem_max)",
                    drops, last.name);
        c->drops_told = drops;
    }
    if (errors > c->errors_told && due(&c->error_warning, &held)) {
        log_warning("receiving on %s: %s (%" PRIu64 " errors so far)", last.name,
                    strerror(last_error), errors);
        c->errors_told = errors;
    }
    if (dropped > c->dropped_told && due(&c->queue_warning, &held)) {
        log_warning("decoding is too slow: %" PRIu64 " packets dropped so far (raise --queue)",
                    dropped);
        c->dropped_told = dropped;
    }
    if (refused > c->refused_told && due(&c->refused_warning, &held)) {
        weir_endpoint from = {0};
        char who[WEIR_ENDPOINT_TEXT];
        for (unsigned i = 0; i < c->n_feeds && !feed_stranger(c->feeds[i], &from); i++)
            ;
        (void)weir_endpoint_text(&from, who);
        log_warning("refused a packet from %s, which no --allow names (%" PRIu64 " so far)", who,
                    refused);
        c->refused_told = refused;
    }
    if (misdirected && due(&c->steer_warning, &held))
        log_warning("the kernel gave %" PRIu64 " packets to another worker than their exporter's: "
                    "their templates may be missed (pass --workers 1)",
                    misdirected);
}

/* Signals, warnings and statistics that are due; waits at most timeout_ms. True: it is time to stop. */
static bool look_around(struct collector *c, int timeout_ms)
{
    struct pollfd p[2] = {{.fd = c->signal_fd, .events = POLLIN},
                          {.fd = c->gone_fd, .events = POLLIN}};
    int ready = poll(p, 2, timeout_ms);
    if (ready > 0 && p[1].revents)
        c->reader_gone = true;
    int64_t now = bell_now();
    if (c->next_stats && now >= c->next_stats) {
        c->next_stats = now + (int64_t)c->cfg->stats_interval_ns;
        ask(c);
    }
    if (now >= c->next_look) {
        c->next_look = now + BELL_S;
        warn_of_drops(c);
        warn_of_tee(c);
    }
    return ready > 0 && heed_signals(c);
}

/* ---- captures ---- */

/* One file; *stop: a signal came. False: something in it could not be read. */
static bool read_capture(struct collector *c, const char *path, bool *stop)
{
    struct capture_options o = {.port = c->cfg->port};
    capture *in = NULL;
    weir_err err = {0};
    bool good = true;
    if (capture_open(path, &o, &in, &err) != WEIR_OK) {
        log_error("%s", err.msg);
        return false;
    }
    for (uint64_t n = 1; !*stop; n++) {
        struct capture_packet p;
        weir_status s = capture_next(in, &p, &err);
        if (s == WEIR_END)
            break;
        if (s != WEIR_OK) {
            good = false;
            unsigned long held;
            if (due(&c->error_warning, &held))
                log_error("%s", err.msg);
            if (s == WEIR_EIO || s == WEIR_ENOMEM)
                break;
            continue;
        }
        struct bell *room = worker_room(c->workers[steer_of(&p.from, c->n_workers)]);
        while (!feed_fits(c->feeds[0], &p.from, p.len) && !*stop) {
            bell_wait(room, bell_now() + 50 * BELL_MS);
            *stop = look_around(c, 0);
        }
        if (*stop)
            break;
        feed_packet(c->feeds[0], &p.from, p.received_ns, p.data, p.len);
        feed_commit(c->feeds[0]);
        feed_ring(c->feeds[0]); /* at once: the next one may be long in coming */
        if (n % ROUND == 0)
            *stop = look_around(c, 0);
    }
    capture_close(in);
    return good;
}

/* ---- setting up ---- */

static bool open_one(struct collector *c, struct sock *s, const weir_endpoint *at, bool shared,
                     bool first, weir_err *err)
{
    /* Sockets that share a port also share it with another process that does so: it must be free once. */
    if (shared && first) {
        struct sock probe;
        if (sock_open(&probe, at, c->cfg->receive_buffer, false, err) != WEIR_OK)
            return false;
        sock_close(&probe);
    }
    if (sock_open(s, at, c->cfg->receive_buffer, shared, err) != WEIR_OK)
        return false;
    if (first && s->receive_buffer < c->cfg->receive_buffer)
        log_warning("the kernel grants %" PRIu64 " of %" PRIu64
                    " octets of receive buffer on %s (sysctl -w net.core.rmem_max=%" PRIu64
                    ", or pass --receive-buffer)",
                    s->receive_buffer, c->cfg->receive_buffer, s->name, c->cfg->receive_buffer);
    return true;
}

/* 0.0.0.0 and :: at one port. */
static bool open_both(struct collector *c, struct sock *s, size_t *n, bool shared, weir_err *err)
{
    for (int tries = 0; tries < PORT_TRIES; tries++) {
        weir_endpoint at = {.family = 4, .port = c->cfg->port};
        *n = 0;
        if (!open_one(c, &s[0], &at, shared, true, err))
            return false;
        *n = 1;
        at = (weir_endpoint){.family = 6, .port = s[0].at.port};
        if (open_one(c, &s[1], &at, shared, true, err)) {
            *n = 2;
            return true;
        }
        if (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL || errno == ENOPROTOOPT) {
            log_info("this machine has no IPv6: listening on IPv4 alone");
            return true;
        }
        if (c->cfg->port || errno != EADDRINUSE)
            return false;
        sock_close(&s[0]); /* the port was free for IPv4 alone: another one */
        *n = 0;
    }
    return false;
}

/* The first worker's sockets. */
static bool open_first(struct collector *c, struct sock *s, size_t *n, bool shared, weir_err *err)
{
    *n = 0;
    if (!c->cfg->n_listen)
        return open_both(c, s, n, shared, err);
    for (size_t i = 0; i < c->cfg->n_listen; i++, ++*n)
        if (!open_one(c, &s[i], &c->cfg->listen[i], shared, true, err))
            return false;
    return true;
}

/* Sockets of one worker in socks[index * most]: n of them. */
struct sockets {
    struct sock *socks;
    size_t most, n;
    unsigned n_workers; /* that have sockets of their own */
};

static void close_sockets(struct sockets *s)
{
    for (size_t i = 0; i < s->most * s->n_workers; i++)
        if (s->socks[i].name[0])
            sock_close(&s->socks[i]);
}

/* The others' sockets at the same addresses, and the rule that tells datagrams apart. False: it cannot be had. */
static bool share(struct collector *c, struct sockets *s, weir_err *err)
{
    for (unsigned w = 1; w < c->n_workers; w++) {
        s->n_workers = w + 1;
        for (size_t i = 0; i < s->n; i++)
            if (!open_one(c, &s->socks[w * s->most + i], &s->socks[i].at, true, false, err))
                return false;
    }
    for (size_t i = 0; i < s->n; i++) {
        if (!steer_attach(s->socks[i].fd, s->socks[i].at.family, c->n_workers)) {
            log_info("this kernel cannot tell exporters apart (%s): one thread receives for all "
                     "workers",
                     strerror(errno));
            return false;
        }
    }
    for (unsigned w = 0; w < c->n_workers; w++)
        for (size_t i = 0; i < s->n; i++)
            sock_begin(&s->socks[w * s->most + i]);
    return true;
}

static bool open_sockets(struct collector *c, weir_err *err)
{
    struct sockets s = {.most = c->cfg->n_listen ? c->cfg->n_listen : 2, .n_workers = 1};
    s.socks = calloc(s.most * c->n_workers, sizeof *s.socks);
    bool shared = c->n_workers > 1, good = s.socks != NULL;
    if (!good)
        (void)weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
    good = good && open_first(c, s.socks, &s.n, shared, err);
    if (good && shared && !share(c, &s, err)) {
        close_sockets(&s);
        memset(s.socks, 0, s.most * c->n_workers * sizeof *s.socks);
        s.n_workers = 1;
        good = open_first(c, s.socks, &s.n, false, err);
    }
    for (unsigned w = 0; good && w < s.n_workers; w++) {
        struct feed_queue *queues = s.n_workers == 1 ? c->queues : &c->queues[w];
        feed *f = feed_new(&c->cfg->allow, queues, s.n_workers == 1 ? c->n_workers : 1);
        if (!f) {
            good = false;
            (void)weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
            break;
        }
        c->feeds[c->n_feeds++] = f;
        receiver *r = receiver_new(&s.socks[w * s.most], s.n, f, w, s.n_workers, err);
        good = r != NULL;
        if (!r)
            break;
        memset(&s.socks[w * s.most], 0, s.n * sizeof *s.socks); /* the receiver's now */
        c->receivers[c->n_receivers++] = r;
    }
    if (!good && s.socks)
        close_sockets(&s);
    free(s.socks);
    return good;
}

/* After the sockets are open: what is received on any of them goes to others, too. */
static bool open_tee(struct collector *c, weir_err *err)
{
    const struct tee_options o = {.targets = c->cfg->tee,
                                  .n_targets = c->cfg->n_tee,
                                  .source = c->cfg->tee_source,
                                  .n_feeders = c->n_receivers,
                                  .queue_octets = TEE_QUEUE};
    int why;
    size_t n = receiver_n_socks(c->receivers[0]); /* the others' are at the same addresses */
    struct sock *socks = calloc(n, sizeof *socks);
    struct feed_counters none;
    if (!socks) {
        (void)weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
        return false;
    }
    receiver_socks(c->receivers[0], socks, &none);
    for (size_t i = 0; i < c->cfg->n_tee; i++) {
        char name[WEIR_ENDPOINT_TEXT];
        if (!tee_is_loop(&c->cfg->tee[i], socks, n))
            continue;
        (void)weir_endpoint_text(&c->cfg->tee[i], name);
        (void)weir_err_set(err, WEIR_EINVAL, 0,
                           "--tee %s: this collector listens there, datagrams would go round for "
                           "ever",
                           name);
        free(socks);
        return false;
    }
    free(socks);
    if (tee_new(&o, &c->tee, &why, err) != WEIR_OK)
        return false;
    if (why)
        log_warning("datagrams are passed on from this machine's address, not from the exporter's: "
                    "%s (grant CAP_NET_RAW, or pass --tee-source own)",
                    strerror(why));
    for (unsigned i = 0; i < c->n_receivers; i++)
        receiver_tee(c->receivers[i], c->tee);
    return true;
}

static bool setup_signals(struct collector *c, weir_err *err)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGHUP);
    (void)sigaddset(&set, SIGUSR1);
    /* Before any thread starts, so that all inherit it and signals come by the descriptor alone. */
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    (void)sigaction(SIGPIPE, &ignore, NULL);
    (void)sigaction(SIGXFSZ, &ignore, NULL); /* a file size limit is a full disk: EFBIG */
    c->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    c->gone_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (c->signal_fd >= 0 && c->gone_fd >= 0)
        return true;
    (void)weir_err_set(err, WEIR_EIO, 0, "cannot make a descriptor: %s", strerror(errno));
    return false;
}

static bool setup_workers(struct collector *c, weir_err *err)
{
    for (unsigned i = 0; i < c->n_workers; i++) {
        struct worker_options o = {.config = c->cfg,
                                   .index = i,
                                   .n_workers = c->n_workers,
                                   .live = c->live,
                                   .gone_fd = c->gone_fd,
                                   .report = take_report,
                                   .user = c};
        o.beside = i ? worker_archive(c->workers[0]) : NULL;
        c->workers[i] = worker_new(&o, err);
        if (!c->workers[i])
            return false;
        c->queues[i] = worker_queue(c->workers[i]);
    }
    return true;
}

static bool setup(struct collector *c, weir_err *err)
{
    const struct collector_config *cfg = c->cfg;
    if (!setup_signals(c, err))
        return false;
    c->workers = calloc(c->n_workers, sizeof(worker *));
    c->queues = calloc(c->n_workers, sizeof *c->queues);
    c->feeds = calloc(c->n_workers, sizeof(feed *));
    c->receivers = calloc(c->n_workers, sizeof(receiver *));
    c->parts = calloc(c->n_workers, sizeof *c->parts);
    if (!c->workers || !c->queues || !c->feeds || !c->receivers || !c->parts) {
        (void)weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
        return false;
    }
    /* Where no lock can be made, no state can be written either, which says itself. */
    if (!setup_workers(c, err) ||
        (cfg->state_path && state_lock(cfg->state_path, &c->state_lock, err) == WEIR_ELIMIT))
        return false;
    bool settled = c->live;
    for (unsigned i = c->n_workers; settled && i-- > 0;)
        settled = worker_settle(c->workers[i]);
    if (settled)
        worker_forget_others(cfg, c->n_workers);
    if (c->live)
        return open_sockets(c, err) && (!cfg->n_tee || open_tee(c, err));
    c->feeds[0] = feed_new(&cfg->allow, c->queues, c->n_workers);
    c->n_feeds = c->feeds[0] != NULL;
    if (!c->n_feeds)
        (void)weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
    return c->n_feeds;
}

static void say_ready(struct collector *c)
{
    base_buf b = {0};
    size_t n = c->n_receivers ? receiver_n_socks(c->receivers[0]) : 0;
    struct sock *socks = calloc(n + 1, sizeof *socks);
    struct feed_counters none;
    if (n && socks)
        receiver_socks(c->receivers[0], socks, &none);
    for (size_t i = 0; i < n && socks; i++)
        base_buf_printf(&b, "%s%s", i ? ", " : "listening on ", socks[i].name);
    free(socks);
    for (size_t i = 0; i < c->cfg->n_read; i++)
        base_buf_printf(&b, "%s%s", i ? ", " : "reading ", c->cfg->read[i]);
    log_info("%.*s, writing %s", (int)b.len, b.data ? b.data : "",
             c->cfg->archive ? c->cfg->archive->dir : c->cfg->file);
    base_buf_done(&b);
    (void)notify_send("READY=1");
}

/* Of captures: whether everything in them was understood, as `weir decode` would say. */
static bool all_decoded(const struct collector *c)
{
    uint64_t rejected = 0, faults = 0, expired = 0;
    for (unsigned w = 0; w < c->n_workers; w++) {
        const weir_counters *n = &c->parts[w].decode;
        for (size_t i = 0; i < WEIR_N_REJECT; i++)
            rejected += n->rejected[i];
        for (size_t i = 0; i < WEIR_N_FAULT; i++)
            faults += n->faults[i];
        expired += n->expired;
    }
    struct feed_counters fed;
    feed_read(c->feeds[0], &fed);
    if (fed.datagrams == 0)
        log_warning(
            "no export packet in what was read (--port N, when they went to an unusual port)");
    if (rejected || faults || expired)
        log_warning("not all could be decoded: %" PRIu64 " packets rejected, %" PRIu64
                    " faults within packets, %" PRIu64
                    " packets whose template never came ('weir decode' names each)",
                    rejected, faults, expired);
    return !rejected && !faults && !expired;
}

/* ---- life ---- */

static bool start_workers(struct collector *c, weir_err *err)
{
    for (unsigned i = 0; i < c->n_workers; i++) {
        feed *f = i < c->n_feeds ? c->feeds[i] : NULL;
        receiver *r = i < c->n_receivers ? c->receivers[i] : NULL;
        if (worker_start(c->workers[i], f, r, err) != WEIR_OK)
            return false;
    }
    if (c->tee && tee_start(c->tee, err) != WEIR_OK)
        return false;
    for (unsigned i = 0; i < c->n_receivers; i++)
        if (receiver_start(c->receivers[i], err) != WEIR_OK)
            return false;
    return true;
}

static void stop_by(struct collector *c)
{
    if (c->stopping)
        return;
    c->stopping = true;
    for (unsigned i = 0; i < c->n_workers; i++)
        worker_stop_by(c->workers[i], bell_now() + STOP_S * (int64_t)BELL_S);
}

/* Signals are still heeded meanwhile. */
static void wait_until(struct collector *c, bool (*done)(struct collector *c))
{
    for (int ms = 1; !done(c); ms = 5)
        if (look_around(c, ms))
            stop_by(c);
}

static bool all_are_decoded(struct collector *c)
{
    bool all = true;
    for (unsigned i = 0; i < c->n_workers; i++)
        all &= worker_decoded(c->workers[i]);
    return all;
}

static bool others_are_written(struct collector *c)
{
    bool all = true;
    for (unsigned i = 1; i < c->n_workers; i++)
        all &= worker_written(c->workers[i], bell_now());
    return all;
}

static bool first_is_written(struct collector *c)
{
    return worker_written(c->workers[0], bell_now());
}

/* No packet comes any more: the rest is decoded and written. The first worker's output, beside which the others' are, is closed
 * last. False: not all is on disk. */
static bool finish(struct collector *c)
{
    bool good = true;
    for (unsigned i = 0; i < c->n_workers; i++)
        worker_close(c->workers[i]);
    wait_until(c, all_are_decoded);
    for (unsigned i = 1; i < c->n_workers; i++)
        worker_finish(c->workers[i]);
    wait_until(c, others_are_written);
    worker_finish(c->workers[0]);
    wait_until(c, first_is_written);
    (void)pthread_mutex_lock(&c->lock);
    forget_parts(c);
    for (unsigned i = 0; i < c->n_workers; i++)
        good &= worker_end(c->workers[i], &c->parts[i]);
    print_stats(c);
    (void)pthread_mutex_unlock(&c->lock);
    return good;
}

/* After setup: until the end. False: something failed. */
static bool work(struct collector *c)
{
    weir_err err = {0};
    int64_t now = bell_now();
    c->next_stats = c->cfg->stats_interval_ns ? now + (int64_t)c->cfg->stats_interval_ns : 0;
    c->next_look = now + BELL_S;
    bool good = start_workers(c, &err), stop = !good;
    if (!good)
        log_error("%s", err.msg);
    else
        say_ready(c);
    keeper *k = NULL;
    struct keeper_options keep = c->cfg->keep;
    keep.look = c->cfg->delivery ? look_at_delivery : NULL;
    keep.user = c;
    if (good && c->cfg->archive && c->live && !(k = keeper_start(&keep, &err)))
        log_warning("the archive is neither compacted nor expired: %s", err.msg);
    while (c->live && !stop)
        stop = look_around(c, 1000);
    for (size_t i = 0; i < c->cfg->n_read && !stop; i++)
        good &= read_capture(c, c->cfg->read[i], &stop);
    if (c->live)
        (void)notify_send("STOPPING=1");
    if (stop)
        stop_by(c);
    for (unsigned i = 0; i < c->n_receivers; i++)
        receiver_stop(c->receivers[i], DRAIN_S * (int64_t)BELL_S, worker_room(c->workers[i]));
    if (c->tee)
        tee_stop(c->tee, bell_now() + TEE_S * (int64_t)BELL_S);
    warn_of_drops(c);
    warn_of_tee(c);
    keeper_stop(k);
    good &= finish(c);
    return good && (c->live || all_decoded(c));
}

int collector_run(const struct collector_config *config)
{
    struct collector c = {.cfg = config,
                          .signal_fd = -1,
                          .gone_fd = -1,
                          .state_lock = -1,
                          .started_ns = bell_clock(),
                          .n_workers = config->workers ? config->workers : 1,
                          .live = config->n_read == 0};
    weir_err err = {0};
    if (c.live)
        log_patience(LOG_WAIT_MS);
    (void)pthread_mutex_init(&c.lock, NULL);
    bool good = setup(&c, &err);
    if (!good)
        log_error("%s", err.msg);
    good = good && work(&c);
    for (unsigned i = 0; i < c.n_receivers; i++)
        receiver_free(c.receivers[i]);
    tee_free(c.tee);
    for (unsigned i = 0; i < c.n_feeds; i++)
        feed_free(c.feeds[i]);
    if (c.parts)
        forget_parts(&c);
    base_buf_done(&c.delivery);
    for (unsigned i = c.n_workers; c.workers && i-- > 0;)
        worker_free(c.workers[i]);
    free(c.workers);
    free(c.queues);
    free(c.feeds);
    free(c.receivers);
    free(c.parts);
    if (c.signal_fd >= 0)
        (void)close(c.signal_fd);
    if (c.gone_fd >= 0)
        (void)close(c.gone_fd);
    if (c.state_lock >= 0)
        (void)close(c.state_lock);
    (void)pthread_mutex_destroy(&c.lock);
    return good ? 0 : 1;
}
