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

static void fill(int i, const char *octets, size_t len)
{
    int fd = open(name[i], O_RDWR | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, octets, len), len);
    (void)close(fd);
}

/* How .a and .b look: 'w' whole, 'd' damaged, '-' neither. */
static void looks(const char *want)
{
    struct ledger_checkpoint_state now;
    assert_int_equal(ledger_checkpoint_look(path, &now, NULL), WEIR_OK);
    for (int i = 0; i < 2; i++) {
        char is = now.whole[i] ? 'w' : now.damaged[i] ? 'd' : '-';
        UNIT_CHECK(is == want[i] && !(now.whole[i] && now.damaged[i]), ".%c is %c, not %s", 'a' + i,
                   is, want);
    }
    assert_true((now.modified_us > 0) ==
                (access(name[0], F_OK) == 0 || access(name[1], F_OK) == 0));
}

static void tells_what_is_damaged(void **state)
{
    (void)state;
    char zeros[200] = {0};
    ledger_checkpoint *c;
    ledger_checkpoint_remove(path);
    looks("--");
    assert_int_equal(ledger_checkpoint_open(path, &c, NULL), WEIR_OK);
    looks("--"); /* two files without anything in them */
    assert_int_equal(ledger_checkpoint_write(c, (const uint8_t *)"one", 3), WEIR_OK);
    looks("-w"); /* of .a none was written yet */
    fill(0, zeros, sizeof zeros);
    looks("-w");
    fill(0, "x", 1);
    looks("dw");
    ledger_checkpoint_close(c);
    ledger_checkpoint_remove(path);
    put("one");
    put("two");
    put("three");
    looks("ww");
    for (int i = 0; i < 2; i++) {
        const char *bad = i ? "wd" : "dw";
        fill(i, zeros, sizeof zeros); /* as some file systems leave it after a power failure */
        looks(bad);
        fill(i, "", 0);
        looks(bad);
        fill(i, "WEIRCHK1 and nothing more", 25);
        looks(bad);
        assert_int_equal(unlink(name[i]), 0);
        looks(bad);
        assert_int_equal(mkdir(name[i], 0700), 0);
        looks(bad);
        assert_int_equal(rmdir(name[i]), 0);
        put("again");
        put("and again");
        looks("ww");
    }
    fill(0, "torn", 4);
    fill(1, "torn", 4);
    looks("dd");
}

/* Something else stands where a copy belongs: the other one has all, both as soon as that is gone. */
static void one_copy_alone(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        ledger_checkpoint *c;
        ledger_checkpoint_remove(path);
        assert_int_equal(mkdir(name[i], 0700), 0);
        assert_int_equal(ledger_checkpoint_open(path, &c, NULL), WEIR_OK);
        const char *trouble = ledger_checkpoint_trouble(c);
        UNIT_CHECK(trouble && strncmp(trouble, name[i], strlen(name[i])) == 0 &&
                       strstr(trouble, "Is a directory"),
                   "%s", trouble ? trouble : "no trouble");
        for (int n = 0; n < 5; n++) {
            char text[40];
            int len = snprintf(text, sizeof text, "number %d", n);
            assert_int_equal(ledger_checkpoint_write(c, (const uint8_t *)text, (size_t)len),
                             WEIR_OK);
            assert_non_null(ledger_checkpoint_trouble(c));
            expect(text);
        }
        looks(i ? "wd" : "dw");
        assert_int_equal(rmdir(name[i]), 0);
        /* The copy that is whole is not touched now. */
        struct stat before, after;
        assert_int_equal(stat(name[!i], &before), 0);
        assert_int_equal(ledger_checkpoint_write(c, (const uint8_t *)"healed", 6), WEIR_OK);
        assert_null(ledger_checkpoint_trouble(c));
        assert_int_equal(stat(name[!i], &after), 0);
        assert_memory_equal(&before.st_mtim, &after.st_mtim, sizeof before.st_mtim);
        looks("ww");
        expect("healed");
        ledger_checkpoint_close(c);
    }
}

static void no_copy_at_all(void **state)
{
    (void)state;
    ledger_checkpoint *c;
    ledger_checkpoint_remove(path);
    assert_int_equal(mkdir(name[0], 0700), 0);
    assert_int_equal(mkfifo(name[1], 0600), 0);
    assert_int_equal(ledger_checkpoint_open(path, &c, NULL), WEIR_OK);
    UNIT_CHECK(strstr(ledger_checkpoint_trouble(c), "Not a file"), "%s",
               ledger_checkpoint_trouble(c));
    assert_int_equal(ledger_checkpoint_write(c, (const uint8_t *)"lost", 4), WEIR_EIO);
    looks("dd");
    assert_int_equal(rmdir(name[0]), 0);
    assert_int_equal(unlink(name[1]), 0);
    assert_int_equal(ledger_checkpoint_write(c, (const uint8_t *)"found", 5), WEIR_OK);
    expect("found");
    ledger_checkpoint_close(c);
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
        cmocka_unit_test(tells_what_is_damaged),
        cmocka_unit_test(one_copy_alone),
        cmocka_unit_test(no_copy_at_all),
        cmocka_unit_test(has_its_room),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
