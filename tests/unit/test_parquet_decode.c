/* The decodings of Parquet pages, each against a slow encoder or decoder of its own; inputs end where their allocation
 * ends, so that a sanitizer sees an octet too many. */
#include "parquet/decode.h"

#include "base/cpu.h"
#include "unit.h"

#include <string.h>

static uint64_t state;

static uint64_t random64(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state * UINT64_C(0x2545f4914f6cdd1d);
}

static size_t below(size_t n)
{
    return (size_t)(random64() % n);
}

/* A growing run of octets. */
struct octets {
    uint8_t *p;
    size_t len, cap;
};

static void put(struct octets *o, uint8_t v)
{
    if (o->len == o->cap) {
        o->cap = o->cap ? 2 * o->cap : 64;
        o->p = realloc(o->p, o->cap);
        assert_non_null(o->p);
    }
    o->p[o->len++] = v;
}

static void put_varint(struct octets *o, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        put(o, (uint8_t)(v | 0x80));
    put(o, (uint8_t)v);
}

static void put_zigzag(struct octets *o, uint64_t v)
{
    put_varint(o, v << 1 ^ (0 - (v >> 63)));
}

/* n numbers of `width` bits from the least significant on. */
static void put_packed(struct octets *o, const uint64_t *values, size_t n, unsigned width)
{
    uint8_t now = 0;
    unsigned used = 0;
    for (size_t i = 0; i < n; i++)
        for (unsigned b = 0; b < width; b++) {
            now = (uint8_t)(now | (values[i] >> b & 1) << used);
            if (++used == 8) {
                put(o, now);
                now = 0;
                used = 0;
            }
        }
    if (used)
        put(o, now);
}

/* The octets in an allocation of their length. */
static uint8_t *tight(struct octets *o)
{
    uint8_t *p = malloc(o->len ? o->len : 1);
    assert_non_null(p);
    if (o->len)
        memcpy(p, o->p, o->len);
    free(o->p);
    o->p = NULL;
    o->cap = 0;
    return p;
}

static uint64_t bits_of(unsigned width)
{
    return width < 64 ? random64() & ((UINT64_C(1) << width) - 1) : random64();
}

static const struct unpack_ops *kernels[2];
static size_t n_kernels;

static int set_up(void **unused)
{
    (void)unused;
    state = UINT64_C(88172645463325252);
    n_kernels = 0;
    kernels[n_kernels++] = unpack_generic();
    if (unpack_avx2() && base_cpu_has_avx2())
        kernels[n_kernels++] = unpack_avx2();
    return 0;
}

static void test_best_is_one_of_them(void **unused)
{
    (void)unused;
    assert_ptr_equal(unpack_best(), kernels[n_kernels - 1]);
}

/* ---- kernels ---- */

static void test_unpack_every_width(void **unused)
{
    (void)unused;
    enum { MOST = 200 };
    for (unsigned width = 0; width <= 64; width++) {
        for (size_t n = 0; n <= MOST; n += 8) {
            uint64_t want[MOST];
            struct octets o = {0};
            uint64_t most = 0;
            for (size_t i = 0; i < n; i++) {
                want[i] = bits_of(width);
                most = want[i] > most ? want[i] : most;
            }
            put_packed(&o, want, n, width);
            uint8_t *in = tight(&o);
            for (size_t k = 0; k < n_kernels; k++) {
                uint32_t out[MOST + UNPACK_SLACK];
                uint64_t out64[MOST + UNPACK_SLACK];
                kernels[k]->u64(out64, in, o.len, n, width);
                UNIT_CHECK(n == 0 || memcmp(out64, want, n * 8) == 0,
                           "%s: 64 bits, width %u, n %zu", kernels[k]->name, width, n);
                if (width > 32)
                    continue;
                uint32_t got = kernels[k]->u32(out, in, o.len, n, width);
                UNIT_CHECK(got == most, "%s: width %u, n %zu: most %u, not %llu", kernels[k]->name,
                           width, n, got, (unsigned long long)most);
                for (size_t i = 0; i < n; i++)
                    UNIT_CHECK(out[i] == want[i], "%s: width %u, n %zu: number %zu",
                               kernels[k]->name, width, n, i);
            }
            free(in);
        }
    }
}

/* What is behind the input counts as 0. */
static void test_unpack_short_input(void **unused)
{
    (void)unused;
    for (unsigned width = 1; width <= 64; width++) {
        uint64_t want[64];
        for (size_t i = 0; i < 64; i++)
            want[i] = bits_of(width);
        struct octets o = {0};
        put_packed(&o, want, 64, width);
        size_t len = below(o.len);
        memset(o.p + len, 0, o.len - len);
        uint8_t *in = malloc(len ? len : 1);
        assert_non_null(in);
        if (len)
            memcpy(in, o.p, len);
        for (size_t k = 0; k < n_kernels; k++) {
            uint64_t whole[64 + UNPACK_SLACK], cut[64 + UNPACK_SLACK];
            kernels[k]->u64(whole, o.p, o.len, 64, width);
            kernels[k]->u64(cut, in, len, 64, width);
            UNIT_CHECK(memcmp(whole, cut, 64 * 8) == 0, "%s: width %u, %zu octets",
                       kernels[k]->name, width, len);
        }
        free(in);
        free(o.p);
    }
}

static void test_twins_agree(void **unused)
{
    (void)unused;
    enum { N = 1000 };
    const struct unpack_ops *a = kernels[0], *b = kernels[n_kernels - 1];
    static uint8_t in[N * 4];
    static uint32_t a32[N + UNPACK_SLACK], b32[N + UNPACK_SLACK], table[256];
    static uint64_t a64[N + UNPACK_SLACK], b64[N + UNPACK_SLACK], table64[256];
    for (size_t round = 0; round < 300; round++) {
        for (size_t i = 0; i < sizeof in; i++)
            in[i] = (uint8_t)random64();
        unsigned width = (unsigned)below(33);
        size_t n = below(N / 8 + 1) * 8, avail = below(sizeof in + 1);
        assert_int_equal(a->u32(a32, in, avail, n, width), b->u32(b32, in, avail, n, width));
        assert_memory_equal(a32, b32, n * 4);
        a->fill32(a32, n, (uint32_t)round);
        b->fill32(b32, n, (uint32_t)round);
        assert_memory_equal(a32, b32, n * 4);
        uint64_t last = random64(), step = random64();
        (void)a->u32(a32, in, sizeof in, N, 32);
        n = below(N);
        assert_true(a->sum64(a64, a32, n, last, step) == b->sum64(b64, a32, n, last, step));
        assert_memory_equal(a64, b64, n * 8);
        for (size_t i = 0; i < 256; i++)
            table[i] = (uint32_t)(table64[i] = random64());
        for (size_t i = 0; i < N; i++)
            a32[i] = in[i];
        a->gather32(b32, a32, N, table);
        for (size_t i = 0; i < N; i++)
            assert_int_equal(b32[i], table[in[i]]);
        b->gather64(b64, a32, N, table64);
        for (size_t i = 0; i < N; i++)
            assert_true(b64[i] == table64[in[i]]);
    }
}

static void test_expand(void **unused)
{
    (void)unused;
    enum { N = 400 };
    for (size_t round = 0; round < 2000; round++) {
        size_t n = below(N + 1), m = 0;
        unsigned share = (unsigned)below(9);
        uint64_t valid[N / 64 + 2], values[N];
        memset(valid, 0xff, sizeof valid); /* bits behind n mean nothing */
        for (size_t i = 0; i < n; i++) {
            if (below(8) < share)
                values[m++] = random64();
            else
                valid[i / 64] &= ~(UINT64_C(1) << (i % 64));
        }
        for (size_t k = 0; k < n_kernels; k++) {
            uint32_t s32[N + UNPACK_SLACK];
            uint64_t s64[N + UNPACK_SLACK];
            uint8_t s8[N + UNPACK_SLACK];
            struct parquet_bytes sb[N + UNPACK_SLACK];
            for (size_t i = 0; i < m; i++) {
                s32[i] = (uint32_t)values[i];
                s64[i] = values[i];
                s8[i] = (uint8_t)values[i];
                sb[i] = (struct parquet_bytes){NULL, (uint32_t)values[i]};
            }
            kernels[k]->expand32(s32, valid, n, m);
            kernels[k]->expand64(s64, valid, n, m);
            decode_expand8(s8, valid, n, m);
            decode_expand_bytes(sb, valid, n, m);
            for (size_t i = 0, at = 0; i < n; i++) {
                uint64_t want = parquet_bit(valid, i) ? values[at++] : 0;
                UNIT_CHECK(s64[i] == want && s32[i] == (uint32_t)want && s8[i] == (uint8_t)want &&
                               sb[i].len == (uint32_t)want,
                           "%s: slot %zu of %zu with %zu values", kernels[k]->name, i, n, m);
            }
        }
    }
}

/* ---- runs and bit-packed numbers ---- */

/* n values of that width in random runs. */
static uint8_t *make_hybrid(uint64_t *values, size_t n, unsigned width, size_t *len)
{
    struct octets o = {0};
    for (size_t at = 0; at < n;) {
        size_t k = 1 + below(below(3) ? 40 : 500);
        if (below(2)) {
            k = k < n - at ? k : n - at;
            uint64_t v = bits_of(width);
            put_varint(&o, (uint64_t)k << 1);
            for (unsigned i = 0; i < (width + 7) / 8; i++)
                put(&o, (uint8_t)(v >> (8 * i)));
            for (size_t i = 0; i < k; i++)
                values[at + i] = v;
        } else {
            uint64_t some[512 + 8] = {0};
            k = (k + 7) / 8 * 8;
            for (size_t i = 0; i < k; i++)
                some[i] = bits_of(width);
            put_varint(&o, (uint64_t)k / 8 << 1 | 1);
            put_packed(&o, some, k, width);
            for (size_t i = 0; i < k && at + i < n; i++)
                values[at + i] = some[i];
        }
        at += k < n - at ? k : n - at;
    }
    *len = o.len;
    return tight(&o);
}

static void test_hybrid(void **unused)
{
    (void)unused;
    enum { N = 3000 };
    static uint64_t want[N];
    static uint32_t out[N + UNPACK_SLACK];
    for (unsigned width = 0; width <= 32; width++) {
        for (size_t k = 0; k < n_kernels; k++) {
            for (size_t round = 0; round < 20; round++) {
                size_t len, n = 1 + below(N);
                uint8_t *in = make_hybrid(want, n, width, &len);
                struct decode_hybrid h = decode_hybrid_of(kernels[k], in, len, width);
                size_t window = 1 + below(below(2) ? 20 : N);
                for (size_t at = 0; at < n;) {
                    size_t some = window < n - at ? window : n - at;
                    if (below(4) == 0) {
                        assert_true(decode_hybrid_skip(&h, some));
                    } else {
                        uint32_t most = 0;
                        uint64_t want_most = 0;
                        assert_true(decode_hybrid_u32(&h, out, some, &most));
                        for (size_t i = 0; i < some; i++) {
                            UNIT_CHECK(out[i] == want[at + i], "%s: width %u: value %zu",
                                       kernels[k]->name, width, at + i);
                            want_most = want[at + i] > want_most ? want[at + i] : want_most;
                        }
                        assert_true(most == want_most);
                    }
                    at += some;
                }
                /* There are none behind them, but for the padding of a last bit-packed run. */
                uint32_t most = 0;
                assert_false(decode_hybrid_u32(&h, out, 520, &most));
                free(in);
            }
        }
    }
}

static void test_hybrid_hostile(void **unused)
{
    (void)unused;
    static const struct {
        const char *what, *hex;
        unsigned width;
        size_t n;
        bool ok;
    } cases[] = {
        {"nothing", "", 3, 1, false},
        {"a run without its value", "08", 3, 1, false},
        {"a value wider than the width", "02 08", 3, 1, false},
        {"runs of no length, then one", "00 07 00 07 02 05", 3, 1, true},
        {"a header of eleven octets", "ffffffffffffffffffff01 00", 3, 1, false},
        {"a header above 32 bits", "ffffffff7f 00", 3, 1, false},
        {"packed without octets", "03", 3, 1, false},
        {"packed, cut: what is there counts", "03 8846", 3, 5, true},
        {"packed, cut: and no more", "03 8846", 3, 6, false},
        {"packed with width 0", "03", 0, 8, true},
        {"packed with width 0: and no more", "03", 0, 9, false},
    };
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        uint8_t octets[32];
        uint32_t out[64 + UNPACK_SLACK], most = 0;
        struct octets o = {0};
        size_t len = unhex(cases[i].hex, octets, sizeof octets);
        for (size_t k = 0; k < len; k++)
            put(&o, octets[k]);
        uint8_t *in = tight(&o);
        struct decode_hybrid h = decode_hybrid_of(unpack_best(), in, len, cases[i].width), g = h;
        UNIT_CHECK(decode_hybrid_u32(&h, out, cases[i].n, &most) == cases[i].ok, "%s",
                   cases[i].what);
        UNIT_CHECK(decode_hybrid_skip(&g, cases[i].n) == cases[i].ok, "skip: %s", cases[i].what);
        free(in);
    }
}

static void test_validity(void **unused)
{
    (void)unused;
    enum { N = 2000 };
    static uint64_t want[N];
    for (size_t round = 0; round < 500; round++) {
        size_t len, n = 1 + below(N), ones = 0, got_ones = 0;
        bool all = round % 5 == 0;
        uint64_t bits[N / 64 + 2];
        memset(bits, 0x5a, sizeof bits);
        uint8_t *in;
        if (all) { /* present in both ways */
            struct octets o = {0};
            n = 64 + below(N - 64);
            put_varint(&o, 40 << 1);
            put(&o, 1);
            put_varint(&o, 3 << 1 | 1);
            for (size_t i = 0; i < 3; i++)
                put(&o, 0xff);
            put_varint(&o, (uint64_t)(n - 64) << 1);
            put(&o, 1);
            len = o.len;
            in = tight(&o);
            for (size_t i = 0; i < n; i++)
                want[i] = 1;
        } else {
            in = make_hybrid(want, n, 1, &len);
        }
        struct decode_hybrid h = decode_hybrid_of(unpack_best(), in, len, 1), g = h;
        struct decode_validity v = {.bits = bits};
        for (size_t at = 0; at < n;) {
            size_t k = 1 + below(below(2) ? 10 : 700), present, counted;
            k = k < n - at ? k : n - at;
            assert_true(decode_validity_levels(&v, &h, k, &present));
            assert_true(decode_validity_levels(NULL, &g, k, &counted));
            assert_int_equal(present, counted);
            got_ones += present;
            at += k;
        }
        for (size_t i = 0; i < n; i++) {
            ones += want[i];
            if (v.nulls)
                UNIT_CHECK(parquet_bit(bits, i) == want[i], "row %zu of %zu", i, n);
        }
        assert_int_equal(v.n, n);
        assert_int_equal(ones, got_ones);
        assert_int_equal(v.nulls, ones < n);
        UNIT_CHECK(!all || bits[0] == UINT64_C(0x5a5a5a5a5a5a5a5a), "all present, but written");
        free(in);
    }
}

static void test_validity_runs(void **unused)
{
    (void)unused;
    for (size_t round = 0; round < 500; round++) {
        uint64_t bits[12];
        bool want[600];
        struct decode_validity v = {.bits = bits};
        while (v.n < 400) {
            size_t k = below(150), at = v.n;
            bool present = below(3) > 0;
            if (below(3) == 0)
                decode_validity_one(&v, present), k = 1;
            else
                decode_validity_run(&v, k, present);
            for (size_t i = 0; i < k; i++)
                want[at + i] = present;
        }
        bool nulls = false;
        for (size_t i = 0; i < v.n; i++)
            nulls = nulls || !want[i];
        assert_int_equal(nulls, v.nulls);
        for (size_t i = 0; nulls && i < v.n; i++)
            assert_int_equal(parquet_bit(bits, i), want[i]);
    }
}

static void test_bit_packed_levels(void **unused)
{
    (void)unused;
    /* The example of Encodings.md: 0 to 7 in 3 bits. */
    uint8_t in[3], stream[64];
    size_t len, used;
    uint32_t out[8 + UNPACK_SLACK], most = 0;
    assert_int_equal(unhex("053977", in, sizeof in), 3);
    assert_true(decode_bit_packed(in, 3, 8, 3, stream, &len, &used));
    assert_int_equal(used, 3);
    struct decode_hybrid h = decode_hybrid_of(unpack_best(), stream, len, 3);
    assert_true(decode_hybrid_u32(&h, out, 8, &most));
    for (uint32_t i = 0; i < 8; i++)
        assert_int_equal(out[i], i);
    assert_false(decode_bit_packed(in, 3, 9, 3, stream, &len, &used));
    assert_true(decode_bit_packed(in, 3, 5, 1, stream, &len, &used));
    assert_int_equal(used, 1);
}

/* ---- DELTA_BINARY_PACKED ---- */

struct geometry {
    uint64_t block, minis;
};

static uint8_t *make_delta(const uint64_t *values, size_t n, bool wide, struct geometry g,
                           size_t *len)
{
    struct octets o = {0};
    const uint64_t mask = wide ? UINT64_MAX : UINT32_MAX;
    size_t mini = (size_t)(g.block / g.minis);
    put_varint(&o, g.block);
    put_varint(&o, g.minis);
    put_varint(&o, n);
    uint64_t first = n ? values[0] : 0;
    put_zigzag(&o, wide ? first : (uint64_t)(int64_t)(int32_t)first);
    for (size_t at = 1; at < n; at += g.block) {
        int64_t least = INT64_MAX;
        uint64_t deltas[2048] = {0};
        size_t k = n - at < g.block ? n - at : (size_t)g.block;
        for (size_t i = 0; i < k; i++) {
            deltas[i] = values[at + i] - values[at + i - 1];
            int64_t d = wide ? (int64_t)deltas[i] : (int32_t)deltas[i];
            least = d < least ? d : least;
        }
        put_zigzag(&o, (uint64_t)least);
        unsigned widths[64];
        for (size_t m = 0; m < g.minis; m++) {
            uint64_t all = 0;
            for (size_t i = m * mini; i < (m + 1) * mini; i++) {
                deltas[i] = i < k ? (deltas[i] - (uint64_t)least) & mask : 0;
                all |= deltas[i];
            }
            widths[m] = all ? 64 - (unsigned)__builtin_clzll(all) : 0;
            /* A width of a miniblock without values may be anything. */
            put(&o, (uint8_t)(m * mini < k ? widths[m] : 77));
        }
        for (size_t m = 0; m < g.minis && m * mini < k; m++)
            put_packed(&o, deltas + m * mini, mini, widths[m]);
    }
    *len = o.len;
    return tight(&o);
}

static void test_delta(void **unused)
{
    (void)unused;
    enum { N = 3000 };
    static const struct geometry geometries[] = {
        {128, 4}, {128, 1}, {256, 8}, {2048, 8}, {1024, 32}};
    static uint64_t want[N], out[N + UNPACK_SLACK];
    static uint32_t out32[N + UNPACK_SLACK];
    for (size_t round = 0; round < 600; round++) {
        bool wide = below(2);
        size_t n = below(4) ? below(N) : below(3), len, span;
        unsigned width = (unsigned)below(wide ? 65 : 33);
        uint64_t last = random64();
        for (size_t i = 0; i < n; i++) {
            last += bits_of(width) - (below(2) ? bits_of(width / 2) : 0);
            want[i] = wide ? last : (uint32_t)last;
        }
        uint8_t *in = make_delta(want, n, wide, geometries[below(UNIT_N(geometries))], &len);
        assert_true(decode_delta_span(in, len, wide, &span));
        assert_int_equal(span, len);
        for (size_t k = 0; k < n_kernels; k++) {
            struct decode_delta d;
            assert_true(decode_delta_init(&d, kernels[k], in, len, wide));
            size_t window = 1 + below(below(2) ? 40 : N);
            for (size_t at = 0; at < n;) {
                size_t some = window < n - at ? window : n - at;
                assert_true(decode_delta_left(&d) == n - at);
                if (below(5) == 0) {
                    assert_true(decode_delta_skip(&d, some));
                } else if (wide) {
                    assert_true(decode_delta_u64(&d, out, some));
                    assert_memory_equal(out, want + at, some * 8);
                } else {
                    assert_true(decode_delta_u32(&d, out32, some));
                    for (size_t i = 0; i < some; i++)
                        UNIT_CHECK(out32[i] == want[at + i], "value %zu of %zu", at + i, n);
                }
                at += some;
            }
            assert_false(decode_delta_skip(&d, 1));
        }
        free(in);
    }
}

/* Every cut and many changes of a stream: an answer of some kind, and nothing read that is not there. */
static void test_delta_hostile(void **unused)
{
    (void)unused;
    static const char *const refused[] = {
        "",
        "8001",
        "8001 04",
        "8001 04 02", /* cut */
        "00 04 02 00",
        "7f 01 02 00",
        "8001 00 02 00",
        "8001 03 02 00", /* geometry */
        "8001 08 02 00",
        "8001 04 ffffffffff7f 00",
    };
    uint8_t octets[64];
    size_t span, len;
    struct decode_delta d;
    for (size_t i = 0; i < UNIT_N(refused); i++) {
        len = unhex(refused[i], octets, sizeof octets);
        UNIT_CHECK(!decode_delta_init(&d, unpack_best(), octets, len, true), "%s", refused[i]);
        UNIT_CHECK(!decode_delta_span(octets, len, true, &span), "span: %s", refused[i]);
    }
    uint64_t want[300], out[300 + UNPACK_SLACK];
    for (size_t i = 0; i < 300; i++)
        want[i] = bits_of(20);
    uint8_t *whole = make_delta(want, 300, true, (struct geometry){128, 4}, &len);
    for (size_t cut = 0; cut < len; cut++) {
        struct octets o = {0};
        for (size_t i = 0; i < cut; i++)
            put(&o, whole[i]);
        uint8_t *in = tight(&o);
        assert_false(decode_delta_span(in, cut, true, &span));
        if (decode_delta_init(&d, unpack_best(), in, cut, true))
            (void)decode_delta_u64(&d, out, 300);
        free(in);
    }
    for (size_t round = 0; round < 3000; round++) {
        struct octets o = {0};
        for (size_t i = 0; i < len; i++)
            put(&o, whole[i]);
        o.p[below(below(2) ? 12 : len)] = (uint8_t)random64();
        uint8_t *in = tight(&o);
        (void)decode_delta_span(in, len, true, &span);
        if (decode_delta_init(&d, unpack_best(), in, len, below(2)))
            (void)decode_delta_u64(&d, out, 300);
        free(in);
    }
    free(whole);
}

/* ---- octet arrays ---- */

static void test_bytes(void **unused)
{
    (void)unused;
    enum { N = 700 };
    static struct parquet_bytes want[N], out[N];
    static uint8_t text[N * 24];
    static uint64_t lens[N], prefixes[N], suffix_lens[N];
    for (size_t round = 0; round < 60; round++) {
        struct octets plain = {0}, joined = {0}, front = {0};
        size_t n = 1 + below(N), at = 0, len, taken;
        for (size_t i = 0; i < n; i++) {
            size_t k = below(20);
            for (size_t j = 0; j < k; j++)
                text[at + j] = (uint8_t)('a' + below(2));
            want[i] = (struct parquet_bytes){text + at, (uint32_t)k};
            at += k;
            lens[i] = k;
            for (unsigned j = 0; j < 4; j++)
                put(&plain, (uint8_t)(k >> (8 * j)));
            for (size_t j = 0; j < k; j++)
                put(&plain, want[i].data[j]);
            size_t same = 0;
            while (i && same < k && same < want[i - 1].len &&
                   want[i].data[same] == want[i - 1].data[same])
                same++;
            prefixes[i] = same;
            suffix_lens[i] = k - same;
        }
        /* PLAIN */
        len = plain.len;
        uint8_t *in = tight(&plain);
        const uint8_t *p = in;
        assert_true(decode_plain_bytes(&p, in + len, out, n / 2));
        assert_true(decode_plain_bytes_skip(&p, in + len, n - n / 2));
        assert_ptr_equal(p, in + len);
        assert_false(decode_plain_bytes(&p, in + len, out, 1));
        assert_false(decode_plain_bytes_skip(&p, in + len, 1));
        for (size_t i = 0; i < n / 2; i++)
            assert_true(out[i].len == lens[i] && memcmp(out[i].data, want[i].data, lens[i]) == 0);
        free(in);
        /* DELTA_LENGTH_BYTE_ARRAY */
        uint8_t *head = make_delta(lens, n, false, (struct geometry){128, 4}, &len);
        for (size_t i = 0; i < len; i++)
            put(&joined, head[i]);
        for (size_t i = 0; i < at; i++)
            put(&joined, text[i]);
        free(head);
        len = joined.len;
        in = tight(&joined);
        struct decode_lengths d;
        assert_true(decode_lengths_init(&d, unpack_best(), in, len));
        taken = below(n);
        assert_true(decode_lengths_skip(&d, taken));
        assert_true(decode_lengths_read(&d, out, n - taken));
        for (size_t i = taken; i < n; i++)
            assert_true(out[i - taken].len == lens[i] &&
                        memcmp(out[i - taken].data, want[i].data, lens[i]) == 0);
        assert_true(decode_lengths_init(&d, unpack_best(), in, len - (at > 0)));
        assert_int_equal(decode_lengths_read(&d, out, n), at == 0);
        free(in);
        /* DELTA_BYTE_ARRAY */
        for (unsigned part = 0; part < 2; part++) {
            head = make_delta(part ? suffix_lens : prefixes, n, false, (struct geometry){128, 4},
                              &len);
            for (size_t i = 0; i < len; i++)
                put(&front, head[i]);
            free(head);
        }
        for (size_t i = 0; i < n; i++)
            for (size_t j = (size_t)prefixes[i]; j < lens[i]; j++)
                put(&front, want[i].data[j]);
        len = front.len;
        in = tight(&front);
        struct decode_prefixes f;
        uint32_t lead[N + UNPACK_SLACK];
        uint64_t octets;
        struct parquet_bytes last = {0};
        assert_true(decode_prefixes_init(&f, unpack_best(), in, len));
        for (size_t done = 0; done < n;) {
            size_t k = 1 + below(n - done);
            assert_true(decode_prefixes_plan(&f, lead, out, k, last, &octets));
            uint8_t *memory = malloc(octets ? (size_t)octets : 1);
            assert_non_null(memory);
            decode_prefixes_fill(memory, lead, out, k, last);
            for (size_t i = 0; i < k; i++)
                assert_true(out[i].len == lens[done + i] &&
                            memcmp(out[i].data, want[done + i].data, out[i].len) == 0);
            done += k;
            last = want[done - 1];
            free(memory);
        }
        free(in);
    }
    /* A prefix longer than the value before it. */
    struct octets o = {0};
    uint64_t one[2] = {0, 3}, two[2] = {1, 1};
    struct decode_prefixes f;
    uint32_t lead[2 + UNPACK_SLACK];
    uint64_t octets;
    size_t len;
    for (unsigned part = 0; part < 2; part++) {
        uint8_t *head = make_delta(part ? two : one, 2, false, (struct geometry){128, 4}, &len);
        for (size_t i = 0; i < len; i++)
            put(&o, head[i]);
        free(head);
    }
    put(&o, 'a');
    put(&o, 'b');
    assert_true(decode_prefixes_init(&f, unpack_best(), o.p, o.len));
    assert_false(decode_prefixes_plan(&f, lead, out, 2, (struct parquet_bytes){0}, &octets));
    free(o.p);
}

static void test_rest(void **unused)
{
    (void)unused;
    enum { N = 1500, MOST = 17 };
    static uint8_t values[N * MOST], split[N * MOST], out[N * MOST];
    for (size_t width = 1; width <= MOST; width++) {
        for (size_t i = 0; i < N * width; i++) {
            values[i] = (uint8_t)random64();
            split[i % width * N + i / width] = values[i];
        }
        for (size_t round = 0; round < 10; round++) {
            size_t from = below(N), n = below(N - from + 1);
            decode_split(split, N, from, out, n, width);
            UNIT_CHECK(n == 0 || memcmp(out, values + from * width, n * width) == 0,
                       "width %zu from %zu", width, from);
        }
    }
    for (size_t round = 0; round < 50; round++) {
        size_t from = below(100), n = below(N);
        decode_bits(values, from, out, n);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(out[i], values[(from + i) / 8] >> ((from + i) % 8) & 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_best_is_one_of_them, set_up),
        cmocka_unit_test_setup(test_unpack_every_width, set_up),
        cmocka_unit_test_setup(test_unpack_short_input, set_up),
        cmocka_unit_test_setup(test_twins_agree, set_up),
        cmocka_unit_test_setup(test_expand, set_up),
        cmocka_unit_test_setup(test_hybrid, set_up),
        cmocka_unit_test_setup(test_hybrid_hostile, set_up),
        cmocka_unit_test_setup(test_validity, set_up),
        cmocka_unit_test_setup(test_validity_runs, set_up),
        cmocka_unit_test_setup(test_bit_packed_levels, set_up),
        cmocka_unit_test_setup(test_delta, set_up),
        cmocka_unit_test_setup(test_delta_hostile, set_up),
        cmocka_unit_test_setup(test_bytes, set_up),
        cmocka_unit_test_setup(test_rest, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
