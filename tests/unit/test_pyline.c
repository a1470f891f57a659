/* render/pyline: which packets become lines and when. What stands in a line is checked against the Python collector
 * by tests/e2e/test_python_format.py. */
#include "render/pyline.h"

#include "base/buf.h"
#include "base/err.h"

#include "unit.h"

#include <stdlib.h>
#include <string.h>

struct world {
    weir_decoder *d;
    pyline *y;
    base_buf lines;
    unsigned n;
    unsigned long flows;
};

static void take(void *user, const char *line, size_t len, unsigned long flows)
{
    struct world *w = user;
    assert_true(len > 0 && line[len - 1] == '\n');
    assert_null(memchr(line, '\n', len - 1));
    base_buf_add(&w->lines, line, len);
    w->n++;
    w->flows += flows;
}

static void start(struct world *w, const weir_decoder_options *options, size_t max_held)
{
    *w = (struct world){.d = weir_decoder_new(options, NULL)};
    w->y = pyline_new(max_held, take, w);
    assert_non_null(w->d);
    assert_non_null(w->y);
}

static void stop(struct world *w)
{
    weir_decoder_free(w->d);
    pyline_free(w->y);
    base_buf_done(&w->lines);
}

/* Feed a message in hex (white space allowed) that arrives at this second. */
static weir_status feed(struct world *w, int second, const char *hex)
{
    uint8_t data[1024];
    size_t n = 0, digits = 0;
    for (; *hex; hex++) {
        if (*hex == ' ')
            continue;
        unsigned v = *hex >= 'a' ? (unsigned)(*hex - 'a') + 10 : (unsigned)(*hex - '0');
        assert_true(v < 16 && n < sizeof data);
        if (digits++ % 2)
            data[n - 1] = (uint8_t)(data[n - 1] | v);
        else
            data[n++] = (uint8_t)(v << 4);
    }
    const weir_endpoint from = {.family = 4, .port = 2055, .addr = {192, 0, 2, 1}};
    return weir_decode(w->d, &from, second * 1000000000LL, data, n, &pyline_handlers, w->y, NULL);
}

/* The lines since the last call. */
static void lines_are(struct world *w, const char *want)
{
    base_buf_char(&w->lines, 0);
    assert_string_equal(w->lines.data, want);
    base_buf_reset(&w->lines);
}

#define HEAD(ts) "{\"" ts "\": {\"client\": [\"192.0.2.1\", 2055], \"header\": {\"version\": 10, "
#define PACKET(length, seq)                                                                        \
    "\"length\": " length ", \"export_uptime\": 5, \"sequence_number\": " seq                      \
    ", \"obervation_domain_id\": 1}, \"flows\": ["
#define TAIL "]}}\n"

/* Data of templates 256 (protocolIdentifier) and 257 (ipVersion), one record each. */
#define DATA_BOTH "000a 001a 00000005 00000001 00000001  0100 0005 06  0101 0005 04"
#define TEMPLATE_256 "000a 001c 00000005 00000002 00000001  0002 000c 0100 0001 0004 0001"
#define TEMPLATE_257 "000a 001c 00000005 00000003 00000001  0002 000c 0101 0001 003c 0001"

static void test_waiting_packet_is_one_line(void **unused)
{
    (void)unused;
    struct world w;
    start(&w, NULL, 1 << 20);
    assert_int_equal(feed(&w, 7, DATA_BOTH), WEIR_OK);
    lines_are(&w, "");
    assert_true(pyline_held(w.y) > 0);
    assert_int_equal(feed(&w, 8, TEMPLATE_256), WEIR_OK);
    lines_are(&w, HEAD("8.0") PACKET("28", "2") TAIL);
    assert_true(pyline_held(w.y) > 0);
    assert_int_equal(feed(&w, 9, TEMPLATE_257), WEIR_OK);
    lines_are(&w, HEAD("9.0") PACKET("28", "3") TAIL HEAD("7.0")
                      PACKET("26", "1") "{\"protocolIdentifier\": 6}, {\"ipVersion\": 4}" TAIL);
    assert_int_equal(pyline_held(w.y), 0);
    assert_int_equal(pyline_split(w.y), 0);
    assert_int_equal(w.n, 3);
    assert_int_equal(w.flows, 2);
    stop(&w);
}

static void test_expired_packet_is_written_with_what_there_is(void **unused)
{
    (void)unused;
    struct world w;
    start(&w, NULL, 1 << 20);
    feed(&w, 7, DATA_BOTH);
    feed(&w, 8, TEMPLATE_257);
    lines_are(&w, HEAD("8.0") PACKET("28", "3") TAIL);
    weir_decoder_finish(w.d, &pyline_handlers, w.y);
    lines_are(&w, HEAD("7.0") PACKET("26", "1") "{\"ipVersion\": 4}" TAIL);
    assert_int_equal(pyline_held(w.y), 0);
    stop(&w);
}

/* Whoever reads the lines into a dict, as Python's analyser does, must not lose packets of one moment. */
static void test_packets_of_one_moment_have_keys_of_their_own(void **unused)
{
    (void)unused;
    struct world w;
    start(&w, NULL, 1 << 20);
    feed(&w, 1700000000, TEMPLATE_256);
    feed(&w, 1700000000, TEMPLATE_256);
    feed(&w, 1700000000, TEMPLATE_256);
    feed(&w, 1699999999, TEMPLATE_256);
    feed(&w, 1700000001, TEMPLATE_256);
    lines_are(&w, HEAD("1700000000.0") PACKET("28", "2") TAIL HEAD("1700000000.0000002")
                      PACKET("28", "2") TAIL HEAD("1700000000.0000005") PACKET("28", "2")
                          TAIL HEAD("1699999999.0") PACKET("28", "2") TAIL HEAD("1700000001.0")
                              PACKET("28", "2") TAIL);
    stop(&w);
}

static void test_held_beyond_the_limit_is_split(void **unused)
{
    (void)unused;
    struct world w;
    start(&w, NULL, 1);
    feed(&w, 7, DATA_BOTH);
    lines_are(&w, HEAD("7.0") PACKET("26", "1") TAIL);
    assert_int_equal(pyline_split(w.y), 1);
    assert_int_equal(pyline_held(w.y), 0);
    /* one of its sets comes, the other still waits: written at once too */
    feed(&w, 8, TEMPLATE_256);
    lines_are(&w, HEAD("8.0") PACKET("28", "2") TAIL HEAD("7.0")
                      PACKET("26", "1") "{\"protocolIdentifier\": 6}" TAIL);
    weir_decoder_finish(w.d, &pyline_handlers, w.y); /* the rest never came: no empty line for it */
    lines_are(&w, "");
    assert_int_equal(w.flows, 1);
    stop(&w);
}

static void test_packet_given_up_while_another_is_decoded(void **unused)
{
    (void)unused;
    struct world w;
    /* Room for about two sets that wait: the third packet drives the first one out while it is decoded. */
    const weir_decoder_options options = {.max_waiting_octets = 800, .waiting_s = 3600};
    start(&w, &options, 1 << 20);
    for (int i = 0; i < 20; i++)
        assert_int_equal(feed(&w, 10 + i, "000a 0015 00000005 00000001 00000001  0100 0005 06"),
                         WEIR_OK);
    assert_true(w.n > 0);
    unsigned early = w.n;
    feed(&w, 40, TEMPLATE_256);
    weir_decoder_finish(w.d, &pyline_handlers, w.y);
    assert_int_equal(w.n, 21); /* each packet once */
    assert_int_equal(w.flows, 20 - early);
    assert_int_equal(pyline_held(w.y), 0);
    assert_int_equal(pyline_lost(w.y), 0);
    stop(&w);
}

static void test_rejected_packet_is_no_line(void **unused)
{
    (void)unused;
    struct world w;
    start(&w, NULL, 1 << 20);
    assert_int_not_equal(feed(&w, 7, "ffff ffff ffff"), WEIR_OK);
    assert_int_not_equal(feed(&w, 7, "000a 0100 00000005 00000001 00000001"), WEIR_OK);
    lines_are(&w, "");
    /* and does not disturb the next one */
    feed(&w, 8, TEMPLATE_256);
    lines_are(&w, HEAD("8.0") PACKET("28", "2") TAIL);
    stop(&w);
}

static void test_many_waiting_packets(void **unused)
{
    (void)unused;
    struct world w;
    start(&w, NULL, 16 << 20);
    enum { N = 3000 };
    for (int i = 0; i < N; i++)
        feed(&w, 10 + i % 60, DATA_BOTH);
    assert_int_equal(w.n, 0);
    feed(&w, 100, TEMPLATE_257);
    feed(&w, 101, TEMPLATE_256);
    assert_int_equal(w.n, N + 2);
    assert_int_equal(w.flows, 2 * N);
    assert_int_equal(pyline_held(w.y), 0);
    stop(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_waiting_packet_is_one_line),
        cmocka_unit_test(test_expired_packet_is_written_with_what_there_is),
        cmocka_unit_test(test_packets_of_one_moment_have_keys_of_their_own),
        cmocka_unit_test(test_held_beyond_the_limit_is_split),
        cmocka_unit_test(test_packet_given_up_while_another_is_decoded),
        cmocka_unit_test(test_rejected_packet_is_no_line),
        cmocka_unit_test(test_many_waiting_packets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
