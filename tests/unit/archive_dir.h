/* archive_dir -- a directory for a test of the archive, a writer in it, and ways to look at and spoil its files. */
#ifndef TESTS_ARCHIVE_DIR_H
#define TESTS_ARCHIVE_DIR_H

#include "archive_rows.h"
#include "unit.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECOND INT64_C(1000000000)

struct fixture {
    char dir[64];
    archive_writer *w;
    struct archive_options o;
    char said[16384];
};

static inline void fixture_hear(void *user, const char *text)
{
    struct fixture *f = user;
    size_t len = strlen(f->said);
    (void)snprintf(f->said + len, sizeof f->said - len, "%s\n", text);
}

static inline int fixture_set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    if (!f)
        return -1;
    (void)snprintf(f->dir, sizeof f->dir, "/tmp/weir-archive-XXXXXX");
    if (!mkdtemp(f->dir))
        return -1;
    f->o = (struct archive_options){.dir = f->dir,
                                    .direct_rows = 1000,
                                    .group_rows = 4000,
                                    .sync = ARCHIVE_SYNC_NEVER,
                                    .log = fixture_hear,
                                    .user = f};
    *state = f;
    return 0;
}

static inline int fixture_remove(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

static inline int fixture_tear_down(void **state)
{
    struct fixture *f = *state;
    (void)archive_writer_close(f->w, NULL);
    (void)nftw(f->dir, fixture_remove, 16, FTW_DEPTH | FTW_PHYS);
    free(f);
    return 0;
}

static inline void fixture_open(struct fixture *f)
{
    weir_err err = {0};
    UNIT_CHECK(archive_writer_open(&f->o, &f->w, &err) == WEIR_OK, "open: %s", err.msg);
}

static inline void fixture_close(struct fixture *f)
{
    weir_err err = {0};
    weir_status s = archive_writer_close(f->w, &err);
    f->w = NULL;
    UNIT_CHECK(s == WEIR_OK, "close: %s", err.msg);
}

static inline weir_status fixture_try(struct fixture *f, uint64_t first, uint32_t n, int64_t ns,
                                      const char *extra, weir_err *err)
{
    flow_batch *b = flow_batch_new(FLOW_TABLE_FLOWS);
    UNIT_CHECK(b && rows_fill(b, first, n, ns, extra), "out of memory");
    weir_status s = archive_writer_store(f->w, b, ns, err);
    flow_batch_free(b);
    return s;
}

static inline void fixture_store(struct fixture *f, uint64_t first, uint32_t n, int64_t ns,
                                 const char *extra)
{
    weir_err err = {0};
    UNIT_CHECK(fixture_try(f, first, n, ns, extra, &err) == WEIR_OK, "store from %llu: %s",
               (unsigned long long)first, err.msg);
}

/* The archive has the rows 0 to n - 1, each once and right, and no others. */
static inline void fixture_expect(const char *path, uint64_t n, const char *extra, const char *when)
{
    struct rows_seen seen;
    bool good = rows_read(path, n, extra, true, &seen);
    UNIT_CHECK(good, "%s: reading: %s", when, seen.err.msg);
    UNIT_CHECK(seen.total == n && !seen.twice && !seen.alien && !seen.wrong,
               "%s: %llu rows of %llu, %llu twice, %llu alien, %llu wrong", when,
               (unsigned long long)seen.total, (unsigned long long)n,
               (unsigned long long)seen.twice, (unsigned long long)seen.alien,
               (unsigned long long)seen.wrong);
    rows_seen_done(&seen);
}

/* Files below dir whose name ends with suffix; the path of the last one by name in path[size] (may be NULL). */
static inline unsigned fixture_find(const char *dir, const char *suffix, char *path, size_t size)
{
    unsigned n = 0;
    char last[512] = "";
    struct dirent *e;
    DIR *d = opendir(dir);
    while (d && (e = readdir(d))) {
        char name[512], below[512] = "";
        size_t len = strlen(e->d_name), tail = strlen(suffix);
        int fits = snprintf(name, sizeof name, "%s/%s", dir, e->d_name);
        bool dots = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0;
        if (dots || fits >= (int)sizeof name)
            continue;
        if (e->d_type == DT_DIR) {
            n += fixture_find(name, suffix, below, sizeof below);
        } else if (len >= tail && strcmp(e->d_name + len - tail, suffix) == 0) {
            memcpy(below, name, sizeof below);
            n++;
        }
        if (strcmp(below, last) > 0)
            memcpy(last, below, sizeof last);
    }
    if (d)
        (void)closedir(d);
    if (path && *last)
        (void)snprintf(path, size, "%s", last);
    return n;
}

static inline unsigned fixture_count(const struct fixture *f, const char *suffix)
{
    return fixture_find(f->dir, suffix, NULL, 0);
}

static inline void fixture_copy_tree(const char *from, const char *to)
{
    struct dirent *e;
    DIR *d = opendir(from);
    UNIT_CHECK(d && mkdir(to, 0700) == 0, "cannot copy %s to %s", from, to);
    while ((e = readdir(d))) {
        char a[512], b[512];
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        UNIT_CHECK(snprintf(a, sizeof a, "%s/%s", from, e->d_name) < (int)sizeof a &&
                       snprintf(b, sizeof b, "%s/%s", to, e->d_name) < (int)sizeof b,
                   "%s: a name too long", from);
        if (e->d_type == DT_DIR) {
            fixture_copy_tree(a, b);
            continue;
        }
        FILE *in = fopen(a, "rb"), *out = fopen(b, "wb");
        char octets[16384];
        size_t n = 0;
        bool good = in && out;
        while (good && (n = fread(octets, 1, sizeof octets, in)) > 0)
            good = fwrite(octets, 1, n, out) == n;
        UNIT_CHECK(good && fclose(in) == 0 && fclose(out) == 0, "cannot copy %s to %s", a, b);
    }
    (void)closedir(d);
}

/* The archive as it is now, as a crash would leave it: copied to `to`, in place of what is there. */
static inline void fixture_copy(const struct fixture *f, const char *to)
{
    (void)nftw(to, fixture_remove, 16, FTW_DEPTH | FTW_PHYS);
    fixture_copy_tree(f->dir, to);
}

static inline void fixture_report(void *user, const char *path, uint64_t rows, const weir_err *err)
{
    (void)rows;
    (void)user;
    if (err)
        print_message("verify: %s: %s\n", path ? path : "", err->msg);
}

/* Files that are not sound. */
static inline uint64_t fixture_verify(const char *dir)
{
    uint64_t n_files = 0, n_bad = 0;
    weir_err err = {0};
    UNIT_CHECK(archive_verify(dir, fixture_report, NULL, &n_files, &n_bad, &err) == WEIR_OK,
               "verify: %s", err.msg);
    return n_bad;
}

#endif
