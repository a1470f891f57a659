/* Compiled with -mavx2 on x86-64. */
#include "parquet/minmax.h"

#ifdef __AVX2__
#define MINMAX_NAME "avx2"
#define MINMAX_AVX2
#include "parquet/minmax.inc.c"

const struct minmax_ops *minmax_avx2(void)
{
    return &ops;
}
#else
const struct minmax_ops *minmax_avx2(void)
{
    return NULL;
}
#endif
