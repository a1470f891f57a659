#include "parquet/minmax.h"

#include "base/cpu.h"

const struct minmax_ops *minmax_best(void)
{
    const struct minmax_ops *avx2 = minmax_avx2();
    return avx2 && base_cpu_has_avx2() ? avx2 : minmax_generic();
}
