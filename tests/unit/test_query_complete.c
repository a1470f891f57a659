/* What a filter says of the streams of the ledger, and which ledger a query asks. */
#include "unit.h"

#include "archive_dir.h"
#include "ledger_rows.h"

#include "query/complete.h"

static query_arena *arena;

static struct query_expr *parse(const char *text)
{
    struct query_filter_options o = {0};
    struct query_error where;
    struct query_expr *e = NULL;
    weir_err err = {0};
    weir_status st = query_filter_parse(arena, text, strlen(text), &o, &e, &where, &err);
    UNIT_CHECK(st == WEIR_OK, "%s: %s", text, err.msg);
    return e;
}

static int arena_up(void **state)
{
    (void)state;
    arena = query_arena_new();
    return arena ? 0 : -1;
}

static int arena_down(void **state)
{
    (void)state;
    query_arena_free(arena);
    return 0;
}

/* Against exporter 192.0.2.1, domain 7, IPFIX. */
static void three_values(void **state)
{
    (void)state;
    static const struct {
        const char *filter;
        enum query_truth want;
    } cases[] = {
        {"any", QUERY_YES},
        {"not any", QUERY_NO},
        {"proto tcp", QUERY_MAYBE},
        {"not proto tcp", QUERY_MAYBE},
        {"exporter ip 192.0.2.1", QUERY_YES},
        {"router ip 192.0.2.2", QUERY_NO},
        {"exporter = 192.0.2.0/24", QUERY_YES},
        {"exporter in [198.51.100.0/24 2001:db8::/32]", QUERY_NO},
        {"exporter in [198.51.100.0/24 192.0.2.1]", QUERY_YES},
        {"exporter contains \"2.1\"", QUERY_YES},
        {"exporter ~ \"^192[.]0[.]3\"", QUERY_NO},
        {"exporter present", QUERY_YES},
        {"exporter = field src_addr", QUERY_MAYBE},
        {"not exporter ip 192.0.2.1", QUERY_NO},
        {"not exporter ip 192.0.2.2", QUERY_YES},
        {"exporter ip 192.0.2.2 and proto tcp", QUERY_NO},
        {"proto tcp and exporter ip 192.0.2.2", QUERY_NO},
        {"exporter ip 192.0.2.2 or proto tcp", QUERY_MAYBE},
        {"exporter ip 192.0.2.1 or proto tcp", QUERY_YES},
        {"exporter ip 192.0.2.1 and proto tcp", QUERY_MAYBE},
        {"not (exporter ip 192.0.2.1 and proto tcp)", QUERY_MAYBE},
        {"not (exporter ip 192.0.2.1 or proto tcp)", QUERY_NO},
        {"not (exporter ip 192.0.2.2 or not domain = 7)", QUERY_YES},
        {"observation domain id 7", QUERY_YES},
        {"domain = 8", QUERY_NO},
        {"domain != 7", QUERY_NO},
        {"domain < 7", QUERY_NO},
        {"domain <= 7", QUERY_YES},
        {"domain in [1-6, 8-4294967295]", QUERY_NO},
        {"domain in [1-6, 7]", QUERY_YES},
        {"domain not in [1-6, 7]", QUERY_NO},
        {"domain has 5", QUERY_YES},
        {"domain has 8", QUERY_NO},
        {"protocol_version = 10", QUERY_YES},
        {"protocol_version = 9", QUERY_NO},
        {"exporter_port = 2055", QUERY_MAYBE}, /* ports are not told apart here */
        {"in if 3 and domain = 8", QUERY_NO},
        {"received > 2026-11-22", QUERY_MAYBE},
    };
    struct ledger_row row = {.exporter = {192, 0, 2, 1},
                             .exporter_len = 4,
                             .domain = 7,
                             .has_domain = true,
                             .version = 10};
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        enum query_truth got = query_truth_of(parse(cases[i].filter), &row);
        UNIT_CHECK(got == cases[i].want, "%s: %d, not %d", cases[i].filter, got, cases[i].want);
    }
    /* Packets that nobody looked at may have been of any domain; the port, where it is known; v1 has no domain. */
    row = (struct ledger_row){.exporter = {0x20, 1, 0x0d, 0xb8}, .exporter_len = 16};
    assert_int_equal(query_truth_of(parse("domain = 7"), &row), QUERY_MAYBE);
    assert_int_equal(query_truth_of(parse("protocol_version = 7"), &row), QUERY_MAYBE);
    assert_int_equal(query_truth_of(parse("exporter ip 2001:db8::"), &row), QUERY_YES);
    assert_int_equal(query_truth_of(parse("exporter = 192.0.2.0/24"), &row), QUERY_NO);
    row.exporter_port = 2055;
    assert_int_equal(query_truth_of(parse("exporter_port = 2056"), &row), QUERY_NO);
    assert_int_equal(query_truth_of(parse("exporter_port in [2000-3000]"), &row), QUERY_YES);
    row.version = 1;
    row.has_domain = true;
    assert_int_equal(query_truth_of(parse("domain = 0"), &row), QUERY_NO);
    assert_int_equal(query_truth_of(parse("not domain = 0"), &row), QUERY_YES);
}

/* ---- which ledger, which minutes ---- */

static int64_t at(int minute)
{
    return LEDGER_START + minute * LEDGER_MINUTE;
}

static void expect(const struct query *q, int64_t now, const char *want)
{
    struct query_completeness c;
    base_buf b = {0};
    query_complete_read(q, now, &c);
    query_complete_text(&c, true, &b);
    base_buf_char(&b, 0);
    assert_string_equal(b.data, want);
    base_buf_done(&b);
}

static void which_ledger(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(arena_up(NULL), 0);
    fixture_open(f);
    flow_batch *ledger = flow_batch_new(FLOW_TABLE_LEDGER),
               *flows = flow_batch_new(FLOW_TABLE_FLOWS);
    weir_err err = {0};
    for (int m = 0; m < 30; m++) {
        flow_batch_reset(ledger);
        flow_batch_reset(flows);
        assert_true(ledger_add(ledger, m, 0, NULL, -1, -1, LEDGER(listened, 60000000), LEDGER_END));
        assert_true(ledger_add(ledger, m, 0, "192.0.2.1", 7, 5, LEDGER(packets, 1),
                               LEDGER(decoded, 1), LEDGER(flows, 90),
                               LEDGER(sequence_lost, m == 12 ? 10 : 0), LEDGER_END));
        assert_int_equal(archive_writer_store(f->w, ledger, at(m) * 1000, &err), WEIR_OK);
        assert_true(rows_fill(flows, (uint64_t)m * 90, 90, at(m) * 1000, NULL));
        assert_int_equal(archive_writer_store(f->w, flows, at(m) * 1000, &err), WEIR_OK);
    }
    fixture_close(f);
    const char *path = f->dir;
    struct query q = {
        .paths = &path, .n_paths = 1, .from_us = INT64_MIN, .to_us = INT64_MAX, .filter = NULL};
    int64_t now = at(1000);
    const char *lost = "99.6 % (exporter 192.0.2.1 lost 10 flows 21:12-21:13: sequence gap)";
    expect(&q, now, lost);
    q.filter = parse("exporter ip 192.0.2.2 and src port 80");
    expect(&q, now, "complete");
    q.filter = parse("src port 80 or domain = 7");
    expect(&q, now, lost);
    q.filter = parse("any");
    /* Flows come when they have ended: up to 5 minutes behind the window count. */
    q.from_us = at(0);
    q.to_us = at(6);
    expect(&q, now, "complete");
    q.to_us = at(7);
    expect(&q, now, "99.1 % (exporter 192.0.2.1 lost 10 flows 21:12-21:13: sequence gap)");
    expect(&q, at(11), "complete"); /* in the future there is nothing */
    q.from_us = at(13);
    q.to_us = at(40);
    expect(&q, now, "complete as far as known (no ledger after 21:30)");
    q.to_us = INT64_MAX;
    expect(&q, at(32), "complete");
    expect(&q, at(60), "complete as far as known (no ledger after 21:30)");
    q.to_us = at(600);
    q.from_us = at(500);
    expect(&q, now, "not known: no ledger from 05:20 to 07:00");

    /* Files by name: the minutes in which their rows came. */
    q.from_us = INT64_MIN;
    q.to_us = INT64_MAX;
    q.range_from = "20261122T2110";
    q.range_to = "20261122T2110";
    expect(&q, now, "97.8 % (exporter 192.0.2.1 lost 10 flows 21:12-21:13: sequence gap)");
    q.range_from = "20261122T2115";
    q.range_to = NULL;
    expect(&q, now, "complete");
    q.range_from = NULL;
    char file[512] = "", copy[512];
    assert_true(fixture_find(f->dir, ".parquet", file, sizeof file) > 1); /* the last one */
    path = file;
    expect(&q, now, "complete");
    (void)snprintf(copy, sizeof copy, "%s/flows", f->dir);
    path = copy;
    expect(&q, now, lost);
    (void)snprintf(copy, sizeof copy, "%s/flows/date=2026-11-22/", f->dir);
    expect(&q, now, lost);

    /* No archive: nothing is known, of all. */
    (void)snprintf(copy, sizeof copy, "%s/elsewhere.parquet", f->dir);
    assert_int_equal(rename(file, copy), 0);
    expect(&q, now, "not known: no ledger beside these files");
    const char *both[] = {f->dir, copy};
    q.paths = both;
    q.n_paths = 2;
    expect(&q, now, "not known: no ledger beside these files");
    both[1] = f->dir; /* twice the same is once; and it lacks a file */
    expect(&q, now,
           "83.0 % (lost 450 flows 21:25-21:30: counted, but not in the archive; "
           "exporter 192.0.2.1 lost 10 flows 21:12-21:13: sequence gap)");

    struct query_completeness c = {.what = QUERY_COMPLETE_NO_LEDGER};
    base_buf b = {0};
    query_complete_json(&c, &b);
    base_buf_char(&b, 0);
    assert_string_equal(b.data, "{\"known\":false,\"complete\":false,\"reason\":\"no ledger beside "
                                "these files\"}");
    base_buf_done(&b);
    flow_batch_free(ledger);
    flow_batch_free(flows);
    assert_int_equal(arena_down(NULL), 0);
}

/* A collector that was killed and is started hours later stores its last minutes then. */
static void stored_late(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(arena_up(NULL), 0);
    fixture_open(f);
    flow_batch *ledger = flow_batch_new(FLOW_TABLE_LEDGER),
               *flows = flow_batch_new(FLOW_TABLE_FLOWS);
    weir_err err = {0};
    for (int m = 0; m < 300; m += m < 9 ? 1 : 146) {
        if (m != 9)
            assert_true(ledger_add(ledger, m, 0, "192.0.2.1", 7, 5, LEDGER(packets, 1),
                                   LEDGER(decoded, 1), LEDGER(flows, 90), LEDGER_END));
        if (m == 155)
            assert_true(ledger_add(ledger, 9, 0, "192.0.2.1", 7, 5, LEDGER(packets, 1),
                                   LEDGER(decoded, 1), LEDGER(flows, 90), LEDGER_END));
        assert_int_equal(archive_writer_store(f->w, ledger, at(m) * 1000, &err), WEIR_OK);
        assert_true(rows_fill(flows, (uint64_t)m * 90, 90, at(m) * 1000, NULL));
        assert_int_equal(archive_writer_store(f->w, flows, at(m) * 1000, &err), WEIR_OK);
        flow_batch_reset(ledger);
        flow_batch_reset(flows);
    }
    fixture_close(f);
    const char *path = f->dir;
    struct query q = {
        .paths = &path, .n_paths = 1, .from_us = INT64_MIN, .to_us = INT64_MAX, .filter = NULL};
    expect(&q, at(1000), "complete");
    q.from_us = at(2);
    q.to_us = at(11);
    expect(&q, at(1000), "complete");
    flow_batch_free(ledger);
    flow_batch_free(flows);
    assert_int_equal(arena_down(NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(three_values, arena_up, arena_down),
        cmocka_unit_test_setup_teardown(which_ledger, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(stored_late, fixture_set_up, fixture_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
