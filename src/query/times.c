#include "query/times.h"

#include "query/bits.h"

#include <stdlib.h>
#include <string.h>

static weir_status no_memory(weir_err *err)
{
    return weir_err_set(err, WEIR_ENOMEM, 0, "query: out of memory");
}

static bool is_plain_time(const struct query_scan_column *c)
{
    return !c->missing && !c->type->list && c->type->type == PARQUET_INT64 &&
           c->type->logical == PARQUET_L_TIMESTAMP_US && c->kind == QUERY_TIME;
}

static bool bound_of(const struct parquet_bytes *b, int64_t *out)
{
    if (!b->data || b->len != sizeof *out)
        return false;
    memcpy(out, b->data, sizeof *out);
    return true;
}

/* A window whose rows may say more than is known. */
struct query_times_window {
    uint64_t at;
    int64_t bound;
};

static bool more(bool last, int64_t v, int64_t than)
{
    return last ? v > than : v < than;
}

static int64_t further(bool last, int64_t a, int64_t b)
{
    return more(last, a, b) ? a : b;
}

/* Whether v says more than what is known. last: of the greatest. */
static bool better(const struct query_times *t, bool last, int64_t v)
{
    return more(last, v, last ? t->greatest : t->least);
}

/* ... and than what is certain to be found. */
static bool worth(const struct query_times *t, bool last, int64_t bound)
{
    return better(t, last, bound) && more(last, bound, t->certain[last]);
}

void query_times_init(struct query_times *t, void (*hold)(void *owner),
                      void (*release)(void *owner))
{
    *t = (struct query_times){.least = INT64_MAX,
                              .greatest = INT64_MIN,
                              .certain = {INT64_MAX, INT64_MIN},
                              .hold = hold,
                              .release = release};
}

static void take(struct query_times *t, bool last, int64_t v)
{
    if (better(t, last, v))
        *(last ? &t->greatest : &t->least) = v;
}

static weir_status column_of(struct query_scan *s, bool last, struct query_scan_column **c,
                             weir_err *err)
{
    const struct query_plan *p = s->plan;
    return query_scan_column(s, p->fields[last ? p->f_last : p->f_first].column, c, err);
}

weir_status query_times_by_footer(struct query_times *t, struct query_scan *s, bool *known,
                                  weir_err *err)
{
    int64_t v[2];
    *known = false;
    for (int last = 0; last < 2; last++) {
        struct query_scan_column *c;
        WEIR_TRY(column_of(s, last, &c, err));
        if (!is_plain_time(c) || !bound_of(last ? &c->info.max : &c->info.min, &v[last]))
            return WEIR_OK;
    }
    take(t, false, v[0]);
    take(t, true, v[1]);
    *known = true;
    return WEIR_OK;
}

weir_status query_times_add(struct query_times *t, struct query_eval *e, weir_err *err)
{
    struct query_scan *s = e->scan;
    const struct query_plan *p = e->plan;
    for (int last = 0; last < 2; last++) {
        struct query_scan_column *c;
        WEIR_TRY(column_of(s, last, &c, err));
        if (c->all_null)
            continue;
        if (is_plain_time(c) && c->at != s->at) {
            uint64_t **bits = &t->passed[last];
            if (!*bits &&
                !(*bits = query_bump_zero(&s->group_memory, (s->n_rows / 64 + 2) * sizeof **bits)))
                return no_memory(err);
            uint64_t *to = *bits + s->at / 64; /* windows begin at whole words */
            if (e->rows.at)
                for (size_t i = 0; i < e->rows.n; i++)
                    to[e->rows.at[i] >> 6] |= UINT64_C(1) << (e->rows.at[i] & 63);
            else
                query_bits_fill(to, e->rows.n);
            continue;
        }
        const struct query_values *v;
        WEIR_TRY(query_eval_field(e, last ? p->f_last : p->f_first, &v, err));
        for (size_t i = 0; v->v.kind == QUERY_TIME && i < e->rows.n; i++)
            if (!query_is_null(v, i))
                take(t, last, (int64_t)query_num(v, i));
    }
    return WEIR_OK;
}

static void look_at(struct query_times *t, bool last, const uint64_t *passed,
                    const struct parquet_data *d, const int64_t *dict)
{
    const int64_t *values = d->values;
    for (size_t w = 0; w * 64 < d->n; w++)
        for (uint64_t word = passed[w]; word; word &= word - 1) {
            size_t i = w * 64 + (size_t)__builtin_ctzll(word);
            if (i < d->n && (!d->valid || parquet_bit(d->valid, i)))
                take(t, last, d->codes ? dict[d->codes[i]] : values[i]);
        }
}

/* Those of its windows, in order of place, that may say more: all, or those whose bound is the best. */
static weir_status read_windows(struct query_times *t, bool last,
                                const struct query_times_pending *p, bool all, weir_err *err)
{
    parquet_cursor *cursor = NULL;
    uint64_t next = 0;
    const void *dict = NULL;
    uint32_t n_dict = 0;
    weir_status st = WEIR_OK;
    for (size_t i = 0; i < p->n && st == WEIR_OK; i++) {
        const struct query_times_window *w = &p->windows[i];
        if (!better(t, last, w->bound) || (!all && w->bound != p->bound))
            continue;
        if (!cursor) {
            st = parquet_cursor_new(p->file, p->group, p->column, &cursor, err);
            if (st == WEIR_OK)
                st = parquet_cursor_dict(cursor, &dict, &n_dict, err);
            if (st != WEIR_OK)
                break;
        }
        uint64_t left = p->n_rows - w->at;
        struct parquet_data d;
        st = w->at > next ? parquet_cursor_skip(cursor, w->at - next, err) : WEIR_OK;
        if (st == WEIR_OK)
            st = parquet_cursor_read(cursor, left < QUERY_WINDOW ? (size_t)left : QUERY_WINDOW, &d,
                                     err);
        if (st == WEIR_END)
            st =
                weir_err_set(err, WEIR_EFORMAT, 0, "%s: a column has fewer rows than its row group",
                             parquet_name(p->file));
        if (st != WEIR_OK)
            break;
        next = w->at + d.n;
        if (!d.codes || n_dict) /* an empty dictionary: all are null */
            look_at(t, last, p->passed + w->at / 64, &d, dict);
    }
    parquet_cursor_free(cursor);
    return st;
}

/* Read what is pending, when it is worth it, and forget it. */
static weir_status settle(struct query_times *t, bool last, weir_err *err)
{
    struct query_times_pending *p = &t->pending[last];
    weir_status st = WEIR_OK;
    if (!p->passed)
        return WEIR_OK;
    if (worth(t, last, p->bound)) {
        st = read_windows(t, last, p, false, err);
        if (st == WEIR_OK)
            st = read_windows(t, last, p, true, err);
    }
    free(p->passed);
    free(p->windows);
    t->release(p->owner);
    *p = (struct query_times_pending){0};
    return st;
}

weir_status query_times_finish(struct query_times *t, weir_err *err)
{
    weir_status st = settle(t, false, err), other = settle(t, true, err);
    /* What was certain and not bettered is what there is. */
    take(t, false, t->certain[0]);
    take(t, true, t->certain[1]);
    return st == WEIR_OK ? other : st;
}

void query_times_done(struct query_times *t)
{
    for (int last = 0; last < 2; last++) {
        struct query_times_pending *p = &t->pending[last];
        if (p->passed)
            t->release(p->owner);
        free(p->passed);
        free(p->windows);
        *p = (struct query_times_pending){0};
    }
}

/* Windows with rows that passed, each with the best that may be there. *certain: what at least one of the rows has, by
 * bounds alone. */
static weir_status find_windows(struct query_scan *s, const struct query_scan_column *c, bool last,
                                const uint64_t *passed, int64_t whole,
                                struct query_times_pending *p, int64_t *certain, weir_err *err)
{
    struct parquet_page_info *pages = NULL;
    size_t n_pages = 0, page = 0;
    WEIR_TRY(parquet_pages(s->file, s->group, (size_t)c->in_file, &pages, &n_pages, err));
    for (uint64_t at = 0; at < s->n_rows; at += QUERY_WINDOW) {
        uint64_t to = at + QUERY_WINDOW, any = 0;
        for (size_t w = 0; w < QUERY_WINDOW / 64 && at + w * 64 < s->n_rows; w++)
            any |= passed[at / 64 + w];
        if (!any)
            continue;
        int64_t bound = last ? INT64_MIN : INT64_MAX, sure = last ? INT64_MAX : INT64_MIN, v;
        while (page + 1 < n_pages && pages[page + 1].first_row <= at)
            page++;
        bool known = n_pages > 0;
        for (size_t i = page; i < n_pages && pages[i].first_row < to; i++) {
            if (pages[i].all_null)
                continue;
            known = known && bound_of(last ? &pages[i].min : &pages[i].max, &v);
            if (known)
                sure = further(!last, sure, v);
            if (!bound_of(last ? &pages[i].max : &pages[i].min, &v))
                v = whole;
            bound = further(last, bound, v);
        }
        if (!n_pages)
            bound = whole;
        if (known && c->no_null)
            *certain = further(last, *certain, sure);
        p->bound = p->n ? further(last, p->bound, bound) : bound;
        p->windows[p->n++] = (struct query_times_window){.at = at, .bound = bound};
    }
    parquet_pages_free(pages);
    return WEIR_OK;
}

static weir_status end_column(struct query_times *t, struct query_scan *s, bool last, void *owner,
                              weir_err *err)
{
    struct query_scan_column *c;
    WEIR_TRY(column_of(s, last, &c, err));
    int64_t whole;
    if (!bound_of(last ? &c->info.max : &c->info.min, &whole))
        whole = last ? INT64_MAX : INT64_MIN;
    if (!worth(t, last, whole))
        return WEIR_OK;
    size_t words = s->n_rows / 64 + 2;
    struct query_times_pending p = {.file = s->file,
                                    .group = s->group,
                                    .column = (size_t)c->in_file,
                                    .n_rows = s->n_rows,
                                    .owner = owner};
    p.windows = calloc((size_t)(s->n_rows / QUERY_WINDOW) + 1, sizeof *p.windows);
    p.passed = malloc(words * sizeof *p.passed);
    int64_t certain = last ? INT64_MIN : INT64_MAX;
    weir_status st = p.windows && p.passed
                         ? find_windows(s, c, last, t->passed[last], whole, &p, &certain, err)
                         : no_memory(err);
    if (st != WEIR_OK || !p.n) {
        free(p.windows);
        free(p.passed);
        return st;
    }
    memcpy(p.passed, t->passed[last], words * sizeof *p.passed);
    t->hold(owner);
    /* The one before is not read when this one is certain to have more. */
    t->certain[last] = further(last, t->certain[last], certain);
    st = settle(t, last, err);
    t->pending[last] = p;
    return st;
}

weir_status query_times_end(struct query_times *t, struct query_scan *s, void *owner, weir_err *err)
{
    weir_status st = WEIR_OK;
    for (int last = 0; last < 2; last++) {
        if (t->passed[last] && st == WEIR_OK)
            st = end_column(t, s, last, owner, err);
        t->passed[last] = NULL; /* gone with the row group */
    }
    return st;
}
