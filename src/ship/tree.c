/* tree -- rows as JSON objects in objects, by a table of what stands where. Every value has a comma in front of its key; the
 * first one of an object becomes its brace. */
#include "ship/encode_in.h"

#include "base/text.h"
#include "query/cells.h"

#include <math.h>
#include <stdlib.h>

enum {
    LITERAL_ROOM = 32, /* keys are copied so many octets at once */
    VALUE_ROOM = 96    /* the longest value of known length: an address with port */
};

struct cell {
    uint8_t op, arg;
    uint16_t close; /* of OPEN: the cell that closes it */
    size_t lit;     /* where ,"name": stands in state.lits */
    uint32_t lit_len;
    const char *text;
    int16_t v[SHIP_TREE_COLUMNS];
    int16_t pieces[4]; /* of v[0..3] where they are addresses or MACs; -1: none */
};

struct active {
    const struct cell *cell;
    const char *lit;
    uint8_t op;
    const struct query_vec *v[SHIP_TREE_COLUMNS]; /* NULL: no row has a value */
    const struct ship_pieces *pieces[4];
    size_t close; /* of OPEN: the active that closes it */
};

struct pieces_of {
    struct ship_pieces p;
    int16_t column;
};

struct state {
    struct cell *cells;
    size_t n, cap;
    base_buf lits;
    struct pieces_of *pieces;
    size_t n_pieces, cap_pieces;
    struct active *active;
    size_t n_active, bound;
    size_t open[SHIP_TREE_DEPTH]; /* cells, while the tree is made */
    size_t depth;
    bool narrow;
    struct query_clock clock;
};

/* --- making it ---------------------------------------------------------------------------------- */

weir_status ship_tree_new(ship_encoder *e, bool narrow, weir_err *err)
{
    struct state *st = calloc(1, sizeof *st);
    if (!st)
        return ship_no_memory(err);
    st->narrow = narrow;
    st->clock.utc = true;
    e->state = st;
    return WEIR_OK;
}

void ship_tree_free(ship_encoder *e)
{
    struct state *st = e->state;
    if (!st)
        return;
    for (size_t i = 0; i < st->n_pieces; i++)
        ship_pieces_done(&st->pieces[i].p);
    free(st->pieces);
    free(st->cells);
    free(st->active);
    base_buf_done(&st->lits);
    free(st);
}

/* The pieces of a column, shared by all cells that look at it the same way; -1: out of memory. */
static int16_t pieces_of(struct state *st, int16_t column, ship_piece_make *make)
{
    for (size_t i = 0; i < st->n_pieces; i++)
        if (st->pieces[i].column == column && st->pieces[i].p.make == make)
            return (int16_t)i;
    if (st->n_pieces == st->cap_pieces) {
        size_t cap = st->cap_pieces ? 2 * st->cap_pieces : 16;
        struct pieces_of *more = realloc(st->pieces, cap * sizeof *more);
        if (!more)
            return -1;
        st->pieces = more;
        st->cap_pieces = cap;
    }
    st->pieces[st->n_pieces] = (struct pieces_of){.p = {.make = make}, .column = column};
    return (int16_t)st->n_pieces++;
}

/* How many of a row's first columns are addresses or MACs, from where, and which. */
static ship_piece_make *texts_of(uint8_t op, size_t *from, size_t *to)
{
    *from = 0;
    *to = 1;
    switch ((enum ship_tree_op)op) {
    case SHIP_TREE_ADDR:
    case SHIP_TREE_ADDR_LIST:
    case SHIP_TREE_ADDR_PORT:
    case SHIP_TREE_NET:
        return ship_piece_addr;
    case SHIP_TREE_COMMUNITY:
        *to = 2;
        return ship_piece_addr;
    case SHIP_TREE_ADDRS:
        *to = 4;
        return ship_piece_addr;
    case SHIP_TREE_ETYPE:
    case SHIP_TREE_FAMILY:
        *from = 1;
        *to = 3;
        return ship_piece_addr;
    case SHIP_TREE_MAC:
    case SHIP_TREE_MAC_UPPER:
        *to = 2;
        return ship_piece_mac;
    case SHIP_TREE_OPEN:
    case SHIP_TREE_OPEN_WHEN:
    case SHIP_TREE_CLOSE:
    case SHIP_TREE_CONST:
    case SHIP_TREE_NUMBER:
    case SHIP_TREE_QUOTED:
    case SHIP_TREE_SHIFTED:
    case SHIP_TREE_RATE:
    case SHIP_TREE_TIME_NS:
    case SHIP_TREE_TIME:
    case SHIP_TREE_DURATION:
    case SHIP_TREE_SUM:
    case SHIP_TREE_PORT:
    case SHIP_TREE_LOWER:
    case SHIP_TREE_VERSION:
    case SHIP_TREE_PROTO:
    case SHIP_TREE_TRANSPORT:
    case SHIP_TREE_DIRECTION:
    case SHIP_TREE_AS_PATH:
    case SHIP_TREE_ANY:
        break;
    }
    return NULL;
}

static weir_status add_cell(ship_encoder *e, struct cell c, const char *name, weir_err *err)
{
    struct state *st = e->state;
    if (st->n == st->cap) {
        size_t cap = st->cap ? 2 * st->cap : 64;
        struct cell *more = realloc(st->cells, cap * sizeof *more);
        if (!more)
            return ship_no_memory(err);
        st->cells = more;
        struct active *active = realloc(st->active, cap * sizeof *active);
        if (!active)
            return ship_no_memory(err);
        st->active = active;
        st->cap = cap;
    }
    c.lit = st->lits.len;
    if (name) {
        base_buf_char(&st->lits, ',');
        base_json_string(&st->lits, name, strlen(name), false);
        base_buf_char(&st->lits, ':');
        c.lit_len = (uint32_t)(st->lits.len - c.lit);
    }
    size_t from, to;
    ship_piece_make *make = texts_of(c.op, &from, &to);
    for (size_t k = 0; k < 4; k++) {
        bool text = make && k >= from && k < to && c.v[k] >= 0;
        c.pieces[k] = text ? pieces_of(st, c.v[k], make) : -1;
        if (text && c.pieces[k] < 0)
            return ship_no_memory(err);
    }
    if (st->lits.failed)
        return ship_no_memory(err);
    st->cells[st->n++] = c;
    return WEIR_OK;
}

weir_status ship_tree_add(ship_encoder *e, const struct ship_tree_row *rows, size_t n,
                          weir_err *err)
{
    struct state *st = e->state;
    for (size_t i = 0; i < n; i++) {
        const struct ship_tree_row *r = &rows[i];
        struct cell c = {.op = r->op, .arg = r->arg, .text = r->text};
        for (size_t k = 0; k < SHIP_TREE_COLUMNS; k++) {
            c.v[k] = -1;
            if (!r->f[k])
                continue;
            int column = ship_encoder_column(e, (enum flow_column_id)(r->f[k] - 1));
            if (column < 0)
                return ship_no_memory(err);
            c.v[k] = (int16_t)column;
        }
        if (r->op == SHIP_TREE_CLOSE && st->depth)
            st->cells[st->open[--st->depth]].close = (uint16_t)st->n;
        if ((r->op == SHIP_TREE_OPEN || r->op == SHIP_TREE_OPEN_WHEN) &&
            st->depth < SHIP_TREE_DEPTH)
            st->open[st->depth++] = st->n;
        WEIR_TRY(add_cell(e, c, r->name, err));
    }
    return WEIR_OK;
}

weir_status ship_tree_add_field(ship_encoder *e, enum ship_tree_op op, const char *name,
                                const struct query_field *f, weir_err *err)
{
    int column = ship_encoder_field(e, f);
    if (column < 0)
        return ship_no_memory(err);
    const struct cell c = {.op = (uint8_t)op, .v = {(int16_t)column, -1, -1, -1, -1, -1, -1}};
    return add_cell(e, c, name, err);
}

/* --- small texts -------------------------------------------------------------------------------- */

static inline char *put(char *p, const char *text, size_t len)
{
    memcpy(p, text, len);
    return p + len;
}

static inline char *put_str(char *p, const char *text)
{
    return put(p, text, strlen(text));
}

static inline char *put_quoted(char *p, const char *text, size_t len)
{
    *p++ = '"';
    p = put(p, text, len);
    *p++ = '"';
    return p;
}

static inline char *put_key(char *p, const struct active *a)
{
    size_t len = a->cell->lit_len;
    if (len > LITERAL_ROOM)
        return put(p, a->lit, len);
    memcpy(p, a->lit, LITERAL_ROOM);
    return p + len;
}

static char *put_time(struct state *st, char *p, int64_t us)
{
    *p++ = '"';
    query_clock_text(&st->clock, us, p);
    p[10] = 'T';
    p += 23;
    unsigned rest = (unsigned)((us % 1000 + 1000) % 1000);
    *p++ = (char)('0' + rest / 100);
    *p++ = (char)('0' + rest / 10 % 10);
    *p++ = (char)('0' + rest % 10);
    *p++ = 'Z';
    *p++ = '"';
    return p;
}

static char *put_mac(char *p, const uint8_t *octets, bool upper)
{
    const char *digits = upper ? "0123456789ABCDEF" : "0123456789abcdef";
    for (size_t k = 0; k < 6; k++) {
        if (k)
            *p++ = upper ? '-' : ':';
        *p++ = digits[octets[k] >> 4];
        *p++ = digits[octets[k] & 15];
    }
    return p;
}

static char *put_addr(char *p, const struct ship_piece *s)
{
    return p + (s->n == 4 ? base_ipv4_text(p, s->octets) : base_ipv6_text(p, s->octets));
}

/* Room for n octets more than what the rest of the row may take. */
static char *more_room(const struct state *st, base_buf *out, char *p, size_t n)
{
    out->len = (size_t)(p - out->data);
    return base_buf_room(out, n + st->bound);
}

static bool plain(const struct query_text *t)
{
    bool odd = false;
    for (uint32_t i = 0; i < t->len; i++) {
        unsigned c = (uint8_t)t->data[i];
        odd |= c < 0x20 || c > 0x7e || c == '"' || c == '\\';
    }
    return !odd;
}

static char *put_text(const struct state *st, base_buf *out, char *p, const struct query_text *t)
{
    if (plain(t)) {
        p = more_room(st, out, p, (size_t)t->len + 2);
        return p ? put_quoted(p, t->data, t->len) : NULL;
    }
    out->len = (size_t)(p - out->data);
    base_json_string(out, t->data, t->len, false);
    return base_buf_room(out, st->bound);
}

static char *put_hex(const struct state *st, base_buf *out, char *p, const struct query_text *t)
{
    p = more_room(st, out, p, 2 * (size_t)t->len + 2);
    if (!p)
        return NULL;
    *p++ = '"';
    p += base_hex_text(p, (const uint8_t *)t->data, t->len);
    *p++ = '"';
    return p;
}

static char *put_real(char *p, uint64_t bits)
{
    double d;
    memcpy(&d, &bits, sizeof d);
    if (!isfinite(d))
        return put_str(p, isnan(d) ? "\"NaN\"" : d > 0 ? "\"Infinity\"" : "\"-Infinity\"");
    if (d == floor(d) && fabs(d) < 1e15)
        return p + base_s64_text(p, (int64_t)d); /* a rate of 100 is 100 */
    return p + base_f64_text(p, d);
}

/* --- values ------------------------------------------------------------------------------------- */

static inline bool number(const struct query_vec *v, size_t i, uint64_t *out)
{
    if (!v || !ship_has(v, i))
        return false;
    *out = v->num[i];
    return true;
}

static bool either(const struct active *a, size_t i, uint64_t *out)
{
    return number(a->v[0], i, out) || number(a->v[1], i, out);
}

static inline const struct ship_piece *piece(const struct active *a, size_t k, size_t i)
{
    return a->pieces[k] ? ship_piece_of(a->pieces[k], i) : NULL;
}

/* 4, 6, or 0: nobody knows. */
static unsigned family(const struct active *a, size_t i)
{
    uint64_t version;
    const struct ship_piece *s = piece(a, 1, i);
    if (!s)
        s = piece(a, 2, i);
    if (s)
        return s->n == 4 ? 4 : 6;
    return number(a->v[3], i, &version) && (version == 4 || version == 6) ? (unsigned)version : 0;
}

static char *put_etype(const struct active *a, size_t i, char *p)
{
    uint64_t v = 0;
    if (!number(a->v[0], i, &v) || !v) {
        unsigned f = family(a, i);
        v = f == 4 ? 0x800 : f == 6 ? 0x86dd : 0;
    }
    if (!v)
        return p;
    p = put_key(p, a);
    if (v == 0x800 || v == 0x86dd || v == 0x806)
        return put_str(p, v == 0x800 ? "\"IPv4\"" : v == 0x86dd ? "\"IPv6\"" : "\"ARP\"");
    p = put_str(p, "\"0x");
    for (unsigned k = 4; k-- > 0;)
        *p++ = "0123456789abcdef"[v >> 4 * k & 15];
    *p++ = '"';
    return p;
}

static char *put_proto(const struct active *a, uint64_t v, char *p)
{
    const char *name = ship_proto_name(v);
    bool transport = a->op == SHIP_TREE_TRANSPORT;
    if (!name && transport)
        return p;
    p = put_key(p, a);
    *p++ = '"';
    if (!name)
        name = v == 253 || v == 254 ? "experimental"
               : v == 255           ? "reserved"
               : v > 145            ? "unassigned"
                                    : "unknown";
    for (; *name; name++)
        *p++ = (char)(transport && *name >= 'A' && *name <= 'Z' ? *name | 0x20 : *name);
    *p++ = '"';
    return p;
}

static char *put_net(const struct active *a, size_t i, char *p)
{
    const struct ship_piece *s = piece(a, 0, i);
    uint64_t bits;
    if (!s || !number(a->v[1], i, &bits) || bits > 8U * s->n)
        return p;
    struct ship_piece net = *s;
    for (unsigned k = 0; k < s->n; k++) {
        unsigned left = bits > 8 * k ? (unsigned)bits - 8 * k : 0;
        if (left < 8)
            net.octets[k] &= (uint8_t)(0xff00U >> left);
    }
    p = put_key(p, a);
    *p++ = '"';
    p = put_addr(p, &net);
    *p++ = '/';
    p += base_u64_text(p, bits);
    *p++ = '"';
    return p;
}

static char *put_addrs(const struct active *a, size_t i, char *p)
{
    const struct ship_piece *seen[4];
    size_t n = 0;
    for (size_t k = 0; k < 4; k++) {
        const struct ship_piece *s = piece(a, k, i);
        for (size_t m = 0; m < n && s; m++)
            if (s->n == seen[m]->n && memcmp(s->octets, seen[m]->octets, s->n) == 0)
                s = NULL;
        if (!s)
            continue;
        if (n == 0)
            p = put_key(p, a);
        *p++ = n ? ',' : '[';
        *p++ = '"';
        p = put_addr(p, s);
        *p++ = '"';
        seen[n++] = s;
    }
    if (n)
        *p++ = ']';
    return p;
}

static char *put_addr_port(const struct active *a, size_t i, char *p)
{
    const struct ship_piece *s = piece(a, 0, i);
    uint64_t port;
    if (!s)
        return p;
    bool with = number(a->v[1], i, &port);
    p = put_key(p, a);
    *p++ = '"';
    if (with && s->n == 16)
        *p++ = '[';
    p = put_addr(p, s);
    if (with && s->n == 16)
        *p++ = ']';
    if (with) {
        *p++ = ':';
        p += base_u64_text(p, port);
    }
    *p++ = '"';
    return p;
}

static bool is_icmp(uint64_t proto)
{
    return proto == 1 || proto == 58;
}

static char *put_community(const struct active *a, size_t i, char *p)
{
    const struct ship_piece *src = piece(a, 0, i), *dst = piece(a, 1, i);
    uint64_t proto, src_port = 0, dst_port = 0;
    if (!src || !dst || src->n != dst->n || !number(a->v[4], i, &proto) || proto > 255)
        return p;
    bool known = true;
    if (is_icmp(proto))
        known = number(a->v[5], i, &src_port) && number(a->v[6], i, &dst_port);
    else if (proto == 6 || proto == 17 || proto == 132)
        known = number(a->v[2], i, &src_port) && number(a->v[3], i, &dst_port);
    if (!known)
        return p;
    p = put_key(p, a);
    p = put_str(p, "\"1:");
    ship_community_id(src->octets, dst->octets, src->n, (uint8_t)proto, (uint16_t)src_port,
                      (uint16_t)dst_port, p);
    p[28] = '"';
    return p + 29;
}

static char *put_as_path(const struct state *st, base_buf *out, const struct active *a, size_t i,
                         char *p)
{
    if (!a->v[0] || !ship_has(a->v[0], i))
        return p;
    const struct query_text *t = &a->v[0]->dict[a->v[0]->codes[i]];
    /* 1.1 is 65537: a number and its comma are less than six times as long as in the text. */
    if (!(p = more_room(st, out, p, 6 * (size_t)t->len + 16)))
        return NULL;
    char *begin = p;
    const char *at = t->data, *end = t->data + t->len;
    uint32_t as;
    int got;
    p = put_key(p, a);
    *p++ = '[';
    char *first = p;
    while ((got = ship_as_next(&at, end, &as)) > 0) {
        if (p != first)
            *p++ = ',';
        p += base_u64_text(p, as);
    }
    if (got < 0 || p == first)
        return begin;
    *p++ = ']';
    return p;
}

/* A number that the reader takes. */
static bool fits(const struct state *st, uint8_t kind, uint64_t v)
{
    double d = 0;
    if (kind == QUERY_F64)
        memcpy(&d, &v, sizeof d);
    return !st->narrow || (isfinite(d) && (kind != QUERY_U64 || v <= INT64_MAX));
}

static char *put_one(struct state *st, char *p, uint8_t kind, uint64_t v)
{
    switch (kind) {
    case QUERY_S64:
        return p + base_s64_text(p, (int64_t)v);
    case QUERY_F64:
        return put_real(p, v);
    case QUERY_BOOL:
        return put_str(p, v ? "true" : "false");
    case QUERY_TIME:
        return put_time(st, p, (int64_t)v);
    default:
        return p + base_u64_text(p, v);
    }
}

static char *put_any(struct state *st, base_buf *out, const struct active *a, size_t i, char *p)
{
    const struct query_vec *v = a->v[0];
    if (!v || !ship_has(v, i) || (!v->starts && !v->codes && !fits(st, v->kind, v->num[i])))
        return p;
    p = put_key(p, a);
    if (!v->starts) {
        if (!v->codes)
            return put_one(st, p, v->kind, v->num[i]);
        const struct query_text *t = &v->dict[v->codes[i]];
        return v->kind == QUERY_OCTETS ? put_hex(st, out, p, t) : put_text(st, out, p, t);
    }
    *p++ = '[';
    bool comma = false;
    for (uint32_t k = v->starts[i]; k < v->starts[i + 1] && p; k++) {
        if (!v->codes && !fits(st, QUERY_U64, v->num[k]))
            continue;
        if (comma)
            *p++ = ',';
        comma = true;
        if (v->codes)
            p = put_text(st, out, p, &v->dict[v->codes[k]]);
        else if ((p = more_room(st, out, p, VALUE_ROOM)))
            p = put_one(st, p, QUERY_U64, v->num[k]);
    }
    if (p)
        *p++ = ']';
    return p;
}

static char *put_lower(const struct state *st, base_buf *out, const struct active *a, size_t i,
                       char *p)
{
    if (!a->v[0] || !ship_has(a->v[0], i))
        return p;
    p = put_key(p, a);
    size_t from = (size_t)(p - out->data);
    p = put_text(st, out, p, &a->v[0]->dict[a->v[0]->codes[i]]);
    for (char *c = p ? out->data + from : NULL; c && c < p; c++)
        if (*c >= 'A' && *c <= 'Z' && (c == out->data || c[-1] != '\\'))
            *c |= 0x20;
    return p;
}

/* --- rows --------------------------------------------------------------------------------------- */

static char *put_number(const struct state *st, const struct active *a, uint64_t v, char *p)
{
    if (v > INT64_MAX && st->narrow)
        return p;
    p = put_key(p, a);
    return p + base_u64_text(p, v);
}

static const char *version_name(uint64_t version)
{
    switch (version) {
    case 1:
    case 5:
    case 7:
        return "\"NETFLOW_V5\"";
    case 9:
        return "\"NETFLOW_V9\"";
    case 10:
        return "\"IPFIX\"";
    default:
        return "\"FLOWUNKNOWN\"";
    }
}

/* A value of row i at p, with its key; p as it was: it has none. NULL: out of memory. */
static char *put_value(struct state *st, base_buf *out, const struct active *a, size_t i, char *p)
{
    uint64_t v = 0, w = 0;
    const struct ship_piece *s;
    switch ((enum ship_tree_op)a->op) {
    case SHIP_TREE_CONST:
        return put_str(put_key(p, a), a->cell->text);
    case SHIP_TREE_NUMBER:
        return either(a, i, &v) ? put_number(st, a, v, p) : p;
    case SHIP_TREE_QUOTED:
        if (!number(a->v[0], i, &v))
            return p;
        p = put_key(p, a);
        *p++ = '"';
        p += base_u64_text(p, v);
        *p++ = '"';
        return p;
    case SHIP_TREE_SHIFTED:
        return number(a->v[0], i, &v) ? put_number(st, a, v >> a->cell->arg, p) : p;
    case SHIP_TREE_RATE: {
        double d = 0;
        if (number(a->v[0], i, &v))
            memcpy(&d, &v, sizeof d);
        return d >= 0.5 && d < 0x1p63 ? put_number(st, a, (uint64_t)llround(d), p) : p;
    }
    case SHIP_TREE_TIME_NS:
        if (!either(a, i, &v) || (int64_t)v <= 0 || (int64_t)v > INT64_MAX / 1000)
            return p;
        return put_number(st, a, v * 1000, p);
    case SHIP_TREE_TIME:
        return either(a, i, &v) ? put_time(st, put_key(p, a), (int64_t)v) : p;
    case SHIP_TREE_DURATION:
        if (!number(a->v[0], i, &v) || !number(a->v[1], i, &w) || (int64_t)w < (int64_t)v ||
            w - v > INT64_MAX / 1000)
            return p;
        return put_number(st, a, (w - v) * 1000, p);
    case SHIP_TREE_SUM: {
        bool one = number(a->v[0], i, &v), two = number(a->v[1], i, &w);
        uint64_t sum;
        return (one || two) && !__builtin_add_overflow(v, w, &sum) ? put_number(st, a, sum, p) : p;
    }
    case SHIP_TREE_PORT:
        return number(a->v[0], i, &v) && !(number(a->v[1], i, &w) && is_icmp(w))
                   ? put_number(st, a, v, p)
                   : p;
    case SHIP_TREE_ADDR: {
        if (!piece(a, 0, i))
            return p;
        const struct query_text *t = &a->v[0]->dict[a->v[0]->codes[i]];
        return put_quoted(put_key(p, a), t->data, t->len);
    }
    case SHIP_TREE_ADDR_LIST:
        if (!(s = piece(a, 0, i)))
            return p;
        p = put_str(put_key(p, a), "[\"");
        return put_str(put_addr(p, s), "\"]");
    case SHIP_TREE_ADDRS:
        return put_addrs(a, i, p);
    case SHIP_TREE_ADDR_PORT:
        return put_addr_port(a, i, p);
    case SHIP_TREE_NET:
        return put_net(a, i, p);
    case SHIP_TREE_MAC:
    case SHIP_TREE_MAC_UPPER:
        s = a->v[0] && ship_has(a->v[0], i) ? piece(a, 0, i) : piece(a, 1, i);
        if (!s)
            return p;
        p = put_key(p, a);
        *p++ = '"';
        p = put_mac(p, s->octets, a->op == SHIP_TREE_MAC_UPPER);
        *p++ = '"';
        return p;
    case SHIP_TREE_LOWER:
        return put_lower(st, out, a, i, p);
    case SHIP_TREE_VERSION:
        return number(a->v[0], i, &v) ? put_str(put_key(p, a), version_name(v)) : p;
    case SHIP_TREE_ETYPE:
        return put_etype(a, i, p);
    case SHIP_TREE_PROTO:
    case SHIP_TREE_TRANSPORT:
        return number(a->v[0], i, &v) ? put_proto(a, v, p) : p;
    case SHIP_TREE_FAMILY: {
        unsigned f = family(a, i);
        return f ? put_str(put_key(p, a), f == 4 ? "\"ipv4\"" : "\"ipv6\"") : p;
    }
    case SHIP_TREE_DIRECTION:
        if (!number(a->v[0], i, &v))
            return p;
        return put_str(put_key(p, a), v == 0   ? "\"ingress\""
                                      : v == 1 ? "\"egress\""
                                               : "\"unknown\"");
    case SHIP_TREE_COMMUNITY:
        return put_community(a, i, p);
    case SHIP_TREE_AS_PATH:
        return put_as_path(st, out, a, i, p);
    case SHIP_TREE_ANY:
        return put_any(st, out, a, i, p);
    case SHIP_TREE_OPEN:
    case SHIP_TREE_OPEN_WHEN:
    case SHIP_TREE_CLOSE:
        break;
    }
    return p;
}

/* Ends an object that has its key at `before`, or nothing but begins there. */
static char *close_object(base_buf *out, size_t before, size_t start, char *p)
{
    char *first = out->data + start;
    if (p == first && before != start)
        return out->data + before;
    if (p == first)
        *p++ = '{';
    *first = '{';
    *p++ = '}';
    return p;
}

static char *put_row(struct state *st, base_buf *out, size_t i, char *p)
{
    size_t before[SHIP_TREE_DEPTH], start[SHIP_TREE_DEPTH], depth = 0;
    size_t begin = (size_t)(p - out->data);
    for (size_t k = 0; k < st->n_active; k++) {
        const struct active *a = &st->active[k];
        uint64_t v;
        switch (a->op) {
        case SHIP_TREE_OPEN_WHEN:
            if (!number(a->v[0], i, &v) || v != a->cell->arg) {
                k = a->close;
                continue;
            }
            /* fall through */
        case SHIP_TREE_OPEN:
            before[depth] = (size_t)(p - out->data);
            p = put_key(p, a);
            start[depth++] = (size_t)(p - out->data);
            continue;
        case SHIP_TREE_CLOSE:
            depth--;
            p = close_object(out, before[depth], start[depth], p);
            continue;
        default:
            p = put_value(st, out, a, i, p);
            if (!p)
                return NULL;
        }
    }
    return close_object(out, begin, begin, p);
}

/* --- blocks ------------------------------------------------------------------------------------- */

static bool takes_text(uint8_t op, size_t k)
{
    size_t from, to;
    return op == SHIP_TREE_LOWER || op == SHIP_TREE_AS_PATH ||
           (texts_of(op, &from, &to) && k >= from && k < to);
}

/* The cells that any row of the block can have, objects that have any included. */
static void find_active(struct state *st, const struct query_block *b)
{
    size_t open[SHIP_TREE_DEPTH], depth = 0;
    st->n_active = 0;
    st->bound = 2 * VALUE_ROOM;
    for (size_t i = 0; i < st->n; i++) {
        const struct cell *c = &st->cells[i];
        struct active a = {.cell = c, .lit = st->lits.data + c->lit, .op = c->op};
        bool any = c->op == SHIP_TREE_CONST;
        for (size_t k = 0; k < SHIP_TREE_COLUMNS; k++) {
            if (c->v[k] < 0)
                continue;
            const struct query_vec *v = &b->vecs[c->v[k]];
            bool there = c->op == SHIP_TREE_ANY
                             ? ship_is_number(v) || ship_is_text(v) || ship_is_list(v)
                         : takes_text(c->op, k) ? ship_is_text(v)
                                                : ship_is_number(v);
            a.v[k] = there ? v : NULL;
            if (there && k < 4 && c->pieces[k] >= 0)
                a.pieces[k] = &st->pieces[c->pieces[k]].p;
            any = any || there;
        }
        if (c->op == SHIP_TREE_CLOSE) {
            size_t at = open[--depth];
            if (at + 1 == st->n_active) { /* an empty object */
                st->n_active = at;
                continue;
            }
            st->active[at].close = st->n_active;
        } else if (c->op == SHIP_TREE_OPEN || (c->op == SHIP_TREE_OPEN_WHEN && any)) {
            open[depth++] = st->n_active;
        } else if (c->op == SHIP_TREE_OPEN_WHEN) {
            i = c->close;
            continue;
        } else if (!any) {
            continue;
        }
        st->active[st->n_active++] = a;
        st->bound += c->lit_len + VALUE_ROOM + (c->text ? strlen(c->text) : 0) +
                     (c->op == SHIP_TREE_ADDRS ? 4 * 64 : 0);
    }
}

weir_status ship_tree_rows(ship_encoder *e, const struct query_block *b, size_t from, size_t to,
                           base_buf *out, size_t *ends, weir_err *err)
{
    struct state *st = e->state;
    for (size_t k = 0; k < st->n_pieces; k++)
        if (!ship_pieces_begin(&st->pieces[k].p, &b->vecs[st->pieces[k].column], from, to))
            return ship_no_memory(err);
    if (!base_buf_room(&st->lits, LITERAL_ROOM)) /* keys are copied with what is behind them */
        return ship_no_memory(err);
    find_active(st, b);
    for (size_t base = from; base < to; base += SHIP_CHUNK) {
        size_t stop = to - base > SHIP_CHUNK ? base + SHIP_CHUNK : to;
        for (size_t k = 0; k < st->n_pieces; k++)
            ship_pieces_chunk(&st->pieces[k].p, base, stop);
        for (size_t i = base; i < stop; i++) {
            char *p = base_buf_room(out, st->bound);
            p = p ? put_row(st, out, i, p) : NULL;
            if (!p || out->failed)
                return ship_no_memory(err);
            out->len = (size_t)(p - out->data);
            ends[i - from] = out->len;
        }
    }
    return WEIR_OK;
}
