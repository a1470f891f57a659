/* Reading. How a partition is seen whole while a collector renames and a compaction replaces files in it:
 *
 *     list names -> open all of them -> list names again -> the same? then what is open is the partition
 *                                                           else close all, from the beginning
 *
 * Open descriptors hold what they were opened for: a .part that is closed a moment later still has the octets that its
 * journal, opened before it, vouches for; compaction's inputs stay readable when their names are gone. A name that
 * vanishes between list and open is the same as a list that changed. */
#include "archive/recover.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_TRIES = 1000 };
#define LATE ARCHIVE_HOUR

struct failure {
    weir_status status;
    weir_err err;
};

struct archive_scan {
    enum flow_table table;
    struct archive_names dirs; /* or one file */
    bool single, plain;        /* one file; directories that are no archive's */
    size_t next;
    char *from, *to;
    int64_t from_ns, to_ns;
    struct failure *failures; /* of the partition at hand, to be told first */
    size_t n_failures, told;
    struct bundle *ready; /* its parts */
};

/* The parts of a partition. */
struct bundle {
    size_t n, cap;
    struct held {
        parquet_file *file;
        char *path, *memory; /* memory: what file borrows, or NULL */
        bool open, tail;
        int64_t slot_length_ns;
    } * held;
};

/* What archive_scan_next hands out: the bundle travels in front of the parts. */
struct handed {
    struct bundle *bundle;
    struct archive_part parts[];
};

/* One file of a partition. */
struct opened {
    char *path;
    struct archive_name name;
    int fd, journal;
    bool orphan; /* a .part without a journal */
};

struct partition {
    struct opened *files;
    size_t n;
};

/* --- parts ----------------------------------------------------------------------------------------- */

static void held_done(struct held *h)
{
    parquet_close(h->file);
    free(h->memory);
    free(h->path);
}

static void bundle_free(struct bundle *b)
{
    if (!b)
        return;
    for (size_t i = 0; i < b->n; i++)
        held_done(&b->held[i]);
    free(b->held);
    free(b);
}

/* Takes h->file and h->memory, whatever happens; path is copied. */
static weir_status bundle_add(struct bundle *b, struct held h, const char *path, weir_err *err)
{
    h.path = strdup(path);
    if (h.path && b->n == b->cap) {
        size_t cap = b->cap ? 2 * b->cap : 16;
        struct held *held = realloc(b->held, cap * sizeof *held);
        if (held) {
            b->held = held;
            b->cap = cap;
        }
    }
    if (!h.path || b->n == b->cap) {
        held_done(&h);
        return archive_no_memory(err);
    }
    b->held[b->n++] = h;
    return WEIR_OK;
}

/* --- open files ------------------------------------------------------------------------------------ */

static weir_status to_memory(void *user, const void *data, size_t len, weir_err *err)
{
    base_buf *b = user;
    base_buf_add(b, data, len);
    return b->failed ? archive_no_memory(err) : WEIR_OK;
}

static int64_t slot_length(const struct archive_journal_head *h)
{
    return h->slot_length_ns > 0 && h->slot_length_ns <= ARCHIVE_HOUR ? h->slot_length_ns : 0;
}

/* The row groups in .part, with a footer made from the journal. */
static weir_status add_groups(struct bundle *b, const struct archive_journal *j, struct opened *o,
                              weir_err *err)
{
    struct parquet_writer_options options = {.sink = to_memory,
                                             .codec = PARQUET_ZSTD,
                                             .level = 1,
                                             .sorted_by = -1,
                                             .created_by = archive_created_by()};
    base_buf footer = {0};
    parquet_writer *w = NULL;
    parquet_file *file = NULL;
    uint64_t end = j->groups.items[j->groups.n - 1].end;
    options.user = &footer;
    weir_status s = archive_resume(&options, &j->columns, &j->groups, end, &w, err);
    if (s == WEIR_OK)
        s = parquet_writer_preview(w, &footer, err);
    parquet_writer_free(w);
    if (s == WEIR_OK)
        s = parquet_open_parts(o->fd, end, footer.data, footer.len, o->path, &file, err);
    base_buf_done(&footer);
    if (s != WEIR_OK)
        return s;
    o->fd = -1; /* the file's now */
    return bundle_add(
        b, (struct held){.file = file, .open = true, .slot_length_ns = slot_length(&j->head)},
        o->path, err);
}

/* The rows that are in no group yet, as a Parquet file in memory. */
static weir_status add_tail(struct bundle *b, struct archive_journal *j, const struct opened *o,
                            weir_err *err)
{
    base_buf memory = {0};
    struct parquet_writer_options options = {.sink = to_memory,
                                             .user = &memory,
                                             .codec = PARQUET_NONE,
                                             .sorted_by = -1,
                                             .created_by = archive_created_by()};
    struct archive_rows rows = {0};
    struct archive_groups none = {0};
    parquet_writer *w = NULL;
    parquet_file *file = NULL;
    weir_status s = archive_columns_take(&j->columns, j->tail, err);
    if (s == WEIR_OK)
        s = archive_resume(&options, &j->columns, &none, 0, &w, err);
    if (s == WEIR_OK)
        s = archive_rows_make(&rows, &j->columns, j->tail, err);
    if (s == WEIR_OK)
        s = parquet_writer_group(w, rows.data, flow_batch_rows(j->tail), err);
    if (s == WEIR_OK)
        s = parquet_writer_finish(w, NULL, 0, err);
    parquet_writer_free(w);
    archive_rows_done(&rows);
    if (s == WEIR_OK)
        s = parquet_open_memory(memory.data, memory.len, o->path, &file, err);
    if (s != WEIR_OK) {
        base_buf_done(&memory);
        return s;
    }
    return bundle_add(b,
                      (struct held){.file = file,
                                    .memory = memory.data,
                                    .open = true,
                                    .tail = true,
                                    .slot_length_ns = slot_length(&j->head)},
                      o->path, err);
}

/* Whether an open file belongs to what is read: below a directory that is no archive's there may be one, of all tables. */
static weir_status right_table(const struct archive_scan *s, const struct opened *o,
                               const struct archive_journal *j, bool *right, weir_err *err)
{
    *right = s->single || j->head.table == s->table;
    return *right || s->plain
               ? WEIR_OK
               : weir_err_set(err, WEIR_EFORMAT, 0, "%s is of table %s, among those of %s", o->path,
                              archive_table_name(j->head.table), archive_table_name(s->table));
}

static weir_status add_open(const struct archive_scan *scan, struct bundle *b, struct opened *o,
                            weir_err *err)
{
    struct archive_journal j;
    struct stat st;
    weir_err why = {0};
    bool right;
    /* In this order: octets of .part come after the header of the journal. */
    if (fstat(o->fd, &st) != 0)
        return archive_errno(err, errno, "read", o->path);
    weir_status s = archive_journal_read(o->journal, o->path, &j, &why);
    if (s == WEIR_ETRUNC && st.st_size == 0)
        return WEIR_OK; /* just being made: no row is in it */
    if (s == WEIR_ETRUNC || s == WEIR_EFORMAT)
        return weir_err_set(err, s, 0, "%s: its journal cannot be read, so its rows are not known",
                            o->path);
    if (s == WEIR_OK && (s = right_table(scan, o, &j, &right, &why)) != WEIR_OK)
        archive_journal_done(&j);
    if (s != WEIR_OK) {
        if (err)
            *err = why;
        return s;
    }
    if (!right) {
        archive_journal_done(&j);
        return WEIR_OK;
    }
    weir_status first = WEIR_OK;
    if (j.groups.n)
        first = add_groups(b, &j, o, err);
    if (flow_batch_rows(j.tail)) /* also when .part is damaged */
        s = add_tail(b, &j, o, &why);
    archive_journal_done(&j);
    if (first != WEIR_OK)
        return first;
    if (s != WEIR_OK && err)
        *err = why;
    return s;
}

/* A .part of ours without a journal. Empty: it was just made. */
static weir_status look_at_orphan(const struct opened *o, weir_err *err)
{
    struct stat st;
    if (fstat(o->fd, &st) != 0)
        return archive_errno(err, errno, "read", o->path);
    return st.st_size == 0
               ? WEIR_OK
               : weir_err_set(err, WEIR_EFORMAT, 0,
                              "%s: its journal is missing, so its rows are not known", o->path);
}

static weir_status add_closed(struct bundle *b, struct opened *o, struct archive_names *replaced,
                              weir_err *err)
{
    parquet_file *file = NULL;
    WEIR_TRY(parquet_open(o->fd, o->path, &file, err));
    o->fd = -1;
    if (o->name.ours && o->name.compacted) {
        weir_status s = archive_replaces(file, replaced, err);
        if (s != WEIR_OK) {
            parquet_close(file);
            return s;
        }
    }
    int64_t length;
    bool said = archive_seconds(parquet_key_value_find(file, "weir.slot_length"), &length);
    return bundle_add(b, (struct held){.file = file, .slot_length_ns = said ? length : 0}, o->path,
                      err);
}

/* --- one partition --------------------------------------------------------------------------------- */

static void partition_done(struct partition *p)
{
    for (size_t i = 0; i < p->n; i++) {
        if (p->files[i].fd >= 0)
            (void)close(p->files[i].fd);
        if (p->files[i].journal >= 0)
            (void)close(p->files[i].journal);
        free(p->files[i].path);
    }
    free(p->files);
    *p = (struct partition){0};
}

/* Whether a file lies in the range of names. A compacted file stands for its whole hour, and so does one of the ledger. */
static bool in_range(const struct archive_scan *s, const char *name,
                     const struct archive_name *parsed)
{
    char end[ARCHIVE_TIME_TEXT];
    const char *last = name;
    bool hour = parsed->ours && (parsed->compacted || s->table == FLOW_TABLE_LEDGER);
    if (hour) {
        archive_time_text(end, parsed->time_ns + ARCHIVE_HOUR - ARCHIVE_SECOND);
        last = end;
    }
    if (s->from && strncmp(last, s->from, hour ? strlen(last) : strlen(s->from)) < 0)
        return false;
    return !s->to || strncmp(name, s->to, strlen(s->to)) <= 0;
}

/* *orphan: a .part without a journal, which nobody but us can have left. */
static bool wanted(const struct archive_scan *s, const struct archive_names *names, size_t i,
                   struct archive_name *parsed, bool *orphan)
{
    *orphan = false;
    const char *name = names->items[i], *suffix = archive_table_suffix(s->table);
    archive_name_parse(name, parsed);
    if (!in_range(s, name, parsed))
        return false;
    if (parsed->kind == ARCHIVE_KIND_CLOSED)
        return strcmp(name + parsed->stem_len, suffix) == 0;
    if (parsed->kind != ARCHIVE_KIND_PART)
        return false;
    char other[300]; /* names have 255 octets at most */
    size_t n = parsed->stem_len;
    if (n + 9 > sizeof other)
        return false;
    memcpy(other, name, n);
    memcpy(other + n, suffix, strlen(suffix) + 1);
    if (archive_names_have(names, other, strlen(other)))
        return false; /* it was renamed while names were read, so they will be read again */
    memcpy(other + n, ".journal", 9);
    *orphan = !archive_names_have(names, other, strlen(other));
    return !*orphan || parsed->ours;
}

/* WEIR_ENOTFOUND: it is gone. */
static weir_status open_one(struct opened *o, weir_err *err)
{
    if (o->name.kind == ARCHIVE_KIND_PART && !o->orphan) {
        size_t len = strlen(o->path) - strlen(".part");
        char *journal = malloc(len + sizeof ".journal");
        if (!journal)
            return archive_no_memory(err);
        memcpy(journal, o->path, len);
        memcpy(journal + len, ".journal", sizeof ".journal");
        o->journal = open(journal, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        free(journal);
        if (o->journal < 0)
            return archive_errno(err, errno, "open the journal of", o->path);
    }
    /* O_NONBLOCK: a FIFO of that name must not be waited for; regular files do not mind. */
    o->fd = open(o->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    return o->fd >= 0 ? WEIR_OK : archive_errno(err, errno, "open", o->path);
}

static weir_status fail(struct archive_scan *s, weir_status status, const weir_err *err)
{
    struct failure *all = realloc(s->failures, (s->n_failures + 1) * sizeof *all);
    if (!all)
        return WEIR_ENOMEM;
    s->failures = all;
    all[s->n_failures++] = (struct failure){status, *err};
    return WEIR_OK;
}

/* Open what the names say. What cannot be opened is noted as a failure; *gone: files that are no longer there, which
 * are so only when they are to be. */
static weir_status open_all(struct archive_scan *s, const char *dir,
                            const struct archive_names *names, bool note_gone, struct partition *p,
                            size_t *gone, weir_err *err)
{
    *gone = 0;
    p->files = calloc(names->n + 1, sizeof *p->files);
    if (!p->files)
        return archive_no_memory(err);
    for (size_t i = 0; i < names->n; i++) {
        struct opened *o = &p->files[p->n];
        if (!wanted(s, names, i, &o->name, &o->orphan))
            continue;
        o->fd = o->journal = -1;
        o->path = archive_path(dir, names->items[i]);
        if (!o->path)
            return archive_no_memory(err);
        p->n++;
        weir_err why = {0};
        weir_status st = open_one(o, &why);
        if (st == WEIR_OK && o->orphan)
            st = look_at_orphan(o, &why);
        if (st == WEIR_ENOMEM)
            return archive_no_memory(err);
        if (st == WEIR_ENOTFOUND) {
            ++*gone;
            if (!note_gone)
                continue;
        }
        if (st != WEIR_OK && fail(s, st, &why) != WEIR_OK)
            return archive_no_memory(err);
    }
    return WEIR_OK;
}

/* As described at the top. An hour that is gone has no files. */
static weir_status open_partition(struct archive_scan *s, const char *dir, struct partition *p,
                                  weir_err *err)
{
    unsigned dangling = 0; /* times that a name stayed which cannot be opened: a link to nowhere */
    for (int tries = 0; tries < MAX_TRIES; tries++) {
        struct archive_names before, after = {0};
        size_t gone = 0;
        weir_status st = archive_list_files(dir, false, &before, err);
        if (st == WEIR_ENOTFOUND)
            return WEIR_OK;
        WEIR_TRY(st);
        st = open_all(s, dir, &before, dangling >= 3, p, &gone, err);
        if (st == WEIR_OK)
            st = archive_list_files(dir, false, &after, err);
        bool same = st == WEIR_OK && archive_names_same(&before, &after);
        archive_names_done(&before);
        archive_names_done(&after);
        if (same && (gone == 0 || dangling >= 3))
            return WEIR_OK;
        dangling = same ? dangling + 1 : 0;
        partition_done(p);
        s->n_failures = 0;
        if (st != WEIR_OK && st != WEIR_ENOTFOUND)
            return st;
    }
    return weir_err_set(err, WEIR_EIO, 0, "%s changes all the time: cannot be read as a whole",
                        dir);
}

/* Leave out the parts whose rows another part has. */
static void drop_replaced(struct bundle *b, struct archive_names *replaced)
{
    archive_names_sort(replaced);
    size_t n = 0;
    for (size_t i = 0; i < b->n; i++) {
        if (!b->held[i].open && archive_is_replaced(b->held[i].file, replaced)) {
            held_done(&b->held[i]);
            continue;
        }
        b->held[n++] = b->held[i];
    }
    b->n = n;
}

static weir_status load(struct archive_scan *s, const char *dir, struct bundle *b, weir_err *err)
{
    struct partition p = {0};
    struct archive_names replaced = {0};
    WEIR_TRY(open_partition(s, dir, &p, err));
    weir_status st = WEIR_OK;
    for (size_t i = 0; i < p.n && st == WEIR_OK; i++) {
        struct opened *o = &p.files[i];
        weir_err why = {0};
        if (o->fd < 0 || o->orphan)
            continue; /* noted already */
        weir_status one = o->name.kind == ARCHIVE_KIND_PART ? add_open(s, b, o, &why)
                                                            : add_closed(b, o, &replaced, &why);
        if (one == WEIR_ENOMEM || (one != WEIR_OK && fail(s, one, &why) != WEIR_OK))
            st = archive_no_memory(err);
    }
    partition_done(&p);
    if (st == WEIR_OK && replaced.n)
        drop_replaced(b, &replaced);
    archive_names_done(&replaced);
    return st;
}

static weir_status load_single(struct archive_scan *s, struct bundle *b, weir_err *err)
{
    struct opened o = {.path = s->dirs.items[0], .fd = -1, .journal = -1};
    struct archive_names none = {0};
    archive_name_parse(o.path, &o.name);
    if (o.name.kind != ARCHIVE_KIND_PART) /* whatever it is called */
        o.name.kind = ARCHIVE_KIND_CLOSED;
    weir_status st = open_one(&o, err);
    if (st == WEIR_OK)
        st = o.name.kind == ARCHIVE_KIND_PART ? add_open(s, b, &o, err)
                                              : add_closed(b, &o, &none, err);
    if (o.fd >= 0)
        (void)close(o.fd);
    if (o.journal >= 0)
        (void)close(o.journal);
    return st;
}

/* --- the scan -------------------------------------------------------------------------------------- */

static bool exists(const char *dir, const char *name, bool directory)
{
    struct stat st;
    char *path = archive_path(dir, name);
    bool yes = path && stat(path, &st) == 0 && S_ISDIR(st.st_mode) == directory;
    free(path);
    return yes;
}

/* Whether a plain directory tree holds any file for us. */
static weir_status look_for_files(const struct archive_scan *s, const char *path, weir_err *err)
{
    for (size_t i = 0; i < s->dirs.n; i++) {
        struct archive_names names;
        struct archive_name parsed;
        bool orphan;
        weir_status st = archive_list_files(s->dirs.items[i], false, &names, err);
        if (st == WEIR_ENOTFOUND)
            continue;
        WEIR_TRY(st);
        bool found = false;
        for (size_t k = 0; k < names.n && !found; k++)
            found = wanted(s, &names, k, &parsed, &orphan);
        archive_names_done(&names);
        if (found)
            return WEIR_OK;
    }
    return weir_err_set(err, WEIR_ENOTFOUND, 0, "%s is no archive and has no Parquet files%s", path,
                        s->from || s->to ? " of these names" : "");
}

static weir_status find(struct archive_scan *s, const char *path, weir_err *err)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return archive_errno(err, errno, "open", path);
    if (!S_ISDIR(st.st_mode)) {
        s->single = true;
        return archive_names_add(&s->dirs, path, strlen(path)) ? WEIR_OK : archive_no_memory(err);
    }
    bool ours = exists(path, "lock", false);
    for (int t = FLOW_TABLE_FLOWS; t < FLOW_N_TABLES && !ours; t++)
        ours = exists(path, archive_table_name((enum flow_table)t), true);
    s->plain = !ours;
    if (!ours) {
        WEIR_TRY(archive_list_dirs(path, &s->dirs, err));
        return look_for_files(s, path, err);
    }
    char *root = archive_path(path, archive_table_name(s->table));
    weir_status found = root ? archive_list_dirs(root, &s->dirs, err) : archive_no_memory(err);
    free(root);
    return found == WEIR_ENOTFOUND ? WEIR_OK : found; /* an archive that has no rows yet */
}

weir_status archive_scan_open(const char *path, enum flow_table table, const char *from,
                              const char *to, archive_scan **out, weir_err *err)
{
    *out = NULL;
    struct archive_scan *s = calloc(1, sizeof *s);
    if (!s)
        return archive_no_memory(err);
    *s = (struct archive_scan){.table = table,
                               .from_ns = INT64_MIN,
                               .to_ns = INT64_MAX,
                               .from = from ? strdup(from) : NULL,
                               .to = to ? strdup(to) : NULL};
    weir_status st =
        (from && !s->from) || (to && !s->to) ? archive_no_memory(err) : find(s, path, err);
    if (st != WEIR_OK)
        archive_scan_close(s);
    else
        *out = s;
    return st;
}

void archive_scan_limit(archive_scan *s, int64_t from_ns, int64_t to_ns)
{
    s->from_ns = from_ns;
    s->to_ns = to_ns;
}

void archive_scan_progress(const archive_scan *s, size_t *done, size_t *all)
{
    *done = s->next;
    *all = s->dirs.n;
}

/* An hour that may be left out. The ledger's partition is that of when a row was stored, which is up to LATE after its minute
 * began. */
static bool outside(const struct archive_scan *s, const char *dir)
{
    int64_t hour, late = s->table == FLOW_TABLE_LEDGER ? LATE : 0;
    return !s->single && archive_partition_time(dir, &hour) &&
           (hour - late > s->to_ns || hour + ARCHIVE_HOUR <= s->from_ns);
}

weir_status archive_scan_next(archive_scan *s, struct archive_part **parts, size_t *n,
                              weir_err *err)
{
    *parts = NULL;
    *n = 0;
    if (!s->ready) {
        while (s->next < s->dirs.n && outside(s, s->dirs.items[s->next]))
            s->next++;
        if (s->next == s->dirs.n)
            return WEIR_END;
        struct bundle *b = calloc(1, sizeof *b);
        if (!b)
            return archive_no_memory(err);
        s->n_failures = s->told = 0;
        const char *at = s->dirs.items[s->next++];
        weir_status st = s->single ? load_single(s, b, err) : load(s, at, b, err);
        if (st != WEIR_OK && b->n == 0) {
            bundle_free(b);
            return st;
        }
        weir_err none = {0};
        if (st != WEIR_OK && fail(s, st, err ? err : &none) != WEIR_OK) {
            bundle_free(b);
            return archive_no_memory(err);
        }
        s->ready = b;
    }
    if (s->told < s->n_failures) {
        const struct failure *f = &s->failures[s->told++];
        if (err)
            *err = f->err;
        return f->status;
    }
    struct bundle *b = s->ready;
    s->ready = NULL;
    if (b->n == 0) {
        bundle_free(b);
        return WEIR_OK;
    }
    struct handed *out = malloc(sizeof *out + b->n * sizeof *out->parts);
    if (!out) {
        bundle_free(b);
        return archive_no_memory(err);
    }
    out->bundle = b;
    for (size_t i = 0; i < b->n; i++)
        out->parts[i] = (struct archive_part){b->held[i].path, b->held[i].file, b->held[i].open,
                                              b->held[i].tail, b->held[i].slot_length_ns};
    *parts = out->parts;
    *n = b->n;
    return WEIR_OK;
}

void archive_scan_release(archive_scan *s, struct archive_part *parts, size_t n)
{
    (void)s;
    (void)n;
    if (!parts)
        return;
    struct handed *h = (void *)((char *)parts - offsetof(struct handed, parts));
    bundle_free(h->bundle);
    free(h);
}

void archive_scan_close(archive_scan *s)
{
    if (!s)
        return;
    bundle_free(s->ready);
    archive_names_done(&s->dirs);
    free(s->failures);
    free(s->from);
    free(s->to);
    free(s);
}
