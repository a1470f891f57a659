#include "flow/normalise.h"

#include "base/hash.h"
#include "base/text.h"
#include "flow/flow.h"
#include "flow/load.h"
#include "flow/plan.h"
#include "flow/stage.h"
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

/* Few plans serve many templates: exporters of one make and model define the same ones. */
enum {
    N_BUCKETS = 1024,
    MAX_PLANS = 16384,
    MAX_OCTETS = 64 << 20,
    N_KNOWN_BUCKETS = 16384,
    MAX_KNOWN = 65536,
    N_RECENT = 256
};
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

/* A template that records came of. */
struct known {
    struct known *chain;
    const weir_template *tmpl; /* only compared */
    uint64_t serial;
    flow_plan *plan;
    /* Rate of all records under this, as long as wire_sampling_epoch says so. */
    const struct weir_stream *rate_stream;
    uint64_t rate_epoch;
    weir_sampling rate;
    uint16_t rate_header; /* weir_packet.sampling */
};

struct flow_normaliser {
    flow_plan **buckets; /* N_BUCKETS, by content */
    size_t octets, n_plans;
    struct known **known;           /* N_KNOWN_BUCKETS */
    struct known *recent[N_RECENT]; /* by serial */
    size_t n_known;
    uint64_t seed;
    struct flow_counters counters;
    struct entry *entries;
    size_t n_entries, cap_entries;
    base_buf text;    /* of the entries */
    uint64_t told[2]; /* packet whose sequence number stands in a row already, by enum flow_table */
    uint64_t *values; /* one a span */
    size_t cap_values;
    struct flow_span *spans; /* of records that become rows at once */
    uint32_t cap_spans;
    /* Records that become rows later. */
    flow_plan *active[FLOW_MAX_STAGES];
    uint32_t n_active, n_packets;
    struct flow_stage *spare;
    struct flow_packet *packets; /* FLOW_MAX_PACKETS */
    flow_lost_fn *on_lost;
    void *on_lost_user;
    base_buf json; /* of one value or row */
    void *items;   /* of one list */
    size_t cap_items;
    /* Codes of the last exporter and the last source of a rate, which mostly are those of the next packet too. */
    struct recent {
        uint8_t key[16];
        uint32_t len, code;
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
    bool failed;    /* out of memory */
    bool odd_times; /* one of them is not as the kernel for times has it */
};

flow_normaliser *flow_normaliser_new(void)
{
    flow_normaliser *n = calloc(1, sizeof *n);
    if (!n)
        return NULL;
    n->seed = base_hash_seed();
    n->buckets = calloc(N_BUCKETS, sizeof *n->buckets);
    n->known = calloc(N_KNOWN_BUCKETS, sizeof(struct known *));
    n->packets = malloc(FLOW_MAX_PACKETS * sizeof *n->packets);
    if (n->buckets && n->known && n->packets)
        return n;
    free(n->buckets);
    free(n->known);
    free(n->packets);
    free(n);
    return NULL;
}

static void release(flow_normaliser *n, flow_plan *p);
static void tell_lost(const flow_normaliser *n, const struct flow_stage *stage);

void flow_normaliser_on_lost(flow_normaliser *n, flow_lost_fn *fn, void *user)
{
    n->on_lost = fn;
    n->on_lost_user = user;
}

static void forget_templates(flow_normaliser *n)
{
    for (size_t i = 0; n->n_known && i < N_KNOWN_BUCKETS; i++) {
        while (n->known[i]) {
            struct known *k = n->known[i];
            n->known[i] = k->chain;
            free(k);
            n->n_known--;
        }
    }
    memset(n->recent, 0, sizeof n->recent);
}

/* All templates, and the plans under which nothing waits. */
static void forget_idle(flow_normaliser *n)
{
    forget_templates(n);
    for (size_t i = 0; i < N_BUCKETS; i++) {
        for (flow_plan **at = &n->buckets[i]; *at;) {
            flow_plan *p = *at;
            if (p->stage) {
                at = &p->chain;
                continue;
            }
            *at = p->chain;
            n->octets -= p->octets;
            n->n_plans--;
            flow_plan_free(p);
        }
    }
}

void flow_normaliser_forget(flow_normaliser *n)
{
    while (n->n_active) {
        n->counters.rows_lost += n->active[0]->stage->n;
        tell_lost(n, n->active[0]->stage);
        release(n, n->active[0]);
    }
    forget_idle(n);
    n->told[0] = n->told[1] = 0;
}

void flow_normaliser_free(flow_normaliser *n)
{
    if (!n)
        return;
    flow_normaliser_forget(n);
    for (struct flow_stage *stage = n->spare, *next; stage; stage = next) {
        next = stage->next;
        flow_stage_free(stage);
    }
    free(n->packets);
    free(n->values);
    free(n->spans);
    free(n->buckets);
    free(n->known);
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

/* The plan of what the record's template says. NULL: out of memory. */
static flow_plan *plan_for(flow_normaliser *n, const weir_record *r)
{
    uint64_t hash = flow_plan_hash(r, n->seed);
    flow_plan **bucket = &n->buckets[hash % N_BUCKETS];
    for (flow_plan *p = *bucket; p; p = p->chain)
        if (p->hash == hash && flow_plan_serves(p, r))
            return p;
    flow_plan *p = flow_plan_new(r, hash);
    if (!p)
        return NULL;
    p->chain = *bucket;
    *bucket = p;
    n->octets += p->octets;
    n->n_plans++;
    return p;
}

/* Plans have become too many or too large: those that records wait for go too when they are much of it. */
static void make_room(flow_normaliser *n, flow_batch *b)
{
    forget_idle(n);
    if (n->octets <= MAX_OCTETS / 2)
        return;
    if (flow_batch_table(b) == FLOW_TABLE_FLOWS)
        (void)flow_flush(n, b);
    flow_normaliser_forget(n);
}

static bool same_template(const struct known *k, const weir_record *r)
{
    return k->tmpl == r->tmpl && k->serial == r->tmpl->serial && k->plan->n_fields == r->n_fields;
}

/* The record's template and its plan. NULL: out of memory. b: for what was gathered, when plans must make room. */
static struct known *known_of(flow_normaliser *n, flow_batch *b, const weir_record *r)
{
    struct known **recent = &n->recent[r->tmpl->serial % N_RECENT];
    struct known *k = *recent;
    if (k && same_template(k, r))
        return k;
    if (n->octets > MAX_OCTETS || n->n_plans > MAX_PLANS)
        make_room(n, b);
    struct {
        uint64_t serial;
        const weir_template *tmpl;
    } id = {r->tmpl->serial, r->tmpl};
    struct known **bucket = &n->known[base_hash(&id, sizeof id, n->seed) % N_KNOWN_BUCKETS];
    for (k = *bucket; k && !same_template(k, r);)
        k = k->chain;
    if (!k) {
        if (n->n_known == MAX_KNOWN)
            forget_templates(n);
        flow_plan *p = plan_for(n, r);
        k = p ? malloc(sizeof *k) : NULL;
        if (!k)
            return NULL;
        *k =
            (struct known){.chain = *bucket, .tmpl = r->tmpl, .serial = r->tmpl->serial, .plan = p};
        *bucket = k;
        n->n_known++;
    }
    *recent = k;
    return k;
}

/* Extra columns have their numbers for one filling of one batch. */
static void bind(flow_plan *p, const flow_batch *b)
{
    if (p->generation == b->generation)
        return;
    for (uint32_t i = 0; i < p->n_targets; i++)
        if (p->targets[i].extra)
            p->targets[i].column = FLOW_NONE;
    p->generation = b->generation;
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

/* Records of one plan from several packets, each behind the one before; the row of the first one. */
struct records {
    weir_record like; /* one of them, without its octets and its packet */
    const uint8_t *data;
    uint32_t stride; /* octets from one to the next */
    uint32_t n, row;
    const struct flow_span *spans;
    uint32_t n_spans;
    struct flow_packet *packets;    /* of the spans */
    const struct flow_stage *stage; /* with the tails of records that have them; or NULL */
};

static struct flow_packet packet_of(const weir_packet *p)
{
    struct flow_packet out = {.packet = *p,
                              .received_us = us_of(p->received_ns),
                              .export_us = us_of(weir_packet_export_ns(p))};
    out.packet.data = NULL;
    out.packet.len = 0;
    return out;
}

/* The key's code, which mostly is that of the last call; len <= 16. UINT32_MAX: out of memory. */
static uint32_t recent_code(flow_batch *b, struct recent *last, uint32_t column, const void *key,
                            uint32_t len)
{
    if (last->len != len || last->generation != b->generation || memcmp(last->key, key, len) != 0) {
        uint32_t code = flow_batch_key(b, column, key, len);
        if (code == UINT32_MAX)
            return code;
        last->len = len;
        last->code = code;
        last->generation = b->generation;
        memcpy(last->key, key, len);
    }
    return last->code;
}

/* Room for some values of each span. */
static uint64_t *values_of(struct pass *s, const struct records *in, size_t some)
{
    flow_normaliser *n = s->n;
    if (some * in->n_spans > n->cap_values) {
        uint64_t *grown = realloc(n->values, some * in->n_spans * sizeof *grown);
        s->failed |= !grown;
        if (!grown)
            return NULL;
        n->values = grown;
        n->cap_values = some * in->n_spans;
    }
    return n->values;
}

/* A value for the records of each span; all of them have the first one's unless differ. */
static void fill(struct pass *s, const struct records *in, uint32_t column, const uint64_t *values,
                 bool differ)
{
    if (!s->failed)
        s->failed =
            differ ? !flow_fill_spans(s->b, column, in->row, in->n, in->spans, values, in->n_spans)
                   : !flow_fill_u64(s->b, column, in->row, in->n, values[0]);
}

/* The same where some spans have none. */
static void fill_some(struct pass *s, const struct records *in, uint32_t column,
                      const uint64_t *values, uint64_t none)
{
    for (uint32_t i = 0; i < in->n_spans && !s->failed; i++) {
        const struct flow_span *span = &in->spans[i];
        if (values[i] != none)
            s->failed = !flow_fill_u64(s->b, column, in->row + span->start, span->n, values[i]);
    }
}

/* The code of a packet's exporter in this batch. */
static uint32_t exporter_code(struct pass *s, struct flow_packet *p)
{
    if (p->generation != s->b->generation) {
        const weir_endpoint *from = &p->packet.from;
        p->exporter = recent_code(s->b, &s->n->exporter, FLOW_exporter, from->addr,
                                  from->family == 4 ? 4 : 16);
        s->failed |= p->exporter == UINT32_MAX;
        p->generation = s->b->generation;
    }
    return p->exporter;
}

/* Once a packet: rows that are sorted by something else would pay 15 bits each for what says nothing new. */
static void head_sequence(struct pass *s, const struct records *in, uint64_t *values)
{
    uint32_t n = 0;
    if (!room_for_items(s, in->n_spans, sizeof(uint32_t)))
        return;
    uint32_t *rows = s->n->items;
    for (uint32_t i = 0; i < in->n_spans; i++) {
        rows[n] = in->row + in->spans[i].start;
        values[n] = in->packets[in->spans[i].packet].packet.sequence;
        n += in->spans[i].sequence;
    }
    s->failed = s->failed || !flow_fill_sparse(s->b, FLOW_sequence, rows, values, n);
}

static void head(struct pass *s, const struct records *in)
{
    enum { RECEIVED, EXPORTER, PORT, DOMAIN, TEMPLATE, N };
    const uint64_t none = UINT64_MAX;
    uint64_t *values = values_of(s, in, N), differ[N] = {0};
    if (!values)
        return;
    uint64_t *v[N];
    for (int k = 0; k < N; k++)
        v[k] = values + (size_t)k * in->n_spans;
    bool all = true;
    for (uint32_t i = 0; i < in->n_spans; i++) {
        struct flow_packet *p = &in->packets[in->spans[i].packet];
        bool known = p->packet.from.family; /* of a payload file nobody knows who sent it */
        all &= known;
        v[RECEIVED][i] = (uint64_t)p->received_us;
        v[EXPORTER][i] = known ? exporter_code(s, p) : none;
        v[PORT][i] = known ? p->packet.from.port : none;
        v[DOMAIN][i] = p->packet.domain;
        v[TEMPLATE][i] = in->spans[i].template_id;
        for (int k = 0; k < N; k++)
            differ[k] |= v[k][i] ^ v[k][0];
    }
    const weir_packet *first = &in->packets[in->spans[0].packet].packet;
    const uint64_t version = first->version; /* of all: a plan serves one */
    fill(s, in, FLOW_received, v[RECEIVED], differ[RECEIVED]);
    fill(s, in, FLOW_protocol_version, &version, false);
    if (all) {
        fill(s, in, FLOW_exporter, v[EXPORTER], differ[EXPORTER]);
        fill(s, in, FLOW_exporter_port, v[PORT], differ[PORT]);
    } else {
        fill_some(s, in, FLOW_exporter, v[EXPORTER], none);
        fill_some(s, in, FLOW_exporter_port, v[PORT], none);
    }
    if (version >= 9)
        fill(s, in, FLOW_template_id, v[TEMPLATE], differ[TEMPLATE]);
    if (version != 1) { /* whose header has neither */
        fill(s, in, FLOW_domain, v[DOMAIN], differ[DOMAIN]);
        head_sequence(s, in, values);
    }
}

/* ---- rates ---- */

static bool known_rate(const struct flow_span *span)
{
    return span->rate > 0 && span->origin != WEIR_ORIGIN_UNKNOWN;
}

/* Where a rate comes from, as a code of its column. */
static uint64_t source_code(struct pass *s, const struct flow_span *span)
{
    const char *source = weir_origin_text((weir_origin)span->origin);
    uint32_t code =
        recent_code(s->b, &s->n->source, FLOW_sampling_source, source, (uint32_t)strlen(source));
    s->failed |= code == UINT32_MAX;
    return code;
}

static void put_rates(struct pass *s, const struct records *in)
{
    const struct flow_span *first = &in->spans[0];
    bool all = known_rate(first), any = all, differ = false;
    for (uint32_t i = 1; i < in->n_spans; i++) {
        const struct flow_span *span = &in->spans[i];
        bool known = known_rate(span);
        all &= known;
        any |= known;
        differ |= span->origin != first->origin ||
                  memcmp(&span->rate, &first->rate, sizeof first->rate) != 0;
    }
    if (!any)
        return;
    uint64_t *v = values_of(s, in, 1);
    for (uint32_t i = 0; v && i < (differ ? in->n_spans : 1); i++) /* no rate is 0 */
        memcpy(&v[i], known_rate(&in->spans[i]) ? &in->spans[i].rate : &(double){0}, sizeof *v);
    if (all && v)
        fill(s, in, FLOW_sampling_rate, v, differ);
    else if (v)
        fill_some(s, in, FLOW_sampling_rate, v, 0);
    for (uint32_t i = 0; v && i < (differ ? in->n_spans : 1) && !s->failed; i++)
        v[i] = known_rate(&in->spans[i]) ? source_code(s, &in->spans[i]) : UINT64_MAX;
    if (all && v)
        fill(s, in, FLOW_sampling_source, v, differ);
    else if (v)
        fill_some(s, in, FLOW_sampling_source, v, UINT64_MAX);
}

/* Fields that decide on the rates of the records of a packet. */
struct deciders {
    uint32_t n, octets;
    uint32_t fields[8];
};

static struct deciders deciders_of(const flow_plan *p, const weir_record *r)
{
    struct deciders d = {0};
    for (uint32_t k = 0; k < p->n_sampling; k++) {
        const weir_field *f = &r->fields[p->sampling[k]];
        if (f->length == 0 || !wire_sampling_decides(r, f->element))
            continue;
        d.fields[d.n++] = p->sampling[k];
        d.octets += f->length;
    }
    return d;
}

/* Whether two records agree in what decides. */
static bool same_key(const struct deciders *d, const weir_record *a, const weir_record *b)
{
    for (uint32_t k = 0; k < d->n; k++) {
        const weir_field *f = &a->fields[d->fields[k]];
        if (f->length == 1 ? a->data[f->offset] != b->data[f->offset]
                           : memcmp(a->data + f->offset, b->data + f->offset, f->length) != 0)
            return false;
    }
    return true;
}

static void rate_key(const struct deciders *d, const weir_record *r,
                     uint8_t key[FLOW_SAMPLING_OCTETS])
{
    memset(key, 0, FLOW_SAMPLING_OCTETS);
    for (uint32_t k = 0, at = 0; k < d->n; k++) {
        const weir_field *f = &r->fields[d->fields[k]];
        memcpy(key + at, r->data + f->offset, f->length);
        at += f->length;
    }
}

/* Records of one packet into spans of one rate each, where records differ: asked for once for each content of the fields
 * that decide. Returns how many spans; 0: more than max. */
static uint32_t split(const flow_plan *p, const weir_record *first, uint32_t n_records,
                      const struct flow_span *like, struct flow_span *out, uint32_t max)
{
    struct {
        uint8_t key[FLOW_SAMPLING_OCTETS];
        weir_sampling sampling;
    } known[N_RATES];
    struct deciders d = deciders_of(p, first);
    bool compared = p->sampling_octets <= FLOW_SAMPLING_OCTETS;
    uint32_t n_known = 0, n_out = 0;
    weir_record r = *first, before = r;
    for (uint32_t i = 0; i < n_records; i++, r.data += r.len) {
        if (i > 0 && compared && same_key(&d, &r, &before)) {
            out[n_out - 1].n++;
            continue;
        }
        weir_sampling now;
        before = r;
        if (compared) {
            uint8_t key[FLOW_SAMPLING_OCTETS];
            uint32_t k = 0;
            rate_key(&d, &r, key);
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
        } else {
            now = weir_record_sampling(&r);
        }
        if (n_out == 0 || out[n_out - 1].origin != now.origin ||
            memcmp(&out[n_out - 1].rate, &now.rate, sizeof now.rate) != 0) {
            if (n_out == max)
                return 0;
            out[n_out] = *like;
            out[n_out].start += i;
            out[n_out].origin = now.origin;
            out[n_out].rate = now.rate;
            n_out++;
        }
        out[n_out - 1].n++;
    }
    return n_out;
}

/* Records of one packet as spans of one rate each. start: of the first record. Returns how many; 0: more than max. */
static uint32_t spans_of(flow_normaliser *n, struct known *t, const weir_record *first,
                         uint32_t n_records, uint32_t start, uint32_t packet, struct flow_span *out,
                         uint32_t max)
{
    struct flow_span span = {.start = start, .packet = packet, .template_id = first->tmpl->id};
    const weir_packet *from = first->packet;
    uint64_t epoch = wire_sampling_epoch(first);
    uint32_t n_out = 1;
    if (max == 0)
        return 0;
    if (t->rate_stream != first->stream || t->rate_epoch != epoch ||
        t->rate_header != from->sampling) {
        t->rate_stream = NULL;
        if (wire_sampling_uniform(first)) {
            t->rate = weir_record_sampling(first);
            t->rate_stream = first->stream;
            t->rate_epoch = epoch;
            t->rate_header = from->sampling;
        }
    }
    if (t->rate_stream) {
        span.n = n_records;
        span.origin = t->rate.origin;
        span.rate = t->rate.rate;
        out[0] = span;
    } else {
        n_out = split(t->plan, first, n_records, &span, out, max);
    }
    uint64_t *told = &n->told[first->tmpl->options];
    if (n_out) {
        out[0].sequence = from->version != 1 && *told != from->id;
        *told = from->id;
    }
    return n_out;
}

/* ---- a field at a time over n records ---- */

/* Record i; *span is that of a record before it. */
static weir_record record_at(const struct pass *s, const struct records *in, uint32_t i,
                             uint32_t *span)
{
    weir_record r = in->like;
    while (i >= in->spans[*span].start + in->spans[*span].n)
        ++*span;
    r.packet = &in->packets[in->spans[*span].packet].packet;
    r.data = in->data + (size_t)i * in->stride;
    if (in->stage) {
        const struct flow_tail *tail = &in->stage->tails[i];
        size_t octets = (r.n_fields - s->p->n_fixed) * sizeof *r.fields;
        memcpy(s->p->scratch + s->p->n_fixed, in->stage->tail + tail->at, octets);
        r.fields = s->p->scratch;
        r.data = in->stage->tail + tail->at + octets;
        r.len = tail->len;
    }
    return r;
}

static void each(struct pass *s, const struct records *in, const struct flow_op *op)
{
    for (uint32_t i = 0, span = 0; i < in->n && !s->failed; i++) {
        weir_record r = record_at(s, in, i, &span);
        run_op(s, &r, op, in->row + i);
    }
}

/* Whether a field has the same place in all records. */
static bool has_place(const struct pass *s, uint32_t field)
{
    return field < s->p->n_fixed;
}

static struct flow_run run_of(const struct records *in, uint32_t field)
{
    const weir_field *f = &in->like.fields[field];
    return (struct flow_run){in->data + f->offset, in->stride, in->n, f->length};
}

static void load_value(struct pass *s, const struct records *in, const struct flow_op *op)
{
    struct flow_target *t = &s->p->targets[op->target];
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

/* Where all records take the same one, which is so most of the time, both fields have their kernels. */
static void all_either(struct pass *s, const struct records *in, const struct flow_op *op)
{
    uint32_t span = 0;
    bool six = false, mixed = false;
    for (uint32_t i = 0; i < in->n && !mixed; i++) {
        weir_record r = record_at(s, in, i, &span);
        bool takes = takes_six(s->p, &r, op);
        mixed = i > 0 && takes != six;
        six = takes;
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

/* Moments of sysUptime, each against the header of its packet. */
static void put_uptimes(const struct pass *s, const struct records *in, uint32_t from, uint32_t n,
                        const uint32_t *values, int64_t *out)
{
    for (uint32_t i = 0; i < in->n_spans; i++) {
        const struct flow_span *span = &in->spans[i];
        const struct flow_packet *p = &in->packets[span->packet];
        uint32_t end = span->start + span->n;
        if (span->start >= from + n || end <= from)
            continue;
        uint32_t a = span->start > from ? span->start - from : 0;
        uint32_t z = end < from + n ? end - from : n;
        s->b->kernels->uptime(out + a, values + a, z - a, p->packet.uptime_ms, WIRE_AHEAD_MS,
                              p->export_us);
    }
}

/* One of the numbers of a window from records [from, from + n) into its column. */
static void put_lane(struct pass *s, const struct records *in, const struct flow_lane *lane,
                     uint32_t from, uint32_t n, const uint32_t *high, const uint32_t *low)
{
    const struct flow_kernels *k = s->b->kernels;
    struct flow_col *c = &s->b->cols[lane->column];
    void *out = (uint8_t *)c->data + (size_t)(in->row + from) * c->width;
    if (lane->kind == FLOW_LANE_KEY) {
        s->failed = !flow_codes4(s->b, &c->keys, high, n, out);
    } else if (lane->kind == FLOW_LANE_TIME && lane->wide) {
        s->odd_times |= !k->milliseconds(out, high, low, n, INT64_MAX / 1000000);
    } else if (lane->kind == FLOW_LANE_TIME) {
        put_uptimes(s, in, from, n, high, out);
    } else if (lane->kind == FLOW_LANE_UINT) {
        if (lane->width == 1)
            s->p->ops[lane->op].misfit |= k->to8(out, high, n) >> 8 != 0;
        else if (lane->width == 2)
            s->p->ops[lane->op].misfit |= k->to16(out, high, n) >> 16 != 0;
        else if (lane->wide)
            k->join64(out, high, low, n);
        else if (lane->width == 8)
            k->to64(out, high, n);
    }
}

/* The plan's windows over all records. */
static void all_windows(struct pass *s, const struct records *in)
{
    uint32_t numbers[4][FLOW_KERNEL_ROWS];
    const flow_plan *p = s->p;
    for (uint32_t i = 0; i < p->n_windows; i++)
        for (uint32_t k = 0; k < 4; k++) {
            const struct flow_lane *lane = &p->windows[i].lanes[k];
            if (lane->kind == FLOW_LANE_NONE || lane->kind == FLOW_LANE_LOW)
                continue;
            if (!flow_col_append(s->b, &s->b->cols[lane->column], in->row, in->n)) {
                s->failed = true;
                return;
            }
            const struct flow_col *c = &s->b->cols[lane->column];
            for (size_t at = (size_t)in->row * c->width, end = at + (size_t)in->n * c->width;
                 at < end; at += 64)
                __builtin_prefetch((const uint8_t *)c->data + at, 1, 2);
        }
    for (uint32_t from = 0; from < in->n; from += FLOW_KERNEL_ROWS) {
        uint32_t n = in->n - from < FLOW_KERNEL_ROWS ? in->n - from : FLOW_KERNEL_ROWS;
        for (uint32_t i = 0; i < p->n_windows && !s->failed; i++) {
            const struct flow_window *w = &p->windows[i];
            uint32_t *out[4];
            for (uint32_t k = 0; k < 4; k++) {
                const struct flow_lane *lane = &w->lanes[k];
                out[k] = numbers[k];
                if (lane->kind == FLOW_LANE_UINT && lane->width == 4) /* no need to go elsewhere */
                    out[k] = (uint32_t *)s->b->cols[lane->column].data + in->row + from;
            }
            s->b->kernels->window(in->data + (size_t)from * in->stride + w->offset, in->stride, n,
                                  w->shuffle, out);
            for (uint32_t k = 0; k < 4 && !s->failed; k++)
                put_lane(s, in, &w->lanes[k], from, n, out[k], out[(k + 1) % 4]);
        }
    }
}

/* A windowed field some of whose values are too large for its column. */
static void put_misfits(struct pass *s, const struct records *in, struct flow_op *op)
{
    op->misfit = false;
    flow_col_cut(s->b, s->p->targets[op->target].column, in->row);
    each(s, in, op);
}

static void all_times(struct pass *s, const struct records *in, const struct flow_op *op)
{
    if (!wire_times_plain(&in->like)) {
        each(s, in, op);
        return;
    }
    if (s->p->times_windowed && !s->odd_times)
        return;
    int64_t *first = flow_batch_values(s->b, FLOW_first, in->row, in->n);
    int64_t *last = flow_batch_values(s->b, FLOW_last, in->row, in->n);
    s->failed = !first || !last;
    if (s->failed)
        return;
    if (s->p->times.first < 0 && s->p->times.last < 0) { /* the export time of the packet */
        for (uint32_t i = 0; i < in->n_spans; i++)
            for (uint32_t k = 0; k < in->spans[i].n; k++)
                first[in->spans[i].start + k] = last[in->spans[i].start + k] =
                    in->packets[in->spans[i].packet].export_us;
        return;
    }
    for (uint32_t i = 0, span = 0; i < in->n && !s->failed; i++) {
        int64_t first_ns, last_ns;
        weir_record r = record_at(s, in, i, &span);
        unsigned flags = weir_record_times(&r, &first_ns, &last_ns);
        first[i] = us_of(first_ns);
        last[i] = us_of(last_ns);
        put_time_spares(s, &r, flags, in->row + i);
    }
}

/* Type and code out of the destination port, where the columns have all that is needed. */
static void icmp_of_ports(struct pass *s, const struct records *in)
{
    uint32_t rows[FLOW_KERNEL_ROWS];
    uint64_t values[FLOW_KERNEL_ROWS];
    const uint8_t *protos = (const uint8_t *)s->b->cols[FLOW_proto].data + in->row;
    const uint16_t *ports = (const uint16_t *)s->b->cols[FLOW_dst_port].data + in->row;
    for (uint32_t from = 0; from < in->n && !s->failed; from += FLOW_KERNEL_ROWS) {
        uint32_t n = in->n - from < FLOW_KERNEL_ROWS ? in->n - from : FLOW_KERNEL_ROWS;
        uint32_t found = s->b->kernels->either(protos + from, n, PROTO_ICMP, PROTO_ICMP6, rows);
        for (uint32_t i = 0; i < found; i++) {
            values[i] = ports[from + rows[i]] >> 8;
            rows[i] += in->row + from;
        }
        s->failed = !flow_fill_sparse(s->b, FLOW_icmp_type, rows, values, found);
        for (uint32_t i = 0; i < found; i++)
            values[i] = ports[rows[i] - in->row] & 255;
        s->failed = s->failed || !flow_fill_sparse(s->b, FLOW_icmp_code, rows, values, found);
    }
}

/* Only records that are ICMP, or that have something to keep, are looked at one by one. */
static void all_icmp(struct pass *s, const struct records *in, const struct flow_op *op)
{
    const flow_plan *p = s->p;
    if (p->icmp_of_ports) {
        icmp_of_ports(s, in);
        return;
    }
    uint32_t fields[FLOW_N_ICMP], n_fields = 0;
    bool placed = true;
    for (int i = 0; i < FLOW_N_ICMP; i++)
        if (p->icmp[i] != FLOW_NONE) {
            fields[n_fields++] = p->icmp[i];
            placed &= has_place(s, p->icmp[i]);
        }
    if (n_fields == 0 && (p->proto == FLOW_NONE || p->dst_port == FLOW_NONE))
        return;
    if (p->proto == FLOW_NONE || in->like.fields[p->proto].length != 1 || !has_place(s, p->proto) ||
        !placed) {
        each(s, in, op);
        return;
    }
    struct flow_run protos = run_of(in, p->proto);
    for (uint32_t i = 0, span = 0; i < in->n && !s->failed; i++) {
        uint8_t proto = protos.at[i * protos.stride];
        bool look = proto == PROTO_ICMP || proto == PROTO_ICMP6;
        if (!look && n_fields == 0)
            continue;
        weir_record at = in->like;
        at.data = in->data + (size_t)i * in->stride;
        for (uint32_t k = 0; k < n_fields; k++)
            look |= !is_zero(&at, fields[k]);
        if (look) {
            weir_record r = record_at(s, in, i, &span);
            run_op(s, &r, op, in->row + i);
        }
    }
}

static void all_ops(struct pass *s, const struct records *in)
{
    if (s->p->n_windows)
        all_windows(s, in);
    for (uint32_t i = 0; i < s->p->n_ops && !s->failed; i++) {
        struct flow_op *op = &s->p->ops[i];
        switch ((enum flow_op_kind)op->kind) {
        case FLOW_OP_VALUE:
            if (!op->windowed)
                load_value(s, in, op);
            else if (op->misfit)
                put_misfits(s, in, op);
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

/* ---- records into rows at once ---- */

/* Begin: entries forgotten, a row for each record, the head filled. */
static bool begin(struct pass *s, struct records *in)
{
    flow_normaliser *n = s->n;
    n->n_entries = 0;
    base_buf_reset(&n->text);
    bind(s->p, s->b);
    in->row = flow_batch_add_rows(s->b, in->n);
    if (in->row == UINT32_MAX)
        return false;
    head(s, in);
    return true;
}

static weir_status lost(flow_normaliser *n, uint64_t n_rows)
{
    n->counters.rows_lost += n_rows;
    return WEIR_ENOMEM;
}

static weir_status end(struct pass *s, const struct records *in, uint32_t extra, uint64_t *counter)
{
    s->failed = s->failed || !put_entries(s->n, s->b, extra);
    if (s->failed) {
        flow_batch_cut(s->b, in->row);
        s->n->told[flow_batch_table(s->b)] = 0;
        return lost(s->n, in->n);
    }
    *counter += in->n;
    return WEIR_OK;
}

/* The records, a field at a time. */
static weir_status put_records(flow_normaliser *n, flow_batch *b, flow_plan *p, struct records *in)
{
    struct pass s = {.n = n, .b = b, .p = p, .gap_left = MAX_GAP};
    if (!begin(&s, in))
        return lost(n, in->n);
    if (!s.failed)
        put_rates(&s, in);
    if (!s.failed)
        all_ops(&s, in);
    return end(&s, in, FLOW_extra, &n->counters.rows);
}

/* One record, whatever its template is like. */
static weir_status put_record(flow_normaliser *n, flow_batch *b, const weir_record *r)
{
    bool options = flow_batch_table(b) == FLOW_TABLE_OPTIONS;
    struct known *t = known_of(n, b, r);
    struct pass s = {.n = n, .b = b, .p = t ? t->plan : NULL, .gap_left = MAX_GAP};
    struct flow_span span;
    struct flow_packet packet = packet_of(r->packet);
    struct records in = {.like = *r,
                         .data = r->data,
                         .stride = r->len,
                         .n = 1,
                         .spans = &span,
                         .n_spans = 1,
                         .packets = &packet};
    if (!t || !spans_of(n, t, r, 1, 0, 0, &span, 1) || !begin(&s, &in))
        return lost(n, 1);
    if (options) {
        s.failed =
            s.failed || (span.origin == WEIR_ORIGIN_RECORD && span.rate > 0 &&
                         !flow_batch_set_f64(b, FLOW_OPTION_sampling_rate, in.row, span.rate));
    } else if (!s.failed) {
        put_rates(&s, &in);
    }
    for (uint32_t i = 0; i < s.p->n_ops && !s.failed; i++)
        run_op(&s, r, &s.p->ops[i], in.row);
    return options ? end(&s, &in, FLOW_OPTION_extra, &n->counters.option_rows)
                   : end(&s, &in, FLOW_extra, &n->counters.rows);
}

weir_status flow_add_record(flow_normaliser *n, flow_batch *b, const weir_record *r)
{
    return put_record(n, b, r);
}

weir_status flow_add_options(flow_normaliser *n, flow_batch *b, const weir_record *r)
{
    return put_record(n, b, r);
}

weir_status flow_add_records(flow_normaliser *n, flow_batch *b, const weir_record *first,
                             size_t n_records)
{
    if (n_records == 0)
        return WEIR_OK;
    struct known *t = n_records < UINT32_MAX ? known_of(n, b, first) : NULL;
    if (!t)
        return lost(n, n_records);
    struct flow_packet packet = packet_of(first->packet);
    struct records in = {.like = *first,
                         .data = first->data,
                         .stride = first->len,
                         .n = (uint32_t)n_records,
                         .packets = &packet};
    in.n_spans = spans_of(n, t, first, in.n, 0, 0, n->spans, n->cap_spans);
    if (in.n_spans == 0) {
        struct flow_span *grown = realloc(n->spans, n_records * sizeof *grown);
        if (!grown)
            return lost(n, n_records);
        n->spans = grown;
        n->cap_spans = in.n;
        in.n_spans = spans_of(n, t, first, in.n, 0, 0, n->spans, n->cap_spans);
    }
    in.spans = n->spans;
    return put_records(n, b, t->plan, &in);
}

/* ---- records that are gathered first ---- */

static void release(flow_normaliser *n, flow_plan *p)
{
    struct flow_stage *stage = p->stage;
    flow_plan *last = n->active[--n->n_active];
    n->active[p->active] = last;
    last->active = p->active;
    p->stage = NULL;
    stage->n = stage->n_spans = stage->tail_len = 0;
    stage->next = n->spare;
    n->spare = stage;
    if (n->n_active == 0)
        n->n_packets = 0;
}

static void tell_lost(const flow_normaliser *n, const struct flow_stage *stage)
{
    for (uint32_t i = 0; n->on_lost && i < stage->n_spans; i++)
        n->on_lost(n->on_lost_user, &n->packets[stage->spans[i].packet].packet, stage->spans[i].n);
}

/* What was gathered of one plan. */
static weir_status put_stage(flow_normaliser *n, flow_batch *b, flow_plan *p)
{
    const struct flow_stage *stage = p->stage;
    struct records in = {.like = {.tmpl = p->own,
                                  .fields = p->own->fields,
                                  .n_fields = p->n_fields,
                                  .n_scope = p->n_scope,
                                  .len = p->own->min_len},
                         .data = stage->octets,
                         .stride = p->stride,
                         .n = stage->n,
                         .spans = stage->spans,
                         .n_spans = stage->n_spans,
                         .packets = n->packets,
                         .stage = p->own->variable ? stage : NULL};
    weir_status status = in.n ? put_records(n, b, p, &in) : WEIR_OK;
    if (status != WEIR_OK)
        tell_lost(n, stage);
    return status;
}

weir_status flow_flush(flow_normaliser *n, flow_batch *b)
{
    weir_status worst = WEIR_OK;
    for (uint32_t i = 0; i < n->n_active; i++) {
        weir_status status = put_stage(n, b, n->active[i]);
        if (status != WEIR_OK)
            worst = status;
    }
    while (n->n_active)
        release(n, n->active[n->n_active - 1]);
    return worst;
}

uint64_t flow_noted(const flow_normaliser *n)
{
    uint64_t rows = 0;
    for (uint32_t i = 0; i < n->n_active; i++)
        rows += n->active[i]->stage->n;
    return rows;
}

/* The number of the record's packet among those of which records are gathered; there is room for it. */
static uint32_t note_packet(flow_normaliser *n, const weir_packet *p)
{
    const weir_packet *last = n->n_packets ? &n->packets[n->n_packets - 1].packet : NULL;
    if (!last || last->id != p->id || last->late != p->late)
        n->packets[n->n_packets++] = packet_of(p);
    return n->n_packets - 1;
}

/* Where records of this plan are gathered, with room for so many of them. NULL: none can be had. */
static struct flow_stage *stage_for(flow_normaliser *n, flow_batch *b, flow_plan *p,
                                    size_t n_records, size_t tail)
{
    struct flow_stage *s = p->stage;
    if (s && (s->n + n_records > p->max_gathered || s->n_spans == FLOW_STAGE_SPANS ||
              s->tail_len + tail > FLOW_STAGE_OCTETS)) {
        (void)put_stage(n, b, p);
        release(n, p);
        s = NULL;
    }
    if (s)
        return s;
    if (n->n_active == FLOW_MAX_STAGES)
        (void)flow_flush(n, b);
    s = n->spare;
    if (s)
        n->spare = s->next;
    else
        s = flow_stage_new();
    if (!s)
        return NULL;
    p->stage = s;
    p->active = n->n_active;
    n->active[n->n_active++] = p;
    return s;
}

weir_status flow_note_records(flow_normaliser *n, flow_batch *b, const weir_record *first,
                              size_t n_records)
{
    if (n_records == 0)
        return WEIR_OK;
    if (n->n_packets == FLOW_MAX_PACKETS)
        (void)flow_flush(n, b);
    struct known *t = known_of(n, b, first);
    flow_plan *p = t ? t->plan : NULL;
    if (!p || n_records > p->max_gathered || !wire_times_plain(first))
        return flow_add_records(n, b, first, n_records);
    struct flow_stage *s = stage_for(n, b, p, n_records, 0);
    if (!s)
        return flow_add_records(n, b, first, n_records);
    uint32_t packet = note_packet(n, first->packet);
    uint32_t spans = spans_of(n, t, first, (uint32_t)n_records, s->n, packet, s->spans + s->n_spans,
                              FLOW_STAGE_SPANS - s->n_spans);
    if (spans == 0)
        return flow_add_records(n, b, first, n_records);
    memcpy(s->octets + (size_t)s->n * p->stride, first->data, n_records * p->stride);
    s->n_spans += spans;
    s->n += (uint32_t)n_records;
    return WEIR_OK;
}

weir_status flow_note_record(flow_normaliser *n, flow_batch *b, const weir_record *r)
{
    if (!r->tmpl->variable)
        return flow_note_records(n, b, r, 1);
    if (n->n_packets == FLOW_MAX_PACKETS)
        (void)flow_flush(n, b);
    struct known *t = known_of(n, b, r);
    flow_plan *p = t ? t->plan : NULL;
    if (!p || !p->max_gathered || !wire_times_plain(r))
        return put_record(n, b, r);
    size_t fields = (p->n_fields - p->n_fixed) * sizeof *r->fields, tail = fields + r->len;
    struct flow_stage *s = tail <= FLOW_STAGE_OCTETS ? stage_for(n, b, p, 1, tail) : NULL;
    if (!s || !flow_stage_tails(s))
        return put_record(n, b, r);
    uint32_t packet = note_packet(n, r->packet);
    struct flow_span *span = s->spans + s->n_spans, *before = span - 1;
    if (!spans_of(n, t, r, 1, s->n, packet, span, 1))
        return put_record(n, b, r);
    if (s->n_spans && !span->sequence && before->packet == packet &&
        before->template_id == span->template_id && before->origin == span->origin &&
        memcmp(&before->rate, &span->rate, sizeof span->rate) == 0)
        before->n++;
    else
        s->n_spans++;
    s->tails[s->n] = (struct flow_tail){.at = s->tail_len, .len = r->len};
    memcpy(s->octets + (size_t)s->n * p->stride, r->data, p->stride);
    memcpy(s->tail + s->tail_len, r->fields + p->n_fixed, fields);
    memcpy(s->tail + s->tail_len + fields, r->data, r->len);
    s->tail_len += (uint32_t)(tail + 7) & ~7u;
    s->n++;
    return WEIR_OK;
}
