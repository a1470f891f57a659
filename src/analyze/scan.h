/* scan -- a strict JSON reader (RFC 8259) that allocates nothing and makes no tree: it walks over one line and
 * the caller picks what it wants on the way. Besides RFC 8259 it takes NaN, Infinity and -Infinity, because
 * Python's json.dumps writes them.
 *
 * The line must be followed by a newline, which no JSON token can hold unescaped: every loop ends there, so
 * that no octet needs a check against the end. After a failure `why` names what was wrong at p. */
#ifndef ANALYZE_SCAN_H
#define ANALYZE_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SCAN_MAX_DEPTH = 64 };

typedef struct scan {
    const char *p, *end; /* *end == '\n' */
    const char *why;
} scan;

struct scan_number {
    unsigned __int128 value;
    bool whole; /* an integer from 0 to 2^128 - 1, and value holds it */
};

static inline scan scan_of(const char *text, size_t len)
{
    return (scan){text, text + len, NULL};
}

static inline bool scan_fail(scan *s, const char *why)
{
    s->why = why;
    return false;
}

static inline void scan_space(scan *s)
{
    while (*s->p == ' ' || *s->p == '\t' || *s->p == '\r')
        s->p++;
}

/* Take c when it stands next, after white space. */
static inline bool scan_is(scan *s, char c)
{
    scan_space(s);
    if (*s->p != c)
        return false;
    s->p++;
    return true;
}

/* A string: its inside as it stands in the line; *plain: it holds no escape. */
bool scan_string(scan *s, const char **at, size_t *len, bool *plain);
bool scan_number(scan *s, struct scan_number *n);
/* Any value, checked and passed over. depth: levels already entered. */
bool scan_skip(scan *s, unsigned depth);
/* After '{' or ','; leaves s behind the colon. */
bool scan_key(scan *s, const char **at, size_t *len, bool *plain);
/* After a value inside {} or []: true with *more, or at the end of it. */
bool scan_more(scan *s, char close, bool *more);
/* Only white space is left. */
bool scan_at_end(scan *s);

#endif
