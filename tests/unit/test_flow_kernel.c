/* Loops over many records: each build of a kernel against what it must give, and against the other build, on random input
 * of every length; buffers end where the input does, so that a sanitizer sees an octet read too many. */
#include "flow/flow.h"
#include "flow/kernel.h"

#include "unit.h"

enum { MOST = 300 };

static const struct flow_kernels *builds[2];

static uint32_t state = 7;

static uint32_t rnd(uint32_t n)
{
    state = state * 1664525 + 1013904223;
    return (uint32_t)(((uint64_t)(state >> 4) * n) >> 28);
}

static uint64_t rnd64(void)
{
    return (uint64_t)rnd(1u << 28) << 40 ^ (uint64_t)rnd(1u << 28) << 20 ^ rnd(1u << 28);
}

/* Memory that ends exactly behind n octets. */
static void *exact(size_t n)
{
    void *p = malloc(n ? n : 1);
    assert_non_null(p);
    return p;
}

static void test_window(void **unused)
{
    (void)unused;
    for (unsigned round = 0; round < 2000; round++) {
        size_t stride = 16 + rnd(100);
        uint32_t n = 1 + rnd(rnd(4) ? 40 : MOST), at = rnd((uint32_t)stride - 15);
        uint8_t *records = exact(stride * n), shuffle[16];
        for (size_t i = 0; i < stride * n; i++)
            records[i] = (uint8_t)rnd(256);
        for (unsigned k = 0; k < 4; k++) {
            uint32_t len = rnd(5), from = rnd(17 - len);
            bool reverse = rnd(3);
            for (uint32_t i = 0; i < 4; i++)
                shuffle[4 * k + i] =
                    i >= len ? 0x80 : (uint8_t)(reverse ? from + len - 1 - i : from + i);
        }
        for (unsigned b = 0; b < 2; b++) {
            uint32_t *out[4];
            for (unsigned k = 0; k < 4; k++)
                out[k] = exact(n * sizeof *out[k]);
            /* The last record's window must be all that is read of it. */
            builds[b]->window(records + at, stride, n, shuffle, out);
            for (uint32_t i = 0; i < n; i++)
                for (unsigned k = 0; k < 4; k++) {
                    uint32_t want = 0;
                    for (unsigned o = 0; o < 4; o++)
                        if (shuffle[4 * k + o] != 0x80)
                            want |= (uint32_t)records[i * stride + at + shuffle[4 * k + o]]
                                    << 8 * o;
                    UNIT_CHECK(out[k][i] == want, "%s: record %u of %u, number %u: %x not %x",
                               builds[b]->name, i, n, k, out[k][i], want);
                }
            for (unsigned k = 0; k < 4; k++)
                free(out[k]);
        }
        free(records);
    }
}

static void test_widths(void **unused)
{
    (void)unused;
    for (uint32_t n = 0; n < MOST; n++) {
        uint32_t *in = exact(n * sizeof *in), *high = exact(n * sizeof *high), all = 0;
        for (uint32_t i = 0; i < n; i++) {
            in[i] = rnd(1u << 28) << 4 >> rnd(32);
            high[i] = rnd(3) ? rnd(1000) : rnd(1u << 28);
            all |= in[i];
        }
        for (unsigned b = 0; b < 2; b++) {
            const struct flow_kernels *k = builds[b];
            uint8_t *o8 = exact(n);
            uint16_t *o16 = exact(n * sizeof *o16);
            uint64_t *o64 = exact(n * sizeof *o64), *joined = exact(n * sizeof *joined);
            assert_int_equal(k->to8(o8, in, n), all);
            assert_int_equal(k->to16(o16, in, n), all);
            k->to64(o64, in, n);
            k->join64(joined, high, in, n);
            for (uint32_t i = 0; i < n; i++) {
                assert_int_equal(o8[i], (uint8_t)in[i]);
                assert_int_equal(o16[i], (uint16_t)in[i]);
                assert_int_equal(o64[i], in[i]);
                assert_int_equal(joined[i], (uint64_t)high[i] << 32 | in[i]);
            }
            free(o8);
            free(o16);
            free(o64);
            free(joined);
        }
        free(in);
        free(high);
    }
}

static void test_fill(void **unused)
{
    (void)unused;
    static const unsigned widths[] = {1, 2, 4, 8};
    for (uint32_t n = 0; n < 100; n++)
        for (unsigned w = 0; w < 4; w++)
            for (unsigned b = 0; b < 2; b++) {
                uint8_t *out = exact(n * widths[w] + FLOW_KERNEL_SLACK);
                uint64_t value = rnd64(), got = 0;
                memset(out, 0xee, n * widths[w] + FLOW_KERNEL_SLACK);
                builds[b]->fill(out, widths[w], value, n);
                for (uint32_t i = 0; i < n; i++) {
                    memcpy(&got, out + i * widths[w], widths[w]);
                    assert_memory_equal(&got, &value, widths[w]);
                }
                free(out);
            }
}

static void test_either(void **unused)
{
    (void)unused;
    for (uint32_t n = 0; n < MOST; n++) {
        uint8_t *in = exact(n);
        uint32_t places[2][MOST], found[2], want = 0;
        for (uint32_t i = 0; i < n; i++) {
            in[i] = (uint8_t)(rnd(3) ? 6 : rnd(60));
            want += in[i] == 1 || in[i] == 58;
        }
        for (unsigned b = 0; b < 2; b++) {
            found[b] = builds[b]->either(in, n, 1, 58, places[b]);
            assert_int_equal(found[b], want);
            for (uint32_t i = 0; i < found[b]; i++) {
                assert_true(in[places[b][i]] == 1 || in[places[b][i]] == 58);
                assert_true(i == 0 || places[b][i] > places[b][i - 1]);
            }
        }
        free(in);
    }
}

/* As src/wire/time.c has it. */
static void test_times(void **unused)
{
    (void)unused;
    enum { DAY_MS = 86400000 };
    const uint64_t most = INT64_MAX / 1000000;
    for (unsigned round = 0; round < 2000; round++) {
        uint32_t n = rnd(rnd(3) ? 20 : MOST), now = rnd(1u << 28) << rnd(5);
        int64_t export_us = (int64_t)1700000000000000 + rnd(1000000);
        uint32_t *low = exact(n * sizeof *low), *high = exact(n * sizeof *high);
        bool good = true;
        unsigned odd = rnd(3) ? 0 : 1 + rnd(4);
        for (uint32_t i = 0; i < n; i++) {
            static const uint32_t edges[] = {0, 1, DAY_MS - 1, DAY_MS, DAY_MS + 1, UINT32_MAX};
            low[i] = rnd(4) ? now - rnd(1000000) : now + edges[rnd(UNIT_N(edges))];
            high[i] = 0x18b;
            if (odd && rnd(20) == 0) {
                static const uint64_t values[] = {0, UINT64_MAX, (uint64_t)1 << 63,
                                                  INT64_MAX / 1000000 + 1};
                high[i] = (uint32_t)(values[odd - 1] >> 32);
                low[i] = (uint32_t)values[odd - 1];
            } else if (rnd(10) == 0) { /* the edges of what is good */
                uint64_t v = rnd(2) ? 1 : most;
                high[i] = (uint32_t)(v >> 32);
                low[i] = (uint32_t)v;
            }
            uint64_t v = (uint64_t)high[i] << 32 | low[i];
            good &= v > 0 && v <= most;
        }
        for (unsigned b = 0; b < 2; b++) {
            int64_t *out = exact(n * sizeof *out);
            builds[b]->uptime(out, low, n, now, DAY_MS, export_us);
            for (uint32_t i = 0; i < n; i++) {
                uint32_t age = now - low[i], ahead = low[i] - now;
                int64_t want = export_us + (ahead < DAY_MS ? (int64_t)ahead : -(int64_t)age) * 1000;
                UNIT_CHECK(out[i] == want, "%s: uptime %u at %u", builds[b]->name, low[i], now);
            }
            assert_int_equal(builds[b]->milliseconds(out, high, low, n, most), good);
            for (uint32_t i = 0; i < n; i++)
                assert_int_equal((uint64_t)out[i], ((uint64_t)high[i] << 32 | low[i]) * 1000);
            free(out);
        }
        free(low);
        free(high);
    }
}

/* ---- dictionaries ---- */

/* Keys of 4 and of 16 octets into one dictionary, in chunks, by each build; some keys often, some once. */
static void test_dictionary(void **unused)
{
    (void)unused;
    enum { ROUNDS = 1500, WIDE = 24 };
    flow_batch *batches[2];
    for (unsigned b = 0; b < 2; b++) {
        batches[b] = flow_batch_new(FLOW_TABLE_FLOWS);
        assert_non_null(batches[b]);
        batches[b]->kernels = builds[b];
    }
    for (unsigned b = 1; b < 2; b++) /* the same hashes in both */
        memcpy(batches[b]->seed, batches[0]->seed, sizeof batches[0]->seed);
    for (unsigned round = 0; round < ROUNDS; round++) {
        uint32_t n = 1 + rnd(FLOW_KERNEL_KEYS), len = rnd(2) ? 4 : 16;
        uint32_t four[FLOW_KERNEL_KEYS], range = rnd(3) ? 300 : 1u << 27;
        uint8_t wide[FLOW_KERNEL_KEYS * WIDE];
        for (uint32_t i = 0; i < n; i++) {
            four[i] = rnd(range);
            memset(wide + i * WIDE, 0, WIDE);
            memcpy(wide + i * WIDE + rnd(2) * 12, &four[i], 4);
        }
        uint32_t codes[2][FLOW_KERNEL_KEYS];
        for (unsigned b = 0; b < 2; b++) {
            const struct flow_kernels *k = builds[b];
            struct flow_keys *keys = &batches[b]->cols[FLOW_src_addr].keys;
            const uint64_t *seed = batches[b]->seed;
            uint32_t missed[FLOW_KERNEL_KEYS], hashes4[FLOW_KERNEL_KEYS], n_missed;
            uint64_t hashes16[FLOW_KERNEL_KEYS];
            assert_true(flow_keys_reserve(batches[b], keys, 0, len));
            if (len == 4) {
                k->hash4(keys, seed, four, n, hashes4);
                for (uint32_t i = 0; i < n; i++)
                    assert_int_equal(hashes4[i], flow_hash4(seed, four[i]));
                n_missed = k->find4(keys, four, hashes4, n, codes[b], missed);
                assert_true(flow_keys_reserve(batches[b], keys, n_missed, len));
                k->put4(keys, four, hashes4, missed, n_missed, codes[b]);
            } else {
                k->hash16(keys, seed, wide, WIDE, n, hashes16);
                for (uint32_t i = 0; i < n; i++)
                    assert_int_equal(hashes16[i], flow_hash16(seed, wide + i * WIDE));
                n_missed = k->find16(keys, wide, WIDE, hashes16, n, codes[b], missed);
                assert_true(flow_keys_reserve(batches[b], keys, n_missed, len));
                k->put16(keys, wide, WIDE, hashes16, missed, n_missed, codes[b]);
            }
            for (uint32_t i = 0; i < n; i++) {
                const void *key = len == 4 ? (void *)&four[i] : wide + i * WIDE;
                assert_true(codes[b][i] < keys->n);
                assert_int_equal(keys->starts[codes[b][i] + 1] - keys->starts[codes[b][i]], len);
                assert_memory_equal(keys->octets + keys->starts[codes[b][i]], key, len);
                /* And it is found again, by the way of single keys. */
                assert_int_equal(flow_batch_key(batches[b], FLOW_src_addr, key, len), codes[b][i]);
            }
        }
        assert_memory_equal(codes[0], codes[1], n * sizeof codes[0][0]);
    }
    const struct flow_keys *keys = &batches[0]->cols[FLOW_src_addr].keys;
    assert_int_equal(keys->n, batches[1]->cols[FLOW_src_addr].keys.n);
    assert_true(keys->n > 10000);
    /* No key twice. */
    for (uint32_t i = 0; i < keys->n; i++)
        assert_int_equal(flow_batch_key(batches[0], FLOW_src_addr, keys->octets + keys->starts[i],
                                        keys->starts[i + 1] - keys->starts[i]),
                         i);
    flow_batch_free(batches[0]);
    flow_batch_free(batches[1]);
}

/* All keys into one bucket and those behind it: what an exporter cannot bring about, for it does not know the seed. */
static void test_collisions(void **unused)
{
    (void)unused;
    for (unsigned b = 0; b < 2; b++) {
        flow_batch *batch = flow_batch_new(FLOW_TABLE_FLOWS);
        assert_non_null(batch);
        struct flow_keys *keys = &batch->cols[FLOW_src_addr].keys;
        uint32_t four[30], hashes[30], codes[30], missed[30];
        uint8_t wide[30][16];
        uint64_t hashes16[30];
        assert_true(flow_keys_reserve(batch, keys, 60, 16));
        for (uint32_t i = 0; i < 30; i++) {
            four[i] = 1000 + i;
            hashes[i] = keys->mask; /* the last bucket: the search goes on at the first */
            hashes16[i] = keys->mask;
            memset(wide[i], (int)i, 16);
        }
        for (unsigned again = 0; again < 3; again++) {
            uint32_t n = builds[b]->find4(keys, four, hashes, 30, codes, missed);
            assert_int_equal(n, again == 0 ? 30 : 22);
            builds[b]->put4(keys, four, hashes, missed, n, codes);
            for (uint32_t i = 0; i < 30; i++)
                assert_int_equal(codes[i], i);
            n = builds[b]->find16(keys, wide[0], 16, hashes16, 30, codes, missed);
            builds[b]->put16(keys, wide[0], 16, hashes16, missed, n, codes);
            for (uint32_t i = 0; i < 30; i++)
                assert_int_equal(codes[i], 30 + i);
        }
        assert_int_equal(keys->n, 60);
        flow_batch_free(batch);
    }
}

int main(void)
{
    builds[0] = flow_kernels_generic();
    builds[1] = flow_kernels_best(); /* the same where the processor has no more */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_window),     cmocka_unit_test(test_widths),
        cmocka_unit_test(test_fill),       cmocka_unit_test(test_either),
        cmocka_unit_test(test_times),      cmocka_unit_test(test_dictionary),
        cmocka_unit_test(test_collisions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
