/* expr -- a filter as a tree of conditions on fields. filter.h makes it from text, run.h evaluates it. */
#ifndef QUERY_EXPR_H
#define QUERY_EXPR_H

#include "query/field.h"

/* On a list a condition holds when it holds for any item. An extra column's field.kind says what the value given is:
 * U64, S64 (negative), F64 or TEXT, whatever its type in a file; UNKNOWN where there is no value (PRESENT, SAME). */
enum query_op {
    QUERY_OP_TRUE,
    QUERY_OP_FALSE,
    QUERY_OP_AND, /* of items[n] */
    QUERY_OP_OR,
    QUERY_OP_NOT, /* of items[0]. A condition on a null value is false; its NOT is true, as in nfdump */
    /* conditions on `field` */
    QUERY_OP_EQ, /* number */
    QUERY_OP_NE, /* not null and different */
    QUERY_OP_LT,
    QUERY_OP_LE,
    QUERY_OP_GT,
    QUERY_OP_GE,
    QUERY_OP_IN,        /* numbers[n_numbers], sorted, of inclusive ranges */
    QUERY_OP_BITS,      /* (value & number) == number */
    QUERY_OP_PREFIX,    /* address in one of prefixes[n_prefixes] */
    QUERY_OP_TEXT,      /* equals one of texts[n_texts] */
    QUERY_OP_CONTAINS,  /* texts[0] occurs in it */
    QUERY_OP_REGEX,     /* texts[0]: POSIX extended, compiled by filter.h into `regex` */
    QUERY_OP_PRESENT,   /* is not null */
    QUERY_OP_SAME,      /* equals field `other` */
    QUERY_OP_NOT_BELOW, /* number >= that of field `other` */
    QUERY_OP_NOT_ABOVE  /* number <= that of field `other` */
};

struct query_range {
    uint64_t low, high; /* for signed and time fields: as int64_t bits, ordered as signed */
};

struct query_prefix {
    uint8_t addr[16]; /* network order; IPv4 in the first 4; host bits are zero */
    uint8_t family;   /* 4 or 6 */
    uint8_t bits;
};

struct query_expr {
    enum query_op op;
    struct query_field field, other;
    union {
        uint64_t number; /* for a U64 field; int64_t bits for S64 and TIME */
        double real;     /* for an F64 field */
    };
    struct query_expr **items;
    struct query_range *numbers;
    struct query_prefix *prefixes;
    struct query_text {
        const char *data;
        uint32_t len;
    } * texts;
    size_t n_items, n_numbers, n_prefixes, n_texts;
    void *regex;       /* regex_t * */
    bool ignore_case;  /* of TEXT, CONTAINS */
    uint32_t from, to; /* columns of the text it came from */
};

#endif
