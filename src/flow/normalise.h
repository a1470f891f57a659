/* normalise -- records of any exporter into the columns of a batch. What a template's fields mean is worked out once for
 * all templates that say the same; records are then read a field at a time.
 *
 * Two ways in that give the same rows: flow_add_records for the records of a set whose template has no variable field
 * (weir_handlers.records), flow_add_record for one record of any kind. */
#ifndef FLOW_NORMALISE_H
#define FLOW_NORMALISE_H

#include "flow/batch.h"

#include <weir/decoder.h>

typedef struct flow_normaliser flow_normaliser;

/* Remembers the plans of one decoder's templates. NULL: out of memory. */
flow_normaliser *flow_normaliser_new(void);
void flow_normaliser_free(flow_normaliser *n);
/* Templates of another decoder will follow. Records that were noted are lost: flow_flush before. */
void flow_normaliser_forget(flow_normaliser *n);

struct flow_counters {
    uint64_t rows; /* appended to flows */
    uint64_t option_rows;
    uint64_t
        values_extra; /* values that went into the JSON column: no room for a column, or they do not fit its type */
    uint64_t rows_lost; /* out of memory */
};
const struct flow_counters *flow_normaliser_counters(const flow_normaliser *n);

/* Append to b, a batch of FLOW_TABLE_FLOWS. WEIR_OK; WEIR_ENOMEM: counted as lost, b without them. */
weir_status flow_add_record(flow_normaliser *n, flow_batch *b, const weir_record *r);
/* n_records records, each first->len octets behind the one before. */
weir_status flow_add_records(flow_normaliser *n, flow_batch *b, const weir_record *first,
                             size_t n_records);
/* The same for an options record, into a batch of FLOW_TABLE_OPTIONS. */
weir_status flow_add_options(flow_normaliser *n, flow_batch *b, const weir_record *r);

/* The same as flow_add_record and flow_add_records, later: the records are copied, and become rows of b when many have come
 * of their template, in several packets, so that each field is read over all of them at once. Then, or at flow_flush, they
 * are appended a template at a time: rows of different templates and exporters come in another order than their records
 * did, those of one template in the same. Rates are those of the moment of the call.
 *
 *     for each packet   weir_decode(...)        .records -> flow_note_records, .record -> flow_note_record
 *     then              flow_flush(n, b)        before b is read or handed on, before flow_normaliser_forget
 *
 * They need neither the packet nor the decoder afterwards. WEIR_OK also tells of records whose memory runs out at a later
 * call; flow_counters has what became rows and what was lost: noted = rows + rows_lost + flow_noted. */
weir_status flow_note_record(flow_normaliser *n, flow_batch *b, const weir_record *r);
weir_status flow_note_records(flow_normaliser *n, flow_batch *b, const weir_record *first,
                              size_t n_records);
/* All that was noted into rows of b. WEIR_OK; WEIR_ENOMEM: some were lost, see rows_lost. */
weir_status flow_flush(flow_normaliser *n, flow_batch *b);
/* Records that were noted and are not rows yet. */
uint64_t flow_noted(const flow_normaliser *n);
/* Called for noted records that were lost after all (never for those of a call that says WEIR_ENOMEM itself): so many of a
 * packet, whose octets are gone. fn NULL: nobody. */
typedef void flow_lost_fn(void *user, const weir_packet *p, uint32_t n_records);
void flow_normaliser_on_lost(flow_normaliser *n, flow_lost_fn *fn, void *user);

#endif
