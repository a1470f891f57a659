#include "query/bump.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 1 << 18, ALIGN = 64 };

struct query_bump_block {
    struct query_bump_block *next;
    size_t cap; /* octets behind this header's cache line */
};

static char *data_of(struct query_bump_block *block)
{
    return (char *)block + ALIGN;
}

void *query_bump_alloc(struct query_bump *b, size_t n)
{
    if (n > SIZE_MAX / 4)
        return NULL;
    n = (n + ALIGN - 1) / ALIGN * ALIGN;
    while (b->at) {
        if (b->at->cap - b->used >= n) {
            void *p = data_of(b->at) + b->used;
            b->used += n;
            return p;
        }
        if (!b->at->next)
            break;
        b->at = b->at->next;
        b->used = 0;
    }
    size_t cap = n > BLOCK ? n : BLOCK;
    struct query_bump_block *block = aligned_alloc(ALIGN, cap + ALIGN);
    if (!block)
        return NULL;
    *block = (struct query_bump_block){.cap = cap};
    if (b->at)
        b->at->next = block;
    else
        b->first = block;
    b->at = block;
    b->used = n;
    b->octets += cap + ALIGN;
    return data_of(block);
}

void *query_bump_zero(struct query_bump *b, size_t n)
{
    void *p = query_bump_alloc(b, n);
    if (p)
        memset(p, 0, n);
    return p;
}

void *query_bump_array(struct query_bump *b, size_t n, size_t size)
{
    size_t octets;
    return __builtin_mul_overflow(n, size, &octets) ? NULL : query_bump_alloc(b, octets);
}

void query_bump_reset(struct query_bump *b)
{
    b->at = b->first;
    b->used = 0;
}

void query_bump_done(struct query_bump *b)
{
    while (b->first) {
        struct query_bump_block *next = b->first->next;
        free(b->first);
        b->first = next;
    }
    *b = (struct query_bump){0};
}
