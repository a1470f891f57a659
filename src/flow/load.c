#include "flow/load.h"

#include <endian.h>
#include <weir/record.h>

enum { CHUNK = 64 };

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

/* clang-format off */
static const struct {
    all_fn *all;
    flow_load_fn *load[4]; /* into 1, 2, 4 and 8 octets */
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

flow_load_fn *flow_load_uint_fn(uint32_t len, size_t width)
{
    return kernels[len].load[__builtin_ctz((unsigned)width)];
}

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

/* IPv4 addresses: the slots of a chunk are on their way from memory before the first one is looked at. */
static bool load_4(flow_batch *b, struct flow_col *c, uint32_t *restrict codes,
                   const struct flow_run *in)
{
    for (uint32_t from = 0; from < in->n; from += CHUNK) {
        uint32_t n = in->n - from < CHUNK ? in->n - from : CHUNK;
        uint32_t keys[CHUNK];
        uint64_t hashes[CHUNK];
        const uint8_t *p = in->at + from * in->stride;
        for (uint32_t i = 0; i < n; i++) {
            memcpy(&keys[i], p + i * in->stride, 4);
            hashes[i] = flow_hash4(b, keys[i]);
            if (c->keys.mask)
                __builtin_prefetch(&c->keys.slots[(uint32_t)hashes[i] & c->keys.mask]);
        }
        for (uint32_t i = 0; i < n; i++) {
            uint32_t code = flow_keys_find4(&c->keys, keys[i], hashes[i]);
            if (code == UINT32_MAX) {
                code = flow_keys_add(b, c, &keys[i], 4, hashes[i]);
                if (code == UINT32_MAX)
                    return false;
            }
            codes[from + i] = code;
        }
    }
    return true;
}

/* Longer keys lie apart from their slots: one step of the way to them after the other for all of a chunk. */
static bool load_16(flow_batch *b, struct flow_col *c, uint32_t *restrict codes,
                    const struct flow_run *in)
{
    const struct flow_keys *k = &c->keys;
    for (uint32_t from = 0; from < in->n; from += CHUNK) {
        uint32_t n = in->n - from < CHUNK ? in->n - from : CHUNK;
        uint64_t hashes[CHUNK];
        uint32_t likely[CHUNK];
        const uint8_t *p = in->at + from * in->stride;
        for (uint32_t i = 0; i < n; i++) {
            hashes[i] = flow_hash16(b, p + i * in->stride);
            if (k->mask)
                __builtin_prefetch(&k->slots[(uint32_t)hashes[i] & k->mask]);
        }
        for (uint32_t i = 0; k->mask && i < n; i++) {
            uint32_t code = k->slots[(uint32_t)hashes[i] & k->mask].code & ~FLOW_SLOT_FOUR;
            likely[i] = code ? code - 1 : 0;
            __builtin_prefetch(&k->starts[likely[i]]);
        }
        for (uint32_t i = 0; k->n && i < n; i++)
            __builtin_prefetch(&k->octets[k->starts[likely[i]]]);
        for (uint32_t i = 0; i < n; i++) {
            codes[from + i] = flow_keys_put(b, c, p + i * in->stride, 16, hashes[i]);
            if (codes[from + i] == UINT32_MAX)
                return false;
        }
    }
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
    switch (c->width) {
    case 1:
        memset(out, (int)(v & 0xff), n);
        break;
    case 2: {
        uint16_t *values = out;
        for (uint32_t i = 0; i < n; i++)
            values[i] = (uint16_t)v;
        break;
    }
    case 4: {
        uint32_t *values = out;
        for (uint32_t i = 0; i < n; i++)
            values[i] = (uint32_t)v;
        break;
    }
    default: {
        uint64_t *values = out;
        for (uint32_t i = 0; i < n; i++)
            values[i] = v;
        break;
    }
    }
    return true;
}

bool flow_fill_key(flow_batch *b, uint32_t column, uint32_t row, uint32_t n, const void *key,
                   uint32_t len)
{
    uint32_t code = flow_batch_key(b, column, key, len);
    return code != UINT32_MAX && flow_fill_u64(b, column, row, n, code);
}
