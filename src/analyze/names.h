/* names -- host names of addresses, asked for many at a time with a limit on the time, and remembered; names of
 * services by port. */
#ifndef ANALYZE_NAMES_H
#define ANALYZE_NAMES_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- hosts: /etc/hosts and the DNS, as the system is set up ---- */

typedef struct names names;

struct names_options {
    uint64_t timeout_ms; /* for one name; 0: 2000 */
    uint32_t
        max_cached; /* names remembered, those without an answer too; 0: 65536. More than one batch */
    const char
        *servers; /* "192.0.2.1:5353,192.0.2.2" instead of the system's; NULL: the system's */
};

/* WEIR_ENOMEM; WEIR_EIO the resolver cannot start, msg says why. *out: names_free. WEIR_EINVAL: opts->servers is no list of
 * addresses. */
weir_status names_new(names **out, const struct names_options *opts, weir_err *err);
void names_free(names *n);

/* Ask for an address unless it is known; the answer comes with names_wait. family 4 or 6. */
void names_want(names *n, const uint8_t addr[16], uint8_t family);
/* Until all that were wanted have an answer or their time is over. */
void names_wait(names *n);
/* The name, valid until names_want; NULL: it has none, or none that is printable. */
const char *names_get(names *n, const uint8_t addr[16], uint8_t family);

/* No server answered any of the first few hundred questions: no more are asked. */
bool names_gave_up(const names *n);
uint64_t names_asked(const names *n);

/* ---- services: the system's database, read once ---- */

typedef struct services services;

services *services_new(void); /* NULL: out of memory */
void services_free(services *s);
/* The first service of the port, of any protocol; NULL: none. */
const char *services_of(const services *s, uint16_t port);

#endif
