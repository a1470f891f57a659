/* decode -- export packets of files or hex text in, records as lines on stdout. */
#include "cli/cmd.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "collect/capture.h"
#include "render/pyline.h"
#include "render/record_text.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <weir/decoder.h>

struct decode_args {
    const char *format, *input, *scope;
    const char *from;
    uint64_t port;
    struct opt_strs hex, elements, quirks, sampling;
    bool templates, stats, one_session;
};

enum {
    OUT_OCTETS = 1 << 20,   /* stdout is written in pieces of about this size */
    MAX_HELD = 64 << 20,    /* --format python: unfinished lines */
    PROGRESS_PACKETS = 4096 /* the clock is read once for so many */
};

/* What is shared by all files of one call. */
struct run {
    const struct decode_args *args;
    weir_elements *elements;
    base_buf out;
    bool closed;             /* nobody reads stdout any more, or it cannot be written */
    bool failed;             /* exit 1 at the end */
    const char *name;        /* input that is read now */
    uint64_t number, offset; /* its current packet */
    uint64_t packets, records;
    weir_counters totals;  /* of sessions that have ended */
    double started, shown; /* progress; started 0: none */
};

/* A decoder and what remembers its templates. */
struct session {
    struct run *run;
    weir_decoder *decoder;
    render_json *json;
    pyline *py;
    const weir_handlers *on;
};

/* --- output --- */

static void flush_out(struct run *run)
{
    size_t done = 0;
    while (done < run->out.len && !run->closed) {
        ssize_t n = write(STDOUT_FILENO, run->out.data + done, run->out.len - done);
        if (n > 0) {
            done += (size_t)n;
        } else if (n < 0 && errno != EINTR) {
            run->closed = true;
            if (errno != EPIPE) { /* a reader that has seen enough is no failure */
                log_error("cannot write to standard output: %s", strerror(errno));
                run->failed = true;
            }
        }
    }
    base_buf_reset(&run->out);
}

static void line_done(struct run *run)
{
    if (run->out.failed) {
        log_error("%s: packet %" PRIu64 ": out of memory, a record is missing", run->name,
                  run->number);
        run->failed = true;
        flush_out(run);
    }
    if (run->out.len >= OUT_OCTETS)
        flush_out(run);
}

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void progress(struct run *run)
{
    if (run->started <= 0 || run->packets % PROGRESS_PACKETS)
        return;
    double now = now_s();
    if (now - run->started < 2 || now - run->shown < 0.5)
        return;
    run->shown = now;
    (void)fprintf(stderr, "\r\033[K%s: %" PRIu64 " packets, %" PRIu64 " records", run->name,
                  run->packets, run->records);
}

static void progress_clear(struct run *run)
{
    if (run->shown > 0)
        (void)fputs("\r\033[K", stderr);
    run->shown = 0;
}

/* --- handlers --- */

/* what: the kind of the fault, NULL where the message says it all. */
static void say_fault(struct run *run, const weir_packet *p, const char *what, const weir_err *err)
{
    const char *colon = what ? ": " : "";
    what = what ? what : "";
    progress_clear(run);
    run->failed = true;
    if (p && p->late)
        log_error("%s: packet %" PRIu64 " at offset %" PRIu64
                  ": in data of an earlier packet that had waited for its template: %s%s%s",
                  run->name, run->number, run->offset, what, colon, err ? err->msg : "");
    else
        log_error("%s: packet %" PRIu64 " at offset %" PRIu64 ": octet %" PRIu64 ": %s%s%s",
                  run->name, run->number, run->offset, err ? err->at : 0, what, colon,
                  err ? err->msg : "");
}

static void on_fault(void *user, const weir_packet *p, weir_fault fault, const weir_err *err)
{
    struct session *s = user;
    say_fault(s->run, p, weir_fault_text(fault), err);
}

static void json_record(void *user, const weir_record *r)
{
    struct session *s = user;
    s->run->records++;
    if (s->run->closed)
        return;
    render_json_record(s->json, &s->run->out, r);
    line_done(s->run);
}

static void json_template(void *user, const weir_packet *p, const weir_template *t,
                          weir_template_event event)
{
    struct session *s = user;
    if (!s->run->args->templates || event == WEIR_TEMPLATE_REFRESHED || s->run->closed)
        return;
    render_json_template(&s->run->out, p, t, event);
    line_done(s->run);
}

static void text_record(void *user, const weir_record *r)
{
    struct session *s = user;
    s->run->records++;
    if (s->run->closed)
        return;
    render_text_record(s->json, &s->run->out, r);
    line_done(s->run);
}

static void text_template(void *user, const weir_packet *p, const weir_template *t,
                          weir_template_event event)
{
    struct session *s = user;
    if (!s->run->args->templates || event == WEIR_TEMPLATE_REFRESHED || s->run->closed)
        return;
    render_text_template(&s->run->out, p, t, event);
    line_done(s->run);
}

static void py_begin(void *user, const weir_packet *p)
{
    pyline_handlers.begin(((struct session *)user)->py, p);
}

static void py_record(void *user, const weir_record *r)
{
    struct session *s = user;
    s->run->records++;
    pyline_handlers.record(s->py, r);
}

static void py_options(void *user, const weir_record *r)
{
    struct session *s = user;
    s->run->records++;
    pyline_handlers.options(s->py, r);
}

static void py_end(void *user, const weir_packet *p, weir_outcome outcome, const weir_err *err)
{
    pyline_handlers.end(((struct session *)user)->py, p, outcome, err);
}

static void py_line(void *user, const char *line, size_t len, unsigned long flows)
{
    (void)flows;
    struct run *run = user;
    if (run->closed)
        return;
    base_buf_add(&run->out, line, len);
    line_done(run);
}

static const weir_handlers on_json = {
    .record = json_record, .options = json_record, .tmpl = json_template, .fault = on_fault};
static const weir_handlers on_text = {
    .record = text_record, .options = text_record, .tmpl = text_template, .fault = on_fault};
static const weir_handlers on_python = {.begin = py_begin,
                                        .record = py_record,
                                        .options = py_options,
                                        .fault = on_fault,
                                        .end = py_end};

/* --- sessions --- */

/* "192.0.2.1", "192.0.2.1:2055", "2001:db8::1", "[2001:db8::1]:2055" */
static bool parse_endpoint(const char *text, size_t len, weir_endpoint *e)
{
    char copy[80];
    *e = (weir_endpoint){.transport = WEIR_UDP};
    if (len >= sizeof copy)
        return false;
    memcpy(copy, text, len);
    copy[len] = 0;
    char *host = copy, *port = NULL;
    if (*host == '[') {
        char *end = strchr(++host, ']');
        if (!end || (end[1] && end[1] != ':'))
            return false;
        port = end[1] ? end + 2 : NULL;
        *end = 0;
    } else if (strchr(host, ':') == strrchr(host, ':') && strchr(host, ':')) {
        port = strchr(host, ':');
        *port++ = 0;
    }
    if (port) {
        char *end;
        unsigned long v = strtoul(port, &end, 10);
        if (*port < '0' || *port > '9' || *end || v > 65535)
            return false;
        e->port = (uint16_t)v;
    }
    if (inet_pton(AF_INET, host, e->addr) == 1)
        e->family = 4;
    else if (inet_pton(AF_INET6, host, e->addr) == 1)
        e->family = 6;
    return e->family != 0;
}

/* "ADDR=VALUE": the address of it, and where the value starts. */
static const char *parse_setting(const char *text, weir_endpoint *e)
{
    const char *equal = strchr(text, '=');
    if (!equal || !equal[1] || !parse_endpoint(text, (size_t)(equal - text), e))
        return NULL;
    return equal + 1;
}

static bool parse_quirks(const char *text, weir_endpoint *e, unsigned *bits)
{
    const char *at = parse_setting(text, e);
    *bits = 0;
    while (at && *at) {
        char name[64];
        size_t len = strcspn(at, ",");
        if (len >= sizeof name)
            return false;
        memcpy(name, at, len);
        name[len] = 0;
        unsigned bit = weir_quirk_by_name(name);
        if (!bit)
            return false;
        *bits |= bit;
        at += len + (at[len] == ',');
    }
    return at && *bits;
}

static bool parse_sampling(const char *text, weir_endpoint *e, double *rate)
{
    const char *at = parse_setting(text, e);
    char *end;
    *rate = at ? strtod(at, &end) : 0;
    return at && *end == 0 && isfinite(*rate) && *rate >= 1;
}

/* Usage is checked before anything is read: 0, or 2 after a message. */
static int check_args(const struct decode_args *a, weir_endpoint *from)
{
    weir_endpoint e;
    unsigned bits;
    double rate;
    *from = (weir_endpoint){.transport = WEIR_UDP};
    if (a->from && !parse_endpoint(a->from, strlen(a->from), from))
        return opt_usage(&cmd_decode,
                         "--from %s: an address with a port is needed, such as 192.0.2.1:2055",
                         a->from);
    for (size_t i = 0; i < a->quirks.n; i++)
        if (!parse_quirks(a->quirks.items[i], &e, &bits))
            return opt_usage(&cmd_decode, "--quirk %s: needs an address, '=' and a name of %s",
                             a->quirks.items[i], weir_quirk_names());
    for (size_t i = 0; i < a->sampling.n; i++)
        if (!parse_sampling(a->sampling.items[i], &e, &rate))
            return opt_usage(&cmd_decode,
                             "--sampling %s: needs an address, '=' and a rate of at least 1",
                             a->sampling.items[i]);
    if (a->templates && strcmp(a->format, "python") == 0)
        return opt_usage(&cmd_decode, "--templates: the Python format has no place for templates; "
                                      "use --format json or text");
    return 0;
}

static void session_done(struct session *s)
{
    weir_decoder_free(s->decoder);
    render_json_free(s->json);
    pyline_free(s->py);
    *s = (struct session){0};
}

static bool session_init(struct session *s, struct run *run)
{
    const struct decode_args *a = run->args;
    weir_err err = {.msg = "out of memory"};
    weir_decoder_options options = {
        .elements = run->elements,
        .scope = strcmp(a->scope, "port") == 0 ? WEIR_SCOPE_PORT : WEIR_SCOPE_ADDRESS,
    };
    *s = (struct session){.run = run};
    s->decoder = weir_decoder_new(&options, &err);
    bool ok = s->decoder != NULL;
    if (strcmp(a->format, "python") == 0) {
        s->py = pyline_new(MAX_HELD, py_line, run);
        s->on = &on_python;
        ok = ok && s->py;
    } else {
        s->json = render_json_new();
        s->on = strcmp(a->format, "text") == 0 ? &on_text : &on_json;
        ok = ok && s->json;
    }
    weir_endpoint e;
    for (size_t i = 0; ok && i < a->quirks.n; i++) {
        unsigned bits;
        ok = parse_quirks(a->quirks.items[i], &e, &bits) &&
             weir_decoder_set_quirks(s->decoder, &e, bits) == WEIR_OK;
    }
    for (size_t i = 0; ok && i < a->sampling.n; i++) {
        double rate;
        ok = parse_sampling(a->sampling.items[i], &e, &rate) &&
             weir_decoder_set_sampling(s->decoder, &e, rate) == WEIR_OK;
    }
    if (!ok) {
        log_error("cannot set up the decoder: %s", err.msg);
        session_done(s);
        run->failed = true;
    }
    return ok;
}

static void print_counters(FILE *out, const char *indent, const weir_counters *c)
{
#define X(name)                                                                                    \
    if (c->name)                                                                                   \
        (void)fprintf(out, "%s%-22s %12" PRIu64 "\n", indent, #name, c->name);
    WEIR_COUNTERS_MAP(X)
#undef X
    for (int i = 0; i < WEIR_N_REJECT; i++)
        if (c->rejected[i])
            (void)fprintf(out, "%srejected %-13s %12" PRIu64 "\n", indent,
                          weir_reject_text((weir_reject)i), c->rejected[i]);
    for (int i = 0; i < WEIR_N_FAULT; i++)
        if (c->faults[i])
            (void)fprintf(out, "%sfault %-16s %12" PRIu64 "\n", indent,
                          weir_fault_text((weir_fault)i), c->faults[i]);
}

static void print_exporters(const weir_decoder *d)
{
    size_t at = 0;
    weir_exporter_info e;
    while (weir_exporter_next(d, &at, &e) == WEIR_OK) {
        char addr[WEIR_ENDPOINT_TEXT];
        int n = (int)weir_endpoint_addr_text(&e.address, addr);
        size_t stream_at = 0;
        weir_stream_info s;
        while (weir_stream_next(d, e.handle, &stream_at, &s) == WEIR_OK) {
            (void)fprintf(stderr, "exporter %.*s port %u version %u domain %" PRIu32 "\n", n, addr,
                          (unsigned)s.port, (unsigned)s.version, s.domain);
            if (s.sampling.origin != WEIR_ORIGIN_UNKNOWN)
                (void)fprintf(stderr, "  sampling 1 in %g (%s)\n", s.sampling.rate,
                              weir_origin_text((weir_origin)s.sampling.origin));
            if (strcmp(s.sequence_numbering, "standard") != 0)
                (void)fprintf(stderr, "  sequence numbers count %s (%s)\n", s.sequence_unit,
                              s.sequence_numbering);
            print_counters(stderr, "  ", s.counters);
        }
    }
}

/* The end of what a decoder is fed: give up what waits, account, free. */
static void session_finish(struct session *s)
{
    struct run *run = s->run;
    weir_decoder_finish(s->decoder, s->on, s);
    const weir_counters *c = weir_decoder_counters(s->decoder);
    uint64_t never = c->sets_expired + c->sets_overflowed;
    progress_clear(run);
    if (never) {
        log_warning("%s: %" PRIu64 " data set%s of %" PRIu64
                    " packet%s could not be decoded: no template came "
                    "for %s (give the file that has it first, or see --scope)",
                    run->name, never, never == 1 ? "" : "s", c->expired, c->expired == 1 ? "" : "s",
                    never == 1 ? "it" : "them");
        run->failed = true;
    }
    if (s->py && pyline_lost(s->py)) {
        log_error("%s: %" PRIu64 " lines were lost: out of memory", run->name, pyline_lost(s->py));
        run->failed = true;
    }
    if (run->args->stats) {
        flush_out(run);
        print_exporters(s->decoder);
    }
    const uint64_t *from = (const uint64_t *)c;
    uint64_t *to = (uint64_t *)&run->totals;
    for (size_t i = 0; i < sizeof *c / sizeof *from; i++)
        to[i] += from[i];
    session_done(s);
}

/* --- inputs --- */

/* Decode all of an open capture. shared: the session of UDP payloads, which goes on from file to file; an IPFIX file
 * is a session of its own (RFC 5655 section 7.3.2) unless --one-session. */
static void read_capture(struct run *run, capture *c, struct session *shared)
{
    struct session own = {0};
    weir_err err;
    bool had_errors = false;
    while (!run->closed) {
        struct capture_packet p;
        weir_status status = capture_next(c, &p, &err);
        if (status == WEIR_END)
            break;
        if (status != WEIR_OK) {
            progress_clear(run);
            log_error("%s", err.msg);
            run->failed = had_errors = true;
            continue;
        }
        struct session *s = shared;
        if (p.from.transport == WEIR_FILE && !run->args->one_session) {
            if (!own.decoder && !session_init(&own, run))
                return;
            s = &own;
        }
        run->number = p.number;
        run->offset = p.offset;
        run->packets++;
        status = weir_decode(s->decoder, &p.from, p.received_ns, p.data, p.len, s->on, s, &err);
        if (status != WEIR_OK)
            say_fault(run, NULL, err.msg[0] ? NULL : weir_status_text(status), &err);
        progress(run);
    }
    const struct capture_counters *n = capture_counters(c);
    if (n->packets == 0 && !had_errors && !run->closed) {
        progress_clear(run);
        log_warning("%s: no export packet in %" PRIu64 " frame%s%s", run->name, n->frames,
                    n->frames == 1 ? "" : "s",
                    run->args->port ? " (without --port all UDP is looked at)"
                                    : " (--port names an unusual port)");
    }
    if (own.decoder)
        session_finish(&own);
}

static bool is_hex_text(const char *text)
{
    size_t digits = strspn(text, "0123456789abcdefABCDEF: \t\n");
    return text[0] && text[digits] == 0 && strcmp(text, "-") != 0;
}

static void read_input(struct run *run, const char *operand, bool hex, const weir_endpoint *from,
                       struct session *shared)
{
    static const struct {
        const char *name;
        enum capture_form form;
    } forms[] = {
        {"auto", CAPTURE_AUTO}, {"pcap", CAPTURE_PCAP}, {"ipfix", CAPTURE_IPFIX},
        {"raw", CAPTURE_RAW},   {"hex", CAPTURE_HEX},
    };
    struct capture_options options = {.port = (uint16_t)run->args->port, .from = *from};
    for (size_t i = 0; i < ARRAY_LEN(forms); i++)
        if (strcmp(run->args->input, forms[i].name) == 0)
            options.form = forms[i].form;
    capture *c = NULL;
    weir_err err;
    weir_status status;
    if (hex || (is_hex_text(operand) && access(operand, F_OK) != 0)) {
        options.form = CAPTURE_HEX;
        run->name = "hex text";
        status = capture_open_memory(run->name, operand, strlen(operand), &options, &c, &err);
    } else {
        run->name = strcmp(operand, "-") == 0 ? "standard input" : operand;
        status = capture_open(operand, &options, &c, &err);
    }
    if (status != WEIR_OK) {
        log_error("%s", err.msg);
        run->failed = true;
        return;
    }
    read_capture(run, c, shared);
    if (run->args->stats) {
        const struct capture_counters *n = capture_counters(c);
        flush_out(run);
        (void)fprintf(stderr,
                      "input %s: %" PRIu64 " frames, %" PRIu64 " packets, %" PRIu64
                      " other, %" PRIu64 " cut, %" PRIu64 " broken, %" PRIu64 " fragments (%" PRIu64
                      " lost), %" PRIu64 " gaps\n",
                      run->name, n->frames, n->packets, n->other, n->cut, n->broken, n->fragments,
                      n->fragments_lost, n->resyncs);
    }
    capture_close(c);
}

static int decode_run(const void *args, int n, char **operands)
{
    const struct decode_args *a = args;
    struct run run = {.args = a, .name = "input"};
    weir_endpoint from;
    int usage = check_args(a, &from);
    if (usage)
        return usage;
    if (n == 0 && a->hex.n == 0 && isatty(STDIN_FILENO))
        return opt_usage(&cmd_decode,
                         "nothing to decode: give a file, hex text, or - for standard input");
    log_init("weir decode", LOG_LEVEL_INFO);
    signal(SIGPIPE, SIG_IGN);
    if (isatty(STDERR_FILENO) && !isatty(STDOUT_FILENO))
        run.started = now_s();

    weir_err err;
    if (a->elements.n) {
        run.elements = weir_elements_new();
        if (!run.elements) {
            log_error("out of memory");
            return 1;
        }
        for (size_t i = 0; i < a->elements.n; i++) {
            if (weir_elements_load(run.elements, a->elements.items[i], &err) != WEIR_OK) {
                log_error("%s", err.msg);
                weir_elements_free(run.elements);
                return 1;
            }
        }
    }
    struct session shared;
    if (session_init(&shared, &run)) {
        for (size_t i = 0; i < a->hex.n && !run.closed; i++)
            read_input(&run, a->hex.items[i], true, &from, &shared);
        for (int i = 0; i < n && !run.closed; i++)
            read_input(&run, operands[i], false, &from, &shared);
        if (n == 0 && a->hex.n == 0)
            read_input(&run, "-", false, &from, &shared);
        session_finish(&shared);
        flush_out(&run);
        if (a->stats) {
            (void)fputs("total\n", stderr);
            print_counters(stderr, "  ", &run.totals);
        }
    }
    weir_elements_free(run.elements);
    base_buf_done(&run.out);
    return run.failed ? 1 : 0;
}

static const char *const formats[] = {"json", "python", "text", NULL};
static const char *const inputs[] = {"auto", "pcap", "ipfix", "raw", "hex", NULL};
static const char *const scopes[] = {"address", "port", NULL};

#define AT(member) offsetof(struct decode_args, member)
static const struct opt decode_opts[] = {
    {"format", 'F', OPT_CHOICE, AT(format), "FORMAT",
     "json: a line a record; python: a line a packet, as the Python collector writes; text: for "
     "people",
     formats},
    {"templates", 0, OPT_FLAG, AT(templates), NULL,
     "show templates too, where they are learnt, changed, withdrawn or forgotten", NULL},
    {"stats", 0, OPT_FLAG, AT(stats), NULL, "print the accounting to standard error at the end",
     NULL},
    {"input", 'i', OPT_CHOICE, AT(input), "FORM",
     "form of the files, auto tells by their first octets", inputs},
    {"hex", 'x', OPT_STRS, AT(hex), "TEXT", "decode this hex text, one payload a line", NULL},
    {"port", 'p', OPT_PORT, AT(port), "PORT",
     "only UDP datagrams to this port of a capture; 0, the default: all that look like exports",
     NULL},
    {"from", 0, OPT_STR, AT(from), "ADDR:PORT", "sender of payloads that name none", NULL},
    {"scope", 0, OPT_CHOICE, AT(scope), "SCOPE",
     "templates belong to an exporter's address, or to its address and port", scopes},
    {"one-session", 0, OPT_FLAG, AT(one_session), NULL,
     "keep templates from one IPFIX file to the next; UDP payloads always share theirs", NULL},
    {"elements", 0, OPT_STRS, AT(elements), "FILE",
     "add or override information elements from this table", NULL},
    {"sampling", 0, OPT_STRS, AT(sampling), "ADDR=RATE", "sampling rate of an exporter", NULL},
    {"quirk", 0, OPT_STRS, AT(quirks), "ADDR=NAME",
     "known misbehaviour of an exporter, such as uptime-seconds", NULL},
    {0},
};
static const struct decode_args decode_defaults = {
    .format = "json", .input = "auto", .scope = "address"};

const struct cmd cmd_decode = {
    .name = "decode",
    .what = "turn export packets into records",
    .operands = "[FILE|HEX]...",
    .opts = decode_opts,
    .args_size = sizeof(struct decode_args),
    .defaults = &decode_defaults,
    .run = decode_run,
    .examples =
        "weir decode router.pcap                     # a line of JSON for each record\n"
        "weir decode --format text --templates a.pcap  # for people\n"
        "weir decode -p 9995 --stats trace.pcapng    # exports to an unusual port, with "
        "accounting\n"
        "weir decode templates.dat data.dat          # one UDP payload a file, templates first\n"
        "weir decode 00090001...                     # hex text\n"
        "weir decode --format python a.pcap | gzip > a.gz  # what the Python analyser reads\n",
};
