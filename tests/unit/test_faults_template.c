/* Faults T1 to T24: templates and options templates of v9 and IPFIX, each named after its id. */
#include "hostile.h"

#include <pthread.h>

static void T1_template_without_fields_or_octets(void **state)
{
    (void)state;
    /* IPFIX, UDP: a template of 0 fields is a withdrawal, which UDP ignores (RFC 7011 section 8.4). */
    export_case c = {0};
    expect(&c, "I{ S0002{ 0100 0001 0001 0004 } } I{ S0002{ 0100 0000 } S0100{ 00000005 } }",
           "learnt 256; decoded; record 256 octetDeltaCount=5; decoded");
    export_done(&c);
    /* Over TCP it is obeyed: data then waits. */
    expect(&c, "tcp I{ S0002{ 0100 0001 0001 0004 } } I{ S0002{ 0100 0000 } S0100{ 00000005 } }",
           "learnt 256; decoded; withdrawn 256; waiting");
    export_done(&c);
    /* Fields of 0 octets in all: no record could be told from the next. */
    expect_new("I{ S0002{ 0100 0002 0001 0000 0002 0000 } S0100{ 00000005 } }",
               "fault template-malformed; waiting");
    expect_new("N{ S0000{ 0100 0001 0001 0000 } S0100{ 00000005 } }",
               "fault template-malformed; waiting");
    /* v9 knows no withdrawal. */
    expect_new("N{ S0000{ 0100 0000 } S0100{ 00000005 } }", "fault template-malformed; waiting");
}

static void T2_ipfix_options_lengths_past_65535(void **state)
{
    (void)state;
    export_case c = {0};
    expect(&c,
           "I{ S0003{ 0100 0002 0001 005f 8000 0060 8000 } } I{ S0100{ B00*64 } } "
           "I{ S0003{ 0101 0003 0001 00ea fffe 00ec 0001 0001 0001 } S0101{ B00*64 } }",
           "fault template-malformed; decoded; waiting; fault template-malformed; waiting");
    assert_int_equal(export_counters(&c)->templates, 0);
    assert_int_equal(export_counters(&c)->faults[WEIR_FAULT_TEMPLATE], 2);
    export_done(&c);
    /* 65535 octets in all is more than a message can carry, but it is no wrap: kept, never fits. */
    expect_new("I{ S0003{ 0100 0002 0001 005f 8000 0060 7fff } S0100{ B00*64 } }",
               "learnt 256; decoded");
}

static void T3_v9_options_lengths_past_65535(void **state)
{
    (void)state;
    export_case c = {0};
    expect(&c, "N{ S0001{ 0100 0008 0004 0001 8000 0002 8000 0022 0004 } S0100{ B00*64 } }",
           "fault template-malformed; waiting");
    expect(&c, "N{ S0001{ 0101 0004 0008 0001 0004 005f 8000 0060 8000 } S0101{ B00*64 } }",
           "fault template-malformed; waiting");
    assert_int_equal(export_counters(&c)->templates, 0);
    export_done(&c);
}

static void T4_replaced_options_template(void **state)
{
    (void)state;
    export_case c = {0};
    expect(&c,
           "I{ S0003{ 0100 0002 0001 0095 0004 0029 0008 } S0100{ 00000001 0000000000000002 } "
           "S0003{ 0100 0002 0001 0095 0004 002a 0004 } S0100{ 00000003 00000004 } }",
           "learnt 256; options 256 (observationDomainId)=1 exportedMessageTotalCount=2; "
           "changed 256; options 256 (observationDomainId)=3 exportedFlowRecordTotalCount=4; "
           "decoded");
    /* Into a data template and back. */
    expect(&c,
           "I{ S0002{ 0100 0001 0001 0004 } S0100{ 00000005 } } "
           "I{ S0003{ 0100 0001 0001 0095 0004 } S0100{ 00000006 } }",
           "changed 256; record 256 octetDeltaCount=5; decoded; "
           "changed 256; options 256 (observationDomainId)=6; decoded");
    export_done(&c);
    expect(
        &c,
        "N{ S0001{ 0100 0004 0004 0001 0004 0022 0004 } S0100{ 00000001 00000064 } } "
        "N{ S0001{ 0100 0004 0008 0001 0004 0023 0001 0022 0002 } S0100{ 00000001 02 0032 00 } }",
        "learnt 256; sampling 0 rate 100 options; "
        "options 256 (scopeSystem)=1 samplingInterval=100; decoded; "
        "changed 256; sampling 0 rate 50 options; "
        "options 256 (scopeSystem)=1 samplingAlgorithm=2 samplingInterval=50; decoded");
    export_done(&c);
}

/* One decoder belongs to one thread at a time, and decoders share nothing that changes: two threads that replace the
 * same template over and over each see their own definition. */
static void *replace_templates(void *arg)
{
    uintptr_t *bad = arg;
    export_case c = {0};
    for (int i = 0; i < 200; i++) {
        const char *got = export_run(&c, "I{ S0002{ 0100 0001 0001 0004 } S0100{ 00000005 } } "
                                         "I{ S0002{ 0100 0001 0002 0002 } S0100{ 0006 } }");
        *bad += strcmp(got, i ? "changed 256; record 256 octetDeltaCount=5; decoded; changed 256; "
                                "record 256 packetDeltaCount=6; decoded"
                              : "learnt 256; record 256 octetDeltaCount=5; decoded; changed 256; "
                                "record 256 packetDeltaCount=6; decoded") != 0;
    }
    export_done(&c);
    return NULL;
}

static void T5_replaced_while_others_decode(void **state)
{
    (void)state;
    pthread_t threads[2];
    uintptr_t bad[2] = {0};
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, replace_templates, &bad[i]), 0);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(bad[0] + bad[1], 0);
    /* Within one decoder: a set that waited is read by the definition that released it, and the next one by the
     * definition after that. */
    expect_new("I{ S0100{ 00000005 } } I{ S0002{ 0100 0001 0001 0004 } S0100{ 00000007 } "
               "S0002{ 0100 0001 0002 0002 } S0100{ 0006 } }",
               "waiting; learnt 256; record 256 octetDeltaCount=7; changed 256; "
               "record 256 packetDeltaCount=6; decoded; late record 256 packetDeltaCount=0; "
               "late record 256 packetDeltaCount=5; late decoded");
}

static void T6_v9_options_lengths_not_of_whole_fields(void **state)
{
    (void)state;
    static const struct {
        const char *what, *set;
    } cases[] = {
        {"scope length no multiple of 4", "S0001{ 0100 0003 0004 0001 0004 0022 0004 0000 }"},
        {"option length no multiple of 4", "S0001{ 0100 0004 0006 0001 0004 0022 0004 0000 }"},
        {"scope longer than the flow set", "S0001{ 0100 0400 0004 0001 0004 0022 0004 0000 }"},
        {"options longer than the flow set", "S0001{ 0100 0004 0400 0001 0004 0022 0004 0000 }"},
        {"both together longer", "S0001{ 0100 0008 0008 0001 0004 0022 0004 0000 }"},
    };
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        char script[256];
        (void)snprintf(script, sizeof script,
                       "N{ %s S0000{ 0101 0001 0001 0004 } S0101{ 00000005 } }", cases[i].set);
        expect_new(script, "fault template-malformed; learnt 257; record 257 octetDeltaCount=5; "
                           "decoded");
    }
}

static void T7_template_sets_too_short(void **state)
{
    (void)state;
    /* v9: too short for one template is padding or a malformed one; the sets behind it are read. */
    static const struct {
        const char *set, *want;
    } cases[] = {
        {"S0000{ }", ""},
        {"S0000{ 0100 }", ""},
        {"S0000{ 0100 0001 }", "fault template-malformed; "},
        {"S0000{ 0100 0001 0001 }", "fault template-malformed; "},
        {"S0001{ 0100 0004 }", ""},
        {"S0001{ 0100 0004 0000 }", "fault template-malformed; "},
        {"S0001{ 0100 fffc 0008 0001 0004 }", "fault template-malformed; "}, /* sum wraps to 4 */
        {"S0001{ 0100 8000 8000 0001 0004 }", "fault template-malformed; "}, /* sum wraps to 0 */
        {"S0001{ 0100 0000 0000 0001 0004 }", "fault template-malformed; "},
    };
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        char script[256], want[256];
        (void)snprintf(script, sizeof script,
                       "N{ %s S0000{ 0101 0001 0001 0004 } S0101{ 00000005 } }", cases[i].set);
        (void)snprintf(want, sizeof want, "%slearnt 257; record 257 octetDeltaCount=5; decoded",
                       cases[i].want);
        expect_new(script, want);
    }
    /* IPFIX: the message is discarded (RFC 7011 section 9.1). */
    expect_new("I{ S0002{ 0100 0001 } S0101{ 00000005 } }", "rejected EFORMAT");
    expect_new("I{ S0003{ 0100 0002 } S0101{ 00000005 } }", "rejected EFORMAT");
    expect_new("I{ S0003{ 0100 ffff 0001 0001 0004 } }", "rejected EFORMAT");
}

static void T8_lengths_that_do_not_fit_their_type(void **state)
{
    (void)state;
    /* sourceIPv4Address of 50 octets: the octets, flagged, and the field behind it where it belongs. */
    expect_new("I{ S0002{ 0100 0002 0008 0032 0001 0004 } S0100{ B7f*50 00000005 } }",
               "learnt 256; record 256 sourceIPv4Address=!0x7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f"
               "7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f octetDeltaCount=5; "
               "decoded");
    /* A fixed string of 200 octets is legal and stays whole (interfaceName, IE 82). */
    export_case c = {0};
    (void)export_run(&c, "I{ S0002{ 0100 0002 0052 00c8 0001 0004 } S0100{ B61*200 00000005 } }");
    const export_event *e = the_event(&c, EXPORT_RECORD, 0);
    assert_int_equal(e->fields[0].value.kind, WEIR_KIND_TEXT);
    assert_int_equal(e->fields[0].value.len, 200);
    assert_int_equal(e->fields[1].value.u64, 5);
    export_done(&c);
    /* Every type with every length from 0 to 70: read or flagged, the field behind it right. */
    static const unsigned ids[] = {1,   4,   8,   27,  56,  82,  150, 152, 154,
                                   156, 276, 291, 292, 293, 311, 434, 94};
    for (size_t i = 0; i < UNIT_N(ids); i++)
        for (unsigned len = 0; len <= 70; len++) {
            char script[256];
            (void)snprintf(script, sizeof script,
                           "I{ S0002{ 0100 0002 %04x %04x 0001 0004 } S0100{ B01*%u 00000005 } }",
                           ids[i], len, len);
            (void)export_run(&c, script);
            e = the_event(&c, EXPORT_RECORD, 0);
            UNIT_CHECK(e->n_fields == 2 && e->fields[0].len == len &&
                           e->fields[1].status == WEIR_OK && e->fields[1].value.u64 == 5,
                       "element %u of %u octets", ids[i], len);
            export_done(&c);
        }
}

static void T9_variable_length_in_every_place(void **state)
{
    (void)state;
    /* First, middle, last; one-octet and three-octet lengths; padding elements (IE 210) between. */
    expect_new("I{ S0002{ 0100 0005 0052 ffff 00d2 0002 0001 0004 0053 ffff 00d2 ffff } "
               "S0100{ 02 6162 0000 00000005 ff0003 636465 01 00 "
               "00 0000 00000006 00 ff0000 } }",
               "learnt 256; record 256 interfaceName=\"ab\" paddingOctets=0x0000 octetDeltaCount=5 "
               "interfaceDescription=\"cde\" paddingOctets=0x00; "
               "record 256 interfaceName=\"\" paddingOctets=0x0000 octetDeltaCount=6 "
               "interfaceDescription=\"\" paddingOctets=0x; decoded");
    /* 254, 255 and 256 octets: where the length changes its form. */
    static const struct {
        const char *len;
        unsigned n;
    } sizes[] = {{"fe", 254}, {"ff00fe", 254}, {"ff00ff", 255}, {"ff0100", 256}, {"ff0400", 1024}};
    for (size_t i = 0; i < UNIT_N(sizes); i++) {
        export_case c = {0};
        char script[256];
        (void)snprintf(script, sizeof script,
                       "I{ S0002{ 0100 0002 0052 ffff 0001 0004 } S0100{ %s B61*%u 00000005 } }",
                       sizes[i].len, sizes[i].n);
        (void)export_run(&c, script);
        const export_event *e = the_event(&c, EXPORT_RECORD, 0);
        UNIT_CHECK(e->fields[0].len == sizes[i].n && e->fields[1].value.u64 == 5,
                   "%u octets after %s", sizes[i].n, sizes[i].len);
        export_done(&c);
    }
    /* The length itself cut, and a length past the end. */
    expect_new("I{ S0002{ 0100 0002 0001 0004 0052 ffff } S0100{ 00000005 ff 01 } }",
               "learnt 256; fault record-truncated; decoded");
    expect_new("I{ S0002{ 0100 0002 0001 0004 0052 ffff } S0100{ 00000005 05 61 } }",
               "learnt 256; fault record-truncated; decoded");
}

static void T10_variable_length_in_v9(void **state)
{
    (void)state;
    expect_new("N{ S0000{ 0100 0003 0001 0004 0052 ffff 0002 0004 } "
               "S0100{ 00000005 03 616263 00000007 00000006 00 00000008 000000 } }",
               "learnt 256; record 256 octetDeltaCount=5 interfaceName=\"abc\" packetDeltaCount=7; "
               "record 256 octetDeltaCount=6 interfaceName=\"\" packetDeltaCount=8; decoded");
}

static void T11_records_shorter_than_their_template(void **state)
{
    (void)state;
    /* Shorter than one record: nothing is invented. */
    expect_new("I{ S0002{ 0100 0002 0001 0004 0002 0004 } S0100{ 00000005 00 } }",
               "learnt 256; decoded");
    expect_new("N{ S0000{ 0100 0002 0001 0004 0002 0004 } S0100{ 00000005 000000 } }",
               "learnt 256; decoded");
    /* 1 to 7 octets of padding behind a record of 8. */
    for (unsigned pad = 0; pad < 8; pad++) {
        char script[256];
        (void)snprintf(
            script, sizeof script,
            "I{ S0002{ 0100 0002 0001 0004 0002 0004 } S0100{ 00000005 00000006 B00*%u } }", pad);
        expect_new(script, "learnt 256; record 256 octetDeltaCount=5 packetDeltaCount=6; decoded");
        *strchr(script, 'I') = 'N';
        memcpy(strstr(script, "S0002"), "S0000", 5);
        expect_new(script, "learnt 256; record 256 octetDeltaCount=5 packetDeltaCount=6; decoded");
    }
    /* Records of variable length: three octets of zero are padding, not three records. */
    expect_new("I{ S0002{ 0100 0001 0052 ffff } S0100{ 01 61 000000 } }",
               "learnt 256; record 256 interfaceName=\"a\"; decoded");
}

static void T12_field_count_past_the_end(void **state)
{
    (void)state;
    expect_new("I{ S0002{ 0100 0003 0001 0004 0002 0004 } S0101{ 00000005 } }", "rejected EFORMAT");
    expect_new("I{ S0002{ 0100 ffff 0001 0004 } }", "rejected EFORMAT");
    expect_new("N{ S0000{ 0100 0003 0001 0004 0002 0004 } S0000{ 0101 0001 0001 0004 } "
               "S0101{ 00000005 } }",
               "fault template-malformed; learnt 257; record 257 octetDeltaCount=5; decoded");
    /* An enterprise number cut off at the end of the set. */
    expect_new("I{ S0002{ 0100 0001 8001 0004 0000 } }", "rejected EFORMAT");
}

static void T13_template_and_data_in_one_message(void **state)
{
    (void)state;
    expect_new("I{ S0002{ 0100 0001 0001 0004 } S0100{ 00000005 } }",
               "learnt 256; record 256 octetDeltaCount=5; decoded");
    expect_new("I{ S0003{ 0101 0001 0001 0095 0004 } S0002{ 0100 0001 0001 0004 } "
               "S0101{ 00000001 } S0100{ 00000005 } }",
               "learnt 257; learnt 256; options 257 (observationDomainId)=1; "
               "record 256 octetDeltaCount=5; decoded");
    expect_new("I{ S0100{ 00000005 } S0002{ 0100 0001 0001 0004 } S0100{ 00000006 } }",
               "learnt 256; record 256 octetDeltaCount=6; record 256 octetDeltaCount=5; decoded");
    expect_new("N{ S0101{ 00000001 00000002 } S0100{ 00000005 } S0001{ 0101 0004 0004 0001 0004 "
               "0029 0004 0000 } S0000{ 0100 0001 0001 0004 } }",
               "learnt 257; learnt 256; options 257 (scopeSystem)=1 exportedMessageTotalCount=2; "
               "record 256 octetDeltaCount=5; decoded");
}

static void T14_malformed_template_ends(void **state)
{
    (void)state;
    /* Lengths and counts of every extreme in a template set: each ends with a verdict. */
    static const unsigned words[] = {0,     1,     2,      3,      4,      5,     0xff,
                                     0x100, 0x101, 0x7fff, 0x8000, 0xfffe, 0xffff};
    for (size_t i = 0; i < UNIT_N(words); i++)
        for (size_t k = 0; k < UNIT_N(words); k++)
            for (unsigned options = 2; options <= 3; options++) {
                export_case c = {0};
                char script[256];
                (void)snprintf(script, sizeof script,
                               "I{ S%04x{ %04x %04x %04x 8001 0004 00000009 0002 0004 } }", options,
                               words[i], words[k], words[(i + k) % UNIT_N(words)]);
                (void)export_run(&c, script);
                assert_int_equal(export_counters(&c)->packets, 1);
                law_check(c.d, script);
                export_done(&c);
            }
}

static void T15_trailing_octets_less_than_a_record(void **state)
{
    (void)state;
    export_case c = {0};
    expect(&c,
           "I{ S0002{ 0100 0002 0001 0004 0002 0004 } S0100{ 00000005 00000006 0102030405 } "
           "S0100{ 00000007 00000008 } }",
           "learnt 256; record 256 octetDeltaCount=5 packetDeltaCount=6; "
           "record 256 octetDeltaCount=7 packetDeltaCount=8; decoded");
    assert_int_equal(export_counters(&c)->records, 2);
    export_done(&c);
    expect_new("I{ S0002{ 0100 0002 0001 0004 0052 ffff } S0100{ 00000005 01 61 0102 } }",
               "learnt 256; record 256 octetDeltaCount=5 interfaceName=\"a\"; decoded");
}

static void T16_scope_count_respected(void **state)
{
    (void)state;
    /* Two scopes, then two values; the same elements as data are no scopes. */
    expect_new("I{ S0003{ 0100 0004 0002 0095 0004 000a 0002 0052 0002 0053 0001 } "
               "S0100{ 00000001 0002 6162 63 } }",
               "learnt 256; options 256 (observationDomainId)=1 (ingressInterface)=2 "
               "interfaceName=\"ab\" interfaceDescription=\"c\"; decoded");
    expect_new(
        "N{ S0001{ 0100 0008 0004 0001 0004 0002 0002 0052 0002 } "
        "S0100{ 00000001 0002 6162 } }",
        "learnt 256; options 256 (scopeSystem)=1 (scopeInterface)=2 interfaceName=\"ab\"; decoded");
    /* None, or more than there are: malformed (RFC 7011 section 3.4.2.2). */
    expect_new("I{ S0003{ 0100 0001 0000 0095 0004 } }", "fault template-malformed; decoded");
    expect_new("I{ S0003{ 0100 0001 0002 0095 0004 } }", "fault template-malformed; decoded");
    /* All of them scopes is legal. */
    expect_new("I{ S0003{ 0100 0001 0001 0095 0004 } S0100{ 00000009 } }",
               "learnt 256; options 256 (observationDomainId)=9; decoded");
}

static void T17_records_without_octets(void **state)
{
    (void)state;
    /* All fixed and all 0: refused. All variable and empty: one octet each, legal, and the set ends. */
    expect_new("I{ S0002{ 0100 0001 0052 0000 } S0100{ 00000000 } }",
               "fault template-malformed; waiting");
    export_case c = {0};
    (void)export_run(&c, "I{ S0002{ 0100 0002 0052 ffff 0053 ffff } S0100{ B00*60000 } }");
    /* 30000 records of two empty strings; the last octets may be read as padding. */
    UNIT_CHECK(export_counters(&c)->flows >= 29999 && export_counters(&c)->flows <= 30000,
               "%" PRIu64 " records", export_counters(&c)->flows);
    law_check(c.d, "empty strings");
    export_done(&c);
    /* Fields of 0 octets cost a reader time and a sender nothing: more of them than octets are refused. */
    expect_new("I{ S0002{ 0100 0003 0052 0000 0001 0001 0008 0000 } S0100{ 05 } }",
               "fault template-malformed; waiting");
    expect_new("I{ S0002{ 0100 0401 0001 0001 B00020000*1024 } S0100{ B05*1000 } }",
               "fault template-malformed; waiting");
    /* A few are what some exporters send. */
    expect_new("I{ S0002{ 0100 0003 0052 0000 0001 0002 0008 0000 } S0100{ 0005 } }",
               "learnt 256; record 256 interfaceName=\"\" octetDeltaCount=5 sourceIPv4Address=!0x; "
               "decoded");
}

static void T18_one_domain_resets_its_sequence(void **state)
{
    (void)state;
    export_case c = {0};
    (void)export_run(
        &c, "I dom=1{ S0002{ 0100 0001 0001 0004 } } I dom=2{ S0002{ 0100 0001 0002 0002 } }");
    for (int i = 0; i < 20; i++) {
        char script[128];
        (void)snprintf(script, sizeof script,
                       "I dom=1 seq=%d{ S0100{ 00000005 } } I dom=2 seq=%d{ S0100{ 0006 } }", i,
                       i < 10 ? i : i - 10);
        (void)export_run(&c, script);
    }
    weir_exporter_info e;
    weir_stream_info s;
    size_t at = 0, inner = 0;
    assert_int_equal(weir_exporter_next(c.d, &at, &e), WEIR_OK);
    for (int n = 0; weir_stream_next(c.d, e.handle, &inner, &s) == WEIR_OK; n++) {
        assert_int_equal(s.counters->sequence_resets, s.domain == 2 ? 1 : 0);
        assert_int_equal(s.counters->sequence_lost, 0);
        assert_int_equal(s.counters->flows, 20);
        assert_int_equal(s.counters->templates, 1);
    }
    export_done(&c);
    /* v9: the restart of one source drops its templates alone. */
    expect(&c,
           "N dom=1 seq=7 up=5000000{ S0000{ 0100 0001 0001 0004 } } "
           "N dom=2 seq=7 up=5000000{ S0000{ 0100 0001 0002 0002 } }",
           "learnt 256; decoded; learnt 256; decoded");
    expect(&c,
           "N dom=2 seq=0 up=1000 time=1700000060{ S0100{ 0006 0000 } } "
           "N dom=2 seq=1 up=2000 time=1700000061{ } "
           "N dom=1 seq=8 up=5060000 time=1700000060{ S0100{ 00000005 } }",
           "waiting; decoded; record 256 octetDeltaCount=5; decoded");
    assert_int_equal(export_counters(&c)->restarts, 1);
    export_done(&c);
}

static void T19_two_ports_of_one_address(void **state)
{
    (void)state;
    static const char script[] =
        "port=1000 I{ S0002{ 0100 0001 0001 0004 } S0003{ 0101 0002 0001 0095 0004 0022 0004 } } "
        "port=2000 I{ S0002{ 0100 0001 0002 0004 } S0101{ 00000001 00000064 } } "
        "port=1000 I{ S0100{ 00000005 } } port=2000 I{ S0100{ 00000006 } }";
    export_case c = {0};
    /* By address: the last definition rules, and options of one port speak for the other. */
    expect(&c, script,
           "learnt 256; learnt 257; decoded; changed 256; sampling 0 rate 100 options; "
           "options 257 (observationDomainId)=1 samplingInterval=100; decoded; "
           "record 256 packetDeltaCount=5; decoded; record 256 packetDeltaCount=6; decoded");
    /* A, B, A from two ports is reported. */
    expect(&c, "port=1000 I{ S0002{ 0100 0001 0001 0004 } }", "changed 256; conflict 256; decoded");
    assert_int_equal(export_counters(&c)->conflicts, 1);
    export_done(&c);
    /* By port: each has its own; the options' data waits for the template of its own port. */
    const weir_decoder_options by_port = {.scope = WEIR_SCOPE_PORT};
    c = (export_case){.options = &by_port};
    expect(&c, script,
           "learnt 256; learnt 257; decoded; learnt 256; waiting; "
           "record 256 octetDeltaCount=5; decoded; record 256 packetDeltaCount=6; decoded");
    assert_int_equal(export_counters(&c)->conflicts, 0);
    export_done(&c);
    /* By port for this exporter alone. */
    c = (export_case){0};
    (void)export_weir(&c);
    assert_int_equal(weir_decoder_set_scope(c.d, &c.from, WEIR_SCOPE_PORT), WEIR_OK);
    expect(&c, script,
           "learnt 256; learnt 257; decoded; learnt 256; waiting; "
           "record 256 octetDeltaCount=5; decoded; record 256 packetDeltaCount=6; decoded");
    export_done(&c);
}

static void T20_repeated_element(void **state)
{
    (void)state;
    expect_new("I{ S0002{ 0100 0004 0001 0004 0008 0004 0001 0002 0001 ffff } "
               "S0100{ 00000005 01020304 0006 01 07 } }",
               "learnt 256; record 256 octetDeltaCount=5 sourceIPv4Address=1.2.3.4 "
               "octetDeltaCount=6 octetDeltaCount=7; decoded");
    expect_new("N{ S0000{ 0100 0003 0001 0004 0001 0004 0001 0004 } S0100{ 00000005 00000006 "
               "00000007 } }",
               "learnt 256; record 256 octetDeltaCount=5 octetDeltaCount=6 octetDeltaCount=7; "
               "decoded");
}

static void T21_withdrawals(void **state)
{
    (void)state;
    static const char learn[] = "I{ S0002{ 0100 0001 0001 0004 0101 0001 0002 0004 } "
                                "S0003{ 0102 0001 0001 0095 0004 } }";
    export_case c = {0};
    /* One, over TCP: the others stay; again: nobody knows it any more. */
    (void)export_run(&c, "tcp");
    (void)export_run(&c, learn);
    expect(&c, "I{ S0002{ 0100 0000 } } I{ S0002{ 0100 0000 } S0101{ 00000005 } }",
           "withdrawn 256; decoded; record 257 packetDeltaCount=5; decoded");
    assert_int_equal(export_counters(&c)->withdrawn, 1);
    assert_int_equal(export_counters(&c)->withdrawals_ignored, 1);
    /* All templates (set 2, id 2); the options template stays. */
    expect(&c, "I{ S0002{ 0002 0000 } S0102{ 00000009 } }",
           "withdrawn 257; options 258 (observationDomainId)=9; decoded");
    /* All options templates (set 3, id 3). */
    expect(&c, "I{ S0003{ 0003 0000 } S0102{ 00000009 } }", "withdrawn 258; waiting");
    assert_int_equal(export_counters(&c)->templates, 0);
    /* A set id and a template id that do not belong together. */
    expect(&c, "I{ S0002{ 0003 0000 } } I{ S0003{ 0002 0000 } }",
           "fault template-malformed; decoded; fault template-malformed; decoded");
    export_done(&c);
    /* Over UDP all of them are ignored (RFC 7011 section 8.4). */
    (void)export_run(&c, learn);
    expect(&c,
           "I{ S0002{ 0100 0000 } S0002{ 0002 0000 } S0003{ 0003 0000 } S0100{ 00000005 } "
           "S0101{ 00000006 } S0102{ 00000009 } }",
           "record 256 octetDeltaCount=5; record 257 packetDeltaCount=6; "
           "options 258 (observationDomainId)=9; decoded");
    assert_int_equal(export_counters(&c)->withdrawals_ignored, 3);
    /* Re-definition without withdrawal: the new one counts. */
    expect(&c, "I{ S0002{ 0100 0001 0002 0002 } S0100{ 0007 } }",
           "changed 256; record 256 packetDeltaCount=7; decoded");
    export_done(&c);
}

static void T22_unknown_elements_and_sums(void **state)
{
    (void)state;
    expect_new("I{ S0002{ 0100 0003 ffff 0003 fffffffe 7fff 0002 8001 ffff 0000ffff } "
               "S0100{ 010203 0405 02 0607 } }",
               "learnt 256; record 256 e4294967294id32767=0x010203 e0id32767=0x0405 "
               "e65535id1=0x0607; decoded");
    expect_new("N{ S0000{ 0100 0001 ffff 0003 } S0100{ 010203 00 } }",
               "learnt 256; record 256 e0id65535=0x010203; decoded");
    /* Set lengths below their own header. */
    for (unsigned len = 0; len < 4; len++) {
        char script[128];
        (void)snprintf(script, sizeof script, "I{ S0100 len=%u{ 00000005 } }", len);
        expect_new(script, "rejected EFORMAT");
    }
    /* Message length below its header, and not that of the datagram. */
    for (unsigned len = 0; len < 40; len++) {
        char script[128];
        (void)snprintf(script, sizeof script, "I len=%u{ S0002{ 0100 0001 0001 0004 } }", len);
        expect_new(script, len == 28 ? "learnt 256; decoded" : "rejected ETRUNC");
    }
}

static void T23_reduced_and_odd_sizes(void **state)
{
    (void)state;
    /* unsigned64 of 1 to 9 octets, 9 as one vendor sends it. */
    expect_new("I{ S0002{ 0100 0009 0001 0001 0001 0002 0001 0003 0001 0004 0001 0005 0001 0006 "
               "0001 0007 0001 0008 0001 0009 } S0100{ 01 0102 010203 01020304 0102030405 "
               "010203040506 01020304050607 0102030405060708 00 0000000000000009 } }",
               "learnt 256; record 256 octetDeltaCount=1 octetDeltaCount=258 octetDeltaCount=66051 "
               "octetDeltaCount=16909060 octetDeltaCount=4328719365 octetDeltaCount=1108152157446 "
               "octetDeltaCount=283686952306183 octetDeltaCount=72623859790382856 "
               "octetDeltaCount=9; decoded");
    /* 9 octets that do not fit 64 bits: flagged with its octets, not cut. */
    expect_new("I{ S0002{ 0100 0001 0001 0009 } S0100{ 010000000000000009 } }",
               "learnt 256; record 256 octetDeltaCount=!0x010000000000000009; decoded");
    /* An integer of no octets has no value. */
    expect_new("I{ S0002{ 0100 0002 0001 0000 0002 0004 } S0100{ 00000006 } }",
               "learnt 256; record 256 octetDeltaCount=!0x packetDeltaCount=6; decoded");
    /* Larger than registered (a protocol of 4 octets): read as it is. */
    expect_new("I{ S0002{ 0100 0001 0004 0004 } S0100{ 00000006 } }",
               "learnt 256; record 256 protocolIdentifier=6; decoded");
    /* v9 alike. */
    expect_new(
        "N{ S0000{ 0100 0003 0001 0003 0001 0009 0002 0000 } S0100{ 010203 000000000000000005 } }",
        "learnt 256; record 256 octetDeltaCount=66051 octetDeltaCount=5 "
        "packetDeltaCount=!0x; decoded");
}

static void T24_damaged_template_state(void **state)
{
    (void)state;
    export_case c = {0};
    (void)export_run(&c, "I{ S0002{ 0100 0002 0001 0004 0052 ffff } }");
    uint8_t *saved = NULL;
    size_t len = 0;
    assert_int_equal(weir_decoder_save(c.d, &saved, &len, NULL), WEIR_OK);
    export_done(&c);
    /* Damaged: discarded as a whole, the decoder is as new and learns again. */
    saved[len / 2] ^= 0x10;
    weir_err err;
    assert_int_equal(weir_decoder_load(export_weir(&c), saved, len, &err), WEIR_EFORMAT);
    assert_int_equal(export_counters(&c)->templates, 0);
    expect(&c, "I{ S0100{ 00000005 01 61 } }", "waiting");
    expect(
        &c, "I{ S0002{ 0100 0002 0001 0004 0052 ffff } }",
        "learnt 256; decoded; late record 256 octetDeltaCount=5 interfaceName=\"a\"; late decoded");
    export_done(&c);
    /* Whole, but stale: what the exporter says now wins. */
    saved[len / 2] ^= 0x10;
    assert_int_equal(weir_decoder_load(export_weir(&c), saved, len, &err), WEIR_OK);
    expect(&c,
           "I{ S0100{ 00000005 01 61 } } I{ S0002{ 0100 0002 0001 0004 0052 ffff } } "
           "I{ S0002{ 0100 0001 0002 0004 } S0100{ 00000005 } }",
           "record 256 octetDeltaCount=5 interfaceName=\"a\"; decoded; refreshed 256; decoded; "
           "changed 256; record 256 packetDeltaCount=5; decoded");
    export_done(&c);
    free(saved);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(T1_template_without_fields_or_octets),
        cmocka_unit_test(T2_ipfix_options_lengths_past_65535),
        cmocka_unit_test(T3_v9_options_lengths_past_65535),
        cmocka_unit_test(T4_replaced_options_template),
        cmocka_unit_test(T5_replaced_while_others_decode),
        cmocka_unit_test(T6_v9_options_lengths_not_of_whole_fields),
        cmocka_unit_test(T7_template_sets_too_short),
        cmocka_unit_test(T8_lengths_that_do_not_fit_their_type),
        cmocka_unit_test(T9_variable_length_in_every_place),
        cmocka_unit_test(T10_variable_length_in_v9),
        cmocka_unit_test(T11_records_shorter_than_their_template),
        cmocka_unit_test(T12_field_count_past_the_end),
        cmocka_unit_test(T13_template_and_data_in_one_message),
        cmocka_unit_test(T14_malformed_template_ends),
        cmocka_unit_test(T15_trailing_octets_less_than_a_record),
        cmocka_unit_test(T16_scope_count_respected),
        cmocka_unit_test(T17_records_without_octets),
        cmocka_unit_test(T18_one_domain_resets_its_sequence),
        cmocka_unit_test(T19_two_ports_of_one_address),
        cmocka_unit_test(T20_repeated_element),
        cmocka_unit_test(T21_withdrawals),
        cmocka_unit_test(T22_unknown_elements_and_sums),
        cmocka_unit_test(T23_reduced_and_odd_sizes),
        cmocka_unit_test(T24_damaged_template_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
