#include "ship/source.h"

#include "archive/layout.h"
#include "parquet/reader.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum {
    RECENT = 3,    /* hours of a table that are looked at each time */
    SETTLED_S = 2, /* a directory that changed within this time may have changed since unseen */
};

/* One hour of one table. */
struct hour {
    char *dir;
    enum flow_table table;
    struct timespec changed; /* of the directory when it was read; 0: never read */
    time_t read_at;
    bool pending;            /* it had a file that the cursor had not passed */
    struct ship_file *files; /* n, by name */
    size_t n;
};

struct ship_source {
    char *dir;
    unsigned tables;
    struct hour *hours; /* n, by table and path */
    size_t n;
    uint32_t last;
    struct ship_file *pending; /* paths belong to the hours */
    size_t cap;
};

static void files_done(struct hour *h)
{
    for (size_t i = 0; i < h->n; i++)
        free(h->files[i].path);
    free(h->files);
    h->files = NULL;
    h->n = 0;
}

weir_status ship_source_new(const char *dir, unsigned tables, ship_source **out, weir_err *err)
{
    ship_source *s = calloc(1, sizeof *s);
    if (!s || !(s->dir = strdup(dir))) {
        free(s);
        return archive_no_memory(err);
    }
    s->tables = tables;
    *out = s;
    return WEIR_OK;
}

static void hours_done(struct hour *hours, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        files_done(&hours[i]);
        free(hours[i].dir);
    }
    free(hours);
}

void ship_source_free(ship_source *s)
{
    if (!s)
        return;
    hours_done(s->hours, s->n);
    free(s->pending);
    free(s->dir);
    free(s);
}

uint32_t ship_source_last(const ship_source *s)
{
    return s->last;
}

/* ---- hours ---- */

static int by_place(const void *a_, const void *b_)
{
    const struct hour *a = a_, *b = b_;
    return a->table != b->table ? a->table < b->table ? -1 : 1 : strcmp(a->dir, b->dir);
}

static weir_status list_table(const ship_source *s, enum flow_table table, struct hour **hours,
                              size_t *n, weir_err *err)
{
    char *root = archive_path(s->dir, archive_table_name(table));
    struct archive_names dirs = {0};
    weir_status st = root ? archive_list_dirs(root, &dirs, err) : archive_no_memory(err);
    free(root);
    if (st == WEIR_ENOTFOUND)
        return WEIR_OK;
    struct hour *more = st == WEIR_OK ? realloc(*hours, (*n + dirs.n + 1) * sizeof *more) : NULL;
    if (more)
        *hours = more;
    else if (st == WEIR_OK)
        st = archive_no_memory(err);
    for (size_t i = 0; i < dirs.n && st == WEIR_OK; i++) {
        int64_t hour;
        if (!archive_partition_time(dirs.items[i], &hour))
            continue;
        (*hours)[(*n)++] = (struct hour){.dir = dirs.items[i], .table = table};
        dirs.items[i] = NULL;
    }
    archive_names_done(&dirs);
    return st;
}

/* All hours that there are now; what is known of those that stay is kept. */
static weir_status list_hours(ship_source *s, weir_err *err)
{
    struct hour *hours = NULL;
    size_t n = 0;
    struct stat st;
    if (stat(s->dir, &st) != 0)
        return archive_errno(err, errno, "open the archive", s->dir);
    weir_status status = WEIR_OK;
    for (int t = FLOW_TABLE_FLOWS; t < FLOW_N_TABLES && status == WEIR_OK; t++)
        if (s->tables & 1U << t)
            status = list_table(s, (enum flow_table)t, &hours, &n, err);
    if (status != WEIR_OK) {
        hours_done(hours, n);
        return status;
    }
    if (n > 1)
        qsort(hours, n, sizeof *hours, by_place);
    for (size_t i = 0, k = 0; i < n; i++) {
        while (k < s->n && by_place(&s->hours[k], &hours[i]) < 0)
            k++;
        if (k == s->n || by_place(&s->hours[k], &hours[i]) != 0)
            continue;
        char *dir = hours[i].dir;
        hours[i] = s->hours[k];
        s->hours[k] = (struct hour){.dir = dir, .table = hours[i].table};
        k++;
    }
    hours_done(s->hours, s->n);
    s->hours = hours;
    s->n = n;
    return WEIR_OK;
}

/* ---- files ---- */

static int by_name(const void *a_, const void *b_)
{
    const struct ship_file *a = a_, *b = b_;
    return strcmp(a->name, b->name);
}

/* The file's name is a .part whose closed form is there too: it has been renamed while names were read. */
static bool is_double(const struct hour *h, size_t i)
{
    if (!h->files[i].open)
        return false;
    size_t stem = strlen(h->files[i].name) - strlen(".part");
    for (size_t k = i; k-- > 0 && strncmp(h->files[k].name, h->files[i].name, stem) == 0;)
        if (!h->files[k].open)
            return true;
    for (size_t k = i + 1; k < h->n && strncmp(h->files[k].name, h->files[i].name, stem) == 0; k++)
        if (!h->files[k].open)
            return true;
    return false;
}

static weir_status read_hour(ship_source *s, struct hour *h, weir_err *err)
{
    struct stat st;
    time_t now = time(NULL);
    if (stat(h->dir, &st) != 0) {
        files_done(h); /* it has expired */
        return errno == ENOENT ? WEIR_OK : archive_errno(err, errno, "read", h->dir);
    }
    if (h->read_at && h->changed.tv_sec == st.st_mtim.tv_sec &&
        h->changed.tv_nsec == st.st_mtim.tv_nsec && h->read_at > h->changed.tv_sec + SETTLED_S)
        return WEIR_OK;
    struct archive_names names;
    weir_status status = archive_list_files(h->dir, false, &names, err);
    if (status == WEIR_ENOTFOUND) {
        files_done(h);
        return WEIR_OK;
    }
    WEIR_TRY(status);
    files_done(h);
    h->files = calloc(names.n + 1, sizeof *h->files);
    for (size_t i = 0; i < names.n && h->files; i++) {
        struct archive_name name;
        archive_name_parse(names.items[i], &name);
        const char *suffix = names.items[i] + name.stem_len;
        bool open = name.kind == ARCHIVE_KIND_PART,
             closed = name.kind == ARCHIVE_KIND_CLOSED &&
                      strcmp(suffix, archive_table_suffix(h->table)) == 0;
        if (!name.ours || (!open && !closed) || name.stem_len >= ARCHIVE_CURSOR_STEM)
            continue;
        struct ship_file *f = &h->files[h->n];
        if (!(f->path = archive_path(h->dir, names.items[i]))) {
            status = archive_no_memory(err);
            break;
        }
        f->table = h->table;
        f->name = f->path + strlen(h->dir) + 1;
        f->open = open;
        f->compacted = name.compacted;
        f->number = name.number;
        h->n++;
        if (!name.compacted && name.number > s->last)
            s->last = name.number;
    }
    archive_names_done(&names);
    if (!h->files)
        return archive_no_memory(err);
    if (h->n > 1)
        qsort(h->files, h->n, sizeof *h->files, by_name);
    h->changed = st.st_mtim;
    h->read_at = now;
    return status;
}

/* Those of compaction are the oldest of their hour; all others in the order in which they were made. */
static int by_age(const void *a_, const void *b_)
{
    const struct ship_file *a = a_, *b = b_;
    if (a->compacted != b->compacted)
        return a->compacted ? -1 : 1;
    if (!a->compacted && a->number != b->number)
        return a->number < b->number ? -1 : 1;
    return strcmp(a->path, b->path);
}

static weir_status add_pending(ship_source *s, const struct ship_file *f, size_t n, weir_err *err)
{
    if (n == s->cap) {
        size_t cap = s->cap ? 2 * s->cap : 64;
        struct ship_file *more = realloc(s->pending, cap * sizeof *more);
        if (!more)
            return archive_no_memory(err);
        s->pending = more;
        s->cap = cap;
    }
    s->pending[n] = *f;
    return WEIR_OK;
}

/* Whether an hour began that is not known yet. */
static bool new_hour(const ship_source *s)
{
    struct timespec now;
    char partition[ARCHIVE_PARTITION_TEXT];
    bool found = false;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    archive_partition_text(partition, now.tv_sec * ARCHIVE_SECOND);
    for (int t = FLOW_TABLE_FLOWS; t < FLOW_N_TABLES && !found; t++) {
        char *dir = NULL;
        struct stat st;
        if (!(s->tables & 1U << t))
            continue;
        if (asprintf(&dir, "%s/%s/%s", s->dir, archive_table_name((enum flow_table)t), partition) <
            0)
            return true;
        struct hour key = {.dir = dir, .table = (enum flow_table)t};
        found =
            stat(dir, &st) == 0 && !(s->n && bsearch(&key, s->hours, s->n, sizeof key, by_place));
        free(dir);
    }
    return found;
}

weir_status ship_source_look(ship_source *s, const archive_cursor *c, bool all,
                             const struct ship_file **files, size_t *n, weir_err *err)
{
    *files = NULL;
    *n = 0;
    if (all || new_hour(s))
        WEIR_TRY(list_hours(s, err));
    for (size_t i = 0; i < s->n; i++) {
        struct hour *h = &s->hours[i];
        bool recent = i + RECENT >= s->n || s->hours[i + RECENT].table != h->table;
        if (all || recent || h->pending || !h->read_at)
            WEIR_TRY(read_hour(s, h, err));
        h->pending = false;
        for (size_t k = 0; k < h->n; k++) {
            if (archive_cursor_of(c, h->table, h->files[k].name).done || is_double(h, k))
                continue;
            h->pending = true;
            WEIR_TRY(add_pending(s, &h->files[k], *n, err));
            ++*n;
        }
    }
    if (*n > 1)
        qsort(s->pending, *n, sizeof *s->pending, by_age);
    *files = s->pending;
    return WEIR_OK;
}

/* Rows of files that are still written are done as far as they are there, and so are all others. */
static weir_status begin_file(const struct ship_file *f, archive_cursor *c, weir_err *err)
{
    struct ship_parts p = {0};
    if (!f->open)
        return archive_cursor_set(c, f->table, f->name, 0, true, err);
    weir_status st = ship_parts_open(&p, f, err);
    uint64_t rows = p.rows;
    ship_parts_done(&p);
    return st == WEIR_OK          ? archive_cursor_set(c, f->table, f->name, rows, false, err)
           : st == WEIR_ENOTFOUND ? archive_cursor_set(c, f->table, f->name, 0, true, err)
                                  : st;
}

weir_status ship_source_begin(ship_source *s, bool begin_now, archive_cursor *c, weir_err *err)
{
    uint32_t floor = UINT32_MAX;
    WEIR_TRY(list_hours(s, err));
    for (size_t i = 0; i < s->n; i++) {
        struct hour *h = &s->hours[i];
        WEIR_TRY(read_hour(s, h, err));
        for (size_t k = 0; k < h->n; k++) {
            const struct ship_file *f = &h->files[k];
            if (f->compacted && !begin_now)
                WEIR_TRY(archive_cursor_set(c, f->table, f->name, 0, false, err));
            if (begin_now && !f->compacted && !is_double(h, k)) {
                WEIR_TRY(begin_file(f, c, err));
                floor = f->open && f->number < floor ? f->number : floor;
            }
        }
    }
    if (begin_now)
        archive_cursor_raise(c, floor < s->last ? floor : s->last + 1);
    return WEIR_OK;
}

/* ---- one file ---- */

weir_status ship_parts_open(struct ship_parts *p, const struct ship_file *f, weir_err *err)
{
    *p = (struct ship_parts){0};
    WEIR_TRY(archive_scan_open(f->path, f->table, NULL, NULL, &p->scan, err));
    weir_status s = archive_scan_next(p->scan, &p->parts, &p->n, err);
    if (s == WEIR_END)
        s = weir_err_set(err, WEIR_ENOTFOUND, 0, "%s is gone", f->path);
    if (s != WEIR_OK) {
        p->parts = NULL;
        p->n = 0;
        ship_parts_done(p);
        return s;
    }
    for (size_t i = 0; i < p->n; i++)
        p->rows += parquet_n_rows(p->parts[i].file);
    return WEIR_OK;
}

void ship_parts_done(struct ship_parts *p)
{
    if (p->parts)
        archive_scan_release(p->scan, p->parts, p->n);
    archive_scan_close(p->scan);
    *p = (struct ship_parts){0};
}
