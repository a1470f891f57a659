/* Faults S1 to S10: structured data (RFC 6313), names and text, each named after its id. */
#include "hostile.h"

#include "base/buf.h"
#include "render/record_json.h"

#include <jansson.h>

/* Template 256: a list (291 basic, 292 sub template, 293 multi) of variable length; 257: two fields for its items. */
#define LIST(ie)                                                                                   \
    "S0002{ 0100 0002 " ie " ffff 0001 0004 0101 0002 0001 0001 0002 0001 0102 0001 0052 ffff } "

static void S1_multi_list_entry_without_size(void **state)
{
    (void)state;
    expect_new("I{ " LIST("0125") "S0100{ 09 03 0101 0000 0101 0006 00000005 } }",
               "learnt 256; learnt 257; learnt 258; record 256 subTemplateMultiList={3 !EFORMAT} "
               "octetDeltaCount=5; decoded");
    /* Shorter than the entry's own head, and longer than the list. */
    expect_new("I{ " LIST("0125") "S0100{ 05 03 0101 0003 00000005 } }",
               "learnt 256; learnt 257; learnt 258; record 256 subTemplateMultiList={3 !EFORMAT} "
               "octetDeltaCount=5; decoded");
    expect_new("I{ " LIST("0125") "S0100{ 05 03 0101 0005 00000005 } }",
               "learnt 256; learnt 257; learnt 258; record 256 subTemplateMultiList={3 !EFORMAT} "
               "octetDeltaCount=5; decoded");
    /* A head without records is an empty block; a right one behind it is read. */
    expect_new("I{ " LIST("0125") "S0100{ 0b 03 0101 0004 0101 0006 0607 00000005 } }",
               "learnt 256; learnt 257; learnt 258; record 256 subTemplateMultiList="
               "{3 octetDeltaCount=6,packetDeltaCount=7} octetDeltaCount=5; decoded");
    /* Cut in its head. */
    expect_new("I{ " LIST("0125") "S0100{ 04 03 010100 00000005 } }",
               "learnt 256; learnt 257; learnt 258; record 256 subTemplateMultiList={3 !ETRUNC} "
               "octetDeltaCount=5; decoded");
    /* A basicList of elements without octets would have any number of items. */
    expect_new("I{ " LIST("0123") "S0100{ 06 03 0001 0000 05 00000005 } }",
               "learnt 256; learnt 257; learnt 258; record 256 basicList={!EFORMAT} "
               "octetDeltaCount=5; decoded");
}

static void S2_unknown_inner_template(void **state)
{
    (void)state;
    expect_new("I{ " LIST("0124") "S0100{ 05 03 0999 0607 00000005 } }",
               "learnt 256; learnt 257; learnt 258; record 256 subTemplateList={!ENOTFOUND} "
               "octetDeltaCount=5; decoded");
    /* In a multi list the blocks around it are read. */
    expect_new("I{ " LIST("0125") "S0100{ 13 03 0101 0006 0607 0999 0006 0808 0101 0006 090a "
                                  "00000005 } }",
               "learnt 256; learnt 257; learnt 258; record 256 subTemplateMultiList="
               "{3 octetDeltaCount=6,packetDeltaCount=7 | !ENOTFOUND | "
               "octetDeltaCount=9,packetDeltaCount=10} octetDeltaCount=5; decoded");
    /* The octets of the list are there as its value. */
    export_case c = {0};
    (void)export_run(&c, "I{ " LIST("0124") "S0100{ 05 03 0999 0607 00000005 } }");
    const export_event *e = the_event(&c, EXPORT_RECORD, 0);
    assert_int_equal(e->fields[0].len, 5);
    assert_memory_equal(e->fields[0].octets, "\x03\x09\x99\x06\x07", 5);
    export_done(&c);
}

/* A basicList around `inner`, depth times. */
static void nest(export_packet *p, unsigned depth, const void *inner, size_t len)
{
    static const uint8_t head[] = {3, 0x01, 0x23, 0xff, 0xff}; /* allOf, basicList, variable */
    static const uint8_t last[] = {3, 0x00, 0x01, 0x00, 0x01}; /* allOf, octetDeltaCount, 1 */
    if (depth == 1) {
        export_put(p, last, sizeof last);
        export_put(p, inner, len);
        return;
    }
    export_packet below = {0};
    nest(&below, depth - 1, inner, len);
    export_put(p, head, sizeof head);
    export_put_be(p, 255, 1);
    export_put16(p, (unsigned)below.len);
    export_put(p, below.data, below.len);
    free(below.data);
}

static drain nested(const weir_decoder_options *options, unsigned depth, const void *inner,
                    size_t len)
{
    weir_decoder *d = weir_decoder_new(options, NULL);
    weir_endpoint from = hostile_from(1, 1000);
    drain seen = {0};
    export_packet learn = hostile_packet("I{ S0002{ 0100 0001 0123 ffff } }");
    export_packet data = hostile_packet("I{ S0100{ } }");
    export_packet list = {0};
    nest(&list, depth, inner, len);
    export_put_be(&data, 255, 1);
    export_put16(&data, (unsigned)list.len);
    export_put(&data, list.data, list.len);
    export_set16(&data, 2, (unsigned)data.len);
    export_set16(&data, 18, (unsigned)data.len - 16);
    assert_int_equal(
        weir_decode(d, &from, EXPORT_NS, learn.data, learn.len, &drain_handlers, &seen, NULL),
        WEIR_OK);
    assert_int_equal(
        weir_decode(d, &from, EXPORT_NS, data.data, data.len, &drain_handlers, &seen, NULL),
        WEIR_OK);
    assert_int_equal(seen.records, 1);
    law_check(d, "nested lists");
    weir_decoder_free(d);
    free(learn.data);
    free(data.data);
    free(list.data);
    return seen;
}

static void S3_nested_lists_that_multiply(void **state)
{
    (void)state;
    static const uint8_t values[1000];
    /* Depth: 8 lists within each other are read, a ninth is not opened. */
    for (unsigned depth = 1; depth <= 20; depth++) {
        drain seen = nested(NULL, depth, values, 3);
        assert_int_equal(seen.items, depth <= 8 ? depth - 1 + 3 : 8);
    }
    const weir_decoder_options flat = {.max_depth = 1, .max_list_items = 100};
    assert_int_equal(nested(&flat, 2, values, 3).items, 1);
    /* Number: a list of 1000 values stops at max_list_items, those of the lists around it included. */
    const weir_decoder_options few = {.max_list_items = 100};
    assert_int_equal(nested(&few, 1, values, sizeof values).items, 100);
    assert_int_equal(nested(&few, 4, values, sizeof values).items, 100);
    assert_int_equal(nested(NULL, 1, values, sizeof values).items, 1000);
}

static void S4_so_many_options_records(void **state)
{
    (void)state;
    /* More than 65535 octets and 65535 records of application names in all: each counted, none merged. */
    export_case c = {0};
    weir_decoder *d = export_weir(&c);
    drain seen = {0};
    export_packet learn = hostile_packet("I{ S0003{ 0100 0002 0001 005f 0004 0060 0008 } }");
    export_packet data = hostile_packet("I{ S0100{ B0d0000506e616d6500000000*5400 } }");
    (void)weir_decode(d, &c.from, c.now_ns, learn.data, learn.len, &drain_handlers, &seen, NULL);
    for (unsigned i = 0; i < 15; i++)
        (void)weir_decode(d, &c.from, c.now_ns, data.data, data.len, &drain_handlers, &seen, NULL);
    assert_int_equal(seen.options, 15 * 5400);
    assert_int_equal(export_counters(&c)->options, 15 * 5400);
    law_check(d, "application names");
    export_done(&c);
    free(learn.data);
    free(data.data);
    /* Samplers are what the decoder keeps of options: 4096 of an exporter, the rest is refused and said. */
    d = export_weir(&c);
    learn = hostile_packet("I{ S0003{ 0100 0002 0001 012e 0004 0022 0004 } }");
    data = hostile_packet("I{ S0100{ } }");
    memset(&seen, 0, sizeof seen);
    for (uint32_t i = 1; i <= 5000; i++) {
        export_put32(&data, i);
        export_put32(&data, i);
    }
    export_set16(&data, 2, (unsigned)data.len);
    export_set16(&data, 18, (unsigned)data.len - 16);
    (void)weir_decode(d, &c.from, c.now_ns, learn.data, learn.len, &drain_handlers, &seen, NULL);
    (void)weir_decode(d, &c.from, c.now_ns, data.data, data.len, &drain_handlers, &seen, NULL);
    assert_int_equal(seen.options, 5000);
    assert_int_equal(seen.samplings, 4096);
    assert_int_equal(export_counters(&c)->faults[WEIR_FAULT_TEMPLATE_LIMIT], 5000 - 4096);
    export_done(&c);
    free(learn.data);
    free(data.data);
}

static void S5_arrays_of_a_file(void **state)
{
    (void)state;
    /* What comes from a file is checked like what comes from the network: every cut of it, with the length in its
     * header as it was and as it should be. */
    export_packet p = hostile_packet("I{ S0003{ 0100 0003 0001 005f 0004 0060 ffff 00eb ffff } "
                                     "S0100{ 0d000050 04 6e616d65 ff0003 766966 "
                                     "0d000051 00 02 6162 } }");
    for (size_t len = 0; len <= p.len; len++)
        for (int honest = 0; honest < 2; honest++) {
            export_case c = {.from = {.family = 0, .transport = WEIR_FILE}};
            uint8_t *copy = malloc(p.len);
            assert_non_null(copy);
            memcpy(copy, p.data, p.len);
            if (honest && len >= 4) {
                copy[2] = (uint8_t)(len >> 8);
                copy[3] = (uint8_t)len;
            }
            c.d = weir_decoder_new(NULL, NULL);
            c.now_ns = EXPORT_NS;
            (void)export_feed(&c, copy, len);
            law_check(c.d, "a cut file");
            assert_int_equal(export_counters(&c)->packets, 1);
            if (len == p.len)
                assert_int_equal(export_counters(&c)->options, 2);
            export_done(&c);
            free(copy);
        }
    free(p.data);
}

static void S6_interface_name_without_nul(void **state)
{
    (void)state;
    expect_new("N{ S0001{ 0100 0004 0008 0002 0004 0052 0008 0053 0004 } "
               "S0100{ 00000007 4769676162697445 61626300 } }",
               "learnt 256; options 256 (scopeInterface)=7 interfaceName=\"GigabitE\" "
               "interfaceDescription=\"abc\"; decoded");
    /* The last octets of the packet are the name. */
    expect_new("I{ S0003{ 0100 0002 0001 000a 0004 0052 0004 } S0100{ 00000007 65746830 } }",
               "learnt 256; options 256 (ingressInterface)=7 interfaceName=\"eth0\"; decoded");
    expect_new("I{ S0003{ 0100 0002 0001 000a 0004 0052 0004 } S0100{ 00000007 00000000 } }",
               "learnt 256; options 256 (ingressInterface)=7 interfaceName=\"\"; decoded");
}

static void S7_reduced_signed_and_float(void **state)
{
    (void)state;
    /* signed32 (mibObjectValueInteger, 434) of 1 to 4 octets keeps its sign. */
    expect_new("I{ S0002{ 0100 0005 01b2 0001 01b2 0002 01b2 0003 01b2 0004 01b2 0008 } "
               "S0100{ ff fffe 800000 7fffffff fffffffffffffffd } }",
               "learnt 256; record 256 mibObjectValueInteger=-1 mibObjectValueInteger=-2 "
               "mibObjectValueInteger=-8388608 mibObjectValueInteger=2147483647 "
               "mibObjectValueInteger=-3; decoded");
    /* float64 (samplingProbability, 311) as float32; other lengths are no numbers. */
    expect_new("I{ S0002{ 0100 0004 0137 0004 0137 0008 0137 0002 0137 0006 } "
               "S0100{ 3fc00000 3ff8000000000000 3fc0 3ff800000000 } }",
               "learnt 256; record 256 samplingProbability=1.5 samplingProbability=1.5 "
               "samplingProbability=!0x3fc0 samplingProbability=!0x3ff800000000; decoded");
    /* A list may be opened many times and closed twice. */
    weir_list list = {0};
    weir_list_close(&list);
    weir_list_close(&list);
    expect_new("I{ " LIST("0124") "S0100{ 05 03 0102 01 61 00000005 05 03 0102 01 62 00000006 } }",
               "learnt 256; learnt 257; learnt 258; "
               "record 256 subTemplateList={3 interfaceName=\"a\"} octetDeltaCount=5; "
               "record 256 subTemplateList={3 interfaceName=\"b\"} octetDeltaCount=6; decoded");
}

/* ---- JSON ---- */

struct json {
    render_json *j;
    base_buf line;
    json_t *value;
};

static void json_on_record(void *user, const weir_record *r)
{
    struct json *s = user;
    base_buf_reset(&s->line);
    render_json_record(s->j, &s->line, r);
    assert_false(s->line.failed);
    json_error_t err;
    json_decref(s->value);
    s->value = json_loadb(s->line.data, s->line.len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &err);
    UNIT_CHECK(s->value, "%s in %.*s", err.text, (int)s->line.len, s->line.data);
}

/* The JSON object of the last record of a script's packet; json_decref it. */
static json_t *json_of(const char *script)
{
    const weir_handlers on = {.record = json_on_record, .options = json_on_record};
    struct json s = {.j = render_json_new()};
    weir_decoder *d = weir_decoder_new(NULL, NULL);
    weir_endpoint from = hostile_from(1, 1000);
    export_packet p = hostile_packet(script);
    assert_int_equal(weir_decode(d, &from, EXPORT_NS, p.data, p.len, &on, &s, NULL), WEIR_OK);
    assert_non_null(s.value);
    free(p.data);
    weir_decoder_free(d);
    render_json_free(s.j);
    base_buf_done(&s.line);
    return s.value;
}

/* The value under a key, wherever in the object it stands. */
static const json_t *json_find(const json_t *at, const char *key)
{
    const char *name;
    json_t *member;
    const json_t *found = json_object_get(at, key);
    void *iter = json_object_iter((json_t *)(uintptr_t)at);
    while (!found && iter) {
        name = json_object_iter_key(iter);
        member = json_object_iter_value(iter);
        if (name && json_is_object(member))
            found = json_find(member, key);
        iter = json_object_iter_next((json_t *)(uintptr_t)at, iter);
    }
    return found;
}

static void S8_octets_of_no_length_in_json(void **state)
{
    (void)state;
    /* 313 ipHeaderPacketSection (octetArray), 82 interfaceName (string): both empty, fixed and variable. */
    json_t *v = json_of(
        "I{ S0002{ 0100 0004 0139 ffff 0139 0000 0052 ffff 0001 0004 } S0100{ 00 00 00000005 } }");
    const json_t *octets = json_find(v, "ipHeaderPacketSection");
    assert_true(json_is_array(octets));
    assert_int_equal(json_array_size(octets), 2);
    for (size_t i = 0; i < 2; i++)
        assert_string_equal(json_string_value(json_array_get(octets, i)), "");
    assert_string_equal(json_string_value(json_find(v, "interfaceName")), "");
    assert_int_equal(json_integer_value(json_find(v, "octetDeltaCount")), 5);
    json_decref(v);
}

static void S9_json_is_valid_and_true(void **state)
{
    (void)state;
    /* Every octet as text, alone and before another: JSON stays JSON. */
    for (unsigned octet = 0; octet < 256; octet++) {
        char script[160];
        (void)snprintf(script, sizeof script,
                       "I{ S0002{ 0100 0002 0052 ffff 0001 0004 } S0100{ 03 61%02x22 00000005 } }",
                       octet);
        json_t *v = json_of(script);
        assert_int_equal(json_integer_value(json_find(v, "octetDeltaCount")), 5);
        const char *text = json_string_value(json_find(v, "interfaceName"));
        assert_non_null(text);
        if (octet >= 0x20 && octet < 0x7f) {
            const char want[] = {'a', (char)octet, '"', 0};
            assert_string_equal(text, want);
        }
        json_decref(v);
    }
    /* Numbers as they are: the largest counter, a negative one, NaN and infinity as text. */
    json_t *v = json_of("I{ S0002{ 0100 0004 0001 0008 01b2 0004 0137 0008 0140 0008 } "
                        "S0100{ 7fffffffffffffff fffffffe 7ff8000000000000 7ff0000000000000 } }");
    assert_true(json_integer_value(json_find(v, "octetDeltaCount")) == INT64_MAX);
    assert_int_equal(json_integer_value(json_find(v, "mibObjectValueInteger")), -2);
    assert_true(json_is_string(json_find(v, "samplingProbability")));
    assert_true(json_is_string(json_find(v, "absoluteError")));
    json_decref(v);
    /* Broken lists and values that do not fit their type are valid JSON too. */
    static const char *const broken[] = {
        "I{ " LIST("0125") "S0100{ 09 03 0101 0000 0101 0006 00000005 } }",
        "I{ " LIST("0124") "S0100{ 05 03 0999 0607 00000005 } }",
        "I{ " LIST("0123") "S0100{ 00 00000005 } }",
        "I{ S0002{ 0100 0003 0008 0005 0038 0001 0096 0003 } S0100{ 0102030405 06 070809 } }",
        "I{ S0002{ 0100 0002 ffff 0003 ffffffff 7fff 0002 } S0100{ 010203 0405 } }",
    };
    for (size_t i = 0; i < UNIT_N(broken); i++)
        json_decref(json_of(broken[i]));
}

static void S10_forwarding_status_of_one_and_four_octets(void **state)
{
    (void)state;
    expect_new("N{ S0000{ 0100 0001 0059 0001 } S0100{ 40 80 c2 } }",
               "learnt 256; record 256 forwardingStatus=64; record 256 forwardingStatus=128; "
               "record 256 forwardingStatus=194; decoded");
    expect_new("N{ S0000{ 0100 0002 0059 0004 0001 0004 } S0100{ 00000040 00000005 } }",
               "learnt 256; record 256 forwardingStatus=64 octetDeltaCount=5; decoded");
    expect_new("I{ S0002{ 0100 0002 0059 0001 0059 0004 } S0100{ 40 00000080 } }",
               "learnt 256; record 256 forwardingStatus=64 forwardingStatus=128; decoded");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(S1_multi_list_entry_without_size),
        cmocka_unit_test(S2_unknown_inner_template),
        cmocka_unit_test(S3_nested_lists_that_multiply),
        cmocka_unit_test(S4_so_many_options_records),
        cmocka_unit_test(S5_arrays_of_a_file),
        cmocka_unit_test(S6_interface_name_without_nul),
        cmocka_unit_test(S7_reduced_signed_and_float),
        cmocka_unit_test(S8_octets_of_no_length_in_json),
        cmocka_unit_test(S9_json_is_valid_and_true),
        cmocka_unit_test(S10_forwarding_status_of_one_and_four_octets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
