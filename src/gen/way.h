/* way -- what happens to packets between exporter and collector: templates are sent between them, and on request
 * packets get lost, are sent twice or overtake each other. All of it is counted, per exporter: the ground truth. */
#ifndef GEN_WAY_H
#define GEN_WAY_H

#include "base/buf.h"
#include "gen/exporters.h"

/* k of every n packets of data of an exporter; n 0: none. 1 <= k < n. */
struct gen_share {
    uint32_t k, n;
};

/* packets, octets, flows ... were sent; what got lost is in lost_* alone and what was sent twice in all of the first
 * three and in twice_*. */
#define GEN_COUNTS_MAP(X)                                                                          \
    X(packets)          /* UDP payloads sent: data and templates, second ones too */               \
    X(octets)           /* in them */                                                              \
    X(template_packets) /* of packets, those with templates */                                     \
    X(flows)            /* records of flows sent, each once */                                     \
    X(ipv6_flows)       /* of those, IPv6 */                                                       \
    X(flow_packets)     /* sum of the packet counters of flows */                                  \
    X(flow_octets)      /* sum of their octet counters */                                          \
    X(lost_packets)     /* counted in sequence numbers and not sent */                             \
    X(lost_flows)                                                                                  \
    X(lost_units) /* of the sequence number: flows (v5), packets (v9), data records (IPFIX) */     \
    X(twice_packets)                                                                               \
    X(twice_flows)                                                                                 \
    X(overtaken_packets) /* sent behind the packet that follows them */

struct gen_counts {
#define X(name) uint64_t name;
    GEN_COUNTS_MAP(X)
#undef X
};

/* A UDP payload on its way. */
struct gen_out {
    const uint8_t *data; /* len octets */
    size_t len;
    uint64_t now_ms; /* the time in its header */
    uint32_t exporter;
    uint32_t n_flows; /* 0: templates */
    bool
        stays; /* data lies in the gen_packet and stays as it is for as long; else until the callee returns */
};

/* Who gets what is sent. What they return goes up when it is not WEIR_OK. */
struct gen_receiver {
    weir_status (*payload)(void *user, const struct gen_out *out, weir_err *err);
    /* The flows of a packet that is not lost, once each, in the order of their sequence numbers; NULL: not asked. */
    weir_status (*flows)(void *user, const struct gen_packet *p, weir_err *err);
    void *user;
};

struct gen_way_options {
    struct gen_share drop, twice;
    uint32_t
        reorder; /* one of so many packets of an exporter is overtaken by the next; 0: none; else at least 2 */
    uint32_t exporters;
};

typedef struct gen_way gen_way;

/* x stays the caller's and must outlive it. NULL: out of memory. */
gen_way *gen_way_new(const struct gen_way_options *o, gen_exporters *x,
                     const struct gen_receiver *to);
void gen_way_free(gen_way *w);

/* Send p at now_ms, with templates before it when they are due. The last packet of an exporter is never lost, since
 * nobody could see that it was: with drop a packet waits until its exporter has another. */
weir_status gen_way_put(gen_way *w, struct gen_packet *p, uint64_t now_ms, weir_err *err);
/* What waits still. */
weir_status gen_way_end(gen_way *w, uint64_t now_ms, weir_err *err);

const struct gen_counts *gen_way_total(const gen_way *w);
const struct gen_counts *gen_way_counts(const gen_way *w, uint32_t exporter);

/* The counts as members of a JSON object: "packets": 1, "octets": ... */
void gen_counts_json(const struct gen_counts *c, base_buf *out);

#endif
