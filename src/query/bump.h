/* bump -- memory that is taken piece by piece and given back all at once, for what lives as long as a window of rows or
 * a row group. One thread at a time. */
#ifndef QUERY_BUMP_H
#define QUERY_BUMP_H

#include <stddef.h>

struct query_bump_block;

struct query_bump {
    struct query_bump_block *first, *at; /* blocks behind `at` are kept for reuse */
    size_t used;                         /* of `at` */
    size_t octets;                       /* of all blocks */
};

/* Zero-initialise to start. n octets on a cache line of their own, not zeroed; NULL: out of memory. */
void *query_bump_alloc(struct query_bump *b, size_t n);
/* The same, zeroed. */
void *query_bump_zero(struct query_bump *b, size_t n);
/* n items of size octets; NULL: out of memory or too large. */
void *query_bump_array(struct query_bump *b, size_t n, size_t size);
/* All pieces are dead, the blocks stay. */
void query_bump_reset(struct query_bump *b);
void query_bump_done(struct query_bump *b);

#endif
