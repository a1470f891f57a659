/* socket -- UDP sockets that receive in batches and know what the kernel had to drop. */
#ifndef COLLECT_SOCKET_H
#define COLLECT_SOCKET_H

#include <weir/record.h>

struct sock {
    int fd;
    char name[WEIR_ENDPOINT_TEXT]; /* "127.0.0.1:2055": the address it is bound to */
    weir_endpoint at;
    uint64_t receive_buffer;    /* octets granted */
    uint64_t datagrams, octets; /* the owner's to count */
    uint64_t kernel_drops;
    uint32_t drops_seen; /* the kernel's counter, modulo 2^32 */
};

/* A datagram, or several of one sender that the kernel gave in one go: each `segment` octets, the last one what is left. */
struct sock_message {
    weir_endpoint from;
    int64_t received_ns; /* by the kernel's clock on arrival */
    const uint8_t *data;
    size_t len, segment;
};

enum { SOCK_BATCH = 64, SOCK_SEGMENTS = 64 /* most datagrams of one message */ };

/* Room for one batch: 64 datagrams of the largest size, touched as far as they are used. */
typedef struct sock_batch sock_batch;
sock_batch *sock_batch_new(void); /* NULL: out of memory */
void sock_batch_free(sock_batch *b);

/* "192.0.2.1:2055", "[2001:db8::1]:2055", "[::]:0" -> *e. WEIR_EINVAL: err says what is missing. */
weir_status sock_parse(const char *text, weir_endpoint *e, weir_err *err);

/* The first address of a host name or number with this port. WEIR_ENOTFOUND. */
weir_status sock_resolve(const char *host, uint16_t port, weir_endpoint *e, weir_err *err);

/* Bind *s to `at` (port 0: any free one). shared: others may be bound to the same address (steer.h); nobody else must be
 * bound to it yet when the first of them is opened, which a socket that is not shared finds out; such a socket takes
 * nothing until sock_begin. An IPv6 socket takes IPv6 alone, so that 0.0.0.0 and :: can both be had
 * at one port. asked: octets of receive buffer; what is granted goes to s->receive_buffer.
 * WEIR_EIO: err names the address, the reason and a remedy; errno is kept. */
weir_status sock_open(struct sock *s, const weir_endpoint *at, uint64_t asked, bool shared,
                      weir_err *err);
void sock_close(struct sock *s);

/* A shared socket takes datagrams from now on: all are bound and steered (steer.h). */
void sock_begin(struct sock *s);

/* What has arrived, up to SOCK_BATCH: messages borrow from b until the next call. 0: nothing (or a transient error,
 * *failed says which errno). Counts the kernel's drops into s. */
size_t sock_receive(struct sock *s, sock_batch *b, struct sock_message *out, int *failed);

/* The kernel's counter was read. An older reading changes nothing. */
void sock_see_drops(struct sock *s, uint32_t drops);

/* Bring s->kernel_drops up to date also when nothing arrives any more. */
void sock_count_drops(struct sock *s);

#endif
