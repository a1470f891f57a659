/* A question to archives as a stream of batches: the query runs in a thread of its own, which waits when nobody takes what it
 * has found.
 *
 *     query_run ──blocks──▶ gather ──batches──▶ ready[] ──▶ get_next
 *         ▲ stop                                  ▲ room, more
 *         └────────── ended: the stream was released, or the answer freed ─┘ */
#include "archive/archive.h"
#include "arrow/gather.h"
#include "base/err.h"
#include "query/books.h"
#include "query/complete.h"
#include "query/extras.h"
#include "query/format.h"
#include "query/lookup.h"
#include "query/tokens.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

enum {
    BATCH_ROWS = 65536,
    BATCH_OCTETS = 64 << 20,
    MAX_READY = 3, /* batches that wait to be taken */
    MAX_THREADS = 1024
};

struct weir_answer {
    atomic_size_t holders; /* the stream, the answer */
    pthread_t thread;
    atomic_bool ended; /* nobody wants the rest */
    pthread_mutex_t lock;
    pthread_cond_t more, room; /* a batch is ready or the question is done; one was taken */
    /* under the lock */
    struct ArrowArray ready[MAX_READY]; /* the first is taken next */
    size_t n_ready;
    bool done, joined;
    weir_status status; /* when done */
    weir_err why;
    base_buf summary;
    /* of whoever calls get_next */
    weir_err err;
    /* of the thread, after it has started; names and types may be read by all */
    query_arena *arena;
    struct query q;
    struct query_result result;
    struct query_order order;
    struct query_fields {
        struct query_field *items;
        const char **names;
        size_t n, cap;
    } fields;
    struct query_field *keys;
    size_t n_keys;
    struct query_paths paths;
    struct query_extras extras;
    arrow_gather *rows;
};

static weir_status no_memory(weir_err *err)
{
    return weir_err_set(err, WEIR_ENOMEM, 0, "query: out of memory");
}

static int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* ---- the thread ---- */

static bool stop(void *user)
{
    weir_answer *a = user;
    return atomic_load_explicit(&a->ended, memory_order_relaxed);
}

/* What was gathered becomes a batch that can be taken. */
static weir_status hand_over(weir_answer *a, weir_err *err)
{
    struct ArrowArray batch;
    if (arrow_gather_rows(a->rows) == 0)
        return WEIR_OK;
    WEIR_TRY(arrow_gather_take(a->rows, &batch, err));
    pthread_mutex_lock(&a->lock);
    while (a->n_ready == MAX_READY && !atomic_load(&a->ended))
        pthread_cond_wait(&a->room, &a->lock);
    bool wanted = !atomic_load(&a->ended);
    if (wanted) {
        a->ready[a->n_ready++] = batch;
        pthread_cond_broadcast(&a->more);
    }
    pthread_mutex_unlock(&a->lock);
    if (wanted)
        return WEIR_OK;
    batch.release(&batch);
    return WEIR_END;
}

static weir_status sink_begin(void *user, const struct query *q, size_t result, weir_err *err)
{
    (void)user;
    (void)q;
    (void)result;
    (void)err;
    return WEIR_OK;
}

static weir_status sink_block(void *user, size_t result, const struct query_block *b, weir_err *err)
{
    (void)result;
    weir_answer *a = user;
    for (size_t at = 0; at < b->n;) {
        size_t room = BATCH_ROWS - arrow_gather_rows(a->rows);
        size_t n = b->n - at < room ? b->n - at : room;
        WEIR_TRY(arrow_gather_add(a->rows, b, at, n, err));
        at += n;
        if (arrow_gather_rows(a->rows) == BATCH_ROWS ||
            arrow_gather_octets(a->rows) >= BATCH_OCTETS)
            WEIR_TRY(hand_over(a, err));
    }
    return WEIR_OK;
}

static weir_status sink_end(void *user, size_t result, const struct query_summary *s, weir_err *err)
{
    (void)result;
    (void)s;
    return hand_over(user, err);
}

static weir_status run(weir_answer *a, weir_err *err)
{
    struct query_sink sink = {sink_begin, sink_block, sink_end, a};
    struct query_summary sum = {0};
    a->q.lookup = query_lookup_new();
    a->q.books = query_books_new();
    if (!a->q.lookup || !a->q.books)
        return no_memory(err);
    WEIR_TRY(query_lookup_options(a->q.lookup, a->q.paths, a->q.n_paths, err));
    WEIR_TRY(query_run(&a->q, true, &sink, &sum, err));
    if (sum.files == 0 && (a->q.range_from || a->q.range_to))
        return weir_err_set(err, WEIR_ENOTFOUND, 0,
                            "query: no file of that range (give DIR, DIR/FIRST or "
                            "DIR/FIRST:LAST)");
    if (sum.files && sum.files_failed == sum.files) /* of some that failed the summary tells */
        return weir_err_set(err, WEIR_EIO, 0, "%s", sum.failed);
    struct query_completeness *complete = malloc(sizeof *complete);
    if (!complete)
        return no_memory(err);
    query_complete_read(&a->q, now_us(), complete);
    sum.complete = complete;
    query_summary_json(&a->q, &sum, &a->summary);
    while (a->summary.len && a->summary.data[a->summary.len - 1] == '\n')
        a->summary.len--;
    base_buf_char(&a->summary, 0);
    free(complete);
    return a->summary.failed ? no_memory(err) : WEIR_OK;
}

static void *work(void *user)
{
    weir_answer *a = user;
    weir_err err = {.code = WEIR_OK};
    weir_status s = run(a, &err);
    pthread_mutex_lock(&a->lock);
    a->done = true;
    a->status = s;
    a->why = err;
    pthread_cond_broadcast(&a->more);
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

/* ---- its end ---- */

static void drop_ready(weir_answer *a)
{
    for (size_t i = 0; i < a->n_ready; i++)
        a->ready[i].release(&a->ready[i]);
    a->n_ready = 0;
}

static void answer_free(weir_answer *a)
{
    drop_ready(a);
    arrow_gather_free(a->rows);
    query_lookup_free(a->q.lookup);
    query_books_free(a->q.books);
    query_extras_done(&a->extras);
    free(a->fields.items);
    free((void *)a->fields.names);
    query_arena_free(a->arena);
    base_buf_done(&a->summary);
    pthread_cond_destroy(&a->more);
    pthread_cond_destroy(&a->room);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

/* One of the two holders goes. A question that still runs ends here: nothing is read any more when this returns. */
static void let_go(weir_answer *a)
{
    pthread_mutex_lock(&a->lock);
    if (!a->done) {
        atomic_store(&a->ended, true);
        drop_ready(a);
    }
    bool join = !a->joined;
    a->joined = true;
    pthread_cond_broadcast(&a->more);
    pthread_cond_broadcast(&a->room);
    pthread_mutex_unlock(&a->lock);
    if (join)
        pthread_join(a->thread, NULL);
    if (atomic_fetch_sub(&a->holders, 1) == 1)
        answer_free(a);
}

/* ---- the stream ---- */

static int get_schema(struct ArrowArrayStream *stream, struct ArrowSchema *out)
{
    weir_answer *a = stream->private_data;
    return arrow_errno(arrow_schema_make(arrow_gather_types(a->rows), a->fields.n, out, &a->err));
}

static int get_next(struct ArrowArrayStream *stream, struct ArrowArray *out)
{
    weir_answer *a = stream->private_data;
    int status = 0;
    *out = (struct ArrowArray){.release = NULL};
    pthread_mutex_lock(&a->lock);
    while (!a->n_ready && !a->done && !atomic_load(&a->ended))
        pthread_cond_wait(&a->more, &a->lock);
    if (a->n_ready) {
        *out = a->ready[0];
        for (size_t i = 1; i < a->n_ready; i++)
            a->ready[i - 1] = a->ready[i];
        a->n_ready--;
        pthread_cond_broadcast(&a->room);
    } else if (atomic_load(&a->ended)) {
        status = ECANCELED;
        weir_err_set(&a->err, WEIR_END, 0, "query: it was ended before its last batch");
    } else if (a->status != WEIR_OK) {
        status = arrow_errno(a->status);
        a->err = a->why;
    }
    pthread_mutex_unlock(&a->lock);
    return status;
}

static const char *get_last_error(struct ArrowArrayStream *stream)
{
    const weir_answer *a = stream->private_data;
    return a->err.msg[0] ? a->err.msg : NULL;
}

static void release(struct ArrowArrayStream *stream)
{
    let_go(stream->private_data);
    stream->release = NULL;
}

/* ---- what is asked ---- */

static weir_status plan_paths(weir_answer *a, const weir_query *w, weir_err *err)
{
    const char **paths = query_arena_alloc(a->arena, (w->n_paths + 1) * sizeof *paths);
    if (!paths)
        return no_memory(err);
    size_t n = w->paths ? w->n_paths : 0;
    for (size_t i = 0; i < n; i++)
        if (!(paths[i] = query_arena_text(a->arena, w->paths[i], strlen(w->paths[i]))))
            return no_memory(err);
    /* A path that is none may be a range of an archive's files: DIR/FIRST:LAST. */
    struct stat st;
    bool range = n == 1 && stat(paths[0], &st) != 0;
    WEIR_TRY(query_paths_find(a->arena, paths, range ? 0 : n, range ? paths[0] : NULL, NULL,
                              &a->paths, err));
    a->q.paths = a->paths.items;
    a->q.n_paths = a->paths.n;
    a->q.range_from = a->paths.from;
    a->q.range_to = a->paths.to;
    for (size_t i = 0; i < a->paths.n; i++) {
        archive_scan *scan;
        WEIR_TRY(archive_scan_open(a->paths.items[i], FLOW_TABLE_FLOWS, a->paths.from, a->paths.to,
                                   &scan, err));
        archive_scan_close(scan);
    }
    return WEIR_OK;
}

static weir_status plan_filter(weir_answer *a, const char *text, weir_err *err)
{
    /* Neither names of hosts nor files are looked up: asking is to stay what it looks like. */
    const struct query_filter_options o = {.resolve = NULL};
    struct query_error where = {0};
    struct query_expr *e = NULL;
    char *copy = text ? query_arena_text(a->arena, text, strlen(text)) : NULL;
    if (text && !copy)
        return no_memory(err);
    weir_err why = {.code = WEIR_OK};
    weir_status s =
        query_filter_parse(a->arena, copy, copy ? strlen(copy) : 0, &o, &e, &where, &why);
    a->q.filter = e;
    if (s == WEIR_OK || s == WEIR_ENOMEM || s == WEIR_ELIMIT)
        return s == WEIR_OK ? s : weir_err_set(err, s, 0, "filter: %s", why.msg);
    return weir_err_set(err, WEIR_EFORMAT, where.column, "filter: line %u, column %u: %s%s%s",
                        where.line ? where.line : 1, where.column + 1, why.msg,
                        where.expected[0] ? "; expected is " : "", where.expected);
}

/* ---- columns ---- */

static weir_status add_field(weir_answer *a, const struct query_field *f, const char *name,
                             weir_err *err)
{
    struct query_fields *l = &a->fields;
    for (size_t i = 0; i < l->n; i++)
        if (strcmp(l->items[i].name, f->name) == 0)
            return WEIR_OK;
    if (l->n == l->cap) {
        size_t cap = l->cap ? 2 * l->cap : 32;
        struct query_field *items = realloc(l->items, cap * sizeof *items);
        if (!items)
            return no_memory(err);
        l->items = items;
        const char **names = realloc((void *)l->names, cap * sizeof *names);
        if (!names)
            return no_memory(err);
        l->names = names;
        l->cap = cap;
    }
    l->items[l->n] = *f;
    l->names[l->n++] = name;
    return WEIR_OK;
}

/* A field of a list of columns as groups have it: a key with its arguments, the number of flows that were counted. */
static weir_status group_field(const weir_answer *a, struct query_field *f, const char **name,
                               weir_err *err)
{
    for (size_t i = 0; i < a->n_keys; i++) {
        const struct query_field *k = &a->keys[i];
        if (query_field_same(k, f) ||
            (f->what == QUERY_F_DERIVED && k->what == f->what && k->id == f->id && k->n == f->n)) {
            *f = *k;
            return WEIR_OK;
        }
    }
    if (!query_format_of_groups(f))
        return weir_err_set(err, WEIR_EFORMAT, 0,
                            "columns: groups have no value for '%.60s': they have their keys, "
                            "first, last and counters",
                            f->name);
    if (f->what == QUERY_F_COLUMN && f->id == FLOW_flows) {
        *f = query_field_derived(QUERY_D_N_FLOWS);
        *name = "flows";
    }
    return WEIR_OK;
}

static weir_status plan_listed(weir_answer *a, const char *list, weir_err *err)
{
    struct query_token_use use = {.arena = a->arena, .keys = a->keys, .n_keys = a->n_keys};
    const char *at = query_arena_text(a->arena, list, strlen(list));
    if (!at)
        return no_memory(err);
    for (;;) {
        const struct query_token *t;
        struct query_field f;
        const char *name = NULL;
        weir_status s = query_column_next(&use, &at, &t, &f, err);
        if (s == WEIR_END)
            return WEIR_OK;
        if (s != WEIR_OK)
            return s;
        if (t && !t->f[0])
            return weir_err_set(err, WEIR_EFORMAT, 0, "columns: %%%s is no column", t->name);
        if (t)
            f = t->f[1] && t->op != QUERY_CELL_PORT && t->op != QUERY_CELL_VERSION
                    ? query_field_derived(QUERY_D_DURATION)
                    : query_token_field(t, 0);
        if (a->n_keys)
            WEIR_TRY(group_field(a, &f, &name, err));
        WEIR_TRY(add_field(a, &f, name, err));
    }
}

/* Keys, first, last and counters. */
static weir_status plan_groups(weir_answer *a, weir_err *err)
{
    const struct query_field first = query_field_column(FLOW_first),
                             last = query_field_column(FLOW_last),
                             flows = query_field_derived(QUERY_D_N_FLOWS),
                             packets = query_field_column(FLOW_packets),
                             bytes = query_field_column(FLOW_bytes);
    for (size_t i = 0; i < a->n_keys; i++)
        WEIR_TRY(add_field(a, &a->keys[i], NULL, err));
    WEIR_TRY(add_field(a, &first, NULL, err));
    WEIR_TRY(add_field(a, &last, NULL, err));
    WEIR_TRY(add_field(a, &flows, "flows", err));
    WEIR_TRY(add_field(a, &packets, NULL, err));
    return add_field(a, &bytes, NULL, err);
}

static weir_status plan_all(weir_answer *a, weir_err *err)
{
    for (int i = 0; i < FLOW_N_COLUMNS; i++) {
        struct query_field f = query_field_column((enum flow_column_id)i);
        WEIR_TRY(add_field(a, &f, NULL, err));
    }
    for (size_t i = 0; i < a->extras.n; i++)
        WEIR_TRY(add_field(a, &a->extras.items[i], NULL, err));
    return WEIR_OK;
}

static weir_status plan_result(weir_answer *a, const weir_query *w, weir_err *err)
{
    struct query_result *r = &a->result;
    r->limit = w->limit;
    if (w->by) {
        char *by = query_arena_text(a->arena, w->by, strlen(w->by));
        if (!by)
            return no_memory(err);
        WEIR_TRY(query_keys_parse(a->arena, by, &a->keys, &a->n_keys, err));
        r->grouped = true;
        r->keys = a->keys;
        r->n_keys = a->n_keys;
    }
    if (w->order) {
        char *order = query_arena_text(a->arena, w->order, strlen(w->order));
        if (!order)
            return no_memory(err);
        WEIR_TRY(query_order_parse(a->arena, order, &a->order, err));
        r->orders = &a->order;
        r->n_orders = 1;
    }
    if (w->columns)
        return plan_listed(a, w->columns, err);
    return a->n_keys ? plan_groups(a, err) : WEIR_OK; /* all: when the extra ones are known */
}

/* ---- extra columns ---- */

/* The first field that is named and that no file has; x NULL: the first extra column. */
static const struct query_field *missing(const weir_answer *a, const struct query_extras *x)
{
    const struct query_field *found = query_extras_missing(x, a->q.filter);
    for (size_t i = 0; i < a->n_keys && !found; i++)
        if (a->keys[i].what == QUERY_F_EXTRA && !(x && query_extras_field(x, &a->keys[i])))
            found = &a->keys[i];
    for (size_t i = 0; i < a->fields.n && !found; i++)
        if (a->fields.items[i].what == QUERY_F_EXTRA &&
            !(x && query_extras_field(x, &a->fields.items[i])))
            found = &a->fields.items[i];
    const struct query_field *o = &a->order.field;
    if (!found && a->result.n_orders && o->what == QUERY_F_EXTRA &&
        !(x && query_extras_field(x, o)))
        found = o;
    return found;
}

/* Types of extra columns are what the files say. */
static weir_status plan_extras(weir_answer *a, bool all, weir_err *err)
{
    if (!all && !missing(a, NULL))
        return WEIR_OK;
    query_extras_find(a->arena, &a->paths, NULL, NULL, &a->extras);
    const struct query_field *f = missing(a, &a->extras);
    if (f)
        return weir_err_set(err, WEIR_EFORMAT, 0,
                            "'%.60s' is no field ('weir fields' lists them), and no column of "
                            "these files",
                            f->name);
    return all ? plan_all(a, err) : WEIR_OK;
}

static weir_status plan_rows(weir_answer *a, weir_err *err)
{
    struct query_field *fields = calloc(a->fields.n + 1, sizeof *fields);
    bool scaled = false;
    if (!fields)
        return no_memory(err);
    for (size_t i = 0; i < a->fields.n; i++) {
        const struct query_field *extra = query_extras_field(&a->extras, &a->fields.items[i]);
        fields[i] = a->fields.items[i];
        if (extra)
            fields[i].kind = extra->kind;
        scaled = scaled || query_field_scales(&fields[i]);
    }
    a->rows = arrow_gather_new(fields, a->fields.names, a->fields.n, scaled && !a->q.raw);
    free(fields);
    return a->rows ? WEIR_OK : no_memory(err);
}

static weir_status plan(weir_answer *a, const weir_query *w, weir_err *err)
{
    a->q = (struct query){.from_us = INT64_MIN,
                          .to_us = INT64_MAX,
                          .results = &a->result,
                          .n_results = 1,
                          .raw = w->raw,
                          .max_octets = w->max_octets,
                          .threads = w->threads,
                          .stop = stop,
                          .user = a};
    if (w->threads > MAX_THREADS)
        return weir_err_set(err, WEIR_EINVAL, 0, "query: %u threads, %d are allowed", w->threads,
                            MAX_THREADS);
    WEIR_TRY(plan_filter(a, w->filter, err));
    if (w->window)
        WEIR_TRY(query_window_parse(w->window, now_us(), &a->q.from_us, &a->q.to_us, err));
    WEIR_TRY(plan_result(a, w, err));
    WEIR_TRY(plan_paths(a, w, err));
    WEIR_TRY(plan_extras(a, !w->by && !w->columns, err));
    a->result.fields = a->fields.items;
    a->result.n_fields = a->fields.n;
    return plan_rows(a, err);
}

/* ---- the public functions ---- */

/* Signals are for the threads of the program. */
static weir_status start(weir_answer *a, weir_err *err)
{
    sigset_t all, was;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &was);
    int failed = pthread_create(&a->thread, NULL, work, a);
    pthread_sigmask(SIG_SETMASK, &was, NULL);
    return failed ? weir_err_set(err, WEIR_ENOMEM, 0, "query: cannot start a thread: %s",
                                 strerror(failed))
                  : WEIR_OK;
}

weir_status weir_query_start(const weir_query *q, struct ArrowArrayStream *batches,
                             weir_answer **out, weir_err *err)
{
    static const weir_query everything = {.n_paths = 0};
    weir_answer *a = calloc(1, sizeof *a);
    if (!a)
        return no_memory(err);
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->more, NULL);
    pthread_cond_init(&a->room, NULL);
    atomic_init(&a->holders, (size_t)2);
    atomic_init(&a->ended, false);
    a->arena = query_arena_new();
    weir_status s = a->arena ? plan(a, q ? q : &everything, err) : no_memory(err);
    if (s == WEIR_OK)
        s = start(a, err);
    if (s != WEIR_OK) {
        answer_free(a);
        return s;
    }
    *batches = (struct ArrowArrayStream){.get_schema = get_schema,
                                         .get_next = get_next,
                                         .get_last_error = get_last_error,
                                         .release = release,
                                         .private_data = a};
    *out = a;
    return WEIR_OK;
}

weir_status weir_answer_summary(weir_answer *a, const char **json, weir_err *err)
{
    pthread_mutex_lock(&a->lock);
    bool over = a->done && !a->n_ready, good = a->status == WEIR_OK;
    pthread_mutex_unlock(&a->lock);
    if (!over)
        return weir_err_set(err, WEIR_EINVAL, 0, "query: the summary comes after the last batch");
    if (!good)
        return weir_err_set(err, WEIR_EINVAL, 0,
                            "query: it ended before its last batch: there is "
                            "no summary");
    *json = a->summary.data;
    return WEIR_OK;
}

void weir_answer_free(weir_answer *a)
{
    if (a)
        let_go(a);
}
