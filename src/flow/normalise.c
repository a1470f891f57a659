#include "flow/normalise.h"

#include "base/hash.h"
#include "base/text.h"
#include "flow/flow.h"
#include "flow/load.h"
#include "flow/plan.h"
#include "flow/value_json.h"

#include <stdio.h>
#include <stdlib.h>

_Static_assert((int)FLOW_received == FLOW_OPTION_received &&
                   (int)FLOW_exporter == FLOW_OPTION_exporter &&
                   (int)FLOW_exporter_port == FLOW_OPTION_exporter_port &&
                   (int)FLOW_domain == FLOW_OPTION_domain &&
                   (int)FLOW_protocol_version == FLOW_OPTION_protocol_version &&
                   (int)FLOW_sequence == FLOW_OPTION_sequence &&
                   (int)FLOW_template_id == FLOW_OPTION_template_id,
               "both tables begin with the columns that head() fills");

enum { N_BUCKETS = 4096, MAX_PLANS = 16384, MAX_OCTETS = 64 << 20 };
/* What null rows of extra columns may take at one call: an exporter with many of them that joins late must not make a
 * batch grow without bound before it can be handed on. Beyond that the JSON column serves. */
enum { MAX_GAP = 64 << 20, SMALL_GAP = 512 };
enum { PROTO_ICMP = 1, PROTO_ICMP6 = 58, N_RATES = 16 };

/* What goes into the JSON column of a row: "name":value, at text[at .. at + len). */
struct entry {
    uint32_t row;
    uint32_t order;
    size_t at, len;
};

struct flow_normaliser {
    flow_plan **buckets;
    flow_plan *recent;
    size_t octets, n_plans;
    uint64_t seed;
    struct flow_counters counters;
    struct entry *entries;
    size_t n_entries, cap_entries;
    base_buf text;    /* of the entries */
    uint64_t told[2]; /* packet whose sequence number stands in a row already, by enum flow_table */
    base_buf json;    /* of one value or row */
    void *items;      /* of one list */
    size_t cap_items;
    /* Codes of the last exporter and the last source of a rate, which mostly are those of the next packet too. */
    struct recent {
        uint8_t key[16];
        uint32_t len, code;
        const flow_batch *batch;
        uint64_t generation;
    } exporter, source;
};

/* One record on its way into one row. */
struct pass {
    flow_normaliser *n;
    flow_batch *b;
    flow_plan *p;
    size_t
        gap_left; /* octets that may still be spent on rows before the first value of an extra column */
    bool failed; /* out of memory */
};

flow_normaliser *flow_normaliser_new(void)
{
    flow_normaliser *n = calloc(1, sizeof *n);
    if (!n)
        return NULL;
    n->seed = base_hash_seed();
    n->buckets = calloc(N_BUCKETS, sizeof *n->buckets);
    if (!n->buckets) {
        free(n);
        return NULL;
    }
    return n;
}

void flow_normaliser_forget(flow_normaliser *n)
{
    for (size_t i = 0; i < N_BUCKETS; i++) {
        while (n->buckets[i]) {
            flow_plan *p = n->buckets[i];
            n->buckets[i] = p->chain;
            flow_plan_free(p);
        }
    }
    n->recent = NULL;
    n->octets = n->n_plans = 0;
    n->told[0] = n->told[1] = 0;
}

void flow_normaliser_free(flow_normaliser *n)
{
    if (!n)
        return;
    flow_normaliser_forget(n);
    free(n->buckets);
    free(n->entries);
    free(n->items);
    base_buf_done(&n->text);
    base_buf_done(&n->json);
    free(n);
}

const struct flow_counters *flow_normaliser_counters(const flow_normaliser *n)
{
    return &n->counters;
}

static bool same_plan(const flow_plan *p, const weir_record *r)
{
    return p->tmpl == r->tmpl && p->serial == r->tmpl->serial && p->n_fields == r->n_fields;
}

/* The plan of the record's template, bound to this batch. NULL: out of memory. */
static flow_plan *plan_of(flow_normaliser *n, const flow_batch *b, const weir_record *r)
{
    flow_plan *p = n->recent;
    if (!p || !same_plan(p, r)) {
        if (n->octets > MAX_OCTETS || n->n_plans > MAX_PLANS)
            flow_normaliser_forget(n);
        struct {
            uint64_t serial;
            const weir_template *tmpl;
        } id = {r->tmpl->serial, r->tmpl};
        flow_plan **bucket = &n->buckets[base_hash(&id, sizeof id, n->seed) % N_BUCKETS];
        for (p = *bucket; p && !same_plan(p, r);)
            p = p->chain;
        if (!p) {
            p = flow_plan_new(r);
            if (!p)
                return NULL;
            p->chain = *bucket;
            *bucket = p;
            n->octets += p->octets;
            n->n_plans++;
        }
        n->recent = p;
    }
    if (p->batch != b || p->generation != b->generation) {
        for (uint32_t i = 0; i < p->n_targets; i++)
            if (p->targets[i].extra)
                p->targets[i].column = FLOW_NONE;
        p->batch = b;
        p->generation = b->generation;
    }
    return p;
}

/* ---- the JSON column ---- */

/* Field i, and those of the same element behind it when all, into the JSON column of a row. */
static void to_json(struct pass *s, const weir_record *r, uint32_t i, uint32_t row, bool all)
{
    flow_normaliser *n = s->n;
    if (n->n_entries == n->cap_entries) {
        size_t cap = n->cap_entries ? 2 * n->cap_entries : 16;
        struct entry *grown = realloc(n->entries, cap * sizeof *grown);
        if (!grown) {
            s->failed = true;
            return;
        }
        n->entries = grown;
        n->cap_entries = cap;
    }
    struct entry *e = &n->entries[n->n_entries];
    *e = (struct entry){.row = row, .order = (uint32_t)n->n_entries, .at = n->text.len};
    const char *name = s->p->fields[i].name;
    base_json_string(&n->text, name, strlen(name), false);
    base_buf_str(&n->text, all ? ":[" : ":");
    flow_value_json(r, i, &n->text);
    for (uint32_t f = s->p->fields[i].next; all && f != FLOW_NONE; f = s->p->fields[f].next) {
        base_buf_char(&n->text, ',');
        flow_value_json(r, f, &n->text);
    }
    if (all)
        base_buf_char(&n->text, ']');
    if (n->text.failed) {
        s->failed = true;
        return;
    }
    e->len = n->text.len - e->at;
    n->n_entries++;
    n->counters.values_extra++;
}

static int by_row(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    return x->row != y->row ? (x->row < y->row ? -1 : 1) : x->order < y->order ? -1 : 1;
}

/* The entries gathered since the last call into their rows. */
static bool put_entries(flow_normaliser *n, flow_batch *b, uint32_t column)
{
    if (n->n_entries == 0)
        return true;
    bool ok = true;
    qsort(n->entries, n->n_entries, sizeof *n->entries, by_row);
    for (size_t i = 0; ok && i < n->n_entries;) {
        uint32_t row = n->entries[i].row;
        base_buf_reset(&n->json);
        for (bool first = true; i < n->n_entries && n->entries[i].row == row; i++, first = false) {
            base_buf_char(&n->json, first ? '{' : ',');
            base_buf_add(&n->json, n->text.data + n->entries[i].at, n->entries[i].len);
        }
        base_buf_char(&n->json, '}');
        ok = !n->json.failed &&
             flow_batch_set_key(b, column, row, n->json.data, (uint32_t)n->json.len);
    }
    return ok;
}

/* ---- targets ---- */

/* Whether the rows between the last one of an extra column and this one may be filled up. */
static bool may_fill(struct pass *s, uint32_t column, uint32_t row)
{
    const struct flow_col *c = &s->b->cols[column];
    if (row <= c->n || row - c->n < SMALL_GAP)
        return true;
    size_t octets = (size_t)(row - c->n) * (c->list ? sizeof *c->starts : c->width);
    if (octets > s->gap_left)
        return false;
    s->gap_left -= octets;
    return true;
}

/* The column of a target; FLOW_NO_ROOM: the JSON column must take its values. */
static uint32_t column_of(struct pass *s, struct flow_target *t, uint32_t row)
{
    if (t->column != FLOW_NONE)
        return !t->extra || may_fill(s, t->column, row) ? t->column : FLOW_NO_ROOM;
    uint32_t column;
    weir_status status = flow_find_column(s->b, t->name, strlen(t->name), (enum flow_type)t->type,
                                          t->list, &column, NULL);
    if (status == WEIR_EFORMAT || (status == WEIR_OK && column < s->b->n_table)) {
        char name[32]; /* another element has this name, or a column of the table */
        int len = snprintf(name, sizeof name, "e%u_%u%s", t->pen, t->id, t->list ? "_list" : "");
        status = flow_find_column(s->b, name, (size_t)len, (enum flow_type)t->type, t->list,
                                  &column, NULL);
    }
    if (status == WEIR_ENOMEM)
        s->failed = true;
    if (status != WEIR_OK)
        return FLOW_NO_ROOM; /* asked again for the next value: there may be room in the next batch */
    t->column = column;
    return may_fill(s, column, row) ? column : FLOW_NO_ROOM;
}

/* A row's cell that another element of the record has filled already: two names may meet in one column. */
static bool is_filled(const struct pass *s, const struct flow_target *t, uint32_t row)
{
    if (!t->extra || t->column >= s->b->n_columns)
        return false;
    const struct flow_col *c = &s->b->cols[t->column];
    return row < c->n && (!c->nulls || (c->valid[row / 64] >> row % 64 & 1));
}

static int64_t us_of(int64_t ns)
{
    return ns / 1000 - (ns % 1000 < 0);
}

/* A value as it stands in a column. */
struct cell {
    uint64_t bits;   /* narrowed to the column's width */
    const void *key; /* of a dictionary column */
    uint32_t len;
};

/* What a value is in a column of this type; false: it does not fit. */
static bool make_cell(struct pass *s, const weir_record *r, uint32_t field, enum flow_type type,
                      uint8_t how, struct cell *out)
{
    weir_value v;
    bool good = weir_value_read(r, field, &v) == WEIR_OK;
    *out = (struct cell){.key = v.data, .len = v.len};
    if (type == FLOW_TYPE_OCTETS)
        return true;
    if (!good)
        return false;
    switch (type) {
    case FLOW_TYPE_BOOL:
        out->bits = v.boolean;
        return v.kind == WEIR_KIND_BOOL;
    case FLOW_TYPE_U8:
    case FLOW_TYPE_U16:
    case FLOW_TYPE_U32:
    case FLOW_TYPE_U64: {
        if (v.kind != WEIR_KIND_U64)
            return false;
        out->bits = v.u64;
        if (how == FLOW_HOW_DSCP) {
            out->bits = v.u64 << 2;
            if (v.u64 > 63)
                return false;
        } else if (how == FLOW_HOW_MS && __builtin_mul_overflow(v.u64, 1000U, &out->bits)) {
            return false;
        }
        size_t width = flow_type_octets(type);
        return width == 8 || out->bits >> 8 * width == 0;
    }
    case FLOW_TYPE_S64:
        out->bits = (uint64_t)v.s64;
        return v.kind == WEIR_KIND_S64;
    case FLOW_TYPE_F64:
        if (v.kind == WEIR_KIND_F64)
            memcpy(&out->bits, &v.f64, sizeof v.f64);
        return v.kind == WEIR_KIND_F64;
    case FLOW_TYPE_TIME:
        out->bits = (uint64_t)us_of(v.time_ns);
        return v.kind == WEIR_KIND_TIME;
    case FLOW_TYPE_TIME_NS:
        out->bits = (uint64_t)v.time_ns;
        return v.kind == WEIR_KIND_TIME;
    case FLOW_TYPE_ADDR:
        return v.kind == WEIR_KIND_IPV4 || v.kind == WEIR_KIND_IPV6;
    case FLOW_TYPE_MAC:
        return v.kind == WEIR_KIND_MAC;
    case FLOW_TYPE_TEXT:
        return v.kind == WEIR_KIND_TEXT;
    case FLOW_TYPE_JSON:
        if (v.kind != WEIR_KIND_LIST)
            return false;
        base_buf_reset(&s->n->json);
        flow_value_json(r, field, &s->n->json);
        out->key = s->n->json.data;
        out->len = (uint32_t)s->n->json.len;
        s->failed |= s->n->json.failed;
        return true;
    case FLOW_TYPE_S8:
    case FLOW_TYPE_S16:
    case FLOW_TYPE_S32:
    case FLOW_TYPE_OCTETS:
    case FLOW_N_TYPES:
    default:
        return false;
    }
}

static bool is_key(enum flow_type type)
{
    return flow_type_octets(type) == 0;
}

static void put_cell(struct pass *s, uint32_t column, uint32_t row, const struct cell *c)
{
    struct flow_col *col = &s->b->cols[column];
    if (!(col->dict ? flow_batch_set_key(s->b, column, row, c->key, c->len)
                    : flow_batch_set_u64(s->b, column, row, c->bits)))
        s->failed = true;
}

/* One field into one target, or into the JSON column. */
static void put_value(struct pass *s, const weir_record *r, uint32_t field, uint32_t target,
                      uint8_t how, uint32_t row)
{
    struct flow_target *t = &s->p->targets[target];
    uint32_t column = column_of(s, t, row);
    struct cell c;
    if (s->failed)
        return;
    if (column != FLOW_NO_ROOM && !is_filled(s, t, row) &&
        make_cell(s, r, field, (enum flow_type)t->type, how, &c)) {
        if (!s->failed)
            put_cell(s, column, row, &c);
    } else {
        to_json(s, r, field, row, false);
    }
}

/* A field that its usual column has no use for goes to its extra column; one that repeats is in a list anyway. */
static void put_spare(struct pass *s, const weir_record *r, uint32_t field, uint32_t row)
{
    uint32_t target = s->p->fields[field].extra;
    if (!s->p->targets[target].list)
        put_value(s, r, field, target, FLOW_HOW_PLAIN, row);
}

static bool room_for_items(struct pass *s, size_t n, size_t width)
{
    if (n * width <= s->n->cap_items)
        return true;
    void *grown = realloc(s->n->items, 2 * n * width);
    if (!grown) {
        s->failed = true;
        return false;
    }
    s->n->items = grown;
    s->n->cap_items = 2 * n * width;
    return true;
}

/* All fields of an element into its list. */
static void put_repeat(struct pass *s, const weir_record *r, const struct flow_op *op, uint32_t row)
{
    struct flow_target *t = &s->p->targets[op->target];
    uint32_t column = column_of(s, t, row);
    bool fits = column != FLOW_NO_ROOM && !is_filled(s, t, row);
    size_t width = is_key((enum flow_type)t->type) ? sizeof(uint32_t)
                                                   : flow_type_octets((enum flow_type)t->type);
    uint32_t n = 0;
    for (uint32_t f = op->field; fits && f != FLOW_NONE && !s->failed; f = s->p->fields[f].next) {
        struct cell c;
        fits = make_cell(s, r, f, (enum flow_type)t->type, FLOW_HOW_PLAIN, &c);
        if (!fits || s->failed || !room_for_items(s, (size_t)n + 1, width))
            break;
        if (is_key((enum flow_type)t->type)) {
            uint32_t code = flow_batch_key(s->b, column, c.key, c.len);
            c.bits = code;
            s->failed |= code == UINT32_MAX;
        }
        memcpy((uint8_t *)s->n->items + n++ * width, &c.bits, width);
    }
    if (s->failed)
        return;
    if (!fits)
        to_json(s, r, op->field, row, true);
    else if (!flow_batch_list(s->b, column, row, s->n->items, n))
        s->failed = true;
}

/* ---- fields that depend on each other ---- */

static uint64_t number(const weir_record *r, uint32_t field)
{
    weir_value v;
    if (field == FLOW_NONE || weir_value_read(r, field, &v) != WEIR_OK || v.kind != WEIR_KIND_U64)
        return 0;
    return v.u64;
}

static bool is_zero(const weir_record *r, uint32_t field)
{
    if (field == FLOW_NONE)
        return true;
    const uint8_t *p = weir_field_data(r, field);
    uint8_t all = 0;
    for (uint32_t i = 0; i < r->fields[field].length; i++)
        all |= p[i];
    return all == 0;
}

/* 6 or 4: which addresses of a record that has fields for both are its own. */
static unsigned family_of(const flow_plan *p, const weir_record *r)
{
    if (p->family)
        return p->family;
    uint64_t version = number(r, p->ip_version);
    if (version == 4 || version == 6)
        return (unsigned)version;
    bool four = !is_zero(r, p->addresses[0][0]) || !is_zero(r, p->addresses[0][1]);
    bool six = !is_zero(r, p->addresses[1][0]) || !is_zero(r, p->addresses[1][1]);
    return six && !four ? 6 : 4;
}

/* The flow's own addresses and prefix lengths go by its family; other addresses (next hops, translated ones) may be of
 * the other one: the one that is not zero. */
static bool takes_six(const flow_plan *p, const weir_record *r, const struct flow_op *op)
{
    uint32_t column = p->targets[op->target].column;
    bool own = column == FLOW_src_addr || column == FLOW_dst_addr || column == FLOW_src_mask ||
               column == FLOW_dst_mask;
    if (!own && is_zero(r, op->field) != is_zero(r, op->other))
        return is_zero(r, op->field);
    return family_of(p, r) == 6;
}

static void put_either(struct pass *s, const weir_record *r, const struct flow_op *op, uint32_t row)
{
    bool six = takes_six(s->p, r, op);
    put_value(s, r, six ? op->other : op->field, op->target, op->how, row);
    put_spare(s, r, six ? op->field : op->other, row);
}

static void put_u64(struct pass *s, uint32_t column, uint32_t row, uint64_t v)
{
    if (!flow_batch_set_u64(s->b, column, row, v))
        s->failed = true;
}

/* Time fields that `first` and `last` do not tell of, because they could not be used. */
static void put_time_spares(struct pass *s, const weir_record *r, unsigned flags, uint32_t row)
{
    const flow_plan *p = s->p;
    const int fields[2] = {p->times.first, p->times.last};
    const uint8_t families[2] = {p->times.first_family, p->times.last_family};
    for (int i = 0; i < 2; i++) {
        if (!p->times_kept[i])
            continue;
        weir_value v;
        uint32_t field = (uint32_t)fields[i];
        bool good = weir_value_read(r, field, &v) == WEIR_OK;
        bool uptime = families[i] == WIRE_FAMILY_UPTIME || families[i] == WIRE_FAMILY_DELTA;
        /* A time of 0 says that the exporter has none. An uptime cannot be placed when nobody knows the start. */
        bool unused = flags & WEIR_TIME_EXPORT || (uptime && flags & WEIR_TIME_SUBSTITUTED);
        if (!good || (unused && (uptime || v.time_ns != 0)))
            put_spare(s, r, field, row);
    }
}

static void put_times(struct pass *s, const weir_record *r, uint32_t row)
{
    int64_t first_ns, last_ns;
    unsigned flags = weir_record_times(r, &first_ns, &last_ns);
    put_u64(s, FLOW_first, row, (uint64_t)us_of(first_ns));
    put_u64(s, FLOW_last, row, (uint64_t)us_of(last_ns));
    put_time_spares(s, r, flags, row);
}

/* ICMP type and code from what the record has: elements of the protocol's own version first, then of the other one;
 * without any of them what v5 and many v9 exporters put into the destination port. In a record of another protocol these
 * elements are 0 and say nothing; what is not 0 there is kept. */
static void put_icmp(struct pass *s, const weir_record *r, uint32_t row)
{
    const flow_plan *p = s->p;
    uint64_t proto = number(r, p->proto);
    bool icmp = p->proto == FLOW_NONE || proto == PROTO_ICMP || proto == PROTO_ICMP6;
    unsigned six = proto == PROTO_ICMP6 || (p->proto == FLOW_NONE && family_of(p, r) == 6);
    const uint32_t *f = p->icmp;
    /* Pairs of (type and code), (type), (code), those of the right version first. */
    const uint32_t both[2] = {f[FLOW_ICMP_BOTH4 + six], f[FLOW_ICMP_BOTH6 - six]};
    const uint32_t type[2] = {f[six ? FLOW_ICMP_TYPE6 : FLOW_ICMP_TYPE4],
                              f[six ? FLOW_ICMP_TYPE4 : FLOW_ICMP_TYPE6]};
    const uint32_t code[2] = {f[six ? FLOW_ICMP_CODE6 : FLOW_ICMP_CODE4],
                              f[six ? FLOW_ICMP_CODE4 : FLOW_ICMP_CODE6]};
    bool has_type = false, has_code = false, any = false;
    for (int i = 0; i < 2; i++) {
        uint64_t v;
        if (type[i] != FLOW_NONE) {
            any = true;
            v = number(r, type[i]);
            if (icmp && !has_type && v <= 255) {
                put_u64(s, FLOW_icmp_type, row, v);
                has_type = true;
            } else if (!is_zero(r, type[i])) {
                put_spare(s, r, type[i], row);
            }
        }
        if (code[i] != FLOW_NONE) {
            any = true;
            v = number(r, code[i]);
            if (icmp && !has_code && v <= 255) {
                put_u64(s, FLOW_icmp_code, row, v);
                has_code = true;
            } else if (!is_zero(r, code[i])) {
                put_spare(s, r, code[i], row);
            }
        }
        if (both[i] != FLOW_NONE) {
            any = true;
            v = number(r, both[i]);
            if (icmp && !has_type && !has_code && v <= 65535) {
                put_u64(s, FLOW_icmp_type, row, v >> 8);
                put_u64(s, FLOW_icmp_code, row, v & 255);
                has_type = has_code = true;
            } else if (!is_zero(r, both[i])) {
                put_spare(s, r, both[i], row);
            }
        }
    }
    if (!any && p->proto != FLOW_NONE && icmp && p->dst_port != FLOW_NONE) {
        uint64_t port = number(r, p->dst_port);
        if (port <= 65535) {
            put_u64(s, FLOW_icmp_type, row, port >> 8);
            put_u64(s, FLOW_icmp_code, row, port & 255);
        }
    }
}

/* MPLS label stack sections (IE 70 to 79): 20 bits of label, 3 of traffic class, 1 for the bottom of the stack. Sections
 * of zeros behind the last label are places that the exporter did not fill. */
static void put_mpls(struct pass *s, const weir_record *r, uint32_t row)
{
    const flow_plan *p = s->p;
    uint32_t labels[FLOW_N_MPLS], n = 0, bottom = 0, n_bottoms = 0;
    uint8_t classes[FLOW_N_MPLS];
    for (uint32_t i = 0; i < p->n_mpls; i++)
        if (!is_zero(r, p->mpls[i]))
            n = i + 1;
    if (n == 0)
        return;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t section = (uint32_t)weir_be(weir_field_data(r, p->mpls[i]), 3);
        labels[i] = section >> 4;
        classes[i] = section >> 1 & 7;
        if (section & 1) {
            bottom = bottom ? bottom : i + 1;
            if (n_bottoms++ > 0)
                put_spare(s, r, p->mpls[i], row);
        }
    }
    if (!flow_batch_list(s->b, FLOW_mpls_labels, row, labels, n) ||
        !flow_batch_list(s->b, FLOW_mpls_exp, row, classes, n))
        s->failed = true;
    if (bottom)
        put_u64(s, FLOW_mpls_eos, row, bottom);
}

/* Cisco AVC sends what it found in HTTP under one element: application id 3/80, a sub-application id, then the text. */
static void put_avc(struct pass *s, const weir_record *r, const struct flow_op *op, uint32_t row)
{
    static const uint8_t http[5] = {3, 0, 0, 80, 0x34};
    enum { URL = 1, HOST = 2, HEAD = 6 };
    bool done[3] = {false};
    for (uint32_t f = op->field; f != FLOW_NONE && !s->failed; f = s->p->fields[f].next) {
        weir_value v;
        unsigned what = 0;
        bool text = weir_value_read(r, f, &v) == WEIR_OK && v.kind == WEIR_KIND_TEXT;
        bool headed = v.len >= HEAD && memcmp(v.data, http, sizeof http) == 0;
        if (text && headed && (v.data[5] == HOST || (v.data[5] == URL && op->other != FLOW_NONE)))
            what = v.data[5];
        else if (text && (v.len == 0 || v.data[0] >= ' '))
            what = HOST;
        if (what == 0 || done[what]) {
            put_spare(s, r, f, row);
            continue;
        }
        uint32_t column = s->p->targets[what == HOST ? op->target : op->other].column;
        uint32_t from = headed ? HEAD : 0;
        done[what] = true;
        s->failed = !flow_batch_set_key(s->b, column, row, v.data + from, v.len - from);
    }
}

/* The scope of an options record: {"name":value}, an array where an element repeats. */
static void put_scope(struct pass *s, const weir_record *r, uint32_t row)
{
    base_buf *out = &s->n->json;
    base_buf_reset(out);
    base_buf_char(out, '{');
    for (uint32_t i = 0; i < s->p->n_scope; i++) {
        if (s->p->fields[i].again)
            continue; /* stands in the array of the first one */
        const char *name = s->p->fields[i].name;
        uint32_t next = s->p->fields[i].next;
        if (out->len > 1)
            base_buf_char(out, ',');
        base_json_string(out, name, strlen(name), false);
        base_buf_str(out, next != FLOW_NONE ? ":[" : ":");
        flow_value_json(r, i, out);
        for (uint32_t f = next; f != FLOW_NONE; f = s->p->fields[f].next) {
            base_buf_char(out, ',');
            flow_value_json(r, f, out);
        }
        if (next != FLOW_NONE)
            base_buf_char(out, ']');
    }
    base_buf_char(out, '}');
    if (out->failed ||
        !flow_batch_set_key(s->b, FLOW_OPTION_scope, row, out->data, (uint32_t)out->len))
        s->failed = true;
}

/* One operation for one record: what the kernels below must agree with. */
static void run_op(struct pass *s, const weir_record *r, const struct flow_op *op, uint32_t row)
{
    switch ((enum flow_op_kind)op->kind) {
    case FLOW_OP_VALUE:
        put_value(s, r, op->field, op->target, op->how, row);
        break;
    case FLOW_OP_REPEAT:
        put_repeat(s, r, op, row);
        break;
    case FLOW_OP_EITHER:
        put_either(s, r, op, row);
        break;
    case FLOW_OP_TIMES:
        put_times(s, r, row);
        break;
    case FLOW_OP_ICMP:
        put_icmp(s, r, row);
        break;
    case FLOW_OP_MPLS:
        put_mpls(s, r, row);
        break;
    case FLOW_OP_SCOPE:
        put_scope(s, r, row);
        break;
    case FLOW_OP_AVC:
        put_avc(s, r, op, row);
        break;
    }
}

/* ---- what is the same for all records of a packet ---- */

/* flow_fill_key with the code of the last call, when the key is the same; len <= 16. */
static bool fill_recent(flow_batch *b, struct recent *last, uint32_t column, uint32_t row,
                        uint32_t n, const void *key, uint32_t len)
{
    if (last->len != len || last->batch != b || last->generation != b->generation ||
        memcmp(last->key, key, len) != 0) {
        uint32_t code = flow_batch_key(b, column, key, len);
        if (code == UINT32_MAX)
            return false;
        last->len = len;
        last->code = code;
        last->batch = b;
        last->generation = b->generation;
        memcpy(last->key, key, len);
    }
    return flow_fill_u64(b, column, row, n, last->code);
}

static bool head(flow_normaliser *norm, flow_batch *b, const weir_record *r, uint32_t row,
                 uint32_t n)
{
    const weir_packet *p = r->packet;
    bool ok = flow_fill_u64(b, FLOW_received, row, n, (uint64_t)us_of(p->received_ns)) &&
              flow_fill_u64(b, FLOW_protocol_version, row, n, p->version);
    if (p->from.family)
        ok = ok &&
             fill_recent(b, &norm->exporter, FLOW_exporter, row, n, p->from.addr,
                         p->from.family == 4 ? 4 : 16) &&
             flow_fill_u64(b, FLOW_exporter_port, row, n, p->from.port);
    if (p->version != 1) /* whose header has neither */
        ok = ok && flow_fill_u64(b, FLOW_domain, row, n, p->domain);
    /* Once a packet: rows that are sorted by something else would pay 15 bits each for what says nothing new. */
    uint64_t *told = &norm->told[flow_batch_table(b)];
    if (p->version != 1 && *told != p->id) {
        ok = ok && flow_fill_u64(b, FLOW_sequence, row, 1, p->sequence);
        *told = p->id;
    }
    if (r->tmpl->id)
        ok = ok && flow_fill_u64(b, FLOW_template_id, row, n, r->tmpl->id);
    return ok;
}

static bool put_sampling(flow_normaliser *norm, flow_batch *b, uint32_t row, uint32_t n,
                         const weir_sampling *sampling)
{
    if (!(sampling->rate > 0) || sampling->origin == WEIR_ORIGIN_UNKNOWN)
        return true;
    const char *source = weir_origin_text((weir_origin)sampling->origin);
    uint64_t bits;
    memcpy(&bits, &sampling->rate, sizeof bits);
    return flow_fill_u64(b, FLOW_sampling_rate, row, n, bits) &&
           fill_recent(b, &norm->source, FLOW_sampling_source, row, n, source,
                       (uint32_t)strlen(source));
}

/* ---- a field at a time over n records ---- */

/* Records of a set, and the row of the first one. */
struct records {
    const weir_record *first;
    uint32_t n, row;
};

static weir_record record_at(const struct records *in, uint32_t i)
{
    weir_record r = *in->first;
    r.data += (size_t)i * r.len;
    return r;
}

static void each(struct pass *s, const struct records *in, const struct flow_op *op)
{
    for (uint32_t i = 0; i < in->n && !s->failed; i++) {
        weir_record r = record_at(in, i);
        run_op(s, &r, op, in->row + i);
    }
}

static struct flow_run run_of(const struct records *in, uint32_t field)
{
    const weir_field *f = &in->first->fields[field];
    return (struct flow_run){in->first->data + f->offset, in->first->len, in->n, f->length};
}

static void load_value(struct pass *s, const struct records *in, const struct flow_op *op)
{
    struct flow_target *t = &s->p->targets[op->target];
    if (op->fn) {
        struct flow_run run = run_of(in, op->field);
        void *out = flow_col_append(s->b, &s->b->cols[op->column], in->row, in->n);
        if (out)
            op->fn(out, &run);
        else
            s->failed = true;
        return;
    }
    if (op->load != FLOW_LOAD_ROWS) {
        uint32_t column = column_of(s, t, in->row);
        if (s->failed)
            return;
        if (column != FLOW_NO_ROOM && s->b->cols[column].n <= in->row) {
            struct flow_run run = run_of(in, op->field);
            struct flow_col *c = &s->b->cols[column];
            enum flow_loaded done = op->load == FLOW_LOAD_UINT
                                        ? flow_load_uint(s->b, c, in->row, &run)
                                        : flow_load_keys(s->b, c, in->row, &run);
            s->failed = done == FLOW_LOAD_NOMEM;
            if (done != FLOW_LOAD_MISFIT)
                return;
        }
    }
    each(s, in, op);
}

/* Where all records of a set take the same one, which is so most of the time, both fields have their kernels. */
static void all_either(struct pass *s, const struct records *in, const struct flow_op *op)
{
    bool six = takes_six(s->p, in->first, op), mixed = false;
    for (uint32_t i = 1; i < in->n && !mixed; i++) {
        weir_record r = record_at(in, i);
        mixed = takes_six(s->p, &r, op) != six;
    }
    if (mixed) {
        each(s, in, op);
        return;
    }
    const uint32_t fields[2] = {op->field, op->other};
    const uint8_t loads[2] = {op->load, op->load_other};
    uint32_t spare = s->p->fields[fields[!six]].extra;
    const struct flow_op ops[2] = {
        {.kind = FLOW_OP_VALUE, .field = fields[six], .target = op->target, .load = loads[six]},
        {.kind = FLOW_OP_VALUE, .field = fields[!six], .target = spare, .load = loads[!six]}};
    load_value(s, in, &ops[0]);
    if (!s->failed && !s->p->targets[spare].list)
        load_value(s, in, &ops[1]);
}

/* sysUptime in milliseconds against the header's, as uptime_ns in src/wire/time.c has it. */
static void load_uptime(int64_t *restrict out, const struct flow_run *in, uint32_t uptime_ms,
                        int64_t export_us)
{
    for (uint32_t i = 0; i < in->n; i++) {
        uint32_t v;
        memcpy(&v, in->at + i * in->stride, sizeof v);
        uint32_t ahead_ms = __builtin_bswap32(v) - uptime_ms;
        int64_t ahead = ahead_ms, age = (uint32_t)-ahead_ms;
        out[i] = export_us + (ahead < WIRE_AHEAD_MS ? ahead : -age) * 1000;
    }
}

/* Milliseconds since 1970; false: one of them is 0 or beyond what weir_value_read takes. */
static bool load_milliseconds(int64_t *restrict out, const struct flow_run *in)
{
    bool odd = false;
    for (uint32_t i = 0; i < in->n; i++) {
        uint64_t v;
        memcpy(&v, in->at + i * in->stride, sizeof v);
        v = __builtin_bswap64(v);
        odd |= v - 1 >= INT64_MAX / 1000000;
        out[i] = (int64_t)(v * 1000);
    }
    return !odd;
}

/* Both times by a kernel, where every record has both in one common form. */
static bool load_times(const struct pass *s, const struct records *in, int64_t *first,
                       int64_t *last)
{
    const struct wire_time_fields *t = &s->p->times;
    const weir_packet *packet = in->first->packet;
    if (!s->p->times_kept[0] || !s->p->times_kept[1] || t->first_family != t->last_family)
        return false;
    struct flow_run from = run_of(in, (uint32_t)t->first), to = run_of(in, (uint32_t)t->last);
    if (t->first_family == WIRE_FAMILY_UPTIME && packet->version != 10) {
        int64_t export_us = us_of(weir_packet_export_ns(packet));
        load_uptime(first, &from, packet->uptime_ms, export_us);
        load_uptime(last, &to, packet->uptime_ms, export_us);
        return true;
    }
    return t->first_family == WIRE_FAMILY_MILLISECONDS && load_milliseconds(first, &from) &&
           load_milliseconds(last, &to);
}

static void all_times(struct pass *s, const struct records *in, const struct flow_op *op)
{
    if (!wire_times_plain(in->first)) {
        each(s, in, op);
        return;
    }
    int64_t *first = flow_batch_values(s->b, FLOW_first, in->row, in->n);
    int64_t *last = flow_batch_values(s->b, FLOW_last, in->row, in->n);
    s->failed = !first || !last;
    if (s->failed || load_times(s, in, first, last))
        return;
    int64_t first_ns, last_ns;
    if (s->p->times.first < 0 && s->p->times.last < 0) { /* the export time of the packet */
        (void)weir_record_times(in->first, &first_ns, &last_ns);
        for (uint32_t i = 0; i < in->n; i++) {
            first[i] = us_of(first_ns);
            last[i] = us_of(last_ns);
        }
        return;
    }
    for (uint32_t i = 0; i < in->n && !s->failed; i++) {
        weir_record r = record_at(in, i);
        unsigned flags = weir_record_times(&r, &first_ns, &last_ns);
        first[i] = us_of(first_ns);
        last[i] = us_of(last_ns);
        put_time_spares(s, &r, flags, in->row + i);
    }
}

/* Only records that are ICMP, or that have something to keep, are looked at one by one. */
static void all_icmp(struct pass *s, const struct records *in, const struct flow_op *op)
{
    const flow_plan *p = s->p;
    uint32_t fields[FLOW_N_ICMP], n_fields = 0;
    for (int i = 0; i < FLOW_N_ICMP; i++)
        if (p->icmp[i] != FLOW_NONE)
            fields[n_fields++] = p->icmp[i];
    if (n_fields == 0 && (p->proto == FLOW_NONE || p->dst_port == FLOW_NONE))
        return;
    if (p->proto == FLOW_NONE || in->first->fields[p->proto].length != 1) {
        each(s, in, op);
        return;
    }
    struct flow_run protos = run_of(in, p->proto);
    for (uint32_t i = 0; i < in->n && !s->failed; i++) {
        uint8_t proto = protos.at[i * protos.stride];
        bool look = proto == PROTO_ICMP || proto == PROTO_ICMP6;
        if (!look && n_fields == 0)
            continue;
        weir_record r = record_at(in, i);
        for (uint32_t k = 0; k < n_fields; k++)
            look |= !is_zero(&r, fields[k]);
        if (look)
            run_op(s, &r, op, in->row + i);
    }
}

/* Rates of the records: asked for once for each content of the fields that decide. */
static void all_rates(struct pass *s, const struct records *in)
{
    const flow_plan *p = s->p;
    struct {
        uint8_t key[FLOW_SAMPLING_OCTETS];
        weir_sampling sampling;
    } known[N_RATES];
    uint32_t n_known = 0, start = 0;
    weir_sampling before = {0};
    if (wire_sampling_uniform(in->first)) {
        before = weir_record_sampling(in->first);
        s->failed = !put_sampling(s->n, s->b, in->row, in->n, &before);
        return;
    }
    for (uint32_t i = 0; i < in->n && !s->failed; i++) {
        weir_record r = record_at(in, i);
        weir_sampling now;
        if (p->sampling_octets > FLOW_SAMPLING_OCTETS) {
            now = weir_record_sampling(&r);
        } else {
            uint8_t key[FLOW_SAMPLING_OCTETS] = {0};
            for (uint32_t k = 0, at = 0; k < p->n_sampling; k++) {
                const weir_field *f = &r.fields[p->sampling[k]];
                if (f->length)
                    memcpy(key + at, r.data + f->offset, f->length);
                at += f->length;
            }
            uint32_t k = 0;
            while (k < n_known && memcmp(known[k].key, key, sizeof key) != 0)
                k++;
            if (k == n_known) {
                if (n_known == N_RATES)
                    k = i % N_RATES;
                else
                    n_known++;
                memcpy(known[k].key, key, sizeof key);
                known[k].sampling = weir_record_sampling(&r);
            }
            now = known[k].sampling;
        }
        if (i > 0 && (memcmp(&now.rate, &before.rate, sizeof now.rate) != 0 ||
                      now.origin != before.origin)) {
            s->failed = !put_sampling(s->n, s->b, in->row + start, i - start, &before);
            start = i;
        }
        before = now;
    }
    if (in->n > start && !s->failed)
        s->failed = !put_sampling(s->n, s->b, in->row + start, in->n - start, &before);
}

static void all_ops(struct pass *s, const struct records *in)
{
    for (uint32_t i = 0; i < s->p->n_ops && !s->failed; i++) {
        const struct flow_op *op = &s->p->ops[i];
        switch ((enum flow_op_kind)op->kind) {
        case FLOW_OP_VALUE:
            load_value(s, in, op);
            break;
        case FLOW_OP_TIMES:
            all_times(s, in, op);
            break;
        case FLOW_OP_ICMP:
            all_icmp(s, in, op);
            break;
        case FLOW_OP_EITHER:
            all_either(s, in, op);
            break;
        case FLOW_OP_REPEAT:
        case FLOW_OP_MPLS:
        case FLOW_OP_SCOPE:
        case FLOW_OP_AVC:
            each(s, in, op);
            break;
        }
    }
}

/* ---- the ways in ---- */

/* Begin: entries forgotten, a row for each record, the head filled. */
static bool begin(struct pass *s, const weir_record *r, uint32_t n_rows, uint32_t *row)
{
    flow_normaliser *n = s->n;
    n->n_entries = 0;
    base_buf_reset(&n->text);
    s->p = plan_of(n, s->b, r);
    if (!s->p)
        return false;
    *row = flow_batch_add_rows(s->b, n_rows);
    if (*row == UINT32_MAX)
        return false;
    s->failed = !head(n, s->b, r, *row, n_rows);
    return true;
}

static weir_status lost(struct pass *s, uint64_t n_rows)
{
    s->n->counters.rows_lost += n_rows;
    return WEIR_ENOMEM;
}

static weir_status end(struct pass *s, uint32_t row, uint32_t n_rows, uint32_t extra,
                       uint64_t *counter)
{
    s->failed = s->failed || !put_entries(s->n, s->b, extra);
    if (s->failed) {
        flow_batch_cut(s->b, row);
        s->n->told[flow_batch_table(s->b)] = 0;
        return lost(s, n_rows);
    }
    *counter += n_rows;
    return WEIR_OK;
}

weir_status flow_add_record(flow_normaliser *n, flow_batch *b, const weir_record *r)
{
    struct pass s = {.n = n, .b = b, .gap_left = MAX_GAP};
    uint32_t row;
    if (!begin(&s, r, 1, &row))
        return lost(&s, 1);
    weir_sampling sampling = weir_record_sampling(r);
    s.failed = s.failed || !put_sampling(n, b, row, 1, &sampling);
    for (uint32_t i = 0; i < s.p->n_ops && !s.failed; i++)
        run_op(&s, r, &s.p->ops[i], row);
    return end(&s, row, 1, FLOW_extra, &n->counters.rows);
}

weir_status flow_add_records(flow_normaliser *n, flow_batch *b, const weir_record *first,
                             size_t n_records)
{
    struct pass s = {.n = n, .b = b, .gap_left = MAX_GAP};
    struct records in = {.first = first, .n = (uint32_t)n_records};
    if (n_records == 0)
        return WEIR_OK;
    if (n_records >= UINT32_MAX || !begin(&s, first, in.n, &in.row))
        return lost(&s, n_records);
    if (!s.failed)
        all_rates(&s, &in);
    if (!s.failed)
        all_ops(&s, &in);
    return end(&s, in.row, in.n, FLOW_extra, &n->counters.rows);
}

weir_status flow_add_options(flow_normaliser *n, flow_batch *b, const weir_record *r)
{
    struct pass s = {.n = n, .b = b, .gap_left = MAX_GAP};
    uint32_t row;
    if (!begin(&s, r, 1, &row))
        return lost(&s, 1);
    weir_sampling sampling = weir_record_sampling(r);
    if (sampling.origin == WEIR_ORIGIN_RECORD && sampling.rate > 0 &&
        !flow_batch_set_f64(b, FLOW_OPTION_sampling_rate, row, sampling.rate))
        s.failed = true;
    for (uint32_t i = 0; i < s.p->n_ops && !s.failed; i++)
        run_op(&s, r, &s.p->ops[i], row);
    return end(&s, row, 1, FLOW_OPTION_extra, &n->counters.option_rows);
}
