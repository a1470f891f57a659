/* traffic -- flows as a network makes them, one after the other: a pure function of the seed and the options.
 *
 * The model: connections between popular and rare hosts over a mix of services, counters with heavy tails, a flow
 * back for most of them, and each host tied to one AS, prefix, interface and next hop. Integers only, so that every
 * machine makes the same flows. A connection is over when its flow is exported: first <= last < now. */
#ifndef GEN_TRAFFIC_H
#define GEN_TRAFFIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a flow carries; NetFlow v5 knows PLAIN, v9 also IPV6, IPFIX all. */
enum gen_kind { GEN_PLAIN, GEN_IPV6, GEN_NAT, GEN_APP, GEN_N_KINDS };

enum gen_format { GEN_V5, GEN_V9, GEN_IPFIX };

struct gen_flow {
    uint64_t first_ms, last_ms; /* since 1970-01-01 UTC */
    uint64_t packets, octets;   /* below 2^32, since that is what v5 and our v9 records hold */
    uint32_t exporter;          /* from 0 */
    uint32_t in_if, out_if, src_as, dst_as;
    uint16_t src_port, dst_port, nat_src_port,
        nat_dst_port; /* ICMP: type * 256 + code is dst_port */
    uint8_t kind;     /* enum gen_kind */
    uint8_t proto, tcp_flags, tos, direction, src_mask, dst_mask;
    uint8_t end_reason;                     /* flowEndReason (IPFIX element 136) */
    uint8_t forwarding;                     /* forwardingStatus (element 89) */
    uint8_t app;                            /* for gen_app_name */
    uint8_t src[16], dst[16], next_hop[16]; /* IPv4: the first 4 octets */
    uint8_t nat_src[4], nat_dst[4];
};

struct gen_traffic_options {
    enum gen_format format; /* decides which kinds appear */
    uint64_t seed;
    uint32_t internal, external; /* hosts, 1 to GEN_MAX_INTERNAL and 1 to GEN_MAX_EXTERNAL */
    uint32_t ipv6_ppm;           /* share of IPv6 connections in millionths; v5 makes them IPv4 */
    uint32_t exporters;          /* 1 and more */
};

enum { GEN_MAX_INTERNAL = 4 * 65535, GEN_MAX_EXTERNAL = 1 << 24 };

typedef struct gen_traffic gen_traffic;

gen_traffic *gen_traffic_new(const struct gen_traffic_options *o); /* NULL: out of memory */
void gen_traffic_free(gen_traffic *t);

/* The next flow, exported at now_ms (at least 100000; never less than in the call before). */
void gen_traffic_next(gen_traffic *t, uint64_t now_ms, struct gen_flow *out);

/* The application that IPFIX names, "https"; a static string of at most 15 characters. */
const char *gen_app_name(uint8_t app);

#endif
