/* capture_form -- what the forms of a capture share: inside src/collect/capture*.c only. Each form is an open
 * (may be missing) and a next; capture.c finds the form, ends every source with WEIR_END and frees it. */
#ifndef COLLECT_CAPTURE_FORM_H
#define COLLECT_CAPTURE_FORM_H

#include "collect/capture.h"
#include "collect/frame.h"
#include "collect/reassembly.h"
#include "collect/source.h"

#include <pcap/pcap.h>

enum { CAPTURE_PAYLOAD_MAX = 65535 }; /* octets of one payload or message */

struct capture {
    struct capture_options o;
    enum capture_form form; /* never CAPTURE_AUTO */
    bool guessed;           /* the form was CAPTURE_AUTO */
    bool ended;             /* nothing but WEIR_END from here on */
    source *src;
    struct capture_counters n;

    pcap_t *pcap; /* CAPTURE_PCAP */
    FILE *stream; /* owned by pcap once that is open */
    enum frame_link link;
    reassembly *parts;

    uint8_t *payload; /* CAPTURE_HEX: CAPTURE_PAYLOAD_MAX octets */
    uint64_t line;    /* lines read */
};

weir_status capture_pcap_open(capture *c, weir_err *err);
weir_status capture_pcap_next(capture *c, struct capture_packet *p, weir_err *err);
void capture_pcap_done(capture *c);

weir_status capture_ipfix_next(capture *c, struct capture_packet *p, weir_err *err);

weir_status capture_raw_next(capture *c, struct capture_packet *p, weir_err *err);
weir_status capture_hex_next(capture *c, struct capture_packet *p, weir_err *err);

/* Fill from and received_ns of a payload that brings neither: from the options, or the export time inside it. */
void capture_describe(const capture *c, struct capture_packet *p, weir_transport transport);

/* An IPFIX message header with a length that can be: version 10 at p[0], at least its own 16 octets. */
static inline bool capture_ipfix_header(const uint8_t *p, size_t len)
{
    return len >= 4 && p[0] == 0 && p[1] == 10 && (p[2] << 8 | p[3]) >= 16;
}

#endif
