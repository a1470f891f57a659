#define PACK_NAME "generic"
#include "parquet/pack.inc.c"

const struct pack_ops *pack_generic(void)
{
    return &ops;
}
