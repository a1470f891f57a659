/* extras -- the extra columns of files: those of elements that have no column of their own. What a query may name beyond the
 * columns of the schema and the derived fields. */
#ifndef QUERY_EXTRAS_H
#define QUERY_EXTRAS_H

#include "query/filter.h"
#include "query/paths.h"
#include "query/run.h"

/* In order of their first appearance; zero-initialise to start. */
struct query_extras {
    struct query_field *items; /* n, names in the arena */
    size_t n, cap;
};

/* Those of all files that a query of these paths reads, added to x. What cannot be opened the query reports itself. stop as
 * in struct query, NULL: never. */
void query_extras_find(query_arena *a, const struct query_paths *p, bool (*stop)(void *user),
                       void *user, struct query_extras *x);
void query_extras_done(struct query_extras *x);

/* The one that f names; NULL: there is none, or f names another kind of field. */
const struct query_field *query_extras_field(const struct query_extras *x,
                                             const struct query_field *f);

/* The first field of a filter that is an extra column which x has not (x NULL: the first extra column at all), else
 * NULL. e NULL: no filter. */
const struct query_field *query_extras_missing(const struct query_extras *x,
                                               const struct query_expr *e);

#endif
