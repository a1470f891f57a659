#include "ledger/checkpoint.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "unit.h"

static char dir[] = "/tmp/weir-checkpoint-XXXXXX";
static char path[64], name[2][80];

static int make_dir(void **state)
{
    (void)state;
    if (!mkdtemp(dir))
        return 1;
    (void)snprintf(path, sizeof path, "%s/c", dir);
    for (int i = 0; i < 2; i++)
        (void)snprintf(name[i], sizeof name[i], "%s.%c", path, 'a' + i);
    return 0;
}

static int remove_dir(void **state)
{
    (void)state;
    ledger_checkpoint_remove(path);
    return rmdir(dir);
}

static void put(const char *text)
{
    ledger_checkpoint *c;
    weir_err err = {0};
    UNIT_CHECK(ledger_checkpoint_open(path, &c, &err) == WEIR_OK, "%s", err.msg);
    assert_int_equal(ledger_checkpoint_write(c, (const uint8_t *)text, strlen(text)), WEIR_OK);
    ledger_checkpoint_close(c);
}

static void expect(const char *want)
{
    uint8_t *data;
    size_t len;
    weir_err err = {0};
    UNIT_CHECK(ledger_checkpoint_read(path, 0, &data, &len, &err) == WEIR_OK, "%s", err.msg);
    UNIT_CHECK(len == strlen(want) && memcmp(data, want, len) == 0, "%.*s", (int)len,
               (const char *)data);
    free(data);
}

static void newest(void **state)
{
    (void)state;
    uint8_t *data;
    size_t len;
    ledger_checkpoint_remove(path);
    assert_int_equal(ledger_checkpoint_read(path, 0, &data, &len, NULL), WEIR_ENOTFOUND);
    put("first");
    expect("first");
    put("the second, which is longer");
    expect("the second, which is longer");
    put("3");
    expect("3");
    put("");
    expect("");
    ledger_checkpoint *c;
    assert_int_equal(ledger_checkpoint_open(path, &c, NULL), WEIR_OK);
    for (int i = 0; i < 100; i++) {
        char text[40];
        int n = snprintf(text, sizeof text, "number %d", i);
        assert_int_equal(ledger_checkpoint_write(c, (const uint8_t *)text, (size_t)n), WEIR_OK);
        expect(text);
    }
    ledger_checkpoint_close(c);
}

/* Whatever octet of one of them is damaged, the other one is there. */
static void torn(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        ledger_checkpoint_remove(path);
        put("older"); /* the first goes into .b */
        put("newer");
        const char *other = i == 0 ? "older" : "newer";
        int fd = open(name[i], O_RDWR);
        assert_true(fd >= 0);
        for (off_t at = 0; at < 24 + 5 + 8; at++) {
            uint8_t was, bad;
            assert_int_equal(pread(fd, &was, 1, at), 1);
            bad = was ^ 0x10;
            assert_int_equal(pwrite(fd, &bad, 1, at), 1);
            expect(other);
            assert_int_equal(pwrite(fd, &was, 1, at), 1);
        }
        expect("newer");
        for (off_t len = 36; len >= 0; len--) {
            assert_int_equal(ftruncate(fd, len), 0);
            expect(other);
        }
        (void)close(fd);
        put("newest");
        expect("newest");
    }
    /* Both: said, and the next one is written over them. */
    for (int i = 0; i < 2; i++) {
        int fd = open(name[i], O_RDWR);
        assert_int_equal(pwrite(fd, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", 35, 0), 35);
        (void)close(fd);
    }
    uint8_t *data;
    size_t len;
    assert_int_equal(ledger_checkpoint_read(path, 0, &data, &len, NULL), WEIR_EFORMAT);
    put("after");
    expect("after");
}

/* Its room on the disk is there before it is needed. */
static void has_its_room(void **state)
{
    (void)state;
    struct stat st;
    ledger_checkpoint_remove(path);
    put("x");
    put("y");
    for (int i = 0; i < 2; i++) {
        assert_int_equal(stat(name[i], &st), 0);
        assert_true(st.st_size >= 65536);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(newest),
        cmocka_unit_test(torn),
        cmocka_unit_test(has_its_room),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
