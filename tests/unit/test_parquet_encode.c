/* encode: the encodings against the examples of the specification and against our own decoder; bounds; bloom filters;
 * dictionaries. */
#include "unit.h"

#include "base/cpu.h"
#include "parquet/bloom.h"
#include "parquet/bounds.h"
#include "parquet/codec.h"
#include "parquet/decode.h"
#include "parquet/dict.h"
#include "parquet/encode.h"
#include "parquet/minmax.h"
#include "parquet/pack.h"
#include "parquet/press.h"

#include <stdlib.h>
#include <string.h>

static uint64_t rng = 1;

static uint64_t any(void)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return rng;
}

static void check_octets(const char *what, base_buf *b, const char *hex)
{
    uint8_t want[256];
    size_t n = unhex(hex, want, sizeof want);
    UNIT_CHECK(!b->failed && b->len == n && memcmp(b->data, want, n) == 0,
               "%s: %zu octets, not the %zu of %s", what, b->len, n, hex);
    base_buf_done(b);
}

/* Encodings.md and parquet-format's own examples. */
static void examples(void **state)
{
    (void)state;
    base_buf b = {0};
    static const uint32_t up[] = {0, 1, 2, 3, 4, 5, 6, 7};
    encode_hybrid(&b, up, 8, 3);
    check_octets("0 to 7 in 3 bits", &b, "03 88c6fa");
    encode_run(&b, 4, 100, 3);
    check_octets("a hundred fours", &b, "c801 04");
    static const uint32_t sevens[] = {7, 7, 7, 7, 7};
    encode_hybrid(&b, sevens, 5, 3);
    check_octets("a run shorter than a group", &b, "0a 07");
    encode_hybrid(&b, up, 8, 0);
    check_octets("no bits", &b, "10");
    static const uint32_t rising[] = {1, 2, 3, 4, 5};
    encode_delta32(&b, rising, 5);
    check_octets("1 to 5 as deltas", &b, "8001 04 05 02  02 00000000");
    static const uint32_t mixed[] = {7, 5, 3, 1, 2, 3, 4, 5};
    encode_delta32(&b, mixed, 8);
    check_octets("7 5 3 1 2 3 4 5 as deltas", &b, "8001 04 08 0e  03 02000000 c03f000000000000");
    encode_delta64(&b, NULL, 0);
    check_octets("no deltas", &b, "8001 04 00 00");
    static const struct parquet_bytes words[] = {{(const uint8_t *)"Hello", 5},
                                                 {(const uint8_t *)"World", 5},
                                                 {(const uint8_t *)"Foobar", 6}};
    encode_delta_length(&b, words, 3);
    check_octets("lengths as deltas", &b,
                 "8001 04 03 0a  00 01000000 02000000 48656c6c6f576f726c64466f6f626172");
    encode_plain_bytes(&b, words, 1);
    check_octets("plain octets", &b, "05000000 48656c6c6f");
    static const uint8_t bools[] = {1, 0, 1, 1, 0, 0, 0, 0, 1};
    encode_plain_bools(&b, bools, 9);
    check_octets("plain booleans", &b, "0d01");
    encode_rle_bools(&b, bools, 9);
    check_octets("booleans as runs", &b, "03000000 05 0d01");
}

/* Numbers of a width, in runs of up to `runs`. */
static void fill(uint32_t *v, size_t n, unsigned width, size_t runs)
{
    uint32_t mask = width == 32 ? UINT32_MAX : (UINT32_C(1) << width) - 1;
    for (size_t i = 0; i < n;) {
        uint32_t value = (uint32_t)any() & mask;
        for (size_t left = any() % runs + 1; left && i < n; left--)
            v[i++] = value;
    }
}

static void hybrid_round_trips(void **state)
{
    (void)state;
    static uint32_t in[3000], out[3000 + UNPACK_SLACK];
    static const size_t runs[] = {1, 3, 20, 500, 5000};
    for (unsigned width = 0; width <= 32; width++) {
        for (size_t k = 0; k < UNIT_N(runs); k++) {
            size_t n = any() % UNIT_N(in) + 1;
            base_buf b = {0};
            fill(in, n, width, runs[k]);
            encode_hybrid(&b, in, n, width);
            struct decode_hybrid h =
                decode_hybrid_of(unpack_generic(), (const uint8_t *)b.data, b.len, width);
            uint32_t most = 0;
            UNIT_CHECK(decode_hybrid_u32(&h, out, n, &most) && memcmp(in, out, n * sizeof *in) == 0,
                       "%zu numbers of %u bits in runs of %zu", n, width, runs[k]);
            UNIT_CHECK(b.len <= (n + 7) / 8 * width + 16 + n / 64,
                       "%zu numbers of %u bits in runs of %zu take %zu octets", n, width, runs[k],
                       b.len);
            static uint8_t octets[UNIT_N(in)];
            base_buf narrow = {0};
            for (size_t i = 0; i < n; i++)
                octets[i] = (uint8_t)in[i];
            if (width <= 8) {
                encode_hybrid8(&narrow, octets, n, width);
                UNIT_CHECK(b.len == narrow.len && memcmp(b.data, narrow.data, b.len) == 0,
                           "%zu octets of %u bits in runs of %zu", n, width, runs[k]);
            }
            base_buf_done(&narrow);
            base_buf_done(&b);
        }
    }
}

static void bits_round_trip(void **state)
{
    (void)state;
    static uint8_t bits[400];
    static uint32_t out[3200 + UNPACK_SLACK];
    for (int round = 0; round < 300; round++) {
        size_t n = any() % 3200 + 1;
        size_t run = any() % 40 + 1;
        for (size_t i = 0; i < sizeof bits;) {
            uint8_t octet = any() % 3 ? (any() % 2 ? 0xff : 0) : (uint8_t)any();
            for (size_t k = any() % run + 1; k && i < sizeof bits; k--)
                bits[i++] = octet;
        }
        base_buf b = {0};
        encode_hybrid_bits(&b, bits, n);
        struct decode_hybrid h =
            decode_hybrid_of(unpack_generic(), (const uint8_t *)b.data, b.len, 1);
        uint32_t most = 0;
        assert_true(decode_hybrid_u32(&h, out, n, &most));
        for (size_t i = 0; i < n; i++)
            UNIT_CHECK(out[i] == (uint32_t)(bits[i / 8] >> i % 8 & 1), "round %d: bit %zu of %zu",
                       round, i, n);
        base_buf_done(&b);
    }
}

static void delta_round_trips(void **state)
{
    (void)state;
    static uint64_t in[1000], out[1000 + UNPACK_SLACK];
    static uint32_t in32[1000], out32[1000 + UNPACK_SLACK];
    for (int round = 0; round < 300; round++) {
        size_t n = any() % 1000 + (round > 0);
        unsigned shift = (unsigned)(any() % 64);
        uint64_t last = any();
        for (size_t i = 0; i < n; i++) {
            last += (any() >> shift) - (any() >> shift);
            in[i] = last;
            in32[i] = (uint32_t)last;
        }
        base_buf b = {0};
        struct decode_delta d;
        encode_delta64(&b, in, n);
        UNIT_CHECK(decode_delta_init(&d, unpack_generic(), (const uint8_t *)b.data, b.len, true) &&
                       decode_delta_left(&d) == n && decode_delta_u64(&d, out, n) &&
                       memcmp(in, out, n * sizeof *in) == 0,
                   "round %d: %zu values of 64 bits", round, n);
        uint64_t guess = encode_delta_estimate(in, 8, true, true, n);
        UNIT_CHECK(guess >= b.len * 7 && guess <= b.len * 9 + 1024,
                   "round %d: %llu bits guessed, %zu octets", round, (unsigned long long)guess,
                   b.len);
        base_buf_reset(&b);
        encode_delta32(&b, in32, n);
        UNIT_CHECK(decode_delta_init(&d, unpack_generic(), (const uint8_t *)b.data, b.len, false) &&
                       decode_delta_u32(&d, out32, n) && memcmp(in32, out32, n * sizeof *in32) == 0,
                   "round %d: %zu values of 32 bits", round, n);
        base_buf_done(&b);
    }
}

static struct parquet_bytes bytes_of(const char *s)
{
    return (struct parquet_bytes){(const uint8_t *)s, (uint32_t)strlen(s)};
}

static void bounds_of_long_text(void **state)
{
    (void)state;
    char long_a[100], long_y[100], wide[100], last[100], cut[100];
    memset(long_a, 'a', sizeof long_a);
    memset(long_y, 0x7f, sizeof long_y);
    for (size_t i = 0; i < 100; i += 2)
        memcpy(wide + i, "\xc3\xbf", 2); /* U+00FF */
    for (size_t i = 0; i < 100; i += 4)
        memcpy(last + i, "\xf4\x8f\xbf\xbf", 4); /* U+10FFFF */
    memset(cut, 'a', sizeof cut);
    memcpy(cut + 63, "\xed\x9f\xbf", 3); /* U+D7FF, across the end of what is kept */
    static const uint8_t ff[70] = {[0] = 1};
    const struct {
        const char *what;
        struct parquet_bytes v;
        bool text, known, exact;
        uint8_t min_len, max_len;
        const char *max_end;
    } cases[] = {
        {"short", bytes_of("abc"), true, true, true, 3, 3, "c"},
        {"empty", bytes_of(""), true, true, true, 0, 0, ""},
        {"ASCII", {(const uint8_t *)long_a, 100}, true, true, false, 64, 64, "ab"},
        {"one octet becomes two",
         {(const uint8_t *)long_y, 100},
         true,
         true,
         false,
         64,
         65,
         "\xc2\x80"},
        {"two octets", {(const uint8_t *)wide, 100}, true, true, false, 64, 64, "\xc4\x80"},
        {"nothing is above", {(const uint8_t *)last, 100}, true, false, false, 64, 0, ""},
        {"a character is not cut", {(const uint8_t *)cut, 100}, true, true, false, 63, 63, "ab"},
        {"octets", {ff, 70}, false, true, false, 64, 64, "\x01"},
    };
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        struct bounds b;
        bounds_of_bytes(&b, cases[i].v, cases[i].v, cases[i].text);
        UNIT_CHECK(b.known == cases[i].known, "%s: known %d", cases[i].what, b.known);
        if (!b.known)
            continue;
        size_t n = strlen(cases[i].max_end);
        UNIT_CHECK(b.min.exact == cases[i].exact && b.max.exact == cases[i].exact &&
                       b.min.len == cases[i].min_len && b.max.len == cases[i].max_len &&
                       memcmp(b.max.octets + b.max.len - n, cases[i].max_end, n) == 0,
                   "%s: min %u, max %u octets", cases[i].what, b.min.len, b.max.len);
        UNIT_CHECK(bounds_compare_bytes((struct parquet_bytes){b.min.octets, b.min.len},
                                        cases[i].v) <= 0 &&
                       bounds_compare_bytes((struct parquet_bytes){b.max.octets, b.max.len},
                                            cases[i].v) >= 0,
                   "%s: not within its bounds", cases[i].what);
    }
}

static void bounds_of_numbers(void **state)
{
    (void)state;
    struct bounds b;
    static const uint32_t v[] = {5, UINT32_MAX, 0};
    uint32_t u[2];
    bounds_of_ints(&b, v, 4, true, false, 3);
    memcpy(&u[0], b.min.octets, 4);
    memcpy(&u[1], b.max.octets, 4);
    assert_true(u[0] == 0 && u[1] == UINT32_MAX);
    bounds_of_ints(&b, v, 4, false, false, 3);
    memcpy(&u[0], b.min.octets, 4);
    memcpy(&u[1], b.max.octets, 4);
    assert_true(u[0] == UINT32_MAX && u[1] == 5);
    /* Narrow ones become as wide as their column, with their sign. */
    static const int8_t small[] = {3, -7, 100};
    bounds_of_ints(&b, small, 1, false, true, 3);
    int64_t wide[2];
    memcpy(&wide[0], b.min.octets, 8);
    memcpy(&wide[1], b.max.octets, 8);
    assert_true(b.min.len == 8 && wide[0] == -7 && wide[1] == 100);
    static const uint16_t ports[] = {65535, 443};
    bounds_of_ints(&b, ports, 2, true, false, 2);
    memcpy(&u[0], b.min.octets, 4);
    memcpy(&u[1], b.max.octets, 4);
    assert_true(b.min.len == 4 && u[0] == 443 && u[1] == 65535);
    static const double d[] = {0.0, __builtin_nan(""), -0.0};
    static const uint8_t minus[8] = {[7] = 0x80}, plus[8] = {0};
    bounds_of_double(&b, d, 3);
    assert_true(b.known && memcmp(b.min.octets, minus, 8) == 0 &&
                memcmp(b.max.octets, plus, 8) == 0);
    bounds_of_double(&b, d + 1, 1);
    assert_false(b.known);
}

static void minmax_twins_agree(void **state)
{
    (void)state;
    static uint64_t v[200];
    static uint32_t v32[200];
    static uint16_t v16[200];
    static uint8_t v8[200];
    const struct minmax_ops *twins[2] = {minmax_generic(), minmax_avx2()};
    if (!twins[1] || !base_cpu_has_avx2())
        skip();
    for (int round = 0; round < 500; round++) {
        size_t n = any() % 200 + 1;
        uint64_t flip = any() % 2 ? UINT64_C(1) << 63 : 0, min[2], max[2];
        uint32_t min32[2], max32[2];
        uint16_t min16[2], max16[2];
        uint8_t min8[2], max8[2];
        unsigned shift = (unsigned)(any() % 64);
        for (size_t i = 0; i < n; i++) {
            v[i] = any() % 5 ? any() >> shift : 0 - (any() >> shift);
            v32[i] = (uint32_t)v[i];
            v16[i] = (uint16_t)v[i];
            v8[i] = (uint8_t)v[i];
        }
        for (int t = 0; t < 2; t++) {
            twins[t]->u16(v16, n, (uint16_t)(flip >> 48), &min16[t], &max16[t]);
            twins[t]->u8(v8, n, (uint8_t)(flip >> 56), &min8[t], &max8[t]);
            twins[t]->u64(v, n, flip, &min[t], &max[t]);
            twins[t]->u32(v32, n, (uint32_t)(flip >> 32), &min32[t], &max32[t]);
        }
        assert_true(min[0] == min[1] && max[0] == max[1] && min32[0] == min32[1] &&
                    max32[0] == max32[1]);
        assert_true(min16[0] == min16[1] && max16[0] == max16[1] && min8[0] == min8[1] &&
                    max8[0] == max8[1]);
    }
}

static void pack_twins_agree(void **state)
{
    (void)state;
    enum { N = 300 };
    static uint64_t v[N];
    static uint32_t v32[N];
    static uint16_t v16[N];
    static uint8_t out[2][N + PACK_SLACK], codes[N];
    const struct pack_ops *twins[2] = {pack_generic(), pack_avx2()};
    if (!twins[1] || !base_cpu_has_avx2())
        skip();
    for (int round = 0; round < 2000; round++) {
        size_t n = any() % N + 1, at = any() % n, groups = n / 8;
        unsigned width = (unsigned)(any() % 8) + 1, repeat = (unsigned)(any() % 60) + 1;
        for (size_t i = 0; i < n; i++) {
            v[i] = any() % repeat || !i ? (i ? v[i - 1] : any()) : any();
            v32[i] = (uint32_t)v[i];
            v16[i] = (uint16_t)v[i];
            codes[i] = (uint8_t)(v[i] & ((1u << width) - 1));
        }
        for (int t = 0; t < 2; t++) {
            memset(out[t], 0x55, sizeof out[t]);
            twins[t]->pack8(out[t], codes, groups, width);
        }
        assert_memory_equal(out[0], out[1], groups * width);
        assert_true(twins[0]->find8(codes, at, n) == twins[1]->find8(codes, at, n));
        assert_true(twins[0]->find32(v32, at, n) == twins[1]->find32(v32, at, n));
        assert_true(twins[0]->end8(codes, at, n) == twins[1]->end8(codes, at, n));
        assert_true(twins[0]->end32(v32, at, n) == twins[1]->end32(v32, at, n));
        size_t end = twins[0]->end32(v32, at, n);
        assert_true(end > at && (end == n || v32[end] != v32[at]) && v32[end - 1] == v32[at]);
        for (int t = 0; t < 2; t++)
            twins[t]->narrow16(out[t], v16, n, (uint16_t)v[at]);
        assert_memory_equal(out[0], out[1], n);
        static uint64_t deltas[2][128];
        uint64_t all[2][4];
        int64_t least[2];
        for (int t = 0; t < 2; t++)
            least[t] = twins[t]->deltas(deltas[t], v, all[t]);
        assert_true(least[0] == least[1]);
        assert_memory_equal(deltas[0], deltas[1], sizeof deltas[0]);
        assert_memory_equal(all[0], all[1], sizeof all[0]);
        for (int t = 0; t < 2; t++)
            twins[t]->narrow64(out[t], v, n, v[at]);
        assert_memory_equal(out[0], out[1], n);
        for (int t = 0; t < 2; t++)
            twins[t]->narrow32(out[t], v32, n, (uint32_t)v[at]);
        assert_memory_equal(out[0], out[1], n);
        uint8_t table[256], most[2];
        size_t n_table = (size_t)any() % 256 + 1;
        for (size_t i = 0; i < 256; i++)
            table[i] = (uint8_t)any();
        for (size_t i = 0; i < n; i++)
            out[0][i] = out[1][i] = (uint8_t)(codes[i] % n_table);
        for (int t = 0; t < 2; t++)
            most[t] = twins[t]->look_up8(out[t], n, table, n_table);
        assert_memory_equal(out[0], out[1], n);
        assert_int_equal(most[0], most[1]);
        assert_int_equal(out[0][n - 1], table[codes[n - 1] % n_table]);
    }
}

/* Every way of zstd gives frames that give back what was put in. */
static void presses(void **state)
{
    (void)state;
    static char in[400000];
    struct press p = {0};
    struct codec_state c = {0};
    base_buf out = {0}, scratch = {0};
    static uint8_t back[sizeof in];
    for (int round = 0; round < 200; round++) {
        size_t n = round < 20 ? (size_t)round : (size_t)any() % (round % 10 ? 5000 : sizeof in) + 1;
        unsigned spread = (unsigned)(any() % 256) + 1;
        for (size_t i = 0; i < n; i++)
            in[i] =
                (char)(any() % 3 && i > 100 && round % 2 ? (uint8_t)in[i - 100] : any() % spread);
        for (int way = PRESS_MATCHES; way <= PRESS_STORED; way++) {
            press_octets(&p, PARQUET_ZSTD, (enum press_way)way, 1 + round % 9, in, n, &out);
            assert_false(out.failed);
            assert_int_equal(
                codec_unpress(&c, PARQUET_ZSTD, (const uint8_t *)out.data, out.len, back, n),
                WEIR_OK);
            UNIT_CHECK(memcmp(in, back, n) == 0, "%zu octets, way %d", n, way);
        }
    }
    /* What each is for. */
    enum press_way way;
    for (size_t i = 0; i < 65536; i++)
        in[i] = (char)any();
    double octets = press_estimate(&p, PARQUET_ZSTD, 1, in, 65536, &scratch, &way);
    assert_true(way == PRESS_STORED && octets > 65000 && octets < 66000);
    press_octets(&p, PARQUET_ZSTD, way, 1, in, 65536, &out);
    assert_true(out.len < 65536 + 32);
    for (size_t i = 0; i < 65536; i++)
        in[i] = (char)(any() & any() & any());
    octets = press_estimate(&p, PARQUET_ZSTD, 1, in, 65536, &scratch, &way);
    assert_int_equal(way, PRESS_ENTROPY);
    press_octets(&p, PARQUET_ZSTD, way, 1, in, 65536, &out);
    assert_true((double)out.len > octets * 0.95 && (double)out.len < octets * 1.05);
    for (size_t i = 1000; i < 65536; i++)
        in[i] = in[i - 1000];
    octets = press_estimate(&p, PARQUET_ZSTD, 9, in, 65536, &scratch, &way);
    assert_int_equal(way, PRESS_MATCHES);
    press_octets(&p, PARQUET_ZSTD, way, 9, in, 65536, &out);
    assert_true((double)out.len > octets * 0.95 && (double)out.len < octets * 1.05);
    (void)press_estimate(&p, PARQUET_ZSTD, 1, in, 65536, &scratch, &way);
    assert_int_equal(way, PRESS_MATCHES);
    /* Strings in order: only what they begin with is looked for. */
    size_t len = 0, n_strings = 0;
    for (uint32_t i = 0; len < sizeof in - 100; i += (uint32_t)any() % 50, n_strings++) {
        uint32_t n = (uint32_t)snprintf(in + len + 4, 90, "%s.%u.%u.%u", any() % 100 ? "10" : "",
                                        i >> 16, i >> 8 & 255, i & 255);
        memcpy(in + len, &n, sizeof n);
        len += n + 4;
    }
    press_octets(&p, PARQUET_ZSTD, PRESS_STRINGS, 1, in, len, &out);
    UNIT_CHECK(!out.failed && out.len < 3 * n_strings, "%zu strings take %zu octets", n_strings,
               out.len);
    assert_int_equal(codec_unpress(&c, PARQUET_ZSTD, (const uint8_t *)out.data, out.len, back, len),
                     WEIR_OK);
    assert_memory_equal(in, back, len);
    in[2] = 1; /* a string of more octets than there are */
    press_octets(&p, PARQUET_ZSTD, PRESS_STRINGS, 1, in, len, &out);
    assert_int_equal(codec_unpress(&c, PARQUET_ZSTD, (const uint8_t *)out.data, out.len, back, len),
                     WEIR_OK);
    assert_memory_equal(in, back, len);
    base_buf_done(&out);
    base_buf_done(&scratch);
    codec_done(&c);
    press_done(&p);
}

static void bloom_filters(void **state)
{
    (void)state;
    /* XXH64 of nothing, seed 0: from the xxHash specification. */
    assert_true(bloom_hash("", 0) == UINT64_C(0xef46db3751d8e999));
    assert_int_equal(bloom_octets(0, 0.01), 32);
    assert_int_equal(bloom_octets(1000, 0.01), 2048); /* 10.5 bits a value: 1306 octets */
    assert_int_equal(bloom_octets(UINT64_MAX, 1e-9), BLOOM_MAX_OCTETS);
    uint32_t octets = bloom_octets(5000, 0.01);
    uint8_t *bits = calloc(octets, 1);
    assert_non_null(bits);
    for (uint32_t i = 0; i < 5000; i++)
        bloom_insert(bits, octets, bloom_hash(&i, sizeof i));
    unsigned wrong = 0;
    for (uint32_t i = 0; i < 55000; i++) {
        uint64_t hash = bloom_hash(&i, sizeof i);
        bool may = bloom_check(bits + bloom_block(hash, octets), hash);
        if (i < 5000)
            assert_true(may);
        else
            wrong += may;
    }
    UNIT_CHECK(wrong < 1000, "%u of 50000 false positives", wrong);
    free(bits);
}

static int by_value(const void *a, const void *b)
{
    uint64_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

static uint32_t code(const struct dict *d, size_t i)
{
    assert_true(!d->narrow != !d->codes);
    return d->narrow ? d->narrow[i] : d->codes[i];
}

enum { N_INTS = 100000 };
static uint64_t ints[N_INTS];
static uint32_t ints32[N_INTS];
static uint16_t ints16[N_INTS];
static uint8_t ints8[N_INTS];

/* values[n] are entries of d, and all entries differ. */
static void check_ints(struct dict *d, const uint64_t *values, size_t n, uint64_t mask,
                       const char *what)
{
    static uint64_t sorted[N_INTS];
    for (size_t i = 0; i < n; i++)
        UNIT_CHECK(code(d, i) < d->n && d->ints[code(d, i)] == (values[i] & mask), "%s: value %zu",
                   what, i);
    memcpy(sorted, d->ints, d->n * sizeof *sorted);
    qsort(sorted, d->n, sizeof *sorted, by_value);
    for (uint32_t i = 1; i < d->n; i++)
        UNIT_CHECK(sorted[i - 1] != sorted[i], "%s: an entry is there twice", what);
}

static void dictionaries(void **state)
{
    (void)state;
    struct dict d = {.seed = 5};
    weir_err err;
    for (int round = 0; round < 60; round++) {
        size_t n = (size_t)any() % (round % 6 ? 5000 : N_INTS) + 1;
        uint64_t base = any(), step = any() % 3 ? any() % 3000 + 1 : 1;
        uint64_t spread = any() % (round % 5 ? 400 : 30000) + 1, rare = any() % 20000 + 2;
        for (size_t i = 0; i < n; i++) {
            uint64_t k = any() % rare ? any() % spread : spread - 1;
            ints[i] = base + (any() % 4 ? k / 7 : k) * step;
            ints32[i] = (uint32_t)ints[i];
        }
        uint64_t min = UINT64_MAX;
        for (size_t i = 0; i < n; i++)
            min = ints[i] - base < min ? ints[i] - base : min;
        uint64_t from = base + min - (round % 3 ? 0 : any());
        assert_int_equal(dict_ints(&d, ints, true, n, from, 1, UINT64_MAX, &err), WEIR_OK);
        uint32_t n_dict = d.n;
        check_ints(&d, ints, n, UINT64_MAX, "by hash");
        uint64_t found = dict_step(ints, true, n, base + min);
        uint32_t range = (uint32_t)(spread * step / found);
        assert_int_equal(dict_range(&d, ints, 8, true, n, base + min, found, range, &err), WEIR_OK);
        UNIT_CHECK(d.n == n_dict, "%u entries by hash, %u by table", n_dict, d.n);
        check_ints(&d, ints, n, UINT64_MAX, "by table");
        assert_int_equal(dict_ints(&d, ints32, false, n, (uint32_t)from, 1, UINT64_MAX, &err),
                         WEIR_OK);
        check_ints(&d, ints, n, UINT32_MAX, "of 32 bits");
    }
    /* A value that is no multiple. */
    static const uint64_t odd[] = {1000, 2000, 3001};
    assert_int_equal(dict_range(&d, odd, 8, true, 3, 1000, 1000, 100, &err), WEIR_ELIMIT);
    dict_done(&d);
}

/* Narrow integers of every width, with few or many values, some of which are so rare that counting may miss them. */
static void narrow_dictionaries(void **state)
{
    (void)state;
    struct dict d = {.seed = 5};
    weir_err err;
    for (int round = 0; round < 80; round++) {
        size_t n = (size_t)any() % (round % 4 ? 3000 : N_INTS) + 1;
        uint64_t spread = round % 7 ? (uint64_t)any() % 256 + 1 : 256, rare = any() % 50000 + 2;
        uint64_t base = any() % 2 ? any() : 0;
        for (size_t i = 0; i < n; i++) {
            ints[i] = base + (any() % rare ? any() % (spread / 3 + 1) : any() % spread);
            ints32[i] = (uint32_t)ints[i];
            ints16[i] = (uint16_t)ints[i];
            ints8[i] = (uint8_t)ints[i];
        }
        assert_int_equal(dict_range(&d, ints, 8, true, n, base, 1, (uint32_t)spread - 1, &err),
                         WEIR_OK);
        assert_non_null(d.narrow);
        check_ints(&d, ints, n, UINT64_MAX, "of 8 octets");
        assert_int_equal(dict_range(&d, ints32, 4, false, n, base, 1, (uint32_t)spread - 1, &err),
                         WEIR_OK);
        check_ints(&d, ints, n, UINT32_MAX, "of 4 octets");
        base = 1000; /* what is narrower must not wrap: that would be another number */
        for (size_t i = 0; i < n; i++)
            ints16[i] = (uint16_t)(1000 + any() % spread);
        for (size_t i = 0; i < n; i++)
            ints[i] = ints16[i];
        assert_int_equal(dict_range(&d, ints16, 2, false, n, base, 1, (uint32_t)spread - 1, &err),
                         WEIR_OK);
        check_ints(&d, ints, n, UINT32_MAX, "of 2 octets");
        for (size_t i = 0; i < n; i++)
            ints[i] = (uint64_t)(int64_t)(int8_t)ints8[i];
        assert_int_equal(dict_range(&d, ints8, 1, true, n, (uint64_t)-128, 1, 255, &err), WEIR_OK);
        check_ints(&d, ints, n, UINT64_MAX, "of 1 octet, signed");
    }
    assert_int_equal(dict_one(&d, 77, 1000, &err), WEIR_OK);
    for (size_t i = 0; i < 1000; i++)
        assert_true(d.n == 1 && d.ints[code(&d, i)] == 77);
    dict_done(&d);
}

/* The smallest and the largest of some codes, whatever octets there are; by codes too. */
static void spans_of_text(void **state)
{
    (void)state;
    enum { N_TEXTS = 6000 };
    struct dict d = {.seed = 5};
    weir_err err;
    static uint8_t memory[N_TEXTS * 20];
    static struct parquet_bytes v[N_TEXTS], entries[N_TEXTS];
    static uint32_t codes[N_TEXTS];
    for (int round = 0; round < 40; round++) {
        unsigned alphabet = (unsigned)(any() % 256 + 1), same = (unsigned)any() % 18;
        size_t n = round % 3 ? N_TEXTS : any() % 100 + 1;
        for (size_t i = 0; i < n; i++) {
            uint8_t *p = memory + i * 20;
            v[i] = (struct parquet_bytes){p, (uint32_t)(any() % 20)};
            for (uint32_t k = 0; k < v[i].len; k++)
                p[k] = k < same ? 'x' : (uint8_t)(any() % 500 ? '0' + any() % alphabet : any());
        }
        assert_int_equal(dict_bytes(&d, v, n, SIZE_MAX, &err), WEIR_OK);
        for (int with_codes = 0; with_codes < 2; with_codes++) {
            if (with_codes) { /* entries that are all different, of which not all are used */
                uint32_t n_entries = d.n;
                memcpy(entries, d.bytes, n_entries * sizeof *entries);
                for (size_t i = 0; i < n; i++) {
                    codes[i] = (uint32_t)(any() % n_entries);
                    v[i] = entries[codes[i]];
                }
                assert_int_equal(dict_codes(&d, codes, n, entries, n_entries, &err), WEIR_OK);
            }
            uint64_t octets = 0;
            for (size_t i = 0; i < n; i++) {
                assert_int_equal(bounds_compare_bytes(d.bytes[code(&d, i)], v[i]), 0);
                octets += v[i].len;
            }
            assert_int_equal(d.value_octets, octets);
            size_t from = any() % n, part = any() % (n - from) + 1;
            uint32_t least, most;
            assert_int_equal(dict_span(&d, from, part, &least, &most, &err), WEIR_OK);
            bool has_least = false, has_most = false;
            for (size_t i = from; i < from + part; i++) {
                int low = bounds_compare_bytes(d.bytes[least], v[i]);
                int high = bounds_compare_bytes(d.bytes[most], v[i]);
                UNIT_CHECK(low <= 0 && high >= 0, "round %d: value %zu", round, i);
                has_least = has_least || low == 0;
                has_most = has_most || high == 0;
            }
            assert_true(has_least && has_most);
        }
    }
    dict_done(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(examples),
        cmocka_unit_test(hybrid_round_trips),
        cmocka_unit_test(bits_round_trip),
        cmocka_unit_test(delta_round_trips),
        cmocka_unit_test(bounds_of_long_text),
        cmocka_unit_test(bounds_of_numbers),
        cmocka_unit_test(minmax_twins_agree),
        cmocka_unit_test(pack_twins_agree),
        cmocka_unit_test(presses),
        cmocka_unit_test(narrow_dictionaries),
        cmocka_unit_test(bloom_filters),
        cmocka_unit_test(dictionaries),
        cmocka_unit_test(spans_of_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
