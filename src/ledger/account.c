/* What is noted is always the difference to the look before, at three levels: stream, exporter, all. What an exporter counted
 * beyond its streams (rejected before the version was known, streams that have made room since) is its own row; what all
 * counted beyond the exporters is the collector's. So every count is in exactly one row, whatever has come and gone between
 * two looks. */
#include "ledger/account.h"

#include "base/hash.h"
#include "base/rd.h"

#include <stdlib.h>

#define SECOND_NS INT64_C(1000000000)
#define MINUTE_NS (60 * SECOND_NS)

static const char magic[8] = "WEIRACC2";

enum {
    MAX_ENTRIES = 1 << 17, /* rows of one minute; what is beyond goes into the collector's own */
    MAX_STRANGERS =
        4096, /* of those, addresses that are known for dropped or refused packets alone */
    MAX_READY = 1 << 18, /* rows that nobody has fetched; then a minute is one row */
    CURRENT = 0,         /* entry.minute: that of the account */
    BLOCK = 64,          /* rows that are made at once */
    MAX_GLANCES = 8192,  /* streams and exporters that ledger_account_sample looks at */
    NONE = FLOW_N_LEDGER_COLUMNS
};

/* ---- counters and their columns ---- */

/* Counters whose column does not have their name, or who have none. A counter that is new in WEIR_COUNTERS_MAP is an undeclared
 * name below until it has a column or a line here. */
enum {
    FLOW_LEDGER_sets_waiting = NONE, /* now: nothing to sum up over minutes */
    FLOW_LEDGER_octets_waiting = NONE,
    FLOW_LEDGER_sequence_recovered = NONE, /* taken from sequence_lost */
    REJECT_VERSION = FLOW_LEDGER_rejected_unknown_version,
    REJECT_HEADER = FLOW_LEDGER_rejected_short_header,
    REJECT_LENGTH = FLOW_LEDGER_rejected_message_length,
    REJECT_SET = FLOW_LEDGER_rejected_set_bounds,
    REJECT_COUNT = FLOW_LEDGER_rejected_record_count,
    REJECT_STATE = FLOW_LEDGER_rejected_state_limit,
    REJECT_MEMORY = FLOW_LEDGER_rejected_out_of_memory,
    FAULT_SET_BOUNDS = FLOW_LEDGER_fault_set_bounds,
    FAULT_SET_RESERVED = FLOW_LEDGER_fault_reserved_set,
    FAULT_TEMPLATE = FLOW_LEDGER_fault_template_malformed,
    FAULT_TEMPLATE_LIMIT = FLOW_LEDGER_fault_template_limit,
    FAULT_RECORD = FLOW_LEDGER_fault_record_truncated,
    FAULT_MEMORY = FLOW_LEDGER_fault_out_of_memory
};

/* weir_counters is a row of uint64_t; this is its order. */
enum {
#define X(name) AT_##name,
    WEIR_COUNTERS_MAP(X)
#undef X
        AT_rejected,
    AT_faults = AT_rejected + WEIR_N_REJECT,
    N_COUNTERS = AT_faults + WEIR_N_FAULT,
    /* and behind them what the decoder does not know */
    AT_flows_lost = N_COUNTERS,
    AT_options_lost,
    AT_flows_reversed,
    AT_packets_dropped,
    AT_packets_refused,
    AT_kernel_drops,
    AT_receive_errors,
    AT_listened,
    N_SUMS
};
_Static_assert(sizeof(weir_counters) == N_COUNTERS * sizeof(uint64_t), "counters alone");
_Static_assert(offsetof(weir_counters, rejected) == AT_rejected * sizeof(uint64_t),
               "in this order");
_Static_assert(offsetof(weir_counters, faults) == AT_faults * sizeof(uint64_t), "in this order");

static const uint16_t columns[N_SUMS] = {
#define X(name) [AT_##name] = FLOW_LEDGER_##name,
    WEIR_COUNTERS_MAP(X)
#undef X
#define X(name, text) [AT_rejected + WEIR_REJECT_##name] = REJECT_##name,
        WEIR_REJECT_MAP(X)
#undef X
#define X(name, text) [AT_faults + WEIR_FAULT_##name] = FAULT_##name,
            WEIR_FAULT_MAP(X)
#undef X
                [AT_flows_lost] = FLOW_LEDGER_flows_lost,
    [AT_options_lost] = FLOW_LEDGER_options_lost,
    [AT_flows_reversed] = FLOW_LEDGER_flows_reversed,
    [AT_packets_dropped] = FLOW_LEDGER_packets_dropped,
    [AT_packets_refused] = FLOW_LEDGER_packets_refused,
    [AT_kernel_drops] = FLOW_LEDGER_kernel_drops,
    [AT_receive_errors] = FLOW_LEDGER_receive_errors,
    [AT_listened] = FLOW_LEDGER_listened,
};

/* ---- what is kept ---- */

/* What a row is about. All octets are set, so that keys are compared as octets. */
struct key {
    uint8_t addr[16];
    int64_t minute; /* CURRENT, or microseconds since 1970 */
    uint32_t domain;
    uint16_t port, version; /* 0: none */
    uint8_t family;
    bool has_domain;
    uint8_t zero[6];
};
_Static_assert(sizeof(struct key) == 40, "no octets between");

/* A row of the current minute as it grows. */
struct entry {
    struct entry *chain; /* next in its bucket */
    struct entry *next;  /* in order of appearance */
    struct key key;
    uint64_t hash;
    uint64_t sums[N_SUMS];
    int64_t first_ns, last_ns; /* 0: no packet */
    /* of a stream, as it was last seen */
    bool is_stream;
    uint8_t origin;
    const char *unit; /* of sequence numbers, NULL: that of the version */
    uint32_t uptime_ms;
    uint64_t templates;
    double rate;
    int64_t skew_min_ns, skew_max_ns;
    int64_t exported_flows, ignored_packets, not_sent_flows; /* -1: not said */
};

/* A stream or an exporter that the decoder has, as it was last found. */
struct seen {
    struct seen *chain; /* next in its bucket */
    uint64_t hash, serial;
    struct seen *next;    /* of the same exporter; or the next exporter */
    struct seen *streams; /* of an exporter */
    size_t n_streams;
    uint64_t look;          /* the look that found it last */
    uint64_t quick, glance; /* quick_of its counters: those noted here, those seen last */
    uint64_t n_quick;       /* of an exporter: streams that had more to note at the last glance */
    bool ports_apart;       /* of an exporter */
    uint64_t packets;       /* seen last */
    int64_t seen_ns;        /* arrival of the last of them */
    int64_t looked_ns;      /* of an exporter: when it was looked at last */
    struct entry *entry;    /* its row, when minute_no is the account's */
    uint64_t minute_no;
    /* what came since the counters were noted; last_ns 0: nothing */
    int64_t first_ns, last_ns, skew_min_ns, skew_max_ns;
    struct key key;
    uint64_t templates, sets_waiting;
    uint64_t counters[N_COUNTERS]; /* all that stands in rows, or went up from there */
};

struct table {
    struct seen **slots;
    size_t n_slots, n;
};

struct insides {
    const weir_decoder *d;
    unsigned worker;
    uint64_t seed, look, minute_no;
    bool began; /* minute is known */
    int64_t minute_ns, until_ns,
        early_ns;   /* the minute; packets from early_ns to until_ns belong to it */
    int64_t now_ns; /* the latest time told */
    struct table streams, exporters;
    uint64_t n_found,
        part;         /* of the last glance: streams and exporters; which part of them is next */
    struct seen *all; /* exporters */
    uint64_t total[N_COUNTERS];
    struct entry own; /* the collector's */
    struct entry *first, **last, *spare;
    struct entry **slots;
    size_t n_slots, n_entries, n_strangers, n_spare;
    struct ledger_receiver receiver;
    bool has_receiver;
    /* Of the part that is counted now, up to when; of the one that was cut last, the same and in which minute. */
    int64_t told_ns, cut_ns, cut_minute_ns;
    flow_batch *ready, *scratch;
};

/* The insides stand apart: taking up what the decoder has counted in the meantime is no change that anybody could see. */
struct ledger_account {
    struct insides *in;
};

/* ---- the tables ---- */

static uint64_t serial_hash(uint64_t serial)
{
    return serial * 0x9e3779b97f4a7c15u >> 32;
}

/* Exporters are found by address too, streams by serial number alone. */
static uint64_t address_hash(const struct insides *in, const weir_endpoint *address)
{
    return base_hash(address->addr, address->family == 4 ? 4 : 16, in->seed);
}

static struct seen **seen_slot(const struct table *t, uint64_t hash)
{
    return &t->slots[hash & (t->n_slots - 1)];
}

static struct seen *seen_find(const struct table *t, uint64_t hash, uint64_t serial)
{
    struct seen *s = t->n_slots ? *seen_slot(t, hash) : NULL;
    while (s && s->serial != serial)
        s = s->chain;
    return s;
}

static bool table_grow(struct table *t)
{
    if (t->n < t->n_slots)
        return true;
    struct table bigger = {.n_slots = t->n_slots ? 2 * t->n_slots : 64, .n = t->n};
    bigger.slots = calloc(bigger.n_slots, sizeof(struct seen *));
    if (!bigger.slots)
        return t->n_slots > 0; /* longer chains will do */
    for (size_t i = 0; i < t->n_slots; i++)
        for (struct seen *s = t->slots[i], *next; s; s = next) {
            next = s->chain;
            s->chain = *seen_slot(&bigger, s->hash);
            *seen_slot(&bigger, s->hash) = s;
        }
    free(t->slots);
    *t = bigger;
    return true;
}

static struct seen *seen_add(struct table *t, uint64_t hash, uint64_t serial)
{
    struct seen *s = table_grow(t) ? calloc(1, sizeof *s) : NULL;
    if (!s)
        return NULL;
    s->hash = hash;
    s->serial = serial;
    s->chain = *seen_slot(t, hash);
    *seen_slot(t, hash) = s;
    t->n++;
    return s;
}

static void seen_free(struct table *t, struct seen *s)
{
    struct seen **at = seen_slot(t, s->hash);
    while (*at != s)
        at = &(*at)->chain;
    *at = s->chain;
    t->n--;
    free(s);
}

static void entry_init(struct entry *e, const struct key *key, uint64_t hash)
{
    memset(e, 0, sizeof *e);
    e->key = *key;
    e->hash = hash;
    e->exported_flows = e->ignored_packets = e->not_sent_flows = -1;
}

static bool entries_grow(struct insides *in)
{
    if (in->n_entries < in->n_slots)
        return true;
    size_t n = in->n_slots ? 2 * in->n_slots : 64;
    struct entry **slots = calloc(n, sizeof *slots);
    if (!slots)
        return in->n_slots > 0;
    for (struct entry *e = in->first; e; e = e->next) {
        e->chain = slots[e->hash & (n - 1)];
        slots[e->hash & (n - 1)] = e;
    }
    free(in->slots);
    in->slots = slots;
    in->n_slots = n;
    return true;
}

static struct entry *entry_find(const struct insides *in, const struct key *key, uint64_t hash)
{
    struct entry *e = in->n_slots ? in->slots[hash & (in->n_slots - 1)] : NULL;
    while (e && (e->hash != hash || memcmp(&e->key, key, sizeof *key) != 0))
        e = e->chain;
    return e;
}

/* The row of this key. NULL: no room. */
static struct entry *entry_get(struct insides *in, const struct key *key)
{
    uint64_t hash = base_hash(key, sizeof *key, in->seed);
    struct entry *e = entry_find(in, key, hash);
    if (e)
        return e;
    if (in->n_entries >= MAX_ENTRIES || !entries_grow(in))
        return NULL;
    e = in->spare;
    if (e) {
        in->spare = e->next;
        in->n_spare--;
    } else {
        e = malloc(sizeof *e);
        if (!e)
            return NULL;
    }
    entry_init(e, key, hash);
    e->chain = in->slots[hash & (in->n_slots - 1)];
    in->slots[hash & (in->n_slots - 1)] = e;
    *in->last = e;
    in->last = &e->next;
    in->n_entries++;
    return e;
}

/* The row of a stream or exporter in this minute, NULL: no room. */
static struct entry *entry_of(struct insides *in, struct seen *s)
{
    if (s->minute_no != in->minute_no) {
        s->entry = entry_get(in, &s->key);
        if (!s->entry)
            return NULL;
        s->minute_no = in->minute_no;
    }
    return s->entry;
}

/* All rows away. As many are kept for the next minute as this one had. */
static void entries_clear(struct insides *in)
{
    for (; in->n_spare > in->n_entries; in->n_spare--) {
        struct entry *e = in->spare;
        in->spare = e->next;
        free(e);
    }
    *in->last = in->spare;
    in->spare = in->first;
    in->n_spare += in->n_entries;
    in->first = NULL;
    in->last = &in->first;
    in->n_entries = in->n_strangers = 0;
    in->minute_no++;
    if (in->slots)
        memset(in->slots, 0, in->n_slots * sizeof(struct entry *));
    static const struct key nobody;
    entry_init(&in->own, &nobody, 0);
}

/* ---- looking ---- */

/* No counter changes without one of these. The factors are odd and large, so that no two changes make up for each other. */
static uint64_t quick_of(const weir_counters *c)
{
    return c->packets * 0x9e3779b97f4a7c15u + c->expired * 0xbf58476d1ce4e5b9u +
           c->sets_expired * 0x94d049bb133111ebu + c->sets_overflowed * 0xd6e8feb86659fd93u +
           c->templates_expired * 0xa0761d6478bd642fu + c->sequence_lost * 0xe7037ed1a0b428dbu +
           c->sequence_unsure * 0x8ebc6af09c88c6e3u + c->sequence_resets * 0x589965cc75374cc3u +
           c->sequence_duplicated * 0x1d8e4e27c47d124fu +
           c->sequence_out_of_order * 0xeb44accab455d165u;
}

/* Counters as rows sum them up: what only tells how much there is now is left out, and what came after a restart is taken
 * from what was lost. */
static void read_counters(uint64_t *v, const weir_counters *c)
{
    memcpy(v, c, sizeof *c);
    v[AT_sequence_lost] -= v[AT_sequence_recovered];
    v[AT_sequence_recovered] = v[AT_templates] = v[AT_sets_waiting] = v[AT_octets_waiting] = 0;
}

static bool any(const uint64_t *v, size_t n)
{
    uint64_t bits = 0;
    for (size_t i = 0; i < n; i++)
        bits |= v[i];
    return bits != 0;
}

static void plus(uint64_t *to, const uint64_t *v)
{
    for (size_t i = 0; i < N_COUNTERS; i++)
        to[i] += v[i];
}

static void minus(uint64_t *to, const uint64_t *v)
{
    for (size_t i = 0; i < N_COUNTERS; i++)
        to[i] -= v[i];
}

/* The hull of what is there and these; last_ns 0: nothing is there. */
static void widen_times(int64_t *first_ns, int64_t *last_ns, int64_t more_first, int64_t more_last)
{
    if (*last_ns == 0 || more_first < *first_ns)
        *first_ns = more_first;
    if (more_last > *last_ns)
        *last_ns = more_last;
}

/* What can only be seen while it is: n packets have come since s, of exporter x, was seen last. */
static void note_arrival(const struct insides *in, const struct seen *x, struct seen *s, uint64_t n,
                         int64_t first_ns, int64_t last_ns, int64_t skew_ns)
{
    /* The first of them came after the last one before, after the last look, and in this minute. */
    if (first_ns < s->seen_ns)
        first_ns = s->seen_ns;
    if (first_ns < x->looked_ns)
        first_ns = x->looked_ns;
    if (first_ns < in->minute_ns)
        first_ns = in->minute_ns;
    if (first_ns > last_ns || n == 1)
        first_ns = last_ns;
    if (s->last_ns == 0 || skew_ns < s->skew_min_ns)
        s->skew_min_ns = skew_ns;
    if (s->last_ns == 0 || skew_ns > s->skew_max_ns)
        s->skew_max_ns = skew_ns;
    widen_times(&s->first_ns, &s->last_ns, first_ns, last_ns);
    s->seen_ns = last_ns;
}

/* The stream in x, seen for the first time or again. NULL: out of memory. */
static struct seen *find_stream(struct insides *in, struct seen *x,
                                const weir_exporter_info *exporter, const weir_stream_info *info)
{
    uint64_t hash = serial_hash(info->serial);
    struct seen *s = seen_find(&in->streams, hash, info->serial);
    if (s)
        return s;
    s = seen_add(&in->streams, hash, info->serial);
    if (!s)
        return NULL;
    s->key = x->key;
    s->key.has_domain = true;
    s->key.domain = info->domain;
    s->key.version = info->version;
    s->key.port = exporter->scope == WEIR_SCOPE_PORT ? info->port : 0;
    s->next = x->streams;
    x->streams = s;
    x->n_streams++;
    return s;
}

static struct seen *find_exporter(struct insides *in, const weir_exporter_info *info)
{
    uint64_t hash = address_hash(in, &info->address);
    struct seen *x = seen_find(&in->exporters, hash, info->serial);
    if (x)
        return x;
    x = seen_add(&in->exporters, hash, info->serial);
    if (!x)
        return NULL;
    memcpy(x->key.addr, info->address.addr, sizeof x->key.addr);
    x->key.family = info->address.family;
    x->ports_apart = info->scope == WEIR_SCOPE_PORT;
    x->next = in->all;
    in->all = x;
    return x;
}

static void glance_stream(const struct insides *in, const struct seen *x, struct seen *s,
                          const weir_stream_info *info)
{
    uint64_t quick = quick_of(info->counters);
    if (quick == s->glance)
        return;
    s->glance = quick;
    uint64_t n = info->counters->packets - s->packets;
    if (n)
        note_arrival(in, x, s, n, info->first_ns, info->last_ns, info->clock_skew_ns);
    s->packets = info->counters->packets;
}

/* What the stream has counted since the last time goes into its row. Where there is no room for a row, it is left over for
 * its exporter's. */
static void take_stream(struct insides *in, struct seen *x, struct seen *s,
                        const weir_stream_info *info)
{
    glance_stream(in, x, s, info);
    s->quick = s->glance;
    s->templates = info->counters->templates;
    s->sets_waiting = info->counters->sets_waiting;
    uint64_t now[N_COUNTERS], counts[N_COUNTERS];
    read_counters(now, info->counters);
    memcpy(counts, now, sizeof counts);
    minus(counts, s->counters);
    memcpy(s->counters, now, sizeof now);
    struct entry *e = any(counts, N_COUNTERS) ? entry_of(in, s) : NULL;
    if (e) {
        plus(e->sums, counts);
        plus(x->counters, counts);
        plus(in->total, counts);
        e->is_stream = true;
        e->templates = info->counters->templates;
        const char *unit = info->sequence_unit;
        e->unit = strcmp(unit, weir_sequence_unit(info->version)) != 0 ? unit : NULL;
        e->origin = info->sampling.origin;
        e->rate = info->sampling.rate;
        e->exported_flows = info->exported_flows;
        e->ignored_packets = info->ignored_packets;
        e->not_sent_flows = info->not_sent_flows;
    }
    if (e && s->last_ns) {
        if (e->last_ns == 0 || s->skew_min_ns < e->skew_min_ns)
            e->skew_min_ns = s->skew_min_ns;
        if (e->last_ns == 0 || s->skew_max_ns > e->skew_max_ns)
            e->skew_max_ns = s->skew_max_ns;
        e->uptime_ms = info->uptime_ms;
        widen_times(&e->first_ns, &e->last_ns, s->first_ns, s->last_ns);
    }
    s->last_ns = 0;
}

/* n of one count from what is left over, when there are as many. */
static void claim(uint64_t *counts, const uint64_t *left, size_t at, uint64_t n)
{
    if (left[at] >= n)
        counts[at] = n;
}

/* A stream has made room. What that itself counted is not in its counters any more but left over at the level above: as far
 * as it is there, it is the stream's. x: its exporter, NULL when that is gone too. */
static void stream_gone(struct insides *in, struct seen *x, struct seen *s, uint64_t *left)
{
    uint64_t counts[N_COUNTERS] = {0}, waiting = s->counters[AT_waiting];
    if (waiting && left[AT_expired] >= waiting && (int64_t)left[AT_waiting] < 0 &&
        0 - left[AT_waiting] >= waiting) {
        counts[AT_expired] = waiting;
        counts[AT_waiting] = 0 - waiting;
    }
    claim(counts, left, AT_templates_expired, s->templates);
    claim(counts, left,
          left[AT_sets_overflowed] >= s->sets_waiting ? AT_sets_overflowed : AT_sets_expired,
          s->sets_waiting);
    struct entry *e = any(counts, N_COUNTERS) ? entry_of(in, s) : NULL;
    if (e) {
        plus(e->sums, counts);
        plus(in->total, counts);
        if (x)
            plus(x->counters, counts);
        minus(left, counts);
    }
    seen_free(&in->streams, s);
}

/* Free the streams of an exporter that this look has not found. */
static void sweep_streams(struct insides *in, struct seen *exporter, struct seen *x, uint64_t *left)
{
    for (struct seen **at = &exporter->streams; *at;) {
        struct seen *s = *at;
        if (s->look == in->look) {
            at = &s->next;
            continue;
        }
        *at = s->next;
        exporter->n_streams--;
        stream_gone(in, x, s, left);
    }
}

/* Streams first, then what their exporter counted beyond them. What there is no memory for is not taken up now: it is added
 * to later, and comes with the next look. */
static bool look_exporter(struct insides *in, const weir_exporter_info *info, uint64_t *later)
{
    uint64_t now[N_COUNTERS], counts[N_COUNTERS], missing[N_COUNTERS] = {0};
    read_counters(now, info->counters);
    struct seen *x = find_exporter(in, info);
    if (!x) {
        plus(later, now);
        return false;
    }
    x->look = in->look;
    uint64_t quick = quick_of(info->counters);
    if (quick == x->quick && info->n_streams == x->n_streams) {
        x->looked_ns = in->now_ns;
        return true;
    }
    size_t cursor = 0, n = 0;
    bool whole = true;
    for (weir_stream_info s; weir_stream_next(in->d, info->handle, &cursor, &s) == WEIR_OK; n++) {
        struct seen *stream = find_stream(in, x, info, &s);
        if (!stream) {
            read_counters(counts, s.counters);
            plus(missing, counts);
            whole = false;
            continue;
        }
        bool fresh = stream->look == 0; /* it may have templates, and has counted nothing */
        stream->look = in->look;
        if (fresh || quick_of(s.counters) != stream->quick)
            take_stream(in, x, stream, &s);
    }
    x->quick = x->glance =
        whole ? quick : quick - 1; /* so that the next look does not pass it by */
    x->n_quick = 0;
    memcpy(counts, now, sizeof counts);
    minus(counts, x->counters);
    minus(counts, missing);
    plus(later, missing);
    if (n != x->n_streams || !whole)
        sweep_streams(in, x, x, counts);
    plus(x->counters, counts);
    struct entry *e = any(counts, N_COUNTERS) ? entry_of(in, x) : NULL;
    if (e) {
        plus(e->sums, counts);
        plus(in->total, counts);
    }
    if (e && counts[AT_packets]) {
        x->last_ns = 0;
        note_arrival(in, x, x, counts[AT_packets], info->first_ns, info->last_ns, 0);
        widen_times(&e->first_ns, &e->last_ns, x->first_ns, x->last_ns);
    }
    x->seen_ns = info->last_ns;
    x->looked_ns = in->now_ns;
    return whole;
}

/* Take up what the decoder has counted since the last time. False: memory was too short for some of it, which comes later. */
static bool look(struct insides *in)
{
    uint64_t left[N_COUNTERS], later[N_COUNTERS] = {0};
    bool whole = true;
    size_t cursor = 0, n = 0;
    in->look++;
    for (weir_exporter_info e; weir_exporter_next(in->d, &cursor, &e) == WEIR_OK; n++)
        whole &= look_exporter(in, &e, later);
    read_counters(left, weir_decoder_counters(in->d));
    minus(left, in->total);
    minus(left, later);
    if (n != in->exporters.n || !whole)
        for (struct seen **at = &in->all; *at;) {
            struct seen *x = *at;
            if (x->look == in->look) {
                at = &x->next;
                continue;
            }
            *at = x->next;
            sweep_streams(in, x, NULL, left);
            seen_free(&in->exporters, x);
        }
    plus(in->own.sums, left);
    plus(in->total, left);
    return whole;
}

/* Within a second of now; clocks of captures go back, too. */
static bool heard_now(const struct insides *in, int64_t ns)
{
    return in->now_ns - ns < SECOND_NS && ns - in->now_ns < SECOND_NS;
}

/* The cheap half of a look, between two of them: counters are taken of streams alone that have fallen silent, for only
 * such can have to make room before the next one. */
static void glance_exporter(struct insides *in, const weir_exporter_info *info)
{
    struct seen *x = find_exporter(in, info);
    if (!x)
        return;
    uint64_t quick = quick_of(info->counters);
    if (quick == x->glance && x->n_quick == 0) {
        x->looked_ns = in->now_ns;
        return;
    }
    x->glance = quick;
    x->n_quick = 0;
    size_t cursor = 0;
    for (weir_stream_info s; weir_stream_next(in->d, info->handle, &cursor, &s) == WEIR_OK;) {
        struct seen *stream = find_stream(in, x, info, &s);
        if (!stream)
            continue;
        glance_stream(in, x, stream, &s);
        if (stream->glance == stream->quick && stream->look)
            continue;
        if (heard_now(in, s.last_ns) && heard_now(in, info->last_ns)) {
            x->n_quick++;
            continue;
        }
        if (stream->look == 0)
            stream->look = in->look;
        take_stream(in, x, stream, &s);
    }
    x->looked_ns = in->now_ns;
}

/* At most about MAX_GLANCES streams at a time: with more of them, every second, third, ... exporter. */
static void glance(struct insides *in)
{
    size_t cursor = 0, n = 0;
    uint64_t parts = in->n_found / MAX_GLANCES + 1, part = in->part++ % parts;
    for (weir_exporter_info e; weir_exporter_next(in->d, &cursor, &e) == WEIR_OK; n++) {
        if (e.serial % parts == part)
            glance_exporter(in, &e);
        n += e.n_streams;
    }
    in->n_found = n;
    /* What is no more must not take more memory than what is. */
    if (in->streams.n + in->exporters.n > 2 * n + 4096)
        (void)look(in);
}

/* ---- rows ---- */

static int64_t micros(int64_t ns)
{
    return ns / 1000 - (ns % 1000 < 0);
}

/* One sum of n rows: of those from e on, and of the collector's behind the last of them. Nothing where all are 0. */
static bool put_sums(const struct insides *in, flow_batch *b, uint32_t row, uint32_t n, size_t at,
                     const struct entry *e)
{
    uint64_t v[BLOCK], bits = 0;
    for (uint32_t i = 0; i < n; i++, e = e ? e->next : NULL) {
        v[i] = (e ? e : &in->own)->sums[at];
        bits |= v[i];
    }
    if (bits == 0)
        return true;
    void *to = flow_batch_values(b, columns[at], row, n);
    if (to)
        memcpy(to, v, n * sizeof *v); /* all of these columns are of 8 octets */
    return to;
}

static bool put_key(const struct insides *in, flow_batch *b, uint32_t row, const struct key *k)
{
    int64_t minute_us = k->minute == CURRENT ? micros(in->minute_ns) : k->minute;
    return flow_batch_set_u64(b, FLOW_LEDGER_minute, row, (uint64_t)minute_us) &&
           flow_batch_set_u64(b, FLOW_LEDGER_worker, row, in->worker) &&
           (k->family == 0 ||
            flow_batch_set_key(b, FLOW_LEDGER_exporter, row, k->addr, k->family == 4 ? 4 : 16)) &&
           (k->port == 0 || flow_batch_set_u64(b, FLOW_LEDGER_exporter_port, row, k->port)) &&
           (!k->has_domain || flow_batch_set_u64(b, FLOW_LEDGER_domain, row, k->domain)) &&
           (k->version == 0 ||
            flow_batch_set_u64(b, FLOW_LEDGER_protocol_version, row, k->version));
}

static bool put_said(flow_batch *b, enum flow_ledger_id column, uint32_t row, int64_t said)
{
    return said < 0 || flow_batch_set_u64(b, column, row, (uint64_t)said);
}

static bool put_stream(flow_batch *b, uint32_t row, const struct entry *e)
{
    const char *origin = weir_origin_text((weir_origin)e->origin);
    return flow_batch_set_u64(b, FLOW_LEDGER_templates, row, e->templates) &&
           flow_batch_set_f64(b, FLOW_LEDGER_sampling_rate, row, e->rate) &&
           flow_batch_set_key(b, FLOW_LEDGER_sampling_source, row, origin,
                              (uint32_t)strlen(origin)) &&
           (!e->unit || flow_batch_set_key(b, FLOW_LEDGER_sequence_unit, row, e->unit,
                                           (uint32_t)strlen(e->unit))) &&
           (e->last_ns == 0 || (flow_batch_set_u64(b, FLOW_LEDGER_clock_skew_min, row,
                                                   (uint64_t)micros(e->skew_min_ns)) &&
                                flow_batch_set_u64(b, FLOW_LEDGER_clock_skew_max, row,
                                                   (uint64_t)micros(e->skew_max_ns)) &&
                                (e->key.version == 10 ||
                                 flow_batch_set_u64(b, FLOW_LEDGER_uptime, row, e->uptime_ms)))) &&
           put_said(b, FLOW_LEDGER_exported_flows, row, e->exported_flows) &&
           put_said(b, FLOW_LEDGER_ignored_packets, row, e->ignored_packets) &&
           put_said(b, FLOW_LEDGER_not_sent_flows, row, e->not_sent_flows);
}

static bool put_entry(const struct insides *in, flow_batch *b, uint32_t row, const struct entry *e)
{
    return put_key(in, b, row, &e->key) &&
           (e->last_ns == 0 ||
            (flow_batch_set_u64(b, FLOW_LEDGER_first, row, (uint64_t)micros(e->first_ns)) &&
             flow_batch_set_u64(b, FLOW_LEDGER_last, row, (uint64_t)micros(e->last_ns)))) &&
           (!e->is_stream || put_stream(b, row, e));
}

/* Of the collector's own row: from when to when it counts. */
static bool put_receiver(const struct insides *in, flow_batch *b, uint32_t row)
{
    int64_t first_ns = in->own.first_ns < in->told_ns ? in->own.first_ns : in->told_ns;
    return flow_batch_set_u64(b, FLOW_LEDGER_receive_buffer, row, in->receiver.buffer) &&
           flow_batch_set_u64(b, FLOW_LEDGER_last, row, (uint64_t)micros(in->told_ns)) &&
           (first_ns == 0 ||
            flow_batch_set_u64(b, FLOW_LEDGER_first, row, (uint64_t)micros(first_ns)));
}

/* Note up to when is counted. No two parts of one minute have the same, and what is cut later has more: by it a reader tells
 * whether what a checkpoint has of a minute is in the archive by now (read.c). */
static void tell(struct insides *in)
{
    int64_t ns = in->now_ns < in->minute_ns  ? in->minute_ns
                 : in->now_ns > in->until_ns ? in->until_ns
                                             : in->now_ns;
    if (in->cut_minute_ns == in->minute_ns && ns < in->cut_ns + 1000)
        ns = in->cut_ns + 1000; /* columns are in microseconds */
    if (ns > in->told_ns)
        in->told_ns = ns;
}

/* The current minute as rows behind those of b, the collector's own as the last. False: out of memory, b is as before. */
static bool put_rows(const struct insides *in, flow_batch *b)
{
    bool own = any(in->own.sums, N_SUMS) || (in->has_receiver && in->n_entries > 0), ok = true;
    uint32_t before = flow_batch_rows(b), left = (uint32_t)in->n_entries + own;
    const struct entry *e = in->first;
    while (ok &&
           left > 0) { /* block by block, each still in the cache when its next column is put */
        uint32_t n = left < BLOCK ? left : BLOCK, row = flow_batch_add_rows(b, n);
        ok = row != UINT32_MAX;
        for (size_t at = 0; ok && at < N_SUMS; at++)
            ok = columns[at] == NONE || put_sums(in, b, row, n, at, e);
        for (uint32_t i = 0; ok && i < n; i++, e = e ? e->next : NULL) {
            ok = put_entry(in, b, row + i, e ? e : &in->own);
            if (ok && !e && in->has_receiver)
                ok = put_receiver(in, b, row + i);
        }
        left -= n;
    }
    if (!ok)
        flow_batch_cut(b, before);
    return ok;
}

/* Nobody fetches rows: of this minute only the sum of all is kept. */
static void sum_up(struct insides *in)
{
    for (const struct entry *e = in->first; e; e = e->next)
        for (size_t i = 0; i < N_SUMS; i++)
            in->own.sums[i] += e->sums[i];
    struct entry own = in->own;
    entries_clear(in);
    in->own = own;
}

/* When memory is too short for its rows, the minute's counts stay and become part of the next one's. */
static void cut(struct insides *in)
{
    (void)look(in);
    tell(in);
    if (in->n_entries + flow_batch_rows(in->ready) > MAX_READY)
        sum_up(in);
    if (!put_rows(in, in->ready))
        return;
    entries_clear(in);
    in->cut_ns = in->told_ns;
    in->cut_minute_ns = in->minute_ns;
    in->told_ns = 0;
}

/* ---- the account ---- */

ledger_account *ledger_account_new(const weir_decoder *d, unsigned worker)
{
    ledger_account *a = calloc(1, sizeof *a);
    struct insides *in = a ? calloc(1, sizeof *in) : NULL;
    if (!in) {
        free(a);
        return NULL;
    }
    a->in = in;
    in->d = d;
    in->worker = worker;
    in->seed = base_hash_seed();
    in->minute_no = 1;
    in->last = &in->first;
    in->ready = flow_batch_new(FLOW_TABLE_LEDGER);
    in->scratch = flow_batch_new(FLOW_TABLE_LEDGER);
    if (!in->ready || !in->scratch || !look(in)) {
        ledger_account_free(a);
        return NULL;
    }
    entries_clear(in);
    return a;
}

static void table_done(struct table *t)
{
    for (size_t i = 0; i < t->n_slots; i++)
        for (struct seen *s = t->slots[i], *next; s; s = next) {
            next = s->chain;
            free(s);
        }
    free(t->slots);
}

void ledger_account_free(ledger_account *a)
{
    if (!a)
        return;
    struct insides *in = a->in;
    entries_clear(in);
    for (struct entry *e = in->spare, *next; e; e = next) {
        next = e->next;
        free(e);
    }
    table_done(&in->streams);
    table_done(&in->exporters);
    flow_batch_free(in->ready);
    flow_batch_free(in->scratch);
    free(in->slots);
    free(in);
    free(a);
}

/* The start of the minute, for any time. */
static int64_t minute_of(int64_t ns)
{
    int64_t into = ns % MINUTE_NS;
    return ns - (into < 0 ? into + MINUTE_NS : into);
}

/* Times between 1970 and 2116, as the decoder has them. */
static int64_t sane_ns(int64_t ns)
{
    const int64_t latest = INT64_C(1) << 62;
    return ns < 0 ? 0 : ns > latest ? latest : ns;
}

static bool other_minute(struct insides *in, int64_t received_ns)
{
    bool was = in->began;
    if (was)
        cut(in);
    in->began = true;
    in->minute_ns = minute_of(received_ns);
    in->until_ns = in->minute_ns + MINUTE_NS;
    in->early_ns = in->minute_ns - MINUTE_NS;
    return was;
}

bool ledger_account_time(ledger_account *a, int64_t received_ns)
{
    struct insides *in = a->in;
    received_ns = sane_ns(received_ns);
    in->now_ns = received_ns;
    if (received_ns < in->until_ns && received_ns >= in->early_ns)
        return false;
    return other_minute(in, received_ns);
}

void ledger_account_cut(ledger_account *a)
{
    cut(a->in);
}

void ledger_account_sample(ledger_account *a)
{
    glance(a->in);
}

bool ledger_account_ready(const ledger_account *a)
{
    return flow_batch_rows(a->in->ready) > 0;
}

weir_status ledger_account_rows(ledger_account *a, flow_batch *out, weir_err *err)
{
    if (!ledger_account_ready(a))
        return WEIR_OK;
    WEIR_TRY(flow_batch_append(out, a->in->ready, err));
    flow_batch_reset(a->in->ready);
    return WEIR_OK;
}

bool ledger_account_unstored(ledger_account *a, const flow_batch *rows)
{
    return flow_batch_append(a->in->ready, rows, NULL) == WEIR_OK;
}

/* ---- what the decoder cannot know ---- */

static struct key key_of(const struct insides *in, const weir_endpoint *from, int64_t received_ns)
{
    struct key k = {.family = from->family};
    memcpy(k.addr, from->addr, from->family == 4 ? 4 : sizeof k.addr);
    int64_t minute_ns = minute_of(sane_ns(received_ns));
    if (received_ns != 0 && !(in->began && minute_ns == in->minute_ns))
        k.minute = micros(minute_ns);
    return k;
}

/* Add n to one sum of this row, or of the collector's own when there is no room for it. */
static void add(struct insides *in, struct entry *e, size_t at, uint64_t n)
{
    if (n)
        (e ? e : &in->own)->sums[at] += n;
}

/* NULL: nobody has heard of it. */
static const struct seen *exporter_at(const struct insides *in, const weir_endpoint *from)
{
    const struct table *t = &in->exporters;
    const struct seen *s = t->n_slots ? *seen_slot(t, address_hash(in, from)) : NULL;
    while (s && !(s->key.family == from->family &&
                  memcmp(s->key.addr, from->addr, from->family == 4 ? 4 : 16) == 0))
        s = s->chain;
    return s;
}

static struct entry *of_stream(struct insides *in, const struct ledger_stream *s,
                               int64_t received_ns)
{
    struct key k = key_of(in, &s->exporter, received_ns);
    k.has_domain = true;
    k.domain = s->domain;
    k.version = s->version;
    const struct seen *x = exporter_at(in, &s->exporter);
    k.port = x && x->ports_apart ? s->exporter.port : 0;
    return entry_get(in, &k);
}

void ledger_account_lost(ledger_account *a, const struct ledger_stream *s, int64_t received_ns,
                         uint64_t flows, uint64_t options)
{
    if (flows == 0 && options == 0)
        return;
    struct entry *e = of_stream(a->in, s, received_ns);
    add(a->in, e, AT_flows_lost, flows);
    add(a->in, e, AT_options_lost, options);
}

void ledger_account_reversed(ledger_account *a, const struct ledger_stream *s, uint64_t flows)
{
    if (flows)
        add(a->in, of_stream(a->in, s, 0), AT_flows_reversed, flows);
}

/* Packets of an address of which nothing else may be known. */
static void add_packets(struct insides *in, const weir_endpoint *from, int64_t received_ns,
                        size_t at, uint64_t packets)
{
    if (packets == 0)
        return;
    struct key k = key_of(in, from, received_ns);
    struct entry *e = entry_find(in, &k, base_hash(&k, sizeof k, in->seed));
    if (!e && exporter_at(in, from)) {
        e = entry_get(in, &k);
    } else if (!e && in->n_strangers < MAX_STRANGERS) {
        e = entry_get(in, &k);
        in->n_strangers += e != NULL;
    }
    add(in, e, at, packets);
}

void ledger_account_dropped(ledger_account *a, const weir_endpoint *from, int64_t received_ns,
                            uint64_t packets)
{
    add_packets(a->in, from, received_ns, AT_packets_dropped, packets);
}

void ledger_account_refused(ledger_account *a, const weir_endpoint *from, int64_t received_ns,
                            uint64_t packets)
{
    add_packets(a->in, from, received_ns, AT_packets_refused, packets);
}

/* A total that went back began anew. */
static uint64_t since(uint64_t now, uint64_t before)
{
    return now >= before ? now - before : now;
}

/* When what was listened of this minute began; 0: no minute is known yet. */
static int64_t listening_since(const struct insides *in, uint64_t listened_us)
{
    uint64_t into_us =
        in->now_ns > in->minute_ns ? (uint64_t)(in->now_ns - in->minute_ns) / 1000 : 0;
    return in->minute_ns + (listened_us < into_us ? (int64_t)(into_us - listened_us) * 1000 : 0);
}

void ledger_account_receiver(ledger_account *a, const struct ledger_receiver *totals)
{
    struct insides *in = a->in;
    uint64_t listened_us = since(totals->listened_us, in->receiver.listened_us);
    in->own.sums[AT_kernel_drops] += since(totals->kernel_drops, in->receiver.kernel_drops);
    in->own.sums[AT_receive_errors] += since(totals->errors, in->receiver.errors);
    in->own.sums[AT_listened] += listened_us;
    if (listened_us > 0 && in->own.first_ns == 0)
        in->own.first_ns = listening_since(in, listened_us);
    in->receiver = *totals;
    in->has_receiver = true;
}

/* ---- over a restart: "WEIRACC2", u64 octets of the rows, rows as flow_batch_save has them, further ones for who goes on
 * from them, a hash of all before it ---- */

/* What waits for its template does not outlive the process that has it: whoever goes on from the rows finds it expired. */
static bool put_expired(const struct insides *in, flow_batch *b)
{
    for (const struct seen *x = in->all; x; x = x->next)
        for (const struct seen *s = x->counters[AT_waiting] ? x->streams : NULL; s; s = s->next) {
            uint64_t n = s->counters[AT_waiting];
            uint32_t row = n ? flow_batch_add_rows(b, 1) : 0;
            if (n && (row == UINT32_MAX || !put_key(in, b, row, &s->key) ||
                      !flow_batch_set_u64(b, FLOW_LEDGER_waiting, row, 0 - n) ||
                      !flow_batch_set_u64(b, FLOW_LEDGER_expired, row, n)))
                return false;
        }
    return true;
}

/* These rows as octets. */
static bool save_rows(const flow_batch *rows, base_buf *out)
{
    flow_batch_save(rows, 0, out);
    return !out->failed;
}

weir_status ledger_account_save(const ledger_account *a, base_buf *out)
{
    struct insides *in = a->in;
    size_t start = out->len, at = start + sizeof magic;
    (void)look(in);
    tell(in);
    flow_batch_reset(in->scratch);
    bool good =
        flow_batch_append(in->scratch, in->ready, NULL) == WEIR_OK && put_rows(in, in->scratch);
    base_buf_add(out, magic, sizeof magic);
    base_buf_u64(out, 0);
    good = good && save_rows(in->scratch, out);
    for (size_t i = 0; good && i < 8; i++) /* how long that was, at its place */
        out->data[at + i] = (char)((uint64_t)(out->len - at - 8) >> 8 * (7 - i));
    flow_batch_reset(in->scratch);
    good = good && put_expired(in, in->scratch) && save_rows(in->scratch, out);
    if (good)
        base_buf_u64(out, base_hash(out->data + start, out->len - start, 0));
    flow_batch_reset(in->scratch);
    return good && !out->failed ? WEIR_OK : WEIR_ENOMEM;
}

weir_status ledger_account_parse(const uint8_t *data, size_t len, bool go_on, size_t most,
                                 flow_batch *out, weir_err *err)
{
    const char *what = "saved account";
    const size_t head = sizeof magic + 8;
    if (len < head + 8 || memcmp(data, magic, sizeof magic) != 0)
        return weir_err_set(err, WEIR_EFORMAT, 0,
                            "%s: not begun by %.8s, so it is something else or of another version",
                            what, magic);
    if (base_hash(data, len - 8, 0) != weir_be(data + len - 8, 8))
        return weir_err_set(err, WEIR_EFORMAT, len - 8,
                            "%s: checksum does not match, the octets are damaged", what);
    size_t rest = len - head - 8;
    uint64_t n = weir_be(data + sizeof magic, 8);
    if (n > rest)
        return weir_err_set(err, WEIR_EFORMAT, sizeof magic, "%s: its rows are cut short", what);
    /* Whatever ends a part stays behind all of it (read.c). */
    uint32_t before = flow_batch_rows(out);
    weir_status status = WEIR_OK;
    if (go_on)
        status = flow_batch_load_most(out, data + head + n, rest - n, most, err);
    if (status == WEIR_OK)
        status = flow_batch_load_most(out, data + head, n, most, err);
    if (status == WEIR_OK)
        return WEIR_OK;
    flow_batch_cut(out, before);
    if (status == WEIR_ENOMEM)
        return status;
    if (err)
        err->code = WEIR_EFORMAT;
    return WEIR_EFORMAT;
}

weir_status ledger_account_load(ledger_account *a, const uint8_t *data, size_t len, weir_err *err)
{
    struct insides *in = a->in;
    if (in->n_entries || any(in->own.sums, N_SUMS))
        return weir_err_set(err, WEIR_EINVAL, 0,
                            "saved account: this one has counted something already");
    return ledger_account_parse(data, len, true, SIZE_MAX, in->ready, err);
}

/* What follows for who goes on, alone. n: rows that are none of it. */
static weir_status append_following(flow_batch *out, const uint8_t *data, size_t len, uint32_t n,
                                    weir_err *err)
{
    flow_batch *all = flow_batch_new(FLOW_TABLE_LEDGER);
    if (!all)
        return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
    weir_status s = ledger_account_parse(data, len, true, SIZE_MAX, all, err);
    if (s == WEIR_OK) {
        flow_batch_cut(all, flow_batch_rows(all) - n);
        s = flow_batch_append(out, all, err);
    }
    flow_batch_free(all);
    return s;
}

/* Rows that follow each other and are not in the ledger. */
struct untaken {
    uint32_t from, to;
    base_buf octets;
};

/* Into a malloc'ed array; false: out of memory. */
static bool find_untaken(const flow_batch *rows, ledger_taken *taken, struct untaken **out,
                         size_t *n_out)
{
    struct ledger_part p;
    struct untaken *all = NULL;
    size_t n = 0, cap = 0;
    for (uint32_t from = 0; ledger_part_at(rows, from, &p); from = p.to) {
        if (p.has_minute && ledger_taken_has(taken, p.minute_us, p.worker, p.last_us))
            continue;
        if (n && all[n - 1].to == p.from) {
            all[n - 1].to = p.to;
            continue;
        }
        if (n == cap) {
            cap = cap ? 2 * cap : 16;
            struct untaken *more = realloc(all, cap * sizeof *more);
            if (!more) {
                free(all);
                return false;
            }
            all = more;
        }
        all[n++] = (struct untaken){.from = p.from, .to = p.to};
    }
    *out = all;
    *n_out = n;
    return true;
}

/* What of the parts of a checkpoint is not in the ledger, behind the rows of out. rows is cut on the way. */
static weir_status append_untaken(flow_batch *out, flow_batch *rows, ledger_taken *taken,
                                  weir_err *err)
{
    struct untaken *all = NULL;
    size_t n = 0;
    flow_batch *part = flow_batch_new(FLOW_TABLE_LEDGER);
    weir_status s = part && find_untaken(rows, taken, &all, &n)
                        ? WEIR_OK
                        : weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
    for (size_t i = n; i-- > 0 && s == WEIR_OK;) { /* from behind, so that each row is saved once */
        flow_batch_cut(rows, all[i].to);
        flow_batch_save(rows, all[i].from, &all[i].octets);
        if (all[i].octets.failed)
            s = weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
    }
    for (size_t i = 0; i < n && s == WEIR_OK; i++) {
        flow_batch_reset(part);
        s = flow_batch_load(part, (const uint8_t *)all[i].octets.data, all[i].octets.len, err);
        if (s == WEIR_OK)
            s = flow_batch_append(out, part, err);
    }
    for (size_t i = 0; i < n; i++)
        base_buf_done(&all[i].octets);
    free(all);
    flow_batch_free(part);
    return s;
}

weir_status ledger_account_resume(ledger_account *a, const uint8_t *data, size_t len,
                                  ledger_taken *taken, bool *stale, weir_err *err)
{
    flow_batch *rows = flow_batch_new(FLOW_TABLE_LEDGER);
    struct ledger_part p, newest = {0};
    int64_t least = INT64_MAX;
    bool any = false; /* part that the ledger has */
    *stale = false;
    if (!rows)
        return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
    weir_status s = ledger_account_parse(data, len, false, SIZE_MAX, rows, err);
    for (uint32_t from = 0; s == WEIR_OK && ledger_part_at(rows, from, &p); from = p.to)
        if (p.has_minute) {
            least = p.minute_us < least ? p.minute_us : least;
            newest = p;
        }
    if (s == WEIR_OK && newest.has_minute)
        s = ledger_taken_since(taken, least, err);
    if (s == WEIR_OK && newest.has_minute)
        *stale = ledger_taken_is_behind(taken, newest.minute_us, newest.worker, newest.last_us);
    for (uint32_t from = 0; s == WEIR_OK && ledger_part_at(rows, from, &p); from = p.to)
        any |= p.has_minute && ledger_taken_has(taken, p.minute_us, p.worker, p.last_us);
    if (s == WEIR_OK && a && !any && !*stale)
        s = ledger_account_load(a, data, len, err);
    else if (s == WEIR_OK && a && !*stale)
        s = append_following(a->in->ready, data, len, flow_batch_rows(rows), err);
    if (s == WEIR_OK && a && (any || *stale))
        s = append_untaken(a->in->ready, rows, taken, err);
    flow_batch_free(rows);
    return s;
}
