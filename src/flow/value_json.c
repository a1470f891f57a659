#include "flow/value_json.h"

#include "base/err.h"
#include "base/text.h"

/* ,"name": -- or without the comma when it is the first in its object. */
static void add_key(base_buf *out, const char *name, bool first)
{
    if (!first)
        base_buf_char(out, ',');
    base_json_string(out, name, strlen(name), false);
    base_buf_char(out, ':');
}

static void add_quoted(base_buf *out, size_t (*text)(char *, const uint8_t *), const uint8_t *p)
{
    char *at = base_buf_room(out, BASE_IPV6_TEXT + 2);
    if (!at)
        return;
    size_t n = 1 + text(at + 1, p);
    at[0] = at[n] = '"';
    out->len += n + 1;
}

static size_t ipv4_text(char *out, const uint8_t *p)
{
    return base_ipv4_text(out, p);
}

static size_t ipv6_text(char *out, const uint8_t *p)
{
    return base_ipv6_text(out, p);
}

static size_t mac_text(char *out, const uint8_t *p)
{
    return base_mac_text(out, p);
}

/* The first field from `from` on with the element of field i, n_fields: none. */
static uint32_t same_element(const weir_record *r, uint32_t i, uint32_t from)
{
    const weir_element *e = r->fields[i].element;
    for (; from < r->n_fields; from++) {
        const weir_element *other = r->fields[from].element;
        if (other->id == e->id && other->pen == e->pen && other->flags == e->flags)
            break;
    }
    return from;
}

/* A record of an inner template: {"name":value}, an array where an element repeats. */
static void add_record(const weir_record *r, base_buf *out)
{
    base_buf_char(out, '{');
    for (uint32_t i = 0; i < r->n_fields && !out->failed; i++) {
        if (same_element(r, i, 0) < i)
            continue; /* stood in the array of the first one */
        uint32_t again = same_element(r, i, i + 1);
        bool repeats = again < r->n_fields;
        add_key(out, r->fields[i].element->name, i == 0);
        if (repeats)
            base_buf_char(out, '[');
        flow_value_json(r, i, out);
        for (; again < r->n_fields; again = same_element(r, i, again + 1)) {
            base_buf_char(out, ',');
            flow_value_json(r, again, out);
        }
        if (repeats)
            base_buf_char(out, ']');
    }
    base_buf_char(out, '}');
}

static void add_semantic(uint8_t semantic, base_buf *out)
{
    static const char *const names[] = {"noneOf", "exactlyOneOf", "oneOrMoreOf", "allOf",
                                        "ordered"};
    if (semantic < ARRAY_LEN(names) || semantic == 255)
        base_buf_printf(out, "{\"semantic\":\"%s\"",
                        semantic == 255 ? "undefined" : names[semantic]);
    else
        base_buf_printf(out, "{\"semantic\":%u", semantic);
}

/* The items; returns why the octets must be kept as well, or NULL. */
static const char *add_items(const weir_record *r, uint32_t i, base_buf *out)
{
    const char *why = NULL;
    size_t start = out->len;
    bool first = true;
    weir_list list;
    weir_status status = weir_list_open(r, i, &list);
    if (status == WEIR_OK) {
        while ((status = weir_list_next(&list)) == WEIR_OK || status == WEIR_ENOTFOUND) {
            if (status == WEIR_ENOTFOUND) {
                why = "template unknown";
                continue;
            }
            if (first && list.type == WEIR_TYPE_BASIC_LIST) {
                add_key(out, "element", false);
                const char *name = list.item.fields[0].element->name;
                base_json_string(out, name, strlen(name), false);
            }
            base_buf_str(out, first ? ",\"items\":[" : ",");
            first = false;
            if (list.type == WEIR_TYPE_BASIC_LIST)
                flow_value_json(&list.item, 0, out);
            else if (list.item.n_fields <= FLOW_LIST_FIELDS)
                add_record(&list.item, out);
            if (out->failed || out->len - start > FLOW_LIST_TEXT ||
                list.item.n_fields > FLOW_LIST_FIELDS) {
                status = WEIR_ELIMIT;
                break;
            }
        }
        weir_list_close(&list);
    }
    base_buf_str(out, first ? ",\"items\":[]" : "]");
    switch ((int)status) {
    case WEIR_OK:
    case WEIR_END:
        return why;
    case WEIR_ENOTFOUND:
        return "template unknown";
    case WEIR_ETRUNC:
        return "list cut short";
    case WEIR_ELIMIT:
        return "list limit reached";
    case WEIR_ENOMEM:
        return "out of memory";
    default:
        return "list malformed";
    }
}

static void add_list(const weir_record *r, uint32_t i, const weir_value *v, base_buf *out)
{
    if (v->len == 0) { /* RFC 6313 gives even an empty list a head; this one has none */
        base_buf_str(out, "{\"items\":[],\"octets\":\"\",\"error\":\"list cut short\"}");
        return;
    }
    size_t start = out->len;
    add_semantic(v->data[0], out);
    const char *why = add_items(r, i, out);
    if (why) {
        if (strcmp(why, "list limit reached") == 0 && !out->failed) {
            out->len = start;
            add_semantic(v->data[0], out);
        }
        add_key(out, "octets", false);
        base_json_hex(out, v->data, v->len);
        base_buf_printf(out, ",\"error\":\"%s\"", why);
    }
    base_buf_char(out, '}');
}

void flow_value_json(const weir_record *r, uint32_t i, base_buf *out)
{
    weir_value v;
    (void)weir_value_read(r, i, &v); /* what does not fit its type comes back as octets */
    char *at = base_buf_room(out, 64);
    if (!at)
        return;
    switch (v.kind) {
    case WEIR_KIND_U64:
        out->len += base_u64_text(at, v.u64);
        break;
    case WEIR_KIND_S64:
        out->len += base_s64_text(at, v.s64);
        break;
    case WEIR_KIND_F64:
        base_json_f64(out, v.f64);
        break;
    case WEIR_KIND_BOOL:
        base_buf_str(out, v.boolean ? "true" : "false");
        break;
    case WEIR_KIND_TIME: {
        size_t n = 1 + base_time_text(at + 1, v.time_ns, v.time_digits);
        at[0] = at[n] = '"';
        out->len += n + 1;
        break;
    }
    case WEIR_KIND_IPV4:
        add_quoted(out, ipv4_text, v.data);
        break;
    case WEIR_KIND_IPV6:
        add_quoted(out, ipv6_text, v.data);
        break;
    case WEIR_KIND_MAC:
        add_quoted(out, mac_text, v.data);
        break;
    case WEIR_KIND_TEXT:
        base_json_string(out, v.data, v.len, false);
        break;
    case WEIR_KIND_LIST:
        add_list(r, i, &v, out);
        break;
    case WEIR_KIND_OCTETS:
    case WEIR_N_KINDS:
    default:
        base_json_hex(out, v.data, v.len);
    }
}
