/* connection -- two flows that are the two ways of one conversation, found by remembering each flow until its
 * counterpart comes; and the words that describe a connection. */
#ifndef ANALYZE_CONNECTION_H
#define ANALYZE_CONNECTION_H

#include "analyze/entry.h"
#include "base/buf.h"

enum pair_mode {
    PAIR_START, /* equal start time and exchanged addresses */
    PAIR_5TUPLE /* exchanged addresses and ports, equal protocol, overlapping times */
};

typedef struct pairing pairing;

/* slack_ms: PAIR_5TUPLE calls times overlapping that are at most this far apart. max_octets: memory for waiting
 * flows; when they need more the oldest are given up. NULL: out of memory. */
pairing *pairing_new(enum pair_mode mode, uint64_t slack_ms, size_t max_octets);
void pairing_free(pairing *p);

/* Find the waiting counterpart of f: WEIR_OK moves it to *peer; WEIR_END f waits now; WEIR_ENOMEM.
 * time_ms: arrival of f's packet in ms since 1970, for flows without times.
 *
 * PAIR_START on v9 is what netflow.analyzer does: a waiting flow is found by its start time and its source
 * alone, across exporters (those of one for FLOW_TIME_EPOCH_MS), and a later flow with the same two takes its
 * place. Other protocols, which that program cannot read, must match in both addresses, exporter, ports and
 * protocol too, and nothing takes a place; flows without times pair by these alone. */
weir_status pairing_find(pairing *p, const struct flow *f, int64_t time_ms, struct flow *peer);

/* Waiting flows given up for lack of memory. */
uint64_t pairing_dropped(const pairing *p);
size_t pairing_waiting(const pairing *p);

/* Flows still waiting, by start time and then in the order they came; *n_starts: different start times. The
 * array of pointers is freed by the caller, what they point at is p's. NULL with *n 0: none, or with *n > 0: out
 * of memory. */
const struct flow **pairing_left(const pairing *p, size_t *n, size_t *n_starts);

struct connection {
    struct flow src, dest; /* src: the flow with more octets; of equal ones the later */
};

struct connection connection_of(const struct flow *later, const struct flow *earlier);

/* Of con->src, with the wrap of 32-bit uptimes; negative only where 64-bit uptimes run backwards. */
int64_t connection_duration_ms(const struct connection *c);
unsigned __int128 connection_packets(const struct connection *c);

/* "512B", "1.50K", "2.00M", "1.00G"; "5 sec", "02:05 min", "1:02.03 hours". */
void size_text(base_buf *b, uint64_t octets);
void duration_text(base_buf *b, int64_t ms);
/* RFC 5952, but never with a dotted end: as Python's ipaddress writes it. */
void address_text(base_buf *b, const uint8_t addr[16], uint8_t family);

#endif
