#include "ship/status.h"

#include "archive/layout.h"
#include "base/text.h"
#include "parquet/reader.h"
#include "query/follow.h"
#include "ship/source.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

/* ---- what waits ---- */

/* Arrival of a file's first row by its metadata, else by its name. */
static int64_t begin_of(const struct ship_file *f, const struct ship_parts *p)
{
    const char *text = p->n ? parquet_key_value_find(p->parts[0].file, "weir.received_min") : NULL;
    struct tm tm = {0};
    if (text && strptime(text, "%Y-%m-%dT%H:%M:%S", &tm))
        return timegm(&tm) * INT64_C(1000000);
    struct archive_name name;
    archive_name_parse(f->name, &name);
    return name.time_ns / 1000;
}

/* Arrival of row `row`, 0: not known. */
static int64_t received_at(const struct ship_parts *p, uint64_t row)
{
    const struct query_field field = query_field_column(FLOW_received);
    const struct query_follow_options o = {.fields = &field, .n_fields = 1};
    struct query_follow_rows r = {0};
    query_follow *follow;
    weir_err err;
    int64_t at = 0;
    size_t i = 0;
    while (i < p->n && row >= parquet_n_rows(p->parts[i].file))
        row -= parquet_n_rows(p->parts[i++].file);
    if (i == p->n || query_follow_new(&o, &follow, &err) != WEIR_OK)
        return 0;
    query_follow_open(follow, p->parts[i].file, row);
    if (query_follow_next(follow, 1, &r, &err) == WEIR_OK && r.block.n == 1) {
        const struct query_vec *v = r.block.vecs;
        if (v->kind == QUERY_TIME && v->num && (!v->valid || (v->valid[0] & 1)))
            at = (int64_t)v->num[0];
    }
    query_follow_free(follow);
    return at;
}

static void add_file(const archive_cursor *c, const struct ship_file *f, struct ship_lag *out)
{
    struct ship_parts p;
    struct stat st;
    weir_err why;
    weir_status one = ship_parts_open(&p, f, &why);
    if (one == WEIR_ENOTFOUND)
        return;
    if (one != WEIR_OK) {
        out->damaged_files++;
        return;
    }
    uint64_t done = archive_cursor_of(c, f->table, f->name).rows;
    if (p.rows > done) {
        int64_t begin = begin_of(f, &p);
        /* Of a file that is half done the rows that wait are younger than its first one. */
        if (done && (!out->oldest_us || begin < out->oldest_us)) {
            int64_t at = received_at(&p, done);
            begin = at > begin ? at : begin;
        }
        out->files++;
        out->rows += p.rows - done;
        if (stat(f->path, &st) == 0)
            out->octets += (uint64_t)st.st_size;
        if (!out->oldest_us || begin < out->oldest_us)
            out->oldest_us = begin;
    }
    ship_parts_done(&p);
}

weir_status ship_lag_of(const char *archive, const archive_cursor *c, struct ship_lag *out,
                        weir_err *err)
{
    ship_source *s;
    const struct ship_file *files;
    size_t n;
    *out = (struct ship_lag){0};
    WEIR_TRY(ship_source_new(archive, 1U << FLOW_TABLE_FLOWS, &s, err));
    weir_status st = ship_source_look(s, c, true, &files, &n, err);
    for (size_t i = 0; st == WEIR_OK && i < n; i++)
        add_file(c, &files[i], out);
    ship_source_free(s);
    return st;
}

/* ---- all there is to say of a destination ---- */

weir_status ship_status_of(const char *archive, const char *name, struct ship_status *out,
                           weir_err *err)
{
    archive_cursor c = {0};
    struct stat st;
    char *path = NULL;
    *out = (struct ship_status){.now_us = (int64_t)time(NULL) * 1000000};
    (void)snprintf(out->name, sizeof out->name, "%s", name);
    weir_status s = archive_cursor_read(archive, name, &c, &out->damaged, err);
    if (s == WEIR_OK)
        s = ship_lag_of(archive, &c, &out->lag, err);
    if (s == WEIR_OK) {
        out->running = archive_cursor_locked(archive, name);
        out->hold = c.hold;
        out->destination = c.destination;
        c.destination = NULL;
        if (asprintf(&path, "%s/ship/%s.cursor", archive, name) < 0)
            path = NULL;
        if (path && stat(path, &st) == 0)
            out->written_us = st.st_mtim.tv_sec * INT64_C(1000000) + st.st_mtim.tv_nsec / 1000;
        free(path);
    }
    archive_cursor_done(&c);
    return s;
}

void ship_status_done(struct ship_status *s)
{
    free(s->destination);
    s->destination = NULL;
}

double ship_status_lag(const struct ship_status *s)
{
    if (!s->lag.rows)
        return 0;
    if (!s->lag.oldest_us)
        return -1;
    return s->now_us > s->lag.oldest_us ? (double)(s->now_us - s->lag.oldest_us) / 1e6 : 0;
}

static void put_json(base_buf *b, const char *name, const char *text)
{
    base_buf_printf(b, "\"%s\":", name);
    base_json_string(b, text, strlen(text), false);
}

void ship_status_json(const struct ship_status *s, base_buf *b)
{
    double lag = ship_status_lag(s);
    base_buf_char(b, '{');
    put_json(b, "name", s->name);
    base_buf_char(b, ',');
    put_json(b, "destination", s->destination ? s->destination : "");
    base_buf_printf(b,
                    ",\"running\":%s,\"rows_waiting\":%" PRIu64 ",\"files_waiting\":%" PRIu64
                    ",\"octets_waiting\":%" PRIu64 ",\"hold\":%" PRIu64,
                    s->running ? "true" : "false", s->lag.rows, s->lag.files, s->lag.octets,
                    s->hold);
    if (lag >= 0)
        base_buf_printf(b, ",\"lag_s\":%.3f", lag);
    else
        base_buf_str(b, ",\"lag_s\":null");
    if (s->written_us)
        base_buf_printf(b, ",\"cursor_written\":%" PRId64, s->written_us / 1000000);
    base_buf_printf(b, ",\"cursor_damaged\":%s,\"damaged_files\":%" PRIu64 "}\n",
                    s->damaged ? "true" : "false", s->lag.damaged_files);
}

static void put_words(const struct ship_status *s, base_buf *b)
{
    double lag = ship_status_lag(s);
    base_buf_str(b, s->running ? "running; " : "not running; ");
    if (!s->lag.rows)
        base_buf_str(b, "all rows delivered");
    else
        base_buf_printf(b, "%" PRIu64 " rows of %" PRIu64 " files wait (%.1f MB of files)",
                        s->lag.rows, s->lag.files, (double)s->lag.octets / 1e6);
    if (lag > 0)
        base_buf_printf(b, ", the oldest for %.0f s or less", lag);
    if (s->hold)
        base_buf_printf(b, "; expiry leaves up to %.1f MB", (double)s->hold / 1e6);
    if (s->lag.damaged_files)
        base_buf_printf(b, "; %" PRIu64 " files that cannot be read are not among them",
                        s->lag.damaged_files);
    base_buf_str(b,
                 s->damaged ? "; the newest cursor is damaged, the one before it counts\n" : "\n");
}

void ship_status_line(const struct ship_status *s, base_buf *b)
{
    base_buf_printf(b, "%s: ", s->name);
    put_words(s, b);
}

void ship_status_text(const struct ship_status *s, base_buf *b)
{
    base_buf_printf(b, "%s: %s\n  ", s->name, s->destination ? s->destination : "");
    put_words(s, b);
}

/* ---- Prometheus ---- */

enum metric {
    M_RUNNING,
    M_ROWS,
    M_FILES,
    M_OCTETS,
    M_LAG,
    M_HOLD,
    M_WRITTEN,
    M_CURSOR_DAMAGED,
    M_DAMAGED,
    M_DELIVERED,
    M_BATCHES,
    M_FAILURES,
    M_AWAY,
    N_METRICS
};

/* clang-format off */
static const struct {
    const char *name, *type, *help;
} metrics[N_METRICS] = {
    {"running", "gauge", "A process delivers to the destination."},
    {"waiting_rows", "gauge", "Flows of the archive that are not delivered."},
    {"waiting_files", "gauge", "Files of the archive that they are in."},
    {"waiting_bytes", "gauge", "Size of these files."},
    {"lag_seconds", "gauge", "How long the oldest of these flows has been waiting at most."},
    {"hold_bytes", "gauge", "So much expiry leaves for the destination (--hold)."},
    {"cursor_written_timestamp_seconds", "gauge", "When progress was noted last."},
    {"cursor_damaged", "gauge", "The newest cursor is damaged, the one before it counts."},
    {"damaged_files", "gauge", "Files that cannot be read; their flows are not counted as waiting."},
    {"delivered_rows_total", "counter", "Flows delivered since the process began."},
    {"delivered_batches_total", "counter", "Batches delivered since the process began."},
    {"failures_total", "counter", "Times that the destination failed since the process began."},
    {"away", "gauge", "The destination fails now."},
};
/* clang-format on */

static bool value_of(const struct ship_status *s, const struct ship_counters *c, enum metric m,
                     double *out)
{
    static const struct ship_counters none;
    bool counted = c != NULL;
    if (!c)
        c = &none;
    switch (m) {
    case M_RUNNING:
        *out = s->running;
        return true;
    case M_ROWS:
        *out = (double)s->lag.rows;
        return true;
    case M_FILES:
        *out = (double)s->lag.files;
        return true;
    case M_OCTETS:
        *out = (double)s->lag.octets;
        return true;
    case M_LAG:
        *out = ship_status_lag(s);
        return *out >= 0;
    case M_HOLD:
        *out = (double)s->hold;
        return true;
    case M_WRITTEN:
        *out = (double)s->written_us / 1e6;
        return s->written_us != 0;
    case M_CURSOR_DAMAGED:
        *out = s->damaged;
        return true;
    case M_DAMAGED:
        *out = (double)s->lag.damaged_files;
        return true;
    case M_DELIVERED:
        *out = (double)c->rows;
        return counted;
    case M_BATCHES:
        *out = (double)c->puts;
        return counted;
    case M_FAILURES:
        *out = (double)c->retries;
        return counted;
    case M_AWAY:
        *out = c->away;
        return counted;
    case N_METRICS:
        break;
    }
    return false;
}

static void put_label(base_buf *b, const char *name, const char *text)
{
    base_buf_printf(b, "%s=\"", name);
    for (const char *p = text; *p; p++) {
        if (*p == '\\' || *p == '"')
            base_buf_char(b, '\\');
        base_buf_char(b, *p == '\n' ? ' ' : *p);
    }
    base_buf_char(b, '"');
}

void ship_status_metrics(const struct ship_status *s, const struct ship_counters *const *counters,
                         size_t n, base_buf *b)
{
    for (int m = 0; m < N_METRICS; m++) {
        bool begun = false;
        for (size_t i = 0; i < n; i++) {
            double v;
            if (!value_of(&s[i], counters ? counters[i] : NULL, (enum metric)m, &v))
                continue;
            if (!begun)
                base_buf_printf(b, "# HELP weir_ship_%s %s\n# TYPE weir_ship_%s %s\n",
                                metrics[m].name, metrics[m].help, metrics[m].name, metrics[m].type);
            begun = true;
            base_buf_printf(b, "weir_ship_%s{", metrics[m].name);
            put_label(b, "name", s[i].name);
            base_buf_char(b, ',');
            put_label(b, "destination", s[i].destination ? s[i].destination : "");
            base_buf_printf(b, "} %.*f\n", m == M_LAG || m == M_WRITTEN ? 3 : 0, v);
        }
    }
}
