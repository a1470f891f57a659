/* Values of all types and variable length: sections E and F of tests/conformance.tsv.
 *
 * The registry has no element of some types (signed8, float32), so a file adds one of each under a private enterprise
 * number, 99999 (0x0001869f); the id is the element's place in the list below. */
#include "conformance.h"

#include <unistd.h>

static const char elements_file[] = "pen\tid\tname\tabstract_data_type\n"
                                    "99999\t1\ts8\tsigned8\n"
                                    "99999\t2\ts16\tsigned16\n"
                                    "99999\t3\ts32\tsigned32\n"
                                    "99999\t4\ts64\tsigned64\n"
                                    "99999\t5\tf32\tfloat32\n"
                                    "99999\t6\tf64\tfloat64\n"
                                    "99999\t7\tu8\tunsigned8\n"
                                    "99999\t8\tu16\tunsigned16\n"
                                    "99999\t9\tu32\tunsigned32\n"
                                    "99999\t10\tu64\tunsigned64\n"
                                    "99999\t11\tu256\tunsigned256\n"
                                    "99999\t12\ttext\tstring\n"
                                    "99999\t13\toctets\toctetArray\n"
                                    "99999\t14\tbool\tboolean\n"
                                    "99999\t15\tmac\tmacAddress\n"
                                    "99999\t16\tseconds\tdateTimeSeconds\n"
                                    "99999\t17\tmillis\tdateTimeMilliseconds\n"
                                    "99999\t18\tmicros\tdateTimeMicroseconds\n"
                                    "99999\t19\tnanos\tdateTimeNanoseconds\n"
                                    "99999\t20\tip4\tipv4Address\n"
                                    "99999\t21\tip6\tipv6Address\n";
static weir_decoder_options with_elements;

/* One element of the list, its id and length in 4 hex digits each, records behind it. */
#define ONE(id, len, data) "I{S0002{0100 0001 8" id " " len " 0001869f} S0100{" data "}}"
/* The same of an IANA element. */
#define IE(id, len, data) "I{S0002{0100 0001 0" id " " len "} S0100{" data "}}"
#define GOT(fields) "learnt 256; record 256 " fields "; decoded"
#define GOT2(a, b) "learnt 256; record 256 " a "; record 256 " b "; decoded"
#define OWN NULL, &with_elements

/* clang-format off */
static const struct row rows[] = {
    {"E01", "unsigned8", ONE("007", "0001", "00 ff"), GOT2("u8=0", "u8=255"), OWN},
    {"E01", "unsigned16", ONE("008", "0002", "0000 ffff"), GOT2("u16=0", "u16=65535"), OWN},
    {"E01", "unsigned32", ONE("009", "0004", "00000000 ffffffff"), GOT2("u32=0", "u32=4294967295"), OWN},
    {"E01", "unsigned64", ONE("00a", "0008", "0102030405060708 ffffffffffffffff"), GOT2("u64=72623859790382856", "u64=18446744073709551615"), OWN},
    {"E01", "signed8", ONE("001", "0001", "80 7f"), GOT2("s8=-128", "s8=127"), OWN},
    {"E01", "signed16", ONE("002", "0002", "8000 7fff"), GOT2("s16=-32768", "s16=32767"), OWN},
    {"E01", "signed32", ONE("003", "0004", "80000000 7fffffff"), GOT2("s32=-2147483648", "s32=2147483647"), OWN},
    {"E01", "signed64", ONE("004", "0008", "8000000000000000 7fffffffffffffff"), GOT2("s64=-9223372036854775808", "s64=9223372036854775807"), OWN},
    {"E01", "mibObjectValueInteger of the registry", IE("1b2", "0004", "fffffffe"), GOT("mibObjectValueInteger=-2")},
    {"E02", "macAddress", IE("038", "0006", "0102030405ff"), GOT("sourceMacAddress=0x0102030405ff")},
    {"E02", "macAddress of 5 and 8 octets", "I{S0002{0100 0002 0038 0005 0038 0008} S0100{0102030405 0102030405060708}}", GOT("sourceMacAddress=!0x0102030405 sourceMacAddress=!0x0102030405060708")},
    {"E02", "ipv4Address", IE("008", "0004", "c0000201"), GOT("sourceIPv4Address=192.0.2.1")},
    {"E02", "ipv4Address of 3 and 16 octets", "I{S0002{0100 0002 0008 0003 0008 0010} S0100{c00002 B01*16}}", GOT("sourceIPv4Address=!0xc00002 sourceIPv4Address=!0x01010101010101010101010101010101")},
    {"E02", "ipv6Address", IE("01b", "0010", "20010db8 B00*11 01"), GOT("sourceIPv6Address=0x20010db8000000000000000000000001")},
    {"E02", "ipv6Address of 4 octets", IE("01b", "0004", "20010db8"), GOT("sourceIPv6Address=!0x20010db8")},
    {"E03", "float32: one and a half, not a number, infinity, denormal", ONE("005", "0004", "3fc00000 7fc00000 ff800000 00000001"),
     "learnt 256; record 256 f32=1.5; record 256 f32=nan; record 256 f32=-inf; record 256 f32=1.40129846e-45; decoded", OWN},
    {"E03", "float64", ONE("006", "0008", "3ff8000000000000 7ff8000000000000 7ff0000000000000 0000000000000001"),
     "learnt 256; record 256 f64=1.5; record 256 f64=nan; record 256 f64=inf; record 256 f64=4.94065646e-324; decoded", OWN},
    {"E03", "float32 of 2 octets", ONE("005", "0002", "3fc0"), GOT("f32=!0x3fc0"), OWN},
    {"E04", "boolean 1 and 2", IE("114", "0001", "01 02"), GOT2("dataRecordsReliability=true", "dataRecordsReliability=false")},
    {"E04", "boolean 0 and 3 are no values", IE("114", "0001", "00 03"), GOT2("dataRecordsReliability=!0x00", "dataRecordsReliability=!0x03")},
    {"E05", "UTF-8 of 1 to 4 octets", IE("052", "ffff", "0a 41 c3a9 e282ac f09f8c8a"), GOT("interfaceName=\"A\xc3\xa9\xe2\x82\xac\xf0\x9f\x8c\x8a\"")},
    {"E05", "of fixed length", IE("052", "0003", "e282ac"), GOT("interfaceName=\"\xe2\x82\xac\"")},
    {"E06", "overlong form", IE("052", "0002", "c0af"), GOT("interfaceName=!0xc0af")},
    {"E06", "surrogate", IE("052", "0003", "eda080"), GOT("interfaceName=!0xeda080")},
    {"E06", "cut short", IE("052", "0004", "61e282 61"), GOT("interfaceName=!0x61e28261")},
    {"E06", "above U+10FFFF", IE("052", "0004", "f4908080"), GOT("interfaceName=!0xf4908080")},
    {"E06", "a continuation octet alone; its padding is kept with it", IE("052", "0002", "8000"), GOT("interfaceName=!0x8000")},
    {"E07", "NULs at the end of a fixed-length string", IE("052", "0020", "65746830 B00*28"), GOT("interfaceName=\"eth0\"")},
    {"E07", "a string of NULs", IE("052", "0004", "00000000"), GOT("interfaceName=\"\"")},
    {"E08", "octetArray with zeros in it", IE("139", "0005", "0001000200"), GOT("ipHeaderPacketSection=0x0001000200")},
    {"E08", "of no octets", IE("139", "ffff", "00 0107"), GOT2("ipHeaderPacketSection=0x", "ipHeaderPacketSection=0x07")},
    {"E09", "dateTimeSeconds 0 and 2^32-1", IE("096", "0004", "00000000 ffffffff"), GOT2("flowStartSeconds=0", "flowStartSeconds=4294967295")},
    {"E10", "dateTimeMilliseconds above 2^32", IE("098", "0008", "0000018bcfe56801"), GOT("flowStartMilliseconds=1700000000.001")},
    {"E10", "after the year 2262 it is no time", IE("098", "0008", "ffffffffffffffff"), GOT("flowStartMilliseconds=!0xffffffffffffffff")},
    {"E10", "the last millisecond before that and the first one after it", IE("098", "0008", "000008637bd05af6 000008637bd05af7"), GOT2("flowStartMilliseconds=9223372036.854", "flowStartMilliseconds=!0x000008637bd05af7")},
    {"E11", "dateTimeMicroseconds", IE("09a", "0008", "e8fe6f80 80000000"), GOT("flowStartMicroseconds=1700000000.500000")},
    {"E11", "the low 11 bits of the fraction do not count", IE("09a", "0008", "e8fe6f80 000007ff  e8fe6f80 80000000  e8fe6f80 800007ff"),
     "learnt 256; record 256 flowStartMicroseconds=1700000000.000000; record 256 flowStartMicroseconds=1700000000.500000; record 256 flowStartMicroseconds=1700000000.500000; decoded"},
    {"E12", "dateTimeNanoseconds", IE("09c", "0008", "e8fe6f80 00000005  e8fe6f80 80000000"), GOT2("flowStartNanoseconds=1700000000.000000001", "flowStartNanoseconds=1700000000.500000000")},
    {"E13", "the largest fraction stays in its second", "I{S0002{0100 0002 009a 0008 009c 0008} S0100{e8fe6f80 ffffffff e8fe6f80 ffffffff}}",
     GOT("flowStartMicroseconds=1700000000.999999 flowStartNanoseconds=1700000000.999999999")},
    {"E15", "unsigned64 in 1 octet", IE("001", "0001", "ff"), GOT("octetDeltaCount=255")},
    {"E15", "in 2", IE("001", "0002", "0102"), GOT("octetDeltaCount=258")},
    {"E15", "in 3", IE("001", "0003", "010203"), GOT("octetDeltaCount=66051")},
    {"E15", "in 4", IE("001", "0004", "01020304"), GOT("octetDeltaCount=16909060")},
    {"E15", "in 5", IE("001", "0005", "0102030405"), GOT("octetDeltaCount=4328719365")},
    {"E15", "in 6", IE("001", "0006", "010203040506"), GOT("octetDeltaCount=1108152157446")},
    {"E15", "in 7", IE("001", "0007", "01020304050607"), GOT("octetDeltaCount=283686952306183")},
    {"E15", "unsigned16 in 1, unsigned32 in 3", "I{S0002{0100 0002 0007 0001 000a 0003} S0100{50 010000}}", GOT("sourceTransportPort=80 ingressInterface=65536")},
    {"E16", "signed32 in 2 octets", IE("1b2", "0002", "fffe 7fff"), GOT2("mibObjectValueInteger=-2", "mibObjectValueInteger=32767")},
    {"E16", "signed64 in 1, 3, 5, 6 and 7 octets", "I{S0002{0100 0005 8004 0001 0001869f 8004 0003 0001869f 8004 0005 0001869f 8004 0006 0001869f 8004 0007 0001869f} S0100{ff fffffe 8000000000 7fffffffffff fffffffffffff0}}",
     GOT("s64=-1 s64=-2 s64=-549755813888 s64=140737488355327 s64=-16"), OWN},
    {"E17", "float64 in 4 octets", IE("140", "0004", "3fc00000"), GOT("absoluteError=1.5")},
    {"E17", "float64 in 2 octets is none", IE("140", "0002", "3fc0"), GOT("absoluteError=!0x3fc0")},
    {"E18", "dateTimeMilliseconds of 4 octets", IE("098", "0004", "65540000"), GOT("flowStartMilliseconds=!0x65540000")},
    {"E18", "dateTimeSeconds of 8, dateTimeMicroseconds and -Nanoseconds of 4", "I{S0002{0100 0003 0096 0008 009a 0004 009c 0004} S0100{0000000065540000 01020304 01020304}}",
     GOT("flowStartSeconds=!0x0000000065540000 flowStartMicroseconds=!0x01020304 flowStartNanoseconds=!0x01020304")},
    {"E18", "boolean of 2, ipv6Address of 8 octets", "I{S0002{0100 0002 0114 0002 001b 0008} S0100{0001 20010db800000000}}", GOT("dataRecordsReliability=!0x0001 sourceIPv6Address=!0x20010db800000000")},
    {"E19", "unsigned8 in 2 octets is read as it is", IE("004", "0002", "0011 0102"), GOT2("protocolIdentifier=17", "protocolIdentifier=258")},
    {"E19", "unsigned64 in 10 octets, high ones 0", IE("001", "000a", "0000 0000000000000005"), GOT("octetDeltaCount=5")},
    {"E19", "high ones not 0", IE("001", "000a", "0100 0000000000000005"), GOT("octetDeltaCount=!0x01000000000000000005")},
    {"E19", "signed8 in 2 octets", ONE("001", "0002", "fffe"), GOT("s8=-2"), OWN},
    {"E21", "unsigned256 in 1, 4 and 8 octets", "I{S0002{0100 0003 0203 0001 0203 0004 0203 0008} S0100{01 00000002 0000000000000003}}",
     GOT("ipv6ExtensionHeadersFull=1 ipv6ExtensionHeadersFull=2 ipv6ExtensionHeadersFull=3")},
    {"E21", "in 32 octets, small and large", "I{S0002{0100 0002 0203 0020 0203 0020} S0100{B00*31 07 80 B00*31}}",
     GOT("ipv6ExtensionHeadersFull=7 ipv6ExtensionHeadersFull=0x8000000000000000000000000000000000000000000000000000000000000000")},
    {"E21", "in 33 octets", IE("203", "0021", "01 B00*32"), GOT("ipv6ExtensionHeadersFull=!0x010000000000000000000000000000000000000000000000000000000000000000")},
    {"E26", "an unknown element keeps its octets", "I{S0002{0100 0001 8001 0005 00ffffff} S0100{0102030405}}", GOT("e16777215id1=0x0102030405"), "elements_unknown=1"},
    {"E27", "forwardingStatus in 1 and 4 octets", "I{S0002{0100 0002 0059 0001 0059 0004} S0100{40 00000040}}", GOT("forwardingStatus=64 forwardingStatus=64")},

    {"F01", "lengths 0 and 1", IE("052", "ffff", "00 0161"), GOT2("interfaceName=\"\"", "interfaceName=\"a\"")},
    {"F02", "the 3-octet form of a short value", IE("052", "ffff", "ff0003 616263  ff0000"), GOT2("interfaceName=\"abc\"", "interfaceName=\"\"")},
    {"F03", "length octets are no part of the value", IE("139", "ffff", "03 030303  ff0002 ff00"), GOT2("ipHeaderPacketSection=0x030303", "ipHeaderPacketSection=0xff00")},
    {"F04", "a value past its set: that record is rejected, the rest stays", "I{S0002{0100 0001 0052 ffff} S0100{0161 c8 B61*10} S0100{0162}}",
     "learnt 256; record 256 interfaceName=\"a\"; fault record-truncated; record 256 interfaceName=\"b\"; decoded", "records_rejected=1 records=3"},
    {"F04", "a fixed field behind it that is cut", "I{S0002{0100 0002 0052 ffff 0001 0004} S0100{0461616161 0000}}", "learnt 256; fault record-truncated; decoded", "records_rejected=1"},
    {"F05", "unsigned32 of variable length", IE("00a", "ffff", "02 0102  04 00000007"), GOT2("ingressInterface=258", "ingressInterface=7")},
    {"F05", "ipv4Address of variable length", IE("008", "ffff", "04 c0000201  03 c00002"), GOT2("sourceIPv4Address=192.0.2.1", "sourceIPv4Address=!0xc00002")},
    {"F06", "padding of 3 behind two variable fields", "I{S0002{0100 0002 0052 ffff 0053 ffff} S0100{0161 0162 000000}}", GOT("interfaceName=\"a\" interfaceDescription=\"b\""), "records=1 padding_ambiguous=1"},
    {"F06", "padding of 1 and 2", "I{S0002{0100 0002 0052 ffff 0053 ffff} S0100{0161 0162 00} S0100{0161 0162 0000}}", NULL, "records=2 records_rejected=0"},
    {"F06", "what may be padding or empty strings is padding, and flagged", "I{S0002{0100 0002 0052 ffff 0053 ffff} S0100{00000000}}", NULL, "records=1 padding_ambiguous=1"},
};
/* clang-format on */

static void E14_the_era_of_ntp_times(void **state)
{
    (void)state;
    /* 2036-02-07T06:28:16Z is second 0 of the second era, unix 2085978496 */
    export_case c = {.now_ns = INT64_C(2085978500) * 1000000000};
    const char *got = export_run(&c, "I time=2085978500{ S0002{ 0100 0001 009a 0008 }"
                                     " S0100{ 00000001 00000000  ffffffff 00000000 } }");
    assert_string_equal(got, GOT2("flowStartMicroseconds=2085978497.000000",
                                  "flowStartMicroseconds=2085978495.000000"));
    export_done(&c);
}

static void E20_one_width_for_all_lengths(void **state)
{
    (void)state;
    export_case c = {0};
    (void)export_run(&c, "I{ S0002{ 0100 0002 0001 0004 0001 0008 }"
                         " S0100{ 00000007 0000000000000007 } }");
    const export_event *r = conformance_event(&c, EXPORT_RECORD, 0, "E20");
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(r->fields[i].value.kind, WEIR_KIND_U64);
        assert_int_equal(r->fields[i].value.u64, 7);
    }
    export_done(&c);
}

static void E22_semantics_are_known(void **state)
{
    (void)state;
    static const struct {
        uint16_t id;
        weir_semantics want;
    } cases[] = {{1, WEIR_SEMANTICS_DELTA_COUNTER}, {85, WEIR_SEMANTICS_TOTAL_COUNTER},
                 {4, WEIR_SEMANTICS_IDENTIFIER},    {6, WEIR_SEMANTICS_FLAGS},
                 {291, WEIR_SEMANTICS_LIST},        {34, WEIR_SEMANTICS_QUANTITY}};
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        const weir_element *e = weir_element_find(NULL, WEIR_SPACE_IPFIX, 0, cases[i].id);
        UNIT_CHECK(e && e->semantics == cases[i].want, "E22: element %u has semantics %s",
                   cases[i].id, e ? weir_semantics_text((weir_semantics)e->semantics) : "none");
    }
}

static void E28_all_kinds_of_times(void **state)
{
    (void)state;
    static const struct {
        const char *what, *script;
        int64_t first_off, last_off; /* ns from EXPORT_NS */
        unsigned flags;
    } cases[] = {
        {"seconds", "I{S0002{0100 0002 0096 0004 0097 0004} S0100{6553f0f6 6553f0fb}}",
         -10 * INT64_C(1000000000), -5 * INT64_C(1000000000), 0},
        {"delta microseconds before the export time",
         "I{S0002{0100 0002 009e 0004 009f 0004} S0100{001e8480 000f4240}}",
         -2 * INT64_C(1000000000), -1 * INT64_C(1000000000), 0},
        {"sysUptime with systemInitTimeMilliseconds in the record",
         "I{S0002{0100 0003 0016 0004 0015 0004 00a0 0008} S0100{000003e8 000007d0 "
         "0000018bcfe54ca8}}",
         -6 * INT64_C(1000000000), -5 * INT64_C(1000000000), 0},
        {"sysUptime with systemInitTimeMilliseconds in options",
         "I{S0003{0101 0002 0001 0095 0004 00a0 0008} S0101{00000001 0000018bcfe54ca8}"
         "S0002{0100 0002 0016 0004 0015 0004} S0100{000003e8 000007d0}}",
         -6 * INT64_C(1000000000), -5 * INT64_C(1000000000), 0},
        {"sysUptime against a v9 header's",
         "N up=10000{S0000{0100 0002 0016 0004 0015 0004} S0100{00001388 00001f40}}",
         -5 * INT64_C(1000000000), -2 * INT64_C(1000000000), 0},
        {"a start and a duration in milliseconds",
         "I{S0002{0100 0002 0096 0004 00a1 0004} S0100{6553f0f6 00000bb8}}",
         -10 * INT64_C(1000000000), -7 * INT64_C(1000000000), 0},
        {"an end and a duration in microseconds",
         "I{S0002{0100 0002 0097 0004 00a2 0004} S0100{6553f0fb 002dc6c0}}",
         -8 * INT64_C(1000000000), -5 * INT64_C(1000000000), 0},
        {"an end alone", "I{S0002{0100 0001 0097 0004} S0100{6553f0fb}}", -5 * INT64_C(1000000000),
         -5 * INT64_C(1000000000), WEIR_TIME_SUBSTITUTED},
        {"the finest pair wins",
         "I{S0002{0100 0004 0096 0004 0097 0004 0098 0008 0099 0008} S0100{6553f0f6 6553f0fb "
         "0000018bcfe56419 0000018bcfe567ff}}",
         -999 * INT64_C(1000000), -1 * INT64_C(1000000), 0},
        {"none: the export time", "I{S0002{0100 0001 0001 0004} S0100{00000001}}", 0, 0,
         WEIR_TIME_EXPORT},
    };
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        export_case c = {0};
        (void)export_run(&c, cases[i].script);
        const export_event *r = conformance_event(&c, EXPORT_RECORD, 0, cases[i].what);
        UNIT_CHECK(r->first_ns - EXPORT_NS == cases[i].first_off &&
                       r->last_ns - EXPORT_NS == cases[i].last_off &&
                       r->time_flags == cases[i].flags,
                   "E28: %s: first %+" PRId64 " last %+" PRId64 " ns, flags %u", cases[i].what,
                   r->first_ns - EXPORT_NS, r->last_ns - EXPORT_NS, r->time_flags);
        export_done(&c);
    }
}

static void F01_all_lengths(void **state)
{
    (void)state;
    static const unsigned lengths[] = {0, 1, 2, 253, 254, 255, 256, 257, 65000};
    for (size_t i = 0; i < UNIT_N(lengths); i++)
        for (int wide = lengths[i] > 254; wide < 2; wide++) {
            export_case c = {0};
            char script[256];
            (void)snprintf(
                script, sizeof script,
                wide ? "tcp I{S0002{0100 0002 0139 ffff 0004 0001} S0100{ff%04x B5a*%u 11}}"
                     : "tcp I{S0002{0100 0002 0139 ffff 0004 0001} S0100{%02x B5a*%u 11}}",
                lengths[i], lengths[i]);
            (void)export_run(&c, script);
            const export_event *r = conformance_event(&c, EXPORT_RECORD, 0, "F01");
            UNIT_CHECK(r->fields[0].len == lengths[i] && r->fields[1].value.u64 == 17,
                       "F01: length %u in %d octets", lengths[i], wide ? 3 : 1);
            for (unsigned k = 0; k < lengths[i]; k++)
                assert_int_equal(r->fields[0].octets[k], 0x5a);
            conformance_laws(&c, "F01");
            export_done(&c);
        }
}

int main(void)
{
    static const struct CMUnitTest functions[] = {
        cmocka_unit_test(E14_the_era_of_ntp_times), cmocka_unit_test(E20_one_width_for_all_lengths),
        cmocka_unit_test(E22_semantics_are_known),  cmocka_unit_test(E28_all_kinds_of_times),
        cmocka_unit_test(F01_all_lengths),
    };
    char path[] = "/tmp/weir-elements-XXXXXX";
    int fd = mkstemp(path);
    weir_elements *elements = weir_elements_new();
    weir_err err = {0};
    if (fd < 0 || !elements ||
        write(fd, elements_file, sizeof elements_file - 1) != (ssize_t)sizeof elements_file - 1 ||
        weir_elements_load(elements, path, &err) != WEIR_OK) {
        (void)fprintf(stderr, "cannot add elements: %s\n", err.msg);
        return 1;
    }
    (void)close(fd);
    (void)unlink(path);
    with_elements.elements = elements;
    int failed = conformance_main("conformance_value", conformance_row, rows, UNIT_N(rows),
                                  functions, UNIT_N(functions));
    weir_elements_free(elements);
    return failed;
}
