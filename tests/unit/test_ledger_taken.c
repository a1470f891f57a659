/* Parts of checkpoints that the ledger has already: from its rows, and what of an account is taken up beside an archive. */
#include "unit.h"

#include "archive_dir.h"
#include "ledger_rows.h"

#include "base/hash.h"
#include "ledger/account.h"

static const int64_t M = 60000000;

static void latest_of_each(void **state)
{
    (void)state;
    ledger_taken *t = ledger_taken_new(NULL);
    assert_non_null(t);
    assert_false(ledger_taken_has(t, 0, 0, INT64_MIN));
    assert_false(ledger_taken_is_behind(t, INT64_MIN, 0, INT64_MIN));
    /* In any order; minutes 0 to 99 of workers 0 to 2, the later one of each counts. */
    for (int i = 0; i < 600; i++) {
        int at = i * 7 % 600, minute = at % 100, worker = at / 100 % 3, half = at / 300;
        assert_true(ledger_taken_add(t, minute * M, (uint16_t)worker, minute * M + half * M / 2));
    }
    for (int minute = 0; minute < 100; minute++)
        for (uint16_t worker = 0; worker < 3; worker++) {
            assert_true(ledger_taken_has(t, minute * M, worker, minute * M));
            assert_true(ledger_taken_has(t, minute * M, worker, minute * M + M / 2));
            assert_false(ledger_taken_has(t, minute * M, worker, minute * M + M / 2 + 1));
            assert_true(ledger_taken_is_behind(t, minute * M, worker, minute * M + M / 2 - 1));
            assert_int_equal(ledger_taken_is_behind(t, minute * M, worker, minute * M + M / 2),
                             minute < 99);
        }
    /* The same again and again takes no room. */
    for (int i = 0; i < 100000; i++)
        assert_true(ledger_taken_add(t, i * 37 % 100 * M, (uint16_t)(i % 3), 0));
    assert_true(ledger_taken_has(t, 7 * M, 2, 7 * M + M / 2));
    assert_false(ledger_taken_has(t, 7 * M, 2, 7 * M + M / 2 + 1));
    assert_false(ledger_taken_has(t, 5 * M, 3, 0));
    assert_false(ledger_taken_is_behind(t, 5 * M, 3, 0)); /* a worker of whom nothing is known */
    assert_false(ledger_taken_has(t, 100 * M, 0, 0));
    assert_int_equal(ledger_taken_since(t, 0, NULL), WEIR_OK);
    ledger_taken_free(t);
    ledger_taken_free(NULL);
}

static void own_row(flow_batch *b, int minute, unsigned worker, int64_t second)
{
    assert_true(ledger_add(b, minute, worker, NULL, -1, -1, LEDGER(listened, 1000000),
                           LEDGER(last, LEDGER_START + minute * LEDGER_MINUTE + second * 1000000),
                           LEDGER_END));
}

static void exporter_row(flow_batch *b, int minute, unsigned worker, int64_t flows)
{
    assert_true(ledger_add(b, minute, worker, "192.0.2.1", 7, 5, LEDGER(flows, flows), LEDGER_END));
}

static void parts(void **state)
{
    (void)state;
    flow_batch *b = flow_batch_new(FLOW_TABLE_LEDGER);
    struct ledger_part p;
    assert_false(ledger_part_at(b, 0, &p));
    exporter_row(b, 3, 1, 10);
    exporter_row(b, 3, 1, 10);
    own_row(b, 3, 1, 60);
    own_row(b, 4, 1, 20);
    exporter_row(b, 4, 1, 10); /* nobody ends it */
    assert_true(ledger_part_at(b, 0, &p));
    assert_true(p.from == 0 && p.to == 3 && p.worker == 1 && p.has_minute);
    assert_int_equal(p.minute_us, LEDGER_START + 3 * LEDGER_MINUTE);
    assert_int_equal(p.last_us, LEDGER_START + 4 * LEDGER_MINUTE);
    assert_true(ledger_part_at(b, 3, &p));
    assert_true(p.from == 3 && p.to == 4);
    assert_false(ledger_part_at(b, 4, &p));
    flow_batch_free(b);
}

/* ---- beside an archive ---- */

/* As ledger_account_save has it: rows, and what follows for who goes on. */
static void account_of(const flow_batch *rows, const flow_batch *following, base_buf *out)
{
    base_buf saved = {0};
    flow_batch_save(rows, 0, &saved);
    base_buf_add(out, "WEIRACC2", 8);
    base_buf_u64(out, saved.len);
    base_buf_add(out, saved.data, saved.len);
    flow_batch_save(following, 0, out);
    base_buf_u64(out, base_hash(out->data, out->len, 0));
    assert_false(out->failed || saved.failed);
    base_buf_done(&saved);
}

struct sums {
    uint64_t flows, listened;
    int64_t waiting;
};

/* What a new account has of it. */
static struct sums resume(const char *dir, const base_buf *saved, bool want_stale)
{
    weir_decoder *d = weir_decoder_new(NULL, NULL);
    ledger_account *a = ledger_account_new(d, 0);
    flow_batch *got = flow_batch_new(FLOW_TABLE_LEDGER);
    ledger_taken *t = ledger_taken_new(dir);
    weir_err err = {0};
    bool stale = !want_stale;
    assert_true(a && got && t);
    weir_status s =
        ledger_account_resume(NULL, (const uint8_t *)saved->data, saved->len, t, &stale, &err);
    UNIT_CHECK(s == WEIR_OK && stale == want_stale, "%d %s", stale, err.msg);
    assert_false(ledger_account_ready(a));
    s = ledger_account_resume(a, (const uint8_t *)saved->data, saved->len, t, &stale, &err);
    UNIT_CHECK(s == WEIR_OK && stale == want_stale, "%d %s", stale, err.msg);
    assert_int_equal(ledger_account_rows(a, got, &err), WEIR_OK);
    struct sums out = {0};
    struct flow_vec flows, listened, waiting;
    flow_batch_vec(got, FLOW_LEDGER_flows, &flows);
    flow_batch_vec(got, FLOW_LEDGER_listened, &listened);
    flow_batch_vec(got, FLOW_LEDGER_waiting, &waiting);
    for (uint32_t i = 0; i < flow_batch_rows(got); i++) {
        out.flows += i < flows.n ? ((const uint64_t *)flows.values)[i] : 0;
        out.listened += i < listened.n ? ((const uint64_t *)listened.values)[i] : 0;
        out.waiting += i < waiting.n ? ((const int64_t *)waiting.values)[i] : 0;
    }
    ledger_taken_free(t);
    ledger_account_free(a);
    weir_decoder_free(d);
    flow_batch_free(got);
    return out;
}

static void beside_an_archive(void **state)
{
    struct fixture *f = *state;
    flow_batch *b = flow_batch_new(FLOW_TABLE_LEDGER), *later = flow_batch_new(FLOW_TABLE_LEDGER);
    base_buf saved = {0}, damaged = {0};
    weir_err err = {0};
    /* A checkpoint of worker 0: all of minute 2, minute 3 up to second 20; 4 packets wait. */
    exporter_row(b, 2, 0, 1000);
    own_row(b, 2, 0, 60);
    exporter_row(b, 3, 0, 300);
    own_row(b, 3, 0, 20);
    assert_true(ledger_add(later, 3, 0, "192.0.2.1", 7, 5, LEDGER(waiting, -4), LEDGER(expired, 4),
                           LEDGER_END));
    account_of(b, later, &saved);

    /* Nothing is stored of it, or by another worker: all of it counts. */
    struct sums s = resume(f->dir, &saved, false);
    assert_true(s.flows == 1300 && s.listened == 2000000 && s.waiting == -4);
    fixture_open(f);
    flow_batch_reset(b);
    exporter_row(b, 2, 1, 77);
    own_row(b, 2, 1, 60);
    own_row(b, 9, 1, 60);
    assert_int_equal(archive_writer_store(f->w, b, (LEDGER_START + M) * 1000, &err), WEIR_OK);
    s = resume(f->dir, &saved, false);
    assert_true(s.flows == 1300 && s.waiting == -4);

    /* The first minute is stored, as it happens when the collector is killed between two stores. */
    flow_batch_reset(b);
    exporter_row(b, 2, 0, 1000);
    own_row(b, 2, 0, 60);
    assert_int_equal(archive_writer_store(f->w, b, (LEDGER_START + M) * 1000, &err), WEIR_OK);
    s = resume(f->dir, &saved, false);
    assert_true(s.flows == 300 && s.listened == 1000000 && s.waiting == -4);

    /* All of it, up to the same moment; then up to a later one: it was of long ago, and what waited then is known by now. */
    flow_batch_reset(b);
    exporter_row(b, 3, 0, 300);
    own_row(b, 3, 0, 20);
    assert_int_equal(archive_writer_store(f->w, b, (LEDGER_START + M) * 1000, &err), WEIR_OK);
    s = resume(f->dir, &saved, false);
    assert_true(s.flows == 0 && s.listened == 0 && s.waiting == -4);
    flow_batch_reset(b);
    own_row(b, 3, 0, 30);
    assert_int_equal(archive_writer_store(f->w, b, (LEDGER_START + M) * 1000, &err), WEIR_OK);
    fixture_close(f);
    s = resume(f->dir, &saved, true);
    assert_true(s.flows == 0 && s.listened == 0 && s.waiting == 0);

    /* One in the middle. */
    base_buf_reset(&saved);
    flow_batch_reset(b);
    flow_batch_reset(later);
    for (int m = 20; m < 25; m++) {
        exporter_row(b, m, 5, INT64_C(1) << (m - 20));
        own_row(b, m, 5, 60);
    }
    account_of(b, later, &saved);
    flow_batch_reset(b);
    own_row(b, 21, 5, 60);
    own_row(b, 22, 5, 59);
    own_row(b, 23, 5, 60);
    fixture_open(f);
    assert_int_equal(archive_writer_store(f->w, b, (LEDGER_START + 90 * M) * 1000, &err), WEIR_OK);
    s = resume(f->dir, &saved, false);
    assert_true(s.flows == 1 + 4 + 16 && s.listened == 3000000);
    fixture_close(f);

    /* Damaged octets. */
    ledger_taken *t = ledger_taken_new(f->dir);
    bool stale;
    base_buf_add(&damaged, saved.data, saved.len);
    damaged.data[saved.len / 2] ^= 1;
    assert_int_equal(
        ledger_account_resume(NULL, (const uint8_t *)damaged.data, damaged.len, t, &stale, &err),
        WEIR_EFORMAT);
    assert_false(stale);
    ledger_taken_free(t);
    flow_batch_free(b);
    flow_batch_free(later);
    base_buf_done(&saved);
    base_buf_done(&damaged);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(latest_of_each),
        cmocka_unit_test(parts),
        cmocka_unit_test_setup_teardown(beside_an_archive, fixture_set_up, fixture_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
