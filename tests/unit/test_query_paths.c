/* What -R, -r and -M name. */
#include "query/paths.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "unit.h"

static char dir[] = "/tmp/weir-paths-XXXXXX";
static const char *const files[][2] = {{"notes.txt", "no flows at all"},
                                       {"20notes", "nor here"},
                                       {"short", "PA"},
                                       {"web.parquet", "PAR1 and more"},
                                       {"20261122T210000Z-w0-000001.parquet", "PAR1 and more"},
                                       {"20261122T210500Z-w0-000002.part", ""},
                                       {"20261122T210500Z-w0-000002.journal", "WEIR"}};

static char *path_of(const char *name)
{
    static char path[160];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static int make_files(void **state)
{
    (void)state;
    if (!mkdtemp(dir))
        return 1;
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        FILE *f = fopen(path_of(files[i][0]), "w");
        if (!f)
            return 1;
        (void)fputs(files[i][1], f);
        (void)fclose(f);
    }
    return mkdir(path_of("archive"), 0700);
}

static int remove_files(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        (void)unlink(path_of(files[i][0]));
    (void)rmdir(path_of("archive"));
    return rmdir(dir);
}

static weir_status find(query_arena *a, const char *range, struct query_paths *out, weir_err *err)
{
    *err = (weir_err){0};
    return query_paths_find(a, NULL, 0, range, NULL, out, err);
}

/* The message names what was named. */
static void files_that_are_none(void **state)
{
    static const char *const wrong[] = {"notes.txt", "20notes", "short"};
    query_arena *a = query_arena_new();
    struct query_paths p;
    weir_err err;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        char *path = path_of(wrong[i]);
        assert_int_equal(find(a, path, &p, &err), WEIR_EFORMAT);
        UNIT_CHECK(strstr(err.msg, path) && strstr(err.msg, "no Parquet file"), "%s", err.msg);
    }
    assert_int_equal(find(a, path_of("none"), &p, &err), WEIR_ENOTFOUND);
    UNIT_CHECK(strstr(err.msg, "/none: No such file"), "%s", err.msg);
    query_arena_free(a);
}

static void directories_and_ranges(void **state)
{
    query_arena *a = query_arena_new();
    struct query_paths p;
    weir_err err;
    (void)state;
    assert_int_equal(find(a, path_of("archive"), &p, &err), WEIR_OK);
    assert_int_equal(p.n, 1);
    assert_string_equal(p.items[0], path_of("archive"));
    assert_null(p.from);
    for (size_t i = 3; i < ARRAY_LEN(files); i++) {
        UNIT_CHECK(find(a, path_of(files[i][0]), &p, &err) == WEIR_OK, "%s", err.msg);
        assert_string_equal(p.items[0], dir);
        assert_string_equal(p.from, files[i][0]);
        assert_null(p.to);
    }
    assert_int_equal(find(a, path_of("20261122:20261123"), &p, &err), WEIR_OK);
    assert_string_equal(p.items[0], dir);
    assert_string_equal(p.from, "20261122");
    assert_string_equal(p.to, "20261123");
    query_arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_that_are_none),
        cmocka_unit_test(directories_and_ranges),
    };
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
