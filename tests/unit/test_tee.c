#include "collect/tee.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "unit.h"

static weir_endpoint at(const char *text)
{
    weir_endpoint e;
    UNIT_CHECK(sock_parse(text, &e, NULL) == WEIR_OK, "%s", text);
    return e;
}

static unsigned get16(const uint8_t *p)
{
    return (unsigned)p[0] << 8 | p[1];
}

/* The sum of RFC 1071, octet by octet; 0xffff: it is right. */
static unsigned sum(const uint8_t *p, size_t len, unsigned before)
{
    for (size_t i = 0; i < len; i++) {
        before += i % 2 ? p[i] : (unsigned)p[i] << 8;
        before = (before & 0xffff) + (before >> 16);
    }
    return before;
}

/* 192.0.2.1:1000 to 198.51.100.7:2055, two octets: worked out by hand. */
static void by_hand(void **state)
{
    (void)state;
    static struct tee_packet p[TEE_MAX_FRAGMENTS];
    uint8_t want[28], want6[48];
    weir_endpoint from = at("192.0.2.1:1000"), to = at("198.51.100.7:2055");
    assert_int_equal(unhex("4500 001e 0000 0000 4011 8e93 c0000201 c6336407"
                           "03e8 0807 000a 06ad",
                           want, sizeof want),
                     sizeof want);
    assert_int_equal(tee_packets(&from, &to, (const uint8_t *)"\x01\x02", 2, 1500, 1, p), 1);
    assert_int_equal(p[0].head_len, sizeof want);
    assert_memory_equal(p[0].head, want, sizeof want);
    assert_int_equal(p[0].at, 0);
    assert_int_equal(p[0].len, 2);
    from = at("[2001:db8::1]:1000");
    to = at("[2001:db8::2]:2055");
    assert_int_equal(unhex("60000000 000a 11 40"
                           "20010db8000000000000000000000001 20010db8000000000000000000000002"
                           "03e8 0807 000a 9774",
                           want6, sizeof want6),
                     sizeof want6);
    assert_int_equal(tee_packets(&from, &to, (const uint8_t *)"\x01\x02", 2, 1500, 1, p), 1);
    assert_int_equal(p[0].head_len, sizeof want6);
    assert_memory_equal(p[0].head, want6, sizeof want6);
}

/* Put together again as RFC 791 and RFC 8200 say, every datagram is what it was, with a right checksum. */
static void together_again(unsigned family, size_t len, size_t mtu)
{
    static struct tee_packet p[TEE_MAX_FRAGMENTS];
    static uint8_t data[65536], whole[65536 + 8];
    size_t ip = family == 4 ? 20 : 40, extra = family == 4 ? 0 : 8, got = 0;
    weir_endpoint from = at(family == 4 ? "192.0.2.1:1000" : "[2001:db8::1]:1000"),
                  to = at(family == 4 ? "198.51.100.7:2055" : "[2001:db8::2]:2055");
    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)(i * 7 + i / 256);
    size_t n = tee_packets(&from, &to, data, len, mtu, 0x12345678, p);
    bool fragments = ip + 8 + len > mtu;
    UNIT_CHECK(fragments ? n > 1 : n == 1, "%zu octets, mtu %zu: %zu packets", len, mtu, n);
    for (size_t i = 0; i < n; i++) {
        const uint8_t *h = p[i].head;
        size_t head = ip + (fragments ? extra : 0), off, more;
        UNIT_CHECK(p[i].head_len + p[i].len <= mtu, "packet %zu is longer than %zu", i, mtu);
        if (family == 4) {
            assert_int_equal(sum(h, 20, 0), 0xffff);
            assert_int_equal(get16(h + 2), p[i].head_len + p[i].len);
            assert_int_equal(get16(h + 4), fragments ? 0x5678 : 0);
            off = (get16(h + 6) & 0x1fff) * 8;
            more = get16(h + 6) >> 13 & 1;
        } else {
            assert_int_equal(get16(h + 4), p[i].head_len + p[i].len - 40);
            assert_int_equal(h[6], fragments ? 44 : 17);
            off = fragments ? get16(h + 42) & 0xfff8 : 0;
            more = fragments ? get16(h + 42) & 1 : 0;
            if (fragments)
                assert_int_equal(get16(h + 44) << 16 | get16(h + 46), 0x12345678);
        }
        UNIT_CHECK(off == got, "packet %zu begins at %zu, not at %zu", i, off, got);
        assert_int_equal(more, i + 1 < n);
        memcpy(whole + got, h + head, p[i].head_len - head);
        got += p[i].head_len - head;
        memcpy(whole + got, data + p[i].at, p[i].len);
        got += p[i].len;
    }
    assert_int_equal(got, len + 8);
    assert_memory_equal(whole + 8, data, len);
    assert_int_equal(get16(whole + 4), len + 8);
    unsigned s = sum(from.addr, family == 4 ? 4 : 16, 0);
    s = sum(to.addr, family == 4 ? 4 : 16, s);
    s += 17;
    s += (unsigned)len + 8;
    UNIT_CHECK(sum(whole, got, (s & 0xffff) + (s >> 16)) == 0xffff, "%zu octets: checksum", len);
}

static void fragments(void **state)
{
    (void)state;
    static const size_t mtus[] = {576, 1280, 1500, 9000, 65535};
    static const size_t lens[] = {0,    1,    2,    3,    547,  548,  549,  1231,  1232,
                                  1233, 1440, 1452, 1453, 1472, 1473, 4000, 60001, 65507};
    for (size_t m = 0; m < UNIT_N(mtus); m++) {
        for (size_t l = 0; l < UNIT_N(lens); l++) {
            together_again(4, lens[l], mtus[m]);
            if (mtus[m] >= 1280)
                together_again(6, lens[l], mtus[m]);
        }
    }
}

static void loops(void **state)
{
    (void)state;
    const struct {
        const char *listen, *target;
        bool loop;
    } cases[] = {
        {"127.0.0.1:2055", "127.0.0.1:2055", true},  {"127.0.0.1:2055", "127.0.0.1:2056", false},
        {"127.0.0.1:2055", "127.0.0.2:2055", false}, {"127.0.0.1:2055", "0.0.0.0:2055", true},
        {"0.0.0.0:2055", "127.0.0.2:2055", true},    {"0.0.0.0:2055", "192.0.2.1:2055", false},
        {"0.0.0.0:2055", "[::1]:2055", false},       {"[::1]:2055", "[::1]:2055", true},
    };
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        struct sock s = {.fd = -1, .at = at(cases[i].listen)};
        weir_endpoint target = at(cases[i].target);
        UNIT_CHECK(tee_is_loop(&target, &s, 1) == cases[i].loop, "%s to %s", cases[i].listen,
                   cases[i].target);
    }
}

static void law(const struct tee_counters *n, const struct tee_target_counters *t, size_t targets)
{
    assert_int_equal(n->datagrams, n->dropped + n->queued + n->done);
    for (size_t i = 0; i < targets; i++)
        assert_int_equal(t[i].sent + t[i].failed, n->done);
}

/* Nobody takes what is put: the queue fills, the rest is dropped and counted. Then it is sent, also to a target that is
 * not there. */
static void bounded(void **state)
{
    (void)state;
    static const uint8_t data[1000] = {1};
    struct sock s;
    weir_err err = {0};
    weir_endpoint any = at("127.0.0.1:0"), from = at("127.0.0.2:9"), targets[2];
    assert_int_equal(sock_open(&s, &any, 1 << 20, false, &err), WEIR_OK);
    targets[1] = s.at; /* nobody: it is closed again */
    struct sock gone;
    assert_int_equal(sock_open(&gone, &any, 1 << 20, false, &err), WEIR_OK);
    targets[0] = gone.at;
    sock_close(&gone);
    const struct tee_options o = {.targets = targets,
                                  .n_targets = 2,
                                  .source = TEE_SOURCE_OWN,
                                  .n_feeders = 2,
                                  .queue_octets = 2 << 20};
    tee *t;
    int why;
    struct tee_counters n;
    struct tee_target_counters c[2];
    UNIT_CHECK(tee_new(&o, &t, &why, &err) == WEIR_OK, "%s", err.msg);
    assert_int_equal(why, 0);
    for (int i = 0; i < 3000; i++)
        tee_put(t, 1, &from, data, sizeof data);
    tee_put(t, 0, &from, data, 1);
    tee_commit(t, 0);
    tee_commit(t, 1);
    tee_read(t, &n, c);
    law(&n, c, 2);
    assert_int_equal(n.datagrams, 3001);
    assert_int_equal(n.done, 0);
    UNIT_CHECK(n.queued > 900 && n.queued < 1100, "%d of 1 MiB are queued", (int)n.queued);
    uint64_t queued = n.queued;
    assert_int_equal(tee_start(t, &err), WEIR_OK);
    tee_ring(t, 0);
    tee_ring(t, 1);
    tee_stop(t, bell_now() + 30 * (int64_t)BELL_S);
    tee_read(t, &n, c);
    law(&n, c, 2);
    assert_int_equal(n.done, queued);
    assert_int_equal(n.queued, 0);
    assert_int_equal(c[1].failed, 0);
    assert_true(c[0].refused > 0);
    assert_int_equal(c[0].last_error, ECONNREFUSED);
    /* The first datagrams arrived (as many as the receiver has room for), from this machine. */
    uint8_t got[2000];
    struct sockaddr_in sender;
    socklen_t len = sizeof sender;
    ssize_t k = recvfrom(s.fd, got, sizeof got, 0, (struct sockaddr *)&sender, &len);
    assert_true(k == 1 || k == 1000);
    assert_int_equal(ntohl(sender.sin_addr.s_addr), INADDR_LOOPBACK);
    tee_free(t);
    sock_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_hand),
        cmocka_unit_test(fragments),
        cmocka_unit_test(loops),
        cmocka_unit_test(bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
