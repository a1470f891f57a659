/* index -- numbers for keys: the first new key is 0, the next one 1, ... for arrays whose items are found by a key.
 *
 *     ledger_index x;
 *     ledger_index_init(&x, sizeof(struct ledger_stream_key));
 *     uint32_t before = x.n, i = ledger_index_add(&x, &key);
 *     if (i == before)                                          a new one: items[i] has to be made
 *
 * Keys are hashed and compared as octets: all of a key is set, it has no padding. Not thread-safe. */
#ifndef LEDGER_INDEX_H
#define LEDGER_INDEX_H

#include "ledger/ledger.h"

#include <stddef.h>
#include <stdint.h>

/* The caller's struct; read n alone. */
typedef struct ledger_index {
    uint32_t n; /* keys */
    uint32_t cap, n_slots;
    size_t octets; /* of a key */
    char *keys;    /* n of them */
    uint32_t *slots;
    uint64_t seed;
} ledger_index;

#define LEDGER_INDEX_NONE UINT32_MAX

void ledger_index_init(ledger_index *x, size_t key_octets);
void ledger_index_done(ledger_index *x);
/* No keys any more; what they took is kept for others. */
void ledger_index_clear(ledger_index *x);

/* The number of a key, LEDGER_INDEX_NONE: it is not there. */
uint32_t ledger_index_find(const ledger_index *x, const void *key);
/* The number of a key, which is put in when it is not there. LEDGER_INDEX_NONE: out of memory, or 2^31 keys are there. */
uint32_t ledger_index_add(ledger_index *x, const void *key);

/* A stream: exporter, port, domain and version of a row. */
struct ledger_stream_key {
    uint8_t exporter[16];
    uint32_t domain;
    uint16_t port;
    uint8_t exporter_len, has_domain, version, zero[7];
};
_Static_assert(sizeof(struct ledger_stream_key) == 32, "keys are compared as octets");
struct ledger_stream_key ledger_stream_key_of(const struct ledger_row *row);

#endif
