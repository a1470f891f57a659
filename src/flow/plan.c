#include "flow/plan.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/hash.h"
#include "flow/flow.h"
#include "flow/stage.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

enum {
    IE_PADDING = 210,
    IE_IPV4_SRC_PREFIX_LENGTH = 9,
    IE_IPV4_DST_PREFIX_LENGTH = 13,
    IE_IPV6_SRC_PREFIX_LENGTH = 29,
    IE_IPV6_DST_PREFIX_LENGTH = 30,
    IE_MPLS_FIRST = 70,
    IE_MPLS_LAST = 79,
    SCOPE_INTERFACE = 2
};

static const uint16_t icmp_ids[FLOW_N_ICMP] = {32, 139, 176, 177, 178, 179};

/* clang-format off */
static const uint8_t extra_types[WEIR_N_TYPES] = {
    [WEIR_TYPE_OCTET_ARRAY] = FLOW_TYPE_OCTETS,
    /* Exporters send integers in any width up to 8 octets, whatever the registry says: one type for all of them. */
    [WEIR_TYPE_UNSIGNED8] = FLOW_TYPE_U64,
    [WEIR_TYPE_UNSIGNED16] = FLOW_TYPE_U64,
    [WEIR_TYPE_UNSIGNED32] = FLOW_TYPE_U64,
    [WEIR_TYPE_UNSIGNED64] = FLOW_TYPE_U64,
    [WEIR_TYPE_SIGNED8] = FLOW_TYPE_S64,
    [WEIR_TYPE_SIGNED16] = FLOW_TYPE_S64,
    [WEIR_TYPE_SIGNED32] = FLOW_TYPE_S64,
    [WEIR_TYPE_SIGNED64] = FLOW_TYPE_S64,
    [WEIR_TYPE_FLOAT32] = FLOW_TYPE_F64,
    [WEIR_TYPE_FLOAT64] = FLOW_TYPE_F64,
    [WEIR_TYPE_BOOLEAN] = FLOW_TYPE_BOOL,
    [WEIR_TYPE_MAC_ADDRESS] = FLOW_TYPE_MAC,
    [WEIR_TYPE_STRING] = FLOW_TYPE_TEXT,
    [WEIR_TYPE_DATE_TIME_SECONDS] = FLOW_TYPE_TIME,
    [WEIR_TYPE_DATE_TIME_MILLISECONDS] = FLOW_TYPE_TIME,
    [WEIR_TYPE_DATE_TIME_MICROSECONDS] = FLOW_TYPE_TIME,
    [WEIR_TYPE_DATE_TIME_NANOSECONDS] = FLOW_TYPE_TIME_NS,
    [WEIR_TYPE_IPV4_ADDRESS] = FLOW_TYPE_ADDR,
    [WEIR_TYPE_IPV6_ADDRESS] = FLOW_TYPE_ADDR,
    [WEIR_TYPE_BASIC_LIST] = FLOW_TYPE_JSON,
    [WEIR_TYPE_SUB_TEMPLATE_LIST] = FLOW_TYPE_JSON,
    [WEIR_TYPE_SUB_TEMPLATE_MULTI_LIST] = FLOW_TYPE_JSON,
    [WEIR_TYPE_UNSIGNED256] = FLOW_TYPE_OCTETS,
};
/* clang-format on */

enum flow_type flow_extra_type(const weir_element *e)
{
    return e->type < WEIR_N_TYPES ? (enum flow_type)extra_types[e->type] : FLOW_TYPE_OCTETS;
}

/* What was made with room to spare, without it. */
static void *fit(void *array, size_t n, size_t size)
{
    void *less = n ? realloc(array, n * size) : NULL;
    return less ? less : array;
}

/* While a plan is made. */
struct maker {
    flow_plan *p;
    const weir_record *r;
    enum flow_table table;
    uint32_t *sorted; /* fields by element, then by place */
    uint32_t *groups; /* first field of each element, in the order of the record */
    uint32_t n_groups;
    /* per column the first field of its best source, of IPv4 and of IPv6; FLOW_NONE */
    struct {
        uint32_t field;
        int rank;
        uint8_t how;
    } best[256][2];
};

static bool is_scope(const struct maker *m, uint32_t field)
{
    return field < m->r->n_scope;
}

/* Elements in the order of (scope, kind, enterprise, id). */
static uint64_t element_key(const struct maker *m, uint32_t field)
{
    const weir_element *e = m->r->fields[field].element;
    uint64_t space = e->flags & WEIR_ELEMENT_SCOPE ? 2 : e->flags & WEIR_ELEMENT_V9 ? 1 : 0;
    return (uint64_t)is_scope(m, field) << 60 | space << 56 | (uint64_t)e->pen << 16 | e->id;
}

static int by_element(const void *a, const void *b, void *maker)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    uint64_t kx = element_key(maker, x), ky = element_key(maker, y);
    return kx != ky ? (kx < ky ? -1 : 1) : x < y ? -1 : x > y;
}

static int by_name(const void *a, const void *b, void *maker)
{
    const struct maker *m = maker;
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    int order = is_scope(m, x) - is_scope(m, y);
    if (order == 0)
        order = strcasecmp(m->r->fields[x].element->name, m->r->fields[y].element->name);
    return order ? order : x < y ? -1 : x > y;
}

static int by_place(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static bool repeats(const struct maker *m, uint32_t field)
{
    return m->p->fields[field].next != FLOW_NONE;
}

/* Fields of one element into chains, a name and an extra column for each. */
static bool make_groups(struct maker *m)
{
    flow_plan *p = m->p;
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->n_fields; i++) {
        /* A field that the template gives no octets says nothing; scopes of NetFlow v9 mostly are such fields. */
        bool says = m->r->tmpl->fields[i].length > 0 || is_scope(m, i);
        p->fields[i].next = FLOW_NONE;
        p->fields[i].again = !says;
        if (says)
            m->sorted[n++] = i;
    }
    qsort_r(m->sorted, n, sizeof *m->sorted, by_element, m);
    for (uint32_t i = 0; i < n; i++) {
        p->fields[m->sorted[i]].again =
            i > 0 && element_key(m, m->sorted[i]) == element_key(m, m->sorted[i - 1]);
        if (p->fields[m->sorted[i]].again)
            p->fields[m->sorted[i - 1]].next = m->sorted[i];
        else
            m->groups[m->n_groups++] = m->sorted[i];
    }
    /* Names: of those that differ only in case (Parquet readers take them for the same) the first one's element keeps
     * it; what is in no registry has none. Scopes make no columns: their names are apart. */
    qsort_r(m->groups, m->n_groups, sizeof *m->groups, by_name, m);
    base_buf text = {0};
    for (uint32_t i = 0; i < m->n_groups; i++) {
        uint32_t first = m->groups[i];
        const weir_element *e = m->r->fields[first].element;
        bool taken = i > 0 && is_scope(m, m->groups[i - 1]) == is_scope(m, first) &&
                     strcasecmp(e->name, m->r->fields[m->groups[i - 1]].element->name) == 0;
        struct flow_target *t = &p->targets[p->n_targets];
        *t = (struct flow_target){.column = FLOW_NONE,
                                  .pen = e->pen,
                                  .id = e->id,
                                  .type = (uint8_t)flow_extra_type(e),
                                  .list = repeats(m, first),
                                  .extra = true};
        size_t at = text.len;
        if (taken || (e->flags & WEIR_ELEMENT_UNKNOWN))
            base_buf_printf(&text, "e%u_%u", e->pen, e->id);
        else
            base_buf_str(&text, e->name);
        base_buf_char(&text, 0);
        /* Names are offsets until the text does not move any more. */
        for (uint32_t f = first; f != FLOW_NONE; f = p->fields[f].next) {
            p->fields[f].name = (const char *)(uintptr_t)at;
            p->fields[f].extra = p->n_targets;
        }
        if (t->list) {
            size_t len = text.len - at - 1;
            t->name = (const char *)(uintptr_t)text.len;
            if (base_buf_room(&text,
                              len + sizeof "_list")) /* so that what is copied does not move */
                base_buf_add(&text, text.data + at, len);
            base_buf_str(&text, "_list");
            base_buf_char(&text, 0);
        } else {
            t->name = (const char *)(uintptr_t)at;
        }
        p->n_targets++;
    }
    qsort(m->groups, m->n_groups, sizeof *m->groups, by_place);
    p->text = text.data;
    if (text.failed)
        return false;
    p->text = fit(text.data, text.len, 1);
    p->octets += text.len;
    for (uint32_t i = 0; i < n; i++)
        p->fields[m->sorted[i]].name = p->text + (uintptr_t)p->fields[m->sorted[i]].name;
    for (uint32_t i = 0; i < p->n_targets; i++)
        p->targets[i].name = p->text + (uintptr_t)p->targets[i].name;
    return true;
}

static struct flow_op *add_op(struct maker *m, enum flow_op_kind kind, uint32_t field)
{
    struct flow_op *op = &m->p->ops[m->p->n_ops++];
    *op = (struct flow_op){
        .kind = (uint8_t)kind, .field = field, .other = FLOW_NONE, .target = FLOW_NONE};
    return op;
}

/* The target of a column of the table. */
static uint32_t column_target(struct maker *m, uint32_t column)
{
    const struct flow_column *c =
        &(m->table == FLOW_TABLE_FLOWS ? flow_columns() : flow_option_columns())[column];
    m->p->targets[m->p->n_targets] =
        (struct flow_target){.name = c->name, .column = column, .type = c->type, .list = c->list};
    return m->p->n_targets++;
}

/* How field -> target can be read over many records: what the type and the length of the field allow. */
static uint8_t load_of(const struct maker *m, const struct flow_op *op)
{
    const weir_field *f = &m->r->fields[op->field];
    const struct flow_target *t = &m->p->targets[op->target];
    if (op->field >= m->p->n_fixed || op->how != FLOW_HOW_PLAIN || t->list)
        return FLOW_LOAD_ROWS;
    switch (f->element->type) {
    case WEIR_TYPE_UNSIGNED8:
    case WEIR_TYPE_UNSIGNED16:
    case WEIR_TYPE_UNSIGNED32:
    case WEIR_TYPE_UNSIGNED64:
        return f->length >= 1 && f->length <= 8 && t->type >= FLOW_TYPE_U8 &&
                       t->type <= FLOW_TYPE_U64
                   ? FLOW_LOAD_UINT
                   : FLOW_LOAD_ROWS;
    case WEIR_TYPE_IPV4_ADDRESS:
        return f->length == 4 && t->type == FLOW_TYPE_ADDR ? FLOW_LOAD_KEY : FLOW_LOAD_ROWS;
    case WEIR_TYPE_IPV6_ADDRESS:
        return f->length == 16 && t->type == FLOW_TYPE_ADDR ? FLOW_LOAD_KEY : FLOW_LOAD_ROWS;
    case WEIR_TYPE_MAC_ADDRESS:
        return f->length == 6 && t->type == FLOW_TYPE_MAC ? FLOW_LOAD_KEY : FLOW_LOAD_ROWS;
    case WEIR_TYPE_OCTET_ARRAY:
        return t->type == FLOW_TYPE_OCTETS ? FLOW_LOAD_KEY : FLOW_LOAD_ROWS;
    default:
        return FLOW_LOAD_ROWS;
    }
}

static void add_value(struct maker *m, uint32_t field, uint32_t target, uint8_t how)
{
    struct flow_op *op = add_op(m, FLOW_OP_VALUE, field);
    op->how = how;
    op->target = target;
    op->load = load_of(m, op);
}

static bool is_element(const weir_element *e, uint16_t id)
{
    return e->pen == 0 && e->id == id && !(e->flags & WEIR_ELEMENT_SCOPE);
}

static bool of_ipv6(const weir_element *e)
{
    return e->type == WEIR_TYPE_IPV6_ADDRESS || is_element(e, IE_IPV6_SRC_PREFIX_LENGTH) ||
           is_element(e, IE_IPV6_DST_PREFIX_LENGTH);
}

static bool of_ipv4(const weir_element *e)
{
    return e->type == WEIR_TYPE_IPV4_ADDRESS || is_element(e, IE_IPV4_SRC_PREFIX_LENGTH) ||
           is_element(e, IE_IPV4_DST_PREFIX_LENGTH);
}

/* Find the best source of each column. */
static void choose(struct maker *m)
{
    for (size_t i = 0; i < ARRAY_LEN(m->best); i++)
        m->best[i][0].field = m->best[i][1].field = FLOW_NONE;
    for (uint32_t i = 0; i < m->n_groups; i++) {
        uint32_t field = m->groups[i];
        const weir_element *e = m->r->fields[field].element;
        unsigned column;
        int rank;
        uint8_t how = FLOW_HOW_PLAIN;
        if (e->flags & WEIR_ELEMENT_SCOPE) {
            if (m->table != FLOW_TABLE_OPTIONS || e->id != SCOPE_INTERFACE)
                continue;
            column = FLOW_OPTION_if_index;
            rank = -1;
        } else {
            const struct flow_source *s =
                flow_source_find(m->table, e->flags & WEIR_ELEMENT_V9, e->pen, e->id);
            if (!s)
                continue;
            column = s->column;
            rank = s->rank;
            how = s->how;
        }
        bool six = of_ipv6(e);
        if (m->best[column][six].field == FLOW_NONE || rank < m->best[column][six].rank) {
            m->best[column][six].field = field;
            m->best[column][six].rank = rank;
            m->best[column][six].how = how;
        }
    }
    /* Only what is sent for IPv4 and for IPv6 in two fields has two sources. */
    for (size_t i = 0; i < ARRAY_LEN(m->best); i++) {
        uint32_t four = m->best[i][0].field, six = m->best[i][1].field;
        if (four == FLOW_NONE || six == FLOW_NONE || of_ipv4(m->r->fields[four].element))
            continue;
        if (m->best[i][0].rank <= m->best[i][1].rank)
            m->best[i][1].field = FLOW_NONE;
        else
            m->best[i][0].field = FLOW_NONE;
    }
}

static uint32_t find_field(const struct maker *m, uint16_t id)
{
    for (uint32_t i = 0; i < m->n_groups; i++)
        if (is_element(m->r->fields[m->groups[i]].element, id))
            return m->groups[i];
    return FLOW_NONE;
}

/* The one octet or the number that says so much about a record that other fields depend on it. */
static void make_context(struct maker *m)
{
    flow_plan *p = m->p;
    p->proto = m->best[FLOW_proto][0].field;
    p->dst_port = m->best[FLOW_dst_port][0].field;
    p->ip_version = m->best[FLOW_ip_version][0].field;
    bool any[2] = {false, false};
    for (int six = 0; six < 2; six++) {
        p->addresses[six][0] = m->best[FLOW_src_addr][six].field;
        p->addresses[six][1] = m->best[FLOW_dst_addr][six].field;
        any[six] = p->addresses[six][0] != FLOW_NONE || p->addresses[six][1] != FLOW_NONE;
    }
    p->family = any[0] == any[1] ? 0 : any[1] ? 6 : 4;
}

static uint16_t natural_len(uint8_t family)
{
    switch ((enum wire_family)family) {
    case WIRE_FAMILY_NANOSECONDS:
    case WIRE_FAMILY_MICROSECONDS:
    case WIRE_FAMILY_MILLISECONDS:
        return 8;
    case WIRE_FAMILY_DELTA:
    case WIRE_FAMILY_UPTIME:
    case WIRE_FAMILY_SECONDS:
        return 4;
    case WIRE_FAMILY_OBSERVATION:
    case WIRE_N_FAMILIES:
    default:
        return 0;
    }
}

/* Whether `first` or `last` says all that the field says, so that it needs no column of its own. */
static bool time_kept(const struct maker *m, int field, uint8_t family)
{
    return field >= 0 && family != WIRE_FAMILY_NANOSECONDS && natural_len(family) > 0 &&
           m->r->tmpl->fields[field].length == natural_len(family);
}

static void make_flows(struct maker *m, bool *taken)
{
    flow_plan *p = m->p;
    p->times = wire_time_fields(m->r->tmpl);
    p->times_kept[0] = time_kept(m, p->times.first, p->times.first_family);
    p->times_kept[1] = time_kept(m, p->times.last, p->times.last_family);
    if (p->times_kept[0])
        taken[p->times.first] = true;
    if (p->times_kept[1])
        taken[p->times.last] = true;
    make_context(m);
    for (int i = 0; i < FLOW_N_ICMP; i++) {
        p->icmp[i] = find_field(m, icmp_ids[i]);
        if (p->icmp[i] != FLOW_NONE)
            taken[p->icmp[i]] = true;
    }
    for (uint16_t id = IE_MPLS_FIRST; id <= IE_MPLS_LAST; id++) {
        uint32_t field = find_field(m, id);
        if (field != FLOW_NONE && m->r->tmpl->fields[field].length == 3 &&
            m->r->fields[field].element->type == WEIR_TYPE_OCTET_ARRAY) {
            p->mpls[p->n_mpls++] = field;
            taken[field] = true;
        }
    }
    (void)add_op(m, FLOW_OP_TIMES, FLOW_NONE);
    (void)add_op(m, FLOW_OP_ICMP, FLOW_NONE);
    if (p->n_mpls)
        (void)add_op(m, FLOW_OP_MPLS, FLOW_NONE);
}

static void make_ops(struct maker *m, bool *taken)
{
    flow_plan *p = m->p;
    choose(m);
    if (m->table == FLOW_TABLE_FLOWS)
        make_flows(m, taken);
    else
        (void)add_op(m, FLOW_OP_SCOPE, FLOW_NONE);
    for (uint32_t c = 0; c < ARRAY_LEN(m->best); c++) {
        uint32_t four = m->best[c][0].field, six = m->best[c][1].field;
        if (four == FLOW_NONE && six == FLOW_NONE)
            continue;
        uint32_t target = column_target(m, c);
        if (four != FLOW_NONE)
            taken[four] = true;
        if (six != FLOW_NONE)
            taken[six] = true;
        if (four != FLOW_NONE && six != FLOW_NONE) {
            struct flow_op *op = add_op(m, FLOW_OP_EITHER, four);
            op->target = target;
            op->field = six;
            op->load_other = load_of(m, op);
            op->field = four;
            op->other = six;
            op->load = load_of(m, op);
        } else if (four != FLOW_NONE && m->best[c][0].how == FLOW_HOW_AVC) {
            struct flow_op *op = add_op(m, FLOW_OP_AVC, four);
            op->target = target;
            if (m->best[FLOW_http_url][0].field == FLOW_NONE)
                op->other = column_target(m, FLOW_http_url);
        } else {
            uint32_t field = four != FLOW_NONE ? four : six;
            add_value(m, field, target, m->best[c][four == FLOW_NONE].how);
            /* A column holds microseconds: what is finer has its own beside it. */
            if (m->r->fields[field].element->type == WEIR_TYPE_DATE_TIME_NANOSECONDS)
                taken[field] = false;
        }
    }
    for (uint32_t i = 0; i < m->n_groups; i++) {
        uint32_t field = m->groups[i];
        if (is_element(m->r->fields[field].element, IE_PADDING))
            continue;
        if (repeats(m, field) && !is_scope(m, field))
            (void)(add_op(m, FLOW_OP_REPEAT, field)->target = p->fields[field].extra);
        else if (!taken[field] && !is_scope(m, field))
            add_value(m, field, p->fields[field].extra, FLOW_HOW_PLAIN);
    }
}

static void make_sampling(struct maker *m)
{
    flow_plan *p = m->p;
    for (uint32_t i = 0; i < p->n_fields; i++) {
        if (!wire_sampling_field(m->r->fields[i].element))
            continue;
        if (p->n_sampling < ARRAY_LEN(p->sampling))
            p->sampling[p->n_sampling++] = i;
        else
            p->sampling_octets = FLOW_SAMPLING_OCTETS + 1;
        p->sampling_octets += m->r->tmpl->fields[i].length; /* WEIR_VARLEN: too much */
    }
}

/* How many fields stand before the first variable one; *octets of them. */
static uint32_t fixed_fields(const weir_template *t, uint32_t *octets)
{
    uint32_t n = 0;
    *octets = 0;
    while (n < t->n_fields && t->fields[n].length != WEIR_VARLEN)
        *octets += t->fields[n++].length;
    return n;
}

static bool is_list(const weir_element *e)
{
    return e->type == WEIR_TYPE_BASIC_LIST || e->type == WEIR_TYPE_SUB_TEMPLATE_LIST ||
           e->type == WEIR_TYPE_SUB_TEMPLATE_MULTI_LIST;
}

/* Whether records can be read without the decoder: lists ask it for templates, uptimes of IPFIX for the start of the
 * exporter. Without memory for what that takes they become rows at once. */
static void make_gathering(struct maker *m)
{
    flow_plan *p = m->p;
    const weir_template *t = m->r->tmpl;
    if (m->table != FLOW_TABLE_FLOWS ||
        (m->r->packet->version == 10 && (p->times.first_family == WIRE_FAMILY_UPTIME ||
                                         p->times.last_family == WIRE_FAMILY_UPTIME)))
        return;
    for (uint32_t i = 0; i < p->n_fields; i++)
        if (is_list(t->fields[i].element))
            return;
    if (t->variable) {
        p->scratch = malloc(p->n_fields * sizeof *p->scratch);
        if (!p->scratch)
            return;
        memcpy(p->scratch, t->fields, p->n_fields * sizeof *p->scratch);
        p->octets += p->n_fields * sizeof *p->scratch;
    }
    p->max_gathered = p->stride > FLOW_STAGE_OCTETS / FLOW_STAGE_ROWS
                          ? FLOW_STAGE_OCTETS / p->stride
                          : FLOW_STAGE_ROWS;
}

/* A field that a window may take, and what of it. */
struct wanted {
    uint32_t offset, len;
    struct flow_lane lane;
};

static int by_offset(const void *a, const void *b)
{
    const struct wanted *x = a, *y = b;
    return x->offset != y->offset ? (x->offset < y->offset ? -1 : 1) : 0;
}

static bool want(const struct maker *m, uint32_t field, struct flow_lane lane, struct wanted *out)
{
    const weir_field *f = &m->r->tmpl->fields[field];
    if (field >= m->p->n_fixed || f->length == 0 || f->length > 8)
        return false;
    lane.wide = f->length > 4;
    *out = (struct wanted){.offset = f->offset, .len = f->length, .lane = lane};
    return !lane.wide || lane.width == 8;
}

/* Octets of a number into a lane: the lowest of at most four first. */
static void set_shuffle(uint8_t *lane, uint32_t offset, uint32_t len, bool as_it_is)
{
    for (uint32_t i = 0; i < 4; i++)
        lane[i] = i >= len ? 0x80 : (uint8_t)(as_it_is ? offset + i : offset + len - 1 - i);
}

/* Numbers of the record's fixed part, four at a time. */
static bool make_windows(struct maker *m)
{
    flow_plan *p = m->p;
    const struct wire_time_fields *t = &p->times;
    if (m->table != FLOW_TABLE_FLOWS || p->stride < 16)
        return true;
    struct wanted *all = calloc(p->n_ops + 2, sizeof *all);
    p->windows = calloc(p->n_ops + 2, sizeof *p->windows);
    if (!all || !p->windows) {
        free(all);
        return false;
    }
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->n_ops; i++) {
        struct flow_op *op = &p->ops[i];
        if (op->kind != FLOW_OP_VALUE || op->load == FLOW_LOAD_ROWS || p->targets[op->target].extra)
            continue;
        const struct flow_target *to = &p->targets[op->target];
        if (op->load == FLOW_LOAD_KEY && m->r->tmpl->fields[op->field].length != 4)
            continue;
        struct flow_lane lane = {.kind = op->load == FLOW_LOAD_KEY ? FLOW_LANE_KEY : FLOW_LANE_UINT,
                                 .width = op->load == FLOW_LOAD_KEY
                                              ? 4
                                              : (uint8_t)flow_type_octets((enum flow_type)to->type),
                                 .op = i,
                                 .column = to->column};
        op->windowed = want(m, op->field, lane, &all[n]);
        n += op->windowed;
    }
    /* Both times in the two forms that exporters use most; IPFIX has no uptime to compare with. */
    bool uptime = t->first_family == WIRE_FAMILY_UPTIME && m->r->packet->version != 10;
    if (p->times_kept[0] && p->times_kept[1] && t->first_family == t->last_family &&
        (uptime || t->first_family == WIRE_FAMILY_MILLISECONDS)) {
        struct flow_lane first = {.kind = FLOW_LANE_TIME, .width = 8, .column = FLOW_first},
                         last = {.kind = FLOW_LANE_TIME, .width = 8, .column = FLOW_last};
        p->times_windowed = want(m, (uint32_t)t->first, first, &all[n]) &&
                            want(m, (uint32_t)t->last, last, &all[n + 1]);
        n += p->times_windowed ? 2 : 0;
    }
    bool proto = false, port = false, icmp = false;
    for (uint32_t i = 0; i < p->n_ops; i++)
        if (p->ops[i].windowed) {
            const struct flow_target *to = &p->targets[p->ops[i].target];
            uint32_t len = m->r->tmpl->fields[p->ops[i].field].length;
            proto |= to->column == FLOW_proto && len == 1;
            port |= to->column == FLOW_dst_port && len <= 2;
        }
    for (int i = 0; i < FLOW_N_ICMP; i++)
        icmp |= p->icmp[i] != FLOW_NONE;
    p->icmp_of_ports = proto && port && !icmp;
    qsort(all, n, sizeof *all, by_offset);
    for (uint32_t i = 0; i < n;) {
        struct flow_window *w = &p->windows[p->n_windows++];
        w->offset = all[i].offset < p->stride - 16 ? all[i].offset : p->stride - 16;
        memset(w->shuffle, 0x80, sizeof w->shuffle);
        for (uint32_t lane = 0; i < n && all[i].offset + all[i].len <= w->offset + 16; i++) {
            uint32_t at = all[i].offset - w->offset, len = all[i].len;
            if (lane + 1 + all[i].lane.wide > 4)
                break;
            w->lanes[lane] = all[i].lane;
            set_shuffle(w->shuffle + 4 * lane++, at, all[i].lane.wide ? len - 4 : len,
                        all[i].lane.kind == FLOW_LANE_KEY);
            if (all[i].lane.wide) {
                w->lanes[lane] = (struct flow_lane){.kind = FLOW_LANE_LOW};
                set_shuffle(w->shuffle + 4 * lane++, at + len - 4, 4, false);
            }
        }
    }
    if (n == 0) {
        free(p->windows);
        p->windows = NULL;
    }
    p->windows = fit(p->windows, p->n_windows, sizeof *p->windows);
    free(all);
    return true;
}

/* ---- templates that say the same ---- */

uint64_t flow_plan_hash(const weir_record *r, uint64_t seed)
{
    const weir_template *t = r->tmpl;
    const uint32_t head[4] = {r->packet->version, t->options, r->n_scope, r->n_fields};
    uint64_t h = base_hash(head, sizeof head, seed);
    for (uint32_t i = 0; i < t->n_fields; i++) {
        const weir_element *e = t->fields[i].element;
        const uint32_t words[3] = {e->pen, (uint32_t)e->id << 16 | t->fields[i].length, e->flags};
        h = base_hash(words, sizeof words, h);
    }
    return h;
}

/* An element of no registry lives with its template: it is what it calls itself. */
static bool same_element(const weir_element *a, const weir_element *b)
{
    return a == b || (a->flags & WEIR_ELEMENT_UNKNOWN && a->flags == b->flags && a->pen == b->pen &&
                      a->id == b->id);
}

bool flow_plan_serves(const flow_plan *p, const weir_record *r)
{
    const weir_template *a = p->own, *b = r->tmpl;
    if (p->version != r->packet->version || a->options != b->options || p->n_scope != r->n_scope ||
        p->n_fields != r->n_fields || a->n_fields != b->n_fields)
        return false;
    for (uint32_t i = 0; i < a->n_fields; i++)
        if (a->fields[i].length != b->fields[i].length ||
            !same_element(a->fields[i].element, b->fields[i].element))
            return false;
    return true;
}

flow_plan *flow_plan_new(const weir_record *r, uint64_t hash)
{
    uint32_t n = r->n_fields;
    struct maker *m = calloc(1, sizeof *m);
    flow_plan *p = calloc(1, sizeof *p);
    bool *taken = calloc(n + 1, sizeof *taken);
    bool ok = m && p && taken;
    if (ok) {
        *m = (struct maker){.p = p, .r = r};
        m->table = r->tmpl->options ? FLOW_TABLE_OPTIONS : FLOW_TABLE_FLOWS;
        m->sorted = malloc((n + 1) * sizeof *m->sorted);
        m->groups = malloc((n + 1) * sizeof *m->groups);
        p->hash = hash;
        p->version = r->packet->version;
        p->octets = sizeof *p;
        p->own = wire_template_copy(r->tmpl, &p->octets);
        p->n_fields = n;
        p->n_scope = r->n_scope;
        p->n_fixed = fixed_fields(r->tmpl, &p->stride);
        /* One target an element and one a column; an operation for each, two for an element that repeats, and those of
         * no single field. */
        size_t n_targets = (size_t)n + ARRAY_LEN(m->best), n_ops = 2 * (size_t)n + 8;
        p->fields = calloc(n + 1, sizeof *p->fields);
        p->targets = calloc(n_targets, sizeof *p->targets);
        p->ops = calloc(n_ops, sizeof *p->ops);
        ok =
            m->sorted && m->groups && p->own && p->fields && p->targets && p->ops && make_groups(m);
    }
    if (ok) {
        make_ops(m, taken);
        make_sampling(m);
        make_gathering(m);
        ok = make_windows(m);
        p->targets = fit(p->targets, p->n_targets, sizeof *p->targets);
        p->ops = fit(p->ops, p->n_ops, sizeof *p->ops);
        p->octets += n * sizeof *p->fields + p->n_targets * sizeof *p->targets +
                     p->n_ops * sizeof *p->ops + p->n_windows * sizeof *p->windows;
    }
    free(taken);
    if (m) {
        free(m->sorted);
        free(m->groups);
    }
    free(m);
    if (ok)
        return p;
    flow_plan_free(p);
    return NULL;
}

void flow_plan_free(flow_plan *p)
{
    if (!p)
        return;
    free(p->fields);
    free(p->targets);
    free(p->ops);
    free(p->text);
    free(p->windows);
    free(p->own);
    free(p->scratch);
    free(p);
}
