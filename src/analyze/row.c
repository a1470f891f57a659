#include "analyze/row.h"

#include "base/hash.h"
#include "base/text.h"

#include <string.h>

/* v, so that its hex digits sort as it does. */
static size_t hex_u32(char *out, uint32_t v)
{
    const uint8_t be[4] = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};
    return base_hex_text(out, be, sizeof be);
}

static void make_key(const struct row *r, uint32_t exporter, struct entry *e)
{
    uint64_t first = (uint64_t)(r->has_first ? r->first_us : r->received_us) ^ 1ULL << 63;
    char *out = e->key;
    e->time = (double)((long double)r->received_us / 1e6L);
    /* base_f64_text needs more room than its longest text for such numbers, which is 20 */
    char time[BASE_F64_TEXT];
    size_t n = base_f64_text(time, e->time);
    memcpy(out, time, n);
    out[n++] = ' ';
    n += hex_u32(out + n, exporter);
    n += hex_u32(out + n, r->domain);
    n += hex_u32(out + n, r->packet);
    n += hex_u32(out + n, (uint32_t)(first >> 32));
    n += hex_u32(out + n, (uint32_t)first);
    out[n] = 0;
    e->key_len = n;
}

static void set_times(const struct row *r, enum flow_kind kind, struct flow *f)
{
    f->start_ms = FLOW_START_UNKNOWN;
    if (!r->has_first && !r->has_last)
        return;
    int64_t first = r->has_first ? r->first_us : r->last_us;
    int64_t last = r->has_last ? r->last_us : first;
    if (first < 0)
        first = 0;
    if (last < 0)
        last = 0;
    f->start_ms = first / 1000;
    if (kind == FLOW_KIND_IPFIX) {
        f->time = FLOW_TIME_EPOCH_NS;
        if (__builtin_mul_overflow((uint64_t)first, 1000U, &f->first))
            f->first = UINT64_MAX;
        if (__builtin_mul_overflow((uint64_t)last, 1000U, &f->last))
            f->last = UINT64_MAX;
        return;
    }
    f->time = FLOW_TIME_EPOCH_MS;
    f->first = (uint64_t)first / 1000;
    f->last = (uint64_t)last / 1000;
}

static bool is_host(const struct entry_host *h, const struct flow *f)
{
    return h->family == f->family && (!memcmp(h->addr, f->src, 16) || !memcmp(h->addr, f->dst, 16));
}

void row_entry(const struct row *r, const struct entry_host *only, struct flow flows[2],
               struct entry *e)
{
    struct flow *f = flows;
    uint8_t family;
    *e = (struct entry){.flows = flows};
    e->kind = r->version == 10                                        ? FLOW_KIND_IPFIX
              : r->version == 1 || r->version == 5 || r->version == 7 ? FLOW_KIND_V5
                                                                      : FLOW_KIND_V9;
    *f = (struct flow){.kind = (uint8_t)e->kind};
    if (!r->src || !r->dst || !entry_address(r->src, r->src_len, f->src, &f->family) ||
        !entry_address(r->dst, r->dst_len, f->dst, &family) || family != f->family) {
        e->n_no_address = 1;
        return;
    }
    if (only->family && !is_host(only, f))
        return;
    f->exporter = r->exporter ? (uint32_t)base_hash(r->exporter, r->exporter_len, 0) : 0;
    f->octets = r->octets;
    f->packets = r->packets;
    f->src_port = r->src_port;
    f->dst_port = r->dst_port;
    f->proto = r->proto;
    set_times(r, e->kind, f);
    make_key(r, f->exporter, e);
    e->n_flows = 1;
    if (r->octets_back == 0 && r->packets_back == 0)
        return;
    flows[1] = *f;
    memcpy(flows[1].src, f->dst, 16);
    memcpy(flows[1].dst, f->src, 16);
    flows[1].src_port = f->dst_port;
    flows[1].dst_port = f->src_port;
    flows[1].octets = r->octets_back;
    flows[1].packets = r->packets_back;
    e->n_flows = 2;
}

size_t row_key_time_len(const char *key, size_t len)
{
    const char *space = memchr(key, ' ', len);
    return space ? (size_t)(space - key) : len;
}
