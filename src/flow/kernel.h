/* kernel -- the loops over many records, in two builds that give the same: one for any processor, one with 256-bit
 * instructions. Which one is chosen when a batch is made. */
#ifndef FLOW_KERNEL_H
#define FLOW_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
    FLOW_KERNEL_ROWS = 1024, /* that a kernel is given at most */
    FLOW_KERNEL_SLACK = 64   /* octets behind the last value of an output that it may write */
};

/* Eight slots of a dictionary: one cache line. A key of 4 octets is its own tag, of others it is 32 bits of the hash.
 * Slots are taken from the first one on. */
struct flow_bucket {
    uint32_t tags[8];
    uint32_t codes[8]; /* code + 1, FLOW_SLOT_FOUR on top for keys of 4 octets; 0: empty */
};
#define FLOW_SLOT_FOUR UINT32_C(0x80000000)

/* A dictionary: keys in order of their first appearance, and where to look for one. */
struct flow_keys {
    uint32_t n;
    uint32_t mask;    /* buckets in use - 1; their number is a power of two */
    uint32_t *starts; /* n + 1 */
    uint8_t *octets;
    struct flow_bucket *buckets;               /* in cache lines of their own; NULL: none */
    void *memory;                              /* in which they are */
    size_t starts_cap, octets_cap, memory_cap; /* octets allocated */
};

enum { FLOW_KERNEL_KEYS = 64 }; /* that are looked up together */

struct flow_kernels {
    const char *name;
    /* Four numbers of up to 4 octets out of 16 octets of each of n records: out[k][i] is made of the octets of record i
     * that shuffle[4 * k ..] names, low octet first; 0x80 is an octet of zeros, as are those behind it. Reads at[0 .. 16) of each record. */
    void (*window)(const uint8_t *at, size_t stride, uint32_t n, const uint8_t shuffle[16],
                   uint32_t *const out[4]);
    /* The same value n times; width: 1, 2, 4 or 8 octets of it. Whole blocks are written, up to FLOW_KERNEL_SLACK octets
     * behind the last one. */
    void (*fill)(void *out, unsigned width, uint64_t value, uint32_t n);
    /* The places of octets that are a or b, rising; returns how many. */
    uint32_t (*either)(const uint8_t *in, uint32_t n, uint8_t a, uint8_t b, uint32_t *places);
    /* Into other widths; the result is all values or-ed. */
    uint32_t (*to8)(uint8_t *out, const uint32_t *in, uint32_t n);
    uint32_t (*to16)(uint16_t *out, const uint32_t *in, uint32_t n);
    void (*to64)(uint64_t *out, const uint32_t *in, uint32_t n);
    void (*join64)(uint64_t *out, const uint32_t *high, const uint32_t *low, uint32_t n);
    /* Milliseconds of uptime against uptime_ms at export_us: what is ahead_ms or more before it on the circle of 2^32 ms is
     * behind it. */
    void (*uptime)(int64_t *out, const uint32_t *in, uint32_t n, uint32_t uptime_ms,
                   uint32_t ahead_ms, int64_t export_us);
    /* Milliseconds times 1000. False: one of them is 0 or above most. */
    bool (*milliseconds)(int64_t *out, const uint32_t *high, const uint32_t *low, uint32_t n,
                         uint64_t most);
    /* Hashes of keys, whose buckets are on their way from memory then. n: at most FLOW_KERNEL_KEYS, here and below. */
    void (*hash4)(const struct flow_keys *k, const uint64_t seed[2], const uint32_t *keys,
                  uint32_t n, uint32_t *hashes);
    void (*hash16)(const struct flow_keys *k, const uint64_t seed[2], const uint8_t *keys,
                   size_t stride, uint32_t n, uint64_t *hashes);
    /* The codes of keys that stand in the bucket of their hash. The places of others, rising, go to missed[0 .. n); returns
     * how many. Buckets are there. */
    uint32_t (*find4)(const struct flow_keys *k, const uint32_t *keys, const uint32_t *hashes,
                      uint32_t n, uint32_t *codes, uint32_t *missed);
    uint32_t (*find16)(const struct flow_keys *k, const uint8_t *keys, size_t stride,
                       const uint64_t *hashes, uint32_t n, uint32_t *codes, uint32_t *missed);
    /* The codes of those that were missed, which are new for the most part: there is room for all. */
    void (*put4)(struct flow_keys *k, const uint32_t *keys, const uint32_t *hashes,
                 const uint32_t *missed, uint32_t n, uint32_t *codes);
    void (*put16)(struct flow_keys *k, const uint8_t *keys, size_t stride, const uint64_t *hashes,
                  const uint32_t *missed, uint32_t n, uint32_t *codes);
};

/* ---- hashing ---- */

static inline uint64_t flow_mix(uint64_t a, uint64_t b)
{
    __extension__ typedef unsigned __int128 u128;
    u128 p = (u128)a * b;
    return (uint64_t)p ^ (uint64_t)(p >> 64);
}

/* Seeded: nobody outside can choose keys that collide. Of 4 octets by two multiplications of 32 bits, of which a vector has
 * eight at once; seed[1] is odd. */
static inline uint32_t flow_hash4(const uint64_t seed[2], uint32_t key)
{
    uint32_t h = (key ^ (uint32_t)seed[0]) * (uint32_t)seed[1];
    h = (h ^ h >> 15) * (uint32_t)(seed[1] >> 32 | 1);
    return h ^ h >> 16;
}

static inline uint64_t flow_hash16(const uint64_t seed[2], const void *key)
{
    uint64_t half[2];
    memcpy(half, key, sizeof half);
    return flow_mix(half[0] ^ seed[0], half[1] ^ seed[1]);
}

const struct flow_kernels *flow_kernels_generic(void);
const struct flow_kernels *flow_kernels_avx2(void); /* NULL: not built */
const struct flow_kernels *flow_kernels_best(void);

#endif
