/* Rows of a decoder: a normaliser and the batch that it fills. */
#include "arrow/batch.h"

#include "base/err.h"
#include "flow/normalise.h"

#include <stdlib.h>

struct weir_batch {
    flow_normaliser *normaliser;
    flow_batch *rows; /* NULL: none yet */
    enum flow_table table;
    bool fixed; /* columns says which: named, or all of the table */
    struct arrow_columns columns;
    uint64_t lost;
};

static flow_batch *open_rows(weir_batch *b)
{
    if (!b->rows)
        b->rows = flow_batch_new(b->table);
    return b->rows;
}

static weir_batch *batch_new(const weir_batch_options *o, bool all, const weir_elements *elements,
                             weir_err *err)
{
    weir_batch *b = calloc(1, sizeof *b);
    if (!b) {
        weir_err_set(err, WEIR_ENOMEM, 0, "batch: out of memory");
        return NULL;
    }
    b->table = o && o->options ? FLOW_TABLE_OPTIONS : FLOW_TABLE_FLOWS;
    b->normaliser = flow_normaliser_new();
    weir_status s =
        b->normaliser ? WEIR_OK : weir_err_set(err, WEIR_ENOMEM, 0, "batch: out of memory");
    if (s == WEIR_OK && o && o->columns)
        s = arrow_columns_named(&b->columns, b->table, o->columns, o->n_columns, elements, err);
    else if (s == WEIR_OK && all)
        s = arrow_columns_table(&b->columns, b->table, err);
    b->fixed = all || (o && o->columns);
    if (s == WEIR_OK)
        return b;
    weir_batch_free(b);
    return NULL;
}

weir_batch *weir_batch_new(const weir_batch_options *o, weir_err *err)
{
    return batch_new(o, false, o ? o->elements : NULL, err);
}

weir_batch *arrow_batch_new(const weir_batch_options *o, const weir_elements *elements,
                            weir_err *err)
{
    return batch_new(o, true, elements, err);
}

const struct arrow_columns *arrow_batch_columns(const weir_batch *b)
{
    return &b->columns;
}

size_t arrow_batch_octets(const weir_batch *b)
{
    return b->rows ? flow_batch_octets(b->rows) : 0;
}

void weir_batch_free(weir_batch *b)
{
    if (!b)
        return;
    flow_normaliser_free(b->normaliser);
    flow_batch_free(b->rows);
    arrow_columns_done(&b->columns);
    free(b);
}

static void record(void *user, const weir_record *r)
{
    weir_batch *b = user;
    if (!open_rows(b) || flow_add_record(b->normaliser, b->rows, r) != WEIR_OK)
        b->lost++;
}

static void records(void *user, const weir_record *first, size_t n)
{
    weir_batch *b = user;
    if (!open_rows(b) || flow_add_records(b->normaliser, b->rows, first, n) != WEIR_OK)
        b->lost += n;
}

static void options(void *user, const weir_record *r)
{
    weir_batch *b = user;
    if (!open_rows(b) || flow_add_options(b->normaliser, b->rows, r) != WEIR_OK)
        b->lost++;
}

/* Of rows that came before their rate. */
static void sampling(void *user, const weir_packet *p, uint64_t selector, const weir_sampling *s)
{
    weir_batch *b = user;
    if (b->rows && s->rate > 0)
        flow_batch_sampling(b->rows, p->from.addr, p->from.family == 6 ? 16 : 4, p->domain,
                            selector, s->rate, weir_origin_text((weir_origin)s->origin));
}

weir_handlers weir_batch_handlers(const weir_batch *b)
{
    if (b->table == FLOW_TABLE_OPTIONS)
        return (weir_handlers){.options = options};
    return (weir_handlers){.record = record, .records = records, .sampling = sampling};
}

size_t weir_batch_rows(weir_batch *b)
{
    return b->rows ? flow_batch_rows(b->rows) : 0;
}

uint64_t weir_batch_lost(const weir_batch *b)
{
    return b->lost;
}

weir_status weir_batch_take(weir_batch *b, struct ArrowSchema *schema, struct ArrowArray *array,
                            weir_err *err)
{
    if (!open_rows(b))
        return weir_err_set(err, WEIR_ENOMEM, 0, "batch: out of memory");
    WEIR_TRY(arrow_columns_take(b->fixed ? &b->columns : NULL, b->rows, schema, array, err));
    b->rows = NULL;
    return WEIR_OK;
}
