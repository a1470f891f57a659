/* Templates, options templates and their lives: sections C and D of tests/conformance.tsv. */
#include "conformance.h"

#define T256 "S0002{ 0100 0001  0001 0004 }"
#define D256 "S0100{ 00000005 }"
#define R256 "record 256 octetDeltaCount=5"
/* The same id with another layout. */
#define U256 "S0002{ 0100 0002  0002 0002  0001 0002 }"
#define S256 "record 256 packetDeltaCount=0 octetDeltaCount=5"
/* An options template 257 and data. */
#define T257 "S0003{ 0101 0002 0001  0095 0004  0029 0004 }"
#define D257 "S0101{ 00000001 00000009 }"
#define R257 "options 257 (observationDomainId)=1 exportedMessageTotalCount=9"

static const weir_decoder_options few_templates = {.max_templates = 3};
static const weir_decoder_options few_fields = {.max_fields = 2};
static const weir_decoder_options life_1800 = {.template_life_s = 1800};
static const weir_decoder_options short_wait = {.waiting_s = 10, .max_waiting_octets = 1500};

/* clang-format off */
static const struct row rows[] = {
    {"C01", "three templates in one set", "I{S0002{0100 0001 0001 0004  0101 0002 0001 0004 0002 0004  0102 0001 0004 0001} S0101{00000001 00000002} S0102{06} S0100{00000003}}",
     "learnt 256; learnt 257; learnt 258; record 257 octetDeltaCount=1 packetDeltaCount=2; record 258 protocolIdentifier=6; record 256 octetDeltaCount=3; decoded"},
    {"C02", "specifiers of 4 and of 8 octets", "I{S0002{0100 0003 0001 0004 8001 0002 00003039 0002 0004} S0100{00000001 0203 00000004}}",
     "learnt 256; record 256 octetDeltaCount=1 e12345id1=0x0203 packetDeltaCount=4; decoded"},
    {"C02", "the largest enterprise and element numbers", "I{S0002{0100 0001 ffff 0001 ffffffff} S0100{07}}",
     "learnt 256; record 256 e4294967295id32767=0x07; decoded"},
    {"C03", "enterprise bit without its number at the end of the set", "I{S0002{0100 0001 8001 0002}} I{S0002{0100 0001 8001 0002 0000}}", "rejected EFORMAT; rejected EFORMAT", "templates=0"},
    {"C03", "without the bit the next specifier follows at once", "I{S0002{0100 0002 0001 0002 0002 0002} S0100{0001 0002}}", "learnt 256; record 256 octetDeltaCount=1 packetDeltaCount=2; decoded"},
    {"C04", "3 fields, 2 of them scopes", "I{S0003{0101 0003 0002 0095 0004 008f 0004 0029 0004} S0101{00000001 00000002 00000003}}",
     "learnt 257; options 257 (observationDomainId)=1 (meteringProcessId)=2 exportedMessageTotalCount=3; decoded", "options=1 flows=0"},
    {"C04", "scopes alone", "I{S0003{0101 0002 0002 0095 0004 008f 0004} S0101{00000001 00000002}}", "learnt 257; options 257 (observationDomainId)=1 (meteringProcessId)=2; decoded"},
    {"C05", "scope count 0 drops that template alone", "I{S0003{0100 0001 0000 0095 0004  0101 0002 0001 0095 0004 0029 0004}" D257 "}",
     "fault template-malformed; learnt 257; " R257 "; decoded", "fault.template-malformed=1"},
    {"C06", "2 scopes of 1 field", "I{S0003{0100 0001 0002 0095 0004  0101 0002 0001 0095 0004 0029 0004}" D257 "}",
     "fault template-malformed; learnt 257; " R257 "; decoded", "fault.template-malformed=1"},
    {"C07", "observationDomainId, exportingProcessId, meteringProcessId, templateId, lineCardId", "I{S0003{0101 0005 0005 0095 0004 0090 0004 008f 0004 0091 0002 008d 0004} S0101{00000001 00000002 00000003 0104 00000005}}",
     "learnt 257; options 257 (observationDomainId)=1 (exportingProcessId)=2 (meteringProcessId)=3 (templateId)=260 (lineCardId)=5; decoded"},
    {"C07", "exporterIPv4Address, exporterIPv6Address, ingressInterface", "I{S0003{0101 0003 0003 0082 0004 0083 0010 000a 0004} S0101{c0000201 20010db8B00*11 01 00000007}}",
     "learnt 257; options 257 (exporterIPv4Address)=192.0.2.1 (exporterIPv6Address)=0x20010db8000000000000000000000001 (ingressInterface)=7; decoded"},
    {"C08", "an enterprise's element as scope", "I{S0003{0101 0002 0001 8007 0002 00003039 0029 0004} S0101{abcd 00000009}}",
     "learnt 257; options 257 (e12345id7)=0xabcd exportedMessageTotalCount=9; decoded"},
    {"C09", "the order of scopes is kept", "I{S0003{0101 0002 0002 000a 0001 000e 0001  0102 0002 0002 000e 0001 000a 0001} S0101{0102} S0102{0102}}",
     "learnt 257; learnt 258; options 257 (ingressInterface)=1 (egressInterface)=2; options 258 (egressInterface)=1 (ingressInterface)=2; decoded"},
    {"C10", "one element twice", "I{S0002{0100 0003 0001 0004 0002 0001 0001 0004} S0100{00000001 02 00000003}}",
     "learnt 256; record 256 octetDeltaCount=1 packetDeltaCount=2 octetDeltaCount=3; decoded"},
    {"C11", "an unknown element between two known ones", "I{S0002{0100 0003 0001 0004 7ffe 0003 0002 0004} S0100{00000001 aabbcc 00000002}}",
     "learnt 256; record 256 octetDeltaCount=1 e0id32766=0xaabbcc packetDeltaCount=2; decoded", "elements_unknown=1"},
    {"C12", "unknown elements are counted once a template", "I{S0002{0100 0003 0001 0004 7ffe 0003 8001 0002 00003039}} I{S0002{0100 0003 0001 0004 7ffe 0003 8001 0002 00003039}}",
     "learnt 256; decoded; refreshed 256; decoded", "elements_unknown=2"},
    {"C13", "length 65535 is variable", "I{S0002{0100 0002 0052 ffff 0001 0004} S0100{026162 00000005 00 00000006}}",
     "learnt 256; record 256 interfaceName=\"ab\" octetDeltaCount=5; record 256 interfaceName=\"\" octetDeltaCount=6; decoded"},
    {"C14", "a template whose records would have no octets", "I{S0002{0100 0001 0052 0000} S0100{00}}", "fault template-malformed; waiting", "templates=0"},
    {"C14", "a field of length 0 beside others", "I{S0002{0100 0002 0052 0000 0001 0004}" D256 "}", "learnt 256; record 256 interfaceName=\"\" octetDeltaCount=5; decoded"},
    {"C15", "lengths that do not fit the type", "I{S0002{0100 0003 0008 0005 0114 0002 0001 0004} S0100{0102030405 0001 00000005}}",
     "learnt 256; record 256 sourceIPv4Address=!0x0102030405 dataRecordsReliability=!0x0001 octetDeltaCount=5; decoded", "flows=1"},
    {"C15", "an integer of length 0, an ipv4Address of length 3", "I{S0002{0100 0003 0001 0000 0008 0003 0001 0004} S0100{010203 00000005}}",
     "learnt 256; record 256 octetDeltaCount=!0x sourceIPv4Address=!0x010203 octetDeltaCount=5; decoded"},
    {"C17", "more templates than max_templates", "I{S0002{0100 0001 0001 0004 0101 0001 0001 0004 0102 0001 0001 0004 0103 0001 0001 0004}" D256 "}",
     "learnt 256; learnt 257; learnt 258; fault template-limit; " R256 "; decoded", "templates=3 fault.template-limit=1", &few_templates},
    {"C17", "at the limit a known id may still change", "I{S0002{0100 0001 0001 0004 0101 0001 0001 0004 0102 0001 0001 0004}" U256 D256 "}",
     "learnt 256; learnt 257; learnt 258; changed 256; " S256 "; decoded", "templates=3", &few_templates},
    {"C17", "more fields than max_fields", "I{S0002{0100 0003 0001 0004 0001 0004 0001 0004  0101 0001 0001 0004}} I{S0003{0102 0003 0001 0095 0004 0001 0004 0001 0004  0103 0001 0001 0095 0004}}",
     "fault template-limit; learnt 257; decoded; fault template-limit; learnt 259; decoded", NULL, &few_fields},
    {"C18", "more fields announced than the set holds", "I{S0002{0100 0002 0001 0004}} I{S0003{0100 0002 0001 0095 0004}} I{S0002{0100 ffff 0001 0004}}",
     "rejected EFORMAT; rejected EFORMAT; rejected EFORMAT", "rejected.set-bounds=3"},
    {"C19", "octets behind the announced fields that are another template", "I{S0002{0100 0001 0001 0004  0101 0001 0002 0004} S0101{00000007}}", "learnt 256; learnt 257; record 257 packetDeltaCount=7; decoded"},
    {"C19", "that are no template", "I{S0002{0100 0001 0001 0004  0002 0004}}", "rejected EFORMAT", "templates=0"},
    {"C19", "that are padding", "I{S0002{0100 0001 0001 0004  00000000}" D256 "}", "learnt 256; " R256 "; decoded"},

    {"D01", "a template withdrawn over TCP", "tcp I{" T256 D256 "} I{S0002{0100 0000}} I{" D256 "}", "learnt 256; " R256 "; decoded; withdrawn 256; decoded; waiting", "withdrawn=1 templates=0"},
    {"D01", "an options template withdrawn in a file", "file I{" T257 D257 "} I{S0003{0101 0000}} I{" D257 "}", "learnt 257; " R257 "; decoded; withdrawn 257; decoded; waiting", "withdrawn=1"},
    {"D02", "withdrawals of options templates have 4 octets", "tcp I{S0003{0101 0001 0001 0095 0004 0102 0001 0001 0095 0004}} I{S0003{0101 0000 0102 0000}}",
     "learnt 257; learnt 258; decoded; withdrawn 257; withdrawn 258; decoded", "templates=0"},
    {"D03", "all templates, of this domain and kind alone", "tcp I{S0002{0100 0001 0001 0004 0102 0001 0002 0004}" T257 "} I dom=2{" T256 "} I{S0002{0002 0000}} I{" D257 D256 "} I dom=2{" D256 "}",
     NULL, "withdrawn=2 templates=2 options=1 flows=1 sets_waiting=1"},
    {"D03", "all options templates", "tcp I{" T257 T256 "} I{S0003{0003 0000}} I{" D256 D257 "}", "learnt 257; learnt 256; decoded; withdrawn 257; decoded; " R256 "; waiting", "withdrawn=1"},
    {"D03", "a template that has changed its kind", "tcp I{" T257 "} I{S0002{0101 0001 0001 0004}} I{S0003{0003 0000}} I{S0002{0002 0000 0002 0000}}",
     "learnt 257; decoded; changed 257; decoded; decoded; withdrawn 257; decoded", "withdrawn=1 templates=0"},
    {"D03", "the wrong id for the kind of set", "tcp I{" T257 T256 "} I{S0003{0002 0000} S0002{0003 0000}} I{" D256 D257 "}",
     "learnt 257; learnt 256; decoded; fault template-malformed; fault template-malformed; decoded; " R256 "; " R257 "; decoded", "withdrawn=0"},
    {"D04", "three in one set with padding", "tcp I{S0002{0100 0001 0001 0004 0101 0001 0001 0004 0102 0001 0001 0004}} I{S0002{0100 0000 0102 0000 0101 0000 000000}}",
     "learnt 256; learnt 257; learnt 258; decoded; withdrawn 256; withdrawn 258; withdrawn 257; decoded", "templates=0"},
    {"D05", "data before and behind the withdrawal", "tcp I{" T256 D256 "S0002{0100 0000}" D256 "}", "learnt 256; " R256 "; withdrawn 256; waiting", "flows=1 sets_waiting=1"},
    {"D05", "withdrawn and defined anew in one set", "tcp I{" T256 "} I{S0002{0100 0000 0100 0001 0002 0004} S0100{00000007}}", "learnt 256; decoded; withdrawn 256; learnt 256; record 256 packetDeltaCount=7; decoded"},
    {"D06", "a template that nobody knows", "tcp I{S0002{0190 0000}" T256 D256 "}", "learnt 256; " R256 "; decoded", "withdrawals_ignored=1 withdrawn=0"},
    {"D07", "withdrawals without effect are counted", "tcp I{S0002{0190 0000 0191 0000}} udp I{" T256 "} I{S0002{0100 0000}}", "decoded; learnt 256; decoded; decoded", "withdrawals_ignored=3"},
    {"D08", "the same definition again over TCP", "tcp I{" T256 "} I{" T256 D256 "}", "learnt 256; decoded; refreshed 256; " R256 "; decoded", "templates_refreshed=1 templates_changed=0"},
    {"D09", "another definition without withdrawal over TCP replaces the first", "tcp I{" T256 "} I{" U256 D256 "}", "learnt 256; decoded; changed 256; " S256 "; decoded", "templates_changed=1"},
    {"D12", "a withdrawal over UDP", "I{" T256 "} I{S0002{0100 0000}} I{S0002{0002 0000}} I{" D256 "}", "learnt 256; decoded; decoded; decoded; " R256 "; decoded", "withdrawals_ignored=2 withdrawn=0"},
    {"D12", "of options templates", "I{" T257 "} I{S0003{0101 0000 0003 0000}} I{" D257 "}", "learnt 257; decoded; decoded; " R257 "; decoded", "withdrawals_ignored=2"},
    {"D13", "another definition over UDP", "I{" T256 D256 "} I{" U256 "} I{" D256 "}", "learnt 256; " R256 "; decoded; changed 256; decoded; " S256 "; decoded"},
    {"D14", "a repeated definition is no change", "I{" T256 "} wait=1 I{" T256 "} wait=1 I{" T256 "}", "learnt 256; decoded; refreshed 256; decoded; refreshed 256; decoded", "templates_refreshed=2 templates_changed=0"},
    {"D15", "a template not repeated for its lifetime", "I{" T256 "} wait=1801 tick I{" D256 "}", "learnt 256; decoded; expired 256; waiting", "templates_expired=1", &life_1800},
    {"D15", "one that was repeated", "I{" T256 "} wait=1000 I{" T256 "} wait=1000 tick I{" D256 "}", "learnt 256; decoded; refreshed 256; decoded; " R256 "; decoded", NULL, &life_1800},
    {"D15", "options templates too", "I{" T257 "} wait=1801 tick I{" D257 "}", "learnt 257; decoded; expired 257; waiting", NULL, &life_1800},
    {"D18", "without a lifetime templates last", "I{" T256 "} wait=2592000 tick I{" D256 "}", "learnt 256; decoded; " R256 "; decoded"},
    {"D19", "data a second before its template", "I{" D256 "} wait=1 I{" T256 "}", "waiting; learnt 256; decoded; late " R256 "; late decoded", "sets_late=1 waiting=0 decoded=2"},
    {"D20", "held data comes out in order of arrival", "I{S0100{00000001}} I{S0100{00000002}} I{S0100{00000003}} I{" T256 "}",
     "waiting; waiting; waiting; learnt 256; decoded; late record 256 octetDeltaCount=1; late decoded; late record 256 octetDeltaCount=2; late decoded; late record 256 octetDeltaCount=3; late decoded"},
    {"D20", "within its time", "I{" D256 "} wait=11 tick I{" T256 "}", "waiting; late gave-up; learnt 256; decoded", "expired=1 sets_expired=1 waiting=0", &short_wait},
    {"D20", "within its octets, the oldest goes first", "I{S0100{B00*396}} I{S0100{B01*396}} I{S0100{B02*396}} I{S0101{B03*396}}", NULL, "sets_overflowed=2 sets_waiting=2 expired=2 waiting=2", &short_wait},
    {"D20", "what still waits at the end is given up in order", "I{" D256 "} I{" T257 D256 "} finish", "waiting; learnt 257; waiting; late gave-up; late gave-up", "expired=2 waiting=0"},
    {"D21", "data exported before the definition that decodes it", "I time=1700000010{" T256 "} I time=1700000005{" D256 "} I time=1700000010{" D256 "}",
     "learnt 256; decoded; " R256 "; decoded; " R256 "; decoded", "older_than_template=1"},
    {"D23", "template and data in one message", "I{" T256 D256 "}", "learnt 256; " R256 "; decoded"},
    {"D23", "in two messages", "I{" T256 "} I{" D256 "}", "learnt 256; decoded; " R256 "; decoded"},
    {"D23", "the template behind its data in one message", "I{" D256 T256 "}", "learnt 256; " R256 "; decoded", "sets_late=1 waiting=0"},
    {"D24", "a new connection begins without templates", "tcp port=1 I{" T256 "} port=2 I{" D256 "}", "learnt 256; decoded; waiting"},
    {"D25", "a stale template does not decode, and its end is told", "I{" T256 D256 "} wait=1801 tick I{" D256 "} wait=1 I{" T256 "}",
     "learnt 256; " R256 "; decoded; expired 256; waiting; learnt 256; decoded; late " R256 "; late decoded", "templates_expired=1", &life_1800},
    {"D26", "a withdrawn template stops serving the lists that name it", "tcp I{" T256 "S0002{0102 0001 0124 ffff} S0102{07 03 0100 00000005}} I{S0002{0100 0000}} I{S0102{07 03 0100 00000005}}",
     "learnt 256; learnt 258; record 258 subTemplateList={3 octetDeltaCount=5}; decoded; withdrawn 256; decoded; record 258 subTemplateList={!ENOTFOUND}; decoded"},
    {"D26", "a replaced one serves them with its new layout", "I{" T256 "S0002{0102 0001 0124 ffff} S0102{07 03 0100 00000005}} I{" U256 "} I{S0102{07 03 0100 00000005}}",
     "learnt 256; learnt 258; record 258 subTemplateList={3 octetDeltaCount=5}; decoded; changed 256; decoded; record 258 subTemplateList={3 packetDeltaCount=0,octetDeltaCount=5}; decoded"},
};
/* clang-format on */

static void C16_the_largest_template(void **state)
{
    (void)state;
    export_case c = {0};
    /* header 16, set header 4, id and count 4: 65511 octets are left for specifiers of 4 */
    enum { N = 16377 };
    (void)export_run(&c, "tcp I{ S0002{ 0100 3ff9 B00040001*16377 } } I{ S0100{ B06*16377 } }");
    const export_event *t = conformance_event(&c, EXPORT_TEMPLATE, 0, "C16");
    const export_event *r = conformance_event(&c, EXPORT_RECORD, 0, "C16");
    UNIT_CHECK(t->n_fields == N, "C16: no template of %d fields", N);
    UNIT_CHECK(r->n_fields == N, "C16: no record of %d fields", N);
    for (size_t i = 0; i < N; i++)
        UNIT_CHECK(r->fields[i].value.u64 == 6, "C16: field %zu is wrong", i);
    conformance_laws(&c, "C16");
    export_done(&c);
}

/* The only stream of the only exporter. */
static weir_stream_info only_stream(export_case *c)
{
    size_t cursor = 0, inner = 0;
    weir_exporter_info e;
    weir_stream_info s;
    assert_int_equal(weir_exporter_next(c->d, &cursor, &e), WEIR_OK);
    assert_int_equal(weir_stream_next(c->d, e.handle, &inner, &s), WEIR_OK);
    return s;
}

static void C20_options_are_known_by_their_elements(void **state)
{
    (void)state;
    export_case c = {0};
    /* metering statistics in another order than RFC 7011 section 4.1 and with any id */
    (void)export_run(&c,
                     "I{ S0003{ 9999 0005 0002  008f 0004  0095 0004  0028 0008  0029 0008  002a"
                     " 0008 } S9999{ 00000007 00000001 0000000000000003 0000000000000001"
                     " 0000000000000002 } }");
    weir_stream_info s = only_stream(&c);
    assert_true(s.exported_messages == 1 && s.exported_flows == 2 && s.exported_octets == 3);
    export_done(&c);
}

static void C21_metering_process_statistics(void **state)
{
    (void)state;
    export_case c = {0};
    (void)export_run(&c, "I{}");
    weir_stream_info s = only_stream(&c);
    assert_true(s.exported_messages == -1 && s.exported_flows == -1 && s.exported_octets == -1);
    (void)export_run(&c,
                     "I{ S0003{ 0101 0005 0002  0095 0004  008f 0004  0029 0008  002a 0008  0028"
                     " 0004 } S0101{ 00000001 00000007 00000000000003e8 0000000000002710"
                     " 00989680 } }");
    s = only_stream(&c);
    assert_true(s.exported_messages == 1000 && s.exported_flows == 10000 &&
                s.exported_octets == 10000000);
    export_done(&c);
}

static void C22_metering_process_reliability(void **state)
{
    (void)state;
    export_case c = {0};
    (void)export_run(&c,
                     "I{ S0003{ 0101 0005 0002  0095 0004  008f 0004  00a4 0008  00a5 0008  0142"
                     " 0004 } S0101{ 00000001 00000007 0000000000000005 00000000000001f4"
                     " 65540000 } }");
    weir_stream_info s = only_stream(&c);
    assert_true(s.ignored_packets == 5 && s.ignored_octets == 500 && s.not_sent_flows == -1);
    export_done(&c);
}

static void C23_exporting_process_reliability(void **state)
{
    (void)state;
    export_case c = {0};
    (void)export_run(&c, "I{ S0003{ 0101 0004 0001  0082 0004  00a6 0008  00a7 0008  00a8 0008 }"
                         " S0101{ c0000201 0000000000000005 0000000000000006 0000000000000007 } }");
    weir_stream_info s = only_stream(&c);
    assert_true(s.not_sent_flows == 5 && s.not_sent_packets == 6 && s.not_sent_octets == 7);
    export_done(&c);
}

static const weir_template *template_of(export_case *c, uint16_t id)
{
    weir_stream_info s = only_stream(c);
    size_t cursor = 0;
    const weir_template *t;
    while ((t = weir_template_next(s.handle, &cursor)) != NULL && t->id != id)
        ;
    assert_non_null(t);
    return t;
}

/* Options 257: scope templateId, value flowKeyIndicator of 8 octets. */
#define KEYS "S0003{ 0101 0002 0001  0091 0002  00ad 0008 }"

static void C24_flow_keys(void **state)
{
    (void)state;
    export_case c = {0};
    (void)export_run(&c, "I{ S0002{ 0100 0003  0008 0004  000c 0004  0001 0004 }" KEYS
                         " S0101{ 0100 0000000000000003 } }");
    assert_true(template_of(&c, 256)->key_fields == 3);
    /* another definition has not been told its keys yet */
    (void)export_run(&c, "I{ S0002{ 0100 0001  0008 0004 } }");
    assert_true(template_of(&c, 256)->key_fields == 0);
    /* 70 fields: the indicator reaches the first 64 */
    (void)export_run(&c, "I{ S0002{ 0200 0046 B00010001*70 } S0101{ 0200 8000000000000001 } }");
    assert_true(template_of(&c, 512)->key_fields == (UINT64_C(1) << 63 | 1));
    export_done(&c);
}

static void C25_keys_behind_the_last_field(void **state)
{
    (void)state;
    export_case c = {0};
    (void)export_run(&c, "I{" T256 KEYS " S0101{ 0100 0000000000000003 } }");
    assert_true(template_of(&c, 256)->key_fields == 0);
    assert_int_equal(export_counter(&c, "values_bad"), 1);
    export_done(&c);
}

static void D14_last_seen_is_refreshed(void **state)
{
    (void)state;
    export_case c = {0};
    (void)export_run(&c, "port=1 I{" T256 "} wait=60 port=2 I{" T256 "}");
    const weir_template *t = template_of(&c, 256);
    assert_true(t->learnt_ns == EXPORT_NS);
    assert_true(t->seen_ns == EXPORT_NS + INT64_C(60000000000));
    assert_int_equal(t->port, 2);
    export_done(&c);
}

static void D17_the_lifetime_is_an_option(void **state)
{
    (void)state;
    /* RFC 6728's default of a collector, 1800 s, and others: not a second less */
    static const uint32_t lives[] = {1, 600, 1800, 86400};
    for (size_t i = 0; i < UNIT_N(lives); i++) {
        const weir_decoder_options o = {.template_life_s = lives[i]};
        export_case c = {.options = &o};
        (void)export_run(&c, "I{" T256 T257 "}");
        c.now_ns += (int64_t)lives[i] * 1000000000;
        assert_string_equal(export_run(&c, "tick"), "");
        const char *got = export_run(&c, "wait=1 tick");
        UNIT_CHECK(strstr(got, "expired 256") && strstr(got, "expired 257"), "D17: life %u: %s",
                   lives[i], got);
        export_done(&c);
    }
}

static void D22_reordered_data_is_decoded_and_flagged(void **state)
{
    (void)state;
    export_case c = {0};
    /* The old data set overtaken by the new template cannot be told from a new one but by its export time. */
    (void)export_run(&c, "I time=1700000000{" T256 "} I time=1700000002{" U256
                         "} I time=1700000001{" D256 "}");
    assert_int_equal(export_counter(&c, "older_than_template"), 1);
    export_done(&c);
}

static void D27_a_replaced_template_is_never_mixed(void **state)
{
    (void)state;
    export_case c = {0};
    uint64_t serial = 0;
    for (int i = 0; i < 100; i++) {
        const char *got =
            i % 2 ? export_run(&c, "I{" U256 D256 "}") : export_run(&c, "I{" T256 D256 "}");
        const char *want = i % 2 ? "changed 256; " S256 "; decoded"
                           : i   ? "changed 256; " R256 "; decoded"
                                 : "learnt 256; " R256 "; decoded";
        UNIT_CHECK(strcmp(got, want) == 0, "D27: round %d: %s", i, got);
        uint64_t now = template_of(&c, 256)->serial;
        assert_true(now != serial);
        serial = now;
    }
    export_done(&c);
}

int main(void)
{
    static const struct CMUnitTest functions[] = {
        cmocka_unit_test(C16_the_largest_template),
        cmocka_unit_test(C20_options_are_known_by_their_elements),
        cmocka_unit_test(C21_metering_process_statistics),
        cmocka_unit_test(C22_metering_process_reliability),
        cmocka_unit_test(C23_exporting_process_reliability),
        cmocka_unit_test(C24_flow_keys),
        cmocka_unit_test(C25_keys_behind_the_last_field),
        cmocka_unit_test(D14_last_seen_is_refreshed),
        cmocka_unit_test(D17_the_lifetime_is_an_option),
        cmocka_unit_test(D22_reordered_data_is_decoded_and_flagged),
        cmocka_unit_test(D27_a_replaced_template_is_never_mixed),
    };
    return conformance_main("conformance_template", conformance_row, rows, UNIT_N(rows), functions,
                            UNIT_N(functions));
}
