#define MINMAX_NAME "generic"
#include "parquet/minmax.inc.c"

const struct minmax_ops *minmax_generic(void)
{
    return &ops;
}
