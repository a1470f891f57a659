/* file -- where packets and flows are written to: captures, length-prefixed payloads, CSV. */
#ifndef GEN_FILE_H
#define GEN_FILE_H

#include "base/buf.h"
#include "gen/way.h"

/* An output that is written in large pieces. Zero-initialise; gen_file_done closes it. */
struct gen_file {
    const char *name; /* for messages */
    int fd;
    bool open;
    base_buf buf;
    uint16_t ident; /* of the next IPv4 packet */
};

/* Create path ("-": standard output) and put the file's head into it. WEIR_EIO: err says why and what to do. */
weir_status gen_file_open_pcap(struct gen_file *f, const char *path, weir_err *err);
weir_status gen_file_open_payload(struct gen_file *f, const char *path, weir_err *err);
weir_status gen_file_open_csv(struct gen_file *f, const char *path, weir_err *err);

/* The addresses of exporter i (0 to GEN_MOST_EXPORTERS - 1): 127.0.1.1 and up, 250 in each /24, host order; a source port that is
 * its own for the first 20000. */
enum { GEN_MOST_EXPORTERS = 60000 };
uint32_t gen_exporter_address(uint32_t i);
uint16_t gen_exporter_port(uint32_t i);

/* An Ethernet frame with one UDP datagram from an exporter to 127.0.0.1, captured at o->now_ms. Classic pcap,
 * little-endian. */
weir_status gen_file_pcap(struct gen_file *f, const struct gen_out *o, uint16_t port,
                          weir_err *err);
/* Little-endian length and exporter, 4 octets each, then the payload. */
weir_status gen_file_payload(struct gen_file *f, const struct gen_out *o, weir_err *err);
/* A line a flow, from the kept flows of p. address: the exporter's, as text. */
weir_status gen_file_csv(struct gen_file *f, const struct gen_packet *p, const char *address,
                         weir_err *err);

/* Write what is buffered and close. */
weir_status gen_file_close(struct gen_file *f, weir_err *err);
/* The same on the way out of a failure: nothing is written any more. */
void gen_file_done(struct gen_file *f);

#endif
