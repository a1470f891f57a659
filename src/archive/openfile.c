#include "archive/openfile.h"

#include "archive/layout.h"
#include "archive/recover.h"
#include "base/text.h"
#include "parquet/reader.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_GROUP_OCTETS = 256 << 20 }; /* of a batch and the tail that become one row group */

void archive_say(const struct archive_files *shared, const char *fmt, ...)
{
    if (!shared->options.log)
        return;
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    shared->options.log(shared->options.user, text);
}

const char *archive_created_by(void)
{
    return "weir version " WEIR_VERSION;
}

void archive_id_text(char out[ARCHIVE_ID_TEXT], uint64_t id)
{
    (void)snprintf(out, ARCHIVE_ID_TEXT, "%016llx", (unsigned long long)id);
}

/* --- octets to files ------------------------------------------------------------------------------- */

static weir_status put(archive_open *f, int fd, const char *path, uint64_t at, const void *data,
                       size_t len, weir_err *err)
{
    const char *p = data;
    while (len) {
        ssize_t n = pwrite(fd, p, len, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return archive_errno(err, n < 0 ? errno : ENOSPC, "write", path);
        f->counters->octets += (uint64_t)n;
        p += n;
        at += (uint64_t)n;
        len -= (size_t)n;
    }
    return WEIR_OK;
}

static weir_status sink(void *user, const void *data, size_t len, weir_err *err)
{
    archive_open *f = user;
    WEIR_TRY(put(f, f->part, f->part_path, f->sink_at, data, len, err));
    f->sink_at += len;
    return WEIR_OK;
}

static weir_status sync_data(int fd, const char *path, weir_err *err)
{
    return fdatasync(fd) == 0 ? WEIR_OK : archive_errno(err, errno, "sync", path);
}

/* Put an entry, or several, behind the journal. All or nothing of it counts. */
static weir_status journal_write(archive_open *f, weir_err *err)
{
    if (f->entry.failed)
        return archive_no_memory(err);
    weir_status s =
        put(f, f->journal, f->journal_path, f->journal_good, f->entry.data, f->entry.len, err);
    if (s == WEIR_OK && f->shared->options.sync == ARCHIVE_SYNC_FLUSH)
        s = sync_data(f->journal, f->journal_path, err);
    if (s == WEIR_OK) {
        f->journal_good += f->entry.len;
        f->columns_journaled = f->columns.n;
        return WEIR_OK;
    }
    (void)!ftruncate(f->journal,
                     (off_t)f->journal_good); /* if not: what is there does not verify */
    return s;
}

/* --- the Parquet writer ---------------------------------------------------------------------------- */

weir_status archive_resume(const struct parquet_writer_options *o,
                           const struct archive_columns *columns,
                           const struct archive_groups *groups, uint64_t offset,
                           parquet_writer **out, weir_err *err)
{
    struct parquet_column *c = archive_parquet_columns(columns, 0);
    struct parquet_bytes *metas = archive_groups_metas(groups);
    weir_status s = WEIR_OK;
    if (!c || !metas)
        s = archive_no_memory(err);
    struct parquet_schema schema = {c, columns->n};
    if (s == WEIR_OK)
        s = groups->n ? parquet_writer_resume(o, &schema, offset, metas, groups->n, out, err)
                      : parquet_writer_new(o, &schema, out, err);
    free(c);
    free(metas);
    return s;
}

static void drop_writer(archive_open *f)
{
    parquet_writer_free(f->writer);
    f->writer = NULL;
    (void)!ftruncate(f->part, (off_t)f->part_good); /* if not: nothing refers to what is behind */
}

static weir_status need_writer(archive_open *f, weir_err *err)
{
    if (f->writer && f->writer_columns < f->columns.n) {
        struct parquet_column *c = archive_parquet_columns(&f->columns, f->writer_columns);
        weir_status s =
            c ? parquet_writer_add_columns(f->writer, c, f->columns.n - f->writer_columns, err)
              : archive_no_memory(err);
        free(c);
        if (s != WEIR_OK)
            drop_writer(f);
        f->writer_columns = f->columns.n;
        return s;
    }
    if (f->writer)
        return WEIR_OK;
    struct parquet_writer_options o = {.sink = sink,
                                       .user = f,
                                       .codec = PARQUET_ZSTD,
                                       .level = f->shared->options.zstd_level,
                                       .sorted_by = -1,
                                       .created_by = archive_created_by()};
    f->sink_at = f->groups.n ? f->part_good : 0;
    weir_status s = archive_resume(&o, &f->columns, &f->groups, f->part_good, &f->writer, err);
    f->writer_columns = f->columns.n;
    if (s != WEIR_OK)
        f->writer = NULL;
    return s;
}

/* The rows of b as the next octets of .part; nothing is promised yet. */
static weir_status put_rows(archive_open *f, const flow_batch *b, weir_err *err)
{
    weir_status s = need_writer(f, err);
    if (s == WEIR_OK)
        s = archive_rows_make(&f->made, &f->columns, b, err);
    if (s == WEIR_OK)
        s = parquet_writer_group(f->writer, f->made.data, flow_batch_rows(b), err);
    if (s != WEIR_OK)
        drop_writer(f);
    return s;
}

/* The rows of b as a row group that the journal vouches for; they are all of the tail, or come behind an empty one. */
static weir_status write_group(archive_open *f, const flow_batch *b, weir_err *err)
{
    const struct archive_options *o = &f->shared->options;
    WEIR_TRY(put_rows(f, b, err));
    weir_status s = WEIR_OK;
    if (o->sync == ARCHIVE_SYNC_FLUSH)
        s = sync_data(f->part, f->part_path, err);
    else if (o->sync == ARCHIVE_SYNC_CLOSE) /* begin now what closing will wait for */
        (void)sync_file_range(f->part, (off_t)f->part_good, (off_t)(f->sink_at - f->part_good),
                              SYNC_FILE_RANGE_WRITE);
    base_buf meta = {0};
    int64_t min, max;
    archive_received(b, 0, &min, &max);
    if (s == WEIR_OK) {
        parquet_writer_group_meta(f->writer, &meta);
        base_buf_reset(&f->entry);
        if (f->columns_journaled < f->columns.n)
            archive_journal_put_columns(&f->entry, f->journal_good, f->head.id, &f->columns,
                                        f->columns_journaled);
        archive_journal_put_group(&f->entry, f->journal_good, f->head.id, f->sink_at,
                                  flow_batch_rows(b), min, max, &meta);
        s = meta.failed
                ? archive_no_memory(err)
                : archive_groups_add(&f->groups, f->part_good, f->sink_at, flow_batch_rows(b), min,
                                     max, meta.data, meta.len, err);
    }
    if (s == WEIR_OK && (s = journal_write(f, err)) != WEIR_OK)
        f->groups.metas.len = f->groups.items[--f->groups.n].meta_at;
    base_buf_done(&meta);
    if (s != WEIR_OK) {
        drop_writer(f);
        return s;
    }
    f->part_good = f->sink_at;
    f->counters->groups++;
    return WEIR_OK;
}

static weir_status write_tail(archive_open *f, weir_err *err)
{
    WEIR_TRY(write_group(f, f->tail, err));
    flow_batch_reset(f->tail);
    f->tail_min = 0;
    f->tail_max = -1;
    f->fresh = true;
    return WEIR_OK;
}

/* --- storing --------------------------------------------------------------------------------------- */

bool archive_open_fits(const archive_open *f, const flow_batch *b)
{
    return archive_columns_fit(&f->columns, b);
}

/* Whether the rows of b may join those of the tail: with the null rows of columns that one of the two has not, they might
 * take far more memory together than each alone. An empty tail takes anything. */
static bool joins(const archive_open *f, const flow_batch *b, size_t most)
{
    return flow_batch_rows(f->tail) == 0 ||
           flow_batch_octets(f->tail) + flow_batch_append_octets(f->tail, b) <= most;
}

/* Whether rows, of a batch or the tail, are enough for a row group. */
static bool is_group(const archive_open *f, const flow_batch *b)
{
    const struct archive_options *o = &f->shared->options;
    return flow_batch_rows(b) >= o->direct_rows || flow_batch_octets(b) >= o->direct_octets;
}

/* The rows of b become a row group together with the tail, which is empty at high rates. */
static weir_status store_group(archive_open *f, const flow_batch *b, weir_err *err)
{
    uint32_t tail = flow_batch_rows(f->tail);
    if (tail && ((uint64_t)tail + flow_batch_rows(b) > f->shared->options.group_rows ||
                 !joins(f, b, MAX_GROUP_OCTETS))) {
        WEIR_TRY(write_tail(f, err)); /* rows of earlier stores: no matter how b fares */
        tail = 0;
    }
    if (!tail)
        return write_group(f, b, err);
    WEIR_TRY(flow_batch_append(f->tail, b, err));
    weir_status s = write_tail(f, err);
    if (s != WEIR_OK)
        flow_batch_cut(f->tail, tail);
    return s;
}

static weir_status store_rows(archive_open *f, const flow_batch *b, weir_err *err)
{
    /* A tail that is large enough for a group is there because that failed before: first things first. */
    if (is_group(f, f->tail) || !joins(f, b, f->shared->options.direct_octets))
        WEIR_TRY(write_tail(f, err));
    uint32_t tail = flow_batch_rows(f->tail);
    WEIR_TRY(flow_batch_append(f->tail, b, err));
    base_buf_reset(&f->entry);
    if (f->columns_journaled < f->columns.n)
        archive_journal_put_columns(&f->entry, f->journal_good, f->head.id, &f->columns,
                                    f->columns_journaled);
    weir_status s = archive_journal_put_rows(&f->entry, f->journal_good, f->head.id, f->z, f->fresh,
                                             f->tail, tail, &f->scratch, err);
    if (s == WEIR_OK)
        s = journal_write(f, err);
    f->fresh = s != WEIR_OK; /* what the frame has seen must be in the file */
    if (s != WEIR_OK) {
        flow_batch_cut(f->tail, tail);
        return s;
    }
    int64_t min, max;
    archive_received(b, 0, &min, &max);
    if (min <= max) {
        bool first = f->tail_max < f->tail_min;
        f->tail_min = first || min < f->tail_min ? min : f->tail_min;
        f->tail_max = first || max > f->tail_max ? max : f->tail_max;
    }
    return WEIR_OK;
}

weir_status archive_open_store(archive_open *f, const flow_batch *b, weir_err *err)
{
    uint32_t rows = flow_batch_rows(b);
    size_t columns = f->columns.n;
    WEIR_TRY(archive_columns_take(&f->columns, b, err));
    weir_status s = is_group(f, b) ? store_group(f, b, err) : store_rows(f, b, err);
    if (s != WEIR_OK) {
        if (f->columns_journaled <=
            columns) { /* a tail that was written on the way may have brought them in */
            if (f->writer && f->writer_columns > columns)
                drop_writer(f);
            archive_columns_cut(&f->columns, columns);
        }
        return s;
    }
    f->rows += rows;
    struct archive_counters *n = f->counters;
    *(f->head.table == FLOW_TABLE_FLOWS     ? &n->rows
      : f->head.table == FLOW_TABLE_OPTIONS ? &n->option_rows
                                            : &n->ledger_rows) += rows;
    if (is_group(f, f->tail)) {
        weir_err why = {0}; /* the rows are safe in the journal; the next store tries again */
        if (write_tail(f, &why) != WEIR_OK)
            archive_say(f->shared, "%s; will be tried again", why.msg);
    }
    return WEIR_OK;
}

void archive_open_rate(archive_open *f, const uint8_t *exporter, uint32_t len, uint32_t domain,
                       uint64_t selector, double rate, const char *source)
{
    if (f->head.table != FLOW_TABLE_FLOWS || flow_batch_rows(f->tail) == 0 ||
        flow_batch_sampling(f->tail, exporter, len, domain, selector, rate, source) == 0)
        return;
    weir_err err = {0};
    base_buf_reset(&f->entry);
    archive_journal_put_rate(&f->entry, f->journal_good, f->head.id, exporter, len, domain,
                             selector, rate, source);
    if (journal_write(f, &err) != WEIR_OK)
        archive_say(f->shared, "%s; a crash would lose a sampling rate", err.msg);
}

/* --- beginning and end ----------------------------------------------------------------------------- */

void archive_open_free(archive_open *f)
{
    if (!f)
        return;
    parquet_writer_free(f->writer);
    if (f->part >= 0)
        (void)close(f->part);
    if (f->journal >= 0)
        (void)close(f->journal);
    archive_columns_done(&f->columns);
    archive_groups_done(&f->groups);
    flow_batch_free(f->tail);
    (void)ZSTD_freeCCtx(f->z);
    base_buf_done(&f->entry);
    base_buf_done(&f->scratch);
    archive_rows_done(&f->made);
    free(f->dir);
    free(f->stem);
    free(f->part_path);
    free(f->journal_path);
    free(f->closed_path);
    free(f);
}

static char *with_suffix(const char *dir, const char *stem, const char *suffix)
{
    char *path = NULL;
    return asprintf(&path, "%s/%s%s", dir, stem, suffix) < 0 ? NULL : path;
}

static archive_open *open_alloc(struct archive_files *shared, const char *dir, const char *stem,
                                enum flow_table table)
{
    archive_open *f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    f->shared = shared;
    f->counters = &shared->counters;
    f->part = f->journal = -1;
    f->tail_max = -1;
    f->fresh = true;
    f->head.table = table;
    f->dir = strdup(dir);
    f->stem = strdup(stem);
    f->part_path = with_suffix(dir, stem, ".part");
    f->journal_path = with_suffix(dir, stem, ".journal");
    f->closed_path = with_suffix(dir, stem, archive_table_suffix(table));
    if (f->dir && f->stem && f->part_path && f->journal_path && f->closed_path)
        return f;
    archive_open_free(f);
    return NULL;
}

/* The files of a new f. WEIR_EINVAL: a file of its name is there already. */
static weir_status create(archive_open *f, weir_err *err)
{
    /* Directories reach the disk with what is in them: when the file is closed, unless it may have to be found before. */
    WEIR_TRY(archive_make_dirs(f->dir, false, err));
    if (access(f->closed_path, F_OK) == 0 || access(f->journal_path, F_OK) == 0)
        return weir_err_set(err, WEIR_EINVAL, 0, "%s exists", f->closed_path);
    f->part = open(f->part_path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (f->part < 0)
        return errno == EEXIST ? weir_err_set(err, WEIR_EINVAL, 0, "%s exists", f->part_path)
                               : archive_errno(err, errno, "make", f->part_path);
    f->journal = open(f->journal_path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    weir_status s = f->journal >= 0 ? WEIR_OK : archive_errno(err, errno, "make", f->journal_path);
    if (s == WEIR_OK) {
        archive_journal_put_head(&f->entry, &f->head);
        archive_journal_put_columns(&f->entry, 0, f->head.id, &f->columns, 0);
        s = journal_write(f, err);
    }
    if (s == WEIR_OK && f->shared->options.sync == ARCHIVE_SYNC_FLUSH)
        archive_sync_dirs(f->dir, f->shared->dir);
    if (s != WEIR_OK) {
        (void)unlink(f->part_path);
        if (f->journal >= 0)
            (void)unlink(f->journal_path);
    }
    return s;
}

int64_t archive_slot_length(const struct archive_files *shared, enum flow_table table)
{
    return table == FLOW_TABLE_LEDGER ? ARCHIVE_HOUR : shared->options.rotate_ns;
}

/* The number of a new file: no two writers get the same. */
static uint32_t next_number(struct archive_root *root)
{
    (void)pthread_mutex_lock(&root->mutex);
    uint32_t number = ++root->number;
    (void)pthread_mutex_unlock(&root->mutex);
    return number;
}

/* What the last number is, for the next start. Not the caller's: another writer may be further. */
static void note_number(struct archive_root *root)
{
    (void)pthread_mutex_lock(&root->mutex);
    if (root->lock >= 0)
        archive_lock_set_number(root->lock, root->number);
    (void)pthread_mutex_unlock(&root->mutex);
}

weir_status archive_open_new(struct archive_files *shared, enum flow_table table, int64_t slot_ns,
                             archive_open **out, weir_err *err)
{
    char hour[ARCHIVE_PARTITION_TEXT], time[ARCHIVE_TIME_TEXT], stem[64];
    char *dir = NULL;
    archive_partition_text(hour, slot_ns);
    archive_time_text(time, slot_ns);
    if (asprintf(&dir, "%s/%s/%s", shared->dir, archive_table_name(table), hour) < 0)
        return archive_no_memory(err);
    weir_status s = WEIR_EINVAL;
    /* Numbers that are taken; a directory that expiry removes as it is made. */
    for (int tries = 0; tries < 1000 && (s == WEIR_EINVAL || (s == WEIR_ENOTFOUND && tries < 10));
         tries++) {
        (void)snprintf(stem, sizeof stem, "%s-w%u-%06u", time, shared->options.worker,
                       next_number(shared->root));
        archive_open *f = open_alloc(shared, dir, stem, table);
        s = f ? WEIR_OK : archive_no_memory(err);
        if (f) {
            archive_journal_stamp(&f->head);
            f->head.worker = shared->options.worker;
            f->head.slot_ns = slot_ns;
            f->head.slot_length_ns = archive_slot_length(shared, table);
            f->tail = flow_batch_new(table);
            f->z = ZSTD_createCCtx();
            s = f->tail && f->z ? archive_columns_table(&f->columns, table, err)
                                : archive_no_memory(err);
        }
        if (s == WEIR_OK)
            s = create(f, err);
        if (s == WEIR_OK)
            *out = f;
        else
            archive_open_free(f);
    }
    if (s == WEIR_OK)
        note_number(shared->root);
    free(dir);
    return s;
}

/* "2026-11-22T21:05:00.000000Z" for the metadata. */
static void time_value(char out[BASE_TIME_TEXT + 1], int64_t us)
{
    out[base_time_text(out, us * 1000, 6)] = 0;
}

static weir_status finish_writer(archive_open *f, weir_err *err)
{
    char slot[BASE_TIME_TEXT + 1], first[BASE_TIME_TEXT + 1], last[BASE_TIME_TEXT + 1], worker[16],
        id[ARCHIVE_ID_TEXT], length[ARCHIVE_SECONDS_TEXT];
    int64_t min = f->tail_min, max = f->tail_max;
    for (size_t i = 0; i < f->groups.n; i++) {
        const struct archive_group *g = &f->groups.items[i];
        if (g->min > g->max)
            continue;
        bool none = max < min;
        min = none || g->min < min ? g->min : min;
        max = none || g->max > max ? g->max : max;
    }
    (void)snprintf(worker, sizeof worker, "%u", f->head.worker);
    archive_id_text(id, f->head.id);
    time_value(slot, f->head.slot_ns / 1000);
    archive_seconds_text(length, f->head.slot_length_ns);
    time_value(first, min);
    time_value(last, max);
    struct parquet_key_value kv[] = {{"weir.table", archive_table_name(f->head.table)},
                                     {"weir.id", id},
                                     {"weir.worker", worker},
                                     {"weir.slot", slot},
                                     {"weir.slot_length", length},
                                     {"weir.received_min", first},
                                     {"weir.received_max", last}};
    return parquet_writer_finish(f->writer, kv, max < min ? 5 : ARRAY_LEN(kv), err);
}

static void remove_files(archive_open *f)
{
    (void)unlink(f->part_path);
    (void)unlink(f->journal_path);
}

weir_status archive_open_finish(archive_open *f, weir_err *err)
{
    enum archive_sync sync = f->shared->options.sync;
    uint32_t tail = flow_batch_rows(f->tail);
    if (tail == 0 && f->groups.n == 0) {
        remove_files(f);
        return WEIR_OK;
    }
    /* The last group goes without an entry in the journal: until the rename the journal still has its rows. */
    weir_status s = tail ? put_rows(f, f->tail, err) : need_writer(f, err);
    if (s == WEIR_OK)
        s = finish_writer(f, err);
    if (s == WEIR_OK &&
        ftruncate(f->part, (off_t)f->sink_at) != 0) /* of what a failure may have left behind */
        s = archive_errno(err, errno, "cut", f->part_path);
    if (s == WEIR_OK && sync != ARCHIVE_SYNC_NEVER && fsync(f->part) != 0)
        s = archive_errno(err, errno, "sync", f->part_path);
    if (s == WEIR_OK && rename(f->part_path, f->closed_path) != 0)
        s = archive_errno(err, errno, "rename", f->part_path);
    if (s != WEIR_OK) {
        drop_writer(f);
        return s;
    }
    if (sync != ARCHIVE_SYNC_NEVER)
        archive_sync_dirs(f->dir, f->shared->dir);
    (void)unlink(f->journal_path);
    f->counters->files++;
    f->counters->groups += tail != 0;
    f->counters->octets_files += f->sink_at;
    return WEIR_OK;
}

/* --- after a crash --------------------------------------------------------------------------------- */

static void keep_groups(struct archive_groups *g, const bool *good)
{
    size_t n = 0;
    for (size_t i = 0; i < g->n; i++) {
        if (good[i])
            g->items[n++] = g->items[i];
    }
    g->n = n;
}

/* Whether the octets of each group are what was written, by the checksums of their pages. */
static weir_status check_groups(archive_open *f, bool *good, weir_err *err)
{
    struct parquet_writer_options o = {.sink = sink,
                                       .user = f,
                                       .codec = PARQUET_ZSTD,
                                       .level = 1,
                                       .sorted_by = -1,
                                       .created_by = archive_created_by()};
    parquet_writer *w = NULL;
    parquet_file *p = NULL;
    base_buf tail = {0};
    weir_status s = archive_resume(&o, &f->columns, &f->groups, f->part_good, &w, err);
    if (s == WEIR_OK)
        s = parquet_writer_preview(w, &tail, err);
    parquet_writer_free(w);
    int fd = s == WEIR_OK ? dup(f->part) : -1;
    if (s == WEIR_OK && fd < 0)
        s = archive_errno(err, errno, "open", f->part_path);
    if (s == WEIR_OK)
        s = parquet_open_parts(fd, f->part_good, tail.data, tail.len, f->part_path, &p, err);
    base_buf_done(&tail);
    if (s != WEIR_OK) {
        if (fd >= 0)
            (void)close(fd);
        return s;
    }
    for (size_t g = 0; g < f->groups.n; g++) {
        weir_err why = {0};
        for (size_t c = 0; good[g] && c < parquet_schema_of(p)->n; c++)
            good[g] = parquet_chunk_verify(p, g, c, &why) == WEIR_OK;
    }
    parquet_close(p);
    return WEIR_OK;
}

/* Leave out row groups that the journal promises and .part has not. */
static weir_status drop_lost_groups(archive_open *f, weir_err *err)
{
    struct stat st;
    if (fstat(f->part, &st) != 0)
        return archive_errno(err, errno, "read", f->part_path);
    struct archive_groups *g = &f->groups;
    size_t n_before = g->n;
    bool *good = calloc(g->n + 1, sizeof *good);
    if (!good)
        return archive_no_memory(err);
    for (size_t i = 0; i < g->n; i++)
        good[i] = g->items[i].end <= (uint64_t)st.st_size;
    keep_groups(g, good);
    f->part_good = g->n ? g->items[g->n - 1].end : 0;
    weir_status s = WEIR_OK;
    if (g->n && !archive_journal_same_boot(
                    &f->head)) { /* a power cut: what was written last may not be on disk */
        for (size_t i = 0; i < g->n; i++)
            good[i] = true;
        s = check_groups(f, good, err);
        if (s == WEIR_OK)
            keep_groups(g, good);
        f->part_good = g->n ? g->items[g->n - 1].end : 0;
    }
    free(good);
    if (g->n < n_before)
        archive_say(f->shared, "%s: %zu of %zu row groups did not reach the disk and are lost",
                    f->part_path, n_before - g->n, n_before);
    return s;
}

weir_status archive_open_load(struct archive_files *shared, const char *dir, const char *stem,
                              archive_open **out, weir_err *err)
{
    archive_open *f = open_alloc(shared, dir, stem, FLOW_TABLE_FLOWS);
    if (!f)
        return archive_no_memory(err);
    struct archive_journal j = {0};
    weir_status s = WEIR_OK;
    f->journal = open(f->journal_path, O_RDWR | O_CLOEXEC);
    if (f->journal < 0)
        s = archive_errno(err, errno, "open", f->journal_path);
    if (s == WEIR_OK)
        s = archive_journal_read(f->journal, f->journal_path, &j, err);
    if (s == WEIR_OK) {
        free(f->closed_path);
        f->closed_path = with_suffix(dir, stem, archive_table_suffix(j.head.table));
        f->part = open(f->part_path, O_RDWR | O_CREAT | O_CLOEXEC,
                       0666); /* without: the tail alone is left */
        if (!f->closed_path)
            s = archive_no_memory(err);
        else if (f->part < 0)
            s = archive_errno(err, errno, "open", f->part_path);
    }
    if (s != WEIR_OK) {
        archive_journal_done(&j);
        archive_open_free(f);
        return s;
    }
    f->head = j.head;
    f->columns = j.columns;
    f->columns_journaled = j.columns.n;
    f->groups = j.groups;
    f->tail = j.tail;
    f->tail_min = j.tail_min;
    f->tail_max = j.tail_max;
    f->journal_good = j.good;
    if (j.behind)
        archive_say(shared, "%s: the last %llu octets were torn off (%s)", f->journal_path,
                    (unsigned long long)j.behind, j.why);
    s = archive_columns_take(&f->columns, f->tail, err); /* a journal of another version of weir */
    if (s == WEIR_OK)
        s = drop_lost_groups(f, err);
    if (s != WEIR_OK) {
        archive_open_free(f);
        return s;
    }
    for (size_t i = 0; i < f->groups.n; i++)
        f->rows += f->groups.items[i].rows;
    f->rows += flow_batch_rows(f->tail);
    (void)!ftruncate(f->part, (off_t)f->part_good);
    *out = f;
    return WEIR_OK;
}
