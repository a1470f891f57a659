#include "base/text.h"

#include <math.h>
#include <string.h>

static inline bool continues(uint8_t c)
{
    return (c & 0xc0) == 0x80;
}

size_t base_utf8_len(const uint8_t *p, size_t left)
{
    if (left == 0)
        return 0;
    if (p[0] < 0x80)
        return 1;
    if (p[0] < 0xc2) /* a continuation, or an overlong form of ASCII */
        return 0;
    if (p[0] < 0xe0)
        return left >= 2 && continues(p[1]) ? 2 : 0;
    if (p[0] < 0xf0) {
        if (left < 3 || !continues(p[1]) || !continues(p[2]))
            return 0;
        if (p[0] == 0xe0 && p[1] < 0xa0) /* overlong */
            return 0;
        if (p[0] == 0xed && p[1] > 0x9f) /* surrogate */
            return 0;
        return 3;
    }
    if (p[0] > 0xf4 || left < 4 || !continues(p[1]) || !continues(p[2]) || !continues(p[3]))
        return 0;
    if (p[0] == 0xf0 && p[1] < 0x90) /* overlong */
        return 0;
    if (p[0] == 0xf4 && p[1] > 0x8f) /* above U+10FFFF */
        return 0;
    return 4;
}

bool base_utf8_ok(const uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len;) {
        if (p[i] < 0x80) {
            i++;
            continue;
        }
        size_t n = base_utf8_len(p + i, len - i);
        if (n == 0)
            return false;
        i += n;
    }
    return true;
}

/* Octets at p that can stand in a JSON string as they are. */
static size_t plain_len(const uint8_t *p, size_t len)
{
    size_t i = 0;
    const uint64_t ones = 0x0101010101010101, high = 0x8080808080808080;
    for (; len - i >= 8; i += 8) {
        uint64_t v;
        memcpy(&v, p + i, 8);
        uint64_t quote = v ^ ones * '"', slash = v ^ ones * '\\', del = v ^ ones * 0x7f;
        /* The usual test for a zero octet, and for one below 0x20; a false alarm only costs the slow loop. */
        uint64_t odd = v | (v - ones * 0x20) | (quote - ones) | (slash - ones) | (del - ones);
        if (odd & high)
            break;
    }
    while (i < len && p[i] >= 0x20 && p[i] < 0x7f && p[i] != '"' && p[i] != '\\')
        i++;
    return i;
}

static uint32_t code_point(const uint8_t *p, size_t n)
{
    switch (n) {
    case 1:
        return p[0];
    case 2:
        return (uint32_t)(p[0] & 0x1f) << 6 | (p[1] & 0x3f);
    case 3:
        return (uint32_t)(p[0] & 0x0f) << 12 | (uint32_t)(p[1] & 0x3f) << 6 | (p[2] & 0x3f);
    default:
        return (uint32_t)(p[0] & 0x07) << 18 | (uint32_t)(p[1] & 0x3f) << 12 |
               (uint32_t)(p[2] & 0x3f) << 6 | (p[3] & 0x3f);
    }
}

static void add_u(base_buf *b, uint32_t unit)
{
    char text[6] = {'\\', 'u'};
    const uint8_t octets[2] = {(uint8_t)(unit >> 8), (uint8_t)unit};
    base_hex_text(text + 2, octets, 2);
    base_buf_add(b, text, sizeof text);
}

static void add_escaped(base_buf *b, uint32_t c)
{
    /* clang-format off */
    static const char shorts[128] = {
        ['"'] = '"', ['\\'] = '\\', ['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't',
    };
    /* clang-format on */
    if (c < 128 && shorts[c]) {
        base_buf_char(b, '\\');
        base_buf_char(b, shorts[c]);
    } else if (c < 0x10000) {
        add_u(b, c);
    } else {
        add_u(b, 0xd800 + ((c - 0x10000) >> 10));
        add_u(b, 0xdc00 + ((c - 0x10000) & 0x3ff));
    }
}

void base_json_string(base_buf *b, const void *p, size_t len, bool ascii)
{
    const uint8_t *at = p;
    base_buf_char(b, '"');
    while (len) {
        size_t n = plain_len(at, len);
        base_buf_add(b, at, n);
        at += n;
        len -= n;
        if (!len)
            break;
        n = base_utf8_len(at, len);
        if (n == 0) {
            if (ascii)
                base_buf_str(b, "\\ufffd");
            else
                base_buf_str(b, "\xef\xbf\xbd");
            n = 1;
        } else {
            uint32_t c = code_point(at, n);
            /* U+0080 to U+009F are control characters too: a terminal may obey them. */
            if (ascii || c < 0xa0)
                add_escaped(b, c);
            else
                base_buf_add(b, at, n);
        }
        at += n;
        len -= n;
    }
    base_buf_char(b, '"');
}

void base_json_hex(base_buf *b, const uint8_t *p, size_t len)
{
    char *at = base_buf_room(b, 2 * len + 2);
    if (!at)
        return;
    *at = '"';
    base_hex_text(at + 1, p, len);
    at[2 * len + 1] = '"';
    b->len += 2 * len + 2;
}

void base_json_f64(base_buf *b, double v)
{
    if (isnan(v)) {
        base_buf_str(b, "\"NaN\"");
    } else if (isinf(v)) {
        base_buf_str(b, v > 0 ? "\"Infinity\"" : "\"-Infinity\"");
    } else {
        char *at = base_buf_room(b, BASE_F64_TEXT);
        if (at)
            b->len += base_f64_text(at, v);
    }
}
