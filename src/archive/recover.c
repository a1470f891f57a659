#include "archive/recover.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PID_DIGITS = 10, NUMBER_DIGITS = 10, LOCK_TRIES = 20 };

bool archive_lock_take(int fd)
{
    const struct timespec moment = {.tv_nsec = 1000000};
    for (int tries = 0;; tries++) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
            return true;
        if (errno != EWOULDBLOCK || tries == LOCK_TRIES)
            return false;
        (void)nanosleep(&moment, NULL);
        errno = EWOULDBLOCK;
    }
}

weir_status archive_lock(const char *dir, const char *name, int *fd, weir_err *err)
{
    char *path = archive_path(dir, name), pid[32] = {0};
    if (!path)
        return archive_no_memory(err);
    weir_status s = WEIR_OK;
    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (*fd < 0) {
        s = archive_errno(err, errno, "make", path);
    } else if (!archive_lock_take(*fd)) {
        int error = errno;
        ssize_t n = pread(*fd, pid, sizeof pid - 1, 0);
        pid[n > 0 ? strcspn(pid, " \n") : 0] = 0;
        if (error != EWOULDBLOCK)
            s = archive_errno(err, error, "lock", path);
        else if (strcmp(name, "lock") != 0)
            s = weir_err_set(err, WEIR_ELIMIT, 0, "process %s compacts the archive %s already",
                             *pid ? pid : "unknown", dir);
        else
            s = weir_err_set(
                err, WEIR_ELIMIT, 0,
                "process %s writes the archive %s (stop it, or choose another --archive)",
                *pid ? pid : "unknown", dir);
        (void)close(*fd);
        *fd = -1;
    } else {
        int n = snprintf(pid, sizeof pid, "%-*ld\n", PID_DIGITS, (long)getpid());
        (void)!pwrite(*fd, pid, (size_t)n, 0); /* for the message above alone */
    }
    free(path);
    return s;
}

/* Sharing the lock for a moment: readers do not disturb each other. */
bool archive_is_locked(const char *dir)
{
    char *path = archive_path(dir, "lock");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
    bool locked = fd >= 0 ? flock(fd, LOCK_SH | LOCK_NB) != 0 : !path || errno != ENOENT;
    if (fd >= 0)
        (void)close(fd);
    free(path);
    return locked;
}

uint32_t archive_lock_number(int fd)
{
    char text[NUMBER_DIGITS + 1] = {0};
    ssize_t n = pread(fd, text, NUMBER_DIGITS, PID_DIGITS + 1);
    unsigned long v = n == NUMBER_DIGITS ? strtoul(text, NULL, 10) : 0;
    return v < UINT32_MAX ? (uint32_t)v : 0;
}

void archive_lock_set_number(int fd, uint32_t number)
{
    char text[NUMBER_DIGITS + 2];
    int n = snprintf(text, sizeof text, "%0*u\n", NUMBER_DIGITS, number);
    (void)!pwrite(fd, text, (size_t)n,
                  PID_DIGITS + 1); /* without it numbers come from the names there are */
}

bool archive_put_aside(const struct archive_files *shared, const char *dir, const char *name)
{
    char *from = archive_path(dir, name), *to_dir = archive_path(shared->dir, "damaged"),
         *to = NULL;
    bool done = false;
    if (from && to_dir && archive_make_dirs(to_dir, false, NULL) == WEIR_OK) {
        for (int i = 0; i < 1000 && !done;
             i++) { /* names are unique within an archive unless people move files */
            free(to);
            if (asprintf(&to, i ? "%s/%s.%d" : "%s/%s", to_dir, name, i) < 0) {
                to = NULL;
                break;
            }
            done = access(to, F_OK) != 0 && rename(from, to) == 0;
        }
    }
    if (done)
        archive_say(shared, "%s cannot be read: moved to %s", from, to);
    else
        archive_say(shared, "%s cannot be read, nor moved to %s/damaged", from ? from : name,
                    shared->dir);
    free(from);
    free(to_dir);
    free(to);
    return done;
}

/* --- what compaction left --------------------------------------------------------------------------- */

weir_status archive_replaces(const parquet_file *f, struct archive_names *out, weir_err *err)
{
    const char *list = parquet_key_value_find(f, "weir.replaces");
    while (list && *list) {
        size_t len = strcspn(list, " ");
        if (len && !archive_names_add(out, list, len))
            return archive_no_memory(err);
        list += len;
        list += strspn(list, " ");
    }
    return WEIR_OK;
}

bool archive_is_replaced(const parquet_file *f, const struct archive_names *sorted_ids)
{
    const char *id = parquet_key_value_find(f, "weir.id");
    return id && *id && archive_names_have(sorted_ids, id, strlen(id));
}

/* f NULL: it cannot be opened, which is not an error here. */
static weir_status open_closed(const char *dir, const char *name, parquet_file **f, weir_err *err)
{
    *f = NULL;
    char *path = archive_path(dir, name);
    if (!path)
        return archive_no_memory(err);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd >= 0 && parquet_open(fd, path, f, err) != WEIR_OK) {
        (void)close(fd);
        *f = NULL;
    }
    free(path);
    return WEIR_OK;
}

/* The files in names that another one replaces. */
static weir_status find_replaced(const char *dir, const struct archive_names *names,
                                 struct archive_names *out, weir_err *err)
{
    struct archive_names ids = {0};
    weir_status s = WEIR_OK;
    for (int pass = 0; pass < 2 && s == WEIR_OK; pass++) {
        for (size_t i = 0; i < names->n && s == WEIR_OK; i++) {
            parquet_file *f = NULL;
            struct archive_name name;
            archive_name_parse(names->items[i], &name);
            if (name.kind != ARCHIVE_KIND_CLOSED || !name.ours || (pass == 0 && !name.compacted))
                continue;
            s = open_closed(dir, names->items[i], &f, err);
            if (f && pass == 0)
                s = archive_replaces(f, &ids, err);
            else if (f && archive_is_replaced(f, &ids) &&
                     !archive_names_add(out, names->items[i], strlen(names->items[i])))
                s = archive_no_memory(err);
            parquet_close(f);
        }
        archive_names_sort(&ids);
    }
    archive_names_done(&ids);
    return s;
}

weir_status archive_clean_compaction(const struct archive_files *shared, const char *dir,
                                     const struct archive_names *names, weir_err *err)
{
    struct archive_names gone = {0};
    size_t n_compacted = 0, n_closed = 0;
    for (size_t i = 0; i < names->n; i++) {
        struct archive_name name;
        archive_name_parse(names->items[i], &name);
        if (name.kind == ARCHIVE_KIND_CLOSED && name.ours) {
            n_closed++;
            n_compacted += name.compacted;
        } else if (name.kind == ARCHIVE_KIND_TEMP && name.ours &&
                   !archive_names_add(&gone, names->items[i], strlen(names->items[i]))) {
            archive_names_done(&gone);
            return archive_no_memory(err);
        }
    }
    weir_status s = n_compacted && n_closed > 1 ? find_replaced(dir, names, &gone, err) : WEIR_OK;
    for (size_t i = 0; i < gone.n && s == WEIR_OK; i++) {
        char *path = archive_path(dir, gone.items[i]);
        if (path && unlink(path) == 0 && shared)
            archive_say(shared, "%s removed: what a compaction that was stopped had left", path);
        free(path);
    }
    archive_names_done(&gone);
    return s;
}

/* --- open files ------------------------------------------------------------------------------------ */

/* Whether names hold stem + suffix. */
static bool have(const struct archive_names *names, const char *stem, const char *suffix)
{
    char *name = NULL;
    int n = asprintf(&name, "%s%s", stem, suffix);
    bool yes = n >= 0 && archive_names_have(names, name, (size_t)n);
    if (n >= 0)
        free(name);
    return yes;
}

/* .part and .journal of a stem into a closed file. *left: it must wait. */
static weir_status finish(struct archive_files *shared, const char *dir, const char *stem,
                          bool *left, weir_err *err)
{
    archive_open *f = NULL;
    weir_err why = {0};
    weir_status s = archive_open_load(shared, dir, stem, &f, &why);
    if (s != WEIR_OK) {
        if (err)
            *err = why;
        return s;
    }
    uint32_t tail = flow_batch_rows(f->tail);
    uint64_t rows = f->rows;
    s = archive_open_finish(f, &why);
    if (s == WEIR_OK && rows) {
        shared->counters.recovered_rows += rows;
        shared->counters.recovered_files++;
        archive_say(shared, "%s: recovered %llu rows, %u of them from its journal", f->closed_path,
                    (unsigned long long)rows, tail);
    } else if (s != WEIR_OK) {
        archive_say(shared, "%s: cannot be finished now: %s", f->part_path, why.msg);
        *left = true;
    }
    archive_open_free(f);
    return WEIR_OK;
}

/* Octets of dir/stem.suffix, 0 when there is none. */
static uint64_t octets_of(const char *dir, const char *stem, const char *suffix)
{
    char *path = NULL;
    struct stat st = {0};
    if (asprintf(&path, "%s/%s%s", dir, stem, suffix) >= 0) {
        if (stat(path, &st) != 0)
            st.st_size = 0;
        free(path);
    }
    return (uint64_t)st.st_size;
}

static void remove_file(const char *dir, const char *stem, const char *suffix)
{
    char *path = NULL;
    if (asprintf(&path, "%s/%s%s", dir, stem, suffix) >= 0) {
        (void)unlink(path);
        free(path);
    }
}

/* Put away what of a stem cannot be read, or leave it where it is. */
static void give_up(struct archive_files *shared, const char *dir, const char *stem,
                    const char *suffix, bool move, const char *why)
{
    char *name = NULL;
    if (asprintf(&name, "%s%s", stem, suffix) < 0)
        return;
    archive_say(shared, "%s/%s: %s", dir, name, why);
    if (move)
        (void)archive_put_aside(shared, dir, name);
    free(name);
}

static weir_status recover_stem(struct archive_files *shared, const char *dir, const char *stem,
                                const struct archive_names *names, bool move, bool *left,
                                weir_err *err)
{
    bool part = have(names, stem, ".part"), journal = have(names, stem, ".journal");
    bool closed = have(names, stem, ".parquet") || have(names, stem, ".pq");
    if (closed && !part) { /* the crash came between its last two steps */
        remove_file(dir, stem, ".journal");
        return WEIR_OK;
    }
    if (closed) {
        give_up(shared, dir, stem, ".part", move, "a closed file has its name");
        if (journal)
            give_up(shared, dir, stem, ".journal", move, "a closed file has its name");
        return WEIR_OK;
    }
    if (!journal &&
        octets_of(dir, stem, ".part") == 0) { /* the crash came between its first two steps */
        remove_file(dir, stem, ".part");
        return WEIR_OK;
    }
    if (!journal) {
        give_up(shared, dir, stem, ".part", move, "its journal is missing");
        return WEIR_OK;
    }
    weir_err why = {0};
    weir_status s = finish(shared, dir, stem, left, &why);
    if (s == WEIR_ENOMEM || s == WEIR_OK) {
        if (err && s != WEIR_OK)
            *err = why;
        return s;
    }
    bool nothing =
        s == WEIR_ETRUNC && octets_of(dir, stem, ".part") == 0; /* the header was never complete */
    if (nothing || s == WEIR_ENOTFOUND) {
        remove_file(dir, stem, ".part");
        remove_file(dir, stem, ".journal");
        return WEIR_OK;
    }
    give_up(shared, dir, stem, ".journal", move, why.msg);
    if (part)
        give_up(shared, dir, stem, ".part", move, "its journal cannot be read");
    return WEIR_OK;
}

static weir_status recover_dir(struct archive_files *shared, const char *dir, bool compact,
                               bool move, struct archive_names *left, weir_err *err)
{
    struct archive_names names;
    weir_status s = archive_list_files(dir, true, &names, err);
    if (s == WEIR_ENOTFOUND)
        return WEIR_OK;
    WEIR_TRY(s);
    bool compacted = false;
    for (size_t i = 0; i < names.n && s == WEIR_OK; i++) {
        struct archive_name name;
        archive_name_parse(names.items[i], &name);
        compacted |= name.ours && (name.compacted || name.kind == ARCHIVE_KIND_TEMP);
        if (name.ours && !name.compacted && name.number > shared->root->number)
            shared->root->number = name.number;
        bool part = name.kind == ARCHIVE_KIND_PART, journal = name.kind == ARCHIVE_KIND_JOURNAL;
        if (!part && !journal)
            continue;
        char *stem = strndup(names.items[i], name.stem_len);
        bool wait = false;
        if (!stem)
            s = archive_no_memory(err);
        else if (part || !have(&names, stem, ".part")) /* once for both */
            s = recover_stem(shared, dir, stem, &names, move, &wait, err);
        char *path = wait ? archive_path(dir, stem) : NULL;
        if (wait && (!path || !archive_names_add(left, path, strlen(path))))
            s = archive_no_memory(err);
        free(path);
        free(stem);
    }
    if (s == WEIR_OK && compacted && compact)
        s = archive_clean_compaction(shared, dir, &names, err);
    archive_names_done(&names);
    return s;
}

weir_status archive_recover(struct archive_files *shared, bool move_damaged,
                            struct archive_names *left, weir_err *err)
{
    int compact = -1; /* who compacts now leaves nothing to clean */
    weir_err why = {0};
    bool may_clean = archive_lock(shared->dir, "compact.lock", &compact, &why) == WEIR_OK;
    weir_status s = WEIR_OK;
    *left = (struct archive_names){0};
    for (int t = FLOW_TABLE_FLOWS; t < FLOW_N_TABLES && s == WEIR_OK; t++) {
        char *root = archive_path(shared->dir, archive_table_name((enum flow_table)t));
        struct archive_names dirs = {0};
        s = root ? archive_list_dirs(root, &dirs, err) : archive_no_memory(err);
        if (s == WEIR_ENOTFOUND)
            s = WEIR_OK;
        for (size_t i = 0; i < dirs.n && s == WEIR_OK; i++)
            s = recover_dir(shared, dirs.items[i], may_clean, move_damaged, left, err);
        archive_names_done(&dirs);
        free(root);
    }
    if (compact >= 0)
        (void)close(compact);
    return s;
}

bool archive_recover_again(struct archive_files *shared, const char *path)
{
    bool left = false;
    const char *slash = strrchr(path, '/');
    char *dir = slash ? strndup(path, (size_t)(slash - path)) : NULL;
    weir_status s = dir ? finish(shared, dir, slash + 1, &left, NULL) : WEIR_ENOMEM;
    free(dir);
    return s != WEIR_ENOMEM && !left; /* what cannot be read any more is for the next start */
}
