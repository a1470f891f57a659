#include "analyze/names.h"

#include "base/hash.h"

#include <ares.h>
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { NONE = UINT32_MAX, IN_FLIGHT = 256, GIVE_UP = 256, NAME_MAX_LEN = 255, TRIES = 2 };

enum state { FREE, QUEUED, ASKED, DONE };

struct slot {
    names *owner;
    char *name; /* NULL: none */
    uint8_t addr[16], family;
    uint8_t state;
    uint32_t chain;        /* next with the same hash; NONE */
    uint32_t older, newer; /* by last use */
    uint32_t next_queued;
};

struct names {
    ares_channel channel;
    struct slot *slots; /* slots[n_slots] of max */
    uint32_t n_slots, max;
    uint32_t *heads; /* heads[n_heads], a power of two */
    uint32_t n_heads;
    uint32_t oldest, newest;
    uint32_t queue_head, queue_tail;
    uint32_t in_flight;
    unsigned failed_in_row;
    int n_servers;
    bool answered, gave_up;
    uint64_t asked, seed, timeout_ms;
};

weir_status names_new(names **out, const struct names_options *opts, weir_err *err)
{
    names *n = calloc(1, sizeof *n);
    if (!n)
        return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
    n->timeout_ms = opts->timeout_ms ? opts->timeout_ms : 2000;
    if (n->timeout_ms > 3600 * 1000)
        n->timeout_ms = 3600 * 1000;
    n->max = opts->max_cached ? opts->max_cached : 65536;
    n->n_heads = 1;
    while (n->n_heads < n->max && n->n_heads < 1U << 30)
        n->n_heads *= 2;
    n->seed = base_hash_seed();
    n->oldest = n->newest = n->queue_head = n->queue_tail = NONE;
    n->slots = calloc(n->max, sizeof *n->slots);
    n->heads = malloc(n->n_heads * sizeof *n->heads);
    if (!n->slots || !n->heads) {
        free(n->slots);
        free(n->heads);
        free(n);
        return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
    }
    memset(n->heads, 0xff, n->n_heads * sizeof *n->heads);

    /* Two rounds over all servers, the second with twice the patience: together the time of one name. */
    struct ares_options o = {.tries = TRIES};
    const int mask = ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES;
    int servers = 1, got = ares_library_init(ARES_LIB_INIT_ALL);
    bool bad_servers = false;
    for (int round = 0; got == ARES_SUCCESS && round < 2; round++) {
        if (round)
            ares_destroy(n->channel);
        n->channel = NULL; /* which a failed start leaves as it is */
        uint64_t each = n->timeout_ms / 3 / (uint64_t)servers;
        o.timeout = each < 50 ? 50 : (int)each;
        got = ares_init_options(&n->channel, &o, mask);
        if (got == ARES_SUCCESS && opts->servers) {
            got = ares_set_servers_ports_csv(n->channel, opts->servers);
            bad_servers = got != ARES_SUCCESS && got != ARES_ENOMEM;
        }
        struct ares_addr_port_node *list = NULL;
        servers = 0;
        if (got == ARES_SUCCESS && ares_get_servers_ports(n->channel, &list) == ARES_SUCCESS)
            for (struct ares_addr_port_node *s = list; s; s = s->next)
                servers++;
        if (list)
            ares_free_data(list);
        if (servers <= 1)
            break;
    }
    if (bad_servers) {
        names_free(n);
        return weir_err_set(err, WEIR_EINVAL, 0, "'%s' is no address of a name server",
                            opts->servers);
    }
    if (got != ARES_SUCCESS) {
        weir_err_set(err, WEIR_EIO, 0, "cannot start the name resolver: %s", ares_strerror(got));
        names_free(n);
        return WEIR_EIO;
    }
    n->n_servers = servers ? servers : 1;
    *out = n;
    return WEIR_OK;
}

void names_free(names *n)
{
    if (!n)
        return;
    if (n->channel)
        ares_destroy(n->channel);
    ares_library_cleanup();
    for (uint32_t i = 0; i < n->n_slots; i++)
        free(n->slots[i].name);
    free(n->slots);
    free(n->heads);
    free(n);
}

bool names_gave_up(const names *n)
{
    return n->gave_up;
}

uint64_t names_asked(const names *n)
{
    return n->asked;
}

static uint32_t *head_of(names *n, const uint8_t addr[16], uint8_t family)
{
    return &n->heads[base_hash(addr, 16, n->seed + family) & (n->n_heads - 1)];
}

static void use_unlink(names *n, struct slot *s)
{
    *(s->older == NONE ? &n->oldest : &n->slots[s->older].newer) = s->newer;
    *(s->newer == NONE ? &n->newest : &n->slots[s->newer].older) = s->older;
}

static void use_newest(names *n, struct slot *s)
{
    uint32_t i = (uint32_t)(s - n->slots);
    s->newer = NONE;
    s->older = n->newest;
    *(n->newest == NONE ? &n->oldest : &n->slots[n->newest].newer) = i;
    n->newest = i;
}

static struct slot *find(names *n, const uint8_t addr[16], uint8_t family)
{
    uint32_t i = *head_of(n, addr, family);
    while (i != NONE && (n->slots[i].family != family || memcmp(n->slots[i].addr, addr, 16) != 0))
        i = n->slots[i].chain;
    return i == NONE ? NULL : &n->slots[i];
}

/* A slot that nothing uses: a fresh one, or the one longest unused. */
static struct slot *vacate(names *n)
{
    if (n->n_slots < n->max)
        return &n->slots[n->n_slots++];
    struct slot *s = &n->slots[n->oldest];
    if (s->state != DONE)
        return NULL; /* a batch larger than the cache */
    uint32_t i = (uint32_t)(s - n->slots), *at = head_of(n, s->addr, s->family);
    while (*at != i)
        at = &n->slots[*at].chain;
    *at = s->chain;
    use_unlink(n, s);
    free(s->name);
    return s;
}

void names_want(names *n, const uint8_t addr[16], uint8_t family)
{
    struct slot *s = find(n, addr, family);
    if (s) {
        use_unlink(n, s);
        use_newest(n, s);
        return;
    }
    if (n->gave_up || !(s = vacate(n)))
        return;
    *s = (struct slot){.owner = n, .family = family, .state = QUEUED, .next_queued = NONE};
    memcpy(s->addr, addr, 16);
    uint32_t *head = head_of(n, addr, family), i = (uint32_t)(s - n->slots);
    s->chain = *head;
    *head = i;
    use_newest(n, s);
    *(n->queue_tail == NONE ? &n->queue_head : &n->slots[n->queue_tail].next_queued) = i;
    n->queue_tail = i;
}

/* Names come from strangers and go to a terminal. */
static bool printable(const char *name)
{
    size_t len = 0;
    for (; name[len]; len++)
        if (name[len] <= ' ' || name[len] > '~' || len >= NAME_MAX_LEN)
            return false;
    return len > 0;
}

static void on_answer(void *arg, int status, int timeouts, struct hostent *host)
{
    struct slot *s = arg;
    names *n = s->owner;
    s->state = DONE;
    n->in_flight--;
    /* c-ares says "not found" too when nobody answered: the timeouts tell. */
    if (status != ARES_SUCCESS && timeouts >= TRIES * n->n_servers) {
        if (++n->failed_in_row >= GIVE_UP && !n->answered)
            n->gave_up = true;
        return;
    }
    if (status == ARES_ECANCELLED || status == ARES_EDESTRUCTION)
        return;
    n->failed_in_row = 0;
    n->answered = true;
    if (status != ARES_SUCCESS || !host || !host->h_name)
        return;
    /* The first name with a dot in it, else the first: as Python's socket.getfqdn. */
    const char *name = host->h_name;
    for (char **alias = host->h_aliases; !strchr(name, '.') && alias && *alias; alias++)
        if (strchr(*alias, '.'))
            name = *alias;
    if (printable(name))
        s->name = strdup(name);
}

static uint64_t now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void start_some(names *n)
{
    while (n->queue_head != NONE && (n->in_flight < IN_FLIGHT || n->gave_up)) {
        struct slot *s = &n->slots[n->queue_head];
        n->queue_head = s->next_queued;
        if (n->queue_head == NONE)
            n->queue_tail = NONE;
        s->next_queued = NONE;
        if (n->gave_up) {
            s->state = DONE;
            continue;
        }
        s->state = ASKED;
        n->in_flight++;
        n->asked++;
        ares_gethostbyaddr(n->channel, s->addr, s->family == 4 ? 4 : 16,
                           s->family == 4 ? AF_INET : AF_INET6, on_answer, s);
    }
}

void names_wait(names *n)
{
    uint64_t since = now_ms();
    uint64_t asked = n->asked;
    for (;;) {
        start_some(n);
        if (n->in_flight == 0 && n->queue_head == NONE)
            return;
        if (n->asked != asked) {
            asked = n->asked;
            since = now_ms();
        }
        ares_socket_t socks[ARES_GETSOCK_MAXNUM];
        struct pollfd fds[ARES_GETSOCK_MAXNUM];
        unsigned bits = (unsigned)ares_getsock(n->channel, socks, ARES_GETSOCK_MAXNUM);
        nfds_t n_fds = 0;
        for (int i = 0; i < ARES_GETSOCK_MAXNUM; i++) {
            /* As ARES_GETSOCK_READABLE and _WRITABLE, which shift a signed 1 into the sign. */
            bool in = bits >> i & 1, out = bits >> (i + ARES_GETSOCK_MAXNUM) & 1;
            if (in || out)
                fds[n_fds++] = (struct pollfd){
                    .fd = socks[i], .events = (short)((in ? POLLIN : 0) | (out ? POLLOUT : 0))};
        }
        struct timeval most = {1, 0}, tv;
        struct timeval *wait = ares_timeout(n->channel, &most, &tv);
        int ready = poll(fds, n_fds, (int)(wait->tv_sec * 1000 + wait->tv_usec / 1000 + 1));
        if (ready <= 0)
            ares_process_fd(n->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
        for (nfds_t i = 0; ready > 0 && i < n_fds; i++)
            if (fds[i].revents)
                ares_process_fd(n->channel, fds[i].revents & ~POLLOUT ? fds[i].fd : ARES_SOCKET_BAD,
                                fds[i].revents & POLLOUT ? fds[i].fd : ARES_SOCKET_BAD);
        /* A server that keeps a connection busy without an answer is not waited for: nothing asked in twice the
         * time of a name means that every question is past its own. */
        if (now_ms() - since > 2 * n->timeout_ms + 100)
            ares_cancel(n->channel);
        if (n->gave_up)
            ares_cancel(n->channel);
    }
}

const char *names_get(names *n, const uint8_t addr[16], uint8_t family)
{
    const struct slot *s = find(n, addr, family);
    return s && s->state == DONE ? s->name : NULL;
}

/* ---- services ---- */

struct services {
    char *of[65536];
};

services *services_new(void)
{
    services *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    /* All at once: asking for one port reads the whole file, and there are thousands of ports. */
    setservent(1);
    for (struct servent *e; (e = getservent());) {
        uint16_t port = ntohs((uint16_t)e->s_port);
        if (!s->of[port] && e->s_name)
            s->of[port] = strdup(e->s_name);
    }
    endservent();
    return s;
}

void services_free(services *s)
{
    for (size_t i = 0; s && i < 65536; i++)
        free(s->of[i]);
    free(s);
}

const char *services_of(const services *s, uint16_t port)
{
    return s->of[port];
}
