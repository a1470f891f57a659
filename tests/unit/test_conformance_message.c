/* Messages, sets and who speaks: sections A, B, H, I and O of tests/conformance.tsv. */
#include "conformance.h"

#include "base/log.h"

/* Data templates: 256 of one 4-octet octetDeltaCount; the same in short. */
#define T256 "S0002{ 0100 0001  0001 0004 }"
#define D256 "S0100{ 00000005 }"
#define R256 "record 256 octetDeltaCount=5"

static const weir_decoder_options by_port = {.scope = WEIR_SCOPE_PORT};
static const weir_decoder_options one_stream = {.max_streams = 1, .idle_s = 60};
static const weir_decoder_options small = {.max_templates = 2, .max_exporter_streams = 2};
static const weir_decoder_options small_wait = {.max_waiting_octets = 1000};

/* clang-format off */
static const struct row rows[] = {
    {"A02", "a length one too short, then a good message", "X{I len=27{" D256 "B00*4}} I{" T256 D256 "}",
     "rejected ETRUNC; learnt 256; " R256 "; decoded", "rejected.message-length=1"},
    {"A02", "a length one too long", "I len=29{" T256 "}", "rejected ETRUNC", "rejected.message-length=1 templates=0"},
    {"A02", "the length counts header and sets", "I len=28{" T256 "}", "learnt 256; decoded"},
    {"A03", "lengths 0, 4 and 15", "I len=0{" T256 "} I len=4{" T256 "} I len=15{" T256 "}",
     "rejected ETRUNC; rejected ETRUNC; rejected ETRUNC", "rejected.message-length=3 templates=0 packets=3"},
    {"A03", "a message of a header alone", "I{}", "decoded", "decoded=1"},
    {"A03", "fewer octets than a header", "X{000a 0008 00000000}", "rejected ETRUNC", "rejected.short-header=1"},
    {"A04", "versions 0, 2, 4, 6, 8 and 11", "X{0000B00*14} X{0002B00*14} X{0004B00*22} X{0006B00*22} X{0008B00*22} X{000bB00*14}",
     "rejected EVERSION; rejected EVERSION; rejected EVERSION; rejected EVERSION; rejected EVERSION; rejected EVERSION",
     "rejected.unknown-version=6"},
    {"A06", "good sets before a broken one are dropped with the message", "I{" T256 D256 "S0100 len=9{00000005}}",
     "rejected EFORMAT", "rejected.set-bounds=1 templates=0 flows=0"},
    {"A06", "good sets behind a broken one too", "I{S0100 len=3{}" T256 D256 "}", "rejected EFORMAT", "templates=0 flows=0"},
    {"A08", "bad messages in a row do not silence their sender", "X{000a} X{000a} X{000a} X{000a} X{000a} I{" T256 D256 "}",
     "rejected ETRUNC; rejected ETRUNC; rejected ETRUNC; rejected ETRUNC; rejected ETRUNC; learnt 256; " R256 "; decoded", "rejected.short-header=5 decoded=1"},
    {"A11", "set lengths 0, 1, 2 and 3", "I{S0100 len=0{}} I{S0100 len=1{}} I{S0100 len=2{}} I{S0100 len=3{}}",
     "rejected EFORMAT; rejected EFORMAT; rejected EFORMAT; rejected EFORMAT", "rejected.set-bounds=4"},
    {"A11", "octets too few for a set header", "X{I{010000}}", "rejected EFORMAT", "rejected.set-bounds=1"},
    {"A12", "padding before the next set", "I{" T256 "S0100{00000005 000000}" D256 "}",
     "learnt 256; " R256 "; " R256 "; decoded", "flows=2"},
    {"A13", "a set one octet longer than what is left", "I{" T256 "S0100 len=9{00000005}}", "rejected EFORMAT", "rejected.set-bounds=1"},
    {"A13", "a set of 65535 octets", "I{S0100 len=65535{00000005}}", "rejected EFORMAT"},
    {"A14", "a template of a rejected message is not in force", "I{" T256 "S0100 len=9{00000005}} I{" D256 "}",
     "rejected EFORMAT; waiting", "templates=0 waiting=1"},
    {"A14", "nor does it replace one", "I{" T256 "} I{S0002{0100 0001 0002 0004} S0100 len=9{00000005}} I{" D256 "}",
     "learnt 256; decoded; rejected EFORMAT; " R256 "; decoded", "templates_changed=0"},
    {"A14", "a message with a broken template set leaves nothing behind", "I{" T256 "S0002{0101 0002 0001 0004}} I{" D256 "}",
     "rejected EFORMAT; waiting"},
    {"A15", "reserved set ids among good sets", "I{" T256 D256 "S0004{00000006}" D256 "S0000{0102 0001 0001 0004} S0001{00} S00ff{ffff}" D256 "}",
     "learnt 256; " R256 "; fault reserved-set; " R256 "; fault reserved-set; fault reserved-set; fault reserved-set; " R256 "; decoded",
     "fault.reserved-set=4 flows=3 templates=1"},
    {"A16", "octets of a data set are no template", "I{S0002{0100 0001 0001 0008} S0100{0101 0001 0002 0004}}",
     "learnt 256; record 256 octetDeltaCount=72339073309736964; decoded", "templates=1"},
    {"A16", "nor are octets of a template set data", "I{S0002{0100 0001 0001 0004  0101 0001 0002 0004}}", "learnt 256; learnt 257; decoded", "records=0"},
    {"A17", "1 octet of padding", "I{" T256 "S0100{00000005 00}}", "learnt 256; " R256 "; decoded"},
    {"A17", "2 octets of padding", "I{" T256 "S0100{00000005 0000}}", "learnt 256; " R256 "; decoded"},
    {"A17", "3 octets of padding", "I{" T256 "S0100{00000005 000000}}", "learnt 256; " R256 "; decoded"},
    {"A17", "15 octets left of a record of 16", "I{S0002{0100 0001 001b 0010} S0100{B01*16 B00*15}}",
     "learnt 256; record 256 sourceIPv6Address=0x01010101010101010101010101010101; decoded", "records=1"},
    {"A17", "padding alone", "I{" T256 "S0100{000000}}", "learnt 256; decoded", "records=0"},
    {"A18", "padding of other octets than 0", "I{" T256 "S0100{00000005 ffffff}" D256 "}", "learnt 256; " R256 "; " R256 "; decoded", "records_rejected=0"},
    {"A18", "in template sets", "I{S0002{0100 0001 0001 0004 ffffff}" D256 "}", "learnt 256; " R256 "; decoded"},
    {"A19", "template sets with 1, 2, 3 and 4 octets", "I{S0002{0100 0001 0001 0004 00}} I{S0002{0101 0001 0001 0004 0000}} I{S0002{0102 0001 0001 0004 000000}} I{S0002{0103 0001 0001 0004 00000000}}",
     "learnt 256; decoded; learnt 257; decoded; learnt 258; decoded; learnt 259; decoded", "fault.template-malformed=0"},
    {"A19", "options template sets with 1, 2 and 3 octets", "I{S0003{0100 0001 0001 0095 0004 00}} I{S0003{0101 0001 0001 0095 0004 0000}} I{S0003{0102 0001 0001 0095 0004 000000}}",
     "learnt 256; decoded; learnt 257; decoded; learnt 258; decoded", "fault.template-malformed=0 withdrawals_ignored=0"},
    {"A20", "1-octet records that might be padding are decoded and flagged", "I{S0002{0100 0001 0004 0001} S0100{06 000000}}",
     "learnt 256; record 256 protocolIdentifier=6; record 256 protocolIdentifier=0; record 256 protocolIdentifier=0; record 256 protocolIdentifier=0; decoded",
     "padding_ambiguous=1 flows=4"},
    {"A20", "without such octets there is nothing to flag", "I{S0002{0100 0001 0004 0001} S0100{06 11 01}}", NULL, "padding_ambiguous=0 flows=3"},
    {"A20", "padding shorter than a record is none either", "I{S0002{0100 0001 00d2 0003} S0100{000001 00} S0100{010203 000000 0000}}", NULL, "padding_ambiguous=0 flows=3"},
    {"A20", "3 octets of 0 behind records of 2", "I{S0002{0100 0001 0007 0002} S0100{0050 0050 0050 0000} S0100{0050 0000 0050 0050}}", NULL, "padding_ambiguous=1 flows=8"},
    {"A21", "empty sets of all kinds", "I{" T256 "S0100{} S0002{} S0003{} S0101{}" D256 "}", "learnt 256; " R256 "; decoded", "waiting=0"},
    {"A22", "all kinds of sets in one message", "I{" T256 D256 "S0003{0101 0002 0001 0095 0004 0029 0008} S0101{00000001 0000000000000009}" "S0002{0102 0001 0002 0001}" D256 "S0102{07}}",
     "learnt 256; " R256 "; learnt 257; options 257 (observationDomainId)=1 exportedMessageTotalCount=9; learnt 258; " R256 "; record 258 packetDeltaCount=7; decoded"},
    {"A24", "a template heard over UDP does not decode data of a connection", "I{" T256 "} tcp I{" D256 "} udp I{" D256 "}",
     "learnt 256; decoded; waiting; " R256 "; decoded", "waiting=1"},
    {"A24", "nor the other way round", "tcp I{" T256 "} udp I{" D256 "}", "learnt 256; decoded; waiting"},

    {"B01", "two domains, one template id", "I dom=1{" T256 "} I dom=2{S0002{0100 0001 0002 0002}} I dom=1{" D256 "} I dom=2{S0100{0007}}",
     "learnt 256; decoded; learnt 256; decoded; " R256 "; decoded; record 256 packetDeltaCount=7; decoded"},
    {"B02", "another domain's template does not decode", "I dom=1{" T256 "} I dom=2{" D256 "}", "learnt 256; decoded; waiting"},
    {"B03", "two source ports, each with its own templates (WEIR_SCOPE_PORT)", "port=1000 I{" T256 "} port=2000 I{" D256 "} I{S0002{0100 0001 0002 0004}} port=1000 I{" D256 "}",
     "learnt 256; decoded; waiting; learnt 256; decoded; late record 256 packetDeltaCount=5; late decoded; " R256 "; decoded", NULL, &by_port},
    {"B03", "the default key leaves the port out: an exporter may change it", "port=1000 I{" T256 "} port=2000 I{" D256 "}", "learnt 256; decoded; " R256 "; decoded"},
    {"B03", "another exporter address is another exporter", "I{" T256 "} from=2 I{" D256 "}", "learnt 256; decoded; waiting"},
    {"B04", "ids in any order, with gaps", "I{S0002{ea60 0001 0001 0004} S0002{012c 0001 0001 0004} S0002{ffff 0001 0001 0001} S0002{0100 0001 0001 0002} Sffff{01} S0100{0002} S012c{00000003} Sea60{00000004}}",
     "learnt 60000; learnt 300; learnt 65535; learnt 256; record 65535 octetDeltaCount=1; record 256 octetDeltaCount=2; record 300 octetDeltaCount=3; record 60000 octetDeltaCount=4; decoded"},
    {"B05", "template ids 255, 2 and 0 with fields", "I{S0002{00ff 0001 0001 0004  0002 0001 0001 0004  0000 0001 0001 0004  0100 0001 0001 0004}}",
     "fault template-malformed; fault template-malformed; fault template-malformed; learnt 256; decoded", "fault.template-malformed=3 templates=1"},
    {"B05", "options template id 255", "I{S0003{00ff 0002 0001 0095 0004 0029 0004}}", "fault template-malformed; decoded"},
    {"B06", "an options template that takes the id of a data template", "I{" T256 D256 "S0003{0100 0001 0001 0095 0004}" D256 "}",
     "learnt 256; " R256 "; changed 256; options 256 (observationDomainId)=5; decoded", "templates=1 templates_changed=1"},
    {"B07", "a connection's template lives two hours and more", "tcp I{" T256 "} wait=7200 tick I{" D256 "}", "learnt 256; decoded; " R256 "; decoded", NULL,
     &(weir_decoder_options){.template_life_s = 1800}},
    {"B08", "another connection does not inherit templates", "tcp port=1000 I{" T256 D256 "} port=1001 I{" D256 "}", "learnt 256; " R256 "; decoded; waiting"},
    {"B09", "domain 0 is a domain", "I dom=0{S0003{0101 0002 0001 0095 0004 0029 0008} S0101{00000000 0000000000000009}}",
     "learnt 257; options 257 (observationDomainId)=0 exportedMessageTotalCount=9; decoded"},
    {"B10", "a domain idle for idle_s makes room for another", "I dom=1{" T256 "} wait=61 I dom=2{" T256 "} wait=61 I dom=1{" D256 "}",
     "learnt 256; decoded; learnt 256; decoded; waiting", "templates_expired=2", &one_stream},
    {"B10", "a busy one does not", "I dom=1{" T256 "} wait=59 I dom=2{" T256 "} I dom=1{" D256 "}",
     "learnt 256; decoded; rejected ELIMIT; " R256 "; decoded", "rejected.state-limit=1", &one_stream},

    {"H09", "octets behind the message are no message: all is rejected", "X{I{" T256 "} 00} X{I{" T256 "} B00*16}",
     "rejected ETRUNC; rejected ETRUNC", "rejected.message-length=2 templates=0"},
    {"H12", "what one domain may keep is bounded, others go on", "I dom=1{S0002{0100 0001 0001 0004 0101 0001 0001 0004 0102 0001 0001 0004}} I dom=2{" T256 D256 "}",
     "learnt 256; learnt 257; fault template-limit; decoded; learnt 256; " R256 "; decoded", "fault.template-limit=1", &small},
    {"H15", "a break of the network shows as loss", "I seq=0{" T256 D256 "} wait=3600 I seq=1001{" D256 "}",
     "learnt 256; " R256 "; decoded; " R256 "; decoded", "sequence_lost=1000"},
    {"I10", "domains of one exporter are bounded", "I dom=1{" T256 "} I dom=2{" T256 "} I dom=3{" T256 "} from=2 I dom=3{" T256 "}",
     "learnt 256; decoded; learnt 256; decoded; rejected ELIMIT; learnt 256; decoded", "rejected.state-limit=1", &small},
    {"I10", "waiting data of one exporter is bounded", "I{S0100{B00*600}} I{S0100{B00*600}} from=2 I{S0100{B00*600}}",
     "waiting; late gave-up; waiting; waiting", "sets_overflowed=1 sets_waiting=2", &small_wait},
    {"I14", "a forged number does not hide loss", "I seq=0{" T256 "} I seq=0{" D256 "} I seq=0x40000000{} I seq=3{" D256 "}", NULL,
     "sequence_lost=2 sequence_resets=0"},
    {"I17", "definitions that alternate from two ports are a conflict", "port=1 I{" T256 "} port=2 I{S0002{0100 0001 0002 0004}} port=1 I{" T256 "}",
     "learnt 256; decoded; changed 256; decoded; changed 256; conflict 256; decoded", "conflicts=1"},

    {"O01", "two fields announced, one there, lengths fit one", "I{S0002{0100 0002 0001 0004}} I{" D256 "}", "rejected EFORMAT; waiting", "templates=0"},
    {"O02", "the same, the message length 4 octets past the datagram", "I len=32{S0002{0100 0002 0001 0004}}", "rejected ETRUNC", "templates=0"},
    {"O03", "the same, the message length cuts into the first field", "X{I len=26{S0002{0100 0002 0001 0004}}}", "rejected ETRUNC", "templates=0"},
    {"O04", "an options template without scope among good sets", "I{S0003{0100 0001 0000 0095 0004} S0003{0101 0001 0001 0095 0004} S0101{00000001}}",
     "fault template-malformed; learnt 257; options 257 (observationDomainId)=1; decoded", "templates=1"},
    {"O05", "a fixed record that its set cuts short is padding", "I{S0002{0100 0002 0001 0004 0002 0004} S0100{00000001 00000002 000001}}",
     "learnt 256; record 256 octetDeltaCount=1 packetDeltaCount=2; decoded", "records=1"},
    {"O05", "a variable one is a fault, the records before it are delivered", "I{S0002{0100 0002 0052 ffff 0001 0004} S0100{0161 00000001 0161 000000}}",
     "learnt 256; record 256 interfaceName=\"a\" octetDeltaCount=1; fault record-truncated; decoded", "records=2 records_rejected=1"},
    {"O06", "data whose template was never sent", "I{" T256 "S0101{0000}" D256 "}", "learnt 256; " R256 "; waiting", "waiting=1 sets_waiting=1"},
    {"O07", "unknown set ids among good sets", "I{" T256 D256 "S00fe{00000006}" D256 "}", "learnt 256; " R256 "; fault reserved-set; " R256 "; decoded"},
    {"O10", "a 3-octet length that crosses the end of the set", "I{S0002{0100 0001 0052 ffff} S0100{ff00} S0100{ff0004 616161} S0100{ff0003616161}}",
     "learnt 256; fault record-truncated; fault record-truncated; record 256 interfaceName=\"aaa\"; decoded", "records_rejected=2"},
    {"O12", "enterprise number 0 with the enterprise bit is IANA's", "I{S0002{0100 0001 8001 0004 00000000}" D256 "}", "learnt 256; " R256 "; decoded", "elements_unknown=0"},
    {"O13", "element 0", "I{S0002{0100 0002 0000 0002 0001 0004} S0100{abcd 00000005}}", "learnt 256; record 256 e0id0=0xabcd octetDeltaCount=5; decoded"},
    {"O14", "an id twice in one message", "I{" T256 "S0100{00000001} S0002{0100 0001 0002 0004} S0100{00000002}}",
     "learnt 256; record 256 octetDeltaCount=1; changed 256; record 256 packetDeltaCount=2; decoded"},
    {"O19", "two messages in one datagram are both decoded", "X{I{" T256 "} I{" D256 "}}", "learnt 256; decoded; " R256 "; decoded", "packets=2"},
    {"O19", "a second one that is not whole rejects both", "X{I{" T256 "} I len=25{" D256 "}}", "rejected ETRUNC", "packets=1 templates=0"},
};
/* clang-format on */

static void A01_header_fields(void **state)
{
    (void)state;
    export_case c = {0};
    (void)export_run(&c, "X{ 000a 0010 01020304 05060708 090a0b0c }");
    const export_event *e = conformance_event(&c, EXPORT_END, 0, "A01");
    assert_int_equal(e->outcome, WEIR_PACKET_DECODED);
    assert_int_equal(e->packet.version, 10);
    assert_int_equal(e->packet.count, 16);
    assert_int_equal(e->packet.export_s, 0x01020304);
    assert_int_equal(e->packet.sequence, 0x05060708);
    assert_int_equal(e->packet.domain, 0x090a0b0c);
    export_done(&c);
}

static void A03_datagrams_of_no_and_of_one_octet(void **state)
{
    (void)state;
    export_case c = {0};
    const uint8_t one = 0;
    (void)export_weir(&c);
    assert_int_equal(weir_decode(c.d, &c.from, c.now_ns, NULL, 0, NULL, NULL, NULL), WEIR_ETRUNC);
    assert_int_equal(weir_decode(c.d, &c.from, c.now_ns, &one, 1, NULL, NULL, NULL), WEIR_ETRUNC);
    assert_int_equal(weir_decode(c.d, NULL, c.now_ns, &one, 1, NULL, NULL, NULL), WEIR_ETRUNC);
    assert_int_equal(export_counter(&c, "rejected.short-header"), 3);
    conformance_laws(&c, "A03");
    export_done(&c);
}

static void A05_messages_of_65535_octets(void **state)
{
    (void)state;
    static const char *const transports[] = {"udp", "tcp", "file"};
    for (size_t i = 0; i < UNIT_N(transports); i++) {
        export_case c = {0};
        char script[256];
        /* header 16, template set 12, set header 4: 65503 octets are left for the value */
        (void)snprintf(script, sizeof script,
                       "%s I{ S0002{ 0100 0001 0139 ffdf } S0100{ B5a*65503 } }", transports[i]);
        (void)export_run(&c, script);
        const export_event *e = conformance_event(&c, EXPORT_RECORD, 0, "A05");
        UNIT_CHECK(e->packet.len == 65535 && e->fields[0].len == 65503,
                   "A05: no record of 65503 octets over %s", transports[i]);
        assert_int_equal(e->fields[0].octets[65502], 0x5a);
        export_done(&c);
    }
}

static void A07_bad_messages_are_counted_and_the_log_is_bounded(void **state)
{
    (void)state;
    export_case c = {0};
    double last = 0;
    unsigned long lines = 0, told = 0, held = 0;
    for (int i = 0; i < 10000; i++) {
        (void)export_run(&c, "X{000a 0003 00000000}");
        /* the bound that weir collect puts on its line: one in 60 s; these come within 100 s */
        if (log_due(&last, &held, 1000 + i / 100.0, 60)) {
            lines++;
            told += 1 + held;
        }
    }
    assert_int_equal(export_counter(&c, "rejected.short-header"), 10000);
    assert_int_equal(lines, 2);
    assert_int_equal(told, 6001); /* the rest is told with the next line */
    export_done(&c);
}

static void A23_export_time_wraps(void **state)
{
    (void)state;
    /* 2106-02-07T06:28:26Z, ten seconds into the second era */
    export_case c = {.now_ns = ((INT64_C(1) << 32) + 10) * 1000000000};
    const char *got =
        export_run(&c, "I time=5{ S0002{ 0100 0001 0096 0004 } S0100{ 00000004 fffffffe } }");
    assert_string_equal(got, "learnt 256; record 256 flowStartSeconds=4294967300; "
                             "record 256 flowStartSeconds=4294967294; decoded");
    const export_event *e = conformance_event(&c, EXPORT_RECORD, 0, "A23");
    assert_true(weir_packet_export_ns(&e->packet) == ((INT64_C(1) << 32) + 5) * 1000000000);
    export_done(&c);
    c = (export_case){.now_ns = ((INT64_C(1) << 32) - 10) * 1000000000};
    (void)export_run(&c, "I time=5{}");
    e = conformance_event(&c, EXPORT_END, 0, "A23");
    assert_true(weir_packet_export_ns(&e->packet) == ((INT64_C(1) << 32) + 5) * 1000000000);
    export_done(&c);
}

/* Records seen without remembering them. */
static void count_record(void *user, const weir_record *r)
{
    (void)r;
    ++*(size_t *)user;
}

static void O09_a_set_of_one_octet_records(void **state)
{
    (void)state;
    export_case c = {0};
    const weir_handlers on = {.record = count_record};
    export_packet p = {0};
    (void)export_run(&c, "tcp I{ S0002{ 0100 0001 0004 0001 } }");
    (void)export_parse_block("I{ S0100{ B06*65515 } }", &p);
    assert_int_equal(p.len, 65535);
    size_t n = 0;
    for (int i = 0; i < 50; i++) /* quadratic time would show: 50 * 65515 records */
        assert_int_equal(
            weir_decode(export_weir(&c), &c.from, c.now_ns, p.data, p.len, &on, &n, NULL), WEIR_OK);
    assert_int_equal(n, 50 * 65515);
    free(p.data);
    export_done(&c);
}

static void O08_spoofed_ports_do_not_grow_memory(void **state)
{
    (void)state;
    const weir_decoder_options o = {.scope = WEIR_SCOPE_PORT,
                                    .max_exporter_streams = 100,
                                    .max_templates = 4,
                                    .max_state_octets = 1 << 20};
    export_case c = {.options = &o};
    export_packet p = {0};
    (void)export_weir(&c);
    (void)export_parse_block("I{" T256 "}", &p);
    for (unsigned i = 0; i < 60000; i++) {
        c.from.port = (uint16_t)i;
        (void)weir_decode(c.d, &c.from, c.now_ns, p.data, p.len, NULL, NULL, NULL);
    }
    assert_int_equal(export_counter(&c, "templates"), 100);
    assert_int_equal(export_counter(&c, "rejected.state-limit"), 59900);
    conformance_laws(&c, "O08");
    free(p.data);
    export_done(&c);
}

static void O20_export_time_far_from_arrival(void **state)
{
    (void)state;
    export_case c = {0};
    const char *got = export_run(&c, "I time=1600000000{" T256 D256 "}");
    assert_string_equal(got, "learnt 256; " R256 "; decoded");
    size_t cursor = 0, inner = 0;
    weir_exporter_info e;
    weir_stream_info s;
    assert_int_equal(weir_exporter_next(c.d, &cursor, &e), WEIR_OK);
    assert_int_equal(weir_stream_next(c.d, e.handle, &inner, &s), WEIR_OK);
    assert_true(s.clock_skew_ns == INT64_C(-100000000) * 1000000000);
    export_done(&c);
}

static void I18_lengths_at_their_ends(void **state)
{
    (void)state;
    /* Every 16-bit length of a small message in turn takes the values at which arithmetic could wrap. */
    static const unsigned values[] = {0, 1, 2, 3, 4, 5, 0x7fff, 0x8000, 0xfffb, 0xfffc, 0xffff};
    export_packet p = {0};
    (void)export_parse_block("I{ S0002{ 0100 0003 0052 ffff 0001 0004 0124 ffff }"
                             " S0003{ 0101 0002 0001 0095 0004 0029 0008 }"
                             " S0100{ 0161 00000005 07 03 0102 00000005 }"
                             " S0101{ 00000001 0000000000000009 } }",
                             &p);
    for (size_t at = 0; at + 2 <= p.len; at++)
        for (size_t k = 0; k < UNIT_N(values); k++) {
            uint8_t saved[2] = {p.data[at], p.data[at + 1]};
            export_case c = {0};
            export_set16(&p, at, values[k]);
            (void)export_feed(&c, p.data, p.len);
            conformance_laws(&c, "I18");
            export_done(&c);
            memcpy(p.data + at, saved, 2);
        }
    free(p.data);
}

int main(void)
{
    static const struct CMUnitTest functions[] = {
        cmocka_unit_test(A01_header_fields),
        cmocka_unit_test(A03_datagrams_of_no_and_of_one_octet),
        cmocka_unit_test(A05_messages_of_65535_octets),
        cmocka_unit_test(A07_bad_messages_are_counted_and_the_log_is_bounded),
        cmocka_unit_test(A23_export_time_wraps),
        cmocka_unit_test(I18_lengths_at_their_ends),
        cmocka_unit_test(O08_spoofed_ports_do_not_grow_memory),
        cmocka_unit_test(O09_a_set_of_one_octet_records),
        cmocka_unit_test(O20_export_time_far_from_arrival),
    };
    return conformance_main("conformance_message", conformance_row, rows, UNIT_N(rows), functions,
                            UNIT_N(functions));
}
