#include "ledger/exporters.h"

#include "ledger/complete.h"
#include "ledger/index.h"

#include <math.h>
#include <stdlib.h>

static const int64_t MINUTE = 60000000;

enum { RING = LEDGER_EXPORTERS_RATE_MINUTES, WORKERS = 1024 };

struct stream {
    struct ledger_stream_key key;
    struct ledger_row sum;
    int64_t first, last;
    double lost, flows, decoded;
    bool estimated;
    struct {
        int64_t minute;
        uint64_t flows, packets;
    } recent[RING];
};

struct ledger_exporters {
    bool by_domain, failed;
    struct stream *streams; /* n of them, until they are sorted each with the number of its key */
    size_t n, cap;
    ledger_index index;
    int64_t first_minute, last_minute;
    int64_t began,
        told;      /* when the collector began and up to when it counted, as it says: INT64_MAX,
                            INT64_MIN: it does not */
    int64_t heard; /* arrival of the first packet of the first minute; INT64_MAX: not known */
    int64_t since; /* what rates are of: minutes from this one on, in so many seconds */
    double seconds;
    double decoded; /* packets of all */
    bool any;
    struct ledger_exporter *exporters;
    size_t n_exporters;
    struct ledger_collector collector;
    ledger_findings *findings;
    struct {
        bool any;
        uint64_t us;
    } workers[WORKERS]; /* that listened, by number, and for how long */
    struct {
        int64_t minute;
        uint64_t us[WORKERS]; /* that each listened */
    } listened[RING];
};

ledger_exporters *ledger_exporters_new(bool by_domain)
{
    ledger_exporters *x = calloc(1, sizeof *x);
    if (!x)
        return NULL;
    x->by_domain = by_domain;
    x->began = x->heard = INT64_MAX;
    x->told = INT64_MIN;
    ledger_index_init(&x->index, sizeof(struct ledger_stream_key));
    x->findings = ledger_findings_new();
    for (size_t i = 0; i < RING; i++)
        x->listened[i].minute = INT64_MIN;
    if (x->findings)
        return x;
    free(x);
    return NULL;
}

void ledger_exporters_free(ledger_exporters *x)
{
    if (!x)
        return;
    ledger_findings_free(x->findings);
    ledger_index_done(&x->index);
    free(x->streams);
    free(x->exporters);
    free(x);
}

/* ---- rows ---- */

static struct stream *stream_of(ledger_exporters *x, const struct ledger_row *row)
{
    struct ledger_stream_key k = ledger_stream_key_of(row);
    uint32_t at = ledger_index_find(&x->index, &k);
    if (at != LEDGER_INDEX_NONE)
        return &x->streams[at];
    if (x->n == LEDGER_EXPORTERS_STREAMS) {
        x->collector.left_out++;
        return NULL;
    }
    if (x->n == x->cap) {
        size_t cap = x->cap ? 2 * x->cap : 16;
        struct stream *more = realloc(x->streams, cap * sizeof *more);
        if (!more) {
            x->failed = true;
            return NULL;
        }
        x->streams = more;
        x->cap = cap;
    }
    if (ledger_index_add(&x->index, &k) == LEDGER_INDEX_NONE) {
        x->failed = true;
        return NULL;
    }
    struct stream *s = &x->streams[x->n++];
    *s = (struct stream){.key = k, .first = INT64_MAX, .last = INT64_MIN};
    for (size_t i = 0; i < RING; i++)
        s->recent[i].minute = INT64_MIN;
    return s;
}

/* Flows of a packet: of this minute, else of the stream until now, else of all. */
static double average_of(const ledger_exporters *x, const struct stream *s,
                         const struct ledger_row *row)
{
    double near = ledger_flows_a_packet(row), all = (double)x->collector.flows;
    if (near > 0)
        return near;
    if (s->flows > 0 && s->decoded > 0)
        return s->flows / s->decoded;
    return all > 0 && x->decoded > 0 ? all / x->decoded : 1;
}

static size_t slot_of(int64_t minute)
{
    return (size_t)((uint64_t)(minute / MINUTE) % RING);
}

static void count_stream(const ledger_exporters *x, struct stream *s, const struct ledger_row *row)
{
    uint64_t flows = ledger_count(row, FLOW_LEDGER_flows),
             packets = ledger_count(row, FLOW_LEDGER_packets);
    struct ledger_missing missing;
    ledger_fold(&s->sum, row);
    ledger_missing_of(row, average_of(x, s, row), &missing);
    for (int i = 0; i < LEDGER_N_CAUSES; i++) {
        s->lost += missing.flows[i];
        s->estimated |= missing.estimated[i];
    }
    s->flows += (double)flows;
    s->decoded += (double)ledger_count(row, FLOW_LEDGER_decoded);
    int64_t first = ledger_has(row, FLOW_LEDGER_first) ? row->values[FLOW_LEDGER_first].s64
                                                       : row->minute_us,
            last = ledger_has(row, FLOW_LEDGER_last) ? row->values[FLOW_LEDGER_last].s64
                                                     : row->minute_us;
    s->first = first < s->first ? first : s->first;
    s->last = last > s->last ? last : s->last;
    size_t slot = slot_of(row->minute_us);
    if (s->recent[slot].minute < row->minute_us) {
        s->recent[slot].minute = row->minute_us;
        s->recent[slot].flows = s->recent[slot].packets = 0;
    }
    if (s->recent[slot].minute == row->minute_us) {
        s->recent[slot].flows += flows;
        s->recent[slot].packets += packets;
    }
}

/* Pieces of one minute of one worker may come one by one. */
static void count_listened(ledger_exporters *x, const struct ledger_row *row)
{
    size_t slot = slot_of(row->minute_us), worker = row->worker % WORKERS;
    uint64_t us = ledger_count(row, FLOW_LEDGER_listened), *all = &x->workers[worker].us;
    x->workers[worker].any = true;
    *all = us < UINT64_MAX - *all ? *all + us : UINT64_MAX;
    if (x->listened[slot].minute < row->minute_us) {
        memset(&x->listened[slot], 0, sizeof x->listened[slot]);
        x->listened[slot].minute = row->minute_us;
    }
    uint64_t *sum = &x->listened[slot].us[worker];
    if (x->listened[slot].minute == row->minute_us)
        *sum = *sum + us < (uint64_t)MINUTE && us < (uint64_t)MINUTE ? *sum + us : (uint64_t)MINUTE;
}

/* Live, minutes have a beginning and an end of their own. Where a row does not say from when it counts: a worker that was stopped
 * and started again within a minute has listened for less than has passed since it began first, so that what its sum says is only
 * the latest that it can be. */
static void count_times(ledger_exporters *x, const struct ledger_row *row)
{
    int64_t minute = row->minute_us, last = ledger_signed(row, FLOW_LEDGER_last);
    if (!ledger_has(row, FLOW_LEDGER_last) || last <= minute || last > minute + MINUTE)
        return;
    uint64_t us = ledger_count(row, FLOW_LEDGER_listened);
    int64_t began = us < (uint64_t)(last - minute) ? last - (int64_t)us : minute;
    if (ledger_has(row, FLOW_LEDGER_first)) {
        int64_t first = row->values[FLOW_LEDGER_first].s64;
        began = first >= minute && first <= last ? first : began;
    }
    x->began = began < x->began ? began : x->began;
    x->told = last > x->told ? last : x->told;
}

/* Whoever heard a packet had begun to listen. */
static void count_heard(ledger_exporters *x, const struct ledger_row *row)
{
    int64_t first = ledger_signed(row, FLOW_LEDGER_first);
    if (ledger_has(row, FLOW_LEDGER_first) && first >= row->minute_us &&
        first < row->minute_us + MINUTE)
        x->heard = first < x->heard ? first : x->heard;
}

bool ledger_exporters_row(void *user, const struct ledger_row *row)
{
    ledger_exporters *x = user;
    struct ledger_collector *c = &x->collector;
    bool collector = !row->exporter_len && !row->version && !row->has_domain;
    x->first_minute =
        !x->any || row->minute_us < x->first_minute ? row->minute_us : x->first_minute;
    x->last_minute = !x->any || row->minute_us > x->last_minute ? row->minute_us : x->last_minute;
    x->any = true;
    (void)ledger_findings_row(x->findings, row);
    c->packets += ledger_count(row, FLOW_LEDGER_packets);
    c->flows += ledger_count(row, FLOW_LEDGER_flows);
    x->decoded += (double)ledger_count(row, FLOW_LEDGER_decoded);
    c->packets_dropped += ledger_count(row, FLOW_LEDGER_packets_dropped);
    c->packets_refused += ledger_count(row, FLOW_LEDGER_packets_refused);
    c->flows_lost += ledger_count(row, FLOW_LEDGER_flows_lost);
    if (collector) {
        ledger_fold(&c->sum, row);
        count_times(x, row);
        if (ledger_has(row, FLOW_LEDGER_listened))
            count_listened(x, row);
    } else {
        struct stream *s = stream_of(x, row);
        count_heard(x, row);
        if (s)
            count_stream(x, s, row);
    }
    return !x->failed;
}

/* ---- the end ---- */

/* Streams of one exporter together; of those, the ones without domain or version last. */
static int compare_streams(const void *a, const void *b)
{
    const struct ledger_stream_key *x = &((const struct stream *)a)->key,
                                   *y = &((const struct stream *)b)->key;
    if (x->exporter_len != y->exporter_len)
        return x->exporter_len < y->exporter_len ? -1 : 1;
    int c = memcmp(x->exporter, y->exporter, sizeof x->exporter);
    if (c)
        return c;
    if (x->port != y->port)
        return x->port < y->port ? -1 : 1;
    if (x->has_domain != y->has_domain)
        return x->has_domain ? -1 : 1;
    if (x->domain != y->domain)
        return x->domain < y->domain ? -1 : 1;
    return x->version < y->version ? -1 : x->version > y->version;
}

static bool same_exporter(const struct ledger_stream_key *a, const struct ledger_stream_key *b)
{
    return a->exporter_len == b->exporter_len && a->port == b->port &&
           memcmp(a->exporter, b->exporter, sizeof a->exporter) == 0;
}

/* Bits of one of two rates differ. */
static bool same_rate(const struct ledger_row *a, const struct ledger_row *b)
{
    bool has = ledger_has(a, FLOW_LEDGER_sampling_rate);
    if (has != ledger_has(b, FLOW_LEDGER_sampling_rate))
        return false;
    double d =
        has ? a->values[FLOW_LEDGER_sampling_rate].f64 - b->values[FLOW_LEDGER_sampling_rate].f64
            : 0;
    return d >= 0 && d <= 0;
}

/* The time that rates from minute `since` on are of: what the worker that listened most did, minute by minute; without a
 * collector that listens, as with captures, the whole minutes. */
static double seconds_since(const ledger_exporters *x, int64_t since)
{
    uint64_t us = 0;
    for (size_t i = 0; i < RING; i++) {
        uint64_t most = 0;
        for (size_t k = 0; x->listened[i].minute >= since && k < WORKERS; k++)
            most = x->listened[i].us[k] > most ? x->listened[i].us[k] : most;
        us += most;
    }
    if (!us)
        us = (uint64_t)(x->last_minute - since + MINUTE);
    return us < 1000000 ? 1 : (double)us / 1e6;
}

/* Streams [from, to) as one exporter. dropped: its packets that nobody looked at, of which so many flows are missing. */
static void fill(const ledger_exporters *x, struct ledger_exporter *e, size_t from, size_t to,
                 double dropped)
{
    const struct stream *first = &x->streams[from], *rated = NULL, *domain = NULL;
    int64_t since = x->since;
    double flows = 0, packets = 0;
    *e = (struct ledger_exporter){.exporter_len = first->key.exporter_len,
                                  .exporter_port = first->key.port,
                                  .first_us = INT64_MAX,
                                  .last_us = INT64_MIN,
                                  .lost = dropped,
                                  .estimated = dropped > 0};
    memcpy(e->exporter, first->key.exporter, sizeof e->exporter);
    e->sum.exporter_len = e->exporter_len;
    memcpy(e->sum.exporter, e->exporter, sizeof e->exporter);
    for (size_t i = from; i < to; i++) {
        const struct stream *s = &x->streams[i];
        ledger_fold(&e->sum, &s->sum);
        if (s->key.has_domain && (!domain || domain->key.domain != s->key.domain)) {
            e->n_domains++;
            e->domain = s->key.domain;
            domain = s;
        }
        if (s->key.version) {
            e->versions |= UINT32_C(1) << s->key.version % 32;
            e->numbered |= s->key.version != 1;
            e->rate_varies |= rated && !same_rate(&rated->sum, &s->sum);
            rated = s;
        }
        e->templates += ledger_count(&s->sum, FLOW_LEDGER_templates);
        e->first_us = s->first < e->first_us ? s->first : e->first_us;
        e->last_us = s->last > e->last_us ? s->last : e->last_us;
        e->lost += s->lost;
        e->estimated |= s->estimated;
        for (size_t k = 0; k < RING; k++)
            if (s->recent[k].minute >= since) {
                flows += (double)s->recent[k].flows;
                packets += (double)s->recent[k].packets;
            }
    }
    e->has_domain = e->n_domains == 1;
    e->flows_a_second = flows / x->seconds;
    e->packets_a_second = packets / x->seconds;
    if (!(e->lost > 0))
        e->lost = 0, e->estimated = false;
    uint64_t all = ledger_count(&e->sum, FLOW_LEDGER_flows),
             lost = ledger_count(&e->sum, FLOW_LEDGER_flows_lost);
    double there = (double)(all > lost ? all - lost : 0);
    e->share = there + e->lost > 0 ? there / (there + e->lost) : (double)NAN;
    if (e->lost > 0 && e->share >= 1)
        e->share = nextafter(1, 0);
}

/* Flows in packets that were dropped before anybody looked at them, where no sequence numbers tell of them. */
static double dropped_flows(const ledger_exporters *x, size_t from, size_t to)
{
    double dropped = 0, packets = 0, unnumbered = 0, flows = 0, decoded = 0;
    for (size_t i = from; i < to; i++) {
        const struct stream *s = &x->streams[i];
        double n = (double)ledger_count(&s->sum, FLOW_LEDGER_packets);
        dropped += (double)ledger_count(&s->sum, FLOW_LEDGER_packets_dropped);
        packets += n;
        unnumbered += s->key.version == 1 ? n : 0;
        flows += s->flows;
        decoded += s->decoded;
    }
    double share = packets > 0 ? unnumbered / packets : 1;
    double all = (double)x->collector.flows, average = flows > 0 && decoded > 0 ? flows / decoded
                                                       : all > 0 && x->decoded > 0
                                                           ? all / x->decoded
                                                           : 1;
    return share * dropped * average;
}

static void add_warnings(const ledger_exporters *x, struct ledger_exporter *e)
{
    for (size_t i = 0; i < ledger_findings_count(x->findings); i++) {
        const ledger_finding *f = ledger_findings_at(x->findings, i);
        bool theirs = !f->collector && f->exporter_len == e->exporter_len &&
                      memcmp(f->exporter, e->exporter, sizeof e->exporter) == 0 &&
                      (!f->exporter_port || f->exporter_port == e->exporter_port) &&
                      (!x->by_domain || !f->has_domain ||
                       (e->has_domain && f->domain == e->domain &&
                        (!f->version || (e->versions >> f->version % 32 & 1))));
        for (size_t k = 0; theirs && k < e->n_warnings; k++)
            theirs = e->warnings[k]->id != f->id;
        if (theirs && e->n_warnings < LEDGER_EXPORTERS_WARNINGS)
            e->warnings[e->n_warnings++] = f;
    }
}

static double lost_share(const struct ledger_exporter *e)
{
    return e->share <= 1 ? 1 - e->share : 0;
}

static int compare_address(const struct ledger_exporter *a, const struct ledger_exporter *b)
{
    if (a->exporter_len != b->exporter_len)
        return a->exporter_len < b->exporter_len ? -1 : 1;
    int c = memcmp(a->exporter, b->exporter, sizeof a->exporter);
    if (c)
        return c;
    if (a->exporter_port != b->exporter_port)
        return a->exporter_port < b->exporter_port ? -1 : 1;
    if (a->has_domain != b->has_domain)
        return a->has_domain ? -1 : 1;
    if (a->domain != b->domain)
        return a->domain < b->domain ? -1 : 1;
    return a->versions < b->versions ? -1 : a->versions > b->versions;
}

static int compare_exporters(const void *a, const void *b, void *user)
{
    const struct ledger_exporter *x = a, *y = b;
    enum ledger_order order = *(const enum ledger_order *)user;
    uint64_t m = ledger_count(&x->sum, FLOW_LEDGER_flows),
             n = ledger_count(&y->sum, FLOW_LEDGER_flows);
    double p = lost_share(x), q = lost_share(y);
    if (order == LEDGER_ORDER_LOSS && (p > q || p < q))
        return p > q ? -1 : 1;
    if (order == LEDGER_ORDER_LAST && x->last_us != y->last_us)
        return x->last_us > y->last_us ? -1 : 1;
    if (order == LEDGER_ORDER_FLOWS && m != n)
        return m > n ? -1 : 1;
    return compare_address(x, y);
}

static void end_collector(ledger_exporters *x)
{
    struct ledger_collector *c = &x->collector;
    if (x->any) {
        int64_t began = x->began < x->heard ? x->began : x->heard;
        c->first_us = x->first_minute;
        c->last_us = x->last_minute + MINUTE;
        if (x->told > x->last_minute && x->told < c->last_us)
            c->last_us = x->told;
        /* Only who listened tells when; of captures the minutes are whole. */
        if (x->began < INT64_MAX && began > x->first_minute && began < x->first_minute + MINUTE &&
            began < c->last_us)
            c->first_us = began;
    }
    for (size_t i = 0; i < WORKERS; i++) {
        c->workers += x->workers[i].any;
        c->listened_us = x->workers[i].us > c->listened_us ? x->workers[i].us : c->listened_us;
    }
    /* Up to when a part of a minute counts is known a second late. */
    if (c->listened_us > (uint64_t)(c->last_us - c->first_us))
        c->listened_us = (uint64_t)(c->last_us - c->first_us);
    for (size_t i = 0; i < ledger_findings_count(x->findings); i++) {
        const ledger_finding *f = ledger_findings_at(x->findings, i);
        if (f->collector && c->n_warnings < LEDGER_EXPORTERS_WARNINGS)
            c->warnings[c->n_warnings++] = f;
    }
}

weir_status ledger_exporters_end(ledger_exporters *x, enum ledger_order order, weir_err *err)
{
    if (!x->failed)
        x->failed = ledger_findings_end(x->findings, err) != WEIR_OK ||
                    !(x->exporters = calloc(x->n + 1, sizeof *x->exporters));
    if (x->failed)
        return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory for the exporters of the ledger");
    x->since = x->last_minute - (RING - 1) * MINUTE;
    x->since = x->since > x->first_minute ? x->since : x->first_minute;
    x->seconds = seconds_since(x, x->since);
    if (x->n)
        qsort(x->streams, x->n, sizeof *x->streams, compare_streams);
    for (size_t from = 0, to; from < x->n; from = to) {
        for (to = from + 1; to < x->n; to++)
            if (!same_exporter(&x->streams[from].key, &x->streams[to].key))
                break;
        double dropped = dropped_flows(x, from, to);
        if (!x->by_domain) {
            fill(x, &x->exporters[x->n_exporters++], from, to, dropped);
            continue;
        }
        for (size_t i = from; i < to; i++) {
            bool nobodys = !x->streams[i].key.has_domain && !x->streams[i].key.version;
            fill(x, &x->exporters[x->n_exporters++], i, i + 1, nobodys ? dropped : 0);
        }
    }
    if (x->n_exporters)
        qsort_r(x->exporters, x->n_exporters, sizeof *x->exporters, compare_exporters, &order);
    for (size_t i = 0; i < x->n_exporters; i++)
        add_warnings(x, &x->exporters[i]);
    end_collector(x);
    return WEIR_OK;
}

ledger_findings *ledger_exporters_findings(ledger_exporters *x)
{
    return x->findings;
}

size_t ledger_exporters_count(const ledger_exporters *x)
{
    return x->n_exporters;
}

const struct ledger_exporter *ledger_exporters_at(const ledger_exporters *x, size_t i)
{
    return &x->exporters[i];
}

const struct ledger_collector *ledger_exporters_collector(const ledger_exporters *x)
{
    return &x->collector;
}
