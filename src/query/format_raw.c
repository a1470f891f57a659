/* raw: a record over many lines, with nfdump's words where it has one, else the column's name. */
#include "query/format_in.h"

struct line {
    const char *label;
    uint8_t op, when;
    uint16_t arg;
    uint16_t f[QUERY_CELL_FIELDS];
    uint8_t op2; /* a second form behind the first */
    uint16_t arg2;
    uint16_t f2[2];
    const char *before, *after; /* around the second form */
};

#define C(op) QUERY_CELL_##op
#define W(when) QUERY_CELL_##when
#define F(column) FLOW_##column + 1

/* clang-format off */
static const struct line lines[] = {
    {"RecordCount", C(ROW), W(ALWAYS), 0, {0}, 0, 0, {0}, NULL, NULL},
    {"Type", C(KIND), W(ALWAYS), 0, {F(fw_event), F(nat_event)}, 0, 0, {0}, NULL, NULL},
    {"version", C(NUMBER), W(PRESENT), 0, {F(protocol_version)}, 0, 0, {0}, NULL, NULL},
    {"sampling", C(REAL), W(PRESENT), 0, {F(sampling_rate)}, 0, 0, {0}, NULL, NULL},
    {"engine", C(ENGINE), W(PRESENT), 0, {F(domain)}, 0, 0, {0}, NULL, NULL},
    {"domain", C(NUMBER), W(PRESENT), 0, {F(domain)}, 0, 0, {0}, NULL, NULL},
    {"first", C(TIME_MS), W(PRESENT), 0, {F(first)}, C(TIME), 0, {F(first)}, " [", "]"},
    {"last", C(TIME_MS), W(PRESENT), 0, {F(last)}, C(TIME), 0, {F(last)}, " [", "]"},
    {"received at", C(TIME_MS), W(PRESENT), 0, {F(received)}, C(TIME), 0, {F(received)}, " [", "]"},
    {"proto", C(NUMBER), W(PRESENT), 0, {F(proto)}, C(PROTO_NAME), 0, {F(proto)}, " ", NULL},
    {"tcp flags", C(HEX), W(PRESENT), 2, {F(tcp_flags)}, C(FLAGS), 0, {F(tcp_flags)}, " ", NULL},
    {"src port", C(NUMBER), W(PORTS), 0, {F(src_port), 0, 0, 0, F(proto)}, 0, 0, {0}, NULL, NULL},
    {"dst port", C(NUMBER), W(PORTS), 0, {F(dst_port), 0, 0, 0, F(proto)}, 0, 0, {0}, NULL, NULL},
    {"ICMP type", C(ICMP_TYPE), W(ICMP), 0, {F(icmp_type), F(icmp_code), F(dst_port), 0, F(proto)}, 0, 0, {0}, NULL, NULL},
    {"ICMP code", C(ICMP_CODE), W(ICMP), 0, {F(icmp_type), F(icmp_code), F(dst_port), 0, F(proto)}, 0, 0, {0}, NULL, NULL},
    {"src tos", C(NUMBER), W(PRESENT), 0, {F(tos)}, 0, 0, {0}, NULL, NULL},
    {"in packets", C(NUMBER), W(PRESENT), 0, {F(packets)}, 0, 0, {0}, NULL, NULL},
    {"in bytes", C(NUMBER), W(PRESENT), 0, {F(bytes)}, 0, 0, {0}, NULL, NULL},
    {"src addr", C(ADDR), W(PRESENT), 0, {F(src_addr)}, 0, 0, {0}, NULL, NULL},
    {"dst addr", C(ADDR), W(PRESENT), 0, {F(dst_addr)}, 0, 0, {0}, NULL, NULL},
    {"input", C(NUMBER), W(PRESENT), 0, {F(in_if)}, 0, 0, {0}, NULL, NULL},
    {"output", C(NUMBER), W(PRESENT), 0, {F(out_if)}, 0, 0, {0}, NULL, NULL},
    {"src mask", C(NUMBER), W(PRESENT), 0, {F(src_mask)}, C(NET), 0, {F(src_addr), F(src_mask)}, " ", NULL},
    {"dst mask", C(NUMBER), W(PRESENT), 0, {F(dst_mask)}, C(NET), 0, {F(dst_addr), F(dst_mask)}, " ", NULL},
    {"fwd status", C(NUMBER), W(PRESENT), 0, {F(forwarding_status)}, 0, 0, {0}, NULL, NULL},
    {"dst tos", C(NUMBER), W(PRESENT), 0, {F(tos_out)}, 0, 0, {0}, NULL, NULL},
    {"direction", C(NUMBER), W(PRESENT), 0, {F(direction)}, 0, 0, {0}, NULL, NULL},
    {"biFlow Dir", C(HEX), W(PRESENT), 2, {F(biflow_direction)}, 0, 0, {0}, NULL, NULL},
    {"end reason", C(HEX), W(PRESENT), 2, {F(end_reason)}, C(END_REASON), 0, {F(end_reason)}, " ", NULL},
    {"out packets", C(NUMBER), W(PRESENT), 0, {F(packets_out)}, 0, 0, {0}, NULL, NULL},
    {"out bytes", C(NUMBER), W(PRESENT), 0, {F(bytes_out)}, 0, 0, {0}, NULL, NULL},
    {"rev packets", C(NUMBER), W(PRESENT), 0, {F(packets_rev)}, 0, 0, {0}, NULL, NULL},
    {"rev bytes", C(NUMBER), W(PRESENT), 0, {F(bytes_rev)}, 0, 0, {0}, NULL, NULL},
    {"aggr flows", C(NUMBER), W(PRESENT), 0, {F(flows)}, 0, 0, {0}, NULL, NULL},
    {"src vlan", C(NUMBER), W(PRESENT), 0, {F(vlan)}, 0, 0, {0}, NULL, NULL},
    {"dst vlan", C(NUMBER), W(PRESENT), 0, {F(vlan_out)}, 0, 0, {0}, NULL, NULL},
    {"src as", C(NUMBER), W(PRESENT), 0, {F(src_as)}, 0, 0, {0}, NULL, NULL},
    {"dst as", C(NUMBER), W(PRESENT), 0, {F(dst_as)}, 0, 0, {0}, NULL, NULL},
    {"bgp next hop", C(ADDR), W(PRESENT), 0, {F(bgp_next_hop)}, 0, 0, {0}, NULL, NULL},
    {"ip next hop", C(ADDR), W(PRESENT), 0, {F(next_hop)}, 0, 0, {0}, NULL, NULL},
    {"ip exporter", C(ADDR), W(PRESENT), 0, {F(exporter)}, 0, 0, {0}, NULL, NULL},
    {"MPLS Lbl  1", C(MPLS), W(LABELS), 1, {F(mpls_labels), F(mpls_exp), F(mpls_eos)}, 0, 0, {0}, NULL, NULL},
    {"MPLS Lbl  2", C(MPLS), W(LABELS), 2, {F(mpls_labels), F(mpls_exp), F(mpls_eos)}, 0, 0, {0}, NULL, NULL},
    {"MPLS Lbl  3", C(MPLS), W(LABELS), 3, {F(mpls_labels), F(mpls_exp), F(mpls_eos)}, 0, 0, {0}, NULL, NULL},
    {"MPLS Lbl  4", C(MPLS), W(LABELS), 4, {F(mpls_labels), F(mpls_exp), F(mpls_eos)}, 0, 0, {0}, NULL, NULL},
    {"MPLS Lbl  5", C(MPLS), W(LABELS), 5, {F(mpls_labels), F(mpls_exp), F(mpls_eos)}, 0, 0, {0}, NULL, NULL},
    {"MPLS Lbl  6", C(MPLS), W(LABELS), 6, {F(mpls_labels), F(mpls_exp), F(mpls_eos)}, 0, 0, {0}, NULL, NULL},
    {"MPLS Lbl  7", C(MPLS), W(LABELS), 7, {F(mpls_labels), F(mpls_exp), F(mpls_eos)}, 0, 0, {0}, NULL, NULL},
    {"MPLS Lbl  8", C(MPLS), W(LABELS), 8, {F(mpls_labels), F(mpls_exp), F(mpls_eos)}, 0, 0, {0}, NULL, NULL},
    {"MPLS Lbl  9", C(MPLS), W(LABELS), 9, {F(mpls_labels), F(mpls_exp), F(mpls_eos)}, 0, 0, {0}, NULL, NULL},
    {"MPLS Lbl 10", C(MPLS), W(LABELS), 10, {F(mpls_labels), F(mpls_exp), F(mpls_eos)}, 0, 0, {0}, NULL, NULL},
    {"in src mac", C(MAC), W(PRESENT), 0, {F(src_mac)}, 0, 0, {0}, NULL, NULL},
    {"out dst mac", C(MAC), W(PRESENT), 0, {F(out_dst_mac)}, 0, 0, {0}, NULL, NULL},
    {"in dst mac", C(MAC), W(PRESENT), 0, {F(dst_mac)}, 0, 0, {0}, NULL, NULL},
    {"out src mac", C(MAC), W(PRESENT), 0, {F(out_src_mac)}, 0, 0, {0}, NULL, NULL},
    {"bgp next as", C(NUMBER), W(PRESENT), 0, {F(peer_dst_as)}, 0, 0, {0}, NULL, NULL},
    {"bgp prev as", C(NUMBER), W(PRESENT), 0, {F(peer_src_as)}, 0, 0, {0}, NULL, NULL},
    {"ingress VRF", C(NUMBER), W(PRESENT), 0, {F(vrf_in)}, 0, 0, {0}, NULL, NULL},
    {"egress VRF", C(NUMBER), W(PRESENT), 0, {F(vrf_out)}, 0, 0, {0}, NULL, NULL},
    {"connect ID", C(NUMBER), W(PRESENT), 0, {F(connection_id)}, 0, 0, {0}, NULL, NULL},
    {"fw event", C(NUMBER), W(PRESENT), 0, {F(fw_event)}, C(EVENT), 0, {F(fw_event)}, ": ", NULL},
    {"fw ext event", C(NUMBER), W(PRESENT), 0, {F(fw_ext_event)}, C(XEVENT), 0, {F(fw_ext_event)}, ": ", NULL},
    {"nat event", C(NUMBER), W(PRESENT), 0, {F(nat_event)}, C(NAT_EVENT_NAME), 0, {F(nat_event)}, ": ", NULL},
    {"Event time", C(TIME_MS), W(PRESENT), 0, {F(event_time)}, C(TIME), 0, {F(event_time)}, " [", "]"},
    {"src xlt ip", C(ADDR), W(PRESENT), 0, {F(nat_src_addr)}, 0, 0, {0}, NULL, NULL},
    {"dst xlt ip", C(ADDR), W(PRESENT), 0, {F(nat_dst_addr)}, 0, 0, {0}, NULL, NULL},
    {"src xlt port", C(NUMBER), W(PRESENT), 0, {F(nat_src_port)}, 0, 0, {0}, NULL, NULL},
    {"dst xlt port", C(NUMBER), W(PRESENT), 0, {F(nat_dst_port)}, 0, 0, {0}, NULL, NULL},
    {"Ingress ACL", C(ACL), W(PRESENT), '/', {F(acl_in)}, 0, 0, {0}, NULL, NULL},
    {"Egress ACL", C(ACL), W(PRESENT), '/', {F(acl_out)}, 0, 0, {0}, NULL, NULL},
    {"User name", C(TEXT), W(PRESENT), 0, {F(user_name)}, 0, 0, {0}, NULL, NULL},
    {"app ID", C(APP_ID), W(PRESENT), 0, {F(app_id)}, 0, 0, {0}, NULL, NULL},
    {"app name", C(TEXT), W(PRESENT), 0, {F(app_name)}, 0, 0, {0}, NULL, NULL},
};
/* clang-format on */

static weir_status raw_end(query_format *f, size_t result, const struct query_summary *s,
                           weir_err *err)
{
    (void)result;
    (void)err;
    if (s->matched == 0 && !f->o.quiet)
        base_buf_str(&f->out, "No matching flows\n");
    return WEIR_OK;
}

static const struct query_format_kind raw_kind = {
    .block = query_format_rows, .end = raw_end, .people = true, .records = true};

static bool index_of(const struct query_token_use *use, struct query_program *p, uint16_t f,
                     int16_t *v, bool *used)
{
    *v = -1;
    if (!f)
        return false;
    struct query_field field = query_field_column((enum flow_column_id)(f - 1));
    used[f - 1] = true;
    if (use->has && !use->has(use->user, &field))
        return false;
    *v = (int16_t)query_program_field(p, &field);
    return true;
}

static void add_label(struct query_program *p, const char *label)
{
    base_buf b = {0};
    size_t len = strlen(label);
    base_buf_str(&b, "  ");
    query_text_safe(&b, label, len < 60 ? len : 60); /* names of columns are foreign too */
    do
        base_buf_char(&b, ' ');
    while (b.len < 15 && !b.failed);
    base_buf_str(&b, "= ");
    p->failed = p->failed || b.failed;
    if (!b.failed)
        query_program_lit(p, b.data, b.len);
    base_buf_done(&b);
}

/* A line is a cell that ends with its line: so that it can be left out as a whole. */
static void add_column(query_format *f, const struct query_token_use *use, struct query_program *p,
                       const struct query_field *field)
{
    if (use->has && !use->has(use->user, field))
        return;
    query_program_lit(p, "\n", 1);
    add_label(p, field->name);
    query_program_cell(
        p, f->arena,
        (struct query_cell){.op = QUERY_CELL_ANY_TEXT,
                            .when = QUERY_CELL_PRESENT,
                            .width = 17,
                            .v = {(int16_t)query_program_field(p, field), -1, -1, -1, -1, -1}});
}

weir_status query_format_raw(query_format *f, weir_err *err)
{
    (void)err;
    f->kind = &raw_kind;
    for (size_t i = 0; i < f->n_results; i++) {
        struct query_format_result *r = &f->results[i];
        struct query_program *p = &r->program;
        struct query_token_use use = query_format_use(f, i);
        bool used[FLOW_N_COLUMNS] = {false};
        query_program_lit(p, "\nFlow Record: ", 14);
        query_program_end(p, f->arena);
        for (size_t k = 0; k < ARRAY_LEN(lines); k++) {
            const struct line *l = &lines[k];
            struct query_cell c = {.op = l->op, .when = l->when, .arg = l->arg, .width = 17};
            bool there = l->when == QUERY_CELL_ALWAYS;
            for (size_t n = 0; n < QUERY_CELL_FIELDS; n++) {
                there |= index_of(&use, p, l->f[n], &c.v[n], used) && n == 0;
                if (use.has &&
                    l->f[n] == 1 + FLOW_flows) { /* a group stands for flows in any case */
                    struct query_field flows = query_field_derived(QUERY_D_N_FLOWS);
                    c.v[n] = (int16_t)query_program_field(p, &flows);
                }
            }
            if (!there)
                continue;
            query_program_lit(p, "\n", 1);
            add_label(p, l->label);
            query_program_cell(p, f->arena, c);
            if (!l->before)
                continue;
            c = (struct query_cell){
                .op = l->op2, .when = l->when, .arg = l->arg2, .v = {-1, -1, -1, -1, -1, -1}};
            for (size_t n = 0; n < ARRAY_LEN(l->f2); n++)
                (void)index_of(&use, p, l->f2[n], &c.v[n], used);
            if (l->op2 == QUERY_CELL_NET)
                c.when = QUERY_CELL_SECOND;
            query_program_lit(p, l->before, strlen(l->before));
            query_program_cell(p, f->arena, c);
            if (!l->after)
                continue;
            c.op = QUERY_CELL_TEXT_ONLY;
            query_program_lit(p, l->after, strlen(l->after));
            query_program_cell(p, f->arena, c);
        }
        for (int n = 0; n < FLOW_N_COLUMNS; n++) {
            struct query_field field = query_field_column((enum flow_column_id)n);
            if (!used[n])
                add_column(f, &use, p, &field);
        }
        for (size_t n = 0; n < f->o.n_extras; n++)
            add_column(f, &use, p, &f->o.extras[n]);
        query_program_lit(p, "\n", 1);
        query_program_end(p, f->arena);
    }
    return WEIR_OK;
}
