/* Who may send, and what may reach a terminal: the rows of section I of tests/conformance.tsv that are not the
 * decoder's. */
#include "conformance.h"

#include "collect/allow.h"
#include "render/record_json.h"

static void I11_senders_that_no_network_names(void **state)
{
    (void)state;
    struct allow a = {0};
    weir_err err;
    static const struct {
        const char *from;
        bool allowed;
    } cases[] = {{"192.0.2.1", true},    {"192.0.2.255", true},   {"192.0.3.1", false},
                 {"198.51.100.7", true}, {"198.51.100.8", false}, {"2001:db8:1::1", true},
                 {"2001:db9::1", false}};
    weir_endpoint e;
    assert_true(allow_address("203.0.113.9", &e));
    assert_true(allow_match(&a, &e)); /* no list: everybody */
    assert_int_equal(allow_add(&a, "192.0.2.0/24", &err), WEIR_OK);
    assert_int_equal(allow_add(&a, "198.51.100.7", &err), WEIR_OK);
    assert_int_equal(allow_add(&a, "2001:db8::/32", &err), WEIR_OK);
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        UNIT_CHECK(allow_address(cases[i].from, &e), "I11: %s is no address", cases[i].from);
        UNIT_CHECK(allow_match(&a, &e) == cases[i].allowed, "I11: %s", cases[i].from);
    }
    allow_done(&a);
}

/* Lines of JSON of all records. */
struct lines {
    render_json *json;
    base_buf text;
};

static void add_line(void *user, const weir_record *r)
{
    struct lines *l = user;
    render_json_record(l->json, &l->text, r);
}

static void I16_control_characters_are_escaped(void **state)
{
    (void)state;
    export_case c = {0};
    struct lines l = {.json = render_json_new()};
    const weir_handlers on = {.record = add_line};
    export_packet p = {0};
    assert_non_null(l.json);
    (void)export_weir(&c);
    /* a terminal's escape sequence, a quote, a backslash, a line end, a C1 control, and octets that are not UTF-8 */
    (void)export_parse_block("I{ S0002{ 0100 0001 0052 ffff }"
                             " S0100{ 0b 1b5d303b61 22 5c 0a c29b 7f 03 80ff41 } }",
                             &p);
    assert_int_equal(weir_decode(c.d, &c.from, c.now_ns, p.data, p.len, &on, &l, NULL), WEIR_OK);
    assert_false(l.text.failed);
    size_t lines = 0;
    for (size_t i = 0; i < l.text.len; i++) {
        unsigned char ch = (unsigned char)l.text.data[i];
        lines += ch == '\n';
        UNIT_CHECK(ch == '\n' || (ch >= 0x20 && ch != 0x7f), "I16: octet %#x at %zu of %.*s", ch, i,
                   (int)l.text.len, (const char *)l.text.data);
    }
    assert_int_equal(lines, 2);
    assert_non_null(memmem(l.text.data, l.text.len, "\\u001b]0;a\\\"\\\\\\n", 15));
    base_buf_done(&l.text);
    render_json_free(l.json);
    free(p.data);
    export_done(&c);
}

int main(void)
{
    static const struct CMUnitTest functions[] = {
        cmocka_unit_test(I11_senders_that_no_network_names),
        cmocka_unit_test(I16_control_characters_are_escaped),
    };
    return cmocka_run_group_tests_name("conformance_safety", functions, NULL, NULL);
}
