/* Faults D1 to D8: data sets and the fixed formats, each named after its id. */
#include "hostile.h"

static void D1_record_past_the_flow_set(void **state)
{
    (void)state;
    export_case c = {0};
    expect(&c,
           "N{ S0000{ 0100 0002 0001 0004 0002 0004 } S0100{ 00000005 00000006 00000007 } "
           "S0100{ 00000008 00000009 } }",
           "learnt 256; record 256 octetDeltaCount=5 packetDeltaCount=6; "
           "record 256 octetDeltaCount=8 packetDeltaCount=9; decoded");
    assert_int_equal(export_counters(&c)->records, 2);
    export_done(&c);
    expect_new("N{ S0000{ 0100 0001 0001 0004 0101 0002 0001 0004 0052 ffff } "
               "S0101{ 00000005 09 6162 } S0100{ 00000006 } }",
               "learnt 256; learnt 257; fault record-truncated; record 256 octetDeltaCount=6; "
               "decoded");
}

static void D2_flow_set_header_beyond_the_packet(void **state)
{
    (void)state;
    export_case c = {0};
    for (unsigned len = 0; len < 4; len++) {
        char script[160];
        (void)snprintf(script, sizeof script,
                       "N{ S0000{ 0100 0001 0001 0004 } S0100 len=%u{ 00000005 } }", len);
        expect(&c, script,
               len ? "refreshed 256; fault set-bounds; decoded"
                   : "learnt 256; fault set-bounds; decoded");
    }
    expect(&c, "N{ S0100 len=0x40{ 00000005 } } N{ S0100 len=0xffff{ 00000005 } }",
           "fault set-bounds; decoded; fault set-bounds; decoded");
    /* What stands before it is delivered; one to three octets behind the last set are padding. */
    expect(&c, "N{ S0100{ 00000005 } S0100 len=12{ 00000006 } } N{ S0100{ 00000007 } 010203 }",
           "record 256 octetDeltaCount=5; fault set-bounds; decoded; "
           "record 256 octetDeltaCount=7; decoded");
    assert_int_equal(export_counters(&c)->faults[WEIR_FAULT_SET_BOUNDS], 7);
    export_done(&c);
    /* IPFIX: the whole message is discarded (RFC 7011 section 9.1). */
    expect_new("I{ S0002{ 0100 0001 0001 0004 } S0100 len=12{ 00000006 } }", "rejected EFORMAT");
    expect_new("I{ S0002{ 0100 0001 0001 0004 } 0100 }", "rejected EFORMAT");
}

/* A v5 record: sources 10.0.0.n, n octets; the rest zero. */
static void put_v5(export_packet *p, unsigned n)
{
    uint8_t record[48] = {10, 0, 0, (uint8_t)n};
    record[23] = (uint8_t)n; /* dOctets */
    export_put(p, record, sizeof record);
}

static void D3_counts_and_bits_of_fixed_formats(void **state)
{
    (void)state;
    static const struct {
        unsigned count, octets, records, rejected;
    } cases[] = {
        {3, 3 * 48, 3, 0},
        {3, 2 * 48, 2, 1},      /* count larger than the octets */
        {3, 2 * 48 + 47, 2, 1}, /* the last one cut */
        {2, 3 * 48, 2, 0},      /* octets behind the last record */
        {0, 0, 0, 0},           /* nothing, and says so */
        {0, 3 * 48, 0, 0},      /* nothing announced */
        {31, 31 * 48, 31, 0},   /* more than the format's 30 */
        {65535, 30 * 48, 30, 65505},
    };
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        char head[64];
        export_case c = {0};
        (void)snprintf(head, sizeof head, "F5 count=%u{ }", cases[i].count);
        export_packet p = hostile_packet(head);
        for (unsigned n = 0; n <= cases[i].octets / 48; n++)
            put_v5(&p, n + 1);
        (void)export_feed(&c, p.data, 24 + cases[i].octets);
        const weir_counters *got = export_counters(&c);
        UNIT_CHECK(c.status == WEIR_OK && got->flows == cases[i].records &&
                       got->records_rejected == cases[i].rejected &&
                       got->faults[WEIR_FAULT_RECORD] == (cases[i].rejected > 0),
                   "case %zu: %" PRIu64 " flows, %" PRIu64 " rejected", i, got->flows,
                   got->records_rejected);
        law_check(c.d, head);
        export_done(&c);
        free(p.data);
    }
    expect_new("F5 count=1{ B00*47 }", "rejected ETRUNC"); /* announced, and none is whole */
    /* Every single bit of a packet turned: decoded or rejected, and counted. */
    static const char *const packets[] = {
        "F1 count=1{ B01*52 }", "F5 count=2{ B02*96 }", "F7 count=1{ B03*52 }",
        "N{ S0000{ 0100 0002 0001 0004 0052 ffff } S0100{ 00000005 02 6162 00 } }"};
    for (size_t i = 0; i < UNIT_N(packets); i++) {
        export_packet p = hostile_packet(packets[i]);
        for (size_t bit = 0; bit < p.len * 8; bit++) {
            export_case c = {0};
            p.data[bit / 8] ^= (uint8_t)(1U << bit % 8);
            (void)export_feed(&c, p.data, p.len);
            p.data[bit / 8] ^= (uint8_t)(1U << bit % 8);
            assert_int_equal(export_counters(&c)->packets, 1);
            law_check(c.d, packets[i]);
            export_done(&c);
        }
        free(p.data);
    }
}

static void D4_v9_count_is_not_believed(void **state)
{
    (void)state;
    static const unsigned counts[] = {0, 1, 2, 3, 4, 100, 65535};
    for (size_t i = 0; i < UNIT_N(counts); i++) {
        char script[160];
        (void)snprintf(script, sizeof script,
                       "N count=%u{ S0000{ 0100 0001 0001 0004 } S0100{ 00000005 00000006 } "
                       "S0100{ 00000007 } }",
                       counts[i]);
        expect_new(script, "learnt 256; record 256 octetDeltaCount=5; "
                           "record 256 octetDeltaCount=6; record 256 octetDeltaCount=7; decoded");
    }
}

static void D5_garbage_after_every_version_word(void **state)
{
    (void)state;
    uint64_t rng = 5;
    weir_decoder *d = weir_decoder_new(NULL, NULL);
    drain seen = {0};
    uint64_t fed = 0;
    for (unsigned version = 0; version < 65536; version += version < 16 ? 1 : 997)
        for (unsigned i = 0; i < 40; i++) {
            uint8_t data[200];
            size_t len = hostile_below(&rng, sizeof data + 1);
            uint8_t *exact = malloc(len ? len : 1);
            assert_non_null(exact);
            for (size_t k = 0; k < len; k++)
                exact[k] = (uint8_t)hostile_next(&rng);
            if (len > 0)
                exact[0] = (uint8_t)(version >> 8);
            if (len > 1)
                exact[1] = (uint8_t)version;
            if (i % 2 && len > 3) { /* the length IPFIX wants */
                exact[2] = (uint8_t)(len >> 8);
                exact[3] = (uint8_t)len;
            }
            weir_endpoint from = hostile_from(i, (uint16_t)i);
            (void)weir_decode(d, &from, EXPORT_NS, exact, len, &drain_handlers, &seen, NULL);
            fed++;
            free(exact);
        }
    law_check(d, "garbage");
    const weir_counters *c = weir_decoder_counters(d);
    assert_int_equal(c->packets, fed);
    assert_true(c->rejected[WEIR_REJECT_VERSION] > 40 * 60);
    assert_int_equal(seen.open, 0);
    weir_decoder_free(d);
    /* Nothing at all is a packet too. */
    d = weir_decoder_new(NULL, NULL);
    weir_endpoint from = hostile_from(1, 1);
    assert_int_equal(weir_decode(d, &from, EXPORT_NS, (const uint8_t *)"", 0, NULL, NULL, NULL),
                     WEIR_ETRUNC);
    law_check(d, "nothing");
    weir_decoder_free(d);
}

static void D6_all_thirty_records_of_v5(void **state)
{
    (void)state;
    for (unsigned count = 1; count <= 30; count++) {
        char head[64];
        export_case c = {0};
        (void)snprintf(head, sizeof head, "F5 count=%u{ }", count);
        export_packet p = hostile_packet(head);
        for (unsigned n = 1; n <= count; n++)
            put_v5(&p, n);
        (void)export_feed(&c, p.data, p.len);
        for (unsigned n = 1; n <= count; n++) {
            const export_event *e = the_event(&c, EXPORT_RECORD, n - 1);
            UNIT_CHECK(e->fields[0].id == 8 && e->fields[0].octets[3] == n &&
                           e->fields[6].id == 1 && e->fields[6].value.u64 == n,
                       "record %u of %u", n, count);
        }
        assert_null(export_event_of(&c, EXPORT_RECORD, count));
        export_done(&c);
        free(p.data);
    }
}

static void D7_empty_and_short_everywhere(void **state)
{
    (void)state;
    /* A decoder that nobody asked anything, records without a field that a consumer may look for, no handlers. */
    weir_decoder *d = weir_decoder_new(NULL, NULL);
    weir_endpoint from = hostile_from(1, 1);
    export_packet p = hostile_packet("I{ S0002{ 0100 0001 00d2 0001 } S0100{ 0001 } "
                                     "S0003{ 0101 0001 0001 00d2 0001 } S0101{ 00 01 } }");
    assert_int_equal(weir_decode(d, &from, EXPORT_NS, p.data, p.len, NULL, NULL, NULL), WEIR_OK);
    assert_int_equal(weir_decode(d, NULL, EXPORT_NS, p.data, p.len, NULL, NULL, NULL), WEIR_OK);
    drain seen = {0};
    assert_int_equal(weir_decode(d, NULL, 0, p.data, p.len, &drain_handlers, &seen, NULL), WEIR_OK);
    assert_int_equal(seen.records, 2);
    assert_int_equal(seen.options, 2);
    weir_decoder_tick(d, EXPORT_NS, NULL, NULL);
    weir_decoder_finish(d, NULL, NULL);
    law_check(d, "no handlers");
    weir_decoder_free(d);
    weir_decoder_free(NULL);
    free(p.data);
    expect_new("I{ }", "decoded");
    expect_new("N{ }", "decoded");
    expect_new("I{ S0100{ } S0002{ } S0003{ } }", "decoded");
    expect_new("N{ S0100{ } S0000{ } S0001{ } }", "decoded");
}

static void D8_v5_sampling_field(void **state)
{
    (void)state;
    static const struct {
        unsigned field;
        double rate;
        unsigned mode, origin;
    } cases[] = {
        {0x0000, 0, 0, WEIR_ORIGIN_UNKNOWN},
        {0x0001, 1, 0, WEIR_ORIGIN_HEADER},
        {0x4064, 100, 1, WEIR_ORIGIN_HEADER},
        {0x8064, 100, 2, WEIR_ORIGIN_HEADER},
        {0xc064, 100, 3, WEIR_ORIGIN_HEADER},
        {0x4000, 0, 0, WEIR_ORIGIN_UNKNOWN}, /* a mode without an interval says nothing */
        {0x3fff, 16383, 0, WEIR_ORIGIN_HEADER},
    };
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        char head[64];
        export_case c = {0};
        (void)snprintf(head, sizeof head, "F5 count=1 sampling=%u{ }", cases[i].field);
        export_packet p = hostile_packet(head);
        put_v5(&p, 7);
        (void)export_feed(&c, p.data, p.len);
        const export_event *e = the_event(&c, EXPORT_RECORD, 0);
        UNIT_CHECK(e->sampling.rate >= cases[i].rate && e->sampling.rate <= cases[i].rate &&
                       e->sampling.algorithm == cases[i].mode &&
                       e->sampling.origin == cases[i].origin && e->fields[6].value.u64 == 7,
                   "sampling field %04x: rate %g mode %u origin %u", cases[i].field,
                   e->sampling.rate, e->sampling.algorithm, e->sampling.origin);
        assert_int_equal(e->packet.sampling, cases[i].field);
        export_done(&c);
        free(p.data);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(D1_record_past_the_flow_set),
        cmocka_unit_test(D2_flow_set_header_beyond_the_packet),
        cmocka_unit_test(D3_counts_and_bits_of_fixed_formats),
        cmocka_unit_test(D4_v9_count_is_not_believed),
        cmocka_unit_test(D5_garbage_after_every_version_word),
        cmocka_unit_test(D6_all_thirty_records_of_v5),
        cmocka_unit_test(D7_empty_and_short_everywhere),
        cmocka_unit_test(D8_v5_sampling_field),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
