/* What sequence numbers count: exporters that number otherwise than their protocol says are found out without loss that was
 * none, their real loss is then counted exactly, and loss alone never makes an exporter one of them. */
#include "unit.h"

#include "hostile.h"

#include <stdbool.h>
#include <string.h>

#include <weir/decoder.h>

enum { TEMPLATES_EVERY = 20, OPTIONS_EVERY = 31, MOST_FLOWS = 40 };

/* An exporter: what it counts is told by functions of its packets. */
struct sender {
    weir_decoder *d;
    const char *numbering; /* as weir_stream_info names it; "conversations", "constant", "random" */
    uint16_t version;
    uint32_t sequence;
    uint32_t n_sent;
    int64_t now_ns;
    uint64_t rng;
    uint32_t least, most; /* flows of a packet */
    bool whole;           /* every packet has templates */
    struct made {
        uint8_t data[256 + 48 * MOST_FLOWS];
        size_t len;
        uint32_t units; /* in its own numbering */
        uint32_t flows, options;
    } at, kept;
};

static uint8_t *put16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
    return p + 2;
}

static uint8_t *put32(uint8_t *p, uint32_t v)
{
    return put16(put16(p, v >> 16), v & 0xffff);
}

static uint8_t *put_templates(uint8_t *p, bool v9)
{
    /* template 256: a counter of 4 octets; options template 257: scope 4 octets, value 4 octets */
    p = put16(put16(p, v9 ? 0 : 2), 12);
    p = put16(put16(put16(put16(p, 256), 1), 1), 4);
    if (v9) {
        p = put16(put16(p, 1), 18 + 2);
        p = put16(put16(put16(p, 257), 4), 4);
        p = put16(put16(put16(put16(p, 1), 4), 42), 4);
        return put16(p, 0);
    }
    p = put16(put16(p, 3), 20);
    p = put16(put16(put16(p, 257), 2), 1);
    p = put16(put16(put16(put16(p, 149), 4), 41), 4);
    return put16(p, 0);
}

/* The next packet; its numbers are used up whether or not anybody gets it. */
static struct made *make(struct sender *x)
{
    struct made *m = &x->at;
    bool fixed = x->version < 9;
    bool templates = !fixed && (x->whole || x->n_sent % TEMPLATES_EVERY == 0);
    bool options = !fixed && x->n_sent % OPTIONS_EVERY == 3;
    uint32_t flows =
        options && x->n_sent % 2 ? 0 : x->least + hostile_below(&x->rng, x->most - x->least + 1);
    m->flows = flows;
    m->options = options ? 1 : 0;
    uint32_t records = flows + m->options, number = x->sequence, n = 0;
    if (strcmp(x->numbering, "standard") == 0)
        n = x->version == 9 ? 1 : records;
    else if (strcmp(x->numbering, "packets") == 0)
        n = 1;
    else if (strncmp(x->numbering, "flows", 5) == 0)
        n = flows;
    else if (strncmp(x->numbering, "records", 7) == 0)
        n = records;
    else if (strcmp(x->numbering, "conversations") == 0)
        n = flows - (flows ? hostile_below(&x->rng, flows / 2 + 1) : 0);
    else if (strcmp(x->numbering, "random") == 0)
        n = (uint32_t)hostile_next(&x->rng);
    m->units = n;
    x->sequence += n;
    if (strstr(x->numbering, "after"))
        number += n;
    x->n_sent++;
    x->now_ns += 1000000000;
    uint32_t now_s = (uint32_t)(x->now_ns / 1000000000);

    uint8_t *p = put16(m->data, x->version);
    p = put16(p, fixed ? flows : records);
    if (x->version != 10)
        p = put32(p, 1000000 + x->n_sent * 1000);
    p = put32(p, now_s);
    if (fixed)
        p = put32(p, 0);
    p = put32(p, number);
    p = put32(p, fixed ? 0 : 7);
    if (fixed) {
        memset(p, 0, flows * (x->version == 5 ? 48u : 52u));
        p += flows * (x->version == 5 ? 48u : 52u);
    }
    if (templates)
        p = put_templates(p, x->version == 9);
    if (options) {
        p = put16(put16(p, 257), 12);
        p = put32(put32(p, 1), x->n_sent);
    }
    if (!fixed && flows) {
        p = put16(put16(p, 256), 4 + 4 * flows);
        for (uint32_t i = 0; i < flows; i++)
            p = put32(p, 1 + i);
    }
    m->len = (size_t)(p - m->data);
    if (x->version == 10)
        (void)put16(m->data + 2, (uint32_t)m->len);
    return m;
}

static void give(struct sender *x, const struct made *m)
{
    const weir_endpoint from = {.family = 4, .addr = {192, 0, 2, 1}, .port = 4739};
    weir_err err = {0};
    weir_status status = weir_decode(x->d, &from, x->now_ns, m->data, m->len, NULL, NULL, &err);
    UNIT_CHECK(status == WEIR_OK, "version %u: %s", x->version, err.msg);
}

static void send_some(struct sender *x, uint32_t n)
{
    while (n-- > 0)
        give(x, make(x));
}

static struct sender begin(uint16_t version, const char *numbering, uint64_t seed)
{
    struct sender x = {.d = weir_decoder_new(NULL, NULL),
                       .numbering = numbering,
                       .version = version,
                       .sequence = 1000,
                       .now_ns = INT64_C(1700000000) * 1000000000,
                       .rng = seed * 2 + 1,
                       .least = 1,
                       .most = version == 5   ? 30
                               : version == 7 ? 27
                                              : 24};
    assert_non_null(x.d);
    return x;
}

static weir_stream_info stream_of(const struct sender *x)
{
    weir_exporter_info e;
    weir_stream_info s;
    size_t at = 0, stream_at = 0;
    assert_int_equal(weir_exporter_next(x->d, &at, &e), WEIR_OK);
    assert_int_equal(weir_stream_next(x->d, e.handle, &stream_at, &s), WEIR_OK);
    return s;
}

static const weir_counters *counted(const struct sender *x)
{
    return weir_decoder_counters(x->d);
}

static void check(const struct sender *x, const char *numbering, uint64_t lost, const char *when)
{
    const weir_counters *c = counted(x);
    weir_stream_info s = stream_of(x);
    UNIT_CHECK(strcmp(s.sequence_numbering, numbering) == 0, "version %u, %s, %s: found %s",
               x->version, x->numbering, when, s.sequence_numbering);
    UNIT_CHECK(c->sequence_lost == lost, "version %u, %s, %s: lost %llu, not %llu", x->version,
               x->numbering, when, (unsigned long long)c->sequence_lost, (unsigned long long)lost);
    /* IPFIX without options records shows itself at options records alone, every time a little more. */
    uint64_t unsure = x->version == 10 && strcmp(x->numbering, "flows") == 0 ? 3 : 0;
    unsure += c->sequence_resets; /* nobody knows what was lost in a jump */
    UNIT_CHECK(c->sequence_duplicated == 0 && c->sequence_unsure <= unsure,
               "version %u, %s, %s: %llu duplicated, %llu unsure", x->version, x->numbering, when,
               (unsigned long long)c->sequence_duplicated, (unsigned long long)c->sequence_unsure);
}

static const struct {
    uint16_t version;
    const char *numbering, *unit;
} ways[] = {
    {5, "standard", "flows"},         {5, "packets", "packets"},       {5, "flows-after", "flows"},
    {7, "standard", "flows"},         {7, "packets", "packets"},       {7, "flows-after", "flows"},
    {9, "standard", "packets"},       {9, "flows", "flows"},           {9, "records", "records"},
    {9, "flows-after", "flows"},      {9, "records-after", "records"}, {10, "standard", "records"},
    {10, "packets", "packets"},       {10, "flows", "flows"},          {10, "flows-after", "flows"},
    {10, "records-after", "records"},
};

/* No loss that is none; then loss to the unit, late packets, a restart. */
static void each_numbering(void **state)
{
    (void)state;
    for (size_t i = 0; i < UNIT_N(ways); i++)
        for (uint64_t seed = 0; seed < 20; seed++) {
            struct sender x = begin(ways[i].version, ways[i].numbering, seed);
            send_some(&x, 300);
            check(&x, ways[i].numbering, 0, "in order");
            assert_string_equal(stream_of(&x).sequence_unit, ways[i].unit);
            uint64_t lost = 0;
            for (uint32_t n = 0; n < 200; n++) {
                bool drop = n % 7 == 0 || n % 11 == 0;
                if (drop && x.n_sent % TEMPLATES_EVERY)
                    lost += make(&x)->units;
                else
                    send_some(&x, 1);
            }
            send_some(&x, 20);
            check(&x, ways[i].numbering, lost, "with loss");
            assert_int_equal(counted(&x)->sequence_out_of_order, 0);
            assert_int_equal(counted(&x)->sequence_resets, 0);
            for (uint32_t n = 0; n < 40; n++) {
                x.kept = *make(&x);
                send_some(&x, 2);
                if (x.kept.units) /* which is in no gap that could tell it to be late */
                    give(&x, &x.kept);
                send_some(&x, 2);
            }
            check(&x, ways[i].numbering, lost, "out of order");
            assert_true(counted(&x)->sequence_out_of_order > 30);
            x.sequence = 3000000000;
            send_some(&x, 100);
            check(&x, ways[i].numbering, lost, "after a jump");
            assert_int_equal(counted(&x)->sequence_resets, 1);
            weir_decoder_finish(x.d, NULL, NULL);
            check(&x, ways[i].numbering, lost, "at the end");
            weir_decoder_free(x.d);
        }
}

/* How soon: three differences that can be no loss, some more that could be. */
static void how_soon(void **state)
{
    (void)state;
    static const struct {
        uint16_t version;
        const char *numbering;
        uint32_t least, most, packets;
    } soon[] = {
        {10, "packets", 10, 20, 4},   {5, "packets", 30, 30, 4},      {7, "packets", 3, 27, 4},
        {9, "flows", 20, 24, 6},      {9, "records", 24, 24, 6},      {9, "flows", 2, 4, 30},
        {9, "flows-after", 9, 20, 6}, {10, "flows-after", 1, 24, 12}, {10, "flows-after", 1, 2, 40},
    };
    for (size_t i = 0; i < UNIT_N(soon); i++)
        for (uint64_t seed = 0; seed < 50; seed++) {
            struct sender x = begin(soon[i].version, soon[i].numbering, seed);
            x.least = soon[i].least;
            x.most = soon[i].most;
            x.n_sent = 10; /* templates and options come later, but for the first ones */
            x.whole = true;
            send_some(&x, 1);
            x.whole = false;
            send_some(&x, soon[i].packets - 1);
            weir_stream_info s = stream_of(&x);
            UNIT_CHECK(strcmp(s.sequence_numbering, soon[i].numbering) == 0 ||
                           (strcmp(soon[i].numbering, "records") == 0 &&
                            strcmp(s.sequence_numbering, "flows") == 0),
                       "version %u, %s: not found after %u packets, seed %u", soon[i].version,
                       soon[i].numbering, soon[i].packets, (unsigned)seed);
            assert_int_equal(counted(&x)->sequence_lost, 0);
            weir_decoder_free(x.d);
        }
}

/* The state is saved and loaded behind each packet, so that every doubt is cut through somewhere: it ends the same. */
static void over_restarts(void **state)
{
    (void)state;
    for (size_t i = 0; i < UNIT_N(ways); i++)
        for (unsigned full = 0; full < 2; full++) {
            struct sender x = begin(ways[i].version, ways[i].numbering, i);
            x.whole = !full; /* positions have no templates */
            uint64_t lost = 0, counted_lost = 0, odd = 0, unsure = 0;
            for (uint32_t n = 0; n < 150; n++) {
                if (n > 100 && n % 5 == 0)
                    lost += make(&x)->units;
                send_some(&x, 1);
                uint8_t *data;
                size_t len;
                assert_int_equal((full ? weir_decoder_save
                                       : weir_decoder_save_positions)(x.d, &data, &len, NULL),
                                 WEIR_OK);
                const weir_counters *c = counted(&x);
                counted_lost += c->sequence_lost;
                odd += c->sequence_duplicated + c->sequence_resets;
                unsure += c->sequence_unsure;
                weir_decoder_free(x.d);
                x.d = weir_decoder_new(NULL, NULL);
                assert_int_equal(weir_decoder_load(x.d, data, len, NULL), WEIR_OK);
                free(data);
            }
            weir_stream_info s = stream_of(&x);
            UNIT_CHECK(strcmp(s.sequence_numbering, ways[i].numbering) == 0,
                       "version %u, %s: found %s", ways[i].version, ways[i].numbering,
                       s.sequence_numbering);
            uint64_t may = i == 13 ? 3 : 0; /* IPFIX, flows */
            UNIT_CHECK(counted_lost == lost && odd == 0 && unsure <= may,
                       "version %u, %s: lost %llu, not %llu; %llu odd", ways[i].version,
                       ways[i].numbering, (unsigned long long)counted_lost,
                       (unsigned long long)lost, (unsigned long long)odd);
            weir_decoder_free(x.d);
        }
}

/* Loss from the first packet on, of all kinds, up to every second packet; packets out of order and twice: whoever counts
 * as the protocol says is never taken for anybody else, and all that is lost is counted. */
static void loss_is_loss(void **state)
{
    (void)state;
    static const uint32_t sizes[][2] = {{1, 1}, {1, 2}, {2, 2}, {1, 3},   {3, 3},
                                        {2, 5}, {1, 8}, {8, 8}, {24, 24}, {1, 24}};
    static const uint16_t versions[] = {5, 7, 9, 10};
    for (uint64_t seed = 0; seed < 400; seed++) {
        struct sender x = begin(versions[seed % 4], "standard", seed);
        const uint32_t *size = sizes[seed / 4 % UNIT_N(sizes)];
        uint64_t rng = seed * 7 + 3;
        uint32_t percent = hostile_below(&rng, 51), kind = hostile_below(&rng, 4), burst = 0;
        uint32_t turns = 2 + hostile_below(&rng, 4);
        uint64_t lost = 0, late = 0;
        x.least = size[0];
        x.most = size[1];
        x.whole = true;
        give(&x, make(&x));
        for (uint32_t n = 0; n < 1000; n++) {
            struct made *m = make(&x);
            bool drop = hostile_below(&rng, 100) < percent;
            if (kind == 1) { /* in bursts */
                burst = burst                                 ? burst - 1
                        : hostile_below(&rng, 1000) < percent ? hostile_below(&rng, 20)
                                                              : 0;
                drop = burst > 0;
            } else if (kind == 2) { /* several collectors in turns */
                drop = n % turns != 0 && (n < 500 || hostile_below(&rng, 100) < 98);
            } else if (kind == 3 && drop && m->units) { /* late or lost */
                x.kept = *m;
                m = make(&x);
                lost += x.kept.units;
                give(&x, m);
                if (hostile_below(&rng, 2)) {
                    give(&x, &x.kept);
                    late += x.kept.units;
                }
                if (hostile_below(&rng, 8) == 0)
                    give(&x, m);
                continue;
            }
            if (drop)
                lost += m->units;
            else
                give(&x, m);
            if (n % 50 == 0)
                UNIT_CHECK(strcmp(stream_of(&x).sequence_numbering, "standard") == 0,
                           "version %u, %u to %u flows, %u %% lost, way %u: found %s", x.version,
                           size[0], size[1], percent, kind, stream_of(&x).sequence_numbering);
        }
        send_some(&x, 20);
        weir_decoder_finish(x.d, NULL, NULL);
        weir_stream_info s = stream_of(&x);
        const weir_counters *c = counted(&x);
        UNIT_CHECK(strcmp(s.sequence_numbering, "standard") == 0 &&
                       c->sequence_lost == lost - late && c->sequence_unsure == 0,
                   "version %u, %u to %u flows, %u %% lost, way %u: found %s, lost %lld, not %lld",
                   x.version, size[0], size[1], percent, kind, s.sequence_numbering,
                   (long long)c->sequence_lost, (long long)(lost - late));
        weir_decoder_free(x.d);
    }
}

/* No counter that others add up goes down, whatever is found out. */
static void nothing_goes_down(void **state)
{
    (void)state;
    for (size_t i = 0; i < UNIT_N(ways); i++) {
        struct sender x = begin(ways[i].version, ways[i].numbering, i);
        uint64_t before = 0;
        for (uint32_t n = 0; n < 200; n++) {
            if (n % 9 == 8)
                (void)make(&x);
            send_some(&x, 1);
            assert_true(counted(&x)->sequence_lost >= before);
            before = counted(&x)->sequence_lost;
        }
        weir_decoder_free(x.d);
    }
}

/* Numbers that mean nothing are no loss, and when they do mean something again they are believed. */
static void meaningless(void **state)
{
    (void)state;
    static const char *const numberings[] = {"constant", "random", "conversations"};
    for (size_t i = 0; i < UNIT_N(numberings); i++)
        for (unsigned k = 0; k < 3; k++) {
            const uint16_t version = i == 2 ? 9 : (uint16_t[]){5, 9, 10}[k];
            struct sender x = begin(version, numberings[i], k);
            x.least = i == 2 ? 6 : 1;
            send_some(&x, 400);
            const weir_counters *c = counted(&x);
            weir_stream_info s = stream_of(&x);
            UNIT_CHECK(strcmp(s.sequence_numbering, "none") == 0 && c->sequence_lost == 0 &&
                           c->sequence_duplicated <= 4 && c->sequence_unsure > 300,
                       "version %u, %s: %s, lost %lld, %lld duplicated, %llu unsure", version,
                       numberings[i], s.sequence_numbering, (long long)c->sequence_lost,
                       (long long)c->sequence_duplicated, (unsigned long long)c->sequence_unsure);
            assert_string_equal(s.sequence_unit, "none");
            x.numbering = "standard";
            send_some(&x, 20);
            assert_string_equal(stream_of(&x).sequence_numbering, "standard");
            uint64_t lost = c->sequence_lost + make(&x)->units;
            send_some(&x, 2);
            assert_int_equal(c->sequence_lost, lost);
            weir_decoder_free(x.d);
        }
}

/* A new version of the exporter counts what it should, or the other way round: no loss either. */
static void another_version(void **state)
{
    (void)state;
    for (size_t i = 0; i < UNIT_N(ways); i++)
        for (size_t k = 0; k < UNIT_N(ways); k++) {
            if (ways[i].version != ways[k].version || i == k ||
                (strcmp(ways[i].numbering, "standard") != 0 &&
                 strcmp(ways[k].numbering, "standard") != 0))
                continue;
            struct sender x = begin(ways[i].version, ways[i].numbering, i);
            send_some(&x, 300);
            assert_string_equal(stream_of(&x).sequence_numbering, ways[i].numbering);
            x.sequence = strstr(ways[k].numbering, "after") ? 5 : 500000000;
            x.numbering = ways[k].numbering;
            send_some(&x, 400);
            weir_stream_info s = stream_of(&x);
            UNIT_CHECK(strcmp(s.sequence_numbering, ways[k].numbering) == 0,
                       "version %u: from %s to %s: found %s", x.version, ways[i].numbering,
                       ways[k].numbering, s.sequence_numbering);
            uint64_t lost = counted(&x)->sequence_lost + make(&x)->units;
            send_some(&x, 5);
            assert_int_equal(counted(&x)->sequence_lost, lost);
            weir_decoder_free(x.d);
        }
}

/* At the end of all packets a doubt is given up: strong, and what would be lost is said to be unsure; weak, and it is lost. */
static void left_over(void **state)
{
    (void)state;
    struct sender x = begin(10, "flows-after", 1);
    x.n_sent = 40; /* templates */
    x.least = x.most = 20;
    send_some(&x, 1);
    x.least = x.most = 5;
    send_some(&x, 1);
    x.least = x.most = 24;
    send_some(&x, 1);
    assert_int_equal(counted(&x)->sequence_lost, 0);
    weir_decoder_finish(x.d, NULL, NULL);
    assert_int_equal(counted(&x)->sequence_lost, 0);
    assert_int_equal(counted(&x)->sequence_unsure, 2);
    send_some(&x, 1); /* and it goes on */
    weir_decoder_free(x.d);

    x = begin(9, "standard", 1);
    x.least = x.most = 5;
    send_some(&x, 1);
    for (unsigned n = 0; n < 4; n++)
        (void)make(&x);
    send_some(&x, 1); /* 5 ahead of a packet with 5 flows */
    assert_int_equal(counted(&x)->sequence_lost, 0);
    weir_decoder_finish(x.d, NULL, NULL);
    assert_int_equal(counted(&x)->sequence_lost, 4);
    assert_int_equal(counted(&x)->sequence_unsure, 0);
    weir_decoder_free(x.d);
}

/* Everything at once and at random: no counter falls below zero, and afterwards the standard is found again. */
static void chaos(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 300; seed++) {
        size_t i = (size_t)(seed % UNIT_N(ways));
        struct sender x = begin(ways[i].version, ways[i].numbering, seed);
        uint64_t rng = seed + 1;
        x.kept = *make(&x);
        for (unsigned n = 0; n < 400; n++) {
            struct made *m = make(&x);
            switch (hostile_below(&rng, 24)) {
            case 0:
            case 1:
                continue;
            case 2:
                give(&x, &x.kept);
                break;
            case 3:
                x.kept = *m;
                continue;
            case 4:
                x.sequence += hostile_below(&rng, 3) ? 5 : (uint32_t)hostile_next(&rng);
                break;
            case 5: {
                size_t k = hostile_below(&rng, UNIT_N(ways));
                x.numbering = hostile_below(&rng, 9)         ? x.numbering
                              : ways[k].version == x.version ? ways[k].numbering
                                                             : "random";
                break;
            }
            case 6:
                x.most = 1 + hostile_below(&rng, 24);
                x.least = 1 + hostile_below(&rng, x.most);
                break;
            case 7:
                if (hostile_below(&rng, 20) == 0)
                    weir_decoder_finish(x.d, NULL, NULL);
                break;
            default:
                break;
            }
            give(&x, m);
            if (n % 40 == 0)
                law_check(x.d, "chaos");
        }
        weir_decoder_finish(x.d, NULL, NULL);
        law_check(x.d, "chaos");
        x.numbering = "standard";
        x.least = 3;
        x.most = 24;
        send_some(&x, 900);
        UNIT_CHECK(strcmp(stream_of(&x).sequence_numbering, "standard") == 0,
                   "version %u, seed %u: found %s", x.version, (unsigned)seed,
                   stream_of(&x).sequence_numbering);
        uint64_t lost = counted(&x)->sequence_lost + make(&x)->units;
        send_some(&x, 30);
        UNIT_CHECK(counted(&x)->sequence_lost == lost, "version %u, seed %u: lost %lld, not %lld",
                   x.version, (unsigned)seed, (long long)counted(&x)->sequence_lost,
                   (long long)lost);
        weir_decoder_free(x.d);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_numbering),
        cmocka_unit_test(how_soon),
        cmocka_unit_test(over_restarts),
        cmocka_unit_test(loss_is_loss),
        cmocka_unit_test(nothing_goes_down),
        cmocka_unit_test(meaningless),
        cmocka_unit_test(another_version),
        cmocka_unit_test(left_over),
        cmocka_unit_test(chaos),
    };
    return cmocka_run_group_tests_name("numbering", tests, NULL, NULL);
}
