#include "ledger/index.h"

#include "base/hash.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_KEYS = 32, MOST_KEYS = 1 << 30 };

void ledger_index_init(ledger_index *x, size_t key_octets)
{
    *x = (ledger_index){.octets = key_octets, .seed = base_hash_seed()};
}

void ledger_index_done(ledger_index *x)
{
    free(x->keys);
    free(x->slots);
    *x = (ledger_index){.octets = x->octets, .seed = x->seed};
}

void ledger_index_clear(ledger_index *x)
{
    x->n = 0;
    if (x->n_slots)
        memset(x->slots, 0, x->n_slots * sizeof *x->slots);
}

static const char *key_at(const ledger_index *x, uint32_t i)
{
    return x->keys + i * x->octets;
}

/* Where a key stands, or would stand: slots hold number + 1, 0 is free. There is a free one. */
static uint32_t *slot_of(const ledger_index *x, const void *key)
{
    uint32_t mask = x->n_slots - 1, at = (uint32_t)base_hash(key, x->octets, x->seed) & mask;
    while (x->slots[at] && memcmp(key_at(x, x->slots[at] - 1), key, x->octets) != 0)
        at = (at + 1) & mask;
    return &x->slots[at];
}

uint32_t ledger_index_find(const ledger_index *x, const void *key)
{
    return x->n ? *slot_of(x, key) - 1 : LEDGER_INDEX_NONE;
}

/* Twice as many keys, and slots of which at most half are taken. False: out of memory, all is as before. */
static bool grow(ledger_index *x)
{
    uint32_t cap = x->cap ? 2 * x->cap : FIRST_KEYS;
    if (cap > MOST_KEYS)
        return false;
    uint32_t *slots = calloc(2 * (size_t)cap, sizeof *slots);
    char *keys = slots ? realloc(x->keys, cap * x->octets) : NULL;
    if (!keys) {
        free(slots);
        return false;
    }
    free(x->slots);
    x->keys = keys;
    x->slots = slots;
    x->cap = cap;
    x->n_slots = 2 * cap;
    for (uint32_t i = 0; i < x->n; i++)
        *slot_of(x, key_at(x, i)) = i + 1;
    return true;
}

uint32_t ledger_index_add(ledger_index *x, const void *key)
{
    uint32_t found = ledger_index_find(x, key);
    if (found != LEDGER_INDEX_NONE)
        return found;
    if (x->n == x->cap && !grow(x))
        return LEDGER_INDEX_NONE;
    uint32_t *slot = slot_of(x, key);
    memcpy(x->keys + x->n * x->octets, key, x->octets);
    *slot = ++x->n;
    return x->n - 1;
}

struct ledger_stream_key ledger_stream_key_of(const struct ledger_row *row)
{
    struct ledger_stream_key k = {.domain = row->has_domain ? row->domain : 0,
                                  .port = row->exporter_port,
                                  .exporter_len = row->exporter_len,
                                  .has_domain = row->has_domain,
                                  .version = row->version};
    memcpy(k.exporter, row->exporter, row->exporter_len <= 16 ? row->exporter_len : 16);
    return k;
}
