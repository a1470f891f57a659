/* netflow5 -- the fixed formats NetFlow v1, v5 and v7, read through templates that are built in. Layouts: Cisco's
 * NetFlow export datagram formats, in registry/netflow-legacy.tsv. */
#include "wire/wire.h"

#include <stdlib.h>

/* The reserved octets are fields too (IE 210, paddingOctets), so that nothing of a record is hidden. */
#define F(ie, octets)                                                                              \
    {                                                                                              \
        .id = ie, .len = octets                                                                    \
    }
#define COMMON                                                                                     \
    F(8, 4), F(12, 4), F(15, 4), F(10, 2), F(14, 2), F(2, 4), F(1, 4), F(22, 4), F(21, 4),         \
        F(7, 2), F(11, 2)
static const wire_spec v1_fields[] = {COMMON, F(210, 2), F(4, 1), F(5, 1), F(6, 1), F(210, 7)};
static const wire_spec v5_fields[] = {COMMON,   F(210, 1), F(6, 1), F(4, 1),  F(5, 1),
                                      F(16, 2), F(17, 2),  F(9, 1), F(13, 1), F(210, 2)};
static const wire_spec v7_fields[] = {COMMON,   F(210, 1), F(6, 1),  F(4, 1),   F(5, 1), F(16, 2),
                                      F(17, 2), F(9, 1),   F(13, 1), F(210, 2), F(43, 4)};

static const struct {
    uint16_t version;
    const wire_spec *fields;
    uint32_t n;
} formats[] = {
    {1, v1_fields, ARRAY_LEN(v1_fields)},
    {5, v5_fields, ARRAY_LEN(v5_fields)},
    {7, v7_fields, ARRAY_LEN(v7_fields)},
};

weir_status wire_fixed_templates(weir_decoder *d)
{
    for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
        d->fixed[i] = wire_template_build(d, 0, false, formats[i].fields, formats[i].n, 0, NULL);
        if (!d->fixed[i])
            return WEIR_ENOMEM;
    }
    return WEIR_OK;
}

static const wire_template *format_of(const weir_decoder *d, uint16_t version)
{
    return d->fixed[version == 1 ? 0 : version == 5 ? 1 : 2];
}

weir_status wire_netflow5_check(const weir_packet *p, size_t len, weir_err *err)
{
    size_t room = len - wire_fixed_header(p->version), stride = p->version == 7 ? 52 : 48;
    if (p->count > 0 && room < stride)
        return weir_err_set(err, WEIR_ETRUNC, len,
                            "version %u: %u records announced, %zu octets hold none", p->version,
                            p->count, room);
    return WEIR_OK;
}

void wire_netflow5(wire_pass *w, const uint8_t *data, size_t len)
{
    const wire_template *t = format_of(w->d, w->p->version);
    size_t header = wire_fixed_header(w->p->version), stride = t->pub.min_len;
    size_t whole = (len - header) / stride, n = w->p->count;
    if (n > whole) {
        WIRE_COUNT(w->s, records, n - whole);
        WIRE_COUNT(w->s, records_rejected, n - whole);
        n = whole;
    }
    wire_data_set(w, t, data + header, n * stride, header);
    if (n < w->p->count)
        wire_fault(w, WEIR_FAULT_RECORD, header + n * stride,
                   "version %u: %u records announced, %zu are whole", w->p->version, w->p->count,
                   n);
}
