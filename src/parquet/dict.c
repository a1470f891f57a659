#include "parquet/dict.h"

#include "base/hash.h"
#include "parquet/encode.h"

#include <stdlib.h>
#include <string.h>

#define CHECK_EVERY 65536 /* values between two looks at whether the dictionary pays */
#define BATCH 64          /* values whose slots are fetched together */
#define FIRST_SLOTS 1024
#define MIN_ORDERED 16 /* entries from which their order matters */
#define KEY_OCTETS 16  /* of a string that its key may tell */

struct dict_order {
    uint64_t key; /* of the value: sorts as it does, as far as it goes */
    uint32_t entry, count;
};

struct dict_slot {
    uint64_t key;   /* the integer, or the hash of octets */
    uint32_t entry; /* its number + 1; 0: the slot is empty */
};

void dict_done(struct dict *d)
{
    free(d->ints);
    free(d->bytes);
    free(d->keys);
    free(d->code_room);
    free(d->counts);
    free(d->order);
    free(d->sorted);
    free(d->slots.at);
    free(d->spare.at);
    *d = (struct dict){0};
}

static weir_status no_memory(weir_err *err)
{
    return weir_err_set(err, WEIR_ENOMEM, 0, "parquet writer: no memory for a dictionary");
}

/* Room for n elements in *array, a pointer of any type; what is in it is kept. */
static bool room(void *array, size_t *cap, size_t n, size_t size)
{
    if (n <= *cap)
        return true;
    size_t want = *cap ? *cap : 64;
    while (want < n)
        want += want / 2;
    if (want > SIZE_MAX / size)
        return false;
    void *p;
    memcpy(&p, array, sizeof p);
    p = realloc(p, want * size);
    if (!p)
        return false;
    memcpy(array, &p, sizeof p);
    *cap = want;
    return true;
}

#define ROOM(d, field, cap, n) room(&(d)->field, &(d)->cap, n, sizeof *(d)->field)

static uint64_t int_at(const void *values, bool is64, size_t i)
{
    return is64 ? ((const uint64_t *)values)[i] : ((const uint32_t *)values)[i];
}

/* Codes counted. Neighbours often are the same, and each addition to one counter waits for the one before: few counters
 * are held four times. */
static void count_codes(uint32_t *counts, uint32_t n_counts, const uint32_t *codes, size_t n)
{
    uint32_t four[4][256] = {{0}};
    size_t i = 0;
    memset(counts, 0, n_counts * sizeof *counts);
    for (; n_counts <= 256 && n - i >= 4; i += 4)
        for (size_t k = 0; k < 4; k++)
            four[k][codes[i + k]]++;
    for (; i < n; i++)
        counts[codes[i]]++;
    for (uint32_t k = 0; n_counts <= 256 && k < n_counts; k++)
        counts[k] += four[0][k] + four[1][k] + four[2][k] + four[3][k];
}

/* ---- order ---- */

/* Of n entries by one octet of their keys, or by the power of two of their counts, falling; stable. False: all are the
 * same there, and nothing was done. */
static bool sort_pass(const struct dict_order *from, struct dict_order *to, size_t n,
                      unsigned shift, bool by_count)
{
    uint32_t at[256] = {0}, sum = 0;
#define DIGIT(o)                                                                                   \
    (by_count ? (unsigned)__builtin_clz((o).count) : (unsigned)((o).key >> shift) & 255)
    for (size_t i = 0; i < n; i++)
        at[DIGIT(from[i])]++;
    if (at[DIGIT(from[0])] == n)
        return false;
    for (size_t i = 0; i < 256; i++) {
        uint32_t here = at[i];
        at[i] = sum;
        sum += here;
    }
    for (size_t i = 0; i < n; i++)
        to[at[DIGIT(from[i])]++] = from[i];
#undef DIGIT
    return true;
}

/* d->order[n] into its order. */
static bool sort(struct dict *d, size_t n)
{
    if (!ROOM(d, sorted, cap_sorted, n))
        return false;
    for (unsigned pass = 0; pass < 9; pass++) {
        if (!sort_pass(d->order, d->sorted, n, 8 * pass, pass == 8))
            continue;
        struct dict_order *order = d->order;
        size_t cap = d->cap_order;
        d->order = d->sorted;
        d->cap_order = d->cap_sorted;
        d->sorted = order;
        d->cap_sorted = cap;
    }
    return true;
}

/* Strings lie anywhere: ask for those that come soon. */
static inline void fetch_ahead(const struct dict_order *order, size_t i, size_t n,
                               const struct parquet_bytes *bytes)
{
    if (n - i > 24)
        __builtin_prefetch(bytes[order[i + 24].entry].data);
}

/* How octets stand in keys: those that a sample of the strings has get odd ranks, any others between two of them the
 * even rank there, behind which a key tells nothing more. The end of a string is rank 0. */
struct alphabet {
    uint16_t rank[256];
    unsigned bits;
};

static void learn(struct alphabet *a, const struct dict_order *order, size_t n,
                  const struct parquet_bytes *bytes)
{
    uint16_t rank = 2; /* of octets below all of the sample */
    *a = (struct alphabet){0};
    for (size_t i = 0; i < n; i += n / 256 + 1) {
        struct parquet_bytes b = bytes[order[i].entry];
        for (uint32_t k = 0; k < b.len && k < KEY_OCTETS; k++)
            a->rank[b.data[k]] = 1;
    }
    for (unsigned i = 0; i < 256; i++) {
        bool known = a->rank[i];
        a->rank[i] = known ? rank + 1 : rank;
        rank = known ? rank + 2 : rank;
    }
    while (rank >> a->bits)
        a->bits++;
}

/* Keys of strings: as many first octets as fit, in as few bits each as the alphabet allows; 12 of an IPv4 address. */
static void text_keys(struct dict_order *order, size_t n, const struct parquet_bytes *bytes)
{
    struct alphabet a;
    learn(&a, order, n, bytes);
    for (size_t i = 0; i < n; i++) {
        struct parquet_bytes b = bytes[order[i].entry];
        uint64_t key = 0;
        unsigned left = 64, rank = 1;
        fetch_ahead(order, i, n, bytes);
        for (uint32_t k = 0; k < b.len && rank & 1 && left >= a.bits; k++) {
            rank = a.rank[b.data[k]];
            left -= a.bits;
            key |= (uint64_t)rank << left;
        }
        order[i].key = key;
    }
}

/* Entries with counts into their order: d->counts[old entry] becomes the new one. */
static bool order_entries(struct dict *d, bool text, const void *entries, size_t n)
{
    size_t used = 0;
    for (size_t i = 0; i < n; i++)
        used += d->counts[i] != 0;
    if (!ROOM(d, order, cap_order, used))
        return false;
    used = 0;
    for (size_t i = 0; i < n; i++)
        if (d->counts[i])
            d->order[used++] = (struct dict_order){text ? 0 : ((const uint64_t *)entries)[i],
                                                   (uint32_t)i, d->counts[i]};
    if (text)
        text_keys(d->order, used, entries);
    if (used >= MIN_ORDERED && !sort(d, used))
        return false;
    if (text && !ROOM(d, keys, cap_keys, used))
        return false;
    for (size_t i = 0; i < used; i++) {
        d->counts[d->order[i].entry] = (uint32_t)i;
        if (text)
            d->keys[i] = d->order[i].key;
    }
    d->n = (uint32_t)used;
    return true;
}

/* ... of the entries in d, all of which are used by codes[n], which are the dictionary's own. */
static bool reorder(struct dict *d, bool text, uint32_t *codes, size_t n)
{
    size_t size = text ? sizeof *d->bytes : sizeof *d->ints;
    void *entries = text ? (void *)d->bytes : d->ints;
    if (d->n < MIN_ORDERED && !text)
        return true;
    if (!ROOM(d, counts, cap_counts, d->n))
        return false;
    count_codes(d->counts, d->n, codes, n);
    if (!order_entries(d, text, entries, d->n))
        return false;
    void *copy = malloc(d->n * size);
    if (!copy)
        return false;
    memcpy(copy, entries, d->n * size);
    for (size_t i = 0; i < d->n; i++) {
        if (text)
            d->bytes[i] = ((const struct parquet_bytes *)copy)[d->order[i].entry];
        else
            d->ints[i] = ((const uint64_t *)copy)[d->order[i].entry];
    }
    free(copy);
    for (size_t i = 0; i < n; i++)
        codes[i] = d->counts[codes[i]];
    return true;
}

/* ---- dictionaries ---- */

uint64_t dict_step(const void *values, bool is64, size_t n, uint64_t min)
{
    uint64_t step = 0;
    for (size_t i = 0; i < n && step != 1; i += n / 256 + 1) {
        uint64_t diff = int_at(values, is64, i) - min;
        if (!is64)
            diff = (uint32_t)diff;
        while (diff) { /* greatest common divisor */
            uint64_t rest = step % diff;
            step = diff;
            diff = rest;
        }
    }
    return step ? step : 1;
}

/* How to divide by step without dividing: a multiple of its odd part times the inverse of that, modulo 2^64, is the
 * quotient; of anything else it is larger than any quotient can be once the power of two is rotated out. */
struct divider {
    uint64_t min, inverse;
    unsigned shift;
};

static struct divider divider_of(uint64_t min, uint64_t step)
{
    struct divider d = {.min = min, .inverse = 1, .shift = (unsigned)__builtin_ctzll(step)};
    uint64_t odd = step >> d.shift;
    for (int i = 0; i < 6; i++) /* Newton: each round doubles the right bits, from 2 */
        d.inverse *= 2 - odd * d.inverse;
    return d;
}

static inline uint64_t divide(struct divider d, const void *values, bool is64, size_t i)
{
    uint64_t diff = is64 ? ((const uint64_t *)values)[i] - d.min
                         : ((const uint32_t *)values)[i] - (uint32_t)d.min;
    uint64_t q = diff * d.inverse;
    return q >> d.shift | q << (-d.shift & 63);
}

/* counts[k] of each min + k * step; false: a value is not of them. */
static inline __attribute__((always_inline)) bool count_range(uint32_t *counts, uint32_t range,
                                                              struct divider by, const void *values,
                                                              bool is64, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t at = divide(by, values, is64, i);
        if (at > range)
            return false;
        counts[at]++;
    }
    return true;
}

weir_status dict_range(struct dict *d, const void *values, bool is64, size_t n, uint64_t min,
                       uint64_t step, uint32_t range, weir_err *err)
{
    size_t span = (size_t)range + 1;
    struct divider by = divider_of(min, step);
    if (!ROOM(d, counts, cap_counts, span) || !ROOM(d, code_room, cap_codes, n))
        return no_memory(err);
    uint32_t *counts = d->counts, *codes = d->code_room, used = 0;
    memset(counts, 0, span * sizeof *counts);
    /* Signed values may cross 0: their differences modulo 2^32 or 2^64 are right all the same. */
    if (!(is64 ? count_range(counts, range, by, values, true, n)
               : count_range(counts, range, by, values, false, n)))
        return WEIR_ELIMIT;
    for (size_t i = 0; i < span; i++)
        used += counts[i] != 0;
    if (!ROOM(d, ints, cap_ints, used) || !ROOM(d, order, cap_order, used))
        return no_memory(err);
    used = 0;
    for (size_t i = 0; i < span; i++)
        if (counts[i])
            d->order[used++] = (struct dict_order){i, (uint32_t)i, counts[i]};
    if (used >= MIN_ORDERED && !sort(d, used))
        return no_memory(err);
    for (uint32_t i = 0; i < used; i++) {
        uint32_t at = d->order[i].entry;
        uint64_t v = min + at * step;
        d->ints[i] = is64 ? v : (uint32_t)v;
        counts[at] = i;
    }
    if (is64)
        for (size_t i = 0; i < n; i++)
            codes[i] = counts[divide(by, values, true, i)];
    else
        for (size_t i = 0; i < n; i++)
            codes[i] = counts[divide(by, values, false, i)];
    d->n = used;
    d->codes = codes;
    return WEIR_OK;
}

static uint64_t mix(uint64_t v, uint64_t seed)
{
    v ^= seed;
    v *= UINT64_C(0x9e3779b97f4a7c15);
    v ^= v >> 32;
    v *= seed | 1;
    return v ^ v >> 29;
}

/* A table of n empty slots. */
static bool table(struct dict_slots *t, size_t n)
{
    if (n > t->cap) {
        free(t->at);
        t->cap = 0;
        t->at = n <= SIZE_MAX / sizeof *t->at ? malloc(n * sizeof *t->at) : NULL;
        if (!t->at)
            return false;
        t->cap = n;
    }
    memset(t->at, 0, n * sizeof *t->at);
    return true;
}

/* The first table for n values; tables that an earlier, much larger chunk needed are let go. */
static bool first_slots(struct dict *d, size_t n, size_t *n_slots)
{
    struct dict_slots *both[] = {&d->slots, &d->spare};
    for (size_t i = 0; i < ARRAY_LEN(both); i++) {
        if (both[i]->cap / 16 <= n + FIRST_SLOTS)
            continue;
        free(both[i]->at);
        *both[i] = (struct dict_slots){0};
    }
    *n_slots = FIRST_SLOTS;
    return table(&d->slots, FIRST_SLOTS);
}

/* Move the entries into a table of twice the size. hashed: keys are hashes already. */
static bool more_slots(struct dict *d, size_t *n_slots, bool hashed)
{
    size_t n = *n_slots * 2;
    if (!table(&d->spare, n))
        return false;
    struct dict_slot *to = d->spare.at;
    for (size_t i = 0; i < *n_slots; i++) {
        struct dict_slot s = d->slots.at[i];
        if (!s.entry)
            continue;
        size_t at = (hashed ? s.key : mix(s.key, d->seed)) & (n - 1);
        while (to[at].entry)
            at = (at + 1) & (n - 1);
        to[at] = s;
    }
    struct dict_slots old = d->slots;
    d->slots = d->spare;
    d->spare = old;
    *n_slots = n;
    return true;
}

weir_status dict_ints(struct dict *d, const void *values, bool is64, size_t n, unsigned entry_bits,
                      uint64_t max_bits, weir_err *err)
{
    size_t n_slots;
    d->n = 0;
    if (!ROOM(d, code_room, cap_codes, n) || !first_slots(d, n, &n_slots))
        return no_memory(err);
    uint32_t *codes = d->code_room;
    for (size_t from = 0; from < n; from += BATCH) {
        size_t end = n - from < BATCH ? n - from : BATCH;
        size_t homes[BATCH];
        /* A batch may add BATCH entries: room for all of them before it starts. */
        while (n_slots < 2 * ((size_t)d->n + BATCH))
            if (!more_slots(d, &n_slots, false))
                return no_memory(err);
        if (!ROOM(d, ints, cap_ints, (size_t)d->n + BATCH))
            return no_memory(err);
        for (size_t i = 0; i < end; i++) {
            homes[i] = mix(int_at(values, is64, from + i), d->seed) & (n_slots - 1);
            __builtin_prefetch(&d->slots.at[homes[i]]);
        }
        for (size_t i = 0; i < end; i++) {
            uint64_t v = int_at(values, is64, from + i);
            struct dict_slot *s = &d->slots.at[homes[i]];
            while (s->entry && s->key != v)
                if (++s == d->slots.at + n_slots)
                    s = d->slots.at;
            if (!s->entry) {
                d->ints[d->n++] = v;
                *s = (struct dict_slot){v, d->n};
            }
            codes[from + i] = s->entry - 1;
        }
        size_t seen = from + end;
        if (seen % CHECK_EVERY == 0) {
            uint64_t bits = (uint64_t)d->n * entry_bits + (uint64_t)n * encode_width(d->n);
            if (bits > max_bits || d->n > seen - seen / 16)
                return WEIR_ELIMIT;
        }
    }
    d->codes = codes;
    return reorder(d, false, codes, n) ? WEIR_OK : no_memory(err);
}

static bool same(struct parquet_bytes a, struct parquet_bytes b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

weir_status dict_bytes(struct dict *d, const struct parquet_bytes *values, size_t n,
                       uint64_t max_octets, weir_err *err)
{
    size_t n_slots;
    d->n = 0;
    d->octets = d->value_octets = 0;
    if (!ROOM(d, code_room, cap_codes, n) || !first_slots(d, n, &n_slots))
        return no_memory(err);
    uint32_t *codes = d->code_room;
    for (size_t i = 0; i < n; i++) {
        if (n_slots < 2 * ((size_t)d->n + 1) && !more_slots(d, &n_slots, true))
            return no_memory(err);
        if (!ROOM(d, bytes, cap_bytes, (size_t)d->n + 1))
            return no_memory(err);
        struct parquet_bytes v = values[i];
        d->value_octets += v.len;
        if (i && same(v, values[i - 1])) {
            codes[i] = codes[i - 1];
            continue;
        }
        uint64_t hash = base_hash(v.data, v.len, d->seed);
        struct dict_slot *s = &d->slots.at[hash & (n_slots - 1)];
        while (s->entry && !(s->key == hash && same(d->bytes[s->entry - 1], v)))
            if (++s == d->slots.at + n_slots)
                s = d->slots.at;
        if (!s->entry) {
            d->octets += v.len;
            d->bytes[d->n++] = v;
            *s = (struct dict_slot){hash, d->n};
            if (d->octets + 4 * (uint64_t)d->n > max_octets)
                return WEIR_ELIMIT;
        }
        codes[i] = s->entry - 1;
        if ((i + 1) % CHECK_EVERY == 0 && d->n > i - i / 16)
            return WEIR_ELIMIT;
    }
    d->codes = codes;
    return reorder(d, true, codes, n) ? WEIR_OK : no_memory(err);
}

weir_status dict_codes(struct dict *d, const uint32_t *codes, size_t n,
                       const struct parquet_bytes *dict, uint32_t n_dict, weir_err *err)
{
    d->n = 0;
    d->octets = d->value_octets = 0;
    if (!ROOM(d, counts, cap_counts, n_dict))
        return no_memory(err);
    uint32_t *counts = d->counts;
    uint32_t most = 0;
    for (size_t i = 0; i < n; i++)
        most = codes[i] > most ? codes[i] : most;
    if (most >= n_dict)
        return weir_err_set(err, WEIR_EINVAL, 0, "parquet writer: code %u of a dictionary of %u",
                            most, n_dict);
    count_codes(counts, n_dict, codes, n);
    if (!ROOM(d, bytes, cap_bytes, n_dict))
        return no_memory(err);
    for (uint32_t i = 0; i < n_dict; i++) {
        d->octets += counts[i] ? dict[i].len : 0;
        d->value_octets += (uint64_t)counts[i] * dict[i].len;
    }
    if (!order_entries(d, true, dict, n_dict) || !ROOM(d, code_room, cap_codes, n))
        return no_memory(err);
    for (size_t i = 0; i < d->n; i++)
        d->bytes[i] = dict[d->order[i].entry];
    for (size_t i = 0; i < n; i++)
        d->code_room[i] = counts[codes[i]];
    d->codes = d->code_room;
    return WEIR_OK;
}
