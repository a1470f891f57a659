/* sequence -- what an exporter sent and we did not get, in the protocol's own unit: flows (v5, v7), packets (v9),
 * data records (IPFIX, RFC 7011 section 3.1). Counted per source port of a stream, tolerant of reordering: a gap is
 * loss until what belongs there comes late; what was never missing is a duplicate. Jumps that nothing confirms are
 * not believed, so a forged number cannot hide loss (RFC 7011 section 11.6).
 *
 * Not every exporter counts what its protocol says. Where a number is not the expected one, but exactly that of another
 * numbering, the packet is put aside and so are those behind it (a doubt), until a number comes that only one of the two
 * explains: mostly the next one. Then all of them are counted, in the numbering that was right. Loss explains such
 * numbers too, if just the right amount is lost each time: what each difference weighs against that is summed up. */
#include "wire/wire.h"

#include <stdlib.h>
#include <string.h>

enum {
    MAX_LOSS_PACKETS = 1 << 16, /* v9: a larger jump is a restart or a forgery, not loss */
    MAX_LOSS_RECORDS = 1 << 22, /* v5, v7, IPFIX */
    BELIEVE_AHEAD = 2,          /* packets in a row that make a jump ahead true */
    BELIEVE_BACK = 3,           /* the same for a jump back, which a replay looks like */
    MOST_PACKETS_S = 1 << 14, /* of one stream; so far ahead it can be after a silence of seconds */
    MOST_RECORDS_S = 1 << 18,
    RESTART_SLACK_MS = 60000, /* between a boot and what clocks of whole seconds make of it */
    /* what differences weigh against their being loss, about in bits */
    WEIGHT_MOST = 4,
    WEIGHT_ENOUGH = 16, /* for another numbering */
    WEIGHT_ENOUGH_STRONG =
        9,               /* when one of the differences can be no loss: three of them at least */
    WEIGHT_STANDARD = 6, /* to go back to the standard */
    WEIGHT_CONVERSATIONS = 24,
    WEIGHT_SUSPECT = 6, /* not enough, but at the end of all packets nothing is said to be lost */
    STEP_STEADY = 8, /* so much can be lost each time: others of a few collectors get it in turns */
    PLAIN_MOST = 8,  /* differences that both explain, and twice as many as only the other does */
    BROKEN = 3,      /* impossible differences that end the belief in a numbering */
    WILD = 16,       /* numbers in a row that stand in no relation: they mean nothing */
    BELIEVE_NUMBERS = 8 /* packets in a row that go on from each other: they mean something again */
};

/* ---- numberings ---- */

#define BIT(numbering) (1u << (numbering))

static const char *const numberings[WIRE_N_NUMBERINGS] = {[WIRE_STANDARD] = "standard",
                                                          [WIRE_PACKETS] = "packets",
                                                          [WIRE_FLOWS_AFTER] = "flows-after",
                                                          [WIRE_RECORDS_AFTER] = "records-after",
                                                          [WIRE_FLOWS] = "flows",
                                                          [WIRE_RECORDS] = "records",
                                                          [WIRE_CONVERSATIONS] = "none",
                                                          [WIRE_NUMBERED_NOT] = "none"};

const char *wire_numbering_text(uint8_t numbering)
{
    return numberings[numbering];
}

const char *wire_numbering_unit(uint8_t numbering, uint16_t version)
{
    switch (version == 1 ? WIRE_STANDARD : numbering) {
    case WIRE_STANDARD:
        return weir_sequence_unit(version);
    case WIRE_FLOWS_AFTER:
        return "flows";
    case WIRE_RECORDS_AFTER:
        return "records";
    default:
        return numberings[numbering];
    }
}

/* What else exporters of this version might count, the standard too. */
static unsigned possible(uint16_t version)
{
    switch (version) {
    case 9:
        return BIT(WIRE_STANDARD) | BIT(WIRE_FLOWS_AFTER) | BIT(WIRE_RECORDS_AFTER) |
               BIT(WIRE_FLOWS) | BIT(WIRE_RECORDS) | BIT(WIRE_CONVERSATIONS);
    case 10:
        return BIT(WIRE_STANDARD) | BIT(WIRE_PACKETS) | BIT(WIRE_FLOWS_AFTER) |
               BIT(WIRE_RECORDS_AFTER) | BIT(WIRE_FLOWS);
    default:
        return BIT(WIRE_STANDARD) | BIT(WIRE_PACKETS) | BIT(WIRE_FLOWS_AFTER);
    }
}

static bool counts_packets(uint16_t version, uint8_t numbering)
{
    return numbering == WIRE_PACKETS || (numbering == WIRE_STANDARD && version == 9);
}

static bool counts_own(uint8_t numbering)
{
    return numbering == WIRE_FLOWS_AFTER || numbering == WIRE_RECORDS_AFTER;
}

/* By how much this packet takes the numbers on. */
static uint32_t units(uint16_t version, uint8_t numbering, const wire_heard *h)
{
    if (counts_packets(version, numbering))
        return 1;
    return numbering == WIRE_FLOWS || numbering == WIRE_FLOWS_AFTER ? h->flows : h->records;
}

/* The number of its first unit. */
static uint32_t first(uint16_t version, uint8_t numbering, const wire_heard *h)
{
    return h->sequence - (counts_own(numbering) ? units(version, numbering, h) : 0);
}

/* Whether one packet goes on exactly where the one before it ends. */
static bool goes_on(uint16_t version, uint8_t numbering, const wire_heard *before,
                    const wire_heard *h)
{
    if (numbering == WIRE_CONVERSATIONS) {
        uint32_t step = h->sequence - before->sequence;
        return step >= before->flows / 2 + before->flows % 2 && step <= before->flows;
    }
    return first(version, numbering, h) ==
           first(version, numbering, before) + units(version, numbering, before);
}

static void settle(weir_stream *s, wire_track *t, uint8_t numbering);

static wire_track *track_new(weir_stream *s, uint16_t port)
{
    uint32_t at = s->n_tracks;
    if (s->n_tracks == WIRE_MAX_TRACKS) {
        at = 0;
        for (uint32_t i = 1; i < s->n_tracks; i++)
            if (s->tracks[i].seen_ns < s->tracks[at].seen_ns)
                at = i;
        settle(s, &s->tracks[at], s->tracks[at].numbering);
    } else {
        if (!wire_charge(s->d, sizeof *s->tracks))
            return NULL;
        wire_track *grown = realloc(s->tracks, (s->n_tracks + 1) * sizeof *grown);
        if (!grown) {
            s->d->state_octets -= sizeof *s->tracks;
            return NULL;
        }
        s->tracks = grown;
        s->n_tracks++;
    }
    uint8_t numbering = s->n_tracks > 1 ? s->tracks[s->last_track].numbering : WIRE_STANDARD;
    s->tracks[at] = (wire_track){.port = port, .numbering = numbering};
    s->last_track = at;
    return &s->tracks[at];
}

static wire_doubt *doubt_new(weir_stream *s)
{
    if (!wire_charge(s->d, sizeof(wire_doubt)))
        return NULL;
    wire_doubt *q = calloc(1, sizeof *q);
    if (!q)
        s->d->state_octets -= sizeof *q;
    return q;
}

static void doubt_free(weir_stream *s, wire_doubt *q)
{
    if (q)
        s->d->state_octets -= sizeof *q;
    free(q);
}

void wire_tracks_free(weir_stream *s)
{
    for (uint32_t i = 0; i < s->n_tracks; i++)
        doubt_free(s, s->tracks[i].doubt);
    s->d->state_octets -= s->n_tracks * sizeof *s->tracks;
    free(s->tracks);
    s->tracks = NULL;
    s->n_tracks = s->last_track = 0;
}

bool wire_track_restore(weir_stream *s, const wire_track *track, const wire_doubt *q)
{
    wire_track *t = wire_track_of(s, track->port, 0);
    if (!t)
        return false;
    doubt_free(s, t->doubt); /* a port that is there twice */
    *t = *track;
    if (q->n == 0)
        return true;
    t->doubt = doubt_new(s);
    if (t->doubt)
        *t->doubt = *q;
    return t->doubt;
}

wire_track *wire_track_of(weir_stream *s, uint16_t port, uint32_t sequence)
{
    if (s->n_tracks && s->tracks[s->last_track].port == port)
        return &s->tracks[s->last_track];
    for (uint32_t i = 0; i < s->n_tracks; i++)
        if (s->tracks[i].port == port) {
            s->last_track = i;
            return &s->tracks[i];
        }
    /* An exporter that went on with its numbers from another port is the same exporter. */
    for (uint32_t i = 0; i < s->n_tracks; i++)
        if (s->tracks[i].started && s->tracks[i].next == sequence && sequence != 0) {
            s->last_track = i;
            s->tracks[i].port = port;
            return &s->tracks[i];
        }
    return track_new(s, port);
}

/* Drop what a v9 process that has restarted had said: its ids start anew (RFC 3954 section 9). */
static void drop_templates_of(weir_stream *s, uint16_t port)
{
    for (uint32_t i = 0; i < s->n_slots;) {
        wire_template *t = s->slots[i];
        if (t && t->pub.port == port)
            wire_template_drop(s, t);
        else
            i++;
    }
}

bool wire_restarted(weir_stream *s, const weir_packet *p)
{
    wire_track *t = wire_track_of(s, p->from.port, p->sequence);
    if (!t)
        return false;
    uint32_t uptime = p->uptime_ms, now = (uint32_t)((uint64_t)p->export_s * 1000);
    uint32_t elapsed =
        now - (t->boot32 + t->uptime_ms); /* since the last packet, by the exporter's clock */
    bool known = t->boot32 || t->uptime_ms;
    bool stale = known && (int32_t)elapsed < 0; /* overtaken by a later one */
    /* A restart is a boot after the last packet. Uptime that wraps, that wobbles between line cards or a clock that is
     * set do not make one: the exporter is then up for longer than has passed. */
    int32_t moved = (int32_t)(now - uptime - t->boot32); /* the boot, on the circle of 2^32 ms */
    bool wrapped = (uint64_t)t->uptime_ms + elapsed + RESTART_SLACK_MS > UINT32_MAX &&
                   moved <= RESTART_SLACK_MS && moved >= -RESTART_SLACK_MS;
    bool restarted = known && !stale && !wrapped && uptime < t->uptime_ms &&
                     uptime <= elapsed + RESTART_SLACK_MS;
    if (!stale) {
        t->uptime_ms = uptime;
        t->boot32 = now - uptime;
    }
    if (restarted) {
        drop_templates_of(s, p->from.port);
        settle(s, t, t->numbering);
        t->started = false;
        t->n_gaps = 0;
        t->chain = 0;
        WIRE_COUNT(s, sequence_resets, 1);
    }
    return restarted;
}

static void remember_gap(wire_track *t, wire_gap gap)
{
    if (t->n_gaps == WIRE_MAX_GAPS) { /* the oldest stays lost for good */
        memmove(t->gaps, t->gaps + 1, (WIRE_MAX_GAPS - 1) * sizeof *t->gaps);
        t->n_gaps--;
    }
    t->gaps[t->n_gaps++] = gap;
}

static void forget_gap(wire_track *t, uint32_t i)
{
    memmove(t->gaps + i, t->gaps + i + 1, (t->n_gaps - i - 1u) * sizeof *t->gaps);
    t->n_gaps--;
}

/* Units [seq, seq + n) came late: how many of them fill a gap, and whether that is of before a restart. */
static uint32_t fill_gap(wire_track *t, uint32_t seq, uint32_t n, bool *restored)
{
    for (uint32_t i = 0; i < t->n_gaps; i++) {
        wire_gap *g = &t->gaps[i];
        uint32_t size = g->to - g->from, in = seq - g->from;
        if (in >= size)
            continue;
        uint32_t filled = n < size - in ? n : size - in;
        wire_gap rest = {seq + filled, g->to, g->restored};
        *restored = g->restored;
        g->to = seq;
        if (g->to == g->from) {
            if (rest.from == rest.to)
                forget_gap(t, i);
            else
                *g = rest;
        } else if (rest.from != rest.to) {
            remember_gap(t, rest);
        }
        return filled;
    }
    return 0;
}

/* A number far from what was expected: believed once `needed` packets in a row have gone on from it. */
static bool believed(wire_track *t, uint32_t seq, uint32_t n, uint8_t needed, uint32_t most,
                     bool unsure)
{
    if (t->chain == 0 || seq != t->jump) {
        t->chain = 0;
        t->chain_duplicated = 0;
        t->jump_from = seq;
        t->jump_most = most;
        t->jump_unsure = unsure;
    }
    t->chain++;
    t->jump = seq + n;
    if (t->chain < needed)
        return false;
    t->chain = 0;
    return true;
}

static void follow(wire_track *t, uint32_t seq, uint32_t n)
{
    t->next = seq + n;
    t->n_gaps = 0;
}

/* What is between t->next and seq has not come. */
static void missed(weir_stream *s, wire_track *t, uint32_t seq, bool unsure)
{
    if (unsure) {
        WIRE_COUNT(s, sequence_unsure, 1);
        return;
    }
    WIRE_COUNT(s, sequence_lost, seq - t->next);
    remember_gap(t, (wire_gap){t->next, seq, false});
}

/* How far ahead a stream can be that was not heard for so long: it was out of reach, or we were not there. */
static uint32_t most_after(bool packets, int64_t silent_ns)
{
    int64_t silent_s = silent_ns < 0 ? 0 : silent_ns / 1000000000;
    int64_t a_second = packets ? MOST_PACKETS_S : MOST_RECORDS_S;
    return silent_s > INT32_MAX / a_second ? INT32_MAX : (uint32_t)(silent_s * a_second);
}

/* Units [seq, seq + n) have come. unsure: a gap before them may be no gap. False: that stands in no relation to anything. */
static bool track(weir_stream *s, wire_track *t, uint32_t seq, uint32_t n, int64_t silent_ns,
                  bool unsure)
{
    bool packets = counts_packets(s->key.version, t->numbering);
    uint32_t most = packets ? MAX_LOSS_PACKETS : MAX_LOSS_RECORDS;
    uint32_t after = most_after(packets, silent_ns);
    int32_t ahead = (int32_t)(seq - t->next);
    if (!t->started) {
        t->started = true;
        t->n_gaps = 0;
        t->chain = 0;
        t->next = seq + n;
    } else if (ahead == 0) {
        t->next += n;
        t->chain = 0;
    } else if (ahead > 0 && (uint32_t)ahead <= most) {
        missed(s, t, seq, unsure);
        t->next = seq + n;
        t->chain = 0;
    } else if (ahead > 0) {
        if (!believed(t, seq, n, BELIEVE_AHEAD, after, unsure))
            return t->chain > 1;
        if (t->jump_from - t->next <= t->jump_most) {
            missed(s, t, t->jump_from, t->jump_unsure);
            t->next = seq + n;
        } else {
            WIRE_COUNT(s, sequence_resets, 1);
            follow(t, seq, n);
        }
    } else {
        bool restored = false;
        uint32_t late = fill_gap(t, seq, n, &restored);
        if (late > 0 || (n == 0 && t->next - seq <= most)) {
            WIRE_COUNT(s, sequence_out_of_order, 1);
            if (restored)
                WIRE_COUNT(s, sequence_recovered, late);
            else
                WIRE_UNCOUNT(s, sequence_lost, late);
        } else if (believed(t, seq, n, BELIEVE_BACK, 0, unsure)) {
            WIRE_COUNT(s, sequence_resets, 1);
            WIRE_UNCOUNT(s, sequence_duplicated, t->chain_duplicated);
            follow(t, seq, n);
        } else {
            WIRE_COUNT(s, sequence_duplicated, 1);
            t->chain_duplicated++;
            return t->chain > 1;
        }
    }
    return true;
}

/* Numbers that mean nothing, until they do again. */
static void unnumbered(weir_stream *s, wire_track *t, const wire_heard *h)
{
    uint32_t n = units(s->key.version, WIRE_STANDARD, h);
    WIRE_COUNT(s, sequence_unsure, 1);
    if (h->sequence != t->jump)
        t->chain = 0;
    if (n > 0)
        t->chain++;
    t->jump = h->sequence + n;
    if (t->chain < BELIEVE_NUMBERS)
        return;
    t->numbering = WIRE_STANDARD;
    t->chain = t->wild = t->twins = 0;
    t->unsure = h->unsure && s->key.version == 10;
    follow(t, h->sequence, n);
}

/* The packets before h had numbers that stood in no relation, as has h: after many of them, they mean nothing. The same packet
 * again and again is a loop on its way. */
static void note_wild(weir_stream *s, wire_track *t, const wire_heard *before, const wire_heard *h,
                      uint64_t duplicated)
{
    if (t->wild == 0)
        t->wild_duplicated = 0;
    if (h->sequence == before->sequence && h->flows == before->flows &&
        h->records == before->records)
        return;
    t->wild++;
    t->wild_duplicated = (uint8_t)(t->wild_duplicated + (s->c.sequence_duplicated - duplicated));
    if (t->wild < WILD)
        return;
    WIRE_UNCOUNT(s, sequence_duplicated, t->wild_duplicated);
    WIRE_COUNT(s, sequence_unsure, t->wild);
    t->numbering = WIRE_NUMBERED_NOT;
    t->chain = t->wild = 0;
}

/* Count a packet in the track's numbering. before: the one before it. */
static void place(weir_stream *s, wire_track *t, const wire_heard *before, const wire_heard *h)
{
    uint16_t version = s->key.version;
    if (t->numbering == WIRE_NUMBERED_NOT && t->started) {
        unnumbered(s, t, h);
        return;
    }
    uint32_t n = units(version, t->numbering, h), seq = first(version, t->numbering, h);
    bool own = counts_own(t->numbering);
    uint64_t duplicated = s->c.sequence_duplicated;
    bool related = track(s, t, seq, n, h->silent_ns, own ? h->unsure : t->unsure);
    if (t->next == seq + n) /* nothing that is late or that nobody believes yet */
        t->unsure = h->unsure && !own && !counts_packets(version, t->numbering);
    if (related)
        t->wild = 0;
    else
        note_wild(s, t, before, h, duplicated);
}

/* ---- doubts ---- */

static void settle(weir_stream *s, wire_track *t, uint8_t numbering)
{
    wire_doubt *q = t->doubt;
    if (!q)
        return;
    t->doubt = NULL;
    if (numbering != t->numbering) {
        uint16_t version = s->key.version;
        t->numbering = numbering;
        t->twins = numbering == WIRE_STANDARD
                       ? 0
                       : (uint8_t)(q->alive & ~(BIT(WIRE_CONVERSATIONS) | BIT(numbering)));
        t->suspects = t->score = t->broken = t->chain = t->wild = 0;
        t->unsure = false;
        follow(t, first(version, numbering, &q->before), units(version, numbering, &q->before));
    }
    for (uint32_t i = 0; i < q->n; i++)
        place(s, t, i ? &q->held[i - 1] : &q->before, &q->held[i]);
    doubt_free(s, q);
}

/* Go on behind the last packet: what its numbering makes of the differences is not worth much. */
static void give_up(weir_stream *s, wire_track *t, const wire_heard *last)
{
    wire_doubt *q = t->doubt;
    uint16_t version = s->key.version;
    WIRE_COUNT(s, sequence_unsure, q->odd);
    follow(t, first(version, t->numbering, last), units(version, t->numbering, last));
    t->chain = 0;
    t->unsure = false;
    t->doubt = NULL;
    doubt_free(s, q);
}

/* What a packet covers begins within what the one before it does: neither loss nor any order of arrival does that. */
static bool impossible(uint16_t version, uint8_t numbering, const wire_heard *before,
                       const wire_heard *h)
{
    uint32_t n = units(version, numbering, before);
    uint32_t in = first(version, numbering, h) - first(version, numbering, before);
    if (in == 0) /* not the same packet again */
        return n > 0 && (h->flows != before->flows || h->records != before->records);
    return in < n;
}

/* Numberings other than the track's by which h goes on from the packet before it. */
static unsigned others(const weir_stream *s, const wire_track *t, const wire_heard *h)
{
    uint16_t version = s->key.version;
    unsigned may = possible(version) & ~BIT(t->numbering), found = 0;
    for (uint8_t i = 0; i < WIRE_N_NUMBERINGS; i++)
        if (may & BIT(i) && goes_on(version, i, &t->last, h))
            found |= BIT(i);
    return found;
}

/* How unlikely it is that loss has made just this difference. */
static void weigh(const weir_stream *s, const wire_track *t, wire_doubt *q, const wire_heard *h)
{
    uint16_t version = s->key.version;
    uint32_t step = h->sequence - t->last.sequence;
    bool same = step == q->step;
    if (impossible(version, t->numbering, &t->last, h)) {
        q->strong = true;
        q->score += WEIGHT_MOST;
        return;
    }
    int32_t ahead =
        (int32_t)(first(version, t->numbering, h) - first(version, t->numbering, &t->last) -
                  units(version, t->numbering, &t->last));
    if (ahead > 0 && !(same && ahead < STEP_STEADY))
        for (uint32_t left = (uint32_t)ahead, n = 0; left > 0 && n < WEIGHT_MOST; left /= 2, n++)
            q->score++;
    if (!same && t->last.flows > 2)
        q->loose++;
}

/* The numbering that a doubt has found, or that of the track. */
static uint8_t decided(const wire_track *t, const wire_doubt *q)
{
    unsigned exact = q->alive & ~BIT(WIRE_CONVERSATIONS), before = exact & t->suspects;
    if (exact & t->twins && q->score > 0)
        return (uint8_t)__builtin_ctz(exact & t->twins);
    if (!exact)
        return q->loose >= WEIGHT_CONVERSATIONS ? (uint8_t)WIRE_NUMBERED_NOT : t->numbering;
    unsigned score = q->score + (before ? t->score : 0u);
    if (exact & BIT(WIRE_STANDARD) && score >= WEIGHT_STANDARD)
        return WIRE_STANDARD;
    if (score < (q->strong ? WEIGHT_ENOUGH_STRONG : WEIGHT_ENOUGH))
        return t->numbering;
    return (uint8_t)__builtin_ctz(before ? before : exact);
}

/* False: this packet has ended the doubt and is not among those held. */
static bool hold(weir_stream *s, wire_track *t, const wire_heard *h, unsigned explained)
{
    wire_doubt *q = t->doubt;
    q->alive &= (uint8_t)explained;
    if (h->unsure || !q->alive) {
        if (!q->alive)
            t->suspects = t->score = 0;
        settle(s, t, t->numbering);
        return false;
    }
    if (goes_on(s->key.version, t->numbering, &t->last, h)) {
        q->plain++;
    } else {
        q->odd++;
        weigh(s, t, q, h);
    }
    q->step = h->sequence - t->last.sequence;
    q->held[q->n++] = *h;
    uint8_t numbering = decided(t, q);
    if (numbering != t->numbering) {
        settle(s, t, numbering);
        return true;
    }
    unsigned exact = q->alive & ~BIT(WIRE_CONVERSATIONS);
    if (q->n == WIRE_MAX_HELD || q->plain > (exact ? PLAIN_MOST + 2 * q->odd : q->odd)) {
        unsigned score = q->score + (exact & t->suspects ? t->score : 0u);
        t->suspects = (uint8_t)exact;
        t->score = exact ? (uint8_t)(score < UINT8_MAX ? score : UINT8_MAX) : 0;
        if (q->strong)
            give_up(s, t, h);
        else
            settle(s, t, numbering);
    }
    return true;
}

/* A packet that is not what was expected, or whose track is not of the common kind. */
static void judge(weir_stream *s, wire_track *t, const wire_heard *h)
{
    uint16_t version = s->key.version;
    bool known = t->started && t->heard && !t->last.unsure && t->numbering != WIRE_NUMBERED_NOT;
    unsigned explained = known ? others(s, t, h) : 0;
    if (t->doubt && hold(s, t, h, explained))
        return;
    known = known && !h->unsure && t->numbering != WIRE_NUMBERED_NOT;
    if (!known || first(version, t->numbering, h) == t->next ||
        goes_on(version, t->numbering, &t->last, h)) {
        place(s, t, &t->last, h);
        return;
    }
    if (explained && (t->doubt = doubt_new(s))) {
        t->doubt->before = t->last;
        t->doubt->alive = (uint8_t)explained;
        if (hold(s, t, h, explained))
            return;
    }
    t->suspects = t->score = 0;
    if (t->numbering != WIRE_STANDARD && impossible(version, t->numbering, &t->last, h) &&
        ++t->broken >= BROKEN) {
        t->numbering = WIRE_STANDARD;
        t->broken = t->chain = t->twins = 0;
        follow(t, h->sequence, 0); /* and go on from here */
    }
    place(s, t, &t->last, h);
}

void wire_sequence_finish(weir_stream *s)
{
    for (uint32_t i = 0; i < s->n_tracks; i++) {
        wire_track *t = &s->tracks[i];
        wire_doubt *q = t->doubt;
        if (q && q->score >= WEIGHT_SUSPECT && q->alive & ~BIT(WIRE_CONVERSATIONS))
            give_up(s, t, &t->last);
        else
            settle(s, t, t->numbering);
    }
}

void wire_sequence(wire_pass *w)
{
    const weir_packet *p = w->p;
    if (p->version == 1)
        return;
    weir_stream *s = w->s;
    wire_track *t = wire_track_of(s, p->from.port, p->sequence);
    if (!t)
        return;
    wire_heard h = {.silent_ns = p->received_ns - t->seen_ns,
                    .sequence = p->sequence,
                    .flows = p->version < 9 ? p->count : w->flows,
                    .records = p->version < 9 ? p->count : w->units,
                    .unsure = w->unsure};
    t->seen_ns = p->received_ns;
    if (p->sequence == t->next && t->numbering == WIRE_STANDARD && t->started && !t->doubt) {
        t->next += p->version == 9 ? 1 : h.records;
        t->chain = t->wild = 0;
        t->unsure = w->unsure && p->version == 10;
    } else {
        judge(s, t, &h);
    }
    t->last = h;
    t->heard = true;
}
