#include "ledger/exporters.h"

#include "flow/batch.h"

#include "ledger_rows.h"
#include "unit.h"

enum { SECOND = 1000000 };

static const int64_t START = LEDGER_START;

/* What `weir exporters` makes of the rows of a batch, of each worker by itself. */
static ledger_exporters *look(flow_batch *b)
{
    weir_err err = {0};
    struct ledger_range all = {.from_us = INT64_MIN, .to_us = INT64_MAX, .by_worker = true};
    ledger_exporters *x = ledger_exporters_new(false);
    assert_non_null(x);
    assert_int_equal(ledger_each_of_batch(b, &all, ledger_exporters_row, x, &err), WEIR_OK);
    assert_int_equal(ledger_exporters_end(x, LEDGER_ORDER_FLOWS, &err), WEIR_OK);
    flow_batch_free(b);
    return x;
}

static flow_batch *rows(void)
{
    flow_batch *b = flow_batch_new(FLOW_TABLE_LEDGER);
    assert_non_null(b);
    return b;
}

/* A worker's own row: it has listened for `us`, up to second `last` of minute 0. */
static void listened(flow_batch *b, unsigned worker, int64_t us, int64_t last)
{
    assert_true(ledger_add(b, 0, worker, NULL, -1, -1, LEDGER(listened, us),
                           LEDGER(last, START + last * SECOND), LEDGER_END));
}

static void heard(flow_batch *b, unsigned worker, int64_t first, int64_t last)
{
    assert_true(ledger_add(b, 0, worker, "192.0.2.1", 1, 9, LEDGER(first, START + first * SECOND),
                           LEDGER(last, START + last * SECOND), LEDGER(packets, 5),
                           LEDGER(decoded, 5), LEDGER(flows, 100), LEDGER_END));
}

static void expect(ledger_exporters *x, int64_t first, int64_t last, int64_t us, uint64_t workers)
{
    const struct ledger_collector *c = ledger_exporters_collector(x);
    assert_int_equal(c->first_us - START, first * SECOND);
    assert_int_equal(c->last_us - START, last * SECOND);
    assert_int_equal(c->listened_us, us);
    assert_int_equal(c->workers, workers);
    ledger_exporters_free(x);
}

/* Two workers listened from 31 to 40 and, started again, from 44 to 53: their sums alone say from 35 on. */
static void started_again_within_a_minute(void **state)
{
    (void)state;
    flow_batch *b = rows();
    for (unsigned w = 0; w < 2; w++) {
        listened(b, w, 9 * SECOND, 40);
        heard(b, w, 33 + w, 36);
        listened(b, w, 9 * SECOND, 53);
        heard(b, w, 46, 49);
    }
    expect(look(b), 33, 53, 18 * SECOND, 2);

    /* Where a part says since when it counts, that is it. */
    b = rows();
    assert_true(ledger_add(b, 0, 0, NULL, -1, -1, LEDGER(listened, 9 * SECOND),
                           LEDGER(first, START + 31 * SECOND), LEDGER(last, START + 40 * SECOND),
                           LEDGER_END));
    heard(b, 0, 33, 36);
    assert_true(ledger_add(b, 0, 0, NULL, -1, -1, LEDGER(listened, 9 * SECOND),
                           LEDGER(first, START + 44 * SECOND), LEDGER(last, START + 53 * SECOND),
                           LEDGER_END));
    expect(look(b), 31, 53, 18 * SECOND, 1);

    /* And not what its sum says, which may be of a moment later. */
    b = rows();
    assert_true(ledger_add(b, 0, 0, NULL, -1, -1, LEDGER(listened, 9 * SECOND + 900000),
                           LEDGER(first, START + 31 * SECOND), LEDGER(last, START + 40 * SECOND),
                           LEDGER_END));
    expect(look(b), 31, 40, 9 * SECOND, 1);
}

/* With another number of workers than before, the one that listened longest says for how long somebody did. */
static void started_again_with_fewer_workers(void **state)
{
    (void)state;
    flow_batch *b = rows();
    listened(b, 0, 8 * SECOND, 10);
    listened(b, 1, 8 * SECOND, 10);
    heard(b, 1, 2, 9);
    listened(b, 0, 6 * SECOND, 20);
    expect(look(b), 2, 20, 14 * SECOND, 2);
}

/* Up to when a part counts is known a second late: nobody listens for longer than has passed. */
static void never_longer_than_has_passed(void **state)
{
    (void)state;
    flow_batch *b = rows();
    listened(b, 0, 14 * SECOND, 13);
    listened(b, 1, 14 * SECOND, 13);
    expect(look(b), 0, 13, 13 * SECOND, 2);
}

/* Minutes of captures are whole. */
static void captures(void **state)
{
    (void)state;
    flow_batch *b = rows();
    heard(b, 0, 33, 36);
    expect(look(b), 0, 60, 0, 0);
}

static void sums_of_an_exporter(void **state)
{
    (void)state;
    flow_batch *b = rows();
    for (int minute = 0; minute < 3; minute++)
        for (int domain = 1; domain <= 2; domain++)
            assert_true(
                ledger_add(b, minute, 0, domain == 1 ? "192.0.2.1" : "192.0.2.2", domain, 5,
                           LEDGER(packets, 10), LEDGER(decoded, 10), LEDGER(flows, domain * 100),
                           LEDGER(sequence_lost, domain == 1 && minute == 1 ? 25 : 0), LEDGER_END));
    ledger_exporters *x = look(b);
    assert_int_equal(ledger_exporters_count(x), 2);
    const struct ledger_exporter *e = ledger_exporters_at(x, 0); /* most flows first */
    assert_int_equal(e->exporter[3], 2);
    assert_int_equal(ledger_count(&e->sum, FLOW_LEDGER_flows), 600);
    assert_true(e->lost <= 0 && e->share >= 1);
    e = ledger_exporters_at(x, 1);
    assert_int_equal(ledger_count(&e->sum, FLOW_LEDGER_flows), 300);
    assert_true(e->lost >= 25 && e->lost <= 25 && !e->estimated && e->numbered);
    assert_int_equal(e->domain, 1);
    ledger_exporters_free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(started_again_within_a_minute),
        cmocka_unit_test(started_again_with_fewer_workers),
        cmocka_unit_test(never_longer_than_has_passed),
        cmocka_unit_test(captures),
        cmocka_unit_test(sums_of_an_exporter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
