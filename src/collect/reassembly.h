/* reassembly -- IP fragments back into datagrams, for captures (a socket gets this from the kernel).
 *
 * IPv4: where fragments overlap, the octets that came first stay (RFC 791 leaves it open; so nobody can
 * overwrite what was already checked). IPv6: an overlap drops the datagram and what still comes of it (RFC 5722),
 * except a repeat of octets already there (RFC 8200 section 4.5).
 * Bounded in datagrams, octets and capture time; the oldest gives way. One thread. */
#ifndef COLLECT_REASSEMBLY_H
#define COLLECT_REASSEMBLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct reassembly reassembly;

/* 0 in a member means its default. */
struct reassembly_limits {
    size_t datagrams; /* incomplete at one time; 1024 */
    size_t octets;    /* of all of them with their bookkeeping; 16 MiB */
    int64_t life_ns;  /* capture time since the first fragment; 30 s */
};

/* One datagram's fragments share these (RFC 791 section 3.2, RFC 8200 section 4.5). Zero what is unused, padding
 * included: keys are compared as octets. */
struct reassembly_key {
    uint8_t src[16], dst[16];
    uint32_t id;
    uint8_t family; /* 4 or 6 */
    uint8_t proto;  /* IPv4 protocol; 0 for IPv6 */
    uint8_t zero[2];
};

struct reassembly_fragment {
    struct reassembly_key key;
    size_t offset;       /* octets, a multiple of 8 */
    bool more;           /* not the last one */
    uint8_t next;        /* protocol of the octets at offset 0; looked at for that fragment only */
    const uint8_t *data; /* borrowed during the call */
    size_t len;
    int64_t time_ns; /* capture time, any value; may step back */
};

enum reassembly_result {
    REASSEMBLY_WAITING,  /* kept, repeated or, of a datagram already given up, dropped */
    REASSEMBLY_COMPLETE, /* the datagram is in *out */
    REASSEMBLY_BROKEN,   /* impossible offset or length; why is in *out, nothing else changed */
    REASSEMBLY_DROPPED, /* its datagram had to be given up: overlap or contradicting ends, or no memory */
};

struct reassembly_datagram {
    const uint8_t
        *data; /* COMPLETE: the datagram behind its IP header, borrowed until the next call */
    size_t len;
    uint8_t next;    /* of the fragment at offset 0 */
    const char *why; /* BROKEN, DROPPED: static text */
};

reassembly *
reassembly_new(const struct reassembly_limits *limits); /* NULL limits: defaults; NULL: no memory */
void reassembly_free(reassembly *r);                    /* takes NULL */

enum reassembly_result reassembly_add(reassembly *r, const struct reassembly_fragment *f,
                                      struct reassembly_datagram *out);

/* Give up what is incomplete: the end of the capture. */
void reassembly_finish(reassembly *r);

uint64_t reassembly_lost(const reassembly *r); /* fragments of datagrams given up, so far */
size_t reassembly_octets(const reassembly *r); /* held now; never above limits.octets */
size_t
reassembly_waiting(const reassembly *r); /* datagrams held now; never above limits.datagrams */

#endif
