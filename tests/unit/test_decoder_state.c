/* decoder state: what survives a restart, and what a damaged or hostile state does: nothing. */
#include "hostile.h"

#include "base/hash.h"

typedef struct state_octets {
    uint8_t *data;
    size_t len;
} state_octets;

static state_octets save(const weir_decoder *d)
{
    state_octets s = {0};
    weir_err err;
    assert_int_equal(weir_decoder_save(d, &s.data, &s.len, &err), WEIR_OK);
    return s;
}

/* The checksum made right again, as nobody but an attacker with the file would. */
static void forge(uint8_t *data, size_t len)
{
    uint64_t h = base_hash(data, len - 8, 0);
    for (size_t i = 0; i < 8; i++)
        data[len - 1 - i] = (uint8_t)(h >> 8 * i);
}

/* Two exporters, v5, v9 and IPFIX, options, samplers of every kind, elements that nobody knows. */
static state_octets rich(const weir_decoder_options *options)
{
    export_case c = {.options = options};
    (void)export_run(
        &c, "N seq=5{ S0000{ 0100 0004 0008 0004 0001 0004 ffff 0003 00ea 0004 } "
            "S0001{ 0101 0008 0008 0001 0004 0002 0002 0022 0004 0023 0001 } "
            "S0101{ 00000001 0009 00000064 02 00 } } "
            "I seq=9 dom=2{ S0002{ 0100 0003 0001 0008 0052 ffff 8001 0004 0000ffff } "
            "S0003{ 0102 0002 0001 012e 0004 0022 0004 0103 0002 0001 0095 0004 0022 0004 "
            "0104 0002 0001 0030 0004 0032 0004 0105 0002 0001 0095 0004 00a0 0008 } "
            "S0102{ 00000007 0000000a 00000008 0000000b } S0103{ 00000002 00000020 } "
            "S0104{ 00000003 00000040 } S0105{ 00000002 0000018bcfe50000 } } "
            "from=9 port=77 I seq=100 dom=3{ S0002{ 0100 0001 0001 0004 0101 0001 0002 0004 "
            "0102 0001 0004 0001 } } F5 seq=1000 count=1{ B00*48 } "
            "tcp I dom=4{ S0002{ 0100 0001 0001 0004 } } udp");
    state_octets s = save(c.d);
    export_done(&c);
    return s;
}

static void round_trip(void **state)
{
    (void)state;
    state_octets first = rich(NULL);
    /* The same octets again and again, whatever the order in the tables. */
    for (int i = 0; i < 5; i++) {
        weir_decoder *d = weir_decoder_new(NULL, NULL);
        weir_err err = {0};
        UNIT_CHECK(weir_decoder_load(d, first.data, first.len, &err) == WEIR_OK, "%s", err.msg);
        law_check(d, "loaded");
        state_octets again = save(d);
        assert_int_equal(again.len, first.len);
        assert_memory_equal(again.data, first.data, first.len);
        free(again.data);
        weir_decoder_free(d);
    }
    /* It knows what it knew: templates are refreshed, not changed; sequence numbers go on; rates are known. */
    export_case c = {0};
    assert_int_equal(weir_decoder_load(export_weir(&c), first.data, first.len, NULL), WEIR_OK);
    expect(&c,
           "N seq=6{ S0000{ 0100 0004 0008 0004 0001 0004 ffff 0003 00ea 0004 } "
           "S0001{ 0101 0008 0008 0001 0004 0002 0002 0022 0004 0023 0001 } "
           "S0100{ 01020304 00000005 010203 00000007 00 } }",
           "refreshed 256; refreshed 257; record 256 sourceIPv4Address=1.2.3.4 octetDeltaCount=5 "
           "e0id65535=0x010203 ingressVRFID=7; decoded");
    expect(&c,
           "I dom=2 seq=14{ S0002{ 0100 0003 0001 0008 0052 ffff 8001 0004 0000ffff } "
           "S0100{ 0000000000000005 00 01020304 } }",
           "refreshed 256; record 256 octetDeltaCount=5 interfaceName=\"\" e65535id1=0x01020304; "
           "decoded");
    const export_event *e = the_event(&c, EXPORT_RECORD, 1);
    assert_true(e->sampling.rate >= 32 && e->sampling.rate <= 32);
    (void)export_run(&c, "from=9 port=77 F5 seq=1001 count=1{ B00*48 }");
    /* Sessions of TCP end with the process: not kept (RFC 7011 section 8.1). */
    expect(&c, "tcp I dom=4{ S0100{ 00000005 } }", "waiting");
    const weir_counters *n = export_counters(&c);
    assert_int_equal(n->flows, 3);
    assert_int_equal(n->sequence_lost + n->sequence_duplicated + n->sequence_resets, 0);
    assert_int_equal(n->templates_changed, 0);
    assert_int_equal(n->templates_refreshed, 3);
    export_done(&c);
    free(first.data);
    /* Streams by port come back by port. */
    const weir_decoder_options by_port = {.scope = WEIR_SCOPE_PORT};
    first = rich(&by_port);
    c = (export_case){.options = &by_port};
    assert_int_equal(weir_decoder_load(export_weir(&c), first.data, first.len, NULL), WEIR_OK);
    expect(
        &c,
        "from=9 port=78 I dom=3{ S0100{ 00000005 } } port=77 I dom=3 seq=100{ S0100{ 00000005 } }",
        "waiting; record 256 octetDeltaCount=5; decoded");
    export_done(&c);
    free(first.data);
}

static void of_nothing(void **state)
{
    (void)state;
    weir_decoder *d = weir_decoder_new(NULL, NULL);
    state_octets s = save(d);
    assert_int_equal(weir_decoder_load(d, s.data, s.len, NULL), WEIR_OK);
    assert_int_equal(weir_decoder_load(d, s.data, 0, NULL), WEIR_EFORMAT);
    weir_decoder_free(d);
    /* Not into a decoder that has begun. */
    export_case c = {0};
    (void)export_run(&c, "I{ }");
    assert_int_equal(weir_decoder_load(c.d, s.data, s.len, NULL), WEIR_EINVAL);
    export_done(&c);
    free(s.data);
}

static void exporters_keep_their_age(void **state)
{
    (void)state;
    const weir_decoder_options one = {.max_exporters = 1};
    weir_endpoint a = hostile_from(1, 1), b = hostile_from(2, 1);
    const int64_t second = 1000000000, heard = 1700000000 * second;
    const uint8_t v5[24 + 48] = {0, 5, 0, 1};
    weir_decoder *d = weir_decoder_new(&one, NULL);
    assert_int_equal(weir_decode(d, &a, heard, v5, sizeof v5, NULL, NULL, NULL), WEIR_OK);
    state_octets s = save(d);
    weir_decoder_free(d);
    d = weir_decoder_new(&one, NULL);
    assert_int_equal(weir_decoder_load(d, s.data, s.len, NULL), WEIR_OK);
    /* Heard a second ago, though before the restart: it does not make room. */
    assert_int_equal(weir_decode(d, &b, heard + second, v5, sizeof v5, NULL, NULL, NULL),
                     WEIR_ELIMIT);
    assert_int_equal(weir_decode(d, &a, heard + 2 * second, v5, sizeof v5, NULL, NULL, NULL),
                     WEIR_OK);
    size_t cursor = 0;
    weir_exporter_info e;
    assert_int_equal(weir_exporter_next(d, &cursor, &e), WEIR_OK);
    assert_true(e.first_ns == heard + 2 * second && e.last_ns == e.first_ns);
    /* A setting is no sign of life. */
    assert_int_equal(weir_decoder_set_sampling(d, &a, 10), WEIR_OK);
    cursor = 0;
    assert_int_equal(weir_exporter_next(d, &cursor, &e), WEIR_OK);
    assert_true(e.last_ns == heard + 2 * second);
    weir_decoder_free(d);
    free(s.data);
}

static void as_new(const weir_decoder *d, const char *what, size_t at)
{
    weir_exporter_info e;
    size_t cursor = 0;
    UNIT_CHECK(weir_decoder_counters(d)->templates == 0 &&
                   weir_exporter_next(d, &cursor, &e) == WEIR_END,
               "%s at %zu", what, at);
}

static void every_cut_and_every_bit(void **state)
{
    (void)state;
    state_octets s = rich(NULL);
    weir_decoder *d = weir_decoder_new(NULL, NULL);
    for (size_t len = 0; len < s.len; len++) {
        uint8_t *exact = malloc(len ? len : 1);
        assert_non_null(exact);
        memcpy(exact, s.data, len);
        UNIT_CHECK(weir_decoder_load(d, exact, len, NULL) == WEIR_EFORMAT, "cut at %zu", len);
        as_new(d, "cut", len);
        free(exact);
    }
    for (size_t bit = 0; bit < s.len * 8; bit++) {
        s.data[bit / 8] ^= (uint8_t)(1U << bit % 8);
        UNIT_CHECK(weir_decoder_load(d, s.data, s.len, NULL) == WEIR_EFORMAT, "bit %zu", bit);
        as_new(d, "bit", bit);
        s.data[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    /* Whole again, it loads into the decoder that has refused all of these. */
    assert_int_equal(weir_decoder_load(d, s.data, s.len, NULL), WEIR_OK);
    assert_true(weir_decoder_counters(d)->templates == 10);
    weir_decoder_free(d);
    free(s.data);
}

/* Hostile content under a right checksum: loaded or refused, and the decoder works on. */
static void with_a_right_checksum(void **state)
{
    (void)state;
    static const uint8_t values[] = {0, 1, 2, 7, 0x7f, 0x80, 0xfe, 0xff};
    state_octets s = rich(NULL);
    uint64_t rng = 11;
    uint8_t *data = malloc(s.len);
    assert_non_null(data);
    export_packet probe =
        hostile_packet("N seq=6{ S0000{ 0100 0004 0008 0004 0001 0004 ffff 0003 00ea 0004 } "
                       "S0101{ 00000001 0009 00000064 02 00 } S0100{ B01*30 } }");
    size_t loaded = 0;
    for (unsigned i = 0; i < 4000; i++) {
        size_t len = s.len;
        memcpy(data, s.data, s.len);
        if (i < s.len - 8) { /* one octet of every place, then several */
            data[i] = (uint8_t)~data[i];
        } else {
            for (uint32_t n = 1 + hostile_below(&rng, 6); n > 0; n--) {
                size_t at = hostile_below(&rng, (uint32_t)len - 8);
                for (uint32_t run = 1 + hostile_below(&rng, 8); run > 0 && at < len - 8; run--)
                    data[at++] = values[hostile_below(&rng, UNIT_N(values))];
            }
            if (i % 3 == 0)
                len -= hostile_below(&rng, (uint32_t)len - 20);
        }
        forge(data, len);
        weir_decoder *d = weir_decoder_new(NULL, NULL);
        drain seen = {0};
        weir_endpoint from = {.family = 4, .port = 4739, .addr = {192, 0, 2, 1}};
        uint8_t *exact = malloc(len);
        assert_non_null(exact);
        memcpy(exact, data, len);
        weir_status status = weir_decoder_load(d, exact, len, NULL);
        free(exact);
        loaded += status == WEIR_OK;
        UNIT_CHECK(status == WEIR_OK || status == WEIR_EFORMAT, "load %u: %d", i, (int)status);
        if (status != WEIR_OK)
            as_new(d, "forged", i);
        (void)weir_decode(d, &from, EXPORT_NS, probe.data, probe.len, &drain_handlers, &seen, NULL);
        weir_decoder_tick(d, EXPORT_NS + INT64_C(5000000000000), &drain_handlers, &seen);
        free(save(d).data);
        law_check(d, "forged");
        weir_decoder_free(d);
    }
    assert_true(loaded > 100);
    free(data);
    free(probe.data);
    free(s.data);
}

/* More than today's limits allow: what fits is taken, the rest is learnt again. */
static void larger_than_the_limits(void **state)
{
    (void)state;
    static const weir_decoder_options small[] = {
        {.max_exporters = 1},       {.max_streams = 1},         {.max_exporter_streams = 1},
        {.max_templates = 1},       {.max_fields = 2},          {.max_state_octets = 1},
        {.max_state_octets = 3000}, {.max_state_octets = 5000},
    };
    state_octets s = rich(NULL);
    for (size_t i = 0; i < UNIT_N(small); i++) {
        weir_decoder *d = weir_decoder_new(&small[i], NULL);
        UNIT_CHECK(weir_decoder_load(d, s.data, s.len, NULL) == WEIR_OK, "limits %zu", i);
        law_check(d, "small limits");
        assert_true(weir_decoder_counters(d)->templates < 10);
        if (small[i].max_state_octets == 1)
            as_new(d, "no octets", 1);
        weir_decoder_free(d);
    }
    free(s.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(exporters_keep_their_age),
        cmocka_unit_test(of_nothing),
        cmocka_unit_test(every_cut_and_every_bit),
        cmocka_unit_test(with_a_right_checksum),
        cmocka_unit_test(larger_than_the_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
