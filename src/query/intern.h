/* intern -- each different text once, with a number: so that groups hold 4 octets for an address and compare them in one
 * step. Any thread may add when `shared`. For the engine's own files. */
#ifndef QUERY_INTERN_H
#define QUERY_INTERN_H

#include "query/expr.h"
#include "query/pool.h"

#include <stdatomic.h>

typedef struct query_intern query_intern;

/* Memory comes from the pool. NULL: out of memory. */
query_intern *query_intern_new(query_pool *pool, uint64_t seed, bool shared);
void query_intern_free(query_intern *n); /* takes NULL */
/* Forget all texts; their numbers are dead. Nobody else may use n meanwhile. */
void query_intern_reset(query_intern *n);

/* The text's number in the low and its hash (never 0) in the high half; 0: out of memory. */
uint64_t query_intern_add(query_intern *n, const char *data, uint32_t len);
/* The same for count texts; false: out of memory. */
bool query_intern_many(query_intern *n, const struct query_text *texts, size_t count,
                       uint64_t *out);
/* The text of a number; borrowed. */
struct query_text query_intern_text(const query_intern *n, uint32_t id);
uint32_t query_intern_hash(const query_intern *n, uint32_t id);
/* Memory in use. */
size_t query_intern_octets(const query_intern *n);

#endif
