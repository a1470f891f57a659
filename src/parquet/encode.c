#include "parquet/encode.h"

#include "parquet/pack.h"
#include "parquet/thrift.h"

#define BLOCK 128    /* values of a block of DELTA_BINARY_PACKED */
#define MINIBLOCK 32 /* ... and of one of its four miniblocks */
#define AHEAD 24     /* strings that lie anywhere are asked for before they are copied */
#define N_MINIBLOCKS (BLOCK / MINIBLOCK)

unsigned encode_width(uint32_t max)
{
    return max ? 32 - (unsigned)__builtin_clz(max) : 0;
}

static void put_le(uint8_t *out, uint64_t v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (uint8_t)(v >> 8 * i);
}

/* ---- bit packing ---- */

/* One of eight numbers into the accumulator; every full 32 bits leave it. With a constant width all of this folds into
 * shifts and stores. */
#define PACK_ONE(i)                                                                                \
    acc |= (uint64_t)in[i] << bits;                                                                \
    bits += width;                                                                                 \
    if (bits >= 32) {                                                                              \
        put_le(out, acc, 4);                                                                       \
        out += 4;                                                                                  \
        acc >>= 32;                                                                                \
        bits -= 32;                                                                                \
    }

/* Eight numbers are `width` octets: four full words at most and a rest of whole octets. */
static inline __attribute__((always_inline)) void pack_groups(uint8_t *out, const uint32_t *in,
                                                              size_t n_groups, unsigned width)
{
    for (size_t g = 0; g < n_groups; g++, in += 8) {
        uint64_t acc = 0;
        unsigned bits = 0;
        PACK_ONE(0)
        PACK_ONE(1)
        PACK_ONE(2)
        PACK_ONE(3)
        PACK_ONE(4)
        PACK_ONE(5)
        PACK_ONE(6)
        PACK_ONE(7)
        put_le(out, acc, bits / 8);
        out += bits / 8;
    }
}

/* clang-format off */
#define EACH_WIDTH(X)                                                                              \
    X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15) X(16)    \
    X(17) X(18) X(19) X(20) X(21) X(22) X(23) X(24) X(25) X(26) X(27) X(28) X(29) X(30) X(31) X(32)
/* clang-format on */

#define PACK(w)                                                                                    \
    static void pack_##w(uint8_t *out, const uint32_t *in, size_t n_groups)                        \
    {                                                                                              \
        pack_groups(out, in, n_groups, w);                                                         \
    }
EACH_WIDTH(PACK)
#undef PACK

typedef void pack_fn(uint8_t *out, const uint32_t *in, size_t n_groups);
static pack_fn *const packers[] = {
#define PACK(w) [w] = pack_##w,
    EACH_WIDTH(PACK)
#undef PACK
};

/* n_groups times eight numbers below 2^width (up to 64). */
static void pack64(uint8_t *out, const uint64_t *in, size_t n_groups, unsigned width)
{
    if (width <= 32) {
        for (size_t g = 0; g < n_groups; g++, in += 8, out += width) {
            uint32_t narrow[8];
            for (size_t i = 0; i < 8; i++)
                narrow[i] = (uint32_t)in[i];
            packers[width](out, narrow, 1);
        }
        return;
    }
    unsigned __int128 acc = 0;
    unsigned bits = 0;
    for (size_t i = 0; i < 8 * n_groups; i++) {
        acc |= (unsigned __int128)in[i] << bits;
        bits += width;
        while (bits >= 8) {
            *out++ = (uint8_t)acc;
            acc >>= 8;
            bits -= 8;
        }
    }
}

/* ---- hybrid ---- */

static size_t put_varint(uint8_t *out, uint64_t v)
{
    size_t n = 0;
    for (; v > 0x7f; v >>= 7)
        out[n++] = (uint8_t)(v | 0x80);
    out[n++] = (uint8_t)v;
    return n;
}

void encode_run(base_buf *out, uint32_t code, size_t n, unsigned width)
{
    uint8_t *at = (uint8_t *)base_buf_room(out, 16);
    if (!at || !n)
        return;
    size_t len = put_varint(at, (uint64_t)n << 1);
    put_le(at + len, code, (width + 7) / 8);
    out->len += len + (width + 7) / 8;
}

/* Codes of one octet, or of four. */
struct codes {
    const uint8_t *narrow;
    const uint32_t *wide;
};

static inline uint32_t code_at(const struct codes *c, size_t i)
{
    return c->narrow ? c->narrow[i] : c->wide[i];
}

/* Codes from .. end in whole groups of eight, of which the last may lack values: those are 0. */
static void put_packed(base_buf *out, const struct pack_ops *ops, const struct codes *c,
                       size_t from, size_t end, unsigned width)
{
    size_t n = end - from, full = n / 8, groups = (n + 7) / 8;
    if (!n)
        return;
    uint8_t *at = (uint8_t *)base_buf_room(out, 10 + groups * width + PACK_SLACK);
    if (!at)
        return;
    size_t len = put_varint(at, (uint64_t)groups << 1 | 1);
    uint8_t *last = at + len + full * width;
    if (c->narrow) {
        uint8_t rest[8] = {0};
        memcpy(rest, c->narrow + from + full * 8, n - full * 8);
        ops->pack8(at + len, c->narrow + from, full, width);
        ops->pack8(last, rest, groups - full, width);
    } else {
        uint32_t rest[8] = {0};
        memcpy(rest, c->wide + from + full * 8, (n - full * 8) * sizeof *c->wide);
        packers[width](at + len, c->wide + from, full);
        packers[width](last, rest, groups - full);
    }
    out->len += len + groups * width;
}

static size_t find_run(const struct pack_ops *ops, const struct codes *c, size_t at, size_t n)
{
    return c->narrow ? ops->find8(c->narrow, at, n) : ops->find32(c->wide, at, n);
}

static size_t run_end(const struct pack_ops *ops, const struct codes *c, size_t at, size_t n)
{
    return c->narrow ? ops->end8(c->narrow, at, n) : ops->end32(c->wide, at, n);
}

static void hybrid(base_buf *out, const struct codes *c, size_t n, unsigned width)
{
    const struct pack_ops *ops = pack_best();
    if (!width) {
        encode_run(out, 0, n, 0);
        return;
    }
    /* A run inside packed groups costs its own header and number and another header of groups: about this many
     * values' worth. */
    size_t min_run = (4 + (width + 7) / 8) * 8 / width;
    if (min_run < 8)
        min_run = 8;
    size_t packed = 0, at = 0; /* codes packed .. at wait to be packed */
    for (;;) {
        at = find_run(ops, c, at, n);
        if (n - at < 8)
            break;
        size_t end = run_end(ops, c, at, n);
        if (end - at < min_run && end < n) {
            at += 8;
            continue;
        }
        put_packed(out, ops, c, packed, at, width);
        encode_run(out, code_at(c, at), end - at, width);
        packed = at = end;
    }
    /* A tail of equal numbers is a run too: it has no surplus values. */
    if (packed == at && at < n && run_end(ops, c, at, n) == n) {
        encode_run(out, code_at(c, at), n - at, width);
        return;
    }
    put_packed(out, ops, c, packed, n, width);
}

void encode_hybrid(base_buf *out, const uint32_t *codes, size_t n, unsigned width)
{
    hybrid(out, &(struct codes){.wide = codes}, n, width);
}

void encode_hybrid8(base_buf *out, const uint8_t *codes, size_t n, unsigned width)
{
    hybrid(out, &(struct codes){.narrow = codes}, n, width);
}

/* Packed bits are the bits themselves. */
static void put_bits(base_buf *out, const uint8_t *bits, size_t n)
{
    size_t octets = (n + 7) / 8;
    if (!n)
        return;
    uint8_t *at = (uint8_t *)base_buf_room(out, 10 + octets);
    if (!at)
        return;
    size_t len = put_varint(at, (uint64_t)octets << 1 | 1);
    memcpy(at + len, bits, octets);
    if (n % 8)
        at[len + octets - 1] &= (uint8_t)((1 << n % 8) - 1);
    out->len += len + octets;
}

void encode_hybrid_bits(base_buf *out, const uint8_t *bits, size_t n)
{
    size_t packed = 0, at = 0, octets = n / 8; /* octets of bits; the rest of n / 8 is the tail */
    while (at < octets) {
        if (bits[at] != 0 && bits[at] != 0xff) {
            at++;
            continue;
        }
        size_t end = at + 1;
        while (end < octets && bits[end] == bits[at])
            end++;
        /* A run costs two to five octets and the next header of groups one or two. */
        if (end - at < 6 && end < octets) {
            at = end;
            continue;
        }
        size_t n_run = (end - at) * 8;
        uint8_t tail_mask = (uint8_t)((1 << n % 8) - 1);
        bool whole =
            end == octets && ((bits[at] ^ (tail_mask ? bits[octets] : 0)) & tail_mask) == 0;
        put_bits(out, bits + packed, (at - packed) * 8);
        encode_run(out, bits[at] & 1, whole ? n - at * 8 : n_run, 1);
        if (whole)
            return;
        packed = at = end;
    }
    put_bits(out, bits + packed, n - packed * 8);
}

size_t encode_prefix_begin(base_buf *out)
{
    size_t begun = out->len;
    base_buf_add(out, "\0\0\0", 4);
    return begun;
}

void encode_prefix_end(base_buf *out, size_t begun)
{
    if (!out->failed)
        put_le((uint8_t *)out->data + begun, out->len - begun - 4, 4);
}

/* ---- delta ---- */

/* One sequence being written: deltas gather until a block is full. */
struct delta {
    base_buf *out;
    size_t n_left, n; /* deltas still to come, and those in the block */
    uint64_t last;
    bool is64;
    uint64_t deltas[BLOCK]; /* of 32-bit values: sign-extended 32-bit differences */
};

static void delta_begin(struct delta *d, base_buf *out, size_t n, uint64_t first, bool is64)
{
    d->out = out;
    d->n_left = n ? n - 1 : 0;
    d->n = 0;
    d->last = first;
    d->is64 = is64;
    thrift_add_varint(out, BLOCK);
    thrift_add_varint(out, N_MINIBLOCKS);
    thrift_add_varint(out, n);
    thrift_add_int(out, is64 ? (int64_t)first : (int32_t)first);
}

static unsigned width64(uint64_t max)
{
    return max ? 64 - (unsigned)__builtin_clzll(max) : 0;
}

/* What the block's deltas are above, and each miniblock's width above that. The block is padded with the least delta,
 * so that a part of a miniblock needs no special case. Returns octets of the miniblocks in use. */
static size_t delta_widths(uint64_t *deltas, size_t n, bool is64, int64_t *least,
                           uint8_t widths[N_MINIBLOCKS])
{
    int64_t min = (int64_t)deltas[0];
    for (size_t i = 1; i < n; i++)
        min = (int64_t)deltas[i] < min ? (int64_t)deltas[i] : min;
    size_t octets = 0;
    for (size_t m = 0; m < N_MINIBLOCKS; m++) {
        widths[m] = 0;
        if (m * MINIBLOCK >= n)
            continue;
        uint64_t all = 0;
        for (size_t i = m * MINIBLOCK; i < (m + 1) * MINIBLOCK; i++) {
            deltas[i] = i < n ? deltas[i] - (uint64_t)min : 0;
            if (!is64)
                deltas[i] = (uint32_t)deltas[i];
            all |= deltas[i];
        }
        widths[m] = (uint8_t)width64(all);
        octets += widths[m] * (size_t)MINIBLOCK / 8;
    }
    *least = min;
    return octets;
}

static void put_block(base_buf *out, const uint64_t *deltas, int64_t least,
                      const uint8_t widths[N_MINIBLOCKS])
{
    size_t octets = 0;
    for (size_t m = 0; m < N_MINIBLOCKS; m++)
        octets += widths[m] * (size_t)MINIBLOCK / 8;
    thrift_add_int(out, least);
    base_buf_add(out, widths, N_MINIBLOCKS);
    uint8_t *at = octets ? (uint8_t *)base_buf_room(out, octets) : NULL;
    if (!at)
        return;
    for (size_t m = 0; m < N_MINIBLOCKS; m++) {
        pack64(at, deltas + m * MINIBLOCK, widths[m] ? MINIBLOCK / 8 : 0, widths[m]);
        at += widths[m] * (size_t)MINIBLOCK / 8;
    }
    out->len += octets;
}

static void delta_block(struct delta *d)
{
    uint8_t widths[N_MINIBLOCKS];
    int64_t least;
    if (!d->n)
        return;
    (void)delta_widths(d->deltas, d->n, d->is64, &least, widths);
    put_block(d->out, d->deltas, least, widths);
    d->n = 0;
}

static inline void delta_add(struct delta *d, uint64_t v)
{
    uint64_t diff = v - d->last;
    d->deltas[d->n++] = d->is64 ? diff : (uint64_t)(int64_t)(int32_t)diff;
    d->last = v;
    if (d->n == BLOCK)
        delta_block(d);
}

void encode_delta32(base_buf *out, const uint32_t *values, size_t n)
{
    struct delta d;
    delta_begin(&d, out, n, n ? values[0] : 0, false);
    for (size_t i = 1; i < n; i++)
        delta_add(&d, values[i]);
    delta_block(&d);
}

void encode_delta64(base_buf *out, const uint64_t *values, size_t n)
{
    struct delta d;
    const struct pack_ops *ops = pack_best();
    delta_begin(&d, out, n, n ? values[0] : 0, true);
    size_t i = 1;
    for (; i < n && n - i >= BLOCK; i += BLOCK) {
        uint64_t all[N_MINIBLOCKS];
        uint8_t widths[N_MINIBLOCKS];
        int64_t least = ops->deltas(d.deltas, values + i - 1, all);
        for (size_t m = 0; m < N_MINIBLOCKS; m++)
            widths[m] = (uint8_t)width64(all[m]);
        put_block(out, d.deltas, least, widths);
        d.last = values[i + BLOCK - 1];
    }
    for (; i < n; i++)
        delta_add(&d, values[i]);
    delta_block(&d);
}

/* Values from .. from + n of `width` octets as numbers of 64 bits, of signed ones with their sign. */
static void load_ints(const void *values, unsigned width, bool is_unsigned, size_t from, size_t n,
                      uint64_t *to)
{
#define LOAD(type)                                                                                 \
    for (size_t i = 0; i < n; i++)                                                                 \
    to[i] = (uint64_t)((const type *)values)[from + i]
    switch (width | (is_unsigned ? 16 : 0)) {
    case 1:
        LOAD(int8_t);
        break;
    case 2:
        LOAD(int16_t);
        break;
    case 4:
        LOAD(int32_t);
        break;
    case 16 | 1:
        LOAD(uint8_t);
        break;
    case 16 | 2:
        LOAD(uint16_t);
        break;
    case 16 | 4:
        LOAD(uint32_t);
        break;
    default:
        LOAD(uint64_t);
    }
#undef LOAD
}

uint64_t encode_delta_estimate(const void *values, unsigned width, bool is_unsigned, bool is64,
                               size_t n)
{
    size_t n_blocks = n / BLOCK, step = n_blocks > 128 ? n_blocks / 64 : 1, sampled = 0;
    uint64_t octets = 0;
    if (n < 2)
        return 128;
    for (size_t from = 0; from < n; from += step * BLOCK) {
        uint64_t loaded[BLOCK + 1], deltas[BLOCK];
        uint8_t widths[N_MINIBLOCKS];
        int64_t least;
        size_t len = n - from - 1 < BLOCK ? n - from - 1 : BLOCK;
        if (!len)
            break;
        load_ints(values, width, is_unsigned, from, len + 1, loaded);
        for (size_t i = 0; i < len; i++) {
            uint64_t diff = loaded[i + 1] - loaded[i];
            deltas[i] = is64 ? diff : (uint64_t)(int64_t)(int32_t)diff;
        }
        octets += delta_widths(deltas, len, is64, &least, widths) + N_MINIBLOCKS + 2;
        sampled += len;
    }
    return 80 + (uint64_t)((double)octets * 8 / (double)sampled * (double)n);
}

/* ---- octets ---- */

void encode_plain_bytes(base_buf *out, const struct parquet_bytes *values, size_t n)
{
    size_t octets = 0;
    for (size_t i = 0; i < n; i++)
        octets += 4 + (size_t)values[i].len;
    uint8_t *at = octets ? (uint8_t *)base_buf_room(out, octets) : NULL;
    if (!at)
        return;
    for (size_t i = 0; i < n; i++) {
        struct parquet_bytes v = values[i];
        if (n - i > AHEAD)
            __builtin_prefetch(values[i + AHEAD].data);
        put_le(at, v.len, 4);
        at += 4;
        if (v.len - 8 <= 8) { /* two halves that overlap: most addresses, without a call */
            memcpy(at, v.data, 8);
            memcpy(at + v.len - 8, v.data + v.len - 8, 8);
        } else if (v.len) {
            memcpy(at, v.data, v.len);
        }
        at += v.len;
    }
    out->len += octets;
}

void encode_plain_fixed(base_buf *out, const struct parquet_bytes *values, size_t n, uint32_t len)
{
    uint8_t *at = n ? (uint8_t *)base_buf_room(out, n * len) : NULL;
    if (!at)
        return;
    for (size_t i = 0; i < n; i++)
        memcpy(at + i * len, values[i].data, len);
    out->len += n * len;
}

void encode_delta_length(base_buf *out, const struct parquet_bytes *values, size_t n)
{
    struct delta d;
    size_t octets = 0;
    delta_begin(&d, out, n, n ? values[0].len : 0, false);
    for (size_t i = 0; i < n; i++) {
        if (i)
            delta_add(&d, values[i].len);
        octets += values[i].len;
    }
    delta_block(&d);
    char *at = octets ? base_buf_room(out, octets) : NULL;
    if (!at)
        return;
    for (size_t i = 0; i < n; i++) {
        if (values[i].len)
            memcpy(at, values[i].data, values[i].len);
        at += values[i].len;
    }
    out->len += octets;
}

static void bools_to_bits(uint8_t *bits, const uint8_t *values, size_t n)
{
    for (size_t i = 0; i < n; i += 8) {
        uint8_t octet = 0;
        for (size_t k = 0; k < 8 && i + k < n; k++)
            octet |= (uint8_t)((values[i + k] != 0) << k);
        bits[i / 8] = octet;
    }
}

void encode_plain_bools(base_buf *out, const uint8_t *values, size_t n)
{
    uint8_t *at = n ? (uint8_t *)base_buf_room(out, (n + 7) / 8) : NULL;
    if (!at)
        return;
    bools_to_bits(at, values, n);
    out->len += (n + 7) / 8;
}

/* As runs over parts of the values: hybrids in a row are a hybrid, when each part is a multiple of eight. */
void encode_rle_bools(base_buf *out, const uint8_t *values, size_t n)
{
    size_t begun = encode_prefix_begin(out);
    for (size_t from = 0; from < n; from += 32768) {
        uint8_t bits[4096];
        size_t part = n - from < 32768 ? n - from : 32768;
        bools_to_bits(bits, values + from, part);
        encode_hybrid_bits(out, bits, part);
    }
    encode_prefix_end(out, begun);
}
