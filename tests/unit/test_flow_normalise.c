/* What records become: fields and the columns they fill, extra columns, the JSON column; by all ways in (a record, a set,
 * gathered over packets), which must agree on anything that a template can say. */
#include "flow/normalise.h"

#include "cells.h"
#include "export.h"
#include "heap.h"
#include "unit.h"

enum { N_WAYS = 3, NOTE = 2 };

/* Every way through a decoder of its own. */
struct both {
    weir_decoder *d[N_WAYS];
    flow_normaliser *n[N_WAYS];
    flow_batch *flows[N_WAYS], *options[N_WAYS];
    int way;
    bool hold; /* records that are gathered stay so */
    weir_endpoint from;
    uint64_t added, lost;
    base_buf text, why;
};

static void add(struct both *t, weir_status status, size_t n)
{
    assert_true(status == WEIR_OK || status == WEIR_ENOMEM);
    if (status == WEIR_OK)
        t->added += n;
    else
        t->lost += n;
}

static void on_record(void *user, const weir_record *r)
{
    struct both *t = user;
    add(t, flow_add_record(t->n[t->way], t->flows[t->way], r), 1);
}

static void on_records(void *user, const weir_record *first, size_t n)
{
    struct both *t = user;
    add(t, flow_add_records(t->n[t->way], t->flows[t->way], first, n), n);
}

static void on_options(void *user, const weir_record *r)
{
    struct both *t = user;
    add(t, flow_add_options(t->n[t->way], t->options[t->way], r), 1);
}

static void on_noted_record(void *user, const weir_record *r)
{
    struct both *t = user;
    (void)flow_note_record(t->n[NOTE], t->flows[NOTE], r); /* its counters say what became of it */
}

static void on_noted_records(void *user, const weir_record *first, size_t n)
{
    struct both *t = user;
    (void)flow_note_records(t->n[NOTE], t->flows[NOTE], first, n);
}

static void on_noted_options(void *user, const weir_record *r)
{
    struct both *t = user;
    (void)flow_add_options(t->n[NOTE], t->options[NOTE], r);
}

static const weir_handlers ways[N_WAYS] = {
    {.record = on_record, .options = on_options},
    {.record = on_record, .records = on_records, .options = on_options},
    {.record = on_noted_record, .records = on_noted_records, .options = on_noted_options},
};

static void both_init(struct both *t)
{
    *t = (struct both){.from = {.family = 4, .port = 4739, .addr = {192, 0, 2, 1}}};
    for (int i = 0; i < N_WAYS; i++) {
        t->d[i] = weir_decoder_new(NULL, NULL);
        t->n[i] = flow_normaliser_new();
        t->flows[i] = flow_batch_new(FLOW_TABLE_FLOWS);
        t->options[i] = flow_batch_new(FLOW_TABLE_OPTIONS);
        assert_true(t->d[i] && t->n[i] && t->flows[i] && t->options[i]);
    }
}

static void both_done(struct both *t)
{
    for (int i = 0; i < N_WAYS; i++) {
        weir_decoder_free(t->d[i]);
        flow_normaliser_free(t->n[i]);
        flow_batch_free(t->flows[i]);
        flow_batch_free(t->options[i]);
    }
    base_buf_done(&t->text);
    base_buf_done(&t->why);
}

static void feed_one(struct both *t, const uint8_t *data, size_t len)
{
    uint8_t *exact =
        __real_malloc(len + 1) /* so that a sanitizer sees every octet read behind it */;
    assert_non_null(exact);
    memcpy(exact + 1, data, len);
    (void)weir_decode(t->d[t->way], &t->from, EXPORT_NS, exact + 1, len, &ways[t->way], t, NULL);
    __real_free(exact);
}

static void flush(struct both *t)
{
    weir_status status = flow_flush(t->n[NOTE], t->flows[NOTE]);
    assert_true(status == WEIR_OK || status == WEIR_ENOMEM);
    assert_int_equal(flow_noted(t->n[NOTE]), 0);
}

static void feed(struct both *t, const uint8_t *data, size_t len)
{
    struct flow_counters before = *flow_normaliser_counters(t->n[NOTE]);
    const struct flow_counters *after = flow_normaliser_counters(t->n[NOTE]);
    for (t->way = 0; t->way < N_WAYS; t->way++)
        feed_one(t, data, len);
    t->way = 0;
    if (!t->hold)
        flush(t);
    t->added += after->rows + after->option_rows - before.rows - before.option_rows;
    t->lost += after->rows_lost - before.rows_lost;
}

/* Blocks, and from=N port=N (exporter 192.0.2.N) udp tcp: who sends from here on. */
static void run(struct both *t, const char *script)
{
    while (*script) {
        size_t word = strcspn(script, " \n");
        if (isspace((unsigned char)*script)) {
            script++;
            continue;
        }
        if (strncmp(script, "from=", 5) == 0)
            t->from.addr[3] = (uint8_t)strtoul(script + 5, NULL, 0);
        else if (strncmp(script, "port=", 5) == 0)
            t->from.port = (uint16_t)strtoul(script + 5, NULL, 0);
        else if (strncmp(script, "udp", 3) == 0)
            t->from.transport = WEIR_UDP;
        else if (strncmp(script, "tcp", 3) == 0)
            t->from.transport = WEIR_STREAM;
        else
            word = 0;
        script += word;
        if (word)
            continue;
        export_packet p = {0};
        script = export_parse_block(script, &p);
        feed(t, p.data, p.len);
        free(p.data);
    }
}

/* The rows of a batch from a column on, joined by "; ". */
static const char *rows(struct both *t, const flow_batch *b, uint32_t first)
{
    base_buf line = {0};
    base_buf_reset(&t->text);
    for (uint32_t row = 0; row < flow_batch_rows(b); row++) {
        base_buf_reset(&line);
        cells_row(b, first, row, &line);
        if (row > 0)
            base_buf_str(&t->text, "; ");
        base_buf_add(&t->text, line.data, line.len);
    }
    base_buf_char(&t->text, 0);
    base_buf_done(&line);
    return t->text.data;
}

static void check_same(struct both *t)
{
    for (int way = 1; way < N_WAYS; way++) {
        UNIT_CHECK(cells_same(t->flows[0], t->flows[way], &t->why), "way %d differs: %s", way,
                   t->why.data);
        UNIT_CHECK(cells_same(t->options[0], t->options[way], &t->why), "way %d differs: %s", way,
                   t->why.data);
    }
}

static void expect(uint32_t from, const char *what, const char *script, const char *want)
{
    struct both t;
    both_init(&t);
    run(&t, script);
    bool options = flow_batch_rows(t.options[0]) > 0 && flow_batch_rows(t.flows[0]) == 0;
    const char *got = rows(&t, options ? t.options[0] : t.flows[0], from);
    UNIT_CHECK(strcmp(got, want) == 0, "%s:\n  %s\nnot\n  %s", what, got, want);
    check_same(&t);
    both_done(&t);
}

struct row_case {
    const char *what, *script, *want;
};

/* Cases from src_addr on. */
static const struct row_case cases[] = {
    {"a v5 record: what its columns are, the header's sampling",
     "F5 count=1 sampling=16394{ 0a000001 0a000002 0a000003 0001 0002 00000005 000003e8 000dbba0 "
     "000e0000 0050 01bb "
     "00 12 06 b8 fde8 fde9 18 10 0000 }",
     "src_addr=10.0.0.1 dst_addr=10.0.0.2 src_port=80 dst_port=443 proto=6 tcp_flags=18 tos=184 "
     "bytes=1000 packets=5 "
     "sampling_rate=10.0 sampling_source=header in_if=1 out_if=2 src_as=65000 dst_as=65001 "
     "src_mask=24 dst_mask=16 "
     "next_hop=10.0.0.3"},
    {"ICMP out of the destination port, where nothing else carries it",
     "F5 count=1{ 0a000001 0a000002 00000000 0001 0002 00000001 00000054 000dbba0 000e0000 0000 "
     "0303 "
     "00 00 01 00 0000 0000 00 00 0000 }",
     "src_addr=10.0.0.1 dst_addr=10.0.0.2 src_port=0 dst_port=771 proto=1 tcp_flags=0 icmp_type=3 "
     "icmp_code=3 tos=0 "
     "bytes=84 packets=1 in_if=1 out_if=2 src_as=0 dst_as=0 src_mask=0 dst_mask=0 "
     "next_hop=0.0.0.0"},
    {"ICMP of both versions: each protocol's own element first",
     "I{ S0002{ 0100 0005 0004 0001 0020 0002 008b 0002 00b0 0001 000b 0002 }"
     "S0100{ 01 0800 0000 00 0001  3a 0000 8000 00 0002  06 0000 0000 00 0003  06 0102 0000 05 "
     "0004 } }",
     "dst_port=1 proto=1 icmp_type=0 icmpTypeCodeIPv4=2048; dst_port=2 proto=58 icmp_type=128 "
     "icmp_code=0; "
     "dst_port=3 proto=6; dst_port=4 proto=6 icmpTypeCodeIPv4=258 icmpTypeIPv4=5"},
    {"integers of other widths; what is too large for its column",
     "I{ S0002{ 0100 0004 0001 0003 0002 0001 0007 0004 0006 0001 } S0100{ 010203 ff 00000050 ff  "
     "000001 01 00010000 02 } }",
     "src_port=80 tcp_flags=255 bytes=66051 packets=255; tcp_flags=2 bytes=1 packets=1 "
     "extra={\"sourceTransportPort\":65536}"},
    {"a total beside a delta: the second source has its own column",
     "I{ S0002{ 0100 0003 0055 0008 0001 0008 00e7 0008 } S0100{ 0000000000000007 0000000000000005 "
     "0000000000000009 } }",
     "bytes=5 octetTotalCount=7 initiatorOctets=9"},
    {"biflow: reverse elements and responder counters",
     "I{ S0002{ 0100 0004 0001 0004 8001 0004 00007279 8002 0004 00007279 012b 0004 }"
     "S0100{ 00000001 00000002 00000003 00000004 } }",
     "bytes=1 bytes_rev=2 packets_rev=3 responderPackets=4"},
    {"DSCP stands two bits higher in the octet of service",
     "I{ S0002{ 0100 0001 00c3 0001 } S0100{ 2e 40 00 01 } }",
     "tos=184; extra={\"ipDiffServCodePoint\":64}; tos=0; tos=4"},
    {"IPv4 and IPv6 in one record: by version, else what is not zero, else IPv4",
     "N count=4{ S0000{ 0100 0005 0008 0004 000c 0004 001b 0010 001c 0010 003c 0001 } S0100{"
     "0a000001 0a000002 20010db8000000000000000000000001 20010db8000000000000000000000002 06 "
     "0a000001 0a000002 20010db8000000000000000000000001 20010db8000000000000000000000002 00 "
     "00000000 00000000 20010db8000000000000000000000001 20010db8000000000000000000000002 00 "
     "00000000 00000000 00000000000000000000000000000000 00000000000000000000000000000000 00 } }",
     "src_addr=2001:db8::1 dst_addr=2001:db8::2 ip_version=6 sourceIPv4Address=10.0.0.1 "
     "destinationIPv4Address=10.0.0.2; "
     "src_addr=10.0.0.1 dst_addr=10.0.0.2 ip_version=0 sourceIPv6Address=2001:db8::1 "
     "destinationIPv6Address=2001:db8::2; "
     "src_addr=2001:db8::1 dst_addr=2001:db8::2 ip_version=0 sourceIPv4Address=0.0.0.0 "
     "destinationIPv4Address=0.0.0.0; "
     "src_addr=0.0.0.0 dst_addr=0.0.0.0 ip_version=0 sourceIPv6Address=:: "
     "destinationIPv6Address=::"},
    {"an IPv6 next hop of an IPv4 flow",
     "I{ S0002{ 0100 0003 0008 0004 000f 0004 003e 0010 } S0100{ 0a000001 00000000 "
     "20010db8000000000000000000000001 } }",
     "src_addr=10.0.0.1 next_hop=2001:db8::1 ipNextHopIPv4Address=0.0.0.0"},
    {"MPLS labels: places behind the last one are left out, a second bottom is kept",
     "I{ S0002{ 0100 0003 0046 0003 0047 0003 0048 0003 }"
     "S0100{ 000640 0007d1 000000  000000 000000 000000  000641 0007d1 000000 } }",
     "mpls_labels=[100,125] mpls_exp=[0,0] mpls_eos=2; ; "
     "mpls_labels=[100,125] mpls_exp=[0,0] mpls_eos=1 mplsLabelStackSection2=\"0007d1\""},
    {"NSEL in NetFlow v9: numbers of ASA",
     "N count=1{ S0000{ 0100 0005 9c41 0004 9c43 0002 80ea 0002 80e8 000c 9c40 0008 }"
     "S0100{ c0000201 1388 03e9 0102030405060708090a0b0c 616c696365000000 } }",
     "nat_src_addr=192.0.2.1 nat_src_port=5000 fw_ext_event=1001 "
     "acl_in=\"0102030405060708090a0b0c\" user_name=alice"},
    {"v9 numbers of nProbe: milliseconds become microseconds",
     "N count=1{ S0000{ 0100 0002 e0fb 0004 e13b 0004 } S0100{ 00000003 68740000 } }",
     "client_latency_us=3000 http_host=ht"},
    {"Cisco AVC: host and URL under one element",
     "I{ S0002{ 0100 0001 afcb ffff 00000009 0101 0002 afcb ffff 00000009 afcb ffff 00000009 }"
     "S0100{ 08 030000503402 6162  08 030000503401 2f78  08 030000503403 7879  02 6364 }"
     "S0101{ 08 030000503401 2f79 08 030000503402 6768 } }",
     "http_host=ab; http_url=/x; appHTTPHost=\x03"
     "\x00\x00P4\x03xy" /* compared up to the NUL */},
    {"elements without a column: typed, named; what no registry knows",
     "I{ S0002{ 0100 0005 0022 0004 01cc 0004 8001 0002 000f423f 0187 0004 0040 0004 }"
     "S0100{ 0000000a 61626300 abcd 00000001 00000040 } }",
     "sampling_rate=10.0 sampling_source=record http_host=abc samplingInterval=10 "
     "e999999_1=\"abcd\" "
     "flowSelectedOctetDeltaCount=1 ipv6ExtensionHeaders=64"},
    {"an element twice: the column has the first, a list has both",
     "I{ S0002{ 0100 0004 0008 0004 0008 0004 01cc 0002 01cc 0002 } S0100{ 0a000001 0a000002 6161 "
     "6262 } }",
     "src_addr=10.0.0.1 http_host=aa sourceIPv4Address_list=[10.0.0.1,10.0.0.2] "
     "httpRequestHost_list=[aa,bb]"},
    {"values that do not fit their type",
     "I{ S0002{ 0100 0004 0008 0005 0060 0002 0114 0001 0038 0004 } S0100{ 0102030405 ff41 03 "
     "01020304 } }",
     "extra={\"sourceIPv4Address\":\"0102030405\",\"sourceMacAddress\":\"01020304\","
     "\"applicationName\":\"ff41\","
     "\"dataRecordsReliability\":\"03\"}"},
    {"fields without octets", "N{ S0000{ 0100 0002 0060 0000 0001 0001 } S0100{ 05 06 } }",
     "bytes=5; bytes=6"},
    {"padding is dropped", "I{ S0002{ 0100 0002 00d2 0003 0001 0001 } S0100{ 000000 05 } }",
     "bytes=5"},
    {"lists of RFC 6313", "I{ S0002{ 0101 0001 0123 ffff } S0101{ 09 03 0052 0002 6162 6364 } }",
     "basicList={\"semantic\":\"allOf\",\"element\":\"interfaceName\",\"items\":[\"ab\",\"cd\"]}"},
    {"records of an inner template, and one that nobody has sent",
     "I{ S0002{ 0100 0002 0008 0004 0007 0002 0101 0001 0124 ffff }"
     "S0101{ 0f 03 0100 0a000001 0050 0a000002 0051  05 03 0300 0102 } }",
     "subTemplateList={\"semantic\":\"allOf\",\"items\":[{\"sourceIPv4Address\":\"10.0.0.1\","
     "\"sourceTransportPort\":80},"
     "{\"sourceIPv4Address\":\"10.0.0.2\",\"sourceTransportPort\":81}]}; "
     "subTemplateList={\"semantic\":\"allOf\",\"items\":[],\"octets\":\"0303000102\",\"error\":"
     "\"template unknown\"}"},
    {"variable-length text",
     "I{ S0002{ 0100 0002 01cc ffff 0001 0004 } S0100{ 03 616263 00000001 00 00000002 } }",
     "bytes=1 http_host=abc; bytes=2 http_host="},
    {"a name that a column of the table has in other letters",
     "N count=1{ S0000{ 0100 0001 dd7d 0004 } S0100{ 6162 0000 } }", "app_name=ab"},
    {"float, signed, boolean, MAC",
     "I{ S0002{ 0100 0004 0140 0008 01b2 0004 0114 0001 0038 0006 }"
     "S0100{ 3ff8000000000000 fffffffe 01 00005e005301 } }",
     "src_mac=00:00:5e:00:53:01 absoluteError=1.5 mibObjectValueInteger=-2 "
     "dataRecordsReliability=1"},
};

static void test_cases(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < UNIT_N(cases); i++)
        expect(FLOW_src_addr, cases[i].what, cases[i].script, cases[i].want);
}

/* Cases from the first column on, or from `first`. */
static void test_head_and_times(void **unused)
{
    (void)unused;
    static const struct row_case times[] = {
        {"uptime against the header",
         "N count=2{ S0000{ 0100 0002 0016 0004 0015 0004 } S0100{ 000dbba0 000f4240 000f4241 "
         "000f4242 } }",
         "first=2023-11-14T22:11:40.000000Z last=2023-11-14T22:13:20.000000Z; "
         "first=2023-11-14T22:13:20.001000Z last=2023-11-14T22:13:20.002000Z"},
        {"milliseconds; a time of 0 is none",
         "I{ S0002{ 0100 0002 0098 0008 0099 0008 } S0100{ 0000018bcfe56800 0000018bcfe56801 "
         "0000000000000000 0000018bcfe56801 } }",
         "first=2023-11-14T22:13:20.000000Z last=2023-11-14T22:13:20.001000Z; "
         "first=2023-11-14T22:13:20.001000Z last=2023-11-14T22:13:20.001000Z"},
        {"nanoseconds keep a column of their own",
         "I{ S0002{ 0100 0002 009c 0008 009d 0008 } S0100{ e8fda57080000000 e8fda57080000010 } }",
         "first=2023-11-14T07:51:12.500000Z last=2023-11-14T07:51:12.500000Z "
         "flowStartNanoseconds=2023-11-14T07:51:12.500000000Z "
         "flowEndNanoseconds=2023-11-14T07:51:12.500000003Z"},
        {"two kinds of time: the finer one, the other is kept",
         "I{ S0002{ 0100 0004 0096 0004 0097 0004 0098 0008 0099 0008 }"
         "S0100{ 6553f100 6553f101 0000018bcfe56800 0000018bcfe56801 } }",
         "first=2023-11-14T22:13:20.000000Z last=2023-11-14T22:13:20.001000Z "
         "flowStartSeconds=2023-11-14T22:13:20.000000Z flowEndSeconds=2023-11-14T22:13:21.000000Z"},
        {"no time: the export time", "I{ S0002{ 0100 0001 0001 0001 } S0100{ 05 } }",
         "first=2023-11-14T22:13:20.000000Z last=2023-11-14T22:13:20.000000Z bytes=5"},
        {"uptimes that cannot be placed are kept",
         "I{ S0002{ 0100 0002 0016 0004 0015 0004 } S0100{ 00000001 00000002 } }",
         "first=2023-11-14T22:13:20.000000Z last=2023-11-14T22:13:20.000000Z flowStartSysUpTime=1 "
         "flowEndSysUpTime=2"},
        {"an event's time is last and event_time",
         "I{ S0002{ 0100 0002 0098 0008 0143 0008 } S0100{ 0000018bcfe56800 0000018bcfe56805 } }",
         "first=2023-11-14T22:13:20.000000Z last=2023-11-14T22:13:20.005000Z "
         "event_time=2023-11-14T22:13:20.005000Z"},
        {"microseconds before the export",
         "I{ S0002{ 0100 0002 009e 0004 009f 0004 } S0100{ 000003e8 00000001 } }",
         "first=2023-11-14T22:13:19.999000Z last=2023-11-14T22:13:19.999999Z"},
    };
    for (size_t i = 0; i < UNIT_N(times); i++)
        expect(FLOW_first, times[i].what, times[i].script, times[i].want);
    expect(0, "the head of a row", "I seq=7 dom=9{ S0002{ 0100 0001 0001 0001 } S0100{ 05 } }",
           "received=2023-11-14T22:13:20.000000Z exporter=192.0.2.1 exporter_port=4739 domain=9 "
           "protocol_version=10 "
           "sequence=7 template_id=256 first=2023-11-14T22:13:20.000000Z "
           "last=2023-11-14T22:13:20.000000Z bytes=5");
    static const char two[] =
        "received=2023-11-14T22:13:20.000000Z exporter=192.0.2.1 exporter_port=4739 domain=9 "
        "protocol_version=10 sequence=7 template_id=256 first=2023-11-14T22:13:20.000000Z "
        "last=2023-11-14T22:13:20.000000Z bytes=5; "
        "received=2023-11-14T22:13:20.000000Z exporter=192.0.2.1 exporter_port=4739 domain=9 "
        "protocol_version=10 template_id=256 first=2023-11-14T22:13:20.000000Z "
        "last=2023-11-14T22:13:20.000000Z bytes=6";
    expect(0, "the sequence number, once a packet",
           "I seq=7 dom=9{ S0002{ 0100 0001 0001 0001 } S0100{ 05 06 } }", two);
    expect(0, "and once over several sets",
           "I seq=7 dom=9{ S0002{ 0100 0001 0001 0001 } S0100{ 05 } S0100{ 06 } }", two);
    expect(0, "v1 has no domain, no sequence, no template",
           "F1 count=1{ 0a000001 0a000002 0a000003 0001 0002 00000005 000003e8 000f4240 000f4240 "
           "0050 01bb 0000 06 00 12 "
           "00000000000000 }",
           "received=2023-11-14T22:13:20.000000Z exporter=192.0.2.1 exporter_port=4739 "
           "protocol_version=1 "
           "first=2023-11-14T22:13:20.000000Z last=2023-11-14T22:13:20.000000Z src_addr=10.0.0.1 "
           "dst_addr=10.0.0.2 "
           "src_port=80 dst_port=443 proto=6 tcp_flags=18 tos=0 bytes=1000 packets=5 in_if=1 "
           "out_if=2 next_hop=10.0.0.3");
}

static void test_options(void **unused)
{
    (void)unused;
    static const struct row_case options[] = {
        {"interface table of NetFlow v9",
         "N count=1{ S0001{ 0100 0004 0008 0002 0004 0052 0008 0053 0004 } S0100{ 00000007 "
         "6574683000000000 6c616e00 } }",
         "scope={\"scopeInterface\":7} if_index=7 if_name=eth0 if_description=lan"},
        {"sampler",
         "N count=1{ S0001{ 0100 0004 000c 0001 0004 0030 0001 0031 0001 0032 0004 } S0100{ "
         "00000000 05 02 000003e8 } }",
         "scope={\"scopeSystem\":0} sampler_id=5 sampling_rate=1000.0 sampling_algorithm=2 "
         "samplerRandomInterval=1000"},
        {"application table of IPFIX: the scope is a column too",
         "I{ S0003{ 0100 0002 0001 005f 0004 0060 0004 } S0100{ 03000050 68747470 } }",
         "scope={\"applicationId\":\"03000050\"} app_id=\"03000050\" app_name=http"},
        {"what queries do not use",
         "I{ S0003{ 0100 0003 0001 0095 0004 0029 0008 8001 0001 000f423f } S0100{ 00000001 "
         "0000000000000010 ff } }",
         "scope={\"observationDomainId\":1} exportedMessageTotalCount=16 e999999_1=\"ff\""},
        {"a scope and a field of one element",
         "I{ S0003{ 0100 0003 0002 00ea 0004 00eb 0004 00ea 0004 } S0100{ 00000001 00000002 "
         "00000003 } }",
         "scope={\"ingressVRFID\":1,\"egressVRFID\":2} vrf_id=1 ingressVRFID=3"},
    };
    for (size_t i = 0; i < UNIT_N(options); i++)
        expect(FLOW_OPTION_scope, options[i].what, options[i].script, options[i].want);
}

/* More elements than there is room for columns: the JSON column takes them. */
static void test_no_room(void **unused)
{
    (void)unused;
    struct both t;
    both_init(&t);
    export_packet p = {0};
    enum { N = FLOW_MAX_EXTRA + 3 };
    export_put16(&p, 10);
    export_put16(&p, 16 + 8 + 8 * N + 4 + N);
    export_put32(&p, EXPORT_TIME);
    export_put32(&p, 0);
    export_put32(&p, 1);
    export_put16(&p, 2);
    export_put16(&p, 8 + 8 * N);
    export_put16(&p, 256);
    export_put16(&p, N);
    for (unsigned i = 0; i < N; i++) {
        export_put16(&p, 0x8000 | (1 + i));
        export_put16(&p, 1);
        export_put32(&p, 999999);
    }
    export_put16(&p, 256);
    export_put16(&p, 4 + N);
    for (unsigned i = 0; i < N; i++)
        export_put_be(&p, i & 255, 1);
    feed(&t, p.data, p.len);
    check_same(&t);
    assert_int_equal(flow_batch_n_columns(t.flows[0]), FLOW_N_COLUMNS + FLOW_MAX_EXTRA);
    base_buf text = {0};
    cells_cell(t.flows[0], FLOW_extra, 0, &text);
    base_buf_char(&text, 0);
    assert_string_equal(text.data,
                        "{\"e999999_513\":\"00\",\"e999999_514\":\"01\",\"e999999_515\":\"02\"}");
    assert_int_equal(flow_normaliser_counters(t.n[0])->values_extra, 3);
    /* The next batch has room again. */
    for (int i = 0; i < N_WAYS; i++)
        flow_batch_reset(t.flows[i]);
    run(&t, "I{ S0002{ 0101 0001 8201 0001 000f423f } S0101{ 07 } }");
    assert_string_equal(rows(&t, t.flows[0], FLOW_src_addr), "e999999_513=\"07\"");
    check_same(&t);
    base_buf_done(&text);
    free(p.data);
    both_done(&t);
}

/* An exporter with many elements of its own that joins a long batch: what rows before it would take is bounded. */
static void test_late_columns(void **unused)
{
    (void)unused;
    struct both t;
    both_init(&t);
    export_packet p = {0};
    enum { N = 100, ROWS = 1000000 };
    export_put16(&p, 9);
    export_put16(&p, 2);
    export_put32(&p, 1000000);
    export_put32(&p, EXPORT_TIME);
    export_put32(&p, 0);
    export_put32(&p, 1);
    export_put16(&p, 0);
    export_put16(&p, 8 + 4 * N);
    export_put16(&p, 256);
    export_put16(&p, N);
    for (unsigned i = 0; i < N; i++) {
        export_put16(&p, 375 + i); /* counters of any kind */
        export_put16(&p, 1);
    }
    export_put16(&p, 256);
    export_put16(&p, 4 + N);
    for (unsigned i = 0; i < N; i++)
        export_put_be(&p, i, 1);
    for (int i = 0; i < N_WAYS; i++)
        (void)flow_batch_add_rows(t.flows[i], ROWS);
    heap.peak = heap.live;
    size_t before = heap.live;
    feed(&t, p.data, p.len);
    UNIT_CHECK(heap.peak - before < (size_t)N_WAYS * (3 * (64 << 20)) + ((size_t)ROWS * 800),
               "%zu octets", heap.peak - before);
    assert_true(flow_normaliser_counters(t.n[0])->values_extra > 0);
    for (int i = 1; i < N_WAYS; i++)
        assert_int_equal(flow_normaliser_counters(t.n[0])->values_extra,
                         flow_normaliser_counters(t.n[i])->values_extra);
    free(p.data);
    both_done(&t);
}

/* One name, two types; one name in two templates of two enterprises. */
static void test_names(void **unused)
{
    (void)unused;
    struct both t;
    both_init(&t);
    /* userName: 371 is text; httpHost of 2636 (157) and of 6871 (117) are both text. */
    run(&t, "I{ S0002{ 0100 0002 809d 0002 00000a4c 8075 0002 00001ad7 } S0100{ 6161 6262 } }"
            "I{ S0002{ 0101 0001 8075 0002 00001ad7 } S0101{ 6363 } }");
    assert_string_equal(rows(&t, t.flows[0], FLOW_src_addr),
                        "http_host=aa e6871_117=bb; http_host=cc");
    check_same(&t);
    /* A name that is taken with another type. */
    for (int i = 0; i < N_WAYS; i++) {
        flow_batch_reset(t.flows[i]);
        assert_int_not_equal(
            flow_batch_extra(t.flows[i], "SamplingInterval", FLOW_TYPE_TEXT, false), UINT32_MAX);
    }
    run(&t, "I{ S0002{ 0102 0001 0022 0001 } S0102{ 05 } }");
    assert_string_equal(rows(&t, t.flows[0], FLOW_src_addr),
                        "sampling_rate=5.0 sampling_source=record e0_34=5");
    check_same(&t);
    both_done(&t);
}

/* A batch that is handed on: the plan's columns are those of the batch that it writes to. */
static void test_batches(void **unused)
{
    (void)unused;
    struct both t;
    both_init(&t);
    run(&t, "I{ S0002{ 0100 0002 0022 0001 01cd 0002 } S0100{ 05 2f61 } }");
    for (int i = 0; i < N_WAYS; i++) {
        flow_batch_reset(t.flows[i]);
        (void)flow_batch_extra(t.flows[i], "another", FLOW_TYPE_U64, false);
    }
    run(&t, "I{ S0100{ 06 2f62 } }");
    assert_string_equal(rows(&t, t.flows[0], FLOW_http_host), "http_url=/b samplingInterval=6");
    for (int i = 0; i < N_WAYS; i++) {
        flow_batch_free(t.flows[i]);
        t.flows[i] = flow_batch_new(FLOW_TABLE_FLOWS);
    }
    run(&t, "I{ S0100{ 07 2f63 } }");
    assert_string_equal(rows(&t, t.flows[0], FLOW_http_host), "http_url=/c samplingInterval=7");
    check_same(&t);
    both_done(&t);
}

/* Samplers by interface: rates of a run are those of its records. */
static void test_rates(void **unused)
{
    (void)unused;
    expect(FLOW_sampling_rate, "rates by interface, and late ones",
           "N count=1{ S0001{ 0100 0004 0008 0002 0004 0022 0004 0023 0001 } S0100{ 00000001 "
           "0000000a 01 "
           "00000002 00000014 01 } }"
           "N count=5{ S0000{ 0101 0002 000a 0001 0001 0001 } S0101{ 01 00 01 01 02 02 03 03 02 04 "
           "} }",
           "sampling_rate=10.0 sampling_source=options in_if=1; sampling_rate=10.0 "
           "sampling_source=options in_if=1; "
           "sampling_rate=20.0 sampling_source=options in_if=2; in_if=3; sampling_rate=20.0 "
           "sampling_source=options in_if=2");
}

/* ---- anything that a template can say ---- */

static uint32_t state = 1;

static uint32_t rnd(uint32_t n)
{
    state = state * 1664525 + 1013904223;
    return (state >> 8) % n;
}

/* Elements that matter most, and some of every type; then any number. */
static uint32_t a_field(export_packet *p, bool ipfix)
{
    static const uint16_t common[] = {
        1,   2,   4,   5,   6,   7,   8,   9,   10,  11,  12,  13,  14,  15,  16,  17,  21,
        22,  27,  28,  29,  30,  32,  34,  48,  50,  52,  56,  58,  60,  61,  62,  70,  71,
        72,  82,  85,  89,  95,  96,  130, 136, 139, 147, 150, 151, 152, 153, 154, 155, 156,
        157, 158, 159, 160, 161, 176, 177, 178, 179, 195, 210, 225, 230, 231, 232, 236, 276,
        281, 291, 292, 293, 302, 305, 320, 322, 323, 325, 351, 371, 434, 460, 461};
    static const uint8_t lengths[] = {1, 2, 3, 4, 4, 4, 4, 5, 6, 7, 8, 8, 8, 9, 12, 16, 16, 0, 32};
    static const uint16_t usual[][2] = {
        {8, 4},   {12, 4},  {27, 16}, {28, 16}, {4, 1},   {7, 2},   {11, 2},  {152, 8},
        {153, 8}, {22, 4},  {21, 4},  {1, 4},   {2, 8},   {70, 3},  {71, 3},  {32, 2},
        {60, 1},  {62, 16}, {15, 4},  {56, 6},  {10, 2},  {48, 1},  {34, 4},  {9, 1},
        {29, 1},  {13, 1},  {30, 1},  {176, 1}, {177, 1}, {139, 2}, {156, 8}, {157, 8}};
    uint32_t kind = rnd(10), len, id;
    if (kind < 5) {
        uint32_t i = rnd(UNIT_N(usual));
        id = usual[i][0];
        len = usual[i][1];
    } else {
        id = kind < 9 ? common[rnd(UNIT_N(common))] : 1 + rnd(500);
        len = lengths[rnd(sizeof lengths)];
    }
    static const uint32_t pens[] = {29305, 9, 35632, 6871, 999999, 637};
    bool enterprise = ipfix && rnd(8) == 0;
    bool variable = ipfix && rnd(12) == 0;
    export_put16(p, enterprise ? 0x8000 | id : id);
    export_put16(p, variable ? 65535 : len);
    if (enterprise)
        export_put32(p, pens[rnd(UNIT_N(pens))]);
    return variable ? 65535 : len;
}

/* A packet of a random template and records for it; all octets of a value mostly of the same sort. */
static void a_packet(export_packet *p, bool ipfix, unsigned id)
{
    uint32_t lengths[40], n = 1 + rnd(24), octets = 0;
    bool options = rnd(8) == 0;
    uint32_t n_scope = options ? 1 + rnd(2) : 0;
    n += n_scope;
    p->len = 0;
    export_put16(p, ipfix ? 10 : 9);
    export_put16(p, 1);
    if (!ipfix)
        export_put32(p, rnd(2) ? 1000000 : 0xfffffff0);
    export_put32(p, EXPORT_TIME);
    export_put32(p, 0);
    export_put32(p, 1);
    size_t set = p->len;
    export_put16(p, ipfix ? 2 + options : options);
    export_put16(p, 0);
    export_put16(p, id);
    if (options && !ipfix) {
        export_put16(p, n_scope * 4);
        export_put16(p, (n - n_scope) * 4);
    } else {
        export_put16(p, n);
        if (options)
            export_put16(p, n_scope);
    }
    for (uint32_t i = 0; i < n; i++) {
        if (options && !ipfix && i < n_scope) {
            export_put16(p, 1 + rnd(5));
            export_put16(p, lengths[i] = 4);
        } else {
            lengths[i] = a_field(p, ipfix);
        }
        octets += lengths[i] == 65535 ? 1 : lengths[i];
    }
    export_set16(p, set + 2, (unsigned)(p->len - set));
    set = p->len;
    export_put16(p, id);
    export_put16(p, 0);
    for (uint32_t records = octets ? 1 + rnd(rnd(4) ? 6 : 100) : 0; records && p->len < 30000;
         records--) {
        for (uint32_t i = 0; i < n; i++) {
            uint32_t len = lengths[i], sort = rnd(4);
            if (len == 65535) {
                len = rnd(20);
                export_put_be(p, len, 1);
            }
            for (uint32_t k = 0; k < len; k++)
                export_put_be(p,
                              sort == 0   ? 0
                              : sort == 1 ? rnd(256)
                              : sort == 2 ? 'a' + rnd(3)
                                          : (k + 1 == len) * rnd(60),
                              1);
        }
    }
    export_set16(p, set + 2, (unsigned)(p->len - set));
    export_set16(p, 2, ipfix ? (unsigned)p->len : 100);
}

static void test_any_template(void **unused)
{
    (void)unused;
    export_packet p = {0};
    struct both t;
    both_init(&t);
    for (unsigned i = 0; i < 1500; i++) {
        bool ipfix = rnd(2);
        if (i % 50 == 0) {
            both_done(&t);
            both_init(&t);
        }
        a_packet(&p, ipfix, 256 + i % 50);
        feed(&t, p.data, p.len);
        if (i % 5 == 0) {
            check_same(&t);
            for (int k = 0; k < N_WAYS; k++) {
                flow_batch_reset(t.flows[k]);
                flow_batch_reset(t.options[k]);
            }
        }
    }
    const struct flow_counters *n = flow_normaliser_counters(t.n[1]);
    assert_true(n->rows > 100 && n->option_rows > 10 && n->rows_lost == 0);
    both_done(&t);
    free(p.data);
}

/* ---- records gathered over packets ---- */

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The rows of a batch, each as its cells in the order of the columns' names, in the order of that: which rows there are,
 * whatever order they and their columns came in. */
static char **row_set(const flow_batch *b)
{
    uint32_t n = flow_batch_rows(b), n_columns = flow_batch_n_columns(b);
    char **out = __real_calloc(n + 1, sizeof *out),
         **cells = __real_calloc(n_columns, sizeof *cells);
    base_buf text = {0};
    assert_true(out && cells);
    for (uint32_t row = 0; row < n; row++) {
        uint32_t n_cells = 0;
        for (uint32_t c = 0; c < n_columns; c++) {
            struct flow_vec v;
            flow_batch_vec(b, c, &v);
            if (!cells_there(&v, row))
                continue;
            base_buf_reset(&text);
            base_buf_printf(&text, "%s=", v.column->name);
            cells_cell(b, c, row, &text);
            base_buf_char(&text, 0);
            cells[n_cells++] = strdup(text.data);
        }
        qsort(cells, n_cells, sizeof *cells, by_text);
        base_buf_reset(&text);
        for (uint32_t c = 0; c < n_cells; c++) {
            base_buf_printf(&text, "%s ", cells[c]);
            __real_free(cells[c]);
        }
        base_buf_char(&text, 0);
        out[row] = strdup(text.data);
    }
    qsort(out, n, sizeof *out, by_text);
    base_buf_done(&text);
    __real_free(cells);
    return out;
}

static void check_same_set(struct both *t)
{
    char **a = row_set(t->flows[0]), **b = row_set(t->flows[NOTE]);
    assert_int_equal(flow_batch_rows(t->flows[0]), flow_batch_rows(t->flows[NOTE]));
    for (uint32_t i = 0; a[i] || b[i]; i++) {
        size_t same = 0; /* octets; what follows is shown */
        while (a[i] && b[i] && a[i][same] && a[i][same] == b[i][same])
            same++;
        UNIT_CHECK(a[i] && b[i] && strcmp(a[i], b[i]) == 0,
                   "row %u in order of content, from octet %zu on:\n  %.400s\nnot\n  %.400s", i,
                   same, b[i] ? b[i] + same : "(none)", a[i] ? a[i] + same : "(none)");
        __real_free(a[i]);
        __real_free(b[i]);
    }
    __real_free(a);
    __real_free(b);
}

/* Many packets before each flush: templates of all kinds mixed, re-defined while records of the old definition wait, exporters
 * that restart, sampling that changes, more packets and templates than may wait at once. */
static void test_gathered(void **unused)
{
    (void)unused;
    export_packet p = {0}, again[8] = {{0}};
    struct {
        uint32_t state;
        bool ipfix, known;
    } equal[8] = {{0}};
    struct both t;
    both_init(&t);
    t.hold = true;
    uint64_t held = 0;
    for (unsigned i = 0; i < 1500; i++) {
        bool ipfix = rnd(2);
        unsigned few = rnd(UNIT_N(again));
        t.from.addr[3] = (uint8_t)(1 + rnd(3));
        if (i % 8 == 3 && equal[few].known) { /* the same under another id */
            uint32_t now = state;
            state = equal[few].state;
            a_packet(&p, equal[few].ipfix, 256 + now % 8);
            state = now;
        } else if (
            i % 8 < 3 &&
            again[few]
                .len) { /* what came before comes again, and its records are read by what it says */
            p.len = 0;
            export_put(&p, again[few].data, again[few].len);
        } else {
            unsigned id = 256 + rnd(i % 400 < 200 ? 8 : 200);
            equal[few].state = state;
            equal[few].ipfix = ipfix;
            equal[few].known = true;
            a_packet(&p, ipfix, id);
            again[few].len = 0;
            export_put(&again[few], p.data, p.len);
        }
        feed(&t, p.data, p.len);
        if (flow_noted(t.n[NOTE]) > held)
            held = flow_noted(t.n[NOTE]);
        if (rnd(100) == 0) {
            flush(&t);
            check_same_set(&t);
            for (int k = 0; k < N_WAYS; k++) {
                flow_batch_reset(t.flows[k]);
                flow_batch_reset(t.options[k]);
            }
        }
        if (rnd(600) == 0) {
            flush(&t);
            both_done(&t);
            both_init(&t);
            t.hold = true;
        }
    }
    flush(&t);
    check_same_set(&t);
    UNIT_CHECK(held > 500, "only %d records waited", (int)held);
    both_done(&t);
    free(p.data);
    for (unsigned i = 0; i < UNIT_N(again); i++)
        free(again[i].data);
}

/* ---- templates that say the same ---- */

/* "ID: cells" of each gathered row, the columns from one on. */
static const char *rows_by_id(struct both *t, uint32_t from)
{
    base_buf line = {0};
    base_buf_reset(&t->text);
    for (uint32_t row = 0; row < flow_batch_rows(t->flows[NOTE]); row++) {
        base_buf_reset(&line);
        cells_row(t->flows[NOTE], from, row, &line);
        base_buf_str(&t->text, row ? "; " : "");
        cells_cell(t->flows[NOTE], FLOW_template_id, row, &t->text);
        base_buf_str(&t->text, ": ");
        base_buf_add(&t->text, line.data, line.len);
    }
    base_buf_char(&t->text, 0);
    base_buf_done(&line);
    return t->text.data;
}

/* Records of templates that share a plan are gathered as one and become rows in the order that they came in; those of
 * other templates come before or behind all of them. */
static void expect_gathered(const char *what, bool by_port, uint32_t from, const char *script,
                            const char *want)
{
    struct both t;
    both_init(&t);
    t.hold = true;
    for (int i = 0; by_port && i < N_WAYS; i++)
        assert_int_equal(weir_decoder_set_scope(t.d[i], &t.from, WEIR_SCOPE_PORT), WEIR_OK);
    run(&t, script);
    flush(&t);
    check_same_set(&t);
    const char *got = rows_by_id(&t, from);
    UNIT_CHECK(strcmp(got, want) == 0, "%s:\n  %s\nnot\n  %s", what, got, want);
    both_done(&t);
}

static void test_shared(void **unused)
{
    (void)unused;
    expect_gathered("two exporters, two ids, a column of their own", false, FLOW_src_addr,
                    "from=1 I{ S0002{ 0100 0003 0007 0002 8001 0002 000f423f 01cc ffff } }"
                    "from=2 I{ S0002{ 0200 0003 0007 0002 8001 0002 000f423f 01cc ffff } }"
                    "from=1 I{ S0100{ 0001 aaaa 0161 } }"
                    "from=2 I{ S0200{ 0002 bbbb 0162 } }"
                    "from=1 I{ S0100{ 0003 aaaa 0163 } }",
                    "256: src_port=1 http_host=a e999999_1=\"aaaa\"; "
                    "512: src_port=2 http_host=b e999999_1=\"bbbb\"; "
                    "256: src_port=3 http_host=c e999999_1=\"aaaa\"");
    expect_gathered("the order, a length, an element or the protocol is another one", false,
                    FLOW_src_addr,
                    "from=1 N count=4{ S0000{ 0100 0002 0007 0002 0004 0001 } "
                    "S0000{ 0101 0002 0004 0001 0007 0002 } S0000{ 0102 0002 0007 0001 0004 0001 } "
                    "S0000{ 0103 0002 000b 0002 0004 0001 } }"
                    "from=2 I{ S0002{ 0100 0002 0007 0002 0004 0001 } }"
                    "from=3 N count=1{ S0000{ 0200 0002 0007 0002 0004 0001 } }"
                    "from=1 N count=1{ S0100{ 0001 06 00 } } N count=1{ S0101{ 06 0002 00 } }"
                    "N count=1{ S0102{ 03 06 } } N count=1{ S0103{ 0004 06 00 } }"
                    "from=2 I{ S0100{ 0005 06 } } from=3 N count=1{ S0200{ 0006 06 00 } }",
                    "256: src_port=1 proto=6; 512: src_port=6 proto=6; 257: src_port=2 proto=6; "
                    "258: src_port=3 proto=6; 259: dst_port=4 proto=6; 256: src_port=5 proto=6");
    expect_gathered("elements that nobody knows are what they are called", false, FLOW_src_addr,
                    "from=1 I{ S0002{ 0100 0001 8001 0002 000f423f 0101 0001 8002 0002 000f423f } "
                    "S0100{ 0001 } S0101{ 0002 } }"
                    "from=2 I{ S0002{ 0100 0001 8002 0002 000f423f } S0100{ 0003 } }"
                    "from=3 I{ S0002{ 0100 0001 8001 0002 000f4240 } S0100{ 0004 } }"
                    "from=1 I{ S0100{ 0005 } }",
                    "256: e999999_1=\"0001\"; 256: e999999_1=\"0005\"; 257: e999999_2=\"0002\"; "
                    "256: e999999_2=\"0003\"; 256: e1000000_1=\"0004\"");
    expect_gathered("one of two redefines its template while records of both wait", false,
                    FLOW_src_addr,
                    "from=1 I{ S0002{ 0100 0002 0007 0002 0004 0001 } S0100{ 0001 06 } }"
                    "from=2 I{ S0002{ 0100 0002 0007 0002 0004 0001 } S0100{ 0002 06 } }"
                    "from=1 I{ S0002{ 0100 0002 000b 0002 0004 0001 } S0100{ 0003 06 } }"
                    "from=2 I{ S0100{ 0004 06 } }"
                    "from=1 I{ S0002{ 0101 0002 0007 0002 0004 0001 } S0101{ 0005 06 } }",
                    "256: src_port=1 proto=6; 256: src_port=2 proto=6; 256: src_port=4 proto=6; "
                    "257: src_port=5 proto=6; 256: dst_port=3 proto=6");
    expect_gathered("one of two withdraws it and defines it under another id", false, FLOW_src_addr,
                    "tcp from=1 I{ S0002{ 0100 0002 0007 0002 8001 0002 000f423f } "
                    "S0100{ 0001 aaaa } }"
                    "from=2 I{ S0002{ 0100 0002 0007 0002 8001 0002 000f423f } S0100{ 0002 bbbb } }"
                    "from=1 I{ S0002{ 0100 0000 } } "
                    "I{ S0002{ 0300 0002 0007 0002 8001 0002 000f423f } S0300{ 0003 cccc } }"
                    "from=2 I{ S0100{ 0004 dddd } }",
                    "256: src_port=1 e999999_1=\"aaaa\"; 256: src_port=2 e999999_1=\"bbbb\"; "
                    "768: src_port=3 e999999_1=\"cccc\"; 256: src_port=4 e999999_1=\"dddd\"");
    expect_gathered("two ids in one packet, fields of variable length", false, FLOW_src_addr,
                    "I{ S0002{ 0100 0002 0007 0002 01cc ffff 0101 0002 0007 0002 01cc ffff } "
                    "S0100{ 0001 0161 } S0101{ 0002 0162 0003 0163 } S0100{ 0004 0164 } }",
                    "256: src_port=1 http_host=a; 257: src_port=2 http_host=b; "
                    "257: src_port=3 http_host=c; 256: src_port=4 http_host=d");
    expect_gathered("ports that are exporters of their own", true, FLOW_src_addr,
                    "port=1001 I{ S0002{ 0100 0002 0007 0002 0004 0001 } }"
                    "port=1002 I{ S0002{ 0100 0002 000b 0002 0004 0001 "
                    "0101 0002 0007 0002 0004 0001 } }"
                    "port=1001 I{ S0100{ 0001 06 } }"
                    "port=1002 I{ S0101{ 0002 06 } S0100{ 0003 06 } }"
                    "port=1001 I{ S0100{ 0004 06 } }",
                    "256: src_port=1 proto=6; 257: src_port=2 proto=6; 256: src_port=4 proto=6; "
                    "256: dst_port=3 proto=6");
    expect_gathered("every exporter has a rate of its own", false, FLOW_sampling_rate,
                    "from=1 N count=2{ S0001{ 0100 0004 0004 0001 0004 0022 0004 } "
                    "S0100{ 00000000 0000000a } S0000{ 0101 0001 000a 0004 } }"
                    "from=2 N count=2{ S0001{ 0100 0004 0004 0001 0004 0022 0004 } "
                    "S0100{ 00000000 00000014 } S0000{ 0102 0001 000a 0004 } }"
                    "from=3 N count=1{ S0000{ 0101 0001 000a 0004 } }"
                    "from=1 N count=1{ S0101{ 00000001 } } from=2 N count=1{ S0102{ 00000002 } }"
                    "from=3 N count=1{ S0101{ 00000003 } } from=1 N count=1{ S0101{ 00000004 } }",
                    "257: sampling_rate=10.0 sampling_source=options in_if=1; "
                    "258: sampling_rate=20.0 sampling_source=options in_if=2; "
                    "257: in_if=3; "
                    "257: sampling_rate=10.0 sampling_source=options in_if=4");
}

static void test_shared_options(void **unused)
{
    (void)unused;
    struct both t;
    both_init(&t);
    run(&t, "from=1 N count=2{ S0001{ 0100 0004 0008 0002 0004 0052 0004 0053 0002 } "
            "S0100{ 00000007 65746830 6161 0000 } }"
            "from=2 N count=2{ S0001{ 0101 0004 0008 0002 0004 0052 0004 0053 0002 } "
            "S0101{ 00000008 65746831 6262 0000 } }"
            "from=1 N count=1{ S0100{ 00000009 65746832 6363 0000 } }");
    check_same(&t);
    const char *want =
        "template_id=256 scope={\"scopeInterface\":7} if_index=7 if_name=eth0 if_description=aa; "
        "template_id=257 scope={\"scopeInterface\":8} if_index=8 if_name=eth1 if_description=bb; "
        "template_id=256 scope={\"scopeInterface\":9} if_index=9 if_name=eth2 if_description=cc";
    const char *got = rows(&t, t.options[0], FLOW_OPTION_template_id);
    UNIT_CHECK(strcmp(got, want) == 0, "%s\nnot\n%s", got, want);
    both_done(&t);
}

/* Definition i of the many that there can be: three fields, each of 1 to 26 octets. id: the element of the second. */
static void one_of_many(export_packet *p, unsigned i, unsigned id)
{
    uint32_t lengths[3] = {1 + i % 26, 1 + i / 26 % 26, 1 + i / 676 % 26};
    p->len = 0;
    export_put16(p, 10);
    export_put16(p, 0);
    export_put32(p, EXPORT_TIME);
    export_put32(p, i);
    export_put32(p, 1);
    export_put16(p, 2);
    export_put16(p, 32);
    export_put16(p, 256);
    export_put16(p, 3);
    for (unsigned k = 0; k < 3; k++) {
        export_put16(p, 0x8000 | (k == 1 ? id : k));
        export_put16(p, lengths[k]);
        export_put32(p, 999999);
    }
    export_put16(p, 256);
    export_put16(p, 4 + lengths[0] + lengths[1] + lengths[2]);
    for (unsigned k = 0; k < 3; k++)
        for (uint32_t n = 0; n < lengths[k]; n++)
            export_put_be(p, k + 1, 1);
    export_set16(p, 2, (unsigned)p->len);
}

/* More templates than are remembered, and more contents: what waits becomes rows none the less. */
static void test_many(void **unused)
{
    (void)unused;
    enum { SAME = 70000, OTHER = 26 * 26 * 26, EVERY = 5000 };
    export_packet p = {0};
    struct both t;
    both_init(&t);
    t.hold = true;
    t.way = NOTE;
    size_t most = 0, first = 0, last = 0;
    for (unsigned i = 0; i < SAME + OTHER; i++) {
        one_of_many(&p, i < SAME ? i % 2 : i - SAME, i < SAME ? 1 : 2);
        feed_one(&t, p.data, p.len);
        if (i == 1)
            first = heap.live;
        if (i < SAME)
            last = heap.live;
        if (i < SAME && last > most)
            most = last;
        if (i % EVERY == EVERY - 1) {
            flush(&t);
            flow_batch_reset(t.flows[NOTE]);
        }
    }
    flush(&t);
    const struct flow_counters *c = flow_normaliser_counters(t.n[NOTE]);
    assert_int_equal(c->rows, SAME + OTHER);
    assert_int_equal(c->rows_lost, 0);
    UNIT_CHECK(most - first < (size_t)16 << 20, "%zu octets for two contents", most - first);
    UNIT_CHECK(last + ((size_t)4 << 20) < most, "%zu octets, at most %zu: nothing was forgotten",
               last, most);
    t.way = 0;
    both_done(&t);
    free(p.data);
}

/* Rates are those of the moment, though an option changes them before the records become rows. */
static void test_gathered_rates(void **unused)
{
    (void)unused;
    struct both t;
    both_init(&t);
    t.hold = true;
    run(&t, "N count=9{ S0001{ 0100 0004 0008 0001 0004 0022 0004 0023 0001 } S0000{ 0101 0001 "
            "0001 0001 } }"
            "N seq=1 count=1{ S0101{ 01 00 00 00 } }"
            "N seq=2 count=1{ S0100{ 00000000 0000000a 01 } S0101{ 02 00 00 00 } }"
            "N seq=3 count=1{ S0101{ 03 00 00 00 } S0100{ 00000000 00000014 01 } S0101{ 04 00 00 "
            "00 } }");
    assert_int_equal(flow_noted(t.n[NOTE]), 16);
    assert_int_equal(flow_batch_rows(t.flows[NOTE]), 0);
    flush(&t);
    check_same_set(&t);
    struct flow_vec v;
    flow_batch_vec(t.flows[NOTE], FLOW_sampling_rate, &v);
    const double *rates = v.values;
    assert_int_equal(v.n, 16);
    for (uint32_t i = 0; i < 16; i++) {
        assert_int_equal(cells_there(&v, i), i >= 4);
        if (i >= 4)
            assert_true(rates[i] == (i < 12 ? 10 : 20));
    }
    /* Once a packet, where its first record is. */
    flow_batch_vec(t.flows[NOTE], FLOW_sequence, &v);
    assert_int_equal(v.n_valid, 3);
    for (uint32_t i = 0; i < 12; i++)
        assert_int_equal(cells_there(&v, i), i % 4 == 0);
    both_done(&t);
}

/* What waits is copied: its templates may be withdrawn, re-defined, or go with their decoder. */
static void test_gathered_stays(void **unused)
{
    (void)unused;
    struct both t;
    both_init(&t);
    t.hold = true;
    run(&t,
        "I{ S0002{ 0100 0003 0008 0004 8001 0002 000f423f 01cc ffff } S0100{ 0a000001 abcd 02 6161 "
        "} }"
        "I{ S0002{ 0100 0002 0007 0002 8002 0002 000f423f } S0100{ 0050 0102 0051 0304 } }"
        "F5 count=1{ 0a000001 0a000002 00000000 0001 0002 00000001 00000054 000dbba0 000e0000 0000 "
        "0303 00 00 01 00 0000 0000 00 00 0000 }");
    assert_int_equal(flow_noted(t.n[NOTE]), 4);
    weir_decoder_free(t.d[NOTE]);
    t.d[NOTE] = NULL;
    flush(&t);
    assert_string_equal(rows(&t, t.flows[NOTE], FLOW_src_addr),
                        "src_addr=10.0.0.1 http_host=aa e999999_1=\"abcd\"; src_port=80 "
                        "e999999_2=\"0102\"; src_port=81 e999999_2=\"0304\"; src_addr=10.0.0.1 "
                        "dst_addr=10.0.0.2 src_port=0 dst_port=771 proto=1 tcp_flags=0 icmp_type=3 "
                        "icmp_code=3 tos=0 bytes=84 packets=1 in_if=1 out_if=2 src_as=0 dst_as=0 "
                        "src_mask=0 dst_mask=0 next_hop=0.0.0.0");
    check_same_set(&t);
    /* Forgotten before they became rows: lost, and counted so. */
    t.d[NOTE] = weir_decoder_new(NULL, NULL);
    run(&t, "I{ S0002{ 0100 0001 0001 0001 } S0100{ 01 02 03 } }");
    assert_int_equal(flow_noted(t.n[NOTE]), 3);
    flow_normaliser_forget(t.n[NOTE]);
    assert_int_equal(flow_noted(t.n[NOTE]), 0);
    assert_int_equal(flow_normaliser_counters(t.n[NOTE])->rows_lost, 3);
    both_done(&t);
}

/* Values that do not fit, times that are none: those few rows are as they would be alone. */
static void test_misfits(void **unused)
{
    (void)unused;
    export_packet p = {0};
    struct both t;
    both_init(&t);
    for (unsigned round = 0; round < 40; round++) {
        p.len = 0;
        unsigned n = 1 + rnd(60), bad = rnd(3) ? rnd(n) : n;
        export_put16(&p, 10);
        export_put16(&p, 16 + 4 + 4 + 8 * 4 + 4 + n * 31);
        export_put32(&p, EXPORT_TIME);
        export_put32(&p, 0);
        export_put32(&p, 1);
        export_put16(&p, 2);
        export_put16(&p, 4 + 4 + 8 * 4);
        export_put16(&p, 256);
        export_put16(&p, 8);
        static const uint16_t fields[8][2] = {{152, 8}, {153, 8}, {7, 4}, {4, 2},
                                              {6, 3},   {1, 3},   {8, 2}, {210, 1}};
        for (unsigned i = 0; i < 8; i++) {
            export_put16(&p, fields[i][0]);
            export_put16(&p, fields[i][1]);
        }
        export_put16(&p, 256);
        export_put16(&p, 4 + n * 31);
        for (unsigned i = 0; i < n; i++) {
            unsigned kind = i == bad ? 1 + rnd(5) : 0;
            export_put_be(&p,
                          kind == 1   ? 0
                          : kind == 2 ? UINT64_MAX
                                      : UINT64_C(1700000000000) + rnd(1000),
                          8);
            export_put_be(&p, 1700000001000 + rnd(1000), 8);
            export_put32(&p, kind == 3 ? 65536 + rnd(1000) : rnd(65536));
            export_put16(&p, kind == 4 ? 256 : rnd(3) ? 6 : 1);
            export_put_be(&p, kind == 5 ? 65535 + rnd(1000) : rnd(65536), 3);
            export_put_be(&p, rnd(1 << 24), 3);
            export_put16(&p, rnd(65536));
            export_put_be(&p, 0, 1);
        }
        export_set16(&p, 2, (unsigned)p.len);
        feed(&t, p.data, p.len);
        check_same(&t);
    }
    both_done(&t);
    free(p.data);
}

static void test_memory(void **unused)
{
    (void)unused;
    export_packet p = {0};
    for (unsigned round = 0; round < 60; round++) {
        struct both t;
        both_init(&t);
        a_packet(&p, round % 2, 256);
        uint64_t calls = heap.calls;
        feed(&t, p.data, p.len);
        calls = heap.calls - calls;
        uint64_t want = t.added;
        both_done(&t);
        for (uint64_t k = 1; k <= calls; k += 1 + calls / 40) {
            both_init(&t);
            heap.fail_at = heap.calls + k;
            feed(&t, p.data, p.len);
            heap.fail_at = 0;
            assert_true(t.added + t.lost <= want); /* the decoder may have lost the template */
            uint64_t have = 0, lost = 0;
            for (int i = 0; i < N_WAYS; i++) {
                const struct flow_counters *n = flow_normaliser_counters(t.n[i]);
                have += flow_batch_rows(t.flows[i]) + flow_batch_rows(t.options[i]);
                lost += n->rows_lost;
                assert_int_equal(n->rows, flow_batch_rows(t.flows[i]));
                assert_int_equal(n->option_rows, flow_batch_rows(t.options[i]));
            }
            assert_int_equal(have, t.added);
            assert_int_equal(lost, t.lost);
            /* What is there can be used, and goes on. */
            base_buf saved = {0};
            flow_batch_save(t.flows[1], 0, &saved);
            assert_false(saved.failed);
            base_buf_done(&saved);
            feed(&t, p.data, p.len);
            both_done(&t);
        }
    }
    heap.fail_at = heap.calls + 1;
    assert_null(flow_normaliser_new());
    heap.fail_at = heap.calls + 2;
    assert_null(flow_normaliser_new());
    heap.fail_at = 0;
    flow_normaliser_free(NULL);
    free(p.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),          cmocka_unit_test(test_head_and_times),
        cmocka_unit_test(test_options),        cmocka_unit_test(test_no_room),
        cmocka_unit_test(test_late_columns),   cmocka_unit_test(test_names),
        cmocka_unit_test(test_batches),        cmocka_unit_test(test_rates),
        cmocka_unit_test(test_any_template),   cmocka_unit_test(test_gathered),
        cmocka_unit_test(test_gathered_rates), cmocka_unit_test(test_gathered_stays),
        cmocka_unit_test(test_shared),         cmocka_unit_test(test_shared_options),
        cmocka_unit_test(test_many),           cmocka_unit_test(test_misfits),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
