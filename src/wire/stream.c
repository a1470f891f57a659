/* stream -- exporters by address, streams by (exporter, port, version, domain), their tables and their limits. */
#include "wire/wire.h"

#include "base/hash.h"

#include <stdlib.h>
#include <string.h>

static size_t slots_for(size_t n)
{
    size_t slots = 64;
    while (slots < n && slots < (size_t)1 << 20)
        slots *= 2;
    return slots;
}

weir_status wire_tables_init(weir_decoder *d)
{
    d->n_exporter_slots = slots_for(d->opt.max_exporters);
    d->n_stream_slots = slots_for(d->opt.max_streams);
    d->exporter_slots = calloc(d->n_exporter_slots, sizeof *d->exporter_slots);
    d->stream_slots = calloc(d->n_stream_slots, sizeof *d->stream_slots);
    return d->exporter_slots && d->stream_slots ? WEIR_OK : WEIR_ENOMEM;
}

bool wire_charge(weir_decoder *d, size_t octets)
{
    if (d->opt.max_state_octets - d->state_octets < octets)
        return false;
    d->state_octets += octets;
    return true;
}

/* Least recently heard first: a thing that was heard now goes to the end of its list. */
static void touch(wire_link *head, wire_link *l)
{
    if (head->prev == l)
        return;
    wire_list_remove(l);
    wire_list_append(head, l);
}

/* ---- exporters ---- */

static weir_endpoint address_of(const weir_endpoint *from)
{
    weir_endpoint a = {.family = from->family};
    memcpy(a.addr, from->addr, from->family == 4 ? 4 : sizeof a.addr);
    return a;
}

static bool idle(const weir_decoder *d, int64_t last_ns, int64_t now_ns)
{
    return now_ns - last_ns > (int64_t)d->opt.idle_s * 1000000000;
}

/* Give up the exporter unheard for longest, when it has been idle; keep stays. */
static bool exporter_evict(weir_decoder *d, int64_t now_ns, const wire_exporter *keep)
{
    for (wire_link *l = d->exporters.next; l != &d->exporters; l = l->next) {
        wire_exporter *e = WIRE_OF(l, wire_exporter, lru);
        if (e->configured || e == keep)
            continue;
        if (!idle(d, e->last_ns, now_ns))
            return false; /* the list is in order of last_ns */
        while (e->streams.next != &e->streams) {
            weir_stream *s = WIRE_OF(e->streams.next, weir_stream, of_exporter);
            wire_waiting_drop_stream(s);
            WIRE_COUNT(s, templates_expired, s->n_templates);
            wire_stream_free(s);
        }
        wire_exporter_free(d, e);
        return true;
    }
    return false;
}

/* Room for one more exporter, charged. */
static bool exporter_room(weir_decoder *d, int64_t now_ns)
{
    while (d->n_exporters >= d->opt.max_exporters || !wire_charge(d, sizeof(wire_exporter)))
        if (!exporter_evict(d, now_ns, NULL))
            return false;
    return true;
}

static wire_exporter *heard(weir_decoder *d, wire_exporter *e, int64_t now_ns)
{
    if (now_ns == 0)
        return e;
    touch(&d->exporters, &e->lru);
    if (e->first_ns == 0)
        e->first_ns = now_ns;
    e->last_ns = now_ns;
    return e;
}

/* A slot among those of recent use. Who makes addresses share one gains nothing but the usual way. */
static unsigned recent_slot(const void *addr, uint32_t domain)
{
    uint64_t half[2];
    memcpy(half, addr, sizeof half);
    return (unsigned)(((half[0] ^ half[1] ^ (uint64_t)domain << 32) * 0x9e3779b97f4a7c15) >> 58) %
           WIRE_RECENT;
}

wire_exporter *wire_exporter_get(weir_decoder *d, const weir_endpoint *from, int64_t now_ns,
                                 weir_status *why)
{
    weir_endpoint a = address_of(from);
    wire_exporter **recent = &d->recent_exporters[recent_slot(a.addr, 0)];
    if (*recent && memcmp(&(*recent)->address, &a, sizeof a) == 0)
        return heard(d, *recent, now_ns);
    uint64_t hash = base_hash(&a, sizeof a, d->seed);
    wire_exporter **slot = &d->exporter_slots[hash & (d->n_exporter_slots - 1)];
    for (wire_exporter *e = *slot; e; e = e->chain)
        if (e->hash == hash && memcmp(&e->address, &a, sizeof a) == 0)
            return heard(d, *recent = e, now_ns);
    *why = WEIR_ELIMIT;
    if (!exporter_room(d, now_ns))
        return NULL;
    wire_exporter *e = calloc(1, sizeof *e);
    if (!e) {
        d->state_octets -= sizeof *e;
        *why = WEIR_ENOMEM;
        return NULL;
    }
    e->address = a;
    e->hash = hash;
    e->serial = ++d->serial;
    e->scope = d->opt.scope;
    e->first_ns = e->last_ns = now_ns;
    wire_list_init(&e->streams);
    wire_list_init(&e->waiting);
    wire_list_append(&d->exporters, &e->lru);
    e->chain = *slot;
    *slot = e;
    d->n_exporters++;
    return e;
}

void wire_exporter_free(weir_decoder *d, wire_exporter *e)
{
    while (e->streams.next != &e->streams)
        wire_stream_free(WIRE_OF(e->streams.next, weir_stream, of_exporter));
    wire_samplers_free(d, e);
    wire_exporter **slot = &d->exporter_slots[e->hash & (d->n_exporter_slots - 1)];
    while (*slot != e)
        slot = &(*slot)->chain;
    *slot = e->chain;
    wire_exporter **recent = &d->recent_exporters[recent_slot(e->address.addr, 0)];
    if (*recent == e)
        *recent = NULL;
    wire_list_remove(&e->lru);
    d->n_exporters--;
    d->state_octets -= sizeof *e;
    free(e);
}

/* ---- streams ---- */

void wire_stream_free(weir_stream *s)
{
    weir_decoder *d = s->d;
    wire_templates_free(s);
    weir_stream **slot = &d->stream_slots[s->hash & (d->n_stream_slots - 1)];
    while (*slot != s)
        slot = &(*slot)->chain;
    *slot = s->chain;
    wire_list_remove(&s->lru);
    wire_list_remove(&s->of_exporter);
    d->state_octets -= sizeof *s;
    wire_tracks_free(s);
    if (s->waits) {
        d->state_octets -= WIRE_WAIT_BUCKETS * sizeof *s->waits;
        for (size_t i = 0; i < WIRE_WAIT_BUCKETS; i++)
            for (wire_wait_id *w = s->waits[i], *next; w; w = next) {
                next = w->next;
                free(w);
            }
    }
    free(s->waits);
    s->e->n_streams--;
    d->n_streams--;
    weir_stream **recent = &d->recent_streams[recent_slot(s->key.addr, s->key.domain)];
    if (*recent == s)
        *recent = NULL;
    free(s);
}

static bool make_room(weir_decoder *d, const wire_exporter *of, int64_t now_ns,
                      const weir_stream *keep, const wire_exporter *keep_exporter)
{
    const wire_link *head = of ? &of->streams : &d->streams;
    for (wire_link *l = head->next; l != head; l = l->next) {
        weir_stream *s = of ? WIRE_OF(l, weir_stream, of_exporter) : WIRE_OF(l, weir_stream, lru);
        if (s == keep)
            continue;
        if (!idle(d, s->last_ns, now_ns))
            break; /* both lists are in order of last_ns */
        wire_waiting_drop_stream(s);
        WIRE_COUNT(s, templates_expired, s->n_templates);
        wire_stream_free(s);
        return true;
    }
    /* What is left of exporters without streams */
    return !of && exporter_evict(d, now_ns, keep_exporter);
}

bool wire_make_room(weir_decoder *d, const wire_exporter *of, int64_t now_ns,
                    const weir_stream *keep)
{
    return make_room(d, of, now_ns, keep, keep ? keep->e : of);
}

static weir_stream *stream_new(weir_decoder *d, wire_exporter *e, const wire_stream_key *key,
                               uint64_t hash, int64_t now_ns, weir_err *err)
{
    while (e->n_streams >= d->opt.max_exporter_streams)
        if (!wire_make_room(d, e, now_ns, NULL)) {
            (void)weir_err_set(err, WEIR_ELIMIT, 0,
                               "max_exporter_streams (%zu) reached by this exporter",
                               d->opt.max_exporter_streams);
            return NULL;
        }
    while (d->n_streams >= d->opt.max_streams || !wire_charge(d, sizeof(weir_stream)))
        if (!make_room(d, NULL, now_ns, NULL, e)) {
            (void)weir_err_set(err, WEIR_ELIMIT, 0,
                               "no room for another domain (max_streams %zu, max_state_octets %zu)",
                               d->opt.max_streams, d->opt.max_state_octets);
            return NULL;
        }
    weir_stream *s = calloc(1, sizeof *s);
    if (!s) {
        d->state_octets -= sizeof *s;
        (void)weir_err_set(err, WEIR_ENOMEM, 0, "no memory for another domain");
        return NULL;
    }
    s->d = d;
    s->e = e;
    s->key = *key;
    s->hash = hash;
    s->serial = ++d->serial;
    s->first_ns = now_ns;
    for (size_t i = 0; i < WIRE_N_SAID; i++)
        s->said[i] = -1;
    wire_list_append(&d->streams, &s->lru);
    wire_list_append(&e->streams, &s->of_exporter);
    weir_stream **slot = &d->stream_slots[hash & (d->n_stream_slots - 1)];
    s->chain = *slot;
    *slot = s;
    e->n_streams++;
    d->n_streams++;
    d->sampling_epoch++; /* it may lie where another one did */
    return s;
}

static wire_stream_key key_of(const wire_exporter *e, const weir_packet *p)
{
    wire_stream_key key = {.domain = p->domain,
                           .version = p->version,
                           .family = e->address.family,
                           .transport = p->from.transport};
    if (e->scope == WEIR_SCOPE_PORT || p->from.transport != WEIR_UDP)
        key.port = p->from.port;
    memcpy(key.addr, e->address.addr, sizeof key.addr);
    return key;
}

static weir_stream *find(const weir_decoder *d, const wire_stream_key *key, uint64_t hash)
{
    weir_stream *s = d->stream_slots[hash & (d->n_stream_slots - 1)];
    while (s && (s->hash != hash || memcmp(&s->key, key, sizeof *key) != 0))
        s = s->chain;
    return s;
}

weir_stream *wire_stream_find(const weir_decoder *d, const wire_exporter *e, const weir_packet *p)
{
    wire_stream_key key = key_of(e, p);
    return find(d, &key, base_hash(&key, sizeof key, d->seed));
}

weir_stream *wire_stream_get(weir_decoder *d, wire_exporter *e, const weir_packet *p, weir_err *err)
{
    wire_stream_key key = key_of(e, p);
    weir_stream **recent = &d->recent_streams[recent_slot(key.addr, key.domain)], *s = *recent;
    if (!s || memcmp(&s->key, &key, sizeof key) != 0) {
        uint64_t hash = base_hash(&key, sizeof key, d->seed);
        s = find(d, &key, hash);
        if (!s) {
            s = stream_new(d, e, &key, hash, p->received_ns, err);
            if (!s)
                return NULL;
        }
        *recent = s;
    }
    touch(&d->streams, &s->lru);
    touch(&e->streams, &s->of_exporter);
    s->last_ns = p->received_ns;
    s->port = p->from.port;
    return s;
}
