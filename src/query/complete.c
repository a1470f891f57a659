#include "query/complete.h"

#include "archive/archive.h"
#include "base/text.h"
#include "query/books.h"
#include "query/predicate.h"

#include <stdio.h>
#include <stdlib.h>

enum { SPELT_OUT = 3 }; /* losses; --summary json and weir exporters have all */

static const int64_t LATE_US = 5 * INT64_C(60000000), HOUR_US = 60 * INT64_C(60000000);

/* Times beyond are not to be had in nanoseconds. */
static const int64_t MOST_US = INT64_MAX / 1000;

/* ---- what the filter leaves ---- */

static bool is_column(const struct query_field *f, enum flow_column_id id)
{
    return f->what == QUERY_F_COLUMN && f->id == (int)id;
}

static enum query_truth truth(bool yes)
{
    return yes ? QUERY_YES : QUERY_NO;
}

static enum query_truth leaf_truth(const struct query_expr *e, const struct ledger_row *row)
{
    if (e->op == QUERY_OP_SAME || e->op == QUERY_OP_NOT_BELOW || e->op == QUERY_OP_NOT_ABOVE)
        return QUERY_MAYBE;
    if (is_column(&e->field, FLOW_exporter) && row->exporter_len) {
        base_buf b = {0};
        flow_key_text(FLOW_TYPE_ADDR, row->exporter, row->exporter_len, &b);
        struct query_text text = {b.data, (uint32_t)b.len};
        enum query_truth t =
            b.failed ? QUERY_MAYBE : truth(query_value_meets(e, QUERY_TEXT, 0, &text));
        base_buf_done(&b);
        return t;
    }
    if (is_column(&e->field, FLOW_exporter_port) && row->exporter_port)
        return truth(query_value_meets(e, QUERY_U64, row->exporter_port, NULL));
    if (is_column(&e->field, FLOW_domain) && row->version == 1)
        return QUERY_NO; /* NetFlow v1 has none: null in every flow */
    if (is_column(&e->field, FLOW_domain) && row->has_domain)
        return truth(query_value_meets(e, QUERY_U64, row->domain, NULL));
    if (is_column(&e->field, FLOW_protocol_version) && row->version)
        return truth(query_value_meets(e, QUERY_U64, row->version, NULL));
    return QUERY_MAYBE;
}

enum query_truth query_truth_of(const struct query_expr *e, const struct ledger_row *row)
{
    enum query_truth all;
    switch ((unsigned)e->op) {
    case QUERY_OP_TRUE:
        return QUERY_YES;
    case QUERY_OP_FALSE:
        return QUERY_NO;
    case QUERY_OP_NOT:
        all = query_truth_of(e->items[0], row);
        return all == QUERY_MAYBE ? QUERY_MAYBE : truth(all == QUERY_NO);
    case QUERY_OP_AND:
    case QUERY_OP_OR: {
        bool both = e->op == QUERY_OP_AND;
        all = truth(both);
        for (size_t i = 0; i < e->n_items; i++) {
            enum query_truth one = query_truth_of(e->items[i], row);
            if (one == truth(!both))
                return one;
            if (one == QUERY_MAYBE)
                all = QUERY_MAYBE;
        }
        return all;
    }
    default:
        return leaf_truth(e, row);
    }
}

/* Whether the filter speaks of anything that the ledger knows. */
static bool tells_streams_apart(const struct query_expr *e)
{
    if (e->op == QUERY_OP_FALSE)
        return true;
    for (size_t i = 0; i < e->n_items; i++)
        if (tells_streams_apart(e->items[i]))
            return true;
    return e->op >= QUERY_OP_EQ &&
           (is_column(&e->field, FLOW_exporter) || is_column(&e->field, FLOW_exporter_port) ||
            is_column(&e->field, FLOW_domain) || is_column(&e->field, FLOW_protocol_version));
}

/* What the filter asks of flows that the ledger does not know (their protocol, say) may be of any stream. What it asks of exporter
 * and domain, of a row without, is another thing: its losses are likely to be of somebody else. */
static enum ledger_about is_about(void *user, const struct ledger_row *row)
{
    bool stream = row->exporter_len && row->version && (row->has_domain || row->version == 1);
    enum query_truth t = query_truth_of(user, row);
    return t == QUERY_NO              ? LEDGER_ABOUT_NOT
           : t == QUERY_YES || stream ? LEDGER_ABOUT
                                      : LEDGER_ABOUT_MAYBE;
}

/* ---- which ledger, which time ---- */

/* The archive that path is (*whole), or whose flows/ it lies in; NULL: none with a ledger. malloc'ed. */
static char *archive_of(const char *path, bool *whole)
{
    size_t n = strlen(path);
    char *dir = malloc(n + 2); /* "." */
    if (!dir)
        return NULL;
    memcpy(dir, path, n + 1);
    while (n > 1 && dir[n - 1] == '/')
        dir[--n] = 0;
    *whole = ledger_is_there(dir);
    if (*whole)
        return dir;
    for (char *slash = dir; slash;) {
        slash = strrchr(dir, '/');
        bool flows = strcmp(slash ? slash + 1 : dir, "flows") == 0;
        if (!slash)
            memcpy(dir, ".", 2);
        else if (slash == dir)
            slash[1] = 0, slash = NULL;
        else
            *slash = 0;
        if (flows && ledger_is_there(dir))
            return dir;
    }
    free(dir);
    return NULL;
}

static int64_t before(int64_t us, int64_t span)
{
    return us > INT64_MIN + span ? us - span : INT64_MIN;
}

static int64_t behind(int64_t us, int64_t span)
{
    return us < INT64_MAX - span ? us + span : INT64_MAX;
}

/* The files of a path, and their footers. from_us, to_us: hours from which no file is asked for may be left out. */
static bool look_at(const struct query *q, query_books *b, size_t number, const char *path,
                    bool named, int64_t from_us, int64_t to_us)
{
    archive_scan *scan;
    weir_err err;
    bool whole = false;
    if (archive_scan_open(path, FLOW_TABLE_FLOWS, named ? q->range_from : NULL,
                          named ? q->range_to : NULL, &scan, &err) != WEIR_OK)
        return false;
    archive_scan_limit(scan, from_us > -MOST_US ? from_us * 1000 : INT64_MIN,
                       to_us < MOST_US ? to_us * 1000 : INT64_MAX);
    for (;;) {
        struct archive_part *parts;
        size_t n;
        weir_status st = archive_scan_next(scan, &parts, &n, &err);
        whole = st == WEIR_END;
        if (whole || st == WEIR_ENOMEM || (q->stop && q->stop(q->user)))
            break;
        if (st != WEIR_OK)
            continue;
        query_books_note(b, number, parts, n);
        archive_scan_release(scan, parts, n);
    }
    archive_scan_close(scan);
    return whole;
}

/* The files that are asked for: those that the query has found, if it has been through all of them. NULL: not known. *own: to be
 * freed. */
static const query_books *files_of(const struct query *q, query_books **own)
{
    *own = NULL;
    if (query_books_are_whole(q->books))
        return q->books;
    query_books *b = query_books_new();
    bool whole = b;
    for (size_t i = 0; whole && i < q->n_paths; i++)
        whole = look_at(q, b, i, q->paths[i], true, before(q->from_us, HOUR_US),
                        behind(q->to_us, LATE_US + HOUR_US));
    if (whole)
        query_books_whole(b);
    *own = b;
    return whole ? b : NULL;
}

ledger_about_fn *query_complete_about(const struct query *q)
{
    return q->filter && tells_streams_apart(q->filter) ? is_about : NULL;
}

void query_complete_window(const struct query *q, int64_t now_us, int64_t *from, int64_t *to)
{
    *from = q->from_us;
    *to = behind(q->to_us, LATE_US);
    if ((*to != INT64_MAX || *from != INT64_MIN) && *to > now_us)
        *to = now_us > *from ? now_us : *from;
}

/* ---- reading ---- */

static void fail(struct query_completeness *c, const char *why)
{
    c->what = QUERY_COMPLETE_FAILED;
    (void)snprintf(c->failed, sizeof c->failed, "%s", why);
}

static void books_free(struct ledger_books *books, size_t n)
{
    for (size_t i = 0; books && i < n; i++)
        free(books[i].files);
    free(books);
}

/* An archive that is asked, and the first path that leads to it. */
struct root {
    char *dir;
    size_t path;
};

/* What each of them has. Of files that are named, the whole archives around them: what is counted in a minute may be in files
 * that nobody has asked for. NULL: not known, which is nothing that could be said. */
static struct ledger_books *books_of(const struct query *q, const struct root *roots, size_t n,
                                     bool by_files, const query_books *files, int64_t from,
                                     int64_t to)
{
    struct ledger_books *books = calloc(n, sizeof *books);
    query_books *all = by_files ? query_books_new() : NULL;
    bool good = books && (all || !by_files);
    for (size_t i = 0; i < n && by_files && good; i++)
        good = look_at(q, all, i, roots[i].dir, false, before(from, HOUR_US), behind(to, HOUR_US));
    for (size_t i = 0; i < n && good; i++)
        good = by_files ? query_books_of(all, i, roots[i].dir, files, &books[i])
                        : query_books_of(files, roots[i].path, roots[i].dir, NULL, &books[i]);
    query_books_free(all);
    if (good)
        return books;
    books_free(books, n);
    return NULL;
}

static void read_ledger(const struct query *q, const struct root *roots, size_t n, bool by_files,
                        int64_t now_us, struct query_completeness *out)
{
    const char **dirs = calloc(n, sizeof *dirs);
    query_books *own;
    const query_books *files = files_of(q, &own);
    int64_t from, to, first, last;
    query_complete_window(q, now_us, &from, &to);
    if (by_files && files && query_books_times(files, &first, &last)) {
        from = first > from ? first : from;
        to = last < to ? last : to;
    }
    struct ledger_books *books =
        files && dirs ? books_of(q, roots, n, by_files, files, from, to) : NULL;
    weir_err err = {.msg = "out of memory"};
    weir_status st = WEIR_ENOMEM;
    for (size_t i = 0; dirs && i < n; i++)
        dirs[i] = roots[i].dir;
    if (dirs)
        st = ledger_complete_read(dirs, n, books, from, to, query_complete_about(q),
                                  (void *)(uintptr_t)q->filter, &out->ledger, &err);
    if (!by_files && q->to_us != INT64_MAX && q->to_us < to)
        out->ledger.to_us = q->to_us; /* as it was asked for */
    if (st == WEIR_OK)
        out->what = QUERY_COMPLETE_KNOWN;
    else
        fail(out, err.msg);
    books_free(books, n);
    query_books_free(own);
    free(dirs);
}

void query_complete_read(const struct query *q, int64_t now_us, struct query_completeness *out)
{
    *out = (struct query_completeness){.what = QUERY_COMPLETE_NO_LEDGER};
    size_t n = 0;
    bool by_files = q->range_from || q->range_to, none = !q->n_paths;
    struct root *roots = calloc(q->n_paths + 1, sizeof *roots);
    if (!roots) {
        fail(out, "out of memory");
        return;
    }
    for (size_t i = 0; i < q->n_paths; i++) {
        bool whole, known = false;
        char *root = archive_of(q->paths[i], &whole);
        none |= !root;
        by_files |= root && !whole;
        for (size_t k = 0; root && k < n && !known; k++)
            known = strcmp(root, roots[k].dir) == 0;
        if (root && !known)
            roots[n++] = (struct root){root, i};
        else
            free(root);
    }
    if (!none)
        read_ledger(q, roots, n, by_files, now_us, out);
    for (size_t i = 0; i < n; i++)
        free(roots[i].dir);
    free(roots);
}

/* ---- in words ---- */

static const char no_ledger[] = "no ledger beside these files";

void query_complete_text(const struct query_completeness *c, bool utc, base_buf *out)
{
    switch (c->what) {
    case QUERY_COMPLETE_KNOWN:
        ledger_complete_text(&c->ledger, SPELT_OUT, utc, out);
        break;
    case QUERY_COMPLETE_NO_LEDGER:
        base_buf_printf(out, "not known: %s", no_ledger);
        break;
    case QUERY_COMPLETE_FAILED:
        base_buf_printf(out, "not known: %s", c->failed);
        break;
    }
}

void query_complete_json(const struct query_completeness *c, base_buf *out)
{
    const char *why = c->what == QUERY_COMPLETE_NO_LEDGER ? no_ledger : c->failed;
    if (c->what == QUERY_COMPLETE_KNOWN) {
        ledger_complete_json(&c->ledger, out);
        return;
    }
    base_buf_str(out, "{\"known\":false,\"complete\":false,\"reason\":");
    base_json_string(out, why, strlen(why), false);
    base_buf_char(out, '}');
}
