/* What keeps an archive sound and small: expiry, verification, and the list of what there is. */
#include "archive/cursor.h"
#include "archive/recover.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

/* --- expiry ---------------------------------------------------------------------------------------- */

struct hour {
    int64_t hour_ns;
    enum flow_table table;
    char *dir;
};

struct hours {
    struct hour *items;
    size_t n, cap;
};

static void hours_done(struct hours *h)
{
    for (size_t i = 0; i < h->n; i++)
        free(h->items[i].dir);
    free(h->items);
}

static int by_hour(const void *a_, const void *b_)
{
    const struct hour *a = a_, *b = b_;
    return a->hour_ns != b->hour_ns ? a->hour_ns < b->hour_ns ? -1 : 1 : strcmp(a->dir, b->dir);
}

/* The partitions of all tables, oldest first, those of one hour side by side. */
static weir_status list_hours(const char *dir, struct hours *out, weir_err *err)
{
    weir_status s = WEIR_OK;
    for (int t = FLOW_TABLE_FLOWS; t < FLOW_N_TABLES && s == WEIR_OK; t++) {
        char *root = archive_path(dir, archive_table_name((enum flow_table)t));
        struct archive_names dirs = {0};
        s = root ? archive_list_dirs(root, &dirs, err) : archive_no_memory(err);
        if (s == WEIR_ENOTFOUND)
            s = WEIR_OK;
        for (size_t i = 0; i < dirs.n && s == WEIR_OK; i++) {
            int64_t hour;
            if (!archive_partition_time(dirs.items[i], &hour))
                continue;
            if (out->n == out->cap) {
                size_t cap = out->cap ? 2 * out->cap : 64;
                struct hour *items = realloc(out->items, cap * sizeof *items);
                if (!items) {
                    s = archive_no_memory(err);
                    break;
                }
                out->items = items;
                out->cap = cap;
            }
            out->items[out->n++] = (struct hour){hour, (enum flow_table)t, dirs.items[i]};
            dirs.items[i] = NULL;
        }
        archive_names_done(&dirs);
        free(root);
    }
    if (out->n > 1)
        qsort(out->items, out->n, sizeof *out->items, by_hour);
    return s;
}

/* Octets of the files in dir; *open: of those that are still written. With remove: the others go, compacted ones last
 * (what they replaced must not come back if this ends half-way). */
static uint64_t sweep(const char *dir, bool remove, uint64_t *open, uint64_t *n_files)
{
    struct archive_names names;
    uint64_t octets = 0;
    *open = *n_files = 0;
    if (archive_list_files(dir, true, &names, NULL) != WEIR_OK)
        return 0;
    for (int compacted = 0; compacted <= 1; compacted++) {
        for (size_t i = 0; i < names.n; i++) {
            struct archive_name name;
            struct stat st;
            archive_name_parse(names.items[i], &name);
            bool part = name.kind == ARCHIVE_KIND_PART || name.kind == ARCHIVE_KIND_JOURNAL;
            char *path = (name.ours && name.compacted) == compacted
                             ? archive_path(dir, names.items[i])
                             : NULL;
            if (path && name.kind != ARCHIVE_KIND_OTHER && stat(path, &st) == 0) {
                uint64_t size = (uint64_t)st.st_size;
                if (part)
                    *open += size;
                else if (!remove || unlink(path) == 0) {
                    octets += size;
                    ++*n_files;
                }
            }
            free(path);
        }
    }
    archive_names_done(&names);
    return octets;
}

/* The directory of an hour without files, and that of its day. */
static void remove_dirs(const char *dir)
{
    char *parent = strdup(dir);
    if (rmdir(dir) == 0 && parent) {
        char *slash = strrchr(parent, '/');
        if (slash) {
            *slash = 0;
            (void)rmdir(parent);
        }
    }
    free(parent);
}

/* Octets of the hour's files that a cursor has not passed. */
static uint64_t waiting_in(const struct archive_cursor *c, const struct hour *h)
{
    struct archive_names names;
    uint64_t octets = 0;
    if (h->table == FLOW_TABLE_OPTIONS ||
        archive_list_files(h->dir, false, &names, NULL) != WEIR_OK)
        return 0;
    for (size_t i = 0; i < names.n; i++) {
        struct archive_name name;
        struct stat st;
        archive_name_parse(names.items[i], &name);
        if (name.kind != ARCHIVE_KIND_CLOSED || archive_cursor_of(c, h->table, names.items[i]).done)
            continue;
        char *path = archive_path(h->dir, names.items[i]);
        if (path && stat(path, &st) == 0)
            octets += (uint64_t)st.st_size;
        free(path);
    }
    archive_names_done(&names);
    return octets;
}

/* Whether the n directories of an hour must stay for a cursor. What goes although one has not passed it is told. */
static bool is_held(const struct archive_expire_options *o, struct archive_cursors *cursors,
                    const struct hour *hours, size_t n)
{
    bool held = false;
    for (int tell = 0; tell <= 1; tell++) {
        for (size_t i = 0; i < cursors->n; i++) {
            struct archive_cursors_item *c = &cursors->items[i];
            uint64_t octets = 0;
            for (size_t k = 0; k < n; k++)
                octets += waiting_in(&c->cursor, &hours[k]);
            if (!octets)
                continue;
            bool holds = c->cursor.hold && c->waiting <= c->cursor.hold;
            if (!tell) {
                held |= holds;
                continue;
            }
            if (o->awaited && (!held || holds))
                o->awaited(o->user, hours[0].dir, c->name, !held);
            if (!held)
                c->waiting -= octets < c->waiting ? octets : c->waiting;
        }
    }
    return held;
}

weir_status archive_expire(const struct archive_expire_options *o, uint64_t *octets,
                           uint64_t *n_files, weir_err *err)
{
    struct hours hours = {0};
    struct archive_cursors cursors = {0};
    uint64_t total = 0, open, n, freed = 0, removed = 0;
    weir_status s = access(o->dir, F_OK) == 0
                        ? list_hours(o->dir, &hours, err)
                        : weir_err_set(err, WEIR_ENOTFOUND, 0, "there is no archive %s", o->dir);
    if (o->max_octets) {
        for (size_t i = 0; i < hours.n; i++) {
            total += sweep(hours.items[i].dir, false, &open, &n);
            total += open;
        }
    }
    /* A cursor that cannot be read holds nothing: the disk must not fill for it. */
    (void)archive_cursors_read(o->dir, &cursors, NULL);
    for (size_t k = 0; k < cursors.n; k++)
        for (size_t i = 0; i < hours.n; i++)
            cursors.items[k].waiting += waiting_in(&cursors.items[k].cursor, &hours.items[i]);
    for (size_t i = 0; i < hours.n && s == WEIR_OK;) {
        const struct hour *h = &hours.items[i];
        size_t of_hour = 1; /* directories, of all tables */
        struct statvfs v;
        bool old = o->before_ns && h->hour_ns + ARCHIVE_HOUR <= o->before_ns;
        bool large = o->max_octets && total > o->max_octets;
        bool full = false;
        if (o->min_free) {
            if (statvfs(o->dir, &v) != 0) {
                s = archive_errno(err, errno, "ask for the free room of", o->dir);
                break;
            }
            uint64_t free_now = (uint64_t)v.f_bavail * v.f_frsize + (o->dry_run ? freed : 0);
            full = free_now < o->min_free;
        }
        if (!old && !large && !full)
            break; /* those that follow are younger */
        while (i + of_hour < hours.n && hours.items[i + of_hour].hour_ns == h->hour_ns)
            of_hour++;
        if (cursors.n && is_held(o, &cursors, h, of_hour)) {
            i += of_hour;
            continue;
        }
        /* All tables of the hour, so that no flows stay without their ledger, and none of it without flows. */
        for (; of_hour; of_hour--, i++) {
            const char *dir = hours.items[i].dir;
            uint64_t gone = sweep(dir, !o->dry_run, &open, &n);
            if (!o->dry_run)
                remove_dirs(dir);
            total -= gone < total ? gone : total;
            freed += gone;
            removed += n;
            if (n && o->progress)
                o->progress(o->user, dir, gone);
        }
    }
    hours_done(&hours);
    archive_cursors_done(&cursors);
    if (octets)
        *octets = freed;
    if (n_files)
        *n_files = removed;
    return s;
}

/* --- what there is --------------------------------------------------------------------------------- */

/* "2026-11-22T21:05:00.000000Z" of the metadata. */
static bool time_of(const char *text, int64_t *us)
{
    struct tm tm = {0};
    const char *rest = text ? strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) : NULL;
    if (!rest)
        return false;
    int64_t fraction = 0;
    if (*rest == '.') {
        for (int i = 1; i <= 6; i++)
            fraction = fraction * 10 + (rest[i] >= '0' && rest[i] <= '9' ? rest[i] - '0' : 0);
    }
    *us = (int64_t)timegm(&tm) * 1000000 + fraction;
    return true;
}

/* Earliest and latest arrival, from the metadata of a file or the statistics of its column. */
static void received_of(const parquet_file *f, struct archive_file_info *out)
{
    if (time_of(parquet_key_value_find(f, "weir.received_min"), &out->received_min_us) &&
        time_of(parquet_key_value_find(f, "weir.received_max"), &out->received_max_us)) {
        out->has_received = true;
        return;
    }
    uint32_t n;
    int column =
        parquet_column_find(f, flow_table_columns(out->table, &n)[ARCHIVE_TIME_COLUMN].name);
    for (size_t g = 0; column >= 0 && g < parquet_n_groups(f); g++) {
        struct parquet_chunk_info info;
        int64_t min, max;
        parquet_chunk(f, g, (size_t)column, &info);
        if (info.min.len != sizeof min || info.max.len != sizeof max || !info.min.data ||
            !info.max.data)
            continue;
        memcpy(&min, info.min.data, sizeof min);
        memcpy(&max, info.max.data, sizeof max);
        out->received_min_us =
            out->has_received && out->received_min_us < min ? out->received_min_us : min;
        out->received_max_us =
            out->has_received && out->received_max_us > max ? out->received_max_us : max;
        out->has_received = true;
    }
}

static uint64_t size_of(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

/* .part and .journal. */
static uint64_t size_of_open(const char *path)
{
    size_t len = strlen(path);
    char *journal = malloc(len + sizeof ".journal");
    uint64_t octets = size_of(path);
    if (journal && len > 5) {
        memcpy(journal, path, len - 5);
        memcpy(journal + len - 5, ".journal", sizeof ".journal");
        octets += size_of(journal);
    }
    free(journal);
    return octets;
}

/* The parts of one partition, those of one open file as one. False: enough. */
static bool tell(const struct archive_part *parts, size_t n, enum flow_table table,
                 bool (*each)(void *user, const struct archive_file_info *info), void *user)
{
    for (size_t i = 0; i < n;) {
        struct archive_file_info info = {
            .path = parts[i].path, .table = table, .open = parts[i].open};
        const char *slash = strrchr(info.path, '/');
        size_t len = slash ? (size_t)(slash - info.path) : 0;
        char *dir = strndup(info.path, len);
        struct archive_name name;
        archive_name_parse(slash ? slash + 1 : info.path, &name);
        info.compacted = name.ours && name.compacted;
        info.has_hour = dir && archive_partition_time(dir, &info.hour_ns);
        free(dir);
        info.octets = info.open ? size_of_open(info.path) : parquet_octets(parts[i].file);
        size_t first = i;
        do {
            info.rows += parquet_n_rows(parts[i].file);
            info.groups += parts[i].tail ? 0 : parquet_n_groups(parts[i].file);
            info.tail_rows += parts[i].tail ? parquet_n_rows(parts[i].file) : 0;
            received_of(parts[i].file, &info);
            i++;
        } while (i < n && strcmp(parts[i].path, parts[first].path) == 0);
        if (!each(user, &info))
            return false;
    }
    return true;
}

weir_status archive_list(const char *dir,
                         bool (*each)(void *user, const struct archive_file_info *info),
                         void (*bad)(void *user, const weir_err *err), void *user, weir_err *err)
{
    bool more = true;
    for (int t = FLOW_TABLE_FLOWS; t < FLOW_N_TABLES && more; t++) {
        archive_scan *s = NULL;
        WEIR_TRY(archive_scan_open(dir, (enum flow_table)t, NULL, NULL, &s, err));
        while (more) {
            struct archive_part *parts = NULL;
            size_t n = 0;
            weir_err why = {0};
            weir_status st = archive_scan_next(s, &parts, &n, &why);
            if (st == WEIR_END)
                break;
            if (st != WEIR_OK)
                bad(user, &why);
            else
                more = tell(parts, n, (enum flow_table)t, each, user);
            archive_scan_release(s, parts, n);
        }
        archive_scan_close(s);
    }
    return WEIR_OK;
}

/* --- verification ---------------------------------------------------------------------------------- */

static weir_status verify_file(const parquet_file *f, weir_err *err)
{
    uint64_t rows = 0;
    const struct parquet_schema *schema = parquet_schema_of(f);
    for (size_t g = 0; g < parquet_n_groups(f); g++) {
        struct parquet_group_info info;
        parquet_group(f, g, &info);
        rows += info.n_rows;
        for (size_t c = 0; c < schema->n; c++)
            WEIR_TRY(parquet_chunk_verify(f, g, c, err));
    }
    if (rows != parquet_n_rows(f))
        return weir_err_set(err, WEIR_EFORMAT, 0,
                            "%s: %llu rows in its row groups, %llu in its footer", parquet_name(f),
                            (unsigned long long)rows, (unsigned long long)parquet_n_rows(f));
    return WEIR_OK;
}

weir_status archive_verify(const char *dir,
                           void (*report)(void *user, const char *path, uint64_t rows,
                                          const weir_err *err),
                           void *user, uint64_t *n_files, uint64_t *n_bad, weir_err *err)
{
    *n_files = *n_bad = 0;
    for (int t = FLOW_TABLE_FLOWS; t < FLOW_N_TABLES; t++) {
        archive_scan *s = NULL;
        WEIR_TRY(archive_scan_open(dir, (enum flow_table)t, NULL, NULL, &s, err));
        for (;;) {
            struct archive_part *parts = NULL;
            size_t n = 0;
            weir_err why = {0};
            weir_status st = archive_scan_next(s, &parts, &n, &why);
            if (st == WEIR_END)
                break;
            if (st != WEIR_OK) {
                ++*n_files;
                ++*n_bad;
                report(user, NULL, 0, &why);
            }
            for (size_t i = 0; i < n && st == WEIR_OK; i++) {
                why = (weir_err){0};
                bool good = verify_file(parts[i].file, &why) == WEIR_OK;
                ++*n_files;
                *n_bad += !good;
                report(user, parts[i].path, parquet_n_rows(parts[i].file), good ? NULL : &why);
            }
            archive_scan_release(s, parts, n);
        }
        archive_scan_close(s);
    }
    return WEIR_OK;
}
