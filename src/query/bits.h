/* bits -- rows as bits: conditions on values of a window, 64 rows a word, the first row in the least significant bit. One
 * body (bits.inc.c) built twice; the twins give the same results, which a test checks.
 *
 * Every out has (n + 63) / 64 words; bits behind n are 0. */
#ifndef QUERY_BITS_H
#define QUERY_BITS_H

#include <stddef.h>
#include <stdint.h>

struct query_bits_ops {
    const char *name;
    /* codes[i] == code */
    void (*equal)(const uint32_t *codes, size_t n, uint32_t code, uint64_t *out);
    /* table[codes[i]] != 0; tables have 3 octets more than the largest code needs */
    void (*table)(const uint32_t *codes, size_t n, const uint8_t *table, uint64_t *out);
    /* values[i] - low <= span, modulo the width: a range of integers of either sign */
    void (*range32)(const uint32_t *values, size_t n, uint32_t low, uint32_t span, uint64_t *out);
    void (*range64)(const uint64_t *values, size_t n, uint64_t low, uint64_t span, uint64_t *out);
};

const struct query_bits_ops *query_bits_generic(void);
const struct query_bits_ops *query_bits_avx2(void); /* NULL where it is not built */
const struct query_bits_ops *query_bits_best(void); /* the one for this processor */

size_t query_bits_count(const uint64_t *bits, size_t n);
/* Numbers of the rows whose bits are set, rising; room for n + 8. Returns how many. */
size_t query_bits_rows(const uint64_t *bits, size_t n, uint32_t *out);
/* The first n bits set, the others of the last word 0. */
void query_bits_fill(uint64_t *bits, size_t n);

#endif
