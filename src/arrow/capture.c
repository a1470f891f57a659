/* A capture as a stream of batches: packets are read and decoded in get_next, until there are rows enough. */
#include "collect/capture.h"
#include "arrow/batch.h"
#include "base/err.h"

#include <errno.h>
#include <stdlib.h>

enum {
    BATCH_ROWS = 65536,
    BATCH_OCTETS = 256 << 20 /* a batch ends with so many, however few its rows are */
};

struct stream {
    capture *in;
    weir_decoder *decoder;
    weir_batch *rows;
    weir_handlers on;
    uint32_t batch_rows;
    uint64_t damaged;
    bool ended;
    weir_err err; /* of the last call that failed */
};

static void stream_free(struct stream *s)
{
    capture_close(s->in);
    weir_decoder_free(s->decoder);
    weir_batch_free(s->rows);
    free(s);
}

static int get_schema(struct ArrowArrayStream *stream, struct ArrowSchema *out)
{
    struct stream *s = stream->private_data;
    const struct arrow_columns *c = arrow_batch_columns(s->rows);
    return arrow_errno(arrow_schema_make(c->types, c->n, out, &s->err));
}

/* One packet into rows. WEIR_END: that was all; WEIR_EIO, WEIR_ENOMEM: nothing more comes. */
static weir_status read_packet(struct stream *s)
{
    struct capture_packet p;
    weir_status status = capture_next(s->in, &p, &s->err);
    if (status == WEIR_END || status == WEIR_EIO || status == WEIR_ENOMEM) {
        s->ended = true;
        weir_decoder_finish(s->decoder, &s->on, s->rows);
        return status;
    }
    if (status != WEIR_OK)
        s->damaged++;
    else /* what it could not make use of, the decoder has counted */
        (void)weir_decode(s->decoder, &p.from, p.received_ns, p.data, p.len, &s->on, s->rows, NULL);
    return WEIR_OK;
}

static int get_next(struct ArrowArrayStream *stream, struct ArrowArray *out)
{
    struct stream *s = stream->private_data;
    weir_status status = WEIR_OK;
    while (!s->ended && weir_batch_rows(s->rows) < s->batch_rows &&
           arrow_batch_octets(s->rows) < BATCH_OCTETS) {
        status = read_packet(s);
        if (status == WEIR_EIO || status == WEIR_ENOMEM)
            return arrow_errno(status); /* what was read before comes with the next call */
    }
    *out = (struct ArrowArray){.release = NULL};
    if (weir_batch_rows(s->rows) == 0)
        return 0;
    return arrow_errno(weir_batch_take(s->rows, NULL, out, &s->err));
}

static const char *get_last_error(struct ArrowArrayStream *stream)
{
    const struct stream *s = stream->private_data;
    return s->err.msg[0] ? s->err.msg : NULL;
}

static void release(struct ArrowArrayStream *stream)
{
    stream_free(stream->private_data);
    stream->release = NULL;
}

weir_status weir_arrow_capture(const char *path, const weir_capture_options *o,
                               struct ArrowArrayStream *out, weir_err *err)
{
    static const weir_capture_options defaults = {.port = 0};
    o = o ? o : &defaults;
    struct stream *s = calloc(1, sizeof *s);
    if (!s)
        return weir_err_set(err, WEIR_ENOMEM, 0, "%s: out of memory", path);
    weir_err own = {.code = WEIR_ENOMEM}; /* the status of what gives a pointer */
    err = err ? err : &own;
    struct capture_options how = {.port = o->port, .from = {.transport = WEIR_UDP}};
    s->batch_rows = o->batch_rows ? o->batch_rows : BATCH_ROWS;
    const weir_elements *elements = o->rows.elements ? o->rows.elements
                                    : o->decoder     ? o->decoder->elements
                                                     : NULL;
    weir_status status = capture_open(path, &how, &s->in, err);
    if (status == WEIR_OK && !(s->decoder = weir_decoder_new(o->decoder, err)))
        status = err->code;
    if (status == WEIR_OK && !(s->rows = arrow_batch_new(&o->rows, elements, err)))
        status = err->code;
    if (status != WEIR_OK) {
        stream_free(s);
        return status;
    }
    s->on = weir_batch_handlers(s->rows);
    *out = (struct ArrowArrayStream){.get_schema = get_schema,
                                     .get_next = get_next,
                                     .get_last_error = get_last_error,
                                     .release = release,
                                     .private_data = s};
    return WEIR_OK;
}

weir_status weir_capture_counted(const struct ArrowArrayStream *stream, weir_capture_counts *out)
{
    if (!stream || stream->release != release)
        return WEIR_EINVAL;
    const struct stream *s = stream->private_data;
    const struct capture_counters *n = capture_counters(s->in);
    *out = (weir_capture_counts){.frames = n->frames,
                                 .packets = n->packets,
                                 .damaged = s->damaged,
                                 .lost = weir_batch_lost(s->rows),
                                 .decoder = *weir_decoder_counters(s->decoder)};
    return WEIR_OK;
}
