#include "collect/socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"

/* Buffers a multiple of 64 KiB apart would meet in the same lines of the caches. */
enum {
    DATAGRAM_MAX = 65536,
    STRIDE = DATAGRAM_MAX + 4096 + 192,
    CONTROL_MAX = 128,
    MEMINFO_VARS = 16,
    MEMINFO_DROPS = 8
};

struct sock_batch {
    struct mmsghdr msg[SOCK_BATCH];
    struct iovec iov[SOCK_BATCH];
    struct sockaddr_storage from[SOCK_BATCH];
    _Alignas(struct cmsghdr) uint8_t control[SOCK_BATCH][CONTROL_MAX];
    uint8_t *data; /* SOCK_BATCH * STRIDE */
};

sock_batch *sock_batch_new(void)
{
    sock_batch *b = calloc(1, sizeof *b);
    if (!b)
        return NULL;
    b->data = mmap(NULL, (size_t)SOCK_BATCH * STRIDE, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (b->data == MAP_FAILED) {
        free(b);
        return NULL;
    }
    for (size_t i = 0; i < SOCK_BATCH; i++) {
        b->iov[i] = (struct iovec){b->data + i * STRIDE, DATAGRAM_MAX};
        b->msg[i].msg_hdr = (struct msghdr){.msg_name = &b->from[i],
                                            .msg_iov = &b->iov[i],
                                            .msg_iovlen = 1,
                                            .msg_control = b->control[i]};
    }
    return b;
}

void sock_batch_free(sock_batch *b)
{
    if (!b)
        return;
    (void)munmap(b->data, (size_t)SOCK_BATCH * STRIDE);
    free(b);
}

/* ---- addresses ---- */

static void endpoint_of(const struct sockaddr_storage *sa, weir_endpoint *e)
{
    *e = (weir_endpoint){.transport = WEIR_UDP};
    if (sa->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)sa;
        e->family = 4;
        e->port = ntohs(in->sin_port);
        memcpy(e->addr, &in->sin_addr, 4);
    } else if (sa->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)(const void *)sa;
        e->family = 6;
        e->port = ntohs(in->sin6_port);
        memcpy(e->addr, &in->sin6_addr, 16);
    }
}

static socklen_t sockaddr_of(const weir_endpoint *e, struct sockaddr_storage *sa)
{
    memset(sa, 0, sizeof *sa);
    if (e->family == 4) {
        struct sockaddr_in *in = (struct sockaddr_in *)(void *)sa;
        in->sin_family = AF_INET;
        in->sin_port = htons(e->port);
        memcpy(&in->sin_addr, e->addr, 4);
        return sizeof *in;
    }
    struct sockaddr_in6 *in = (struct sockaddr_in6 *)(void *)sa;
    in->sin6_family = AF_INET6;
    in->sin6_port = htons(e->port);
    memcpy(&in->sin6_addr, e->addr, 16);
    return sizeof *in;
}

static bool parse_port(const char *text, uint16_t *port)
{
    unsigned v = 0, digits = 0;
    for (; text[digits] >= '0' && text[digits] <= '9' && digits < 6; digits++)
        v = v * 10 + (unsigned)(text[digits] - '0');
    *port = (uint16_t)v;
    return digits > 0 && !text[digits] && v <= 65535;
}

weir_status sock_parse(const char *text, weir_endpoint *e, weir_err *err)
{
    char addr[INET6_ADDRSTRLEN + 1];
    const char *colon = strrchr(text, ':');
    const char *from = text, *to = colon;
    bool v6 = text[0] == '[';
    if (v6 && colon && colon > text && colon[-1] == ']') {
        from = text + 1;
        to = colon - 1;
    }
    *e = (weir_endpoint){.family = v6 ? 6 : 4, .transport = WEIR_UDP};
    if (!colon || to < from || (size_t)(to - from) >= sizeof addr ||
        !parse_port(colon + 1, &e->port))
        return weir_err_set(err, WEIR_EINVAL, 0,
                            "%s: write ADDRESS:PORT, as in 192.0.2.1:2055 or [2001:db8::1]:2055",
                            text);
    memcpy(addr, from, (size_t)(to - from));
    addr[to - from] = 0;
    if (inet_pton(v6 ? AF_INET6 : AF_INET, addr, e->addr) != 1)
        return weir_err_set(err, WEIR_EINVAL, 0,
                            "%s: %s is no %s address (IPv6 goes into brackets)", text, addr,
                            v6 ? "IPv6" : "IPv4");
    return WEIR_OK;
}

weir_status sock_resolve(const char *host, uint16_t port, weir_endpoint *e, weir_err *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_DGRAM, .ai_flags = AI_PASSIVE}, *found = NULL;
    int r = getaddrinfo(host, NULL, &hints, &found);
    if (r)
        return weir_err_set(err, WEIR_ENOTFOUND, 0, "no address for --host %s: %s", host,
                            gai_strerror(r));
    struct sockaddr_storage sa = {0};
    memcpy(&sa, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    endpoint_of(&sa, e);
    e->port = port;
    return WEIR_OK;
}

/* ---- opening ---- */

static const char *bind_remedy(int why)
{
    switch (why) {
    case EADDRINUSE:
        return " (stop the other collector or choose another --port)";
    case EACCES:
        return " (choose a --port above 1023 or grant CAP_NET_BIND_SERVICE)";
    case EADDRNOTAVAIL:
        return " (no interface of this machine has that address)";
    case EAFNOSUPPORT:
        return " (this machine has no such protocol: pass --host)";
    default:
        return "";
    }
}

/* Ask for the buffer, beyond net.core.rmem_max where we may. The kernel counts its own overhead too and
 * therefore doubles what it is asked for. */
static uint64_t set_receive_buffer(int fd, uint64_t asked)
{
    int want = asked > INT32_MAX / 2 ? INT32_MAX / 2 : (int)asked;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &want, sizeof want) != 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &want, sizeof want);
    int got = 0;
    socklen_t len = sizeof got;
    (void)getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &got, &len);
    return (uint64_t)(got > 0 ? got / 2 : 0);
}

/* Datagrams that arrive between two of several sockets being bound would go to the wrong one. */
static bool take_nothing(int fd)
{
    struct sock_filter nothing = BPF_STMT(BPF_RET | BPF_K, 0);
    struct sock_fprog program = {.len = 1, .filter = &nothing};
    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0;
}

weir_status sock_open(struct sock *s, const weir_endpoint *at, uint64_t asked, bool shared,
                      weir_err *err)
{
    struct sockaddr_storage sa;
    socklen_t len = sockaddr_of(at, &sa);
    int one = 1;
    *s = (struct sock){.fd = -1, .at = *at};
    (void)weir_endpoint_text(at, s->name);
    int fd = socket(sa.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 ||
        (at->family == 6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one) != 0) ||
        (shared &&
         (setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) != 0 || !take_nothing(fd))) ||
        bind(fd, (struct sockaddr *)&sa, len) != 0) {
        int why = errno;
        if (fd >= 0)
            (void)close(fd);
        (void)weir_err_set(err, WEIR_EIO, 0, "cannot listen on %s: %s%s", s->name, strerror(why),
                           bind_remedy(why));
        errno = why;
        return WEIR_EIO;
    }
    /* Drops are asked for with SO_MEMINFO; where that is not known each datagram brings their number, which costs. */
    uint32_t vars[MEMINFO_VARS];
    len = sizeof vars;
    if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, vars, &len) != 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_RXQ_OVFL, &one, sizeof one);
    (void)setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof one);
    (void)setsockopt(fd, IPPROTO_UDP, UDP_GRO, &one, sizeof one);
    s->receive_buffer = set_receive_buffer(fd, asked);
    len = sizeof sa;
    if (getsockname(fd, (struct sockaddr *)&sa, &len) == 0)
        endpoint_of(&sa, &s->at);
    (void)weir_endpoint_text(&s->at, s->name);
    s->fd = fd;
    return WEIR_OK;
}

void sock_close(struct sock *s)
{
    if (s->fd >= 0)
        (void)close(s->fd);
    s->fd = -1;
}

void sock_begin(struct sock *s)
{
    int none = 0;
    (void)setsockopt(s->fd, SOL_SOCKET, SO_DETACH_FILTER, &none, sizeof none);
    /* What it did not take until now counts as dropped there; nobody was listening yet. */
    sock_count_drops(s);
    s->kernel_drops = 0;
}

/* ---- receiving ---- */

void sock_see_drops(struct sock *s, uint32_t drops)
{
    int32_t more = (int32_t)(drops - s->drops_seen);
    if (more <= 0) /* read before what is known already */
        return;
    s->kernel_drops += (uint32_t)more;
    s->drops_seen = drops;
}

void sock_count_drops(struct sock *s)
{
    uint32_t vars[MEMINFO_VARS] = {0};
    socklen_t len = sizeof vars;
    if (getsockopt(s->fd, SOL_SOCKET, SO_MEMINFO, vars, &len) == 0 &&
        len >= (MEMINFO_DROPS + 1) * sizeof vars[0])
        sock_see_drops(s, vars[MEMINFO_DROPS]);
}

static int64_t read_control(struct sock *s, struct msghdr *h, size_t *segment)
{
    int64_t received_ns = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
        if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO &&
            c->cmsg_len >= CMSG_LEN(sizeof(uint16_t))) {
            int wide = 0; /* what newer kernels give */
            uint16_t narrow;
            memcpy(&narrow, CMSG_DATA(c), sizeof narrow);
            if (c->cmsg_len >= CMSG_LEN(sizeof wide))
                memcpy(&wide, CMSG_DATA(c), sizeof wide);
            else
                wide = narrow;
            *segment = wide > 0 ? (size_t)wide : *segment;
        }
        if (c->cmsg_level != SOL_SOCKET)
            continue;
        if (c->cmsg_type == SCM_TIMESTAMPNS && c->cmsg_len >= CMSG_LEN(sizeof(struct timespec))) {
            struct timespec t;
            memcpy(&t, CMSG_DATA(c), sizeof t);
            received_ns = (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
        } else if (c->cmsg_type == SO_RXQ_OVFL && c->cmsg_len >= CMSG_LEN(sizeof(uint32_t))) {
            uint32_t drops;
            memcpy(&drops, CMSG_DATA(c), sizeof drops);
            sock_see_drops(s, drops);
        }
    }
    return received_ns;
}

size_t sock_receive(struct sock *s, sock_batch *b, struct sock_message *out, int *failed)
{
    for (size_t i = 0; i < SOCK_BATCH; i++) {
        b->msg[i].msg_hdr.msg_namelen = sizeof b->from[i];
        b->msg[i].msg_hdr.msg_controllen = CONTROL_MAX;
    }
    int n = recvmmsg(s->fd, b->msg, SOCK_BATCH, MSG_DONTWAIT, NULL);
    *failed = n < 0 && errno != EAGAIN && errno != EINTR ? errno : 0;
    if (n <= 0)
        return 0;
    int64_t now = 0;
    for (size_t i = 0; i < (size_t)n; i++) {
        struct sock_message *m = &out[i];
        endpoint_of(&b->from[i], &m->from);
        m->len = m->segment = b->msg[i].msg_len;
        m->received_ns = read_control(s, &b->msg[i].msg_hdr, &m->segment);
        if (!m->received_ns) {
            if (!now) {
                struct timespec t;
                (void)clock_gettime(CLOCK_REALTIME, &t);
                now = (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
            }
            m->received_ns = now;
        }
        m->data = b->iov[i].iov_base;
    }
    return (size_t)n;
}
