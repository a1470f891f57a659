#include "query/intern.h"

#include "base/hash.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* A number is (place in its shard << SHARD_BITS | shard) + 1; a place is an offset in units of UNIT octets. What stands
 * there never moves, so that texts can be read while others are added. */
enum {
    SHARD_BITS = 4,
    SHARDS = 1 << SHARD_BITS,
    UNIT = 4,
    CHUNK_BITS = 16,
    CHUNK = 1 << CHUNK_BITS
};
enum { MAX_CHUNKS = (1 << (32 - SHARD_BITS - CHUNK_BITS + 2)) - 1, MANY = 4096, BATCH = 32 };

struct entry {
    uint32_t hash, len;
    char data[];
};

struct shard {
    pthread_mutex_t lock;
    uint64_t *slots; /* hash << 32 | place + 1, 0: free */
    uint32_t n_slots, n;
    char **chunks; /* room for MAX_CHUNKS; a long text has several that lie side by side */
    size_t n_chunks;
    size_t used;            /* of the last chunk */
    uint16_t *side_by_side; /* of the first of some chunks: how many */
    char pad[64];
};

struct query_intern {
    query_pool *pool;
    uint64_t seed;
    bool shared;
    _Atomic size_t octets;
    struct shard shards[SHARDS];
};

query_intern *query_intern_new(query_pool *pool, uint64_t seed, bool shared)
{
    query_intern *n = calloc(1, sizeof *n);
    if (!n)
        return NULL;
    n->pool = pool;
    n->seed = seed;
    n->shared = shared;
    bool ok = true;
    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *s = &n->shards[i];
        pthread_mutex_init(&s->lock, NULL);
        s->chunks = calloc(MAX_CHUNKS, sizeof *s->chunks);
        s->side_by_side = calloc(MAX_CHUNKS, sizeof *s->side_by_side);
        ok = ok && s->chunks && s->side_by_side;
    }
    if (ok)
        return n;
    query_intern_free(n);
    return NULL;
}

static void shard_empty(query_intern *n, struct shard *s)
{
    for (size_t i = 0; i < s->n_chunks; i += s->side_by_side[i])
        query_pool_give(n->pool, s->chunks[i], (size_t)s->side_by_side[i] * CHUNK);
    query_pool_give(n->pool, s->slots, s->n_slots * sizeof *s->slots);
    s->slots = NULL;
    s->n_slots = s->n = 0;
    s->n_chunks = s->used = 0;
}

void query_intern_reset(query_intern *n)
{
    for (size_t i = 0; i < SHARDS; i++)
        shard_empty(n, &n->shards[i]);
    atomic_store(&n->octets, 0);
}

void query_intern_free(query_intern *n)
{
    if (!n)
        return;
    for (size_t i = 0; i < SHARDS; i++) {
        shard_empty(n, &n->shards[i]);
        free(n->shards[i].chunks);
        free(n->shards[i].side_by_side);
        pthread_mutex_destroy(&n->shards[i].lock);
    }
    free(n);
}

static inline struct entry *entry_at(const struct shard *s, uint32_t place)
{
    size_t off = (size_t)place * UNIT;
    void *p = s->chunks[off >> CHUNK_BITS] + (off & (CHUNK - 1));
    return p;
}

static bool grow(query_intern *n, struct shard *s)
{
    uint32_t more = s->n_slots ? s->n_slots * 2 : 256;
    uint64_t *slots = more ? query_pool_zero(n->pool, more * sizeof *slots) : NULL;
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
    query_pool_give(n->pool, s->slots, s->n_slots * sizeof *slots);
    atomic_fetch_add(&n->octets, (size_t)(more - s->n_slots) * sizeof *slots);
    s->slots = slots;
    s->n_slots = more;
    return true;
}

/* Room for a text; *place: where. */
static struct entry *new_entry(query_intern *n, struct shard *s, uint32_t len, uint32_t *place)
{
    size_t octets = (sizeof(struct entry) + (size_t)len + UNIT - 1) / UNIT * UNIT;
    if (!s->n_chunks || CHUNK - s->used < octets) {
        size_t chunks = (octets + CHUNK - 1) / CHUNK;
        if (chunks > MAX_CHUNKS - s->n_chunks)
            return NULL;
        char *p = query_pool_alloc(n->pool, chunks * CHUNK);
        if (!p)
            return NULL;
        s->side_by_side[s->n_chunks] = (uint16_t)chunks;
        for (size_t i = 0; i < chunks; i++)
            s->chunks[s->n_chunks++] = p + i * CHUNK;
        *place = (uint32_t)((s->n_chunks - chunks) << CHUNK_BITS) / UNIT;
        s->used = octets - (chunks - 1) * CHUNK;
        atomic_fetch_add(&n->octets, octets);
        return entry_at(s, *place);
    }
    *place = (uint32_t)(((s->n_chunks - 1) << CHUNK_BITS) + s->used) / UNIT;
    s->used += octets;
    atomic_fetch_add(&n->octets, octets);
    return entry_at(s, *place);
}

/* The text's place, UINT64_MAX: out of memory. */
static uint64_t add_to(query_intern *n, struct shard *s, uint32_t hash, const char *data,
                       uint32_t len)
{
    if (s->n >= s->n_slots / 4 * 3 && !grow(n, s))
        return UINT64_MAX;
    uint32_t at = hash & (s->n_slots - 1);
    for (; s->slots[at]; at = (at + 1) & (s->n_slots - 1)) {
        if (s->slots[at] >> 32 != hash)
            continue;
        uint32_t place = (uint32_t)s->slots[at] - 1;
        const struct entry *e = entry_at(s, place);
        if (e->len == len && (!len || !memcmp(e->data, data, len)))
            return place;
    }
    uint32_t place;
    struct entry *e = new_entry(n, s, len, &place);
    if (!e)
        return UINT64_MAX;
    e->hash = hash;
    e->len = len;
    if (len)
        memcpy(e->data, data, len);
    s->slots[at] = (uint64_t)hash << 32 | (place + 1);
    s->n++;
    return place;
}

static inline uint32_t hash_of(uint64_t h)
{
    return (uint32_t)h ? (uint32_t)h : 1;
}

static inline uint64_t number_of(uint32_t hash, uint64_t place, uint32_t shard)
{
    return place == UINT64_MAX ? 0 : (uint64_t)hash << 32 | ((place << SHARD_BITS | shard) + 1);
}

uint64_t query_intern_add(query_intern *n, const char *data, uint32_t len)
{
    uint64_t h = base_hash(data, len, n->seed);
    uint32_t hash = hash_of(h), shard = (uint32_t)(h >> (64 - SHARD_BITS));
    struct shard *s = &n->shards[shard];
    if (n->shared)
        pthread_mutex_lock(&s->lock);
    uint64_t place = add_to(n, s, hash, data, len);
    if (n->shared)
        pthread_mutex_unlock(&s->lock);
    return number_of(hash, place, shard);
}

/* Up to BATCH texts of one shard: what they will meet is fetched before it is needed. */
static bool add_batch(query_intern *n, uint32_t shard, const struct query_text *texts,
                      const uint16_t *which, size_t count, uint64_t *out)
{
    struct shard *s = &n->shards[shard];
    if (s->n_slots) {
        for (size_t i = 0; i < count; i++)
            __builtin_prefetch(&s->slots[hash_of(out[which[i]]) & (s->n_slots - 1)]);
        for (size_t i = 0; i < count; i++) {
            uint32_t hash = hash_of(out[which[i]]);
            uint64_t slot = s->slots[hash & (s->n_slots - 1)];
            if (slot >> 32 == hash)
                __builtin_prefetch(entry_at(s, (uint32_t)slot - 1));
        }
    }
    bool ok = true;
    for (size_t i = 0; i < count; i++) {
        const struct query_text *t = &texts[which[i]];
        uint32_t hash = hash_of(out[which[i]]);
        out[which[i]] = number_of(hash, add_to(n, s, hash, t->data, t->len), shard);
        ok = ok && out[which[i]];
    }
    return ok;
}

bool query_intern_many(query_intern *n, const struct query_text *texts, size_t count, uint64_t *out)
{
    uint16_t which[MANY];
    bool ok = true;
    for (size_t from = 0; from < count && ok; from += MANY) {
        size_t some = count - from < MANY ? count - from : MANY;
        uint32_t starts[SHARDS + 1] = {0};
        for (size_t i = 0; i < some; i++) {
            const struct query_text *t = &texts[from + i];
            out[from + i] = base_hash(t->data, t->len, n->seed);
            starts[(out[from + i] >> (64 - SHARD_BITS)) + 1]++;
        }
        for (size_t k = 0; k < SHARDS; k++)
            starts[k + 1] += starts[k];
        uint32_t at[SHARDS];
        memcpy(at, starts, sizeof at);
        for (size_t i = 0; i < some; i++)
            which[at[out[from + i] >> (64 - SHARD_BITS)]++] = (uint16_t)i;
        for (uint32_t k = 0; k < SHARDS; k++) {
            struct shard *s = &n->shards[k];
            if (n->shared)
                pthread_mutex_lock(&s->lock);
            for (size_t i = starts[k]; i < starts[k + 1] && ok; i += BATCH) {
                size_t left = starts[k + 1] - i;
                ok = add_batch(n, k, texts + from, which + i, left < BATCH ? left : BATCH,
                               out + from);
            }
            if (n->shared)
                pthread_mutex_unlock(&s->lock);
        }
    }
    return ok;
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
