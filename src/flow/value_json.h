/* value_json -- one field of a record as JSON text: for structured data (RFC 6313), scopes of options, and what has no
 * column. The same form as in docs/json.md. */
#ifndef FLOW_VALUE_JSON_H
#define FLOW_VALUE_JSON_H

#include "base/buf.h"

#include <weir/record.h>

enum {
    FLOW_LIST_TEXT = 256 * 1024, /* octets of text of one list */
    FLOW_LIST_FIELDS = 128       /* of one record in a list */
};

/* The value of field i, appended. A list that is broken or beyond these limits has its octets as hex digits too. */
void flow_value_json(const weir_record *r, uint32_t i, base_buf *out);

#endif
