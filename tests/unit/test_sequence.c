/* What sequence numbers are believed: loss is counted to the unit, whatever its size, when the exporter can have sent so much;
 * jumps that it cannot have made, and single packets with odd numbers, are unsure and never loss. */
#include "hostile.h"

static const int64_t MS = 1000000, S = 1000000000;

enum { NEAR_PACKETS = 128 }; /* src/wire/sequence.c: jumps up to there are believed at once */

/* One exporter; every packet has the same number of units. */
struct sender {
    weir_decoder *d;
    uint16_t version, port;
    uint32_t n; /* flows of a packet */
    uint32_t seq;
    int64_t now_ns;
};

static const struct {
    const char *what;
    uint16_t version;
    uint32_t n;
} kinds[] = {{"v5", 5, 3}, {"v9", 9, 2}, {"IPFIX", 10, 2}};

static uint32_t units(const struct sender *x)
{
    return x->version == 9 ? 1 : x->n;
}

/* A packet with this number, now. */
static void give(struct sender *x, uint32_t seq)
{
    static uint8_t buf[24 + 48 * 30];
    export_packet p = {0};
    uint32_t now_s = (uint32_t)(x->now_ns / S), up = (uint32_t)((x->now_ns - EXPORT_NS) / MS);
    const weir_endpoint from = {.family = 4, .addr = {192, 0, 2, 1}, .port = x->port};
    if (x->version == 5) { /* without the help of a buffer that grows: thousands of them are sent */
        const uint32_t words[6] = {5u << 16 | x->n, 1000000 + up, now_s, 0, seq, 0};
        for (size_t i = 0; i < UNIT_N(words); i++)
            for (size_t k = 0; k < 4; k++)
                buf[i * 4 + k] = (uint8_t)(words[i] >> (24 - 8 * k));
        assert_int_equal(
            weir_decode(x->d, &from, x->now_ns, buf, 24 + 48u * x->n, NULL, NULL, NULL), WEIR_OK);
        return;
    }
    char script[240];
    if (x->version == 9)
        (void)snprintf(
            script, sizeof script,
            "N seq=%u up=%u time=%u{ S0000{ 0100 0001 0001 0004 } S0100{ B00000005*%u } }", seq,
            1000000 + up, now_s, x->n);
    else
        (void)snprintf(script, sizeof script,
                       "I seq=%u time=%u{ S0002{ 0100 0001 0001 0004 } S0100{ B00000005*%u } }",
                       seq, now_s, x->n);
    p = hostile_packet(script);
    assert_int_equal(weir_decode(x->d, &from, x->now_ns, p.data, p.len, NULL, NULL, NULL), WEIR_OK);
    free(p.data);
}

static void send_on(struct sender *x, uint32_t packets, int64_t step_ns)
{
    for (uint32_t i = 0; i < packets; i++) {
        x->now_ns += step_ns;
        give(x, x->seq);
        x->seq += units(x);
    }
}

static struct sender begin(size_t kind)
{
    struct sender x = {.d = weir_decoder_new(NULL, NULL),
                       .version = kinds[kind].version,
                       .port = 2055,
                       .n = kinds[kind].n,
                       .seq = 100000,
                       .now_ns = EXPORT_NS};
    assert_non_null(x.d);
    return x;
}

static void end(struct sender *x)
{
    law_check(x->d, "sequence");
    weir_decoder_free(x->d);
    x->d = NULL;
}

static void check(const struct sender *x, const char *when, uint64_t lost, uint64_t unsure,
                  uint64_t resets)
{
    const weir_counters *n = weir_decoder_counters(x->d);
    UNIT_CHECK(n->sequence_lost == lost && n->sequence_unsure == unsure &&
                   n->sequence_resets == resets && n->sequence_duplicated == 0,
               "v%u, %s: lost %" PRIu64 ", not %" PRIu64 "; unsure %" PRIu64 ", not %" PRIu64
               "; resets %" PRIu64 ", not %" PRIu64 "; duplicated %" PRIu64,
               x->version, when, n->sequence_lost, lost, n->sequence_unsure, unsure,
               n->sequence_resets, resets, n->sequence_duplicated);
}

/* A million within a millisecond, of an exporter that sends a packet in ten: nobody can have sent that. */
static void too_many_too_soon(void **state)
{
    (void)state;
    static const uint32_t jumps[] = {1000000,    100000000,  0x7ffffffe, 0x7fffffff,
                                     0x80000000, 0x80000001, 0xc0000000};
    for (size_t k = 0; k < UNIT_N(kinds); k++)
        for (size_t i = 0; i < UNIT_N(jumps); i++) {
            struct sender x = begin(k);
            send_on(&x, 300, 10 * MS);
            check(&x, "before", 0, 0, 0);
            x.seq += jumps[i];
            send_on(&x, 10, MS);
            check(&x, "a jump", 0, 1, 1);
            x.seq += 5 * units(&x); /* and what is lost then is counted */
            send_on(&x, 10, MS);
            check(&x, "loss behind it", 5 * units(&x), 1, 1);
            end(&x);
        }
}

/* The same million of an exporter of 300,000 flows a second, in a second and a half, is loss. */
static void as_fast_as_it_was(void **state)
{
    (void)state;
    struct sender x = begin(0);
    x.n = 30;
    send_on(&x, 25000, MS / 10);
    x.seq += 1000000;
    x.now_ns += 1500 * MS;
    send_on(&x, 2, MS / 10);
    check(&x, "fast", 1000000, 0, 0);
    /* And it is so after a restart of the decoder. */
    uint8_t *data;
    size_t len;
    assert_int_equal(weir_decoder_save_positions(x.d, &data, &len, NULL), WEIR_OK);
    weir_decoder_free(x.d);
    x.d = weir_decoder_new(NULL, NULL);
    assert_int_equal(weir_decoder_load(x.d, data, len, NULL), WEIR_OK);
    free(data);
    x.seq += 2000000;
    x.now_ns += 1500 * MS;
    send_on(&x, 2, MS / 10);
    check(&x, "fast again", 2000000, 0, 0);
    /* But not ten times as many. */
    x.seq += 20000000;
    send_on(&x, 2, MS / 10);
    check(&x, "too fast", 2000000, 1, 1);
    end(&x);
}

/* Hours of silence explain more, and by what it sent before. */
static void after_a_silence(void **state)
{
    (void)state;
    for (size_t k = 0; k < UNIT_N(kinds); k++) {
        struct sender x = begin(k);
        uint32_t hour = 360000 * units(&x); /* 100 packets a second */
        send_on(&x, 300, 10 * MS);
        x.seq += hour;
        x.now_ns += 3600 * S;
        send_on(&x, 2, 10 * MS);
        check(&x, "an hour", hour, 0, 0);
        x.seq += 0x7f000000;
        x.now_ns += 3600 * S;
        send_on(&x, 2, 10 * MS);
        check(&x, "far too many", hour, 1, 1);
        end(&x);
    }
}

/* One packet with any number at all: nothing is lost, and real loss behind it is counted. */
static void one_odd_packet(void **state)
{
    (void)state;
    for (size_t k = 0; k < UNIT_N(kinds); k++)
        for (uint32_t bit = 7; bit < 33; bit++)
            for (int back = 0; back < 2; back++) {
                struct sender x = begin(k);
                uint32_t far = bit == 32 ? 0x55555555 : 1u << bit;
                far -= far % units(&x);
                send_on(&x, 20, MS);
                give(&x, back ? x.seq - far : x.seq + far);
                /* What is near is loss, until all of it has come late. */
                bool near = !back && far <= NEAR_PACKETS * (x.version == 9 ? 1u : 32u);
                send_on(&x, near ? far / units(&x) + 3 : 20, MS);
                x.seq += 5 * units(&x);
                send_on(&x, 20, MS);
                const weir_counters *n = weir_decoder_counters(x.d);
                UNIT_CHECK(n->sequence_lost == 5 * units(&x) && n->sequence_resets == 0 &&
                               n->sequence_unsure + n->sequence_duplicated <= 2,
                           "v%u, %s %u: lost %" PRIu64 ", resets %" PRIu64 ", unsure %" PRIu64
                           ", duplicated %" PRIu64,
                           x.version, back ? "back" : "ahead", far, n->sequence_lost,
                           n->sequence_resets, n->sequence_unsure, n->sequence_duplicated);
                UNIT_CHECK(near || n->sequence_unsure + n->sequence_duplicated == 1,
                           "v%u, %s %u: said nothing", x.version, back ? "back" : "ahead", far);
                end(&x);
            }
}

/* Between all packets one with another number each time. */
static void many_odd_packets(void **state)
{
    (void)state;
    for (size_t k = 0; k < UNIT_N(kinds); k++)
        for (uint64_t seed = 1; seed <= 10; seed++) {
            struct sender x = begin(k);
            uint64_t rng = seed, lost = 0, odd = 0;
            send_on(&x, 3, MS);
            for (unsigned i = 0; i < 1000; i++) {
                uint32_t at = x.seq + (1u << 14) + hostile_below(&rng, UINT32_MAX - (1u << 15));
                if (hostile_below(&rng, 3)) {
                    give(&x, at);
                    odd++;
                }
                if (hostile_below(&rng, 3) == 0 && seed > 5) {
                    give(&x, at + 0x12345678); /* two that have nothing to do with each other */
                    odd++;
                }
                if (hostile_below(&rng, 10) == 0) {
                    uint32_t n = units(&x) * (1 + hostile_below(&rng, 100));
                    x.seq += n;
                    lost += n;
                }
                send_on(&x, 1, MS);
            }
            const weir_counters *n = weir_decoder_counters(x.d);
            UNIT_CHECK(n->sequence_lost == lost && n->sequence_resets == 0 &&
                           n->sequence_unsure <= odd && n->sequence_unsure > odd / 2,
                       "v%u, seed %" PRIu64 ": lost %" PRIu64 ", not %" PRIu64 "; resets %" PRIu64
                       ", %" PRIu64 " unsure of %" PRIu64,
                       x.version, seed, n->sequence_lost, lost, n->sequence_resets,
                       n->sequence_unsure, odd);
            end(&x);
        }
}

/* Loss of any size that a burst can have, beside the one that is believed at once; single packets between losses; packets
 * twice. At every moment but behind a large jump all of it is counted. */
static void loss_of_any_size(void **state)
{
    (void)state;
    for (size_t k = 0; k < UNIT_N(kinds); k++)
        for (uint64_t seed = 1; seed <= 30; seed++) {
            struct sender x = begin(k);
            uint64_t rng = seed, lost = 0, twice = 0;
            x.seq = (uint32_t)hostile_next(&rng);
            send_on(&x, 2, MS);
            for (unsigned i = 0; i < 300; i++) {
                uint32_t n = units(&x) * hostile_below(&rng, 1u << hostile_below(&rng, 15));
                x.seq += n;
                lost += n;
                for (uint32_t run = 1 + hostile_below(&rng, 4); run > 0; run--) {
                    send_on(&x, 1, 3 * MS);
                    if (seed % 3 == 0) {
                        give(&x, x.seq - units(&x));
                        twice++;
                    }
                }
            }
            if (seed % 2)
                send_on(&x, 1, MS);
            else
                weir_decoder_finish(x.d, NULL, NULL);
            const weir_counters *n = weir_decoder_counters(x.d);
            UNIT_CHECK(n->sequence_lost == lost && n->sequence_unsure == 0 &&
                           n->sequence_resets == 0 && n->sequence_duplicated == twice,
                       "v%u, seed %" PRIu64 ": lost %" PRIu64 ", not %" PRIu64 "; unsure %" PRIu64
                       ", resets %" PRIu64 ", twice %" PRIu64 ", not %" PRIu64,
                       x.version, seed, n->sequence_lost, lost, n->sequence_unsure,
                       n->sequence_resets, n->sequence_duplicated, twice);
            end(&x);
        }
}

/* The decoder's state is kept behind every packet of a large jump: it does not matter. */
static void over_restarts(void **state)
{
    (void)state;
    for (size_t k = 0; k < UNIT_N(kinds); k++)
        for (int full = 0; full < 2; full++) {
            struct sender x = begin(k);
            uint64_t lost = 0, counted = 0, unsure = 0, odd = 0;
            send_on(&x, 5, MS);
            for (unsigned i = 0; i < 62; i++) {
                if (i % 7 == 3) {
                    x.seq += 5000 * units(&x);
                    lost += 5000 * units(&x);
                }
                if (i == 30)
                    give(&x, x.seq + 0x20000000);
                else if (i == 40)
                    x.seq += 0x90000000;
                else
                    send_on(&x, 1, MS);
                const weir_counters *n = weir_decoder_counters(x.d);
                counted += n->sequence_lost;
                unsure += n->sequence_unsure;
                odd += n->sequence_duplicated;
                uint8_t *data;
                size_t len;
                assert_int_equal((full ? weir_decoder_save
                                       : weir_decoder_save_positions)(x.d, &data, &len, NULL),
                                 WEIR_OK);
                weir_decoder_free(x.d);
                x.d = weir_decoder_new(NULL, NULL);
                assert_int_equal(weir_decoder_load(x.d, data, len, NULL), WEIR_OK);
                free(data);
            }
            UNIT_CHECK(counted == lost && unsure == 2 && odd == 0,
                       "v%u: lost %" PRIu64 ", not %" PRIu64 "; %" PRIu64 " unsure, %" PRIu64
                       " odd",
                       x.version, counted, lost, unsure, odd);
            end(&x);
        }
}

/* A packet that overtakes hundreds of others is early, not lost. */
static void early(void **state)
{
    (void)state;
    for (size_t k = 0; k < UNIT_N(kinds); k++) {
        struct sender x = begin(k);
        send_on(&x, 10, MS);
        uint32_t at = x.seq + 3000 * units(&x);
        give(&x, at);
        send_on(&x, 3000, MS);
        assert_int_equal(x.seq, at);
        x.seq += units(&x); /* it has come */
        send_on(&x, 10, MS);
        const weir_counters *n = weir_decoder_counters(x.d);
        assert_int_equal(n->sequence_lost, 0);
        assert_int_equal(n->sequence_out_of_order, 1);
        assert_int_equal(n->sequence_resets + n->sequence_duplicated, 0);
        /* Another one in the middle of a loss. */
        give(&x, x.seq + 2000 * units(&x));
        send_on(&x, 1900, MS);
        x.seq += 200 * units(&x);
        send_on(&x, 2, MS);
        assert_int_equal(n->sequence_lost, 199 * units(&x));
        end(&x);
    }
}

/* At the end of all packets a jump that can be loss is loss, and another one is not. */
static void at_the_end(void **state)
{
    (void)state;
    for (size_t k = 0; k < UNIT_N(kinds); k++) {
        struct sender x = begin(k);
        send_on(&x, 10, MS);
        x.seq += 5000 * units(&x);
        send_on(&x, 1, MS);
        check(&x, "a jump", 0, 0, 0);
        weir_decoder_finish(x.d, NULL, NULL);
        check(&x, "the end", 5000 * units(&x), 0, 0);
        send_on(&x, 1, MS);
        x.seq += 0x30000000;
        send_on(&x, 1, MS);
        weir_decoder_finish(x.d, NULL, NULL);
        check(&x, "the end again", 5000 * units(&x), 1, 0);
        x.seq -= 0x70000000;
        send_on(&x, 2, MS);
        weir_decoder_finish(x.d, NULL, NULL);
        check(&x, "back", 5000 * units(&x), 2, 0);
        end(&x);
    }
}

/* Packets of dozens of forged source ports do not make room for themselves where an exporter stands. */
static void forged_ports(void **state)
{
    (void)state;
    for (size_t k = 0; k < UNIT_N(kinds); k++) {
        struct sender x = begin(k);
        uint64_t lost = 0;
        send_on(&x, 300, 10 * MS);
        for (unsigned i = 0; i < 20; i++) {
            for (unsigned port = 0; port < 40; port++) {
                x.now_ns += MS;
                x.port = (uint16_t)(30000 + i * 40 + port);
                give(&x, 7000000 * (port + 1) + i);
            }
            x.port = 2055;
            x.seq += 3 * units(&x);
            lost += 3 * units(&x);
            send_on(&x, 2, 10 * MS);
        }
        check(&x, "ports", lost, 0, 0);
        end(&x);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(too_many_too_soon), cmocka_unit_test(as_fast_as_it_was),
        cmocka_unit_test(after_a_silence),   cmocka_unit_test(one_odd_packet),
        cmocka_unit_test(many_odd_packets),  cmocka_unit_test(loss_of_any_size),
        cmocka_unit_test(over_restarts),     cmocka_unit_test(early),
        cmocka_unit_test(at_the_end),        cmocka_unit_test(forged_ports),
    };
    return cmocka_run_group_tests_name("sequence", tests, NULL, NULL);
}
