#include "query/bits.inc.c"

#include "base/cpu.h"

const struct query_bits_ops *query_bits_generic(void)
{
    static const struct query_bits_ops ops = {"generic", equal, table, range32, range64};
    return &ops;
}

const struct query_bits_ops *query_bits_best(void)
{
    const struct query_bits_ops *avx2 = query_bits_avx2();
    return avx2 && base_cpu_has_avx2() ? avx2 : query_bits_generic();
}

size_t query_bits_count(const uint64_t *bits, size_t n)
{
    size_t count = 0;
    for (size_t w = 0; w < (n + 63) / 64; w++)
        count += (size_t)__builtin_popcountll(bits[w]);
    return count;
}

size_t query_bits_rows(const uint64_t *bits, size_t n, uint32_t *out)
{
    size_t count = 0;
    for (size_t w = 0; w < (n + 63) / 64; w++)
        for (uint64_t word = bits[w]; word; word &= word - 1)
            out[count++] = (uint32_t)(w * 64 + (size_t)__builtin_ctzll(word));
    return count;
}

void query_bits_fill(uint64_t *bits, size_t n)
{
    memset(bits, 0xff, n / 64 * sizeof *bits);
    if (n % 64)
        bits[n / 64] = (UINT64_C(1) << n % 64) - 1;
}
