#include "parquet/chunk.h"

#include "parquet/bloom.h"
#include "parquet/encode.h"
#include "parquet/minmax.h"
#include "parquet/values.h"

#include <stdlib.h>
#include <zlib.h>

#define DATA_PAGE 0
#define DICTIONARY_PAGE 2
#define FLUSH_OCTETS (1 << 20)
/* How much smaller another encoding must be to be preferred to a dictionary, which queries group by. */
#define DICT_BIAS 0.95
/* A span of integers up to this is counted in a table instead of hashed. */
#define SMALL_RANGE 65536
#define MAX_RANGE (1 << 20)
#define FEW_IN_MANY 4096

void chunk_encoder_done(struct chunk_encoder *e)
{
    base_buf *bufs[] = {&e->out,           &e->blooms,         &e->slots,       &e->codes,
                        &e->best.plain,    &e->best.packed,    &e->trial.plain, &e->trial.packed,
                        &e->entries.plain, &e->entries.packed, &e->scratch};
    for (size_t i = 0; i < ARRAY_LEN(bufs); i++)
        base_buf_done(bufs[i]);
    free(e->pages);
    free(e->levels);
    dict_done(&e->dict);
    press_done(&e->press);
    *e = (struct chunk_encoder){0};
}

static weir_status no_memory(const struct meta_leaf *leaf, weir_err *err)
{
    return weir_err_set(err, WEIR_ENOMEM, 0, "parquet writer: no memory for column %s",
                        leaf->column.name);
}

weir_status chunk_flush(struct chunk_encoder *e, weir_err *err)
{
    if (e->out.len)
        WEIR_TRY(e->sink(e->user, e->out.data, e->out.len, err));
    e->offset += e->out.len;
    base_buf_reset(&e->out);
    return WEIR_OK;
}

/* Where a page that starts at `row` ends: after page_rows rows, or where it is large, but at a whole octet of the
 * bitmap. */
static weir_status page_end(struct chunk_encoder *e, const struct values *v, bool measured,
                            size_t row, size_t value, size_t *end, weir_err *err)
{
    size_t stop = v->n_rows - row < e->page_rows ? v->n_rows : row + e->page_rows;
    uint64_t octets = 0;
    *end = stop;
    for (size_t i = row; measured && i < stop; i++) {
        size_t n = values_of_row(v->data, i);
        uint64_t more = values_plain_octets(v, value, n) + n / 4;
        if (more > CHUNK_MAX_ROW_OCTETS)
            return weir_err_set(
                err, WEIR_ELIMIT, 0,
                "parquet writer: column %s: row %zu has %llu octets, %d are allowed",
                v->leaf->column.name, i, (unsigned long long)more, CHUNK_MAX_ROW_OCTETS);
        if (octets > CHUNK_PAGE_OCTETS && (i - row) % 8 == 0) {
            *end = i;
            break;
        }
        octets += more;
        value += n;
    }
    return WEIR_OK;
}

/* Divide the rows into pages. */
static weir_status divide(struct chunk_encoder *e, const struct values *v, size_t *n_pages,
                          weir_err *err)
{
    size_t row = 0, value = 0, n = 0;
    bool measured = v->data->starts ? values_plain_octets(v, 0, v->n) > CHUNK_PAGE_OCTETS
                                    : e->page_rows > CHUNK_PAGE_OCTETS / values_largest(v);
    for (;;) {
        if (n == e->cap_pages) {
            size_t cap = e->cap_pages ? e->cap_pages * 2 : 64;
            struct chunk_page *pages = realloc(e->pages, cap * sizeof *pages);
            if (!pages)
                return no_memory(v->leaf, err);
            e->pages = pages;
            e->cap_pages = cap;
        }
        e->pages[n] = (struct chunk_page){.row = row, .value = value};
        if (row == v->n_rows)
            break;
        size_t end;
        WEIR_TRY(page_end(e, v, measured, row, value, &end, err));
        value += values_of_rows(v->data, row, end);
        row = end;
        n++;
    }
    *n_pages = n;
    return WEIR_OK;
}

/* ---- pages ---- */

/* Levels of a list's rows: 0 null, then empty, then there. Returns their number, 0: no memory. */
static size_t list_levels(struct chunk_encoder *e, const struct values *v, size_t row, size_t end,
                          bool repetition)
{
    const struct parquet_data *d = v->data;
    size_t n = 0;
    for (size_t i = row; i < end; i++) {
        size_t items = values_of_row(d, i);
        n += items ? items : 1;
    }
    if (n > e->cap_levels) {
        free(e->levels);
        e->cap_levels = 0;
        e->levels = n <= SIZE_MAX / sizeof *e->levels ? malloc(n * sizeof *e->levels) : NULL;
        if (!e->levels)
            return 0;
        e->cap_levels = n;
    }
    uint32_t *to = e->levels, empty = v->leaf->column.optional;
    for (size_t i = row; i < end; i++) {
        size_t items = values_of_row(d, i);
        if (repetition) {
            *to++ = 0;
            for (size_t k = 1; k < items; k++)
                *to++ = 1;
        } else if (!items) {
            *to++ = d->valid && !parquet_bit(d->valid, i) ? 0 : empty;
        } else {
            for (size_t k = 0; k < items; k++)
                *to++ = v->leaf->max_def;
        }
    }
    return n;
}

/* The levels of a page into `out`; returns their number, 0: no memory. */
static size_t put_levels(struct chunk_encoder *e, const struct values *v, size_t row, size_t end,
                         base_buf *out)
{
    const struct meta_leaf *leaf = v->leaf;
    size_t n = end - row, begun;
    if (leaf->max_rep) {
        n = list_levels(e, v, row, end, true);
        begun = encode_prefix_begin(out);
        encode_hybrid(out, e->levels, n, 1);
        encode_prefix_end(out, begun);
        (void)list_levels(e, v, row, end, false);
    }
    if (!leaf->max_def)
        return n;
    begun = encode_prefix_begin(out);
    if (leaf->max_rep)
        encode_hybrid(out, e->levels, n, encode_width(leaf->max_def));
    else if (v->data->valid)
        encode_hybrid_bits(out, (const uint8_t *)v->data->valid + row / 8, n);
    else
        encode_run(out, 1, n, 1);
    encode_prefix_end(out, begun);
    return n;
}

static void put_values(struct chunk_encoder *e, const struct values *v, size_t from, size_t n,
                       enum parquet_encoding encoding, base_buf *out)
{
    const struct parquet_bytes *bytes =
        v->slots ? (const struct parquet_bytes *)v->slots + from : NULL;
    const char *raw = v->slots ? (const char *)v->slots + from * values_slot_size(v->kind) : NULL;
    unsigned width;
    if (encoding == PARQUET_RLE_DICTIONARY) {
        width = e->dict.n > 1 ? encode_width(e->dict.n - 1) : 0;
        base_buf_char(out, (char)width);
        if (v->narrow)
            encode_hybrid8(out, v->narrow + from, n, width);
        else
            encode_hybrid(out, v->codes + from, n, width);
        return;
    }
    if (!n && encoding == PARQUET_PLAIN)
        return;
    switch (v->kind) {
    case VALUES_BOOLS:
        if (encoding == PARQUET_RLE)
            encode_rle_bools(out, (const uint8_t *)raw, n);
        else
            encode_plain_bools(out, (const uint8_t *)raw, n);
        break;
    case VALUES_INTS32:
        if (encoding == PARQUET_DELTA_BINARY_PACKED)
            encode_delta32(out, (const uint32_t *)v->slots + from, n);
        else
            base_buf_add(out, raw, n * 4);
        break;
    case VALUES_INTS64:
        if (encoding == PARQUET_DELTA_BINARY_PACKED)
            encode_delta64(out, (const uint64_t *)v->slots + from, n);
        else
            base_buf_add(out, raw, n * 8);
        break;
    case VALUES_OCTETS:
        if (encoding == PARQUET_DELTA_LENGTH_BYTE_ARRAY)
            encode_delta_length(out, bytes, n);
        else if (v->leaf->column.type == PARQUET_FIXED)
            encode_plain_fixed(out, bytes, n, v->leaf->column.type_length);
        else
            encode_plain_bytes(out, bytes, n);
        break;
    }
}

/* The body of one page, not compressed. Returns its levels. */
static size_t put_page(struct chunk_encoder *e, const struct values *v,
                       const struct chunk_page *page, enum parquet_encoding encoding, base_buf *out)
{
    base_buf_reset(out);
    size_t n = put_levels(e, v, page[0].row, page[1].row, out);
    put_values(e, v, page[0].value, page[1].value - page[0].value, encoding, out);
    if (!n)
        out->failed = true;
    return n;
}

static void put_entries(struct chunk_encoder *e, const struct values *v, base_buf *out)
{
    const struct dict *d = &e->dict;
    base_buf_reset(out);
    if (v->kind == VALUES_INTS64) {
        base_buf_add(out, d->ints, d->n * sizeof *d->ints);
    } else if (v->kind == VALUES_INTS32) {
        char *at = base_buf_room(out, d->n * sizeof(uint32_t));
        for (size_t i = 0; at && i < d->n; i++) {
            uint32_t narrow = (uint32_t)d->ints[i];
            memcpy(at + i * sizeof narrow, &narrow, sizeof narrow);
        }
        out->len += at ? d->n * sizeof(uint32_t) : 0;
    } else if (v->leaf->column.type == PARQUET_FIXED) {
        encode_plain_fixed(out, d->bytes, d->n, v->leaf->column.type_length);
    } else {
        encode_plain_bytes(out, d->bytes, d->n);
    }
}

/* body->packed of body->plain; both failed and too large to be worth it leave body->packed as plain is. */
static void squeeze(struct chunk_encoder *e, struct chunk_body *body, enum press_way way, int level)
{
    press_octets(&e->press, e->codec, way, level, body->plain.data, body->plain.len, &body->packed);
}

/* Header and body behind what is in e->out. */
static void put_stored(base_buf *out, const struct chunk_body *body, bool packed,
                       struct meta_page *page, struct meta_chunk *meta)
{
    const base_buf *stored = packed ? &body->packed : &body->plain;
    size_t from = out->len;
    page->octets_plain = (int32_t)body->plain.len;
    page->octets = (int32_t)stored->len;
    page->has_crc = true;
    page->crc = (uint32_t)crc32_z(0, (const uint8_t *)stored->data, stored->len);
    page->def_encoding = page->rep_encoding = PARQUET_RLE;
    meta_page_write(out, page);
    meta->octets_plain += (int64_t)(out->len - from + body->plain.len);
    base_buf_add(out, stored->data, stored->len);
    meta->octets += (int64_t)(out->len - from);
    if (body->plain.failed || stored->failed)
        out->failed = true;
}

/* ---- choosing ---- */

struct choice {
    enum parquet_encoding encoding;
    bool packed; /* by the codec */
    enum press_way way;
    double octets;   /* of the chunk, about */
    size_t n_levels; /* of the page that was tried, whose octets are in e->best */
};

/* What the chunk would take, judged by one page, whose octets stay in e->trial. */
static struct choice attempt(struct chunk_encoder *e, const struct values *v,
                             const struct chunk_page *page, enum parquet_encoding encoding)
{
    struct choice c = {.encoding = encoding};
    size_t n = page[1].value - page[0].value;
    c.n_levels = put_page(e, v, page, encoding, &e->trial.plain);
    double pages = n ? (double)v->n / (double)n : 1;
    double plain = (double)e->trial.plain.len * pages;
    bool dict = encoding == PARQUET_RLE_DICTIONARY;
    if (dict)
        put_entries(e, v, &e->entries.plain);
    plain += dict ? (double)e->entries.plain.len : 0;
    c.octets = plain;
    if (e->codec == PARQUET_NONE)
        return c;
    double page_packed = press_estimate(&e->press, e->codec, e->level, e->trial.plain.data,
                                        e->trial.plain.len, &e->scratch, &c.way);
    if (dict) {
        bool text = v->leaf->column.type == PARQUET_BYTE_ARRAY;
        squeeze(e, &e->entries, text ? PRESS_STRINGS : PRESS_NEAR, text ? e->text_level : e->level);
    }
    double packed = page_packed * pages + (dict ? (double)e->entries.packed.len : 0);
    c.packed = !(dict && e->entries.packed.failed) && packed <= plain * (1 - CHUNK_MIN_SAVING);
    c.octets = c.packed ? packed : plain;
    return c;
}

/* The page to try: the middle one, or a fuller one where that is rather empty. */
static size_t typical_page(const struct chunk_page *pages, size_t n_pages)
{
    size_t middle = n_pages / 2, full = middle;
    for (size_t i = 0; i < n_pages; i++)
        if (pages[i + 1].value - pages[i].value > pages[full + 1].value - pages[full].value)
            full = i;
    return 2 * (pages[middle + 1].value - pages[middle].value) >
                   pages[full + 1].value - pages[full].value
               ? middle
               : full;
}

/* Smallest and largest as unsigned numbers, of signed ones with the sign bit flipped. */
static void int_range(const struct values *v, const struct bounds *all, uint64_t *min,
                      uint64_t *range)
{
    uint64_t low = 0, high = 0;
    size_t size = values_slot_size(v->kind);
    memcpy(&low, all->min.octets, size);
    memcpy(&high, all->max.octets, size);
    *min = low;
    *range = v->kind == VALUES_INTS32 ? (uint32_t)(high - low) : high - low;
}

/* The dictionary of integers, if all lie in a small range, with steps between them at most; WEIR_ELIMIT: they do not. */
static weir_status range_dict(struct chunk_encoder *e, struct values *v, uint64_t min,
                              uint64_t range, weir_err *err)
{
    bool is64 = v->kind == VALUES_INTS64;
    if (range == 0)
        return dict_one(&e->dict, is64 ? min : (uint32_t)min, v->n, err);
    size_t table = v->n / 2 < SMALL_RANGE ? SMALL_RANGE
                   : v->n / 2 < MAX_RANGE ? v->n / 2
                                          : MAX_RANGE;
    uint64_t step = 1;
    const void *values = v->ints;
    unsigned width = v->width;
    if (range >= table) { /* times in microseconds may all be whole milliseconds */
        WEIR_TRY(values_widen(v, &e->codes, err));
        values = v->slots;
        width = is64 ? 8 : 4;
        step = dict_step(values, is64, v->n, min);
    }
    uint64_t span = range / step;
    if (span >= table || (span >= 4096 && span >= 64 * (uint64_t)v->n))
        return WEIR_ELIMIT;
    return dict_range(&e->dict, values, width, is64, v->n, min, step, (uint32_t)span, err);
}

/* Whether all slots have the bits of *first. */
static bool all_same(const struct values *v, uint64_t *first)
{
    uint64_t least, most;
    uint32_t least32, most32;
    if (v->kind == VALUES_INTS64) {
        minmax_best()->u64(v->slots, v->n, 0, &least, &most);
    } else {
        minmax_best()->u32(v->slots, v->n, 0, &least32, &most32);
        least = least32;
        most = most32;
    }
    *first = least;
    return least == most;
}

static void use_dict(struct chunk_encoder *e, struct values *v)
{
    v->codes = e->dict.codes;
    v->narrow = e->dict.narrow;
}

/* Candidates for integers and floats, the dictionary made if one pays. Returns their number. */
static weir_status int_candidates(struct chunk_encoder *e, struct values *v,
                                  const struct bounds *all, enum parquet_encoding *to, size_t *n,
                                  weir_err *err)
{
    bool is64 = v->kind == VALUES_INTS64, ints = values_are_ints(&v->leaf->column);
    unsigned width = is64 ? 64 : 32, range_bits = width;
    uint64_t min = 0, range = UINT64_MAX, plain_bits = (uint64_t)v->n * width,
             delta_bits = UINT64_MAX;
    weir_status status = WEIR_ELIMIT;
    if (ints && all->known) {
        int_range(v, all, &min, &range);
        range_bits = range ? 64 - (unsigned)__builtin_clzll(range) : 1;
        status = range_dict(e, v, min, range, err);
    } else if (!ints && all_same(v, &min)) { /* to the bit */
        status = dict_one(&e->dict, min, v->n, err);
    }
    /* Of few values, which a code of an octet tells, many in a row have nothing that differences could use. */
    bool few = status == WEIR_OK && e->dict.narrow && v->n >= FEW_IN_MANY;
    if (ints && !few)
        delta_bits =
            encode_delta_estimate(v->ints, v->width, v->leaf->column.unsigned_order, is64, v->n);
    if (status == WEIR_ELIMIT) {
        WEIR_TRY(values_widen(v, &e->codes, err));
        /* Compressed, entries take about half the bits of their range, and codes may as well. */
        uint64_t rival = plain_bits < delta_bits ? plain_bits : delta_bits;
        status = dict_ints(&e->dict, v->slots, is64, v->n, is64 ? min : (uint32_t)min,
                           range_bits / 2 + 1, 2 * rival + 4096, err);
    }
    bool dict = status == WEIR_OK && (uint64_t)e->dict.n * (width / 8) <= e->max_dict_octets;
    if (status != WEIR_OK && status != WEIR_ELIMIT)
        return status;
    uint64_t dict_bits = UINT64_MAX;
    if (dict) {
        use_dict(e, v);
        to[(*n)++] = PARQUET_RLE_DICTIONARY;
        dict_bits = (uint64_t)v->n * encode_width(e->dict.n - 1) + (uint64_t)e->dict.n * range_bits;
    }
    if (ints && (!dict || delta_bits < dict_bits + dict_bits / 4))
        to[(*n)++] = PARQUET_DELTA_BINARY_PACKED;
    uint64_t best = dict_bits < delta_bits ? dict_bits : delta_bits;
    if (!*n || best > plain_bits / 2)
        to[(*n)++] = PARQUET_PLAIN;
    return *n > 1 || !dict ? values_widen(v, &e->codes, err) : WEIR_OK;
}

/* The octets themselves, where only codes were given. */
static weir_status spread(struct chunk_encoder *e, struct values *v, weir_err *err)
{
    base_buf_reset(&e->slots);
    struct parquet_bytes *to = (void *)base_buf_room(&e->slots, v->n * sizeof *to);
    if (!to)
        return no_memory(v->leaf, err);
    for (size_t i = 0; i < v->n; i++)
        to[i] = e->dict.bytes[v->narrow ? v->narrow[i] : v->codes[i]];
    v->slots = to;
    return WEIR_OK;
}

/* Values of a fixed length have that length. */
static weir_status check_fixed(const struct values *v, const struct parquet_bytes *values, size_t n,
                               weir_err *err)
{
    uint32_t len = v->leaf->column.type_length;
    for (size_t i = 0; v->leaf->column.type == PARQUET_FIXED && i < n; i++)
        if (values[i].len != len)
            return weir_err_set(err, WEIR_EINVAL, 0,
                                "parquet writer: column %s: a value of %u octets, not %u",
                                v->leaf->column.name, values[i].len, len);
    return WEIR_OK;
}

static weir_status octet_candidates(struct chunk_encoder *e, struct values *v,
                                    enum parquet_encoding *to, size_t *n, weir_err *err)
{
    weir_status status;
    bool fixed = v->leaf->column.type == PARQUET_FIXED;
    if (!v->codes)
        WEIR_TRY(check_fixed(v, v->slots, v->n, err));
    if (v->codes)
        status = dict_codes(&e->dict, v->codes, v->n, v->data->dict, v->data->n_dict, err);
    else
        status = dict_bytes(&e->dict, v->slots, v->n, e->max_dict_octets, err);
    if (status != WEIR_OK && status != WEIR_ELIMIT)
        return status;
    bool dict = status == WEIR_OK && e->dict.octets + 4 * (uint64_t)e->dict.n <= e->max_dict_octets;
    if (status == WEIR_OK) {
        use_dict(e, v);
        WEIR_TRY(check_fixed(v, e->dict.bytes, e->dict.n, err));
    }
    if (dict)
        to[(*n)++] = PARQUET_RLE_DICTIONARY;
    if (dict && e->dict.n <= v->n / 2)
        return WEIR_OK;
    if (!v->slots)
        WEIR_TRY(spread(e, v, err));
    if (!fixed)
        to[(*n)++] = PARQUET_DELTA_LENGTH_BYTE_ARRAY;
    if (fixed || v->n < 64)
        to[(*n)++] = PARQUET_PLAIN;
    return WEIR_OK;
}

static weir_status choose(struct chunk_encoder *e, struct values *v, const struct bounds *all,
                          const struct chunk_page *page, struct choice *out, weir_err *err)
{
    enum parquet_encoding candidates[4];
    size_t n = 0;
    e->dict.n = 0;
    if (!v->n)
        candidates[n++] = PARQUET_PLAIN;
    else if (v->kind == VALUES_OCTETS)
        WEIR_TRY(octet_candidates(e, v, candidates, &n, err));
    else if (v->kind != VALUES_BOOLS)
        WEIR_TRY(int_candidates(e, v, all, candidates, &n, err));
    else {
        candidates[n++] = PARQUET_PLAIN;
        candidates[n++] = PARQUET_RLE;
    }
    for (size_t i = 0; i < n; i++) {
        struct choice c = attempt(e, v, page, candidates[i]);
        if (e->trial.plain.failed)
            return no_memory(v->leaf, err);
        double bias =
            i && candidates[0] == PARQUET_RLE_DICTIONARY && out->encoding == PARQUET_RLE_DICTIONARY
                ? DICT_BIAS
                : 1;
        if (i && c.octets >= out->octets * bias)
            continue;
        *out = c;
        struct chunk_body better = e->trial;
        e->trial = e->best;
        e->best = better;
    }
    if (out->packed)
        squeeze(e, &e->best, out->way, e->level);
    return WEIR_OK;
}

/* ---- bounds ---- */

static void bounds_of_slots(const struct parquet_bytes *v, size_t n, bool text, struct bounds *b)
{
    if (!n)
        return;
    struct parquet_bytes min = v[0], max = v[0];
    for (size_t i = 1; i < n; i++) {
        if (bounds_compare_bytes(v[i], min) < 0)
            min = v[i];
        else if (bounds_compare_bytes(v[i], max) > 0)
            max = v[i];
    }
    bounds_of_bytes(b, min, max, text);
}

static weir_status page_bounds(struct chunk_encoder *e, const struct values *v, bool text,
                               struct chunk_page *page, weir_err *err)
{
    size_t from = page[0].value, n = page[1].value - from;
    const struct parquet_column *c = &v->leaf->column;
    struct bounds *b = &page->bounds;
    uint32_t min, max;
    switch ((enum parquet_type)c->type) {
    case PARQUET_BOOLEAN:
        bounds_of_bools(b, (const uint8_t *)v->slots + from, n);
        break;
    case PARQUET_INT32:
    case PARQUET_INT64:
        bounds_of_ints(b, (const char *)v->ints + from * v->width, v->width, c->unsigned_order,
                       v->kind == VALUES_INTS64, n);
        break;
    case PARQUET_FLOAT:
        bounds_of_float(b, (const float *)v->slots + from, n);
        break;
    case PARQUET_DOUBLE:
        bounds_of_double(b, (const double *)v->slots + from, n);
        break;
    case PARQUET_INT96:
    case PARQUET_BYTE_ARRAY:
    case PARQUET_FIXED:
        if (v->codes || v->narrow) {
            WEIR_TRY(dict_span(&e->dict, from, n, &min, &max, err));
            bounds_of_bytes(b, e->dict.bytes[min], e->dict.bytes[max], text);
        } else {
            bounds_of_slots((const struct parquet_bytes *)v->slots + from, n, text, b);
        }
        break;
    }
    return WEIR_OK;
}

/* Bounds of the pages and of all; nothing where the column has no order. */
static weir_status find_bounds(struct chunk_encoder *e, const struct values *v, size_t n_pages,
                               struct bounds *all, weir_err *err)
{
    const struct parquet_column *c = &v->leaf->column;
    bool text = c->logical == PARQUET_L_STRING || c->logical == PARQUET_L_JSON ||
                c->logical == PARQUET_L_ENUM;
    all->known = false;
    if (!v->leaf->ordered || !v->n || (c->type == PARQUET_FIXED && c->type_length > BOUNDS_OCTETS))
        return WEIR_OK;
    bool lost = false;
    for (size_t i = 0; i < n_pages; i++) {
        struct chunk_page *page = &e->pages[i];
        if (page[0].value == page[1].value)
            continue;
        WEIR_TRY(page_bounds(e, v, text, page, err));
        lost = lost || (!page->bounds.known && v->kind == VALUES_OCTETS);
        bounds_join(c, all, &page->bounds);
    }
    all->known = all->known && !lost;
    return WEIR_OK;
}

/* ---- index ---- */

static int boundary_order(const struct parquet_column *c, const struct chunk_page *pages, size_t n)
{
    const struct chunk_page *last = NULL;
    bool rising = true, falling = true;
    for (size_t i = 0; i < n; i++) {
        if (!pages[i].bounds.known)
            continue;
        if (last) {
            int min = bounds_compare(c, &last->bounds.min, &pages[i].bounds.min);
            int max = bounds_compare(c, &last->bounds.max, &pages[i].bounds.max);
            rising = rising && min <= 0 && max <= 0;
            falling = falling && min >= 0 && max >= 0;
        }
        last = &pages[i];
    }
    return rising ? 1 : falling ? 2 : 0;
}

static struct parquet_bytes view(const struct bounds_value *v)
{
    return (struct parquet_bytes){v->octets, v->len};
}

static weir_status put_index(struct chunk_encoder *e, const struct values *v, size_t n_pages,
                             struct chunk_index *index, struct meta_chunk *meta, weir_err *err)
{
    if (!index->wanted)
        return WEIR_OK;
    struct meta_page_bounds *bounds = calloc(n_pages, sizeof *bounds);
    struct meta_page_place *places = calloc(n_pages, sizeof *places);
    bool ok = bounds && places, known = v->leaf->ordered;
    for (size_t i = 0; ok && i < n_pages; i++) {
        const struct chunk_page *page = &e->pages[i];
        size_t n = page[1].value - page[0].value;
        bounds[i].all_null = n == 0;
        bounds[i].n_nulls = (int64_t)(page->n_levels - n);
        if (page->bounds.known) {
            bounds[i].min = view(&page->bounds.min);
            bounds[i].max = view(&page->bounds.max);
        }
        known = known && (bounds[i].all_null || page->bounds.known);
        places[i] = (struct meta_page_place){page->offset, (int64_t)page->row, page->octets};
    }
    size_t from = index->columns.len;
    if (ok && known)
        meta_column_index_write(&index->columns, bounds, n_pages,
                                boundary_order(&v->leaf->column, e->pages, n_pages));
    meta->column_index_octets = (int32_t)(index->columns.len - from);
    from = index->offsets.len;
    if (ok)
        meta_offset_index_write(&index->offsets, places, n_pages);
    meta->offset_index_octets = (int32_t)(index->offsets.len - from);
    free(bounds);
    free(places);
    if (!ok || index->columns.failed || index->offsets.failed)
        return no_memory(v->leaf, err);
    return WEIR_OK;
}

/* ---- bloom filter ---- */

static void bloom_add(const struct values *v, const struct dict *d, size_t i, uint8_t *bits,
                      uint32_t octets)
{
    struct parquet_bytes b = {0};
    uint64_t hash;
    if (v->kind == VALUES_OCTETS) {
        b = d ? d->bytes[i] : ((const struct parquet_bytes *)v->slots)[i];
        hash = bloom_hash(b.data, b.len);
    } else if (d) {
        hash = bloom_hash(&d->ints[i], values_slot_size(v->kind));
    } else {
        size_t size = values_slot_size(v->kind);
        hash = bloom_hash((const char *)v->slots + i * size, size);
    }
    bloom_insert(bits, octets, hash);
}

static weir_status put_bloom(struct chunk_encoder *e, const struct values *v, bool by_dict,
                             struct meta_chunk *meta, weir_err *err)
{
    if (v->kind == VALUES_BOOLS)
        return WEIR_OK; /* which has nothing to tell that the bounds do not */
    size_t n = by_dict ? e->dict.n : v->n;
    uint32_t octets = bloom_octets(n, e->bloom_fpp);
    size_t from = e->blooms.len;
    meta_bloom_write(&e->blooms, octets);
    uint8_t *bits = (uint8_t *)base_buf_room(&e->blooms, octets);
    if (!bits)
        return no_memory(v->leaf, err);
    memset(bits, 0, octets);
    for (size_t i = 0; i < n; i++)
        bloom_add(v, by_dict ? &e->dict : NULL, i, bits, octets);
    e->blooms.len += octets;
    meta->bloom_offset = (int64_t)from + 1;
    meta->bloom_octets = (int32_t)(e->blooms.len - from);
    return WEIR_OK;
}

/* ---- chunks ---- */

static struct meta_chunk new_chunk(const struct meta_leaf *leaf)
{
    return (struct meta_chunk){
        .type = leaf->column.type, .value_octets = -1, .stats = {.n_nulls = 0}};
}

void chunk_encode_null(base_buf *out, uint64_t offset, const struct meta_leaf *leaf, size_t n_rows,
                       struct chunk_index *index, struct meta_chunk *meta)
{
    struct chunk_body body = {0};
    base_buf *plain = &body.plain;
    struct meta_page page = {
        .kind = DATA_PAGE, .n_values = (int32_t)n_rows, .encoding = PARQUET_PLAIN};
    size_t from = out->len;
    *meta = new_chunk(leaf);
    for (unsigned i = 0; i <= leaf->max_rep;
         i++) { /* repetition levels of a list, definition levels */
        size_t begun = encode_prefix_begin(plain);
        encode_run(plain, 0, n_rows, i == leaf->max_rep ? encode_width(leaf->max_def) : 1);
        encode_prefix_end(plain, begun);
    }
    put_stored(out, &body, false, &page, meta);
    base_buf_done(plain);
    meta->encodings = 1 << PARQUET_PLAIN | 1 << PARQUET_RLE;
    meta->n_values = meta->stats.n_nulls = (int64_t)n_rows;
    meta->data_offset = (int64_t)(offset + from);
    meta->n_pages = 1;
    if (leaf->column.type == PARQUET_BYTE_ARRAY)
        meta->value_octets = 0;
    if (!index->wanted)
        return;
    struct meta_page_bounds bounds = {.all_null = true, .n_nulls = (int64_t)n_rows};
    struct meta_page_place place = {meta->data_offset, 0, (int32_t)meta->octets};
    from = index->columns.len;
    if (leaf->ordered)
        meta_column_index_write(&index->columns, &bounds, 1, 1);
    meta->column_index_octets = (int32_t)(index->columns.len - from);
    from = index->offsets.len;
    meta_offset_index_write(&index->offsets, &place, 1);
    meta->offset_index_octets = (int32_t)(index->offsets.len - from);
}

static weir_status put_pages(struct chunk_encoder *e, const struct values *v, size_t n_pages,
                             size_t tried, const struct choice *choice, struct meta_chunk *meta,
                             weir_err *err)
{
    if (choice->encoding == PARQUET_RLE_DICTIONARY) {
        struct meta_page page = {
            .kind = DICTIONARY_PAGE, .n_values = (int32_t)e->dict.n, .encoding = PARQUET_PLAIN};
        meta->dict_offset = (int64_t)(e->offset + e->out.len);
        put_stored(&e->out, &e->entries, choice->packed, &page, meta);
    }
    meta->data_offset = (int64_t)(e->offset + e->out.len);
    for (size_t i = 0; i < n_pages; i++) {
        struct chunk_page *p = &e->pages[i];
        struct chunk_body *body = i == tried ? &e->best : &e->trial;
        p->n_levels = choice->n_levels;
        if (i != tried) {
            p->n_levels = put_page(e, v, p, choice->encoding, &body->plain);
            if (choice->packed)
                squeeze(e, body, choice->way, e->level);
        }
        struct meta_page page = {.kind = DATA_PAGE,
                                 .n_values = (int32_t)p->n_levels,
                                 .encoding = (uint8_t)choice->encoding};
        size_t from = e->out.len;
        p->offset = (int64_t)(e->offset + from);
        put_stored(&e->out, body, choice->packed, &page, meta);
        p->octets = (int32_t)(e->out.len - from);
        meta->n_values += (int64_t)p->n_levels;
        if (e->out.failed)
            return no_memory(v->leaf, err);
        if (e->out.len > FLUSH_OCTETS)
            WEIR_TRY(chunk_flush(e, err));
    }
    return WEIR_OK;
}

static void describe(struct chunk_encoder *e, const struct values *v, size_t n_pages,
                     const struct choice *choice, const struct bounds *all, struct meta_chunk *meta)
{
    bool dict = choice->encoding == PARQUET_RLE_DICTIONARY;
    meta->codec = choice->packed ? e->codec : PARQUET_NONE;
    meta->encodings = UINT32_C(1) << choice->encoding | (dict ? 1 << PARQUET_PLAIN : 0) |
                      (v->leaf->max_def || v->leaf->max_rep ? 1 << PARQUET_RLE : 0);
    meta->dict_pages_only = dict;
    meta->n_pages = (int32_t)n_pages;
    meta->stats.n_nulls = meta->n_values - (int64_t)v->n;
    if (all->known) {
        meta->stats.min = view(&all->min);
        meta->stats.max = view(&all->max);
        meta->stats.min_exact = all->min.exact;
        meta->stats.max_exact = all->max.exact;
    }
    if (v->leaf->column.type != PARQUET_BYTE_ARRAY)
        return;
    meta->value_octets = 0;
    if (v->codes || v->narrow)
        meta->value_octets = (int64_t)e->dict.value_octets;
    else if (v->n)
        meta->value_octets = (int64_t)(values_plain_octets(v, 0, v->n) - 4 * (uint64_t)v->n);
}

weir_status chunk_encode(struct chunk_encoder *e, const struct meta_leaf *leaf,
                         const struct parquet_data *data, size_t n_rows, bool bloom,
                         struct chunk_index *index, struct bounds *all, struct meta_chunk *meta,
                         weir_err *err)
{
    struct values v = {.leaf = leaf, .data = data, .n_rows = n_rows};
    struct choice choice = {0};
    size_t n_pages = 0, tried;
    if (data->n) {
        WEIR_TRY(values_gather(&v, &e->slots, &e->codes, err));
    } else if (!leaf->column.optional) {
        return weir_err_set(err, WEIR_EINVAL, 0, "parquet writer: column %s may not be null",
                            leaf->column.name);
    }
    if (!data->n || v.n_null == n_rows) {
        chunk_encode_null(&e->out, e->offset, leaf, n_rows, index, meta);
        if (e->out.failed || index->columns.failed || index->offsets.failed)
            return no_memory(leaf, err);
        return e->out.len > FLUSH_OCTETS ? chunk_flush(e, err) : WEIR_OK;
    }
    *meta = new_chunk(leaf);
    all->known = false;
    WEIR_TRY(divide(e, &v, &n_pages, err));
    tried = typical_page(e->pages, n_pages);
    /* The range of integers helps to choose; bounds of octets are found through the dictionary. */
    if (v.kind != VALUES_OCTETS)
        WEIR_TRY(find_bounds(e, &v, n_pages, all, err));
    WEIR_TRY(choose(e, &v, all, &e->pages[tried], &choice, err));
    if (v.kind == VALUES_OCTETS)
        WEIR_TRY(find_bounds(e, &v, n_pages, all, err));
    WEIR_TRY(put_pages(e, &v, n_pages, tried, &choice, meta, err));
    describe(e, &v, n_pages, &choice, all, meta);
    WEIR_TRY(put_index(e, &v, n_pages, index, meta, err));
    if (bloom && v.n)
        WEIR_TRY(put_bloom(e, &v, v.codes || v.narrow, meta, err));
    return WEIR_OK;
}
