#include "query/paths.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static weir_status no_memory(weir_err *err)
{
    return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
}

static bool is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static weir_status add(query_arena *a, struct query_paths *p, const char *path, weir_err *err)
{
    if ((p->n & (p->n - 1)) == 0) { /* 0, 1, 2, 4, ... */
        const char **items = query_arena_alloc(a, (p->n ? 2 * p->n : 1) * sizeof *items);
        if (!items)
            return no_memory(err);
        if (p->n)
            memcpy((void *)items, (const void *)p->items, p->n * sizeof *items);
        p->items = items;
    }
    p->items[p->n++] = path;
    return WEIR_OK;
}

static char *join(query_arena *a, const char *dir, const char *name)
{
    size_t n = strlen(dir), m = strlen(name);
    char *path = query_arena_alloc(a, n + m + 2);
    if (path) {
        memcpy(path, dir, n);
        path[n] = '/';
        memcpy(path + n + 1, name, m + 1);
    }
    return path;
}

static weir_status missing(const char *path, weir_err *err)
{
    return weir_err_set(err, WEIR_ENOTFOUND, 0, "cannot open %.80s: %s", path, strerror(errno));
}

/* Cut the last n + 1 components off path: what is left, and where they begin (NULL: there are not so many). */
static char *cut(char *path, size_t n)
{
    char *at = path + strlen(path);
    for (size_t i = 0; i <= n; i++) {
        while (at > path && at[-1] != '/')
            at--;
        if (at == path)
            return i == n ? path : NULL;
        if (i < n)
            at--;
    }
    return at;
}

/* A file of some other kind, by its first octets. Of what is being written there may be nothing yet. */
static bool is_foreign(const char *path)
{
    char head[4];
    size_t len = strlen(path);
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return false;
    bool file = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0;
    bool journal = len >= 8 && strcmp(path + len - 8, ".journal") == 0;
    bool foreign = file && !journal &&
                   (pread(fd, head, sizeof head, 0) != (ssize_t)sizeof head ||
                    memcmp(head, "PAR1", sizeof head) != 0);
    (void)close(fd);
    return foreign;
}

/* "dir", "dir/first", "dir/first:last", "dir/s1/f1:s2/f2" */
static weir_status range_of(query_arena *a, const char *range, const char **dir,
                            struct query_paths *p, weir_err *err)
{
    char *copy = query_arena_text(a, range, strlen(range));
    if (!copy)
        return no_memory(err);
    *dir = copy;
    if (is_dir(copy))
        return WEIR_OK;
    char *colon = strrchr(copy, ':');
    const char *last = NULL, *name = strrchr(copy, '/');
    size_t depth = 0;
    name = name ? name + 1 : copy;
    /* Names of an archive's files begin with their time. Anything else that is not there is a slip of the pen, not a range
     * of whatever lies around it. */
    struct stat st;
    if (!colon && !(*name >= '0' && *name <= '9') && stat(copy, &st) != 0)
        return missing(range, err);
    if (is_foreign(copy))
        return weir_err_set(err, WEIR_EFORMAT, 0,
                            "-R %.60s: no Parquet file, and no archive (which is a directory that "
                            "'weir collect' writes)",
                            range);
    if (colon) {
        *colon = 0;
        last = colon + 1;
        for (const char *s = last; *s; s++)
            depth += *s == '/';
    }
    char *first = cut(copy, depth);
    if (!first || !*first || (last && !*last))
        return weir_err_set(err, WEIR_EINVAL, 0,
                            "-R %.60s: a directory, DIR/FIRST or DIR/FIRST:LAST is needed", range);
    p->from = first;
    p->to = last;
    if (first == copy) {
        *dir = ".";
    } else {
        p->from = query_arena_text(a, first, strlen(first));
        if (!p->from)
            return no_memory(err);
        first[-1] = 0;
        if (!*copy)
            *dir = "/";
    }
    return WEIR_OK;
}

/* Every directory of base, by name. */
static weir_status all_dirs(query_arena *a, const char *base, struct query_paths *dirs,
                            weir_err *err)
{
    struct dirent **names = NULL;
    int n = scandir(base, &names, NULL, alphasort);
    weir_status s = n < 0 ? missing(base, err) : WEIR_OK;
    for (int i = 0; i < n; i++) {
        char *path =
            s == WEIR_OK && names[i]->d_name[0] != '.' ? join(a, base, names[i]->d_name) : NULL;
        if (path && is_dir(path))
            s = add(a, dirs, path, err);
        free(names[i]);
    }
    free((void *)names);
    return s;
}

/* "base/d1:d2:d3", "base/d1:@" */
static weir_status dirs_of(query_arena *a, const char *text, struct query_paths *dirs,
                           weir_err *err)
{
    char *copy = query_arena_text(a, text, strlen(text));
    if (!copy)
        return no_memory(err);
    char *colon = strchr(copy, ':');
    char *slash = NULL;
    if (colon) {
        *colon = 0;
        slash = strrchr(copy, '/');
    }
    const char *base = !colon ? copy : slash == copy ? "/" : slash ? copy : ".";
    WEIR_TRY(add(a, dirs, query_arena_text(a, copy, strlen(copy)), err));
    if (slash)
        *slash = 0;
    while (colon) {
        const char *name = colon + 1;
        colon = strchr(name, ':');
        if (colon)
            *colon = 0;
        if (strcmp(name, "@") == 0) {
            dirs->n = 0;
            return all_dirs(a, base, dirs, err);
        }
        const char *path = join(a, base, name);
        if (!path)
            return no_memory(err);
        WEIR_TRY(add(a, dirs, path, err));
    }
    return WEIR_OK;
}

static weir_status under_dirs(query_arena *a, const struct query_paths *dirs, const char *name,
                              struct query_paths *out, weir_err *err)
{
    for (size_t i = 0; i < dirs->n; i++) {
        const char *path = name ? join(a, dirs->items[i], name) : dirs->items[i];
        if (!path)
            return no_memory(err);
        WEIR_TRY(add(a, out, path, err));
    }
    return WEIR_OK;
}

weir_status query_paths_find(query_arena *a, const char *const *read, size_t n_read,
                             const char *range, const char *dirs, struct query_paths *out,
                             weir_err *err)
{
    *out = (struct query_paths){0};
    struct query_paths under = {0};
    if (dirs)
        WEIR_TRY(dirs_of(a, dirs, &under, err));
    for (size_t i = 0; i < n_read; i++) {
        if (dirs)
            WEIR_TRY(under_dirs(a, &under, read[i], out, err));
        else
            WEIR_TRY(add(a, out, read[i], err));
    }
    if (range && dirs) {
        /* -R names files of each of the directories: "first:last", or ".": all. */
        char *copy = query_arena_text(a, range, strlen(range));
        if (!copy)
            return no_memory(err);
        char *colon = strchr(copy, ':');
        if (colon)
            *colon = 0;
        if (strcmp(copy, ".") != 0) {
            out->from = copy;
            out->to = colon ? colon + 1 : NULL;
        }
        WEIR_TRY(under_dirs(a, &under, NULL, out, err));
    } else if (range) {
        const char *dir = NULL;
        WEIR_TRY(range_of(a, range, &dir, out, err));
        WEIR_TRY(add(a, out, dir, err));
    } else if (dirs && n_read == 0) {
        WEIR_TRY(under_dirs(a, &under, NULL, out, err));
    }
    if (out->n == 0) {
        if (!is_dir("archive"))
            return weir_err_set(
                err, WEIR_ENOTFOUND, 0,
                "no archive in ./archive: name one with -R DIR, or start 'weir collect' here");
        return add(a, out, "archive", err);
    }
    struct stat st;
    for (size_t i = 0; i < out->n; i++)
        if (stat(out->items[i], &st) != 0)
            return missing(out->items[i], err);
    return WEIR_OK;
}
