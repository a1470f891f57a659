/* bare_receiver -- takes UDP packets and throws them away: what receiving alone costs, and the fastest that a collector
 * can be. Batches of recvmmsg, as the kernel has them.
 *
 *     bare_receiver PORT BUFFER     until SIGTERM; then one JSON line: packets and octets */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

enum { BATCH = 64, PAYLOAD = 9216 };

static volatile sig_atomic_t stop;

static void on_signal(int number)
{
    (void)number;
    stop = 1;
}

int main(int argc, char **argv)
{
    static uint8_t data[BATCH][PAYLOAD];
    static struct mmsghdr msgs[BATCH];
    static struct iovec iov[BATCH];
    if (argc != 3) {
        (void)fprintf(stderr, "usage: bare_receiver PORT BUFFER\n");
        return 2;
    }
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    int buffer = atoi(argv[2]), fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct timeval wait = {.tv_usec = 200000}; /* a signal just before recvmmsg is seen after it */
    struct sockaddr_in own = {.sin_family = AF_INET,
                              .sin_port = htons((uint16_t)atoi(argv[1])),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait) != 0 ||
        bind(fd, (const struct sockaddr *)&own, sizeof own) != 0) {
        (void)fprintf(stderr, "bare_receiver: port %s: %s\n", argv[1], strerror(errno));
        return 1;
    }
    for (unsigned i = 0; i < BATCH; i++) {
        iov[i] = (struct iovec){data[i], PAYLOAD};
        msgs[i].msg_hdr = (struct msghdr){.msg_iov = &iov[i], .msg_iovlen = 1};
    }
    uint64_t packets = 0, octets = 0;
    while (!stop) {
        int n = recvmmsg(fd, msgs, BATCH, MSG_WAITFORONE, NULL);
        for (int i = 0; i < n; i++)
            octets += msgs[i].msg_len;
        packets += n > 0 ? (uint64_t)n : 0;
    }
    printf("{\"packets\": %" PRIu64 ", \"octets\": %" PRIu64 "}\n", packets, octets);
    return 0;
}
