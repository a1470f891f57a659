#include "parquet/bounds.h"

#include "parquet/minmax.h"

#include <math.h>

static void set(struct bounds *b, const void *min, const void *max, uint8_t len)
{
    b->known = true;
    memcpy(b->min.octets, min, len);
    memcpy(b->max.octets, max, len);
    b->min.len = b->max.len = len;
    b->min.exact = b->max.exact = true;
}

#define INT_BOUNDS(bits)                                                                           \
    do {                                                                                           \
        uint##bits##_t low_, high_,                                                                \
            flip_ = is_unsigned ? (uint##bits##_t)0 : (uint##bits##_t)(UINT64_C(1) << (bits - 1)); \
        minmax_best()->u##bits(values, n, flip_, &low_, &high_);                                   \
        low_ ^= flip_;                                                                             \
        high_ ^= flip_;                                                                            \
        min = is_unsigned ? low_ : (uint64_t)(int##bits##_t)low_;                                  \
        max = is_unsigned ? high_ : (uint64_t)(int##bits##_t)high_;                                \
    } while (0)

void bounds_of_ints(struct bounds *b, const void *values, unsigned width, bool is_unsigned,
                    bool is64, size_t n)
{
    uint64_t min, max;
    b->known = false;
    if (!n)
        return;
    switch (width) {
    case 1:
        INT_BOUNDS(8);
        break;
    case 2:
        INT_BOUNDS(16);
        break;
    case 4:
        INT_BOUNDS(32);
        break;
    default:
        INT_BOUNDS(64);
    }
    set(b, &min, &max, is64 ? 8 : 4); /* little-endian: the low octets */
}

/* NaN has no place in the order; a zero may be either zero to a reader, so bounds take the wider one. */
#define FLOAT_BOUNDS(b, values, n, type)                                                           \
    do {                                                                                           \
        type min_ = (type)INFINITY, max_ = (type)-INFINITY;                                        \
        (b)->known = false;                                                                        \
        for (size_t i_ = 0; i_ < (n); i_++) {                                                      \
            type v_ = (values)[i_];                                                                \
            if (isnan(v_))                                                                         \
                continue;                                                                          \
            (b)->known = true;                                                                     \
            min_ = v_ < min_ ? v_ : min_;                                                          \
            max_ = v_ > max_ ? v_ : max_;                                                          \
        }                                                                                          \
        if (min_ == 0)                                                                             \
            min_ = (type)-0.0;                                                                     \
        if (max_ == 0)                                                                             \
            max_ = 0;                                                                              \
        if ((b)->known)                                                                            \
            set(b, &min_, &max_, sizeof min_);                                                     \
    } while (0)

void bounds_of_float(struct bounds *b, const float *values, size_t n)
{
    FLOAT_BOUNDS(b, values, n, float);
}

void bounds_of_double(struct bounds *b, const double *values, size_t n)
{
    FLOAT_BOUNDS(b, values, n, double);
}

void bounds_of_bools(struct bounds *b, const uint8_t *values, size_t n)
{
    uint8_t min = 1, max = 0;
    b->known = false;
    if (!n)
        return;
    for (size_t i = 0; i < n; i++) {
        uint8_t v = values[i] != 0;
        min &= v;
        max |= v;
    }
    set(b, &min, &max, 1);
}

int bounds_compare_bytes(struct parquet_bytes a, struct parquet_bytes b)
{
    uint32_t len = a.len < b.len ? a.len : b.len;
    int order = len ? memcmp(a.data, b.data, len) : 0;
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

/* Octets of the UTF-8 character that starts at p, or 0 when none does. RFC 3629 section 4. */
static unsigned utf8_len(const uint8_t *p, size_t left)
{
    unsigned n = p[0] < 0x80   ? 1
                 : p[0] < 0xc2 ? 0
                 : p[0] < 0xe0 ? 2
                 : p[0] < 0xf0 ? 3
                 : p[0] < 0xf5 ? 4
                               : 0;
    if (n == 0 || n > left)
        return 0;
    for (unsigned i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if (n > 2 && ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
                  (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f)))
        return 0;
    return n;
}

static uint32_t utf8_decode(const uint8_t *p, unsigned n)
{
    if (n == 1)
        return p[0];
    uint32_t c = p[0] & (0xffu >> (n + 1));
    for (unsigned i = 1; i < n; i++)
        c = c << 6 | (p[i] & 0x3f);
    return c;
}

static unsigned utf8_encode(uint32_t c, uint8_t *out)
{
    unsigned n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (unsigned i = n; i-- > 1; c >>= 6)
        out[i] = (uint8_t)(0x80 | (c & 0x3f));
    static const uint8_t lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    out[0] = (uint8_t)(lead[n] | c);
    return n;
}

/* The whole characters among the first BOUNDS_OCTETS octets, or 0 when they are not UTF-8. *last: where the last one
 * starts. */
static uint8_t utf8_prefix(struct parquet_bytes v, uint8_t *last)
{
    uint8_t at = 0;
    *last = 0;
    for (;;) {
        unsigned n = utf8_len(v.data + at, v.len - at);
        if (at + n > BOUNDS_OCTETS)
            return at;
        if (n == 0)
            return 0;
        *last = at;
        at = (uint8_t)(at + n);
    }
}

/* The least octets, no longer than BOUNDS_OCTETS and a character more, that are above all that start with the first
 * len of v. False: there are none. */
static bool step_up_text(struct bounds_value *v)
{
    while (v->len) {
        uint8_t start = (uint8_t)(v->len - 1);
        while (start && (v->octets[start] & 0xc0) == 0x80)
            start--;
        uint32_t c = utf8_decode(v->octets + start, v->len - start) + 1;
        if (c == 0xd800)
            c = 0xe000; /* no characters in between */
        if (c <= 0x10ffff) {
            v->len = (uint8_t)(start + utf8_encode(c, v->octets + start));
            return true;
        }
        v->len = start;
    }
    return false;
}

static bool step_up_octets(struct bounds_value *v)
{
    while (v->len && v->octets[v->len - 1] == 0xff)
        v->len--;
    if (!v->len)
        return false;
    v->octets[v->len - 1]++;
    return true;
}

/* The value, or what is kept of a long one. */
static bool shorten(struct bounds_value *out, struct parquet_bytes v, bool text, bool up)
{
    uint8_t last = 0;
    out->exact = v.len <= BOUNDS_OCTETS;
    out->len = out->exact ? (uint8_t)v.len : BOUNDS_OCTETS;
    uint8_t whole = !out->exact && text ? utf8_prefix(v, &last) : 0;
    if (whole)
        out->len = whole;
    if (out->len)
        memcpy(out->octets, v.data, out->len);
    if (out->exact || !up)
        return true;
    return whole ? step_up_text(out) : step_up_octets(out);
}

void bounds_of_bytes(struct bounds *b, struct parquet_bytes min, struct parquet_bytes max,
                     bool text)
{
    bool up = shorten(&b->max, max, text, true);
    b->known = shorten(&b->min, min, text, false) && up;
}

static int compare_float(double a, double b)
{
    return (a > b) - (a < b);
}

int bounds_compare(const struct parquet_column *c, const struct bounds_value *a,
                   const struct bounds_value *b)
{
    uint64_t u[2] = {0};
    float f[2];
    double d[2];
    switch ((enum parquet_type)c->type) {
    case PARQUET_INT32:
        memcpy(&u[0], a->octets, 4);
        memcpy(&u[1], b->octets, 4);
        if (!c->unsigned_order)
            return ((int32_t)u[0] > (int32_t)u[1]) - ((int32_t)u[0] < (int32_t)u[1]);
        return (u[0] > u[1]) - (u[0] < u[1]);
    case PARQUET_INT64:
        memcpy(&u[0], a->octets, 8);
        memcpy(&u[1], b->octets, 8);
        if (!c->unsigned_order)
            return ((int64_t)u[0] > (int64_t)u[1]) - ((int64_t)u[0] < (int64_t)u[1]);
        return (u[0] > u[1]) - (u[0] < u[1]);
    case PARQUET_FLOAT:
        memcpy(&f[0], a->octets, 4);
        memcpy(&f[1], b->octets, 4);
        return compare_float((double)f[0], (double)f[1]);
    case PARQUET_DOUBLE:
        memcpy(&d[0], a->octets, 8);
        memcpy(&d[1], b->octets, 8);
        return compare_float(d[0], d[1]);
    case PARQUET_BOOLEAN:
    case PARQUET_INT96:
    case PARQUET_BYTE_ARRAY:
    case PARQUET_FIXED:
        break;
    }
    return bounds_compare_bytes((struct parquet_bytes){a->octets, a->len},
                                (struct parquet_bytes){b->octets, b->len});
}

static void widen(struct bounds_value *v, const struct bounds_value *more, int order)
{
    if (order == 0)
        v->exact = v->exact || more->exact;
    else if (order > 0)
        *v = *more;
}

void bounds_join(const struct parquet_column *c, struct bounds *b, const struct bounds *more)
{
    if (!more->known)
        return;
    if (!b->known) {
        *b = *more;
        return;
    }
    widen(&b->min, &more->min, bounds_compare(c, &b->min, &more->min));
    widen(&b->max, &more->max, bounds_compare(c, &more->max, &b->max));
}
