/* inbox -- datagrams of a socket, taken by a thread of its own that knows nothing of Python.
 *
 * An interpreter runs one thread at a time and lets another in only every few milliseconds; in that time a busy port
 * brings more than the buffer of a socket holds. So that nothing is lost, a native thread empties the socket with
 * recvmmsg(2) into memory of a limit; at the limit it stops reading and the kernel, whose counter is read, drops.
 * One producer (the thread) and one consumer at a time (inbox_first, inbox_pop: under the GIL). */
#ifndef WEIR_PY_INBOX_H
#define WEIR_PY_INBOX_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct inbox inbox;

union inbox_addr {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
};

struct inbox_packet {
    int64_t ns;            /* arrival, nanoseconds since 1970-01-01 UTC */
    union inbox_addr from; /* what the family does not use is zero: may be compared as octets */
    uint32_t len;          /* octets of data */
    const uint8_t *data;   /* borrowed until inbox_pop */
};

struct inbox_counts {
    uint64_t packets, octets; /* received */
    uint64_t waiting;         /* packets not yet popped */
    uint64_t dropped;         /* by the kernel, since inbox_new */
};

/* Receive from a bound UDP socket until inbox_free.
 *   fd      copied: the caller may close his own at any time; gets SO_TIMESTAMPNS and a receive buffer
 *   limit   octets that wait in memory, exceeded by less than 5 MiB
 *   buffer  octets of the kernel's buffer to ask for
 * In a process that is forked it has ended: the packets are the parent's, and nothing that is called there touches them.
 * NULL with errno: no memory, no thread, fd is no socket. */
inbox *inbox_new(int fd, size_t limit, size_t buffer);

/* Close and free all; NULL is fine. Waits for the thread: without the GIL. In a process that was forked since,
 * where the thread does not exist, the memory is left alone. */
void inbox_free(inbox *b);

/* The oldest packet, or NULL when there is none now. */
const struct inbox_packet *inbox_first(inbox *b);
/* Done with what inbox_first returned. */
void inbox_pop(inbox *b);

/* Until there is a packet, inbox_wake (true), the end, or timeout_ms (-1: no limit) is over; without the GIL. */
bool inbox_wait(inbox *b, int timeout_ms);
/* End a wait, or the next one. */
void inbox_wake(inbox *b);

/* Take no packet that arrives from now on; what has arrived is still delivered, then the thread ends. */
void inbox_finish(inbox *b);
/* Take nothing more at once; what is in memory is still delivered. */
void inbox_stop(inbox *b);
/* Stop, wait for the thread and let the socket go; without the GIL. What is in memory is still delivered. */
void inbox_close(inbox *b);
/* True: the thread has ended and nothing is left. *why: errno of what ended it, 0 when it was asked to. */
bool inbox_ended(inbox *b, int *why);

void inbox_count(inbox *b, struct inbox_counts *c);

#endif
