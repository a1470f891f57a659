/* exporters -- what each exporter sent and what of it is missing, from rows of the ledger: for `weir exporters`.
 *
 *     ledger_exporters *x = ledger_exporters_new(by_domain);
 *     ledger_each(paths, n, &range, ledger_exporters_row, x, &err);        rows in order of minute
 *     ledger_exporters_end(x, order, &err);
 *     for (size_t i = 0; i < ledger_exporters_count(x); i++)
 *         print(ledger_exporters_at(x, i));
 *     ledger_exporters_free(x); */
#ifndef LEDGER_EXPORTERS_H
#define LEDGER_EXPORTERS_H

#include "ledger/findings.h"
#include "ledger/ledger.h"

enum {
    LEDGER_EXPORTERS_STREAMS = 1 << 17, /* that are told apart, about 1 KiB each */
    LEDGER_EXPORTERS_RATE_MINUTES =
        5, /* rates are of what was listened in the last so many minutes that the ledger has */
    LEDGER_EXPORTERS_WARNINGS = 16
};

enum ledger_order {
    LEDGER_ORDER_FLOWS, /* most first */
    LEDGER_ORDER_LOSS,  /* largest share first */
    LEDGER_ORDER_LAST,  /* who was heard of last first */
    LEDGER_ORDER_ADDRESS
};

struct ledger_exporter {
    uint8_t exporter[16], exporter_len; /* 4, 16; 0: its address is not known (an IPFIX file) */
    uint16_t exporter_port;             /* 0: not told apart */
    bool has_domain;                    /* it is about this one alone */
    uint32_t domain, n_domains;
    uint32_t versions; /* bit v: it sends version v */
    int64_t first_us,
        last_us;           /* arrival of its first and last packet, as far as they are asked for */
    struct ledger_row sum; /* all columns, folded. Of those that are `last`, that of any domain */
    uint64_t templates;    /* in force, of all domains */
    bool rate_varies;      /* sampling rates of its domains differ */
    double flows_a_second, packets_a_second;
    double lost;  /* flows that are missing */
    double share; /* of all that there were: 1 is complete. NaN: it sent no flows and lost none */
    bool estimated;
    bool numbered; /* it has sequence numbers */
    const ledger_finding *warnings[LEDGER_EXPORTERS_WARNINGS];
    size_t n_warnings;
};

/* The collector itself. */
struct ledger_collector {
    struct ledger_row sum;
    int64_t first_us,
        last_us; /* first minute to last minute, as far as it counted; 0, 0: no rows */
    uint64_t packets, flows, packets_dropped, packets_refused, flows_lost; /* of all exporters */
    uint64_t workers; /* that listened side by side */
    uint64_t
        listened_us; /* for how long: what the worker did that listened most; not beyond last_us - first_us */
    uint64_t left_out; /* rows of streams beyond LEDGER_EXPORTERS_STREAMS */
    const ledger_finding *warnings[LEDGER_EXPORTERS_WARNINGS];
    size_t n_warnings;
};

typedef struct ledger_exporters ledger_exporters;

/* by_domain: each domain and version of an exporter for itself. NULL: out of memory. */
ledger_exporters *ledger_exporters_new(bool by_domain);
void ledger_exporters_free(ledger_exporters *x); /* takes NULL */

/* A ledger_each_fn, with the ledger_exporters as user. With by_worker or without. Running out of memory is said at the end. */
bool ledger_exporters_row(void *user, const struct ledger_row *row);

/* No more rows. WEIR_OK; WEIR_ENOMEM. */
weir_status ledger_exporters_end(ledger_exporters *x, enum ledger_order order, weir_err *err);

/* What the rows give rise to, for what else there is to look at before the end. */
ledger_findings *ledger_exporters_findings(ledger_exporters *x);

size_t ledger_exporters_count(const ledger_exporters *x);
const struct ledger_exporter *ledger_exporters_at(const ledger_exporters *x, size_t i);
const struct ledger_collector *ledger_exporters_collector(const ledger_exporters *x);

#endif
