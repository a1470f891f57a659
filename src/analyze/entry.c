#include "analyze/entry.h"

#include "analyze/scan.h"
#include "base/hash.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

/* What a name of a collector's file stands for. Several names may share a slot; finish_flow chooses between
 * slots. */
enum slot {
    SLOT_NONE,
    SLOT_SRC4,
    SLOT_DST4,
    SLOT_SRC6,
    SLOT_DST6,
    SLOT_SRC_PORT, /* from here on: one unsigned integer */
    SLOT_DST_PORT,
    SLOT_PROTO,
    SLOT_IP_VERSION,
    SLOT_ICMP4, /* type and code: the protocol where it is not given */
    SLOT_ICMP6,
    SLOT_OCTETS,
    SLOT_OCTETS_TOTAL,
    SLOT_OCTETS_LAYER2,
    SLOT_OCTETS_OUT,
    SLOT_OCTETS_FORWARD, /* one record for both ways of a connection */
    SLOT_OCTETS_REVERSE,
    SLOT_PACKETS,
    SLOT_PACKETS_TOTAL,
    SLOT_PACKETS_OUT,
    SLOT_PACKETS_FORWARD,
    SLOT_PACKETS_REVERSE,
    SLOT_FIRST_UPTIME,
    SLOT_LAST_UPTIME,
    SLOT_FIRST_S,
    SLOT_LAST_S,
    SLOT_FIRST_MS,
    SLOT_LAST_MS,
    SLOT_FIRST_DELTA_US, /* before the export time */
    SLOT_LAST_DELTA_US,
    SLOT_DURATION_MS,
    SLOT_DURATION_US,
    SLOT_EVENT_MS,
    SLOT_INIT_MS,
    SLOT_FIRST_NTP, /* from here on: [seconds since 1900, 2^-32 seconds], held as nanoseconds since 1970 */
    SLOT_LAST_NTP,
    N_SLOTS
};

/* clang-format off */
static const struct name { const char *text; enum slot slot; } names[] = {
    /* v9; v1, v5 and v7 have the short forms */
    {"IPV4_SRC_ADDR", SLOT_SRC4}, {"IPV4_DST_ADDR", SLOT_DST4},
    {"IPV6_SRC_ADDR", SLOT_SRC6}, {"IPV6_DST_ADDR", SLOT_DST6},
    {"L4_SRC_PORT", SLOT_SRC_PORT}, {"L4_DST_PORT", SLOT_DST_PORT},
    {"SRC_PORT", SLOT_SRC_PORT}, {"DST_PORT", SLOT_DST_PORT},
    {"PROTOCOL", SLOT_PROTO}, {"PROTO", SLOT_PROTO}, {"IP_PROTOCOL_VERSION", SLOT_IP_VERSION},
    {"IN_BYTES", SLOT_OCTETS}, {"IN_OCTETS", SLOT_OCTETS},
    {"IN_PKTS", SLOT_PACKETS}, {"IN_PACKETS", SLOT_PACKETS},
    {"OUT_BYTES", SLOT_OCTETS_OUT}, {"OUT_PKTS", SLOT_PACKETS_OUT},
    {"IN_PERMANENT_BYTES", SLOT_OCTETS_TOTAL}, {"IN_PERMANENT_PKTS", SLOT_PACKETS_TOTAL},
    {"FIRST_SWITCHED", SLOT_FIRST_UPTIME}, {"LAST_SWITCHED", SLOT_LAST_UPTIME},
    {"NF_F_FLOW_CREATE_TIME_MSEC", SLOT_FIRST_MS}, {"NF_F_EVENT_TIME_MSEC", SLOT_EVENT_MS},
    {"NF_F_FWD_FLOW_DELTA_BYTES", SLOT_OCTETS_FORWARD}, {"NF_F_REV_FLOW_DELTA_BYTES", SLOT_OCTETS_REVERSE},
    /* IPFIX, and v9 elements that only IANA names */
    {"sourceIPv4Address", SLOT_SRC4}, {"destinationIPv4Address", SLOT_DST4},
    {"sourceIPv6Address", SLOT_SRC6}, {"destinationIPv6Address", SLOT_DST6},
    {"sourceTransportPort", SLOT_SRC_PORT}, {"destinationTransportPort", SLOT_DST_PORT},
    {"udpSourcePort", SLOT_SRC_PORT}, {"udpDestinationPort", SLOT_DST_PORT},
    {"tcpSourcePort", SLOT_SRC_PORT}, {"tcpDestinationPort", SLOT_DST_PORT},
    {"protocolIdentifier", SLOT_PROTO}, {"ipVersion", SLOT_IP_VERSION},
    {"icmpTypeCodeIPv4", SLOT_ICMP4}, {"icmpTypeIPv4", SLOT_ICMP4},
    {"icmpTypeCodeIPv6", SLOT_ICMP6}, {"icmpTypeIPv6", SLOT_ICMP6},
    {"octetDeltaCount", SLOT_OCTETS}, {"octetTotalCount", SLOT_OCTETS_TOTAL},
    {"layer2OctetDeltaCount", SLOT_OCTETS_LAYER2}, {"postOctetDeltaCount", SLOT_OCTETS_OUT},
    {"initiatorOctets", SLOT_OCTETS_FORWARD}, {"responderOctets", SLOT_OCTETS_REVERSE},
    {"reverseOctetDeltaCount", SLOT_OCTETS_REVERSE}, {"reverseOctetTotalCount", SLOT_OCTETS_REVERSE},
    {"packetDeltaCount", SLOT_PACKETS}, {"packetTotalCount", SLOT_PACKETS_TOTAL},
    {"postPacketDeltaCount", SLOT_PACKETS_OUT},
    {"initiatorPackets", SLOT_PACKETS_FORWARD}, {"responderPackets", SLOT_PACKETS_REVERSE},
    {"reversePacketDeltaCount", SLOT_PACKETS_REVERSE}, {"reversePacketTotalCount", SLOT_PACKETS_REVERSE},
    {"flowStartSysUpTime", SLOT_FIRST_UPTIME}, {"flowEndSysUpTime", SLOT_LAST_UPTIME},
    {"flowStartSeconds", SLOT_FIRST_S}, {"flowEndSeconds", SLOT_LAST_S},
    {"flowStartMilliseconds", SLOT_FIRST_MS}, {"flowEndMilliseconds", SLOT_LAST_MS},
    {"flowStartMicroseconds", SLOT_FIRST_NTP}, {"flowEndMicroseconds", SLOT_LAST_NTP},
    {"flowStartNanoseconds", SLOT_FIRST_NTP}, {"flowEndNanoseconds", SLOT_LAST_NTP},
    {"flowStartDeltaMicroseconds", SLOT_FIRST_DELTA_US}, {"flowEndDeltaMicroseconds", SLOT_LAST_DELTA_US},
    {"flowDurationMilliseconds", SLOT_DURATION_MS}, {"flowDurationMicroseconds", SLOT_DURATION_US},
    {"observationTimeMilliseconds", SLOT_EVENT_MS}, {"systemInitTimeMilliseconds", SLOT_INIT_MS},
};
/* clang-format on */

enum { TABLE = 256, SHAPE = 96, SHAPE_TEXT = 62 };

/* Records follow each other with the same names in the same order, so the name to come is guessed from the
 * record before: `"NAME": ` compared at once instead of read, hashed and looked up. */
struct guess {
    char text[SHAPE_TEXT];
    uint8_t len; /* 0: none */
    uint8_t slot;
};

struct record {
    uint64_t seen; /* bit of enum slot */
    uint64_t v[N_SLOTS];
    uint8_t addr[SLOT_DST6 + 1][16];
};

struct header {
    uint64_t version, uptime_ms, time_s, time_ns;
    bool has_uptime, has_time;
};

struct entry_parser {
    bool both_families;
    struct entry_host only;
    const struct name *table[TABLE]; /* open addressing over names[] */
    struct guess shape[SHAPE];
    struct flow *flows, *sorted; /* [cap_flows], [cap_sorted] */
    size_t n_flows, cap_flows, cap_sorted;
    size_t n_no_address;
    bool no_memory;
    uint32_t exporter;
    enum flow_kind kind;
    struct header header;
};

static unsigned name_hash(const char *s, size_t len)
{
    return (unsigned)(len * 37 + (unsigned char)s[0] * 5 + (unsigned char)s[len / 2] * 17 +
                      (unsigned char)s[len - 1] * 3) %
           TABLE;
}

entry_parser *entry_parser_new(bool both_families, struct entry_host only)
{
    entry_parser *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->both_families = both_families;
    p->only = only;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        unsigned h = name_hash(names[i].text, strlen(names[i].text));
        while (p->table[h])
            h = (h + 1) % TABLE;
        p->table[h] = &names[i];
    }
    return p;
}

void entry_parser_free(entry_parser *p)
{
    if (p) {
        free(p->flows);
        free(p->sorted);
    }
    free(p);
}

static enum slot slot_of(const entry_parser *p, const char *s, size_t len)
{
    if (len == 0)
        return SLOT_NONE;
    for (unsigned h = name_hash(s, len); p->table[h]; h = (h + 1) % TABLE) {
        const char *text = p->table[h]->text;
        if (strncmp(text, s, len) == 0 && text[len] == 0)
            return p->table[h]->slot;
    }
    return SLOT_NONE;
}

bool entry_address(const char *text, size_t len, uint8_t addr[16], uint8_t *family)
{
    char copy[INET6_ADDRSTRLEN + 1];
    memset(addr, 0, 16);
    if (len >= sizeof copy)
        return false;
    memcpy(copy, text, len);
    copy[len] = 0;
    if (strlen(copy) != len)
        return false;
    *family = memchr(copy, ':', len) ? 6 : 4;
    return inet_pton(*family == 6 ? AF_INET6 : AF_INET, copy, addr) == 1;
}

bool entry_key_time(const char *key, size_t len, double *time)
{
    char copy[ENTRY_KEY_MAX + 1];
    if (len == 0 || len > ENTRY_KEY_MAX)
        return false;
    /* Decimal numbers only: strtod alone would also take "0x1p3", "nan" and leading spaces. */
    for (size_t i = 0; i < len; i++)
        if (!key[i] || !strchr("0123456789+-.eE", key[i]))
            return false;
    memcpy(copy, key, len);
    copy[len] = 0;
    char *end;
    *time = strtod(copy, &end);
    return end == copy + len && *time >= -62135596800.0 && *time < 253402300799.0;
}

/* ---- values of a record ---- */

/* `1.2.3.4"` at p, as the collectors write nearly every address. NULL: something else. */
static const char *dotted_quad(const char *p, uint8_t addr[16])
{
    for (int i = 0; i < 4; i++) {
        unsigned v = (unsigned)(unsigned char)*p - '0';
        if (v > 9)
            return NULL;
        p++;
        if (v) { /* no leading zeroes: they might mean octal */
            for (int more = 0; more < 2 && *p >= '0' && *p <= '9'; more++)
                v = v * 10 + (unsigned)(*p++ - '0');
            if (v > 255)
                return NULL;
        }
        addr[i] = (uint8_t)v;
        if (*p++ != (i == 3 ? '"' : '.'))
            return NULL;
    }
    return p;
}

static bool take_address(scan *s, struct record *r, enum slot slot)
{
    bool wide = slot == SLOT_SRC6 || slot == SLOT_DST6;
    uint8_t *addr = r->addr[slot];
    memset(addr, 0, 16);
    r->seen &= ~(1ULL << slot);
    if (*s->p == '"') {
        const char *after = wide ? NULL : dotted_quad(s->p + 1, addr), *at;
        size_t len;
        bool plain;
        uint8_t family;
        if (after) {
            s->p = after;
            r->seen |= 1ULL << slot;
            return true;
        }
        if (!scan_string(s, &at, &len, &plain))
            return false;
        if (plain && entry_address(at, len, addr, &family) && family == (wide ? 6 : 4))
            r->seen |= 1ULL << slot;
        return true;
    }
    if (*s->p >= '0' && *s->p <= '9') {
        struct scan_number n;
        if (!scan_number(s, &n))
            return false;
        if (!n.whole || (!wide && n.value > UINT32_MAX))
            return true;
        for (int i = wide ? 15 : 3; i >= 0; i--, n.value >>= 8)
            addr[i] = (uint8_t)n.value;
        r->seen |= 1ULL << slot;
        return true;
    }
    return scan_skip(s, 4);
}

static void set_value(struct record *r, enum slot slot, uint64_t v)
{
    r->v[slot] = v;
    r->seen |= 1ULL << slot;
}

static uint64_t clamped(unsigned __int128 v)
{
    return v > UINT64_MAX ? UINT64_MAX : (uint64_t)v;
}

/* NTP time: the years 1970 to 2036 are in era 0, later ones in era 1 (RFC 7011 section 6.1.9). Both 0: unset. */
static void set_ntp(struct record *r, enum slot slot, uint64_t s, uint64_t frac)
{
    enum { UNIX_IN_NTP = 2208988800U };
    if ((s | frac) == 0 || s > UINT32_MAX || frac > UINT32_MAX)
        return;
    if (s < UNIX_IN_NTP)
        s += 1ULL << 32;
    set_value(r, slot, (s - UNIX_IN_NTP) * 1000000000U + (frac * 1000000000U >> 32));
}

static bool take_value(scan *s, struct record *r, enum slot slot)
{
    struct scan_number n;
    r->seen &= ~(1ULL << slot);
    if (*s->p >= '0' && *s->p <= '9') {
        if (!scan_number(s, &n))
            return false;
        if (!n.whole)
            return true;
        if (slot >= SLOT_FIRST_NTP)
            set_ntp(r, slot, (uint64_t)(n.value >> 32), (uint64_t)(n.value & UINT32_MAX));
        else
            set_value(r, slot, clamped(n.value));
        return true;
    }
    scan before = *s;
    if (!scan_skip(s, 4))
        return false;
    if (slot >= SLOT_FIRST_NTP && *before.p == '[') { /* [seconds, fraction], known to be sound */
        struct scan_number m;
        before.p++;
        if (scan_number(&before, &n) && n.whole && scan_is(&before, ',') &&
            scan_number(&before, &m) && m.whole && scan_is(&before, ']'))
            set_ntp(r, slot, clamped(n.value), clamped(m.value));
    }
    return true;
}

/* ---- a record becomes a flow ---- */

static bool has(const struct record *r, enum slot slot)
{
    return (r->seen >> slot & 1) != 0;
}

static uint64_t first_of(const struct record *r, const enum slot *slots, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (has(r, slots[i]))
            return r->v[slots[i]];
    return 0;
}

static bool is_zero(const uint8_t *a, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (a[i])
            return false;
    return true;
}

static bool choose_addresses(const entry_parser *p, const struct record *r, struct flow *f)
{
    bool four = has(r, SLOT_SRC4) && has(r, SLOT_DST4),
         six = has(r, SLOT_SRC6) && has(r, SLOT_DST6);
    if (four && six && (p->kind != FLOW_KIND_V9 || p->both_families)) {
        uint64_t version = has(r, SLOT_IP_VERSION) ? r->v[SLOT_IP_VERSION] : 0;
        bool no_four = is_zero(r->addr[SLOT_SRC4], 4) && is_zero(r->addr[SLOT_DST4], 4);
        four = version == 4 || (version != 6 && !no_four);
    }
    if (!four && !six)
        return false;
    f->family = four ? 4 : 6;
    memcpy(f->src, r->addr[four ? SLOT_SRC4 : SLOT_SRC6], 16);
    memcpy(f->dst, r->addr[four ? SLOT_DST4 : SLOT_DST6], 16);
    return true;
}

/* Milliseconds since 1970 at which the exporter's uptime was `at`. Unsigned subtraction survives the wrap of
 * 2^32 ms; a little more than the header's uptime means a clock read twice, not a flow 49 days old. */
static int64_t uptime_to_epoch(const entry_parser *p, uint64_t at)
{
    const struct header *h = &p->header;
    if (!h->has_uptime || !h->has_time || at > UINT32_MAX)
        return FLOW_START_UNKNOWN;
    int64_t export_ms = (int64_t)(h->time_s * 1000 + h->time_ns / 1000000);
    uint32_t age = (uint32_t)h->uptime_ms - (uint32_t)at;
    return age > 0xf0000000U ? export_ms + (uint32_t)-age : export_ms - (int64_t)age;
}

static bool ns_from(const struct record *r, enum slot slot, uint64_t ns_each, uint64_t *ns)
{
    /* 0 is what exporters send for a time they do not have. */
    return has(r, slot) && r->v[slot] && !__builtin_mul_overflow(r->v[slot], ns_each, ns) &&
           *ns <= INT64_MAX;
}

/* A time as an absolute one, best precision first. */
static bool absolute_time(const entry_parser *p, const struct record *r, bool last, uint64_t *ns)
{
    enum slot ntp = last ? SLOT_LAST_NTP : SLOT_FIRST_NTP, ms = last ? SLOT_LAST_MS : SLOT_FIRST_MS;
    enum slot s = last ? SLOT_LAST_S : SLOT_FIRST_S,
              delta = last ? SLOT_LAST_DELTA_US : SLOT_FIRST_DELTA_US;
    if (ns_from(r, ntp, 1, ns) || ns_from(r, ms, 1000000, ns) || ns_from(r, s, 1000000000, ns))
        return true;
    uint64_t age;
    if (!has(r, delta) || !p->header.has_time || p->header.time_s == 0)
        return false;
    uint64_t export_ns = p->header.time_s * 1000000000U;
    if (__builtin_mul_overflow(r->v[delta], 1000U, &age) || age > export_ns)
        return false;
    *ns = export_ns - age;
    return true;
}

static void choose_times(const entry_parser *p, const struct record *r, struct flow *f)
{
    bool uptime = has(r, SLOT_FIRST_UPTIME);
    f->start_ms = FLOW_START_UNKNOWN;
    if (!(uptime && p->kind != FLOW_KIND_IPFIX) && absolute_time(p, r, false, &f->first)) {
        f->time = FLOW_TIME_EPOCH_NS;
        f->start_ms = (int64_t)(f->first / 1000000);
        uint64_t span = 0;
        if (!absolute_time(p, r, true, &f->last)) {
            if (!ns_from(r, SLOT_DURATION_MS, 1000000, &span))
                (void)ns_from(r, SLOT_DURATION_US, 1000, &span);
            f->last = f->first + span;
        }
    } else if (uptime) {
        f->time = FLOW_TIME_UPTIME_MS;
        f->first = r->v[SLOT_FIRST_UPTIME];
        f->last = has(r, SLOT_LAST_UPTIME) ? r->v[SLOT_LAST_UPTIME] : f->first;
        uint64_t init_ns;
        if (p->kind != FLOW_KIND_IPFIX)
            f->start_ms = uptime_to_epoch(p, f->first);
        else if (ns_from(r, SLOT_INIT_MS, 1000000, &init_ns) && f->first <= UINT32_MAX)
            f->start_ms = (int64_t)(init_ns / 1000000 + f->first);
    } else if (absolute_time(p, r, true, &f->last) ||
               ns_from(r, SLOT_EVENT_MS, 1000000, &f->last)) {
        f->time = FLOW_TIME_EPOCH_NS; /* only an end */
        uint64_t span = 0;
        if (!ns_from(r, SLOT_DURATION_MS, 1000000, &span))
            (void)ns_from(r, SLOT_DURATION_US, 1000, &span);
        f->first = f->last - (span < f->last ? span : 0);
        f->start_ms = (int64_t)(f->first / 1000000);
    } else {
        f->time = FLOW_TIME_NONE;
        f->first = f->last = 0;
    }
}

static bool is_host(const struct entry_host *h, const struct flow *f)
{
    return h->family == f->family && (!memcmp(h->addr, f->src, 16) || !memcmp(h->addr, f->dst, 16));
}

static bool add_flow(entry_parser *p, const struct flow *f)
{
    if (p->n_flows == p->cap_flows) {
        size_t cap = p->cap_flows ? p->cap_flows * 2 : 64;
        struct flow *grown = reallocarray(p->flows, cap, sizeof *grown);
        if (!grown) {
            p->no_memory = true;
            return false;
        }
        p->flows = grown;
        p->cap_flows = cap;
    }
    p->flows[p->n_flows++] = *f;
    return true;
}

static bool finish_flow(entry_parser *p, const struct record *r)
{
    static const enum slot octets[] = {SLOT_OCTETS, SLOT_OCTETS_TOTAL, SLOT_OCTETS_LAYER2,
                                       SLOT_OCTETS_FORWARD, SLOT_OCTETS_OUT};
    static const enum slot packets[] = {SLOT_PACKETS, SLOT_PACKETS_TOTAL, SLOT_PACKETS_FORWARD,
                                        SLOT_PACKETS_OUT};
    struct flow f = {.exporter = p->exporter, .kind = (uint8_t)p->kind};
    if (!choose_addresses(p, r, &f)) {
        p->n_no_address++;
        return true;
    }
    if (p->only.family && !is_host(&p->only, &f))
        return true;
    choose_times(p, r, &f);
    f.octets = first_of(r, octets, ARRAY_LEN(octets));
    f.packets = first_of(r, packets, ARRAY_LEN(packets));
    uint64_t port = has(r, SLOT_SRC_PORT) ? r->v[SLOT_SRC_PORT] : 0;
    f.src_port = port <= UINT16_MAX ? (uint16_t)port : 0;
    port = has(r, SLOT_DST_PORT) ? r->v[SLOT_DST_PORT] : 0;
    f.dst_port = port <= UINT16_MAX ? (uint16_t)port : 0;
    if (has(r, SLOT_PROTO))
        f.proto = r->v[SLOT_PROTO] <= UINT8_MAX ? (uint8_t)r->v[SLOT_PROTO] : 0;
    else if (has(r, f.family == 4 ? SLOT_ICMP4 : SLOT_ICMP6))
        f.proto = f.family == 4 ? 1 : 58;

    /* A record of both ways (RFC 5103, or a firewall's) is two flows. In v9 only where it is the sole count:
     * netflow.analyzer knows IN_BYTES alone. */
    uint64_t back_octets = has(r, SLOT_OCTETS_REVERSE) ? r->v[SLOT_OCTETS_REVERSE] : 0;
    uint64_t back_packets = has(r, SLOT_PACKETS_REVERSE) ? r->v[SLOT_PACKETS_REVERSE] : 0;
    bool both_ways =
        (back_octets || back_packets) && (p->kind == FLOW_KIND_IPFIX || !has(r, SLOT_OCTETS));
    if (both_ways && has(r, SLOT_OCTETS_FORWARD))
        f.octets = r->v[SLOT_OCTETS_FORWARD];
    if (both_ways && has(r, SLOT_PACKETS_FORWARD))
        f.packets = r->v[SLOT_PACKETS_FORWARD];
    if (!add_flow(p, &f))
        return false;
    if (both_ways) {
        struct flow back = f;
        memcpy(back.src, f.dst, 16);
        memcpy(back.dst, f.src, 16);
        back.src_port = f.dst_port;
        back.dst_port = f.src_port;
        back.octets = back_octets;
        back.packets = back_packets;
        return add_flow(p, &back);
    }
    return true;
}

/* ---- reading ---- */

/* The usual `123` before `,` or `}`; anything else goes the long way. */
static inline bool quick_number(scan *s, uint64_t *v)
{
    const char *p = s->p;
    uint64_t n = 0;
    unsigned d;
    while ((d = (unsigned)(unsigned char)*p - '0') <= 9) {
        n = n * 10 + d;
        p++;
    }
    if (p == s->p || p - s->p > 19 || (*s->p == '0' && p - s->p > 1) || (*p != ',' && *p != '}'))
        return false;
    *v = n;
    s->p = p;
    return true;
}

/* A name in s, by guess or by reading. */
static bool take_name(entry_parser *p, scan *s, size_t i, enum slot *slot)
{
    struct guess *g = i < SHAPE ? &p->shape[i] : NULL;
    if (g && g->len && (size_t)(s->end - s->p) >= g->len && memcmp(s->p, g->text, g->len) == 0) {
        s->p += g->len;
        scan_space(s); /* the guess may come from a line that ended behind the colon */
        *slot = (enum slot)g->slot;
        return true;
    }
    const char *from = s->p, *at;
    size_t len;
    bool plain;
    if (!scan_key(s, &at, &len, &plain))
        return false;
    scan_space(s);
    *slot = plain ? slot_of(p, at, len) : SLOT_NONE;
    if (g && (size_t)(s->p - from) <= SHAPE_TEXT) {
        g->len = (uint8_t)(s->p - from);
        memcpy(g->text, from, g->len);
        g->slot = (uint8_t)*slot;
    }
    return true;
}

/* One object of "flows". */
static bool take_record(entry_parser *p, scan *s)
{
    struct record r;
    r.seen = 0;
    if (!scan_is(s, '{'))
        return scan_fail(s, "a flow is no object");
    if (scan_is(s, '}'))
        return finish_flow(p, &r);
    bool more = true;
    scan_space(s);
    for (size_t i = 0; more; i++) {
        enum slot slot;
        uint64_t v;
        if (!take_name(p, s, i, &slot))
            return false;
        bool ok;
        if (slot < SLOT_SRC_PORT)
            ok = slot != SLOT_NONE ? take_address(s, &r, slot)
                                   : quick_number(s, &v) || scan_skip(s, 4);
        else if (slot < SLOT_FIRST_NTP && quick_number(s, &v)) {
            set_value(&r, slot, v);
            ok = true;
        } else {
            ok = take_value(s, &r, slot);
        }
        if (!ok || !scan_more(s, '}', &more))
            return false;
        scan_space(s);
    }
    return finish_flow(p, &r);
}

static bool take_flows(entry_parser *p, scan *s)
{
    p->n_flows = p->n_no_address =
        0; /* of a name given twice the last counts, as Python's json has it */
    if (!scan_is(s, '['))
        return scan_fail(s, "\"flows\" is no list");
    if (scan_is(s, ']'))
        return true;
    bool more;
    do {
        if (!take_record(p, s) || !scan_more(s, ']', &more))
            return false;
    } while (more);
    return true;
}

static bool is_name(const char *at, size_t len, const char *want)
{
    return strlen(want) == len && memcmp(at, want, len) == 0;
}

static bool take_header(entry_parser *p, scan *s)
{
    struct header *h = &p->header;
    *h = (struct header){0};
    if (!scan_is(s, '{'))
        return scan_fail(s, "\"header\" is no object");
    if (scan_is(s, '}'))
        return scan_fail(s, "\"header\" has no \"version\"");
    bool more, versioned = false;
    do {
        const char *at;
        size_t len;
        bool plain;
        struct scan_number n;
        if (!scan_key(s, &at, &len, &plain))
            return false;
        scan_space(s);
        if (*s->p < '0' || *s->p > '9') {
            if (!scan_skip(s, 3))
                return false;
        } else {
            if (!scan_number(s, &n))
                return false;
            uint64_t v = n.whole && n.value <= UINT32_MAX ? (uint64_t)n.value : UINT64_MAX;
            if (v == UINT64_MAX)
                ;
            else if (is_name(at, len, "version")) {
                h->version = v;
                versioned = true;
            } else if (is_name(at, len, "uptime")) {
                h->uptime_ms = v;
                h->has_uptime = true;
            } else if (is_name(at, len, "timestamp") || is_name(at, len, "export_uptime")) {
                h->time_s = v; /* Python's name for IPFIX's export time, which is no uptime */
                h->has_time = true;
            } else if (is_name(at, len, "timestamp_nano")) {
                h->time_ns = v;
            }
        }
        if (!scan_more(s, '}', &more))
            return false;
    } while (more);
    if (!versioned)
        return scan_fail(s, "\"header\" has no \"version\"");
    p->kind = h->version == 10                                        ? FLOW_KIND_IPFIX
              : h->version == 1 || h->version == 5 || h->version == 7 ? FLOW_KIND_V5
                                                                      : FLOW_KIND_V9;
    return true;
}

/* ["192.0.2.1", 45678]; what is otherwise leaves the exporter unknown. */
static bool take_client(entry_parser *p, scan *s)
{
    scan_space(s);
    scan before = *s;
    if (!scan_skip(s, 2))
        return false;
    const char *at;
    size_t len;
    bool plain;
    p->exporter = 0;
    if (scan_is(&before, '[') && scan_string(&before, &at, &len, &plain))
        p->exporter = (uint32_t)base_hash(at, len, 0);
    return true;
}

static bool take_entry(entry_parser *p, scan *s)
{
    bool more, headed = false, flowed = false;
    scan later = {0};
    if (!scan_is(s, '{'))
        return scan_fail(s, "the value of the timestamp is no object");
    if (scan_is(s, '}'))
        return scan_fail(s, "there is no \"header\"");
    do {
        const char *at;
        size_t len;
        bool plain;
        if (!scan_key(s, &at, &len, &plain))
            return false;
        bool ok;
        if (is_name(at, len, "client")) {
            ok = take_client(p, s);
        } else if (is_name(at, len, "header")) {
            ok = headed = take_header(p, s);
        } else if (is_name(at, len, "flows")) {
            flowed = true;
            later = *s;
            /* What the values mean depends on the header: before it, they are only passed over. */
            if (headed)
                ok = take_flows(p, s);
            else
                ok = scan_skip(s, 2);
            if (headed)
                later.p = NULL;
        } else {
            ok = scan_skip(s, 2);
        }
        if (!ok || !scan_more(s, '}', &more))
            return false;
    } while (more);
    if (!headed)
        return scan_fail(s, "there is no \"header\"");
    if (!flowed)
        return scan_fail(s, "there are no \"flows\"");
    if (later.p && !take_flows(p, &later)) {
        *s = later;
        return false;
    }
    return true;
}

static int by_time(const void *a, const void *b)
{
    const struct flow *const *x = a, *const *y = b;
    if ((*x)->time != (*y)->time)
        return (*x)->time < (*y)->time ? -1 : 1;
    if ((*x)->first != (*y)->first)
        return (*x)->first < (*y)->first ? -1 : 1;
    return *x < *y ? -1 : *x > *y; /* stable */
}

static bool sort_flows(entry_parser *p)
{
    size_t n = p->n_flows, i = 1;
    while (i < n && (p->flows[i - 1].time < p->flows[i].time ||
                     (p->flows[i - 1].time == p->flows[i].time &&
                      p->flows[i - 1].first <= p->flows[i].first)))
        i++;
    if (i >= n)
        return true;
    if (p->cap_sorted < p->cap_flows) {
        free(p->sorted);
        p->sorted = reallocarray(NULL, p->cap_flows, sizeof *p->sorted);
        p->cap_sorted = p->sorted ? p->cap_flows : 0;
    }
    const struct flow **order = reallocarray(NULL, n, sizeof *order);
    if (!order || !p->sorted) {
        free(order);
        return false;
    }
    for (i = 0; i < n; i++)
        order[i] = &p->flows[i];
    qsort(order, n, sizeof *order, by_time);
    for (i = 0; i < n; i++)
        p->sorted[i] = *order[i];
    free(order);
    struct flow *was = p->flows;
    p->flows = p->sorted;
    p->sorted = was;
    size_t cap = p->cap_flows;
    p->cap_flows = p->cap_sorted;
    p->cap_sorted = cap;
    return true;
}

static bool take_line(entry_parser *p, scan *s, struct entry *e)
{
    const char *at;
    size_t len;
    bool plain;
    if (!scan_is(s, '{'))
        return scan_fail(s, "no JSON object");
    if (scan_is(s, '}'))
        return scan_fail(s, "no timestamp");
    scan_space(s);
    const char *key = s->p;
    if (!scan_key(s, &at, &len, &plain))
        return false;
    if (!plain || !entry_key_time(at, len, &e->time)) {
        s->p = key;
        return scan_fail(s, "the name of the entry is no timestamp");
    }
    memcpy(e->key, at, len);
    e->key[len] = 0;
    e->key_len = len;
    bool more;
    if (!take_entry(p, s) || !scan_more(s, '}', &more))
        return false;
    if (more)
        return scan_fail(s, "more than one timestamp in a line");
    return scan_at_end(s);
}

weir_status entry_parse(entry_parser *p, const char *line, size_t len, struct entry *e,
                        weir_err *err)
{
    scan s = scan_of(line, len);
    p->n_flows = p->n_no_address = 0;
    p->exporter = 0;
    p->no_memory = false;
    if (!take_line(p, &s, e) && !p->no_memory)
        return weir_err_set(err, WEIR_EFORMAT, (uint64_t)(s.p - line), "%s",
                            s.why ? s.why : "no line of a collector");
    if (p->no_memory || !sort_flows(p))
        return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
    e->kind = p->kind;
    e->flows = p->flows;
    e->n_flows = p->n_flows;
    e->n_no_address = p->n_no_address;
    return WEIR_OK;
}
