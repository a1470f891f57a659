/* What is noted is always the difference to the look before, at three levels: stream, exporter, all. What an exporter counted
 * beyond its streams (rejected before the version was known, streams that have made room since) is its own row; what all
 * counted beyond the exporters is the collector's. So every count is in exactly one row, whatever has come and gone between
 * two looks. */
#include "ledger/account.h"

#include "base/hash.h"
#include "base/rd.h"

#include <stdlib.h>

#define MINUTE_NS (INT64_C(60) * 1000000000)

static const char magic[8] = "WEIRACC1";

enum {
    MAX_ENTRIES = 1 << 17, /* rows of one minute; what is beyond goes into the collector's own */
    MAX_STRANGERS =
        4096, /* of those, addresses that are known for dropped or refused packets alone */
    MAX_READY = 1 << 18, /* rows that nobody has fetched; then a minute is one row */
    CURRENT = 0,         /* entry.minute: that of the account */
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
    bool is_stream, skewed;
    uint8_t origin;
    uint32_t uptime_ms;
    uint64_t templates;
    double rate;
    int64_t skew_min_ns, skew_max_ns;
    int64_t exported_flows, ignored_packets, not_sent_flows; /* -1: not said */
};

/* A stream or an exporter as the last look found it. */
struct seen {
    struct seen *chain; /* next in its bucket */
    uint64_t hash, serial;
    uint64_t look; /* the look that found it last */
    struct seen *streams,
        *next; /* of an exporter; the next one of the same exporter, or the next exporter */
    size_t n_streams;
    struct key key;
    struct entry *entry; /* its row, when minute_no is the account's */
    uint64_t minute_no;
    uint64_t quick; /* when this is as it was, so are all counters */
    int64_t last_ns;
    uint64_t counters[N_COUNTERS];
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
        early_ns;              /* the minute; packets from early_ns to until_ns belong to it */
    int64_t now_ns, looked_ns; /* the latest time told; that of the last look */
    struct table streams, exporters;
    struct seen *all; /* exporters */
    uint64_t total[N_COUNTERS];
    struct entry own; /* the collector's */
    struct entry *first, **last, *spare;
    struct entry **slots;
    size_t n_slots, n_entries, n_strangers, n_spare;
    struct ledger_receiver receiver;
    bool has_receiver;
    flow_batch *ready, *scratch;
    uint64_t *column; /* values of a column on their way into a batch */
    size_t cap_column;
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

/* Each of these only grows, and no counter changes without one of them. */
static uint64_t quick_of(const weir_counters *c)
{
    return c->packets + c->expired + c->sets_expired + c->sets_overflowed + c->templates_expired;
}

/* into = now - before, and before = now. What only tells how much there is now is left out, and what
 * came after a restart is taken from what was lost. */
static void difference(uint64_t *into, uint64_t *before, const weir_counters *now)
{
    uint64_t to[N_COUNTERS];
    memcpy(to, now, sizeof to);
    for (size_t i = 0; i < N_COUNTERS; i++)
        into[i] = to[i] - before[i];
    memcpy(before, to, sizeof to);
    into[AT_sequence_lost] -= into[AT_sequence_recovered];
    into[AT_sequence_recovered] = into[AT_templates] = into[AT_sets_waiting] =
        into[AT_octets_waiting] = 0;
}

static bool any(const uint64_t *sums, size_t n)
{
    uint64_t bits = 0;
    for (size_t i = 0; i < n; i++)
        bits |= sums[i];
    return bits != 0;
}

/* Move these counts from what is left over to a row. */
static void give(struct entry *e, uint64_t *left, const uint64_t *counts)
{
    for (size_t i = 0; i < N_COUNTERS; i++) {
        e->sums[i] += counts[i];
        left[i] -= counts[i];
    }
}

static void shift(uint64_t *counts, const uint64_t *left, size_t at, uint64_t n)
{
    if (left[at] >= n)
        counts[at] = n;
}

/* A stream has made room. What that itself counted is not in its counters any more but still left over at the level above: as
 * far as it is there, it is the stream's. */
static void stream_gone(struct insides *in, struct seen *s, uint64_t *left)
{
    uint64_t counts[N_COUNTERS] = {0};
    uint64_t waiting = s->counters[AT_waiting], sets = s->counters[AT_sets_waiting];
    if (waiting && left[AT_expired] >= waiting && 0 - left[AT_waiting] >= waiting &&
        (int64_t)left[AT_waiting] < 0) {
        counts[AT_expired] = waiting;
        counts[AT_waiting] = 0 - waiting;
    }
    shift(counts, left, AT_templates_expired, s->counters[AT_templates]);
    shift(counts, left, left[AT_sets_overflowed] >= sets ? AT_sets_overflowed : AT_sets_expired,
          sets);
    struct entry *e = any(counts, N_COUNTERS) ? entry_of(in, s) : NULL;
    if (e)
        give(e, left, counts);
    seen_free(&in->streams, s);
}

/* Free the streams of an exporter that this look has not found. */
static void streams_sweep(struct insides *in, struct seen *exporter, uint64_t *left)
{
    for (struct seen **at = &exporter->streams; *at;) {
        struct seen *s = *at;
        if (s->look == in->look) {
            at = &s->next;
            continue;
        }
        *at = s->next;
        exporter->n_streams--;
        stream_gone(in, s, left);
    }
}

static void note_times(const struct insides *in, struct entry *e, int64_t first_ns, int64_t last_ns)
{
    if (first_ns < in->minute_ns)
        first_ns = last_ns < in->minute_ns ? last_ns : in->minute_ns;
    if (first_ns > last_ns)
        first_ns = last_ns;
    if (e->last_ns == 0 || first_ns < e->first_ns)
        e->first_ns = first_ns;
    if (last_ns > e->last_ns)
        e->last_ns = last_ns;
}

/* What stands in a row beside sums. */
static void note_stream(const struct insides *in, struct entry *e, const struct seen *s,
                        const weir_stream_info *info, bool fresh, uint64_t packets)
{
    e->is_stream = true;
    e->templates = info->counters->templates;
    if (packets) {
        /* Packets since the last look: the first of them came after that, and after the last one before it. */
        int64_t first_ns = fresh ? info->first_ns : s->last_ns;
        if (in->looked_ns > first_ns)
            first_ns = in->looked_ns;
        note_times(in, e, packets == 1 ? info->last_ns : first_ns, info->last_ns);
        e->uptime_ms = info->uptime_ms;
        int64_t skew = info->clock_skew_ns;
        if (!e->skewed || skew < e->skew_min_ns)
            e->skew_min_ns = skew;
        if (!e->skewed || skew > e->skew_max_ns)
            e->skew_max_ns = skew;
        e->skewed = true;
    }
    e->origin = info->sampling.origin;
    e->rate = info->sampling.rate;
    e->exported_flows = info->exported_flows;
    e->ignored_packets = info->ignored_packets;
    e->not_sent_flows = info->not_sent_flows;
}

/* No memory to note a stream or exporter: none of its counts is taken up now, all are with a later look. */
static void postpone(const weir_counters *c, uint64_t *left, uint64_t *upper, uint64_t *total)
{
    uint64_t counts[N_COUNTERS], before[N_COUNTERS] = {0};
    difference(counts, before, c);
    for (size_t i = 0; i < N_COUNTERS; i++) {
        left[i] -= counts[i];
        total[i] -= counts[i];
        if (upper)
            upper[i] -= counts[i];
    }
}

/* Take what a stream counted since the last look out of left, which is what its exporter counted. False: out of memory. */
static bool look_stream(struct insides *in, struct seen *x, const weir_exporter_info *exporter,
                        const weir_stream_info *info, uint64_t *left)
{
    uint64_t hash = serial_hash(info->serial);
    struct seen *s = seen_find(&in->streams, hash, info->serial);
    bool fresh = !s;
    if (fresh) {
        s = seen_add(&in->streams, hash, info->serial);
        if (!s) {
            postpone(info->counters, left, x->counters, in->total);
            x->quick--; /* no other look may pass it by */
            return false;
        }
        s->key = x->key;
        s->key.has_domain = true;
        s->key.domain = info->domain;
        s->key.version = info->version;
        s->key.port = exporter->scope == WEIR_SCOPE_PORT ? info->port : 0;
        s->next = x->streams;
        x->streams = s;
        x->n_streams++;
    }
    s->look = in->look;
    uint64_t quick = quick_of(info->counters);
    if (quick == s->quick && !fresh)
        return true;
    s->quick = quick;
    uint64_t counts[N_COUNTERS];
    difference(counts, s->counters, info->counters);
    struct entry *e = any(counts, N_COUNTERS) ? entry_of(in, s) : NULL;
    if (e) {
        give(e, left, counts);
        note_stream(in, e, s, info, fresh, counts[AT_packets]);
    }
    s->last_ns = info->last_ns;
    return true;
}

static bool look_exporter(struct insides *in, const weir_exporter_info *info, uint64_t *left)
{
    uint64_t hash = address_hash(in, &info->address);
    struct seen *x = seen_find(&in->exporters, hash, info->serial);
    if (!x) {
        x = seen_add(&in->exporters, hash, info->serial);
        if (!x) {
            postpone(info->counters, left, NULL, in->total);
            return false;
        }
        memcpy(x->key.addr, info->address.addr, sizeof x->key.addr);
        x->key.family = info->address.family;
        x->last_ns = info->first_ns;
        x->next = in->all;
        in->all = x;
    }
    x->look = in->look;
    uint64_t quick = quick_of(info->counters);
    if (quick == x->quick && info->n_streams == x->n_streams)
        return true;
    x->quick = quick;
    uint64_t counts[N_COUNTERS];
    difference(counts, x->counters, info->counters);
    for (size_t i = 0; i < N_COUNTERS; i++)
        left[i] -= counts[i];
    bool whole = true;
    size_t cursor = 0, n = 0;
    for (weir_stream_info s; weir_stream_next(in->d, info->handle, &cursor, &s) == WEIR_OK; n++)
        whole &= look_stream(in, x, info, &s, counts);
    if (n < x->n_streams || !whole)
        streams_sweep(in, x, counts);
    struct entry *e = any(counts, N_COUNTERS) ? entry_of(in, x) : NULL;
    for (size_t i = 0; i < N_COUNTERS; i++)
        *(e ? &e->sums[i] : &left[i]) += counts[i];
    if (e && counts[AT_packets])
        note_times(in, e, x->last_ns > in->looked_ns ? x->last_ns : in->looked_ns, info->last_ns);
    x->last_ns = info->last_ns;
    return whole;
}

/* Take up what the decoder has counted since the last time. False: memory was too short for some of it, which comes later. */
static bool look(struct insides *in)
{
    uint64_t left[N_COUNTERS];
    difference(left, in->total, weir_decoder_counters(in->d));
    in->look++;
    bool whole = true;
    size_t cursor = 0, n = 0;
    for (weir_exporter_info e; weir_exporter_next(in->d, &cursor, &e) == WEIR_OK; n++)
        whole &= look_exporter(in, &e, left);
    if (n < in->exporters.n || !whole)
        for (struct seen **at = &in->all; *at;) {
            struct seen *x = *at;
            if (x->look == in->look) {
                at = &x->next;
                continue;
            }
            *at = x->next;
            streams_sweep(in, x, left);
            seen_free(&in->exporters, x);
        }
    for (size_t i = 0; i < N_COUNTERS; i++)
        in->own.sums[i] += left[i];
    in->looked_ns = in->now_ns;
    return whole;
}

/* ---- rows ---- */

static int64_t micros(int64_t ns)
{
    return ns / 1000 - (ns % 1000 < 0);
}

/* Values of a column for n rows. NULL: out of memory. */
static uint64_t *column_room(struct insides *in, uint32_t n)
{
    if (in->cap_column < n) {
        uint64_t *grown = realloc(in->column, n * sizeof *grown);
        if (!grown)
            return NULL;
        in->column = grown;
        in->cap_column = n;
    }
    return in->column;
}

/* A whole column of sums, narrowed to its type by the batch; none when all are 0. */
static bool put_sums(struct insides *in, flow_batch *b, uint32_t row, uint32_t n, size_t at)
{
    uint64_t *v = column_room(in, n), bits = in->own.sums[at];
    if (!v)
        return false;
    uint32_t i = 0;
    for (const struct entry *e = in->first; e; e = e->next, i++) {
        v[i] = e->sums[at];
        bits |= v[i];
    }
    if (i < n)
        v[i] = in->own.sums[at];
    if (bits == 0)
        return true;
    void *to = flow_batch_values(b, columns[at], row, n);
    if (to)
        memcpy(to, v, n * sizeof *v); /* u64 and s64 alone: the test of this file looks */
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
           (!e->skewed || (flow_batch_set_u64(b, FLOW_LEDGER_clock_skew_min, row,
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

/* The current minute as rows behind those of b. False: out of memory, b is as before. */
static bool put_rows(struct insides *in, flow_batch *b)
{
    bool own = any(in->own.sums, N_SUMS);
    uint32_t n = (uint32_t)in->n_entries + own;
    if (n == 0)
        return true;
    uint32_t before = flow_batch_rows(b), row = flow_batch_add_rows(b, n);
    bool ok = row != UINT32_MAX;
    for (size_t at = 0; ok && at < N_SUMS; at++)
        if (columns[at] != NONE)
            ok = put_sums(in, b, row, n, at);
    for (const struct entry *e = in->first; ok && e; e = e->next)
        ok = put_entry(in, b, row++, e);
    if (ok && own)
        ok = put_entry(in, b, row, &in->own) &&
             (!in->has_receiver ||
              flow_batch_set_u64(b, FLOW_LEDGER_receive_buffer, row, in->receiver.buffer));
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
    if (in->n_entries + flow_batch_rows(in->ready) > MAX_READY)
        sum_up(in);
    if (put_rows(in, in->ready))
        entries_clear(in);
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
    free(in->column);
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
    (void)look(a->in);
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

static struct entry *of_stream(struct insides *in, const struct ledger_stream *s,
                               int64_t received_ns)
{
    struct key k = key_of(in, &s->exporter, received_ns);
    k.has_domain = true;
    k.domain = s->domain;
    k.version = s->version;
    k.port = s->exporter.port;
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

static bool is_exporter(const struct insides *in, const weir_endpoint *from)
{
    const struct table *t = &in->exporters;
    const struct seen *s = t->n_slots ? *seen_slot(t, address_hash(in, from)) : NULL;
    while (s && !(s->key.family == from->family &&
                  memcmp(s->key.addr, from->addr, from->family == 4 ? 4 : 16) == 0))
        s = s->chain;
    return s;
}

/* Packets of an address of which nothing else may be known. */
static void add_packets(struct insides *in, const weir_endpoint *from, int64_t received_ns,
                        size_t at, uint64_t packets)
{
    if (packets == 0)
        return;
    struct key k = key_of(in, from, received_ns);
    struct entry *e = entry_find(in, &k, base_hash(&k, sizeof k, in->seed));
    if (!e && is_exporter(in, from)) {
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

void ledger_account_receiver(ledger_account *a, const struct ledger_receiver *totals)
{
    struct insides *in = a->in;
    in->own.sums[AT_kernel_drops] += since(totals->kernel_drops, in->receiver.kernel_drops);
    in->own.sums[AT_receive_errors] += since(totals->errors, in->receiver.errors);
    in->own.sums[AT_listened] += since(totals->listened_us, in->receiver.listened_us);
    in->receiver = *totals;
    in->has_receiver = true;
}

/* ---- over a restart: "WEIRACC1", rows as flow_batch_save has them, a hash of all before it ---- */

/* What waits for its template does not outlive the process that has it: whoever goes on from these rows finds it expired. */
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

weir_status ledger_account_save(const ledger_account *a, base_buf *out)
{
    struct insides *in = a->in;
    (void)look(in);
    flow_batch_reset(in->scratch);
    weir_status status = flow_batch_append(in->scratch, in->ready, NULL);
    if (status == WEIR_OK && !(put_rows(in, in->scratch) && put_expired(in, in->scratch)))
        status = WEIR_ENOMEM;
    if (status == WEIR_OK) {
        size_t start = out->len;
        base_buf_add(out, magic, sizeof magic);
        flow_batch_save(in->scratch, 0, out);
        if (!out->failed)
            base_buf_u64(out, base_hash(out->data + start, out->len - start, 0));
        status = out->failed ? WEIR_ENOMEM : WEIR_OK;
    }
    flow_batch_reset(in->scratch);
    return status;
}

weir_status ledger_account_load(ledger_account *a, const uint8_t *data, size_t len, weir_err *err)
{
    const char *what = "saved account";
    struct insides *in = a->in;
    if (in->n_entries || any(in->own.sums, N_SUMS))
        return weir_err_set(err, WEIR_EINVAL, 0, "%s: this one has counted something already",
                            what);
    if (len < sizeof magic + 8 || memcmp(data, magic, sizeof magic) != 0)
        return weir_err_set(err, WEIR_EFORMAT, 0,
                            "%s: not begun by %.8s, so it is something else or of another version",
                            what, magic);
    if (base_hash(data, len - 8, 0) != weir_be(data + len - 8, 8))
        return weir_err_set(err, WEIR_EFORMAT, len - 8,
                            "%s: checksum does not match, the octets are damaged", what);
    weir_status status =
        flow_batch_load(in->ready, data + sizeof magic, len - sizeof magic - 8, err);
    if (status == WEIR_OK || status == WEIR_ENOMEM)
        return status;
    if (err)
        err->code = WEIR_EFORMAT;
    return WEIR_EFORMAT;
}
