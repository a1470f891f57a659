/* JSON and NDJSON: nfdump's keys in nfdump's order, then every other column that has a value, under its own name. */
#include "query/format_in.h"

#include "base/text.h"

#include <stdlib.h>

#define C(op) QUERY_CELL_##op
#define W(when) QUERY_CELL_##when
#define F(column) FLOW_##column + 1
#define D(id) QUERY_TOKEN_DERIVED + QUERY_D_##id

/* Keys of nfdump 1.7 whose values are made otherwise than those of the column of the same name in the schema, or stand in
 * front. A "4" in a key becomes "6" for an IPv6 address. */
struct key {
    const char *name;
    uint8_t op, when;
    bool quote;
    uint16_t arg;
    uint16_t f[QUERY_CELL_FIELDS];
};

/* clang-format off */
static const struct key keys[] = {
    {"cnt", C(ROW), W(ALWAYS), false, 0, {0}},
    {"type", C(KIND), W(ALWAYS), true, 0, {F(fw_event), F(nat_event)}},
    {"sampled", C(SAMPLED), W(ALWAYS), false, 0, {F(sampling_rate)}},
    {"first", C(TIME_T), W(PRESENT), true, 0, {F(first)}},
    {"last", C(TIME_T), W(PRESENT), true, 0, {F(last)}},
    {"received", C(TIME_T), W(PRESENT), true, 0, {F(received)}},
    {"in_packets", C(NUMBER), W(PRESENT), false, 0, {F(packets)}},
    {"in_bytes", C(NUMBER), W(PRESENT), false, 0, {F(bytes)}},
    {"proto", C(NUMBER), W(PRESENT), false, 0, {F(proto)}},
    {"tcp_flags", C(FLAGS), W(PORTS), true, 0, {F(tcp_flags), 0, 0, 0, F(proto)}},
    {"src_port", C(NUMBER), W(PORTS), false, 0, {F(src_port), 0, 0, 0, F(proto)}},
    {"dst_port", C(NUMBER), W(PORTS), false, 0, {F(dst_port), 0, 0, 0, F(proto)}},
    {"icmp_type", C(ICMP_TYPE), W(ICMP), false, 0, {F(icmp_type), F(icmp_code), F(dst_port), 0, F(proto)}},
    {"icmp_code", C(ICMP_CODE), W(ICMP), false, 0, {F(icmp_type), F(icmp_code), F(dst_port), 0, F(proto)}},
    {"src_tos", C(NUMBER), W(PRESENT), false, 0, {F(tos)}},
    {"src4_addr", C(ANY_JSON), W(FAMILY), false, 0, {F(src_addr)}},
    {"dst4_addr", C(ANY_JSON), W(FAMILY), false, 0, {F(dst_addr)}},
    {"input_snmp", C(NUMBER), W(PRESENT), false, 0, {F(in_if)}},
    {"output_snmp", C(NUMBER), W(PRESENT), false, 0, {F(out_if)}},
    {"src_mask", C(NUMBER), W(PRESENT), false, 0, {F(src_mask)}},
    {"dst_mask", C(NUMBER), W(PRESENT), false, 0, {F(dst_mask)}},
    {"src_net", C(NET_ADDR), W(SECOND), true, 0, {F(src_addr), F(src_mask)}},
    {"dst_net", C(NET_ADDR), W(SECOND), true, 0, {F(dst_addr), F(dst_mask)}},
    {"fwd_status", C(NUMBER), W(PRESENT), false, 0, {F(forwarding_status)}},
    {"direction", C(NUMBER), W(PRESENT), false, 0, {F(direction)}},
    {"dst_tos", C(NUMBER), W(PRESENT), false, 0, {F(tos_out)}},
    {"out_packets", C(NUMBER), W(PRESENT), false, 0, {F(packets_rev)}},
    {"out_packets", C(NUMBER), W(UNLESS), false, 0, {F(packets_out), F(packets_rev)}},
    {"packets_out", C(NUMBER), W(SECOND), false, 0, {F(packets_out), F(packets_rev)}},
    {"out_bytes", C(NUMBER), W(PRESENT), false, 0, {F(bytes_rev)}},
    {"out_bytes", C(NUMBER), W(UNLESS), false, 0, {F(bytes_out), F(bytes_rev)}},
    {"bytes_out", C(NUMBER), W(SECOND), false, 0, {F(bytes_out), F(bytes_rev)}},
    {"aggr_flows", C(NUMBER), W(PRESENT), false, 0, {F(flows)}},
    {"src_vlan", C(NUMBER), W(PRESENT), false, 0, {F(vlan)}},
    {"dst_vlan", C(NUMBER), W(PRESENT), false, 0, {F(vlan_out)}},
    {"src_as", C(NUMBER), W(PRESENT), false, 0, {F(src_as)}},
    {"dst_as", C(NUMBER), W(PRESENT), false, 0, {F(dst_as)}},
    {"bgp4_next_hop", C(ANY_JSON), W(FAMILY), false, 0, {F(bgp_next_hop)}},
    {"ip4_next_hop", C(ANY_JSON), W(FAMILY), false, 0, {F(next_hop)}},
    {"ip4_router", C(ANY_JSON), W(FAMILY), false, 0, {F(exporter)}},
    {"mpls_1", C(MPLS), W(LABELS), true, 1, {F(mpls_labels), F(mpls_exp), F(mpls_eos)}},
    {"mpls_2", C(MPLS), W(LABELS), true, 2, {F(mpls_labels), F(mpls_exp), F(mpls_eos)}},
    {"mpls_3", C(MPLS), W(LABELS), true, 3, {F(mpls_labels), F(mpls_exp), F(mpls_eos)}},
    {"mpls_4", C(MPLS), W(LABELS), true, 4, {F(mpls_labels), F(mpls_exp), F(mpls_eos)}},
    {"mpls_5", C(MPLS), W(LABELS), true, 5, {F(mpls_labels), F(mpls_exp), F(mpls_eos)}},
    {"mpls_6", C(MPLS), W(LABELS), true, 6, {F(mpls_labels), F(mpls_exp), F(mpls_eos)}},
    {"mpls_7", C(MPLS), W(LABELS), true, 7, {F(mpls_labels), F(mpls_exp), F(mpls_eos)}},
    {"mpls_8", C(MPLS), W(LABELS), true, 8, {F(mpls_labels), F(mpls_exp), F(mpls_eos)}},
    {"mpls_9", C(MPLS), W(LABELS), true, 9, {F(mpls_labels), F(mpls_exp), F(mpls_eos)}},
    {"mpls_10", C(MPLS), W(LABELS), true, 10, {F(mpls_labels), F(mpls_exp), F(mpls_eos)}},
    {"in_src_mac", C(ANY_JSON), W(PRESENT), false, 0, {F(src_mac)}},
    {"out_dst_mac", C(ANY_JSON), W(PRESENT), false, 0, {F(out_dst_mac)}},
    {"in_dst_mac", C(ANY_JSON), W(PRESENT), false, 0, {F(dst_mac)}},
    {"out_src_mac", C(ANY_JSON), W(PRESENT), false, 0, {F(out_src_mac)}},
    {"cli_latency", C(MILLIS), W(PRESENT), false, 0, {F(client_latency_us)}},
    {"srv_latency", C(MILLIS), W(PRESENT), false, 0, {F(server_latency_us)}},
    {"app_latency", C(MILLIS), W(PRESENT), false, 0, {F(app_latency_us)}},
    {"event_id", C(NUMBER), W(PRESENT), false, 0, {F(fw_event)}},
    {"event", C(EVENT), W(PRESENT), true, 0, {F(fw_event)}},
    {"xevent_id", C(NUMBER), W(PRESENT), false, 0, {F(fw_ext_event)}},
    {"t_event", C(TIME_T), W(PRESENT), true, 0, {F(event_time)}},
    {"src4_xlt_ip", C(ANY_JSON), W(FAMILY), false, 0, {F(nat_src_addr)}},
    {"dst4_xlt_ip", C(ANY_JSON), W(FAMILY), false, 0, {F(nat_dst_addr)}},
    {"ingress_acl", C(ACL), W(PRESENT), true, '/', {F(acl_in)}},
    {"egress_acl", C(ACL), W(PRESENT), true, '/', {F(acl_out)}},
    {"nat_event_id", C(NUMBER), W(PRESENT), false, 0, {F(nat_event)}},
    {"nat_event", C(NAT_EVENT_NAME), W(PRESENT), true, 0, {F(nat_event)}},
    {"nbar_id", C(APP_ID), W(PRESENT), true, 0, {F(app_id)}},
    {"src4_tun_ip", C(ANY_JSON), W(FAMILY), false, 0, {F(tunnel_src_addr)}},
    {"dst4_tun_ip", C(ANY_JSON), W(FAMILY), false, 0, {F(tunnel_dst_addr)}},
};
/* clang-format on */

static const char *literal(query_format *f, const char *name, bool six, uint32_t *len)
{
    base_buf b = {0};
    base_buf_str(&b, f->compact ? "," : ",\n\t");
    size_t from = b.len;
    base_json_string(&b, name, strlen(name), false);
    char *four = six && b.data ? memchr(b.data + from, '4', b.len - from) : NULL;
    if (four)
        *four = '6';
    base_buf_str(&b, f->compact ? ":" : " : ");
    const char *text = b.failed ? NULL : query_literal(f->arena, b.data, b.len);
    *len = text ? (uint32_t)b.len : 0;
    base_buf_done(&b);
    return text;
}

static void add(query_format *f, struct query_program *p, const char *name, struct query_cell c)
{
    c.lit = literal(f, name, false, &c.lit_len);
    p->failed = p->failed || !c.lit;
    if (c.when == QUERY_CELL_FAMILY) {
        c.lit6 = literal(f, name, true, &c.lit6_len);
        p->failed = p->failed || !c.lit6;
    }
    query_program_cell(p, f->arena, c);
}

static struct query_field field_of(uint16_t f)
{
    return f >= QUERY_TOKEN_DERIVED
               ? query_field_derived((enum query_derived)(f - QUERY_TOKEN_DERIVED))
               : query_field_column((enum flow_column_id)(f - 1));
}

static void add_field(query_format *f, const struct query_token_use *use, struct query_program *p,
                      const char *name, const struct query_field *field, uint8_t when)
{
    if (use->has && !use->has(use->user, field))
        return;
    add(f, p, name,
        (struct query_cell){.op = QUERY_CELL_ANY_JSON,
                            .when = when,
                            .v = {(int16_t)query_program_field(p, field), -1, -1, -1, -1, -1}});
}

/* A record with everything it has. */
static void all_keys(query_format *f, struct query_format_result *r,
                     const struct query_token_use *use)
{
    struct query_program *p = &r->program;
    bool used[FLOW_N_COLUMNS] = {false};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        const struct key *k = &keys[i];
        if (k->op == QUERY_CELL_ROW && f->o.no_row_number)
            continue;
        struct query_cell c = {.op = k->op, .when = k->when, .quote = k->quote, .arg = k->arg};
        bool there = !k->f[0];
        for (size_t n = 0; n < QUERY_CELL_FIELDS; n++) {
            c.v[n] = -1;
            if (!k->f[n])
                continue;
            struct query_field field = field_of(k->f[n]);
            if (use->has && !use->has(use->user, &field))
                continue;
            if (n == 0)
                there = true;
            if (k->op != QUERY_CELL_SAMPLED && field.what == QUERY_F_COLUMN)
                used[field.id] = true;
            c.v[n] = (int16_t)query_program_field(p, &field);
        }
        if (there || c.when == QUERY_CELL_ALWAYS)
            add(f, p, k->name, c);
    }
    for (int i = 0; i < FLOW_N_COLUMNS; i++) {
        if (used[i])
            continue;
        struct query_field field = query_field_column((enum flow_column_id)i);
        const char *json = flow_columns()[i].json;
        add_field(f, use, p, *json ? json : flow_columns()[i].name, &field, QUERY_CELL_PRESENT);
    }
    for (size_t i = 0; i < f->o.n_extras; i++)
        add_field(f, use, p, f->o.extras[i].name, &f->o.extras[i], QUERY_CELL_PRESENT);
    static const enum query_derived geo[] = {
        QUERY_D_SRC_COUNTRY,   QUERY_D_DST_COUNTRY,   QUERY_D_SRC_CITY,   QUERY_D_DST_CITY,
        QUERY_D_SRC_AS_NUMBER, QUERY_D_DST_AS_NUMBER, QUERY_D_SRC_AS_ORG, QUERY_D_DST_AS_ORG};
    for (size_t i = 0; f->o.geo && i < ARRAY_LEN(geo); i++) {
        struct query_field field = query_field_derived(geo[i]);
        add_field(f, use, p, field.name, &field, QUERY_CELL_PRESENT);
    }
}

/* The keys of a group, and its counters. */
static void group_keys(query_format *f, struct query_format_result *r)
{
    static const struct key counters[] = {
        {"first", C(TIME_T), W(PRESENT), true, 0, {F(first)}},
        {"last", C(TIME_T), W(PRESENT), true, 0, {F(last)}},
        {"in_packets", C(NUMBER), W(ALWAYS), false, 0, {F(packets)}},
        {"in_bytes", C(NUMBER), W(ALWAYS), false, 0, {F(bytes)}},
        {"out_packets", C(NUMBER), W(ALWAYS), false, 0, {D(OUT_PACKETS)}},
        {"out_bytes", C(NUMBER), W(ALWAYS), false, 0, {D(OUT_BYTES)}},
        {"aggr_flows", C(NUMBER), W(ALWAYS), false, 0, {D(N_FLOWS)}},
        {"pps", C(NUMBER), W(ALWAYS), false, 0, {D(PPS)}},
        {"bps", C(NUMBER), W(ALWAYS), false, 0, {D(BPS)}},
        {"bpp", C(NUMBER), W(ALWAYS), false, 0, {D(BPP)}},
    };
    struct query_program *p = &r->program;
    for (size_t i = 0; i < f->o.n_keys; i++) {
        const struct query_field *k = &f->o.keys[i];
        struct query_cell c = {.op = QUERY_CELL_ANY_JSON,
                               .v = {(int16_t)query_program_field(p, k), -1, -1, -1, -1, -1}};
        const char *name = k->name;
        for (size_t n = 0; n < ARRAY_LEN(keys) && k->what == QUERY_F_COLUMN; n++)
            if (keys[n].f[0] == k->id + 1) {
                name = keys[n].name;
                c.op = keys[n].op == QUERY_CELL_ICMP_TYPE || keys[n].op == QUERY_CELL_ICMP_CODE ||
                               keys[n].op == QUERY_CELL_KIND || keys[n].op == QUERY_CELL_MPLS
                           ? QUERY_CELL_ANY_JSON
                           : keys[n].op;
                c.quote = keys[n].quote && c.op != QUERY_CELL_ANY_JSON;
                c.arg = keys[n].arg;
                c.when = keys[n].when == QUERY_CELL_FAMILY ? QUERY_CELL_FAMILY : QUERY_CELL_ALWAYS;
                break;
            }
        add(f, p, name, c);
    }
    for (size_t i = 0; i < ARRAY_LEN(counters); i++) {
        struct query_field field = field_of(counters[i].f[0]);
        add(f, p, counters[i].name,
            (struct query_cell){
                .op = counters[i].op,
                .when = counters[i].when,
                .quote = counters[i].quote,
                .v = {(int16_t)query_program_field(p, &field), -1, -1, -1, -1, -1}});
    }
}

static void stat_keys(query_format *f, struct query_format_result *r)
{
    static const char *const names[QUERY_N_SN] = {"flows", "packets", "bytes", "pps", "bps", "bpp"};
    struct query_program *p = &r->program;
    const struct query_stat *s = r->stat;
    struct query_field first = query_field_column(FLOW_first), last = query_field_column(FLOW_last);
    struct query_field proto = query_field_column(FLOW_proto);
    if (f->n_results > 1) {
        /* Which table a row is of. */
        base_buf name = {0};
        base_buf_printf(&name, "%s/%s", s->name,
                        s->n_orders ? query_order_name(s->orders) : "flows");
        base_buf text = {0};
        if (!name.failed)
            base_json_string(&text, name.data, name.len, false);
        base_buf_char(&text, 0);
        char *missing =
            text.failed || name.failed ? NULL : query_arena_text(f->arena, text.data, text.len - 1);
        p->failed = p->failed || !missing;
        add(f, p, "stat",
            (struct query_cell){
                .op = QUERY_CELL_TEXT_ONLY, .missing = missing, .v = {-1, -1, -1, -1, -1, -1}});
        base_buf_done(&name);
        base_buf_done(&text);
    }
    add(f, p, "first",
        (struct query_cell){.op = QUERY_CELL_TIME_T,
                            .quote = true,
                            .v = {(int16_t)query_program_field(p, &first), -1, -1, -1, -1, -1}});
    add(f, p, "last",
        (struct query_cell){.op = QUERY_CELL_TIME_T,
                            .quote = true,
                            .v = {(int16_t)query_program_field(p, &last), -1, -1, -1, -1, -1}});
    bool of_proto = s->keys[0].what == QUERY_F_COLUMN && s->keys[0].id == FLOW_proto;
    if (!of_proto) {
        struct query_cell c = {.op = QUERY_CELL_NUMBER, .v = {-1, -1, -1, -1, -1, -1}};
        if (s->by_proto)
            c.v[0] = (int16_t)query_program_field(p, &proto);
        add(f, p, "proto", c);
    }
    add(f, p, s->name,
        (struct query_cell){
            .op = QUERY_CELL_ANY_JSON,
            .v = {(int16_t)query_program_field(p, &s->keys[0]), -1, -1, -1, -1, -1}});
    for (int n = 0; n < QUERY_N_SN; n++) {
        struct query_field field = query_stat_field(s, (enum query_stat_number)n);
        add(f, p, names[n],
            (struct query_cell){
                .op = QUERY_CELL_NUMBER,
                .v = {(int16_t)query_program_field(p, &field), -1, -1, -1, -1, -1}});
    }
}

static weir_status listed(query_format *f, struct query_format_result *r,
                          const struct query_token_use *use, const char *list, weir_err *err)
{
    const char *at = list;
    for (;;) {
        const struct query_token *t;
        struct query_field field;
        weir_status s = query_column_next(use, &at, &t, &field, err);
        if (s == WEIR_END)
            return WEIR_OK;
        if (s != WEIR_OK)
            return s;
        if (t && (t->f[0] == F(first)) && t->f[1])
            field = query_field_derived(QUERY_D_DURATION);
        else if (t && t->f[0])
            field = query_token_field(t, 0);
        else if (t)
            return weir_err_set(err, WEIR_EFORMAT, 0, "%%%s: has no form in JSON", t->name);
        /* Missing values are null: every row has the same keys. */
        add(f, &r->program, t ? t->csv : field.name,
            (struct query_cell){
                .op = QUERY_CELL_ANY_JSON,
                .v = {(int16_t)query_token_index(use, &r->program, &field), -1, -1, -1, -1, -1}});
    }
}

static weir_status json_begin(query_format *f, const struct query *q, size_t result, weir_err *err)
{
    (void)q;
    (void)result;
    (void)err;
    if (!f->compact && !f->begun)
        base_buf_char(&f->out, '[');
    return WEIR_OK;
}

/* A row's object without its closing brace. out: what the writer writes to. */
static weir_status json_row(query_format *f, base_buf *out, size_t i, weir_err *err)
{
    size_t from = out->len;
    WEIR_TRY(query_writer_row(&f->w, i, err));
    /* Every key has a comma in front; the first one becomes the brace. */
    if (out->len == from)
        base_buf_char(out, '{');
    else
        out->data[from] = '{';
    return WEIR_OK;
}

static weir_status json_block(query_format *f, size_t result, const struct query_block *b,
                              weir_err *err)
{
    WEIR_TRY(query_writer_block(&f->w, &f->results[result].program, b, err));
    for (size_t i = 0; i < b->n; i++) {
        if (!f->compact)
            base_buf_str(&f->out, f->w.rows ? ",\n" : "\n");
        WEIR_TRY(json_row(f, &f->out, i, err));
        base_buf_str(&f->out, f->compact ? "}\n" : "\n}");
        WEIR_TRY(query_format_flush(f, false, err));
    }
    return WEIR_OK;
}

weir_status query_format_lines(query_format *f, const struct query_block *b, size_t from, size_t to,
                               base_buf *out, size_t *ends, weir_err *err)
{
    if (!f->compact || f->n_results != 1)
        return weir_err_set(err, WEIR_EINVAL, 0, "lines of a format that has none");
    WEIR_TRY(query_writer_block(&f->w, &f->results[0].program, b, err));
    f->w.out = out;
    weir_status s = WEIR_OK;
    for (size_t i = from; i < to && s == WEIR_OK; i++) {
        s = json_row(f, out, i, err);
        base_buf_char(out, '}');
        ends[i - from] = out->len;
    }
    f->w.out = &f->out;
    return s == WEIR_OK && out->failed ? weir_err_set(err, WEIR_ENOMEM, 0, "out of memory") : s;
}

static weir_status json_end(query_format *f, size_t result, const struct query_summary *s,
                            weir_err *err)
{
    (void)s;
    (void)err;
    if (!f->compact && result + 1 == f->n_results)
        base_buf_str(&f->out, f->w.rows ? "]\n" : "\n]\n");
    return WEIR_OK;
}

static const struct query_format_kind json_kind = {
    .begin = json_begin, .block = json_block, .end = json_end, .records = true};

weir_status query_format_json(query_format *f, const char *list, bool compact, weir_err *err)
{
    f->kind = &json_kind;
    f->compact = compact;
    for (size_t i = 0; i < f->n_results; i++) {
        struct query_format_result *r = &f->results[i];
        struct query_token_use use = query_format_use(f, i);
        if (list)
            WEIR_TRY(listed(f, r, &use, list, err));
        else if (r->stat && !r->stat->record)
            stat_keys(f, r);
        else if (f->o.n_keys)
            group_keys(f, r);
        else
            all_keys(f, r, &use);
    }
    return WEIR_OK;
}
