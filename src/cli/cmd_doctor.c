/* doctor -- what is wrong with exporters or with the collector, by the ledger of an archive or by captures, with the remedy. */
#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/cmd.h"
#include "collect/capture.h"
#include "ledger/account.h"
#include "ledger/findings.h"
#include "query/filter.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <weir/decoder.h>

struct doctor_args {
    struct opt_strs archive, read, quirks;
    const char *window, *format, *scope;
    uint64_t port;
    bool no_color;
};

enum { TEXT_WIDTH = 100 };

#define DEFAULT_DIR "archive"
#define SECOND_NS INT64_C(1000000000)
#define MINUTE_US INT64_C(60000000)

struct address {
    uint8_t addr[16], len;
    bool found; /* something of it was there */
};

/* All of one call. */
struct visit {
    const struct doctor_args *args;
    ledger_findings *findings;
    struct address *only; /* exporters that were asked for, n_only of them; 0: all */
    size_t n_only;
    int64_t from_us, to_us;
    int64_t first_us,
        last_us;      /* of all rows, whoever they are about; first_us INT64_MAX: there are none */
    bool failed;      /* an input could not be read: exit 1 */
    uint64_t packets; /* of captures */
    flow_batch *rows; /* of captures */
};

static bool address_of(const char *text, struct address *a)
{
    *a = (struct address){0};
    if (inet_pton(AF_INET, text, a->addr) == 1)
        a->len = 4;
    else if (inet_pton(AF_INET6, text, a->addr) == 1)
        a->len = 16;
    return a->len != 0;
}

/* Rows of other exporters are left out; the collector's own stay. */
static bool on_row(void *user, const struct ledger_row *r)
{
    struct visit *v = user;
    bool wanted = v->n_only == 0 || (r->exporter_len == 0 && !r->has_domain && r->version == 0);
    v->first_us = r->minute_us < v->first_us ? r->minute_us : v->first_us;
    v->last_us = r->minute_us > v->last_us ? r->minute_us : v->last_us;
    for (size_t i = 0; i < v->n_only; i++)
        if (v->only[i].len == r->exporter_len &&
            memcmp(v->only[i].addr, r->exporter, r->exporter_len) == 0)
            wanted = v->only[i].found = true;
    return !wanted || ledger_findings_row(v->findings, r);
}

/* --- archives --- */

static void read_archives(struct visit *v)
{
    static const char *const usual[] = {DEFAULT_DIR};
    const struct opt_strs *named = &v->args->archive;
    const char *const *dirs = named->n ? named->items : usual;
    size_t n = named->n ? named->n : 1;
    for (size_t i = 0; i < n; i++) {
        struct stat st;
        if (stat(dirs[i], &st) != 0) {
            log_error("cannot open %s: %s%s", dirs[i], strerror(errno),
                      named->n ? "" : " (-R names another archive, -r a capture)");
            v->failed = true;
            return;
        }
        if (!S_ISDIR(st.st_mode)) {
            log_error("%s is no archive, which is a directory (-r names a capture)", dirs[i]);
            v->failed = true;
            return;
        }
    }
    const struct ledger_range range = {.from_us = v->from_us, .to_us = v->to_us};
    weir_err err = {0};
    if (ledger_each(dirs, n, &range, on_row, v, &err) != WEIR_OK) {
        log_error("%s", err.msg);
        v->failed = true;
    }
    for (size_t i = 0; i < n; i++)
        if (ledger_findings_archive(v->findings, dirs[i], &range, &err) != WEIR_OK) {
            log_error("%s", err.msg);
            v->failed = true;
        }
}

/* --- captures --- */

/* A decoder and the account of what it counts. */
struct session {
    struct visit *visit;
    weir_decoder *decoder;
    ledger_account *account;
    int64_t looked_s; /* the second of the last look at clocks */
};

static void on_record(void *user, const weir_record *r)
{
    struct session *s = user;
    int64_t first, last;
    if (r->depth || !(weir_record_times(r, &first, &last) & WEIR_TIME_REVERSED))
        return;
    struct ledger_stream stream = {
        .exporter = r->packet->from, .domain = r->packet->domain, .version = r->packet->version};
    if (strcmp(s->visit->args->scope, "port") != 0)
        stream.exporter.port = 0;
    ledger_account_reversed(s->account, &stream, 1);
}

static const weir_handlers on = {.record = on_record};

static bool parse_quirk(const char *text, weir_endpoint *e, unsigned *bits)
{
    char copy[160];
    struct address a;
    const char *equal = strchr(text, '=');
    *bits = 0;
    if (!equal || (size_t)(equal - text) >= sizeof copy)
        return false;
    memcpy(copy, text, (size_t)(equal - text));
    copy[equal - text] = 0;
    *bits = weir_quirk_by_name(equal + 1);
    if (!address_of(copy, &a) || !*bits)
        return false;
    *e = (weir_endpoint){.family = a.len == 4 ? 4 : 6, .transport = WEIR_UDP};
    memcpy(e->addr, a.addr, sizeof e->addr);
    return true;
}

static void session_done(struct session *s)
{
    ledger_account_free(s->account);
    weir_decoder_free(s->decoder);
    *s = (struct session){0};
}

static bool session_init(struct session *s, struct visit *v)
{
    weir_decoder_options options = {
        .scope = strcmp(v->args->scope, "port") == 0 ? WEIR_SCOPE_PORT : WEIR_SCOPE_ADDRESS};
    *s = (struct session){.visit = v, .looked_s = INT64_MIN};
    s->decoder = weir_decoder_new(&options, NULL);
    bool ok = s->decoder != NULL;
    for (size_t i = 0; ok && i < v->args->quirks.n; i++) {
        /* Several of one exporter come one by one; the decoder wants them together. */
        weir_endpoint e, other;
        unsigned bits, more;
        ok = parse_quirk(v->args->quirks.items[i], &e, &bits);
        for (size_t k = 0; ok && k < i; k++)
            if (parse_quirk(v->args->quirks.items[k], &other, &more) &&
                memcmp(&e, &other, sizeof e) == 0)
                bits |= more;
        ok = ok && weir_decoder_set_quirks(s->decoder, &e, bits) == WEIR_OK;
    }
    s->account = ok ? ledger_account_new(s->decoder, 0) : NULL;
    if (!s->account) {
        log_error("cannot set up a decoder: out of memory");
        session_done(s);
        v->failed = true;
        return false;
    }
    return true;
}

static void take_rows(struct session *s)
{
    weir_err err = {0};
    if (ledger_account_ready(s->account) &&
        ledger_account_rows(s->account, s->visit->rows, &err) != WEIR_OK) {
        log_error("%s", err.msg);
        s->visit->failed = true;
    }
}

/* The time of the next packet: minutes end, clocks are looked at each second. */
static void pass_time(struct session *s, int64_t now_ns)
{
    int64_t now_s = now_ns / SECOND_NS;
    if (now_s != s->looked_s) {
        if (s->looked_s != INT64_MIN) {
            ledger_account_sample(s->account);
            if (now_s > s->looked_s)
                weir_decoder_tick(s->decoder, now_ns, &on, s);
        }
        s->looked_s = now_s;
    }
    if (ledger_account_time(s->account, now_ns))
        take_rows(s);
}

static void session_finish(struct session *s)
{
    if (!s->decoder)
        return;
    ledger_account_sample(s->account);
    weir_decoder_finish(s->decoder, &on, s);
    ledger_account_cut(s->account);
    take_rows(s);
    session_done(s);
}

/* Octets that no capture had around them, as a file of one payload has them, are an export or the file is none of ours. */
static bool is_stray(const struct capture_packet *p)
{
    unsigned version = p->len < 2 ? 0 : (unsigned)p->data[0] << 8 | p->data[1];
    return p->from.transport != WEIR_FILE && p->from.family == 0 && version != 1 && version != 5 &&
           version != 7 && version != 9 && version != 10;
}

/* An IPFIX file is a session of its own (RFC 5655 section 7.3.2); UDP payloads share one. */
static void read_capture(struct visit *v, const char *path, struct session *shared)
{
    const struct capture_options options = {.port = (uint16_t)v->args->port,
                                            .from = {.transport = WEIR_UDP}};
    capture *c;
    weir_err err = {0};
    struct stat st;
    bool dir = stat(path, &st) == 0 && S_ISDIR(st.st_mode);
    if (dir || capture_open(path, &options, &c, &err) != WEIR_OK) {
        log_error("%s%s", dir ? path : err.msg,
                  dir ? " is a directory, no capture (-R names an archive)" : "");
        v->failed = true;
        return;
    }
    struct session own = {0};
    for (;;) {
        struct capture_packet p;
        weir_status status = capture_next(c, &p, &err);
        if (status == WEIR_END)
            break;
        if (status != WEIR_OK) {
            log_warning("%s", err.msg);
            v->failed = true;
            continue;
        }
        if (is_stray(&p)) {
            log_error(
                "%s: neither a capture (pcap, pcapng) nor an IPFIX file, nor is payload %" PRIu64
                " in it NetFlow 1, 5, 7, 9 or IPFIX",
                path, p.number);
            v->failed = true;
            break;
        }
        struct session *s = p.from.transport == WEIR_FILE ? &own : shared;
        if (!s->decoder && !session_init(s, v))
            break;
        v->packets++;
        pass_time(s, p.received_ns);
        /* What is rejected is in the account. */
        (void)weir_decode(s->decoder, &p.from, p.received_ns, p.data, p.len, &on, s, NULL);
    }
    session_finish(&own);
    capture_close(c);
}

static void read_captures(struct visit *v, int n, char **more)
{
    v->rows = flow_batch_new(FLOW_TABLE_LEDGER);
    struct session shared = {0};
    if (!v->rows) {
        log_error("out of memory");
        v->failed = true;
        return;
    }
    for (size_t i = 0; i < v->args->read.n; i++)
        read_capture(v, v->args->read.items[i], &shared);
    for (int i = 0; i < n; i++)
        if (!address_of(more[i], &(struct address){0}))
            read_capture(v, more[i], &shared);
    session_finish(&shared);
    const struct ledger_range range = {.from_us = v->from_us, .to_us = v->to_us};
    weir_err err = {0};
    if (ledger_each_of_batch(v->rows, &range, on_row, v, &err) != WEIR_OK) {
        log_error("%s", err.msg);
        v->failed = true;
    }
    flow_batch_free(v->rows);
}

/* --- words --- */

static const char *plural(uint64_t n)
{
    return n == 1 ? "" : "s";
}

/* "2026-11-22 21:05" */
static void add_minute(base_buf *b, int64_t us)
{
    char t[BASE_TIME_TEXT];
    size_t n = base_time_text(t, us * 1000, 0);
    base_buf_add(b, t, n < 10 ? n : 10);
    base_buf_char(b, ' ');
    if (n >= 16)
        base_buf_add(b, t + 11, 5);
}

static void add_span(base_buf *b, int64_t from, int64_t to)
{
    const int64_t day = INT64_C(86400000000);
    add_minute(b, from);
    base_buf_str(b, " to ");
    if (from / day == to / day) {
        char t[BASE_TIME_TEXT];
        if (base_time_text(t, to * 1000, 0) >= 16)
            base_buf_add(b, t + 11, 5);
    } else {
        add_minute(b, to);
    }
    base_buf_str(b, " UTC");
}

/* Words of text in lines of TEXT_WIDTH, those after the first one behind `indent` blanks; the first one goes on at `at`. */
static void add_wrapped(base_buf *b, const char *text, size_t at, size_t indent)
{
    while (*text) {
        size_t word = strcspn(text, " ");
        if (at > indent && at + 1 + word > TEXT_WIDTH) {
            base_buf_printf(b, "\n%*s", (int)indent, "");
            at = indent;
        } else if (at > indent) {
            base_buf_char(b, ' ');
            at++;
        }
        base_buf_add(b, text, word);
        at += word;
        text += word + (text[word] == ' ');
    }
    base_buf_char(b, '\n');
}

struct paint {
    const char *severity[3], *bold, *off;
};

static const struct paint colors = {{"\033[36m", "\033[33m", "\033[31m"}, "\033[1m", "\033[0m"},
                          plain = {{"", "", ""}, "", ""};

static const struct paint *paint_of(const struct doctor_args *a)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    bool wanted = !a->no_color && isatty(STDOUT_FILENO) && !(no && *no) &&
                  !(term && strcmp(term, "dumb") == 0);
    return wanted ? &colors : &plain;
}

static bool same_patient(const ledger_finding *a, const ledger_finding *b)
{
    return a->collector == b->collector && a->exporter_len == b->exporter_len &&
           memcmp(a->exporter, b->exporter, sizeof a->exporter) == 0;
}

enum { INDENT = 11 }; /* of what stands behind "  warning  " */

static void add_finding(base_buf *b, const ledger_finding *f, const struct paint *paint)
{
    base_buf_printf(b, "  %s%-7s%s  ", paint->severity[f->severity],
                    ledger_severity_text(f->severity), paint->off);
    add_wrapped(b, f->sentence, INDENT, INDENT);
    base_buf_printf(b, "%*s%s", INDENT, "", "remedy:");
    add_wrapped(b, f->remedy, INDENT + (sizeof "remedy:" - 1), INDENT);
    base_buf_printf(b, "%*s(%s", INDENT, "", ledger_finding_name(f->id));
    if (f->version)
        base_buf_printf(b, f->version == 10 ? ", IPFIX" : ", NetFlow v%u", (unsigned)f->version);
    if (f->has_domain)
        base_buf_printf(b, ", domain %" PRIu32, f->domain);
    if (f->exporter_port)
        base_buf_printf(b, ", port %u", (unsigned)f->exporter_port);
    base_buf_str(b, ", ");
    add_span(b, f->from_us, f->to_us);
    base_buf_str(b, ")\n");
}

static void add_looked(base_buf *b, const struct ledger_looked *l)
{
    if (!l->rows) {
        base_buf_str(b, "a ledger without rows");
        return;
    }
    base_buf_printf(b,
                    "%" PRIu64 " exporter%s, %" PRIu64 " stream%s, %" PRIu64 " packet%s, %" PRIu64
                    " flow%s in %" PRIu64 " minute%s, ",
                    l->exporters, plural(l->exporters), l->streams, plural(l->streams), l->packets,
                    plural(l->packets), l->flows, plural(l->flows), l->minutes, plural(l->minutes));
    add_span(b, l->from_us, l->to_us);
    if (l->left_out)
        base_buf_printf(b, "; %" PRIu64 " rows of further streams were not looked at", l->left_out);
}

static void add_text(base_buf *b, const ledger_findings *f, const struct paint *paint)
{
    struct ledger_looked looked;
    ledger_findings_looked(f, &looked);
    size_t n = ledger_findings_count(f), of[3] = {0};
    for (size_t i = 0; i < n; i++) {
        const ledger_finding *x = ledger_findings_at(f, i);
        of[x->severity]++;
        if (i == 0 || !same_patient(x, ledger_findings_at(f, i - 1))) {
            char addr[LEDGER_FINDING_ADDR_TEXT];
            ledger_finding whole = *x;
            whole.exporter_port = 0;
            size_t len = ledger_finding_addr_text(&whole, addr);
            base_buf_printf(b, "%s%s%s%.*s%s\n", i ? "\n" : "", paint->bold,
                            x->collector ? "" : "exporter ", (int)len, addr, paint->off);
        }
        add_finding(b, x, paint);
    }
    if (n == 0) {
        base_buf_str(b, "no complaints: ");
    } else {
        base_buf_printf(b, "\n%zu error%s, %zu warning%s, %zu info; looked at ", of[LEDGER_ERROR],
                        plural(of[LEDGER_ERROR]), of[LEDGER_WARNING], plural(of[LEDGER_WARNING]),
                        of[LEDGER_INFO]);
    }
    add_looked(b, &looked);
    base_buf_char(b, '\n');
}

static const char *text_of(const struct address *a, char out[INET6_ADDRSTRLEN])
{
    return inet_ntop(a->len == 4 ? AF_INET : AF_INET6, a->addr, out, INET6_ADDRSTRLEN);
}

static void add_json_time(base_buf *b, int64_t us, bool there)
{
    char t[BASE_TIME_TEXT];
    if (there)
        base_buf_printf(b, "\"%.*s\"", (int)base_time_text(t, us * 1000, 0), t);
    else
        base_buf_str(b, "null");
}

static void add_json(base_buf *b, const struct visit *v)
{
    const ledger_findings *f = v->findings;
    struct ledger_looked l;
    ledger_findings_looked(f, &l);
    base_buf_printf(b,
                    "{\"looked\":{\"exporters\":%" PRIu64 ",\"streams\":%" PRIu64
                    ",\"packets\":%" PRIu64 ",\"flows\":%" PRIu64 ",\"minutes\":%" PRIu64
                    ",\"rows\":%" PRIu64 ",\"rows_left_out\":%" PRIu64 ",\"from\":",
                    l.exporters, l.streams, l.packets, l.flows, l.minutes, l.rows, l.left_out);
    add_json_time(b, l.from_us, l.rows > 0);
    base_buf_str(b, ",\"to\":");
    add_json_time(b, l.to_us, l.rows > 0);
    base_buf_str(b, ",\"unknown\":[");
    const char *before = "";
    for (size_t i = 0; i < v->n_only; i++)
        if (!v->only[i].found) {
            char addr[INET6_ADDRSTRLEN];
            base_buf_printf(b, "%s\"%s\"", before, text_of(&v->only[i], addr));
            before = ",";
        }
    base_buf_str(b, "]},\"findings\":[");
    for (size_t i = 0; i < ledger_findings_count(f); i++) {
        if (i)
            base_buf_char(b, ',');
        ledger_finding_json(ledger_findings_at(f, i), b);
    }
    base_buf_str(b, "]}\n");
}

/* --- the command --- */

/* What was looked at, as it was named. */
static const char *place_of(const struct visit *v)
{
    if (v->args->read.n)
        return v->args->read.n == 1 ? v->args->read.items[0] : "these captures";
    return v->args->archive.n > 1 ? "these archives"
           : v->args->archive.n   ? v->args->archive.items[0]
                                  : DEFAULT_DIR;
}

static int check_operands(struct visit *v, const struct cmd *cmd, int n, char **operands)
{
    bool captures = v->args->read.n > 0;
    v->only = calloc(n > 0 ? (size_t)n : 1, sizeof *v->only);
    if (!v->only) {
        log_error("out of memory");
        return 1;
    }
    for (int i = 0; i < n; i++) {
        if (address_of(operands[i], &v->only[v->n_only]))
            v->n_only++;
        else if (!captures)
            return opt_usage(cmd, "%s: an exporter's address is needed (-r names a capture)",
                             operands[i]);
    }
    weir_endpoint e;
    unsigned bits;
    for (size_t i = 0; i < v->args->quirks.n; i++)
        if (!captures || !parse_quirk(v->args->quirks.items[i], &e, &bits))
            return opt_usage(cmd, "--quirk %s: needs -r, and an address, '=' and a name of %s",
                             v->args->quirks.items[i], weir_quirk_names());
    if (captures && v->args->archive.n)
        return opt_usage(cmd, "-r and -R: either captures or archives");
    weir_err err = {0};
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (v->args->window &&
        query_window_parse(v->args->window, (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000,
                           &v->from_us, &v->to_us, &err) != WEIR_OK)
        return opt_usage(cmd, "%s", err.msg);
    return 0;
}

/* Nothing was found to look at: say so, and why it may be. */
static void say_nothing(const struct visit *v)
{
    const char *when = v->args->window ? " at that time" : "";
    if (v->failed)
        return;
    if (v->args->read.n)
        log_error("no export packet%s to look at%s", when,
                  v->args->port ? "" : " (--port names an unusual port)");
    else
        log_error("no ledger%s in %s: has weir collect written to it?",
                  v->args->window ? " for that time" : "", place_of(v));
}

/* Exporters that were asked for and that nobody has heard of. True: there are some. */
static bool say_unknown(const struct visit *v)
{
    bool any = false;
    base_buf span = {0};
    add_span(&span, v->first_us, v->last_us + MINUTE_US);
    for (size_t i = 0; i < v->n_only; i++) {
        char addr[INET6_ADDRSTRLEN];
        if (v->only[i].found)
            continue;
        any = true;
        if (v->args->read.n)
            log_error("nothing of exporter %s is in %s%s, %.*s", text_of(&v->only[i], addr),
                      place_of(v), v->args->window ? " at that time" : "", (int)span.len,
                      span.data ? span.data : "");
        else
            log_error(
                "exporter %s is not in the ledger of %s%s, %.*s (weir exporters lists who is)",
                text_of(&v->only[i], addr), place_of(v), v->args->window ? " at that time" : "",
                (int)span.len, span.data ? span.data : "");
    }
    base_buf_done(&span);
    return any;
}

static int report(struct visit *v)
{
    weir_err err = {0};
    if (ledger_findings_end(v->findings, &err) != WEIR_OK) {
        log_error("%s", err.msg);
        v->failed = true;
    }
    struct ledger_looked looked;
    ledger_findings_looked(v->findings, &looked);
    bool any = v->first_us < INT64_MAX;
    if (!any && ledger_findings_count(v->findings) == 0) {
        say_nothing(v);
        v->failed = true;
    }
    bool unknown = any && say_unknown(v), known = v->n_only == 0;
    for (size_t i = 0; i < v->n_only; i++)
        known = known || v->only[i].found;
    base_buf out = {0};
    if (strcmp(v->args->format, "json") == 0)
        add_json(&out, v);
    else if (ledger_findings_count(v->findings) || (looked.rows && known))
        add_text(&out, v->findings, paint_of(v->args));
    bool bad = v->failed || unknown;
    if (out.failed) {
        log_error("out of memory");
        bad = true;
    } else if (out.len && fwrite(out.data, 1, out.len, stdout) != out.len) {
        log_error("cannot write to standard output: %s", strerror(errno));
        bad = true;
    }
    base_buf_done(&out);
    for (size_t i = 0; i < ledger_findings_count(v->findings); i++)
        bad = bad || ledger_findings_at(v->findings, i)->severity > LEDGER_INFO;
    return bad ? 1 : 0;
}

static int doctor_run(const void *args, int n, char **operands)
{
    log_init("weir doctor", LOG_LEVEL_INFO);
    struct visit v = {.args = args,
                      .from_us = INT64_MIN,
                      .to_us = INT64_MAX,
                      .first_us = INT64_MAX,
                      .last_us = INT64_MIN};
    int status = check_operands(&v, &cmd_doctor, n, operands);
    if (status == 0) {
        v.findings = ledger_findings_new();
        if (!v.findings) {
            log_error("out of memory");
            status = 1;
        }
    }
    if (status == 0) {
        if (v.args->read.n)
            read_captures(&v, n, operands);
        else
            read_archives(&v);
        status = report(&v);
    }
    ledger_findings_free(v.findings);
    free(v.only);
    return status;
}

static const char *const formats[] = {"text", "json", NULL};
static const char *const scopes[] = {"address", "port", NULL};

#define AT(member) offsetof(struct doctor_args, member)
/* clang-format off */
static const struct opt doctor_opts[] = {
    {"archive", 'R', OPT_STRS, AT(archive), "DIR", "read the ledger of this archive (default ./archive); may be given again", NULL},
    {"read", 'r', OPT_STRS, AT(read), "FILE", "look at the export packets of this capture instead; more captures may follow", NULL},
    {"time", 't', OPT_STR, AT(window), "FROM[-TO]", "only what arrived then: 2026/11/22.21:00-2026/11/22.22, 2026-11-22T21:00Z, -1h, -2h--1h", NULL},
    {"format", 'o', OPT_CHOICE, AT(format), "FORMAT", "text for people (default), or json", formats},
    {"port", 'p', OPT_PORT, AT(port), "PORT", "only UDP datagrams to this port of a capture; 0, the default: all that look like exports", NULL},
    {"scope", 0, OPT_CHOICE, AT(scope), "SCOPE", "in captures templates belong to an exporter's address (default), or to its address and port", scopes},
    {"quirk", 0, OPT_STRS, AT(quirks), "ADDR=NAME", "known misbehaviour of an exporter in a capture, to see whether it is the remedy; may be given again", NULL},
    {"no-color", 0, OPT_FLAG, AT(no_color), NULL, "no colours on a terminal", NULL},
    {0},
};
/* clang-format on */
static const struct doctor_args doctor_defaults = {.format = "text", .scope = "address"};

const struct cmd cmd_doctor = {
    .name = "doctor",
    .what = "say what is wrong with exporters, and the remedy",
    .operands = "[EXPORTER]...",
    .opts = doctor_opts,
    .args_size = sizeof(struct doctor_args),
    .defaults = &doctor_defaults,
    .run = doctor_run,
    .examples =
        "weir doctor                         # by the ledger of ./archive\n"
        "weir doctor -R /var/flows -t -1d    # over the last day\n"
        "weir doctor 192.0.2.1               # one exporter; exit status 1: it is not well, or "
        "not in the ledger\n"
        "weir doctor -r router.pcap          # by a capture\n"
        "weir doctor -o json | jq '.findings[]'\n",
};
