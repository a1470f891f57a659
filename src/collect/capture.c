#include "collect/capture.h"

#include "base/err.h"
#include "collect/capture_form.h"

#include <stdlib.h>
#include <string.h>

enum {
    MAGIC_OCTETS = 4,
    DETECT_OCTETS = 512,
    V9_TIME_AT = 8, /* unix_secs of v1, v5, v7 and v9; nanoseconds follow in all but v9 */
    IPFIX_TIME_AT = 4
};

static const struct form {
    weir_status (*open)(capture *c, weir_err *err);
    weir_status (*next)(capture *c, struct capture_packet *p, weir_err *err);
} forms[] = {
    [CAPTURE_PCAP] = {capture_pcap_open, capture_pcap_next},
    [CAPTURE_IPFIX] = {NULL, capture_ipfix_next},
    [CAPTURE_RAW] = {NULL, capture_raw_next},
    [CAPTURE_HEX] = {NULL, capture_hex_next},
};

static bool is_pcap(const uint8_t *p, size_t len)
{
    static const uint8_t magics[][4] = {
        {0xa1, 0xb2, 0xc3, 0xd4},
        {0xd4, 0xc3, 0xb2, 0xa1}, /* microseconds */
        {0xa1, 0xb2, 0x3c, 0x4d},
        {0x4d, 0x3c, 0xb2, 0xa1}, /* nanoseconds */
        {0xa1, 0xb2, 0xcd, 0x34},
        {0x34, 0xcd, 0xb2, 0xa1}, /* longer record headers of old Linux tools */
        {0x0a, 0x0d, 0x0d, 0x0a}, /* pcapng */
    };
    for (size_t i = 0; len >= 4 && i < ARRAY_LEN(magics); i++) {
        if (memcmp(p, magics[i], 4) == 0)
            return true;
    }
    return false;
}

/* Hex digits, what may stand between them, and comments; a control character is in no text. */
static bool is_hex_text(const uint8_t *p, size_t len)
{
    bool comment = false;
    for (size_t i = 0; i < len; i++) {
        if (p[i] == '\n')
            comment = false;
        else if (p[i] == '#')
            comment = true;
        else if (comment ? p[i] < ' ' && p[i] != '\t' && p[i] != '\r'
                         : p[i] == 0 || !strchr("0123456789abcdefABCDEFxX: \t\r\f\v", p[i]))
            return false;
    }
    return len > 0;
}

static enum capture_form detect(const uint8_t *p, size_t len)
{
    if (is_pcap(p, len))
        return CAPTURE_PCAP;
    if (capture_ipfix_header(p, len))
        return CAPTURE_IPFIX;
    return is_hex_text(p, len < DETECT_OCTETS ? len : DETECT_OCTETS) ? CAPTURE_HEX : CAPTURE_RAW;
}

void capture_describe(const capture *c, struct capture_packet *p, weir_transport transport)
{
    p->from = c->o.from;
    p->from.transport = (uint8_t)transport;
    p->received_ns = c->o.received_ns;
    if (p->received_ns != 0 || p->len < 2)
        return;
    uint64_t version = weir_be(p->data, 2);
    if (version == 10 && p->len >= IPFIX_TIME_AT + 4) {
        p->received_ns = (int64_t)weir_be(p->data + IPFIX_TIME_AT, 4) * 1000000000;
    } else if ((version == 1 || version == 5 || version == 7 || version == 9) &&
               p->len >= V9_TIME_AT + 8) {
        uint64_t ns = version == 9 ? 0 : weir_be(p->data + V9_TIME_AT + 4, 4);
        p->received_ns = (int64_t)weir_be(p->data + V9_TIME_AT, 4) * 1000000000;
        p->received_ns += ns < 1000000000 ? (int64_t)ns : 0;
    }
}

static weir_status start(source *src, const struct capture_options *o, capture **out, weir_err *err)
{
    capture *c = calloc(1, sizeof *c);
    if (!c) {
        weir_err_set(err, WEIR_ENOMEM, 0, "%s: out of memory", source_name(src));
        source_close(src);
        return WEIR_ENOMEM;
    }
    c->src = src;
    if (o)
        c->o = *o;
    c->form = c->o.form;
    if (c->form == CAPTURE_AUTO) {
        /* The first octets tell binary forms; of a pipe, more may not have been written yet. */
        const uint8_t *p;
        size_t n = source_peek(src, MAGIC_OCTETS, &p);
        c->guessed = true;
        c->form = detect(p, n);
        if (c->form == CAPTURE_HEX || c->form == CAPTURE_RAW) {
            n = source_peek(src, DETECT_OCTETS, &p);
            c->form = detect(p, n);
        }
    }
    weir_status st = WEIR_OK;
    if ((unsigned)c->form >= ARRAY_LEN(forms))
        st = weir_err_set(err, WEIR_EINVAL, 0, "%s: no such form of a capture: %d",
                          source_name(src), (int)c->form);
    else if (forms[c->form].open)
        st = forms[c->form].open(c, err);
    if (st == WEIR_OK)
        *out = c;
    else
        capture_close(c);
    return st;
}

weir_status capture_open(const char *path, const struct capture_options *o, capture **out,
                         weir_err *err)
{
    source *src;
    WEIR_TRY(source_open(path, &src, err));
    return start(src, o, out, err);
}

weir_status capture_open_memory(const char *name, const void *data, size_t len,
                                const struct capture_options *o, capture **out, weir_err *err)
{
    source *src;
    WEIR_TRY(source_open_memory(name, data, len, &src, err));
    return start(src, o, out, err);
}

weir_status capture_next(capture *c, struct capture_packet *p, weir_err *err)
{
    *p = (struct capture_packet){0};
    if (c->ended)
        return WEIR_END;
    weir_status st = forms[c->form].next(c, p, err);
    if (st == WEIR_OK)
        c->n.packets++;
    return st;
}

const struct capture_counters *capture_counters(const capture *c)
{
    return &c->n;
}

void capture_close(capture *c)
{
    if (!c)
        return;
    capture_pcap_done(c);
    source_close(c->src);
    free(c->payload);
    free(c);
}
