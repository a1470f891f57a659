#include "analyze/connection.h"

#include "base/hash.h"
#include "base/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NONE = UINT32_MAX, MAX_CANDIDATES = 64, MIN_NODES = 64 };

/* What two flows must share. Zeroed first, so that it can be hashed and compared as octets. */
struct key {
    uint64_t first;
    uint8_t local[16], remote[16];
    uint32_t exporter;
    uint16_t local_port, remote_port;
    uint8_t proto, family, time, kind;
    uint32_t zero;
};

struct node {
    struct flow flow;
    int64_t from_ms, to_ms;          /* PAIR_5TUPLE: when it was */
    uint32_t bucket;                 /* low bits of the hash */
    uint32_t chain_next, chain_prev; /* same bucket, newest first; NONE */
    uint32_t older, newer; /* by arrival; NONE. chain_next of a free node: the next free one */
};

struct pairing {
    enum pair_mode mode;
    uint64_t slack_ms, seed, dropped;
    struct node *nodes; /* nodes[cap_nodes], those up to n_nodes were used once */
    uint32_t n_nodes, cap_nodes, max_nodes, free_node, n_waiting;
    uint32_t oldest, newest;
    uint32_t *heads; /* heads[n_heads], a power of two */
    uint32_t n_heads;
};

pairing *pairing_new(enum pair_mode mode, uint64_t slack_ms, size_t max_octets)
{
    pairing *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    size_t max = max_octets / (sizeof(struct node) + 2 * sizeof(uint32_t));
    p->max_nodes = max < MIN_NODES ? MIN_NODES : max > NONE / 4 ? NONE / 4 : (uint32_t)max;
    p->mode = mode;
    p->slack_ms = slack_ms;
    p->seed = base_hash_seed();
    p->free_node = p->oldest = p->newest = NONE;
    return p;
}

void pairing_free(pairing *p)
{
    if (p) {
        free(p->nodes);
        free(p->heads);
    }
    free(p);
}

uint64_t pairing_dropped(const pairing *p)
{
    return p->dropped;
}

size_t pairing_waiting(const pairing *p)
{
    return p->n_waiting;
}

/* The key under which f waits, or (swapped) under which its counterpart does. */
static struct key key_of(const pairing *p, const struct flow *f, bool swapped)
{
    struct key k;
    memset(&k, 0, sizeof k);
    k.family = f->family;
    memcpy(k.local, swapped ? f->dst : f->src, 16);
    if (p->mode == PAIR_START) {
        k.first = f->first;
        k.time = f->time;
        k.kind = f->kind;
        if (f->kind == FLOW_KIND_V9 && f->time == FLOW_TIME_UPTIME_MS)
            return k;
        k.exporter = f->exporter;
        /* The same among flows of one exporter: equal uptimes of two are rarely one moment, so that absolute times would
         * find others there. */
        if (f->kind == FLOW_KIND_V9 && f->time == FLOW_TIME_EPOCH_MS)
            return k;
    } else if (f->time == FLOW_TIME_UPTIME_MS && f->start_ms == FLOW_START_UNKNOWN) {
        /* An uptime that cannot be turned into a time: it compares with that of the same exporter. */
        k.time = FLOW_TIME_UPTIME_MS;
        k.exporter = f->exporter;
    }
    memcpy(k.remote, swapped ? f->src : f->dst, 16);
    k.proto = f->proto;
    if (f->proto != 1 &&
        f->proto != 58) { /* ICMP: the ports say type and code, different in each way */
        k.local_port = swapped ? f->dst_port : f->src_port;
        k.remote_port = swapped ? f->src_port : f->dst_port;
    }
    return k;
}

static int64_t flow_duration_ms(const struct flow *f)
{
    if (f->time == FLOW_TIME_NONE || f->time == FLOW_TIME_EPOCH_NS)
        return f->last > f->first ? (int64_t)((f->last - f->first) / 1000000) : 0;
    __int128 d = (__int128)f->last - f->first;
    if (d < 0)
        d += (__int128)1 << 32;
    return d > INT64_MAX ? INT64_MAX : d < INT64_MIN ? INT64_MIN : (int64_t)d;
}

static void span_of(const struct flow *f, int64_t time_ms, int64_t *from, int64_t *to)
{
    int64_t span = flow_duration_ms(f);
    *from = f->start_ms != FLOW_START_UNKNOWN                         ? f->start_ms
            : f->time == FLOW_TIME_UPTIME_MS && f->first <= INT64_MAX ? (int64_t)f->first
                                                                      : time_ms;
    if (span < 0 || __builtin_add_overflow(*from, span, to))
        *to = *from;
}

static void chain_in(pairing *p, uint32_t i)
{
    struct node *n = &p->nodes[i];
    uint32_t *head = &p->heads[n->bucket & (p->n_heads - 1)];
    n->chain_prev = NONE;
    n->chain_next = *head;
    if (*head != NONE)
        p->nodes[*head].chain_prev = i;
    *head = i;
}

static void take_out(pairing *p, uint32_t i)
{
    struct node *n = &p->nodes[i];
    if (n->chain_prev != NONE)
        p->nodes[n->chain_prev].chain_next = n->chain_next;
    else
        p->heads[n->bucket & (p->n_heads - 1)] = n->chain_next;
    if (n->chain_next != NONE)
        p->nodes[n->chain_next].chain_prev = n->chain_prev;
    if (n->older != NONE)
        p->nodes[n->older].newer = n->newer;
    else
        p->oldest = n->newer;
    if (n->newer != NONE)
        p->nodes[n->newer].older = n->older;
    else
        p->newest = n->older;
    n->chain_next = p->free_node;
    p->free_node = i;
    p->n_waiting--;
}

/* Room for one more node and a table that fits. */
static bool make_room(pairing *p)
{
    if (p->free_node == NONE && p->n_nodes == p->cap_nodes) {
        if (p->cap_nodes == p->max_nodes) {
            take_out(p, p->oldest);
            p->dropped++;
            return true;
        }
        uint32_t cap = p->cap_nodes ? p->cap_nodes * 2 : 1024;
        if (cap > p->max_nodes)
            cap = p->max_nodes;
        struct node *grown = reallocarray(p->nodes, cap, sizeof *grown);
        if (!grown)
            return false;
        p->nodes = grown;
        p->cap_nodes = cap;
    }
    if (p->n_waiting >= p->n_heads) {
        uint32_t n = p->n_heads ? p->n_heads * 2 : 1024;
        uint32_t *heads = reallocarray(NULL, n, sizeof *heads);
        if (!heads)
            return false;
        free(p->heads);
        p->heads = heads;
        p->n_heads = n;
        memset(heads, 0xff, n * sizeof *heads);
        for (uint32_t i = p->oldest; i != NONE; i = p->nodes[i].newer)
            chain_in(p, i); /* oldest first: the newest ends up in front, as before */
    }
    return true;
}

static bool waits_under(const pairing *p, const struct node *n, const struct key *want,
                        uint32_t bucket)
{
    if (n->bucket != bucket)
        return false;
    struct key k = key_of(p, &n->flow, false);
    return memcmp(&k, want, sizeof k) == 0;
}

static uint32_t find_first(const pairing *p, const struct key *want, uint32_t bucket)
{
    if (!p->n_heads)
        return NONE;
    uint32_t i = p->heads[bucket & (p->n_heads - 1)];
    while (i != NONE && !waits_under(p, &p->nodes[i], want, bucket))
        i = p->nodes[i].chain_next;
    return i;
}

/* Of those whose time overlaps: the same exporter before others, then the nearest start. Looks at the newest
 * few only, so that a million flows of one 5-tuple cost no more than a thousand. */
static uint32_t find_nearest(const pairing *p, const struct key *want, uint32_t bucket,
                             const struct flow *f, int64_t time_ms)
{
    if (!p->n_heads)
        return NONE;
    uint32_t best = NONE;
    uint64_t best_far = UINT64_MAX;
    bool best_same = false;
    int64_t from, to;
    span_of(f, time_ms, &from, &to);
    int looked = 0;
    for (uint32_t i = p->heads[bucket & (p->n_heads - 1)]; i != NONE && looked < MAX_CANDIDATES;
         i = p->nodes[i].chain_next) {
        const struct node *n = &p->nodes[i];
        if (!waits_under(p, n, want, bucket))
            continue;
        looked++;
        __int128 slack = p->slack_ms;
        if ((__int128)from - n->to_ms > slack || (__int128)n->from_ms - to > slack)
            continue;
        __int128 far = (__int128)from - n->from_ms;
        uint64_t distance = (uint64_t)(far < 0 ? -far : far);
        bool same = n->flow.exporter == f->exporter;
        if (best == NONE || (same && !best_same) || (same == best_same && distance < best_far)) {
            best = i;
            best_far = distance;
            best_same = same;
        }
    }
    return best;
}

static uint32_t bucket_of(const pairing *p, const struct key *k)
{
    return (uint32_t)base_hash(k, sizeof *k, p->seed);
}

weir_status pairing_find(pairing *p, const struct flow *f, int64_t time_ms, struct flow *peer)
{
    struct key want = key_of(p, f, true), own = key_of(p, f, false);
    uint32_t bucket = bucket_of(p, &want);
    uint32_t i = p->mode == PAIR_START ? find_first(p, &want, bucket)
                                       : find_nearest(p, &want, bucket, f, time_ms);
    if (i != NONE) {
        *peer = p->nodes[i].flow;
        take_out(p, i);
        return WEIR_OK;
    }
    bucket = bucket_of(p, &own);
    if (p->mode == PAIR_START && f->kind == FLOW_KIND_V9 &&
        (f->time == FLOW_TIME_UPTIME_MS || f->time == FLOW_TIME_EPOCH_MS)) {
        i = find_first(p, &own, bucket);
        if (i != NONE) { /* in its place, also in the order of what is left */
            p->nodes[i].flow = *f;
            return WEIR_END;
        }
    }
    if (!make_room(p))
        return WEIR_ENOMEM;
    i = p->free_node;
    if (i != NONE)
        p->free_node = p->nodes[i].chain_next;
    else
        i = p->n_nodes++;
    struct node *n = &p->nodes[i];
    n->flow = *f;
    n->bucket = bucket;
    span_of(f, time_ms, &n->from_ms, &n->to_ms);
    n->newer = NONE;
    n->older = p->newest;
    if (p->newest != NONE)
        p->nodes[p->newest].newer = i;
    else
        p->oldest = i;
    p->newest = i;
    chain_in(p, i);
    p->n_waiting++;
    return WEIR_END;
}

struct left {
    const struct flow *flow;
    size_t at;
};

static int by_start(const void *a, const void *b)
{
    const struct left *x = a, *y = b;
    if (x->flow->time != y->flow->time)
        return x->flow->time < y->flow->time ? -1 : 1;
    if (x->flow->first != y->flow->first)
        return x->flow->first < y->flow->first ? -1 : 1;
    return (x->at > y->at) - (x->at < y->at);
}

const struct flow **pairing_left(const pairing *p, size_t *n, size_t *n_starts)
{
    *n = p->n_waiting;
    *n_starts = 0;
    if (*n == 0)
        return NULL;
    struct left *all = reallocarray(NULL, *n, sizeof *all);
    if (!all)
        return NULL;
    size_t at = 0;
    for (uint32_t i = p->oldest; i != NONE; i = p->nodes[i].newer, at++)
        all[at] = (struct left){&p->nodes[i].flow, at};
    qsort(all, *n, sizeof *all, by_start);
    /* Pointers are smaller than what was sorted: they fit in its place, from the front. */
    const struct flow **out = (const struct flow **)(void *)all;
    for (size_t i = 0; i < *n; i++) {
        const struct flow *f = all[i].flow;
        if (i == 0 || f->first != out[i - 1]->first || f->time != out[i - 1]->time)
            ++*n_starts;
        out[i] = f;
    }
    return out;
}

struct connection connection_of(const struct flow *later, const struct flow *earlier)
{
    return later->octets >= earlier->octets ? (struct connection){*later, *earlier}
                                            : (struct connection){*earlier, *later};
}

int64_t connection_duration_ms(const struct connection *c)
{
    return flow_duration_ms(&c->src);
}

unsigned __int128 connection_packets(const struct connection *c)
{
    return (unsigned __int128)c->src.packets + c->dest.packets;
}

/* v / 100 with two decimals. */
static void hundredths(base_buf *b, uint64_t v)
{
    char text[BASE_U64_TEXT + 3];
    size_t n = base_u64_text(text, v / 100);
    text[n++] = '.';
    text[n++] = (char)('0' + v / 10 % 10);
    text[n++] = (char)('0' + v % 10);
    base_buf_add(b, text, n);
}

void size_text(base_buf *b, uint64_t octets)
{
    if (octets < 1024) {
        char text[BASE_U64_TEXT];
        base_buf_add(b, text, base_u64_text(text, octets));
        base_buf_char(b, 'B');
        return;
    }
    unsigned shift = octets < 1U << 20 ? 10 : octets < 1U << 30 ? 20 : 30;
    if (octets >=
        1ULL << 53) { /* no longer exact as a double, which is what decides the last digit */
        base_buf_printf(b, "%.2fG", (double)octets / 1073741824.0);
        return;
    }
    /* Exactly what "%.2f" gives for octets / 2^shift: nearest, of two equally near ones the even. */
    uint64_t whole = octets >> shift, rest = (octets & ((1ULL << shift) - 1)) * 100;
    uint64_t h = rest >> shift, left = rest & ((1ULL << shift) - 1), half = 1ULL << (shift - 1);
    if (left > half || (left == half && (h & 1)))
        h++;
    hundredths(b, whole * 100 + h);
    base_buf_char(b, shift == 10 ? 'K' : shift == 20 ? 'M' : 'G');
}

static void two_digits(base_buf *b, int64_t v)
{
    if (v >= 0 && v < 100) {
        char text[2] = {(char)('0' + v / 10), (char)('0' + v % 10)};
        base_buf_add(b, text, 2);
    } else {
        base_buf_printf(b, "%02lld", (long long)v);
    }
}

void duration_text(base_buf *b, int64_t ms)
{
    char text[BASE_S64_TEXT];
    int64_t s = ms / 1000 - (ms % 1000 < 0); /* rounded down */
    if (s < 60) {
        base_buf_add(b, text, base_s64_text(text, s));
        base_buf_str(b, " sec");
    } else if (s > 3600) { /* exactly one hour is still "60:00 min" */
        /* The quotient as a double, which counts for more than 10^12 hours. */
        base_buf_add(b, text, base_s64_text(text, (int64_t)((double)s / 3600)));
        base_buf_char(b, ':');
        two_digits(b, s % 3600 / 60);
        base_buf_char(b, '.');
        two_digits(b, s % 60);
        base_buf_str(b, " hours");
    } else {
        two_digits(b, s / 60);
        base_buf_char(b, ':');
        two_digits(b, s % 60);
        base_buf_str(b, " min");
    }
}

void address_text(base_buf *b, const uint8_t addr[16], uint8_t family)
{
    char text[BASE_IPV6_TEXT];
    base_buf_add(b, text,
                 family == 4 ? base_ipv4_text(text, addr) : base_ipv6_groups_text(text, addr));
}
