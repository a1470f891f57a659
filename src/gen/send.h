/* send -- packets to a collector over UDP, as many at once as the kernel takes, at a rate.
 *
 * Every exporter has a socket of its own: to a collector on 127.0.0.0/8 it sends from its own address
 * (gen_exporter_address), to others from its own port. */
#ifndef GEN_SEND_H
#define GEN_SEND_H

#include "gen/way.h"

struct gen_send_options {
    const char *to;     /* "HOST:PORT", "[ADDR]:PORT"; borrowed */
    uint32_t exporters; /* as many sockets */
    double rate;        /* units (as gen_send_put counts them) a second, 0: as fast as possible */
    bool
        segments; /* hand runs of packets of one size to the kernel as one (UDP_SEGMENT), which is quicker */
};

struct gen_send_counts {
    uint64_t refused; /* times that the other host said: nobody listens there */
    uint64_t failed;  /* packets that the kernel did not take */
    int error;        /* errno of the last of those */
};

typedef struct gen_send gen_send;

/* WEIR_EINVAL: `to` is not a host and a port, or there is no such host; WEIR_EIO: no socket; WEIR_ENOMEM. */
weir_status gen_send_new(const struct gen_send_options *o, gen_send **out, weir_err *err);
void gen_send_free(gen_send *s);

/* Wait until more may be sent by the rate. To be called before a packet is stamped, so that its header tells when it
 * left. Ends early when *stop becomes true. */
void gen_send_wait(gen_send *s, const volatile bool *stop);
/* Queue a packet; a batch that is full is sent. units: what the packet counts for in the rate. */
weir_status gen_send_put(gen_send *s, const struct gen_out *o, double units, weir_err *err);
/* Send what is queued: before data that stays is changed. */
void gen_send_flush(gen_send *s);

const struct gen_send_counts *gen_send_counts(const gen_send *s);

/* The address that an exporter sends from, as text; valid until s is freed. */
const char *gen_send_address(const gen_send *s, uint32_t exporter);
uint16_t gen_send_port(const gen_send *s, uint32_t exporter);

#endif
