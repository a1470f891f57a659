/* unpack -- the kernels of decoding: bit-packed numbers, runs, and nulls between values. One body (unpack.inc.c) built
 * twice; the twins give the same results for the same input, bit for bit, which a test checks. */
#ifndef PARQUET_UNPACK_H
#define PARQUET_UNPACK_H

#include <stddef.h>
#include <stdint.h>

/* Kernels may write this many slots behind the last one they were asked for, so every output has room for them. What
 * stands there afterwards is undefined. */
enum { UNPACK_SLACK = 32 };

struct unpack_ops {
    const char *name;

    /* n numbers of `width` bits (0 to 32), packed from the least significant bit; n is a multiple of 8. Returns the
     * largest. Reads none but in[avail]; numbers behind that come out as 0. */
    uint32_t (*u32)(uint32_t *out, const uint8_t *in, size_t avail, size_t n, unsigned width);
    /* The same with widths of 0 to 64. */
    void (*u64)(uint64_t *out, const uint8_t *in, size_t avail, size_t n, unsigned width);

    void (*fill32)(uint32_t *out, size_t n, uint32_t value);

    /* out[i] = the sum of last, step * (i + 1) and deltas[0] to deltas[i], modulo 2^64. Returns the last. */
    uint64_t (*sum64)(uint64_t *out, const uint32_t *deltas, size_t n, uint64_t last,
                      uint64_t step);

    /* slots[m], one for each bit that is set among the n of valid, go to the places of their bits; the others become
     * 0. valid has whole words, slots room for n + UNPACK_SLACK. */
    void (*expand32)(uint32_t *slots, const uint64_t *valid, size_t n, size_t m);
    void (*expand64)(uint64_t *slots, const uint64_t *valid, size_t n, size_t m);

    /* out[i] = table[codes[i]]; every code is below the table's size. */
    void (*gather32)(uint32_t *out, const uint32_t *codes, size_t n, const uint32_t *table);
    void (*gather64)(uint64_t *out, const uint32_t *codes, size_t n, const uint64_t *table);
};

const struct unpack_ops *unpack_generic(void);
const struct unpack_ops *
unpack_avx2(void); /* NULL where it is not built; runs only where base_cpu_has_avx2() */
const struct unpack_ops *unpack_best(void); /* the one for this processor */

#endif
