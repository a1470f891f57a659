#include "ship/rowbinary.h"

#include "base/err.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

enum { CHUNK = 512 }; /* rows that are written at a time, so that their octets stay in the cache */

/* How a column's values are written. */
enum way {
    WAY_NOTHING, /* null in all rows */
    WAY_NUMBER,
    WAY_FIXED, /* octets of a table, one entry a dictionary entry */
    WAY_TEXT,
    WAY_NUMBERS, /* lists */
    WAY_TEXTS
};

/* One column of the call: what is worked out before its rows are written. */
struct work {
    enum way way;
    uint32_t width;
    const struct query_vec *v;
    const uint64_t *valid; /* NULL: all are there */
    const uint64_t *num;   /* of NUMBER */
    const uint8_t *table;  /* of FIXED */
    bool nullable;
    base_buf numbers, entries, seen; /* scratch */
};

struct ship_rowbinary {
    struct work *work; /* cap */
    size_t cap;
    size_t at[CHUNK];
};

static weir_status no_memory(weir_err *err)
{
    return weir_err_set(err, WEIR_ENOMEM, 0, "ship: out of memory");
}

ship_rowbinary *ship_rowbinary_new(void)
{
    return calloc(1, sizeof(ship_rowbinary));
}

void ship_rowbinary_free(ship_rowbinary *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < r->cap; i++) {
        base_buf_done(&r->work[i].numbers);
        base_buf_done(&r->work[i].entries);
        base_buf_done(&r->work[i].seen);
    }
    free(r->work);
    free(r);
}

/* ---- types ---- */

/* text is "word(...)": its inside; else false. */
static bool inside(const char **text, size_t *len, const char *word)
{
    size_t n = strlen(word);
    if (*len < n + 2 || memcmp(*text, word, n) != 0 || (*text)[n] != '(' ||
        (*text)[*len - 1] != ')')
        return false;
    *text += n + 1;
    *len -= n + 2;
    return true;
}

/* A number of at most 6 digits at the beginning of text; digits of it, 0: none. */
static size_t number(const char *text, size_t len, uint32_t *out)
{
    size_t n = 0;
    *out = 0;
    while (n < len && n < 6 && text[n] >= '0' && text[n] <= '9')
        *out = *out * 10 + (uint32_t)(text[n++] - '0');
    return n;
}

bool ship_rowbinary_type_parse(const char *text, struct ship_rowbinary_type *out)
{
    static const struct {
        const char *text;
        uint8_t form, octets;
    } plain[] = {
        /* clang-format off */
        {"UInt8", SHIP_ROWBINARY_UINT, 1}, {"UInt16", SHIP_ROWBINARY_UINT, 2},
        {"UInt32", SHIP_ROWBINARY_UINT, 4}, {"UInt64", SHIP_ROWBINARY_UINT, 8},
        {"Int8", SHIP_ROWBINARY_INT, 1}, {"Int16", SHIP_ROWBINARY_INT, 2},
        {"Int32", SHIP_ROWBINARY_INT, 4}, {"Int64", SHIP_ROWBINARY_INT, 8},
        {"Float32", SHIP_ROWBINARY_FLOAT, 4}, {"Float64", SHIP_ROWBINARY_FLOAT, 8},
        {"Bool", SHIP_ROWBINARY_BOOL, 1}, {"String", SHIP_ROWBINARY_STRING, 0},
        {"IPv4", SHIP_ROWBINARY_IPV4, 4}, {"IPv6", SHIP_ROWBINARY_IPV6, 16},
        {"DateTime", SHIP_ROWBINARY_SECONDS, 4},
        /* clang-format on */
    };
    struct ship_rowbinary_type t = {0};
    size_t len = strlen(text);
    uint32_t n;
    t.list = inside(&text, &len, "Array");
    (void)inside(&text, &len, "LowCardinality");
    t.nullable = inside(&text, &len, "Nullable");
    for (size_t i = 0; i < ARRAY_LEN(plain); i++)
        if (len == strlen(plain[i].text) && memcmp(text, plain[i].text, len) == 0) {
            t.form = plain[i].form;
            t.octets = plain[i].octets;
            *out = t;
            return true;
        }
    if (inside(&text, &len, "FixedString")) {
        if (number(text, len, &n) != len || !n)
            return false;
        t.form = SHIP_ROWBINARY_FIXED;
        t.octets = n;
    } else if (inside(&text, &len, "DateTime64")) {
        size_t digits = number(text, len, &n);
        if (digits != 1 || n > 9 || (len > 1 && text[1] != ','))
            return false;
        t.form = SHIP_ROWBINARY_TICKS;
        t.precision = (uint8_t)n;
        t.octets = 8;
    } else if (inside(&text, &len, "DateTime")) { /* with a time zone */
        t.form = SHIP_ROWBINARY_SECONDS;
        t.octets = 4;
    } else {
        return false;
    }
    *out = t;
    return true;
}

bool ship_rowbinary_takes(const struct ship_rowbinary_type *t, uint8_t kind)
{
    bool integer = t->form == SHIP_ROWBINARY_UINT || t->form == SHIP_ROWBINARY_INT;
    bool text = t->form == SHIP_ROWBINARY_STRING || t->form == SHIP_ROWBINARY_FIXED;
    bool list = kind == QUERY_U64_LIST || kind == QUERY_TEXT_LIST;
    if (kind == QUERY_UNKNOWN)
        return true;
    if (list != t->list || (list && t->nullable))
        return false;
    switch ((enum query_kind)kind) {
    case QUERY_U64:
    case QUERY_S64:
        return integer || t->form == SHIP_ROWBINARY_FLOAT;
    case QUERY_U64_LIST:
        return integer;
    case QUERY_BOOL:
        return integer || t->form == SHIP_ROWBINARY_BOOL;
    case QUERY_F64:
        return t->form == SHIP_ROWBINARY_FLOAT;
    case QUERY_TIME:
        return t->form == SHIP_ROWBINARY_SECONDS || t->form == SHIP_ROWBINARY_TICKS ||
               (integer && t->octets == 8);
    case QUERY_TEXT:
        return text || t->form == SHIP_ROWBINARY_IPV4 || t->form == SHIP_ROWBINARY_IPV6;
    case QUERY_OCTETS:
        return text;
    case QUERY_TEXT_LIST:
        return t->form == SHIP_ROWBINARY_STRING;
    case QUERY_UNKNOWN:
        break;
    }
    return false;
}

/* ---- before the rows ---- */

static bool there(const uint64_t *valid, size_t i)
{
    return !valid || (valid[i >> 6] >> (i & 63) & 1);
}

static weir_status misfit(const struct ship_rowbinary_column *c, const char *what, weir_err *err)
{
    return weir_err_set(err, WEIR_EINVAL, 0, "clickhouse: column %.60s is %.40s and cannot take %s",
                        c->name, c->type_text, what);
}

/* Room for n values of octets each, 0 when it is not had. */
static void *scratch(base_buf *b, size_t n, size_t octets)
{
    base_buf_reset(b);
    return octets && n > SIZE_MAX / 2 / octets ? NULL : base_buf_room(b, n * octets + 16);
}

/* The greatest and least value in [from, to) are within what width octets hold. */
static bool integers_fit(const struct ship_rowbinary_column *c, const uint64_t *num, size_t from,
                         size_t to)
{
    bool has_sign = c->vec.kind == QUERY_S64 || c->vec.kind == QUERY_TIME;
    uint64_t most =
        c->type.form == SHIP_ROWBINARY_BOOL ? 1 : UINT64_MAX >> (64 - 8 * c->type.octets);
    if (c->type.form == SHIP_ROWBINARY_INT)
        most >>= 1;
    if (has_sign) {
        int64_t least = 0, greatest = 0;
        for (size_t i = from; i < to; i++) {
            least = (int64_t)num[i] < least ? (int64_t)num[i] : least;
            greatest = (int64_t)num[i] > greatest ? (int64_t)num[i] : greatest;
        }
        return (uint64_t)greatest <= most &&
               least >= (c->type.form == SHIP_ROWBINARY_INT ? -(int64_t)most - 1 : 0);
    }
    uint64_t greatest = 0;
    for (size_t i = from; i < to; i++)
        greatest = num[i] > greatest ? num[i] : greatest;
    return greatest <= most;
}

static int64_t floor_div(int64_t v, int64_t by)
{
    return v / by - (v % by < 0);
}

/* Times are microseconds: into what the column counts in. */
static weir_status times(const struct ship_rowbinary_column *c, struct work *w, size_t from,
                         size_t to, weir_err *err)
{
    static const int64_t powers[] = {1, 10, 100, 1000, 10000, 100000, 1000000};
    unsigned digits = c->type.form == SHIP_ROWBINARY_TICKS ? c->type.precision : 0;
    if (digits == 6)
        return WEIR_OK;
    uint64_t *num = scratch(&w->numbers, to, sizeof *num);
    if (!num)
        return no_memory(err);
    bool fits = true;
    for (size_t i = from; i < to; i++) {
        int64_t v = (int64_t)c->vec.num[i], t = 0;
        if (digits > 6)
            fits &= !__builtin_mul_overflow(v, powers[digits - 6], &t);
        else
            t = floor_div(v, powers[6 - digits]);
        num[i] = (uint64_t)t;
        fits &= c->type.form == SHIP_ROWBINARY_TICKS || (t >= 0 && t <= UINT32_MAX);
    }
    w->num = num;
    return fits ? WEIR_OK : misfit(c, "a time this far from 1970", err);
}

static weir_status floats(const struct ship_rowbinary_column *c, struct work *w, size_t from,
                          size_t to, weir_err *err)
{
    if (c->vec.kind == QUERY_F64 && c->type.octets == 8)
        return WEIR_OK;
    uint64_t *num = scratch(&w->numbers, to, sizeof *num);
    if (!num)
        return no_memory(err);
    for (size_t i = from; i < to; i++) {
        double d;
        memcpy(&d, &c->vec.num[i], sizeof d);
        if (c->vec.kind == QUERY_S64)
            d = (double)(int64_t)c->vec.num[i];
        else if (c->vec.kind == QUERY_U64)
            d = (double)c->vec.num[i];
        float f = (float)d;
        num[i] = 0;
        if (c->type.octets == 8)
            memcpy(&num[i], &d, sizeof d);
        else
            memcpy(&num[i], &f, sizeof f);
    }
    w->num = num;
    return WEIR_OK;
}

/* a.b.c.d into 4 octets. */
static bool ipv4(const char *p, uint32_t len, uint8_t out[4])
{
    const char *end = p + len;
    for (int part = 0; part < 4; part++) {
        unsigned v = 0;
        const char *begin = p;
        while (p < end && (unsigned char)(*p - '0') < 10 && p - begin < 3)
            v = v * 10 + (unsigned)(*p++ - '0');
        if (p == begin || v > 255 || (part < 3 && (p == end || *p++ != '.')))
            return false;
        out[part] = (uint8_t)v;
    }
    return p == end;
}

static bool address(const struct query_text *text, bool only_ipv4, uint8_t *out)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    uint8_t a[4];
    char copy[INET6_ADDRSTRLEN];
    if (ipv4(text->data, text->len, a)) {
        if (only_ipv4) { /* the number, least octet first */
            for (int i = 0; i < 4; i++)
                out[i] = a[3 - i];
        } else {
            memcpy(out, mapped, sizeof mapped);
            memcpy(out + sizeof mapped, a, sizeof a);
        }
        return true;
    }
    if (only_ipv4 || text->len >= sizeof copy)
        return false;
    memcpy(copy, text->data, text->len);
    copy[text->len] = '\0';
    return inet_pton(AF_INET6, copy, out) == 1;
}

/* The dictionary's entries that rows use, each once, as octets of the column's width. */
static weir_status entries(const struct ship_rowbinary_column *c, struct work *w, size_t from,
                           size_t to, weir_err *err)
{
    const struct query_vec *v = &c->vec;
    uint32_t width = c->type.octets;
    bool ip = c->type.form != SHIP_ROWBINARY_FIXED || (c->address && width == 16);
    uint8_t *table = scratch(&w->entries, v->n_dict, width);
    uint64_t *seen = scratch(&w->seen, v->n_dict / 64 + 1, sizeof *seen);
    if (!table || !seen)
        return no_memory(err);
    memset(seen, 0, (v->n_dict / 64 + 1) * sizeof *seen);
    for (size_t i = from; i < to; i++) {
        uint32_t code = v->codes[i];
        if (!there(v->valid, i) || (seen[code >> 6] >> (code & 63) & 1))
            continue;
        seen[code >> 6] |= UINT64_C(1) << (code & 63);
        const struct query_text *text = &v->dict[code];
        uint8_t *out = table + (size_t)code * width;
        if (ip ? address(text, width == 4, out) : text->len <= width) {
            if (!ip) {
                memset(out, 0, width);
                memcpy(out, text->data, text->len);
            }
            continue;
        }
        char what[80];
        (void)snprintf(what, sizeof what, "a text of %u octets%s", text->len,
                       !ip          ? ""
                       : width == 4 ? " that is no IPv4 address"
                                    : " that is no address");
        return misfit(c, what, err);
    }
    w->table = table;
    return WEIR_OK;
}

static weir_status items_fit(const struct ship_rowbinary_column *c, size_t from, size_t to,
                             weir_err *err)
{
    uint32_t first = c->vec.starts[from], last = c->vec.starts[to];
    struct ship_rowbinary_column items = *c;
    items.vec.kind = QUERY_U64;
    return integers_fit(&items, c->vec.num, first, last)
               ? WEIR_OK
               : misfit(c, "a number as large as one that comes", err);
}

static weir_status prepare(const struct ship_rowbinary_column *c, struct work *w, size_t from,
                           size_t to, weir_err *err)
{
    w->v = &c->vec;
    w->valid = c->vec.valid;
    w->nullable = c->type.nullable;
    w->width = c->type.octets;
    w->num = c->vec.num;
    if (!ship_rowbinary_takes(&c->type, c->vec.kind))
        return misfit(c,
                      c->vec.kind == QUERY_U64 || c->vec.kind == QUERY_S64 ? "whole numbers"
                      : c->vec.kind == QUERY_F64    ? "numbers with fractions"
                      : c->vec.kind == QUERY_BOOL   ? "truth values"
                      : c->vec.kind == QUERY_TIME   ? "times"
                      : c->vec.kind == QUERY_TEXT   ? "text"
                      : c->vec.kind == QUERY_OCTETS ? "octets"
                                                    : "lists of its kind",
                      err);
    switch ((enum query_kind)c->vec.kind) {
    case QUERY_TIME:
        w->way = WAY_NUMBER;
        if (c->type.form == SHIP_ROWBINARY_SECONDS || c->type.form == SHIP_ROWBINARY_TICKS)
            return times(c, w, from, to, err);
        return integers_fit(c, w->num, from, to) ? WEIR_OK : misfit(c, "times before 1970", err);
    case QUERY_U64:
    case QUERY_S64:
    case QUERY_BOOL:
        w->way = WAY_NUMBER;
        if (c->type.form == SHIP_ROWBINARY_FLOAT)
            return floats(c, w, from, to, err);
        return integers_fit(c, w->num, from, to)
                   ? WEIR_OK
                   : misfit(c, "a number as large as one that comes", err);
    case QUERY_F64:
        w->way = WAY_NUMBER;
        return floats(c, w, from, to, err);
    case QUERY_TEXT:
    case QUERY_OCTETS:
        w->way = c->type.form == SHIP_ROWBINARY_STRING ? WAY_TEXT : WAY_FIXED;
        return w->way == WAY_TEXT ? WEIR_OK : entries(c, w, from, to, err);
    case QUERY_U64_LIST:
        w->way = WAY_NUMBERS;
        return items_fit(c, from, to, err);
    case QUERY_TEXT_LIST:
        w->way = WAY_TEXTS;
        return WEIR_OK;
    case QUERY_UNKNOWN:
        break;
    }
    w->way = WAY_NOTHING;
    w->width = c->type.list ? 0 : w->width;
    return WEIR_OK;
}

/* ---- rows ---- */

static size_t varint_octets(uint64_t v)
{
    size_t n = 1;
    while (v >>= 7)
        n++;
    return n;
}

static uint8_t *put_varint(uint8_t *p, uint64_t v)
{
    for (; v > 127; v >>= 7)
        *p++ = (uint8_t)(v | 128);
    *p++ = (uint8_t)v;
    return p;
}

void ship_rowbinary_varint(base_buf *b, uint64_t v)
{
    uint8_t octets[10];
    base_buf_add(b, octets, (size_t)(put_varint(octets, v) - octets));
}

static uint8_t *put_text(uint8_t *p, const struct query_text *t)
{
    p = put_varint(p, t->len);
    if (t->len)
        memcpy(p, t->data, t->len);
    return p + t->len;
}

/* What a null is in a column that is not Nullable: so many 0 octets; in one that is, the octet 1. */
static size_t null_octets(const struct work *w)
{
    bool sized = w->way == WAY_NUMBER || w->way == WAY_FIXED || w->way == WAY_NOTHING;
    return w->nullable || !sized || !w->width ? 1 : w->width;
}

/* Add the octets of the column's values to those of the rows. */
static void measure(const struct work *w, size_t from, size_t n, size_t *restrict lens)
{
    size_t null = null_octets(w), flag = w->nullable;
    const struct query_vec *v = w->v;
    switch (w->way) {
    case WAY_NOTHING:
        for (size_t i = 0; i < n; i++)
            lens[i] += null;
        return;
    case WAY_NUMBER:
    case WAY_FIXED:
        for (size_t i = 0; i < n; i++)
            lens[i] += there(w->valid, from + i) ? flag + w->width : null;
        return;
    case WAY_TEXT:
        for (size_t i = 0; i < n; i++) {
            if (!there(w->valid, from + i)) {
                lens[i] += null;
                continue;
            }
            uint32_t len = v->dict[v->codes[from + i]].len;
            lens[i] += flag + varint_octets(len) + len;
        }
        return;
    case WAY_NUMBERS:
    case WAY_TEXTS:
        for (size_t i = 0; i < n; i++) {
            uint32_t at = v->starts[from + i],
                     end = there(w->valid, from + i) ? v->starts[from + i + 1] : at;
            lens[i] += varint_octets(end - at);
            for (; w->way == WAY_TEXTS && at < end; at++)
                lens[i] += varint_octets(v->dict[v->codes[at]].len) + v->dict[v->codes[at]].len;
            lens[i] += (size_t)(end - at) * w->width;
        }
        return;
    }
}

/* The same loop for each width, so that a value is one store; at: where each row goes on in out. */
#define WRITE_NUMBERS(octets)                                                                      \
    for (size_t i = 0; i < n; i++) {                                                               \
        uint8_t *p = out + at[i];                                                                  \
        if (there(w->valid, from + i)) {                                                           \
            p[0] = 0;                                                                              \
            memcpy(p + flag, &num[i], octets);                                                     \
            at[i] += flag + (octets);                                                              \
        } else {                                                                                   \
            memset(p, w->nullable, null);                                                          \
            at[i] += null;                                                                         \
        }                                                                                          \
    }

static void write_numbers(const struct work *w, size_t from, size_t n, uint8_t *restrict out,
                          size_t *restrict at)
{
    const uint64_t *num = w->num + from;
    size_t null = null_octets(w), flag = w->nullable;
    switch (w->width) {
    case 1:
        WRITE_NUMBERS(1)
        return;
    case 2:
        WRITE_NUMBERS(2)
        return;
    case 4:
        WRITE_NUMBERS(4)
        return;
    default:
        WRITE_NUMBERS(8)
        return;
    }
}

static void write_rest(const struct work *w, size_t from, size_t n, uint8_t *restrict out,
                       size_t *restrict at)
{
    const struct query_vec *v = w->v;
    size_t null = null_octets(w), flag = w->nullable;
    for (size_t i = 0; i < n; i++) {
        uint8_t *p = out + at[i];
        size_t row = from + i;
        if (w->way == WAY_NOTHING || !there(w->valid, row)) {
            memset(p, w->nullable, null);
            at[i] += null;
            continue;
        }
        p[0] = 0;
        p += flag;
        if (w->way == WAY_TEXT) {
            p = put_text(p, &v->dict[v->codes[row]]);
        } else if (w->way == WAY_FIXED) {
            memcpy(p, w->table + (size_t)v->codes[row] * w->width, w->width);
            p += w->width;
        } else {
            p = put_varint(p, v->starts[row + 1] - v->starts[row]);
            for (uint32_t k = v->starts[row]; k < v->starts[row + 1]; k++)
                if (w->way == WAY_TEXTS) {
                    p = put_text(p, &v->dict[v->codes[k]]);
                } else {
                    memcpy(p, &v->num[k], w->width);
                    p += w->width;
                }
        }
        at[i] = (size_t)(p - out);
    }
}

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers are stored as they stand");

static weir_status make_room(ship_rowbinary *r, size_t n, weir_err *err)
{
    if (n <= r->cap)
        return WEIR_OK;
    struct work *more = realloc(r->work, n * sizeof *more);
    if (!more)
        return no_memory(err);
    memset(more + r->cap, 0, (n - r->cap) * sizeof *more);
    r->work = more;
    r->cap = n;
    return WEIR_OK;
}

weir_status ship_rowbinary_rows(ship_rowbinary *r, const struct ship_rowbinary_column *columns,
                                size_t n_columns, size_t from, size_t to, base_buf *out,
                                weir_err *err)
{
    WEIR_TRY(make_room(r, n_columns, err));
    for (size_t c = 0; c < n_columns; c++)
        WEIR_TRY(prepare(&columns[c], &r->work[c], from, to, err));
    size_t begin = out->len;
    for (size_t row = from; row < to; row += CHUNK) {
        size_t n = to - row < CHUNK ? to - row : CHUNK, sum = 0;
        memset(r->at, 0, sizeof r->at);
        for (size_t c = 0; c < n_columns; c++)
            measure(&r->work[c], row, n, r->at);
        for (size_t i = 0; i < n; i++) { /* from lengths to places */
            size_t len = r->at[i];
            r->at[i] = sum;
            sum += len;
        }
        uint8_t *p = (uint8_t *)base_buf_room(out, sum + 1);
        if (!p) {
            out->len = begin;
            out->failed = false;
            return no_memory(err);
        }
        for (size_t c = 0; c < n_columns; c++)
            if (r->work[c].way == WAY_NUMBER)
                write_numbers(&r->work[c], row, n, p, r->at);
            else
                write_rest(&r->work[c], row, n, p, r->at);
        out->len += sum;
    }
    return WEIR_OK;
}
