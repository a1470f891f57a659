/* json -- rows as `weir query -o ndjson --utc --raw` writes them: the query room does it all. */
#include "ship/encode_in.h"

#include "query/format.h"

#include <stdlib.h>

struct state {
    query_arena *arena;
    query_format *format;
};

static weir_status no_write(void *user, const void *data, size_t len, weir_err *err)
{
    (void)user;
    (void)data;
    (void)len;
    (void)err;
    return WEIR_OK;
}

static weir_status open(ship_encoder *e, const struct ship_encoder_options *o, weir_err *err)
{
    (void)o;
    struct state *st = calloc(1, sizeof *st);
    if (!st)
        return ship_no_memory(err);
    e->state = st;
    if (!(st->arena = query_arena_new()))
        return ship_no_memory(err);
    const struct query_format_options format = {.name = "ndjson",
                                                .utc = true,
                                                .no_row_number = true,
                                                .extras = e->extras,
                                                .n_extras = e->n_extras,
                                                .write = no_write};
    WEIR_TRY(query_format_new(&format, st->arena, &st->format, err));
    query_format_fields(st->format, 0, &e->borrowed, &e->n_fields);
    return WEIR_OK;
}

static weir_status rows(ship_encoder *e, const struct query_block *b, size_t from, size_t to,
                        base_buf *out, size_t *ends, weir_err *err)
{
    struct state *st = e->state;
    return query_format_lines(st->format, b, from, to, out, ends, err);
}

static void done(ship_encoder *e)
{
    struct state *st = e->state;
    if (!st)
        return;
    query_format_free(st->format);
    query_arena_free(st->arena);
    free(st);
}

const struct ship_encoder_kind *ship_json_kind(void)
{
    static const struct ship_encoder_kind kind = {open, rows, done};
    return &kind;
}
