/* exporters -- flows in, export packets out: templates, options templates for sampling, headers, sequence numbers.
 * NetFlow v5, v9 (RFC 3954), IPFIX (RFC 7011). Big-endian exists only in the packets. */
#ifndef GEN_EXPORTERS_H
#define GEN_EXPORTERS_H

#include "base/err.h"
#include "gen/traffic.h"

enum {
    GEN_LEAST_PAYLOAD = 512, /* holds a packet of all templates */
    GEN_MOST_PAYLOAD = 8972, /* of an Ethernet frame of 9000 octets */
    GEN_MOST_RECORDS = GEN_MOST_PAYLOAD / 48,
    GEN_MOST_RECORDS_V5 = 30,     /* that its collectors have room for */
    GEN_MOST_SAMPLING_V5 = 0x3fff /* 14 bits of the header */
};

struct gen_exporters_options {
    enum gen_format format;
    uint32_t n;           /* exporters */
    uint32_t max_payload; /* octets of a packet, GEN_LEAST_PAYLOAD to GEN_MOST_PAYLOAD */
    uint32_t max_records; /* of a packet; 0: what fits. v5 holds 30 at most */
    uint32_t sampling; /* announced: 1 of so many packets is looked at; counters stay as they are */
    uint64_t start_ms; /* when the first flow is exported: uptimes count from before that */
    /* Templates again after so many data packets of the exporter, or so much time; 0: not for that reason. */
    uint32_t template_packets;
    uint64_t template_ms;
    bool keep_flows; /* gen_packet.flows is wanted */
};

/* A finished packet of data, all but its header's time and sequence. */
struct gen_packet {
    uint8_t *data;            /* len octets */
    uint16_t *times;          /* n_records offsets in data, of the two times that a record has */
    struct gen_flow *flows;   /* n_records in the order of the records, NULL unless they are kept */
    uint64_t time_ms;         /* when it is exported, by the time that flows were made with */
    int64_t shift_ms;         /* its records say this much more than that */
    uint64_t packets, octets; /* sums over the records */
    uint32_t exporter;
    uint16_t len, n_records, n_ipv6;
};

/* The most records that a packet of so many octets can hold, all of them of the shortest kind. */
uint32_t gen_exporters_most_records(enum gen_format format, uint32_t max_payload);

typedef struct gen_exporters gen_exporters;

/* Called with each finished packet, which is the callee's to change until the second packet of the same exporter
 * after it. What it returns goes up when it is not WEIR_OK. */
typedef weir_status gen_packet_fn(void *user, struct gen_packet *p, weir_err *err);

gen_exporters *gen_exporters_new(const struct gen_exporters_options *o, gen_packet_fn *take,
                                 void *user); /* NULL: out of memory */
void gen_exporters_free(gen_exporters *x);

/* Put a flow into the packet that its exporter builds. Packets that are full, or hold a flow for longer than a second,
 * are taken before. WEIR_ENOMEM; else what `take` returns. */
weir_status gen_exporters_add(gen_exporters *x, const struct gen_flow *f, uint64_t now_ms,
                              weir_err *err);
/* All that is begun. */
weir_status gen_exporters_flush(gen_exporters *x, uint64_t now_ms, weir_err *err);

/* Give p its header: exported at now_ms, next in sequence. The times of its records move along, so that a packet may
 * be sent again and again. */
void gen_exporters_stamp(gen_exporters *x, struct gen_packet *p, uint64_t now_ms);

/* The units of the protocol's sequence number that p uses up: flows (v5), packets (v9), data records (IPFIX). */
uint32_t gen_exporters_units(const gen_exporters *x, const struct gen_packet *p);

/* Whether templates are due before the exporter's next packet. Never for v5. */
bool gen_exporters_due(const gen_exporters *x, uint32_t exporter, uint64_t now_ms);
/* Write a packet of all templates, the options template and its record to out[GEN_LEAST_PAYLOAD], next in sequence.
 * Returns its length. */
size_t gen_exporters_templates(gen_exporters *x, uint32_t exporter, uint64_t now_ms, uint8_t *out);

/* Source id (v9), observation domain (IPFIX) or engine id (v5) of an exporter. */
uint32_t gen_exporters_domain(const gen_exporters *x, uint32_t exporter);

#endif
