/* pyline -- the lines that the Python collector `netflow` 0.12.2 writes: one JSON object an export packet,
 * {"<ts>": {"client": [ip, port], "header": {...}, "flows": [{...}]}}, keys and value types as that program has
 * them for each version. Fed by a decoder's handlers; a packet of which some sets wait is kept until its last
 * end, so that it is one line. */
#ifndef RENDER_PYLINE_H
#define RENDER_PYLINE_H

#include <weir/decoder.h>

typedef struct pyline pyline;

/* Takes one finished line, newline included; flows: records in it. line is borrowed. */
typedef void pyline_sink(void *user, const char *line, size_t len, unsigned long flows);

/* One pyline serves one decoder. max_held: octets of unfinished lines kept in memory; beyond it the oldest is written as it is, and what its
 * packet still delivers later becomes a line of its own under the same time. NULL: out of memory. */
pyline *pyline_new(size_t max_held, pyline_sink *sink, void *sink_user);
void pyline_free(pyline *y); /* unfinished lines are dropped: call weir_decoder_finish first */

/* Handlers to give to weir_decode, with the pyline as user. Other handlers may call these from their own. */
extern const weir_handlers pyline_handlers;

/* Octets of unfinished lines held now; how often max_held was reached; lines lost because memory ran out. */
size_t pyline_held(const pyline *y);
uint64_t pyline_split(const pyline *y);
uint64_t pyline_lost(const pyline *y);

#endif
