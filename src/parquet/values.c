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
        const from_type *in_ = (const from_type *)d->values + from;                                \
        to_type *out_ = (to_type *)to + at;                                                        \
        for (size_t i_ = 0; i_ < n; i_++)                                                          \
            out_[i_] = (to_type)in_[i_];                                                           \
    } while (0)

/* Slots from .. from + n of integers become 32 or 64 bits wide at to[at]. */
static void widen(const struct parquet_data *d, bool is64, bool is_unsigned, size_t from, size_t n,
                  void *to, size_t at)
{
    switch (d->width | (is64 ? 16 : 0) | (is_unsigned ? 32 : 0)) {
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

/* Bring the values that are there side by side, where they are not. */
weir_status values_gather(struct values *v, base_buf *slots, base_buf *codes, weir_err *err)
{
    const struct parquet_data *d = v->data;
    const struct parquet_column *c = &v->leaf->column;
    size_t from, n, first = 0, n_runs = 0;
    WEIR_TRY(check_data(v->leaf, d, v->n_rows, err));
    v->kind = kind_of(c);
    if (d->valid)
        for (size_t row = 0; row < d->n; row += 64)
            v->n_null += (size_t)__builtin_popcountll(
                ~d->valid[row / 64] &
                (d->n - row < 64 ? (UINT64_C(1) << (d->n - row)) - 1 : UINT64_MAX));
    for (struct runs r = {d, c->list, 0}; next_run(&r, &from, &n);) {
        first = n_runs++ ? first : from;
        v->n += n;
    }
    if (!v->n)
        return WEIR_OK;
    size_t size = d->codes ? sizeof *d->codes : values_slot_size(v->kind);
    bool as_is = n_runs == 1 && (d->codes || !values_are_ints(c) || d->width == size);
    if (as_is && d->codes)
        v->codes = d->codes + first;
    else if (as_is)
        v->slots = (const char *)d->values + first * size;
    if (as_is)
        return WEIR_OK;
    base_buf *into = d->codes ? codes : slots;
    base_buf_reset(into);
    char *to = v->n <= SIZE_MAX / size ? base_buf_room(into, v->n * size) : NULL;
    if (!to)
        return weir_err_set(err, WEIR_ENOMEM, 0, "parquet writer: no memory for column %s",
                            c->name);
    size_t at = 0;
    for (struct runs r = {d, c->list, 0}; next_run(&r, &from, &n); at += n) {
        if (d->codes)
            memcpy(to + at * size, d->codes + from, n * size);
        else if (values_are_ints(c))
            widen(d, v->kind == VALUES_INTS64, c->unsigned_order, from, n, to, at);
        else
            memcpy(to + at * size, (const char *)d->values + from * size, n * size);
    }
    if (d->codes)
        v->codes = (const uint32_t *)(void *)to;
    else
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
