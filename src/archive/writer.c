#include "archive/archive.h"

#include "archive/closer.h"
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
    archive_writer *next; /* of those beside it; under the root's mutex */
    bool first;           /* it took the lock */
    archive_open *open[MAX_OPEN];
    size_t n_open;
    archive_closer *closer; /* NULL: none */
    uint64_t stores;
    struct archive_names left; /* files of a crash that wait for room */
    int64_t tried_ns;
};

/* --- what writers share ---------------------------------------------------------------------------- */

static void root_free(struct archive_root *root)
{
    if (!root)
        return;
    if (root->lock >= 0)
        (void)close(root->lock);
    (void)pthread_mutex_destroy(&root->mutex);
    free(root->dir);
    free(root);
}

static weir_status root_new(const char *dir, struct archive_root **out, weir_err *err)
{
    struct archive_root *root = calloc(1, sizeof *root);
    if (!root)
        return archive_no_memory(err);
    root->lock = -1;
    (void)pthread_mutex_init(&root->mutex, NULL);
    root->dir = strdup(dir);
    if (!root->dir) {
        root_free(root);
        return archive_no_memory(err);
    }
    *out = root;
    return WEIR_OK;
}

static weir_status join(struct archive_root *root, archive_writer *w, weir_err *err)
{
    weir_status s = WEIR_OK;
    unsigned worker = w->files.options.worker;
    (void)pthread_mutex_lock(&root->mutex);
    for (const archive_writer *o = root->writers; o && s == WEIR_OK; o = o->next) {
        if (o->files.options.worker == worker)
            s = weir_err_set(err, WEIR_EINVAL, 0, "%s has a writer %u already", root->dir, worker);
    }
    if (s == WEIR_OK) {
        w->next = root->writers;
        root->writers = w;
    }
    (void)pthread_mutex_unlock(&root->mutex);
    return s;
}

/* Returns how many stay. */
static size_t leave(struct archive_root *root, const archive_writer *w)
{
    size_t n = 0;
    (void)pthread_mutex_lock(&root->mutex);
    for (archive_writer **at = &root->writers; *at;) {
        if (*at == w) {
            *at = w->next;
        } else {
            n++;
            at = &(*at)->next;
        }
    }
    (void)pthread_mutex_unlock(&root->mutex);
    return n;
}

/* --- opening --------------------------------------------------------------------------------------- */

/* Returns how many writers of the archive stay. */
static size_t writer_free(archive_writer *w)
{
    archive_closer_free(w->closer);
    size_t others = w->files.root ? leave(w->files.root, w) : 0;
    for (size_t i = 0; i < w->n_open; i++)
        archive_open_free(w->open[i]);
    archive_names_done(&w->left);
    if (others == 0)
        root_free(w->files.root);
    free(w);
    return others;
}

/* The lock is taken; what a crash left is finished. */
static weir_status begin(archive_writer *w, const char *dir, weir_err *err)
{
    struct archive_root **root = &w->files.root;
    WEIR_TRY(root_new(dir, root, err));
    w->files.dir = w->files.options.dir = (*root)->dir;
    w->first = true;
    WEIR_TRY(join(*root, w, err));
    WEIR_TRY(archive_make_dirs(dir, w->files.options.sync != ARCHIVE_SYNC_NEVER, err));
    WEIR_TRY(archive_lock(dir, "lock", &(*root)->lock, err));
    WEIR_TRY(archive_recover(&w->files, true, &w->left, err));
    uint32_t number = archive_lock_number((*root)->lock);
    (*root)->number = number > (*root)->number ? number : (*root)->number;
    return WEIR_OK;
}

static weir_status begin_beside(archive_writer *w, archive_writer *other, const char *dir,
                                weir_err *err)
{
    struct archive_root *root = other->files.root;
    if (dir && strcmp(dir, root->dir) != 0)
        return weir_err_set(err, WEIR_EINVAL, 0, "%s cannot be written beside %s", dir, root->dir);
    WEIR_TRY(join(root, w, err));
    w->files.root = root;
    w->files.dir = w->files.options.dir = root->dir;
    return WEIR_OK;
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
    w->files.options = *o;
    struct archive_options *set = &w->files.options;
    set->rotate_ns = rotate;
    set->group_rows = o->group_rows ? o->group_rows : 1U << 20;
    set->direct_rows = o->direct_rows ? o->direct_rows : 1U << 17;
    set->file_octets = o->file_octets ? o->file_octets : (uint64_t)1 << 30;
    set->direct_octets = o->direct_octets ? o->direct_octets : 64U << 20;
    if (set->direct_octets > FLOW_MAX_GAP) /* else a journal could not be loaded */
        set->direct_octets = FLOW_MAX_GAP;
    if (set->direct_rows > set->group_rows)
        set->direct_rows = set->group_rows;
    set->zstd_level = o->zstd_level ? o->zstd_level : 1;
    weir_status s = o->beside ? begin_beside(w, o->beside, o->dir, err) : begin(w, o->dir, err);
    if (s == WEIR_OK && o->closer)
        s = archive_closer_new(&w->closer, err);
    if (s != WEIR_OK) {
        (void)writer_free(w);
        return s;
    }
    *out = w;
    return WEIR_OK;
}

static int64_t slot_of(int64_t ns, int64_t length)
{
    int64_t into = ns % length;
    return ns - (into < 0 ? into + length : into);
}

int64_t archive_slot(const archive_writer *w, int64_t received_ns)
{
    return slot_of(received_ns, w->files.options.rotate_ns);
}

/* With a closer: it is on its way. */
static weir_status close_file(archive_writer *w, size_t i, weir_err *err)
{
    if (w->closer) {
        archive_closer_give(w->closer, w->open[i]);
    } else {
        WEIR_TRY(archive_open_finish(w->open[i], err));
        archive_open_free(w->open[i]);
    }
    w->open[i] = w->open[--w->n_open];
    return WEIR_OK;
}

/* What the closer could not close is open again. The first failure. There is room: make_room counts them. */
static weir_status take_back(archive_writer *w, weir_err *err)
{
    weir_status first = WEIR_OK;
    archive_open *f;
    while (w->closer && (f = archive_closer_take(w->closer, &w->files.counters))) {
        if (first == WEIR_OK) {
            first = f->status;
            if (err)
                *err = f->why;
        }
        w->open[w->n_open++] = f;
    }
    return first;
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
    if (w->n_open + (w->closer ? archive_closer_holds(w->closer) : 0) < MAX_OPEN)
        return WEIR_OK;
    if (err)
        *err = why;
    return s != WEIR_OK ? s : weir_err_set(err, WEIR_ELIMIT, 0, "%d files are open", MAX_OPEN);
}

static weir_status file_for(archive_writer *w, const flow_batch *b, int64_t slot,
                            archive_open **out, weir_err *err)
{
    enum flow_table table = flow_batch_table(b);
    for (size_t i = 0; i < w->n_open;) {
        archive_open *f = w->open[i++];
        if (f->head.table != table || f->head.slot_ns != slot || !archive_open_fits(f, b))
            continue;
        bool large = f->part_good >= w->files.options.file_octets;
        if (large && f->status != WEIR_OK)
            continue; /* a closer's failure: tried again when its time is over */
        weir_err why = {0};
        /* Large enough: its footer would soon take longer to write than rows can wait for. */
        if (large && close_file(w, i - 1, &why) == WEIR_OK) {
            i--; /* another stands in its place */
            continue;
        }
        if (large)
            archive_say(&w->files, "%s; will be tried again", why.msg);
        *out = f;
        return WEIR_OK;
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
    weir_err why = {0};
    if (take_back(w, &why) != WEIR_OK)
        archive_say(&w->files, "%s; will be tried again", why.msg);
    int64_t length = archive_slot_length(&w->files, flow_batch_table(b));
    WEIR_TRY(file_for(w, b, slot_of(received_ns, length), &f, err));
    f->used = ++w->stores;
    return archive_open_store(f, b, err);
}

weir_status archive_writer_tick(archive_writer *w, int64_t now_ns, weir_err *err)
{
    weir_status first = take_back(w, err);
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
    if (w->closer) {
        archive_closer_wait(w->closer);
        (void)take_back(w, NULL);
    }
    for (size_t i = 0; i < w->n_open; i++) {
        weir_err why = {0};
        weir_status s = archive_open_finish(w->open[i], &why); /* if not: the next start does */
        if (s != WEIR_OK && first == WEIR_OK) {
            first = s;
            if (err)
                *err = why;
        }
    }
    bool was_first = w->first;
    size_t others = writer_free(w);
    if (was_first && others && first == WEIR_OK)
        first =
            weir_err_set(err, WEIR_EINVAL, 0,
                         "the writer that took the lock was closed before %zu beside it", others);
    return first;
}

weir_status archive_repair(const char *dir, bool move_damaged,
                           void (*log)(void *user, const char *text), void *user, weir_err *err)
{
    struct archive_files files = {
        .options = {
            .dir = dir, .sync = ARCHIVE_SYNC_CLOSE, .zstd_level = 1, .log = log, .user = user}};
    struct archive_names left = {0};
    if (access(dir, F_OK) != 0)
        return weir_err_set(err, WEIR_ENOTFOUND, 0, "there is no archive %s", dir);
    WEIR_TRY(root_new(dir, &files.root, err));
    files.dir = files.root->dir;
    weir_status s = archive_lock(dir, "lock", &files.root->lock, err);
    if (s == WEIR_OK)
        s = archive_recover(&files, move_damaged, &left, err);
    if (s == WEIR_OK && left.n)
        s = weir_err_set(err, WEIR_EIO, 0, "%llu files could not be finished",
                         (unsigned long long)left.n);
    archive_names_done(&left);
    root_free(files.root);
    return s;
}
