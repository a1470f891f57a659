#include "inbox.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* Buffers a multiple of 64 KiB apart would meet in the same lines of the caches. */
enum {
    BATCH = 64,
    DATAGRAM_MAX = 65536,
    STRIDE = DATAGRAM_MAX + 4096 + 192,
    CONTROL_MAX = 64,
    MEMINFO_VARS = 16,
    MEMINFO_DROPS = 8,
    PAUSE_US = 500
};

enum orders { GO_ON, FINISH, STOP };

/* What one recvmmsg brought: one allocation, the octets behind the packets. */
struct batch {
    struct batch *next;
    size_t size; /* of this allocation */
    uint32_t n;
    struct inbox_packet packets[];
};

struct slots {
    struct mmsghdr msg[BATCH];
    struct iovec iov[BATCH];
    union inbox_addr from[BATCH];
    _Alignas(struct cmsghdr) uint8_t control[BATCH][CONTROL_MAX];
};

struct inbox {
    int fd, bell; /* bell: eventfd that ends a poll of the thread */
    size_t limit;
    pid_t pid; /* of the process that has the thread */
    pthread_t thread;
    struct slots *slots;
    uint8_t *room; /* BATCH * STRIDE, untouched pages cost nothing */
    uint32_t drops_before;

    /* the consumer's */
    struct batch *reading;
    uint32_t at;

    pthread_mutex_t lock; /* for all below */
    pthread_cond_t news, space;
    enum orders orders;
    struct batch *first, **last;
    size_t held; /* octets of all batches, that of the consumer too */
    bool hungry; /* the consumer waits */
    bool woken;
    bool ended;
    bool closed; /* the thread is joined, or about to be, and fd is -1 */
    int why;
    struct inbox_counts counts;
};

/* ---- the socket ---- */

/* Beyond net.core.rmem_max where we may. The kernel doubles what it is asked for. */
static void set_buffer(int fd, size_t octets)
{
    int want = octets > INT_MAX / 2 ? INT_MAX / 2 : (int)octets, got = 0;
    socklen_t len = sizeof got;
    if (getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &got, &len) == 0 && got / 2 >= want)
        return;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &want, sizeof want) != 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &want, sizeof want);
}

/* What arrives from now on is dropped at the door. */
static void close_door(int fd)
{
    struct sock_filter nothing = BPF_STMT(BPF_RET | BPF_K, 0);
    struct sock_fprog program = {.len = 1, .filter = &nothing};
    (void)setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);
}

static uint32_t kernel_drops(int fd)
{
    uint32_t info[MEMINFO_VARS] = {0};
    socklen_t len = sizeof info;
    if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &len) != 0 ||
        len < (MEMINFO_DROPS + 1) * sizeof info[0])
        return 0;
    return info[MEMINFO_DROPS];
}

/* The counter has 32 bits and may wrap: it is followed in steps. Holds the lock. */
static void count_drops(inbox *b)
{
    if (b->fd < 0)
        return;
    uint32_t now = kernel_drops(b->fd);
    b->counts.dropped += now - b->drops_before;
    b->drops_before = now;
}

static int64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* The kernel's time of arrival: data may have lain in the buffer for long. */
static int64_t arrival(struct msghdr *m)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        struct timespec t;
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPNS &&
            c->cmsg_len >= CMSG_LEN(sizeof t)) {
            memcpy(&t, CMSG_DATA(c), sizeof t);
            return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
        }
    }
    return now_ns();
}

static bool make_slots(inbox *b)
{
    b->slots = calloc(1, sizeof *b->slots);
    b->room = mmap(NULL, (size_t)BATCH * STRIDE, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (!b->slots || b->room == MAP_FAILED)
        return false;
    for (size_t i = 0; i < BATCH; i++) {
        b->slots->iov[i] = (struct iovec){b->room + i * STRIDE, DATAGRAM_MAX};
        b->slots->msg[i].msg_hdr = (struct msghdr){.msg_name = &b->slots->from[i],
                                                   .msg_iov = &b->slots->iov[i],
                                                   .msg_iovlen = 1,
                                                   .msg_control = b->slots->control[i]};
    }
    return true;
}

/* ---- the thread ---- */

/* Up to BATCH packets in a block of memory of their own; NULL with errno. */
static struct batch *receive(inbox *b)
{
    for (size_t i = 0; i < BATCH; i++) {
        struct msghdr *m = &b->slots->msg[i].msg_hdr;
        m->msg_namelen = sizeof b->slots->from[i];
        m->msg_controllen = CONTROL_MAX;
        memset(&b->slots->from[i], 0, sizeof b->slots->from[i]);
    }
    int n = recvmmsg(b->fd, b->slots->msg, BATCH, MSG_DONTWAIT, NULL);
    if (n <= 0)
        return NULL;
    size_t head = sizeof(struct batch) + (size_t)n * sizeof(struct inbox_packet), size = head;
    for (int i = 0; i < n; i++)
        size += b->slots->msg[i].msg_len;
    struct batch *batch = malloc(size);
    if (!batch) {
        errno = ENOMEM;
        return NULL;
    }
    *batch = (struct batch){.size = size, .n = (uint32_t)n};
    uint8_t *at = (uint8_t *)batch + head;
    for (int i = 0; i < n; i++) {
        uint32_t len = b->slots->msg[i].msg_len;
        batch->packets[i] = (struct inbox_packet){.ns = arrival(&b->slots->msg[i].msg_hdr),
                                                  .from = b->slots->from[i],
                                                  .len = len,
                                                  .data = at};
        memcpy(at, b->slots->iov[i].iov_base, len);
        at += len;
    }
    return batch;
}

static void hand_over(inbox *b, struct batch *batch)
{
    (void)pthread_mutex_lock(&b->lock);
    *b->last = batch;
    b->last = &batch->next;
    b->held += batch->size;
    b->counts.packets += batch->n;
    b->counts.waiting += batch->n;
    for (uint32_t i = 0; i < batch->n; i++)
        b->counts.octets += batch->packets[i].len;
    (void)pthread_cond_signal(&b->news);
    (void)pthread_mutex_unlock(&b->lock);
}

/* Until there is room. What is to be done then. */
static enum orders next_order(inbox *b, bool *hungry)
{
    (void)pthread_mutex_lock(&b->lock);
    while (b->held >= b->limit && b->orders != STOP)
        (void)pthread_cond_wait(&b->space, &b->lock);
    enum orders orders = b->orders;
    *hungry = b->hungry;
    (void)pthread_mutex_unlock(&b->lock);
    return orders;
}

/* Nobody waits for a packet while the interpreter is busy: let some gather, which costs one call instead of one each. */
static void pause_a_little(inbox *b)
{
    const struct timespec t = {.tv_nsec = PAUSE_US * 1000L};
    struct pollfd p = {.fd = b->bell, .events = POLLIN};
    (void)ppoll(&p, 1, &t, NULL);
}

static void wait_for_packets(inbox *b)
{
    struct pollfd p[2] = {{.fd = b->fd, .events = POLLIN}, {.fd = b->bell, .events = POLLIN}};
    (void)poll(p, 2, -1);
}

/* Empty the socket until the orders are to stop, or an error. errno, 0 when it was asked to end. */
static int receive_all(inbox *b)
{
    bool hungry, full = false, door_open = true;
    enum orders orders;
    while ((orders = next_order(b, &hungry)) != STOP) {
        if (orders == FINISH && door_open) {
            (void)pthread_mutex_lock(&b->lock);
            count_drops(b); /* those at the door are not lost */
            (void)pthread_mutex_unlock(&b->lock);
            close_door(b->fd);
            door_open = false;
        }
        if (orders == GO_ON && !hungry && !full)
            pause_a_little(b);
        struct batch *batch = receive(b);
        full = batch && batch->n == BATCH;
        if (batch)
            hand_over(b, batch);
        else if (errno == EAGAIN && orders == FINISH)
            return 0;
        else if (errno == EAGAIN)
            wait_for_packets(b);
        else if (errno != EINTR)
            return errno;
    }
    return 0;
}

static void *run(void *arg)
{
    inbox *b = arg;
    int why = receive_all(b);
    (void)pthread_mutex_lock(&b->lock);
    if (b->orders == GO_ON)
        count_drops(b);
    b->why = why;
    b->ended = true;
    (void)pthread_cond_broadcast(&b->news);
    (void)pthread_mutex_unlock(&b->lock);
    return NULL;
}

/* Signals are for the interpreter's threads. */
static int start(inbox *b)
{
    sigset_t all, before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int e = pthread_create(&b->thread, NULL, run, b);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (e == 0)
        (void)pthread_setname_np(b->thread, "weir-receive");
    return e;
}

/* ---- life ---- */

static void free_all(inbox *b)
{
    free(b->reading);
    for (struct batch *x = b->first, *next; x; x = next) {
        next = x->next;
        free(x);
    }
    if (b->room != MAP_FAILED)
        (void)munmap(b->room, (size_t)BATCH * STRIDE);
    free(b->slots);
    if (b->fd >= 0)
        (void)close(b->fd);
    if (b->bell >= 0)
        (void)close(b->bell);
    (void)pthread_cond_destroy(&b->space);
    (void)pthread_cond_destroy(&b->news);
    (void)pthread_mutex_destroy(&b->lock);
    free(b);
}

inbox *inbox_new(int fd, size_t limit, size_t buffer)
{
    int one = 1, e;
    inbox *b = calloc(1, sizeof *b);
    if (!b)
        return NULL;
    *b = (inbox){.fd = -1, .bell = -1, .limit = limit, .room = MAP_FAILED, .pid = getpid()};
    b->last = &b->first;
    pthread_condattr_t monotonic;
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_mutex_init(&b->lock, NULL);
    (void)pthread_cond_init(&b->news, &monotonic);
    (void)pthread_cond_init(&b->space, NULL);
    (void)pthread_condattr_destroy(&monotonic);
    b->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    b->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (b->fd < 0 || b->bell < 0 ||
        setsockopt(b->fd, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof one) != 0 || !make_slots(b)) {
        e = errno;
    } else {
        set_buffer(b->fd, buffer);
        b->drops_before = kernel_drops(b->fd);
        e = start(b);
    }
    if (e == 0)
        return b;
    free_all(b);
    errno = e;
    return NULL;
}

/* In a process that was forked since there is no thread: its lock may be held for ever, and its bell is the parent's. */
static bool is_forked(const inbox *b)
{
    return b->pid != getpid();
}

static void order(inbox *b, enum orders orders)
{
    if (is_forked(b))
        return;
    (void)pthread_mutex_lock(&b->lock);
    if (orders > b->orders) {
        if (b->orders == GO_ON && orders == STOP && !b->ended)
            count_drops(b);
        b->orders = orders;
    }
    (void)pthread_cond_signal(&b->space);
    (void)pthread_mutex_unlock(&b->lock);
    (void)eventfd_write(b->bell, 1);
}

void inbox_finish(inbox *b)
{
    order(b, FINISH);
}

void inbox_stop(inbox *b)
{
    order(b, STOP);
}

void inbox_close(inbox *b)
{
    if (is_forked(b))
        return;
    order(b, STOP);
    (void)pthread_mutex_lock(&b->lock);
    bool mine = !b->closed;
    b->closed = true;
    while (!b->ended) /* another's close returns no earlier than ours */
        (void)pthread_cond_wait(&b->news, &b->lock);
    (void)pthread_mutex_unlock(&b->lock);
    if (!mine)
        return;
    (void)pthread_join(b->thread, NULL);
    (void)pthread_mutex_lock(&b->lock);
    (void)close(b->fd);
    b->fd = -1;
    (void)pthread_mutex_unlock(&b->lock);
}

void inbox_free(inbox *b)
{
    if (!b || is_forked(b))
        return;
    inbox_close(b);
    free_all(b);
}

/* ---- the consumer ---- */

const struct inbox_packet *inbox_first(inbox *b)
{
    if (!b->reading && !is_forked(b)) {
        (void)pthread_mutex_lock(&b->lock);
        b->reading = b->first;
        if (b->first && !(b->first = b->first->next))
            b->last = &b->first;
        (void)pthread_mutex_unlock(&b->lock);
        b->at = 0;
    }
    return b->reading ? &b->reading->packets[b->at] : NULL;
}

void inbox_pop(inbox *b)
{
    struct batch *done = b->reading;
    if (!done || ++b->at < done->n)
        return;
    b->reading = NULL;
    if (!is_forked(b)) {
        (void)pthread_mutex_lock(&b->lock);
        b->held -= done->size;
        b->counts.waiting -= done->n;
        (void)pthread_cond_signal(&b->space);
        (void)pthread_mutex_unlock(&b->lock);
    }
    free(done);
}

bool inbox_wait(inbox *b, int timeout_ms)
{
    if (is_forked(b))
        return true;
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    if (timeout_ms > 0) {
        until.tv_sec += timeout_ms / 1000;
        until.tv_nsec += timeout_ms % 1000 * 1000000L;
        if (until.tv_nsec >= 1000000000) {
            until.tv_sec++;
            until.tv_nsec -= 1000000000;
        }
    }
    (void)pthread_mutex_lock(&b->lock);
    b->hungry = true;
    int e = 0;
    while (!b->first && !b->woken && !b->ended && e == 0)
        e = timeout_ms < 0 ? pthread_cond_wait(&b->news, &b->lock)
                           : pthread_cond_timedwait(&b->news, &b->lock, &until);
    bool woken = b->woken;
    b->woken = false;
    b->hungry = false;
    (void)pthread_mutex_unlock(&b->lock);
    return woken;
}

void inbox_wake(inbox *b)
{
    if (is_forked(b))
        return;
    (void)pthread_mutex_lock(&b->lock);
    b->woken = true;
    (void)pthread_cond_broadcast(&b->news);
    (void)pthread_mutex_unlock(&b->lock);
}

bool inbox_ended(inbox *b, int *why)
{
    *why = 0;
    if (is_forked(b))
        return !b->reading;
    (void)pthread_mutex_lock(&b->lock);
    bool ended = b->ended && !b->first && !b->reading;
    *why = b->why;
    (void)pthread_mutex_unlock(&b->lock);
    return ended;
}

void inbox_count(inbox *b, struct inbox_counts *c)
{
    if (is_forked(b)) {
        *c = b->counts;
        return;
    }
    (void)pthread_mutex_lock(&b->lock);
    if (b->orders == GO_ON)
        count_drops(b);
    *c = b->counts;
    c->waiting -= b->reading ? b->at : 0;
    (void)pthread_mutex_unlock(&b->lock);
}
