/* pack -- the kernels of encoding: codes packed into bits, and where they repeat. One body (pack.inc.c) built twice; the
 * twins give the same results for the same input, which a test checks. */
#ifndef PARQUET_PACK_H
#define PARQUET_PACK_H

#include <stddef.h>
#include <stdint.h>

/* pack8 may write so many octets behind the last one. */
enum { PACK_SLACK = 8 };

struct pack_ops {
    const char *name;

    /* n_groups times eight numbers below 2^width (1 to 8), from the least significant bit: `width` octets a group. */
    void (*pack8)(uint8_t *out, const uint8_t *in, size_t n_groups, unsigned width);

    /* to[i] = the lowest octet of from[i] - min. */
    void (*narrow16)(uint8_t *to, const uint16_t *from, size_t n, uint16_t min);
    void (*narrow32)(uint8_t *to, const uint32_t *from, size_t n, uint32_t min);
    void (*narrow64)(uint8_t *to, const uint64_t *from, size_t n, uint64_t min);
    /* Every octet becomes table[octet]; all are below n_table, at most 256. Returns the largest that comes out. */
    uint8_t (*look_up8)(uint8_t *octets, size_t n, const uint8_t *table, size_t n_table);

    /* deltas[i] = values[i + 1] - values[i] - the least of these, which is returned, as signed numbers; n is 128. all[k]:
     * the bits that are set in any of deltas[32 * k ..]. */
    int64_t (*deltas)(uint64_t *deltas, const uint64_t *values, uint64_t all[4]);

    /* From `at` on in steps of eight, the first place where eight are the same; where fewer than eight are left, that
     * place. */
    size_t (*find8)(const uint8_t *codes, size_t at, size_t n);
    size_t (*find32)(const uint32_t *codes, size_t at, size_t n);

    /* Where those that are the same as codes[at] end. */
    size_t (*end8)(const uint8_t *codes, size_t at, size_t n);
    size_t (*end32)(const uint32_t *codes, size_t at, size_t n);
};

const struct pack_ops *pack_generic(void);
const struct pack_ops *
pack_avx2(void); /* NULL where it is not built; runs only where base_cpu_has_avx2() */
const struct pack_ops *pack_best(void); /* the one for this processor */

#endif
