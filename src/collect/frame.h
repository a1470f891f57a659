/* frame -- from a captured frame to the UDP datagram or the IP fragment in it: link layers, VLAN tags, MPLS,
 * PPPoE, IPv4 and IPv6 with their options and extension headers. Pure functions of octets; checksums are not
 * looked at, since captures on the sending host hold unfinished ones. */
#ifndef COLLECT_FRAME_H
#define COLLECT_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum frame_link {
    FRAME_ETHERNET,
    FRAME_SLL,  /* Linux cooked v1 */
    FRAME_SLL2, /* Linux cooked v2 */
    FRAME_IP,   /* IPv4 or IPv6 at once */
    FRAME_NULL, /* BSD loopback: address family in the byte order of the capturing host */
    FRAME_LOOP, /* OpenBSD loopback: the same in network order */
    FRAME_PPP,
    FRAME_N_LINKS
};

/* The link of a libpcap DLT_ value; false: not one of those above. */
bool frame_link_of(int dlt, enum frame_link *link);

enum frame_kind {
    FRAME_OTHER,    /* no UDP */
    FRAME_UDP,      /* ports, payload, len and full are set */
    FRAME_FRAGMENT, /* of what may be UDP; id, offset, more, next, payload, len, full are set */
    FRAME_CUT,      /* ends, by the snap length, before that can be told */
    FRAME_BROKEN    /* contradicts itself before that can be told */
};

enum { FRAME_WHY = 128 };

struct frame {
    enum frame_kind kind;
    uint8_t family; /* 4 or 6 */
    bool more;
    uint8_t next; /* IP protocol of the octets at offset 0 of a fragmented datagram */
    uint16_t src_port, dst_port;
    uint8_t src[16], dst[16]; /* IPv4 in the first 4 octets, the rest 0 */
    uint32_t id;
    size_t offset;          /* of the fragment, in octets */
    const uint8_t *payload; /* borrowed from the frame */
    size_t len;             /* captured octets of it */
    /* Octets of it on the wire, as its headers say. More than len: cut, or broken if there is a why. */
    size_t full;
    /* Of CUT and BROKEN, and of UDP and FRAGMENT whose lengths contradict each other; else "". */
    char why[FRAME_WHY];
};

/* data[cap] captured of wire octets; cap above wire counts as wire. */
void frame_read(struct frame *f, enum frame_link link, const uint8_t *data, size_t cap,
                size_t wire);

/* The same for what reassembly put together: protocol next at data[len]; src, dst and family of f are kept. */
void frame_read_datagram(struct frame *f, uint8_t next, const uint8_t *data, size_t len);

#endif
