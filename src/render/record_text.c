#include "render/record_text.h"

#include "base/err.h"
#include "base/text.h"

#include <string.h>

enum {
    MAX_NAME = 40
}; /* columns that names may take; a longer one moves its own value to the right */

#define ADD(b, literal) base_buf_add(b, literal, sizeof(literal) - 1)

static void pad(base_buf *b, size_t from, size_t to)
{
    for (; from < to; from++)
        base_buf_char(b, ' ');
}

/* Text from the network for a terminal: what base_json_string escapes, without its quotes. */
static void add_safe(base_buf *b, const void *p, size_t len)
{
    base_buf quoted = {0};
    base_json_string(&quoted, p, len, false);
    if (quoted.failed)
        b->failed = true;
    else
        base_buf_add(b, quoted.data + 1, quoted.len - 2);
    base_buf_done(&quoted);
}

static void add_time(base_buf *b, int64_t ns)
{
    char text[BASE_TIME_TEXT];
    unsigned digits = ns % 1000 ? 9 : ns % 1000000 ? 6 : 3;
    base_buf_add(b, text, base_time_text(text, ns, digits));
}

static void add_tcp_flags(base_buf *b, uint64_t v)
{
    static const char *const names[] = {"FIN", "SYN", "RST", "PSH", "ACK",
                                        "URG", "ECE", "CWR", "NS"};
    base_buf_printf(b, "0x%02llx", (unsigned long long)v);
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (v >> i & 1)
            base_buf_printf(b, " %s", names[i]);
}

static void add_protocol(base_buf *b, uint64_t v)
{
    /* clang-format off */
    static const char *const names[256] = {
        [1] = "ICMP", [2] = "IGMP", [4] = "IPIP", [6] = "TCP", [17] = "UDP", [27] = "RDP", [33] = "DCCP",
        [41] = "IPv6", [46] = "RSVP", [47] = "GRE", [50] = "ESP", [51] = "AH", [58] = "ICMPv6", [88] = "EIGRP",
        [89] = "OSPF", [94] = "IPIP", [97] = "EtherIP", [103] = "PIM", [112] = "VRRP", [115] = "L2TP",
        [132] = "SCTP", [136] = "UDPLite", [137] = "MPLS",
    };
    /* clang-format on */
    base_buf_printf(b, "%llu", (unsigned long long)v);
    if (v < ARRAY_LEN(names) && names[v])
        base_buf_printf(b, " %s", names[v]);
}

static void add_value(render_json *j, base_buf *b, const weir_record *r, uint32_t i)
{
    const weir_element *e = r->fields[i].element;
    weir_value v;
    weir_status status = weir_value_read(r, i, &v);
    bool iana = e->pen == 0 && !(e->flags & WEIR_ELEMENT_SCOPE);
    if (v.kind == WEIR_KIND_U64 && iana && e->id == 6) {
        add_tcp_flags(b, v.u64);
    } else if (v.kind == WEIR_KIND_U64 && iana && e->id == 4) {
        add_protocol(b, v.u64);
    } else if (v.kind == WEIR_KIND_TEXT) {
        add_safe(b, v.data, v.len);
    } else {
        base_buf json = {0};
        render_json_value(j, &json, r, i);
        if (json.failed)
            b->failed = true;
        else if (json.len >= 2 && json.data[0] == '"')
            base_buf_add(b, json.data + 1, json.len - 2);
        else
            base_buf_add(b, json.data, json.len);
        base_buf_done(&json);
    }
    if (status != WEIR_OK)
        base_buf_printf(b, " (%u octets that do not fit %s)", (unsigned)v.len,
                        weir_type_text((weir_type)e->type));
    else if ((v.kind == WEIR_KIND_U64 || v.kind == WEIR_KIND_S64 || v.kind == WEIR_KIND_F64) &&
             e->units && e->units[0])
        base_buf_printf(b, " %s", e->units);
}

static void add_endpoint(base_buf *b, const weir_endpoint *e)
{
    char text[WEIR_ENDPOINT_TEXT];
    if (e->family == 0)
        ADD(b, "unknown exporter");
    else
        base_buf_add(b, text, weir_endpoint_text(e, text));
}

static void add_packet(base_buf *b, const weir_packet *p)
{
    ADD(b, "from ");
    add_endpoint(b, &p->from);
    if (p->version == 10)
        ADD(b, ", IPFIX");
    else
        base_buf_printf(b, ", NetFlow v%u", (unsigned)p->version);
    base_buf_printf(b, ", domain %lu, sequence %lu", (unsigned long)p->domain,
                    (unsigned long)p->sequence);
}

static void add_line(base_buf *b, const char *label, const char *name, size_t width)
{
    size_t start = b->len;
    ADD(b, "  ");
    base_buf_str(b, label);
    add_safe(b, name, strlen(name));
    pad(b, b->len - start, width + 4);
}

void render_text_record(render_json *j, base_buf *b, const weir_record *r)
{
    bool options = r->tmpl->options;
    base_buf_str(b, options ? "options " : "flow ");
    add_packet(b, r->packet);
    if (r->tmpl->id)
        base_buf_printf(b, ", template %u", (unsigned)r->tmpl->id);
    ADD(b, ", received ");
    add_time(b, r->packet->received_ns);
    base_buf_char(b, '\n');

    size_t width = 8;
    for (uint32_t i = 0; i < r->n_fields; i++) {
        size_t n = strlen(r->fields[i].element->name) + (i < r->n_scope ? 6 : 0);
        if (n > width)
            width = n > MAX_NAME ? MAX_NAME : n;
    }
    if (!options) {
        int64_t first, last;
        (void)weir_record_times(r, &first, &last);
        add_line(b, "", "first", width);
        add_time(b, first);
        base_buf_char(b, '\n');
        add_line(b, "", "last", width);
        add_time(b, last);
        base_buf_char(b, '\n');
        weir_sampling sampling = weir_record_sampling(r);
        if (sampling.origin != WEIR_ORIGIN_UNKNOWN) {
            add_line(b, "", "sampling", width);
            base_buf_printf(b, "1 in %g (%s)\n", sampling.rate,
                            weir_origin_text((weir_origin)sampling.origin));
        }
    }
    for (uint32_t i = 0; i < r->n_fields; i++) {
        add_line(b, i < r->n_scope ? "scope " : "", r->fields[i].element->name, width);
        add_value(j, b, r, i);
        base_buf_char(b, '\n');
    }
    base_buf_char(b, '\n');
}

void render_text_template(base_buf *b, const weir_packet *p, const weir_template *t,
                          weir_template_event event)
{
    base_buf_printf(b, "%s %u %s", t->options ? "options template" : "template", (unsigned)t->id,
                    render_event_text(event));
    if (p) {
        base_buf_char(b, ' ');
        add_packet(b, p);
    }
    base_buf_printf(b, ": %u field%s, %s%lu octets\n", (unsigned)t->n_fields,
                    t->n_fields == 1 ? "" : "s", t->variable ? "at least " : "",
                    (unsigned long)t->min_len);
    ADD(b, "    field    pen     id  length  type                  element\n");
    for (uint32_t i = 0; i < t->n_fields; i++) {
        const weir_field *f = &t->fields[i];
        const weir_element *e = f->element;
        char length[16];
        if (f->length == WEIR_VARLEN)
            memcpy(length, "var", 4);
        else
            length[base_u64_text(length, f->length)] = 0;
        base_buf_printf(b, "    %5u %6lu  %5u  %6s  %-20s  %s", (unsigned)i + 1,
                        (unsigned long)e->pen, (unsigned)e->id, length,
                        weir_type_text((weir_type)e->type), i < t->n_scope ? "scope " : "");
        add_safe(b, e->name, strlen(e->name));
        if (e->v9_name && (e->flags & WEIR_ELEMENT_V9))
            base_buf_printf(b, " (%s)", e->v9_name);
        base_buf_char(b, '\n');
    }
    base_buf_char(b, '\n');
}
