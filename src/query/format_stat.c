/* Tables of -s: nfdump's, with percentages of what passed the filter; and their CSV. */
#include "query/format_in.h"

#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>

struct row {
    size_t text, text_len; /* in front of the numbers: in `texts` */
    uint64_t n[QUERY_N_SN];
};

/* Rows wait here until the totals are known. */
struct held {
    base_buf texts;
    struct row *rows;
    size_t n, cap;
    bool csv, known; /* known: the totals were there when the result began */
};

static const struct {
    const char *name, *label;
} labels[] = {
    {"srcip", "Src IP Addr"},
    {"dstip", "Dst IP Addr"},
    {"ip", "IP Addr"},
    {"nhip", "Nexthop IP"},
    {"nhbip", "Nexthop BGP IP"},
    {"router", "Router IP"},
    {"srcport", "Src Port"},
    {"dstport", "Dst Port"},
    {"port", "Port"},
    {"proto", "Protocol"},
    {"flags", "Flags"},
    {"srctos", "Tos"},
    {"dsttos", "Dst Tos"},
    {"tos", "Tos"},
    {"dir", "Dir"},
    {"srcas", "Src AS"},
    {"dstas", "Dst AS"},
    {"as", "AS"},
    {"srcasn", "Src AS"},
    {"dstasn", "Dst AS"},
    {"asn", "AS"},
    {"prevas", "Prev AS"},
    {"nextas", "Next AS"},
    {"inif", "Input If"},
    {"outif", "Output If"},
    {"if", "In/Out If"},
    {"srcmask", "Src Mask"},
    {"dstmask", "Dst Mask"},
    {"mask", "Mask"},
    {"tunproto", "Tun Proto"},
    {"srcvlan", "Src Vlan"},
    {"dstvlan", "Dst Vlan"},
    {"vlan", "Vlan"},
    {"insrcmac", "In Src Mac"},
    {"outdstmac", "Out Dst Mac"},
    {"indstmac", "In Dst Mac"},
    {"outsrcmac", "Out Src Mac"},
    {"srcmac", "Src Mac"},
    {"dstmac", "Dst Mac"},
    {"inmac", "In Src Mac"},
    {"outmac", "Out Src Mac"},
    {"mac", "Mac"},
    {"ethertype", "EtherType"},
    {"mpls1", " MPLS lab 1"},
    {"mpls2", " MPLS lab 2"},
    {"mpls3", " MPLS lab 3"},
    {"mpls4", " MPLS lab 4"},
    {"mpls5", " MPLS lab 5"},
    {"mpls6", " MPLS lab 6"},
    {"mpls7", " MPLS lab 7"},
    {"mpls8", " MPLS lab 8"},
    {"mpls9", " MPLS lab 9"},
    {"mpls10", "MPLS lab 10"},
    {"minttl", "Min TTL"},
    {"maxttl", "Max TTL"},
    {"cl", "Client Latency"},
    {"sl", "Server Latency"},
    {"al", "  Appl Latency"},
    {"nbar", "nbar"},
    {"odid", "obs domainID"},
    {"opid", " obs PointID"},
    {"event", " Event"},
    {"nevent", " Event"},
    {"nat", "NAT Event"},
    {"xevent", "X-Event"},
    {"natsrcip", "X-Src IP Addr"},
    {"natdstip", "X-Dst IP Addr"},
    {"natip", "X-IP Addr"},
    {"natsrcport", " X-Src Port"},
    {"natdstport", " X-Dst Port"},
    {"natport", "X-Port"},
    {"xsrcip", "X-Src IP Addr"},
    {"xdstip", "X-Dst IP Addr"},
    {"xsrcport", " X-Src Port"},
    {"xdstport", " X-Dst Port"},
    {"iacl", "Ingress ACL"},
    {"eacl", "Egress ACL"},
    {"iace", "Ingress ACE"},
    {"eace", "Egress ACE"},
    {"ixace", "Ingress xACE"},
    {"exace", "Egress xACE"},
    {"ivrf", " I-vrf-ID"},
    {"evrf", " E-vrf-ID"},
    {"srcgeo", "Src Geo"},
    {"dstgeo", "Dst Geo"},
    {"geo", "Geo"},
};

static const char *label_of(const struct query_stat *s)
{
    for (size_t i = 0; i < ARRAY_LEN(labels); i++)
        if (strcmp(labels[i].name, s->name) == 0)
            return labels[i].label;
    return s->name;
}

static const char *order_of(const struct query_stat *s)
{
    return s->n_orders ? query_order_name(s->orders) : "flows";
}

static bool is_proto(const struct query_field *f)
{
    return f->what == QUERY_F_COLUMN && f->id == FLOW_proto;
}

/* How the value of the key stands in a table or, csv, in CSV. */
static struct query_cell value_cell(const struct query_stat *s, bool csv)
{
    struct query_cell c = {.op = csv ? QUERY_CELL_ANY_CSV : QUERY_CELL_ANY_TEXT,
                           .v = {-1, -1, -1, -1, -1, -1}};
    const struct query_token *t = query_token_of_field(&s->keys[0]);
    if (t)
        switch (t->op) {
        case QUERY_CELL_ADDR:
        case QUERY_CELL_MAC:
        case QUERY_CELL_FLAGS:
        case QUERY_CELL_MILLIS:
        case QUERY_CELL_APP_ID:
        case QUERY_CELL_HEX:
            c.op = t->op;
            c.arg = t->arg;
            c.missing = t->missing;
            break;
        default:
            break;
        }
    const struct query_field *key = &s->keys[0];
    if (key->what == QUERY_F_COLUMN && (key->id == FLOW_fw_event || key->id == FLOW_nat_event))
        c.op = QUERY_CELL_EVENT;
    if (key->what == QUERY_F_DERIVED &&
        (key->id == QUERY_D_ACL_IN_ID || key->id == QUERY_D_ACL_OUT_ID)) {
        c.op = QUERY_CELL_HEX;
        c.arg = 1;
    }
    if (c.op == QUERY_CELL_ANY_TEXT && key->kind == QUERY_U64)
        c.missing = "0"; /* as nfdump has it: no value is 0 */
    return c;
}

static void add(query_format *f, struct query_program *p, const char *lit, struct query_cell c,
                const struct query_field *a, const struct query_field *b)
{
    query_program_lit(p, lit, strlen(lit));
    if (a)
        c.v[0] = (int16_t)query_program_field(p, a);
    if (b)
        c.v[1] = (int16_t)query_program_field(p, b);
    if (c.op == QUERY_CELL_EVENT && a && a->id == FLOW_nat_event) {
        c.v[1] = c.v[0];
        c.v[0] = -1;
    }
    query_program_cell(p, f->arena, c);
}

static void number_fields(struct query_format_result *r)
{
    for (int n = 0; n < QUERY_N_SN; n++) {
        struct query_field field = query_stat_field(r->stat, (enum query_stat_number)n);
        (void)query_program_field(&r->program, &field);
    }
}

static int number_index(struct query_format_result *r, int n)
{
    struct query_field field = query_stat_field(r->stat, (enum query_stat_number)n);
    return query_program_field(&r->program, &field);
}

static const struct query_cell none = {.op = QUERY_CELL_TEXT_ONLY, .v = {-1, -1, -1, -1, -1, -1}};

static struct query_cell cell(enum query_cell_op op, uint8_t width, bool left)
{
    struct query_cell c = none;
    c.op = (uint8_t)op;
    c.width = width;
    c.left = left;
    return c;
}

/* "any", or the protocol when it is (part of) the key. */
static void add_proto(query_format *f, struct query_format_result *r, const char *lit, bool csv)
{
    struct query_field proto = query_field_column(FLOW_proto);
    bool there = r->stat->by_proto || is_proto(&r->stat->keys[0]);
    struct query_cell c = cell(csv ? QUERY_CELL_PROTO_NAME : QUERY_CELL_PROTO, csv ? 0 : 5, true);
    if (!there) {
        c.op = QUERY_CELL_TEXT_ONLY;
        c.missing = "any";
    }
    add(f, &r->program, lit, c, there ? &proto : NULL, NULL);
}

static double share(uint64_t v, uint64_t of)
{
    return of ? 100.0 * (double)v / (double)of : 0;
}

static void put_scaled(base_buf *out, uint64_t v, size_t width, bool plain)
{
    char text[40];
    size_t n = query_scaled_text(text, v, plain);
    base_buf_char(out, ' ');
    for (size_t i = n; i < width; i++)
        base_buf_char(out, ' ');
    base_buf_add(out, text, n);
}

/* What the percentages are of. */
static void totals_of(const struct query_stat *s, const struct query_summary *t, uint64_t of[3])
{
    enum query_stat_side side = query_stat_side(s);
    bool in = side != QUERY_SIDE_OUT, out = side != QUERY_SIDE_IN;
    of[QUERY_SN_FLOWS] = t->flows;
    of[QUERY_SN_PACKETS] = (in ? t->packets : 0) + (out ? t->out_packets : 0);
    of[QUERY_SN_BYTES] = (in ? t->bytes : 0) + (out ? t->out_bytes : 0);
}

static void put_numbers(query_format *f, const uint64_t n[QUERY_N_SN], const uint64_t of[3])
{
    struct held *h = f->state;
    if (h->csv) {
        for (int i = 0; i < QUERY_N_SN; i++) {
            base_buf_printf(&f->out, ",%llu", (unsigned long long)n[i]);
            if (i <= QUERY_SN_BYTES)
                base_buf_printf(&f->out, ",%.1f", share(n[i], of[i]));
        }
        base_buf_char(&f->out, '\n');
        return;
    }
    for (int i = 0; i <= QUERY_SN_BYTES; i++) {
        put_scaled(&f->out, n[i], 8, f->o.plain_numbers || i == QUERY_SN_FLOWS);
        base_buf_printf(&f->out, "(%4.1f)", share(n[i], of[i]));
    }
    put_scaled(&f->out, n[QUERY_SN_PPS], 8, f->o.plain_numbers);
    put_scaled(&f->out, n[QUERY_SN_BPS], 8, f->o.plain_numbers);
    put_scaled(&f->out, n[QUERY_SN_BPP], 5, true);
    base_buf_char(&f->out, '\n');
}

static weir_status stat_begin(query_format *f, const struct query *q, size_t result, weir_err *err)
{
    (void)q;
    struct held *h = f->state;
    const struct query_format_result *r = &f->results[result];
    h->known = f->o.totals && f->o.totals->matched;
    h->n = 0;
    base_buf_reset(&h->texts);
    if (h->csv) {
        if (f->begun && f->n_results > 1)
            base_buf_char(&f->out, '\n');
        if (!f->o.quiet)
            base_buf_add(&f->out, r->header.data, r->header.len);
    } else if (!f->o.quiet) {
        if (f->limit)
            base_buf_printf(&f->out, "Top %llu %s ordered by %s:\n", (unsigned long long)f->limit,
                            label_of(r->stat), order_of(r->stat));
        else
            base_buf_printf(&f->out, "Top %s ordered by %s:\n", label_of(r->stat),
                            order_of(r->stat));
        base_buf_str(&f->out, f->o.color ? "\033[1m" : "");
        base_buf_add(&f->out, r->header.data, r->header.len);
        base_buf_str(&f->out, f->o.color ? "\033[0m\n" : "\n");
    }
    return query_format_flush(f, false, err);
}

static weir_status stat_block(query_format *f, size_t result, const struct query_block *b,
                              weir_err *err)
{
    struct held *h = f->state;
    struct query_format_result *r = &f->results[result];
    int at[QUERY_N_SN];
    uint64_t of[3] = {0};
    for (int n = 0; n < QUERY_N_SN; n++)
        at[n] = number_index(r, n);
    if (h->known)
        totals_of(r->stat, f->o.totals, of);
    WEIR_TRY(query_writer_block(&f->w, &r->program, b, err));
    for (size_t i = 0; i < b->n; i++) {
        uint64_t n[QUERY_N_SN];
        for (int k = 0; k < QUERY_N_SN; k++)
            n[k] = at[k] >= 0 && b->vecs[at[k]].num ? b->vecs[at[k]].num[i] : 0;
        size_t from = f->out.len;
        WEIR_TRY(query_writer_row(&f->w, i, err));
        if (h->known) {
            put_numbers(f, n, of);
            WEIR_TRY(query_format_flush(f, false, err));
            continue;
        }
        if (h->n == h->cap) {
            size_t cap = h->cap ? 2 * h->cap : 64;
            struct row *rows = realloc(h->rows, cap * sizeof *rows);
            if (!rows)
                return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
            h->rows = rows;
            h->cap = cap;
        }
        struct row *row = &h->rows[h->n++];
        row->text = h->texts.len;
        row->text_len = f->out.len - from;
        memcpy(row->n, n, sizeof n);
        base_buf_add(&h->texts, f->out.data + from, row->text_len);
        f->out.len = from;
        if (h->texts.failed)
            return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
    }
    return WEIR_OK;
}

static weir_status stat_end(query_format *f, size_t result, const struct query_summary *s,
                            weir_err *err)
{
    struct held *h = f->state;
    uint64_t of[3];
    totals_of(f->results[result].stat, s, of);
    for (size_t i = 0; i < h->n; i++) {
        base_buf_add(&f->out, h->texts.data + h->rows[i].text, h->rows[i].text_len);
        put_numbers(f, h->rows[i].n, of);
        WEIR_TRY(query_format_flush(f, false, err));
    }
    if (!h->csv)
        base_buf_char(&f->out, '\n');
    return WEIR_OK;
}

static void stat_free(query_format *f)
{
    struct held *h = f->state;
    if (!h)
        return;
    base_buf_done(&h->texts);
    free(h->rows);
    free(h);
}

static const struct query_format_kind stat_kind = {.begin = stat_begin,
                                                   .block = stat_block,
                                                   .end = stat_end,
                                                   .free = stat_free,
                                                   .people = true,
                                                   .totals = true};
static const struct query_format_kind stat_csv_kind = {
    .begin = stat_begin, .block = stat_block, .end = stat_end, .free = stat_free, .totals = true};

static weir_status setup(query_format *f, bool csv, weir_err *err)
{
    f->kind = csv ? &stat_csv_kind : &stat_kind;
    struct held *h = f->state = calloc(1, sizeof *h);
    if (!h)
        return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
    h->csv = csv;
    struct query_field first = query_field_column(FLOW_first), last = query_field_column(FLOW_last);
    unsigned wide = 17 + (f->o.full_ipv6 ? QUERY_IPV6_MORE : 0);
    for (size_t i = 0; i < f->n_results; i++) {
        struct query_format_result *r = &f->results[i];
        struct query_program *p = &r->program;
        struct query_cell value = value_cell(r->stat, csv);
        if (csv) {
            add(f, p, "", cell(QUERY_CELL_TIME, 0, false), &first, NULL);
            add(f, p, ",", cell(QUERY_CELL_TIME, 0, false), &last, NULL);
            add(f, p, ",", cell(QUERY_CELL_SECONDS, 0, false), &first, &last);
            add_proto(f, r, ",", true);
            add(f, p, ",", value, &r->stat->keys[0], NULL);
            base_buf_str(&r->header, "ts,te,td,pr,val,fl,flP,pkt,pktP,byt,bytP,pps,bps,bpp\n");
        } else {
            add(f, p, "", cell(QUERY_CELL_TIME, 23, false), &first, NULL);
            add(f, p, " ", cell(QUERY_CELL_DURATION, 16, false), &first, &last);
            add_proto(f, r, " ", false);
            value.width = (uint8_t)wide;
            if (value.op == QUERY_CELL_ANY_TEXT && is_proto(&r->stat->keys[0]))
                value.op = QUERY_CELL_NUMBER;
            add(f, p, " ", value, &r->stat->keys[0], NULL);
            base_buf_printf(&r->header,
                            "Date first seen                 Duration Proto %*s    Flows(%%)     "
                            "Packets(%%)       Bytes(%%)         pps      bps   bpp",
                            (int)wide, label_of(r->stat));
        }
        number_fields(r);
    }
    return WEIR_OK;
}

weir_status query_format_stat(query_format *f, weir_err *err)
{
    return setup(f, false, err);
}

weir_status query_format_stat_csv(query_format *f, weir_err *err)
{
    return setup(f, true, err);
}
