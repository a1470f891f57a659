#include "ledger/complete.h"

#include "base/hash.h"
#include "base/text.h"
#include "ledger/checkpoint.h"

#include <math.h>
#include <stdlib.h>
#include <time.h>

static const int64_t MINUTE = 60000000, SECOND = 1000000;

enum {
    SLACK_US = 2000000, /* so much less than a minute of listening is no interruption */
    TOLD_US =
        2000000, /* a checkpoint is written so soon behind the rows that the ledger gets at the end */
    LATE_US = 180000000,  /* the current minute has no row yet, and a row takes its time */
    MAX_SPANS = 1 << 22,  /* minutes with an interruption that are looked at */
    MAX_MINUTES = 1 << 23 /* that are held against the archive */
};

/* Exporters without an address. */
enum { COLLECTOR, OTHERS /* beyond LEDGER_MAX_EXPORTERS */, N_FIXED };

static const enum flow_ledger_id used[] = {
    FLOW_LEDGER_packets,
    FLOW_LEDGER_decoded,
    FLOW_LEDGER_expired,
    FLOW_LEDGER_rejected_unknown_version,
    FLOW_LEDGER_rejected_short_header,
    FLOW_LEDGER_rejected_message_length,
    FLOW_LEDGER_rejected_set_bounds,
    FLOW_LEDGER_rejected_record_count,
    FLOW_LEDGER_rejected_state_limit,
    FLOW_LEDGER_rejected_out_of_memory,
    FLOW_LEDGER_flows,
    FLOW_LEDGER_options,
    FLOW_LEDGER_records_rejected,
    FLOW_LEDGER_flows_lost,
    FLOW_LEDGER_packets_dropped,
    FLOW_LEDGER_packets_refused,
    FLOW_LEDGER_kernel_drops,
    FLOW_LEDGER_listened,
    FLOW_LEDGER_sequence_lost,
    FLOW_LEDGER_sequence_unit,
    FLOW_LEDGER_sequence_unsure,
    FLOW_LEDGER_last,
};

/* A loss that may go on in the next minute. */
struct run {
    bool open;
    int64_t from, to;
    double flows;
    uint64_t packets;
    int64_t units; /* of sequence numbers */
    bool estimated;
};

struct exporter {
    uint8_t addr
        [18]; /* its length is the last octet but one; the last: rows of it that may not be asked for */
    bool loses;
    uint64_t packets, unnumbered; /* the latter: of NetFlow v1 */
    double flows, decoded;        /* for its average */
    int64_t gap_units;            /* of gaps that are closed */
    double gap_flows;
    struct run runs[LEDGER_N_CAUSES];
};

/* When a collector was receiving: whole minutes run together, others for themselves. */
struct span {
    int64_t from, to, listened;
};

/* Flows that are counted and not in the archive, from one span to the next. */
struct astray {
    int64_t from, to;
    double flows;
};

struct reading {
    ledger_complete *out;
    ledger_about_fn *about;
    void *user;
    struct exporter *exporters; /* n of them; the first are COLLECTOR and OTHERS */
    size_t n, cap;
    uint32_t *index; /* exporter + 1 */
    size_t slots;
    uint64_t seed;
    uint64_t packets;    /* of all exporters, asked for or not */
    uint64_t unnumbered; /* of those asked for */
    double flows, decoded;
    double all_flows, all_decoded; /* the same, asked for or not */
    struct span *spans;
    size_t n_spans, cap_spans;
    int64_t minute, listened;   /* of the collector's rows at hand; listened -1: none */
    struct ledger_books *books; /* of the archive at hand; NULL: not known */
    struct ledger_minute *minutes;
    size_t n_minutes, cap_minutes;
    struct span
        *proven; /* in which it ran, for it has flows of them that its ledger does not count */
    size_t n_proven, cap_proven;
    struct astray astray[2];          /* [1]: that may not be asked for */
    int64_t told[LEDGER_CHECKPOINTS]; /* up to when the rows of each worker count */
    bool failed;
};

/* ---- exporters and their losses ---- */

static struct exporter *exporter_of(struct reading *x, const struct ledger_row *row, bool maybe)
{
    if (!row->exporter_len)
        return &x->exporters[COLLECTOR];
    if (x->slots < 2 * (x->n + 1)) {
        size_t slots = x->slots ? 2 * x->slots : 256;
        uint32_t *index = calloc(slots, sizeof *index);
        if (!index) {
            x->failed = true;
            return NULL;
        }
        for (size_t i = N_FIXED; i < x->n; i++) {
            size_t at =
                base_hash(x->exporters[i].addr, sizeof x->exporters[i].addr, x->seed) & (slots - 1);
            while (index[at])
                at = (at + 1) & (slots - 1);
            index[at] = (uint32_t)i + 1;
        }
        free(x->index);
        x->index = index;
        x->slots = slots;
    }
    uint8_t key[18] = {0};
    memcpy(key, row->exporter, row->exporter_len);
    key[16] = row->exporter_len;
    key[17] = maybe;
    size_t at = base_hash(key, sizeof key, x->seed) & (x->slots - 1);
    for (; x->index[at]; at = (at + 1) & (x->slots - 1)) {
        struct exporter *e = &x->exporters[x->index[at] - 1];
        if (memcmp(e->addr, key, sizeof key) == 0)
            return e;
    }
    if (x->n == LEDGER_MAX_EXPORTERS)
        return &x->exporters[maybe ? COLLECTOR : OTHERS];
    if (x->n == x->cap) {
        struct exporter *more = realloc(x->exporters, 2 * x->cap * sizeof *more);
        if (!more) {
            x->failed = true;
            return NULL;
        }
        x->exporters = more;
        x->cap *= 2;
    }
    struct exporter *e = &x->exporters[x->n++];
    *e = (struct exporter){0};
    memcpy(e->addr, key, sizeof key);
    x->index[at] = (uint32_t)x->n;
    return e;
}

/* Flows of a packet, by what is known nearest. */
static double average(const struct reading *x, const struct exporter *e,
                      const struct ledger_row *row)
{
    double near = row ? ledger_flows_a_packet(row) : 0;
    if (near > 0)
        return near;
    if (e->flows > 0 && e->decoded > 0)
        return e->flows / e->decoded;
    if (x->flows > 0 && x->decoded > 0)
        return x->flows / x->decoded;
    return x->all_flows > 0 && x->all_decoded > 0 ? x->all_flows / x->all_decoded : 1;
}

static bool larger(const struct ledger_loss *a, const struct ledger_loss *b)
{
    if (a->maybe != b->maybe)
        return b->maybe;
    if (a->flows > b->flows || a->flows < b->flows)
        return a->flows > b->flows;
    if (a->packets != b->packets)
        return a->packets > b->packets;
    return a->to_us - a->from_us > b->to_us - b->from_us;
}

static void keep(ledger_complete *c, const struct ledger_loss *loss)
{
    size_t n = c->n_losses;
    if (n == LEDGER_MAX_LOSSES) {
        c->n_more++;
        if (!larger(loss, &c->losses[n - 1]))
            return;
        n--;
    }
    for (; n > 0 && larger(loss, &c->losses[n - 1]); n--)
        if (n < LEDGER_MAX_LOSSES)
            c->losses[n] = c->losses[n - 1];
    c->losses[n] = *loss;
    if (c->n_losses < LEDGER_MAX_LOSSES)
        c->n_losses++;
}

/* A loss that has come to its end. What was dropped before anybody looked at it is missing only where no sequence numbers
 * count it. */
static void close_run(struct reading *x, struct exporter *e, enum ledger_cause cause)
{
    struct run *r = &e->runs[cause];
    ledger_complete *c = x->out;
    double share = 0;
    if (!r->open)
        return;
    r->open = false;
    bool maybe = e->addr[17];
    if (cause == LEDGER_CAUSE_QUEUE && e->packets)
        share = (double)e->unnumbered / (double)e->packets;
    else if (cause == LEDGER_CAUSE_QUEUE)
        share =
            maybe && e->addr[16] ? 0 : 1; /* of an exporter's other streams nothing is known here */
    else if (cause == LEDGER_CAUSE_NO_ROOM)
        share = 1; /* who they were of comes behind them in a minute */
    else if (cause == LEDGER_CAUSE_KERNEL && x->packets)
        share = (double)x->unnumbered / (double)x->packets;
    if (share > 0) {
        r->flows += share * (double)r->packets * average(x, e, NULL);
        r->estimated = true;
    }
    if (!(r->flows > 0))
        return;
    if (maybe) {
        c->maybe += r->flows;
        c->maybe_estimated |= r->estimated;
    } else {
        c->lost += r->flows;
        c->estimated |= r->estimated;
    }
    if (cause == LEDGER_CAUSE_SEQUENCE) {
        e->gap_units += r->units;
        e->gap_flows += r->flows;
    }
    if (!maybe) {
        c->exporters_with_loss += !e->loses && (e->addr[16] || cause != LEDGER_CAUSE_KERNEL);
        e->loses = true;
    }
    struct ledger_loss loss = {.exporter_len = e->addr[16],
                               .cause = cause,
                               .from_us = r->from,
                               .to_us = r->to,
                               .flows = r->flows,
                               .packets = r->packets,
                               .estimated = r->estimated,
                               .maybe = maybe};
    memcpy(loss.exporter, e->addr, sizeof loss.exporter);
    keep(c, &loss);
}

static void lose(struct reading *x, struct exporter *e, enum ledger_cause cause, int64_t minute,
                 double flows, uint64_t packets, bool estimated)
{
    struct run *r = &e->runs[cause];
    if (!(flows > 0) && !packets)
        return;
    x->out->packets_of[cause] += packets;
    if (r->open && (minute > r->to || minute + MINUTE < r->from))
        close_run(x, e, cause);
    if (!r->open)
        *r = (struct run){.open = true, .from = minute, .to = minute + MINUTE};
    r->from = minute < r->from ? minute : r->from;
    r->to = minute + MINUTE > r->to ? minute + MINUTE : r->to;
    r->flows += flows;
    r->packets += packets;
    r->estimated |= estimated && flows > 0;
}

/* A gap in sequence numbers; below 0: of what was missing before, so much has come late. What was missing before the first
 * minute is nobody's question. */
static void lose_units(struct reading *x, struct exporter *e, int64_t minute, int64_t units,
                       double flows, bool estimated)
{
    struct run *r = &e->runs[LEDGER_CAUSE_SEQUENCE];
    if (units > 0) {
        lose(x, e, LEDGER_CAUSE_SEQUENCE, minute, flows, 0, estimated);
        if (r->open && r->units < INT64_MAX / 2 && units < INT64_MAX / 2)
            r->units += units;
        return;
    }
    int64_t left = units == INT64_MIN ? INT64_MAX : -units;
    if (r->open && r->units > 0) {
        int64_t here = left < r->units ? left : r->units;
        r->flows *= (double)(r->units - here) / (double)r->units;
        r->units -= here;
        left -= here;
    }
    if (left > 0 && e->gap_units > 0) {
        int64_t here = left < e->gap_units ? left : e->gap_units;
        double back = e->gap_flows * ((double)here / (double)e->gap_units);
        e->gap_flows -= back;
        e->gap_units -= here;
        double *of = e->addr[17] ? &x->out->maybe : &x->out->lost;
        *of = *of > back ? *of - back : 0;
    }
}

/* ---- when the collector ran ---- */

static void add_span(struct reading *x, int64_t minute, int64_t listened)
{
    struct span *last = x->n_spans ? &x->spans[x->n_spans - 1] : NULL;
    bool whole = listened >= MINUTE - SLACK_US;
    if (whole && last && last->to == minute && last->listened == last->to - last->from) {
        last->to = minute + MINUTE;
        last->listened += MINUTE;
        return;
    }
    if (x->n_spans == MAX_SPANS)
        return;
    if (x->n_spans == x->cap_spans) {
        size_t cap = x->cap_spans ? 2 * x->cap_spans : 64;
        struct span *more = realloc(x->spans, cap * sizeof *more);
        if (!more) {
            x->failed = true;
            return;
        }
        x->spans = more;
        x->cap_spans = cap;
    }
    x->spans[x->n_spans++] = (struct span){minute, minute + MINUTE, whole ? MINUTE : listened};
}

/* Workers listen side by side: the minute has what the longest did. */
static void listened(struct reading *x, const struct ledger_row *row)
{
    uint64_t us = ledger_count(row, FLOW_LEDGER_listened);
    int64_t here = us > (uint64_t)MINUTE ? MINUTE : (int64_t)us;
    if (x->listened >= 0 && x->minute != row->minute_us) {
        add_span(x, x->minute, x->listened);
        x->listened = -1;
    }
    x->minute = row->minute_us;
    x->listened = here > x->listened ? here : x->listened;
}

static int compare_spans(const void *a, const void *b)
{
    const struct span *x = a, *y = b;
    return x->from != y->from ? (x->from < y->from ? -1 : 1) : 0;
}

static void down(struct reading *x, int64_t from, int64_t to, int64_t us)
{
    ledger_complete *c = x->out;
    /* Of a gap, the minutes that were asked for. */
    if (us == to - from) {
        from = from < c->from_us ? c->from_us - (c->from_us % MINUTE + MINUTE) % MINUTE : from;
        if (c->to_us < to - MINUTE)
            to = c->to_us - (c->to_us % MINUTE + MINUTE) % MINUTE + MINUTE;
        us = to - from;
    }
    if (us <= 0 || from > c->to_us || to <= c->from_us)
        return;
    c->down_us += us;
    struct run *r = &x->exporters[COLLECTOR].runs[LEDGER_CAUSE_DOWN];
    if (r->open && r->to == from) {
        r->to = to;
        return;
    }
    if (r->open)
        keep(c,
             &(struct ledger_loss){.cause = LEDGER_CAUSE_DOWN, .from_us = r->from, .to_us = r->to});
    *r = (struct run){.open = true, .from = from, .to = to};
}

/* In order, and together where they overlap. */
static void sort_proven(struct reading *x)
{
    size_t n = 0;
    if (x->n_proven)
        qsort(x->proven, x->n_proven, sizeof *x->proven, compare_spans);
    for (size_t i = 0; i < x->n_proven; i++) {
        const struct span *p = &x->proven[i];
        struct span *last = n ? &x->proven[n - 1] : NULL;
        if (last && p->from <= last->to)
            last->to = p->to > last->to ? p->to : last->to;
        else
            x->proven[n++] = *p;
    }
    x->n_proven = n;
}

/* The first that ends behind this moment. */
static size_t proven_behind(const struct reading *x, int64_t us)
{
    size_t from = 0, to = x->n_proven;
    while (from < to) {
        size_t at = from + (to - from) / 2;
        if (x->proven[at].to <= us)
            from = at + 1;
        else
            to = at;
    }
    return from;
}

/* A gap between two minutes of the ledger: it is one where no flows say otherwise. */
static void down_between(struct reading *x, int64_t from, int64_t to)
{
    for (size_t i = proven_behind(x, from); i < x->n_proven && x->proven[i].from < to; i++) {
        const struct span *p = &x->proven[i];
        if (p->from > from)
            down(x, from, p->from, p->from - from);
        from = p->to;
    }
    if (from < to)
        down(x, from, to, to - from);
}

/* It ran for longer than is known. */
static bool is_proven(const struct reading *x, const struct span *s)
{
    size_t i = proven_behind(x, s->from);
    return i < x->n_proven && x->proven[i].from < s->to;
}

/* Between the first and the last minute of one collector. The edges are where it began and ended. */
static void find_down(struct reading *x)
{
    if (x->listened >= 0)
        add_span(x, x->minute, x->listened);
    x->listened = -1;
    sort_proven(x);
    if (x->n_spans)
        qsort(x->spans, x->n_spans, sizeof *x->spans, compare_spans);
    size_t n = 0; /* pieces of one minute, from two partitions, together */
    for (size_t i = 0; i < x->n_spans; i++) {
        struct span *s = &x->spans[i], *last = n ? &x->spans[n - 1] : NULL;
        if (last && s->from < last->to) {
            int64_t whole = last->to - last->from;
            last->listened += s->from == last->from ? s->listened : 0;
            if (last->listened >= whole - SLACK_US)
                last->listened = whole;
            if (s->to > last->to) { /* a run of whole minutes that begins with this one */
                last->listened = s->to - last->from;
                last->to = s->to;
            }
        } else {
            x->spans[n++] = *s;
        }
    }
    for (size_t i = 0; i < n; i++) {
        const struct span *s = &x->spans[i];
        if (i && x->spans[i - 1].to < s->from)
            down_between(x, x->spans[i - 1].to, s->from);
        if (i && i + 1 < n && s->to - s->from - s->listened > 0 && !is_proven(x, s))
            down(x, s->from, s->to, s->to - s->from - s->listened);
    }
    struct run *r = &x->exporters[COLLECTOR].runs[LEDGER_CAUSE_DOWN];
    if (r->open)
        keep(x->out,
             &(struct ledger_loss){.cause = LEDGER_CAUSE_DOWN, .from_us = r->from, .to_us = r->to});
    r->open = false;
    x->n_spans = 0;
}

/* ---- rows ---- */

void ledger_missing_of(const struct ledger_row *row, double average, struct ledger_missing *out)
{
    uint64_t flows = ledger_count(row, FLOW_LEDGER_flows),
             lost = ledger_count(row, FLOW_LEDGER_flows_lost),
             expired = ledger_count(row, FLOW_LEDGER_expired), malformed = 0,
             homeless = ledger_count(row, FLOW_LEDGER_rejected_state_limit) +
                        ledger_count(row, FLOW_LEDGER_rejected_out_of_memory);
    *out = (struct ledger_missing){0};
    double *missing = out->flows;
    bool *estimated = out->estimated;
    missing[LEDGER_CAUSE_SEQUENCE] = ledger_flows_missing(row, &estimated[LEDGER_CAUSE_SEQUENCE]);
    if (!(ledger_flows_a_packet(row) > 0) && strcmp(ledger_sequence_unit(row), "packets") == 0)
        missing[LEDGER_CAUSE_SEQUENCE] =
            (double)ledger_signed(row, FLOW_LEDGER_sequence_lost) * average;
    missing[LEDGER_CAUSE_OUTPUT] = (double)(lost < flows ? lost : flows);
    missing[LEDGER_CAUSE_TEMPLATE] = (double)expired * average;
    estimated[LEDGER_CAUSE_TEMPLATE] = expired > 0;
    out->packets[LEDGER_CAUSE_TEMPLATE] = expired;

    for (int i = FLOW_LEDGER_rejected_unknown_version; i <= FLOW_LEDGER_rejected_out_of_memory; i++)
        if (i != FLOW_LEDGER_rejected_state_limit && i != FLOW_LEDGER_rejected_out_of_memory)
            malformed += ledger_count(row, (enum flow_ledger_id)i);
    /* The next packet's sequence number tells of a rejected one, except where there are none, and of exporters that there is
     * no room for. */
    uint64_t uncounted = row->version == 1 ? malformed : 0;
    missing[LEDGER_CAUSE_REJECTED] =
        (double)ledger_count(row, FLOW_LEDGER_records_rejected) + (double)uncounted * average;
    estimated[LEDGER_CAUSE_REJECTED] = uncounted > 0;
    out->packets[LEDGER_CAUSE_REJECTED] = malformed;
    missing[LEDGER_CAUSE_NO_ROOM] = (double)homeless * average;
    estimated[LEDGER_CAUSE_NO_ROOM] = homeless > 0;
    out->packets[LEDGER_CAUSE_NO_ROOM] = homeless;

    out->packets[LEDGER_CAUSE_QUEUE] = ledger_count(row, FLOW_LEDGER_packets_dropped);
    out->packets[LEDGER_CAUSE_REFUSED] = ledger_count(row, FLOW_LEDGER_packets_refused);
    out->packets[LEDGER_CAUSE_KERNEL] = ledger_count(row, FLOW_LEDGER_kernel_drops);
}

static void count_row(struct reading *x, struct exporter *e, const struct ledger_row *row)
{
    ledger_complete *c = x->out;
    uint64_t flows = ledger_count(row, FLOW_LEDGER_flows),
             lost = ledger_count(row, FLOW_LEDGER_flows_lost),
             packets = ledger_count(row, FLOW_LEDGER_packets),
             decoded = ledger_count(row, FLOW_LEDGER_decoded);
    int64_t units = ledger_signed(row, FLOW_LEDGER_sequence_lost);
    struct ledger_missing missing;
    if (!e->addr[17])
        c->flows += flows > lost ? flows - lost : 0;
    c->unsure += ledger_count(row, FLOW_LEDGER_sequence_unsure);
    e->packets += packets;
    e->flows += (double)flows;
    e->decoded += (double)decoded;
    x->flows += e->addr[17] ? 0 : (double)flows;
    x->decoded += e->addr[17] ? 0 : (double)decoded;
    if (row->version == 1) {
        e->unnumbered += packets;
        x->unnumbered += packets;
        c->unnumbered += flows;
    }
    ledger_missing_of(row, average(x, e, row), &missing);
    for (int i = 0; i < LEDGER_N_CAUSES; i++) {
        if (i == LEDGER_CAUSE_NO_ROOM)
            lose(x, e, (enum ledger_cause)i, row->minute_us, 0, missing.packets[i], false);
        else if (i != LEDGER_CAUSE_SEQUENCE)
            lose(x, e, (enum ledger_cause)i, row->minute_us, missing.flows[i], missing.packets[i],
                 missing.estimated[i]);
        else if (units)
            lose_units(x, e, row->minute_us, units, missing.flows[i], missing.estimated[i]);
    }
}

/* ---- against what the archive has ---- */

static bool room(struct reading *x, void **all, size_t n, size_t *cap, size_t octets)
{
    if (n < *cap)
        return true;
    size_t more = *cap ? 2 * *cap : 256;
    void *to = realloc(*all, more * octets);
    x->failed |= !to;
    if (!to)
        return false;
    *all = to;
    *cap = more;
    return true;
}

static void note_minute(struct reading *x, const struct ledger_row *row, enum ledger_about about)
{
    uint64_t flows = ledger_count(row, FLOW_LEDGER_flows),
             lost = ledger_count(row, FLOW_LEDGER_flows_lost);
    int64_t n = (int64_t)(flows < INT64_MAX / 4 ? flows : INT64_MAX / 4) -
                (int64_t)(lost < INT64_MAX / 4 ? lost : INT64_MAX / 4);
    struct ledger_minute *last = x->n_minutes ? &x->minutes[x->n_minutes - 1] : NULL;
    if (!last || last->at_us != row->minute_us) {
        void *all = x->minutes;
        if (x->n_minutes ==
            MAX_MINUTES) { /* far more than an archive has: it is not held against it */
            x->books = NULL;
            return;
        }
        if (!room(x, &all, x->n_minutes, &x->cap_minutes, sizeof *x->minutes))
            return;
        x->minutes = all;
        last = &x->minutes[x->n_minutes++];
        *last = (struct ledger_minute){.at_us = row->minute_us};
    }
    /* Sums of a hostile ledger stay far from what can overflow. */
    if (last->counted > INT64_MAX / 4 || last->counted < INT64_MIN / 4)
        return;
    last->counted += n;
    last->about += about == LEDGER_ABOUT ? n : 0;
}

static int64_t minute_at(int64_t us)
{
    return us - (us % MINUTE + MINUTE) % MINUTE;
}

static void close_astray(struct reading *x, bool maybe)
{
    struct astray *a = &x->astray[maybe];
    ledger_complete *c = x->out;
    if (!(a->flows > 0))
        return;
    if (maybe) {
        c->maybe += a->flows;
    } else {
        c->lost += a->flows;
        c->flows -= a->flows < (double)c->flows ? (uint64_t)a->flows : c->flows;
    }
    keep(c, &(struct ledger_loss){.cause = LEDGER_CAUSE_ARCHIVE,
                                  .from_us = a->from,
                                  .to_us = a->to,
                                  .flows = a->flows,
                                  .maybe = maybe});
    *a = (struct astray){0};
}

/* A span that has less than is counted. Whose flows are missing nobody knows: it is as if they were evenly of everybody. */
static void note_astray(struct reading *x, const struct ledger_span *s)
{
    const ledger_complete *c = x->out;
    int64_t n = -s->more;
    bool all = s->about == s->counted,
         inside = x->books->by_files
                      ? s->asked
                      : (c->from_us == INT64_MIN || s->counted_from_us >= minute_at(c->from_us)) &&
                            s->counted_to_us - MINUTE <= c->to_us;
    if (s->about <= 0)
        return;
    n = n < s->about ? n : s->about;
    struct astray *a = &x->astray[!(all && inside)];
    if (a->flows > 0 && a->to != s->from_us && a->to != s->counted_from_us)
        close_astray(x, !(all && inside));
    if (!(a->flows > 0))
        a->from = s->counted_from_us;
    a->to = s->counted_to_us;
    a->flows += (double)n;
}

/* A span that has more than is counted. */
static void note_uncounted(struct reading *x, const struct ledger_span *s, bool before, bool behind)
{
    ledger_complete *c = x->out;
    uint64_t n = (uint64_t)s->more;
    if (!c->uncounted || s->from_us < c->uncounted_from_us)
        c->uncounted_from_us = s->from_us;
    if (!c->uncounted || s->to_us > c->uncounted_to_us)
        c->uncounted_to_us = s->to_us;
    bool between = !before && !behind,
         first = c->uncounted == c->uncounted_before + c->uncounted_behind;
    if (between && (first || s->from_us < c->between_from_us))
        c->between_from_us = s->from_us;
    if (between && (first || s->to_us > c->between_to_us))
        c->between_to_us = s->to_us;
    c->uncounted += n;
    c->uncounted_before += before ? n : 0;
    c->uncounted_behind += behind ? n : 0;
    for (size_t i = s->file; i < s->file + s->n_files; i++) {
        const struct ledger_stored *f = &x->books->files[i];
        void *all = x->proven;
        if (!room(x, &all, x->n_proven, &x->cap_proven, sizeof *x->proven))
            return;
        x->proven = all;
        x->proven[x->n_proven++] =
            (struct span){minute_at(f->first_us), minute_at(f->last_us) + MINUTE, 0};
    }
}

static bool concerns(const struct reading *x, const struct ledger_span *s)
{
    const ledger_complete *c = x->out;
    return s->more && s->to_us <= x->books->until_us && s->from_us <= c->to_us &&
           s->to_us > c->from_us && (!x->books->by_files || s->asked);
}

/* The spans in which the books do not balance. */
static void balance(struct reading *x, const struct ledger_span *spans, size_t n, bool one)
{
    int64_t first = INT64_MAX, last = INT64_MIN;
    for (size_t i = 0; i < x->n_minutes; i++) {
        int64_t at = x->minutes[i].at_us;
        first = at < first ? at : first;
        last = at > last ? at : last;
    }
    for (size_t i = 0; i < n; i++) {
        const struct ledger_span *s = &spans[i];
        if (!concerns(x, s))
            continue;
        if (s->more > 0 && s->n_files)
            note_uncounted(x, s, one && x->n_minutes && s->to_us <= first,
                           one && x->n_minutes && s->from_us > last);
        else if (s->more < 0 && (s->n_files || s->from_us >= x->books->since_us))
            note_astray(x, s);
    }
    close_astray(x, false);
    close_astray(x, true);
}

/* ---- rows of the ledger ---- */

static bool take_row(void *user, const struct ledger_row *row)
{
    struct reading *x = user;
    ledger_complete *c = x->out;
    bool collector = !row->exporter_len && !row->version && !row->has_domain;
    if (collector && ledger_has(row, FLOW_LEDGER_listened))
        listened(x, row);
    int64_t last = ledger_signed(row, FLOW_LEDGER_last);
    if (collector && row->worker < LEDGER_CHECKPOINTS && last > x->told[row->worker])
        x->told[row->worker] = last;
    bool here = row->minute_us <= c->to_us && row->minute_us + MINUTE > c->from_us;
    if (!here && !x->books)
        return !x->failed;
    enum ledger_about about = !x->about   ? LEDGER_ABOUT
                              : collector ? LEDGER_ABOUT_MAYBE
                                          : x->about(x->user, row);
    if (x->books)
        note_minute(x, row, about);
    if (!here)
        return !x->failed;
    if (!c->known || row->minute_us < c->first_us)
        c->first_us = row->minute_us;
    if (!c->known || row->minute_us + MINUTE > c->last_us)
        c->last_us = row->minute_us + MINUTE;
    c->known = true;
    x->packets += ledger_count(row, FLOW_LEDGER_packets);
    x->all_flows += (double)ledger_count(row, FLOW_LEDGER_flows);
    x->all_decoded += (double)ledger_count(row, FLOW_LEDGER_decoded);
    if (about == LEDGER_ABOUT_NOT)
        return !x->failed;
    struct exporter *e = exporter_of(x, row, about == LEDGER_ABOUT_MAYBE);
    if (e)
        count_row(x, e, row);
    return !x->failed;
}

/* The ledger of an archive, against what that has: spans within [from, to]. Where rows are missing, they may have been stored
 * late. */
static weir_status read_balanced(struct reading *x, const char *path, struct ledger_range *range,
                                 int64_t from, int64_t to, bool one, weir_err *err)
{
    weir_status st = ledger_each(&path, 1, range, take_row, x, err);
    struct ledger_span *spans = NULL;
    size_t n = 0;
    for (bool again = true; again && x->books && !x->failed && st != WEIR_ENOMEM;) {
        free(spans);
        x->failed = !ledger_balance(x->books, x->minutes, x->n_minutes, from, to, &spans, &n);
        again = false;
        for (size_t i = 0; i < n && !range->late && range->to_us != INT64_MAX && !again; i++)
            again = concerns(x, &spans[i]) && spans[i].more > 0;
        if (again) {
            range->late = true;
            weir_status late =
                ledger_each(&path, 1, range, take_row, x, st == WEIR_OK ? err : NULL);
            st = st == WEIR_OK || late == WEIR_ENOMEM ? late : st;
        }
    }
    if (x->books && !x->failed)
        balance(x, spans, n, one);
    free(spans);
    return st;
}

/* ---- checkpoints ---- */

/* What a worker counted last is in the newer copy of its checkpoint, until it is in the ledger. Where that one is whole, what is
 * wrong with the other does not matter. */
static void look_at_checkpoint(struct reading *x, unsigned worker,
                               const struct ledger_checkpoint_state *now)
{
    ledger_complete *c = x->out;
    bool whole = now->whole[0] || now->whole[1];
    int bad = now->damaged[0] ? 0 : 1;
    int64_t from = minute_at(now->modified_us), to = from + MINUTE;
    if ((!now->damaged[0] && !now->damaged[1]) || from > c->to_us || to <= c->from_us)
        return;
    if (whole ? now->copy_us[bad] && now->copy_us[bad] < now->copy_us[!bad]
              : now->modified_us <= x->told[worker] + TOLD_US)
        return;
    c->damaged_from_us = c->damaged && c->damaged_from_us < from ? c->damaged_from_us : from;
    c->damaged_to_us = c->damaged && c->damaged_to_us > to ? c->damaged_to_us : to;
    c->damaged++;
    c->unread += !whole;
}

static weir_status look_at_checkpoints(struct reading *x, const char *dir, weir_err *err)
{
    int patience = LEDGER_CHECKPOINT_PATIENCE;
    for (unsigned i = 0; i < LEDGER_CHECKPOINTS; i++) {
        struct ledger_checkpoint_state now;
        char *path = ledger_checkpoint_path(dir, i);
        weir_status st =
            path ? ledger_checkpoint_look_twice(path, &patience, &now, err)
                 : weir_err_set(err, WEIR_ENOMEM, 0, "out of memory for the checkpoints");
        free(path);
        WEIR_TRY(st);
        look_at_checkpoint(x, i, &now);
    }
    return WEIR_OK;
}

/* ---- all of it ---- */

static weir_status no_memory(weir_err *err)
{
    return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory for the ledger");
}

static bool begin(struct reading *x, int64_t from_us, int64_t to_us, ledger_about_fn *about,
                  void *user, ledger_complete *out)
{
    *out = (ledger_complete){.from_us = from_us, .to_us = to_us, .share = 1};
    *x = (struct reading){.out = out,
                          .about = about,
                          .user = user,
                          .n = N_FIXED,
                          .cap = 16,
                          .seed = base_hash_seed(),
                          .listened = -1};
    x->exporters = calloc(x->cap, sizeof *x->exporters);
    if (!x->exporters)
        return false;
    x->exporters[COLLECTOR].addr[17] = about != NULL;
    return true;
}

/* Of one archive: what of its ledger is needed, a minute more on both sides, which says whether the collector ran before and after. */
static struct ledger_range begin_archive(struct reading *x, struct ledger_books *books,
                                         const uint64_t *columns, int64_t *from, int64_t *to)
{
    *from = x->out->from_us;
    *to = x->out->to_us;
    x->books = books;
    x->n_minutes = x->n_proven = 0;
    memset(x->told, 0, sizeof x->told);
    if (books)
        ledger_balance_reach(books, from, to);
    return (struct ledger_range){.from_us = *from > INT64_MIN + MINUTE ? *from - MINUTE : *from,
                                 .to_us = *to < INT64_MAX - MINUTE ? *to + MINUTE : *to,
                                 .by_worker = true,
                                 .columns = columns};
}

static void used_columns(uint64_t columns[LEDGER_WORDS])
{
    memset(columns, 0, LEDGER_WORDS * sizeof *columns);
    for (size_t i = 0; i < ARRAY_LEN(used); i++)
        columns[used[i] / 64] |= UINT64_C(1) << used[i] % 64;
}

static weir_status end(struct reading *x, weir_status first, weir_err *err)
{
    ledger_complete *out = x->out;
    for (size_t i = 0; i < x->n; i++)
        for (int k = 0; k < LEDGER_N_CAUSES; k++)
            close_run(x, &x->exporters[i], (enum ledger_cause)k);
    if (x->failed)
        first = no_memory(err);
    free(x->exporters);
    free(x->index);
    free(x->spans);
    free(x->minutes);
    free(x->proven);
    if (out->lost > 0) {
        out->share = (double)out->flows / ((double)out->flows + out->lost);
        if (!(out->share < 1))
            out->share = nextafter(1, 0);
    }
    return first;
}

/* paths, or a batch. */
static weir_status complete(const char *const *paths, size_t n_paths, struct ledger_books *books,
                            const flow_batch *batch, int64_t from_us, int64_t to_us,
                            ledger_about_fn *about, void *user, ledger_complete *out, weir_err *err)
{
    uint64_t columns[LEDGER_WORDS];
    struct reading x;
    used_columns(columns);
    if (!begin(&x, from_us, to_us, about, user, out))
        return no_memory(err);
    weir_status first = WEIR_OK;
    for (size_t i = 0; (batch ? i < 1 : i < n_paths) && !x.failed && first != WEIR_ENOMEM; i++) {
        weir_err why = {0};
        int64_t from, to;
        struct ledger_range range =
            begin_archive(&x, books ? &books[i] : NULL, columns, &from, &to);
        weir_status st = batch ? ledger_each_of_batch(batch, &range, take_row, &x, &why)
                               : read_balanced(&x, paths[i], &range, from, to, n_paths == 1, &why);
        if (!batch && st == WEIR_OK)
            st = look_at_checkpoints(&x, paths[i], &why);
        if (st != WEIR_OK && (first == WEIR_OK || st == WEIR_ENOMEM)) {
            first = st;
            if (err)
                *err = why;
        }
        find_down(&x);
    }
    return end(&x, first, err);
}

/* ---- rows from elsewhere ---- */

struct ledger_completing {
    struct reading x;
    uint64_t columns[LEDGER_WORDS];
    struct ledger_range range;
    int64_t from, to;
    bool begun, only;
};

const enum flow_ledger_id *ledger_completing_columns(size_t *n)
{
    *n = ARRAY_LEN(used);
    return used;
}

ledger_completing *ledger_completing_new(int64_t from_us, int64_t to_us, ledger_about_fn *about,
                                         void *user, ledger_complete *out)
{
    ledger_completing *c = calloc(1, sizeof *c);
    if (!c || !begin(&c->x, from_us, to_us, about, user, out)) {
        free(c);
        return NULL;
    }
    used_columns(c->columns);
    return c;
}

/* All rows of the archive have come. */
static void end_archive(ledger_completing *c)
{
    struct ledger_span *spans = NULL;
    size_t n = 0;
    if (!c->begun)
        return;
    if (c->x.books && !c->x.failed) {
        c->x.failed =
            !ledger_balance(c->x.books, c->x.minutes, c->x.n_minutes, c->from, c->to, &spans, &n);
        if (!c->x.failed)
            balance(&c->x, spans, n, c->only);
        free(spans);
    }
    find_down(&c->x);
}

weir_status ledger_completing_archive(ledger_completing *c, struct ledger_books *books, bool only,
                                      weir_err *err)
{
    end_archive(c);
    c->begun = true;
    c->only = only;
    c->range = begin_archive(&c->x, books, c->columns, &c->from, &c->to);
    return c->x.failed ? no_memory(err) : WEIR_OK;
}

weir_status ledger_completing_rows(ledger_completing *c, const flow_batch *rows, weir_err *err)
{
    weir_status s = ledger_each_of_batch(rows, &c->range, take_row, &c->x, err);
    return s == WEIR_OK && c->x.failed ? no_memory(err) : s;
}

weir_status ledger_completing_end(ledger_completing *c, weir_err *err)
{
    end_archive(c);
    weir_status s = end(&c->x, WEIR_OK, err);
    free(c);
    return s;
}

weir_status ledger_complete_read(const char *const *paths, size_t n_paths,
                                 struct ledger_books *books, int64_t from_us, int64_t to_us,
                                 ledger_about_fn *about, void *user, ledger_complete *out,
                                 weir_err *err)
{
    return complete(paths, n_paths, books, NULL, from_us, to_us, about, user, out, err);
}

weir_status ledger_complete_of_batch(const flow_batch *b, int64_t from_us, int64_t to_us,
                                     ledger_about_fn *about, void *user, ledger_complete *out,
                                     weir_err *err)
{
    return complete(NULL, 0, NULL, b, from_us, to_us, about, user, out, err);
}

/* ---- as text ---- */

size_t ledger_share_text(char *out, double flows, double lost)
{
    enum { MOST = 12 };
    uint64_t ten = 10, digits = 0;
    int places = 1;
    for (;; places++, ten *= 10) {
        long double scaled =
            (long double)flows * 100 * (long double)ten / ((long double)flows + (long double)lost);
        digits = (uint64_t)floorl(scaled);
        if (lost > 0 && digits >= 100 * ten)
            digits = 100 * ten - 1;
        if (digits != 100 * ten - 1 || places == MOST)
            break;
    }
    while (places > 1 && digits % 10 == 0) {
        digits /= 10;
        ten /= 10;
        places--;
    }
    size_t n = base_u64_text(out, digits / ten);
    out[n++] = '.';
    for (uint64_t unit = ten / 10; unit; unit /= 10)
        out[n++] = (char)('0' + digits / unit % 10);
    return n;
}

static void put_number(base_buf *out, uint64_t v)
{
    char text[BASE_U64_TEXT];
    size_t n = base_u64_text(text, v);
    for (size_t i = 0; i < n; i++) {
        if (i && (n - i) % 3 == 0)
            base_buf_char(out, ',');
        base_buf_char(out, text[i]);
    }
}

static void put_count(base_buf *out, uint64_t v, const char *one)
{
    put_number(out, v);
    base_buf_printf(out, " %s%s", one, v == 1 ? "" : "s");
}

static uint64_t rounded(double flows)
{
    return flows >= 1.8e19 ? UINT64_MAX : flows < 1 ? 1 : (uint64_t)llround(flows);
}

static void put_flows(base_buf *out, double flows, bool estimated)
{
    if (estimated)
        base_buf_str(out, "about ");
    put_count(out, rounded(flows), "flow");
}

static void broken_down(int64_t us, bool utc, struct tm *out)
{
    time_t t = (time_t)(us / SECOND - (us % SECOND < 0));
    *out = (struct tm){0};
    if (utc)
        (void)gmtime_r(&t, out);
    else
        (void)localtime_r(&t, out);
}

static bool same_day(const struct tm *a, const struct tm *b)
{
    return a->tm_yday == b->tm_yday && a->tm_year == b->tm_year;
}

static void put_time(base_buf *out, const struct tm *t, bool date)
{
    if (date)
        base_buf_printf(out, "%04d-%02d-%02d ", t->tm_year + 1900, t->tm_mon + 1, t->tm_mday);
    base_buf_printf(out, "%02d:%02d", t->tm_hour, t->tm_min);
}

/* Whether times need their day: what is spoken of is not all of one. */
static bool days_differ(const ledger_complete *c, bool utc)
{
    struct tm a, b;
    int64_t from = c->first_us, to = c->last_us;
    if (!c->known || (c->from_us != INT64_MIN && c->from_us < from))
        from = c->from_us;
    if (!c->known)
        to = c->to_us;
    if (from == INT64_MIN || to == INT64_MAX)
        return true;
    if (c->uncounted) {
        from = c->uncounted_from_us < from ? c->uncounted_from_us : from;
        to = c->uncounted_to_us > to ? c->uncounted_to_us : to;
    }
    if (c->known && c->damaged) {
        from = c->damaged_from_us < from ? c->damaged_from_us : from;
        to = c->damaged_to_us > to ? c->damaged_to_us : to;
    }
    broken_down(from, utc, &a);
    broken_down(to - 1, utc, &b);
    return !same_day(&a, &b);
}

/* "21:05-21:06", "2026-11-22 21:05-21:06", "2026-11-22 23:50 to 2026-11-23 00:10" */
static void put_range(base_buf *out, int64_t from, int64_t to, bool date, bool utc)
{
    struct tm a, b, last;
    broken_down(from, utc, &a);
    broken_down(to, utc, &b);
    broken_down(to - 1, utc, &last);
    bool one_day = same_day(&a, &last);
    put_time(out, &a, date || !one_day);
    base_buf_str(out, one_day ? "-" : " to ");
    put_time(out, &b, !one_day);
}

static void put_span(base_buf *out, int64_t us)
{
    int64_t s = us / SECOND, min = s / 60, h = min / 60, d = h / 24;
    if (d)
        base_buf_printf(out, h % 24 ? "%lld d %lld h" : "%lld d", (long long)d,
                        (long long)(h % 24));
    else if (h)
        base_buf_printf(out, min % 60 ? "%lld h %lld min" : "%lld h", (long long)h,
                        (long long)(min % 60));
    else if (min)
        base_buf_printf(out, s % 60 ? "%lld min %lld s" : "%lld min", (long long)min,
                        (long long)(s % 60));
    else
        base_buf_printf(out, "%lld s", (long long)(s ? s : 1));
}

static const struct {
    const char *name, *why;
} causes[LEDGER_N_CAUSES] = {
    [LEDGER_CAUSE_SEQUENCE] = {"sequence", "sequence gap"},
    [LEDGER_CAUSE_KERNEL] = {"kernel", "dropped by the kernel"},
    [LEDGER_CAUSE_QUEUE] = {"queue", "the collector's queue was full"},
    [LEDGER_CAUSE_OUTPUT] = {"output", "decoded but not stored"},
    [LEDGER_CAUSE_TEMPLATE] = {"template", "their template never came"},
    [LEDGER_CAUSE_REJECTED] = {"rejected", "malformed"},
    [LEDGER_CAUSE_REFUSED] = {"refused", "refused"},
    [LEDGER_CAUSE_DOWN] = {"down", "the collector did not run"},
    [LEDGER_CAUSE_NO_ROOM] = {"no_room", "no room for their exporter or stream"},
    [LEDGER_CAUSE_ARCHIVE] = {"archive", "counted, but not in the archive"},
};

const char *ledger_cause_name(enum ledger_cause c)
{
    return causes[c].name;
}

static void put_loss(base_buf *out, const struct ledger_loss *l, bool date, bool utc)
{
    if (l->exporter_len) {
        base_buf_str(out, "exporter ");
        flow_key_text(FLOW_TYPE_ADDR, l->exporter, l->exporter_len, out);
        base_buf_char(out, ' ');
    }
    base_buf_str(out, l->maybe ? "maybe lost " : "lost ");
    put_flows(out, l->flows, l->estimated);
    base_buf_char(out, ' ');
    put_range(out, l->from_us, l->to_us, date, utc);
    base_buf_printf(out, ": %s", causes[l->cause].why);
}

static void put_item(base_buf *out, size_t *n)
{
    base_buf_str(out, (*n)++ ? "; " : " (");
}

static void put_losses(const ledger_complete *c, size_t most, bool date, bool utc, size_t *n,
                       base_buf *out)
{
    size_t said = 0;
    uint64_t left = c->n_more;
    const struct ledger_loss *gap = NULL;
    bool gaps = false;
    for (size_t i = 0; i < c->n_losses; i++) {
        const struct ledger_loss *l = &c->losses[i];
        if (l->cause == LEDGER_CAUSE_DOWN) {
            gaps = gap != NULL;
            gap = l;
        } else if (said < most) {
            put_item(out, n);
            put_loss(out, l, date, utc);
            said++;
        } else {
            left++;
        }
    }
    if (left && said) {
        put_item(out, n);
        put_number(out, left);
        base_buf_str(out, left == 1 ? " more loss" : " more losses");
    }
    if (c->down_us <= 0)
        return;
    put_item(out, n);
    base_buf_str(out, "the collector did not run for ");
    put_span(out, c->down_us);
    if (gap && !gaps && !c->n_more) {
        base_buf_str(out, ": ");
        put_range(out, gap->from_us, gap->to_us, date, utc);
    }
}

/* Not all of what was asked for, or of what there is. */
static bool begins_late(const ledger_complete *c)
{
    return c->uncounted_before || (c->from_us != INT64_MIN && c->first_us - c->from_us > MINUTE);
}

static bool ends_early(const ledger_complete *c)
{
    return c->uncounted_behind || (c->to_us != INT64_MAX && c->to_us - c->last_us > LATE_US);
}

/* Nothing of it is unknown. */
static bool is_sure(const ledger_complete *c)
{
    return !c->down_us && !c->unnumbered && !c->unsure && !(c->maybe > 0) && !c->uncounted &&
           !c->damaged && !begins_late(c) && !ends_early(c);
}

/* Flows without account that are not those of before or behind it. */
static void put_uncounted(const ledger_complete *c, bool date, bool utc, size_t *n, base_buf *out)
{
    uint64_t flows = c->uncounted - c->uncounted_before - c->uncounted_behind;
    if (!flows)
        return;
    put_item(out, n);
    put_count(out, flows, "flow");
    base_buf_char(out, ' ');
    put_range(out, c->between_from_us, c->between_to_us, date, utc);
    base_buf_str(out, " that the ledger does not count");
}

static void put_edge(base_buf *out, const char *what, int64_t us, bool date, bool utc)
{
    struct tm t;
    broken_down(us, utc, &t);
    base_buf_str(out, what);
    put_time(out, &t, date);
}

static void put_damaged(const ledger_complete *c, bool date, bool utc, size_t *n, base_buf *out)
{
    if (!c->damaged)
        return;
    put_item(out, n);
    base_buf_str(out, c->unread ? "counts of " : "up to a second of counts ");
    put_range(out, c->damaged_from_us, c->damaged_to_us, date, utc);
    base_buf_str(out, c->unread ? " cannot be read: checkpoint damaged"
                                : " may be missing: checkpoint damaged");
}

static void put_unknown(const ledger_complete *c, bool utc, base_buf *out)
{
    bool date = days_differ(c, utc);
    base_buf_str(out, "not known: no ledger");
    if (c->from_us != INT64_MIN)
        put_edge(out, c->to_us == INT64_MAX ? " after " : " from ", c->from_us, date, utc);
    if (c->to_us != INT64_MAX)
        put_edge(out, c->from_us == INT64_MIN ? " before " : " to ", c->to_us, date, utc);
    size_t n = 0;
    put_damaged(c, true, utc, &n, out);
    if (n)
        base_buf_char(out, ')');
}

void ledger_complete_text(const ledger_complete *c, size_t most, bool utc, base_buf *out)
{
    if (!c->known) {
        put_unknown(c, utc, out);
        return;
    }
    bool date = days_differ(c, utc);
    size_t n = 0;
    if (c->lost > 0) {
        char share[LEDGER_SHARE_TEXT];
        if (c->estimated)
            base_buf_str(out, "about ");
        base_buf_add(out, share, ledger_share_text(share, (double)c->flows, c->lost));
        base_buf_str(out, " %");
    } else {
        base_buf_str(out, "complete");
        if (!is_sure(c))
            base_buf_str(out, " as far as known");
    }
    put_losses(c, most, date, utc, &n, out);
    put_uncounted(c, date, utc, &n, out);
    put_damaged(c, date, utc, &n, out);
    static const struct {
        enum ledger_cause cause;
        const char *how;
    } beside[] = {{LEDGER_CAUSE_KERNEL, "dropped by the kernel"},
                  {LEDGER_CAUSE_QUEUE, "dropped before decoding"},
                  {LEDGER_CAUSE_REFUSED, "refused"}};
    for (size_t i = 0; i < ARRAY_LEN(beside); i++)
        if (c->packets_of[beside[i].cause]) {
            put_item(out, &n);
            put_count(out, c->packets_of[beside[i].cause], "packet");
            base_buf_printf(out, " %s", beside[i].how);
        }
    if (c->unnumbered) {
        put_item(out, &n);
        put_count(out, c->unnumbered, "flow");
        base_buf_str(out, " of NetFlow v1, which has no sequence numbers");
    }
    if (c->unsure) {
        put_item(out, &n);
        put_count(out, c->unsure, "gap");
        base_buf_str(out, " of unknown size");
    }
    if (begins_late(c)) {
        put_item(out, &n);
        put_edge(out, "no ledger before ", c->first_us, date, utc);
    }
    if (ends_early(c)) {
        put_item(out, &n);
        put_edge(out, "no ledger after ", c->last_us, date, utc);
    }
    if (n)
        base_buf_char(out, ')');
}

/* ---- as JSON ---- */

static void json_time(base_buf *out, const char *name, int64_t us)
{
    char text[BASE_TIME_TEXT];
    if (us > INT64_MIN / 1000 && us < INT64_MAX / 1000)
        base_buf_printf(out, ",\"%s\":\"%.*s\"", name, (int)base_time_text(text, us * 1000, 0),
                        text);
}

static void json_number(base_buf *out, const char *name, double v)
{
    char text[BASE_F64_TEXT];
    if (v < 1e15 && v - floor(v) <= 0)
        base_buf_printf(out, ",\"%s\":%.0f", name, v);
    else
        base_buf_printf(out, ",\"%s\":%.*s", name, (int)base_f64_text(text, v), text);
}

void ledger_complete_json(const ledger_complete *c, base_buf *out)
{
    bool all = c->known && !(c->lost > 0) && is_sure(c);
    base_buf_printf(out, "{\"known\":%s,\"complete\":%s", c->known ? "true" : "false",
                    all ? "true" : "false");
    if (c->known) {
        json_number(out, "share", c->share);
        base_buf_printf(out, ",\"flows\":%llu", (unsigned long long)c->flows);
        json_number(out, "lost", c->lost);
        base_buf_printf(out,
                        ",\"estimated\":%s,\"down_us\":%lld,\"unnumbered_flows\":%llu,"
                        "\"unsure_gaps\":%llu,\"exporters_with_loss\":%llu",
                        c->estimated ? "true" : "false", (long long)c->down_us,
                        (unsigned long long)c->unnumbered, (unsigned long long)c->unsure,
                        (unsigned long long)c->exporters_with_loss);
        json_number(out, "maybe_lost", c->maybe);
        base_buf_printf(out, ",\"uncounted_flows\":%llu", (unsigned long long)c->uncounted);
        if (c->uncounted) {
            json_time(out, "uncounted_from", c->uncounted_from_us);
            json_time(out, "uncounted_to", c->uncounted_to_us);
        }
    }
    base_buf_printf(out, ",\"damaged_checkpoints\":%u", c->damaged);
    if (c->damaged) {
        json_time(out, "damaged_from", c->damaged_from_us);
        json_time(out, "damaged_to", c->damaged_to_us);
    }
    json_time(out, "from", c->from_us);
    json_time(out, "to", c->to_us);
    if (!c->known) {
        base_buf_char(out, '}');
        return;
    }
    json_time(out, "first", c->first_us);
    json_time(out, "last", c->last_us);
    base_buf_str(out, ",\"packets\":{");
    const char *before = "";
    for (int i = 0; i < LEDGER_N_CAUSES; i++)
        if (i != LEDGER_CAUSE_DOWN && i != LEDGER_CAUSE_OUTPUT && i != LEDGER_CAUSE_ARCHIVE) {
            base_buf_printf(out, "%s\"%s\":%llu", before, causes[i].name,
                            (unsigned long long)c->packets_of[i]);
            before = ",";
        }
    base_buf_str(out, "},\"losses\":[");
    for (size_t i = 0; i < c->n_losses; i++) {
        const struct ledger_loss *l = &c->losses[i];
        base_buf_printf(out, "%s{\"cause\":\"%s\"", i ? "," : "", causes[l->cause].name);
        if (l->exporter_len) {
            base_buf_str(out, ",\"exporter\":\"");
            flow_key_text(FLOW_TYPE_ADDR, l->exporter, l->exporter_len, out);
            base_buf_char(out, '"');
        }
        json_time(out, "from", l->from_us);
        json_time(out, "to", l->to_us);
        json_number(out, "flows", l->flows);
        base_buf_printf(out, ",\"packets\":%llu,\"estimated\":%s,\"maybe\":%s}",
                        (unsigned long long)l->packets, l->estimated ? "true" : "false",
                        l->maybe ? "true" : "false");
    }
    base_buf_printf(out, "],\"more_losses\":%zu}", c->n_more);
}
