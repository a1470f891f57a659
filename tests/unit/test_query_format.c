/* Every output format on a hand-made block. What the tables must look like was printed by nfdump 1.7.1 for the same
 * flows. */
#include "parquet/reader.h"
#include "query/cells.h"
#include "query/format.h"

#include <string.h>
#include <time.h>

#include "unit.h"

/* --- a block of four flows ----------------------------------------------------------------------- */

enum { ROWS = 4 };

struct column {
    const char *name;
    uint8_t kind;
    uint64_t num[ROWS];
    const char *text[ROWS]; /* NULL: null */
    unsigned null;          /* bit i: row i has none (of numbers) */
};

#define T0 1699999992498000ULL

/* clang-format off */
static struct column columns[] = {
    {"first", QUERY_TIME, {T0, T0 + 609000, T0 + 5333000, 1699740800000000}, {0}, 0},
    {"last", QUERY_TIME, {T0, T0 + 626000, T0 + 5359000, 1699999999999999}, {0}, 0},
    {"received", QUERY_TIME, {T0 + 7000123, T0 + 7000123, T0 + 7000123, T0 + 7000123}, {0}, 0},
    {"duration", QUERY_U64, {0, 17, 26, 259199999}, {0}, 0},
    {"proto", QUERY_U64, {17, 6, 6, 1}, {0}, 0},
    {"src_addr", QUERY_TEXT, {0}, {"10.21.113.139", "10.21.7.188", "2001:db8:0:a89e:ba7d:398b:bc7e:264c", "10.0.0.1"}, 0},
    {"dst_addr", QUERY_TEXT, {0}, {"143.247.83.118", "117.87.43.54", "2001:db8:4350:572b::6f0e", "192.0.2.2"}, 0},
    {"src_port", QUERY_U64, {63086, 53657, 41905, 0}, {0}, 0},
    {"dst_port", QUERY_U64, {53, 443, 443, 2048}, {0}, 0},
    {"icmp_type", QUERY_U64, {0, 0, 0, 8}, {0}, 7},
    {"icmp_code", QUERY_U64, {0, 0, 0, 0}, {0}, 7},
    {"tcp_flags", QUERY_U64, {0, 0x1f, 0xff, 0}, {0}, 0},
    {"tos", QUERY_U64, {0, 0, 184, 0}, {0}, 0},
    {"packets", QUERY_U64, {1, 42, 22, 99999999}, {0}, 0},
    {"bytes", QUERY_U64, {80, 2804, 1893, 123456789012}, {0}, 0},
    {"packets_rev", QUERY_U64, {0, 7, 0, 0}, {0}, 13},
    {"bytes_rev", QUERY_U64, {0, 700, 0, 0}, {0}, 13},
    {"out_packets", QUERY_U64, {0, 7, 0, 0}, {0}, 0},
    {"out_bytes", QUERY_U64, {0, 700, 0, 0}, {0}, 0},
    {"all_packets", QUERY_U64, {1, 49, 22, 99999999}, {0}, 0},
    {"all_bytes", QUERY_U64, {80, 3504, 1893, 123456789012}, {0}, 0},
    {"all_pps", QUERY_U64, {0, 2882, 846, 385}, {0}, 0},
    {"all_bps", QUERY_U64, {0, 1648941, 582461, 3810394}, {0}, 0},
    {"all_bpp", QUERY_U64, {80, 71, 86, 1234}, {0}, 0},
    {"pps", QUERY_U64, {0, 2470, 846, 385}, {0}, 0},
    {"bps", QUERY_U64, {0, 1319529, 582461, 3810394}, {0}, 0},
    {"bpp", QUERY_U64, {80, 66, 86, 1234}, {0}, 0},
    {"n_flows", QUERY_U64, {1, 1, 1, 12}, {0}, 0},
    {"flows", QUERY_U64, {0, 0, 0, 12}, {0}, 7},
    {"src_as", QUERY_U64, {64512, 0, 4200000001, 0}, {0}, 2},
    {"src_mask", QUERY_U64, {24, 0, 48, 0}, {0}, 10},
    {"dst_mask", QUERY_U64, {21, 0, 0, 8}, {0}, 6},
    {"src_mac", QUERY_TEXT, {0}, {NULL, "00:00:5e:00:53:01", NULL, NULL}, 0},
    {"exporter", QUERY_TEXT, {0}, {"127.0.1.4", "127.0.1.4", "127.0.1.4", "2001:db8::4"}, 0},
    {"protocol_version", QUERY_U64, {9, 9, 10, 5}, {0}, 0},
    {"domain", QUERY_U64, {3, 3, 3, 0x102}, {0}, 0},
    {"direction", QUERY_U64, {1, 0, 0, 0}, {0}, 12},
    {"sampling_rate", QUERY_F64, {0, 0x4059000000000000ULL, 0x3ff0000000000000ULL, 0}, {0}, 9},
    {"user_name", QUERY_TEXT, {0}, {"ann", NULL, "b,\"o\"b\x1b[31m", ""}, 0},
    {"fw_event", QUERY_U64, {0, 0, 0, 3}, {0}, 7},
    {"event_time", QUERY_TIME, {0, 0, 0, 1512542895187000}, {0}, 7},
    {"acl_in", QUERY_OCTETS, {0}, {NULL, NULL, NULL, "\xa5\x15\xc3\xfc\xc7\xe4\x51\x36\1\1\1\1"}, 0},
    {"count", QUERY_U64, {1, 2, 3, 4}, {0}, 0},
    {"src_net", QUERY_TEXT, {0}, {"10.21.113.0/24", "10.21.7.0/24", "2001:db8::/48", "10.0.0.0/24"}, 0},
    {"time", QUERY_TIME, {1699999980000000, 1700000040000000, 1700000100000000, 1700009100000000}, {0}, 0},
    {"httpHost", QUERY_TEXT, {0}, {NULL, "example.org", NULL, NULL}, 0},
};
/* clang-format on */

/* Labels 12345 (class 5) and 54321 (bottom) of row 1. */
static const uint64_t labels[] = {12345, 54321}, exps[] = {5, 0};
static const uint32_t list_starts[ROWS + 1] = {0, 0, 2, 2, 2};
static const uint64_t list_valid = 2;
static const struct query_text words[] = {{"a\"b", 3}, {"c,d", 3}};
static const uint32_t word_codes[] = {0, 1};

struct made {
    struct query_vec vec;
    uint64_t valid;
    uint32_t codes[ROWS];
    struct query_text dict[ROWS];
};

static void make(const char *name, struct made *m)
{
    *m = (struct made){.vec = {.kind = QUERY_UNKNOWN}};
    static const uint64_t eos[ROWS] = {0, 2, 0, 0};
    if (strcmp(name, "mpls_labels") == 0 || strcmp(name, "mpls_exp") == 0)
        m->vec = (struct query_vec){.kind = QUERY_U64_LIST,
                                    .valid = &list_valid,
                                    .num = strcmp(name, "mpls_exp") ? labels : exps,
                                    .starts = list_starts};
    if (strcmp(name, "someTexts") == 0)
        m->vec = (struct query_vec){.kind = QUERY_TEXT_LIST,
                                    .valid = &list_valid,
                                    .codes = word_codes,
                                    .dict = words,
                                    .n_dict = 2,
                                    .starts = list_starts};
    if (strcmp(name, "mpls_eos") == 0)
        m->vec = (struct query_vec){.kind = QUERY_U64, .valid = &list_valid, .num = eos};
    for (size_t i = 0; i < UNIT_N(columns); i++) {
        const struct column *c = &columns[i];
        if (strcmp(c->name, name) != 0)
            continue;
        m->vec.kind = c->kind;
        m->vec.valid = &m->valid;
        m->valid = ~(uint64_t)c->null;
        if (c->kind != QUERY_TEXT && c->kind != QUERY_OCTETS) {
            m->vec.num = c->num;
            return;
        }
        m->vec.codes = m->codes;
        m->vec.dict = m->dict;
        for (uint32_t r = 0; r < ROWS; r++) {
            if (!c->text[r]) {
                m->valid &= ~(1ULL << r);
                continue;
            }
            m->codes[r] = m->vec.n_dict;
            m->dict[m->vec.n_dict++] = (struct query_text){
                c->text[r], c->kind == QUERY_OCTETS ? 12 : (uint32_t)strlen(c->text[r])};
        }
    }
}

/* --- running a format ---------------------------------------------------------------------------- */

static base_buf written;

static weir_status take(void *user, const void *data, size_t len, weir_err *err)
{
    (void)user;
    (void)err;
    base_buf_add(&written, data, len);
    return WEIR_OK;
}

static struct query_summary sum = {.files = 2,
                                   .groups = 3,
                                   .groups_read = 2,
                                   .skipped = {1, 0, 0, 0},
                                   .rows = 10,
                                   .rows_skipped = 90,
                                   .matched = 4,
                                   .flows = 15,
                                   .packets = 100000064,
                                   .bytes = 123456793789,
                                   .out_packets = 7,
                                   .out_bytes = 700,
                                   .rows_scaled = 1,
                                   .rows_no_rate = 2,
                                   .octets_read = 647376,
                                   .first_us = 1699740800000000,
                                   .last_us = 1699999999999999,
                                   .elapsed_ns = 1000000};

/* The format's output for rows from..to of the block (cut into blocks of one row when `single`). */
static const char *run(struct query_format_options o, unsigned from, unsigned to, bool single,
                       bool summary)
{
    static struct made made[4096];
    static struct query_vec vecs[4096];
    query_arena *a = query_arena_new();
    query_format *f = NULL;
    weir_err err = {0};
    o.write = take;
    o.utc = true;
    base_buf_reset(&written);
    weir_status s = query_format_new(&o, a, &f, &err);
    UNIT_CHECK(s == WEIR_OK, "%s: %s", o.name ? o.name : "default", err.msg);
    const struct query_sink *sink = query_format_sink(f);
    struct query_result results[8] = {{.limit = o.n_stats ? 10 : 0}};
    size_t n_results = o.n_stats ? o.n_stats : 1;
    struct query q = {.results = results, .n_results = n_results};
    for (size_t k = 0; k < n_results; k++) {
        const struct query_field *fields;
        size_t n;
        results[k].limit = o.n_stats ? 10 : 0;
        query_format_fields(f, k, &fields, &n);
        assert_true(n < UNIT_N(vecs));
        assert_int_equal(sink->begin(sink->user, &q, k, &err), WEIR_OK);
        for (unsigned at = from; at < to; at += single ? 1 : to - from) {
            for (size_t i = 0; i < n; i++) {
                make(fields[i].name, &made[i]);
                struct query_vec v = made[i].vec;
                static uint64_t shifted[4096];
                if (v.valid) { /* the bits of a block begin with its first row */
                    shifted[i] = *v.valid >> at;
                    v.valid = &shifted[i];
                }
                v.num = v.num && !v.starts ? v.num + at : v.num;
                v.codes = v.codes && !v.starts ? v.codes + at : v.codes;
                v.starts = v.starts ? v.starts + at : NULL;
                vecs[i] = v;
            }
            struct query_block b = {single ? 1 : to - from, vecs};
            s = sink->block(sink->user, k, &b, &err);
            UNIT_CHECK(s == WEIR_OK, "%s: %s", o.name ? o.name : "default", err.msg);
        }
        assert_int_equal(sink->end(sink->user, k, &sum, &err), WEIR_OK);
    }
    if (summary)
        assert_int_equal(query_format_summary(f, &q, &sum, &err), WEIR_OK);
    query_format_free(f);
    query_arena_free(a);
    base_buf_char(&written, 0);
    assert_false(written.failed);
    return written.data;
}

static void same(const char *what, const char *got, const char *want)
{
    UNIT_CHECK(strcmp(got, want) == 0, "%s:\n--- got\n%s\n--- want\n%s\n---", what, got, want);
}

/* --- tables -------------------------------------------------------------------------------------- */

/* clang-format off */
static const struct {
    const char *what, *format, *want;
    unsigned rows; /* from * 16 + to */
    bool full, plain;
} tables[] = {
    {"line", "line",
     "Date first seen             Duration     Proto      Src IP Addr:Port          Dst IP Addr:Port   Packets    Bytes Flows\n"
     "2023-11-14 22:13:12.498     00:00:00.000 UDP      10.21.113.139:63086 ->   143.247.83.118:53           1       80     1\n"
     "2023-11-14 22:13:13.107     00:00:00.017 TCP        10.21.7.188:53657 ->     117.87.43.54:443         42     2804     1\n"
     "2023-11-14 22:13:17.831     00:00:00.026 TCP   2001:db..7e:264c.41905 -> 2001:db..b::6f0e.443         22     1893     1\n"
     "2023-11-11 22:13:20.000  2d 23:59:59.999 ICMP          10.0.0.1:0     ->        192.0.2.2:8.0    100.0 M  123.5 G    12\n",
     4, false, false},
    {"gline", "gline",
     "Date first seen             Duration     Proto      Src IP Addr(..):Port          Dst IP Addr(..):Port   Packets    Bytes Flows\n"
     "2023-11-14 22:13:12.498     00:00:00.000 UDP      10.21.113.139(..):63086 ->   143.247.83.118(..):53           1       80     1\n",
     1, false, false},
    {"long", "long",
     "Date first seen             Duration     Proto      Src IP Addr:Port          Dst IP Addr:Port     Flags Tos  Packets    Bytes Flows\n"
     "2023-11-14 22:13:12.498     00:00:00.000 UDP      10.21.113.139:63086 ->   143.247.83.118:53    ........   0        1       80     1\n"
     "2023-11-14 22:13:13.107     00:00:00.017 TCP        10.21.7.188:53657 ->     117.87.43.54:443   ...APRSF   0       42     2804     1\n"
     "2023-11-14 22:13:17.831     00:00:00.026 TCP   2001:db..7e:264c.41905 -> 2001:db..b::6f0e.443   CEUAPRSF 184       22     1893     1\n",
     3, false, false},
    {"extended", "extended",
     "Date first seen             Duration     Proto      Src IP Addr:Port          Dst IP Addr:Port     Flags Tos  Packets    Bytes      pps      bps    Bpp Flows\n"
     "2023-11-14 22:13:13.107     00:00:00.017 TCP        10.21.7.188:53657 ->     117.87.43.54:443   ...APRSF   0       42     2804     2470    1.3 M     66     1\n",
     0x12, false, false},
    {"extended -N", "extended",
     "Date first seen             Duration     Proto      Src IP Addr:Port          Dst IP Addr:Port     Flags Tos  Packets    Bytes      pps      bps    Bpp Flows\n"
     "2023-11-14 22:13:13.107            0.017 6          10.21.7.188:53657 ->     117.87.43.54:443   ...APRSF   0       42     2804     2470  1319529     66     1\n"
     "2023-11-14 22:13:17.831            0.026 6     2001:db..7e:264c.41905 -> 2001:db..b::6f0e.443   CEUAPRSF 184       22     1893      846   582461     86     1\n"
     "2023-11-11 22:13:20.000       259199.999 1             10.0.0.1:0     ->        192.0.2.2:8.0   ........   0 99999999 123456789012      385  3810394   1234    12\n",
     0x14, false, true},
    {"line6", "line6",
     "Date first seen             Duration     Proto                             Src IP Addr:Port                                 Dst IP Addr:Port   Packets    Bytes Flows\n"
     "2023-11-14 22:13:17.831     00:00:00.026 TCP       2001:db8:0:a89e:ba7d:398b:bc7e:264c.41905 ->                2001:db8:4350:572b::6f0e.443         22     1893     1\n",
     0x23, false, false},
    {"line -6", "line",
     "Date first seen             Duration     Proto                             Src IP Addr:Port                                 Dst IP Addr:Port   Packets    Bytes Flows\n"
     "2023-11-14 22:13:17.831     00:00:00.026 TCP       2001:db8:0:a89e:ba7d:398b:bc7e:264c.41905 ->                2001:db8:4350:572b::6f0e.443         22     1893     1\n",
     0x23, true, false},
    {"biline", "biline",
     "Date first seen             Duration     Proto      Src IP Addr:Port           Dst IP Addr:Port   Out Pkt   In Pkt Out Byte  In Byte Flows\n"
     "2023-11-14 22:13:13.107     00:00:00.017 TCP        10.21.7.188:53657 <->     117.87.43.54:443          7       42      700     2804     1\n",
     0x12, false, false},
    {"bilong", "bilong",
     "Date first seen             Duration     Proto      Src IP Addr:Port           Dst IP Addr:Port     Flags Tos  Out Pkt   In Pkt Out Byte  In Byte Flows\n"
     "2023-11-14 22:13:13.107     00:00:00.017 TCP        10.21.7.188:53657 <->     117.87.43.54:443   ...APRSF   0        7       42      700     2804     1\n",
     0x12, false, false},
    {"nsel", "nsel",
     "Event time               Event  XEvent Proto      Src IP Addr:Port          Dst IP Addr:Port     X-Src IP Addr:Port        X-Dst IP Addr:Port   In Byte Out Byte\n"
     "1970-01-01 00:00:00.000 INVALID  Ignore UDP      10.21.113.139:63086 ->   143.247.83.118:53             0.0.0.0:0     ->          0.0.0.0:0           80        0\n"
     "1970-01-01 00:00:00.000 INVALID  Ignore TCP        10.21.7.188:53657 ->     117.87.43.54:443            0.0.0.0:0     ->          0.0.0.0:0         2804      700\n",
     2, false, false},
    {"nsel, event", "nsel",
     "Event time               Event  XEvent Proto      Src IP Addr:Port          Dst IP Addr:Port     X-Src IP Addr:Port        X-Dst IP Addr:Port   In Byte Out Byte\n"
     "2017-12-06 06:48:15.187  DENIED  Ignore ICMP          10.0.0.1:0     ->        192.0.2.2:8.0            0.0.0.0:0     ->          0.0.0.0:0      123.5 G        0\n",
     0x34, false, false},
    {"tokens and text", "fmt:%ts,%sa-%da:%sp%dp",
     "Date first seen              Src IP Addr      Dst IP Addr Src PtDst Pt\n"
     "2023-11-11 22:13:20.000,        10.0.0.1-       192.0.2.2:     0   8.0\n",
     0x34, false, false},
    {"many tokens", "fmt:%fwd|%dir|%svln|%ismc|%in|%out|%sas|%nas|%pas|%ivrf|%evrf|%sn|%dn|%eng|%odid|%fl|%it|%ic|%dp|%nh",
     "Fwd Dir SVlan   In src MAC Addr  Input Output Src AS Next AS Prev AS   I-VRF-ID   E-VRF-ID         Src Network         Dst Network  engine obsDomainID Flows ICMP-T ICMP-C Dst Pt      Next-hop IP\n"
     "  0|  E|    0|00:00:00:00:00:00|     0|     0| 64512|      0|      0|         0|         0|     10.21.113.0/24|    143.247.80.0/21|  0/3  |0x000000003|    1|     0|     0|    53|         0.0.0.0\n"
     "  0|  I|    0|00:00:5e:00:53:01|     0|     0|     0|      0|      0|         0|         0|     10.21.7.188/0 |    117.87.43.54/0 |  0/3  |0x000000003|    1|     0|     0|   443|         0.0.0.0\n"
     "  0|  I|    0|00:00:00:00:00:00|     0|     0|4200000001|      0|      0|         0|         0|      2001:db8::/48|2001:db..b::6f0e/0 |  0/3  |0x000000003|    1|     0|     0|   443|         0.0.0.0\n"
     "  0|  I|    0|00:00:00:00:00:00|     0|     0|     0|      0|      0|         0|         0|        10.0.0.1/0 |       192.0.0.0/8 |  1/2  |0x000000102|   12|     8|     0|   8.0|         0.0.0.0\n",
     4, false, false},
    {"mpls", "fmt:%mpls1|%mpls2|%mpls3",
     " MPLS lbl 1   MPLS lbl 2   MPLS lbl 3 \n"
     "       0-0-0|       0-0-0|       0-0-0\n"
     "   12345-5-0|   54321-0-1|       0-0-0\n",
     2, false, false},
    {"raw times, a format inside", "fmt:%tsr %tds %trr [%nfc] %%",
     "Date first seen (raw)         Duration     Date flow received (raw)       Conn-ID   \n"
     "1699999992.498            0.000 1699999999.498 [         0] %\n",
     1, false, false},
    {"a named format inside", "fmt:>%line %ra",
     " Date first seen             Duration     Proto      Src IP Addr:Port          Dst IP Addr:Port   Packets    Bytes Flows        Router IP\n"
     ">2023-11-14 22:13:12.498     00:00:00.000 UDP      10.21.113.139:63086 ->   143.247.83.118:53           1       80     1        127.0.1.4\n",
     1, false, false},
    {"texts that a terminal would obey", "fmt:%uname|%{user_name}|%{httpHost}|%{bytes}",
     "UserName user_name        httpHost            bytes\n"
     "ann     |ann             |                |      80\n"
     "<empty> |                |example.org     |    2804\n"
     "b,\"o\"b?[31m|b,\"o\"b?[31m     |                |    1893\n"
     "        |                |                |123456789012\n",
     4, false, false},
    {"events and access lists", "fmt:%evt|%xevt|%iacl|%nfv|%msec",
     " Event  XEvent Ingress ACL                      Ver    Event Time\n"
     " DENIED| Ignore|0xa515c3fc 0xc7e45136 0x1010101 |EVT5|1512542895187\n",
     0x34, false, false},
};
/* clang-format on */

static void test_tables(void **state)
{
    (void)state;
    for (size_t i = 0; i < UNIT_N(tables); i++)
        for (int single = 0; single < 2; single++) {
            struct query_format_options o = {.name = tables[i].format,
                                             .full_ipv6 = tables[i].full,
                                             .plain_numbers = tables[i].plain};
            same(tables[i].what, run(o, tables[i].rows >> 4, tables[i].rows & 15, single, false),
                 tables[i].want);
        }
}

static void test_numbers(void **state)
{
    (void)state;
    static const struct {
        uint64_t v;
        const char *want;
    } cases[] = {
        {0, "0"},
        {999999, "999999"},
        {1000000, "1.0 M"},
        {1049999, "1.0 M"},
        {999949999, "999.9 M"},
        {999950000, "1000.0 M"},
        {1000000000, "1.0 G"},
        {99999999, "100.0 M"},
        {123456789012, "123.5 G"},
        {1234567890123456, "1234.6 T"},
        {1152921504606846976, "1152921.5 T"},
        {UINT64_MAX, "18446744.1 T"},
    };
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        char text[48];
        text[query_scaled_text(text, cases[i].v, false)] = 0;
        UNIT_CHECK(strcmp(text, cases[i].want) == 0, "%llu: %s, not %s",
                   (unsigned long long)cases[i].v, text, cases[i].want);
    }
    /* as printf rounds them */
    for (uint64_t v = 1000000; v < 30000000; v += 50000 / 4) {
        char text[48], want[48];
        text[query_scaled_text(text, v, false)] = 0;
        (void)snprintf(want, sizeof want, "%.1f M", (double)v / 1e6);
        UNIT_CHECK(strcmp(text, want) == 0, "%llu: %s, not %s", (unsigned long long)v, text, want);
    }
}

/* --- data ---------------------------------------------------------------------------------------- */

/* clang-format off */
static const struct {
    const char *format, *want;
    unsigned rows;
} data[] = {
    {"csv",
     "firstSeen,duration,proto,srcAddr,srcPort,dstAddr,dstPort,packets,bytes,flows\n"
     "2023-11-14 22:13:12.498,0.000,17,10.21.113.139,63086,143.247.83.118,53,1,80,1\n"
     "2023-11-14 22:13:17.831,0.026,6,2001:db8:0:a89e:ba7d:398b:bc7e:264c,41905,2001:db8:4350:572b::6f0e,443,22,1893,1\n", 0x103},
    {"csv-long",
     "ts,te,td,sa,da,sp,dp,pr,flg,fwd,stos,ipkt,ibyt,opkt,obyt,in,out,sas,das,smk,dmk,dtos,dir,nh,nhb,svln,dvln,ismc,odmc,idmc,osmc,"
     "mpls1,mpls2,mpls3,mpls4,mpls5,mpls6,mpls7,mpls8,mpls9,mpls10,cl,sl,al,ra,eng,exid,tr\n"
     "2023-11-14 22:13:12,2023-11-14 22:13:12,0.000,10.21.113.139,143.247.83.118,63086,53,UDP,........,0,0,1,80,0,0,0,0,64512,0,24,21,0,1,"
     "0.0.0.0,0.0.0.0,0,0,00:00:00:00:00:00,00:00:00:00:00:00,00:00:00:00:00:00,00:00:00:00:00:00,"
     "0-0-0,0-0-0,0-0-0,0-0-0,0-0-0,0-0-0,0-0-0,0-0-0,0-0-0,0-0-0,    0.000,    0.000,    0.000,127.0.1.4,0/3,0,2023-11-14 22:13:19.498\n", 1},
    {"csv:first,%sa,user_name,icmp_type,sampling_rate,acl_in,mpls_labels,src_mac,httpHost, bytes",
     "first,srcAddr,user_name,icmp_type,sampling_rate,acl_in,mpls_labels,src_mac,httpHost,bytes\n"
     "2023-11-14T22:13:12.498000Z,10.21.113.139,ann,,,,,,,80\n"
     "2023-11-14T22:13:13.107000Z,10.21.7.188,,,100,,12345 54321,00:00:5e:00:53:01,example.org,2804\n"
     "2023-11-14T22:13:17.831000Z,2001:db8:0:a89e:ba7d:398b:bc7e:264c,\"b,\"\"o\"\"b\x1b[31m\",,1,,,,,1893\n"
     "2023-11-11T22:13:20.000000Z,10.0.0.1,,8,,a515c3fcc7e4513601010101,,,,123456789012\n", 4},
    {"csv:%ts,%dp,%flg,%pr,%eng,%mpls1,%evt", "firstSeen,dstPort,flags,proto,engine,mplsLabel1,event\n"
     "2023-11-11 22:13:20.000,2048,........,1,1/2,0-0-0,DENIED\n", 0x34},
    {"csv:someTexts,bytes", "someTexts,bytes\n,80\n\"a\"\"b c,d\",2804\n,1893\n,123456789012\n", 4},
    {"ndjson:someTexts", "{\"someTexts\":null}\n{\"someTexts\":[\"a\\\"b\",\"c,d\"]}\n{\"someTexts\":null}\n{\"someTexts\":null}\n", 4},
    {"ndjson:first,%sa,user_name,icmp_type,sampling_rate,acl_in,mpls_labels,httpHost,%td",
     "{\"first\":\"2023-11-14T22:13:12.498000Z\",\"srcAddr\":\"10.21.113.139\",\"user_name\":\"ann\",\"icmp_type\":null,\"sampling_rate\":null,\"acl_in\":null,\"mpls_labels\":null,\"httpHost\":null,\"duration\":0}\n"
     "{\"first\":\"2023-11-14T22:13:13.107000Z\",\"srcAddr\":\"10.21.7.188\",\"user_name\":null,\"icmp_type\":null,\"sampling_rate\":100,\"acl_in\":null,\"mpls_labels\":[12345,54321],\"httpHost\":\"example.org\",\"duration\":17}\n"
     "{\"first\":\"2023-11-14T22:13:17.831000Z\",\"srcAddr\":\"2001:db8:0:a89e:ba7d:398b:bc7e:264c\",\"user_name\":\"b,\\\"o\\\"b\\u001b[31m\",\"icmp_type\":null,\"sampling_rate\":1,\"acl_in\":null,\"mpls_labels\":null,\"httpHost\":null,\"duration\":26}\n"
     "{\"first\":\"2023-11-11T22:13:20.000000Z\",\"srcAddr\":\"10.0.0.1\",\"user_name\":\"\",\"icmp_type\":8,\"sampling_rate\":null,\"acl_in\":\"a515c3fcc7e4513601010101\",\"mpls_labels\":null,\"httpHost\":null,\"duration\":259199999}\n", 4},
    {"json:src_port,httpHost", "[\n{\n\t\"src_port\" : 63086,\n\t\"httpHost\" : null\n},\n{\n\t\"src_port\" : 53657,\n\t\"httpHost\" : \"example.org\"\n}]\n", 2},
    {"json:src_port", "[\n]\n", 0},
    {"json",
     "[\n{\n\t\"cnt\" : 1,\n\t\"type\" : \"FLOW\",\n\t\"sampled\" : 0,\n\t\"first\" : \"2023-11-14T22:13:12.498\",\n"
     "\t\"last\" : \"2023-11-14T22:13:12.498\",\n\t\"received\" : \"2023-11-14T22:13:19.498\",\n\t\"in_packets\" : 1,\n\t\"in_bytes\" : 80,\n"
     "\t\"proto\" : 17,\n\t\"tcp_flags\" : \"........\",\n\t\"src_port\" : 63086,\n\t\"dst_port\" : 53,\n\t\"src_tos\" : 0,\n"
     "\t\"src4_addr\" : \"10.21.113.139\",\n\t\"dst4_addr\" : \"143.247.83.118\",\n\t\"src_mask\" : 24,\n\t\"dst_mask\" : 21,\n"
     "\t\"src_net\" : \"10.21.113.0\",\n\t\"dst_net\" : \"143.247.80.0\",\n\t\"direction\" : 1,\n\t\"src_as\" : 64512,\n"
     "\t\"ip4_router\" : \"127.0.1.4\",\n\t\"observationDomainID\" : 3,\n\t\"protocol_version\" : 9,\n\t\"user_name\" : \"ann\"\n}]\n", 1},
    {"ndjson",
     "{\"cnt\":1,\"type\":\"FLOW\",\"sampled\":1,\"first\":\"2023-11-14T22:13:13.107\",\"last\":\"2023-11-14T22:13:13.124\",\"received\":\"2023-11-14T22:13:19.498\","
     "\"in_packets\":42,\"in_bytes\":2804,\"proto\":6,\"tcp_flags\":\"...APRSF\",\"src_port\":53657,\"dst_port\":443,\"src_tos\":0,"
     "\"src4_addr\":\"10.21.7.188\",\"dst4_addr\":\"117.87.43.54\",\"direction\":0,\"out_packets\":7,\"out_bytes\":700,\"ip4_router\":\"127.0.1.4\","
     "\"mpls_1\":\"12345-5-0\",\"mpls_2\":\"54321-0-1\",\"in_src_mac\":\"00:00:5e:00:53:01\",\"observationDomainID\":3,\"protocol_version\":9,\"sampling_rate\":100}\n"
     "{\"cnt\":2,\"type\":\"FLOW\",\"sampled\":0,\"first\":\"2023-11-14T22:13:17.831\",\"last\":\"2023-11-14T22:13:17.857\",\"received\":\"2023-11-14T22:13:19.498\","
     "\"in_packets\":22,\"in_bytes\":1893,\"proto\":6,\"tcp_flags\":\"CEUAPRSF\",\"src_port\":41905,\"dst_port\":443,\"src_tos\":184,"
     "\"src6_addr\":\"2001:db8:0:a89e:ba7d:398b:bc7e:264c\",\"dst6_addr\":\"2001:db8:4350:572b::6f0e\",\"src_mask\":48,\"src_net\":\"2001:db8::\",\"src_as\":4200000001,"
     "\"ip4_router\":\"127.0.1.4\",\"observationDomainID\":3,\"protocol_version\":10,\"sampling_rate\":1,\"user_name\":\"b,\\\"o\\\"b\\u001b[31m\"}\n"
     "{\"cnt\":3,\"type\":\"EVENT\",\"sampled\":0,\"first\":\"2023-11-11T22:13:20.000\",\"last\":\"2023-11-14T22:13:19.999\",\"received\":\"2023-11-14T22:13:19.498\","
     "\"in_packets\":99999999,\"in_bytes\":123456789012,\"proto\":1,\"icmp_type\":8,\"icmp_code\":0,\"src_tos\":0,"
     "\"src4_addr\":\"10.0.0.1\",\"dst4_addr\":\"192.0.2.2\",\"dst_mask\":8,\"dst_net\":\"192.0.0.0\",\"aggr_flows\":12,\"src_as\":0,"
     "\"ip6_router\":\"2001:db8::4\",\"event_id\":3,\"event\":\"DENIED\",\"t_event\":\"2017-12-06T06:48:15.187\",\"ingress_acl\":\"0xa515c3fc/0xc7e45136/0x1010101\","
     "\"observationDomainID\":258,\"protocol_version\":5,\"user_name\":\"\"}\n", 0x14},
    {"null", "", 4},
};
/* clang-format on */

/* Type and code of a row that has them are shown where nobody knows its protocol; of other rows they are not. */
static void test_icmp_of_unknown_protocol(void **state)
{
    (void)state;
    struct column *proto = NULL, *type = NULL, *code = NULL;
    for (size_t i = 0; i < UNIT_N(columns); i++) {
        proto = strcmp(columns[i].name, "proto") == 0 ? &columns[i] : proto;
        type = strcmp(columns[i].name, "icmp_type") == 0 ? &columns[i] : type;
        code = strcmp(columns[i].name, "icmp_code") == 0 ? &columns[i] : code;
    }
    const struct column kept[] = {*proto, *type, *code};
    struct query_format_options o = {.name = "ndjson"};
    proto->null = 0x9; /* of rows 0 and 3 */
    proto->num[3] = 6; /* which is no value */
    for (int single = 0; single < 2; single++) {
        const char *said = run(o, 3, 4, single, false);
        assert_non_null(strstr(said, ",\"icmp_type\":8,\"icmp_code\":0,"));
        assert_null(strstr(said, "\"proto\""));
        assert_null(strstr(run(o, 0, 3, single, false), "icmp"));
    }
    code->null = 0xf;
    assert_non_null(strstr(run(o, 3, 4, 0, false), ",\"icmp_type\":8,\"src_tos\""));
    *proto = kept[0];
    *type = kept[1];
    *code = kept[2];
}

static void test_data(void **state)
{
    (void)state;
    for (size_t i = 0; i < UNIT_N(data); i++)
        for (int single = 0; single < 2; single++) {
            struct query_format_options o = {.name = data[i].format};
            unsigned to = data[i].rows & 15, from = data[i].rows >> 4 & 15;
            if (data[i].rows >> 8) { /* rows 0 and 2 */
                char both[4096];
                (void)snprintf(both, sizeof both, "%s", run(o, 0, 1, single, false));
                const char *second = run(o, 2, 3, single, false);
                second = strchr(second, '\n') + 1;
                (void)snprintf(both + strlen(both), sizeof both - strlen(both), "%s", second);
                same(data[i].format, both, data[i].want);
                continue;
            }
            same(data[i].format, run(o, from, to, single, false), data[i].want);
        }
}

static void test_extras(void **state)
{
    (void)state;
    struct query_field extra = query_field_named("httpHost");
    struct query_format_options o = {.name = "ndjson", .extras = &extra, .n_extras = 1};
    assert_non_null(strstr(run(o, 1, 2, false, false), ",\"httpHost\":\"example.org\"}\n"));
    o.name = "raw";
    const char *text = run(o, 1, 2, false, false);
    assert_non_null(strstr(text, "\nFlow Record: \n  RecordCount  =                 1\n"));
    assert_non_null(
        strstr(text, "\n  first        =     1699999993107 [2023-11-14 22:13:13.107]\n"));
    assert_non_null(strstr(text, "\n  proto        =                 6 TCP\n"));
    assert_non_null(strstr(text, "\n  tcp flags    =              0x1f ...APRSF\n"));
    assert_non_null(strstr(text, "\n  src addr     =       10.21.7.188\n"));
    assert_non_null(strstr(text, "\n  MPLS Lbl  2  =         54321-0-1\n"));
    assert_non_null(strstr(text, "\n  in src mac   = 00:00:5e:00:53:01\n"));
    assert_non_null(strstr(text, "\n  httpHost     =       example.org\n"));
    assert_null(strstr(text, "ICMP"));
    text = run(o, 0, 1, false, false);
    assert_non_null(strstr(text, "\n  src mask     =                24 10.21.113.0/24\n"));
    assert_null(strstr(text, "httpHost"));
}

/* --- groups and statistics ------------------------------------------------------------------------ */

static void test_groups(void **state)
{
    (void)state;
    struct query_field keys[3] = {query_field_column(FLOW_src_addr),
                                  query_field_column(FLOW_dst_port)};
    struct query_format_options o = {.aggregated = true, .keys = keys, .n_keys = 2};
    same("-A srcip,dstport", run(o, 0, 3, false, false),
         "Date first seen             Duration           Src IP Addr Dst Pt   Packets    Bytes     "
         " bps    Bpp Flows\n"
         "2023-11-14 22:13:12.498     00:00:00.000     10.21.113.139     53         1       80     "
         "   0     80     1\n"
         "2023-11-14 22:13:13.107     00:00:00.017       10.21.7.188    443        42     2804    "
         "1.3 M     66     1\n"
         "2023-11-14 22:13:17.831     00:00:00.026  2001:db..7e:264c    443        22     1893   "
         "582461     86     1\n");
    o.name = "csv";
    same("-A srcip,dstport -o csv", run(o, 1, 2, false, false),
         "firstSeen,duration,srcAddr,dstPort,packets,bytes,bps,bpp,flows\n"
         "2023-11-14 22:13:13.107,0.017,10.21.7.188,443,42,2804,1319529,66,1\n");
    o.name = "ndjson";
    same("-A srcip,dstport -o ndjson", run(o, 2, 3, false, false),
         "{\"src6_addr\":\"2001:db8:0:a89e:ba7d:398b:bc7e:264c\",\"dst_port\":443,\"first\":\"2023-"
         "11-14T22:13:17.831\","
         "\"last\":\"2023-11-14T22:13:17.857\",\"in_packets\":22,\"in_bytes\":1893,\"out_packets\":"
         "0,\"out_bytes\":0,"
         "\"aggr_flows\":1,\"pps\":846,\"bps\":582461,\"bpp\":86}\n");
    o.name = "long"; /* what is no key has no value */
    same("-A srcip,dstport -o long", run(o, 1, 2, false, false),
         "Date first seen             Duration     Proto      Src IP Addr:Port          Dst IP "
         "Addr:Port     Flags Tos  Packets    Bytes Flows\n"
         "2023-11-14 22:13:13.107     00:00:00.017 0          10.21.7.188:0     ->          "
         "0.0.0.0:443   ...APRSF   0       42     2804     1\n");
    o.name = NULL;
    o.n_keys = 1;
    keys[0] = query_field_column(FLOW_proto);
    same(
        "-A proto", run(o, 1, 2, false, false),
        "Date first seen             Duration      Proto   Packets    Bytes      bps    Bpp Flows\n"
        "2023-11-14 22:13:13.107     00:00:00.017  TCP          42     2804    1.3 M     66     "
        "1\n");
    keys[0] = query_field_derived(QUERY_D_SRC_NET);
    keys[0].bits4 = 24;
    keys[0].bits6 = 128;
    same("-A srcip4/24", run(o, 0, 1, false, false),
         "Date first seen             Duration           Src IP Addr   Packets    Bytes      bps   "
         " Bpp Flows\n"
         "2023-11-14 22:13:12.498     00:00:00.000       10.21.113.0         1       80        0   "
         "  80     1\n");
    o.name = "fmt:%sa %sap %sn %da|"; /* the source is the prefix, whichever way it is shown */
    same("-A srcip4/24 -o fmt:", run(o, 0, 1, false, false),
         "     Src IP Addr      Src IP Addr:Port          Src Network      Dst IP Addr \n"
         "     10.21.113.0      10.21.113.0:0          10.21.113.0/24          0.0.0.0|\n");
    o.name = "csv:%sa,%sn,%byt";
    same("-A srcip4/24 -o csv:", run(o, 0, 1, false, false),
         "srcAddr,srcNet,bytes\n10.21.113.0/24,10.21.113.0/24,80\n");
    o.name = NULL;
}

static void test_stats(void **state)
{
    (void)state;
    query_arena *a = query_arena_new();
    weir_err err;
    struct query_stat stats[2];
    assert_int_equal(query_stat_parse(a, "srcip/bytes", &stats[0], &err), WEIR_OK);
    assert_int_equal(query_stat_parse(a, "proto/ibyte", &stats[1], &err), WEIR_OK);
    struct query_format_options o = {.stats = stats, .n_stats = 1};
    static const char want[] =
        "Top 10 Src IP Addr ordered by bytes:\n"
        "Date first seen                 Duration Proto       Src IP Addr    Flows(%)     "
        "Packets(%)       Bytes(%)         pps      bps   bpp\n"
        "2023-11-14 22:13:12.498     00:00:00.000 any       10.21.113.139        1( 6.7)        1( "
        "0.0)       80( 0.0)        0        0    80\n"
        "2023-11-14 22:13:13.107     00:00:00.017 any         10.21.7.188        1( 6.7)       49( "
        "0.0)     3504( 0.0)     2882    1.6 M    71\n"
        "2023-11-14 22:13:17.831     00:00:00.026 any    2001:db..7e:264c        1( 6.7)       22( "
        "0.0)     1893( 0.0)      846   582461    86\n"
        "2023-11-11 22:13:20.000  2d 23:59:59.999 any            10.0.0.1       12(80.0)  100.0 "
        "M(100.0)  123.5 G(100.0)      385    3.8 M  1234\n\n";
    same("-s srcip/bytes, totals at the end", run(o, 0, 4, false, false), want);
    same("-s srcip/bytes, row by row", run(o, 0, 4, true, false), want);
    o.totals = &sum;
    same("-s srcip/bytes, totals known", run(o, 0, 4, true, false), want);
    o.name = "csv";
    same("-s srcip/bytes -o csv", run(o, 3, 4, false, false),
         "ts,te,td,pr,val,fl,flP,pkt,pktP,byt,bytP,pps,bps,bpp\n"
         "2023-11-11 22:13:20.000,2023-11-14 "
         "22:13:19.999,259199.999,any,10.0.0.1,12,80.0,99999999,100.0,123456789012,100.0,385,"
         "3810394,1234\n");
    o.name = "json";
    o.n_stats = 2;
    same("two statistics -o json", run(o, 3, 4, false, false),
         "[\n{\n\t\"stat\" : \"srcip/bytes\",\n\t\"first\" : "
         "\"2023-11-11T22:13:20.000\",\n\t\"last\" : \"2023-11-14T22:13:19.999\",\n"
         "\t\"proto\" : 0,\n\t\"srcip\" : \"10.0.0.1\",\n\t\"flows\" : 12,\n\t\"packets\" : "
         "99999999,\n\t\"bytes\" : 123456789012,\n"
         "\t\"pps\" : 385,\n\t\"bps\" : 3810394,\n\t\"bpp\" : 1234\n},\n"
         "{\n\t\"stat\" : \"proto/ibyte\",\n\t\"first\" : \"2023-11-11T22:13:20.000\",\n\t\"last\" "
         ": \"2023-11-14T22:13:19.999\",\n"
         "\t\"proto\" : 1,\n\t\"flows\" : 12,\n\t\"packets\" : 99999999,\n\t\"bytes\" : "
         "123456789012,\n"
         "\t\"pps\" : 385,\n\t\"bps\" : 3810394,\n\t\"bpp\" : 1234\n}]\n");
    o.name = NULL;
    o.stats = &stats[1];
    o.n_stats = 1;
    o.plain_numbers = true;
    o.quiet = true;
    same("-s proto/ibyte -N -q", run(o, 1, 2, false, false),
         "2023-11-14 22:13:13.107            0.017 6                     6        1( 6.7)       "
         "42( 0.0)     2804( 0.0)     2470  1319529    66\n\n");
    assert_int_equal(query_stat_parse(a, "record/bytes", &stats[0], &err), WEIR_OK);
    o = (struct query_format_options){.stats = stats, .n_stats = 1};
    same("-s record/bytes", run(o, 0, 1, false, false),
         "Top 10 flows ordered by bytes:\n"
         "Date first seen             Duration     Proto      Src IP Addr:Port          Dst IP "
         "Addr:Port   Packets    Bytes Flows\n"
         "2023-11-14 22:13:12.498     00:00:00.000 UDP      10.21.113.139:63086 ->   "
         "143.247.83.118:53           1       80     1\n");
    query_arena_free(a);
}

static void test_chart(void **state)
{
    (void)state;
    struct query_field time = query_field_derived(QUERY_D_TIME_BUCKET);
    time.span_us = 60000000;
    struct query_format_options o = {.name = "chart",
                                     .keys = &time,
                                     .n_keys = 1,
                                     .aggregated = true,
                                     .width = 44,
                                     .ascii = true,
                                     .chart_by = "packets"};
    same("chart", run(o, 0, 3, false, false),
         "packets in intervals of 1m\n"
         "2023-11-14 22:13:00         1 #\n"
         "2023-11-14 22:14:00        49 #############\n"
         "2023-11-14 22:15:00        22 #####\n\n");
    o.ascii = false;
    same("chart with blocks", run(o, 0, 3, true, false),
         "packets in intervals of 1m\n"
         "2023-11-14 22:13:00         1 \u258e\n"
         "2023-11-14 22:14:00        49 "
         "\u2588\u2588\u2588\u2588\u2588\u2588\u2588\u2588\u2588\u2588\u2588\u2588\u2588\n"
         "2023-11-14 22:15:00        22 \u2588\u2588\u2588\u2588\u2588\u258a\n\n");
    o.ascii = true;
    o.chart_by = "bps";
    const char *text = run(o, 2, 4, false, false);
    assert_non_null(
        strstr(text, "\n... 149 intervals without flows\n2023-11-15 00:45:00    16.5 G ####"));
}

static void test_summary(void **state)
{
    (void)state;
    struct query_format_options o = {.name = "line"};
    const char *text = strstr(run(o, 0, 1, false, true), "Summary");
    assert_non_null(text);
    static const char want[] =
        "Summary: total flows: 15, total bytes: 123.5 G, total packets: 100.0 M, avg bps: 3.8 M, "
        "avg pps: 385, avg bpp: 1234\n"
        "Time window: 2023-11-11 22:13:20 - 2023-11-14 22:13:19\n"
        "Total flows processed: 100, passed: 4, Blocks skipped: 1, Bytes read: 647376\n"
        "Counters scaled by the sampling rate: 1 of 4 flows; 2 flows of unknown rate counted as "
        "sent\n"
        "Files: 2, row groups: 2 read, 1 skipped (1 outside the time window)\n"
        "Sys: ";
    UNIT_CHECK(strncmp(text, want, strlen(want)) == 0, "got\n%s", text);
    assert_non_null(strstr(text, " flows/second: 100000.0 Runtime: 0.0010s\n"));
    o.quiet = true;
    assert_null(strstr(run(o, 0, 1, false, true), "Summary"));
    o = (struct query_format_options){.name = "csv-long"};
    assert_non_null(strstr(run(o, 0, 1, false, true),
                           "\nSummary\nflows,bytes,packets,avg_bps,avg_pps,avg_"
                           "bpp\n15,123456794489,100000071,3810394,385,1234\n"));
    o.name = "ndjson:bytes";
    same("no summary in data", run(o, 0, 1, false, true), "{\"bytes\":80}\n");
    base_buf b = {0};
    struct query q = {0};
    query_summary_json(&q, &sum, &b);
    base_buf_char(&b, 0);
    assert_non_null(
        strstr(b.data, "{\"summary\":{\"flows\":15,\"packets\":100000071,\"bytes\":123456794489,"));
    assert_non_null(strstr(
        b.data,
        ",\"first\":\"2023-11-11T22:13:20.000000Z\",\"last\":\"2023-11-14T22:13:19.999999Z\"}}\n"));
    base_buf_done(&b);
}

/* --- Parquet -------------------------------------------------------------------------------------- */

static struct parquet_bytes cell_text(parquet_file *f, const char *name, size_t row, bool *null)
{
    static char kept[64];
    weir_err err = {0};
    int column = parquet_column_find(f, name);
    UNIT_CHECK(column >= 0, "no column %s", name);
    parquet_cursor *c;
    assert_int_equal(parquet_cursor_new(f, 0, (size_t)column, &c, &err), WEIR_OK);
    const void *dict;
    uint32_t n_dict;
    assert_int_equal(parquet_cursor_dict(c, &dict, &n_dict, &err), WEIR_OK);
    struct parquet_data d;
    UNIT_CHECK(parquet_cursor_read(c, ROWS, &d, &err) == WEIR_OK, "%s: %s", name, err.msg);
    *null = d.valid && !parquet_bit(d.valid, row);
    struct parquet_bytes t = {NULL, 0};
    if (!*null)
        t = dict && d.codes ? ((const struct parquet_bytes *)dict)[d.codes[row]]
                            : ((const struct parquet_bytes *)d.values)[row];
    assert_true(t.len < sizeof kept);
    if (t.len)
        memcpy(kept, t.data, t.len);
    kept[t.len] = 0;
    t.data = (const uint8_t *)kept;
    parquet_cursor_free(c);
    return t;
}

static uint64_t cell_number(parquet_file *f, const char *name, size_t row, unsigned octets)
{
    weir_err err = {0};
    int column = parquet_column_find(f, name);
    UNIT_CHECK(column >= 0, "no column %s", name);
    parquet_cursor *c;
    assert_int_equal(parquet_cursor_new(f, 0, (size_t)column, &c, &err), WEIR_OK);
    const void *dict;
    uint32_t n_dict;
    assert_int_equal(parquet_cursor_dict(c, &dict, &n_dict, &err), WEIR_OK);
    struct parquet_data d;
    UNIT_CHECK(parquet_cursor_read(c, ROWS, &d, &err) == WEIR_OK, "%s: %s", name, err.msg);
    size_t at = dict && d.codes ? d.codes[row] : row;
    const void *values = dict && d.codes ? dict : d.values;
    uint64_t v = octets == 4 ? ((const uint32_t *)values)[at] : ((const uint64_t *)values)[at];
    parquet_cursor_free(c);
    return v;
}

static void test_parquet(void **state)
{
    (void)state;
    for (int single = 0; single < 2; single++) {
        struct query_field extra = query_field_named("httpHost");
        struct query_format_options o = {.name = "parquet", .extras = &extra, .n_extras = 1};
        (void)run(o, 0, 4, single, true);
        parquet_file *f;
        weir_err err = {0};
        weir_status s = parquet_open_memory(written.data, written.len - 1, "result", &f, &err);
        UNIT_CHECK(s == WEIR_OK, "%s", err.msg);
        assert_int_equal(parquet_n_rows(f), 4);
        bool null;
        assert_string_equal((const char *)cell_text(f, "src_addr", 2, &null).data,
                            "2001:db8:0:a89e:ba7d:398b:bc7e:264c");
        assert_string_equal((const char *)cell_text(f, "httpHost", 1, &null).data, "example.org");
        (void)cell_text(f, "httpHost", 0, &null);
        assert_true(null);
        assert_int_equal(cell_number(f, "bytes", 3, 8), 123456789012);
        assert_int_equal(cell_number(f, "src_port", 0, 4), 63086);
        assert_int_equal(cell_number(f, "first", 1, 8), T0 + 609000);
        parquet_close(f);
    }
    struct query_field key = query_field_column(FLOW_src_addr);
    struct query_format_options o = {
        .name = "parquet", .aggregated = true, .keys = &key, .n_keys = 1};
    (void)run(o, 0, 0, false, true); /* an empty result is a file too */
    parquet_file *f;
    weir_err err = {0};
    assert_int_equal(parquet_open_memory(written.data, written.len - 1, "result", &f, &err),
                     WEIR_OK);
    assert_int_equal(parquet_n_rows(f), 0);
    assert_int_equal(parquet_column_find(f, "src_addr"), 0);
    assert_true(parquet_column_find(f, "flows") > 0);
    parquet_close(f);
}

static void test_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *name, *want;
    } cases[] = {
        {"lines", "unknown format 'lines'"},
        {"", "unknown format ''"},
        {"fmt:%ts %foo", "unknown token '%foo'"},
        {"fmt:%{name", "needs a name"},
        {"fmt:%ipl", "%ipl: not available: payload is not kept"},
        {"csv:%sap", "%sap is for tables only"},
        {"csv:%foo", "unknown token '%foo'"},
        {"csv:bytes,,packets", "an empty name"},
        {"json:%exp", "has no form in JSON"},
        {"chart", "give --every"},
    };
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        query_arena *a = query_arena_new();
        struct query_format_options o = {.name = cases[i].name, .write = take};
        query_format *f = NULL;
        weir_err err = {0};
        assert_int_equal(query_format_new(&o, a, &f, &err), WEIR_EFORMAT);
        UNIT_CHECK(strstr(err.msg, cases[i].want) != NULL, "%s: %s", cases[i].name, err.msg);
        assert_null(f);
        query_arena_free(a);
    }
}

int main(void)
{
    setenv("TZ", "UTC", 1);
    tzset();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_icmp_of_unknown_protocol),
        cmocka_unit_test(test_data),
        cmocka_unit_test(test_extras),
        cmocka_unit_test(test_groups),
        cmocka_unit_test(test_stats),
        cmocka_unit_test(test_chart),
        cmocka_unit_test(test_summary),
        cmocka_unit_test(test_parquet),
        cmocka_unit_test(test_wrong),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    base_buf_done(&written);
    return failed;
}
