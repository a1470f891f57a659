#define UNPACK_NAME "generic"
#include "parquet/unpack.inc.c"

const struct unpack_ops *unpack_generic(void)
{
    return &ops;
}
