/* template -- what each stream has said its records look like, compiled once per definition.
 * RFC 7011 sections 3.4 (wire) and 8 (life); NetFlow v9: RFC 3954 sections 5.2, 6.1, 9. */
#include "wire/wire.h"

#include "base/hash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { UNKNOWN_NAME = 20 }; /* "e4294967295id32767" and its NUL */

wire_spec *wire_specs(weir_decoder *d, size_t n)
{
    if (d->n_specs < n) {
        wire_spec *grown = realloc(d->specs, n * sizeof *grown);
        if (!grown)
            return NULL;
        d->specs = grown;
        d->n_specs = n;
    }
    return d->specs;
}

/* ---- the table of one stream: open addressing, linear probing, at most three quarters full ---- */

/* Keyed by the decoder's seed: who could choose ids that share a slot could make every look-up walk the table. */
static uint32_t slot_of(const weir_stream *s, uint16_t id)
{
    uint64_t seed = s->d->seed;
    uint32_t h = (id ^ (uint32_t)seed) * 0x9e3779b1u;
    h = (h ^ h >> 15) * ((uint32_t)(seed >> 32) | 1u);
    return (h ^ h >> 16) & (s->n_slots - 1);
}

wire_template *wire_template_find(const weir_stream *s, uint16_t id)
{
    if (s->n_slots == 0)
        return NULL;
    for (uint32_t i = slot_of(s, id);; i = (i + 1) & (s->n_slots - 1)) {
        wire_template *t = s->slots[i];
        if (!t || t->pub.id == id)
            return t;
    }
}

static void insert(weir_stream *s, wire_template *t)
{
    uint32_t i = slot_of(s, t->pub.id);
    while (s->slots[i])
        i = (i + 1) & (s->n_slots - 1);
    s->slots[i] = t;
    s->n_templates++;
    s->n_options += t->pub.options;
}

static bool grow(weir_stream *s)
{
    if (s->n_slots && (s->n_templates + 1) * 4 <= s->n_slots * 3)
        return true;
    uint32_t n = s->n_slots ? s->n_slots * 2 : 16;
    size_t more = (n - s->n_slots) * sizeof(wire_template *);
    if (!wire_charge(s->d, more))
        return false;
    wire_template **slots = calloc(n, sizeof(wire_template *));
    if (!slots) {
        s->d->state_octets -= more;
        return false;
    }
    wire_template **old = s->slots;
    uint32_t n_old = s->n_slots;
    s->slots = slots;
    s->n_slots = n;
    s->n_templates = s->n_options = 0;
    for (uint32_t i = 0; i < n_old; i++)
        if (old[i])
            insert(s, old[i]);
    free(old);
    return true;
}

static uint32_t place_of(const weir_stream *s, const wire_template *t)
{
    uint32_t i = slot_of(s, t->pub.id);
    while (s->slots[i] != t)
        i = (i + 1) & (s->n_slots - 1);
    return i;
}

/* Take t out and close the hole it leaves in its run. */
static void take_out(weir_stream *s, const wire_template *t)
{
    uint32_t hole = place_of(s, t);
    s->slots[hole] = NULL;
    s->n_templates--;
    s->n_options -= t->pub.options;
    for (uint32_t i = (hole + 1) & (s->n_slots - 1); s->slots[i]; i = (i + 1) & (s->n_slots - 1)) {
        wire_template *moved = s->slots[i];
        s->slots[i] = NULL;
        s->n_templates--;
        s->n_options -= moved->pub.options;
        insert(s, moved);
    }
}

static void template_free(weir_decoder *d, wire_template *t)
{
    d->state_octets -= t->charge;
    free(t);
}

void wire_template_drop(weir_stream *s, wire_template *t)
{
    take_out(s, t);
    WIRE_UNCOUNT(s, templates, 1);
    template_free(s->d, t);
}

void wire_templates_free(weir_stream *s)
{
    for (uint32_t i = 0; i < s->n_slots; i++)
        if (s->slots[i])
            template_free(s->d, s->slots[i]);
    WIRE_UNCOUNT(s, templates, s->n_templates);
    s->d->state_octets -= s->n_slots * sizeof(wire_template *);
    free(s->slots);
    s->slots = NULL;
    s->n_slots = s->n_templates = s->n_options = 0;
}

/* ---- building ---- */

static bool speaks(const weir_element *e)
{
    return e->pen == 0 && ((e->id >= 40 && e->id <= 42) || e->id == 145 || e->id == 160 ||
                           (e->id >= 164 && e->id <= 168) || e->id == 173);
}

static uint64_t digest_of(bool options, const wire_spec *specs, uint32_t n, uint32_t n_scope)
{
    uint64_t h = base_hash(&n_scope, sizeof n_scope, options ? 1 : 2);
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t words[3] = {specs[i].pen, (uint32_t)specs[i].id << 16 | specs[i].len,
                                   specs[i].space};
        h = base_hash(words, sizeof words, h);
    }
    return h ? h : 1;
}

wire_template *wire_template_build(weir_decoder *d, uint16_t id, bool options,
                                   const wire_spec *specs, uint32_t n, uint32_t n_scope,
                                   uint32_t *n_unknown)
{
    uint32_t unknown = 0;
    for (uint32_t i = 0; i < n; i++)
        if (!weir_element_find(d->opt.elements, specs[i].space, specs[i].pen, specs[i].id))
            unknown++;
    size_t fields = sizeof(wire_template) + n * sizeof(weir_field);
    size_t charge = fields + unknown * (sizeof(weir_element) + UNKNOWN_NAME);
    wire_template *t = malloc(charge);
    if (!t)
        return NULL;
    memset(t, 0, sizeof *t);
    weir_element *made = (weir_element *)(void *)((char *)t + fields);
    char *name = (char *)(made + unknown);
    uint32_t min_len = 0;
    bool variable = false;
    for (uint32_t i = 0; i < n; i++) {
        const weir_element *e =
            weir_element_find(d->opt.elements, specs[i].space, specs[i].pen, specs[i].id);
        if (!e) {
            (void)snprintf(name, UNKNOWN_NAME, "e%uid%u", specs[i].pen, specs[i].id);
            *made = (weir_element){
                .name = name,
                .units = "",
                .pen = specs[i].pen,
                .id = specs[i].id,
                .type = WEIR_TYPE_OCTET_ARRAY,
                .flags = WEIR_ELEMENT_UNKNOWN |
                         (specs[i].space == WEIR_SPACE_IPFIX ? 0 : WEIR_ELEMENT_V9) |
                         (specs[i].space == WEIR_SPACE_V9_SCOPE ? WEIR_ELEMENT_SCOPE : 0)};
            e = made++;
            name += UNKNOWN_NAME;
        }
        t->fields[i] = (weir_field){.element = e,
                                    .offset = variable ? 0 : min_len,
                                    .length = specs[i].len,
                                    .load = wire_load_of(e->type, specs[i].len)};
        variable |= specs[i].len == WEIR_VARLEN;
        t->n_fixed = (uint16_t)(t->n_fixed + !variable);
        t->fixed_len += variable ? 0 : specs[i].len;
        min_len += specs[i].len == WEIR_VARLEN ? 1 : specs[i].len;
        t->samples |= wire_sampling_field(e);
        t->rates |= wire_sampling_rate_field(e);
        t->speaks |= options && speaks(e);
    }
    t->pub = (weir_template){.id = id,
                             .options = options,
                             .variable = variable,
                             .n_fields = (uint16_t)n,
                             .n_scope = (uint16_t)n_scope,
                             .min_len = min_len,
                             .serial = ++d->serial,
                             .fields = t->fields};
    t->digest = digest_of(options, specs, n, n_scope);
    t->charge = charge;
    wire_times_plan(t);
    if (n_unknown)
        *n_unknown = unknown;
    return t;
}

weir_template *wire_template_copy(const weir_template *t, size_t *octets)
{
    size_t fields = sizeof(wire_template) + t->n_fields * sizeof(weir_field), n_unknown = 0,
           names = 0;
    for (uint32_t i = 0; i < t->n_fields; i++)
        if (t->fields[i].element->flags & WEIR_ELEMENT_UNKNOWN) {
            names += strlen(t->fields[i].element->name) + 1;
            n_unknown++;
        }
    size_t all = fields + n_unknown * sizeof(weir_element) + names;
    wire_template *copy = malloc(all);
    if (!copy)
        return NULL;
    memcpy(copy, t, fields);
    copy->pub.fields = copy->fields;
    weir_element *e = (weir_element *)(void *)((char *)copy + fields);
    char *name = (char *)(e + n_unknown);
    for (uint32_t i = 0; i < t->n_fields; i++)
        if (t->fields[i].element->flags & WEIR_ELEMENT_UNKNOWN) {
            size_t len = strlen(t->fields[i].element->name) + 1;
            *e = *t->fields[i].element;
            e->name = memcpy(name, t->fields[i].element->name, len);
            copy->fields[i].element = e++;
            name += len;
        }
    *octets += all;
    return &copy->pub;
}

/* ---- learning ---- */

static void tell(wire_pass *w, const wire_template *t, weir_template_event event)
{
    if (w->d->on->tmpl)
        w->d->on->tmpl(w->d->user, w->p, &t->pub, event);
}

void wire_template_ready(weir_stream *s, uint16_t id)
{
    weir_decoder *d = s->d;
    if (s->n_waiting == 0)
        return;
    if (d->n_ready == d->cap_ready) {
        size_t cap = d->cap_ready ? d->cap_ready * 2 : 16;
        uint16_t *grown = realloc(d->ready, cap * sizeof *grown);
        if (!grown)
            return; /* they go on waiting: the next repetition of the template releases them */
        d->ready = grown;
        d->cap_ready = cap;
    }
    d->ready[d->n_ready++] = id;
}

/* What waits may be of a new process, and this be the old one's word. */
static void tell_waiting(wire_pass *w, uint16_t id)
{
    if (w->told_by == w->p->id)
        wire_template_ready(w->s, id);
}

/* Lengths of the fields, 1 for a variable one; more than a message can carry is refused before it can wrap. Fields of
 * 0 octets cost the reader of a record time and its sender nothing: no more of them than the record has octets, or a
 * datagram of one-octet records would become a thousand times its size in text. */
static bool lengths_ok(const wire_spec *specs, uint32_t n)
{
    uint64_t sum = 0;
    uint32_t empty = 0;
    for (uint32_t i = 0; i < n; i++) {
        sum += specs[i].len == WEIR_VARLEN ? 1 : specs[i].len;
        empty += specs[i].len == 0;
    }
    return sum > 0 && sum <= 65535 && empty <= sum;
}

/* Room for a new template: idle streams go first. */
static wire_template *build_charged(weir_stream *s, int64_t now_ns, uint16_t id, bool options,
                                    const wire_spec *specs, uint32_t n, uint32_t n_scope,
                                    uint32_t *n_unknown, weir_fault *why)
{
    weir_decoder *d = s->d;
    wire_template *t = wire_template_build(d, id, options, specs, n, n_scope, n_unknown);
    *why = WEIR_FAULT_MEMORY;
    if (!t)
        return NULL;
    *why = WEIR_FAULT_TEMPLATE_LIMIT;
    while (!wire_charge(d, t->charge))
        if (!wire_make_room(d, NULL, now_ns, s)) {
            free(t);
            return NULL;
        }
    return t;
}

void wire_template_learn(wire_pass *w, uint16_t id, bool options, const wire_spec *specs,
                         uint32_t n, uint32_t n_scope, uint64_t at)
{
    weir_stream *s = w->s;
    weir_decoder *d = w->d;
    const char *what = options ? "options template" : "template";
    if (!lengths_ok(specs, n)) {
        wire_fault(
            w, WEIR_FAULT_TEMPLATE, at,
            "%s %u: the %u fields add up to no octets or to more than 65535, or more of them are "
            "empty than there are octets",
            what, id, n);
        return;
    }
    wire_template *old = wire_template_find(s, id);
    uint64_t digest = digest_of(options, specs, n, n_scope);
    if (old && old->digest == digest) {
        old->pub.seen_ns = w->p->received_ns;
        old->pub.port = w->p->from.port;
        old->told_by = w->told_by;
        WIRE_COUNT(s, templates_refreshed, 1);
        tell(w, old, WEIR_TEMPLATE_REFRESHED);
        tell_waiting(w, id);
        return;
    }
    if (!old && s->n_templates >= d->opt.max_templates) {
        wire_fault(w, WEIR_FAULT_TEMPLATE_LIMIT, at,
                   "%s %u refused: this domain has max_templates (%zu) already", what, id,
                   d->opt.max_templates);
        return;
    }
    uint32_t unknown = 0;
    weir_fault why;
    wire_template *t =
        build_charged(s, w->p->received_ns, id, options, specs, n, n_scope, &unknown, &why);
    if (t && !old && !grow(s)) {
        template_free(d, t);
        t = NULL;
    }
    if (!t) {
        wire_fault(w, why, at, "%s %u refused: %s", what, id,
                   why == WEIR_FAULT_MEMORY ? "out of memory" : "max_state_octets reached");
        if (old) { /* its sender has given it up: data would be read wrongly by it */
            WIRE_COUNT(s, templates_expired, 1);
            tell(w, old, WEIR_TEMPLATE_EXPIRED);
            wire_template_drop(s, old);
        }
        return;
    }
    t->pub.learnt_ns = t->pub.seen_ns = w->p->received_ns;
    t->pub.port = w->p->from.port;
    t->export_s = w->p->export_s;
    t->told_by = w->told_by;
    WIRE_COUNT(s, elements_unknown, unknown);
    s->rated |= t->rates && !options;
    bool conflict = false;
    if (old) {
        /* A, B, A from two ports: two processes share the address and the domain (RFC 7011 section 8). */
        conflict = old->before == digest && old->pub.port != w->p->from.port;
        t->before = old->digest;
        s->slots[place_of(s, old)] = t;
        s->n_options += (uint32_t)options - old->pub.options;
        template_free(d, old);
        WIRE_COUNT(s, templates_changed, 1);
    } else {
        insert(s, t);
        WIRE_COUNT(s, templates, 1);
        WIRE_COUNT(s, templates_learnt, 1);
    }
    tell(w, t, old ? WEIR_TEMPLATE_CHANGED : WEIR_TEMPLATE_LEARNT);
    if (conflict) {
        WIRE_COUNT(s, conflicts, 1);
        tell(w, t, WEIR_TEMPLATE_CONFLICT);
    }
    tell_waiting(w, id);
}

bool wire_template_outlived(const weir_stream *s, const wire_template *t)
{
    for (uint32_t i = 0; i < s->n_tracks; i++)
        if (s->tracks[i].port == t->pub.port)
            return t->told_by < s->tracks[i].told_since;
    return false;
}

bool wire_template_valid(uint16_t id, const wire_spec *specs, uint32_t n, uint32_t n_scope)
{
    return id >= 256 && n > 0 && n_scope <= n && lengths_ok(specs, n);
}

weir_status wire_template_restore(weir_stream *s, uint16_t id, bool options, const wire_spec *specs,
                                  uint32_t n, uint32_t n_scope, uint16_t port, uint32_t export_s,
                                  int64_t learnt_ns, int64_t seen_ns)
{
    if (s->n_templates >= s->d->opt.max_templates || n > s->d->opt.max_fields)
        return WEIR_ELIMIT;
    weir_fault why;
    wire_template *t = build_charged(s, seen_ns, id, options, specs, n, n_scope, NULL, &why);
    if (!t)
        return why == WEIR_FAULT_MEMORY ? WEIR_ENOMEM : WEIR_ELIMIT;
    if (!grow(s)) {
        template_free(s->d, t);
        return WEIR_ELIMIT;
    }
    t->pub.port = port;
    t->pub.learnt_ns = learnt_ns;
    t->pub.seen_ns = seen_ns;
    t->export_s = export_s;
    s->rated |= t->rates && !options;
    insert(s, t);
    WIRE_COUNT(s, templates, 1);
    return WEIR_OK;
}

/* ---- leaving ---- */

static void withdraw(wire_pass *w, wire_template *t)
{
    WIRE_COUNT(w->s, withdrawn, 1);
    tell(w, t, WEIR_TEMPLATE_WITHDRAWN);
    wire_template_drop(w->s, t);
}

void wire_template_withdraw(wire_pass *w, uint16_t id)
{
    wire_template *t = w->p->from.transport == WEIR_UDP ? NULL : wire_template_find(w->s, id);
    if (t)
        withdraw(w, t);
    else /* RFC 7011 section 8.1: unknown; section 8.4: any over UDP */
        WIRE_COUNT(w->s, withdrawals_ignored, 1);
}

void wire_templates_withdraw_all(wire_pass *w, bool options)
{
    weir_stream *s = w->s;
    if (w->p->from.transport == WEIR_UDP) {
        WIRE_COUNT(s, withdrawals_ignored, 1);
        return;
    }
    /* A message can ask for it thousands of times: no walk when there are none. */
    for (uint32_t i = 0; (options ? s->n_options : s->n_templates - s->n_options) > 0;) {
        wire_template *t = s->slots[i];
        if (t && t->pub.options == options)
            withdraw(w, t); /* another one may have moved into slot i */
        else
            i++;
    }
}

void wire_templates_expire(weir_stream *s, int64_t now_ns, const weir_packet *p)
{
    int64_t life_ns = (int64_t)s->d->opt.template_life_s * 1000000000;
    weir_packet none = {.received_ns = now_ns,
                        .from = s->e->address,
                        .version = s->key.version,
                        .domain = s->key.domain};
    none.from.transport = s->key.transport;
    none.from.port = s->port;
    if (s->key.transport != WEIR_UDP)
        return;
    for (uint32_t i = 0; i < s->n_slots;) {
        wire_template *t = s->slots[i];
        if (t && now_ns - t->pub.seen_ns > life_ns) {
            WIRE_COUNT(s, templates_expired, 1);
            if (s->d->on->tmpl)
                s->d->on->tmpl(s->d->user, p ? p : &none, &t->pub, WEIR_TEMPLATE_EXPIRED);
            wire_template_drop(s, t);
        } else {
            i++;
        }
    }
}
