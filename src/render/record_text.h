/* record_text -- records and templates for people: a heading, then aligned lines "name  value unit". */
#ifndef RENDER_RECORD_TEXT_H
#define RENDER_RECORD_TEXT_H

#include "render/record_json.h"

/* j: for lists, which are shown as JSON. Octets that a terminal could obey are escaped. */
void render_text_record(render_json *j, base_buf *b, const weir_record *r);

void render_text_template(base_buf *b, const weir_packet *p, const weir_template *t,
                          weir_template_event event);

#endif
