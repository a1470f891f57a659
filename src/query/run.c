#include "query/run.h"

#include "archive/archive.h"
#include "base/hash.h"
#include "parquet/reader.h"
#include "query/bits.h"
#include "query/books.h"
#include "query/group.h"
#include "query/order.h"
#include "query/predicate.h"
#include "query/times.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    MAX_THREADS = 256,
    AHEAD = 4, /* row groups a thread that are made ready */
    BUFFERED =
        32 * 1024 * 1024 /* octets of blocks that a row group may have waiting for the sink */
};

const char *query_skip_text(enum query_skip s)
{
    static const char *const texts[QUERY_N_SKIPS] = {
        [QUERY_SKIP_TIME] = "outside the time window",
        [QUERY_SKIP_STATISTICS] = "by their statistics",
        [QUERY_SKIP_DICTIONARY] = "by their dictionaries",
        [QUERY_SKIP_BLOOM] = "by their bloom filters",
    };
    return s < QUERY_N_SKIPS ? texts[s] : "";
}

/* Rows on their way to the sink, with their memory. */
struct block {
    struct block *next;
    struct query_block b;
    struct query_bump memory;
    size_t octets;
};

struct partition {
    archive_scan *scan;
    struct archive_part *parts;
    bool *failed;
    size_t n;
    _Atomic size_t holders; /* tasks, one while tasks are made, and times that are pending */
};

/* One row group. */
struct task {
    struct task *next;
    struct partition *partition;
    size_t part, group;
    uint64_t index, first_no, n_rows, octets;
    enum { WAITING, RUNNING, DONE } state;
    struct block *blocks, *last; /* for the sink, in order */
    size_t buffered;
    uint64_t n_blocks_out; /* given to the sink and back */
};

/* A result on its way. */
struct result {
    const struct query_result *r;
    int *fields; /* of the plan, r->n_fields */
    int *ties;
    size_t n_ties;
    query_groups *groups;
    bool stream;   /* rows go to the sink as they are found */
    uint64_t sent; /* of a stream */
    struct query_sorter_options sort;
};

struct run;

struct worker {
    struct run *run;
    pthread_t thread;
    struct query_scan scan;
    struct query_filter *filter;
    query_grouper **groupers; /* one a result */
    query_sorter **sorters;
    struct query_summary sum;
    struct query_times times;
    bool times_known; /* of all rows of the row group, by its footer */
    uint32_t *rows;
    uint64_t *seq;
    struct block *spare; /* blocks to be used again */
};

struct run {
    const struct query *q;
    struct query_plan plan;
    const struct query_sink *sink;
    struct query_summary *out;
    struct result *results;
    query_pool *pool; /* of groups and their texts */
    query_intern *texts;
    struct worker *workers;
    size_t n_workers;
    bool threaded, need_rows;
    size_t max_octets;
    pthread_rwlock_t spill_lock;
    uint64_t epoch; /* of texts; changed with spill_lock held for writing */

    pthread_mutex_t lock; /* of all that follows */
    pthread_cond_t work, news;
    struct task *head, *tail; /* in order; head is the one whose blocks are given out */
    size_t n_tasks;
    bool no_more;
    weir_status status; /* the first that ends the query */
    weir_err err;
    uint64_t failed_index;
    uint64_t octets_done, octets_seen, rows_done;

    _Atomic bool stopped; /* nobody needs to go on */
    _Atomic bool enough;
    uint64_t next_index, next_no;
    archive_scan **scans;
    size_t n_scans;
};

static weir_status no_memory(weir_err *err)
{
    return weir_err_set(err, WEIR_ENOMEM, 0, "query: out of memory");
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

static uint64_t saturating(uint64_t a, uint64_t b)
{
    uint64_t r;
    return __builtin_add_overflow(a, b, &r) ? UINT64_MAX : r;
}

static void partition_hold(void *partition)
{
    struct partition *p = partition;
    atomic_fetch_add(&p->holders, 1);
}

static void partition_drop(void *partition)
{
    struct partition *p = partition;
    if (atomic_fetch_sub(&p->holders, 1) > 1)
        return;
    archive_scan_release(p->scan, p->parts, p->n);
    free(p->failed);
    free(p);
}

/* ---- one window ---- */

static uint64_t total_of(const struct query_values *v, size_t n)
{
    uint64_t sum = 0, any = 0;
    if (v->v.kind != QUERY_U64)
        return 0;
    if (v->constant)
        return __builtin_mul_overflow(v->v.num[0], n, &sum) ? UINT64_MAX : sum;
    for (size_t i = 0; i < n; i++)
        any |= v->v.num[i];
    if (any >> 40) { /* may wrap */
        for (size_t i = 0; i < n; i++)
            sum = saturating(sum, v->v.num[i]);
        return sum;
    }
    for (size_t i = 0; i < n; i++)
        sum += v->v.num[i];
    return sum;
}

static weir_status add_totals(struct worker *w, struct query_eval *e, weir_err *err)
{
    const struct query_plan *p = &w->run->plan;
    const struct {
        int field;
        uint64_t *to;
    } sums[] = {
        {p->f_flows, &w->sum.flows},         {p->f_packets, &w->sum.packets},
        {p->f_bytes, &w->sum.bytes},         {p->f_out_packets, &w->sum.out_packets},
        {p->f_out_bytes, &w->sum.out_bytes},
    };
    const struct query_values *v;
    size_t n = e->rows.n;
    for (size_t i = 0; i < ARRAY_LEN(sums); i++) {
        WEIR_TRY(query_eval_field(e, sums[i].field, &v, err));
        *sums[i].to = saturating(*sums[i].to, total_of(v, n));
    }
    return w->times_known ? WEIR_OK : query_times_add(&w->times, e, err);
}

static weir_status count_rates(struct worker *w, struct query_eval *e, weir_err *err)
{
    const double *rates;
    uint64_t scaled, unknown;
    if (w->run->plan.c_rate < 0 || w->run->q->raw)
        return WEIR_OK;
    WEIR_TRY(query_eval_rates(e, &rates, &scaled, &unknown, err));
    w->sum.rows_scaled += scaled;
    w->sum.rows_no_rate += unknown;
    return WEIR_OK;
}

/* Texts that stand in a page, which is gone with the next window, move to the block's memory. */
static weir_status keep_texts(struct block *b, struct query_vec *v, weir_err *err)
{
    struct query_text *dict = query_bump_array(&b->memory, (size_t)v->n_dict + 1, sizeof *dict);
    size_t octets = 0;
    for (uint32_t i = 0; i < v->n_dict; i++)
        octets += v->dict[i].len;
    char *at = query_bump_alloc(&b->memory, octets + 1);
    if (!dict || !at)
        return no_memory(err);
    for (uint32_t i = 0; i < v->n_dict; i++) {
        dict[i] = (struct query_text){.data = at, .len = v->dict[i].len};
        if (v->dict[i].len)
            memcpy(at, v->dict[i].data, v->dict[i].len);
        at += v->dict[i].len;
    }
    v->dict = dict;
    return WEIR_OK;
}

static weir_status make_vecs(struct run *run, const struct result *x, struct query_eval *e,
                             struct block *b, bool keep, weir_err *err)
{
    size_t n = x->r->n_fields;
    struct query_vec *vecs = query_bump_array(e->memory, n + 1, sizeof *vecs);
    (void)run;
    if (!vecs)
        return no_memory(err);
    for (size_t f = 0; f < n; f++) {
        const struct query_values *v;
        WEIR_TRY(query_eval_field(e, x->fields[f], &v, err));
        vecs[f] = v->v;
        if (v->constant)
            WEIR_TRY(query_vec_expand(e->memory, &vecs[f], e->rows.n, err));
        bool text = query_is_text(v->v.kind) || v->v.kind == QUERY_TEXT_LIST;
        if (keep && text && v->column < 0)
            WEIR_TRY(keep_texts(b, &vecs[f], err));
    }
    b->b = (struct query_block){.n = e->rows.n, .vecs = vecs};
    return WEIR_OK;
}

/* Rows of a stream to the sink, from the thread that may call it. */
static weir_status send(struct run *run, const struct query_block *b, weir_err *err)
{
    struct result *x = &run->results[0];
    struct query_block some = *b;
    if (x->r->limit && some.n > x->r->limit - x->sent)
        some.n = (size_t)(x->r->limit - x->sent);
    x->sent += some.n;
    if (x->r->limit && x->sent == x->r->limit && run->q->n_results == 1 && !run->plan.want_totals) {
        run->enough = true; /* nothing else wants the rows that follow */
        atomic_store(&run->stopped, true);
    }
    return some.n ? run->sink->block(run->sink->user, 0, &some, err) : WEIR_OK;
}

static weir_status stream(struct worker *w, struct task *t, struct query_eval *rows, weir_err *err)
{
    struct run *run = w->run;
    struct result *x = &run->results[0];
    if (!run->threaded) {
        struct block b = {0};
        if (x->r->limit && x->sent == x->r->limit)
            return WEIR_OK;
        WEIR_TRY(make_vecs(run, x, rows, &b, false, err));
        return send(run, &b.b, err);
    }
    pthread_mutex_lock(&run->lock);
    struct block *b = w->spare;
    if (b)
        w->spare = b->next;
    while (t->buffered > BUFFERED && !atomic_load(&run->stopped))
        pthread_cond_wait(&run->work, &run->lock);
    pthread_mutex_unlock(&run->lock);
    if (atomic_load(&run->stopped))
        return weir_err_set(err, WEIR_END, 0, "stopped");
    if (!b && !(b = calloc(1, sizeof *b)))
        return no_memory(err);
    query_bump_reset(&b->memory);
    struct query_eval e;
    weir_status st = query_eval_init(&e, &run->plan, &w->scan, &b->memory, rows->rows)
                         ? WEIR_OK
                         : no_memory(err);
    if (st == WEIR_OK)
        st = make_vecs(run, x, &e, b, true, err);
    if (st != WEIR_OK) {
        query_bump_done(&b->memory);
        free(b);
        return st;
    }
    b->octets = b->memory.octets;
    b->next = NULL;
    pthread_mutex_lock(&run->lock);
    *(t->blocks ? &t->last->next : &t->blocks) = b;
    t->last = b;
    t->buffered += b->octets;
    pthread_cond_signal(&run->news);
    pthread_mutex_unlock(&run->lock);
    return WEIR_OK;
}

/* A failure that is not the file's. */
struct fatal {
    bool set;
};

static weir_status use_rows(struct worker *w, struct task *t, struct query_rows rows,
                            struct fatal *fatal, weir_err *err)
{
    struct run *run = w->run;
    struct query_scan *s = &w->scan;
    struct query_eval e;
    w->sum.matched += rows.n;
    if (!run->need_rows)
        return WEIR_OK;
    if (!query_eval_init(&e, &run->plan, s, &s->window_memory, rows))
        return no_memory(err);
    WEIR_TRY(count_rates(w, &e, err));
    bool have_seq = false;
    for (size_t i = 0; i < run->q->n_results; i++) {
        struct result *x = &run->results[i];
        if (x->groups) {
            pthread_rwlock_rdlock(&run->spill_lock);
            weir_status st = query_grouper_add(w->groupers[i], &e, t->index, run->epoch, err);
            pthread_rwlock_unlock(&run->spill_lock);
            WEIR_TRY(st);
        } else if (x->stream) {
            weir_status st = stream(w, t, &e, err);
            fatal->set = st != WEIR_OK && !run->threaded && st != WEIR_EFORMAT && st != WEIR_ETRUNC;
            WEIR_TRY(st);
        } else {
            for (size_t k = 0; !have_seq && k < rows.n; k++)
                w->seq[k] = t->index << 32 | (s->at + (rows.at ? rows.at[k] : k));
            have_seq = true;
            weir_status st = query_sorter_add(w->sorters[i], &e, w->seq, err);
            fatal->set = st == WEIR_EIO;
            WEIR_TRY(st);
        }
    }
    /* Last: what results have read need not be read for the totals. */
    return run->plan.want_totals ? add_totals(w, &e, err) : WEIR_OK;
}

static size_t group_octets(const struct run *run)
{
    size_t n = query_intern_octets(run->texts);
    for (size_t i = 0; i < run->q->n_results; i++)
        if (run->results[i].groups)
            n += query_groups_octets(run->results[i].groups);
    return n;
}

/* When groups have grown beyond what they may: all of them go to temporary files, and their texts are forgotten. */
static weir_status spill_when_full(struct run *run, weir_err *err)
{
    if (group_octets(run) <= run->max_octets)
        return WEIR_OK;
    weir_status st = WEIR_OK;
    pthread_rwlock_wrlock(&run->spill_lock);
    if (group_octets(run) > run->max_octets) {
        for (size_t i = 0; i < run->q->n_results && st == WEIR_OK; i++)
            if (run->results[i].groups)
                st = query_groups_spill(run->results[i].groups, run->q->tmp, err);
        if (st == WEIR_OK) {
            query_intern_reset(run->texts);
            run->epoch++;
        }
    }
    pthread_rwlock_unlock(&run->spill_lock);
    return st;
}

static bool asked_to_stop(struct run *run)
{
    if (!atomic_load_explicit(&run->stopped, memory_order_relaxed) && run->q->stop &&
        run->q->stop(run->q->user))
        atomic_store(&run->stopped, true);
    return atomic_load_explicit(&run->stopped, memory_order_relaxed);
}

static weir_status stopped(weir_err *err)
{
    return weir_err_set(err, WEIR_END, 0, "query: stopped");
}

static weir_status end_groups(struct worker *w, weir_err *err)
{
    struct run *run = w->run;
    weir_status st = WEIR_OK;
    for (size_t i = 0; i < run->q->n_results; i++) {
        if (!run->results[i].groups)
            continue;
        pthread_rwlock_rdlock(&run->spill_lock);
        weir_status one = query_grouper_end(w->groupers[i], &w->scan, run->epoch, err);
        pthread_rwlock_unlock(&run->spill_lock);
        st = st == WEIR_OK ? one : st;
    }
    return st;
}

static weir_status scan_rows(struct worker *w, struct task *t, bool all, struct fatal *fatal,
                             weir_err *err)
{
    struct run *run = w->run;
    struct query_scan *s = &w->scan;
    uint64_t bits[QUERY_WINDOW / 64 + 1];
    for (uint64_t at = 0; at < t->n_rows; at += QUERY_WINDOW) {
        uint64_t left = t->n_rows - at;
        size_t n = left < QUERY_WINDOW ? (size_t)left : QUERY_WINDOW;
        if (asked_to_stop(run))
            return stopped(err);
        query_scan_window(s, at, n);
        struct query_rows rows = {.n = n};
        if (!all) {
            WEIR_TRY(query_filter_window(w->filter, bits, err));
            rows.n = query_bits_count(bits, n);
        }
        uint64_t most = run->q->stop_after;
        bool last = most && rows.n >= most - w->sum.matched;
        if (last || (rows.n && rows.n < n && run->need_rows)) {
            if (all)
                query_bits_fill(bits, n);
            if (rows.n < n || last) {
                rows.n = query_bits_rows(bits, n, w->rows);
                rows.at = w->rows;
            }
            if (last)
                rows.n = (size_t)(most - w->sum.matched);
        }
        w->sum.rows += n;
        if (rows.n)
            WEIR_TRY(use_rows(w, t, rows, fatal, err));
        if (last) {
            run->enough = true;
            atomic_store(&run->stopped, true);
            return WEIR_OK;
        }
        if (run->texts) {
            weir_status st = spill_when_full(run, err);
            fatal->set = st != WEIR_OK;
            WEIR_TRY(st);
        }
    }
    return WEIR_OK;
}

static weir_status scan_group(struct worker *w, struct task *t, struct fatal *fatal, weir_err *err)
{
    struct run *run = w->run;
    struct query_scan *s = &w->scan;
    bool none, all;
    enum query_skip why;
    WEIR_TRY(query_scan_open(s, t->partition->parts[t->part].file, t->group, t->first_no, err));
    WEIR_TRY(query_filter_open(w->filter, s, &none, &all, &why, err));
    if (none) {
        w->sum.skipped[why]++;
        w->sum.rows_skipped += t->n_rows;
        return WEIR_OK;
    }
    w->sum.groups_read++;
    if (all && !run->need_rows && !run->q->stop_after) { /* the footer knows */
        w->sum.rows += t->n_rows;
        w->sum.matched += t->n_rows;
        return WEIR_OK;
    }
    w->times_known = false;
    w->times.passed[0] = w->times.passed[1] = NULL; /* of a row group that failed */
    if (all && run->plan.want_totals && !run->q->stop_after)
        WEIR_TRY(query_times_by_footer(&w->times, s, &w->times_known, err));
    WEIR_TRY(scan_rows(w, t, all, fatal, err));
    return query_times_end(&w->times, s, t->partition, err);
}

static void fail(struct run *run, weir_status st, const weir_err *err)
{
    pthread_mutex_lock(&run->lock);
    if (run->status == WEIR_OK) {
        run->status = st;
        run->err = *err;
    }
    atomic_store(&run->stopped, true);
    pthread_cond_broadcast(&run->work);
    pthread_cond_signal(&run->news);
    pthread_mutex_unlock(&run->lock);
}

/* The first file's message, whatever thread met it. */
static void file_failed(struct run *run, uint64_t index, const char *message)
{
    run->out->files_failed++;
    if (index < run->failed_index || !*run->out->failed) {
        run->failed_index = index;
        snprintf(run->out->failed, sizeof run->out->failed, "%s", message);
    }
}

static void do_task(struct worker *w, struct task *t)
{
    struct run *run = w->run;
    weir_err err = {0};
    struct fatal fatal = {0};
    w->scan.octets = 0;
    weir_status st = scan_group(w, t, &fatal, &err);
    /* What was summed up by code must be put away whatever happened. */
    weir_err late = {0};
    weir_status end = end_groups(w, &late);
    if (st == WEIR_OK && end != WEIR_OK) {
        st = end;
        err = late;
    }
    if (st == WEIR_OK && run->texts) {
        st = spill_when_full(run, &err);
        fatal.set = st != WEIR_OK;
    }
    w->sum.octets_read += w->scan.octets;
    w->sum.groups++;
    if (run->threaded) { /* blocks may point into dictionaries of this row group: one may be on its way even after a stop */
        pthread_mutex_lock(&run->lock);
        while (t->blocks)
            pthread_cond_wait(&run->work, &run->lock);
        pthread_mutex_unlock(&run->lock);
    }
    query_filter_close(w->filter);
    query_scan_close(&w->scan);
    if (st == WEIR_OK)
        return;
    if (fatal.set || st == WEIR_ENOMEM || st == WEIR_END || st == WEIR_EINVAL) {
        if (!run->enough)
            fail(run, st, &err);
        return;
    }
    pthread_mutex_lock(&run->lock);
    if (!t->partition->failed[t->part]) {
        t->partition->failed[t->part] = true;
        file_failed(run, t->index, err.msg);
    }
    pthread_mutex_unlock(&run->lock);
}

static void *work(void *arg)
{
    struct worker *w = arg;
    struct run *run = w->run;
    pthread_mutex_lock(&run->lock);
    for (;;) {
        struct task *t = run->head;
        while (t && t->state != WAITING)
            t = t->next;
        if (!t) {
            if (run->no_more || atomic_load(&run->stopped))
                break;
            pthread_cond_wait(&run->work, &run->lock);
            continue;
        }
        t->state = RUNNING;
        pthread_mutex_unlock(&run->lock);
        if (!atomic_load(&run->stopped))
            do_task(w, t);
        pthread_mutex_lock(&run->lock);
        t->state = DONE;
        pthread_cond_signal(&run->news);
    }
    pthread_mutex_unlock(&run->lock);
    return NULL;
}

/* ---- handing out row groups ---- */

static void task_over(struct run *run, struct task *t)
{
    run->octets_done += t->octets;
    run->rows_done += t->n_rows;
    partition_drop(t->partition);
    free(t);
    if (run->q->progress)
        run->q->progress(run->q->user, run->octets_done, run->octets_seen, run->rows_done);
}

/* Give the head's blocks to the sink and take finished row groups off, until fewer than n are left. The lock is held. */
static void attend(struct run *run, size_t n)
{
    while (run->n_tasks >= n && run->n_tasks) {
        struct task *t = run->head;
        if (t->blocks) {
            struct block *b = t->blocks;
            pthread_mutex_unlock(&run->lock);
            weir_err err = {0};
            weir_status st = WEIR_OK;
            if (!atomic_load(&run->stopped))
                st = send(run, &b->b, &err);
            pthread_mutex_lock(&run->lock);
            t->blocks = b->next;
            t->buffered -= b->octets;
            query_bump_done(&b->memory);
            free(b);
            pthread_cond_broadcast(&run->work);
            if (st != WEIR_OK && run->status == WEIR_OK) {
                run->status = st;
                run->err = err;
                atomic_store(&run->stopped, true);
                pthread_cond_broadcast(&run->work);
            }
            continue;
        }
        bool over = t->state == DONE || (t->state == WAITING && atomic_load(&run->stopped));
        if (over) {
            run->head = t->next;
            if (!run->head)
                run->tail = NULL;
            run->n_tasks--;
            pthread_cond_broadcast(&run->work);
            pthread_mutex_unlock(&run->lock);
            task_over(run, t);
            pthread_mutex_lock(&run->lock);
            continue;
        }
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 50000000;
        if (until.tv_nsec >= 1000000000) {
            until.tv_nsec -= 1000000000;
            until.tv_sec++;
        }
        pthread_cond_timedwait(&run->news, &run->lock, &until);
        pthread_mutex_unlock(&run->lock);
        if (asked_to_stop(run)) {
            pthread_mutex_lock(&run->lock);
            if (run->status == WEIR_OK && !run->enough)
                run->status = stopped(&run->err);
            pthread_cond_broadcast(&run->work);
            continue;
        }
        pthread_mutex_lock(&run->lock);
    }
}

static weir_status add_task(struct run *run, struct partition *p, size_t part, size_t group,
                            weir_err *err)
{
    struct task *t = calloc(1, sizeof *t);
    if (!t)
        return no_memory(err);
    struct parquet_group_info info;
    parquet_group(p->parts[part].file, group, &info);
    *t = (struct task){.partition = p,
                       .part = part,
                       .group = group,
                       .index = run->next_index++,
                       .first_no = run->next_no,
                       .n_rows = info.n_rows,
                       .octets = info.octets};
    run->next_no += info.n_rows;
    partition_hold(p);
    if (!run->threaded) {
        do_task(&run->workers[0], t);
        task_over(run, t);
        return WEIR_OK;
    }
    pthread_mutex_lock(&run->lock);
    *(run->tail ? &run->tail->next : &run->head) = t;
    run->tail = t;
    run->n_tasks++;
    pthread_cond_broadcast(&run->work);
    attend(run, AHEAD * run->n_workers);
    pthread_mutex_unlock(&run->lock);
    return WEIR_OK;
}

static weir_status scan_path(struct run *run, size_t path, weir_err *err)
{
    archive_scan *scan = run->scans[path];
    while (!atomic_load(&run->stopped)) {
        struct archive_part *parts = NULL;
        size_t n = 0;
        weir_err why = {0};
        weir_status st = archive_scan_next(scan, &parts, &n, &why);
        if (st == WEIR_END)
            return WEIR_OK;
        if (st == WEIR_ENOMEM)
            return no_memory(err);
        if (st != WEIR_OK) {
            pthread_mutex_lock(&run->lock);
            run->out->files++;
            file_failed(run, run->next_index, why.msg);
            pthread_mutex_unlock(&run->lock);
            continue;
        }
        if (run->q->books)
            query_books_note(run->q->books, path, parts, n);
        struct partition *p = calloc(1, sizeof *p);
        if (!p || !(p->failed = calloc(n + 1, sizeof *p->failed))) {
            free(p);
            archive_scan_release(scan, parts, n);
            return no_memory(err);
        }
        p->scan = scan;
        p->parts = parts;
        p->n = n;
        atomic_init(&p->holders, (size_t)1);
        for (size_t i = 0; i < n; i++) {
            /* The tail follows the row groups of its file, if there are any yet. */
            if (!parts[i].tail || i == 0 || strcmp(parts[i - 1].path, parts[i].path) != 0)
                run->out->files++;
            run->octets_seen += parquet_octets(parts[i].file);
        }
        for (size_t i = 0; i < n && st == WEIR_OK; i++) {
            query_plan_learn(&run->plan, parts[i].file);
            size_t n_groups = parquet_n_groups(parts[i].file);
            for (size_t k = 0; k < n_groups && st == WEIR_OK; k++) {
                if (asked_to_stop(run))
                    break;
                st = add_task(run, p, i, k, err);
            }
        }
        partition_drop(p);
        WEIR_TRY(st);
    }
    return WEIR_OK;
}

static weir_status scan_all(struct run *run, weir_err *err)
{
    const struct query *q = run->q;
    run->scans = calloc(q->n_paths + 1, sizeof(archive_scan *));
    if (!run->scans)
        return no_memory(err);
    for (size_t i = 0; i < q->n_paths && !atomic_load(&run->stopped); i++) {
        WEIR_TRY(archive_scan_open(q->paths[i], FLOW_TABLE_FLOWS, q->range_from, q->range_to,
                                   &run->scans[i], err));
        run->n_scans = i + 1;
        WEIR_TRY(scan_path(run, i, err));
    }
    if (q->books && !atomic_load(&run->stopped))
        query_books_whole(q->books);
    return WEIR_OK;
}

/* ---- planning ---- */

static weir_status plan_result(struct run *run, size_t i, uint64_t seed, weir_err *err)
{
    struct query_plan *p = &run->plan;
    struct result *x = &run->results[i];
    const struct query_result *r = x->r;
    int having = -1;
    if (r->having && !r->grouped)
        return weir_err_set(err, WEIR_EINVAL, 0,
                            "query: a filter of groups needs groups; records have the filter");
    if (r->having)
        WEIR_TRY(query_plan_expr_add(p, r->having, &having, err));
    if (r->grouped)
        WEIR_TRY(query_groups_new(p, r, having, run->pool, seed, &x->groups, err));
    size_t n_ties = r->grouped ? (r->either ? 1 + r->n_also : r->n_keys) : 0;
    x->fields = query_bump_array(&p->memory, r->n_fields + 1, sizeof *x->fields);
    x->ties = query_bump_array(&p->memory, n_ties + 1, sizeof *x->ties);
    if (!x->fields || !x->ties)
        return no_memory(err);
    for (size_t k = 0; k < r->n_fields; k++) {
        struct query_field f = query_plan_result_field(r, k);
        if ((x->fields[k] = query_plan_field_add(p, &f)) < 0)
            return no_memory(err);
    }
    for (size_t k = 0; k < n_ties; k++) {
        const struct query_field *f = r->either && k ? &r->also[k - 1] : &r->keys[k];
        if ((x->ties[x->n_ties++] = query_plan_field_add(p, f)) < 0)
            return no_memory(err);
    }
    for (size_t k = 0; k < r->n_orders; k++)
        if (query_plan_field_add(p, &r->orders[k].field) < 0)
            return no_memory(err);
    x->stream = !r->grouped && !r->n_orders && !i;
    return WEIR_OK;
}

static weir_status make_plan(struct run *run, bool want_totals, weir_err *err)
{
    const struct query *q = run->q;
    uint64_t seed = base_hash_seed();
    WEIR_TRY(query_plan_make(&run->plan, q, want_totals, err));
    run->results = calloc(q->n_results + 1, sizeof *run->results);
    if (!run->results)
        return no_memory(err);
    bool any_groups = false;
    if (q->n_results > ARRAY_LEN(run->out->groups_found))
        return weir_err_set(err, WEIR_EINVAL, 0, "query: more than %zu results at once",
                            ARRAY_LEN(run->out->groups_found));
    for (size_t i = 0; i < q->n_results; i++) {
        run->results[i].r = &q->results[i];
        any_groups = any_groups || q->results[i].grouped;
        WEIR_TRY(plan_result(run, i, seed, err));
    }
    for (size_t i = 0; i < q->n_results; i++) {
        struct result *x = &run->results[i];
        x->sort = (struct query_sorter_options){.plan = &run->plan,
                                                .fields = x->fields,
                                                .n_fields = x->r->n_fields,
                                                .orders = x->r->orders,
                                                .n_orders = x->r->n_orders,
                                                .ties = x->ties,
                                                .n_ties = x->n_ties,
                                                .limit = x->r->limit,
                                                .tmp = q->tmp,
                                                .max_octets = run->max_octets / run->n_workers};
    }
    run->need_rows = q->n_results || want_totals;
    if (any_groups && !(run->texts = query_intern_new(run->pool, seed, run->threaded)))
        return no_memory(err);
    return WEIR_OK;
}

static weir_status make_worker(struct run *run, struct worker *w, weir_err *err)
{
    size_t n = run->q->n_results;
    w->run = run;
    w->scan.plan = &run->plan;
    query_times_init(&w->times, partition_hold, partition_drop);
    w->filter = query_filter_new(&run->plan);
    w->groupers = calloc(n + 1, sizeof(query_grouper *));
    w->sorters = calloc(n + 1, sizeof(query_sorter *));
    w->rows = malloc((QUERY_WINDOW + 8) * sizeof *w->rows);
    w->seq = malloc(QUERY_WINDOW * sizeof *w->seq);
    if (!w->filter || !w->groupers || !w->sorters || !w->rows || !w->seq)
        return no_memory(err);
    for (size_t i = 0; i < n; i++) {
        struct result *x = &run->results[i];
        if (x->groups && !(w->groupers[i] = query_grouper_new(x->groups, run->texts)))
            return no_memory(err);
        if (!x->groups && !x->stream && !(w->sorters[i] = query_sorter_new(&x->sort)))
            return no_memory(err);
    }
    return WEIR_OK;
}

static void worker_done(struct worker *w)
{
    query_times_done(&w->times);
    query_filter_free(w->filter);
    query_scan_done(&w->scan);
    for (size_t i = 0; w->sorters && w->run && i < w->run->q->n_results; i++)
        query_sorter_free(w->sorters[i]);
    free(w->groupers);
    free(w->sorters);
    free(w->rows);
    free(w->seq);
    while (w->spare) {
        struct block *next = w->spare->next;
        query_bump_done(&w->spare->memory);
        free(w->spare);
        w->spare = next;
    }
}

/* ---- results ---- */

static void add_summary(struct query_summary *to, const struct query_summary *from)
{
    to->groups += from->groups;
    to->groups_read += from->groups_read;
    for (size_t i = 0; i < QUERY_N_SKIPS; i++)
        to->skipped[i] += from->skipped[i];
    to->rows += from->rows;
    to->rows_skipped += from->rows_skipped;
    to->matched += from->matched;
    to->flows = saturating(to->flows, from->flows);
    to->packets = saturating(to->packets, from->packets);
    to->bytes = saturating(to->bytes, from->bytes);
    to->out_packets = saturating(to->out_packets, from->out_packets);
    to->out_bytes = saturating(to->out_bytes, from->out_bytes);
    to->rows_scaled += from->rows_scaled;
    to->rows_no_rate += from->rows_no_rate;
    to->octets_read += from->octets_read;
    if (from->first_us < to->first_us)
        to->first_us = from->first_us;
    if (from->last_us > to->last_us)
        to->last_us = from->last_us;
}

struct put {
    struct run *run;
    size_t result;
};

static weir_status put_block(void *user, const struct query_block *b, weir_err *err)
{
    struct put *p = user;
    const struct query_sink *sink = p->run->sink;
    if (asked_to_stop(p->run))
        return stopped(err);
    return sink->block(sink->user, p->result, b, err);
}

static weir_status give_result(struct run *run, size_t i, weir_err *err)
{
    struct result *x = &run->results[i];
    const struct query_sink *sink = run->sink;
    if (!x->stream) {
        WEIR_TRY(sink->begin(sink->user, run->q, i, err));
        query_sorter *s = NULL, *own = NULL;
        weir_status st = WEIR_OK;
        if (x->groups) {
            struct query_sorter_options o = x->sort;
            o.max_octets = run->max_octets;
            if (!(own = s = query_sorter_new(&o)))
                return no_memory(err);
            st = query_groups_finish(x->groups, run->q->tmp, run->max_octets, s, run->q->stop,
                                     run->q->user, &run->out->groups_found[i], err);
            run->out->spilled += query_groups_spilled(x->groups);
        } else {
            s = run->workers[0].sorters[i];
            for (size_t w = 1; w < run->n_workers && st == WEIR_OK; w++)
                st = query_sorter_merge(s, run->workers[w].sorters[i], err);
        }
        struct put put = {run, i};
        if (st == WEIR_OK)
            st = query_sorter_finish(s, put_block, &put, err);
        run->out->spilled += query_sorter_spilled(s);
        query_sorter_free(own);
        WEIR_TRY(st);
    }
    return sink->end(sink->user, i, run->out, err);
}

/* What one thread knows spares the others reading. */
static void finish_times(struct run *run)
{
    int64_t least = INT64_MAX, greatest = INT64_MIN;
    for (size_t i = 0; i < run->n_workers; i++) {
        const struct query_times *t = &run->workers[i].times;
        least = t->certain[0] < least ? t->certain[0] : least;
        least = t->least < least ? t->least : least;
        greatest = t->certain[1] > greatest ? t->certain[1] : greatest;
        greatest = t->greatest > greatest ? t->greatest : greatest;
    }
    for (size_t i = 0; i < run->n_workers; i++) {
        struct query_times *t = &run->workers[i].times;
        weir_err err = {0};
        t->certain[0] = least;
        t->certain[1] = greatest;
        if (query_times_finish(t, &err) != WEIR_OK)
            file_failed(run, run->next_index, err.msg);
    }
}

static weir_status run_all(struct run *run, bool want_totals, weir_err *err)
{
    const struct query *q = run->q;
    uint64_t began = now_ns();
    WEIR_TRY(make_plan(run, want_totals, err));
    run->workers = calloc(run->n_workers, sizeof *run->workers);
    if (!run->workers)
        return no_memory(err);
    for (size_t i = 0; i < run->n_workers; i++)
        WEIR_TRY(make_worker(run, &run->workers[i], err));
    if (q->n_results && run->results[0].stream)
        WEIR_TRY(run->sink->begin(run->sink->user, q, 0, err));

    size_t started = 0;
    weir_status st = WEIR_OK;
    for (; run->threaded && started < run->n_workers; started++)
        if (pthread_create(&run->workers[started].thread, NULL, work, &run->workers[started]))
            break;
    if (run->threaded && !started)
        return weir_err_set(err, WEIR_ENOMEM, 0, "query: cannot start a thread");
    st = scan_all(run, err);
    pthread_mutex_lock(&run->lock);
    if (st != WEIR_OK && run->status == WEIR_OK) {
        run->status = st;
        if (err)
            run->err = *err;
        atomic_store(&run->stopped, true);
    }
    run->no_more = true;
    pthread_cond_broadcast(&run->work);
    attend(run, 0);
    pthread_mutex_unlock(&run->lock);
    for (size_t i = 0; i < started; i++)
        pthread_join(run->workers[i].thread, NULL);

    if (run->status == WEIR_OK)
        finish_times(run);
    for (size_t i = 0; i < run->n_workers; i++) {
        struct worker *w = &run->workers[i];
        w->sum.first_us = w->times.least;
        w->sum.last_us = w->times.greatest;
        add_summary(run->out, &w->sum);
    }
    if (run->out->first_us == INT64_MAX)
        run->out->first_us = 0;
    if (run->out->last_us == INT64_MIN)
        run->out->last_us = 0;
    run->out->elapsed_ns = now_ns() - began;
    if (run->status != WEIR_OK) {
        if (err)
            *err = run->err;
        return run->status;
    }
    if (!run->enough && atomic_load(&run->stopped))
        return stopped(err);
    atomic_store(&run->stopped, false);
    for (size_t i = 0; i < q->n_results; i++)
        WEIR_TRY(give_result(run, i, err));
    run->out->elapsed_ns = now_ns() - began;
    return WEIR_OK;
}

static size_t quarter_of_memory(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), octets = sysconf(_SC_PAGESIZE);
    return pages > 0 && octets > 0 ? (size_t)pages / 4 * (size_t)octets : (size_t)1 << 30;
}

weir_status query_run(const struct query *q, bool want_totals, const struct query_sink *sink,
                      struct query_summary *out, weir_err *err)
{
    struct run run = {.q = q, .sink = sink, .out = out};
    *out = (struct query_summary){.first_us = INT64_MAX, .last_us = INT64_MIN};
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    size_t n = q->threads ? q->threads : cores > 0 ? (size_t)cores : 1;
    /* The first so many records of all: in order. */
    run.n_workers = q->stop_after ? 1 : n > MAX_THREADS ? MAX_THREADS : n;
    run.threaded = run.n_workers > 1;
    run.max_octets = q->max_octets ? q->max_octets : quarter_of_memory();
    pthread_rwlock_init(&run.spill_lock, NULL);
    pthread_mutex_init(&run.lock, NULL);
    pthread_cond_init(&run.work, NULL);
    pthread_cond_init(&run.news, NULL);
    run.pool = query_pool_new();
    weir_status st = run.pool ? run_all(&run, want_totals, err) : no_memory(err);
    for (size_t i = 0; run.workers && i < run.n_workers; i++)
        worker_done(&run.workers[i]);
    free(run.workers);
    for (size_t i = 0; run.results && i < q->n_results; i++)
        query_groups_free(run.results[i].groups);
    free(run.results);
    query_intern_free(run.texts);
    query_pool_free(run.pool);
    for (size_t i = 0; i < run.n_scans; i++)
        archive_scan_close(run.scans[i]);
    free(run.scans);
    query_plan_done(&run.plan);
    pthread_cond_destroy(&run.news);
    pthread_cond_destroy(&run.work);
    pthread_mutex_destroy(&run.lock);
    pthread_rwlock_destroy(&run.spill_lock);
    return st;
}
