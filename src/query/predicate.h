/* predicate -- which rows pass a filter: what the footer, the page index, bloom filters and dictionaries say first, then
 * the values, a window at a time, cheap and selective conditions before others. For the engine's own files. */
#ifndef QUERY_PREDICATE_H
#define QUERY_PREDICATE_H

#include "query/scan.h"

struct query_filter; /* conditions bound to a row group; belongs to one thread */

struct query_filter *query_filter_new(const struct query_plan *p); /* NULL: out of memory */
void query_filter_free(struct query_filter *f);                    /* takes NULL */

/* Bind the conditions to the row group that s has open. *none: no row can pass, for the reason *why. *all: every row
 * passes. */
weir_status query_filter_open(struct query_filter *f, struct query_scan *s, bool *none, bool *all,
                              enum query_skip *why, weir_err *err);
void query_filter_close(struct query_filter *f);

/* The rows of s's window that pass, as bits (room for QUERY_WINDOW). */
weir_status query_filter_window(struct query_filter *f, uint64_t *bits, weir_err *err);

/* Clear the bits of the rows of e (n of them, whatever they are) that do not pass the expression at `node`. */
weir_status query_filter_rows(const struct query_plan *p, int node, struct query_eval *e,
                              uint64_t *bits, weir_err *err);

/* Whether one value that is there meets the condition e (on one field: no AND, OR, NOT and none that compares two fields):
 * num of a kind of numbers, or text when kind is QUERY_TEXT. */
bool query_value_meets(const struct query_expr *e, uint8_t kind, uint64_t num,
                       const struct query_text *text);

#endif
