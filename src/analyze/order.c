#include "analyze/order.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* An entry is stored in pieces of at most PIECE flows, so that a merge needs little memory for each run however
 * long the lines are: | struct piece | n flows |. */
enum { PIECE = 256, MIN_BUFFER = 64 * 1024, WRITE = 1024 * 1024 };

struct piece {
    uint64_t seq; /* the entry's place in the input */
    uint32_t part, n;
    uint8_t replaces; /* v9: only the last of a timestamp counts */
    uint8_t key_len;
    char key[ENTRY_KEY_MAX + 1];
};

static size_t piece_size(const struct piece *p)
{
    return sizeof *p + p->n * sizeof(struct flow);
}

_Static_assert(sizeof(struct piece) % _Alignof(struct flow) == 0, "flows stand behind it");
_Static_assert(sizeof(struct piece) + PIECE * sizeof(struct flow) <= MIN_BUFFER,
               "a piece fits a buffer");

/* Part of the temporary file, read through a buffer. */
struct run {
    uint64_t off, end; /* not yet in the buffer */
    char *buf;
    size_t at, len, cap;
};

struct order {
    char *store; /* store[len] of cap, pieces one behind the other */
    size_t len, cap;
    size_t *index; /* offsets of the pieces in store */
    size_t n, cap_index, next;
    uint64_t seq;
    bool keep_all;
    bool sorted; /* so far the pieces came in order */
    char *dir;
    int fd; /* -1: nothing written */
    uint64_t fd_len;
    struct run *runs;
    size_t n_runs;
    bool reading;
    /* The merge. */
    size_t
        current; /* run whose first piece was handed out and is to be passed over; SIZE_MAX: none */
    char last_key[ENTRY_KEY_MAX + 1];
    size_t last_len;
    uint64_t last_seq, replaced, replaced_seq;
    bool any;
};

/* By key; of one key the v9 entries first, newest first, so that what counts comes first; then the others as
 * they came. */
static int compare(const struct piece *a, const struct piece *b)
{
    int c = memcmp(a->key, b->key, a->key_len < b->key_len ? a->key_len : b->key_len);
    if (c == 0)
        c = (a->key_len > b->key_len) - (a->key_len < b->key_len);
    if (c == 0)
        c = (a->replaces < b->replaces) - (a->replaces > b->replaces);
    if (c == 0 && a->seq != b->seq)
        c = (a->seq < b->seq) == (a->replaces != 0) ? 1 : -1;
    if (c == 0)
        c = (a->part > b->part) - (a->part < b->part);
    return c;
}

order *order_new(size_t max_octets, const char *dir, bool keep_all)
{
    order *o = calloc(1, sizeof *o);
    if (!o)
        return NULL;
    o->fd = -1;
    o->keep_all = keep_all;
    o->cap = max_octets > MIN_BUFFER ? max_octets : MIN_BUFFER;
    o->store = malloc(o->cap); /* pages that are never touched cost nothing */
    o->dir = strdup(dir);
    o->sorted = true;
    o->current = SIZE_MAX;
    if (!o->store || !o->dir) {
        order_free(o);
        return NULL;
    }
    return o;
}

void order_free(order *o)
{
    if (!o)
        return;
    if (o->fd >= 0)
        close(o->fd);
    for (size_t i = 0; i < o->n_runs; i++)
        free(o->runs[i].buf);
    free(o->runs);
    free(o->store);
    free(o->index);
    free(o->dir);
    free(o);
}

uint64_t order_replaced(const order *o)
{
    return o->replaced;
}

size_t order_runs(const order *o)
{
    return o->n_runs;
}

/* The store is aligned and so is every piece in it. */
static const struct piece *piece_at(const void *p)
{
    return p;
}

static int compare_at(const void *a, const void *b, void *store)
{
    const size_t *x = a, *y = b;
    const char *base = store;
    return compare(piece_at(base + *x), piece_at(base + *y));
}

static void sort_store(order *o)
{
    if (!o->sorted)
        qsort_r(o->index, o->n, sizeof *o->index, compare_at, o->store);
    o->sorted = true;
}

static weir_status open_file(order *o, weir_err *err)
{
    o->fd = open(o->dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (o->fd >= 0)
        return WEIR_OK;
    /* A file system without O_TMPFILE. */
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/weir-XXXXXX", o->dir);
    if (n < 0 || (size_t)n >= sizeof path)
        errno = ENAMETOOLONG;
    else if ((o->fd = mkostemp(path, O_CLOEXEC)) >= 0) {
        (void)unlink(path);
        return WEIR_OK;
    }
    return weir_err_set(err, WEIR_EIO, 0,
                        "cannot make a temporary file in %.60s: %m (set TMPDIR or raise --memory)",
                        o->dir);
}

static weir_status write_out(order *o, const char *p, size_t len, weir_err *err)
{
    while (len) {
        ssize_t n = pwrite(o->fd, p, len, (off_t)o->fd_len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return weir_err_set(
                err, WEIR_EIO, o->fd_len,
                "cannot write a temporary file in %.60s: %m (set TMPDIR or raise --memory)",
                o->dir);
        p += n;
        len -= (size_t)n;
        o->fd_len += (size_t)n;
    }
    return WEIR_OK;
}

/* The store becomes a run. */
static weir_status spill(order *o, weir_err *err)
{
    if (o->n == 0)
        return WEIR_OK;
    if (o->fd < 0)
        WEIR_TRY(open_file(o, err));
    struct run *runs = reallocarray(o->runs, o->n_runs + 1, sizeof *runs);
    if (!runs)
        return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
    o->runs = runs;
    uint64_t off = o->fd_len;
    bool in_place = o->sorted;
    sort_store(o);
    if (in_place) {
        WEIR_TRY(write_out(o, o->store, o->len, err));
    } else {
        char *buf = malloc(WRITE);
        size_t len = 0;
        weir_status st = buf ? WEIR_OK : weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
        for (size_t i = 0; st == WEIR_OK && i < o->n; i++) {
            const struct piece *p = piece_at(o->store + o->index[i]);
            if (len + piece_size(p) > WRITE) {
                st = write_out(o, buf, len, err);
                len = 0;
            }
            memcpy(buf + len, p, piece_size(p));
            len += piece_size(p);
        }
        if (st == WEIR_OK)
            st = write_out(o, buf, len, err);
        free(buf);
        WEIR_TRY(st);
    }
    o->runs[o->n_runs++] = (struct run){.off = off, .end = o->fd_len};
    o->len = o->n = 0;
    return WEIR_OK;
}

static weir_status add_piece(order *o, const struct entry *e, uint32_t part,
                             const struct flow *flows, size_t n, weir_err *err)
{
    size_t size = sizeof(struct piece) + n * sizeof *flows;
    if (o->cap - o->len < size)
        WEIR_TRY(spill(o, err));
    if (o->n == o->cap_index) {
        size_t cap = o->cap_index ? o->cap_index * 2 : 1024;
        size_t *grown = reallocarray(o->index, cap, sizeof *grown);
        if (!grown)
            return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
        o->index = grown;
        o->cap_index = cap;
    }
    struct piece p = {.seq = o->seq,
                      .part = part,
                      .n = (uint32_t)n,
                      .replaces = e->kind == FLOW_KIND_V9 && !o->keep_all,
                      .key_len = (uint8_t)e->key_len};
    memcpy(p.key, e->key, e->key_len);
    memcpy(o->store + o->len, &p, sizeof p);
    if (n)
        memcpy(o->store + o->len + sizeof p, flows, n * sizeof *flows);
    if (o->sorted && o->n && compare(piece_at(o->store + o->index[o->n - 1]), &p) > 0)
        o->sorted = false;
    o->index[o->n++] = o->len;
    o->len += size;
    return WEIR_OK;
}

weir_status order_add(order *o, const struct entry *e, weir_err *err)
{
    o->seq++;
    /* An entry without flows still replaces an earlier one. */
    size_t done = 0;
    uint32_t part = 0;
    do {
        size_t n = e->n_flows - done < PIECE ? e->n_flows - done : PIECE;
        WEIR_TRY(add_piece(o, e, part++, n ? e->flows + done : NULL, n, err));
        done += n;
    } while (done < e->n_flows);
    return WEIR_OK;
}

/* ---- reading ---- */

/* Have a whole piece at r->at, or leave the run empty. */
static weir_status run_fill(order *o, struct run *r, weir_err *err)
{
    if (r->len - r->at >= sizeof(struct piece) &&
        r->len - r->at >= piece_size(piece_at(r->buf + r->at)))
        return WEIR_OK;
    memmove(r->buf, r->buf + r->at, r->len - r->at);
    r->len -= r->at;
    r->at = 0;
    while (r->len < r->cap && r->off < r->end) {
        size_t want = r->cap - r->len;
        if (want > r->end - r->off)
            want = (size_t)(r->end - r->off);
        ssize_t n = pread(o->fd, r->buf + r->len, want, (off_t)r->off);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return weir_err_set(err, WEIR_EIO, r->off, "cannot read the temporary file back: %m");
        r->len += (size_t)n;
        r->off += (size_t)n;
    }
    return WEIR_OK;
}

static weir_status start_reading(order *o, weir_err *err)
{
    o->reading = true;
    if (o->n_runs == 0) {
        sort_store(o);
        return WEIR_OK;
    }
    WEIR_TRY(spill(o, err));
    size_t cap = o->cap / o->n_runs;
    cap = cap < MIN_BUFFER ? MIN_BUFFER : cap > 4 * WRITE ? 4 * WRITE : cap;
    free(o->store);
    free(o->index);
    o->store = NULL;
    o->index = NULL;
    for (size_t i = 0; i < o->n_runs; i++) {
        struct run *r = &o->runs[i];
        r->cap = cap;
        r->buf = malloc(cap);
        if (!r->buf)
            return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
        WEIR_TRY(run_fill(o, r, err));
    }
    return WEIR_OK;
}

/* The least piece of all; NULL in *p after the last. */
static weir_status take(order *o, const struct piece **p, weir_err *err)
{
    *p = NULL;
    if (o->n_runs == 0) {
        if (o->next < o->n)
            *p = piece_at(o->store + o->index[o->next++]);
        return WEIR_OK;
    }
    if (o->current != SIZE_MAX) {
        struct run *r = &o->runs[o->current];
        r->at += piece_size(piece_at(r->buf + r->at));
        o->current = SIZE_MAX;
        WEIR_TRY(run_fill(o, r, err));
    }
    for (size_t i = 0; i < o->n_runs; i++) {
        struct run *r = &o->runs[i];
        if (r->at < r->len && (!*p || compare(piece_at(r->buf + r->at), *p) < 0)) {
            *p = piece_at(r->buf + r->at);
            o->current = i;
        }
    }
    return WEIR_OK;
}

weir_status order_next(order *o, struct order_item *item, weir_err *err)
{
    if (!o->reading)
        WEIR_TRY(start_reading(o, err));
    for (;;) {
        const struct piece *p;
        WEIR_TRY(take(o, &p, err));
        if (!p)
            return WEIR_END;
        if (p->replaces && o->any && o->last_len == p->key_len &&
            !memcmp(o->last_key, p->key, p->key_len) && o->last_seq != p->seq) {
            if (o->replaced_seq != p->seq)
                o->replaced++;
            o->replaced_seq = p->seq;
            continue;
        }
        if (p->replaces) {
            o->any = true;
            o->last_seq = p->seq;
            o->last_len = p->key_len;
            memcpy(o->last_key, p->key, sizeof p->key);
        }
        memcpy(item->key, p->key, sizeof p->key);
        item->key_len = p->key_len;
        item->n = p->n;
        item->flows = (const struct flow *)(const void *)(p + 1);
        return WEIR_OK;
    }
}
