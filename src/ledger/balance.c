#include "ledger/balance.h"

#include <stdlib.h>

static const int64_t MINUTE = 60000000;

enum {
    /* A packet that is on its way to the decoder while the clock goes from one slot to the next may be counted on one side of the
     * boundary and stored on the other: of two spans that touch, one then has more and the other one less. So much of that is
     * nothing: of the flows of the larger minute beside the boundary, those of 10 seconds (a receiver that had to wait for a
     * core), */
    SLACK_SHARE = 6,
    SLACK_PACKETS = 128 /* and the flows of a few packets */
};

static int64_t minute_before(int64_t us)
{
    int64_t into = us % MINUTE;
    return us - (into < 0 ? into + MINUTE : into);
}

static int64_t minute_behind(int64_t us)
{
    int64_t at = minute_before(us);
    return at == us ? us : at + MINUTE;
}

static int compare_files(const void *a, const void *b)
{
    const struct ledger_stored *x = a, *y = b;
    if (x->from_us != y->from_us)
        return x->from_us < y->from_us ? -1 : 1;
    return x->to_us != y->to_us ? (x->to_us < y->to_us ? -1 : 1) : 0;
}

static int compare_minutes(const void *a, const void *b)
{
    const struct ledger_minute *x = a, *y = b;
    return x->at_us != y->at_us ? (x->at_us < y->at_us ? -1 : 1) : 0;
}

static void sort_files(struct ledger_books *b)
{
    bool sorted = true;
    for (size_t i = 1; i < b->n_files && sorted; i++)
        sorted = compare_files(&b->files[i - 1], &b->files[i]) <= 0;
    if (!sorted)
        qsort(b->files, b->n_files, sizeof *b->files, compare_files);
}

/* The span that begins with file i, without what is counted in it; returns the file behind it. */
static size_t span_of_files(const struct ledger_books *b, size_t i, struct ledger_span *out)
{
    *out = (struct ledger_span){
        .from_us = minute_before(b->files[i].from_us), .file = i, .asked = true};
    do {
        const struct ledger_stored *f = &b->files[i];
        int64_t to = minute_behind(f->to_us);
        out->to_us = i == out->file || to > out->to_us ? to : out->to_us;
        out->stored += f->rows < INT64_MAX / 4 ? (int64_t)f->rows : INT64_MAX / 4;
        out->stored = out->stored < INT64_MAX / 2 ? out->stored : INT64_MAX / 2;
        out->asked &= f->asked;
        i++;
    } while (i < b->n_files && minute_before(b->files[i].from_us) < out->to_us);
    out->n_files = i - out->file;
    return i;
}

void ledger_balance_reach(struct ledger_books *b, int64_t *from_us, int64_t *to_us)
{
    int64_t from = *from_us, to = *to_us;
    struct ledger_span before = {0}, s;
    bool any = false, touched = false;
    sort_files(b);
    for (size_t i = 0; i < b->n_files;) {
        i = span_of_files(b, i, &s);
        bool here = s.to_us > *from_us && s.from_us <= *to_us;
        if (here && any && before.from_us < from)
            from = before.from_us;
        if (here && s.from_us < from)
            from = s.from_us;
        if ((here || touched) && s.to_us - 1 > to)
            to = s.to_us - 1;
        touched = here;
        before = s;
        any = true;
    }
    *from_us = from;
    *to_us = to;
}

/* ---- spans ---- */

struct spans {
    struct ledger_span *all;
    size_t n, cap;
};

static struct ledger_span *add_span(struct spans *l, const struct ledger_span *s)
{
    if (l->n == l->cap) {
        size_t cap = l->cap ? 2 * l->cap : 64;
        struct ledger_span *all = realloc(l->all, cap * sizeof *all);
        if (!all)
            return NULL;
        l->all = all;
        l->cap = cap;
    }
    l->all[l->n] = *s;
    return &l->all[l->n++];
}

static int64_t sum(int64_t a, int64_t b)
{
    int64_t c;
    return !__builtin_add_overflow(a, b, &c) ? c : b < 0 ? INT64_MIN / 2 : INT64_MAX / 2;
}

static void count_minute(struct ledger_span *s, const struct ledger_minute *m)
{
    s->counted = sum(s->counted, m->counted);
    s->about = sum(s->about, m->about);
    if (!m->counted)
        return;
    if (s->counted_from_us == s->counted_to_us)
        s->counted_from_us = m->at_us;
    s->counted_to_us = m->at_us + MINUTE;
}

/* Minutes of the same time as one; returns how many are left. */
static size_t fold_minutes(struct ledger_minute *m, size_t n)
{
    size_t out = 0;
    bool sorted = true;
    for (size_t i = 1; i < n && sorted; i++)
        sorted = m[i - 1].at_us <= m[i].at_us;
    if (!sorted)
        qsort(m, n, sizeof *m, compare_minutes);
    for (size_t i = 0; i < n; i++) {
        if (out && m[out - 1].at_us == m[i].at_us) {
            m[out - 1].counted = sum(m[out - 1].counted, m[i].counted);
            m[out - 1].about = sum(m[out - 1].about, m[i].about);
        } else {
            m[out++] = m[i];
        }
    }
    return out;
}

static int64_t counted_at(const struct ledger_minute *m, size_t n, int64_t at_us)
{
    size_t from = 0, to = n;
    while (from < to) {
        size_t mid = from + (to - from) / 2;
        if (m[mid].at_us < at_us)
            from = mid + 1;
        else
            to = mid;
    }
    return from < n && m[from].at_us == at_us ? m[from].counted : 0;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* What is on the other side of a boundary by a moment. */
static void even_out(struct spans *l, const struct ledger_minute *m, size_t n)
{
    for (size_t i = 1; i < l->n; i++) {
        struct ledger_span *a = &l->all[i - 1], *b = &l->all[i];
        if (a->to_us != b->from_us || (a->more > 0) == (b->more > 0) || !a->more || !b->more)
            continue;
        int64_t before = counted_at(m, n, b->from_us - MINUTE),
                behind = counted_at(m, n, b->from_us),
                slack = SLACK_PACKETS + (before > behind ? before : behind) / SLACK_SHARE;
        int64_t moved =
            least(slack, a->more > 0 ? least(a->more, -b->more) : least(-a->more, b->more));
        a->more += a->more > 0 ? -moved : moved;
        b->more += b->more > 0 ? -moved : moved;
    }
}

bool ledger_balance(struct ledger_books *b, struct ledger_minute *minutes, size_t n_minutes,
                    int64_t from_us, int64_t to_us, struct ledger_span **out, size_t *n_out)
{
    struct spans l = {0};
    size_t file = 0, at = 0;
    bool good = true;
    sort_files(b);
    n_minutes = fold_minutes(minutes, n_minutes);
    while (good && (file < b->n_files || at < n_minutes)) {
        struct ledger_span s = {0}, *kept = NULL;
        size_t next = file;
        if (file < b->n_files)
            next = span_of_files(b, file, &s);
        if (next == file || (at < n_minutes && minutes[at].at_us < s.from_us)) {
            s = (struct ledger_span){.from_us = minutes[at].at_us,
                                     .to_us = minutes[at].at_us + MINUTE,
                                     .file = file,
                                     .asked = true};
            next = file;
        } else if (s.to_us <= from_us || s.from_us > to_us) {
            file = next; /* not all of its minutes are here */
            while (at < n_minutes && minutes[at].at_us < s.to_us)
                at++;
            continue;
        }
        file = next;
        for (; at < n_minutes && minutes[at].at_us < s.to_us; at++)
            count_minute(&s, &minutes[at]);
        s.more = s.stored - s.counted;
        if (s.n_files || s.counted)
            kept = add_span(&l, &s);
        good = kept || !(s.n_files || s.counted);
    }
    if (!good) {
        free(l.all);
        l = (struct spans){0};
    }
    even_out(&l, minutes, n_minutes);
    *out = l.all;
    *n_out = l.n;
    return good;
}
