/* text -- numbers, addresses and times as people and JSON read them, fast: these are the inner loop of every
 * text output. Each base_*_text writes at out, adds no NUL and returns the number of characters. */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include "base/buf.h"

#include <stdint.h>

enum {
    BASE_U64_TEXT = 20,
    BASE_S64_TEXT = 20,
    BASE_F64_TEXT = 32,
    BASE_IPV4_TEXT = 15,
    BASE_IPV6_TEXT = 45,
    BASE_MAC_TEXT = 17,
    BASE_TIME_TEXT = 36,
    BASE_U128_TEXT = 39
};

size_t base_u64_text(char *out, uint64_t v);
size_t base_s64_text(char *out, int64_t v);
/* The decimal value of a big-endian unsigned integer of len <= 16 octets (BASE_U128_TEXT). */
size_t base_be_text(char *out, const uint8_t *p, size_t len);
/* Shortest text that reads back as the same double, always with '.' or 'e' as Python's repr has it
 * (1.0, 0.1, 1e+22); NaN and infinities are for the caller. */
size_t base_f64_text(char *out, double v);
size_t base_ipv4_text(char *out, const uint8_t addr[4]);
/* RFC 5952; ::ffff:192.0.2.1 for mapped addresses, which is what inet_ntop gives. */
size_t base_ipv6_text(char *out, const uint8_t addr[16]);
/* The same without the dotted form of mapped addresses: ::ffff:c000:201, as Python's ipaddress writes it. */
size_t base_ipv6_groups_text(char *out, const uint8_t addr[16]);
size_t base_mac_text(char *out, const uint8_t addr[6]);        /* 00:00:5e:00:53:01 */
size_t base_hex_text(char *out, const uint8_t *p, size_t len); /* 2 * len lower-case digits */
/* "2026-11-22T21:05:00.123Z" with 0, 3, 6 or 9 digits of a second; ns since 1970, negative too. */
size_t base_time_text(char *out, int64_t ns, unsigned digits);

/* A JSON string with its quotes: p[len] is UTF-8; what is ill-formed becomes U+FFFD, octet by octet; control
 * characters are escaped. ascii: everything above U+007E as \uXXXX, as Python's json.dumps writes it. */
void base_json_string(base_buf *b, const void *p, size_t len, bool ascii);

/* p[len] as lower-case hex digits in quotes. */
void base_json_hex(base_buf *b, const uint8_t *p, size_t len);
/* A number as base_f64_text writes it; NaN and infinities, which JSON has not, as the strings "NaN", "Infinity" and
 * "-Infinity". */
void base_json_f64(base_buf *b, double v);

/* Length of the well-formed UTF-8 sequence at p (1 to 4), 0: ill-formed (overlong, surrogate, cut short). */
size_t base_utf8_len(const uint8_t *p, size_t left);
/* Whether all of p[len] is well-formed UTF-8. */
bool base_utf8_ok(const uint8_t *p, size_t len);

#endif
