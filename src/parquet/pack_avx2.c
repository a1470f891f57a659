/* Compiled with -mavx2 -mbmi2 on x86-64. */
#include "parquet/pack.h"

#if defined __AVX2__ && defined __BMI2__
#define PACK_NAME "avx2"
#define PACK_AVX2
#include "parquet/pack.inc.c"

const struct pack_ops *pack_avx2(void)
{
    return &ops;
}
#else
const struct pack_ops *pack_avx2(void)
{
    return NULL;
}
#endif
