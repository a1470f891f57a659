#include "collect/frame.h"

#include "base/err.h"

#include <pcap/dlt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
    ETHER_IPV4 = 0x0800,
    ETHER_IPV6 = 0x86dd,
    ETHER_VLAN = 0x8100,  /* 802.1Q */
    ETHER_QINQ = 0x88a8,  /* 802.1ad */
    ETHER_VLAN2 = 0x9100, /* double tags before 802.1ad */
    ETHER_VLAN3 = 0x9200,
    ETHER_MPLS = 0x8847,
    ETHER_MPLS_MULTICAST = 0x8848,
    ETHER_PPPOE_SESSION = 0x8864,
    ETHER_LENGTH_MAX = 1500, /* up to here the field is a length and an LLC header follows */

    PPP_IPV4 = 0x0021,
    PPP_IPV6 = 0x0057,

    IP_HOP_BY_HOP = 0,
    IP_UDP = 17,
    IP_ROUTING = 43,
    IP_FRAGMENT = 44,
    IP_AH = 51,
    IP_DESTINATION = 60
};

/* Where the reader stands. Octets up to cap are there; those up to full were on the wire. */
struct cursor {
    const uint8_t *data;
    size_t at, cap, full;
};

static uint16_t be16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)be16(p) << 16 | be16(p + 2);
}

__attribute__((format(printf, 3, 4))) static void set(struct frame *f, enum frame_kind kind,
                                                      const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(f->why, sizeof f->why, fmt, ap);
    va_end(ap);
    f->kind = kind;
}

/* The n octets of a header at the cursor, which stays; NULL: not there, and f says why. */
static const uint8_t *header(struct frame *f, const struct cursor *c, size_t n, const char *what)
{
    if (n <= c->cap - c->at)
        return c->data + c->at;
    if (n <= c->full - c->at)
        set(f, FRAME_CUT, "%s header cut by the snap length", what);
    else
        set(f, FRAME_BROKEN, "%s header of %zu octets, %zu are left", what, n, c->full - c->at);
    return NULL;
}

/* Header by header to UDP. outer is false for octets that come from reassembly: fragments of fragments are
 * not allowed to make us work. c ends where the IP length says, or where the frame ends if that is earlier. */
static void read_upper(struct frame *f, uint8_t next, struct cursor *c, size_t claimed, bool outer)
{
    const uint8_t *p;
    for (;;) {
        size_t n;
        switch (next) {
        case IP_HOP_BY_HOP:
        case IP_ROUTING:
        case IP_DESTINATION:
        case IP_AH:
            if (next != IP_AH && f->family == 4)
                return;
            if (!(p = header(f, c, 8, "IP extension")))
                return;
            n = next == IP_AH ? (p[1] + 2u) * 4 : (p[1] + 1u) * 8;
            if (!(p = header(f, c, n, "IP extension")))
                return;
            next = p[0];
            c->at += n;
            continue;
        case IP_FRAGMENT:
            if (f->family == 4)
                return;
            if (!(p = header(f, c, 8, "IPv6 fragment")))
                return;
            c->at += 8;
            next = p[0];
            f->offset = be16(p + 2) & 0xfff8u;
            f->more = p[3] & 1;
            f->id = be32(p + 4);
            if (f->offset == 0 && !f->more)
                continue; /* atomic fragment: a whole datagram (RFC 6946) */
            if (!outer) {
                set(f, FRAME_BROKEN, "fragment inside a fragmented datagram");
                return;
            }
            if (next != IP_UDP && next != IP_AH && next != IP_DESTINATION && next != IP_ROUTING)
                return;
            f->kind = FRAME_FRAGMENT;
            f->next = next;
            f->payload = c->data + c->at;
            f->len = c->cap - c->at;
            f->full = claimed - c->at;
            return;
        default:
            return;
        case IP_UDP:
            break;
        }
        break;
    }
    if (!(p = header(f, c, 8, "UDP")))
        return;
    f->kind = FRAME_UDP;
    f->src_port = be16(p);
    f->dst_port = be16(p + 2);
    size_t len = be16(p + 4), room = claimed - c->at;
    f->payload = p + 8;
    f->len = c->cap - c->at - 8;
    f->full = room - 8;
    if (len < 8) {
        set(f, FRAME_UDP, "UDP length %zu is below its own header of 8", len);
    } else if (len > room) {
        set(f, FRAME_UDP, "UDP length %zu, the IP packet has room for %zu", len, room);
    } else {
        f->full = len - 8;
        if (f->len > f->full)
            f->len = f->full;
    }
}

/* The end of the IP packet: c shrinks to it. Returns where the packet says it ends, which is further than c
 * when the frame on the wire was too short for it: f->why is set after reading on, if it is UDP. */
static size_t narrow(struct cursor *c, size_t end)
{
    if (end < c->full)
        c->full = end;
    if (c->cap > c->full)
        c->cap = c->full;
    return end;
}

static void read_rest(struct frame *f, uint8_t next, struct cursor *c, size_t end)
{
    read_upper(f, next, c, end, true);
    if (end > c->full && f->why[0] == '\0' && f->kind != FRAME_OTHER)
        set(f, f->kind, "IP packet %zu octets longer than its frame", end - c->full);
}

static void read_ipv4(struct frame *f, struct cursor *c)
{
    const uint8_t *p = header(f, c, 20, "IPv4");
    if (!p)
        return;
    size_t start = c->at, header_len = (p[0] & 15u) * 4, total = be16(p + 2);
    uint8_t proto = p[9];
    if (proto != IP_UDP && proto != IP_AH)
        return;
    if (header_len < 20 || total < header_len) {
        set(f, FRAME_BROKEN, "IPv4 header length %zu, total length %zu", header_len, total);
        return;
    }
    f->family = 4;
    memcpy(f->src, p + 12, 4);
    memcpy(f->dst, p + 16, 4);
    if (!header(f, c, header_len, "IPv4"))
        return;
    size_t end = narrow(c, start + total);
    c->at += header_len;
    unsigned fragment = be16(p + 6);
    f->offset = (fragment & 0x1fffu) * 8;
    f->more = fragment & 0x2000u;
    if (f->offset == 0 && !f->more) {
        read_rest(f, proto, c, end);
        return;
    }
    f->kind = FRAME_FRAGMENT;
    f->id = be16(p + 4);
    f->next = proto;
    f->payload = c->data + c->at;
    f->len = c->cap - c->at;
    f->full = end - c->at;
    if (end > c->full)
        set(f, FRAME_FRAGMENT, "IP packet %zu octets longer than its frame", end - c->full);
}

static void read_ipv6(struct frame *f, struct cursor *c)
{
    const uint8_t *p = header(f, c, 40, "IPv6");
    if (!p)
        return;
    f->family = 6;
    memcpy(f->src, p + 8, 16);
    memcpy(f->dst, p + 24, 16);
    size_t len = be16(p + 4);
    if (len == 0)
        return; /* a jumbogram (RFC 2675), which no export fits in, or nothing */
    size_t end = narrow(c, c->at + 40 + len);
    c->at += 40;
    read_rest(f, p[6], c, end);
}

static void read_ip(struct frame *f, struct cursor *c)
{
    const uint8_t *p = header(f, c, 1, "IP");
    if (!p)
        return;
    if (*p >> 4 == 4)
        read_ipv4(f, c);
    else if (*p >> 4 == 6)
        read_ipv6(f, c);
    else
        set(f, FRAME_BROKEN, "IP version %u, neither 4 nor 6", *p >> 4);
}

static void read_ppp(struct frame *f, struct cursor *c)
{
    const uint8_t *p = header(f, c, 2, "PPP");
    if (!p)
        return;
    if (p[0] == 0xff && p[1] == 0x03) { /* address and control, left out on many links */
        c->at += 2;
        if (!(p = header(f, c, 2, "PPP")))
            return;
    }
    bool one = p[0] & 1; /* protocol field compressed to its second octet (RFC 1661 section 6.5) */
    unsigned protocol = one ? p[0] : be16(p);
    c->at += one ? 1 : 2;
    if (protocol == PPP_IPV4 || protocol == PPP_IPV6)
        read_ip(f, c);
}

static void read_mpls(struct frame *f, struct cursor *c)
{
    const uint8_t *p;
    do {
        if (!(p = header(f, c, 4, "MPLS")))
            return;
        c->at += 4;
    } while (!(p[2] & 1)); /* bottom of stack */
    /* What the labels carry is nowhere said; the first half octet tells IP from all else (RFC 4928). */
    if ((p = header(f, c, 1, "IP")) && (*p >> 4 == 4 || *p >> 4 == 6))
        read_ip(f, c);
}

static void read_ether_type(struct frame *f, struct cursor *c, unsigned type, bool llc)
{
    static const uint8_t snap[6] = {0xaa, 0xaa, 0x03, 0, 0, 0};
    const uint8_t *p;
    size_t have;
    for (;;) {
        switch (type) {
        case ETHER_IPV4:
        case ETHER_IPV6:
            read_ip(f, c);
            return;
        case ETHER_VLAN:
        case ETHER_QINQ:
        case ETHER_VLAN2:
        case ETHER_VLAN3:
            if (!(p = header(f, c, 4, "VLAN")))
                return;
            type = be16(p + 2);
            c->at += 4;
            continue;
        case ETHER_MPLS:
        case ETHER_MPLS_MULTICAST:
            read_mpls(f, c);
            return;
        case ETHER_PPPOE_SESSION:
            if (!header(f, c, 6, "PPPoE"))
                return;
            c->at += 6;
            read_ppp(f, c);
            return;
        default:
            if (!llc || type > ETHER_LENGTH_MAX)
                return;
            have = c->cap - c->at < sizeof snap ? c->cap - c->at : sizeof snap;
            if (memcmp(c->data + c->at, snap, have) != 0 || c->full - c->at < 8 ||
                !header(f, c, 8, "LLC"))
                return;
            type = be16(c->data + c->at + 6);
            c->at += 8;
            llc = false;
            continue;
        }
    }
}

/* Address families of IPv4 and IPv6: 2 everywhere; 10 Linux, 23 Windows, 24 NetBSD and OpenBSD, 28 FreeBSD,
 * 30 macOS. */
static bool is_ip_family(uint32_t family)
{
    static const uint8_t families[] = {2, 10, 23, 24, 28, 30};
    for (size_t i = 0; i < ARRAY_LEN(families); i++) {
        if (family == families[i])
            return true;
    }
    return false;
}

void frame_read(struct frame *f, enum frame_link link, const uint8_t *data, size_t cap, size_t wire)
{
    *f = (struct frame){.kind = FRAME_OTHER};
    struct cursor c = {data, 0, cap < wire ? cap : wire, wire};
    const uint8_t *p;
    switch (link) {
    case FRAME_ETHERNET:
        if (!(p = header(f, &c, 14, "Ethernet")))
            return;
        c.at = 14;
        read_ether_type(f, &c, be16(p + 12), true);
        return;
    case FRAME_SLL:
        if (!(p = header(f, &c, 16, "Linux cooked")))
            return;
        c.at = 16;
        read_ether_type(f, &c, be16(p + 14), false);
        return;
    case FRAME_SLL2:
        if (!(p = header(f, &c, 20, "Linux cooked")))
            return;
        c.at = 20;
        read_ether_type(f, &c, be16(p), false);
        return;
    case FRAME_NULL:
    case FRAME_LOOP:
        if (!(p = header(f, &c, 4, "loopback")))
            return;
        c.at = 4;
        /* Families are below 256, so the order of FRAME_NULL shows by itself. */
        if (is_ip_family(be32(p)) ||
            (link == FRAME_NULL && is_ip_family(__builtin_bswap32(be32(p)))))
            read_ip(f, &c);
        return;
    case FRAME_PPP:
        read_ppp(f, &c);
        return;
    case FRAME_IP:
    case FRAME_N_LINKS:
        read_ip(f, &c);
        return;
    }
}

void frame_read_datagram(struct frame *f, uint8_t next, const uint8_t *data, size_t len)
{
    struct cursor c = {data, 0, len, len};
    f->kind = FRAME_OTHER;
    f->why[0] = '\0';
    read_upper(f, next, &c, len, false);
}

bool frame_link_of(int dlt, enum frame_link *link)
{
    static const struct {
        int dlt;
        enum frame_link link;
    } rows[] = {
        {DLT_EN10MB, FRAME_ETHERNET}, {DLT_LINUX_SLL, FRAME_SLL}, {DLT_LINUX_SLL2, FRAME_SLL2},
        {DLT_RAW, FRAME_IP},          {DLT_IPV4, FRAME_IP},       {DLT_IPV6, FRAME_IP},
        {DLT_NULL, FRAME_NULL},       {DLT_LOOP, FRAME_LOOP},     {DLT_PPP, FRAME_PPP},
        {DLT_PPP_SERIAL, FRAME_PPP},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (rows[i].dlt == dlt) {
            *link = rows[i].link;
            return true;
        }
    }
    return false;
}
