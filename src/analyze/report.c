#include "analyze/report.h"

#include "base/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BATCH = 1024, FLUSH = 64 * 1024 };

struct item {
    double time;
    struct connection con;
};

struct report {
    FILE *out;
    bool json, started;
    names *hosts;
    const services *ports;
    base_buf text;
    struct item *batch; /* batch[n] of BATCH, with names only */
    size_t n;
    int64_t second; /* that stamp shows */
    char stamp[64];
};

report *report_new(FILE *out, bool json, names *hosts, const services *ports)
{
    report *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->out = out;
    r->json = json;
    r->hosts = hosts;
    r->ports = ports;
    r->second = INT64_MIN;
    if (hosts && !(r->batch = malloc(BATCH * sizeof *r->batch))) {
        free(r);
        return NULL;
    }
    return r;
}

void report_free(report *r)
{
    if (r) {
        base_buf_done(&r->text);
        free(r->batch);
    }
    free(r);
}

static weir_status flush(report *r, weir_err *err)
{
    if (r->text.failed)
        return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
    if (r->text.len && fwrite(r->text.data, 1, r->text.len, r->out) != r->text.len)
        return weir_err_set(err, WEIR_EIO, 0, "cannot write: %m");
    base_buf_reset(&r->text);
    return WEIR_OK;
}

int64_t report_second(double time)
{
    double whole, us = modf(time, &whole) * 1e6;
    us = nearbyint(us); /* half to even is how the processor rounds unless told otherwise */
    if (us >= 1e6)
        whole += 1;
    else if (us < 0)
        whole -= 1;
    return (int64_t)whole;
}

static const char *stamp_of(report *r, double time)
{
    int64_t s = report_second(time);
    if (s == r->second)
        return r->stamp;
    time_t t = (time_t)s;
    struct tm tm;
    if (!localtime_r(&t, &tm) || !strftime(r->stamp, sizeof r->stamp, "%Y-%m-%d %H:%M.%S", &tm))
        strcpy(r->stamp, "?");
    r->second = s;
    return r->stamp;
}

/* Pad what stands from `from` to width columns: left- or right-aligned. */
static void pad(base_buf *b, size_t from, size_t width, bool right)
{
    size_t len = b->len - from;
    if (len >= width || !base_buf_room(b, width))
        return;
    char *at = b->data + from;
    if (right) {
        memmove(at + width - len, at, len);
        memset(at, ' ', width - len);
    } else {
        memset(at + len, ' ', width - len);
    }
    b->len = from + width;
}

static void u64_text(base_buf *b, uint64_t v)
{
    char text[BASE_U64_TEXT];
    base_buf_add(b, text, base_u64_text(text, v));
}

/* The sum of two 64-bit counts. */
static void u65_text(base_buf *b, unsigned __int128 v)
{
    if (v <= UINT64_MAX) {
        u64_text(b, (uint64_t)v);
        return;
    }
    uint8_t be[9];
    char text[BASE_U128_TEXT];
    for (int i = 8; i >= 0; i--, v >>= 8)
        be[i] = (uint8_t)v;
    base_buf_add(b, text, base_be_text(text, be, sizeof be));
}

/* The first port that has a name. */
static const char *service_of(const report *r, uint16_t port, uint16_t other)
{
    const char *s = services_of(r->ports, port);
    return s ? s : services_of(r->ports, other);
}

static const char *host_of(const report *r, const uint8_t addr[16], uint8_t family)
{
    return r->hosts ? names_get(r->hosts, addr, family) : NULL;
}

/* "name (address)"; without a name the address stands twice, as there. */
static void peer_text(report *r, const uint8_t addr[16], uint8_t family)
{
    base_buf *b = &r->text;
    const char *host = host_of(r, addr, family);
    if (host)
        base_buf_str(b, host);
    else
        address_text(b, addr, family);
    base_buf_add(b, " (", 2);
    address_text(b, addr, family);
    base_buf_char(b, ')');
}

static void connection_text(report *r, double time, const struct connection *c)
{
    base_buf *b = &r->text;
    if (!r->started) {
        base_buf_str(b, "Timestamp           | Service        | Size     | Duration  | Packets | "
                        "Involved hosts\n");
        char *at = base_buf_room(b, 101);
        if (at) {
            memset(at, '-', 100);
            at[100] = '\n';
            b->len += 101;
        }
        r->started = true;
    }
    base_buf_str(b, stamp_of(r, time));
    base_buf_add(b, " | ", 3);

    size_t from = b->len;
    /* netflow.analyzer asks for the destination port of the way back, which is the same end's again. */
    const char *service = service_of(r, c->src.src_port, c->dest.dst_port);
    if (service) {
        for (; *service; service++)
            base_buf_char(b, *service >= 'a' && *service <= 'z' ? (char)(*service - 'a' + 'A')
                                                                : *service);
    } else {
        base_buf_char(b, '(');
        u64_text(b, c->src.src_port);
        base_buf_char(b, ' ');
        u64_text(b, c->dest.dst_port);
        base_buf_char(b, ')');
    }
    pad(b, from, 14, false);
    base_buf_add(b, " | ", 3);
    from = b->len;
    size_text(b, c->src.octets);
    pad(b, from, 8, false);
    base_buf_add(b, " | ", 3);
    from = b->len;
    duration_text(b, connection_duration_ms(c));
    pad(b, from, 9, false);
    base_buf_add(b, " | ", 3);
    from = b->len;
    u65_text(b, connection_packets(c));
    pad(b, from, 7, true);
    base_buf_str(b, " | Between ");
    peer_text(r, c->src.src, c->src.family);
    base_buf_str(b, " and ");
    peer_text(r, c->src.dst, c->src.family);
    base_buf_char(b, '\n');
}

static void json_address(base_buf *b, const char *name, const uint8_t addr[16], uint8_t family)
{
    base_buf_str(b, name);
    address_text(b, addr, family);
    base_buf_char(b, '"');
}

static void json_host(report *r, const char *name, const uint8_t addr[16], uint8_t family)
{
    base_buf *b = &r->text;
    const char *host = host_of(r, addr, family);
    if (!host) {
        json_address(b, name, addr, family);
        return;
    }
    base_buf_add(b, name, strlen(name) - 1); /* the string brings its own quotes */
    base_json_string(b, host, strlen(host), true);
}

static void connection_json(report *r, double time, const struct connection *c)
{
    base_buf *b = &r->text;
    char text[BASE_TIME_TEXT];
    int64_t first_ms = c->src.start_ms;
    if (first_ms == FLOW_START_UNKNOWN)
        first_ms = (int64_t)floor(time * 1000);
    /* Years before 1678 or after 2262 do not fit nanoseconds. */
    if (first_ms > INT64_MAX / 1000000)
        first_ms = INT64_MAX / 1000000;
    else if (first_ms < INT64_MIN / 1000000)
        first_ms = INT64_MIN / 1000000;
    base_buf_str(b, "{\"first\":\"");
    base_buf_add(b, text, base_time_text(text, first_ms * 1000000, 3));
    base_buf_str(b, "\",\"service\":");
    const char *service = service_of(r, c->src.src_port, c->src.dst_port);
    if (service)
        base_json_string(b, service, strlen(service), true);
    else
        base_buf_str(b, "null");
    base_buf_str(b, ",\"size\":");
    u64_text(b, c->src.octets);
    base_buf_str(b, ",\"duration_ms\":");
    base_buf_add(b, text, base_s64_text(text, connection_duration_ms(c)));
    base_buf_str(b, ",\"packets\":");
    u65_text(b, connection_packets(c));
    json_address(b, ",\"src\":\"", c->src.src, c->src.family);
    json_address(b, ",\"dest\":\"", c->src.dst, c->src.family);
    json_host(r, ",\"src_host\":\"", c->src.src, c->src.family);
    json_host(r, ",\"dest_host\":\"", c->src.dst, c->src.family);
    base_buf_str(b, ",\"src_port\":");
    u64_text(b, c->src.src_port);
    base_buf_str(b, ",\"dest_port\":");
    u64_text(b, c->src.dst_port);
    base_buf_str(b, ",\"protocol\":");
    u64_text(b, c->src.proto);
    base_buf_str(b, "}\n");
}

static weir_status print(report *r, double time, const struct connection *c, weir_err *err)
{
    if (r->json)
        connection_json(r, time, c);
    else
        connection_text(r, time, c);
    return r->text.len >= FLUSH || r->text.failed ? flush(r, err) : WEIR_OK;
}

static weir_status print_batch(report *r, weir_err *err)
{
    for (size_t i = 0; i < r->n; i++) {
        const struct flow *f = &r->batch[i].con.src;
        names_want(r->hosts, f->src, f->family);
        names_want(r->hosts, f->dst, f->family);
    }
    if (r->n)
        names_wait(r->hosts);
    for (size_t i = 0; i < r->n; i++)
        WEIR_TRY(print(r, r->batch[i].time, &r->batch[i].con, err));
    r->n = 0;
    return WEIR_OK;
}

weir_status report_connection(report *r, double time, const struct connection *c, weir_err *err)
{
    if (!r->hosts)
        return print(r, time, c, err);
    r->batch[r->n++] = (struct item){time, *c};
    return r->n == BATCH ? print_batch(r, err) : WEIR_OK;
}

/* "name (address):port", or the address alone when there is no name. */
static void end_point(report *r, const uint8_t addr[16], uint8_t family, uint16_t port)
{
    base_buf *b = &r->text;
    const char *host = host_of(r, addr, family);
    if (host) {
        base_buf_str(b, host);
        base_buf_add(b, " (", 2);
    }
    address_text(b, addr, family);
    if (host)
        base_buf_char(b, ')');
    base_buf_char(b, ':');
    u64_text(b, port);
}

static weir_status print_left(report *r, const struct flow *const *left, size_t n,
                              uint64_t threshold, bool *any, weir_err *err)
{
    for (size_t at = 0; at < n;) {
        size_t to = at + BATCH < n ? at + BATCH : n;
        for (size_t i = at; r->hosts && i < to; i++)
            if (left[i]->packets >= threshold) {
                names_want(r->hosts, left[i]->src, left[i]->family);
                names_want(r->hosts, left[i]->dst, left[i]->family);
            }
        if (r->hosts)
            names_wait(r->hosts);
        for (; at < to; at++) {
            const struct flow *f = left[at];
            if (f->packets < threshold)
                continue;
            *any = true;
            base_buf *b = &r->text;
            base_buf_str(b, "From ");
            end_point(r, f->src, f->family, f->src_port);
            base_buf_str(b, " to ");
            end_point(r, f->dst, f->family, f->dst_port);
            base_buf_str(b, " with proto ");
            base_buf_str(b, f->proto == 1    ? "ICMP"
                            : f->proto == 6  ? "TCP"
                            : f->proto == 17 ? "UDP"
                            : f->proto == 58 ? "ICMPv6"
                                             : "UNKNOWN");
            base_buf_str(b, " and size ");
            size_text(b, f->octets);
            base_buf_str(b, " (");
            u64_text(b, f->packets);
            base_buf_str(b, " packets)\n");
            if (b->len >= FLUSH || b->failed)
                WEIR_TRY(flush(r, err));
        }
    }
    return WEIR_OK;
}

weir_status report_end(report *r, uint64_t skipped, uint64_t threshold, bool verbose,
                       const pairing *left, weir_err *err)
{
    base_buf *b = &r->text;
    WEIR_TRY(print_batch(r, err));
    if (skipped && !r->json) {
        u64_text(b, skipped);
        base_buf_str(b, " connections skipped, because they had less than ");
        u64_text(b, threshold);
        base_buf_str(b, " packets (this value can be set with the -p flag).\n");
    }
    if (verbose && !r->json) {
        size_t n, n_starts;
        const struct flow **flows = pairing_left(left, &n, &n_starts);
        if (n && !flows)
            return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
        if (n) {
            bool any = false;
            base_buf_str(b, "\nThere are ");
            u64_text(b, n_starts);
            base_buf_str(b, " first_switched entries left in the pending dict!\n");
            weir_status st = print_left(r, flows, n, threshold, &any, err);
            if (st == WEIR_OK && !any)
                base_buf_str(b, "They were all noise!\n");
            free(flows);
            WEIR_TRY(st);
        }
    }
    WEIR_TRY(flush(r, err));
    return fflush(r->out) == 0 ? WEIR_OK : weir_err_set(err, WEIR_EIO, 0, "cannot write: %m");
}
