/* capture -- export packets from files: pcap and pcapng captures, IPFIX files (RFC 5655), raw payloads, hex text.
 * Each source gives one datagram or message after another, with who sent it and when, as a socket would. */
#ifndef COLLECT_CAPTURE_H
#define COLLECT_CAPTURE_H

#include <weir/record.h>

typedef struct capture capture;

enum capture_form {
    CAPTURE_AUTO, /* by the first 512 octets: one of those below, RAW if none fits */
    CAPTURE_PCAP, /* pcap, pcapng: Ethernet, Linux cooked, raw IP, loopback, PPP; VLAN, MPLS, PPPoE */
    CAPTURE_IPFIX, /* messages one after another (RFC 5655); their transport is WEIR_FILE */
    CAPTURE_RAW,   /* the whole file is one UDP payload, at most 65535 octets */
    CAPTURE_HEX    /* hex digits of one payload a line; white space, ':', 0x ignored; # comments */
};

struct capture_options {
    enum capture_form form;
    /* UDP destination port that counts; 0: every datagram to a usual port of exports (2055, 2056, 4432, 4739,
     * 9555, 9995, 9996) and every other that looks like one. Only pcap. */
    uint16_t port;
    weir_endpoint from;  /* sender of payloads that name none (all but pcap); family 0: unknown */
    int64_t received_ns; /* arrival of payloads that have none; 0: their own export time */
};

struct capture_packet {
    weir_endpoint from;
    int64_t received_ns;
    const uint8_t *data; /* borrowed until the next call */
    size_t len;
    /* Frame (pcap), message (IPFIX file) or line (hex), counted from 1; of a datagram that came in fragments the
     * frame that completed it. */
    uint64_t number;
    /* Octets from the start of the file, after decompression, to the record header of that frame (pcap), the
     * end of the frame before it (pcapng: blocks of other kinds may stand between), the message or the line. */
    uint64_t offset;
};

/* At every moment:
 *   pcap   frames = packets + other + cut + broken + fragments - reassembled
 *   IPFIX  frames = packets;  HEX, RAW  frames = packets + broken */
struct capture_counters {
    uint64_t frames;         /* read from the file: frames, messages or lines with a payload */
    uint64_t packets;        /* handed out */
    uint64_t other;          /* frames that are no UDP to the port, or no export */
    uint64_t cut;            /* frames cut by the snap length that are, or may be, for the port */
    uint64_t broken;         /* headers that contradict themselves; hex text that is none */
    uint64_t fragments;      /* whole IP fragments that are, or may be, of UDP datagrams */
    uint64_t fragments_lost; /* of those, never completed or dropped (limits, overlaps) */
    uint64_t resyncs;        /* IPFIX file: gaps that were skipped (RFC 5655 section 10.3) */
    uint64_t reassembled;    /* datagrams made of fragments; each is a packet, other or broken */
};

/* path "-" is stdin. gzip and bzip2 are told by their first octets and opened, whatever the form; everything
 * streams, so the input may be a pipe and larger than memory. o is copied, NULL: all zero.
 * WEIR_EIO cannot be read (err names the file and why); WEIR_EFORMAT not of that form, of an unknown link type
 * or compressed twice; WEIR_ETRUNC a capture that ends within its own header; WEIR_EINVAL no such form;
 * WEIR_ENOMEM. *out only with WEIR_OK; free it with capture_close. */
weir_status capture_open(const char *path, const struct capture_options *o, capture **out,
                         weir_err *err);

/* A source over octets in memory (hex text of an argument, fuzzing): data[len] borrowed until close. */
weir_status capture_open_memory(const char *name, const void *data, size_t len,
                                const struct capture_options *o, capture **out, weir_err *err);

/* WEIR_OK and *p; WEIR_END; WEIR_ETRUNC, WEIR_EFORMAT something is wrong here (err->at is the offset, the message
 * names file, place and what was found): what can still be read comes with the next calls, which end with
 * WEIR_END in any case. WEIR_EIO reading failed, WEIR_ENOMEM: only WEIR_END follows. One error for each frame
 * cut or broken, each gap of an IPFIX file, each bad line; *p is zero with all but WEIR_OK. Frames that are
 * surely not for the port are counted without an error. */
weir_status capture_next(capture *c, struct capture_packet *p, weir_err *err);

const struct capture_counters *capture_counters(const capture *c);
void capture_close(capture *c); /* takes NULL */

#endif
