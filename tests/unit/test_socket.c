#include "collect/socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "unit.h"

static void addresses(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want; /* NULL: refused */
    } cases[] = {
        {"192.0.2.1:2055", "192.0.2.1:2055"},
        {"0.0.0.0:0", "0.0.0.0:0"},
        {"[2001:db8::1]:65535", "[2001:db8::1]:65535"},
        {"[::]:1", "[::]:1"},
        {"192.0.2.1", NULL},
        {"192.0.2.1:", NULL},
        {"192.0.2.1:65536", NULL},
        {"192.0.2.1:99999999999", NULL},
        {"192.0.2.1:-1", NULL},
        {"192.0.2.1:80x", NULL},
        {":2055", NULL},
        {"::1:2055", NULL},
        {"[::1]", NULL},
        {"[::1]2055", NULL},
        {"[::1:2055", NULL},
        {"[192.0.2.1]:2055", NULL},
        {"[]:2055", NULL},
        {"]:1", NULL},
        {"", NULL},
        {"host:2055", NULL},
    };
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        weir_endpoint e;
        weir_err err = {0};
        weir_status s = sock_parse(cases[i].text, &e, &err);
        UNIT_CHECK((s == WEIR_OK) == (cases[i].want != NULL), "'%s': %s", cases[i].text, err.msg);
        if (s != WEIR_OK)
            continue;
        char text[WEIR_ENDPOINT_TEXT];
        (void)weir_endpoint_text(&e, text);
        assert_string_equal(text, cases[i].want);
    }
}

static void batches(void **state)
{
    (void)state;
    struct sock s;
    weir_endpoint at;
    weir_err err = {0};
    assert_int_equal(sock_parse("127.0.0.1:0", &at, NULL), WEIR_OK);
    UNIT_CHECK(sock_open(&s, &at, 1 << 20, false, &err) == WEIR_OK, "%s", err.msg);
    assert_int_not_equal(s.at.port, 0);
    assert_true(s.receive_buffer > 0);
    sock_batch *b = sock_batch_new();
    struct sock_message m[SOCK_BATCH];
    int failed = 0;
    assert_int_equal(sock_receive(&s, b, m, &failed), 0);
    assert_int_equal(failed, 0);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(s.at.port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    /* Lengths that matter: nothing, one octet, the largest UDP payload. */
    static const size_t lens[] = {0, 1, 1400, 65507, 3};
    static uint8_t data[65507];
    for (size_t i = 0; i < UNIT_N(lens); i++) {
        memset(data, (int)(i + 1), lens[i]);
        assert_int_equal(sendto(fd, data, lens[i], 0, (struct sockaddr *)&to, sizeof to), lens[i]);
    }
    size_t n = 0;
    while (n < UNIT_N(lens)) {
        struct pollfd p = {.fd = s.fd, .events = POLLIN};
        assert_int_equal(poll(&p, 1, 30000), 1);
        size_t got = sock_receive(&s, b, m, &failed);
        for (size_t i = 0; i < got; i++, n++) {
            assert_int_equal(m[i].len, lens[n]);
            assert_int_equal(m[i].from.family, 4);
            assert_memory_equal(m[i].from.addr, "\x7f\x00\x00\x01", 4);
            assert_true(m[i].received_ns > 1600000000LL * 1000000000);
            for (size_t k = 0; k < m[i].len; k++)
                assert_int_equal(m[i].data[k], n + 1);
        }
    }
    sock_count_drops(&s);
    assert_int_equal(s.kernel_drops, 0);
    (void)close(fd);
    sock_batch_free(b);
    sock_close(&s);
}

static void in_use(void **state)
{
    (void)state;
    struct sock a, b;
    weir_endpoint at;
    weir_err err = {0};
    assert_int_equal(sock_parse("127.0.0.1:0", &at, NULL), WEIR_OK);
    assert_int_equal(sock_open(&a, &at, 1 << 16, false, &err), WEIR_OK);
    assert_int_equal(sock_open(&b, &a.at, 1 << 16, false, &err), WEIR_EIO);
    assert_int_equal(errno, EADDRINUSE);
    assert_non_null(strstr(err.msg, "choose another --port"));
    sock_close(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses),
        cmocka_unit_test(batches),
        cmocka_unit_test(in_use),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
