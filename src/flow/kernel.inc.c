/* The kernels of kernel.h, built without (kernel_generic.c) and with (kernel_avx2.c) vector instructions. */
#include "flow/kernel.h"

#include <endian.h>
#include <string.h>

#ifdef __AVX2__
#include <immintrin.h>

static __m256i load256(const void *p)
{
    return _mm256_loadu_si256((const __m256i_u *)p);
}

static void store256(void *p, __m256i v)
{
    _mm256_storeu_si256((__m256i_u *)p, v);
}

static __m128i load128(const void *p)
{
    return _mm_loadu_si128((const __m128i_u *)p);
}

static void store128(void *p, __m128i v)
{
    _mm_storeu_si128((__m128i_u *)p, v);
}

/* All values of a vector or-ed. */
static uint32_t all_of(__m256i v)
{
    __m128i all = _mm_or_si128(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    all = _mm_or_si128(all, _mm_srli_si128(all, 8));
    all = _mm_or_si128(all, _mm_srli_si128(all, 4));
    return (uint32_t)_mm_cvtsi128_si32(all);
}

/* Octets of two records, 128 bits each, where the shuffle says. */
static __m256i two(const uint8_t *a, const uint8_t *b, __m256i shuffle)
{
    return _mm256_shuffle_epi8(
        _mm256_inserti128_si256(_mm256_castsi128_si256(load128(a)), load128(b), 1), shuffle);
}
#endif

#ifdef __AVX2__
/* Four records to the left (p), four to the right (q), then rows and columns change places on either side:
 *     a0 b0 c0 d0 | a4 b4 c4 d4         a0 a1 a2 a3 | a4 a5 a6 a7
 *     a1 b1 c1 d1 | a5 b5 c5 d5         b0 b1 b2 b3 | b4 b5 b6 b7
 *     a2 b2 c2 d2 | a6 b6 c6 d6   ->    c0 c1 c2 c3 | c4 c5 c6 c7
 *     a3 b3 c3 d3 | a7 b7 c7 d7         d0 d1 d2 d3 | d4 d5 d6 d7 */
#define EIGHT(p0, p1, p2, p3, q0, q1, q2, q3, o0, o1, o2, o3)                                      \
    do {                                                                                           \
        __m256i r0 = two(p0, q0, mask), r1 = two(p1, q1, mask);                                    \
        __m256i r2 = two(p2, q2, mask), r3 = two(p3, q3, mask);                                    \
        __m256i ab01 = _mm256_unpacklo_epi32(r0, r1), cd01 = _mm256_unpackhi_epi32(r0, r1);        \
        __m256i ab23 = _mm256_unpacklo_epi32(r2, r3), cd23 = _mm256_unpackhi_epi32(r2, r3);        \
        store256(o0, _mm256_unpacklo_epi64(ab01, ab23));                                           \
        store256(o1, _mm256_unpackhi_epi64(ab01, ab23));                                           \
        store256(o2, _mm256_unpacklo_epi64(cd01, cd23));                                           \
        store256(o3, _mm256_unpackhi_epi64(cd01, cd23));                                           \
    } while (0)

static void window(const uint8_t *at, size_t stride, uint32_t n, const uint8_t shuffle[16],
                   uint32_t *const out[4])
{
    const __m256i mask = _mm256_broadcastsi128_si256(load128(shuffle));
    uint32_t *o0 = out[0], *o1 = out[1], *o2 = out[2], *o3 = out[3], i = 0;
    for (; i + 8 <= n; i += 8) {
        const uint8_t *p = at + i * stride, *q = p + 4 * stride;
        EIGHT(p, p + stride, p + 2 * stride, p + 3 * stride, q, q + stride, q + 2 * stride,
              q + 3 * stride, o0 + i, o1 + i, o2 + i, o3 + i);
    }
    if (i < n) { /* the last record stands in for those that are not there */
        const uint8_t *r[8];
        uint32_t rest[4][8];
        for (uint32_t k = 0; k < 8; k++)
            r[k] = at + (i + k < n ? i + k : n - 1) * stride;
        EIGHT(r[0], r[1], r[2], r[3], r[4], r[5], r[6], r[7], rest[0], rest[1], rest[2], rest[3]);
        for (uint32_t k = 0; i < n; i++, k++) {
            o0[i] = rest[0][k];
            o1[i] = rest[1][k];
            o2[i] = rest[2][k];
            o3[i] = rest[3][k];
        }
    }
}
#else
static void window(const uint8_t *at, size_t stride, uint32_t n, const uint8_t shuffle[16],
                   uint32_t *const out[4])
{
    for (unsigned k = 0; k < 4; k++) {
        const uint8_t *from = shuffle + 4 * k;
        uint32_t *to = out[k], word;
        if (from[0] == from[1] + 1 && from[1] == from[2] + 1 && from[2] == from[3] + 1) {
            for (uint32_t i = 0; i < n; i++) { /* the most common: a big-endian word */
                memcpy(&word, at + i * stride + from[3], sizeof word);
                to[i] = be32toh(word);
            }
        } else {
            for (uint32_t i = 0; i < n; i++) {
                const uint8_t *p = at + i * stride;
                word = 0;
                for (unsigned o = 0; o < 4 && !(from[o] & 0x80); o++)
                    word |= (uint32_t)p[from[o]] << 8 * o;
                to[i] = word;
            }
        }
    }
}
#endif

static void fill(void *out, unsigned width, uint64_t value, uint32_t n)
{
    /* The value as often as 8 octets hold it. */
    static const uint64_t ones[9] = {
        [1] = 0x0101010101010101, [2] = 0x0001000100010001, [4] = 0x0000000100000001, [8] = 1};
    uint64_t mask = width == 8 ? UINT64_MAX : (UINT64_C(1) << 8 * width) - 1;
    uint64_t eight = (value & mask) * ones[width], block[4] = {eight, eight, eight, eight};
    size_t octets = (size_t)n * width;
    for (size_t i = 0; i < octets; i += sizeof block)
        memcpy((uint8_t *)out + i, block, sizeof block);
}

static uint32_t either(const uint8_t *in, uint32_t n, uint8_t a, uint8_t b, uint32_t *places)
{
    uint32_t found = 0, i = 0;
#ifdef __AVX2__
    const __m256i one = _mm256_set1_epi8((char)a), other = _mm256_set1_epi8((char)b);
    for (; i + 32 <= n; i += 32) {
        __m256i v = load256(in + i);
        __m256i is = _mm256_or_si256(_mm256_cmpeq_epi8(v, one), _mm256_cmpeq_epi8(v, other));
        for (uint32_t bits = (uint32_t)_mm256_movemask_epi8(is); bits; bits &= bits - 1)
            places[found++] = i + (uint32_t)__builtin_ctz(bits);
    }
#endif
    for (; i < n; i++)
        if (in[i] == a || in[i] == b)
            places[found++] = i;
    return found;
}

static uint32_t to8(uint8_t *out, const uint32_t *in, uint32_t n)
{
    uint32_t i = 0, all = 0;
#ifdef __AVX2__
    const __m256i low = _mm256_set1_epi32(0xff);
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    __m256i any = _mm256_setzero_si256();
    for (; i + 32 <= n; i += 32) {
        __m256i a = load256(in + i), b = load256(in + i + 8);
        __m256i c = load256(in + i + 16), d = load256(in + i + 24);
        any = _mm256_or_si256(_mm256_or_si256(any, _mm256_or_si256(a, b)), _mm256_or_si256(c, d));
        __m256i ab = _mm256_packus_epi32(_mm256_and_si256(a, low), _mm256_and_si256(b, low));
        __m256i cd = _mm256_packus_epi32(_mm256_and_si256(c, low), _mm256_and_si256(d, low));
        store256(out + i, _mm256_permutevar8x32_epi32(_mm256_packus_epi16(ab, cd), order));
    }
    all = all_of(any);
#endif
    for (; i < n; i++) {
        all |= in[i];
        out[i] = (uint8_t)in[i];
    }
    return all;
}

static uint32_t to16(uint16_t *out, const uint32_t *in, uint32_t n)
{
    uint32_t i = 0, all = 0;
#ifdef __AVX2__
    const __m256i low = _mm256_set1_epi32(0xffff);
    __m256i any = _mm256_setzero_si256();
    for (; i + 16 <= n; i += 16) {
        __m256i a = load256(in + i), b = load256(in + i + 8);
        any = _mm256_or_si256(any, _mm256_or_si256(a, b));
        __m256i ab = _mm256_packus_epi32(_mm256_and_si256(a, low), _mm256_and_si256(b, low));
        store256(out + i, _mm256_permute4x64_epi64(ab, 0xd8));
    }
    all = all_of(any);
#endif
    for (; i < n; i++) {
        all |= in[i];
        out[i] = (uint16_t)in[i];
    }
    return all;
}

static void to64(uint64_t *out, const uint32_t *in, uint32_t n)
{
    uint32_t i = 0;
#ifdef __AVX2__
    for (; i + 8 <= n; i += 8) {
        store256(out + i, _mm256_cvtepu32_epi64(load128(in + i)));
        store256(out + i + 4, _mm256_cvtepu32_epi64(load128(in + i + 4)));
    }
#endif
    for (; i < n; i++)
        out[i] = in[i];
}

static void join64(uint64_t *out, const uint32_t *high, const uint32_t *low, uint32_t n)
{
    uint32_t i = 0;
#ifdef __AVX2__
    for (; i + 4 <= n; i += 4) {
        __m128i h = load128(high + i), l = load128(low + i);
        store128(out + i, _mm_unpacklo_epi32(l, h));
        store128(out + i + 2, _mm_unpackhi_epi32(l, h));
    }
#endif
    for (; i < n; i++)
        out[i] = (uint64_t)high[i] << 32 | low[i];
}

static void uptime(int64_t *out, const uint32_t *in, uint32_t n, uint32_t uptime_ms,
                   uint32_t ahead_ms, int64_t export_us)
{
    uint32_t i = 0;
#ifdef __AVX2__
    /* ahead - 2^32 of them when it is not ahead: 1000 * 2^32 is a number of 42 bits, added where the mask is. */
    const __m256i now = _mm256_set1_epi64x((long long)uptime_ms);
    const __m256i most = _mm256_set1_epi64x((long long)ahead_ms - 1);
    const __m256i turn = _mm256_set1_epi64x(1000LL << 32);
    const __m256i low = _mm256_set1_epi64x(UINT32_MAX);
    const __m256i base = _mm256_set1_epi64x((long long)export_us);
    const __m256i thousand = _mm256_set1_epi64x(1000);
    for (; i + 4 <= n; i += 4) {
        __m256i v = _mm256_cvtepu32_epi64(load128(in + i));
        __m256i ahead = _mm256_and_si256(_mm256_sub_epi64(v, now), low);
        __m256i behind = _mm256_and_si256(_mm256_cmpgt_epi64(ahead, most), turn);
        __m256i us = _mm256_sub_epi64(_mm256_mul_epu32(ahead, thousand), behind);
        store256(out + i, _mm256_add_epi64(base, us));
    }
#endif
    for (; i < n; i++) {
        int64_t ahead = in[i] - uptime_ms;
        if (ahead >= ahead_ms)
            ahead -= (int64_t)1 << 32;
        out[i] = export_us + ahead * 1000;
    }
}

static bool milliseconds(int64_t *out, const uint32_t *high, const uint32_t *low, uint32_t n,
                         uint64_t most)
{
    uint32_t i = 0;
    uint64_t odd = 0;
#ifdef __AVX2__
    /* v * 1000 = low * 1000 + (high * 1000 << 32). Outside of 1 to most, of which the top bit is 0: v - 1 above most - 1,
     * or its top bit set. */
    const __m256i thousand = _mm256_set1_epi64x(1000), one = _mm256_set1_epi64x(1);
    const __m256i last = _mm256_set1_epi64x((long long)(most - 1));
    __m256i any = _mm256_setzero_si256();
    for (; i + 4 <= n; i += 4) {
        __m256i h = _mm256_cvtepu32_epi64(load128(high + i));
        __m256i l = _mm256_cvtepu32_epi64(load128(low + i));
        __m256i v = _mm256_sub_epi64(_mm256_or_si256(_mm256_slli_epi64(h, 32), l), one);
        any = _mm256_or_si256(any, _mm256_or_si256(v, _mm256_cmpgt_epi64(v, last)));
        store256(out + i, _mm256_add_epi64(_mm256_mul_epu32(l, thousand),
                                           _mm256_slli_epi64(_mm256_mul_epu32(h, thousand), 32)));
    }
    odd = _mm256_movemask_pd(_mm256_castsi256_pd(any)) != 0;
#endif
    for (; i < n; i++) {
        uint64_t v = (uint64_t)high[i] << 32 | low[i];
        odd |= v - 1 >= most;
        out[i] = (int64_t)(v * 1000);
    }
    return !odd;
}

/* ---- dictionaries ---- */

/* The slots of a bucket with this tag, of keys of 4 octets or of others (and then perhaps of none); bit k: slot k. */
static inline uint32_t slots_with(const struct flow_bucket *b, uint32_t tag, bool four)
{
#ifdef __AVX2__
    __m256i same = _mm256_cmpeq_epi32(load256(b->tags), _mm256_set1_epi32((int)tag));
    __m256i codes = load256(b->codes); /* the top bit counts */
    same = four ? _mm256_and_si256(same, codes) : _mm256_andnot_si256(codes, same);
    return (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(same));
#else
    uint32_t found = 0;
    for (unsigned k = 0; k < 8; k++)
        found |= (uint32_t)(b->tags[k] == tag && (b->codes[k] >= FLOW_SLOT_FOUR) == four) << k;
    return found;
#endif
}

static inline uint32_t empty_slots(const struct flow_bucket *b)
{
#ifdef __AVX2__
    __m256i none = _mm256_cmpeq_epi32(load256(b->codes), _mm256_setzero_si256());
    return (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(none));
#else
    uint32_t found = 0;
    for (unsigned k = 0; k < 8; k++)
        found |= (uint32_t)(b->codes[k] == 0) << k;
    return found;
#endif
}

static inline const struct flow_bucket *bucket_of(const struct flow_keys *k, uint32_t hash)
{
    return &k->buckets[hash & k->mask];
}

/* What the first level of cache holds anyway needs no prefetching. */
static inline bool is_far(const struct flow_keys *k)
{
    return k->mask >= 256;
}

static void hash4(const struct flow_keys *k, const uint64_t seed[2], const uint32_t *keys,
                  uint32_t n, uint32_t *hashes)
{
    const struct flow_keys table = *k;
    const uint64_t seeds[2] = {seed[0], seed[1]};
    uint32_t i = 0;
#ifdef __AVX2__
    const __m256i add = _mm256_set1_epi32((int)(uint32_t)seeds[0]);
    const __m256i one = _mm256_set1_epi32((int)(uint32_t)seeds[1]);
    const __m256i two = _mm256_set1_epi32((int)(uint32_t)(seeds[1] >> 32 | 1));
    for (; i + 8 <= n; i += 8) {
        __m256i h = _mm256_mullo_epi32(_mm256_xor_si256(load256(keys + i), add), one);
        h = _mm256_mullo_epi32(_mm256_xor_si256(h, _mm256_srli_epi32(h, 15)), two);
        store256(hashes + i, _mm256_xor_si256(h, _mm256_srli_epi32(h, 16)));
    }
#endif
    for (; i < n; i++)
        hashes[i] = flow_hash4(seeds, keys[i]);
    if (is_far(&table))
        for (i = 0; i < n; i++)
            __builtin_prefetch(bucket_of(&table, hashes[i]));
}

static void hash16(const struct flow_keys *k, const uint64_t seed[2], const uint8_t *keys,
                   size_t stride, uint32_t n, uint64_t *hashes)
{
    const struct flow_keys table = *k;
    const uint64_t seeds[2] = {seed[0], seed[1]};
    for (uint32_t i = 0; i < n; i++)
        hashes[i] = flow_hash16(seeds, keys + i * stride);
    for (uint32_t i = 0; i < n && is_far(&table); i++)
        __builtin_prefetch(bucket_of(&table, (uint32_t)hashes[i]));
}

static uint32_t find4(const struct flow_keys *k, const uint32_t *keys, const uint32_t *hashes,
                      uint32_t n, uint32_t *codes, uint32_t *missed)
{
    const struct flow_keys table = *k;
    uint32_t n_missed = 0;
#pragma GCC unroll 4
    for (uint32_t i = 0; i < n; i++) {
        const struct flow_bucket *b = bucket_of(&table, hashes[i]);
        uint32_t found = slots_with(b, keys[i], true);
        /* No branch: whether a key is new cannot be foreseen. */
        codes[i] = (b->codes[__builtin_ctz(found | 0x80)] & ~FLOW_SLOT_FOUR) - 1;
        missed[n_missed] = i;
        n_missed += found == 0;
    }
    return n_missed;
}

/* Whether the key of a code is this one. */
static inline bool is_key16(const struct flow_keys *k, uint32_t code, const uint8_t *key)
{
    uint64_t a[2], b[2];
    uint32_t at = k->starts[code];
    if (k->starts[code + 1] - at != sizeof a)
        return false;
    memcpy(a, k->octets + at, sizeof a);
    memcpy(b, key, sizeof b);
    return ((a[0] ^ b[0]) | (a[1] ^ b[1])) == 0;
}

static uint32_t find16(const struct flow_keys *k, const uint8_t *keys, size_t stride,
                       const uint64_t *hashes, uint32_t n, uint32_t *codes, uint32_t *missed)
{
    /* Longer keys lie apart from their buckets: one step of the way to them after the other for all. */
    const struct flow_keys table = *k;
    uint32_t n_missed = 0;
    for (uint32_t i = 0; i < n; i++) {
        const struct flow_bucket *b = bucket_of(&table, (uint32_t)hashes[i]);
        uint32_t found = slots_with(b, (uint32_t)(hashes[i] >> 32), false);
        /* What no slot has, and what an empty one seems to have: code 0 in place of 1 and more. */
        uint32_t code = found ? b->codes[__builtin_ctz(found)] : 0;
        codes[i] = code - 1;
        __builtin_prefetch(&table.starts[code ? code - 1 : 0]);
    }
    for (uint32_t i = 0; i < n; i++)
        if (codes[i] != UINT32_MAX)
            __builtin_prefetch(&table.octets[table.starts[codes[i]]]);
    for (uint32_t i = 0; i < n; i++) {
        missed[n_missed] = i;
        n_missed += codes[i] == UINT32_MAX || !is_key16(&table, codes[i], keys + i * stride);
    }
    return n_missed;
}

/* A new key into the first empty slot of a bucket. */
static inline uint32_t add_key(struct flow_keys *k, struct flow_bucket *b, uint32_t empty,
                               uint32_t tag, uint32_t four, const void *key, uint32_t len)
{
    unsigned slot = (unsigned)__builtin_ctz(empty);
    uint32_t code = k->n++, at = k->starts[code];
    memcpy(k->octets + at, key, len);
    k->starts[code + 1] = at + len;
    b->tags[slot] = tag;
    b->codes[slot] = (code + 1) | four;
    return code;
}

static void put4(struct flow_keys *k, const uint32_t *keys, const uint32_t *hashes,
                 const uint32_t *missed, uint32_t n, uint32_t *codes)
{
    for (uint32_t i = 0; i < n; i++) {
        uint32_t place = missed[i], key = keys[place];
        for (uint32_t at = hashes[place] & k->mask;; at = (at + 1) & k->mask) {
            struct flow_bucket *b = &k->buckets[at];
            uint32_t found = slots_with(b, key, true), empty = empty_slots(b);
            if (found)
                codes[place] = (b->codes[__builtin_ctz(found)] & ~FLOW_SLOT_FOUR) - 1;
            else if (empty)
                codes[place] = add_key(k, b, empty, key, FLOW_SLOT_FOUR, &key, 4);
            else
                continue;
            break;
        }
    }
}

static void put16(struct flow_keys *k, const uint8_t *keys, size_t stride, const uint64_t *hashes,
                  const uint32_t *missed, uint32_t n, uint32_t *codes)
{
    for (uint32_t i = 0; i < n; i++) {
        uint32_t place = missed[i], tag = (uint32_t)(hashes[place] >> 32);
        const uint8_t *key = keys + place * stride;
        uint32_t code = UINT32_MAX;
        for (uint32_t at = (uint32_t)hashes[place] & k->mask; code == UINT32_MAX;
             at = (at + 1) & k->mask) {
            struct flow_bucket *b = &k->buckets[at];
            uint32_t empty = empty_slots(b);
            for (uint32_t found = slots_with(b, tag, false) & ~empty; found; found &= found - 1) {
                uint32_t have = b->codes[__builtin_ctz(found)] - 1;
                if (is_key16(k, have, key))
                    code = have;
            }
            if (code == UINT32_MAX && empty)
                code = add_key(k, b, empty, tag, 0, key, 16);
        }
        codes[place] = code;
    }
}

static const struct flow_kernels kernels = {
    .name = KERNEL_NAME,
    .window = window,
    .fill = fill,
    .either = either,
    .to8 = to8,
    .to16 = to16,
    .to64 = to64,
    .join64 = join64,
    .uptime = uptime,
    .milliseconds = milliseconds,
    .hash4 = hash4,
    .hash16 = hash16,
    .find4 = find4,
    .find16 = find16,
    .put4 = put4,
    .put16 = put16,
};
