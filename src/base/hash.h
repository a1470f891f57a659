/* hash -- one keyed hash for every table that holds what peers send (XXH3 with a random seed, so that nobody
 * outside can choose collisions). */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

/* A seed from the kernel; from the clock where there is none. */
uint64_t base_hash_seed(void);
uint64_t base_hash(const void *p, size_t len, uint64_t seed);

#endif
