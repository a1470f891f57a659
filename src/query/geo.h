/* geo -- one MaxMind-format database: countries, cities and autonomous systems of addresses. libmaxminddb opens it and
 * walks its tree; what it would believe of a hostile file is checked before, and values are read here within bounds.
 * MaxMind DB File Format Specification 2.0. */
#ifndef QUERY_GEO_H
#define QUERY_GEO_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct query_geo query_geo;

/* WEIR_EIO: it cannot be read; WEIR_EFORMAT: no such database, or a damaged one; WEIR_ENOMEM. */
weir_status query_geo_open(const char *path, query_geo **out, weir_err *err);
void query_geo_close(query_geo *g); /* takes NULL */

/* By the database's type, as its metadata has it ("GeoLite2-City"). A type that says nothing may have all. */
bool query_geo_has_country(const query_geo *g);
bool query_geo_has_city(const query_geo *g);
bool query_geo_has_as(const query_geo *g);

/* The data of an address: family 4 (the first four octets) or 6. False: the database has none. Any thread. */
struct query_geo_entry {
    const query_geo *g;
    uint32_t at;
};
bool query_geo_find(const query_geo *g, const uint8_t addr[16], int family,
                    struct query_geo_entry *out);

/* Well-formed UTF-8, borrowed from the database; false: there is none. */
bool query_geo_country(const struct query_geo_entry *e, const char **text, size_t *len);
bool query_geo_city(const struct query_geo_entry *e, const char **text, size_t *len);
bool query_geo_as_org(const struct query_geo_entry *e, const char **text, size_t *len);
uint32_t query_geo_as(const struct query_geo_entry *e); /* 0: none */

#endif
