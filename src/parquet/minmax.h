/* minmax -- the smallest and largest of many integers, one body built twice; the twins agree, which a test checks. */
#ifndef PARQUET_MINMAX_H
#define PARQUET_MINMAX_H

#include <stddef.h>
#include <stdint.h>

/* Of values[n] with the bits of flip turned over, compared as unsigned: flip the sign bit to compare signed ones.
 * n at least 1; min and max come out turned over. */
struct minmax_ops {
    const char *name;
    void (*u8)(const uint8_t *values, size_t n, uint8_t flip, uint8_t *min, uint8_t *max);
    void (*u16)(const uint16_t *values, size_t n, uint16_t flip, uint16_t *min, uint16_t *max);
    void (*u32)(const uint32_t *values, size_t n, uint32_t flip, uint32_t *min, uint32_t *max);
    void (*u64)(const uint64_t *values, size_t n, uint64_t flip, uint64_t *min, uint64_t *max);
};

const struct minmax_ops *minmax_generic(void);
const struct minmax_ops *minmax_avx2(void); /* NULL where it is not built */
const struct minmax_ops *minmax_best(void); /* the one for this processor */

#endif
