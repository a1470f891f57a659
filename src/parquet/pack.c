#include "parquet/pack.h"

#include "base/cpu.h"

const struct pack_ops *pack_best(void)
{
    const struct pack_ops *avx2 = pack_avx2();
    return avx2 && base_cpu_has_avx2() ? avx2 : pack_generic();
}
