#include "collect/writer.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "collect/state.h"

/* A sampling rate that became known while the chunk was open. */
struct rate {
    uint8_t addr[16], len;
    uint32_t domain;
    uint64_t selector;
    double rate;
    const char *source;
};

/* More rates than this in one chunk are left to queries, which look them up among the options records. */
enum { MAX_RATES = 64 };

struct chunk {
    struct chunk *next;
    base_buf text;
    flow_batch *batches[FLOW_N_TABLES]; /* NULL until needed */
    int64_t received_ns; /* arrival of the latest packet that was not late, 0: none */
    struct rate *rates;
    size_t n_rates;
    uint64_t packets, records;
    size_t octets;       /* in memory, once it is in the queue */
    size_t done;         /* octets of text already written (plain output) */
    uint8_t *checkpoint; /* checkpoint_len octets for when it is stored, NULL: none */
    size_t checkpoint_len;
    bool stored[FLOW_N_TABLES]; /* that batch is in the archive already */
    bool reopen;                /* nothing in it: open the output anew */
};

enum { MAX_SPARE = 8, MAX_SPARE_BATCHES = 1, MAX_SPARE_OCTETS = 4 * WRITER_CHUNK };

struct writer {
    struct writer_options opt;
    output *out;
    archive_writer *archive;
    ledger_checkpoint *checkpoint;
    pthread_t thread;
    struct bell work;
    atomic_bool stopping, give_up, ended, gone, failed;

    struct chunk *open; /* the decoding thread's own */
    int64_t open_since;
    uint64_t packets, records, packets_lost, records_lost; /* lost: before they were in a chunk */

    pthread_mutex_t lock; /* of all that follows, taken once a chunk */
    struct chunk *first, **last, *spare, *lost;
    unsigned n_spare;
    struct writer_counters n; /* of chunks that were handed over or dropped */
    uint64_t lost_before;     /* packets, when it was told to finish */
    uint8_t *state;
    size_t state_len;

    double warned; /* the writing thread's own */
    unsigned long held;
    bool state_failed, checkpoint_failed;
};

/* ---- chunks ---- */

static struct chunk *chunk_new(writer *w)
{
    (void)pthread_mutex_lock(&w->lock);
    struct chunk *c = w->spare;
    if (c) {
        w->spare = c->next;
        w->n_spare--;
    }
    (void)pthread_mutex_unlock(&w->lock);
    if (!c && (c = calloc(1, sizeof *c)) && !w->archive)
        /* a line over the edge still fits without growing */
        (void)base_buf_room(&c->text, WRITER_CHUNK + WRITER_CHUNK / 4);
    return c;
}

static void chunk_free(struct chunk *c)
{
    if (c) {
        base_buf_done(&c->text);
        for (size_t i = 0; i < FLOW_N_TABLES; i++)
            flow_batch_free(c->batches[i]);
        free(c->rates);
        free(c->checkpoint);
    }
    free(c);
}

static size_t chunk_octets(const struct chunk *c)
{
    size_t n = c->text.len;
    for (size_t i = 0; i < ARRAY_LEN(c->batches); i++)
        if (c->batches[i] && flow_batch_rows(c->batches[i]))
            n += flow_batch_octets(c->batches[i]);
    return n;
}

/* With w->lock held. */
static void recycle(writer *w, struct chunk *c)
{
    if (w->n_spare >= (w->archive ? MAX_SPARE_BATCHES : MAX_SPARE) ||
        c->text.cap > MAX_SPARE_OCTETS) {
        chunk_free(c);
        return;
    }
    base_buf_reset(&c->text);
    for (size_t i = 0; i < ARRAY_LEN(c->batches); i++)
        if (c->batches[i])
            flow_batch_reset(c->batches[i]);
    struct chunk kept = {.text = c->text, .rates = c->rates, .next = w->spare};
    memcpy(kept.batches, c->batches, sizeof kept.batches);
    free(c->checkpoint);
    *c = kept;
    w->spare = c;
    w->n_spare++;
}

/* With w->lock held: a chunk leaves the count of what is queued. */
static void settle(writer *w, const struct chunk *c, bool written)
{
    w->n.packets_queued -= c->packets;
    w->n.records_queued -= c->records;
    w->n.octets_queued -= c->octets;
    *(written ? &w->n.packets_written : &w->n.packets_lost) += c->packets;
    *(written ? &w->n.records_written : &w->n.records_lost) += c->records;
    if (written)
        w->n.octets_written += c->text.len;
}

/* The open chunk, made when there is none. NULL: out of memory. */
static struct chunk *open_chunk(writer *w)
{
    if (!w->open && (w->open = chunk_new(w)))
        w->open_since = bell_now();
    return w->open;
}

void writer_line(writer *w, const char *line, size_t len, unsigned long records)
{
    char *at = open_chunk(w) ? base_buf_room(&w->open->text, len) : NULL;
    w->packets++;
    w->records += records;
    if (!at) {
        w->packets_lost++;
        w->records_lost += records;
        if (w->open)
            w->open->text.failed = false;
        return;
    }
    if (!w->open->text.len)
        w->open_since = bell_now();
    base_buf_add(&w->open->text, line, len);
    w->open->octets += len;
    w->open->packets++;
    w->open->records += records;
}

flow_batch *writer_batch(writer *w, enum flow_table table)
{
    struct chunk *c = open_chunk(w);
    if (c && !c->batches[table])
        c->batches[table] = flow_batch_new(table);
    return c ? c->batches[table] : NULL;
}

flow_batch *writer_open_batch(writer *w, enum flow_table table)
{
    return w->open ? w->open->batches[table] : NULL;
}

void writer_packet(writer *w, int64_t received_ns, unsigned long records, unsigned long lost)
{
    struct chunk *c = w->open;
    if (c && !c->packets)
        w->open_since = bell_now();
    if (c && received_ns > c->received_ns)
        c->received_ns = received_ns;
    if (c && records) {
        c->packets++;
        c->records += records;
    } else {
        w->packets_lost++;
    }
    w->packets++;
    w->records += records + lost;
    w->records_lost += lost;
}

void writer_unmake(writer *w, unsigned long records)
{
    if (w->open)
        w->open->records -= records; /* those of the packet that is being decoded are added later */
    w->records_lost += records;
}

int64_t writer_slot(const writer *w, int64_t received_ns)
{
    return archive_slot(w->archive, received_ns);
}

void writer_sampling(writer *w, const weir_endpoint *exporter, uint32_t domain, uint64_t selector,
                     const weir_sampling *s)
{
    struct chunk *c = open_chunk(w);
    if (!c || s->rate <= 0)
        return;
    if (!c->rates)
        c->rates = calloc(MAX_RATES, sizeof *c->rates);
    if (!c->rates || c->n_rates == MAX_RATES)
        return;
    struct rate *r = &c->rates[c->n_rates++];
    *r = (struct rate){.len = exporter->family == 6 ? 16 : 4,
                       .domain = domain,
                       .selector = selector,
                       .rate = s->rate,
                       .source = weir_origin_text((weir_origin)s->origin)};
    memcpy(r->addr, exporter->addr, sizeof r->addr);
}

size_t writer_open_octets(const writer *w)
{
    return w->open ? chunk_octets(w->open) : 0;
}

int64_t writer_open_since(const writer *w)
{
    return w->open_since;
}

bool writer_full(const writer *w)
{
    if (!w->open)
        return false;
    size_t octets = chunk_octets(w->open);
    if (!w->archive)
        return octets >= WRITER_CHUNK;
    for (size_t i = 0; i < ARRAY_LEN(w->open->batches); i++)
        if (w->open->batches[i] && flow_batch_rows(w->open->batches[i]) >= WRITER_BATCH_ROWS)
            return true;
    return octets >= WRITER_BATCH_OCTETS;
}

bool writer_gathers(const writer *w)
{
    return w->archive || output_is_gzip(w->out);
}

static void enqueue(writer *w, struct chunk *c)
{
    c->next = NULL;
    *w->last = c;
    w->last = &c->next;
}

bool writer_blocked(writer *w)
{
    size_t open = w->archive ? 0 : writer_open_octets(w);
    (void)pthread_mutex_lock(&w->lock);
    /* One chunk may always be handed over. */
    bool full = w->first && w->n.octets_queued + open > w->opt.max_octets;
    (void)pthread_mutex_unlock(&w->lock);
    return full;
}

void writer_checkpoint(writer *w, uint8_t *data, size_t len)
{
    struct chunk *c = open_chunk(w);
    if (c)
        free(c->checkpoint);
    if (!c) {
        free(data);
        return;
    }
    c->checkpoint = data;
    c->checkpoint_len = len;
}

/* What is wrong with the checkpoint is said when it begins and when it ends, and counted each time. */
static void tell_checkpoint(writer *w, bool stored)
{
    const char *trouble = ledger_checkpoint_trouble(w->checkpoint);
    bool failed = trouble || !stored;
    if (failed) {
        (void)pthread_mutex_lock(&w->lock);
        w->n.checkpoints_failed++;
        (void)pthread_mutex_unlock(&w->lock);
    }
    if (failed && !w->checkpoint_failed)
        log_warning("the checkpoint cannot be written: %s (%s; move away what stands there: it is "
                    "tried again each second)",
                    trouble ? trouble : "out of memory",
                    stored ? "its other copy alone is, flows are stored as ever"
                           : "flows are stored as ever, but a kill loses what the ledger counts of "
                             "the minute");
    else if (!failed && w->checkpoint_failed)
        log_info("the checkpoint can be written again");
    w->checkpoint_failed = failed;
}

static bool put_checkpoint(writer *w, const uint8_t *data, size_t len)
{
    bool stored = ledger_checkpoint_write(w->checkpoint, data, len) == WEIR_OK;
    tell_checkpoint(w, stored);
    return stored;
}

bool writer_checkpoint_now(writer *w, const uint8_t *data, size_t len)
{
    return w->checkpoint && put_checkpoint(w, data, len);
}

bool writer_submit(writer *w, bool force)
{
    struct chunk *c = w->open;
    if (!c || (!chunk_octets(c) && !c->checkpoint))
        return true;
    if (!force && writer_blocked(w))
        return false;
    if (w->archive) {
        c->octets = 0;
        for (size_t i = 0; i < ARRAY_LEN(c->batches); i++)
            c->octets += c->batches[i] ? flow_batch_memory(c->batches[i]) : 0;
        for (size_t i = 0; c->batches[FLOW_TABLE_FLOWS] && i < c->n_rates; i++) {
            const struct rate *r = &c->rates[i];
            (void)flow_batch_sampling(c->batches[FLOW_TABLE_FLOWS], r->addr, r->len, r->domain,
                                      r->selector, r->rate, r->source);
        }
    }
    (void)pthread_mutex_lock(&w->lock);
    w->n.packets_queued += c->packets;
    w->n.records_queued += c->records;
    w->n.octets_queued += c->octets;
    enqueue(w, c);
    (void)pthread_mutex_unlock(&w->lock);
    w->open = NULL;
    bell_ring(&w->work);
    return true;
}

/* With w->lock held: a chunk that leaves the queue, or never was there. */
static void leave(writer *w, struct chunk *c, bool written)
{
    if (written || !w->archive) {
        recycle(w, c);
        return;
    }
    c->next = w->lost;
    w->lost = c;
}

void writer_drop(writer *w)
{
    struct chunk *c = w->open;
    if (!c)
        return;
    (void)pthread_mutex_lock(&w->lock);
    w->n.packets_lost += c->packets;
    w->n.records_lost += c->records;
    leave(w, c, false);
    (void)pthread_mutex_unlock(&w->lock);
    w->open = NULL;
}

void writer_lost(writer *w, writer_lost_fn *fn, void *user)
{
    for (;;) {
        (void)pthread_mutex_lock(&w->lock);
        struct chunk *c = w->lost;
        w->lost = c ? c->next : NULL;
        (void)pthread_mutex_unlock(&w->lock);
        if (!c)
            return;
        flow_batch *batches[FLOW_N_TABLES];
        for (size_t i = 0; i < FLOW_N_TABLES; i++)
            batches[i] = c->stored[i] ? NULL : c->batches[i];
        fn(user, batches);
        (void)pthread_mutex_lock(&w->lock);
        recycle(w, c);
        (void)pthread_mutex_unlock(&w->lock);
    }
}

void writer_reopen(writer *w)
{
    if (w->archive)
        return; /* names its files itself */
    struct chunk *c = calloc(1, sizeof *c);
    if (!c) {
        log_error("out of memory: the output is not opened anew");
        return;
    }
    c->reopen = true;
    (void)pthread_mutex_lock(&w->lock);
    enqueue(w, c);
    (void)pthread_mutex_unlock(&w->lock);
    bell_ring(&w->work);
}

void writer_state(writer *w, uint8_t *data, size_t len)
{
    (void)pthread_mutex_lock(&w->lock);
    free(w->state);
    w->state = data;
    w->state_len = len;
    (void)pthread_mutex_unlock(&w->lock);
    bell_ring(&w->work);
}

void writer_counters(writer *w, struct writer_counters *out)
{
    (void)pthread_mutex_lock(&w->lock);
    *out = w->n;
    (void)pthread_mutex_unlock(&w->lock);
    out->packets = w->packets;
    out->records = w->records;
    out->packets_lost += w->packets_lost;
    out->records_lost += w->records_lost;
    if (w->open) {
        out->packets_queued += w->open->packets;
        out->records_queued += w->open->records;
        out->octets_queued += w->open->text.len;
    }
}

const archive_writer *writer_archive(const writer *w)
{
    return w->archive;
}

/* ---- the writing thread ---- */

static void save_state(writer *w)
{
    (void)pthread_mutex_lock(&w->lock);
    uint8_t *data = w->state;
    size_t len = w->state_len;
    w->state = NULL;
    (void)pthread_mutex_unlock(&w->lock);
    if (!data)
        return;
    weir_err err = {0};
    bool failed = state_write(w->opt.state_path, data, len, &err) != WEIR_OK;
    if (failed && !w->state_failed)
        log_warning("%s (templates will not survive a restart)", err.msg);
    w->state_failed = failed;
    free(data);
}

static void failing(writer *w, const weir_err *err)
{
    struct writer_counters n;
    (void)pthread_mutex_lock(&w->lock);
    w->n.failing = true;
    n = w->n;
    (void)pthread_mutex_unlock(&w->lock);
    if (log_due(&w->warned, &w->held, (double)bell_now() / BELL_S, 60))
        log_warning(
            "%s: %llu packets (%llu records) wait, %llu packets (%llu records) lost so far; "
            "still receiving, trying again every second",
            err->msg, (unsigned long long)n.packets_queued, (unsigned long long)n.records_queued,
            (unsigned long long)n.packets_lost, (unsigned long long)n.records_lost);
}

static void working(writer *w)
{
    (void)pthread_mutex_lock(&w->lock);
    bool was = w->n.failing;
    w->n.failing = false;
    uint64_t packets = w->n.packets_lost, records = w->n.records_lost;
    (void)pthread_mutex_unlock(&w->lock);
    if (was) {
        w->warned = 0;
        log_info("%s can be written again; lost %llu packets (%llu records) so far",
                 w->archive ? w->opt.archive->dir : w->opt.path, (unsigned long long)packets,
                 (unsigned long long)records);
    }
}

/* All batches of a chunk into the archive; called again with what failed. */
static weir_status store_batches(writer *w, struct chunk *c, weir_err *err)
{
    int64_t received_ns = c->received_ns ? c->received_ns : bell_clock();
    for (size_t i = 0; i < ARRAY_LEN(c->batches); i++) {
        if (!c->stored[i] && c->batches[i] && flow_batch_rows(c->batches[i]))
            WEIR_TRY(archive_writer_store(w->archive, c->batches[i], received_ns, err));
        c->stored[i] = true;
    }
    /* Flows that are stored and not yet accounted for would be taken for lost after a crash, never the other way round. */
    if (c->checkpoint && w->checkpoint)
        (void)put_checkpoint(w, c->checkpoint, c->checkpoint_len);
    for (size_t i = 0; i < c->n_rates; i++) {
        const struct rate *r = &c->rates[i];
        archive_writer_sampling(w->archive, r->addr, r->len, r->domain, r->selector, r->rate,
                                r->source);
    }
    return WEIR_OK;
}

static weir_status write_once(writer *w, struct chunk *c, weir_err *err)
{
    uint64_t added = 0;
    weir_status s = WEIR_OK;
    if (w->archive)
        s = store_batches(w, c, err);
    else
        s = output_write(w->out, c->text.data, c->text.len, &c->done, &added, err);
    (void)pthread_mutex_lock(&w->lock);
    w->n.octets_file += added;
    if (w->archive)
        w->n.octets_file = w->n.octets_written = archive_writer_counters(w->archive)->octets;
    (void)pthread_mutex_unlock(&w->lock);
    return s;
}

/* Files whose time is over are closed. */
static void tick(writer *w)
{
    weir_err err = {0};
    if (!w->archive || !w->opt.live)
        return;
    if (archive_writer_tick(w->archive, bell_clock(), &err) != WEIR_OK)
        failing(w, &err);
}

/* One chunk, until it is written or given up (false). */
static bool write_chunk(writer *w, struct chunk *c)
{
    weir_err err = {0};
    weir_status s = WEIR_END;
    if (c->reopen) {
        if (output_reopen(w->out, &err) == WEIR_OK)
            log_info("opened %s anew", w->opt.path);
        else
            log_error("%s; going on with the old file", err.msg);
        return true;
    }
    while (!atomic_load(&w->gone)) {
        s = write_once(w, c, &err);
        if (s == WEIR_OK) {
            working(w);
            break;
        }
        if (s == WEIR_END) {
            log_error("%s", err.msg);
            atomic_store(&w->gone, true);
            uint64_t one = 1;
            (void)!write(w->opt.gone_fd, &one, sizeof one);
            break;
        }
        failing(w, &err);
        if (atomic_load(&w->stopping))
            break;
        int64_t again = bell_now() + BELL_S;
        while (!atomic_load(&w->stopping) && bell_now() < again) {
            bell_wait(&w->work, again);
            save_state(w);
        }
    }
    (void)pthread_mutex_lock(&w->lock);
    settle(w, c, s == WEIR_OK);
    (void)pthread_mutex_unlock(&w->lock);
    return s == WEIR_OK;
}

static void *run(void *arg)
{
    writer *w = arg;
    for (;;) {
        bool last = atomic_load(&w->stopping); /* read before the queue is looked at */
        save_state(w);
        (void)pthread_mutex_lock(&w->lock);
        struct chunk *c = w->first;
        (void)pthread_mutex_unlock(&w->lock);
        if (!c) {
            if (last)
                break;
            bell_wait(&w->work, bell_now() + (w->archive ? 1 : 60) * (int64_t)BELL_S);
            tick(w);
            continue;
        }
        bool written = write_chunk(w, c);
        (void)pthread_mutex_lock(&w->lock);
        w->first = c->next;
        if (!w->first)
            w->last = &w->first;
        leave(w, c, written);
        (void)pthread_mutex_unlock(&w->lock);
        bell_ring(w->opt.room);
    }
    if (w->archive) {
        weir_err err = {0};
        if (archive_writer_close(w->archive, &err) != WEIR_OK) {
            log_error("%s (the next collector on this archive recovers what is there)", err.msg);
            atomic_store(&w->failed, true);
        }
    }
    output_close(w->out);
    w->out = NULL;
    w->archive = NULL;
    atomic_store(&w->ended, true);
    return NULL;
}

/* ---- life ---- */

static void interrupted(int sig)
{
    (void)sig; /* only there to make write() return */
}

writer *writer_new(const struct writer_options *o, weir_err *err)
{
    writer *w = calloc(1, sizeof *w);
    if (!w) {
        (void)weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
        return NULL;
    }
    w->opt = *o;
    w->last = &w->first;
    (void)pthread_mutex_init(&w->lock, NULL);
    struct sigaction sa = {.sa_handler = interrupted};
    (void)sigaction(SIGUSR2, &sa, NULL);
    weir_status opened = o->archive ? archive_writer_open(o->archive, &w->archive, err)
                                    : output_open(o->path, o->level, &w->give_up, &w->out, err);
    if (opened != WEIR_OK) {
        writer_free(w);
        return NULL;
    }
    if (o->checkpoint && ledger_checkpoint_open(o->checkpoint, &w->checkpoint, err) != WEIR_OK) {
        (void)archive_writer_close(w->archive, NULL);
        writer_free(w);
        return NULL;
    }
    int failed = pthread_create(&w->thread, NULL, run, w);
    if (failed) {
        (void)weir_err_set(err, WEIR_ENOMEM, 0, "cannot start a thread: %s", strerror(failed));
        (void)archive_writer_close(w->archive, NULL);
        output_close(w->out);
        writer_free(w);
        return NULL;
    }
    return w;
}

void writer_finish(writer *w)
{
    (void)writer_submit(w, true);
    (void)pthread_mutex_lock(&w->lock);
    w->lost_before = w->n.packets_lost;
    (void)pthread_mutex_unlock(&w->lock);
    atomic_store(&w->stopping, true);
    bell_ring(&w->work);
}

bool writer_ended(writer *w)
{
    return atomic_load(&w->ended);
}

void writer_give_up(writer *w)
{
    /* The signal may come just before write() begins to wait: hence again and again. */
    atomic_store(&w->give_up, true);
    (void)pthread_kill(w->thread, SIGUSR2);
}

bool writer_stop(writer *w)
{
    (void)pthread_join(w->thread, NULL);
    return w->n.packets_lost == w->lost_before && !atomic_load(&w->gone) &&
           !atomic_load(&w->failed);
}

void writer_free(writer *w)
{
    if (!w)
        return;
    for (struct chunk *c = w->first, *next; c; c = next) {
        next = c->next;
        chunk_free(c);
    }
    for (struct chunk *c = w->spare, *next; c; c = next) {
        next = c->next;
        chunk_free(c);
    }
    for (struct chunk *c = w->lost, *next; c; c = next) {
        next = c->next;
        chunk_free(c);
    }
    chunk_free(w->open);
    ledger_checkpoint_close(w->checkpoint);
    free(w->state);
    (void)pthread_mutex_destroy(&w->lock);
    free(w);
}
