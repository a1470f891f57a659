#include "query/plan.h"

#include "base/text.h"
#include "query/lookup.h"
#include "query/scan.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

/* Room for one more of n items of size octets; arrays move, old ones stay in the bump until the end. */
static bool room(struct query_bump *b, void **items, size_t n, size_t *cap, size_t size)
{
    if (n < *cap)
        return true;
    size_t more = *cap ? *cap * 2 : 16;
    void *p = query_bump_array(b, more, size);
    if (!p)
        return false;
    if (n)
        memcpy(p, *items, n * size);
    *items = p;
    *cap = more;
    return true;
}

static int column_add(struct query_plan *p, int flow, const char *name)
{
    for (size_t i = 0; i < p->n_columns; i++)
        if (!strcmp(p->columns[i].name, name))
            return (int)i;
    void *items = p->columns;
    if (!room(&p->memory, &items, p->n_columns, &p->cap_columns, sizeof *p->columns))
        return -1;
    p->columns = items;
    struct query_plan_column *c = &p->columns[p->n_columns];
    c->name = name;
    c->flow = flow;
    atomic_init(&c->kind, (uint8_t)QUERY_UNKNOWN);
    return (int)p->n_columns++;
}

static const struct {
    int flow;
    uint8_t complete;
    int deps[2];
} completed[] = {
    {FLOW_in_if_name, QUERY_COMPLETE_IN_IF, {FLOW_exporter, FLOW_in_if}},
    {FLOW_out_if_name, QUERY_COMPLETE_OUT_IF, {FLOW_exporter, FLOW_out_if}},
    {FLOW_vrf_in_name, QUERY_COMPLETE_VRF_IN, {FLOW_exporter, FLOW_vrf_in}},
    {FLOW_vrf_out_name, QUERY_COMPLETE_VRF_OUT, {FLOW_exporter, FLOW_vrf_out}},
    {FLOW_app_name, QUERY_COMPLETE_APP, {FLOW_exporter, FLOW_app_id}},
};

/* What a derived field is made of: columns (C) and derived fields (D). */
#define C(name) (FLOW_##name + 1)
#define D(name) (-1 - QUERY_D_##name)
static const int derived_deps[QUERY_N_DERIVED][QUERY_MAX_DEPS] = {
    [QUERY_D_DURATION] = {C(first), C(last)},
    [QUERY_D_PPS] = {C(packets), D(DURATION)},
    [QUERY_D_BPS] = {C(bytes), D(DURATION)},
    [QUERY_D_BPP] = {C(bytes), C(packets)},
    [QUERY_D_OUT_BYTES] = {C(bytes_rev), C(bytes_out)},
    [QUERY_D_OUT_PACKETS] = {C(packets_rev), C(packets_out)},
    [QUERY_D_ALL_BYTES] = {C(bytes), D(OUT_BYTES)},
    [QUERY_D_ALL_PACKETS] = {C(packets), D(OUT_PACKETS)},
    [QUERY_D_OUT_PPS] = {D(OUT_PACKETS), D(DURATION)},
    [QUERY_D_OUT_BPS] = {D(OUT_BYTES), D(DURATION)},
    [QUERY_D_OUT_BPP] = {D(OUT_BYTES), D(OUT_PACKETS)},
    [QUERY_D_ALL_PPS] = {D(ALL_PACKETS), D(DURATION)},
    [QUERY_D_ALL_BPS] = {D(ALL_BYTES), D(DURATION)},
    [QUERY_D_ALL_BPP] = {D(ALL_BYTES), D(ALL_PACKETS)},
    [QUERY_D_N_FLOWS] = {C(flows)},
    [QUERY_D_SRC_NET] = {C(src_addr), C(src_mask)},
    [QUERY_D_DST_NET] = {C(dst_addr), C(dst_mask)},
    [QUERY_D_IP_FAMILY] = {C(src_addr), C(dst_addr)},
    [QUERY_D_TIME_BUCKET] = {C(first)},
    [QUERY_D_MPLS_LABEL] = {C(mpls_labels)},
    [QUERY_D_MPLS_EXP_N] = {C(mpls_exp)},
    [QUERY_D_ACL_IN_ID] = {C(acl_in)},
    [QUERY_D_ACL_OUT_ID] = {C(acl_out)},
    [QUERY_D_SRC_COUNTRY] = {C(src_addr)},
    [QUERY_D_DST_COUNTRY] = {C(dst_addr)},
    [QUERY_D_SRC_CITY] = {C(src_addr)},
    [QUERY_D_DST_CITY] = {C(dst_addr)},
    [QUERY_D_SRC_AS_NUMBER] = {C(src_addr), C(src_as)},
    [QUERY_D_DST_AS_NUMBER] = {C(dst_addr), C(dst_as)},
    [QUERY_D_SRC_AS_ORG] = {C(src_addr)},
    [QUERY_D_DST_AS_ORG] = {C(dst_addr)},
};
#undef C
#undef D

static bool is_counter(int flow)
{
    return flow == FLOW_bytes || flow == FLOW_packets || flow == FLOW_bytes_out ||
           flow == FLOW_packets_out || flow == FLOW_bytes_rev || flow == FLOW_packets_rev;
}

static uint8_t column_kind(const struct flow_column *c)
{
    switch ((enum flow_type)c->type) {
    case FLOW_TYPE_BOOL:
        return c->list ? QUERY_U64_LIST : QUERY_BOOL;
    case FLOW_TYPE_U8:
    case FLOW_TYPE_U16:
    case FLOW_TYPE_U32:
    case FLOW_TYPE_U64:
        return c->list ? QUERY_U64_LIST : QUERY_U64;
    case FLOW_TYPE_S8:
    case FLOW_TYPE_S16:
    case FLOW_TYPE_S32:
    case FLOW_TYPE_S64:
        return c->list ? QUERY_U64_LIST : QUERY_S64;
    case FLOW_TYPE_F64:
        return c->list ? QUERY_TEXT_LIST : QUERY_F64;
    case FLOW_TYPE_TIME:
    case FLOW_TYPE_TIME_NS:
        return c->list ? QUERY_TEXT_LIST : QUERY_TIME;
    case FLOW_TYPE_OCTETS:
        return c->list ? QUERY_TEXT_LIST : QUERY_OCTETS;
    case FLOW_TYPE_ADDR:
    case FLOW_TYPE_MAC:
    case FLOW_TYPE_TEXT:
    case FLOW_TYPE_JSON:
    case FLOW_N_TYPES:
        break;
    }
    return c->list ? QUERY_TEXT_LIST : QUERY_TEXT;
}

static int column_field_add(struct query_plan *p, int flow)
{
    struct query_field f = query_field_column((enum flow_column_id)flow);
    return query_plan_field_add(p, &f);
}

int query_plan_field_add(struct query_plan *p, const struct query_field *f)
{
    for (size_t i = 0; i < p->n_fields; i++) {
        const struct query_field *known = &p->fields[i].f;
        /* The kind of an extra column in a condition is that of the value it is compared with. */
        if (f->what == QUERY_F_EXTRA ? known->what == f->what && !strcmp(known->name, f->name)
                                     : query_field_same(known, f))
            return (int)i;
    }

    struct query_plan_field made = {.f = *f, .column = -1, .deps = {-1, -1, -1}};
    if (f->what == QUERY_F_DERIVED) {
        for (size_t i = 0; i < QUERY_MAX_DEPS; i++) {
            int d = derived_deps[f->id][i];
            bool masked = (f->id == QUERY_D_SRC_NET || f->id == QUERY_D_DST_NET) && i == 1;
            if (!d || (masked && f->bits4 != 255 && f->bits6 != 255))
                continue;
            if (d > 0) {
                made.deps[i] = column_field_add(p, d - 1);
            } else {
                struct query_field sub = query_field_derived((enum query_derived)(-1 - d));
                made.deps[i] = query_plan_field_add(p, &sub);
            }
            if (made.deps[i] < 0)
                return -1;
        }
        made.address = f->id == QUERY_D_SRC_NET || f->id == QUERY_D_DST_NET;
    } else {
        int flow = f->what == QUERY_F_COLUMN ? f->id : -1;
        made.column = column_add(p, flow, flow < 0 ? f->name : flow_columns()[flow].name);
        if (made.column < 0)
            return -1;
        if (flow >= 0) {
            const struct flow_column *c = &flow_columns()[flow];
            atomic_store_explicit(&p->columns[made.column].kind, column_kind(c),
                                  memory_order_relaxed);
            made.address = c->type == FLOW_TYPE_ADDR && !c->list;
            made.scaled = is_counter(flow) && !p->q->raw;
            if (flow == FLOW_sampling_rate && p->lookup_rates)
                made.complete = QUERY_COMPLETE_RATE;
            for (size_t i = 0; p->q->lookup && i < ARRAY_LEN(completed); i++)
                if (completed[i].flow == flow) {
                    made.complete = completed[i].complete;
                    for (size_t k = 0; k < 2; k++)
                        if ((made.deps[k] = column_field_add(p, completed[i].deps[k])) < 0)
                            return -1;
                }
        }
        if (made.scaled || made.complete == QUERY_COMPLETE_RATE) {
            p->c_rate = column_add(p, FLOW_sampling_rate, flow_columns()[FLOW_sampling_rate].name);
            p->c_exporter = column_add(p, FLOW_exporter, flow_columns()[FLOW_exporter].name);
            p->c_domain = column_add(p, FLOW_domain, flow_columns()[FLOW_domain].name);
            p->c_sampler = column_add(p, FLOW_sampler_id, flow_columns()[FLOW_sampler_id].name);
            p->c_in_if = column_add(p, FLOW_in_if, flow_columns()[FLOW_in_if].name);
            if (p->c_rate < 0 || p->c_exporter < 0 || p->c_domain < 0 || p->c_sampler < 0 ||
                p->c_in_if < 0)
                return -1;
            int c[] = {p->c_rate, p->c_exporter, p->c_domain, p->c_sampler, p->c_in_if};
            for (size_t i = 0; i < ARRAY_LEN(c); i++)
                atomic_store_explicit(&p->columns[c[i]].kind,
                                      column_kind(&flow_columns()[p->columns[c[i]].flow]),
                                      memory_order_relaxed);
        }
    }
    void *items = p->fields;
    if (!room(&p->memory, &items, p->n_fields, &p->cap_fields, sizeof *p->fields))
        return -1;
    p->fields = items;
    p->fields[p->n_fields] = made;
    return (int)p->n_fields++;
}

uint8_t query_plan_kind(const struct query_plan *p, int field)
{
    const struct query_plan_field *f = &p->fields[field];
    return f->column < 0 ? f->f.kind
                         : atomic_load_explicit(&p->columns[f->column].kind, memory_order_relaxed);
}

static int compare_texts(const void *x, const void *y)
{
    const struct query_text *a = x, *b = y;
    if (a->len != b->len)
        return a->len < b->len ? -1 : 1;
    return a->len ? memcmp(a->data, b->data, a->len) : 0;
}

/* A condition that only compares with whole texts: of equality, or of single addresses, which files have in canonical
 * text. */
static bool leaf_texts(struct query_plan *p, struct query_leaf *leaf)
{
    const struct query_expr *e = leaf->e;
    if (e->op == QUERY_OP_TEXT && !e->ignore_case) {
        if (!(leaf->texts = query_bump_array(&p->memory, e->n_texts + 1, sizeof *leaf->texts)))
            return false;
        for (size_t i = 0; i < e->n_texts; i++)
            leaf->texts[i] = e->texts[i];
        leaf->n_texts = e->n_texts;
        leaf->equal = true;
    } else if (e->op == QUERY_OP_PREFIX && p->fields[leaf->field].address) {
        for (size_t i = 0; i < e->n_prefixes; i++)
            if (e->prefixes[i].bits != (e->prefixes[i].family == 4 ? 32 : 128))
                return true;
        if (!(leaf->texts = query_bump_array(&p->memory, e->n_prefixes + 1, sizeof *leaf->texts)))
            return false;
        for (size_t i = 0; i < e->n_prefixes; i++) {
            char *at = query_bump_alloc(&p->memory, BASE_IPV6_TEXT);
            if (!at)
                return false;
            size_t len = e->prefixes[i].family == 4 ? base_ipv4_text(at, e->prefixes[i].addr)
                                                    : base_ipv6_text(at, e->prefixes[i].addr);
            leaf->texts[i] = (struct query_text){.data = at, .len = (uint32_t)len};
        }
        leaf->n_texts = e->n_prefixes;
        leaf->equal = true;
    }
    if (leaf->equal && leaf->n_texts)
        qsort(leaf->texts, leaf->n_texts, sizeof *leaf->texts, compare_texts);
    return true;
}

static int node_add(struct query_plan *p, enum query_op op)
{
    void *items = p->nodes;
    if (!room(&p->memory, &items, p->n_nodes, &p->cap_nodes, sizeof *p->nodes))
        return -1;
    p->nodes = items;
    p->nodes[p->n_nodes] = (struct query_node){.op = op, .leaf = -1};
    return (int)p->n_nodes++;
}

static weir_status no_memory(weir_err *err)
{
    return weir_err_set(err, WEIR_ENOMEM, 0, "query: out of memory");
}

static weir_status expr_add(struct query_plan *p, const struct query_expr *e, bool time,
                            unsigned depth, int *at, weir_err *err)
{
    if (depth > 4000)
        return weir_err_set(err, WEIR_EINVAL, 0, "query: the filter is nested too deeply");
    int node = node_add(p, e->op);
    if (node < 0)
        return no_memory(err);
    *at = node;
    if (e->op == QUERY_OP_TRUE || e->op == QUERY_OP_FALSE)
        return WEIR_OK;
    if (e->op == QUERY_OP_AND || e->op == QUERY_OP_OR || e->op == QUERY_OP_NOT) {
        size_t n = e->op == QUERY_OP_NOT ? 1 : e->n_items;
        int *kids = query_bump_array(&p->memory, n + 1, sizeof *kids);
        if (!kids)
            return no_memory(err);
        for (size_t i = 0; i < n; i++)
            WEIR_TRY(expr_add(p, e->items[i], time, depth + 1, &kids[i], err));
        p->nodes[node].kids = kids;
        p->nodes[node].n_kids = n;
        return WEIR_OK;
    }
    void *items = p->leaves;
    if (!room(&p->memory, &items, p->n_leaves, &p->cap_leaves, sizeof *p->leaves))
        return no_memory(err);
    p->leaves = items;
    struct query_leaf leaf = {
        .e = e, .time = time, .other = -1, .field = query_plan_field_add(p, &e->field)};
    bool two = e->op == QUERY_OP_SAME || e->op == QUERY_OP_NOT_BELOW || e->op == QUERY_OP_NOT_ABOVE;
    if (two)
        leaf.other = query_plan_field_add(p, &e->other);
    if (leaf.field < 0 || (two && leaf.other < 0) || !leaf_texts(p, &leaf))
        return no_memory(err);
    p->nodes[node].leaf = (int)p->n_leaves;
    p->leaves[p->n_leaves++] = leaf;
    return WEIR_OK;
}

weir_status query_plan_expr_add(struct query_plan *p, const struct query_expr *e, int *root,
                                weir_err *err)
{
    return expr_add(p, e, false, 0, root, err);
}

/* The root: the time window and the filter. */
static weir_status add_filter(struct query_plan *p, weir_err *err)
{
    const struct query *q = p->q;
    const struct {
        bool used;
        enum query_op op;
        enum flow_column_id column;
        int64_t value;
    } windows[] = {
        {q->from_us != INT64_MIN, QUERY_OP_GE, FLOW_last, q->from_us},
        {q->to_us != INT64_MAX, QUERY_OP_LE, FLOW_first, q->to_us},
    };
    int root = node_add(p, QUERY_OP_AND);
    int *kids = query_bump_array(&p->memory, 3, sizeof *kids);
    if (root < 0 || !kids)
        return no_memory(err);
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(windows); i++) {
        if (!windows[i].used)
            continue;
        struct query_expr *e = query_bump_zero(&p->memory, sizeof *e);
        if (!e)
            return no_memory(err);
        e->op = windows[i].op;
        e->field = query_field_column(windows[i].column);
        e->number = (uint64_t)windows[i].value;
        WEIR_TRY(expr_add(p, e, true, 0, &kids[n++], err));
    }
    if (q->filter)
        WEIR_TRY(expr_add(p, q->filter, false, 0, &kids[n++], err));
    p->nodes[root].kids = kids;
    p->nodes[root].n_kids = n;
    return WEIR_OK;
}

weir_status query_plan_make(struct query_plan *p, const struct query *q, bool want_totals,
                            weir_err *err)
{
    *p = (struct query_plan){.q = q, .want_totals = want_totals};
    p->c_rate = p->c_exporter = p->c_domain = p->c_sampler = p->c_in_if = -1;
    p->lookup_rates = q->lookup && query_lookup_has(q->lookup, QUERY_LOOKUP_RATE);
    WEIR_TRY(add_filter(p, err));
    p->n_filter_leaves = p->n_leaves;
    p->f_flows = p->f_packets = p->f_bytes = p->f_out_packets = p->f_out_bytes = -1;
    p->f_first = p->f_last = -1;
    if (!want_totals)
        return WEIR_OK;
    struct query_field n_flows = query_field_derived(QUERY_D_N_FLOWS),
                       out_packets = query_field_derived(QUERY_D_OUT_PACKETS),
                       out_bytes = query_field_derived(QUERY_D_OUT_BYTES);
    p->f_flows = query_plan_field_add(p, &n_flows);
    p->f_packets = column_field_add(p, FLOW_packets);
    p->f_bytes = column_field_add(p, FLOW_bytes);
    p->f_out_packets = query_plan_field_add(p, &out_packets);
    p->f_out_bytes = query_plan_field_add(p, &out_bytes);
    p->f_first = column_field_add(p, FLOW_first);
    p->f_last = column_field_add(p, FLOW_last);
    if (p->f_flows < 0 || p->f_packets < 0 || p->f_bytes < 0 || p->f_out_packets < 0 ||
        p->f_out_bytes < 0 || p->f_first < 0 || p->f_last < 0)
        return no_memory(err);
    return WEIR_OK;
}

void query_plan_done(struct query_plan *p)
{
    query_bump_done(&p->memory);
}

void query_plan_learn(struct query_plan *p, const parquet_file *file)
{
    for (size_t i = 0; i < p->n_columns; i++) {
        struct query_plan_column *c = &p->columns[i];
        if (c->flow >= 0 || atomic_load(&c->kind) != QUERY_UNKNOWN)
            continue;
        int at = parquet_column_find(file, c->name);
        if (at >= 0)
            atomic_store(&c->kind, query_column_kind(&parquet_schema_of(file)->columns[at]));
    }
}

struct query_field query_plan_result_field(const struct query_result *r, size_t k)
{
    const struct query_field *f = &r->fields[k];
    if (!r->grouped || f->what != QUERY_F_COLUMN || f->id != FLOW_flows)
        return *f;
    for (size_t i = 0; i < r->n_keys; i++)
        if (query_field_same(&r->keys[i], f))
            return *f;
    return query_field_derived(QUERY_D_N_FLOWS);
}
