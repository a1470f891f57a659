/* The rules of weir doctor: each speaks on rows made for it and from its threshold on, and sound exporters give nothing. */
#include "unit.h"

#include "ledger/checkpoint.h"
#include "ledger/findings.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MINUTE INT64_C(60000000)
#define SECOND INT64_C(1000000)
#define START (INT64_C(1795381200) * SECOND) /* 2026-11-22T21:00:00Z */

/* What an exporter does in an hour is told as a row that changes from minute to minute. */
static struct ledger_row row_of(unsigned minute, unsigned exporter)
{
    struct ledger_row r = {.minute_us = START + minute * MINUTE,
                           .exporter = {192, 0, 2, (uint8_t)exporter},
                           .exporter_len = 4,
                           .domain = 7,
                           .has_domain = true,
                           .version = 9};
    return r;
}

static struct ledger_row collector_row(unsigned minute)
{
    return (struct ledger_row){.minute_us = START + minute * MINUTE};
}

static void set(struct ledger_row *r, enum flow_ledger_id c, uint64_t v)
{
    r->has[c / 64] |= UINT64_C(1) << c % 64;
    r->values[c].u64 = v;
}

static void set_unit(struct ledger_row *r, const char *unit)
{
    set(r, FLOW_LEDGER_sequence_unit, 0);
    r->values[FLOW_LEDGER_sequence_unit].text = unit;
}

static void set_signed(struct ledger_row *r, enum flow_ledger_id c, int64_t v)
{
    r->has[c / 64] |= UINT64_C(1) << c % 64;
    r->values[c].s64 = v;
}

static void set_rate(struct ledger_row *r, double rate, const char *source)
{
    set(r, FLOW_LEDGER_sampling_rate, 0);
    r->values[FLOW_LEDGER_sampling_rate].f64 = rate;
    set(r, FLOW_LEDGER_sampling_source, 0);
    r->values[FLOW_LEDGER_sampling_source].text = source;
}

enum { PACKETS = 100, EACH = 20 }; /* packets a minute, flows a packet */

/* A minute of a sound exporter: packets in order, templates repeated, a clock that is right. */
static struct ledger_row sound(unsigned minute, unsigned exporter)
{
    struct ledger_row r = row_of(minute, exporter);
    set_signed(&r, FLOW_LEDGER_first, r.minute_us + SECOND / 10);
    set_signed(&r, FLOW_LEDGER_last, r.minute_us + 59 * SECOND);
    set(&r, FLOW_LEDGER_packets, PACKETS);
    set(&r, FLOW_LEDGER_octets, PACKETS * 1400);
    set(&r, FLOW_LEDGER_decoded, PACKETS);
    set(&r, FLOW_LEDGER_records, PACKETS * EACH);
    set(&r, FLOW_LEDGER_flows, PACKETS * EACH);
    set(&r, minute ? FLOW_LEDGER_templates_refreshed : FLOW_LEDGER_templates_learnt, 2);
    set(&r, FLOW_LEDGER_templates, 2);
    set_rate(&r, 1, "options");
    set_signed(&r, FLOW_LEDGER_clock_skew_min, -900000);
    set_signed(&r, FLOW_LEDGER_clock_skew_max, -2000);
    set(&r, FLOW_LEDGER_uptime, 5000000 + minute * 60000);
    set_signed(&r, FLOW_LEDGER_exported_flows, minute * PACKETS * EACH);
    set_signed(&r, FLOW_LEDGER_not_sent_flows, 12);
    set_signed(&r, FLOW_LEDGER_ignored_packets, 7);
    return r;
}

static struct ledger_row sound_collector(unsigned minute)
{
    struct ledger_row r = collector_row(minute);
    set(&r, FLOW_LEDGER_listened, 60000000);
    set(&r, FLOW_LEDGER_kernel_drops, 0);
    set(&r, FLOW_LEDGER_receive_buffer, 16 << 20);
    return r;
}

static ledger_findings *begin(void)
{
    ledger_findings *f = ledger_findings_new();
    assert_non_null(f);
    return f;
}

static void feed(ledger_findings *f, const struct ledger_row *r)
{
    assert_true(ledger_findings_row(f, r));
}

static void end(ledger_findings *f)
{
    weir_err err = {0};
    assert_int_equal(WEIR_OK, ledger_findings_end(f, &err));
}

/* The one finding of this id, NULL: there is none. */
static const ledger_finding *find(const ledger_findings *f, enum ledger_finding_id id)
{
    for (size_t i = 0; i < ledger_findings_count(f); i++)
        if (ledger_findings_at(f, i)->id == id)
            return ledger_findings_at(f, i);
    return NULL;
}

static double value(const ledger_finding *x, const char *name)
{
    for (size_t i = 0; i < x->n_numbers; i++)
        if (strcmp(x->numbers[i].name, name) == 0)
            return x->numbers[i].value;
    fail_msg("%s has no number %s", ledger_finding_name(x->id), name);
    return 0;
}

/* Words that must be there, and no gap left open. */
static void check_words(const ledger_finding *x, const char *sentence, const char *remedy)
{
    UNIT_CHECK(strstr(x->sentence, sentence), "%s: \"%s\" lacks \"%s\"", ledger_finding_name(x->id),
               x->sentence, sentence);
    UNIT_CHECK(strstr(x->remedy, remedy), "%s: \"%s\" lacks \"%s\"", ledger_finding_name(x->id),
               x->remedy, remedy);
    UNIT_CHECK(!strpbrk(x->sentence, "{}<>\n") && !strpbrk(x->remedy, "{}<>\n"), "%s: %s: %s",
               ledger_finding_name(x->id), x->sentence, x->remedy);
}

/* An hour of sound minutes, changed by `change` (NULL: not), gives this finding alone. The caller looks on and frees. */
typedef void change_fn(struct ledger_row *r, unsigned minute);

static ledger_findings *hour_of(change_fn *change, unsigned minutes)
{
    ledger_findings *f = begin();
    for (unsigned m = 0; m < minutes; m++) {
        struct ledger_row c = sound_collector(m), r = sound(m, 1);
        if (change)
            change(&r, m);
        feed(f, &c);
        feed(f, &r);
    }
    end(f);
    return f;
}

static const ledger_finding *only(const ledger_findings *f, enum ledger_finding_id id,
                                  enum ledger_severity severity)
{
    const ledger_finding *x = find(f, id);
    UNIT_CHECK(x, "no finding %s", ledger_finding_name(id));
    for (size_t i = 0; i < ledger_findings_count(f); i++)
        UNIT_CHECK(ledger_findings_at(f, i) == x, "besides %s: %s: %s", ledger_finding_name(id),
                   ledger_finding_name(ledger_findings_at(f, i)->id),
                   ledger_findings_at(f, i)->sentence);
    UNIT_CHECK(x->severity == severity, "%s: severity %s", ledger_finding_name(id),
               ledger_severity_text(x->severity));
    check_words(x, "", "");
    return x;
}

static void nothing(const ledger_findings *f)
{
    if (ledger_findings_count(f))
        fail_msg("%s: %s", ledger_finding_name(ledger_findings_at(f, 0)->id),
                 ledger_findings_at(f, 0)->sentence);
}

static void none(change_fn *change)
{
    ledger_findings *f = hour_of(change, 60);
    nothing(f);
    ledger_findings_free(f);
}

/* --- sound --- */

static void no_rows(void **state)
{
    (void)state;
    ledger_findings *f = begin();
    end(f);
    nothing(f);
    struct ledger_looked l;
    ledger_findings_looked(f, &l);
    assert_int_equal(0, l.rows);
    ledger_findings_free(f);
    ledger_findings_free(NULL);
}

static void change_ipfix(struct ledger_row *r, unsigned m)
{
    (void)m;
    r->version = 10;
}

static void change_v5(struct ledger_row *r, unsigned m)
{
    r->version = 5;
    set(r, m ? FLOW_LEDGER_templates_refreshed : FLOW_LEDGER_templates_learnt, 0);
    set(r, FLOW_LEDGER_templates, 0);
    set_rate(r, 0, "unknown");
}

/* Things that happen to everybody: a restart, a template changed by hand, data that waits for a minute. */
static void change_life(struct ledger_row *r, unsigned m)
{
    if (m == 10) {
        set(r, FLOW_LEDGER_restarts, 1);
        set(r, FLOW_LEDGER_sequence_resets, 1);
    }
    if (m == 20)
        set(r, FLOW_LEDGER_templates_changed, 2);
    if (m == 0)
        set_signed(r, FLOW_LEDGER_waiting, 40);
    if (m == 1) {
        set_signed(r, FLOW_LEDGER_waiting, -40);
        set(r, FLOW_LEDGER_sets_late, 40);
    }
    if (m == 30) {
        set(r, FLOW_LEDGER_sequence_out_of_order, 5);
        set(r, FLOW_LEDGER_sequence_duplicated, 1);
        set(r, FLOW_LEDGER_flows_reversed, 2);
    }
    if (m == 40) /* went missing here, came in the next minute */
        set(r, FLOW_LEDGER_sequence_lost, 3);
    if (m == 41)
        set(r, FLOW_LEDGER_sequence_lost, (uint64_t)-3);
}

static void healthy(void **state)
{
    (void)state;
    none(NULL);
    none(change_ipfix);
    none(change_v5);
    none(change_life);
    ledger_findings *f = hour_of(NULL, 60);
    struct ledger_looked l;
    ledger_findings_looked(f, &l);
    assert_int_equal(120, l.rows);
    assert_int_equal(60, l.minutes);
    assert_int_equal(1, l.exporters);
    assert_int_equal(1, l.streams);
    assert_int_equal(60 * PACKETS, l.packets);
    assert_int_equal(60 * PACKETS * EACH, l.flows);
    assert_true(l.from_us == START && l.to_us == START + 60 * MINUTE);
    ledger_findings_free(f);
}

/* --- templates --- */

static void without_templates(struct ledger_row *r, unsigned m)
{
    set(r, m ? FLOW_LEDGER_templates_refreshed : FLOW_LEDGER_templates_learnt, 0);
    set(r, FLOW_LEDGER_templates, 0);
    set(r, FLOW_LEDGER_flows, 0);
    set(r, FLOW_LEDGER_records, 0);
    set(r, FLOW_LEDGER_decoded, 0);
    set_signed(r, FLOW_LEDGER_waiting, PACKETS);
}

static void some_expired(struct ledger_row *r, unsigned m)
{
    if (m == 30)
        set(r, FLOW_LEDGER_expired, 30);
}

static void once_told(struct ledger_row *r, unsigned m)
{
    if (m)
        set(r, FLOW_LEDGER_templates_refreshed, 0);
}

static void seldom_told(struct ledger_row *r, unsigned m)
{
    if (m % 45)
        set(r, FLOW_LEDGER_templates_refreshed, 0);
}

static void half_hourly_told(struct ledger_row *r, unsigned m)
{
    if (m % 30)
        set(r, FLOW_LEDGER_templates_refreshed, 0);
}

static void in_conflict(struct ledger_row *r, unsigned m)
{
    set(r, FLOW_LEDGER_conflicts, m % 2);
    set(r, FLOW_LEDGER_templates_changed, 2);
}

static void changing(struct ledger_row *r, unsigned m)
{
    set(r, FLOW_LEDGER_templates_changed, m % 10 == 0);
}

static void templates(void **state)
{
    (void)state;
    ledger_findings *f = hour_of(without_templates, 4); /* they may still come */
    nothing(f);
    ledger_findings_free(f);
    f = hour_of(without_templates, 20);
    const ledger_finding *x = only(f, LEDGER_FINDING_no_templates, LEDGER_ERROR);
    assert_true(value(x, "packets") == 20 * PACKETS);
    check_words(x, "2,000 packets cannot be decoded (in 20 min)", "template refresh");
    assert_int_equal(7, x->domain);
    ledger_findings_free(f);

    f = hour_of(some_expired, 60);
    x = only(f, LEDGER_FINDING_template_missing, LEDGER_WARNING);
    check_words(x, "30 packets of 6,000 (0.50 %)", "");
    assert_true(x->from_us == START + 30 * MINUTE && x->to_us == START + 31 * MINUTE);
    ledger_findings_free(f);

    none(once_told);
    f = hour_of(once_told, 62);
    x = only(f, LEDGER_FINDING_template_never_repeated, LEDGER_WARNING);
    check_words(x, "in 1 h 1 min of data", "1 to 5 minutes");
    ledger_findings_free(f);
    none(half_hourly_told);
    f = hour_of(seldom_told, 120);
    x = only(f, LEDGER_FINDING_template_refresh_slow, LEDGER_INFO);
    check_words(x, "up to 44 min pass", "");
    ledger_findings_free(f);

    f = hour_of(in_conflict, 60);
    x = only(f, LEDGER_FINDING_template_conflict, LEDGER_ERROR);
    check_words(x, "(30 times)", "--exporter-scope 192.0.2.1=port");
    ledger_findings_free(f);
    f = hour_of(changing, 60);
    x = only(f, LEDGER_FINDING_template_changing, LEDGER_WARNING);
    check_words(x, "redefined 6 times, in 6 minutes", "");
    ledger_findings_free(f);
    f = hour_of(changing, 50); /* five times: one fewer */
    nothing(f);
    ledger_findings_free(f);
}

/* --- sampling --- */

static void rate_zero(struct ledger_row *r, unsigned m)
{
    (void)m;
    set_rate(r, 0, "header");
}

static void rate_untold(struct ledger_row *r, unsigned m)
{
    (void)m;
    set_rate(r, 0, "unknown");
    set(r, FLOW_LEDGER_options, 1);
}

static void no_options(struct ledger_row *r, unsigned m)
{
    (void)m;
    set_rate(r, 0, "unknown");
}

static void sampling(void **state)
{
    (void)state;
    ledger_findings *f = hour_of(rate_zero, 60);
    check_words(only(f, LEDGER_FINDING_sampling_zero, LEDGER_WARNING), "rate is 0",
                "--sampling 192.0.2.1=RATE");
    ledger_findings_free(f);
    f = hour_of(rate_untold, 60);
    check_words(only(f, LEDGER_FINDING_sampling_unknown, LEDGER_INFO), "in 1 h",
                "--sampling 192.0.2.1=RATE");
    ledger_findings_free(f);
    f = hour_of(rate_untold, 29); /* it may still come */
    nothing(f);
    ledger_findings_free(f);
    none(no_options);
}

/* --- time --- */

static int64_t skew; /* of the exporters of the next hour, us */

static void set_skew(struct ledger_row *r, int64_t most)
{
    set_signed(r, FLOW_LEDGER_clock_skew_max, most);
    set_signed(r, FLOW_LEDGER_clock_skew_min, most - 900000);
}

static void skewed(struct ledger_row *r, unsigned m)
{
    (void)m;
    set_skew(r, skew);
}

static void once_skewed(struct ledger_row *r, unsigned m)
{
    set_skew(r, m == 5 ? skew : 0);
}

static void standing(struct ledger_row *r, unsigned m)
{
    (void)m;
    int64_t at = START - 1000 * SECOND;
    set_signed(r, FLOW_LEDGER_clock_skew_max, at - r->values[FLOW_LEDGER_first].s64);
    set_signed(r, FLOW_LEDGER_clock_skew_min, at - r->values[FLOW_LEDGER_last].s64);
}

static void wandering(struct ledger_row *r, unsigned m)
{
    set_skew(r, 20 * SECOND + (int64_t)(m % 10) * 10 * SECOND);
}

static void clocks(void **state)
{
    (void)state;
    static const struct {
        int64_t skew;
        enum ledger_finding_id id;
        enum ledger_severity severity;
        const char *words;
    } cases[] = {
        {11 * SECOND, LEDGER_FINDING_clock_off, LEDGER_WARNING, "is 11 s ahead of the collector"},
        {-11 * SECOND, LEDGER_FINDING_clock_off, LEDGER_WARNING, "is 11 s behind the collector"},
        {400 * SECOND, LEDGER_FINDING_clock_off, LEDGER_ERROR, "6 min 40 s ahead"},
        {60 * MINUTE, LEDGER_FINDING_clock_time_zone, LEDGER_ERROR, "1 h ahead"},
        {-330 * MINUTE + 20 * SECOND, LEDGER_FINDING_clock_time_zone, LEDGER_ERROR,
         "5 h 30 min behind"},
        {345 * MINUTE, LEDGER_FINDING_clock_time_zone, LEDGER_ERROR, "5 h 45 min ahead"},
        {50 * MINUTE, LEDGER_FINDING_clock_off, LEDGER_ERROR, "50 min ahead"},
        {15 * 60 * MINUTE, LEDGER_FINDING_clock_off, LEDGER_ERROR, "15 h ahead"},
        {-START + 90 * 60 * MINUTE, LEDGER_FINDING_clock_1970, LEDGER_ERROR,
         "1970-01-04 18:59 UTC"},
    };
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        skew = cases[i].skew;
        ledger_findings *f = hour_of(skewed, 60);
        check_words(only(f, cases[i].id, cases[i].severity), cases[i].words, "NTP");
        ledger_findings_free(f);
    }
    skew = 9 * SECOND;
    none(skewed);
    skew = 3600 * SECOND;
    none(once_skewed);
    ledger_findings *f = hour_of(standing, 60);
    check_words(only(f, LEDGER_FINDING_clock_stands_still, LEDGER_ERROR), "2026-11-22 20:43 UTC",
                "--quirk 192.0.2.1=export-time-fixed");
    ledger_findings_free(f);
    f = hour_of(wandering, 60);
    check_words(only(f, LEDGER_FINDING_clock_unsteady, LEDGER_WARNING),
                "up to 1 min 50 s, and by 1 min 30 s more", "NTP");
    ledger_findings_free(f);
}

/* When all exporters are off by the same, the collector is. */
static void own_clock(void **state)
{
    (void)state;
    for (unsigned n = 2; n <= 4; n++) {
        ledger_findings *f = begin();
        for (unsigned m = 0; m < 10; m++)
            for (unsigned e = 1; e <= n; e++) {
                struct ledger_row r = sound(m, e);
                set_skew(&r, -120 * SECOND + (int64_t)e * SECOND);
                feed(f, &r);
            }
        end(f);
        if (n < 3) {
            assert_int_equal(n, ledger_findings_count(f));
            assert_non_null(find(f, LEDGER_FINDING_clock_off));
        } else {
            const ledger_finding *x = only(f, LEDGER_FINDING_collector_clock, LEDGER_WARNING);
            assert_true(x->collector);
            assert_true(value(x, "exporters") == n);
            check_words(x, "ahead of theirs", "NTP");
        }
        ledger_findings_free(f);
    }
}

static void uptime_in_seconds(struct ledger_row *r, unsigned m)
{
    set(r, FLOW_LEDGER_uptime, 5000 + m * 60);
}

static void uptime_quirk(struct ledger_row *r, unsigned m)
{
    uptime_in_seconds(r, m);
    set(r, FLOW_LEDGER_quirky, PACKETS);
}

static void few_reversed(struct ledger_row *r, unsigned m)
{
    (void)m;
    set(r, FLOW_LEDGER_flows_reversed, 1);
}

static void many_reversed(struct ledger_row *r, unsigned m)
{
    (void)m;
    set(r, FLOW_LEDGER_flows_reversed, PACKETS * EACH / 100);
}

static void record_times(void **state)
{
    (void)state;
    ledger_findings *f = hour_of(uptime_in_seconds, 60);
    check_words(only(f, LEDGER_FINDING_uptime_seconds, LEDGER_ERROR), "0.001",
                "--quirk 192.0.2.1=uptime-seconds");
    ledger_findings_free(f);
    f = hour_of(uptime_in_seconds, 3);
    assert_non_null(find(f, LEDGER_FINDING_uptime_seconds));
    ledger_findings_free(f);
    f = hour_of(uptime_in_seconds, 2);
    nothing(f);
    ledger_findings_free(f);
    none(uptime_quirk);
    f = hour_of(few_reversed, 60);
    check_words(only(f, LEDGER_FINDING_times_reversed, LEDGER_INFO), "60 of 120,000 flows (0.05 %)",
                "");
    ledger_findings_free(f);
    f = hour_of(few_reversed, 9);
    nothing(f);
    ledger_findings_free(f);
    f = hour_of(many_reversed, 60);
    check_words(only(f, LEDGER_FINDING_times_reversed, LEDGER_WARNING), "(1.0 %)",
                "record-time-broken");
    ledger_findings_free(f);
}

/* --- sequence numbers --- */

static uint64_t lost_each;

static void losing(struct ledger_row *r, unsigned m)
{
    (void)m;
    set(r, FLOW_LEDGER_sequence_lost, lost_each);
}

static void losing_once(struct ledger_row *r, unsigned m)
{
    if (m == 5 || m == 7)
        set(r, FLOW_LEDGER_sequence_lost, m * lost_each);
}

static void out_of_order(struct ledger_row *r, unsigned m)
{
    (void)m;
    set(r, FLOW_LEDGER_sequence_out_of_order, 2);
}

static void all_twice(struct ledger_row *r, unsigned m)
{
    (void)m;
    set(r, FLOW_LEDGER_sequence_duplicated, PACKETS / 2);
}

static void some_twice(struct ledger_row *r, unsigned m)
{
    (void)m;
    set(r, FLOW_LEDGER_sequence_duplicated, 1);
}

static void counts_flows(struct ledger_row *r, unsigned m)
{
    (void)m;
    set(r, FLOW_LEDGER_sequence_lost, PACKETS * (EACH - 1));
}

static void counts_packets(struct ledger_row *r, unsigned m)
{
    (void)m;
    r->version = 10;
    set(r, FLOW_LEDGER_sequence_duplicated, PACKETS - PACKETS / EACH);
}

/* What the decoder has found is no finding, but loss is told in that unit. */
static void found_flows(struct ledger_row *r, unsigned m)
{
    counts_flows(r, m);
    set_unit(r, "flows");
}

static void found_nothing(struct ledger_row *r, unsigned m)
{
    (void)m;
    set_unit(r, "none");
}

static void counts_itself(struct ledger_row *r, unsigned m)
{
    (void)m;
    r->version = 10;
    set(r, FLOW_LEDGER_sequence_lost, PACKETS * EACH / 4);
    set(r, FLOW_LEDGER_sequence_duplicated, PACKETS * 2 / 5);
}

static void jumps(struct ledger_row *r, unsigned m)
{
    (void)m;
    set(r, FLOW_LEDGER_sequence_resets, 1);
}

static void restarting(struct ledger_row *r, unsigned m)
{
    set(r, FLOW_LEDGER_restarts, m == 10 || m == 20 || m == 30);
    set(r, FLOW_LEDGER_sequence_resets, m == 10 || m == 20 || m == 30);
}

static void sequences(void **state)
{
    (void)state;
    lost_each = 10; /* of 110 */
    ledger_findings *f = hour_of(losing, 60);
    const ledger_finding *x = only(f, LEDGER_FINDING_loss_steady, LEDGER_ERROR);
    check_words(x, "600 packets of 6,600 (9.1 %) never arrived, in 60 of 60 minutes", "");
    ledger_findings_free(f);
    lost_each = 1;
    f = hour_of(losing_once, 60);
    x = only(f, LEDGER_FINDING_loss_bursts, LEDGER_WARNING);
    check_words(x, "12 packets of 6,012 (0.20 %)", "");
    check_words(x, "most of them (7) at 2026-11-22 21:07 UTC", "");
    assert_true(x->from_us == START + 5 * MINUTE && x->to_us == START + 8 * MINUTE);
    ledger_findings_free(f);

    f = hour_of(out_of_order, 60);
    check_words(only(f, LEDGER_FINDING_reordering, LEDGER_INFO), "120 of 6,000 packets (2.0 %)",
                "");
    ledger_findings_free(f);
    f = hour_of(all_twice, 60);
    check_words(only(f, LEDGER_FINDING_duplicates, LEDGER_ERROR), "(50 %) came twice", "mirror");
    ledger_findings_free(f);
    f = hour_of(some_twice, 60);
    (void)only(f, LEDGER_FINDING_duplicates, LEDGER_WARNING);
    ledger_findings_free(f);

    static const struct {
        change_fn *change;
        const char *words;
    } units[] = {{counts_flows, "count records instead of packets"},
                 {counts_packets, "count packets instead of the records"},
                 {counts_itself, "up to the end of the message"},
                 {found_nothing, "count something else instead of packets"}};
    for (size_t i = 0; i < UNIT_N(units); i++) {
        f = hour_of(units[i].change, 60);
        check_words(only(f, LEDGER_FINDING_sequence_unit, LEDGER_WARNING), units[i].words, "");
        ledger_findings_free(f);
    }
    f = hour_of(found_flows, 60);
    check_words(only(f, LEDGER_FINDING_loss_steady, LEDGER_ERROR), " flows of ", "");
    ledger_findings_free(f);
    f = hour_of(jumps, 60);
    check_words(only(f, LEDGER_FINDING_sequence_resets, LEDGER_WARNING), "60 times", "");
    ledger_findings_free(f);
    f = hour_of(jumps, 9);
    nothing(f);
    ledger_findings_free(f);
    f = hour_of(restarting, 60);
    check_words(only(f, LEDGER_FINDING_restarts, LEDGER_WARNING), "restarted 3 times", "");
    ledger_findings_free(f);
    f = hour_of(restarting, 30);
    nothing(f);
    ledger_findings_free(f);
}

/* Loss in minutes in which the collector itself dropped packets is the collector's. */
static void own_loss(void **state)
{
    (void)state;
    ledger_findings *f = begin();
    for (unsigned m = 0; m < 30; m++) {
        struct ledger_row c = sound_collector(m), r = sound(m, 1);
        if (m == 10) {
            set(&c, FLOW_LEDGER_kernel_drops, 50);
            set(&r, FLOW_LEDGER_sequence_lost, 50);
        }
        feed(f, &r); /* whatever the order within the minute */
        feed(f, &c);
    }
    end(f);
    const ledger_finding *x = only(f, LEDGER_FINDING_receive_buffer, LEDGER_ERROR);
    assert_true(x->collector);
    check_words(x, "dropped 50 packets (1.6 %) in 1 minute: the receive buffer of 16 MiB",
                "net.core.rmem_max=33554432");
    check_words(x, "", "--receive-buffer 32M");
    ledger_findings_free(f);
}

/* --- what the exporter says, and what could not be read --- */

static enum flow_ledger_id grown;

static void growing(struct ledger_row *r, unsigned m)
{
    /* 100 more each minute, and anew after a restart in minute 30 */
    set_signed(r, grown, (int64_t)(m < 30 ? 1000 + m * 100 : (m - 30) * 100));
}

static enum flow_ledger_id fault;

static void faulty(struct ledger_row *r, unsigned m)
{
    set(r, fault, m < 10);
}

static void rejects(void **state)
{
    (void)state;
    grown = FLOW_LEDGER_not_sent_flows;
    ledger_findings *f = hour_of(growing, 60);
    check_words(only(f, LEDGER_FINDING_exporter_drops, LEDGER_WARNING), "5,800 flows", "");
    ledger_findings_free(f);
    grown = FLOW_LEDGER_ignored_packets;
    f = hour_of(growing, 60);
    check_words(only(f, LEDGER_FINDING_exporter_ignores, LEDGER_INFO), "5,800 packets", "");
    ledger_findings_free(f);

    static const struct {
        enum flow_ledger_id column;
        enum ledger_finding_id id;
        enum ledger_severity of_five, of_ten, of_ten_in_ten;
    } cases[] = {
        {FLOW_LEDGER_rejected_unknown_version, LEDGER_FINDING_not_an_export, LEDGER_INFO,
         LEDGER_WARNING, LEDGER_WARNING},
        {FLOW_LEDGER_rejected_short_header, LEDGER_FINDING_malformed_header, LEDGER_INFO,
         LEDGER_WARNING, LEDGER_ERROR},
        {FLOW_LEDGER_rejected_message_length, LEDGER_FINDING_malformed_length, LEDGER_INFO,
         LEDGER_WARNING, LEDGER_ERROR},
        {FLOW_LEDGER_rejected_set_bounds, LEDGER_FINDING_malformed_set, LEDGER_INFO, LEDGER_WARNING,
         LEDGER_ERROR},
        {FLOW_LEDGER_rejected_record_count, LEDGER_FINDING_malformed_count, LEDGER_INFO,
         LEDGER_WARNING, LEDGER_ERROR},
        {FLOW_LEDGER_fault_set_bounds, LEDGER_FINDING_malformed_flowset, LEDGER_INFO,
         LEDGER_WARNING, LEDGER_ERROR},
        {FLOW_LEDGER_fault_reserved_set, LEDGER_FINDING_malformed_set_id, LEDGER_INFO,
         LEDGER_WARNING, LEDGER_WARNING},
        {FLOW_LEDGER_fault_record_truncated, LEDGER_FINDING_malformed_record, LEDGER_INFO,
         LEDGER_WARNING, LEDGER_WARNING},
        {FLOW_LEDGER_fault_template_malformed, LEDGER_FINDING_malformed_template, LEDGER_WARNING,
         LEDGER_ERROR, LEDGER_ERROR},
        {FLOW_LEDGER_fault_template_limit, LEDGER_FINDING_template_limit, LEDGER_ERROR,
         LEDGER_ERROR, LEDGER_ERROR},
        {FLOW_LEDGER_sets_overflowed, LEDGER_FINDING_waiting_limit, LEDGER_WARNING, LEDGER_WARNING,
         LEDGER_WARNING},
        {FLOW_LEDGER_elements_unknown, LEDGER_FINDING_elements_unknown, LEDGER_INFO, LEDGER_INFO,
         LEDGER_INFO},
    };
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        fault = cases[i].column;
        f = hour_of(faulty, 5);
        (void)only(f, cases[i].id, cases[i].of_five);
        ledger_findings_free(f);
        f = hour_of(faulty, 60);
        (void)only(f, cases[i].id, cases[i].of_ten);
        ledger_findings_free(f);
        f = hour_of(faulty, 10);
        (void)only(f, cases[i].id, cases[i].of_ten_in_ten);
        ledger_findings_free(f);
    }
}

/* --- exporters and the collector --- */

static void silence(void **state)
{
    (void)state;
    for (unsigned quiet = 3; quiet < 9; quiet++) {
        ledger_findings *f = begin();
        for (unsigned m = 0; m < 30 + quiet; m++) {
            struct ledger_row c = sound_collector(m), r = sound(m, 1), other = sound(m, 2);
            feed(f, &c);
            if (m < 30)
                feed(f, &r);
            /* the other one comes every third minute, and is silent for two now */
            if (m % 3 == 0)
                feed(f, &other);
        }
        end(f);
        if (quiet < 5) {
            nothing(f);
        } else {
            const ledger_finding *x = only(f, LEDGER_FINDING_silent, LEDGER_ERROR);
            assert_int_equal(1, x->exporter[3]);
            assert_true(value(x, "span") == (double)quiet * 60e6);
            check_words(x, "since 2026-11-22 21:30 UTC", "host 192.0.2.1");
        }
        ledger_findings_free(f);
    }
    /* The minute that goes on is not counted before it is over. */
    for (int s = 1; s <= 60; s += 59) {
        ledger_findings *f = begin();
        for (unsigned m = 0; m < 35; m++) {
            struct ledger_row c = sound_collector(m), r = sound(m, 1);
            if (m == 34) {
                c.has[FLOW_LEDGER_last / 64] |= UINT64_C(1) << FLOW_LEDGER_last % 64;
                c.values[FLOW_LEDGER_last].s64 = c.minute_us + s * INT64_C(1000000);
            }
            feed(f, &c);
            if (m < 30)
                feed(f, &r);
        }
        end(f);
        if (s < 60)
            nothing(f);
        else
            (void)only(f, LEDGER_FINDING_silent, LEDGER_ERROR);
        ledger_findings_free(f);
    }
    /* The collector was down meanwhile: nobody was silent. */
    ledger_findings *f = begin();
    for (unsigned m = 0; m < 60; m++) {
        struct ledger_row c = sound_collector(m), r = sound(m, 1);
        if (m < 20 || m >= 50) {
            feed(f, &c);
            feed(f, &r);
        }
    }
    end(f);
    const ledger_finding *x = only(f, LEDGER_FINDING_collector_down, LEDGER_WARNING);
    check_words(x, "30 min in all, 1 time, 30 min at a stretch, from 2026-11-22 21:20 UTC on", "");
    assert_true(x->from_us == START + 20 * MINUTE && x->to_us == START + 50 * MINUTE);
    ledger_findings_free(f);
}

static void put_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    (void)fputs(text, f);
    (void)fclose(f);
}

/* Copies of checkpoints that are damaged, of all workers together, with rows and without. */
static void checkpoints(void **state)
{
    (void)state;
    char dir[] = "/tmp/weir-findings-XXXXXX", name[80];
    const struct ledger_range all = {.from_us = INT64_MIN, .to_us = INT64_MAX},
                              past = {.from_us = START, .to_us = START + MINUTE};
    assert_non_null(mkdtemp(dir));
    for (unsigned w = 0; w < 3; w++) {
        ledger_checkpoint *c;
        char *path = ledger_checkpoint_path(dir, w);
        assert_int_equal(ledger_checkpoint_open(path, &c, NULL), WEIR_OK);
        for (int n = 0; n < 3; n++)
            assert_int_equal(ledger_checkpoint_write(c, (const uint8_t *)"x", 1), WEIR_OK);
        ledger_checkpoint_close(c);
        free(path);
    }
    for (int step = 0; step < 3; step++) {
        ledger_findings *f = begin();
        if (step == 1) { /* a copy each of two workers */
            (void)snprintf(name, sizeof name, "%s/weir.checkpoint-w0.b", dir);
            put_text(name, "torn");
            (void)snprintf(name, sizeof name, "%s/weir.checkpoint-w2.a", dir);
            put_text(name, "torn");
        } else if (step == 2) { /* and the other one of one of them */
            (void)snprintf(name, sizeof name, "%s/weir.checkpoint-w2.b", dir);
            put_text(name, "torn");
        }
        assert_int_equal(ledger_findings_archive(f, dir, &past, NULL), WEIR_OK);
        assert_int_equal(ledger_findings_archive(f, dir, &all, NULL), WEIR_OK);
        end(f);
        assert_int_equal(ledger_findings_count(f), step);
        if (step == 1)
            check_words(only(f, LEDGER_FINDING_checkpoint_damaged, LEDGER_WARNING),
                        "2 files of the checkpoint damaged (weir.checkpoint-w0.b), while the other",
                        "writes both copies anew");
        if (step == 2) {
            const ledger_finding *x = find(f, LEDGER_FINDING_checkpoint_lost);
            assert_true(x && x->severity == LEDGER_ERROR && x->collector);
            assert_true(x->from_us > START - 365 * 24 * 60 * MINUTE && x->from_us % MINUTE == 0 &&
                        x->to_us == x->from_us + MINUTE);
            check_words(
                x, "2 files of the checkpoint damaged (weir.checkpoint-w2.a) and no copy is whole",
                "begins a new checkpoint by itself");
            check_words(find(f, LEDGER_FINDING_checkpoint_damaged), "1 file of the checkpoint", "");
        }
        ledger_findings_free(f);
    }
    for (unsigned w = 0; w < 3; w++) {
        char *path = ledger_checkpoint_path(dir, w);
        ledger_checkpoint_remove(path);
        free(path);
    }
    assert_int_equal(rmdir(dir), 0);
}

static void collectors(void **state)
{
    (void)state;
    static const struct {
        enum flow_ledger_id column;
        enum ledger_finding_id id;
        enum ledger_severity severity;
        const char *words;
    } cases[] = {
        {FLOW_LEDGER_packets_dropped, LEDGER_FINDING_queue_full, LEDGER_ERROR,
         "10 packets dropped"},
        {FLOW_LEDGER_flows_lost, LEDGER_FINDING_output_lost, LEDGER_ERROR,
         "10 flows and 0 options records"},
        {FLOW_LEDGER_options_lost, LEDGER_FINDING_output_lost, LEDGER_ERROR,
         "0 flows and 10 options records"},
        {FLOW_LEDGER_packets_refused, LEDGER_FINDING_refused, LEDGER_INFO,
         "10 packets of 1 sender refused by --allow, most of them of 192.0.2.1"},
        {FLOW_LEDGER_receive_errors, LEDGER_FINDING_receive_errors, LEDGER_WARNING,
         "failed 10 times"},
        {FLOW_LEDGER_rejected_state_limit, LEDGER_FINDING_state_limit, LEDGER_ERROR,
         "10 packets of 1 exporter"},
        {FLOW_LEDGER_rejected_out_of_memory, LEDGER_FINDING_out_of_memory, LEDGER_ERROR,
         "10 packets"},
    };
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        fault = cases[i].column;
        ledger_findings *f = hour_of(faulty, 60);
        const ledger_finding *x = only(f, cases[i].id, cases[i].severity);
        assert_true(x->collector && x->exporter_len == 0);
        check_words(x, cases[i].words, "");
        ledger_findings_free(f);
    }
}

/* --- many --- */

/* Streams of one exporter that complain of the same give one finding; the worst exporter stands first. */
static void order(void **state)
{
    (void)state;
    ledger_findings *f = begin();
    for (unsigned m = 0; m < 20; m++)
        for (unsigned d = 0; d < 500; d++) {
            struct ledger_row bad = sound(m, 9), fair = sound(m, 3);
            bad.domain = fair.domain = d;
            set(&bad, FLOW_LEDGER_conflicts, d == 77 ? 2 : 1);
            set(&bad, FLOW_LEDGER_elements_unknown, 1);
            set(&fair, FLOW_LEDGER_sequence_duplicated, 1);
            feed(f, &bad);
            feed(f, &fair);
        }
    end(f);
    assert_int_equal(3, ledger_findings_count(f));
    const ledger_finding *x = ledger_findings_at(f, 0);
    assert_int_equal(LEDGER_FINDING_template_conflict, x->id);
    assert_int_equal(9, x->exporter[3]);
    assert_int_equal(77, x->domain);
    check_words(x, "(40 times)", "");
    check_words(x, "alike in 499 more of its streams", "");
    assert_int_equal(LEDGER_FINDING_elements_unknown, ledger_findings_at(f, 1)->id);
    assert_int_equal(LEDGER_FINDING_duplicates, ledger_findings_at(f, 2)->id);
    struct ledger_looked l;
    ledger_findings_looked(f, &l);
    assert_int_equal(1000, l.streams);
    assert_int_equal(2, l.exporters);
    char addr[LEDGER_FINDING_ADDR_TEXT];
    ledger_finding copy = *x;
    assert_int_equal(9, ledger_finding_addr_text(&copy, addr));
    assert_memory_equal("192.0.2.9", addr, 9);
    copy.exporter_port = 2055;
    assert_int_equal(14, ledger_finding_addr_text(&copy, addr));
    assert_memory_equal("192.0.2.9:2055", addr, 14);
    ledger_findings_free(f);
}

static void more_streams_than_fit(void **state)
{
    (void)state;
    ledger_findings *f = begin();
    struct ledger_row r = row_of(0, 1);
    set(&r, FLOW_LEDGER_packets, 1);
    for (uint32_t d = 0; d < LEDGER_FINDINGS_STREAMS + 5; d++) {
        r.domain = d;
        feed(f, &r);
    }
    end(f);
    struct ledger_looked l;
    ledger_findings_looked(f, &l);
    assert_int_equal(5, l.left_out);
    assert_int_equal(LEDGER_FINDINGS_STREAMS, l.streams);
    ledger_findings_free(f);
}

/* Rows of anything: extreme values of every column do no harm. */
static void hostile_rows(void **state)
{
    (void)state;
    static const uint64_t odd[] = {0, 1, INT64_MAX, (uint64_t)INT64_MIN, UINT64_MAX, 1000000};
    uint64_t mix = 88172645463325252U;
    ledger_findings *f = begin();
    for (unsigned i = 0; i < 3000; i++) {
        struct ledger_row r = row_of(i / 8, i % 5);
        r.version = (uint8_t[]){0, 1, 5, 9, 10}[i % 5];
        r.has_domain = i % 7 != 0;
        r.exporter_len = (uint8_t[]){0, 4, 16}[i % 3];
        for (unsigned c = 0; c < FLOW_N_LEDGER_COLUMNS; c++) {
            mix ^= mix << 13;
            mix ^= mix >> 7;
            mix ^= mix << 17;
            if (mix & 1)
                set(&r, (enum flow_ledger_id)c,
                    mix & 2 ? odd[(mix >> 8) % UNIT_N(odd)] : mix >> 40);
        }
        set_rate(&r, 0, "header");
        set_unit(&r, i % 9 ? "records" : "none");
        feed(f, &r);
    }
    end(f);
    base_buf b = {0};
    for (size_t i = 0; i < ledger_findings_count(f); i++) {
        check_words(ledger_findings_at(f, i), "", "");
        ledger_finding_json(ledger_findings_at(f, i), &b);
    }
    assert_true(ledger_findings_count(f) > 10 && !b.failed);
    base_buf_done(&b);
    ledger_findings_free(f);
}

static void json(void **state)
{
    (void)state;
    lost_each = 1;
    ledger_findings *f = hour_of(losing_once, 60);
    base_buf b = {0};
    ledger_finding_json(ledger_findings_at(f, 0), &b);
    base_buf_char(&b, 0);
    static const char begins[] = "{\"id\":\"loss-bursts\",\"severity\":\"warning\",\"about\":"
                                 "\"exporter\",\"exporter\":\"192.0.2.1\","
                                 "\"port\":null,\"domain\":7,\"version\":9,\"from\":\"2026-11-"
                                 "22T21:05:00Z\",\"to\":\"2026-11-22T21:08:00Z\","
                                 "\"numbers\":{\"lost\":12,\"due\":6012,\"share\":0.00";
    UNIT_CHECK(strncmp(b.data, begins, sizeof begins - 1) == 0, "%s", b.data);
    base_buf_done(&b);
    ledger_findings_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_rows),
        cmocka_unit_test(healthy),
        cmocka_unit_test(templates),
        cmocka_unit_test(sampling),
        cmocka_unit_test(clocks),
        cmocka_unit_test(own_clock),
        cmocka_unit_test(record_times),
        cmocka_unit_test(sequences),
        cmocka_unit_test(own_loss),
        cmocka_unit_test(rejects),
        cmocka_unit_test(silence),
        cmocka_unit_test(collectors),
        cmocka_unit_test(checkpoints),
        cmocka_unit_test(order),
        cmocka_unit_test(more_streams_than_fit),
        cmocka_unit_test(hostile_rows),
        cmocka_unit_test(json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
