/* record_json -- one record as one line of JSON, fast: `weir decode`'s default output. docs/json.md is its
 * reference. record_text has the same for people. */
#ifndef RENDER_RECORD_JSON_H
#define RENDER_RECORD_JSON_H

#include "base/buf.h"

#include <weir/decoder.h>

/* Remembers each template's keys and the last packet's head. Serves one decoder; before another decoder's records
 * come, render_json_forget. */
typedef struct render_json render_json;

render_json *render_json_new(void);    /* NULL: out of memory */
void render_json_free(render_json *j); /* takes NULL */
void render_json_forget(render_json *j);

/* Appends {"exporter":...,...} and a newline, valid JSON whatever the record holds. Keys of the fields are
 * registry names; an element that occurs more than once becomes one array, in order; lists (RFC 6313) become
 * objects with their semantic and items; octets become hex text; NaN and infinities become strings. Out of
 * memory: b->failed. */
void render_json_record(render_json *j, base_buf *b, const weir_record *r);

/* The value of field i alone. */
void render_json_value(render_json *j, base_buf *b, const weir_record *r, uint32_t i);

/* A template that was learnt, changed, withdrawn, ...: a line with "kind":"template". p may be NULL. */
void render_json_template(base_buf *b, const weir_packet *p, const weir_template *t,
                          weir_template_event event);

/* "learnt", "changed", ... */
const char *render_event_text(weir_template_event event);

#endif
