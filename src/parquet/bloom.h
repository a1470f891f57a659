/* bloom -- split-block Bloom filters of XXH64: blocks of 32 octets, of which a value sets or asks eight bits, one in
 * each word. parquet-format BloomFilter.md. The bitset's octets are those of the file. */
#ifndef PARQUET_BLOOM_H
#define PARQUET_BLOOM_H

#include "parquet/parquet.h"

#define BLOOM_BLOCK 32u
#define BLOOM_MAX_OCTETS (UINT32_C(128) << 20)

/* Octets of a filter for n_distinct values with that share of false positives: a power of two from BLOOM_BLOCK to
 * BLOOM_MAX_OCTETS. fpp outside (0, 1) counts as 0.01. */
uint32_t bloom_octets(uint64_t n_distinct, double fpp);

/* The hash of a value, as PLAIN, without a length. */
uint64_t bloom_hash(const void *value, size_t len);

/* Offset of the hash's block in a bitset of n_octets. */
uint32_t bloom_block(uint64_t hash, uint32_t n_octets);

void bloom_insert(uint8_t *bitset, uint32_t n_octets, uint64_t hash);
/* Whether the block, which is the hash's, may have it. */
bool bloom_check(const uint8_t block[BLOOM_BLOCK], uint64_t hash);

#endif
