/* capture_ipfix -- IPFIX files (RFC 5655): messages one after another, and the way back after damage. */
#include "base/err.h"
#include "collect/capture_form.h"

#include <inttypes.h>

enum {
    MESSAGE_HEADER = 16,
    LOOK_AHEAD = CAPTURE_PAYLOAD_MAX + 2 /* the longest message and the next one's version */
};

static size_t message_len(const uint8_t *p)
{
    return (size_t)(p[2] << 8 | p[3]);
}

/* Whether the sets of a whole message end where it does: then its length is believed without a look at what
 * follows, which on a pipe may not have been sent yet. */
static bool sets_fit(const uint8_t *p, size_t len)
{
    size_t at = MESSAGE_HEADER;
    while (len - at >= 4) {
        size_t set_len = message_len(p + at);
        if (set_len < 4 || set_len > len - at)
            return false;
        at += set_len;
    }
    return at == len;
}

/* RFC 5655 section 10.3: a message whose end meets another version number or the end of the file. have octets
 * at p are all there are when that is not LOOK_AHEAD or more. */
static bool message_at(const uint8_t *p, size_t have)
{
    if (!capture_ipfix_header(p, have))
        return false;
    size_t len = message_len(p);
    if (len + 2 <= have)
        return p[len] == 0 && p[len + 1] == 10;
    return len == have;
}

/* Pass over octets up to the next message or the end. */
static void resync(source *src)
{
    source_skip(src, 1);
    for (;;) {
        const uint8_t *p;
        size_t have = source_peek(src, LOOK_AHEAD, &p), i = 0;
        if (have == 0)
            return;
        /* Positions with a full view, or all of them once the end is in view. */
        size_t n = have >= LOOK_AHEAD ? have - LOOK_AHEAD + 1 : have;
        while (i < n && !message_at(p + i, have - i))
            i++;
        source_skip(src, i);
        if (i < n)
            return;
    }
}

weir_status capture_ipfix_next(capture *c, struct capture_packet *p, weir_err *err)
{
    const uint8_t *m;
    uint64_t at = source_offset(c->src);
    size_t have = source_peek(c->src, 4, &m), need = 4;
    if (have == 0) {
        c->ended = true;
        WEIR_TRY(source_status(c->src, err));
        return WEIR_END;
    }
    bool cut = have < 4;
    if (capture_ipfix_header(m, have)) {
        need = message_len(m);
        have = source_peek(c->src, need, &m);
        bool whole = have >= need;
        cut = !whole;
        if (whole && !sets_fit(m, need)) {
            have = source_peek(c->src, need + 2, &m);
            whole = message_at(m, have < need + 2 ? have : need + 2);
        }
        if (whole) {
            c->n.frames++;
            source_skip(c->src, need); /* m stays in the window until the next peek */
            p->data = m;
            p->len = need;
            p->number = c->n.frames;
            p->offset = at;
            capture_describe(c, p, WEIR_FILE);
            return WEIR_OK;
        }
    }
    resync(c->src);
    uint64_t now = source_offset(c->src);
    bool found = source_peek(c->src, 1, &m) > 0;
    c->n.resyncs++;
    if (found)
        return weir_err_set(err, WEIR_EFORMAT, at,
                            "%s: no IPFIX message at octet %" PRIu64 "; %" PRIu64
                            " octets skipped to the next one at %" PRIu64,
                            source_name(c->src), at, now - at, now);
    c->ended = true;
    WEIR_TRY(source_status(c->src, err)); /* not damaged here: it could not be read further */
    if (cut)
        return weir_err_set(err, WEIR_ETRUNC, at,
                            "%s: message %" PRIu64 " at octet %" PRIu64
                            " needs %zu octets, the file ends after %" PRIu64,
                            source_name(c->src), c->n.frames + 1, at, need, now - at);
    return weir_err_set(err, WEIR_EFORMAT, at,
                        "%s: no IPFIX message in the last %" PRIu64 " octets, from octet %" PRIu64,
                        source_name(c->src), now - at, at);
}
