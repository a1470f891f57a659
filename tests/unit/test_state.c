#include "collect/state.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "unit.h"

static char dir[] = "/tmp/weir-state-XXXXXX";
static char path[64];

static void must_have(const char *want)
{
    uint8_t *data = NULL;
    size_t len = 0;
    assert_int_equal(state_read(path, &data, &len, NULL), WEIR_OK);
    assert_int_equal(len, strlen(want));
    assert_memory_equal(data, want, len);
    free(data);
}

static void replaced_whole(void **state)
{
    (void)state;
    uint8_t *data;
    size_t len;
    assert_int_equal(state_read(path, &data, &len, NULL), WEIR_ENOTFOUND);
    assert_int_equal(state_write(path, (const uint8_t *)"first, longer", 13, NULL), WEIR_OK);
    must_have("first, longer");
    assert_int_equal(state_write(path, (const uint8_t *)"second", 6, NULL), WEIR_OK);
    must_have("second");
    assert_int_equal(state_write(path, NULL, 0, NULL), WEIR_OK);
    must_have("");
    char tmp[80];
    (void)snprintf(tmp, sizeof tmp, "%s.tmp", path);
    assert_int_not_equal(access(tmp, F_OK), 0);
}

static void a_failure_leaves_the_old_one(void **state)
{
    (void)state;
    char tmp[80];
    weir_err err = {0};
    assert_int_equal(state_write(path, (const uint8_t *)"good", 4, NULL), WEIR_OK);
    (void)snprintf(tmp, sizeof tmp, "%s.tmp", path);
    assert_int_equal(mkdir(tmp, 0700), 0); /* in the way */
    assert_int_equal(state_write(path, (const uint8_t *)"new", 3, &err), WEIR_EIO);
    assert_non_null(strstr(err.msg, path));
    assert_int_equal(rmdir(tmp), 0);
    must_have("good");
}

static void not_a_file(void **state)
{
    (void)state;
    uint8_t *data;
    size_t len;
    weir_err err = {0};
    assert_int_equal(state_read(dir, &data, &len, &err), WEIR_EIO);
    assert_int_equal(state_read("/dev/zero", &data, &len, &err), WEIR_EIO);
    assert_non_null(strstr(err.msg, "no regular file"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replaced_whole),
        cmocka_unit_test(a_failure_leaves_the_old_one),
        cmocka_unit_test(not_a_file),
    };
    if (!mkdtemp(dir))
        return 1;
    (void)snprintf(path, sizeof path, "%s/state", dir);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    (void)unlink(path);
    return rmdir(dir) != 0 || failed;
}
