#include "wire/wire.h"

#include "base/hash.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const weir_handlers no_handlers;

/* Put the standard in place of 0. WEIR_EINVAL: more than is possible. */
static weir_status limit(size_t *value, size_t standard, size_t most, const char *name,
                         weir_err *err)
{
    if (*value == 0)
        *value = standard;
    if (*value > most)
        return weir_err_set(err, WEIR_EINVAL, 0, "%s is %zu, at most %zu is possible", name, *value,
                            most);
    return WEIR_OK;
}

/* Default and largest value of every limit; one row an option. */
static weir_status fill_options(weir_decoder_options *o, weir_err *err)
{
    const size_t any = SIZE_MAX / 8;
    WEIR_TRY(limit(&o->max_exporters, 16384, 1u << 24, "max_exporters", err));
    WEIR_TRY(limit(&o->max_streams, 65536, 1u << 26, "max_streams", err));
    WEIR_TRY(limit(&o->max_exporter_streams, 1024, 1u << 26, "max_exporter_streams", err));
    WEIR_TRY(limit(&o->max_templates, 4096, 65280, "max_templates", err));
    WEIR_TRY(limit(&o->max_fields, 16384, 16384, "max_fields", err));
    WEIR_TRY(limit(&o->max_state_octets, (size_t)256 << 20, any, "max_state_octets", err));
    WEIR_TRY(limit(&o->max_waiting_octets, (size_t)4 << 20, any, "max_waiting_octets", err));
    WEIR_TRY(limit(&o->max_waiting_total, (size_t)256 << 20, any, "max_waiting_total", err));
    if (o->waiting_s == 0)
        o->waiting_s = 3600;
    if (o->idle_s == 0)
        o->idle_s = 600;
    if (o->max_depth == 0)
        o->max_depth = 8;
    if (o->max_depth > 64)
        return weir_err_set(err, WEIR_EINVAL, 0, "max_depth is %u, at most 64 is possible",
                            o->max_depth);
    if (o->max_list_items == 0)
        o->max_list_items = 65536;
    if (o->scope != WEIR_SCOPE_ADDRESS && o->scope != WEIR_SCOPE_PORT)
        return weir_err_set(err, WEIR_EINVAL, 0, "scope is %d, known are 0 and 1", (int)o->scope);
    return WEIR_OK;
}

weir_decoder *weir_decoder_new(const weir_decoder_options *options, weir_err *err)
{
    weir_decoder *d = calloc(1, sizeof *d);
    if (!d) {
        (void)weir_err_set(err, WEIR_ENOMEM, 0, "decoder: out of memory");
        return NULL;
    }
    if (options)
        d->opt = *options;
    d->on = &no_handlers;
    wire_list_init(&d->exporters);
    wire_list_init(&d->streams);
    wire_list_init(&d->waiting);
    d->seed = base_hash_seed();
    if (fill_options(&d->opt, err) != WEIR_OK) {
        weir_decoder_free(d);
        return NULL;
    }
    if (wire_tables_init(d) != WEIR_OK || wire_fixed_templates(d) != WEIR_OK) {
        (void)weir_err_set(err, WEIR_ENOMEM, 0, "decoder: out of memory");
        weir_decoder_free(d);
        return NULL;
    }
    return d;
}

void weir_decoder_free(weir_decoder *d)
{
    if (!d)
        return;
    wire_waiting_drop_all(d, true);
    while (d->exporters.next != &d->exporters)
        wire_exporter_free(d, WIRE_OF(d->exporters.next, wire_exporter, lru));
    for (size_t i = 0; i < ARRAY_LEN(d->fixed); i++)
        free(d->fixed[i]);
    free(d->exporter_slots);
    free(d->stream_slots);
    free(d->specs);
    free(d->scratch);
    free(d->ready);
    free(d);
}

void wire_fault(wire_pass *w, weir_fault fault, uint64_t at, const char *fmt, ...)
{
    WIRE_COUNT(w->s, faults[fault], 1);
    if (!w->d->on->fault)
        return;
    weir_err err = {.code = fault == WEIR_FAULT_RECORD           ? WEIR_ETRUNC
                            : fault == WEIR_FAULT_TEMPLATE_LIMIT ? WEIR_ELIMIT
                            : fault == WEIR_FAULT_MEMORY         ? WEIR_ENOMEM
                                                                 : WEIR_EFORMAT,
                    .at = at};
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(err.msg, sizeof err.msg, fmt, ap);
    va_end(ap);
    w->d->on->fault(w->d->user, w->p, fault, &err);
}

/* ---- data sets ---- */

typedef void record_fn(void *user, const weir_record *r);

/* Room for the fields of a variable-length record. */
static bool scratch_for(weir_decoder *d, size_t n)
{
    if (d->n_scratch >= n)
        return true;
    weir_field *grown = realloc(d->scratch, n * sizeof *grown);
    if (!grown)
        return false;
    d->scratch = grown;
    d->n_scratch = n;
    return true;
}

size_t wire_layout(const weir_template *t, weir_field *out, const uint8_t *p, size_t left,
                   uint32_t *short_at)
{
    const wire_template *own = (const wire_template *)(const void *)t;
    size_t off = 0;
    uint32_t i = 0;
    if (left >=
        own->fixed_len) { /* what stands before the first variable field is as in the template */
        memcpy(out, t->fields, own->n_fixed * sizeof *out);
        off = own->fixed_len;
        i = own->n_fixed;
    }
    for (; i < t->n_fields; i++) {
        const weir_field *f = &t->fields[i];
        size_t n = f->length;
        uint8_t load = f->load;
        *short_at = i;
        if (n == WEIR_VARLEN) {
            if (off >= left)
                return 0;
            n = p[off++];
            if (n == 255) {
                if (left - off < 2)
                    return 0;
                n = (size_t)p[off] << 8 | p[off + 1];
                off += 2;
            }
            load = wire_load_of(f->element->type, n);
        }
        if (left - off < n)
            return 0;
        out[i] = (weir_field){
            .element = f->element, .offset = (uint32_t)off, .length = (uint16_t)n, .load = load};
        off += n;
    }
    return off;
}

static bool all_zero(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i])
            return false;
    return true;
}

static void listen(wire_pass *w, const wire_template *t, const weir_record *r);

void wire_data_set(wire_pass *w, const wire_template *t, const uint8_t *body, size_t len,
                   uint64_t at)
{
    weir_decoder *d = w->d;
    const weir_template *pub = &t->pub;
    record_fn *fn = pub->options ? d->on->options : d->on->record;
    bool learn = pub->options && (t->samples || t->speaks);
    weir_record r = {.packet = w->p,
                     .tmpl = pub,
                     .fields = pub->fields,
                     .n_fields = pub->n_fields,
                     .n_scope = pub->n_scope,
                     .data = body,
                     .len = pub->min_len,
                     .stream = w->s};
    uint64_t n = 0;
    if (pub->id != 0 && !w->p->late && t->export_s != w->p->export_s &&
        (int32_t)(w->p->export_s - t->export_s) < 0)
        WIRE_COUNT(w->s, older_than_template, 1);
    if (!pub->variable) {
        size_t stride = pub->min_len;
        n = len / stride;
        if (!pub->options && d->on->records) {
            if (n > 0)
                d->on->records(d->user, &r, n);
        } else {
            for (; r.data + stride <= body + len; r.data += stride) {
                if (learn)
                    listen(w, t, &r);
                if (fn)
                    fn(d->user, &r);
            }
        }
        /* The last record might be the padding up to a multiple of 4: at most 3 octets, all zero. */
        size_t last = n > 0 ? (n - 1) * stride : 0;
        if (n > 0 && (len & 3) == 0 && len - last < 4 && all_zero(body + last, len - last))
            WIRE_COUNT(w->s, padding_ambiguous, 1);
    } else if (!scratch_for(d, pub->n_fields)) {
        wire_fault(w, WEIR_FAULT_MEMORY, at, "set %u: no memory for its %u fields", pub->id,
                   pub->n_fields);
    } else {
        size_t off = 0;
        uint32_t field = 0;
        bool cut = false;
        /* What is left over is padding when it is shorter than the shortest record, and also when it is no
         * more than alignment needs and all zero (RFC 7011 section 3.3.1). */
        while (len - off >= pub->min_len &&
               !(len - off < 4 && n > 0 && all_zero(body + off, len - off))) {
            size_t used = wire_layout(pub, d->scratch, body + off, len - off, &field);
            if (used == 0) {
                WIRE_COUNT(w->s, records_rejected, 1);
                WIRE_COUNT(w->s, records, 1);
                wire_fault(w, WEIR_FAULT_RECORD, at + off,
                           "set %u: record %llu: field %u (%s) runs past the end of the set, %zu "
                           "octets are left",
                           pub->id, (unsigned long long)n + 1, field + 1,
                           pub->fields[field].element->name, len - off);
                w->unsure = true;
                cut = true;
                break;
            }
            r.fields = d->scratch;
            r.data = body + off;
            r.len = (uint32_t)used;
            if (learn)
                listen(w, t, &r);
            if (fn)
                fn(d->user, &r);
            off += used;
            n++;
        }
        if (!cut && len - off >= pub->min_len)
            WIRE_COUNT(w->s, padding_ambiguous, 1);
    }
    WIRE_COUNT(w->s, records, n);
    if (pub->options)
        WIRE_COUNT(w->s, options, n);
    else
        WIRE_COUNT(w->s, flows, n);
    w->units += (uint32_t)n;
    w->flows += pub->options ? 0 : (uint32_t)n;
}

void wire_data_set_or_wait(wire_pass *w, uint16_t id, const uint8_t *body, size_t len, uint64_t at)
{
    const wire_template *t = wire_template_find(w->s, id);
    if (t && wire_template_holds(t, w->told_since, w->p->from.port)) {
        wire_data_set(w, t, body, len, at);
    } else if (len > 0) {
        if (!wire_hold(w, id, body, len))
            w->unsure = true;
    }
}

/* ---- what the decoder itself hears from options ---- */

static const struct {
    uint16_t id;
    uint8_t said;
} statistics[] = {
    /* RFC 7011 sections 4.1 to 4.3 */
    {41, WIRE_SAID_MESSAGES},
    {42, WIRE_SAID_FLOWS},
    {40, WIRE_SAID_OCTETS},
    {164, WIRE_SAID_IGNORED_PACKETS},
    {165, WIRE_SAID_IGNORED_OCTETS},
    {166, WIRE_SAID_NOT_SENT_FLOWS},
    {167, WIRE_SAID_NOT_SENT_PACKETS},
    {168, WIRE_SAID_NOT_SENT_OCTETS},
};

/* Flow keys of a template (RFC 7011 section 4.4): scope templateId, value flowKeyIndicator. */
static void flow_keys(weir_stream *s, uint16_t id, uint64_t bits)
{
    wire_template *t = wire_template_find(s, id);
    if (!t)
        return;
    if (t->pub.n_fields < 64 && bits >> t->pub.n_fields) {
        WIRE_COUNT(s, values_bad, 1);
        return;
    }
    t->pub.key_fields = bits;
}

static void listen(wire_pass *w, const wire_template *t, const weir_record *r)
{
    weir_stream *s = w->s;
    if (t->samples)
        wire_sampling_learn(w, r);
    if (!t->speaks)
        return;
    uint64_t keys = 0, keyed = 0;
    for (uint32_t i = 0; i < r->n_fields; i++) {
        const weir_field *f = &r->fields[i];
        weir_value v;
        if (f->element->pen != 0 || weir_value_read(r, i, &v) != WEIR_OK)
            continue;
        switch (f->element->id) {
        case 145:
            keyed = v.kind == WEIR_KIND_U64 ? v.u64 : 0;
            break;
        case 173:
            keys = v.kind == WEIR_KIND_U64 ? v.u64 : 0;
            break;
        case 160:
            if (v.kind == WEIR_KIND_TIME) {
                s->init_known = true;
                s->init_ms = v.time_ns / 1000000;
            }
            break;
        default:
            for (size_t k = 0; k < ARRAY_LEN(statistics); k++)
                if (statistics[k].id == f->element->id && v.kind == WEIR_KIND_U64)
                    s->said[statistics[k].said] = (int64_t)(v.u64 & INT64_MAX);
        }
    }
    if (keys && keyed >= 256 && keyed <= 65535)
        flow_keys(s, (uint16_t)keyed, keys);
}

/* ---- packets ---- */

/* Read the header of any version. */
static weir_status read_header(const uint8_t *data, size_t len, weir_packet *p, weir_reject *why,
                               weir_err *err)
{
    base_rd r = base_rd_of(data, len);
    p->version = base_rd_u16(&r);
    if (r.dead)
        return weir_err_set(err, WEIR_ETRUNC, len, "%zu octets are no export packet", len);
    p->count = base_rd_u16(&r);
    switch (p->version) {
    case 1:
    case 5:
    case 7:
        p->uptime_ms = base_rd_u32(&r);
        p->export_s = base_rd_u32(&r);
        p->export_ns = base_rd_u32(&r);
        if (p->version == 1)
            break;
        p->sequence = base_rd_u32(&r);
        if (p->version == 5) {
            p->domain = base_rd_u16(&r);
            p->sampling = base_rd_u16(&r);
        } else {
            (void)base_rd_u32(&r); /* reserved */
        }
        break;
    case 9:
        p->uptime_ms = base_rd_u32(&r);
        p->export_s = base_rd_u32(&r);
        p->sequence = base_rd_u32(&r);
        p->domain = base_rd_u32(&r);
        break;
    case 10:
        p->export_s = base_rd_u32(&r);
        p->sequence = base_rd_u32(&r);
        p->domain = base_rd_u32(&r);
        break;
    default:
        *why = WEIR_REJECT_VERSION;
        return weir_err_set(err, WEIR_EVERSION, 0,
                            "version %u is not NetFlow 1, 5, 7, 9 or IPFIX (10)", p->version);
    }
    if (r.dead) {
        *why = WEIR_REJECT_HEADER;
        return weir_err_set(err, WEIR_ETRUNC, len,
                            "version %u header needs %zu octets, %zu are there", p->version,
                            wire_fixed_header(p->version), len);
    }
    return WEIR_OK;
}

size_t wire_fixed_header(uint16_t version)
{
    switch (version) {
    case 1:
        return WIRE_V1_HEADER;
    case 5:
    case 7:
        return WIRE_V5_HEADER;
    case 9:
        return WIRE_V9_HEADER;
    default:
        return WIRE_IPFIX_HEADER;
    }
}

/* Count a packet that is dropped as a whole, at whatever level it was understood. */
static weir_status reject(weir_decoder *d, wire_exporter *e, weir_stream *s, const weir_packet *p,
                          weir_reject why, weir_status status, const weir_err *err)
{
    d->total.rejected[why]++;
    if (e)
        e->c.rejected[why]++;
    if (s)
        s->c.rejected[why]++;
    if (d->on->end)
        d->on->end(d->user, p, WEIR_PACKET_REJECTED, err);
    return status;
}

static void finish_packet(wire_pass *w)
{
    weir_packet *p = w->p;
    weir_stream *s = w->s;
    wire_release_own(w);
    w->unsure |= w->held && (w->held->n_sets > 0 || w->held->given_up);
    wire_sequence(w);
    weir_outcome outcome = WEIR_PACKET_DECODED;
    if (w->held) {
        if (w->held->n_sets > 0)
            outcome = WEIR_PACKET_WAITING;
        else if (w->held->given_up)
            outcome = WEIR_PACKET_EXPIRED;
        if (w->held->n_sets == 0)
            free(w->held);
    }
    switch (outcome) {
    case WEIR_PACKET_WAITING:
        WIRE_COUNT(s, waiting, 1);
        break;
    case WEIR_PACKET_EXPIRED:
        WIRE_COUNT(s, expired, 1);
        break;
    case WEIR_PACKET_DECODED:
    case WEIR_PACKET_REJECTED:
    default:
        WIRE_COUNT(s, decoded, 1);
        break;
    }
    if (w->d->on->end)
        w->d->on->end(w->d->user, p, outcome, NULL);
}

/* One packet or message: data[len] is all of it. */
static weir_status decode_one(weir_decoder *d, const weir_endpoint *from, int64_t received_ns,
                              const uint8_t *data, size_t len, weir_err *err)
{
    weir_err own;
    if (!err)
        err = &own;
    weir_packet p = {
        .id = ++d->packet_id, .received_ns = received_ns, .from = *from, .data = data, .len = len};
    d->total.packets++;
    d->total.octets += len;
    weir_status status = WEIR_OK;
    wire_exporter *e = wire_exporter_get(d, from, received_ns, &status);
    if (!e) {
        if (status == WEIR_ENOMEM)
            (void)weir_err_set(err, status, 0, "no memory for another exporter");
        else
            (void)weir_err_set(err, status, 0,
                               "no room for another exporter (max_exporters %zu, max_state_octets "
                               "%zu), none has been idle for %u s",
                               d->opt.max_exporters, d->opt.max_state_octets, d->opt.idle_s);
        return reject(d, NULL, NULL, &p,
                      status == WEIR_ENOMEM ? WEIR_REJECT_MEMORY : WEIR_REJECT_STATE, status, err);
    }
    e->c.packets++;
    e->c.octets += len;

    weir_reject why = WEIR_REJECT_HEADER;
    status = read_header(data, len, &p, &why, err);
    if (status != WEIR_OK)
        return reject(d, e, NULL, &p, why, status, err);
    weir_stream *s = wire_stream_get(d, e, &p, err);
    if (!s)
        return reject(d, e, NULL, &p,
                      err->code == WEIR_ENOMEM ? WEIR_REJECT_MEMORY : WEIR_REJECT_STATE, err->code,
                      err);
    s->c.packets++;
    s->c.octets += len;
    if (p.version == 10) {
        status = wire_ipfix_check(data, len, e->quirks & WEIR_QUIRK_SKIP_BAD_TEMPLATES, err);
        why = status == WEIR_ETRUNC ? WEIR_REJECT_LENGTH : WEIR_REJECT_SET;
    } else if (p.version < 9) {
        status = wire_netflow5_check(&p, len, err);
        why = WEIR_REJECT_COUNT;
    }
    if (status != WEIR_OK)
        return reject(d, e, s, &p, why, status, err);

    if (e->quirks)
        WIRE_COUNT(s, quirky, 1);
    s->skew_ns = weir_packet_export_ns(&p) - received_ns;
    s->uptime_ms = p.uptime_ms;
    s->sampling = p.sampling;
    wire_pass w = {.d = d, .s = s, .p = &p, .told_by = p.id};
    d->n_ready = 0;
    if (d->on->begin)
        d->on->begin(d->user, &p);
    if (p.version == 9) {
        wire_restart_watch(&w);
        wire_netflow9(&w, data, len);
    } else if (p.version == 10) {
        wire_ipfix(&w, data, len);
    } else {
        wire_netflow5(&w, data, len);
    }
    finish_packet(&w);
    if (d->n_ready)
        wire_release_ready(s);
    return WEIR_OK;
}

/* A datagram may hold several IPFIX messages, when it is made of whole ones and nothing else. */
static bool whole_messages(const uint8_t *data, size_t len)
{
    while (len >= WIRE_IPFIX_HEADER && weir_be(data, 2) == 10) {
        size_t n = (size_t)weir_be(data + 2, 2);
        if (n < WIRE_IPFIX_HEADER || n > len)
            return false;
        data += n;
        len -= n;
    }
    return len == 0;
}

static void call_begin(weir_decoder *d, const weir_handlers *on, void *user)
{
    d->on = on ? on : &no_handlers;
    d->user = user;
}

static void call_end(weir_decoder *d)
{
    d->on = &no_handlers;
    d->user = NULL;
}

/* Clocks between 1970 and 2116: what is added to them or taken from them then stays within 64 bits. */
static int64_t sane_ns(int64_t ns)
{
    const int64_t latest = (int64_t)1 << 62;
    return ns < 0 ? 0 : ns > latest ? latest : ns;
}

weir_status weir_decode(weir_decoder *d, const weir_endpoint *from, int64_t received_ns,
                        const uint8_t *data, size_t len, const weir_handlers *on, void *user,
                        weir_err *err)
{
    static const weir_endpoint nobody;
    if (!from)
        from = &nobody;
    if (len == 0)
        data = nobody.addr; /* NULL is no pointer to count from */
    call_begin(d, on, user);
    received_ns = sane_ns(received_ns);
    weir_status worst = WEIR_OK;
    bool several = whole_messages(data, len);
    do {
        size_t n = several && len ? (size_t)weir_be(data + 2, 2) : len;
        weir_status status = decode_one(d, from, received_ns, data, n, err);
        if (status != WEIR_OK)
            worst = status;
        data += n;
        len -= n;
    } while (len > 0);
    call_end(d);
    return worst;
}

void weir_decoder_tick(weir_decoder *d, int64_t now_ns, const weir_handlers *on, void *user)
{
    call_begin(d, on, user);
    now_ns = sane_ns(now_ns);
    wire_waiting_expire(d, now_ns);
    if (d->opt.template_life_s)
        for (wire_link *l = d->streams.next; l != &d->streams; l = l->next)
            wire_templates_expire(WIRE_OF(l, weir_stream, lru), now_ns, NULL);
    call_end(d);
}

void weir_decoder_finish(weir_decoder *d, const weir_handlers *on, void *user)
{
    call_begin(d, on, user);
    wire_waiting_drop_all(d, false);
    for (wire_link *l = d->streams.next; l != &d->streams; l = l->next)
        wire_sequence_finish(WIRE_OF(l, weir_stream, lru));
    call_end(d);
}

/* ---- settings and views ---- */

/* The exporter a setting is for, kept from now on. */
static weir_status configure(weir_decoder *d, const weir_endpoint *exporter, wire_exporter **e)
{
    weir_status why;
    *e = wire_exporter_get(d, exporter, 0, &why);
    if (!*e)
        return why;
    (*e)->configured = true;
    return WEIR_OK;
}

weir_status weir_decoder_set_scope(weir_decoder *d, const weir_endpoint *exporter, weir_scope scope)
{
    wire_exporter *e;
    WEIR_TRY(configure(d, exporter, &e));
    e->scope = scope;
    return WEIR_OK;
}

weir_status weir_decoder_set_sampling(weir_decoder *d, const weir_endpoint *exporter, double rate)
{
    wire_exporter *e;
    WEIR_TRY(configure(d, exporter, &e));
    e->rate = rate;
    d->sampling_epoch++;
    return WEIR_OK;
}

weir_status weir_decoder_set_quirks(weir_decoder *d, const weir_endpoint *exporter, unsigned quirks)
{
    wire_exporter *e;
    WEIR_TRY(configure(d, exporter, &e));
    e->quirks = quirks;
    return WEIR_OK;
}

static const struct {
    const char *name;
    unsigned bit;
} quirks[] = {
#define QUIRK(name, bit, comma) {name, bit},
#include "quirk_table.inc" /* from registry/quirks.tsv */
#undef QUIRK
};

unsigned weir_quirk_by_name(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(quirks); i++)
        if (strcmp(quirks[i].name, name) == 0)
            return quirks[i].bit;
    return 0;
}

const char *weir_quirk_names(void)
{
#define QUIRK(name, bit, comma) name comma
    return
#include "quirk_table.inc"
        ;
#undef QUIRK
}

const weir_counters *weir_decoder_counters(const weir_decoder *d)
{
    return &d->total;
}

/* A cursor is the last link's address once the walk has begun: counting steps would be quadratic. */
static const wire_link *step(const wire_link *head, size_t *cursor)
{
    const wire_link *l = *cursor ? ((const wire_link *)(uintptr_t)*cursor)->next : head->next;
    if (l == head)
        return NULL;
    *cursor = (size_t)(uintptr_t)l;
    return l;
}

weir_status weir_exporter_next(const weir_decoder *d, size_t *cursor, weir_exporter_info *out)
{
    const wire_link *l = step(&d->exporters, cursor);
    if (!l)
        return WEIR_END;
    const wire_exporter *e = WIRE_OF(l, wire_exporter, lru);
    *out = (weir_exporter_info){.address = e->address,
                                .scope = e->scope,
                                .quirks = e->quirks,
                                .n_streams = e->n_streams,
                                .first_ns = e->first_ns,
                                .last_ns = e->last_ns,
                                .counters = &e->c,
                                .handle = e,
                                .serial = e->serial};
    return WEIR_OK;
}

weir_status weir_stream_next(const weir_decoder *d, const void *exporter, size_t *cursor,
                             weir_stream_info *out)
{
    (void)d;
    const wire_exporter *e = exporter;
    const wire_link *l = step(&e->streams, cursor);
    if (!l)
        return WEIR_END;
    const weir_stream *s = WIRE_OF(l, weir_stream, of_exporter);
    uint8_t numbering = s->n_tracks ? s->tracks[s->last_track].numbering : WIRE_STANDARD;
    *out = (weir_stream_info){.version = s->key.version,
                              .port = s->port,
                              .domain = s->key.domain,
                              .first_ns = s->first_ns,
                              .last_ns = s->last_ns,
                              .clock_skew_ns = s->skew_ns,
                              .uptime_ms = s->uptime_ms,
                              .sampling = wire_sampling_of_stream(s),
                              .sequence_unit = wire_numbering_unit(numbering, s->key.version),
                              .sequence_numbering = wire_numbering_text(numbering),
                              .counters = &s->c,
                              .exported_messages = s->said[WIRE_SAID_MESSAGES],
                              .exported_flows = s->said[WIRE_SAID_FLOWS],
                              .exported_octets = s->said[WIRE_SAID_OCTETS],
                              .ignored_packets = s->said[WIRE_SAID_IGNORED_PACKETS],
                              .ignored_octets = s->said[WIRE_SAID_IGNORED_OCTETS],
                              .not_sent_flows = s->said[WIRE_SAID_NOT_SENT_FLOWS],
                              .not_sent_packets = s->said[WIRE_SAID_NOT_SENT_PACKETS],
                              .not_sent_octets = s->said[WIRE_SAID_NOT_SENT_OCTETS],
                              .handle = s,
                              .serial = s->serial};
    return WEIR_OK;
}

const weir_template *weir_template_next(const void *stream, size_t *cursor)
{
    const weir_stream *s = stream;
    while (*cursor < s->n_slots) {
        const wire_template *t = s->slots[(*cursor)++];
        if (t)
            return &t->pub;
    }
    return NULL;
}

const char *weir_sequence_unit(uint16_t version)
{
    switch (version) {
    case 5:
    case 7:
        return "flows";
    case 9:
        return "packets";
    case 10:
        return "records";
    default:
        return "";
    }
}

const char *weir_reject_text(weir_reject r)
{
    static const char *const texts[] = {
#define X(name, text) text,
        WEIR_REJECT_MAP(X)
#undef X
    };
    return (unsigned)r < ARRAY_LEN(texts) ? texts[r] : "unknown";
}

const char *weir_fault_text(weir_fault f)
{
    static const char *const texts[] = {
#define X(name, text) text,
        WEIR_FAULT_MAP(X)
#undef X
    };
    return (unsigned)f < ARRAY_LEN(texts) ? texts[f] : "unknown";
}

const char *weir_outcome_text(weir_outcome o)
{
    static const char *const texts[] = {"decoded", "waiting", "expired", "rejected"};
    return (unsigned)o < ARRAY_LEN(texts) ? texts[o] : "unknown";
}
