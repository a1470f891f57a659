/* Batches against a model of plain text cells: written in any order, appended, saved, loaded, cut; hostile octets and
 * failing allocations leave them as they were. */
#include "flow/batch.h"

#include "base/buf.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "heap.h"
#include "unit.h"

/* ---- the model: a text a cell, "" for null ---- */

enum { N_COLS = 10, MAX_ROWS = 1000, CELL = 96 };

static const struct {
    int id; /* of the table, -1: extra */
    const char *name;
    enum flow_type type;
    bool list;
} kinds[N_COLS] = {
    {FLOW_bytes, "bytes", FLOW_TYPE_U64, false},
    {FLOW_src_port, "src_port", FLOW_TYPE_U16, false},
    {FLOW_proto, "proto", FLOW_TYPE_U8, false},
    {FLOW_src_addr, "src_addr", FLOW_TYPE_ADDR, false},
    {FLOW_user_name, "user_name", FLOW_TYPE_TEXT, false},
    {FLOW_mpls_labels, "mpls_labels", FLOW_TYPE_U32, true},
    {FLOW_sampling_rate, "sampling_rate", FLOW_TYPE_F64, false},
    {-1, "aText", FLOW_TYPE_TEXT, false},
    {-1, "aList_list", FLOW_TYPE_TEXT, true},
    {-1, "aNumber", FLOW_TYPE_S16, false},
};

typedef struct model {
    uint32_t rows;
    char cell[N_COLS][MAX_ROWS][CELL];
} model;

static uint32_t state = 1;

static uint32_t rnd(uint32_t n)
{
    state = state * 1664525 + 1013904223;
    return (state >> 8) % n;
}

static uint32_t column_of(flow_batch *b, int k)
{
    if (kinds[k].id >= 0)
        return (uint32_t)kinds[k].id;
    uint32_t c = flow_batch_extra(b, kinds[k].name, kinds[k].type, kinds[k].list);
    assert_int_not_equal(c, UINT32_MAX);
    return c;
}

static void item_text(char *out, const struct flow_vec *v, uint32_t i)
{
    if (!v->values) {
        assert_true(v->codes[i] < v->dict.n);
        uint32_t at = v->dict.starts[v->codes[i]], end = v->dict.starts[v->codes[i] + 1];
        base_buf text = {0};
        flow_key_text((enum flow_type)v->column->type, v->dict.keys + at, end - at, &text);
        (void)snprintf(out, CELL, "'%.*s'", (int)text.len, text.data ? text.data : "");
        base_buf_done(&text);
    } else if (v->column->type == FLOW_TYPE_F64) {
        (void)snprintf(out, CELL, "%g", ((const double *)v->values)[i]);
    } else {
        size_t w = flow_type_octets((enum flow_type)v->column->type);
        uint64_t n = 0;
        memcpy(&n, (const uint8_t *)v->values + w * i, w);
        (void)snprintf(out, CELL, "%" PRIu64, n);
    }
}

static void cell_text(char *out, const flow_batch *b, uint32_t column, uint32_t row)
{
    struct flow_vec v;
    flow_batch_vec(b, column, &v);
    *out = 0;
    if (row >= v.n || (v.valid && !(v.valid[row / 64] >> row % 64 & 1)))
        return;
    if (!v.column->list) {
        item_text(out, &v, row);
        return;
    }
    (void)snprintf(out, CELL, "[");
    for (uint32_t i = v.starts[row]; i < v.starts[row + 1]; i++) {
        item_text(out + strlen(out), &v, i);
        (void)snprintf(out + strlen(out), 2, ",");
    }
    (void)snprintf(out + strlen(out), 2, "]");
}

static void check(const flow_batch *b, const model *m)
{
    assert_int_equal(flow_batch_rows(b), m->rows);
    for (uint32_t c = 0; c < flow_batch_n_columns(b); c++) {
        struct flow_vec v;
        flow_batch_vec(b, c, &v);
        int k = 0;
        while (k < N_COLS && strcmp(kinds[k].name, v.column->name) != 0)
            k++;
        uint32_t n_valid = 0;
        for (uint32_t row = 0; row < m->rows; row++) {
            char text[CELL];
            cell_text(text, b, c, row);
            n_valid += *text != 0;
            if (k < N_COLS)
                UNIT_CHECK(strcmp(text, m->cell[k][row]) == 0, "%s row %u: %s, not %s",
                           v.column->name, row, text, m->cell[k][row]);
        }
        assert_int_equal(v.n_valid, n_valid);
        UNIT_CHECK(k < N_COLS || n_valid == 0, "%s has values", v.column->name);
    }
    /* Columns that the batch does not know yet have no values. */
    for (int k = 0; k < N_COLS; k++) {
        bool known = kinds[k].id >= 0;
        for (uint32_t c = 0; c < flow_batch_n_columns(b); c++) {
            struct flow_vec v;
            flow_batch_vec(b, c, &v);
            known |= strcmp(v.column->name, kinds[k].name) == 0;
        }
        for (uint32_t row = 0; !known && row < m->rows; row++)
            assert_string_equal(m->cell[k][row], "");
    }
}

static uint32_t a_key(int k, uint8_t *key)
{
    uint32_t n = 1 + rnd(40);
    if (kinds[k].type == FLOW_TYPE_ADDR) {
        memset(key, 0, 16);
        key[0] = 32;
        key[3] = (uint8_t)n;
        return rnd(2) ? 4 : 16;
    }
    return (uint32_t)snprintf((char *)key, 16, "%.*s", (int)rnd(6), "text") * (n != 1);
}

/* A value into one cell of the batch and of the model. */
static void set(flow_batch *b, model *m, int k, uint32_t row)
{
    uint32_t column = column_of(b, k);
    uint8_t key[16];
    uint32_t items[5], n = rnd(5);
    if (rnd(4) == 0) {
        assert_true(flow_batch_set_null(b, column, row));
        m->cell[k][row][0] = 0;
    } else if (kinds[k].list) {
        for (uint32_t i = 0; i < n; i++) {
            items[i] = rnd(1000);
            if (kinds[k].type == FLOW_TYPE_TEXT) {
                uint32_t len = a_key(k, key);
                items[i] = flow_batch_key(b, column, key, len);
            }
        }
        assert_true(flow_batch_list(b, column, row, items, n));
        /* The model takes its text from the batch only here; later it must stay the same. */
        cell_text(m->cell[k][row], b, column, row);
        assert_int_equal(m->cell[k][row][0], '[');
    } else if (kinds[k].type == FLOW_TYPE_F64) {
        double v = rnd(100) / 4.0;
        assert_true(flow_batch_set_f64(b, column, row, v));
        (void)snprintf(m->cell[k][row], CELL, "%g", v);
    } else if (kinds[k].type == FLOW_TYPE_TEXT || kinds[k].type == FLOW_TYPE_ADDR) {
        uint32_t len = a_key(k, key);
        assert_true(flow_batch_set_key(b, column, row, key, len));
        base_buf text = {0};
        flow_key_text(kinds[k].type, key, len, &text);
        (void)snprintf(m->cell[k][row], CELL, "'%.*s'", (int)text.len, text.data ? text.data : "");
        base_buf_done(&text);
    } else {
        static const uint64_t mask[] = {UINT64_MAX, 0xffff, 0xff};
        uint64_t v = rnd(2) ? rnd(5) : (uint64_t)rnd(1 << 24) << 40 | rnd(1 << 24);
        assert_true(flow_batch_set_u64(b, column, row, v));
        (void)snprintf(m->cell[k][row], CELL, "%" PRIu64, v & (k < 3 ? mask[k] : 0xffff));
    }
}

/* Some rows with some cells. */
static void fill(flow_batch *b, model *m, uint32_t n)
{
    uint32_t first = flow_batch_add_rows(b, n);
    assert_int_equal(first, m->rows);
    for (uint32_t row = first; row < first + n; row++)
        for (int k = 0; k < N_COLS; k++)
            m->cell[k][row][0] = 0;
    m->rows += n;
    for (uint32_t i = 0; i < 2 * n; i++)
        set(b, m, (int)rnd(N_COLS), rnd(4) ? first + rnd(n) : rnd(m->rows));
}

static void join(model *to, const model *from, uint32_t first)
{
    for (int k = 0; k < N_COLS; k++)
        for (uint32_t row = first; row < from->rows; row++)
            memcpy(to->cell[k][to->rows + row - first], from->cell[k][row], CELL);
    to->rows += from->rows - first;
}

static void load(flow_batch *to, const flow_batch *from, uint32_t first)
{
    base_buf saved = {0};
    weir_err err;
    flow_batch_save(from, first, &saved);
    assert_false(saved.failed);
    weir_status status = flow_batch_load(to, (const uint8_t *)saved.data, saved.len, &err);
    UNIT_CHECK(status == WEIR_OK, "%s", err.msg);
    base_buf_done(&saved);
}

static void test_model(void **unused)
{
    (void)unused;
    model *m[2] = {calloc(1, sizeof(model)), calloc(1, sizeof(model))};
    flow_batch *b[2] = {flow_batch_new(FLOW_TABLE_FLOWS), flow_batch_new(FLOW_TABLE_FLOWS)};
    weir_err err;
    for (int round = 0; round < 300; round++) {
        int i = (int)rnd(2);
        switch (rnd(8)) {
        case 0:
            if (m[0]->rows + m[1]->rows > MAX_ROWS - 100)
                break;
            assert_int_equal(flow_batch_append(b[i], b[!i], &err), WEIR_OK);
            join(m[i], m[!i], 0);
            break;
        case 1:
            if (m[0]->rows + m[1]->rows > MAX_ROWS - 100)
                break;
            uint32_t first = rnd(m[!i]->rows + 1);
            load(b[i], b[!i], first);
            join(m[i], m[!i], first);
            break;
        case 2:
            m[i]->rows -= rnd(m[i]->rows + 1) / 2;
            flow_batch_cut(b[i], m[i]->rows);
            break;
        case 3:
            if (rnd(3))
                break;
            flow_batch_reset(b[i]);
            m[i]->rows = 0;
            assert_int_equal(flow_batch_octets(b[i]), 0);
            break;
        default:
            if (m[i]->rows < MAX_ROWS - 100)
                fill(b[i], m[i], 1 + rnd(90));
        }
        check(b[i], m[i]);
    }
    for (int i = 0; i < 2; i++) {
        flow_batch_free(b[i]);
        free(m[i]);
    }
}

/* A batch with every kind of column, for the tests of octets and of memory. */
static flow_batch *sample(model *m, uint32_t rows)
{
    flow_batch *b = flow_batch_new(FLOW_TABLE_FLOWS);
    assert_non_null(b);
    m->rows = 0;
    state = 7;
    fill(b, m, rows);
    return b;
}

static void test_octets(void **unused)
{
    (void)unused;
    model *m = calloc(1, sizeof *m), *m2 = calloc(1, sizeof *m);
    flow_batch *b = sample(m, 500), *to = sample(m2, 20);
    size_t octets = flow_batch_octets(to), columns = flow_batch_n_columns(to);
    base_buf saved = {0};
    weir_err err;
    flow_batch_save(b, 0, &saved);
    for (size_t cut = 0; cut < saved.len; cut += cut < 200 ? 1 : 37) {
        uint8_t *exact = malloc(cut + 1);
        memcpy(exact + 1, saved.data,
               cut); /* so that a sanitizer sees every octet read behind it */
        assert_int_not_equal(flow_batch_load(to, exact + 1, cut, &err), WEIR_OK);
        free(exact);
        assert_int_equal(flow_batch_n_columns(to), columns);
    }
    check(to, m2);
    uint32_t good = 0;
    for (int i = 0; i < 8000; i++) {
        size_t at = rnd((uint32_t)saved.len);
        char was = saved.data[at];
        saved.data[at] = (char)(rnd(4) ? was ^ 1 << rnd(8) : (char)rnd(256));
        weir_status status = flow_batch_load(to, (const uint8_t *)saved.data, saved.len, &err);
        saved.data[at] = was;
        if (status == WEIR_OK) {
            good++;
            assert_true(flow_batch_rows(to) >= m2->rows);
            flow_batch_reset(to);
            model *again = calloc(1, sizeof *again);
            flow_batch_free(to);
            to = sample(again, 20);
            free(again);
        } else if (i % 16 == 0) {
            assert_int_equal(flow_batch_rows(to), m2->rows);
        }
    }
    assert_true(good > 0); /* a value changed is no damage that this form can see */
    check(to, m2);
    assert_true(flow_batch_octets(to) < 4 * octets);
    base_buf_done(&saved);
    flow_batch_free(b);
    flow_batch_free(to);
    free(m);
    free(m2);
}

/* Few octets must not become many rows or values. */
static void test_amplification(void **unused)
{
    (void)unused;
    static const struct {
        const char *what, *hex;
    } cases[] = {
        {"rows without end", "574642 01 00 ffffffff0f 00"},
        {"a column of many rows", "574642 01 00 ffff03 01 05 6279746573 04 00 ffff03 02 ff00 ff00"},
        {"a column of many nulls", "574642 01 00 ffff03 01 05 6279746573 04 02 ffff03 00"},
        {"many keys", "574642 01 00 01 01 08 7372635f61646472 0c 00 01 ffffffff0f"},
        {"a key of 5 octets",
         "574642 01 00 01 01 08 7372635f61646472 0c 00 01 01 05 0102030405 00 00000000"},
        {"a code without a key",
         "574642 01 00 01 01 08 7372635f61646472 0c 00 01 01 04 01020304 00 01000000"},
        {"another type", "574642 01 00 01 01 05 6279746573 03 00 01 00 01000000"},
        {"twice", "574642 01 00 01 02 05 6279746573 04 00 01 01 02 05 6279746573 04 00 01 01 02"},
        {"the other table", "574642 01 01 00 00"},
        {"another version", "574642 02 00 00 00"},
        {"no name", "574642 01 00 01 01 00 04 00 01 01 02"},
        {"octets behind", "574642 01 00 01 01 05 6279746573 04 00 01 01 02 00"},
        {"a wide value", "574642 01 00 01 01 05 70726f746f 01 00 01 01 8008"},
    };
    flow_batch *b = flow_batch_new(FLOW_TABLE_FLOWS);
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        uint8_t octets[256];
        weir_err err = {0};
        size_t len = unhex(cases[i].hex, octets, sizeof octets), peak = heap.live;
        heap.peak = heap.live;
        weir_status status = flow_batch_load(b, octets, len, &err);
        UNIT_CHECK(status == WEIR_EFORMAT || status == WEIR_ETRUNC || status == WEIR_ELIMIT,
                   "%s: %s", cases[i].what, weir_status_text(status));
        UNIT_CHECK(err.msg[0], "%s: no message", cases[i].what);
        assert_int_equal(flow_batch_rows(b), 0);
        UNIT_CHECK(heap.peak - peak < 1 << 20, "%s took %zu octets", cases[i].what,
                   heap.peak - peak);
    }
    /* Rows of nothing cost nothing; columns behind them would. */
    uint8_t nothing[16], bytes[32];
    weir_err err = {0};
    size_t n_nothing = unhex("574642 01 00 808002 00", nothing, sizeof nothing);
    size_t n_bytes = unhex("574642 01 00 01 01 05 6279746573 04 00 01 01 02", bytes, sizeof bytes);
    for (int i = 0; i < 1024; i++)
        assert_int_equal(flow_batch_load(b, nothing, n_nothing, &err), WEIR_OK);
    assert_int_equal(flow_batch_load(b, nothing, n_nothing, &err), WEIR_OK);
    size_t live = heap.peak = heap.live;
    assert_int_equal(flow_batch_load(b, bytes, n_bytes, &err), WEIR_ELIMIT);
    assert_true(heap.peak - live < 1 << 20);
    assert_int_equal(flow_batch_rows(b), 1025 << 15);
    flow_batch_free(b);
}

static void test_memory(void **unused)
{
    (void)unused;
    model *m = calloc(1, sizeof *m), *m2 = calloc(1, sizeof *m), *both = calloc(1, sizeof *m);
    flow_batch *b = sample(m, 300);
    base_buf saved = {0};
    weir_err err;
    flow_batch_save(b, 0, &saved);
    for (int what = 0; what < 2; what++) {
        bool done = false;
        for (uint64_t k = 1; !done; k++) {
            flow_batch *to = sample(m2, 20);
            heap.fail_at = heap.calls + k;
            heap.failed = 0;
            weir_status status =
                what ? flow_batch_load(to, (const uint8_t *)saved.data, saved.len, &err)
                     : flow_batch_append(to, b, &err);
            heap.fail_at = 0;
            done = heap.failed == 0;
            UNIT_CHECK(status == (done ? WEIR_OK : WEIR_ENOMEM), "allocation %" PRIu64 ": %s", k,
                       weir_status_text(status));
            if (done) {
                *both = *m2;
                join(both, m, 0);
                check(to, both);
            } else {
                check(to, m2);
                assert_int_equal(flow_batch_append(to, b, &err), WEIR_OK);
            }
            flow_batch_free(to);
        }
    }
    /* Single writes: either the value is there or nothing has changed. */
    for (uint64_t k = 1; k < 60; k++) {
        flow_batch *to = flow_batch_new(FLOW_TABLE_FLOWS);
        assert_non_null(to);
        (void)flow_batch_add_rows(to, 200);
        uint32_t written = 0;
        heap.fail_at = heap.calls + k;
        for (uint32_t row = 0; row < 200; row += 2)
            written += flow_batch_set_key(to, FLOW_src_addr, row, &row, 4) &&
                       flow_batch_set_u64(to, FLOW_bytes, row, row);
        heap.fail_at = 0;
        struct flow_vec v;
        flow_batch_vec(to, FLOW_bytes, &v);
        assert_int_equal(v.n_valid, written);
        flow_batch_free(to);
    }
    base_buf_done(&saved);
    flow_batch_free(b);
    free(m);
    free(m2);
    free(both);
}

static void test_new_without_memory(void **unused)
{
    (void)unused;
    for (uint64_t k = 1; k <= 3; k++) {
        heap.fail_at = heap.calls + k;
        assert_null(flow_batch_new(FLOW_TABLE_OPTIONS));
        heap.fail_at = 0;
    }
    flow_batch_free(NULL);
}

static void test_extra_limits(void **unused)
{
    (void)unused;
    flow_batch *b = flow_batch_new(FLOW_TABLE_FLOWS), *full = flow_batch_new(FLOW_TABLE_FLOWS);
    weir_err err;
    char name[300];
    assert_int_equal(flow_batch_extra(b, "bytes", FLOW_TYPE_U64, false), UINT32_MAX);
    assert_int_equal(flow_batch_extra(b, "", FLOW_TYPE_U64, false), UINT32_MAX);
    memset(name, 'n', sizeof name);
    name[256] = 0;
    assert_int_equal(flow_batch_extra(b, name, FLOW_TYPE_U64, false), UINT32_MAX);
    uint32_t x = flow_batch_extra(b, "x", FLOW_TYPE_U64, false);
    assert_int_equal(flow_batch_extra(b, "x", FLOW_TYPE_U64, false), x);
    assert_int_equal(flow_batch_extra(b, "x", FLOW_TYPE_U64, true), UINT32_MAX);
    assert_int_equal(flow_batch_extra(b, "x", FLOW_TYPE_U32, false), UINT32_MAX);
    for (int i = 0; i < FLOW_MAX_EXTRA; i++) {
        (void)snprintf(name, sizeof name, "e%d", i);
        assert_int_not_equal(flow_batch_extra(full, name, FLOW_TYPE_U8, false), UINT32_MAX);
    }
    assert_int_equal(flow_batch_extra(full, "one_more", FLOW_TYPE_U8, false), UINT32_MAX);
    (void)flow_batch_add_rows(b, 1);
    assert_int_equal(flow_batch_append(full, b, &err),
                     WEIR_OK); /* x has no value: it needs no room */
    assert_true(flow_batch_set_u64(b, x, 0, 1));
    assert_int_equal(flow_batch_append(full, b, &err), WEIR_ELIMIT);
    assert_int_equal(flow_batch_rows(full), 1);
    flow_batch_reset(full);
    assert_int_equal(flow_batch_n_columns(full), FLOW_N_COLUMNS);
    assert_int_equal(flow_batch_append(full, b, &err), WEIR_OK);
    flow_batch_free(b);
    flow_batch_free(full);
}

static void test_sampling(void **unused)
{
    (void)unused;
    static const uint8_t a[4] = {192, 0, 2, 1}, other[4] = {192, 0, 2, 2};
    flow_batch *b = flow_batch_new(FLOW_TABLE_FLOWS);
    (void)flow_batch_add_rows(b, 8);
    for (uint32_t row = 0; row < 8; row++) {
        assert_true(flow_batch_set_key(b, FLOW_exporter, row, row < 6 ? a : other, 4));
        assert_true(flow_batch_set_u64(b, FLOW_domain, row, row < 4 ? 1 : 2));
    }
    assert_true(flow_batch_set_f64(b, FLOW_sampling_rate, 0, 7));
    assert_true(flow_batch_set_u64(b, FLOW_sampler_id, 2, 5));
    assert_int_equal(flow_batch_sampling(b, a, 4, 1, 5, 10, "options"), 1);
    assert_int_equal(flow_batch_sampling(b, a, 4, 1, 0, 20, "options"), 2);
    assert_int_equal(flow_batch_sampling(b, a, 4, 1, 0, 30, "options"), 0);
    assert_int_equal(flow_batch_sampling(b, other, 4, 1, 0, 30, "options"), 0);
    assert_int_equal(flow_batch_sampling(b, (const uint8_t *)"none", 4, 1, 0, 30, "options"), 0);
    assert_int_equal(flow_batch_sampling(b, a, 4, 0, 0, 40, "options"), 2); /* the whole exporter */
    static const char *const want[8] = {"7", "20", "10", "20", "40", "40", "", ""};
    for (uint32_t row = 0; row < 8; row++) {
        char text[CELL];
        cell_text(text, b, FLOW_sampling_rate, row);
        assert_string_equal(text, want[row]);
        cell_text(text, b, FLOW_sampling_source, row);
        assert_string_equal(text, row == 0 || row > 5 ? "" : "'options'");
    }
    flow_batch_free(b);
}

/* What one packet's rows look like in the journal: constants must cost next to nothing. */
static void test_saved_size(void **unused)
{
    (void)unused;
    flow_batch *b = flow_batch_new(FLOW_TABLE_FLOWS);
    (void)flow_batch_add_rows(b, 1000);
    for (uint32_t row = 0; row < 1000; row++) {
        assert_true(flow_batch_set_u64(b, FLOW_received, row, 1700000000000000));
        assert_true(flow_batch_set_key(b, FLOW_exporter, row, "\1\2\3\4", 4));
        assert_true(flow_batch_set_u64(b, FLOW_first, row, 1700000000000000 + row * 1000));
    }
    base_buf saved = {0};
    flow_batch_save(b, 0, &saved);
    UNIT_CHECK(saved.len < 2200, "%zu octets", saved.len);
    base_buf_done(&saved);
    flow_batch_free(b);
}

static void test_schema(void **unused)
{
    (void)unused;
    const struct flow_column *c = flow_columns();
    assert_string_equal(c[FLOW_src_addr].name, "src_addr");
    assert_int_equal(c[FLOW_mpls_labels].type, FLOW_TYPE_U32);
    assert_true(c[FLOW_mpls_labels].list);
    assert_string_equal(c[FLOW_N_COLUMNS - 1].name, "extra");
    assert_string_equal(flow_option_columns()[FLOW_OPTION_scope].name, "scope");
    for (int i = 0; i < (int)FLOW_N_COLUMNS; i++)
        assert_int_equal(flow_column_find(c[i].name, strlen(c[i].name)), i);
    assert_int_equal(flow_column_find("src_add", 7), -1);
    assert_int_equal(flow_column_find("src_addr2", 8), FLOW_src_addr);
    assert_string_equal(flow_type_text(FLOW_TYPE_TIME_NS), "time_ns");
    assert_int_equal(flow_type_octets(FLOW_TYPE_ADDR), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model),      cmocka_unit_test(test_octets),
        cmocka_unit_test(test_memory),     cmocka_unit_test(test_amplification),
        cmocka_unit_test(test_sampling),   cmocka_unit_test(test_new_without_memory),
        cmocka_unit_test(test_saved_size), cmocka_unit_test(test_extra_limits),
        cmocka_unit_test(test_schema),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
