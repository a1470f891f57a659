#include "flow/batch.h"

#include "base/hash.h"
#include "base/text.h"
#include "flow/flow.h"

#include <math.h>
#include <stdlib.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "narrowing copies the low octets");

enum {
    NAME_SLOTS = 2048, /* of names: more than twice as many as there are columns */
    MAX_NAME = 255,
    KEY_COST = 20, /* octets that a key of a dictionary takes beside its own: start and slots */
    MEMO_SLOTS = 1024
};

/* Rates that were given to all rows below `rows`: another call for the same goes on from there. */
struct flow_memo {
    struct {
        uint64_t what;
        uint32_t rows;
    } slots[MEMO_SLOTS];
};

/* An extra column's description, name behind it. */
struct extra {
    struct flow_column column;
    char name[];
};

/* ---- memory ---- */

/* Room for need octets, doubling; false: out of memory, nothing has changed. */
static bool grow(void *memory, size_t *cap, size_t need)
{
    if (need <= *cap)
        return true;
    size_t want = *cap ? *cap : 64;
    while (want < need)
        want *= 2;
    void *p;
    memcpy(&p, memory, sizeof p);
    p = realloc(p, want);
    if (!p)
        return false;
    memcpy(memory, &p, sizeof p);
    *cap = want;
    return true;
}

static size_t words(uint32_t n)
{
    return ((size_t)n + 63) / 64;
}

static bool bit(const uint64_t *bits, uint32_t i)
{
    return bits[i / 64] >> i % 64 & 1;
}

static void bit_set(uint64_t *bits, uint32_t i, bool on)
{
    uint64_t one = UINT64_C(1) << i % 64;
    bits[i / 64] = on ? bits[i / 64] | one : bits[i / 64] & ~one;
}

/* Bits [from, to) of a bitmap to 0 or 1. */
static void bits_fill(uint64_t *bits, uint32_t from, uint32_t to, bool on)
{
    while (from < to && from % 64)
        bit_set(bits, from++, on);
    while (from < to && to % 64)
        bit_set(bits, --to, on);
    if (from < to)
        memset(bits + from / 64, on ? 0xff : 0, (to - from) / 8);
}

static uint32_t bits_count(const uint64_t *bits, uint32_t from, uint32_t to)
{
    uint32_t n = 0;
    while (from < to && from % 64)
        n += bit(bits, from++);
    while (from < to && to % 64)
        n += bit(bits, --to);
    for (; from < to; from += 64)
        n += (uint32_t)__builtin_popcountll(bits[from / 64]);
    return n;
}

/* ---- dictionaries ---- */

static void keys_done(struct flow_keys *k)
{
    free(k->starts);
    free(k->octets);
    free(k->slots);
}

static uint32_t key_len(const struct flow_keys *k, uint32_t code)
{
    return k->starts[code + 1] - k->starts[code];
}

static const uint8_t *key_at(const struct flow_keys *k, uint32_t code)
{
    return k->octets + k->starts[code];
}

uint64_t flow_key_hash(const flow_batch *b, const void *key, uint32_t len)
{
    uint32_t four;
    switch (len) {
    case 4:
        memcpy(&four, key, 4);
        return flow_hash4(b, four);
    case 16:
        return flow_hash16(b, key);
    default:
        return base_hash(key, len, b->seed[0]);
    }
}

static struct flow_slot slot_of(const uint8_t *key, uint32_t len, uint64_t hash, uint32_t code)
{
    struct flow_slot s = {.tag = (uint32_t)(hash >> 32), .code = code + 1};
    if (len == 4) {
        memcpy(&s.tag, key, 4);
        s.code |= FLOW_SLOT_FOUR;
    }
    return s;
}

static void slot_put(struct flow_keys *k, uint64_t hash, struct flow_slot s)
{
    uint32_t at = (uint32_t)hash & k->mask;
    while (k->slots[at].code)
        at = (at + 1) & k->mask;
    k->slots[at] = s;
}

static bool keys_rehash(const flow_batch *b, struct flow_keys *k, uint32_t n_slots)
{
    if (!grow(&k->slots, &k->slots_cap, n_slots * sizeof *k->slots))
        return false;
    memset(k->slots, 0, n_slots * sizeof *k->slots);
    k->mask = n_slots - 1;
    for (uint32_t i = 0; i < k->n; i++) {
        uint64_t hash = flow_key_hash(b, key_at(k, i), key_len(k, i));
        slot_put(k, hash, slot_of(key_at(k, i), key_len(k, i), hash, i));
    }
    return true;
}

static uint32_t keys_find(const struct flow_keys *k, const void *key, uint32_t len, uint64_t hash)
{
    if (len == 4) {
        uint32_t four;
        memcpy(&four, key, 4);
        return flow_keys_find4(k, four, hash);
    }
    if (k->mask == 0)
        return UINT32_MAX;
    uint32_t tag = (uint32_t)(hash >> 32);
    for (uint32_t at = (uint32_t)hash & k->mask;; at = (at + 1) & k->mask) {
        struct flow_slot s = k->slots[at];
        if (s.code == 0)
            return UINT32_MAX;
        uint32_t code = s.code - 1;
        if (s.tag == tag && !(s.code & FLOW_SLOT_FOUR) && key_len(k, code) == len &&
            (len == 0 || memcmp(key_at(k, code), key, len) == 0))
            return code;
    }
}

uint32_t flow_keys_put(flow_batch *b, struct flow_col *c, const void *key, uint32_t len,
                       uint64_t hash)
{
    struct flow_keys *k = &c->keys;
    uint32_t code = keys_find(k, key, len, hash);
    if (code != UINT32_MAX)
        return code;
    uint32_t used = k->n ? k->starts[k->n] : 0;
    if (k->n >= FLOW_MAX_KEYS || len > UINT32_MAX - used ||
        !grow(&k->octets, &k->octets_cap, (size_t)used + len) ||
        !grow(&k->starts, &k->starts_cap, ((size_t)k->n + 2) * sizeof *k->starts))
        return UINT32_MAX;
    /* At most half full: a look-up ends after a step or two. */
    if (2 * ((uint64_t)k->n + 1) > (uint64_t)k->mask + 1 &&
        !keys_rehash(b, k, k->mask ? 2 * (k->mask + 1) : 64))
        return UINT32_MAX;
    if (len)
        memcpy(k->octets + used, key, len);
    k->starts[0] = 0;
    k->starts[k->n + 1] = used + len;
    slot_put(k, hash, slot_of(key, len, hash, k->n));
    b->octets += KEY_COST + len;
    return k->n++;
}

/* Empty, with slots for about as many keys as there were. */
static void keys_reset(struct flow_keys *k)
{
    while (k->mask > 63 && (uint64_t)k->n * 8 < (uint64_t)k->mask + 1)
        k->mask /= 2;
    if (k->mask)
        memset(k->slots, 0, ((size_t)k->mask + 1) * sizeof *k->slots);
    k->n = 0;
}

/* ---- columns ---- */

static void col_init(struct flow_col *c, const struct flow_column *column)
{
    size_t octets = flow_type_octets((enum flow_type)column->type);
    c->column = column;
    c->dict = octets == 0;
    c->width = (uint8_t)(octets ? octets : sizeof(uint32_t));
    c->list = column->list;
    c->n = c->n_valid = c->n_items = 0;
    c->nulls = false;
}

static void col_done(struct flow_col *c)
{
    free(c->data);
    free(c->starts);
    free(c->valid);
    keys_done(&c->keys);
}

static bool is_valid(const struct flow_col *c, uint32_t row)
{
    return row < c->n && (!c->nulls || bit(c->valid, row));
}

static size_t col_octets(const struct flow_col *c)
{
    size_t values = c->list ? (size_t)c->n_items * c->width + (size_t)c->n * sizeof *c->starts
                            : (size_t)c->n * c->width;
    size_t keys = c->keys.n ? (size_t)c->keys.n * KEY_COST + c->keys.starts[c->keys.n] : 0;
    return values + keys;
}

/* Room for a bitmap of n rows, and a bitmap there: until now all rows were valid. */
static bool col_nulls(struct flow_col *c, uint32_t n)
{
    if (!grow(&c->valid, &c->valid_cap, words(n) * sizeof *c->valid))
        return false;
    if (!c->nulls)
        bits_fill(c->valid, 0, c->n, true);
    c->nulls = true;
    return true;
}

/* Room for n rows (of a list also for n_items items), with a bitmap when one is there or needed. */
static bool col_reserve(struct flow_col *c, uint32_t n, uint64_t n_items, bool nulls)
{
    if ((nulls || c->nulls) && !col_nulls(c, n > c->n ? n : c->n))
        return false;
    if (!c->list)
        return grow(&c->data, &c->data_cap, (size_t)n * c->width);
    return n_items <= UINT32_MAX && grow(&c->data, &c->data_cap, (size_t)n_items * c->width) &&
           grow(&c->starts, &c->starts_cap, ((size_t)n + 1) * sizeof *c->starts);
}

/* Null rows up to row, for which there is room. */
static void col_gap(flow_batch *b, struct flow_col *c, uint32_t row)
{
    if (c->list) {
        if (c->n == 0)
            c->starts[0] = 0;
        for (uint32_t i = c->n; i < row; i++)
            c->starts[i + 1] = c->n_items;
    }
    if (row <= c->n)
        return;
    if (!c->list)
        memset((uint8_t *)c->data + (size_t)c->n * c->width, 0, (size_t)(row - c->n) * c->width);
    bits_fill(c->valid, c->n, row, false);
    b->octets += (size_t)(row - c->n) * (c->list ? sizeof *c->starts : c->width);
    c->n = row;
}

void *flow_col_open(flow_batch *b, struct flow_col *c, uint32_t row, uint32_t n,
                    const uint64_t *valid)
{
    uint32_t end = row + n, before = c->n;
    if (!col_reserve(c, end > before ? end : before, 0, valid || row > before))
        return NULL;
    col_gap(b, c, row);
    if (valid) {
        for (uint32_t i = 0; i < n; i++)
            bit_set(c->valid, row + i, bit(valid, i));
        c->n_valid += bits_count(c->valid, row, end);
    } else {
        uint32_t old = c->n < end ? c->n : end; /* rows [row, old) had a place before */
        uint32_t were = !c->nulls ? old - row : bits_count(c->valid, row, old);
        if (c->nulls)
            bits_fill(c->valid, row, end, true);
        c->n_valid += n - were;
    }
    if (end > c->n) {
        b->octets += (size_t)(end - c->n) * c->width;
        c->n = end;
    }
    return (uint8_t *)c->data + (size_t)row * c->width;
}

static void col_cut(struct flow_col *c, uint32_t rows)
{
    if (c->n <= rows)
        return;
    c->n_valid -= c->nulls ? bits_count(c->valid, rows, c->n) : c->n - rows;
    if (c->list)
        c->n_items = rows ? c->starts[rows] : 0;
    c->n = rows;
}

/* ---- the batch ---- */

static uint32_t *name_slot(const flow_batch *b, const char *name, size_t len, uint32_t *column)
{
    static uint32_t none;
    (void)none;
    (void)b;
    (void)name;
    (void)len;
    (void)column;
    return NULL;
}
