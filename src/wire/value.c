#include "wire/wire.h"

#include "base/text.h"

#include <stdio.h>
#include <string.h>

/* What a type is read as when the length is the one it has by nature. Types of any length have 0 there. */
static const struct {
    uint8_t load;
    uint8_t octets;
} natural[WEIR_N_TYPES] = {
    [WEIR_TYPE_OCTET_ARRAY] = {WIRE_LOAD_OCTETS, 0},
    [WEIR_TYPE_UNSIGNED8] = {WIRE_LOAD_UINT, 1},
    [WEIR_TYPE_UNSIGNED16] = {WIRE_LOAD_UINT, 2},
    [WEIR_TYPE_UNSIGNED32] = {WIRE_LOAD_UINT, 4},
    [WEIR_TYPE_UNSIGNED64] = {WIRE_LOAD_UINT, 8},
    [WEIR_TYPE_SIGNED8] = {WIRE_LOAD_SINT, 1},
    [WEIR_TYPE_SIGNED16] = {WIRE_LOAD_SINT, 2},
    [WEIR_TYPE_SIGNED32] = {WIRE_LOAD_SINT, 4},
    [WEIR_TYPE_SIGNED64] = {WIRE_LOAD_SINT, 8},
    [WEIR_TYPE_FLOAT32] = {WIRE_LOAD_FLOAT32, 4},
    [WEIR_TYPE_FLOAT64] = {WIRE_LOAD_FLOAT64, 8},
    [WEIR_TYPE_BOOLEAN] = {WIRE_LOAD_BOOL, 1},
    [WEIR_TYPE_MAC_ADDRESS] = {WIRE_LOAD_MAC, 6},
    [WEIR_TYPE_STRING] = {WIRE_LOAD_TEXT, 0},
    [WEIR_TYPE_DATE_TIME_SECONDS] = {WIRE_LOAD_SECONDS, 4},
    [WEIR_TYPE_DATE_TIME_MILLISECONDS] = {WIRE_LOAD_MILLISECONDS, 8},
    [WEIR_TYPE_DATE_TIME_MICROSECONDS] = {WIRE_LOAD_MICROSECONDS, 8},
    [WEIR_TYPE_DATE_TIME_NANOSECONDS] = {WIRE_LOAD_NANOSECONDS, 8},
    [WEIR_TYPE_IPV4_ADDRESS] = {WIRE_LOAD_IPV4, 4},
    [WEIR_TYPE_IPV6_ADDRESS] = {WIRE_LOAD_IPV6, 16},
    [WEIR_TYPE_BASIC_LIST] = {WIRE_LOAD_LIST, 0},
    [WEIR_TYPE_SUB_TEMPLATE_LIST] = {WIRE_LOAD_LIST, 0},
    [WEIR_TYPE_SUB_TEMPLATE_MULTI_LIST] = {WIRE_LOAD_LIST, 0},
    [WEIR_TYPE_UNSIGNED256] = {WIRE_LOAD_UINT_BIG, 32},
};

uint8_t wire_load_of(uint8_t type, size_t len)
{
    if (type >= WEIR_N_TYPES)
        return WIRE_LOAD_OCTETS;
    uint8_t load = natural[type].load;
    switch (load) {
    case WIRE_LOAD_UINT:
    case WIRE_LOAD_UINT_BIG:
        return len == 0 ? WIRE_LOAD_MISFIT : len <= 8 ? WIRE_LOAD_UINT : WIRE_LOAD_UINT_BIG;
    case WIRE_LOAD_SINT:
        return len >= 1 && len <= 8 ? WIRE_LOAD_SINT : WIRE_LOAD_MISFIT;
    case WIRE_LOAD_FLOAT64:
        if (len == 4)
            return WIRE_LOAD_FLOAT32; /* RFC 7011 section 6.2 */
        break;
    case WIRE_LOAD_OCTETS:
    case WIRE_LOAD_TEXT:
    case WIRE_LOAD_LIST:
        return load;
    default:
        break;
    }
    return len == natural[type].octets ? load : WIRE_LOAD_MISFIT;
}

static uint32_t u32_at(const uint8_t *p)
{
    return (uint32_t)weir_be(p, 4);
}

static float f32_at(const uint8_t *p)
{
    uint32_t bits = u32_at(p);
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static double f64_at(const uint8_t *p)
{
    uint64_t bits = weir_be(p, 8);
    double f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static int64_t sint_at(const uint8_t *p, uint32_t len)
{
    unsigned shift = 64 - 8 * len;
    return (int64_t)(weir_be(p, len) << shift) >> shift;
}

enum { NTP_TO_UNIX_S = 2208988800 }; /* from 1900 to 1970 */

/* NTP seconds and fraction (RFC 7011 sections 6.1.9 and 6.1.10) in the era nearest to arrival. Some exporters count the
 * seconds from 1970 instead: that reading is taken when it falls within a year of arrival and the right one is decades
 * away. */
static int64_t ntp_ns(const weir_packet *p, const uint8_t *at, bool micro)
{
    uint32_t seconds = u32_at(at);
    uint64_t fraction = u32_at(at + 4);
    int64_t near_s = wire_reference_s(p);
    int64_t s = wire_era_s(seconds, near_s + NTP_TO_UNIX_S) - NTP_TO_UNIX_S;
    int64_t off = s > near_s ? s - near_s : near_s - s;
    int64_t wrong_epoch = wire_era_s(seconds, near_s) - near_s;
    const int64_t year_s = 366 * 86400;
    if (off > 20 * year_s && wrong_epoch < year_s && wrong_epoch > -year_s)
        s = near_s + wrong_epoch;
    if (micro)
        return s * 1000000000 + (int64_t)(((fraction & ~UINT64_C(0x7ff)) * 1000000) >> 32) * 1000;
    return s * 1000000000 + (int64_t)((fraction * 1000000000) >> 32);
}

static weir_status misfit(weir_value *v)
{
    v->kind = WEIR_KIND_OCTETS;
    return WEIR_ETYPE;
}

/* The kinds that take more than a load: apart, so that weir_value_read saves no registers for them. */
static __attribute__((noinline)) weir_status
read_slowly(const weir_packet *packet, const weir_field *f, const uint8_t *p, weir_value *v)
{
    switch (f->load) {
    case WIRE_LOAD_TEXT:
        while (v->len > 0 && p[v->len - 1] == 0)
            v->len--; /* fixed-length strings come padded */
        if (!base_utf8_ok(p, v->len)) {
            v->len = f->length;
            return misfit(v);
        }
        v->kind = WEIR_KIND_TEXT;
        return WEIR_OK;
    case WIRE_LOAD_SECONDS:
        v->kind = WEIR_KIND_TIME;
        v->time_ns = wire_era_s(u32_at(p), wire_reference_s(packet)) * 1000000000;
        return WEIR_OK;
    case WIRE_LOAD_MICROSECONDS:
    case WIRE_LOAD_NANOSECONDS:
        v->kind = WEIR_KIND_TIME;
        v->time_digits = f->load == WIRE_LOAD_MICROSECONDS ? 6 : 9;
        v->time_ns = ntp_ns(packet, p, f->load == WIRE_LOAD_MICROSECONDS);
        return WEIR_OK;
    case WIRE_LOAD_UINT_BIG: {
        uint32_t high = 0;
        while (high < v->len - 8 && p[high] == 0)
            high++;
        if (high == v->len - 8) {
            v->kind = WEIR_KIND_U64;
            v->u64 = weir_be(p + high, 8);
            return WEIR_OK;
        }
        v->kind = WEIR_KIND_OCTETS;
        return f->element->type == WEIR_TYPE_UNSIGNED256 && v->len <= 32 ? WEIR_OK : WEIR_ETYPE;
    }
    default:
        return misfit(v);
    }
}

weir_status weir_value_read(const weir_record *r, uint32_t i, weir_value *v)
{
    const weir_field *f = &r->fields[i];
    const uint8_t *p = r->data + f->offset;
    v->data = p;
    v->len = f->length;
    v->time_digits = 0;
    switch (f->load) {
    case WIRE_LOAD_UINT:
        v->kind = WEIR_KIND_U64;
        v->u64 = weir_be(p, f->length);
        return WEIR_OK;
    case WIRE_LOAD_IPV4:
        v->kind = WEIR_KIND_IPV4;
        return WEIR_OK;
    case WIRE_LOAD_IPV6:
        v->kind = WEIR_KIND_IPV6;
        return WEIR_OK;
    case WIRE_LOAD_MAC:
        v->kind = WEIR_KIND_MAC;
        return WEIR_OK;
    case WIRE_LOAD_OCTETS:
        v->kind = WEIR_KIND_OCTETS;
        return WEIR_OK;
    case WIRE_LOAD_LIST:
        v->kind = WEIR_KIND_LIST;
        return WEIR_OK;
    case WIRE_LOAD_SINT:
        v->kind = WEIR_KIND_S64;
        v->s64 = sint_at(p, f->length);
        return WEIR_OK;
    case WIRE_LOAD_FLOAT32:
        v->kind = WEIR_KIND_F64;
        v->f64 = (double)f32_at(p);
        return WEIR_OK;
    case WIRE_LOAD_FLOAT64:
        v->kind = WEIR_KIND_F64;
        v->f64 = f64_at(p);
        return WEIR_OK;
    case WIRE_LOAD_BOOL: /* RFC 7011 section 6.1.5: 1 true, 2 false */
        if (*p != 1 && *p != 2)
            return misfit(v);
        v->kind = WEIR_KIND_BOOL;
        v->boolean = *p == 1;
        return WEIR_OK;
    case WIRE_LOAD_MILLISECONDS: {
        uint64_t ms = weir_be(p, 8);
        if (ms > INT64_MAX / 1000000)
            return misfit(v); /* after the year 2262 */
        v->kind = WEIR_KIND_TIME;
        v->time_digits = 3;
        v->time_ns = (int64_t)ms * 1000000;
        return WEIR_OK;
    }
    default:
        return read_slowly(r->packet, f, p, v);
    }
}

int weir_record_find(const weir_record *r, uint32_t pen, uint16_t id)
{
    for (uint32_t i = 0; i < r->n_fields; i++) {
        const weir_element *e = r->fields[i].element;
        if (e->id == id && e->pen == pen && !(e->flags & WEIR_ELEMENT_SCOPE))
            return (int)i;
    }
    return -1;
}

size_t weir_endpoint_addr_text(const weir_endpoint *e, char *out)
{
    size_t n = 1;
    *out = '-';
    if (e->family == 4)
        n = base_ipv4_text(out, e->addr);
    else if (e->family == 6)
        n = base_ipv6_text(out, e->addr);
    out[n] = 0;
    return n;
}

size_t weir_endpoint_text(const weir_endpoint *e, char *out)
{
    char addr[WEIR_ENDPOINT_TEXT];
    if (weir_endpoint_addr_text(e, addr) == 1)
        return weir_endpoint_addr_text(e, out);
    return (size_t)snprintf(out, WEIR_ENDPOINT_TEXT, e->family == 6 ? "[%s]:%u" : "%s:%u", addr,
                            e->port);
}
