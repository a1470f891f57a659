#include "gen/send.h"

#include "gen/file.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103 /* linux/udp.h, which cannot be included beside netinet/udp.h */
#endif

enum {
    QUEUE = 256,           /* packets */
    COPIES = 512 * 1024,   /* octets of packets that do not stay */
    SEGMENTS = 16,         /* packets handed over as one */
    SEGMENTED = 60 * 1024, /* octets of them */
    NONE = UINT16_MAX,
    BATCHES_S = 500 /* at a rate: so many batches a second, unless packets are fewer */
};

struct queued {
    const uint8_t *data;
    uint32_t len;
    uint16_t next; /* of the same exporter */
};

struct outlet {
    char address[INET6_ADDRSTRLEN];
    int fd;
    uint16_t port;
    uint16_t first, last; /* of the queue; NONE: nothing */
};

union control {
    char room[CMSG_SPACE(sizeof(uint16_t))];
    struct cmsghdr align;
};

struct gen_send {
    struct gen_send_options o;
    struct gen_send_counts counts;
    uint64_t begin_ns; /* when `units` was 0 */
    double units, queued_units, most_units;
    struct queued queue[QUEUE];
    uint32_t
        busy[QUEUE]; /* exporters that have something queued, in the order of their first packet */
    uint32_t n_queued, n_busy;
    size_t copied;
    uint8_t *copies;
    struct mmsghdr msgs[QUEUE];
    struct iovec iov[QUEUE];
    union control control[QUEUE];
    struct outlet outlets[];
};

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* --- sockets ------------------------------------------------------------------------------------ */

static weir_status resolve(const char *to, struct sockaddr_storage *a, socklen_t *len,
                           weir_err *err)
{
    char host[256];
    const char *colon = strrchr(to, ':');
    size_t n = colon ? (size_t)(colon - to) : 0;
    if (n > 2 && to[0] == '[' && to[n - 1] == ']') {
        to++;
        n -= 2;
    } else if (n && memchr(to, ':', n)) {
        n = 0;
    }
    if (!n || n >= sizeof host || !colon[1])
        return weir_err_set(err, WEIR_EINVAL, 0,
                            "'%s' is not a destination (write HOST:PORT or [ADDR]:PORT)", to);
    memcpy(host, to, n);
    host[n] = 0;
    char *end;
    unsigned long port = strtoul(colon + 1, &end, 10);
    if (*end || colon[1] < '0' || colon[1] > '9' || port < 1 || port > 65535)
        return weir_err_set(err, WEIR_EINVAL, 0, "'%s' is not a port (1 to 65535)", colon + 1);
    struct addrinfo *found, hints = {.ai_socktype = SOCK_DGRAM, .ai_flags = AI_NUMERICSERV};
    int failed = getaddrinfo(host, colon + 1, &hints, &found);
    if (failed)
        return weir_err_set(err, WEIR_EINVAL, 0, "%s: %s", host, gai_strerror(failed));
    memcpy(a, found->ai_addr, found->ai_addrlen);
    *len = found->ai_addrlen;
    freeaddrinfo(found);
    return WEIR_OK;
}

static bool is_loopback4(const struct sockaddr_storage *a)
{
    return a->ss_family == AF_INET &&
           ntohl(((const struct sockaddr_in *)a)->sin_addr.s_addr) >> 24 == 127;
}

static weir_status open_outlet(struct outlet *u, uint32_t i, const struct sockaddr_storage *to,
                               socklen_t len, weir_err *err)
{
    struct sockaddr_storage own;
    socklen_t own_len = sizeof own;
    struct sockaddr_in from = {.sin_family = AF_INET,
                               .sin_addr.s_addr = htonl(gen_exporter_address(i))};
    u->fd = socket(to->ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (u->fd < 0 && (errno == EMFILE || errno == ENFILE))
        return weir_err_set(err, WEIR_EIO, 0,
                            "no more than %u sockets may be open: take fewer exporters or raise "
                            "the limit (ulimit -n)",
                            i);
    if (u->fd < 0)
        return weir_err_set(err, WEIR_EIO, 0, "no socket: %s", strerror(errno));
    if (is_loopback4(to) && bind(u->fd, (const struct sockaddr *)&from, sizeof from) != 0)
        return weir_err_set(err, WEIR_EIO, 0, "exporter %u: cannot send from its own address: %s",
                            i + 1, strerror(errno));
    if (connect(u->fd, (const struct sockaddr *)to, len) != 0)
        return weir_err_set(err, WEIR_EIO, 0, "cannot send there: %s", strerror(errno));
    if (getsockname(u->fd, (struct sockaddr *)&own, &own_len) == 0) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)&own;
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&own;
        bool is4 = own.ss_family == AF_INET;
        u->port = ntohs(is4 ? v4->sin_port : v6->sin6_port);
        (void)inet_ntop(own.ss_family, is4 ? (const void *)&v4->sin_addr : &v6->sin6_addr,
                        u->address, sizeof u->address);
    }
    return WEIR_OK;
}

weir_status gen_send_new(const struct gen_send_options *o, gen_send **out, weir_err *err)
{
    struct sockaddr_storage to;
    socklen_t len = 0;
    WEIR_TRY(resolve(o->to, &to, &len, err));
    gen_send *s = calloc(1, sizeof *s + o->exporters * sizeof s->outlets[0]);
    if (!s)
        return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory for %u exporters", o->exporters);
    s->o = *o;
    s->most_units = o->rate / BATCHES_S;
    for (uint32_t i = 0; i < o->exporters; i++)
        s->outlets[i] = (struct outlet){.fd = -1, .first = NONE, .last = NONE};
    s->copies = malloc(COPIES);
    weir_status status = s->copies ? WEIR_OK : weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
    for (uint32_t i = 0; i < o->exporters && status == WEIR_OK; i++)
        status = open_outlet(&s->outlets[i], i, &to, len, err);
    if (status == WEIR_OK)
        *out = s;
    else
        gen_send_free(s);
    return status;
}

void gen_send_free(gen_send *s)
{
    if (!s)
        return;
    for (uint32_t i = 0; i < s->o.exporters; i++)
        if (s->outlets[i].fd >= 0)
            (void)close(s->outlets[i].fd);
    free(s->copies);
    free(s);
}

const struct gen_send_counts *gen_send_counts(const gen_send *s)
{
    return &s->counts;
}

const char *gen_send_address(const gen_send *s, uint32_t exporter)
{
    return s->outlets[exporter].address;
}

uint16_t gen_send_port(const gen_send *s, uint32_t exporter)
{
    return s->outlets[exporter].port;
}

/* --- sending ------------------------------------------------------------------------------------ */

void gen_send_wait(gen_send *s, const volatile bool *stop)
{
    if (s->o.rate <= 0 || s->n_queued)
        return;
    uint64_t now = now_ns();
    if (!s->begin_ns)
        s->begin_ns = now;
    uint64_t due = s->begin_ns + (uint64_t)(s->units / s->o.rate * 1e9);
    if (now >= due) {
        if (now - due > 50000000) /* far behind: what was missed is not made up for in a burst */
            s->begin_ns += now - due;
        return;
    }
    struct timespec t = {(time_t)(due / 1000000000), (long)(due % 1000000000)};
    while (!*stop && clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
        ;
}

/* The next message of a list of queued packets: one, or with segments several of one size and a last that may be
 * shorter. Returns what follows in the list. */
static uint16_t make_message(gen_send *s, uint16_t at, uint32_t n_msgs, uint32_t *n_iov)
{
    struct msghdr *h = &s->msgs[n_msgs].msg_hdr;
    uint32_t size = s->queue[at].len, total = 0, n = 0;
    *h = (struct msghdr){.msg_iov = &s->iov[*n_iov]};
    do {
        const struct queued *q = &s->queue[at];
        s->iov[*n_iov] = (struct iovec){(void *)(uintptr_t)q->data, q->len};
        ++*n_iov;
        n++;
        total += q->len;
        at = q->next;
        if (q->len < size)
            break;
    } while (s->o.segments && at != NONE && n < SEGMENTS && s->queue[at].len <= size &&
             total + size <= SEGMENTED);
    h->msg_iovlen = n;
    if (n > 1) {
        uint16_t each = (uint16_t)size;
        h->msg_control = s->control[n_msgs].room;
        h->msg_controllen = sizeof s->control[n_msgs].room;
        struct cmsghdr *c = CMSG_FIRSTHDR(h);
        c->cmsg_level = IPPROTO_UDP;
        c->cmsg_type = UDP_SEGMENT;
        c->cmsg_len = CMSG_LEN(sizeof each);
        memcpy(CMSG_DATA(c), &each, sizeof each);
    }
    return at;
}

/* Hand n messages to the kernel. False: it does not know segments; what was not sent is from *done on. */
static bool send_messages(gen_send *s, int fd, uint32_t n, uint32_t *done)
{
    while (*done < n) {
        int sent = sendmmsg(fd, s->msgs + *done, n - *done, 0);
        if (sent > 0) {
            *done += (uint32_t)sent;
        } else if (errno == ECONNREFUSED) { /* that is of an earlier packet */
            s->counts.refused++;
        } else if (errno != EINTR) {
            size_t packets = s->msgs[*done].msg_hdr.msg_iovlen;
            if (packets > 1 && (errno == EINVAL || errno == EIO || errno == ENOPROTOOPT))
                return false;
            s->counts.error = errno;
            s->counts.failed += packets;
            ++*done;
        }
    }
    return true;
}

static void flush_outlet(gen_send *s, struct outlet *u)
{
    uint16_t at = u->first;
    uint32_t n, n_iov, done = 0;
    do {
        for (n = n_iov = 0; at != NONE; n++)
            at = make_message(s, at, n, &n_iov);
        done = 0;
        if (send_messages(s, u->fd, n, &done))
            break;
        s->o.segments = false; /* once and for all: the rest goes one by one */
        size_t sent = 0;
        for (uint32_t i = 0; i < done; i++)
            sent += s->msgs[i].msg_hdr.msg_iovlen;
        for (at = u->first; sent; sent--)
            at = s->queue[at].next;
        u->first = at;
    } while (at != NONE);
    u->first = u->last = NONE;
}

void gen_send_flush(gen_send *s)
{
    for (uint32_t i = 0; i < s->n_busy; i++)
        flush_outlet(s, &s->outlets[s->busy[i]]);
    s->n_busy = s->n_queued = 0;
    s->copied = 0;
    s->units += s->queued_units;
    s->queued_units = 0;
}

weir_status gen_send_put(gen_send *s, const struct gen_out *o, double units, weir_err *err)
{
    const uint8_t *data = o->data;
    if (o->len > COPIES)
        return weir_err_set(err, WEIR_EINVAL, 0, "a packet of %zu octets", o->len);
    if (!o->stays) {
        if (COPIES - s->copied < o->len)
            gen_send_flush(s);
        data = memcpy(s->copies + s->copied, o->data, o->len);
        s->copied += o->len;
    }
    struct outlet *u = &s->outlets[o->exporter];
    uint16_t at = (uint16_t)s->n_queued++;
    s->queue[at] = (struct queued){data, (uint32_t)o->len, NONE};
    if (u->first == NONE) {
        u->first = at;
        s->busy[s->n_busy++] = o->exporter;
    } else {
        s->queue[u->last].next = at;
    }
    u->last = at;
    s->queued_units += units;
    if (s->n_queued == QUEUE || (s->o.rate > 0 && s->queued_units >= s->most_units))
        gen_send_flush(s);
    return WEIR_OK;
}
