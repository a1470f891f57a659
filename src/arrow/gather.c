#include "arrow/gather.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/text.h"
#include "query/scan.h"

#include <stdlib.h>
#include <string.h>

/* An array that grows. */
struct run {
    void *data;
    size_t cap; /* octets */
};

struct col {
    uint8_t kind;  /* enum query_kind, of the column's values in blocks */
    uint8_t width; /* octets of a value; 4 of a code */
    bool text, list, rate;
    bool utf8;                        /* of text: not octets of any kind */
    struct run valid, values, starts; /* bits; values or codes; of a list */
    size_t n;                         /* rows that have a place; those behind it are null */
    size_t n_valid, n_items;
    /* dictionary */
    struct run dict_starts, dict_octets;
    uint32_t n_dict;
    uint32_t *slots; /* code + 1 by hash; n_slots a power of two */
    uint32_t n_slots;
    struct run map; /* code in the block -> code here + 1, 0: not looked up */
};

struct arrow_gather {
    struct arrow_type *types;
    struct col *cols;
    size_t n, rows, octets;
    uint64_t seed;
    base_buf mended; /* the text at hand, when it was no UTF-8 */
};

enum { FIRST_SLOTS = 256 };

static weir_status no_memory(weir_err *err)
{
    return weir_err_set(err, WEIR_ENOMEM, 0, "query: out of memory for a batch of the answer");
}

static bool room(struct run *r, size_t octets)
{
    if (octets <= r->cap)
        return true;
    size_t want = r->cap ? r->cap : 4096;
    while (want < octets)
        want *= 2;
    void *more = realloc(r->data, want);
    if (!more)
        return false;
    r->data = more;
    r->cap = want;
    return true;
}

static void run_done(struct run *r)
{
    free(r->data);
    *r = (struct run){.data = NULL};
}

/* ---- columns ---- */

/* How values of a field stand in an array: as the archive has the column, others 64 bits wide. */
static enum flow_type type_of(const struct query_field *f)
{
    enum flow_type own =
        f->what == QUERY_F_COLUMN ? (enum flow_type)flow_columns()[f->id].type : FLOW_N_TYPES;
    switch ((enum query_kind)f->kind) {
    case QUERY_U64:
    case QUERY_U64_LIST:
        return own == FLOW_TYPE_U8 || own == FLOW_TYPE_U16 || own == FLOW_TYPE_U32 ? own
                                                                                   : FLOW_TYPE_U64;
    case QUERY_S64:
        return own == FLOW_TYPE_S8 || own == FLOW_TYPE_S16 || own == FLOW_TYPE_S32 ? own
                                                                                   : FLOW_TYPE_S64;
    case QUERY_F64:
        return FLOW_TYPE_F64;
    case QUERY_BOOL:
        return FLOW_TYPE_BOOL;
    case QUERY_TIME:
        return FLOW_TYPE_TIME;
    case QUERY_OCTETS:
        return FLOW_TYPE_OCTETS;
    case QUERY_TEXT:
    case QUERY_TEXT_LIST:
    case QUERY_UNKNOWN:
        break;
    }
    return FLOW_TYPE_TEXT;
}

arrow_gather *arrow_gather_new(const struct query_field *fields, const char *const *names, size_t n,
                               bool rates_one)
{
    arrow_gather *g = calloc(1, sizeof *g);
    if (!g)
        return NULL;
    g->types = calloc(n + 1, sizeof *g->types);
    g->cols = calloc(n + 1, sizeof *g->cols);
    if (!g->types || !g->cols) {
        arrow_gather_free(g);
        return NULL;
    }
    g->n = n;
    g->seed = base_hash_seed();
    for (size_t i = 0; i < n; i++) {
        const struct query_field *f = &fields[i];
        struct col *c = &g->cols[i];
        enum flow_type type = type_of(f);
        size_t octets = flow_type_octets(type);
        c->kind = f->kind == QUERY_UNKNOWN ? QUERY_TEXT : f->kind;
        c->list = query_is_list(f->kind);
        c->text = octets == 0;
        c->utf8 = type != FLOW_TYPE_OCTETS;
        c->width = (uint8_t)(octets ? octets : sizeof(uint32_t));
        c->rate = rates_one && f->what == QUERY_F_COLUMN && f->id == FLOW_sampling_rate;
        g->types[i] = (struct arrow_type){names && names[i] ? names[i] : f->name, type, c->list};
    }
    return g;
}

static void col_done(struct col *c)
{
    run_done(&c->valid);
    run_done(&c->values);
    run_done(&c->starts);
    run_done(&c->dict_starts);
    run_done(&c->dict_octets);
    run_done(&c->map);
    free(c->slots);
    c->slots = NULL;
}

void arrow_gather_free(arrow_gather *g)
{
    if (!g)
        return;
    for (size_t i = 0; g->cols && i < g->n; i++)
        col_done(&g->cols[i]);
    base_buf_done(&g->mended);
    free(g->cols);
    free(g->types);
    free(g);
}

const struct arrow_type *arrow_gather_types(const arrow_gather *g)
{
    return g->types;
}

size_t arrow_gather_rows(const arrow_gather *g)
{
    return g->rows;
}

size_t arrow_gather_octets(const arrow_gather *g)
{
    return g->octets;
}

/* ---- dictionaries ---- */

static bool rehash(const arrow_gather *g, struct col *c)
{
    uint32_t n = c->n_slots ? 2 * c->n_slots : FIRST_SLOTS;
    uint32_t *slots = calloc(n, sizeof *slots);
    if (!slots)
        return false;
    const int32_t *starts = c->dict_starts.data;
    const char *octets = c->dict_octets.data;
    for (uint32_t i = 0; i < c->n_dict; i++) {
        uint64_t h = base_hash(octets + starts[i], (size_t)(starts[i + 1] - starts[i]), g->seed);
        while (slots[h & (n - 1)])
            h++;
        slots[h & (n - 1)] = i + 1;
    }
    free(c->slots);
    c->slots = slots;
    c->n_slots = n;
    return true;
}

/* Files of others may call anything text: what is ill-formed becomes U+FFFD, octet by octet. */
static bool mend(arrow_gather *g, const struct query_text *t, struct query_text *out)
{
    const uint8_t *p = (const uint8_t *)t->data;
    base_buf_reset(&g->mended);
    for (size_t i = 0; i < t->len;) {
        size_t n = base_utf8_len(p + i, t->len - i);
        if (n)
            base_buf_add(&g->mended, p + i, n);
        else
            base_buf_add(&g->mended, "\xef\xbf\xbd", 3);
        i += n ? n : 1;
    }
    *out = (struct query_text){g->mended.data, (uint32_t)g->mended.len};
    return !g->mended.failed && g->mended.len <= INT32_MAX;
}

/* The code of a text. */
static weir_status code_of(arrow_gather *g, struct col *c, const struct query_text *t,
                           uint32_t *out, weir_err *err)
{
    if (2 * c->n_dict >= c->n_slots && !rehash(g, c))
        return no_memory(err);
    if (!room(&c->dict_starts, ((size_t)c->n_dict + 2) * sizeof(int32_t)))
        return no_memory(err);
    int32_t *starts = c->dict_starts.data;
    if (c->n_dict == 0)
        starts[0] = 0;
    uint64_t h = base_hash(t->data, t->len, g->seed);
    for (;; h++) {
        uint32_t slot = c->slots[h & (c->n_slots - 1)];
        if (!slot)
            break;
        int32_t at = starts[slot - 1];
        if ((uint32_t)(starts[slot] - at) == t->len &&
            (t->len == 0 || memcmp((const char *)c->dict_octets.data + at, t->data, t->len) == 0)) {
            *out = slot - 1;
            return WEIR_OK;
        }
    }
    size_t at = (size_t)starts[c->n_dict];
    if (t->len > (size_t)INT32_MAX - at)
        return weir_err_set(err, WEIR_ELIMIT, 0,
                            "query: texts of one column of a batch have more than 2 GiB");
    if (!room(&c->dict_octets, at + t->len + 1))
        return no_memory(err);
    if (t->len)
        memcpy((char *)c->dict_octets.data + at, t->data, t->len);
    starts[c->n_dict + 1] = (int32_t)(at + t->len);
    c->slots[h & (c->n_slots - 1)] = c->n_dict + 1;
    *out = c->n_dict++;
    g->octets += t->len + sizeof(int32_t);
    return WEIR_OK;
}

/* Items [from, from + n) of a block's column as codes at out. */
static weir_status add_codes(arrow_gather *g, struct col *c, const struct query_vec *v,
                             uint32_t item, uint32_t *out, weir_err *err)
{
    uint32_t code = v->codes[item];
    uint32_t *map = c->map.data;
    if (map && map[code]) {
        *out = map[code] - 1;
        return WEIR_OK;
    }
    struct query_text t = v->dict[code];
    if (c->utf8 && !base_utf8_ok((const uint8_t *)t.data, t.len) && !mend(g, &t, &t))
        return no_memory(err);
    WEIR_TRY(code_of(g, c, &t, out, err));
    if (map)
        map[code] = *out + 1;
    return WEIR_OK;
}

/* ---- values ---- */

static uint64_t at_most_one(uint64_t bits)
{
    double rate;
    memcpy(&rate, &bits, sizeof rate);
    if (rate > 1) {
        rate = 1;
        memcpy(&bits, &rate, sizeof bits);
    }
    return bits;
}

static bool valid_at(const struct query_vec *v, size_t i)
{
    return !v->valid || (v->valid[i / 64] >> i % 64 & 1);
}

/* Whether values of this block can stand in the column: of the same kind, or numbers that can be made so. A list whose rows
 * are all empty has no items to point to. */
static bool fits(const struct col *c, const struct query_vec *v)
{
    bool text = v->kind == QUERY_TEXT || v->kind == QUERY_OCTETS || v->kind == QUERY_TEXT_LIST;
    return v->kind != QUERY_UNKNOWN && c->list == (v->starts != NULL) && c->text == text &&
           (c->list || (text ? v->codes != NULL : v->num != NULL));
}

/* One item, 0 where it does not fit the column's type: files of others may have wider ones. */
static weir_status add_item(arrow_gather *g, struct col *c, const struct query_vec *v, size_t item,
                            size_t at, bool *fit, weir_err *err)
{
    *fit = true;
    if (c->text)
        return add_codes(g, c, v, (uint32_t)item, (uint32_t *)c->values.data + at, err);
    uint64_t num = v->num[item];
    if (v->kind != c->kind && !c->list)
        *fit = query_convert(&num, v->kind, c->kind);
    if (c->rate && *fit)
        num = at_most_one(num);
    if (c->width < sizeof num && num >> 8 * c->width && c->kind != QUERY_S64)
        *fit = false;
    if (!*fit)
        num = 0;
    memcpy((char *)c->values.data + at * c->width, &num, c->width); /* little-endian */
    return WEIR_OK;
}

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "narrowing copies the low octets");

static void bit_set(struct run *bits, size_t i, bool on)
{
    uint8_t *octet = (uint8_t *)bits->data + i / 8, one = (uint8_t)(1 << i % 8);
    *octet = (uint8_t)(on ? *octet | one : *octet & ~one);
}

static weir_status add_list(arrow_gather *g, struct col *c, const struct query_vec *v, size_t i,
                            weir_err *err)
{
    uint32_t from = v->starts[i], n = v->starts[i + 1] - from;
    if (n > (size_t)INT32_MAX - c->n_items)
        return weir_err_set(err, WEIR_ELIMIT, 0,
                            "query: lists of one column of a batch have more than 2^31 items");
    if (!room(&c->values, (c->n_items + n) * c->width + 1))
        return no_memory(err);
    for (uint32_t k = 0; k < n; k++) {
        bool fit;
        WEIR_TRY(add_item(g, c, v, from + k, c->n_items, &fit, err));
        c->n_items++;
    }
    g->octets += (size_t)n * c->width;
    return WEIR_OK;
}

/* Room for n rows; those that had no place yet, up to row `rows`, are null. */
static bool place(struct col *c, size_t rows, size_t n)
{
    if (!room(&c->valid, n / 8 + 1) || (c->list ? !room(&c->starts, (n + 1) * sizeof(int32_t))
                                                : !room(&c->values, (n + 1) * c->width)))
        return false;
    int32_t *starts = c->starts.data;
    if (c->list && c->n == 0)
        starts[0] = 0;
    if (!c->list && rows > c->n)
        memset((char *)c->values.data + c->n * c->width, 0, (rows - c->n) * c->width);
    for (size_t i = c->n; i < rows; i++) {
        bit_set(&c->valid, i, false);
        if (c->list)
            starts[i + 1] = (int32_t)c->n_items;
    }
    c->n = rows > c->n ? rows : c->n;
    return true;
}

static weir_status add_rows(arrow_gather *g, struct col *c, const struct query_vec *v, size_t from,
                            size_t n, weir_err *err)
{
    size_t rows = g->rows;
    if (!fits(c, v))
        return WEIR_OK; /* null, at no cost */
    if (!place(c, rows, rows + n))
        return no_memory(err);
    /* A dictionary that is much larger than the rows is looked into for them alone. */
    if (c->text && v->n_dict <= 2 * n + FIRST_SLOTS) {
        if (!room(&c->map, ((size_t)v->n_dict + 1) * sizeof(uint32_t)))
            return no_memory(err);
        memset(c->map.data, 0, (size_t)v->n_dict * sizeof(uint32_t));
    } else {
        run_done(&c->map);
    }
    /* Values as they are; of null rows they are 0. */
    bool whole =
        !c->text && !c->list && !c->rate && v->kind == c->kind && c->width == sizeof *v->num;
    if (whole)
        memcpy((char *)c->values.data + rows * c->width, v->num + from, n * c->width);
    for (size_t i = 0; i < n; i++) {
        bool valid = valid_at(v, from + i);
        if (valid && c->list)
            WEIR_TRY(add_list(g, c, v, from + i, err));
        else if (valid && !whole)
            WEIR_TRY(add_item(g, c, v, from + i, rows + i, &valid, err));
        else if (!c->list && !whole)
            memset((char *)c->values.data + (rows + i) * c->width, 0, c->width);
        bit_set(&c->valid, rows + i, valid);
        c->n_valid += valid;
        if (c->list)
            ((int32_t *)c->starts.data)[rows + i + 1] = (int32_t)c->n_items;
    }
    c->n = rows + n;
    g->octets += n * (c->list ? sizeof(int32_t) : c->width) + n / 8;
    return WEIR_OK;
}

weir_status arrow_gather_add(arrow_gather *g, const struct query_block *b, size_t from, size_t n,
                             weir_err *err)
{
    for (size_t i = 0; i < g->n; i++)
        WEIR_TRY(add_rows(g, &g->cols[i], &b->vecs[i], from, n, err));
    g->rows += n;
    return WEIR_OK;
}

/* ---- arrays ---- */

/* Its memory becomes m's. */
static bool give(arrow_memory *m, struct run *r, const void **out)
{
    void *data = r->data;
    *r = (struct run){.data = NULL};
    *out = data;
    return !data || arrow_memory_take(m, data);
}

static bool give_column(arrow_memory *m, struct col *c, size_t rows, struct arrow_values *out)
{
    const void *valid, *values, *starts, *dict_starts, *dict_octets;
    *out = (struct arrow_values){.n_valid = c->n_valid};
    bool ok = true;
    if (c->n_valid) {
        ok = place(c, rows, rows);
        ok &= give(m, &c->valid, &valid);
        ok &= give(m, &c->values, &values);
        ok &= give(m, &c->starts, &starts);
        ok &= give(m, &c->dict_starts, &dict_starts);
        ok &= give(m, &c->dict_octets, &dict_octets);
        out->valid = valid;
        out->values = c->text ? NULL : values;
        out->codes = c->text ? values : NULL;
        out->starts = starts;
        out->dict_starts = dict_starts;
        out->dict_octets = dict_octets;
        out->n_dict = c->n_dict;
    }
    if (c->slots)
        memset(c->slots, 0, c->n_slots * sizeof *c->slots);
    c->n = c->n_valid = c->n_items = 0;
    c->n_dict = 0;
    return ok;
}

weir_status arrow_gather_take(arrow_gather *g, struct ArrowArray *out, weir_err *err)
{
    arrow_memory *m = arrow_memory_new();
    struct arrow_values *values = calloc(g->n + 1, sizeof *values);
    bool ok = m && values;
    for (size_t i = 0; m && values && i < g->n; i++)
        ok &= give_column(m, &g->cols[i], g->rows, &values[i]);
    weir_status s =
        ok ? arrow_array_make(g->types, values, g->n, g->rows, m, out, err) : no_memory(err);
    g->rows = g->octets = 0;
    free(values);
    arrow_memory_drop(m);
    return s;
}
