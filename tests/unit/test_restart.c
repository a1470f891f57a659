/* Restarts of NetFlow v9 exporters: believed when a second packet confirms them, whatever else arrives; templates are
 * dropped for nothing less, and no data is read by those of before. */
#include "hostile.h"

#define T256 "S0000{0100 0001 0001 0004}" /* octetDeltaCount */
#define U256 "S0000{0100 0001 0002 0004}" /* packetDeltaCount */
#define D "S0100{00000005}"
#define OCTETS "record 256 octetDeltaCount=5"
#define PACKETS "record 256 packetDeltaCount=5"
/* An exporter that has been up for a day; the first packet of its next process, and more of it. */
#define OLD "N seq=5000 up=86400000 time=1700000000{" T256 "} "
#define OLD_ON(n) "N seq=500" #n " up=8646" #n "000 time=170000006" #n "{" D "} "
#define LEARNT "learnt 256; decoded; "

static void check(export_case *c, const char *counters)
{
    for (const char *at = counters; *at; at += strspn(at, " ")) {
        char name[64] = "";
        size_t n = strcspn(at, "=");
        assert_true(n < sizeof name);
        memcpy(name, at, n);
        char *end;
        uint64_t want = strtoull(at + n + 1, &end, 0), got = export_counter(c, name);
        UNIT_CHECK(got == want, "%s is %" PRIu64 ", not %" PRIu64, name, got, want);
        at = end;
    }
}

static void expect_counted(const char *script, const char *want, const char *counters)
{
    export_case c = {0};
    if (want)
        expect(&c, script, want);
    else
        (void)export_run(&c, script);
    check(&c, counters);
    law_check(c.d, script);
    export_done(&c);
}

static void confirmed(void **state)
{
    (void)state;
    /* Templates in the first packet: nothing waits, and what it told stays. */
    expect_counted(
        OLD "N seq=0 up=1000 time=1700000060{" U256 D "} N seq=1 up=2000 time=1700000061{" D
            "} N seq=2 up=3000 time=1700000062{" D "}",
        LEARNT "changed 256; " PACKETS "; decoded; " PACKETS "; decoded; " PACKETS "; decoded",
        "restarts=1 sequence_resets=1 sequence_lost=0 sequence_unsure=0 templates=1");
    /* The same definition as before. */
    expect_counted(OLD "N seq=0 up=1000 time=1700000060{" T256 D
                       "} N seq=1 up=2000 time=1700000061{" D "}",
                   LEARNT "refreshed 256; " OCTETS "; decoded; " OCTETS "; decoded",
                   "restarts=1 templates=1 waiting=0");
    /* Templates later, with another layout: data waits, and none is read by the old one. */
    expect_counted(OLD "N seq=0 up=1000 time=1700000060{" D "} N seq=1 up=2000 time=1700000061{" D
                       "} N seq=2 up=3000 time=1700000062{" U256 D "}",
                   LEARNT "waiting; waiting; changed 256; " PACKETS "; decoded; late " PACKETS
                          "; late decoded; late " PACKETS "; late decoded",
                   "restarts=1 sequence_resets=1 sequence_lost=0 waiting=0 expired=0 templates=1");
    /* Templates that the new process does not know go, those of other ports stay. */
    expect_counted("port=1 " OLD
                   "port=2 N seq=9 time=1700000000{S0000{0101 0001 0001 0004}} port=1 "
                   "N seq=0 up=1000 time=1700000060{" D "S0101{00000005}} "
                   "N seq=1 up=2000 time=1700000061{S0000{0102 0001 0001 0004}} wait=61 "
                   "N seq=2 up=63000 time=1700000122{" D "}",
                   LEARNT "learnt 257; decoded; record 257 octetDeltaCount=5; waiting; "
                          "learnt 258; decoded; waiting",
                   "restarts=1 templates=2");
    /* What gets lost of the new process is counted, before and after it is believed in. */
    expect_counted(OLD "N seq=3 up=1000 time=1700000060{} N seq=5 up=2000 time=1700000061{} "
                       "N seq=9 up=3000 time=1700000062{}",
                   LEARNT "decoded; decoded; decoded", "restarts=1 sequence_lost=4");
    /* Numbers that begin anew within reach of the old ones. */
    expect_counted("N seq=9 up=900000 time=1700000000{} N seq=0 up=1000 time=1700000100{} "
                   "N seq=1 up=2000 time=1700000101{} N seq=2 up=3000 time=1700000102{}",
                   "decoded; decoded; decoded; decoded",
                   "restarts=1 sequence_resets=1 sequence_lost=0 sequence_duplicated=0 "
                   "sequence_out_of_order=0 sequence_unsure=0");
    /* A process of seconds. */
    expect_counted("N seq=0 up=0 time=1700000000{} N seq=1 up=9000 time=1700000009{} "
                   "N seq=0 up=0 time=1700000012{} N seq=1 up=1000 time=1700000013{}",
                   "decoded; decoded; decoded; decoded", "restarts=1 sequence_duplicated=0");
    /* A clock that is not set yet, until the third packet. */
    expect_counted(OLD "N seq=0 up=30000 time=1000{} N seq=1 up=31000 time=1001{} "
                       "N seq=2 up=32000 time=1700000090{" D "}",
                   LEARNT "decoded; decoded; waiting", "restarts=1 sequence_resets=1");
    /* One that stands still. */
    expect_counted("N seq=5000 up=86400000{" T256 "} wait=9 N seq=0 up=1000{} wait=9 "
                   "N seq=1 up=10000{" D "}",
                   LEARNT "decoded; waiting", "restarts=1");
    /* One restart after the other. */
    expect_counted(OLD "N seq=0 up=1000 time=1700000060{" U256
                       "} N seq=1 up=2000 time=1700000061{" D "} N seq=0 up=900 time=1700000070{" D
                       "} N seq=1 up=1900 time=1700000071{" D
                       "} N seq=2 up=2900 time=1700000072{" T256 "}",
                   LEARNT "changed 256; decoded; " PACKETS
                          "; decoded; waiting; waiting; changed 256; decoded; late " OCTETS
                          "; late decoded; late " OCTETS "; late decoded",
                   "restarts=2 templates=1 waiting=0 sequence_lost=0");
}

static void in_any_order(void **state)
{
    (void)state;
    /* The last one of the old process comes late: it is read as ever, and does not say that its process is alive. */
    expect_counted(OLD "N seq=0 up=1000 time=1700000060{" U256 D "} "
                       "N seq=5001 up=86430000 time=1700000030{} N seq=1 up=2000 time=1700000061{" D
                       "}",
                   LEARNT "changed 256; " PACKETS "; decoded; decoded; " PACKETS "; decoded",
                   "restarts=1 templates=1 sequence_unsure=0");
    /* So it does within the second in which a quick process restarts. */
    expect_counted("N seq=5000 up=86400000 time=1700000060{" T256 "} "
                   "N seq=0 up=10 time=1700000060{" D
                   "} N seq=5001 up=86400005 time=1700000060{" T256 D
                   "} N seq=1 up=20 time=1700000060{" D "}",
                   LEARNT "waiting; refreshed 256; " OCTETS "; decoded; waiting",
                   "restarts=1 sequence_unsure=0");
    /* And when there is no more doubt that the new one is there. */
    expect_counted(OLD "N seq=0 up=1000 time=1700000060{} N seq=1 up=2000 time=1700000061{" D "} "
                       "N seq=5001 up=86430000 time=1700000030{" D
                       "} N seq=2 up=3000 time=1700000062{" D U256 "}",
                   LEARNT "decoded; waiting; " OCTETS "; decoded; changed 256; " PACKETS
                          "; decoded; late " PACKETS "; late decoded",
                   "restarts=1 sequence_unsure=0 sequence_lost=0 sequence_duplicated=0");
    /* The second one of the new process overtakes the first. */
    expect_counted(OLD "N seq=1 up=2000 time=1700000060{" D
                       "} N seq=0 up=1000 time=1700000060{" U256
                       "} N seq=2 up=3000 time=1700000062{" D "}",
                   LEARNT "waiting; changed 256; decoded; late " PACKETS "; late decoded; " PACKETS
                          "; decoded",
                   "restarts=1 sequence_lost=0 sequence_out_of_order=1 sequence_duplicated=0");
    /* The first one comes twice. */
    expect_counted(OLD "N seq=0 up=1000 time=1700000060{" D "} N seq=0 up=1000 time=1700000060{" D
                       "} "
                       "N seq=5001 up=86461000 time=1700000061{" D "}",
                   LEARNT "waiting; waiting; " OCTETS "; decoded; late " OCTETS
                          "; late decoded; late " OCTETS "; late decoded",
                   "restarts=0 sequence_duplicated=1 sequence_lost=0 templates=1");
    /* Late packets of a young process are none of a new one. */
    expect_counted(
        "N seq=0 up=10000 time=1700000010{" T256 "} N seq=2 up=10900 time=1700000010{" D "} "
        "N seq=1 up=10100 time=1700000010{" D "} N seq=0 up=10000 time=1700000010{" D "} "
        "N seq=3 up=11000 time=1700000011{" D "}",
        LEARNT OCTETS "; decoded; " OCTETS "; decoded; " OCTETS "; decoded; " OCTETS "; decoded",
        "restarts=0 sequence_lost=0 sequence_out_of_order=1 sequence_duplicated=1");
}

static void forged(void **state)
{
    (void)state;
    /* Once: its data waits until the exporter is heard again. */
    expect_counted(OLD "N seq=77 up=1000 time=1700000060{" D "} " OLD_ON(1),
                   LEARNT "waiting; " OCTETS "; decoded; late " OCTETS "; late decoded",
                   "restarts=0 templates=1 sequence_unsure=1 sequence_lost=0 sequence_resets=0 "
                   "sequence_duplicated=0 waiting=0 expired=0");
    /* With a loss, too. */
    expect_counted(OLD "N seq=77 up=1000 time=1700000060{} " OLD_ON(3),
                   LEARNT "decoded; " OCTETS "; decoded", "restarts=0 templates=1 sequence_lost=2");
    /* Whose numbers go on is no new process, however odd its uptime. */
    expect_counted(OLD "N seq=5001 up=1000 time=1700000060{" D
                       "} N seq=5002 up=2000 time=1700000061{" D
                       "} N seq=5003 up=86463000 time=1700000063{" D "}",
                   LEARNT OCTETS "; decoded; " OCTETS "; decoded; " OCTETS "; decoded",
                   "restarts=0 templates=1 sequence_unsure=0");
    /* Two that do not go on from each other. */
    expect_counted(OLD "N seq=77 up=1000 time=1700000060{" D
                       "} N seq=70000 up=1100 time=1700000060{" D "} " OLD_ON(1),
                   LEARNT "waiting; waiting; " OCTETS "; decoded; late " OCTETS
                          "; late decoded; late " OCTETS "; late decoded",
                   "restarts=0 templates=1 sequence_lost=0 sequence_unsure=2");
    /* The last one: nobody tells. */
    expect_counted(OLD "N seq=77 up=1000 time=1700000060{" D "} finish",
                   LEARNT "waiting; late gave-up", "restarts=0 templates=1 sequence_unsure=1");
}

/* Two that fit each other are believed, until the exporter is heard again: nothing is lost for good. */
static void forged_in_pairs(void **state)
{
    (void)state;
    expect_counted(OLD "N seq=77 up=1000 time=1700000060{" D "} N seq=78 up=1000 time=1700000060{" D
                       "} " OLD_ON(3) OLD_ON(4),
                   LEARNT "waiting; waiting; " OCTETS "; decoded; late " OCTETS
                          "; late decoded; late " OCTETS "; late decoded; " OCTETS "; decoded",
                   "restarts=1 templates=1 sequence_unsure=1 sequence_lost=2 waiting=0 "
                   "sequence_duplicated=0 sequence_out_of_order=0");
    /* From a time to come. */
    expect_counted(
        OLD "N seq=77 up=1000 time=1800000060{} N seq=78 up=1000 time=1800000060{} " OLD_ON(1)
            OLD_ON(2) OLD_ON(3) OLD_ON(4),
        LEARNT "decoded; decoded; " OCTETS "; decoded; " OCTETS "; decoded; " OCTETS
               "; decoded; " OCTETS "; decoded",
        "restarts=1 templates=1 sequence_unsure=1 sequence_lost=0");
    /* Again and again. */
    export_case c = {0};
    uint64_t rng = 9;
    (void)export_run(&c, OLD);
    for (unsigned i = 0; i < 200; i++) {
        char script[300];
        uint32_t seq = (uint32_t)hostile_next(&rng), up = hostile_below(&rng, 50000);
        (void)snprintf(script, sizeof script,
                       "wait=1 N seq=%u up=%u time=%u{" D "} N seq=%u up=%u time=%u{" D
                       "} N seq=%u up=%u time=%u{" D "}",
                       seq, up, EXPORT_TIME + i, seq + 1, up, EXPORT_TIME + i, 5001 + i,
                       86401000 + i * 1000, EXPORT_TIME + 1 + i);
        (void)export_run(&c, script);
    }
    check(&c, "flows=600 templates=1 waiting=0 sequence_lost=0 sequence_duplicated=0");
    export_done(&c);
}

/* From afar, with other values each time, between any two packets, one or several: not a flow is lost, and loss still shows. */
static void forged_again_and_again(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        export_case c = {0};
        uint64_t rng = seed, lost = 0, odd = 0, flows = 0;
        uint32_t seq = 1000 * (uint32_t)seed, up = 86400000, time = EXPORT_TIME;
        char script[200];
        (void)snprintf(script, sizeof script, "N seq=%u up=%u{" T256 "}", seq++, up);
        (void)export_run(&c, script);
        for (unsigned i = 0; i < 400; i++) {
            for (uint32_t n = hostile_below(&rng, seed % 2 ? 2 : 4); n > 0; n--) {
                uint32_t when = time + hostile_below(&rng, 3);
                if (hostile_below(&rng, 4) == 0)
                    when = (uint32_t)hostile_next(&rng);
                (void)snprintf(script, sizeof script, "N seq=%u up=%u time=%u{" D "}",
                               (uint32_t)hostile_next(&rng), hostile_below(&rng, 100000), when);
                (void)export_run(&c, script);
                odd++;
                flows++;
            }
            if (hostile_below(&rng, 20) == 0) {
                uint32_t n = 1 + hostile_below(&rng, 5);
                seq += n;
                lost += n;
            }
            (void)snprintf(script, sizeof script, "wait=1 N seq=%u up=%u time=%u{" D "}", seq++,
                           up += 1000, ++time);
            (void)export_run(&c, script);
            flows++;
        }
        for (unsigned i = 0; i < 4; i++) {
            (void)snprintf(script, sizeof script, "N seq=%u up=%u time=%u{" D "}", seq++,
                           up += 1000, ++time);
            (void)export_run(&c, script);
            flows++;
        }
        law_check(c.d, "forged");
        const weir_counters *n = export_counters(&c);
        UNIT_CHECK(n->restarts == 0 && n->templates == 1 && n->flows == flows && n->waiting == 0,
                   "seed %" PRIu64 ": %" PRIu64 " restarts, %" PRIu64 " of %" PRIu64 " flows", seed,
                   n->restarts, n->flows, flows);
        UNIT_CHECK(n->sequence_lost == lost && n->sequence_resets == 0 && n->sequence_unsure > 0 &&
                       n->sequence_unsure + n->sequence_duplicated <= odd,
                   "seed %" PRIu64 ": lost %" PRIu64 ", not %" PRIu64 "; %" PRIu64
                   " resets, %" PRIu64 " unsure",
                   seed, n->sequence_lost, lost, n->sequence_resets, n->sequence_unsure);
        export_done(&c);
    }
}

/* Templates of before a restart are not kept over one of the decoder; those told since are. */
static void saved(void **state)
{
    (void)state;
    export_case c = {0};
    (void)export_run(&c, OLD "N seq=0 up=1000 time=1700000060{S0000{0101 0001 0001 0004}} "
                             "N seq=1 up=2000 time=1700000061{" D "}");
    check(&c, "templates=2 waiting=1 restarts=1");
    uint8_t *data;
    size_t len;
    assert_int_equal(weir_decoder_save(c.d, &data, &len, NULL), WEIR_OK);
    export_done(&c);
    assert_int_equal(weir_decoder_load(export_weir(&c), data, len, NULL), WEIR_OK);
    free(data);
    expect(&c, "N seq=2 up=3000 time=1700000062{" D "S0101{00000005}}",
           "record 257 octetDeltaCount=5; waiting");
    check(&c, "templates=1 restarts=0 sequence_lost=0");
    export_done(&c);
}

/* Packets that always look like a new process, and never go on: data does not wait for ever. */
static void never_confirmed(void **state)
{
    (void)state;
    export_case c = {0};
    (void)export_run(&c, OLD);
    for (unsigned i = 0; i < 100; i++) {
        char script[160];
        (void)snprintf(script, sizeof script, "N seq=%u up=%u time=%u{" D "}",
                       1000000 + i * 1000003, 60000 - i * 10, EXPORT_TIME + 60 + i * 5);
        (void)export_run(&c, script);
    }
    check(&c, "restarts=0 templates=1");
    assert_true(export_counters(&c)->flows >= 80);
    assert_true(export_counters(&c)->sets_waiting <= 17);
    law_check(c.d, "never confirmed");
    export_done(&c);
}

/* Two processes behind one address and port, each with its uptime and numbers. */
static void two_at_once(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 30; seed++) {
        export_case c = {0};
        uint64_t rng = seed + 1, flows = 0;
        uint32_t seq[2] = {700000, 0}, up[2] = {86400000, 500}, time = EXPORT_TIME;
        (void)export_run(&c, "N seq=699999 up=86399000 time=1699999999{" T256 "}");
        for (unsigned i = 0; i < 300; i++) {
            unsigned who = seed == 0 ? i % 2 : hostile_below(&rng, 2);
            char script[200];
            (void)snprintf(script, sizeof script, "wait=1 N seq=%u up=%u time=%u{%s" D "}",
                           seq[who]++, up[who], time, i % 20 == 19 ? T256 : "");
            (void)export_run(&c, script);
            flows++;
            time++;
            up[0] += 1000;
            up[1] += 1000;
        }
        const weir_counters *n = export_counters(&c);
        /* In turns there is none; else two of the younger one in a row may look like one, once. */
        UNIT_CHECK(n->restarts <= (seed > 0) && n->flows == flows && n->waiting == 0,
                   "seed %" PRIu64 ": %" PRIu64 " restarts, %" PRIu64 " of %" PRIu64 " flows", seed,
                   n->restarts, n->flows, flows);
        UNIT_CHECK(n->sequence_lost == 0 && n->sequence_unsure > 0,
                   "seed %" PRIu64 ": lost %" PRIu64, seed, n->sequence_lost);
        law_check(c.d, "two");
        export_done(&c);
    }
}

static void none_at_all(void **state)
{
    (void)state;
    /* Uptime that wraps, with a jump beside it. */
    expect_counted(
        "N seq=0 up=4294967000 time=1700000000{" T256 "} N seq=1 up=704 time=1700000001{" D
        "} N seq=5000 up=1704 time=1700000002{" D "} N seq=5001 up=2704 time=1700000003{" D
        "} N seq=4999 up=4294967000 time=1700000000{" D "}",
        LEARNT OCTETS "; decoded; " OCTETS "; decoded; " OCTETS "; decoded; " OCTETS "; decoded",
        "restarts=0 sequence_lost=4997");
    expect_counted("N seq=9 up=4294967000 time=1700000000{" T256 "} "
                   "N seq=5000 up=704 time=1700000001{" D "} N seq=5001 up=1704 time=1700000002{" D
                   "}",
                   LEARNT OCTETS "; decoded; " OCTETS "; decoded", "restarts=0 templates=1");
    /* No uptime: numbers that begin anew are no restart by themselves, and templates hold until they are told anew. */
    expect_counted("N seq=5000 up=0{" T256 "} N seq=0 up=0{" D "} N seq=1 up=0{" D
                   "} N seq=2 up=0{" D "} N seq=3 up=0{" U256 D "}",
                   LEARNT OCTETS "; decoded; " OCTETS "; decoded; " OCTETS
                                 "; decoded; changed 256; " PACKETS "; decoded",
                   "restarts=0 sequence_resets=1 sequence_duplicated=0 sequence_lost=0");
    /* A clock that is set, forth and back; a packet that was late then: nothing but a delay. */
    expect_counted("N seq=0 up=900000 time=1700000000{" T256
                   "} N seq=1 up=901000 time=1700086400{" D "} N seq=9 up=902000 time=1700000002{" D
                   "} N seq=7 up=901800 time=1700086401{" D "} "
                   "N seq=10 up=903000 time=1700000003{} N seq=11 up=904000 time=1700000004{} "
                   "N seq=12 up=905000 time=1700000005{}",
                   LEARNT OCTETS "; decoded; " OCTETS
                                 "; decoded; waiting; decoded; decoded; decoded; late " OCTETS
                                 "; late decoded",
                   "restarts=0 sequence_lost=6 sequence_out_of_order=1 sequence_unsure=0 waiting=0 "
                   "templates=1");
    /* Other protocols have no such thing. */
    expect_counted("F5 seq=5000 up=86400000{B00*48} F5 seq=0 up=1000 time=1700000060{B00*48} "
                   "F5 seq=5001 up=86461000 time=1700000061{B00*48} finish",
                   NULL, "restarts=0 flows=3 sequence_lost=0 decoded=3");
    expect_counted("I seq=5000{S0002{0100 0001 0001 0004}} I seq=0{" D "} I seq=1{" D "} I seq=2{" D
                   "} I seq=3{" D "}",
                   LEARNT OCTETS "; decoded; " OCTETS "; decoded; " OCTETS "; decoded; " OCTETS
                                 "; decoded",
                   "restarts=0 sequence_resets=1 templates=1");
}

/* Exporters that number otherwise restart as others do. */
static void other_numberings(void **state)
{
    (void)state;
    for (int kind = 0; kind < 3; kind++) { /* flows; constant; random */
        export_case c = {0};
        uint64_t rng = 5;
        uint32_t seq = 100000, up = 86400000, time = EXPORT_TIME;
        char script[200];
        for (unsigned i = 0; i < 120; i++) {
            bool old = i < 80;
            if (i == 80) {
                up = 500;
                time += 60;
                seq = kind == 1 ? 7 : 0;
            }
            uint32_t n = i % 3 + 1;
            (void)snprintf(script, sizeof script,
                           "wait=1 N seq=%u up=%u time=%u{%s S0100{B00000005*%u}}",
                           kind == 2 ? (uint32_t)hostile_next(&rng) : seq, up, time,
                           i == 0     ? T256
                           : i == 100 ? U256
                                      : "",
                           n);
            (void)export_run(&c, script);
            if (i == 79)
                check(&c, "restarts=0 templates=1");
            seq += kind == 0 ? n : 0;
            up += 1000;
            time++;
            assert_true(old || export_counters(&c)->restarts <= 1);
        }
        const weir_counters *n = export_counters(&c);
        UNIT_CHECK(n->restarts == 1 && n->templates == 1 && n->sets_late == 20 && n->flows == 240,
                   "kind %d: %" PRIu64 " restarts, %" PRIu64 " late, %" PRIu64 " flows", kind,
                   n->restarts, n->sets_late, n->flows);
        export_done(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(confirmed),
        cmocka_unit_test(in_any_order),
        cmocka_unit_test(forged),
        cmocka_unit_test(forged_in_pairs),
        cmocka_unit_test(forged_again_and_again),
        cmocka_unit_test(saved),
        cmocka_unit_test(never_confirmed),
        cmocka_unit_test(two_at_once),
        cmocka_unit_test(none_at_all),
        cmocka_unit_test(other_numberings),
    };
    return cmocka_run_group_tests_name("restart", tests, NULL, NULL);
}
