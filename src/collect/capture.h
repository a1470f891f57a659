/* capture -- export packets from files: pcap and pcapng captures, IPFIX files (RFC 5655), raw payloads, hex text.
 * Each source gives one datagram or message after another, with who sent it and when, as a socket would. */
#ifndef COLLECT_CAPTURE_H
#define COLLECT_CAPTURE_H

#include <weir/record.h>

typedef struct capture capture;

enum capture_form {
    CAPTURE_AUTO,  /* by the first octets: pcap, pcapng, IPFIX file, else one raw payload; gzip, bzip2 opened */
    CAPTURE_PCAP,  /* pcap or pcapng: Ethernet, VLAN/QinQ, Linux cooked v1/v2, raw IP, loopback */
    CAPTURE_IPFIX, /* IPFIX messages one after another */
    CAPTURE_RAW,   /* the whole file is one UDP payload */
    CAPTURE_HEX    /* text: hex digits of one payload a line (white space and 0x ignored, # comments) */
};

struct capture_options {
    enum capture_form form;
    uint16_t port;       /* UDP destination port that counts; 0: every datagram that looks like an export */
    weir_endpoint from;  /* sender of payloads that name none; family 0: unknown */
    int64_t received_ns; /* arrival of payloads that have none; 0: the packet's own export time */
};

struct capture_packet {
    weir_endpoint from;
    int64_t received_ns;
    const uint8_t *data; /* borrowed until the next call */
    size_t len;
    uint64_t number;     /* frame (pcap), message (IPFIX file) or line (hex), counted from 1 */
    uint64_t offset;     /* octets from the start of the file (after decompression) to the payload's frame */
};

struct capture_counters {
    uint64_t frames;          /* read from the file */
    uint64_t packets;         /* handed out */
    uint64_t other;           /* frames that are no UDP to the port, or no export */
    uint64_t cut;             /* frames cut short by the snap length */
    uint64_t broken;          /* headers that contradict themselves */
    uint64_t fragments;       /* IP fragments seen */
    uint64_t fragments_lost;  /* of those, never completed or dropped at the limit */
    uint64_t resyncs;         /* IPFIX file: places where octets had to be skipped (RFC 5655 section 10.3) */
};

/* path "-" is stdin. WEIR_EIO cannot be read (err names the file and why); WEIR_EFORMAT not of that form. */
weir_status capture_open(const char *path, const struct capture_options *o, capture **out, weir_err *err);

/* A source over octets in memory (hex text of an argument, fuzzing): data[len] borrowed until close. */
weir_status capture_open_memory(const char *name, const void *data, size_t len,
                                const struct capture_options *o, capture **out, weir_err *err);

/* WEIR_OK and *p; WEIR_END; WEIR_ETRUNC, WEIR_EFORMAT something is wrong here (err->at is the offset): what can
 * still be read comes with the next calls, which end with WEIR_END in any case. WEIR_EIO reading failed. */
weir_status capture_next(capture *c, struct capture_packet *p, weir_err *err);

const struct capture_counters *capture_counters(const capture *c);
void capture_close(capture *c); /* takes NULL */

#endif
