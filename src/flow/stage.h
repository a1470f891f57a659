/* stage -- records that wait to become rows. What several packets bring of one plan is copied behind each other, so
 * that a field is read over hundreds of records at a time and not over the few that a packet has of it; beside it stands
 * which packet and template each came in, and what is known of that packet alone.
 *
 *     octets   record 0 | record 1 | record 2 | record 3 ...   stride octets each: the fields whose place is fixed
 *     spans    { 0, 2 of packet 0 } { 2, 9 of packet 1 } ...
 *     tail     of templates with variable fields: each record whole, and the layout of its other fields */
#ifndef FLOW_STAGE_H
#define FLOW_STAGE_H

#include "flow/batch.h"

#include <weir/record.h>

enum {
    FLOW_STAGE_OCTETS = 32 << 10, /* of the records of a stage; the tails have as many again */
    FLOW_STAGE_ROWS = 1024,
    FLOW_STAGE_SPANS = 256,
    FLOW_MAX_STAGES = 64,  /* plans that have one at the same time */
    FLOW_MAX_PACKETS = 512 /* of which records wait */
};

/* What a packet says of all of its records. */
struct flow_packet {
    weir_packet packet; /* without its octets */
    int64_t received_us, export_us;
    uint32_t exporter; /* code in the batch of this generation */
    uint64_t generation;
};

/* Records [start, start + n) of one packet, one template and one rate. */
struct flow_span {
    uint32_t start, n;
    uint32_t packet;
    bool sequence; /* the first record of its packet */
    uint8_t origin;
    uint16_t template_id;
    double rate;
};

/* Where the rest of a record of a template with variable fields is. */
struct flow_tail {
    uint32_t
        at; /* in flow_stage.tail: the fields from the first variable one on, then the octets */
    uint32_t len; /* octets of the record */
};

struct flow_stage {
    struct flow_stage *next; /* among those that are free */
    uint32_t n, n_spans;
    uint32_t tail_len;
    struct flow_tail *tails; /* FLOW_STAGE_ROWS, or NULL */
    uint8_t *tail;           /* FLOW_STAGE_OCTETS, or NULL */
    struct flow_span spans[FLOW_STAGE_SPANS];
    uint8_t octets[FLOW_STAGE_OCTETS];
};

struct flow_stage *flow_stage_new(void); /* NULL: out of memory */
void flow_stage_free(struct flow_stage *s);
/* Room for tails. False: out of memory. */
bool flow_stage_tails(struct flow_stage *s);

#endif
