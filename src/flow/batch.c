#include "flow/batch.h"

#include "base/hash.h"
#include "base/text.h"
#include "flow/flow.h"

#include <math.h>
#include <stdlib.h>
#include <strings.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "narrowing copies the low octets");

enum {
    NAME_SLOTS = 2048, /* of names: more than twice as many as there are columns */
    MAX_NAME = 255,
    MEMO_SLOTS = 1024,
    SMALL = 64 << 10 /* octets that an array keeps whether it was used or not */
};

/* Rates that were given to all rows below `rows`: another call for the same goes on from there. */
struct flow_memo {
    struct {
        uint64_t what;
        uint32_t rows;
    } slots[MEMO_SLOTS];
};

/* An extra column's description, name behind it. */
struct flow_extra {
    struct flow_column column;
    char name[MAX_NAME + 1];
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

/* The bits [from, to) of a word, to - from <= 64 and both within it. */
static uint64_t word_mask(uint32_t from, uint32_t to)
{
    return (to - from == 64 ? UINT64_MAX : (UINT64_C(1) << (to - from)) - 1) << from % 64;
}

/* Where the word that holds bit `from` ends, or the run of bits does. */
static uint32_t word_end(uint32_t from, uint32_t to)
{
    uint32_t end = (from | 63) + 1;
    return end < to ? end : to;
}

/* Bits [from, to) of a bitmap to 0 or 1. */
static void bits_fill(uint64_t *bits, uint32_t from, uint32_t to, bool on)
{
    for (uint32_t end; from < to; from = end) {
        end = word_end(from, to);
        uint64_t mask = word_mask(from, end);
        bits[from / 64] = on ? bits[from / 64] | mask : bits[from / 64] & ~mask;
    }
}

static uint32_t bits_count(const uint64_t *bits, uint32_t from, uint32_t to)
{
    uint32_t n = 0;
    for (uint32_t end; from < to; from = end) {
        end = word_end(from, to);
        n += (uint32_t)__builtin_popcountll(bits[from / 64] & word_mask(from, end));
    }
    return n;
}

/* ---- dictionaries ---- */

static void keys_done(struct flow_keys *k)
{
    free(k->starts);
    free(k->octets);
    free(k->memory);
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
        return flow_hash4(b->seed, four);
    case 16:
        return flow_hash16(b->seed, key);
    default:
        return base_hash(key, len, b->seed[0]);
    }
}

static uint32_t tag_of(const void *key, uint32_t len, uint64_t hash)
{
    uint32_t tag = (uint32_t)(hash >> 32);
    if (len == 4)
        memcpy(&tag, key, 4);
    return tag;
}

/* Take the first empty slot from the bucket of the hash on. */
static void slot_put(struct flow_keys *k, const void *key, uint32_t len, uint64_t hash,
                     uint32_t code)
{
    for (uint32_t at = (uint32_t)hash & k->mask;; at = (at + 1) & k->mask) {
        struct flow_bucket *b = &k->buckets[at];
        for (unsigned i = 0; i < ARRAY_LEN(b->codes); i++)
            if (b->codes[i] == 0) {
                b->tags[i] = tag_of(key, len, hash);
                b->codes[i] = (code + 1) | (len == 4 ? FLOW_SLOT_FOUR : 0);
                return;
            }
    }
}

/* Empty buckets, as many as k->mask says. */
static void buckets_clear(struct flow_keys *k)
{
    memset(k->buckets, 0, ((size_t)k->mask + 1) * sizeof *k->buckets);
}

static bool keys_rehash(const flow_batch *b, struct flow_keys *k, uint32_t n_buckets)
{
    size_t line = sizeof *k->buckets, octets = (n_buckets + 1) * line;
    if (octets > k->memory_cap) {
        void *memory = malloc(octets);
        if (!memory)
            return false;
        free(k->memory);
        k->memory = memory;
        k->memory_cap = octets;
        k->buckets = (struct flow_bucket *)(((uintptr_t)memory + line - 1) / line * line);
    }
    k->mask = n_buckets - 1;
    buckets_clear(k);
    for (uint32_t i = 0; i < k->n; i++)
        slot_put(k, key_at(k, i), key_len(k, i), flow_key_hash(b, key_at(k, i), key_len(k, i)), i);
    return true;
}

static bool holds(const struct flow_keys *k, uint32_t code, const void *key, uint32_t len)
{
    return key_len(k, code) == len && (len == 0 || memcmp(key_at(k, code), key, len) == 0);
}

/* The slot of a key, *code its code; or the first empty one, *code is UINT32_MAX. */
static struct flow_bucket *keys_seek(const struct flow_keys *k, const void *key, uint32_t len,
                                     uint64_t hash, unsigned *slot, uint32_t *code)
{
    uint32_t tag = tag_of(key, len, hash), four = len == 4 ? FLOW_SLOT_FOUR : 0;
    for (uint32_t at = (uint32_t)hash & k->mask;; at = (at + 1) & k->mask) {
        struct flow_bucket *b = &k->buckets[at];
        for (unsigned i = 0; i < ARRAY_LEN(b->codes); i++) {
            *slot = i;
            *code = (b->codes[i] & ~FLOW_SLOT_FOUR) - 1;
            if (b->codes[i] == 0 || (b->tags[i] == tag && (b->codes[i] & FLOW_SLOT_FOUR) == four &&
                                     (four || holds(k, *code, key, len))))
                return b;
        }
    }
}

static uint32_t keys_find(const struct flow_keys *k, const void *key, uint32_t len, uint64_t hash)
{
    unsigned slot;
    uint32_t code = UINT32_MAX;
    if (k->buckets)
        (void)keys_seek(k, key, len, hash, &slot, &code);
    return code;
}

bool flow_keys_reserve(const flow_batch *b, struct flow_keys *k, uint32_t n, uint32_t len)
{
    uint64_t keys = (uint64_t)k->n + n, used = k->n ? k->starts[k->n] : 0;
    if (keys > FLOW_MAX_KEYS || used + (uint64_t)n * len > UINT32_MAX ||
        !grow(&k->octets, &k->octets_cap, (size_t)(used + (uint64_t)n * len) + 1) ||
        !grow(&k->starts, &k->starts_cap, (size_t)(keys + 1) * sizeof *k->starts))
        return false;
    k->starts[0] = 0;
    /* At most five of eight slots are taken: few buckets are full. */
    uint32_t want = k->buckets ? k->mask + 1 : 8;
    while (keys > (uint64_t)want * 5)
        want *= 2;
    return (k->buckets && want == k->mask + 1) || keys_rehash(b, k, want);
}

uint32_t flow_keys_put_reserved(flow_batch *b, struct flow_keys *k, const void *key, uint32_t len,
                                uint64_t hash)
{
    unsigned slot;
    uint32_t code;
    struct flow_bucket *bucket = keys_seek(k, key, len, hash, &slot, &code);
    if (code != UINT32_MAX)
        return code;
    code = k->n++;
    uint32_t used = k->starts[code];
    if (len)
        memcpy(k->octets + used, key, len);
    k->starts[code + 1] = used + len;
    bucket->tags[slot] = tag_of(key, len, hash);
    bucket->codes[slot] = (code + 1) | (len == 4 ? FLOW_SLOT_FOUR : 0);
    b->octets += FLOW_KEY_COST + len;
    return code;
}

uint32_t flow_keys_put(flow_batch *b, struct flow_col *c, const void *key, uint32_t len,
                       uint64_t hash)
{
    struct flow_keys *k = &c->keys;
    uint32_t code = keys_find(k, key, len, hash);
    if (code != UINT32_MAX)
        return code;
    return flow_keys_reserve(b, k, 1, len) ? flow_keys_put_reserved(b, k, key, len, hash)
                                           : UINT32_MAX;
}

/* Give memory back of which little was used, before another filling: else the most that any filling took of each column
 * would add up. */
static void shrink(void *memory, size_t *cap, size_t used)
{
    if (*cap <= SMALL || *cap / 8 <= used)
        return;
    void *p;
    memcpy(&p, memory, sizeof p);
    free(p);
    p = NULL;
    memcpy(memory, &p, sizeof p);
    *cap = 0;
}

/* Empty, with buckets for about as many keys as there were. */
static void keys_reset(struct flow_keys *k)
{
    size_t n = k->n;
    while (k->mask > 7 && n < (uint64_t)k->mask + 1)
        k->mask /= 2;
    shrink(&k->memory, &k->memory_cap, n * sizeof(struct flow_bucket) / 8);
    if (!k->memory_cap)
        k->buckets = NULL;
    if (k->buckets)
        buckets_clear(k);
    shrink(&k->octets, &k->octets_cap, n ? k->starts[n] : 0);
    shrink(&k->starts, &k->starts_cap, n * sizeof *k->starts);
    k->n = 0;
}

/* A column without rows. */
static void col_reset(struct flow_col *c)
{
    keys_reset(&c->keys);
    shrink(&c->data, &c->data_cap, (size_t)(c->list ? c->n_items : c->n) * c->width);
    shrink(&c->starts, &c->starts_cap, (size_t)c->n * sizeof *c->starts);
    shrink(&c->valid, &c->valid_cap, c->n / 8);
    c->n = c->n_valid = c->n_items = 0;
    c->nulls = false;
}

/* ---- columns ---- */

static void col_init(struct flow_col *c, const struct flow_column *column)
{
    size_t octets = flow_type_octets((enum flow_type)column->type);
    c->column = column;
    c->dict = octets == 0;
    c->width = (uint8_t)(octets ? octets : sizeof(uint32_t));
    c->list = column->list;
}

static void col_done(struct flow_col *c)
{
    free(c->data);
    free(c->starts);
    free(c->valid);
    free(c->extra);
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
    size_t keys = c->keys.n ? (size_t)c->keys.n * FLOW_KEY_COST + c->keys.starts[c->keys.n] : 0;
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
        return grow(&c->data, &c->data_cap, (size_t)n * c->width + FLOW_SLACK);
    return n_items <= UINT32_MAX &&
           grow(&c->data, &c->data_cap, ((size_t)n_items + 1) * c->width) &&
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

bool flow_fill_sparse(flow_batch *b, uint32_t column, const uint32_t *rows, const uint64_t *values,
                      uint32_t n)
{
    struct flow_col *c = &b->cols[column];
    if (n == 0)
        return true;
    uint32_t end = rows[n - 1] + 1;
    if (!col_reserve(c, end > c->n ? end : c->n, 0, true))
        return false;
    col_gap(b, c, end);
    for (uint32_t i = 0; i < n; i++) {
        uint64_t bit = UINT64_C(1) << rows[i] % 64, *word = &c->valid[rows[i] / 64];
        memcpy((uint8_t *)c->data + (size_t)rows[i] * c->width, &values[i], c->width);
        c->n_valid += !(*word & bit);
        *word |= bit;
    }
    return true;
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

void flow_col_cut(flow_batch *b, uint32_t column, uint32_t rows)
{
    b->octets -= col_octets(&b->cols[column]);
    col_cut(&b->cols[column], rows);
    b->octets += col_octets(&b->cols[column]);
}

/* ---- the batch ---- */

/* The slot of b->names with this name, or the empty one where it would go. Names that differ only in the case of
 * letters are the same: readers of Parquet files (DuckDB, Spark) take them for one. */
static uint16_t *name_slot(const flow_batch *b, const char *name, size_t len)
{
    char lower[MAX_NAME];
    size_t n = len < MAX_NAME ? len : MAX_NAME;
    for (size_t i = 0; i < n; i++)
        lower[i] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] | 32 : name[i]);
    uint32_t at = (uint32_t)base_hash(lower, n, b->seed[0]) % NAME_SLOTS;
    for (; b->names[at]; at = (at + 1) % NAME_SLOTS) {
        const char *have = b->cols[b->names[at] - 1].column->name;
        if (strlen(have) == len && strncasecmp(have, name, len) == 0)
            break;
    }
    return &b->names[at];
}

static void name_add(flow_batch *b, uint32_t column)
{
    const char *name = b->cols[column].column->name;
    *name_slot(b, name, strlen(name)) = (uint16_t)(column + 1);
}

/* Forget the extra columns from n on; their memory stays. */
static void drop_extras(flow_batch *b, uint32_t n)
{
    if (b->n_columns <= n)
        return;
    for (uint32_t i = n; i < b->n_columns; i++) {
        b->octets -= col_octets(&b->cols[i]);
        col_reset(&b->cols[i]);
        b->cols[i].column = NULL;
    }
    b->n_columns = n;
    memset(b->names, 0, NAME_SLOTS * sizeof *b->names);
    for (uint32_t i = 0; i < n; i++)
        name_add(b, i);
}

flow_batch *flow_batch_new(enum flow_table table)
{
    flow_batch *b = calloc(1, sizeof *b);
    if (!b)
        return NULL;
    b->table = table;
    b->kernels = flow_kernels_best();
    const struct flow_column *columns = flow_table_columns(table, &b->n_table);
    b->cap_columns = b->n_table + 16;
    b->cols = calloc(b->cap_columns, sizeof *b->cols);
    b->names = calloc(NAME_SLOTS, sizeof *b->names);
    if (!b->cols || !b->names) {
        flow_batch_free(b);
        return NULL;
    }
    b->seed[0] = base_hash_seed();
    b->seed[1] = base_hash_seed() | 1;
    b->generation = base_hash_seed();
    for (; b->n_columns < b->n_table; b->n_columns++) {
        col_init(&b->cols[b->n_columns], &columns[b->n_columns]);
        name_add(b, b->n_columns);
    }
    return b;
}

void flow_batch_free(flow_batch *b)
{
    if (!b)
        return;
    for (uint32_t i = 0; b->cols && i < b->cap_columns; i++)
        col_done(&b->cols[i]);
    free(b->cols);
    free(b->names);
    free(b->memo);
    free(b);
}

void flow_batch_reset(flow_batch *b)
{
    drop_extras(b, b->n_table);
    for (uint32_t i = 0; i < b->n_table; i++)
        col_reset(&b->cols[i]);
    if (b->memo)
        memset(b->memo, 0, sizeof *b->memo);
    b->rows = 0;
    b->octets = 0;
    b->generation++;
}

bool flow_batch_settle(flow_batch *b)
{
    for (uint32_t i = 0; i < b->n_columns; i++) {
        struct flow_col *c = &b->cols[i];
        if (c->n_valid && c->n < b->rows) {
            if (!col_reserve(c, b->rows, c->n_items, true))
                return false;
            col_gap(b, c, b->rows);
        }
        free(c->keys.memory); /* made again should another key come after all */
        c->keys.memory = NULL;
        c->keys.memory_cap = 0;
        c->keys.buckets = NULL;
    }
    free(b->memo);
    b->memo = NULL;
    return true;
}

enum flow_table flow_batch_table(const flow_batch *b)
{
    return b->table;
}

uint32_t flow_batch_rows(const flow_batch *b)
{
    return b->rows;
}

size_t flow_batch_octets(const flow_batch *b)
{
    return b->octets;
}

size_t flow_batch_memory(const flow_batch *b)
{
    size_t octets = 0;
    for (uint32_t i = 0; i < b->cap_columns; i++) {
        const struct flow_col *c = &b->cols[i];
        octets += c->data_cap + c->starts_cap + c->valid_cap + c->keys.starts_cap +
                  c->keys.octets_cap + c->keys.memory_cap;
    }
    return octets;
}

uint32_t flow_batch_n_columns(const flow_batch *b)
{
    return b->n_columns;
}

uint64_t flow_batch_generation(const flow_batch *b)
{
    return b->generation;
}

void flow_batch_vec(const flow_batch *b, uint32_t column, struct flow_vec *out)
{
    static const uint32_t no_starts[1] = {0};
    const struct flow_col *c = &b->cols[column];
    *out =
        (struct flow_vec){.column = c->column, .n = c->n_valid ? c->n : 0, .n_valid = c->n_valid};
    if (c->list)
        out->starts = out->n ? c->starts : no_starts;
    out->dict.starts = no_starts;
    if (!out->n)
        return;
    out->valid = c->nulls && c->n_valid < c->n ? c->valid : NULL;
    if (c->dict) {
        out->codes = c->data;
        out->dict = (struct flow_dict){.n = c->keys.n,
                                       .starts = c->keys.n ? c->keys.starts : no_starts,
                                       .keys = c->keys.octets};
    } else {
        out->values = c->data;
    }
}

/* ---- writing rows ---- */

uint32_t flow_batch_add_rows(flow_batch *b, uint32_t n)
{
    if (n >= UINT32_MAX - b->rows)
        return UINT32_MAX;
    uint32_t first = b->rows;
    b->rows += n;
    return first;
}

void flow_batch_cut(flow_batch *b, uint32_t rows)
{
    if (rows >= b->rows)
        return;
    b->rows = rows;
    b->octets = 0;
    for (uint32_t i = 0; i < b->n_columns; i++) {
        col_cut(&b->cols[i], rows);
        b->octets += col_octets(&b->cols[i]);
    }
    if (b->memo)
        memset(b->memo, 0, sizeof *b->memo);
    uint32_t n = b->n_columns;
    while (n > b->n_table && b->cols[n - 1].n_valid == 0)
        n--;
    if (n < b->n_columns) {
        drop_extras(b, n);
        b->generation++; /* their numbers are free again */
    }
}

uint32_t flow_batch_extra(flow_batch *b, const char *name, enum flow_type type, bool list)
{
    size_t len = strlen(name);
    uint16_t *slot = name_slot(b, name, len);
    if (*slot) {
        uint32_t have = *slot - 1u;
        const struct flow_column *column = b->cols[have].column;
        return have >= b->n_table && column->type == (uint8_t)type && column->list == list &&
                       strcmp(column->name, name) == 0
                   ? have
                   : UINT32_MAX;
    }
    if (b->n_columns - b->n_table >= FLOW_MAX_EXTRA || len == 0 || len > MAX_NAME)
        return UINT32_MAX;
    if (b->n_columns == b->cap_columns) {
        uint32_t cap = 2 * b->cap_columns;
        struct flow_col *cols = realloc(b->cols, cap * sizeof *cols);
        if (!cols)
            return UINT32_MAX;
        memset(cols + b->cap_columns, 0, (cap - b->cap_columns) * sizeof *cols);
        b->cols = cols;
        b->cap_columns = cap;
    }
    struct flow_extra *e = b->cols[b->n_columns].extra;
    if (!e)
        e = b->cols[b->n_columns].extra = malloc(sizeof *e);
    if (!e)
        return UINT32_MAX;
    memcpy(e->name, name, len + 1);
    e->column = (struct flow_column){.name = e->name,
                                     .type = (uint8_t)type,
                                     .list = list,
                                     .unit = "",
                                     .sources = "",
                                     .filter = "",
                                     .token = "",
                                     .csv = "",
                                     .json = "",
                                     .goflow2 = "",
                                     .ecs = "",
                                     .help = ""};
    uint32_t column = b->n_columns++;
    col_init(&b->cols[column], &e->column);
    *slot = (uint16_t)(column + 1);
    return column;
}

void *flow_batch_values(flow_batch *b, uint32_t column, uint32_t row, uint32_t n)
{
    return flow_col_append(b, &b->cols[column], row, n);
}

uint32_t *flow_batch_codes(flow_batch *b, uint32_t column, uint32_t row, uint32_t n)
{
    return flow_col_append(b, &b->cols[column], row, n);
}

uint32_t flow_batch_key(flow_batch *b, uint32_t column, const void *key, uint32_t len)
{
    return flow_keys_put(b, &b->cols[column], key, len, flow_key_hash(b, key, len));
}

bool flow_batch_list(flow_batch *b, uint32_t column, uint32_t row, const void *items, uint32_t n)
{
    struct flow_col *c = &b->cols[column];
    bool inside = row < c->n; /* has a place: its items give way to these */
    uint32_t were = inside ? c->starts[row + 1] - c->starts[row] : 0;
    uint64_t n_items = (uint64_t)c->n_items - were + n;
    uint32_t end = inside ? c->n : row + 1;
    if (!col_reserve(c, end, n_items > c->n_items ? n_items : c->n_items, row > c->n))
        return false;
    col_gap(b, c, row);
    if (!inside) {
        c->n = end;
        c->starts[end] = c->n_items;
        if (c->nulls)
            bit_set(c->valid, row, false);
        b->octets += sizeof *c->starts;
    }
    if (!is_valid(c, row) || !inside)
        c->n_valid++;
    if (c->nulls)
        bit_set(c->valid, row, true);
    uint8_t *data = c->data;
    uint32_t at = c->starts[row], tail = c->n_items - at - were;
    if (tail)
        memmove(data + ((size_t)at + n) * c->width, data + ((size_t)at + were) * c->width,
                (size_t)tail * c->width);
    if (n)
        memcpy(data + (size_t)at * c->width, items, (size_t)n * c->width);
    for (uint32_t i = row + 1; i <= c->n; i++)
        c->starts[i] = c->starts[i] - were + n;
    b->octets = b->octets - (size_t)were * c->width + (size_t)n * c->width;
    c->n_items = (uint32_t)n_items;
    return true;
}

bool flow_batch_set_u64(flow_batch *b, uint32_t column, uint32_t row, uint64_t v)
{
    struct flow_col *c = &b->cols[column];
    void *at = flow_col_append(b, c, row, 1);
    if (!at)
        return false;
    memcpy(at, &v, c->width);
    return true;
}

bool flow_batch_set_f64(flow_batch *b, uint32_t column, uint32_t row, double v)
{
    void *at = flow_col_append(b, &b->cols[column], row, 1);
    if (!at)
        return false;
    memcpy(at, &v, sizeof v);
    return true;
}

bool flow_batch_set_key(flow_batch *b, uint32_t column, uint32_t row, const void *key, uint32_t len)
{
    uint32_t code = flow_batch_key(b, column, key, len);
    return code != UINT32_MAX && flow_batch_set_u64(b, column, row, code);
}

bool flow_batch_set_null(flow_batch *b, uint32_t column, uint32_t row)
{
    struct flow_col *c = &b->cols[column];
    if (!is_valid(c, row))
        return true;
    if (!col_nulls(c, c->n) || (c->list && !flow_batch_list(b, column, row, NULL, 0)))
        return false;
    bit_set(c->valid, row, false);
    c->n_valid--;
    if (!c->list)
        memset((uint8_t *)c->data + (size_t)row * c->width, 0, c->width);
    return true;
}

/* ---- moving rows ---- */

/* The codes in dst of the keys of src, worked out as they are met. */
static bool map_code(flow_batch *b, struct flow_col *to, const struct flow_keys *keys,
                     uint32_t *map, uint32_t code, uint32_t *out)
{
    if (map[code] == UINT32_MAX)
        map[code] = flow_keys_put(b, to, key_at(keys, code), key_len(keys, code),
                                  flow_key_hash(b, key_at(keys, code), key_len(keys, code)));
    *out = map[code];
    return map[code] != UINT32_MAX;
}

static bool append_lists(flow_batch *dst, uint32_t column, uint32_t first, const struct flow_col *c,
                         uint32_t *map)
{
    uint32_t *codes = NULL;
    size_t codes_cap = 0;
    bool ok = true;
    for (uint32_t i = 0; ok && i < c->n; i++) {
        if (!is_valid(c, i))
            continue;
        uint32_t from = c->starts[i], n = c->starts[i + 1] - from;
        const void *items = (const uint8_t *)c->data + (size_t)from * c->width;
        if (map) {
            ok = grow(&codes, &codes_cap, (n + 1) * sizeof *codes);
            for (uint32_t k = 0; ok && k < n; k++)
                ok = map_code(dst, &dst->cols[column], &c->keys, map,
                              ((const uint32_t *)c->data)[from + k], &codes[k]);
            items = codes;
        }
        ok = ok && flow_batch_list(dst, column, first + i, items, n);
    }
    free(codes);
    return ok;
}

/* Rows of one column of another batch to rows from `first` on. */
static bool append_column(flow_batch *dst, uint32_t column, uint32_t first,
                          const struct flow_col *c)
{
    uint32_t *map = NULL;
    if (c->dict) {
        map = malloc((c->keys.n + 1) * sizeof *map);
        if (!map)
            return false;
        memset(map, 0xff, (c->keys.n + 1) * sizeof *map);
    }
    bool ok;
    if (c->list) {
        ok = append_lists(dst, column, first, c, map);
    } else {
        void *out = flow_col_open(dst, &dst->cols[column], first, c->n, c->nulls ? c->valid : NULL);
        ok = out;
        if (ok && !map)
            memcpy(out, c->data, (size_t)c->n * c->width);
        uint32_t *codes = out;
        for (uint32_t i = 0; ok && map && i < c->n; i++) {
            if (c->nulls && !bit(c->valid, i))
                codes[i] = 0;
            else
                ok = map_code(dst, &dst->cols[column], &c->keys, map,
                              ((const uint32_t *)c->data)[i], &codes[i]);
        }
    }
    free(map);
    return ok;
}

weir_status flow_find_column(flow_batch *dst, const char *name, size_t len, enum flow_type type,
                             bool list, uint32_t *out, weir_err *err)
{
    uint16_t slot = *name_slot(dst, name, len);
    if (slot) {
        const struct flow_column *have = dst->cols[slot - 1].column;
        *out = slot - 1u;
        if (have->type == (uint8_t)type && have->list == list && memcmp(have->name, name, len) == 0)
            return WEIR_OK;
        return weir_err_set(err, WEIR_EFORMAT, 0,
                            "batch: column %.64s is %s%s here and %s%s in what comes to it",
                            have->name, flow_type_text((enum flow_type)have->type),
                            have->list ? "[]" : "", flow_type_text(type), list ? "[]" : "");
    }
    char copy[MAX_NAME + 1];
    if (len == 0 || len > MAX_NAME)
        return weir_err_set(err, WEIR_EFORMAT, 0,
                            "batch: a column's name has %zu octets, 1 to %d are allowed", len,
                            MAX_NAME);
    memcpy(copy, name, len);
    copy[len] = 0;
    if (dst->n_columns - dst->n_table >= FLOW_MAX_EXTRA)
        return weir_err_set(err, WEIR_ELIMIT, 0,
                            "batch: no room for column %.64s, %d extra columns are the limit", copy,
                            FLOW_MAX_EXTRA);
    *out = flow_batch_extra(dst, copy, type, list);
    return *out != UINT32_MAX
               ? WEIR_OK
               : weir_err_set(err, WEIR_ENOMEM, 0, "batch: no memory for column %.64s", copy);
}

size_t flow_batch_append_octets(const flow_batch *dst, const flow_batch *src)
{
    size_t octets = src->octets;
    for (uint32_t i = 0; i < src->n_columns; i++) {
        const struct flow_col *c = &src->cols[i];
        uint32_t there = 0;
        if (c->n_valid == 0)
            continue;
        if (i < src->n_table) {
            there = dst->cols[i].n;
        } else {
            uint16_t slot = *name_slot(dst, c->column->name, strlen(c->column->name));
            there = slot ? dst->cols[slot - 1].n : 0;
        }
        octets += (size_t)(dst->rows - there) * (c->list ? sizeof *c->starts : c->width);
    }
    return octets;
}

weir_status flow_batch_append(flow_batch *dst, const flow_batch *src, weir_err *err)
{
    uint32_t rows = dst->rows;
    uint32_t first = flow_batch_add_rows(dst, src->rows);
    weir_status status =
        first != UINT32_MAX
            ? WEIR_OK
            : weir_err_set(err, WEIR_ENOMEM, 0, "batch: %u and %u rows do not fit into one batch",
                           rows, src->rows);
    for (uint32_t i = 0; status == WEIR_OK && i < src->n_columns; i++) {
        const struct flow_col *c = &src->cols[i];
        uint32_t column = i;
        if (c->n_valid == 0)
            continue;
        if (i >= src->n_table)
            status = flow_find_column(dst, c->column->name, strlen(c->column->name),
                                      (enum flow_type)c->column->type, c->list, &column, err);
        if (status == WEIR_EFORMAT)
            status = WEIR_ELIMIT;
        if (status == WEIR_OK && !append_column(dst, column, first, c))
            status =
                weir_err_set(err, WEIR_ENOMEM, 0, "batch: no memory for %u rows more", src->rows);
    }
    if (status != WEIR_OK) {
        flow_batch_cut(dst, rows);
        if (err)
            err->code = status;
    }
    return status;
}

/* ---- rates that come late ---- */

uint32_t flow_batch_sampling(flow_batch *b, const uint8_t *exporter, uint32_t len, uint32_t domain,
                             uint64_t selector, double rate, const char *source)
{
    if (b->table != FLOW_TABLE_FLOWS || !(rate > 0) || !isfinite(rate))
        return 0;
    const struct flow_col *exporters = &b->cols[FLOW_exporter], *domains = &b->cols[FLOW_domain],
                          *samplers = &b->cols[FLOW_sampler_id];
    struct flow_col *rates = &b->cols[FLOW_sampling_rate];
    uint32_t code = keys_find(&exporters->keys, exporter, len, flow_key_hash(b, exporter, len));
    if (code == UINT32_MAX || rates->n_valid == b->rows)
        return 0;
    /* An exporter that says another rate in every packet costs no pass over all rows each time. */
    if (!b->memo)
        b->memo = calloc(1, sizeof *b->memo);
    uint64_t what =
        flow_mix(flow_mix(code ^ b->seed[0], b->seed[1]) ^ selector, domain ^ b->seed[1]) | 1;
    uint32_t row = 0, n = 0;
    uint32_t at = (uint32_t)(what >> 32) % MEMO_SLOTS;
    if (b->memo && b->memo->slots[at].what == what)
        row = b->memo->slots[at].rows;
    const uint32_t *codes = exporters->data, *ids = domains->data;
    for (; row < exporters->n; row++) {
        if (codes[row] != code || !is_valid(exporters, row) || is_valid(rates, row))
            continue;
        if (domain != 0 && (!is_valid(domains, row) || ids[row] != domain))
            continue;
        if (selector != 0 &&
            (!is_valid(samplers, row) || ((const uint64_t *)samplers->data)[row] != selector))
            continue;
        if (!flow_batch_set_key(b, FLOW_sampling_source, row, source, (uint32_t)strlen(source)) ||
            !flow_batch_set_f64(b, FLOW_sampling_rate, row, rate))
            return n; /* out of memory: these rows stay without a rate */
        n++;
    }
    if (b->memo) {
        b->memo->slots[at].what = what;
        b->memo->slots[at].rows = row;
    }
    return n;
}

void flow_key_text(enum flow_type type, const uint8_t *key, uint32_t len, base_buf *out)
{
    char *at;
    if (type == FLOW_TYPE_ADDR && (len == 4 || len == 16)) {
        at = base_buf_room(out, BASE_IPV6_TEXT);
        if (at)
            out->len += len == 4 ? base_ipv4_text(at, key) : base_ipv6_text(at, key);
    } else if (type == FLOW_TYPE_MAC && len == 6) {
        at = base_buf_room(out, BASE_MAC_TEXT);
        if (at)
            out->len += base_mac_text(at, key);
    } else {
        base_buf_add(out, key, len);
    }
}
