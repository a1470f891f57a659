#include "parquet/thrift.h"

void thrift_fail(struct thrift_rd *r, weir_status bad, const char *why)
{
    if (r->bad != WEIR_OK)
        return;
    r->bad = bad;
    r->bad_off = r->off;
    r->why = why;
}

weir_status thrift_status(const struct thrift_rd *r, uint64_t at, const char *what, weir_err *err)
{
    if (r->bad == WEIR_OK)
        return WEIR_OK;
    return weir_err_set(err, r->bad, at + r->bad_off, "%s: %s", what, r->why);
}

static uint8_t octet(struct thrift_rd *r)
{
    if (r->bad != WEIR_OK)
        return 0;
    if (r->off == r->len) {
        thrift_fail(r, WEIR_ETRUNC, "ends inside a value");
        return 0;
    }
    return r->p[r->off++];
}

static uint64_t varint(struct thrift_rd *r)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        uint8_t c = octet(r);
        if (shift == 63 && c > 1)
            break;
        v |= (uint64_t)(c & 0x7f) << shift;
        if (!(c & 0x80))
            return v;
    }
    thrift_fail(r, WEIR_EFORMAT, "an integer is longer than 64 bits");
    return 0;
}

static int64_t zigzag(uint64_t v)
{
    return (int64_t)(v >> 1 ^ (0 - (v & 1)));
}

static void advance(struct thrift_rd *r, uint64_t n)
{
    if (r->bad != WEIR_OK)
        return;
    if (n > r->len - r->off)
        thrift_fail(r, WEIR_ETRUNC, "a value runs past the end");
    else
        r->off += (size_t)n;
}

bool thrift_next(struct thrift_rd *r, struct thrift_field *f)
{
    uint8_t head = octet(r);
    f->type = head & 15;
    if (r->bad != WEIR_OK || f->type == THRIFT_STOP)
        return false;
    if (f->type > THRIFT_UUID) {
        thrift_fail(r, WEIR_EFORMAT, "a field of unknown type");
        return false;
    }
    int64_t id = head >> 4 ? f->id + (head >> 4) : zigzag(varint(r));
    if (id < INT16_MIN || id > INT16_MAX)
        thrift_fail(r, WEIR_EFORMAT, "a field's number is outside 16 bits");
    f->id = (int32_t)id;
    return r->bad == WEIR_OK;
}

static bool want(struct thrift_rd *r, bool ok)
{
    if (!ok)
        thrift_fail(r, WEIR_EFORMAT, "a field is not of the type it should be");
    return r->bad == WEIR_OK;
}

int64_t thrift_int(struct thrift_rd *r, const struct thrift_field *f)
{
    if (!want(r, f->type >= THRIFT_I8 && f->type <= THRIFT_I64))
        return 0;
    return f->type == THRIFT_I8 ? (int8_t)octet(r) : thrift_item_int(r);
}

int32_t thrift_i32(struct thrift_rd *r, const struct thrift_field *f)
{
    int64_t v = thrift_int(r, f);
    if (v < INT32_MIN || v > INT32_MAX) {
        thrift_fail(r, WEIR_EFORMAT, "a number is outside 32 bits");
        return 0;
    }
    return (int32_t)v;
}

int64_t thrift_natural(struct thrift_rd *r, const struct thrift_field *f)
{
    int64_t v = thrift_int(r, f);
    if (v < 0) {
        thrift_fail(r, WEIR_EFORMAT, "a size, count or offset is negative");
        return 0;
    }
    return v;
}

int32_t thrift_natural32(struct thrift_rd *r, const struct thrift_field *f)
{
    int64_t v = thrift_natural(r, f);
    if (v > INT32_MAX) {
        thrift_fail(r, WEIR_EFORMAT, "a number is outside 32 bits");
        return 0;
    }
    return (int32_t)v;
}

bool thrift_bool(struct thrift_rd *r, const struct thrift_field *f)
{
    return want(r, f->type == THRIFT_TRUE || f->type == THRIFT_FALSE) && f->type == THRIFT_TRUE;
}

struct parquet_bytes thrift_bytes(struct thrift_rd *r, const struct thrift_field *f)
{
    if (!want(r, f->type == THRIFT_BINARY))
        return (struct parquet_bytes){0};
    return thrift_item_bytes(r);
}

static size_t list_header(struct thrift_rd *r, uint8_t *type)
{
    uint8_t head = octet(r);
    *type = head & 15;
    uint64_t n = head >> 4;
    if (n == 15)
        n = varint(r);
    if (r->bad != WEIR_OK)
        return 0;
    /* Each element takes an octet at least. */
    if (n > r->len - r->off) {
        thrift_fail(r, WEIR_ETRUNC, "a list is longer than what is left");
        return 0;
    }
    return (size_t)n;
}

size_t thrift_list(struct thrift_rd *r, const struct thrift_field *f, enum thrift_type type,
                   size_t min_octets)
{
    if (!want(r, f->type == THRIFT_LIST || f->type == THRIFT_SET))
        return 0;
    uint8_t got;
    size_t n = list_header(r, &got);
    bool both_bool = type == THRIFT_TRUE && got == THRIFT_FALSE;
    if (n && !both_bool && got != (uint8_t)type)
        thrift_fail(r, WEIR_EFORMAT, "a list's elements are not of the type they should be");
    if (n > (r->len - r->off) / min_octets)
        thrift_fail(r, WEIR_ETRUNC, "a list is longer than what is left");
    return r->bad == WEIR_OK ? n : 0;
}

bool thrift_struct(struct thrift_rd *r, const struct thrift_field *f)
{
    return want(r, f->type == THRIFT_STRUCT);
}

static void skip(struct thrift_rd *r, uint8_t type, unsigned depth);

/* One element of a list or map, where a bool takes an octet. */
static void skip_item(struct thrift_rd *r, uint8_t type, unsigned depth)
{
    if (type == THRIFT_TRUE || type == THRIFT_FALSE)
        advance(r, 1);
    else
        skip(r, type, depth);
}

static void skip_list(struct thrift_rd *r, unsigned depth)
{
    uint8_t type;
    size_t n = list_header(r, &type);
    for (size_t i = 0; i < n && r->bad == WEIR_OK; i++)
        skip_item(r, type, depth);
}

static void skip_map(struct thrift_rd *r, unsigned depth)
{
    uint64_t n = varint(r);
    if (!n)
        return;
    uint8_t types = octet(r);
    for (uint64_t i = 0; i < n && r->bad == WEIR_OK; i++) {
        skip_item(r, types >> 4, depth);
        skip_item(r, types & 15, depth);
    }
}

/* Every call but for a bool field consumes an octet or kills r: hence loops over untrusted counts end. */
static void skip(struct thrift_rd *r, uint8_t type, unsigned depth)
{
    if (depth > THRIFT_MAX_DEPTH) {
        thrift_fail(r, WEIR_ELIMIT, "structs are nested too deeply");
        return;
    }
    switch (type) {
    case THRIFT_TRUE:
    case THRIFT_FALSE:
        return;
    case THRIFT_I8:
        advance(r, 1);
        return;
    case THRIFT_I16:
    case THRIFT_I32:
    case THRIFT_I64:
        (void)varint(r);
        return;
    case THRIFT_DOUBLE:
        advance(r, 8);
        return;
    case THRIFT_UUID:
        advance(r, 16);
        return;
    case THRIFT_BINARY:
        advance(r, varint(r));
        return;
    case THRIFT_LIST:
    case THRIFT_SET:
        skip_list(r, depth + 1);
        return;
    case THRIFT_MAP:
        skip_map(r, depth + 1);
        return;
    case THRIFT_STRUCT:
        for (struct thrift_field f = {0}; thrift_next(r, &f);)
            skip(r, f.type, depth + 1);
        return;
    default:
        thrift_fail(r, WEIR_EFORMAT, "a value of unknown type");
    }
}

void thrift_skip(struct thrift_rd *r, const struct thrift_field *f)
{
    skip(r, f->type, 0);
}

int64_t thrift_item_int(struct thrift_rd *r)
{
    return zigzag(varint(r));
}

bool thrift_item_bool(struct thrift_rd *r)
{
    return octet(r) == 1;
}

struct parquet_bytes thrift_item_bytes(struct thrift_rd *r)
{
    uint64_t n = varint(r);
    size_t from = r->off;
    if (n > UINT32_MAX)
        thrift_fail(r, WEIR_ETRUNC, "a value runs past the end");
    advance(r, n);
    if (r->bad != WEIR_OK)
        return (struct parquet_bytes){0};
    return (struct parquet_bytes){r->p + from, (uint32_t)n};
}

void thrift_add_varint(base_buf *b, uint64_t v)
{
    char *at = base_buf_room(b, 10);
    if (!at)
        return;
    size_t n = 0;
    for (; v > 0x7f; v >>= 7)
        at[n++] = (char)(v | 0x80);
    at[n++] = (char)v;
    b->len += n;
}

void thrift_add_int(base_buf *b, int64_t v)
{
    thrift_add_varint(b, (uint64_t)v << 1 ^ (uint64_t)(v >> 63));
}

void thrift_add_bool(base_buf *b, bool v)
{
    base_buf_char(b, v ? 1 : 2);
}

void thrift_add_bytes(base_buf *b, const void *p, size_t len)
{
    thrift_add_varint(b, len);
    base_buf_add(b, p, len);
}

void thrift_put_header(struct thrift_wr *w, int id, enum thrift_type type)
{
    int delta = id - w->last;
    if (delta > 0 && delta < 16) {
        base_buf_char(w->b, (char)(delta << 4 | (int)type));
    } else {
        base_buf_char(w->b, (char)type);
        thrift_add_int(w->b, id);
    }
    w->last = id;
}

void thrift_put_i8(struct thrift_wr *w, int id, int8_t v)
{
    thrift_put_header(w, id, THRIFT_I8);
    base_buf_char(w->b, (char)v);
}

void thrift_put_i16(struct thrift_wr *w, int id, int16_t v)
{
    thrift_put_header(w, id, THRIFT_I16);
    thrift_add_int(w->b, v);
}

void thrift_put_i32(struct thrift_wr *w, int id, int32_t v)
{
    thrift_put_header(w, id, THRIFT_I32);
    thrift_add_int(w->b, v);
}

void thrift_put_i64(struct thrift_wr *w, int id, int64_t v)
{
    thrift_put_header(w, id, THRIFT_I64);
    thrift_add_int(w->b, v);
}

void thrift_put_bool(struct thrift_wr *w, int id, bool v)
{
    thrift_put_header(w, id, v ? THRIFT_TRUE : THRIFT_FALSE);
}

void thrift_put_bytes(struct thrift_wr *w, int id, const void *p, size_t len)
{
    thrift_put_header(w, id, THRIFT_BINARY);
    thrift_add_bytes(w->b, p, len);
}

void thrift_put_list(struct thrift_wr *w, int id, enum thrift_type type, size_t n)
{
    thrift_put_header(w, id, THRIFT_LIST);
    if (n < 15) {
        base_buf_char(w->b, (char)(n << 4 | (unsigned)type));
    } else {
        base_buf_char(w->b, (char)(0xf0 | (unsigned)type));
        thrift_add_varint(w->b, n);
    }
}

struct thrift_wr thrift_put_struct(struct thrift_wr *w, int id)
{
    thrift_put_header(w, id, THRIFT_STRUCT);
    return thrift_wr_of(w->b);
}

void thrift_put_empty(struct thrift_wr *w, int id)
{
    thrift_put_header(w, id, THRIFT_STRUCT);
    base_buf_char(w->b, 0);
}

void thrift_end(struct thrift_wr *w)
{
    base_buf_char(w->b, 0);
}
