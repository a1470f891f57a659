/* Compiled with -mavx2 on x86-64. */
#include "parquet/unpack.h"

#ifdef __AVX2__
#define UNPACK_NAME "avx2"
#define UNPACK_AVX2
#include "parquet/unpack.inc.c"

const struct unpack_ops *unpack_avx2(void)
{
    return &ops;
}
#else
const struct unpack_ops *unpack_avx2(void)
{
    return NULL;
}
#endif
