#include "flow/load.h"

#include <endian.h>
#include <weir/record.h>

enum { CHUNK = FLOW_KERNEL_KEYS };

#define be8toh(v) (v)

/* One loop for each width on the wire and in the column; a compiler makes the best of each. The arrays do not overlap. */
#define LOAD(from, to)                                                                             \
    static void load_##from##_##to(void *restrict out, const struct flow_run *in)                  \
    {                                                                                              \
        uint##to##_t *restrict values = out;                                                       \
        const uint8_t *restrict p = in->at;                                                        \
        for (uint32_t i = 0; i < in->n; i++) {                                                     \
            uint##from##_t v;                                                                      \
            memcpy(&v, p + i * in->stride, sizeof v);                                              \
            values[i] = (uint##to##_t)be##from##toh(v);                                            \
        }                                                                                          \
    }
/* All values or-ed: tells whether one has bits that a narrower column has not. */
#define LOADS(from)                                                                                \
    LOAD(from, 8)                                                                                  \
    LOAD(from, 16)                                                                                 \
    LOAD(from, 32)                                                                                 \
    LOAD(from, 64)                                                                                 \
    static uint64_t all_##from(const struct flow_run *in)                                          \
    {                                                                                              \
        uint##from##_t all = 0;                                                                    \
        for (uint32_t i = 0; i < in->n; i++) {                                                     \
            uint##from##_t v;                                                                      \
            memcpy(&v, in->at + i * in->stride, sizeof v);                                         \
            all |= v;                                                                              \
        }                                                                                          \
        return be##from##toh(all);                                                                 \
    }
LOADS(8)
LOADS(16)
LOADS(32)
LOADS(64)

/* Widths that are no power of two. */
#define LOAD_ODD(to)                                                                               \
    static void load_odd_##to(void *restrict out, const struct flow_run *in)                       \
    {                                                                                              \
        uint##to##_t *restrict values = out;                                                       \
        for (uint32_t i = 0; i < in->n; i++)                                                       \
            values[i] = (uint##to##_t)weir_be(in->at + i * in->stride, in->len);                   \
    }
LOAD_ODD(8)
LOAD_ODD(16)
LOAD_ODD(32)
LOAD_ODD(64)

static uint64_t all_odd(const struct flow_run *in)
{
    uint64_t all = 0;
    for (uint32_t i = 0; i < in->n; i++)
        all |= weir_be(in->at + i * in->stride, in->len);
    return all;
}

typedef uint64_t all_fn(const struct flow_run *in);
typedef void load_fn(void *restrict out, const struct flow_run *in);

/* clang-format off */
static const struct {
    all_fn *all;
    load_fn *load[4]; /* into 1, 2, 4 and 8 octets */
} kernels[9] = {
    [1] = {all_8, {load_8_8, load_8_16, load_8_32, load_8_64}},
    [2] = {all_16, {load_16_8, load_16_16, load_16_32, load_16_64}},
    [3] = {all_odd, {load_odd_8, load_odd_16, load_odd_32, load_odd_64}},
    [4] = {all_32, {load_32_8, load_32_16, load_32_32, load_32_64}},
    [5] = {all_odd, {load_odd_8, load_odd_16, load_odd_32, load_odd_64}},
    [6] = {all_odd, {load_odd_8, load_odd_16, load_odd_32, load_odd_64}},
    [7] = {all_odd, {load_odd_8, load_odd_16, load_odd_32, load_odd_64}},
    [8] = {all_64, {load_64_8, load_64_16, load_64_32, load_64_64}},
};
/* clang-format on */

enum flow_loaded flow_load_uint(flow_batch *b, struct flow_col *c, uint32_t row,
                                const struct flow_run *in)
{
    if (in->len > c->width && kernels[in->len].all(in) >> 8 * c->width)
        return FLOW_LOAD_MISFIT;
    void *out = flow_col_append(b, c, row, in->n);
    if (!out)
        return FLOW_LOAD_NOMEM;
    kernels[in->len].load[__builtin_ctz(c->width)](out, in);
    return FLOW_LOADED;
}

/* ---- dictionaries ---- */

/* Chunk by chunk: the buckets of one are on their way from memory while another's are looked at. */
bool flow_codes4(flow_batch *b, struct flow_keys *k, const uint32_t *keys, uint32_t n,
                 uint32_t *codes)
{
    uint32_t hashes[2][CHUNK];
    uint32_t missed[CHUNK], before = k->n;
    if (!k->buckets && !flow_keys_reserve(b, k, 1, 4))
        return false;
    b->kernels->hash4(k, b->seed, keys, n < CHUNK ? n : CHUNK, hashes[0]);
    for (uint32_t from = 0; from < n; from += CHUNK) {
        uint32_t now = n - from < CHUNK ? n - from : CHUNK, left = n - from - now;
        const uint32_t *these = hashes[from / CHUNK % 2];
        b->kernels->hash4(k, b->seed, keys + from + now, left < CHUNK ? left : CHUNK,
                          hashes[(from / CHUNK + 1) % 2]);
        uint32_t n_missed = b->kernels->find4(k, keys + from, these, now, codes + from, missed);
        if (n_missed == 0)
            continue;
        if (!flow_keys_reserve(b, k, n_missed, 4))
            return false;
        b->kernels->put4(k, keys + from, these, missed, n_missed, codes + from);
    }
    b->octets += (size_t)(k->n - before) * (FLOW_KEY_COST + 4);
    return true;
}

static bool load_4(flow_batch *b, struct flow_col *c, uint32_t *codes, const struct flow_run *in)
{
    enum { MANY = 8 * CHUNK };
    uint32_t keys[MANY];
    for (uint32_t from = 0; from < in->n; from += MANY) {
        uint32_t n = in->n - from < MANY ? in->n - from : MANY;
        for (uint32_t i = 0; i < n; i++)
            memcpy(&keys[i], in->at + (from + i) * in->stride, 4);
        if (!flow_codes4(b, &c->keys, keys, n, codes + from))
            return false;
    }
    return true;
}

static bool load_16(flow_batch *b, struct flow_col *c, uint32_t *codes, const struct flow_run *in)
{
    struct flow_keys *k = &c->keys;
    uint64_t hashes[2][CHUNK];
    uint32_t missed[CHUNK], before = k->n;
    if (!k->buckets && !flow_keys_reserve(b, k, 1, 16))
        return false;
    b->kernels->hash16(k, b->seed, in->at, in->stride, in->n < CHUNK ? in->n : CHUNK, hashes[0]);
    for (uint32_t from = 0; from < in->n; from += CHUNK) {
        uint32_t n = in->n - from < CHUNK ? in->n - from : CHUNK, left = in->n - from - n;
        const uint8_t *keys = in->at + from * in->stride;
        const uint64_t *these = hashes[from / CHUNK % 2];
        if (left)
            b->kernels->hash16(k, b->seed, keys + n * in->stride, in->stride,
                               left < CHUNK ? left : CHUNK, hashes[(from / CHUNK + 1) % 2]);
        uint32_t n_missed = b->kernels->find16(k, keys, in->stride, these, n, codes + from, missed);
        if (n_missed == 0)
            continue;
        if (!flow_keys_reserve(b, k, n_missed, 16))
            return false;
        b->kernels->put16(k, keys, in->stride, these, missed, n_missed, codes + from);
    }
    b->octets += (size_t)(k->n - before) * (FLOW_KEY_COST + 16);
    return true;
}

enum flow_loaded flow_load_keys(flow_batch *b, struct flow_col *c, uint32_t row,
                                const struct flow_run *in)
{
    uint32_t *codes = flow_col_append(b, c, row, in->n);
    bool ok = codes;
    if (ok && in->len == 4) {
        ok = load_4(b, c, codes, in);
    } else if (ok && in->len == 16) {
        ok = load_16(b, c, codes, in);
    } else {
        for (uint32_t i = 0; ok && i < in->n; i++) {
            const uint8_t *key = in->at + i * in->stride;
            codes[i] = flow_keys_put(b, c, key, in->len, flow_key_hash(b, key, in->len));
            ok = codes[i] != UINT32_MAX;
        }
    }
    return ok ? FLOW_LOADED : FLOW_LOAD_NOMEM;
}

bool flow_fill_u64(flow_batch *b, uint32_t column, uint32_t row, uint32_t n, uint64_t v)
{
    struct flow_col *c = &b->cols[column];
    void *out = flow_col_append(b, c, row, n);
    if (!out)
        return false;
    if (row + n == c->n && n > 1) { /* nothing stands behind it */
        b->kernels->fill(out, c->width, v, n);
        return true;
    }
    for (uint32_t i = 0; i < n; i++)
        memcpy((uint8_t *)out + (size_t)i * c->width, &v, c->width);
    return true;
}

/* Whole blocks are written: what is too much of a span is its successor's, or in the slack behind the column. */
#define FILL(width)                                                                                \
    static void fill_##width(void *restrict out, const struct flow_span *spans,                    \
                             const uint64_t *values, uint32_t n)                                   \
    {                                                                                              \
        uint##width##_t *restrict to = out;                                                        \
        enum { BLOCK = FLOW_SLACK * 8 / width };                                                   \
        for (uint32_t i = 0; i < n; i++) {                                                         \
            uint##width##_t block[BLOCK], v = (uint##width##_t)values[i];                          \
            for (unsigned k = 0; k < BLOCK; k++)                                                   \
                block[k] = v;                                                                      \
            for (uint32_t k = 0; k < spans[i].n; k += BLOCK)                                       \
                memcpy(to + spans[i].start + k, block, sizeof block);                              \
        }                                                                                          \
    }
FILL(8)
FILL(16)
FILL(32)
FILL(64)

bool flow_fill_spans(flow_batch *b, uint32_t column, uint32_t row, uint32_t n,
                     const struct flow_span *spans, const uint64_t *values, uint32_t n_spans)
{
    uint64_t other = 0;
    for (uint32_t i = 1; i < n_spans; i++)
        other |= values[i] ^ values[0];
    if (!other)
        return flow_fill_u64(b, column, row, n, values[0]);
    struct flow_col *c = &b->cols[column];
    void *out = flow_col_append(b, c, row, n);
    if (!out)
        return false;
    switch (c->width) {
    case 1:
        fill_8(out, spans, values, n_spans);
        break;
    case 2:
        fill_16(out, spans, values, n_spans);
        break;
    case 4:
        fill_32(out, spans, values, n_spans);
        break;
    default:
        fill_64(out, spans, values, n_spans);
        break;
    }
    return true;
}
