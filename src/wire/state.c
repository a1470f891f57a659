/* state -- what should outlive a restart, as octets: exporters, their streams with sequence tracks and templates,
 * their samplers. All integers big-endian; counts before items; a hash of all that stands before it at the end.
 *
 *   "WEIRSTA3" | u32 exporters | exporter*  | u64 hash
 *   exporter:  address 16, u8 family, u32 streams, stream*, u32 samplers, sampler*
 *
 * Positions are the same without templates and samplers, templates the same without tracks and heard at time 0. "WEIRSTA1" had no gaps and no times of samplers; tracks without
 * TRACK_NUMBERING are from before there were numberings. "WEIRSTA2" had no rates and no jumps.
 * The same state gives the same octets: what stands in hash tables is written in order.
 * Settings (scope, rate, quirks) are the user's, not the exporter's: they are not kept. */
#include "wire/wire.h"

#include "base/buf.h"
#include "base/hash.h"

#include <stdlib.h>
#include <string.h>

enum { OLDEST = 1, VERSION = 3 };

/* Its last octet is the version, as a digit. */
static const char magic[8] = "WEIRSTA3";

/* What is saved. */
enum { POSITIONS = 1, TEMPLATES = 2 };

enum {
    TRACK_STARTED = 1,
    TRACK_UNSURE = 2,
    TRACK_NUMBERING = 4,
    TRACK_JUMP = 8,
    TRACK_JUMP_BACK = 16,
    TRACK_JUMP_UNSURE = 32,
    TRACK_JUMP_VAGUE = 64,
    HEARD_UNSURE = 1,
    HEARD_KNOWN = 2
};

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
    const wire_template **all = malloc((s->n_templates + 1) * sizeof *all);
    if (!all) {
        b->failed = true;
        return;
    }
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->n_slots; i++)
        if (s->slots[i] && !wire_template_outlived(s, s->slots[i]))
            all[n++] = s->slots[i];
    qsort(all, n, sizeof *all, by_id);
    base_buf_u32(b, n);
    for (uint32_t i = 0; i < n; i++)
        put_template(b, all[i], s->key.version == 9);
    free(all);
}

static void put_heard(base_buf *b, const wire_heard *h, bool known)
{
    base_buf_u64(b, (uint64_t)h->silent_ns);
    base_buf_u32(b, h->sequence);
    base_buf_u32(b, h->flows);
    base_buf_u32(b, h->records);
    base_buf_u8(b, (uint8_t)((h->unsure ? HEARD_UNSURE : 0) | (known ? HEARD_KNOWN : 0)));
}

/* What its numbers count, and what is not decided about that. */
static void put_numbering(base_buf *b, const wire_track *t)
{
    const wire_doubt *q = t->doubt;
    base_buf_u8(b, t->numbering);
    base_buf_u8(b, t->suspects);
    base_buf_u8(b, t->score);
    base_buf_u8(b, t->twins);
    put_heard(b, &t->last, t->heard);
    base_buf_u8(b, q ? q->n : 0);
    if (!q)
        return;
    base_buf_u32(b, q->step);
    base_buf_u8(b, q->alive);
    base_buf_u8(b, q->odd);
    base_buf_u8(b, q->plain);
    base_buf_u8(b, q->score);
    base_buf_u8(b, q->loose);
    base_buf_u8(b, q->strong);
    put_heard(b, &q->before, true);
    for (uint32_t i = 0; i < q->n; i++)
        put_heard(b, &q->held[i], true);
}

static void put_track(base_buf *b, const wire_track *t)
{
    bool jump = t->chain && t->numbering != WIRE_NUMBERED_NOT;
    base_buf_u16(b, t->port);
    base_buf_u8(b, (uint8_t)((t->started ? TRACK_STARTED : 0) | (t->unsure ? TRACK_UNSURE : 0) |
                             TRACK_NUMBERING | (jump ? TRACK_JUMP : 0) |
                             (jump && t->jump_back ? TRACK_JUMP_BACK : 0) |
                             (jump && t->jump_unsure ? TRACK_JUMP_UNSURE : 0) |
                             (jump && t->jump_vague ? TRACK_JUMP_VAGUE : 0)));
    base_buf_u32(b, t->next);
    base_buf_u32(b, t->uptime_ms);
    base_buf_u32(b, t->boot32);
    base_buf_u64(b, (uint64_t)t->seen_ns);
    base_buf_u8(b, t->n_gaps);
    for (uint32_t i = 0; i < t->n_gaps; i++) {
        base_buf_u32(b, t->gaps[i].from);
        base_buf_u32(b, t->gaps[i].to);
    }
    put_numbering(b, t);
    base_buf_u32(b, t->rate);
    if (!jump)
        return;
    base_buf_u8(b, t->chain);
    base_buf_u32(b, t->jump_from);
    base_buf_u32(b, t->jump);
    base_buf_u32(b, t->jump_most);
}

static void put_stream(base_buf *b, const weir_stream *s, unsigned what)
{
    uint32_t n_tracks = what & POSITIONS ? s->n_tracks : 0;
    base_buf_u16(b, s->key.version);
    base_buf_u8(b, s->key.transport);
    base_buf_u16(b, s->key.port);
    base_buf_u32(b, s->key.domain);
    base_buf_u64(b, what & POSITIONS ? (uint64_t)s->last_ns : 0); /* older than any position */
    base_buf_u8(b, s->init_known);
    base_buf_u64(b, (uint64_t)s->init_ms);
    base_buf_u32(b, n_tracks);
    for (uint32_t i = 0; i < n_tracks; i++)
        put_track(b, &s->tracks[i]);
    if (what & TEMPLATES)
        put_templates(b, s);
    else
        base_buf_u32(b, 0);
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
        base_buf_u64(b, (uint64_t)row->seen_ns);
    }
    free(all);
}

static void put_exporter(base_buf *b, const wire_exporter *e, unsigned what)
{
    base_buf_add(b, e->address.addr, sizeof e->address.addr);
    base_buf_u8(b, e->address.family);
    uint32_t n = 0;
    for (const wire_link *l = e->streams.next; l != &e->streams; l = l->next)
        n += WIRE_OF(l, weir_stream, of_exporter)->key.transport == WEIR_UDP;
    base_buf_u32(b, n);
    for (const wire_link *l = e->streams.next; l != &e->streams; l = l->next)
        if (WIRE_OF(l, weir_stream, of_exporter)->key.transport == WEIR_UDP)
            put_stream(b, WIRE_OF(l, weir_stream, of_exporter), what);
    if (what & TEMPLATES)
        put_samplers(b, e);
    else
        base_buf_u32(b, 0);
}

static weir_status save(const weir_decoder *d, unsigned what, uint8_t **out, size_t *len,
                        weir_err *err)
{
    base_buf b = {0};
    base_buf_add(&b, magic, sizeof magic);
    base_buf_u32(&b, (uint32_t)d->n_exporters);
    for (const wire_link *l = d->exporters.next; l != &d->exporters; l = l->next)
        put_exporter(&b, WIRE_OF(l, wire_exporter, lru), what);
    base_buf_u64(&b, base_hash(b.data, b.len, 0));
    if (b.failed) {
        base_buf_done(&b);
        return weir_err_set(err, WEIR_ENOMEM, 0, "decoder state: out of memory");
    }
    *out = (uint8_t *)b.data;
    *len = b.len;
    return WEIR_OK;
}

weir_status weir_decoder_save(const weir_decoder *d, uint8_t **out, size_t *len, weir_err *err)
{
    return save(d, POSITIONS | TEMPLATES, out, len, err);
}

weir_status weir_decoder_save_positions(const weir_decoder *d, uint8_t **out, size_t *len,
                                        weir_err *err)
{
    return save(d, POSITIONS, out, len, err);
}

weir_status weir_decoder_save_templates(const weir_decoder *d, uint8_t **out, size_t *len,
                                        weir_err *err)
{
    return save(d, TEMPLATES, out, len, err);
}

/* ---- reading ----
 *
 * Everything is read twice: first to see that it is whole, without a change to the decoder (every count is checked by running
 * out of octets, every value by the rule that made it), then to take it over. So damaged octets spoil nothing that was there. */

typedef struct loading {
    weir_decoder *d;
    base_rd r;
    unsigned version; /* of the octets */
    bool apply;       /* the second time */
} loading;

static weir_status get_template(loading *l, weir_stream *s, int *last_id)
{
    base_rd *r = &l->r;
    uint16_t id = base_rd_u16(r);
    bool options = base_rd_u8(r) == 1;
    uint16_t port = base_rd_u16(r);
    uint32_t export_s = base_rd_u32(r);
    int64_t learnt_ns = get_time(r), seen_ns = get_time(r);
    uint16_t n_scope = base_rd_u16(r), n = base_rd_u16(r);
    if (r->dead || (size_t)n * 9 > base_rd_left(r) || id <= *last_id)
        return WEIR_EFORMAT;
    *last_id = id;
    wire_spec *specs = wire_specs(l->d, n + 1u);
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
    if (!wire_template_valid(id, specs, n, n_scope))
        return WEIR_EFORMAT;
    wire_template *t = s ? wire_template_find(s, id) : NULL;
    if (!s || (t && t->pub.seen_ns > seen_ns))
        return WEIR_OK;
    if (t)
        wire_template_drop(s, t);
    weir_status status = wire_template_restore(s, id, options, specs, n, n_scope, port, export_s,
                                               learnt_ns, seen_ns);
    return status == WEIR_ELIMIT ? WEIR_OK
                                 : status; /* today's limits may be lower than yesterday's */
}

static bool get_heard(base_rd *r, wire_heard *h)
{
    h->silent_ns = (int64_t)base_rd_u64(r);
    h->sequence = base_rd_u32(r);
    h->flows = base_rd_u32(r);
    h->records = base_rd_u32(r);
    uint8_t flags = base_rd_u8(r);
    h->unsure = flags & HEARD_UNSURE;
    return flags & HEARD_KNOWN;
}

/* q: room for a doubt; its n becomes 0 where there is none. */
static weir_status get_numbering(base_rd *r, wire_track *t, wire_doubt *q)
{
    t->numbering = base_rd_u8(r);
    t->suspects = base_rd_u8(r);
    t->score = base_rd_u8(r);
    t->twins = base_rd_u8(r);
    t->heard = get_heard(r, &t->last);
    q->n = base_rd_u8(r);
    if (t->numbering >= WIRE_N_NUMBERINGS || t->numbering == WIRE_CONVERSATIONS ||
        q->n >= WIRE_MAX_HELD)
        return WEIR_EFORMAT;
    if (q->n == 0)
        return WEIR_OK;
    q->step = base_rd_u32(r);
    q->alive = base_rd_u8(r);
    q->odd = base_rd_u8(r);
    q->plain = base_rd_u8(r);
    q->score = base_rd_u8(r);
    q->loose = base_rd_u8(r);
    q->strong = base_rd_u8(r) == 1;
    (void)get_heard(r, &q->before);
    for (uint32_t i = 0; i < q->n; i++)
        (void)get_heard(r, &q->held[i]);
    return q->odd > q->n || q->plain > q->n || q->loose > q->n || q->score > 4 * q->n ? WEIR_EFORMAT
                                                                                      : WEIR_OK;
}

static weir_status get_track(loading *l, wire_track *t, wire_doubt *q)
{
    base_rd *r = &l->r;
    t->port = base_rd_u16(r);
    uint8_t flags = base_rd_u8(r);
    t->started = flags & TRACK_STARTED;
    t->unsure = flags & TRACK_UNSURE;
    t->next = base_rd_u32(r);
    t->uptime_ms = base_rd_u32(r);
    t->boot32 = base_rd_u32(r);
    t->seen_ns = get_time(r);
    t->n_gaps = l->version == 1 ? 0 : base_rd_u8(r);
    if (r->dead || t->n_gaps > WIRE_MAX_GAPS)
        return WEIR_EFORMAT;
    for (uint32_t i = 0; i < t->n_gaps; i++) {
        t->gaps[i].from = base_rd_u32(r);
        t->gaps[i].to = base_rd_u32(r);
        t->gaps[i].restored = true;
    }
    q->n = 0;
    if (flags & TRACK_NUMBERING)
        WEIR_TRY(get_numbering(r, t, q));
    t->window_ns = t->seen_ns;
    if (l->version < 3)
        return r->dead ? WEIR_EFORMAT : WEIR_OK;
    t->rate = base_rd_u32(r);
    if (flags & TRACK_JUMP) {
        t->chain = base_rd_u8(r);
        t->jump_from = base_rd_u32(r);
        t->jump = base_rd_u32(r);
        t->jump_most = base_rd_u32(r);
        t->jump_back = flags & TRACK_JUMP_BACK;
        t->jump_unsure = flags & TRACK_JUMP_UNSURE;
        t->jump_vague = flags & TRACK_JUMP_VAGUE;
        if (t->chain == 0 || t->chain >= WIRE_BELIEVE_BACK || t->numbering == WIRE_NUMBERED_NOT)
            return WEIR_EFORMAT;
    }
    return r->dead ? WEIR_EFORMAT : WEIR_OK;
}

/* Where the stream stands, in place of what was known. */
static weir_status take_tracks(weir_stream *s, const wire_track *tracks, const wire_doubt *doubts,
                               uint32_t n)
{
    wire_tracks_free(s);
    for (uint32_t i = 0; i < n; i++)
        if (!wire_track_restore(s, &tracks[i], &doubts[i]))
            return WEIR_ELIMIT;
    return WEIR_OK;
}

/* e: NULL when there is no room for it, or it is not wanted. */
static weir_status get_stream(loading *l, wire_exporter *e)
{
    base_rd *r = &l->r;
    weir_decoder *d = l->d;
    weir_packet p = {0};
    wire_track tracks[WIRE_MAX_TRACKS] = {0};
    wire_doubt doubts[WIRE_MAX_TRACKS];
    p.version = base_rd_u16(r);
    uint8_t transport = base_rd_u8(r);
    uint16_t port = base_rd_u16(r);
    p.domain = base_rd_u32(r);
    p.received_ns = get_time(r);
    bool init_known = base_rd_u8(r) == 1;
    int64_t init_ms = (int64_t)base_rd_u64(r);
    uint32_t n_tracks = base_rd_u32(r);
    if (r->dead || transport != WEIR_UDP || n_tracks > WIRE_MAX_TRACKS ||
        !(p.version == 1 || p.version == 5 || p.version == 7 || p.version == 9 || p.version == 10))
        return WEIR_EFORMAT;
    for (uint32_t i = 0; i < n_tracks; i++)
        WEIR_TRY(get_track(l, &tracks[i], &doubts[i]));
    weir_stream *s = NULL;
    if (e) {
        weir_scope scope = e->scope;
        e->scope = port ? WEIR_SCOPE_PORT : WEIR_SCOPE_ADDRESS;
        p.from = e->address;
        p.from.transport = transport;
        p.from.port = port;
        const weir_stream *known = wire_stream_find(d, e, &p);
        int64_t known_ns = known ? known->last_ns : 0;
        bool newer = p.received_ns >= known_ns;
        if (!newer)
            p.received_ns = known_ns;
        s = wire_stream_get(d, e, &p, NULL);
        e->scope = scope;
        if (s && p.received_ns > e->last_ns)
            e->last_ns = p.received_ns; /* when the exporter counts as idle */
        if (s && newer) {
            s->init_known = init_known;
            s->init_ms = init_ms > INT64_MAX / 4000000 || init_ms < 0 ? 0 : init_ms;
            weir_status status = take_tracks(s, tracks, doubts, n_tracks);
            if (status != WEIR_OK && status != WEIR_ELIMIT)
                return status;
        }
    }
    uint32_t n_templates = base_rd_u32(r);
    int last_id = 0;
    for (uint32_t i = 0; i < n_templates && !r->dead; i++)
        WEIR_TRY(get_template(l, s, &last_id));
    return r->dead ? WEIR_EFORMAT : WEIR_OK;
}

static weir_status get_sampler(loading *l, wire_exporter *e)
{
    base_rd *r = &l->r;
    wire_sampler row = {.kind = base_rd_u8(r)};
    row.selector = base_rd_u64(r);
    row.domain = base_rd_u32(r);
    row.version = base_rd_u16(r);
    row.port = base_rd_u16(r);
    row.sampling.rate = get_f64(r);
    row.sampling.algorithm = base_rd_u16(r);
    row.sampling.origin = WEIR_ORIGIN_OPTIONS;
    row.seen_ns = l->version == 1 ? 0 : get_time(r);
    if (r->dead || !(row.sampling.rate > 0 && row.sampling.rate <= 0x1p64))
        return WEIR_EFORMAT;
    if (!e)
        return WEIR_OK;
    if (l->version == 1)
        row.seen_ns = e->last_ns;
    weir_status status = wire_sampler_restore(e, l->d, &row);
    return status == WEIR_ELIMIT ? WEIR_OK : status;
}

static weir_status get_exporter(loading *l, bool (*keep)(void *user, const weir_endpoint *exporter),
                                void *user)
{
    base_rd *r = &l->r;
    weir_endpoint a = {0};
    const uint8_t *addr = base_rd_take(r, sizeof a.addr);
    a.family = base_rd_u8(r);
    uint32_t n_streams = base_rd_u32(r);
    if (r->dead || (a.family != 0 && a.family != 4 && a.family != 6))
        return WEIR_EFORMAT;
    memcpy(a.addr, addr, a.family == 4 ? 4 : sizeof a.addr);
    wire_exporter *e = NULL;
    if (l->apply && (!keep || keep(user, &a))) {
        weir_status why;
        e = wire_exporter_get(l->d, &a, 0, &why);
        if (!e && why != WEIR_ELIMIT)
            return why;
    }
    for (uint32_t i = 0; i < n_streams && !r->dead; i++)
        WEIR_TRY(get_stream(l, e));
    uint32_t n_samplers = base_rd_u32(r);
    for (uint32_t i = 0; i < n_samplers && !r->dead; i++)
        WEIR_TRY(get_sampler(l, e));
    return r->dead ? WEIR_EFORMAT : WEIR_OK;
}

static weir_status get_all(loading *l, bool (*keep)(void *user, const weir_endpoint *exporter),
                           void *user)
{
    uint32_t n = base_rd_u32(&l->r);
    for (uint32_t i = 0; i < n; i++)
        WEIR_TRY(get_exporter(l, keep, user));
    return l->r.dead || base_rd_left(&l->r) > 0 ? WEIR_EFORMAT : WEIR_OK;
}

/* ---- lists in order again: least recently heard first ---- */

static int64_t stream_age(const wire_link *l)
{
    return WIRE_OF(l, weir_stream, lru)->last_ns;
}

static int64_t stream_age_of_exporter(const wire_link *l)
{
    return WIRE_OF(l, weir_stream, of_exporter)->last_ns;
}

static int64_t exporter_age(const wire_link *l)
{
    return WIRE_OF(l, wire_exporter, lru)->last_ns;
}

/* Merge sort of n links from `from` on, by their next alone; stable. Returns the first, behind the last stands NULL. */
static wire_link *sorted(wire_link *from, size_t n, int64_t (*age)(const wire_link *l))
{
    if (n == 1) {
        from->next = NULL;
        return from;
    }
    wire_link *half = from;
    for (size_t i = 0; i < n / 2; i++)
        half = half->next;
    wire_link *b = sorted(half, n - n / 2, age), *a = sorted(from, n / 2, age), *first = NULL;
    for (wire_link **last = &first; a || b;) {
        wire_link **least = !b || (a && age(a) <= age(b)) ? &a : &b;
        *last = *least;
        last = &(*least)->next;
        *least = (*least)->next;
    }
    return first;
}

static void list_sort(wire_link *head, size_t n, int64_t (*age)(const wire_link *l))
{
    if (n < 2)
        return;
    wire_link *l = sorted(head->next, n, age);
    wire_list_init(head);
    for (wire_link *next; l; l = next) {
        next = l->next;
        wire_list_append(head, l);
    }
}

weir_status weir_decoder_load_some(weir_decoder *d, const uint8_t *data, size_t len,
                                   bool (*keep)(void *user, const weir_endpoint *exporter),
                                   void *user, weir_err *err)
{
    const char *what = "decoder state";
    if (d->packet_id)
        return weir_err_set(err, WEIR_EINVAL, 0, "%s: this decoder has seen packets already", what);
    unsigned version = len >= sizeof magic + 12 ? data[sizeof magic - 1] - (unsigned)'0' : 0;
    if (version < OLDEST || version > VERSION || memcmp(data, magic, sizeof magic - 1) != 0)
        return weir_err_set(err, WEIR_EFORMAT, 0,
                            "%s: not begun by %.8s, so it is another file or version", what, magic);
    if (base_hash(data, len - 8, 0) != weir_be(data + len - 8, 8))
        return weir_err_set(err, WEIR_EFORMAT, len - 8,
                            "%s: checksum does not match, the octets are damaged", what);
    loading l = {.d = d, .version = version};
    l.r = base_rd_of(data + sizeof magic, len - 8 - sizeof magic);
    weir_status status = get_all(&l, NULL, NULL);
    if (status == WEIR_OK) {
        bool first = d->n_streams == 0; /* else what is there is mixed with what comes */
        l.apply = true;
        l.r = base_rd_of(data + sizeof magic, len - 8 - sizeof magic);
        status = get_all(&l, keep, user);
        list_sort(&d->streams, d->n_streams, stream_age);
        if (!first) {
            list_sort(&d->exporters, d->n_exporters, exporter_age);
            for (wire_link *x = d->exporters.next; x != &d->exporters; x = x->next) {
                wire_exporter *e = WIRE_OF(x, wire_exporter, lru);
                list_sort(&e->streams, e->n_streams, stream_age_of_exporter);
            }
        }
    }
    if (status == WEIR_OK)
        return WEIR_OK;
    return weir_err_set(err, status, (uint64_t)(l.r.at - data), "%s: %s", what,
                        weir_status_text(status));
}

weir_status weir_decoder_load(weir_decoder *d, const uint8_t *data, size_t len, weir_err *err)
{
    return weir_decoder_load_some(d, data, len, NULL, NULL, err);
}
