/* Compaction, expiry, verification, and reading what is not an archive. */
#include "archive_dir.h"

#include "base/buf.h"

#define HOUR (3600 * SECOND)

/* --- snapshots: all values of all rows, by flow_id --------------------------------------------------- */

struct snapshot {
    base_buf *rows; /* by number */
    uint64_t n;
};

static size_t octets_of(const struct parquet_column *c)
{
    return c->type == PARQUET_BOOLEAN                             ? 1
           : c->type == PARQUET_INT32 || c->type == PARQUET_FLOAT ? 4
                                                                  : 8;
}

static void put_value(base_buf *b, const struct parquet_column *c, const struct rows_column *v,
                      size_t slot)
{
    if (c->type == PARQUET_BYTE_ARRAY) {
        struct parquet_bytes s = rows_text(v, slot);
        base_buf_printf(b, "%.*s,", (int)s.len, (const char *)s.data);
    } else {
        base_buf_printf(b, "%llx,", (unsigned long long)rows_u64(v, slot, octets_of(c)));
    }
}

static void snap_group(struct snapshot *snap, const parquet_file *f, size_t group)
{
    weir_err err = {0};
    const struct parquet_schema *schema = parquet_schema_of(f);
    struct parquet_group_info info;
    parquet_group(f, group, &info);
    uint64_t *ids = calloc(info.n_rows, sizeof *ids);
    struct rows_column id;
    assert_true(rows_open(&id, f, group, "flow_id", &err));
    assert_int_equal(parquet_cursor_read(id.cursor, info.n_rows, &id.data, &err), WEIR_OK);
    assert_int_equal(id.data.n, info.n_rows);
    for (size_t i = 0; i < info.n_rows; i++)
        ids[i] = rows_u64(&id, i, 8);
    parquet_cursor_free(id.cursor);
    for (size_t c = 0; c < schema->n; c++) {
        const struct parquet_column *column = &schema->columns[c];
        struct rows_column v;
        UNIT_CHECK(rows_open(&v, f, group, column->name, &err), "%s: %s", column->name, err.msg);
        UNIT_CHECK(parquet_cursor_read(v.cursor, info.n_rows, &v.data, &err) == WEIR_OK, "%s: %s",
                   column->name, err.msg);
        for (size_t i = 0; i < info.n_rows; i++) {
            UNIT_CHECK(ids[i] < snap->n, "row %llu", (unsigned long long)ids[i]);
            if (!rows_valid(&v, i))
                continue;
            base_buf *b = &snap->rows[ids[i]];
            base_buf_printf(b, "%s=", column->name);
            if (column->list) {
                for (uint32_t k = v.data.starts[i]; k < v.data.starts[i + 1]; k++)
                    put_value(b, column, &v, k);
            } else {
                put_value(b, column, &v, i);
            }
        }
        parquet_cursor_free(v.cursor);
    }
    free(ids);
}

static struct snapshot snap(const char *path, uint64_t n)
{
    struct snapshot out = {.rows = calloc(n, sizeof *out.rows), .n = n};
    weir_err err = {0};
    archive_scan *s = NULL;
    struct archive_part *parts = NULL;
    size_t n_parts = 0;
    weir_status st;
    UNIT_CHECK(archive_scan_open(path, FLOW_TABLE_FLOWS, NULL, NULL, &s, &err) == WEIR_OK, "%s",
               err.msg);
    while ((st = archive_scan_next(s, &parts, &n_parts, &err)) == WEIR_OK) {
        for (size_t i = 0; i < n_parts; i++) {
            for (size_t g = 0; g < parquet_n_groups(parts[i].file); g++)
                snap_group(&out, parts[i].file, g);
        }
        archive_scan_release(s, parts, n_parts);
    }
    UNIT_CHECK(st == WEIR_END, "%s", err.msg);
    archive_scan_close(s);
    return out;
}

/* Columns stand in the order of the file, which may be another one: compare as sets of "name=values". */
static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void same_rows(struct snapshot *a, struct snapshot *b)
{
    for (uint64_t i = 0; i < a->n; i++) {
        char *texts[2] = {a->rows[i].data, b->rows[i].data};
        char *words[2][256];
        size_t n[2] = {0, 0};
        for (int k = 0; k < 2; k++) {
            UNIT_CHECK(texts[k], "row %llu is missing", (unsigned long long)i);
            base_buf_char(k ? &b->rows[i] : &a->rows[i], 0);
            texts[k] = k ? b->rows[i].data : a->rows[i].data;
            char *save = NULL;
            for (char *w = strtok_r(texts[k], ",", &save); w && n[k] < 256;
                 w = strtok_r(NULL, ",", &save))
                words[k][n[k]++] = w;
            qsort(words[k], n[k], sizeof *words[k], by_text);
        }
        UNIT_CHECK(n[0] == n[1], "row %llu: %zu and %zu values", (unsigned long long)i, n[0], n[1]);
        for (size_t w = 0; w < n[0]; w++)
            UNIT_CHECK(strcmp(words[0][w], words[1][w]) == 0, "row %llu: %s and %s",
                       (unsigned long long)i, words[0][w], words[1][w]);
    }
    for (uint64_t i = 0; i < a->n; i++) {
        base_buf_done(&a->rows[i]);
        base_buf_done(&b->rows[i]);
    }
    free(a->rows);
    free(b->rows);
}

/* --- compaction -------------------------------------------------------------------------------------- */

static struct archive_compact_counters compact(const char *dir, weir_status want)
{
    weir_err err = {0};
    struct archive_compact_counters c;
    struct archive_compact_options o = {
        .dir = dir, .zstd_level = 1, .group_rows = 4096, .older_than_ns = ROWS_START + 24 * HOUR};
    weir_status s = archive_compact(&o, &c, &err);
    UNIT_CHECK(s == want, "compact: status %d: %s", (int)s, err.msg);
    return c;
}

/* Three files of one hour, two of the next, 30000 rows. */
static uint64_t fill(struct fixture *f)
{
    uint64_t n = 0;
    fixture_open(f);
    for (int slot = 0; slot < 5; slot++) {
        for (int i = 0; i < 4; i++, n += 1500)
            fixture_store(f, n, 1500,
                          ROWS_START + (slot < 3 ? slot * 300 : 3600 + slot * 300) * SECOND,
                          slot % 2 ? "queueDelay" : NULL);
    }
    fixture_close(f);
    return n;
}

static void hours_become_one_file(void **state)
{
    struct fixture *f = *state;
    char path[512];
    uint64_t n = fill(f);
    struct snapshot before = snap(f->dir, n);
    assert_int_equal(fixture_count(f, ".parquet"), 5);
    struct archive_compact_counters c = compact(f->dir, WEIR_OK);
    assert_int_equal(c.partitions, 2);
    assert_int_equal(c.files_before, 5);
    assert_int_equal(c.files_after, 2);
    assert_int_equal(c.rows, n);
    assert_int_equal(fixture_find(f->dir, ".parquet", path, sizeof path), 2);
    assert_non_null(strstr(path, "/hour=22/20261122T220000Z-c0-000001.parquet"));
    fixture_expect(f->dir, n, "queueDelay", "compacted");
    struct snapshot after = snap(f->dir, n);
    same_rows(&before, &after);

    /* What the file is like: full groups, sorted, with bloom filters. */
    weir_err err = {0};
    parquet_file *p = NULL;
    assert_int_equal(fixture_find(f->dir, "hour=21", NULL, 0), 0);
    assert_int_equal(parquet_open(open(path, O_RDONLY), path, &p, &err), WEIR_OK);
    struct parquet_group_info group;
    struct parquet_chunk_info chunk;
    assert_int_equal(parquet_n_groups(p), (12000 + 4095) / 4096);
    parquet_group(p, 0, &group);
    assert_int_equal(group.n_rows, 4096);
    size_t src = (size_t)parquet_column_find(p, "src_addr");
    assert_int_equal(group.sorted_by, src);
    parquet_chunk(p, 0, src, &chunk);
    assert_true(chunk.has_bloom);
    bool may = true;
    static const char absent[] = "198.51.100.77";
    assert_int_equal(
        parquet_bloom_may_have(p, 0, src,
                               (struct parquet_bytes){(const uint8_t *)absent, sizeof absent - 1},
                               &may, &err),
        WEIR_OK);
    assert_false(may);
    struct rows_column v;
    assert_true(rows_open(&v, p, 0, "src_addr", &err));
    assert_int_equal(parquet_cursor_read(v.cursor, 4096, &v.data, &err), WEIR_OK);
    for (size_t i = 1; i < 4096; i++) {
        struct parquet_bytes a = rows_text(&v, i - 1), b = rows_text(&v, i);
        int order = memcmp(a.data, b.data, a.len < b.len ? a.len : b.len);
        assert_true(order < 0 || (order == 0 && a.len <= b.len));
    }
    parquet_cursor_free(v.cursor);
    assert_non_null(strstr(parquet_key_value_find(p, "weir.replaces"), "-w0-000004.parquet"));
    assert_string_equal(parquet_key_value_find(p, "weir.received_min"),
                        "2026-11-22T22:15:00.000000Z");
    assert_string_equal(parquet_key_value_find(p, "weir.received_max"),
                        "2026-11-22T22:20:00.000000Z");
    parquet_close(p);

    /* Nothing more to do; a late file that is small against it waits, more of them do not. */
    assert_int_equal(compact(f->dir, WEIR_OK).partitions, 0);
    fixture_open(f);
    fixture_store(f, n, 10, ROWS_START, NULL);
    fixture_close(f);
    assert_int_equal(compact(f->dir, WEIR_OK).partitions, 0);
    fixture_open(f);
    fixture_store(f, n + 10, 9000, ROWS_START, NULL);
    fixture_close(f);
    c = compact(f->dir, WEIR_OK);
    assert_int_equal(c.files_before, 3);
    fixture_expect(f->dir, n + 9010, "queueDelay", "compacted again");
    assert_int_equal(fixture_count(f, ".parquet"), 2);
    assert_int_equal(fixture_count(f, ".tmp"), 0);
}

/* Every type, single and as list, with nulls and empty lists, in files that do not all have the column. */
static void every_type_survives(void **state)
{
    struct fixture *f = *state;
    weir_err err = {0};
    fixture_open(f);
    uint64_t n = 0;
    for (int file = 0; file < 3; file++) {
        flow_batch *b = flow_batch_new(FLOW_TABLE_FLOWS);
        int64_t ns = ROWS_START + file * 300 * SECOND;
        assert_true(rows_fill(b, n, 700, ns, NULL));
        for (int t = 0; t < FLOW_N_TYPES; t++) {
            for (int list = 0; list < 2; list++) {
                char name[32];
                (void)snprintf(name, sizeof name, "x_%s%s", flow_type_text((enum flow_type)t),
                               list ? "_list" : "");
                if ((t + list + file) % 4 == 0)
                    continue;
                uint32_t column = flow_batch_extra(b, name, (enum flow_type)t, list);
                assert_int_not_equal(column, UINT32_MAX);
                size_t octets = flow_type_octets((enum flow_type)t);
                for (uint32_t i = 0; i < 690; i++) {
                    uint64_t mix = rows_mix(n + i + (uint64_t)t);
                    uint8_t key[16] = {1, 2, 3, (uint8_t)(mix % 50 + 40)};
                    uint32_t len = t == FLOW_TYPE_ADDR  ? (mix & 64 ? 16 : 4)
                                   : t == FLOW_TYPE_MAC ? 6
                                                        : 4;
                    if (t == FLOW_TYPE_TEXT || t == FLOW_TYPE_JSON || t == FLOW_TYPE_OCTETS)
                        memset(key, 'a' + (int)(mix % 20), 4);
                    if (mix % 6 == 0)
                        continue;
                    bool good;
                    if (list) {
                        uint64_t items[4] = {0};
                        uint32_t codes[4];
                        for (uint32_t k = 0; k < 4; k++) {
                            uint64_t v = t == FLOW_TYPE_BOOL ? mix >> k & 1 : mix >> k;
                            memcpy((char *)items + k * octets, &v, octets);
                            key[2] = (uint8_t)(k + 60);
                            codes[k] = octets ? 0 : flow_batch_key(b, column, key, len);
                        }
                        good = flow_batch_list(b, column, i, octets ? (void *)items : (void *)codes,
                                               (uint32_t)(mix % 5));
                    } else if (t == FLOW_TYPE_F64) {
                        good = flow_batch_set_f64(b, column, i, (double)(mix >> 20) / 7);
                    } else if (octets) {
                        good =
                            flow_batch_set_u64(b, column, i, t == FLOW_TYPE_BOOL ? mix & 1 : mix);
                    } else {
                        good = flow_batch_set_key(b, column, i, key, len);
                    }
                    assert_true(good);
                }
            }
        }
        UNIT_CHECK(archive_writer_store(f->w, b, ns, &err) == WEIR_OK, "%s", err.msg);
        flow_batch_free(b);
        n += 700;
    }
    struct snapshot open = snap(f->dir, n), closed, compacted, again = snap(f->dir, n);
    fixture_close(f);
    closed = snap(f->dir, n);
    same_rows(&open, &closed);
    assert_int_equal(compact(f->dir, WEIR_OK).files_before, 3);
    compacted = snap(f->dir, n);
    same_rows(&again, &compacted);
    assert_int_equal(fixture_verify(f->dir), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(hours_become_one_file),
        TEST(every_type_survives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
