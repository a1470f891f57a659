#include "collect/steer.h"

#include "collect/socket.h"

#include <arpa/inet.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "unit.h"

enum { N = 5, SENDERS = 60, WAIT_MS = 30000 };

static weir_endpoint v4(uint32_t addr)
{
    weir_endpoint e = {.family = 4, .port = 9};
    for (int i = 0; i < 4; i++)
        e.addr[i] = (uint8_t)(addr >> (24 - 8 * i));
    return e;
}

static void by_address_alone(void **state)
{
    (void)state;
    weir_endpoint a = v4(0xc0000201), b = a;
    b.port = 4711;
    assert_int_equal(steer_of(&a, 1), 0);
    assert_int_equal(steer_of(&a, 7), steer_of(&b, 7));
}

/* Neighbours and whole networks are spread: no worker has twice its share. */
static void even(void **state)
{
    (void)state;
    for (unsigned n = 2; n <= 16; n++) {
        unsigned seen[16] = {0}, seen6[16] = {0};
        for (uint32_t i = 0; i < 4096; i++) {
            weir_endpoint e = v4(0x0a000001 + i), f = {.family = 6, .addr = {0x20, 1, 0xd, 0xb8}};
            f.addr[14] = (uint8_t)(i >> 8);
            f.addr[15] = (uint8_t)i;
            unsigned k = steer_of(&e, n), k6 = steer_of(&f, n);
            assert_true(k < n && k6 < n);
            seen[k]++;
            seen6[k6]++;
        }
        for (unsigned k = 0; k < n; k++)
            UNIT_CHECK(seen[k] < 2 * 4096 / n && seen6[k] < 2 * 4096 / n, "%u of %u: %u, %u", k, n,
                       seen[k], seen6[k]);
    }
}

/* What the kernel does with datagrams is what steer_of says, whatever port they come from. */
static void kernel_agrees(const char *listen, unsigned family)
{
    struct sock s[N];
    weir_endpoint at;
    weir_err err = {0};
    assert_int_equal(sock_parse(listen, &at, NULL), WEIR_OK);
    if (sock_open(&s[0], &at, 1 << 20, true, &err) != WEIR_OK) {
        (void)printf("skipped: %s\n", err.msg);
        return;
    }
    for (unsigned i = 1; i < N; i++)
        UNIT_CHECK(sock_open(&s[i], &s[0].at, 1 << 20, true, &err) == WEIR_OK, "%s", err.msg);
    if (!steer_attach(s[0].fd, family, N)) {
        (void)printf("skipped: the kernel cannot steer\n");
        for (unsigned i = 0; i < N; i++)
            sock_close(&s[i]);
        return;
    }
    /* What comes before all of them are bound and steered could be given to anyone: nobody takes it, or counts it as lost. */
    int early = socket(family == 4 ? AF_INET : AF_INET6, SOCK_DGRAM, 0);
    struct sockaddr_in early4 = {.sin_family = AF_INET, .sin_port = htons(s[0].at.port)};
    struct sockaddr_in6 early6 = {.sin6_family = AF_INET6, .sin6_port = htons(s[0].at.port)};
    early4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    early6.sin6_addr = in6addr_loopback;
    assert_int_equal(sendto(early, "y", 1, 0,
                            family == 4 ? (struct sockaddr *)&early4 : (struct sockaddr *)&early6,
                            family == 4 ? sizeof early4 : sizeof early6),
                     1);
    (void)close(early);
    for (unsigned i = 0; i < N; i++) {
        sock_begin(&s[i]);
        struct pollfd nothing = {.fd = s[i].fd, .events = POLLIN};
        assert_int_equal(poll(&nothing, 1, 0), 0);
        sock_count_drops(&s[i]);
        assert_int_equal(s[i].kernel_drops, 0);
    }
    sock_batch *b = sock_batch_new();
    struct sock_message m[SOCK_BATCH];
    for (unsigned k = 0; k < SENDERS; k++) {
        int fd = socket(family == 4 ? AF_INET : AF_INET6, SOCK_DGRAM, 0);
        struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(s[0].at.port)};
        struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(s[0].at.port)};
        in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        in6.sin6_addr = in6addr_loopback;
        struct sockaddr *to = family == 4 ? (struct sockaddr *)&in : (struct sockaddr *)&in6;
        socklen_t len = family == 4 ? sizeof in : sizeof in6;
        struct sockaddr_in from = {.sin_family = AF_INET};
        from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + k / 2); /* two ports each */
        if (family == 4)
            assert_int_equal(bind(fd, (struct sockaddr *)&from, sizeof from), 0);
        assert_int_equal(sendto(fd, "x", 1, 0, to, len), 1);
        struct pollfd p[N];
        for (unsigned i = 0; i < N; i++)
            p[i] = (struct pollfd){.fd = s[i].fd, .events = POLLIN};
        assert_int_equal(poll(p, N, WAIT_MS), 1);
        for (unsigned i = 0; i < N; i++) {
            int failed;
            if (!p[i].revents)
                continue;
            assert_int_equal(sock_receive(&s[i], b, m, &failed), 1);
            assert_int_equal(steer_of(&m[0].from, N), i);
        }
        (void)close(fd);
    }
    sock_batch_free(b);
    for (unsigned i = 0; i < N; i++)
        sock_close(&s[i]);
}

static void kernel_agrees_v4(void **state)
{
    (void)state;
    kernel_agrees("127.0.0.1:0", 4);
}

static void kernel_agrees_v6(void **state)
{
    (void)state;
    kernel_agrees("[::1]:0", 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_address_alone),
        cmocka_unit_test(even),
        cmocka_unit_test(kernel_agrees_v4),
        cmocka_unit_test(kernel_agrees_v6),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
