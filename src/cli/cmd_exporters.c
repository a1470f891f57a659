/* exporters -- who sends, how much, and what of it is missing, by the ledger of an archive. */
#include "cli/cmd.h"

#include "analyze/names.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "base/text.h"
#include "ledger/exporters.h"
#include "query/cells.h"
#include "query/filter.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct exporters_args {
    struct opt_strs archive;
    const char *window, *by, *order, *format;
    uint64_t rows, watch;
    bool resolve, utc, plain, no_color;
};

#define DEFAULT_DIR "archive"

static int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* --- what is shown of an exporter ----------------------------------------------------------------- */

static void put_address(base_buf *b, const struct ledger_exporter *e)
{
    if (!e->exporter_len) {
        base_buf_char(b, '-');
        return;
    }
    bool brackets = e->exporter_port && e->exporter_len == 16;
    base_buf_str(b, brackets ? "[" : "");
    flow_key_text(FLOW_TYPE_ADDR, e->exporter, e->exporter_len, b);
    base_buf_str(b, brackets ? "]" : "");
    if (e->exporter_port)
        base_buf_printf(b, ":%u", (unsigned)e->exporter_port);
}

static void put_versions(base_buf *b, const struct ledger_exporter *e)
{
    const char *before = "";
    for (unsigned v = 0; v < 32; v++)
        if (e->versions >> v & 1) {
            base_buf_printf(b, v == 10 ? "%sIPFIX" : "%sv%u", before, v);
            before = ",";
        }
}

static void put_scaled(base_buf *b, uint64_t v, bool plain)
{
    char text[40];
    base_buf_add(b, text, query_scaled_text(text, v, plain));
}

static void put_rate(base_buf *b, double v)
{
    base_buf_printf(b, !(v > 0) || v >= 9.95 ? "%.0f" : v < 0.95 ? "%.2f" : "%.1f", v);
}

static void put_time(base_buf *b, int64_t us, bool utc)
{
    time_t t = (time_t)(us / 1000000 - (us % 1000000 < 0));
    struct tm tm = {0};
    char text[64];
    if (utc ? !gmtime_r(&t, &tm) : !localtime_r(&t, &tm))
        return;
    base_buf_add(b, text, strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &tm));
}

static void put_span(base_buf *b, int64_t us)
{
    int64_t s = us / 1000000, m = s / 60, h = m / 60;
    if (h >= 48)
        base_buf_printf(b, "%lld d %lld h", (long long)(h / 24), (long long)(h % 24));
    else if (h)
        base_buf_printf(b, "%lld h %lld min", (long long)h, (long long)(m % 60));
    else if (m)
        base_buf_printf(b, "%lld min %lld s", (long long)m, (long long)(s % 60));
    else
        base_buf_printf(b, "%lld s", (long long)s);
}

static uint64_t count(const struct ledger_exporter *e, enum flow_ledger_id c)
{
    return ledger_count(&e->sum, c);
}

static uint64_t not_below_0(const struct ledger_exporter *e, enum flow_ledger_id c)
{
    int64_t v = ledger_signed(&e->sum, c);
    return v > 0 ? (uint64_t)v : 0;
}

/* Where the sampling rate came from; NULL: nobody knows it. */
static const char *source_of(const struct ledger_exporter *e)
{
    const char *source = ledger_has(&e->sum, FLOW_LEDGER_sampling_source)
                             ? e->sum.values[FLOW_LEDGER_sampling_source].text
                             : NULL;
    return source && strcmp(source, "unknown") != 0 &&
                   ledger_has(&e->sum, FLOW_LEDGER_sampling_rate)
               ? source
               : NULL;
}

static void put_sampling(base_buf *b, const struct ledger_exporter *e)
{
    if (e->rate_varies) {
        base_buf_str(b, "varies");
        return;
    }
    const char *source = source_of(e);
    if (!source)
        return;
    double rate = e->sum.values[FLOW_LEDGER_sampling_rate].f64;
    base_buf_printf(b, rate > 0 ? "1:%.10g %s" : "%.10g %s", rate, source);
}

/* Never 0 % where something is missing. */
static void put_loss(base_buf *b, const struct ledger_exporter *e, bool plain)
{
    double percent = 100 * (1 - e->share);
    if (!(e->lost > 0)) {
        base_buf_str(b, e->numbered || !count(e, FLOW_LEDGER_flows) ? "0" : "unknown");
        return;
    }
    if (percent < 0.01)
        base_buf_str(b, "<0.01 % ");
    else
        base_buf_printf(b, "%.2f %% ", percent);
    base_buf_str(b, e->estimated ? "about " : "");
    put_scaled(b,
               e->lost < 1      ? 1
               : e->lost < 1e18 ? (uint64_t)llround(e->lost)
                                : UINT64_MAX,
               plain);
}

static void put_skew(base_buf *b, const struct ledger_exporter *e)
{
    /* The packet that was under way the shortest tells the clock best. */
    double s = ledger_has(&e->sum, FLOW_LEDGER_clock_skew_max)
                   ? (double)e->sum.values[FLOW_LEDGER_clock_skew_max].s64 / 1e6
                   : 0;
    if (fabs(s) >= 1)
        base_buf_printf(b, fabs(s) < 100 ? "%+.1f s" : "%+.0f s", s);
}

static enum ledger_severity put_warnings(base_buf *b, const ledger_finding *const *f, size_t n,
                                         enum ledger_severity least)
{
    enum ledger_severity worst = LEDGER_INFO;
    const char *before = "";
    for (size_t i = 0; i < n; i++) {
        if (f[i]->severity < least)
            continue;
        base_buf_printf(b, "%s%s", before, ledger_finding_short(f[i]->id));
        before = ", ";
        worst = f[i]->severity > worst ? f[i]->severity : worst;
    }
    return worst;
}

/* --- a table for people --------------------------------------------------------------------------- */

enum column {
    COLUMN_EXPORTER,
    COLUMN_VERSION,
    COLUMN_DOMAIN,
    COLUMN_FLOWS,
    COLUMN_PACKETS,
    COLUMN_FLOW_RATE,
    COLUMN_PACKET_RATE,
    COLUMN_TEMPLATES,
    COLUMN_SAMPLING,
    COLUMN_LOSS,
    COLUMN_DUPLICATES,
    COLUMN_SKEW,
    COLUMN_WAITING,
    COLUMN_EXPIRED,
    COLUMN_DROPPED,
    COLUMN_FIRST,
    COLUMN_LAST,
    COLUMN_WARNINGS,
    N_COLUMNS
};

static const struct {
    const char *title;
    bool right;
} columns[N_COLUMNS] = {
    [COLUMN_EXPORTER] = {"EXPORTER", false},    [COLUMN_VERSION] = {"VERSION", false},
    [COLUMN_DOMAIN] = {"DOMAIN", true},         [COLUMN_FLOWS] = {"FLOWS", true},
    [COLUMN_PACKETS] = {"PACKETS", true},       [COLUMN_FLOW_RATE] = {"FLOWS/S", true},
    [COLUMN_PACKET_RATE] = {"PACKETS/S", true}, [COLUMN_TEMPLATES] = {"TEMPLATES", true},
    [COLUMN_SAMPLING] = {"SAMPLING", false},    [COLUMN_LOSS] = {"LOST FLOWS", false},
    [COLUMN_DUPLICATES] = {"TWICE", true},      [COLUMN_SKEW] = {"CLOCK", true},
    [COLUMN_WAITING] = {"WAITING", true},       [COLUMN_EXPIRED] = {"EXPIRED", true},
    [COLUMN_DROPPED] = {"DROPPED", true},       [COLUMN_FIRST] = {"FIRST SEEN", false},
    [COLUMN_LAST] = {"LAST SEEN", false},       [COLUMN_WARNINGS] = {"WARNINGS", false},
};

struct show {
    const struct exporters_args *args;
    const ledger_exporters *all;
    names *hosts; /* NULL: addresses */
    size_t n;     /* exporters to show */
    bool color;
};

static const char *name_of(const struct show *s, const struct ledger_exporter *e)
{
    return s->hosts && e->exporter_len
               ? names_get(s->hosts, e->exporter, e->exporter_len == 4 ? 4 : 6)
               : NULL;
}

static void put_unless_0(base_buf *b, uint64_t v, bool plain)
{
    if (v)
        put_scaled(b, v, plain);
}

static void put_cell(const struct show *s, const struct ledger_exporter *e, enum column c,
                     base_buf *b, enum ledger_severity *severity)
{
    bool plain = s->args->plain;
    const char *name;
    switch (c) {
    case COLUMN_EXPORTER:
        name = name_of(s, e);
        if (name)
            query_text_safe(b, name, strlen(name));
        else
            put_address(b, e);
        break;
    case COLUMN_VERSION:
        put_versions(b, e);
        break;
    case COLUMN_DOMAIN:
        if (e->n_domains == 1)
            base_buf_printf(b, "%" PRIu32, e->domain);
        else if (e->n_domains)
            base_buf_printf(b, "%" PRIu32 " of them", e->n_domains);
        break;
    case COLUMN_FLOWS:
        put_scaled(b, count(e, FLOW_LEDGER_flows), plain);
        break;
    case COLUMN_PACKETS:
        put_scaled(b, count(e, FLOW_LEDGER_packets), plain);
        break;
    case COLUMN_FLOW_RATE:
        put_rate(b, e->flows_a_second);
        break;
    case COLUMN_PACKET_RATE:
        put_rate(b, e->packets_a_second);
        break;
    case COLUMN_TEMPLATES:
        if (e->versions >> 9 & 3)
            base_buf_printf(b, "%" PRIu64, e->templates);
        break;
    case COLUMN_SAMPLING:
        put_sampling(b, e);
        break;
    case COLUMN_LOSS:
        put_loss(b, e, plain);
        break;
    case COLUMN_DUPLICATES:
        put_unless_0(b, not_below_0(e, FLOW_LEDGER_sequence_duplicated), plain);
        break;
    case COLUMN_SKEW:
        put_skew(b, e);
        break;
    case COLUMN_WAITING:
        put_unless_0(b, not_below_0(e, FLOW_LEDGER_waiting), plain);
        break;
    case COLUMN_EXPIRED:
        put_unless_0(b, count(e, FLOW_LEDGER_expired), plain);
        break;
    case COLUMN_DROPPED:
        put_unless_0(b, count(e, FLOW_LEDGER_packets_dropped), plain);
        break;
    case COLUMN_FIRST:
        put_time(b, e->first_us, s->args->utc);
        break;
    case COLUMN_LAST:
        put_time(b, e->last_us, s->args->utc);
        break;
    case COLUMN_WARNINGS:
        *severity = put_warnings(b, e->warnings, e->n_warnings, LEDGER_WARNING);
        break;
    case N_COLUMNS:
        break;
    }
}

/* Columns in which no exporter has anything are left out. */
static bool put_table(const struct show *s, base_buf *out)
{
    size_t *ends = calloc(s->n * N_COLUMNS + 1, sizeof *ends), width[N_COLUMNS] = {0}, at = 0;
    enum ledger_severity *severity = calloc(s->n + 1, sizeof *severity);
    base_buf cells = {0};
    for (size_t i = 0; ends && severity && i < s->n; i++)
        for (int c = 0; c < N_COLUMNS; c++, at++) {
            size_t before = cells.len;
            put_cell(s, ledger_exporters_at(s->all, i), (enum column)c, &cells, &severity[i]);
            ends[at] = cells.len;
            width[c] = cells.len - before > width[c] ? cells.len - before : width[c];
        }
    bool good = ends && severity && !cells.failed;
    static const char *const paint[] = {"", "\033[33m", "\033[31m"};
    for (size_t row = 0; good && row <= s->n; row++) { /* row 0: titles */
        const char *gap = row ? "" : s->color ? "\033[1m" : "";
        size_t blanks = 0;
        for (int c = 0; c < N_COLUMNS; c++) {
            size_t title = strlen(columns[c].title),
                   i = row ? (row - 1) * N_COLUMNS + (size_t)c : 0,
                   from = row && i ? ends[i - 1] : 0, len = row ? ends[i] - from : title;
            const char *text = row ? cells.data + from : columns[c].title;
            bool painted = row && s->color && c == COLUMN_WARNINGS && len;
            if (!width[c])
                continue;
            size_t wide = width[c] > title ? width[c] : title, pad = wide - len;
            base_buf_str(out, gap);
            gap = "";
            if (len)
                base_buf_printf(out, "%*s", (int)(blanks + (columns[c].right ? pad : 0)), "");
            base_buf_str(out, painted ? paint[severity[row - 1]] : "");
            base_buf_add(out, text, len);
            base_buf_str(out, painted ? "\033[0m" : "");
            blanks = len ? 2 + (columns[c].right ? 0 : pad) : blanks + wide + 2;
        }
        base_buf_str(out, row == 0 && s->color ? "\033[0m\n" : "\n");
    }
    base_buf_done(&cells);
    free(ends);
    free(severity);
    return good;
}

static void put_collector(const struct show *s, base_buf *out)
{
    const struct ledger_collector *c = ledger_exporters_collector(s->all);
    base_buf_str(out, "\nCollector: ");
    if (c->workers) {
        base_buf_str(out, "listened ");
        put_span(out, (int64_t)c->listened_us);
        base_buf_str(out, " of ");
        put_span(out, c->last_us - c->first_us);
        if (c->workers > 1)
            base_buf_printf(out, " with %" PRIu64 " workers", c->workers);
    } else {
        base_buf_str(out, "captures, nothing received");
    }
    base_buf_str(out, ", ");
    put_time(out, c->first_us, s->args->utc);
    base_buf_str(out, " to ");
    put_time(out, c->last_us, s->args->utc);
    base_buf_printf(out,
                    "; packets %" PRIu64 ", dropped by the kernel %" PRIu64
                    ", by the queue %" PRIu64 ", refused %" PRIu64 "; flows %" PRIu64
                    ", not stored %" PRIu64 "\n",
                    c->packets, ledger_count(&c->sum, FLOW_LEDGER_kernel_drops), c->packets_dropped,
                    c->packets_refused, c->flows, c->flows_lost);
    base_buf words = {0};
    enum ledger_severity worst = put_warnings(&words, c->warnings, c->n_warnings, LEDGER_WARNING);
    if (words.len && !words.failed)
        base_buf_printf(out, "%sCollector: %.*s%s\n",
                        !s->color               ? ""
                        : worst == LEDGER_ERROR ? "\033[31m"
                                                : "\033[33m",
                        (int)words.len, words.data, s->color ? "\033[0m" : "");
    base_buf_done(&words);
    if (c->left_out)
        base_buf_printf(out, "Rows of further streams that were not looked at: %" PRIu64 "\n",
                        c->left_out);
}

/* --- for programs ----------------------------------------------------------------------------------- */

/* Fields one after the other, as members of an object or as CSV: names: the head line. */
struct emit {
    base_buf *out;
    bool names, csv, first;
};

static void emit(struct emit *e, const char *name, const base_buf *value)
{
    base_buf_str(e->out, e->first ? "" : ",");
    e->first = false;
    if (e->names && e->csv)
        base_buf_str(e->out, name);
    else if (!e->csv)
        base_buf_printf(e->out, "\"%s\":", name);
    if (!(e->names && e->csv))
        base_buf_add(e->out, value->data, value->len);
}

static void emit_u64(struct emit *e, const char *name, uint64_t v)
{
    base_buf b = {0};
    base_buf_printf(&b, "%" PRIu64, v);
    emit(e, name, &b);
    base_buf_done(&b);
}

static void emit_f64(struct emit *e, const char *name, double v, bool there)
{
    base_buf b = {0};
    if (there && v - v == 0 && v - floor(v) <= 0 && fabs(v) < 1e15)
        base_buf_printf(&b, "%.0f", v);
    else if (there)
        base_json_f64(&b, v);
    else
        base_buf_str(&b, e->csv ? "" : "null");
    emit(e, name, &b);
    base_buf_done(&b);
}

/* text NULL: none. */
static void emit_text(struct emit *e, const char *name, const char *text, size_t len)
{
    base_buf b = {0};
    if (text && !e->csv) {
        base_json_string(&b, text, len, false);
    } else if (text && memchr(text, ',', len)) {
        base_buf_printf(&b, "\"%.*s\"", (int)len, text); /* none of ours has quotes inside */
    } else if (text) {
        base_buf_add(&b, text, len);
    } else {
        base_buf_str(&b, e->csv ? "" : "null");
    }
    emit(e, name, &b);
    base_buf_done(&b);
}

static void emit_time(struct emit *e, const char *name, int64_t us)
{
    char text[BASE_TIME_TEXT];
    bool there = us > INT64_MIN / 1000 && us < INT64_MAX / 1000;
    emit_text(e, name, there ? text : NULL, there ? base_time_text(text, us * 1000, 6) : 0);
}

static void emit_s64(struct emit *e, const char *name, const struct ledger_row *r,
                     enum flow_ledger_id c)
{
    emit_f64(e, name, (double)ledger_signed(r, c), ledger_has(r, c));
}

static void emit_findings(struct emit *e, const ledger_finding *const *f, size_t n)
{
    base_buf b = {0};
    base_buf_str(&b, e->csv ? "" : "[");
    for (size_t i = 0; i < n; i++)
        base_buf_printf(&b, e->csv ? "%s%s" : "%s\"%s\"",
                        !i       ? ""
                        : e->csv ? " "
                                 : ",",
                        ledger_finding_name(f[i]->id));
    base_buf_str(&b, e->csv ? "" : "]");
    emit(e, "warnings", &b);
    base_buf_done(&b);
}

static void emit_exporter(struct emit *e, const struct show *s, const struct ledger_exporter *x)
{
    base_buf b = {0};
    const char *name = x ? name_of(s, x) : NULL, *source;
    static const struct ledger_exporter none = {0};
    x = x ? x : &none;
    if (x->exporter_len)
        flow_key_text(FLOW_TYPE_ADDR, x->exporter, x->exporter_len, &b);
    emit_text(e, "exporter", b.len ? b.data : NULL, b.len);
    base_buf_reset(&b);
    emit_f64(e, "exporter_port", x->exporter_port, x->exporter_port != 0);
    emit_text(e, "name", name, name ? strlen(name) : 0);
    base_buf_str(&b, e->csv ? "" : "[");
    const char *before = "";
    for (unsigned v = 0; v < 32; v++)
        if (x->versions >> v & 1) {
            base_buf_printf(&b, "%s%u", before, v);
            before = e->csv ? " " : ",";
        }
    base_buf_str(&b, e->csv ? "" : "]");
    emit(e, "versions", &b);
    base_buf_done(&b);
    emit_u64(e, "domains", x->n_domains);
    emit_f64(e, "domain", x->domain, x->has_domain);
    emit_time(e, "first", x->first_us);
    emit_time(e, "last", x->last_us);
    emit_u64(e, "flows", count(x, FLOW_LEDGER_flows));
    emit_u64(e, "packets", count(x, FLOW_LEDGER_packets));
    emit_u64(e, "octets", count(x, FLOW_LEDGER_octets));
    emit_u64(e, "options", count(x, FLOW_LEDGER_options));
    emit_f64(e, "flows_per_second", x->flows_a_second, true);
    emit_f64(e, "packets_per_second", x->packets_a_second, true);
    emit_u64(e, "templates", x->templates);
    source = x->rate_varies ? NULL : source_of(x);
    emit_f64(e, "sampling_rate", source ? x->sum.values[FLOW_LEDGER_sampling_rate].f64 : 0, source);
    emit_text(e, "sampling_source", source, source ? strlen(source) : 0);
    emit_f64(e, "lost_flows", x->lost, x->lost > 0 || x->numbered);
    emit_f64(e, "share", x->share, x->share <= 1 && (x->lost > 0 || x->numbered));
    base_buf estimated = {0};
    base_buf_str(&estimated, x->estimated ? "true" : "false");
    emit(e, "estimated", &estimated);
    base_buf_done(&estimated);
    emit_f64(e, "sequence_lost", (double)ledger_signed(&x->sum, FLOW_LEDGER_sequence_lost), true);
    emit_u64(e, "duplicates", not_below_0(x, FLOW_LEDGER_sequence_duplicated));
    emit_u64(e, "out_of_order", count(x, FLOW_LEDGER_sequence_out_of_order));
    emit_u64(e, "restarts", count(x, FLOW_LEDGER_restarts));
    emit_u64(e, "waiting", not_below_0(x, FLOW_LEDGER_waiting));
    emit_u64(e, "decoded", count(x, FLOW_LEDGER_decoded));
    emit_u64(e, "expired", count(x, FLOW_LEDGER_expired));
    uint64_t rejected = 0;
    for (enum flow_ledger_id c = FLOW_LEDGER_rejected_unknown_version;
         c <= FLOW_LEDGER_rejected_out_of_memory; c++)
        rejected += count(x, c);
    emit_u64(e, "packets_rejected", rejected);
    emit_u64(e, "packets_dropped", count(x, FLOW_LEDGER_packets_dropped));
    emit_u64(e, "packets_refused", count(x, FLOW_LEDGER_packets_refused));
    emit_u64(e, "flows_lost", count(x, FLOW_LEDGER_flows_lost));
    emit_u64(e, "records_rejected", count(x, FLOW_LEDGER_records_rejected));
    emit_s64(e, "clock_skew_min_us", &x->sum, FLOW_LEDGER_clock_skew_min);
    emit_s64(e, "clock_skew_max_us", &x->sum, FLOW_LEDGER_clock_skew_max);
    emit_findings(e, x->warnings, x->n_warnings);
}

static void put_csv(const struct show *s, base_buf *out)
{
    emit_exporter(&(struct emit){.out = out, .csv = true, .names = true, .first = true}, s, NULL);
    base_buf_char(out, '\n');
    for (size_t i = 0; i < s->n; i++) {
        emit_exporter(&(struct emit){.out = out, .csv = true, .first = true}, s,
                      ledger_exporters_at(s->all, i));
        base_buf_char(out, '\n');
    }
}

static void put_json(const struct show *s, base_buf *out)
{
    const struct ledger_collector *c = ledger_exporters_collector(s->all);
    struct emit e = {.out = out, .first = true};
    base_buf_str(out, "{\"collector\":{");
    if (c->last_us > c->first_us) {
        emit_time(&e, "first", c->first_us);
        emit_time(&e, "last", c->last_us);
    }
    emit_u64(&e, "workers", c->workers);
    emit_u64(&e, "listened_us", ledger_count(&c->sum, FLOW_LEDGER_listened));
    emit_u64(&e, "packets", c->packets);
    emit_u64(&e, "flows", c->flows);
    emit_u64(&e, "kernel_drops", ledger_count(&c->sum, FLOW_LEDGER_kernel_drops));
    emit_u64(&e, "packets_dropped", c->packets_dropped);
    emit_u64(&e, "packets_refused", c->packets_refused);
    emit_u64(&e, "flows_lost", c->flows_lost);
    emit_u64(&e, "receive_errors", ledger_count(&c->sum, FLOW_LEDGER_receive_errors));
    emit_s64(&e, "receive_buffer", &c->sum, FLOW_LEDGER_receive_buffer);
    emit_u64(&e, "rows_left_out", c->left_out);
    emit_findings(&e, c->warnings, c->n_warnings);
    base_buf_str(out, "},\"exporters\":[");
    for (size_t i = 0; i < s->n; i++) {
        base_buf_str(out, i ? ",\n{" : "\n{");
        emit_exporter(&(struct emit){.out = out, .first = true}, s, ledger_exporters_at(s->all, i));
        base_buf_char(out, '}');
    }
    base_buf_str(out, "]}\n");
}

/* --- running ---------------------------------------------------------------------------------------- */

static bool colors_wanted(const struct exporters_args *a)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    return !a->no_color && isatty(STDOUT_FILENO) && !(no && *no) && term && *term &&
           strcmp(term, "dumb") != 0;
}

static void ask_names(struct show *s)
{
    for (size_t i = 0; i < s->n; i++) {
        const struct ledger_exporter *e = ledger_exporters_at(s->all, i);
        if (e->exporter_len)
            names_want(s->hosts, e->exporter, e->exporter_len == 4 ? 4 : 6);
    }
    names_wait(s->hosts);
}

static int show(const struct exporters_args *a, const ledger_exporters *x, names *hosts)
{
    size_t n = ledger_exporters_count(x);
    struct show s = {.args = a,
                     .all = x,
                     .hosts = hosts,
                     .n = a->rows && a->rows < n ? (size_t)a->rows : n,
                     .color = colors_wanted(a)};
    base_buf out = {0};
    bool good = true;
    if (hosts)
        ask_names(&s);
    if (a->watch && isatty(STDOUT_FILENO))
        base_buf_str(&out, "\033[H\033[J");
    if (strcmp(a->format, "json") == 0) {
        put_json(&s, &out);
    } else if (strcmp(a->format, "csv") == 0) {
        put_csv(&s, &out);
    } else {
        good = put_table(&s, &out);
        if (n > s.n)
            base_buf_printf(&out, "... and %zu more\n", n - s.n);
        put_collector(&s, &out);
    }
    int status = 0;
    if (!good || out.failed) {
        log_error("out of memory");
        status = 1;
    } else if ((fwrite(out.data, 1, out.len, stdout) != out.len || fflush(stdout) != 0) &&
               errno != EPIPE) {
        log_error("cannot write to standard output: %s", strerror(errno));
        status = 1;
    }
    base_buf_done(&out);
    return status;
}

static enum ledger_order order_of(const char *word)
{
    return strcmp(word, "loss") == 0    ? LEDGER_ORDER_LOSS
           : strcmp(word, "last") == 0  ? LEDGER_ORDER_LAST
           : strcmp(word, "flows") == 0 ? LEDGER_ORDER_FLOWS
                                        : LEDGER_ORDER_ADDRESS;
}

/* Read and show once. */
static int look(const struct exporters_args *a, const char *const *dirs, size_t n, names *hosts)
{
    struct ledger_range range = {.from_us = INT64_MIN, .to_us = INT64_MAX, .by_worker = true};
    weir_err err = {0};
    int status = 0;
    if (a->window &&
        query_window_parse(a->window, now_us(), &range.from_us, &range.to_us, &err) != WEIR_OK)
        return opt_usage(&cmd_exporters, "-t: %s", err.msg);
    ledger_exporters *x = ledger_exporters_new(strcmp(a->by, "domain") == 0);
    weir_status st = x ? ledger_each(dirs, n, &range, ledger_exporters_row, x, &err) : WEIR_ENOMEM;
    for (size_t i = 0; x && i < n && st != WEIR_ENOMEM; i++)
        if (ledger_findings_archive(ledger_exporters_findings(x), dirs[i], &range, &err) != WEIR_OK)
            st = WEIR_ENOMEM;
    if (st != WEIR_OK) {
        log_error("%s", x ? err.msg : "out of memory");
        status = 1;
    }
    if (x && st != WEIR_ENOMEM) {
        if (ledger_exporters_end(x, order_of(a->order), &err) != WEIR_OK) {
            log_error("%s", err.msg);
            status = 1;
        } else {
            const struct ledger_collector *c = ledger_exporters_collector(x);
            if (c->last_us <= c->first_us && status == 0) {
                log_error("no ledger%s in %s: 'weir collect --archive' writes one",
                          a->window ? " of that time" : "", dirs[0]);
                status = 1;
            }
            if (c->last_us > c->first_us || strcmp(a->format, "text") != 0) {
                int shown = show(a, x, hosts);
                status = status ? status : shown;
            }
        }
    }
    ledger_exporters_free(x);
    return status;
}

static int exporters_run(const void *args, int n, char **operands)
{
    static const char *const usual[] = {DEFAULT_DIR};
    const struct exporters_args *a = args;
    const char *const *dirs = a->archive.n ? a->archive.items : usual;
    size_t n_dirs = a->archive.n ? a->archive.n : 1;
    if (n)
        return opt_usage(&cmd_exporters, "'%s': no operand is taken (-R names an archive)",
                         operands[0]);
    log_init("weir exporters", LOG_LEVEL_INFO);
    tzset();
    for (size_t i = 0; i < n_dirs; i++) {
        struct stat st;
        if (stat(dirs[i], &st) != 0) {
            log_error("cannot open %s: %s%s", dirs[i], strerror(errno),
                      a->archive.n ? "" : " (-R names another archive)");
            return 1;
        }
    }
    names *hosts = NULL;
    weir_err err = {0};
    if (a->resolve && names_new(&hosts, &(struct names_options){0}, &err) != WEIR_OK)
        log_warning("%s; showing addresses", err.msg);
    int status = look(a, dirs, n_dirs, hosts);
    while (a->watch && status != 2) {
        struct timespec rest = {(time_t)(a->watch / 1000000000), (long)(a->watch % 1000000000)};
        while (nanosleep(&rest, &rest) != 0 && errno == EINTR)
            ;
        status = look(a, dirs, n_dirs, hosts);
        if (ferror(stdout))
            break;
    }
    names_free(hosts);
    return status;
}

static const char *const groupings[] = {"exporter", "domain", NULL};
static const char *const orders[] = {"flows", "loss", "last", "address", NULL};
static const char *const formats[] = {"text", "json", "csv", NULL};

#define AT(member) offsetof(struct exporters_args, member)
/* clang-format off */
static const struct opt exporters_opts[] = {
    {"archive", 'R', OPT_STRS, AT(archive), "DIR", "read the ledger of this archive (default ./archive); may be given again", NULL},
    {"time", 't', OPT_STR, AT(window), "FROM[-TO]", "only these minutes: 2026/11/22.21:00-2026/11/22.22, 2026-11-22T21:00Z, -1h, -2h--1h", NULL},
    {"by", 0, OPT_CHOICE, AT(by), "WHAT", "a line for each exporter, or for each domain of each: exporter, domain (default exporter)", groupings},
    {"order", 's', OPT_CHOICE, AT(order), "ORDER", "flows, loss, last (who was heard of last first) or address (default flows)", orders},
    {"rows", 'n', OPT_U64, AT(rows), "N", "show N exporters, 0 for all (default 0)", NULL},
    {"format", 'o', OPT_CHOICE, AT(format), "FORMAT", "text, json or csv (default text)", formats},
    {"watch", 0, OPT_SPAN, AT(watch), "SPAN", "show it again each SPAN, until interrupted", NULL},
    {"resolve", 0, OPT_FLAG, AT(resolve), NULL, "show host names instead of addresses", NULL},
    {"utc", 0, OPT_FLAG, AT(utc), NULL, "show times in UTC instead of local time", NULL},
    {"plain-numbers", 'N', OPT_FLAG, AT(plain), NULL, "do not scale numbers: 1234567 instead of 1.2 M", NULL},
    {"no-color", 0, OPT_FLAG, AT(no_color), NULL, "no colours on a terminal", NULL},
    {0},
};
/* clang-format on */
static const struct exporters_args exporters_defaults = {
    .by = "exporter", .order = "flows", .format = "text"};

const struct cmd cmd_exporters = {
    .name = "exporters",
    .what = "list exporters with their rates, losses and state",
    .operands = "",
    .opts = exporters_opts,
    .args_size = sizeof(struct exporters_args),
    .defaults = &exporters_defaults,
    .run = exporters_run,
    .examples = "weir exporters                       # all of ./archive\n"
                "weir exporters -t -1h -s loss -n 10  # who lost most in the last hour\n"
                "weir exporters --by domain -o csv    # a line for each domain, for a script\n",
};
