/* encode: the encodings against the examples of the specification and against our own decoder; bounds; bloom filters;
 * dictionaries. */
#include "unit.h"

#include "base/cpu.h"
#include "parquet/bloom.h"
#include "parquet/bounds.h"
#include "parquet/decode.h"
#include "parquet/dict.h"
#include "parquet/encode.h"
#include "parquet/minmax.h"

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
        uint64_t guess = encode_delta_estimate(in, true, n);
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
    bounds_of_u32(&b, v, 3, true);
    memcpy(&u[0], b.min.octets, 4);
    memcpy(&u[1], b.max.octets, 4);
    assert_true(u[0] == 0 && u[1] == UINT32_MAX);
    bounds_of_u32(&b, v, 3, false);
    memcpy(&u[0], b.min.octets, 4);
    memcpy(&u[1], b.max.octets, 4);
    assert_true(u[0] == UINT32_MAX && u[1] == 5);
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
    const struct minmax_ops *twins[2] = {minmax_generic(), minmax_avx2()};
    if (!twins[1] || !base_cpu_has_avx2())
        skip();
    for (int round = 0; round < 500; round++) {
        size_t n = any() % 200 + 1;
        uint64_t flip = any() % 2 ? UINT64_C(1) << 63 : 0, min[2], max[2];
        uint32_t min32[2], max32[2];
        unsigned shift = (unsigned)(any() % 64);
        for (size_t i = 0; i < n; i++) {
            v[i] = any() % 5 ? any() >> shift : 0 - (any() >> shift);
            v32[i] = (uint32_t)v[i];
        }
        for (int t = 0; t < 2; t++) {
            twins[t]->u64(v, n, flip, &min[t], &max[t]);
            twins[t]->u32(v32, n, (uint32_t)(flip >> 32), &min32[t], &max32[t]);
        }
        assert_true(min[0] == min[1] && max[0] == max[1] && min32[0] == min32[1] &&
                    max32[0] == max32[1]);
    }
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

static void dictionaries(void **state)
{
    (void)state;
    struct dict d = {.seed = 5};
    weir_err err;
    static uint64_t v[5000];
    static uint32_t v32[5000];
    for (int round = 0; round < 40; round++) {
        size_t n = any() % 5000 + 1;
        uint64_t base = any(), step = any() % 3 ? any() % 3000 + 1 : 1, spread = any() % 400 + 1;
        for (size_t i = 0; i < n; i++) {
            v[i] = base + any() % spread * step;
            v32[i] = (uint32_t)v[i];
        }
        assert_int_equal(dict_ints(&d, v, true, n, 1, UINT64_MAX, &err), WEIR_OK);
        uint32_t n_dict = d.n;
        for (size_t i = 0; i < n; i++)
            UNIT_CHECK(d.codes[i] < d.n && d.ints[d.codes[i]] == v[i], "value %zu by hash", i);
        uint64_t min = UINT64_MAX;
        for (size_t i = 0; i < n; i++)
            min = v[i] - base < min ? v[i] - base : min;
        uint64_t found = dict_step(v, true, n, base + min);
        assert_int_equal(
            dict_range(&d, v, true, n, base + min, found, (uint32_t)(spread * step / found), &err),
            WEIR_OK);
        UNIT_CHECK(d.n == n_dict, "%u entries by hash, %u by table", n_dict, d.n);
        for (size_t i = 0; i < n; i++)
            UNIT_CHECK(d.codes[i] < d.n && d.ints[d.codes[i]] == v[i], "value %zu by table", i);
        assert_int_equal(dict_ints(&d, v32, false, n, 1, UINT64_MAX, &err), WEIR_OK);
        for (size_t i = 0; i < n; i++)
            UNIT_CHECK(d.ints[d.codes[i]] == v32[i], "value %zu of 32 bits", i);
    }
    /* A value that is no multiple. */
    static const uint64_t odd[] = {1000, 2000, 3001};
    assert_int_equal(dict_range(&d, odd, true, 3, 1000, 1000, 100, &err), WEIR_ELIMIT);
    dict_done(&d);
}

/* Keys never fall where octets rise, whatever octets there are. */
static void keys_of_text(void **state)
{
    (void)state;
    struct dict d = {.seed = 5};
    weir_err err;
    static uint8_t memory[3000 * 20];
    static struct parquet_bytes v[3000];
    for (int round = 0; round < 20; round++) {
        unsigned alphabet = (unsigned)(any() % 256 + 1);
        for (size_t i = 0; i < UNIT_N(v); i++) {
            uint8_t *p = memory + i * 20;
            v[i] = (struct parquet_bytes){p, (uint32_t)(any() % 20)};
            for (uint32_t k = 0; k < v[i].len; k++)
                p[k] = (uint8_t)(any() % 500 ? '0' + any() % alphabet : any());
        }
        assert_int_equal(dict_bytes(&d, v, UNIT_N(v), SIZE_MAX, &err), WEIR_OK);
        for (size_t i = 0; i < UNIT_N(v); i++)
            assert_int_equal(bounds_compare_bytes(d.bytes[d.codes[i]], v[i]), 0);
        for (uint32_t i = 0; i < d.n; i++) {
            uint32_t k = (uint32_t)(any() % d.n);
            int order = bounds_compare_bytes(d.bytes[i], d.bytes[k]);
            UNIT_CHECK(order < 0   ? d.keys[i] <= d.keys[k]
                       : order > 0 ? d.keys[i] >= d.keys[k]
                                   : i == k,
                       "round %d: entries %u and %u", round, i, k);
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
        cmocka_unit_test(bloom_filters),
        cmocka_unit_test(dictionaries),
        cmocka_unit_test(keys_of_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
