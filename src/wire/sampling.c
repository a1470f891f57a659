/* sampling -- how many packets stand behind one counted, and who said so. Rates in options are kept per exporter,
 * by domain and selector; a rate may come after the data it applies to, then the handler hears of it.
 * RFC 5477 and RFC 7133 (selectors), RFC 7270 (samplers), RFC 3954 (interval and algorithm). */
#include "wire/wire.h"

#include "base/hash.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum kind { KIND_DOMAIN, KIND_SELECTOR, KIND_SAMPLER, KIND_INTERFACE };

enum {
    IE_INTERVAL = 34,
    IE_ALGORITHM = 35,
    IE_SAMPLER = 48,
    IE_SAMPLER_MODE = 49,
    IE_RANDOM_INTERVAL = 50,
    IE_FLAGS_AND_SAMPLER = 87,
    IE_INGRESS = 10,
    IE_SELECTOR = 302,
    IE_SELECTOR_ALGORITHM = 304,
    IE_PACKET_INTERVAL = 305,
    IE_PACKET_SPACE = 306,
    IE_TIME_INTERVAL = 307,
    IE_TIME_SPACE = 308,
    IE_SIZE = 309,
    IE_POPULATION = 310,
    IE_PROBABILITY = 311,
    SCOPE_INTERFACE = 2,
    RANDOM_N_OF_POPULATION = 3, /* selectorAlgorithm, RFC 5477 section 6.2 */
    MAX_COMPARED = 64
};

bool wire_sampling_field(const weir_element *e)
{
    if (e->pen != 0)
        return false;
    if (e->flags & WEIR_ELEMENT_SCOPE)
        return e->id == SCOPE_INTERFACE;
    switch (e->id) {
    case IE_INTERVAL:
    case IE_ALGORITHM:
    case IE_SAMPLER:
    case IE_SAMPLER_MODE:
    case IE_RANDOM_INTERVAL:
    case IE_FLAGS_AND_SAMPLER:
    case IE_INGRESS:
        return true;
    default:
        return (e->id >= IE_PACKET_INTERVAL && e->id <= IE_PROBABILITY) || e->id == IE_SELECTOR ||
               e->id == IE_SELECTOR_ALGORITHM;
    }
}

bool wire_sampling_rate_field(const weir_element *e)
{
    return e->pen == 0 && !(e->flags & WEIR_ELEMENT_SCOPE) &&
           (e->id == IE_INTERVAL || e->id == IE_RANDOM_INTERVAL ||
            (e->id >= IE_PACKET_INTERVAL && e->id <= IE_PROBABILITY));
}

/* All that a record says about sampling. */
struct said {
    double interval, random, packets, space, time, time_space, size, population, probability;
    uint64_t selector, sampler, interface;
    bool has_selector, has_sampler, has_interface, has_space, has_time_space;
    uint16_t algorithm;
};

static void read_said(const weir_record *r, struct said *s)
{
    *s = (struct said){0};
    for (uint32_t i = 0; i < r->n_fields; i++) {
        const weir_element *e = r->fields[i].element;
        weir_value v;
        if (!wire_sampling_field(e) || weir_value_read(r, i, &v) != WEIR_OK)
            continue;
        if (e->id == IE_PROBABILITY && !(e->flags & WEIR_ELEMENT_SCOPE)) {
            s->probability = v.kind == WEIR_KIND_F64 ? v.f64 : 0;
            continue;
        }
        if (v.kind != WEIR_KIND_U64)
            continue;
        double number = (double)v.u64;
        if (e->flags & WEIR_ELEMENT_SCOPE) {
            s->interface = v.u64;
            s->has_interface = true;
            continue;
        }
        switch (e->id) {
        case IE_INTERVAL:
            s->interval = number;
            break;
        case IE_RANDOM_INTERVAL:
            s->random = number;
            break;
        case IE_ALGORITHM:
        case IE_SAMPLER_MODE:
        case IE_SELECTOR_ALGORITHM:
            s->algorithm = (uint16_t)v.u64;
            break;
        case IE_SAMPLER:
            s->sampler = v.u64;
            s->has_sampler = true;
            break;
        case IE_SELECTOR:
            s->selector = v.u64;
            s->has_selector = true;
            break;
        case IE_INGRESS:
            s->interface = v.u64;
            s->has_interface = true;
            break;
        case IE_PACKET_INTERVAL:
            s->packets = number;
            break;
        case IE_PACKET_SPACE:
            s->space = number;
            s->has_space = true;
            break;
        case IE_TIME_INTERVAL:
            s->time = number;
            break;
        case IE_TIME_SPACE:
            s->time_space = number;
            s->has_time_space = true;
            break;
        case IE_SIZE:
            s->size = number;
            break;
        case IE_POPULATION:
            s->population = number;
            break;
        default:
            break;
        }
    }
}

/* The rate that these fields amount to, 0: none, enormous or infinite: a probability near 0. An interval without its space (sent
 * alone by some exporters) is the rate itself. */
static double rate_said(const struct said *s)
{
    const bool n_of_population = s->size > 0 && s->population >= s->size;
    /* Cisco IOS XR sends a samplingPacketInterval of 1 without space beside the size and population that count. */
    if (s->packets > 0 && s->has_space &&
        !(n_of_population && s->algorithm == RANDOM_N_OF_POPULATION))
        return (s->packets + s->space) / s->packets;
    if (n_of_population)
        return s->population / s->size;
    if (s->probability > 0 && s->probability <= 1)
        return 1 / s->probability;
    if (s->packets > 0)
        return s->packets;
    if (s->time > 0 && s->has_time_space)
        return (s->time + s->time_space) / s->time;
    if (s->random > 0)
        return s->random;
    return s->interval > 0 ? s->interval : 0;
}

static double rate_of(const struct said *s)
{
    double rate = rate_said(s);
    return rate <= 0x1p64 ? rate : 0; /* more packets than a counter can hold */
}

/* ---- the table of one exporter ---- */

static wire_sampler **bucket_of(wire_exporter *e, uint64_t selector, uint32_t domain)
{
    /* e->hash is keyed: nobody outside can choose selectors that share a bucket */
    const uint64_t key[2] = {selector, domain};
    return &e->samplers[base_hash(key, sizeof key, e->hash) % WIRE_SAMPLER_BUCKETS];
}

static wire_sampler *find(const weir_stream *s, uint8_t kind, uint64_t selector, uint32_t domain)
{
    if (!s->e->samplers)
        return NULL;
    wire_sampler *row = *bucket_of(s->e, selector, domain);
    while (row && (row->kind != kind || row->selector != selector || row->domain != domain ||
                   row->version != s->key.version || row->port != s->key.port))
        row = row->chain;
    return row;
}

weir_status wire_sampler_restore(wire_exporter *e, weir_decoder *d, const wire_sampler *from)
{
    wire_sampler *known = e->samplers ? *bucket_of(e, from->selector, from->domain) : NULL;
    while (known && (known->kind != from->kind || known->selector != from->selector ||
                     known->domain != from->domain || known->version != from->version ||
                     known->port != from->port))
        known = known->chain;
    if (known) {
        if (from->seen_ns >= known->seen_ns) {
            known->sampling = from->sampling;
            known->seen_ns = from->seen_ns;
        }
        return WEIR_OK;
    }
    size_t table = e->samplers ? 0 : WIRE_SAMPLER_BUCKETS * sizeof(wire_sampler *);
    if (e->n_samplers >= WIRE_MAX_SAMPLERS || !wire_charge(d, table + sizeof *from))
        return WEIR_ELIMIT;
    if (!e->samplers)
        e->samplers = calloc(WIRE_SAMPLER_BUCKETS, sizeof(wire_sampler *));
    wire_sampler *row = e->samplers ? malloc(sizeof *row) : NULL;
    if (!row) {
        d->state_octets -= sizeof *from + (e->samplers ? 0 : table);
        return WEIR_ENOMEM;
    }
    wire_sampler **bucket = bucket_of(e, from->selector, from->domain);
    *row = *from;
    row->chain = *bucket;
    *bucket = row;
    e->n_samplers++;
    e->n_selective += from->kind != KIND_DOMAIN;
    e->n_interfaces += from->kind == KIND_INTERFACE;
    d->sampling_epoch++;
    return WEIR_OK;
}

void wire_samplers_free(weir_decoder *d, wire_exporter *e)
{
    for (size_t i = 0; e->samplers && i < WIRE_SAMPLER_BUCKETS; i++)
        for (wire_sampler *row = e->samplers[i], *next; row; row = next) {
            next = row->chain;
            d->state_octets -= sizeof *row;
            free(row);
        }
    if (e->samplers)
        d->state_octets -= WIRE_SAMPLER_BUCKETS * sizeof *e->samplers;
    free(e->samplers);
    e->samplers = NULL;
    e->n_samplers = e->n_selective = e->n_interfaces = 0;
    d->sampling_epoch++;
}

static void keep(wire_pass *w, uint8_t kind, uint64_t selector, const weir_sampling *sampling)
{
    weir_stream *s = w->s;
    wire_sampler *row = find(s, kind, selector, s->key.domain);
    if (row)
        row->seen_ns = w->p->received_ns;
    if (row && row->sampling.algorithm == sampling->algorithm &&
        fabs(row->sampling.rate - sampling->rate) < 1e-9)
        return;
    if (row) {
        row->sampling = *sampling;
        w->d->sampling_epoch++;
    } else {
        const wire_sampler made = {.selector = selector,
                                   .domain = s->key.domain,
                                   .version = s->key.version,
                                   .port = s->key.port,
                                   .kind = kind,
                                   .sampling = *sampling,
                                   .seen_ns = w->p->received_ns};
        if (wire_sampler_restore(s->e, w->d, &made) != WEIR_OK) {
            wire_fault(w, WEIR_FAULT_TEMPLATE_LIMIT, 0,
                       "sampler %llu refused: this exporter has %d already or memory is short",
                       (unsigned long long)selector, WIRE_MAX_SAMPLERS);
            return;
        }
    }
    if (w->d->on->sampling)
        w->d->on->sampling(w->d->user, w->p, selector, sampling);
}

void wire_sampling_learn(wire_pass *w, const weir_record *r)
{
    struct said s;
    read_said(r, &s);
    weir_sampling sampling = {
        .rate = rate_of(&s), .algorithm = s.algorithm, .origin = WEIR_ORIGIN_OPTIONS};
    if (!(sampling.rate > 0))
        return;
    if (s.has_selector)
        keep(w, KIND_SELECTOR, s.selector, &sampling);
    else if (s.has_sampler)
        keep(w, KIND_SAMPLER, s.sampler, &sampling);
    else if (s.has_interface)
        keep(w, KIND_INTERFACE, s.interface, &sampling);
    else
        keep(w, KIND_DOMAIN, 0, &sampling);
}

/* Options of the record's own domain first, then of domain 0, which speaks for the whole exporter (RFC 7011
 * section 3.1). */
static const weir_sampling *look_up(const weir_stream *s, uint8_t kind, uint64_t selector)
{
    const wire_sampler *row = find(s, kind, selector, s->key.domain);
    if (!row && s->key.domain != 0)
        row = find(s, kind, selector, 0);
    return row ? &row->sampling : NULL;
}

/* The rate that all selectors have of which records of this stream may speak, NULL: none, or they differ, or there are more
 * of them than a look at a stream is worth. */
static const weir_sampling *of_selectors(const weir_stream *s)
{
    const wire_exporter *e = s->e;
    const weir_sampling *found = NULL;
    if (e->n_selective == 0 || e->n_samplers > MAX_COMPARED)
        return NULL;
    for (size_t i = 0; i < WIRE_SAMPLER_BUCKETS; i++)
        for (const wire_sampler *row = e->samplers[i]; row; row = row->chain) {
            if (row->version != s->key.version || row->port != s->key.port ||
                (row->domain != s->key.domain && row->domain != 0))
                continue;
            if (found && fabs(found->rate - row->sampling.rate) > 1e-9)
                return NULL;
            found = &row->sampling;
        }
    return found;
}

weir_sampling wire_sampling_of_stream(const weir_stream *s)
{
    if (s->e->rate > 0)
        return (weir_sampling){.rate = s->e->rate, .origin = WEIR_ORIGIN_CONFIGURED};
    const weir_sampling *known = look_up(s, KIND_DOMAIN, 0);
    if (!known)
        known = of_selectors(s);
    if (known)
        return *known;
    uint16_t interval = s->sampling & 0x3fff;
    return interval
               ? (weir_sampling){.rate = interval,
                                 .algorithm = s->sampling >> 14,
                                 .origin = WEIR_ORIGIN_HEADER}
               : (weir_sampling){.origin = s->rated ? WEIR_ORIGIN_RECORD : WEIR_ORIGIN_UNKNOWN};
}

bool wire_sampling_uniform(const weir_record *r)
{
    const wire_exporter *e = r->stream->e;
    const wire_template *t = (const wire_template *)(const void *)r->tmpl;
    return e->rate > 0 || !(t->samples || t->rates) || (!t->rates && e->n_selective == 0);
}

bool wire_sampling_decides(const weir_record *r, const weir_element *e)
{
    const wire_template *t = (const wire_template *)(const void *)r->tmpl;
    bool interface = e->flags & WEIR_ELEMENT_SCOPE || e->id == IE_INGRESS;
    return t->rates || !interface || r->stream->e->n_interfaces > 0;
}

uint64_t wire_sampling_epoch(const weir_record *r)
{
    return r->stream->d->sampling_epoch;
}

/* What the record itself says of it, and what options say of its selector, sampler, interface or domain. */
static bool said_of(const weir_record *r, weir_sampling *out, uint16_t *algorithm)
{
    const weir_stream *s = r->stream;
    const wire_template *t = (const wire_template *)(const void *)r->tmpl;
    struct said said = {0};
    if (t && (t->rates || (t->samples && s->e->n_selective))) {
        read_said(r, &said);
        double rate = rate_of(&said);
        *algorithm = said.algorithm;
        if (rate > 0) {
            *out = (weir_sampling){
                .rate = rate, .algorithm = said.algorithm, .origin = WEIR_ORIGIN_RECORD};
            return true;
        }
    }
    const weir_sampling *found = NULL;
    if (said.has_selector)
        found = look_up(s, KIND_SELECTOR, said.selector);
    if (!found && said.has_sampler)
        found = look_up(s, KIND_SAMPLER, said.sampler);
    if (!found && said.has_interface)
        found = look_up(s, KIND_INTERFACE, said.interface);
    if (!found)
        found = look_up(s, KIND_DOMAIN, 0);
    if (found)
        *out = *found;
    return found;
}

weir_sampling weir_record_sampling(const weir_record *r)
{
    const wire_exporter *e = r->stream->e;
    const wire_template *t = (const wire_template *)(const void *)r->tmpl;
    weir_sampling out;
    uint16_t algorithm = 0;
    if (e->rate > 0)
        return (weir_sampling){.rate = e->rate, .origin = WEIR_ORIGIN_CONFIGURED};
    if (((t && t->rates) || e->n_samplers) && said_of(r, &out, &algorithm))
        return out;
    /* v5: the top two bits are the mode, the rest is the interval; 0 says nothing. */
    uint16_t interval = r->packet->sampling & 0x3fff, mode = r->packet->sampling >> 14;
    return (weir_sampling){.rate = interval,
                           .algorithm = interval ? mode : algorithm,
                           .origin = interval ? WEIR_ORIGIN_HEADER : WEIR_ORIGIN_UNKNOWN};
}

const char *weir_origin_text(weir_origin origin)
{
    static const char *const texts[] = {
#define X(name, text) text,
        WEIR_ORIGIN_MAP(X)
#undef X
    };
    return (unsigned)origin < ARRAY_LEN(texts) ? texts[origin] : "unknown";
}
