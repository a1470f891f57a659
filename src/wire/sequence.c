/* sequence -- what an exporter sent and we did not get, in the protocol's own unit: flows (v5, v7), packets (v9),
 * data records (IPFIX, RFC 7011 section 3.1). Counted per source port of a stream, tolerant of reordering: a gap is
 * loss until what belongs there comes late; what was never missing is a duplicate.
 *
 * Jumps that nothing confirms are not believed, so a forged number can neither hide loss (RFC 7011 section 11.6) nor be
 * taken for it: farther ahead than packets overtake each other, a number counts when the next packet is behind it. What
 * lies between is loss when the exporter can have sent it meanwhile, by the time that has passed and by what it had sent a
 * second before; else nobody knows what it is, and it is unsure, and counting begins anew. Where the next packet goes on
 * with the old numbers, the jump was one packet's alone: it is forgiven, and unsure.
 *
 * Not every exporter counts what its protocol says. Where a number is not the expected one, but exactly that of another
 * numbering, the packet is put aside and so are those behind it (a doubt), until a number comes that only one of the two
 * explains: mostly the next one. Then all of them are counted, in the numbering that was right. Loss explains such
 * numbers too, if just the right amount is lost each time: what each difference weighs against that is summed up. */
#include "wire/wire.h"

#include <stdlib.h>
#include <string.h>

static const uint64_t SECOND_NS = 1000000000;

enum {
    /* Units are packets, or flows and records; of these, what so many packets have. */
    NEAR_PACKETS = 128, /* so far ahead a number is believed at once: a few lost, or overtaken */
    NEAR_RECORDS = 4096,
    BURST_PACKETS = 1 << 14, /* so many can get lost, or come twice, at once */
    BURST_RECORDS = 1 << 18,
    MOST_PACKETS_S =
        1 << 14, /* so many a second may come of an exporter whose rate is not known, */
    MOST_RECORDS_S = 1 << 18,
    LEAST_PACKETS_S = 1 << 9, /* and of one that was slow */
    LEAST_RECORDS_S = 1 << 13,
    FASTER = 8,            /* so many times what it had sent a second, an exporter may send */
    FASTEST_S = 100000000, /* and no more than this */
    RATE_MEMORY = 64,      /* a rate that is not reached again is forgotten by this part a second */
    BELIEVE_BACK = 3,      /* packets in a row that make a jump back true; a replay looks so too */
    CHAIN_AGE = 4,         /* packets that a jump ahead waits for the one behind it */
    RESTART_SLACK_MS = 60000, /* between a boot and what a clock that is not yet set makes of it */
    BOOT_JITTER_MS = 2000,    /* between two packets' boots: clocks of whole seconds, delays */
    RESTART_KEEP_S = 60,      /* templates of before a restart are kept for so long */
    AGAINST = 3,              /* packets of others that end the suspicion of a restart, */
    MOST_ASIDE = 16,          /* and so many that were put aside because of it */
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

static void leave(weir_stream *s, wire_track *t);

static wire_track *track_new(weir_stream *s, uint16_t port)
{
    uint32_t at = s->n_tracks;
    if (s->n_tracks == WIRE_MAX_TRACKS) {
        /* Those heard for less than a second go first: packets from forged ports leave the others where they are. */
        at = 0;
        for (uint32_t i = 1; i < s->n_tracks; i++) {
            const wire_track *a = &s->tracks[i], *b = &s->tracks[at];
            if (!a->rate == !b->rate ? a->seen_ns < b->seen_ns : !a->rate)
                at = i;
        }
        leave(s, &s->tracks[at]);
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
    for (uint32_t i = 0; n > 0 && i < t->n_gaps; i++) {
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

/* Units [seq, seq + n) were missing, or some of them. */
static bool came_late(weir_stream *s, wire_track *t, uint32_t seq, uint32_t n)
{
    bool restored = false;
    uint32_t late = fill_gap(t, seq, n, &restored);
    if (late == 0)
        return false;
    WIRE_COUNT(s, sequence_out_of_order, 1);
    if (restored)
        WIRE_COUNT(s, sequence_recovered, late);
    else
        WIRE_UNCOUNT(s, sequence_lost, late);
    return true;
}

/* What is between t->next and seq has not come, but for what came too early. */
static void missed(weir_stream *s, wire_track *t, uint32_t seq, bool unsure)
{
    if (unsure) {
        WIRE_COUNT(s, sequence_unsure, 1);
        return;
    }
    uint32_t from = t->next, early = t->early_to - t->early_from;
    if (early && t->early_from - from < seq - from && seq - t->early_to < seq - from) {
        WIRE_COUNT(s, sequence_out_of_order, 1);
        WIRE_COUNT(s, sequence_lost, t->early_from - from);
        if (t->early_from != from)
            remember_gap(t, (wire_gap){from, t->early_from, false});
        from = t->early_to;
        t->early_to = t->early_from;
    }
    WIRE_COUNT(s, sequence_lost, seq - from);
    if (seq != from)
        remember_gap(t, (wire_gap){from, seq, false});
}

/* ---- jumps ---- */

/* How far ahead a stream can be that was not heard for so long: what it sent was lost, or we were not there. */
static uint32_t reach(const wire_track *t, bool packets, int64_t silent_ns)
{
    const uint64_t cap = FASTEST_S, tenth = SECOND_NS / 10;
    uint64_t span = (uint64_t)(t->seen_ns - t->window_ns);
    uint64_t units_s = t->window_units < cap ? t->window_units : cap;
    units_s = units_s * SECOND_NS / (span < tenth || span > INT64_MAX ? tenth : span);
    if (units_s < t->rate)
        units_s = t->rate;
    units_s *= FASTER;
    uint64_t least = t->rate   ? (packets ? LEAST_PACKETS_S : LEAST_RECORDS_S)
                     : packets ? MOST_PACKETS_S
                               : MOST_RECORDS_S;
    units_s = units_s < least ? least : units_s > cap ? cap : units_s;
    /* A second more: arrivals are told late when the collector was busy. */
    uint64_t ms = 1000 + (silent_ns > 0 ? (uint64_t)silent_ns / 1000000 : 0);
    ms = ms < INT32_MAX ? ms : INT32_MAX;
    uint64_t all = (packets ? BURST_PACKETS : BURST_RECORDS) + units_s * ms / 1000;
    return all < INT32_MAX ? (uint32_t)all : INT32_MAX;
}

/* A jump that nobody goes on from was one packet's alone. */
static void forgive(weir_stream *s, wire_track *t)
{
    if (t->chain == 0)
        return;
    t->chain = 0;
    if (!t->jump_back) { /* should the numbers get there, it came too early */
        t->early_from = t->jump_from;
        t->early_to = t->jump;
    }
    if (!t->jump_back || t->chain_duplicated == 0)
        WIRE_COUNT(s, sequence_unsure, 1);
}

static void jump(weir_stream *s, wire_track *t, uint32_t seq, uint32_t n, bool back)
{
    forgive(s, t);
    t->chain = 1;
    t->chain_age = t->chain_duplicated = 0;
    t->jump_back = back;
    t->jump_from = seq;
    t->jump = seq + n;
}

/* Count on from next, without what is before it. Numbers that begin anew, near 0, are a restart; of others nobody knows what
 * was between. */
static void begin_anew(weir_stream *s, wire_track *t, uint32_t near, uint32_t next)
{
    WIRE_COUNT(s, sequence_resets, 1);
    if (t->jump_from > near)
        WIRE_COUNT(s, sequence_unsure, 1);
    t->chain = t->n_gaps = 0;
    t->early_to = t->early_from;
    t->next = next;
}

/* The jump ahead is true. */
static void believe(weir_stream *s, wire_track *t, uint32_t near)
{
    if (t->jump_from - t->next > t->jump_most) {
        begin_anew(s, t, near, t->jump);
        t->unsure = t->jump_vague;
        return;
    }
    missed(s, t, t->jump_from, t->jump_unsure);
    t->next = t->jump;
    t->unsure = t->jump_vague;
    t->chain = 0;
}

static void follow(wire_track *t, uint32_t seq, uint32_t n)
{
    t->next = seq + n;
    t->n_gaps = 0;
    t->early_to = t->early_from;
}

/* Units [seq, seq + n) that are before t->next, and before what a jump ahead would make of it. False: that stands in no
 * relation to anything. */
static bool track_back(weir_stream *s, wire_track *t, uint32_t seq, uint32_t n, bool packets)
{
    uint32_t back = t->next - seq;
    bool recent = back <= (packets ? (uint32_t)BURST_PACKETS : (uint32_t)BURST_RECORDS);
    if (came_late(s, t, seq, n))
        return true;
    if (n == 0 && recent) {
        WIRE_COUNT(s, sequence_out_of_order, 1);
        return true;
    }
    if (recent)
        WIRE_COUNT(s, sequence_duplicated, 1);
    if (recent && t->chain && !t->jump_back && ++t->chain_age < CHAIN_AGE)
        return false;
    bool on = t->chain && t->jump_back && seq == t->jump;
    if (on) {
        t->chain++;
        t->jump = seq + n;
    } else {
        jump(s, t, seq, n, true);
    }
    t->chain_duplicated = (uint8_t)(t->chain_duplicated + recent);
    if (t->chain >= WIRE_BELIEVE_BACK) {
        WIRE_UNCOUNT(s, sequence_duplicated, t->chain_duplicated);
        begin_anew(s, t, packets ? NEAR_PACKETS : NEAR_RECORDS, t->jump);
    }
    return on;
}

/* A packet's units have come, [seq, seq + n). False: that stands in no relation to anything. */
static bool track(weir_stream *s, wire_track *t, const wire_heard *h, uint32_t seq, uint32_t n)
{
    bool packets = counts_packets(s->key.version, t->numbering), own = counts_own(t->numbering);
    uint32_t near = packets ? NEAR_PACKETS : NEAR_RECORDS;
    uint32_t burst = packets ? BURST_PACKETS : BURST_RECORDS;
    if (!t->started) {
        t->started = true;
        t->chain = 0;
        follow(t, seq, n);
        return true;
    }
    bool related = false;
    if (t->chain && !t->jump_back && seq - t->next > near) {
        if (seq - t->jump_from < t->jump - t->jump_from) {
            WIRE_COUNT(s, sequence_duplicated, 1);
            return false;
        }
        if (seq == t->jump && t->jump == t->jump_from) { /* nothing was in it */
            t->jump = seq + n;
            return false;
        }
        if (seq - t->jump <= burst) {
            believe(s, t, near);
            related = true;
        }
    }
    uint32_t ahead = seq - t->next;
    if (ahead <= near) {
        forgive(s, t);
        if (ahead > 0)
            missed(s, t, seq, own ? h->unsure : t->unsure);
        t->next = seq + n;
        return true;
    }
    if (ahead > INT32_MAX)
        return track_back(s, t, seq, n, packets) || related;
    uint32_t most = reach(t, packets, h->silent_ns);
    jump(s, t, seq, n, false);
    t->jump_most = most;
    t->jump_unsure = own ? h->unsure : t->unsure;
    t->jump_vague = h->unsure && !own && !packets;
    return related;
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
                      uint64_t duplicated, uint64_t unsure)
{
    if (t->wild == 0)
        t->wild_duplicated = t->wild_unsure = 0;
    if (h->sequence == before->sequence && h->flows == before->flows &&
        h->records == before->records)
        return;
    t->wild++;
    t->wild_duplicated = (uint8_t)(t->wild_duplicated + (s->c.sequence_duplicated - duplicated));
    t->wild_unsure = (uint8_t)(t->wild_unsure + (s->c.sequence_unsure - unsure));
    if (t->wild < WILD)
        return;
    WIRE_UNCOUNT(s, sequence_duplicated, t->wild_duplicated);
    if (t->wild > t->wild_unsure)
        WIRE_COUNT(s, sequence_unsure, t->wild - t->wild_unsure);
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
    uint64_t duplicated = s->c.sequence_duplicated, uncertain = s->c.sequence_unsure;
    bool related = track(s, t, h, seq, n);
    if (t->next == seq + n) /* nothing that is late or that nobody believes yet */
        t->unsure = h->unsure && !own && !counts_packets(version, t->numbering);
    if (related)
        t->wild = 0;
    else
        note_wild(s, t, before, h, duplicated, uncertain);
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
        unsigned others = q->alive & ~(BIT(WIRE_CONVERSATIONS) | BIT(numbering));
        t->twins = (uint8_t)(numbering == WIRE_STANDARD ? 0 : others);
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

/* Nothing more will come: decide what is open. */
static void leave(weir_stream *s, wire_track *t)
{
    wire_doubt *q = t->doubt;
    bool packets = counts_packets(s->key.version, t->numbering);
    if (q && q->score >= WEIGHT_SUSPECT && q->alive & ~BIT(WIRE_CONVERSATIONS))
        give_up(s, t, &t->last);
    else
        settle(s, t, t->numbering);
    /* A jump ahead is loss or one packet's number: what can be loss is, for nothing else will tell. */
    if (t->numbering == WIRE_NUMBERED_NOT)
        t->chain = 0;
    else if (t->chain && !t->jump_back && t->jump_from - t->next <= t->jump_most)
        believe(s, t, packets ? NEAR_PACKETS : NEAR_RECORDS);
    forgive(s, t);
    if (t->newcomer.open)
        WIRE_COUNT(s, sequence_unsure, 1);
    t->newcomer.open = false;
}

void wire_sequence_finish(weir_stream *s)
{
    for (uint32_t i = 0; i < s->n_tracks; i++)
        leave(s, &s->tracks[i]);
}

/* ---- restarts of v9 exporters ----
 *
 * A process that has restarted counts uptime and packets from 0 and gives out template ids anew, so what was said before
 * does not hold for its data (RFC 3954 sections 9 and 10: templates are of one boot). Read by them, its records could be
 * wrong without a word; but templates dropped too soon make everything wait for as long as the exporter does not repeat
 * them, and one forged, damaged or stray packet would be enough for that. So:
 *
 * - A packet whose uptime is lower than it was, and whose boot is later than the last packet, is suspected when its number does
 *   not go on from the old ones. It is put aside: its data waits, save what its own templates describe; its number counts
 *   for nothing yet. The known templates stay.
 * - The next packet of the same boot whose number goes on from it makes the restart true: templates that were told before
 *   the first one hold no more, those told since do, and all that waits does so for the new process' templates.
 * - A packet of the old process, exported later, says that it is alive: the suspicion was wrong, what was put aside is
 *   decoded as ever, and that boot is another process' from now on. Packets exported no later may have been overtaken.
 * - Even then: two packets that fit each other can be forged too, or of another process behind the same port. So the old
 *   templates are kept for another minute, for packets of the old boot alone; when such packets go on to come, everything is as it
 *   was before.
 *
 * So a restart costs nothing but a packet's delay, and so does a forgery. Uptime that wraps at 2^32 ms, wobbles or is missing, and
 * clocks that are set, make no restart; numbers that begin anew without one keep the templates. */

/* Drop what the process behind a port had said before the packet with this id. */
static void drop_templates_of(weir_stream *s, uint16_t port, uint64_t id)
{
    for (uint32_t i = 0; i < s->n_slots;) {
        wire_template *t = s->slots[i];
        if (t && t->pub.port == port && t->told_by < id)
            wire_template_drop(s, t);
        else
            i++;
    }
}

static bool within(uint32_t a, uint32_t b, int32_t most)
{
    int32_t d = (int32_t)(a - b);
    return d <= most && d >= -most;
}

static uint32_t export_ms(uint32_t export_s)
{
    return (uint32_t)((uint64_t)export_s * 1000);
}

/* Whether its process may have begun after the last packet that is known. */
static bool looks_new(const wire_track *t, const weir_packet *p)
{
    uint32_t now = export_ms(p->export_s), uptime = p->uptime_ms, boot = now - uptime;
    uint32_t elapsed = now - (t->boot32 + t->uptime_ms); /* by the exporter's clock */
    bool wrapped = (uint64_t)t->uptime_ms + elapsed + RESTART_SLACK_MS > UINT32_MAX &&
                   within(boot, t->boot32, RESTART_SLACK_MS);
    if (uptime >= t->uptime_ms || wrapped ||
        (t->apart_known && within(boot, t->boot_apart, BOOT_JITTER_MS)))
        return false;
    if ((int32_t)elapsed < 0) /* overtaken by the last one; or its clock is not set yet */
        return !within(boot, t->boot32, RESTART_SLACK_MS);
    /* An exporter whose uptime wobbles between line cards or whose clock was set is up for longer than has passed. */
    uint32_t slack = t->uptime_ms / 2 < RESTART_SLACK_MS ? t->uptime_ms / 2 : RESTART_SLACK_MS;
    return uptime <= (uint64_t)elapsed + slack && !within(boot, t->boot32, BOOT_JITTER_MS);
}

/* Whether it may be of the newcomer's process: up since, and for no longer than has passed. */
static bool of_newcomer(const wire_newcomer *c, const weir_packet *p)
{
    int64_t elapsed = (int32_t)(export_ms(p->export_s) - export_ms(c->export_s));
    int64_t here = (p->received_ns - c->received_ns) / 1000000; /* its clock may stand still */
    int64_t more = (int32_t)(p->uptime_ms - c->uptime_ms);
    elapsed = elapsed < here ? here : elapsed;
    return more >= -BOOT_JITTER_MS && more <= (elapsed > 0 ? elapsed : 0) + BOOT_JITTER_MS;
}

/* Keep a packet's data from templates that are not its own, and its number from the track. */
static void put_aside(wire_pass *w, wire_track *t, uint64_t told_since)
{
    w->aside = true;
    w->told_since = told_since;
    t->newcomer.n_aside++;
}

static void suspect(wire_pass *w, wire_track *t)
{
    const wire_newcomer *c = &t->newcomer;
    const weir_packet *p = w->p;
    t->newcomer = (wire_newcomer){.id = p->id,
                                  .held_id = c->open ? c->held_id : p->id,
                                  .received_ns = p->received_ns,
                                  .n_aside = c->open ? c->n_aside : 0,
                                  .uptime_ms = p->uptime_ms,
                                  .export_s = p->export_s,
                                  .heard = {.sequence = p->sequence},
                                  .next = p->sequence,
                                  .open = true};
    put_aside(w, t, p->id);
}

/* The old process is alive. */
static void acquit(wire_pass *w, wire_track *t)
{
    const wire_newcomer *c = &t->newcomer;
    uint32_t from = first(9, t->numbering, &c->heard);
    if (!came_late(w->s, t, from, c->next - from))
        WIRE_COUNT(w->s, sequence_unsure, 1);
    t->boot_apart = export_ms(c->export_s) - c->uptime_ms;
    t->apart_known = true;
    t->newcomer.open = false;
    w->told_by = w->p->id;
    wire_waiting_recheck(w->s, c->held_id, t->told_since);
}

/* The restart is true: count on from the newcomer. */
static void restart(wire_pass *w, wire_track *t)
{
    weir_stream *s = w->s;
    const weir_packet *p = w->p;
    const wire_newcomer *c = &t->newcomer;
    bool behind =
        (int32_t)(p->sequence - c->heard.sequence) < 0; /* it was overtaken by the newcomer */
    WIRE_COUNT(s, restarts, 1);
    WIRE_COUNT(s, sequence_resets, 1);
    drop_templates_of(s, p->from.port, t->told_since); /* of before the restart before this one */
    t->told_since = c->id;
    t->restart_ns = p->received_ns;
    settle(s, t, t->numbering);
    forgive(s, t);
    t->next_before = t->next;
    t->n_before = 0;
    follow(t, c->next, 0);
    t->wild = 0;
    t->heard = false;
    t->unsure = c->heard.unsure && !counts_own(t->numbering) && !counts_packets(9, t->numbering);
    if (behind && t->numbering != WIRE_NUMBERED_NOT) {
        t->next = p->sequence;
        missed(s, t, c->heard.sequence, t->unsure);
        t->next = c->next;
    }
    t->boot_before = t->boot32;
    t->before_known = true;
    t->restart_s = c->export_s;
    t->newcomer.open = false;
}

static void take_uptime(wire_track *t, const weir_packet *p)
{
    t->uptime_ms = p->uptime_ms;
    t->boot32 = export_ms(p->export_s) - p->uptime_ms;
}

/* A packet of the process that is thought gone: overtaken, or it is alive and there are two of them. */
static void of_before(wire_pass *w, wire_track *t)
{
    const weir_packet *p = w->p;
    uint64_t since = t->told_since;
    t->n_before++;
    if ((int32_t)(p->export_s - t->restart_s) <= 0 && t->n_before < AGAINST) {
        w->aside = true;
        w->told_by = since ? since - 1 : 0; /* what it tells is not the new one's */
        return;
    }
    WIRE_COUNT(w->s, sequence_unsure, 1);
    settle(w->s, t, t->numbering);
    forgive(w->s, t);
    bool on = t->n_before == 1 && p->sequence - t->next_before <= NEAR_PACKETS &&
              counts_packets(9, t->numbering);
    follow(t, on ? t->next_before : p->sequence, 0);
    t->heard = t->unsure = false;
    t->boot_apart = t->boot32;
    t->apart_known = true;
    t->before_known = false;
    t->told_since = 0;
    take_uptime(t, p);
    if (since)
        wire_waiting_recheck(w->s, since, 0);
}

/* A packet while a newcomer is waited for. */
static void watch_newcomer(wire_pass *w, wire_track *t, bool goes_on, uint32_t near)
{
    const weir_packet *p = w->p;
    wire_newcomer *c = &t->newcomer;
    uint32_t burst = counts_packets(9, t->numbering) ? BURST_PACKETS : BURST_RECORDS;
    if (c->n_aside >= MOST_ASIDE) { /* none of them is believed, and data does not wait for ever */
        acquit(w, t);
        return;
    }
    if (!goes_on && of_newcomer(c, p)) {
        bool numbered = t->numbering != WIRE_NUMBERED_NOT;
        if (p->sequence == c->heard.sequence &&
            (numbered || p->uptime_ms == c->uptime_ms)) { /* it, again */
            WIRE_COUNT(w->s, sequence_duplicated, 1);
            put_aside(w, t, c->id);
            return;
        }
        if (p->sequence - c->next <= burst || c->heard.sequence - p->sequence <= near ||
            !numbered) {
            restart(w, t);
            take_uptime(t, p);
            return;
        }
    }
    uint32_t boot = export_ms(p->export_s) - p->uptime_ms;
    if (goes_on || within(boot, t->boot32, BOOT_JITTER_MS)) {
        w->told_by = c->id - 1; /* what it tells is not the newcomer's */
        c->against++;
        if ((int32_t)(p->export_s - c->export_s) > 0 || c->against >= AGAINST)
            acquit(w, t);
    } else if (looks_new(t, p)) { /* somebody else: one of them is forged, or both are */
        WIRE_COUNT(w->s, sequence_unsure, 1);
        if (++c->against >= AGAINST)
            suspect(w, t);
        else
            put_aside(w, t, p->id);
    }
}

void wire_restart_watch(wire_pass *w)
{
    const weir_packet *p = w->p;
    wire_track *t = wire_track_of(w->s, p->from.port, p->sequence);
    if (!t)
        return;
    bool numbered = t->numbering != WIRE_NUMBERED_NOT;
    uint32_t near = counts_packets(9, t->numbering) ? NEAR_PACKETS : NEAR_RECORDS;
    bool goes_on = numbered && p->sequence - t->next <= near;
    if (t->started && t->newcomer.open) {
        watch_newcomer(w, t, goes_on, near);
    } else if (t->started && !goes_on && (t->uptime_ms || t->boot32)) {
        uint32_t boot = export_ms(p->export_s) - p->uptime_ms;
        if (looks_new(t, p)) {
            suspect(w, t);
        } else if (t->before_known && within(boot, t->boot_before, BOOT_JITTER_MS)) {
            of_before(w, t);
            return;
        }
    }
    if (t->told_since && !w->aside) {
        if (p->received_ns - t->restart_ns > RESTART_KEEP_S * (int64_t)SECOND_NS) {
            drop_templates_of(w->s, p->from.port, t->told_since);
            t->told_since = 0;
        }
        w->told_since = t->told_since;
    }
    if (!t->started || goes_on || (!numbered && !w->aside))
        take_uptime(t, p);
}

/* So many units more have come. */
static inline void heard(wire_track *t, uint32_t n, int64_t now_ns)
{
    t->seen_ns = now_ns;
    t->window_units += n;
    uint64_t span = (uint64_t)(now_ns - t->window_ns); /* huge when the clock went back */
    if (span < SECOND_NS)
        return;
    uint64_t units = t->window_units < FASTEST_S ? t->window_units : FASTEST_S;
    uint64_t units_s = span > INT64_MAX ? 0 : (units * SECOND_NS + span - 1) / span;
    uint32_t kept = t->rate - t->rate / RATE_MEMORY;
    t->rate = units_s > kept ? (uint32_t)units_s : kept;
    t->window_ns = now_ns;
    t->window_units = 0;
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
    if (w->aside) { /* its own numbers begin behind it */
        if (t->newcomer.id == p->id) {
            t->newcomer.next =
                first(p->version, t->numbering, &h) + units(p->version, t->numbering, &h);
            t->newcomer.heard = h;
        }
        return;
    }
    if (p->sequence == t->next && t->numbering == WIRE_STANDARD && t->started && !t->doubt &&
        !t->chain) {
        uint32_t n = p->version == 9 ? 1 : h.records;
        t->next += n;
        t->wild = 0;
        t->unsure = w->unsure && p->version == 10;
        heard(t, n, p->received_ns);
    } else {
        uint32_t before = t->next;
        bool started = t->started;
        if (!started)
            t->window_ns = p->received_ns;
        judge(s, t, &h);
        if (t->next != before || !started || t->numbering == WIRE_NUMBERED_NOT)
            heard(t, units(p->version, t->numbering, &h), p->received_ns);
    }
    t->last = h;
    t->heard = true;
}
