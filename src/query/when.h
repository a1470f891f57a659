/* when -- moments as people write them: 2026-11-22T21:05, 2026/11/22.21:05:00.5, 2026, with Z or +01:00 behind. */
#ifndef QUERY_WHEN_H
#define QUERY_WHEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct query_when {
    int64_t us;      /* its beginning */
    int64_t span_us; /* how long what was written is: a year, a minute, a millisecond; at least 1 */
    size_t used;     /* octets of the text */
};

/* The moment that text[len] begins with, in local time unless a Z or an offset stands behind. Parts may be missing from the
 * end, the year (4 digits, 1970 to 2261) must be there. NULL: good; else what is wrong, a static text. */
const char *query_when_parse(const char *text, size_t len, struct query_when *out);

#endif
