/* Compiled with -mavx2 on x86-64. */
#include "query/bits.h"

#ifdef __AVX2__
#include "query/bits.inc.c"

const struct query_bits_ops *query_bits_avx2(void)
{
    static const struct query_bits_ops ops = {"avx2", equal, table, range32, range64};
    return &ops;
}
#else
const struct query_bits_ops *query_bits_avx2(void)
{
    return NULL;
}
#endif
