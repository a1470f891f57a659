#include "ship/names.h"

#include "archive/layout.h"
#include "parquet/reader.h"
#include "query/lookup.h"
#include "ship/source.h"

#include <stdlib.h>

struct ship_names {
    ship_source *source;
    archive_cursor done; /* in memory alone: a start reads everything again */
    query_lookup *lookup;
    bool begun; /* done lists what compaction made before */
};

weir_status ship_names_new(const char *archive, ship_names **out, weir_err *err)
{
    ship_names *n = calloc(1, sizeof *n);
    if (!n)
        return archive_no_memory(err);
    weir_status st = ship_source_new(archive, 1U << FLOW_TABLE_OPTIONS, &n->source, err);
    if (st == WEIR_OK && !(n->lookup = query_lookup_new()))
        st = archive_no_memory(err);
    if (st != WEIR_OK) {
        ship_names_free(n);
        return st;
    }
    *out = n;
    return WEIR_OK;
}

void ship_names_free(ship_names *n)
{
    if (!n)
        return;
    query_lookup_free(n->lookup);
    archive_cursor_done(&n->done);
    ship_source_free(n->source);
    free(n);
}

struct query_lookup *ship_names_lookup(const ship_names *n)
{
    return n->lookup;
}

static weir_status read_parts(ship_names *n, const struct ship_parts *p, uint64_t from,
                              weir_err *err)
{
    for (size_t i = 0; i < p->n; i++) {
        uint64_t rows = parquet_n_rows(p->parts[i].file);
        if (from < rows)
            WEIR_TRY(query_lookup_rows(n->lookup, p->parts[i].file, from, err));
        from -= from < rows ? from : rows;
    }
    return WEIR_OK;
}

/* *gone: it is not there any more, and what stood in it may be in a file that compaction made. */
static weir_status read_file(ship_names *n, const struct ship_file *f,
                             const struct ship_names_look *how, bool *gone, weir_err *err)
{
    uint64_t from = archive_cursor_of(&n->done, f->table, f->name).rows;
    struct ship_parts p = {0};
    weir_err why = {0};
    weir_status st = ship_parts_open(&p, f, &why);
    if (st == WEIR_ENOTFOUND) { /* one that was open will be there under its new name */
        *gone = *gone || !f->open;
        return WEIR_OK;
    }
    uint64_t to = p.rows > from ? p.rows : from;
    if (st == WEIR_OK && p.rows > from)
        st = read_parts(n, &p, from, &why);
    ship_parts_done(&p);
    if (st == WEIR_ENOMEM)
        return archive_no_memory(err);
    if (st != WEIR_OK && !f->open && how->broken) /* an open one may be whole when it is closed */
        how->broken(how->user, f->path, &why);
    return archive_cursor_set(&n->done, f->table, f->name, st == WEIR_OK ? to : from, !f->open,
                              err);
}

weir_status ship_names_look(ship_names *n, const struct ship_names_look *how, bool *rates,
                            weir_err *err)
{
    const struct ship_file *files;
    size_t n_files;
    bool had = query_lookup_has(n->lookup, QUERY_LOOKUP_RATE), gone = false;
    weir_status st = WEIR_OK;
    *rates = false;
    if (!n->begun) {
        archive_cursor_done(&n->done);
        n->done = (archive_cursor){0};
        WEIR_TRY(ship_source_begin(n->source, false, &n->done, err));
    }
    WEIR_TRY(ship_source_look(n->source, &n->done, how->all || !n->begun, &files, &n_files, err));
    n->begun = true;
    for (size_t i = 0; i < n_files && st == WEIR_OK; i++)
        st = how->stop && how->stop(how->user) ? weir_err_set(err, WEIR_END, 0, "stopped")
                                               : read_file(n, &files[i], how, &gone, err);
    /* What is known already is read again with it: the latest record counts, however often it is read. */
    n->begun = !gone && st == WEIR_OK;
    *rates = !had && query_lookup_has(n->lookup, QUERY_LOOKUP_RATE);
    return st;
}
