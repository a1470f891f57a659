#include "collect/collector.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "collect/bell.h"
#include "collect/capture.h"
#include "collect/filer.h"
#include "collect/notify.h"
#include "collect/pktq.h"
#include "collect/socket.h"
#include "collect/state.h"
#include "collect/stats.h"
#include "collect/writer.h"
#include "render/pyline.h"

enum {
    STOP_S = 10,      /* at the end: how long a blocked output is waited for */
    DRAIN_S = 2,      /* at the end: how long what the kernel has is read */
    STATE_MIN_S = 10, /* between two state files when templates change */
    STATE_MAX_S = 60, /* when only sequence numbers do */
    REPEAT_S = 60,    /* between two warnings of one kind */
    HIGH_WATER = 750, /* thousandths of the packet queue: lines are given up from here on */
    ROUND = 256,      /* packets decoded between two looks at the clock */
    CAPTURE_FLUSHES = 10,
    NAP_BATCH = 8, /* datagrams of one round that make napping before the next worth while */
    NAP_NS = 300 * BELL_US,
    TEXT_EXPORTERS = 100,
    PORT_TRIES = 16,
    LOG_WAIT_MS = 200 /* a reader of stderr that stalls is waited for */
};

/* A warning that may come again and again. */
struct repeated {
    double last;
    unsigned long held;
};

struct collector {
    const struct collector_config *cfg;
    struct sock *socks;
    size_t n_socks;
    sock_batch *batch;
    int signal_fd, gone_fd;
    pktq *packets;
    writer *out;
    struct bell work; /* for the decoding thread */
    struct bell room; /* for the main thread: the packet queue has been emptied somewhat */
    pthread_t thread;
    int64_t started_ns;
    bool live; /* sockets, not captures */

    atomic_bool want_stats, want_reopen, reader_gone;
    atomic_llong stop_by; /* bell_now at which a blocked output is given up; 0: not stopping */

    pthread_mutex_t lock; /* of what the main thread counts, the sockets' counters included */
    uint64_t datagrams, octets, refused, dropped, pushed, receive_errors;

    /* the decoding thread's own: */
    weir_decoder *decoder;
    pyline *lines;             /* for an output of lines */
    filer *filer;              /* for an archive */
    const weir_handlers *sink; /* of whichever it is */
    void *sink_user;
    uint64_t fed;
    int64_t next_tick, next_stats, ticked_ns; /* ticked_ns: captures' own clock */
    int state_lock;                           /* -1: none */
    int64_t state_at, state_next;
    uint64_t state_templates, state_packets;
    struct repeated rejected_warning, lost_warning;
    unsigned long debug_flows;

    /* the main thread's own: */
    struct repeated refused_warning, drop_warning, queue_warning, error_warning;
    uint64_t kernel_drops_told;
};

static double seconds(int64_t ns)
{
    return (double)ns / 1e9;
}

static bool due(struct repeated *r, unsigned long *held)
{
    *held = r->held;
    if (!log_due(&r->last, &r->held, seconds(bell_now()), REPEAT_S))
        return false;
    r->held = 0;
    return true;
}

/* ---- accounting ---- */

static void print_stats(struct collector *c)
{
    struct stats s = {.time_ns = bell_clock(), .started_ns = c->started_ns, .decoder = c->decoder};
    struct sock *copy = c->n_socks ? calloc(c->n_socks, sizeof *copy) : NULL;
    (void)pthread_mutex_lock(&c->lock);
    for (size_t i = 0; i < c->n_socks; i++) {
        sock_count_drops(&c->socks[i]);
        s.kernel_drops += c->socks[i].kernel_drops;
        if (copy)
            copy[i] = c->socks[i];
    }
    s.datagrams = c->datagrams;
    s.octets = c->octets;
    s.refused = c->refused;
    s.dropped = c->dropped;
    s.queued = c->pushed - c->fed;
    s.receive_errors = c->receive_errors;
    (void)pthread_mutex_unlock(&c->lock);
    s.socks = copy;
    s.n_socks = copy ? c->n_socks : 0;
    s.fed = c->fed;
    writer_counters(c->out, &s.out);
    if (c->lines) {
        s.held_octets = pyline_held(c->lines);
        s.split = pyline_split(c->lines);
        s.unrendered = pyline_lost(c->lines);
    }
    s.archive = c->filer ? filer_counters(c->filer) : NULL;
    base_buf b = {0};
    if (c->cfg->stats_as_json)
        stats_json(&b, &s);
    else
        stats_text(&b, &s, "weir collect: stats: ", TEXT_EXPORTERS);
    if (b.failed)
        log_error("out of memory: no statistics");
    else
        log_text(b.data, b.len);
    base_buf_done(&b);
    free(copy);
}

/* ---- the decoding thread ---- */

static void take_line(void *user, const char *line, size_t len, unsigned long flows)
{
    struct collector *c = user;
    writer_line(c->out, line, len, flows);
}

/* What -D shows goes through these on its way to the lines or the archive. */
static void debug_begin(void *user, const weir_packet *p)
{
    struct collector *c = user;
    c->debug_flows = 0;
    c->sink->begin(c->sink_user, p);
}

static void debug_record(void *user, const weir_record *r)
{
    struct collector *c = user;
    c->debug_flows++;
    c->sink->record(c->sink_user, r);
}

static void debug_options(void *user, const weir_record *r)
{
    struct collector *c = user;
    if (c->sink->options)
        c->sink->options(c->sink_user, r);
}

static void debug_template(void *user, const weir_packet *p, const weir_template *t,
                           weir_template_event event)
{
    static const char *const words[] = {"learnt",    "changed", "repeated",
                                        "withdrawn", "expired", "conflicting"};
    struct collector *c = user;
    char from[WEIR_ENDPOINT_TEXT];
    (void)weir_endpoint_text(&p->from, from);
    if (event != WEIR_TEMPLATE_REFRESHED)
        log_debug("%s: template %u of domain %" PRIu32 " %s: %u fields", from, t->id, p->domain,
                  (unsigned)event < ARRAY_LEN(words) ? words[event] : "?", t->n_fields);
    if (c->sink->tmpl)
        c->sink->tmpl(c->sink_user, p, t, event);
}

static void debug_sampling(void *user, const weir_packet *p, uint64_t selector,
                           const weir_sampling *s)
{
    struct collector *c = user;
    if (c->sink->sampling)
        c->sink->sampling(c->sink_user, p, selector, s);
}

static void debug_fault(void *user, const weir_packet *p, weir_fault fault, const weir_err *err)
{
    struct collector *c = user;
    char from[WEIR_ENDPOINT_TEXT];
    (void)weir_endpoint_text(&p->from, from);
    log_debug("%s: packet %" PRIu64 ": %s at octet %" PRIu64 ": %s", from, p->id,
              weir_fault_text(fault), err ? err->at : 0, err ? err->msg : "");
    if (c->sink->fault)
        c->sink->fault(c->sink_user, p, fault, err);
}

static void debug_end(void *user, const weir_packet *p, weir_outcome outcome, const weir_err *err)
{
    struct collector *c = user;
    char from[WEIR_ENDPOINT_TEXT];
    (void)weir_endpoint_text(&p->from, from);
    log_debug("%s: %s v%u packet %" PRIu64 " of %zu octets: %s, %lu flows%s%s", from,
              p->late ? "late" : "processed a", p->version, p->id, p->len,
              weir_outcome_text(outcome), c->debug_flows,
              outcome == WEIR_PACKET_REJECTED && err ? ": " : "",
              outcome == WEIR_PACKET_REJECTED && err ? err->msg : "");
    c->debug_flows = 0;
    c->sink->end(c->sink_user, p, outcome, err);
}

static const weir_handlers debug_handlers = {
    .begin = debug_begin,
    .record = debug_record,
    .options = debug_options,
    .tmpl = debug_template,
    .sampling = debug_sampling,
    .fault = debug_fault,
    .end = debug_end,
};

static const weir_handlers *handlers(struct collector *c, void **user)
{
    *user = c->cfg->debug ? (void *)c : c->sink_user;
    return c->cfg->debug ? &debug_handlers : c->sink;
}

static void decode(struct collector *c, const struct pktq_item *p)
{
    weir_err err = {0};
    void *user;
    const weir_handlers *on = handlers(c, &user);
    /* A capture brings its own clock, which may say anything: no difference that could overflow. */
    if (!c->live && p->received_ns / BELL_S > c->ticked_ns / BELL_S) {
        weir_decoder_tick(c->decoder, p->received_ns, on, user);
        c->ticked_ns = p->received_ns;
    }
    weir_status s =
        weir_decode(c->decoder, &p->from, p->received_ns, p->data, p->len, on, user, &err);
    c->fed++;
    unsigned long held;
    if (s != WEIR_OK && due(&c->rejected_warning, &held)) {
        char from[WEIR_ENDPOINT_TEXT];
        (void)weir_endpoint_text(&p->from, from);
        log_warning("rejected a packet of %" PRIu32 " octets from %s: %s (%lu more before it)",
                    p->len, from, err.msg, held);
    }
}

/* Hand the open chunk over; when that cannot be and packets pile up, give it up. False: packets should wait. */
static bool submit(struct collector *c)
{
    if (writer_submit(c->out, false))
        return true;
    /* Towards the end a slow output is waited for, one that cannot be written is not. */
    struct writer_counters n;
    writer_counters(c->out, &n);
    int64_t stop_by = atomic_load(&c->stop_by);
    bool give_up = stop_by ? n.failing || bell_now() > stop_by
                           : c->live && pktq_filled(c->packets) > HIGH_WATER;
    if (!give_up)
        return false;
    writer_drop(c->out);
    unsigned long held;
    if (due(&c->lost_warning, &held)) {
        writer_counters(c->out, &n);
        log_warning("the output is too slow or full: %" PRIu64 " packets (%" PRIu64
                    " records) decoded but lost so far",
                    n.packets_lost, n.records_lost);
    }
    return true;
}

static void save_state(struct collector *c, int64_t now)
{
    uint8_t *data;
    size_t len;
    weir_err err = {0};
    if (!c->cfg->state_path)
        return;
    if (weir_decoder_save(c->decoder, &data, &len, &err) != WEIR_OK) {
        log_warning("cannot save the state: %s", err.msg);
    } else {
        writer_state(c->out, data, len);
    }
    const weir_counters *n = weir_decoder_counters(c->decoder);
    c->state_templates =
        n->templates_learnt + n->templates_changed + n->withdrawn + n->templates_expired;
    c->state_packets = n->packets;
    c->state_at = now;
    /* Saving much takes long: never more than a twentieth of the time. */
    c->state_next = now + STATE_MIN_S * (int64_t)BELL_S;
    int64_t slow = bell_now() + 20 * (bell_now() - now);
    if (slow > c->state_next)
        c->state_next = slow;
}

static void chores(struct collector *c, int64_t now)
{
    void *user;
    const weir_handlers *on = handlers(c, &user);
    if (atomic_exchange(&c->want_stats, false) || (c->next_stats && now >= c->next_stats)) {
        if (c->next_stats)
            c->next_stats = now + (int64_t)c->cfg->stats_interval_ns;
        print_stats(c);
    }
    if (atomic_exchange(&c->want_reopen, false)) {
        (void)writer_submit(c->out, true);
        writer_reopen(c->out);
    }
    if (now < c->next_tick)
        return;
    c->next_tick = now + BELL_S;
    if (c->live)
        weir_decoder_tick(c->decoder, bell_clock(), on, user);
    const weir_counters *n = weir_decoder_counters(c->decoder);
    uint64_t templates =
        n->templates_learnt + n->templates_changed + n->withdrawn + n->templates_expired;
    bool changed = templates != c->state_templates && now >= c->state_next;
    bool old = n->packets != c->state_packets && now >= c->state_at + STATE_MAX_S * (int64_t)BELL_S;
    if (changed || old)
        save_state(c, now);
}

/* Packets of one round; false: none was there. *blocked: the output could not take more. */
static bool decode_round(struct collector *c, bool *blocked)
{
    unsigned n = 0;
    const struct pktq_item *p;
    while (n < ROUND && !*blocked && (p = pktq_take(c->packets))) {
        decode(c, p);
        n++;
        *blocked = writer_full(c->out) && !submit(c);
    }
    pktq_release(c->packets);
    if (n)
        bell_ring(&c->room);
    return n > 0;
}

static void *decoding(void *arg)
{
    struct collector *c = arg;
    bool gathers = writer_gathers(c->out);
    /* Nobody waits for a capture's flows: row groups are filled, unless the capture itself trickles. */
    int64_t flush = (int64_t)c->cfg->flush_ns * (c->filer && !c->live ? CAPTURE_FLUSHES : 1);
    for (;;) {
        int64_t now = bell_now();
        chores(c, now);
        bool blocked = false;
        if (writer_full(c->out) ||
            (writer_open_octets(c->out) && now >= writer_open_since(c->out) + flush))
            blocked = !submit(c);
        /* A chunk that only is due may still grow; a full one may not. */
        blocked = blocked && writer_full(c->out);
        if (!blocked && decode_round(c, &blocked) && !blocked)
            continue;
        if (!blocked && pktq_closed(c->packets))
            break;
        if (!gathers && !blocked) /* plain lines show at once when nothing more is waiting */
            (void)submit(c);
        int64_t until = c->next_tick;
        if (blocked && until > now + 50 * BELL_MS)
            until = now + 50 * BELL_MS;
        else if (writer_open_octets(c->out) && until > writer_open_since(c->out) + flush)
            until = writer_open_since(c->out) + flush;
        if (until <= now)
            until = now + 10 * BELL_MS; /* the queue is full: not at once again */
        bell_wait(&c->work, until);
    }
    void *user;
    const weir_handlers *on = handlers(c, &user);
    weir_decoder_finish(c->decoder, on, user);
    (void)writer_submit(c->out, true);
    save_state(c, bell_now());
    return NULL;
}

/* ---- the main thread: signals ---- */

/* True: it is time to stop. */
static bool heed_signals(struct collector *c)
{
    struct signalfd_siginfo s;
    bool stop = false;
    while (read(c->signal_fd, &s, sizeof s) == (ssize_t)sizeof s) {
        switch (s.ssi_signo) {
        case SIGUSR1:
            atomic_store(&c->want_stats, true);
            break;
        case SIGHUP:
            atomic_store(&c->want_reopen, true);
            break;
        default:
            stop = true;
            break;
        }
    }
    bell_ring(&c->work);
    return stop || atomic_load(&c->reader_gone);
}

static bool look_for_signals(struct collector *c, int timeout_ms)
{
    struct pollfd p[2] = {{.fd = c->signal_fd, .events = POLLIN},
                          {.fd = c->gone_fd, .events = POLLIN}};
    if (poll(p, 2, timeout_ms) <= 0)
        return false;
    if (p[1].revents)
        atomic_store(&c->reader_gone, true);
    return heed_signals(c);
}

/* ---- the main thread: sockets ---- */

/* Put a batch into the queue. wait: for room, as long as stop_by allows; else what does not fit is dropped. */
static void push(struct collector *c, struct sock *from, const struct sock_message *m, size_t n,
                 bool wait)
{
    uint64_t octets = 0, refused = 0, dropped = 0, pushed = 0;
    const weir_endpoint *stranger = NULL;
    for (size_t i = 0; i < n; i++) {
        octets += m[i].len;
        if (!allow_match(&c->cfg->allow, &m[i].from)) {
            refused++;
            stranger = &m[i].from;
            continue;
        }
        bool fits = pktq_put(c->packets, &m[i].from, m[i].received_ns, m[i].data, m[i].len);
        while (!fits && wait && bell_now() < atomic_load(&c->stop_by)) {
            bell_wait(&c->room, bell_now() + 50 * BELL_MS);
            fits = pktq_put(c->packets, &m[i].from, m[i].received_ns, m[i].data, m[i].len);
        }
        *(fits ? &pushed : &dropped) += 1;
    }
    (void)pthread_mutex_lock(&c->lock);
    pktq_commit(c->packets);
    from->datagrams += n;
    from->octets += octets;
    c->datagrams += n;
    c->octets += octets;
    c->refused += refused;
    c->dropped += dropped;
    c->pushed += pushed;
    uint64_t all_refused = c->refused, all_dropped = c->dropped;
    (void)pthread_mutex_unlock(&c->lock);
    bell_ring(&c->work);
    unsigned long held;
    if (stranger && due(&c->refused_warning, &held)) {
        char who[WEIR_ENDPOINT_TEXT];
        (void)weir_endpoint_text(stranger, who);
        log_warning("refused a packet from %s, which no --allow names (%" PRIu64 " so far)", who,
                    all_refused);
    }
    if (dropped && due(&c->queue_warning, &held))
        log_warning("decoding is too slow: %" PRIu64 " packets dropped so far (raise --queue)",
                    all_dropped);
}

/* One batch from one socket; *newest_ns: arrival of its last datagram. */
static size_t receive(struct collector *c, struct sock *s, bool wait, int64_t *newest_ns)
{
    struct sock_message m[SOCK_BATCH];
    int failed = 0;
    unsigned long held;
    /* The counters of s are read by the decoding thread. */
    (void)pthread_mutex_lock(&c->lock);
    size_t n = sock_receive(s, c->batch, m, &failed);
    c->receive_errors += failed != 0;
    (void)pthread_mutex_unlock(&c->lock);
    if (failed && due(&c->error_warning, &held))
        log_warning("receiving on %s: %s (%lu more before it)", s->name, strerror(failed), held);
    if (n) {
        *newest_ns = m[n - 1].received_ns;
        push(c, s, m, n, wait);
    }
    return n;
}

static void warn_of_drops(struct collector *c)
{
    uint64_t drops = 0;
    const char *name = "";
    (void)pthread_mutex_lock(&c->lock);
    for (size_t i = 0; i < c->n_socks; i++) {
        sock_count_drops(&c->socks[i]);
        drops += c->socks[i].kernel_drops;
        if (c->socks[i].kernel_drops)
            name = c->socks[i].name;
    }
    (void)pthread_mutex_unlock(&c->lock);
    unsigned long held;
    if (drops > c->kernel_drops_told && due(&c->drop_warning, &held)) {
        log_warning("the kernel dropped %" PRIu64 " datagrams so far, on %s last (raise "
                    "--receive-buffer and net.core.rmem_max)",
                    drops, name);
        c->kernel_drops_told = drops;
    }
}

/* What had arrived when the signal came is still taken. */
static void drain(struct collector *c)
{
    int64_t until_ns = bell_clock(), deadline = bell_now() + DRAIN_S * (int64_t)BELL_S;
    for (size_t i = 0; i < c->n_socks; i++) {
        int64_t newest_ns = 0;
        while (receive(c, &c->socks[i], true, &newest_ns) && newest_ns <= until_ns &&
               bell_now() < deadline)
            ;
    }
}

static void listening(struct collector *c)
{
    struct pollfd *p = calloc(c->n_socks + 2, sizeof *p);
    if (!p) {
        log_error("out of memory");
        return;
    }
    for (size_t i = 0; i < c->n_socks; i++)
        p[i] = (struct pollfd){.fd = c->socks[i].fd, .events = POLLIN};
    p[c->n_socks] = (struct pollfd){.fd = c->signal_fd, .events = POLLIN};
    p[c->n_socks + 1] = (struct pollfd){.fd = c->gone_fd, .events = POLLIN};
    int64_t next_look = bell_now() + BELL_S;
    for (;;) {
        int ready = poll(p, c->n_socks + 2, 1000);
        size_t most = 0;
        int64_t newest_ns;
        for (size_t i = 0; ready > 0 && i < c->n_socks; i++) {
            size_t n = p[i].revents ? receive(c, &c->socks[i], false, &newest_ns) : 0;
            most = n > most ? n : most;
        }
        if (ready > 0 && p[c->n_socks + 1].revents)
            atomic_store(&c->reader_gone, true);
        if (ready > 0 && (p[c->n_socks].revents || p[c->n_socks + 1].revents) && heed_signals(c))
            break;
        if (bell_now() >= next_look) {
            warn_of_drops(c);
            next_look = bell_now() + BELL_S;
        }
        /* Busy, but not behind: let some arrive, or waking up costs more than receiving. The nap is far
         * shorter than what the smallest receive buffer bridges. */
        if (most >= NAP_BATCH && most < SOCK_BATCH) {
            struct timespec nap = {.tv_nsec = NAP_NS};
            (void)nanosleep(&nap, NULL);
        }
    }
    free(p);
    (void)notify_send("STOPPING=1");
    atomic_store(&c->stop_by, bell_now() + STOP_S * (int64_t)BELL_S);
    drain(c);
}

/* ---- the main thread: captures ---- */

/* False: a signal says stop. */
static bool push_packet(struct collector *c, const struct capture_packet *p)
{
    bool stop = false;
    while (!pktq_put(c->packets, &p->from, p->received_ns, p->data, p->len)) {
        stop = look_for_signals(c, 0);
        if (stop)
            return false;
        bell_wait(&c->room, bell_now() + 50 * BELL_MS);
    }
    (void)pthread_mutex_lock(&c->lock);
    pktq_commit(c->packets);
    c->datagrams++;
    c->octets += p->len;
    c->pushed++;
    bool look = c->datagrams % ROUND == 0;
    (void)pthread_mutex_unlock(&c->lock);
    bell_ring(&c->work);
    return !look || !look_for_signals(c, 0);
}

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
    while (!*stop) {
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
        if (!allow_match(&c->cfg->allow, &p.from)) {
            (void)pthread_mutex_lock(&c->lock);
            c->datagrams++;
            c->octets += p.len;
            c->refused++;
            (void)pthread_mutex_unlock(&c->lock);
            continue;
        }
        *stop = !push_packet(c, &p);
    }
    capture_close(in);
    return good;
}

/* ---- life ---- */

static bool open_one(struct collector *c, const weir_endpoint *at, weir_err *err)
{
    struct sock *s = &c->socks[c->n_socks];
    if (sock_open(s, at, c->cfg->receive_buffer, err) != WEIR_OK)
        return false;
    c->n_socks++;
    if (s->receive_buffer < c->cfg->receive_buffer)
        log_warning("the kernel grants %" PRIu64 " of %" PRIu64
                    " octets of receive buffer on %s (sysctl -w net.core.rmem_max=%" PRIu64
                    ", or pass --receive-buffer)",
                    s->receive_buffer, c->cfg->receive_buffer, s->name, c->cfg->receive_buffer);
    return true;
}

/* 0.0.0.0 and :: at one port. */
static bool open_both(struct collector *c, weir_err *err)
{
    for (int tries = 0; tries < PORT_TRIES; tries++) {
        weir_endpoint at = {.family = 4, .port = c->cfg->port};
        if (!open_one(c, &at, err))
            return false;
        at = (weir_endpoint){.family = 6, .port = c->socks[0].at.port};
        if (open_one(c, &at, err))
            return true;
        if (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL || errno == ENOPROTOOPT) {
            log_info("this machine has no IPv6: listening on IPv4 alone");
            return true;
        }
        if (c->cfg->port || errno != EADDRINUSE)
            return false;
        sock_close(&c->socks[--c->n_socks]); /* the port was free for IPv4 alone: another one */
    }
    return false;
}

static bool open_sockets(struct collector *c, weir_err *err)
{
    size_t n = c->cfg->n_listen ? c->cfg->n_listen : 2;
    c->socks = calloc(n, sizeof *c->socks);
    c->batch = sock_batch_new();
    if (!c->socks || !c->batch) {
        (void)weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
        return false;
    }
    if (!c->cfg->n_listen)
        return open_both(c, err);
    for (size_t i = 0; i < n; i++)
        if (!open_one(c, &c->cfg->listen[i], err))
            return false;
    return true;
}

static bool setup_decoder(struct collector *c, weir_err *err)
{
    const struct collector_config *cfg = c->cfg;
    c->decoder = weir_decoder_new(&cfg->decoder, err);
    if (!c->decoder)
        return false;
    uint8_t *data;
    size_t len;
    weir_status s = WEIR_ENOTFOUND;
    if (cfg->state_path)
        s = state_read(cfg->state_path, &data, &len, err);
    if (s == WEIR_OK) {
        if (weir_decoder_load(c->decoder, data, len, err) != WEIR_OK)
            log_warning("discarded the state file %s: %s", cfg->state_path, err->msg);
        else
            log_info("took up %" PRIu64 " templates from %s",
                     weir_decoder_counters(c->decoder)->templates, cfg->state_path);
        free(data);
    } else if (s != WEIR_ENOTFOUND) {
        log_warning("starting without state: %s", err->msg);
    }
    for (size_t i = 0; i < cfg->n_exporters; i++) {
        const struct collector_exporter *e = &cfg->exporters[i];
        switch (e->what) {
        case COLLECTOR_SCOPE:
            s = weir_decoder_set_scope(c->decoder, &e->address, e->scope);
            break;
        case COLLECTOR_SAMPLING:
            s = weir_decoder_set_sampling(c->decoder, &e->address, e->rate);
            break;
        case COLLECTOR_QUIRKS:
        default:
            s = weir_decoder_set_quirks(c->decoder, &e->address, e->quirks);
            break;
        }
        if (s != WEIR_OK) {
            char name[WEIR_ENDPOINT_TEXT];
            (void)weir_endpoint_addr_text(&e->address, name);
            (void)weir_err_set(err, s, 0, "cannot set up exporter %s: %s", name,
                               weir_status_text(s));
            return false;
        }
    }
    return true;
}

/* What the decoder's handlers feed. */
static bool setup_sink(struct collector *c, weir_err *err)
{
    if (c->cfg->archive) {
        c->sink_user = c->filer = filer_new(c->out);
        c->sink = &filer_handlers;
    } else {
        c->sink_user = c->lines = pyline_new(c->cfg->max_held_octets, take_line, c);
        c->sink = &pyline_handlers;
    }
    if (!c->sink_user)
        (void)weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
    return c->sink_user != NULL;
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

static bool setup(struct collector *c, weir_err *err)
{
    const struct collector_config *cfg = c->cfg;
    if (!setup_signals(c, err) || !setup_decoder(c, err))
        return false;
    if (c->live && !open_sockets(c, err))
        return false;
    c->packets = pktq_new(cfg->queue_octets);
    if (!c->packets) {
        (void)weir_err_set(err, WEIR_ENOMEM, 0, "out of memory for a queue of %" PRIu64 " octets",
                           cfg->queue_octets);
        return false;
    }
    struct writer_options w = {.archive = cfg->archive,
                               .live = c->live,
                               .path = cfg->file,
                               .level = cfg->level,
                               .max_octets = cfg->output_queue_octets,
                               .state_path = cfg->state_path,
                               .room = &c->work,
                               .gone_fd = c->gone_fd};
    c->out = writer_new(&w, err);
    if (!c->out)
        return false;
    /* Last, so that two collectors on one output hear of the output. Where no lock can be made, no state can be
     * written either, which says itself. */
    if (setup_sink(c, err) &&
        (!cfg->state_path || state_lock(cfg->state_path, &c->state_lock, err) != WEIR_ELIMIT))
        return true;
    writer_finish(c->out);
    (void)writer_stop(c->out);
    return false;
}

static void say_ready(struct collector *c)
{
    base_buf b = {0};
    for (size_t i = 0; i < c->n_socks; i++)
        base_buf_printf(&b, "%s%s", i ? ", " : "listening on ", c->socks[i].name);
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
    const weir_counters *n = weir_decoder_counters(c->decoder);
    uint64_t rejected = 0, faults = 0;
    for (size_t i = 0; i < WEIR_N_REJECT; i++)
        rejected += n->rejected[i];
    for (size_t i = 0; i < WEIR_N_FAULT; i++)
        faults += n->faults[i];
    if (c->datagrams == 0)
        log_warning(
            "no export packet in what was read (--port N, when they went to an unusual port)");
    if (rejected || faults || n->expired)
        log_warning("not all could be decoded: %" PRIu64 " packets rejected, %" PRIu64
                    " faults within packets, %" PRIu64
                    " packets whose template never came ('weir decode' names each)",
                    rejected, faults, n->expired);
    return !rejected && !faults && !n->expired;
}

/* After setup: until the end. False: something failed. */
static bool work(struct collector *c)
{
    int64_t now = bell_now();
    c->next_tick = now + BELL_S;
    c->next_stats = c->cfg->stats_interval_ns ? now + (int64_t)c->cfg->stats_interval_ns : 0;
    c->state_at = now;
    int failed = pthread_create(&c->thread, NULL, decoding, c);
    if (failed) {
        log_error("cannot start a thread: %s", strerror(failed));
        writer_finish(c->out);
        (void)writer_stop(c->out);
        return false;
    }
    say_ready(c);
    keeper *k = NULL;
    weir_err err = {0};
    if (c->cfg->archive && c->live && !(k = keeper_start(&c->cfg->keep, &err)))
        log_warning("the archive is neither compacted nor expired: %s", err.msg);
    bool good = true, stop = false;
    if (c->live)
        listening(c);
    for (size_t i = 0; i < c->cfg->n_read && !stop; i++)
        good &= read_capture(c, c->cfg->read[i], &stop);
    if (stop)
        atomic_store(&c->stop_by, bell_now() + STOP_S * (int64_t)BELL_S);
    keeper_stop(k);
    pktq_close(c->packets);
    bell_ring(&c->work);
    /* Signals are still heeded while the rest of a capture is decoded. */
    while (pthread_tryjoin_np(c->thread, NULL) != 0) {
        if (look_for_signals(c, 5) && !atomic_load(&c->stop_by))
            atomic_store(&c->stop_by, bell_now() + STOP_S * (int64_t)BELL_S);
    }
    writer_finish(c->out);
    while (!writer_ended(c->out)) {
        if (look_for_signals(c, 1) && !atomic_load(&c->stop_by))
            atomic_store(&c->stop_by, bell_now() + STOP_S * (int64_t)BELL_S);
        int64_t stop_by = atomic_load(&c->stop_by);
        if (stop_by && bell_now() > stop_by)
            writer_give_up(c->out);
    }
    good &= writer_stop(c->out);
    print_stats(c);
    return good && (c->live || all_decoded(c));
}

int collector_run(const struct collector_config *config)
{
    struct collector c = {.cfg = config,
                          .signal_fd = -1,
                          .gone_fd = -1,
                          .state_lock = -1,
                          .started_ns = bell_clock(),
                          .live = config->n_read == 0};
    weir_err err = {0};
    if (c.live)
        log_patience(LOG_WAIT_MS);
    bell_init(&c.work);
    bell_init(&c.room);
    (void)pthread_mutex_init(&c.lock, NULL);
    bool good = setup(&c, &err);
    if (!good)
        log_error("%s", err.msg);
    good = good && work(&c);
    writer_free(c.out);
    pyline_free(c.lines);
    filer_free(c.filer);
    weir_decoder_free(c.decoder);
    pktq_free(c.packets);
    for (size_t i = 0; i < c.n_socks; i++)
        sock_close(&c.socks[i]);
    free(c.socks);
    sock_batch_free(c.batch);
    if (c.signal_fd >= 0)
        (void)close(c.signal_fd);
    if (c.gone_fd >= 0)
        (void)close(c.gone_fd);
    if (c.state_lock >= 0)
        (void)close(c.state_lock);
    bell_done(&c.work);
    bell_done(&c.room);
    (void)pthread_mutex_destroy(&c.lock);
    return good ? 0 : 1;
}
