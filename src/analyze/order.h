/* order -- the entries of a file in the order of their timestamps, compared as text (that is how
 * netflow.analyzer sorts them), in bounded memory: what does not fit goes to an unnamed temporary file in sorted
 * runs, which are merged. Files are nearly in order already; a collector writes packets late that waited.
 *
 * Of several v9 entries with one timestamp only the last counts, as in netflow.analyzer, which keeps them in a
 * dictionary; entries of other protocols, which it cannot read, are all kept. */
#ifndef ANALYZE_ORDER_H
#define ANALYZE_ORDER_H

#include "analyze/entry.h"

typedef struct order order;

/* A run of flows with one timestamp. */
struct order_item {
    char key[ENTRY_KEY_MAX + 1];
    size_t key_len;
    const struct flow *flows; /* flows[n], valid until the next call */
    size_t n;
};

/* max_octets: kept in memory before a run is written. dir: of the temporary file. keep_all: v9 entries replace
 * nothing either. NULL: out of memory. */
order *order_new(size_t max_octets, const char *dir, bool keep_all);
void order_free(order *o);

/* Copies e. WEIR_ENOMEM; WEIR_EIO the temporary file cannot be written. Not after order_next. */
weir_status order_add(order *o, const struct entry *e, weir_err *err);

/* WEIR_OK with *item; WEIR_END after the last; WEIR_EIO, WEIR_ENOMEM. An entry of many flows comes in several
 * items. */
weir_status order_next(order *o, struct order_item *item, weir_err *err);

/* v9 entries that a later one with the same timestamp replaced; complete after WEIR_END. */
uint64_t order_replaced(const order *o);
/* Runs written to the temporary file. */
size_t order_runs(const order *o);

#endif
