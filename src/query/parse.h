/* parse -- what the files of the filter's parser share: tokens, the parser's state, how it says what is wrong. */
#ifndef QUERY_PARSE_H
#define QUERY_PARSE_H

#include "query/filter.h"
#include "query/words.h"

enum {
    QUERY_MAX_TEXT = 4 << 20,     /* octets of a filter, files it includes as well */
    QUERY_MAX_DEPTH = 1024,       /* parentheses in each other */
    QUERY_MAX_INCLUDES = 8,       /* files in each other */
    QUERY_MAX_CONDITIONS = 100000 /* on single fields, after "ip A" has become two */
};

enum query_token_kind {
    QUERY_T_END,
    QUERY_T_WORD,
    QUERY_T_STRING, /* at and len without the quotes */
    QUERY_T_OPEN,
    QUERY_T_CLOSE,
    QUERY_T_LIST,     /* [ */
    QUERY_T_LIST_END, /* ] */
    QUERY_T_COMMA,
    QUERY_T_NOT, /* ! */
    QUERY_T_AND, /* && */
    QUERY_T_OR,  /* || */
    QUERY_T_EQ,
    QUERY_T_NE,
    QUERY_T_LT,
    QUERY_T_LE,
    QUERY_T_GT,
    QUERY_T_GE,
    QUERY_T_MATCH,   /* ~ */
    QUERY_T_NO_MATCH /* !~ */
};

struct query_token {
    const char *at;
    uint32_t len;
    uint16_t source; /* index into query_tokens.sources */
    uint8_t kind;
};

/* A text that tokens come from. */
struct query_source {
    const char *name; /* of an included file; NULL: the filter itself */
    const char *text;
    size_t len;
};

struct query_tokens {
    struct query_token *list; /* n, the last is END; malloc'ed */
    size_t n, cap;
    struct query_source *sources;
    size_t n_sources;
    size_t octets; /* of all texts */
};

struct query_parser {
    query_arena *arena;
    const struct query_filter_options *options;
    struct query_tokens tokens;
    const struct query_token *t; /* the next one */
    struct query_error *where;
    weir_err *err;
    size_t n_conditions;
    bool negative; /* what is being read stands below an odd number of "not" */
};

/* All tokens of text, those of included files in their place. WEIR_EFORMAT, WEIR_ELIMIT, WEIR_EIO, WEIR_ENOMEM. */
weir_status query_lex(struct query_parser *p, const char *text, size_t len);

/* The parser stops at t[n] tokens: says so, with the place. expected: may be NULL. Returns status. */
weir_status query_wrong(struct query_parser *p, weir_status status, const struct query_token *t,
                        size_t n, const char *expected, const char *fmt, ...)
    __attribute__((format(printf, 6, 7)));
/* The same of what stands there, as "expected X, found Y". */
weir_status query_expected(struct query_parser *p, const struct query_token *t,
                           const char *expected);
weir_status query_no_memory(struct query_parser *p);

/* What a token looks like in a message, at most 40 octets of it, into out[64]. */
const char *query_token_text(const struct query_token *t, char *out);

static inline struct query_word query_token_word(const struct query_token *t)
{
    return (struct query_word){t->at, t->len};
}

static inline bool query_token_is(const struct query_token *t, const char *word)
{
    return t->kind == QUERY_T_WORD && query_word_is(query_token_word(t), word);
}

/* Fields that a condition is on, and how it is to be read. */
struct query_subject {
    struct query_field fields[QUERY_MOST_REFS];
    size_t n;
    bool net;     /* a prefix or a mask must follow */
    bool ms;      /* values are milliseconds, the field has microseconds */
    uint8_t part; /* of the domain: 1 engine type, 2 engine id; 0 the whole field */
};

/* The operator and the value at p->t, as a condition on the subject. */
weir_status query_condition(struct query_parser *p, const struct query_subject *s,
                            struct query_expr **out);

/* Whether an operator begins at t. */
bool query_is_operator(const struct query_token *t);

/* New nodes, NULL: out of memory. */
struct query_expr *query_expr_new(struct query_parser *p, enum query_op op);
struct query_expr *query_expr_on(struct query_parser *p, enum query_op op,
                                 const struct query_field *f);
/* items are copied; one item: itself. */
struct query_expr *query_expr_join(struct query_parser *p, enum query_op op,
                                   struct query_expr *const *items, size_t n);
struct query_expr *query_expr_not(struct query_parser *p, struct query_expr *item);

/* Compiled, the arena's; NULL: why says so, or why is empty for want of memory. */
void *query_arena_regex(query_arena *a, const char *pattern, bool ignore_case, char *why,
                        size_t cap);

#endif
