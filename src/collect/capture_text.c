/* capture_text -- payloads without a capture around them: a file that is one (RAW), or hex text, one a line. */
#include "base/err.h"
#include "collect/capture_form.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* What a file is that was taken for a payload only because nothing else fits, NULL: unknown. Every payload begins
 * with a zero octet, so none of these can be one. */
static const char *mistaken(const uint8_t *data, size_t n)
{
    if (n >= 4 && memcmp(data,
                         "\xfd"
                         "7zX",
                         4) == 0)
        return "xz compression is not read here (xz -dc it into standard input)";
    if (n >= 4 && memcmp(data, "\x28\xb5\x2f\xfd", 4) == 0)
        return "zstd compression is not read here (zstd -dc it into standard input)";
    if (data[0] == '{')
        return "JSON, not packets ('weir analyze' reads the files of a collector)";
    return NULL;
}

weir_status capture_raw_next(capture *c, struct capture_packet *p, weir_err *err)
{
    c->ended = true;
    const uint8_t *data;
    size_t n = source_peek(c->src, CAPTURE_PAYLOAD_MAX + 1, &data);
    WEIR_TRY(source_status(c->src, err));
    if (n == 0)
        return weir_err_set(err, WEIR_ETRUNC, 0, "%s: the file is empty", source_name(c->src));
    const char *what = c->guessed ? mistaken(data, n) : NULL;
    if (what)
        return weir_err_set(err, WEIR_EFORMAT, 0, "%s: %s", source_name(c->src), what);
    if (n > CAPTURE_PAYLOAD_MAX)
        return weir_err_set(err, WEIR_EFORMAT, CAPTURE_PAYLOAD_MAX,
                            "%s: more than the %d octets of one payload (%s)", source_name(c->src),
                            CAPTURE_PAYLOAD_MAX,
                            c->guessed ? "nor is it pcap, pcapng, IPFIX or hex"
                                       : "give a file for each payload");
    c->n.frames++;
    p->data = data;
    p->len = n;
    p->number = 1;
    capture_describe(c, p, WEIR_UDP);
    return WEIR_OK;
}

static int hex_digit(uint8_t ch)
{
    if (ch >= '0' && ch <= '9')
        return ch - '0';
    ch |= 0x20;
    return ch >= 'a' && ch <= 'f' ? ch - 'a' + 10 : -1;
}

static bool is_space(uint8_t ch)
{
    return ch == ' ' || ch == '\t' || ch == '\r' || ch == '\f' || ch == '\v' || ch == ':';
}

/* One line read octet by octet. */
struct line {
    uint64_t column; /* of the octet that was read last, from 1 */
    size_t len;      /* octets of payload */
    int high;        /* first digit of a pair, -1: none */
    bool comment;
    uint64_t bad; /* column of what spoilt it, 0: good */
    const char *why;
};

static void line_octet(struct line *l, uint8_t ch, uint8_t *payload)
{
    int digit = hex_digit(ch);
    l->column++;
    if (l->comment || l->bad || is_space(ch)) {
        return;
    } else if (ch == '#') {
        l->comment = true;
    } else if (l->high == 0 && (ch | 0x20) == 'x') {
        l->high = -1; /* 0x */
    } else if (digit < 0) {
        l->bad = l->column;
        l->why = "not a hex digit";
    } else if (l->high < 0) {
        l->high = digit;
    } else if (l->len == CAPTURE_PAYLOAD_MAX) {
        l->bad = l->column;
        l->why = "more than 65535 octets, the most one payload can have";
    } else {
        payload[l->len++] = (uint8_t)(l->high << 4 | digit);
        l->high = -1;
    }
}

/* Read up to and with the line's end. False: nothing was left, or reading failed within the line. */
static bool read_line(capture *c, struct line *l)
{
    *l = (struct line){.high = -1};
    bool any = false;
    for (;;) {
        const uint8_t *text;
        size_t n = source_peek(c->src, 1, &text), i = 0;
        if (n == 0)
            return any && source_status(c->src, NULL) == WEIR_OK;
        any = true;
        while (i < n && text[i] != '\n')
            line_octet(l, text[i++], c->payload);
        source_skip(c->src, i < n ? i + 1 : i);
        if (i < n)
            return true;
    }
}

weir_status capture_hex_next(capture *c, struct capture_packet *p, weir_err *err)
{
    if (!c->payload && !(c->payload = malloc(CAPTURE_PAYLOAD_MAX))) {
        c->ended = true;
        return weir_err_set(err, WEIR_ENOMEM, 0, "%s: out of memory", source_name(c->src));
    }
    for (;;) {
        struct line l;
        uint64_t at = source_offset(c->src);
        if (!read_line(c, &l)) {
            c->ended = true;
            WEIR_TRY(source_status(c->src, err));
            return WEIR_END;
        }
        c->line++;
        if (!l.bad && l.high >= 0) {
            l.bad = l.column;
            l.why = "odd number of hex digits";
        }
        if (l.bad) {
            c->n.frames++;
            c->n.broken++;
            return weir_err_set(err, WEIR_EFORMAT, at + l.bad - 1,
                                "%s: line %" PRIu64 ", column %" PRIu64 ": %s", source_name(c->src),
                                c->line, l.bad, l.why);
        }
        if (l.len == 0)
            continue;
        c->n.frames++;
        p->data = c->payload;
        p->len = l.len;
        p->number = c->line;
        p->offset = at;
        capture_describe(c, p, WEIR_UDP);
        return WEIR_OK;
    }
}
