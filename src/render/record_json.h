/* record_json -- one record as one line of JSON, fast: `weir decode`'s default output. */
#ifndef RENDER_RECORD_JSON_H
#define RENDER_RECORD_JSON_H

#include "base/buf.h"

#include <weir/record.h>

/* Appends {"exporter":...,...} and a newline. Keys of the fields are registry names; an element that occurs more
 * than once becomes one array, in order; lists (RFC 6313) become objects with their semantic and items;
 * octets become hex text; NaN and infinities become strings, so that the JSON is always valid. */
void render_record_json(base_buf *b, const weir_record *r);

/* The same for people: aligned "name value" lines with units. */
void render_record_text(base_buf *b, const weir_record *r);

/* One template, JSON or text (--templates). */
void render_template_json(base_buf *b, const weir_packet *p, const weir_template *t, const char *event);
void render_template_text(base_buf *b, const weir_packet *p, const weir_template *t, const char *event);

#endif
