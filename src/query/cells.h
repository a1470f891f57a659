/* cells -- rows of text from the columns of a block. A program is a list of cells; a cell is literal text and, behind
 * it, the value of a column (or of several: an address with its port) in one form. fmt:, csv and JSON rows are all such
 * programs, so that one tight loop serves them. What a block has no value for at all is left out of the loop. */
#ifndef QUERY_CELLS_H
#define QUERY_CELLS_H

#include "base/buf.h"
#include "query/run.h"

enum { QUERY_CELL_FIELDS = 6 };

/* How a value is written. v[0] is the value unless other fields are named. Numbers without a value count as 0. */
enum query_cell_op {
    QUERY_CELL_TEXT_ONLY,   /* the literal alone */
    QUERY_CELL_NUMBER,      /* unsigned */
    QUERY_CELL_SIGNED,      /* int64_t */
    QUERY_CELL_REAL,        /* double; NaN and infinities as text */
    QUERY_CELL_BOOL,        /* true or false */
    QUERY_CELL_SCALED,      /* 999999, 1.0 M, 12.3 G; plain with -N */
    QUERY_CELL_HEX,         /* 0x and `arg` digits */
    QUERY_CELL_TIME,        /* 2026-11-22 21:05:00.123 */
    QUERY_CELL_TIME_T,      /* the same with T */
    QUERY_CELL_TIME_GMT,    /* as TIME in UTC */
    QUERY_CELL_TIME_SECOND, /* 2026-11-22 21:05:00 */
    QUERY_CELL_TIME_RAW,    /* 1795404041.669 */
    QUERY_CELL_TIME_MS,     /* 1795404041669 */
    QUERY_CELL_TIME_UTC,    /* 2026-11-22T21:05:00.123456Z */
    QUERY_CELL_DURATION, /* v[0] first, v[1] last: 00:00:01.005,  2d 23:59:59.999; as SECONDS with -N */
    QUERY_CELL_SECONDS,    /* v[0] first, v[1] last: 1.005 */
    QUERY_CELL_MILLIS,     /* microseconds as 0.000 milliseconds */
    QUERY_CELL_PROTO,      /* TCP; the number with -N */
    QUERY_CELL_PROTO_NAME, /* TCP always */
    QUERY_CELL_FLAGS,      /* ...AP.SF */
    QUERY_CELL_ADDR,       /* shortened to 16 characters unless -6; 0.0.0.0 when missing */
    QUERY_CELL_ADDR_PORT, /* v[1] port, v[2] proto, v[3] icmp_type, v[4] icmp_code: 8.0; arg & 1: with "(CC)" of v[5] */
    QUERY_CELL_ADDR_GEO, /* v[1] country */
    QUERY_CELL_PORT,     /* v[1] proto, v[2] icmp_type, v[3] icmp_code: 443, 8.0 */
    QUERY_CELL_NET,      /* v[1] mask: 192.0.2.0/24 */
    QUERY_CELL_NET_ADDR, /* v[1] mask: 192.0.2.0, "" without */
    QUERY_CELL_PREFIX,   /* the address of a text with /length */
    QUERY_CELL_MAC,
    QUERY_CELL_MPLS,     /* v[0] labels, v[1] exp, v[2] eos: label `arg` of the stack: 12345-5-0 */
    QUERY_CELL_MPLS_ALL, /* ten of them */
    QUERY_CELL_ICMP_TYPE, /* v[0] icmp_type, v[1] icmp_code, else v[2] dst_port where v[4] proto is ICMP */
    QUERY_CELL_ICMP_CODE,
    QUERY_CELL_DIRECTION, /* I, E */
    QUERY_CELL_EVENT,     /* v[0] fw_event, v[1] nat_event */
    QUERY_CELL_XEVENT,
    QUERY_CELL_NAT_EVENT_NAME,
    QUERY_CELL_END_REASON,
    QUERY_CELL_VERSION, /* v[1] fw_event, v[2] nat_event: Nv9, EVT9 */
    QUERY_CELL_ENGINE,  /* domain as type/id */
    QUERY_CELL_ACL,     /* arg: character between the three ids */
    QUERY_CELL_APP_ID,  /* 13..453 */
    QUERY_CELL_SAMPLED, /* rate above 1: 1, else 0 */
    QUERY_CELL_KIND,    /* v[0] fw_event, v[1] nat_event: FLOW, EVENT */
    QUERY_CELL_ROW,     /* number of the row in the output, from 1 */
    QUERY_CELL_TEXT,    /* for a terminal: control characters as '?' */
    QUERY_CELL_ANY_JSON,
    QUERY_CELL_ANY_CSV,
    QUERY_CELL_ANY_TEXT /* whatever the column holds, in its own form */
};

enum query_cell_when {
    QUERY_CELL_ALWAYS,
    QUERY_CELL_PRESENT, /* v[0] has a value */
    QUERY_CELL_SECOND,  /* v[0] and v[1] have one */
    QUERY_CELL_UNLESS,  /* v[0] has one, v[1] has none */
    QUERY_CELL_LABELS,  /* v[0] is a list of at least `arg` items */
    QUERY_CELL_PORTS,   /* v[0] has one, and v[4] (proto) is not ICMP */
    QUERY_CELL_ICMP,    /* v[4] is ICMP; or v[4] is null, and v[0] (ICMP_CODE: v[1]) is not */
    QUERY_CELL_FAMILY   /* v[0] has a value; lit or lit6 by its family */
};

/* In arg of ADDR, ADDR_PORT and ADDR_GEO: v[0] is a prefix, its address is shown. */
enum { QUERY_CELL_CUT = 2 };

struct query_cell {
    uint8_t op, when;
    uint8_t width; /* at least so many columns */
    bool left;     /* aligned left, else right */
    bool quote;    /* between quotation marks */
    uint16_t arg;
    int16_t v[QUERY_CELL_FIELDS]; /* columns of the block; -1: none */
    uint32_t lit_len, lit6_len;
    const char *lit, *lit6; /* in the arena */
    const char *missing;    /* written instead of a value that is not there; NULL: as 0 */
};

struct query_program {
    struct query_cell *cells;
    size_t n, cap;
    struct query_field *fields; /* of the result */
    size_t n_fields, cap_fields;
    base_buf lit; /* for the next cell */
    bool failed;  /* out of memory */
};

void query_program_done(struct query_program *p);
/* The column of f in the result, added when new; -1: out of memory (p is failed). */
int query_program_field(struct query_program *p, const struct query_field *f);
/* Literal text in front of the next cell. */
void query_program_lit(struct query_program *p, const char *text, size_t len);
/* Literal text in the arena, with room behind it so that it may be copied in whole words; NULL: out of memory. */
const char *query_literal(query_arena *a, const char *text, size_t len);
/* Add a cell: takes the literal text gathered so far. */
void query_program_cell(struct query_program *p, query_arena *a, struct query_cell c);

/* Texts of local time, by the minute. */
struct query_clock {
    bool utc;
    struct {
        int64_t minute;
        char text[20]; /* "2026-11-22 21:05:" */
    } slots[64];
};

/* "2026-11-22 21:05:00.123": microseconds since 1970 as ms digits, local or UTC. 23 octets at out. */
void query_clock_text(struct query_clock *c, int64_t us, char *out);

struct query_writer {
    base_buf *out;
    bool plain, full_ipv6;
    struct query_clock clock, gmt;
    char flags[256][8];
    uint64_t rows;        /* written so far */
    char digits[1001][4]; /* 000 to 999 */
    /* of the block */
    struct query_view *views;
    struct query_active *active;
    size_t n_rows, n_views, cap_views, n_active, cap_active, bound;
};

void query_writer_init(struct query_writer *w, base_buf *out, bool plain, bool full_ipv6, bool utc);
void query_writer_done(struct query_writer *w);

/* Prepare for a block. WEIR_ENOMEM. */
weir_status query_writer_block(struct query_writer *w, const struct query_program *p,
                               const struct query_block *b, weir_err *err);
/* Row i, appended to out; its literal texts included. WEIR_ENOMEM. */
weir_status query_writer_row(struct query_writer *w, size_t i, weir_err *err);

/* 12.3 M; width 0: no padding. Returns the length; out holds 40. */
size_t query_scaled_text(char *out, uint64_t v, bool plain);
/* Name of a protocol as nfdump abbreviates it ("TCP", "ICMP6"); NULL: none. */
const char *query_proto_short(unsigned proto);
/* Text of a duration as %td has it, without padding; out holds 48. */
size_t query_duration_text(char *out, uint64_t ms, bool plain);
/* An address as tables have it: longer than 16 characters as first 7, "..", last 7. out holds 48. Returns the length. */
size_t query_addr_short(char *out, const char *text, size_t len, bool full);
/* text[len] without what a terminal would obey, appended. */
void query_text_safe(base_buf *out, const char *text, size_t len);

#endif
