/* hostile: every cut and thousands of mutations of valid messages of every version, the worst that 65535 octets can
 * ask for, and sequence numbers out of order. After every packet the conservation law holds. */
#include "hostile.h"

/* Valid packets in an order that makes sense: templates, data, options, lists, withdrawals. */
static const char *const valid[] = {
    "F1 count=2{ B01*104 }",
    "F5 count=3 seq=10 sampling=16484{ B02*144 }",
    "F7 count=2 seq=10{ B03*104 }",
    "N seq=1{ S0000{ 0100 0004 0008 0004 0001 0008 0052 ffff 0016 0004 0101 0002 0001 0004 0002 "
    "0002 } "
    "S0001{ 0102 0008 0008 0001 0004 0002 0002 0022 0004 0023 0001 0000 } }",
    "N seq=2{ S0100{ 01020304 0000000000000005 03 616263 000f4240 01020305 0000000000000006 00 "
    "000f4240 000000 } S0101{ 00000007 0008 00000009 000a } S0102{ 00000001 0002 00000064 02 00 } "
    "}",
    "N seq=3{ S0103{ 01020304 } S0000{ 0103 0001 0008 0004 } }",
    "I seq=0{ S0002{ 0100 0004 0008 0004 0001 0008 0052 ffff 8001 0002 0000ffff  0101 0002 0001 "
    "0001 "
    "0052 ffff  0102 0003 0123 ffff 0124 ffff 0125 ffff } "
    "S0003{ 0103 0003 0001 0095 0004 012e 0004 0022 0004  0104 0002 0002 0095 0004 0091 0002 } }",
    "I seq=0{ S0100{ 01020304 0000000000000005 03 616263 0708 01020305 0000000000000006 00 0708 } "
    "S0102{ 0b 03 0001 0002 0001 0002 0003 0a 04 0101 07 01 61 08 02 6263 "
    "0e ff 0101 0007 07 01 61 0101 0006 08 00 0000 } "
    "S0103{ 00000001 00000002 00000064 } S0104{ 00000001 0100 } }",
    "I seq=7{ S0105{ 05 } S0105{ 06 07 } S0002{ 0105 0001 0001 0001 } }",
    "I seq=9{ S0002{ 0105 0000 } S0003{ 0003 0000 } }",
};

/* A decoder that knows what the packets before the n'th have taught. */
static weir_decoder *taught(size_t n, const weir_endpoint *from, drain *seen)
{
    weir_decoder *d = weir_decoder_new(NULL, NULL);
    for (size_t i = 0; i < n; i++) {
        export_packet p = hostile_packet(valid[i]);
        assert_int_equal(
            weir_decode(d, from, EXPORT_NS, p.data, p.len, &drain_handlers, seen, NULL), WEIR_OK);
        free(p.data);
    }
    return d;
}

/* Feed octets in a block of exactly their size. */
static weir_status feed_exact(weir_decoder *d, const weir_endpoint *from, const uint8_t *data,
                              size_t len, drain *seen)
{
    uint8_t *exact = malloc(len ? len : 1);
    if (!exact)
        abort();
    memcpy(exact, data, len);
    weir_status status = weir_decode(d, from, EXPORT_NS, exact, len, &drain_handlers, seen, NULL);
    free(exact);
    return status;
}

/* Every cut, with the lengths as they were (IPFIX: rejected) and with the message's own made right. */
static void every_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < UNIT_N(valid); i++)
        for (int transport = WEIR_UDP; transport <= WEIR_FILE; transport++) {
            weir_endpoint from = hostile_from(1, 1);
            from.transport = (uint8_t)transport;
            export_packet p = hostile_packet(valid[i]);
            for (size_t len = 0; len <= p.len; len++)
                for (int honest = 0; honest < 2; honest++) {
                    char what[64];
                    drain seen = {0};
                    weir_decoder *d = taught(i, &from, &seen);
                    uint8_t keep[2] = {p.data[2], p.data[3]};
                    bool ipfix = p.data[1] == 10;
                    if (honest && ipfix)
                        export_set16(&p, 2, (unsigned)len);
                    (void)snprintf(what, sizeof what, "packet %zu cut at %zu of %zu", i, len,
                                   p.len);
                    weir_status status = feed_exact(d, &from, p.data, len, &seen);
                    memcpy(p.data + 2, keep, 2);
                    law_check(d, what);
                    assert_int_equal(weir_decoder_counters(d)->packets, i + 1);
                    assert_int_equal(seen.open, 0);
                    if (ipfix && !honest && len < p.len)
                        UNIT_CHECK(status == WEIR_ETRUNC, "%s: %d", what, (int)status);
                    if (len < 16)
                        UNIT_CHECK(status != WEIR_OK, "%s: taken", what);
                    if (len == p.len)
                        UNIT_CHECK(status == WEIR_OK && seen.faults == 0, "%s: %d", what,
                                   (int)status);
                    weir_decoder_finish(d, &drain_handlers, &seen);
                    law_check(d, what);
                    weir_decoder_free(d);
                }
            free(p.data);
        }
}

/* Every octet with every value that breaks things, then runs of them, in a decoder that lives on. */
static void mutations(void **state)
{
    (void)state;
    static const uint8_t values[] = {0, 1, 3, 4, 0x7f, 0x80, 0xfe, 0xff};
    uint64_t rng = 77;
    drain seen = {0};
    const weir_decoder_options options = {.max_waiting_octets = 20000, .max_templates = 50};
    weir_decoder *d = weir_decoder_new(&options, NULL);
    uint64_t fed = 0;
    for (unsigned round = 0; round < 6000; round++) {
        size_t i = round % UNIT_N(valid);
        weir_endpoint from = hostile_from(hostile_below(&rng, 3), (uint16_t)hostile_below(&rng, 3));
        from.transport = (uint8_t)hostile_below(&rng, 3);
        export_packet p = hostile_packet(valid[i]);
        for (uint32_t n = round < 100 ? 0 : 1 + hostile_below(&rng, 4); n > 0; n--) {
            size_t at = hostile_below(&rng, (uint32_t)p.len);
            if (p.data[1] == 10 && at < 4)
                continue; /* else nearly all of them end at the length */
            if (hostile_below(&rng, 2))
                p.data[at] = values[hostile_below(&rng, UNIT_N(values))];
            else
                p.data[at] ^= (uint8_t)(1U << hostile_below(&rng, 8));
        }
        (void)feed_exact(d, &from, p.data, p.len, &seen);
        fed++;
        free(p.data);
        if (round % 50 == 0) {
            law_check(d, "mutations");
            weir_decoder_tick(d, EXPORT_NS + round, &drain_handlers, &seen);
        }
    }
    law_check(d, "mutations");
    assert_int_equal(weir_decoder_counters(d)->packets, fed);
    assert_true(weir_decoder_counters(d)->decoded > 1000);
    weir_decoder_finish(d, &drain_handlers, &seen);
    law_check(d, "mutations, finished");
    assert_int_equal(weir_decoder_counters(d)->waiting, 0);
    weir_decoder_free(d);
}

/* ---- the most that one datagram can ask for: linear in its octets ---- */

static void largest_sets(void **state)
{
    (void)state;
    weir_endpoint from = hostile_from(1, 1);
    static const struct {
        const char *learn, *data;
        uint64_t records, fields;
    } cases[] = {
        /* records of one octet */
        {"I{ S0002{ 0100 0001 0004 0001 } }", "I{ S0100{ B01*65515 } }", 65515, 65515},
        /* one octet and as many fields of none as are allowed */
        {"I{ S0002{ 0100 0002 0001 0000 0004 0001 } }", "I{ S0100{ B01*65515 } }", 65515,
         65515 * 2},
        {"I{ S0002{ 0100 0005 B00010000*4 0004 0004 } }", "I{ S0100{ B01*65512 } }", 16378,
         16378 * 5},
        /* empty strings */
        {"I{ S0002{ 0100 0001 0052 ffff } }", "I{ S0100{ B00*65514 01 } }", 65514, 65514},
        /* the largest record there is */
        {"I{ S0002{ 0100 0001 00d2 ffeb } }", "I{ S0100{ B01*65515 } }", 1, 1},
        {"N{ S0000{ 0100 0001 0004 0001 } }", "N{ S0100{ B01*65511 } }", 65511, 65511},
        /* sets without octets, of a template and of none */
        {"I{ S0002{ 0100 0001 0004 0001 } }", "I{ B01000004*16379 }", 0, 0},
        {"I{ S0002{ 0100 0001 0004 0001 } }", "I{ B01010004*16379 }", 0, 0},
    };
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        drain seen = {0};
        weir_decoder *d = weir_decoder_new(NULL, NULL);
        export_packet learn = hostile_packet(cases[i].learn), data = hostile_packet(cases[i].data);
        (void)feed_exact(d, &from, learn.data, learn.len, &seen);
        assert_int_equal(feed_exact(d, &from, data.data, data.len, &seen), WEIR_OK);
        UNIT_CHECK(seen.records + 1 >= cases[i].records && seen.records <= cases[i].records &&
                       seen.fields + 33 >= cases[i].fields && seen.fields <= cases[i].fields,
                   "case %zu: %" PRIu64 " records, %" PRIu64 " fields", i, seen.records,
                   seen.fields);
        law_check(d, cases[i].data);
        weir_decoder_free(d);
        free(learn.data);
        free(data.data);
    }
}

static void many_templates_and_withdrawals(void **state)
{
    (void)state;
    weir_endpoint from = hostile_from(1, 1);
    from.transport = WEIR_STREAM;
    drain seen = {0};
    weir_decoder *d = weir_decoder_new(NULL, NULL);
    const weir_counters *n = weir_decoder_counters(d);
    /* 65512 octets of templates of 8 octets; 4096 are taken. */
    export_packet p = hostile_packet("I{ S0002{ B0100000100040001*8189 } }");
    for (unsigned i = 0; i < 8189; i++)
        export_set16(&p, 20 + i * 8, 256 + i);
    assert_int_equal(feed_exact(d, &from, p.data, p.len, &seen), WEIR_OK);
    assert_int_equal(n->templates, 4096);
    assert_int_equal(n->faults[WEIR_FAULT_TEMPLATE_LIMIT], 8189 - 4096);
    /* All of them again, all of them different. */
    for (unsigned i = 0; i < 8189; i++)
        export_set16(&p, 26 + i * 8, 2);
    assert_int_equal(feed_exact(d, &from, p.data, p.len, &seen), WEIR_OK);
    assert_int_equal(n->templates_changed, 4096);
    free(p.data);
    /* Each of them withdrawn, in the order of their learning. */
    p = hostile_packet("I{ S0002{ B01000000*4096 } }");
    for (unsigned i = 0; i < 4096; i++)
        export_set16(&p, 20 + i * 4, 256 + i);
    assert_int_equal(feed_exact(d, &from, p.data, p.len, &seen), WEIR_OK);
    assert_int_equal(n->withdrawn, 4096);
    assert_int_equal(n->templates, 0);
    law_check(d, "withdrawals");
    free(p.data);
    weir_decoder_free(d);
}

/* Tens of thousands of tiny sets wait, then their template comes thousands of times in the message that brings
 * thousands more of them. */
static void tiny_sets_waiting(void **state)
{
    (void)state;
    weir_endpoint from = hostile_from(1, 1);
    drain seen = {0};
    const weir_decoder_options options = {.max_waiting_octets = 64 << 20};
    weir_decoder *d = weir_decoder_new(&options, NULL);
    const weir_counters *n = weir_decoder_counters(d);
    export_packet hold = hostile_packet("I{ B0100000507*13100 }");
    for (int i = 0; i < 3; i++)
        assert_int_equal(feed_exact(d, &from, hold.data, hold.len, &seen), WEIR_OK);
    assert_int_equal(n->sets_waiting, 3 * 13100);
    export_packet p = hostile_packet("I{ B0100000507*6500 S0002{ B0100000100040001*4000 } }");
    assert_int_equal(feed_exact(d, &from, p.data, p.len, &seen), WEIR_OK);
    assert_int_equal(seen.records, 3 * 13100 + 6500);
    assert_int_equal(n->sets_waiting, 0);
    assert_int_equal(n->decoded, 4);
    law_check(d, "tiny sets");
    weir_decoder_free(d);
    free(hold.data);
    free(p.data);
}

static void many_messages_in_a_datagram(void **state)
{
    (void)state;
    weir_endpoint from = hostile_from(1, 1);
    drain seen = {0};
    weir_decoder *d = weir_decoder_new(NULL, NULL);
    export_packet p = hostile_packet("X{ B000a0010000000010000000000000001*4095 }");
    assert_int_equal(feed_exact(d, &from, p.data, p.len, &seen), WEIR_OK);
    assert_int_equal(weir_decoder_counters(d)->packets, 4095);
    /* One octet more: the datagram is no row of whole messages, and rejected as one. */
    export_put(&p, "x", 1);
    assert_int_equal(feed_exact(d, &from, p.data, p.len, &seen), WEIR_ETRUNC);
    law_check(d, "messages");
    assert_int_equal(seen.open, 0);
    weir_decoder_free(d);
    free(p.data);
}

/* ---- sequence numbers ---- */

static const struct {
    const char *what;
    uint16_t version;
    uint32_t step; /* units of one packet */
} protocols[] = {{"v5", 5, 3}, {"v9", 9, 1}, {"IPFIX", 10, 2}};

/* Packet number i of a stream that began at `start`. */
static export_packet nth(size_t protocol, uint32_t start, uint32_t i)
{
    char script[160];
    uint32_t seq = start + i * protocols[protocol].step;
    if (protocols[protocol].version == 5)
        (void)snprintf(script, sizeof script, "F5 count=3 seq=%u{ B00*144 }", seq);
    else if (protocols[protocol].version == 9)
        (void)snprintf(script, sizeof script,
                       "N seq=%u{ S0000{ 0100 0001 0001 0004 } S0100{ 00000005 } }", seq);
    else
        (void)snprintf(script, sizeof script,
                       "I seq=%u{ S0002{ 0100 0001 0001 0004 } S0100{ 00000005 00000006 } }", seq);
    return hostile_packet(script);
}

static void send_nth(weir_decoder *d, size_t protocol, uint32_t start, uint32_t i)
{
    weir_endpoint from = hostile_from(1, 1);
    export_packet p = nth(protocol, start, i);
    assert_int_equal(weir_decode(d, &from, EXPORT_NS, p.data, p.len, NULL, NULL, NULL), WEIR_OK);
    free(p.data);
}

static const uint32_t starts[] = {0, 1000, 0xfffffff0, 0x7ffffff0};

static void permutations_lose_nothing(void **state)
{
    (void)state;
    uint64_t rng = 3;
    for (size_t k = 0; k < UNIT_N(protocols); k++)
        for (uint32_t round = 0; round < 40; round++) {
            uint32_t window = 2 + round % 12, order[240];
            weir_decoder *d = weir_decoder_new(NULL, NULL);
            for (uint32_t i = 0; i < UNIT_N(order); i++)
                order[i] = i;
            for (uint32_t at = 1; at + window <= UNIT_N(order); at += window) /* the first stays */
                for (uint32_t i = window - 1; i > 0; i--) {
                    uint32_t j = hostile_below(&rng, i + 1), keep = order[at + i];
                    order[at + i] = order[at + j];
                    order[at + j] = keep;
                }
            for (uint32_t i = 0; i < UNIT_N(order); i++)
                send_nth(d, k, starts[round % UNIT_N(starts)], order[i]);
            const weir_counters *n = weir_decoder_counters(d);
            UNIT_CHECK(n->sequence_lost == 0 && n->sequence_resets == 0 &&
                           n->sequence_duplicated == 0,
                       "%s, round %u, window %u: lost %" PRIu64 ", resets %" PRIu64
                       ", duplicated %" PRIu64,
                       protocols[k].what, round, window, n->sequence_lost, n->sequence_resets,
                       n->sequence_duplicated);
            law_check(d, "permutations");
            weir_decoder_free(d);
        }
}

static void drops_are_counted(void **state)
{
    (void)state;
    uint64_t rng = 4;
    for (size_t k = 0; k < UNIT_N(protocols); k++)
        for (uint32_t round = 0; round < 40; round++) {
            uint64_t dropped = 0, out_of_order = 0;
            weir_decoder *d = weir_decoder_new(NULL, NULL);
            uint32_t start = starts[round % UNIT_N(starts)];
            bool swap = round % 2;
            for (uint32_t i = 0; i < 240; i++) {
                if (i > 0 && i < 238 && hostile_below(&rng, 10) == 0) {
                    dropped += protocols[k].step;
                } else if (swap && i > 0 && i < 236 && hostile_below(&rng, 10) == 0) {
                    send_nth(d, k, start, i + 1); /* two packets change places */
                    send_nth(d, k, start, i);
                    out_of_order++;
                    i++;
                } else {
                    send_nth(d, k, start, i);
                }
            }
            const weir_counters *n = weir_decoder_counters(d);
            UNIT_CHECK(n->sequence_lost == dropped && n->sequence_out_of_order == out_of_order &&
                           n->sequence_resets == 0,
                       "%s, round %u: lost %" PRIu64 " of %" PRIu64 ", out of order %" PRIu64
                       " of %" PRIu64 ", resets %" PRIu64,
                       protocols[k].what, round, n->sequence_lost, dropped,
                       n->sequence_out_of_order, out_of_order, n->sequence_resets);
            weir_decoder_free(d);
        }
}

static void duplicates_restarts_and_forgeries(void **state)
{
    (void)state;
    for (size_t k = 0; k < UNIT_N(protocols); k++) {
        const char *what = protocols[k].what;
        /* Every packet twice: all of them duplicates, nothing lost. */
        weir_decoder *d = weir_decoder_new(NULL, NULL);
        const weir_counters *n = weir_decoder_counters(d);
        for (uint32_t i = 0; i < 100; i++) {
            send_nth(d, k, 500, i);
            send_nth(d, k, 500, i);
        }
        UNIT_CHECK(n->sequence_duplicated == 100 && n->sequence_lost == 0 &&
                       n->sequence_resets == 0,
                   "%s: %" PRIu64 " duplicates, %" PRIu64 " lost", what, n->sequence_duplicated,
                   n->sequence_lost);
        weir_decoder_free(d);
        /* The exporter restarts at 0: one reset, nothing lost, nothing duplicated. */
        d = weir_decoder_new(NULL, NULL);
        n = weir_decoder_counters(d);
        for (uint32_t i = 0; i < 20; i++)
            send_nth(d, k, 100000, i);
        for (uint32_t i = 0; i < 20; i++)
            send_nth(d, k, 0, i);
        UNIT_CHECK(n->sequence_resets == 1 && n->sequence_lost == 0 && n->sequence_duplicated == 0,
                   "%s: %" PRIu64 " resets, %" PRIu64 " lost, %" PRIu64 " duplicates", what,
                   n->sequence_resets, n->sequence_lost, n->sequence_duplicated);
        weir_decoder_free(d);
        /* One forged number far away, anywhere: not believed, and real loss after it is still seen. */
        for (uint32_t jump = 0x01000000; jump != 0; jump <<= 1) {
            d = weir_decoder_new(NULL, NULL);
            n = weir_decoder_counters(d);
            for (uint32_t i = 0; i < 10; i++)
                send_nth(d, k, 0, i);
            send_nth(d, k, jump, 10);
            for (uint32_t i = 10; i < 20; i++)
                send_nth(d, k, 0, i);
            for (uint32_t i = 25; i < 30; i++)
                send_nth(d, k, 0, i);
            UNIT_CHECK(n->sequence_lost == 5 * protocols[k].step && n->sequence_resets == 0,
                       "%s, jump by %u: %" PRIu64 " lost, %" PRIu64 " resets", what, jump,
                       n->sequence_lost, n->sequence_resets);
            weir_decoder_free(d);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_cut),
        cmocka_unit_test(mutations),
        cmocka_unit_test(largest_sets),
        cmocka_unit_test(many_templates_and_withdrawals),
        cmocka_unit_test(tiny_sets_waiting),
        cmocka_unit_test(many_messages_in_a_datagram),
        cmocka_unit_test(permutations_lose_nothing),
        cmocka_unit_test(drops_are_counted),
        cmocka_unit_test(duplicates_restarts_and_forgeries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
