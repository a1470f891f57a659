#include "parquet/bloom.h"

#include <math.h>
#include <xxhash.h>

static const uint32_t salt[8] = {0x47b6137b, 0x44974d91, 0x8824ad5b, 0xa2b7289d,
                                 0x705495c7, 0x2df1424b, 0x9efc4947, 0x5c6bfb31};

uint32_t bloom_octets(uint64_t n_distinct, double fpp)
{
    if (!(fpp > 0 && fpp < 1))
        fpp = 0.01;
    double bits = -8 * (double)n_distinct / log(1 - pow(fpp, 1.0 / 8));
    uint32_t octets = BLOOM_BLOCK;
    while (octets < BLOOM_MAX_OCTETS && (double)octets * 8 < bits)
        octets *= 2;
    return octets;
}

uint64_t bloom_hash(const void *value, size_t len)
{
    return XXH64(value, len, 0);
}

uint32_t bloom_block(uint64_t hash, uint32_t n_octets)
{
    return (uint32_t)((hash >> 32) * (n_octets / BLOOM_BLOCK) >> 32) * BLOOM_BLOCK;
}

/* The octet and the bit of it that the hash has in word i: words are little-endian. */
static uint32_t bit_of(uint64_t hash, unsigned i)
{
    return ((uint32_t)hash * salt[i] >> 27) + 32 * i;
}

void bloom_insert(uint8_t *bitset, uint32_t n_octets, uint64_t hash)
{
    uint8_t *block = bitset + bloom_block(hash, n_octets);
    for (unsigned i = 0; i < 8; i++) {
        uint32_t bit = bit_of(hash, i);
        block[bit / 8] = (uint8_t)(block[bit / 8] | 1U << bit % 8);
    }
}

bool bloom_check(const uint8_t block[BLOOM_BLOCK], uint64_t hash)
{
    bool all = true;
    for (unsigned i = 0; i < 8; i++) {
        uint32_t bit = bit_of(hash, i);
        all = all && (block[bit / 8] >> bit % 8 & 1);
    }
    return all;
}
