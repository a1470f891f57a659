/* decode -- the encodings of a page's levels and values, each as a stream that gives the next n or passes over them.
 * Apache parquet-format, Encodings.md. Streams borrow the octets of their page; they never read behind them, and a
 * stream that runs out or breaks its format says false: what it gave in that call is then worth nothing. Outputs have
 * room for UNPACK_SLACK more than was asked for. */
#ifndef PARQUET_DECODE_H
#define PARQUET_DECODE_H

#include "parquet/parquet.h"
#include "parquet/unpack.h"

/* ---- runs and bit-packed numbers: levels, dictionary codes, booleans ---- */

struct decode_hybrid {
    const struct unpack_ops *ops;
    const uint8_t *at, *end; /* the next run's header */
    const uint8_t *packed;   /* the current run's octets; NULL: one value for all */
    uint64_t used, left;     /* of the current run's values */
    uint32_t value;
    uint8_t width; /* bits, 0 to 32 */
};

/* width: 0 to 32. */
struct decode_hybrid decode_hybrid_of(const struct unpack_ops *ops, const uint8_t *p, size_t len,
                                      unsigned width);
/* *most: raised to the largest of the n values. */
bool decode_hybrid_u32(struct decode_hybrid *h, uint32_t *out, size_t n, uint32_t *most);
bool decode_hybrid_skip(struct decode_hybrid *h, size_t n);

/* Which of the rows of a window are present, written only from the first that is not: as long as all are, `bits` is
 * not touched. */
struct decode_validity {
    uint64_t *bits; /* n bits and a word more */
    size_t n;
    bool nulls;
};

/* n rows more, all present or none. */
void decode_validity_run(struct decode_validity *v, size_t n, bool present);
/* n rows more from definition levels of 0 and 1 (h->width is 1); *n_present: those with 1. v NULL: only count. */
bool decode_validity_levels(struct decode_validity *v, struct decode_hybrid *h, size_t n,
                            size_t *n_present);
/* One row more. */
static inline void decode_validity_one(struct decode_validity *v, bool present)
{
    if (!present || v->nulls)
        decode_validity_run(v, 1, present);
    else
        v->n++;
}

/* Levels in the old BIT_PACKED encoding, n of width bits from the most significant on, as an RLE stream: out has room
 * for n * width / 8 + 16 octets. Returns its length; *used: octets of p. False: p is too short. */
bool decode_bit_packed(const uint8_t *p, size_t len, size_t n, unsigned width, uint8_t *out,
                       size_t *out_len, size_t *used);

/* ---- DELTA_BINARY_PACKED ---- */

struct decode_delta {
    const struct unpack_ops *ops;
    const uint8_t *at, *end;
    const uint8_t *widths; /* of the current block's miniblocks */
    uint64_t left;         /* values to come, those in buffer not counted */
    uint64_t last, step;   /* step: the block's smallest delta */
    uint64_t mini_values, mini_left;
    uint64_t n_minis, mini; /* mini: the next one */
    uint64_t buffer[32 + UNPACK_SLACK];
    unsigned n_buffer, buffer_at;
    uint8_t most_width; /* 32 or 64 */
    uint8_t width;
    bool first; /* the first value is still to be given */
};

/* wide: values of 64 bits, else 32. */
bool decode_delta_init(struct decode_delta *d, const struct unpack_ops *ops, const uint8_t *p,
                       size_t len, bool wide);
uint64_t decode_delta_left(const struct decode_delta *d);
bool decode_delta_u64(struct decode_delta *d, uint64_t *out, size_t n);
bool decode_delta_u32(struct decode_delta *d, uint32_t *out, size_t n);
bool decode_delta_skip(struct decode_delta *d, size_t n);
/* Octets of the encoded values at p, found without unpacking them. */
bool decode_delta_span(const uint8_t *p, size_t len, bool wide, size_t *span);

/* ---- octet arrays ---- */

/* PLAIN: a length of 4 octets before each. *p moves on. */
bool decode_plain_bytes(const uint8_t **p, const uint8_t *end, struct parquet_bytes *out, size_t n);
bool decode_plain_bytes_skip(const uint8_t **p, const uint8_t *end, size_t n);
/* n values of `len` octets, one after another. */
void decode_fixed_bytes(const uint8_t *p, uint32_t len, struct parquet_bytes *out, size_t n);

struct decode_lengths { /* DELTA_LENGTH_BYTE_ARRAY */
    struct decode_delta lengths;
    const uint8_t *at, *end;
};
bool decode_lengths_init(struct decode_lengths *d, const struct unpack_ops *ops, const uint8_t *p,
                         size_t len);
bool decode_lengths_read(struct decode_lengths *d, struct parquet_bytes *out, size_t n);
bool decode_lengths_skip(struct decode_lengths *d, size_t n);

struct decode_prefixes { /* DELTA_BYTE_ARRAY */
    struct decode_delta prefixes;
    struct decode_lengths suffixes;
};
bool decode_prefixes_init(struct decode_prefixes *d, const struct unpack_ops *ops, const uint8_t *p,
                          size_t len);
/* The next n values in two steps: their prefix lengths and suffixes, and the octets that all of them take; then the
 * values, put together in memory[*octets]. last: the value before the first, empty at the begin of a page. */
bool decode_prefixes_plan(struct decode_prefixes *d, uint32_t *prefixes,
                          struct parquet_bytes *suffixes, size_t n, struct parquet_bytes last,
                          uint64_t *octets);
void decode_prefixes_fill(uint8_t *memory, const uint32_t *prefixes, struct parquet_bytes *values,
                          size_t n, struct parquet_bytes last);

/* ---- the rest ---- */

/* n bits from bit `from` of p on, as octets of 0 and 1. */
void decode_bits(const uint8_t *p, size_t from, uint8_t *out, size_t n);
/* BYTE_STREAM_SPLIT: n values of `width` octets from number `from` of the `total` at p on. */
void decode_split(const uint8_t *p, size_t total, size_t from, uint8_t *out, size_t n,
                  size_t width);

/* slots[m] to the places of the bits set among the n of valid, nulls become empty: of 1 and 16 octets, beside
 * unpack_ops.expand32 and expand64. */
void decode_expand8(uint8_t *slots, const uint64_t *valid, size_t n, size_t m);
void decode_expand_bytes(struct parquet_bytes *slots, const uint64_t *valid, size_t n, size_t m);

#endif
