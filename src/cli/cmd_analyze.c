/* weir analyze -- which hosts talked to which, from the files of the collectors: what `python3 -m
 * netflow.analyzer` of the package netflow 0.12.2 prints, for every protocol and in bounded memory. */
#include "analyze/connection.h"
#include "analyze/entry.h"
#include "analyze/lines.h"
#include "analyze/names.h"
#include "analyze/order.h"
#include "analyze/report.h"
#include "base/log.h"
#include "cli/cmd.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct analyze_args {
    const char *file, *match_host, *pair, *output, *dns_server;
    uint64_t packets, slack_ns, dns_timeout_ns, memory, max_line;
    bool verbose, no_dns, keep_same_time;
};

static const char *const pair_choices[] = {"start", "5tuple", NULL};
static const char *const output_choices[] = {"text", "json", NULL};

static const struct analyze_args defaults = {
    .packets = 10,
    .pair = "start",
    .output = "text",
    .slack_ns = 1000000000,
    .dns_timeout_ns = 2000000000,
    .memory = 256U << 20,
    .max_line = 96U << 20, /* our collector ends lines soon after 64 MiB */
};

#define AT(field) offsetof(struct analyze_args, field)
/* clang-format off */
static const struct opt analyze_opts[] = {
    {"file", 'f', OPT_STR, AT(file), "FILE", "gzip or plain JSON lines of a collector; default standard input"},
    {"packets", 'p', OPT_U64, AT(packets), "N", "leave out connections of fewer packets; default 10"},
    {"verbose", 'v', OPT_FLAG, AT(verbose), NULL, "also show the flows that found no counterpart"},
    {"match-host", 0, OPT_STR, AT(match_host), "ADDRESS", "only connections of this host"},
    {"no-dns", 'n', OPT_FLAG, AT(no_dns), NULL, "show addresses, look up no names"},
    {"output", 'o', OPT_CHOICE, AT(output), "FORMAT", "text (default) or json, one object a connection", output_choices},
    {"pair", 0, OPT_CHOICE, AT(pair), "HOW", "start (default): equal start times and addresses; 5tuple: addresses, ports and protocol with overlapping times", pair_choices},
    {"slack", 0, OPT_SPAN, AT(slack_ns), "TIME", "with --pair 5tuple: times this far apart still overlap; default 1s"},
    {"keep-same-time", 0, OPT_FLAG, AT(keep_same_time), NULL, "count every NetFlow v9 packet of one timestamp, not only the last"},
    {"dns-timeout", 0, OPT_SPAN, AT(dns_timeout_ns), "TIME", "longest wait for one name; default 2s"},
    {"dns-server", 0, OPT_STR, AT(dns_server), "ADDRESS[:PORT]", "ask this name server instead of the system's"},
    {"memory", 0, OPT_SIZE, AT(memory), "SIZE", "memory for flows; more goes to a temporary file in TMPDIR; default 256M"},
    {"max-line", 0, OPT_SIZE, AT(max_line), "SIZE", "longest line that is read; default 96M"},
    {0},
};
/* clang-format on */

enum { MAX_COMPLAINTS = 100, MIN_MEMORY = 1 << 20 };

/* One run: what it needs and what it counted. */
struct analysis {
    const struct analyze_args *args;
    const char *file; /* as messages name it */
    entry_parser *parser;
    order *order;
    pairing *pairs;
    names *hosts;
    services *ports;
    report *report;
    uint64_t n_lines, n_malformed, n_flows, n_no_address, n_skipped;
    bool failed;
};

static void malformed(struct analysis *a, const struct line *line, const char *why, uint64_t at)
{
    a->failed = true;
    if (a->n_malformed++ < MAX_COMPLAINTS)
        log_error("%s: line %llu: %s at character %llu, line skipped", a->file,
                  (unsigned long long)line->number, why, (unsigned long long)at + 1);
    if (a->n_malformed == MAX_COMPLAINTS)
        log_error("%s: more malformed lines are only counted", a->file);
}

static bool is_blank(const struct line *line)
{
    size_t n = 0; /* no strspn: the text ends with its length, not with a NUL */
    while (n < line->len && memchr(" \t\r", line->text[n], 3))
        n++;
    return n == line->len;
}

/* On a terminal, how far a long run is; told once a second. */
static void show_progress(const struct analysis *a, bool done)
{
    static _Thread_local time_t last;
    if (!isatty(STDERR_FILENO))
        return;
    time_t now = time(NULL);
    if (!last)
        last = now + 1; /* nothing in the first two seconds */
    if (done && now > last)
        return;
    if (!done && now <= last)
        return;
    last = now;
    (void)fprintf(stderr, done ? "\r\033[K" : "\r%llu lines, %llu flows read ",
                  (unsigned long long)a->n_lines, (unsigned long long)a->n_flows);
}

static weir_status read_lines(struct analysis *a, lines *in, weir_err *err)
{
    struct line line;
    struct entry entry;
    weir_status st;
    while ((st = lines_next(in, &line, err)) == WEIR_OK) {
        if ((++a->n_lines & 0xfff) == 0)
            show_progress(a, false);
        if (line.too_long) {
            malformed(a, &line, "longer than --max-line", a->args->max_line);
            continue;
        }
        if (is_blank(&line))
            continue;
        st = entry_parse(a->parser, line.text, line.len, &entry, err);
        if (st == WEIR_EFORMAT) {
            /* A line that was cut off by the end of a damaged file is told about as that, below. */
            if (!line.cut || !lines_damage(in).truncated)
                malformed(a, &line, err->msg, err->at);
            continue;
        }
        if (st != WEIR_OK)
            return st;
        a->n_flows += entry.n_flows;
        a->n_no_address += entry.n_no_address;
        WEIR_TRY(order_add(a->order, &entry, err));
    }
    return st == WEIR_END ? WEIR_OK : st;
}

static weir_status read_file(struct analysis *a, int fd, weir_err *err)
{
    lines *in;
    WEIR_TRY(lines_new(&in, fd, a->args->max_line, err));
    weir_status st = read_lines(a, in, err);
    show_progress(a, true);
    struct lines_damage damage = lines_damage(in);
    lines_free(in);
    if (st == WEIR_EIO) { /* what came before is analysed */
        log_error("%s: %s", a->file, err->msg);
        a->failed = true;
        st = WEIR_OK;
    }
    if (damage.truncated)
        log_warning("%s: the last gzip member has no end (its collector was stopped or still "
                    "writes); read up to "
                    "there",
                    a->file);
    if (damage.n_broken) {
        log_error("%s: damaged at octet %llu%s; continued at the next gzip member (see 'gzip -t')",
                  a->file, (unsigned long long)damage.first_at,
                  damage.n_broken > 1 ? " and at later places" : "");
        a->failed = true;
    }
    return st;
}

static const char standard_input[] = "standard input";

/* One file into the order of all, "-": standard input. WEIR_ENOTFOUND: it cannot be opened, which has been said in the
 * words of netflow.analyzer. */
static weir_status read_named(struct analysis *a, const char *path, weir_err *err)
{
    if (strcmp(path, "-") == 0) {
        a->file = standard_input;
        return read_file(a, STDIN_FILENO, err);
    }
    a->file = path;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        if (errno == ENOENT)
            log_error("File %s does not exist!", path);
        else
            log_error("cannot open %s: %s", path, strerror(errno));
        return weir_err_set(err, WEIR_ENOTFOUND, 0, "%s", path);
    }
    weir_status st = read_file(a, fd, err);
    (void)close(fd);
    return st;
}

static weir_status pair_all(struct analysis *a, weir_err *err)
{
    struct order_item item;
    weir_status st;
    while ((st = order_next(a->order, &item, err)) == WEIR_OK) {
        double time = 0;
        (void)entry_key_time(item.key, item.key_len, &time);
        int64_t time_ms = (int64_t)floor(time * 1000);
        for (size_t i = 0; i < item.n; i++) {
            struct flow peer;
            weir_status found = pairing_find(a->pairs, &item.flows[i], time_ms, &peer);
            if (found == WEIR_ENOMEM)
                return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory (lower --memory)");
            if (found != WEIR_OK)
                continue;
            struct connection c = connection_of(&item.flows[i], &peer);
            if (connection_packets(&c) < a->args->packets)
                a->n_skipped++;
            else
                WEIR_TRY(report_connection(a->report, time, &c, err));
        }
    }
    if (st != WEIR_END)
        return st;
    return report_end(a->report, a->n_skipped, a->args->packets, a->args->verbose, a->pairs, err);
}

/* A place for the temporary file; /var/tmp is on a disk where /tmp may be memory. */
static const char *temp_dir(void)
{
    const char *dir = getenv("TMPDIR");
    if (dir && *dir)
        return dir;
    return access("/var/tmp", W_OK) == 0 ? "/var/tmp" : "/tmp";
}

static void tell_counts(const struct analysis *a)
{
    uint64_t replaced = order_replaced(a->order), dropped = pairing_dropped(a->pairs);
    if (a->n_malformed >= MAX_COMPLAINTS)
        log_error("%s: %llu malformed lines skipped", a->file, (unsigned long long)a->n_malformed);
    if (replaced)
        log_warning(
            "%s: %llu NetFlow v9 packets have the timestamp of a later one and do not count, as in "
            "netflow.analyzer (--keep-same-time counts them)",
            a->file, (unsigned long long)replaced);
    if (dropped)
        log_warning("%s: %llu flows without counterpart were given up to stay within --memory",
                    a->file, (unsigned long long)dropped);
    if (a->hosts && names_gave_up(a->hosts))
        log_warning("no name server answers: the rest is shown by address (-n asks for no names)");
    if (a->args->verbose && a->n_no_address)
        log_info("%s: %llu records without a pair of addresses (options, counters) left out",
                 a->file, (unsigned long long)a->n_no_address);
    if (a->args->verbose && strcmp(a->args->output, "json") == 0)
        log_info("%s: %llu connections of fewer than %llu packets left out, %zu flows without "
                 "counterpart",
                 a->file, (unsigned long long)a->n_skipped, (unsigned long long)a->args->packets,
                 pairing_waiting(a->pairs));
}

static weir_status set_up(struct analysis *a, struct entry_host only, weir_err *err)
{
    const struct analyze_args *args = a->args;
    enum pair_mode mode = strcmp(args->pair, "start") == 0 ? PAIR_START : PAIR_5TUPLE;
    size_t memory = args->memory < MIN_MEMORY ? MIN_MEMORY : args->memory;
    if (!args->no_dns) {
        struct names_options o = {.timeout_ms = args->dns_timeout_ns / 1000000,
                                  .servers = args->dns_server};
        if (o.timeout_ms == 0)
            o.timeout_ms = 1;
        weir_status st = names_new(&a->hosts, &o, err);
        if (st == WEIR_EINVAL)
            return st;
        if (st != WEIR_OK)
            log_warning("%s; showing addresses", err->msg);
    }
    a->parser = entry_parser_new(mode == PAIR_5TUPLE, only);
    a->order = order_new(memory / 4, temp_dir(), args->keep_same_time);
    a->pairs = pairing_new(mode, args->slack_ns / 1000000, memory / 8 * 5);
    a->ports = services_new();
    if (a->ports)
        a->report = report_new(stdout, strcmp(args->output, "json") == 0, a->hosts, a->ports);
    return a->parser && a->order && a->pairs && a->report
               ? WEIR_OK
               : weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
}

static int run(const void *args_, int n, char **operands)
{
    const struct analyze_args *args = args_;
    log_init("weir analyze", LOG_LEVEL_INFO);
    struct entry_host only = {.family = 0};
    if (args->match_host &&
        !entry_address(args->match_host, strlen(args->match_host), only.addr, &only.family)) {
        log_error("IP address '%s' is neither IPv4 nor IPv6", args->match_host);
        return 1;
    }
    struct analysis a = {.args = args, .file = standard_input};
    weir_err err = {0};
    weir_status st = set_up(&a, only, &err);
    if (st == WEIR_OK && (args->file || n == 0))
        st = read_named(&a, args->file ? args->file : "-", &err);
    for (int i = 0; i < n && st == WEIR_OK; i++)
        st = read_named(&a, operands[i], &err);
    if (n + (args->file != NULL) > 1)
        a.file = "all files";
    if (st == WEIR_OK)
        st = pair_all(&a, &err);
    bool usage = st == WEIR_EINVAL; /* of --dns-server: nothing has been read yet */
    if (st == WEIR_OK)
        tell_counts(&a);
    else if (usage)
        (void)opt_usage(&cmd_analyze, "--dns-server: %s", err.msg);
    else if (st != WEIR_ENOTFOUND)
        log_error("%s", err.msg);
    report_free(a.report);
    services_free(a.ports);
    pairing_free(a.pairs);
    order_free(a.order);
    entry_parser_free(a.parser);
    names_free(a.hosts);
    return usage ? 2 : st != WEIR_OK || a.failed;
}

const struct cmd cmd_analyze = {
    .name = "analyze",
    .what = "show who talked to whom in the files of a collector",
    .operands = "[FILE]...",
    .opts = analyze_opts,
    .args_size = sizeof(struct analyze_args),
    .defaults = &defaults,
    .run = run,
    .examples = "weir analyze -f 1585742516.gz  # connections of at least 10 packets, with names\n"
                "weir analyze archive/*.gz  # several files, as one\n"
                "weir analyze -n -p 1 --match-host 192.0.2.7 < flows.gz  # all of one host, "
                "addresses only\n"
                "weir analyze -n --pair 5tuple -o json -f flows.gz  # for machines, tolerant of "
                "inexact times\n",
};
