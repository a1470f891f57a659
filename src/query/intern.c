#include "query/intern.h"

#include "base/hash.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* A number is (place in its shard << SHARD_BITS | shard) + 1. Places are found through chunks of pointers that never
 * move, so that texts can be read while others are added. */
enum { SHARD_BITS = 4, SHARDS = 1 << SHARD_BITS, CHUNK_BITS = 12, CHUNK = 1 << CHUNK_BITS };
enum { MAX_CHUNKS = 1 << (32 - SHARD_BITS - CHUNK_BITS), ROOM = 1 << 16 };

struct entry {
    uint32_t hash, len;
    char data[];
};

struct room {
    struct room *next;
    size_t cap;
    _Alignas(8) char data[];
};

struct shard {
    pthread_mutex_t lock;
    uint64_t *slots; /* hash << 32 | place + 1, 0: free */
    uint32_t n_slots, n;
    struct entry ***chunks; /* room for MAX_CHUNKS */
    struct room *rooms;
    size_t used; /* of rooms */
    char pad[64];
};

struct query_intern {
    uint64_t seed;
    bool shared;
    _Atomic size_t octets;
    struct shard shards[SHARDS];
};

query_intern *query_intern_new(uint64_t seed, bool shared)
{
    query_intern *n = calloc(1, sizeof *n);
    if (!n)
        return NULL;
    n->seed = seed;
    n->shared = shared;
    for (size_t i = 0; i < SHARDS; i++) {
        pthread_mutex_init(&n->shards[i].lock, NULL);
        n->shards[i].chunks = calloc(MAX_CHUNKS, sizeof *n->shards[i].chunks);
        if (!n->shards[i].chunks) {
            query_intern_free(n);
            return NULL;
        }
    }
    return n;
}

static void shard_empty(struct shard *s)
{
    for (size_t i = 0; s->chunks && i < MAX_CHUNKS && s->chunks[i]; i++) {
        free(s->chunks[i]);
        s->chunks[i] = NULL;
    }
    while (s->rooms) {
        struct room *next = s->rooms->next;
        free(s->rooms);
        s->rooms = next;
    }
    free(s->slots);
    s->slots = NULL;
    s->n_slots = s->n = 0;
    s->used = 0;
}

void query_intern_reset(query_intern *n)
{
    for (size_t i = 0; i < SHARDS; i++)
        shard_empty(&n->shards[i]);
    atomic_store(&n->octets, 0);
}

void query_intern_free(query_intern *n)
{
    if (!n)
        return;
    for (size_t i = 0; i < SHARDS; i++) {
        shard_empty(&n->shards[i]);
        free(n->shards[i].chunks);
    }
    free(n);
}

static struct entry *entry_at(const struct shard *s, uint32_t place)
{
    return s->chunks[place >> CHUNK_BITS][place & (CHUNK - 1)];
}

static bool grow(query_intern *n, struct shard *s)
{
    uint32_t more = s->n_slots ? s->n_slots * 2 : 256;
    uint64_t *slots = more ? calloc(more, sizeof *slots) : NULL;
    if (!slots)
        return false;
    for (uint32_t i = 0; i < s->n_slots; i++) {
        if (!s->slots[i])
            continue;
        uint32_t at = (uint32_t)(s->slots[i] >> 32) & (more - 1);
        while (slots[at])
            at = (at + 1) & (more - 1);
        slots[at] = s->slots[i];
    }
    free(s->slots);
    atomic_fetch_add(&n->octets, (size_t)(more - s->n_slots) * sizeof *slots);
    s->slots = slots;
    s->n_slots = more;
    return true;
}

static struct entry *new_entry(query_intern *n, struct shard *s, uint32_t len)
{
    size_t octets = (sizeof(struct entry) + len + 3) / 4 * 4;
    if (!s->rooms || s->rooms->cap - s->used < octets) {
        size_t cap = octets > ROOM ? octets : s->rooms ? ROOM : ROOM / 16;
        struct room *r = malloc(sizeof *r + cap);
        if (!r)
            return NULL;
        r->cap = cap;
        r->next = s->rooms;
        s->rooms = r;
        s->used = 0;
        atomic_fetch_add(&n->octets, sizeof *r + cap);
    }
    void *p = s->rooms->data + s->used;
    s->used += octets;
    return p;
}

/* The text's place, UINT64_MAX: out of memory. There is a free slot. */
static uint64_t add_to(query_intern *n, struct shard *s, uint32_t hash, const char *data,
                       uint32_t len)
{
    uint32_t at = hash & (s->n_slots - 1);
    for (; s->slots[at]; at = (at + 1) & (s->n_slots - 1)) {
        if (s->slots[at] >> 32 != hash)
            continue;
        uint32_t place = (uint32_t)s->slots[at] - 1;
        const struct entry *e = entry_at(s, place);
        if (e->len == len && (!len || !memcmp(e->data, data, len)))
            return place;
    }
    if (s->n >> CHUNK_BITS >= MAX_CHUNKS)
        return UINT64_MAX;
    struct entry **chunk = s->chunks[s->n >> CHUNK_BITS];
    if (!chunk) {
        if (!(chunk = malloc(CHUNK * sizeof *chunk)))
            return UINT64_MAX;
        s->chunks[s->n >> CHUNK_BITS] = chunk;
        atomic_fetch_add(&n->octets, CHUNK * sizeof *chunk);
    }
    struct entry *e = new_entry(n, s, len);
    if (!e)
        return UINT64_MAX;
    e->hash = hash;
    e->len = len;
    if (len)
        memcpy(e->data, data, len);
    chunk[s->n & (CHUNK - 1)] = e;
    s->slots[at] = (uint64_t)hash << 32 | (s->n + 1);
    return s->n++;
}

uint64_t query_intern_add(query_intern *n, const char *data, uint32_t len)
{
    uint64_t h = base_hash(data, len, n->seed);
    uint32_t hash = (uint32_t)h ? (uint32_t)h : 1, shard = (uint32_t)(h >> 60);
    struct shard *s = &n->shards[shard];
    if (n->shared)
        pthread_mutex_lock(&s->lock);
    uint64_t place = s->n < s->n_slots / 4 * 3 || grow(n, s) ? add_to(n, s, hash, data, len)
                                                             : UINT64_MAX;
    if (n->shared)
        pthread_mutex_unlock(&s->lock);
    return place == UINT64_MAX ? 0 : (uint64_t)hash << 32 | ((place << SHARD_BITS | shard) + 1);
}

static const struct entry *find(const query_intern *n, uint32_t id)
{
    return entry_at(&n->shards[(id - 1) & (SHARDS - 1)], (id - 1) >> SHARD_BITS);
}

struct query_text query_intern_text(const query_intern *n, uint32_t id)
{
    const struct entry *e = find(n, id);
    return (struct query_text){.data = e->data, .len = e->len};
}

uint32_t query_intern_hash(const query_intern *n, uint32_t id)
{
    return find(n, id)->hash;
}

size_t query_intern_octets(const query_intern *n)
{
    return atomic_load_explicit(&n->octets, memory_order_relaxed);
}
