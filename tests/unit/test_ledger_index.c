#include "ledger/index.h"

#include <string.h>

#include "unit.h"

/* Numbers follow each other, stay, and are those of their keys. */
static void numbers(void **state)
{
    (void)state;
    enum { N = 5000 };
    ledger_index x;
    ledger_index_init(&x, sizeof(uint64_t));
    for (int turn = 0; turn < 2; turn++) {
        uint64_t key = 0;
        assert_int_equal(ledger_index_find(&x, &key), LEDGER_INDEX_NONE);
        for (uint32_t i = 0; i < N; i++) {
            key = i * UINT64_C(0x9e3779b97f4a7c15) + (uint64_t)turn;
            assert_int_equal(ledger_index_find(&x, &key), LEDGER_INDEX_NONE);
            assert_int_equal(ledger_index_add(&x, &key), i);
            assert_int_equal(ledger_index_add(&x, &key), i);
            assert_int_equal(x.n, i + 1);
        }
        for (uint32_t i = 0; i < N; i++) {
            key = i * UINT64_C(0x9e3779b97f4a7c15) + (uint64_t)turn;
            assert_int_equal(ledger_index_find(&x, &key), i);
        }
        ledger_index_clear(&x);
        assert_int_equal(ledger_index_find(&x, &key), LEDGER_INDEX_NONE);
    }
    ledger_index_done(&x);
    ledger_index_done(&x);
    assert_int_equal(x.n, 0);
}

/* What tells streams apart is in their keys, and nothing else is. */
static void stream_keys(void **state)
{
    (void)state;
    struct ledger_row rows[6] = {
        {.exporter = {192, 0, 2, 1}, .exporter_len = 4, .has_domain = true, .version = 9}};
    for (size_t i = 1; i < ARRAY_LEN(rows); i++)
        rows[i] = rows[0];
    rows[1].exporter[3] = 2;
    rows[2].exporter_len = 16;
    rows[3].exporter_port = 5;
    rows[4].has_domain = false;
    rows[5].version = 10;
    ledger_index x;
    ledger_index_init(&x, sizeof(struct ledger_stream_key));
    for (int turn = 0; turn < 2; turn++)
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
            rows[i].minute_us += 60000000; /* another minute, another worker: the same stream */
            rows[i].worker++;
            struct ledger_stream_key k = ledger_stream_key_of(&rows[i]);
            assert_int_equal(ledger_index_add(&x, &k), i);
        }
    rows[4].domain = 7; /* that it does not have */
    struct ledger_stream_key k = ledger_stream_key_of(&rows[4]);
    assert_int_equal(ledger_index_find(&x, &k), 4);
    rows[0].domain = 7;
    k = ledger_stream_key_of(&rows[0]);
    assert_int_equal(ledger_index_find(&x, &k), LEDGER_INDEX_NONE);
    ledger_index_done(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers),
        cmocka_unit_test(stream_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
