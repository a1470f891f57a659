/* gen -- made-up exporters: packets of them to a collector or into files, and the truth about what was sent. */
#include "cli/cmd.h"

#include "base/err.h"
#include "base/log.h"
#include "base/text.h"
#include "gen/cycle.h"
#include "gen/file.h"
#include "gen/send.h"
#include "query/when.h"

#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

struct gen_args {
    const char *format, *hosts, *ipv6, *start, *template_every, *drop, *duplicate;
    const char *pcap, *payload, *csv, *truth;
    uint64_t flows, rate, pps, seconds, exporters, seed, flows_per_packet, max_payload, sampling;
    uint64_t reorder, cycle, port;
    bool v5, v9, ipfix, gso, quiet;
};

#define UNSET UINT64_MAX
#define SECOND UINT64_C(1000000000)
enum {
    DEFAULT_FLOWS = 1000000,
    DEFAULT_RATE = 10000,
    DEFAULT_PAYLOAD = 1400,
    FULL_V5 =
        24 + GEN_MOST_RECORDS_V5 * 48, /* octets of a packet with all records that v5 allows */
    DEFAULT_START_S = 1767225600,      /* 2026-01-01 00:00 UTC */
    FAST_RATE = 1000000,               /* by which times are made where there is no rate */
    LOOK_AT_CLOCK = 4096               /* flows or packets between two looks for progress */
};

static volatile bool stop;

static void on_signal(int number)
{
    (void)number;
    stop = true;
}

/* --- what the options say ----------------------------------------------------------------------- */

struct plan {
    const struct gen_args *args;
    const char *to; /* NULL: files alone */
    enum gen_format format;
    struct gen_traffic_options traffic;
    struct gen_exporters_options exporters;
    struct gen_way_options way;
    uint64_t flows; /* to make; UNSET: until the time is over */
    double rate;    /* flows a second of the times in them */
    double send_rate;
    bool by_packets; /* send_rate counts packets */
    bool cycle;
};

static const char *const format_names[] = {[GEN_V5] = "v5", [GEN_V9] = "v9", [GEN_IPFIX] = "ipfix"};

/* "N" or "N/M" with the suffixes of OPT_COUNT. */
static bool parse_count(const char *text, const char *end, uint64_t *out)
{
    uint64_t v = 0, factor = 1;
    if (end == text)
        return false;
    switch (end[-1]) {
    case 'k':
        factor = 1000;
        break;
    case 'M':
        factor = 1000000;
        break;
    default:
        break;
    }
    end -= factor > 1;
    for (const char *p = text; p < end; p++)
        if (*p < '0' || *p > '9' || __builtin_mul_overflow(v, (uint64_t)10, &v) ||
            __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
            return false;
    return end > text && !__builtin_mul_overflow(v, factor, out);
}

static bool parse_pair(const char *text, uint64_t *a, uint64_t *b)
{
    const char *slash = strchr(text, '/');
    return slash && parse_count(text, slash, a) && parse_count(slash + 1, text + strlen(text), b);
}

/* "0.15" or "15%", in millionths. */
static bool parse_part(const char *text, uint32_t *ppm)
{
    char *end;
    double v = strtod(text, &end);
    if (end == text || !isfinite(v))
        return false;
    if (*end == '%') {
        end++;
        v /= 100;
    }
    *ppm = (uint32_t)(v * 1e6 + 0.5);
    return !*end && v >= 0 && v <= 1;
}

static int plan_share(const char *name, const char *text, struct gen_share *out)
{
    uint64_t k, n;
    if (!text)
        return 0;
    if (!parse_pair(text, &k, &n) || k < 1 || k >= n || n > 1000000)
        return opt_usage(&cmd_gen, "--%s %s: write K/N, K packets of every N (1 <= K < N)", name,
                         text);
    *out = (struct gen_share){(uint32_t)k, (uint32_t)n};
    return 0;
}

static int plan_templates(struct plan *p)
{
    static const struct {
        const char *unit;
        uint64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};
    const char *text = p->args->template_every;
    uint64_t v;
    size_t digits = strspn(text, "0123456789");
    bool number = parse_count(text, text + digits, &v) && v >= 1 && v <= UINT32_MAX;
    if (number && !text[digits]) {
        p->exporters.template_packets = (uint32_t)v;
        return 0;
    }
    for (size_t i = 0; i < ARRAY_LEN(units) && number; i++)
        if (strcmp(text + digits, units[i].unit) == 0)
            p->exporters.template_ms = v * units[i].ms;
    if (!p->exporters.template_ms)
        return opt_usage(
            &cmd_gen, "--template-every %s: write a number of packets (500) or a time (30s)", text);
    return 0;
}

static int plan_hosts(struct plan *p)
{
    const char *text = p->args->hosts;
    uint64_t in, out;
    if (!parse_pair(text, &in, &out) || in < 1 || in > GEN_MAX_INTERNAL || out < 1 ||
        out > GEN_MAX_EXTERNAL)
        return opt_usage(&cmd_gen, "--hosts %s: write INTERNAL/EXTERNAL, 1 to %d and 1 to %d hosts",
                         text, GEN_MAX_INTERNAL, GEN_MAX_EXTERNAL);
    p->traffic.internal = (uint32_t)in;
    p->traffic.external = (uint32_t)out;
    return 0;
}

static int plan_start(struct plan *p)
{
    const char *text = p->args->start;
    p->exporters.start_ms = DEFAULT_START_S * UINT64_C(1000);
    if (p->to && text)
        return opt_usage(&cmd_gen, "--start: packets that are sent carry the present time");
    if (p->to) {
        struct timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        p->exporters.start_ms = (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
        return 0;
    }
    if (!text)
        return 0;
    struct query_when when;
    uint64_t s;
    const char *wrong = NULL;
    if (text[0] == '@') {
        if (!parse_count(text + 1, text + strlen(text), &s) || s > UINT32_MAX)
            return opt_usage(&cmd_gen, "--start %s: '@' stands before seconds since 1970", text);
        when.us = (int64_t)s * 1000000;
    } else if ((wrong = query_when_parse(text, strlen(text), &when)) || text[when.used]) {
        return opt_usage(&cmd_gen, "--start %s: %s (write 2026-11-22T21:05Z or @1767225600)", text,
                         wrong ? wrong : "something stands behind it");
    }
    /* Export times are unsigned 32 bits, and exporters have been up for some days. */
    if (when.us < INT64_C(30) * 86400 * 1000000 || when.us > INT64_C(4294000000) * 1000000)
        return opt_usage(&cmd_gen, "--start %s: 1970-02 to 2106", text);
    p->exporters.start_ms = (uint64_t)when.us / 1000;
    return 0;
}

static int plan_rate(struct plan *p)
{
    const struct gen_args *a = p->args;
    if (a->rate != UNSET && a->pps != UNSET)
        return opt_usage(&cmd_gen, "--rate and --pps exclude each other");
    if (!p->to && (a->pps != UNSET || a->rate == 0))
        return opt_usage(&cmd_gen,
                         "%s: only a destination HOST:PORT has a speed; in files --rate "
                         "spaces the times of flows",
                         a->pps != UNSET ? "--pps" : "--rate 0");
    uint64_t rate = a->rate == UNSET ? DEFAULT_RATE : a->rate;
    p->by_packets = a->pps != UNSET;
    p->send_rate = (double)(p->by_packets ? a->pps : rate);
    /* With packets, their flows are a guess that only decides how far apart times are. */
    uint64_t each = a->flows_per_packet ? a->flows_per_packet : 20;
    p->rate = p->send_rate > 0 ? p->send_rate * (double)(p->by_packets ? each : 1) : FAST_RATE;
    p->flows = a->flows;
    if (a->flows == UNSET && !p->to) {
        double n = a->seconds == UNSET ? DEFAULT_FLOWS : p->rate * (double)a->seconds / 1e9;
        p->flows = n < 1e18 ? (uint64_t)n : (uint64_t)1e18;
    }
    return 0;
}

static int plan_ranges(struct plan *p)
{
    const struct gen_args *a = p->args;
    uint64_t max_payload = a->max_payload;
    if (max_payload == UNSET)
        max_payload = p->format == GEN_V5 && a->flows_per_packet > 28 ? FULL_V5 : DEFAULT_PAYLOAD;
    const struct {
        const char *name;
        uint64_t v, least, most;
    } rows[] = {
        {"exporters", a->exporters, 1, GEN_MOST_EXPORTERS},
        {"max-payload", max_payload, GEN_LEAST_PAYLOAD, GEN_MOST_PAYLOAD},
        {"sampling", a->sampling, 1, p->format == GEN_V5 ? GEN_MOST_SAMPLING_V5 : UINT32_MAX},
        {"reorder", a->reorder, 0, 1000000},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].v < rows[i].least || rows[i].v > rows[i].most)
            return opt_usage(&cmd_gen, "--%s %" PRIu64 ": %" PRIu64 " to %" PRIu64, rows[i].name,
                             rows[i].v, rows[i].least, rows[i].most);
    if (p->format == GEN_V5 && a->flows_per_packet > GEN_MOST_RECORDS_V5)
        return opt_usage(&cmd_gen,
                         "--flows-per-packet %" PRIu64 ": a packet of NetFlow v5 has at most %d",
                         a->flows_per_packet, GEN_MOST_RECORDS_V5);
    uint32_t most = gen_exporters_most_records(p->format, (uint32_t)max_payload);
    if (a->flows_per_packet > most)
        return opt_usage(&cmd_gen,
                         "--flows-per-packet %" PRIu64 ": a packet of %s has at most %" PRIu32
                         " in --max-payload %" PRIu64,
                         a->flows_per_packet, format_names[p->format], most, max_payload);
    if (a->reorder == 1)
        return opt_usage(&cmd_gen, "--reorder 1: one packet of at least 2");
    p->exporters.max_payload = (uint32_t)max_payload;
    return 0;
}

static int make_plan(struct plan *p, const struct gen_args *a, int n, char **operands)
{
    int r;
    *p = (struct plan){.args = a, .to = n ? operands[0] : NULL};
    const char *outputs[] = {a->pcap, a->payload, a->csv, a->truth};
    unsigned named = 0, standard = 0;
    for (size_t i = 0; i < ARRAY_LEN(outputs); i++) {
        named += outputs[i] != NULL;
        standard += outputs[i] && strcmp(outputs[i], "-") == 0;
    }
    if (n > 1)
        return opt_usage(&cmd_gen, "'%s': one destination is taken", operands[1]);
    if (!n && !named)
        return opt_usage(&cmd_gen,
                         "nowhere to: give HOST:PORT, --pcap, --payload, --csv or --truth");
    if (standard > 1)
        return opt_usage(&cmd_gen, "-: standard output takes one of --pcap, --payload, --csv and "
                                   "--truth");
    if (a->v5 + a->v9 + a->ipfix > 1)
        return opt_usage(&cmd_gen, "--v5, --v9 and --ipfix exclude each other");
    bool v5 = a->v5 || (!a->v9 && !a->ipfix && strcmp(a->format, "v5") == 0);
    bool ipfix = a->ipfix || (!a->v9 && !a->v5 && strcmp(a->format, "ipfix") == 0);
    p->format = v5 ? GEN_V5 : ipfix ? GEN_IPFIX : GEN_V9;
    if ((r = plan_ranges(p)) || (r = plan_hosts(p)) || (r = plan_start(p)) || (r = plan_rate(p)) ||
        (r = plan_templates(p)) || (r = plan_share("drop", a->drop, &p->way.drop)) ||
        (r = plan_share("duplicate", a->duplicate, &p->way.twice)))
        return r;
    p->traffic.format = p->exporters.format = p->format;
    p->traffic.seed = a->seed;
    p->traffic.exporters = p->exporters.n = p->way.exporters = (uint32_t)a->exporters;
    p->exporters.max_records = (uint32_t)a->flows_per_packet;
    p->exporters.sampling = (uint32_t)a->sampling;
    p->exporters.keep_flows = a->csv != NULL;
    p->way.reorder = (uint32_t)a->reorder;
    p->cycle = p->to && a->cycle && !a->csv;
    if (!parse_part(a->ipv6, &p->traffic.ipv6_ppm))
        return opt_usage(&cmd_gen, "--ipv6 %s: write a part of 1, 0.15 or 15%%", a->ipv6);
    return 0;
}

/* --- the run ------------------------------------------------------------------------------------ */

struct run {
    const struct plan *plan;
    gen_traffic *traffic;
    gen_exporters *exporters;
    gen_way *way;
    gen_send *send;
    struct gen_cycle cycle;
    struct gen_file pcap, payload, csv;
    double begin, end, shown;
    bool terminal;
};

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Coarse: a few nanoseconds a packet, and headers show nothing finer than its milliseconds. */
static uint64_t wall_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME_COARSE, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static weir_status take_payload(void *user, const struct gen_out *out, weir_err *err)
{
    struct run *run = user;
    if (run->pcap.open)
        WEIR_TRY(gen_file_pcap(&run->pcap, out, (uint16_t)run->plan->args->port, err));
    if (run->payload.open)
        WEIR_TRY(gen_file_payload(&run->payload, out, err));
    if (!run->send)
        return WEIR_OK;
    struct gen_out o = *out;
    o.stays &= run->plan->cycle; /* else its exporter soon builds another packet there */
    return gen_send_put(run->send, &o, run->plan->by_packets ? 1 : out->n_flows, err);
}

static void address_of(const struct run *run, uint32_t exporter, char out[64])
{
    if (run->send) {
        (void)snprintf(out, 64, "%s", gen_send_address(run->send, exporter));
        return;
    }
    uint32_t v4 = gen_exporter_address(exporter);
    uint8_t a[4] = {(uint8_t)(v4 >> 24), (uint8_t)(v4 >> 16), (uint8_t)(v4 >> 8), (uint8_t)v4};
    out[base_ipv4_text(out, a)] = 0;
}

static weir_status take_flows(void *user, const struct gen_packet *p, weir_err *err)
{
    struct run *run = user;
    char address[64];
    address_of(run, p->exporter, address);
    return gen_file_csv(&run->csv, p, address, err);
}

/* A packet is finished: into the cycle while that is made, else on its way. */
static weir_status take_packet(void *user, struct gen_packet *p, weir_err *err)
{
    struct run *run = user;
    if (run->plan->cycle)
        return gen_cycle_add(&run->cycle, p, err);
    return gen_way_put(run->way, p, run->send ? wall_ms() : p->time_ms, err);
}

static void progress(struct run *run)
{
    double now = now_s();
    if (run->end > 0 && now >= run->end)
        stop = true;
    if (!run->terminal || now - run->begin < 2 || now - run->shown < 0.5)
        return;
    const struct gen_counts *c = gen_way_total(run->way);
    run->shown = now;
    (void)fprintf(stderr, "\r\033[K%" PRIu64 " packets, %" PRIu64 " flows, %.0f flows/s",
                  c->packets, c->flows, (double)c->flows / (now - run->begin));
}

/* Make n flows, or until it is time to stop, n being UNSET. *done: how many it were. */
static weir_status make_flows(struct run *run, uint64_t n, bool wait, weir_err *err)
{
    const struct plan *p = run->plan;
    double ms_each = 1000 / p->rate;
    uint64_t now_ms = p->exporters.start_ms;
    for (uint64_t i = 0; i < n && !stop; i++) {
        struct gen_flow f;
        if (wait && run->send) {
            gen_send_wait(run->send, &stop);
            if (run->end > 0)
                progress(run);
        }
        now_ms = p->exporters.start_ms + (uint64_t)((double)i * ms_each);
        gen_traffic_next(run->traffic, now_ms, &f);
        WEIR_TRY(gen_exporters_add(run->exporters, &f, now_ms, err));
        if (i % LOOK_AT_CLOCK == 0)
            progress(run);
    }
    return gen_exporters_flush(run->exporters, now_ms, err);
}

/* How many flows the cycle has: no more than will be sent. */
static uint64_t cycle_flows(const struct plan *p)
{
    uint64_t n = p->args->cycle;
    if (p->flows < n)
        n = p->flows;
    if (p->args->seconds != UNSET && p->send_rate > 0) {
        double most = p->rate * (double)p->args->seconds / 1e9 + 1000;
        if (most < (double)n)
            n = (uint64_t)most;
    }
    return n ? n : 1;
}

static weir_status send_cycle(struct run *run, weir_err *err)
{
    const struct gen_counts *c = gen_way_total(run->way);
    uint64_t n = 0;
    while (!stop) {
        for (size_t i = 0; i < run->cycle.n && !stop; i++) {
            if (c->flows + c->lost_flows >= run->plan->flows)
                return WEIR_OK;
            gen_send_wait(run->send, &stop);
            WEIR_TRY(gen_way_put(run->way, &run->cycle.packets[i], wall_ms(), err));
            if (n++ % LOOK_AT_CLOCK == 0 || run->plan->send_rate > 0)
                progress(run);
        }
        gen_send_flush(run->send); /* before the first packets are renewed */
    }
    return WEIR_OK;
}

static weir_status run_all(struct run *run, weir_err *err)
{
    const struct plan *p = run->plan;
    run->begin = now_s();
    if (p->cycle) {
        WEIR_TRY(make_flows(run, cycle_flows(p), false, err));
        gen_cycle_close(&run->cycle);
        run->begin = now_s();
    }
    if (p->to && p->args->seconds != UNSET)
        run->end = run->begin + (double)p->args->seconds / 1e9;
    if (p->cycle)
        WEIR_TRY(send_cycle(run, err));
    else
        WEIR_TRY(make_flows(run, p->flows, true, err));
    uint64_t last_ms = p->exporters.start_ms + (uint64_t)((double)p->flows * 1000 / p->rate);
    WEIR_TRY(gen_way_end(run->way, run->send ? wall_ms() : last_ms, err));
    if (run->send)
        gen_send_flush(run->send);
    run->end = now_s();
    WEIR_TRY(gen_file_close(&run->pcap, err));
    WEIR_TRY(gen_file_close(&run->payload, err));
    return gen_file_close(&run->csv, err);
}

static weir_status open_all(struct run *run, weir_err *err)
{
    const struct plan *p = run->plan;
    struct gen_receiver to = {
        .payload = take_payload, .flows = p->args->csv ? take_flows : NULL, .user = run};
    run->traffic = gen_traffic_new(&p->traffic);
    run->exporters = gen_exporters_new(&p->exporters, take_packet, run);
    run->way = run->exporters ? gen_way_new(&p->way, run->exporters, &to) : NULL;
    if (!run->traffic || !run->way)
        return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory for %u exporters", p->exporters.n);
    if (p->to) {
        struct rlimit files;
        if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < p->exporters.n + 64) {
            files.rlim_cur = files.rlim_max;
            (void)setrlimit(RLIMIT_NOFILE, &files);
        }
        struct gen_send_options send = {.to = p->to,
                                        .exporters = p->exporters.n,
                                        .rate = p->send_rate,
                                        .segments = p->args->gso};
        WEIR_TRY(gen_send_new(&send, &run->send, err));
    }
    if (p->args->pcap)
        WEIR_TRY(gen_file_open_pcap(&run->pcap, p->args->pcap, err));
    if (p->args->payload)
        WEIR_TRY(gen_file_open_payload(&run->payload, p->args->payload, err));
    return p->args->csv ? gen_file_open_csv(&run->csv, p->args->csv, err) : WEIR_OK;
}

static void close_all(struct run *run)
{
    gen_file_done(&run->pcap);
    gen_file_done(&run->payload);
    gen_file_done(&run->csv);
    gen_send_free(run->send);
    gen_way_free(run->way);
    gen_exporters_free(run->exporters);
    gen_traffic_free(run->traffic);
    gen_cycle_done(&run->cycle);
}

/* --- what is said at the end -------------------------------------------------------------------- */

static weir_status write_truth(const struct run *run, weir_err *err)
{
    const struct plan *p = run->plan;
    const struct gen_counts *c = gen_way_total(run->way);
    base_buf b = {0};
    base_buf_printf(&b, "{\"format\": \"%s\", \"seed\": %" PRIu64 ", \"sampling\": %u, ",
                    format_names[p->format], p->traffic.seed, p->exporters.sampling);
    gen_counts_json(c, &b);
    if (run->send) { /* what is not the same in every run */
        double s = run->end - run->begin;
        const struct gen_send_counts *k = gen_send_counts(run->send);
        base_buf_printf(&b,
                        ", \"seconds\": %.6f, \"packets_per_second\": %.1f, "
                        "\"flows_per_second\": %.1f, \"refused\": %" PRIu64
                        ", \"failed_packets\": %" PRIu64,
                        s, (double)c->packets / s, (double)c->flows / s, k->refused, k->failed);
    }
    base_buf_str(&b, ", \"exporters\": [");
    bool first = true;
    for (uint32_t i = 0; i < p->exporters.n; i++) {
        const struct gen_counts *own = gen_way_counts(run->way, i);
        char address[64];
        if (!own->packets)
            continue;
        address_of(run, i, address);
        base_buf_printf(&b, "%s\n  {\"address\": \"%s\", \"port\": %u, \"domain\": %u, ",
                        first ? "" : ",", address,
                        run->send ? gen_send_port(run->send, i) : gen_exporter_port(i),
                        gen_exporters_domain(run->exporters, i));
        first = false;
        gen_counts_json(own, &b);
        base_buf_char(&b, '}');
    }
    base_buf_str(&b, first ? "]}\n" : "\n]}\n");
    weir_status status = WEIR_OK;
    bool standard = strcmp(p->args->truth, "-") == 0;
    const char *name = standard ? "standard output" : p->args->truth;
    FILE *f = standard ? stdout : fopen(p->args->truth, "we");
    if (b.failed)
        status = weir_err_set(err, WEIR_ENOMEM, 0, "%s: out of memory", name);
    else if (!f || fwrite(b.data, 1, b.len, f) != b.len || fflush(f) != 0)
        status = weir_err_set(err, WEIR_EIO, 0, "%s: cannot be written: %m", name);
    if (f && !standard && fclose(f) != 0 && status == WEIR_OK)
        status = weir_err_set(err, WEIR_EIO, 0, "%s: cannot be written: %m", name);
    base_buf_done(&b);
    return status;
}

/* True: all was sent. */
static bool say_end(const struct run *run)
{
    const struct gen_counts *c = gen_way_total(run->way);
    double s = run->end - run->begin;
    if (run->shown > 0)
        (void)fputs("\r\033[K", stderr);
    if (!run->plan->args->quiet) {
        log_info("%" PRIu64 " packets (%" PRIu64 " of templates), %" PRIu64 " flows, %" PRIu64
                 " octets in %.3f s: %.0f packets/s, %.0f flows/s",
                 c->packets, c->template_packets, c->flows, c->octets, s, (double)c->packets / s,
                 (double)c->flows / s);
        if (c->lost_packets || c->twice_packets || c->overtaken_packets)
            log_info("as asked for, %" PRIu64 " packets (%" PRIu64 " flows) were lost, %" PRIu64
                     " (%" PRIu64 ") sent twice, %" PRIu64 " overtaken",
                     c->lost_packets, c->lost_flows, c->twice_packets, c->twice_flows,
                     c->overtaken_packets);
    }
    if (!run->send)
        return true;
    const struct gen_send_counts *k = gen_send_counts(run->send);
    if (k->refused)
        log_warning("%s: nobody listened there, it said so %" PRIu64 " times", run->plan->to,
                    k->refused);
    if (k->failed)
        log_error("%s: %" PRIu64 " packets could not be sent: %s", run->plan->to, k->failed,
                  strerror(k->error));
    return !k->failed;
}

static int gen_run(const void *args, int n, char **operands)
{
    struct plan plan;
    weir_err err = {0};
    int usage = make_plan(&plan, args, n, operands);
    if (usage)
        return usage;
    log_init("weir gen", LOG_LEVEL_INFO);
    struct sigaction action = {.sa_handler = on_signal}; /* no SA_RESTART: waiting ends */
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    struct run run = {.plan = &plan, .terminal = isatty(STDERR_FILENO) && !plan.args->quiet};
    weir_status status = open_all(&run, &err);
    if (status == WEIR_OK)
        status = run_all(&run, &err);
    bool good = status == WEIR_OK && say_end(&run);
    if (status == WEIR_OK && plan.args->truth)
        status = write_truth(&run, &err);
    if (status != WEIR_OK)
        log_error("%s", err.msg);
    close_all(&run);
    return good && status == WEIR_OK ? 0 : 1;
}

/* --- options ------------------------------------------------------------------------------------ */

static const char *const formats[] = {"v5", "v9", "ipfix", NULL};

static const struct gen_args gen_defaults = {
    .format = "v9",
    .hosts = "20k/400k",
    .ipv6 = "0.15",
    .template_every = "500",
    .flows = UNSET,
    .rate = UNSET,
    .pps = UNSET,
    .seconds = UNSET,
    .exporters = 4,
    .seed = 1,
    .max_payload = UNSET,
    .sampling = 1,
    .cycle = 1000000,
    .port = 2055,
};

#define AT(member) offsetof(struct gen_args, member)
/* clang-format off */
static const struct opt gen_opts[] = {
    {"format", 'F', OPT_CHOICE, AT(format), "FORMAT", "export protocol: v5, v9 or ipfix; sFlow is not there (default v9)", formats},
    {"v5", '5', OPT_FLAG, AT(v5), NULL, "the same as --format v5"},
    {"v9", '9', OPT_FLAG, AT(v9), NULL, "the same as --format v9"},
    {"ipfix", 0, OPT_FLAG, AT(ipfix), NULL, "the same as --format ipfix"},
    {"flows", 'n', OPT_COUNT, AT(flows), "N", "flows to make, with k, M or G behind (default: to a destination no limit, into files 1M)"},
    {"seconds", 't', OPT_SPAN, AT(seconds), "SPAN", "how long to send; in files how much time the flows span"},
    {"rate", 'r', OPT_COUNT, AT(rate), "N", "flows a second, 0 to send as fast as possible (default 10k)"},
    {"pps", 0, OPT_COUNT, AT(pps), "N", "packets a second instead, 0 to send as fast as possible"},
    {"exporters", 'e', OPT_COUNT, AT(exporters), "N", "exporters: to 127.0.0.0/8 each has an address of its own (127.0.1.1 and up), to others a source port and a domain (default 4)"},
    {"hosts", 0, OPT_STR, AT(hosts), "N/M", "internal and external hosts that talk (default 20k/400k)"},
    {"ipv6", '6', OPT_STR, AT(ipv6), "SHARE", "connections over IPv6, as 0.15 or 15%; none in v5 (default 0.15)"},
    {"seed", 's', OPT_U64, AT(seed), "N", "another seed, other flows (default 1)"},
    {"flows-per-packet", 0, OPT_COUNT, AT(flows_per_packet), "N", "most flows of a packet (default what fits into --max-payload; v5 at most 30)"},
    {"max-payload", 0, OPT_SIZE, AT(max_payload), "SIZE", "most octets of a packet's payload, 512 to 8972 (default 1400; 1464 for 29 and 30 flows of v5)"},
    {"template-every", 0, OPT_STR, AT(template_every), "N|SPAN", "templates again after so many packets of an exporter, or so much time such as 30s (default 500)"},
    {"sampling", 0, OPT_COUNT, AT(sampling), "N", "announce that 1 of N packets is looked at; counters stay as they are (default 1)"},
    {"start", 0, OPT_STR, AT(start), "TIME", "when the flows in files begin, as 2026-11-22T21:05Z or @SECONDS (default 2026-01-01T00:00Z)"},
    {"pcap", 'w', OPT_STR, AT(pcap), "FILE", "write a capture, - for standard output"},
    {"port", 'p', OPT_PORT, AT(port), "PORT", "destination port in the capture (default 2055)"},
    {"payload", 0, OPT_STR, AT(payload), "FILE", "write payloads, each after its length and its exporter's number (little-endian, 4 octets each)"},
    {"csv", 0, OPT_STR, AT(csv), "FILE", "write the flows that are sent, as they are sent; none is then sent again with another time"},
    {"truth", 0, OPT_STR, AT(truth), "FILE", "write as JSON what was sent, in total and of each exporter, - for standard output"},
    {"drop", 0, OPT_STR, AT(drop), "K/N", "lose K of every N packets of an exporter: they count in its sequence numbers and are not sent"},
    {"duplicate", 0, OPT_STR, AT(duplicate), "K/N", "send K of every N packets of an exporter twice"},
    {"reorder", 0, OPT_COUNT, AT(reorder), "N", "let one of every N packets of an exporter be overtaken by the next"},
    {"cycle", 0, OPT_COUNT, AT(cycle), "N", "to a destination: make so many flows and send them again and again with new times, 0 to make each flow anew, which is slower (default 1M)"},
    {"gso", 0, OPT_FLAG, AT(gso), NULL, "hand over up to 16 packets of one size as one to the kernel, which splits them: twice as fast, but bursts"},
    {"quiet", 'q', OPT_FLAG, AT(quiet), NULL, "no summary at the end"},
    {0},
};
/* clang-format on */

const struct cmd cmd_gen = {
    .name = "gen",
    .what = "send or write made-up exports: load for a collector, and the truth about it",
    .operands = "[HOST:PORT]",
    .opts = gen_opts,
    .args_size = sizeof(struct gen_args),
    .defaults = &gen_defaults,
    .run = gen_run,
    .examples =
        "weir gen 127.0.0.1:2055                          # 10,000 flows/s of NetFlow v9 until "
        "Ctrl-C\n"
        "weir gen -t 30s --pps 0 127.0.0.1:2055           # as fast as possible, for half a "
        "minute\n"
        "weir gen --ipfix -e 200 -r 50k 192.0.2.10:4739   # 200 exporters in IPFIX\n"
        "weir gen -5 -n 10M -w v5.pcap --truth truth.json # a capture of ten million flows\n"
        "weir gen --drop 3/100 -t 1m 127.0.0.1:2055       # packets 3 of 100 never arrive\n"
        "weir gen -n 1k -w - | weir decode -              # what is in them\n",
};
