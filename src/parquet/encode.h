/* encode -- the encodings that the writer uses, values in, octets appended to a base_buf (whose `failed` tells that
 * memory ran out). parquet-format Encodings.md. Input is trusted: it comes from our own columns. */
#ifndef PARQUET_ENCODE_H
#define PARQUET_ENCODE_H

#include "base/buf.h"
#include "parquet/parquet.h"

/* Bits that hold the numbers 0 to max. */
unsigned encode_width(uint32_t max);

/* RLE/bit-packed hybrid of n numbers below 2^width (0 to 32). No prefix. */
void encode_hybrid(base_buf *out, const uint32_t *codes, size_t n, unsigned width);
/* The same of numbers of an octet (width up to 8). */
void encode_hybrid8(base_buf *out, const uint8_t *codes, size_t n, unsigned width);
/* The same of n bits (width 1), least significant first, from the start of an octet. */
void encode_hybrid_bits(base_buf *out, const uint8_t *bits, size_t n);
/* One run of n equal numbers. */
void encode_run(base_buf *out, uint32_t code, size_t n, unsigned width);
/* A hybrid with the octet count before it: begin, append it, end with what begin gave. */
size_t encode_prefix_begin(base_buf *out);
void encode_prefix_end(base_buf *out, size_t begun);

/* DELTA_BINARY_PACKED: blocks of 128 values in 4 miniblocks. */
void encode_delta32(base_buf *out, const uint32_t *values, size_t n);
void encode_delta64(base_buf *out, const uint64_t *values, size_t n);
/* Bits that it would take, from some of the blocks. values: of `width` octets; is64: as 64-bit numbers. */
uint64_t encode_delta_estimate(const void *values, unsigned width, bool is_unsigned, bool is64,
                               size_t n);

void encode_plain_bytes(base_buf *out, const struct parquet_bytes *values, size_t n);
void encode_plain_fixed(base_buf *out, const struct parquet_bytes *values, size_t n, uint32_t len);
/* DELTA_LENGTH_BYTE_ARRAY. */
void encode_delta_length(base_buf *out, const struct parquet_bytes *values, size_t n);

/* Booleans, one an octet, 0 or 1: PLAIN bits. */
void encode_plain_bools(base_buf *out, const uint8_t *values, size_t n);
/* ... RLE with its prefix. */
void encode_rle_bools(base_buf *out, const uint8_t *values, size_t n);

#endif
