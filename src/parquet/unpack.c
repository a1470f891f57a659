#include "parquet/unpack.h"

#include "base/cpu.h"

const struct unpack_ops *unpack_best(void)
{
    const struct unpack_ops *avx2 = unpack_avx2();
    return avx2 && base_cpu_has_avx2() ? avx2 : unpack_generic();
}
