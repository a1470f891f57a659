/* Messages of every format: octets and lines written down by hand, random blocks against a reader of their own, texts that
 * are not what their column says. */
#include "query/format.h"
#include "ship/encode.h"
#include "ship/encode_in.h"

#include <arpa/inet.h>
#include <jansson.h>
#include <string.h>

#include "heap.h"
#include "ship_block.h"
#include "unit.h"

#define RECEIVED INT64_C(1700000000000000)
#define FIRST (RECEIVED - 10000000)
#define LAST (RECEIVED - 876544)

/* --- helpers ------------------------------------------------------------------------------------ */

static ship_encoder *make(const char *format, bool delimited, const struct query_field *extras,
                          size_t n_extras)
{
    ship_encoder *e;
    weir_err err = {0};
    const struct ship_encoder_options o = {
        .format = format, .delimited = delimited, .extras = extras, .n_extras = n_extras};
    UNIT_CHECK(ship_encoder_new(&o, &e, &err) == WEIR_OK, "%s: %s", format, err.msg);
    return e;
}

static void block_for(struct ship_block *b, const ship_encoder *e, size_t n)
{
    const struct query_field *fields;
    size_t n_fields;
    ship_encoder_fields(e, &fields, &n_fields);
    ship_block_init(b, fields, n_fields, n);
}

struct messages {
    base_buf out;
    size_t ends[1024];
};

static void encode(ship_encoder *e, struct ship_block *b, size_t from, size_t to,
                   struct messages *m)
{
    weir_err err = {0};
    *m = (struct messages){.ends = {0}};
    weir_status s = ship_encoder_rows(e, ship_block_get(b), from, to, &m->out, m->ends, &err);
    UNIT_CHECK(s == WEIR_OK, "%s", err.msg);
    UNIT_CHECK(from == to || m->ends[to - from - 1] == m->out.len, "the last message ends early");
}

/* A TCP flow with nearly everything that FlowMessage has a field for. */
static void fill_tcp(struct ship_block *b, size_t row)
{
    static const uint64_t labels[] = {16, 300000};
    ship_block_num(b, "protocol_version", row, 9);
    ship_block_real(b, "sampling_rate", row, 99.6);
    ship_block_num(b, "sequence", row, 300);
    ship_block_text(b, "src_addr", row, "192.0.2.1");
    ship_block_text(b, "dst_addr", row, "198.51.100.7");
    ship_block_num(b, "bytes", row, 1500);
    ship_block_num(b, "packets", row, 3);
    ship_block_text(b, "exporter", row, "10.0.0.1");
    ship_block_num(b, "exporter_port", row, 2055);
    ship_block_text(b, "next_hop", row, "10.0.0.2");
    ship_block_num(b, "src_as", row, 64496);
    ship_block_num(b, "dst_as", row, 4200000001);
    ship_block_num(b, "src_mask", row, 24);
    ship_block_num(b, "dst_mask", row, 0);
    ship_block_num(b, "in_if", row, 10);
    ship_block_num(b, "out_if", row, 20);
    ship_block_num(b, "proto", row, 6);
    ship_block_num(b, "src_port", row, 443);
    ship_block_num(b, "dst_port", row, 51000);
    ship_block_num(b, "tos", row, 184);
    ship_block_num(b, "tcp_flags", row, 27);
    ship_block_text(b, "src_mac", row, "00:00:5e:00:53:01");
    ship_block_num(b, "vlan", row, 100);
    ship_block_num(b, "fragment_flags", row, 0x40);
    ship_block_num(b, "domain", row, 7);
    ship_block_num(b, "observation_point", row, UINT64_C(1) << 32);
    ship_block_list(b, "mpls_labels", row, labels, 2);
    ship_block_text(b, "dst_as_path", row, "64496 1.15");
    ship_block_text(b, "user_name", row, "ann \"A\"");
    ship_block_text(b, "app_name", row, "HTTP\n\xc3\x89");
    ship_block_time(b, "received", row, RECEIVED);
    ship_block_time(b, "first", row, FIRST);
    ship_block_time(b, "last", row, LAST);
}

/* An ICMPv6 flow without times of its own, of an exporter with an IPv6 address. */
static void fill_icmp(struct ship_block *b, size_t row)
{
    ship_block_num(b, "protocol_version", row, 10);
    ship_block_text(b, "src_addr", row, "fe80::1");
    ship_block_text(b, "dst_addr", row, "::ffff:192.0.2.9");
    ship_block_text(b, "exporter", row, "2001:db8::1");
    ship_block_num(b, "exporter_port", row, 4739);
    ship_block_num(b, "proto", row, 58);
    ship_block_num(b, "src_port", row, 0);
    ship_block_num(b, "dst_port", row, 135 << 8);
    ship_block_num(b, "icmp_type", row, 135);
    ship_block_num(b, "icmp_code", row, 0);
    ship_block_num(b, "bytes_out", row, 72);
    ship_block_text(b, "out_src_mac", row, "02:00:00:00:00:ff");
    ship_block_list(b, "mpls_labels", row, NULL, 0);
    ship_block_time(b, "received", row, RECEIVED);
}

/* --- flowmessage -------------------------------------------------------------------------------- */

/* clang-format off */
static const char golden_tcp[] =
    "08 03  18 64  20 ac02"                          /* type NETFLOW_V9, sampling_rate 100, sequence_num 300 */
    "32 04 c0000201  3a 04 c6336407"                 /* src_addr, dst_addr */
    "48 dc0b  50 03"                                 /* bytes, packets */
    "5a 04 0a000001  62 04 0a000002"                 /* sampler_address, next_hop */
    "70 f0f703  78 81d4dbd20f"                       /* src_as, dst_as */
    "8001 18  9001 0a  9801 14"                      /* src_net, in_if, out_if */
    "a001 06  a801 bb03  b001 b88e03"                /* proto, src_port, dst_port */
    "b801 b801  d001 1b"                             /* ip_tos, tcp_flags */
    "d801 81a681f005"                                /* src_mac */
    "e801 64  f001 8010  8802 64  b002 02"           /* vlan_id, etype, src_vlan, ip_flags */
    "b004 07"                                        /* observation_domain_id; the point has more than 32 bits */
    "8a05 04 10e0a712"                               /* mpls_label */
    "b206 06 f0f7038f8004"                           /* as_path 64496, 65551 */
    "f006 8080a8b1e39fe7cb17"                        /* time_received_ns */
    "f806 80b8f890be9fe7cb17"                        /* time_flow_start_ns */
    "8007 8080ac8fe09fe7cb17";                       /* time_flow_end_ns */
static const char golden_icmp[] =
    "08 04"
    "32 10 fe800000000000000000000000000001  3a 10 00000000000000000000ffffc0000209"
    "48 48"                                          /* bytes, of bytes_out */
    "5a 10 20010db8000000000000000000000001"
    "a001 3a  b001 808e02"                           /* dst_port 34560 */
    "d801 ff8180808040"                              /* src_mac, of out_src_mac */
    "f001 dd8d02  f801 8701"                         /* etype 0x86dd, icmp_type 135 */
    "f006 8080a8b1e39fe7cb17  f806 8080a8b1e39fe7cb17  8007 8080a8b1e39fe7cb17";
/* clang-format on */

static void same_octets(const char *what, const base_buf *out, size_t from, size_t to,
                        const uint8_t *want, size_t n)
{
    UNIT_CHECK(to - from == n, "%s: %zu octets, not %zu", what, to - from, n);
    for (size_t i = 0; i < n; i++)
        UNIT_CHECK((uint8_t)out->data[from + i] == want[i], "%s: octet %zu is %02x, not %02x", what,
                   i, (uint8_t)out->data[from + i], want[i]);
}

static void flowmessage_octets(void **state)
{
    (void)state;
    uint8_t tcp[512], icmp[512];
    size_t n_tcp = unhex(golden_tcp, tcp, sizeof tcp),
           n_icmp = unhex(golden_icmp, icmp, sizeof icmp);
    ship_encoder *e = make("flowmessage", false, NULL, 0);
    struct ship_block b;
    struct messages m;
    block_for(&b, e, 3);
    fill_tcp(&b, 0);
    fill_icmp(&b, 1);
    encode(e, &b, 0, 3, &m);
    same_octets("tcp", &m.out, 0, m.ends[0], tcp, n_tcp);
    same_octets("icmp", &m.out, m.ends[0], m.ends[1], icmp, n_icmp);
    assert_int_equal(m.ends[2], m.ends[1]); /* nothing is known: an empty message */
    base_buf_done(&m.out);
    /* The rows behind the first: dictionaries are larger than what is asked for. */
    encode(e, &b, 1, 2, &m);
    same_octets("icmp alone", &m.out, 0, m.ends[0], icmp, n_icmp);
    base_buf_done(&m.out);
    ship_block_done(&b);
    ship_encoder_free(e);

    e = make("flowmessage", true, NULL, 0);
    block_for(&b, e, 3);
    fill_tcp(&b, 0);
    ship_block_num(&b, "proto", 1, 6);
    encode(e, &b, 0, 3, &m);
    assert_true(n_tcp > 127 && n_tcp < 256);
    assert_int_equal((uint8_t)m.out.data[0],
                     n_tcp); /* with the bit of a second octet, as it is above 127 */
    assert_int_equal((uint8_t)m.out.data[1], 1);
    same_octets("delimited", &m.out, 2, m.ends[0], tcp, n_tcp);
    same_octets("short", &m.out, m.ends[0], m.ends[1], (const uint8_t[]){3, 0xa0, 1, 6}, 4);
    same_octets("empty", &m.out, m.ends[1], m.ends[2], (const uint8_t[]){0}, 1);
    base_buf_done(&m.out);
    ship_block_done(&b);
    ship_encoder_free(e);
}

/* Versions, rates, times and fallbacks one by one: a number field and what must stand in it. */
static void flowmessage_values(void **state)
{
    (void)state;
    static const struct {
        const char *what, *column;
        uint8_t kind;
        double real;
        uint64_t num;
        const char *hex;
    } cases[] = {
        {"v1", "protocol_version", QUERY_U64, 0, 1, "0802"},
        {"v5", "protocol_version", QUERY_U64, 0, 5, "0802"},
        {"v7", "protocol_version", QUERY_U64, 0, 7, "0802"},
        {"v8, which nobody exports", "protocol_version", QUERY_U64, 0, 8, ""},
        {"rate 1", "sampling_rate", QUERY_F64, 1, 0, "1801"},
        {"rate 0.4", "sampling_rate", QUERY_F64, 0.4, 0, ""},
        {"rate 2.5", "sampling_rate", QUERY_F64, 2.5, 0, "1803"},
        {"no finite rate", "sampling_rate", QUERY_F64, 1.0 / 0.0, 0, ""},
        {"no rate", "sampling_rate", QUERY_F64, 0.0 / 0.0, 0, ""},
        {"negative rate", "sampling_rate", QUERY_F64, -5, 0, ""},
        {"rate beyond integers", "sampling_rate", QUERY_F64, 1e300, 0, ""},
        {"1970", "received", QUERY_TIME, 0, 0, ""},
        {"1969", "received", QUERY_TIME, 0, (uint64_t)-5, ""},
        {"292 years on", "received", QUERY_TIME, 0, INT64_MAX, ""},
        {"a microsecond", "first", QUERY_TIME, 0, 1, "f806e807"},
        {"point of 32 bits", "observation_point", QUERY_U64, 0, 0xffffffff, "b804ffffffff0f"},
        {"IPv4 by its version", "ip_version", QUERY_U64, 0, 4, "f0018010"},
        {"IPv6 by its version", "ip_version", QUERY_U64, 0, 6, "f001dd8d02"},
        {"no such version", "ip_version", QUERY_U64, 0, 9, ""},
        {"ARP", "ethertype", QUERY_U64, 0, 0x806, "f0018610"},
        {"packets out", "packets_out", QUERY_U64, 0, 5, "5005"},
        {"64 bits", "bytes", QUERY_U64, 0, UINT64_MAX, "48ffffffffffffffffff01"},
        {"least TTL", "ttl_min", QUERY_U64, 0, 60, "c8013c"},
    };
    ship_encoder *e = make("flowmessage", false, NULL, 0);
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        struct ship_block b;
        struct messages m;
        uint8_t want[64];
        size_t n = unhex(cases[i].hex, want, sizeof want);
        block_for(&b, e, 1);
        if (cases[i].kind == QUERY_F64)
            ship_block_real(&b, cases[i].column, 0, cases[i].real);
        else
            ship_block_value(&b, cases[i].column, 0, cases[i].kind, cases[i].num);
        encode(e, &b, 0, 1, &m);
        same_octets(cases[i].what, &m.out, 0, m.ends[0], want, n);
        base_buf_done(&m.out);
        ship_block_done(&b);
    }
    ship_encoder_free(e);
}

/* Paths of AS numbers: octets of field 102, or nothing. */
static void as_paths(void **state)
{
    (void)state;
    static const struct {
        const char *text, *hex;
    } cases[] = {
        {"1", "b2060101"},
        {"64496 64497", "b20606f0f703f1f703"},
        {" 1,2__3 ", "b20603010203"},
        {"4294967295", "b20605ffffffff0f"},
        {"65535.65535", "b20605ffffffff0f"},
        {"4294967296", ""},
        {"65536.1", ""},
        {"1.65536", ""},
        {"99999999999999999999", ""},
        {"1 {2,3} 4", ""},
        {"i", ""},
        {"1.", ""},
        {".1", ""},
        {"1.2.3", ""},
        {"-1", ""},
        {"", ""},
        {"   ", ""},
    };
    ship_encoder *e = make("flowmessage", false, NULL, 0);
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        struct ship_block b;
        struct messages m;
        uint8_t want[64];
        size_t n = unhex(cases[i].hex, want, sizeof want);
        block_for(&b, e, 1);
        ship_block_text(&b, "dst_as_path", 0, cases[i].text);
        encode(e, &b, 0, 1, &m);
        same_octets(cases[i].text, &m.out, 0, m.ends[0], want, n);
        base_buf_done(&m.out);
        ship_block_done(&b);
    }
    ship_encoder_free(e);
}

/* Lengths whose varint has one, two and three octets, of the list and of the message. */
static void long_messages(void **state)
{
    (void)state;
    static const size_t sizes[] = {1,     100,   122,   123,   124,   125,   126,   127,   128,
                                   16000, 16376, 16377, 16378, 16379, 16380, 16381, 16384, 40000};
    ship_encoder *e = make("flowmessage", true, NULL, 0);
    uint64_t *labels = calloc(40000, sizeof *labels);
    assert_non_null(labels);
    for (size_t k = 0; k < UNIT_N(sizes); k++) {
        struct ship_block b;
        struct messages m;
        block_for(&b, e, 2);
        for (size_t i = 0; i < sizes[k]; i++)
            labels[i] = i & 127;
        ship_block_list(&b, "mpls_labels", 0, labels, sizes[k]);
        ship_block_num(&b, "proto", 0, 6);
        ship_block_num(&b, "proto", 1, 17);
        encode(e, &b, 0, 2, &m);
        const uint8_t *p = (const uint8_t *)m.out.data;
        size_t len = 0, at = 0, shift = 0;
        do {
            len |= (size_t)(p[at] & 127) << shift;
            shift += 7;
        } while (p[at++] & 128);
        assert_int_equal(at + len, m.ends[0]);
        size_t head = sizes[k] < 128 ? 1 : sizes[k] < 16384 ? 2 : 3;
        assert_int_equal(len, 3 + 2 + head + sizes[k]); /* proto; tag and length; items */
        for (size_t i = 0; i < sizes[k]; i++)
            assert_int_equal(p[m.ends[0] - sizes[k] + i], i & 127);
        same_octets("the next row", &m.out, m.ends[0], m.ends[1], (const uint8_t[]){3, 0xa0, 1, 17},
                    4);
        base_buf_done(&m.out);
        ship_block_done(&b);
    }
    free(labels);
    ship_encoder_free(e);
}

/* --- addresses ---------------------------------------------------------------------------------- */

static uint64_t seed = 1;

static uint32_t any(uint32_t below)
{
    seed = seed * 6364136223846793005U + 1442695040888963407U;
    return (uint32_t)(seed >> 33) % below;
}

static void address_texts(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "0.0.0.0",
        "255.255.255.255",
        "256.1.1.1",
        "1.2.3",
        "1.2.3.4.5",
        "01.2.3.4",
        "1..2.3",
        "1.2.3.",
        ".1.2.3",
        "1.2.3.4/24",
        "1.2.3.4 ",
        "",
        ":",
        "::",
        ":::",
        "1::",
        "::1",
        "1::2::3",
        "1:2:3:4:5:6:7:8",
        "1:2:3:4:5:6:7",
        "1:2:3:4:5:6:7::",
        "::2:3:4:5:6:7:8",
        "1:2:3:4::5:6:7:8",
        "1:2:3:4:5:6:7:8:9",
        "1:2:3:4:5:6:7:",
        ":1:2:3:4:5:6:7",
        "12345::",
        "g::",
        "fe80::1%eth0",
        "::ffff:192.0.2.1",
        "::192.0.2.1",
        "1:2:3:4:5:6:192.0.2.1",
        "1:2:3:4:5:6:7:192.0.2.1",
        "::1.2.3.4:5",
        "::1.2.3",
        "1.2.3.4::",
        "2001:DB8::A",
        "::ffff:1.2.3.256",
        "0000:0000:0000:0000:0000:0000:0000:0000",
        "0000:0000:0000:0000:0000:ffff:255.255.255.255",
        "nonsense",
        "1:2:3:4:5:6:7:8::",
        "::1:2:3:4:5:6:7:8",
        "1:",
        "1:2",
        "::00001",
    };
    for (uint32_t round = 0; round < 200000; round++) {
        char text[64];
        const char *from = texts[any((uint32_t)UNIT_N(texts))];
        (void)snprintf(text, sizeof text, "%s", from);
        size_t len = strlen(text);
        for (uint32_t k = round < 1000 ? 0 : any(3); k > 0 && len; k--)
            text[any((uint32_t)len)] = "0123456789abcdefF:.%g/ "[any(23)];
        /* Where the octets end a reader that goes on is found out. */
        char *copy = malloc(len ? len : 1);
        assert_non_null(copy);
        memcpy(copy, text, len);
        uint8_t mine[16], theirs[16];
        unsigned n = ship_addr_octets(copy, len, mine);
        unsigned want = inet_pton(AF_INET, text, theirs) == 1    ? 4
                        : inet_pton(AF_INET6, text, theirs) == 1 ? 16
                                                                 : 0;
        UNIT_CHECK(n == want, "\"%s\": %u octets, not %u", text, n, want);
        UNIT_CHECK(n == 0 || memcmp(mine, theirs, n) == 0, "\"%s\": another address", text);
        free(copy);
    }
    static const struct {
        const char *text;
        bool ok;
    } macs[] = {
        {"00:00:5e:00:53:01", true},   {"00-00-5E-00-53-AF", true},
        {"00:00:5e:00:53", false},     {"00:00:5e:00:53:0g", false},
        {"00005e005301", false},       {"00.00.5e.00.53.01", false},
        {"00:00:5e:00:53:01:", false}, {"", false},
    };
    for (size_t i = 0; i < UNIT_N(macs); i++) {
        uint8_t o[6];
        UNIT_CHECK(ship_mac_octets(macs[i].text, strlen(macs[i].text), o) == macs[i].ok, "%s",
                   macs[i].text);
    }
}

/* Texts that are no address, or no MAC, are not sent; the rest of the row is. */
static void wrong_texts(void **state)
{
    (void)state;
    static const char *const columns[] = {"src_addr",     "dst_addr",     "exporter",
                                          "next_hop",     "bgp_next_hop", "mpls_top_addr",
                                          "nat_src_addr", "src_mac",      "dst_mac"};
    for (const struct ship_format *f = ship_formats(); f->name; f++) {
        if (strcmp(f->name, "json") == 0) /* shows whatever is there */
            continue;
        ship_encoder *e = make(f->name, false, NULL, 0);
        struct ship_block b, none;
        struct messages m, want;
        block_for(&b, e, 1);
        block_for(&none, e, 1);
        for (size_t i = 0; i < UNIT_N(columns); i++)
            ship_block_text(&b, columns[i], 0, i % 2 ? "\"nonsense\"" : "");
        ship_block_num(&b, "src_mask", 0, 24);
        ship_block_num(&none, "src_mask", 0, 24);
        encode(e, &b, 0, 1, &m);
        encode(e, &none, 0, 1, &want);
        UNIT_CHECK(m.out.len == want.out.len &&
                       (!m.out.len || memcmp(m.out.data, want.out.data, m.out.len) == 0),
                   "%s: %.*s", f->name, (int)m.out.len, m.out.data);
        base_buf_done(&m.out);
        base_buf_done(&want.out);
        ship_block_done(&b);
        ship_block_done(&none);
        ship_encoder_free(e);
    }
}

/* --- JSON --------------------------------------------------------------------------------------- */

static void same_line(const char *what, const struct messages *m, size_t row, const char *want)
{
    size_t from = row ? m->ends[row - 1] : 0, len = m->ends[row] - from;
    UNIT_CHECK(len == strlen(want) && memcmp(m->out.data + from, want, len) == 0,
               "%s: row %zu:\n%.*s\n%s", what, row, (int)len, m->out.data + from, want);
}

/* clang-format off */
static const char goflow2_tcp[] =
    "{\"type\":\"NETFLOW_V9\",\"time_received_ns\":1700000000000000000,\"sequence_num\":300,\"sampling_rate\":100,"
    "\"sampler_address\":\"10.0.0.1\",\"time_flow_start_ns\":1699999990000000000,\"time_flow_end_ns\":1699999999123456000,"
    "\"bytes\":1500,\"packets\":3,\"src_addr\":\"192.0.2.1\",\"dst_addr\":\"198.51.100.7\",\"etype\":\"IPv4\",\"proto\":\"TCP\","
    "\"src_port\":443,\"dst_port\":51000,\"in_if\":10,\"out_if\":20,\"src_mac\":\"00:00:5e:00:53:01\",\"src_vlan\":100,"
    "\"vlan_id\":100,\"ip_tos\":184,\"ip_flags\":2,\"tcp_flags\":27,\"src_as\":64496,\"dst_as\":4200000001,"
    "\"next_hop\":\"10.0.0.2\",\"src_net\":\"192.0.2.0/24\",\"dst_net\":\"0.0.0.0/0\",\"as_path\":[64496,65551],"
    "\"mpls_label\":[16,300000],\"observation_domain_id\":7,\"observation_point_id\":4294967296}";
static const char goflow2_icmp[] =
    "{\"type\":\"IPFIX\",\"time_received_ns\":1700000000000000000,\"sampler_address\":\"2001:db8::1\","
    "\"time_flow_start_ns\":1700000000000000000,\"time_flow_end_ns\":1700000000000000000,\"bytes\":72,"
    "\"src_addr\":\"fe80::1\",\"dst_addr\":\"::ffff:192.0.2.9\",\"etype\":\"IPv6\",\"proto\":\"IPv6-ICMP\",\"src_port\":0,"
    "\"dst_port\":34560,\"src_mac\":\"02:00:00:00:00:ff\",\"icmp_type\":135,\"icmp_code\":0,\"mpls_label\":[]}";
static const char ecs_tcp[] =
    "{\"@timestamp\":\"2023-11-14T22:13:20.000000Z\",\"ecs\":{\"version\":\"8.11.0\"},\"event\":{\"kind\":\"event\","
    "\"category\":[\"network\"],\"type\":[\"connection\"],\"action\":\"netflow_flow\",\"module\":\"weir\","
    "\"dataset\":\"weir.flow\",\"created\":\"2023-11-14T22:13:20.000000Z\",\"start\":\"2023-11-14T22:13:10.000000Z\","
    "\"end\":\"2023-11-14T22:13:19.123456Z\",\"duration\":9123456000},"
    "\"source\":{\"ip\":\"192.0.2.1\",\"port\":443,\"mac\":\"00-00-5E-00-53-01\",\"bytes\":1500,\"packets\":3,"
    "\"as\":{\"number\":64496}},\"destination\":{\"ip\":\"198.51.100.7\",\"port\":51000,\"as\":{\"number\":4200000001}},"
    "\"network\":{\"bytes\":1500,\"packets\":3,\"transport\":\"tcp\",\"iana_number\":\"6\",\"type\":\"ipv4\","
    "\"community_id\":\"1:CBBQX/j2PlRlqILfagg0a6h8/iU=\",\"application\":\"http\\n\xc3\x89\",\"vlan\":{\"id\":\"100\"}},"
    "\"observer\":{\"ip\":\"10.0.0.1\",\"ingress\":{\"interface\":{\"id\":\"10\"}},\"egress\":{\"interface\":{\"id\":\"20\"}}},"
    "\"related\":{\"ip\":[\"192.0.2.1\",\"198.51.100.7\"]},\"user\":{\"name\":\"ann \\\"A\\\"\"},"
    "\"netflow\":{\"type\":\"netflow_flow\",\"exporter\":{\"address\":\"10.0.0.1:2055\",\"source_id\":7,\"version\":9},"
    "\"http_request_host\":\"example.org\"},"
    "\"weir\":{\"sequence\":300,\"observation_point\":4294967296,\"tcp_flags\":27,\"tos\":184,\"sampling_rate\":99.6,"
    "\"src_mask\":24,\"dst_mask\":0,\"next_hop\":\"10.0.0.2\",\"mpls_labels\":[16,300000],\"fragment_flags\":64,"
    "\"dst_as_path\":\"64496 1.15\"}}";
static const char ecs_icmp[] =
    "{\"@timestamp\":\"2023-11-14T22:13:20.000000Z\",\"ecs\":{\"version\":\"8.11.0\"},\"event\":{\"kind\":\"event\","
    "\"category\":[\"network\"],\"type\":[\"connection\"],\"action\":\"netflow_flow\",\"module\":\"weir\","
    "\"dataset\":\"weir.flow\",\"created\":\"2023-11-14T22:13:20.000000Z\"},"
    "\"source\":{\"ip\":\"fe80::1\"},\"destination\":{\"ip\":\"::ffff:192.0.2.9\"},"
    "\"network\":{\"transport\":\"ipv6-icmp\",\"iana_number\":\"58\",\"type\":\"ipv6\","
    "\"community_id\":\"1:zy/7vIph2Hij/cDwD5I2/2Vcvlk=\"},\"observer\":{\"ip\":\"2001:db8::1\"},"
    "\"related\":{\"ip\":[\"fe80::1\",\"::ffff:192.0.2.9\"]},"
    "\"netflow\":{\"type\":\"netflow_flow\",\"exporter\":{\"address\":\"[2001:db8::1]:4739\",\"version\":10}},"
    "\"weir\":{\"icmp_type\":135,\"icmp_code\":0,\"bytes_out\":72,\"out_src_mac\":\"02:00:00:00:00:ff\",\"mpls_labels\":[]}}";
static const char ecs_none[] =
    "{\"ecs\":{\"version\":\"8.11.0\"},\"event\":{\"kind\":\"event\",\"category\":[\"network\"],\"type\":[\"connection\"],"
    "\"action\":\"netflow_flow\",\"module\":\"weir\",\"dataset\":\"weir.flow\"},\"netflow\":{\"type\":\"netflow_flow\"}}";
/* clang-format on */

static void goflow2_lines(void **state)
{
    (void)state;
    ship_encoder *e = make("goflow2-json", false, NULL, 0);
    struct ship_block b;
    struct messages m;
    block_for(&b, e, 3);
    fill_tcp(&b, 0);
    fill_icmp(&b, 1);
    encode(e, &b, 0, 3, &m);
    same_line("tcp", &m, 0, goflow2_tcp);
    same_line("icmp", &m, 1, goflow2_icmp);
    same_line("nothing", &m, 2, "{}");
    base_buf_done(&m.out);
    ship_block_done(&b);
    ship_encoder_free(e);
}

/* Names of numbers in goflow2's JSON. */
static void goflow2_names(void **state)
{
    (void)state;
    static const struct {
        const char *column;
        uint64_t v;
        const char *want;
    } cases[] = {
        {"proto", 17, "{\"proto\":\"UDP\"}"},
        {"proto", 132, "{\"proto\":\"SCTP\"}"},
        {"proto", 145, "{\"proto\":\"NSH\"}"},
        {"proto", 61, "{\"proto\":\"unknown\"}"},
        {"proto", 146, "{\"proto\":\"unassigned\"}"},
        {"proto", 253, "{\"proto\":\"experimental\"}"},
        {"proto", 255, "{\"proto\":\"reserved\"}"},
        {"ethertype", 0x806, "{\"etype\":\"ARP\"}"},
        {"ethertype", 0x8847, "{\"etype\":\"0x8847\"}"},
        {"protocol_version", 5, "{\"type\":\"NETFLOW_V5\"}"},
        {"protocol_version", 77, "{\"type\":\"FLOWUNKNOWN\"}"},
        {"src_mask", 24, "{}"}, /* of which address? */
    };
    ship_encoder *e = make("goflow2-json", false, NULL, 0);
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        struct ship_block b;
        struct messages m;
        block_for(&b, e, 1);
        ship_block_num(&b, cases[i].column, 0, cases[i].v);
        encode(e, &b, 0, 1, &m);
        same_line(cases[i].column, &m, 0, cases[i].want);
        base_buf_done(&m.out);
        ship_block_done(&b);
    }
    ship_encoder_free(e);
}

static void ecs_documents(void **state)
{
    (void)state;
    struct query_field extras[] = {query_field_named("httpRequestHost")};
    ship_encoder *e = make("ecs", false, extras, 1);
    struct ship_block b;
    struct messages m;
    block_for(&b, e, 3);
    fill_tcp(&b, 0);
    ship_block_text(&b, "httpRequestHost", 0, "example.org");
    fill_icmp(&b, 1);
    encode(e, &b, 0, 3, &m);
    same_line("tcp", &m, 0, ecs_tcp);
    same_line("icmp", &m, 1, ecs_icmp);
    same_line("nothing", &m, 2, ecs_none);
    base_buf_done(&m.out);
    ship_block_done(&b);
    ship_encoder_free(e);
}

static json_t *parse(const struct messages *m, size_t row, size_t flags)
{
    size_t from = row ? m->ends[row - 1] : 0;
    json_error_t error;
    json_t *j =
        json_loadb(m->out.data + from, m->ends[row] - from, JSON_REJECT_DUPLICATES | flags, &error);
    UNIT_CHECK(j, "row %zu: %s\n%.*s", row, error.text, (int)(m->ends[row] - from),
               m->out.data + from);
    return j;
}

/* The value at a path with slashes, as compact JSON; "" where nothing is. */
static const char *at(json_t *j, const char *path)
{
    static char text[256];
    char key[64];
    while (j && *path) {
        size_t n = strcspn(path, "/");
        (void)snprintf(key, sizeof key, "%.*s", (int)n, path);
        j = json_object_get(j, key);
        path += n + (path[n] == '/');
    }
    char *s = j ? json_dumps(j, JSON_COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS) : NULL;
    (void)snprintf(text, sizeof text, "%s", s ? s : "");
    free(s);
    return text;
}

static void ecs_biflows(void **state)
{
    (void)state;
    static const struct {
        uint64_t direction; /* 9: null */
        const char *client, *server;
    } cases[] = {
        {1, "{\"bytes\":100,\"ip\":\"10.0.0.1\",\"packets\":1,\"port\":5000}",
         "{\"bytes\":200,\"ip\":\"10.0.0.2\",\"packets\":2,\"port\":80}"},
        {2, "{\"bytes\":200,\"ip\":\"10.0.0.2\",\"packets\":2,\"port\":80}",
         "{\"bytes\":100,\"ip\":\"10.0.0.1\",\"packets\":1,\"port\":5000}"},
        {0, "", ""},
        {3, "", ""},
        {9, "", ""},
    };
    struct query_field extras[] = {query_field_named("VRFname"),
                                   query_field_named("fooBar"),
                                   query_field_named("foo_bar"),
                                   query_field_named("type"),
                                   query_field_named("postMCastPacketDeltaCount"),
                                   query_field_named("ipv4RouterSc"),
                                   query_field_named("a\"b")};
    ship_encoder *e = make("ecs", false, extras, UNIT_N(extras));
    struct ship_block b;
    struct messages m;
    block_for(&b, e, UNIT_N(cases));
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        ship_block_text(&b, "src_addr", i, "10.0.0.1");
        ship_block_text(&b, "dst_addr", i, "10.0.0.2");
        ship_block_num(&b, "src_port", i, 5000);
        ship_block_num(&b, "dst_port", i, 80);
        ship_block_num(&b, "bytes", i, 100);
        ship_block_num(&b, "packets", i, 1);
        ship_block_num(&b, "bytes_rev", i, 200);
        ship_block_num(&b, "packets_rev", i, 2);
        ship_block_num(&b, "direction", i, i);
        if (cases[i].direction != 9)
            ship_block_num(&b, "biflow_direction", i, cases[i].direction);
        ship_block_text(&b, "nat_src_addr", i, "10.0.0.1");
        ship_block_text(&b, "nat_dst_addr", i, "2001:db8::5");
        ship_block_octets(&b, "acl_in", i, "\x00\xff", 2);
        for (size_t k = 0; k < UNIT_N(extras); k++)
            ship_block_value(&b, extras[k].name, i, QUERY_S64, (uint64_t) - (int64_t)k);
    }
    encode(e, &b, 0, UNIT_N(cases), &m);
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        json_t *j = parse(&m, i, 0);
        assert_string_equal(at(j, "client"), cases[i].client);
        assert_string_equal(at(j, "server"), cases[i].server);
        assert_string_equal(at(j, "network/bytes"), "300");
        assert_string_equal(at(j, "network/packets"), "3");
        assert_string_equal(at(j, "destination/bytes"), "200");
        assert_string_equal(at(j, "network/direction"), i == 0   ? "\"ingress\""
                                                        : i == 1 ? "\"egress\""
                                                                 : "\"unknown\"");
        assert_string_equal(at(j, "related/ip"), "[\"10.0.0.1\",\"10.0.0.2\",\"2001:db8::5\"]");
        assert_string_equal(at(j, "source/nat/ip"), "\"10.0.0.1\"");
        assert_string_equal(at(j, "weir/acl_in"), "\"00ff\"");
        assert_string_equal(at(j, "netflow"),
                            "{\"a\\\"b\":-6,\"foo_bar\":-1,\"foo_bar_\":-2,\"ipv4_router_sc\":-5,"
                            "\"post_mcast_packet_delta_count\":-4,\"type\":\"netflow_flow\","
                            "\"type_\":-3,\"vr_fname\":0}");
        json_decref(j);
    }
    base_buf_done(&m.out);
    ship_block_done(&b);
    ship_encoder_free(e);
}

/* Numbers that Elasticsearch refuses a document for are left out, and nothing else. */
static void ecs_numbers(void **state)
{
    (void)state;
    static const uint64_t labels[] = {1, UINT64_MAX, 2};
    ship_encoder *e = make("ecs", false, NULL, 0);
    struct ship_block b;
    struct messages m;
    block_for(&b, e, 1);
    ship_block_num(&b, "bytes", 0, UINT64_MAX);
    ship_block_num(&b, "packets", 0, INT64_MAX);
    ship_block_num(&b, "packets_rev", 0, 1);
    ship_block_num(&b, "flow_id", 0, UINT64_C(1) << 63);
    ship_block_num(&b, "connection_id", 0, INT64_MAX);
    ship_block_real(&b, "sampling_rate", 0, 0.0 / 0.0);
    ship_block_list(&b, "mpls_labels", 0, labels, 3);
    ship_block_num(&b, "proto", 0, 61);
    encode(e, &b, 0, 1, &m);
    json_t *j = parse(&m, 0, 0);
    assert_string_equal(at(j, "source"), "{\"packets\":9223372036854775807}");
    assert_string_equal(at(j, "network"), "{\"iana_number\":\"61\"}");
    assert_string_equal(at(j, "weir"),
                        "{\"connection_id\":9223372036854775807,\"mpls_labels\":[1,2]}");
    json_decref(j);
    base_buf_done(&m.out);
    ship_block_done(&b);
    ship_encoder_free(e);
}

/* Ids that other programs gave these flows. */
static void community_ids(void **state)
{
    (void)state;
    static const struct {
        const char *src, *dst;
        uint8_t proto;
        uint16_t a, b;
        const char *id;
    } cases[] = {
        {"128.232.110.120", "66.35.250.204", 6, 34855, 80, "LQU9qZlK+B5F3KDmev6m5PMibrg="},
        {"66.35.250.204", "128.232.110.120", 6, 80, 34855, "LQU9qZlK+B5F3KDmev6m5PMibrg="},
        {"192.0.2.1", "198.51.100.7", 6, 443, 51000, "CBBQX/j2PlRlqILfagg0a6h8/iU="},
        {"2001:db8::2", "2001:db8::1", 17, 53, 53000, "1WvFCRgrEZSy/S3b52Vsb5onNBc="},
        {"192.168.0.89", "192.168.0.1", 1, 8, 0, "X0snYXpgwiv9TZtqg64sgzUn6Dk="},
        {"192.168.0.1", "192.168.0.89", 1, 0, 0, "X0snYXpgwiv9TZtqg64sgzUn6Dk="},
        {"192.168.0.89", "192.168.0.1", 1, 3, 1, "LXCfhMUFbYXe+CEMrQuZCbiLY3o="},
        {"fe80::1", "fe80::2", 58, 135, 0, "7IIPGNVAHI2udmsuJVpA3RMOAqc="},
        {"fe80::2", "fe80::1", 58, 1, 4, "KP7k20289QLlEmMHLKdRgaeGmfo="},
        {"10.0.0.1", "10.0.0.2", 47, 0, 0, "+KlEHDT0vJgzs/eNmzHq0aSpRYw="},
        {"192.168.170.8", "192.168.170.56", 132, 7, 80, "jQgCxbku+pNGw8WPbEc/TS/uTpQ="},
        {"10.0.0.1", "10.0.0.1", 6, 9, 8, "BriuZqmfifIqTVJOpCHPKIUrNIU="},
    };
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        uint8_t src[16], dst[16];
        char id[28];
        unsigned n = ship_addr_octets(cases[i].src, strlen(cases[i].src), src);
        assert_int_equal(n, ship_addr_octets(cases[i].dst, strlen(cases[i].dst), dst));
        ship_community_id(src, dst, n, cases[i].proto, cases[i].a, cases[i].b, id);
        UNIT_CHECK(memcmp(id, cases[i].id, 28) == 0, "%s %s: %.28s, not %s", cases[i].src,
                   cases[i].dst, id, cases[i].id);
    }
}

/* --- json, and random blocks -------------------------------------------------------------------- */

static const char *const words[] = {"",
                                    "eth0",
                                    "a\"b\\c",
                                    "line\nline",
                                    "\xff\xfe bad",
                                    "\xc3\xa9t\xc3\xa9",
                                    "ge-0/0/1",
                                    "0123456789012345678901234567890123456789"};

static void random_text(const struct flow_column *c, char *text, size_t cap, uint32_t spread)
{
    if (any(20) == 0)
        (void)snprintf(text, cap, "%s", words[any((uint32_t)UNIT_N(words))]);
    else if (c->type == FLOW_TYPE_ADDR && any(2))
        (void)snprintf(text, cap, "10.%u.%u.%u", any(256), any(spread), any(spread));
    else if (c->type == FLOW_TYPE_ADDR)
        (void)snprintf(text, cap, "2001:db8:%x::%x", any(spread), any(65536));
    else if (c->type == FLOW_TYPE_MAC)
        (void)snprintf(text, cap, "02:00:5e:%02x:%02x:%02x", any(256), any(256), any(spread));
    else if (strcmp(c->name, "dst_as_path") == 0)
        (void)snprintf(text, cap, "%u %u %u", any(65536), any(65536), any(1000000));
    else
        (void)snprintf(text, cap, "%s%u", words[any((uint32_t)UNIT_N(words))], any(spread));
}

static uint64_t random_number(const struct flow_column *c)
{
    size_t bits = 8 * flow_type_octets(c->type);
    uint64_t v = (uint64_t)any(1U << 31) << 32 ^ (uint64_t)any(1U << 31) << 8 ^ any(256);
    v >>= any(64);
    return bits < 64 ? v & ((UINT64_C(1) << bits) - 1) : v;
}

/* The same values for every encoder that is asked with the same number. */
static void fill_random(struct ship_block *b, uint64_t number, uint32_t spread)
{
    for (int i = 0; i < FLOW_N_COLUMNS; i++) {
        const struct flow_column *c = &flow_columns()[i];
        seed = number * 1000003 + (uint64_t)i;
        uint32_t nulls = any(4); /* 0: none, 3: all */
        for (size_t row = 0; row < b->n_rows && nulls < 3; row++) {
            char text[128];
            uint64_t items[12];
            if (any(4) < nulls)
                continue;
            switch (query_field_column((enum flow_column_id)i).kind) {
            case QUERY_TEXT:
                random_text(c, text, sizeof text, spread);
                ship_block_text(b, c->name, row, text);
                break;
            case QUERY_OCTETS:
                ship_block_octets(b, c->name, row, "\1\2\3\4\5\6\7\10\11\12\13\14", any(13));
                break;
            case QUERY_U64_LIST:
                for (size_t k = 0; k < UNIT_N(items); k++)
                    items[k] = any(1U << 20);
                ship_block_list(b, c->name, row, items, any((uint32_t)UNIT_N(items) + 1));
                break;
            case QUERY_F64:
                ship_block_real(b, c->name, row, any(3) ? any(1000) : any(1000) / 7.0);
                break;
            case QUERY_TIME:
                ship_block_time(b, c->name, row, RECEIVED + any(1U << 30));
                break;
            default:
                ship_block_num(b, c->name, row, random_number(c));
            }
        }
    }
}

static const struct query_vec *column_of(const struct ship_block *b, const char *name)
{
    for (size_t i = 0; i < b->n_fields; i++)
        if (strcmp(b->fields[i].name, name) == 0)
            return &b->vecs[i];
    fail_msg("no column %s", name);
    return NULL;
}

static bool value(const struct ship_block *b, const char *name, size_t row, uint64_t *out)
{
    const struct query_vec *v = column_of(b, name);
    *out = 0;
    if (v->kind == QUERY_UNKNOWN || !ship_has(v, row))
        return false;
    *out = v->num[row];
    return true;
}

static const struct query_text *text_of(const struct ship_block *b, const char *name, size_t row)
{
    const struct query_vec *v = column_of(b, name);
    return v->kind != QUERY_UNKNOWN && ship_has(v, row) ? &v->dict[v->codes[row]] : NULL;
}

struct wire_field {
    bool seen;
    uint64_t v;
    const uint8_t *p;
    size_t len;
};

static uint64_t varint(const uint8_t **p, const uint8_t *end)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        assert_true(*p < end);
        uint8_t o = *(*p)++;
        v |= (uint64_t)(o & 127) << shift;
        if (!(o & 128))
            return v;
    }
    fail_msg("a varint of more than ten octets");
    return 0;
}

/* A message into its fields by number; every field once, in order, none with its default value. */
static void read_message(const uint8_t *p, size_t len, struct wire_field fields[128])
{
    const uint8_t *end = p + len;
    uint64_t last = 0;
    memset(fields, 0, 128 * sizeof *fields);
    while (p < end) {
        uint64_t key = varint(&p, end), number = key >> 3;
        assert_true(number > last && number < 128);
        last = number;
        struct wire_field *f = &fields[number];
        f->seen = true;
        f->v = varint(&p, end);
        assert_true(f->v != 0);
        if ((key & 7) == 0)
            continue;
        assert_int_equal(key & 7, 2);
        assert_true(f->v <= (size_t)(end - p));
        f->p = p;
        f->len = (size_t)f->v;
        p += f->len;
    }
}

static void check_addr(const struct ship_block *b, const char *name, size_t row,
                       const struct wire_field *f)
{
    const struct query_text *t = text_of(b, name, row);
    char text[64] = "";
    uint8_t o[16];
    if (t && t->len < sizeof text)
        memcpy(text, t->data, t->len);
    size_t n = inet_pton(AF_INET, text, o) == 1 ? 4 : inet_pton(AF_INET6, text, o) == 1 ? 16 : 0;
    UNIT_CHECK(f->seen == (n != 0) && f->len == n && (!n || memcmp(f->p, o, n) == 0), "%s: %s",
               name, text);
}

static void check_number(const struct ship_block *b, const char *name, const char *other,
                         size_t row, const struct wire_field *f)
{
    uint64_t v;
    if (!value(b, name, row, &v) && other)
        (void)value(b, other, row, &v);
    UNIT_CHECK(f->v == v, "%s: %llu, not %llu", name, (unsigned long long)f->v,
               (unsigned long long)v);
}

static void check_mac(const struct ship_block *b, const char *name, const char *other, size_t row,
                      const struct wire_field *f)
{
    const struct query_text *t = text_of(b, name, row);
    if (!t)
        t = text_of(b, other, row);
    uint64_t v = 0;
    unsigned o[6];
    char text[64] = "", end;
    if (t && t->len < sizeof text)
        memcpy(text, t->data, t->len);
    if (sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%c", &o[0], &o[1], &o[2], &o[3], &o[4], &o[5], &end) ==
        6)
        for (size_t k = 0; k < 6; k++)
            v = v << 8 | o[k];
    UNIT_CHECK(f->v == v, "%s: %s", name, text);
}

static void check_labels(const struct ship_block *b, size_t row, const struct wire_field *f)
{
    const struct query_vec *v = column_of(b, "mpls_labels");
    bool there =
        v->kind != QUERY_UNKNOWN && ship_has(v, row) && v->starts[row] < v->starts[row + 1];
    assert_int_equal(f->seen, there);
    const uint8_t *p = f->p, *end = f->p + f->len;
    for (uint32_t k = there ? v->starts[row] : 0; there && k < v->starts[row + 1]; k++)
        assert_int_equal(varint(&p, end), v->num[k]);
    assert_ptr_equal(p, end);
}

static void check_row(const struct ship_block *b, size_t row, const uint8_t *p, size_t len)
{
    /* clang-format off */
    static const struct { uint8_t number; const char *column, *other; } numbers[] = {
        {4, "sequence", NULL}, {9, "bytes", "bytes_out"}, {10, "packets", "packets_out"}, {13, "peer_dst_as", NULL},
        {14, "src_as", NULL}, {15, "dst_as", NULL}, {16, "src_mask", NULL}, {17, "dst_mask", NULL}, {18, "in_if", NULL},
        {19, "out_if", NULL}, {20, "proto", NULL}, {21, "src_port", NULL}, {22, "dst_port", NULL}, {23, "tos", NULL},
        {24, "forwarding_status", NULL}, {25, "ttl", "ttl_min"}, {26, "tcp_flags", NULL}, {29, "vlan", NULL},
        {31, "icmp_type", NULL}, {32, "icmp_code", NULL}, {33, "vlan", NULL}, {34, "vlan_out", NULL},
        {35, "fragment_id", NULL}, {36, "fragment_offset", NULL}, {37, "flow_label", NULL}, {39, "vrf_in", NULL},
        {40, "vrf_out", NULL}, {41, "biflow_direction", NULL}, {42, "direction", NULL}, {70, "domain", NULL},
    };
    static const struct { uint8_t number; const char *column; } addrs[] = {
        {6, "src_addr"}, {7, "dst_addr"}, {11, "exporter"}, {12, "next_hop"}, {82, "mpls_top_addr"}, {100, "bgp_next_hop"},
    };
    /* clang-format on */
    struct wire_field f[128];
    uint64_t v;
    read_message(p, len, f);
    for (size_t i = 0; i < UNIT_N(numbers); i++)
        check_number(b, numbers[i].column, numbers[i].other, row, &f[numbers[i].number]);
    for (size_t i = 0; i < UNIT_N(addrs); i++)
        check_addr(b, addrs[i].column, row, &f[addrs[i].number]);
    check_mac(b, "src_mac", "out_src_mac", row, &f[27]);
    check_mac(b, "dst_mac", "out_dst_mac", row, &f[28]);
    check_labels(b, row, &f[81]);
    (void)value(b, "fragment_flags", row, &v);
    assert_int_equal(f[38].v, v >> 5);
    if (!value(b, "ethertype", row, &v) || !v)
        v = f[6].seen                                               ? f[6].len == 4 ? 0x800 : 0x86dd
            : f[7].seen                                             ? f[7].len == 4 ? 0x800 : 0x86dd
            : value(b, "ip_version", row, &v) && (v == 4 || v == 6) ? v == 4 ? 0x800 : 0x86dd
                                                                    : 0;
    assert_int_equal(f[30].v, v);
    if (!value(b, "last", row, &v))
        (void)value(b, "received", row, &v);
    assert_int_equal(f[112].v, v * 1000);
}

static void random_flowmessages(void **state)
{
    (void)state;
    static const struct {
        size_t rows, from, to;
        uint32_t spread;
    } shapes[] = {{0, 0, 0, 2},         {1, 0, 1, 2},       {70, 0, 70, 3},
                  {300, 0, 300, 2},     {600, 0, 600, 250}, {600, 250, 530, 250},
                  {600, 590, 600, 250}, {256, 0, 256, 250}, {257, 1, 257, 250},
                  {300, 300, 300, 2}};
    ship_encoder *e = make("flowmessage", false, NULL, 0);
    for (uint64_t number = 0; number < 40; number++) {
        size_t k = (size_t)(number % UNIT_N(shapes));
        struct ship_block b;
        struct messages m;
        block_for(&b, e, shapes[k].rows);
        fill_random(&b, number, shapes[k].spread);
        encode(e, &b, shapes[k].from, shapes[k].to, &m);
        for (size_t i = 0, begin = 0; i < shapes[k].to - shapes[k].from; begin = m.ends[i++])
            check_row(&b, shapes[k].from + i, (const uint8_t *)m.out.data + begin,
                      m.ends[i] - begin);
        base_buf_done(&m.out);
        ship_block_done(&b);
    }
    ship_encoder_free(e);
}

/* Lines of every format are JSON, one object a row, the same ones however the rows are cut. */
static void random_lines(void **state)
{
    (void)state;
    for (const struct ship_format *f = ship_formats(); f->name; f++) {
        if (!f->text)
            continue;
        ship_encoder *e = make(f->name, false, NULL, 0);
        for (uint64_t number = 0; number < 12; number++) {
            struct ship_block b;
            struct messages m, part;
            size_t rows = number % 3 ? 300 : 40;
            block_for(&b, e, rows);
            fill_random(&b, number, number % 2 ? 3 : 250);
            encode(e, &b, 0, rows, &m);
            for (size_t i = 0; i < rows; i++) {
                json_t *j = parse(&m, i, JSON_DECODE_INT_AS_REAL); /* numbers above 2^63 */
                assert_true(json_is_object(j));
                assert_null(memchr(m.out.data + (i ? m.ends[i - 1] : 0), '\n',
                                   m.ends[i] - (i ? m.ends[i - 1] : 0)));
                json_decref(j);
            }
            for (size_t from = 0, step = 1; from < rows; from += step, step = 1 + any(90)) {
                size_t to = from + step < rows ? from + step : rows;
                encode(e, &b, from, to, &part);
                size_t begin = from ? m.ends[from - 1] : 0;
                same_octets(f->name, &part.out, 0, part.out.len,
                            (const uint8_t *)m.out.data + begin, m.ends[to - 1] - begin);
                base_buf_done(&part.out);
            }
            base_buf_done(&m.out);
            ship_block_done(&b);
        }
        ship_encoder_free(e);
    }
}

static weir_status take(void *user, const void *data, size_t len, weir_err *err)
{
    base_buf *out = user;
    (void)err;
    base_buf_add(out, data, len);
    return WEIR_OK;
}

/* "json" is what weir query -o ndjson writes, but for the number of the line. */
static void json_as_query(void **state)
{
    (void)state;
    struct query_field extras[] = {query_field_named("httpRequestHost"),
                                   query_field_named("someList")};
    ship_encoder *e = make("json", false, extras, 2);
    struct ship_block b;
    struct messages m;
    block_for(&b, e, 200);
    fill_random(&b, 5, 40);
    for (size_t i = 0; i < 200; i += 3) {
        ship_block_text(&b, "httpRequestHost", i, "example.org");
        ship_block_texts(&b, "someList", i, words, i % UNIT_N(words));
    }
    encode(e, &b, 0, 200, &m);

    base_buf lines = {0};
    query_arena *a = query_arena_new();
    query_format *f;
    weir_err err = {0};
    assert_non_null(a);
    const struct query_format_options o = {.name = "ndjson",
                                           .utc = true,
                                           .extras = extras,
                                           .n_extras = 2,
                                           .write = take,
                                           .user = &lines};
    assert_int_equal(query_format_new(&o, a, &f, &err), WEIR_OK);
    struct query_result r = {0};
    query_format_fields(f, 0, &r.fields, &r.n_fields);
    const struct query q = {.results = &r, .n_results = 1, .raw = true};
    struct ship_block other;
    ship_block_init(&other, r.fields, r.n_fields, 200);
    fill_random(&other, 5, 40);
    for (size_t i = 0; i < 200; i += 3) {
        ship_block_text(&other, "httpRequestHost", i, "example.org");
        ship_block_texts(&other, "someList", i, words, i % UNIT_N(words));
    }
    const struct query_sink *sink = query_format_sink(f);
    assert_int_equal(sink->begin(sink->user, &q, 0, &err), WEIR_OK);
    assert_int_equal(sink->block(sink->user, 0, ship_block_get(&other), &err), WEIR_OK);
    assert_int_equal(sink->end(sink->user, 0, &(struct query_summary){0}, &err), WEIR_OK);
    const char *p = lines.data;
    for (size_t i = 0; i < 200; i++) {
        char count[32];
        size_t begin = i ? m.ends[i - 1] : 0, len = m.ends[i] - begin;
        size_t n = (size_t)snprintf(count, sizeof count, "{\"cnt\":%zu,", i + 1);
        assert_memory_equal(p, count, n);
        assert_int_equal(m.out.data[begin], '{');
        assert_memory_equal(p + n, m.out.data + begin + 1, len - 1);
        assert_int_equal(p[n + len - 1], '\n');
        p += n + len;
    }
    ship_block_done(&other);
    query_format_free(f);
    query_arena_free(a);
    base_buf_done(&lines);
    base_buf_done(&m.out);
    ship_block_done(&b);
    ship_encoder_free(e);
}

/* --- the rest ----------------------------------------------------------------------------------- */

static void formats_and_errors(void **state)
{
    (void)state;
    ship_encoder *e = NULL;
    weir_err err = {0};
    size_t n = 0;
    for (const struct ship_format *f = ship_formats(); f->name; f++, n++) {
        const struct query_field *fields;
        size_t n_fields;
        struct messages m = {.ends = {0}};
        e = make(f->name, false, NULL, 0);
        ship_encoder_fields(e, &fields, &n_fields);
        assert_true(n_fields > 40);
        struct query_vec *vecs = calloc(n_fields, sizeof *vecs);
        assert_non_null(vecs);
        for (size_t i = 0; i < n_fields; i++)
            vecs[i].kind = QUERY_UNKNOWN;
        struct query_block b = {.n = 4, .vecs = vecs};
        assert_int_equal(ship_encoder_rows(e, &b, 3, 5, &m.out, m.ends, &err), WEIR_EINVAL);
        assert_int_equal(ship_encoder_rows(e, &b, 3, 2, &m.out, m.ends, &err), WEIR_EINVAL);
        assert_int_equal(ship_encoder_rows(e, &b, 4, 4, &m.out, m.ends, &err), WEIR_OK);
        assert_int_equal(m.out.len, 0);
        base_buf_add(&m.out, "before", 6); /* stays, and ends count from the beginning */
        assert_int_equal(ship_encoder_rows(e, &b, 0, 4, &m.out, m.ends, &err), WEIR_OK);
        assert_memory_equal(m.out.data, "before", 6);
        assert_int_equal(m.ends[3], m.out.len);
        assert_int_equal((m.ends[0] - 6) * 4 + 6, m.out.len);
        base_buf_done(&m.out);
        free(vecs);
        ship_encoder_free(e);
    }
    assert_int_equal(n, 4);
    const struct ship_encoder_options o = {.format = "xml"};
    assert_int_equal(ship_encoder_new(&o, &e, &err), WEIR_EINVAL);
    assert_null(e);
    assert_non_null(strstr(err.msg, "xml: no such format: flowmessage, goflow2-json, json or ecs"));
    ship_encoder_free(NULL);
}

/* Allocation k fails, for each k: a status, no leak, and the next call works. */
static void out_of_memory(void **state)
{
    (void)state;
    struct query_field extras[] = {query_field_named("httpRequestHost")};
    for (const struct ship_format *f = ship_formats(); f->name; f++) {
        const struct ship_encoder_options o = {.format = f->name, .extras = extras, .n_extras = 1};
        size_t live = heap.live;
        bool done = false;
        for (uint64_t k = 1; !done; k++) {
            ship_encoder *e = NULL;
            weir_err err = {0};
            struct messages m = {.ends = {0}};
            heap.calls = heap.failed = 0;
            heap.fail_at = k;
            weir_status s = ship_encoder_new(&o, &e, &err);
            heap.fail_at = 0;
            if (s == WEIR_OK) {
                struct ship_block b;
                block_for(&b, e, 300);
                fill_random(&b, 2, 100);
                const struct query_block *block = ship_block_get(&b);
                uint64_t before = heap.failed;
                heap.calls = before ? k : heap.calls;
                heap.fail_at = before ? 0 : k;
                s = ship_encoder_rows(e, block, 0, 300, &m.out, m.ends, &err);
                heap.fail_at = 0;
                done = heap.failed == 0;
                assert_true(s == WEIR_ENOMEM || s == WEIR_OK);
                base_buf_done(&m.out);
                m = (struct messages){.ends = {0}};
                assert_int_equal(ship_encoder_rows(e, block, 0, 300, &m.out, m.ends, &err),
                                 WEIR_OK);
                base_buf_done(&m.out);
                ship_block_done(&b);
            } else {
                assert_int_equal(s, WEIR_ENOMEM);
                assert_null(e);
            }
            ship_encoder_free(e);
            assert_int_equal(heap.live, live);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formats_and_errors), cmocka_unit_test(flowmessage_octets),
        cmocka_unit_test(flowmessage_values), cmocka_unit_test(as_paths),
        cmocka_unit_test(long_messages),      cmocka_unit_test(address_texts),
        cmocka_unit_test(wrong_texts),        cmocka_unit_test(goflow2_lines),
        cmocka_unit_test(goflow2_names),      cmocka_unit_test(ecs_documents),
        cmocka_unit_test(ecs_biflows),        cmocka_unit_test(ecs_numbers),
        cmocka_unit_test(community_ids),      cmocka_unit_test(random_flowmessages),
        cmocka_unit_test(random_lines),       cmocka_unit_test(json_as_query),
        cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
