/* netflow9 -- NetFlow version 9 (RFC 3954). There is no message length: the datagram's end rules, and the header's
 * count is not believed, because many exporters count flow sets in it. */
#include "wire/wire.h"

enum { V9_TEMPLATES = 0, V9_OPTIONS_TEMPLATES = 1, V9_FIRST_DATA = 256 };

/* Read n field specifiers of 4 octets; the caller has made sure that they are there. */
static void read_specs(base_rd *r, wire_spec *out, size_t n, bool scopes)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t id = base_rd_u16(r), len = base_rd_u16(r);
        /* Scope types 1 to 5 are RFC 3954's own; exporters also put field types there (IPFIX fashion). */
        out[i] = (wire_spec){
            .id = id, .len = len, .space = scopes && id <= 5 ? WEIR_SPACE_V9_SCOPE : WEIR_SPACE_V9};
    }
}

static void templates(wire_pass *w, const uint8_t *data, base_rd r)
{
    const uint8_t *end = wire_content_end(&r);
    while (!wire_padding(&r, end)) {
        uint64_t at = wire_place(data, &r);
        uint16_t id = base_rd_u16(&r), n = base_rd_u16(&r);
        if ((size_t)n * 4 > base_rd_left(&r)) {
            wire_fault(w, WEIR_FAULT_TEMPLATE, at,
                       "template %u: %u fields announced, the flow set has room for %zu", id, n,
                       base_rd_left(&r) / 4);
            return;
        }
        wire_spec *specs = n <= w->d->opt.max_fields ? wire_specs(w->d, n + 1u) : NULL;
        if (!specs) {
            wire_fault(w, WEIR_FAULT_TEMPLATE_LIMIT, at,
                       "template %u: %u fields, max_fields is %zu", id, n, w->d->opt.max_fields);
            (void)base_rd_take(&r, (size_t)n * 4);
            continue;
        }
        read_specs(&r, specs, n, false);
        if (id < V9_FIRST_DATA || n == 0)
            wire_fault(w, WEIR_FAULT_TEMPLATE, at,
                       "template %u with %u fields: ids begin at 256, fields at 1", id, n);
        else
            wire_template_learn(w, id, false, specs, n, 0, at);
    }
}

static void options_templates(wire_pass *w, const uint8_t *data, base_rd r)
{
    const uint8_t *end = wire_content_end(&r);
    while (base_rd_left(&r) >= 6 && !wire_padding(&r, end)) {
        uint64_t at = wire_place(data, &r);
        uint16_t id = base_rd_u16(&r), scope_len = base_rd_u16(&r), option_len = base_rd_u16(&r);
        size_t octets = (size_t)scope_len + option_len;
        if (scope_len % 4 || option_len % 4 || octets > base_rd_left(&r)) {
            wire_fault(w, WEIR_FAULT_TEMPLATE, at,
                       "options template %u: scope length %u and option length %u must be "
                       "multiples of 4 within the "
                       "%zu octets left",
                       id, scope_len, option_len, base_rd_left(&r));
            return;
        }
        uint32_t n_scope = scope_len / 4, n = (uint32_t)(octets / 4);
        wire_spec *specs = n <= w->d->opt.max_fields ? wire_specs(w->d, n + 1u) : NULL;
        if (!specs) {
            wire_fault(w, WEIR_FAULT_TEMPLATE_LIMIT, at,
                       "options template %u: %u fields, max_fields is %zu", id, n,
                       w->d->opt.max_fields);
            (void)base_rd_take(&r, octets);
            continue;
        }
        read_specs(&r, specs, n_scope, true);
        read_specs(&r, specs + n_scope, n - n_scope, false);
        if (id < V9_FIRST_DATA || n == 0)
            wire_fault(w, WEIR_FAULT_TEMPLATE, at,
                       "options template %u with %u fields: ids begin at 256, fields at 1", id, n);
        else
            wire_template_learn(w, id, true, specs, n, n_scope, at);
    }
}

void wire_netflow9(wire_pass *w, const uint8_t *data, size_t len)
{
    base_rd r = base_rd_of(data + WIRE_V9_HEADER, len - WIRE_V9_HEADER);
    const uint8_t *end = wire_content_end(&r);
    while (!wire_padding(&r, end)) {
        uint64_t at = wire_place(data, &r);
        uint16_t id = base_rd_u16(&r), n = base_rd_u16(&r);
        if (n < 4 || n - 4u > base_rd_left(&r)) {
            wire_fault(w, WEIR_FAULT_SET_BOUNDS, at,
                       "flow set %u: length %u, between 4 and %zu is possible here", id, n,
                       base_rd_left(&r) + 4);
            w->unsure = true;
            return;
        }
        base_rd body = base_rd_of(r.at, n - 4u);
        (void)base_rd_take(&r, n - 4u);
        if (id == V9_TEMPLATES)
            templates(w, data, body);
        else if (id == V9_OPTIONS_TEMPLATES)
            options_templates(w, data, body);
        else if (id < V9_FIRST_DATA)
            wire_fault(w, WEIR_FAULT_SET_RESERVED, at, "flow set id %u is reserved: skipped", id);
        else
            wire_data_set_or_wait(w, id, body.at, n - 4u, at + 4);
    }
}
