/* Which element a column becomes: the first of its sources in registry/flow-columns.tsv that IPFIX can carry it in, and a few by
 * a rule of their own. */
#include "ship/ipfix_in.h"

#include <weir/element.h>

#include <stdio.h>
#include <stdlib.h>

enum {
    GROUP_EXPORTER =
        1, /* cells that yield to an extra column with the same element: the flow was handed on before */
    GROUP_PORT,
    GROUP_VERSION,
    GROUP_RECEIVED,
    GROUP_RATE /* extra columns that yield to sampling_rate */
};

struct builder {
    struct ipfix_columns *c;
    bool failed;
};

/* The rules of columns whose value alone does not say which element it is. */
struct rule {
    uint8_t column; /* FLOW_x */
    uint16_t id;
    uint8_t len, op, when, arg;
    uint8_t a, b; /* FLOW_x + 1; 0: none */
    uint8_t group, instead;
};

#define F(column) FLOW_##column + 1

/* clang-format off */
static const struct rule rules[] = {
    {FLOW_exporter, 130, 4, IPFIX_PIECE, IPFIX_HAS_PIECE, 0, 0, 0, GROUP_EXPORTER, 0},
    {FLOW_exporter, 131, 16, IPFIX_PIECE, IPFIX_HAS_PIECE, 0, 0, 0, GROUP_EXPORTER, 0},
    {FLOW_exporter_port, 217, 2, IPFIX_NUM, IPFIX_FITS, 0, 0, 0, GROUP_PORT, 0},
    {FLOW_protocol_version, 214, 1, IPFIX_NUM, IPFIX_FITS, 0, 0, 0, GROUP_VERSION, 0},
    {FLOW_received, 258, 8, IPFIX_MS, IPFIX_WITHOUT, 0, F(last), 0, GROUP_RECEIVED, 0},
    {FLOW_first, 152, 8, IPFIX_MS, IPFIX_COARSE, 0, F(first), F(last), 0, 0},
    {FLOW_last, 153, 8, IPFIX_MS, IPFIX_COARSE, 0, F(first), F(last), 0, 0},
    {FLOW_first, 154, 8, IPFIX_US, IPFIX_FINE, 0, F(first), F(last), 0, 0},
    {FLOW_last, 155, 8, IPFIX_US, IPFIX_FINE, 0, F(first), F(last), 0, 0},
    {FLOW_event_time, 323, 8, IPFIX_MS, IPFIX_COARSE, 0, F(event_time), F(event_time), 0, 0},
    {FLOW_event_time, 324, 8, IPFIX_US, IPFIX_FINE, 0, F(event_time), F(event_time), 0, 0},
    {FLOW_icmp_type, 176, 1, IPFIX_NUM, IPFIX_ICMP, 4, F(proto), F(src_addr), 0, 0},
    {FLOW_icmp_code, 177, 1, IPFIX_NUM, IPFIX_ICMP, 4, F(proto), F(src_addr), 0, 0},
    {FLOW_icmp_type, 178, 1, IPFIX_NUM, IPFIX_ICMP, 16, F(proto), F(src_addr), 0, 0},
    {FLOW_icmp_code, 179, 1, IPFIX_NUM, IPFIX_ICMP, 16, F(proto), F(src_addr), 0, 0},
    {FLOW_src_mask, 9, 1, IPFIX_NUM, IPFIX_FAMILY, 4, F(src_addr), 0, 0, 0},
    {FLOW_src_mask, 29, 1, IPFIX_NUM, IPFIX_FAMILY, 16, F(src_addr), 0, 0, 0},
    {FLOW_dst_mask, 13, 1, IPFIX_NUM, IPFIX_FAMILY, 4, F(dst_addr), 0, 0, 0},
    {FLOW_dst_mask, 30, 1, IPFIX_NUM, IPFIX_FAMILY, 16, F(dst_addr), 0, 0, 0},
    {FLOW_sampling_rate, 34, 4, IPFIX_RATE, IPFIX_WHOLE, 0, 0, 0, 0, GROUP_RATE},
    {FLOW_sampling_rate, 305, 4, IPFIX_RATE_TAKEN, IPFIX_BROKEN, 0, 0, 0, 0, GROUP_RATE},
    {FLOW_sampling_rate, 306, 4, IPFIX_RATE_SPACE, IPFIX_BROKEN, 0, 0, 0, 0, GROUP_RATE},
    {FLOW_sampler_id, 48, 1, IPFIX_NUM, IPFIX_SMALL, 0, 0, 0, 0, 0},
    {FLOW_sampler_id, 302, 8, IPFIX_NUM, IPFIX_LARGE, 0, 0, 0, 0, 0},
    {FLOW_mpls_labels, 70, 3, IPFIX_LABEL, IPFIX_HAS_LABEL, 0, F(mpls_exp), F(mpls_eos), 0, 0},
    {FLOW_mpls_labels, 71, 3, IPFIX_LABEL, IPFIX_HAS_LABEL, 1, F(mpls_exp), F(mpls_eos), 0, 0},
    {FLOW_mpls_labels, 72, 3, IPFIX_LABEL, IPFIX_HAS_LABEL, 2, F(mpls_exp), F(mpls_eos), 0, 0},
    {FLOW_mpls_labels, 73, 3, IPFIX_LABEL, IPFIX_HAS_LABEL, 3, F(mpls_exp), F(mpls_eos), 0, 0},
    {FLOW_mpls_labels, 74, 3, IPFIX_LABEL, IPFIX_HAS_LABEL, 4, F(mpls_exp), F(mpls_eos), 0, 0},
    {FLOW_mpls_labels, 75, 3, IPFIX_LABEL, IPFIX_HAS_LABEL, 5, F(mpls_exp), F(mpls_eos), 0, 0},
    {FLOW_mpls_labels, 76, 3, IPFIX_LABEL, IPFIX_HAS_LABEL, 6, F(mpls_exp), F(mpls_eos), 0, 0},
    {FLOW_mpls_labels, 77, 3, IPFIX_LABEL, IPFIX_HAS_LABEL, 7, F(mpls_exp), F(mpls_eos), 0, 0},
    {FLOW_mpls_labels, 78, 3, IPFIX_LABEL, IPFIX_HAS_LABEL, 8, F(mpls_exp), F(mpls_eos), 0, 0},
    {FLOW_mpls_labels, 79, 3, IPFIX_LABEL, IPFIX_HAS_LABEL, 9, F(mpls_exp), F(mpls_eos), 0, 0},
};
/* clang-format on */

/* Parts of other cells, of this session alone, or said in the header. */
static bool is_not_asked(uint32_t column)
{
    return column == FLOW_domain || column == FLOW_sequence || column == FLOW_template_id ||
           column == FLOW_sampling_source || column == FLOW_mpls_exp || column == FLOW_mpls_eos;
}

static int16_t add_field(struct builder *b, const struct query_field *f)
{
    struct ipfix_columns *c = b->c;
    for (size_t i = 0; i < c->n_fields; i++)
        if (query_field_same(&c->fields[i], f))
            return (int16_t)i;
    if (c->n_fields == c->cap_fields) {
        size_t cap = c->cap_fields ? 2 * c->cap_fields : 128;
        struct query_field *more = realloc(c->fields, cap * sizeof *more);
        if (!more) {
            b->failed = true;
            return -1;
        }
        c->fields = more;
        c->cap_fields = cap;
    }
    c->fields[c->n_fields] = *f;
    return (int16_t)c->n_fields++;
}

static int16_t add_column(struct builder *b, uint32_t id)
{
    struct query_field f = query_field_column((enum flow_column_id)id);
    return add_field(b, &f);
}

static int16_t add_pieces(struct builder *b, int16_t column, ship_piece_make *make)
{
    struct ipfix_columns *c = b->c;
    if (column < 0)
        return -1;
    for (size_t i = 0; i < c->n_pieces; i++)
        if (c->pieces[i].column == column && c->pieces[i].p.make == make)
            return (int16_t)i;
    struct ipfix_pieces *more = realloc(c->pieces, (c->n_pieces + 1) * sizeof *more);
    if (!more) {
        b->failed = true;
        return -1;
    }
    c->pieces = more;
    c->pieces[c->n_pieces] = (struct ipfix_pieces){.p = {.make = make}, .column = column};
    return (int16_t)c->n_pieces++;
}

static void add_cell(struct builder *b, struct ipfix_cell cell)
{
    if (b->c->n_cells == IPFIX_MAX_CELLS) {
        b->failed = true;
        return;
    }
    cell.pieces = -1;
    if (cell.op == IPFIX_PIECE)
        cell.pieces = add_pieces(b, cell.column, cell.len == 6 ? ship_piece_mac : ship_piece_addr);
    b->c->cells[b->c->n_cells++] = cell;
}

static void add_rules(struct builder *b, uint32_t column, size_t *found)
{
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        const struct rule *r = &rules[i];
        if (r->column != column)
            continue;
        struct ipfix_cell cell = {.id = r->id,
                                  .len = r->len,
                                  .op = r->op,
                                  .when = r->when,
                                  .arg = r->arg,
                                  .column = add_column(b, column),
                                  .a = -1,
                                  .b = -1,
                                  .family = -1,
                                  .group = r->group,
                                  .instead = r->instead};
        if (r->a)
            cell.a = add_column(b, r->a - 1U);
        if (r->b)
            cell.b = add_column(b, r->b - 1U);
        if (r->when == IPFIX_FAMILY)
            cell.family = add_pieces(b, cell.a, ship_piece_addr);
        if (r->when == IPFIX_ICMP)
            cell.family = add_pieces(b, cell.b, ship_piece_addr);
        add_cell(b, cell);
        (*found)++;
    }
}

/* How values of an element's type are sent, from a column with values of that kind. False: not at all. */
static bool cell_of_type(uint8_t type, uint8_t kind, struct ipfix_cell *out)
{
    static const uint8_t integer[] = {
        [WEIR_TYPE_UNSIGNED8] = 1,  [WEIR_TYPE_UNSIGNED16] = 2, [WEIR_TYPE_UNSIGNED32] = 4,
        [WEIR_TYPE_UNSIGNED64] = 8, [WEIR_TYPE_SIGNED8] = 1,    [WEIR_TYPE_SIGNED16] = 2,
        [WEIR_TYPE_SIGNED32] = 4,   [WEIR_TYPE_SIGNED64] = 8};
    switch ((enum weir_type)type) {
    case WEIR_TYPE_UNSIGNED8:
    case WEIR_TYPE_UNSIGNED16:
    case WEIR_TYPE_UNSIGNED32:
    case WEIR_TYPE_UNSIGNED64:
        out->len = integer[type];
        out->op = IPFIX_NUM;
        out->when = out->len == 8 ? IPFIX_VALID : IPFIX_FITS;
        return kind == QUERY_U64;
    case WEIR_TYPE_SIGNED8:
    case WEIR_TYPE_SIGNED16:
    case WEIR_TYPE_SIGNED32:
    case WEIR_TYPE_SIGNED64:
        out->len = integer[type];
        out->op = IPFIX_NUM;
        out->when = out->len == 8 ? IPFIX_VALID : IPFIX_FITS_SIGNED;
        return kind == QUERY_S64;
    case WEIR_TYPE_FLOAT32:
    case WEIR_TYPE_FLOAT64:
        out->len = type == WEIR_TYPE_FLOAT32 ? 4 : 8;
        out->op = type == WEIR_TYPE_FLOAT32 ? IPFIX_F32 : IPFIX_F64;
        out->when = IPFIX_VALID;
        return kind == QUERY_F64;
    case WEIR_TYPE_BOOLEAN:
        out->len = 1;
        out->op = IPFIX_BOOL;
        out->when = IPFIX_VALID;
        return kind == QUERY_BOOL;
    case WEIR_TYPE_MAC_ADDRESS:
    case WEIR_TYPE_IPV4_ADDRESS:
    case WEIR_TYPE_IPV6_ADDRESS:
        out->len = type == WEIR_TYPE_MAC_ADDRESS ? 6 : type == WEIR_TYPE_IPV4_ADDRESS ? 4 : 16;
        out->op = IPFIX_PIECE;
        out->when = IPFIX_HAS_PIECE;
        return kind == QUERY_TEXT;
    case WEIR_TYPE_STRING:
    case WEIR_TYPE_OCTET_ARRAY:
        out->len = 0;
        out->op = IPFIX_TEXT;
        out->when = IPFIX_HAS_TEXT;
        return kind == (type == WEIR_TYPE_STRING ? QUERY_TEXT : QUERY_OCTETS);
    case WEIR_TYPE_DATE_TIME_SECONDS:
    case WEIR_TYPE_DATE_TIME_MILLISECONDS:
    case WEIR_TYPE_DATE_TIME_MICROSECONDS:
    case WEIR_TYPE_DATE_TIME_NANOSECONDS:
        out->len = type == WEIR_TYPE_DATE_TIME_SECONDS ? 4 : 8;
        out->op = type == WEIR_TYPE_DATE_TIME_SECONDS        ? IPFIX_S
                  : type == WEIR_TYPE_DATE_TIME_MILLISECONDS ? IPFIX_MS
                  : type == WEIR_TYPE_DATE_TIME_MICROSECONDS ? IPFIX_US
                                                             : IPFIX_NS;
        out->when = IPFIX_HAS_TIME;
        return kind == QUERY_TIME;
    case WEIR_TYPE_BASIC_LIST:
    case WEIR_TYPE_SUB_TEMPLATE_LIST:
    case WEIR_TYPE_SUB_TEMPLATE_MULTI_LIST:
    case WEIR_TYPE_UNSIGNED256:
    case WEIR_N_TYPES:
        break;
    }
    return false;
}

/* The element that a source of a column names: "octetDeltaCount", "29305/1"; NULL: it is none of IPFIX. */
static const weir_element *element_of(const char *source, size_t len)
{
    char name[80];
    unsigned pen, id;
    int end = 0;
    if (len >= sizeof name || *source == '@')
        return NULL;
    memcpy(name, source, len);
    name[len] = 0;
    if (sscanf(name, "%u/%u%n", &pen, &id, &end) == 2 && !name[end] && id < 0x8000)
        return weir_element_find(NULL, WEIR_SPACE_IPFIX, pen, (uint16_t)id);
    const weir_element *e = weir_element_by_name(NULL, name);
    return e && !(e->flags & (WEIR_ELEMENT_V9 | WEIR_ELEMENT_SCOPE)) ? e : NULL;
}

/* The first source that can carry the column; of addresses the first for each family. */
static void add_sources(struct builder *b, uint32_t column, size_t *found)
{
    const struct query_field f = query_field_column((enum flow_column_id)column);
    bool four = false, six = false, addr = flow_columns()[column].type == FLOW_TYPE_ADDR;
    for (const char *at = flow_columns()[column].sources; *at;) {
        size_t len = strcspn(at, ","), name = strcspn(at, ",:");
        bool ms = len - name == 3 && strncmp(at + name, ":ms", 3) == 0;
        const weir_element *e = name == len || ms ? element_of(at, name) : NULL;
        struct ipfix_cell cell = {.column = -1, .a = -1, .b = -1, .family = -1};
        at += len + (at[len] == ',');
        if (!e || !cell_of_type(e->type, f.kind, &cell))
            continue;
        if (addr && cell.len == 16 ? six : four)
            continue;
        *(addr && cell.len == 16 ? &six : &four) = true;
        if (ms) {
            cell.op = IPFIX_THOUSANDTH;
            cell.when = IPFIX_THOUSANDS;
        }
        cell.pen = e->pen;
        cell.id = e->id;
        cell.column = add_field(b, &f);
        add_cell(b, cell);
        (*found)++;
    }
}

static bool add_extra(struct builder *b, const struct query_field *f)
{
    unsigned pen, id;
    int end = 0;
    struct ipfix_cell cell = {.column = -1, .a = -1, .b = -1, .family = -1};
    const weir_element *e = element_of(f->name, strlen(f->name));
    if (e && cell_of_type(e->type, f->kind, &cell)) {
        cell.pen = e->pen;
        cell.id = e->id;
    } else if (f->kind == QUERY_OCTETS && sscanf(f->name, "e%u_%u%n", &pen, &id, &end) == 2 &&
               !f->name[end] && id && id < 0x8000 &&
               !weir_element_find(NULL, WEIR_SPACE_IPFIX, pen, (uint16_t)id)) {
        cell.pen = pen; /* in no registry: octets */
        cell.id = (uint16_t)id;
        cell.op = IPFIX_TEXT;
        cell.when = IPFIX_HAS_TEXT;
    } else {
        return false;
    }
    if (!cell.pen)
        switch (cell.id) {
        case 130:
        case 131:
            cell.instead = GROUP_EXPORTER;
            break;
        case 214:
            cell.instead = GROUP_VERSION;
            break;
        case 217:
            cell.instead = GROUP_PORT;
            break;
        case 258:
            cell.instead = GROUP_RECEIVED;
            break;
        case 34:
        case 305:
        case 306:
            cell.group = GROUP_RATE;
            break;
        default:
            break;
        }
    cell.column = add_field(b, f);
    add_cell(b, cell);
    return true;
}

static char *copy_names(const struct query_field *extras, size_t n)
{
    size_t octets = 1;
    for (size_t i = 0; i < n; i++)
        octets += strlen(extras[i].name) + 1;
    return malloc(octets);
}

weir_status ipfix_columns_init(struct ipfix_columns *c, const struct query_field *extras,
                               size_t n_extras, void (*left_out)(void *user, const char *name),
                               void *user, weir_err *err)
{
    struct builder b = {.c = c};
    *c = (struct ipfix_columns){.domain = -1};
    c->cells = calloc(IPFIX_MAX_CELLS, sizeof *c->cells);
    c->names = copy_names(extras, n_extras);
    if (!c->cells || !c->names)
        return ship_no_memory(err);
    c->domain = add_column(&b, FLOW_domain);
    for (uint32_t column = 0; column < FLOW_N_COLUMNS; column++) {
        size_t found = 0;
        if (is_not_asked(column))
            continue;
        add_rules(&b, column, &found);
        if (!found)
            add_sources(&b, column, &found);
        if (!found && c->n_unsent < ARRAY_LEN(c->unsent))
            c->unsent[c->n_unsent++] = add_column(&b, column);
    }
    char *at = c->names;
    for (size_t i = 0; i < n_extras; i++) {
        struct query_field f = extras[i];
        size_t len = strlen(f.name) + 1;
        f.name = memcpy(at, f.name, len);
        at += len;
        if (!add_extra(&b, &f))
            left_out(user, extras[i].name);
    }
    return b.failed ? ship_no_memory(err) : WEIR_OK;
}

void ipfix_columns_done(struct ipfix_columns *c)
{
    for (size_t i = 0; i < c->n_pieces; i++)
        ship_pieces_done(&c->pieces[i].p);
    free(c->pieces);
    free(c->cells);
    free(c->fields);
    free(c->names);
    *c = (struct ipfix_columns){.domain = -1};
}
