/* IPFIX files (RFC 5655): section M of tests/conformance.tsv. A row's script is the file, in X{}. */
#include "conformance.h"

#include "collect/capture.h"

#include <bzlib.h>
#include <zlib.h>

#define T256 "S0002{ 0100 0001  0001 0004 }"
#define D256 "S0100{ 00000005 }"
#define R256 "record 256 octetDeltaCount=5"
#define T257 "S0003{ 0101 0002 0001  0107 0001  0029 0004 }" /* scope messageScope */

/* Feed the file at data[len] to the case's decoder, message by message. Returns the gaps that were skipped. */
static uint64_t read_file(export_case *c, const char *name, const void *data, size_t len)
{
    capture *f = NULL;
    weir_err err;
    struct capture_options o = {.from = {.family = 4, .port = 4739, .addr = {192, 0, 2, 1}}};
    if (capture_open_memory(name, data, len, &o, &f, &err) != WEIR_OK)
        fail_msg("%s: %s", name, err.msg);
    struct capture_packet p;
    for (weir_status s; (s = capture_next(f, &p, &err)) != WEIR_END;) {
        if (s != WEIR_OK)
            continue; /* a gap: what follows it comes with the next calls */
        assert_int_equal(p.from.transport, WEIR_FILE);
        c->from = p.from;
        c->now_ns = p.received_ns;
        (void)export_feed(c, p.data, p.len);
    }
    uint64_t gaps = capture_counters(f)->resyncs;
    capture_close(f);
    return gaps;
}

static void file_row(void **state)
{
    const struct row *r = *state;
    export_case c = {.options = r->options};
    export_packet p = {0};
    (void)export_parse_block(r->script, &p);
    assert_int_equal(read_file(&c, r->what, p.data, p.len), 0);
    const char *got = export_transcript(&c, 0);
    UNIT_CHECK(strcmp(got, r->transcript) == 0, "%s: %s\n  got:  %s\n  want: %s", r->id, r->what,
               got, r->transcript);
    conformance_counters(&c, r->id, r->counters);
    conformance_laws(&c, r->id);
    free(p.data);
    export_done(&c);
}

/* clang-format off */
static const struct row rows[] = {
    {"M01", "messages one after another, nothing else", "X{I{" T256 "} I{" D256 "} I{}}", "learnt 256; decoded; " R256 "; decoded; decoded"},
    {"M02", "templates, options and data in one message", "X{I{" T256 T257 D256 "S0101{00 00000009}} I{" D256 "}}",
     "learnt 256; learnt 257; " R256 "; options 257 (messageScope)=0 exportedMessageTotalCount=9; decoded; " R256 "; decoded"},
    {"M03", "a template again, then another one under its id", "X{I{" T256 "} I{" T256 D256 "} I{S0002{0100 0001 0002 0004} " D256 "}}",
     "learnt 256; decoded; refreshed 256; " R256 "; decoded; changed 256; record 256 packetDeltaCount=5; decoded"},
    {"M04", "withdrawals", "X{I{" T256 D256 "} I{S0002{0100 0000}} I{" D256 "}}", "learnt 256; " R256 "; decoded; withdrawn 256; decoded; waiting", "withdrawn=1"},
    {"M04", "of a template that is not there", "X{I{S0002{0100 0000}} I{" T256 D256 "}}", "decoded; learnt 256; " R256 "; decoded", "withdrawals_ignored=1"},
    {"M14", "the value of messageScope means nothing", "X{I{" T257 "S0101{07 00000009}} I{" T256 D256 "}}",
     "learnt 257; options 257 (messageScope)=7 exportedMessageTotalCount=9; decoded; learnt 256; " R256 "; decoded"},
    {"M15", "opaqueOctets are kept as they are", "X{I{S0002{0100 0001 010a ffff} S0100{04 000a0010}}}", "learnt 256; record 256 opaqueOctets=0x000a0010; decoded"},
};
/* clang-format on */

static void M05_nothing_of_one_file_serves_another(void **state)
{
    (void)state;
    /* A file is a session: weir decode gives each one a decoder of its own. */
    export_packet templates = {0}, data = {0};
    (void)export_parse_block("X{I{" T256 "}}", &templates);
    (void)export_parse_block("X{I{" D256 "}}", &data);
    export_case first = {0}, second = {0};
    assert_int_equal(read_file(&first, "first", templates.data, templates.len), 0);
    assert_int_equal(read_file(&second, "second", data.data, data.len), 0);
    assert_string_equal(export_transcript(&first, 0), "learnt 256; decoded");
    assert_string_equal(export_transcript(&second, 0), "waiting");
    free(templates.data);
    free(data.data);
    export_done(&first);
    export_done(&second);
}

static void M17_compression_is_told_by_its_first_octets(void **state)
{
    (void)state;
    export_packet plain = {0};
    (void)export_parse_block("X{I{" T256 D256 "}}", &plain);
    uint8_t out[1024];
    z_stream z = {.next_in = plain.data,
                  .avail_in = (unsigned)plain.len,
                  .next_out = out,
                  .avail_out = sizeof out};
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    size_t gz_len = z.total_out;
    (void)deflateEnd(&z);
    export_case c = {0};
    (void)read_file(&c, "named.bz2 but gzip", out, gz_len);
    assert_string_equal(export_transcript(&c, 0), "learnt 256; " R256 "; decoded");
    export_done(&c);
    unsigned bz_len = sizeof out;
    assert_int_equal(BZ2_bzBuffToBuffCompress((char *)out, &bz_len, (char *)plain.data,
                                              (unsigned)plain.len, 1, 0, 0),
                     BZ_OK);
    c = (export_case){0};
    (void)read_file(&c, "named.gz but bzip2", out, bz_len);
    assert_string_equal(export_transcript(&c, 0), "learnt 256; " R256 "; decoded");
    export_done(&c);
    free(plain.data);
}

static void M18_the_way_back_after_damage(void **state)
{
    (void)state;
    export_packet p = {0};
    (void)export_parse_block("X{I{" T256 "} I{" D256 "} I{" D256 "} I{" D256 "}}", &p);
    /* messages: 28, 24, 24 and 24 octets; the second and a part of the third are zeroed */
    memset(p.data + 28, 0, 30);
    export_case c = {0};
    assert_int_equal(read_file(&c, "zeroed in the middle", p.data, p.len), 1);
    assert_string_equal(export_transcript(&c, 0), "learnt 256; decoded; " R256 "; decoded");
    export_done(&c);
    free(p.data);
}

int main(void)
{
    static const struct CMUnitTest functions[] = {
        cmocka_unit_test(M05_nothing_of_one_file_serves_another),
        cmocka_unit_test(M17_compression_is_told_by_its_first_octets),
        cmocka_unit_test(M18_the_way_back_after_damage),
    };
    return conformance_main("conformance_file", file_row, rows, UNIT_N(rows), functions,
                            UNIT_N(functions));
}
