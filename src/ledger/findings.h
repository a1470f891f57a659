/* findings -- what is wrong with an exporter, or with the collector, in words and with the remedy: rules over rows of the
 * ledger. registry/findings.tsv is the list of rules and their texts, registry/thresholds.tsv says from where on they speak
 * and why, docs/doctor.md is made from both. What is sound gives no finding.
 *
 *     ledger_findings *f = ledger_findings_new();
 *     ledger_each(paths, n, &range, ledger_findings_row, f, &err);         rows in order of minute
 *     ledger_findings_end(f, &err);
 *     for (size_t i = 0; i < ledger_findings_count(f); i++)
 *         puts(ledger_findings_at(f, i)->sentence);
 *     ledger_findings_free(f);
 *
 * Memory: about 1 KiB a stream (exporter, port, domain, version), LEDGER_FINDINGS_STREAMS of them at most. */
#ifndef LEDGER_FINDINGS_H
#define LEDGER_FINDINGS_H

#include "base/buf.h"
#include "ledger/ledger.h"

enum ledger_severity { LEDGER_INFO, LEDGER_WARNING, LEDGER_ERROR };

/* LEDGER_FINDING_template_missing, ...: rows of registry/findings.tsv. */
enum ledger_finding_id {
#include "ledger_finding_ids.inc"
    LEDGER_N_FINDINGS
};

enum {
    LEDGER_FINDING_NUMBERS = 8,        /* at most, of one finding */
    LEDGER_FINDINGS_STREAMS = 1 << 17, /* streams that are looked at */
    LEDGER_FINDING_ADDR_TEXT = 64
};

enum ledger_number_kind {
    LEDGER_NUMBER_COUNT,  /* 1,204 */
    LEDGER_NUMBER_SHARE,  /* 0.012 is 1.2 % */
    LEDGER_NUMBER_SPAN,   /* microseconds, may be negative: 3 h 20 min */
    LEDGER_NUMBER_OCTETS, /* 33554432 is 32 MiB */
    LEDGER_NUMBER_TIME,   /* microseconds since 1970 */
    LEDGER_NUMBER_PLAIN   /* 1.5 */
};

/* What a sentence is made of. */
struct ledger_number {
    const char *name; /* static: "lost" */
    enum ledger_number_kind kind;
    double value;
};

/* One thing that is wrong. Texts are UTF-8 without line breaks and live as long as the ledger_findings. */
typedef struct ledger_finding {
    enum ledger_finding_id id;
    enum ledger_severity severity;
    bool collector;                     /* it is the collector's matter */
    uint8_t exporter[16], exporter_len; /* 4, 16; 0: the collector, or nobody knows (IPFIX file) */
    uint16_t exporter_port;             /* 0: not told apart */
    bool has_domain;                    /* false: it is about all that the exporter sends */
    uint32_t domain;
    uint8_t version;        /* 0: as has_domain */
    int64_t from_us, to_us; /* start of the first minute it was seen in, end of the last one */
    struct ledger_number numbers[LEDGER_FINDING_NUMBERS];
    size_t n_numbers;
    const char *sentence; /* what is wrong: "412 of 9,100 flows ..." */
    const char *remedy;   /* what to do */
} ledger_finding;

typedef struct ledger_findings ledger_findings;

ledger_findings *ledger_findings_new(void); /* NULL: out of memory */
void ledger_findings_free(ledger_findings *f);

/* Look at a row; user is the ledger_findings. Rows come in order of minute, those of one key folded or not. True always, so
 * that it is a ledger_each_fn; running out of memory is said at the end. */
bool ledger_findings_row(void *user, const struct ledger_row *row);

/* Look at the checkpoints beside an archive that were written to in the range, too. Takes a fifth of a second when one seems
 * damaged, for a collector may be just writing it. WEIR_ENOMEM. */
weir_status ledger_findings_archive(ledger_findings *f, const char *dir,
                                    const struct ledger_range *range, weir_err *err);

/* No more rows: judge. WEIR_OK; WEIR_ENOMEM: findings are missing. */
weir_status ledger_findings_end(ledger_findings *f, weir_err *err);

/* The worst first, those of one exporter together; an exporter stands where its worst one does, the collector before
 * exporters with one as bad. Of streams of one exporter that complain of the same, one finding each. */
size_t ledger_findings_count(const ledger_findings *f);
const ledger_finding *ledger_findings_at(const ledger_findings *f, size_t i);

/* What was looked at. */
struct ledger_looked {
    uint64_t rows, minutes, exporters, streams, packets, flows;
    int64_t from_us, to_us; /* first minute's start, last minute's end; 0, 0: no rows */
    uint64_t left_out;      /* rows of streams beyond LEDGER_FINDINGS_STREAMS */
};
void ledger_findings_looked(const ledger_findings *f, struct ledger_looked *out);

/* "template-missing"; static. */
const char *ledger_finding_name(enum ledger_finding_id id);
/* "no template": a few words for a column; static. */
const char *ledger_finding_short(enum ledger_finding_id id);
/* "info", "warning", "error". */
const char *ledger_severity_text(enum ledger_severity s);
/* "192.0.2.1", "192.0.2.1:2055" where ports are kept apart, "collector", "-"; out[LEDGER_FINDING_ADDR_TEXT], no NUL;
 * returns the length. */
size_t ledger_finding_addr_text(const ledger_finding *f, char *out);
/* One JSON object. */
void ledger_finding_json(const ledger_finding *f, base_buf *out);

#endif
