/* encode_in -- what the files of encode.c share: a format is a kind, most of them a table of fields that is turned into
 * cells when an encoder is made; addresses and MACs of a dictionary become octets once a block. */
#ifndef SHIP_ENCODE_IN_H
#define SHIP_ENCODE_IN_H

#include "parquet/parquet.h"
#include "ship/encode.h"

enum { SHIP_CHUNK = 256 /* rows between two looks at large dictionaries */ };

struct ship_encoder_kind {
    /* Fill in fields and state. WEIR_ENOMEM. */
    weir_status (*open)(ship_encoder *e, const struct ship_encoder_options *o, weir_err *err);
    weir_status (*rows)(ship_encoder *e, const struct query_block *b, size_t from, size_t to,
                        base_buf *out, size_t *ends, weir_err *err);
    void (*free)(ship_encoder *e); /* state, which may be NULL */
};

struct ship_encoder {
    const struct ship_encoder_kind *kind;
    struct query_field *fields; /* n_fields, asked of the block; NULL: the kind says which */
    size_t n_fields, cap_fields;
    const struct query_field *borrowed; /* the kind's own list */
    char *names;                        /* of the extra columns */
    struct query_field *extras;         /* n_extras, names in `names` */
    size_t n_extras;
    bool delimited;
    void *state;
};

const struct ship_encoder_kind *ship_flowmessage_kind(void);
const struct ship_encoder_kind *ship_goflow2_kind(void);
const struct ship_encoder_kind *ship_json_kind(void);
const struct ship_encoder_kind *ship_ecs_kind(void);

/* The block's column of a field, added when new; -1: out of memory. */
int ship_encoder_field(ship_encoder *e, const struct query_field *f);
int ship_encoder_column(ship_encoder *e, enum flow_column_id id);

weir_status ship_no_memory(weir_err *err);

/* --- values ----------------------------------------------------------------------------------- */

/* IANA's keyword of an IP protocol ("TCP", "IPv6-ICMP"); NULL: it has none. */
const char *ship_proto_name(uint64_t proto);

/* An address as text: 4 or 16 octets at out, which has 16; 0: it is none (or has a prefix length or a zone). */
unsigned ship_addr_octets(const char *text, size_t len, uint8_t *out);
/* Six pairs of hex digits with : or - between them; false: it is no MAC. */
bool ship_mac_octets(const char *text, size_t len, uint8_t *out);

/* What a row has in a column. v->kind is QUERY_UNKNOWN where nothing is there at all. */
static inline bool ship_has(const struct query_vec *v, size_t i)
{
    return !v->valid || parquet_bit(v->valid, i);
}

static inline bool ship_is_list(const struct query_vec *v)
{
    return v->kind != QUERY_UNKNOWN && v->starts && (v->num || (v->codes && v->n_dict));
}

static inline bool ship_is_text(const struct query_vec *v)
{
    return v->kind != QUERY_UNKNOWN && !v->starts && v->codes && v->n_dict;
}

static inline bool ship_is_number(const struct query_vec *v)
{
    return v->kind != QUERY_UNKNOWN && !v->starts && !v->codes && v->num;
}

/* What a text became: octets for the message, all 24 of which may be copied. */
struct ship_piece {
    uint8_t octets[24];
    uint8_t len; /* of them that count; 0: nothing is sent */
    uint8_t n;   /* octets of the address in it: 4, 16, 6; 0: it is none */
    uint8_t pad[6];
};

/* A text into its piece; *out is zero before. */
typedef void ship_piece_make(const struct query_text *t, const void *arg, struct ship_piece *out);

/* Raw octets of an address, of a MAC; arg unused. */
ship_piece_make ship_piece_addr, ship_piece_mac;

/* The pieces of a column: one for each entry of its dictionary when that is not larger than the rows that are asked for, else
 * one for each row of a chunk. Zero-initialise to start; memory is kept from block to block. */
struct ship_pieces {
    ship_piece_make *make;
    const void *arg;
    const struct query_vec *v; /* NULL: nothing is there */
    struct ship_piece *items;
    size_t cap;
    bool whole;  /* items are those of the dictionary */
    size_t base; /* else: row of items[0] */
};

/* Begin with rows [from, to) of a column. False: out of memory. */
bool ship_pieces_begin(struct ship_pieces *p, const struct query_vec *v, size_t from, size_t to);
/* Make ready rows [from, to), at most SHIP_CHUNK of them. */
void ship_pieces_chunk(struct ship_pieces *p, size_t from, size_t to);
void ship_pieces_done(struct ship_pieces *p);

/* The piece of row i, of the chunk at hand; NULL: the row has nothing to send. */
static inline const struct ship_piece *ship_piece_of(const struct ship_pieces *p, size_t i)
{
    if (!p->v || !ship_has(p->v, i))
        return NULL;
    const struct ship_piece *s = &p->items[p->whole ? p->v->codes[i] : i - p->base];
    return s->len ? s : NULL;
}

/* AS numbers of a path as text ("64496 64497", also with commas or _, and 1.10): the next one from *at on. 1: *as is one;
 * 0: the end; -1: it is no such path (sets, words, numbers beyond 32 bits). */
int ship_as_next(const char **at, const char *end, uint32_t *as);

/* --- JSON of nested objects ------------------------------------------------------------------- */

enum ship_tree_op {
    SHIP_TREE_OPEN,      /* "name":{ ... up to CLOSE; left out when nothing is in it */
    SHIP_TREE_OPEN_WHEN, /* the same for rows whose v[0] is arg */
    SHIP_TREE_CLOSE,
    SHIP_TREE_CONST,     /* text: a JSON value that every row has */
    SHIP_TREE_NUMBER,    /* v[0], else v[1] */
    SHIP_TREE_QUOTED,    /* a number as text */
    SHIP_TREE_SHIFTED,   /* v[0] >> arg */
    SHIP_TREE_RATE,      /* rounded to an integer */
    SHIP_TREE_TIME_NS,   /* v[0], else v[1]: nanoseconds since 1970 */
    SHIP_TREE_TIME,      /* v[0], else v[1]: RFC 3339, UTC, microseconds */
    SHIP_TREE_DURATION,  /* v[0] first, v[1] last: nanoseconds */
    SHIP_TREE_SUM,       /* v[0] + v[1]; one may be missing */
    SHIP_TREE_PORT,      /* v[0], unless v[1] is ICMP */
    SHIP_TREE_ADDR,      /* as text; left out when it is none */
    SHIP_TREE_ADDR_LIST, /* v[0] as a list of one */
    SHIP_TREE_ADDRS,     /* the different ones of v[0..] as a list */
    SHIP_TREE_ADDR_PORT, /* "192.0.2.1:2055", "[2001:db8::1]:2055"; v[1] port */
    SHIP_TREE_NET,       /* v[0] cut to v[1] bits, with /bits */
    SHIP_TREE_MAC,       /* v[0], else v[1]: 00:00:5e:00:53:01 */
    SHIP_TREE_MAC_UPPER, /* 00-00-5E-00-53-01 */
    SHIP_TREE_LOWER,     /* text in lower case (ASCII) */
    SHIP_TREE_VERSION,   /* goflow2's name of the export protocol */
    SHIP_TREE_ETYPE,     /* v[0] ethertype, else of v[1] and v[2] addresses, v[3] version: name */
    SHIP_TREE_PROTO,     /* IANA's name, goflow2's words where there is none */
    SHIP_TREE_TRANSPORT, /* IANA's name in lower case */
    SHIP_TREE_FAMILY,    /* ipv4, ipv6: as ETYPE */
    SHIP_TREE_DIRECTION, /* ingress, egress, unknown */
    SHIP_TREE_COMMUNITY, /* of v[0], v[1] addresses, v[2], v[3] ports, v[4] proto, v[5], v[6] ICMP type and code */
    SHIP_TREE_AS_PATH, /* text as a list of numbers */
    SHIP_TREE_ANY      /* whatever is there, lists too */
};

enum { SHIP_TREE_COLUMNS = 7, SHIP_TREE_DEPTH = 4 };

struct ship_tree_row {
    const char *name; /* key; NULL: of CLOSE */
    uint8_t op;
    uint8_t arg;
    const char *text;
    uint16_t f[SHIP_TREE_COLUMNS]; /* FLOW_x + 1; 0: none */
};

/* The tree is the encoder's state. narrow: for readers that refuse an object with a number that is no int64_t or no finite
 * double; such numbers are left out. */
weir_status ship_tree_new(ship_encoder *e, bool narrow, weir_err *err);
/* The objects of a table (n rows), behind what there is. */
weir_status ship_tree_add(ship_encoder *e, const struct ship_tree_row *rows, size_t n,
                          weir_err *err);
/* One row for a field that has no row in a table. name is copied. */
weir_status ship_tree_add_field(ship_encoder *e, enum ship_tree_op op, const char *name,
                                const struct query_field *f, weir_err *err);
weir_status ship_tree_rows(ship_encoder *e, const struct query_block *b, size_t from, size_t to,
                           base_buf *out, size_t *ends, weir_err *err);
void ship_tree_free(ship_encoder *e);

/* Community id v1 of a flow, without "1:" and without end: 28 characters at out. n: octets of the addresses, 4 or 16. ICMP:
 * ports are type and code. */
void ship_community_id(const uint8_t *src, const uint8_t *dst, unsigned n, uint8_t proto,
                       uint16_t src_port, uint16_t dst_port, char *out);

#endif
