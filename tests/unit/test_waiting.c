/* waiting: data before its template, in which order it comes out, and what happens to data whose template never
 * comes (RFC 7011 section 8, RFC 3954 section 9). */
#include "hostile.h"

static void same_message(void **state)
{
    (void)state;
    export_case c = {0};
    expect(&c, "I{ S0100{ 00000005 } S0002{ 0100 0001 0001 0004 } }",
           "learnt 256; record 256 octetDeltaCount=5; decoded");
    const weir_counters *n = export_counters(&c);
    assert_int_equal(n->sets_late, 1);
    assert_int_equal(n->sets_waiting, 0);
    assert_int_equal(n->octets_waiting, 0);
    assert_int_equal(n->decoded, 1);
    /* Sets of two ids; one of them stays. */
    expect(
        &c,
        "I{ S0101{ 00000006 } S0102{ 00000007 } S0101{ 00000008 } S0002{ 0101 0001 0002 0004 } }",
        "learnt 257; record 257 packetDeltaCount=6; record 257 packetDeltaCount=8; waiting");
    assert_int_equal(n->sets_waiting, 1);
    assert_int_equal(n->waiting, 1);
    export_done(&c);
}

static void another_message_and_order(void **state)
{
    (void)state;
    export_case c = {0};
    expect(&c,
           "I seq=0{ S0100{ 00000001 } } wait=1 I seq=1{ S0101{ 00000002 } } wait=1 "
           "I seq=2{ S0100{ 00000003 00000004 } S0101{ 00000005 } }",
           "waiting; waiting; waiting");
    assert_int_equal(export_counters(&c)->sets_waiting, 4);
    /* All of 256 in the order of their arrival, then all of 257: the last packet is whole only then. */
    expect(&c, "wait=5 I seq=5{ S0002{ 0100 0001 0001 0004 } }",
           "learnt 256; decoded; late record 256 octetDeltaCount=1; late decoded; "
           "late record 256 octetDeltaCount=3; late record 256 octetDeltaCount=4; late waiting");
    expect(&c, "I seq=5{ S0002{ 0101 0001 0002 0004 } }",
           "learnt 257; decoded; late record 257 packetDeltaCount=2; late decoded; "
           "late record 257 packetDeltaCount=5; late decoded");
    const weir_counters *n = export_counters(&c);
    assert_int_equal(n->decoded, 5);
    assert_int_equal(n->waiting, 0);
    assert_int_equal(n->sets_late, 4);
    assert_int_equal(n->older_than_template, 0);
    export_done(&c);
}

static void own_arrival_time(void **state)
{
    (void)state;
    export_case c = {0};
    (void)export_run(&c, "I time=1700000000 dom=7{ S0100{ 00000005 } } wait=100 port=5000 "
                         "I time=1700000100 dom=7{ S0002{ 0100 0001 0001 0004 } }");
    const export_event *e = the_event(&c, EXPORT_RECORD, 0);
    assert_true(e->packet.late);
    assert_null(e->packet.data);
    assert_int_equal(e->packet.len, 0);
    assert_int_equal(e->packet.id, 1);
    assert_true(e->packet.received_ns == EXPORT_NS);
    assert_int_equal(e->packet.export_s, 1700000000);
    assert_int_equal(e->packet.from.port, 4739);
    assert_int_equal(e->packet.domain, 7);
    assert_true(e->first_ns == EXPORT_NS); /* its export time, not the template's */
    /* It is the waiting that makes it older than its template; data that comes after the template and is older may
     * belong to the definition before. */
    assert_int_equal(export_counters(&c)->older_than_template, 0);
    (void)export_run(&c, "I time=1700000050 dom=7{ S0100{ 00000005 } }");
    assert_int_equal(export_counters(&c)->older_than_template, 1);
    export_done(&c);
}

static void begin_and_end_in_pairs(void **state)
{
    (void)state;
    export_case c = {0};
    (void)export_run(&c, "I{ S0100{ 00000005 } S0101{ 00000006 } } "
                         "I{ S0002{ 0100 0001 0001 0004 } } I{ S0002{ 0101 0001 0002 0004 } }");
    static const struct {
        export_kind kind;
        uint64_t id;
    } want[] = {
        {EXPORT_BEGIN, 1},  {EXPORT_END, 1},      {EXPORT_BEGIN, 2},  {EXPORT_TEMPLATE, 2},
        {EXPORT_END, 2},    {EXPORT_BEGIN, 1},    {EXPORT_RECORD, 1}, {EXPORT_END, 1},
        {EXPORT_BEGIN, 3},  {EXPORT_TEMPLATE, 3}, {EXPORT_END, 3},    {EXPORT_BEGIN, 1},
        {EXPORT_RECORD, 1}, {EXPORT_END, 1},
    };
    assert_int_equal(c.n_events, UNIT_N(want));
    for (size_t i = 0; i < UNIT_N(want); i++)
        UNIT_CHECK(c.events[i].kind == want[i].kind && c.events[i].packet.id == want[i].id,
                   "call %zu: kind %d of packet %" PRIu64, i, (int)c.events[i].kind,
                   c.events[i].packet.id);
    assert_int_equal(c.events[1].outcome, WEIR_PACKET_WAITING);
    assert_int_equal(c.events[7].outcome, WEIR_PACKET_WAITING);
    assert_int_equal(c.events[13].outcome, WEIR_PACKET_DECODED);
    export_done(&c);
}

static void expiry_by_tick(void **state)
{
    (void)state;
    const weir_decoder_options brief = {.waiting_s = 10};
    export_case c = {.options = &brief};
    expect(&c, "I{ S0100{ 00000005 } } wait=5 I{ S0100{ 00000006 } S0101{ 00000007 } } wait=5 tick",
           "waiting; waiting");
    expect(&c, "wait=1 tick", "late gave-up");
    assert_int_equal(export_counters(&c)->sets_expired, 1);
    assert_int_equal(export_counters(&c)->waiting, 1);
    /* Half of a packet comes, half does not: expired. */
    expect(&c, "I{ S0002{ 0100 0001 0001 0004 } } wait=20 tick tick",
           "learnt 256; decoded; late record 256 octetDeltaCount=6; late waiting; late gave-up");
    const weir_counters *n = export_counters(&c);
    assert_int_equal(n->expired, 2);
    assert_int_equal(n->decoded, 1);
    assert_int_equal(n->sets_expired, 2);
    assert_int_equal(n->sets_late, 1);
    assert_int_equal(n->waiting, 0);
    /* Without ticks, the next set that has to wait makes the old ones go. */
    expect(&c, "I{ S0102{ 00000005 } } wait=30 I{ S0102{ 00000006 } }",
           "waiting; late gave-up; waiting");
    assert_int_equal(n->sets_waiting, 1);
    export_done(&c);
}

static void overflow_gives_up_the_oldest(void **state)
{
    (void)state;
    const weir_decoder_options small = {.max_waiting_octets = 4000};
    export_case c = {.options = &small};
    (void)export_run(&c, "from=1");
    for (int i = 0; i < 3; i++)
        (void)export_run(&c, "I{ S0100{ B00*1000 } }");
    const weir_counters *n = export_counters(&c);
    assert_int_equal(n->sets_overflowed, 0);
    assert_int_equal(n->sets_waiting, 3);
    expect(&c, "I{ S0100{ B01*1000 } }", "late gave-up; waiting");
    assert_int_equal(n->sets_overflowed, 1);
    assert_int_equal(n->sets_waiting, 3);
    assert_int_equal(n->expired, 1);
    /* Larger than all there is: at once, and the others stay or go, but the count is right. */
    (void)export_run(&c, "I{ S0100{ B02*5000 } }");
    law_check(c.d, "larger than the limit");
    assert_int_equal(n->packets, 5);
    assert_int_equal(n->decoded, 0);
    /* Another exporter has its own share. */
    size_t before = (size_t)n->sets_waiting;
    expect(&c, "from=2 I{ S0100{ B03*1000 } }", "waiting");
    assert_int_equal(n->sets_waiting, before + 1);
    export_done(&c);
    /* A packet that overflows with its own sets: the last ones wait, it ends as given up. */
    c = (export_case){.options = &small};
    (void)export_run(
        &c, "I{ S0100{ B01*1000 } S0101{ B02*1000 } S0102{ B03*1000 } S0103{ B04*1000 } }");
    n = export_counters(&c);
    assert_int_equal(n->sets_waiting, 3);
    assert_int_equal(n->sets_overflowed, 1);
    assert_int_equal(n->waiting, 1);
    (void)export_run(&c, "I{ S0002{ 0100 0001 00d2 03e8 0101 0001 00d2 03e8 0102 0001 00d2 03e8 "
                         "0103 0001 00d2 03e8 } }");
    assert_int_equal(n->flows, 3);
    assert_int_equal(n->expired, 1);
    assert_int_equal(n->decoded, 1);
    assert_int_equal(n->octets_waiting, 0);
    law_check(c.d, "own sets");
    export_done(&c);
}

static void redefinition_while_waiting(void **state)
{
    (void)state;
    /* The definition in force when the message has been read decides: the last one of it. */
    expect_new("I{ S0100{ 00000005 } } I{ S0002{ 0100 0001 0001 0004 0100 0001 0002 0004 } }",
               "waiting; learnt 256; changed 256; decoded; late record 256 packetDeltaCount=5; "
               "late decoded");
    /* Known, withdrawn, data waits, defined anew. */
    export_case c = {0};
    expect(&c,
           "tcp I{ S0002{ 0100 0001 0001 0004 } S0100{ 00000001 } } "
           "I{ S0002{ 0100 0000 } S0100{ 00000002 } } I{ S0002{ 0100 0001 0002 0004 } }",
           "learnt 256; record 256 octetDeltaCount=1; decoded; withdrawn 256; waiting; "
           "learnt 256; decoded; late record 256 packetDeltaCount=2; late decoded");
    export_done(&c);
    /* Learnt and withdrawn in one message: goes on waiting. */
    expect(&c,
           "tcp I{ S0100{ 00000001 } } I{ S0002{ 0100 0001 0001 0004 } S0002{ 0100 0000 } } finish",
           "waiting; learnt 256; withdrawn 256; decoded; late gave-up");
    export_done(&c);
    /* A refused template releases nothing. */
    expect_new("N{ S0100{ 00000001 } } N seq=1{ S0000{ 0100 0001 0001 0000 } }",
               "waiting; fault template-malformed; decoded");
    /* Options data waits like any other, and teaches the decoder when it comes. */
    expect_new("N{ S0101{ 00000001 00000064 } } "
               "N seq=1{ S0001{ 0101 0004 0004 0001 0004 0022 0004 0000 } }",
               "waiting; learnt 257; decoded; sampling 0 rate 100 options; "
               "late options 257 (scopeSystem)=1 samplingInterval=100; late decoded");
}

static void finish_gives_up_in_order(void **state)
{
    (void)state;
    export_case c = {0};
    (void)export_run(&c, "I{ S0100{ 00000001 } S0101{ 00000001 } } from=9 I{ S0100{ 00000002 } } "
                         "from=1 N{ S0100{ 00000003 } } finish finish");
    uint64_t ids[8];
    size_t n = 0;
    for (size_t i = 0; i < c.n_events; i++)
        if (c.events[i].kind == EXPORT_END && c.events[i].outcome == WEIR_PACKET_EXPIRED)
            ids[n++] = c.events[i].packet.id;
    assert_int_equal(n, 3);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(ids[i], i + 1);
    assert_int_equal(export_counters(&c)->expired, 3);
    assert_int_equal(export_counters(&c)->sets_expired, 4);
    assert_int_equal(export_counters(&c)->octets_waiting, 0);
    law_check(c.d, "finish");
    export_done(&c);
    /* Freed while data waits: nothing is left behind (a leak checker sees it). */
    (void)export_run(&c, "I{ S0100{ 00000001 } S0101{ 00000001 } }");
    export_done(&c);
}

/* A template of one stream releases nothing of another. */
static void streams_apart(void **state)
{
    (void)state;
    expect_new(
        "I dom=1{ S0100{ 00000001 } } N dom=1{ S0100{ 00000002 } } from=7 I dom=1{ S0100{ 00000003 "
        "} } "
        "from=1 I dom=2{ S0002{ 0100 0001 0001 0004 } } I dom=1{ S0002{ 0100 0001 0001 0004 } }",
        "waiting; waiting; waiting; learnt 256; decoded; learnt 256; decoded; "
        "late record 256 octetDeltaCount=1; late decoded");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_message),
        cmocka_unit_test(another_message_and_order),
        cmocka_unit_test(own_arrival_time),
        cmocka_unit_test(begin_and_end_in_pairs),
        cmocka_unit_test(expiry_by_tick),
        cmocka_unit_test(overflow_gives_up_the_oldest),
        cmocka_unit_test(redefinition_while_waiting),
        cmocka_unit_test(finish_gives_up_in_order),
        cmocka_unit_test(streams_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
