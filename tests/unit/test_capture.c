#include "collect/capture.h"

#include "base/buf.h"

#include <bzlib.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <pcap/dlt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <zlib.h>

#include "unit.h"

/* --- making captures ------------------------------------------------------------------------------ */

enum { PORT = 2055, SENDER = 50000, TIME_S = 1700000000, TIME_US = 123456 };

static void put_hex(base_buf *b, const char *hex)
{
    for (; *hex; hex++) {
        if (*hex == ' ')
            continue;
        unsigned v;
        assert_int_equal(sscanf(hex++, "%2x", &v), 1);
        base_buf_char(b, (char)v);
    }
}

static void put(base_buf *b, uint64_t v, int octets, bool little)
{
    for (int i = 0; i < octets; i++)
        base_buf_char(b, (char)(v >> 8 * (little ? i : octets - 1 - i)));
}

static void put_zeros(base_buf *b, size_t n)
{
    while (n--)
        base_buf_char(b, 0);
}

/* NetFlow v5 with n records, serial in its sequence number. */
static void put_v5(base_buf *b, uint16_t n, uint32_t serial)
{
    put(b, 5, 2, false);
    put(b, n, 2, false);
    put(b, 123456, 4, false);
    put(b, TIME_S, 4, false);
    put(b, 7000, 4, false);
    put(b, serial, 4, false);
    put(b, 0, 4, false);
    for (int i = 0; i < n * 48; i++)
        base_buf_char(b, (char)(i + (int)serial));
}

/* An IPFIX message with one data set of n octets. */
static void put_ipfix(base_buf *b, size_t n, uint32_t serial)
{
    put(b, 10, 2, false);
    put(b, 20 + n, 2, false);
    put(b, TIME_S, 4, false);
    put(b, serial, 4, false);
    put(b, 99, 4, false);
    put(b, 256, 2, false);
    put(b, 4 + n, 2, false);
    while (n--)
        base_buf_char(b, 'x');
}

static void put_udp(base_buf *b, uint16_t port, const base_buf *payload)
{
    put(b, SENDER, 2, false);
    put(b, port, 2, false);
    put(b, 8 + payload->len, 2, false);
    put(b, 0, 2, false);
    base_buf_add(b, payload->data, payload->len);
}

/* IPv4 from 192.0.2.1; options in hex; fragment: the field with the flags; body: behind the header. */
static void put_ipv4(base_buf *b, const char *options, uint16_t id, uint16_t fragment, uint8_t proto,
                     const char *body, size_t len)
{
    size_t header = 20;
    for (const char *p = options; *p; p++)
        header += *p != ' ';
    header = 20 + (header - 20) / 2;
    put(b, 0x40 | header / 4, 1, false);
    put(b, 0, 1, false);
    put(b, header + len, 2, false);
    put(b, id, 2, false);
    put(b, fragment, 2, false);
    put(b, 64, 1, false);
    put(b, proto, 1, false);
    put(b, 0, 2, false);
    put_hex(b, "c0000201 c6336402");
    put_hex(b, options);
    base_buf_add(b, body, len);
}

/* IPv6 from 2001:db8::1; next and the extension headers in hex are given. */
static void put_ipv6(base_buf *b, uint8_t next, const char *extensions, const char *body, size_t len)
{
    base_buf x = {0};
    put_hex(&x, extensions);
    put_hex(b, "60000000");
    put(b, x.len + len, 2, false);
    put(b, next, 1, false);
    put_hex(b, "40 20010db8000000000000000000000001 20010db8000000000000000000000002");
    base_buf_add(b, x.data, x.len);
    base_buf_add(b, body, len);
    base_buf_done(&x);
}

static void put_pcap_header(base_buf *b, int link, uint32_t snaplen)
{
    put(b, 0xa1b2c3d4, 4, true);
    put(b, 2, 2, true);
    put(b, 4, 2, true);
    put(b, 0, 8, true);
    put(b, snaplen, 4, true);
    put(b, (uint64_t)link, 4, true);
}

static void put_frame(base_buf *b, const void *frame, size_t cap, size_t wire)
{
    put(b, TIME_S, 4, true);
    put(b, TIME_US, 4, true);
    put(b, cap, 4, true);
    put(b, wire, 4, true);
    base_buf_add(b, frame, cap);
}

static const char ethernet4[] = "0200 0000 0002 0200 0000 0001 0800";
static const char ethernet6[] = "0200 0000 0002 0200 0000 0001 86dd";

/* A whole frame of Ethernet, IPv4 and UDP with this payload. */
static void put_export(base_buf *b, uint16_t port, const base_buf *payload)
{
    base_buf udp = {0}, frame = {0};
    put_udp(&udp, port, payload);
    put_hex(&frame, ethernet4);
    put_ipv4(&frame, "", 1, 0, 17, udp.data, udp.len);
    put_frame(b, frame.data, frame.len, frame.len);
    base_buf_done(&udp);
    base_buf_done(&frame);
}

/* A capture of n exports with 1 to 30 records. */
static void put_capture(base_buf *b, uint32_t n)
{
    put_pcap_header(b, DLT_EN10MB, 65535);
    for (uint32_t i = 0; i < n; i++) {
        base_buf payload = {0};
        put_v5(&payload, (uint16_t)(1 + i % 30), i);
        put_export(b, PORT, &payload);
        base_buf_done(&payload);
    }
}

static void gzip(const base_buf *in, base_buf *out)
{
    z_stream z = {0};
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
    uLong bound = deflateBound(&z, in->len);
    z.next_in = (Bytef *)in->data;
    z.avail_in = (uInt)in->len;
    z.next_out = (Bytef *)base_buf_room(out, bound);
    z.avail_out = (uInt)bound;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    out->len += z.total_out;
    deflateEnd(&z);
}

static void bzip2(const base_buf *in, base_buf *out)
{
    unsigned n = (unsigned)(in->len + in->len / 50 + 1000);
    char *to = base_buf_room(out, n);
    assert_int_equal(BZ2_bzBuffToBuffCompress(to, &n, in->data, (unsigned)in->len, 9, 0, 0), BZ_OK);
    out->len += n;
}

/* --- reading them --------------------------------------------------------------------------------- */

struct result {
    weir_status opened;
    size_t n_packets, n_errors;
    weir_status last_error;
    weir_err first; /* error */
    struct capture_counters n;
    struct capture_packet packet; /* the last, its data copied to octets */
    base_buf octets;              /* all payloads, one after another */
};

static void check_law(const struct capture_counters *n, enum capture_form form, const char *what)
{
    bool ok = true;
    if (form == CAPTURE_PCAP)
        ok = n->frames == n->packets + n->other + n->cut + n->broken + n->fragments - n->reassembled;
    else if (form == CAPTURE_IPFIX)
        ok = n->frames == n->packets;
    else if (form == CAPTURE_RAW || form == CAPTURE_HEX)
        ok = n->frames == n->packets + n->broken;
    UNIT_CHECK(ok && n->fragments_lost <= n->fragments,
               "%s: the counters do not add up: frames %" PRIu64 " packets %" PRIu64 " other %" PRIu64
               " cut %" PRIu64 " broken %" PRIu64 " fragments %" PRIu64 " lost %" PRIu64
               " reassembled %" PRIu64 "\n",
               what, n->frames, n->packets, n->other, n->cut, n->broken, n->fragments, n->fragments_lost,
               n->reassembled);
}

/* Read all there is; form, when known, decides which law is checked after every call. */
static struct result drain(capture *c, weir_status opened, const weir_err *open_err, size_t most_calls,
                           enum capture_form form, const char *what)
{
    struct result r = {.opened = opened};
    if (opened != WEIR_OK) {
        r.first = *open_err;
        assert_int_equal(open_err->code, opened);
        return r;
    }
    for (size_t i = 0;; i++) {
        UNIT_CHECK(i <= most_calls, "%s: no end after %zu calls\n", what, i);
        weir_err err = {0};
        struct capture_packet p;
        weir_status st = capture_next(c, &p, &err);
        check_law(capture_counters(c), form, what);
        if (st == WEIR_END)
            break;
        if (st == WEIR_OK) {
            r.n_packets++;
            r.packet = p;
            base_buf_add(&r.octets, p.data, p.len);
        } else {
            UNIT_CHECK(err.code == st && err.msg[0], "%s: status %d without a message\n", what, (int)st);
            assert_null(p.data);
            if (r.n_errors++ == 0)
                r.first = err;
            r.last_error = st;
        }
    }
    struct capture_packet p;
    assert_int_equal(capture_next(c, &p, NULL), WEIR_END); /* the end is the end */
    r.n = *capture_counters(c);
    assert_int_equal(r.n.packets, r.n_packets);
    capture_close(c);
    return r;
}

static struct result read_memory(const void *data, size_t len, struct capture_options o,
                                 enum capture_form form, const char *what)
{
    /* A copy of exactly that size, so that a sanitizer sees one octet too far. */
    uint8_t *copy = malloc(len ? len : 1);
    assert_non_null(copy);
    if (len)
        memcpy(copy, data, len);
    weir_err err = {0};
    capture *c = NULL;
    weir_status st = capture_open_memory("test", copy, len, &o, &c, &err);
    assert_int_equal(st == WEIR_OK, c != NULL);
    struct result r = drain(c, st, &err, len + 3, form, what);
    free(copy);
    return r;
}

static struct result read_pcap(const base_buf *b, uint16_t port, const char *what)
{
    return read_memory(b->data, b->len, (struct capture_options){.port = port}, CAPTURE_PCAP, what);
}

/* --- links ---------------------------------------------------------------------------------------- */

/* clang-format off */
static const struct {
    const char *what;
    int link;            /* number in the file */
    const char *prefix;  /* in front of the IP header, hex */
    int family;
    const char *options; /* of IPv4; extension headers of IPv6, the last naming UDP */
    int next;            /* first protocol, IPv6 */
    const char *trailer; /* behind the packet */
} links[] = {
    {"Ethernet", 1, ethernet4, 4, "", 0, ""},
    {"Ethernet padding", 1, ethernet4, 4, "", 0, "000000000000"},
    {"Ethernet v6", 1, ethernet6, 6, "", 17, ""},
    {"802.1Q", 1, "020000000002 020000000001 8100 0064 0800", 4, "", 0, ""},
    {"QinQ", 1, "020000000002 020000000001 88a8 0064 8100 0065 86dd", 6, "", 17, ""},
    {"9100 and three tags", 1, "020000000002 020000000001 9100 0064 8100 0065 8100 0066 0800", 4, "", 0, ""},
    {"MPLS, two labels", 1, "020000000002 020000000001 8847 00064040 00065140", 4, "", 0, ""},
    {"MPLS v6", 1, "020000000002 020000000001 8847 00065140", 6, "", 17, ""},
    {"PPPoE", 1, "020000000002 020000000001 8864 11000001006a 0021", 4, "", 0, ""},
    {"PPPoE v6 in a VLAN", 1, "020000000002 020000000001 8100 0064 8864 11000001006a 0057", 6, "", 17, ""},
    {"802.3 with SNAP", 1, "020000000002 020000000001 0100 aaaa03 000000 0800", 4, "", 0, ""},
    {"cooked", 113, "0000 0001 0006 0200000000010000 0800", 4, "", 0, ""},
    {"cooked v6 with a tag", 113, "0000 0001 0006 0200000000010000 8100 0064 86dd", 6, "", 17, ""},
    {"cooked v2", 276, "0800 0000 00000002 0001 00 06 0200000000010000", 4, "", 0, ""},
    {"cooked v2 v6", 276, "86dd 0000 00000002 0001 00 06 0200000000010000", 6, "", 17, ""},
    {"raw IP", 101, "", 4, "", 0, ""},
    {"raw IP v6", 101, "", 6, "", 17, ""},
    {"raw IPv4", 228, "", 4, "", 0, ""},
    {"raw IPv6", 229, "", 6, "", 17, ""},
    {"loopback, little", 0, "02000000", 4, "", 0, ""},
    {"loopback, big", 0, "00000002", 4, "", 0, ""},
    {"loopback v6, macOS", 0, "1e000000", 6, "", 17, ""},
    {"loopback v6, FreeBSD, big", 0, "0000001c", 6, "", 17, ""},
    {"OpenBSD loopback", 108, "00000018", 6, "", 17, ""},
    {"PPP", 9, "ff03 0021", 4, "", 0, ""},
    {"PPP, all compressed", 9, "57", 6, "", 17, ""},
    {"IPv4 options", 1, ethernet4, 4, "94040000 01010100", 0, ""},
    {"hop-by-hop", 1, ethernet6, 6, "1100 050200000100", 0, ""},
    {"hop-by-hop, routing, destination", 1, ethernet6, 6,
     "2b00 050200000100 3c02 0001 00000000 20010db8000000000000000000000009 1100 010400000000", 0, ""},
    {"authentication header", 1, ethernet6, 6, "1104 0000 00000001 00000002 000102030405060708090a0b", 51, ""},
    {"atomic fragment", 1, ethernet6, 6, "1100 0000 00000007", 44, ""},
};
/* clang-format on */

static void put_link_frame(base_buf *frame, size_t i, const base_buf *udp)
{
    put_hex(frame, links[i].prefix);
    if (links[i].family == 4)
        put_ipv4(frame, links[i].options, 1, 0x4000, 17, udp->data, udp->len);
    else
        put_ipv6(frame, (uint8_t)links[i].next, links[i].options, udp->data, udp->len);
    put_hex(frame, links[i].trailer);
}

static void test_links(void **state)
{
    (void)state;
    for (size_t i = 0; i < UNIT_N(links); i++) {
        base_buf payload = {0}, udp = {0}, frame = {0};
        put_v5(&payload, 1, 42);
        put_udp(&udp, 9999, &payload); /* an unusual port: detected by its look */
        put_link_frame(&frame, i, &udp);
        size_t whole = frame.len - strlen(links[i].trailer) / 2;
        for (int port = 0; port <= 9999; port += 9999) {
            base_buf file = {0};
            put_pcap_header(&file, links[i].link, 65535);
            put_frame(&file, frame.data, frame.len, frame.len);
            struct result r = read_pcap(&file, (uint16_t)port, links[i].what);
            UNIT_CHECK(r.opened == WEIR_OK && r.n_packets == 1 && r.n_errors == 0, "%s: %zu packets, %s\n",
                       links[i].what, r.n_packets, r.first.msg);
            assert_int_equal(r.packet.len, payload.len);
            assert_memory_equal(r.octets.data, payload.data, payload.len);
            assert_int_equal(r.packet.from.family, links[i].family);
            assert_int_equal(r.packet.from.port, SENDER);
            assert_int_equal(r.packet.from.transport, WEIR_UDP);
            static const uint8_t v4[16] = {192, 0, 2, 1}, v6[16] = {0x20, 1, 0xd, 0xb8, [15] = 1};
            assert_memory_equal(r.packet.from.addr, links[i].family == 4 ? v4 : v6, 16);
            assert_true(r.packet.received_ns == TIME_S * INT64_C(1000000000) + TIME_US * 1000);
            assert_int_equal(r.packet.number, 1);
            assert_int_equal(r.packet.offset, 24);
            base_buf_done(&r.octets);
            base_buf_done(&file);
        }
        /* Every cut by the snap length, and every frame that was that short on the wire. */
        for (size_t len = 0; len <= frame.len; len++) {
            for (int snapped = 0; snapped <= 1; snapped++) {
                base_buf file = {0};
                put_pcap_header(&file, links[i].link, 65535);
                put_frame(&file, frame.data, len, snapped ? frame.len : len);
                struct result r = read_pcap(&file, 9999, links[i].what);
                const struct capture_counters *n = &r.n;
                bool complete = len >= whole;
                UNIT_CHECK(n->packets == complete, "%s: %zu of %zu octets: %s\n", links[i].what, len,
                           frame.len, r.first.msg);
                /* A cut protocol field can look like another protocol, never like a good packet. */
                UNIT_CHECK(complete || (snapped ? n->cut == 1 : n->broken == 1),
                           "%s: %zu of %zu octets: cut %d broken %d other %d\n", links[i].what, len,
                           frame.len, (int)n->cut, (int)n->broken, (int)n->other);
                assert_int_equal(r.n_errors, !complete);
                if (!complete) {
                    assert_int_equal(r.first.code, snapped ? WEIR_ETRUNC : WEIR_EFORMAT);
                    assert_non_null(strstr(r.first.msg, "frame 1 at octet 24: "));
                    assert_int_equal(r.first.at, 24);
                }
                base_buf_done(&r.octets);
                base_buf_done(&file);
            }
        }
        base_buf_done(&payload);
        base_buf_done(&udp);
        base_buf_done(&frame);
    }
}

/* Frames that are not for us are counted and make no noise, also when cut. */
static void test_other(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        int link;
        const char *frame;
        uint64_t broken;
    } rows[] = {
        {"ARP", 1, "ffffffffffff 020000000001 0806 0001 0800 0604 0001", 0},
        {"802.3 LLC, no SNAP", 1, "0180c2000000 020000000001 0026 424203 0000 00 00 00", 0},
        {"802.3, empty", 1, "0180c2000000 020000000001 0026", 0},
        {"TCP", 101, "45000028 00010000 4006 0000 c0000201 c6336402 0050 0050", 0},
        {"TCP v6", 101,
         "60000000 0014 06 40 20010db8000000000000000000000001 20010db8000000000000000000000002 0050", 0},
        {"ICMPv6 fragment", 101,
         "60000000 0010 2c 40 20010db8000000000000000000000001 20010db8000000000000000000000002 "
         "3a000001 00000007 0102030405060708",
         0},
        {"jumbogram", 101,
         "60000000 0000 00 40 20010db8000000000000000000000001 20010db8000000000000000000000002", 0},
        {"no next header", 101,
         "60000000 0001 3b 40 20010db8000000000000000000000001 20010db8000000000000000000000002 00", 0},
        {"loopback of another family", 0, "07000000 0102", 0},
        {"family beyond a byte", 0, "02020000 0102", 0},
        {"MPLS pseudowire", 1, "020000000002 020000000001 8847 00065140 00000000", 0},
        {"PPP LCP", 9, "ff03 c021 01010004", 0},
        {"IP version 5", 101, "55000028", 1},
        {"IPv4 header of 16 octets", 101, "44000028 00010000 4011 0000 c0000201 c6336402", 1},
        {"IPv4 total below its header", 101, "46000014 00010000 4011 0000 c0000201 c6336402 00000000", 1},
        {"IPv4 total 0", 101, "45000000 00010000 4011 0000 c0000201 c6336402", 1},
        {"IPv4 total 23: UDP header does not fit", 101,
         "45000017 00010000 4011 0000 c0000201 c6336402 c35007 0700000000", 1},
        {"empty fragment", 101, "45000014 00012001 4011 0000 c0000201 c6336402", 1},
        {"fragment longer than its frame", 101, "45000064 00012000 4011 0000 c0000201 c6336402 c3500807", 1},
        {"extension header past the packet", 101,
         "60000000 0008 00 40 20010db8000000000000000000000001 20010db8000000000000000000000002 "
         "1105000000000000",
         1},
        {"UDP length 7", 101, "4500001c 00010000 4011 0000 c0000201 c6336402 c3500807 0007 0000", 1},
        {"UDP length above its packet", 101,
         "4500001c 00010000 4011 0000 c0000201 c6336402 c3500807 0009 0000", 1},
        {"IP length above its frame", 101,
         "4500001d 00010000 4011 0000 c0000201 c6336402 c3500807 0009 0000", 1},
        {"UDP length 7 to another port", 101,
         "4500001c 00010000 4011 0000 c0000201 c6336402 c3500035 0007 0000", 0},
    };
    for (size_t i = 0; i < UNIT_N(rows); i++) {
        base_buf file = {0}, frame = {0};
        put_hex(&frame, rows[i].frame);
        put_pcap_header(&file, rows[i].link, 65535);
        put_frame(&file, frame.data, frame.len, frame.len);
        for (int port = 0; port <= PORT; port += PORT) {
            struct result r = read_pcap(&file, (uint16_t)port, rows[i].what);
            UNIT_CHECK(r.n.broken == rows[i].broken && r.n.other == !rows[i].broken && r.n_packets == 0,
                       "%s: other %d broken %d packets %zu: %s\n", rows[i].what, (int)r.n.other,
                       (int)r.n.broken, r.n_packets, r.first.msg);
            assert_int_equal(r.n_errors, rows[i].broken);
        }
        base_buf_done(&file);
        base_buf_done(&frame);
    }
}

/* --- which datagrams are exports ------------------------------------------------------------------ */

static void test_ports(void **state)
{
    (void)state;
#define TIMES "00000001 65538000 00001b58 "
    static const struct {
        const char *what, *payload;
        size_t zeros; /* behind payload */
        uint16_t port, want_port;
        bool packet;
    } rows[] = {
        {"usual port, any octets", "dead", 0, 2055, 0, true},
        {"usual port, no octets", "", 0, 4739, 0, true},
        {"another usual port", "ffff", 0, 9996, 0, true},
        {"the port asked for", "dead", 0, 53, 53, true},
        {"the port asked for, no octets", "", 0, 53, 53, true},
        {"usual, but another was asked for", "dead", 0, 2055, 53, false},
        {"export, but to another port", "0005 0001" TIMES, 56, 2055, 2056, false},
        {"sFlow", "00000005 00000001 c0000201 00000000 00000001 00000001 00000000", 0, 6343, 0, false},
        {"NetFlow v5 on sFlow's port", "0005 0001" TIMES, 56, 6343, 0, true},
        {"nothing", "", 0, 9999, 0, false},
        {"an octet", "00", 0, 9999, 0, false},
        {"version only", "0005", 0, 9999, 0, false},
        {"v1", "0001 0002" TIMES, 104, 9999, 0, true},
        {"v1 one octet short", "0001 0002" TIMES, 103, 9999, 0, false},
        {"v5", "0005 0002" TIMES, 104, 9999, 0, true},
        {"v5 with padding", "0005 0002" TIMES, 107, 9999, 0, true},
        {"v5 with a record too many", "0005 0002" TIMES, 152, 9999, 0, false},
        {"v5 without records", "0005 0000" TIMES, 8, 9999, 0, false},
        {"v5 with a second of 2^32-1 ns", "0005 0001 00000001 65538000 ffffffff", 56, 9999, 0, false},
        {"v7", "0007 0001" TIMES, 60, 9999, 0, true},
        {"v9 template", "0009 0001 00000001 65538000 00000001 00000000 0000 0010", 12, 9999, 0, true},
        {"v9 options template", "0009 0001 00000001 65538000 00000001 00000000 0001 0010", 12, 9999, 0, true},
        {"v9 data", "0009 0001 00000001 65538000 00000001 00000000 0100 0010", 12, 9999, 0, true},
        {"v9, reserved set", "0009 0001 00000001 65538000 00000001 00000000 0002 0010", 12, 9999, 0, false},
        {"v9, set too long", "0009 0001 00000001 65538000 00000001 00000000 0100 0011", 12, 9999, 0, false},
        {"v9, set of 3", "0009 0001 00000001 65538000 00000001 00000000 0100 0003", 12, 9999, 0, false},
        {"v9, header only", "0009 0001 00000001 65538000 00000001 00000000", 0, 9999, 0, false},
        {"IPFIX", "000a 0018 65538000 00000001 00000000 0002 0008", 4, 9999, 0, true},
        {"IPFIX, header only", "000a 0010 65538000 00000001 00000000", 0, 9999, 0, true},
        {"IPFIX, two messages", "000a 0018 65538000 00000001 00000000 0002 0008 00000000 000a", 2, 9999, 0,
         true},
        {"IPFIX, octets behind", "000a 0018 65538000 00000001 00000000 0002 0008 00000000 000b", 2, 9999, 0,
         false},
        {"IPFIX, an octet behind", "000a 0018 65538000 00000001 00000000 0002 0008 00000000 00", 0, 9999, 0,
         false},
        {"IPFIX, length above the datagram", "000a 0019 65538000 00000001 00000000 0002 0008", 4, 9999, 0,
         false},
        {"IPFIX, length 15", "000a 000f 65538000 00000001 00000000 0002 0008", 4, 9999, 0, false},
        {"IPFIX, set 1", "000a 0018 65538000 00000001 00000000 0001 0008", 4, 9999, 0, false},
        {"IPFIX, set past the message", "000a 0018 65538000 00000001 00000000 0002 0009", 4, 9999, 0, false},
        /* DNS: a query and its answer for example.org with the ids that are versions. */
        {"DNS id 5", "0005 0100 0001 0000 0000 0000 07 6578616d706c65 03 6f7267 00 0001 0001", 0, 53, 0, false},
        {"DNS id 9", "0009 0100 0001 0000 0000 0000 07 6578616d706c65 03 6f7267 00 0001 0001", 0, 53, 0, false},
        {"DNS id 10", "000a 0100 0001 0000 0000 0000 07 6578616d706c65 03 6f7267 00 0001 0001", 0, 53, 0,
         false},
        {"DNS answer id 9",
         "0009 8180 0001 0001 0000 0000 07 6578616d706c65 03 6f7267 00 0001 0001 c00c 0001 0001 00000e10 "
         "0004 c0000201",
         0, 5353, 0, false},
        {"TFTP ACK", "0004 0001", 0, 69, 0, false},
        {"TFTP error", "0005 0001 46696c65206e6f7420666f756e6400", 0, 69, 0, false},
    };
    for (size_t i = 0; i < UNIT_N(rows); i++) {
        base_buf file = {0}, payload = {0};
        put_hex(&payload, rows[i].payload);
        put_zeros(&payload, rows[i].zeros);
        put_pcap_header(&file, 1, 65535);
        put_export(&file, rows[i].port, &payload);
        struct result r = read_pcap(&file, rows[i].want_port, rows[i].what);
        UNIT_CHECK(r.n_packets == rows[i].packet && r.n.other == !rows[i].packet && r.n_errors == 0,
                   "%s: %zu packets: %s\n", rows[i].what, r.n_packets, r.first.msg);
        assert_int_equal(r.octets.len, rows[i].packet ? payload.len : 0);
        base_buf_done(&r.octets);
        base_buf_done(&file);
        base_buf_done(&payload);
    }
}

/* --- fragments ------------------------------------------------------------------------------------ */

/* Pieces of a datagram "from-to" in octets behind the IP header; a '.' ends the last one, a '~' cuts the frame
 * by its last octet, an 'x' makes its octets others. */
static const struct {
    const char *what, *pieces;
    size_t packets, errors;
    uint64_t fragments, lost;
} fragment_rows[] = {
    {"in order", "0-800 800-1472.", 1, 0, 2, 0},
    {"out of order", "800-1472. 0-400 400-800", 1, 0, 3, 0},
    {"overlap, other octets", "0-800 x792-1472.", 1, 0, 2, 0},
    {"lost one", "0-800 808-1472.", 0, 0, 2, 2},
    {"cut one", "0-800 800-1472.~", 0, 1, 1, 1},
    {"impossible length", "0-799 800-1472.", 0, 1, 1, 1},
    {"two ends", "0-800 800-1400. 800-1472.", 1, 0, 3, 1},
};

static void test_fragments(void **state)
{
    (void)state;
    base_buf payload = {0}, udp = {0};
    put_v5(&payload, 30, 42);
    put_udp(&udp, PORT, &payload);
    assert_int_equal(udp.len, 1472);
    for (size_t i = 0; i < 2 * UNIT_N(fragment_rows); i++) {
        size_t row = i / 2;
        bool v6 = i % 2;
        bool overlap = strchr(fragment_rows[row].pieces, 'x') != NULL;
        bool v4_only = strncmp(fragment_rows[row].what, "two ends", 8) == 0;
        if (v6 && v4_only)
            continue;
        base_buf file = {0};
        put_pcap_header(&file, 1, 65535);
        for (const char *p = fragment_rows[row].pieces; *p;) {
            bool others = *p == 'x';
            char *end;
            size_t from = strtoul(p + others, &end, 10), to = strtoul(end + 1, &end, 10);
            bool more = *end != '.';
            p = end + !more;
            bool cut = *p == '~';
            p += cut;
            p += *p == ' ';
            base_buf frame = {0}, body = {0};
            base_buf_add(&body, udp.data + from, to - from);
            if (others)
                memset(body.data, 0xee, 8);
            put_hex(&frame, v6 ? ethernet6 : ethernet4);
            if (v6) {
                char extension[32];
                snprintf(extension, sizeof extension, "1100%04x 00000007", (unsigned)(from | more));
                put_ipv6(&frame, 44, extension, body.data, body.len);
            } else {
                put_ipv4(&frame, "", 7, (uint16_t)((more ? 0x2000u : 0u) | from / 8), 17, body.data, body.len);
            }
            put_frame(&file, frame.data, frame.len - cut, frame.len);
            base_buf_done(&frame);
            base_buf_done(&body);
        }
        const char *what = fragment_rows[row].what;
        struct result r = read_pcap(&file, 0, what);
        size_t packets = v6 && overlap ? 0 : fragment_rows[row].packets;
        size_t errors = v6 && overlap ? 1 : fragment_rows[row].errors;
        uint64_t lost = v6 && overlap ? 2 : fragment_rows[row].lost;
        UNIT_CHECK(r.n_packets == packets && r.n_errors == errors, "%s (v%d): %zu packets, %zu errors: %s\n",
                   what, v6 ? 6 : 4, r.n_packets, r.n_errors, r.first.msg);
        UNIT_CHECK(r.n.fragments == fragment_rows[row].fragments && r.n.fragments_lost == lost,
                   "%s (v%d): %d fragments, %d lost\n", what, v6 ? 6 : 4, (int)r.n.fragments,
                   (int)r.n.fragments_lost);
        if (packets && !v4_only) {
            assert_int_equal(r.octets.len, payload.len);
            assert_memory_equal(r.octets.data, payload.data, payload.len);
            assert_int_equal(r.packet.from.port, SENDER);
            assert_int_equal(r.packet.number, r.n.frames);
        }
        base_buf_done(&r.octets);
        base_buf_done(&file);
    }
    base_buf_done(&payload);
    base_buf_done(&udp);
}

/* A fragment header within what was put together of fragments is refused. */
static void test_fragment_in_fragment(void **state)
{
    (void)state;
    base_buf file = {0};
    put_pcap_header(&file, 101, 65535);
    for (int i = 0; i < 2; i++) {
        base_buf frame = {0};
        put_ipv6(&frame, 44, i ? "3c000020 00000007" : "3c000001 00000007",
                 i ? "01234567" : "\x2c\x02\0\0\0\0\0\0"
                                  "\0\0\0\0\0\0\0\0"
                                  "\0\0\0\0\0\0\0\0"
                                  "\x11\0\0\x01\0\0\0\x09",
                 i ? 8 : 32);
        put_frame(&file, frame.data, frame.len, frame.len);
        base_buf_done(&frame);
    }
    struct result r = read_pcap(&file, PORT, "fragment in fragment");
    assert_int_equal(r.n.reassembled, 1);
    assert_int_equal(r.n.broken, 1);
    assert_non_null(strstr(r.first.msg, "fragment inside"));
    base_buf_done(&file);
}

/* --- files ---------------------------------------------------------------------------------------- */

static void test_magics(void **state)
{
    (void)state;
    static const struct {
        uint32_t magic;
        bool little;
        int64_t fraction_ns;
    } rows[] = {
        {0xa1b2c3d4, true, 123456000}, {0xa1b2c3d4, false, 123456000}, {0xa1b23c4d, true, 123456},
        {0xa1b23c4d, false, 123456},
    };
    for (size_t i = 0; i < UNIT_N(rows); i++) {
        bool little = rows[i].little;
        base_buf file = {0}, payload = {0}, udp = {0}, frame = {0};
        put_v5(&payload, 1, 1);
        put_udp(&udp, PORT, &payload);
        put_ipv4(&frame, "", 1, 0, 17, udp.data, udp.len);
        put(&file, rows[i].magic, 4, little);
        put(&file, 2, 2, little);
        put(&file, 4, 2, little);
        put(&file, 0, 8, little);
        put(&file, 65535, 4, little);
        put(&file, 101, 4, little);
        put(&file, 0xf0000000, 4, little); /* after 2038 */
        put(&file, TIME_US, 4, little);
        put(&file, frame.len, 4, little);
        put(&file, frame.len, 4, little);
        base_buf_add(&file, frame.data, frame.len);
        struct result r = read_pcap(&file, 0, "magic");
        assert_int_equal(r.n_packets, 1);
        assert_true(r.packet.received_ns == INT64_C(0xf0000000) * 1000000000 + rows[i].fraction_ns);
        base_buf_done(&r.octets);
        base_buf_done(&file);
        base_buf_done(&payload);
        base_buf_done(&udp);
        base_buf_done(&frame);
    }
}

static void put_block(base_buf *b, uint32_t type, const base_buf *body)
{
    size_t pad = (4 - body->len % 4) % 4;
    put(b, type, 4, true);
    put(b, 12 + body->len + pad, 4, true);
    base_buf_add(b, body->data, body->len);
    put_zeros(b, pad);
    put(b, 12 + body->len + pad, 4, true);
}

/* n_links interfaces of these types, then a frame on each; offset[] gets the block of each frame. */
static void put_pcapng(base_buf *b, const uint16_t *link, uint32_t n_links, uint64_t *offset)
{
    base_buf body = {0}, payload = {0}, udp = {0}, frame = {0};
    put(&body, 0x1a2b3c4d, 4, true);
    put(&body, 1, 4, true);
    put(&body, UINT64_MAX, 8, true);
    put_block(b, 0x0a0d0d0a, &body);
    for (uint32_t i = 0; i < n_links; i++) {
        base_buf_reset(&body);
        put(&body, link[i], 4, true);
        put(&body, 65535, 4, true);
        put_hex(&body, "0900 0100 09000000 00000000"); /* if_tsresol: nanoseconds */
        put_block(b, 1, &body);
    }
    put_v5(&payload, 2, 1);
    put_udp(&udp, PORT, &payload);
    put_ipv4(&frame, "", 1, 0, 17, udp.data, udp.len);
    for (uint32_t i = 0; i < n_links; i++) {
        uint64_t ns = TIME_S * UINT64_C(1000000000) + 123456789;
        base_buf_reset(&body);
        put(&body, i, 4, true);
        put(&body, ns >> 32, 4, true);
        put(&body, ns & UINT32_MAX, 4, true);
        put(&body, frame.len, 4, true);
        put(&body, frame.len, 4, true);
        base_buf_add(&body, frame.data, frame.len);
        offset[i] = b->len;
        put_block(b, 6, &body);
    }
    base_buf_done(&body);
    base_buf_done(&payload);
    base_buf_done(&udp);
    base_buf_done(&frame);
}

static void test_pcapng(void **state)
{
    (void)state;
    const uint16_t same[] = {101, 101, 101}, differ[] = {101, 1};
    uint64_t offset[3];
    base_buf file = {0};
    put_pcapng(&file, same, 3, offset);
    struct result r = read_pcap(&file, 0, "pcapng");
    assert_int_equal(r.n_packets, 3);
    assert_int_equal(r.n_errors, 0);
    assert_true(r.packet.received_ns == TIME_S * INT64_C(1000000000) + 123456789);
    assert_int_equal(r.packet.number, 3);
    assert_int_equal(r.packet.offset, offset[2]);
    base_buf_done(&r.octets);

    base_buf_reset(&file);
    put_pcapng(&file, differ, 2, offset);
    r = read_pcap(&file, 0, "pcapng of two links");
    weir_status st = r.opened != WEIR_OK ? r.opened : r.last_error;
    UNIT_CHECK(st == WEIR_EFORMAT && strstr(r.first.msg, "type"), "two links: %d %s\n", (int)st, r.first.msg);
    base_buf_done(&r.octets);
    base_buf_done(&file);
}

/* Every cut of every kind of file, detected and forced: an end, no crash, the packets before the cut. */
static void test_cut_files(void **state)
{
    (void)state;
    const uint16_t same[] = {101, 101};
    uint64_t offset[2];
    base_buf pcap = {0}, ng = {0}, gz = {0}, bz = {0}, ipfix = {0}, hex = {0};
    put_capture(&pcap, 4);
    put_pcapng(&ng, same, 2, offset);
    gzip(&pcap, &gz);
    bzip2(&pcap, &bz);
    for (uint32_t i = 0; i < 4; i++)
        put_ipfix(&ipfix, 20, i);
    base_buf_str(&hex, "# two payloads\n0005 0001\n\n000a 0010 # short\n");
    const struct {
        const char *what;
        const base_buf *file;
        enum capture_form form;
        size_t packets;
    } rows[] = {
        {"pcap", &pcap, CAPTURE_PCAP, 4}, {"pcapng", &ng, CAPTURE_PCAP, 2},
        {"gzip", &gz, CAPTURE_PCAP, 4},   {"bzip2", &bz, CAPTURE_PCAP, 4},
        {"IPFIX", &ipfix, CAPTURE_IPFIX, 4}, {"hex", &hex, CAPTURE_HEX, 2},
        {"raw", &pcap, CAPTURE_RAW, 1},   {"IPFIX as hex", &ipfix, CAPTURE_HEX, 0},
        {"hex as pcap", &hex, CAPTURE_PCAP, 0}, {"pcap as IPFIX", &pcap, CAPTURE_IPFIX, 0},
    };
    for (size_t i = 0; i < UNIT_N(rows); i++) {
        size_t before = 0;
        for (size_t len = 0; len <= rows[i].file->len; len++) {
            struct capture_options o = {0};
            struct result r = read_memory(rows[i].file->data, len, o, CAPTURE_AUTO, rows[i].what);
            base_buf_done(&r.octets);
            o.form = rows[i].form;
            r = read_memory(rows[i].file->data, len, o, o.form, rows[i].what);
            UNIT_CHECK(r.n_packets >= before || o.form == CAPTURE_HEX, "%s: fewer packets of %zu octets\n",
                       rows[i].what, len);
            before = r.n_packets;
            base_buf_done(&r.octets);
        }
        UNIT_CHECK(before == rows[i].packets, "%s: %zu packets\n", rows[i].what, before);
    }
    /* Where a pcap was cut is told, with the frame and its offset. */
    struct result r = read_pcap(&(base_buf){.data = pcap.data, .len = pcap.len - 1}, 0, "cut pcap");
    assert_int_equal(r.n_packets, 3);
    assert_int_equal(r.n_errors, 1);
    assert_int_equal(r.last_error, WEIR_ETRUNC);
    size_t last = pcap.len - (16 + 14 + 20 + 8 + 24 + 4 * 48);
    assert_int_equal(r.first.at, last);
    char want[64];
    snprintf(want, sizeof want, "test: frame 4 at octet %zu: truncated", last);
    UNIT_CHECK(strstr(r.first.msg, want), "%s, not %s\n", r.first.msg, want);
    base_buf_done(&r.octets);
    r = read_memory(gz.data, gz.len - 1, (struct capture_options){0}, CAPTURE_PCAP, "cut gzip");
    assert_int_equal(r.n_packets, 4); /* all of them were there: only the checksum is missing */
    assert_int_equal(r.last_error, WEIR_ETRUNC);
    assert_non_null(strstr(r.first.msg, "too early"));
    base_buf_done(&r.octets);
    base_buf_done(&pcap);
    base_buf_done(&ng);
    base_buf_done(&gz);
    base_buf_done(&bz);
    base_buf_done(&ipfix);
    base_buf_done(&hex);
}

static void test_compressed(void **state)
{
    (void)state;
    base_buf plain = {0}, half = {0}, rest = {0};
    put_capture(&plain, 2000); /* several windows */
    base_buf_add(&half, plain.data, 1000);
    base_buf_add(&rest, plain.data + 1000, plain.len - 1000);
    struct result whole = read_pcap(&plain, 0, "plain");
    assert_int_equal(whole.n_packets, 2000);
    for (int form = 0; form < 2; form++) {
        void (*pack)(const base_buf *, base_buf *) = form ? bzip2 : gzip;
        for (int kind = 0; kind < 6; kind++) {
            base_buf file = {0}, twice = {0};
            if (kind == 0 || kind >= 3) {
                pack(&plain, &file);
            } else { /* two members, the second with padding behind */
                pack(&half, &file);
                pack(&rest, &file);
                put_zeros(&file, kind == 2 ? 512 : 0);
            }
            if (kind == 3)
                base_buf_str(&file, "hello");
            if (kind == 4)
                file.data[file.len / 2] ^= 0x55;
            if (kind == 5) {
                gzip(&file, &twice);
                base_buf_reset(&file);
                base_buf_add(&file, twice.data, twice.len);
            }
            struct result r =
                read_memory(file.data, file.len * 100, (struct capture_options){0}, CAPTURE_PCAP, "");
            (void)r;
            base_buf_done(&r.octets);
            base_buf_done(&file);
            base_buf_done(&twice);
        }
    }
    base_buf_done(&whole.octets);
    base_buf_done(&plain);
    base_buf_done(&half);
    base_buf_done(&rest);
}
