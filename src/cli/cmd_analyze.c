/* weir analyze -- which hosts talked to which, from an archive or from the files of the collectors: what `python3 -m
 * netflow.analyzer` of the package netflow 0.12.2 prints, for every protocol and in bounded memory. */
#include "analyze/connection.h"
#include "analyze/entry.h"
#include "analyze/lines.h"
#include "analyze/names.h"
#include "analyze/order.h"
#include "analyze/report.h"
#include "analyze/row.h"
#include "base/hash.h"
#include "base/log.h"
#include "cli/cmd.h"
#include "query/run.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct analyze_args {
    const char *file, *archive, *window, *filter, *match_host, *pair, *output, *dns_server;
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
    {"read", 'R', OPT_STR, AT(archive), "DIR", "an archive, or a directory or file of it, instead of files"},
    {"time-window", 't', OPT_STR, AT(window), "FROM-TO", "with --read: only flows seen then, as weir query -t has it"},
    {"filter", 0, OPT_STR, AT(filter), "FILTER", "with --read: only flows that match, in the language of weir query"},
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
    struct entry_host only;
    struct {
        int64_t received_us;
        uint32_t exporter, domain, number;
        bool numbered; /* a row of it had a sequence number */
    } packet;          /* of the last row of an archive */
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
    if (done)
        (void)fputs("\r\033[K", stderr);
    else if (a->args->archive)
        (void)fprintf(stderr, "\r%llu flows read ", (unsigned long long)a->n_flows);
    else
        (void)fprintf(stderr, "\r%llu lines, %llu flows read ", (unsigned long long)a->n_lines,
                      (unsigned long long)a->n_flows);
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

/* ---- from an archive ---- */

/* clang-format off */
/* What is asked of the archive. */
enum column {
    C_RECEIVED, C_EXPORTER, C_DOMAIN, C_SEQUENCE, C_VERSION, C_FIRST, C_LAST, C_SRC, C_DST, C_SRC_PORT, C_DST_PORT,
    C_PROTO, C_ICMP_TYPE, C_BYTES, C_PACKETS, C_BYTES_OUT, C_PACKETS_OUT, C_BYTES_REV, C_PACKETS_REV,
    N_COLUMNS
};
static const enum flow_column_id columns[N_COLUMNS] = {
    FLOW_received, FLOW_exporter, FLOW_domain, FLOW_sequence, FLOW_protocol_version, FLOW_first, FLOW_last,
    FLOW_src_addr, FLOW_dst_addr, FLOW_src_port, FLOW_dst_port, FLOW_proto, FLOW_icmp_type, FLOW_bytes, FLOW_packets,
    FLOW_bytes_out, FLOW_packets_out, FLOW_bytes_rev, FLOW_packets_rev,
};
/* clang-format on */

static bool present(const struct query_vec *v, size_t row)
{
    return v->kind != QUERY_UNKNOWN && (!v->valid || (v->valid[row >> 6] >> (row & 63) & 1));
}

/* 0 where there is none. */
static uint64_t number(const struct query_vec *v, size_t row)
{
    return present(v, row) && v->num ? v->num[row] : 0;
}

static const char *text(const struct query_vec *v, size_t row, size_t *len)
{
    if (!present(v, row) || !v->codes)
        return NULL;
    const struct query_text *t = &v->dict[v->codes[row]];
    *len = t->len;
    return t->data;
}

static void read_row(const struct query_vec *v, size_t i, struct row *r)
{
    *r = (struct row){
        .version = (uint8_t)number(&v[C_VERSION], i),
        .received_us = (int64_t)number(&v[C_RECEIVED], i),
        .domain = (uint32_t)number(&v[C_DOMAIN], i),
        .first_us = (int64_t)number(&v[C_FIRST], i),
        .last_us = (int64_t)number(&v[C_LAST], i),
        .has_first = present(&v[C_FIRST], i),
        .has_last = present(&v[C_LAST], i),
        .octets = number(&v[present(&v[C_BYTES], i) ? C_BYTES : C_BYTES_OUT], i),
        .packets = number(&v[present(&v[C_PACKETS], i) ? C_PACKETS : C_PACKETS_OUT], i),
        .octets_back = number(&v[C_BYTES_REV], i),
        .packets_back = number(&v[C_PACKETS_REV], i),
        .src_port = (uint16_t)number(&v[C_SRC_PORT], i),
        .dst_port = (uint16_t)number(&v[C_DST_PORT], i),
        .proto = (uint8_t)number(&v[C_PROTO], i),
    };
    r->exporter = text(&v[C_EXPORTER], i, &r->exporter_len);
    r->src = text(&v[C_SRC], i, &r->src_len);
    r->dst = text(&v[C_DST], i, &r->dst_len);
    if (!present(&v[C_PROTO], i) && present(&v[C_ICMP_TYPE], i))
        r->proto = r->src && memchr(r->src, ':', r->src_len) ? 58 : 1;
}

/* Packets that one exporter sent in one microsecond are told apart by their first rows, which alone have a sequence
 * number. Where rows are in another order than that of arrival (compacted files) they count as one packet. */
static void number_packet(struct analysis *a, const struct query_vec *v, size_t i, struct row *r)
{
    bool first = present(&v[C_SEQUENCE], i);
    uint32_t exporter = r->exporter ? (uint32_t)base_hash(r->exporter, r->exporter_len, 0) : 0;
    bool same = r->received_us == a->packet.received_us && r->domain == a->packet.domain &&
                exporter == a->packet.exporter;
    if (!same) {
        a->packet.received_us = r->received_us;
        a->packet.domain = r->domain;
        a->packet.exporter = exporter;
        a->packet.number = 0;
        a->packet.numbered = first;
    } else if (first) {
        a->packet.number += a->packet.numbered;
        a->packet.numbered = true;
    }
    r->packet = a->packet.number;
}

static weir_status take_block(void *user, size_t result, const struct query_block *b, weir_err *err)
{
    struct analysis *a = user;
    (void)result;
    for (size_t i = 0; i < b->n; i++) {
        struct row r;
        struct entry entry;
        struct flow flows[2];
        read_row(b->vecs, i, &r);
        number_packet(a, b->vecs, i, &r);
        row_entry(&r, &a->only, flows, &entry);
        a->n_flows += entry.n_flows;
        a->n_no_address += entry.n_no_address;
        if (entry.n_flows)
            WEIR_TRY(order_add(a->order, &entry, err));
    }
    show_progress(a, false);
    return WEIR_OK;
}

static weir_status no_begin(void *user, const struct query *q, size_t result, weir_err *err)
{
    (void)user, (void)q, (void)result, (void)err;
    return WEIR_OK;
}

static weir_status no_end(void *user, size_t result, const struct query_summary *s, weir_err *err)
{
    (void)user, (void)result, (void)s, (void)err;
    return WEIR_OK;
}

/* A filter's text as a tree. WEIR_EINVAL: it is wrong, which has been said. */
static weir_status parse_filter(query_arena *arena, const char *filter, struct query_expr **out,
                                weir_err *err)
{
    static const struct query_filter_options options = {0};
    struct query_error where = {0};
    weir_status st = query_filter_parse(arena, filter, strlen(filter), &options, out, &where, err);
    if (st != WEIR_EFORMAT && st != WEIR_ENOTFOUND)
        return st;
    base_buf words = {0};
    query_error_print(&where, err, "--filter", &words);
    if (!words.failed)
        log_text(words.data, words.len);
    base_buf_done(&words);
    return WEIR_EINVAL;
}

/* --filter and --match-host: the archive need not show what the analysis would leave out. */
static weir_status make_filter(query_arena *arena, const struct analyze_args *args,
                               const struct query_expr **out, weir_err *err)
{
    struct query_expr *parts[2], *all;
    char host[96];
    size_t n = 0;
    if (args->filter)
        WEIR_TRY(parse_filter(arena, args->filter, &parts[n++], err));
    if (args->match_host) { /* known to be an address */
        (void)snprintf(host, sizeof host, "ip %s", args->match_host);
        WEIR_TRY(parse_filter(arena, host, &parts[n++], err));
    }
    *out = n ? parts[0] : NULL;
    if (n < 2)
        return WEIR_OK;
    all = query_arena_alloc(arena, sizeof *all);
    struct query_expr **items = query_arena_alloc(arena, sizeof parts);
    if (!all || !items)
        return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
    memcpy(items, parts, sizeof parts);
    *all = (struct query_expr){.op = QUERY_OP_AND, .items = items, .n_items = n};
    *out = all;
    return WEIR_OK;
}

static weir_status query_archive(struct analysis *a, query_arena *arena, weir_err *err)
{
    struct query_field fields[N_COLUMNS];
    for (size_t i = 0; i < N_COLUMNS; i++)
        fields[i] = query_field_column(columns[i]);
    const struct query_result result = {.fields = fields, .n_fields = N_COLUMNS};
    struct query q = {
        .paths = &a->args->archive,
        .n_paths = 1,
        .from_us = INT64_MIN,
        .to_us = INT64_MAX,
        .results = &result,
        .n_results = 1,
        .raw = true,
        .threads = 1, /* rows come in the order in which they stand in the files */
    };
    const struct query_sink sink = {
        .begin = no_begin, .block = take_block, .end = no_end, .user = a};
    struct query_summary summary = {0};
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    if (a->args->window &&
        query_window_parse(a->args->window, now.tv_sec * 1000000 + now.tv_nsec / 1000, &q.from_us,
                           &q.to_us, err) != WEIR_OK) {
        log_error("--time-window: %s", err->msg);
        return WEIR_EINVAL;
    }
    WEIR_TRY(make_filter(arena, a->args, &q.filter, err));
    weir_status st = query_run(&q, false, &sink, &summary, err);
    show_progress(a, true);
    if (st == WEIR_OK && summary.files_failed) {
        log_error("%s: %llu files cannot be read: %s", a->file,
                  (unsigned long long)summary.files_failed, summary.failed);
        a->failed = true;
    }
    return st;
}

/* The flows of an archive into the order of all. WEIR_EINVAL: wrong usage, which has been said. */
static weir_status read_archive(struct analysis *a, weir_err *err)
{
    a->file = a->args->archive;
    query_arena *arena = query_arena_new();
    if (!arena)
        return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
    weir_status st = query_archive(a, arena, err);
    query_arena_free(arena);
    return st;
}

static weir_status pair_all(struct analysis *a, weir_err *err)
{
    struct order_item item;
    weir_status st;
    while ((st = order_next(a->order, &item, err)) == WEIR_OK) {
        double time = 0;
        (void)entry_key_time(item.key, row_key_time_len(item.key, item.key_len), &time);
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

static weir_status set_up(struct analysis *a, weir_err *err)
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
    a->parser = entry_parser_new(mode == PAIR_5TUPLE, a->only);
    /* Rows of one packet have one arrival: they do not replace each other. */
    a->order = order_new(memory / 4, temp_dir(), args->keep_same_time || args->archive);
    a->pairs = pairing_new(mode, args->slack_ns / 1000000, memory / 8 * 5);
    a->ports = services_new();
    if (a->ports)
        a->report = report_new(stdout, strcmp(args->output, "json") == 0, a->hosts, a->ports);
    return a->parser && a->order && a->pairs && a->report
               ? WEIR_OK
               : weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
}

/* All that is to be read. *usage: it was wrong usage, which has been said. */
static weir_status read_all(struct analysis *a, int n, char **operands, bool *usage, weir_err *err)
{
    const char *file = a->args->file;
    weir_status st = WEIR_OK;
    if (a->args->archive) {
        st = read_archive(a, err);
        *usage = st == WEIR_EINVAL;
        return st;
    }
    if (file || n == 0)
        st = read_named(a, file ? file : "-", err);
    for (int i = 0; i < n && st == WEIR_OK; i++)
        st = read_named(a, operands[i], err);
    if (n + (file != NULL) > 1)
        a->file = "all files";
    return st;
}

static int run(const void *args_, int n, char **operands)
{
    const struct analyze_args *args = args_;
    log_init("weir analyze", LOG_LEVEL_INFO);
    struct analysis a = {.args = args, .file = standard_input};
    if (args->archive && (args->file || n))
        return opt_usage(&cmd_analyze, "either --read or files, not both");
    if (!args->archive && (args->window || args->filter))
        return opt_usage(&cmd_analyze, "%s is for archives: it needs --read",
                         args->window ? "--time-window" : "--filter");
    if (args->match_host &&
        !entry_address(args->match_host, strlen(args->match_host), a.only.addr, &a.only.family)) {
        log_error("IP address '%s' is neither IPv4 nor IPv6", args->match_host);
        return 1;
    }
    weir_err err = {0};
    bool usage = false;
    weir_status st = set_up(&a, &err);
    if (st == WEIR_EINVAL) { /* nothing has been read yet */
        (void)opt_usage(&cmd_analyze, "--dns-server: %s", err.msg);
        usage = true;
    }
    if (st == WEIR_OK)
        st = read_all(&a, n, operands, &usage, &err);
    if (st == WEIR_OK)
        st = pair_all(&a, &err);
    if (st == WEIR_OK)
        tell_counts(&a);
    else if (!usage && (st != WEIR_ENOTFOUND || args->archive))
        log_error("%s", err.msg); /* of a file that is not there it has been said */
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
    .what = "show who talked to whom in an archive or in the files of a collector",
    .operands = "[FILE]...",
    .opts = analyze_opts,
    .args_size = sizeof(struct analyze_args),
    .defaults = &defaults,
    .run = run,
    .examples =
        "weir analyze -f 1585742516.gz  # connections of at least 10 packets, with names\n"
        "weir analyze archive/*.gz  # several files, as one\n"
        "weir analyze -R archive -t -1h  # the last hour of an archive\n"
        "weir analyze -R archive --filter 'dst net 192.0.2.0/24'  # what a filter selects of it\n"
        "weir analyze -n -p 1 --match-host 192.0.2.7 < flows.gz  # all of one host, "
        "addresses only\n"
        "weir analyze -n --pair 5tuple -o json -f flows.gz  # for machines, tolerant of "
        "inexact times\n",
};
