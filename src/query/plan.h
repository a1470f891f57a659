/* plan -- a query's fields and conditions, each once, with the columns they need. Made before the scan, then read by any
 * thread. For the engine's own files. */
#ifndef QUERY_PLAN_H
#define QUERY_PLAN_H

#include "parquet/reader.h"
#include "query/bump.h"
#include "query/run.h"

#include <stdatomic.h>

/* A column of files, whatever file. */
struct query_plan_column {
    const char *name;
    int flow;             /* enum flow_column_id, -1: an extra column */
    _Atomic uint8_t kind; /* QUERY_UNKNOWN until the first file shows an extra column */
};

enum { QUERY_MAX_DEPS = 3 };

/* A field of a result, a key, an order or a condition. */
struct query_plan_field {
    struct query_field f;
    int column;               /* -1: worked out from deps */
    int deps[QUERY_MAX_DEPS]; /* fields, -1 none */
    bool scaled;              /* a counter that is multiplied by the sampling rate */
    bool address;             /* text that is an address: ordered by its octets */
    uint8_t complete;         /* enum query_complete: where null rows may get a value from */
};

enum query_complete {
    QUERY_COMPLETE_NONE,
    QUERY_COMPLETE_IN_IF,
    QUERY_COMPLETE_OUT_IF,
    QUERY_COMPLETE_VRF_IN,
    QUERY_COMPLETE_VRF_OUT,
    QUERY_COMPLETE_APP,
    QUERY_COMPLETE_RATE
};

/* A condition on one field, made ready. Numbers are tested by ranges in the order of unsigned integers; signed ones with their
 * top bit flipped, see query_match_*. */
struct query_leaf {
    const struct query_expr *e;
    int field, other; /* other: of QUERY_OP_SAME */
    bool time;        /* of the time window, not of the filter */
    struct query_text *
        texts; /* what an address or text may equal, when that is all; sorted by length, then octets */
    size_t n_texts;
    bool equal; /* the condition is: equals one of texts */
};

/* The filter as an array, children behind their parent. */
struct query_node {
    enum query_op op; /* TRUE, FALSE, AND, OR, NOT, else a leaf */
    int leaf;
    int *kids;
    size_t n_kids;
};

struct query_plan {
    const struct query *q;
    bool want_totals;
    struct query_plan_column *columns;
    size_t n_columns;
    struct query_plan_field *fields;
    size_t n_fields;
    struct query_leaf *leaves;
    size_t n_leaves, n_filter_leaves; /* the filter's come first, then those of HAVINGs */
    struct query_node *nodes;         /* nodes[0] is the root */
    size_t n_nodes;
    /* Fields of the totals, -1 without */
    int f_flows, f_packets, f_bytes, f_out_packets, f_out_bytes, f_first, f_last;
    /* Columns that say the sampling rate; -1 without a scaled field */
    int c_rate, c_exporter, c_domain, c_sampler, c_in_if;
    bool lookup_rates; /* there are rates to look up */
    size_t cap_columns, cap_fields, cap_leaves, cap_nodes;
    struct query_bump memory;
};

/* WEIR_OK; WEIR_ENOMEM; WEIR_EINVAL: a result that makes no sense. */
weir_status query_plan_make(struct query_plan *p, const struct query *q, bool want_totals,
                            weir_err *err);
void query_plan_done(struct query_plan *p);

/* The field's number, added with all it depends on when new; -1: out of memory. */
int query_plan_field_add(struct query_plan *p, const struct query_field *f);
/* The nodes of an expression (a filter, a HAVING), at *root. */
weir_status query_plan_expr_add(struct query_plan *p, const struct query_expr *e, int *root,
                                weir_err *err);

/* What stands in column k of a result: its field, but the column flows of a group is the number of its flows (records that do not
 * say are one each), unless it is a key. */
struct query_field query_plan_result_field(const struct query_result *r, size_t k);

/* What values a field has, as far as known now. */
uint8_t query_plan_kind(const struct query_plan *p, int field);

/* Extra columns show what they are in the first file that has them. */
void query_plan_learn(struct query_plan *p, const parquet_file *file);

#endif
