/* pktq -- datagrams on their way from the thread that receives to the thread that decodes: a ring of octets with
 * one writer and one reader, without locks. Memory is taken as it is filled, and an empty ring starts again at its beginning, so
 * that little traffic touches little memory. */
#ifndef COLLECT_PKTQ_H
#define COLLECT_PKTQ_H

#include <weir/record.h>

typedef struct pktq pktq;

struct pktq_item {
    int64_t received_ns;
    weir_endpoint from;
    uint32_t len; /* octets at data */
    uint8_t data[];
};

/* octets: all of the ring, at least 256 KiB. NULL: out of memory. */
pktq *pktq_new(size_t octets);
void pktq_free(pktq *q);
size_t pktq_octets(const pktq *q); /* all of the ring */

/* Writer: put copies one datagram (len <= 65535), false: no room. What was put is seen by the reader after
 * commit. */
bool pktq_put(pktq *q, const weir_endpoint *from, int64_t received_ns, const void *data,
              size_t len);
bool pktq_fits(pktq *q, size_t len); /* pktq_put would have room */
void pktq_commit(pktq *q);
void pktq_close(pktq *q); /* commit; no more will come */

/* Reader: the oldest datagram not yet taken in this round, NULL: none. It and those taken before it stay valid
 * until release gives back the room of all taken. */
const struct pktq_item *pktq_take(pktq *q);
void pktq_release(pktq *q);
bool pktq_empty(pktq *q);  /* nothing waits, and all that was taken was released */
bool pktq_closed(pktq *q); /* closed, and all was taken and released */

/* Any thread: octets waiting, in thousandths of the ring. */
unsigned pktq_filled(pktq *q);

#endif
