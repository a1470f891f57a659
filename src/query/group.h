/* group -- rows into groups: sums, extremes and first values by key. One table for all threads, in shards with a lock of their
 * own; a worker collects rows for each shard and hands them over in batches. A key column that is dictionary-coded is
 * summed up by code first, once a row group. For the engine's own files. */
#ifndef QUERY_GROUP_H
#define QUERY_GROUP_H

#include "query/intern.h"
#include "query/order.h"
#include "query/scan.h"

typedef struct query_groups query_groups;
typedef struct query_grouper query_grouper;

/* Adds the fields that r needs to the plan. having: a node of the plan or -1. WEIR_OK; WEIR_ENOMEM; WEIR_EINVAL: keys make no
 * sense. r is borrowed. */
weir_status query_groups_new(struct query_plan *plan, const struct query_result *r, int having,
                             query_pool *pool, uint64_t seed, query_groups **out, weir_err *err);
void query_groups_free(query_groups *g); /* takes NULL */
/* Memory in use by groups, without their texts. */
size_t query_groups_octets(const query_groups *g);
uint64_t query_groups_spilled(const query_groups *g);

/* What one thread adds rows with; freed with g. NULL: out of memory. epoch: counts query_groups_spill. */
query_grouper *query_grouper_new(query_groups *g, query_intern *texts);
/* Rows of e, from row group number `task`. texts may be forgotten between two calls, then epoch is another. */
weir_status query_grouper_add(query_grouper *w, struct query_eval *e, uint64_t task, uint64_t epoch,
                              weir_err *err);
/* The row group ends: what was summed up by code goes into the table. */
weir_status query_grouper_end(query_grouper *w, struct query_scan *s, uint64_t epoch,
                              weir_err *err);

/* The column that changes places with f when the sides of a flow do; -1: none. */
int query_group_other_side(const struct query_field *f);

/* Whether f of a group is worked out of the sums of others, like bps and duration. */
bool query_group_of_sums(const struct query_field *f);

/* All groups go to a temporary file, so that texts may be forgotten; no grouper may be busy. */
weir_status query_groups_spill(query_groups *g, const char *tmp, weir_err *err);

/* All rows have been added. Groups that pass HAVING go to the sorter; *found: how many. g is empty then. */
weir_status query_groups_finish(query_groups *g, const char *tmp, size_t max_octets,
                                query_sorter *to, bool (*stop)(void *user), void *user,
                                uint64_t *found, weir_err *err);

#endif
