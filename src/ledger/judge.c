/* judge -- the rules: from what streams, exporters and the collector did to findings. registry/findings.tsv says of each
 * what it means and when it speaks, registry/thresholds.tsv the numbers. */
#include "ledger/findings_in.h"

#include <weir/decoder.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int64_t minute = FINDINGS_MINUTE, second = FINDINGS_SECOND,
                     year_2000 = INT64_C(946684800) * FINDINGS_SECOND;

/* a of b, in thousandths: at least so many? */
static bool share_from(uint64_t a, uint64_t b, unsigned per_mille)
{
    return b > 0 && (double)a * 1000 >= (double)b * per_mille;
}

static enum ledger_severity worse_if(bool warning, bool error)
{
    return error ? LEDGER_ERROR : warning ? LEDGER_WARNING : LEDGER_INFO;
}

static int64_t max64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t abs64(int64_t v)
{
    return v < 0 ? (v == INT64_MIN ? INT64_MAX : -v) : v;
}

/* --- drafts --- */

/* A new draft; NULL: out of memory, which all that fill it bear. */
static struct draft *draft_of(ledger_findings *f, enum ledger_finding_id id,
                              enum ledger_severity severity, int64_t from, int64_t to)
{
    if (f->n_drafts == f->cap_drafts) {
        size_t cap = f->cap_drafts ? f->cap_drafts * 2 : 16;
        struct draft *grown = realloc(f->drafts, cap * sizeof *grown);
        if (!grown) {
            f->failed = true;
            return NULL;
        }
        f->drafts = grown;
        f->cap_drafts = cap;
    }
    struct draft *d = &f->drafts[f->n_drafts++];
    *d = (struct draft){
        .pub = {.id = id, .severity = severity, .from_us = from, .to_us = to + minute},
        .of = UINT32_MAX};
    return d;
}

static struct draft *of_stream(ledger_findings *f, const struct findings_stream *s,
                               enum ledger_finding_id id, enum ledger_severity severity,
                               int64_t from, int64_t to)
{
    struct draft *d = draft_of(f, id, severity, from, to);
    if (d) {
        d->of = s->of;
        d->pub.exporter_len = s->exporter_len;
        memcpy(d->pub.exporter, s->exporter, sizeof d->pub.exporter);
        d->pub.exporter_port = s->port;
        d->pub.domain = s->domain;
        d->pub.has_domain = s->has_domain;
        d->pub.version = s->version;
    }
    return d;
}

static struct draft *of_seen(ledger_findings *f, const struct findings_stream *s,
                             enum ledger_finding_id id, enum ledger_severity severity,
                             const struct seen *seen)
{
    return of_stream(f, s, id, severity, seen->from, seen->to);
}

static struct draft *of_collector(ledger_findings *f, enum ledger_finding_id id,
                                  enum ledger_severity severity, const struct seen *seen)
{
    struct draft *d = draft_of(f, id, severity, seen->from, seen->to);
    if (d)
        d->pub.collector = true;
    return d;
}

static void number(struct draft *d, const char *name, enum ledger_number_kind kind, double value)
{
    if (d && d->pub.n_numbers < LEDGER_FINDING_NUMBERS)
        d->pub.numbers[d->pub.n_numbers++] = (struct ledger_number){name, kind, value};
}

static void count(struct draft *d, const char *name, uint64_t n)
{
    number(d, name, LEDGER_NUMBER_COUNT, (double)n);
}

static void span(struct draft *d, const char *name, int64_t us)
{
    number(d, name, LEDGER_NUMBER_SPAN, (double)us);
}

static void when(struct draft *d, const char *name, int64_t us)
{
    number(d, name, LEDGER_NUMBER_TIME, (double)us);
}

static void share(struct draft *d, uint64_t a, uint64_t b)
{
    number(d, "share", LEDGER_NUMBER_SHARE, b ? (double)a / (double)b : 0);
}

/* text NULL: what stands in d->own. */
static void text(struct draft *d, const char *name, const char *value)
{
    if (d && d->n_texts < ARRAY_LEN(d->texts)) {
        d->texts[d->n_texts].name = name;
        d->texts[d->n_texts++].text = value;
    }
}

/* The last minute is not over, as far as the collector has counted: what has not come in it may come yet. */
static bool goes_on(const ledger_findings *f)
{
    return f->told_us > f->last_minute && f->told_us < f->last_minute + minute;
}

/* --- templates --- */

static void judge_waiting(ledger_findings *f, const struct findings_stream *s)
{
    uint64_t waits = 0;
    int64_t from = s->expired.n ? s->expired.from : INT64_MAX,
            to = s->expired.n ? s->expired.to : INT64_MIN;
    int64_t until = f->last_minute - (goes_on(f) ? minute : 0);
    if (s->waiting > 0 && until - s->waiting_since >= LIMIT_waiting_minutes * minute) {
        waits = (uint64_t)s->waiting;
        from = s->waiting_since < from ? s->waiting_since : from;
        to = f->last_minute;
    }
    uint64_t packets = s->expired.n + waits;
    if (!packets)
        return;
    if (s->templates == 0 && s->learnt == 0) {
        struct draft *d =
            of_stream(f, s, LEDGER_FINDING_no_templates, LEDGER_ERROR, s->first_minute, to);
        count(d, "packets", packets);
        span(d, "span", f->last_minute - s->first_minute + minute);
        return;
    }
    struct draft *d =
        of_stream(f, s, LEDGER_FINDING_template_missing,
                  worse_if(true, share_from(packets, s->packets, LIMIT_template_error)), from, to);
    count(d, "packets", packets);
    count(d, "total", s->packets);
    share(d, packets, s->packets);
}

static void judge_refresh(ledger_findings *f, const struct findings_stream *s)
{
    if (s->version < 9)
        return;
    uint32_t since = s->since_told;
    if (since && s->last_minute == f->last_minute && goes_on(f))
        since--;
    if (!s->repeated && s->templated_minutes >= LIMIT_refresh_watch &&
        since >= LIMIT_refresh_watch) {
        struct draft *d = of_stream(f, s, LEDGER_FINDING_template_never_repeated, LEDGER_WARNING,
                                    s->first_minute, s->last_minute);
        span(d, "span", since * minute);
        return;
    }
    uint32_t longest = s->repeated && since > s->longest_untold ? since : s->longest_untold;
    if (longest > LIMIT_refresh_slow && s->templated_minutes) {
        struct draft *d = of_stream(f, s, LEDGER_FINDING_template_refresh_slow,
                                    worse_if(longest > LIMIT_refresh_warning, false),
                                    s->first_minute, s->last_minute);
        span(d, "span", longest * minute);
    }
}

static void judge_templates(ledger_findings *f, const struct findings_stream *s)
{
    judge_waiting(f, s);
    judge_refresh(f, s);
    if (s->conflicts.n) {
        struct draft *d =
            of_seen(f, s, LEDGER_FINDING_template_conflict, LEDGER_ERROR, &s->conflicts);
        count(d, "conflicts", s->conflicts.n);
    } else if (s->templates_changed.n >= LIMIT_changed_times &&
               s->templates_changed.minutes >= LIMIT_changed_minutes &&
               s->templates_changed.n > s->restarts.n * (s->templates + 1)) {
        struct draft *d =
            of_seen(f, s, LEDGER_FINDING_template_changing, LEDGER_WARNING, &s->templates_changed);
        count(d, "changed", s->templates_changed.n);
        count(d, "minutes", s->templates_changed.minutes);
    }
    if (s->older_than_template.n >= LIMIT_order_sets) {
        struct draft *d =
            of_seen(f, s, LEDGER_FINDING_template_order, LEDGER_INFO, &s->older_than_template);
        count(d, "sets", s->older_than_template.n);
    }
    if (s->templates_expired.n && s->learnt > s->templates) {
        struct draft *d =
            of_seen(f, s, LEDGER_FINDING_template_forgotten, LEDGER_WARNING, &s->templates_expired);
        count(d, "expired", s->templates_expired.n);
        count(d, "learnt", s->learnt - s->templates);
    }
    if (s->fault_template_limit.n) {
        struct draft *d =
            of_seen(f, s, LEDGER_FINDING_template_limit, LEDGER_ERROR, &s->fault_template_limit);
        count(d, "templates", s->fault_template_limit.n);
    }
    if (s->sets_overflowed.n) {
        struct draft *d =
            of_seen(f, s, LEDGER_FINDING_waiting_limit, LEDGER_WARNING, &s->sets_overflowed);
        count(d, "sets", s->sets_overflowed.n);
    }
    if (s->elements_unknown.n) {
        struct draft *d =
            of_seen(f, s, LEDGER_FINDING_elements_unknown, LEDGER_INFO, &s->elements_unknown);
        count(d, "fields", s->elements_unknown.n);
    }
}

static void judge_sampling(ledger_findings *f, const struct findings_stream *s)
{
    if (s->rate_zero) {
        (void)of_stream(f, s, LEDGER_FINDING_sampling_zero, LEDGER_WARNING, s->first_minute,
                        s->rate_zero_minute);
        return;
    }
    if (!s->rate_known && s->version >= 9 && s->options > 0 && s->flows > 0 &&
        s->minutes >= LIMIT_sampling_watch) {
        struct draft *d = of_stream(f, s, LEDGER_FINDING_sampling_unknown, LEDGER_INFO,
                                    s->first_minute, s->last_minute);
        span(d, "span", s->minutes * minute);
    }
}

/* --- time --- */

/* An offset that some part of the world has to UTC. */
static bool is_zone(int64_t off)
{
    static const int quarters[] = {5 * 60 + 45, 8 * 60 + 45, 12 * 60 + 45}; /* minutes */
    int64_t slack = LIMIT_clock_zone_slack * second, o = abs64(off);
    if (o < 30 * minute - slack || o > 14 * 60 * minute + slack)
        return false;
    if ((o + slack) % (30 * minute) <= 2 * slack)
        return true;
    for (size_t i = 0; i < ARRAY_LEN(quarters); i++)
        if (abs64(o - quarters[i] * minute) <= slack)
            return true;
    return false;
}

/* A capture whose own times are made up says nothing about clocks. */
static bool clock_told(const struct findings_stream *s)
{
    return s->skews && s->last_arrival >= year_2000;
}

static bool clock_off(const struct findings_stream *s)
{
    return s->skews_off >= LIMIT_clock_minutes || (s->skews_off && s->skews_off == s->skews);
}

static bool clock_steady(const struct findings_stream *s)
{
    return s->off_most - s->off_least <= LIMIT_clock_steady * second;
}

static bool clock_still(const struct findings_stream *s)
{
    return s->skews && s->last_arrival - s->first_arrival >= LIMIT_clock_still_watch * second &&
           s->export_most - s->export_least <= LIMIT_clock_still_slack * second;
}

static bool clock_unset(const struct findings_stream *s)
{
    return s->export_last < LIMIT_clock_1970_days * 24 * 60 * minute;
}

static void judge_clock(ledger_findings *f, const struct findings_stream *s)
{
    /* With a quirk a clock that stands, or was never set, is known already. */
    if (!clock_told(s) || (s->quirky && (clock_still(s) || clock_unset(s))))
        return;
    if (clock_still(s)) {
        struct draft *d = of_stream(f, s, LEDGER_FINDING_clock_stands_still, LEDGER_ERROR,
                                    s->skews_off ? s->off_from : s->first_minute, s->last_minute);
        span(d, "span", s->last_arrival - s->first_arrival);
        when(d, "date", s->export_last);
        return;
    }
    if (!clock_off(s))
        return;
    int64_t off = s->off_last, far = max64(abs64(s->off_least), abs64(s->off_most));
    enum ledger_severity severity = worse_if(true, far >= LIMIT_clock_error * second);
    struct draft *d;
    if (clock_unset(s)) {
        d = of_stream(f, s, LEDGER_FINDING_clock_1970, LEDGER_ERROR, s->off_from, s->off_to);
        span(d, "skew", off);
        when(d, "date", s->export_last);
    } else if (!clock_steady(s)) {
        d = of_stream(f, s, LEDGER_FINDING_clock_unsteady, severity, s->off_from, s->off_to);
        span(d, "far", far);
        span(d, "spread", s->off_most - s->off_least);
    } else {
        bool zone = is_zone(off);
        d = of_stream(f, s, zone ? LEDGER_FINDING_clock_time_zone : LEDGER_FINDING_clock_off,
                      zone ? LEDGER_ERROR : severity, s->off_from, s->off_to);
        span(d, "skew", off);
        text(d, "ahead", off > 0 ? "ahead of" : "behind");
    }
}

static int off_order(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Whether most exporters are off by the same: then *at is by how much, and the collector's clock is wrong. */
static bool judge_own_clock(ledger_findings *f, int64_t *at)
{
    int64_t *offs = f->n_streams ? malloc(f->n_streams * sizeof *offs) : NULL;
    bool *told = f->n_exporters ? calloc(f->n_exporters, 2 * sizeof *told) : NULL;
    bool *off = told ? told + f->n_exporters : NULL;
    uint32_t n = 0, exporters = 0;
    if (!offs || !told) {
        f->failed = f->failed || f->n_streams > 0;
        free(offs);
        free(told);
        return false;
    }
    for (uint32_t i = 0; i < f->n_streams; i++) {
        const struct findings_stream *s = &f->streams[i];
        if (!clock_told(s))
            continue;
        exporters += !told[s->of];
        told[s->of] = true;
        if (!off[s->of] && clock_off(s) && clock_steady(s) && !clock_still(s)) {
            off[s->of] = true;
            offs[n++] = s->off_last;
        }
    }
    free(told);
    uint32_t best = 0;
    if (n)
        qsort(offs, n, sizeof *offs, off_order);
    for (uint32_t from = 0, to = 0; from < n; from++) {
        while (to < n && offs[to] - offs[from] <= LIMIT_clock_all_slack * second)
            to++;
        if (to - from > best) {
            best = to - from;
            *at = offs[from + best / 2];
        }
    }
    free(offs);
    if (best < LIMIT_clock_all || best * 2 <= exporters)
        return false;
    int64_t from = f->last_minute, to = f->first_minute;
    for (uint32_t i = 0; i < f->n_streams; i++)
        if (f->streams[i].skews_off) {
            from = f->streams[i].off_from < from ? f->streams[i].off_from : from;
            to = max64(f->streams[i].off_to, to);
        }
    const struct seen seen = {.n = best, .from = from, .to = to};
    bool error = abs64(*at) >= LIMIT_clock_error * second;
    struct draft *d = of_collector(f, LEDGER_FINDING_collector_clock, worse_if(true, error), &seen);
    count(d, "exporters", best);
    span(d, "skew", -*at);
    text(d, "ahead", *at < 0 ? "ahead of" : "behind");
    return true;
}

static void judge_times(ledger_findings *f, const struct findings_stream *s)
{
    double per_ms =
        s->uptime_span > 0 ? (double)s->uptime_moved * 1000 / (double)s->uptime_span : 1;
    double slack = LIMIT_uptime_slack / 1000.0;
    if (!s->quirky && s->uptime_span >= LIMIT_uptime_watch * second &&
        per_ms >= 0.001 * (1 - slack) && per_ms <= 0.001 * (1 + slack)) {
        struct draft *d = of_stream(f, s, LEDGER_FINDING_uptime_seconds, LEDGER_ERROR,
                                    s->first_minute, s->last_minute);
        number(d, "ratio", LEDGER_NUMBER_PLAIN, per_ms);
        span(d, "span", s->uptime_span);
    }
    const struct seen *r = &s->flows_reversed;
    if (r->n >= LIMIT_reversed_count) {
        struct draft *d = of_seen(f, s, LEDGER_FINDING_times_reversed,
                                  worse_if(share_from(r->n, s->flows, LIMIT_reversed_warning),
                                           share_from(r->n, s->flows, LIMIT_reversed_broken)),
                                  r);
        count(d, "reversed", r->n);
        count(d, "flows", s->flows);
        share(d, r->n, s->flows);
    }
}

/* --- sequence numbers --- */

/* What the numbers count where they do not count what they should, NULL: nothing odd. */
static const char *wrong_unit(const struct findings_stream *s)
{
    double packets = (double)s->packets, records = (double)s->records;
    if (strcmp(s->unit, "none") == 0)
        return "something else";
    if (s->packets < LIMIT_unit_packets || s->records == 0 ||
        strcmp(s->unit, weir_sequence_unit(s->version)) != 0)
        return NULL;
    double slack = LIMIT_unit_slack / 1000.0, each = records / packets;
    double lost = (double)s->lost + (double)s->lost_here, twice = (double)s->sequence_duplicated.n;
    if (s->version == 9) {
        double due = lost + packets;
        if (each < 1.5 || due > records * (1 + slack))
            return NULL;
        if (due >= records * (1 - slack))
            return "records";
        bool half = due >= records * LIMIT_unit_half / 1000 && lost >= due * LIMIT_unit_lost / 1000;
        return half ? "conversations" : NULL;
    }
    /* Numbers that go on by one for n records: after each packet, n - 1 look repeated. Two records a packet cannot be told
     * from packets that come twice. */
    double once = packets - twice;
    if (each >= 2.5 && once * each >= packets * (1 - slack) - each &&
        once * each <= packets * (1 + slack) + each && once < packets / 2)
        return "packets";
    if (s->version == 10 && lost >= (lost + records) * LIMIT_unit_own_lost / 1000 &&
        twice >= packets * LIMIT_unit_own_twice / 1000)
        return "the records up to the end of the message";
    return NULL;
}

static void judge_loss(ledger_findings *f, const struct findings_stream *s)
{
    if (s->lost <= 0 || !s->loss_minutes)
        return;
    bool packets = strcmp(s->unit, "packets") == 0, records = strcmp(s->unit, "records") == 0;
    uint64_t lost = (uint64_t)s->lost, got = packets ? s->packets : records ? s->records : s->flows;
    bool steady = s->minutes >= LIMIT_loss_steady_minutes &&
                  share_from(s->loss_minutes, s->minutes, LIMIT_loss_steady_share);
    struct draft *d =
        of_stream(f, s, steady ? LEDGER_FINDING_loss_steady : LEDGER_FINDING_loss_bursts,
                  worse_if(share_from(lost, lost + got, LIMIT_loss_warning),
                           share_from(lost, lost + got, LIMIT_loss_error)),
                  s->loss_from, s->loss_to);
    count(d, "lost", lost);
    count(d, "due", lost + got);
    share(d, lost, lost + got);
    text(d, "UNIT", packets ? "packet" : records ? "record" : "flow");
    count(d, "minutes", s->loss_minutes);
    count(d, "active", s->minutes > s->loss_minutes ? s->minutes : s->loss_minutes);
    if (!steady) {
        count(d, "most", (uint64_t)s->worst < lost ? (uint64_t)s->worst : lost);
        when(d, "worst", s->worst_minute);
    }
}

static void judge_sequence(ledger_findings *f, const struct findings_stream *s)
{
    const char *counts = s->version > 1 ? wrong_unit(s) : NULL;
    if (counts) {
        struct draft *d = of_stream(f, s, LEDGER_FINDING_sequence_unit, LEDGER_WARNING,
                                    s->first_minute, s->last_minute);
        count(d, "packets", s->packets);
        count(d, "records", s->records);
        text(d, "counts", counts);
        text(d, "due",
             s->version == 9    ? "packets"
             : s->version == 10 ? "the records before it"
                                : "flows");
    } else {
        judge_loss(f, s);
        const struct seen *twice = &s->sequence_duplicated;
        if (twice->n >= LIMIT_duplicate_count &&
            share_from(twice->n, s->packets, LIMIT_duplicate_warning)) {
            struct draft *d = of_seen(
                f, s, LEDGER_FINDING_duplicates,
                worse_if(true, share_from(twice->n, s->packets, LIMIT_duplicate_error)), twice);
            count(d, "duplicates", twice->n);
            count(d, "packets", s->packets);
            share(d, twice->n, s->packets);
        }
    }
    const struct seen *late = &s->sequence_out_of_order;
    if (late->n >= LIMIT_reorder_count && share_from(late->n, s->packets, LIMIT_reorder_info)) {
        struct draft *d =
            of_seen(f, s, LEDGER_FINDING_reordering,
                    worse_if(share_from(late->n, s->packets, LIMIT_reorder_warning), false), late);
        count(d, "late", late->n);
        count(d, "packets", s->packets);
        share(d, late->n, s->packets);
    }
    if (s->resets_day.most >= LIMIT_resets_day) {
        struct draft *d = of_stream(f, s, LEDGER_FINDING_sequence_resets, LEDGER_WARNING,
                                    s->first_minute, s->last_minute);
        count(d, "resets", s->resets);
        count(d, "most", s->resets_day.most);
    }
    if (s->restarts_day.most >= LIMIT_restarts_day) {
        struct draft *d = of_seen(f, s, LEDGER_FINDING_restarts, LEDGER_WARNING, &s->restarts);
        count(d, "restarts", s->restarts.n);
        count(d, "most", s->restarts_day.most);
    }
    if (s->not_sent.grown.n) {
        struct draft *d =
            of_seen(f, s, LEDGER_FINDING_exporter_drops, LEDGER_WARNING, &s->not_sent.grown);
        count(d, "flows", s->not_sent.grown.n);
    }
    if (s->ignored.grown.n) {
        struct draft *d =
            of_seen(f, s, LEDGER_FINDING_exporter_ignores, LEDGER_INFO, &s->ignored.grown);
        count(d, "packets", s->ignored.grown.n);
    }
}

/* --- what could not be read --- */

/* Faults of one kind, of all that came. */
static void judge_faults(ledger_findings *f, const struct findings_stream *s,
                         enum ledger_finding_id id, const char *name, const struct seen *seen,
                         uint64_t all, unsigned error)
{
    if (!seen->n)
        return;
    bool many = seen->n >= LIMIT_malformed_count || share_from(seen->n, all, 500);
    struct draft *d = of_seen(f, s, id,
                              worse_if(many, seen->n >= LIMIT_malformed_count && error &&
                                                 share_from(seen->n, all, error)),
                              seen);
    count(d, name, seen->n);
    share(d, seen->n, all);
}

static void judge_content(ledger_findings *f, const struct findings_stream *s)
{
    uint64_t all = f->exporters[s->of].packets;
    if (s->rejected_unknown_version.n) {
        struct draft *d =
            of_seen(f, s, LEDGER_FINDING_not_an_export,
                    worse_if(s->rejected_unknown_version.n >= LIMIT_stray_warning, false),
                    &s->rejected_unknown_version);
        count(d, "packets", s->rejected_unknown_version.n);
    }
    judge_faults(f, s, LEDGER_FINDING_malformed_header, "packets", &s->rejected_short_header, all,
                 LIMIT_malformed_error);
    judge_faults(f, s, LEDGER_FINDING_malformed_length, "packets", &s->rejected_message_length, all,
                 LIMIT_malformed_error);
    judge_faults(f, s, LEDGER_FINDING_malformed_set, "packets", &s->rejected_set_bounds, all,
                 LIMIT_malformed_error);
    judge_faults(f, s, LEDGER_FINDING_malformed_count, "packets", &s->rejected_record_count, all,
                 LIMIT_malformed_error);
    judge_faults(f, s, LEDGER_FINDING_malformed_flowset, "sets", &s->fault_set_bounds, all,
                 LIMIT_malformed_error);
    judge_faults(f, s, LEDGER_FINDING_malformed_set_id, "sets", &s->fault_reserved_set, all, 0);
    judge_faults(f, s, LEDGER_FINDING_malformed_record, "records", &s->fault_record_truncated,
                 s->records + s->fault_record_truncated.n, LIMIT_malformed_error);
    if (s->fault_template_malformed.n) {
        struct draft *d =
            of_seen(f, s, LEDGER_FINDING_malformed_template,
                    worse_if(true, s->fault_template_malformed.n >= LIMIT_malformed_count),
                    &s->fault_template_malformed);
        count(d, "templates", s->fault_template_malformed.n);
    }
    if (s->values_bad.n && share_from(s->values_bad.n, s->flows, LIMIT_values_warning)) {
        struct draft *d = of_seen(f, s, LEDGER_FINDING_values_bad, LEDGER_WARNING, &s->values_bad);
        count(d, "values", s->values_bad.n);
        count(d, "flows", s->flows);
    }
}

/* --- exporters and the collector --- */

static void judge_silence(ledger_findings *f, uint32_t of)
{
    const struct findings_exporter *e = &f->exporters[of];
    if (e->minutes < LIMIT_silent_known)
        return;
    uint64_t silent = f->n_minutes - e->last_number; /* minutes of the ledger after its last one */
    if (silent && goes_on(f))
        silent--;
    if (silent < LIMIT_silent_minutes || silent < e->longest_pause * LIMIT_silent_times)
        return;
    struct draft *d =
        draft_of(f, LEDGER_FINDING_silent, LEDGER_ERROR, e->last_minute + minute, f->last_minute);
    if (!d)
        return;
    d->of = of;
    d->pub.exporter_len = e->len;
    memcpy(d->pub.exporter, e->addr, sizeof e->addr);
    span(d, "span", f->last_minute - e->last_minute);
    when(d, "since", e->last_minute + minute);
    span(d, "pause", (int64_t)e->longest_pause * minute);
}

static void judge_buffer(ledger_findings *f)
{
    const struct seen *s = &f->kernel_drops;
    if (!s->n)
        return;
    uint64_t came = f->packets + s->n;
    struct draft *d = of_collector(f, LEDGER_FINDING_receive_buffer,
                                   worse_if(true, share_from(s->n, came, LIMIT_drops_error)), s);
    count(d, "dropped", s->n);
    share(d, s->n, came);
    count(d, "minutes", s->minutes);
    number(d, "buffer", LEDGER_NUMBER_OCTETS, (double)f->receive_buffer);
    /* Twice what it was, 32 MiB at least; setsockopt takes an int, of which the kernel makes twice as much. */
    uint64_t mib = 32;
    while (mib < 1024 && mib << 20 < f->receive_buffer * 2)
        mib *= 2;
    number(d, "octets", LEDGER_NUMBER_PLAIN,
           (double)(mib << 20 < INT32_MAX / 2 ? mib << 20 : INT32_MAX / 2));
    if (d)
        (void)snprintf(d->own, sizeof d->own, "%" PRIu64 "M", mib < 1024 ? mib : 1023);
    text(d, "size", NULL);
}

static void judge_refused(ledger_findings *f)
{
    if (!f->packets_refused.n)
        return;
    const struct findings_exporter *top = NULL;
    uint64_t senders = 0;
    for (uint32_t i = 0; i < f->n_exporters; i++) {
        const struct findings_exporter *e = &f->exporters[i];
        senders += e->refused > 0 && e->len;
        if (e->refused && e->len && (!top || e->refused > top->refused))
            top = e;
    }
    struct draft *d = of_collector(f, LEDGER_FINDING_refused, LEDGER_INFO, &f->packets_refused);
    count(d, "packets", f->packets_refused.n);
    count(d, "senders", senders);
    if (d && top)
        d->own[findings_addr_text(top->addr, top->len, d->own)] = 0;
    text(d, "top", top ? NULL : "many addresses");
}

static void judge_collector(ledger_findings *f)
{
    judge_buffer(f);
    judge_refused(f);
    struct draft *d;
    if (f->receive_errors.n) {
        d = of_collector(f, LEDGER_FINDING_receive_errors, LEDGER_WARNING, &f->receive_errors);
        count(d, "errors", f->receive_errors.n);
    }
    if (f->packets_dropped.n) {
        d = of_collector(f, LEDGER_FINDING_queue_full, LEDGER_ERROR, &f->packets_dropped);
        count(d, "dropped", f->packets_dropped.n);
    }
    if (f->flows_lost.n || f->options_lost.n) {
        d = of_collector(f, LEDGER_FINDING_output_lost, LEDGER_ERROR,
                         f->flows_lost.n ? &f->flows_lost : &f->options_lost);
        count(d, "flows", f->flows_lost.n);
        count(d, "options", f->options_lost.n);
    }
    if (f->rejected_state_limit.n) {
        uint64_t exporters = 0;
        for (uint32_t i = 0; i < f->n_exporters; i++)
            exporters += f->exporters[i].state_limit;
        d = of_collector(f, LEDGER_FINDING_state_limit, LEDGER_ERROR, &f->rejected_state_limit);
        count(d, "packets", f->rejected_state_limit.n);
        count(d, "exporters", exporters);
    }
    if (f->rejected_out_of_memory.n || f->fault_out_of_memory.n) {
        d = of_collector(f, LEDGER_FINDING_out_of_memory, LEDGER_ERROR,
                         f->rejected_out_of_memory.n ? &f->rejected_out_of_memory
                                                     : &f->fault_out_of_memory);
        count(d, "times", f->rejected_out_of_memory.n + f->fault_out_of_memory.n);
    }
    if (f->down.n >= LIMIT_down_minutes) {
        d = of_collector(f, LEDGER_FINDING_collector_down,
                         worse_if(f->down.n > LIMIT_down_warning, false), &f->down);
        span(d, "span", (int64_t)f->down.n * minute);
        count(d, "gaps", f->down.minutes);
        span(d, "most", f->down_most);
        when(d, "worst", f->down_worst);
    }
}

static void judge_damage(ledger_findings *f, enum ledger_finding_id id,
                         enum ledger_severity severity, const struct damage *of)
{
    if (!of->files.n)
        return;
    struct draft *d = of_collector(f, id, severity, &of->files);
    count(d, "files", of->files.n);
    if (d)
        memcpy(d->own, of->first, sizeof d->own);
    text(d, "file", NULL);
}

void findings_judge(ledger_findings *f)
{
    judge_damage(f, LEDGER_FINDING_checkpoint_damaged, LEDGER_WARNING, &f->copies);
    judge_damage(f, LEDGER_FINDING_checkpoint_lost, LEDGER_ERROR, &f->checkpoints);
    if (!f->n_minutes)
        return;
    judge_collector(f);
    int64_t own = 0;
    bool own_clock = judge_own_clock(f, &own);
    for (uint32_t i = 0; i < f->n_exporters; i++)
        judge_silence(f, i);
    for (uint32_t i = 0; i < f->n_streams; i++) {
        const struct findings_stream *s = &f->streams[i];
        judge_templates(f, s);
        judge_sampling(f, s);
        if (!own_clock || abs64(s->off_last - own) > LIMIT_clock_all_slack * second)
            judge_clock(f, s);
        judge_times(f, s);
        judge_sequence(f, s);
        judge_content(f, s);
    }
}
