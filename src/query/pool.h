/* pool -- memory for large tables, which grow by doubling: pieces that are given back are used again, whole by others of
 * their size or cut into smaller ones, instead of going back to the system and coming from it again page by page. The system
 * gets all of it back at the end. Any thread. */
#ifndef QUERY_POOL_H
#define QUERY_POOL_H

#include <stddef.h>

typedef struct query_pool query_pool;

query_pool *query_pool_new(void);    /* NULL: out of memory */
void query_pool_free(query_pool *p); /* takes NULL; all pieces are dead */
/* n octets on a cache line of their own, not zeroed; NULL: out of memory. Few different sizes are reused best. */
void *query_pool_alloc(query_pool *p, size_t n);
void *query_pool_zero(query_pool *p, size_t n);
void query_pool_give(query_pool *p, void *piece, size_t n); /* n as it was asked for; takes NULL */

#endif
