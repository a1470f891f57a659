/* collect -- the daemon's command line: options into a collector_config. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "archive/cursor.h"
#include "archive/layout.h"
#include "base/err.h"
#include "base/log.h"
#include "cli/cmd.h"
#include "collect/collector.h"
#include "collect/socket.h"
#include "ship/status.h"

struct collect_args {
    const char *host, *archive, *file, *state, *stats_format, *scope, *sync, *workers, *tee_source;
    uint64_t port;
    struct opt_strs listen, read, allow, tee, exporter_scope, sampling, quirk, elements;
    bool debug, no_state, no_compact;
    uint64_t rotate, keep, max_size, min_free;
    uint64_t stats_interval, flush, compress, receive_buffer, queue, output_queue;
    uint64_t waiting_time, max_waiting, max_waiting_total;
    uint64_t max_exporters, max_streams, max_exporter_streams, max_templates, max_fields, max_state;
    uint64_t template_life, idle;
};

enum { DEFAULT_PORT = 2055, PORT_UNSET = 65536 };
#define MIB (UINT64_C(1) << 20)
#define SECOND UINT64_C(1000000000)
#define DAY (86400 * SECOND)

static const struct collect_args collect_defaults = {
    .port = PORT_UNSET,
    .stats_format = "text",
    .scope = "address",
    .sync = "close",
    .workers = "auto",
    .rotate = 300 * SECOND,
    .stats_interval = 60 * SECOND,
    .compress = 2,
    .receive_buffer = 16 * MIB,
    .queue = 64 * MIB,
    .waiting_time = 3600 * SECOND,
    .idle = 600 * SECOND,
    .output_queue = UINT64_MAX, /* not said */
};

static const char *const formats[] = {"text", "json", NULL};
static const char *const tee_sources[] = {"own", "exporter", NULL};
static const char *const scopes[] = {"address", "port", NULL};
/* By enum archive_sync. */
static const char *const syncs[] = {"close", "flush", "never", NULL};

#define AT(member) offsetof(struct collect_args, member)
/* clang-format off */
static const struct opt collect_opts[] = {
    {"host", 0, OPT_STR, AT(host), "ADDR", "address to listen on (default 0.0.0.0 and ::)"},
    {"port", 'p', OPT_PORT, AT(port), "PORT", "UDP port; with --read the destination port that counts (default 2055; with --read any)"},
    {"listen", 0, OPT_STRS, AT(listen), "ADDR:PORT", "listen there instead of --host and --port; [ADDR]:PORT for IPv6; may be repeated"},
    {"read", 'r', OPT_STRS, AT(read), "FILE", "read export packets from this capture instead of listening, then exit; may be repeated"},
    {"archive", 'a', OPT_STR, AT(archive), "DIR", "keep flows in this archive (default ./archive)"},
    {"rotate", 0, OPT_SPAN, AT(rotate), "SPAN", "length of the archive's files, a divisor of an hour (default 5m)"},
    {"sync", 0, OPT_CHOICE, AT(sync), "WHEN", "wait for the disk when a file is closed, at every flush, or never: close, flush, never (default close)", syncs},
    {"no-compact", 0, OPT_FLAG, AT(no_compact), NULL, "leave the files of past hours as they are ('weir archive compact' merges them by hand)"},
    {"keep", 0, OPT_SPAN, AT(keep), "SPAN", "remove flows older than this from the archive (default never)"},
    {"max-size", 0, OPT_SIZE, AT(max_size), "SIZE", "remove the oldest flows when the archive grows beyond this (default no limit)"},
    {"min-free", 0, OPT_SIZE, AT(min_free), "SIZE", "remove the oldest flows when the disk has less than this free (default no limit)"},
    {"file", 'o', OPT_STR, AT(file), "FILE", "write lines of JSON here instead, gzip members appended to; - for plain lines on standard output"},
    {"output", 0, OPT_STR, AT(file), "FILE", "the same as --file"},
    {"debug", 'D', OPT_FLAG, AT(debug), NULL, "say what was done with every packet"},
    {"allow", 0, OPT_STRS, AT(allow), "CIDR", "take packets from this network alone; may be repeated"},
    {"tee", 0, OPT_STRS, AT(tee), "HOST:PORT", "pass every datagram that is let in on to this collector, as it came, over UDP; may be repeated"},
    {"tee-source", 0, OPT_CHOICE, AT(tee_source), "WHO", "whose address such datagrams come from: own, or exporter, which needs CAP_NET_RAW (default exporter where that is allowed, else own)", tee_sources},
    {"stats-interval", 0, OPT_SPAN, AT(stats_interval), "SPAN", "print the accounting this often, 0 for never (default 60s)"},
    {"stats-format", 0, OPT_CHOICE, AT(stats_format), "FORMAT", "text or json (default text)", formats},
    {"flush", 0, OPT_SPAN, AT(flush), "SPAN", "longest time before what was decoded is in the file (default 1s, with --file 500ms)"},
    {"compress", 0, OPT_U64, AT(compress), "LEVEL", "gzip level 0 to 9 (default 2)"},
    {"state", 0, OPT_STR, AT(state), "FILE", "keep templates and sampling here over a restart (default weir.state in the archive, <output>.state beside a file; none with --read, - or a device)"},
    {"no-state", 0, OPT_FLAG, AT(no_state), NULL, "keep nothing over a restart"},
    {"workers", 0, OPT_STR, AT(workers), "N", "lines of work beside each other, each with its own thread to receive, decode and write: a number up to 256, or auto for two to three cores (default auto; lines of --file have one, and so has --read)"},
    {"receive-buffer", 0, OPT_SIZE, AT(receive_buffer), "SIZE", "ask the kernel for this much room per socket (default 16M)"},
    {"queue", 0, OPT_SIZE, AT(queue), "SIZE", "packets held while decoding is busy (default 64M)"},
    {"output-queue", 0, OPT_SIZE, AT(output_queue), "SIZE", "what is held while the output is slow or full (default 64M, for an archive that is not read from captures 512M)"},
    {"elements", 0, OPT_STRS, AT(elements), "FILE", "add or override information elements; may be repeated"},
    {"scope", 0, OPT_CHOICE, AT(scope), "SCOPE", "who shares templates: address, or port for address and source port (default address)", scopes},
    {"exporter-scope", 0, OPT_STRS, AT(exporter_scope), "ADDR=SCOPE", "the same for one exporter; may be repeated"},
    {"sampling", 0, OPT_STRS, AT(sampling), "ADDR=RATE", "sampling rate of an exporter that does not tell it; may be repeated"},
    {"quirk", 0, OPT_STRS, AT(quirk), "ADDR=NAME", "known misbehaviour of an exporter; may be repeated"},
    {"waiting-time", 0, OPT_SPAN, AT(waiting_time), "SPAN", "how long data waits for its template (default 1h)"},
    {"max-waiting", 0, OPT_SIZE, AT(max_waiting), "SIZE", "data of one exporter that may wait (default 4M)"},
    {"max-waiting-total", 0, OPT_SIZE, AT(max_waiting_total), "SIZE", "data of all exporters that may wait (default 256M)"},
    {"max-exporters", 0, OPT_U64, AT(max_exporters), "N", "exporters known at a time (default 16384)"},
    {"max-streams", 0, OPT_U64, AT(max_streams), "N", "domains of all exporters (default 65536)"},
    {"max-exporter-streams", 0, OPT_U64, AT(max_exporter_streams), "N", "domains of one exporter (default 1024)"},
    {"max-templates", 0, OPT_U64, AT(max_templates), "N", "templates of one domain (default 4096)"},
    {"max-fields", 0, OPT_U64, AT(max_fields), "N", "fields of one template (default 16384)"},
    {"max-state", 0, OPT_SIZE, AT(max_state), "SIZE", "memory for all templates (default 256M)"},
    {"template-life", 0, OPT_SPAN, AT(template_life), "SPAN", "forget templates not repeated for so long (default never)"},
    {"idle", 0, OPT_SPAN, AT(idle), "SPAN", "at a limit, domains silent for so long make room (default 10m)"},
    {0},
};
/* clang-format on */

/* What run() owns. */
struct made {
    struct collector_config config;
    weir_endpoint *listen, *tee;
    struct collector_exporter *exporters;
    weir_elements *elements;
    struct archive_options archive;
    char *state;
};

/* "ADDR=VALUE": the address into *e, *value behind the '='. */
static bool split(const char *text, weir_endpoint *e, const char **value)
{
    char addr[64];
    const char *eq = strchr(text, '=');
    size_t len = eq ? (size_t)(eq - text) : sizeof addr;
    if (len >= sizeof addr)
        return false;
    memcpy(addr, text, len);
    addr[len] = 0;
    *value = eq + 1;
    return allow_address(addr, e);
}

static int add_exporters(struct made *m, const struct collect_args *a)
{
    size_t n = a->exporter_scope.n + a->sampling.n + a->quirk.n;
    m->exporters = calloc(n ? n : 1, sizeof *m->exporters);
    if (!m->exporters) {
        log_error("out of memory");
        return 1;
    }
    struct collector_exporter *e = m->exporters;
    const char *v;
    for (size_t i = 0; i < a->exporter_scope.n; i++, e++) {
        const char *text = a->exporter_scope.items[i];
        e->what = COLLECTOR_SCOPE;
        if (!split(text, &e->address, &v) || (strcmp(v, "port") != 0 && strcmp(v, "address") != 0))
            return opt_usage(&cmd_collect, "--exporter-scope %s: write ADDR=port or ADDR=address",
                             text);
        e->scope = strcmp(v, "port") == 0 ? WEIR_SCOPE_PORT : WEIR_SCOPE_ADDRESS;
    }
    for (size_t i = 0; i < a->sampling.n; i++, e++) {
        const char *text = a->sampling.items[i];
        char *end = NULL;
        e->what = COLLECTOR_SAMPLING;
        if (split(text, &e->address, &v))
            e->rate = strtod(v, &end);
        if (!end || end == v || *end || !isfinite(e->rate) || e->rate < 1)
            return opt_usage(&cmd_collect, "--sampling %s: write ADDR=RATE, a rate of 1 or more",
                             text);
    }
    for (size_t i = 0; i < a->quirk.n; i++, e++) {
        const char *text = a->quirk.items[i];
        e->what = COLLECTOR_QUIRKS;
        if (!split(text, &e->address, &v))
            return opt_usage(&cmd_collect, "--quirk %s: write ADDR=NAME, a name of %s", text,
                             weir_quirk_names());
        e->quirks = weir_quirk_by_name(v);
        if (!e->quirks)
            return opt_usage(&cmd_collect, "--quirk %s: no quirk is called %s, known are %s", text,
                             v, weir_quirk_names());
        for (struct collector_exporter *o = m->exporters; o < e; o++) /* setting replaces: add up */
            if (o->what == COLLECTOR_QUIRKS &&
                memcmp(&o->address, &e->address, sizeof o->address) == 0)
                e->quirks |= o->quirks;
    }
    m->config.exporters = m->exporters;
    m->config.n_exporters = n;
    return 0;
}

static int add_addresses(struct made *m, const struct collect_args *a)
{
    weir_err err = {0};
    uint16_t port = a->port == PORT_UNSET ? DEFAULT_PORT : (uint16_t)a->port;
    m->config.port = a->read.n && a->port == PORT_UNSET ? 0 : port;
    m->listen = calloc(a->listen.n + 1, sizeof *m->listen);
    if (!m->listen) {
        log_error("out of memory");
        return 1;
    }
    size_t n = 0;
    for (size_t i = 0; i < a->listen.n; i++)
        if (sock_parse(a->listen.items[i], &m->listen[n++], &err) != WEIR_OK)
            return opt_usage(&cmd_collect, "--listen %s", err.msg);
    if (a->host && n)
        return opt_usage(&cmd_collect, "--host and --listen exclude each other");
    if (a->host && sock_resolve(a->host, port, &m->listen[n++], &err) != WEIR_OK) {
        log_error("%s", err.msg);
        return 1;
    }
    for (size_t i = 0; i < a->allow.n; i++)
        if (allow_add(&m->config.allow, a->allow.items[i], &err) != WEIR_OK)
            return opt_usage(&cmd_collect, "--allow %s", err.msg);
    m->config.listen = m->listen;
    m->config.n_listen = n;
    return 0;
}

/* HOST:PORT, a name or an address. */
static int add_target(const char *text, weir_endpoint *e)
{
    weir_err err = {0};
    const char *colon = strrchr(text, ':');
    char host[256];
    if (sock_parse(text, e, &err) == WEIR_OK && e->port)
        return 0;
    size_t len = colon ? (size_t)(colon - text) : 0;
    bool name = len && len < sizeof host && *text != '[' && !memchr(text, ':', len);
    char *end = NULL;
    unsigned long port = name ? strtoul(colon + 1, &end, 10) : 0;
    if (!name || !end || *end || colon[1] < '0' || colon[1] > '9' || !port || port > 65535)
        return opt_usage(&cmd_collect,
                         "--tee %s: write HOST:PORT, as in 192.0.2.1:2055 or [2001:db8::1]:2055",
                         text);
    memcpy(host, text, len);
    host[len] = 0;
    if (sock_resolve(host, (uint16_t)port, e, &err) == WEIR_OK)
        return 0;
    log_error("--tee %s: no address is known for %s", text, host);
    return 1;
}

static int add_tee(struct made *m, const struct collect_args *a)
{
    if (a->tee.n && a->read.n)
        return opt_usage(&cmd_collect, "--tee passes on what is received, not captures (--read)");
    if (a->tee_source && !a->tee.n)
        return opt_usage(&cmd_collect, "--tee-source says nothing without --tee");
    m->tee = calloc(a->tee.n + 1, sizeof *m->tee);
    if (!m->tee) {
        log_error("out of memory");
        return 1;
    }
    for (size_t i = 0; i < a->tee.n; i++) {
        int r = add_target(a->tee.items[i], &m->tee[i]);
        if (r)
            return r;
    }
    m->config.tee = m->tee;
    m->config.n_tee = a->tee.n;
    m->config.tee_source = !a->tee_source                      ? TEE_SOURCE_ANY
                           : strcmp(a->tee_source, "own") == 0 ? TEE_SOURCE_OWN
                                                               : TEE_SOURCE_EXPORTER;
    return 0;
}

static void recovered(void *user, const char *text)
{
    (void)user;
    log_info("%s", text);
}

/* Which of the three files are closed, flushed, ... as the rows of syncs. */
static enum archive_sync sync_of(const char *word)
{
    unsigned i = 0;
    while (syncs[i] && strcmp(syncs[i], word) != 0)
        i++;
    return (enum archive_sync)i;
}

/* How far those are that `weir ship` delivers the archive to. One that cannot be read is left out: weir ship --status says why. */
static void delivery(const char *dir, bool json, base_buf *out)
{
    struct archive_names names = {0};
    if (archive_cursor_names(dir, &names, NULL) != WEIR_OK)
        return;
    for (size_t i = 0; i < names.n; i++) {
        struct ship_status s;
        if (ship_status_of(dir, names.items[i], &s, NULL) == WEIR_OK) {
            if (json && out->len)
                base_buf_char(out, ',');
            (json ? ship_status_json : ship_status_line)(&s, out);
            if (json && out->len)
                out->len--; /* the end of the line */
        }
        ship_status_done(&s);
    }
    archive_names_done(&names);
}

static int add_archive(struct made *m, const struct collect_args *a)
{
    if (a->file && a->archive)
        return opt_usage(&cmd_collect, "--archive and --file exclude each other");
    if (a->file && (a->keep || a->max_size || a->min_free))
        return opt_usage(&cmd_collect, "--keep, --max-size and --min-free are for an archive, not "
                                       "for the lines that --file writes");
    if (a->rotate < SECOND || 3600 * SECOND % a->rotate != 0)
        return opt_usage(&cmd_collect, "--rotate: 1s to 1h, a divisor of an hour");
    if (a->file)
        return 0;
    m->archive = (struct archive_options){.dir = a->archive ? a->archive : "archive",
                                          .closer = true,
                                          .rotate_ns = (int64_t)a->rotate,
                                          .sync = sync_of(a->sync),
                                          .log = recovered};
    m->config.archive = &m->archive;
    m->config.delivery = delivery;
    m->config.keep = (struct keeper_options){.dir = m->archive.dir,
                                             .compact = !a->no_compact,
                                             .keep_ns = (int64_t)a->keep,
                                             .max_octets = a->max_size,
                                             .min_free = a->min_free};
    return 0;
}

/* The state file beside the output: only archives and files have one, and a run over captures has none of its own
 * accord. */
static int add_files(struct made *m, const struct collect_args *a)
{
    m->config.file = a->file;
    bool device = a->file && (strcmp(a->file, "-") == 0 || strncmp(a->file, "/dev/", 5) == 0);
    m->config.state_path = a->state;
    if (a->no_state && a->state)
        return opt_usage(&cmd_collect, "--state and --no-state exclude each other");
    if (a->state || a->no_state || device || a->read.n)
        return 0;
    if (asprintf(&m->state, a->file ? "%s.state" : "%s/weir.state",
                 a->file ? a->file : m->archive.dir) < 0) {
        m->state = NULL;
        log_error("out of memory");
        return 1;
    }
    m->config.state_path = m->state;
    return 0;
}

static int add_elements(struct made *m, const struct collect_args *a)
{
    weir_err err = {0};
    if (!a->elements.n)
        return 0;
    m->elements = weir_elements_new();
    if (!m->elements) {
        log_error("out of memory");
        return 1;
    }
    for (size_t i = 0; i < a->elements.n; i++) {
        if (weir_elements_load(m->elements, a->elements.items[i], &err) != WEIR_OK) {
            log_error("%s", err.msg);
            return 1;
        }
    }
    return 0;
}

/* Two threads of a worker at full load take about one and a half cores. */
static unsigned workers_of(long cores)
{
    long n = cores * 2 / 3;
    return n < 1 ? 1 : n > 16 ? 16 : (unsigned)n;
}

static int add_workers(struct made *m, const struct collect_args *a)
{
    char *end;
    if (strcmp(a->workers, "auto") == 0) {
        m->config.workers = a->file || a->read.n ? 1 : workers_of(sysconf(_SC_NPROCESSORS_ONLN));
        return 0;
    }
    unsigned long n = strtoul(a->workers, &end, 10);
    if (*end || end == a->workers || n < 1 || n > 256)
        return opt_usage(&cmd_collect, "--workers %s: a number from 1 to 256, or auto", a->workers);
    if (a->file && n > 1)
        return opt_usage(&cmd_collect, "--workers: lines (--file) are written by one");
    m->config.workers = (unsigned)n;
    return 0;
}

/* Whole seconds of an option, at least 1 unless it is 0. */
static uint32_t whole_seconds(uint64_t ns)
{
    uint64_t s = (ns + SECOND - 1) / SECOND;
    return s > UINT32_MAX ? UINT32_MAX : (uint32_t)s;
}

static int configure(struct made *m, const struct collect_args *a, int n_operands, char **operands)
{
    int r;
    if (n_operands)
        return opt_usage(&cmd_collect, "%s: no operand is taken (captures go behind --read)",
                         operands[0]);
    if (a->compress > 9)
        return opt_usage(&cmd_collect, "--compress: %llu is no level (0 to 9)",
                         (unsigned long long)a->compress);
    if (a->flush && (a->flush < SECOND / 1000 || a->flush > 3600 * SECOND))
        return opt_usage(&cmd_collect, "--flush: 1ms to 1h");
    if (a->stats_interval > 366 * DAY)
        return opt_usage(&cmd_collect, "--stats-interval: at most 366d, 0 for never");
    if (!a->waiting_time)
        return opt_usage(&cmd_collect, "--waiting-time: 1s or more");
    if ((r = add_addresses(m, a)) || (r = add_exporters(m, a)) || (r = add_archive(m, a)) ||
        (r = add_files(m, a)) || (r = add_elements(m, a)) || (r = add_workers(m, a)) ||
        (r = add_tee(m, a)))
        return r;
    struct collector_config *c = &m->config;
    c->read = a->read.items;
    c->n_read = a->read.n;
    c->level = (int)a->compress;
    c->debug = a->debug;
    c->stats_as_json = strcmp(a->stats_format, "json") == 0;
    c->stats_interval_ns = a->stats_interval;
    c->flush_ns = a->flush ? a->flush : a->file ? SECOND / 2 : SECOND;
    c->receive_buffer = a->receive_buffer;
    c->queue_octets = a->queue;
    /* A batch may be large, and a burst must not be lost; a capture waits. */
    c->output_queue_octets =
        a->output_queue == UINT64_MAX ? (a->file || a->read.n ? 64 : 512) * MIB : a->output_queue;
    c->decoder = (weir_decoder_options){
        .elements = m->elements,
        .scope = strcmp(a->scope, "port") == 0 ? WEIR_SCOPE_PORT : WEIR_SCOPE_ADDRESS,
        .max_exporters = a->max_exporters,
        .max_streams = a->max_streams,
        .max_exporter_streams = a->max_exporter_streams,
        .max_templates = a->max_templates,
        .max_fields = a->max_fields,
        .max_state_octets = a->max_state,
        .max_waiting_octets = a->max_waiting,
        .max_waiting_total = a->max_waiting_total,
        .waiting_s = whole_seconds(a->waiting_time),
        .template_life_s = whole_seconds(a->template_life),
        .idle_s = whole_seconds(a->idle),
    };
    /* What waits as octets is also what can stand unfinished as lines; text is longer than the packet. */
    c->max_held_octets = a->max_waiting_total ? a->max_waiting_total : 256 * MIB;
    return 0;
}

static int collect_run(const void *args, int n, char **operands)
{
    const struct collect_args *a = args;
    struct made m = {0};
    log_init("weir collect", a->debug ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO);
    int r = configure(&m, a, n, operands);
    if (!r)
        r = collector_run(&m.config);
    allow_done(&m.config.allow);
    weir_elements_free(m.elements);
    free(m.exporters);
    free(m.listen);
    free(m.tee);
    free(m.state);
    return r;
}

const struct cmd cmd_collect = {
    .name = "collect",
    .what = "receive flow exports and keep them",
    .operands = "",
    .opts = collect_opts,
    .args_size = sizeof(struct collect_args),
    .defaults = &collect_defaults,
    .run = collect_run,
    .examples =
        "weir collect                           # everything that arrives at port 2055, into "
        "./archive\n"
        "weir collect -r capture.pcap -a caught # from a capture instead, into another archive\n"
        "weir collect --keep 90d --min-free 20G # the last 90 days, and never fill the disk\n"
        "weir collect -p 9995 -o flows.gz       # lines of JSON in a compressed file\n"
        "weir collect --listen '[::1]:9995' -o - # plain JSON lines on standard output\n"
        "weir collect -r capture.pcap -o flows.gz # from a capture instead\n"
        "weir collect --allow 192.0.2.0/24 -o flows.gz # from these exporters alone\n"
        "weir collect --tee 192.0.2.9:2055      # and pass everything on to another collector\n",
};
