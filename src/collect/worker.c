#include "collect/worker.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "collect/filer.h"
#include "collect/state.h"
#include "collect/steer.h"
#include "collect/tally.h"
#include "ledger/account.h"
#include "ledger/checkpoint.h"
#include "render/pyline.h"

enum {
    STATE_MIN_MS = 100, /* between two state files when templates change */
    STATE_MAX_S = 60,   /* when only sequence numbers do */
    REPEAT_S = 60,      /* between two warnings of one kind */
    HIGH_WATER = 750,   /* thousandths of the packet queue: chunks are given up from here on */
    ROUND = 256,        /* packets decoded between two looks at the clock */
    CAPTURE_FLUSHES = 10,
    MAX_WORKERS = LEDGER_CHECKPOINTS,
    MISSES = 64,
    DIRECT_ROWS = 1 << 17 /* struct archive_options has it as the default */
};

/* A warning that may come again and again. */
struct repeated {
    double last;
    unsigned long held;
};

struct worker {
    const struct collector_config *cfg;
    struct worker_options opt;
    struct archive_options archive; /* the writer borrows it */
    pktq *packets;
    writer *out;
    feed *feed;
    receiver *receiver;
    struct bell work; /* for the decoding thread */
    struct bell room; /* for who feeds */
    pthread_t thread;
    bool started, joined, ended;
    atomic_bool want_report, want_reopen;
    atomic_llong stop_by; /* bell_now at which a blocked output is given up; 0: not stopping */
    char *state_path, *checkpoint_path;

    /* the decoding thread's own: */
    weir_decoder *decoder;
    ledger_account *account;
    pyline *lines;             /* for an output of lines */
    filer *filer;              /* for an archive */
    const weir_handlers *sink; /* of whichever it is */
    void *sink_user;
    uint64_t fed, checkpointed;   /* checkpointed: fed when the last checkpoint was made */
    int64_t next_tick, ticked_ns; /* ticked_ns: captures' own clock */
    int64_t state_at, state_next;
    uint64_t state_templates, state_packets;
    struct repeated rejected_warning, lost_warning;
    unsigned long debug_flows;
};

static bool due(struct repeated *r, unsigned long *held)
{
    *held = r->held;
    if (!log_due(&r->last, &r->held, (double)bell_now() / BELL_S, REPEAT_S))
        return false;
    r->held = 0;
    return true;
}

/* ---- what -D shows goes through these on its way to the lines or the archive ---- */

static void take_line(void *user, const char *line, size_t len, unsigned long flows)
{
    worker *w = user;
    writer_line(w->out, line, len, flows);
}

static void debug_begin(void *user, const weir_packet *p)
{
    worker *w = user;
    w->debug_flows = 0;
    w->sink->begin(w->sink_user, p);
}

static void debug_record(void *user, const weir_record *r)
{
    worker *w = user;
    w->debug_flows++;
    w->sink->record(w->sink_user, r);
}

static void debug_options(void *user, const weir_record *r)
{
    worker *w = user;
    if (w->sink->options)
        w->sink->options(w->sink_user, r);
}

static void debug_template(void *user, const weir_packet *p, const weir_template *t,
                           weir_template_event event)
{
    static const char *const words[] = {"learnt",    "changed", "repeated",
                                        "withdrawn", "expired", "conflicting"};
    worker *w = user;
    char from[WEIR_ENDPOINT_TEXT];
    (void)weir_endpoint_text(&p->from, from);
    if (event != WEIR_TEMPLATE_REFRESHED)
        log_debug("%s: template %u of domain %" PRIu32 " %s: %u fields", from, t->id, p->domain,
                  (unsigned)event < ARRAY_LEN(words) ? words[event] : "?", t->n_fields);
    if (w->sink->tmpl)
        w->sink->tmpl(w->sink_user, p, t, event);
}

static void debug_sampling(void *user, const weir_packet *p, uint64_t selector,
                           const weir_sampling *s)
{
    worker *w = user;
    if (w->sink->sampling)
        w->sink->sampling(w->sink_user, p, selector, s);
}

static void debug_fault(void *user, const weir_packet *p, weir_fault fault, const weir_err *err)
{
    worker *w = user;
    char from[WEIR_ENDPOINT_TEXT];
    (void)weir_endpoint_text(&p->from, from);
    log_debug("%s: packet %" PRIu64 ": %s at octet %" PRIu64 ": %s", from, p->id,
              weir_fault_text(fault), err ? err->at : 0, err ? err->msg : "");
    if (w->sink->fault)
        w->sink->fault(w->sink_user, p, fault, err);
}

static void debug_end(void *user, const weir_packet *p, weir_outcome outcome, const weir_err *err)
{
    worker *w = user;
    char from[WEIR_ENDPOINT_TEXT];
    (void)weir_endpoint_text(&p->from, from);
    log_debug("%s: %s v%u packet %" PRIu64 " of %zu octets: %s, %lu flows%s%s", from,
              p->late ? "late" : "processed a", p->version, p->id, p->len,
              weir_outcome_text(outcome), w->debug_flows,
              outcome == WEIR_PACKET_REJECTED && err ? ": " : "",
              outcome == WEIR_PACKET_REJECTED && err ? err->msg : "");
    w->debug_flows = 0;
    w->sink->end(w->sink_user, p, outcome, err);
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

static const weir_handlers *handlers(worker *w, void **user)
{
    *user = w->cfg->debug ? (void *)w : w->sink_user;
    return w->cfg->debug ? &debug_handlers : w->sink;
}

/* ---- the account ---- */

static void take_lost(void *user, flow_batch *const *batches)
{
    worker *w = user;
    for (int t = 0; t < FLOW_N_TABLES; t++) {
        if (!batches[t] || !flow_batch_rows(batches[t]))
            continue;
        if (t != FLOW_TABLE_LEDGER)
            tally_lost(batches[t], w->account);
        else if (!ledger_account_unstored(w->account, batches[t]))
            log_error("out of memory: rows of the ledger are lost");
    }
}

/* What the threads in front of this one and behind it know. */
static void hear(worker *w)
{
    struct feed_miss m[MISSES];
    size_t n;
    if (!w->account)
        return;
    while (w->feed && (n = feed_misses(w->feed, m, MISSES)) > 0) {
        for (size_t i = 0; i < n; i++) {
            if (m[i].dropped)
                ledger_account_dropped(w->account, &m[i].from, m[i].received_ns, m[i].dropped);
            if (m[i].refused)
                ledger_account_refused(w->account, &m[i].from, m[i].received_ns, m[i].refused);
        }
        if (n < MISSES)
            break;
    }
    if (w->receiver && w->opt.live) {
        struct receiver_counters c;
        receiver_read(w->receiver, &c);
        ledger_account_receiver(
            w->account,
            &(struct ledger_receiver){
                .kernel_drops = c.kernel_drops,
                .errors = c.errors,
                .listened_us = c.since_ns ? (uint64_t)(bell_now() - c.since_ns) / BELL_US : 0,
                .buffer = c.buffer});
    }
    writer_lost(w->out, take_lost, w);
}

/* NULL: out of memory. */
static uint8_t *make_checkpoint(worker *w, size_t *len)
{
    base_buf b = {0}, account = {0};
    uint8_t *positions = NULL;
    size_t n = 0;
    bool good = ledger_account_save(w->account, &account) == WEIR_OK;
    if (good && w->state_path)
        good = weir_decoder_save_positions(w->decoder, &positions, &n, NULL) == WEIR_OK;
    if (good) {
        ledger_checkpoint_put(
            &(struct ledger_checkpoint_data){.account = (const uint8_t *)account.data,
                                             .account_len = account.len,
                                             .positions = positions,
                                             .positions_len = n},
            &b);
        good = !b.failed;
    }
    base_buf_done(&account);
    free(positions);
    if (!good) {
        base_buf_done(&b);
        return NULL;
    }
    *len = b.len;
    return (uint8_t *)b.data;
}

/* Before a chunk of an archive is handed over: what is ready of the ledger, and what should be found after a crash. */
static void complete_chunk(worker *w)
{
    filer_flush(w->filer);
    flow_batch *flows = writer_open_batch(w->out, FLOW_TABLE_FLOWS);
    if (flows)
        tally_reversed(flows, w->account);
    if (ledger_account_ready(w->account)) {
        flow_batch *ledger = writer_batch(w->out, FLOW_TABLE_LEDGER);
        if (ledger)
            (void)ledger_account_rows(w->account, ledger,
                                      NULL); /* else they go with the next chunk */
    }
    if (w->checkpoint_path) {
        size_t len = 0;
        hear(w); /* what is said of the minute that goes on is all of one moment */
        uint8_t *data = make_checkpoint(w, &len);
        if (data)
            writer_checkpoint(w->out, data, len);
        w->checkpointed = w->fed;
    }
}

/* Something is to be handed over. */
static bool is_open(const worker *w)
{
    return writer_open_octets(w->out) || (w->filer && filer_noted(w->filer));
}

/* Hand the open chunk over. False: the queue is full, it stays open. */
static bool hand_over(void *user)
{
    worker *w = user;
    if (writer_blocked(w->out))
        return false;
    if (w->filer)
        complete_chunk(w);
    return writer_submit(w->out, false);
}

/* The same; when that cannot be and packets pile up, give the chunk up. False: packets should wait. */
static bool submit(worker *w)
{
    if (hand_over(w))
        return true;
    /* Towards the end a slow output is waited for, one that cannot be written is not. */
    struct writer_counters n;
    writer_counters(w->out, &n);
    int64_t stop_by = atomic_load(&w->stop_by);
    bool give_up = stop_by ? n.failing || bell_now() > stop_by
                           : w->opt.live && pktq_filled(w->packets) > HIGH_WATER;
    if (!give_up)
        return false;
    if (w->filer)
        filer_flush(w->filer);
    writer_drop(w->out);
    hear(w);
    unsigned long held;
    if (due(&w->lost_warning, &held)) {
        writer_counters(w->out, &n);
        log_warning("the output is too slow or full: %" PRIu64 " packets (%" PRIu64
                    " records) decoded but lost so far",
                    n.packets_lost, n.records_lost);
    }
    return true;
}

static void take_part(worker *w, struct stats_part *p)
{
    stats_part_take(p, w->decoder, w->cfg->stats_as_json);
    p->fed = w->fed;
    writer_counters(w->out, &p->out);
    if (w->lines) {
        p->held_octets = pyline_held(w->lines);
        p->split = pyline_split(w->lines);
        p->unrendered = pyline_lost(w->lines);
    }
    if (w->filer)
        p->values_extra = filer_counters(w->filer)->values_extra;
}

static void report(worker *w)
{
    struct stats_part p = {0};
    take_part(w, &p);
    w->opt.report(w->opt.user, w->opt.index, &p); /* p is theirs now */
}

/* ---- decoding ---- */

static void decode(worker *w, const struct pktq_item *p)
{
    weir_err err = {0};
    void *user;
    const weir_handlers *on = handlers(w, &user);
    /* A capture brings its own clock, which may say anything: no difference that could overflow. */
    if (!w->opt.live && p->received_ns / BELL_S > w->ticked_ns / BELL_S) {
        weir_decoder_tick(w->decoder, p->received_ns, on, user);
        w->ticked_ns = p->received_ns;
    }
    if (w->filer) {
        (void)ledger_account_time(w->account, p->received_ns);
        filer_time(w->filer, p->received_ns);
    }
    weir_status s =
        weir_decode(w->decoder, &p->from, p->received_ns, p->data, p->len, on, user, &err);
    w->fed++;
    unsigned long held;
    if (s != WEIR_OK && due(&w->rejected_warning, &held)) {
        char from[WEIR_ENDPOINT_TEXT];
        (void)weir_endpoint_text(&p->from, from);
        log_warning("rejected a packet of %" PRIu32 " octets from %s: %s (%lu more before it)",
                    p->len, from, err.msg, held);
    }
}

static uint64_t template_changes(const weir_counters *n)
{
    return n->templates_learnt + n->templates_changed + n->withdrawn + n->templates_expired;
}

/* Where streams stand is the checkpoint's, where there is one: it must not be ahead of what is stored, or flows that die with
 * this process would be missed by nobody. */
static weir_status make_state(const worker *w, uint8_t **data, size_t *len, weir_err *err)
{
    return w->checkpoint_path ? weir_decoder_save_templates(w->decoder, data, len, err)
                              : weir_decoder_save(w->decoder, data, len, err);
}

static void save_state(worker *w, int64_t now)
{
    uint8_t *data;
    size_t len;
    weir_err err = {0};
    if (!w->state_path)
        return;
    if (make_state(w, &data, &len, &err) != WEIR_OK)
        log_warning("cannot save the state: %s", err.msg);
    else
        writer_state(w->out, data, len);
    const weir_counters *n = weir_decoder_counters(w->decoder);
    w->state_templates = template_changes(n);
    w->state_packets = n->packets;
    w->state_at = now;
    /* Saving much takes long: never more than a twentieth of the time. */
    w->state_next = now + STATE_MIN_MS * (int64_t)BELL_MS;
    int64_t slow = bell_now() + 20 * (bell_now() - now);
    if (slow > w->state_next)
        w->state_next = slow;
}

/* Templates are saved soon after they were learnt: killed before that, all that follows would wait for them. */
static void look_after_state(worker *w, int64_t now)
{
    const weir_counters *n = weir_decoder_counters(w->decoder);
    bool changed = template_changes(n) != w->state_templates && now >= w->state_next;
    bool old = n->packets != w->state_packets && now >= w->state_at + STATE_MAX_S * (int64_t)BELL_S;
    if (changed || old)
        save_state(w, now);
}

static void chores(worker *w, int64_t now)
{
    void *user;
    const weir_handlers *on = handlers(w, &user);
    if (atomic_exchange(&w->want_report, false))
        report(w);
    if (atomic_exchange(&w->want_reopen, false)) {
        if (w->filer)
            filer_flush(w->filer);
        (void)writer_submit(w->out, true);
        writer_reopen(w->out);
    }
    if (w->state_path)
        look_after_state(w, now);
    if (now < w->next_tick)
        return;
    w->next_tick = now + BELL_S;
    if (w->opt.live)
        weir_decoder_tick(w->decoder, bell_clock(), on, user);
    if (!w->account)
        return;
    hear(w);
    ledger_account_sample(w->account);
    if (w->opt.live && pktq_empty(w->packets)) /* nobody can be late */
        (void)ledger_account_time(w->account, bell_clock());
    bool more =
        ledger_account_ready(w->account) || (w->checkpoint_path && w->fed != w->checkpointed);
    if (more && !is_open(w))
        (void)hand_over(w);
}

/* Packets of one round; false: none was there. *blocked: the output could not take more. */
static bool decode_round(worker *w, bool *blocked)
{
    unsigned n = 0;
    const struct pktq_item *p;
    while (n < ROUND && !*blocked && (p = pktq_take(w->packets))) {
        decode(w, p);
        n++;
        *blocked = writer_full(w->out) && !submit(w);
    }
    pktq_release(w->packets);
    if (n)
        bell_ring(&w->room);
    return n > 0;
}

static void *decoding(void *arg)
{
    worker *w = arg;
    bool gathers = writer_gathers(w->out);
    if (w->account && w->opt.live) { /* so that also who hears of nobody knows which minute it is */
        (void)ledger_account_time(w->account, bell_clock());
        hear(w);
    }
    /* Nobody waits for a capture's flows: row groups are filled, unless the capture itself trickles. */
    int64_t flush = (int64_t)w->cfg->flush_ns * (w->filer && !w->opt.live ? CAPTURE_FLUSHES : 1);
    for (;;) {
        int64_t now = bell_now();
        chores(w, now);
        bool blocked = false;
        if (writer_full(w->out) || (is_open(w) && now >= writer_open_since(w->out) + flush))
            blocked = !submit(w);
        /* A chunk that only is due may still grow; a full one may not. */
        blocked = blocked && writer_full(w->out);
        if (!blocked && decode_round(w, &blocked) && !blocked)
            continue;
        if (!blocked && pktq_closed(w->packets))
            break;
        if (!gathers && !blocked) /* plain lines show at once when nothing more is waiting */
            (void)submit(w);
        int64_t until = w->next_tick;
        if (blocked && until > now + 50 * BELL_MS)
            until = now + 50 * BELL_MS;
        else if (is_open(w) && until > writer_open_since(w->out) + flush)
            until = writer_open_since(w->out) + flush;
        if (w->state_path &&
            template_changes(weir_decoder_counters(w->decoder)) != w->state_templates &&
            until > w->state_next)
            until = w->state_next;
        if (until <= now)
            until = now + 10 * BELL_MS; /* the queue is full: not at once again */
        bell_wait(&w->work, until);
    }
    void *user;
    const weir_handlers *on = handlers(w, &user);
    weir_decoder_finish(w->decoder, on, user);
    if (w->account) {
        hear(w);
        ledger_account_cut(w->account);
        complete_chunk(w);
    }
    (void)writer_submit(w->out, true);
    save_state(w, bell_now());
    return NULL;
}

/* ---- life ---- */

static bool is_mine(void *user, const weir_endpoint *exporter)
{
    const worker *w = user;
    return steer_of(exporter, w->opt.n_workers) == w->opt.index;
}

/* PATH for the first worker, PATH.w1 for the second. */
static char *path_of(const char *path, unsigned index)
{
    char *name;
    if (!path || (index ? asprintf(&name, "%s.w%u", path, index) : asprintf(&name, "%s", path)) < 0)
        return NULL;
    return name;
}

/* All state files there are, of however many workers: each takes its own exporters. */
static void load_states(worker *w)
{
    bool found = false;
    weir_err err = {0};
    for (unsigned i = 0; i < MAX_WORKERS; i++) {
        char *name = path_of(w->cfg->state_path, i);
        uint8_t *data;
        size_t len;
        weir_status s = name ? state_read(name, &data, &len, &err) : WEIR_ENOMEM;
        if (s == WEIR_OK) {
            found = true;
            if (weir_decoder_load_some(w->decoder, data, len, is_mine, w, &err) != WEIR_OK &&
                !w->opt.index)
                log_warning("discarded the state file %s: %s", name, err.msg);
            free(data);
        } else if (s != WEIR_ENOTFOUND && !w->opt.index) {
            log_warning("starting without state: %s", err.msg);
        }
        free(name);
        if (s == WEIR_ENOTFOUND && i >= w->opt.n_workers)
            break;
    }
    uint64_t n = weir_decoder_counters(w->decoder)->templates;
    if (found && (n || !w->opt.index))
        log_info("took up %" PRIu64 " templates from %s", n, w->cfg->state_path);
}

/* One copy of a checkpoint was taken up; the other one may have been the newer. */
static void say_damaged(const char *path)
{
    struct ledger_checkpoint_state now;
    if (ledger_checkpoint_look(path, &now, NULL) != WEIR_OK)
        return;
    for (int i = 0; i < 2; i++)
        if (now.damaged[i])
            log_warning("%s.%c is damaged, took up the other copy: about a second of counts before "
                        "the collector ended is missing at most",
                        path, 'a' + i);
}

/* One checkpoint: positions of whoever's exporters are ours, the account of its own worker (of one that is no more: the
 * first takes it). */
static void load_checkpoint(worker *w, const char *path, bool account, ledger_taken *taken)
{
    uint8_t *data;
    size_t len;
    weir_err err = {0};
    weir_status s = ledger_checkpoint_read(path, 0, &data, &len, &err);
    if (s == WEIR_OK) {
        struct ledger_checkpoint_data d;
        bool stale = false;
        s = ledger_checkpoint_get(data, len, &d, &err);
        if (s == WEIR_OK && d.account_len)
            s = ledger_account_resume(account ? w->account : NULL, d.account, d.account_len, taken,
                                      &stale, &err);
        if (stale && account)
            log_warning("the checkpoint %s is older than the ledger (put back, or its newer copy "
                        "is damaged): "
                        "what was counted last before the collector ended is missing",
                        path);
        /* From old positions on, what came until they were forgotten would be missed. */
        if (s == WEIR_OK && !stale && w->state_path && d.positions_len)
            s = weir_decoder_load_some(w->decoder, d.positions, d.positions_len, is_mine, w, &err);
        free(data);
    }
    if (s != WEIR_OK && s != WEIR_ENOTFOUND && account)
        log_warning(
            "the checkpoint %s is of no use: %s (what was counted of the last minute before "
            "the collector ended is missing)",
            path, err.msg);
    else if (s == WEIR_OK && account)
        say_damaged(path);
}

static void load_checkpoints(worker *w)
{
    ledger_taken *taken = ledger_taken_new(w->cfg->archive->dir);
    if (!taken)
        log_error("out of memory: the checkpoints are not taken up");
    for (unsigned i = 0; taken && i < MAX_WORKERS; i++) {
        char *name = ledger_checkpoint_path(w->cfg->archive->dir, i);
        bool stale = i >= w->opt.n_workers;
        if (name)
            load_checkpoint(w, name, i == w->opt.index || (stale && !w->opt.index), taken);
        free(name);
    }
    ledger_taken_free(taken);
}

/* Killed later, the next collector must find each exporter's state once and each row of the ledger once: with another number
 * of workers than last time, what is an exporter's stands in a file of somebody who does not have it any more. */
bool worker_settle(worker *w)
{
    bool good = true;
    uint8_t *data = NULL;
    size_t len = 0;
    weir_err err = {0};
    if (w->state_path) {
        good = make_state(w, &data, &len, &err) == WEIR_OK &&
               state_write(w->state_path, data, len, &err) == WEIR_OK;
        if (!good)
            log_warning("cannot save the state: %s", err.msg);
        free(data);
    }
    if (good && w->checkpoint_path) {
        data = make_checkpoint(w, &len);
        good = data && writer_checkpoint_now(w->out, data, len);
        free(data);
    }
    return good;
}

void worker_forget_others(const struct collector_config *cfg, unsigned n_workers)
{
    for (unsigned i = n_workers; i < MAX_WORKERS; i++) {
        char *name = cfg->archive ? ledger_checkpoint_path(cfg->archive->dir, i) : NULL;
        if (name)
            ledger_checkpoint_remove(name);
        free(name);
        name = path_of(cfg->state_path, i);
        if (name)
            (void)remove(name);
        free(name);
    }
}

/* The limits of all workers together are those that were asked for. */
static weir_decoder_options share_of(const weir_decoder_options *all, unsigned n)
{
    weir_decoder_options o = *all;
    o.max_exporters = (o.max_exporters + n - 1) / n;
    o.max_streams = (o.max_streams + n - 1) / n;
    o.max_state_octets = (o.max_state_octets + n - 1) / n;
    o.max_waiting_total = (o.max_waiting_total + n - 1) / n;
    return o;
}

static bool setup_decoder(worker *w, weir_err *err)
{
    const struct collector_config *cfg = w->cfg;
    weir_decoder_options o = share_of(&cfg->decoder, w->opt.n_workers);
    w->decoder = weir_decoder_new(&o, err);
    if (!w->decoder)
        return false;
    if (cfg->state_path)
        load_states(w);
    for (size_t i = 0; i < cfg->n_exporters; i++) {
        const struct collector_exporter *e = &cfg->exporters[i];
        if (!is_mine(w, &e->address))
            continue;
        weir_status s;
        switch (e->what) {
        case COLLECTOR_SCOPE:
            s = weir_decoder_set_scope(w->decoder, &e->address, e->scope);
            break;
        case COLLECTOR_SAMPLING:
            s = weir_decoder_set_sampling(w->decoder, &e->address, e->rate);
            break;
        case COLLECTOR_QUIRKS:
        default:
            s = weir_decoder_set_quirks(w->decoder, &e->address, e->quirks);
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
static bool setup_sink(worker *w, weir_err *err)
{
    if (w->cfg->archive) {
        w->account = ledger_account_new(w->decoder, w->opt.index);
        w->sink_user = w->filer = w->account ? filer_new(w->out, w->account, hand_over, w) : NULL;
        w->sink = &filer_handlers;
    } else {
        w->sink_user = w->lines = pyline_new(w->cfg->max_held_octets, take_line, w);
        w->sink = &pyline_handlers;
    }
    if (!w->sink_user) {
        (void)weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
        return false;
    }
    if (w->checkpoint_path)
        load_checkpoints(w);
    return true;
}

static bool setup_writer(worker *w, weir_err *err)
{
    const struct collector_config *cfg = w->cfg;
    if (cfg->archive) {
        w->archive = *cfg->archive;
        w->archive.worker = w->opt.index;
        w->archive.beside = (archive_writer *)(uintptr_t)w->opt.beside;
        /* Rows that are no row group yet are in memory, of each worker: together as many as one alone would have. */
        if (!w->archive.direct_rows && w->opt.n_workers > 1)
            w->archive.direct_rows =
                w->opt.n_workers < 4 ? DIRECT_ROWS / w->opt.n_workers : DIRECT_ROWS / 4;
    }
    struct writer_options o = {.archive = cfg->archive ? &w->archive : NULL,
                               .live = w->opt.live,
                               .path = cfg->file,
                               .level = cfg->level,
                               .max_octets = cfg->output_queue_octets / w->opt.n_workers,
                               .state_path = w->state_path,
                               .checkpoint = w->checkpoint_path,
                               .room = &w->work,
                               .gone_fd = w->opt.gone_fd};
    w->out = writer_new(&o, err);
    return w->out != NULL;
}

worker *worker_new(const struct worker_options *o, weir_err *err)
{
    worker *w = calloc(1, sizeof *w);
    if (!w) {
        (void)weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
        return NULL;
    }
    w->opt = *o;
    w->cfg = o->config;
    w->state_path = path_of(w->cfg->state_path, o->index);
    if (w->cfg->archive && o->live)
        w->checkpoint_path = ledger_checkpoint_path(w->cfg->archive->dir, o->index);
    w->packets = pktq_new(w->cfg->queue_octets / o->n_workers);
    if (!w->packets) {
        (void)weir_err_set(err, WEIR_ENOMEM, 0, "out of memory for a queue of %" PRIu64 " octets",
                           w->cfg->queue_octets);
        worker_free(w);
        return NULL;
    }
    /* The output first, so that two collectors on one hear of it before anything else. */
    if (!setup_writer(w, err)) {
        worker_free(w);
        return NULL;
    }
    if (!setup_decoder(w, err) || !setup_sink(w, err)) {
        worker_free(w);
        return NULL;
    }
    return w;
}

weir_status worker_start(worker *w, feed *f, receiver *r, weir_err *err)
{
    w->feed = f;
    w->receiver = r;
    int64_t now = bell_now();
    w->next_tick = now + BELL_S;
    w->state_at = now;
    w->state_templates = template_changes(weir_decoder_counters(w->decoder));
    int failed = pthread_create(&w->thread, NULL, decoding, w);
    if (failed)
        return weir_err_set(err, WEIR_ENOMEM, 0, "cannot start a thread: %s", strerror(failed));
    w->started = true;
    return WEIR_OK;
}

struct feed_queue worker_queue(worker *w)
{
    return (struct feed_queue){.packets = w->packets, .work = &w->work};
}

struct bell *worker_room(worker *w)
{
    return &w->room;
}

const archive_writer *worker_archive(const worker *w)
{
    return writer_archive(w->out);
}

void worker_ask(worker *w)
{
    atomic_store(&w->want_report, true);
    bell_ring(&w->work);
}

void worker_reopen(worker *w)
{
    atomic_store(&w->want_reopen, true);
    bell_ring(&w->work);
}

void worker_close(worker *w)
{
    pktq_close(w->packets);
    bell_ring(&w->work);
}

void worker_stop_by(worker *w, int64_t stop_by)
{
    atomic_store(&w->stop_by, stop_by);
    bell_ring(&w->work);
}

bool worker_decoded(worker *w)
{
    if (w->started && !w->joined)
        w->joined = pthread_tryjoin_np(w->thread, NULL) == 0;
    return !w->started || w->joined;
}

void worker_finish(worker *w)
{
    writer_finish(w->out);
}

bool worker_written(worker *w, int64_t now)
{
    if (writer_ended(w->out))
        return true;
    int64_t stop_by = atomic_load(&w->stop_by);
    if (stop_by && now > stop_by)
        writer_give_up(w->out);
    return false;
}

bool worker_end(worker *w, struct stats_part *part)
{
    bool good = writer_stop(w->out);
    w->ended = true;
    take_part(w, part);
    if (!w->checkpoint_path)
        return good;
    /* What could not be stored is in the checkpoint, which has its room on the disk: the next collector tells of it. */
    hear(w);
    size_t len = 0;
    uint8_t *data = make_checkpoint(w, &len);
    ledger_checkpoint *c = NULL;
    if (data && ledger_checkpoint_open(w->checkpoint_path, &c, NULL) == WEIR_OK)
        (void)ledger_checkpoint_write(c, data, len);
    ledger_checkpoint_close(c);
    free(data);
    return good;
}

void worker_free(worker *w)
{
    if (!w)
        return;
    if (w->out && !w->ended) { /* it never began to work */
        writer_finish(w->out);
        (void)writer_stop(w->out);
    }
    writer_free(w->out);
    pyline_free(w->lines);
    filer_free(w->filer);
    ledger_account_free(w->account);
    weir_decoder_free(w->decoder);
    pktq_free(w->packets);
    free(w->state_path);
    free(w->checkpoint_path);
    free(w);
}
