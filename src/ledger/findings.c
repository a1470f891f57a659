/* findings -- from rows to what each stream, exporter and the collector did; the rules over that are in judge.c. */
#include "ledger/findings.h"

#include "ledger/checkpoint.h"
#include "ledger/findings_in.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const int64_t day = 24 * 60 * (int64_t)FINDINGS_MINUTE;

ledger_findings *ledger_findings_new(void)
{
    ledger_findings *f = calloc(1, sizeof *f);
    if (f) {
        ledger_index_init(&f->stream_index, sizeof(struct ledger_stream_key));
        ledger_index_init(&f->exporter_index, sizeof(struct exporter_key));
    }
    return f;
}

void ledger_findings_free(ledger_findings *f)
{
    if (!f)
        return;
    for (size_t i = 0; i < f->n_drafts; i++) {
        free(f->drafts[i].sentence);
        free(f->drafts[i].remedy);
    }
    free(f->drafts);
    free(f->drop_minutes);
    ledger_index_done(&f->stream_index);
    ledger_index_done(&f->exporter_index);
    free(f->streams);
    free(f->exporters);
    free(f);
}

/* --- finding streams and exporters --- */

/* Room for one more of n in array *at of cap items. */
static bool room(void **at, uint32_t n, uint32_t *cap, size_t size)
{
    if (n < *cap)
        return true;
    uint32_t more = *cap ? *cap * 2 : 16;
    void *grown = realloc(*at, more * size);
    if (!grown)
        return false;
    *at = grown;
    *cap = more;
    return true;
}

static uint32_t exporter_of(ledger_findings *f, const struct ledger_stream_key *k)
{
    struct exporter_key key = {.len = k->exporter_len};
    memcpy(key.addr, k->exporter, sizeof key.addr);
    uint32_t at = ledger_index_find(&f->exporter_index, &key);
    if (at != LEDGER_INDEX_NONE)
        return at;
    if (!room((void **)&f->exporters, f->n_exporters, &f->cap_exporters, sizeof *f->exporters))
        return LEDGER_INDEX_NONE;
    at = ledger_index_add(&f->exporter_index, &key);
    if (at == LEDGER_INDEX_NONE)
        return at;
    struct findings_exporter *e = &f->exporters[f->n_exporters++];
    *e = (struct findings_exporter){.len = key.len};
    memcpy(e->addr, key.addr, sizeof e->addr);
    return at;
}

/* The stream of a row; NULL: out of memory, or beyond the limit (*full). */
static struct findings_stream *stream_of(ledger_findings *f, const struct ledger_row *r, bool *full)
{
    struct ledger_stream_key k = ledger_stream_key_of(r);
    uint32_t at = ledger_index_find(&f->stream_index, &k);
    if (at != LEDGER_INDEX_NONE)
        return &f->streams[at];
    if (f->n_streams >= LEDGER_FINDINGS_STREAMS) {
        *full = true;
        return NULL;
    }
    uint32_t of = exporter_of(f, &k);
    if (of == LEDGER_INDEX_NONE ||
        !room((void **)&f->streams, f->n_streams, &f->cap_streams, sizeof *f->streams) ||
        ledger_index_add(&f->stream_index, &k) == LEDGER_INDEX_NONE)
        return NULL;
    struct findings_stream *s = &f->streams[f->n_streams++];
    *s = (struct findings_stream){.exporter_len = k.exporter_len,
                                  .port = k.port,
                                  .domain = k.domain,
                                  .has_domain = k.has_domain,
                                  .version = k.version,
                                  .of = of,
                                  .first_minute = r->minute_us,
                                  .last_minute = INT64_MIN,
                                  .loss_minute = INT64_MIN};
    memcpy(s->exporter, k.exporter, 16);
    return s;
}

/* --- gathering --- */

static void see(struct seen *s, int64_t minute, uint64_t n)
{
    if (!n)
        return;
    if (!s->n || minute < s->from)
        s->from = minute;
    if (!s->n || minute != s->to)
        s->minutes++;
    if (!s->n || minute > s->to)
        s->to = minute;
    s->n = s->n > UINT64_MAX - n ? UINT64_MAX : s->n + n;
}

/* Sums of what anybody may have written. */
static int64_t add64(int64_t a, int64_t b)
{
    int64_t sum;
    return !__builtin_add_overflow(a, b, &sum) ? sum : a < 0 ? INT64_MIN : INT64_MAX;
}

/* A time or difference of times, in microseconds, that such arithmetic is sure with. */
static bool sane_us(int64_t us)
{
    return us > -(INT64_C(1) << 60) && us < INT64_C(1) << 60;
}

static void see_day(struct by_day *d, int64_t minute, uint64_t n)
{
    if (!n)
        return;
    if (!d->n || minute - d->since >= day) {
        d->since = minute;
        d->n = 0;
    }
    d->n += n;
    if (d->n > d->most)
        d->most = d->n;
}

static void see_told(struct told *t, const struct ledger_row *r, enum flow_ledger_id column)
{
    if (!ledger_has(r, column))
        return;
    int64_t now = r->values[column].s64;
    if (now < 0)
        return;
    if (t->known && now > t->last)
        see(&t->grown, r->minute_us, (uint64_t)(now - t->last));
    else if (t->known && now < t->last) /* it has begun anew */
        see(&t->grown, r->minute_us, (uint64_t)now);
    t->last = now;
    t->known = true;
}

static bool dropped_in(const ledger_findings *f, int64_t minute)
{
    size_t from = 0, to = f->n_drops;
    while (from < to) {
        size_t at = (from + to) / 2;
        if (f->drop_minutes[at] == minute)
            return true;
        if (f->drop_minutes[at] < minute)
            from = at + 1;
        else
            to = at;
    }
    return false;
}

static void note_drops(ledger_findings *f, int64_t minute)
{
    if (f->n_drops && f->drop_minutes[f->n_drops - 1] >= minute)
        return;
    if (f->n_drops == f->cap_drops) {
        size_t cap = f->cap_drops ? f->cap_drops * 2 : 64;
        int64_t *grown = realloc(f->drop_minutes, cap * sizeof *grown);
        if (!grown) {
            f->failed = true;
            return;
        }
        f->drop_minutes = grown;
        f->cap_drops = cap;
    }
    f->drop_minutes[f->n_drops++] = minute;
}

/* The minute of the loss that is held is over: whose loss it was is known. */
static void settle_loss(const ledger_findings *f, struct findings_stream *s)
{
    int64_t n = s->loss_held;
    s->loss_held = 0;
    if (n == 0)
        return;
    if (dropped_in(f, s->loss_minute)) {
        s->lost_here = add64(s->lost_here, n);
        return;
    }
    s->lost = add64(s->lost,
                    n); /* below 0: packets that came late, in the minute after that of the gap */
    if (n < 0)
        return;
    if (!s->loss_minutes)
        s->loss_from = s->loss_minute;
    s->loss_to = s->loss_minute;
    s->loss_minutes++;
    if (n > s->worst) {
        s->worst = n;
        s->worst_minute = s->loss_minute;
    }
}

static void gather_loss(const ledger_findings *f, struct findings_stream *s,
                        const struct ledger_row *r)
{
    if (r->minute_us != s->loss_minute) {
        settle_loss(f, s);
        s->loss_minute = r->minute_us;
    }
    /* More may have come late than went missing in one minute: as a signed number it is right. */
    s->loss_held = add64(s->loss_held, (int64_t)ledger_count(r, FLOW_LEDGER_sequence_lost));
}

static void gather_templates(struct findings_stream *s, const struct ledger_row *r, bool new_minute)
{
    uint64_t learnt = ledger_count(r, FLOW_LEDGER_templates_learnt),
             repeated = ledger_count(r, FLOW_LEDGER_templates_refreshed);
    if (ledger_has(r, FLOW_LEDGER_waiting)) {
        s->waiting = add64(s->waiting, r->values[FLOW_LEDGER_waiting].s64);
        if (s->waiting <= 0)
            s->waiting_since = 0;
        else if (!s->waiting_since)
            s->waiting_since = r->minute_us;
    }
    s->learnt += learnt;
    s->repeated += repeated;
    if (ledger_has(r, FLOW_LEDGER_templates))
        s->templates = r->values[FLOW_LEDGER_templates].u64;
    if (learnt || repeated || ledger_count(r, FLOW_LEDGER_templates_changed)) {
        if (s->told_minute && s->since_told > s->longest_untold)
            s->longest_untold = s->since_told;
        s->told_minute = r->minute_us;
        s->since_told = 0;
    } else if (new_minute) {
        s->since_told++;
    }
    if (new_minute && s->templates)
        s->templated_minutes++;
}

static void gather_clock(struct findings_stream *s, const struct ledger_row *r)
{
    if (!ledger_has(r, FLOW_LEDGER_clock_skew_max) || !ledger_has(r, FLOW_LEDGER_clock_skew_min) ||
        !ledger_has(r, FLOW_LEDGER_first) || !ledger_has(r, FLOW_LEDGER_last))
        return;
    int64_t most = r->values[FLOW_LEDGER_clock_skew_max].s64,
            least = r->values[FLOW_LEDGER_clock_skew_min].s64,
            first = r->values[FLOW_LEDGER_first].s64, last = r->values[FLOW_LEDGER_last].s64;
    if (!sane_us(most) || !sane_us(least) || !sane_us(first) || !sane_us(last))
        return;
    int64_t begin = first + most, end = last + least;
    /* The minute's best witness is the packet that was delayed least: the greatest of the differences. */
    int64_t off = most;
    if (!s->skews || begin < s->export_least)
        s->export_least = begin;
    if (!s->skews || end < s->export_least)
        s->export_least = end;
    if (!s->skews || begin > s->export_most)
        s->export_most = begin;
    if (!s->skews || end > s->export_most)
        s->export_most = end;
    if (!s->skews || first < s->first_arrival)
        s->first_arrival = first;
    if (!s->skews || last > s->last_arrival)
        s->last_arrival = last;
    s->export_last = end;
    s->skews++;
    int64_t limit = LIMIT_clock_warning * (int64_t)FINDINGS_SECOND;
    if (off < limit && off > -limit)
        return;
    if (!s->skews_off) {
        s->off_from = r->minute_us;
        s->off_least = s->off_most = off;
    }
    s->off_least = off < s->off_least ? off : s->off_least;
    s->off_most = off > s->off_most ? off : s->off_most;
    s->off_last = off;
    s->off_to = r->minute_us;
    s->skews_off++;
}

static void gather_uptime(struct findings_stream *s, const struct ledger_row *r)
{
    if (!ledger_has(r, FLOW_LEDGER_uptime) || !ledger_has(r, FLOW_LEDGER_last))
        return;
    uint32_t now = (uint32_t)r->values[FLOW_LEDGER_uptime].u64;
    int64_t at = r->values[FLOW_LEDGER_last].s64;
    if (!sane_us(at))
        return;
    if (s->uptime_known && at > s->uptime_at && now >= s->uptime) {
        s->uptime_span = add64(s->uptime_span, at - s->uptime_at);
        s->uptime_moved += now - s->uptime;
    }
    s->uptime_known = true;
    s->uptime = now;
    s->uptime_at = at;
}

static void gather_stream(ledger_findings *f, struct findings_stream *s, const struct ledger_row *r)
{
    uint64_t packets = ledger_count(r, FLOW_LEDGER_packets);
    bool new_minute = packets && r->minute_us != s->last_minute;
    if (packets) {
        s->minutes += new_minute;
        s->last_minute = r->minute_us;
    }
    s->packets += packets;
    s->records += ledger_count(r, FLOW_LEDGER_records);
    s->flows += ledger_count(r, FLOW_LEDGER_flows);
    s->options += ledger_count(r, FLOW_LEDGER_options);
#define X(name) see(&s->name, r->minute_us, ledger_count(r, FLOW_LEDGER_##name));
    STREAM_SEEN_MAP(X)
#undef X
    gather_templates(s, r, new_minute);
    gather_clock(s, r);
    gather_uptime(s, r);
    gather_loss(f, s, r);
    s->unit = ledger_sequence_unit(r);
    uint64_t resets = ledger_count(r, FLOW_LEDGER_sequence_resets),
             restarts = ledger_count(r, FLOW_LEDGER_restarts);
    resets = resets > restarts ? resets - restarts : 0;
    s->resets += resets;
    see_day(&s->resets_day, r->minute_us, resets);
    see_day(&s->restarts_day, r->minute_us, restarts);
    see_told(&s->not_sent, r, FLOW_LEDGER_not_sent_flows);
    see_told(&s->ignored, r, FLOW_LEDGER_ignored_packets);
    s->quirky = s->quirky || ledger_count(r, FLOW_LEDGER_quirky) > 0;
    if (ledger_has(r, FLOW_LEDGER_sampling_rate)) {
        const char *source = ledger_has(r, FLOW_LEDGER_sampling_source)
                                 ? r->values[FLOW_LEDGER_sampling_source].text
                                 : "unknown";
        double rate = r->values[FLOW_LEDGER_sampling_rate].f64;
        s->rate_known = s->rate_known || rate > 0;
        s->rate_zero = !(rate > 0) && strcmp(source, "unknown") != 0; /* not known is 0 too */
        s->rate_zero_minute = r->minute_us;
    }
}

static void gather_exporter(ledger_findings *f, struct findings_exporter *e,
                            const struct ledger_row *r)
{
    uint64_t packets = ledger_count(r, FLOW_LEDGER_packets);
    e->refused += ledger_count(r, FLOW_LEDGER_packets_refused);
    e->state_limit = e->state_limit || ledger_count(r, FLOW_LEDGER_rejected_state_limit) > 0;
    if (!packets)
        return;
    e->packets += packets;
    if (e->minutes && e->last_number == f->n_minutes)
        return;
    if (e->minutes && f->n_minutes - e->last_number - 1 > e->longest_pause)
        e->longest_pause = f->n_minutes - e->last_number - 1;
    e->minutes++;
    e->last_minute = r->minute_us;
    e->last_number = f->n_minutes;
}

static void gather_collector(ledger_findings *f, const struct ledger_row *r)
{
    if (ledger_has(r, FLOW_LEDGER_receive_buffer))
        f->receive_buffer = r->values[FLOW_LEDGER_receive_buffer].u64;
    if (ledger_has(r, FLOW_LEDGER_last) && r->values[FLOW_LEDGER_last].s64 > f->told_us)
        f->told_us = r->values[FLOW_LEDGER_last].s64;
    if (!ledger_count(r, FLOW_LEDGER_listened))
        return;
    if (f->listened && r->minute_us > f->listened_minute) {
        int64_t gap = r->minute_us - f->listened_minute - FINDINGS_MINUTE;
        if (gap >= FINDINGS_MINUTE) {
            int64_t from = f->listened_minute + FINDINGS_MINUTE;
            see(&f->down, from, (uint64_t)(gap / FINDINGS_MINUTE));
            f->down.to = r->minute_us - FINDINGS_MINUTE;
            if (gap > f->down_most) {
                f->down_most = gap;
                f->down_worst = from;
            }
        }
    }
    f->listened = true;
    f->listened_minute = r->minute_us;
}

bool ledger_findings_row(void *user, const struct ledger_row *r)
{
    ledger_findings *f = user;
    f->rows++;
    if (!f->n_minutes || r->minute_us > f->last_minute) {
        if (!f->n_minutes)
            f->first_minute = r->minute_us;
        f->n_minutes++;
        f->last_minute = r->minute_us;
    }
    f->packets += ledger_count(r, FLOW_LEDGER_packets);
    f->flows += ledger_count(r, FLOW_LEDGER_flows);
#define X(name) see(&f->name, r->minute_us, ledger_count(r, FLOW_LEDGER_##name));
    COLLECTOR_SEEN_MAP(X)
#undef X
    if (ledger_count(r, FLOW_LEDGER_kernel_drops) || ledger_count(r, FLOW_LEDGER_packets_dropped))
        note_drops(f, r->minute_us);
    if (r->exporter_len == 0 && !r->has_domain && r->version == 0) {
        gather_collector(f, r);
        if (!ledger_count(r, FLOW_LEDGER_packets))
            return true;
    }
    bool full = false;
    struct findings_stream *s = stream_of(f, r, &full);
    if (s) {
        gather_exporter(f, &f->exporters[s->of], r);
        gather_stream(f, s, r);
    } else if (full) {
        f->left_out++;
    } else {
        f->failed = true;
    }
    return true;
}

/* --- checkpoints --- */

static void note_damaged(struct damage *d, const char *path, int copy, int64_t minute)
{
    const char *slash = strrchr(path, '/');
    if (!d->files.n)
        (void)snprintf(d->first, sizeof d->first, "%s.%c", slash ? slash + 1 : path, 'a' + copy);
    see(&d->files, minute, 1);
}

static weir_status look_at(ledger_findings *f, const char *path, const struct ledger_range *range,
                           int *patience, weir_err *err)
{
    struct ledger_checkpoint_state now;
    WEIR_TRY(ledger_checkpoint_look_twice(path, patience, &now, err));
    if (now.modified_us < range->from_us || now.modified_us > range->to_us)
        return WEIR_OK;
    int64_t into = now.modified_us % FINDINGS_MINUTE;
    int64_t minute = now.modified_us - (into < 0 ? into + FINDINGS_MINUTE : into);
    for (int i = 0; i < 2; i++)
        if (now.damaged[i])
            note_damaged(now.whole[!i] ? &f->copies : &f->checkpoints, path, i, minute);
    return WEIR_OK;
}

weir_status ledger_findings_archive(ledger_findings *f, const char *dir,
                                    const struct ledger_range *range, weir_err *err)
{
    int patience = LEDGER_CHECKPOINT_PATIENCE;
    for (unsigned i = 0; i < LEDGER_CHECKPOINTS; i++) {
        char *path = ledger_checkpoint_path(dir, i);
        weir_status s = path ? look_at(f, path, range, &patience, err)
                             : weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
        free(path);
        WEIR_TRY(s);
    }
    return WEIR_OK;
}

/* --- the result --- */

static int addr_order(const ledger_finding *a, const ledger_finding *b)
{
    if (a->exporter_len != b->exporter_len)
        return a->exporter_len < b->exporter_len ? -1 : 1;
    return memcmp(a->exporter, b->exporter, sizeof a->exporter);
}

/* One exporter's findings of one rule together, the worst in front. */
static int alike_order(const void *x, const void *y)
{
    const struct draft *a = x, *b = y;
    if (a->of != b->of)
        return a->of < b->of ? -1 : 1;
    if (a->pub.id != b->pub.id)
        return a->pub.id < b->pub.id ? -1 : 1;
    if (a->pub.severity != b->pub.severity)
        return a->pub.severity > b->pub.severity ? -1 : 1;
    double m = a->pub.n_numbers ? a->pub.numbers[0].value : 0,
           n = b->pub.n_numbers ? b->pub.numbers[0].value : 0;
    if (m < n || m > n)
        return m > n ? -1 : 1;
    if (a->pub.domain != b->pub.domain)
        return a->pub.domain < b->pub.domain ? -1 : 1;
    return (a->pub.exporter_port > b->pub.exporter_port) -
           (a->pub.exporter_port < b->pub.exporter_port);
}

/* The worst first, exporters together. */
static int worst_order(const void *x, const void *y)
{
    const struct draft *a = x, *b = y;
    if (a->worst != b->worst)
        return a->worst > b->worst ? -1 : 1;
    if (a->of != b->of) {
        if (a->pub.collector != b->pub.collector)
            return a->pub.collector ? -1 : 1;
        int order = addr_order(&a->pub, &b->pub);
        return order ? order : (a->of < b->of ? -1 : 1);
    }
    if (a->pub.severity != b->pub.severity)
        return a->pub.severity > b->pub.severity ? -1 : 1;
    return (a->pub.id > b->pub.id) - (a->pub.id < b->pub.id);
}

static void fold_alike(ledger_findings *f)
{
    size_t kept = 0;
    for (size_t i = 0; i < f->n_drafts; i++) {
        struct draft *d = &f->drafts[i], *last = kept ? &f->drafts[kept - 1] : NULL;
        if (last && last->of == d->of && last->pub.id == d->pub.id) {
            last->more++;
            if (d->pub.from_us < last->pub.from_us)
                last->pub.from_us = d->pub.from_us;
            if (d->pub.to_us > last->pub.to_us)
                last->pub.to_us = d->pub.to_us;
        } else {
            f->drafts[kept++] = *d;
        }
    }
    f->n_drafts = kept;
}

/* Before the last sorting: drafts of one exporter stand together. */
static void mark_worst(ledger_findings *f)
{
    for (size_t i = 0, next; i < f->n_drafts; i = next) {
        enum ledger_severity worst = LEDGER_INFO;
        for (next = i; next < f->n_drafts && f->drafts[next].of == f->drafts[i].of; next++)
            if (f->drafts[next].pub.severity > worst)
                worst = f->drafts[next].pub.severity;
        for (size_t k = i; k < next; k++)
            f->drafts[k].worst = worst;
    }
}

weir_status ledger_findings_end(ledger_findings *f, weir_err *err)
{
    if (!f->ended) {
        f->ended = true;
        for (uint32_t i = 0; i < f->n_streams; i++)
            settle_loss(f, &f->streams[i]);
        findings_judge(f);
        if (f->n_drafts) {
            qsort(f->drafts, f->n_drafts, sizeof *f->drafts, alike_order);
            fold_alike(f);
            mark_worst(f);
            qsort(f->drafts, f->n_drafts, sizeof *f->drafts, worst_order);
        }
        for (size_t i = 0; i < f->n_drafts; i++)
            f->failed = !findings_word(&f->drafts[i]) || f->failed;
    }
    if (f->failed)
        return weir_err_set(
            err, WEIR_ENOMEM, 0,
            "out of memory after %" PRIu64 " rows of the ledger: findings are missing", f->rows);
    return WEIR_OK;
}

size_t ledger_findings_count(const ledger_findings *f)
{
    return f->n_drafts;
}

const ledger_finding *ledger_findings_at(const ledger_findings *f, size_t i)
{
    return &f->drafts[i].pub;
}

void ledger_findings_looked(const ledger_findings *f, struct ledger_looked *out)
{
    *out = (struct ledger_looked){.rows = f->rows,
                                  .minutes = f->n_minutes,
                                  .packets = f->packets,
                                  .flows = f->flows,
                                  .left_out = f->left_out};
    for (uint32_t i = 0; i < f->n_exporters; i++)
        out->exporters += f->exporters[i].packets > 0;
    for (uint32_t i = 0; i < f->n_streams; i++)
        out->streams += f->streams[i].version != 0;
    if (f->n_minutes) {
        out->from_us = f->first_minute;
        out->to_us = f->last_minute + FINDINGS_MINUTE;
    }
}
