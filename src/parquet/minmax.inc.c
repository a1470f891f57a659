/* The body of minmax_generic.c and minmax_avx2.c, which define MINMAX_NAME and, with AVX2, MINMAX_AVX2. */
#include "parquet/minmax.h"

#ifdef MINMAX_AVX2
#include <immintrin.h>

static size_t block32(const uint32_t *values, size_t n, uint32_t flip, uint32_t *min, uint32_t *max)
{
    const __m256i turn = _mm256_set1_epi32((int)flip);
    __m256i low = _mm256_set1_epi32(-1), high = _mm256_setzero_si256();
    size_t i = 0;
    for (; n - i >= 8; i += 8) {
        __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)(values + i));
        v = _mm256_xor_si256(v, turn);
        low = _mm256_min_epu32(low, v);
        high = _mm256_max_epu32(high, v);
    }
    uint32_t lows[8], highs[8];
    _mm256_storeu_si256((__m256i *)(void *)lows, low);
    _mm256_storeu_si256((__m256i *)(void *)highs, high);
    for (size_t k = 0; k < 8; k++) {
        *min = lows[k] < *min ? lows[k] : *min;
        *max = highs[k] > *max ? highs[k] : *max;
    }
    return i;
}

#define BLOCK_NARROW(bits, n_lanes)                                                                \
    static size_t block##bits(const uint##bits##_t *values, size_t n, uint##bits##_t flip,         \
                              uint##bits##_t *min, uint##bits##_t *max)                            \
    {                                                                                              \
        const __m256i turn = _mm256_set1_epi##bits((int##bits##_t)flip);                           \
        __m256i low = _mm256_set1_epi8(-1), high = _mm256_setzero_si256();                         \
        size_t i = 0;                                                                              \
        for (; n - i >= (n_lanes); i += (n_lanes)) {                                               \
            __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)(values + i));           \
            v = _mm256_xor_si256(v, turn);                                                         \
            low = _mm256_min_epu##bits(low, v);                                                    \
            high = _mm256_max_epu##bits(high, v);                                                  \
        }                                                                                          \
        uint##bits##_t lows[n_lanes], highs[n_lanes];                                              \
        _mm256_storeu_si256((__m256i *)(void *)lows, low);                                         \
        _mm256_storeu_si256((__m256i *)(void *)highs, high);                                       \
        for (size_t k = 0; k < (n_lanes); k++) {                                                   \
            *min = lows[k] < *min ? lows[k] : *min;                                                \
            *max = highs[k] > *max ? highs[k] : *max;                                              \
        }                                                                                          \
        return i;                                                                                  \
    }
BLOCK_NARROW(8, 32)
BLOCK_NARROW(16, 16)

/* 64-bit comparisons are signed only: all is held with the sign bit turned over. */
static size_t block64(const uint64_t *values, size_t n, uint64_t flip, uint64_t *min, uint64_t *max)
{
    const uint64_t sign = UINT64_C(1) << 63;
    const __m256i turn = _mm256_set1_epi64x((long long)(flip ^ sign));
    __m256i low = _mm256_set1_epi64x(INT64_MAX), high = _mm256_set1_epi64x(INT64_MIN);
    size_t i = 0;
    for (; n - i >= 4; i += 4) {
        __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)(values + i));
        v = _mm256_xor_si256(v, turn);
        low = _mm256_blendv_epi8(low, v, _mm256_cmpgt_epi64(low, v));
        high = _mm256_blendv_epi8(high, v, _mm256_cmpgt_epi64(v, high));
    }
    uint64_t lows[4], highs[4];
    _mm256_storeu_si256((__m256i *)(void *)lows, low);
    _mm256_storeu_si256((__m256i *)(void *)highs, high);
    for (size_t k = 0; k < 4 && i; k++) {
        *min = (lows[k] ^ sign) < *min ? lows[k] ^ sign : *min;
        *max = (highs[k] ^ sign) > *max ? highs[k] ^ sign : *max;
    }
    return i;
}
#endif

static void u8(const uint8_t *values, size_t n, uint8_t flip, uint8_t *min, uint8_t *max)
{
    uint8_t low = UINT8_MAX, high = 0;
    size_t i = 0;
#ifdef MINMAX_AVX2
    i = block8(values, n, flip, &low, &high);
#endif
    for (; i < n; i++) {
        uint8_t v = values[i] ^ flip;
        low = v < low ? v : low;
        high = v > high ? v : high;
    }
    *min = low;
    *max = high;
}

static void u16(const uint16_t *values, size_t n, uint16_t flip, uint16_t *min, uint16_t *max)
{
    uint16_t low = UINT16_MAX, high = 0;
    size_t i = 0;
#ifdef MINMAX_AVX2
    i = block16(values, n, flip, &low, &high);
#endif
    for (; i < n; i++) {
        uint16_t v = values[i] ^ flip;
        low = v < low ? v : low;
        high = v > high ? v : high;
    }
    *min = low;
    *max = high;
}

static void u32(const uint32_t *values, size_t n, uint32_t flip, uint32_t *min, uint32_t *max)
{
    uint32_t low = UINT32_MAX, high = 0;
    size_t i = 0;
#ifdef MINMAX_AVX2
    i = block32(values, n, flip, &low, &high);
#endif
    for (; i < n; i++) {
        uint32_t v = values[i] ^ flip;
        low = v < low ? v : low;
        high = v > high ? v : high;
    }
    *min = low;
    *max = high;
}

static void u64(const uint64_t *values, size_t n, uint64_t flip, uint64_t *min, uint64_t *max)
{
    uint64_t low = UINT64_MAX, high = 0;
    size_t i = 0;
#ifdef MINMAX_AVX2
    i = block64(values, n, flip, &low, &high);
#endif
    for (; i < n; i++) {
        uint64_t v = values[i] ^ flip;
        low = v < low ? v : low;
        high = v > high ? v : high;
    }
    *min = low;
    *max = high;
}

static const struct minmax_ops ops = {
    .name = MINMAX_NAME, .u8 = u8, .u16 = u16, .u32 = u32, .u64 = u64};
