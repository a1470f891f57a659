#include "gen/traffic.h"

#include "base/err.h"

#include <stdlib.h>
#include <string.h>

enum {
    LATER = 8192, /* how many flows may pass between a flow and the one back */
    N_AS = 4096,
    PREFIXES = 4,     /* internal /16 networks */
    OWN_AS = 64512,   /* RFC 6996 */
    AS_TRANS = 23456, /* stands for numbers above 16 bits (RFC 6793) */
    LAG_LEAST_MS = 1500,
    LAG_MOST_MS = 15000,
    LONGEST_MS = 60000, /* the active timeout */
    FORWARDED = 0x40,
    MOST_OCTETS = 4000000000u
};

/* An autonomous system and its prefix. */
struct as {
    uint32_t number, prefix;
    uint16_t iface;
    uint8_t mask;
};

struct gen_traffic {
    struct gen_traffic_options o;
    uint64_t state; /* of the random numbers */
    uint64_t at;    /* flows made */
    struct as as[N_AS];
    uint8_t service_of[256];
    bool taken[LATER]; /* later[i] holds a flow back that is due when at % LATER == i */
    struct gen_flow later[LATER];
};

/* --- random numbers ----------------------------------------------------------------------------- */

/* The finaliser of splitmix64 (Steele, Lea and Flood, 2014): a hash and, of a counter, a generator. */
static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static uint64_t draw(gen_traffic *t)
{
    t->state += 0x9e3779b97f4a7c15u;
    return mix(t->state);
}

/* bits scaled to 0 .. n - 1 */
static uint32_t scale(uint64_t bits, uint32_t n)
{
    return (uint32_t)(((bits >> 32) * n) >> 32);
}

static uint32_t below(gen_traffic *t, uint32_t n)
{
    return scale(draw(t), n);
}

static bool percent(gen_traffic *t, uint32_t p)
{
    return below(t, 100) < p;
}

/* A rank below n with Zipf's law by octaves: 0, 1-2, 3-6, 7-14 ... are equally likely. */
static uint32_t popular(uint64_t bits, uint32_t n)
{
    uint32_t octaves = 32u - (uint32_t)__builtin_clz(n);
    uint32_t k = (uint32_t)(((bits & 0xffff) * octaves) >> 16);
    uint32_t rank = (1u << k) - 1 + scale(bits, 1u << k);
    return rank < n ? rank : rank - n;
}

/* At least `least`, heavy-tailed: the chance to exceed 2x is `again` / 65536 of that to exceed x. */
static uint64_t heavy(gen_traffic *t, uint64_t least, uint32_t again, unsigned most_octaves)
{
    unsigned octave = 0;
    uint64_t bits = draw(t);
    for (; octave < most_octaves && (bits & 0xffff) < again; octave++)
        bits = octave % 3 == 2 ? draw(t) : bits >> 16;
    uint64_t v = least << octave;
    return v + below(t, v < UINT32_MAX ? (uint32_t)v : UINT32_MAX);
}

/* --- hosts -------------------------------------------------------------------------------------- */

struct host {
    uint64_t id; /* lower half of its IPv6 address */
    uint32_t v4, as, iface;
    uint8_t mask;
    bool internal;
};

/* Whether a prefix of 12 bits or more lies in no block of a special purpose (RFC 6890). */
static bool is_public(uint32_t prefix)
{
    uint32_t a = prefix >> 24, b = prefix >> 20 & 15;
    return a > 0 && a < 224 && a != 10 && a != 127 && !(a == 100 && b >= 4 && b < 8) &&
           !(a == 169 && b == 15) && !(a == 172 && b == 1) && !(a == 192 && (b == 0 || b == 10)) &&
           !(a == 198 && (b == 1 || b == 3)) && !(a == 203 && b == 0);
}

static void make_as(gen_traffic *t)
{
    for (uint32_t i = 0; i < N_AS; i++) {
        uint64_t bits = mix(t->o.seed * 0x9e3779b97f4a7c15u + i + 1);
        struct as *a = &t->as[i];
        a->number = i % 5 ? 1 + scale(bits, 64000) : 131072 + scale(bits, 80000);
        a->mask = (uint8_t)(12 + bits % 10);
        a->iface = (uint16_t)(101 + (bits >> 8 & 3));
        do {
            bits = mix(bits + 1);
            a->prefix = (uint32_t)bits & ~(UINT32_MAX >> a->mask);
        } while (!is_public(a->prefix));
    }
}

static struct host internal_host(const gen_traffic *t, uint32_t i)
{
    static const uint32_t nets[PREFIXES] = {0x0a140000, 0x0a150000, 0xac140000, 0xc0a80000};
    uint64_t bits = mix(t->o.seed ^ ((uint64_t)i << 20) ^ 0x1d);
    /* An odd factor visits every address of the network once. */
    uint32_t low = (i / PREFIXES + 1) * 40503u & 0xffff;
    return (struct host){.id = bits,
                         .v4 = nets[i % PREFIXES] | low,
                         .as = OWN_AS,
                         .iface = 1 + (uint32_t)(bits >> 8 & 7),
                         .mask = 24,
                         .internal = true};
}

static struct host external_host(const gen_traffic *t, uint32_t i)
{
    uint64_t bits = mix(t->o.seed ^ ((uint64_t)i << 20) ^ 0xe7);
    const struct as *a = &t->as[popular(bits, N_AS)];
    uint64_t more = mix(bits + 1);
    return (struct host){.id = more & 1 ? more : more >> 48, /* random, or given out in order */
                         .v4 = a->prefix | ((uint32_t)more & (UINT32_MAX >> a->mask)),
                         .as = a->number,
                         .iface = a->iface,
                         .mask = a->mask};
}

static void put32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 24);
    p[1] = (uint8_t)(v >> 16);
    p[2] = (uint8_t)(v >> 8);
    p[3] = (uint8_t)v;
}

/* IPv6: 2001:db8::/32 (RFC 3849), a /48 an AS, a /64 a subnet. */
static void put_address(uint8_t out[16], const struct host *h, bool ipv6)
{
    put32(out, h->v4);
    if (!ipv6)
        return;
    put32(out, 0x20010db8);
    put32(out + 4, (h->internal ? 0 : (h->as ^ h->as >> 16) << 16) | (h->v4 >> 8 & 0xffff));
    put32(out + 8, (uint32_t)(h->id >> 32));
    put32(out + 12, (uint32_t)h->id);
}

static void put_next_hop(uint8_t out[16], uint32_t as, bool there, bool ipv6)
{
    uint32_t hop = 0x0aff0001 + (uint32_t)(mix(as) & 15) * 4;
    memset(out, 0, 16);
    if (ipv6) {
        put32(out, 0x20010db8);
        put32(out + 12, there ? hop & 0xffff : 0);
    } else if (there) {
        put32(out, hop);
    }
}

/* --- services ----------------------------------------------------------------------------------- */

enum shape { BULK, QUERY, PING, SCAN, PEER };

/* clang-format off */
static const struct service {
    uint8_t weight; /* of 256 */
    uint8_t proto;
    enum shape shape;
    uint16_t port;
    const char *app;
} services[] = {
    {100, 6, BULK, 443, "https"},    {46, 17, QUERY, 53, "dns"},      {26, 17, BULK, 443, "quic"},
    {18, 6, BULK, 80, "http"},       {8, 17, QUERY, 123, "ntp"},      {8, 1, PING, 0, "icmp"},
    {5, 6, BULK, 22, "ssh"},         {3, 6, BULK, 25, "smtp"},        {3, 6, BULK, 993, "imaps"},
    {3, 6, BULK, 445, "smb"},        {2, 6, BULK, 3389, "rdp"},       {2, 6, BULK, 8080, "http-alt"},
    {2, 6, BULK, 5432, "postgresql"},{2, 17, QUERY, 161, "snmp"},     {10, 6, SCAN, 0, "unknown"},
    {10, 6, PEER, 0, "bittorrent"},  {8, 17, PEER, 0, "unknown"},
};
/* clang-format on */

const char *gen_app_name(uint8_t app)
{
    return app < ARRAY_LEN(services) ? services[app].app : "unknown";
}

static uint16_t client_port(gen_traffic *t)
{
    return (uint16_t)(32768 + below(t, 28232)); /* what Linux gives out */
}

/* Octets of `packets` packets in the direction that asks (back false) or answers. */
static uint64_t octets_of(gen_traffic *t, enum shape shape, bool back, uint64_t packets)
{
    uint64_t each = 0; /* sixteenths of an octet */
    switch (shape) {
    case BULK:
        each = back ? 4800 + below(t, 18560) : 832 + below(t, 1600);
        break;
    case PEER:
        each = 960 + below(t, 20800);
        break;
    case QUERY:
        each = back ? 16 * (90 + (uint64_t)below(t, 250)) : 16 * (58 + (uint64_t)below(t, 30));
        break;
    case PING:
        each = 16 * 84;
        break;
    case SCAN:
        each = 16 * (40 + 4 * (uint64_t)below(t, 3));
        break;
    }
    uint64_t octets = packets * each / 16;
    return octets < MOST_OCTETS ? octets : MOST_OCTETS;
}

/* --- connections -------------------------------------------------------------------------------- */

/* What both directions of a connection share. */
struct talk {
    struct host client, server;
    enum shape shape;
    bool outward;  /* the client is an internal host */
    bool answered; /* there is a flow back */
    bool ipv6;
    uint64_t packets, lasts_ms;
};

static void choose_hosts(gen_traffic *t, struct talk *c)
{
    uint64_t in = draw(t), out = draw(t);
    c->outward = c->shape != SCAN && percent(t, 80);
    /* Clients are many, servers are few, scanners ask everyone. */
    uint32_t client = in & 1 ? scale(in, t->o.internal) : popular(in >> 1, t->o.internal);
    uint32_t server = c->shape == SCAN ? scale(in, t->o.internal) : popular(in, t->o.internal);
    uint32_t other = c->shape == SCAN ? scale(out, t->o.external) : popular(out, t->o.external);
    c->client = c->outward ? internal_host(t, client) : external_host(t, other);
    c->server = c->outward ? external_host(t, other) : internal_host(t, server);
}

/* Packets, duration and ports of the direction that asks. */
static void choose_size(gen_traffic *t, struct talk *c, struct gen_flow *f)
{
    static const uint8_t flags[8] = {0x1b, 0x1b, 0x1b, 0x1a, 0x18, 0x1f, 0x1e, 0x16};
    static const uint16_t scanned[8] = {23, 22, 445, 3389, 80, 8080, 5060, 2323};
    f->src_port = client_port(t);
    f->tcp_flags = f->proto == 6 ? flags[below(t, 8)] : 0;
    switch (c->shape) {
    case QUERY:
        c->packets = below(t, 8) ? 1 : 1 + below(t, 3);
        c->lasts_ms = c->packets > 1 ? 20 + below(t, 4000) : 0;
        c->answered = percent(t, 96);
        break;
    case PING:
        c->packets = heavy(t, 1, 23170, 9);
        c->lasts_ms = (c->packets - 1) * 1000;
        c->answered = percent(t, 85);
        f->src_port = 0;
        f->dst_port = c->ipv6 ? 128 << 8 : 8 << 8; /* echo request */
        if (c->ipv6)
            f->proto = 58;
        break;
    case SCAN:
        c->packets = 1 + below(t, 2);
        c->answered = percent(t, 20);
        f->dst_port = scanned[below(t, 8)];
        f->tcp_flags = 0x02;
        break;
    case BULK:
    case PEER:
        c->packets = heavy(t, c->shape == PEER ? 2 : 4, 29532, 18);
        c->lasts_ms = heavy(t, 12, 43238, 13) + c->packets / 100;
        c->answered = percent(t, 94);
        if (c->shape == PEER)
            f->dst_port = client_port(t);
        break;
    }
    if (c->lasts_ms > LONGEST_MS)
        c->lasts_ms = LONGEST_MS;
}

/* What only IPFIX says of some IPv4 flows. */
static void choose_kind(gen_traffic *t, const struct talk *c, struct gen_flow *f)
{
    uint32_t n = below(t, 100);
    f->kind = c->ipv6 ? GEN_IPV6 : GEN_PLAIN;
    if (t->o.format != GEN_IPFIX || c->ipv6)
        return;
    if (n < 10 && c->outward) {
        f->kind = GEN_NAT;
        put32(f->nat_src, 0xc6336400 | (c->client.v4 & 15)); /* 198.51.100.0/28, RFC 5737 */
        memcpy(f->nat_dst, f->dst, 4);
        f->nat_src_port = f->src_port ? (uint16_t)(1024 + below(t, 64000)) : 0;
        f->nat_dst_port = f->dst_port;
    } else if (n >= 97) {
        f->kind = GEN_APP;
    }
}

static uint32_t as_of(const gen_traffic *t, const struct host *h)
{
    return t->o.format == GEN_V5 && h->as > UINT16_MAX ? AS_TRANS : h->as;
}

/* The flow back: the same with both ends exchanged, and counters of its own. */
static void turn_round(gen_traffic *t, const struct talk *c, const struct gen_flow *f,
                       struct gen_flow *back)
{
    const struct host *outer = c->outward ? &c->server : &c->client;
    uint32_t late = below(t, 150);
    uint64_t packets = c->shape == BULK ? c->packets * (45 + below(t, 64)) / 64 : c->packets;
    *back = *f;
    memcpy(back->src, f->dst, sizeof back->src);
    memcpy(back->dst, f->src, sizeof back->dst);
    back->src_port = f->dst_port;
    back->dst_port = f->src_port;
    if (c->shape == PING) {
        back->src_port = 0;
        back->dst_port = c->ipv6 ? 129 << 8 : 0; /* echo reply */
    } else if (c->shape == SCAN) {
        back->tcp_flags = 0x14;
    }
    back->src_as = f->dst_as;
    back->dst_as = f->src_as;
    back->src_mask = f->dst_mask;
    back->dst_mask = f->src_mask;
    back->in_if = f->out_if;
    back->out_if = f->in_if;
    back->direction = !f->direction;
    put_next_hop(back->next_hop, outer->as, !c->outward, c->ipv6);
    if (f->kind == GEN_NAT) {
        memcpy(back->nat_src, back->src, 4);
        memcpy(back->nat_dst, f->nat_src, 4);
        back->nat_src_port = back->src_port;
        back->nat_dst_port = f->nat_src_port;
    }
    back->first_ms += late < c->lasts_ms ? late : c->lasts_ms;
    back->packets = packets ? packets : 1;
    back->octets = octets_of(t, c->shape, true, back->packets);
}

/* A new connection; true: *back is filled. */
static bool connect_two(gen_traffic *t, uint64_t now_ms, struct gen_flow *f, struct gen_flow *back)
{
    static const uint8_t tos[16] = {[13] = 0x28, [14] = 0xb8, [15] = 0x48};
    uint8_t app = t->service_of[draw(t) >> 56];
    const struct service *s = &services[app];
    struct talk c = {.shape = s->shape, .answered = true};
    c.ipv6 = below(t, 1000000) < t->o.ipv6_ppm && t->o.format != GEN_V5;
    choose_hosts(t, &c);
    *f = (struct gen_flow){.proto = s->proto, .dst_port = s->port, .app = app};
    choose_size(t, &c, f);
    const struct host *inner = c.outward ? &c.client : &c.server;
    const struct host *outer = c.outward ? &c.server : &c.client;
    f->exporter = scale(mix(inner->v4), t->o.exporters);
    put_address(f->src, &c.client, c.ipv6);
    put_address(f->dst, &c.server, c.ipv6);
    put_next_hop(f->next_hop, outer->as, c.outward, c.ipv6);
    f->src_as = as_of(t, &c.client);
    f->dst_as = as_of(t, &c.server);
    f->src_mask = c.ipv6 ? (c.client.internal ? 64 : 48) : c.client.mask;
    f->dst_mask = c.ipv6 ? (c.server.internal ? 64 : 48) : c.server.mask;
    f->in_if = c.client.iface;
    f->out_if = c.server.iface;
    f->direction = c.outward;
    f->tos = tos[below(t, 16)];
    f->forwarding = FORWARDED;
    f->end_reason = c.lasts_ms >= LONGEST_MS ? 2 : f->tcp_flags & 1 ? 3 : 1;
    f->last_ms = now_ms - LAG_LEAST_MS - below(t, LAG_MOST_MS - LAG_LEAST_MS);
    f->first_ms = f->last_ms - c.lasts_ms;
    f->packets = c.packets;
    f->octets = octets_of(t, c.shape, false, f->packets);
    choose_kind(t, &c, f);
    if (c.answered)
        turn_round(t, &c, f, back);
    return c.answered;
}

void gen_traffic_next(gen_traffic *t, uint64_t now_ms, struct gen_flow *out)
{
    uint32_t slot = (uint32_t)(t->at++ % LATER);
    if (t->taken[slot]) {
        t->taken[slot] = false;
        *out = t->later[slot];
        return;
    }
    struct gen_flow back;
    if (!connect_two(t, now_ms, out, &back))
        return;
    /* Most flows back follow soon. Half of all slots are taken, so one is near; a flow back without one is left
     * out, as exporters do lose some. */
    uint32_t ahead = 1 + below(t, below(t, 4) ? 64 : LATER - 65);
    for (uint32_t i = 0; i < 64; i++) {
        uint32_t at = (slot + ahead + i) % LATER;
        if (!t->taken[at]) {
            t->taken[at] = true;
            t->later[at] = back;
            return;
        }
    }
}

gen_traffic *gen_traffic_new(const struct gen_traffic_options *o)
{
    gen_traffic *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->o = *o;
    t->state = mix(o->seed + 0x5eed);
    make_as(t);
    size_t at = 0;
    for (size_t i = 0; i < ARRAY_LEN(services); i++)
        for (unsigned k = 0; k < services[i].weight && at < ARRAY_LEN(t->service_of); k++)
            t->service_of[at++] = (uint8_t)i;
    return t;
}

void gen_traffic_free(gen_traffic *t)
{
    free(t);
}
