/* capture_pcap -- pcap and pcapng files through libpcap: frames to datagrams, and which of them are exports. */
#include "base/err.h"
#include "collect/capture_form.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Where exports are usually sent: with port 0 any datagram to one of these is handed out, so that the decoder
 * says what is wrong with it. sFlow's 6343 is missing on purpose: its datagrams count as other. */
static const uint16_t usual_ports[] = {2055, 2056, 4432, 4739, 9555, 9995, 9996};

/* How the fixed formats show themselves. */
static const struct fixed {
    uint8_t version;
    size_t header, record;
} fixed_formats[] = {{1, 16, 48}, {5, 24, 48}, {7, 24, 52}};

static bool known_set_id(uint64_t id, uint64_t first_template_id)
{
    return id == first_template_id || id == first_template_id + 1 || id >= 256;
}

/* Whether a datagram to any port is an export, judged strictly: by what its header and first set say of its
 * length. p[len] was captured of full octets. Ordinary traffic has the version by chance (a DNS message in
 * 13,000 by its id), but hardly the rest. */
static bool looks_like_export(const uint8_t *p, size_t len, size_t full)
{
    if (len < 4)
        return false;
    uint64_t version = weir_be(p, 2), second = weir_be(p + 2, 2); /* record count, or length */
    for (size_t i = 0; i < ARRAY_LEN(fixed_formats); i++) {
        const struct fixed *x = &fixed_formats[i];
        if (version != x->version)
            continue;
        size_t need = x->header + (size_t)second * x->record;
        return second > 0 && len >= 16 && need <= full && full - need < x->record &&
               weir_be(p + 12, 4) < 1000000000; /* nanoseconds of the export time */
    }
    size_t header, room;
    if (version == 9) {
        header = 20;
        room = full;
        if (second == 0)
            return false;
    } else if (version == 10) {
        header = room = 16;
        if (second < header || second > full)
            return false;
        if (second == header)
            return full == header;
        room = (size_t)second;
        if (room < full && (len < room + 2 || weir_be(p + room, 2) != 10))
            return false; /* another message may follow, nothing else */
    } else {
        return false;
    }
    if (len < header + 4)
        return false;
    uint64_t set_id = weir_be(p + header, 2), set_len = weir_be(p + header + 2, 2);
    return known_set_id(set_id, version == 9 ? 0 : 2) && set_len >= 4 && set_len <= room - header;
}

static bool wanted(const capture *c, const struct frame *f)
{
    if (c->o.port)
        return f->dst_port == c->o.port;
    for (size_t i = 0; i < ARRAY_LEN(usual_ports); i++) {
        if (f->dst_port == usual_ports[i])
            return true;
    }
    return looks_like_export(f->payload, f->len, f->full);
}

weir_status capture_pcap_open(capture *c, weir_err *err)
{
    char why[PCAP_ERRBUF_SIZE] = "";
    const char *name = source_name(c->src);
    c->parts = reassembly_new(NULL);
    c->stream = source_stream(c->src);
    if (!c->parts || !c->stream)
        return weir_err_set(err, WEIR_ENOMEM, 0, "%s: out of memory", name);
    c->pcap = pcap_fopen_offline_with_tstamp_precision(c->stream, PCAP_TSTAMP_PRECISION_NANO, why);
    if (!c->pcap) {
        WEIR_TRY(source_status(c->src, err));
        return weir_err_set(err, feof(c->stream) ? WEIR_ETRUNC : WEIR_EFORMAT, 0, "%s: %s", name,
                            why);
    }
    int dlt = pcap_datalink(c->pcap);
    if (!frame_link_of(dlt, &c->link)) {
        const char *text = pcap_datalink_val_to_name(dlt);
        return weir_err_set(
            err, WEIR_EFORMAT, 0,
            "%s: link type %s (%d); only Ethernet, Linux cooked, raw IP, loopback and PPP "
            "are read",
            name, text ? text : "unknown", dlt);
    }
    return WEIR_OK;
}

void capture_pcap_done(capture *c)
{
    if (c->pcap)
        pcap_close(c->pcap); /* closes c->stream */
    else if (c->stream)
        fclose(c->stream);
    reassembly_free(c->parts);
}

static int64_t frame_time_ns(const struct pcap_pkthdr *h)
{
    /* tv_usec counts nanoseconds, as asked for at the opening. libpcap reads the unsigned seconds of a pcap file
     * as signed, so 2038 to 2106 come below 0. */
    int64_t s = h->ts.tv_sec, ns;
    if (s < 0 && s >= INT32_MIN)
        s += INT64_C(1) << 32;
    if (__builtin_mul_overflow(s, INT64_C(1000000000), &ns) ||
        __builtin_add_overflow(ns, (int64_t)h->ts.tv_usec, &ns))
        return s < 0 ? INT64_MIN : INT64_MAX;
    return ns;
}

static enum reassembly_result add_fragment(capture *c, const struct frame *f, int64_t time_ns,
                                           struct reassembly_datagram *whole)
{
    struct reassembly_fragment part = {
        .key = {.id = f->id, .family = f->family, .proto = f->family == 4 ? f->next : 0},
        .offset = f->offset,
        .more = f->more,
        .next = f->next,
        .data = f->payload,
        .len = f->len,
        .time_ns = time_ns,
    };
    memcpy(part.key.src, f->src, sizeof part.key.src);
    memcpy(part.key.dst, f->dst, sizeof part.key.dst);
    c->n.fragments++;
    enum reassembly_result result = reassembly_add(c->parts, &part, whole);
    if (result == REASSEMBLY_BROKEN) {
        c->n.fragments--;
        c->n.broken++;
    }
    c->n.fragments_lost = reassembly_lost(c->parts);
    return result;
}

static weir_status spoilt(capture *c, weir_status code, uint64_t at, const char *why, weir_err *err)
{
    return weir_err_set(err, code, at, "%s: frame %" PRIu64 " at octet %" PRIu64 ": %s",
                        source_name(c->src), c->n.frames, at, why);
}

/* The end, or why there is no more: what was read before stays good. */
static weir_status end(capture *c, int rc, uint64_t at, weir_err *err)
{
    c->ended = true;
    reassembly_finish(c->parts);
    c->n.fragments_lost = reassembly_lost(c->parts);
    WEIR_TRY(source_status(c->src, err));
    if (rc == PCAP_ERROR_BREAK)
        return WEIR_END;
    /* libpcap gives frames of one link type only, and compares numbers of interfaces in a pcapng. */
    const char *why = pcap_geterr(c->pcap);
    const char *remedy = strstr(why, "different from the type") ? " (split it by interface)" : "";
    return weir_err_set(err, feof(c->stream) ? WEIR_ETRUNC : WEIR_EFORMAT, at,
                        "%s: frame %" PRIu64 " at octet %" PRIu64 ": %s%s", source_name(c->src),
                        c->n.frames + 1, at, why, remedy);
}

weir_status capture_pcap_next(capture *c, struct capture_packet *p, weir_err *err)
{
    for (;;) {
        struct pcap_pkthdr *h;
        const uint8_t *data;
        uint64_t at = (uint64_t)ftello(c->stream);
        int rc = pcap_next_ex(c->pcap, &h, &data);
        if (rc != 1)
            return end(c, rc, at, err);
        c->n.frames++;

        struct frame f;
        int64_t time_ns = frame_time_ns(h);
        frame_read(&f, c->link, data, h->caplen, h->len > h->caplen ? h->len : h->caplen);
        if (f.kind == FRAME_FRAGMENT && f.why[0] == '\0' && f.len == f.full) {
            struct reassembly_datagram whole;
            enum reassembly_result result = add_fragment(c, &f, time_ns, &whole);
            if (result == REASSEMBLY_WAITING)
                continue;
            if (result != REASSEMBLY_COMPLETE)
                return spoilt(c, WEIR_EFORMAT, at, whole.why, err);
            c->n.reassembled++;
            frame_read_datagram(&f, whole.next, whole.data, whole.len);
        }
        if (f.kind == FRAME_OTHER || (f.kind == FRAME_UDP && !wanted(c, &f))) {
            c->n.other++;
            continue;
        }
        if (f.kind == FRAME_BROKEN || (f.kind != FRAME_CUT && f.why[0])) {
            c->n.broken++;
            return spoilt(c, WEIR_EFORMAT, at, f.why, err);
        }
        if (f.kind == FRAME_CUT || f.len < f.full) {
            c->n.cut++;
            if (f.kind != FRAME_CUT)
                snprintf(f.why, sizeof f.why,
                         "cut by the snap length: %zu of %zu octets (capture all of them)", f.len,
                         f.full);
            return spoilt(c, WEIR_ETRUNC, at, f.why, err);
        }
        p->from = (weir_endpoint){.family = f.family, .transport = WEIR_UDP, .port = f.src_port};
        memcpy(p->from.addr, f.src, sizeof p->from.addr);
        p->received_ns = time_ns;
        p->data = f.payload;
        p->len = f.len;
        p->number = c->n.frames;
        p->offset = at;
        return WEIR_OK;
    }
}
