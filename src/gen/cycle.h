/* cycle -- packets made once, to be sent again and again: what a sender does that must be faster than flows can be
 * made. Their headers and times are renewed each time (gen_exporters_stamp). */
#ifndef GEN_CYCLE_H
#define GEN_CYCLE_H

#include "base/buf.h"
#include "gen/exporters.h"

/* Zero-initialise; gen_cycle_done frees it. */
struct gen_cycle {
    struct gen_packet *packets; /* n of them, in the order in which they were added */
    size_t n, cap;
    base_buf data, times; /* what they point into */
};

/* Append a copy of p, without its flows. WEIR_ENOMEM. */
weir_status gen_cycle_add(struct gen_cycle *c, const struct gen_packet *p, weir_err *err);
/* All have been added: make the packets point at their octets. */
void gen_cycle_close(struct gen_cycle *c);
void gen_cycle_done(struct gen_cycle *c);

#endif
