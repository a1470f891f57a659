#include "ship/ship.h"

#include "archive/layout.h"
#include "query/follow.h"
#include "ship/names.h"
#include "ship/source.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

static const int64_t SECOND = 1000000000;

enum {
    COMPACT_MS = 100,   /* between two looks whether a compaction has ended */
    LOOK_MS = 500,      /* between two looks for new rows */
    WHOLE_S = 10,       /* between two looks at all hours */
    SETTLED_S = 60,     /* a file's name appears within this time after its number was given out */
    BACK_OFF_MS = 1000, /* doubled up to the most */
    MOST_BACK_OFF_MS = 60000,
    REFUSED_MS = 30000, /* where the operator must do something */
    END_MS = 10000,     /* what was put is waited for when it ends */
    MAX_AHEAD = 4096    /* puts that are not done */
};

/* A put that is not done. */
struct put {
    enum flow_table table;
    char stem[ARCHIVE_CURSOR_STEM];
    uint64_t to, rows;
    bool last; /* of a file that is closed */
};

/* Columns of one table as the destination wants them, when files have these extra columns. */
struct columns {
    char **names; /* of the extra columns, n_extras */
    struct query_field *extras;
    size_t n_extras;
    bool known;
    const struct query_field *fields; /* of the destination */
    size_t n;
    query_follow *follow;
};

struct ship {
    struct ship_options o;
    int lock, stop_fd;
    char id[ARCHIVE_CURSOR_ID];
    archive_cursor cursor; /* what is done */
    archive_cursor ahead;  /* and what was put */
    ship_source *source;
    ship_names *names;
    bool names_whole; /* all hours are to be looked at for names */
    ship_destination *destination;
    struct columns columns[FLOW_N_TABLES];
    struct put puts[MAX_AHEAD]; /* a ring */
    size_t first_put, n_puts;
    uint64_t n_done; /* of the puts since the destination last failed */
    uint64_t n_made; /* puts since it was opened */
    uint64_t broken; /* files that could not be read in this round */
    bool unsaved;
    bool unwritable; /* said */
    int64_t saved_ns, whole_ns;
    uint32_t settled[2]; /* greatest numbers of a minute ago and between */
    int64_t settled_ns;
    char *complained; /* path of the last file that could not be read */
    atomic_bool stopping;
    pthread_mutex_t lock_counters;
    struct ship_counters counters;
};

static weir_status no_memory(weir_err *err)
{
    return weir_err_set(err, WEIR_ENOMEM, 0, "ship: out of memory");
}

static int64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * SECOND + t.tv_nsec;
}

static bool stopping(void *user)
{
    ship *s = user;
    return atomic_load(&s->stopping);
}

static void say(ship *s, bool trouble, const char *text)
{
    if (s->o.log)
        s->o.log(s->o.user, trouble, text);
}

static void destination_says(void *user, const char *text)
{
    say(user, false, text);
}

/* Sleep, but not beyond a stop. */
static void wait_ms(ship *s, int ms)
{
    struct pollfd p = {.fd = s->stop_fd, .events = POLLIN};
    if (!stopping(s))
        (void)poll(&p, 1, ms);
}

/* ---- the cursor ---- */

static weir_status copy_cursor(archive_cursor *to, const archive_cursor *from, weir_err *err)
{
    struct archive_cursor_file *files = malloc((from->n + 1) * sizeof *files);
    if (!files)
        return no_memory(err);
    if (from->n)
        memcpy(files, from->files, from->n * sizeof *files);
    free(to->files);
    to->files = files;
    to->n = from->n;
    to->cap = from->n + 1;
    to->floor = from->floor;
    return WEIR_OK;
}

/* Beyond a cursor that cannot be written delivery goes on: what was delivered since would come twice after a restart. */
static void save(ship *s, bool now)
{
    weir_err err = {0};
    int64_t t = now_ns();
    if (!s->unsaved || (!now && t - s->saved_ns < SECOND))
        return;
    s->saved_ns = t;
    if (archive_cursor_write(s->o.archive, s->o.name, &s->cursor, &err) == WEIR_OK) {
        s->unsaved = false;
        if (s->unwritable)
            say(s, false, "what was delivered is noted again");
        s->unwritable = false;
        return;
    }
    if (s->unwritable)
        return;
    s->unwritable = true;
    char text[320];
    (void)snprintf(text, sizeof text,
                   "%s: what was delivered cannot be noted, and would be delivered again after a "
                   "restart: %s",
                   s->o.name, err.msg);
    say(s, true, text);
}

/* What is there must not change while it is listed. A collector that has been away compacts for a while. */
static weir_status make_cursor(ship *s, weir_err *err)
{
    int quiet;
    weir_status st;
    for (bool said = false;; said = true) {
        st = archive_cursor_quiet(s->o.archive, &quiet, err);
        if (st != WEIR_ELIMIT)
            break;
        char text[320];
        (void)snprintf(text, sizeof text, "%s: waits for the end of a compaction: %s", s->o.name,
                       err->msg);
        if (!said)
            say(s, false, text);
        wait_ms(s, COMPACT_MS);
    }
    if (st != WEIR_OK)
        return st;
    st = ship_source_begin(s->source, s->o.begin_now, &s->cursor, err);
    s->cursor.destination = ship_url_shown(s->o.destination.url);
    if (st == WEIR_OK && !s->cursor.destination)
        st = no_memory(err);
    s->cursor.hold = s->o.hold;
    if (st == WEIR_OK)
        st = archive_cursor_write(s->o.archive, s->o.name, &s->cursor, err);
    (void)close(quiet);
    return st;
}

static weir_status read_cursor(ship *s, weir_err *err)
{
    bool old;
    weir_status st = archive_cursor_read(s->o.archive, s->o.name, &s->cursor, &old, err);
    if (st == WEIR_ENOTFOUND)
        return make_cursor(s, err);
    WEIR_TRY(st);
    if (old)
        say(s, true,
            "the newest cursor is damaged: the one before it is used, what was delivered "
            "since comes again");
    char *shown = ship_url_shown(s->o.destination.url);
    if (!shown)
        return no_memory(err);
    if (!s->cursor.destination || strcmp(s->cursor.destination, shown) != 0)
        st = weir_err_set(err, WEIR_EINVAL, 0,
                          "the cursor '%s' is that of %.100s (give another --name, or "
                          "'weir ship --forget %s' first)",
                          s->o.name, s->cursor.destination ? s->cursor.destination : "nothing",
                          s->o.name);
    free(shown);
    s->unsaved = s->cursor.hold != s->o.hold;
    s->cursor.hold = s->o.hold;
    return st;
}

/* Numbers below which every file is done, and no file will appear. */
static void raise_floor(ship *s, const struct ship_file *files, size_t n)
{
    int64_t t = now_ns();
    if (!s->settled_ns || t - s->settled_ns >= SETTLED_S * SECOND) {
        s->settled[0] = s->settled_ns ? s->settled[1] : 0;
        s->settled[1] = ship_source_last(s->source);
        s->settled_ns = t;
    }
    uint32_t floor = s->settled[0] + 1;
    for (size_t i = 0; i < n; i++)
        if (!files[i].compacted && files[i].number < floor)
            floor = files[i].number;
    if (floor <= s->cursor.floor)
        return;
    archive_cursor_raise(&s->cursor, floor);
    archive_cursor_raise(&s->ahead, floor);
    s->unsaved = true;
}

/* ---- what the destination has done ---- */

static weir_status take_done(ship *s, int wait, weir_err *err)
{
    uint64_t done;
    WEIR_TRY(s->o.ops->done(s->destination, wait, &done, err));
    uint64_t rows = 0, puts = 0;
    weir_status st = WEIR_OK;
    for (; s->n_done < done && s->n_puts && st == WEIR_OK; s->n_done++, puts++) {
        const struct put *p = &s->puts[s->first_put];
        st = archive_cursor_set(&s->cursor, p->table, p->stem, p->to, p->last, err);
        rows += p->rows;
        s->first_put = (s->first_put + 1) % MAX_AHEAD;
        s->n_puts--;
        s->unsaved = true;
    }
    if (puts) {
        (void)pthread_mutex_lock(&s->lock_counters);
        s->counters.rows += rows;
        s->counters.puts += puts;
        s->counters.away = false;
        (void)pthread_mutex_unlock(&s->lock_counters);
    }
    save(s, false);
    return st;
}

/* ---- rows ---- */

static void columns_done(struct columns *c)
{
    query_follow_free(c->follow);
    for (size_t i = 0; i < c->n_extras; i++)
        free(c->names[i]);
    free(c->names);
    free(c->extras);
    *c = (struct columns){0};
}

static bool is_extra(enum flow_table table, const char *name)
{
    return table == FLOW_TABLE_FLOWS && flow_column_find(name, strlen(name)) < 0;
}

static bool same_extras(const struct columns *c, enum flow_table table, const parquet_file *f)
{
    const struct parquet_schema *schema = parquet_schema_of(f);
    size_t k = 0;
    for (size_t i = 0; i < schema->n; i++) {
        const char *name = schema->columns[i].name;
        if (is_extra(table, name) && (k == c->n_extras || strcmp(c->names[k++], name) != 0))
            return false;
    }
    return c->known && k == c->n_extras;
}

static weir_status note_extras(struct columns *c, enum flow_table table, const parquet_file *f,
                               weir_err *err)
{
    const struct parquet_schema *schema = parquet_schema_of(f);
    c->names = calloc(schema->n + 1, sizeof *c->names);
    c->extras = calloc(schema->n + 1, sizeof *c->extras);
    if (!c->names || !c->extras)
        return no_memory(err);
    for (size_t i = 0; i < schema->n; i++) {
        const struct parquet_column *column = &schema->columns[i];
        if (!is_extra(table, column->name))
            continue;
        char *name = strdup(column->name);
        if (!name)
            return no_memory(err);
        c->names[c->n_extras] = name;
        c->extras[c->n_extras++] = (struct query_field){
            .what = QUERY_F_EXTRA, .id = -1, .name = name, .kind = query_column_kind(column)};
    }
    return WEIR_OK;
}

static weir_status make_follow(ship *s, enum flow_table table, struct columns *c, weir_err *err)
{
    bool flows = table == FLOW_TABLE_FLOWS;
    const struct query_follow_options o = {.fields = c->fields,
                                           .n_fields = c->n,
                                           .filter = flows ? s->o.filter : NULL,
                                           .lookup = flows ? ship_names_lookup(s->names) : NULL};
    query_follow_free(c->follow);
    c->follow = NULL;
    return query_follow_new(&o, &c->follow, err);
}

static weir_status need_columns(ship *s, enum flow_table table, const parquet_file *f,
                                struct columns **out, weir_err *err)
{
    struct columns *c = *out = &s->columns[table];
    if (same_extras(c, table, f))
        return WEIR_OK;
    columns_done(c);
    WEIR_TRY(note_extras(c, table, f, err));
    WEIR_TRY(
        s->o.ops->fields(s->destination, table, c->extras, c->n_extras, &c->fields, &c->n, err));
    if (c->n)
        WEIR_TRY(make_follow(s, table, c, err));
    c->known = true;
    return WEIR_OK;
}

static weir_status put_rows(ship *s, const struct ship_file *f, const char *stem,
                            const struct columns *c, const struct query_follow_rows *r,
                            uint64_t offset, uint64_t all, weir_err *err)
{
    struct ship_rows rows = {.table = f->table,
                             .file = stem,
                             .from = r->from + offset,
                             .to = r->to + offset,
                             .fields = c->fields,
                             .n_fields = c->n,
                             .block = r->block,
                             .at = r->at};
    while (s->n_puts == MAX_AHEAD) {
        if (stopping(s))
            return weir_err_set(err, WEIR_END, 0, "stopped");
        WEIR_TRY(take_done(s, LOOK_MS, err));
    }
    WEIR_TRY(s->o.ops->put(s->destination, &rows, err));
    struct put *p = &s->puts[(s->first_put + s->n_puts++) % MAX_AHEAD];
    s->n_made++;
    *p = (struct put){
        .table = f->table, .to = rows.to, .rows = r->block.n, .last = !f->open && rows.to == all};
    memcpy(p->stem, stem, sizeof p->stem);
    WEIR_TRY(archive_cursor_set(&s->ahead, f->table, stem, rows.to, p->last, err));
    return take_done(s, 0, err);
}

/* A failure of the file, not of the destination. */
static void complain(ship *s, const char *path, const weir_err *err)
{
    s->broken++;
    if (s->complained && strcmp(s->complained, path) == 0)
        return;
    free(s->complained);
    s->complained = strdup(path);
    char text[400];
    (void)snprintf(text, sizeof text, "%s: left out until it can be read: %s", path, err->msg);
    say(s, true, text);
}

static void no_names(void *user, const char *path, const weir_err *err)
{
    char text[400];
    (void)snprintf(text, sizeof text, "%s: names and rates in it are not known: %s", path,
                   err->msg);
    say(user, true, text);
}

/* Names and rates that came since. Rows that are looked at already were stored no later than what is read here. */
static weir_status look_names(ship *s, weir_err *err)
{
    const struct ship_names_look how = {
        .all = s->names_whole, .stop = stopping, .broken = no_names, .user = s};
    struct columns *c = &s->columns[FLOW_TABLE_FLOWS];
    bool rates;
    WEIR_TRY(ship_names_look(s->names, &how, &rates, err));
    s->names_whole = false;
    return rates && c->follow ? make_follow(s, FLOW_TABLE_FLOWS, c, err) : WEIR_OK;
}

/* Rows of one part that are not put yet. *broken: the file is. */
static weir_status put_part(ship *s, const struct ship_file *f, const char *stem,
                            const parquet_file *file, uint64_t offset, uint64_t all, bool *broken,
                            weir_err *err)
{
    struct columns *c;
    struct query_follow_rows r;
    uint64_t at = archive_cursor_of(&s->ahead, f->table, stem).rows;
    uint64_t n = parquet_n_rows(file);
    if (at >= offset + n)
        return WEIR_OK;
    WEIR_TRY(need_columns(s, f->table, file, &c, err));
    if (!c->n) { /* it takes nothing of this table */
        bool last = !f->open && offset + n == all;
        s->unsaved = true;
        WEIR_TRY(archive_cursor_set(&s->cursor, f->table, stem, offset + n, last, err));
        return archive_cursor_set(&s->ahead, f->table, stem, offset + n, last, err);
    }
    query_follow_open(c->follow, file, at - offset);
    for (;;) {
        if (stopping(s))
            return weir_err_set(err, WEIR_END, 0, "stopped");
        weir_err why = {0};
        weir_status st = query_follow_next(c->follow, 0, &r, &why);
        if (st == WEIR_END)
            return WEIR_OK;
        if (st != WEIR_OK) {
            if (st == WEIR_ENOMEM)
                return no_memory(err);
            *broken = true;
            complain(s, f->path, &why);
            return WEIR_OK;
        }
        WEIR_TRY(put_rows(s, f, stem, c, &r, offset, all, err));
    }
}

/* All that a file has and that was not put. */
static weir_status put_file(ship *s, const struct ship_file *f, weir_err *err)
{
    struct archive_cursor_file ahead = archive_cursor_of(&s->ahead, f->table, f->name);
    struct ship_parts p = {0};
    weir_err why = {0};
    if (ahead.done)
        return WEIR_OK;
    weir_status st = ship_parts_open(&p, f, &why);
    if (st == WEIR_ENOTFOUND) /* closed, or expired: the next look shows */
        return WEIR_OK;
    if (st != WEIR_OK) {
        if (st == WEIR_ENOMEM)
            return no_memory(err);
        complain(s, f->path, &why);
        return WEIR_OK;
    }
    uint64_t offset = 0;
    bool broken = false;
    if (f->table == FLOW_TABLE_FLOWS && p.rows > ahead.rows)
        st = look_names(s, err);
    for (size_t i = 0; i < p.n && st == WEIR_OK && !broken; i++) {
        st = put_part(s, f, ahead.stem, p.parts[i].file, offset, p.rows, &broken, err);
        offset += parquet_n_rows(p.parts[i].file);
    }
    /* Closed since its last row was put. */
    if (st == WEIR_OK && !broken && !f->open &&
        archive_cursor_of(&s->cursor, f->table, ahead.stem).rows >= p.rows) {
        st = archive_cursor_set(&s->cursor, f->table, ahead.stem, p.rows, true, err);
        if (st == WEIR_OK)
            st = archive_cursor_set(&s->ahead, f->table, ahead.stem, p.rows, true, err);
        s->unsaved = true;
    }
    ship_parts_done(&p);
    return st;
}

/* ---- the loop ---- */

/* One look and all it shows. *more: there was something. */
static weir_status one_round(ship *s, bool *more, weir_err *err)
{
    const struct ship_file *files;
    size_t n;
    int64_t t = now_ns();
    bool whole = s->o.once || !s->whole_ns || t - s->whole_ns >= WHOLE_S * SECOND;
    uint64_t made = s->n_made;
    *more = false;
    s->broken = 0;
    WEIR_TRY(ship_source_look(s->source, &s->cursor, whole, &files, &n, err));
    if (whole) {
        s->whole_ns = t;
        s->names_whole = true;
        raise_floor(s, files, n);
    }
    for (size_t i = 0; i < n; i++)
        WEIR_TRY(put_file(s, &files[i], err));
    *more = s->n_made != made;
    return WEIR_OK;
}

/* The destination failed: all that is not done will be put again. */
static weir_status begin_again(ship *s, weir_err *err)
{
    s->first_put = s->n_puts = 0;
    s->n_done = 0;
    for (int t = FLOW_TABLE_FLOWS; t < FLOW_N_TABLES; t++)
        columns_done(&s->columns[t]);
    return copy_cursor(&s->ahead, &s->cursor, err);
}

static void note_failure(ship *s, weir_status st, const weir_err *err, int wait)
{
    (void)pthread_mutex_lock(&s->lock_counters);
    bool news = !s->counters.away || strcmp(s->counters.why, err->msg) != 0;
    s->counters.away = true;
    s->counters.retries++;
    (void)snprintf(s->counters.why, sizeof s->counters.why, "%s", err->msg);
    (void)pthread_mutex_unlock(&s->lock_counters);
    if (!news)
        return;
    char text[400];
    (void)snprintf(text, sizeof text, "%s: %s (%s; next try in %d s)", s->o.name, err->msg,
                   st == WEIR_EIO ? "what is not delivered waits in the archive"
                                  : "it will not work without a change",
                   (wait + 999) / 1000);
    say(s, true, text);
}

static bool is_over(const ship *s, bool more)
{
    return s->o.once && !more && !s->n_puts;
}

weir_status ship_run(ship *s, weir_err *err)
{
    int back_off = BACK_OFF_MS;
    bool was_idle = false;
    while (!stopping(s)) {
        bool more;
        weir_err why = {0};
        uint64_t before = s->counters.puts; /* written by this thread alone */
        weir_status st = one_round(s, &more, &why);
        if (st == WEIR_OK && (s->n_puts || !more))
            st = take_done(s, s->n_puts ? LOOK_MS : 0, &why);
        if (st == WEIR_END)
            break;
        if (s->counters.puts != before)
            back_off = BACK_OFF_MS;
        if (st != WEIR_OK) {
            int wait = st == WEIR_EIO ? back_off : REFUSED_MS;
            save(s, true);
            note_failure(s, st, &why, wait);
            if (s->o.once || st == WEIR_ENOMEM) {
                if (err)
                    *err = why;
                return st;
            }
            back_off = 2 * back_off < MOST_BACK_OFF_MS ? 2 * back_off : MOST_BACK_OFF_MS;
            WEIR_TRY(begin_again(s, err));
            wait_ms(s, wait);
            continue;
        }
        /* Twice in a row: a file may have been closed between two looks. */
        if (is_over(s, more) && was_idle)
            break;
        was_idle = is_over(s, more);
        if (!more && !s->n_puts && !s->o.once)
            wait_ms(s, LOOK_MS);
    }
    for (int64_t end = now_ns() + END_MS * (SECOND / 1000); s->n_puts && now_ns() < end;) {
        weir_err why;
        if (take_done(s, LOOK_MS, &why) != WEIR_OK)
            break;
    }
    save(s, true);
    return s->o.once && s->broken ? weir_err_set(err, WEIR_EFORMAT, 0,
                                                 "%llu files cannot be read and are not delivered "
                                                 "('weir archive verify' says more)",
                                                 (unsigned long long)s->broken)
                                  : WEIR_OK;
}

/* ---- open and close ---- */

weir_status ship_open(const struct ship_options *o, ship **out, weir_err *err)
{
    ship *s = calloc(1, sizeof *s);
    if (!s)
        return no_memory(err);
    s->o = *o;
    s->lock = -1;
    s->stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    atomic_init(&s->stopping, false);
    (void)pthread_mutex_init(&s->lock_counters, NULL);
    s->o.destination.stop = stopping;
    s->o.destination.log = destination_says;
    s->o.destination.user = s;
    s->o.destination.archive = s->id;
    weir_status st =
        s->stop_fd >= 0
            ? ship_source_new(o->archive, 1U << FLOW_TABLE_FLOWS | 1U << FLOW_TABLE_LEDGER,
                              &s->source, err)
            : no_memory(err);
    if (st == WEIR_OK)
        st = ship_names_new(o->archive, &s->names, err);
    if (st == WEIR_OK)
        st = archive_cursor_id(o->archive, s->id, err);
    if (st == WEIR_OK)
        st = o->ops->open(&s->o.destination, &s->destination, err);
    if (st == WEIR_OK)
        st = archive_cursor_lock(o->archive, o->name, &s->lock, err);
    if (st == WEIR_OK)
        st = read_cursor(s, err);
    if (st == WEIR_OK)
        st = copy_cursor(&s->ahead, &s->cursor, err);
    if (st != WEIR_OK) {
        ship_close(s);
        return st;
    }
    *out = s;
    return WEIR_OK;
}

void ship_stop(ship *s)
{
    uint64_t one = 1;
    int was = errno;
    atomic_store(&s->stopping, true);
    (void)!write(s->stop_fd, &one, sizeof one);
    errno = was;
}

void ship_read(ship *s, struct ship_counters *out)
{
    (void)pthread_mutex_lock(&s->lock_counters);
    *out = s->counters;
    (void)pthread_mutex_unlock(&s->lock_counters);
}

void ship_close(ship *s)
{
    if (!s)
        return;
    if (s->destination)
        s->o.ops->close(s->destination);
    for (int t = FLOW_TABLE_FLOWS; t < FLOW_N_TABLES; t++)
        columns_done(&s->columns[t]);
    ship_names_free(s->names);
    ship_source_free(s->source);
    archive_cursor_done(&s->cursor);
    archive_cursor_done(&s->ahead);
    if (s->lock >= 0)
        (void)close(s->lock);
    if (s->stop_fd >= 0)
        (void)close(s->stop_fd);
    (void)pthread_mutex_destroy(&s->lock_counters);
    free(s->complained);
    free(s);
}
