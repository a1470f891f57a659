#include "gen/exporters.h"

#include <assert.h>
#include <endian.h>
#include <stdlib.h>
#include <string.h>

enum {
    FIRST_TEMPLATE = 256, /* of GEN_PLAIN; the other kinds follow */
    OPTIONS_TEMPLATE = 300,
    MOST_RECORD = 160,
    OLDEST_MS = 1000, /* a packet is sent when its first flow is older */
    VARIABLE = 65535, /* RFC 7011 section 7 */
    HOUR_MS = 3600000,
    UP_MS = 10 * 24 * HOUR_MS /* before the start */
};

/* --- records ------------------------------------------------------------------------------------ */

/* What a field is made from: member of gen_flow, how it is written. */
enum source { OCTETS, U8, U16, U32, U64, UPTIME, NAME, ZERO };

struct field {
    uint16_t id;  /* information element, v9 field type */
    uint16_t len; /* octets on the wire, VARIABLE for a name */
    uint8_t source;
    uint8_t at; /* offset in struct gen_flow */
};

#define AT(member) offsetof(struct gen_flow, member)
static_assert(sizeof(struct gen_flow) < 256, "offsets in field.at are 8 bits");

/* clang-format off */
#define ADDRESSES(src_id, dst_id, hop_id, len) \
    {src_id, len, OCTETS, AT(src)}, {dst_id, len, OCTETS, AT(dst)}, {hop_id, len, OCTETS, AT(next_hop)}
#define INTERFACES {10, 4, U32, AT(in_if)}, {14, 4, U32, AT(out_if)}
#define COUNTERS(len) {2, len, U64, AT(packets)}, {1, len, U64, AT(octets)}
#define UPTIMES {22, 4, UPTIME, AT(first_ms)}, {21, 4, UPTIME, AT(last_ms)}
#define CLOCKS {152, 8, U64, AT(first_ms)}, {153, 8, U64, AT(last_ms)}
#define TRANSPORT \
    {7, 2, U16, AT(src_port)}, {11, 2, U16, AT(dst_port)}, {6, 1, U8, AT(tcp_flags)}, {4, 1, U8, AT(proto)}, \
    {5, 1, U8, AT(tos)}, {61, 1, U8, AT(direction)}, {16, 4, U32, AT(src_as)}, {17, 4, U32, AT(dst_as)}
#define MASKS(src_id, dst_id) {src_id, 1, U8, AT(src_mask)}, {dst_id, 1, U8, AT(dst_mask)}
#define STATUS {89, 1, U8, AT(forwarding)}
#define REASON {136, 1, U8, AT(end_reason)}
#define TRANSLATED \
    {225, 4, OCTETS, AT(nat_src)}, {226, 4, OCTETS, AT(nat_dst)}, \
    {227, 2, U16, AT(nat_src_port)}, {228, 2, U16, AT(nat_dst_port)}

static const struct field v5_record[] = {
    {0, 4, OCTETS, AT(src)}, {0, 4, OCTETS, AT(dst)}, {0, 4, OCTETS, AT(next_hop)},
    {0, 2, U32, AT(in_if)}, {0, 2, U32, AT(out_if)}, {0, 4, U64, AT(packets)}, {0, 4, U64, AT(octets)},
    {0, 4, UPTIME, AT(first_ms)}, {0, 4, UPTIME, AT(last_ms)}, {0, 2, U16, AT(src_port)}, {0, 2, U16, AT(dst_port)},
    {0, 1, ZERO, 0}, {0, 1, U8, AT(tcp_flags)}, {0, 1, U8, AT(proto)}, {0, 1, U8, AT(tos)},
    {0, 2, U32, AT(src_as)}, {0, 2, U32, AT(dst_as)}, {0, 1, U8, AT(src_mask)}, {0, 1, U8, AT(dst_mask)},
    {0, 2, ZERO, 0},
};
static const struct field v9_plain[] = {
    ADDRESSES(8, 12, 15, 4), INTERFACES, COUNTERS(4), UPTIMES, TRANSPORT, MASKS(9, 13), STATUS};
static const struct field v9_ipv6[] = {
    ADDRESSES(27, 28, 62, 16), INTERFACES, COUNTERS(4), UPTIMES, TRANSPORT, MASKS(29, 30), STATUS};
static const struct field ipfix_plain[] = {
    ADDRESSES(8, 12, 15, 4), INTERFACES, COUNTERS(8), CLOCKS, TRANSPORT, MASKS(9, 13), REASON};
static const struct field ipfix_ipv6[] = {
    ADDRESSES(27, 28, 62, 16), INTERFACES, COUNTERS(8), CLOCKS, TRANSPORT, MASKS(29, 30), REASON};
static const struct field ipfix_nat[] = {
    ADDRESSES(8, 12, 15, 4), INTERFACES, COUNTERS(8), CLOCKS, TRANSPORT, MASKS(9, 13), REASON, TRANSLATED};
static const struct field ipfix_app[] = {
    ADDRESSES(8, 12, 15, 4), INTERFACES, COUNTERS(8), CLOCKS, TRANSPORT, MASKS(9, 13), REASON, {96, VARIABLE, NAME, AT(app)}};

#define ROWS(table) {table, ARRAY_LEN(table)}
static const struct format {
    uint16_t version, head; /* head: octets of the header */
    uint16_t template_set, options_set;
    unsigned n_kinds;
    struct layout {
        const struct field *fields;
        size_t n;
    } layouts[GEN_N_KINDS];
} formats[] = {
    [GEN_V5] = {5, 24, 0, 0, 1, {ROWS(v5_record)}},
    [GEN_V9] = {9, 20, 0, 1, 2, {ROWS(v9_plain), ROWS(v9_ipv6)}},
    [GEN_IPFIX] = {10, 16, 2, 3, 4, {ROWS(ipfix_plain), ROWS(ipfix_ipv6), ROWS(ipfix_nat), ROWS(ipfix_app)}},
};
/* clang-format on */

static uint8_t *put16(uint8_t *p, uint32_t v)
{
    uint16_t be = htobe16((uint16_t)v);
    memcpy(p, &be, sizeof be);
    return p + sizeof be;
}

static uint8_t *put32(uint8_t *p, uint32_t v)
{
    v = htobe32(v);
    memcpy(p, &v, sizeof v);
    return p + sizeof v;
}

/* The low len octets of v. */
static uint8_t *put_uint(uint8_t *p, uint64_t v, size_t len)
{
    v = htobe64(v << (8 * (8 - len)));
    memcpy(p, &v, len);
    return p + len;
}

static uint64_t member(const uint8_t *p, enum source source)
{
    uint16_t u16;
    uint32_t u32;
    uint64_t u64;
    switch (source) {
    case U8:
        return *p;
    case U16:
        memcpy(&u16, p, sizeof u16);
        return u16;
    case U32:
        memcpy(&u32, p, sizeof u32);
        return u32;
    case U64:
    case UPTIME:
        memcpy(&u64, p, sizeof u64);
        return u64;
    case ZERO:
    case OCTETS:
    case NAME:
        break;
    }
    return 0;
}

/* One record at p, which has room for MOST_RECORD octets; returns its end. */
static uint8_t *put_record(uint8_t *p, const struct layout *l, const struct gen_flow *f,
                           uint64_t boot_ms)
{
    for (size_t i = 0; i < l->n; i++) {
        const struct field *d = &l->fields[i];
        const uint8_t *from = (const uint8_t *)f + d->at;
        if (d->source == OCTETS) {
            memcpy(p, from, d->len);
            p += d->len;
        } else if (d->source == NAME) {
            const char *name = gen_app_name(*from);
            size_t len = strlen(name);
            *p++ = (uint8_t)len;
            memcpy(p, name, len);
            p += len;
        } else {
            uint64_t v = member(from, (enum source)d->source);
            p = put_uint(p, d->source == UPTIME ? v - boot_ms : v, d->len);
        }
    }
    return p;
}

/* --- exporters ---------------------------------------------------------------------------------- */

/* Records of one kind for the packet that is being built. */
struct run {
    uint8_t *data; /* room for max_payload and a record */
    uint32_t used, n;
    struct gen_flow *flows; /* of its records, when they are kept */
};

struct exporter {
    uint64_t boot_ms, oldest_ms, template_ms;
    uint64_t packets, octets;
    uint32_t sequence, since_template, n_records;
    bool told; /* templates have been sent */
    bool odd;  /* which of ready[] is next */
    struct run runs[GEN_N_KINDS];
    struct gen_packet ready[2];
    void *room; /* what data, times and flows point into; NULL: no flow yet */
};

struct gen_exporters {
    struct gen_exporters_options o;
    const struct format *format;
    gen_packet_fn *take;
    void *user;
    uint32_t max_records;
    uint32_t time_at[GEN_N_KINDS]; /* offset of a record's two times */
    uint32_t visit;                /* the exporter whose age is looked at next */
    struct exporter exporters[];
};

static void *cut(uint8_t **at, size_t n)
{
    void *p = *at;
    *at += (n + 15) & ~(size_t)15;
    return p;
}

static bool make_room(const gen_exporters *x, struct exporter *e)
{
    size_t data = x->o.max_payload + MOST_RECORD, n = x->max_records;
    size_t flows = x->o.keep_flows ? n * sizeof(struct gen_flow) : 0;
    unsigned kinds = x->format->n_kinds;
    uint8_t *at =
        malloc(kinds * (data + flows + 32) + 2 * (data + n * sizeof(uint16_t) + flows + 48));
    e->room = at;
    if (!at)
        return false;
    for (unsigned i = 0; i < kinds; i++) {
        e->runs[i].data = cut(&at, data);
        e->runs[i].flows = flows ? cut(&at, flows) : NULL;
    }
    for (unsigned i = 0; i < 2; i++) {
        e->ready[i].data = cut(&at, data);
        e->ready[i].times = cut(&at, n * sizeof(uint16_t));
        e->ready[i].flows = flows ? cut(&at, flows) : NULL;
    }
    return true;
}

gen_exporters *gen_exporters_new(const struct gen_exporters_options *o, gen_packet_fn *take,
                                 void *user)
{
    gen_exporters *x = calloc(1, sizeof *x + o->n * sizeof x->exporters[0]);
    if (!x)
        return NULL;
    x->o = *o;
    x->format = &formats[o->format];
    x->take = take;
    x->user = user;
    x->max_records = o->format == GEN_V5 ? GEN_MOST_RECORDS_V5 : GEN_MOST_RECORDS;
    if (o->max_records && o->max_records < x->max_records)
        x->max_records = o->max_records;
    for (unsigned k = 0; k < x->format->n_kinds; k++) {
        const struct field *f = x->format->layouts[k].fields;
        while (f->at != AT(first_ms) || f->source == ZERO || f->source == OCTETS)
            x->time_at[k] += f++->len;
    }
    for (uint32_t i = 0; i < o->n; i++)
        x->exporters[i].boot_ms = o->start_ms - UP_MS - (uint64_t)i % 200 * HOUR_MS;
    return x;
}

void gen_exporters_free(gen_exporters *x)
{
    if (!x)
        return;
    for (uint32_t i = 0; i < x->o.n; i++)
        free(x->exporters[i].room);
    free(x);
}

uint32_t gen_exporters_most_records(enum gen_format format, uint32_t max_payload)
{
    const struct format *f = &formats[format];
    uint32_t room = max_payload - f->head, shortest = UINT32_MAX;
    for (unsigned k = 0; k < f->n_kinds; k++) {
        uint32_t len = 0;
        for (size_t i = 0; i < f->layouts[k].n; i++)
            len += f->layouts[k].fields[i].len == VARIABLE ? 1 : f->layouts[k].fields[i].len;
        shortest = len < shortest ? len : shortest;
    }
    if (format == GEN_V5)
        return room / shortest < GEN_MOST_RECORDS_V5 ? room / shortest : GEN_MOST_RECORDS_V5;
    return ((room - 4) & ~3u) / shortest; /* a set has its head and ends at a multiple of 4 */
}

uint32_t gen_exporters_domain(const gen_exporters *x, uint32_t exporter)
{
    return x->o.format == GEN_V5 ? exporter & 0xff : exporter + 1;
}

/* --- packets of data ---------------------------------------------------------------------------- */

static uint32_t padded(uint32_t n)
{
    return (n + 3) & ~3u;
}

/* Octets that a packet of e has with `more` octets of one kind added. */
static uint32_t size_with(const gen_exporters *x, const struct exporter *e, unsigned kind,
                          uint32_t more)
{
    uint32_t size = x->format->head;
    if (x->o.format == GEN_V5)
        return size + e->runs[0].used + more;
    for (unsigned i = 0; i < x->format->n_kinds; i++) {
        uint32_t used = e->runs[i].used + (i == kind ? more : 0);
        size += used ? 4 + padded(used) : 0;
    }
    return size;
}

/* The offsets of a set's times behind those that p has. Only names make records differ in length. */
static void add_times(const gen_exporters *x, struct gen_packet *p, unsigned kind,
                      const struct run *r, uint32_t begin)
{
    uint32_t at = begin, fixed = r->n ? r->used / r->n : 0;
    for (uint32_t i = 0; i < r->n; i++) {
        p->times[p->n_records++] = (uint16_t)(at + x->time_at[kind]);
        if (kind == GEN_APP) {
            const struct layout *l = &x->format->layouts[kind];
            uint32_t len = 0;
            for (size_t k = 0; k + 1 < l->n; k++)
                len += l->fields[k].len;
            at += len + 1 + p->data[at + len];
        } else {
            at += fixed;
        }
    }
}

/* What exporter i has collected becomes a packet and is taken. */
static weir_status finish(gen_exporters *x, uint32_t i, uint64_t now_ms, weir_err *err)
{
    struct exporter *e = &x->exporters[i];
    struct gen_packet *p = &e->ready[e->odd];
    uint32_t len = x->format->head;
    if (!e->n_records)
        return WEIR_OK;
    e->odd = !e->odd;
    p->n_records = 0;
    p->n_ipv6 = (uint16_t)e->runs[GEN_IPV6].n;
    for (unsigned k = 0; k < x->format->n_kinds; k++) {
        struct run *r = &e->runs[k];
        if (!r->n)
            continue;
        uint32_t set = len;
        if (x->o.format != GEN_V5)
            len += 4;
        memcpy(p->data + len, r->data, r->used);
        if (p->flows)
            memcpy(p->flows + p->n_records, r->flows, r->n * sizeof *r->flows);
        add_times(x, p, k, r, len);
        len += r->used;
        if (x->o.format != GEN_V5) {
            memset(p->data + len, 0, padded(len - set) - (len - set));
            len = set + padded(len - set);
            put16(put16(p->data + set, FIRST_TEMPLATE + k), len - set);
        }
        r->used = r->n = 0;
    }
    p->time_ms = now_ms;
    p->shift_ms = 0;
    p->packets = e->packets;
    p->octets = e->octets;
    p->exporter = i;
    p->len = (uint16_t)len;
    e->packets = e->octets = 0;
    e->n_records = 0;
    return x->take(x->user, p, err);
}

weir_status gen_exporters_add(gen_exporters *x, const struct gen_flow *f, uint64_t now_ms,
                              weir_err *err)
{
    /* One other exporter a flow is looked at, so that none keeps a flow for long. */
    uint32_t other = x->visit++ % x->o.n;
    if (x->exporters[other].n_records && now_ms - x->exporters[other].oldest_ms > OLDEST_MS)
        WEIR_TRY(finish(x, other, now_ms, err));
    struct exporter *e = &x->exporters[f->exporter];
    if (!e->room && !make_room(x, e))
        return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory for exporter %u of %u",
                            f->exporter + 1, x->o.n);
    struct run *r = &e->runs[f->kind];
    /* Every run has room for one record beyond a full packet: written, measured, and only then counted. */
    uint8_t *at = r->data + r->used;
    uint8_t *end = put_record(at, &x->format->layouts[f->kind], f, e->boot_ms);
    uint32_t len = (uint32_t)(end - at);
    if (e->n_records == x->max_records || size_with(x, e, f->kind, len) > x->o.max_payload ||
        (e->n_records && now_ms - e->oldest_ms > OLDEST_MS)) {
        uint8_t record[MOST_RECORD];
        memcpy(record, at, len);
        WEIR_TRY(finish(x, f->exporter, now_ms, err));
        memcpy(r->data, record, len);
    }
    if (!e->n_records++)
        e->oldest_ms = now_ms;
    if (r->flows)
        r->flows[r->n] = *f;
    r->used += len;
    r->n++;
    e->packets += f->packets;
    e->octets += f->octets;
    return WEIR_OK;
}

weir_status gen_exporters_flush(gen_exporters *x, uint64_t now_ms, weir_err *err)
{
    for (uint32_t i = 0; i < x->o.n; i++)
        WEIR_TRY(finish(x, i, now_ms, err));
    return WEIR_OK;
}

/* --- headers ------------------------------------------------------------------------------------ */

static void put_head(const gen_exporters *x, uint32_t i, uint8_t *p, uint32_t len, uint32_t count,
                     uint64_t now_ms)
{
    const struct exporter *e = &x->exporters[i];
    uint64_t now_s = now_ms / 1000;
    uint8_t *at = put16(p, x->format->version);
    switch (x->o.format) {
    case GEN_V5:
        at = put32(put16(at, count), (uint32_t)(now_ms - e->boot_ms));
        at = put32(put32(at, (uint32_t)now_s), (uint32_t)(now_ms % 1000) * 1000000);
        at = put32(at, e->sequence);
        *at++ = 0; /* engine type */
        *at++ = (uint8_t)gen_exporters_domain(x, i);
        put16(at, x->o.sampling > 1 ? 1u << 14 | x->o.sampling : 0);
        break;
    case GEN_V9:
        /* The clock has whole seconds, so the uptime beside it has too: times come out exact. */
        at = put32(put16(at, count), (uint32_t)(now_s * 1000 - e->boot_ms));
        at = put32(put32(at, (uint32_t)now_s), e->sequence);
        put32(at, gen_exporters_domain(x, i));
        break;
    case GEN_IPFIX:
        at = put32(put16(at, len), (uint32_t)now_s);
        put32(put32(at, e->sequence), gen_exporters_domain(x, i));
        break;
    }
}

static void move_times(const gen_exporters *x, struct gen_packet *p, int64_t by_ms)
{
    if (x->o.format == GEN_IPFIX) {
        for (unsigned i = 0; i < p->n_records; i++) {
            uint64_t v[2];
            memcpy(v, p->data + p->times[i], sizeof v);
            v[0] = htobe64(be64toh(v[0]) + (uint64_t)by_ms);
            v[1] = htobe64(be64toh(v[1]) + (uint64_t)by_ms);
            memcpy(p->data + p->times[i], v, sizeof v);
        }
        return;
    }
    uint32_t by = (uint32_t)by_ms;
    for (unsigned i = 0; i < p->n_records; i++) {
        uint32_t v[2];
        memcpy(v, p->data + p->times[i], sizeof v);
        v[0] = htobe32(be32toh(v[0]) + by);
        v[1] = htobe32(be32toh(v[1]) + by);
        memcpy(p->data + p->times[i], v, sizeof v);
    }
}

uint32_t gen_exporters_units(const gen_exporters *x, const struct gen_packet *p)
{
    return x->o.format == GEN_V9 ? 1 : p->n_records;
}

void gen_exporters_stamp(gen_exporters *x, struct gen_packet *p, uint64_t now_ms)
{
    struct exporter *e = &x->exporters[p->exporter];
    int64_t shift = (int64_t)(now_ms - p->time_ms);
    if (shift != p->shift_ms)
        move_times(x, p, shift - p->shift_ms);
    p->shift_ms = shift;
    put_head(x, p->exporter, p->data, p->len, p->n_records, now_ms);
    e->sequence += gen_exporters_units(x, p);
    e->since_template++;
}

/* --- templates ---------------------------------------------------------------------------------- */

bool gen_exporters_due(const gen_exporters *x, uint32_t exporter, uint64_t now_ms)
{
    const struct exporter *e = &x->exporters[exporter];
    return x->o.format != GEN_V5 &&
           (!e->told || (x->o.template_packets && e->since_template >= x->o.template_packets) ||
            (x->o.template_ms && now_ms - e->template_ms >= x->o.template_ms));
}

/* Write the length of the set that begins at set and ends at end. */
static uint8_t *close_set(uint8_t *set, uint8_t *end)
{
    put16(set + 2, (uint32_t)(end - set));
    return end;
}

size_t gen_exporters_templates(gen_exporters *x, uint32_t exporter, uint64_t now_ms, uint8_t *out)
{
    struct exporter *e = &x->exporters[exporter];
    const struct format *f = x->format;
    bool ipfix = x->o.format == GEN_IPFIX;
    uint8_t *set = out + f->head, *at = put16(set, f->template_set) + 2;
    for (unsigned k = 0; k < f->n_kinds; k++) {
        at = put16(put16(at, FIRST_TEMPLATE + k), (uint32_t)f->layouts[k].n);
        for (size_t i = 0; i < f->layouts[k].n; i++)
            at = put16(put16(at, f->layouts[k].fields[i].id), f->layouts[k].fields[i].len);
    }
    set = close_set(set, at);

    /* samplingInterval and samplingAlgorithm (34, 35) of the whole exporter: RFC 3954 section 8. */
    at = put16(put16(set, f->options_set) + 2, OPTIONS_TEMPLATE);
    if (ipfix) {
        at = put16(put16(at, 3), 1);   /* fields, of which are scopes */
        at = put16(put16(at, 149), 4); /* observationDomainId */
    } else {
        at = put16(put16(at, 4), 8); /* octets of scopes, of options */
        at = put16(put16(at, 1), 4); /* System */
    }
    at = put16(put16(put16(put16(at, 34), 4), 35), 1);
    at = put16(at, 0); /* padding */
    set = close_set(set, at);

    at = put16(set, OPTIONS_TEMPLATE) + 2;
    at = put32(at, gen_exporters_domain(x, exporter));
    at = put32(at, x->o.sampling);
    *at++ = 1; /* deterministic */
    memset(at, 0, 3);
    at = close_set(set, at + 3);

    uint32_t len = (uint32_t)(at - out);
    put_head(x, exporter, out, len, f->n_kinds + 2, now_ms);
    e->sequence++; /* v9: a packet; IPFIX: the options record (RFC 7011 section 3.1) */
    e->told = true;
    e->since_template = 0;
    e->template_ms = now_ms;
    return len;
}
