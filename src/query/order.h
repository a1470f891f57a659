/* order -- rows in the order that a result asks for: the first ones only when there is a limit, all of them otherwise, in
 * sorted runs of a temporary file when memory does not do. Ties are broken by further fields, then by arrival, so that
 * the same rows always come out the same way. For the engine's own files. */
#ifndef QUERY_ORDER_H
#define QUERY_ORDER_H

#include "query/scan.h"

typedef struct query_sorter query_sorter;

struct query_sorter_options {
    const struct query_plan *plan;
    const int *fields; /* n_fields that come out, in this order */
    size_t n_fields;
    const struct query_order *orders; /* n_orders, then ties, rising */
    size_t n_orders;
    const int *ties;
    size_t n_ties;
    uint64_t limit; /* 0: all */
    size_t max_octets;
    const char *tmp;
};

/* Arrays of o are borrowed. NULL: out of memory. */
query_sorter *query_sorter_new(const struct query_sorter_options *o);
void query_sorter_free(query_sorter *s); /* takes NULL */
/* Take the rows of e; seq[i]: their order of arrival. */
weir_status query_sorter_add(query_sorter *s, struct query_eval *e, const uint64_t *seq,
                             weir_err *err);
/* All of `from`'s rows go to s; from is empty then. */
weir_status query_sorter_merge(query_sorter *s, query_sorter *from, weir_err *err);
/* Rows in order, as blocks; put: any status but WEIR_OK ends it. */
weir_status query_sorter_finish(query_sorter *s,
                                weir_status (*put)(void *user, const struct query_block *b,
                                                   weir_err *err),
                                void *user, weir_err *err);
uint64_t query_sorter_spilled(const query_sorter *s);

#endif
