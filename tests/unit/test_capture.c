#include "collect/capture.h"

#include "base/buf.h"

#include <bzlib.h>
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
static void put_ipv4(base_buf *b, const char *options, uint16_t id, uint16_t fragment,
                     uint8_t proto, const char *body, size_t len)
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
static void put_ipv6(base_buf *b, uint8_t next, const char *extensions, const char *body,
                     size_t len)
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
        ok =
            n->frames == n->packets + n->other + n->cut + n->broken + n->fragments - n->reassembled;
    else if (form == CAPTURE_IPFIX)
        ok = n->frames == n->packets;
    else if (form == CAPTURE_RAW || form == CAPTURE_HEX)
        ok = n->frames == n->packets + n->broken;
    UNIT_CHECK(ok && n->fragments_lost <= n->fragments,
               "%s: the counters do not add up: frames %" PRIu64 " packets %" PRIu64
               " other %" PRIu64 " cut %" PRIu64 " broken %" PRIu64 " fragments %" PRIu64
               " lost %" PRIu64 " reassembled %" PRIu64 "\n",
               what, n->frames, n->packets, n->other, n->cut, n->broken, n->fragments,
               n->fragments_lost, n->reassembled);
}

/* Read all there is; form, when known, decides which law is checked after every call. */
static struct result drain(capture *c, weir_status opened, const weir_err *open_err,
                           size_t most_calls, enum capture_form form, const char *what)
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
            UNIT_CHECK(err.code == st && err.msg[0], "%s: status %d without a message\n", what,
                       (int)st);
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
            UNIT_CHECK(r.opened == WEIR_OK && r.n_packets == 1 && r.n_errors == 0,
                       "%s: %zu packets, %s\n", links[i].what, r.n_packets, r.first.msg);
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
                UNIT_CHECK(n->packets == complete, "%s: %zu of %zu octets: %s\n", links[i].what,
                           len, frame.len, r.first.msg);
                /* A cut protocol field can look like another protocol, never like a good packet. */
                /* On the wire, an LLC header that is no whole SNAP header is another protocol's. */
                bool llc = !snapped && strstr(links[i].what, "SNAP") && len >= 14 && len < 22;
                UNIT_CHECK(complete || (llc       ? n->other == 1
                                        : snapped ? n->cut == 1
                                                  : n->broken == 1),
                           "%s: %zu of %zu octets: cut %d broken %d other %d\n", links[i].what, len,
                           frame.len, (int)n->cut, (int)n->broken, (int)n->other);
                assert_int_equal(r.n_errors, !complete && !llc);
                if (r.n_errors) {
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
         "60000000 0014 06 40 20010db8000000000000000000000001 20010db8000000000000000000000002 "
         "0050",
         0},
        {"ICMPv6 fragment", 101,
         "60000000 0010 2c 40 20010db8000000000000000000000001 20010db8000000000000000000000002 "
         "3a000001 00000007 0102030405060708",
         0},
        {"jumbogram", 101,
         "60000000 0000 00 40 20010db8000000000000000000000001 20010db8000000000000000000000002",
         0},
        {"no next header", 101,
         "60000000 0001 3b 40 20010db8000000000000000000000001 20010db8000000000000000000000002 00",
         0},
        {"loopback of another family", 0, "07000000 0102", 0},
        {"family beyond a byte", 0, "02020000 0102", 0},
        {"MPLS pseudowire", 1, "020000000002 020000000001 8847 00065140 00000000", 0},
        {"PPP LCP", 9, "ff03 c021 01010004", 0},
        {"IP version 5", 101, "55000028", 1},
        {"IPv4 header of 16 octets", 101, "44000028 00010000 4011 0000 c0000201 c6336402", 1},
        {"IPv4 total below its header", 101,
         "46000014 00010000 4011 0000 c0000201 c6336402 00000000", 1},
        {"IPv4 total 0", 101, "45000000 00010000 4011 0000 c0000201 c6336402", 1},
        {"IPv4 total 23: UDP header does not fit", 101,
         "45000017 00010000 4011 0000 c0000201 c6336402 c35007 0700000000", 1},
        {"empty fragment", 101, "45000014 00012001 4011 0000 c0000201 c6336402", 1},
        {"fragment longer than its frame", 101,
         "45000064 00012000 4011 0000 c0000201 c6336402 c3500807", 1},
        {"extension header past the packet", 101,
         "60000000 0008 00 40 20010db8000000000000000000000001 20010db8000000000000000000000002 "
         "1105000000000000",
         1},
        {"UDP length 7", 101, "4500001c 00010000 4011 0000 c0000201 c6336402 c3500807 0007 0000",
         1},
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
            UNIT_CHECK(r.n.broken == rows[i].broken && r.n.other == !rows[i].broken &&
                           r.n_packets == 0,
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
        {"sFlow", "00000005 00000001 c0000201 00000000 00000001 00000001 00000000", 0, 6343, 0,
         false},
        {"NetFlow v5 on sFlow's port", "0005 0001" TIMES, 56, 6343, 0, true},
        {"nothing", "", 0, 9999, 0, false},
        {"an octet", "00", 0, 9999, 0, false},
        {"version only", "0005", 0, 9999, 0, false},
        {"v1", "0001 0002" TIMES, 96, 9999, 0, true},
        {"v1 one octet short", "0001 0002" TIMES, 95, 9999, 0, false},
        {"v5", "0005 0002" TIMES, 104, 9999, 0, true},
        {"v5 with padding", "0005 0002" TIMES, 107, 9999, 0, true},
        {"v5 with a record too many", "0005 0002" TIMES, 152, 9999, 0, false},
        {"v5 without records", "0005 0000" TIMES, 8, 9999, 0, false},
        {"v5 with a second of 2^32-1 ns", "0005 0001 00000001 65538000 ffffffff", 56, 9999, 0,
         false},
        {"v7", "0007 0001" TIMES, 60, 9999, 0, true},
        {"v9 template", "0009 0001 00000001 65538000 00000001 00000000 0000 0010", 12, 9999, 0,
         true},
        {"v9 options template", "0009 0001 00000001 65538000 00000001 00000000 0001 0010", 12, 9999,
         0, true},
        {"v9 data", "0009 0001 00000001 65538000 00000001 00000000 0100 0010", 12, 9999, 0, true},
        {"v9, reserved set", "0009 0001 00000001 65538000 00000001 00000000 0002 0010", 12, 9999, 0,
         false},
        {"v9, set too long", "0009 0001 00000001 65538000 00000001 00000000 0100 0011", 12, 9999, 0,
         false},
        {"v9, set of 3", "0009 0001 00000001 65538000 00000001 00000000 0100 0003", 12, 9999, 0,
         false},
        {"v9, header only", "0009 0001 00000001 65538000 00000001 00000000", 0, 9999, 0, false},
        {"IPFIX", "000a 0018 65538000 00000001 00000000 0002 0008", 4, 9999, 0, true},
        {"IPFIX, header only", "000a 0010 65538000 00000001 00000000", 0, 9999, 0, true},
        {"IPFIX, two messages", "000a 0018 65538000 00000001 00000000 0002 0008 00000000 000a", 2,
         9999, 0, true},
        {"IPFIX, octets behind", "000a 0018 65538000 00000001 00000000 0002 0008 00000000 000b", 2,
         9999, 0, false},
        {"IPFIX, an octet behind", "000a 0018 65538000 00000001 00000000 0002 0008 00000000 00", 0,
         9999, 0, false},
        {"IPFIX, length above the datagram", "000a 0019 65538000 00000001 00000000 0002 0008", 4,
         9999, 0, false},
        {"IPFIX, length 15", "000a 000f 65538000 00000001 00000000 0002 0008", 4, 9999, 0, false},
        {"IPFIX, set 1", "000a 0018 65538000 00000001 00000000 0001 0008", 4, 9999, 0, false},
        {"IPFIX, set past the message", "000a 0018 65538000 00000001 00000000 0002 0009", 4, 9999,
         0, false},
        /* DNS: a query and its answer for example.org with the ids that are versions. */
        {"DNS id 5", "0005 0100 0001 0000 0000 0000 07 6578616d706c65 03 6f7267 00 0001 0001", 0,
         53, 0, false},
        {"DNS id 9", "0009 0100 0001 0000 0000 0000 07 6578616d706c65 03 6f7267 00 0001 0001", 0,
         53, 0, false},
        {"DNS id 10", "000a 0100 0001 0000 0000 0000 07 6578616d706c65 03 6f7267 00 0001 0001", 0,
         53, 0, false},
        {"DNS answer id 9",
         "0009 8180 0001 0001 0000 0000 07 6578616d706c65 03 6f7267 00 0001 0001 c00c 0001 0001 "
         "00000e10 "
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
    {"another end: UDP's length tells", "0-800 800-1400. 800-1472.", 0, 1, 3, 1},
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
                put_ipv4(&frame, "", 7, (uint16_t)((more ? 0x2000u : 0u) | from / 8), 17, body.data,
                         body.len);
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
        UNIT_CHECK(r.n_packets == packets && r.n_errors == errors,
                   "%s (v%d): %zu packets, %zu errors: %s\n", what, v6 ? 6 : 4, r.n_packets,
                   r.n_errors, r.first.msg);
        UNIT_CHECK(r.n.fragments == fragment_rows[row].fragments && r.n.fragments_lost == lost,
                   "%s (v%d): %d fragments, %d lost\n", what, v6 ? 6 : 4, (int)r.n.fragments,
                   (int)r.n.fragments_lost);
        if (packets) {
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
                 i ? "01234567"
                   : "\x2c\x02\0\0\0\0\0\0"
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
        {0xa1b2c3d4, true, 123456000},
        {0xa1b2c3d4, false, 123456000},
        {0xa1b23c4d, true, 123456},
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
    put_hex(&frame, ethernet4);
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
    const uint16_t same[] = {1, 1, 1}, differ[] = {1, 113};
    uint64_t offset[3];
    base_buf file = {0};
    put_pcapng(&file, same, 3, offset);
    struct result r = read_pcap(&file, 0, "pcapng");
    UNIT_CHECK(r.n_packets == 3, "pcapng: %zu packets: %s\n", r.n_packets, r.first.msg);
    assert_int_equal(r.n_errors, 0);
    assert_true(r.packet.received_ns == TIME_S * INT64_C(1000000000) + 123456789);
    assert_int_equal(r.packet.number, 3);
    assert_int_equal(r.packet.offset, offset[2]);
    base_buf_done(&r.octets);

    base_buf_reset(&file);
    put_pcapng(&file, differ, 2, offset);
    r = read_pcap(&file, 0, "pcapng of two links");
    weir_status st = r.opened != WEIR_OK ? r.opened : r.last_error;
    UNIT_CHECK(st == WEIR_EFORMAT && strstr(r.first.msg, "(split it by interface)"),
               "two links: %d %s\n", (int)st, r.first.msg);
    base_buf_done(&r.octets);
    base_buf_done(&file);
}

/* Every cut of every kind of file, detected and forced: an end, no crash, the packets before the cut. */
static void test_cut_files(void **state)
{
    (void)state;
    const uint16_t same[] = {1, 1};
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
        {"pcap", &pcap, CAPTURE_PCAP, 4},       {"pcapng", &ng, CAPTURE_PCAP, 2},
        {"gzip", &gz, CAPTURE_PCAP, 4},         {"bzip2", &bz, CAPTURE_PCAP, 4},
        {"IPFIX", &ipfix, CAPTURE_IPFIX, 4},    {"hex", &hex, CAPTURE_HEX, 2},
        {"raw", &pcap, CAPTURE_RAW, 1},         {"IPFIX as hex", &ipfix, CAPTURE_HEX, 0},
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
            UNIT_CHECK(r.n_packets >= before || o.form == CAPTURE_HEX,
                       "%s: fewer packets of %zu octets\n", rows[i].what, len);
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

enum packed { ONE, TWO_MEMBERS, PADDED, TRAILING, DAMAGED, TWICE, N_PACKED };

static void test_compressed(void **state)
{
    (void)state;
    static const struct {
        bool all_packets;
        weir_status want; /* WEIR_OK: no error at all */
        const char *text;
    } rows[N_PACKED] = {
        [ONE] = {true, WEIR_OK, NULL},
        [TWO_MEMBERS] = {true, WEIR_OK, NULL},
        [PADDED] = {true, WEIR_OK, NULL},
        [TRAILING] = {true, WEIR_EFORMAT, "other octets follow"},
        [DAMAGED] = {false, WEIR_EFORMAT, NULL},
        [TWICE] = {false, WEIR_EFORMAT, "compressed twice"},
    };
    base_buf plain = {0}, half = {0}, rest = {0};
    put_capture(&plain, 2000); /* several windows */
    base_buf_add(&half, plain.data, 1000);
    base_buf_add(&rest, plain.data + 1000, plain.len - 1000);
    struct result whole = read_pcap(&plain, 0, "plain");
    assert_int_equal(whole.n_packets, 2000);
    for (size_t i = 0; i < (size_t)2 * N_PACKED; i++) {
        void (*pack)(const base_buf *, base_buf *) = i % 2 ? bzip2 : gzip;
        enum packed kind = (enum packed)(i / 2);
        base_buf file = {0}, once = {0};
        if (kind == TWO_MEMBERS || kind == PADDED) {
            pack(&half, &file);
            pack(&rest, &file);
            put_zeros(&file, kind == PADDED ? 512 : 0);
        } else {
            pack(&plain, &file);
        }
        if (kind == TRAILING)
            base_buf_str(&file, "hello");
        if (kind == DAMAGED)
            memset(file.data + file.len / 2, 0xff, 64);
        if (kind == TWICE) {
            base_buf_add(&once, file.data, file.len);
            base_buf_reset(&file);
            gzip(&once, &file);
        }
        weir_err err = {0};
        capture *c = NULL;
        weir_status st = capture_open_memory("test", file.data, file.len, NULL, &c, &err);
        struct result r = drain(c, st, &err, 3000, CAPTURE_PCAP, "compressed");
        weir_status got = r.opened != WEIR_OK ? r.opened : r.last_error;
        UNIT_CHECK(
            got == rows[kind].want && (!rows[kind].text || strstr(r.first.msg, rows[kind].text)),
            "%s, kind %d: %d %s\n", i % 2 ? "bzip2" : "gzip", (int)kind, (int)got, r.first.msg);
        assert_int_equal(r.n_errors, rows[kind].want != WEIR_OK && r.opened == WEIR_OK);
        if (rows[kind].all_packets) {
            assert_int_equal(r.octets.len, whole.octets.len);
            assert_memory_equal(r.octets.data, whole.octets.data, whole.octets.len);
            assert_int_equal(r.packet.offset, whole.packet.offset);
        }
        base_buf_done(&r.octets);
        base_buf_done(&file);
        base_buf_done(&once);
    }
    base_buf_done(&whole.octets);
    base_buf_done(&plain);
    base_buf_done(&half);
    base_buf_done(&rest);
}

/* Lengths in a pcap that no file can keep: an error, not memory. */
static void test_pcap_lengths(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        uint32_t snaplen, cap, wire;
        size_t packets, errors;
    } rows[] = {
        {"captured above the snap length", 60, 114, 114, 0, 1},
        {"captured 2^32-1", 65535, UINT32_MAX, UINT32_MAX, 0, 1},
        {"snap length and captured 2^32-1", UINT32_MAX, UINT32_MAX, UINT32_MAX, 0, 1},
        {"snap length 2^31", UINT32_C(1) << 31, 114, 114, 1, 0},
        {"snap length 0: any", 0, 114, 114, 1, 0},
        {"captured above the length on the wire", 65535, 114, 60, 1, 0},
        {"length on the wire 2^32-1", 65535, 114, UINT32_MAX, 1, 0},
    };
    for (size_t i = 0; i < UNIT_N(rows); i++) {
        base_buf file = {0}, payload = {0}, udp = {0}, frame = {0};
        put_v5(&payload, 1, 1);
        put_udp(&udp, PORT, &payload);
        put_hex(&frame, ethernet4);
        put_ipv4(&frame, "", 1, 0, 17, udp.data, udp.len);
        assert_int_equal(frame.len, 114);
        put_pcap_header(&file, DLT_EN10MB, rows[i].snaplen);
        put(&file, TIME_S, 4, true);
        put(&file, TIME_US, 4, true);
        put(&file, rows[i].cap, 4, true);
        put(&file, rows[i].wire, 4, true);
        base_buf_add(&file, frame.data, frame.len);
        struct result r = read_pcap(&file, 0, rows[i].what);
        UNIT_CHECK(r.opened == WEIR_OK && r.n_packets == rows[i].packets &&
                       r.n_errors == rows[i].errors,
                   "%s: %zu packets, %zu errors: %s\n", rows[i].what, r.n_packets, r.n_errors,
                   r.first.msg);
        base_buf_done(&r.octets);
        base_buf_done(&file);
        base_buf_done(&payload);
        base_buf_done(&udp);
        base_buf_done(&frame);
    }
}

static void test_unknown_link(void **state)
{
    (void)state;
    base_buf file = {0};
    put_pcap_header(&file, DLT_IEEE802_11_RADIO, 65535);
    struct result r = read_pcap(&file, 0, "radio");
    assert_int_equal(r.opened, WEIR_EFORMAT);
    assert_non_null(strstr(r.first.msg, "IEEE802_11_RADIO (127); only Ethernet"));
    base_buf_done(&file);
}

/* --- IPFIX files ---------------------------------------------------------------------------------- */

/* Conformance M18 (RFC 5655 section 10.3) and its relatives. A file of words: 'm' a message of 40 octets, 'n' the
 * same with a set that does not fit it, 'L' one whose length is 20 too large, 'S' one whose length is 2 too small,
 * '0' 100 zero octets, 'f' a false header (00 0A 00 20), '1' a single octet, 'c' a message cut after 30 octets,
 * 'h' a message's first 3 octets. */
static const struct {
    const char *what, *words;
    size_t packets;
    uint64_t resyncs;
    weir_status last; /* of the errors */
    uint64_t at;      /* of the first error */
    const char *text; /* in its message */
} ipfix_rows[] = {
    {"three messages", "mmm", 3, 0, WEIR_OK, 0, NULL},
    {"zeroed block in the middle", "mm0mm", 4, 1, WEIR_EFORMAT, 80,
     "100 octets skipped to the next one at 180"},
    {"two gaps: what no message follows cannot be told from chance", "mm0m0mm", 4, 1, WEIR_EFORMAT,
     80, "240 octets skipped to the next one at 320"},
    {"one octet between", "m1m", 2, 1, WEIR_EFORMAT, 40, "1 octets skipped"},
    {"false header in a gap", "m0f0m", 2, 1, WEIR_EFORMAT, 40, "204 octets skipped"},
    {"gap at the start", "0mm", 2, 1, WEIR_EFORMAT, 0, "100 octets skipped"},
    {"gap at the end", "mm0", 2, 1, WEIR_EFORMAT, 80, "in the last 100 octets"},
    {"one octet at the end", "m1", 1, 1, WEIR_ETRUNC, 40, "needs 4 octets, the file ends after 1"},
    {"cut message at the end", "mmc", 2, 1, WEIR_ETRUNC, 80,
     "needs 40 octets, the file ends after 30"},
    {"cut header at the end", "mmh", 2, 1, WEIR_ETRUNC, 80,
     "needs 4 octets, the file ends after 3"},
    {"cut message in the middle: takes the head of the next one", "mcmm", 3, 1, WEIR_EFORMAT, 80,
     "30 octets skipped to the next one at 110"},
    {"bad set, good length", "mnm", 3, 0, WEIR_OK, 0, NULL},
    {"bad set in the last message", "mn", 2, 0, WEIR_OK, 0, NULL},
    {"length too large", "mLmm", 3, 1, WEIR_EFORMAT, 40, "40 octets skipped"},
    {"length too small", "mSm", 2, 1, WEIR_EFORMAT, 40, "40 octets skipped"},
    {"nothing", "", 0, 0, WEIR_OK, 0, NULL},
    {"nothing but zeros", "000", 0, 1, WEIR_EFORMAT, 0, "in the last 300 octets"},
};

static void put_word(base_buf *b, char word, uint32_t serial)
{
    size_t at = b->len;
    switch (word) {
    case '0':
        put_zeros(b, 100);
        return;
    case '1':
        base_buf_char(b, 'x');
        return;
    case 'f':
        put_hex(b, "000a0020");
        return;
    default:
        put_ipfix(b, 20, serial);
    }
    if (word == 'n')
        b->data[at + 19] = 23;
    else if (word == 'L')
        b->data[at + 3] = 60;
    else if (word == 'S')
        b->data[at + 3] = 38;
    else if (word == 'c')
        b->len = at + 30;
    else if (word == 'h')
        b->len = at + 3;
}

static void test_ipfix_M18(void **state)
{
    (void)state;
    const weir_endpoint from = {.family = 4, .port = 4739, .addr = {198, 51, 100, 7}};
    const struct capture_options o = {.form = CAPTURE_IPFIX, .from = from};
    for (size_t i = 0; i < UNIT_N(ipfix_rows); i++) {
        base_buf file = {0};
        uint32_t serial = 0;
        for (const char *w = ipfix_rows[i].words; *w; w++)
            put_word(&file, *w, serial++);
        struct result r = read_memory(file.data, file.len, o, CAPTURE_IPFIX, ipfix_rows[i].what);
        UNIT_CHECK(r.n_packets == ipfix_rows[i].packets && r.n.resyncs == ipfix_rows[i].resyncs &&
                       r.n_errors == r.n.resyncs && r.last_error == ipfix_rows[i].last &&
                       r.first.at == ipfix_rows[i].at,
                   "%s: %zu packets, %zu errors, the first at %d: %s\n", ipfix_rows[i].what,
                   r.n_packets, r.n_errors, (int)r.first.at, r.first.msg);
        UNIT_CHECK(!ipfix_rows[i].text || strstr(r.first.msg, ipfix_rows[i].text), "%s: %s\n",
                   ipfix_rows[i].what, r.first.msg);
        if (r.n_packets) {
            assert_int_equal(r.packet.from.transport, WEIR_FILE);
            assert_int_equal(r.packet.from.port, 4739);
            assert_true(r.packet.received_ns == TIME_S * INT64_C(1000000000));
            assert_int_equal(r.packet.number, r.n_packets);
            assert_int_equal(r.octets.len, 40 * r.n_packets);
        }
        base_buf_done(&r.octets);
        base_buf_done(&file);
    }
}

/* Through many windows, with the longest messages and a gap longer than a window. */
static void test_ipfix_large(void **state)
{
    (void)state;
    base_buf file = {0};
    size_t gap_at = 0, gap = 300003;
    for (uint32_t i = 0; i < 40; i++) {
        if (i == 20) {
            gap_at = file.len;
            for (size_t k = 0; k < gap; k++) /* full of headers that lead nowhere */
                base_buf_char(&file, "\0\x0a\xff\xf1"[k % 4]);
        }
        put_ipfix(&file, i % 2 ? 65535 - 20 : i * 100, i);
    }
    for (int packed = 0; packed < 2; packed++) {
        base_buf gz = {0};
        if (packed)
            gzip(&file, &gz);
        const base_buf *in = packed ? &gz : &file;
        weir_err err = {0};
        capture *c = NULL;
        weir_status st = capture_open_memory("test", in->data, in->len, NULL, &c, &err);
        struct result r = drain(c, st, &err, 100, CAPTURE_IPFIX, "large");
        assert_int_equal(r.n_packets, 40);
        assert_int_equal(r.n_errors, 1);
        assert_int_equal(r.first.at, gap_at);
        assert_int_equal(r.octets.len, file.len - gap);
        assert_memory_equal(r.octets.data, file.data, gap_at);
        assert_memory_equal(r.octets.data + gap_at, file.data + gap_at + gap,
                            file.len - gap_at - gap);
        base_buf_done(&r.octets);
        base_buf_done(&gz);
    }
    base_buf_done(&file);
}

/* --- hex text and raw payloads -------------------------------------------------------------------- */

static void test_hex(void **state)
{
    (void)state;
    static const struct {
        const char *what, *text, *octets; /* octets of all payloads */
        size_t packets, errors;
        uint64_t at;         /* of the first error */
        const char *message; /* of it */
        uint64_t line;       /* of the last packet */
    } rows[] = {
        {"one line", "0005ff", "0005ff", 1, 0, 0, NULL, 1},
        {"with its end", "0005ff\n", "0005ff", 1, 0, 0, NULL, 1},
        {"spaces, tabs, colons, upper case, CR", " 00 05\t fF:Ee \r\n", "0005ffee", 1, 0, 0, NULL,
         1},
        {"0x", "0x0005FF 0X01\n", "0005ff01", 1, 0, 0, NULL, 1},
        {"two lines, blank lines, comments", "# one\n\n01 # a\n   \n# two\n02\n", "0102", 2, 0, 0,
         NULL, 6},
        {"a digit over", "010\n02\n", "02", 1, 1, 2, "line 1, column 3: odd number of hex digits",
         2},
        {"a digit over, comment", "0 1 0 # x\n", "", 0, 1, 8, "line 1, column 9: odd number", 0},
        {"no hex", "01\n02\n 0g\n03\n", "010203", 3, 1, 8, "line 3, column 3: not a hex digit", 4},
        {"x without 0", "01x2\n03\n", "03", 1, 1, 2, "line 1, column 3: not a hex digit", 2},
        {"a lone 0x", "0x\n", "", 0, 0, 0, NULL, 0},
        {"nothing", "", "", 0, 0, 0, NULL, 0},
        {"comment only", "# nothing", "", 0, 0, 0, NULL, 0},
        {"each line bad", "x\ny\nz", "", 0, 3, 0, "line 1, column 1", 0},
    };
    for (size_t i = 0; i < UNIT_N(rows); i++) {
        const struct capture_options o = {.form = CAPTURE_HEX, .received_ns = 77};
        struct result r =
            read_memory(rows[i].text, strlen(rows[i].text), o, CAPTURE_HEX, rows[i].what);
        base_buf want = {0};
        put_hex(&want, rows[i].octets);
        UNIT_CHECK(r.n_packets == rows[i].packets && r.n_errors == rows[i].errors &&
                       r.octets.len == want.len && r.first.at == rows[i].at,
                   "%s: %zu packets, %zu errors, the first at %d: %s\n", rows[i].what, r.n_packets,
                   r.n_errors, (int)r.first.at, r.first.msg);
        if (want.len)
            assert_memory_equal(r.octets.data, want.data, want.len);
        UNIT_CHECK(!rows[i].message || strstr(r.first.msg, rows[i].message), "%s: %s\n",
                   rows[i].what, r.first.msg);
        assert_int_equal(r.packet.number, rows[i].line);
        if (r.n_packets) {
            assert_int_equal(r.packet.received_ns, 77);
            assert_int_equal(r.packet.from.transport, WEIR_UDP);
        }
        base_buf_done(&r.octets);
        base_buf_done(&want);
    }
}

static void test_hex_longest(void **state)
{
    (void)state;
    base_buf text = {0};
    for (int line = 0; line < 3; line++) {
        for (int i = 0; i < 65535 + (line == 1); i++)
            base_buf_str(&text, "a5 ");
        base_buf_char(&text, '\n');
    }
    struct result r =
        read_memory(text.data, text.len, (struct capture_options){0}, CAPTURE_HEX, "longest");
    assert_int_equal(r.n_packets, 2);
    assert_int_equal(r.n_errors, 1);
    assert_int_equal(r.octets.len, 2 * 65535);
    assert_non_null(strstr(r.first.msg, "line 2, column 196607: more than 65535 octets"));
    base_buf_done(&r.octets);
    base_buf_done(&text);
}

/* What the first octets make of a file. */
static void test_detection(void **state)
{
    (void)state;
    base_buf v5 = {0}, ipfix = {0}, pcap = {0}, bad_length = {0};
    put_v5(&v5, 1, 1);
    put_ipfix(&ipfix, 30, 1);
    put_capture(&pcap, 1);
    put_hex(&bad_length, "000a 000f 65538000");
    const struct {
        const char *what;
        const void *data;
        size_t len;
        enum capture_form form;
    } rows[] = {
        {"pcap", pcap.data, pcap.len, CAPTURE_PCAP},
        {"IPFIX", ipfix.data, ipfix.len, CAPTURE_IPFIX},
        {"IPFIX of impossible length", bad_length.data, bad_length.len, CAPTURE_RAW},
        {"v5", v5.data, v5.len, CAPTURE_RAW},
        {"hex", "0005 00", 7, CAPTURE_HEX},
        {"comment, not in ASCII",
         "# p\xc3\xa4"
         "ckchen\n00",
         13, CAPTURE_HEX},
        {"one digit", "5", 1, CAPTURE_HEX},
        {"text", "hello", 5, CAPTURE_RAW},
        {"NUL within digits", "00\0\0", 4, CAPTURE_RAW},
        {"control character in a comment", "#\x01", 2, CAPTURE_RAW},
    };
    for (size_t i = 0; i < UNIT_N(rows); i++) {
        struct result r = read_memory(rows[i].data, rows[i].len, (struct capture_options){0},
                                      rows[i].form, rows[i].what);
        assert_int_equal(r.opened, WEIR_OK);
        /* Only RAW gives the octets as they are; only IPFIX the transport of a file; only pcap a sender. */
        bool raw = r.n_packets == 1 && r.octets.len == rows[i].len &&
                   r.packet.from.transport == WEIR_UDP &&
                   memcmp(r.octets.data, rows[i].data, rows[i].len) == 0;
        bool file = r.n_packets == 1 && r.packet.from.transport == WEIR_FILE;
        bool sender = r.n_packets == 1 && r.packet.from.family == 4;
        enum capture_form got = raw      ? CAPTURE_RAW
                                : file   ? CAPTURE_IPFIX
                                : sender ? CAPTURE_PCAP
                                         : CAPTURE_HEX;
        UNIT_CHECK(got == rows[i].form, "%s: form %d\n", rows[i].what, (int)got);
        base_buf_done(&r.octets);
    }
    base_buf_done(&v5);
    base_buf_done(&ipfix);
    base_buf_done(&pcap);
    base_buf_done(&bad_length);
}

static void test_raw(void **state)
{
    (void)state;
    static uint8_t octets[70000];
    memset(octets, 0xfe, sizeof octets);
    const struct {
        size_t len;
        weir_status want;
        const char *text;
    } rows[] = {{0, WEIR_ETRUNC, "empty"},
                {1, WEIR_OK, NULL},
                {65535, WEIR_OK, NULL},
                {65536, WEIR_EFORMAT, "more than the 65535 octets"},
                {70000, WEIR_EFORMAT, "nor is it pcap, pcapng, IPFIX or hex)"}};
    for (size_t i = 0; i < UNIT_N(rows); i++) {
        struct result r =
            read_memory(octets, rows[i].len, (struct capture_options){0}, CAPTURE_RAW, "raw");
        assert_int_equal(r.n_packets, rows[i].want == WEIR_OK);
        assert_int_equal(r.last_error, rows[i].want);
        assert_int_equal(r.octets.len, rows[i].want == WEIR_OK ? rows[i].len : 0);
        UNIT_CHECK(!rows[i].text || strstr(r.first.msg, rows[i].text), "%s\n", r.first.msg);
        base_buf_done(&r.octets);
    }
}

/* The arrival of payloads without one. */
static void test_times(void **state)
{
    (void)state;
    static const struct {
        const char *hex;
        int64_t option_ns, want_ns;
    } rows[] = {
        {"0001 0001 00000001 65538000 00001b58", 0, INT64_C(0x65538000) * 1000000000 + 7000},
        {"0005 0001 00000001 65538000 00001b58", 0, INT64_C(0x65538000) * 1000000000 + 7000},
        {"0007 0001 00000001 f0000000 ffffffff", 0, INT64_C(0xf0000000) * 1000000000},
        {"0009 0001 00000001 65538000 00001b58", 0, INT64_C(0x65538000) * 1000000000},
        {"000a 0001 65538000 00001b58", 0, INT64_C(0x65538000) * 1000000000},
        {"0005 0001 00000001 65538000 00001b58", 5, 5},
        {"0005 0001 00000001 65538000 00001b", 0, 0},
        {"000a 0010 655380", 0, 0},
        {"0006 0001 00000001 65538000 00001b58", 0, 0},
        {"00", 0, 0},
    };
    for (size_t i = 0; i < UNIT_N(rows); i++) {
        const struct capture_options o = {.form = CAPTURE_HEX, .received_ns = rows[i].option_ns};
        struct result r =
            read_memory(rows[i].hex, strlen(rows[i].hex), o, CAPTURE_HEX, rows[i].hex);
        assert_int_equal(r.n_packets, 1);
        UNIT_CHECK(r.packet.received_ns == rows[i].want_ns, "%s: %" PRId64 "\n", rows[i].hex,
                   r.packet.received_ns);
        base_buf_done(&r.octets);
    }
}

/* --- opening -------------------------------------------------------------------------------------- */

static void test_open_errors(void **state)
{
    (void)state;
    weir_err err = {0};
    capture *c = NULL;
    assert_int_equal(capture_open("/nonexistent/x.pcap", NULL, &c, &err), WEIR_EIO);
    assert_string_equal(err.msg, "cannot open /nonexistent/x.pcap: No such file or directory");
    assert_int_equal(capture_open("/", NULL, &c, &err), WEIR_EIO);
    assert_string_equal(err.msg, "/: cannot read: Is a directory");
    const struct capture_options pcap = {.form = CAPTURE_PCAP},
                                 odd = {.form = (enum capture_form)9};
    assert_int_equal(capture_open("/dev/null", &pcap, &c, &err), WEIR_ETRUNC);
    assert_int_equal(capture_open("/dev/null", &odd, &c, &err), WEIR_EINVAL);
    assert_int_equal(capture_open_memory("x", "not a capture at all ......", 27, &pcap, &c, &err),
                     WEIR_EFORMAT);
    char name[300];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    assert_int_equal(capture_open(name, NULL, &c, &err), WEIR_EIO);
    assert_non_null(strstr(err.msg, "cannot open ...nnn"));
    assert_non_null(strstr(err.msg, "File name too long"));
    assert_null(c);
    capture_close(NULL);
}

/* stdin, a pipe: no seeking, and the rest of it stays the test's. */
static void test_stdin(void **state)
{
    (void)state;
    base_buf plain = {0}, gz = {0};
    put_capture(&plain, 40); /* fits in a pipe */
    gzip(&plain, &gz);
    for (int packed = 0; packed < 2; packed++) {
        const base_buf *in = packed ? &gz : &plain;
        int ends[2], saved = dup(STDIN_FILENO);
        assert_int_equal(pipe(ends), 0);
        assert_int_equal(write(ends[1], in->data, in->len), in->len);
        close(ends[1]);
        assert_int_equal(dup2(ends[0], STDIN_FILENO), STDIN_FILENO);
        close(ends[0]);
        weir_err err = {0};
        capture *c = NULL;
        weir_status st = capture_open("-", NULL, &c, &err);
        struct result r = drain(c, st, &err, 41, CAPTURE_PCAP, "stdin");
        assert_int_equal(r.n_packets, 40);
        assert_int_equal(r.n_errors, 0);
        char more;
        assert_int_equal(read(STDIN_FILENO, &more, 1), 0); /* still open, at its end */
        base_buf_done(&r.octets);
        if (saved >= 0) {
            dup2(saved, STDIN_FILENO);
            close(saved);
        }
    }
    base_buf_done(&plain);
    base_buf_done(&gz);
}

/* --- hostile -------------------------------------------------------------------------------------- */

static uint64_t next_random(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x;
}

/* Damage every kind of file at random: always an end, and counters that add up. */
static void test_damaged(void **state)
{
    (void)state;
    const uint16_t same[] = {1, 1};
    uint64_t offset[2], x = 88172645463325252u;
    base_buf files[5] = {0}, payload = {0}, udp = {0}, fragment = {0};
    put_capture(&files[0], 3);
    put_pcapng(&files[1], same, 2, offset);
    for (uint32_t i = 0; i < 5; i++)
        put_ipfix(&files[2], 20, i);
    put_pcap_header(&files[3], 101, 65535);
    put_v5(&payload, 2, 1);
    put_udp(&udp, PORT, &payload);
    for (size_t at = 0; at < udp.len; at += 64) {
        base_buf_reset(&fragment);
        size_t n = udp.len - at < 64 ? udp.len - at : 64;
        bool more = at + n < udp.len;
        if (at % 128 == 0)
            put_ipv4(&fragment, "", 7, (uint16_t)((more ? 0x2000u : 0u) | at / 8), 17,
                     udp.data + at, n);
        else
            put_ipv6(&fragment, 0, "2c00050200000100 110000010000000a", udp.data + at, n);
        put_frame(&files[3], fragment.data, fragment.len, fragment.len);
    }
    gzip(&files[0], &files[4]);
    for (int i = 0; i < 30000; i++) {
        const base_buf *file = &files[i % 5];
        base_buf hit = {0};
        base_buf_add(&hit, file->data, file->len);
        for (uint64_t n = next_random(&x) % 8 + 1; n; n--) {
            uint64_t r = next_random(&x);
            static const uint8_t edges[] = {0, 1, 0x7f, 0x80, 0xff};
            hit.data[(r >> 16) % hit.len] = (char)(r & 8 ? edges[r % 5] : r >> 8);
        }
        enum capture_form form = i % 5 == 2 ? CAPTURE_IPFIX : CAPTURE_PCAP;
        const struct capture_options o = {.form = form, .port = i % 3 ? 0 : PORT};
        weir_err err = {0};
        capture *c = NULL;
        weir_status st = capture_open_memory("test", hit.data, hit.len, &o, &c, &err);
        struct result r = drain(c, st, &err, hit.len + 100000, form, "damaged");
        base_buf_done(&r.octets);
        base_buf_done(&hit);
    }
    for (size_t i = 0; i < UNIT_N(files); i++)
        base_buf_done(&files[i]);
    base_buf_done(&payload);
    base_buf_done(&udp);
    base_buf_done(&fragment);
}

/* A flood of first fragments, each of another datagram: the counters tell what was lost. */
static void test_fragment_flood(void **state)
{
    (void)state;
    base_buf file = {0};
    put_pcap_header(&file, 101, 65535);
    for (unsigned i = 0; i < 3000; i++) {
        base_buf frame = {0};
        put_ipv4(&frame, "", (uint16_t)i, 0x2000 | 100, 17, "01234567", 8);
        put_frame(&file, frame.data, frame.len, frame.len);
        base_buf_done(&frame);
    }
    struct result r = read_pcap(&file, 0, "flood");
    assert_int_equal(r.n_packets, 0);
    assert_int_equal(r.n.fragments, 3000);
    assert_int_equal(r.n.fragments_lost, 3000);
    base_buf_done(&file);
}

/* --- other people's captures ---------------------------------------------------------------------- */

static bool decodable(const json_t *versions)
{
    size_t i;
    json_t *v;
    json_array_foreach(versions, i, v)
    {
        if (strcmp(json_string_value(v), "sflow5") == 0 ||
            strcmp(json_string_value(v), "65535") == 0)
            return false;
    }
    return true;
}

/* Each case's capture holds, without a word about ports, the packets that its counts tell of. */
static void test_corpus(void **state)
{
    (void)state;
    const char *above = getenv("WEIR_ROOT"), *corpus = getenv("WEIR_CORPUS");
    char root[2000], path[4096];
    if (corpus)
        snprintf(root, sizeof root, "%s", corpus);
    else
        snprintf(root, sizeof root, "%s/../shared/corpus", above ? above : ".");
    snprintf(path, sizeof path, "%s/cases.jsonl", root);
    FILE *f = fopen(path, "r");
    if (!f) {
        print_message("skipped: no corpus at %s (set WEIR_CORPUS to its folder)\n", path);
        skip();
    }
    char *line = NULL;
    size_t cap = 0, n_cases = 0;
    while (getline(&line, &cap, f) > 0) {
        json_t *row = json_loads(line, 0, NULL);
        assert_non_null(row);
        const char *name = json_string_value(json_object_get(row, "case"));
        const char *file = json_string_value(json_object_get(row, "pcap"));
        json_int_t want =
            json_integer_value(json_object_get(json_object_get(row, "counts"), "packets"));
        if (file && decodable(json_object_get(row, "versions"))) {
            snprintf(path, sizeof path, "%s/%s", root, file);
            weir_err err = {0};
            capture *c = NULL;
            weir_status st = capture_open(path, NULL, &c, &err);
            struct result r = drain(c, st, &err, 100000, CAPTURE_PCAP, name);
            UNIT_CHECK(r.opened == WEIR_OK && (json_int_t)r.n_packets == want && r.n_errors == 0,
                       "%s: %zu packets, not %d; %zu errors: %s\n", name, r.n_packets, (int)want,
                       r.n_errors, r.first.msg);
            base_buf_done(&r.octets);
            n_cases++;
        }
        json_decref(row);
    }
    free(line);
    fclose(f);
    assert_in_range(n_cases, 100, 100000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_links),
        cmocka_unit_test(test_other),
        cmocka_unit_test(test_ports),
        cmocka_unit_test(test_fragments),
        cmocka_unit_test(test_fragment_in_fragment),
        cmocka_unit_test(test_magics),
        cmocka_unit_test(test_pcapng),
        cmocka_unit_test(test_cut_files),
        cmocka_unit_test(test_compressed),
        cmocka_unit_test(test_pcap_lengths),
        cmocka_unit_test(test_unknown_link),
        cmocka_unit_test(test_ipfix_M18),
        cmocka_unit_test(test_ipfix_large),
        cmocka_unit_test(test_hex),
        cmocka_unit_test(test_hex_longest),
        cmocka_unit_test(test_detection),
        cmocka_unit_test(test_raw),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_open_errors),
        cmocka_unit_test(test_stdin),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_fragment_flood),
        cmocka_unit_test(test_corpus),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
