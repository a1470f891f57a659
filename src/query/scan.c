#include "query/scan.h"

#include "base/text.h"
#include "query/lookup.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static weir_status no_memory(weir_err *err)
{
    return weir_err_set(err, WEIR_ENOMEM, 0, "query: out of memory");
}

weir_status query_scan_open(struct query_scan *s, const parquet_file *file, size_t group,
                            uint64_t first_no, weir_err *err)
{
    size_t n = s->plan->n_columns;
    if (!s->columns && n && !(s->columns = calloc(n, sizeof *s->columns)))
        return no_memory(err);
    if (n)
        memset(s->columns, 0, n * sizeof *s->columns);
    struct parquet_group_info info;
    parquet_group(file, group, &info);
    s->file = file;
    s->group = group;
    s->n_rows = info.n_rows;
    s->first_no = first_no;
    s->at = 0;
    s->n = 0;
    s->rate = QUERY_RATE_UNSET;
    query_bump_reset(&s->group_memory);
    query_bump_reset(&s->window_memory);
    return WEIR_OK;
}

void query_scan_close(struct query_scan *s)
{
    for (size_t i = 0; s->columns && i < s->plan->n_columns; i++) {
        parquet_cursor_free(s->columns[i].cursor);
        s->columns[i].cursor = NULL;
    }
}

void query_scan_done(struct query_scan *s)
{
    query_scan_close(s);
    free(s->columns);
    s->columns = NULL;
    query_bump_done(&s->group_memory);
    query_bump_done(&s->window_memory);
}

void query_scan_window(struct query_scan *s, uint64_t at, size_t n)
{
    s->at = at;
    s->n = n;
    query_bump_reset(&s->window_memory);
}

/* What a column's values are, by its type in the file. */
static uint8_t kind_of(const struct parquet_column *c)
{
    switch ((enum parquet_type)c->type) {
    case PARQUET_BOOLEAN:
        return QUERY_BOOL;
    case PARQUET_INT32:
    case PARQUET_INT64:
        switch ((enum parquet_logical)c->logical) {
        case PARQUET_L_TIMESTAMP_MS:
        case PARQUET_L_TIMESTAMP_US:
        case PARQUET_L_TIMESTAMP_NS:
        case PARQUET_L_DATE:
            return QUERY_TIME;
        case PARQUET_L_DECIMAL:
            return QUERY_F64;
        case PARQUET_L_NONE:
        case PARQUET_L_STRING:
        case PARQUET_L_JSON:
        case PARQUET_L_ENUM:
        case PARQUET_L_BSON:
        case PARQUET_L_UUID:
        case PARQUET_L_INT8:
        case PARQUET_L_INT16:
        case PARQUET_L_INT32:
        case PARQUET_L_UINT8:
        case PARQUET_L_UINT16:
        case PARQUET_L_UINT32:
        case PARQUET_L_INT64:
        case PARQUET_L_UINT64:
        case PARQUET_L_TIME_MS:
        case PARQUET_L_TIME_US:
        case PARQUET_L_TIME_NS:
        case PARQUET_L_FLOAT16:
        case PARQUET_L_INTERVAL:
        case PARQUET_L_OTHER:
            break;
        }
        return c->unsigned_order ? QUERY_U64 : QUERY_S64;
    case PARQUET_INT96:
        return QUERY_TIME;
    case PARQUET_FLOAT:
    case PARQUET_DOUBLE:
        return QUERY_F64;
    case PARQUET_BYTE_ARRAY:
        return c->logical == PARQUET_L_STRING || c->logical == PARQUET_L_JSON ||
                       c->logical == PARQUET_L_ENUM
                   ? QUERY_TEXT
                   : QUERY_OCTETS;
    case PARQUET_FIXED:
        return QUERY_OCTETS;
    }
    return QUERY_OCTETS;
}

static uint8_t list_of(uint8_t kind)
{
    return kind == QUERY_U64 || kind == QUERY_S64 || kind == QUERY_BOOL ? QUERY_U64_LIST
                                                                        : QUERY_TEXT_LIST;
}

uint8_t query_column_kind(const struct parquet_column *c)
{
    return c->list ? list_of(kind_of(c)) : kind_of(c);
}

/* A kind of items: of a list, or of the column itself. */
static uint8_t item_kind(uint8_t kind)
{
    return kind == QUERY_U64_LIST ? QUERY_U64 : kind == QUERY_TEXT_LIST ? QUERY_TEXT : kind;
}

weir_status query_scan_column(struct query_scan *s, int column, struct query_scan_column **out,
                              weir_err *err)
{
    (void)err;
    struct query_scan_column *c = &s->columns[column];
    *out = c;
    if (c->known)
        return WEIR_OK;
    const struct query_plan_column *p = &s->plan->columns[column];
    c->known = true;
    c->at = UINT64_MAX;
    c->in_file = parquet_column_find(s->file, p->name);
    if (c->in_file < 0) {
        c->missing = c->all_null = true;
        return WEIR_OK;
    }
    c->type = &parquet_schema_of(s->file)->columns[c->in_file];
    c->source_kind = kind_of(c->type);
    c->kind = atomic_load_explicit(&p->kind, memory_order_relaxed);
    if (c->kind == QUERY_UNKNOWN)
        c->kind = query_column_kind(c->type);
    if (c->type->list != query_is_list(c->kind)) {
        /* A list where other files have single values, or the other way round: nothing to compare or add up. */
        c->missing = c->all_null = true;
        return WEIR_OK;
    }
    parquet_chunk(s->file, s->group, (size_t)c->in_file, &c->info);
    c->all_null = c->info.n_nulls >= 0 && (uint64_t)c->info.n_nulls >= s->n_rows && !c->type->list;
    c->no_null = !c->type->optional || c->info.n_nulls == 0;
    return WEIR_OK;
}

static weir_status open_cursor(struct query_scan *s, struct query_scan_column *c, weir_err *err)
{
    if (c->cursor)
        return WEIR_OK;
    WEIR_TRY(parquet_cursor_new(s->file, s->group, (size_t)c->in_file, &c->cursor, err));
    s->octets += c->info.octets;
    c->next = 0;
    return WEIR_OK;
}

/* ---- numbers ---- */

bool query_convert(uint64_t *v, uint8_t from, uint8_t to)
{
    if (from == to)
        return true;
    if (to == QUERY_BOOL) {
        *v = *v != 0;
        return true;
    }
    double d;
    if (from == QUERY_F64) {
        memcpy(&d, v, sizeof d);
        if (to == QUERY_U64) {
            if (!(d >= 0 && d < 18446744073709551616.0))
                return false;
            *v = (uint64_t)d;
        } else {
            if (!(d >= -9223372036854775808.0 && d < 9223372036854775808.0))
                return false;
            *v = (uint64_t)(int64_t)d;
        }
        return true;
    }
    bool was_signed = from == QUERY_S64 || from == QUERY_TIME;
    if (to == QUERY_F64) {
        d = was_signed ? (double)(int64_t)*v : (double)*v;
        memcpy(v, &d, sizeof d);
        return true;
    }
    bool will_be_signed = to == QUERY_S64 || to == QUERY_TIME;
    return was_signed == will_be_signed || *v <= INT64_MAX;
}

static double power_of_ten(unsigned n)
{
    double d = 1;
    while (n--)
        d *= 10;
    return d;
}

static int64_t floor_div(int64_t v, int64_t by)
{
    return v / by - (v % by < 0);
}

static uint64_t times(int64_t v, int64_t by)
{
    int64_t r;
    return (uint64_t)(__builtin_mul_overflow(v, by, &r) ? (v < 0 ? INT64_MIN : INT64_MAX) : r);
}

/* What a stored integer means, when that is not itself: times of other units, decimals. */
static uint64_t integer_meaning(const struct parquet_column *t, uint64_t v)
{
    if (t->logical == PARQUET_L_TIMESTAMP_MS)
        return times((int64_t)v, 1000);
    if (t->logical == PARQUET_L_TIMESTAMP_NS)
        return (uint64_t)floor_div((int64_t)v, 1000);
    if (t->logical == PARQUET_L_DATE)
        return times((int64_t)v, INT64_C(86400000000));
    if (t->logical == PARQUET_L_DECIMAL) {
        double d = (double)(int64_t)v / power_of_ten(t->scale);
        memcpy(&v, &d, sizeof v);
    }
    return v;
}

static bool has_meaning(const struct parquet_column *t)
{
    return t->logical == PARQUET_L_TIMESTAMP_MS || t->logical == PARQUET_L_TIMESTAMP_NS ||
           t->logical == PARQUET_L_DATE || t->logical == PARQUET_L_DECIMAL;
}

/* INT96: nanoseconds of the day and the Julian day. */
static uint64_t int96_time(const struct parquet_bytes *b)
{
    int64_t ns = 0;
    int32_t day = 0;
    if (b->len < 12)
        return 0;
    memcpy(&ns, b->data, 8);
    memcpy(&day, b->data + 8, 4);
    int64_t days_us = (int64_t)times((int64_t)day - 2440588, INT64_C(86400000000)), r;
    return (uint64_t)(__builtin_add_overflow(days_us, floor_div(ns, 1000), &r) ? days_us : r);
}

/* Slots at[n] of values (NULL: the first n) as numbers of the file's kind. */
static void take_numbers(const struct parquet_column *t, const void *values, unsigned width,
                         const uint32_t *at, size_t n, uint64_t *out)
{
#define TAKE(type, expr)                                                                           \
    do {                                                                                           \
        const type *in = values;                                                                   \
        if (at)                                                                                    \
            for (size_t i = 0; i < n; i++) {                                                       \
                type x = in[at[i]];                                                                \
                out[i] = (expr);                                                                   \
            }                                                                                      \
        else                                                                                       \
            for (size_t i = 0; i < n; i++) {                                                       \
                type x = in[i];                                                                    \
                out[i] = (expr);                                                                   \
            }                                                                                      \
    } while (0)
    (void)width;
    switch ((enum parquet_type)t->type) {
    case PARQUET_BOOLEAN:
        TAKE(uint8_t, x != 0);
        break;
    case PARQUET_INT32:
        if (t->unsigned_order)
            TAKE(uint32_t, x);
        else
            TAKE(int32_t, (uint64_t)(int64_t)x);
        break;
    case PARQUET_INT64:
        if (at)
            TAKE(uint64_t, x);
        else if (n)
            memcpy(out, values, n * sizeof *out);
        break;
    case PARQUET_FLOAT: {
        const float *in = values;
        for (size_t i = 0; i < n; i++) {
            double d = (double)in[at ? at[i] : i];
            memcpy(&out[i], &d, sizeof d);
        }
        break;
    }
    case PARQUET_DOUBLE: {
        const double *in = values;
        for (size_t i = 0; i < n; i++)
            memcpy(&out[i], &in[at ? at[i] : i], sizeof *in);
        break;
    }
    case PARQUET_INT96: {
        const struct parquet_bytes *in = values;
        for (size_t i = 0; i < n; i++)
            out[i] = int96_time(&in[at ? at[i] : i]);
        break;
    }
    case PARQUET_BYTE_ARRAY:
    case PARQUET_FIXED:
        memset(out, 0, n * sizeof *out);
        break;
    }
#undef TAKE
    if (has_meaning(t) && (t->type == PARQUET_INT32 || t->type == PARQUET_INT64))
        for (size_t i = 0; i < n; i++)
            out[i] = integer_meaning(t, out[i]);
}

static bool text_number(const struct parquet_bytes *b, uint8_t kind, uint64_t *out)
{
    char text[40], *end;
    if (!b->len || b->len >= sizeof text)
        return false;
    memcpy(text, b->data, b->len);
    text[b->len] = 0;
    if (kind == QUERY_F64) {
        double d = strtod(text, &end);
        memcpy(out, &d, sizeof d);
    } else if (kind == QUERY_U64 || kind == QUERY_BOOL) {
        *out = strtoull(text, &end, 10);
    } else {
        *out = (uint64_t)strtoll(text, &end, 10);
    }
    return !*end && end != text;
}

static size_t number_text(char *out, uint8_t kind, uint64_t v)
{
    if (kind == QUERY_F64) {
        double d;
        memcpy(&d, &v, sizeof d);
        if (d != d || d - d != 0) {
            const char *text = d != d ? "NaN" : d > 0 ? "Infinity" : "-Infinity";
            memcpy(out, text, strlen(text));
            return strlen(text);
        }
        return base_f64_text(out, d);
    }
    if (kind == QUERY_S64)
        return base_s64_text(out, (int64_t)v);
    if (kind == QUERY_TIME)
        return base_time_text(out, (int64_t)times((int64_t)v, 1000), 6);
    return base_u64_text(out, v);
}

static void clear_bit(uint64_t *bits, size_t i)
{
    bits[i >> 6] &= ~(UINT64_C(1) << (i & 63));
}

/* Slots of a column without codes as values of `kind`. null, when not NULL, gets bits cleared for what does not fit. */
static weir_status take_slots(struct query_scan_column *c, const struct parquet_data *d,
                              const uint32_t *at, size_t n, uint8_t kind, struct query_bump *memory,
                              struct query_values *out, uint64_t **valid, weir_err *err)
{
    bool octets = query_is_text(c->source_kind), text = query_is_text(kind);
    if (text) {
        uint32_t *codes = query_bump_array(memory, n + 1, sizeof *codes);
        struct query_text *dict = query_bump_array(memory, n + 1, sizeof *dict);
        if (!codes || !dict)
            return no_memory(err);
        for (size_t i = 0; i < n; i++)
            codes[i] = (uint32_t)i;
        if (octets) {
            const struct parquet_bytes *in = d->values;
            for (size_t i = 0; i < n; i++) {
                const struct parquet_bytes *b = &in[at ? at[i] : i];
                dict[i] = (struct query_text){.data = (const char *)b->data, .len = b->len};
            }
        } else {
            uint64_t *num = query_bump_array(memory, n + 1, sizeof *num);
            char *texts = query_bump_array(memory, n + 1, BASE_TIME_TEXT);
            if (!num || !texts)
                return no_memory(err);
            take_numbers(c->type, d->values, d->width, at, n, num);
            for (size_t i = 0; i < n; i++) {
                dict[i].data = texts + i * BASE_TIME_TEXT;
                dict[i].len =
                    (uint32_t)number_text(texts + i * BASE_TIME_TEXT, c->source_kind, num[i]);
            }
        }
        out->v.codes = codes;
        out->v.dict = dict;
        out->v.n_dict = (uint32_t)n;
        return WEIR_OK;
    }
    uint64_t *num = query_bump_array(memory, n + 1, sizeof *num);
    if (!num)
        return no_memory(err);
    out->v.num = num;
    if (!octets)
        take_numbers(c->type, d->values, d->width, at, n, num);
    if (!octets && c->source_kind == kind)
        return WEIR_OK;
    if (!*valid) {
        if (!(*valid = query_bump_array(memory, n / 64 + 1, sizeof **valid)))
            return no_memory(err);
        memset(*valid, 0xff, (n / 64 + 1) * sizeof **valid);
    }
    for (size_t i = 0; i < n; i++) {
        const struct parquet_bytes *in = d->values;
        bool ok = octets ? text_number(&in[at ? at[i] : i], kind, &num[i])
                         : query_convert(&num[i], c->source_kind, kind);
        if (!ok) {
            num[i] = 0;
            clear_bit(*valid, i);
        }
    }
    return WEIR_OK;
}

/* ---- dictionaries ---- */

weir_status query_scan_dict(struct query_scan *s, struct query_scan_column *c, weir_err *err)
{
    if (c->dict_known || c->missing)
        return WEIR_OK;
    WEIR_TRY(open_cursor(s, c, err));
    c->dict_known = true;
    WEIR_TRY(parquet_cursor_dict(c->cursor, &c->dict, &c->n_dict, err));
    if (!c->dict || !c->n_dict)
        return WEIR_OK;
    size_t n = c->n_dict;
    uint8_t kind = item_kind(c->kind);
    if (query_is_text(kind) && query_is_text(c->source_kind)) {
        c->text_dict = true;
        return WEIR_OK;
    }
    struct parquet_data d = {.n = n, .values = c->dict};
    struct query_values v = {0};
    uint64_t *valid = NULL;
    WEIR_TRY(take_slots(c, &d, NULL, n, kind, &s->group_memory, &v, &valid, err));
    if (query_is_text(kind)) {
        struct query_text *texts = query_bump_array(&s->group_memory, n, sizeof *texts);
        if (!texts)
            return no_memory(err);
        memcpy(texts, v.v.dict, n * sizeof *texts);
        c->dict_text = texts;
        return WEIR_OK;
    }
    uint64_t *num = query_bump_array(&s->group_memory, n, sizeof *num);
    if (!num)
        return no_memory(err);
    memcpy(num, v.v.num, n * sizeof *num);
    c->dict_num = num;
    for (size_t i = 0; valid && i < n; i++) {
        if (parquet_bit(valid, i))
            continue;
        if (!c->dict_null && !(c->dict_null = query_bump_zero(&s->group_memory, n)))
            return no_memory(err);
        c->dict_null[i] = true;
    }
    return WEIR_OK;
}

weir_status query_scan_texts(struct query_scan *s, struct query_scan_column *c, weir_err *err)
{
    if (c->dict_text || !c->text_dict)
        return WEIR_OK;
    const struct parquet_bytes *in = c->dict;
    struct query_text *texts = query_bump_array(&s->group_memory, c->n_dict, sizeof *texts);
    if (!texts)
        return no_memory(err);
    for (size_t i = 0; i < c->n_dict; i++)
        texts[i] = (struct query_text){.data = (const char *)in[i].data, .len = in[i].len};
    c->dict_text = texts;
    return WEIR_OK;
}

weir_status query_scan_data(struct query_scan *s, struct query_scan_column *c,
                            const struct parquet_data **out, weir_err *err)
{
    *out = &c->data;
    if (c->at == s->at)
        return WEIR_OK;
    WEIR_TRY(query_scan_dict(s, c, err));
    c->at = UINT64_MAX;
    if (c->next < s->at)
        WEIR_TRY(parquet_cursor_skip(c->cursor, s->at - c->next, err));
    c->next = s->at + s->n;
    weir_status st = parquet_cursor_read(c->cursor, s->n, &c->data, err);
    if (st == WEIR_END || (st == WEIR_OK && c->data.n != s->n))
        return weir_err_set(err, WEIR_EFORMAT, 0, "%s: column %s has fewer rows than its row group",
                            parquet_name(s->file), c->type->name);
    if (st == WEIR_OK)
        c->at = s->at;
    return st;
}

/* ---- rows of a column ---- */

static uint64_t *take_bits(const uint64_t *bits, const struct query_rows *rows,
                           struct query_bump *memory)
{
    size_t words = rows->n / 64 + 1;
    uint64_t *out = query_bump_array(memory, words, sizeof *out);
    if (!out)
        return NULL;
    if (!rows->at) {
        memcpy(out, bits, (rows->n + 63) / 64 * sizeof *out);
        return out;
    }
    memset(out, 0, words * sizeof *out);
    for (size_t i = 0; i < rows->n; i++)
        out[i >> 6] |= (uint64_t)parquet_bit(bits, rows->at[i]) << (i & 63);
    return out;
}

static weir_status take_coded(struct query_scan *s, struct query_scan_column *c,
                              const struct parquet_data *d, const uint32_t *at, size_t n,
                              uint8_t kind, struct query_bump *memory, struct query_values *out,
                              uint64_t **valid, weir_err *err)
{
    const uint32_t *codes = d->codes;
    if (query_is_text(kind)) {
        uint32_t *taken = query_bump_array(memory, n + 1, sizeof *taken);
        if (!taken)
            return no_memory(err);
        out->v.codes = taken;
        if (!c->dict_text && n < c->n_dict / 16) { /* not worth the whole dictionary */
            struct query_text *texts = query_bump_array(memory, n + 1, sizeof *texts);
            if (!texts)
                return no_memory(err);
            for (size_t i = 0; i < n; i++) {
                taken[i] = (uint32_t)i;
                texts[i] = query_dict_text(c, codes[at ? at[i] : i]);
            }
            out->v.dict = texts;
            out->v.n_dict = (uint32_t)n;
            return WEIR_OK;
        }
        WEIR_TRY(query_scan_texts(s, c, err));
        if (at)
            for (size_t i = 0; i < n; i++)
                taken[i] = codes[at[i]];
        else if (n)
            memcpy(taken, codes, n * sizeof *taken);
        out->v.dict = c->dict_text;
        out->v.n_dict = c->n_dict;
        return WEIR_OK;
    }
    uint64_t *num = query_bump_array(memory, n + 1, sizeof *num);
    if (!num)
        return no_memory(err);
    const uint64_t *dict = c->dict_num;
    if (at)
        for (size_t i = 0; i < n; i++)
            num[i] = dict[codes[at[i]]];
    else
        for (size_t i = 0; i < n; i++)
            num[i] = dict[codes[i]];
    out->v.num = num;
    for (size_t i = 0; *valid && i < n; i++)
        num[i] = parquet_bit(*valid, i) ? num[i] : 0;
    if (!c->dict_null)
        return WEIR_OK;
    if (!*valid) {
        if (!(*valid = query_bump_array(memory, n / 64 + 1, sizeof **valid)))
            return no_memory(err);
        memset(*valid, 0xff, (n / 64 + 1) * sizeof **valid);
    }
    for (size_t i = 0; i < n; i++)
        if (c->dict_null[codes[at ? at[i] : i]]) {
            clear_bit(*valid, i);
            num[i] = 0;
        }
    return WEIR_OK;
}

/* A dictionary that is empty although rows are read: they are all null. */
static bool nothing_but_null(const struct query_scan_column *c, const struct parquet_data *d)
{
    return c->all_null || (d->codes && !c->n_dict);
}

static weir_status take_lists(struct query_eval *e, struct query_scan_column *c,
                              const struct parquet_data *d, struct query_values *out, weir_err *err)
{
    size_t n = e->rows.n, n_items = 0;
    uint32_t *starts = query_bump_array(e->memory, n + 1, sizeof *starts);
    if (!starts)
        return no_memory(err);
    for (size_t i = 0; i < n; i++) {
        size_t row = e->rows.at ? e->rows.at[i] : i;
        starts[i] = (uint32_t)n_items;
        for (uint32_t k = d->starts[row]; k < d->starts[row + 1]; k++)
            n_items += !d->item_valid || parquet_bit(d->item_valid, k);
    }
    starts[n] = (uint32_t)n_items;
    uint32_t *items = query_bump_array(e->memory, n_items + 1, sizeof *items);
    if (!items)
        return no_memory(err);
    for (size_t i = 0; i < n; i++) {
        size_t row = e->rows.at ? e->rows.at[i] : i;
        for (uint32_t k = d->starts[row], to = starts[i]; k < d->starts[row + 1]; k++)
            if (!d->item_valid || parquet_bit(d->item_valid, k))
                items[to++] = k;
    }
    uint64_t *ignored = NULL; /* items that do not fit become 0 */
    uint8_t kind = item_kind(c->kind);
    bool signs = kind == QUERY_U64 && c->source_kind != QUERY_F64 && !query_is_text(c->source_kind);
    if (signs)
        kind = c->source_kind; /* lists of numbers keep their bits */
    if (d->codes && c->n_dict && !signs)
        WEIR_TRY(take_coded(e->scan, c, d, items, n_items, kind, e->memory, out, &ignored, err));
    else if (d->codes && c->n_dict)
        WEIR_TRY(
            take_coded(e->scan, c, d, items, n_items, QUERY_U64, e->memory, out, &ignored, err));
    else
        WEIR_TRY(take_slots(c, d, items, n_items, kind, e->memory, out, &ignored, err));
    out->v.starts = starts;
    return WEIR_OK;
}

weir_status query_column_values(struct query_eval *e, int column, struct query_values *out,
                                weir_err *err)
{
    struct query_scan *s = e->scan;
    struct query_scan_column *c;
    WEIR_TRY(query_scan_column(s, column, &c, err));
    *out = (struct query_values){.v.kind = QUERY_UNKNOWN, .column = -1};
    if (c->all_null)
        return WEIR_OK;
    const struct parquet_data *d;
    WEIR_TRY(query_scan_data(s, c, &d, err));
    if (nothing_but_null(c, d))
        return WEIR_OK;
    size_t n = e->rows.n;
    uint64_t *valid = NULL;
    if (d->valid && !(valid = take_bits(d->valid, &e->rows, e->memory)))
        return no_memory(err);
    out->v.kind = c->kind;
    if (c->type->list) {
        WEIR_TRY(take_lists(e, c, d, out, err));
        out->v.valid = valid;
        return WEIR_OK;
    }
    if (d->codes) {
        WEIR_TRY(take_coded(e->scan, c, d, e->rows.at, n, c->kind, e->memory, out, &valid, err));
        if (query_is_text(c->kind) && out->v.dict == c->dict_text)
            out->column = column;
    } else {
        WEIR_TRY(take_slots(c, d, e->rows.at, n, c->kind, e->memory, out, &valid, err));
    }
    out->v.valid = valid;
    return WEIR_OK;
}

/* ---- sampling ---- */

/* NaN, 0 and fractions are no rates. */
static double sane_rate(double rate)
{
    return rate >= 1 && rate < 18446744073709551616.0 ? rate : 1;
}

weir_status query_scan_rate(struct query_scan *s, enum query_rate *out, weir_err *err)
{
    if (s->rate == QUERY_RATE_UNSET) {
        struct query_scan_column *c;
        WEIR_TRY(query_scan_column(s, s->plan->c_rate, &c, err));
        s->rate = QUERY_RATE_VARIES;
        if (c->all_null && !s->plan->lookup_rates) {
            s->rate = QUERY_RATE_NONE;
        } else if (!c->all_null && c->no_null && c->type->type == PARQUET_DOUBLE &&
                   c->info.min.len == 8 && c->info.max.len == 8) {
            double min, max;
            memcpy(&min, c->info.min.data, 8);
            memcpy(&max, c->info.max.data, 8);
            if (min == 1 && max == 1)
                s->rate = QUERY_RATE_ONE;
        }
    }
    *out = s->rate;
    return WEIR_OK;
}

/* Rates that the flows do not say themselves; 0: nobody knows it. */
static weir_status lookup_rates(struct query_eval *e, double *rates, const struct query_values *own,
                                uint64_t *n_no_rate, weir_err *err)
{
    const struct query_plan *p = e->plan;
    struct query_values exporter, domain, sampler, in_if;
    WEIR_TRY(query_column_values(e, p->c_exporter, &exporter, err));
    WEIR_TRY(query_column_values(e, p->c_domain, &domain, err));
    WEIR_TRY(query_column_values(e, p->c_sampler, &sampler, err));
    WEIR_TRY(query_column_values(e, p->c_in_if, &in_if, err));
    uint32_t last_code = 0;
    uint64_t last_domain = 0, last_sampler = 0;
    bool have_last = false, last_has = false;
    double last_rate = 0;
    for (size_t i = 0; i < e->rows.n; i++) {
        if (!query_is_null(own, i))
            continue;
        rates[i] = 0;
        if (query_is_null(&exporter, i) || !query_is_text(exporter.v.kind)) {
            ++*n_no_rate;
            continue;
        }
        uint32_t code = query_code(&exporter, i);
        uint64_t d = query_is_null(&domain, i) ? 0 : query_num(&domain, i);
        bool has = !query_is_null(&sampler, i);
        uint64_t id = has ? query_num(&sampler, i) : 0;
        bool same = have_last && has == last_has && id == last_sampler && d == last_domain &&
                    code == last_code;
        if (!same) {
            const struct query_text *t = &exporter.v.dict[code];
            last_rate = query_lookup_rate(p->q->lookup, t->data, t->len,
                                          d > UINT32_MAX ? UINT32_MAX : (uint32_t)d, has, id);
            last_code = code;
            last_domain = d;
            last_has = has;
            last_sampler = id;
            have_last = true;
        }
        double rate = last_rate;
        if (!(rate > 0) && !query_is_null(&in_if, i)) {
            const struct query_text *t = &exporter.v.dict[code];
            rate = query_lookup_rate_interface(p->q->lookup, t->data, t->len,
                                               d > UINT32_MAX ? UINT32_MAX : (uint32_t)d,
                                               (uint32_t)query_num(&in_if, i));
        }
        if (rate > 0)
            rates[i] = sane_rate(rate);
        else
            ++*n_no_rate;
    }
    return WEIR_OK;
}

weir_status query_eval_rates(struct query_eval *e, const double **out, uint64_t *n_scaled,
                             uint64_t *n_no_rate, weir_err *err)
{
    enum query_rate rate;
    *out = e->rates;
    WEIR_TRY(query_scan_rate(e->scan, &rate, err));
    *n_scaled = 0;
    *n_no_rate = rate == QUERY_RATE_NONE ? e->rows.n : 0;
    if (rate != QUERY_RATE_VARIES)
        return WEIR_OK;
    if (!e->rates_known) {
        size_t n = e->rows.n;
        struct query_values v;
        double *rates = query_bump_array(e->memory, n + 1, sizeof *rates);
        if (!rates)
            return no_memory(err);
        WEIR_TRY(query_column_values(e, e->plan->c_rate, &v, err));
        e->rates = rates;
        e->rates_known = true;
        uint64_t unknown = 0;
        for (size_t i = 0; i < n; i++) {
            double d = 0;
            bool null = query_is_null(&v, i);
            if (!null) {
                uint64_t bits = query_num(&v, i);
                memcpy(&d, &bits, sizeof d);
            }
            rates[i] = null ? 0 : sane_rate(d);
            unknown += null;
        }
        if (unknown && e->plan->lookup_rates) {
            unknown = 0;
            WEIR_TRY(lookup_rates(e, rates, &v, &unknown, err));
        }
        rates[n] = (double)unknown; /* remembered behind the rates */
    }
    *out = e->rates;
    for (size_t i = 0; i < e->rows.n; i++)
        *n_scaled += e->rates[i] > 1;
    *n_no_rate = (uint64_t)e->rates[e->rows.n];
    return WEIR_OK;
}

static uint64_t scale(uint64_t v, double rate)
{
    if (rate <= 1)
        return v;
    uint64_t whole = (uint64_t)rate, r;
    if ((double)whole == rate)
        return __builtin_mul_overflow(v, whole, &r) ? UINT64_MAX : r;
    double d = (double)v * rate + 0.5;
    return d >= 18446744073709549568.0 ? UINT64_MAX : (uint64_t)d;
}

/* ---- fields ---- */

bool query_eval_init(struct query_eval *e, const struct query_plan *plan, struct query_scan *scan,
                     struct query_bump *memory, struct query_rows rows)
{
    *e = (struct query_eval){.plan = plan, .scan = scan, .rows = rows, .memory = memory};
    e->values = query_bump_array(memory, plan->n_fields + 1, sizeof *e->values);
    e->have = query_bump_zero(memory, plan->n_fields + 1);
    return e->values && e->have;
}

/* Null rows from the exporter's options records. */
static weir_status complete(struct query_eval *e, const struct query_plan_field *f,
                            struct query_values *out, weir_err *err)
{
    const struct query_values *exporter, *id;
    size_t n = e->rows.n;
    bool any = out->v.kind == QUERY_UNKNOWN;
    for (size_t i = 0; !any && out->v.valid && i < n; i++)
        any = !parquet_bit(out->v.valid, i);
    enum query_lookup_what what =
        f->complete == QUERY_COMPLETE_IN_IF || f->complete == QUERY_COMPLETE_OUT_IF
            ? QUERY_LOOKUP_IF
        : f->complete == QUERY_COMPLETE_APP ? QUERY_LOOKUP_APP
                                            : QUERY_LOOKUP_VRF;
    const struct query_lookup *l = e->plan->q->lookup;
    if (!any || !query_lookup_has(l, what))
        return WEIR_OK;
    WEIR_TRY(query_eval_field(e, f->deps[0], &exporter, err));
    WEIR_TRY(query_eval_field(e, f->deps[1], &id, err));
    if (exporter->v.kind == QUERY_UNKNOWN || id->v.kind == QUERY_UNKNOWN)
        return WEIR_OK;
    uint32_t *codes = query_bump_array(e->memory, n + 1, sizeof *codes);
    struct query_text *dict = query_bump_array(e->memory, n + 1, sizeof *dict);
    uint64_t *valid = query_bump_zero(e->memory, (n / 64 + 1) * sizeof *valid);
    if (!codes || !dict || !valid)
        return no_memory(err);
    uint32_t used = 0, last_exporter = 0;
    uint64_t last_id = 0;
    bool have_last = false;
    const char *name = NULL;
    for (size_t i = 0; i < n; i++) {
        codes[i] = 0;
        if (!query_is_null(out, i)) {
            dict[used] = out->v.dict[query_code(out, i)];
        } else {
            if (query_is_null(exporter, i) || query_is_null(id, i))
                continue;
            uint32_t code = query_code(exporter, i);
            const struct query_text *x = &exporter->v.dict[code];
            if (what == QUERY_LOOKUP_APP) {
                const struct query_text *t = &id->v.dict[query_code(id, i)];
                name = query_lookup_app(l, x->data, x->len, (const uint8_t *)t->data, t->len);
            } else {
                uint64_t v = query_num(id, i);
                if (v > UINT32_MAX)
                    continue;
                if (!have_last || v != last_id || code != last_exporter)
                    name = what == QUERY_LOOKUP_IF
                               ? query_lookup_interface(l, x->data, x->len, (uint32_t)v)
                               : query_lookup_vrf(l, x->data, x->len, (uint32_t)v);
                last_id = v;
                last_exporter = code;
                have_last = true;
            }
            if (!name)
                continue;
            dict[used] = (struct query_text){.data = name, .len = (uint32_t)strlen(name)};
        }
        valid[i >> 6] |= UINT64_C(1) << (i & 63);
        codes[i] = used++;
    }
    *out = (struct query_values){.v = {.kind = QUERY_TEXT,
                                       .valid = valid,
                                       .codes = codes,
                                       .dict = dict,
                                       .n_dict = used ? used : 1},
                                 .column = -1};
    if (!used) {
        dict[0] = (struct query_text){0};
        *out = (struct query_values){.v.kind = QUERY_UNKNOWN, .column = -1};
    }
    return WEIR_OK;
}

static weir_status column_field(struct query_eval *e, const struct query_plan_field *f,
                                struct query_values *out, weir_err *err)
{
    WEIR_TRY(query_column_values(e, f->column, out, err));
    if (f->complete == QUERY_COMPLETE_RATE) {
        const double *rates;
        uint64_t scaled, unknown;
        WEIR_TRY(query_eval_rates(e, &rates, &scaled, &unknown, err));
        if (!rates)
            return WEIR_OK;
        /* 1 and null stay apart: what nobody knows is 0 here. */
        size_t n = e->rows.n;
        uint64_t *num = query_bump_array(e->memory, n + 1, sizeof *num);
        uint64_t *valid = query_bump_zero(e->memory, (n / 64 + 1) * sizeof *valid);
        if (!num || !valid)
            return no_memory(err);
        for (size_t i = 0; i < n; i++) {
            bool null = query_is_null(out, i);
            num[i] = 0;
            if (!null)
                num[i] = query_num(out, i);
            else if (rates[i] > 0)
                memcpy(&num[i], &rates[i], sizeof num[i]);
            else
                continue;
            valid[i >> 6] |= UINT64_C(1) << (i & 63);
        }
        *out = (struct query_values){.v = {.kind = QUERY_F64, .num = num, .valid = valid},
                                     .column = -1};
        return WEIR_OK;
    }
    if (f->complete)
        return complete(e, f, out, err);
    if (!f->scaled || out->v.kind != QUERY_U64)
        return WEIR_OK;
    const double *rates;
    uint64_t scaled, unknown;
    WEIR_TRY(query_eval_rates(e, &rates, &scaled, &unknown, err));
    if (!rates || !scaled)
        return WEIR_OK;
    uint64_t *num = query_bump_array(e->memory, e->rows.n + 1, sizeof *num);
    if (!num)
        return no_memory(err);
    for (size_t i = 0; i < e->rows.n; i++)
        num[i] = scale(query_num(out, i), rates[i]);
    out->v.num = num;
    out->constant = false;
    return WEIR_OK;
}

weir_status query_eval_field(struct query_eval *e, int field, const struct query_values **out,
                             weir_err *err)
{
    struct query_values *v = &e->values[field];
    *out = v;
    if (e->have[field])
        return WEIR_OK;
    const struct query_plan_field *f = &e->plan->fields[field];
    *v = (struct query_values){.v.kind = QUERY_UNKNOWN, .column = -1};
    weir_status st = WEIR_OK;
    if (!e->base || !e->base(e->user, e, field, v, &st, err))
        st =
            f->column >= 0 && e->scan ? column_field(e, f, v, err) : query_derive(e, field, v, err);
    if (st == WEIR_OK)
        e->have[field] = 1;
    return st;
}

weir_status query_vec_expand(struct query_bump *memory, struct query_vec *v, size_t n,
                             weir_err *err)
{
    bool text = query_is_text(v->kind);
    uint64_t *num = text ? NULL : query_bump_array(memory, n + 1, sizeof *num);
    uint32_t *codes = text ? query_bump_array(memory, n + 1, sizeof *codes) : NULL;
    if (!num && !codes)
        return no_memory(err);
    for (size_t i = 0; i < n; i++) {
        if (text)
            codes[i] = v->codes[0];
        else
            num[i] = v->num[0];
    }
    v->num = num;
    v->codes = codes;
    return WEIR_OK;
}
