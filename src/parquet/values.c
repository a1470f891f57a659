#include "parquet/values.h"

#include <endian.h>

_Static_assert(__BYTE_ORDER == __LITTLE_ENDIAN, "values and bitmaps go into the file as they are");

/* Slots of the data that hold values, as runs. */
struct runs {
    const struct parquet_data *d;
    bool list;
    size_t row;
};

static size_t next_bit(const uint64_t *bits, size_t n, size_t at, bool value)
{
    while (at < n) {
        uint64_t word = (value ? bits[at / 64] : ~bits[at / 64]) >> at % 64;
        if (word) {
            size_t found = at + (size_t)__builtin_ctzll(word);
            return found < n ? found : n;
        }
        at = (at / 64 + 1) * 64;
    }
    return n;
}

static bool next_run(struct runs *r, size_t *from, size_t *n)
{
    const struct parquet_data *d = r->d;
    *n = 0;
    while (*n == 0 && r->row < d->n) {
        size_t first = d->valid ? next_bit(d->valid, d->n, r->row, true) : r->row;
        size_t end = d->valid ? next_bit(d->valid, d->n, first, false) : d->n;
        r->row = end;
        *from = first;
        *n = end - first;
        if (r->list && first < d->n) {
            *from = d->starts[first];
            *n = d->starts[end] - *from;
        }
    }
    return *n > 0;
}

#define WIDEN(to_type, from_type)                                                                  \
    do {                                                                                           \
        const from_type *in_ = (const from_type *)values + from;                                   \
        to_type *out_ = (to_type *)to + at;                                                        \
        for (size_t i_ = 0; i_ < n; i_++)                                                          \
            out_[i_] = (to_type)in_[i_];                                                           \
    } while (0)

/* Integers from .. from + n of `width` octets become 32 or 64 bits wide at to[at]. */
static void widen(const void *values, unsigned width, bool is64, bool is_unsigned, size_t from,
                  size_t n, void *to, size_t at)
{
    switch (width | (is64 ? 16 : 0) | (is_unsigned ? 32 : 0)) {
    case 1:
        WIDEN(uint32_t, int8_t);
        break;
    case 2:
        WIDEN(uint32_t, int16_t);
        break;
    case 32 | 1:
        WIDEN(uint32_t, uint8_t);
        break;
    case 32 | 2:
        WIDEN(uint32_t, uint16_t);
        break;
    case 4:
    case 32 | 4:
        WIDEN(uint32_t, uint32_t);
        break;
    case 8:
    case 32 | 8:
        WIDEN(uint32_t, uint64_t);
        break;
    case 16 | 1:
        WIDEN(uint64_t, int8_t);
        break;
    case 16 | 2:
        WIDEN(uint64_t, int16_t);
        break;
    case 16 | 4:
        WIDEN(uint64_t, int32_t);
        break;
    case 16 | 32 | 1:
        WIDEN(uint64_t, uint8_t);
        break;
    case 16 | 32 | 2:
        WIDEN(uint64_t, uint16_t);
        break;
    case 16 | 32 | 4:
        WIDEN(uint64_t, uint32_t);
        break;
    default:
        WIDEN(uint64_t, uint64_t);
    }
}

size_t values_slot_size(enum values_kind kind)
{
    static const size_t sizes[] = {[VALUES_BOOLS] = 1,
                                   [VALUES_INTS32] = 4,
                                   [VALUES_INTS64] = 8,
                                   [VALUES_OCTETS] = sizeof(struct parquet_bytes)};
    return sizes[kind];
}

static enum values_kind kind_of(const struct parquet_column *c)
{
    switch ((enum parquet_type)c->type) {
    case PARQUET_BOOLEAN:
        return VALUES_BOOLS;
    case PARQUET_INT32:
    case PARQUET_FLOAT:
        return VALUES_INTS32;
    case PARQUET_INT64:
    case PARQUET_DOUBLE:
        return VALUES_INTS64;
    case PARQUET_INT96:
    case PARQUET_BYTE_ARRAY:
    case PARQUET_FIXED:
        break;
    }
    return VALUES_OCTETS;
}

bool values_are_ints(const struct parquet_column *c)
{
    return c->type == PARQUET_INT32 || c->type == PARQUET_INT64;
}

static weir_status check_data(const struct meta_leaf *leaf, const struct parquet_data *d,
                              size_t n_rows, weir_err *err)
{
    const struct parquet_column *c = &leaf->column;
    const char *why = NULL;
    if (d->n != n_rows)
        why = "has not as many rows as its row group";
    else if (c->list != (d->starts != NULL))
        why = c->list ? "is a list but has no starts" : "has starts but is no list";
    else if (d->valid && !c->optional)
        why = "may not be null but has a bitmap";
    else if (values_are_ints(c) && d->width != 1 && d->width != 2 && d->width != 4 && d->width != 8)
        why = "has integers that are not 1, 2, 4 or 8 octets wide";
    else if (d->codes && kind_of(c) != VALUES_OCTETS)
        why = "has codes, which only strings can have";
    for (size_t i = 0; !why && c->list && i < n_rows; i++)
        if (d->starts[i] > d->starts[i + 1])
            why = "has starts that fall";
    if (why)
        return weir_err_set(err, WEIR_EINVAL, 0, "parquet writer: column %s %s", c->name, why);
    return WEIR_OK;
}

#define KEEP(type)                                                                                 \
    do {                                                                                           \
        const type *in_ = (const type *)values + row;                                              \
        type *out_ = (type *)to + at;                                                              \
        for (uint64_t left_ = word; left_; left_ &= left_ - 1)                                     \
            *out_++ = in_[__builtin_ctzll(left_)];                                                 \
    } while (0)

/* The values of `size` octets whose bits are set, side by side. */
static void keep_valid(const void *values, size_t size, const uint64_t *valid, size_t n, void *to)
{
    size_t at = 0;
    for (size_t row = 0; row < n; row += 64) {
        uint64_t word =
            valid[row / 64] & (n - row < 64 ? (UINT64_C(1) << (n - row)) - 1 : UINT64_MAX);
        if (word == UINT64_MAX)
            memcpy((char *)to + at * size, (const char *)values + row * size, 64 * size);
        else if (size == 1)
            KEEP(uint8_t);
        else if (size == 2)
            KEEP(uint16_t);
        else if (size == 4)
            KEEP(uint32_t);
        else if (size == 8)
            KEEP(uint64_t);
        else
            KEEP(struct parquet_bytes);
        at += (size_t)__builtin_popcountll(word);
    }
}

/* Values that are there into `to`, of `size` octets each. */
static void bring(const struct values *v, const void *values, size_t size, char *to)
{
    const struct parquet_data *d = v->data;
    size_t from, n, at = 0;
    if (!d->starts) {
        keep_valid(values, size, d->valid, d->n, to);
        return;
    }
    for (struct runs r = {d, true, 0}; next_run(&r, &from, &n); at += n)
        memcpy(to + at * size, (const char *)values + from * size, n * size);
}

/* Where the values begin, if they stand side by side; SIZE_MAX: they do not. Counts them. */
static size_t side_by_side(struct values *v)
{
    const struct parquet_data *d = v->data;
    size_t from, n, first = 0, n_runs = 0;
    if (!d->starts) {
        v->n = v->n_rows - v->n_null;
        return v->n_null ? SIZE_MAX : 0;
    }
    for (struct runs r = {d, true, 0}; next_run(&r, &from, &n);) {
        first = n_runs++ ? first : from;
        v->n += n;
    }
    return n_runs > 1 ? SIZE_MAX : first;
}

static weir_status no_memory(const struct values *v, weir_err *err)
{
    return weir_err_set(err, WEIR_ENOMEM, 0, "parquet writer: no memory for column %s",
                        v->leaf->column.name);
}

static char *room(const struct values *v, size_t size, base_buf *in)
{
    base_buf_reset(in);
    return v->n <= SIZE_MAX / size ? base_buf_room(in, v->n * size) : NULL;
}

/* Bring the values that are there side by side, where they are not. */
weir_status values_gather(struct values *v, base_buf *slots, base_buf *codes, weir_err *err)
{
    const struct parquet_data *d = v->data;
    const struct parquet_column *c = &v->leaf->column;
    WEIR_TRY(check_data(v->leaf, d, v->n_rows, err));
    v->kind = kind_of(c);
    if (d->valid)
        for (size_t row = 0; row < d->n; row += 64)
            v->n_null += (size_t)__builtin_popcountll(
                ~d->valid[row / 64] &
                (d->n - row < 64 ? (UINT64_C(1) << (d->n - row)) - 1 : UINT64_MAX));
    size_t first = side_by_side(v);
    if (!v->n)
        return WEIR_OK;
    bool ints = values_are_ints(c);
    size_t slot = values_slot_size(v->kind), size = d->codes ? sizeof *d->codes
                                                    : ints   ? d->width
                                                             : slot;
    const void *values = d->codes ? d->codes : d->values;
    if (first != SIZE_MAX) {
        values = (const char *)values + first * size;
    } else {
        char *to = room(v, size, d->codes ? codes : slots);
        if (!to)
            return no_memory(v, err);
        bring(v, values, size, to);
        values = to;
    }
    if (d->codes)
        v->codes = values;
    else if (!ints || size == slot)
        v->slots = values;
    if (ints) {
        v->ints = values;
        v->width = d->width;
    }
    if (ints && size > slot) { /* 64-bit numbers for a column of 32 */
        WEIR_TRY(values_widen(v, codes, err));
        v->ints = v->slots;
        v->width = (unsigned)slot;
    }
    return WEIR_OK;
}

weir_status values_widen(struct values *v, base_buf *wide, weir_err *err)
{
    if (v->slots || !v->ints)
        return WEIR_OK;
    char *to = room(v, values_slot_size(v->kind), wide);
    if (!to)
        return no_memory(v, err);
    widen(v->ints, v->width, v->kind == VALUES_INTS64, v->leaf->column.unsigned_order, 0, v->n, to,
          0);
    v->slots = to;
    return WEIR_OK;
}

/* Octets that slots i .. i + n take as PLAIN, about. */
uint64_t values_plain_octets(const struct values *v, size_t i, size_t n)
{
    uint64_t octets = 0;
    if (v->kind != VALUES_OCTETS)
        return n * values_slot_size(v->kind);
    if (v->leaf->column.type == PARQUET_FIXED)
        return (uint64_t)n * v->leaf->column.type_length;
    const struct parquet_bytes *slots = v->slots;
    const struct parquet_data *d = v->data;
    for (size_t k = i; k < i + n; k++) {
        if (!v->codes)
            octets += 4 + (uint64_t)slots[k].len;
        else if (v->codes[k] < d->n_dict) /* else refused later */
            octets += 4 + (uint64_t)d->dict[v->codes[k]].len;
    }
    return octets;
}

size_t values_of_row(const struct parquet_data *d, size_t row)
{
    if (d->valid && !parquet_bit(d->valid, row))
        return 0;
    return d->starts ? d->starts[row + 1] - d->starts[row] : 1;
}

size_t values_of_rows(const struct parquet_data *d, size_t row, size_t end)
{
    size_t n = 0;
    if (!d->starts && !d->valid)
        return end - row;
    for (; row < end && (d->starts || row % 64 || end - row < 64); row++)
        n += values_of_row(d, row);
    for (; end - row >= 64 && !d->starts; row += 64)
        n += (size_t)__builtin_popcountll(d->valid[row / 64]);
    for (; row < end; row++)
        n += values_of_row(d, row);
    return n;
}

/* Octets that a value takes at most as PLAIN. */
size_t values_largest(const struct values *v)
{
    if (v->kind != VALUES_OCTETS)
        return values_slot_size(v->kind);
    if (v->leaf->column.type == PARQUET_FIXED)
        return v->leaf->column.type_length;
    const struct parquet_bytes *all = v->codes ? v->data->dict : v->slots;
    size_t n = v->codes ? v->data->n_dict : v->n, most = 0;
    for (size_t i = 0; i < n; i++)
        most = all[i].len > most ? all[i].len : most;
    return most + 4;
}
