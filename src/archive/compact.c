/* Compaction. The result of a partition carries the ids of the files whose rows it has (key weir.replaces), so the
 * moment at which its name appears is the moment at which its inputs are no longer read: one rename switches. They are
 * removed afterwards, and by the next run if a crash comes in between. */
#include "archive/cursor.h"
#include "archive/gather.h"
#include "archive/recover.h"
#include "base/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    DEFAULT_LEVEL = 9,
    PAGE_ROWS = 49152, /* fewer headers and bounds than usual: hours are long */
    TEXT_LEVEL =
        16, /* lists of addresses shrink by a fifth more than at level 9; 17 to 19 add nothing */
    TAKE_ROWS = 1 << 16, /* read at a time, between two looks at stop */
    MAX_GROUP_OCTETS =
        1 << 30, /* memory: a group of long strings ends before it has all its rows */
    /* A compacted file is compacted again when this many files came after it, or this part of its octets. */
    LATE_FILES = 16,
    LATE_PART = 8,
    OUTPUTS_TRIED = 4 /* the newest: files that each bring new columns would be held against all */
};
#define MAX_FILE_ROWS (UINT64_C(1) << 31)

/* A file that may be merged. */
struct input {
    char *name, *path;
    bool compacted, bad; /* bad: cannot be read, stays as it is */
    char id[ARCHIVE_ID_TEXT];
    uint64_t octets, rows;
    size_t output; /* which one takes it */
};

/* The columns of one output. */
struct columns {
    struct parquet_column *items;
    uint64_t *hashes; /* of their names */
    size_t n;
    uint64_t rows;
};

struct job {
    const struct archive_compact_options *o;
    const struct archive_cursors *cursors;
    const char *dir; /* the partition */
    enum flow_table table;
    int64_t hour_ns;
    struct input *inputs;
    size_t n;
    struct columns *outputs;
    size_t n_outputs;
    uint32_t number; /* last one of a compacted file */
};

/* --- what there is to do --------------------------------------------------------------------------- */

static void columns_done(struct columns *c)
{
    for (size_t i = 0; i < c->n; i++)
        free((void *)(uintptr_t)c->items[i].name);
    free(c->items);
    free(c->hashes);
}

static void job_done(struct job *j)
{
    for (size_t i = 0; i < j->n; i++) {
        free(j->inputs[i].name);
        free(j->inputs[i].path);
    }
    for (size_t i = 0; i < j->n_outputs; i++)
        columns_done(&j->outputs[i]);
    free(j->inputs);
    free(j->outputs);
}

/* Thousands of files may bring hundreds of columns each, names from the network among them: hashes are compared first. */
static size_t columns_find(const struct columns *c, const char *name)
{
    uint64_t hash = base_hash(name, strlen(name), 0);
    for (size_t i = 0; i < c->n; i++) {
        if (c->hashes[i] == hash && strcmp(c->items[i].name, name) == 0)
            return i;
    }
    return SIZE_MAX;
}

static bool same_kind(const struct parquet_column *a, const struct parquet_column *b)
{
    return a->type == b->type && a->logical == b->logical && a->list == b->list &&
           a->utc == b->utc && a->unsigned_order == b->unsigned_order;
}

static bool columns_fit(const struct columns *c, const struct parquet_schema *s, uint64_t rows)
{
    size_t more = 0;
    for (size_t i = 0; i < s->n; i++) {
        size_t at = columns_find(c, s->columns[i].name);
        if (at != SIZE_MAX && !same_kind(&c->items[at], &s->columns[i]))
            return false;
        more += at == SIZE_MAX;
    }
    return c->n == 0 || (c->n + more <= ARCHIVE_MAX_COLUMNS && c->rows + rows <= MAX_FILE_ROWS);
}

static weir_status columns_take(struct columns *c, const struct parquet_schema *s, weir_err *err)
{
    struct parquet_column *items = realloc(c->items, (c->n + s->n + 1) * sizeof *items);
    if (!items)
        return archive_no_memory(err);
    c->items = items;
    uint64_t *hashes = realloc(c->hashes, (c->n + s->n + 1) * sizeof *hashes);
    if (!hashes)
        return archive_no_memory(err);
    c->hashes = hashes;
    for (size_t i = 0; i < s->n; i++) {
        if (columns_find(c, s->columns[i].name) != SIZE_MAX)
            continue;
        char *name = strdup(s->columns[i].name);
        if (!name)
            return archive_no_memory(err);
        hashes[c->n] = base_hash(name, strlen(name), 0);
        items[c->n] = s->columns[i];
        items[c->n].optional = true; /* files that have it not */
        items[c->n++].name = name;
    }
    return WEIR_OK;
}

static weir_status open_file(const char *path, parquet_file **out, weir_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return archive_errno(err, errno, "open", path);
    weir_status s = parquet_open(fd, path, out, err);
    if (s != WEIR_OK)
        (void)close(fd);
    return s;
}

/* Choose the output for an input; makes one when it fits none. */
static weir_status place(struct job *j, struct input *in, const parquet_file *f, weir_err *err)
{
    const struct parquet_schema *schema = parquet_schema_of(f);
    const char *id = parquet_key_value_find(f, "weir.id");
    in->rows = parquet_n_rows(f);
    in->bad |= !id || strlen(id) + 1 !=
                          sizeof in->id; /* not written by us: could not be told from its copy */
    if (!in->bad)
        memcpy(in->id, id, sizeof in->id);
    for (size_t i = 0; i < schema->n; i++)
        in->bad |= !archive_gather_can(&schema->columns[i]);
    if (in->bad)
        return WEIR_OK;
    size_t at = j->n_outputs > OUTPUTS_TRIED ? j->n_outputs - OUTPUTS_TRIED : 0;
    while (at < j->n_outputs && !columns_fit(&j->outputs[at], schema, in->rows))
        at++;
    if (at == j->n_outputs) {
        struct columns *outputs = realloc(j->outputs, (at + 1) * sizeof *outputs);
        if (!outputs)
            return archive_no_memory(err);
        j->outputs = outputs;
        outputs[j->n_outputs++] = (struct columns){0};
    }
    in->output = at;
    j->outputs[at].rows += in->rows;
    return columns_take(&j->outputs[at], schema, err);
}

/* The closed files of the partition; those that a crash left behind are removed first. */
static weir_status survey(struct job *j, weir_err *err)
{
    struct archive_names names;
    weir_status s = archive_list_files(j->dir, true, &names, err);
    if (s != WEIR_OK)
        return s;
    j->inputs = calloc(names.n + 1, sizeof *j->inputs);
    s = j->inputs ? archive_clean_compaction(NULL, j->dir, &names, err) : archive_no_memory(err);
    for (size_t i = 0; i < names.n && s == WEIR_OK; i++) {
        struct archive_name name;
        struct stat st;
        archive_name_parse(names.items[i], &name);
        if (name.ours && name.compacted && name.number > j->number)
            j->number = name.number;
        if (name.kind != ARCHIVE_KIND_CLOSED || !name.ours || *names.items[i] == '.' ||
            strcmp(names.items[i] + name.stem_len, archive_table_suffix(j->table)) != 0)
            continue;
        struct input *in = &j->inputs[j->n];
        *in = (struct input){.name = strdup(names.items[i]),
                             .path = archive_path(j->dir, names.items[i]),
                             .compacted = name.compacted};
        j->n++;
        if (!in->name || !in->path)
            s = archive_no_memory(err);
        else if (stat(in->path, &st) != 0)
            in->bad = true; /* removed just now */
        else
            in->octets = (uint64_t)st.st_size;
    }
    archive_names_done(&names);
    return s;
}

/* Whether somebody who takes the rows away has not got all of the files: their rows would be in another order afterwards. */
static bool is_awaited(const struct job *j)
{
    for (size_t i = 0; i < j->n; i++)
        if (archive_cursors_waiting(j->cursors, j->table, j->inputs[i].name))
            return true;
    return false;
}

static bool worth_it(const struct job *j)
{
    size_t n_late = 0;
    uint64_t late = 0, done = 0;
    for (size_t i = 0; i < j->n; i++) {
        const struct input *in = &j->inputs[i];
        if (in->bad)
            continue;
        n_late += !in->compacted;
        *(in->compacted ? &done : &late) += in->octets;
    }
    return n_late && (done == 0 || n_late >= LATE_FILES || late >= done / LATE_PART);
}

/* Half a filter would let a twentieth of the row groups through that have not got the address. */
#define BLOOM_FPP 0.01

/* Rows of a group stand in this order. All that belongs to a source (its AS, its prefix, its interface) then becomes runs, and
 * all that belongs to an exporter too; 10 million flows of bench/archive_compare, octets a flow: as received 20.9, by
 * source 21.3, by exporter and source 21.0, by all three 20.6, before the sequence number stood once a packet. */
enum { N_KEYS = 3 };
static const char *const key_names[FLOW_N_TABLES][N_KEYS] = {
    [FLOW_TABLE_FLOWS] = {"exporter", "src_addr", "dst_addr"},
    [FLOW_TABLE_OPTIONS] = {"exporter", "src_addr", "dst_addr"},
    [FLOW_TABLE_LEDGER] = {"minute", "exporter", "domain"},
};

/* --- merging --------------------------------------------------------------------------------------- */

struct output {
    int fd;
    const char *path;
    uint64_t at;
    bool failed;
};

static weir_status sink(void *user, const void *data, size_t len, weir_err *err)
{
    struct output *out = user;
    const char *p = data;
    while (len) {
        ssize_t n = write(out->fd, p, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            out->failed = true;
            return archive_errno(err, n < 0 ? errno : ENOSPC, "write", out->path);
        }
        p += n;
        len -= (size_t)n;
        out->at += (uint64_t)n;
    }
    return WEIR_OK;
}

static bool stopped(const struct archive_compact_options *o)
{
    return o->stop && o->stop(o->user);
}

static weir_status write_group(archive_gather *g, parquet_writer *w, const size_t *keys,
                               weir_err *err)
{
    const struct parquet_data *data;
    WEIR_TRY(archive_gather_finish(g, keys, N_KEYS, &data, err));
    WEIR_TRY(parquet_writer_group(w, data, archive_gather_rows(g), err));
    archive_gather_reset(g);
    return WEIR_OK;
}

/* All rows of one input, into groups. */
static weir_status take_file(struct job *j, const struct columns *columns, const parquet_file *f,
                             archive_gather *g, parquet_writer *w, const size_t *keys,
                             weir_err *err)
{
    size_t *from = malloc((columns->n + 1) * sizeof *from);
    if (!from)
        return archive_no_memory(err);
    for (size_t i = 0; i < columns->n; i++) {
        int at = parquet_column_find(f, columns->items[i].name);
        from[i] = at < 0 ? SIZE_MAX : (size_t)at;
    }
    weir_status s = WEIR_OK;
    for (size_t group = 0; group < parquet_n_groups(f) && s == WEIR_OK; group++) {
        s = archive_gather_open(g, f, group, from, err);
        for (size_t taken = 1; s == WEIR_OK && taken;) {
            if (archive_gather_left(g) == 0 || archive_gather_octets(g) > MAX_GROUP_OCTETS)
                s = write_group(g, w, keys, err);
            if (s == WEIR_OK)
                s = archive_gather_take(g, TAKE_ROWS, j->o->stop, j->o->user, &taken, err);
        }
    }
    free(from);
    return s;
}

/* What the inputs' metadata say: earliest begin and latest end, the longest slot. */
struct said {
    char min[48], max[48];
    int64_t slot_length_ns;
    bool no_slot_length; /* one of them does not say it */
};

static void note_said(struct said *r, const parquet_file *f)
{
    int64_t length;
    if (!archive_seconds(parquet_key_value_find(f, "weir.slot_length"), &length))
        r->no_slot_length = true;
    else if (length > r->slot_length_ns)
        r->slot_length_ns = length;
    const char *min = parquet_key_value_find(f, "weir.received_min");
    const char *max = parquet_key_value_find(f, "weir.received_max");
    if (min && strlen(min) < sizeof r->min && (!*r->min || strcmp(min, r->min) < 0))
        (void)snprintf(r->min, sizeof r->min, "%s", min);
    if (max && strlen(max) < sizeof r->max && strcmp(max, r->max) > 0)
        (void)snprintf(r->max, sizeof r->max, "%s", max);
}

static weir_status merge_inputs(struct job *j, size_t output, archive_gather *g, parquet_writer *w,
                                const size_t *keys, struct said *said, struct input **culprit,
                                weir_err *err)
{
    for (size_t i = 0; i < j->n; i++) {
        struct input *in = &j->inputs[i];
        if (in->bad || in->output != output)
            continue;
        parquet_file *f = NULL;
        *culprit = in;
        weir_status s = open_file(in->path, &f, err);
        if (s == WEIR_OK) {
            note_said(said, f);
            s = take_file(j, &j->outputs[output], f, g, w, keys, err);
        }
        archive_gather_leave(g);
        parquet_close(f);
        if (s != WEIR_OK)
            return s;
        *culprit = NULL;
    }
    return archive_gather_rows(g) ? write_group(g, w, keys, err) : WEIR_OK;
}

static weir_status finish(const struct job *j, size_t output, parquet_writer *w,
                          const struct said *said, weir_err *err)
{
    base_buf replaces = {0};
    for (size_t i = 0; i < j->n; i++) {
        if (j->inputs[i].bad || j->inputs[i].output != output)
            continue;
        if (replaces.len)
            base_buf_char(&replaces, ' ');
        base_buf_str(&replaces, j->inputs[i].id);
    }
    base_buf_char(&replaces, 0);
    char id[ARCHIVE_ID_TEXT];
    archive_id_text(id, base_hash_seed());
    struct parquet_key_value kv[6] = {{"weir.table", archive_table_name(j->table)},
                                      {"weir.id", id},
                                      {"weir.replaces", replaces.data}};
    size_t n = 3;
    char length[ARCHIVE_SECONDS_TEXT];
    if (said->slot_length_ns && !said->no_slot_length) {
        archive_seconds_text(length, said->slot_length_ns);
        kv[n++] = (struct parquet_key_value){"weir.slot_length", length};
    }
    if (*said->min && *said->max) {
        kv[n++] = (struct parquet_key_value){"weir.received_min", said->min};
        kv[n++] = (struct parquet_key_value){"weir.received_max", said->max};
    }
    weir_status s = replaces.failed ? archive_no_memory(err) : parquet_writer_finish(w, kv, n, err);
    base_buf_done(&replaces);
    return s;
}

static bool *choose_blooms(const struct columns *c)
{
    static const char *const names[] = {"src_addr", "dst_addr", "nat_src_addr", "nat_dst_addr"};
    bool *bloom = calloc(c->n + 1, sizeof *bloom);
    for (size_t i = 0; bloom && i < ARRAY_LEN(names); i++) {
        size_t at = columns_find(c, names[i]);
        if (at != SIZE_MAX)
            bloom[at] = true;
    }
    return bloom;
}

/* Write one output to its temporary name. *culprit: the input that could not be read. */
static weir_status merge(struct job *j, size_t output, struct output *out, struct input **culprit,
                         weir_err *err)
{
    const struct columns *columns = &j->outputs[output];
    struct parquet_schema schema = {columns->items, columns->n};
    uint32_t group_rows = j->o->group_rows ? j->o->group_rows : 1U << 20;
    size_t keys[N_KEYS];
    for (size_t i = 0; i < N_KEYS; i++)
        keys[i] = columns_find(columns, key_names[j->table][i]);
    struct said said = {0};
    bool *bloom = choose_blooms(columns);
    parquet_writer *w = NULL;
    archive_gather *g = archive_gather_new(columns->items, columns->n, group_rows);
    struct parquet_writer_options o = {.sink = sink,
                                       .user = out,
                                       .codec = PARQUET_ZSTD,
                                       .level = j->o->zstd_level ? j->o->zstd_level : DEFAULT_LEVEL,
                                       .text_level = TEXT_LEVEL,
                                       .bloom = bloom,
                                       .bloom_fpp = BLOOM_FPP,
                                       .page_rows = PAGE_ROWS,
                                       .sorted_by = keys[0] == SIZE_MAX ? -1 : (int)keys[0],
                                       .created_by = archive_created_by()};
    weir_status s = bloom && g ? parquet_writer_new(&o, &schema, &w, err) : archive_no_memory(err);
    if (s == WEIR_OK)
        s = merge_inputs(j, output, g, w, keys, &said, culprit, err);
    if (s == WEIR_OK)
        s = finish(j, output, w, &said, err);
    if (s == WEIR_OK && fsync(out->fd) != 0)
        s = archive_errno(err, errno, "sync", out->path);
    parquet_writer_free(w);
    archive_gather_free(g);
    free(bloom);
    return s;
}

/* Whether the result can take its inputs' place: it opens and has all their rows, and they are still there (what was
 * expired in the meantime must not come back). */
static weir_status check(const struct job *j, size_t output, const char *path, weir_err *err)
{
    parquet_file *f = NULL;
    WEIR_TRY(open_file(path, &f, err));
    uint64_t rows = parquet_n_rows(f);
    parquet_close(f);
    if (rows != j->outputs[output].rows)
        return weir_err_set(err, WEIR_EFORMAT, 0, "%s has %llu rows instead of %llu", path,
                            (unsigned long long)rows, (unsigned long long)j->outputs[output].rows);
    for (size_t i = 0; i < j->n; i++) {
        const struct input *in = &j->inputs[i];
        if (!in->bad && in->output == output && access(in->path, F_OK) != 0)
            return archive_errno(err, errno, "find", in->path);
    }
    return WEIR_OK;
}

static weir_status make_output(struct job *j, size_t output, struct archive_compact_counters *c,
                               struct input **culprit, weir_err *err)
{
    char time[ARCHIVE_TIME_TEXT], *temp = NULL, *final = NULL;
    archive_time_text(time, j->hour_ns);
    uint32_t number = ++j->number;
    if (asprintf(&temp, "%s/.%s-c0-%06u.tmp", j->dir, time, number) < 0)
        return archive_no_memory(err);
    if (asprintf(&final, "%s/%s-c0-%06u%s", j->dir, time, number, archive_table_suffix(j->table)) <
        0) {
        free(temp);
        return archive_no_memory(err);
    }
    struct output out = {.fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666),
                         .path = temp};
    weir_status s = out.fd >= 0 ? merge(j, output, &out, culprit, err)
                                : archive_errno(err, errno, "make", temp);
    if (out.failed || s == WEIR_END || s == WEIR_ENOMEM)
        *culprit = NULL;
    if (out.fd >= 0 && close(out.fd) != 0 && s == WEIR_OK)
        s = archive_errno(err, errno, "write", temp);
    if (s == WEIR_OK)
        s = check(j, output, temp, err);
    if (s == WEIR_OK && rename(temp, final) != 0)
        s = archive_errno(err, errno, "rename", temp);
    if (s != WEIR_OK) {
        (void)unlink(temp);
    } else {
        archive_sync_dir(j->dir);
        c->files_after++;
        c->rows += j->outputs[output].rows;
        c->octets_after += out.at;
        for (size_t i = 0; i < j->n; i++) {
            struct input *in = &j->inputs[i];
            if (in->bad || in->output != output)
                continue;
            c->files_before++;
            c->octets_before += in->octets;
            (void)unlink(in->path);
        }
    }
    free(temp);
    free(final);
    return s;
}

/* --- partitions ------------------------------------------------------------------------------------ */

/* Sort the inputs into outputs, by their footers. */
static weir_status plan(struct job *j, weir_err *err)
{
    for (size_t i = 0; i < j->n_outputs; i++)
        columns_done(&j->outputs[i]);
    j->n_outputs = 0;
    for (size_t i = 0; i < j->n; i++) {
        parquet_file *f = NULL;
        struct input *in = &j->inputs[i];
        if (in->bad)
            continue;
        if (stopped(j->o))
            return WEIR_END;
        weir_err why = {0};
        weir_status s = open_file(in->path, &f, &why);
        if (s == WEIR_OK)
            s = place(j, in, f, err);
        else
            in->bad = s != WEIR_ENOMEM; /* verify says what is wrong with it */
        parquet_close(f);
        if (s == WEIR_ENOMEM)
            return archive_no_memory(err);
    }
    return WEIR_OK;
}

static weir_status compact_partition(const struct archive_compact_options *o,
                                     const struct archive_cursors *cursors, const char *dir,
                                     enum flow_table table, int64_t hour_ns,
                                     struct archive_compact_counters *c, weir_err *err)
{
    struct job j = {.o = o, .cursors = cursors, .dir = dir, .table = table, .hour_ns = hour_ns};
    struct archive_compact_counters before = *c;
    weir_status s = survey(&j, err);
    bool go = s == WEIR_OK && worth_it(&j);
    if (go && is_awaited(&j)) {
        c->awaited++;
        go = false;
    }
    if (go) {
        s = plan(&j, err);
        go = worth_it(&j); /* still, without what cannot be opened */
    }
    for (size_t i = 0; i < j.n_outputs && s == WEIR_OK && go;) {
        struct input *culprit = NULL;
        s = make_output(&j, i, c, &culprit, err);
        if (s == WEIR_OK) {
            i++;
        } else if (
            culprit) { /* damaged: it stays, the others go without it (now, or in the next run) */
            culprit->bad = true;
            s = WEIR_OK;
            if (i > 0)
                i++;
            else if (worth_it(&j))
                s = plan(&j, err);
            else
                break;
        }
    }
    job_done(&j);
    if (s == WEIR_ENOTFOUND) /* expired while it was read */
        s = WEIR_OK;
    if (c->files_after > before.files_after) {
        c->partitions++;
        if (o->progress)
            o->progress(o->user, dir, c->octets_before - before.octets_before,
                        c->octets_after - before.octets_after);
    }
    return s;
}

weir_status archive_compact(const struct archive_compact_options *o,
                            struct archive_compact_counters *out, weir_err *err)
{
    struct archive_compact_counters c = {0};
    int lock = -1;
    int64_t now = (int64_t)time(NULL) * ARCHIVE_SECOND,
            limit = o->older_than_ns ? o->older_than_ns : now - now % ARCHIVE_HOUR;
    if (access(o->dir, F_OK) != 0)
        return weir_err_set(err, WEIR_ENOTFOUND, 0, "there is no archive %s", o->dir);
    struct archive_cursors cursors = {0};
    weir_status s = archive_lock(o->dir, "compact.lock", &lock, err);
    bool stop = false;
    /* Cursors only go on while this runs, and new ones wait for the lock. */
    if (s == WEIR_OK)
        s = archive_cursors_read(o->dir, &cursors, err);
    for (int t = FLOW_TABLE_FLOWS; t < FLOW_N_TABLES && s == WEIR_OK && !stop; t++) {
        char *root = archive_path(o->dir, archive_table_name((enum flow_table)t));
        struct archive_names dirs = {0};
        s = root ? archive_list_dirs(root, &dirs, err) : archive_no_memory(err);
        if (s == WEIR_ENOTFOUND)
            s = WEIR_OK;
        for (size_t i = 0; i < dirs.n && s == WEIR_OK && !stop; i++) {
            int64_t hour;
            if (!archive_partition_time(dirs.items[i], &hour) || hour + ARCHIVE_HOUR > limit)
                continue;
            stop = stopped(o);
            if (!stop)
                s = compact_partition(o, &cursors, dirs.items[i], (enum flow_table)t, hour, &c,
                                      err);
            if (s == WEIR_END) { /* asked to */
                stop = true;
                s = WEIR_OK;
            }
        }
        archive_names_done(&dirs);
        free(root);
    }
    archive_cursors_done(&cursors);
    if (lock >= 0)
        (void)close(lock);
    if (out)
        *out = c;
    return s;
}
