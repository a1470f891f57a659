/* ipfix -- rows to another collector as IPFIX: ipfix://HOST[:4739] over UDP, ipfix+tcp://HOST[:4739] over TCP. */
#include "ship/destinations.h"
#include "ship/ipfix_message.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    UDP_MESSAGE =
        1400, /* octets: with the headers of IPv6 and UDP below an Ethernet frame's 1500 */
    TCP_MESSAGE = 16000,
    REFRESH_S = 60,
    RATE = 100000, /* flows a second */
    BURST_MS = 5,
    BATCH = 64, /* messages in one call */
    WAIT_MS = 200,
    CONNECT_MS = 10000,
    STALL_MS = 60000, /* a peer that acknowledges nothing for so long is gone */
    MAX_PUTS = 4096,  /* that wait for an acknowledgement, as many as ship has ahead */
    SEND_BUFFER = 1 << 20
};

static const int64_t SECOND = 1000000000;

struct ship_destination {
    struct ship_destination_options o;
    struct ship_url url;
    bool tcp;
    uint32_t rate; /* flows a second, 0: no limit */
    ship_ipfix *messages;
    int fd;           /* -1: not connected */
    int64_t next_ns;  /* when the next flow may leave */
    uint64_t done;    /* puts */
    uint64_t written; /* octets of this session, TCP */
    uint64_t *ends;   /* of the puts that are not done, in octets of the session; a ring */
    size_t first, n_ends;
    struct iovec iov[BATCH];
    struct mmsghdr batch[BATCH];
};

static const char *const udp_settings[] = {
    "message", "octets of a message at most, 256 to 65000 (default 1400)",
    "refresh", "seconds after which templates are told again, 1 to 86400 (default 60)",
    "rate",    "flows a second at most, 0: no limit (default 100000)",
    NULL};
static const char *const tcp_settings[] = {
    "message", "octets of a message at most, 256 to 65000 (default 16000)", "rate",
    "flows a second at most, 0: no limit (default 0)", NULL};

static weir_status no_memory(weir_err *err)
{
    return weir_err_set(err, WEIR_ENOMEM, 0, "ship: out of memory");
}

static int64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * SECOND + t.tv_nsec;
}

static bool stopping(const ship_destination *d)
{
    return d->o.stop && d->o.stop(d->o.user);
}

static const char *port_of(const ship_destination *d)
{
    return d->url.port && *d->url.port ? d->url.port : "4739";
}

static weir_status failed(const ship_destination *d, const char *what, weir_err *err)
{
    return weir_err_set(err, WEIR_EIO, 0, "cannot %s %.100s port %.10s: %s", what, d->url.host,
                        port_of(d), strerror(errno));
}

/* ---- settings ---- */

static weir_status number(const struct ship_destination_options *o, const char *name,
                          uint32_t least, uint32_t most, uint32_t *out, weir_err *err)
{
    const char *text = ship_setting_find(o, name);
    char *end;
    if (!text)
        return WEIR_OK;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno || v < least || v > most)
        return weir_err_set(err, WEIR_EINVAL, 0, "%s=%.40s: it is a number from %u to %u", name,
                            text, least, most);
    *out = (uint32_t)v;
    return WEIR_OK;
}

static void says(void *user, const char *text)
{
    const ship_destination *d = user;
    if (d->o.log)
        d->o.log(d->o.user, text);
}

static void ipfix_close(ship_destination *d);

static weir_status configure(ship_destination *d, weir_err *err)
{
    const struct ship_destination_options *o = &d->o;
    uint32_t message = d->tcp ? TCP_MESSAGE : UDP_MESSAGE, refresh = REFRESH_S, port = 0;
    WEIR_TRY(ship_url_parse(o->url, &d->url, err));
    const struct ship_destination_options p = {
        .settings = &(const struct ship_setting){"port", port_of(d)}, .n_settings = 1};
    if (!*d->url.host || (d->url.path && *d->url.path) || d->url.user)
        return weir_err_set(err, WEIR_EINVAL, 0,
                            "'%.100s' is no address of the form %s://HOST:PORT", o->url,
                            d->tcp ? "ipfix+tcp" : "ipfix");
    if (o->format)
        return weir_err_set(err, WEIR_EINVAL, 0,
                            "%.40s is no format of IPFIX messages: they have none", o->format);
    WEIR_TRY(number(&p, "port", 1, 65535, &port, err));
    WEIR_TRY(
        number(o, "message", SHIP_IPFIX_LEAST_MESSAGE, SHIP_IPFIX_MOST_MESSAGE, &message, err));
    WEIR_TRY(number(o, "refresh", 1, 86400, &refresh, err));
    WEIR_TRY(number(o, "rate", 0, 1000000000, &d->rate, err));
    const struct ship_ipfix_options m = {
        .message = message, .stream = d->tcp, .refresh_s = refresh, .say = says, .user = d};
    d->messages = ship_ipfix_new(&m);
    d->ends = malloc(MAX_PUTS * sizeof *d->ends);
    return d->messages && d->ends ? WEIR_OK : no_memory(err);
}

static weir_status open_any(const struct ship_destination_options *o, bool tcp,
                            ship_destination **out, weir_err *err)
{
    WEIR_TRY(ship_settings_known(o, tcp ? tcp_settings : udp_settings, err));
    ship_destination *d = calloc(1, sizeof *d);
    if (!d)
        return no_memory(err);
    d->o = *o;
    d->fd = -1;
    d->tcp = tcp;
    d->rate = tcp ? 0 : RATE;
    weir_status s = configure(d, err);
    if (s != WEIR_OK) {
        ipfix_close(d);
        return s;
    }
    *out = d;
    return WEIR_OK;
}

static weir_status open_udp(const struct ship_destination_options *o, ship_destination **out,
                            weir_err *err)
{
    return open_any(o, false, out, err);
}

static weir_status open_tcp(const struct ship_destination_options *o, ship_destination **out,
                            weir_err *err)
{
    return open_any(o, true, out, err);
}

static weir_status ipfix_fields(ship_destination *d, enum flow_table table,
                                const struct query_field *extras, size_t n_extras,
                                const struct query_field **fields, size_t *n, weir_err *err)
{
    *n = 0;
    return table == FLOW_TABLE_FLOWS
               ? ship_ipfix_columns(d->messages, extras, n_extras, fields, n, err)
               : WEIR_OK;
}

/* ---- the connection ---- */

/* All that is not done comes again. */
static void disconnect(ship_destination *d)
{
    if (d->fd >= 0)
        (void)close(d->fd);
    d->fd = -1;
    d->done = d->written = 0;
    d->first = d->n_ends = 0;
}

/* Until the socket is ready for events, or an error. */
static weir_status wait_for(const ship_destination *d, int fd, short events, int64_t until_ns,
                            weir_err *err)
{
    for (;;) {
        struct pollfd p = {.fd = fd, .events = events};
        if (stopping(d))
            return weir_err_set(err, WEIR_END, 0, "stopped");
        int n = poll(&p, 1, WAIT_MS);
        if (n > 0)
            return WEIR_OK;
        if (n < 0 && errno != EINTR)
            return failed(d, "wait for", err);
        if (now_ns() >= until_ns) {
            errno = ETIMEDOUT;
            return failed(d, "reach", err);
        }
    }
}

static weir_status connect_one(const ship_destination *d, const struct addrinfo *a, int *out,
                               weir_err *err)
{
    int fd = socket(a->ai_family, a->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, a->ai_protocol);
    if (fd < 0)
        return failed(d, "make a socket for", err);
    const int size = SEND_BUFFER, on = 1, stall = STALL_MS;
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size); /* the most that is allowed */
    if (d->tcp) {
        (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
        (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &stall, sizeof stall);
    }
    weir_status s = WEIR_OK;
    int e = 0;
    socklen_t len = sizeof e;
    if (connect(fd, a->ai_addr, a->ai_addrlen) != 0 && errno != EINPROGRESS) {
        s = failed(d, "connect to", err);
    } else if (d->tcp) {
        s = wait_for(d, fd, POLLOUT, now_ns() + CONNECT_MS * (SECOND / 1000), err);
        if (s == WEIR_OK && getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &len) == 0 && e) {
            errno = e;
            s = failed(d, "connect to", err);
        }
    }
    if (s != WEIR_OK) {
        (void)close(fd);
        return s;
    }
    *out = fd;
    return WEIR_OK;
}

static weir_status connect_any(ship_destination *d, weir_err *err)
{
    const struct addrinfo hints = {.ai_socktype = d->tcp ? SOCK_STREAM : SOCK_DGRAM};
    struct addrinfo *list = NULL;
    int e = getaddrinfo(d->url.host, port_of(d), &hints, &list);
    if (e)
        return weir_err_set(err, WEIR_EIO, 0, "cannot find %.100s: %s", d->url.host,
                            gai_strerror(e));
    weir_status s = WEIR_EIO;
    for (const struct addrinfo *a = list; a && s != WEIR_OK && s != WEIR_END; a = a->ai_next)
        s = connect_one(d, a, &d->fd, err);
    freeaddrinfo(list);
    /* Over UDP a collector that tells exporters apart by address sees the same one: its numbers go on. */
    if (s == WEIR_OK)
        ship_ipfix_session(d->messages, !d->tcp);
    return s;
}

/* ---- sending ---- */

/* Until so many flows may leave. */
static weir_status pace(ship_destination *d, uint64_t n, weir_err *err)
{
    if (!d->rate)
        return WEIR_OK;
    int64_t now = now_ns(), oldest = now - BURST_MS * (SECOND / 1000);
    if (d->next_ns < oldest)
        d->next_ns = oldest;
    while (d->next_ns > now) {
        if (stopping(d))
            return weir_err_set(err, WEIR_END, 0, "stopped");
        int64_t rest = d->next_ns - now, most = WAIT_MS * (SECOND / 1000);
        rest = rest < most ? rest : most;
        const struct timespec t = {.tv_sec = rest / SECOND, .tv_nsec = rest % SECOND};
        (void)nanosleep(&t, NULL);
        now = now_ns();
    }
    d->next_ns += (int64_t)(n * (uint64_t)SECOND / d->rate);
    return WEIR_OK;
}

/* How many of the messages from `at` on go together. */
static size_t batch_of(ship_destination *d, size_t at, uint64_t *flows)
{
    size_t n, k = 0;
    const struct ship_ipfix_message *m = ship_ipfix_messages(d->messages, &n);
    const uint8_t *octets = ship_ipfix_octets(d->messages);
    uint64_t most = d->rate ? d->rate / (1000 / BURST_MS) : UINT64_MAX;
    *flows = 0;
    while (k < BATCH && at + k < n && (!k || *flows + m[at + k].records <= most)) {
        const struct ship_ipfix_message *one = &m[at + k];
        d->iov[k] =
            (struct iovec){.iov_base = (void *)(uintptr_t)(octets + one->off), .iov_len = one->len};
        *flows += one->records;
        k++;
    }
    return k;
}

static weir_status send_udp(ship_destination *d, weir_err *err)
{
    size_t n, at = 0;
    weir_status s = WEIR_OK;
    (void)ship_ipfix_messages(d->messages, &n);
    while (at < n && s == WEIR_OK) {
        uint64_t flows;
        size_t batch = batch_of(d, at, &flows), sent = 0;
        s = pace(d, flows, err);
        for (size_t k = 0; k < batch; k++)
            d->batch[k] = (struct mmsghdr){.msg_hdr = {.msg_iov = &d->iov[k], .msg_iovlen = 1}};
        while (sent < batch && s == WEIR_OK) {
            int k = sendmmsg(d->fd, d->batch + sent, (unsigned)(batch - sent), 0);
            if (k > 0)
                sent += (size_t)k;
            else if (errno == EAGAIN || errno == ENOBUFS)
                s = wait_for(d, d->fd, POLLOUT, INT64_MAX, err);
            else if (errno != EINTR)
                s = failed(d, "send to", err);
        }
        at += sent;
    }
    if (s != WEIR_OK)
        ship_ipfix_take_back(d->messages, at);
    return s;
}

/* The other side has closed, or sends what no collector sends. */
static weir_status look_at_peer(const ship_destination *d, weir_err *err)
{
    char buf[512];
    ssize_t n = recv(d->fd, buf, sizeof buf, MSG_DONTWAIT);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? WEIR_OK : failed(d, "send to", err);
    if (n > 0)
        return WEIR_OK;
    return weir_err_set(err, WEIR_EIO, 0, "%.100s port %.10s has closed the connection",
                        d->url.host, port_of(d));
}

static weir_status write_tcp(ship_destination *d, size_t n, weir_err *err)
{
    struct msghdr h = {.msg_iov = d->iov, .msg_iovlen = n};
    while (h.msg_iovlen) {
        ssize_t k = sendmsg(d->fd, &h, MSG_NOSIGNAL);
        if (k < 0) {
            if (errno == EAGAIN)
                WEIR_TRY(wait_for(d, d->fd, POLLOUT, INT64_MAX, err));
            else if (errno != EINTR)
                return failed(d, "send to", err);
            continue;
        }
        d->written += (uint64_t)k;
        for (size_t left = (size_t)k; h.msg_iovlen && left >= h.msg_iov->iov_len;) {
            left -= h.msg_iov->iov_len;
            h.msg_iov++;
            h.msg_iovlen--;
            k = (ssize_t)left;
        }
        if (h.msg_iovlen) {
            h.msg_iov->iov_base = (char *)h.msg_iov->iov_base + k;
            h.msg_iov->iov_len -= (size_t)k;
        }
    }
    return WEIR_OK;
}

static weir_status send_tcp(ship_destination *d, weir_err *err)
{
    size_t n, at = 0;
    (void)ship_ipfix_messages(d->messages, &n);
    WEIR_TRY(look_at_peer(d, err));
    while (at < n) {
        uint64_t flows;
        size_t batch = batch_of(d, at, &flows);
        WEIR_TRY(pace(d, flows, err));
        WEIR_TRY(write_tcp(d, batch, err));
        at += batch;
    }
    return WEIR_OK;
}

static weir_status ipfix_put(ship_destination *d, const struct ship_rows *rows, weir_err *err)
{
    weir_status s = d->fd < 0 ? connect_any(d, err) : WEIR_OK;
    if (s == WEIR_OK && rows->table == FLOW_TABLE_FLOWS)
        s = ship_ipfix_put(d->messages, &rows->block, now_ns(), (uint32_t)time(NULL), err);
    if (s == WEIR_OK && rows->block.n)
        s = d->tcp ? send_tcp(d, err) : send_udp(d, err);
    if (s != WEIR_OK) {
        disconnect(d);
        return s;
    }
    if (!d->tcp)
        d->done++;
    else if (d->n_ends < MAX_PUTS)
        d->ends[(d->first + d->n_ends++) % MAX_PUTS] = d->written;
    return WEIR_OK;
}

/* Over UDP all that was sent is done, unless the other side said meanwhile that nobody listens. */
static weir_status done_udp(ship_destination *d, weir_err *err)
{
    int e = 0;
    socklen_t len = sizeof e;
    if (d->fd >= 0 && getsockopt(d->fd, SOL_SOCKET, SO_ERROR, &e, &len) == 0 && e) {
        errno = e;
        return failed(d, "send to", err);
    }
    return WEIR_OK;
}

/* Over TCP what the other side's kernel has acknowledged. */
static weir_status done_tcp(ship_destination *d, int wait_ms, weir_err *err)
{
    uint64_t before = d->done;
    int64_t until = now_ns() + wait_ms * (SECOND / 1000);
    while (d->n_ends) {
        int queued = 0;
        WEIR_TRY(look_at_peer(d, err));
        if (ioctl(d->fd, SIOCOUTQ, &queued) != 0)
            return failed(d, "ask about", err);
        while (d->n_ends && d->ends[d->first] + (uint64_t)queued <= d->written) {
            d->first = (d->first + 1) % MAX_PUTS;
            d->n_ends--;
            d->done++;
        }
        if (d->done != before || now_ns() >= until)
            break;
        struct pollfd p = {.fd = d->fd, .events = POLLIN | POLLRDHUP};
        (void)poll(&p, 1, 2); /* nothing wakes on an acknowledgement */
    }
    return WEIR_OK;
}

static weir_status ipfix_done(ship_destination *d, int wait_ms, uint64_t *done, weir_err *err)
{
    weir_status s = d->tcp ? done_tcp(d, wait_ms, err) : done_udp(d, err);
    *done = d->done;
    if (s != WEIR_OK)
        disconnect(d);
    return s;
}

static void ipfix_close(ship_destination *d)
{
    if (!d)
        return;
    disconnect(d);
    ship_ipfix_free(d->messages);
    ship_url_done(&d->url);
    free(d->ends);
    free(d);
}

const struct ship_destination_ops ship_ipfix_udp = {
    "ipfix",      "IPFIX over UDP to another collector: ipfix://HOST:4739",
    udp_settings, open_udp,
    ipfix_fields, ipfix_put,
    ipfix_done,   ipfix_close,
};
const struct ship_destination_ops ship_ipfix_tcp = {
    "ipfix+tcp",  "IPFIX over TCP to another collector: ipfix+tcp://HOST:4739",
    tcp_settings, open_tcp,
    ipfix_fields, ipfix_put,
    ipfix_done,   ipfix_close,
};
