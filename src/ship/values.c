/* Values of columns as octets: addresses, MACs, AS paths; names of protocols. */
#include "ship/encode_in.h"

#include <stdlib.h>

/* clang-format off */
/* Keywords of IANA's "Assigned Internet Protocol Numbers". */
static const char *const protos[] = {
    "HOPOPT", "ICMP", "IGMP", "GGP", "IPv4", "ST", "TCP", "CBT", "EGP", "IGP", "BBN-RCC-MON", "NVP-II", "PUP", "ARGUS",
    "EMCON", "XNET", "CHAOS", "UDP", "MUX", "DCN-MEAS", "HMP", "PRM", "XNS-IDP", "TRUNK-1", "TRUNK-2", "LEAF-1",
    "LEAF-2", "RDP", "IRTP", "ISO-TP4", "NETBLT", "MFE-NSP", "MERIT-INP", "DCCP", "3PC", "IDPR", "XTP", "DDP",
    "IDPR-CMTP", "TP++", "IL", "IPv6", "SDRP", "IPv6-Route", "IPv6-Frag", "IDRP", "RSVP", "GRE", "DSR", "BNA", "ESP",
    "AH", "I-NLSP", "SWIPE", "NARP", "Min-IPv4", "TLSP", "SKIP", "IPv6-ICMP", "IPv6-NoNxt", "IPv6-Opts", NULL, "CFTP",
    NULL, "SAT-EXPAK", "KRYPTOLAN", "RVD", "IPPC", NULL, "SAT-MON", "VISA", "IPCV", "CPNX", "CPHB", "WSN", "PVP",
    "BR-SAT-MON", "SUN-ND", "WB-MON", "WB-EXPAK", "ISO-IP", "VMTP", "SECURE-VMTP", "VINES", "IPTM", "NSFNET-IGP",
    "DGP", "TCF", "EIGRP", "OSPFIGP", "Sprite-RPC", "LARP", "MTP", "AX.25", "IPIP", "MICP", "SCC-SP", "ETHERIP",
    "ENCAP", NULL, "GMTP", "IFMP", "PNNI", "PIM", "ARIS", "SCPS", "QNX", "A/N", "IPComp", "SNP", "Compaq-Peer",
    "IPX-in-IP", "VRRP", "PGM", NULL, "L2TP", "DDX", "IATP", "STP", "SRP", "UTI", "SMP", "SM", "PTP",
    "ISIS over IPv4", "FIRE", "CRTP", "CRUDP", "SSCOPMCE", "IPLT", "SPS", "PIPE", "SCTP", "FC", "RSVP-E2E-IGNORE",
    "Mobility Header", "UDPLite", "MPLS-in-IP", "manet", "HIP", "Shim6", "WESP", "ROHC", "Ethernet", "AGGFRAG", "NSH",
};
/* clang-format on */

const char *ship_proto_name(uint64_t proto)
{
    return proto < ARRAY_LEN(protos) ? protos[proto] : NULL;
}

/* --- addresses -------------------------------------------------------------------------------- */

/* 192.0.2.1: exactly len characters, no zeros in front that somebody may take for octal. */
static bool octets4(const char *p, size_t len, uint8_t *out)
{
    if (len < 7 || len > 15)
        return false;
    unsigned part = 0, digits = 0, n = 0;
    for (size_t i = 0; i < len; i++) {
        unsigned d = (unsigned)(uint8_t)p[i] - '0';
        if (d < 10) {
            if (digits && part == 0)
                return false;
            part = part * 10 + d;
            digits++;
            if (part > 255)
                return false;
        } else if (p[i] == '.' && digits && n < 3) {
            out[n++] = (uint8_t)part;
            part = digits = 0;
        } else {
            return false;
        }
    }
    if (n != 3 || !digits)
        return false;
    out[3] = (uint8_t)part;
    return true;
}

static unsigned hex_digit(char c)
{
    unsigned d = (unsigned)(uint8_t)c - '0';
    if (d < 10)
        return d;
    d = ((unsigned)(uint8_t)c | 0x20U) - 'a';
    return d < 6 ? d + 10 : 16;
}

/* RFC 4291, 2.2, in all its forms. */
static bool octets16(const char *p, size_t len, uint8_t *out)
{
    uint8_t o[16];
    size_t n = 0, gap = SIZE_MAX, i = 0;
    if (len < 2 || len > 45)
        return false;
    if (p[0] == ':') {
        if (p[1] != ':')
            return false;
        i = 1; /* the second one is found to be the gap below */
    }
    while (i < len) {
        if (p[i] == ':') { /* a second one: one has been stepped over */
            if (gap != SIZE_MAX)
                return false;
            gap = n;
            i++;
            continue;
        }
        size_t from = i;
        unsigned v = 0, d;
        while (i < len && i - from < 4 && (d = hex_digit(p[i])) < 16) {
            v = v << 4 | d;
            i++;
        }
        if (i < len && p[i] == '.') {
            if (n > 12 || !octets4(p + from, len - from, o + n))
                return false;
            n += 4;
            break;
        }
        if (i == from || n > 14)
            return false;
        o[n++] = (uint8_t)(v >> 8);
        o[n++] = (uint8_t)v;
        if (i == len)
            break;
        if (p[i] != ':' || ++i == len)
            return false; /* a single colon at the end too */
    }
    if (gap == SIZE_MAX ? n != 16 : n > 14)
        return false;
    size_t before = gap == SIZE_MAX ? 16 : gap;
    memset(out, 0, 16);
    memcpy(out, o, before);
    memcpy(out + 16 - (n - before), o + before, n - before);
    return true;
}

unsigned ship_addr_octets(const char *text, size_t len, uint8_t *out)
{
    if (octets4(text, len, out))
        return 4;
    return octets16(text, len, out) ? 16 : 0;
}

bool ship_mac_octets(const char *text, size_t len, uint8_t *out)
{
    if (len != 17)
        return false;
    for (size_t k = 0; k < 6; k++) {
        unsigned high = hex_digit(text[3 * k]), low = hex_digit(text[3 * k + 1]);
        char between = k < 5 ? text[3 * k + 2] : ':';
        if (high > 15 || low > 15 || (between != ':' && between != '-'))
            return false;
        out[k] = (uint8_t)(high << 4 | low);
    }
    return true;
}

int ship_as_next(const char **at, const char *end, uint32_t *as)
{
    const char *p = *at;
    while (p < end && (*p == ' ' || *p == ',' || *p == '_'))
        p++;
    if (p == end)
        return 0;
    uint64_t v = 0, high = 0;
    bool dotted = false;
    const char *from = p;
    for (; p < end && *p != ' ' && *p != ',' && *p != '_'; p++) {
        if (*p == '.' && !dotted && p > from) { /* RFC 5396, asdot */
            dotted = true;
            high = v;
            v = 0;
            from = p + 1;
            continue;
        }
        unsigned d = (unsigned)(uint8_t)*p - '0';
        if (d > 9 || p - from > 9)
            return -1;
        v = v * 10 + d;
    }
    if (p == from || v > UINT32_MAX || (dotted && (v > UINT16_MAX || high > UINT16_MAX)))
        return -1;
    *as = (uint32_t)(high << 16 | v);
    *at = p;
    return 1;
}

/* --- pieces ----------------------------------------------------------------------------------- */

void ship_piece_addr(const struct query_text *t, const void *arg, struct ship_piece *out)
{
    (void)arg;
    out->n = out->len = (uint8_t)ship_addr_octets(t->data, t->len, out->octets);
}

void ship_piece_mac(const struct query_text *t, const void *arg, struct ship_piece *out)
{
    (void)arg;
    out->n = out->len = ship_mac_octets(t->data, t->len, out->octets) ? 6 : 0;
}

bool ship_pieces_begin(struct ship_pieces *p, const struct query_vec *v, size_t from, size_t to)
{
    p->v = ship_is_text(v) ? v : NULL;
    p->whole = false;
    if (!p->v)
        return true;
    p->whole = v->n_dict <= to - from;
    size_t n = p->whole && v->n_dict > SHIP_CHUNK ? v->n_dict : SHIP_CHUNK;
    if (n > p->cap) {
        struct ship_piece *items = realloc(p->items, n * sizeof *items);
        if (!items)
            return false;
        p->items = items;
        p->cap = n;
    }
    for (uint32_t k = 0; p->whole && k < v->n_dict; k++) {
        p->items[k] = (struct ship_piece){.len = 0};
        p->make(&v->dict[k], p->arg, &p->items[k]);
    }
    return true;
}

void ship_pieces_chunk(struct ship_pieces *p, size_t from, size_t to)
{
    enum { AHEAD_TEXT = 4, AHEAD_ENTRY = 8 }; /* rows between fetching a text and its use */
    if (!p->v || p->whole)
        return;
    const struct query_vec *v = p->v;
    p->base = from;
    for (size_t i = from; i < to; i++) {
        if (i + AHEAD_ENTRY < to) {
            __builtin_prefetch(&v->dict[v->codes[i + AHEAD_ENTRY]]);
            __builtin_prefetch(v->dict[v->codes[i + AHEAD_TEXT]].data);
        }
        struct ship_piece *s = &p->items[i - from];
        *s = (struct ship_piece){.len = 0};
        if (ship_has(v, i))
            p->make(&v->dict[v->codes[i]], p->arg, s);
    }
}

void ship_pieces_done(struct ship_pieces *p)
{
    free(p->items);
    *p = (struct ship_pieces){.v = NULL};
}
