#include "archive/cursor.h"

#include "archive/layout.h"
#include "archive/recover.h"
#include "base/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_OCTETS = 64 << 20 }; /* of a cursor: a million files that are done above the floor */
static const char head[] = "weir-cursor 1\n", check[] = "check ";

void archive_cursor_done(archive_cursor *c)
{
    free(c->destination);
    free(c->files);
    *c = (archive_cursor){0};
}

static int compare(const struct archive_cursor_file *a, enum flow_table table, const char *stem)
{
    return a->table != table ? a->table < table ? -1 : 1 : strcmp(a->stem, stem);
}

/* Where the name stands, or would. */
static size_t place(const archive_cursor *c, enum flow_table table, const char *stem)
{
    size_t low = 0, high = c->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (compare(&c->files[mid], table, stem) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* False: no file of ours. */
static bool stem_of(const char *name, char out[ARCHIVE_CURSOR_STEM], struct archive_name *parsed)
{
    archive_name_parse(name, parsed);
    if (!parsed->ours || parsed->stem_len >= ARCHIVE_CURSOR_STEM)
        return false;
    memcpy(out, name, parsed->stem_len);
    out[parsed->stem_len] = 0;
    return true;
}

struct archive_cursor_file archive_cursor_of(const archive_cursor *c, enum flow_table table,
                                             const char *name)
{
    struct archive_cursor_file f = {.table = table, .done = true};
    struct archive_name parsed;
    if (!stem_of(name, f.stem, &parsed))
        return f;
    size_t i = place(c, table, f.stem);
    if (i < c->n && compare(&c->files[i], table, f.stem) == 0)
        return c->files[i];
    f.done = parsed.compacted || parsed.number < c->floor;
    return f;
}

weir_status archive_cursor_set(archive_cursor *c, enum flow_table table, const char *name,
                               uint64_t rows, bool done, weir_err *err)
{
    struct archive_cursor_file f = {.table = table, .done = done, .rows = rows};
    struct archive_name parsed;
    if (!stem_of(name, f.stem, &parsed))
        return weir_err_set(err, WEIR_EINVAL, 0, "'%.60s' is no file of an archive", name);
    if (!parsed.compacted && parsed.number < c->floor)
        return WEIR_OK;
    size_t i = place(c, table, f.stem);
    if (i == c->n || compare(&c->files[i], table, f.stem) != 0) {
        if (c->n == c->cap) {
            size_t cap = c->cap ? 2 * c->cap : 16;
            struct archive_cursor_file *files = realloc(c->files, cap * sizeof *files);
            if (!files)
                return archive_no_memory(err);
            c->files = files;
            c->cap = cap;
        }
        memmove(c->files + i + 1, c->files + i, (c->n - i) * sizeof *c->files);
        c->n++;
    }
    c->files[i] = f;
    return WEIR_OK;
}

void archive_cursor_raise(archive_cursor *c, uint32_t floor)
{
    c->floor = floor > c->floor ? floor : c->floor;
    size_t n = 0;
    for (size_t i = 0; i < c->n; i++) {
        struct archive_name parsed;
        char stem[ARCHIVE_CURSOR_STEM];
        (void)stem_of(c->files[i].stem, stem, &parsed);
        if (parsed.compacted ? c->files[i].done : parsed.number < c->floor)
            continue;
        c->files[n++] = c->files[i];
    }
    c->n = n;
}

bool archive_cursor_name_ok(const char *name)
{
    size_t n = strlen(name);
    return n && n <= ARCHIVE_CURSOR_NAME && name[0] != '.' && name[0] != '_' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == n;
}

/* ---- as text ---- */

static uint64_t check_of(const char *text, size_t len)
{
    return base_hash(text, len, 0);
}

static void put(const archive_cursor *c, base_buf *out)
{
    base_buf_str(out, head);
    base_buf_printf(out, "destination %s\nhold %" PRIu64 "\nfloor %" PRIu32 "\n",
                    c->destination ? c->destination : "", c->hold, c->floor);
    for (size_t i = 0; i < c->n; i++) {
        const struct archive_cursor_file *f = &c->files[i];
        base_buf_printf(out, "file %s %s ", archive_table_name(f->table), f->stem);
        if (f->done)
            base_buf_str(out, "done\n");
        else
            base_buf_printf(out, "%" PRIu64 "\n", f->rows);
    }
    if (!out->failed)
        base_buf_printf(out, "%s%016" PRIx64 "\n", check, check_of(out->data, out->len));
}

/* One line without its end. False: it is none of a cursor. */
static bool take_line(archive_cursor *c, const char *line)
{
    uint64_t n;
    int end = -1, name = -1;
    char table[16], stem[ARCHIVE_CURSOR_STEM];
    weir_err err;
    if (strncmp(line, "destination ", 12) == 0) {
        free(c->destination);
        return (c->destination = strdup(line + 12)) != NULL;
    }
    if (sscanf(line, "hold %" SCNu64 "%n", &n, &end) == 1 && !line[end])
        c->hold = n;
    else if (sscanf(line, "floor %" SCNu64 "%n", &n, &end) == 1 && !line[end] && n <= UINT32_MAX)
        c->floor = (uint32_t)n;
    else if (sscanf(line, "file %15s %47s %n", table, stem, &name) == 2 && name > 0) {
        bool done = strcmp(line + name, "done") == 0;
        if (!done && (sscanf(line + name, "%" SCNu64 "%n", &n, &end) != 1 || line[name + end]))
            return false;
        for (int t = FLOW_TABLE_FLOWS; t < FLOW_N_TABLES; t++)
            if (strcmp(table, archive_table_name((enum flow_table)t)) == 0)
                return archive_cursor_set(c, (enum flow_table)t, stem, done ? 0 : n, done, &err) ==
                       WEIR_OK;
        return false;
    } else
        return false;
    return true;
}

/* text[len] with a NUL behind it; written to. */
static bool take(archive_cursor *c, char *text, size_t len)
{
    const size_t line = sizeof check - 1 + 16 + 1; /* the last one */
    uint64_t sum;
    if (len < sizeof head - 1 + line || memcmp(text, head, sizeof head - 1) != 0 ||
        strlen(text) != len || memcmp(text + len - line, check, sizeof check - 1) != 0 ||
        sscanf(text + len - 17, "%16" SCNx64, &sum) != 1 || sum != check_of(text, len - line))
        return false;
    text[len - line] = 0;
    for (char *at = text + sizeof head - 1; *at;) {
        char *end = strchr(at, '\n');
        if (!end)
            return false;
        *end = 0;
        if (!take_line(c, at))
            return false;
        at = end + 1;
    }
    return true;
}

/* ---- files ---- */

/* DIR/ship/NAME and what stands behind; NULL: out of memory. */
static char *path_of(const char *dir, const char *name, const char *suffix)
{
    char *path = NULL;
    return asprintf(&path, "%s/ship/%s%s", dir, name, suffix) < 0 ? NULL : path;
}

static weir_status read_one(const char *path, archive_cursor *out, weir_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return archive_errno(err, errno, "open", path);
    struct stat st;
    char *text = NULL;
    weir_status s = WEIR_OK;
    if (fstat(fd, &st) != 0)
        s = archive_errno(err, errno, "read", path);
    else if (!S_ISREG(st.st_mode) || st.st_size > MAX_OCTETS)
        s = weir_err_set(err, WEIR_EFORMAT, 0, "%s is no cursor", path);
    else if (!(text = malloc((size_t)st.st_size + 1)))
        s = archive_no_memory(err);
    size_t n = 0;
    while (s == WEIR_OK && n < (size_t)st.st_size) {
        ssize_t k = read(fd, text + n, (size_t)st.st_size - n);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            s = archive_errno(err, errno, "read", path);
        if (k <= 0)
            break;
        n += (size_t)k;
    }
    (void)close(fd);
    if (s == WEIR_OK) {
        text[n] = 0;
        archive_cursor c = {0};
        if (take(&c, text, n)) {
            archive_cursor_done(out);
            *out = c;
        } else {
            archive_cursor_done(&c);
            s = weir_err_set(err, WEIR_EFORMAT, 0, "%s is damaged", path);
        }
    }
    free(text);
    return s;
}

weir_status archive_cursor_read(const char *dir, const char *name, archive_cursor *out, bool *old,
                                weir_err *err)
{
    char *path = path_of(dir, name, ".cursor"), *before = path_of(dir, name, ".cursor.old");
    weir_err why = {0};
    *old = false;
    weir_status s = path && before ? read_one(path, out, err) : archive_no_memory(err);
    if (s != WEIR_OK && s != WEIR_ENOMEM) {
        weir_status t = read_one(before, out, &why);
        *old = t == WEIR_OK;
        if (*old)
            s = WEIR_OK;
        else if (s != WEIR_ENOTFOUND || t != WEIR_ENOTFOUND)
            s = weir_err_set(
                err, t == WEIR_ENOMEM ? t : WEIR_EFORMAT, 0,
                "%s and the one before it cannot be read: what was delivered is not known "
                "(weir ship --forget %s, then begin again)",
                path, name);
    }
    free(path);
    free(before);
    return s;
}

static weir_status write_all(int fd, const char *data, size_t len, const char *path, weir_err *err)
{
    while (len) {
        ssize_t k = write(fd, data, len);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return archive_errno(err, errno, "write", path);
        data += k;
        len -= (size_t)k;
    }
    return fsync(fd) == 0 ? WEIR_OK : archive_errno(err, errno, "sync", path);
}

static weir_status make_dir(const char *dir, weir_err *err)
{
    char *path = archive_path(dir, "ship");
    if (!path)
        return archive_no_memory(err);
    weir_status s = mkdir(path, 0777) == 0 || errno == EEXIST
                        ? WEIR_OK
                        : archive_errno(err, errno, "make", path);
    free(path);
    return s;
}

weir_status archive_cursor_write(const char *dir, const char *name, const archive_cursor *c,
                                 weir_err *err)
{
    char *path = path_of(dir, name, ".cursor"), *before = path_of(dir, name, ".cursor.old"),
         *fresh = path_of(dir, name, ".cursor.tmp"), *ship = archive_path(dir, "ship");
    base_buf text = {0};
    put(c, &text);
    weir_status s = path && before && fresh && ship && !text.failed ? make_dir(dir, err)
                                                                    : archive_no_memory(err);
    int fd = -1;
    if (s == WEIR_OK && (fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)) < 0)
        s = archive_errno(err, errno, "make", fresh);
    if (s == WEIR_OK)
        s = write_all(fd, text.data, text.len, fresh, err);
    if (fd >= 0)
        (void)close(fd);
    if (s == WEIR_OK) {
        /* At every moment one of the two has the name: a link, not a rename, makes the old one. One that is damaged does not take
         * the place of one that is not. */
        archive_cursor now = {0};
        if (read_one(path, &now, NULL) == WEIR_OK) {
            (void)unlink(before);
            (void)!link(path, before);
        }
        archive_cursor_done(&now);
        if (rename(fresh, path) != 0)
            s = archive_errno(err, errno, "rename", fresh);
        archive_sync_dir(ship);
    }
    if (s != WEIR_OK && fresh)
        (void)unlink(fresh);
    base_buf_done(&text);
    free(path);
    free(before);
    free(fresh);
    free(ship);
    return s;
}

weir_status archive_cursor_lock(const char *dir, const char *name, int *fd, weir_err *err)
{
    WEIR_TRY(make_dir(dir, err));
    char *path = path_of(dir, name, ".lock");
    if (!path)
        return archive_no_memory(err);
    weir_status s = WEIR_OK;
    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (*fd < 0)
        s = archive_errno(err, errno, "open", path);
    else if (!archive_lock_take(*fd))
        s = errno == EWOULDBLOCK
                ? weir_err_set(err, WEIR_ELIMIT, 0, "another process delivers '%s' already", name)
                : archive_errno(err, errno, "lock", path);
    if (s != WEIR_OK && *fd >= 0) {
        (void)close(*fd);
        *fd = -1;
    }
    free(path);
    return s;
}

bool archive_cursor_locked(const char *dir, const char *name)
{
    char *path = path_of(dir, name, ".lock");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    bool locked = fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    if (fd >= 0)
        (void)close(fd);
    free(path);
    return locked;
}

weir_status archive_cursor_forget(const char *dir, const char *name, weir_err *err)
{
    static const char *const suffixes[] = {".cursor.tmp", ".cursor.old", ".cursor", ".lock"};
    int lock;
    archive_cursor c = {0};
    bool old;
    weir_status s = archive_cursor_read(dir, name, &c, &old, err);
    archive_cursor_done(&c);
    if (s == WEIR_ENOTFOUND)
        return weir_err_set(err, s, 0, "%s has no cursor '%s'", dir, name);
    WEIR_TRY(archive_cursor_lock(dir, name, &lock, err));
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        char *path = path_of(dir, name, suffixes[i]);
        if (path)
            (void)unlink(path);
        free(path);
    }
    (void)close(lock);
    return WEIR_OK;
}

weir_status archive_cursor_names(const char *dir, struct archive_names *out, weir_err *err)
{
    static const char suffix[] = ".cursor";
    char *ship = archive_path(dir, "ship");
    struct archive_names all = {0};
    *out = (struct archive_names){0};
    weir_status s = ship ? archive_list_files(ship, false, &all, err) : archive_no_memory(err);
    if (s == WEIR_ENOTFOUND)
        s = WEIR_OK;
    for (size_t i = 0; i < all.n && s == WEIR_OK; i++) {
        size_t len = strlen(all.items[i]);
        if (len >= sizeof suffix && strcmp(all.items[i] + len - (sizeof suffix - 1), suffix) == 0 &&
            !archive_names_add(out, all.items[i], len - (sizeof suffix - 1)))
            s = archive_no_memory(err);
    }
    archive_names_done(&all);
    free(ship);
    if (s != WEIR_OK)
        archive_names_done(out);
    return s;
}

weir_status archive_cursor_quiet(const char *dir, int *fd, weir_err *err)
{
    return archive_lock(dir, "compact.lock", fd, err);
}

static weir_status read_id(const char *path, char out[ARCHIVE_CURSOR_ID], weir_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return archive_errno(err, errno, "open", path);
    char text[ARCHIVE_CURSOR_ID + 1] = {0};
    ssize_t n = read(fd, text, sizeof text);
    (void)close(fd);
    if (n != ARCHIVE_CURSOR_ID || text[ARCHIVE_CURSOR_ID - 1] != '\n' ||
        strspn(text, "0123456789abcdef") != ARCHIVE_CURSOR_ID - 1)
        return weir_err_set(err, WEIR_EFORMAT, 0,
                            "%s is damaged: put 16 hex digits there, those of before if known",
                            path);
    memcpy(out, text, ARCHIVE_CURSOR_ID - 1);
    out[ARCHIVE_CURSOR_ID - 1] = 0;
    return WEIR_OK;
}

weir_status archive_cursor_id(const char *dir, char out[ARCHIVE_CURSOR_ID], weir_err *err)
{
    char *path = path_of(dir, "id", ""), *fresh = NULL, text[ARCHIVE_CURSOR_ID + 1];
    weir_status s = path ? read_id(path, out, err) : archive_no_memory(err);
    if (s != WEIR_ENOTFOUND) {
        free(path);
        return s;
    }
    s = make_dir(dir, err);
    if (s == WEIR_OK && asprintf(&fresh, "%s.%ld.tmp", path, (long)getpid()) < 0)
        s = archive_no_memory(err);
    int fd = -1;
    if (s == WEIR_OK && (fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)) < 0)
        s = archive_errno(err, errno, "make", fresh);
    (void)snprintf(text, sizeof text, "%016" PRIx64 "\n", base_hash_seed());
    if (s == WEIR_OK)
        s = write_all(fd, text, ARCHIVE_CURSOR_ID, fresh, err);
    if (fd >= 0)
        (void)close(fd);
    /* Whoever comes first makes it. */
    if (s == WEIR_OK && link(fresh, path) != 0 && errno != EEXIST)
        s = archive_errno(err, errno, "make", path);
    if (fresh)
        (void)unlink(fresh);
    if (s == WEIR_OK)
        s = read_id(path, out, err);
    free(fresh);
    free(path);
    return s;
}

/* ---- all of an archive ---- */

weir_status archive_cursors_read(const char *dir, struct archive_cursors *out, weir_err *err)
{
    struct archive_names names;
    *out = (struct archive_cursors){0};
    WEIR_TRY(archive_cursor_names(dir, &names, err));
    weir_status s = WEIR_OK;
    if (names.n && !(out->items = calloc(names.n, sizeof *out->items)))
        s = archive_no_memory(err);
    for (size_t i = 0; i < names.n && s != WEIR_ENOMEM; i++) {
        struct archive_cursors_item *item = &out->items[out->n];
        bool old;
        weir_err why;
        weir_status st = archive_cursor_read(dir, names.items[i], &item->cursor, &old, &why);
        if (st == WEIR_OK) {
            item->name = names.items[i];
            names.items[i] = NULL;
            out->n++;
        } else if (st != WEIR_ENOTFOUND && s == WEIR_OK) { /* not: forgotten just now */
            s = st;
            if (err)
                *err = why;
        }
    }
    archive_names_done(&names);
    return s;
}

void archive_cursors_done(struct archive_cursors *c)
{
    for (size_t i = 0; i < c->n; i++) {
        free(c->items[i].name);
        archive_cursor_done(&c->items[i].cursor);
    }
    free(c->items);
    *c = (struct archive_cursors){0};
}

struct archive_cursors_item *archive_cursors_waiting(const struct archive_cursors *c,
                                                     enum flow_table table, const char *name)
{
    for (size_t i = 0; table != FLOW_TABLE_OPTIONS && i < c->n; i++)
        if (!archive_cursor_of(&c->items[i].cursor, table, name).done)
            return &c->items[i];
    return NULL;
}
