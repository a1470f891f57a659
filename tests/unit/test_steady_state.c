/* Once a collector knows its exporters and has filled its batches, a packet costs no allocation: not in the decoder, not on
 * its way into a batch, nor does a batch that is emptied and filled again. */
#include "flow/normalise.h"

#include "export.h"
#include "heap.h"
#include "unit.h"

enum {
    EXPORTERS = 5,
    ROUND = 64 /* packets before a flush */,
    BATCH = 8 /* rounds before the batch is emptied */
};

struct site {
    weir_decoder *d;
    flow_normaliser *n;
    flow_batch *flows, *options;
    uint64_t sequence[EXPORTERS];
    uint32_t packets, flow;
};

static void on_records(void *user, const weir_record *first, size_t n)
{
    struct site *s = user;
    assert_int_equal(flow_note_records(s->n, s->flows, first, n), WEIR_OK);
}

static void on_record(void *user, const weir_record *r)
{
    struct site *s = user;
    assert_int_equal(flow_note_record(s->n, s->flows, r), WEIR_OK);
}

static void on_options(void *user, const weir_record *r)
{
    struct site *s = user;
    assert_int_equal(flow_add_options(s->n, s->options, r), WEIR_OK);
}

static const weir_handlers handlers = {
    .record = on_record, .records = on_records, .options = on_options};

/* ---- packets ---- */

/* A set's length is known at its end. */
static void end_set(export_packet *p, size_t set)
{
    export_set16(p, set + 2, (unsigned)(p->len - set));
}

static void put_fields(export_packet *p, const uint16_t (*fields)[2], unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        export_put16(p, fields[i][0]);
        export_put16(p, fields[i][1]);
    }
}

/* Addresses out of so many as there are in use at one time. */
static uint32_t address(struct site *s)
{
    return 0x0a000000 + s->flow++ * 2654435761u % 3000;
}

static void v5_packet(struct site *s, export_packet *p, unsigned exporter)
{
    export_put16(p, 5);
    export_put16(p, 30);
    export_put32(p, 1000000);
    export_put32(p, EXPORT_TIME);
    export_put32(p, 0);
    export_put32(p, (uint32_t)s->sequence[exporter]);
    export_put32(p, 0x0001400a);
    for (unsigned i = 0; i < 30; i++) {
        export_put32(p, address(s));
        export_put32(p, address(s));
        for (unsigned k = 0; k < 10; k++) /* from the next hop to the padding */
            export_put32(p, k == 6 ? (i % 9 ? 0x600u : 0x100u) : 1000 + i);
    }
    s->sequence[exporter] += 30;
}

static const uint16_t v4_fields[][2] = {{8, 4}, {12, 4},  {15, 4},  {10, 4}, {2, 8},
                                        {1, 8}, {152, 8}, {153, 8}, {7, 2},  {11, 2},
                                        {4, 1}, {6, 1},   {34, 4},  {460, 6}};
static const uint16_t v6_fields[][2] = {{27, 16}, {28, 16}, {2, 4},  {1, 4}, {22, 4},
                                        {21, 4},  {7, 2},   {11, 2}, {4, 1}, {48, 1}};
static const uint16_t text_fields[][2] = {{8, 4}, {12, 4},     {1, 4},
                                          {4, 1}, {96, 65535}, {371, 65535}};
static const uint16_t option_fields[][2] = {{1, 4}, {48, 1}, {34, 4}};

/* Templates and a rate, by either protocol. */
static void put_templates(export_packet *p, bool ipfix)
{
    size_t set = p->len;
    export_put16(p, ipfix ? 2 : 0);
    export_put16(p, 0);
    export_put16(p, 256);
    export_put16(p, UNIT_N(v4_fields));
    put_fields(p, v4_fields, UNIT_N(v4_fields));
    export_put16(p, 257);
    export_put16(p, UNIT_N(v6_fields));
    put_fields(p, v6_fields, UNIT_N(v6_fields));
    if (ipfix) {
        export_put16(p, 258);
        export_put16(p, UNIT_N(text_fields));
        put_fields(p, text_fields, UNIT_N(text_fields));
    }
    end_set(p, set);
    set = p->len;
    export_put16(p, ipfix ? 3 : 1);
    export_put16(p, 0);
    export_put16(p, 300);
    export_put16(p, ipfix ? UNIT_N(option_fields) : 4);
    export_put16(p, ipfix ? 1 : 8);
    put_fields(p, option_fields, UNIT_N(option_fields));
    end_set(p, set);
    set = p->len;
    export_put16(p, 300);
    export_put16(p, 0);
    export_put32(p, 0);
    export_put_be(p, 1, 1);
    export_put32(p, 100);
    end_set(p, set);
}

static void put_value(struct site *s, export_packet *p, uint16_t id, uint16_t len)
{
    static const char *const names[] = {"web", "mail", "a longer name of an application"};
    if (len == 65535) {
        const char *name = names[s->flow % UNIT_N(names)];
        export_put_be(p, strlen(name), 1);
        export_put(p, name, strlen(name));
    } else if (len == 4 && (id == 8 || id == 12)) {
        export_put32(p, address(s));
    } else if (len == 16) {
        export_put32(p, 0x20010db8);
        export_put32(p, 0);
        export_put32(p, 0);
        export_put32(p, address(s));
    } else if (id == 152 || id == 153) {
        export_put_be(p, UINT64_C(1700000000000) + s->flow, 8);
    } else if (id == 4 || id == 48) {
        export_put_be(p, id == 48 ? 1 : s->flow % 7 ? 6 : 1, 1);
    } else if (id == 460) {
        export_put(p, "weir.n", 6);
    } else {
        export_put_be(p, id == 34 ? 100 : 1000 + s->flow % 50, len);
    }
}

static void put_set(struct site *s, export_packet *p, unsigned id, const uint16_t (*fields)[2],
                    unsigned n)
{
    size_t set = p->len;
    export_put16(p, id);
    export_put16(p, 0);
    for (unsigned i = 0; i < 1 + s->flow % 9; i++)
        for (unsigned k = 0; k < n; k++)
            put_value(s, p, fields[k][0], fields[k][1]);
    end_set(p, set);
}

static void template_packet(struct site *s, export_packet *p, unsigned exporter, bool ipfix)
{
    export_put16(p, ipfix ? 10 : 9);
    export_put16(p, 4);
    if (!ipfix)
        export_put32(p, 1000000);
    export_put32(p, EXPORT_TIME);
    export_put32(p, (uint32_t)s->sequence[exporter]);
    export_put32(p, 1);
    if (s->packets % 50 < EXPORTERS)
        put_templates(p, ipfix);
    put_set(s, p, 256, v4_fields, UNIT_N(v4_fields));
    put_set(s, p, 257, v6_fields, UNIT_N(v6_fields));
    if (ipfix)
        put_set(s, p, 258, text_fields, UNIT_N(text_fields));
    put_set(s, p, 256, v4_fields, UNIT_N(v4_fields));
    if (ipfix)
        export_set16(p, 2, (unsigned)p->len);
    s->sequence
        [exporter]++; /* of IPFIX that is wrong: what is lost is counted, and costs nothing either */
}

static void one_packet(struct site *s, export_packet *p)
{
    unsigned exporter = s->packets % EXPORTERS;
    weir_endpoint from = {.family = 4, .port = 2055, .addr = {192, 0, 2, (uint8_t)(1 + exporter)}};
    p->len = 0;
    if (exporter == 0)
        v5_packet(s, p, exporter);
    else
        template_packet(s, p, exporter, exporter % 2);
    weir_err err;
    assert_int_equal(
        weir_decode(s->d, &from, EXPORT_NS + s->packets, p->data, p->len, &handlers, s, &err),
        WEIR_OK);
    s->packets++;
}

/* ---- the test ---- */

static void test_steady_state(void **unused)
{
    (void)unused;
    enum { WARM_UP = 30, MEASURED = 60 }; /* batches */
    struct site s = {.d = weir_decoder_new(NULL, NULL),
                     .n = flow_normaliser_new(),
                     .flows = flow_batch_new(FLOW_TABLE_FLOWS),
                     .options = flow_batch_new(FLOW_TABLE_OPTIONS)};
    export_packet p = {0};
    assert_true(s.d && s.n && s.flows && s.options);
    uint64_t rows = 0, records = 0;
    for (unsigned batch = 0; batch < WARM_UP + MEASURED; batch++) {
        uint64_t calls = heap.calls;
        for (unsigned round = 0; round < BATCH; round++) {
            for (unsigned i = 0; i < ROUND; i++)
                one_packet(&s, &p);
            assert_int_equal(flow_flush(s.n, s.flows), WEIR_OK);
        }
        rows += flow_batch_rows(s.flows);
        calls = heap.calls - calls;
        UNIT_CHECK(batch < WARM_UP || calls == 0, "batch %u of %u packets: %u allocations", batch,
                   BATCH * ROUND, (unsigned)calls);
        calls = heap.calls;
        flow_batch_reset(s.flows);
        flow_batch_reset(s.options);
        UNIT_CHECK(heap.calls == calls, "%u allocations to empty a batch",
                   (unsigned)(heap.calls - calls));
    }
    const weir_counters *n = weir_decoder_counters(s.d);
    records = n->flows;
    assert_int_equal(rows, records);
    assert_int_equal(n->decoded, s.packets);
    assert_true(n->options > 500 && n->templates_refreshed > 500 && records > 500000);
    weir_decoder_free(s.d);
    flow_normaliser_free(s.n);
    flow_batch_free(s.flows);
    flow_batch_free(s.options);
    free(p.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_steady_state)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
