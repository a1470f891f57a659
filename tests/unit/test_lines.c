#include "analyze/lines.h"

#include "unit.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

/* A file in memory, at its start. */
static int file_of(const void *p, size_t len)
{
    int fd = memfd_create("lines", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, p, len), (ssize_t)len);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

static size_t pack(const void *p, size_t len, uint8_t *out, size_t cap)
{
    z_stream z = {0};
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    uint8_t *in = malloc(len + 1);
    assert_non_null(in);
    if (len)
        memcpy(in, p, len);
    z.next_in = in;
    z.avail_in = (unsigned)len;
    z.next_out = out;
    z.avail_out = (unsigned)cap;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    size_t n = cap - z.avail_out;
    deflateEnd(&z);
    free(in);
    return n;
}

/* All lines of p[len], joined by '|' with what was noted of each: '!' too long, '?' cut. */
static struct lines_damage read_all(const void *p, size_t len, size_t max_line, char *out,
                                    size_t cap)
{
    int fd = file_of(p, len);
    lines *l;
    struct line line;
    weir_err err = {0};
    size_t n = 0;
    uint64_t number = 0;
    weir_status st = lines_new(&l, fd, max_line, &err);
    assert_int_equal(st, WEIR_OK);
    while ((st = lines_next(l, &line, &err)) == WEIR_OK) {
        assert_int_equal(line.number, ++number);
        assert_int_equal(line.text[line.len], '\n');
        assert_true(n + line.len + 4 < cap);
        memcpy(out + n, line.text, line.len);
        n += line.len;
        if (line.too_long)
            out[n++] = '!';
        if (line.cut)
            out[n++] = '?';
        out[n++] = '|';
    }
    UNIT_CHECK(st == WEIR_END, "%s", err.msg);
    assert_int_equal(lines_next(l, &line, &err), WEIR_END); /* and stays so */
    out[n] = 0;
    struct lines_damage d = lines_damage(l);
    lines_free(l);
    close(fd);
    return d;
}

static void test_plain_and_packed(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t max;
        const char *want;
    } cases[] = {
        {"", 100, ""},
        {"a", 100, "a?|"},
        {"a\n", 100, "a|"},
        {"\n\n", 100, "||"},
        {"a\nbc\n\nd", 100, "a|bc||d?|"},
        {"12345\n123456\n1\n", 5, "12345|!|1|"},
        {"123456", 5, "!?|"},
        {"12345", 5, "12345?|"},
    };
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        char out[256];
        uint8_t packed[512];
        size_t len = strlen(cases[i].text);
        read_all(cases[i].text, len, cases[i].max, out, sizeof out);
        UNIT_CHECK(strcmp(out, cases[i].want) == 0, "plain '%s': '%s'", cases[i].text, out);
        size_t n = pack(cases[i].text, len, packed, sizeof packed);
        struct lines_damage d = read_all(packed, n, cases[i].max, out, sizeof out);
        UNIT_CHECK(strcmp(out, cases[i].want) == 0, "packed '%s': '%s'", cases[i].text, out);
        assert_false(d.truncated || d.n_broken);
        /* A line may go on in the next member. */
        n = pack(cases[i].text, len / 2, packed, sizeof packed);
        n += pack(cases[i].text + len / 2, len - len / 2, packed + n, sizeof packed - n);
        read_all(packed, n, cases[i].max, out, sizeof out);
        UNIT_CHECK(strcmp(out, cases[i].want) == 0, "in two members '%s': '%s'", cases[i].text,
                   out);
    }
}

/* Lines around the size of the blocks that are handed over. */
static void test_lines_across_blocks(void **state)
{
    (void)state;
    enum { LEN = 700000 };
    static char text[LEN], out[LEN + 100], want[LEN + 100];
    for (size_t step = 131071; step <= 131073; step++) {
        memset(text, 'x', LEN);
        for (size_t i = step - 1; i < LEN; i += step)
            text[i] = '\n';
        read_all(text, LEN, LEN, out, sizeof out);
        memcpy(want, text, LEN);
        for (size_t i = 0; i < LEN; i++)
            if (want[i] == '\n')
                want[i] = '|';
        (void)snprintf(want + LEN, 100, "?|");
        UNIT_CHECK(strcmp(out, want) == 0, "every %zu octets", step);
    }
}

/* A caller that stops early does not hang, though the reader still has much to say. */
static void test_stop_early(void **state)
{
    (void)state;
    size_t len = 8 << 20;
    char *text = malloc(len);
    assert_non_null(text);
    memset(text, '\n', len);
    int fd = file_of(text, len);
    lines *l;
    struct line line;
    assert_int_equal(lines_new(&l, fd, 100, NULL), WEIR_OK);
    assert_int_equal(lines_next(l, &line, NULL), WEIR_OK);
    lines_free(l);
    close(fd);
    free(text);
}

static void test_damage(void **state)
{
    (void)state;
    uint8_t file[4096];
    char out[256];
    size_t a = pack("one\n", 4, file, sizeof file);
    size_t b = a + pack("two\n", 4, file + a, sizeof file - a);
    size_t c = b + pack("three\n", 6, file + b, sizeof file - b);
    struct lines_damage d = read_all(file, c, 100, out, sizeof out);
    assert_string_equal(out, "one|two|three|");
    assert_false(d.truncated || d.n_broken);

    for (size_t cut = b + 3; cut < c; cut++) { /* still being written */
        d = read_all(file, cut, 100, out, sizeof out);
        UNIT_CHECK(strncmp(out, "one|two|", 8) == 0 && d.truncated && !d.n_broken,
                   "cut at %zu: '%s'", cut, out);
    }
    for (size_t cut = a + 2; cut < b; cut++) { /* killed, then started again */
        uint8_t torn[4096];
        memcpy(torn, file, cut);
        memcpy(torn + cut, file + b, c - b);
        d = read_all(torn, cut + c - b, 100, out, sizeof out);
        UNIT_CHECK(strncmp(out, "one|", 4) == 0 && strcmp(out + strlen(out) - 6, "three|") == 0,
                   "torn at %zu: '%s'", cut, out);
        UNIT_CHECK(d.n_broken >= 1 && d.first_at == a && !d.truncated, "torn at %zu: %llu at %llu",
                   cut, (unsigned long long)d.n_broken, (unsigned long long)d.first_at);
    }
}

static void test_read_failure(void **state)
{
    (void)state;
    lines *l;
    struct line line;
    weir_err err = {0};
    assert_int_equal(lines_new(&l, -1, 100, &err), WEIR_OK);
    assert_int_equal(lines_next(l, &line, &err), WEIR_EIO);
    assert_non_null(strstr(err.msg, "Bad file descriptor"));
    lines_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_and_packed), cmocka_unit_test(test_lines_across_blocks),
        cmocka_unit_test(test_stop_early),       cmocka_unit_test(test_damage),
        cmocka_unit_test(test_read_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
