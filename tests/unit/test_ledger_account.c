/* account: nothing that a decoder counts is ever missing from the rows of the ledger or twice in them, whatever comes and goes:
 * packets of every kind, exporters that make room, restarts, memory that is short; and what is lost on purpose is what the
 * rows say was lost. */
#include "hostile.h"

#include "base/hash.h"
#include "heap.h"
#include "ledger/account.h"

#define SECOND INT64_C(1000000000)
#define MINUTE (60 * SECOND)
/* EXPORT_NS is 20 s into a minute. */
#define MINUTE_NS (EXPORT_NS - 20 * SECOND)

/* ---- rows, folded by key ---- */

enum {
#define X(name) AT_##name,
    WEIR_COUNTERS_MAP(X)
#undef X
        AT_rejected,
    AT_faults = AT_rejected + WEIR_N_REJECT,
    N_COUNTERS = AT_faults + WEIR_N_FAULT,
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

/* The column of each of these, -1: none. */
static int columns[N_SUMS];

static int column(const char *name)
{
    return flow_table_find(FLOW_TABLE_LEDGER, name, strlen(name));
}

static int column_of_text(const char *prefix, const char *text)
{
    char name[80];
    (void)snprintf(name, sizeof name, "%s%s", prefix, text);
    for (char *c = name; *c; c++)
        *c = *c == '-' ? '_' : *c;
    return column(name);
}

static void find_columns(void)
{
#define X(name) columns[AT_##name] = column(#name);
    WEIR_COUNTERS_MAP(X)
    X(flows_lost)
    X(options_lost)
    X(flows_reversed)
    X(packets_dropped)
    X(packets_refused)
    X(kernel_drops)
    X(receive_errors)
    X(listened)
#undef X
    columns[AT_templates] = -1; /* a gauge */
#define X(name, text) columns[AT_rejected + WEIR_REJECT_##name] = column_of_text("rejected_", text);
    WEIR_REJECT_MAP(X)
#undef X
#define X(name, text) columns[AT_faults + WEIR_FAULT_##name] = column_of_text("fault_", text);
    WEIR_FAULT_MAP(X)
#undef X
}

struct key {
    uint8_t addr[16], len;
    uint16_t port, version;
    uint32_t domain;
    bool has_domain;
};

struct sum {
    struct key key;
    uint64_t v[N_SUMS];
    bool vague; /* a stream of this key went between two looks */
};

struct sums {
    struct sum *at;
    size_t n, cap;
};

static bool same_key(const struct key *a, const struct key *b)
{
    return a->len == b->len && memcmp(a->addr, b->addr, a->len) == 0 && a->port == b->port &&
           a->version == b->version && a->domain == b->domain && a->has_domain == b->has_domain;
}

static struct sum *sum_of(struct sums *s, const struct key *key)
{
    for (size_t i = 0; i < s->n; i++)
        if (same_key(&s->at[i].key, key))
            return &s->at[i];
    if (s->n == s->cap) {
        s->cap = s->cap ? 2 * s->cap : 64;
        s->at = export_grown(s->at, s->cap * sizeof *s->at);
    }
    s->at[s->n] = (struct sum){.key = *key};
    return &s->at[s->n++];
}

static bool cell(const flow_batch *b, uint32_t c, uint32_t row, uint64_t *out)
{
    struct flow_vec v;
    flow_batch_vec(b, c, &v);
    *out = 0;
    if (row >= v.n || (v.valid && !(v.valid[row / 64] >> row % 64 & 1)))
        return false;
    if (v.codes)
        *out = v.codes[row];
    else
        memcpy(out, (const uint8_t *)v.values + row * flow_type_octets(v.column->type),
               flow_type_octets(v.column->type));
    return true;
}

static uint64_t number(const flow_batch *b, uint32_t c, uint32_t row)
{
    uint64_t v;
    (void)cell(b, c, row, &v);
    return v;
}

static struct key key_at(const flow_batch *b, uint32_t row)
{
    struct key k = {0};
    uint64_t v;
    if (cell(b, FLOW_LEDGER_exporter, row, &v)) {
        struct flow_vec vec;
        flow_batch_vec(b, FLOW_LEDGER_exporter, &vec);
        k.len = (uint8_t)(vec.dict.starts[v + 1] - vec.dict.starts[v]);
        memcpy(k.addr, vec.dict.keys + vec.dict.starts[v], k.len);
    }
    k.port = (uint16_t)number(b, FLOW_LEDGER_exporter_port, row);
    k.version = (uint16_t)number(b, FLOW_LEDGER_protocol_version, row);
    k.has_domain = cell(b, FLOW_LEDGER_domain, row, &v);
    k.domain = (uint32_t)v;
    return k;
}

static void fold(struct sums *s, const flow_batch *b)
{
    for (uint32_t row = 0; row < flow_batch_rows(b); row++) {
        struct key k = key_at(b, row);
        struct sum *sum = sum_of(s, &k);
        for (size_t i = 0; i < N_SUMS; i++)
            if (columns[i] >= 0)
                sum->v[i] += number(b, (uint32_t)columns[i], row);
    }
}

static uint64_t total_of(const struct sums *s, size_t at)
{
    uint64_t n = 0;
    for (size_t i = 0; i < s->n; i++)
        n += s->at[i].v[at];
    return n;
}

static bool goes_down(size_t at)
{
    return at == AT_waiting || at == AT_sequence_lost || at == AT_sequence_duplicated;
}

/* The conservation law, of the sums of every key; and that none is below 0. Where memory was short, the first part of a
 * count may stand with the exporter, so that what goes down again is below 0 in the stream. */
static void law_of_sums(const struct sums *s, const char *what, uint64_t seed, bool whole)
{
    for (size_t i = 0; i < s->n; i++) {
        const uint64_t *v = s->at[i].v;
        uint64_t rejected = 0;
        for (size_t k = 0; k < WEIR_N_REJECT; k++)
            rejected += v[AT_rejected + k];
        UNIT_CHECK(v[AT_packets] == v[AT_decoded] + v[AT_waiting] + v[AT_expired] + rejected,
                   "%s %" PRIu64 ": key %zu: packets", what, seed, i);
        UNIT_CHECK(v[AT_records] == v[AT_flows] + v[AT_options] + v[AT_records_rejected],
                   "%s %" PRIu64 ": key %zu: records", what, seed, i);
        for (size_t k = 0; k < N_SUMS; k++)
            UNIT_CHECK((int64_t)v[k] >= 0 || (!whole && goes_down(k)),
                       "%s %" PRIu64 ": key %zu version %u: sum %zu is %" PRId64, what, seed, i,
                       s->at[i].key.version, k, (int64_t)v[k]);
    }
}

/* ---- packets ---- */

struct source {
    weir_endpoint from;
    uint16_t version;
    uint32_t domain, seq, boot_ms;
};

struct packet {
    weir_endpoint from;
    uint8_t data[1500];
    size_t len;
    uint32_t units;
};

enum { TEMPLATES = 1, DATA = 2, OPTIONS = 4, UNKNOWN = 8 };

static void put(struct packet *p, uint64_t v, size_t octets)
{
    while (octets-- > 0)
        p->data[p->len++] = (uint8_t)(v >> 8 * octets);
}

static void put_set(struct packet *p, uint16_t id, size_t record, uint32_t n)
{
    put(p, id, 2);
    put(p, 4 + record * n, 2);
    for (size_t i = 0; i < record * n; i++)
        put(p, i + 1, 1);
}

static void put_templates(struct packet *p, bool v9)
{
    put(p, v9 ? 0 : 2, 2);
    put(p, 24, 2);
    for (size_t i = 0; i < 10; i++)
        put(p, (const uint16_t[]){256, 4, 8, 4, 12, 4, 1, 4, 2, 4}[i], 2);
    put(p, v9 ? 1 : 3, 2);
    put(p, 18, 2);
    for (size_t i = 0; i < 7; i++)
        put(p,
            v9 ? (const uint16_t[]){257, 4, 4, 1, 4, 34, 4}[i]
               : (const uint16_t[]){257, 2, 1, 149, 4, 34, 4}[i],
            2);
}

/* The next packet of a source, with n records in each of its data sets. */
static void make(struct source *s, struct packet *p, unsigned what, uint32_t n, int64_t now_ns)
{
    uint32_t now_s = (uint32_t)(now_ns / SECOND);
    uint32_t up = (uint32_t)(now_ns / 1000000) - s->boot_ms;
    *p = (struct packet){.from = s->from};
    put(p, s->version, 2);
    if (s->version < 9) {
        put(p, n, 2);
        put(p, up, 4);
        put(p, now_s, 4);
        put(p, 0, 4);
        put(p, s->seq, 4);
        put(p, s->domain, 2);
        put(p, 0, 2);
        for (uint32_t i = 0; i < n * (s->version == 5 ? 48 : 52); i++)
            put(p, i & 63, 1);
        p->units = n;
        s->seq += n;
        return;
    }
    bool v9 = s->version == 9;
    put(p, 0, 2); /* count or length */
    if (v9)
        put(p, up, 4);
    put(p, now_s, 4);
    put(p, s->seq, 4);
    put(p, s->domain, 4);
    if (what & TEMPLATES)
        put_templates(p, v9);
    if (what & DATA)
        put_set(p, 256, 16, n);
    if (what & OPTIONS)
        put_set(p, 257, 8, n);
    if (what & UNKNOWN)
        put_set(p, 300, 8, n);
    p->units = v9 ? 1 : n * (uint32_t)__builtin_popcount(what & ~(unsigned)TEMPLATES);
    s->seq += p->units;
    if (!v9) {
        p->data[2] = (uint8_t)(p->len >> 8);
        p->data[3] = (uint8_t)p->len;
    }
}

/* ---- a life of several decoders ---- */

enum { MAX_STREAMS = 64, MAX_LATE = 4 };

struct known {
    uint64_t serial;
    struct key key;
    uint64_t v[N_COUNTERS];
    bool here;
};

struct life {
    weir_decoder_options options;
    weir_decoder *d;
    ledger_account *a;
    flow_batch *batch;
    struct sums rows, want;    /* what the rows say; what they must say of streams */
    uint64_t past[N_COUNTERS]; /* of decoders that are gone */
    struct known known[MAX_STREAMS];
    uint64_t want_more[N_SUMS]; /* what is told from outside */
    struct ledger_receiver receiver;
    uint64_t rng;
    int64_t now_ns;
    bool every; /* looked at after every packet */
};

static void counts_of(const weir_counters *c, uint64_t *v)
{
    memcpy(v, c, sizeof *c);
    v[AT_sequence_lost] -= v[AT_sequence_recovered];
}

static void no_gauges(uint64_t *v)
{
    v[AT_templates] = v[AT_sets_waiting] = v[AT_octets_waiting] = v[AT_sequence_recovered] = 0;
}

/* What every stream has counted since the last time, noted by other means than the account has. */
static void watch(struct life *l)
{
    for (size_t i = 0; i < MAX_STREAMS; i++)
        l->known[i].here = false;
    weir_exporter_info e;
    weir_stream_info s;
    for (size_t at = 0; weir_exporter_next(l->d, &at, &e) == WEIR_OK;)
        for (size_t inner = 0; weir_stream_next(l->d, e.handle, &inner, &s) == WEIR_OK;) {
            struct known *k = NULL, *none = NULL;
            for (size_t i = 0; i < MAX_STREAMS && !k; i++) {
                if (l->known[i].serial == s.serial)
                    k = &l->known[i];
                else if (!none && l->known[i].serial == 0)
                    none = &l->known[i];
            }
            if (!k) {
                assert_non_null(none);
                k = none;
                *k = (struct known){.serial = s.serial};
                k->key = (struct key){.len = 4,
                                      .version = s.version,
                                      .domain = s.domain,
                                      .has_domain = true,
                                      .port = e.scope == WEIR_SCOPE_PORT ? s.port : 0};
                memcpy(k->key.addr, e.address.addr, 4);
            }
            k->here = true;
            uint64_t now[N_COUNTERS];
            counts_of(s.counters, now);
            struct sum *sum = sum_of(&l->want, &k->key);
            for (size_t i = 0; i < N_COUNTERS; i++) {
                sum->v[i] += now[i] - k->v[i];
                k->v[i] = now[i];
            }
        }
    for (size_t i = 0; i < MAX_STREAMS; i++) {
        struct known *k = &l->known[i];
        if (!k->serial || k->here)
            continue;
        struct sum *sum = sum_of(&l->want, &k->key);
        sum->v[AT_expired] += k->v[AT_waiting];
        sum->v[AT_waiting] -= k->v[AT_waiting];
        sum->v[AT_sets_overflowed] += k->v[AT_sets_waiting];
        sum->v[AT_templates_expired] += k->v[AT_templates];
        sum->vague |= !l->every;
        k->serial = 0;
    }
}

static void fetch(struct life *l)
{
    assert_int_equal(ledger_account_rows(l->a, l->batch, NULL), WEIR_OK);
    assert_false(ledger_account_ready(l->a));
    fold(&l->rows, l->batch);
    flow_batch_reset(l->batch);
}

/* Cut, and hold the rows until now against the counters of all decoders until now. */
static void settle(struct life *l, const char *what, uint64_t seed)
{
    ledger_account_cut(l->a);
    fetch(l);
    law_of_sums(&l->rows, what, seed, true);
    uint64_t now[N_SUMS] = {0};
    counts_of(weir_decoder_counters(l->d), now);
    for (size_t i = 0; i < N_COUNTERS; i++)
        now[i] += l->past[i];
    for (size_t i = N_COUNTERS; i < N_SUMS; i++)
        now[i] = l->want_more[i];
    for (size_t i = 0; i < N_SUMS; i++)
        UNIT_CHECK(columns[i] < 0 || total_of(&l->rows, i) == now[i],
                   "%s %" PRIu64 ": sum %zu is %" PRIu64 ", the decoders counted %" PRIu64, what,
                   seed, i, total_of(&l->rows, i), now[i]);
    for (size_t k = 0; k < l->want.n; k++) {
        const struct sum *want = &l->want.at[k], *got = sum_of(&l->rows, &want->key);
        for (size_t i = 0; i < N_COUNTERS && !want->vague; i++)
            UNIT_CHECK(columns[i] < 0 || got->v[i] == want->v[i],
                       "%s %" PRIu64 ": stream %zu of version %u: sum %zu is %" PRIu64
                       ", it counted %" PRIu64,
                       what, seed, k, want->key.version, i, got->v[i], want->v[i]);
    }
}

/* Everything of the old decoder into the past. What waits goes with it. */
static void bury(struct life *l)
{
    watch(l);
    uint64_t v[N_COUNTERS];
    counts_of(weir_decoder_counters(l->d), v);
    v[AT_expired] += v[AT_waiting];
    v[AT_waiting] = 0;
    no_gauges(v);
    for (size_t i = 0; i < N_COUNTERS; i++)
        l->past[i] += v[i];
    for (size_t i = 0; i < MAX_STREAMS; i++) {
        struct known *k = &l->known[i];
        if (k->serial) {
            struct sum *sum = sum_of(&l->want, &k->key);
            sum->v[AT_expired] += k->v[AT_waiting];
            sum->v[AT_waiting] -= k->v[AT_waiting];
        }
        k->serial = 0;
    }
    ledger_account_free(l->a);
    weir_decoder_free(l->d);
}

static void begin(struct life *l)
{
    l->d = weir_decoder_new(&l->options, NULL);
    l->a = ledger_account_new(l->d, 3);
    assert_true(l->d && l->a);
    l->receiver = (struct ledger_receiver){0};
}

struct octets {
    uint8_t *data;
    size_t len;
};

static void load(weir_decoder *d, struct octets o)
{
    weir_err err = {0};
    UNIT_CHECK(weir_decoder_load(d, o.data, o.len, &err) == WEIR_OK, "%s", err.msg);
    free(o.data);
}

/* As after kill -9: only what was saved goes on. */
static void restart(struct life *l)
{
    struct octets state = {0}, positions = {0};
    base_buf account = {0};
    assert_int_equal(weir_decoder_save(l->d, &state.data, &state.len, NULL), WEIR_OK);
    assert_int_equal(weir_decoder_save_positions(l->d, &positions.data, &positions.len, NULL),
                     WEIR_OK);
    assert_int_equal(ledger_account_save(l->a, &account), WEIR_OK);
    bury(l);
    begin(l);
    bool early = hostile_below(&l->rng, 2);
    if (early)
        load(l->d, state);
    load(l->d, positions);
    if (!early)
        load(l->d, state);
    assert_int_equal(ledger_account_load(l->a, (const uint8_t *)account.data, account.len, NULL),
                     WEIR_OK);
    base_buf_done(&account);
    watch(l);
}

static void feed(struct life *l, const struct packet *p)
{
    uint8_t *exact = malloc(p->len + 1);
    assert_non_null(exact);
    memcpy(exact, p->data, p->len);
    drain seen = {0};
    (void)ledger_account_time(l->a, l->now_ns);
    if (l->every)
        ledger_account_sample(l->a);
    (void)weir_decode(l->d, &p->from, l->now_ns, exact, p->len, &drain_handlers, &seen, NULL);
    free(exact);
    watch(l);
}

static void end(struct life *l)
{
    ledger_account_free(l->a);
    weir_decoder_free(l->d);
    flow_batch_free(l->batch);
    free(l->rows.at);
    free(l->want.at);
}

static void damage(struct life *l, struct packet *p)
{
    for (uint32_t n = 1 + hostile_below(&l->rng, 4); n > 0 && p->len > 0; n--)
        p->data[hostile_below(&l->rng, (uint32_t)p->len)] ^=
            (uint8_t)(1U << hostile_below(&l->rng, 8));
    if (hostile_below(&l->rng, 4) == 0)
        p->len = hostile_below(&l->rng, (uint32_t)p->len + 1);
}

/* What only the collector knows. */
static void tell(struct life *l, const struct source *s)
{
    struct ledger_stream stream = {.exporter = s->from, .domain = s->domain, .version = s->version};
    uint64_t n = hostile_below(&l->rng, 100);
    int64_t when = hostile_below(&l->rng, 2) ? 0 : l->now_ns - hostile_below(&l->rng, 90) * SECOND;
    if (l->options.scope != WEIR_SCOPE_PORT)
        stream.exporter.port = 0;
    ledger_account_lost(l->a, &stream, when, n, n / 2);
    ledger_account_reversed(l->a, &stream, n / 3);
    ledger_account_dropped(l->a, &s->from, when, n / 4);
    ledger_account_refused(l->a, &s->from, when, n / 5);
    l->want_more[AT_flows_lost] += n;
    l->want_more[AT_options_lost] += n / 2;
    l->want_more[AT_flows_reversed] += n / 3;
    l->want_more[AT_packets_dropped] += n / 4;
    l->want_more[AT_packets_refused] += n / 5;
    l->receiver.kernel_drops += n;
    l->receiver.errors += 1;
    l->receiver.listened_us += 2 * n;
    ledger_account_receiver(l->a, &l->receiver);
    l->want_more[AT_kernel_drops] += n;
    l->want_more[AT_receive_errors] += 1;
    l->want_more[AT_listened] += 2 * n;
}

/* A random life: every kind of packet from more exporters than there is room for, time that goes on and now and then back. */
static void random_life(uint64_t seed, uint64_t *seen)
{
    static const uint16_t versions[] = {5, 9, 10, 7, 1};
    struct life l = {.rng = seed * 0x9e3779b97f4a7c15u + 1, .now_ns = EXPORT_NS, .every = seed % 2};
    l.options = (weir_decoder_options){
        .scope = seed % 3 == 0 ? WEIR_SCOPE_PORT : WEIR_SCOPE_ADDRESS,
        .max_exporters = 6 + seed % 5,
        .max_streams = 12 + seed % 20,
        .max_exporter_streams = 4,
        .max_templates = seed % 7 ? 0 : 1,
        .max_waiting_octets = seed % 5 ? 0 : 700,
        .max_waiting_total = seed % 11 ? 0 : 1500,
        .waiting_s = 20,
        .template_life_s = seed % 4 ? 0 : 30,
        .idle_s = seed % 2 ? 3 : 70,
    };
    l.batch = flow_batch_new(FLOW_TABLE_LEDGER);
    begin(&l);
    struct source sources[24];
    for (size_t i = 0; i < UNIT_N(sources); i++)
        sources[i] =
            (struct source){.from = hostile_from(1 + hostile_below(&l.rng, 14),
                                                 (uint16_t)(1000 + hostile_below(&l.rng, 2))),
                            .version = versions[hostile_below(&l.rng, UNIT_N(versions))],
                            .domain = hostile_below(&l.rng, 3),
                            .seq = (uint32_t)hostile_next(&l.rng),
                            .boot_ms = (uint32_t)hostile_next(&l.rng)};
    struct packet held[MAX_LATE];
    size_t n_held = 0;
    for (int step = 0; step < 700; step++) {
        struct packet p;
        struct source *s = &sources[hostile_below(&l.rng, UNIT_N(sources))];
        static const int64_t steps[] = {SECOND / 1000, SECOND / 10, SECOND, 7 * SECOND};
        l.now_ns += steps[hostile_below(&l.rng, UNIT_N(steps))];
        if (hostile_below(&l.rng, 60) == 0)
            l.now_ns += hostile_below(&l.rng, 2) ? 200 * SECOND : -40 * SECOND;
        if (hostile_below(&l.rng, 100) == 0) { /* it starts anew */
            s->seq = 0;
            s->boot_ms = (uint32_t)(l.now_ns / 1000000);
        }
        make(s, &p, 1 + hostile_below(&l.rng, 15), 1 + hostile_below(&l.rng, 9), l.now_ns);
        switch (hostile_below(&l.rng, 16)) {
        case 0: /* lost on its way */
            break;
        case 1: /* twice */
            feed(&l, &p);
            feed(&l, &p);
            break;
        case 2: /* late */
            if (n_held < MAX_LATE)
                held[n_held++] = p;
            break;
        case 3:
            if (n_held > 0)
                feed(&l, &held[--n_held]);
            break;
        case 4:
            damage(&l, &p);
            feed(&l, &p);
            break;
        case 5:
            tell(&l, s);
            break;
        case 6:
            (void)ledger_account_time(l.a, l.now_ns);
            if (l.every)
                ledger_account_sample(l.a);
            weir_decoder_tick(l.d, l.now_ns, NULL, NULL);
            watch(&l);
            break;
        case 7:
            ledger_account_sample(l.a);
            break;
        default:
            feed(&l, &p);
        }
        if (hostile_below(&l.rng, 40) == 0)
            settle(&l, "random", seed);
        if (hostile_below(&l.rng, 150) == 0) {
            restart(&l);
            settle(&l, "restarted", seed);
        }
    }
    if (l.every)
        ledger_account_sample(l.a);
    weir_decoder_finish(l.d, NULL, NULL);
    watch(&l);
    settle(&l, "finished", seed);
    UNIT_CHECK(total_of(&l.rows, AT_waiting) == 0, "seed %" PRIu64 ": something waits", seed);
    for (size_t i = 0; i < N_SUMS; i++)
        seen[i] += total_of(&l.rows, i);
    end(&l);
}

static void conservation(void **state)
{
    (void)state;
    uint64_t seen[N_SUMS] = {0};
    for (uint64_t seed = 1; seed <= 60; seed++)
        random_life(seed, seen);
    /* All has happened that these packets can make happen. */
    static const uint8_t never[] = {AT_waiting,
                                    AT_sets_waiting,
                                    AT_octets_waiting,
                                    AT_templates,
                                    AT_withdrawn,
                                    AT_withdrawals_ignored,
                                    AT_conflicts,
                                    AT_padding_ambiguous,
                                    AT_values_bad,
                                    AT_sequence_recovered,
                                    AT_quirky,
                                    AT_rejected + WEIR_REJECT_MEMORY,
                                    AT_faults + WEIR_FAULT_MEMORY};
    for (size_t i = 0; i < N_SUMS; i++)
        UNIT_CHECK(seen[i] > 0 || memchr(never, (int)i, sizeof never), "sum %zu was never tried",
                   i);
}

/* ---- loss on purpose ---- */

/* A sender of one protocol; some packets are dropped, some overtaken by others, and the collector is killed now and then: what
 * it had received since it saved is lost too. The sums of the rows say exactly how many units that was. */
static void known_loss(uint16_t version, uint64_t seed)
{
    struct life l = {.rng = seed * 77 + version, .now_ns = EXPORT_NS};
    l.batch = flow_batch_new(FLOW_TABLE_LEDGER);
    begin(&l);
    struct source s = {.from = hostile_from(1, 2055),
                       .version = version,
                       .domain = 7,
                       .seq = seed % 3 ? UINT32_MAX - 2000 : 12345,
                       .boot_ms = (uint32_t)(l.now_ns / 1000000) - 5000000};
    struct octets state = {0}, positions = {0};
    base_buf account = {0};
    struct sums fetched = {0}; /* rows on disk: they outlive the process */
    uint64_t sent = 0, dropped = 0, unsaved = 0;
    struct packet held = {0};
    for (int i = 0; i < 600; i++) {
        struct packet p;
        make(&s, &p,
             i == 0     ? TEMPLATES
             : seed % 2 ? DATA
                        : DATA | OPTIONS,
             1 + hostile_below(&l.rng, 9), l.now_ns);
        sent += p.units;
        l.now_ns += hostile_below(&l.rng, 700) * SECOND / 1000;
        bool edge = i == 0 || i >= 580; /* at the end nothing is in doubt any more */
        if (!edge && hostile_below(&l.rng, 10) == 0) {
            dropped += p.units;
        } else if (!edge && held.len == 0 && hostile_below(&l.rng, 20) == 0) {
            held = p;
        } else {
            feed(&l, &p);
            unsaved += p.units;
        }
        if (held.len && (edge || hostile_below(&l.rng, 3) == 0)) {
            feed(&l, &held);
            unsaved += held.units;
            held.len = 0;
        }
        if (i == 0 || hostile_below(&l.rng, 12) == 0) { /* a checkpoint */
            bool whole = i == 0 || hostile_below(&l.rng, 4) == 0;
            if (whole)
                free(state.data);
            free(positions.data);
            if (whole)
                assert_int_equal(weir_decoder_save(l.d, &state.data, &state.len, NULL), WEIR_OK);
            assert_int_equal(
                weir_decoder_save_positions(l.d, &positions.data, &positions.len, NULL), WEIR_OK);
            base_buf_reset(&account);
            if (hostile_below(&l.rng, 2)) {
                ledger_account_cut(l.a);
                assert_int_equal(ledger_account_rows(l.a, l.batch, NULL), WEIR_OK);
                fold(&fetched, l.batch);
                flow_batch_reset(l.batch);
            }
            assert_int_equal(ledger_account_save(l.a, &account), WEIR_OK);
            unsaved = 0;
        } else if (!edge && hostile_below(&l.rng, 60) == 0) { /* kill -9 */
            ledger_account_free(l.a);
            weir_decoder_free(l.d);
            memset(l.known, 0, sizeof l.known);
            l.now_ns += hostile_below(&l.rng, 100) * SECOND;
            begin(&l);
            bool old_first = hostile_below(&l.rng, 2); /* in any order the newer one counts */
            for (int k = 0; k < 2; k++) {
                const struct octets *o = old_first == (k == 0) ? &state : &positions;
                assert_int_equal(weir_decoder_load(l.d, o->data, o->len, NULL), WEIR_OK);
            }
            assert_int_equal(
                ledger_account_load(l.a, (const uint8_t *)account.data, account.len, NULL),
                WEIR_OK);
            dropped += unsaved;
            unsaved = 0;
        }
    }
    ledger_account_cut(l.a);
    assert_int_equal(ledger_account_rows(l.a, l.batch, NULL), WEIR_OK);
    fold(&fetched, l.batch);
    law_of_sums(&fetched, "loss", seed, true);
    UNIT_CHECK(total_of(&fetched, AT_sequence_lost) == dropped,
               "version %u seed %" PRIu64 ": %" PRIu64 " lost, the ledger says %" PRId64, version,
               seed, dropped, (int64_t)total_of(&fetched, AT_sequence_lost));
    uint64_t arrived = total_of(&fetched, version == 9    ? AT_packets
                                          : version == 10 ? AT_records
                                                          : AT_flows);
    UNIT_CHECK(arrived + dropped == sent,
               "version %u seed %" PRIu64 ": %" PRIu64 " arrived and %" PRIu64
               " were lost of %" PRIu64,
               version, seed, arrived, dropped, sent);
    UNIT_CHECK(
        total_of(&fetched, AT_sequence_resets) == 0 && total_of(&fetched, AT_restarts) == 0 &&
            total_of(&fetched, AT_sequence_duplicated) == 0 &&
            total_of(&fetched, AT_sequence_unsure) == 0 && total_of(&fetched, AT_waiting) == 0,
        "version %u seed %" PRIu64 ": something else than loss", version, seed);
    free(fetched.at);
    free(state.data);
    free(positions.data);
    base_buf_done(&account);
    end(&l);
}

static void loss_is_what_was_lost(void **state)
{
    (void)state;
    static const uint16_t versions[] = {5, 7, 9, 10};
    for (size_t i = 0; i < UNIT_N(versions); i++)
        for (uint64_t seed = 1; seed <= 12; seed++)
            known_loss(versions[i], seed);
}

/* An hour's silence: what was sent in it is lost, though it is more than any jump that is believed at once. */
static void loss_of_a_long_pause(void **state)
{
    (void)state;
    static const struct {
        uint16_t version;
        uint32_t units;
    } cases[] = {{9, 300000}, {10, 30000000}, {5, 30000000}};
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        struct life l = {.rng = 1, .now_ns = EXPORT_NS};
        l.batch = flow_batch_new(FLOW_TABLE_LEDGER);
        begin(&l);
        struct source s = {.from = hostile_from(1, 2055), .version = cases[i].version, .seq = 1000};
        struct packet p;
        make(&s, &p, TEMPLATES | DATA, 3, l.now_ns);
        feed(&l, &p);
        restart(&l);
        s.seq += cases[i].units;
        l.now_ns += 3600 * SECOND;
        for (int k = 0; k < 5; k++) {
            make(&s, &p, DATA, 3, l.now_ns);
            feed(&l, &p);
        }
        settle(&l, "pause", i);
        UNIT_CHECK(total_of(&l.rows, AT_sequence_lost) == cases[i].units &&
                       total_of(&l.rows, AT_sequence_resets) == 0,
                   "version %u: %" PRIu64 " lost, %" PRIu64 " resets", cases[i].version,
                   total_of(&l.rows, AT_sequence_lost), total_of(&l.rows, AT_sequence_resets));
        /* Far more than could be sent meanwhile is no loss. */
        l.now_ns += 20 * SECOND;
        s.seq += 2000000000;
        for (int k = 0; k < 5; k++) {
            make(&s, &p, DATA, 3, l.now_ns);
            feed(&l, &p);
        }
        settle(&l, "jump", i);
        assert_int_equal(total_of(&l.rows, AT_sequence_lost), cases[i].units);
        assert_int_equal(total_of(&l.rows, AT_sequence_resets), 1);
        end(&l);
    }
}

/* What is overtaken by a restart comes late, and is not lost. */
static void late_over_a_restart(void **state)
{
    (void)state;
    struct life l = {.rng = 1, .now_ns = EXPORT_NS};
    l.batch = flow_batch_new(FLOW_TABLE_LEDGER);
    begin(&l);
    struct source s = {.from = hostile_from(1, 2055), .version = 5};
    struct packet p[4];
    for (size_t i = 0; i < 4; i++)
        make(&s, &p[i], DATA, 2 + (uint32_t)i, l.now_ns);
    feed(&l, &p[0]);
    feed(&l, &p[2]);
    settle(&l, "before", 0);
    assert_int_equal(total_of(&l.rows, AT_sequence_lost), 3);
    restart(&l);
    feed(&l, &p[1]);
    assert_int_equal(weir_decoder_counters(l.d)->sequence_recovered, 3);
    assert_int_equal(weir_decoder_counters(l.d)->sequence_lost, 0);
    feed(&l, &p[3]);
    settle(&l, "after", 0);
    assert_int_equal(total_of(&l.rows, AT_sequence_lost), 0);
    assert_int_equal(total_of(&l.rows, AT_sequence_out_of_order), 1);
    assert_int_equal(total_of(&l.rows, AT_sequence_duplicated), 0);
    end(&l);
}

/* ---- what a row says ---- */

static void the_columns_are_there(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_SUMS; i++) {
        bool none = i == AT_templates || i == AT_sets_waiting || i == AT_octets_waiting ||
                    i == AT_sequence_recovered;
        UNIT_CHECK((columns[i] < 0) == none, "counter %zu", i);
        if (columns[i] < 0)
            continue;
        const struct flow_column *c = &flow_ledger_columns()[columns[i]];
        UNIT_CHECK((c->type == FLOW_TYPE_U64 || c->type == FLOW_TYPE_S64) &&
                       c->fold == FLOW_FOLD_SUM,
                   "%s is no sum of 8 octets", c->name);
    }
}

static uint32_t row_of(const flow_batch *b, int64_t minute_ns, uint16_t version, bool exporter)
{
    uint64_t v;
    for (uint32_t i = 0; i < flow_batch_rows(b); i++)
        if ((int64_t)number(b, FLOW_LEDGER_minute, i) == minute_ns / 1000 &&
            number(b, FLOW_LEDGER_protocol_version, i) == version &&
            cell(b, FLOW_LEDGER_exporter, i, &v) == exporter)
            return i;
    fail_msg("no row of version %u", version);
    return 0;
}

static void what_a_row_says(void **state)
{
    (void)state;
    struct life l = {.rng = 1, .now_ns = EXPORT_NS};
    l.batch = flow_batch_new(FLOW_TABLE_LEDGER);
    begin(&l);
    uint64_t v;
    struct packet p;
    struct source s = {.from = hostile_from(1, 2055),
                       .version = 9,
                       .domain = 5,
                       .boot_ms = (uint32_t)(EXPORT_NS / 1000000) - 1000};
    assert_false(ledger_account_time(l.a, l.now_ns));
    assert_false(ledger_account_ready(l.a));
    make(&s, &p, TEMPLATES | OPTIONS, 1, l.now_ns);
    feed(&l, &p);
    ledger_account_sample(l.a);
    l.now_ns += 10 * SECOND;
    make(&s, &p, DATA, 4, l.now_ns - 2 * SECOND); /* its clock is slow now */
    feed(&l, &p);
    ledger_account_receiver(
        l.a, &(struct ledger_receiver){.kernel_drops = 7, .listened_us = 99, .buffer = 4096});
    /* Packets that came a little earlier are of the same minute; a minute is over when a later one begins. */
    assert_false(ledger_account_time(l.a, MINUTE_NS - 59 * SECOND));
    assert_false(ledger_account_time(l.a, MINUTE_NS + MINUTE - 1));
    assert_false(ledger_account_ready(l.a));
    assert_true(ledger_account_time(l.a, MINUTE_NS + MINUTE));
    assert_true(ledger_account_ready(l.a));
    assert_int_equal(ledger_account_rows(l.a, l.batch, NULL), WEIR_OK);
    assert_int_equal(flow_batch_rows(l.batch), 2);
    uint32_t r = row_of(l.batch, MINUTE_NS, 9, true);
    assert_int_equal(number(l.batch, FLOW_LEDGER_worker, r), 3);
    assert_int_equal(number(l.batch, FLOW_LEDGER_domain, r), 5);
    assert_false(cell(l.batch, FLOW_LEDGER_exporter_port, r, &v));
    assert_int_equal(number(l.batch, FLOW_LEDGER_packets, r), 2);
    assert_int_equal(number(l.batch, FLOW_LEDGER_flows, r), 4);
    assert_int_equal(number(l.batch, FLOW_LEDGER_options, r), 1);
    assert_int_equal(number(l.batch, FLOW_LEDGER_templates, r), 2);
    assert_int_equal(number(l.batch, FLOW_LEDGER_first, r), EXPORT_NS / 1000);
    assert_int_equal(number(l.batch, FLOW_LEDGER_last, r), EXPORT_NS / 1000 + 10000000);
    assert_int_equal((int64_t)number(l.batch, FLOW_LEDGER_clock_skew_min, r), -2000000);
    assert_int_equal((int64_t)number(l.batch, FLOW_LEDGER_clock_skew_max, r), 0);
    assert_int_equal(number(l.batch, FLOW_LEDGER_uptime, r), 9000);
    assert_true(cell(l.batch, FLOW_LEDGER_sampling_rate, r, &v));
    assert_false(cell(l.batch, FLOW_LEDGER_not_sent_flows, r, &v));
    assert_false(cell(l.batch, FLOW_LEDGER_receive_buffer, r, &v));
    r = row_of(l.batch, MINUTE_NS, 0, false);
    assert_int_equal(number(l.batch, FLOW_LEDGER_kernel_drops, r), 7);
    assert_int_equal(number(l.batch, FLOW_LEDGER_listened, r), 99);
    assert_int_equal(number(l.batch, FLOW_LEDGER_receive_buffer, r), 4096);
    assert_false(cell(l.batch, FLOW_LEDGER_domain, r, &v));
    assert_int_equal(number(l.batch, FLOW_LEDGER_first, r), EXPORT_NS / 1000 + 10000000 - 99);
    flow_batch_reset(l.batch);
    /* Nothing happens: no row. */
    ledger_account_sample(l.a);
    assert_true(ledger_account_time(l.a, MINUTE_NS + 2 * MINUTE));
    assert_false(ledger_account_ready(l.a));
    /* Loss of a minute that is over is told of that minute; a capture that begins anew is one of its own. */
    struct ledger_stream stream = {.exporter = s.from, .domain = 5, .version = 9};
    stream.exporter.port = 0;
    ledger_account_lost(l.a, &stream, MINUTE_NS + 30 * SECOND, 11, 0);
    ledger_account_lost(l.a, &stream, MINUTE_NS + 2 * MINUTE + SECOND, 5, 0);
    ledger_account_lost(l.a, &stream, 0, 6, 0);
    assert_true(ledger_account_time(l.a, MINUTE_NS + MINUTE - 1));
    assert_int_equal(ledger_account_rows(l.a, l.batch, NULL), WEIR_OK);
    assert_int_equal(flow_batch_rows(l.batch), 3); /* and the collector's */
    r = row_of(l.batch, MINUTE_NS, 9, true);
    assert_int_equal(number(l.batch, FLOW_LEDGER_flows_lost, r), 11);
    r = row_of(l.batch, MINUTE_NS + 2 * MINUTE, 9, true);
    assert_int_equal(number(l.batch, FLOW_LEDGER_flows_lost, r), 11);
    /* Rows that could not be stored come again. */
    assert_true(ledger_account_unstored(l.a, l.batch));
    assert_true(ledger_account_ready(l.a));
    flow_batch_reset(l.batch);
    assert_int_equal(ledger_account_rows(l.a, l.batch, NULL), WEIR_OK);
    assert_int_equal(flow_batch_rows(l.batch), 3);
    end(&l);
}

/* What a decoder has counted before there was an account is not its matter. */
static void from_now_on(void **state)
{
    (void)state;
    struct life l = {.rng = 1, .now_ns = EXPORT_NS};
    l.batch = flow_batch_new(FLOW_TABLE_LEDGER);
    begin(&l);
    struct packet p;
    struct source s = {.from = hostile_from(1, 2055), .version = 10};
    make(&s, &p, TEMPLATES | UNKNOWN, 3, l.now_ns);
    feed(&l, &p);
    ledger_account_free(l.a);
    l.a = ledger_account_new(l.d, 0);
    assert_non_null(l.a);
    ledger_account_cut(l.a);
    assert_false(ledger_account_ready(l.a));
    make(&s, &p, DATA, 2, l.now_ns);
    feed(&l, &p);
    ledger_account_cut(l.a);
    fetch(&l);
    assert_int_equal(total_of(&l.rows, AT_packets), 1);
    assert_int_equal(total_of(&l.rows, AT_flows), 2);
    assert_int_equal(total_of(&l.rows, AT_waiting), 0);
    end(&l);
}

/* Addresses that never get through: so many of them have rows, the rest is in the collector's; known exporters always have. */
static void strangers(void **state)
{
    (void)state;
    struct life l = {.rng = 1, .now_ns = EXPORT_NS};
    l.batch = flow_batch_new(FLOW_TABLE_LEDGER);
    begin(&l);
    struct packet p;
    struct source s = {.from = hostile_from(1 << 20, 2055), .version = 5};
    make(&s, &p, DATA, 1, l.now_ns);
    feed(&l, &p);
    ledger_account_sample(l.a);
    for (uint32_t i = 0; i < 20000; i++) {
        weir_endpoint from = hostile_from(i, (uint16_t)i);
        ledger_account_dropped(l.a, &from, l.now_ns, 2);
        ledger_account_refused(l.a, &from, 0, 1);
    }
    ledger_account_dropped(l.a, &s.from, l.now_ns, 5);
    ledger_account_cut(l.a);
    assert_int_equal(ledger_account_rows(l.a, l.batch, NULL), WEIR_OK);
    uint32_t n = flow_batch_rows(l.batch);
    assert_int_equal(n, 4096 + 3); /* the stream, its exporter, the collector */
    uint64_t v, dropped = 0, refused = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t here = number(l.batch, FLOW_LEDGER_packets_dropped, i);
        dropped += here;
        refused += number(l.batch, FLOW_LEDGER_packets_refused, i);
        assert_true(here == 0 || here == 2 || here == 5 ||
                    !cell(l.batch, FLOW_LEDGER_exporter, i, &v));
    }
    assert_int_equal(dropped, 40005);
    assert_int_equal(refused, 20000);
    end(&l);
}

/* Nobody fetches rows for long: they do not grow without end, and their sums stay right. */
static void rows_that_nobody_fetches(void **state)
{
    (void)state;
    struct life l = {.rng = 1, .now_ns = EXPORT_NS};
    l.batch = flow_batch_new(FLOW_TABLE_LEDGER);
    begin(&l);
    for (uint32_t minute = 0; minute < 80; minute++) {
        (void)ledger_account_time(l.a, l.now_ns + minute * MINUTE);
        for (uint32_t i = 0; i < 4096; i++) {
            weir_endpoint from = hostile_from(i, 1);
            ledger_account_refused(l.a, &from, 0, 1);
        }
    }
    ledger_account_cut(l.a);
    assert_int_equal(ledger_account_rows(l.a, l.batch, NULL), WEIR_OK);
    uint64_t refused = 0;
    for (uint32_t i = 0; i < flow_batch_rows(l.batch); i++)
        refused += number(l.batch, FLOW_LEDGER_packets_refused, i);
    assert_int_equal(refused, 80 * 4096);
    assert_true(flow_batch_rows(l.batch) < (1 << 18) + 80);
    end(&l);
}

/* ---- saved octets ---- */

static void saved_octets(void **state)
{
    (void)state;
    struct life l = {.rng = 1, .now_ns = EXPORT_NS};
    l.batch = flow_batch_new(FLOW_TABLE_LEDGER);
    begin(&l);
    struct packet p;
    struct source s = {.from = hostile_from(1, 2055), .version = 10};
    make(&s, &p, TEMPLATES | DATA | UNKNOWN, 3, l.now_ns);
    feed(&l, &p);
    l.now_ns += MINUTE;
    feed(&l, &p);
    base_buf first = {0}, second = {0};
    assert_int_equal(ledger_account_save(l.a, &first), WEIR_OK);
    assert_int_equal(ledger_account_save(l.a, &second), WEIR_OK);
    assert_int_equal(first.len, second.len);
    assert_memory_equal(first.data, second.data, first.len); /* saving has changed nothing */
    weir_decoder *d = weir_decoder_new(NULL, NULL);
    ledger_account *a = ledger_account_new(d, 0);
    const uint8_t *data = (const uint8_t *)first.data;
    for (size_t len = 0; len < first.len; len++) {
        uint8_t *exact = malloc(len + 1);
        assert_non_null(exact);
        memcpy(exact, data, len);
        UNIT_CHECK(ledger_account_load(a, exact, len, NULL) == WEIR_EFORMAT, "cut at %zu", len);
        free(exact);
    }
    for (size_t bit = 0; bit < first.len * 8; bit++) {
        first.data[bit / 8] = (char)(first.data[bit / 8] ^ 1 << bit % 8);
        UNIT_CHECK(ledger_account_load(a, data, first.len, NULL) == WEIR_EFORMAT, "bit %zu", bit);
        first.data[bit / 8] = (char)(first.data[bit / 8] ^ 1 << bit % 8);
    }
    /* Any content under a right checksum. */
    for (unsigned i = 0; i < 3000; i++) {
        second.data[8 + hostile_below(&l.rng, (uint32_t)second.len - 16)] =
            (char)hostile_next(&l.rng);
        uint64_t h = base_hash(second.data, second.len - 8, 0);
        for (size_t k = 0; k < 8; k++)
            second.data[second.len - 1 - k] = (char)(h >> 8 * k);
        weir_err err = {0};
        weir_status status = ledger_account_load(a, (const uint8_t *)second.data, second.len, &err);
        UNIT_CHECK(status == WEIR_OK || (status == WEIR_EFORMAT && err.code == WEIR_EFORMAT),
                   "forged: %d", (int)status);
        if (status == WEIR_OK || i % 16 == 0)
            memcpy(second.data, first.data, first.len);
        if (status == WEIR_OK) {
            ledger_account_free(a);
            a = ledger_account_new(d, 0);
        }
    }
    /* The octets of two come together in one that has not begun to count. */
    assert_int_equal(ledger_account_load(a, data, first.len, NULL), WEIR_OK);
    assert_int_equal(ledger_account_load(a, data, first.len, NULL), WEIR_OK);
    assert_int_equal(ledger_account_rows(a, l.batch, NULL), WEIR_OK);
    fold(&l.rows, l.batch);
    flow_batch_reset(l.batch);
    assert_int_equal(total_of(&l.rows, AT_packets), 4);
    assert_int_equal(total_of(&l.rows, AT_expired), 4);
    assert_int_equal(total_of(&l.rows, AT_waiting), 0);
    ledger_account_refused(a, &s.from, 0, 1);
    assert_int_equal(ledger_account_load(a, data, first.len, NULL), WEIR_EINVAL);
    ledger_account_free(a);
    weir_decoder_free(d);
    base_buf_done(&first);
    base_buf_done(&second);
    end(&l);
}

/* ---- memory ---- */

/* One allocation of the account fails, or all from one on until it is done: what could not be noted then is noted later. */
static uint64_t with_failures(uint64_t fail_at, bool on)
{
    struct life l = {.rng = 5, .now_ns = EXPORT_NS};
    l.options = (weir_decoder_options){.max_exporters = 6, .max_streams = 12, .idle_s = 3};
    l.batch = flow_batch_new(FLOW_TABLE_LEDGER);
    begin(&l);
    struct source sources[12];
    for (uint32_t i = 0; i < UNIT_N(sources); i++)
        sources[i] = (struct source){
            .from = hostile_from(i, 1), .version = (uint16_t)(i % 2 ? 9 : 10), .domain = i};
    uint64_t calls = 0;
    for (int step = 0; step < 60; step++) {
        struct packet p;
        l.now_ns += SECOND;
        make(&sources[hostile_below(&l.rng, UNIT_N(sources))], &p, 1 + hostile_below(&l.rng, 15), 2,
             l.now_ns);
        (void)weir_decode(l.d, &p.from, l.now_ns, p.data, p.len, NULL, NULL, NULL);
        heap.calls = calls;
        heap.fail_at = fail_at;
        heap.fail_on = on;
        (void)ledger_account_time(l.a, l.now_ns);
        ledger_account_sample(l.a);
        ledger_account_refused(l.a, &p.from, 0, 1);
        if (step % 20 == 10) {
            base_buf saved = {0};
            weir_status status = ledger_account_save(l.a, &saved);
            assert_true(status == WEIR_OK || status == WEIR_ENOMEM);
            base_buf_done(&saved);
        }
        if (step % 20 == 15)
            ledger_account_cut(l.a);
        calls = heap.calls;
        heap.fail_at = 0;
    }
    ledger_account_cut(l.a);
    fetch(&l);
    law_of_sums(&l.rows, "memory", fail_at, false);
    uint64_t now[N_COUNTERS];
    counts_of(weir_decoder_counters(l.d), now);
    for (size_t i = 0; i < N_COUNTERS; i++)
        UNIT_CHECK(columns[i] < 0 || total_of(&l.rows, i) == now[i],
                   "allocation %" PRIu64 ": sum %zu is %" PRIu64 ", not %" PRIu64, fail_at, i,
                   total_of(&l.rows, i), now[i]);
    assert_int_equal(total_of(&l.rows, AT_packets_refused), 60);
    end(&l);
    return calls;
}

static void memory_is_short(void **state)
{
    (void)state;
    uint64_t calls = with_failures(0, false);
    assert_true(calls > 50);
    for (uint64_t k = 1; k <= calls; k++) {
        (void)with_failures(k, false);
        (void)with_failures(k, true);
    }
}

/* When nothing new comes up, looking and cutting allocate nothing. */
static void steady_state(void **state)
{
    (void)state;
    struct life l = {.rng = 5, .now_ns = EXPORT_NS};
    l.batch = flow_batch_new(FLOW_TABLE_LEDGER);
    begin(&l);
    struct source sources[20];
    for (uint32_t i = 0; i < UNIT_N(sources); i++)
        sources[i] = (struct source){.from = hostile_from(i, 1), .version = 5};
    for (int minute = 0; minute < 8; minute++) {
        uint64_t before = heap.calls;
        for (uint32_t i = 0; i < UNIT_N(sources) * 3; i++) {
            struct packet p;
            make(&sources[i % UNIT_N(sources)], &p, DATA, 1, l.now_ns);
            (void)ledger_account_time(l.a, l.now_ns);
            (void)weir_decode(l.d, &p.from, l.now_ns, p.data, p.len, NULL, NULL, NULL);
            ledger_account_sample(l.a);
            l.now_ns += SECOND;
        }
        ledger_account_cut(l.a);
        UNIT_CHECK(minute < 2 || heap.calls == before, "minute %d: %" PRIu64 " allocations", minute,
                   heap.calls - before);
        assert_int_equal(ledger_account_rows(l.a, l.batch, NULL), WEIR_OK);
        flow_batch_reset(l.batch);
    }
    end(&l);
}

/* `last` of the collector's own row at the end of what is saved, as microseconds of the minute; -1: there is none. */
static int64_t told_up_to(const struct life *l)
{
    base_buf saved = {0};
    flow_batch *b = flow_batch_new(FLOW_TABLE_LEDGER);
    assert_int_equal(ledger_account_save(l->a, &saved), WEIR_OK);
    assert_int_equal(
        ledger_account_parse((const uint8_t *)saved.data, saved.len, false, SIZE_MAX, b, NULL),
        WEIR_OK);
    uint32_t n = flow_batch_rows(b);
    int64_t us = -1;
    if (n)
        us = (int64_t)number(b, FLOW_LEDGER_last, n - 1) - MINUTE_NS / 1000;
    flow_batch_free(b);
    base_buf_done(&saved);
    return us;
}

/* The collector's own row says from when it counts: since it has been listening, at most since its minute began. */
static void listens_since(void **state)
{
    (void)state;
    struct life l = {.rng = 1, .now_ns = MINUTE_NS + 31 * SECOND};
    l.batch = flow_batch_new(FLOW_TABLE_LEDGER);
    begin(&l);
    uint64_t v;
    struct ledger_receiver r = {.buffer = 4096};
    (void)ledger_account_time(l.a, l.now_ns);
    ledger_account_receiver(l.a, &r); /* not yet */
    r.listened_us = 250000;
    (void)ledger_account_time(l.a, MINUTE_NS + 32 * SECOND);
    ledger_account_receiver(l.a, &r);
    r.listened_us += 1000000;
    (void)ledger_account_time(l.a, MINUTE_NS + 33 * SECOND);
    ledger_account_receiver(l.a, &r);
    ledger_account_cut(l.a);
    assert_int_equal(ledger_account_rows(l.a, l.batch, NULL), WEIR_OK);
    assert_int_equal(flow_batch_rows(l.batch), 1);
    assert_int_equal(number(l.batch, FLOW_LEDGER_first, 0), MINUTE_NS / 1000 + 31750000);
    assert_int_equal(number(l.batch, FLOW_LEDGER_last, 0), MINUTE_NS / 1000 + 33000000);
    /* The next part of the minute begins where this one ends. */
    flow_batch_reset(l.batch);
    r.listened_us += 2000000;
    (void)ledger_account_time(l.a, MINUTE_NS + 35 * SECOND);
    ledger_account_receiver(l.a, &r);
    (void)ledger_account_time(l.a, MINUTE_NS + MINUTE);
    assert_int_equal(ledger_account_rows(l.a, l.batch, NULL), WEIR_OK);
    assert_int_equal(number(l.batch, FLOW_LEDGER_first, 0), MINUTE_NS / 1000 + 33000000);
    /* What is told of a minute and the end of the one before is of the minute. */
    flow_batch_reset(l.batch);
    r.listened_us += 26000000;
    (void)ledger_account_time(l.a, MINUTE_NS + MINUTE + SECOND);
    ledger_account_receiver(l.a, &r);
    (void)ledger_account_time(l.a, MINUTE_NS + 2 * MINUTE);
    assert_int_equal(ledger_account_rows(l.a, l.batch, NULL), WEIR_OK);
    assert_int_equal(number(l.batch, FLOW_LEDGER_first, 0), (MINUTE_NS + MINUTE) / 1000);
    /* Nobody has listened: it does not say. */
    flow_batch_reset(l.batch);
    r.kernel_drops++;
    ledger_account_receiver(l.a, &r);
    ledger_account_cut(l.a);
    assert_int_equal(ledger_account_rows(l.a, l.batch, NULL), WEIR_OK);
    assert_int_equal(flow_batch_rows(l.batch), 1);
    assert_false(cell(l.batch, FLOW_LEDGER_first, 0, &v));
    end(&l);
}

/* Each part of a minute ends with the collector's own row, later than the part before, and a part only goes on. */
static void parts(void **state)
{
    (void)state;
    struct life l = {.rng = 1, .now_ns = MINUTE_NS + SECOND};
    l.batch = flow_batch_new(FLOW_TABLE_LEDGER);
    begin(&l);
    (void)ledger_account_time(l.a, l.now_ns);
    struct ledger_receiver r = {.listened_us = 1};
    ledger_account_receiver(l.a, &r);
    assert_int_equal(told_up_to(&l), 1000000);
    (void)ledger_account_time(l.a, MINUTE_NS + 9 * SECOND);
    assert_int_equal(told_up_to(&l), 9000000);
    (void)ledger_account_time(l.a,
                              MINUTE_NS + 7 * SECOND); /* a packet that came a little earlier */
    assert_int_equal(told_up_to(&l), 9000000);
    ledger_account_cut(l.a);
    assert_int_equal(ledger_account_rows(l.a, l.batch, NULL), WEIR_OK);
    assert_int_equal(number(l.batch, FLOW_LEDGER_last, 0), MINUTE_NS / 1000 + 9000000);
    assert_int_equal(told_up_to(&l), -1);
    r.listened_us++;
    ledger_account_receiver(l.a, &r);
    assert_int_equal(told_up_to(&l), 9000001);
    (void)ledger_account_time(l.a, MINUTE_NS + 100 * SECOND);
    flow_batch_reset(l.batch);
    assert_int_equal(ledger_account_rows(l.a, l.batch, NULL), WEIR_OK);
    assert_int_equal(number(l.batch, FLOW_LEDGER_last, 0), MINUTE_NS / 1000 + 60000000);
    end(&l);
}

int main(void)
{
    find_columns();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_columns_are_there),
        cmocka_unit_test(conservation),
        cmocka_unit_test(loss_is_what_was_lost),
        cmocka_unit_test(loss_of_a_long_pause),
        cmocka_unit_test(late_over_a_restart),
        cmocka_unit_test(what_a_row_says),
        cmocka_unit_test(from_now_on),
        cmocka_unit_test(strangers),
        cmocka_unit_test(rows_that_nobody_fetches),
        cmocka_unit_test(saved_octets),
        cmocka_unit_test(listens_since),
        cmocka_unit_test(parts),
        cmocka_unit_test(memory_is_short),
        cmocka_unit_test(steady_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
