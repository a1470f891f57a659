/* NetFlow v9 and the fixed formats: section N of tests/conformance.tsv and the cases of section O that are theirs. */
#include "conformance.h"

#define T256 "S0000{ 0100 0001  0001 0004 }"
#define D256 "S0100{ 00000005 }"
#define R256 "record 256 octetDeltaCount=5"
#define U256 "S0000{ 0100 0002  0002 0002  0001 0002 }"
#define S256 "record 256 packetDeltaCount=0 octetDeltaCount=5"
#define FLOW "B00*48"

static const weir_decoder_options by_port = {.scope = WEIR_SCOPE_PORT};
static const weir_decoder_options life_1800 = {.template_life_s = 1800};

/* clang-format off */
static const struct row rows[] = {
    {"N01", "a header cut at 19 octets", "X{0009 0000 00000000 00000000 00000000 000000}", "rejected ETRUNC", "rejected.short-header=1"},
    {"N02", "count too small, too large, 0", "N count=0{" T256 D256 "} N count=9999{" D256 "} N count=1{" D256 D256 "}",
     "learnt 256; " R256 "; decoded; " R256 "; decoded; " R256 "; " R256 "; decoded", "records_rejected=0"},
    {"N03", "flow set ids 2, 3 and 255 are skipped", "N{" T256 "S0002{0101 0001 0001 0004} S0003{00000000} S00ff{01020304}" D256 "}",
     "learnt 256; fault reserved-set; fault reserved-set; fault reserved-set; " R256 "; decoded", "templates=1 fault.reserved-set=3"},
    {"N03", "template and options template ids below 256", "N{S0000{00ff 0001 0001 0004  0100 0001 0001 0004} S0001{00ff 0004 0004 0001 0004 0022 0004}" D256 "}",
     "fault template-malformed; learnt 256; fault template-malformed; " R256 "; decoded", "templates=1"},
    {"N04", "the next flow set begins at the length's end", "N{" T256 "S0100{00000005 000000}" D256 "}", "learnt 256; " R256 "; " R256 "; decoded"},
    {"N04", "a length of 3 or past the end ends the packet; what came before stays", "N{" T256 D256 "S0100 len=3{00000006}} N{" D256 "S0100 len=9{00000006}}",
     "learnt 256; " R256 "; fault set-bounds; decoded; " R256 "; fault set-bounds; decoded", "fault.set-bounds=2"},
    {"N05", "types above 32767 have no enterprise number", "N{S0000{0100 0003 dd7d 0004 8001 0002 0001 0004} S0100{61626364 0102 00000005}}",
     "learnt 256; record 256 APP_ID=\"abcd\" e0id32769=0x0102 octetDeltaCount=5; decoded"},
    {"N06", "an options template", "N{S0001{0101 0004 0008 0001 0004 0022 0004 0023 0001} S0101{c0000201 00000064 02}}", NULL, "options=1 flows=0 templates=1"},
    {"N06", "lengths that are no multiple of 4", "N{S0001{0101 0003 0008 0001 0004 0022 0004 0023 0001}" T256 "} N{S0001{0101 0004 0006 0001 0004 0022 0004}}",
     "fault template-malformed; learnt 256; decoded; fault template-malformed; decoded", "templates=1"},
    {"N06", "two options templates in one flow set", "N{S0001{0101 0004 0004 0001 0004 0022 0004  0102 0004 0004 0001 0004 0022 0004}}", "learnt 257; learnt 258; decoded"},
    {"N07", "scope types 1 to 5", "N{S0001{0101 0014 0004 0001 0004 0002 0004 0003 0004 0004 0004 0005 0002 0029 0004} S0101{00000001 00000002 00000003 00000004 0100 00000009}}",
     NULL, "options=1 elements_unknown=0"},
    {"N07", "an element as scope", "N{S0001{0101 0004 0004 000a 0004 0029 0004} S0101{00000007 00000009}}",
     "learnt 257; options 257 (ingressInterface)=7 exportedMessageTotalCount=9; decoded"},
    {"N08", "a scope of length 0", "N{S0001{0101 0004 0004 0001 0000 0029 0004} S0101{00000009}}", NULL, "options=1 fault.template-malformed=0"},
    {"N08", "no scope at all", "N{S0001{0101 0000 0004 0029 0004} S0101{00000009}}", "learnt 257; options 257 exportedMessageTotalCount=9; decoded"},
    {"N09", "a new definition replaces the old at once", "N{" T256 D256 U256 D256 "}", "learnt 256; " R256 "; changed 256; " S256 "; decoded", "templates_changed=1"},
    {"N10", "an expired template is not used", "N{" T256 "} wait=1801 tick N{" D256 "}", "learnt 256; decoded; expired 256; waiting", NULL, &life_1800},
    {"N11", "data before its template is decoded later", "N seq=0{" D256 "} wait=5 N seq=1{" T256 "}", "waiting; learnt 256; decoded; late " R256 "; late decoded", "sets_late=1"},
    {"N12", "several template flow sets in one packet, data in others", "N{" T256 "S0000{0101 0001 0002 0004  0102 0001 0004 0001} S0000{0103 0001 0007 0002}} N{S0103{0050} S0102{06}" D256 "S0101{00000002}}",
     "learnt 256; learnt 257; learnt 258; learnt 259; decoded; record 259 sourceTransportPort=80; record 258 protocolIdentifier=6; " R256 "; record 257 packetDeltaCount=2; decoded"},
    {"N13", "padding in data flow sets, zero and not", "N{" T256 "S0100{00000005 00} S0100{00000005 ffff} S0100{00000005 000000}}", "learnt 256; " R256 "; " R256 "; " R256 "; decoded"},
    {"N13", "in template and options flow sets", "N{S0000{0100 0001 0001 0004 0000} S0001{0101 0004 0004 0001 0004 0029 0004 0000} S0101{00000001 00000009 00}}", NULL,
     "templates=2 options=1 fault.template-malformed=0"},
    {"N13", "other than 0 in template and options template flow sets", "N{S0000{0100 0001 0001 0004 ffff} S0001{0101 0004 0004 0001 0004 0029 0004 ffff}}", NULL,
     "templates=2 fault.template-malformed=0"},
    {"N13", "behind the last flow set", "N{" T256 D256 "000000} N{" D256 "00000000}", "learnt 256; " R256 "; decoded; " R256 "; decoded", "fault.set-bounds=0"},
    {"N14", "two source ids", "N dom=1{" T256 "} N dom=2{" U256 "} N dom=1{" D256 "} N dom=2{" D256 "}", "learnt 256; decoded; learnt 256; decoded; " R256 "; decoded; " S256 "; decoded"},
    {"N14", "two exporters", "N{" T256 "} from=2 N{" D256 "}", "learnt 256; decoded; waiting"},
    {"N14", "the port by option alone", "port=1 N{" T256 "} port=2 N{" D256 "}", "learnt 256; decoded; waiting", NULL, &by_port},
    {"N14", "v9 and IPFIX spaces never mix", "N{" T256 "} I{" D256 "}", "learnt 256; decoded; waiting"},
    {"N15", "a restart drops the templates", "N seq=9 up=900000 time=1700000000{" T256 "} N seq=0 up=1000 time=1700000100{" D256 "} N seq=1 up=2000 time=1700000101{" D256 "} wait=61 N seq=2 up=63000 time=1700000162{" D256 "}", "learnt 256; decoded; waiting; waiting; waiting", "restarts=1 templates=0"},
    {"N15", "one packet alone does not", "N seq=9 up=900000 time=1700000000{" T256 "} N seq=0 up=1000 time=1700000100{" D256 "} N seq=10 up=1001000 time=1700000101{" D256 "}",
     "learnt 256; decoded; waiting; " R256 "; decoded; late " R256 "; late decoded", "restarts=0 templates=1 sequence_unsure=1 sequence_lost=0"},
    {"N15", "of that port alone", "port=1 N seq=9 up=900000 time=1700000000{" T256 "} port=2 N seq=500 up=900000 time=1700000000{S0000{0101 0001 0002 0004}} port=1 N seq=0 up=1000 time=1700000100{S0101{00000005}" D256 "} port=1 N seq=1 up=2000 time=1700000101{" D256 "} wait=61 N seq=2 up=63000 time=1700000162{}",
     "learnt 256; decoded; learnt 257; decoded; record 257 packetDeltaCount=5; waiting; waiting; decoded", "restarts=1 templates=1"},
    {"N15", "a step of the clock does not", "N seq=0 up=900000 time=1700000000{" T256 "} N seq=1 up=901000 time=1700086400{" D256 "} N seq=2 up=902000 time=1700000002{" D256 "}",
     "learnt 256; decoded; " R256 "; decoded; " R256 "; decoded", "restarts=0"},
    {"N15", "nor do uptime that wraps or packets out of order", "N seq=0 up=4294967000 time=1700000000{" T256 "} N seq=1 up=704 time=1700000001{" D256 "} N seq=0 up=4294967000 time=1700000000{" D256 "}",
     "learnt 256; decoded; " R256 "; decoded; " R256 "; decoded", "restarts=0"},
    {"N15", "a restart near the wrap does", "N seq=9 up=4294900000 time=1700000000{" T256 "} N seq=0 up=5000 time=1700000600{" D256 "} N seq=1 up=6000 time=1700000601{" D256 "}", "learnt 256; decoded; waiting; waiting", "restarts=1"},
    {"N17", "counters of 1 to 8 octets", "N{S0000{0100 0008 0001 0001 0001 0002 0001 0003 0001 0004 0001 0005 0001 0006 0001 0007 0001 0008} S0100{01 0002 000003 00000004 0000000005 000000000006 00000000000007 0000000000000008}}",
     "learnt 256; record 256 octetDeltaCount=1 octetDeltaCount=2 octetDeltaCount=3 octetDeltaCount=4 octetDeltaCount=5 octetDeltaCount=6 octetDeltaCount=7 octetDeltaCount=8; decoded"},
    {"N18", "gaps are counted per exporter and source id", "N dom=1 seq=0{} N dom=2 seq=70{} from=2 N dom=1 seq=900{} from=1 N dom=1 seq=4{} N dom=2 seq=71{} from=2 N dom=1 seq=903{}", NULL, "sequence_lost=5"},
    {"N20", "types of a table of their own", "N{S0000{0100 0003 80ea 0002 9c45 0001 e0f6 0002} S0100{03e9 02 0007}}",
     "learnt 256; record 256 NF_F_FW_EXT_EVENT=1001 firewallEvent=2 L7_PROTO=7; decoded", "elements_unknown=0"},
    {"N21", "length 65535 is variable as in IPFIX", "N{S0000{0100 0002 0052 ffff 0001 0004} S0100{026162 00000005}}", "learnt 256; record 256 interfaceName=\"ab\" octetDeltaCount=5; decoded"},
    {"N21", "length 0", "N{S0000{0100 0002 0052 0000 0001 0004}" D256 "}", "learnt 256; record 256 interfaceName=\"\" octetDeltaCount=5; decoded"},
    {"N21", "a template without octets or without fields", "N{S0000{0100 0001 0001 0000  0101 0000  0102 0001 0001 0004}}", "fault template-malformed; fault template-malformed; learnt 258; decoded"},

    {"O15", "an options template whose scope is longer than its flow set", "N{S0001{0101 0100 0004 0001 0004 0029 0004}" T256 "}", "fault template-malformed; learnt 256; decoded", "templates=1"},
    {"O16", "v5: 30 announced, 29 there", "F5 count=30{B00*1392}", NULL, "flows=29 records=30 records_rejected=1 fault.record-truncated=1 decoded=1"},
    {"O16", "v5: 30 announced, none there", "F5 count=30{B00*47}", "rejected ETRUNC", "rejected.record-count=1"},
    {"O16", "v5: the last record cut", "F5 count=2{" FLOW "B00*47}", NULL, "flows=1 records_rejected=1"},
    {"O16", "v5: more octets than announced", "F5 count=1{" FLOW FLOW "}", NULL, "flows=1 records_rejected=0"},
};
/* clang-format on */

static void N01_header_fields(void **state)
{
    (void)state;
    export_case c = {0};
    (void)export_run(&c, "X{ 0009 0007 01020304 05060708 090a0b0c 0d0e0f10 }");
    const export_event *e = conformance_event(&c, EXPORT_END, 0, "N01");
    assert_int_equal(e->outcome, WEIR_PACKET_DECODED);
    assert_int_equal(e->packet.version, 9);
    assert_int_equal(e->packet.count, 7);
    assert_int_equal(e->packet.uptime_ms, 0x01020304);
    assert_int_equal(e->packet.export_s, 0x05060708);
    assert_int_equal(e->packet.sequence, 0x090a0b0c);
    assert_int_equal(e->packet.domain, 0x0d0e0f10);
    export_done(&c);
}

static void N16_times_of_uptime(void **state)
{
    (void)state;
    static const struct {
        const char *what, *script;
        int64_t first_ms, last_ms; /* from EXPORT_NS */
        unsigned flags;
    } cases[] = {
        {"before the export",
         "N up=100000{S0000{0100 0002 0016 0004 0015 0004} S0100{0001869f 000186a0}}", -1, 0, 0},
        {"first before the wrap, last behind it",
         "N up=1000{S0000{0100 0002 0016 0004 0015 0004} S0100{ffffff00 00000100}}", -1256, -744,
         WEIR_TIME_WRAPPED},
        {"both before the wrap",
         "N up=0{S0000{0100 0002 0016 0004 0015 0004} S0100{fffffc18 ffffffff}}", -1000, -1,
         WEIR_TIME_WRAPPED},
        {"a little ahead of the header",
         "N up=1000{S0000{0100 0002 0016 0004 0015 0004} S0100{000003e8 000003f2}}", 0, 10, 0},
        {"end before start is kept and flagged",
         "N up=1000{S0000{0100 0002 0016 0004 0015 0004} S0100{000003e8 00000384}}", 0, -100,
         WEIR_TIME_REVERSED},
    };
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        export_case c = {0};
        (void)export_run(&c, cases[i].script);
        const export_event *r = conformance_event(&c, EXPORT_RECORD, 0, "N16");
        UNIT_CHECK(r->first_ns - EXPORT_NS == cases[i].first_ms * 1000000 &&
                       r->last_ns - EXPORT_NS == cases[i].last_ms * 1000000 &&
                       r->time_flags == cases[i].flags,
                   "N16: %s: first %+" PRId64 " last %+" PRId64 " ns, flags %u", cases[i].what,
                   r->first_ns - EXPORT_NS, r->last_ns - EXPORT_NS, r->time_flags);
        export_done(&c);
    }
}

static void O17_v5_sampling(void **state)
{
    (void)state;
    static const struct {
        unsigned header;
        double rate;
        unsigned mode;
        weir_origin origin;
    } cases[] = {{0, 0, 0, WEIR_ORIGIN_UNKNOWN},
                 {0x4064, 100, 1, WEIR_ORIGIN_HEADER},
                 {0x8064, 100, 2, WEIR_ORIGIN_HEADER},
                 {0xffff, 16383, 3, WEIR_ORIGIN_HEADER},
                 {0x0064, 100, 0, WEIR_ORIGIN_HEADER}};
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        export_case c = {0};
        char script[64];
        (void)snprintf(script, sizeof script, "F5 sampling=%u{" FLOW "}", cases[i].header);
        (void)export_run(&c, script);
        const export_event *r = conformance_event(&c, EXPORT_RECORD, 0, "O17");
        double off = r->sampling.rate - cases[i].rate;
        UNIT_CHECK(off < 1e-9 && off > -1e-9 && r->sampling.algorithm == cases[i].mode &&
                       r->sampling.origin == cases[i].origin,
                   "O17: header %#x: rate %g mode %u %s", cases[i].header, r->sampling.rate,
                   r->sampling.algorithm, weir_origin_text((weir_origin)r->sampling.origin));
        export_done(&c);
    }
}

int main(void)
{
    static const struct CMUnitTest functions[] = {
        cmocka_unit_test(N01_header_fields),
        cmocka_unit_test(N16_times_of_uptime),
        cmocka_unit_test(O17_v5_sampling),
    };
    return conformance_main("conformance_netflow9", conformance_row, rows, UNIT_N(rows), functions,
                            UNIT_N(functions));
}
