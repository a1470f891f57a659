/* The body of pack_generic.c and pack_avx2.c, which define PACK_NAME and, with AVX2 and BMI2, PACK_AVX2. */
#include "parquet/pack.h"

#include <endian.h>
#include <stdbool.h>
#include <string.h>

#ifdef PACK_AVX2
#include <immintrin.h>
#endif

#define ONES UINT64_C(0x0101010101010101)

static uint64_t load64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return le64toh(v);
}

static void store64(uint8_t *p, uint64_t v)
{
    v = htole64(v);
    memcpy(p, &v, sizeof v);
}

static void pack8(uint8_t *out, const uint8_t *in, size_t n_groups, unsigned width)
{
#ifdef PACK_AVX2
    const uint64_t mask = ONES * ((1u << width) - 1);
    for (size_t g = 0; g < n_groups; g++, in += 8, out += width)
        store64(out, _pext_u64(load64(in), mask));
#else
    for (size_t g = 0; g < n_groups; g++, in += 8, out += width) {
        uint64_t from = load64(in), to = 0;
        for (unsigned i = 0; i < 8; i++)
            to |= (from >> 8 * i & 0xff) << i * width;
        store64(out, to);
    }
#endif
}

static void narrow16(uint8_t *to, const uint16_t *from, size_t n, uint16_t min)
{
    size_t i = 0;
#ifdef PACK_AVX2
    const __m256i less = _mm256_set1_epi16((short)min), low = _mm256_set1_epi16(0xff);
    for (; n - i >= 32; i += 32) {
        __m256i a = _mm256_loadu_si256((const __m256i *)(const void *)(from + i));
        __m256i b = _mm256_loadu_si256((const __m256i *)(const void *)(from + i + 16));
        a = _mm256_and_si256(_mm256_sub_epi16(a, less), low);
        b = _mm256_and_si256(_mm256_sub_epi16(b, less), low);
        a = _mm256_permute4x64_epi64(_mm256_packus_epi16(a, b), 0xd8);
        _mm256_storeu_si256((__m256i *)(void *)(to + i), a);
    }
#endif
    for (; i < n; i++)
        to[i] = (uint8_t)(from[i] - min);
}

static void narrow32(uint8_t *to, const uint32_t *from, size_t n, uint32_t min)
{
    size_t i = 0;
#ifdef PACK_AVX2
    const __m256i less = _mm256_set1_epi32((int)min), low = _mm256_set1_epi32(0xff);
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    for (; n - i >= 32; i += 32) {
        __m256i v[4];
        for (size_t k = 0; k < 4; k++) {
            v[k] = _mm256_loadu_si256((const __m256i *)(const void *)(from + i + 8 * k));
            v[k] = _mm256_and_si256(_mm256_sub_epi32(v[k], less), low);
        }
        __m256i a = _mm256_packus_epi32(v[0], v[1]), b = _mm256_packus_epi32(v[2], v[3]);
        a = _mm256_permutevar8x32_epi32(_mm256_packus_epi16(a, b), order);
        _mm256_storeu_si256((__m256i *)(void *)(to + i), a);
    }
#endif
    for (; i < n; i++)
        to[i] = (uint8_t)(from[i] - min);
}

static void narrow64(uint8_t *to, const uint64_t *from, size_t n, uint64_t min)
{
    for (size_t i = 0; i < n; i++)
        to[i] = (uint8_t)(from[i] - min);
}

static uint8_t look_up8(uint8_t *octets, size_t n, const uint8_t *table, size_t n_table)
{
    uint8_t most = 0;
    size_t i = 0;
#ifdef PACK_AVX2
    /* Sixteen of the table at a time: octets that are not among them come to 0x80 or more, for which a shuffle gives 0. */
    __m256i parts[16], mosts = _mm256_setzero_si256();
    const __m256i high = _mm256_set1_epi8(0x70), next = _mm256_set1_epi8(16);
    size_t n_parts = (n_table + 15) / 16;
    for (size_t k = 0; k < n_parts; k++) {
        uint8_t part[16] = {0};
        memcpy(part, table + 16 * k, n_table - 16 * k < 16 ? n_table - 16 * k : 16);
        parts[k] =
            _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)part));
    }
    for (; n - i >= 32; i += 32) {
        __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)(octets + i));
        __m256i out = _mm256_shuffle_epi8(parts[0], _mm256_adds_epu8(v, high));
        for (size_t k = 1; k < n_parts; k++) {
            v = _mm256_sub_epi8(v, next);
            out = _mm256_or_si256(out, _mm256_shuffle_epi8(parts[k], _mm256_adds_epu8(v, high)));
        }
        mosts = _mm256_max_epu8(mosts, out);
        _mm256_storeu_si256((__m256i *)(void *)(octets + i), out);
    }
    uint8_t lanes[32];
    _mm256_storeu_si256((__m256i *)(void *)lanes, mosts);
    for (size_t k = 0; k < 32; k++)
        most = lanes[k] > most ? lanes[k] : most;
#endif
    (void)n_table;
    for (; i < n; i++) {
        octets[i] = table[octets[i]];
        most = octets[i] > most ? octets[i] : most;
    }
    return most;
}

static int64_t deltas(uint64_t *to, const uint64_t *values, uint64_t all[4])
{
    int64_t least = INT64_MAX;
#ifdef PACK_AVX2
    __m256i low = _mm256_set1_epi64x(INT64_MAX);
    for (size_t i = 0; i < 128; i += 4) {
        __m256i a = _mm256_loadu_si256((const __m256i *)(const void *)(values + i));
        __m256i b = _mm256_loadu_si256((const __m256i *)(const void *)(values + i + 1));
        __m256i diff = _mm256_sub_epi64(b, a);
        low = _mm256_blendv_epi8(low, diff, _mm256_cmpgt_epi64(low, diff));
        _mm256_storeu_si256((__m256i *)(void *)(to + i), diff);
    }
    int64_t lows[4];
    _mm256_storeu_si256((__m256i *)(void *)lows, low);
    for (size_t k = 0; k < 4; k++)
        least = lows[k] < least ? lows[k] : least;
    const __m256i less = _mm256_set1_epi64x(least);
    for (size_t part = 0; part < 4; part++) {
        __m256i any = _mm256_setzero_si256();
        for (size_t i = 32 * part; i < 32 * part + 32; i += 4) {
            __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)(to + i));
            v = _mm256_sub_epi64(v, less);
            any = _mm256_or_si256(any, v);
            _mm256_storeu_si256((__m256i *)(void *)(to + i), v);
        }
        uint64_t lanes[4];
        _mm256_storeu_si256((__m256i *)(void *)lanes, any);
        all[part] = lanes[0] | lanes[1] | lanes[2] | lanes[3];
    }
#else
    for (size_t i = 0; i < 128; i++) {
        to[i] = values[i + 1] - values[i];
        least = (int64_t)to[i] < least ? (int64_t)to[i] : least;
    }
    for (size_t part = 0; part < 4; part++) {
        all[part] = 0;
        for (size_t i = 32 * part; i < 32 * part + 32; i++) {
            to[i] -= (uint64_t)least;
            all[part] |= to[i];
        }
    }
#endif
    return least;
}

static bool eight_equal8(const uint8_t *c)
{
    return load64(c) == ONES * *c;
}

static bool eight_equal32(const uint32_t *c)
{
    uint32_t diff = 0;
    for (size_t i = 1; i < 8; i++)
        diff |= c[i] ^ c[0];
    return !diff;
}

static size_t find8(const uint8_t *codes, size_t at, size_t n)
{
#ifdef PACK_AVX2
    const __m256i firsts = _mm256_setr_epi64x(0, 0x0808080808080808, 0, 0x0808080808080808);
    for (; n - at >= 32; at += 32) {
        __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)(codes + at));
        __m256i same = _mm256_cmpeq_epi64(v, _mm256_shuffle_epi8(v, firsts));
        int found = _mm256_movemask_pd(_mm256_castsi256_pd(same));
        if (found)
            return at + 8 * (size_t)__builtin_ctz((unsigned)found);
    }
#endif
    while (n - at >= 8 && !eight_equal8(codes + at))
        at += 8;
    return at;
}

static size_t find32(const uint32_t *codes, size_t at, size_t n)
{
#ifdef PACK_AVX2
    for (; n - at >= 8; at += 8) {
        __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)(codes + at));
        __m256i same = _mm256_cmpeq_epi32(v, _mm256_set1_epi32((int)codes[at]));
        if (_mm256_movemask_epi8(same) == -1)
            return at;
    }
#endif
    while (n - at >= 8 && !eight_equal32(codes + at))
        at += 8;
    return at;
}

static size_t end8(const uint8_t *codes, size_t at, size_t n)
{
    const uint8_t code = codes[at];
#ifdef PACK_AVX2
    const __m256i all = _mm256_set1_epi8((char)code);
    for (; n - at >= 32; at += 32) {
        __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)(codes + at));
        unsigned same = (unsigned)_mm256_movemask_epi8(_mm256_cmpeq_epi8(v, all));
        if (same != UINT32_MAX)
            return at + (size_t)__builtin_ctz(~same);
    }
#endif
    while (n - at >= 8 && load64(codes + at) == ONES * code)
        at += 8;
    while (at < n && codes[at] == code)
        at++;
    return at;
}

static size_t end32(const uint32_t *codes, size_t at, size_t n)
{
    const uint32_t code = codes[at];
#ifdef PACK_AVX2
    const __m256i all = _mm256_set1_epi32((int)code);
    for (; n - at >= 8; at += 8) {
        __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)(codes + at));
        if (_mm256_movemask_epi8(_mm256_cmpeq_epi32(v, all)) != -1)
            break;
    }
#endif
    while (at < n && codes[at] == code)
        at++;
    return at;
}

static const struct pack_ops ops = {.name = PACK_NAME,
                                    .pack8 = pack8,
                                    .narrow16 = narrow16,
                                    .narrow32 = narrow32,
                                    .narrow64 = narrow64,
                                    .look_up8 = look_up8,
                                    .deltas = deltas,
                                    .find8 = find8,
                                    .find32 = find32,
                                    .end8 = end8,
                                    .end32 = end32};
