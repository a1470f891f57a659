/* normalise -- records of any exporter into the columns of a batch. What a template's fields mean is worked out once per
 * template; records of a data set are then read a field at a time.
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
/* Templates of another decoder will follow. */
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

#endif
