/* ecs -- rows as documents of the Elastic Common Schema. What has a field there is under its name; every other column is in
 * the object "weir" under its own name, and extra columns are in "netflow", named as Beats does. */
#include "ship/encode_in.h"

#define O(op) SHIP_TREE_##op
#define F(column) FLOW_##column + 1
#define OPEN(name)                                                                                 \
    {                                                                                              \
        name, O(OPEN), 0, NULL,                                                                    \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }
#define CLOSE                                                                                      \
    {                                                                                              \
        NULL, O(CLOSE), 0, NULL,                                                                   \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }
#define CONST(name, json)                                                                          \
    {                                                                                              \
        name, O(CONST), 0, json,                                                                   \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }

/* clang-format off */
static const struct ship_tree_row head[] = {
    {"@timestamp", O(TIME), 0, NULL, {F(received), F(last)}},
    OPEN("ecs"),
        CONST("version", "\"8.11.0\""),
    CLOSE,
    OPEN("event"),
        CONST("kind", "\"event\""),
        CONST("category", "[\"network\"]"),
        CONST("type", "[\"connection\"]"),
        CONST("action", "\"netflow_flow\""),
        CONST("module", "\"weir\""),
        CONST("dataset", "\"weir.flow\""),
        {"created", O(TIME), 0, NULL, {F(received)}},
        {"start", O(TIME), 0, NULL, {F(first)}},
        {"end", O(TIME), 0, NULL, {F(last)}},
        {"duration", O(DURATION), 0, NULL, {F(first), F(last)}},
    CLOSE,
    OPEN("source"),
        {"ip", O(ADDR), 0, NULL, {F(src_addr)}},
        {"port", O(PORT), 0, NULL, {F(src_port), F(proto)}},
        {"mac", O(MAC_UPPER), 0, NULL, {F(src_mac)}},
        {"bytes", O(NUMBER), 0, NULL, {F(bytes)}},
        {"packets", O(NUMBER), 0, NULL, {F(packets)}},
        OPEN("as"),
            {"number", O(NUMBER), 0, NULL, {F(src_as)}},
        CLOSE,
        OPEN("nat"),
            {"ip", O(ADDR), 0, NULL, {F(nat_src_addr)}},
            {"port", O(NUMBER), 0, NULL, {F(nat_src_port)}},
        CLOSE,
    CLOSE,
    OPEN("destination"),
        {"ip", O(ADDR), 0, NULL, {F(dst_addr)}},
        {"port", O(PORT), 0, NULL, {F(dst_port), F(proto)}},
        {"mac", O(MAC_UPPER), 0, NULL, {F(dst_mac)}},
        {"bytes", O(NUMBER), 0, NULL, {F(bytes_rev)}},
        {"packets", O(NUMBER), 0, NULL, {F(packets_rev)}},
        OPEN("as"),
            {"number", O(NUMBER), 0, NULL, {F(dst_as)}},
        CLOSE,
        OPEN("nat"),
            {"ip", O(ADDR), 0, NULL, {F(nat_dst_addr)}},
            {"port", O(NUMBER), 0, NULL, {F(nat_dst_port)}},
        CLOSE,
    CLOSE,
    /* Who began is known of some biflows (RFC 5103, 6.3): 1 the source, 2 the destination. */
    {"client", O(OPEN_WHEN), 1, NULL, {F(biflow_direction)}},
        {"ip", O(ADDR), 0, NULL, {F(src_addr)}},
        {"port", O(PORT), 0, NULL, {F(src_port), F(proto)}},
        {"bytes", O(NUMBER), 0, NULL, {F(bytes)}},
        {"packets", O(NUMBER), 0, NULL, {F(packets)}},
    CLOSE,
    {"server", O(OPEN_WHEN), 1, NULL, {F(biflow_direction)}},
        {"ip", O(ADDR), 0, NULL, {F(dst_addr)}},
        {"port", O(PORT), 0, NULL, {F(dst_port), F(proto)}},
        {"bytes", O(NUMBER), 0, NULL, {F(bytes_rev)}},
        {"packets", O(NUMBER), 0, NULL, {F(packets_rev)}},
    CLOSE,
    {"client", O(OPEN_WHEN), 2, NULL, {F(biflow_direction)}},
        {"ip", O(ADDR), 0, NULL, {F(dst_addr)}},
        {"port", O(PORT), 0, NULL, {F(dst_port), F(proto)}},
        {"bytes", O(NUMBER), 0, NULL, {F(bytes_rev)}},
        {"packets", O(NUMBER), 0, NULL, {F(packets_rev)}},
    CLOSE,
    {"server", O(OPEN_WHEN), 2, NULL, {F(biflow_direction)}},
        {"ip", O(ADDR), 0, NULL, {F(src_addr)}},
        {"port", O(PORT), 0, NULL, {F(src_port), F(proto)}},
        {"bytes", O(NUMBER), 0, NULL, {F(bytes)}},
        {"packets", O(NUMBER), 0, NULL, {F(packets)}},
    CLOSE,
    OPEN("network"),
        {"bytes", O(SUM), 0, NULL, {F(bytes), F(bytes_rev)}},
        {"packets", O(SUM), 0, NULL, {F(packets), F(packets_rev)}},
        {"transport", O(TRANSPORT), 0, NULL, {F(proto)}},
        {"iana_number", O(QUOTED), 0, NULL, {F(proto)}},
        {"type", O(FAMILY), 0, NULL, {0, F(src_addr), F(dst_addr), F(ip_version)}},
        {"direction", O(DIRECTION), 0, NULL, {F(direction)}},
        {"community_id", O(COMMUNITY), 0, NULL, {F(src_addr), F(dst_addr), F(src_port), F(dst_port), F(proto), F(icmp_type), F(icmp_code)}},
        {"application", O(LOWER), 0, NULL, {F(app_name)}},
        {"name", O(ANY), 0, NULL, {F(ssid)}},
        OPEN("vlan"),
            {"id", O(QUOTED), 0, NULL, {F(vlan)}},
        CLOSE,
        OPEN("inner"),
            OPEN("vlan"),
                {"id", O(QUOTED), 0, NULL, {F(customer_vlan)}},
            CLOSE,
        CLOSE,
    CLOSE,
    OPEN("observer"),
        {"ip", O(ADDR), 0, NULL, {F(exporter)}},
        OPEN("ingress"),
            OPEN("interface"),
                {"id", O(QUOTED), 0, NULL, {F(in_if)}},
                {"name", O(ANY), 0, NULL, {F(in_if_name)}},
            CLOSE,
        CLOSE,
        OPEN("egress"),
            OPEN("interface"),
                {"id", O(QUOTED), 0, NULL, {F(out_if)}},
                {"name", O(ANY), 0, NULL, {F(out_if_name)}},
            CLOSE,
            OPEN("vlan"),
                {"id", O(QUOTED), 0, NULL, {F(vlan_out)}},
            CLOSE,
        CLOSE,
    CLOSE,
    OPEN("related"),
        {"ip", O(ADDRS), 0, NULL, {F(src_addr), F(dst_addr), F(nat_src_addr), F(nat_dst_addr)}},
    CLOSE,
    OPEN("user"),
        {"name", O(ANY), 0, NULL, {F(user_name)}},
    CLOSE,
    OPEN("url"),
        {"domain", O(ANY), 0, NULL, {F(http_host)}},
        {"original", O(ANY), 0, NULL, {F(http_url)}},
    CLOSE,
    OPEN("tls"),
        OPEN("client"),
            {"server_name", O(ANY), 0, NULL, {F(tls_sni)}},
        CLOSE,
    CLOSE,
};
static const struct ship_tree_row netflow[] = {
    OPEN("netflow"),
        CONST("type", "\"netflow_flow\""),
        OPEN("exporter"),
            {"address", O(ADDR_PORT), 0, NULL, {F(exporter), F(exporter_port)}},
            {"source_id", O(NUMBER), 0, NULL, {F(domain)}},
            {"version", O(NUMBER), 0, NULL, {F(protocol_version)}},
        CLOSE,
};
/* clang-format on */
static const struct ship_tree_row weir[] = {OPEN("weir")}, end[] = {CLOSE};

static bool is_upper(char c)
{
    return c >= 'A' && c <= 'Z';
}

/* httpRequestHost: http_request_host. A run of capitals is one word, but its last letter begins the next one where a small
 * letter follows (VRFname: vr_fname); IPv4, IPv6 and MCast are words. */
static void snake(base_buf *out, const char *name)
{
    static const char *const words[] = {"IPv4", "IPv6", "MCast"};
    base_buf_reset(out);
    for (const char *c = name; *c;) {
        size_t len = 0;
        for (size_t i = 0; i < ARRAY_LEN(words) && !len; i++)
            len = strncmp(c, words[i], strlen(words[i])) == 0 ? strlen(words[i]) : 0;
        bool small_behind = c[1] >= 'a' && c[1] <= 'z';
        if (c > name && c[-1] != '_' && is_upper(*c) && (len || !is_upper(c[-1]) || small_behind))
            base_buf_char(out, '_');
        for (size_t i = 0; i < (len ? len : 1); i++, c++)
            base_buf_char(out, (char)(is_upper(*c) ? *c | 0x20 : *c));
    }
}

/* Extra columns in "netflow": no key there may come twice, for databases refuse that. names: those so far, each with a NUL. */
static weir_status add_extra(ship_encoder *e, const struct query_field *f, base_buf *names,
                             weir_err *err)
{
    base_buf name = {0};
    snake(&name, f->name);
    for (size_t at = 0; !name.failed && at < names->len;) {
        size_t len = strlen(names->data + at);
        bool same = len == name.len && memcmp(names->data + at, name.data, len) == 0;
        at = same ? 0 : at + len + 1;
        if (same)
            base_buf_char(&name, '_');
    }
    base_buf_char(&name, 0);
    base_buf_add(names, name.data, name.len);
    weir_status s = name.failed || names->failed
                        ? ship_no_memory(err)
                        : ship_tree_add_field(e, SHIP_TREE_ANY, name.data, f, err);
    base_buf_done(&name);
    return s;
}

static weir_status add_rest(ship_encoder *e, const bool *used, weir_err *err)
{
    WEIR_TRY(ship_tree_add(e, weir, ARRAY_LEN(weir), err));
    for (int i = 0; i < FLOW_N_COLUMNS; i++) {
        struct query_field f = query_field_column((enum flow_column_id)i);
        bool addr = flow_columns()[i].type == FLOW_TYPE_ADDR && !flow_columns()[i].list;
        if (!used[i])
            WEIR_TRY(ship_tree_add_field(e, addr ? O(ADDR) : O(ANY), f.name, &f, err));
    }
    return ship_tree_add(e, end, ARRAY_LEN(end), err);
}

static void mark(bool *used, const struct ship_tree_row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < SHIP_TREE_COLUMNS; k++)
            if (rows[i].f[k])
                used[rows[i].f[k] - 1] = true;
}

static weir_status open(ship_encoder *e, const struct ship_encoder_options *o, weir_err *err)
{
    (void)o;
    bool used[FLOW_N_COLUMNS] = {false};
    mark(used, head, ARRAY_LEN(head));
    mark(used, netflow, ARRAY_LEN(netflow));
    WEIR_TRY(ship_tree_new(e, true, err));
    WEIR_TRY(ship_tree_add(e, head, ARRAY_LEN(head), err));
    WEIR_TRY(ship_tree_add(e, netflow, ARRAY_LEN(netflow), err));
    base_buf names = {0};
    base_buf_add(&names, "type\0exporter", sizeof "type\0exporter");
    weir_status s = WEIR_OK;
    for (size_t i = 0; i < e->n_extras && s == WEIR_OK; i++)
        s = add_extra(e, &e->extras[i], &names, err);
    base_buf_done(&names);
    WEIR_TRY(s);
    WEIR_TRY(ship_tree_add(e, end, ARRAY_LEN(end), err));
    /* An ICMP type and code have no field of their own in the schema, the flow's own direction neither. */
    used[FLOW_icmp_type] = used[FLOW_icmp_code] = used[FLOW_biflow_direction] = false;
    used[FLOW_ip_version] = false;
    return add_rest(e, used, err);
}

const struct ship_encoder_kind *ship_ecs_kind(void)
{
    static const struct ship_encoder_kind kind = {open, ship_tree_rows, ship_tree_free};
    return &kind;
}
