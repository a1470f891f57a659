/* complete -- how complete the answer to a question is: what the ledger says of the exporters, domains and minutes that it
 * was about.
 *
 *     complete
 *     99.2 % (exporter 192.0.2.1 lost 1,204 flows 21:05-21:06: sequence gap; 310 packets dropped by the kernel)
 *     99.2 % (lost 1,204 flows 21:05-21:10: counted, but not in the archive)
 *     complete as far as known (the collector did not run for 41 min: 20:00-20:41)
 *     complete as far as known (300 flows 21:05-21:10 that the ledger does not count)
 *     complete as far as known (counts of 21:05-21:06 cannot be read: checkpoint damaged)
 *     not known: no ledger from 20:00 to 20:41
 *
 * docs/ledger.md says how it is worked out. */
#ifndef LEDGER_COMPLETE_H
#define LEDGER_COMPLETE_H

#include "base/buf.h"
#include "ledger/balance.h"
#include "ledger/ledger.h"

/* Why flows are missing. */
enum ledger_cause {
    LEDGER_CAUSE_SEQUENCE, /* never arrived, the sequence numbers say */
    LEDGER_CAUSE_KERNEL, /* datagrams dropped by the kernel: beside, since sequence numbers count them too */
    LEDGER_CAUSE_QUEUE, /* packets dropped before decoding: beside, except where there are no sequence numbers */
    LEDGER_CAUSE_OUTPUT,   /* decoded, not stored */
    LEDGER_CAUSE_TEMPLATE, /* their template never came */
    LEDGER_CAUSE_REJECTED, /* malformed packets and records */
    LEDGER_CAUSE_REFUSED,  /* by --allow: beside, the operator wanted it */
    LEDGER_CAUSE_DOWN,     /* the collector did not run */
    LEDGER_CAUSE_NO_ROOM, /* packets of exporters and streams beyond the limits, or for want of memory */
    LEDGER_CAUSE_ARCHIVE, /* counted as stored, but not in the archive */
    LEDGER_N_CAUSES
};

/* One exporter's loss of one cause over one run of minutes. */
struct ledger_loss {
    uint8_t exporter[16], exporter_len; /* 0: the collector */
    enum ledger_cause cause;
    int64_t from_us, to_us; /* first minute's start, last minute's end */
    double flows;           /* that are missing, 0: only packets are known */
    uint64_t packets;
    bool estimated; /* flows is: from the average of a packet */
    bool maybe;     /* nobody knows whether the question is about them: not in the total */
};

enum { LEDGER_MAX_LOSSES = 64 }; /* the largest are kept, the others are in the totals */

typedef struct ledger_complete {
    bool known;                           /* there is a ledger for some of it */
    bool estimated;                       /* lost is, in part */
    uint64_t flows;                       /* decoded and stored, by the ledger */
    double lost;                          /* flows that are missing */
    double share;                         /* flows / (flows + lost); 1: complete */
    uint64_t packets_of[LEDGER_N_CAUSES]; /* totals beside */
    int64_t
        down_us; /* of the time asked for, between the first and the last minute that has rows */
    int64_t from_us, to_us;    /* asked for */
    int64_t first_us, last_us; /* start of the first minute that has rows, end of the last one */
    uint64_t unnumbered;       /* of flows: NetFlow v1, which has no sequence numbers */
    uint64_t unsure;           /* gaps whose size nobody knows */
    double maybe; /* flows that are missing, of which nobody knows whether they were asked for */
    bool maybe_estimated;
    /* Flows that the archive has and the ledger does not count, and from when to when; of them, those before its first and
     * behind its last minute. */
    uint64_t uncounted, uncounted_before, uncounted_behind;
    int64_t uncounted_from_us, uncounted_to_us;
    int64_t between_from_us, between_to_us; /* the same of those that are neither */
    /* Workers whose last counts before the collector ended, or until now, cannot be read or may not be the last ones, and from when
     * to when they are; of them, those of which no copy is whole. */
    unsigned damaged, unread;
    int64_t damaged_from_us, damaged_to_us;
    uint64_t exporters_with_loss;
    struct ledger_loss losses[LEDGER_MAX_LOSSES]; /* largest first */
    size_t n_losses, n_more;
} ledger_complete;

enum { LEDGER_MAX_EXPORTERS = 65536 }; /* that are told apart; losses of others are in the totals */

/* Whether a row has to do with the question; a NULL function: all do. MAYBE: it does not say so much of itself that this could be
 * known (packets that were dropped before anybody knew their domain; of exporters that had no row of their own): what is
 * missing by it is told and not charged. The collector's own rows are MAYBE without being asked for. */
enum ledger_about { LEDGER_ABOUT_NOT, LEDGER_ABOUT_MAYBE, LEDGER_ABOUT };
typedef enum ledger_about ledger_about_fn(void *user, const struct ledger_row *row);

/* What the ledgers of these archives say of the minutes that overlap [from_us, to_us]. books: what each of them has of flows, to
 * be held against it; NULL: not known. WEIR_OK; WEIR_EIO, WEIR_EFORMAT: a file of theirs could not be read, *out says what the
 * others do; WEIR_ENOMEM. */
weir_status ledger_complete_read(const char *const *paths, size_t n_paths,
                                 struct ledger_books *books, int64_t from_us, int64_t to_us,
                                 ledger_about_fn *about, void *user, ledger_complete *out,
                                 weir_err *err);

/* Only the rows of a batch, for an account that was not stored. */
weir_status ledger_complete_of_batch(const flow_batch *b, int64_t from_us, int64_t to_us,
                                     ledger_about_fn *about, void *user, ledger_complete *out,
                                     weir_err *err);

/* The same of rows that come from elsewhere, a server say, archive by archive: begin each with what is known of its files, add its
 * rows in batches, in order of minute, no minute in two batches. */
typedef struct ledger_completing ledger_completing;
/* The columns besides the keys that rows need; *n of them. */
const enum flow_ledger_id *ledger_completing_columns(size_t *n);
/* NULL: out of memory. out is filled as rows come, and good when it is ended. */
ledger_completing *ledger_completing_new(int64_t from_us, int64_t to_us, ledger_about_fn *about,
                                         void *user, ledger_complete *out);
/* Another archive; what came of the one before is complete. books: borrowed until the next one or the end; NULL: not known. only: there
 * is no other. WEIR_ENOMEM. */
weir_status ledger_completing_archive(ledger_completing *x, struct ledger_books *books, bool only,
                                      weir_err *err);
weir_status ledger_completing_rows(ledger_completing *x, const flow_batch *rows, weir_err *err);
/* Frees x in any case. WEIR_ENOMEM. */
weir_status ledger_completing_end(ledger_completing *x, weir_err *err);

/* One line without its end, at most `most` losses spelt out; utc: times in UTC instead of local. A share is never rounded
 * up: 100 % is said of nothing that lacks a flow. */
void ledger_complete_text(const ledger_complete *c, size_t most, bool utc, base_buf *out);
/* What one row says is missing. average: flows a packet, where the row itself has none to tell from. Of what was dropped
 * before decoding there are only packets. SEQUENCE may be below 0: of what was missing before, so much came late. */
struct ledger_missing {
    double flows[LEDGER_N_CAUSES];
    bool estimated[LEDGER_N_CAUSES];
    uint64_t packets[LEDGER_N_CAUSES];
};
void ledger_missing_of(const struct ledger_row *row, double average, struct ledger_missing *out);

/* 99.2, 99.95, 99.9997: as many digits as it takes to tell it from 100; out[LEDGER_SHARE_TEXT], no NUL; returns the
 * length. share is flows / (flows + lost). */
enum { LEDGER_SHARE_TEXT = 32 };
size_t ledger_share_text(char *out, double flows, double lost);

/* "sequence", "kernel", ... */
const char *ledger_cause_name(enum ledger_cause c);

/* One JSON object. */
void ledger_complete_json(const ledger_complete *c, base_buf *out);

#endif
