/* allow -- which senders may speak: a list of networks. */
#ifndef COLLECT_ALLOW_H
#define COLLECT_ALLOW_H

#include <weir/record.h>

struct allow_net {
    uint8_t family; /* 4 or 6 */
    uint8_t bits;   /* length of the prefix */
    uint8_t addr[16];
};

/* Zero-initialise to start: an empty list lets everybody in. */
struct allow {
    struct allow_net *nets;
    size_t n;
};

/* Add "192.0.2.0/24", "2001:db8::/32" or a single address. WEIR_EINVAL: no such network, or bits are set behind
 * the prefix (err says which network was probably meant); WEIR_ENOMEM. */
weir_status allow_add(struct allow *a, const char *cidr, weir_err *err);
bool allow_match(const struct allow *a, const weir_endpoint *from);
void allow_done(struct allow *a);

/* A numeric address without a port into *e (port 0, WEIR_UDP); false: it is none. */
bool allow_address(const char *text, weir_endpoint *e);

#endif
