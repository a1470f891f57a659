/* waiting -- data sets whose template has not come yet: kept per exporter within limits of octets and time, decoded
 * in order of arrival when it comes (RFC 7011 section 8, RFC 3954 section 9).
 *
 * Each held set hangs in three lists: of its template id (release), of its exporter and of the decoder (limits and
 * expiry, oldest first). Calls to handlers are made only where nothing of a list is in the air. */
#include "wire/wire.h"

#include <stdlib.h>
#include <string.h>

static wire_wait_id **bucket_of(weir_stream *s, uint16_t id)
{
    return &s->waits[(id * 0x9e3779b1u >> 16) % WIRE_WAIT_BUCKETS];
}

static wire_wait_id *wait_find(weir_stream *s, uint16_t id)
{
    if (!s->waits)
        return NULL;
    wire_wait_id *w = *bucket_of(s, id);
    while (w && w->id != id)
        w = w->next;
    return w;
}

static wire_wait_id *wait_make(weir_stream *s, uint16_t id)
{
    wire_wait_id *w = wait_find(s, id);
    if (w)
        return w;
    if (!s->waits && wire_charge(s->d, WIRE_WAIT_BUCKETS * sizeof(wire_wait_id *))) {
        s->waits = calloc(WIRE_WAIT_BUCKETS, sizeof(wire_wait_id *));
        if (!s->waits)
            s->d->state_octets -= WIRE_WAIT_BUCKETS * sizeof(wire_wait_id *);
    }
    w = s->waits ? malloc(sizeof *w) : NULL;
    if (!w)
        return NULL;
    wire_wait_id **bucket = bucket_of(s, id);
    *w = (wire_wait_id){.next = *bucket, .id = id};
    wire_list_init(&w->sets);
    *bucket = w;
    return w;
}

/* A waiting id without sets is dropped, so that their number is bounded by that of the sets. */
static void wait_drop_if_empty(weir_stream *s, wire_wait_id *w)
{
    if (w->sets.next != &w->sets)
        return;
    wire_wait_id **at = bucket_of(s, w->id);
    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
    free(w);
}

/* All that a held set costs, its share of the lists included. */
static size_t cost(size_t len)
{
    return sizeof(wire_held) + sizeof(wire_held_packet) + sizeof(wire_wait_id) + len;
}

/* Take a set out of all its lists; the caller frees it. */
static void unlink_held(wire_held *h)
{
    weir_stream *s = h->s;
    wire_list_remove(&h->by_id);
    wire_list_remove(&h->by_exporter);
    wire_list_remove(&h->by_age);
    wait_drop_if_empty(s, h->wait);
    s->n_waiting--;
    s->e->octets_waiting -= cost(h->len);
    s->d->waiting_octets -= cost(h->len);
    WIRE_UNCOUNT(s, sets_waiting, 1);
    WIRE_UNCOUNT(s, octets_waiting, h->len);
}

/* One set less of a packet that is not the one being decoded: count its state and say its last word. */
static void settle(weir_stream *s, wire_held_packet *hp, bool silent)
{
    weir_decoder *d = s->d;
    bool last = --hp->n_sets == 0;
    if (last && !silent) {
        WIRE_UNCOUNT(s, waiting, 1);
        if (hp->given_up)
            WIRE_COUNT(s, expired, 1);
        else
            WIRE_COUNT(s, decoded, 1);
    }
    if (d->on->end && !silent)
        d->on->end(d->user, &hp->packet,
                   !last          ? WEIR_PACKET_WAITING
                   : hp->given_up ? WEIR_PACKET_EXPIRED
                                  : WEIR_PACKET_DECODED,
                   NULL);
    if (last)
        free(hp);
}

/* Give a set up. own: the packet being decoded, whose end is still to come. */
static void give_up(wire_held *h, const wire_held_packet *own, bool overflow, bool silent)
{
    weir_stream *s = h->s;
    wire_held_packet *hp = h->packet;
    unlink_held(h);
    free(h);
    hp->given_up = true;
    if (overflow)
        WIRE_COUNT(s, sets_overflowed, 1);
    else
        WIRE_COUNT(s, sets_expired, 1);
    if (hp == own) {
        hp->n_sets--;
        return;
    }
    if (s->d->on->begin && !silent)
        s->d->on->begin(s->d->user, &hp->packet);
    settle(s, hp, silent);
}

static wire_held_packet *held_packet(wire_pass *w)
{
    if (!w->held) {
        w->held = calloc(1, sizeof *w->held);
        if (!w->held)
            return NULL;
        w->held->packet = *w->p;
        w->held->packet.late = true;
        w->held->packet.data = NULL;
        w->held->packet.len = 0;
    }
    return w->held;
}

bool wire_hold(wire_pass *w, uint16_t id, const uint8_t *body, size_t len)
{
    weir_decoder *d = w->d;
    weir_stream *s = w->s;
    wire_exporter *e = s->e;
    wire_held_packet *hp = held_packet(w);
    size_t need = cost(len);
    while (hp && e->waiting.next != &e->waiting &&
           (e->octets_waiting + need > d->opt.max_waiting_octets ||
            w->p->received_ns -
                    WIRE_OF(e->waiting.next, wire_held, by_exporter)->packet->packet.received_ns >
                (int64_t)d->opt.waiting_s * 1000000000))
        give_up(WIRE_OF(e->waiting.next, wire_held, by_exporter), hp,
                e->octets_waiting + need > d->opt.max_waiting_octets, false);
    while (hp && d->waiting.next != &d->waiting &&
           d->waiting_octets + need > d->opt.max_waiting_total)
        give_up(WIRE_OF(d->waiting.next, wire_held, by_age), hp, true, false);
    wire_held *h = NULL;
    wire_wait_id *wait = NULL;
    if (hp && need <= d->opt.max_waiting_octets && need <= d->opt.max_waiting_total) {
        h = malloc(sizeof *h + len);
        wait = h ? wait_make(s, id) : NULL;
    }
    if (!wait) {
        free(h);
        if (hp)
            hp->given_up = true;
        WIRE_COUNT(s, sets_overflowed, 1);
        return false;
    }
    h->s = s;
    h->packet = hp;
    h->wait = wait;
    h->len = (uint32_t)len;
    memcpy(h->body, body, len);
    wire_list_append(&wait->sets, &h->by_id);
    wire_list_append(&e->waiting, &h->by_exporter);
    wire_list_append(&d->waiting, &h->by_age);
    hp->n_sets++;
    s->n_waiting++;
    e->octets_waiting += need;
    d->waiting_octets += need;
    WIRE_COUNT(s, sets_waiting, 1);
    WIRE_COUNT(s, octets_waiting, len);
    return true;
}

/* The first set of this id that waits of this packet. They are the last of the list, for nothing came after them. */
static wire_held *first_of(wire_wait_id *wait, const wire_held_packet *hp)
{
    wire_held *first = NULL;
    for (wire_link *l = wait->sets.prev; l != &wait->sets; l = l->prev) {
        wire_held *h = WIRE_OF(l, wire_held, by_id);
        if (h->packet != hp)
            break;
        first = h;
    }
    return first;
}

void wire_release_own(wire_pass *w)
{
    weir_decoder *d = w->d;
    for (size_t i = 0; w->held && i < d->n_ready; i++) {
        const wire_template *t = wire_template_find(w->s, d->ready[i]);
        wire_wait_id *wait = t ? wait_find(w->s, d->ready[i]) : NULL;
        wire_held *h = wait ? first_of(wait, w->held) : NULL;
        while (h) {
            wire_held *next =
                h->by_id.next == &wait->sets ? NULL : WIRE_OF(h->by_id.next, wire_held, by_id);
            unlink_held(h); /* with the last one goes wait */
            w->held->n_sets--;
            WIRE_COUNT(w->s, sets_late, 1);
            wire_data_set(w, t, h->body, h->len, 0);
            free(h);
            h = next;
        }
    }
}

void wire_release_ready(weir_stream *s)
{
    weir_decoder *d = s->d;
    for (size_t i = 0; i < d->n_ready; i++) {
        wire_wait_id *wait;
        const wire_template *t;
        while ((t = wire_template_find(s, d->ready[i])) != NULL &&
               (wait = wait_find(s, d->ready[i])) != NULL) {
            wire_held *h = WIRE_OF(wait->sets.next, wire_held, by_id);
            wire_held_packet *hp = h->packet;
            wire_pass late = {.d = d, .s = s, .p = &hp->packet};
            unlink_held(h);
            WIRE_COUNT(s, sets_late, 1);
            if (d->on->begin)
                d->on->begin(d->user, &hp->packet);
            wire_data_set(&late, t, h->body, h->len, 0);
            free(h);
            settle(s, hp, false);
        }
    }
    d->n_ready = 0;
}

void wire_waiting_recheck(weir_stream *s, uint64_t id, uint64_t told_since)
{
    /* The last ones of the list: so a hostile packet costs no walk over all that waits. */
    for (wire_link *l = s->e->waiting.prev; l != &s->e->waiting; l = l->prev) {
        wire_held *h = WIRE_OF(l, wire_held, by_exporter);
        if (h->packet->packet.id < id)
            return;
        const wire_template *t = h->s == s ? wire_template_find(s, h->wait->id) : NULL;
        if (t && wire_template_holds(t, told_since, h->packet->packet.from.port))
            wire_template_ready(s, h->wait->id);
    }
}

void wire_waiting_expire(weir_decoder *d, int64_t now_ns)
{
    int64_t life_ns = (int64_t)d->opt.waiting_s * 1000000000;
    while (d->waiting.next != &d->waiting) {
        wire_held *h = WIRE_OF(d->waiting.next, wire_held, by_age);
        if (now_ns - h->packet->packet.received_ns <= life_ns)
            return;
        give_up(h, NULL, false, false);
    }
}

void wire_waiting_drop_stream(weir_stream *s)
{
    for (wire_link *l = s->e->waiting.next, *next; s->n_waiting > 0 && l != &s->e->waiting;
         l = next) {
        wire_held *h = WIRE_OF(l, wire_held, by_exporter);
        next = l->next;
        if (h->s == s)
            give_up(h, NULL, true, false);
    }
}

void wire_waiting_drop_all(weir_decoder *d, bool silent)
{
    while (d->waiting.next != &d->waiting)
        give_up(WIRE_OF(d->waiting.next, wire_held, by_age), NULL, false, silent);
}
