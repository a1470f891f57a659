#include "base/hash.h"

#include <sys/random.h>
#include <time.h>
#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>

uint64_t base_hash_seed(void)
{
    uint64_t seed;
    if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) != (long)sizeof seed) {
        struct timespec t;
        (void)clock_gettime(CLOCK_REALTIME, &t);
        seed = (uint64_t)t.tv_nsec * 0x9e3779b97f4a7c15U ^ (uint64_t)t.tv_sec;
    }
    return seed;
}

uint64_t base_hash(const void *p, size_t len, uint64_t seed)
{
    return XXH3_64bits_withSeed(p, len, seed);
}
