/* ipfix_in -- what ipfix_columns.c and ipfix_message.c share: a cell is an element that a column of a row may become. */
#ifndef SHIP_IPFIX_IN_H
#define SHIP_IPFIX_IN_H

#include "ship/encode_in.h"
#include "ship/ipfix_message.h"

/* How a value is written. */
enum ipfix_op {
    IPFIX_NUM, /* len octets */
    IPFIX_BOOL,
    IPFIX_F32,
    IPFIX_F64,
    IPFIX_PIECE, /* an address or MAC of len octets */
    IPFIX_TEXT,  /* text or octets, of variable length */
    IPFIX_S,     /* times, RFC 7011 sections 6.1.7 to 6.1.10 */
    IPFIX_MS,
    IPFIX_US,
    IPFIX_NS,
    IPFIX_THOUSANDTH,
    IPFIX_RATE,       /* 1 of so many packets */
    IPFIX_RATE_TAKEN, /* so many packets in a row are looked at ... */
    IPFIX_RATE_SPACE, /* ... and so many are not */
    IPFIX_LABEL       /* MPLS label, the arg-th from 0 */
};

/* Which rows have it. */
enum ipfix_when {
    IPFIX_VALID,
    IPFIX_FITS, /* unsigned, into len octets */
    IPFIX_FITS_SIGNED,
    IPFIX_HAS_PIECE, /* an address or MAC of len octets */
    IPFIX_HAS_TEXT,
    IPFIX_HAS_TIME, /* that is not before 1970 */
    IPFIX_COARSE,   /* a time, where a and b are whole milliseconds */
    IPFIX_FINE,     /* a time, where one of them is not */
    IPFIX_FAMILY,   /* a has an address of IPv6 (arg 16), or has none (arg 4) */
    IPFIX_ICMP,     /* of ICMP for IPv6 (arg 16) or IPv4 (arg 4): a is the protocol, b an address */
    IPFIX_WHOLE,    /* a rate that is an integer of 32 bits */
    IPFIX_BROKEN,   /* another rate */
    IPFIX_SMALL,    /* up to 255 */
    IPFIX_LARGE,
    IPFIX_HAS_LABEL,
    IPFIX_WITHOUT,  /* a has nothing */
    IPFIX_THOUSANDS /* a multiple of 1000 that fits when divided */
};

enum { IPFIX_MAX_CELLS = 1024, IPFIX_WORDS = IPFIX_MAX_CELLS / 64 };

struct ipfix_cell {
    uint32_t pen; /* 0: IANA */
    uint16_t id;
    uint8_t len; /* octets, 0: variable */
    uint8_t op, when, arg;
    int16_t column, a, b; /* of the block; -1: none */
    int16_t pieces,
        family; /* of column, and of a or b where they are addresses: in ipfix_columns.pieces, -1: none */
    uint8_t instead; /* group whose cells do not count where this one does; 0: none */
    uint8_t group;   /* its own, 0: none */
};

struct ipfix_pieces {
    struct ship_pieces p;
    int16_t column;
};

struct ipfix_columns {
    struct query_field *fields; /* n_fields, of the block */
    size_t n_fields, cap_fields;
    char *names; /* of the extra columns */
    struct ipfix_cell *cells;
    size_t n_cells;
    struct ipfix_pieces *pieces;
    size_t n_pieces;
    int16_t domain;    /* column */
    int16_t unsent[8]; /* columns that no element can carry; n_unsent */
    size_t n_unsent;
};

/* left_out is called for extra columns that no element can carry. WEIR_ENOMEM: c is to be freed all the same. */
weir_status ipfix_columns_init(struct ipfix_columns *c, const struct query_field *extras,
                               size_t n_extras, void (*left_out)(void *user, const char *name),
                               void *user, weir_err *err);
void ipfix_columns_done(struct ipfix_columns *c);

#endif
