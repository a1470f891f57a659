#include "query/complete.h"

#include "archive/archive.h"
#include "base/text.h"
#include "parquet/reader.h"
#include "query/predicate.h"

#include <stdio.h>
#include <stdlib.h>

enum { SPELT_OUT = 3 }; /* losses; --summary json and weir exporters have all */

static const int64_t LATE_US = 5 * INT64_C(60000000);

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

static bool is_about(void *user, const struct ledger_row *row)
{
    return query_truth_of(user, row) != QUERY_NO;
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

struct times {
    int64_t min, max;
    bool any, unknown;
};

static void times_of_file(const parquet_file *f, struct times *t)
{
    int column = parquet_column_find(f, flow_columns()[FLOW_received].name);
    for (size_t g = 0; g < parquet_n_groups(f); g++) {
        struct parquet_chunk_info info = {0};
        int64_t min, max;
        if (column >= 0)
            parquet_chunk(f, g, (size_t)column, &info);
        if (!info.min.data || info.min.len != 8 || !info.max.data || info.max.len != 8) {
            t->unknown = true;
            return;
        }
        memcpy(&min, info.min.data, 8);
        memcpy(&max, info.max.data, 8);
        t->min = t->any && t->min < min ? t->min : min;
        t->max = t->any && t->max > max ? t->max : max;
        t->any = true;
    }
}

/* When the rows of these files arrived, by their footers. */
static void times_of_path(const struct query *q, const char *path, struct times *t)
{
    archive_scan *scan;
    weir_err err;
    if (archive_scan_open(path, FLOW_TABLE_FLOWS, q->range_from, q->range_to, &scan, &err) !=
        WEIR_OK)
        return;
    for (;;) {
        struct archive_part *parts;
        size_t n;
        weir_status st = archive_scan_next(scan, &parts, &n, &err);
        if (st == WEIR_END || st == WEIR_ENOMEM || (q->stop && q->stop(q->user)))
            break;
        if (st != WEIR_OK)
            continue;
        for (size_t i = 0; i < n; i++)
            times_of_file(parts[i].file, t);
        archive_scan_release(scan, parts, n);
    }
    archive_scan_close(scan);
}

static void window(const struct query *q, int64_t now_us, int64_t *from, int64_t *to)
{
    *from = q->from_us;
    *to = q->to_us < INT64_MAX - LATE_US ? q->to_us + LATE_US : q->to_us;
    if ((*to != INT64_MAX || *from != INT64_MIN) && *to > now_us)
        *to = now_us > *from ? now_us : *from;
}

/* ---- reading ---- */

static void fail(struct query_completeness *c, const char *why)
{
    c->what = QUERY_COMPLETE_FAILED;
    (void)snprintf(c->failed, sizeof c->failed, "%s", why);
}

void query_complete_read(const struct query *q, int64_t now_us, struct query_completeness *out)
{
    *out = (struct query_completeness){.what = QUERY_COMPLETE_NO_LEDGER};
    struct times times = {0};
    int64_t from, to;
    size_t n = 0;
    bool by_files = q->range_from || q->range_to, none = !q->n_paths;
    char **roots = calloc(q->n_paths + 1, sizeof *roots);
    if (!roots) {
        fail(out, "out of memory");
        return;
    }
    window(q, now_us, &from, &to);
    for (size_t i = 0; i < q->n_paths; i++) {
        bool whole, known = false;
        char *root = archive_of(q->paths[i], &whole);
        none |= !root;
        by_files |= root && !whole;
        for (size_t k = 0; root && k < n && !known; k++)
            known = strcmp(root, roots[k]) == 0;
        if (root && !known)
            roots[n++] = root;
        else
            free(root);
    }
    if (!none) {
        for (size_t i = 0; by_files && i < q->n_paths; i++)
            times_of_path(q, q->paths[i], &times);
        if (by_files && times.any && !times.unknown) {
            from = times.min > from ? times.min : from;
            to = times.max < to ? times.max : to;
        }
        bool about = q->filter && tells_streams_apart(q->filter);
        weir_err err = {0};
        weir_status st =
            ledger_complete_read((const char *const *)roots, n, from, to, about ? is_about : NULL,
                                 (void *)(uintptr_t)q->filter, &out->ledger, &err);
        if (!by_files && q->to_us != INT64_MAX && q->to_us < to)
            out->ledger.to_us = q->to_us; /* as it was asked for */
        if (st == WEIR_OK)
            out->what = QUERY_COMPLETE_KNOWN;
        else
            fail(out, err.msg);
    }
    for (size_t i = 0; i < n; i++)
        free(roots[i]);
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
