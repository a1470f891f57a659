/* unit -- what every unit test includes first of all: cmocka after the headers it needs, and a few helpers. */
#ifndef TESTS_UNIT_H
#define TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* Values of an array, a table of cases say. */
#define UNIT_N(a) (sizeof(a) / sizeof *(a))

/* The condition, or the test fails here with a printf message that tells the case and what came out. */
#define UNIT_CHECK(condition, ...)                                                                 \
    do {                                                                                           \
        if (!(condition))                                                                          \
            fail_msg(__VA_ARGS__);                                                                 \
    } while (0)

/* Octets of hex digits; white space between them does not count. Returns how many; anything else in the text or
 * more than cap octets ends the program, for it is a mistake in the test. */
static inline size_t unhex(const char *hex, uint8_t *out, size_t cap)
{
    size_t digits = 0;
    for (const char *at = hex; *at; at++) {
        unsigned v;
        if (*at == ' ' || *at == '\n' || *at == '\t')
            continue;
        if (*at >= '0' && *at <= '9')
            v = (unsigned)(*at - '0');
        else if (*at >= 'a' && *at <= 'f')
            v = (unsigned)(*at - 'a') + 10;
        else if (*at >= 'A' && *at <= 'F')
            v = (unsigned)(*at - 'A') + 10;
        else
            v = 16;
        if (v == 16 || digits / 2 == cap) {
            (void)fprintf(stderr, "unhex: %s at: %s\n", v == 16 ? "no hex digit" : "too long", at);
            abort();
        }
        out[digits / 2] = (uint8_t)(digits % 2 ? out[digits / 2] | v : v << 4);
        digits++;
    }
    if (digits % 2) {
        (void)fprintf(stderr, "unhex: odd number of digits: %s\n", hex);
        abort();
    }
    return digits / 2;
}

#endif
