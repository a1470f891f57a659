/* ipfix -- IPFIX messages (RFC 7011). A message is checked as a whole before anything of it takes effect, so that
 * "discard the message" (section 9.1) really leaves nothing behind. */
#include "wire/wire.h"

enum {
    IPFIX_TEMPLATES = 2,
    IPFIX_OPTIONS_TEMPLATES = 3,
    IPFIX_FIRST_DATA = 256,
    ENTERPRISE_BIT = 0x8000
};

/* Read n field specifiers of 4 or 8 octets into out (NULL: only step over them). False: they run past the end. */
static bool read_specs(base_rd *r, wire_spec *out, size_t n)
{
    for (size_t i = 0; i < n && !r->dead; i++) {
        uint16_t id = base_rd_u16(r), len = base_rd_u16(r);
        /* An enterprise number of 0 with the bit set means the IANA element, which is what its number says. */
        uint32_t pen = id & ENTERPRISE_BIT ? base_rd_u32(r) : 0;
        if (out)
            out[i] = (wire_spec){
                .pen = pen, .id = id & (ENTERPRISE_BIT - 1), .len = len, .space = WEIR_SPACE_IPFIX};
    }
    return !r->dead;
}

/* The head of one template record: n 0 is a withdrawal, which has no scope count (RFC 7011 section 8.1). */
static void read_head(base_rd *r, bool options, uint16_t *id, uint16_t *n, uint16_t *n_scope)
{
    *id = base_rd_u16(r);
    *n = base_rd_u16(r);
    *n_scope = options && *n ? base_rd_u16(r) : 0;
}

static weir_status check_templates(const uint8_t *data, base_rd r, bool options, weir_err *err)
{
    const uint8_t *end = wire_content_end(&r);
    while (!wire_padding(&r, end)) {
        uint64_t at = wire_place(data, &r);
        uint16_t id, n, n_scope;
        read_head(&r, options, &id, &n, &n_scope);
        if (!read_specs(&r, NULL, n))
            return weir_err_set(err, WEIR_EFORMAT, at,
                                "%stemplate %u: its %u fields run past the end of the set",
                                options ? "options " : "", id, n);
    }
    return WEIR_OK;
}

weir_status wire_ipfix_check(const uint8_t *data, size_t len, bool skip_bad_templates,
                             weir_err *err)
{
    size_t claimed = (size_t)weir_be(data + 2, 2);
    if (claimed != len || claimed < WIRE_IPFIX_HEADER)
        return weir_err_set(err, WEIR_ETRUNC, 2, "message length %zu, but %zu octets came", claimed,
                            len);
    base_rd r = base_rd_of(data + WIRE_IPFIX_HEADER, len - WIRE_IPFIX_HEADER);
    while (base_rd_left(&r) > 0) {
        uint64_t at = wire_place(data, &r);
        size_t left = base_rd_left(&r);
        uint16_t id = base_rd_u16(&r), n = base_rd_u16(&r);
        if (r.dead || n < 4 || n > left)
            return weir_err_set(err, WEIR_EFORMAT, at,
                                "set %u: length %u, between 4 and %zu is possible here", id, n,
                                left);
        base_rd body = base_rd_of(r.at, n - 4u);
        (void)base_rd_take(&r, n - 4u);
        if ((id == IPFIX_TEMPLATES || id == IPFIX_OPTIONS_TEMPLATES) && !skip_bad_templates)
            WEIR_TRY(check_templates(data, body, id == IPFIX_OPTIONS_TEMPLATES, err));
    }
    return WEIR_OK;
}

static void withdrawal(wire_pass *w, uint16_t id, bool options, uint64_t at)
{
    if (id >= IPFIX_FIRST_DATA)
        wire_template_withdraw(w, id);
    else if (id == (options ? IPFIX_OPTIONS_TEMPLATES : IPFIX_TEMPLATES))
        wire_templates_withdraw_all(w, options);
    else
        wire_fault(w, WEIR_FAULT_TEMPLATE, at, "withdrawal of id %u, which no template can have",
                   id);
}

static void templates(wire_pass *w, const uint8_t *data, base_rd r, bool options)
{
    const char *what = options ? "options template" : "template";
    const uint8_t *end = wire_content_end(&r);
    while (!wire_padding(&r, end)) {
        uint64_t at = wire_place(data, &r);
        uint16_t id, n, n_scope;
        read_head(&r, options, &id, &n, &n_scope);
        if (n == 0) {
            withdrawal(w, id, options, at);
            continue;
        }
        wire_spec *specs = n <= w->d->opt.max_fields ? wire_specs(w->d, n) : NULL;
        if (!read_specs(
                &r, specs,
                n)) { /* only with WEIR_QUIRK_SKIP_BAD_TEMPLATES: wire_ipfix_check stops it else */
            wire_fault(w, WEIR_FAULT_TEMPLATE, at,
                       "%s %u: its %u fields run past the end of the set", what, id, n);
            return;
        }
        if (!specs)
            wire_fault(w, WEIR_FAULT_TEMPLATE_LIMIT, at, "%s %u: %u fields, max_fields is %zu",
                       what, id, n, w->d->opt.max_fields);
        else if (id < IPFIX_FIRST_DATA)
            wire_fault(w, WEIR_FAULT_TEMPLATE, at, "%s %u: ids begin at 256", what, id);
        else if (options && (n_scope == 0 || n_scope > n))
            wire_fault(w, WEIR_FAULT_TEMPLATE, at,
                       "%s %u: %u scope fields of %u fields, at least 1 and at most all", what, id,
                       n_scope, n);
        else
            wire_template_learn(w, id, options, specs, n, n_scope, at);
    }
}

void wire_ipfix(wire_pass *w, const uint8_t *data, size_t len)
{
    base_rd r = base_rd_of(data + WIRE_IPFIX_HEADER, len - WIRE_IPFIX_HEADER);
    while (base_rd_left(&r) > 0) {
        uint64_t at = wire_place(data, &r);
        uint16_t id = base_rd_u16(&r), n = base_rd_u16(&r);
        base_rd body = base_rd_of(r.at, n - 4u);
        (void)base_rd_take(&r, n - 4u);
        if (id == IPFIX_TEMPLATES || id == IPFIX_OPTIONS_TEMPLATES)
            templates(w, data, body, id == IPFIX_OPTIONS_TEMPLATES);
        else if (id < IPFIX_FIRST_DATA)
            wire_fault(w, WEIR_FAULT_SET_RESERVED, at, "set id %u is reserved: skipped", id);
        else
            wire_data_set_or_wait(w, id, body.at, n - 4u, at + 4);
    }
}
