/* names -- what exporters say of their flows in options records: names of interfaces, VRFs and applications, and sampling rates.
 * All that an archive has of them, and then what comes, so that a row is delivered as a query would show it. */
#ifndef SHIP_NAMES_H
#define SHIP_NAMES_H

#include "base/err.h"

#include <stdbool.h>

typedef struct ship_names ship_names; /* of one thread */
struct query_lookup;

/* Nothing is read yet. WEIR_ENOMEM. */
weir_status ship_names_new(const char *archive, ship_names **out, weir_err *err);
void ship_names_free(ship_names *n); /* takes NULL */

struct ship_names_look {
    bool all;                 /* look at all hours, as ship_source_look does */
    bool (*stop)(void *user); /* true: come back soon with WEIR_END */
    void (*broken)(void *user, const char *path, const weir_err *err); /* a file was left out */
    void *user;
};

/* Read what came since the last call; texts of the lookup that were borrowed are not valid any more. A file that cannot be read
 * counts as read. *rates: there are sampling rates now, and before there were none: plans for queries are to be made anew.
 * WEIR_EIO; WEIR_ENOTFOUND: no such archive; WEIR_END; WEIR_ENOMEM. */
weir_status ship_names_look(ship_names *n, const struct ship_names_look *how, bool *rates,
                            weir_err *err);
/* Borrowed; the same one at all times. */
struct query_lookup *ship_names_lookup(const ship_names *n);

#endif
