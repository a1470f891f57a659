#include "base/text.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* clang-format off */
static const char pairs[201] =
    "00010203040506070809101112131415161718192021222324252627282930313233343536373839404142434445464748"
    "49505152535455565758596061626364656667686970717273747576777879808182838485868788899091929394959697"
    "9899";

/* Every octet with a '.' behind it, for one unconditional 4-octet copy. */
#define TENS(p) p "0.", p "1.", p "2.", p "3.", p "4.", p "5.", p "6.", p "7.", p "8.", p "9."
static const char octets[256][4] = {
    TENS(""), TENS("1"), TENS("2"), TENS("3"), TENS("4"), TENS("5"), TENS("6"), TENS("7"), TENS("8"), TENS("9"),
    TENS("10"), TENS("11"), TENS("12"), TENS("13"), TENS("14"), TENS("15"), TENS("16"), TENS("17"), TENS("18"),
    TENS("19"), TENS("20"), TENS("21"), TENS("22"), TENS("23"), TENS("24"),
    "250.", "251.", "252.", "253.", "254.", "255.",
};

static const uint64_t powers[20] = {
    1ULL, 10ULL, 100ULL, 1000ULL, 10000ULL, 100000ULL, 1000000ULL, 10000000ULL, 100000000ULL, 1000000000ULL,
    10000000000ULL, 100000000000ULL, 1000000000000ULL, 10000000000000ULL, 100000000000000ULL,
    1000000000000000ULL, 10000000000000000ULL, 100000000000000000ULL, 1000000000000000000ULL,
    10000000000000000000ULL,
};
/* clang-format on */

static const char hex_digits[16] = "0123456789abcdef";

static unsigned n_digits(uint64_t v)
{
    /* log10 from log2 (1233 / 4096 is a little above log10 2), then corrected by one comparison */
    unsigned bits = 64U - (unsigned)__builtin_clzll(v | 1);
    unsigned guess = bits * 1233 >> 12;
    return guess + (v >= powers[guess]) + (v == 0);
}

static void put_pair(char *out, unsigned v)
{
    memcpy(out, pairs + 2 * (size_t)v, 2);
}

/* Exactly n digits of v, zeros in front. */
static void put_digits(char *out, uint64_t v, unsigned n)
{
    while (n > 9 && v > UINT32_MAX) {
        put_pair(out + n - 2, (unsigned)(v % 100));
        v /= 100;
        n -= 2;
    }
    uint32_t small = (uint32_t)v; /* fits: with n <= 9 digits left, or v <= UINT32_MAX */
    while (n >= 2) {
        put_pair(out + n - 2, small % 100);
        small /= 100;
        n -= 2;
    }
    if (n)
        out[0] = (char)('0' + small % 10);
}

size_t base_u64_text(char *out, uint64_t v)
{
    unsigned n = n_digits(v);
    put_digits(out, v, n);
    return n;
}

size_t base_s64_text(char *out, int64_t v)
{
    if (v >= 0)
        return base_u64_text(out, (uint64_t)v);
    *out = '-';
    return 1 + base_u64_text(out + 1, 0 - (uint64_t)v);
}

size_t base_be_text(char *out, const uint8_t *p, size_t len)
{
    unsigned __int128 v = 0;
    for (size_t i = 0; i < len; i++)
        v = v << 8 | p[i];
    if (v >> 64 == 0)
        return base_u64_text(out, (uint64_t)v);
    const uint64_t ten19 = powers[19];
    unsigned __int128 high = v / ten19;
    uint64_t low = (uint64_t)(v % ten19);
    size_t n = 0;
    if (high >= ten19) { /* at most 34: 2^128 is 3.4e38 */
        n = base_u64_text(out, (uint64_t)(high / ten19));
        put_digits(out + n, (uint64_t)(high % ten19), 19);
        n += 19;
    } else {
        n = base_u64_text(out, (uint64_t)high);
    }
    put_digits(out + n, low, 19);
    return n + 19;
}

/* The significant digits of a finite v > 0, without trailing zeros, in digits[17]; returns how many.
 * *exp10: power of ten of the first one. */
static unsigned shortest_digits(double v, char *digits, int *exp10)
{
    char text[40];
    /* 15 digits survive the way through any normal double; subnormal ones have fewer. */
    for (int precision = v < DBL_MIN ? 0 : 14;; precision++) {
        snprintf(text, sizeof text, "%.*e", precision, v);
        if (precision == 16 || strtod(text, NULL) == v) /* 17 digits always read back */
            break;
    }
    /* The point may be another character in another locale: whatever is no digit ahead of the 'e'. */
    unsigned n = 0;
    const char *at = text;
    for (; *at != 'e'; at++)
        if (*at >= '0' && *at <= '9' && n < 17)
            digits[n++] = *at;
    *exp10 = (int)strtol(at + 1, NULL, 10);
    while (n > 1 && digits[n - 1] == '0')
        n--;
    return n;
}

size_t base_f64_text(char *out, double v)
{
    char *at = out;
    if (signbit(v)) {
        *at++ = '-';
        v = -v;
    }
    if (v < 1e15 && v == (double)(uint64_t)v) {
        at += base_u64_text(at, (uint64_t)v);
        memcpy(at, ".0", 2);
        return (size_t)(at + 2 - out);
    }
    char digits[17];
    int exp10;
    int n = (int)shortest_digits(v, digits, &exp10);
    if (exp10 >= 16 || exp10 < -4) { /* the limits of Python's repr */
        *at++ = digits[0];
        if (n > 1) {
            *at++ = '.';
            memcpy(at, digits + 1, (size_t)n - 1);
            at += n - 1;
        }
        *at++ = 'e';
        *at++ = exp10 < 0 ? '-' : '+';
        unsigned e = (unsigned)abs(exp10);
        if (e < 10)
            *at++ = '0';
        at += base_u64_text(at, e);
    } else if (exp10 < 0) {
        memcpy(at, "0.0000", 6);
        at += 1 - exp10;
        memcpy(at, digits, (size_t)n);
        at += n;
    } else {
        for (int i = 0; i <= exp10 || i < n; i++) {
            if (i == exp10 + 1)
                *at++ = '.';
            *at++ = i < n ? digits[i] : '0';
        }
        if (n <= exp10 + 1) {
            memcpy(at, ".0", 2);
            at += 2;
        }
    }
    return (size_t)(at - out);
}

static inline size_t octet_len(uint8_t v)
{
    return 1U + (v > 9) + (v > 99);
}

size_t base_ipv4_text(char *out, const uint8_t addr[4])
{
    char *at = out;
    for (int i = 0; i < 3; i++) {
        memcpy(at, octets[addr[i]], 4);
        at += octet_len(addr[i]) + 1;
    }
    memcpy(at, octets[addr[3]], 3); /* a fourth octet could pass BASE_IPV4_TEXT */
    return (size_t)(at - out) + octet_len(addr[3]);
}

static char *put_group(char *at, const uint8_t *p)
{
    unsigned v = (unsigned)p[0] << 8 | p[1];
    if (v >= 0x1000)
        *at++ = hex_digits[v >> 12];
    if (v >= 0x100)
        *at++ = hex_digits[v >> 8 & 15];
    if (v >= 0x10)
        *at++ = hex_digits[v >> 4 & 15];
    *at++ = hex_digits[v & 15];
    return at;
}

size_t base_ipv6_groups_text(char *out, const uint8_t addr[16])
{
    /* RFC 5952 section 4.2: the longest run of at least two zero groups, the first of equals. */
    int best = -1, best_len = 1;
    for (int i = 0; i < 8; i++) {
        int run = 0;
        while (i + run < 8 && !addr[2 * (i + run)] && !addr[2 * (i + run) + 1])
            run++;
        if (run > best_len) {
            best = i;
            best_len = run;
        }
        i += run;
    }
    char *at = out;
    for (int i = 0; i < 8;) {
        if (i == best) {
            *at++ = ':';
            i += best_len;
            if (i == 8)
                *at++ = ':';
            continue;
        }
        if (i)
            *at++ = ':';
        at = put_group(at, addr + 2 * (size_t)i);
        i++;
    }
    return (size_t)(at - out);
}

size_t base_ipv6_text(char *out, const uint8_t addr[16])
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    if (memcmp(addr, mapped, sizeof mapped) == 0) {
        memcpy(out, "::ffff:", 7);
        return 7 + base_ipv4_text(out + 7, addr + 12);
    }
    return base_ipv6_groups_text(out, addr);
}

size_t base_hex_text(char *out, const uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        out[2 * i] = hex_digits[p[i] >> 4];
        out[2 * i + 1] = hex_digits[p[i] & 15];
    }
    return 2 * len;
}

size_t base_mac_text(char *out, const uint8_t addr[6])
{
    for (size_t i = 0; i < 6; i++) {
        if (i)
            out[3 * i - 1] = ':';
        base_hex_text(out + 3 * i, addr + i, 1);
    }
    return BASE_MAC_TEXT;
}

size_t base_time_text(char *out, int64_t ns, unsigned digits)
{
    const int64_t second = 1000000000;
    int64_t s = ns / second;
    int64_t sub = ns % second;
    if (sub < 0) { /* before 1970: seconds go down, the part of a second still counts up */
        sub += second;
        s--;
    }
    int64_t day = s / 86400;
    int64_t left = s % 86400;
    if (left < 0) {
        left += 86400;
        day--;
    }
    /* Days to a proleptic Gregorian date, years counted from March so that the leap day comes last. 719468 days
     * lie between 0000-03-01 and 1970-01-01; int64 nanoseconds span the years 1677 to 2262, so z is positive. */
    uint32_t z = (uint32_t)(day + 719468);
    uint32_t era = z / 146097;
    uint32_t day_of_era = z - era * 146097;
    uint32_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    uint32_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    uint32_t march_month = (5 * day_of_year + 2) / 153;
    uint32_t mday = day_of_year - (153 * march_month + 2) / 5 + 1;
    uint32_t month = march_month < 10 ? march_month + 3 : march_month - 9;
    uint32_t year = year_of_era + era * 400 + (month <= 2);
    uint32_t t = (uint32_t)left;

    put_pair(out, year / 100);
    put_pair(out + 2, year % 100);
    out[4] = '-';
    put_pair(out + 5, month);
    out[7] = '-';
    put_pair(out + 8, mday);
    out[10] = 'T';
    put_pair(out + 11, t / 3600);
    out[13] = ':';
    put_pair(out + 14, t / 60 % 60);
    out[16] = ':';
    put_pair(out + 17, t % 60);
    size_t n = 19;
    if (digits) {
        if (digits > 9)
            digits = 9;
        out[n++] = '.';
        put_digits(out + n, (uint64_t)sub / powers[9 - digits], digits);
        n += digits;
    }
    out[n++] = 'Z';
    return n;
}
