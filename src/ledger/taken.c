#include "ledger/taken.h"

#include <stdlib.h>
#include <string.h>

struct own {
    int64_t minute, last;
    uint16_t worker;
};

struct ledger_taken {
    const char *dir;
    int64_t since;   /* has been read from there on; INT64_MAX: nothing has */
    struct own *all; /* n of them; by minute and worker, once each, unless `mixed` */
    size_t n, cap;
    bool mixed;
};

ledger_taken *ledger_taken_new(const char *dir)
{
    ledger_taken *t = calloc(1, sizeof *t);
    if (t) {
        t->dir = dir;
        t->since = INT64_MAX;
    }
    return t;
}

void ledger_taken_free(ledger_taken *t)
{
    if (t)
        free(t->all);
    free(t);
}

static int compare(const void *a, const void *b)
{
    const struct own *x = a, *y = b;
    if (x->minute != y->minute)
        return x->minute < y->minute ? -1 : 1;
    return x->worker != y->worker ? (x->worker < y->worker ? -1 : 1) : 0;
}

/* The later of two of the same minute and worker. */
static void merge(struct own *to, const struct own *from)
{
    to->last = from->last > to->last ? from->last : to->last;
}

static void settle(ledger_taken *t)
{
    size_t n = 0;
    if (!t->mixed)
        return;
    qsort(t->all, t->n, sizeof *t->all, compare);
    for (size_t i = 0; i < t->n; i++) {
        if (n && compare(&t->all[n - 1], &t->all[i]) == 0)
            merge(&t->all[n - 1], &t->all[i]);
        else
            t->all[n++] = t->all[i];
    }
    t->n = n;
    t->mixed = false;
}

/* The first that is not before this minute and worker. */
static size_t place_of(ledger_taken *t, int64_t minute, uint16_t worker)
{
    const struct own key = {.minute = minute, .worker = worker};
    settle(t);
    size_t from = 0, to = t->n;
    while (from < to) {
        size_t at = from + (to - from) / 2;
        if (compare(&t->all[at], &key) < 0)
            from = at + 1;
        else
            to = at;
    }
    return from;
}

bool ledger_taken_add(ledger_taken *t, int64_t minute_us, uint16_t worker, int64_t last_us)
{
    const struct own own = {minute_us, last_us, worker};
    if (t->n && compare(&t->all[t->n - 1], &own) == 0) {
        merge(&t->all[t->n - 1], &own);
        return true;
    }
    bool full = t->n == t->cap;
    if (full)
        settle(t);
    if (full && t->n >= t->cap / 2) {
        size_t cap = t->cap ? 2 * t->cap : 64;
        struct own *all = realloc(t->all, cap * sizeof *all);
        if (!all)
            return false;
        t->all = all;
        t->cap = cap;
    }
    /* Settling may have changed which one is the last. */
    t->mixed |= t->n && compare(&t->all[t->n - 1], &own) >= 0;
    t->all[t->n++] = own;
    return true;
}

weir_status ledger_taken_since(ledger_taken *t, int64_t minute_us, weir_err *err)
{
    if (!t->dir || minute_us >= t->since)
        return WEIR_OK;
    WEIR_TRY(ledger_taken_read(t->dir, minute_us, t, err));
    t->since = minute_us;
    return WEIR_OK;
}

bool ledger_taken_has(ledger_taken *t, int64_t minute_us, uint16_t worker, int64_t last_us)
{
    size_t at = place_of(t, minute_us, worker);
    return at < t->n && t->all[at].minute == minute_us && t->all[at].worker == worker &&
           t->all[at].last >= last_us;
}

bool ledger_taken_is_behind(ledger_taken *t, int64_t minute_us, uint16_t worker, int64_t last_us)
{
    for (size_t i = place_of(t, minute_us, worker); i < t->n; i++)
        if (t->all[i].worker == worker &&
            (t->all[i].minute > minute_us || t->all[i].last > last_us))
            return true;
    return false;
}

/* ---- parts ---- */

static bool is_there(const struct flow_vec *v, uint32_t row)
{
    return row < v->n && (!v->valid || (v->valid[row / 64] >> row % 64 & 1));
}

static bool number_at(const struct flow_vec *v, uint32_t row, size_t octets, void *out)
{
    if (!is_there(v, row))
        return false;
    memcpy(out, (const char *)v->values + row * octets, octets);
    return true;
}

bool ledger_part_at(const flow_batch *rows, uint32_t from, struct ledger_part *out)
{
    static const enum flow_ledger_id ids[] = {FLOW_LEDGER_exporter, FLOW_LEDGER_domain,
                                              FLOW_LEDGER_protocol_version};
    struct flow_vec not_own[ARRAY_LEN(ids)], minute, last, worker;
    for (size_t i = 0; i < ARRAY_LEN(ids); i++)
        flow_batch_vec(rows, ids[i], &not_own[i]);
    flow_batch_vec(rows, FLOW_LEDGER_minute, &minute);
    flow_batch_vec(rows, FLOW_LEDGER_last, &last);
    flow_batch_vec(rows, FLOW_LEDGER_worker, &worker);
    for (uint32_t row = from; row < flow_batch_rows(rows); row++) {
        bool own = true;
        for (size_t i = 0; i < ARRAY_LEN(ids); i++)
            own &= !is_there(&not_own[i], row);
        if (!own)
            continue;
        *out = (struct ledger_part){.last_us = INT64_MIN, .from = from, .to = row + 1};
        out->has_minute = number_at(&minute, row, sizeof out->minute_us, &out->minute_us);
        (void)number_at(&last, row, sizeof out->last_us, &out->last_us);
        (void)number_at(&worker, row, sizeof out->worker, &out->worker);
        return true;
    }
    return false;
}
