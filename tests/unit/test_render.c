/* render/plan, record_json and record_text: what the end-to-end tests of `weir decode` cannot reach. */
#include "render/plan.h"
#include "render/record_text.h"

#include "base/err.h"

#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const weir_element src = {
    .name = "src", .type = WEIR_TYPE_IPV4_ADDRESS, .id = 1, .units = ""};
static const weir_element n = {.name = "n", .type = WEIR_TYPE_UNSIGNED32, .id = 2, .units = ""};
static const weir_element quoted = {
    .name = "a\"b", .type = WEIR_TYPE_UNSIGNED8, .id = 3, .units = ""};

static const char *all_names(const weir_field *f, uint8_t *kind)
{
    *kind = f->element->type;
    return f->element->id == 4 ? NULL : f->element->name;
}

static const struct render_style style = {
    .before = ",", .behind = ":", .scope_apart = true, .name = all_names};

static void key_is(const render_plan *p, uint32_t k, const char *want)
{
    assert_int_equal(p->keys[k].len, strlen(want));
    assert_memory_equal(p->text + p->keys[k].at, want, strlen(want));
}

static void test_plan(void **unused)
{
    (void)unused;
    const weir_element left_out = {.name = "x", .id = 4};
    const weir_field fields[] = {{.element = &n},        {.element = &n},  {.element = &src},
                                 {.element = &left_out}, {.element = &n},  {.element = &src},
                                 {.element = &quoted},   {.element = &src}};
    const weir_template t = {.id = 256, .serial = 1, .n_fields = 8, .n_scope = 2, .fields = fields};
    const weir_record r = {.tmpl = &t, .fields = fields, .n_fields = 8, .n_scope = 2};
    render_plans *c = render_plans_new(&style);
    const render_plan *p = render_plan_get(c, &r);
    assert_non_null(p);
    assert_int_equal(p->n_scope_keys, 1);
    assert_int_equal(p->n_keys, 4);
    key_is(p, 0, ",\"n\":"); /* the scopes have keys of their own */
    key_is(p, 1, ",\"src\":");
    key_is(p, 2, ",\"n\":");
    key_is(p, 3, ",\"a\\\"b\":");
    assert_int_equal(p->keys[0].first, 0);
    assert_int_equal(p->next[0], 1);
    assert_int_equal(p->keys[0].last, 1);
    assert_int_equal(p->next[1], RENDER_NONE);
    assert_int_equal(p->keys[1].first, 2);
    assert_int_equal(p->next[2], 5);
    assert_int_equal(p->next[5], 7);
    assert_int_equal(p->next[7], RENDER_NONE);
    assert_int_equal(p->keys[2].first, 4);
    assert_ptr_equal(render_plan_get(c, &r), p);
    render_plans_free(c);
}

static void test_plans_are_bounded(void **unused)
{
    (void)unused;
    const weir_field fields[] = {{.element = &src}, {.element = &n}};
    weir_template t = {.id = 256, .n_fields = 2, .fields = fields};
    render_plans *c = render_plans_new(&style);
    for (uint64_t serial = 1; serial < 40000; serial++) {
        t.serial = serial;
        const weir_record r = {.tmpl = &t, .fields = fields, .n_fields = serial % 2 ? 1 : 2};
        const render_plan *p = render_plan_get(c, &r);
        assert_int_equal(p->n_keys, r.n_fields);
        assert_true(c->count <= 16385 && c->octets <= (33 << 20));
    }
    render_plans_free(c);
}

struct world {
    render_json *j;
    base_buf b;
    bool text;
};

static void record(void *user, const weir_record *r)
{
    struct world *w = user;
    if (w->text)
        render_text_record(w->j, &w->b, r);
    else
        render_json_record(w->j, &w->b, r);
}

static const weir_handlers handlers = {.record = record, .options = record};

static uint8_t *put16(uint8_t *at, unsigned v)
{
    at[0] = (uint8_t)(v >> 8);
    at[1] = (uint8_t)v;
    return at + 2;
}

static uint8_t *put_header(uint8_t *at, size_t len)
{
    memset(at, 0, 16);
    put16(at, 10);
    put16(at + 2, (unsigned)len);
    return at + 16;
}

/* The longest line that a message can ask for: one-octet items, each with an empty field beside it, as many of those as
 * a template may have, all of long names. */
static void test_largest_list(void **unused)
{
    (void)unused;
    enum { N_FIELDS = 2, ITEMS = 65000, LONGEST = 16 << 20 };
    static const uint16_t long_names[] = {480};
    struct world w = {.j = render_json_new()};
    weir_decoder *d = weir_decoder_new(NULL, NULL);
    uint8_t *message = calloc(1, 65536);
    size_t set = 4 + 4 + 4 * N_FIELDS, second = 4 + 4 + 4;
    uint8_t *at = put_header(message, 16 + set + second);
    at = put16(put16(at, 2), (unsigned)set);
    at = put16(put16(at, 300), N_FIELDS);
    for (unsigned i = 0; i < N_FIELDS; i++)
        at = put16(put16(at, i ? long_names[i - 1] : 4), i == 0);
    at = put16(put16(at, 2), (unsigned)second);
    at = put16(put16(at, 301), 1);
    at = put16(put16(at, 292), WEIR_VARLEN);
    const weir_endpoint from = {.family = 4};
    weir_err err = {0};
    if (weir_decode(d, &from, 1, message, (size_t)(at - message), &handlers, &w, &err) != WEIR_OK)
        fail_msg("%s", err.msg);

    at = put_header(message, 16 + 4 + 3 + 3 + ITEMS);
    at = put16(put16(at, 301), 4 + 3 + 3 + ITEMS);
    *at++ = 255;
    at = put16(at, 3 + ITEMS);
    *at++ = 3;
    at = put16(at, 300);
    memset(at, 7, ITEMS);
    if (weir_decode(d, &from, 1, message, (size_t)(at - message) + ITEMS, &handlers, &w, &err) !=
        WEIR_OK)
        fail_msg("%s", err.msg);
    assert_false(w.b.failed);
    assert_true(w.b.len > 0);
    assert_true(w.b.len < LONGEST);
    static const char end[] = "}]}}}\n";
    assert_memory_equal(w.b.data + w.b.len - strlen(end), end, strlen(end));
    size_t n_items = 0;
    static const char item[] = "\"protocolIdentifier\":7";
    const char *found = w.b.data, *stop = w.b.data + w.b.len;
    while ((found = memmem(found, (size_t)(stop - found), item, strlen(item)))) {
        found++;
        n_items++;
    }
    assert_int_equal(n_items, ITEMS);
    free(message);
    weir_decoder_free(d);
    render_json_free(w.j);
    base_buf_done(&w.b);
}

/* Every cut of a message with lists in a list, as JSON and as text: lines or nothing, never a crash. */
static void test_every_cut_of_a_list(void **unused)
{
    (void)unused;
    static const uint8_t templates[] = {
        0, 10, 0,  40, 0,  0,  0,   5,   0,  0,   0,   1, 0, 0, 0, 0, 0,
        2, 0,  24, 1,  44, 0,  2,   1,   35, 255, 255, 0, 7, 0, 2, /* 300: basicList, sourceTransportPort */
        1, 45, 0,  1,  1,  36, 255, 255,                           /* 301: subTemplateList */
    };
    static const uint8_t list[] = {4, 1, 44, /* ordered, of 300 */
                                   7, 3, 0,  4, 0, 1, 6, 17, 0, 53, 6, 3, 0, 4, 0, 1, 1, 0, 80};
    for (int text = 0; text < 2; text++) {
        for (size_t cut = 0; cut <= sizeof list; cut++) {
            struct world w = {.j = render_json_new(), .text = text};
            weir_decoder *d = weir_decoder_new(NULL, NULL);
            const weir_endpoint from = {.family = 4};
            assert_int_equal(
                weir_decode(d, &from, 1, templates, sizeof templates, &handlers, &w, NULL),
                WEIR_OK);
            uint8_t message[64];
            uint8_t *at = put_header(message, 16 + 4 + 1 + cut);
            at = put16(put16(at, 301), (unsigned)(4 + 1 + cut));
            *at++ = (uint8_t)cut;
            memcpy(at, list, cut);
            weir_status status = weir_decode(d, &from, 1, message, (size_t)(at - message) + cut,
                                             &handlers, &w, NULL);
            assert_int_equal(status, WEIR_OK);
            base_buf_char(&w.b, 0);
            assert_non_null(strstr(w.b.data, "subTemplateList"));
            if (cut == sizeof list)
                assert_non_null(strstr(
                    w.b.data,
                    "{\"semantic\":\"ordered\",\"items\":[{\"basicList\":{\"semantic\":\"allOf\","
                    "\"element\":\"protocolIdentifier\",\"items\":[6,17]},\"sourceTransportPort\":"
                    "53},"
                    "{\"basicList\":{\"semantic\":\"allOf\",\"element\":\"protocolIdentifier\","
                    "\"items\":[1]},"
                    "\"sourceTransportPort\":80}]}"));
            weir_decoder_free(d);
            render_json_free(w.j);
            base_buf_done(&w.b);
        }
    }
}

/* The head that records share follows the packet and the template. */
static void test_head_is_renewed(void **unused)
{
    (void)unused;
    struct world w = {.j = render_json_new()};
    weir_decoder *d = weir_decoder_new(NULL, NULL);
    static uint8_t messages[3][40] = {
        {0, 10, 0,  33, 0, 0, 0, 5, 0, 0, 0, 1, 0, 0, 0, 1, 0,
         2, 0,  12, 1,  0, 0, 1, 0, 4, 0, 1, 1, 0, 0, 5, 6},
        {0, 10, 0, 21, 0, 0, 0, 5, 0, 0, 0, 2, 0, 0, 0, 1, 1, 0, 0, 5, 17},
        {0, 10, 0,  33, 0, 0, 0, 6, 0,  0, 0, 3, 0, 0, 0, 1, 0,
         2, 0,  12, 1,  0, 0, 1, 0, 60, 0, 1, 1, 0, 0, 5, 4},
    };
    const weir_endpoint from = {.family = 4, .port = 5, .addr = {192, 0, 2, 1}};
    for (size_t i = 0; i < ARRAY_LEN(messages); i++)
        assert_int_equal(weir_decode(d, &from, (int64_t)i * 1000000000, messages[i], messages[i][3],
                                     &handlers, &w, NULL),
                         WEIR_OK);
    base_buf_char(&w.b, 0);
    assert_string_equal(
        w.b.data,
        "{\"exporter\":\"192.0.2.1:5\",\"received\":\"1970-01-01T00:00:00Z\",\"version\":10,"
        "\"sequence\":1,"
        "\"domain\":1,\"template\":256,\"export_time\":\"1970-01-01T00:00:05Z\",\"kind\":\"flow\","
        "\"first\":\"1970-01-01T00:00:05Z\",\"last\":\"1970-01-01T00:00:05Z\","
        "\"fields\":{\"protocolIdentifier\":6}}\n"
        "{\"exporter\":\"192.0.2.1:5\",\"received\":\"1970-01-01T00:00:01Z\",\"version\":10,"
        "\"sequence\":2,"
        "\"domain\":1,\"template\":256,\"export_time\":\"1970-01-01T00:00:05Z\",\"kind\":\"flow\","
        "\"first\":\"1970-01-01T00:00:05Z\",\"last\":\"1970-01-01T00:00:05Z\","
        "\"fields\":{\"protocolIdentifier\":17}}\n"
        "{\"exporter\":\"192.0.2.1:5\",\"received\":\"1970-01-01T00:00:02Z\",\"version\":10,"
        "\"sequence\":3,"
        "\"domain\":1,\"template\":256,\"export_time\":\"1970-01-01T00:00:06Z\",\"kind\":\"flow\","
        "\"first\":\"1970-01-01T00:00:06Z\",\"last\":\"1970-01-01T00:00:06Z\","
        "\"fields\":{\"ipVersion\":4}}\n");
    weir_decoder_free(d);
    render_json_free(w.j);
    base_buf_done(&w.b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plan),
        cmocka_unit_test(test_plans_are_bounded),
        cmocka_unit_test(test_largest_list),
        cmocka_unit_test(test_every_cut_of_a_list),
        cmocka_unit_test(test_head_is_renewed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
