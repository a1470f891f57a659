/* sampling: every way in which an exporter says its rate, where it was learnt, and rates that come late. */
#include "hostile.h"

/* The sampling of the n'th record of a case. */
static void rate_is(const export_case *c, size_t n, double rate, unsigned algorithm,
                    weir_origin origin)
{
    const export_event *e = the_event(c, EXPORT_RECORD, n);
    UNIT_CHECK(e->sampling.rate >= rate - 1e-6 && e->sampling.rate <= rate + 1e-6 &&
                   e->sampling.algorithm == algorithm && e->sampling.origin == origin,
               "record %zu: rate %g algorithm %u origin %s, not %g %u %s", n, e->sampling.rate,
               e->sampling.algorithm, weir_origin_text((weir_origin)e->sampling.origin), rate,
               algorithm, weir_origin_text(origin));
}

static void rate_of(const char *script, double rate, unsigned algorithm, weir_origin origin)
{
    export_case c = {0};
    (void)export_run(&c, script);
    rate_is(&c, 0, rate, algorithm, origin);
    law_check(c.d, script);
    export_done(&c);
}

static void in_the_record(void **state)
{
    (void)state;
    /* samplingInterval (34) with its algorithm (35); samplerRandomInterval (50) with samplerMode (49). */
    rate_of("N{ S0000{ 0100 0002 0022 0004 0023 0001 } S0100{ 00000064 02 } }", 100, 2,
            WEIR_ORIGIN_RECORD);
    rate_of("N{ S0000{ 0100 0002 0032 0004 0031 0001 } S0100{ 000003e8 02 } }", 1000, 2,
            WEIR_ORIGIN_RECORD);
    /* 305 packets taken, 306 packets skipped; 305 alone is the rate. */
    rate_of("I{ S0002{ 0100 0003 0131 0004 0132 0004 0130 0002 } S0100{ 00000001 00000063 0001 } }",
            100, 1, WEIR_ORIGIN_RECORD);
    rate_of("I{ S0002{ 0100 0002 0131 0004 0132 0004 } S0100{ 00000002 00000001 } }", 1.5, 0,
            WEIR_ORIGIN_RECORD);
    rate_of("I{ S0002{ 0100 0001 0131 0004 } S0100{ 00000040 } }", 64, 0, WEIR_ORIGIN_RECORD);
    /* 307, 308: microseconds on and off. */
    rate_of("I{ S0002{ 0100 0002 0133 0004 0134 0004 } S0100{ 0000000a 0000005a } }", 10, 0,
            WEIR_ORIGIN_RECORD);
    /* 309 of 310. */
    rate_of("I{ S0002{ 0100 0002 0135 0004 0136 0004 } S0100{ 00000004 00000400 } }", 256, 0,
            WEIR_ORIGIN_RECORD);
    /* 311, as float64 and float32. */
    rate_of("I{ S0002{ 0100 0001 0137 0008 } S0100{ 3fb0000000000000 } }", 16, 0,
            WEIR_ORIGIN_RECORD);
    rate_of("I{ S0002{ 0100 0001 0137 0004 } S0100{ 3e000000 } }", 8, 0, WEIR_ORIGIN_RECORD);
    /* Nothing that is a rate: 0, NaN, infinity, a probability so small that its inverse is none, a size above its
     * population. */
    static const char *const none[] = {
        "N{ S0000{ 0100 0001 0022 0004 } S0100{ 00000000 } }",
        "I{ S0002{ 0100 0001 0137 0008 } S0100{ 7ff8000000000000 } }",
        "I{ S0002{ 0100 0001 0137 0008 } S0100{ 7ff0000000000000 } }",
        "I{ S0002{ 0100 0001 0137 0008 } S0100{ 0000000000000001 } }",
        "I{ S0002{ 0100 0001 0137 0008 } S0100{ bff0000000000000 } }",
        "I{ S0002{ 0100 0001 0137 0008 } S0100{ 4000000000000000 } }",
        "I{ S0002{ 0100 0002 0135 0004 0136 0004 } S0100{ 00000004 00000002 } }",
        "I{ S0002{ 0100 0002 0131 0004 0132 0004 } S0100{ 00000000 00000063 } }",
        "I{ S0002{ 0100 0001 0022 0000 0100 0002 0022 0000 0001 0001 } S0100{ 05 } }",
    };
    for (size_t i = 0; i < UNIT_N(none); i++)
        rate_of(none[i], 0, 0, WEIR_ORIGIN_UNKNOWN);
}

static void in_options(void **state)
{
    (void)state;
    static const struct {
        const char *what, *options, *data;
        double rate;
    } cases[] = {
        {"domain", "S0003{ 0101 0002 0001 0095 0004 0022 0004 } S0101{ 00000001 00000064 }",
         "S0002{ 0100 0001 0001 0004 } S0100{ 00000005 }", 100},
        {"selector",
         "S0003{ 0101 0003 0001 012e 0004 0131 0004 0132 0004 } "
         "S0101{ 00000007 00000001 00000009 00000008 00000001 00000013 }",
         "S0002{ 0100 0002 012e 0004 0001 0004 } S0100{ 00000008 00000005 }", 20},
        {"selector, other width",
         "S0003{ 0101 0003 0001 012e 0008 0135 0004 0136 0004 } "
         "S0101{ 0000000000000008 00000001 00000014 }",
         "S0002{ 0100 0002 012e 0002 0001 0004 } S0100{ 0008 00000005 }", 20},
        {"sampler", "S0003{ 0101 0003 0001 0030 0001 0031 0001 0032 0004 } S0101{ 03 02 00000200 }",
         "S0002{ 0100 0002 0030 0001 0001 0004 } S0100{ 03 00000005 }", 512},
        {"interface", "S0003{ 0101 0002 0001 000a 0004 0022 0004 } S0101{ 00000009 00000020 }",
         "S0002{ 0100 0002 000a 0002 0001 0004 } S0100{ 0009 00000005 }", 32},
        {"probability",
         "S0003{ 0101 0002 0001 012e 0004 0137 0008 } S0101{ 00000008 3fa0000000000000 }",
         "S0002{ 0100 0002 012e 0004 0001 0004 } S0100{ 00000008 00000005 }", 32},
    };
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        char script[512];
        export_case c = {0};
        (void)snprintf(script, sizeof script, "I{ %s %s }", cases[i].options, cases[i].data);
        (void)export_run(&c, script);
        const export_event *e = the_event(&c, EXPORT_RECORD, 0);
        UNIT_CHECK(e->sampling.rate >= cases[i].rate && e->sampling.rate <= cases[i].rate &&
                       e->sampling.origin == WEIR_ORIGIN_OPTIONS,
                   "%s: rate %g", cases[i].what, e->sampling.rate);
        export_done(&c);
    }
    /* v9 with its own scope types: interface 2. */
    rate_of("N{ S0001{ 0101 0004 0008 0002 0002 0022 0004 0023 0001 } S0101{ 0009 00000040 01 00 } "
            "S0000{ 0100 0002 000a 0002 0001 0004 } S0100{ 0009 00000005 } }",
            64, 1, WEIR_ORIGIN_OPTIONS);
    /* Another selector than the one that is known: falls back to the domain, else unknown. */
    rate_of("I{ S0003{ 0101 0002 0001 012e 0004 0022 0004 } S0101{ 00000007 00000064 } "
            "S0002{ 0100 0002 012e 0004 0001 0004 } S0100{ 00000008 00000005 } }",
            0, 0, WEIR_ORIGIN_UNKNOWN);
}

static void domain_zero_speaks_for_all(void **state)
{
    (void)state;
    export_case c = {0};
    (void)export_run(
        &c, "I dom=0{ S0003{ 0101 0002 0001 0090 0004 0022 0004 } S0101{ 00000001 00000064 } } "
            "I dom=5{ S0002{ 0100 0001 0001 0004 } S0100{ 00000005 } }");
    rate_is(&c, 0, 100, 0, WEIR_ORIGIN_OPTIONS);
    /* The domain's own rate goes first; another domain still hears domain 0; another exporter nothing. */
    (void)export_run(
        &c, "I dom=5{ S0003{ 0101 0002 0001 0095 0004 0022 0004 } S0101{ 00000005 0000000a } "
            "S0100{ 00000006 } } I dom=6{ S0002{ 0100 0001 0001 0004 } S0100{ 00000007 } } "
            "from=77 I dom=6{ S0002{ 0100 0001 0001 0004 } S0100{ 00000008 } }");
    rate_is(&c, 1, 10, 0, WEIR_ORIGIN_OPTIONS);
    rate_is(&c, 2, 100, 0, WEIR_ORIGIN_OPTIONS);
    rate_is(&c, 3, 0, 0, WEIR_ORIGIN_UNKNOWN);
    /* The stream's own view of it. */
    weir_exporter_info e;
    weir_stream_info s;
    size_t at = 0, inner = 0;
    assert_int_equal(weir_exporter_next(c.d, &at, &e), WEIR_OK);
    while (weir_stream_next(c.d, e.handle, &inner, &s) == WEIR_OK) {
        UNIT_CHECK(s.sampling.rate >= (s.domain == 5 ? 10 : 100) &&
                       s.sampling.origin == WEIR_ORIGIN_OPTIONS,
                   "domain %u: rate %g", s.domain, s.sampling.rate);
    }
    export_done(&c);
}

static void configured_goes_first(void **state)
{
    (void)state;
    export_case c = {0};
    (void)export_weir(&c);
    assert_int_equal(weir_decoder_set_sampling(c.d, &c.from, 400), WEIR_OK);
    (void)export_run(
        &c, "N{ S0000{ 0100 0001 0022 0004 } S0100{ 00000064 } } F5 sampling=100{ B00*48 }");
    rate_is(&c, 0, 400, 0, WEIR_ORIGIN_CONFIGURED);
    rate_is(&c, 1, 400, 0, WEIR_ORIGIN_CONFIGURED);
    assert_int_equal(weir_decoder_set_sampling(c.d, &c.from, 0), WEIR_OK);
    (void)export_run(&c, "N seq=1{ S0100{ 00000064 } }");
    rate_is(&c, 2, 100, 0, WEIR_ORIGIN_RECORD);
    export_done(&c);
}

static void order_of_sources(void **state)
{
    (void)state;
    /* The record before options, selector before sampler before interface before domain. */
    export_case c = {0};
    (void)export_run(
        &c, "I{ S0003{ 0101 0002 0001 0095 0004 0022 0004  0102 0002 0001 012e 0004 0022 0004 "
            "0103 0002 0001 0030 0004 0022 0004  0104 0002 0001 000a 0004 0022 0004 } "
            "S0101{ 00000001 00000001 } S0102{ 00000001 00000002 } S0103{ 00000001 00000003 } "
            "S0104{ 00000001 00000004 } "
            "S0002{ 0100 0004 012e 0001 0030 0001 000a 0001 0022 0001 } "
            "S0100{ 01010105 01010100 09010100 09090100 09090900 } }");
    static const double want[] = {5, 2, 3, 4, 1};
    for (size_t i = 0; i < UNIT_N(want); i++)
        rate_is(&c, i, want[i], 0, i ? WEIR_ORIGIN_OPTIONS : WEIR_ORIGIN_RECORD);
    export_done(&c);
}

static void late_rate(void **state)
{
    (void)state;
    export_case c = {0};
    expect(&c,
           "I{ S0002{ 0100 0001 0001 0004 } S0100{ 00000005 } "
           "S0003{ 0101 0002 0001 0095 0004 0022 0004 } S0101{ 00000001 00000064 } S0100{ 00000006 "
           "} }",
           "learnt 256; record 256 octetDeltaCount=5; learnt 257; sampling 0 rate 100 options; "
           "options 257 (observationDomainId)=1 samplingInterval=100; "
           "record 256 octetDeltaCount=6; decoded");
    rate_is(&c, 0, 0, 0, WEIR_ORIGIN_UNKNOWN);
    rate_is(&c, 1, 100, 0, WEIR_ORIGIN_OPTIONS);
    /* The same again is no news; another rate is. */
    expect(&c, "I{ S0101{ 00000001 00000064 } }",
           "options 257 (observationDomainId)=1 samplingInterval=100; decoded");
    expect(&c, "I{ S0101{ 00000001 000000c8 } S0100{ 00000007 } }",
           "sampling 0 rate 200 options; options 257 (observationDomainId)=1 samplingInterval=200; "
           "record 256 octetDeltaCount=7; decoded");
    rate_is(&c, 2, 200, 0, WEIR_ORIGIN_OPTIONS);
    /* Of a selector. */
    expect(
        &c, "I{ S0003{ 0102 0002 0001 012e 0004 0022 0004 } S0102{ 00000009 00000010 } }",
        "learnt 258; sampling 9 rate 16 options; options 258 (selectorId)=9 samplingInterval=16; "
        "decoded");
    /* None: not learnt. */
    expect(&c, "I{ S0102{ 00000009 00000000 } }",
           "options 258 (selectorId)=9 samplingInterval=0; decoded");
    export_done(&c);
}

static void across_versions_and_ports(void **state)
{
    (void)state;
    /* By port: each port's options are its own. */
    const weir_decoder_options by_port = {.scope = WEIR_SCOPE_PORT};
    export_case c = {.options = &by_port};
    (void)export_run(
        &c, "port=1 I{ S0003{ 0101 0002 0001 0095 0004 0022 0004 } S0101{ 00000001 00000064 } "
            "S0002{ 0100 0001 0001 0004 } S0100{ 00000005 } } "
            "port=2 I{ S0002{ 0100 0001 0001 0004 } S0100{ 00000005 } }");
    rate_is(&c, 0, 100, 0, WEIR_ORIGIN_OPTIONS);
    rate_is(&c, 1, 0, 0, WEIR_ORIGIN_UNKNOWN);
    export_done(&c);
    /* v5: header after nothing better. */
    rate_of("F5 sampling=16484{ B00*48 }", 100, 1, WEIR_ORIGIN_HEADER);
    rate_of("F7{ B00*52 }", 0, 0, WEIR_ORIGIN_UNKNOWN);
    rate_of("F1{ B00*52 }", 0, 0, WEIR_ORIGIN_UNKNOWN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_the_record),
        cmocka_unit_test(in_options),
        cmocka_unit_test(domain_zero_speaks_for_all),
        cmocka_unit_test(configured_goes_first),
        cmocka_unit_test(order_of_sources),
        cmocka_unit_test(late_rate),
        cmocka_unit_test(across_versions_and_ports),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
