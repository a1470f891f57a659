/* Compiled with -mavx2 on x86-64. */
#include "flow/kernel.h"

#ifdef __AVX2__
#define KERNEL_NAME "avx2"
#include "flow/kernel.inc.c"

const struct flow_kernels *flow_kernels_avx2(void)
{
    return &kernels;
}
#else
const struct flow_kernels *flow_kernels_avx2(void)
{
    return NULL;
}
#endif
