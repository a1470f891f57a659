/* tokens -- nfdump's format tokens (%ts, %sap, ...) and the named formats made of them. One table serves fmt:, csv:,
 * the columns of -A and `weir fields`. */
#ifndef QUERY_TOKENS_H
#define QUERY_TOKENS_H

#include "query/cells.h"

enum {
    QUERY_TOKEN_DERIVED = 0x1000, /* in token.f: QUERY_D_x + this; else FLOW_x + 1; 0: none */
    QUERY_TOKEN_LEFT = 1,         /* in token.align: aligned left */
    QUERY_TOKEN_ADDR = 2,         /* holds an address: wider with -6 */
    QUERY_IPV6_MORE = 23          /* by so much */
};

struct query_token {
    const char *name; /* without the % */
    const char
        *header;     /* in a table; its length is the width of the column unless a cell is wider */
    const char *csv; /* header in CSV; NULL: the token is for tables only */
    const char *help;
    uint8_t op; /* in a table */
    uint8_t csv_op;
    uint8_t width;
    uint8_t align; /* QUERY_TOKEN_LEFT, QUERY_TOKEN_ADDR */
    uint16_t arg;
    uint16_t f[QUERY_CELL_FIELDS];
    const char *missing;     /* written instead of a value that is not there */
    const char *unavailable; /* why there is no such data; the rest is then unused */
};

const struct query_token *query_tokens(void); /* name NULL ends it */
const struct query_token *query_token_find(const char *name, size_t len);
/* The field that f[k] names. */
struct query_field query_token_field(const struct query_token *t, size_t k);
/* The first token that shows this field alone; NULL: none. */
const struct query_token *query_token_of_field(const struct query_field *f);

/* Tokens of a named format ("line"), NULL: no such format. */
const char *query_format_tokens(const char *name, size_t len);
/* "line, long, extended, ..." */
void query_format_names(base_buf *out);

/* What is asked of a format string. */
struct query_token_use {
    query_arena *arena;
    bool full_ipv6;
    /* Which fields the result has a value for: NULL: all. Others are left out and count as missing. */
    bool (*has)(void *user, const struct query_field *f);
    void *user;
    const struct query_field *keys; /* of the groups, n_keys */
    size_t n_keys;
};

/* The column of f in the result, added when new: the key of that name where there is one. -1: it has none. */
int query_token_index(const struct query_token_use *use, struct query_program *p,
                      const struct query_field *f);

/* "%ts %td %pr ..." into cells, and the header line (without its end) appended to header. %line and the like are put
 * in place; %{name} is any field. WEIR_EFORMAT. */
weir_status query_tokens_text(const struct query_token_use *use, const char *format,
                              struct query_program *p, base_buf *header, weir_err *err);

/* A column more of a table: a token, or any field under its own name. key: the token's field with its arguments, such as
 * the span of a time; NULL: none. */
void query_token_table(const struct query_token_use *use, const struct query_token *t,
                       const struct query_field *key, struct query_program *p, base_buf *header);
void query_field_table(const struct query_token_use *use, const struct query_field *f,
                       struct query_program *p, base_buf *header);

/* The literal text that is left over becomes the last cell. */
void query_program_end(struct query_program *p, query_arena *a);

/* "%ts,src_addr": the next name of a list; *at NULL at its end. *t a token, or NULL and *f a field. WEIR_END; WEIR_EFORMAT. */
weir_status query_column_next(const struct query_token_use *use, const char **at,
                              const struct query_token **t, struct query_field *f, weir_err *err);

/* CSV: a list of tokens and field names, with its header line; one column more (t with key f or NULL, or t NULL and f); a name as CSV has it. */
weir_status query_tokens_csv(const struct query_token_use *use, const char *list,
                             struct query_program *p, base_buf *header, weir_err *err);
void query_csv_column(const struct query_token_use *use, const struct query_token *t,
                      const struct query_field *f, struct query_program *p, base_buf *header);
void query_csv_name(base_buf *header, const char *name);

#endif
