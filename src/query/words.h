/* words -- the vocabulary of queries: which words name which fields, which names stand for which numbers. */
#ifndef QUERY_WORDS_H
#define QUERY_WORDS_H

#include "query/field.h"

/* A field as the tables have it. */
struct query_ref {
    bool derived;
    uint8_t n;   /* query_field.n */
    uint16_t id; /* enum flow_column_id or enum query_derived */
};
enum { QUERY_MOST_REFS = 4, QUERY_MOST_WORDS = 8 /* of a phrase */ };

struct query_field query_ref_field(struct query_ref r);

/* What stands behind a phrase of the filter language. */
enum query_act {
    QUERY_A_FIELDS,  /* operator and value follow; several fields are or-ed */
    QUERY_A_NET,     /* as FIELDS, a prefix or a mask must follow */
    QUERY_A_PORT,    /* as FIELDS, or "in nat pblock" */
    QUERY_A_FLAGS,   /* as FIELDS; implies TCP */
    QUERY_A_ICMP,    /* as FIELDS; implies ICMP */
    QUERY_A_MS,      /* as FIELDS; the value is in milliseconds, the field in microseconds */
    QUERY_A_ENGINE,  /* engine type or id, halves of the domain: ref.n 1 or 0 */
    QUERY_A_FWEVENT, /* "asa event": names, "denied REASON" */
    QUERY_A_DENIED,  /* "asa denied REASON" */
    QUERY_A_LABEL,   /* "mpls": labelN, expN, eos, any */
    QUERY_A_ANY,
    QUERY_A_FAMILY,   /* ref.n is 4 or 6 */
    QUERY_A_TTLEQUAL, /* no value */
    QUERY_A_MISSING   /* nobody has that data: why */
};

struct query_phrase {
    const char *words; /* lower case, single blanks */
    uint8_t act;       /* enum query_act */
    uint8_t n_refs;
    struct query_ref refs[QUERY_MOST_REFS];
    const char *why; /* of MISSING */
};

/* A word of the input. */
struct query_word {
    const char *at;
    size_t len;
};

bool query_word_is(struct query_word w, const char *text); /* ignoring case */

/* The longest phrase that w[n] begins with; *used words of it. NULL: none; then *used is how many words still fit the
 * beginning of one. Words of the columns' filter entries count as well: *out is filled. net: "net" instead of "ip". */
bool query_phrase_find(const struct query_word *w, size_t n, struct query_phrase *out, size_t *used,
                       bool *net);

/* What may follow the first `used` words of w: "ip, port, as, ..." */
void query_phrase_next(const struct query_word *w, size_t used, char *out, size_t cap);

/* A field's short name: of -s and -A. */
struct query_key {
    const char *name;
    uint8_t n_refs; /* above 1: either of them */
    struct query_ref refs[QUERY_MOST_REFS];
    const char *why; /* no refs: why there is none */
};
const struct query_key *query_key_find(struct query_word w);

/* Word of the input that names a known field (column, derived, key of one field); ignoring case. */
bool query_word_field(struct query_word w, struct query_field *out);

/* The nearest of all known words into out, with a NUL; 0: none is near. fields: only names of fields and keys. */
size_t query_word_near(struct query_word w, bool fields, char *out, size_t cap);

/* Names of numbers: protocols, forwarding states, events, ... */
struct query_names {
    const char *what; /* "protocol" */
    const struct query_name {
        const char *name;
        uint16_t number;
    } * names;
    size_t n;
};
/* Of a field's values, NULL: they have no names. */
const struct query_names *query_field_names(const struct query_field *f);
/* -1: no such name. */
int query_name_number(const struct query_names *names, struct query_word w);
/* "tcp"; NULL: it has no name. */
const char *query_proto_name(unsigned number);

/* TCP flags of "SAX", -1: a letter that is none. */
int query_flags_number(struct query_word w);
/* The letters of number, CEUAPRSF order; out[9]. */
void query_flags_text(unsigned number, char *out);

#endif
