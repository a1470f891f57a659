/* Cursors of those who take rows away from an archive: what is written is what is read, whatever happens between. */
#include "archive/cursor.h"
#include "archive/layout.h"
#include "unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64];

static void make_dir(void)
{
    (void)snprintf(dir, sizeof dir, "/tmp/weir-cursor-XXXXXX");
    assert_non_null(mkdtemp(dir));
}

static void remove_dir(void)
{
    static const char *const names[] = {"c.cursor", "c.cursor.old", "c.cursor.tmp", "c.lock", "id"};
    char path[160];
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        (void)snprintf(path, sizeof path, "%s/ship/%s", dir, names[i]);
        (void)unlink(path);
    }
    (void)snprintf(path, sizeof path, "%s/ship", dir);
    (void)rmdir(path);
    assert_int_equal(rmdir(dir), 0);
}

static void set(archive_cursor *c, const char *name, uint64_t rows, bool done)
{
    weir_err err = {0};
    UNIT_CHECK(archive_cursor_set(c, FLOW_TABLE_FLOWS, name, rows, done, &err) == WEIR_OK, "%s",
               err.msg);
}

static struct archive_cursor_file of(const archive_cursor *c, const char *name)
{
    return archive_cursor_of(c, FLOW_TABLE_FLOWS, name);
}

#define A "20261122T210500Z-w0-000017"
#define B "20261122T211000Z-w1-000018"
#define C "20251122T211000Z-w0-000019"
#define COMPACTED "20261122T200000Z-c0-000001"
#define COMPACTED2 "20261122T200000Z-c0-000002"

static void test_files(void **state)
{
    (void)state;
    archive_cursor c = {0};
    weir_err err;
    assert_false(of(&c, A ".part").done);
    assert_int_equal(of(&c, A ".part").rows, 0);
    set(&c, B ".part", 7, false);
    set(&c, A ".part", 100, false);
    set(&c, C, 3, false);
    assert_int_equal(of(&c, A ".parquet").rows, 100);
    assert_int_equal(of(&c, B).rows, 7);
    set(&c, B ".parquet", 9, true);
    assert_true(of(&c, B ".parquet").done);
    assert_int_equal(c.n, 3);
    /* Another table's file of the same name is another file. */
    assert_false(archive_cursor_of(&c, FLOW_TABLE_LEDGER, B ".pq").done);
    /* What compaction made since holds nothing new. */
    assert_true(of(&c, COMPACTED ".parquet").done);
    set(&c, COMPACTED ".parquet", 0, false);
    assert_false(of(&c, COMPACTED ".parquet").done);
    assert_true(of(&c, COMPACTED2 ".parquet").done);
    /* No file of ours. */
    assert_true(of(&c, "foreign.parquet").done);
    assert_int_equal(archive_cursor_set(&c, FLOW_TABLE_FLOWS, "foreign.parquet", 1, false, &err),
                     WEIR_EINVAL);
    archive_cursor_raise(&c, 19);
    assert_true(of(&c, A).done);
    assert_true(of(&c, B).done);
    assert_int_equal(of(&c, C).rows, 3);
    assert_false(of(&c, COMPACTED).done);
    assert_int_equal(c.n, 2);
    archive_cursor_raise(&c, 18); /* never back */
    assert_int_equal(c.floor, 19);
    set(&c, A, 1, false);
    assert_int_equal(c.n, 2);
    set(&c, COMPACTED, 5, true);
    archive_cursor_raise(&c, 19);
    assert_int_equal(c.n, 1);
    archive_cursor_done(&c);
}

static void fill(archive_cursor *c)
{
    c->destination = strdup("kafka://broker:9092/flows");
    c->hold = 1 << 20;
    archive_cursor_raise(c, 17);
    set(c, A, 4711, false);
    set(c, B, 0, true);
    set(c, COMPACTED, 1, false);
}

static void same(const archive_cursor *a, const archive_cursor *b)
{
    assert_string_equal(a->destination, b->destination);
    assert_int_equal(a->hold, b->hold);
    assert_int_equal(a->floor, b->floor);
    assert_int_equal(a->n, b->n);
    for (size_t i = 0; i < a->n; i++) {
        assert_string_equal(a->files[i].stem, b->files[i].stem);
        assert_int_equal(a->files[i].table, b->files[i].table);
        assert_int_equal(a->files[i].done, b->files[i].done);
        assert_int_equal(a->files[i].done ? 0 : a->files[i].rows, b->files[i].rows);
    }
}

static void spoil(const char *name, off_t at, char with)
{
    char path[160];
    (void)snprintf(path, sizeof path, "%s/ship/%s", dir, name);
    int fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, &with, 1, at), 1);
    (void)close(fd);
}

static off_t size_of(const char *name)
{
    char path[160];
    struct stat st;
    (void)snprintf(path, sizeof path, "%s/ship/%s", dir, name);
    return stat(path, &st) == 0 ? st.st_size : -1;
}

static void test_round(void **state)
{
    (void)state;
    archive_cursor c = {0}, back = {0};
    weir_err err = {0};
    bool old = true;
    make_dir();
    assert_int_equal(archive_cursor_read(dir, "c", &back, &old, &err), WEIR_ENOTFOUND);
    fill(&c);
    UNIT_CHECK(archive_cursor_write(dir, "c", &c, &err) == WEIR_OK, "%s", err.msg);
    UNIT_CHECK(archive_cursor_read(dir, "c", &back, &old, &err) == WEIR_OK, "%s", err.msg);
    assert_false(old);
    same(&c, &back);
    /* Any octet that changes is noticed, and without one before it nothing is guessed. */
    off_t size = size_of("c.cursor");
    for (off_t at = 0; at < size; at++) {
        UNIT_CHECK(archive_cursor_write(dir, "c", &c, &err) == WEIR_OK, "%s", err.msg);
        char path[160];
        (void)snprintf(path, sizeof path, "%s/ship/c.cursor.old", dir);
        (void)unlink(path);
        spoil("c.cursor", at, at % 2 ? '\0' : '7');
        archive_cursor_done(&back);
        weir_status s = archive_cursor_read(dir, "c", &back, &old, &err);
        if (s == WEIR_OK) /* it was a 7 */
            same(&c, &back);
        else
            assert_int_equal(s, WEIR_EFORMAT);
    }
    archive_cursor_done(&c);
    archive_cursor_done(&back);
    remove_dir();
}

static void test_before(void **state)
{
    (void)state;
    archive_cursor c = {0}, back = {0};
    weir_err err = {0};
    bool old = false;
    make_dir();
    fill(&c);
    assert_int_equal(archive_cursor_write(dir, "c", &c, &err), WEIR_OK);
    set(&c, A, 5000, false);
    assert_int_equal(archive_cursor_write(dir, "c", &c, &err), WEIR_OK);
    spoil("c.cursor", 30, '#');
    assert_int_equal(archive_cursor_read(dir, "c", &back, &old, &err), WEIR_OK);
    assert_true(old);
    assert_int_equal(of(&back, A).rows, 4711);
    /* The next one does not make the damaged one the one before it. */
    assert_int_equal(archive_cursor_write(dir, "c", &c, &err), WEIR_OK);
    spoil("c.cursor", 30, '#');
    assert_int_equal(archive_cursor_read(dir, "c", &back, &old, &err), WEIR_OK);
    assert_true(old);
    assert_int_equal(of(&back, A).rows, 4711);
    spoil("c.cursor.old", 30, '#');
    archive_cursor_done(&back);
    assert_int_equal(archive_cursor_read(dir, "c", &back, &old, &err), WEIR_EFORMAT);
    assert_non_null(strstr(err.msg, "--forget c"));
    archive_cursor_done(&c);
    archive_cursor_done(&back);
    remove_dir();
}

static void test_lock(void **state)
{
    (void)state;
    archive_cursor c = {0};
    struct archive_names names;
    weir_err err = {0};
    int fd, other;
    make_dir();
    fill(&c);
    assert_int_equal(archive_cursor_names(dir, &names, &err), WEIR_OK);
    assert_int_equal(names.n, 0);
    assert_int_equal(archive_cursor_lock(dir, "c", &fd, &err), WEIR_OK);
    assert_int_equal(archive_cursor_write(dir, "c", &c, &err), WEIR_OK);
    assert_int_equal(archive_cursor_names(dir, &names, &err), WEIR_OK);
    assert_int_equal(names.n, 1);
    assert_string_equal(names.items[0], "c");
    archive_names_done(&names);
    assert_true(archive_cursor_locked(dir, "c"));
    assert_int_equal(archive_cursor_lock(dir, "c", &other, &err), WEIR_ELIMIT);
    assert_int_equal(archive_cursor_forget(dir, "c", &err), WEIR_ELIMIT);
    (void)close(fd);
    assert_false(archive_cursor_locked(dir, "c"));
    assert_int_equal(archive_cursor_forget(dir, "c", &err), WEIR_OK);
    assert_int_equal(archive_cursor_forget(dir, "c", &err), WEIR_ENOTFOUND);
    assert_int_equal(archive_cursor_names(dir, &names, &err), WEIR_OK);
    assert_int_equal(names.n, 0);
    archive_cursor_done(&c);
    remove_dir();
}

static void test_id(void **state)
{
    (void)state;
    char id[ARCHIVE_CURSOR_ID], again[ARCHIVE_CURSOR_ID];
    weir_err err = {0};
    make_dir();
    UNIT_CHECK(archive_cursor_id(dir, id, &err) == WEIR_OK, "%s", err.msg);
    assert_int_equal(strlen(id), ARCHIVE_CURSOR_ID - 1);
    assert_int_equal(archive_cursor_id(dir, again, &err), WEIR_OK);
    assert_string_equal(id, again);
    spoil("id", 3, 'x');
    assert_int_equal(archive_cursor_id(dir, again, &err), WEIR_EFORMAT);
    assert_int_equal(archive_cursor_id("/nowhere/at/all", again, &err), WEIR_ENOTFOUND);
    remove_dir();
}

static void test_names(void **state)
{
    (void)state;
    static const char *const bad[] = {"", ".", "..", "../x", "a/b", "_x", "a b", "\303\244"};
    assert_true(archive_cursor_name_ok("clickhouse-db.example.net-8123-flows"));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(archive_cursor_name_ok(bad[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files), cmocka_unit_test(test_round), cmocka_unit_test(test_before),
        cmocka_unit_test(test_lock),  cmocka_unit_test(test_names), cmocka_unit_test(test_id),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
