/* sequence -- what an exporter sent and we did not get, in the protocol's own unit: flows (v5, v7), packets (v9),
 * data records (IPFIX, RFC 7011 section 3.1). Counted per source port of a stream, tolerant of reordering: a gap is
 * loss until what belongs there comes late; what was never missing is a duplicate. Jumps that nothing confirms are
 * not believed, so a forged number cannot hide loss (RFC 7011 section 11.6). */
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
    RESTART_SLACK_MS = 60000 /* between a boot and what clocks of whole seconds make of it */
};

static wire_track *track_new(weir_stream *s, uint16_t port)
{
    uint32_t at = s->n_tracks;
    if (s->n_tracks == WIRE_MAX_TRACKS) {
        at = 0;
        for (uint32_t i = 1; i < s->n_tracks; i++)
            if (s->tracks[i].seen_ns < s->tracks[at].seen_ns)
                at = i;
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
    s->tracks[at] = (wire_track){.port = port};
    s->last_track = at;
    return &s->tracks[at];
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
static bool believed(wire_track *t, uint32_t seq, uint32_t n, uint8_t needed, uint32_t most)
{
    if (t->chain == 0 || seq != t->jump) {
        t->chain = 0;
        t->chain_duplicated = 0;
        t->jump_from = seq;
        t->jump_most = most;
        t->jump_unsure = t->unsure;
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
static uint32_t most_after(uint16_t version, int64_t silent_ns)
{
    int64_t silent_s = silent_ns < 0 ? 0 : silent_ns / 1000000000;
    int64_t a_second = version == 9 ? MOST_PACKETS_S : MOST_RECORDS_S;
    return silent_s > INT32_MAX / a_second ? INT32_MAX : (uint32_t)(silent_s * a_second);
}

static void track(weir_stream *s, wire_track *t, uint32_t seq, uint32_t n, int64_t silent_ns)
{
    uint32_t most = s->key.version == 9 ? MAX_LOSS_PACKETS : MAX_LOSS_RECORDS;
    uint32_t after = most_after(s->key.version, silent_ns);
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
        missed(s, t, seq, t->unsure);
        t->next = seq + n;
        t->chain = 0;
    } else if (ahead > 0) {
        if (!believed(t, seq, n, BELIEVE_AHEAD, after))
            return;
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
        } else if (believed(t, seq, n, BELIEVE_BACK, 0)) {
            WIRE_COUNT(s, sequence_resets, 1);
            WIRE_UNCOUNT(s, sequence_duplicated, t->chain_duplicated);
            follow(t, seq, n);
        } else {
            WIRE_COUNT(s, sequence_duplicated, 1);
            t->chain_duplicated++;
        }
    }
}

void wire_sequence(wire_pass *w, uint32_t units)
{
    const weir_packet *p = w->p;
    if (p->version == 1)
        return;
    wire_track *t = wire_track_of(w->s, p->from.port, p->sequence);
    if (!t)
        return;
    int64_t silent_ns = p->received_ns - t->seen_ns;
    t->seen_ns = p->received_ns;
    track(w->s, t, p->sequence, units, silent_ns);
    if (t->next == p->sequence + units) /* nothing that is late or that nobody believes yet */
        t->unsure = w->unsure && p->version == 10;
}
