/* findings_in -- what findings.c gathers from rows, judge.c judges and finding_text.c puts into words. */
#ifndef LEDGER_FINDINGS_IN_H
#define LEDGER_FINDINGS_IN_H

#include "ledger/findings.h"
#include "ledger/index.h"

enum {
#define THRESHOLD(name, value) LIMIT_##name = (value),
#include "ledger_thresholds.inc" /* from registry/thresholds.tsv */
#undef THRESHOLD
};

enum { FINDINGS_SECOND = 1000000, FINDINGS_MINUTE = 60 * FINDINGS_SECOND };

/* How often something was seen, and when. */
struct seen {
    uint64_t n;
    int64_t from, to; /* first and last minute, us; only when n > 0 */
    uint32_t minutes; /* different ones */
};

/* The counters of a stream that rules look at, and the column each comes from. */
#define STREAM_SEEN_MAP(X)                                                                         \
    X(expired)                                                                                     \
    X(rejected_unknown_version)                                                                    \
    X(rejected_short_header)                                                                       \
    X(rejected_message_length)                                                                     \
    X(rejected_set_bounds)                                                                         \
    X(rejected_record_count)                                                                       \
    X(records_rejected)                                                                            \
    X(flows_reversed)                                                                              \
    X(sequence_duplicated)                                                                         \
    X(sequence_out_of_order)                                                                       \
    X(sets_overflowed)                                                                             \
    X(templates_changed)                                                                           \
    X(templates_expired)                                                                           \
    X(conflicts)                                                                                   \
    X(older_than_template)                                                                         \
    X(values_bad)                                                                                  \
    X(elements_unknown)                                                                            \
    X(restarts)                                                                                    \
    X(fault_set_bounds)                                                                            \
    X(fault_reserved_set)                                                                          \
    X(fault_template_malformed)                                                                    \
    X(fault_template_limit)                                                                        \
    X(fault_record_truncated)

/* The same of the collector: sums over all rows. */
#define COLLECTOR_SEEN_MAP(X)                                                                      \
    X(flows_lost)                                                                                  \
    X(options_lost)                                                                                \
    X(packets_dropped)                                                                             \
    X(packets_refused)                                                                             \
    X(kernel_drops)                                                                                \
    X(receive_errors)                                                                              \
    X(rejected_state_limit)                                                                        \
    X(rejected_out_of_memory)                                                                      \
    X(fault_out_of_memory)

/* Events in windows of a day, each begun by its first event. */
struct by_day {
    int64_t since;
    uint64_t n, most;
};

/* A total that the exporter tells and that may begin anew. */
struct told {
    int64_t last;
    bool known;
    struct seen grown;
};

struct findings_stream {
    uint8_t exporter[16], exporter_len;
    uint16_t port;
    uint32_t domain;
    bool has_domain;
    uint8_t version;
    const char *unit; /* of its sequence numbers, as found last */
    uint32_t of;      /* index of its exporter */
    int64_t first_minute, last_minute;
    uint32_t minutes; /* with packets */
    uint64_t packets, records, flows, options;

    int64_t waiting;       /* packets that wait now */
    int64_t waiting_since; /* minute from which on some have been waiting; waiting > 0 */
    uint64_t templates, learnt, repeated;
    int64_t told_minute;        /* the last one with a template; 0: none yet */
    uint32_t since_told;        /* minutes with packets since then */
    uint32_t longest_untold;    /* the most of them between two */
    uint32_t templated_minutes; /* with packets and a template in force */

    bool rate_known, rate_zero;
    int64_t rate_zero_minute;

    /* Clock: of each minute the least delayed packet. */
    uint32_t skews, skews_off;
    int64_t off_least, off_most, off_last, off_from, off_to;
    int64_t export_least, export_most, export_last; /* export times */
    int64_t first_arrival, last_arrival;

    bool uptime_known;
    uint32_t uptime;
    int64_t uptime_at, uptime_span; /* us of arrival that ... */
    uint64_t uptime_moved;          /* ... moved it so far, ms */
    bool quirky;

    /* Loss of the minute that is read now is held until its drops by the collector are known. */
    int64_t loss_minute, loss_held;
    int64_t lost, lost_here; /* here: in minutes with drops by the collector */
    uint32_t loss_minutes;
    int64_t loss_from, loss_to, worst, worst_minute;

    struct by_day resets_day, restarts_day;
    uint64_t resets;
    struct told not_sent, ignored;

#define X(name) struct seen name;
    STREAM_SEEN_MAP(X)
#undef X
};

struct exporter_key {
    uint8_t addr[16], len;
};

struct findings_exporter {
    uint8_t addr[16], len;
    bool state_limit; /* some of its packets found no room */
    uint64_t packets, refused;
    uint32_t minutes;       /* with packets */
    int64_t last_minute;    /* of them */
    uint64_t last_number;   /* its number among all minutes of the ledger */
    uint64_t longest_pause; /* minutes of the ledger without packets, between two with some */
};

/* A finding before it has words. */
struct draft {
    ledger_finding pub;
    uint32_t of; /* exporter, UINT32_MAX: the collector */
    uint32_t more;
    struct {
        const char *name, *text; /* text NULL: own */
    } texts[2];
    uint32_t n_texts;
    char own[LEDGER_FINDING_ADDR_TEXT];
    enum ledger_severity worst; /* of its exporter: for the order */
    char *sentence, *remedy;    /* what pub's point to; NULL: no memory for them */
};

struct ledger_findings {
    struct findings_stream *streams;
    uint32_t n_streams, cap_streams;
    struct findings_exporter *exporters;
    uint32_t n_exporters, cap_exporters;
    ledger_index stream_index, exporter_index; /* numbers in these arrays */
    int64_t *drop_minutes; /* in which the collector dropped packets, in order */
    size_t n_drops, cap_drops;

    uint64_t rows, left_out, packets, flows;
    uint64_t n_minutes;                /* different ones */
    int64_t first_minute, last_minute; /* n_minutes > 0 */

    int64_t told_us;         /* up to when the collector has counted, 0: it does not say */
    int64_t listened_minute; /* the last one; only when listened */
    bool listened;
    uint64_t receive_buffer;
    struct seen down; /* n: minutes, minutes: gaps */
    int64_t down_most, down_worst;

#define X(name) struct seen name;
    COLLECTOR_SEEN_MAP(X)
#undef X
    /* Files of checkpoints that are damaged: with another copy that is whole, and without. */
    struct damage {
        struct seen files;
        char first[LEDGER_FINDING_ADDR_TEXT]; /* name of one of them */
    } copies, checkpoints;

    struct draft *drafts;
    size_t n_drafts, cap_drafts;
    bool failed, ended; /* out of memory */
};

/* judge.c: all rules, as drafts. */
void findings_judge(ledger_findings *f);

/* finding_text.c: the words of a draft. False: out of memory. */
bool findings_word(struct draft *d);

/* An address as people write it; returns the length, writes no NUL. */
size_t findings_addr_text(const uint8_t *addr, uint8_t len, char *out);

#endif
