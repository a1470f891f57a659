/* ipfix_message -- rows as IPFIX messages (RFC 7011): what `weir ship ipfix://` sends. Nothing here does I/O.
 *
 * A row becomes a data record of exactly what it has: a template for each set of columns that rows have together, addresses of
 * IPv4 and of IPv6 being different elements. The id of a template follows from its fields, so that it is the same after a
 * restart. A message is of one observation domain, that of its rows. Sequence numbers count data records of the domain.
 *
 *     ship_ipfix_columns(m, extras, n_extras, &fields, &n, &err);    before the first block, and where extras change
 *     ship_ipfix_put(m, block, now_ns, export_s, &err);              m->messages[0..n_messages) are made, to be sent in order
 */
#ifndef SHIP_IPFIX_MESSAGE_H
#define SHIP_IPFIX_MESSAGE_H

#include "base/buf.h"
#include "query/run.h"

enum {
    SHIP_IPFIX_PORT = 4739,         /* registered with IANA */
    SHIP_IPFIX_LEAST_MESSAGE = 256, /* octets */
    SHIP_IPFIX_MOST_MESSAGE = 65000 /* fits a datagram, of IPv4 and of IPv6 */
};

struct ship_ipfix_options {
    size_t message; /* octets at most, but for a record that is larger alone */
    bool
        stream; /* templates once a session, withdrawn where there are too many (TCP); else told again */
    uint32_t
        refresh_s; /* templates are told again so often at least; after 1, 2, 4 ... s at first */
    void (*say)(void *user, const char *text); /* what is left out, once each; may be NULL */
    void *user;
};

struct ship_ipfix_message {
    size_t off, len; /* in ship_ipfix_octets */
    uint32_t records;
};

typedef struct ship_ipfix ship_ipfix;

ship_ipfix *ship_ipfix_new(const struct ship_ipfix_options *o); /* NULL: out of memory */
void ship_ipfix_free(ship_ipfix *m);                            /* takes NULL */

/* The columns that blocks must have, where files have these extra ones (copied); borrowed until the next call. WEIR_ENOMEM. */
weir_status ship_ipfix_columns(ship_ipfix *m, const struct query_field *extras, size_t n_extras,
                               const struct query_field **fields, size_t *n, weir_err *err);

/* A new session: all templates are told again. keep_sequence: numbers go on (the same process sends, over UDP). */
void ship_ipfix_session(ship_ipfix *m, bool keep_sequence);

/* The messages of all rows of a block. now_ns: any clock that does not jump; export_s: seconds since 1970. Rows of one domain
 * and template stay in order. WEIR_ENOMEM: nothing of it is to be sent. */
weir_status ship_ipfix_put(ship_ipfix *m, const struct query_block *b, int64_t now_ns,
                           uint32_t export_s, weir_err *err);
/* Of the last put; borrowed until the next one. */
const struct ship_ipfix_message *ship_ipfix_messages(const ship_ipfix *m, size_t *n);
const uint8_t *ship_ipfix_octets(const ship_ipfix *m);
/* Messages from this one on were not sent: their sequence numbers come again. */
void ship_ipfix_take_back(ship_ipfix *m, size_t from);

#endif
