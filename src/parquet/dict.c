#include "parquet/dict.h"

#include "base/hash.h"
#include "parquet/bounds.h"
#include "parquet/encode.h"
#include "parquet/minmax.h"
#include "parquet/pack.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#define CHECK_EVERY 65536 /* values between two looks at whether the dictionary pays */
#define CHECK_EARLY 16384 /* ... and a first one */
#define MAX_DIRECT 65536  /* integers that are found without hashing */
#define BATCH 64          /* values whose slots are fetched together */
#define FIRST_SLOTS 1024
#define MIN_ORDERED 16 /* entries from which their order matters */
/* Bits of keys that are sorted by: with the five of the class some digits of eight bits, or of eleven for many entries. */
#define MANY 4096
#define MAX_DIGIT 11
#define KEY_BITS_FEW 35
#define KEY_BITS_MANY 39
#define LEAST_SAVING 0.3 /* bits a value that order by frequency saves, when it is worth it */
#define AHEAD 24         /* strings that are asked for before they are read */
#define KEY_OCTETS 16    /* of a string that its key may tell */

#define FEW 1024   /* counters that are held four times */
#define NARROW 256 /* entries whose codes are octets */
#define UNSEEN 255 /* a code that none of fewer entries has */
#define PART 512   /* octets that are counted in one go */

struct dict_slot {
    uint64_t key;   /* the integer, or the hash of octets */
    uint32_t entry; /* its number + 1; 0: the slot is empty */
    uint32_t count; /* of dict_ints */
};

void dict_done(struct dict *d)
{
    free(d->ints);
    free(d->bytes);
    free(d->spare_bytes);
    free(d->keys);
    free(d->marks);
    free(d->tallies);
    free(d->places);
    free(d->table);
    free(d->code_room);
    free(d->narrow_room);
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
    size_t i = 0;
    memset(counts, 0, n_counts * sizeof *counts);
    if (n_counts <= FEW && n >= FEW) {
        uint32_t four[4][FEW] = {{0}};
        for (; n - i >= 4; i += 4) {
            four[0][codes[i]]++;
            four[1][codes[i + 1]]++;
            four[2][codes[i + 2]]++;
            four[3][codes[i + 3]]++;
        }
        for (uint32_t k = 0; k < n_counts; k++)
            counts[k] = four[0][k] + four[1][k] + four[2][k] + four[3][k];
    }
    for (; i < n; i++)
        counts[codes[i]]++;
}

/* n codes of the only entry. */
static bool all_one(struct dict *d, size_t n)
{
    if (!ROOM(d, narrow_room, cap_narrow, n))
        return false;
    memset(d->narrow_room, 0, n);
    d->codes = NULL;
    d->narrow = d->narrow_room;
    return true;
}

/* d->codes or d->narrow: to[codes[i]] of each. */
static bool translate(struct dict *d, const uint32_t *codes, size_t n, const uint32_t *to,
                      size_t n_to)
{
    d->codes = NULL;
    d->narrow = NULL;
    if (d->n > NARROW) {
        if (!ROOM(d, code_room, cap_codes, n))
            return false;
        for (size_t i = 0; i < n; i++)
            d->code_room[i] = to[codes[i]];
        d->codes = d->code_room;
        return true;
    }
    /* A table of octets, behind the codes: what it is read through stays in the first level of the cache longer. */
    if (!ROOM(d, narrow_room, cap_narrow, n + n_to))
        return false;
    uint8_t *table = d->narrow_room + n;
    for (size_t i = 0; i < n_to; i++)
        table[i] = (uint8_t)to[i];
    for (size_t i = 0; i < n; i++)
        d->narrow_room[i] = table[codes[i]];
    d->narrow = d->narrow_room;
    return true;
}

/* How often each octet occurs among some of them: every 8th part, if they are many. */
static void count_octets(uint32_t counts[NARROW], const uint8_t *octets, size_t n, bool some)
{
    uint32_t four[4][NARROW] = {{0}};
    size_t step = some && n >= 64 * PART ? 8 * PART : PART;
    for (size_t from = 0; from < n; from += step) {
        size_t end = n - from < PART ? n : from + PART, i = from;
        for (; end - i >= 8; i += 8) {
            uint64_t v;
            memcpy(&v, octets + i, sizeof v);
            for (unsigned k = 0; k < 4; k++, v >>= 16) {
                four[k][v & 0xff]++;
                four[k][v >> 8 & 0xff]++;
            }
        }
        for (; i < end; i++)
            four[0][octets[i]]++;
    }
    for (size_t k = 0; k < NARROW; k++)
        counts[k] = four[0][k] + four[1][k] + four[2][k] + four[3][k];
}

/* ---- order ---- */

static unsigned bits_of(uint64_t v)
{
    return v ? 64 - (unsigned)__builtin_clzll(v) : 0;
}

/* Of n numbers by `digit` of their bits from `shift` on; stable. False: all are the same there, and nothing was done. */
static inline __attribute__((always_inline)) bool
sort_pass(const uint64_t *from, uint64_t *to, size_t n, unsigned shift, const unsigned digit)
{
    uint32_t at[1 << MAX_DIGIT], sum = 0;
    const uint64_t mask = (1u << digit) - 1;
    memset(at, 0, sizeof *at << digit);
    for (size_t i = 0; i < n; i++)
        at[from[i] >> shift & mask]++;
    if (at[from[0] >> shift & mask] == n)
        return false;
    for (size_t i = 0; i <= mask; i++) {
        uint32_t here = at[i];
        at[i] = sum;
        sum += here;
    }
    for (size_t i = 0; i < n; i++)
        to[at[from[i] >> shift & mask]++] = from[i];
    return true;
}

/* d->order[n] by its bits from `low` up to `high`. */
static bool sort(struct dict *d, size_t n, unsigned low, unsigned high)
{
    if (!ROOM(d, sorted, cap_sorted, n))
        return false;
    bool many = n >= MANY;
    for (unsigned shift = low; shift < high; shift += many ? MAX_DIGIT : 8) {
        if (!(many ? sort_pass(d->order, d->sorted, n, shift, MAX_DIGIT)
                   : sort_pass(d->order, d->sorted, n, shift, 8)))
            continue;
        uint64_t *order = d->order;
        size_t cap = d->cap_order;
        d->order = d->sorted;
        d->cap_order = d->cap_sorted;
        d->sorted = order;
        d->cap_sorted = cap;
    }
    return true;
}

/* log2, between powers of two along a line: at most 0.09 too small. */
static double about_log2(double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    double fraction = (double)(bits & ((UINT64_C(1) << 52) - 1)) / (double)(UINT64_C(1) << 52);
    return (double)(int)(bits >> 52) - 1023 + fraction;
}

/* Entries and what they are counted, by class. */
struct classes {
    uint32_t entries[DICT_CLASSES];
    uint64_t counts[DICT_CLASSES];
};

static inline void add_class(struct classes *c, uint32_t count)
{
    unsigned of = (unsigned)__builtin_clz(count);
    c->entries[of]++;
    c->counts[of] += count;
}

/* Whether frequencies differ so much that to order by them saves something; else values alone are the better order. */
static bool differ(const struct classes *c, uint32_t used)
{
    double all = 0, bits = 0;
    for (size_t i = 0; i < DICT_CLASSES; i++)
        all += (double)c->counts[i];
    for (size_t i = 0; i < DICT_CLASSES; i++)
        if (c->entries[i])
            bits += (double)c->counts[i] *
                    about_log2(all * (double)c->entries[i] / (double)c->counts[i]);
    return used >= MIN_ORDERED && bits < all * (about_log2(used) - LEAST_SAVING);
}

/* Entries with counts into their order: d->order[new] becomes the old one, d->counts[old] the new one. keys: one an
 * entry, of which the highest bits that differ are looked at; those of entries without a count are anything. */
static bool rank(struct dict *d, const uint64_t *keys, size_t n)
{
    uint64_t low = UINT64_MAX, high = 0;
    struct classes classes = {0};
    size_t used = 0;
    if (!ROOM(d, order, cap_order, n) || !ROOM(d, keys, cap_keys, n))
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!d->counts[i])
            continue;
        low = keys[i] < low ? keys[i] : low;
        high = keys[i] > high ? keys[i] : high;
        add_class(&classes, d->counts[i]);
        used++;
    }
    bool by_class = differ(&classes, (uint32_t)used);
    /* From above: class, key, number; the class and the key in a few digits. */
    unsigned place = bits_of(n - 1), key_bits = bits_of(high - low),
             room = (used >= MANY ? KEY_BITS_MANY : KEY_BITS_FEW);
    room = room < 64 - 5 - place ? room : 64 - 5 - place;
    unsigned kept = key_bits < room ? key_bits : room;
    used = 0;
    for (size_t i = 0; i < n; i++)
        if (d->counts[i]) {
            uint64_t of_class = by_class ? (uint64_t)__builtin_clz(d->counts[i]) : 0;
            uint64_t key = kept ? (keys[i] - low) >> (key_bits - kept) : 0;
            d->order[used++] = (of_class << kept | key) << place | i;
        }
    d->n = (uint32_t)used;
    d->n_runs = 0;
    if (used >= MIN_ORDERED && !sort(d, used, place, place + kept + 5))
        return false;
    uint64_t mask = (UINT64_C(1) << place) - 1;
    uint64_t last_class = UINT64_MAX;
    for (size_t i = 0; i < used; i++) {
        uint64_t key = d->order[i] >> place;
        d->keys[i] = key;
        if (used >= MIN_ORDERED && key >> kept != last_class) {
            d->runs[d->n_runs++] = (uint32_t)i;
            last_class = key >> kept;
        }
        d->order[i] &= mask;
        d->counts[d->order[i]] = (uint32_t)i;
    }
    d->runs[d->n_runs] = (uint32_t)used;
    return true;
}

/* How octets stand in keys: those that a sample of the strings has get odd ranks, any others between two of them the
 * even rank there, behind which a key tells nothing more. The end of a string is rank 0. */
struct alphabet {
    uint16_t rank[256];
    unsigned bits;
};

static void learn(struct alphabet *a, const uint32_t *counts, const struct parquet_bytes *bytes,
                  size_t n)
{
    uint16_t rank = 2; /* of octets below all of the sample */
    *a = (struct alphabet){0};
    for (size_t i = 0; i < n; i += n / 256 + 1) {
        struct parquet_bytes b = bytes[i];
        for (uint32_t k = 0; counts[i] && k < b.len && k < KEY_OCTETS; k++)
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

/* Keys of strings: as many first octets as fit, in as few bits each as the alphabet allows; 12 of an IPv4 address.
 * Strings lie anywhere: those that come soon are asked for. */
static bool text_keys(struct dict *d, const struct parquet_bytes *bytes, size_t n)
{
    struct alphabet a;
    if (!ROOM(d, sorted, cap_sorted, n))
        return false;
    learn(&a, d->counts, bytes, n);
    for (size_t i = 0; i < n; i++) {
        struct parquet_bytes b = bytes[i];
        uint64_t key = 0;
        unsigned left = 64, rank_of = 1;
        if (n - i > AHEAD)
            __builtin_prefetch(bytes[i + AHEAD].data);
        for (uint32_t k = 0; d->counts[i] && k < b.len && rank_of & 1 && left >= a.bits; k++) {
            rank_of = a.rank[b.data[k]];
            left -= a.bits;
            key |= (uint64_t)rank_of << left;
        }
        d->sorted[i] = key;
    }
    return true;
}

/* d->bytes from entries[n] with counts, in order; d->counts[old entry] becomes the new one. */
static bool order_bytes(struct dict *d, const struct parquet_bytes *entries, size_t n)
{
    /* The keys stand in d->sorted, which rank does not write to before it has read them. */
    if (!text_keys(d, entries, n) || !rank(d, d->sorted, n))
        return false;
    if (!ROOM(d, spare_bytes, cap_spare_bytes, d->n))
        return false;
    for (size_t i = 0; i < d->n; i++)
        d->spare_bytes[i] = entries[d->order[i]];
    struct parquet_bytes *bytes = d->bytes;
    size_t cap = d->cap_bytes;
    d->bytes = d->spare_bytes;
    d->cap_bytes = d->cap_spare_bytes;
    d->spare_bytes = bytes;
    d->cap_spare_bytes = cap;
    return true;
}

/* The same of d->ints[n]. */
static bool order_ints(struct dict *d, size_t n)
{
    if (!rank(d, d->ints, n) || !ROOM(d, sorted, cap_sorted, n))
        return false;
    for (size_t i = 0; i < d->n; i++)
        d->sorted[i] = d->ints[d->order[i]];
    uint64_t *ints = d->ints;
    size_t cap = d->cap_ints;
    d->ints = d->sorted;
    d->cap_ints = d->cap_sorted;
    d->sorted = ints;
    d->cap_sorted = cap;
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

/* Which multiple value i is. Differences of signed numbers are right modulo their width all the same. */
static inline __attribute__((always_inline)) uint64_t divide(const struct divider *d,
                                                             const void *values,
                                                             const unsigned width, const bool steps,
                                                             size_t i)
{
    uint64_t diff = width == 8   ? ((const uint64_t *)values)[i] - d->min
                    : width == 4 ? ((const uint32_t *)values)[i] - (uint32_t)d->min
                    : width == 2 ? (uint16_t)(((const uint16_t *)values)[i] - (uint16_t)d->min)
                                 : (uint8_t)(((const uint8_t *)values)[i] - (uint8_t)d->min);
    if (!steps)
        return diff;
    uint64_t q = diff * d->inverse;
    return q >> d->shift | q << (-d->shift & 63);
}

/* What is done with the values of one width and kind of step, with all of that constant. */
#define EACH_FORM(body, width, steps)                                                              \
    switch ((width) | ((steps) ? 16 : 0)) {                                                        \
    case 1:                                                                                        \
        body(1, false);                                                                            \
        break;                                                                                     \
    case 2:                                                                                        \
        body(2, false);                                                                            \
        break;                                                                                     \
    case 4:                                                                                        \
        body(4, false);                                                                            \
        break;                                                                                     \
    case 16 | 4:                                                                                   \
        body(4, true);                                                                             \
        break;                                                                                     \
    case 16 | 8:                                                                                   \
        body(8, true);                                                                             \
        break;                                                                                     \
    case 8:                                                                                        \
        body(8, false);                                                                            \
        break;                                                                                     \
    default: /* steps in so few values save nothing */                                             \
        return false;                                                                              \
    }

/* Whether part number i of many values is one of those that are counted. A value's frequency need not be known
 * exactly, and to add to the same counter again and again takes time; so mostly it is only marked. */
static bool is_counted(size_t i, size_t n)
{
    return n < 64 * PART || i % 8 == 0;
}

static inline void tally(struct dict *d, size_t at)
{
    uint16_t now = d->tallies[at];
    d->tallies[at] = (uint16_t)(now + (now < UINT16_MAX));
}

/* marks[n] and tallies[n], all zero. */
static bool counters(struct dict *d, size_t n)
{
    size_t whole = n / 8 * 8 + 8; /* marks are looked through eight at a time */
    if (!ROOM(d, tallies, cap_tallies, whole) || !ROOM(d, marks, cap_marks, whole))
        return false;
    memset(d->tallies, 0, n * sizeof *d->tallies);
    memset(d->marks, 0, whole);
    return true;
}

/* How many are marked. */
static uint32_t count_marks(const uint8_t *marks, size_t n)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < n; i += 8) {
        uint64_t word;
        memcpy(&word, marks + i, sizeof word);
        sum += (uint32_t)(word * UINT64_C(0x0101010101010101) >> 56);
    }
    return sum;
}

/* Which are marked, in d->places from `at` on. */
static void list_marks(struct dict *d, size_t n, size_t at)
{
    uint32_t *to = d->places + at;
    for (size_t i = 0; i < n; i += 8) {
        uint64_t word;
        memcpy(&word, d->marks + i, sizeof word);
        for (word = le64toh(word); word; word &= word - 1)
            *to++ = (uint32_t)i + (uint32_t)__builtin_ctzll(word) / 8;
    }
}

/* marks[k] of each min + k * step, tallies[k] of some; false: a value is not of them. */
static inline __attribute__((always_inline)) bool
count_form(struct dict *d, uint32_t range, const struct divider *by, const void *values,
           const unsigned width, const bool steps, size_t n)
{
    uint8_t *marks = d->marks;
    for (size_t from = 0; from < n; from += PART) {
        size_t end = n - from < PART ? n : from + PART;
        bool counted = is_counted(from / PART, n);
        for (size_t i = from; i < end; i++) {
            uint64_t at = divide(by, values, width, steps, i);
            if (at > range)
                return false;
            marks[at] = 1;
            if (counted)
                tally(d, at);
        }
    }
    return true;
}

static bool count_range(struct dict *d, uint32_t range, const struct divider *by,
                        const void *values, unsigned width, bool steps, size_t n)
{
#define COUNT(w, s) return count_form(d, range, by, values, w, s, n)
    EACH_FORM(COUNT, width, steps)
#undef COUNT
}

/* to[i] = table[which multiple value i is], of octets and of codes. */
static bool look_up_narrow(uint8_t *to, const uint8_t *table, const struct divider *by,
                           const void *values, unsigned width, bool steps, size_t n)
{
#define LOOK(w, s)                                                                                 \
    for (size_t i = 0; i < n; i++)                                                                 \
    to[i] = table[divide(by, values, w, s, i)]
    EACH_FORM(LOOK, width, steps)
    return true;
}

static bool look_up(uint32_t *to, const uint32_t *table, const struct divider *by,
                    const void *values, unsigned width, bool steps, size_t n)
{
    EACH_FORM(LOOK, width, steps)
#undef LOOK
    return true;
}

/* Entries of values that are in order already: those of each class, one class behind the other. Value k is min +
 * places[k] * step, and counts[k] becomes its entry. */
static bool range_entries(struct dict *d, uint64_t min, uint64_t step, bool is64, uint32_t used)
{
    uint32_t *counts = d->counts, at[DICT_CLASSES] = {0};
    struct classes classes = {0};
    if (!ROOM(d, ints, cap_ints, used))
        return false;
    for (uint32_t i = 0; i < used; i++)
        add_class(&classes, counts[i]);
    bool by_class = differ(&classes, used);
    for (uint32_t i = 0, sum = 0; i < DICT_CLASSES; i++) {
        at[i] = sum;
        sum += classes.entries[i];
    }
    for (uint32_t i = 0; i < used; i++) {
        uint32_t code = by_class ? at[__builtin_clz(counts[i])]++ : i;
        uint64_t v = min + d->places[i] * step;
        d->ints[code] = is64 ? v : (uint32_t)v;
        counts[i] = code;
    }
    d->n = used;
    return true;
}

/* Codes in d->narrow_room of values that are min + k there, k <= range < 256. What did not occur among those that were
 * counted comes out as UNSEEN, and all are counted then. */
static bool narrow_range(struct dict *d, const void *values, unsigned width, bool is64, size_t n,
                         uint64_t min, uint32_t range)
{
    const struct pack_ops *ops = pack_best();
    size_t span = (size_t)range + 1;
    uint8_t table[NARROW];
    uint32_t counts[NARROW];
    if (!ROOM(d, narrow_room, cap_narrow, n) || !ROOM(d, counts, cap_counts, NARROW) ||
        !ROOM(d, places, cap_places, NARROW))
        return false;
    d->codes = NULL;
    d->narrow = d->narrow_room;
    for (int all = range < UNSEEN ? 0 : 1; all < 2; all++) {
        if (width == 8)
            ops->narrow64(d->narrow_room, values, n, min);
        else if (width == 4)
            ops->narrow32(d->narrow_room, values, n, (uint32_t)min);
        else if (width == 2)
            ops->narrow16(d->narrow_room, values, n, (uint16_t)min);
        else
            for (size_t i = 0; i < n; i++)
                d->narrow_room[i] = (uint8_t)(((const uint8_t *)values)[i] - (uint8_t)min);
        count_octets(counts, d->narrow_room, n, !all);
        uint32_t used = 0;
        for (uint32_t i = 0; i < span; i++) {
            table[i] = UNSEEN;
            d->places[used] = i;
            d->counts[used] = counts[i];
            used += counts[i] != 0;
        }
        if (!range_entries(d, min, 1, is64, used))
            return false;
        for (size_t i = 0; i < used; i++)
            table[d->places[i]] = (uint8_t)d->counts[i];
        if (ops->look_up8(d->narrow_room, n, table, span) < UNSEEN)
            break;
    }
    return true;
}

weir_status dict_range(struct dict *d, const void *values, unsigned width, bool is64, size_t n,
                       uint64_t min, uint64_t step, uint32_t range, weir_err *err)
{
    size_t span = (size_t)range + 1;
    struct divider by = divider_of(min, step);
    bool steps = step > 1;
    if (!steps && range < NARROW)
        return narrow_range(d, values, width, is64, n, min, range) ? WEIR_OK : no_memory(err);
    if (!counters(d, span))
        return no_memory(err);
    if (!count_range(d, range, &by, values, width, steps, n))
        return WEIR_ELIMIT;
    uint32_t used = count_marks(d->marks, span);
    if (!ROOM(d, places, cap_places, used) || !ROOM(d, counts, cap_counts, used) ||
        !ROOM(d, table, cap_table, span))
        return no_memory(err);
    list_marks(d, span, 0);
    for (uint32_t i = 0; i < used; i++)
        d->counts[i] = d->tallies[d->places[i]] + 1u;
    if (!range_entries(d, min, step, is64, used))
        return no_memory(err);
    for (uint32_t i = 0; i < used; i++)
        d->table[d->places[i]] = d->counts[i];
    d->codes = NULL;
    d->narrow = NULL;
    if (d->n > NARROW) {
        if (!ROOM(d, code_room, cap_codes, n))
            return no_memory(err);
        (void)look_up(d->code_room, d->table, &by, values, width, steps, n);
        d->codes = d->code_room;
        return WEIR_OK;
    }
    if (!ROOM(d, narrow_room, cap_narrow, n + span))
        return no_memory(err);
    uint8_t *table = d->narrow_room + n;
    for (uint32_t i = 0; i < used; i++)
        table[d->places[i]] = (uint8_t)d->counts[i];
    (void)look_up_narrow(d->narrow_room, table, &by, values, width, steps, n);
    d->narrow = d->narrow_room;
    return WEIR_OK;
}

weir_status dict_one(struct dict *d, uint64_t value, size_t n, weir_err *err)
{
    if (!ROOM(d, ints, cap_ints, 1) || !all_one(d, n))
        return no_memory(err);
    d->ints[0] = value;
    d->n = 1;
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

/* The entry of each of values[n <= BATCH], those that are new added; their codes are its number above n_direct. */
static void hash_batch(struct dict *d, const uint64_t *values, const uint32_t *places, size_t n,
                       size_t n_slots, size_t n_direct, uint32_t *codes)
{
    size_t homes[BATCH];
    for (size_t i = 0; i < n; i++) {
        homes[i] = mix(values[i], d->seed) & (n_slots - 1);
        __builtin_prefetch(&d->slots.at[homes[i]]);
    }
    for (size_t i = 0; i < n; i++) {
        uint64_t v = values[i];
        struct dict_slot *s = &d->slots.at[homes[i]];
        while (s->entry && s->key != v)
            if (++s == d->slots.at + n_slots)
                s = d->slots.at;
        if (!s->entry) {
            d->ints[d->n++] = v;
            *s = (struct dict_slot){v, d->n, 0};
        }
        s->count++;
        codes[places[i]] = (uint32_t)n_direct + s->entry - 1;
    }
}

/* Whether to go on, when seen of n values have given so many different ones. steady: as many in the second half as in
 * the first; that will not change, and values that hardly ever come again are worth a dictionary only if it is better without
 * being compressed. */
static bool dict_pays(uint64_t different, bool steady, size_t seen, size_t n, unsigned entry_bits,
                      uint64_t max_bits)
{
    if (different > seen - seen / 16)
        return false;
    if (steady) {
        different = different * (n / seen);
        max_bits /= 2;
    }
    unsigned code_bits = encode_width(different > UINT32_MAX ? UINT32_MAX : (uint32_t)different);
    return different * entry_bits + (uint64_t)n * code_bits <= max_bits;
}

/* Values up to MAX_DIRECT above the least are found in a table, the others in a hash table: of octets and packets that
 * flows have nearly all are small. An entry's first number is its distance from the least or, of hashed ones, behind these. */
weir_status dict_ints(struct dict *d, const void *values, bool is64, size_t n, uint64_t min,
                      unsigned entry_bits, uint64_t max_bits, weir_err *err)
{
    size_t n_slots, direct = n < MANY ? 0 : n / 2 < MAX_DIRECT ? n / 2 : MAX_DIRECT;
    uint64_t at_half = 0;
    d->n = 0;
    if (!ROOM(d, code_room, cap_codes, n) || !ROOM(d, ints, cap_ints, BATCH) ||
        !first_slots(d, n, &n_slots) || !counters(d, direct))
        return no_memory(err);
    uint32_t *codes = d->code_room;
    for (size_t from = 0; from < n; from += BATCH) {
        size_t end = n - from < BATCH ? n - from : BATCH, n_far = 0;
        uint64_t far[BATCH];
        uint32_t places[BATCH];
        bool counted = is_counted(from / PART, n);
        for (size_t i = 0; i < end; i++) {
            uint64_t v = int_at(values, is64, from + i), at = v - min;
            codes[from + i] = (uint32_t)at;
            far[n_far] = v;
            places[n_far] = (uint32_t)i;
            n_far += at >= direct;
            if (at >= direct)
                continue;
            d->marks[at] = 1;
            if (counted)
                tally(d, at);
        }
        /* A batch may add BATCH entries: room for all of them before it starts. */
        while (n_slots < 2 * ((size_t)d->n + BATCH))
            if (!more_slots(d, &n_slots, false))
                return no_memory(err);
        if (!ROOM(d, ints, cap_ints, (size_t)d->n + BATCH))
            return no_memory(err);
        hash_batch(d, far, places, n_far, n_slots, direct, codes + from);
        size_t seen = from + end;
        if (seen % CHECK_EVERY && seen != CHECK_EARLY && seen != CHECK_EARLY / 2)
            continue;
        uint64_t different = d->n + count_marks(d->marks, direct);
        bool steady = seen == CHECK_EARLY && different - at_half > at_half - at_half / 10;
        at_half = different;
        if (seen != CHECK_EARLY / 2 && !dict_pays(different, steady, seen, n, entry_bits, max_bits))
            return WEIR_ELIMIT;
    }
    size_t n_hashed = d->n, all = n_hashed + count_marks(d->marks, direct);
    if (!ROOM(d, counts, cap_counts, all) || !ROOM(d, places, cap_places, all) ||
        !ROOM(d, ints, cap_ints, all) || !ROOM(d, table, cap_table, direct + n_hashed))
        return no_memory(err);
    for (size_t i = 0; i < n_slots; i++) {
        const struct dict_slot *s = &d->slots.at[i];
        if (!s->entry)
            continue;
        /* Counted always, the others in every eighth part. */
        d->counts[s->entry - 1] = n < 64 * PART ? s->count : s->count / 8 + 1;
        d->places[s->entry - 1] = (uint32_t)direct + s->entry - 1;
    }
    list_marks(d, direct, n_hashed);
    for (size_t i = n_hashed; i < all; i++) {
        uint64_t v = min + d->places[i];
        d->counts[i] = d->tallies[d->places[i]] + 1u;
        d->ints[i] = is64 ? v : (uint32_t)v;
    }
    if (!order_ints(d, all))
        return no_memory(err);
    for (size_t i = 0; i < all; i++)
        d->table[d->places[i]] = d->counts[i];
    if (!translate(d, codes, n, d->table, direct + n_hashed))
        return no_memory(err);
    return WEIR_OK;
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
            *s = (struct dict_slot){hash, d->n, 0};
            if (d->octets + 4 * (uint64_t)d->n > max_octets)
                return WEIR_ELIMIT;
        }
        codes[i] = s->entry - 1;
        if ((i + 1) % CHECK_EVERY == 0 && d->n > i - i / 16)
            return WEIR_ELIMIT;
    }
    uint32_t n_bytes = d->n;
    if (!ROOM(d, counts, cap_counts, n_bytes))
        return no_memory(err);
    count_codes(d->counts, n_bytes, codes, n);
    if (!order_bytes(d, d->bytes, n_bytes) || !translate(d, codes, n, d->counts, n_bytes))
        return no_memory(err);
    return WEIR_OK;
}

weir_status dict_codes(struct dict *d, const uint32_t *codes, size_t n,
                       const struct parquet_bytes *dict, uint32_t n_dict, weir_err *err)
{
    uint32_t least, most;
    d->n = 0;
    d->octets = d->value_octets = 0;
    minmax_best()->u32(codes, n, 0, &least, &most);
    if (most >= n_dict)
        return weir_err_set(err, WEIR_EINVAL, 0, "parquet writer: code %u of a dictionary of %u",
                            most, n_dict);
    if (!ROOM(d, counts, cap_counts, n_dict))
        return no_memory(err);
    uint32_t *counts = d->counts;
    if (least == most) {
        memset(counts, 0, n_dict * sizeof *counts);
        counts[most] = (uint32_t)n;
    } else {
        count_codes(counts, n_dict, codes, n);
    }
    for (uint32_t i = 0; i < n_dict; i++) {
        d->octets += counts[i] ? dict[i].len : 0;
        d->value_octets += (uint64_t)counts[i] * dict[i].len;
    }
    if (!order_bytes(d, dict, n_dict))
        return no_memory(err);
    if (least != most)
        return translate(d, codes, n, counts, n_dict) ? WEIR_OK : no_memory(err);
    return all_one(d, n) ? WEIR_OK : no_memory(err);
}

/* ---- span ---- */

/* The smaller of two entries, or the larger. */
static uint32_t better(const struct dict *d, uint32_t a, uint32_t b, bool largest)
{
    int order = bounds_compare_bytes(d->bytes[a], d->bytes[b]);
    return (largest ? order >= 0 : order <= 0) ? a : b;
}

/* Of the entries that are marked; n: none. */
static uint32_t marked(const struct dict *d, const uint8_t *marks, bool largest)
{
    uint32_t best = d->n;
    if (!d->n_runs) {
        for (uint32_t i = 0; i < d->n; i++)
            if (marks[i])
                best = best == d->n ? i : better(d, best, i, largest);
        return best;
    }
    for (unsigned run = 0; run < d->n_runs; run++) {
        uint32_t from = d->runs[run], end = d->runs[run + 1], first = end;
        for (uint32_t k = 0; k < end - from; k++) {
            uint32_t i = largest ? end - 1 - k : from + k;
            if (first != end && d->keys[i] != d->keys[first])
                break;
            if (!marks[i])
                continue;
            first = i;
            best = best == d->n ? i : better(d, best, i, largest);
        }
    }
    return best;
}

weir_status dict_span(struct dict *d, size_t from, size_t n, uint32_t *min, uint32_t *max,
                      weir_err *err)
{
    *min = *max = 0;
    if (d->n == 1)
        return WEIR_OK;
    if (!ROOM(d, marks, cap_marks, d->n))
        return no_memory(err);
    memset(d->marks, 0, d->n);
    if (d->narrow)
        for (size_t i = from; i < from + n; i++)
            d->marks[d->narrow[i]] = 1;
    else
        for (size_t i = from; i < from + n; i++)
            d->marks[d->codes[i]] = 1;
    *min = marked(d, d->marks, false);
    *max = marked(d, d->marks, true);
    return WEIR_OK;
}
