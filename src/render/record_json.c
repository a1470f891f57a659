#include "render/record_json.h"

#include "base/err.h"
#include "base/text.h"
#include "render/plan.h"

#include <stdlib.h>
#include <string.h>

enum { PADDING_OCTETS = 210 }; /* IE paddingOctets: no information (RFC 5102 section 5.12.1) */

struct render_json {
    render_plans *plans;
    base_buf head; /* the leading keys that all records of one packet and template share */
    uint64_t packet_id, serial;
    int64_t received_ns;
    const weir_template *tmpl; /* only compared */
    uint32_t sequence;
    bool options;
};

/* How a value is written. The first four are the hot ones, read without a call when the length is the usual one. */
enum kind { KIND_UINT, KIND_IPV4, KIND_IPV6, KIND_MAC, KIND_OTHER };

static uint8_t kind_of(uint8_t type)
{
    switch (type) {
    case WEIR_TYPE_UNSIGNED8:
    case WEIR_TYPE_UNSIGNED16:
    case WEIR_TYPE_UNSIGNED32:
    case WEIR_TYPE_UNSIGNED64:
        return KIND_UINT;
    case WEIR_TYPE_IPV4_ADDRESS:
        return KIND_IPV4;
    case WEIR_TYPE_IPV6_ADDRESS:
        return KIND_IPV6;
    case WEIR_TYPE_MAC_ADDRESS:
        return KIND_MAC;
    default:
        return KIND_OTHER;
    }
}

static const char *key_name(const weir_field *f, uint8_t *kind)
{
    const weir_element *e = f->element;
    if (e->id == PADDING_OCTETS && e->pen == 0 && !(e->flags & WEIR_ELEMENT_SCOPE))
        return NULL;
    *kind = kind_of(e->type);
    return e->name;
}

render_json *render_json_new(void)
{
    static const struct render_style style = {
        .before = ",", .behind = ":", .scope_apart = true, .name = key_name};
    render_json *j = calloc(1, sizeof *j);
    if (j)
        j->plans = render_plans_new(&style);
    if (!j || !j->plans) {
        free(j);
        return NULL;
    }
    return j;
}

void render_json_free(render_json *j)
{
    if (!j)
        return;
    render_plans_free(j->plans);
    base_buf_done(&j->head);
    free(j);
}

void render_json_forget(render_json *j)
{
    render_plans_forget(j->plans);
    base_buf_reset(&j->head);
}

#define ADD(b, literal) base_buf_add(b, literal, sizeof(literal) - 1)

static void add_u64(base_buf *b, uint64_t v)
{
    char *at = base_buf_room(b, BASE_U64_TEXT);
    if (at)
        b->len += base_u64_text(at, v);
}

static void add_time(base_buf *b, int64_t ns, unsigned digits)
{
    char *at = base_buf_room(b, BASE_TIME_TEXT + 2);
    if (!at)
        return;
    *at = '"';
    size_t n = 1 + base_time_text(at + 1, ns, digits);
    at[n] = '"';
    b->len += n + 1;
}

/* As many digits of a second as ns has. */
static unsigned time_digits(int64_t ns)
{
    if (ns % 1000)
        return 9;
    if (ns % 1000000)
        return 6;
    return ns % 1000000000 ? 3 : 0;
}

static void add_any(render_json *j, base_buf *b, const weir_record *r, uint32_t i);
static void add_fields(render_json *j, base_buf *b, const weir_record *r, const render_plan *p,
                       uint32_t from, uint32_t to);

static void add_semantic(base_buf *b, uint8_t semantic)
{
    static const char *const names[] = {"noneOf", "exactlyOneOf", "oneOrMoreOf", "allOf",
                                        "ordered"};
    ADD(b, "{\"semantic\":");
    if (semantic < ARRAY_LEN(names) || semantic == 255)
        base_buf_printf(b, "\"%s\"", semantic == 255 ? "undefined" : names[semantic]);
    else
        add_u64(b, semantic);
}

static void add_item(render_json *j, base_buf *b, const weir_list *list)
{
    const weir_record *item = &list->item;
    if (list->type == WEIR_TYPE_BASIC_LIST) {
        if (item->n_fields)
            add_any(j, b, item, 0);
        else
            ADD(b, "null");
        return;
    }
    const render_plan *plan = render_plan_get(j->plans, item);
    if (!plan) {
        b->failed = true;
        return;
    }
    add_fields(j, b, item, plan, 0, plan->n_keys);
}

static void add_list(render_json *j, base_buf *b, const weir_record *r, uint32_t i,
                     const weir_value *v)
{
    if (v->len == 0) { /* RFC 6313 gives even an empty list a head; this one has none */
        ADD(b, "{\"items\":[],\"octets\":\"\",\"error\":\"list cut short\"}");
        return;
    }
    add_semantic(b, v->data[0]);
    const char *error = NULL;
    weir_list list;
    weir_status status = weir_list_open(r, i, &list);
    if (status == WEIR_OK) {
        bool started = false;
        for (;;) {
            status = weir_list_next(&list);
            if (status == WEIR_ENOTFOUND) {
                error = "template unknown";
                continue;
            }
            if (status != WEIR_OK || b->failed)
                break;
            if (!started && list.type == WEIR_TYPE_BASIC_LIST && list.item.n_fields) {
                const char *name = list.item.fields[0].element->name;
                ADD(b, ",\"element\":");
                base_json_string(b, name, strlen(name), false);
            }
            if (started)
                base_buf_char(b, ',');
            else
                ADD(b, ",\"items\":[");
            started = true;
            add_item(j, b, &list);
        }
        weir_list_close(&list);
        if (!started)
            ADD(b, ",\"items\":[");
        base_buf_char(b, ']');
    } else if (status == WEIR_ENOTFOUND) {
        error = "template unknown";
    }
    if (status == WEIR_ETRUNC)
        error = "list cut short";
    else if (status == WEIR_EFORMAT || status == WEIR_ETYPE)
        error = "list malformed";
    else if (status == WEIR_ELIMIT)
        error = "list limit reached";
    else if (status == WEIR_ENOMEM)
        error = "out of memory";
    if (error) {
        ADD(b, ",\"octets\":");
        base_json_hex(b, v->data, v->len);
        base_buf_printf(b, ",\"error\":\"%s\"", error);
    }
    base_buf_char(b, '}');
}

static void add_any(render_json *j, base_buf *b, const weir_record *r, uint32_t i)
{
    weir_value v;
    (void)weir_value_read(r, i, &v); /* what does not fit its type comes back as octets */
    char *at = base_buf_room(b, 64);
    if (!at)
        return;
    size_t n = 0;
    switch ((int)v.kind) {
    case WEIR_KIND_U64:
        n = base_u64_text(at, v.u64);
        break;
    case WEIR_KIND_S64:
        n = base_s64_text(at, v.s64);
        break;
    case WEIR_KIND_F64:
        base_json_f64(b, v.f64);
        break;
    case WEIR_KIND_BOOL:
        base_buf_str(b, v.boolean ? "true" : "false");
        break;
    case WEIR_KIND_TIME:
        add_time(b, v.time_ns, v.time_digits);
        break;
    case WEIR_KIND_IPV4:
        *at = '"';
        n = 1 + base_ipv4_text(at + 1, v.data);
        at[n++] = '"';
        break;
    case WEIR_KIND_IPV6:
        *at = '"';
        n = 1 + base_ipv6_text(at + 1, v.data);
        at[n++] = '"';
        break;
    case WEIR_KIND_MAC:
        *at = '"';
        n = 1 + base_mac_text(at + 1, v.data);
        at[n++] = '"';
        break;
    case WEIR_KIND_TEXT:
        base_json_string(b, v.data, v.len, false);
        break;
    case WEIR_KIND_LIST:
        add_list(j, b, r, i, &v);
        break;
    default:
        base_json_hex(b, v.data, v.len);
    }
    b->len += n;
}

void render_json_value(render_json *j, base_buf *b, const weir_record *r, uint32_t i)
{
    add_any(j, b, r, i);
}

/* The common values without a call into the decoder; the others by add_any. */
static inline void add_value(render_json *j, base_buf *b, const weir_record *r, uint32_t i,
                             uint8_t kind)
{
    const uint8_t *p = weir_field_data(r, i);
    uint32_t len = r->fields[i].length;
    char *at = base_buf_room(b, 64);
    if (!at)
        return;
    if (kind == KIND_UINT && len - 1 < 8) {
        b->len += base_u64_text(at, weir_be(p, len));
        return;
    }
    size_t n;
    if (kind == KIND_IPV4 && len == 4)
        n = base_ipv4_text(at + 1, p);
    else if (kind == KIND_IPV6 && len == 16)
        n = base_ipv6_text(at + 1, p);
    else if (kind == KIND_MAC && len == 6)
        n = base_mac_text(at + 1, p);
    else {
        add_any(j, b, r, i);
        return;
    }
    at[0] = '"';
    at[n + 1] = '"';
    b->len += n + 2;
}

/* {"name":value,...} of the plan's keys [from, to). */
static void add_fields(render_json *j, base_buf *b, const weir_record *r, const render_plan *p,
                       uint32_t from, uint32_t to)
{
    size_t start = b->len;
    for (uint32_t k = from; k < to; k++) {
        const struct render_key *key = &p->keys[k];
        const char *text = p->text + key->at;
        char *at = base_buf_room(b, key->len + RENDER_SLACK);
        if (!at)
            return;
        if (key->len <= RENDER_SLACK)
            memcpy(at, text, RENDER_SLACK);
        else
            memcpy(at, text, key->len);
        b->len += key->len;
        if (key->first == key->last) {
            add_value(j, b, r, key->first, key->kind);
            continue;
        }
        char mark = '[';
        for (uint32_t i = key->first; i != RENDER_NONE; i = p->next[i]) {
            base_buf_char(b, mark);
            add_value(j, b, r, i, kind_of(r->fields[i].element->type));
            mark = ',';
        }
        base_buf_char(b, ']');
    }
    if (b->failed)
        return;
    if (b->len == start)
        base_buf_char(b, '{');
    else
        b->data[start] = '{'; /* where the first key has its comma */
    base_buf_char(b, '}');
}

static void add_endpoint(base_buf *b, const weir_endpoint *e)
{
    char text[WEIR_ENDPOINT_TEXT];
    if (e->family == 0)
        ADD(b, "null");
    else
        base_json_string(b, text, weir_endpoint_text(e, text), false);
}

static void add_head(base_buf *b, const weir_packet *p, uint16_t template_id, const char *kind)
{
    ADD(b, "{\"exporter\":");
    add_endpoint(b, &p->from);
    ADD(b, ",\"received\":");
    add_time(b, p->received_ns, time_digits(p->received_ns));
    ADD(b, ",\"version\":");
    add_u64(b, p->version);
    ADD(b, ",\"sequence\":");
    add_u64(b, p->sequence);
    ADD(b, ",\"domain\":");
    add_u64(b, p->domain);
    ADD(b, ",\"template\":");
    add_u64(b, template_id);
    ADD(b, ",\"export_time\":");
    int64_t export_ns = weir_packet_export_ns(p);
    add_time(b, export_ns, time_digits(export_ns));
    if (p->version != 10) {
        ADD(b, ",\"uptime_ms\":");
        add_u64(b, p->uptime_ms);
    }
    base_buf_printf(b, ",\"kind\":\"%s\"", kind);
}

static const base_buf *head_of(render_json *j, const weir_record *r)
{
    const weir_packet *p = r->packet;
    const weir_template *t = r->tmpl;
    if (j->head.len == 0 || j->packet_id != p->id || j->tmpl != t || j->serial != t->serial ||
        j->received_ns != p->received_ns || j->sequence != p->sequence ||
        j->options != t->options) {
        base_buf_reset(&j->head);
        add_head(&j->head, p, t->id, t->options ? "options" : "flow");
        j->packet_id = p->id;
        j->tmpl = t;
        j->serial = t->serial;
        j->received_ns = p->received_ns;
        j->sequence = p->sequence;
        j->options = t->options;
    }
    return &j->head;
}

static void add_sampling(base_buf *b, const weir_sampling *s)
{
    ADD(b, ",\"sampling\":{\"rate\":");
    if (s->rate >= 0 && s->rate < 1e15 && s->rate == (double)(uint64_t)s->rate)
        add_u64(b, (uint64_t)s->rate);
    else
        base_json_f64(b, s->rate);
    if (s->algorithm) {
        ADD(b, ",\"algorithm\":");
        add_u64(b, s->algorithm);
    }
    ADD(b, ",\"origin\":\"");
    base_buf_str(b, weir_origin_text((weir_origin)s->origin));
    ADD(b, "\"}");
}

void render_json_record(render_json *j, base_buf *b, const weir_record *r)
{
    const base_buf *head = head_of(j, r);
    const render_plan *plan = render_plan_get(j->plans, r);
    if (!plan || head->failed) {
        base_buf_reset(&j->head);
        b->failed = true;
        return;
    }
    base_buf_add(b, head->data, head->len);
    if (!r->tmpl->options) {
        int64_t first, last;
        (void)weir_record_times(r, &first, &last);
        ADD(b, ",\"first\":");
        add_time(b, first, time_digits(first));
        ADD(b, ",\"last\":");
        add_time(b, last, time_digits(last));
        weir_sampling sampling = weir_record_sampling(r);
        if (sampling.origin != WEIR_ORIGIN_UNKNOWN)
            add_sampling(b, &sampling);
    } else if (plan->n_scope_keys) {
        ADD(b, ",\"scope\":");
        add_fields(j, b, r, plan, 0, plan->n_scope_keys);
    }
    ADD(b, ",\"fields\":");
    add_fields(j, b, r, plan, plan->n_scope_keys, plan->n_keys);
    ADD(b, "}\n");
}

const char *render_event_text(weir_template_event event)
{
    static const char *const texts[] = {
        [WEIR_TEMPLATE_LEARNT] = "learnt",       [WEIR_TEMPLATE_CHANGED] = "changed",
        [WEIR_TEMPLATE_REFRESHED] = "refreshed", [WEIR_TEMPLATE_WITHDRAWN] = "withdrawn",
        [WEIR_TEMPLATE_EXPIRED] = "expired",     [WEIR_TEMPLATE_CONFLICT] = "conflict",
    };
    return (size_t)event < ARRAY_LEN(texts) ? texts[event] : "unknown";
}

void render_json_template(base_buf *b, const weir_packet *p, const weir_template *t,
                          weir_template_event event)
{
    if (p)
        add_head(b, p, t->id, "template");
    else /* forgotten between packets */
        base_buf_printf(b, "{\"template\":%u,\"kind\":\"template\"", (unsigned)t->id);
    base_buf_printf(b, ",\"event\":\"%s\",\"options\":%s,\"fields\":[", render_event_text(event),
                    t->options ? "true" : "false");
    for (uint32_t i = 0; i < t->n_fields; i++) {
        const weir_field *f = &t->fields[i];
        const weir_element *e = f->element;
        base_buf_printf(b, "%s{\"pen\":%u,\"id\":%u,\"name\":", i ? "," : "", (unsigned)e->pen,
                        (unsigned)e->id);
        base_json_string(b, e->name, strlen(e->name), false);
        if (e->v9_name && (e->flags & WEIR_ELEMENT_V9)) {
            ADD(b, ",\"v9_name\":");
            base_json_string(b, e->v9_name, strlen(e->v9_name), false);
        }
        base_buf_printf(b, ",\"type\":\"%s\",\"length\":%u%s}", weir_type_text((weir_type)e->type),
                        (unsigned)f->length, i < t->n_scope ? ",\"scope\":true" : "");
    }
    ADD(b, "]}\n");
}
