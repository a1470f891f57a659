/* state -- what should outlive a restart, as octets: exporters, their streams with sequence tracks and templates,
 * their samplers. All integers big-endian; counts before items; a hash of all that stands before it at the end.
 *
 *   "WEIRSTA1" | u32 exporters | exporter*  | u64 hash
 *   exporter:  address 16, u8 family, u32 streams, stream*, u32 samplers, sampler*
 *
 * The same state gives the same octets: what stands in hash tables is written in order.
 * Settings (scope, rate, quirks) are the user's, not the exporter's: they are not kept. */
#include "wire/wire.h"

#include "base/buf.h"
#include "base/hash.h"

#include <stdlib.h>
#include <string.h>

static const char magic[8] = "WEIRSTA1";

static void put_f64(base_buf *b, double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    base_buf_u64(b, bits);
}

static double get_f64(base_rd *r)
{
    uint64_t bits = base_rd_u64(r);
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

/* Whatever a damaged file says, differences of times must not overflow. */
static int64_t get_time(base_rd *r)
{
    int64_t ns = (int64_t)base_rd_u64(r);
    return ns < 0 ? 0 : ns;
}

static void put_template(base_buf *b, const wire_template *t, bool v9)
{
    const weir_template *p = &t->pub;
    base_buf_u16(b, p->id);
    base_buf_u8(b, p->options);
    base_buf_u16(b, p->port);
    base_buf_u32(b, t->export_s);
    base_buf_u64(b, (uint64_t)p->learnt_ns);
    base_buf_u64(b, (uint64_t)p->seen_ns);
    base_buf_u16(b, p->n_scope);
    base_buf_u16(b, p->n_fields);
    for (uint32_t i = 0; i < p->n_fields; i++) {
        const weir_element *e = p->fields[i].element;
        base_buf_u8(b, e->flags & WEIR_ELEMENT_SCOPE ? WEIR_SPACE_V9_SCOPE
                       : v9                          ? WEIR_SPACE_V9
                                                     : WEIR_SPACE_IPFIX);
        base_buf_u32(b, e->pen);
        base_buf_u16(b, e->id);
        base_buf_u16(b, p->fields[i].length);
    }
}

static int by_id(const void *a, const void *b)
{
    const wire_template *const *x = a, *const *y = b;
    return (*x)->pub.id - (*y)->pub.id;
}

static void put_templates(base_buf *b, const weir_stream *s)
{
    base_buf_u32(b, s->n_templates);
    const wire_template **all = malloc((s->n_templates + 1) * sizeof *all);
    if (!all) {
        b->failed = true;
        return;
    }
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->n_slots; i++)
        if (s->slots[i])
            all[n++] = s->slots[i];
    qsort(all, n, sizeof *all, by_id);
    for (uint32_t i = 0; i < n; i++)
        put_template(b, all[i], s->key.version == 9);
    free(all);
}

static void put_stream(base_buf *b, const weir_stream *s)
{
    base_buf_u16(b, s->key.version);
    base_buf_u8(b, s->key.transport);
    base_buf_u16(b, s->key.port);
    base_buf_u32(b, s->key.domain);
    base_buf_u64(b, (uint64_t)s->last_ns);
    base_buf_u8(b, s->init_known);
    base_buf_u64(b, (uint64_t)s->init_ms);
    base_buf_u32(b, s->n_tracks);
    for (uint32_t i = 0; i < s->n_tracks; i++) {
        const wire_track *t = &s->tracks[i];
        base_buf_u16(b, t->port);
        base_buf_u8(b, t->started);
        base_buf_u32(b, t->next);
        base_buf_u32(b, t->uptime_ms);
        base_buf_u32(b, t->boot32);
        base_buf_u64(b, (uint64_t)t->seen_ns);
    }
    put_templates(b, s);
}

static int by_selector(const void *a, const void *b)
{
    const wire_sampler *const *px = a, *const *py = b;
    const wire_sampler *x = *px, *y = *py;
    if (x->domain != y->domain)
        return x->domain < y->domain ? -1 : 1;
    if (x->selector != y->selector)
        return x->selector < y->selector ? -1 : 1;
    if (x->kind != y->kind)
        return x->kind - y->kind;
    return x->version != y->version ? x->version - y->version : x->port - y->port;
}

static void put_samplers(base_buf *b, const wire_exporter *e)
{
    base_buf_u32(b, (uint32_t)e->n_samplers);
    const wire_sampler **all = malloc((e->n_samplers + 1) * sizeof *all);
    if (!all) {
        b->failed = true;
        return;
    }
    size_t n = 0;
    for (size_t i = 0; e->samplers && i < WIRE_SAMPLER_BUCKETS; i++)
        for (const wire_sampler *row = e->samplers[i]; row; row = row->chain)
            all[n++] = row;
    qsort(all, n, sizeof *all, by_selector);
    for (size_t i = 0; i < n; i++) {
        const wire_sampler *row = all[i];
        base_buf_u8(b, row->kind);
        base_buf_u64(b, row->selector);
        base_buf_u32(b, row->domain);
        base_buf_u16(b, row->version);
        base_buf_u16(b, row->port);
        put_f64(b, row->sampling.rate);
        base_buf_u16(b, row->sampling.algorithm);
    }
    free(all);
}

static void put_exporter(base_buf *b, const wire_exporter *e)
{
    base_buf_add(b, e->address.addr, sizeof e->address.addr);
    base_buf_u8(b, e->address.family);
    uint32_t n = 0;
    for (const wire_link *l = e->streams.next; l != &e->streams; l = l->next)
        n += WIRE_OF(l, weir_stream, of_exporter)->key.transport == WEIR_UDP;
    base_buf_u32(b, n);
    for (const wire_link *l = e->streams.next; l != &e->streams; l = l->next)
        if (WIRE_OF(l, weir_stream, of_exporter)->key.transport == WEIR_UDP)
            put_stream(b, WIRE_OF(l, weir_stream, of_exporter));
    put_samplers(b, e);
}

weir_status weir_decoder_save(const weir_decoder *d, uint8_t **out, size_t *len, weir_err *err)
{
    base_buf b = {0};
    base_buf_add(&b, magic, sizeof magic);
    base_buf_u32(&b, (uint32_t)d->n_exporters);
    for (const wire_link *l = d->exporters.next; l != &d->exporters; l = l->next)
        put_exporter(&b, WIRE_OF(l, wire_exporter, lru));
    base_buf_u64(&b, base_hash(b.data, b.len, 0));
    if (b.failed) {
        base_buf_done(&b);
        return weir_err_set(err, WEIR_ENOMEM, 0, "decoder state: out of memory");
    }
    *out = (uint8_t *)b.data;
    *len = b.len;
    return WEIR_OK;
}

/* ---- reading: every count is checked by running out of octets, every value by the rule that made it ---- */

static weir_status get_template(base_rd *r, weir_stream *s)
{
    uint16_t id = base_rd_u16(r);
    bool options = base_rd_u8(r) == 1;
    uint16_t port = base_rd_u16(r);
    uint32_t export_s = base_rd_u32(r);
    int64_t learnt_ns = get_time(r), seen_ns = get_time(r);
    uint16_t n_scope = base_rd_u16(r), n = base_rd_u16(r);
    if (r->dead || (size_t)n * 9 > base_rd_left(r))
        return WEIR_EFORMAT;
    wire_spec *specs = wire_specs(s->d, n + 1u);
    if (!specs)
        return WEIR_ENOMEM;
    for (uint32_t i = 0; i < n; i++) {
        uint8_t space = base_rd_u8(r);
        uint32_t pen = base_rd_u32(r);
        uint16_t ie = base_rd_u16(r), len = base_rd_u16(r);
        if (space > WEIR_SPACE_V9_SCOPE)
            return WEIR_EFORMAT;
        specs[i] = (wire_spec){.pen = pen, .id = ie, .len = len, .space = space};
    }
    weir_status status = wire_template_restore(s, id, options, specs, n, n_scope, port, export_s,
                                               learnt_ns, seen_ns);
    return status == WEIR_ELIMIT ? WEIR_OK
                                 : status; /* today's limits may be lower than yesterday's */
}

static weir_status get_stream(base_rd *r, weir_decoder *d, wire_exporter *e)
{
    weir_packet p = {.from = e->address};
    p.version = base_rd_u16(r);
    p.from.transport = base_rd_u8(r);
    uint16_t port = base_rd_u16(r);
    p.domain = base_rd_u32(r);
    p.received_ns = get_time(r);
    bool init_known = base_rd_u8(r) == 1;
    int64_t init_ms = (int64_t)base_rd_u64(r);
    uint32_t n_tracks = base_rd_u32(r);
    if (r->dead || p.from.transport != WEIR_UDP || n_tracks > WIRE_MAX_TRACKS ||
        !(p.version == 1 || p.version == 5 || p.version == 7 || p.version == 9 || p.version == 10))
        return WEIR_EFORMAT;
    weir_scope scope = e->scope;
    e->scope = port ? WEIR_SCOPE_PORT : WEIR_SCOPE_ADDRESS;
    p.from.port = port;
    weir_stream *s = wire_stream_get(d, e, &p, NULL);
    e->scope = scope;
    if (!s)
        return WEIR_ELIMIT;
    if (p.received_ns > e->last_ns)
        e->last_ns = p.received_ns; /* when the exporter counts as idle */
    s->init_known = init_known;
    s->init_ms = init_ms > INT64_MAX / 4000000 || init_ms < 0 ? 0 : init_ms;
    for (uint32_t i = 0; i < n_tracks; i++) {
        uint16_t from = base_rd_u16(r);
        bool started = base_rd_u8(r) == 1;
        uint32_t next = base_rd_u32(r), uptime_ms = base_rd_u32(r), boot32 = base_rd_u32(r);
        int64_t seen_ns = get_time(r);
        wire_track *t = r->dead ? NULL : wire_track_of(s, from, 0);
        if (!t)
            return r->dead ? WEIR_EFORMAT : WEIR_ELIMIT;
        *t = (wire_track){.port = from,
                          .started = started,
                          .next = next,
                          .uptime_ms = uptime_ms,
                          .boot32 = boot32,
                          .seen_ns = seen_ns};
    }
    uint32_t n_templates = base_rd_u32(r);
    for (uint32_t i = 0; i < n_templates && !r->dead; i++)
        WEIR_TRY(get_template(r, s));
    return r->dead ? WEIR_EFORMAT : WEIR_OK;
}

static weir_status get_exporter(base_rd *r, weir_decoder *d)
{
    weir_endpoint a = {0};
    const uint8_t *addr = base_rd_take(r, sizeof a.addr);
    a.family = base_rd_u8(r);
    uint32_t n_streams = base_rd_u32(r);
    if (r->dead || (a.family != 0 && a.family != 4 && a.family != 6))
        return WEIR_EFORMAT;
    memcpy(a.addr, addr, sizeof a.addr);
    weir_status why;
    wire_exporter *e = wire_exporter_get(d, &a, 0, &why);
    if (!e)
        return why;
    for (uint32_t i = 0; i < n_streams && !r->dead; i++)
        WEIR_TRY(get_stream(r, d, e));
    uint32_t n_samplers = base_rd_u32(r);
    for (uint32_t i = 0; i < n_samplers && !r->dead; i++) {
        wire_sampler row = {.kind = base_rd_u8(r)};
        row.selector = base_rd_u64(r);
        row.domain = base_rd_u32(r);
        row.version = base_rd_u16(r);
        row.port = base_rd_u16(r);
        row.sampling.rate = get_f64(r);
        row.sampling.algorithm = base_rd_u16(r);
        row.sampling.origin = WEIR_ORIGIN_OPTIONS;
        if (r->dead || !(row.sampling.rate > 0 && row.sampling.rate <= 0x1p64))
            return WEIR_EFORMAT;
        WEIR_TRY(wire_sampler_restore(e, d, &row));
    }
    return r->dead ? WEIR_EFORMAT : WEIR_OK;
}

weir_status weir_decoder_load(weir_decoder *d, const uint8_t *data, size_t len, weir_err *err)
{
    const char *what = "decoder state";
    if (d->packet_id)
        return weir_err_set(err, WEIR_EINVAL, 0, "%s: this decoder has seen packets already", what);
    if (len < sizeof magic + 12 || memcmp(data, magic, sizeof magic) != 0)
        return weir_err_set(err, WEIR_EFORMAT, 0,
                            "%s: not begun by %.8s, so it is another file or version", what, magic);
    if (base_hash(data, len - 8, 0) != weir_be(data + len - 8, 8))
        return weir_err_set(err, WEIR_EFORMAT, len - 8,
                            "%s: checksum does not match, the octets are damaged", what);
    base_rd r = base_rd_of(data + sizeof magic, len - 8 - sizeof magic);
    uint32_t n = base_rd_u32(&r);
    weir_status status = WEIR_OK;
    for (uint32_t i = 0; i < n && status == WEIR_OK; i++)
        status = get_exporter(&r, d);
    if (status == WEIR_ELIMIT)
        return WEIR_OK; /* full: the rest will be learnt again */
    if (status == WEIR_OK && base_rd_left(&r) > 0)
        status = WEIR_EFORMAT;
    if (status == WEIR_OK)
        return WEIR_OK;
    uint64_t at = (uint64_t)(r.at - data);
    for (wire_link *l = d->exporters.next, *next; l != &d->exporters; l = next) {
        wire_exporter *e = WIRE_OF(l, wire_exporter, lru);
        next = l->next;
        while (e->streams.next != &e->streams)
            wire_stream_free(WIRE_OF(e->streams.next, weir_stream, of_exporter));
        wire_samplers_free(d, e);
        if (!e->configured)
            wire_exporter_free(d, e);
    }
    return weir_err_set(err, status, at, "%s: %s", what, weir_status_text(status));
}
