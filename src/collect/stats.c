#include "collect/stats.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

#define X(name) {#name, offsetof(weir_counters, name)},
static const struct {
    const char *name;
    size_t at;
} counters[] = {WEIR_COUNTERS_MAP(X)};
#undef X

enum { N_COUNTERS = sizeof counters / sizeof *counters };

static uint64_t counter(const weir_counters *c, size_t i)
{
    uint64_t v;
    memcpy(&v, (const char *)c + counters[i].at, sizeof v);
    return v;
}

static uint64_t rejected(const weir_counters *c)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < WEIR_N_REJECT; i++)
        sum += c->rejected[i];
    return sum;
}

/* ---- JSON ---- */

static void json_counters(base_buf *b, const weir_counters *c)
{
    for (size_t i = 0; i < N_COUNTERS; i++)
        base_buf_printf(b, "\"%s\":%" PRIu64 ",", counters[i].name, counter(c, i));
    base_buf_str(b, "\"rejected\":{");
    for (size_t i = 0; i < WEIR_N_REJECT; i++)
        base_buf_printf(b, "%s\"%s\":%" PRIu64, i ? "," : "", weir_reject_text((weir_reject)i),
                        c->rejected[i]);
    base_buf_str(b, "},\"faults\":{");
    for (size_t i = 0; i < WEIR_N_FAULT; i++)
        base_buf_printf(b, "%s\"%s\":%" PRIu64, i ? "," : "", weir_fault_text((weir_fault)i),
                        c->faults[i]);
    base_buf_char(b, '}');
}

static void json_time(base_buf *b, const char *name, int64_t ns)
{
    char text[BASE_TIME_TEXT];
    base_buf_printf(b, "\"%s\":\"%.*s\",", name, (int)base_time_text(text, ns, 3), text);
}

static void json_said(base_buf *b, const char *name, int64_t v)
{
    if (v >= 0) /* only what the exporter has said */
        base_buf_printf(b, "\"%s\":%" PRId64 ",", name, v);
}

static void json_stream(base_buf *b, const weir_stream_info *s)
{
    base_buf_printf(b,
                    "{\"version\":%u,\"port\":%u,\"domain\":%" PRIu32
                    ",\"sequence_unit\":\"%s\",\"sequence_numbering\":\"%s\",",
                    s->version, s->port, s->domain, s->sequence_unit, s->sequence_numbering);
    json_time(b, "first", s->first_ns);
    json_time(b, "last", s->last_ns);
    base_buf_printf(b,
                    "\"clock_skew_ms\":%" PRId64 ",\"sampling_rate\":", s->clock_skew_ns / 1000000);
    char rate[BASE_F64_TEXT];
    base_buf_add(b, rate, base_f64_text(rate, s->sampling.rate));
    base_buf_printf(b, ",\"sampling_origin\":\"%s\",",
                    weir_origin_text((weir_origin)s->sampling.origin));
    json_said(b, "exported_messages", s->exported_messages);
    json_said(b, "exported_flows", s->exported_flows);
    json_said(b, "exported_octets", s->exported_octets);
    json_said(b, "ignored_packets", s->ignored_packets);
    json_said(b, "ignored_octets", s->ignored_octets);
    json_said(b, "not_sent_flows", s->not_sent_flows);
    json_said(b, "not_sent_packets", s->not_sent_packets);
    json_said(b, "not_sent_octets", s->not_sent_octets);
    json_counters(b, s->counters);
    base_buf_char(b, '}');
}

static void json_exporters(base_buf *b, const weir_decoder *d)
{
    size_t at = 0;
    weir_exporter_info e;
    bool more = false;
    while (weir_exporter_next(d, &at, &e) == WEIR_OK) {
        char name[WEIR_ENDPOINT_TEXT];
        base_buf_printf(b, "%s{\"exporter\":\"%.*s\",\"scope\":\"%s\",\"quirks\":%u,",
                        more ? "," : "", (int)weir_endpoint_addr_text(&e.address, name), name,
                        e.scope == WEIR_SCOPE_PORT ? "port" : "address", e.quirks);
        json_time(b, "first", e.first_ns);
        json_time(b, "last", e.last_ns);
        json_counters(b, e.counters);
        base_buf_str(b, ",\"streams\":[");
        size_t cursor = 0;
        weir_stream_info s;
        bool next = false;
        while (weir_stream_next(d, e.handle, &cursor, &s) == WEIR_OK) {
            if (next)
                base_buf_char(b, ',');
            json_stream(b, &s);
            next = true;
        }
        base_buf_str(b, "]}");
        more = true;
    }
}

/* ---- parts ---- */

static void add(weir_counters *to, const weir_counters *c)
{
    for (size_t i = 0; i < N_COUNTERS; i++) {
        uint64_t sum = counter(to, i) + counter(c, i);
        memcpy((char *)to + counters[i].at, &sum, sizeof sum);
    }
    for (size_t i = 0; i < WEIR_N_REJECT; i++)
        to->rejected[i] += c->rejected[i];
    for (size_t i = 0; i < WEIR_N_FAULT; i++)
        to->faults[i] += c->faults[i];
}

static void take_exporters(struct stats_part *p, const weir_decoder *d)
{
    weir_exporter_info e;
    size_t at = 0, cap = 0;
    while (weir_exporter_next(d, &at, &e) == WEIR_OK) {
        if (p->n_exporters == cap) {
            cap = cap ? 2 * cap : 64;
            struct stats_exporter *more = reallocarray(p->exporters, cap, sizeof *more);
            if (!more)
                return;
            p->exporters = more;
        }
        p->exporters[p->n_exporters++] =
            (struct stats_exporter){.address = e.address, .counters = *e.counters};
    }
}

void stats_part_take(struct stats_part *p, const weir_decoder *d, bool json)
{
    p->decode = *weir_decoder_counters(d);
    if (json)
        json_exporters(&p->json, d);
    else
        take_exporters(p, d);
}

void stats_part_done(struct stats_part *p)
{
    base_buf_done(&p->json);
    free(p->exporters);
    *p = (struct stats_part){0};
}

/* All parts as one; without exporters. */
static struct stats_part sum_of(const struct stats *s)
{
    struct stats_part all = {0};
    for (size_t i = 0; i < s->n_parts; i++) {
        const struct stats_part *p = &s->parts[i];
        add(&all.decode, &p->decode);
        all.fed += p->fed;
        all.held_octets += p->held_octets;
        all.split += p->split;
        all.unrendered += p->unrendered;
        all.values_extra += p->values_extra;
        struct writer_counters *o = &all.out;
        const struct writer_counters *q = &p->out;
        o->packets += q->packets;
        o->records += q->records;
        o->packets_written += q->packets_written;
        o->records_written += q->records_written;
        o->packets_queued += q->packets_queued;
        o->records_queued += q->records_queued;
        o->packets_lost += q->packets_lost;
        o->records_lost += q->records_lost;
        o->octets_written += q->octets_written;
        o->octets_file += q->octets_file;
        o->octets_queued += q->octets_queued;
        o->failing |= q->failing;
        o->checkpoints_failed += q->checkpoints_failed;
    }
    return all;
}

static void json_tee(base_buf *b, const struct stats *s)
{
    base_buf_printf(b,
                    "\"tee\":{\"datagrams\":%" PRIu64 ",\"dropped\":%" PRIu64 ",\"queued\":%" PRIu64
                    ",\"done\":%" PRIu64 ",\"targets\":[",
                    s->tee.datagrams, s->tee.dropped, s->tee.queued, s->tee.done);
    for (size_t i = 0; i < s->n_targets; i++) {
        const struct tee_target_counters *t = &s->targets[i];
        char name[WEIR_ENDPOINT_TEXT];
        (void)weir_endpoint_text(&t->at, name);
        base_buf_printf(b,
                        "%s{\"address\":\"%s\",\"source\":\"%s\",\"sent\":%" PRIu64
                        ",\"failed\":%" PRIu64 ",\"refused\":%" PRIu64 "}",
                        i ? "," : "", name, t->keeps ? "exporter" : "own", t->sent, t->failed,
                        t->refused);
    }
    base_buf_str(b, "]},");
}

void stats_json(base_buf *b, const struct stats *s)
{
    struct stats_part all = sum_of(s);
    base_buf_char(b, '{');
    json_time(b, "time", s->time_ns);
    json_time(b, "started", s->started_ns);
    base_buf_printf(b,
                    "\"receive\":{\"datagrams\":%" PRIu64 ",\"octets\":%" PRIu64
                    ",\"refused\":%" PRIu64 ",\"dropped\":%" PRIu64 ",\"queued\":%" PRIu64
                    ",\"fed\":%" PRIu64 ",\"kernel_drops\":%" PRIu64 ",\"errors\":%" PRIu64
                    ",\"misdirected\":%" PRIu64 ",\"workers\":%zu,\"sockets\":[",
                    s->datagrams, s->octets, s->refused, s->dropped, s->pushed - all.fed, all.fed,
                    s->kernel_drops, s->receive_errors, s->misdirected, s->n_parts);
    for (size_t i = 0; i < s->n_socks; i++)
        base_buf_printf(b,
                        "%s{\"address\":\"%s\",\"datagrams\":%" PRIu64 ",\"octets\":%" PRIu64
                        ",\"kernel_drops\":%" PRIu64 ",\"receive_buffer\":%" PRIu64 "}",
                        i ? "," : "", s->socks[i].name, s->socks[i].datagrams, s->socks[i].octets,
                        s->socks[i].kernel_drops, s->socks[i].receive_buffer);
    base_buf_str(b, "]},");
    if (s->n_targets)
        json_tee(b, s);
    base_buf_str(b, "\"decode\":{");
    json_counters(b, &all.decode);
    const struct writer_counters *o = &all.out;
    base_buf_printf(
        b,
        "},\"output\":{\"archive\":%s,\"packets\":%" PRIu64 ",\"packets_written\":%" PRIu64
        ",\"packets_queued\":%" PRIu64 ",\"packets_lost\":%" PRIu64 ",\"records\":%" PRIu64
        ",\"records_written\":%" PRIu64 ",\"records_queued\":%" PRIu64 ",\"records_lost\":%" PRIu64,
        s->archive ? "true" : "false", o->packets, o->packets_written, o->packets_queued,
        o->packets_lost, o->records, o->records_written, o->records_queued, o->records_lost);
    base_buf_printf(b,
                    ",\"octets_written\":%" PRIu64 ",\"octets_queued\":%" PRIu64
                    ",\"octets_file\":%" PRIu64 ",\"held_octets\":%" PRIu64 ",\"split\":%" PRIu64
                    ",\"unrendered\":%" PRIu64 ",\"failing\":%s,\"values_extra\":%" PRIu64
                    ",\"checkpoints_failed\":%" PRIu64 "},\"exporters\":[",
                    o->octets_written, o->octets_queued, o->octets_file, all.held_octets, all.split,
                    all.unrendered, o->failing ? "true" : "false", all.values_extra,
                    o->checkpoints_failed);
    for (size_t i = 0, told = 0; i < s->n_parts; i++) {
        const base_buf *e = &s->parts[i].json;
        if (e->len && told++)
            base_buf_char(b, ',');
        base_buf_add(b, e->data, e->len);
        b->failed |= e->failed;
    }
    if (s->delivery && s->delivery->len) {
        base_buf_str(b, "],\"delivery\":[");
        base_buf_add(b, s->delivery->data, s->delivery->len);
    }
    base_buf_str(b, "]}\n");
}

/* ---- words ---- */

/* "short-header 3, message-length 1" of what is not 0. */
static void text_reasons(base_buf *b, const weir_counters *c)
{
    const char *sep = " (";
    for (size_t i = 0; i < WEIR_N_REJECT; i++) {
        if (!c->rejected[i])
            continue;
        base_buf_printf(b, "%s%s %" PRIu64, sep, weir_reject_text((weir_reject)i), c->rejected[i]);
        sep = ", ";
    }
    if (sep[0] == ',')
        base_buf_char(b, ')');
}

static void text_laws(base_buf *b, const weir_counters *c, const char *prefix, const char *who)
{
    base_buf_printf(b,
                    "%s%spackets %" PRIu64 " = decoded %" PRIu64 " + waiting %" PRIu64
                    " + expired %" PRIu64 " + rejected %" PRIu64,
                    prefix, who, c->packets, c->decoded, c->waiting, c->expired, rejected(c));
    text_reasons(b, c);
    base_buf_printf(b,
                    "\n%s%srecords %" PRIu64 " = flows %" PRIu64 " + options %" PRIu64
                    " + rejected %" PRIu64 "\n",
                    prefix, who, c->records, c->flows, c->options, c->records_rejected);
}

/* All other counters that are not 0, on one line. */
static void text_rest(base_buf *b, const weir_counters *c, const char *prefix, const char *who)
{
    static const char *const told[] = {"packets", "decoded", "waiting", "expired",
                                       "records", "flows",   "options", "records_rejected"};
    const char *sep = "";
    for (size_t i = 0; i < N_COUNTERS; i++) {
        bool skip = !counter(c, i);
        for (size_t k = 0; k < sizeof told / sizeof *told; k++)
            skip |= strcmp(told[k], counters[i].name) == 0;
        if (skip)
            continue;
        if (!*sep)
            base_buf_printf(b, "%s%s", prefix, who);
        base_buf_printf(b, "%s%s %" PRIu64, sep, counters[i].name, counter(c, i));
        sep = ", ";
    }
    for (size_t i = 0; i < WEIR_N_FAULT; i++) {
        if (!c->faults[i])
            continue;
        if (!*sep)
            base_buf_printf(b, "%s%s", prefix, who);
        base_buf_printf(b, "%sfault %s %" PRIu64, sep, weir_fault_text((weir_fault)i),
                        c->faults[i]);
        sep = ", ";
    }
    if (*sep)
        base_buf_char(b, '\n');
}

static int busiest(const void *x, const void *y)
{
    const struct stats_exporter *const *a = x, *const *b = y;
    uint64_t m = (*a)->counters.packets, n = (*b)->counters.packets;
    return m < n ? 1 : m > n ? -1 : 0;
}

static void text_exporters(base_buf *b, const struct stats *s, const char *prefix, size_t max)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n_parts; i++)
        n += s->parts[i].n_exporters;
    const struct stats_exporter **all = calloc(n ? n : 1, sizeof *all);
    if (!all)
        return;
    n = 0;
    for (size_t i = 0; i < s->n_parts; i++)
        for (size_t k = 0; k < s->parts[i].n_exporters; k++)
            all[n++] = &s->parts[i].exporters[k];
    qsort(all, n, sizeof *all, busiest);
    for (size_t i = 0; i < n && i < max; i++) {
        char name[WEIR_ENDPOINT_TEXT], who[WEIR_ENDPOINT_TEXT + 16];
        (void)snprintf(who, sizeof who,
                       "exporter %.*s: ", (int)weir_endpoint_addr_text(&all[i]->address, name),
                       name);
        text_laws(b, &all[i]->counters, prefix, who);
        text_rest(b, &all[i]->counters, prefix, who);
    }
    if (n > max)
        base_buf_printf(b, "%s%zu more exporters (--stats-format json tells all)\n", prefix,
                        n - max);
    free(all);
}

static void text_tee(base_buf *b, const struct stats *s, const char *prefix)
{
    base_buf_printf(b,
                    "%stee datagrams %" PRIu64 " = dropped %" PRIu64 " + queued %" PRIu64
                    " + done %" PRIu64 "\n",
                    prefix, s->tee.datagrams, s->tee.dropped, s->tee.queued, s->tee.done);
    for (size_t i = 0; i < s->n_targets; i++) {
        const struct tee_target_counters *t = &s->targets[i];
        char name[WEIR_ENDPOINT_TEXT];
        (void)weir_endpoint_text(&t->at, name);
        base_buf_printf(b,
                        "%stee to %s from %s: done %" PRIu64 " = sent %" PRIu64 " + failed %" PRIu64
                        "; refused %" PRIu64 "\n",
                        prefix, name, t->keeps ? "the exporters" : "this machine",
                        t->sent + t->failed, t->sent, t->failed, t->refused);
    }
}

static void text_delivery(base_buf *b, const base_buf *lines, const char *prefix)
{
    for (size_t at = 0; at < lines->len;) {
        const char *line = lines->data + at, *end = memchr(line, '\n', lines->len - at);
        size_t len = end ? (size_t)(end - line) : lines->len - at;
        base_buf_printf(b, "%sdelivery to %.*s\n", prefix, (int)len, line);
        at += len + 1;
    }
}

void stats_text(base_buf *b, const struct stats *s, const char *prefix, size_t max_exporters)
{
    struct stats_part all = sum_of(s);
    const weir_counters *c = &all.decode;
    base_buf_printf(b,
                    "%sdatagrams %" PRIu64 " = refused %" PRIu64 " + dropped %" PRIu64
                    " + queued %" PRIu64 " + fed %" PRIu64 "; dropped by the kernel %" PRIu64 "\n",
                    prefix, s->datagrams, s->refused, s->dropped, s->pushed - all.fed, all.fed,
                    s->kernel_drops);
    if (s->n_targets)
        text_tee(b, s, prefix);
    text_laws(b, c, prefix, "");
    const struct writer_counters *o = &all.out;
    base_buf_printf(b,
                    "%soutput packets %" PRIu64 " = written %" PRIu64 " + queued %" PRIu64
                    " + lost %" PRIu64 "\n",
                    prefix, o->packets, o->packets_written, o->packets_queued, o->packets_lost);
    base_buf_printf(b,
                    "%soutput records %" PRIu64 " = written %" PRIu64 " + queued %" PRIu64
                    " + lost %" PRIu64 "; ",
                    prefix, o->records, o->records_written, o->records_queued, o->records_lost);
    if (s->archive)
        base_buf_printf(b, "%" PRIu64 " octets in the archive\n", o->octets_file);
    else
        base_buf_printf(b, "%" PRIu64 " octets of text, %" PRIu64 " in the file\n",
                        o->octets_written, o->octets_file);
    if (all.values_extra)
        base_buf_printf(b, "%s%" PRIu64 " values had no column and went into extra\n", prefix,
                        all.values_extra);
    if (o->checkpoints_failed)
        base_buf_printf(b, "%scheckpoints that could not be written %" PRIu64 "\n", prefix,
                        o->checkpoints_failed);
    text_rest(b, c, prefix, "");
    if (s->delivery)
        text_delivery(b, s->delivery, prefix);
    text_exporters(b, s, prefix, max_exporters);
}
