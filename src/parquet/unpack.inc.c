/* The kernels, built by unpack_generic.c and, with UNPACK_AVX2, by unpack_avx2.c. The width of packed numbers is a
 * constant in each copy of a body, so that shifts and masks are constants too. */
#include "parquet/unpack.h"

#include <endian.h>
#include <string.h>

#ifdef UNPACK_AVX2
#include <immintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline))

INLINE uint64_t load64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return le64toh(v);
}

INLINE uint32_t max32(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

/* Eight numbers of w bits; reads 8 octets from where the last of them begins. */
INLINE uint32_t group32(uint32_t *out, const uint8_t *in, const unsigned w)
{
    uint32_t most = 0;
    const uint64_t mask = w < 32 ? (UINT64_C(1) << w) - 1 : UINT32_MAX;
#pragma GCC unroll 8
    for (unsigned i = 0; i < 8; i++) {
        uint32_t v = (uint32_t)(load64(in + (i * w >> 3)) >> (i * w & 7) & mask);
        out[i] = v;
        most = max32(most, v);
    }
    return most;
}

/* The same for numbers above 32 bits; those above 57 may end in a ninth octet. */
INLINE void group64(uint64_t *out, const uint8_t *in, const unsigned w)
{
    const uint64_t mask = w < 64 ? (UINT64_C(1) << w) - 1 : UINT64_MAX;
#pragma GCC unroll 8
    for (unsigned i = 0; i < 8; i++) {
        const unsigned shift = i * w & 7;
        uint64_t v = load64(in + (i * w >> 3)) >> shift;
        if (w > 57 && shift)
            v |= (uint64_t)in[(i * w >> 3) + 8] << (64 - shift);
        out[i] = v & mask;
    }
}

#ifdef UNPACK_AVX2
/* Eight numbers of w <= 25 bits: four of them stand within the 16 octets from the one in which the first begins, each
 * within 4 octets of those. The octets go to their lanes, then every lane is shifted by its own amount. */
INLINE __m256i lanes32(const uint8_t *in, const unsigned w)
{
    const unsigned half = 4 * w & 7; /* bit in its octet where the fifth number begins */
#define OCTETS(s, i)                                                                               \
    (char)((s + (i)*w) >> 3), (char)(((s + (i)*w) >> 3) + 1), (char)(((s + (i)*w) >> 3) + 2),      \
        (char)(((s + (i)*w) >> 3) + 3)
    const __m256i octets =
        _mm256_setr_epi8(OCTETS(0, 0), OCTETS(0, 1), OCTETS(0, 2), OCTETS(0, 3), OCTETS(half, 0),
                         OCTETS(half, 1), OCTETS(half, 2), OCTETS(half, 3));
#undef OCTETS
#define SHIFT(s, i) (int)((s + (i)*w) & 7)
    const __m256i shifts =
        _mm256_setr_epi32(SHIFT(0, 0), SHIFT(0, 1), SHIFT(0, 2), SHIFT(0, 3), SHIFT(half, 0),
                          SHIFT(half, 1), SHIFT(half, 2), SHIFT(half, 3));
#undef SHIFT
    const __m128i low = _mm_loadu_si128((const __m128i *)(const void *)in);
    const __m128i high = _mm_loadu_si128((const __m128i *)(const void *)(in + (4 * w >> 3)));
    __m256i v = _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
    v = _mm256_srlv_epi32(_mm256_shuffle_epi8(v, octets), shifts);
    return _mm256_and_si256(v, _mm256_set1_epi32((int)((1U << w) - 1)));
}

INLINE uint32_t most_of(__m256i v)
{
    __m128i m = _mm_max_epu32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0x4e));
    m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0xb1));
    return (uint32_t)_mm_cvtsi128_si32(m);
}
#endif

/* How many of the n groups of w octets may be read when a group reads `reach` octets from its begin on. */
INLINE size_t safe_groups(size_t n, size_t avail, unsigned w, size_t reach)
{
    size_t safe = avail < reach ? 0 : (avail - reach) / w + 1;
    return safe < n ? safe : n;
}

/* The octets of group g, those behind avail as 0. */
INLINE void copy_group(uint8_t group[80], const uint8_t *in, size_t avail, size_t g, unsigned w)
{
    size_t at = g * w < avail ? g * w : avail;
    size_t have = avail - at < w ? avail - at : w;
    memset(group, 0, 80);
    if (have)
        memcpy(group, in + at, have);
}

INLINE uint32_t all32(uint32_t *out, const uint8_t *in, size_t avail, size_t n, const unsigned w)
{
    size_t g = 0, n_groups = n / 8;
    uint32_t most = 0;
#ifdef UNPACK_AVX2
    if (w <= 25) {
        size_t safe = safe_groups(n_groups, avail, w, (4 * w >> 3) + 16);
        __m256i most2[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
        for (; g + 2 <= safe; g += 2) {
            __m256i a = lanes32(in + g * w, w), b = lanes32(in + (g + 1) * w, w);
            _mm256_storeu_si256((__m256i *)(void *)(out + 8 * g), a);
            _mm256_storeu_si256((__m256i *)(void *)(out + 8 * g + 8), b);
            most2[0] = _mm256_max_epu32(most2[0], a);
            most2[1] = _mm256_max_epu32(most2[1], b);
        }
        most = most_of(_mm256_max_epu32(most2[0], most2[1]));
    }
#endif
    for (size_t safe = safe_groups(n_groups, avail, w, (7 * w >> 3) + 8); g < safe; g++)
        most = max32(most, group32(out + 8 * g, in + g * w, w));
    for (; g < n_groups; g++) {
        uint8_t group[80];
        copy_group(group, in, avail, g, w);
        most = max32(most, group32(out + 8 * g, group, w));
    }
    return most;
}

INLINE void all64(uint64_t *out, const uint8_t *in, size_t avail, size_t n, const unsigned w)
{
    size_t g = 0, n_groups = n / 8;
    for (size_t safe = safe_groups(n_groups, avail, w, (7 * w >> 3) + 9); g < safe; g++)
        group64(out + 8 * g, in + g * w, w);
    for (; g < n_groups; g++) {
        uint8_t group[80];
        copy_group(group, in, avail, g, w);
        group64(out + 8 * g, group, w);
    }
}

/* One copy of X for each width. */
/* clang-format off */
#define WIDTHS_1_TO_32(X) \
    X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15) X(16) \
    X(17) X(18) X(19) X(20) X(21) X(22) X(23) X(24) X(25) X(26) X(27) X(28) X(29) X(30) X(31) X(32)
#define WIDTHS_33_TO_64(X) \
    X(33) X(34) X(35) X(36) X(37) X(38) X(39) X(40) X(41) X(42) X(43) X(44) X(45) X(46) X(47) X(48) \
    X(49) X(50) X(51) X(52) X(53) X(54) X(55) X(56) X(57) X(58) X(59) X(60) X(61) X(62) X(63) X(64)
/* clang-format on */

#define X(w)                                                                                       \
    static uint32_t u32_##w(uint32_t *out, const uint8_t *in, size_t avail, size_t n)              \
    {                                                                                              \
        return all32(out, in, avail, n, w);                                                        \
    }
WIDTHS_1_TO_32(X)
#undef X

#define X(w)                                                                                       \
    static void u64_##w(uint64_t *out, const uint8_t *in, size_t avail, size_t n)                  \
    {                                                                                              \
        all64(out, in, avail, n, w);                                                               \
    }
WIDTHS_33_TO_64(X)
#undef X

static uint32_t u32(uint32_t *out, const uint8_t *in, size_t avail, size_t n, unsigned width)
{
    typedef uint32_t fn(uint32_t *, const uint8_t *, size_t, size_t);
    static fn *const of_width[33] = {
#define X(w) [w] = u32_##w,
        WIDTHS_1_TO_32(X)
#undef X
    };
    if (width == 0) {
        memset(out, 0, n * sizeof *out);
        return 0;
    }
    return of_width[width](out, in, avail, n);
}

static void u64(uint64_t *out, const uint8_t *in, size_t avail, size_t n, unsigned width)
{
    typedef void fn(uint64_t *, const uint8_t *, size_t, size_t);
    static fn *const of_width[65] = {
#define X(w) [w] = u64_##w,
        WIDTHS_33_TO_64(X)
#undef X
    };
    if (width > 32) {
        of_width[width](out, in, avail, n);
        return;
    }
    for (size_t i = 0; i < n; i += 64) {
        uint32_t half[64];
        size_t k = n - i < 64 ? n - i : 64, at = i / 8 * width;
        at = at < avail ? at : avail;
        (void)u32(half, in + at, avail - at, k, width);
        for (size_t j = 0; j < k; j++)
            out[i + j] = half[j];
    }
}

static void fill32(uint32_t *out, size_t n, uint32_t value)
{
#ifdef UNPACK_AVX2
    const __m256i v = _mm256_set1_epi32((int)value);
    for (size_t i = 0; i < n; i += 8)
        _mm256_storeu_si256((__m256i *)(void *)(out + i), v);
#else
    for (size_t i = 0; i < n; i++)
        out[i] = value;
#endif
}

static uint64_t sum64(uint64_t *out, const uint32_t *deltas, size_t n, uint64_t last, uint64_t step)
{
    size_t i = 0;
#ifdef UNPACK_AVX2
    /* Sums within four lanes do not wait for the four before them; one addition does. */
    const __m256i steps = _mm256_set1_epi64x((long long)step), zero = _mm256_setzero_si256();
    __m256i before = _mm256_set1_epi64x((long long)last);
    for (; i + 4 <= n; i += 4) {
        __m256i d =
            _mm256_cvtepu32_epi64(_mm_loadu_si128((const __m128i *)(const void *)(deltas + i)));
        d = _mm256_add_epi64(d, steps);
        d = _mm256_add_epi64(d, _mm256_slli_si256(d, 8)); /* a b c d -> a ab c cd */
        __m256i low = _mm256_permute4x64_epi64(d, 0x50);  /* a a ab ab */
        d = _mm256_add_epi64(d, _mm256_blend_epi32(zero, low, 0xf0));
        _mm256_storeu_si256((__m256i *)(void *)(out + i), _mm256_add_epi64(d, before));
        before = _mm256_add_epi64(before, _mm256_permute4x64_epi64(d, 0xff));
    }
    last = (uint64_t)_mm_cvtsi128_si64(_mm256_castsi256_si128(before));
#endif
    for (; i < n; i++)
        out[i] = last += step + deltas[i];
    return last;
}

/* Bits 64 * word onwards of the n in valid; those behind n are 0. */
INLINE uint64_t valid_word(const uint64_t *valid, size_t word, size_t n)
{
    uint64_t bits = valid[word];
    return n - 64 * word < 64 ? bits & ((UINT64_C(1) << (n - 64 * word)) - 1) : bits;
}

/* Values move to higher or the same slots only, so going from the end none is overwritten before it has moved. */
#ifdef UNPACK_AVX2
/* Lane i takes value rank(i) of those loaded, or -1: null. One entry an octet of valid, and one a half of it. */
#define RANK(b, i) (int8_t)((b) >> (i)&1 ? __builtin_popcount((b) & ((1U << (i)) - 1)) : -1)
#define LANES(b)                                                                                   \
    {                                                                                              \
        RANK(b, 0), RANK(b, 1), RANK(b, 2), RANK(b, 3), RANK(b, 4), RANK(b, 5), RANK(b, 6),        \
            RANK(b, 7)                                                                             \
    }
#define ROWS4(b) LANES(b), LANES((b) + 1), LANES((b) + 2), LANES((b) + 3)
#define ROWS16(b) ROWS4(b), ROWS4((b) + 4), ROWS4((b) + 8), ROWS4((b) + 12)
#define ROWS64(b) ROWS16(b), ROWS16((b) + 16), ROWS16((b) + 32), ROWS16((b) + 48)
static const int8_t lanes_of_octet[256][8] = {ROWS64(0U), ROWS64(64U), ROWS64(128U), ROWS64(192U)};

static void expand32(uint32_t *slots, const uint64_t *valid, size_t n, size_t m)
{
    for (size_t g = (n + 7) / 8; g-- > 0;) {
        unsigned bits = (unsigned)(valid_word(valid, g >> 3, n) >> (8 * (g & 7)) & 0xff);
        m -= (unsigned)__builtin_popcount(bits);
        __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)(slots + m));
        __m256i lanes = _mm256_cvtepi8_epi32(
            _mm_loadl_epi64((const __m128i *)(const void *)lanes_of_octet[bits]));
        v = _mm256_andnot_si256(_mm256_srai_epi32(lanes, 31),
                                _mm256_permutevar8x32_epi32(v, lanes));
        _mm256_storeu_si256((__m256i *)(void *)(slots + 8 * g), v);
    }
}

/* A 64-bit value is two lanes of 32. */
#define PAIR(b, i)                                                                                 \
    (int8_t)((b) >> (i)&1 ? 2 * __builtin_popcount((b) & ((1U << (i)) - 1)) : -1),                 \
        (int8_t)((b) >> (i)&1 ? 2 * __builtin_popcount((b) & ((1U << (i)) - 1)) + 1 : -1)
#define PAIRS(b)                                                                                   \
    {                                                                                              \
        PAIR(b, 0), PAIR(b, 1), PAIR(b, 2), PAIR(b, 3)                                             \
    }
static const int8_t pairs_of_half[16][8] = {
    PAIRS(0U), PAIRS(1U), PAIRS(2U),  PAIRS(3U),  PAIRS(4U),  PAIRS(5U),  PAIRS(6U),  PAIRS(7U),
    PAIRS(8U), PAIRS(9U), PAIRS(10U), PAIRS(11U), PAIRS(12U), PAIRS(13U), PAIRS(14U), PAIRS(15U)};

static void expand64(uint64_t *slots, const uint64_t *valid, size_t n, size_t m)
{
    for (size_t g = (n + 3) / 4; g-- > 0;) {
        unsigned bits = (unsigned)(valid_word(valid, g >> 4, n) >> (4 * (g & 15)) & 0xf);
        m -= (unsigned)__builtin_popcount(bits);
        __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)(slots + m));
        __m256i lanes = _mm256_cvtepi8_epi32(
            _mm_loadl_epi64((const __m128i *)(const void *)pairs_of_half[bits]));
        v = _mm256_andnot_si256(_mm256_srai_epi32(lanes, 31),
                                _mm256_permutevar8x32_epi32(v, lanes));
        _mm256_storeu_si256((__m256i *)(void *)(slots + 4 * g), v);
    }
}
#else
#define EXPAND(name, type)                                                                         \
    static void name(type *slots, const uint64_t *valid, size_t n, size_t m)                       \
    {                                                                                              \
        for (size_t w = (n + 63) / 64; w-- > 0;) {                                                 \
            uint64_t bits = valid_word(valid, w, n);                                               \
            size_t k = n - 64 * w < 64 ? n - 64 * w : 64;                                          \
            for (size_t i = k; i-- > 0;) {                                                         \
                uint64_t bit = bits >> i & 1;                                                      \
                m -= bit;                                                                          \
                slots[64 * w + i] = (type)(slots[m] & ((type)0 - (type)bit));                      \
            }                                                                                      \
        }                                                                                          \
    }
EXPAND(expand32, uint32_t)
EXPAND(expand64, uint64_t)
#endif

static void gather32(uint32_t *out, const uint32_t *codes, size_t n, const uint32_t *table)
{
    for (size_t i = 0; i < n; i++)
        out[i] = table[codes[i]];
}

static void gather64(uint64_t *out, const uint32_t *codes, size_t n, const uint64_t *table)
{
    for (size_t i = 0; i < n; i++)
        out[i] = table[codes[i]];
}

static const struct unpack_ops ops = {
    .name = UNPACK_NAME,
    .u32 = u32,
    .u64 = u64,
    .fill32 = fill32,
    .sum64 = sum64,
    .expand32 = expand32,
    .expand64 = expand64,
    .gather32 = gather32,
    .gather64 = gather64,
};
