#include "archive/layout.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MAX_DEPTH = 16 };

const char *archive_table_name(enum flow_table table)
{
    static const char *const names[FLOW_N_TABLES] = {
        [FLOW_TABLE_FLOWS] = "flows",
        [FLOW_TABLE_OPTIONS] = "options",
        [FLOW_TABLE_LEDGER] = "ledger",
    };
    return names[table];
}

const char *archive_table_suffix(enum flow_table table)
{
    return table == FLOW_TABLE_FLOWS ? ".parquet" : ".pq";
}

/* --- times ----------------------------------------------------------------------------------------- */

static struct tm split_time(int64_t ns)
{
    time_t s = (time_t)(ns / ARCHIVE_SECOND - (ns % ARCHIVE_SECOND < 0));
    struct tm tm = {0};
    (void)gmtime_r(&s, &tm);
    return tm;
}

void archive_partition_text(char out[ARCHIVE_PARTITION_TEXT], int64_t ns)
{
    struct tm tm = split_time(ns);
    (void)strftime(out, ARCHIVE_PARTITION_TEXT, "date=%Y-%m-%d/hour=%H", &tm);
}

void archive_time_text(char out[ARCHIVE_TIME_TEXT], int64_t ns)
{
    struct tm tm = split_time(ns);
    (void)strftime(out, ARCHIVE_TIME_TEXT, "%Y%m%dT%H%M%SZ", &tm);
}

/* n decimal digits at *p; moves *p behind them. */
static bool digits(const char **p, size_t n, unsigned *out)
{
    unsigned v = 0;
    for (size_t i = 0; i < n; i++) {
        char c = (*p)[i];
        if (c < '0' || c > '9')
            return false;
        v = v * 10 + (unsigned)(c - '0');
    }
    *p += n;
    *out = v;
    return true;
}

void archive_seconds_text(char out[ARCHIVE_SECONDS_TEXT], int64_t ns)
{
    int n = snprintf(out, ARCHIVE_SECONDS_TEXT, "%lld", (long long)(ns / ARCHIVE_SECOND));
    if (n > 0 && ns % ARCHIVE_SECOND)
        (void)snprintf(out + n, ARCHIVE_SECONDS_TEXT - (size_t)n, ".%09lld",
                       (long long)(ns % ARCHIVE_SECOND));
}

bool archive_seconds(const char *text, int64_t *ns)
{
    int64_t v = 0, unit = ARCHIVE_SECOND;
    const char *p = text, *from = text;
    for (; p && *p >= '0' && *p <= '9' && v <= ARCHIVE_HOUR; p++)
        v = v * 10 + (*p - '0') * unit;
    if (p == from)
        return false;
    if (*p == '.')
        for (from = ++p; *p >= '0' && *p <= '9' && unit > 1; p++)
            v += (*p - '0') * (unit /= 10);
    *ns = v;
    return *p == 0 && p != from && v > 0 && v <= ARCHIVE_HOUR;
}

static bool literal(const char **p, const char *text)
{
    size_t len = strlen(text);
    if (strncmp(*p, text, len) != 0)
        return false;
    *p += len;
    return true;
}

static bool join_time(unsigned y, unsigned mon, unsigned d, unsigned h, unsigned min, unsigned s,
                      int64_t *ns)
{
    if (y < 1970 || y > 2261 || mon < 1 || mon > 12 || d < 1 || d > 31 || h > 23 || min > 59 ||
        s > 59)
        return false;
    struct tm tm = {.tm_year = (int)y - 1900,
                    .tm_mon = (int)mon - 1,
                    .tm_mday = (int)d,
                    .tm_hour = (int)h,
                    .tm_min = (int)min,
                    .tm_sec = (int)s};
    *ns = (int64_t)timegm(&tm) * ARCHIVE_SECOND;
    return true;
}

bool archive_partition_time(const char *path, int64_t *hour_ns)
{
    static const char form[] = "date=2026-11-22/hour=21";
    size_t len = strlen(path), want = sizeof form - 1;
    if (len < want || (len > want && path[len - want - 1] != '/'))
        return false;
    const char *p = path + len - want;
    unsigned y, m, d, h;
    return literal(&p, "date=") && digits(&p, 4, &y) && literal(&p, "-") && digits(&p, 2, &m) &&
           literal(&p, "-") && digits(&p, 2, &d) && literal(&p, "/hour=") && digits(&p, 2, &h) &&
           join_time(y, m, d, h, 0, 0, hour_ns);
}

/* --- names ----------------------------------------------------------------------------------------- */

static const struct {
    const char *suffix;
    enum archive_kind kind;
} kinds[] = {
    {".parquet", ARCHIVE_KIND_CLOSED},  {".pq", ARCHIVE_KIND_CLOSED}, {".part", ARCHIVE_KIND_PART},
    {".journal", ARCHIVE_KIND_JOURNAL}, {".tmp", ARCHIVE_KIND_TEMP},
};

/* Digits up to the end or the character `end`, at most nine. */
static bool number(const char **p, const char *end, unsigned *out)
{
    size_t n = 0;
    while (*p + n < end && (*p)[n] >= '0' && (*p)[n] <= '9')
        n++;
    return n >= 1 && n <= 9 && digits(p, n, out);
}

void archive_name_parse(const char *name, struct archive_name *out)
{
    *out = (struct archive_name){.kind = ARCHIVE_KIND_OTHER, .stem_len = strlen(name)};
    size_t len = out->stem_len;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        size_t n = strlen(kinds[i].suffix);
        if (len > n && strcmp(name + len - n, kinds[i].suffix) == 0) {
            out->kind = kinds[i].kind;
            out->stem_len = len - n;
        }
    }
    const char *p = name + (*name == '.' ? 1 : 0), *end = name + out->stem_len;
    unsigned y, mon, d, h, min, s, writer, n;
    if (end - p < 22 || !digits(&p, 4, &y) || !digits(&p, 2, &mon) || !digits(&p, 2, &d) ||
        !literal(&p, "T") || !digits(&p, 2, &h) || !digits(&p, 2, &min) || !digits(&p, 2, &s) ||
        !literal(&p, "Z-") || (*p != 'w' && *p != 'c') ||
        !join_time(y, mon, d, h, min, s, &out->time_ns))
        return;
    out->compacted = *p++ == 'c';
    if (!number(&p, end, &writer) || p >= end || *p++ != '-' || !number(&p, end, &n) || p != end)
        return;
    out->writer = writer;
    out->number = n;
    out->ours = true;
}

/* --- lists ----------------------------------------------------------------------------------------- */

void archive_names_done(struct archive_names *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->items[i]);
    free(l->items);
    *l = (struct archive_names){0};
}

bool archive_names_add(struct archive_names *l, const char *text, size_t len)
{
    if (l->n == l->cap) {
        size_t cap = l->cap ? 2 * l->cap : 16;
        char **items = realloc(l->items, cap * sizeof *items);
        if (!items)
            return false;
        l->items = items;
        l->cap = cap;
    }
    l->items[l->n] = strndup(text, len);
    return l->items[l->n] && ++l->n;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

void archive_names_sort(struct archive_names *l)
{
    if (l->n > 1)
        qsort(l->items, l->n, sizeof *l->items, by_name);
}

bool archive_names_same(const struct archive_names *a, const struct archive_names *b)
{
    bool same = a->n == b->n;
    for (size_t i = 0; same && i < a->n; i++)
        same = strcmp(a->items[i], b->items[i]) == 0;
    return same;
}

bool archive_names_have(const struct archive_names *sorted, const char *text, size_t len)
{
    size_t from = 0, to = sorted->n;
    while (from < to) {
        size_t mid = from + (to - from) / 2;
        int c = strncmp(sorted->items[mid], text, len);
        if (c == 0 && sorted->items[mid][len])
            c = 1;
        if (c == 0)
            return true;
        if (c < 0)
            from = mid + 1;
        else
            to = mid;
    }
    return false;
}

/* --- directories ----------------------------------------------------------------------------------- */

weir_status archive_no_memory(weir_err *err)
{
    return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
}

weir_status archive_errno(weir_err *err, int error, const char *what, const char *path)
{
    if (error == ENOMEM)
        return archive_no_memory(err);
    bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
    return weir_err_set(err,
                        full              ? WEIR_ELIMIT
                        : error == ENOENT ? WEIR_ENOTFOUND
                                          : WEIR_EIO,
                        0, "cannot %s %s: %s%s", what, path, strerror(error),
                        error == ENOSPC || error == EDQUOT
                            ? " (free some, or set a limit for expiry)"
                        : error == EACCES || error == EPERM ? " (run as its owner)"
                        : error == EMFILE                   ? " (raise ulimit -n)"
                        : error == ENOTDIR ? " (a file stands in its way: move that away)"
                                           : "");
}

char *archive_path(const char *dir, const char *name)
{
    char *path = NULL;
    size_t len = strlen(dir);
    return asprintf(&path, "%s%s%s", dir, len && dir[len - 1] == '/' ? "" : "/", name) < 0 ? NULL
                                                                                           : path;
}

static bool is_dir(const char *dir, const struct dirent *e)
{
    if (e->d_type != DT_UNKNOWN && e->d_type != DT_LNK)
        return e->d_type == DT_DIR;
    char *path = archive_path(dir, e->d_name);
    struct stat st;
    bool yes = path && stat(path, &st) == 0 && S_ISDIR(st.st_mode);
    free(path);
    return yes;
}

/* Names in dir that are directories, or are none. */
static weir_status list(const char *dir, bool dirs, bool all, struct archive_names *out,
                        weir_err *err)
{
    DIR *d = opendir(dir);
    if (!d)
        return archive_errno(err, errno, "read the directory", dir);
    weir_status s = WEIR_OK;
    for (;;) {
        errno = 0;
        struct dirent *e = readdir(d);
        if (!e) {
            if (errno)
                s = archive_errno(err, errno, "read the directory", dir);
            break;
        }
        const char *name = e->d_name;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
            (!all && (*name == '.' || *name == '_')) || is_dir(dir, e) != dirs)
            continue;
        if (!archive_names_add(out, name, strlen(name))) {
            s = archive_no_memory(err);
            break;
        }
    }
    (void)closedir(d);
    if (s == WEIR_OK)
        archive_names_sort(out);
    else
        archive_names_done(out);
    return s;
}

weir_status archive_list_files(const char *dir, bool all, struct archive_names *out, weir_err *err)
{
    *out = (struct archive_names){0};
    return list(dir, false, all, out, err);
}

/* Directories that were met, by device and inode: links may lead to one again, or round and round. */
struct met {
    struct met_dir {
        dev_t device;
        ino_t inode; /* 0: free */
    } * slots;
    size_t n, n_slots; /* a power of two */
};

static struct met_dir *met_slot(const struct met *m, dev_t device, ino_t inode)
{
    size_t at = (inode * UINT64_C(0x9e3779b97f4a7c15) >> 20 ^ device) & (m->n_slots - 1);
    while (m->slots[at].inode && (m->slots[at].inode != inode || m->slots[at].device != device))
        at = (at + 1) & (m->n_slots - 1);
    return &m->slots[at];
}

/* Whether dir is met for the first time. WEIR_ENOTFOUND: it is gone. */
static weir_status meet(struct met *m, const char *dir, bool *first, weir_err *err)
{
    struct stat st;
    if (stat(dir, &st) != 0)
        return archive_errno(err, errno, "read the directory", dir);
    if (2 * m->n >= m->n_slots) {
        struct met more = {.n = m->n, .n_slots = m->n_slots ? 2 * m->n_slots : 64};
        more.slots = calloc(more.n_slots, sizeof *more.slots);
        if (!more.slots)
            return archive_no_memory(err);
        for (size_t i = 0; i < m->n_slots; i++) {
            if (m->slots[i].inode)
                *met_slot(&more, m->slots[i].device, m->slots[i].inode) = m->slots[i];
        }
        free(m->slots);
        *m = more;
    }
    struct met_dir *slot = met_slot(m, st.st_dev, st.st_ino);
    *first = slot->inode == 0;
    if (*first) {
        *slot = (struct met_dir){st.st_dev, st.st_ino};
        m->n++;
    }
    return WEIR_OK;
}

static weir_status walk(const char *dir, const char *name, unsigned depth, struct met *met,
                        struct archive_names *out, weir_err *err)
{
    bool first = false;
    weir_status s = meet(met, dir, &first, err);
    if (s == WEIR_ENOTFOUND && depth > 0) /* expired in the meantime */
        return WEIR_OK;
    if (s != WEIR_OK || !first)
        return s;
    if (!archive_names_add(out, dir, strlen(dir)))
        return archive_no_memory(err);
    if (depth == MAX_DEPTH || strncmp(name, "hour=", 5) == 0) /* nothing stands below an hour */
        return WEIR_OK;
    struct archive_names below = {0};
    s = list(dir, true, false, &below, err);
    if (s == WEIR_ENOTFOUND && depth > 0)
        s = WEIR_OK;
    for (size_t i = 0; i < below.n && s == WEIR_OK; i++) {
        char *path = archive_path(dir, below.items[i]);
        s = path ? walk(path, below.items[i], depth + 1, met, out, err) : archive_no_memory(err);
        free(path);
    }
    archive_names_done(&below);
    return s;
}

weir_status archive_list_dirs(const char *root, struct archive_names *out, weir_err *err)
{
    *out = (struct archive_names){0};
    struct met met = {0};
    weir_status s = walk(root, "", 0, &met, out, err);
    free(met.slots);
    if (s != WEIR_OK)
        archive_names_done(out);
    return s;
}

void archive_sync_dir(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fsync(fd);
        (void)close(fd);
    }
}

void archive_sync_dirs(const char *dir, const char *root)
{
    char *path = strdup(dir);
    size_t least = strlen(root);
    for (char *end; path; *end = 0) {
        archive_sync_dir(path);
        end = strrchr(path, '/');
        if (!end || (size_t)(end - path) < least)
            break;
    }
    free(path);
}

/* The length of what stands before the last name of a path, without slashes at its end; 0: nothing. */
static size_t parent_length(const char *dir)
{
    size_t len = strlen(dir);
    while (len > 1 && dir[len - 1] == '/')
        len--;
    while (len > 0 && dir[len - 1] != '/')
        len--;
    while (len > 1 && dir[len - 1] == '/')
        len--;
    return len;
}

weir_status archive_make_dirs(const char *dir, bool sync, weir_err *err)
{
    struct stat st;
    bool made = mkdir(dir, 0777) == 0;
    int error = errno;
    if (!made && error != ENOENT) {
        if (stat(dir, &st) != 0)
            return archive_errno(err, error, "make the directory", dir);
        return S_ISDIR(st.st_mode) ? WEIR_OK
                                   : archive_errno(err, ENOTDIR, "make the directory", dir);
    }
    char *parent = strdup(dir);
    if (!parent)
        return archive_no_memory(err);
    size_t len = parent_length(dir);
    parent[len] = 0;
    weir_status s = WEIR_OK;
    if (!made && len)
        s = archive_make_dirs(parent, sync, err);
    if (!made && s == WEIR_OK && mkdir(dir, 0777) != 0 && errno != EEXIST)
        s = archive_errno(err, errno, "make the directory", dir);
    if (s == WEIR_OK && sync)
        archive_sync_dir(len ? parent : ".");
    free(parent);
    return s;
}
