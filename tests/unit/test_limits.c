/* limits: whatever a peer can make a decoder keep stays inside its limit, who was there before goes on, and a failed
 * allocation loses one thing, not the count of it. */
#include "heap.h"
#include "hostile.h"

/* What a decoder holds that its limits do not speak of: tables of fixed size, scratch of one template. */
enum { FIXED_OCTETS = 3 << 20 };

static const weir_endpoint honest = {.family = 4, .port = 2055, .addr = {192, 0, 2, 77}};

static weir_status feed(weir_decoder *d, const weir_endpoint *from, int64_t now_ns,
                        const export_packet *p, drain *seen)
{
    return weir_decode(d, from, now_ns, p->data, p->len, seen ? &drain_handlers : NULL, seen, NULL);
}

static void put_domain(export_packet *p, uint32_t domain)
{
    export_set16(p, 12, domain >> 16);
    export_set16(p, 14, domain & 0xffff);
}

static void options_outside_their_range(void **state)
{
    (void)state;
    static const weir_decoder_options bad[] = {
        {.max_exporters = SIZE_MAX},
        {.max_streams = SIZE_MAX},
        {.max_exporter_streams = SIZE_MAX},
        {.max_templates = 65281},
        {.max_fields = 16385},
        {.max_state_octets = SIZE_MAX},
        {.max_waiting_octets = SIZE_MAX},
        {.max_waiting_total = SIZE_MAX},
        {.max_depth = 65},
        {.scope = (weir_scope)2},
    };
    for (size_t i = 0; i < UNIT_N(bad); i++) {
        weir_err err = {0};
        UNIT_CHECK(!weir_decoder_new(&bad[i], &err) && err.code == WEIR_EINVAL && err.msg[0],
                   "case %zu: %s", i, err.msg);
    }
}

static void templates_and_fields(void **state)
{
    (void)state;
    const weir_decoder_options few = {.max_templates = 3, .max_fields = 4};
    export_case c = {.options = &few};
    expect(&c,
           "I{ S0002{ 0100 0001 0001 0004 0101 0001 0001 0004 0102 0001 0001 0004 "
           "0103 0001 0001 0004 0101 0001 0002 0004 } S0103{ 00000005 } }",
           "learnt 256; learnt 257; learnt 258; fault template-limit; changed 257; waiting");
    expect(&c,
           "I{ S0002{ 0100 0005 0001 0001 0001 0001 0001 0001 0001 0001 0001 0001 "
           "0100 0004 0001 0001 0001 0001 0001 0001 0001 0001 } S0100{ 01020304 } }",
           "fault template-limit; changed 256; record 256 octetDeltaCount=1 octetDeltaCount=2 "
           "octetDeltaCount=3 octetDeltaCount=4; decoded");
    expect(&c,
           "N{ S0000{ 0100 0005 0001 0001 0001 0001 0001 0001 0001 0001 0001 0001 "
           "0101 0001 0001 0001 } S0101{ 07 } }",
           "fault template-limit; learnt 257; record 257 octetDeltaCount=7; decoded");
    export_done(&c);
}

/* Not repeated for template_life_s: forgotten, over UDP alone, with a word about whose it was. */
static void templates_expire(void **state)
{
    (void)state;
    const weir_decoder_options brief = {.template_life_s = 60};
    export_case c = {.options = &brief};
    expect(
        &c,
        "I dom=7{ S0002{ 0100 0001 0001 0004 } } wait=50 I dom=7{ S0002{ 0101 0001 0001 0004 } } "
        "wait=11 tick",
        "learnt 256; decoded; learnt 257; decoded; expired 256");
    const export_event *e = &c.events[c.n_events - 1];
    assert_int_equal(e->packet.id, 0);
    assert_int_equal(e->packet.domain, 7);
    assert_int_equal(e->packet.version, 10);
    assert_int_equal(e->packet.from.addr[3], 1);
    expect(&c, "I dom=7{ S0101{ 00000005 } S0100{ 00000006 } }",
           "record 257 octetDeltaCount=5; waiting");
    assert_int_equal(export_counters(&c)->templates_expired, 1);
    expect(&c, "tcp I{ S0002{ 0100 0001 0001 0004 } } wait=1000 tick I{ S0100{ 00000005 } }",
           "learnt 256; decoded; expired 257; record 256 octetDeltaCount=5; decoded");
    export_done(&c);
}

/* A definition for which there is no room takes the old one with it: data is not read by what its sender gave up. */
static void refused_redefinition(void **state)
{
    (void)state;
    const weir_decoder_options tight = {.max_state_octets = 7000};
    export_case c = {.options = &tight};
    char script[4000];
    size_t n = (size_t)snprintf(script, sizeof script, "I{ S0002{ 0100 0180 ");
    for (unsigned i = 0; i < 0x180; i++)
        n += (size_t)snprintf(script + n, sizeof script - n, "00010001");
    (void)snprintf(script + n, sizeof script - n, " } S0100{ 00000006 } }");
    expect(&c, "I{ S0002{ 0100 0001 0001 0004 } S0100{ 00000005 } }",
           "learnt 256; record 256 octetDeltaCount=5; decoded");
    expect(&c, script, "fault template-limit; expired 256; waiting");
    assert_int_equal(export_counters(&c)->templates, 0);
    assert_int_equal(export_counters(&c)->templates_expired, 1);
    export_done(&c);
}

/* n templates from spoofed domains of one address or from spoofed addresses, step_ns apart; an honest exporter has
 * been there before and sends every thousandth packet. */
static void flood(const weir_decoder_options *options, bool domains, uint32_t n, int64_t step_ns)
{
    size_t before = heap.live, state_limit = options ? options->max_state_octets : 0;
    if (state_limit == 0)
        state_limit = (size_t)256 << 20;
    weir_decoder *d = weir_decoder_new(options, NULL);
    export_packet spoofed =
        hostile_packet("I{ S0002{ 0100 0006 0008 0004 000c 0004 0007 0002 000b 0002 "
                       "ffff 0004 00000009 0001 0008 } S0200{ B01*20 } }");
    export_packet learn = hostile_packet("I dom=7{ S0002{ 0100 0001 0001 0004 } }");
    export_packet data = hostile_packet("I dom=7{ S0100{ 00000005 } }");
    int64_t now = EXPORT_NS;
    uint64_t sent = 0;
    drain seen = {0};
    assert_int_equal(feed(d, &honest, now, &learn, NULL), WEIR_OK);
    heap.peak = heap.live;
    for (uint32_t i = 0; i < n; i++) {
        weir_endpoint from = hostile_from(domains ? 1 : i, 2055);
        put_domain(&spoofed, domains ? i : 1);
        now += step_ns;
        (void)feed(d, &from, now, &spoofed, NULL);
        if (i % 1000 == 0) {
            sent++;
            assert_int_equal(feed(d, &honest, now, &data, &seen), WEIR_OK);
        }
        if (i % 10000 == 0)
            weir_decoder_tick(d, now, NULL, NULL);
    }
    assert_int_equal(seen.records, sent); /* every one of the honest records was decoded */
    size_t waiting =
        options && options->max_waiting_total ? options->max_waiting_total : (size_t)256 << 20;
    size_t held = (size_t)weir_decoder_counters(d)->sets_waiting * 300;
    size_t most = state_limit + state_limit / 8 + (held < waiting ? held : waiting) + FIXED_OCTETS;
    UNIT_CHECK(heap.peak - before <= most, "%zu octets, allowed are %zu", heap.peak - before, most);
    print_message("%u %s, %lld ms apart: peak %zu KiB, limit %zu KiB, %" PRIu64 " rejected\n", n,
                  domains ? "domains" : "addresses", (long long)(step_ns / 1000000),
                  (heap.peak - before) >> 10, state_limit >> 10,
                  weir_decoder_counters(d)->rejected[WEIR_REJECT_STATE]);
    law_check(d, "flood");
    weir_decoder_free(d);
    free(spoofed.data);
    free(learn.data);
    free(data.data);
    assert_int_equal(heap.live, before);
}

static void flood_of_domains(void **state)
{
    (void)state;
    flood(NULL, true, 100000, 1000000);
    flood(NULL, true, 100000, 20000000); /* over half an hour: idle ones make room */
    const weir_decoder_options small = {.max_state_octets = 1 << 20, .max_waiting_total = 1 << 20};
    flood(&small, true, 100000, 1000000);
    flood(&small, true, 100000, 20000000);
}

static void flood_of_addresses(void **state)
{
    (void)state;
    flood(NULL, false, 100000, 1000000);
    flood(NULL, false, 100000, 50000000);
    const weir_decoder_options small = {.max_state_octets = 1 << 20, .max_waiting_total = 1 << 20};
    flood(&small, false, 100000, 1000000);
    flood(&small, false, 100000, 50000000);
    const weir_decoder_options few = {.max_exporters = 10, .max_streams = 10};
    flood(&few, false, 20000, 100000000);
}

/* One exporter, as many templates as it can, of as many fields and elements nobody knows as it can. */
static void flood_of_fields(void **state)
{
    (void)state;
    const weir_decoder_options options = {.max_state_octets = 8 << 20};
    size_t before = heap.live;
    weir_decoder *d = weir_decoder_new(&options, NULL);
    export_packet p = hostile_packet("I{ S0002{ 0100 1fa0 B8fff0001fffffff1*8096 } }");
    heap.peak = heap.live;
    for (unsigned id = 256; id < 1256; id++) {
        export_set16(&p, 20, id);
        (void)feed(d, &honest, EXPORT_NS, &p, NULL);
    }
    const weir_counters *n = weir_decoder_counters(d);
    UNIT_CHECK(heap.peak - before < ((size_t)8 << 20) + FIXED_OCTETS, "%zu octets",
               heap.peak - before);
    assert_true(n->faults[WEIR_FAULT_TEMPLATE_LIMIT] > 900);
    assert_true(n->templates > 0);
    law_check(d, "fields");
    weir_decoder_free(d);
    free(p.data);
    assert_int_equal(heap.live, before);
}

static void flood_of_waiting_data(void **state)
{
    (void)state;
    static const unsigned sizes[] = {1, 100, 1400, 60000};
    const weir_decoder_options options = {.max_waiting_octets = 1 << 20,
                                          .max_waiting_total = 4 << 20};
    for (size_t k = 0; k < UNIT_N(sizes); k++) {
        char script[64];
        size_t before = heap.live;
        weir_decoder *d = weir_decoder_new(&options, NULL);
        (void)snprintf(script, sizeof script, "I{ S0100{ B01*%u } }", sizes[k]);
        export_packet p = hostile_packet(script);
        heap.peak = heap.live;
        /* One exporter. */
        for (unsigned i = 0; i < 20000; i++) {
            export_set16(&p, 16, 256 + i % 5000);
            assert_int_equal(feed(d, &honest, EXPORT_NS, &p, NULL), WEIR_OK);
        }
        const weir_counters *n = weir_decoder_counters(d);
        assert_true(n->octets_waiting <= options.max_waiting_octets);
        assert_true(n->sets_waiting > 0 && n->sets_overflowed > 0);
        UNIT_CHECK(heap.peak - before <=
                       options.max_waiting_octets + options.max_waiting_octets / 4 + FIXED_OCTETS,
                   "sets of %u: %zu octets", sizes[k], heap.peak - before);
        /* A hundred. */
        for (unsigned i = 0; i < 20000; i++) {
            weir_endpoint from = hostile_from(i % 100, 1);
            (void)feed(d, &from, EXPORT_NS, &p, NULL);
        }
        assert_true(n->octets_waiting <= options.max_waiting_total);
        UNIT_CHECK(heap.peak - before <=
                       options.max_waiting_total + options.max_waiting_total / 4 + FIXED_OCTETS,
                   "sets of %u: %zu octets", sizes[k], heap.peak - before);
        law_check(d, script);
        weir_decoder_finish(d, NULL, NULL);
        assert_int_equal(n->octets_waiting, 0);
        law_check(d, script);
        weir_decoder_free(d);
        free(p.data);
        assert_int_equal(heap.live, before);
    }
}

/* A whole life of a decoder, as good as it goes when allocations fail. */
static void life(void)
{
    static const char *const script[] = {
        "I{ S0100{ 00000005 } }",
        "I{ S0200{ 00000005 } S0002{ 0200 0002 0001 0001 0052 ffff } }",
        "I{ S0002{ 0100 0001 0001 0004 } S0100{ 00000006 } }",
        "I{ S0002{ 0100 0003 0001 0004 0125 ffff ffff 0001 00000009 0101 0002 0052 ffff 0001 0001 "
        "0102 0001 0052 ffff } }",
        "I{ S0100{ 00000005 13 03 0101 0007 01 61 05 0102 0006 01 62 0101 0005 00 07 07 } }",
        "I{ S0002{ 0103 0001 0001 0001 0104 0001 0001 0001 0105 0001 0001 0001 0106 0001 0001 0001 "
        "0107 0001 0001 0001 0108 0001 0001 0001 0109 0001 0001 0001 010a 0001 0001 0001 "
        "010b 0001 0001 0001 010c 0001 0001 0001 010d 0001 0001 0001 010e 0001 0001 0001 } }",
        "N{ S0001{ 0101 0004 0004 0001 0004 0022 0004 0000 } S0101{ 00000001 00000064 } "
        "S0100{ 00000005 } S0102{ 06 } }",
        "N seq=1{ S0000{ 0100 0001 0001 0004 0102 0001 0001 0001 } }",
        "F5 seq=1 count=1 sampling=100{ B00*48 }",
    };
    static const weir_decoder_options options = {
        .max_exporters = 3, .max_streams = 8, .max_waiting_octets = 1000};
    export_packet packets[UNIT_N(script)];
    uint64_t fail_at = heap.fail_at;
    heap.fail_at = 0; /* the packets are not what is tested */
    for (size_t i = 0; i < UNIT_N(script); i++)
        packets[i] = hostile_packet(script[i]);
    heap.fail_at = fail_at;
    heap.calls = heap.failed = 0;
    weir_err err = {0};
    weir_decoder *d = weir_decoder_new(&options, &err);
    weir_decoder *next = weir_decoder_new(&options, &err);
    assert_true((d && next) || err.code == WEIR_ENOMEM);
    uint8_t *saved = NULL;
    size_t len = 0;
    if (d) {
        drain seen = {0};
        for (uint32_t address = 1; address < 6; address++)
            for (size_t i = 0; i < UNIT_N(script); i++) {
                weir_endpoint from = hostile_from(address, (uint16_t)i);
                (void)feed(d, &from, EXPORT_NS + address * INT64_C(1000000000000), &packets[i],
                           &seen);
            }
        law_check(d, "life");
        assert_int_equal(weir_decoder_counters(d)->packets, 5 * UNIT_N(script));
        assert_int_equal(seen.open, 0);
        weir_status status = weir_decoder_save(d, &saved, &len, &err);
        assert_true(status == WEIR_OK || status == WEIR_ENOMEM);
        if (status == WEIR_OK && next) {
            status = weir_decoder_load(next, saved, len, &err);
            assert_true(status == WEIR_OK || status == WEIR_ENOMEM);
            law_check(next, "loaded");
        }
        weir_decoder_tick(d, EXPORT_NS + INT64_C(9000000000000), &drain_handlers, &seen);
        weir_decoder_finish(d, &drain_handlers, &seen);
        law_check(d, "finished");
        assert_int_equal(seen.begins,
                         seen.ends -
                             (uint64_t)weir_decoder_counters(d)->rejected[WEIR_REJECT_STATE] -
                             (uint64_t)weir_decoder_counters(d)->rejected[WEIR_REJECT_MEMORY]);
    }
    free(saved);
    weir_decoder_free(d);
    weir_decoder_free(next);
    fail_at = heap.fail_at;
    heap.fail_at = 0;
    for (size_t i = 0; i < UNIT_N(script); i++)
        free(packets[i].data);
    heap.fail_at = fail_at;
}

static void every_allocation_fails_once(void **state)
{
    (void)state;
    size_t before = heap.live;
    uint64_t k = 1;
    for (int on = 0; on < 2; on++)
        for (k = 1;; k++) {
            heap.fail_at = k;
            heap.fail_on = on;
            life();
            uint64_t failed = heap.failed;
            heap.fail_at = 0;
            UNIT_CHECK(heap.live == before, "allocation %" PRIu64 " failed: %zu octets leaked", k,
                       heap.live - before);
            if (failed == 0)
                break;
        }
    assert_true(k > 100);
    print_message("%" PRIu64 " allocations, each of them failed once and from there on\n", k - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_outside_their_range),
        cmocka_unit_test(templates_and_fields),
        cmocka_unit_test(templates_expire),
        cmocka_unit_test(refused_redefinition),
        cmocka_unit_test(flood_of_domains),
        cmocka_unit_test(flood_of_addresses),
        cmocka_unit_test(flood_of_fields),
        cmocka_unit_test(flood_of_waiting_data),
        cmocka_unit_test(every_allocation_fails_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
