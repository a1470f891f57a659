/* scan -- one row group, a window of rows at a time: columns are opened when first asked for, values are handed out for
 * the rows that are wanted. A scan belongs to one thread. For the engine's own files. */
#ifndef QUERY_SCAN_H
#define QUERY_SCAN_H

#include "parquet/reader.h"
#include "query/follow.h"
#include "query/plan.h"

enum { QUERY_WINDOW = 16384 }; /* rows; codes and bits of some columns stay in the cache */

/* Values of some rows. constant: num[0] or codes[0] is the value of all of them, none is null. Kind QUERY_UNKNOWN: all
 * null. */
struct query_values {
    struct query_vec v;
    bool constant;
    int column; /* of the plan, when codes are those of this column's dictionary in the row group; else -1 */
};

/* Rows of a window: at[n], rising; NULL: the first n. */
struct query_rows {
    const uint32_t *at;
    size_t n;
};

struct query_scan_column {
    bool known, failed, missing;
    int in_file;
    const struct parquet_column *type;
    uint8_t kind, source_kind; /* as queries have it, as the file has it */
    struct parquet_chunk_info info;
    bool all_null, no_null;
    parquet_cursor *cursor;
    uint64_t next; /* the cursor's row */
    bool dict_known;
    const void *dict; /* the cursor's; NULL: the chunk has none */
    uint32_t n_dict;
    uint64_t *dict_num;           /* converted */
    bool *dict_null;              /* entries that do not fit the kind; NULL: none */
    struct query_text *dict_text; /* converted, or made by query_scan_texts */
    bool text_dict;               /* dict holds the texts themselves */
    uint64_t at;                  /* the window in data, UINT64_MAX: none */
    struct parquet_data data;
    void *interned; /* of group.c: ids of the codes */
    uint64_t interned_epoch;
};

enum query_rate { QUERY_RATE_UNSET, QUERY_RATE_ONE, QUERY_RATE_NONE, QUERY_RATE_VARIES };

struct query_scan {
    const struct query_plan *plan;
    const parquet_file *file;
    size_t group;
    uint64_t n_rows, first_no; /* number of the first row among all, from 0 */
    struct query_scan_column *columns;
    struct query_bump group_memory, window_memory;
    uint64_t at; /* the window */
    size_t n;
    enum query_rate rate;
    uint64_t octets;              /* of chunks that were opened */
    uint64_t n_scaled, n_no_rate; /* of rows_counted */
    void *leaves;                 /* of predicate.c */
    uint8_t *folded;
    uint64_t *all; /* bits */
};

/* Zero-initialise s and set plan first. The buffers are kept from one row group to the next. */
weir_status query_scan_open(struct query_scan *s, const parquet_file *file, size_t group,
                            uint64_t first_no, weir_err *err);
void query_scan_close(struct query_scan *s); /* of the row group */
void query_scan_done(struct query_scan *s);

/* Go on to n rows from row `at` on; rows only rise. */
void query_scan_window(struct query_scan *s, uint64_t at, size_t n);

/* The column, with what the footer says of it. */
weir_status query_scan_column(struct query_scan *s, int column, struct query_scan_column **out,
                              weir_err *err);
/* Its dictionary: as numbers of its kind or as texts, n_dict of them; n_dict 0: none. */
weir_status query_scan_dict(struct query_scan *s, struct query_scan_column *c, weir_err *err);
/* All texts of the dictionary as dict_text. */
weir_status query_scan_texts(struct query_scan *s, struct query_scan_column *c, weir_err *err);
/* The window as it stands in the file. */
weir_status query_scan_data(struct query_scan *s, struct query_scan_column *c,
                            const struct parquet_data **out, weir_err *err);

/* Whether counters must be multiplied; worked out once a row group. */
weir_status query_scan_rate(struct query_scan *s, enum query_rate *out, weir_err *err);

/* A number of one kind as one of another; false: it does not fit. */
bool query_convert(uint64_t *v, uint8_t from, uint8_t to);

/* Fields of the same rows, each worked out once. Rows are those of a scan's window, or whatever `base` knows. */
struct query_eval {
    const struct query_plan *plan;
    struct query_scan *scan; /* NULL: rows are groups */
    struct query_rows rows;
    struct query_bump *memory;
    struct query_values *values; /* one a field */
    uint8_t *have;
    double *rates; /* one a row, NULL: not asked for yet or all 1 or unknown */
    bool rates_known;
    /* Groups: the field when it is one that groups have; false: work it out. */
    bool (*base)(void *user, struct query_eval *e, int field, struct query_values *out,
                 weir_status *st, weir_err *err);
    void *user;
};

/* Memory for values comes from memory. False: out of memory. */
bool query_eval_init(struct query_eval *e, const struct query_plan *plan, struct query_scan *scan,
                     struct query_bump *memory, struct query_rows rows);
weir_status query_eval_field(struct query_eval *e, int field, const struct query_values **out,
                             weir_err *err);
/* The rates of the rows (NULL: all are 1 or unknown; 0: unknown, as good as 1), counting those above 1 and those that nobody knows. */
weir_status query_eval_rates(struct query_eval *e, const double **out, uint64_t *n_scaled,
                             uint64_t *n_no_rate, weir_err *err);
/* A derived field; derive.c. */
weir_status query_derive(struct query_eval *e, int field, struct query_values *out, weir_err *err);
/* The rows of a column; column.c. */
weir_status query_column_values(struct query_eval *e, int column, struct query_values *out,
                                weir_err *err);

/* A constant for readers that know none: n values, in memory. */
weir_status query_vec_expand(struct query_bump *memory, struct query_vec *v, size_t n,
                             weir_err *err);

static inline bool query_is_null(const struct query_values *v, size_t i)
{
    return v->v.kind == QUERY_UNKNOWN || (v->v.valid && !parquet_bit(v->v.valid, i));
}
static inline uint64_t query_num(const struct query_values *v, size_t i)
{
    return v->v.num[v->constant ? 0 : i];
}
static inline uint32_t query_code(const struct query_values *v, size_t i)
{
    return v->v.codes[v->constant ? 0 : i];
}
/* One text of a dictionary of texts. */
static inline struct query_text query_dict_text(const struct query_scan_column *c, uint32_t code)
{
    if (c->dict_text)
        return c->dict_text[code];
    const struct parquet_bytes *b = (const struct parquet_bytes *)c->dict + code;
    return (struct query_text){.data = (const char *)b->data, .len = b->len};
}
static inline bool query_is_text(uint8_t kind)
{
    return kind == QUERY_TEXT || kind == QUERY_OCTETS;
}
static inline bool query_is_list(uint8_t kind)
{
    return kind == QUERY_U64_LIST || kind == QUERY_TEXT_LIST;
}

#endif
