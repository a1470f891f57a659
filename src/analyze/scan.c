#include "analyze/scan.h"

#include "base/text.h"

#include <string.h>

/* Octets that stand for themselves in a string: everything printable but '"' and '\\', below 0x80. */
static const bool plain_octet[256] = {
    [' ' ... '!'] = true, ['#' ... '['] = true, [']' ... 0x7f] = true};

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

bool scan_string(scan *s, const char **at, size_t *len, bool *plain)
{
    scan_space(s);
    if (*s->p != '"')
        return scan_fail(s, "a string was expected");
    const char *p = s->p + 1;
    *at = p;
    *plain = true;
    for (;;) {
        while (plain_octet[(unsigned char)*p])
            p++;
        if (*p == '"')
            break;
        s->p = p;
        if (*p == '\\') {
            *plain = false;
            if (p[1] == 'u') {
                for (int i = 2; i < 6; i++)
                    if (!is_hex(p[i])) /* stops at the newline too */
                        return scan_fail(s, "\\u needs four hexadecimal digits");
                p += 6;
            } else if (p[1] != '\n' && p[1] && strchr("\"\\/bfnrt", p[1])) {
                p += 2;
            } else {
                return scan_fail(s, "no such escape");
            }
        } else if ((unsigned char)*p >= 0x80) {
            size_t n = base_utf8_len((const uint8_t *)p, (size_t)(s->end - p));
            if (n == 0)
                return scan_fail(s, "ill-formed UTF-8");
            p += n;
        } else {
            return scan_fail(s, p == s->end ? "the line ends inside a string"
                                            : "control character in a string");
        }
    }
    *len = (size_t)(p - *at);
    s->p = p + 1;
    return true;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool word(scan *s, const char *w)
{
    size_t n = strlen(w);
    if ((size_t)(s->end - s->p) < n || memcmp(s->p, w, n) != 0)
        return scan_fail(s, "a value was expected");
    s->p += n;
    return true;
}

bool scan_number(scan *s, struct scan_number *n)
{
    scan_space(s);
    const char *p = s->p;
    bool minus = *p == '-';
    p += minus;
    n->whole = !minus;
    n->value = 0;
    if (!is_digit(*p)) {
        if (*p == 'I' || (*p == 'N' && !minus)) {
            n->whole = false;
            s->p = p;
            return word(s, *p == 'I' ? "Infinity" : "NaN");
        }
        return scan_fail(s, "a number was expected");
    }
    const char *first = p;
    uint64_t low = 0;
    for (; is_digit(*p) && p - first < 19; p++)
        low = low * 10 + (uint64_t)(*p - '0');
    n->value = low;
    for (; is_digit(*p); p++) {
        unsigned __int128 v = n->value;
        if (__builtin_mul_overflow(v, (unsigned __int128)10, &v) ||
            __builtin_add_overflow(v, (unsigned __int128)(unsigned)(*p - '0'), &v))
            n->whole = false;
        n->value = v;
    }
    if (*first == '0' && p - first > 1) {
        s->p = first;
        return scan_fail(s, "a number may not start with 0");
    }
    if (*p == '.') {
        n->whole = false;
        if (!is_digit(*++p))
            goto bad;
        while (is_digit(*p))
            p++;
    }
    if (*p == 'e' || *p == 'E') {
        n->whole = false;
        p++;
        p += *p == '+' || *p == '-';
        if (!is_digit(*p))
            goto bad;
        while (is_digit(*p))
            p++;
    }
    s->p = p;
    return true;
bad:
    s->p = p;
    return scan_fail(s, "a digit was expected");
}

bool scan_key(scan *s, const char **at, size_t *len, bool *plain)
{
    if (!scan_string(s, at, len, plain))
        return false;
    return scan_is(s, ':') || scan_fail(s, "':' was expected");
}

bool scan_more(scan *s, char close, bool *more)
{
    scan_space(s);
    *more = *s->p == ',';
    if (!*more && *s->p != close)
        return scan_fail(s, s->p == s->end ? "the line ends too early"
                            : close == '}' ? "',' or '}' was expected"
                                           : "',' or ']' was expected");
    s->p++;
    return true;
}

bool scan_at_end(scan *s)
{
    scan_space(s);
    return s->p == s->end || scan_fail(s, "something stands behind the value");
}

bool scan_skip(scan *s, unsigned depth)
{
    const char *at;
    size_t len;
    bool plain, more;
    struct scan_number n;
    scan_space(s);
    switch (*s->p) {
    case '"':
        return scan_string(s, &at, &len, &plain);
    case 't':
        return word(s, "true");
    case 'f':
        return word(s, "false");
    case 'n':
        return word(s, "null");
    case '{':
    case '[':
        break;
    default:
        return scan_number(s, &n);
    }
    if (depth >= SCAN_MAX_DEPTH)
        return scan_fail(s, "nested too deeply");
    bool object = *s->p++ == '{';
    char close = object ? '}' : ']';
    if (scan_is(s, close))
        return true;
    do {
        if (object && !scan_key(s, &at, &len, &plain))
            return false;
        if (!scan_skip(s, depth + 1) || !scan_more(s, close, &more))
            return false;
    } while (more);
    return true;
}
