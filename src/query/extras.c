#include "query/extras.h"

#include "archive/archive.h"
#include "parquet/reader.h"
#include "query/follow.h"

#include <stdlib.h>
#include <string.h>

static void add(query_arena *a, struct query_extras *x, const struct parquet_column *c)
{
    if (flow_column_find(c->name, strlen(c->name)) >= 0)
        return;
    for (size_t i = 0; i < x->n; i++)
        if (strcmp(x->items[i].name, c->name) == 0)
            return;
    if (x->n == x->cap) {
        size_t cap = x->cap ? 2 * x->cap : 16;
        struct query_field *more = realloc(x->items, cap * sizeof *more);
        if (!more)
            return;
        x->items = more;
        x->cap = cap;
    }
    const char *name = query_arena_text(a, c->name, strlen(c->name));
    if (name)
        x->items[x->n++] = (struct query_field){
            .what = QUERY_F_EXTRA, .id = -1, .name = name, .kind = query_column_kind(c)};
}

void query_extras_find(query_arena *a, const struct query_paths *p, bool (*stop)(void *user),
                       void *user, struct query_extras *x)
{
    for (size_t i = 0; i < p->n; i++) {
        archive_scan *scan;
        weir_err err;
        if (archive_scan_open(p->items[i], FLOW_TABLE_FLOWS, p->from, p->to, &scan, &err) !=
            WEIR_OK)
            continue;
        for (;;) {
            struct archive_part *parts;
            size_t n;
            weir_status s = archive_scan_next(scan, &parts, &n, &err);
            if (s == WEIR_END || s == WEIR_ENOMEM || (stop && stop(user))) {
                if (s == WEIR_OK)
                    archive_scan_release(scan, parts, n);
                break;
            }
            if (s != WEIR_OK)
                continue;
            for (size_t k = 0; k < n; k++) {
                const struct parquet_schema *schema = parquet_schema_of(parts[k].file);
                for (size_t c = 0; c < schema->n; c++)
                    add(a, x, &schema->columns[c]);
            }
            archive_scan_release(scan, parts, n);
        }
        archive_scan_close(scan);
    }
}

void query_extras_done(struct query_extras *x)
{
    free(x->items);
    *x = (struct query_extras){.items = NULL};
}

const struct query_field *query_extras_field(const struct query_extras *x,
                                             const struct query_field *f)
{
    for (size_t i = 0; f->what == QUERY_F_EXTRA && i < x->n; i++)
        if (strcmp(x->items[i].name, f->name) == 0)
            return &x->items[i];
    return NULL;
}

const struct query_field *query_extras_missing(const struct query_extras *x,
                                               const struct query_expr *e)
{
    const struct query_field *found = NULL;
    if (!e)
        return NULL;
    for (size_t i = 0; i < e->n_items && !found; i++)
        found = query_extras_missing(x, e->items[i]);
    if (found || e->op < QUERY_OP_EQ || e->field.what != QUERY_F_EXTRA)
        return found;
    return x && query_extras_field(x, &e->field) ? NULL : &e->field;
}
