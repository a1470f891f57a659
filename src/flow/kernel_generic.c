#define KERNEL_NAME "generic"
#include "flow/kernel.inc.c"

#include "base/cpu.h"

const struct flow_kernels *flow_kernels_generic(void)
{
    return &kernels;
}

const struct flow_kernels *flow_kernels_best(void)
{
    const struct flow_kernels *avx2 = flow_kernels_avx2();
    return avx2 && base_cpu_has_avx2() ? avx2 : &kernels;
}
