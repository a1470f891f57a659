#include "query/pool.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { LINE = 64, N_SIZES = 128 };
static const size_t FIRST = (size_t)1 << 18, MOST = (size_t)16 << 20;

struct region {
    struct region *next;
    void *memory;
};

struct piece {
    struct piece *next;
};

struct size {
    size_t octets;
    struct piece *free;
};

struct query_pool {
    pthread_mutex_t lock;
    struct region *regions;
    char *at; /* of the newest region */
    size_t left, next_octets;
    struct size sizes[N_SIZES];
    size_t n_sizes;
};

query_pool *query_pool_new(void)
{
    query_pool *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    pthread_mutex_init(&p->lock, NULL);
    p->next_octets = FIRST;
    return p;
}

void query_pool_free(query_pool *p)
{
    if (!p)
        return;
    while (p->regions) {
        struct region *next = p->regions->next;
        free(p->regions->memory);
        free(p->regions);
        p->regions = next;
    }
    pthread_mutex_destroy(&p->lock);
    free(p);
}

static struct size *size_of(query_pool *p, size_t n)
{
    for (size_t i = 0; i < p->n_sizes; i++)
        if (p->sizes[i].octets == n)
            return &p->sizes[i];
    return NULL;
}

/* A piece that was given back and is much larger than n, to be cut up. */
static bool cut_piece(query_pool *p, size_t n)
{
    struct size *best = NULL;
    for (size_t i = 0; i < p->n_sizes; i++) {
        struct size *s = &p->sizes[i];
        if (s->free && s->octets / 4 >= n && (!best || s->octets > best->octets))
            best = s;
    }
    if (!best || best->octets <= p->left)
        return false;
    p->at = (char *)best->free;
    p->left = best->octets;
    best->free = best->free->next;
    return true;
}

static bool add_region(query_pool *p, size_t n)
{
    size_t octets = p->next_octets;
    while (octets < n && octets <= SIZE_MAX / 4)
        octets *= 2;
    struct region *r = malloc(sizeof *r);
    void *memory = r && octets >= n ? aligned_alloc(4096, octets) : NULL;
    if (!memory) {
        free(r);
        return false;
    }
    *r = (struct region){.next = p->regions, .memory = memory};
    p->regions = r;
    p->at = memory;
    p->left = octets;
    if (p->next_octets < MOST)
        p->next_octets *= 2;
    return true;
}

void *query_pool_alloc(query_pool *p, size_t n)
{
    if (n > SIZE_MAX / 8)
        return NULL;
    n = n ? (n + LINE - 1) / LINE * LINE : LINE;
    void *out = NULL;
    pthread_mutex_lock(&p->lock);
    struct size *s = size_of(p, n);
    if (s && s->free) {
        out = s->free;
        s->free = s->free->next;
    } else if (p->left >= n || cut_piece(p, n) || add_region(p, n)) {
        out = p->at;
        p->at += n;
        p->left -= n;
    }
    pthread_mutex_unlock(&p->lock);
    return out;
}

void *query_pool_zero(query_pool *p, size_t n)
{
    void *out = query_pool_alloc(p, n);
    if (out)
        memset(out, 0, n);
    return out;
}

void query_pool_give(query_pool *p, void *piece, size_t n)
{
    if (!piece)
        return;
    n = n ? (n + LINE - 1) / LINE * LINE : LINE;
    pthread_mutex_lock(&p->lock);
    struct size *s = size_of(p, n);
    if (!s && p->n_sizes < N_SIZES) {
        s = &p->sizes[p->n_sizes++];
        *s = (struct size){.octets = n};
    }
    if (s) {
        struct piece *x = piece;
        x->next = s->free;
        s->free = x;
    }
    pthread_mutex_unlock(&p->lock);
}
