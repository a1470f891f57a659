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
            base_buf_char(b, ',');
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
    assert_int_equal(group.sorted_by, parquet_column_find(p, "exporter"));
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
    assert_int_equal(strlen(parquet_key_value_find(p, "weir.id")), 16);
    assert_int_equal(strlen(parquet_key_value_find(p, "weir.replaces")), 2 * 16 + 1);
    assert_string_equal(parquet_key_value_find(p, "weir.slot_length"), "300");
    assert_string_equal(parquet_key_value_find(p, "weir.received_min"),
                        "2026-11-22T22:15:00.000000Z");
    assert_string_equal(parquet_key_value_find(p, "weir.received_max"),
                        "2026-11-22T22:20:00.000000Z");
    parquet_close(p);

    /* Nothing more to do; a late file that is small against it waits, more of them do not. */
    assert_int_equal(compact(f->dir, WEIR_OK).partitions, 0);
    char lock[80];
    (void)snprintf(lock, sizeof lock, "%s/lock",
                   f->dir); /* it knows the last number: without it, names come again */
    assert_int_equal(unlink(lock), 0);
    fixture_open(f);
    fixture_store(f, n, 10, ROWS_START, NULL);
    fixture_expect(f->dir, n + 10, NULL, "beside a compacted file");
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

/* A compaction killed before its last step leaves inputs beside the result; killed earlier, an unfinished file. */
static void stopped_half_way(void **state)
{
    struct fixture *f = *state;
    char copy[80], command[1200];
    uint64_t n = fill(f);
    (void)snprintf(copy, sizeof copy, "%s-copy", f->dir);
    fixture_copy(f, copy);
    (void)compact(f->dir, WEIR_OK);
    (void)snprintf(command, sizeof command,
                   "cp -r %s/flows %s && touch "
                   "%s/flows/date=2026-11-22/hour=21/.20261122T210000Z-c0-000009.tmp",
                   copy, f->dir, f->dir);
    assert_int_equal(system(command), 0);
    assert_int_equal(fixture_count(f, ".parquet"), 7);
    fixture_expect(f->dir, n, "queueDelay", "inputs beside the result");
    f->said[0] = 0;
    fixture_open(f);
    fixture_close(f);
    assert_non_null(strstr(f->said, "removed"));
    assert_int_equal(fixture_count(f, ".parquet"), 2);
    assert_int_equal(fixture_count(f, ".tmp"), 0);
    fixture_expect(f->dir, n, "queueDelay", "cleaned by a start");
    assert_int_equal(system(command), 0);
    assert_int_equal(compact(f->dir, WEIR_OK).partitions, 0);
    assert_int_equal(fixture_count(f, ".parquet"), 2);
    assert_int_equal(fixture_count(f, ".tmp"), 0);
    fixture_expect(f->dir, n, "queueDelay", "cleaned by a compaction");
    /* A result of a result: what the first one replaced may still be there. */
    fixture_open(f);
    fixture_store(f, n, 9000, ROWS_START, NULL);
    fixture_close(f);
    assert_int_equal(system(command), 0);
    fixture_expect(f->dir, n + 9000, "queueDelay", "three generations");
    (void)nftw(copy, fixture_remove, 16, FTW_DEPTH | FTW_PHYS);
}

static void damage(const char *path, off_t at)
{
    int fd = open(path, O_RDWR);
    uint8_t octet = 0;
    assert_int_equal(pread(fd, &octet, 1, at), 1);
    octet ^= 0x55;
    assert_int_equal(pwrite(fd, &octet, 1, at), 1);
    (void)close(fd);
}

static void damaged_files_stay_alone(void **state)
{
    struct fixture *f = *state;
    char path[512], hour[128];
    uint64_t n = fill(f);
    struct stat st;
    assert_int_equal(fixture_verify(f->dir), 0);
    (void)snprintf(hour, sizeof hour, "%s/flows/date=2026-11-22/hour=21", f->dir);
    assert_int_equal(fixture_find(hour, "000002.parquet", path, sizeof path), 1);
    assert_int_equal(stat(path, &st), 0);
    damage(path, st.st_size / 2); /* a page: found when it is read */
    assert_int_equal(fixture_verify(f->dir), 1);
    struct archive_compact_counters c = compact(f->dir, WEIR_OK);
    assert_int_equal(c.files_before, 4);
    assert_int_equal(access(path, F_OK), 0);
    assert_int_equal(fixture_verify(f->dir), 1);
    damage(path, st.st_size - 5); /* its footer's length: it does not open */
    assert_int_equal(fixture_verify(f->dir), 1);
    struct rows_seen seen;
    assert_false(rows_read(f->dir, n, NULL, true, &seen));
    assert_int_equal(seen.failures, 1);
    assert_int_equal(seen.total, n - 6000);
    assert_non_null(strstr(seen.err.msg, "000002.parquet"));
    rows_seen_done(&seen);
    assert_int_equal(compact(f->dir, WEIR_OK).partitions, 0);
}

static void contradicting_columns_stay_apart(void **state)
{
    struct fixture *f = *state;
    weir_err err = {0};
    fixture_open(f);
    for (int file = 0; file < 4; file++) {
        flow_batch *b = flow_batch_new(FLOW_TABLE_FLOWS);
        int64_t ns = ROWS_START + file * 300 * SECOND;
        assert_true(rows_fill(b, (uint64_t)file * 10, 10, ns, NULL));
        uint32_t x = flow_batch_extra(b, "level", file % 2 ? FLOW_TYPE_TEXT : FLOW_TYPE_U8, false);
        assert_true(file % 2 ? flow_batch_set_key(b, x, 3, "high", 4)
                             : flow_batch_set_u64(b, x, 3, 200));
        UNIT_CHECK(archive_writer_store(f->w, b, ns, &err) == WEIR_OK, "%s", err.msg);
        flow_batch_free(b);
    }
    fixture_close(f);
    struct snapshot before = snap(f->dir, 40), after;
    assert_int_equal(compact(f->dir, WEIR_OK).files_after, 2);
    assert_int_equal(fixture_count(f, ".parquet"), 2);
    after = snap(f->dir, 40);
    same_rows(&before, &after);
    assert_int_equal(compact(f->dir, WEIR_OK).files_after, 0);
}

static bool stop_at_once(void *user)
{
    int *left = user;
    return --*left < 0;
}

static void a_compaction_can_be_stopped(void **state)
{
    struct fixture *f = *state;
    uint64_t n = fill(f);
    weir_err err = {0};
    for (int asked = 0; asked < 200; asked = asked * 3 + 1) {
        int left = asked;
        struct archive_compact_options o = {
            .dir = f->dir, .older_than_ns = ROWS_START + HOUR, .stop = stop_at_once, .user = &left};
        struct archive_compact_counters c;
        UNIT_CHECK(archive_compact(&o, &c, &err) == WEIR_OK, "%s", err.msg);
        if (left < 0)
            assert_int_equal(c.files_before, 0);
        assert_int_equal(fixture_count(f, ".tmp"), 0);
        fixture_expect(f->dir, n, "queueDelay", "stopped");
    }
    /* Hours that are not over, or younger than asked for, are left alone. */
    struct archive_compact_options o = {.dir = f->dir, .older_than_ns = ROWS_START + HOUR - 1};
    struct archive_compact_counters c;
    assert_int_equal(archive_compact(&o, &c, &err), WEIR_OK);
    assert_int_equal(c.partitions, 0);
    o.dir = "/nowhere/at/all";
    assert_int_equal(archive_compact(&o, &c, &err), WEIR_ENOTFOUND);
}

/* --- expiry ------------------------------------------------------------------------------------------ */

static uint64_t expire(const struct archive_expire_options *o)
{
    weir_err err = {0};
    uint64_t octets = 0, n = 0;
    UNIT_CHECK(archive_expire(o, &octets, &n, &err) == WEIR_OK, "expire: %s", err.msg);
    assert_int_equal(octets > 0, n > 0);
    return n;
}

static void old_hours_go(void **state)
{
    struct fixture *f = *state;
    fixture_open(f);
    for (unsigned hour = 0; hour < 6; hour++) /* from 21:00 into the next day */
        fixture_store(f, hour * 100, 100, ROWS_START + hour * HOUR, NULL);
    /* Two are still open: of 01:00 and 02:00. */
    assert_int_equal(fixture_count(f, ".parquet"), 4);
    struct archive_expire_options o = {
        .dir = f->dir, .before_ns = ROWS_START + 2 * HOUR + 1, .dry_run = true};
    assert_int_equal(expire(&o), 2);
    assert_int_equal(fixture_count(f, ".parquet"), 4);
    o.dry_run = false;
    assert_int_equal(expire(&o), 2);
    assert_int_equal(fixture_count(f, ".parquet"), 2);
    char path[128];
    (void)snprintf(path, sizeof path, "%s/flows/date=2026-11-22/hour=22", f->dir);
    assert_int_not_equal(access(path, F_OK), 0);
    o.before_ns = ROWS_START + 100 * HOUR;
    assert_int_equal(expire(&o), 2);
    assert_int_equal(fixture_count(f, ".part"), 2);
    (void)snprintf(path, sizeof path, "%s/flows/date=2026-11-22",
                   f->dir); /* the day has gone with its last hour */
    assert_int_not_equal(access(path, F_OK), 0);
    struct rows_seen seen;
    assert_true(rows_read(f->dir, 600, NULL, true, &seen));
    assert_int_equal(seen.total, 200);
    rows_seen_done(&seen);
    fixture_close(f);
    o.before_ns = 0;
    assert_int_equal(expire(&o), 0); /* no limit */
    struct stat st;
    char file[512];
    assert_int_equal(fixture_find(f->dir, ".parquet", file, sizeof file), 2);
    assert_int_equal(stat(file, &st), 0);
    o.max_octets = (uint64_t)st.st_size + 100;
    assert_int_equal(expire(&o), 1);
    assert_int_equal(access(file, F_OK), 0); /* the younger one stays */
    o.max_octets = 0;
    o.min_free = 1;
    assert_int_equal(expire(&o), 0);
    o.min_free = UINT64_MAX;
    assert_int_equal(expire(&o), 1);
    assert_int_equal(fixture_count(f, ".parquet"), 0);
}

/* --- other people's files ---------------------------------------------------------------------------- */

static uint64_t rows_of(const char *path, const char *from, const char *to, weir_status want)
{
    weir_err err = {0};
    archive_scan *s = NULL;
    struct archive_part *parts = NULL;
    size_t n = 0;
    uint64_t rows = 0;
    weir_status st = archive_scan_open(path, FLOW_TABLE_FLOWS, from, to, &s, &err);
    UNIT_CHECK(st == want, "%s: status %d: %s", path, (int)st, err.msg);
    while (st == WEIR_OK && archive_scan_next(s, &parts, &n, &err) != WEIR_END) {
        for (size_t i = 0; i < n; i++)
            rows += parquet_n_rows(parts[i].file);
        archive_scan_release(s, parts, n);
    }
    archive_scan_close(s);
    return rows;
}

static void plain_directories_are_read(void **state)
{
    struct fixture *f = *state;
    char a[80], path[600], file[512], command[4000];
    fixture_open(f);
    fixture_store(f, 0, 10, ROWS_START, NULL);
    fixture_store(f, 10, 20, ROWS_START + 300 * SECOND, NULL);
    fixture_store(f, 30, 40, ROWS_START + HOUR, NULL);
    fixture_store(f, 70, 80, ROWS_START + HOUR + 300 * SECOND, NULL); /* the last two stay open */
    (void)snprintf(a, sizeof a, "%s-plain", f->dir);
    assert_int_equal(rows_of(f->dir, NULL, NULL, WEIR_OK), 150);
    (void)snprintf(path, sizeof path, "%s/flows", f->dir);
    assert_int_equal(rows_of(path, NULL, NULL, WEIR_OK), 150);
    (void)snprintf(path, sizeof path, "%s/flows/date=2026-11-22/hour=22", f->dir);
    assert_int_equal(rows_of(path, NULL, NULL, WEIR_OK), 120);
    assert_int_equal(fixture_find(path, ".part", file, sizeof file), 2);
    assert_int_equal(rows_of(file, NULL, NULL, WEIR_OK), 80);
    assert_int_equal(fixture_find(f->dir, "000001.parquet", file, sizeof file), 1);
    assert_int_equal(rows_of(file, NULL, NULL, WEIR_OK), 10);
    /* Ranges by name, as they are typed: whole or cut short. */
    assert_int_equal(
        rows_of(f->dir, "20261122T210500Z-w0-000002.parquet", "20261122T220000Z", WEIR_OK), 60);
    assert_int_equal(rows_of(f->dir, "20261122T22", NULL, WEIR_OK), 120);
    assert_int_equal(rows_of(f->dir, NULL, "20261122T21", WEIR_OK), 30);
    assert_int_equal(rows_of(f->dir, "2027", NULL, WEIR_OK), 0);
    /* Anywhere, under any name; hidden ones and what a link points to in vain left out. */
    (void)snprintf(command, sizeof command,
                   "mkdir -p %s/b/.c %s/_d && cp %s %s/z.parquet && cp %s %s/b/y.parquet && cp %s "
                   "%s/b/.c/x.parquet && "
                   "cp %s %s/_d/x.parquet && cp %s %s/.h.parquet && echo x > %s/notes.txt",
                   a, a, file, a, file, a, file, a, file, a, file, a, a);
    assert_int_equal(system(command), 0);
    assert_int_equal(rows_of(a, NULL, NULL, WEIR_OK), 20);
    (void)snprintf(path, sizeof path, "%s/w.parquet", a);
    assert_int_equal(symlink("/nowhere", path), 0);
    assert_int_equal(rows_of(a, NULL, NULL, WEIR_OK), 20);
    (void)snprintf(path, sizeof path, "%s/b/copy-without-suffix", a);
    (void)snprintf(command, sizeof command, "cp %s %s", file, path);
    assert_int_equal(system(command), 0);
    assert_int_equal(rows_of(path, NULL, NULL, WEIR_OK), 10);
    assert_int_equal(rows_of("/nowhere/at/all", NULL, NULL, WEIR_ENOTFOUND), 0);
    (void)snprintf(path, sizeof path, "%s/b/.c/empty", a);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(rows_of(path, NULL, NULL, WEIR_ENOTFOUND), 0);
    /* Links to directories are followed, but each is read once, and none for ever. */
    (void)snprintf(command, sizeof command,
                   "mkdir -p %s/e/f && cp %s %s/e/f/v.parquet && ln -s e %s/a-link && ln -s ../.. "
                   "%s/e/f/up && "
                   "ln -s . %s/e/self && ln -s %s/flows %s/other",
                   a, file, a, a, a, a, f->dir, a);
    assert_int_equal(system(command), 0);
    assert_int_equal(rows_of(a, NULL, NULL, WEIR_OK), 30 + 150);
    (void)nftw(a, fixture_remove, 16, FTW_DEPTH | FTW_PHYS);
    fixture_close(f);
    /* A compacted hour stands for all its files' names. */
    (void)compact(f->dir, WEIR_OK);
    assert_int_equal(
        rows_of(f->dir, "20261122T210500Z-w0-000002.parquet", "20261122T2159", WEIR_OK), 30);
    assert_int_equal(rows_of(f->dir, "20261122T22", NULL, WEIR_OK), 120);
}

static void hours_can_be_left_out(void **state)
{
    struct fixture *f = *state;
    fixture_open(f);
    for (unsigned hour = 0; hour < 5; hour++)
        fixture_store(f, hour * 10, 10, ROWS_START + hour * HOUR, NULL);
    weir_err err = {0};
    archive_scan *s = NULL;
    struct archive_part *parts = NULL;
    size_t n = 0, done, all;
    uint64_t rows = 0;
    assert_int_equal(archive_scan_open(f->dir, FLOW_TABLE_FLOWS, NULL, NULL, &s, &err), WEIR_OK);
    archive_scan_limit(s, ROWS_START + 2 * HOUR - 1, ROWS_START + 3 * HOUR);
    while (archive_scan_next(s, &parts, &n, &err) == WEIR_OK) {
        for (size_t i = 0; i < n; i++)
            rows += parquet_n_rows(parts[i].file);
        archive_scan_release(s, parts, n);
    }
    archive_scan_progress(s, &done, &all);
    archive_scan_close(s);
    assert_int_equal(rows, 30);
    assert_int_equal(done, all);
}

struct listed {
    uint64_t files, open, rows, tail_rows;
    int64_t min_us, max_us;
};

static bool list_file(void *user, const struct archive_file_info *info)
{
    struct listed *l = user;
    assert_true(info->has_hour && info->has_received && info->octets > 0);
    l->min_us =
        l->files == 0 || info->received_min_us < l->min_us ? info->received_min_us : l->min_us;
    l->max_us =
        l->files == 0 || info->received_max_us > l->max_us ? info->received_max_us : l->max_us;
    l->files++;
    l->open += info->open;
    l->rows += info->rows;
    l->tail_rows += info->tail_rows;
    return true;
}

static void list_bad(void *user, const weir_err *err)
{
    (void)user;
    fail_msg("%s", err->msg);
}

static void files_are_listed(void **state)
{
    struct fixture *f = *state;
    weir_err err = {0};
    struct listed l = {0};
    fixture_open(f);
    fixture_store(f, 0, 1500, ROWS_START, NULL);
    fixture_store(f, 1500, 10, ROWS_START + SECOND, NULL);
    UNIT_CHECK(archive_list(f->dir, list_file, list_bad, &l, &err) == WEIR_OK, "%s", err.msg);
    assert_int_equal(l.files, 1);
    assert_int_equal(l.open, 1);
    assert_int_equal(l.rows, 1510);
    assert_int_equal(l.tail_rows, 10);
    assert_int_equal(l.min_us, ROWS_START / 1000);
    assert_int_equal(l.max_us, ROWS_START / 1000 + 1000000);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(hours_become_one_file),
        TEST(every_type_survives),
        TEST(stopped_half_way),
        TEST(damaged_files_stay_alone),
        TEST(contradicting_columns_stay_apart),
        TEST(a_compaction_can_be_stopped),
        TEST(old_hours_go),
        TEST(plain_directories_are_read),
        TEST(hours_can_be_left_out),
        TEST(files_are_listed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
