/* The kernels of bits.h, built without (bits.c) and with (bits_avx2.c) vector instructions. */
#include "query/bits.h"

#include <string.h>

#ifdef __AVX2__
#include <immintrin.h>
#endif

/* One word of bits from up to 64 values; what f says of value i. */
#define WORDS(n, out, expr)                                                                        \
    do {                                                                                           \
        for (size_t w_ = 0; w_ * 64 < (n); w_++) {                                                 \
            size_t end_ = (n)-w_ * 64 < 64 ? (n)-w_ * 64 : 64;                                     \
            uint64_t word_ = 0;                                                                    \
            for (size_t b_ = 0; b_ < end_; b_++) {                                                 \
                size_t i = w_ * 64 + b_;                                                           \
                word_ |= (uint64_t)(expr) << b_;                                                   \
            }                                                                                      \
            (out)[w_] = word_;                                                                     \
        }                                                                                          \
    } while (0)

static void equal(const uint32_t *codes, size_t n, uint32_t code, uint64_t *out)
{
    size_t done = 0;
#ifdef __AVX2__
    __m256i want = _mm256_set1_epi32((int)code);
    for (; done + 64 <= n; done += 64) {
        uint64_t word = 0;
        for (unsigned k = 0; k < 8; k++) {
            __m256i v = _mm256_loadu_si256((const __m256i_u *)(codes + done + k * 8));
            int m = _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(v, want)));
            word |= (uint64_t)(unsigned)m << k * 8;
        }
        out[done / 64] = word;
    }
#endif
    codes += done;
    out += done / 64;
    WORDS(n - done, out, codes[i] == code);
}

static void table(const uint32_t *codes, size_t n, const uint8_t *in, uint64_t *out)
{
    size_t done = 0;
#ifdef __AVX2__
    for (; done + 64 <= n; done += 64) {
        uint64_t word = 0;
        for (unsigned k = 0; k < 8; k++) {
            __m256i v = _mm256_loadu_si256((const __m256i_u *)(codes + done + k * 8));
            __m256i t = _mm256_i32gather_epi32((const int *)(const void *)in, v, 1);
            t = _mm256_slli_epi32(t, 31); /* entries are 0 or 1 */
            word |= (uint64_t)(unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(t)) << k * 8;
        }
        out[done / 64] = word;
    }
#endif
    codes += done;
    out += done / 64;
    WORDS(n - done, out, in[codes[i]] != 0);
}

static void range32(const uint32_t *values, size_t n, uint32_t low, uint32_t span, uint64_t *out)
{
    size_t done = 0;
#ifdef __AVX2__
    __m256i l = _mm256_set1_epi32((int)low), s = _mm256_set1_epi32((int)span);
    for (; done + 64 <= n; done += 64) {
        uint64_t word = 0;
        for (unsigned k = 0; k < 8; k++) {
            __m256i v = _mm256_loadu_si256((const __m256i_u *)(values + done + k * 8));
            v = _mm256_sub_epi32(v, l);
            __m256i in = _mm256_cmpeq_epi32(_mm256_min_epu32(v, s), v);
            word |= (uint64_t)(unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(in)) << k * 8;
        }
        out[done / 64] = word;
    }
#endif
    values += done;
    out += done / 64;
    WORDS(n - done, out, values[i] - low <= span);
}

static void range64(const uint64_t *values, size_t n, uint64_t low, uint64_t span, uint64_t *out)
{
    size_t done = 0;
#ifdef __AVX2__
    const __m256i flip = _mm256_set1_epi64x((long long)(UINT64_C(1) << 63));
    __m256i l = _mm256_set1_epi64x((long long)low);
    __m256i s = _mm256_xor_si256(_mm256_set1_epi64x((long long)span), flip);
    for (; done + 64 <= n; done += 64) {
        uint64_t word = 0;
        for (unsigned k = 0; k < 16; k++) {
            __m256i v = _mm256_loadu_si256((const __m256i_u *)(values + done + k * 4));
            v = _mm256_xor_si256(_mm256_sub_epi64(v, l), flip);
            int beyond = _mm256_movemask_pd(_mm256_castsi256_pd(_mm256_cmpgt_epi64(v, s)));
            word |= (uint64_t)(unsigned)(beyond ^ 15) << k * 4;
        }
        out[done / 64] = word;
    }
#endif
    values += done;
    out += done / 64;
    WORDS(n - done, out, values[i] - low <= span);
}
