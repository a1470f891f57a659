/* Small texts: scaled numbers, durations, protocols, times of the clock. */
#include "query/cells_in.h"

#include <stdio.h>
#include <time.h>

size_t query_scaled_text(char *out, uint64_t v, bool plain)
{
    static const struct {
        uint64_t unit;
        char letter;
    } units[] = {{1000000000000ULL, 'T'}, {1000000000ULL, 'G'}, {1000000ULL, 'M'}};
    if (plain || v < 1000000)
        return base_u64_text(out, v);
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        if (v < units[i].unit)
            continue;
        uint64_t tenth = units[i].unit / 10, tenths = v / tenth, rest = v % tenth;
        /* printf rounds the nearest double: only a tie, and what a double cannot hold, needs it. */
        if (rest == tenth / 2 || v >= 1ULL << 53)
            return (size_t)snprintf(out, 40, "%.1f %c", (double)v / (double)units[i].unit,
                                    units[i].letter);
        tenths += rest > tenth / 2;
        size_t n = base_u64_text(out, tenths / 10);
        out[n++] = '.';
        out[n++] = (char)('0' + tenths % 10);
        out[n++] = ' ';
        out[n++] = units[i].letter;
        return n;
    }
    return 0;
}

size_t query_duration_text(char *out, uint64_t ms, bool plain)
{
    char *p = out;
    unsigned part = (unsigned)(ms % 1000);
    uint64_t s = ms / 1000;
    if (plain) {
        p = put_number(p, s);
    } else {
        uint64_t days = s / 86400;
        if (days) {
            char *from = p;
            p = fit(from, put_number(p, days), 2, false);
            *p++ = 'd';
            *p++ = ' ';
        }
        unsigned rest = (unsigned)(s % 86400);
        p = put_2(p, rest / 3600);
        *p++ = ':';
        p = put_2(p, rest / 60 % 60);
        *p++ = ':';
        p = put_2(p, rest % 60);
    }
    *p++ = '.';
    return (size_t)(put_3(p, part) - out);
}

size_t query_addr_short(char *out, const char *text, size_t len, bool full)
{
    if (len > 45)
        len = 45; /* no address is longer */
    if (full || len <= 16) {
        copy_text(out, text, len);
        return len;
    }
    memcpy(out, text, 7);
    memcpy(out + 7, "..", 2);
    memcpy(out + 9, text + len - 7, 7);
    return 16;
}

void query_text_safe(base_buf *out, const char *text, size_t len)
{
    const uint8_t *p = (const uint8_t *)text;
    for (size_t i = 0; i < len;) {
        size_t n = base_utf8_len(p + i, len - i);
        bool bad =
            n == 0 || p[i] < 0x20 || p[i] == 0x7f || (n == 2 && p[i] == 0xc2 && p[i + 1] < 0xa0);
        if (bad)
            base_buf_char(out, '?');
        else
            base_buf_add(out, text + i, n);
        i += n ? n : 1;
    }
}

/* clang-format off */
/* As nfdump writes them: at most five letters of the names that IANA gives the protocols. */
static const char protos[][6] = {
    "0", "ICMP", "IGMP", "GGP", "IPIP", "ST", "TCP", "CBT", "EGP", "IGP", "BBN", "NVPII", "PUP", "ARGUS", "ENCOM",
    "XNET", "CHAOS", "UDP", "MUX", "DCN", "HMP", "PRM", "XNS", "Trnk1", "Trnk2", "Leaf1", "Leaf2", "RDP", "IRTP",
    "ISO-4", "NETBK", "MFESP", "MEINP", "DCCP", "3PC", "IDPR", "XTP", "DDP", "IDPR", "TP++", "IL", "IPv6", "SDRP",
    "Rte6", "Frag6", "IDRP", "RSVP", "GRE", "MHRP", "BNA", "ESP", "AH", "INLSP", "SWIPE", "NARP", "MOBIL", "TLSP",
    "SKIP", "ICMP6", "NOHE6", "OPTS6", "HOST", "CFTP", "NET", "SATNT", "KLAN", "RVD", "IPPC", "FS", "SATM", "VISA",
    "IPCV", "CPNX", "CPHB", "WSN", "PVP", "BSATM", "SUNND", "WBMON", "WBEXP", "ISOIP", "VMTP", "SVMTP", "VINES",
    "TTP", "NSIGP", "DGP", "TCF", "EIGRP", "OSPF", "S-RPC", "LARP", "MTP", "AX.25", "OS", "MICP", "SCCSP", "ETHIP",
    "ENCAP", "99", "GMTP", "IFMP", "PNNI", "PIM", "ARIS", "SCPS", "QNX", "A/N", "IPcmp", "SNP", "CpqPP", "IPXIP",
    "VRRP", "PGM", "0hop", "L2TP", "DDX", "IATP", "STP", "SRP", "UTI", "SMP", "SM", "PTP", "ISIS4", "FIRE", "CRTP",
    "CRUDP", "128", "IPLT", "SPS", "PIPE", "SCTP", "FC", "134", "MHEAD", "UDP-L", "MPLS",
};
/* clang-format on */

const char *query_proto_short(unsigned proto)
{
    return proto < ARRAY_LEN(protos) && !(protos[proto][0] >= '0' && protos[proto][0] <= '9' &&
                                          protos[proto][1] != 'P' && protos[proto][1] != 'h')
               ? protos[proto]
               : NULL;
}

/* --- time ---------------------------------------------------------------------------------------- */

const char *query_clock_minute(struct query_clock *c, int64_t minute)
{
    size_t at = (size_t)((uint64_t)minute % ARRAY_LEN(c->slots));
    if (c->slots[at].minute != minute || !c->slots[at].text[0]) {
        struct tm tm = {0};
        time_t t = (time_t)(minute * 60);
        if (c->utc)
            gmtime_r(&t, &tm);
        else
            localtime_r(&t, &tm);
        int year = tm.tm_year + 1900 < 0 ? 0 : tm.tm_year + 1900 > 9999 ? 9999 : tm.tm_year + 1900;
        char *p = c->slots[at].text;
        p = put_2(p, (unsigned)year / 100);
        p = put_2(p, (unsigned)year % 100);
        *p++ = '-';
        p = put_2(p, (unsigned)tm.tm_mon + 1);
        *p++ = '-';
        p = put_2(p, (unsigned)tm.tm_mday);
        *p++ = ' ';
        p = put_2(p, (unsigned)tm.tm_hour);
        *p++ = ':';
        p = put_2(p, (unsigned)tm.tm_min);
        *p = ':';
        c->slots[at].minute = minute;
    }
    return c->slots[at].text;
}

void query_clock_text(struct query_clock *c, int64_t us, char *out)
{
    unsigned part = clock_second(c, us, out);
    out[19] = '.';
    put_3(out + 20, part / 1000);
}
