/* account -- what one decoder counted, as rows of the loss ledger: a row for each stream (exporter, domain, version) and
 * minute in which anything happened. It looks at the decoder's counters when a minute is over and notes the differences,
 * so that a packet costs one comparison. Belongs to the thread that decodes.
 *
 *     while (packet) {
 *         ledger_account_time(a, received_ns);            may find that a minute is over
 *         weir_decode(d, ...);
 *     }
 *     ledger_account_rows(a, batch, &err);                what is ready, into a batch of FLOW_TABLE_LEDGER
 *
 * The sums of all rows of a stream are at every moment, after ledger_account_cut, what its weir_counters say. */
#ifndef LEDGER_ACCOUNT_H
#define LEDGER_ACCOUNT_H

#include "base/buf.h"
#include "flow/batch.h"
#include "ledger/taken.h"

#include <weir/decoder.h>

typedef struct ledger_account ledger_account;

/* Over a decoder, which must outlive it. What the decoder has counted before does not become rows. NULL: out of memory. */
ledger_account *ledger_account_new(const weir_decoder *d, unsigned worker);
void ledger_account_free(ledger_account *a); /* takes NULL */

/* A packet arrives, or time passes (live: each second): when received_ns is in a later minute than what was counted until
 * now, that minute is cut. Packets of an earlier minute are counted with the current one, unless they are more than a
 * minute earlier: a capture that begins anew. True: a minute was cut. */
bool ledger_account_time(ledger_account *a, int64_t received_ns);

/* Cut the current minute now: at the end, or before a checkpoint that must hold all. Later packets of the same minute give
 * further rows with the same key. */
void ledger_account_cut(ledger_account *a);

/* Look at what only can be seen while it is (clock skew), and take up the counters of streams so that one that has to make
 * room for another one loses little. Each second. Looks at some 8192 streams at a time: with more of them, at each one every
 * few seconds. */
void ledger_account_sample(ledger_account *a);

/* Append the rows that are ready. WEIR_OK: they are the batch's now; WEIR_ENOMEM: they stay here, none is appended. */
weir_status ledger_account_rows(ledger_account *a, flow_batch *out, weir_err *err);
bool ledger_account_ready(const ledger_account *a); /* there are some */

/* ---- what the decoder cannot know; all for the minute of `received_ns`, 0: the current one ---- */

/* Which stream: as weir_packet says it. */
struct ledger_stream {
    weir_endpoint
        exporter; /* its port counts only where the exporter's ports are kept apart (WEIR_SCOPE_PORT) */
    uint32_t domain;
    uint16_t version;
};

/* Decoded rows that were not stored. */
void ledger_account_lost(ledger_account *a, const struct ledger_stream *s, int64_t received_ns,
                         uint64_t flows, uint64_t options);
/* Flows whose end is before their start. */
void ledger_account_reversed(ledger_account *a, const struct ledger_stream *s, uint64_t flows);
/* Packets dropped before decoding (the queue was full) or refused (--allow): from an address, whose domain nobody looked at.
 * Of many addresses that never get through, beyond a limit, the sum goes to the collector's own row. */
void ledger_account_dropped(ledger_account *a, const weir_endpoint *from, int64_t received_ns,
                            uint64_t packets);
void ledger_account_refused(ledger_account *a, const weir_endpoint *from, int64_t received_ns,
                            uint64_t packets);

/* Rows that ledger_account_rows gave and that were not stored: they are ready again. False: out of memory, they are gone. */
bool ledger_account_unstored(ledger_account *a, const flow_batch *rows);

/* The receiver of this worker: totals since it began, of which the differences are noted. */
struct ledger_receiver {
    uint64_t kernel_drops, errors;
    uint64_t listened_us; /* how long it has been receiving */
    uint64_t buffer;      /* octets of receive buffer */
};
void ledger_account_receiver(ledger_account *a, const struct ledger_receiver *totals);

/* ---- over a restart ---- */

/* All that is not in rows yet, as octets: rows that are ready, and the current minute cut into rows. Does not change a. To be
 * written with the rows of flows that it accounts for; load appends them to what is ready in an account that has counted
 * nothing yet. WEIR_EFORMAT: damaged. */
weir_status ledger_account_save(const ledger_account *a, base_buf *out);
weir_status ledger_account_load(ledger_account *a, const uint8_t *data, size_t len, weir_err *err);

/* The same of a checkpoint beside an archive, which may be older than the archive: rows that its ledger has already are left out.
 * *stale: the ledger goes on behind it, so how things stood then (what was waiting, where sequence numbers were) is of no
 * use. a NULL: nothing is loaded, only *stale is found. */
weir_status ledger_account_resume(ledger_account *a, const uint8_t *data, size_t len,
                                  ledger_taken *taken, bool *stale, weir_err *err);

/* The rows of such octets alone, appended to a batch that takes at most so much memory then. They are parts: rows of one
 * minute, of which the last is the collector's own where it listens (no exporter, domain and version); its column `last`
 * says up to when the part counts. go_on: with what follows when the process that saved them is no more. WEIR_EFORMAT:
 * damaged, or beyond `most`; out is as before. */
weir_status ledger_account_parse(const uint8_t *data, size_t len, bool go_on, size_t most,
                                 flow_batch *out, weir_err *err);

#endif
