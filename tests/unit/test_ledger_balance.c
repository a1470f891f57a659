/* What an archive has against what its ledger counts: spans, and what is a matter of a moment. */
#include "unit.h"

#include "ledger/balance.h"

#include <stdlib.h>

#define MIN INT64_C(60000000)
#define SEC INT64_C(1000000)
#define DAY INT64_C(1795381200000000)

static struct ledger_stored files[32];
static struct ledger_minute minutes[64];
static struct ledger_books books;
static size_t n_minutes;
static struct ledger_span *spans;
static size_t n;

static int set_up(void **state)
{
    (void)state;
    books = (struct ledger_books){.files = files, .until_us = INT64_MAX, .since_us = INT64_MIN};
    n_minutes = 0;
    return 0;
}

/* A file of the slot [from, to) minutes. */
static void file(int from, int to, uint64_t rows)
{
    files[books.n_files++] = (struct ledger_stored){
        DAY + from * MIN, DAY + to * MIN, DAY + from * MIN + SEC, DAY + to * MIN - SEC, rows, true};
}

static void count(int minute, int64_t flows)
{
    minutes[n_minutes++] = (struct ledger_minute){DAY + minute * MIN, flows, flows};
}

static void balance_within(int64_t from, int64_t to)
{
    free(spans);
    assert_true(ledger_balance(&books, minutes, n_minutes, from, to, &spans, &n));
}

static void balance(void)
{
    balance_within(INT64_MIN, INT64_MAX);
}

/* One for each span: its minutes, what is stored more than counted. */
static void expect(size_t want, const int64_t (*what)[3])
{
    assert_int_equal(n, want);
    for (size_t i = 0; i < want; i++)
        UNIT_CHECK((spans[i].from_us - DAY) / MIN == what[i][0] &&
                       (spans[i].to_us - DAY) / MIN == what[i][1] && spans[i].more == what[i][2],
                   "span %zu: %lld-%lld, %lld", i, (long long)((spans[i].from_us - DAY) / MIN),
                   (long long)((spans[i].to_us - DAY) / MIN), (long long)spans[i].more);
}
#define EXPECT(...)                                                                                \
    do {                                                                                           \
        static const int64_t what[][3] = {__VA_ARGS__};                                            \
        expect(UNIT_N(what), what);                                                                \
    } while (0)

static void nothing(void **state)
{
    (void)state;
    balance();
    assert_int_equal(n, 0);
    count(3, 0); /* nothing was sent in it */
    balance();
    assert_int_equal(n, 0);
}

static void slots_by_themselves(void **state)
{
    (void)state;
    /* Two workers, in any order; a minute may come several times. */
    file(5, 10, 20);
    file(0, 5, 30);
    file(0, 5, 12);
    file(10, 15, 4000);
    count(7, 12);
    count(0, 20);
    count(4, 22);
    count(7, 8);
    count(12, 5000);
    balance();
    EXPECT({0, 5, 0}, {5, 10, 0}, {10, 15, -1000});
    assert_int_equal(spans[0].stored, 42);
    assert_int_equal(spans[0].n_files, 2);
    assert_int_equal(spans[1].counted_from_us, DAY + 7 * MIN);
    assert_int_equal(spans[1].counted_to_us, DAY + 8 * MIN);
}

static void one_side_alone(void **state)
{
    (void)state;
    count(0, 5);
    count(1, 5);
    file(10, 15, 7);
    count(20, 9);
    balance();
    EXPECT({0, 1, -5}, {1, 2, -5}, {10, 15, 7}, {20, 21, -9});
    assert_int_equal(spans[0].n_files, 0);
    assert_int_equal(spans[2].counted, 0);
    assert_int_equal(spans[2].counted_to_us, spans[2].counted_from_us);
}

/* Rows that waited, of a slot before: the file reaches into it, and both are one span. */
static void files_that_reach_back(void **state)
{
    (void)state;
    file(0, 5, 100);
    file(5, 10, 60);
    files[1].from_us = DAY + 4 * MIN + 30 * SEC;
    count(2, 90);
    count(6, 70);
    balance();
    EXPECT({0, 10, 0});
    /* Not on whole minutes: minutes that they touch are theirs. */
    books.n_files = 0;
    file(0, 5, 160);
    files[0].to_us = DAY + 6 * MIN + SEC;
    balance();
    EXPECT({0, 7, 0});
}

static void a_moment_between(void **state)
{
    (void)state;
    /* The last packet of a slot, which was counted in the next minute; and the other way round. */
    file(0, 5, 1030);
    file(5, 10, 970);
    count(4, 1000);
    count(5, 1000);
    balance();
    EXPECT({0, 5, 0}, {5, 10, 0});
    files[0].rows = 970;
    files[1].rows = 1030;
    balance();
    EXPECT({0, 5, 0}, {5, 10, 0});
    /* Also where there is nothing else on one side. */
    books.n_files = n_minutes = 0;
    file(0, 5, 130);
    count(4, 100);
    count(5, 30);
    balance();
    EXPECT({0, 5, 0}, {5, 6, 0});
    /* What is missing besides is missing. */
    files[0].rows = 100;
    balance();
    EXPECT({0, 5, 0}, {5, 6, -30});
    /* As much as some seconds bring, not more: an hour's account in the place of another's is none of it. */
    books.n_files = n_minutes = 0;
    file(0, 5, 90000);
    file(5, 10, 30000);
    count(4, 60000);
    count(5, 60000);
    balance();
    EXPECT({0, 5, 30000 - 10128}, {5, 10, -(30000 - 10128)});
    /* Nor between spans that do not touch. */
    books.n_files = n_minutes = 0;
    file(0, 5, 70);
    file(10, 15, 50);
    count(4, 60);
    count(10, 60);
    balance();
    EXPECT({0, 5, 10}, {10, 15, -10});
}

static void reach(void **state)
{
    (void)state;
    file(0, 5, 1);
    file(5, 10, 1);
    file(10, 15, 1);
    file(20, 80, 1);
    int64_t from = DAY + 12 * MIN, to = DAY + 13 * MIN;
    ledger_balance_reach(&books, &from, &to);
    assert_int_equal(from, DAY + 5 * MIN);
    assert_int_equal(to, DAY + 80 * MIN - 1);
    /* Of a span that is not wholly within what was read, and what is counted in it, nothing is known. */
    count(14, 1);
    count(19, 5);
    count(20, 5);
    count(9, 4);
    balance_within(DAY + 10 * MIN, DAY + 19 * MIN);
    EXPECT({10, 15, 0}, {19, 20, -5});
    from = INT64_MIN;
    to = INT64_MAX;
    ledger_balance_reach(&books, &from, &to);
    assert_true(from == INT64_MIN && to == INT64_MAX);
    from = DAY - 5 * MIN;
    to = DAY - MIN;
    ledger_balance_reach(&books, &from, &to);
    assert_true(from == DAY - 5 * MIN && to == DAY - MIN);
    books.n_files = 0;
    ledger_balance_reach(&books, &from, &to);
    assert_true(from == DAY - 5 * MIN && to == DAY - MIN);
}

static void which_are_asked_for(void **state)
{
    (void)state;
    file(0, 5, 1);
    file(0, 5, 1);
    file(5, 10, 1);
    files[1].asked = false;
    balance();
    assert_int_equal(n, 2);
    assert_false(spans[0].asked);
    assert_true(spans[1].asked);
}

static void absurd_numbers(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        file(0, 5, UINT64_MAX);
        count(i % 3, i % 2 ? INT64_MAX / 2 : INT64_MIN / 2);
        count(50 + i, INT64_MAX / 2);
    }
    files[0].from_us = -INT64_MAX / 4;
    files[1].to_us = INT64_MAX / 4;
    balance();
    assert_true(n >= 1);
}

static int tear_down(void **state)
{
    (void)state;
    free(spans);
    spans = NULL;
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(slots_by_themselves, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_side_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(files_that_reach_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_moment_between, set_up, tear_down),
        cmocka_unit_test_setup_teardown(reach, set_up, tear_down),
        cmocka_unit_test_setup_teardown(which_are_asked_for, set_up, tear_down),
        cmocka_unit_test_setup_teardown(absurd_numbers, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
