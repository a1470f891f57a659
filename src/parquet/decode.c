#include "parquet/decode.h"

#include <endian.h>
#include <string.h>

static uint64_t load64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return le64toh(v);
}

static uint32_t load32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return le32toh(v);
}

/* An unsigned varint that fits 64 bits. */
static bool varint(const uint8_t **at, const uint8_t *end, uint64_t *out)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (*at == end)
            return false;
        uint8_t octet = *(*at)++;
        if (shift == 63 && octet > 1)
            return false;
        v |= (uint64_t)(octet & 0x7f) << shift;
        if (!(octet & 0x80)) {
            *out = v;
            return true;
        }
    }
    return false;
}

static bool zigzag(const uint8_t **at, const uint8_t *end, uint64_t *out)
{
    uint64_t v;
    if (!varint(at, end, &v))
        return false;
    *out = v >> 1 ^ (0 - (v & 1));
    return true;
}

/* ---- runs and bit-packed numbers ---- */

struct decode_hybrid decode_hybrid_of(const struct unpack_ops *ops, const uint8_t *p, size_t len,
                                      unsigned width)
{
    return (struct decode_hybrid){.ops = ops, .at = p, .end = p + len, .width = (uint8_t)width};
}

/* The header of the next run that is not empty. */
static bool next_run(struct decode_hybrid *h)
{
    do {
        uint64_t header;
        if (!varint(&h->at, h->end, &header) || header > UINT32_MAX)
            return false;
        size_t have = (size_t)(h->end - h->at);
        h->used = 0;
        if (header & 1) {
            uint64_t octets = (header >> 1) * h->width;
            h->packed = h->at;
            h->left = (header >> 1) * 8;
            if (octets > have) { /* some writers leave out the padding of the last run */
                octets = have;
                h->left = octets * 8 / h->width;
            }
            h->at += octets;
            if (!h->width) {
                h->packed = NULL;
                h->value = 0;
            }
        } else {
            size_t octets = (h->width + 7U) / 8;
            if (octets > have)
                return false;
            uint32_t v = 0;
            for (size_t i = 0; i < octets; i++)
                v |= (uint32_t)h->at[i] << (8 * i);
            if (h->width < 32 && v >> h->width)
                return false;
            h->at += octets;
            h->packed = NULL;
            h->value = v;
            h->left = header >> 1;
        }
    } while (!h->left);
    return true;
}

/* n values of the current bit-packed run: whole groups go straight to out, the ends through a group of their own. */
static uint32_t unpack_run(struct decode_hybrid *h, uint32_t *out, size_t n)
{
    uint32_t most = 0;
    size_t pos = h->used, left = n;
    while (left) {
        const uint8_t *in = h->packed + pos / 8 * h->width;
        size_t avail = (size_t)(h->end - in), skip = pos % 8, k;
        if (skip || left < 8) {
            uint32_t group[8 + UNPACK_SLACK];
            (void)h->ops->u32(group, in, avail, 8, h->width);
            k = 8 - skip < left ? 8 - skip : left;
            for (size_t i = 0; i < k; i++) {
                out[i] = group[skip + i];
                most = out[i] > most ? out[i] : most;
            }
        } else {
            k = left / 8 * 8;
            uint32_t of_these = h->ops->u32(out, in, avail, k, h->width);
            most = of_these > most ? of_these : most;
        }
        out += k;
        pos += k;
        left -= k;
    }
    return most;
}

bool decode_hybrid_u32(struct decode_hybrid *h, uint32_t *out, size_t n, uint32_t *most)
{
    while (n) {
        if (!h->left && !next_run(h))
            return false;
        size_t k = h->left < n ? (size_t)h->left : n;
        uint32_t of_these = h->value;
        if (h->packed)
            of_these = unpack_run(h, out, k);
        else
            h->ops->fill32(out, k, h->value);
        *most = of_these > *most ? of_these : *most;
        h->used += k;
        h->left -= k;
        out += k;
        n -= k;
    }
    return true;
}

bool decode_hybrid_skip(struct decode_hybrid *h, size_t n)
{
    while (n) {
        if (!h->left && !next_run(h))
            return false;
        size_t k = h->left < n ? (size_t)h->left : n;
        h->used += k;
        h->left -= k;
        n -= k;
    }
    return true;
}

/* k <= 64 bits from bit `from` of p on. Reads no octet in which none of them stands. */
static uint64_t bits_at(const uint8_t *p, size_t from, size_t k)
{
    const uint8_t *at = p + from / 8;
    unsigned shift = from % 8;
    size_t octets = (shift + k + 7) / 8;
    uint64_t v = 0;
    if (octets >= 8) {
        v = load64(at) >> shift;
        if (octets > 8)
            v |= (uint64_t)at[8] << (64 - shift);
    } else {
        for (size_t i = 0; i < octets; i++)
            v |= (uint64_t)at[i] << (8 * i);
        v >>= shift;
    }
    return k < 64 ? v & ((UINT64_C(1) << k) - 1) : v;
}

static void bits_put(uint64_t *bits, size_t pos, size_t k, uint64_t v)
{
    size_t word = pos / 64;
    unsigned shift = pos % 64;
    uint64_t kept = shift ? bits[word] & ((UINT64_C(1) << shift) - 1) : 0;
    bits[word] = kept | v << shift;
    if (shift + k > 64)
        bits[word + 1] = v >> (64 - shift);
}

static void bits_fill(uint64_t *bits, size_t pos, size_t n, bool one)
{
    uint64_t v = one ? UINT64_MAX : 0;
    if (n && pos % 64) {
        size_t k = 64 - pos % 64 < n ? 64 - pos % 64 : n;
        bits_put(bits, pos, k, k < 64 ? v & ((UINT64_C(1) << k) - 1) : v);
        pos += k;
        n -= k;
    }
    for (; n >= 64; n -= 64, pos += 64)
        bits[pos / 64] = v;
    if (n)
        bits[pos / 64] = v & ((UINT64_C(1) << n) - 1);
}

/* The first null: all rows before it are present. */
static void first_null(struct decode_validity *v)
{
    v->nulls = true;
    bits_fill(v->bits, 0, v->n, true);
}

void decode_validity_run(struct decode_validity *v, size_t n, bool present)
{
    if (!present && !v->nulls && n)
        first_null(v);
    if (v->nulls)
        bits_fill(v->bits, v->n, n, present);
    v->n += n;
}

bool decode_validity_levels(struct decode_validity *v, struct decode_hybrid *h, size_t n,
                            size_t *n_present)
{
    size_t present = 0;
    while (n) {
        if (!h->left && !next_run(h))
            return false;
        size_t k = h->left < n ? (size_t)h->left : n;
        if (!h->packed) {
            present += h->value ? k : 0;
            if (v)
                decode_validity_run(v, k, h->value);
        } else {
            for (size_t i = 0; i < k; i += 64) {
                size_t some = k - i < 64 ? k - i : 64;
                uint64_t bits = bits_at(h->packed, h->used + i, some);
                size_t ones = (size_t)__builtin_popcountll(bits);
                present += ones;
                if (!v)
                    continue;
                if (ones < some && !v->nulls)
                    first_null(v);
                if (v->nulls)
                    bits_put(v->bits, v->n, some, bits);
                v->n += some;
            }
        }
        h->used += k;
        h->left -= k;
        n -= k;
    }
    *n_present = present;
    return true;
}

bool decode_bit_packed(const uint8_t *p, size_t len, size_t n, unsigned width, uint8_t *out,
                       size_t *out_len, size_t *used)
{
    if (width == 0 || width > 8 || n > UINT32_MAX)
        return false;
    size_t octets = (n * width + 7) / 8, groups = (n + 7) / 8, at = 0;
    if (octets > len)
        return false;
    uint64_t header = (uint64_t)groups << 1 | 1;
    for (; header >= 0x80; header >>= 7)
        out[at++] = (uint8_t)(header | 0x80);
    out[at++] = (uint8_t)header;
    memset(out + at, 0, groups * width);
    for (size_t i = 0; i < n * width; i++) {
        /* bit i of the input is bit (width - 1 - i % width) of number i / width */
        size_t to = i / width * width + (width - 1 - i % width);
        unsigned bit = p[i / 8] >> (7 - i % 8) & 1;
        out[at + to / 8] = (uint8_t)(out[at + to / 8] | bit << (to % 8));
    }
    *out_len = at + groups * width;
    *used = octets;
    return true;
}

/* ---- DELTA_BINARY_PACKED ---- */

/* The header: geometry, count and first value. */
static bool delta_header(const uint8_t **at, const uint8_t *end, uint64_t *mini_values,
                         uint64_t *n_minis, uint64_t *count, uint64_t *first)
{
    uint64_t block;
    if (!varint(at, end, &block) || !varint(at, end, n_minis) || !varint(at, end, count) ||
        !zigzag(at, end, first))
        return false;
    if (!block || block > INT32_MAX || block % 128 || !*n_minis || block % *n_minis ||
        *count > INT32_MAX)
        return false;
    *mini_values = block / *n_minis;
    return *mini_values % 32 == 0;
}

bool decode_delta_init(struct decode_delta *d, const struct unpack_ops *ops, const uint8_t *p,
                       size_t len, bool wide)
{
    d->ops = ops;
    d->at = p;
    d->end = p + len;
    d->widths = NULL;
    d->step = 0;
    d->n_buffer = d->buffer_at = 0;
    d->most_width = wide ? 64 : 32;
    d->width = 0;
    d->mini_left = 0;
    if (!delta_header(&d->at, d->end, &d->mini_values, &d->n_minis, &d->left, &d->last))
        return false;
    d->mini = d->n_minis;
    d->first = d->left > 0;
    return true;
}

uint64_t decode_delta_left(const struct decode_delta *d)
{
    return d->left + (d->n_buffer - d->buffer_at);
}

/* The next 32 values, or as many as there are left, to out. */
static bool delta_step(struct decode_delta *d, uint64_t *out, size_t *n)
{
    if (d->first) {
        d->first = false;
        d->left--;
        out[0] = d->last;
        *n = 1;
        return true;
    }
    if (!d->mini_left) {
        if (d->mini == d->n_minis) {
            if (!zigzag(&d->at, d->end, &d->step) || (size_t)(d->end - d->at) < d->n_minis)
                return false;
            d->widths = d->at;
            d->at += d->n_minis;
            d->mini = 0;
        }
        d->width = d->widths[d->mini++];
        if (d->width > d->most_width)
            return false;
        d->mini_left = d->mini_values;
    }
    size_t avail = (size_t)(d->end - d->at), k = d->left < 32 ? (size_t)d->left : 32;
    if ((k * d->width + 7) / 8 > avail)
        return false;
    if (d->width <= 32) {
        uint32_t deltas[32 + UNPACK_SLACK];
        (void)d->ops->u32(deltas, d->at, avail, 32, d->width);
        d->last = d->ops->sum64(out, deltas, k, d->last, d->step);
    } else {
        uint64_t deltas[32 + UNPACK_SLACK];
        d->ops->u64(deltas, d->at, avail, 32, d->width);
        for (size_t i = 0; i < k; i++)
            out[i] = d->last += d->step + deltas[i];
    }
    size_t octets = 4U * d->width;
    d->at += octets < avail ? octets : avail;
    d->mini_left -= 32;
    d->left -= k;
    *n = k;
    return true;
}

bool decode_delta_u64(struct decode_delta *d, uint64_t *out, size_t n)
{
    while (n) {
        size_t k = d->n_buffer - d->buffer_at;
        if (k) {
            k = k < n ? k : n;
            memcpy(out, d->buffer + d->buffer_at, k * sizeof *out);
            d->buffer_at += (unsigned)k;
        } else {
            if (!d->left)
                return false;
            if (n >= 32) {
                if (!delta_step(d, out, &k))
                    return false;
            } else {
                if (!delta_step(d, d->buffer, &k))
                    return false;
                d->buffer_at = 0;
                d->n_buffer = (unsigned)k;
                k = 0;
            }
        }
        out += k;
        n -= k;
    }
    return true;
}

bool decode_delta_u32(struct decode_delta *d, uint32_t *out, size_t n)
{
    while (n) {
        uint64_t wide[256 + UNPACK_SLACK];
        size_t k = n < 256 ? n : 256;
        if (!decode_delta_u64(d, wide, k))
            return false;
        for (size_t i = 0; i < k; i++)
            out[i] = (uint32_t)wide[i];
        out += k;
        n -= k;
    }
    return true;
}

bool decode_delta_skip(struct decode_delta *d, size_t n)
{
    while (n) {
        uint64_t some[256 + UNPACK_SLACK];
        size_t k = n < 256 ? n : 256;
        if (!decode_delta_u64(d, some, k))
            return false;
        n -= k;
    }
    return true;
}

bool decode_delta_span(const uint8_t *p, size_t len, bool wide, size_t *span)
{
    const uint8_t *at = p, *end = p + len;
    uint64_t mini_values, n_minis, left, first;
    if (!delta_header(&at, end, &mini_values, &n_minis, &left, &first))
        return false;
    left -= left > 0;
    while (left) {
        uint64_t step;
        if (!zigzag(&at, end, &step) || (size_t)(end - at) < n_minis)
            return false;
        const uint8_t *widths = at;
        at += n_minis;
        for (uint64_t i = 0; i < n_minis && left; i++) {
            if (widths[i] > (wide ? 64 : 32))
                return false;
            uint64_t octets = mini_values / 8 * widths[i];
            if (octets > (size_t)(end - at))
                return false;
            at += octets;
            left -= mini_values < left ? mini_values : left;
        }
    }
    *span = (size_t)(at - p);
    return true;
}

/* ---- octet arrays ---- */

bool decode_plain_bytes(const uint8_t **p, const uint8_t *end, struct parquet_bytes *out, size_t n)
{
    const uint8_t *at = *p;
    for (size_t i = 0; i < n; i++) {
        if (end - at < 4)
            return false;
        uint32_t len = load32(at);
        at += 4;
        if (len > (size_t)(end - at))
            return false;
        out[i] = (struct parquet_bytes){at, len};
        at += len;
    }
    *p = at;
    return true;
}

bool decode_plain_bytes_skip(const uint8_t **p, const uint8_t *end, size_t n)
{
    const uint8_t *at = *p;
    for (size_t i = 0; i < n; i++) {
        if (end - at < 4)
            return false;
        uint32_t len = load32(at);
        at += 4;
        if (len > (size_t)(end - at))
            return false;
        at += len;
    }
    *p = at;
    return true;
}

void decode_fixed_bytes(const uint8_t *p, uint32_t len, struct parquet_bytes *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (struct parquet_bytes){p + i * len, len};
}

bool decode_lengths_init(struct decode_lengths *d, const struct unpack_ops *ops, const uint8_t *p,
                         size_t len)
{
    size_t span;
    if (!decode_delta_span(p, len, false, &span) ||
        !decode_delta_init(&d->lengths, ops, p, span, false))
        return false;
    d->at = p + span;
    d->end = p + len;
    return true;
}

bool decode_lengths_read(struct decode_lengths *d, struct parquet_bytes *out, size_t n)
{
    const uint8_t *at = d->at;
    while (n) {
        uint64_t lens[256 + UNPACK_SLACK];
        size_t k = n < 256 ? n : 256;
        if (!decode_delta_u64(&d->lengths, lens, k))
            return false;
        for (size_t i = 0; i < k; i++) {
            uint32_t len = (uint32_t)lens[i];
            if (len > (size_t)(d->end - at))
                return false;
            out[i] = (struct parquet_bytes){at, len};
            at += len;
        }
        out += k;
        n -= k;
    }
    d->at = at;
    return true;
}

bool decode_lengths_skip(struct decode_lengths *d, size_t n)
{
    while (n) {
        struct parquet_bytes some[256];
        size_t k = n < 256 ? n : 256;
        if (!decode_lengths_read(d, some, k))
            return false;
        n -= k;
    }
    return true;
}

bool decode_prefixes_init(struct decode_prefixes *d, const struct unpack_ops *ops, const uint8_t *p,
                          size_t len)
{
    size_t span;
    return decode_delta_span(p, len, false, &span) &&
           decode_delta_init(&d->prefixes, ops, p, span, false) &&
           decode_lengths_init(&d->suffixes, ops, p + span, len - span);
}

bool decode_prefixes_plan(struct decode_prefixes *d, uint32_t *prefixes,
                          struct parquet_bytes *suffixes, size_t n, struct parquet_bytes last,
                          uint64_t *octets)
{
    if (!decode_delta_u32(&d->prefixes, prefixes, n) ||
        !decode_lengths_read(&d->suffixes, suffixes, n))
        return false;
    uint64_t sum = 0, before = last.len;
    for (size_t i = 0; i < n; i++) {
        if (prefixes[i] > before)
            return false;
        before = (uint64_t)prefixes[i] + suffixes[i].len;
        if (before > INT32_MAX)
            return false;
        sum += before;
    }
    *octets = sum;
    return true;
}

void decode_prefixes_fill(uint8_t *memory, const uint32_t *prefixes, struct parquet_bytes *values,
                          size_t n, struct parquet_bytes last)
{
    for (size_t i = 0; i < n; i++) {
        struct parquet_bytes suffix = values[i];
        if (prefixes[i])
            memcpy(memory, last.data, prefixes[i]);
        if (suffix.len)
            memcpy(memory + prefixes[i], suffix.data, suffix.len);
        values[i] = last = (struct parquet_bytes){memory, prefixes[i] + suffix.len};
        memory += last.len;
    }
}

/* ---- the rest ---- */

void decode_bits(const uint8_t *p, size_t from, uint8_t *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = p[(from + i) / 8] >> ((from + i) % 8) & 1;
}

void decode_split(const uint8_t *p, size_t total, size_t from, uint8_t *out, size_t n, size_t width)
{
    if (width == 4) {
        const uint8_t *a = p + from, *b = a + total, *c = b + total, *d = c + total;
        for (size_t i = 0; i < n; i++) {
            out[4 * i] = a[i];
            out[4 * i + 1] = b[i];
            out[4 * i + 2] = c[i];
            out[4 * i + 3] = d[i];
        }
        return;
    }
    /* A stream at a time over pieces of the output that stay in the cache. */
    for (size_t begin = 0; begin < n; begin += 512) {
        size_t k = n - begin < 512 ? n - begin : 512;
        for (size_t j = 0; j < width; j++) {
            const uint8_t *in = p + j * total + from + begin;
            uint8_t *to = out + begin * width + j;
            for (size_t i = 0; i < k; i++)
                to[i * width] = in[i];
        }
    }
}

void decode_expand8(uint8_t *slots, const uint64_t *valid, size_t n, size_t m)
{
    for (size_t i = n; i-- > 0;) {
        bool bit = parquet_bit(valid, i);
        m -= bit;
        slots[i] = bit ? slots[m] : 0;
    }
}

void decode_expand_bytes(struct parquet_bytes *slots, const uint64_t *valid, size_t n, size_t m)
{
    for (size_t i = n; i-- > 0;) {
        if (parquet_bit(valid, i))
            slots[i] = slots[--m];
        else
            slots[i] = (struct parquet_bytes){0};
    }
}
