/* archive_dir -- a directory for a test of the archive, a writer in it, and ways to look at and spoil its files. */
#ifndef TESTS_ARCHIVE_DIR_H
#define TESTS_ARCHIVE_DIR_H

#include "archive_rows.h"
#include "unit.h"

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

/* Files below dir whose name ends with suffix; the path of the last one in path[size]. */
static inline unsigned fixture_find(const char *dir, const char *suffix, char *path, size_t size)
{
    char command[1200];
    unsigned n = 0;
    (void)snprintf(command, sizeof command, "find %s -type f -name '*%s' | sort", dir, suffix);
    FILE *p = popen(command, "r");
    char line[512];
    while (p && fgets(line, sizeof line, p)) {
        line[strcspn(line, "\n")] = 0;
        if (path)
            (void)snprintf(path, size, "%s", line);
        n++;
    }
    if (p)
        (void)pclose(p);
    return n;
}

static inline unsigned fixture_count(const struct fixture *f, const char *suffix)
{
    return fixture_find(f->dir, suffix, NULL, 0);
}

/* The archive as it is now, as a crash would leave it: copied to `to`. */
static inline void fixture_copy(const struct fixture *f, const char *to)
{
    char command[1200];
    (void)snprintf(command, sizeof command, "rm -rf %s && cp -r %s %s", to, f->dir, to);
    UNIT_CHECK(system(command) == 0, "%s", command);
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
