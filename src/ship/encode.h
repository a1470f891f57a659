/* encode -- rows as messages of a format: what other programs read. One file a family of formats. */
#ifndef SHIP_ENCODE_H
#define SHIP_ENCODE_H

#include "base/buf.h"
#include "query/run.h"

/* One format. Nothing here does I/O. */
typedef struct ship_encoder ship_encoder;

struct ship_format {
    const char *name; /* "flowmessage", "goflow2-json", "json", "ecs" */
    const char *help; /* one line */
    bool text;        /* a message is one line of text without its end; else octets of any kind */
};

/* All formats; ends with a name NULL. */
const struct ship_format *ship_formats(void);

struct ship_encoder_options {
    const char *format;
    bool delimited; /* flowmessage: the message's length as a varint in front */
    const struct query_field
        *extras; /* n_extras extra columns of the files, for formats that take all there is */
    size_t n_extras;
};

/* WEIR_EINVAL: no such format (err says which there are); WEIR_ENOMEM. */
weir_status ship_encoder_new(const struct ship_encoder_options *o, ship_encoder **out,
                             weir_err *err);
void ship_encoder_free(ship_encoder *e); /* takes NULL */

/* The columns that its blocks must have, in this order; borrowed from e. */
void ship_encoder_fields(const ship_encoder *e, const struct query_field **fields, size_t *n);

/* The messages of rows [from, to) of a block, appended to out, one behind the other without anything between them. ends[i]:
 * where message i ends in out. Counters of the block are as received, never scaled: the rate stands in the message. WEIR_ENOMEM. */
weir_status ship_encoder_rows(ship_encoder *e, const struct query_block *b, size_t from, size_t to,
                              base_buf *out, size_t *ends, weir_err *err);

#endif
