/* gen: flows that make sense, packets that hold exactly them, headers, templates, and what is lost on the way. */
#include "gen/cycle.h"
#include "gen/way.h"

#include <inttypes.h>
#include <string.h>
#include <weir/decoder.h>

#include "unit.h"

enum { START_S = 1700000000 };
#define START_MS (START_S * UINT64_C(1000))

static const struct gen_traffic_options traffic = {.format = GEN_IPFIX,
                                                   .seed = 3,
                                                   .internal = 500,
                                                   .external = 4000,
                                                   .ipv6_ppm = 250000,
                                                   .exporters = 3};
static const struct gen_exporters_options plain = {.format = GEN_V9,
                                                   .n = 3,
                                                   .max_payload = 1400,
                                                   .sampling = 64,
                                                   .start_ms = START_MS,
                                                   .template_packets = 20,
                                                   .keep_flows = true};

static uint64_t be(const uint8_t *p, size_t len)
{
    uint64_t v = 0;
    while (len--)
        v = v << 8 | *p++;
    return v;
}

/* --- flows -------------------------------------------------------------------------------------- */

static void flows_make_sense(void **state)
{
    (void)state;
    for (enum gen_format format = GEN_V5; format <= GEN_IPFIX; format++) {
        struct gen_traffic_options o = traffic;
        o.format = format;
        gen_traffic *t = gen_traffic_new(&o);
        assert_non_null(t);
        uint64_t kinds[GEN_N_KINDS] = {0}, protos[256] = {0}, exporters[3] = {0};
        for (uint64_t i = 0; i < 50000; i++) {
            struct gen_flow f;
            uint64_t now_ms = START_MS + i / 10;
            gen_traffic_next(t, now_ms, &f);
            UNIT_CHECK(f.first_ms <= f.last_ms && f.last_ms < now_ms, "flow %" PRIu64 ": times", i);
            UNIT_CHECK(f.last_ms - f.first_ms <= 60000, "flow %" PRIu64 " is too long", i);
            UNIT_CHECK(f.packets >= 1 && f.packets <= UINT32_MAX && f.octets >= 28 * f.packets &&
                           f.octets <= UINT32_MAX && f.octets <= 1500 * f.packets,
                       "flow %" PRIu64 ": %" PRIu64 " packets, %" PRIu64 " octets", i, f.packets,
                       f.octets);
            UNIT_CHECK(f.kind < GEN_N_KINDS && f.exporter < 3, "flow %" PRIu64, i);
            UNIT_CHECK(f.in_if != f.out_if && f.in_if && f.out_if, "flow %" PRIu64, i);
            UNIT_CHECK((f.tcp_flags != 0) == (f.proto == 6), "flow %" PRIu64, i);
            UNIT_CHECK((f.proto == 1 || f.proto == 58) == (!f.src_port && !f.nat_src_port),
                       "flow %" PRIu64, i);
            UNIT_CHECK(memcmp(f.src, f.dst, f.kind == GEN_IPV6 ? 16 : 4) != 0, "flow %" PRIu64, i);
            kinds[f.kind]++;
            protos[f.proto]++;
            exporters[f.exporter]++;
        }
        gen_traffic_free(t);
        assert_true(kinds[GEN_PLAIN] > 25000);
        assert_int_equal(kinds[GEN_IPV6] > 10000, format != GEN_V5);
        assert_int_equal(kinds[GEN_NAT] > 1000, format == GEN_IPFIX);
        assert_int_equal(kinds[GEN_APP] > 500, format == GEN_IPFIX);
        assert_true(protos[6] > protos[17] && protos[17] > protos[1] && protos[1] > 100);
        assert_int_equal(protos[58] > 100, format != GEN_V5);
        for (unsigned i = 0; i < 3; i++)
            assert_true(exporters[i] > 5000);
    }
}

static void flows_are_a_function_of_the_seed(void **state)
{
    (void)state;
    struct gen_traffic_options o = traffic;
    gen_traffic *a = gen_traffic_new(&o), *b = gen_traffic_new(&o);
    o.seed++;
    gen_traffic *c = gen_traffic_new(&o);
    unsigned same = 0;
    for (uint64_t i = 0; i < 20000; i++) {
        struct gen_flow x = {0}, y = {0}, z = {0};
        gen_traffic_next(a, START_MS + i, &x);
        gen_traffic_next(b, START_MS + i, &y);
        gen_traffic_next(c, START_MS + i, &z);
        assert_memory_equal(x.src, y.src, sizeof x.src);
        assert_true(x.first_ms == y.first_ms && x.octets == y.octets && x.src_port == y.src_port);
        same += x.octets == z.octets && x.src_port == z.src_port;
    }
    assert_true(same < 1000);
    gen_traffic_free(a);
    gen_traffic_free(b);
    gen_traffic_free(c);
}

static void smallest_and_largest_networks(void **state)
{
    (void)state;
    static const struct {
        uint32_t internal, external;
    } cases[] = {{1, 1}, {2, 3}, {GEN_MAX_INTERNAL, GEN_MAX_EXTERNAL}};
    for (size_t k = 0; k < UNIT_N(cases); k++) {
        struct gen_traffic_options o = traffic;
        o.internal = cases[k].internal;
        o.external = cases[k].external;
        gen_traffic *t = gen_traffic_new(&o);
        for (uint64_t i = 0; i < 5000; i++) {
            struct gen_flow f;
            gen_traffic_next(t, START_MS + i, &f);
            const uint8_t *inner = f.direction ? f.src : f.dst;
            if (f.kind == GEN_PLAIN) /* 10.20/15, 172.20/16, 192.168/16 */
                UNIT_CHECK((inner[0] == 10 && (inner[1] & 0xfe) == 20) ||
                               (inner[0] == 172 && inner[1] == 20) ||
                               (inner[0] == 192 && inner[1] == 168),
                           "%u hosts: flow %" PRIu64 " is inside %u.%u", o.internal, i, inner[0],
                           inner[1]);
        }
        gen_traffic_free(t);
    }
}

/* --- packets, read again by the decoder --------------------------------------------------------- */

/* The packets of a run, and what the decoder finds in them. */
struct bed {
    enum gen_format format;
    gen_exporters *x;
    weir_decoder *d;
    const struct gen_packet *packet; /* decoded now */
    unsigned at;                     /* its flows found so far */
    uint64_t packets, flows, octets, options, failed, sampled;
    uint32_t most_records, largest;
    uint64_t shift_ms; /* packets are stamped so much later */
};

static uint64_t value(const weir_record *r, uint16_t id)
{
    int i = weir_record_find(r, 0, id);
    UNIT_CHECK(i >= 0, "no element %u", id);
    return i < 0 ? 0 : be(r->data + r->fields[i].offset, r->fields[i].length);
}

static void on_record(void *user, const weir_record *r)
{
    struct bed *b = user;
    assert_non_null(b->packet);
    assert_true(b->at < b->packet->n_records);
    const struct gen_flow *f = &b->packet->flows[b->at++];
    bool ipv6 = f->kind == GEN_IPV6;
    int src = weir_record_find(r, 0, ipv6 ? 27 : 8), dst = weir_record_find(r, 0, ipv6 ? 28 : 12);
    assert_true(src >= 0 && dst >= 0);
    assert_memory_equal(r->data + r->fields[src].offset, f->src, ipv6 ? 16 : 4);
    assert_memory_equal(r->data + r->fields[dst].offset, f->dst, ipv6 ? 16 : 4);
    assert_int_equal(value(r, 1), f->octets);
    assert_int_equal(value(r, 2), f->packets);
    assert_int_equal(value(r, 7), f->src_port);
    assert_int_equal(value(r, 11), f->dst_port);
    assert_int_equal(value(r, 10), f->in_if);
    assert_int_equal(value(r, 17), f->dst_as);
    int64_t first_ns, last_ns;
    assert_int_equal(weir_record_times(r, &first_ns, &last_ns), 0);
    assert_int_equal(first_ns, (f->first_ms + b->shift_ms) * 1000000);
    assert_int_equal(last_ns, (f->last_ms + b->shift_ms) * 1000000);
    weir_sampling s = weir_record_sampling(r);
    b->sampled += s.rate > 63.5 && s.rate < 64.5;
    b->flows++;
    b->octets += f->octets;
}

static void on_options(void *user, const weir_record *r)
{
    assert_int_equal(value(r, 34), 64);
    assert_int_equal(value(r, 35), 1);
    ((struct bed *)user)->options++;
}

static void on_fault(void *user, const weir_packet *p, weir_fault fault, const weir_err *err)
{
    (void)p;
    (void)user;
    fail_msg("%s: %s", weir_fault_text(fault), err->msg);
}

static const weir_handlers handlers = {
    .record = on_record, .options = on_options, .fault = on_fault};

static void feed(struct bed *b, uint32_t exporter, const uint8_t *data, size_t len)
{
    weir_endpoint from = {.transport = WEIR_UDP, .family = 4, .port = 40000};
    weir_err err = {0};
    from.addr[0] = 127;
    from.addr[3] = (uint8_t)(exporter + 1);
    weir_status status =
        weir_decode(b->d, &from, START_S * INT64_C(1000000000), data, len, &handlers, b, &err);
    UNIT_CHECK(status == WEIR_OK, "%s", err.msg);
}

static weir_status take(void *user, struct gen_packet *p, weir_err *err)
{
    struct bed *b = user;
    (void)err;
    uint64_t now_ms = p->time_ms + b->shift_ms;
    if (gen_exporters_due(b->x, p->exporter, now_ms)) {
        uint8_t told[GEN_LEAST_PAYLOAD];
        size_t len = gen_exporters_templates(b->x, p->exporter, now_ms, told);
        assert_true(len <= sizeof told);
        b->packet = NULL;
        feed(b, p->exporter, told, len);
    }
    gen_exporters_stamp(b->x, p, now_ms);
    b->packet = p;
    b->at = 0;
    feed(b, p->exporter, p->data, p->len);
    assert_int_equal(b->at, p->n_records);
    b->packets++;
    if (p->n_records > b->most_records)
        b->most_records = p->n_records;
    if (p->len > b->largest)
        b->largest = p->len;
    return WEIR_OK;
}

static void run_bed(struct bed *b, const struct gen_exporters_options *o, uint64_t n,
                    uint64_t ms_each)
{
    struct gen_traffic_options to = traffic;
    to.format = o->format;
    weir_err err = {0};
    gen_traffic *t = gen_traffic_new(&to);
    b->x = gen_exporters_new(o, take, b);
    b->d = weir_decoder_new(NULL, &err);
    assert_true(t && b->x && b->d);
    for (uint64_t i = 0; i < n; i++) {
        struct gen_flow f;
        gen_traffic_next(t, START_MS + i * ms_each, &f);
        assert_int_equal(gen_exporters_add(b->x, &f, START_MS + i * ms_each, &err), WEIR_OK);
    }
    assert_int_equal(gen_exporters_flush(b->x, START_MS + n * ms_each, &err), WEIR_OK);
    const weir_counters *c = weir_decoder_counters(b->d);
    assert_int_equal(b->flows, n);
    assert_int_equal(c->flows, n);
    assert_int_equal(c->sequence_lost + c->sequence_duplicated + c->sequence_out_of_order, 0);
    assert_int_equal(c->sequence_resets + c->restarts + c->waiting + c->sets_late, 0);
    assert_int_equal(c->decoded, b->packets + b->options);
    assert_int_equal(b->sampled, n);
    weir_decoder_free(b->d);
    gen_exporters_free(b->x);
    gen_traffic_free(t);
}

static void packets_hold_the_flows(void **state)
{
    (void)state;
    /* Stamped when they were made, an hour and 60 days later: records move along. */
    static const uint64_t shifts[] = {0, 3600123, UINT64_C(60) * 86400000};
    for (enum gen_format format = GEN_V5; format <= GEN_IPFIX; format++) {
        for (size_t i = 0; i < UNIT_N(shifts); i++) {
            struct gen_exporters_options o = plain;
            o.format = format;
            struct bed b = {.format = format, .shift_ms = shifts[i]};
            run_bed(&b, &o, 3000, 1);
            assert_true(b.largest <= 1400 && b.largest > 1240);
            assert_int_equal(b.options > 0, format != GEN_V5);
        }
    }
}

static void limits_of_packets(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        enum gen_format format;
        uint32_t payload, records;
        uint64_t ms_each;
        uint32_t most;
    } cases[] = {
        {"v5 has 30", GEN_V5, 8972, 0, 0, 30},
        {"v5 of few", GEN_V5, 1400, 7, 0, 7},
        {"v9 of one", GEN_V9, 1400, 1, 0, 1},
        {"v9 of 22", GEN_V9, 1472, 22, 0, 22},
        {"IPFIX of 3", GEN_IPFIX, 512, 3, 0, 3},
        {"v9 smallest", GEN_V9, GEN_LEAST_PAYLOAD, 0, 0, 8},
        {"v9 largest", GEN_V9, GEN_MOST_PAYLOAD, 0, 0, 160},
        {"v9: none waits for long", GEN_V9, GEN_MOST_PAYLOAD, 0, 500, 4},
    };
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        struct gen_exporters_options o = plain;
        o.format = cases[i].format;
        o.max_payload = cases[i].payload;
        o.max_records = cases[i].records;
        struct bed b = {.format = o.format};
        run_bed(&b, &o, 2000, cases[i].ms_each);
        UNIT_CHECK(b.most_records <= cases[i].most, "%s: %u", cases[i].what, b.most_records);
        UNIT_CHECK(b.most_records + 30 > cases[i].most, "%s: %u", cases[i].what, b.most_records);
        UNIT_CHECK(b.largest <= o.max_payload, "%s: %u octets", cases[i].what, b.largest);
    }
}

static weir_status keep(void *user, struct gen_packet *p, weir_err *err)
{
    return gen_cycle_add(user, p, err);
}

static void headers(void **state)
{
    (void)state;
    static const struct {
        enum gen_format format;
        uint32_t version, clock_at, sequence_at, domain_at;
    } cases[] = {{GEN_V5, 5, 8, 16, 0}, {GEN_V9, 9, 8, 12, 16}, {GEN_IPFIX, 10, 4, 8, 12}};
    for (size_t k = 0; k < UNIT_N(cases); k++) {
        struct gen_exporters_options o = plain;
        struct gen_cycle cycle = {0};
        struct gen_traffic_options to = traffic;
        weir_err err = {0};
        o.format = to.format = cases[k].format;
        gen_exporters *x = gen_exporters_new(&o, keep, &cycle);
        gen_traffic *t = gen_traffic_new(&to);
        for (uint64_t i = 0; i < 2000; i++) {
            struct gen_flow f;
            gen_traffic_next(t, START_MS + i, &f);
            assert_int_equal(gen_exporters_add(x, &f, START_MS + i, &err), WEIR_OK);
        }
        gen_cycle_close(&cycle);
        assert_true(cycle.n > 20);
        uint32_t next[3] = {0};
        for (unsigned loop = 0; loop < 3; loop++) { /* a cycle is sent again and again */
            for (size_t i = 0; i < cycle.n; i++) {
                struct gen_packet *p = &cycle.packets[i];
                uint64_t now_ms = START_MS + loop * 100000 + i * 7 + 999;
                gen_exporters_stamp(x, p, now_ms);
                assert_int_equal(be(p->data, 2), cases[k].version);
                assert_int_equal(be(p->data + 2, 2), o.format == GEN_IPFIX ? p->len : p->n_records);
                assert_int_equal(be(p->data + cases[k].clock_at, 4), now_ms / 1000);
                assert_int_equal(be(p->data + cases[k].sequence_at, 4), next[p->exporter]);
                next[p->exporter] += gen_exporters_units(x, p);
                if (cases[k].domain_at)
                    assert_int_equal(be(p->data + cases[k].domain_at, 4), p->exporter + 1);
                else
                    assert_int_equal(be(p->data + 22, 2), 1u << 14 | 64);
                if (o.format == GEN_V9)
                    assert_int_equal((be(p->data + 8, 4) * 1000 - be(p->data + 4, 4)) & UINT32_MAX,
                                     (START_MS - (240 + p->exporter) * 3600000) & UINT32_MAX);
            }
        }
        gen_cycle_done(&cycle);
        gen_exporters_free(x);
        gen_traffic_free(t);
    }
}

/* --- the way ------------------------------------------------------------------------------------ */

struct road {
    gen_way *way;
    uint32_t seen[400]; /* sequence numbers in the order of their arrival */
    unsigned n, flows;
    uint64_t clock_ms;
};

static weir_status arrive(void *user, const struct gen_out *out, weir_err *err)
{
    struct road *r = user;
    (void)err;
    if (be(out->data + 20, 2) >= 256) { /* data */
        assert_true(r->n < UNIT_N(r->seen));
        r->seen[r->n++] = (uint32_t)be(out->data + 12, 4);
    }
    return WEIR_OK;
}

static weir_status listed(void *user, const struct gen_packet *p, weir_err *err)
{
    (void)err;
    ((struct road *)user)->flows += p->n_records;
    return WEIR_OK;
}

static weir_status depart(void *user, struct gen_packet *p, weir_err *err)
{
    struct road *r = user;
    return gen_way_put(r->way, p, r->clock_ms++, err);
}

static void mishaps(void **state)
{
    (void)state;
    /* v9, one exporter, a packet a flow, templates once: their number is 0, data are 1, 2, 3 ... */
    static const struct {
        const char *what;
        struct gen_way_options o;
        unsigned n;
        const char *seen;
    } cases[] = {
        {"nothing", {.exporters = 1}, 5, "1 2 3 4 5 "},
        {"1 of 2", {.drop = {1, 2}, .exporters = 1}, 7, "1 3 5 7 "},
        {"the last is never lost", {.drop = {1, 2}, .exporters = 1}, 6, "1 3 5 6 "},
        {"3 of 4", {.drop = {3, 4}, .exporters = 1}, 9, "1 5 9 "},
        {"2 of 5", {.drop = {2, 5}, .exporters = 1}, 11, "1 4 5 6 9 10 11 "},
        {"twice", {.twice = {1, 3}, .exporters = 1}, 6, "1 2 2 3 4 5 5 6 "},
        {"overtaken", {.reorder = 2, .exporters = 1}, 6, "1 3 2 5 4 6 "},
        {"overtaken and lost", {.reorder = 3, .drop = {1, 4}, .exporters = 1}, 9, "1 3 5 4 7 9 8 "},
    };
    for (size_t k = 0; k < UNIT_N(cases); k++) {
        struct gen_exporters_options o = plain;
        struct gen_traffic_options to = traffic;
        o.n = to.exporters = 1;
        o.max_records = 1;
        o.template_packets = 0;
        to.format = GEN_V9;
        struct road r = {.clock_ms = START_MS};
        weir_err err = {0};
        gen_exporters *x = gen_exporters_new(&o, depart, &r);
        gen_traffic *t = gen_traffic_new(&to);
        r.way = gen_way_new(&cases[k].o, x,
                            &(struct gen_receiver){.payload = arrive, .flows = listed, .user = &r});
        for (unsigned i = 0; i < cases[k].n; i++) {
            struct gen_flow f;
            gen_traffic_next(t, START_MS, &f);
            assert_int_equal(gen_exporters_add(x, &f, START_MS, &err), WEIR_OK);
        }
        assert_int_equal(gen_exporters_flush(x, START_MS, &err), WEIR_OK);
        assert_int_equal(gen_way_end(r.way, r.clock_ms, &err), WEIR_OK);
        char seen[400] = "";
        for (unsigned i = 0, len = 0; i < r.n; i++)
            len += (unsigned)snprintf(seen + len, sizeof seen - len, "%u ", r.seen[i]);
        UNIT_CHECK(strcmp(seen, cases[k].seen) == 0, "%s: %s", cases[k].what, seen);
        const struct gen_counts *c = gen_way_total(r.way), *own = gen_way_counts(r.way, 0);
        assert_memory_equal(c, own, sizeof *c);
        assert_int_equal(c->packets, r.n + 1);
        assert_int_equal(c->template_packets, 1);
        assert_int_equal(c->flows, r.flows);
        assert_int_equal(c->flows + c->lost_flows, cases[k].n);
        assert_int_equal(c->lost_units, c->lost_packets);
        assert_int_equal(r.n, cases[k].n - c->lost_packets + c->twice_packets);
        gen_way_free(r.way);
        gen_exporters_free(x);
        gen_traffic_free(t);
    }
}

static weir_status refuse(void *user, const struct gen_out *out, weir_err *err)
{
    (void)user;
    (void)out;
    return weir_err_set(err, WEIR_EIO, 0, "no");
}

static void failures_come_back(void **state)
{
    (void)state;
    struct gen_exporters_options o = plain;
    struct road r = {.clock_ms = START_MS};
    weir_err err = {0};
    struct gen_way_options wo = {.exporters = o.n};
    gen_exporters *x = gen_exporters_new(&o, depart, &r);
    r.way = gen_way_new(&wo, x, &(struct gen_receiver){.payload = refuse});
    struct gen_traffic_options to = traffic;
    to.format = GEN_V9;
    gen_traffic *t = gen_traffic_new(&to);
    weir_status status = WEIR_OK;
    unsigned n = 0;
    for (; status == WEIR_OK && n < 1000; n++) {
        struct gen_flow f;
        gen_traffic_next(t, START_MS, &f);
        status = gen_exporters_add(x, &f, START_MS, &err);
    }
    assert_int_equal(status, WEIR_EIO);
    assert_string_equal(err.msg, "no");
    gen_way_free(r.way);
    gen_exporters_free(x);
    gen_traffic_free(t);
    gen_way_free(NULL);
    gen_exporters_free(NULL);
    gen_traffic_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flows_make_sense),
        cmocka_unit_test(flows_are_a_function_of_the_seed),
        cmocka_unit_test(smallest_and_largest_networks),
        cmocka_unit_test(packets_hold_the_flows),
        cmocka_unit_test(limits_of_packets),
        cmocka_unit_test(headers),
        cmocka_unit_test(mishaps),
        cmocka_unit_test(failures_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
