/* Biflows (RFC 5103), structured data (RFC 6313), sampling and names in options: sections J, K and L of
 * tests/conformance.tsv. */
#include "conformance.h"

#define REV "00007279" /* PEN 29305 */
/* A record of one list of variable length: basicList, subTemplateList, subTemplateMultiList. */
#define BASIC "S0002{ 0100 0001  0123 ffff }"
#define SUB "S0002{ 0100 0001  0124 ffff }"
#define MULTI "S0002{ 0100 0001  0125 ffff }"
/* Inner templates: 512 port and protocol; 513 a string. */
#define INNER "S0002{ 0200 0002  0007 0002  0004 0001 } S0002{ 0201 0001  0052 ffff }"
#define IN3 "learnt 512; learnt 513; learnt 256; record 256 "

static const weir_decoder_options shallow = {.max_depth = 2};
static const weir_decoder_options few_items = {.max_list_items = 3};

/* clang-format off */
static const struct row rows[] = {
    {"J01", "reverse elements have the forward one's type and size rules", "I{S0002{0100 0003 8001 0004 " REV " 8002 0008 " REV " 8096 0004 " REV "} S0100{00000005 0000000000000006 6553f100}}",
     "learnt 256; record 256 reverseOctetDeltaCount=5 reversePacketDeltaCount=6 reverseFlowStartSeconds=1700000000; decoded", "elements_unknown=0"},
    {"J03", "reverse elements without a directional key are kept", "I{S0002{0100 0002 0001 0004 8001 0004 " REV "} S0100{00000005 00000006}}",
     "learnt 256; record 256 octetDeltaCount=5 reverseOctetDeltaCount=6; decoded", "flows=1"},
    {"J04", "the reverse of flowId is kept as octets, the rest is usable", "I{S0002{0100 0002 8094 0004 " REV " 0001 0004} S0100{00000007 00000005}}",
     "learnt 256; record 256 e29305id148=0x00000007 octetDeltaCount=5; decoded", "elements_unknown=1"},
    {"J05", "so is the reverse of what no registry knows", "I{S0002{0100 0002 fffe 0002 " REV " 0001 0004} S0100{0102 00000005}}",
     "learnt 256; record 256 e29305id32766=0x0102 octetDeltaCount=5; decoded"},
    {"J06", "CERT's reverse bit", "I{S0002{0100 0002 800e 0001 00001ad7 c00e 0001 00001ad7} S0100{02 12}}", "learnt 256; record 256 initialTCPFlags=2 reverseInitialTCPFlags=18; decoded"},
    {"J08", "a zero reverse counter is a value, an absent one is not there", "I{S0002{0100 0002 0001 0004 8001 0004 " REV "} S0100{00000005 00000000} S0002{0101 0001 0001 0004} S0101{00000005}}",
     "learnt 256; record 256 octetDeltaCount=5 reverseOctetDeltaCount=0; learnt 257; record 257 octetDeltaCount=5; decoded"},
    {"J09", "post elements and their reverse stay apart", "I{S0002{0100 0003 0001 0001 0017 0001 8017 0001 " REV "} S0100{01 02 03}}",
     "learnt 256; record 256 octetDeltaCount=1 postOctetDeltaCount=2 reversePostOctetDeltaCount=3; decoded"},

    {"K01", "fixed items", "I{" BASIC "S0100{09 03 0007 0002 0050 01bb}}", "learnt 256; record 256 basicList={3 sourceTransportPort=80 | sourceTransportPort=443}; decoded"},
    {"K01", "of an enterprise's element", "I{" BASIC "S0100{0b 03 8001 0002 00003039 abcd}}", "learnt 256; record 256 basicList={3 e12345id1=0xabcd}; decoded"},
    {"K02", "empty lists of 5 and of 9 octets", "I{" BASIC "S0100{05 03 0007 0002  09 03 8001 0002 00003039}}", "learnt 256; record 256 basicList={3}; record 256 basicList={3}; decoded"},
    {"K02", "items of variable length", "I{" BASIC "S0100{0d 03 0052 ffff 0161 00 ff0002 6263}}",
     "learnt 256; record 256 basicList={3 interfaceName=\"a\" | interfaceName=\"\" | interfaceName=\"bc\"}; decoded"},
    {"K02", "a list cut in its head", "I{" BASIC "S0100{04 03 0007 00  00  01 03}}", "learnt 256; record 256 basicList={!ETRUNC}; record 256 basicList={!ETRUNC}; record 256 basicList={!ETRUNC}; decoded"},
    {"K02", "a list cut in an item", "I{" BASIC "S0100{08 03 0007 0002 0050 01}}", "learnt 256; record 256 basicList={3 sourceTransportPort=80 | !ETRUNC}; decoded"},
    {"K03", "a subTemplateList", "I{" INNER SUB "S0100{09 03 0200 0050 06 01bb 11}}",
     IN3 "subTemplateList={3 sourceTransportPort=80,protocolIdentifier=6 | sourceTransportPort=443,protocolIdentifier=17}; decoded"},
    {"K03", "of variable-length records", "I{" INNER SUB "S0100{07 03 0201 0161 0162}}", IN3 "subTemplateList={3 interfaceName=\"a\" | interfaceName=\"b\"}; decoded"},
    {"K03", "empty", "I{" INNER SUB "S0100{03 03 0200}}", IN3 "subTemplateList={3}; decoded"},
    {"K03", "cut in a record", "I{" INNER SUB "S0100{08 03 0200 0050 06 01bb}}", IN3 "subTemplateList={3 sourceTransportPort=80,protocolIdentifier=6 | !ETRUNC}; decoded"},
    {"K04", "a subTemplateMultiList of two blocks", "I{" INNER MULTI "S0100{10 03 0200 0007 0050 06 0201 0008 0161 0162}}",
     IN3 "subTemplateMultiList={3 sourceTransportPort=80,protocolIdentifier=6 | interfaceName=\"a\" | interfaceName=\"b\"}; decoded"},
    {"K04", "a block length below its own head or past the list", "I{" INNER MULTI "S0100{05 03 0200 0003  05 03 0200 0005}}",
     IN3 "subTemplateMultiList={3 !EFORMAT}; record 256 subTemplateMultiList={3 !EFORMAT}; decoded"},
    {"K05", "empty multi lists: no block, block length 0, block length 4", "I{" INNER MULTI "S0100{01 ff  05 ff 0200 0000  05 ff 0200 0004}}",
     IN3 "subTemplateMultiList={255}; record 256 subTemplateMultiList={255}; record 256 subTemplateMultiList={255}; decoded"},
    {"K06", "all semantics and an unassigned one", "I{" BASIC "S0100{05 ff 0004 0001  05 00 0004 0001  05 01 0004 0001  05 02 0004 0001  05 03 0004 0001  05 04 0004 0001  05 2a 0004 0001}}",
     "learnt 256; record 256 basicList={255}; record 256 basicList={0}; record 256 basicList={1}; record 256 basicList={2}; record 256 basicList={3}; record 256 basicList={4}; record 256 basicList={42}; decoded"},
    {"K07", "the 3-octet length of a short list", "I{" BASIC "S0100{ff0006 03 0004 0001 06}}", "learnt 256; record 256 basicList={3 protocolIdentifier=6}; decoded"},
    {"K07", "a list of fixed length", "I{S0002{0100 0002 0123 0006 0001 0004} S0100{03 0004 0001 06 00000005}}", "learnt 256; record 256 basicList={3 protocolIdentifier=6} octetDeltaCount=5; decoded"},
    {"K08", "a list in a list in a list, deeper than max_depth", "I{" BASIC "S0100{14 03 0123 ffff 0e 03 0123 ffff 08 03 0123 ffff 02 0000}}",
     "learnt 256; record 256 basicList={3 basicList={3 basicList={!ELIMIT}}}; decoded", NULL, &shallow},
    {"K08", "the default depth", "I{" BASIC "S0100{0c 03 0123 ffff 06 03 0004 0001 06}}", "learnt 256; record 256 basicList={3 basicList={3 protocolIdentifier=6}}; decoded"},
    {"K08", "more items than max_list_items", "I{" BASIC "S0100{09 03 0004 0001 01020304}}",
     "learnt 256; record 256 basicList={3 protocolIdentifier=1 | protocolIdentifier=2 | protocolIdentifier=3 | !ELIMIT}; decoded", NULL, &few_items},
    {"K09", "lists in options, as scope too", "I{S0003{0101 0002 0001 0123 ffff 0123 ffff} S0101{06 03 0004 0001 06  06 04 0004 0001 11}}",
     "learnt 257; options 257 (basicList)={3 protocolIdentifier=6} basicList={4 protocolIdentifier=17}; decoded"},
    {"K10", "paddingOctets in an inner template", "I{S0002{0200 0002 0004 0001 00d2 0003} " SUB "S0100{0b 03 0200 06 000000 11 000000}}",
     "learnt 512; learnt 256; record 256 subTemplateList={3 protocolIdentifier=6,paddingOctets=0x000000 | protocolIdentifier=17,paddingOctets=0x000000}; decoded"},
    {"K11", "an item that nobody knows", "I{" BASIC "S0100{07 03 7ffe 0002 0102}}", "learnt 256; record 256 basicList={3 e0id32766=0x0102}; decoded"},
    {"K11", "a field of an inner template that nobody knows", "I{S0002{0200 0002 7ffe 0001 0004 0001} " SUB "S0100{05 03 0200 09 06}}",
     "learnt 512; learnt 256; record 256 subTemplateList={3 e0id32766=0x09,protocolIdentifier=6}; decoded", "elements_unknown=1"},
    {"K12", "inner templates are those of the domain", "I dom=1{" INNER "} I dom=2{" SUB "S0100{06 03 0200 0050 06}}", "learnt 512; learnt 513; decoded; learnt 256; record 256 subTemplateList={!ENOTFOUND}; decoded"},
    {"K13", "an inner template without directional keys but with reverse elements", "I{S0002{0200 0001 8001 0001 " REV "} " SUB "S0100{04 03 0200 05}}",
     "learnt 512; learnt 256; record 256 subTemplateList={3 reverseOctetDeltaCount=5}; decoded"},
    {"K14", "list elements with ids of their own", "I{S0002{0100 0001 01e4 ffff} S0100{09 03 01e3 0004 fde80001}}", "learnt 256; record 256 bgpSourceCommunityList={3 bgpCommunity=4259840001}; decoded"},
    {"K15", "an unknown inner template spoils that list alone", "I{S0002{0100 0002 0124 ffff 0001 0004} S0100{06 03 0200 0050 06 00000005}}",
     "learnt 256; record 256 subTemplateList={!ENOTFOUND} octetDeltaCount=5; decoded", "flows=1"},
    {"K15", "of a multi list that block alone", "I{" INNER MULTI "S0100{10 03 0300 0007 005006 0201 0008 0161 0162}}",
     IN3 "subTemplateMultiList={3 !ENOTFOUND | interfaceName=\"a\" | interfaceName=\"b\"}; decoded"},
    {"K16", "items of no octets", "I{" BASIC "S0100{06 03 0004 0000 06}}", "learnt 256; record 256 basicList={!EFORMAT}; decoded"},
    {"K16", "an inner template of no octets is never learnt", "I{S0002{0200 0001 0052 0000} " SUB "S0100{04 03 0200 05}}",
     "fault template-malformed; learnt 256; record 256 subTemplateList={!ENOTFOUND}; decoded"},
    {"O11", "a subTemplateList that names its own template", "I{" SUB "S0100{0d 03 0100 09 03 0100 05 03 0100 01 03}}",
     "learnt 256; record 256 subTemplateList={3 subTemplateList={3 subTemplateList={!ELIMIT}}}; decoded", NULL, &shallow},

    {"L08", "applicationId and its names", "I{S0003{0101 0003 0001 005f 0004 0060 ffff 005e ffff} S0101{03000050 0468747470 00} S0002{0100 0001 005f 0004} S0100{03000050}}",
     "learnt 257; options 257 (applicationId)=0x03000050 applicationName=\"http\" applicationDescription=\"\"; learnt 256; record 256 applicationId=0x03000050; decoded"},
    {"L11", "a NAT event without counters", "I{S0002{0100 0005 00e6 0001 0008 0004 00e1 0004 00e3 0002 016a 0002} S0100{04 0a000001 c0000201 1000 2000}}",
     "learnt 256; record 256 natEvent=4 sourceIPv4Address=10.0.0.1 postNATSourceIPv4Address=192.0.2.1 postNAPTSourceTransportPort=4096 portRangeEnd=8192; decoded"},
    {"L12", "commonPropertiesId is kept on both sides", "I{S0003{0101 0002 0001 0089 0008 0008 0004} S0101{0000000000000001 0a000001} S0002{0100 0002 0089 0008 0001 0004} S0100{0000000000000001 00000005}}",
     "learnt 257; options 257 (commonPropertiesId)=1 sourceIPv4Address=10.0.0.1; learnt 256; record 256 commonPropertiesId=1 octetDeltaCount=5; decoded"},
};
/* clang-format on */

static void J01_reverse_rows_follow_the_forward_ones(void **state)
{
    (void)state;
    size_t cursor = 0, n = 0;
    const weir_element *e;
    while ((e = weir_element_next(NULL, WEIR_SPACE_IPFIX, &cursor)) != NULL) {
        if (e->pen != 0 || !(e->flags & WEIR_ELEMENT_REVERSIBLE))
            continue;
        const weir_element *r = weir_element_find(NULL, WEIR_SPACE_IPFIX, WEIR_PEN_REVERSE, e->id);
        UNIT_CHECK(r && (r->flags & WEIR_ELEMENT_REVERSE), "J01: %s has no reverse", e->name);
        UNIT_CHECK(r->type == e->type && r->semantics == e->semantics,
                   "J01: the reverse of %s has another type or semantics", e->name);
        n++;
    }
    UNIT_CHECK(n > 100, "J01: only %zu reversible elements", n);
}

static void J05_elements_without_a_reverse(void **state)
{
    (void)state;
    /* RFC 5103 section 6.1 names them or their kind */
    static const uint16_t none[] = {148, 145, 149, 137, 210, 239, 40,  41,  42,  163, 164, 165,
                                    166, 167, 168, 144, 143, 173, 302, 304, 305, 258, 262, 263};
    for (size_t i = 0; i < UNIT_N(none); i++)
        UNIT_CHECK(!weir_element_find(NULL, WEIR_SPACE_IPFIX, WEIR_PEN_REVERSE, none[i]),
                   "J05: element %u has a reverse", none[i]);
}

/* What each record's sampling is, by the options that came before or with it. */
struct rate {
    const char *id, *what, *script;
    double rate;
    weir_origin origin;
};

static void check_rates(const struct rate *r, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        export_case c = {0};
        (void)export_run(&c, r[i].script);
        const export_event *e = conformance_event(&c, EXPORT_RECORD, 0, r[i].what);
        double off = e->sampling.rate - r[i].rate;
        UNIT_CHECK(off < 1e-9 && off > -1e-9 && e->sampling.origin == r[i].origin,
                   "%s: %s: rate %g %s, not %g %s", r[i].id, r[i].what, e->sampling.rate,
                   weir_origin_text((weir_origin)e->sampling.origin), r[i].rate,
                   weir_origin_text(r[i].origin));
        export_done(&c);
    }
}

/* A record with selectorId, with samplerId, with neither. */
#define BY_SELECTOR "S0002{0100 0002 012e 0008 0001 0004} S0100{0000000000000007 00000001}"
#define BY_SAMPLER "S0002{0100 0002 0030 0001 0001 0004} S0100{07 00000001}"
#define PLAIN "S0002{0100 0001 0001 0004} S0100{00000001}"
#define BY_INTERFACE "S0002{0100 0002 000a 0004 0001 0004} S0100{00000003 00000001}"

static void L09_packet_selectors(void **state)
{
    (void)state;
    /* clang-format off */
    static const struct rate rates[] = {
        {"L09", "systematic, 1 in 10: interval 1, space 9", "I{S0003{0101 0004 0001 012e 0008 0130 0002 0131 0004 0132 0004} S0101{0000000000000007 0001 00000001 00000009}" BY_SELECTOR "}", 10, WEIR_ORIGIN_OPTIONS},
        {"L09", "n out of N: 2 of 300", "I{S0003{0101 0004 0001 012e 0008 0130 0002 0135 0004 0136 0004} S0101{0000000000000007 0003 00000002 0000012c}" BY_SELECTOR "}", 150, WEIR_ORIGIN_OPTIONS},
        {"L09", "probability 0.25", "I{S0003{0101 0003 0001 012e 0008 0130 0002 0137 0008} S0101{0000000000000007 0004 3fd0000000000000}" BY_SELECTOR "}", 4, WEIR_ORIGIN_OPTIONS},
        {"L09", "another selector's rate does not apply", "I{S0003{0101 0003 0001 012e 0008 0131 0004 0132 0004} S0101{0000000000000008 00000001 00000009}" BY_SELECTOR "}", 0, WEIR_ORIGIN_UNKNOWN},
        {"L09", "the interval in the record itself", "I{S0002{0100 0003 0131 0004 0132 0004 0001 0004} S0100{00000001 00000063 00000001}}", 100, WEIR_ORIGIN_RECORD},
    };
    /* clang-format on */
    check_rates(rates, UNIT_N(rates));
}

static void L10_older_forms_of_sampling(void **state)
{
    (void)state;
    /* clang-format off */
    static const struct rate rates[] = {
        {"L10", "34 and 35 of the system", "N{S0001{0101 0004 0008 0001 0004 0022 0004 0023 0001} S0101{c0000201 00000064 02} S0000{0100 0001 0001 0004} S0100{00000001}}", 100, WEIR_ORIGIN_OPTIONS},
        {"L10", "48, 49 and 50 by samplerId", "N{S0001{0101 0004 000c 0001 0004 0030 0001 0031 0001 0032 0004} S0101{c0000201 07 02 000003e8} S0000{0100 0002 0030 0001 0001 0004} S0100{07 00000001}}", 1000, WEIR_ORIGIN_OPTIONS},
        {"L10", "34 of an interface", "N{S0001{0101 0004 0004 0002 0004 0022 0004} S0101{00000003 00000040} S0000{0100 0002 000a 0004 0001 0004} S0100{00000003 00000001}}", 64, WEIR_ORIGIN_OPTIONS},
        {"L10", "34 of another interface", "N{S0001{0101 0004 0004 0002 0004 0022 0004} S0101{00000004 00000040} S0000{0100 0002 000a 0004 0001 0004} S0100{00000003 00000001}}", 0, WEIR_ORIGIN_UNKNOWN},
        {"L10", "34 in IPFIX options of the domain", "I{S0003{0101 0002 0001 0095 0004 0022 0004} S0101{00000001 00000200}" PLAIN "}", 512, WEIR_ORIGIN_OPTIONS},
        {"L10", "34 in IPFIX options of an interface", "I{S0003{0101 0002 0001 000a 0004 0022 0004} S0101{00000003 00000200}" BY_INTERFACE "}", 512, WEIR_ORIGIN_OPTIONS},
        {"L10", "50 in IPFIX options by samplerId", "I{S0003{0101 0002 0001 0030 0001 0032 0004} S0101{07 00000200}" BY_SAMPLER "}", 512, WEIR_ORIGIN_OPTIONS},
    };
    /* clang-format on */
    check_rates(rates, UNIT_N(rates));
}

int main(void)
{
    static const struct CMUnitTest functions[] = {
        cmocka_unit_test(J01_reverse_rows_follow_the_forward_ones),
        cmocka_unit_test(J05_elements_without_a_reverse),
        cmocka_unit_test(L09_packet_selectors),
        cmocka_unit_test(L10_older_forms_of_sampling),
    };
    return conformance_main("conformance_structured", conformance_row, rows, UNIT_N(rows),
                            functions, UNIT_N(functions));
}
