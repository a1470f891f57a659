#include "archive/archive.h"

#include "archive/recover.h"

#include <stdlib.h>
#include <unistd.h>

enum {
    MAX_OPEN = 16, /* files, those that cannot be closed for want of room included */
    MAX_PER_SLOT =
        3 /* of a table and slot: batches whose columns contradict each other need files of their own */
};

#define DEFAULT_ROTATE (300 * ARCHIVE_SECOND)
#define GRACE (2 * ARCHIVE_SECOND)      /* what arrived at the end of a slot may come this late */
#define TRY_AGAIN (60 * ARCHIVE_SECOND) /* pause between attempts to finish what a crash left */

struct archive_writer {
    struct archive_files files;
    archive_open *open[MAX_OPEN];
    size_t n_open;
    uint64_t stores;
    struct archive_names left; /* files of a crash that wait for room */
    int64_t tried_ns;
};

static void writer_free(archive_writer *w)
{
    for (size_t i = 0; i < w->n_open; i++)
        archive_open_free(w->open[i]);
    if (w->files.lock >= 0)
        (void)close(w->files.lock);
    archive_names_done(&w->left);
    free(w->files.dir);
    free(w);
}

weir_status archive_writer_open(const struct archive_options *o, archive_writer **out,
                                weir_err *err)
{
    *out = NULL;
    int64_t rotate = o->rotate_ns ? o->rotate_ns : DEFAULT_ROTATE;
    if (rotate < ARCHIVE_SECOND || rotate > ARCHIVE_HOUR || ARCHIVE_HOUR % rotate != 0)
        return weir_err_set(
            err, WEIR_EINVAL, 0,
            "a file cannot be %lld s long: an hour must be a multiple of it (1m, 5m, 15m, 1h)",
            (long long)(rotate / ARCHIVE_SECOND));
    archive_writer *w = calloc(1, sizeof *w);
    if (!w)
        return archive_no_memory(err);
    w->files.lock = -1;
    w->files.options = *o;
    struct archive_options *set = &w->files.options;
    set->rotate_ns = rotate;
    set->group_rows = o->group_rows ? o->group_rows : 1U << 20;
    set->direct_rows = o->direct_rows ? o->direct_rows : 1U << 17;
    set->direct_octets = o->direct_octets ? o->direct_octets : 64U << 20;
    if (set->direct_octets > FLOW_MAX_GAP) /* else a journal could not be loaded */
        set->direct_octets = FLOW_MAX_GAP;
    if (set->direct_rows > set->group_rows)
        set->direct_rows = set->group_rows;
    set->zstd_level = o->zstd_level ? o->zstd_level : 1;
    w->files.dir = strdup(o->dir);
    weir_status s = w->files.dir ? archive_make_dirs(o->dir, o->sync != ARCHIVE_SYNC_NEVER, err)
                                 : archive_no_memory(err);
    set->dir = w->files.dir;
    if (s == WEIR_OK)
        s = archive_lock(w->files.dir, "lock", &w->files.lock, err);
    if (s == WEIR_OK)
        s = archive_recover(&w->files, true, &w->left, err);
    if (s == WEIR_OK) {
        uint32_t number = archive_lock_number(w->files.lock);
        w->files.number = number > w->files.number ? number : w->files.number;
    }
    if (s != WEIR_OK) {
        writer_free(w);
        return s;
    }
    *out = w;
    return WEIR_OK;
}

int64_t archive_slot(const archive_writer *w, int64_t received_ns)
{
    int64_t length = w->files.options.rotate_ns, into = received_ns % length;
    return received_ns - (into < 0 ? into + length : into);
}

static weir_status close_file(archive_writer *w, size_t i, weir_err *err)
{
    WEIR_TRY(archive_open_finish(w->open[i], err));
    archive_open_free(w->open[i]);
    w->open[i] = w->open[--w->n_open];
    return WEIR_OK;
}

/* The file, of those that pass the test, which was used longest ago; MAX_OPEN: none. */
static size_t oldest(const archive_writer *w, enum flow_table table, int64_t slot, bool in_slot)
{
    size_t at = MAX_OPEN;
    for (size_t i = 0; i < w->n_open; i++) {
        const archive_open *f = w->open[i];
        if (f->head.table == table && (f->head.slot_ns == slot) == in_slot &&
            (at == MAX_OPEN || f->used < w->open[at]->used))
            at = i;
    }
    return at;
}

static size_t count(const archive_writer *w, enum flow_table table, int64_t slot, bool in_slot)
{
    size_t n = 0;
    for (size_t i = 0; i < w->n_open; i++)
        n += w->open[i]->head.table == table && (w->open[i]->head.slot_ns == slot) == in_slot;
    return n;
}

/* Before another file of this slot is opened: at most so many stay open, and of other slots one (that of the slot
 * before, whose last rows may be on their way). What cannot be closed now stays, up to MAX_OPEN. */
static weir_status make_room(archive_writer *w, enum flow_table table, int64_t slot, weir_err *err)
{
    weir_err why = {0};
    weir_status s = WEIR_OK;
    while (s == WEIR_OK && count(w, table, slot, true) >= MAX_PER_SLOT)
        s = close_file(w, oldest(w, table, slot, true), &why);
    while (s == WEIR_OK && count(w, table, slot, false) > 1)
        s = close_file(w, oldest(w, table, slot, false), &why);
    if (s != WEIR_OK)
        archive_say(&w->files, "%s; will be tried again", why.msg);
    if (w->n_open < MAX_OPEN)
        return WEIR_OK;
    if (err)
        *err = why;
    return s != WEIR_OK ? s : weir_err_set(err, WEIR_ELIMIT, 0, "%d files are open", MAX_OPEN);
}

static weir_status file_for(archive_writer *w, const flow_batch *b, int64_t slot,
                            archive_open **out, weir_err *err)
{
    enum flow_table table = flow_batch_table(b);
    for (size_t i = 0; i < w->n_open; i++) {
        archive_open *f = w->open[i];
        if (f->head.table == table && f->head.slot_ns == slot && archive_open_fits(f, b)) {
            *out = f;
            return WEIR_OK;
        }
    }
    WEIR_TRY(make_room(w, table, slot, err));
    WEIR_TRY(archive_open_new(&w->files, table, slot, out, err));
    w->open[w->n_open++] = *out;
    return WEIR_OK;
}

weir_status archive_writer_store(archive_writer *w, const flow_batch *b, int64_t received_ns,
                                 weir_err *err)
{
    if (flow_batch_rows(b) == 0)
        return WEIR_OK;
    archive_open *f = NULL;
    WEIR_TRY(file_for(w, b, archive_slot(w, received_ns), &f, err));
    f->used = ++w->stores;
    return archive_open_store(f, b, err);
}

weir_status archive_writer_tick(archive_writer *w, int64_t now_ns, weir_err *err)
{
    weir_status first = WEIR_OK;
    for (size_t i = 0; i < w->n_open;) {
        weir_err why = {0};
        weir_status s = WEIR_END;
        if (w->open[i]->head.slot_ns + w->open[i]->head.slot_length_ns + GRACE <= now_ns)
            s = close_file(w, i, &why);
        if (s == WEIR_OK)
            continue; /* another stands in its place */
        if (s != WEIR_END && first == WEIR_OK) {
            first = s;
            if (err)
                *err = why;
        }
        i++;
    }
    if (w->left.n && (now_ns < w->tried_ns || now_ns - w->tried_ns >= TRY_AGAIN)) {
        w->tried_ns = now_ns;
        for (size_t i = w->left.n; i-- > 0;) {
            if (!archive_recover_again(&w->files, w->left.items[i]))
                break;
            free(w->left.items[i]);
            w->left.items[i] = w->left.items[--w->left.n];
        }
    }
    return first;
}

void archive_writer_sampling(archive_writer *w, const uint8_t *exporter, uint32_t len,
                             uint32_t domain, uint64_t selector, double rate, const char *source)
{
    for (size_t i = 0; i < w->n_open; i++)
        archive_open_rate(w->open[i], exporter, len, domain, selector, rate, source);
}

const struct archive_counters *archive_writer_counters(const archive_writer *w)
{
    return &w->files.counters;
}

weir_status archive_writer_close(archive_writer *w, weir_err *err)
{
    weir_status first = WEIR_OK;
    if (!w)
        return WEIR_OK;
    for (size_t i = 0; i < w->n_open; i++) {
        weir_err why = {0};
        weir_status s = archive_open_finish(w->open[i], &why); /* if not: the next start does */
        if (s != WEIR_OK && first == WEIR_OK) {
            first = s;
            if (err)
                *err = why;
        }
    }
    writer_free(w);
    return first;
}

weir_status archive_repair(const char *dir, bool move_damaged,
                           void (*log)(void *user, const char *text), void *user, weir_err *err)
{
    struct archive_files files = {
        .options = {
            .dir = dir, .sync = ARCHIVE_SYNC_CLOSE, .zstd_level = 1, .log = log, .user = user}};
    struct archive_names left = {0};
    int lock = -1;
    if (access(dir, F_OK) != 0)
        return weir_err_set(err, WEIR_ENOTFOUND, 0, "there is no archive %s", dir);
    files.dir = strdup(dir);
    if (!files.dir)
        return archive_no_memory(err);
    weir_status s = archive_lock(dir, "lock", &lock, err);
    if (s == WEIR_OK)
        s = archive_recover(&files, move_damaged, &left, err);
    if (s == WEIR_OK && left.n)
        s = weir_err_set(err, WEIR_EIO, 0, "%llu files could not be finished",
                         (unsigned long long)left.n);
    if (lock >= 0)
        (void)close(lock);
    archive_names_done(&left);
    free(files.dir);
    return s;
}
