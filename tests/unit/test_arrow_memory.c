/* Arrow batches when memory runs out: each allocation fails once. What was not handed over is as before, and nothing leaks. */
#include "archive_rows.h"
#include "arrow_cells.h"
#include "heap.h"
#include "unit.h"

#include "arrow/columns.h"
#include "arrow/gather.h"

enum { MOST = 2000 }; /* allocations of one call */

static flow_batch *filled(void)
{
    flow_batch *b = flow_batch_new(FLOW_TABLE_FLOWS);
    assert_true(rows_fill(b, 0, 100, ROWS_START, "xnumber"));
    uint32_t label = 7, flag = flow_batch_extra(b, "xflag", FLOW_TYPE_BOOL, false);
    assert_true(flow_batch_list(b, FLOW_mpls_labels, 3, &label, 1));
    assert_true(flow_batch_set_u64(b, flag, 5, 1));
    return b;
}

static void test_take(void **state)
{
    (void)state;
    static const char *const names[] = {"src_addr", "bytes", "e9_30", "mpls_labels"};
    for (int named = 0; named < 2; named++) {
        bool over = false;
        for (uint64_t k = 1; k < MOST && !over; k++) {
            size_t live = heap.live;
            struct arrow_columns columns = {.types = NULL};
            flow_batch *b = filled();
            struct ArrowSchema schema = {.release = NULL};
            struct ArrowArray array = {.release = NULL};
            weir_err err = {0};
            heap.fail_at = heap.calls + k;
            weir_status s = WEIR_OK;
            if (named)
                s = arrow_columns_named(&columns, FLOW_TABLE_FLOWS, names, UNIT_N(names), NULL,
                                        &err);
            if (s == WEIR_OK)
                s = arrow_columns_take(named ? &columns : NULL, b, &schema, &array, &err);
            over = heap.calls < heap.fail_at;
            heap.fail_at = 0;
            if (s == WEIR_OK) {
                arrow_check(&schema, &array);
                assert_int_equal(array.length, 100);
                array.release(&array);
                schema.release(&schema);
            } else {
                assert_int_equal(s, WEIR_ENOMEM);
                assert_int_equal(err.code, WEIR_ENOMEM);
                /* Once more, with memory: all rows are there. */
                assert_int_equal(flow_batch_rows(b), 100);
                assert_int_equal(arrow_columns_take(NULL, b, &schema, &array, &err), WEIR_OK);
                arrow_check(&schema, &array);
                array.release(&array);
                schema.release(&schema);
            }
            arrow_columns_done(&columns);
            UNIT_CHECK(heap.live == live, "allocation %d: %d octets are left", (int)k,
                       (int)(heap.live - live));
        }
        assert_true(over);
    }
}

static void test_gather(void **state)
{
    (void)state;
    static const struct query_text texts[] = {{"a", 1}, {"\xff", 1}};
    static const uint32_t codes[] = {0, 1, 0}, starts[] = {0, 1, 1, 3};
    static const uint64_t numbers[] = {1, 2, 3};
    const struct query_field fields[] = {query_field_column(FLOW_src_addr),
                                         query_field_column(FLOW_bytes),
                                         query_field_column(FLOW_mpls_labels)};
    const struct query_vec vecs[] = {
        {.kind = QUERY_TEXT, .codes = codes, .dict = texts, .n_dict = 2},
        {.kind = QUERY_U64, .num = numbers},
        {.kind = QUERY_U64_LIST, .num = numbers, .starts = starts}};
    const struct query_block block = {3, vecs};
    bool over = false;
    for (uint64_t k = 1; k < MOST && !over; k++) {
        size_t live = heap.live;
        struct ArrowArray array = {.release = NULL};
        heap.fail_at = heap.calls + k;
        arrow_gather *g = arrow_gather_new(fields, NULL, UNIT_N(fields), false);
        weir_status s = g ? WEIR_OK : WEIR_ENOMEM;
        for (int i = 0; i < 3 && s == WEIR_OK; i++)
            s = arrow_gather_add(g, &block, 0, 3, NULL);
        if (s == WEIR_OK)
            s = arrow_gather_take(g, &array, NULL);
        over = heap.calls < heap.fail_at;
        heap.fail_at = 0;
        assert_true(s == WEIR_OK || s == WEIR_ENOMEM);
        assert_int_equal(array.release != NULL, s == WEIR_OK);
        if (array.release)
            array.release(&array);
        arrow_gather_free(g);
        UNIT_CHECK(heap.live == live, "allocation %d: %d octets are left", (int)k,
                   (int)(heap.live - live));
    }
    assert_true(over);
}

static void test_batch(void **state)
{
    (void)state;
    static const char *const names[] = {"bytes", "src_addr"};
    const weir_batch_options o = {.columns = names, .n_columns = UNIT_N(names)};
    bool over = false;
    for (uint64_t k = 1; k < MOST && !over; k++) {
        size_t live = heap.live;
        weir_err err = {0};
        struct ArrowSchema schema;
        struct ArrowArray array;
        heap.fail_at = heap.calls + k;
        weir_batch *b = weir_batch_new(&o, &err);
        weir_status s = b ? weir_batch_take(b, &schema, &array, &err) : err.code;
        over = heap.calls < heap.fail_at;
        heap.fail_at = 0;
        assert_int_equal(s, over ? WEIR_OK : WEIR_ENOMEM);
        if (s == WEIR_OK) {
            array.release(&array);
            schema.release(&schema);
        }
        weir_batch_free(b);
        UNIT_CHECK(heap.live == live, "allocation %d: %d octets are left", (int)k,
                   (int)(heap.live - live));
    }
    assert_true(over);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_take),
        cmocka_unit_test(test_gather),
        cmocka_unit_test(test_batch),
    };
    return cmocka_run_group_tests_name("arrow-memory", tests, NULL, NULL);
}
