#include "query/books.h"

#include "archive/layout.h"
#include "base/hash.h"
#include "parquet/reader.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

static const int64_t SECOND = 1000000, HOUR = 3600 * INT64_C(1000000);

/* While a collector writes, what came within this time may be anywhere between its queues and the disk. */
static const int64_t ON_ITS_WAY = 60 * INT64_C(1000000);

struct file {
    size_t path;
    uint64_t name; /* a hash of it: no two files of an archive have the same */
    uint64_t rows;
    int64_t slot_us, first_us, last_us;
    int64_t length_us; /* of its slot, 0: it does not say */
    bool has_slot, has_times, compacted, open;
};

struct query_books {
    int64_t began_us;
    struct file *files;
    size_t n, cap;
    struct archive_names open; /* paths of those that are still being written */
    bool whole, failed;
};

/* The same in all of them, so that names can be found again. */
static const uint64_t SEED = 1;

query_books *query_books_new(void)
{
    struct timespec now;
    query_books *b = calloc(1, sizeof *b);
    if (b && clock_gettime(CLOCK_REALTIME, &now) == 0)
        b->began_us = (int64_t)now.tv_sec * SECOND + now.tv_nsec / 1000;
    return b;
}

void query_books_free(query_books *b)
{
    if (!b)
        return;
    archive_names_done(&b->open);
    free(b->files);
    free(b);
}

void query_books_whole(query_books *b)
{
    b->whole = true;
}

bool query_books_are_whole(const query_books *b)
{
    return b && b->whole && !b->failed;
}

static void times_of(const parquet_file *f, struct file *out)
{
    int column = parquet_column_find(f, flow_columns()[FLOW_received].name);
    for (size_t g = 0; g < parquet_n_groups(f); g++) {
        struct parquet_chunk_info info = {0};
        int64_t min, max;
        if (column >= 0)
            parquet_chunk(f, g, (size_t)column, &info);
        if (!info.min.data || info.min.len != 8 || !info.max.data || info.max.len != 8) {
            out->has_times = false;
            return;
        }
        memcpy(&min, info.min.data, 8);
        memcpy(&max, info.max.data, 8);
        out->first_us = g && out->first_us < min ? out->first_us : min;
        out->last_us = g && out->last_us > max ? out->last_us : max;
        out->has_times = true;
    }
}

/* Room for one more. */
static bool room(query_books *b)
{
    if (b->n == b->cap) {
        size_t cap = b->cap ? 2 * b->cap : 256;
        struct file *files = realloc(b->files, cap * sizeof *files);
        b->failed = !files;
        if (!files)
            return false;
        b->files = files;
        b->cap = cap;
    }
    return true;
}

void query_books_add(query_books *b, size_t path, const char *name, uint64_t rows, int64_t first_us,
                     int64_t last_us)
{
    struct archive_name parsed;
    archive_name_parse(name, &parsed);
    if (b->failed || !rows || !room(b))
        return;
    b->files[b->n++] = (struct file){.path = path,
                                     .name = base_hash(name, parsed.stem_len, SEED),
                                     .rows = rows,
                                     .slot_us = parsed.time_ns / 1000,
                                     .first_us = first_us,
                                     .last_us = last_us,
                                     .has_slot = parsed.ours,
                                     .has_times = true,
                                     .compacted = parsed.ours && parsed.compacted};
}

void query_books_note(query_books *b, size_t path, const struct archive_part *parts, size_t n)
{
    for (size_t i = 0; i < n && !b->failed; i++) {
        if (!room(b))
            return;
        const char *slash = strrchr(parts[i].path, '/'), *name = slash ? slash + 1 : parts[i].path;
        struct archive_name parsed;
        archive_name_parse(name, &parsed);
        struct file *f = &b->files[b->n];
        *f = (struct file){.path = path,
                           .name = base_hash(name, parsed.stem_len, SEED),
                           .rows = parquet_n_rows(parts[i].file),
                           .slot_us = parsed.time_ns / 1000,
                           .has_slot = parsed.ours,
                           .length_us = parts[i].slot_length_ns / 1000,
                           .compacted = parsed.ours && parsed.compacted,
                           .open = parts[i].open};
        times_of(parts[i].file, f);
        b->n += f->rows > 0;
        if (f->open)
            b->failed = !archive_names_add(&b->open, parts[i].path, strlen(parts[i].path));
    }
}

bool query_books_times(const query_books *b, int64_t *first_us, int64_t *last_us)
{
    if (b->failed || !b->n)
        return false;
    *first_us = INT64_MAX;
    *last_us = INT64_MIN;
    for (size_t i = 0; i < b->n; i++) {
        const struct file *f = &b->files[i];
        if (!f->has_times)
            return false;
        *first_us = f->first_us < *first_us ? f->first_us : *first_us;
        *last_us = f->last_us > *last_us ? f->last_us : *last_us;
    }
    return true;
}

/* ---- as books ---- */

/* How long a slot is where files do not say it: each begins at a multiple of it behind the hour. Of few
 * files it may be more than it is, which makes spans longer than they need be. */
static int64_t slot_length(const query_books *b, size_t path)
{
    int64_t length = HOUR;
    for (size_t i = 0; i < b->n; i++) {
        const struct file *f = &b->files[i];
        if (f->path != path || !f->has_slot || f->compacted || f->length_us)
            continue;
        for (int64_t rest = f->slot_us % HOUR; rest;) {
            int64_t next = length % rest;
            length = rest;
            rest = next;
        }
    }
    return length;
}

/* Rows were counted when they were decoded, which is in their slot, also when they had been waiting for a template since long. */
static bool stored_of(const struct file *f, int64_t slot, struct ledger_stored *out)
{
    if (!f->has_slot && !f->has_times)
        return false;
    int64_t length = f->compacted ? HOUR : f->length_us ? f->length_us : slot;
    int64_t from = f->slot_us, to = f->slot_us + length;
    bool far = f->has_times && (f->first_us < -INT64_MAX / 4 || f->last_us > INT64_MAX / 4);
    *out = (struct ledger_stored){.first_us = f->has_times ? f->first_us : f->slot_us,
                                  .last_us = f->has_times ? f->last_us : f->slot_us,
                                  .rows = f->rows};
    out->from_us = f->has_slot && from < out->first_us ? from : out->first_us;
    out->to_us = f->has_slot && to > out->last_us ? to : out->last_us + 1;
    return !far;
}

static int compare_names(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* NULL: out of memory. */
static uint64_t *names_of(const query_books *b)
{
    uint64_t *names = malloc((b->n + 1) * sizeof *names);
    for (size_t i = 0; names && i < b->n; i++)
        names[i] = b->files[i].name;
    if (names && b->n)
        qsort(names, b->n, sizeof *names, compare_names);
    return names;
}

/* Whether an open file of this archive is not what the scan has found: it has been closed, or rows came. */
static bool has_moved(const query_books *b, const char *dir)
{
    size_t len = strlen(dir);
    for (size_t i = 0; i < b->open.n; i++) {
        const char *path = b->open.items[i];
        size_t n = strlen(path);
        struct stat st;
        if (strncmp(path, dir, len) != 0 || path[len] != '/' || n < 5)
            continue;
        char *journal = malloc(n + 4);
        if (!journal)
            return true;
        memcpy(journal, path, n - 5); /* .part */
        memcpy(journal + n - 5, ".journal", sizeof ".journal");
        bool same = stat(journal, &st) == 0 &&
                    (int64_t)st.st_mtim.tv_sec * SECOND + st.st_mtim.tv_nsec / 1000 <= b->began_us;
        free(journal);
        if (!same)
            return true;
    }
    return false;
}

/* Up to when both sides are as they stay. */
static int64_t until_of(const query_books *b, size_t path, const char *dir)
{
    int64_t until = b->began_us - ON_ITS_WAY;
    if (!archive_is_locked(dir) && !has_moved(b, dir))
        return INT64_MAX;
    for (size_t i = 0; i < b->n; i++) {
        const struct file *f = &b->files[i];
        if (f->path == path && f->open && f->has_slot && f->slot_us < until)
            until = f->slot_us;
    }
    return until;
}

/* The least name of this beginning in a directory. */
static bool first_name(const char *dir, const char *begin, char *out, size_t size)
{
    bool any = false;
    DIR *d = opendir(dir);
    for (const struct dirent *e; d && (e = readdir(d));) {
        size_t n = strlen(e->d_name);
        if (strncmp(e->d_name, begin, strlen(begin)) != 0 || n >= size ||
            (any && strcmp(e->d_name, out) >= 0))
            continue;
        memcpy(out, e->d_name, n + 1);
        any = true;
    }
    if (d)
        (void)closedir(d);
    return any;
}

/* The oldest hour of the ledger. What it has of minutes before is what was stored behind its own hour, which has expired with its
 * flows. */
static int64_t since_of(const char *dir)
{
    char date[64], hour[64], *ledger = archive_path(dir, archive_table_name(FLOW_TABLE_LEDGER)),
                             *day = NULL, *path = NULL;
    int64_t ns, since = INT64_MIN;
    if (ledger && first_name(ledger, "date=", date, sizeof date) &&
        (day = archive_path(ledger, date)) && first_name(day, "hour=", hour, sizeof hour) &&
        (path = archive_path(day, hour)) && archive_partition_time(path, &ns))
        since = ns / 1000;
    free(ledger);
    free(day);
    free(path);
    return since;
}

bool query_books_of(const query_books *b, size_t path, const char *dir, const query_books *asked,
                    struct ledger_books *out)
{
    if (b->failed || (asked && asked->failed))
        return false;
    *out = (struct ledger_books){.files = malloc((b->n + 1) * sizeof *out->files),
                                 .until_us = until_of(b, path, dir),
                                 .since_us = since_of(dir),
                                 .by_files = asked != NULL};
    uint64_t *names = asked ? names_of(asked) : NULL;
    int64_t slot = slot_length(b, path);
    bool good = out->files && (!asked || names);
    for (size_t i = 0; i < b->n && good; i++) {
        const struct file *f = &b->files[i];
        struct ledger_stored *s = &out->files[out->n_files];
        if (f->path != path)
            continue;
        good = stored_of(f, slot, s);
        s->asked = !asked || bsearch(&f->name, names, asked->n, sizeof *names, compare_names);
        out->n_files++;
    }
    free(names);
    if (good)
        return true;
    free(out->files);
    out->files = NULL;
    return false;
}

bool query_books_of_added(const query_books *b, size_t path, int64_t now_us,
                          struct ledger_books *out)
{
    int64_t slot = slot_length(b, path);
    *out = (struct ledger_books){.files = malloc((b->n + 1) * sizeof *out->files),
                                 .until_us = now_us - ON_ITS_WAY,
                                 .since_us = INT64_MIN};
    bool good = out->files && !b->failed;
    for (size_t i = 0; i < b->n && good; i++) {
        struct ledger_stored *s = &out->files[out->n_files];
        if (b->files[i].path != path)
            continue;
        good = stored_of(&b->files[i], slot, s);
        s->asked = true;
        if (s->to_us > now_us - ON_ITS_WAY && s->from_us < out->until_us)
            out->until_us = s->from_us;
        out->n_files++;
    }
    if (good)
        return true;
    free(out->files);
    out->files = NULL;
    return false;
}
