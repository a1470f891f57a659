/* Faults C1 to C6: when a flow was, each named after its id. */
#include "hostile.h"

#define S INT64_C(1000000000)
#define MS INT64_C(1000000)

/* Offsets from EXPORT_NS of the first record's times. */
static void times_of(export_case *c, const char *script, int64_t first, int64_t last,
                     unsigned flags)
{
    size_t before = 0;
    while (export_event_of(c, EXPORT_RECORD, before))
        before++;
    (void)export_run(c, script);
    const export_event *e = the_event(c, EXPORT_RECORD, before);
    UNIT_CHECK(e->first_ns - EXPORT_NS == first && e->last_ns - EXPORT_NS == last &&
                   e->time_flags == flags,
               "%s\nfirst %+" PRId64 " ms, last %+" PRId64 " ms, flags %u", script,
               (e->first_ns - EXPORT_NS) / MS, (e->last_ns - EXPORT_NS) / MS, e->time_flags);
    law_check(c->d, script);
}

static void times(const char *script, int64_t first, int64_t last, unsigned flags)
{
    export_case c = {0};
    times_of(&c, script, first, last, flags);
    export_done(&c);
}

/* FIRST_SWITCHED (22) and LAST_SWITCHED (21) of a v9 record. */
#define UPTIMES "S0000{ 0100 0002 0016 0004 0015 0004 } "

static void C1_uptime_wrapped(void **state)
{
    (void)state;
    times("N up=1000000{ " UPTIMES "S0100{ 000dbba0 000f4240 } }", -100 * S, 0, 0);
    /* The counter wrapped 10 s before export: a flow from 20 s to 5 s ago began before the wrap. */
    times("N up=10000{ " UPTIMES "S0100{ ffffd8f0 00001388 } }", -20 * S, -5 * S,
          WEIR_TIME_WRAPPED);
    times("N up=10000{ " UPTIMES "S0100{ ffffd8f0 ffffe0c0 } }", -20 * S, -18 * S,
          WEIR_TIME_WRAPPED);
    /* A little ahead of the header (rounding, a slow export): the future, not 49 days ago. */
    times("N up=10000{ " UPTIMES "S0100{ 00002328 00002af8 } }", -1 * S, 1 * S, 0);
    times("N up=4294967295{ " UPTIMES "S0100{ fffffc17 00000000 } }", -1 * S, 1 * MS, 0);
    /* v5 alike. */
    times("F5 count=1 up=10000{ B00*24 ffffd8f0 00001388 B00*16 }", -20 * S, -5 * S,
          WEIR_TIME_WRAPPED);
    /* IPFIX with systemInitTimeMilliseconds (160) 60 days ago: the turn nearest to export. */
    times("I{ S0002{ 0100 0003 00a0 0008 0016 0004 0015 0004 } "
          "S0100{ 0000018a97b3a700 35a4e900 35a4e900 } }",
          -(INT64_C(1700000000000) - INT64_C(0x18a97b3a700)) * MS + INT64_C(0x135a4e900) * MS,
          -(INT64_C(1700000000000) - INT64_C(0x18a97b3a700)) * MS + INT64_C(0x135a4e900) * MS,
          WEIR_TIME_WRAPPED);
}

static void C2_end_before_start(void **state)
{
    (void)state;
    /* Kept as sent, flagged. */
    times("N up=1000000{ " UPTIMES "S0100{ 000f4240 000f3e58 } }", 0, -1 * S, WEIR_TIME_REVERSED);
    times("I{ S0002{ 0100 0002 0098 0008 0099 0008 } S0100{ 0000018bcfe56800 0000018bcfe56418 } }",
          0, -1 * S, WEIR_TIME_REVERSED);
    /* Header uptime in whole seconds, records in milliseconds: a second ahead at most, no wrap. */
    times("N up=1000000{ " UPTIMES "S0100{ 000f4240 000f4627 } }", 0, 999 * MS, 0);
}

static void C3_no_32_bit_products(void **state)
{
    (void)state;
    /* Export times over the whole 32 bits, arrival beside them: seconds times 10^9 stay what they are. */
    static const uint32_t at[] = {1, 4294967, 2147483647, 2147483648, 4294967295};
    for (size_t i = 0; i < UNIT_N(at); i++) {
        char script[160];
        export_case c = {.now_ns = (int64_t)at[i] * S};
        (void)snprintf(script, sizeof script,
                       "N time=%u up=4294967295{ " UPTIMES "S0100{ ffffffff ffffffff } }", at[i]);
        times_of(&c, script, (int64_t)at[i] * S - EXPORT_NS, (int64_t)at[i] * S - EXPORT_NS, 0);
        export_done(&c);
        /* v5: seconds and nanoseconds of the header. */
        c = (export_case){.now_ns = (int64_t)at[i] * S};
        (void)snprintf(script, sizeof script,
                       "F5 time=%u up=5000 count=1{ B00*24 00001388 00001388 B00*16 }", at[i]);
        times_of(&c, script, (int64_t)at[i] * S - EXPORT_NS, (int64_t)at[i] * S - EXPORT_NS, 0);
        export_done(&c);
    }
    /* Durations and moments at the end of 64 bits do not overflow (year 2262). */
    export_case c = {0};
    (void)export_run(
        &c, "I{ S0002{ 0100 0002 0098 0008 00a1 0004 } S0100{ 000008637bd05af6 ffffffff } }");
    const export_event *e = the_event(&c, EXPORT_RECORD, 0);
    assert_true(e->first_ns > 0 && e->last_ns >= e->first_ns);
    export_done(&c);
    (void)export_run(&c, "I{ S0002{ 0100 0003 00a0 0008 0016 0004 0015 0004 } "
                         "S0100{ 000008637bd05af6 ffffffff ffffffff } }");
    e = the_event(&c, EXPORT_RECORD, 0);
    assert_true(e->first_ns > EXPORT_NS - 100 * 86400 * S &&
                e->first_ns < EXPORT_NS + 2 * 86400 * S);
    export_done(&c);
    /* Clocks of the caller that no machine has. */
    static const int64_t clocks[] = {INT64_MIN, -1, 0, 1, INT64_MAX / 2, INT64_MAX};
    for (size_t i = 0; i < UNIT_N(clocks); i++)
        for (size_t k = 0; k < UNIT_N(clocks); k++) {
            weir_decoder *d = weir_decoder_new(NULL, NULL);
            weir_endpoint from = hostile_from(1, 1);
            drain seen = {0};
            export_packet p = hostile_packet(
                "N up=0{ S0000{ 0100 0006 0016 0004 0015 0004 0096 0004 009a 0008 009e 0004 00a1 "
                "0004 } "
                "S0100{ ffffffff 80000000 ffffffff ffffffffffffffff ffffffff ffffffff } "
                "S0101{ 00000000 } }");
            (void)weir_decoder_set_quirks(d, &from, WEIR_QUIRK_UPTIME_SECONDS);
            (void)weir_decode(d, &from, clocks[i], p.data, p.len, &drain_handlers, &seen, NULL);
            (void)weir_decode(d, &from, clocks[k], p.data, p.len, &drain_handlers, &seen, NULL);
            weir_decoder_tick(d, clocks[i], &drain_handlers, &seen);
            weir_decoder_tick(d, clocks[k], &drain_handlers, &seen);
            assert_int_equal(seen.records, 2);
            law_check(d, "clocks");
            weir_decoder_free(d);
            free(p.data);
        }
}

static void C4_ntp_epochs_and_eras(void **state)
{
    (void)state;
    /* 154, 155: 2023-11-14T22:13:20 is 3908988800 s after 1900; half a second is 0x80000000. */
    times("I{ S0002{ 0100 0002 009a 0008 009b 0008 } S0100{ e8fe6f7f80000000 e8fe6f8000000000 } }",
          -500 * MS, 0, 0);
    times("I{ S0002{ 0100 0002 009c 0008 009d 0008 } S0100{ e8fe6f7f80000000 e8fe6f8000000000 } }",
          -500 * MS, 0, 0);
    /* Era 1 begins 2036-02-07T06:28:16: seconds start at 0 again. Arrival 100 s after that. */
    const int64_t era_s = INT64_C(4294967296) - INT64_C(2208988800);
    export_case c = {.now_ns = (era_s + 100) * S};
    char script[160];
    (void)snprintf(script, sizeof script,
                   "I time=%u{ S0002{ 0100 0002 009a 0008 009b 0008 } "
                   "S0100{ ffffffff00000000 0000000a00000000 } }",
                   (unsigned)(era_s + 100));
    times_of(&c, script, (era_s - 1) * S - EXPORT_NS, (era_s + 10) * S - EXPORT_NS, 0);
    export_done(&c);
    /* An exporter that counts from 1970 although it says NTP. */
    times("I{ S0002{ 0100 0002 009a 0008 009b 0008 } S0100{ 6553f0ff00000000 6553f10000000000 } }",
          -1 * S, 0, 0);
    /* Seconds (150) turn over in 2106: arrival 10 s after, flow 10 s before. */
    c = (export_case){.now_ns = INT64_C(4294967306) * S};
    times_of(&c, "I time=10{ S0002{ 0100 0002 0096 0004 0097 0004 } S0100{ fffffff6 00000005 } }",
             INT64_C(4294967286) * S - EXPORT_NS, INT64_C(4294967301) * S - EXPORT_NS, 0);
    export_done(&c);
}

static void C5_every_pair_of_time_elements(void **state)
{
    (void)state;
    /* Seconds, milliseconds, microseconds, nanoseconds, deltas; all from 2 s to 1 s before export. */
    times("I{ S0002{ 0100 0002 0096 0004 0097 0004 } S0100{ 6553f0fe 6553f0ff } }", -2 * S, -1 * S,
          0);
    times("I{ S0002{ 0100 0002 0098 0008 0099 0008 } S0100{ 0000018bcfe56030 0000018bcfe56418 } }",
          -2 * S, -1 * S, 0);
    times("I{ S0002{ 0100 0002 009a 0008 009b 0008 } S0100{ e8fe6f7e00000000 e8fe6f7f00000000 } }",
          -2 * S, -1 * S, 0);
    times("I{ S0002{ 0100 0002 009c 0008 009d 0008 } S0100{ e8fe6f7e00000000 e8fe6f7f00000000 } }",
          -2 * S, -1 * S, 0);
    times("I{ S0002{ 0100 0002 009e 0004 009f 0004 } S0100{ 001e8480 000f4240 } }", -2 * S, -1 * S,
          0);
    /* Mixed: start in milliseconds, end in seconds; and the other way about. */
    times("I{ S0002{ 0100 0002 0098 0008 0097 0004 } S0100{ 0000018bcfe56030 6553f0ff } }", -2 * S,
          -1 * S, 0);
    times("I{ S0002{ 0100 0002 0096 0004 0099 0008 } S0100{ 6553f0fe 0000018bcfe56418 } }", -2 * S,
          -1 * S, 0);
    /* Two pairs: the finer one. */
    times("I{ S0002{ 0100 0004 0096 0004 0097 0004 0098 0008 0099 0008 } "
          "S0100{ 6553f0fe 6553f0ff 0000018bcfe56031 0000018bcfe56419 } }",
          -1999 * MS, -999 * MS, 0);
    /* One end and a duration (161 milliseconds, 162 microseconds). */
    times("I{ S0002{ 0100 0002 0098 0008 00a1 0004 } S0100{ 0000018bcfe56030 000003e8 } }", -2 * S,
          -1 * S, 0);
    times("I{ S0002{ 0100 0002 0099 0008 00a2 0004 } S0100{ 0000018bcfe56418 000f4240 } }", -2 * S,
          -1 * S, 0);
    /* One end alone; none. */
    times("I{ S0002{ 0100 0001 0098 0008 } S0100{ 0000018bcfe56030 } }", -2 * S, -2 * S,
          WEIR_TIME_SUBSTITUTED);
    times("I{ S0002{ 0100 0001 0001 0004 } S0100{ 00000005 } }", 0, 0, WEIR_TIME_EXPORT);
    /* Lengths that no time has: as if it were not there. */
    times("I{ S0002{ 0100 0002 0098 0004 0099 0003 } S0100{ 00000005 000006 } }", 0, 0,
          WEIR_TIME_EXPORT);
}

static void C6_exporters_with_broken_clocks(void **state)
{
    (void)state;
    static const struct {
        const char *quirk, *script;
        int64_t first, last;
        unsigned flags;
    } cases[] = {
        /* The header stands still in 2014: arrival counts, sysUptime against it. */
        {"export-time-fixed",
         "N time=1400000000 up=1000000{ " UPTIMES "S0100{ 000f3e58 000f4240 } }", -1 * S, 0, 0},
        {"record-time-broken", "N{ " UPTIMES "S0100{ 00000001 00000002 } }", 0, 0,
         WEIR_TIME_EXPORT},
        /* Uptimes in seconds. */
        {"uptime-seconds", "N up=1000{ " UPTIMES "S0100{ 000003de 000003e3 } }", -10 * S, -5 * S,
         0},
    };
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        export_case c = {0};
        unsigned bit = weir_quirk_by_name(cases[i].quirk);
        assert_true(bit != 0);
        (void)export_weir(&c);
        assert_int_equal(weir_decoder_set_quirks(c.d, &c.from, bit), WEIR_OK);
        times_of(&c, cases[i].script, cases[i].first, cases[i].last, cases[i].flags);
        assert_int_equal(export_counters(&c)->quirky, 1);
        export_done(&c);
    }
    assert_int_equal(weir_quirk_by_name("no-such-quirk"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(C1_uptime_wrapped),
        cmocka_unit_test(C2_end_before_start),
        cmocka_unit_test(C3_no_32_bit_products),
        cmocka_unit_test(C4_ntp_epochs_and_eras),
        cmocka_unit_test(C5_every_pair_of_time_elements),
        cmocka_unit_test(C6_exporters_with_broken_clocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
