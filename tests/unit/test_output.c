#include "collect/output.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/log.h"
#include "unit.h"

static char dir[] = "/tmp/weir-output-XXXXXX";
static char path[64];
static atomic_bool give_up;

static int setup(void **state)
{
    (void)state;
    log_init("test", LOG_LEVEL_ERROR);
    (void)unlink(path);
    return 0;
}

static output *must_open(int level)
{
    output *o = NULL;
    weir_err err = {0};
    weir_status s = output_open(path, level, &give_up, &o, &err);
    UNIT_CHECK(s == WEIR_OK, "%s", err.msg);
    assert_true(output_is_gzip(o));
    return o;
}

static uint64_t must_write(output *o, const char *text)
{
    size_t done = 0;
    uint64_t added = 0;
    weir_err err = {0};
    weir_status s = output_write(o, text, strlen(text), &done, &added, &err);
    UNIT_CHECK(s == WEIR_OK, "%s", err.msg);
    assert_int_equal(done, strlen(text));
    return added;
}

static size_t slurp(uint8_t *p, size_t cap)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t n = fread(p, 1, cap, f);
    (void)fclose(f);
    return n;
}

static void spill(const void *p, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

/* What a gzip reader sees. */
static void must_read(const char *want)
{
    char got[4096];
    gzFile f = gzopen(path, "rb");
    assert_non_null(f);
    int n = gzread(f, got, sizeof got - 1);
    UNIT_CHECK(n >= 0, "gzread failed");
    got[n] = 0;
    assert_int_equal(gzclose(f), Z_OK);
    assert_string_equal(got, want);
}

static void members_are_whole_at_every_level(void **state)
{
    (void)state;
    for (int level = 0; level <= 9; level++) {
        uint8_t data[4096];
        (void)unlink(path);
        output *o = must_open(level);
        uint64_t none = slurp(data, sizeof data);
        assert_true(none > 0);
        must_read(""); /* a gzip file from its first moment */
        uint64_t one = must_write(o, "one\n");
        must_read("one\n"); /* while it is open */
        uint64_t two = must_write(o, "two\n");
        output_close(o);
        must_read("one\ntwo\n");
        assert_int_equal(slurp(data, sizeof data), none + one + two);
        const uint64_t lengths[] = {none, one, two};
        const uint8_t *member = data;
        for (size_t i = 0; i < UNIT_N(lengths); member += lengths[i++]) {
            assert_memory_equal(member + 10, "\x08\x00WR\x04\x00", 6);
            assert_int_equal(member[16] | member[17] << 8, lengths[i]);
        }
    }
}

/* The file cut at every octet: what is whole stays, the rest goes, and writing goes on behind it. */
static void every_cut(void **state)
{
    (void)state;
    uint8_t data[4096];
    output *o = must_open(6);
    uint64_t one =
        slurp(data, sizeof data) + must_write(o, "one\n"); /* with the member of nothing */
    uint64_t two = must_write(o, "two\n");
    output_close(o);
    size_t n = slurp(data, sizeof data);
    for (size_t cut = 0; cut <= n; cut++) {
        spill(data, cut);
        o = must_open(1);
        must_write(o, "three\n");
        output_close(o);
        must_read(cut < one ? "three\n" : cut < one + two ? "one\nthree\n" : "one\ntwo\nthree\n");
    }
}

/* Any octet of the last member changed or zeroed, as by a failing disk: never a file that a reader chokes on. */
static void every_damage_of_the_end(void **state)
{
    (void)state;
    uint8_t data[4096], bad[4096];
    output *o = must_open(6);
    uint64_t one = slurp(data, sizeof data) + must_write(o, "one\n");
    must_write(o, "two, a somewhat longer line\n");
    output_close(o);
    size_t n = slurp(data, sizeof data);
    for (size_t at = one; at < n; at++) {
        memcpy(bad, data, n);
        bad[at] ^= 0x55;
        spill(bad, n);
        o = must_open(1);
        must_write(o, "three\n");
        output_close(o);
        char got[256] = {0};
        gzFile f = gzopen(path, "rb");
        int len = gzread(f, got, sizeof got - 1);
        UNIT_CHECK(len > 0 && gzclose(f) == Z_OK && strstr(got, "three\n"), "octet %zu", at);
    }
    memcpy(bad, data, n);
    memset(bad + one, 0, n - one); /* the length reached the disk, the data did not */
    spill(bad, n);
    o = must_open(1);
    must_write(o, "three\n");
    output_close(o);
    must_read("one\nthree\n");
}

static void foreign_members(void **state)
{
    (void)state;
    gzFile f = gzopen(path, "ab");
    assert_true(gzputs(f, "theirs\n") > 0);
    assert_int_equal(gzclose(f), Z_OK);
    output *o = must_open(1);
    must_write(o, "ours\n");
    output_close(o);
    f = gzopen(path, "ab");
    assert_true(gzputs(f, "theirs again\n") > 0);
    assert_int_equal(gzclose(f), Z_OK);
    o = must_open(1);
    must_write(o, "ours\n");
    output_close(o);
    must_read("theirs\nours\ntheirs again\nours\n");
}

static void no_gzip_file_is_touched(void **state)
{
    (void)state;
    output *o = NULL;
    weir_err err = {0};
    uint8_t data[64];
    spill("plain text", 10);
    assert_int_equal(output_open(path, 1, &give_up, &o, &err), WEIR_EFORMAT);
    assert_non_null(strstr(err.msg, "no gzip file"));
    assert_int_equal(slurp(data, sizeof data), 10);
}

static void one_writer(void **state)
{
    (void)state;
    output *a = must_open(1), *b = NULL;
    weir_err err = {0};
    assert_int_equal(output_open(path, 1, &give_up, &b, &err), WEIR_ELIMIT);
    output_close(a);
    output_close(must_open(1));
}

static void cannot_open(void **state)
{
    (void)state;
    output *o = NULL;
    weir_err err = {0};
    assert_int_equal(output_open("/nowhere/at/all.gz", 1, &give_up, &o, &err), WEIR_EIO);
    assert_non_null(strstr(err.msg, "cannot open /nowhere/at/all.gz: No such file or directory"));
    assert_int_equal(output_open("/tmp", 1, &give_up, &o, &err), WEIR_EIO);
    assert_non_null(strstr(err.msg, "Is a directory"));
}

/* At every size at which the file system may say no, the file ends with a whole member, and the same text goes in
 * once there is room. */
static void full_at_every_size(void **state)
{
    (void)state;
    struct rlimit old;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    output *o = must_open(1);
    uint64_t one = must_write(o, "one\n");
    for (rlim_t limit = one; limit < one + 32; limit++) {
        struct rlimit now = {.rlim_cur = limit, .rlim_max = old.rlim_max};
        size_t done = 0;
        uint64_t added = 0;
        weir_err err = {0};
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &now), 0);
        weir_status s = output_write(o, "two\n", 4, &done, &added, &err);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
        UNIT_CHECK(s == WEIR_EIO, "limit %lu", (unsigned long)limit);
        assert_non_null(strstr(err.msg, "File too large"));
        assert_int_equal(done, 0);
        assert_int_equal(added, 0);
        must_read("one\n");
    }
    must_write(o, "two\n");
    must_read("one\ntwo\n");
    output_close(o);
}

static void reopen(void **state)
{
    (void)state;
    char old[80];
    (void)snprintf(old, sizeof old, "%s.1", path);
    output *o = must_open(1);
    must_write(o, "one\n");
    assert_int_equal(output_reopen(o, NULL), WEIR_OK); /* still the same file */
    must_write(o, "two\n");
    assert_int_equal(rename(path, old), 0);
    must_write(o, "three\n"); /* into the renamed one */
    assert_int_equal(output_reopen(o, NULL), WEIR_OK);
    must_write(o, "four\n");
    output_close(o);
    must_read("four\n");
    assert_int_equal(rename(old, path), 0);
    must_read("one\ntwo\nthree\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(members_are_whole_at_every_level, setup),
        cmocka_unit_test_setup(every_cut, setup),
        cmocka_unit_test_setup(every_damage_of_the_end, setup),
        cmocka_unit_test_setup(foreign_members, setup),
        cmocka_unit_test_setup(no_gzip_file_is_touched, setup),
        cmocka_unit_test_setup(one_writer, setup),
        cmocka_unit_test_setup(cannot_open, setup),
        cmocka_unit_test_setup(full_at_every_size, setup),
        cmocka_unit_test_setup(reopen, setup),
    };
    if (!mkdtemp(dir))
        return 1;
    (void)snprintf(path, sizeof path, "%s/a.gz", dir);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    char cmd[128];
    (void)snprintf(cmd, sizeof cmd, "rm -r %s", dir);
    if (system(cmd) != 0)
        return 1;
    return failed;
}
