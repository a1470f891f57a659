/* steer -- which worker an exporter belongs to: by its address alone, so that all its traffic meets one decoder from
 * whatever ports it comes. The kernel works the same out for sockets that share a port. */
#ifndef COLLECT_STEER_H
#define COLLECT_STEER_H

#include <weir/record.h>

/* 0 .. n - 1. */
unsigned steer_of(const weir_endpoint *from, unsigned n);

/* Have the kernel give each datagram for the address that fd is bound to, to the socket of steer_of its sender: sockets are
 * counted in the order they were bound in. fd is one of n sockets with SO_REUSEPORT, all of them bound. False: this kernel
 * cannot (errno). */
bool steer_attach(int fd, unsigned family, unsigned n);

#endif
