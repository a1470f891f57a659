/* How complete an answer is: exact numbers and words. */
#include "unit.h"

#include "ledger_rows.h"

#include "ledger/complete.h"

#include <stdlib.h>
#include <time.h>

static flow_batch *batch;

static int set_up(void **state)
{
    (void)state;
    batch = flow_batch_new(FLOW_TABLE_LEDGER);
    return batch ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    flow_batch_free(batch);
    return 0;
}

#define ADD(...) assert_true(ledger_add(batch, __VA_ARGS__, LEDGER_END))

static int64_t at(int minute)
{
    return LEDGER_START + minute * LEDGER_MINUTE;
}

static ledger_complete read_range(int64_t from, int64_t to, ledger_about_fn *about, void *user)
{
    ledger_complete c;
    weir_err err = {0};
    weir_status st = ledger_complete_of_batch(batch, from, to, about, user, &c, &err);
    UNIT_CHECK(st == WEIR_OK, "%s", err.msg);
    return c;
}

static ledger_complete read_all(void)
{
    return read_range(INT64_MIN, INT64_MAX, NULL, NULL);
}

static void expect_text(const ledger_complete *c, size_t most, const char *want)
{
    base_buf b = {0};
    ledger_complete_text(c, most, true, &b);
    base_buf_char(&b, 0);
    assert_false(b.failed);
    assert_string_equal(b.data, want);
    base_buf_done(&b);
}

/* The collector listens all the time in minutes [from, to). */
static void runs(int from, int to)
{
    for (int i = from; i < to; i++)
        ADD(i, 0, NULL, -1, -1, LEDGER(listened, 60000000));
}

static void nothing_lost(void **state)
{
    (void)state;
    runs(0, 10);
    for (int i = 0; i < 10; i++)
        ADD(i, 0, "192.0.2.1", 7, 9, LEDGER(packets, 10), LEDGER(decoded, 10), LEDGER(flows, 220),
            LEDGER(records, 220));
    ledger_complete c = read_all();
    assert_true(c.known);
    assert_int_equal(c.flows, 2200);
    assert_true(c.lost == 0 && c.share == 1 && c.down_us == 0);
    expect_text(&c, 3, "complete");
}

/* The issue's own example. */
static void gap_and_kernel(void **state)
{
    (void)state;
    runs(0, 10);
    ADD(3, 0, NULL, -1, -1, LEDGER(kernel_drops, 310));
    for (int i = 0; i < 10; i++)
        ADD(i, 0, "192.0.2.1", 0, 5, LEDGER(packets, 500), LEDGER(decoded, 500),
            LEDGER(flows, 14930), LEDGER(sequence_lost, i == 5 ? 1204 : 0));
    ledger_complete c = read_all();
    assert_int_equal(c.flows, 149300);
    assert_true(c.lost == 1204);
    assert_false(c.estimated);
    assert_int_equal(c.packets_of[LEDGER_CAUSE_KERNEL], 310);
    assert_int_equal(c.exporters_with_loss, 1);
    assert_int_equal(c.n_losses, 1);
    assert_int_equal(c.losses[0].cause, LEDGER_CAUSE_SEQUENCE);
    assert_int_equal(c.losses[0].from_us, at(5));
    assert_int_equal(c.losses[0].to_us, at(6));
    expect_text(
        &c, 3,
        "99.2 % (exporter 192.0.2.1 lost 1,204 flows 21:05-21:06: sequence gap; 310 packets "
        "dropped by the kernel)");
}

static void unit_of_each_protocol(void **state)
{
    (void)state;
    static const struct {
        int version, lost, options;
        double want;
        bool estimated;
    } cases[] = {
        {5, 100, 0, 100, false},  {7, 100, 0, 100, false},  {9, 10, 0, 220, true},
        {10, 100, 0, 100, false}, {10, 100, 220, 50, true},
    };
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        flow_batch_reset(batch);
        ADD(0, 0, "2001:db8::1", 1, cases[i].version, LEDGER(packets, 10), LEDGER(decoded, 10),
            LEDGER(flows, 220), LEDGER(options, cases[i].options),
            LEDGER(sequence_lost, cases[i].lost));
        ledger_complete c = read_all();
        UNIT_CHECK(c.lost == cases[i].want && c.estimated == cases[i].estimated,
                   "case %zu: lost %g", i, c.lost);
    }
}

/* Packets of v9 that came late are taken from what was missing, whichever minute they came in. */
static void what_came_late(void **state)
{
    (void)state;
    ADD(0, 0, "192.0.2.1", 1, 9, LEDGER(packets, 10), LEDGER(decoded, 10), LEDGER(flows, 220),
        LEDGER(sequence_lost, 5));
    ADD(1, 0, "192.0.2.1", 1, 9, LEDGER(packets, 15), LEDGER(decoded, 15), LEDGER(flows, 300),
        LEDGER(sequence_lost, -5));
    ledger_complete c = read_all();
    assert_true(c.lost == 0);
    expect_text(&c, 3, "complete");
    /* Beyond what is asked for: nobody's gain. */
    ADD(4, 0, "192.0.2.1", 1, 9, LEDGER(packets, 10), LEDGER(decoded, 10), LEDGER(flows, 220),
        LEDGER(sequence_lost, 4));
    ADD(6, 0, "192.0.2.1", 1, 9, LEDGER(packets, 10), LEDGER(decoded, 10), LEDGER(flows, 220),
        LEDGER(sequence_lost, 2));
    ADD(9, 0, "192.0.2.1", 1, 9, LEDGER(packets, 13), LEDGER(decoded, 13), LEDGER(flows, 286),
        LEDGER(sequence_lost, -3));
    c = read_all();
    assert_true(c.lost > 65.99 && c.lost < 66.01); /* 3 packets of 22 */
    c = read_range(at(9), at(9), NULL, NULL);
    assert_true(c.lost == 0);
}

static void other_causes(void **state)
{
    (void)state;
    runs(0, 4);
    ADD(0, 0, "192.0.2.1", 1, 9, LEDGER(packets, 10), LEDGER(decoded, 8), LEDGER(expired, 2),
        LEDGER(flows, 160));
    ADD(1, 0, "192.0.2.2", 1, 10, LEDGER(packets, 10), LEDGER(decoded, 10), LEDGER(flows, 300),
        LEDGER(flows_lost, 100));
    ADD(2, 0, "192.0.2.2", 1, 10, LEDGER(packets, 10), LEDGER(decoded, 10), LEDGER(flows, 300),
        LEDGER(flows_lost, 50), LEDGER(records_rejected, 7));
    ADD(2, 0, "192.0.2.9", -1, -1, LEDGER(packets_dropped, 3));
    ADD(2, 0, "192.0.2.2", -1, -1, LEDGER(packets_dropped, 4), LEDGER(packets_refused, 1));
    ledger_complete c = read_all();
    assert_int_equal(c.flows, 160 + 200 + 250);
    /* 192.0.2.9 never got through: nothing else counts its packets, of 760 / 28 flows on average. */
    double unknown = 3 * 760.0 / 28;
    assert_true(c.lost > 40 + 150 + 7 + unknown - 0.01 && c.lost < 40 + 150 + 7 + unknown + 0.01);
    assert_int_equal(c.exporters_with_loss, 3);
    expect_text(
        &c, 2,
        "about 68.6 % (exporter 192.0.2.2 lost 150 flows 21:01-21:03: decoded but not stored; "
        "exporter 192.0.2.9 lost about 81 flows 21:02-21:03: the collector's queue was full; "
        "2 more losses; 7 packets dropped before decoding; 1 packet refused)");
    expect_text(
        &c, 9,
        "about 68.6 % (exporter 192.0.2.2 lost 150 flows 21:01-21:03: decoded but not stored; "
        "exporter 192.0.2.9 lost about 81 flows 21:02-21:03: the collector's queue was full; "
        "exporter 192.0.2.1 lost about 40 flows 21:00-21:01: their template never came; "
        "exporter 192.0.2.2 lost 7 flows 21:02-21:03: malformed; "
        "7 packets dropped before decoding; 1 packet refused)");
}

static void without_sequence_numbers(void **state)
{
    (void)state;
    ADD(0, 0, "192.0.2.1", 0, 1, LEDGER(packets, 10), LEDGER(decoded, 10), LEDGER(flows, 240));
    ledger_complete c = read_all();
    expect_text(
        &c, 3, "complete as far as known (240 flows of NetFlow v1, which has no sequence numbers)");
    ADD(1, 0, "192.0.2.1", -1, -1, LEDGER(packets_dropped, 5));
    ADD(3, 0, NULL, -1, -1, LEDGER(kernel_drops, 2));
    c = read_all();
    assert_true(c.lost == 168);
    assert_true(c.estimated);
    expect_text(
        &c, 3,
        "about 58.8 % (exporter 192.0.2.1 lost about 120 flows 21:01-21:02: the collector's "
        "queue was full; lost about 48 flows 21:03-21:04: dropped by the kernel; 2 packets "
        "dropped by the kernel; 5 packets dropped before decoding; 240 flows of NetFlow v1, "
        "which has no sequence numbers)");
}

static void collector_down(void **state)
{
    (void)state;
    runs(0, 3);
    ADD(3, 0, NULL, -1, -1, LEDGER(listened, 30000000));  /* ended half-way */
    ADD(10, 0, NULL, -1, -1, LEDGER(listened, 45000000)); /* began again */
    ADD(10, 1, NULL, -1, -1, LEDGER(listened, 44000000)); /* beside it, not behind it */
    runs(11, 20);
    ledger_complete c = read_all();
    assert_int_equal(c.down_us, (30 + 6 * 60 + 15) * 1000000);
    expect_text(&c, 3,
                "complete as far as known (the collector did not run for 6 min 45 s: 21:03-21:11)");
    /* Where it began and ended for good it was not down: nobody knows whether it should have run. */
    c = read_range(at(3), at(10) + 1, NULL, NULL);
    assert_int_equal(c.down_us, (30 + 6 * 60 + 15) * 1000000);
    c = read_range(at(5), at(7), NULL, NULL);
    assert_false(c.known);
    expect_text(&c, 3, "not known: no ledger from 21:05 to 21:07");
    c = read_range(at(11), at(30), NULL, NULL);
    assert_int_equal(c.down_us, 0);
    expect_text(&c, 3, "complete as far as known (no ledger after 21:20)");
    c = read_range(at(-30), at(2), NULL, NULL);
    expect_text(&c, 3, "complete as far as known (no ledger before 21:00)");
    c = read_range(at(11), at(22), NULL, NULL);
    expect_text(&c, 3, "complete");
}

static void workers_of_a_restart(void **state)
{
    (void)state;
    runs(0, 2);
    /* Four workers, then two: a restart of a second and a half. */
    ADD(2, 0, NULL, -1, -1, LEDGER(listened, 29000000));
    ADD(2, 0, NULL, -1, -1, LEDGER(listened, 29500000));
    ADD(2, 1, NULL, -1, -1, LEDGER(listened, 29000000));
    runs(3, 5);
    ledger_complete c = read_all();
    assert_int_equal(c.down_us, 0);
    expect_text(&c, 3, "complete");
}

/* A capture of some day and one of another one: nobody was down between. */
static void captures(void **state)
{
    (void)state;
    ADD(0, 0, NULL, -1, -1, LEDGER(packets_refused, 1));
    ADD(0, 0, "192.0.2.1", 0, 5, LEDGER(packets, 1), LEDGER(decoded, 1), LEDGER(flows, 30));
    ADD(1440, 0, "192.0.2.1", 0, 5, LEDGER(packets, 1), LEDGER(decoded, 1), LEDGER(flows, 30),
        LEDGER(sequence_lost, 1));
    ledger_complete c = read_all();
    assert_int_equal(c.down_us, 0);
    expect_text(
        &c, 3,
        "98.3 % (exporter 192.0.2.1 lost 1 flow 2026-11-23 21:00-21:01: sequence gap; 1 packet "
        "refused)");
}

static enum ledger_about not_the_second(void *user, const struct ledger_row *row)
{
    ++*(int *)user;
    return row->exporter[3] != 2 ? LEDGER_ABOUT : LEDGER_ABOUT_NOT;
}

static void only_what_was_asked_for(void **state)
{
    (void)state;
    int asked = 0;
    runs(0, 2);
    ADD(0, 0, NULL, -1, -1, LEDGER(kernel_drops, 3));
    ADD(0, 0, "192.0.2.1", 0, 5, LEDGER(packets, 1), LEDGER(decoded, 1), LEDGER(flows, 30));
    ADD(1, 0, "192.0.2.2", 0, 5, LEDGER(packets, 1), LEDGER(decoded, 1), LEDGER(flows, 30),
        LEDGER(sequence_lost, 1000));
    ledger_complete c = read_range(INT64_MIN, INT64_MAX, not_the_second, &asked);
    assert_int_equal(asked, 2);
    assert_int_equal(c.flows, 30);
    assert_true(c.lost == 0);
    expect_text(&c, 3, "complete (3 packets dropped by the kernel)");
    c = read_range(at(0), at(1) - 1, NULL, NULL);
    assert_true(c.lost == 0);
    c = read_range(at(0), at(1), NULL, NULL);
    assert_true(c.lost == 1000);
}

static enum ledger_about only_the_first(void *user, const struct ledger_row *row)
{
    (void)user;
    if (row->exporter[3] != 1)
        return LEDGER_ABOUT_NOT;
    return row->has_domain ? LEDGER_ABOUT : LEDGER_ABOUT_MAYBE;
}

/* Packets of streams that got no room, of exporters that had no row: with a question about one of them, nobody knows whose. */
static void no_room(void **state)
{
    (void)state;
    runs(0, 3);
    ADD(0, 0, "192.0.2.1", 0, 9, LEDGER(packets, 10), LEDGER(decoded, 10), LEDGER(flows, 100));
    ADD(0, 0, "192.0.2.2", 0, 9, LEDGER(packets, 10), LEDGER(decoded, 10), LEDGER(flows, 300));
    ADD(1, 0, NULL, -1, -1, LEDGER(packets, 3), LEDGER(rejected_state_limit, 2),
        LEDGER(rejected_out_of_memory, 1), LEDGER(flows, 20));
    ADD(2, 0, "192.0.2.1", -1, -1, LEDGER(packets, 5), LEDGER(rejected_state_limit, 5));
    ADD(2, 0, "192.0.2.2", -1, -1, LEDGER(packets, 9), LEDGER(rejected_short_header, 9));
    ledger_complete c = read_all();
    assert_int_equal(c.packets_of[LEDGER_CAUSE_NO_ROOM], 8);
    assert_int_equal(c.packets_of[LEDGER_CAUSE_REJECTED], 9);
    assert_int_equal(c.flows, 420);
    assert_true(c.lost > 0 && c.maybe <= 0);
    expect_text(&c, 3,
                "about 78.7 % (lost about 63 flows 21:01-21:02: no room for their exporter or "
                "stream; exporter 192.0.2.1 lost about 50 flows 21:02-21:03: no room for their "
                "exporter or stream)");
    c = read_range(INT64_MIN, INT64_MAX, only_the_first, NULL);
    assert_true(c.lost <= 0 && c.share >= 1 && c.maybe > 79 && c.maybe < 81 && c.maybe_estimated);
    assert_int_equal(c.flows, 100);
    assert_int_equal(c.exporters_with_loss, 0);
    expect_text(&c, 3,
                "complete as far as known (exporter 192.0.2.1 maybe lost about 50 flows "
                "21:02-21:03: no room for their exporter or stream; maybe lost about 30 flows "
                "21:01-21:02: no room for their exporter or stream)");
    /* What certainly is of it comes first, however little. */
    ADD(2, 0, "192.0.2.1", 0, 9, LEDGER(packets, 1), LEDGER(decoded, 1), LEDGER(flows, 10),
        LEDGER(flows_lost, 2));
    c = read_range(INT64_MIN, INT64_MAX, only_the_first, NULL);
    assert_true(c.lost > 1.9 && c.lost < 2.1 && c.maybe > 79);
    expect_text(&c, 1,
                "98.1 % (exporter 192.0.2.1 lost 2 flows 21:02-21:03: decoded but not stored; "
                "2 more losses)");
}

static void many_losses(void **state)
{
    (void)state;
    for (int i = 0; i < 300; i++) {
        char addr[16];
        (void)snprintf(addr, sizeof addr, "10.0.%d.%d", i / 100, i % 100);
        ADD(0, 0, addr, 0, 5, LEDGER(packets, 1), LEDGER(decoded, 1), LEDGER(flows, 1),
            LEDGER(sequence_lost, i + 1));
    }
    ledger_complete c = read_all();
    assert_true(c.lost == 300 * 301 / 2);
    assert_int_equal(c.n_losses, LEDGER_MAX_LOSSES);
    assert_int_equal(c.n_more, 300 - LEDGER_MAX_LOSSES);
    assert_int_equal(c.exporters_with_loss, 300);
    for (size_t i = 0; i < c.n_losses; i++)
        assert_true(c.losses[i].flows == 300 - (double)i);
    expect_text(
        &c, 1,
        "0.6 % (exporter 10.0.2.99 lost 300 flows 21:00-21:01: sequence gap; 299 more losses)");
}

static void long_gap(void **state)
{
    (void)state;
    for (int i = 0; i < 40; i++)
        ADD(i, 0, "192.0.2.1", 0, 5, LEDGER(packets, 1), LEDGER(decoded, 1), LEDGER(flows, 30),
            LEDGER(sequence_lost, i >= 10 && i < 30 ? 1 : 0));
    ledger_complete c = read_all();
    assert_int_equal(c.n_losses, 1);
    expect_text(&c, 1, "98.3 % (exporter 192.0.2.1 lost 20 flows 21:10-21:30: sequence gap)");
    /* Over midnight. */
    flow_batch_reset(batch);
    for (int i = 170; i < 190; i++)
        ADD(i, 0, "192.0.2.1", 0, 5, LEDGER(packets, 1), LEDGER(decoded, 1), LEDGER(flows, 30),
            LEDGER(sequence_lost, 30));
    c = read_all();
    expect_text(&c, 1,
                "50.0 % (exporter 192.0.2.1 lost 600 flows 2026-11-22 23:50 to 2026-11-23 00:10: "
                "sequence gap)");
}

static void shares(void **state)
{
    (void)state;
    static const struct {
        double flows, lost;
        const char *want;
    } cases[] = {
        {992, 8, "99.2"},
        {9995, 5, "99.95"},
        {9999, 1, "99.99"},
        {99999, 1, "99.999"},
        {999999, 2, "99.9998"},
        {99989, 11, "99.98"},
        {999, 1, "99.9"},
        {2, 1, "66.6"},
        {0, 1, "0.0"},
        {1, 1e9, "0.0"},
        {1e15, 1, "99.9999999999"},
        {1e19, 1, "99.999999999999"},
        {1e19, 1e-9, "99.999999999999"},
        {1, 0, "100.0"},
    };
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        char text[LEDGER_SHARE_TEXT + 1] = {0};
        (void)ledger_share_text(text, cases[i].flows, cases[i].lost);
        if (i == 10) {
            assert_int_equal(strncmp(text, "99.9999", 7), 0);
            continue;
        }
        UNIT_CHECK(strcmp(text, cases[i].want) == 0, "%g of %g lost: %s, not %s", cases[i].lost,
                   cases[i].flows, text, cases[i].want);
    }
    /* The number of programs does not say 1 either. */
    ADD(0, 0, "192.0.2.1", 0, 5, LEDGER(packets, 1), LEDGER(decoded, 1),
        LEDGER(flows, INT64_C(1) << 62), LEDGER(sequence_lost, 1));
    ledger_complete c = read_all();
    assert_true(c.share < 1);
}

static void as_json(void **state)
{
    (void)state;
    base_buf b = {0};
    runs(0, 2);
    ADD(0, 0, NULL, -1, -1, LEDGER(kernel_drops, 3));
    ADD(0, 0, "192.0.2.1", 0, 5, LEDGER(packets, 1), LEDGER(decoded, 1), LEDGER(flows, 30),
        LEDGER(sequence_lost, 10));
    ledger_complete c = read_range(at(0), at(2), NULL, NULL);
    ledger_complete_json(&c, &b);
    base_buf_char(&b, 0);
    assert_string_equal(
        b.data,
        "{\"known\":true,\"complete\":false,\"share\":0.75,\"flows\":30,\"lost\":10,"
        "\"estimated\":false,\"down_us\":0,\"unnumbered_flows\":0,\"unsure_gaps\":0,"
        "\"exporters_with_loss\":1,\"maybe_lost\":0,\"uncounted_flows\":0,\"damaged_checkpoints\":"
        "0,\"from\":\"2026-11-22T21:"
        "00:00Z\","
        "\"to\":\"2026-11-22T21:02:00Z\",\"first\":\"2026-11-22T21:00:00Z\","
        "\"last\":\"2026-11-22T21:02:00Z\",\"packets\":{\"sequence\":0,\"kernel\":3,"
        "\"queue\":0,\"template\":0,\"rejected\":0,\"refused\":0,\"no_room\":0},"
        "\"losses\":[{\"cause\":"
        "\"sequence\",\"exporter\":\"192.0.2.1\",\"from\":\"2026-11-22T21:00:00Z\",\"to\":"
        "\"2026-11-22T21:01:00Z\",\"flows\":10,\"packets\":0,\"estimated\":false,\"maybe\":false}],"
        "\"more_losses\":0}");
    base_buf_done(&b);
    b = (base_buf){0};
    c = read_range(at(50), at(60), NULL, NULL);
    ledger_complete_json(&c, &b);
    base_buf_char(&b, 0);
    assert_string_equal(b.data, "{\"known\":false,\"complete\":false,\"damaged_checkpoints\":0,"
                                "\"from\":\"2026-11-22T21:50:00Z\","
                                "\"to\":\"2026-11-22T22:00:00Z\"}");
    base_buf_done(&b);
}

/* Numbers of hostile files stay within their bounds. */
static void absurd_numbers(void **state)
{
    (void)state;
    for (int i = 0; i < 8; i++) {
        ADD(i * i, 0, "192.0.2.1", 0, 9, LEDGER(packets, -1), LEDGER(decoded, 1), LEDGER(flows, -1),
            LEDGER(sequence_lost, i % 2 ? INT64_MIN : INT64_MAX), LEDGER(expired, -1),
            LEDGER(flows_lost, -1), LEDGER(listened, -1), LEDGER(rejected_state_limit, -1));
        ADD(i * i, 0, NULL, -1, -1, LEDGER(listened, -1), LEDGER(kernel_drops, -1));
    }
    uint32_t row = flow_batch_add_rows(batch, 2);
    assert_true(flow_batch_set_u64(batch, FLOW_LEDGER_minute, row, INT64_MAX));
    assert_true(flow_batch_set_u64(batch, FLOW_LEDGER_minute, row + 1, (uint64_t)INT64_MIN));
    ledger_complete c = read_all();
    base_buf b = {0};
    ledger_complete_text(&c, 100, true, &b);
    ledger_complete_text(&c, 100, false, &b);
    ledger_complete_json(&c, &b);
    assert_true(c.share >= 0 && c.share < 1);
    assert_false(b.failed);
    base_buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing_lost, set_up, tear_down),
        cmocka_unit_test_setup_teardown(gap_and_kernel, set_up, tear_down),
        cmocka_unit_test_setup_teardown(unit_of_each_protocol, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_came_late, set_up, tear_down),
        cmocka_unit_test_setup_teardown(other_causes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_sequence_numbers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(collector_down, set_up, tear_down),
        cmocka_unit_test_setup_teardown(workers_of_a_restart, set_up, tear_down),
        cmocka_unit_test_setup_teardown(captures, set_up, tear_down),
        cmocka_unit_test_setup_teardown(only_what_was_asked_for, set_up, tear_down),
        cmocka_unit_test_setup_teardown(many_losses, set_up, tear_down),
        cmocka_unit_test_setup_teardown(long_gap, set_up, tear_down),
        cmocka_unit_test_setup_teardown(shares, set_up, tear_down),
        cmocka_unit_test_setup_teardown(no_room, set_up, tear_down),
        cmocka_unit_test_setup_teardown(as_json, set_up, tear_down),
        cmocka_unit_test_setup_teardown(absurd_numbers, set_up, tear_down),
    };
    (void)setenv("TZ", "UTC", 1);
    tzset();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
