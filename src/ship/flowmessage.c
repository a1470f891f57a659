/* flowmessage -- rows as goflow2's protobuf message FlowMessage (package flowpb, proto3). docs/ship-formats.md says which
 * column becomes which field. Wire format: protobuf.dev/programming-guides/encoding. */
#include "ship/encode_in.h"

#include <math.h>
#include <stdlib.h>

enum op {
    TYPE,    /* number of the export protocol as enum FlowType */
    NUMBER,  /* v[0] */
    ELSE,    /* v[0], where it is null v[1] */
    U32,     /* left out beyond 32 bits */
    SHIFTED, /* v[0] >> 5: the flags of an IPv4 header as a number of three bits */
    TIME,    /* microseconds of v[0], where it is null of v[1], as nanoseconds */
    RATE,    /* a double, rounded */
    ETYPE,   /* v[0], else by the family of v[1], v[2], else by v[3], an IP version */
    ADDR,    /* 4 or 16 octets */
    MAC,     /* a number of 48 bits; v[1] where v[0] is null */
    LIST,    /* repeated uint32, packed */
    AS_PATH  /* text as repeated uint32, packed */
};

enum { COLUMNS = 4, MAX_CELL = 24 /* octets that a cell of one value takes at most */ };

struct field {
    uint8_t number;
    uint8_t op;
    uint16_t f[COLUMNS]; /* FLOW_x + 1; 0: none */
};

#define F(column) FLOW_##column + 1

/* clang-format off */
static const struct field table[] = {
    {1, TYPE, {F(protocol_version)}},
    {3, RATE, {F(sampling_rate)}},
    {4, NUMBER, {F(sequence)}},
    {6, ADDR, {F(src_addr)}},
    {7, ADDR, {F(dst_addr)}},
    {9, ELSE, {F(bytes), F(bytes_out)}},
    {10, ELSE, {F(packets), F(packets_out)}},
    {11, ADDR, {F(exporter)}},
    {12, ADDR, {F(next_hop)}},
    {13, NUMBER, {F(peer_dst_as)}},
    {14, NUMBER, {F(src_as)}},
    {15, NUMBER, {F(dst_as)}},
    {16, NUMBER, {F(src_mask)}},
    {17, NUMBER, {F(dst_mask)}},
    {18, NUMBER, {F(in_if)}},
    {19, NUMBER, {F(out_if)}},
    {20, NUMBER, {F(proto)}},
    {21, NUMBER, {F(src_port)}},
    {22, NUMBER, {F(dst_port)}},
    {23, NUMBER, {F(tos)}},
    {24, NUMBER, {F(forwarding_status)}},
    {25, ELSE, {F(ttl), F(ttl_min)}},
    {26, NUMBER, {F(tcp_flags)}},
    {27, MAC, {F(src_mac), F(out_src_mac)}},
    {28, MAC, {F(dst_mac), F(out_dst_mac)}},
    {29, NUMBER, {F(vlan)}},
    {30, ETYPE, {F(ethertype), F(src_addr), F(dst_addr), F(ip_version)}},
    {31, NUMBER, {F(icmp_type)}},
    {32, NUMBER, {F(icmp_code)}},
    {33, NUMBER, {F(vlan)}},
    {34, NUMBER, {F(vlan_out)}},
    {35, NUMBER, {F(fragment_id)}},
    {36, NUMBER, {F(fragment_offset)}},
    {37, NUMBER, {F(flow_label)}},
    {38, SHIFTED, {F(fragment_flags)}},
    {39, NUMBER, {F(vrf_in)}},
    {40, NUMBER, {F(vrf_out)}},
    {41, NUMBER, {F(biflow_direction)}},
    {42, NUMBER, {F(direction)}},
    {70, NUMBER, {F(domain)}},
    {71, U32, {F(observation_point)}},
    {81, LIST, {F(mpls_labels)}},
    {82, ADDR, {F(mpls_top_addr)}},
    {100, ADDR, {F(bgp_next_hop)}},
    {102, AS_PATH, {F(dst_as_path)}},
    {110, TIME, {F(received)}},
    {111, TIME, {F(first), F(received)}},
    {112, TIME, {F(last), F(received)}},
};
/* clang-format on */

enum wire { VARINT = 0, LEN = 2 };

/* A field of the block at hand. */
struct active {
    uint8_t op, tag_len;
    uint16_t tag;              /* as it stands in the message, little-endian */
    const uint64_t *num;       /* of v[0] */
    const struct query_vec *v; /* v[0] */
    const struct query_vec *other;
    struct ship_pieces *pieces, *more; /* of texts */
};

struct cell {
    uint8_t op, tag_len;
    uint16_t tag;
    int16_t v[COLUMNS];
    int16_t pieces[2]; /* in state.pieces, -1: none */
};

struct state {
    struct cell cells[ARRAY_LEN(table)];
    struct active active[ARRAY_LEN(table)];
    size_t n_active;
    struct ship_pieces pieces[2 * ARRAY_LEN(table)];
    uint16_t tags[2 * ARRAY_LEN(table)]; /* of pieces: their arg */
    size_t n_pieces;
};

/* --- octets ------------------------------------------------------------------------------------- */

static inline uint8_t *put_varint(uint8_t *p, uint64_t v)
{
    while (v >= 0x80) {
        *p++ = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    *p++ = (uint8_t)v;
    return p;
}

static inline uint8_t *put_tag(uint8_t *p, const struct active *a)
{
    memcpy(p, &a->tag, 2);
    return p + a->tag_len;
}

/* The octets from `body` to end get their length in front of them, at `at`: where it takes another number of octets than was
 * left free for it they move. Returns the new end. */
static uint8_t *put_length(uint8_t *at, uint8_t *body, uint8_t *end)
{
    uint8_t length[10];
    size_t len = (size_t)(end - body), n = (size_t)(put_varint(length, len) - length);
    if (at + n != body)
        memmove(at + n, body, len);
    memcpy(at, length, n);
    return at + n + len;
}

static uint16_t tag_of(unsigned number, enum wire wire, uint8_t *len)
{
    uint8_t octets[2] = {0, 0};
    unsigned key = number << 3 | wire;
    if (key < 0x80) {
        octets[0] = (uint8_t)key;
        *len = 1;
    } else {
        octets[0] = (uint8_t)(key | 0x80);
        octets[1] = (uint8_t)(key >> 7);
        *len = 2;
    }
    uint16_t tag;
    memcpy(&tag, octets, 2);
    return tag;
}

/* Field as it stands in the message: tag, length, octets. arg: the tag. */
static void make_addr(const struct query_text *t, const void *arg, struct ship_piece *out)
{
    uint8_t octets[16], tag[2];
    unsigned n = ship_addr_octets(t->data, t->len, octets);
    if (!n)
        return;
    memcpy(tag, arg, 2);
    uint8_t *p = out->octets;
    *p++ = tag[0];
    if (tag[0] & 0x80)
        *p++ = tag[1];
    *p++ = (uint8_t)n;
    memcpy(p, octets, n);
    out->n = (uint8_t)n;
    out->len = (uint8_t)(p + n - out->octets);
}

static void make_mac(const struct query_text *t, const void *arg, struct ship_piece *out)
{
    uint8_t octets[6], tag[2];
    uint64_t v = 0;
    if (!ship_mac_octets(t->data, t->len, octets))
        return;
    for (size_t k = 0; k < 6; k++)
        v = v << 8 | octets[k];
    if (!v)
        return; /* the default value */
    memcpy(tag, arg, 2);
    uint8_t *p = out->octets;
    *p++ = tag[0];
    if (tag[0] & 0x80)
        *p++ = tag[1];
    out->n = 6;
    out->len = (uint8_t)(put_varint(p, v) - out->octets);
}

/* --- rows --------------------------------------------------------------------------------------- */

/* v1, v5 and v7 have the same fixed records; NETFLOW_V5 is the only one of them that goflow2 knows. */
static uint64_t type_of(uint64_t version)
{
    switch (version) {
    case 1:
    case 5:
    case 7:
        return 2;
    case 9:
        return 3;
    case 10:
        return 4;
    default:
        return 0;
    }
}

static uint64_t etype_of(const struct active *a, size_t i)
{
    if (a->num && a->num[i])
        return a->num[i];
    const struct ship_piece *s = a->pieces ? ship_piece_of(a->pieces, i) : NULL;
    if (!s && a->more)
        s = ship_piece_of(a->more, i);
    unsigned family = s                                  ? s->n == 4 ? 4 : 6
                      : a->other && a->other->num[i] < 7 ? (unsigned)a->other->num[i]
                                                         : 0;
    return family == 4 ? 0x800 : family == 6 ? 0x86dd : 0;
}

static uint64_t rate_of(uint64_t bits)
{
    double d;
    memcpy(&d, &bits, sizeof d);
    return d >= 0.5 && d < 0x1p63 ? (uint64_t)llround(d) : 0;
}

static uint64_t ns_of(const struct active *a, size_t i)
{
    int64_t us = 0;
    if (a->v && ship_has(a->v, i))
        us = (int64_t)a->v->num[i];
    else if (a->other && ship_has(a->other, i))
        us = (int64_t)a->other->num[i];
    return us > 0 && us <= INT64_MAX / 1000 ? (uint64_t)us * 1000 : 0;
}

/* Room for n octets more than a row without lists may take, at the place where p is. */
static uint8_t *more_room(base_buf *out, uint8_t *p, size_t n, size_t bound)
{
    out->len = (size_t)((char *)p - out->data);
    return (uint8_t *)base_buf_room(out, n + bound);
}

static uint8_t *put_list(base_buf *out, const struct active *a, size_t i, uint8_t *p, size_t bound)
{
    uint32_t from = a->v->starts[i], to = a->v->starts[i + 1];
    if (from >= to || !ship_has(a->v, i))
        return p;
    if (!(p = more_room(out, p, 16 + (size_t)(to - from) * 5, bound)))
        return NULL;
    uint8_t *at = put_tag(p, a), *end = at + 1;
    for (uint32_t k = from; k < to; k++)
        end = put_varint(end, a->v->num[k] & UINT32_MAX);
    return put_length(at, at + 1, end);
}

static uint8_t *put_path(base_buf *out, const struct active *a, size_t i, uint8_t *p, size_t bound)
{
    if (!ship_has(a->v, i))
        return p;
    const struct query_text *t = &a->v->dict[a->v->codes[i]];
    /* No number takes more octets than it has characters: 2097152 four, 128.0 too. */
    if (!(p = more_room(out, p, 16 + (size_t)t->len, bound)))
        return NULL;
    uint8_t *at = put_tag(p, a), *end = at + 1;
    const char *text = t->data, *stop = t->data + t->len;
    uint32_t as;
    int got;
    while ((got = ship_as_next(&text, stop, &as)) > 0)
        end = put_varint(end, as);
    return got < 0 || end == at + 1 ? p : put_length(at, at + 1, end);
}

static uint8_t *put_row(base_buf *out, const struct state *st, size_t i, uint8_t *p, size_t bound)
{
    const struct active *a = st->active, *end = a + st->n_active;
    for (; a < end; a++) {
        uint64_t v = 0;
        switch ((enum op)a->op) {
        case NUMBER:
            v = a->num[i];
            break;
        case ADDR: {
            const struct ship_piece *s = ship_piece_of(a->pieces, i);
            if (s) {
                memcpy(p, s->octets, MAX_CELL);
                p += s->len;
            }
            continue;
        }
        case TIME:
            v = ns_of(a, i);
            break;
        case ELSE:
            v = a->v && ship_has(a->v, i) ? a->v->num[i] : a->other ? a->other->num[i] : 0;
            break;
        case TYPE:
            v = type_of(a->num[i]);
            break;
        case RATE:
            v = rate_of(a->num[i]);
            break;
        case ETYPE:
            v = etype_of(a, i);
            break;
        case U32:
            v = a->num[i] <= UINT32_MAX ? a->num[i] : 0;
            break;
        case SHIFTED:
            v = a->num[i] >> 5;
            break;
        case MAC: {
            const struct query_vec *first = a->pieces ? a->pieces->v : NULL;
            const struct ship_piece *s = first && ship_has(first, i)
                                             ? ship_piece_of(a->pieces, i)
                                             : (a->more ? ship_piece_of(a->more, i) : NULL);
            if (s) {
                memcpy(p, s->octets, MAX_CELL);
                p += s->len;
            }
            continue;
        }
        case LIST:
            if (!(p = put_list(out, a, i, p, bound)))
                return NULL;
            continue;
        case AS_PATH:
            if (!(p = put_path(out, a, i, p, bound)))
                return NULL;
            continue;
        }
        if (v) {
            p = put_tag(p, a);
            p = put_varint(p, v);
        }
    }
    return p;
}

/* --- blocks ------------------------------------------------------------------------------------- */

static const struct query_vec *number_column(const struct query_block *b, int16_t column)
{
    return column >= 0 && ship_is_number(&b->vecs[column]) ? &b->vecs[column] : NULL;
}

/* The fields that any row of the block can have. */
static void find_active(struct state *st, const struct query_block *b)
{
    st->n_active = 0;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        const struct cell *c = &st->cells[i];
        struct active a = {.op = c->op, .tag_len = c->tag_len, .tag = c->tag};
        const struct query_vec *v = &b->vecs[c->v[0]];
        bool there;
        if (c->pieces[0] >= 0) {
            a.pieces = st->pieces[c->pieces[0]].v ? &st->pieces[c->pieces[0]] : NULL;
            a.more =
                c->pieces[1] >= 0 && st->pieces[c->pieces[1]].v ? &st->pieces[c->pieces[1]] : NULL;
        }
        if (c->op == ADDR) {
            there = a.pieces;
        } else if (c->op == MAC) {
            there = a.pieces || a.more;
        } else if (c->op == LIST) {
            a.v = v;
            there = ship_is_list(v) && v->num;
        } else if (c->op == AS_PATH) {
            a.v = v;
            there = ship_is_text(v);
        } else {
            a.v = number_column(b, c->v[0]);
            a.num = a.v ? a.v->num : NULL;
            a.other = number_column(b, c->op == ETYPE ? c->v[3] : c->v[1]);
            bool alone = c->op != ELSE && c->op != TIME && c->op != ETYPE;
            there = a.v || (!alone && (a.other || a.pieces || a.more));
        }
        if (there)
            st->active[st->n_active++] = a;
    }
}

static weir_status rows(ship_encoder *e, const struct query_block *b, size_t from, size_t to,
                        base_buf *out, size_t *ends, weir_err *err)
{
    struct state *st = e->state;
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        for (size_t k = 0; k < 2; k++) {
            int16_t at = st->cells[i].pieces[k];
            size_t column = (size_t)st->cells[i].v[st->cells[i].op == ETYPE ? k + 1 : k];
            if (at >= 0 && st->cells[i].op != ETYPE &&
                !ship_pieces_begin(&st->pieces[at], &b->vecs[column], from, to))
                return ship_no_memory(err);
        }
    find_active(st, b);
    size_t bound = (st->n_active + 2) * MAX_CELL;
    for (size_t base = from; base < to; base += SHIP_CHUNK) {
        size_t stop = to - base > SHIP_CHUNK ? base + SHIP_CHUNK : to;
        for (size_t k = 0; k < st->n_pieces; k++)
            ship_pieces_chunk(&st->pieces[k], base, stop);
        for (size_t i = base; i < stop; i++) {
            uint8_t *p = (uint8_t *)base_buf_room(out, bound);
            size_t begin = out->len;
            size_t skip = e->delimited ? 2 : 0; /* most messages have 128 to 16383 octets */
            p = p ? put_row(out, st, i, p + skip, bound) : NULL;
            if (!p)
                return ship_no_memory(err);
            if (e->delimited) {
                uint8_t *at = (uint8_t *)out->data + begin;
                p = put_length(at, at + skip, p);
            }
            out->len = (size_t)((char *)p - out->data);
            ends[i - from] = out->len;
        }
    }
    return WEIR_OK;
}

/* --- encoder ------------------------------------------------------------------------------------ */

/* Pieces of a column under a tag; those of ETYPE are the ones of the address fields. */
static int16_t add_pieces(struct state *st, uint16_t tag, ship_piece_make *make)
{
    size_t at = st->n_pieces++;
    st->tags[at] = tag;
    st->pieces[at].make = make;
    st->pieces[at].arg = &st->tags[at];
    return (int16_t)at;
}

static weir_status open(ship_encoder *e, const struct ship_encoder_options *o, weir_err *err)
{
    (void)o;
    struct state *st = calloc(1, sizeof *st);
    if (!st)
        return ship_no_memory(err);
    e->state = st;
    int16_t src = -1, dst = -1;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        const struct field *f = &table[i];
        struct cell *c = &st->cells[i];
        bool octets = f->op == ADDR || f->op == LIST || f->op == AS_PATH;
        *c = (struct cell){.op = f->op, .v = {-1, -1, -1, -1}, .pieces = {-1, -1}};
        c->tag = tag_of(f->number, octets ? LEN : VARINT, &c->tag_len);
        for (size_t k = 0; k < COLUMNS && f->f[k]; k++) {
            int column = ship_encoder_column(e, (enum flow_column_id)(f->f[k] - 1));
            if (column < 0)
                return ship_no_memory(err);
            c->v[k] = (int16_t)column;
        }
        if (f->op == ADDR)
            c->pieces[0] = add_pieces(st, c->tag, make_addr);
        for (size_t k = 0; k < 2 && f->op == MAC; k++)
            c->pieces[k] = add_pieces(st, c->tag, make_mac);
        if (f->f[0] == F(src_addr))
            src = c->pieces[0];
        if (f->f[0] == F(dst_addr))
            dst = c->pieces[0];
        if (f->op == ETYPE) {
            c->pieces[0] = src;
            c->pieces[1] = dst;
        }
    }
    return WEIR_OK;
}

static void done(ship_encoder *e)
{
    struct state *st = e->state;
    if (!st)
        return;
    for (size_t i = 0; i < st->n_pieces; i++)
        ship_pieces_done(&st->pieces[i]);
    free(st);
}

const struct ship_encoder_kind *ship_flowmessage_kind(void)
{
    static const struct ship_encoder_kind kind = {open, rows, done};
    return &kind;
}
