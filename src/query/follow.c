#include "query/follow.h"

#include "query/bits.h"
#include "query/predicate.h"
#include "query/scan.h"

#include <stdlib.h>
#include <string.h>

struct query_follow {
    struct query q;
    struct query_result result;
    struct query_plan plan;
    struct query_field *fields; /* n */
    int *planned;               /* numbers of them in the plan */
    size_t n;
    struct query_scan scan;
    struct query_filter *filter;
    uint32_t *rows; /* QUERY_WINDOW and some */
    /* Where it is. */
    const parquet_file *file; /* NULL: nowhere */
    size_t group;
    bool open;       /* the row group is */
    bool none, all;  /* what the footer says of its rows and the filter */
    uint64_t first;  /* number of the row group's first row */
    uint64_t n_rows; /* of the row group */
    uint64_t at;     /* the next row */
};

static weir_status no_memory(weir_err *err)
{
    return weir_err_set(err, WEIR_ENOMEM, 0, "query: out of memory");
}

weir_status query_follow_new(const struct query_follow_options *o, query_follow **out,
                             weir_err *err)
{
    query_follow *f = calloc(1, sizeof *f);
    if (!f)
        return no_memory(err);
    f->n = o->n_fields;
    f->fields = calloc(f->n + 1, sizeof *f->fields);
    f->planned = calloc(f->n + 1, sizeof *f->planned);
    f->rows = malloc((QUERY_WINDOW + 8) * sizeof *f->rows);
    weir_status s = f->fields && f->planned && f->rows ? WEIR_OK : no_memory(err);
    if (s == WEIR_OK) {
        if (f->n)
            memcpy(f->fields, o->fields, f->n * sizeof *f->fields);
        f->result = (struct query_result){.fields = f->fields, .n_fields = f->n};
        f->q = (struct query){.results = &f->result,
                              .n_results = 1,
                              .filter = o->filter,
                              .from_us = INT64_MIN,
                              .to_us = INT64_MAX,
                              .raw = !o->scaled,
                              .lookup = o->lookup};
        s = query_plan_make(&f->plan, &f->q, false, err);
    }
    for (size_t i = 0; i < f->n && s == WEIR_OK; i++)
        if ((f->planned[i] = query_plan_field_add(&f->plan, &f->fields[i])) < 0)
            s = no_memory(err);
    f->scan.plan = &f->plan;
    if (s == WEIR_OK && !(f->filter = query_filter_new(&f->plan)))
        s = no_memory(err);
    if (s != WEIR_OK) {
        query_follow_free(f);
        return s;
    }
    *out = f;
    return WEIR_OK;
}

static void leave_group(query_follow *f)
{
    if (f->open) {
        query_filter_close(f->filter);
        query_scan_close(&f->scan);
    }
    f->open = false;
}

void query_follow_free(query_follow *f)
{
    if (!f)
        return;
    leave_group(f);
    query_scan_done(&f->scan);
    query_filter_free(f->filter);
    query_plan_done(&f->plan);
    free(f->fields);
    free(f->planned);
    free(f->rows);
    free(f);
}

void query_follow_open(query_follow *f, const parquet_file *file, uint64_t from)
{
    leave_group(f);
    query_plan_learn(&f->plan, file);
    f->file = file;
    f->group = 0;
    f->first = f->n_rows = 0;
    f->at = from;
}

/* The row group that has row f->at. WEIR_END: none. */
static weir_status enter_group(query_follow *f, weir_err *err)
{
    while (!f->open || f->at >= f->first + f->n_rows) {
        if (f->open || f->n_rows) { /* one is done, or was passed over */
            leave_group(f);
            f->first += f->n_rows;
            f->group++;
            f->n_rows = 0;
        }
        if (f->group >= parquet_n_groups(f->file))
            return WEIR_END;
        struct parquet_group_info info;
        parquet_group(f->file, f->group, &info);
        f->n_rows = info.n_rows;
        if (f->at >= f->first + f->n_rows) {
            if (!f->n_rows)
                f->group++;
            continue;
        }
        enum query_skip why;
        WEIR_TRY(query_scan_open(&f->scan, f->file, f->group, f->first, err));
        f->open = true;
        WEIR_TRY(query_filter_open(f->filter, &f->scan, &f->none, &f->all, &why, err));
    }
    return WEIR_OK;
}

static weir_status values(query_follow *f, const struct query_rows *rows, struct query_block *out,
                          weir_err *err)
{
    struct query_eval e;
    struct query_bump *memory = &f->scan.window_memory;
    struct query_vec *vecs = query_bump_array(memory, f->n + 1, sizeof *vecs);
    if (!vecs || !query_eval_init(&e, &f->plan, &f->scan, memory, *rows))
        return no_memory(err);
    for (size_t i = 0; i < f->n; i++) {
        const struct query_values *v;
        WEIR_TRY(query_eval_field(&e, f->planned[i], &v, err));
        vecs[i] = v->v;
        if (v->constant)
            WEIR_TRY(query_vec_expand(memory, &vecs[i], rows->n, err));
    }
    *out = (struct query_block){.n = rows->n, .vecs = vecs};
    return WEIR_OK;
}

weir_status query_follow_next(query_follow *f, size_t most, struct query_follow_rows *out,
                              weir_err *err)
{
    if (!f->file)
        return WEIR_END;
    WEIR_TRY(enter_group(f, err));
    uint64_t left = f->first + f->n_rows - f->at;
    size_t n = most && most < QUERY_WINDOW ? most : QUERY_WINDOW;
    n = n < left ? n : (size_t)left;
    *out = (struct query_follow_rows){.from = f->at, .to = f->at + n};
    struct query_rows rows = {.n = n};
    if (f->none) { /* the whole row group, at once */
        out->to = f->at += left;
        return WEIR_OK;
    }
    query_scan_window(&f->scan, f->at - f->first, n);
    if (!f->all) {
        uint64_t bits[QUERY_WINDOW / 64 + 1];
        WEIR_TRY(query_filter_window(f->filter, bits, err));
        rows.n = query_bits_count(bits, n);
        if (rows.n && rows.n < n) {
            rows.n = query_bits_rows(bits, n, f->rows);
            out->at = rows.at = f->rows;
        }
    }
    if (rows.n)
        WEIR_TRY(values(f, &rows, &out->block, err));
    f->at += n;
    return WEIR_OK;
}
