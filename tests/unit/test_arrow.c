/* Arrow batches of decoders, captures and archives: every type, nulls, dictionaries and lists value by value; who may release
 * what and when; a question's rows against those of `weir query`. */
#include "archive_dir.h"
#include "arrow_cells.h"
#include "export.h"
#include "ledger_rows.h"
#include "unit.h"

#include "arrow/columns.h"
#include "arrow/gather.h"
#include "flow/normalise.h"
#include "query/field.h"

#include <errno.h>
#include <jansson.h>
#include <pthread.h>

/* ---- batches of rows ---- */

static void text_key(flow_batch *b, uint32_t column, uint32_t row, const char *text)
{
    assert_true(flow_batch_set_key(b, column, row, text, (uint32_t)strlen(text)));
}

/* Schema and rows of what b becomes, as text; b is the arrays' then. */
static void take(const struct arrow_columns *c, flow_batch *b, base_buf *formats, base_buf *lines)
{
    struct ArrowSchema schema;
    struct ArrowArray array;
    weir_err err = {0};
    UNIT_CHECK(arrow_columns_take(c, b, &schema, &array, &err) == WEIR_OK, "take: %s", err.msg);
    arrow_check(&schema, &array);
    for (int64_t i = 0; i < schema.n_children; i++) {
        const struct ArrowSchema *s = schema.children[i];
        base_buf_printf(formats, "%s %s", s->name, s->format);
        if (s->n_children)
            s = s->children[0];
        if (schema.children[i]->n_children)
            base_buf_printf(formats, " %s", s->format);
        if (s->dictionary)
            base_buf_printf(formats, " %s", s->dictionary->format);
        base_buf_char(formats, '\n');
    }
    base_buf_char(formats, 0);
    arrow_lines(lines, &schema, &array);
    base_buf_char(lines, 0);
    array.release(&array);
    schema.release(&schema);
}

static void test_types(void **state)
{
    (void)state;
    flow_batch *b = flow_batch_new(FLOW_TABLE_FLOWS);
    uint32_t row = flow_batch_add_rows(b, 4);
    assert_int_equal(row, 0);
    /* A column whose last rows have no place yet, one that begins late, one with a hole, one without a value. */
    flow_batch_set_u64(b, FLOW_bytes, 0, UINT64_MAX);
    flow_batch_set_u64(b, FLOW_src_port, 2, 65535);
    flow_batch_set_u64(b, FLOW_proto, 0, 6);
    flow_batch_set_u64(b, FLOW_proto, 3, 17);
    flow_batch_set_u64(b, FLOW_received, 1, (uint64_t)INT64_C(1795381200000001));
    flow_batch_set_f64(b, FLOW_sampling_rate, 3, 0.5);
    uint8_t four[4] = {192, 0, 2, 1}, sixteen[16] = {0x20, 1, 0xd, 0xb8, [15] = 9},
            mac[6] = {0, 0, 0x5e, 0, 0x53, 1};
    flow_batch_set_key(b, FLOW_src_addr, 0, four, 4);
    flow_batch_set_key(b, FLOW_src_addr, 1, sixteen, 16);
    flow_batch_set_key(b, FLOW_src_addr, 3, four, 4);
    flow_batch_set_key(b, FLOW_src_mac, 2, mac, 6);
    text_key(b, FLOW_user_name, 1, "");
    text_key(b, FLOW_user_name, 2, "a\xc3\xa4\"");
    text_key(b, FLOW_extra, 0, "{\"x\":1}");
    flow_batch_set_key(b, FLOW_acl_in, 3, "\xff\0\1", 3);
    uint32_t labels[3] = {16, 17, 1048575};
    uint8_t exps[2] = {7, 0};
    flow_batch_list(b, FLOW_mpls_labels, 1, labels, 3);
    flow_batch_list(b, FLOW_mpls_labels, 2, labels, 0);
    flow_batch_list(b, FLOW_mpls_exp, 0, exps, 2);
    static const struct {
        const char *name;
        enum flow_type type;
        uint64_t low, high;
    } extras[] = {
        {"xbool", FLOW_TYPE_BOOL, 0, 1},
        {"xs8", FLOW_TYPE_S8, 0x80, 0x7f},
        {"xs16", FLOW_TYPE_S16, 0x8000, 0x7fff},
        {"xs32", FLOW_TYPE_S32, 0x80000000, 0x7fffffff},
        {"xs64", FLOW_TYPE_S64, (uint64_t)INT64_MIN, INT64_MAX},
        {"xns", FLOW_TYPE_TIME_NS, (uint64_t)-1, 1},
        {"xu8", FLOW_TYPE_U8, 0, 255},
        {"xu16", FLOW_TYPE_U16, 0, 65535},
        {"xu32", FLOW_TYPE_U32, 0, UINT32_MAX},
    };
    for (size_t i = 0; i < UNIT_N(extras); i++) {
        uint32_t x = flow_batch_extra(b, extras[i].name, extras[i].type, false);
        assert_true(flow_batch_set_u64(b, x, 1, extras[i].low));
        assert_true(flow_batch_set_u64(b, x, 2, extras[i].high));
    }
    uint32_t texts = flow_batch_extra(b, "xtexts", FLOW_TYPE_TEXT, true);
    uint32_t codes[3] = {flow_batch_key(b, texts, "b", 1), flow_batch_key(b, texts, "a", 1)};
    codes[2] = codes[0];
    flow_batch_list(b, texts, 3, codes, 3);

    base_buf formats = {0}, lines = {0};
    take(NULL, b, &formats, &lines);
    assert_string_equal(formats.data, "received tsu:UTC\nsrc_addr I u\nsrc_port S\nproto C\n"
                                      "bytes L\nsampling_rate g\nsrc_mac I u\n"
                                      "mpls_labels +l I\nmpls_exp +l C\nacl_in I z\n"
                                      "user_name I u\nextra I u\n"
                                      "xbool b\nxs8 c\nxs16 s\nxs32 i\nxs64 l\nxns tsn:UTC\n"
                                      "xu8 C\nxu16 S\nxu32 I\nxtexts +l I u\n");
    assert_string_equal(
        lines.data,
        "{\"received\":null,\"src_addr\":\"192.0.2.1\",\"src_port\":null,\"proto\":6,"
        "\"bytes\":18446744073709551615,\"sampling_rate\":null,\"src_mac\":null,"
        "\"mpls_labels\":null,\"mpls_exp\":[7,0],\"acl_in\":null,\"user_name\":null,"
        "\"extra\":\"{\\\"x\\\":1}\",\"xbool\":null,\"xs8\":null,\"xs16\":null,\"xs32\":null,"
        "\"xs64\":null,\"xns\":null,\"xu8\":null,\"xu16\":null,\"xu32\":null,\"xtexts\":null}\n"
        "{\"received\":\"2026-11-22T21:00:00.000001Z\",\"src_addr\":\"2001:db8::9\","
        "\"src_port\":null,\"proto\":null,\"bytes\":null,\"sampling_rate\":null,"
        "\"src_mac\":null,\"mpls_labels\":[16,17,1048575],\"mpls_exp\":null,\"acl_in\":null,"
        "\"user_name\":\"\",\"extra\":null,\"xbool\":false,\"xs8\":-128,\"xs16\":-32768,"
        "\"xs32\":-2147483648,\"xs64\":-9223372036854775808,"
        "\"xns\":\"1969-12-31T23:59:59.999999999Z\",\"xu8\":0,\"xu16\":0,\"xu32\":0,"
        "\"xtexts\":null}\n"
        "{\"received\":null,\"src_addr\":null,\"src_port\":65535,\"proto\":null,\"bytes\":null,"
        "\"sampling_rate\":null,\"src_mac\":\"00:00:5e:00:53:01\",\"mpls_labels\":[],"
        "\"mpls_exp\":null,\"acl_in\":null,\"user_name\":\"a\xc3\xa4\\\"\",\"extra\":null,"
        "\"xbool\":true,\"xs8\":127,\"xs16\":32767,\"xs32\":2147483647,"
        "\"xs64\":9223372036854775807,\"xns\":\"1970-01-01T00:00:00.000000001Z\","
        "\"xu8\":255,\"xu16\":65535,\"xu32\":4294967295,\"xtexts\":null}\n"
        "{\"received\":null,\"src_addr\":\"192.0.2.1\",\"src_port\":null,\"proto\":17,"
        "\"bytes\":null,\"sampling_rate\":0.5,\"src_mac\":null,\"mpls_labels\":null,"
        "\"mpls_exp\":null,\"acl_in\":\"ff0001\",\"user_name\":null,\"extra\":null,"
        "\"xbool\":null,\"xs8\":null,\"xs16\":null,\"xs32\":null,\"xs64\":null,\"xns\":null,"
        "\"xu8\":null,\"xu16\":null,\"xu32\":null,\"xtexts\":[\"b\",\"a\",\"b\"]}\n");
    base_buf_done(&formats);
    base_buf_done(&lines);
}

/* Values stay where the batch has them; only the texts of addresses are made. */
static void test_no_copy(void **state)
{
    (void)state;
    flow_batch *b = flow_batch_new(FLOW_TABLE_FLOWS);
    assert_true(rows_fill(b, 0, 1000, ROWS_START, "xnumber"));
    struct flow_vec bytes, ports, dst;
    flow_batch_vec(b, FLOW_bytes, &bytes);
    flow_batch_vec(b, FLOW_src_port, &ports);
    flow_batch_vec(b, FLOW_dst_addr, &dst);
    static const char *const names[] = {"bytes", "src_port", "dst_addr", "tls_sni"};
    struct arrow_columns c;
    struct ArrowArray a;
    assert_int_equal(arrow_columns_named(&c, FLOW_TABLE_FLOWS, names, UNIT_N(names), NULL, NULL),
                     WEIR_OK);
    assert_int_equal(arrow_columns_take(&c, b, NULL, &a, NULL), WEIR_OK);
    assert_ptr_equal(a.children[0]->buffers[1], bytes.values);
    assert_ptr_equal(a.children[1]->buffers[1], ports.values);
    assert_ptr_equal(a.children[2]->buffers[1], dst.codes);
    assert_ptr_equal(a.children[2]->buffers[0], dst.valid);
    assert_int_equal(a.children[2]->dictionary->length, dst.dict.n);
    assert_int_equal(a.children[2]->null_count, 143); /* every 7th of 1000, from 0 */
    assert_int_equal(a.children[3]->null_count, 1000);
    a.release(&a);
    arrow_columns_done(&c);
}

static void test_settle(void **state)
{
    (void)state;
    flow_batch *b = flow_batch_new(FLOW_TABLE_FLOWS);
    assert_true(rows_fill(b, 0, 100, ROWS_START, NULL));
    assert_int_equal(flow_batch_add_rows(b, 100), 100);
    struct flow_vec v;
    flow_batch_vec(b, FLOW_src_addr, &v);
    assert_int_equal(v.n, 100);
    uint32_t keys = v.dict.n, valid = v.n_valid;
    assert_true(flow_batch_settle(b));
    flow_batch_vec(b, FLOW_src_addr, &v);
    assert_int_equal(v.n, 200);
    assert_int_equal(v.n_valid, valid);
    assert_int_equal(v.dict.n, keys);
    flow_batch_vec(b, FLOW_user_name, &v);
    assert_int_equal(v.n, 0);
    /* Rows may come after all: a key that was there keeps its code. */
    flow_batch_vec(b, FLOW_src_addr, &v);
    uint8_t first[16];
    uint32_t len = v.dict.starts[1];
    memcpy(first, v.dict.keys, len);
    assert_int_equal(flow_batch_key(b, FLOW_src_addr, "\1\2\3\4", 4), keys);
    assert_int_equal(flow_batch_key(b, FLOW_src_addr, first, len), 0);
    flow_batch_free(b);
}

/* ---- releasing ---- */

static void make_pair(struct ArrowSchema *schema, struct ArrowArray *array)
{
    flow_batch *b = flow_batch_new(FLOW_TABLE_FLOWS);
    assert_true(rows_fill(b, 0, 50, ROWS_START, "xnumber"));
    uint32_t label = 99;
    flow_batch_list(b, FLOW_mpls_labels, 7, &label, 1);
    assert_int_equal(arrow_columns_take(NULL, b, schema, array, NULL), WEIR_OK);
}

static int child_named(const struct ArrowSchema *s, const char *name)
{
    for (int64_t i = 0; i < s->n_children; i++)
        if (strcmp(s->children[i]->name, name) == 0)
            return (int)i;
    fail_msg("no column %s", name);
    return -1;
}

/* A reader may move children and dictionaries out, and release what it has in any order. */
static void test_release(void **state)
{
    (void)state;
    for (unsigned order = 0; order < 6; order++) {
        struct ArrowSchema schema;
        struct ArrowArray array;
        make_pair(&schema, &array);
        int addr = child_named(&schema, "src_addr"), list = child_named(&schema, "mpls_labels");
        struct ArrowArray moved = *array.children[addr], items = *array.children[list];
        struct ArrowArray dict = *moved.dictionary;
        array.children[addr]->release = NULL;
        array.children[list]->release = NULL;
        moved.dictionary->release = NULL;
        struct ArrowSchema field = *schema.children[addr];
        schema.children[addr]->release = NULL;
        struct ArrowArray *all[4] = {&array, &moved, &items, &dict};
        for (unsigned i = 0; i < 4; i++) {
            struct ArrowArray *a = all[(i * (order % 2 ? 3 : 1) + order / 2) % 4];
            /* What is not released yet is still good. */
            if (dict.release)
                assert_memory_equal(dict.buffers[2], "2001:db8::", 10);
            if (items.release)
                assert_int_equal(((const uint32_t *)items.children[0]->buffers[1])[0], 99);
            a->release(a);
            assert_null(a->release);
        }
        if (order % 2)
            field.release(&field);
        schema.release(&schema);
        if (order % 2 == 0)
            field.release(&field);
    }
}

/* ---- batches of a decoder ---- */

static const char template_flow[] =
    "S0002{ 0100 0006  0008 0004  000c 0004  0001 0008  0098 0008  0052 ffff  801e 0002 00000009 }";

static void decode(weir_decoder *d, weir_batch *b, const char *script)
{
    export_packet p = {0};
    const weir_endpoint from = {.family = 4, .port = 4739, .addr = {192, 0, 2, 7}};
    for (const char *at = script; *at;) {
        p.len = 0;
        at = export_parse_block(at, &p);
        while (*at == ' ')
            at++;
        weir_handlers on = weir_batch_handlers(b);
        weir_err err = {0};
        UNIT_CHECK(weir_decode(d, &from, EXPORT_NS, p.data, p.len, &on, b, &err) == WEIR_OK,
                   "decode: %s", err.msg);
    }
    free(p.data);
}

static void test_batch(void **state)
{
    (void)state;
    weir_err err = {0};
    weir_decoder *d = weir_decoder_new(NULL, &err);
    weir_batch *b = weir_batch_new(NULL, &err);
    assert_non_null(b);
    char script[1024];
    snprintf(script, sizeof script,
             "I seq=0{ %s S0100{ 0a000001 c0000201 00000000000005dc 0000018bcfe56800 03 657468 0001"
             " 0a000002 c0000201 0000000000000028 0000018bcfe56801 00 0002 } }",
             template_flow);
    decode(d, b, script);
    assert_int_equal(weir_batch_rows(b), 2);
    struct ArrowSchema schema;
    struct ArrowArray array;
    UNIT_CHECK(weir_batch_take(b, &schema, &array, &err) == WEIR_OK, "take: %s", err.msg);
    assert_int_equal(weir_batch_rows(b), 0);
    arrow_check(&schema, &array);
    base_buf lines = {0};
    arrow_lines(&lines, &schema, &array);
    base_buf_char(&lines, 0);
    const char *first = strstr(lines.data, "\"first\"");
    assert_non_null(first);
    assert_memory_equal(first, "\"first\":\"2023-11-14T22:13:20.000000Z\"", 36);
    assert_non_null(strstr(lines.data, "\"src_addr\":\"10.0.0.2\",\"dst_addr\":\"192.0.2.1\","
                                       "\"bytes\":40,"));
    assert_non_null(strstr(lines.data, "\"interfaceName\":\"eth\",\"e9_30\":\"0001\"}\n"));
    assert_non_null(strstr(lines.data, "\"exporter\":\"192.0.2.7\""));

    /* The batch goes on while the array lives, and after: templates are still known. */
    decode(d, b, "I seq=2{ S0100{ 0a000003 c0000201 0000000000000001 0000018bcfe56802 00 0003 } }");
    array.release(&array);
    assert_int_equal(weir_batch_rows(b), 1);
    struct ArrowSchema again;
    assert_int_equal(weir_batch_take(b, &again, &array, &err), WEIR_OK);
    assert_int_equal(array.length, 1);
    schema.release(&schema);

    /* An empty batch is a batch. An array outlives batch and decoder. */
    struct ArrowArray empty;
    assert_int_equal(weir_batch_take(b, &schema, &empty, &err), WEIR_OK);
    assert_int_equal(empty.length, 0);
    assert_int_equal(empty.n_children, 0);
    empty.release(&empty);
    schema.release(&schema);
    assert_int_equal(weir_batch_lost(b), 0);
    weir_batch_free(b);
    weir_decoder_free(d);
    base_buf_reset(&lines);
    arrow_check(&again, &array);
    arrow_lines(&lines, &again, &array);
    base_buf_char(&lines, 0);
    assert_non_null(strstr(lines.data, "\"src_addr\":\"10.0.0.3\""));
    array.release(&array);
    again.release(&again);
    base_buf_done(&lines);
    weir_batch_free(NULL);
}

static void test_batch_columns(void **state)
{
    (void)state;
    static const char *const names[] = {"bytes",      "e9_30",    "interfaceName",
                                        "tls_sni",    "src_addr", "interfaceDescription",
                                        "mpls_labels"};
    weir_err err = {0};
    weir_decoder *d = weir_decoder_new(NULL, &err);
    weir_batch *b =
        weir_batch_new(&(weir_batch_options){.columns = names, .n_columns = UNIT_N(names)}, &err);
    assert_non_null(b);
    char script[1024];
    snprintf(script, sizeof script,
             "I{ %s S0100{ 0a000001 c0000201 00000000000005dc 0000018bcfe56800 03 657468 0001 } }",
             template_flow);
    struct ArrowSchema schema;
    struct ArrowArray array;
    base_buf lines = {0};
    for (int i = 0; i < 2; i++) { /* without rows and with them: the same columns */
        assert_int_equal(weir_batch_take(b, &schema, &array, &err), WEIR_OK);
        arrow_check(&schema, &array);
        assert_int_equal(schema.n_children, UNIT_N(names));
        for (size_t k = 0; k < UNIT_N(names); k++)
            assert_string_equal(schema.children[k]->name, names[k]);
        assert_string_equal(schema.children[1]->dictionary->format, "z");
        arrow_lines(&lines, &schema, &array);
        array.release(&array);
        schema.release(&schema);
        if (i == 0)
            decode(d, b, script);
    }
    base_buf_char(&lines, 0);
    assert_string_equal(lines.data, "{\"bytes\":1500,\"e9_30\":\"0001\",\"interfaceName\":\"eth\","
                                    "\"tls_sni\":null,\"src_addr\":\"10.0.0.1\","
                                    "\"interfaceDescription\":null,\"mpls_labels\":null}\n");
    base_buf_done(&lines);
    weir_batch_free(b);
    weir_decoder_free(d);
}

static void test_batch_names(void **state)
{
    (void)state;
    static const struct {
        const char *what, *names[2], *says;
        bool options;
    } cases[] = {
        {"no column", {"src_adr"}, "'src_adr' is no column", false},
        {"twice", {"bytes", "bytes"}, "column 'bytes' is named twice", false},
        {"an element with a column", {"octetDeltaCount"}, "is in column 'bytes'", false},
        {"one of several sources", {"sourceIPv6Address"}, "is in column 'src_addr'", false},
        {"a column of the other table", {"bytes"}, "'bytes' is no column", true},
        {"no number", {"e9_"}, "'e9_' is no column", false},
        {"nothing", {""}, "'' is no column", false},
    };
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        weir_err err = {0};
        weir_batch_options o = {.columns = cases[i].names,
                                .n_columns = cases[i].names[1] ? 2 : 1,
                                .options = cases[i].options};
        weir_batch *b = weir_batch_new(&o, &err);
        UNIT_CHECK(!b && err.code == WEIR_EFORMAT && strstr(err.msg, cases[i].says), "%s: %s",
                   cases[i].what, err.msg);
        assert_null(weir_batch_new(&o, NULL));
    }
}

/* Options, and a rate that comes after the rows it is for. */
static void test_batch_options(void **state)
{
    (void)state;
    weir_err err = {0};
    weir_decoder *d = weir_decoder_new(NULL, &err);
    weir_batch *flows = weir_batch_new(NULL, &err),
               *options = weir_batch_new(&(weir_batch_options){.options = true}, &err);
    static const char data[] = "I{ S0002{ 0100 0001  0001 0004 } S0100{ 00000005 } }";
    static const char rate[] = "I seq=1{ S0003{ 0101 0002 0001  0095 0004  0022 0004 }"
                               " S0101{ 00000001 00000064 } }";
    decode(d, flows, data);
    decode(d, flows, rate);
    assert_int_equal(weir_batch_rows(flows), 1);
    decode(d, options, "I seq=2{ S0101{ 00000001 00000064 } S0100{ 00000006 } }");
    assert_int_equal(weir_batch_rows(options), 1);
    struct ArrowSchema schema;
    struct ArrowArray array;
    base_buf lines = {0};
    assert_int_equal(weir_batch_take(flows, &schema, &array, &err), WEIR_OK);
    arrow_lines(&lines, &schema, &array);
    array.release(&array);
    schema.release(&schema);
    assert_int_equal(weir_batch_take(options, &schema, &array, &err), WEIR_OK);
    arrow_check(&schema, &array);
    arrow_lines(&lines, &schema, &array);
    array.release(&array);
    schema.release(&schema);
    base_buf_char(&lines, 0);
    UNIT_CHECK(strstr(lines.data, "\"bytes\":5,\"sampling_rate\":100,"), "flows: %s", lines.data);
    UNIT_CHECK(strstr(strchr(lines.data, '\n'), "\"scope\":"), "options: %s", lines.data);
    base_buf_done(&lines);
    weir_batch_free(flows);
    weir_batch_free(options);
    weir_decoder_free(d);
}

/* ---- captures ---- */

static void write_hex(const char *path, const char *const *scripts, size_t n)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    export_packet p = {0};
    for (size_t i = 0; i < n; i++) {
        p.len = 0;
        (void)export_parse_block(scripts[i], &p);
        for (size_t k = 0; k < p.len; k++)
            fprintf(f, "%02x", p.data[k]);
        fprintf(f, "\n");
    }
    free(p.data);
    fclose(f);
}

static const char *const packets[] = {
    "I{ S0100{ 00000001 } }", /* before its template */
    "I seq=1{ S0002{ 0100 0001  0001 0004 } S0100{ 00000002 00000003 } }",
    "I seq=3{ S0100{ 00000004 } S0107{ 00000001 } }", /* one whose template never comes */
    "I seq=4{ S0003{ 0101 0002 0001  0095 0004  0022 0004 } S0101{ 00000001 00000064 } }",
};

static void test_capture(void **state)
{
    (void)state;
    char path[] = "/tmp/weir-arrow-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    write_hex(path, packets, UNIT_N(packets));
    static const char *const names[] = {"bytes", "template_id"};
    for (unsigned batch_rows = 0; batch_rows < 4; batch_rows++) {
        weir_capture_options o = {.rows = {.columns = names, .n_columns = 2},
                                  .batch_rows = batch_rows};
        struct ArrowArrayStream s;
        weir_err err = {0};
        UNIT_CHECK(weir_arrow_capture(path, &o, &s, &err) == WEIR_OK, "open: %s", err.msg);
        base_buf lines = {0};
        int status;
        unsigned n_batches;
        assert_int_equal(arrow_drain(&s, &lines, &status, &n_batches), 4);
        assert_int_equal(status, 0);
        base_buf_char(&lines, 0);
        assert_string_equal(lines.data, "{\"bytes\":2,\"template_id\":256}\n"
                                        "{\"bytes\":3,\"template_id\":256}\n"
                                        "{\"bytes\":1,\"template_id\":256}\n"
                                        "{\"bytes\":4,\"template_id\":256}\n");
        /* The second packet brings three rows, its own and those that waited for it; the third one. */
        UNIT_CHECK(n_batches == (batch_rows ? 2 : 1), "%u batches of %u rows", n_batches,
                   batch_rows);
        /* At its end a stream stays at its end. */
        struct ArrowArray more;
        assert_int_equal(s.get_next(&s, &more), 0);
        assert_null(more.release);
        weir_capture_counts n;
        assert_int_equal(weir_capture_counted(&s, &n), WEIR_OK);
        assert_int_equal(n.packets, 4);
        assert_int_equal(n.damaged, 0);
        assert_int_equal(n.decoder.flows, 4);
        assert_int_equal(n.decoder.sets_expired, 1);
        s.release(&s);
        assert_null(s.release);
        assert_int_equal(weir_capture_counted(&s, &n), WEIR_EINVAL);
        base_buf_done(&lines);
    }
    /* All columns of the table, always; options; released before its end. */
    struct ArrowArrayStream s;
    struct ArrowSchema schema;
    struct ArrowArray batch;
    weir_capture_options o = {.rows = {.options = true}};
    assert_int_equal(weir_arrow_capture(path, &o, &s, NULL), WEIR_OK);
    assert_int_equal(s.get_schema(&s, &schema), 0);
    assert_int_equal(schema.n_children, FLOW_N_OPTION_COLUMNS);
    assert_int_equal(s.get_next(&s, &batch), 0);
    s.release(&s);
    assert_int_equal(batch.length, 1);
    arrow_check(&schema, &batch);
    schema.release(&schema);
    batch.release(&batch);
    assert_int_equal(weir_arrow_capture(path, NULL, &s, NULL), WEIR_OK);
    assert_int_equal(s.get_schema(&s, &schema), 0);
    assert_int_equal(schema.n_children, FLOW_N_COLUMNS);
    s.release(&s);
    schema.release(&schema);
    remove(path);

    weir_err err = {0};
    assert_int_equal(weir_arrow_capture(path, NULL, &s, &err), WEIR_EIO);
    assert_non_null(strstr(err.msg, path));
    static const char *const wrong[] = {"nothing"};
    o = (weir_capture_options){.rows = {.columns = wrong, .n_columns = 1}};
    write_hex(path, packets, 1);
    assert_int_equal(weir_arrow_capture(path, &o, &s, &err), WEIR_EFORMAT);
    assert_int_equal(weir_arrow_capture(path, &o, &s, NULL), WEIR_EFORMAT);
    weir_decoder_options bad = {.max_templates = SIZE_MAX};
    o = (weir_capture_options){.decoder = &bad};
    if (weir_arrow_capture(path, &o, &s, &err) == WEIR_OK)
        s.release(&s);
    remove(path);
}

/* Damage is passed over: what is whole comes all the same. */
static void test_capture_damaged(void **state)
{
    (void)state;
    char path[] = "/tmp/weir-arrow-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    write_hex(path, packets, 2);
    FILE *f = fopen(path, "a");
    fputs("000\n0009\n", f);
    fclose(f);
    struct ArrowArrayStream s;
    weir_err err = {0};
    assert_int_equal(weir_arrow_capture(path, NULL, &s, &err), WEIR_OK);
    int status;
    assert_int_equal(arrow_drain(&s, NULL, &status, NULL), 3);
    assert_int_equal(status, 0);
    weir_capture_counts n;
    assert_int_equal(weir_capture_counted(&s, &n), WEIR_OK);
    assert_int_equal(n.damaged, 1);
    assert_int_equal(n.decoder.rejected[WEIR_REJECT_HEADER], 1);
    s.release(&s);
    remove(path);
}

/* Every capture of the corpus: as many rows as the decoder gave flows, all of them sound. */
static void test_corpus(void **state)
{
    (void)state;
    const char *above = getenv("WEIR_ROOT"), *corpus = getenv("WEIR_CORPUS");
    char root[2000], path[4096];
    if (corpus)
        snprintf(root, sizeof root, "%s", corpus);
    else
        snprintf(root, sizeof root, "%s/../shared/corpus", above ? above : ".");
    snprintf(path, sizeof path, "%s/cases.jsonl", root);
    FILE *f = fopen(path, "r");
    if (!f) {
        print_message("skipped: no corpus at %s (set WEIR_CORPUS to its folder)\n", path);
        skip();
    }
    char *line = NULL;
    size_t cap = 0, n_cases = 0;
    uint64_t rows = 0, option_rows = 0;
    while (getline(&line, &cap, f) > 0) {
        json_t *row = json_loads(line, 0, NULL);
        assert_non_null(row);
        const char *file = json_string_value(json_object_get(row, "pcap"));
        snprintf(path, sizeof path, "%s/%s", root, file ? file : "");
        for (int options = 0; file && options < 2; options++) {
            struct ArrowArrayStream s;
            weir_err err = {0};
            weir_capture_options o = {.rows = {.options = options}, .batch_rows = 100};
            weir_status st = weir_arrow_capture(path, &o, &s, &err);
            UNIT_CHECK(st == WEIR_OK, "%s: %s", file, err.msg);
            int status;
            uint64_t n = arrow_drain(&s, NULL, &status, NULL);
            weir_capture_counts c;
            assert_int_equal(weir_capture_counted(&s, &c), WEIR_OK);
            UNIT_CHECK(status == 0 && c.lost == 0 &&
                           n == (options ? c.decoder.options : c.decoder.flows),
                       "%s: %d rows", file, (int)n);
            s.release(&s);
            *(options ? &option_rows : &rows) += n;
            n_cases++;
        }
        json_decref(row);
    }
    free(line);
    fclose(f);
    assert_in_range(n_cases, 200, 200000);
    assert_in_range(rows, 1000, 10000000);
    assert_in_range(option_rows, 50, 10000000);
}

/* ---- questions ---- */

enum { N_ROWS = 300000 };

/* One archive for all tests of questions: 300000 rows in three hours, an extra column in the second, rates in the first. */
static struct fixture *store;

static void store_hour(uint32_t hour)
{
    int64_t ns = ROWS_START + hour * 3600 * SECOND;
    weir_err err = {0};
    flow_batch *b = flow_batch_new(FLOW_TABLE_FLOWS);
    bool good =
        b && rows_fill(b, hour * (N_ROWS / 3), N_ROWS / 3, ns, hour == 1 ? "xnumber" : NULL);
    for (uint32_t i = 0; i < N_ROWS / 3 && good; i++) {
        int64_t first = ns / 1000 - i % 100000 * 1000;
        good = flow_batch_set_u64(b, FLOW_first, i, (uint64_t)first) &&
               flow_batch_set_u64(b, FLOW_last, i, (uint64_t)first + i % 5000000) &&
               flow_batch_set_u64(b, FLOW_packets, i, i % 7) &&
               (hour != 0 || i % 3 || flow_batch_set_f64(b, FLOW_sampling_rate, i, 10));
    }
    assert_true(good);
    UNIT_CHECK(archive_writer_store(store->w, b, ns, &err) == WEIR_OK, "store: %s", err.msg);
    flow_batch_free(b);
}

static int set_up_store(void **state)
{
    if (fixture_set_up(state))
        return -1;
    store = *state;
    store->o.direct_rows = 50000;
    store->o.group_rows = 100000;
    fixture_open(store);
    for (uint32_t i = 0; i < 3; i++)
        store_hour(i);
    flow_batch *b = flow_batch_new(FLOW_TABLE_LEDGER);
    assert_true(b && ledger_add(b, 0, 0, NULL, -1, -1, LEDGER(packets, 10), LEDGER_END) &&
                ledger_add(b, 0, 0, "192.0.2.1", 0, 9, LEDGER(packets, 10), LEDGER(records, N_ROWS),
                           LEDGER(flows, N_ROWS), LEDGER(sequence_lost, 30), LEDGER_END));
    assert_int_equal(archive_writer_store(store->w, b, ROWS_START, NULL), WEIR_OK);
    flow_batch_free(b);
    fixture_close(store);
    return 0;
}

/* Rows of a question as lines of JSON; the stream and the answer are the caller's. */
static void ask(const weir_query *q, base_buf *lines, struct ArrowArrayStream *s, weir_answer **a)
{
    weir_err err = {0};
    int status;
    UNIT_CHECK(weir_query_start(q, s, a, &err) == WEIR_OK, "start: %s", err.msg);
    (void)arrow_drain(s, lines, &status, NULL);
    UNIT_CHECK(status == 0, "%s", s->get_last_error(s));
    base_buf_char(lines, 0);
}

/* Output and error output of `weir query` with these arguments. */
static void run_cli(const char *weir, const char *arguments, base_buf *out, base_buf *err)
{
    char command[8192], said[64] = "/tmp/weir-arrow-XXXXXX";
    int fd = mkstemp(said);
    assert_true(fd >= 0);
    close(fd);
    (void)snprintf(command, sizeof command, "'%s' query -r '%s' --utc %s 2>%s", weir, store->dir,
                   arguments, said);
    FILE *p = popen(command, "r");
    assert_non_null(p);
    char piece[4096];
    for (size_t n; (n = fread(piece, 1, sizeof piece, p)) > 0;)
        base_buf_add(out, piece, n);
    int status = pclose(p);
    FILE *f = fopen(said, "r");
    assert_non_null(f);
    for (size_t n; (n = fread(piece, 1, sizeof piece, f)) > 0;)
        base_buf_add(err, piece, n);
    fclose(f);
    remove(said);
    base_buf_char(out, 0);
    base_buf_char(err, 0);
    UNIT_CHECK(status == 0, "%s: %s", command, err->data);
}

/* What no two runs agree in. */
static json_t *summary_of(const char *text)
{
    json_error_t why;
    json_t *whole = json_loads(text, 0, &why);
    UNIT_CHECK(whole, "summary: %s: %s", why.text, text);
    json_t *summary = json_object_get(whole, "summary");
    assert_true(json_is_object(summary));
    assert_true(json_is_object(json_object_get(summary, "completeness")));
    json_object_del(summary, "elapsed_ns");
    json_object_del(summary, "octets_read"); /* depends on which thread finds what first */
    json_object_del(summary, "octets_spilled");
    return whole;
}

static void test_query(void **state)
{
    (void)state;
    const char *weir = getenv("WEIR");
    if (!weir) {
        print_message("skipped: WEIR does not name the program\n");
        skip();
    }
    static const struct {
        const char *what;
        weir_query q;
        const char *arguments;
    } cases[] = {
        {"columns",
         {.columns = "flow_id,src_addr,dst_addr,src_port,bytes,received"},
         "-o ndjson:flow_id,src_addr,dst_addr,src_port,bytes,received"},
        {"filter, order, limit",
         {.columns = "flow_id,bytes",
          .filter = "proto 17 and src port > 60000",
          .order = "bytes",
          .limit = 50},
         "'proto 17 and src port > 60000' -O bytes -n 50 -o ndjson:flow_id,bytes"},
        {"an order that rises",
         {.columns = "flow_id,bytes", .order = "bytes:a", .limit = 10},
         "-O bytes:a -n 10 -o ndjson:flow_id,bytes"},
        {"words of nfdump's",
         {.columns = "srcip,%sp, flow_id", .filter = "dst ip 2001:db8::17"},
         "'dst ip 2001:db8::17' -o ndjson:src_addr,src_port,flow_id"},
        {"groups",
         {.by = "proto", .order = "bytes"},
         "-A proto -O bytes -o ndjson:proto,first,last,n_flows,packets,bytes"},
        {"groups of several keys",
         {.by = "srcip4/28,proto", .columns = "src_net,proto,bytes"},
         "-A srcip4/28,proto -o ndjson:src_net,proto,bytes"},
        {"one row", {.limit = 1, .columns = "flow_id"}, "-n 1 -o ndjson:flow_id"},
        {"nothing",
         {.filter = "port 1 and port 2 and port 3", .columns = "flow_id"},
         "'port 1 and port 2 and port 3' -o ndjson:flow_id"},
        {"an extra column",
         {.columns = "flow_id,xnumber", .filter = "xnumber > 199990"},
         "'xnumber > 199990' -o ndjson:flow_id,xnumber"},
        {"groups of an extra column",
         {.by = "xnumber", .limit = 5, .order = "bytes"},
         "-A xnumber -O bytes -n 5 -o ndjson:xnumber,first,last,n_flows,packets,bytes"},
        {"a window",
         {.columns = "flow_id", .window = "2026-11-22T21:59:00Z-2026-11-22T21:59:01Z"},
         "-t 2026-11-22T21:59:00Z-2026-11-22T21:59:01Z -o ndjson:flow_id"},
        {"scaled",
         {.columns = "flow_id,bytes,packets,pps", .filter = "flow_id < 100"},
         "'flow_id < 100' -o ndjson:flow_id,bytes,packets,pps"},
        {"as sent",
         {.columns = "bytes,sampling_rate", .filter = "flow_id < 100", .raw = true},
         "'flow_id < 100' --raw -o ndjson:bytes,sampling_rate"},
        {"whole names",
         {.columns = "tcp_flags,first,last,exporter,user_name,extra", .limit = 5},
         "-n 5 -o ndjson:tcp_flags,first,last,exporter,user_name,extra"},
        {"one thread",
         {.columns = "flow_id,duration,bps", .threads = 1, .raw = true},
         "-W 1 --raw -o ndjson:flow_id,duration,bps"},
        {"little memory",
         {.by = "flow_id", .max_octets = 1 << 20, .order = "bytes", .limit = 100},
         "--memory 1M -A flow_id -O bytes -n 100 "
         "-o ndjson:flow_id,first,last,n_flows,packets,bytes"},
    };
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        base_buf got = {0}, want = {0}, said = {0};
        char arguments[2048];
        const char *const path = store->dir;
        weir_query q = cases[i].q;
        q.paths = &path;
        q.n_paths = 1;
        struct ArrowArrayStream s;
        weir_answer *a;
        ask(&q, &got, &s, &a);
        snprintf(arguments, sizeof arguments, "--summary json %s", cases[i].arguments);
        run_cli(weir, arguments, &want, &said);
        /* Groups count flows under the name that the archive has. */
        for (char *at = want.data; (at = strstr(at, "\"n_flows\""));)
            memcpy(at, "\"flows\"  ", 9);
        for (char *to = want.data, *from = want.data;; from++) {
            if (strncmp(from, "\"flows\"  ", 9) == 0) {
                memcpy(to, "\"flows\"", 7);
                to += 7;
                from += 8;
                continue;
            }
            *to++ = *from;
            if (!*from)
                break;
        }
        UNIT_CHECK(strcmp(got.data, want.data) == 0, "%s:\n%.300s\n  but weir query:\n%.300s",
                   cases[i].what, got.data, want.data);
        UNIT_CHECK(strcmp(cases[i].what, "nothing") == 0 || got.len > 1, "%s: no rows",
                   cases[i].what);
        const char *summary;
        weir_err err = {0};
        UNIT_CHECK(weir_answer_summary(a, &summary, &err) == WEIR_OK, "%s: %s", cases[i].what,
                   err.msg);
        json_t *mine = summary_of(summary), *theirs = summary_of(said.data);
        UNIT_CHECK(json_equal(mine, theirs), "%s: %s\n%s", cases[i].what, summary, said.data);
        json_decref(mine);
        json_decref(theirs);
        if (i % 2)
            weir_answer_free(a);
        s.release(&s);
        if (i % 2 == 0)
            weir_answer_free(a);
        base_buf_done(&got);
        base_buf_done(&want);
        base_buf_done(&said);
    }
}

/* Without columns: those of the table and the extra ones, as the archive types them. */
static void test_query_all(void **state)
{
    (void)state;
    const char *const path = store->dir;
    weir_query q = {.paths = &path, .n_paths = 1};
    struct ArrowArrayStream s;
    struct ArrowSchema schema;
    weir_answer *a;
    weir_err err = {0};
    UNIT_CHECK(weir_query_start(&q, &s, &a, &err) == WEIR_OK, "start: %s", err.msg);
    assert_int_equal(s.get_schema(&s, &schema), 0);
    assert_int_equal(schema.n_children, FLOW_N_COLUMNS + 1);
    for (int i = 0; i < FLOW_N_COLUMNS; i++) {
        const struct flow_column *c = &flow_columns()[i];
        const struct ArrowSchema *f = schema.children[i];
        assert_string_equal(f->name, c->name);
        if (c->list) {
            assert_string_equal(f->format, "+l");
            f = f->children[0];
        }
        bool dict = flow_type_octets((enum flow_type)c->type) == 0;
        UNIT_CHECK(dict == (f->dictionary != NULL), "%s", c->name);
        assert_string_equal(dict ? f->dictionary->format : f->format,
                            arrow_format((enum flow_type)c->type));
    }
    assert_string_equal(schema.children[FLOW_N_COLUMNS]->name, "xnumber");
    assert_string_equal(schema.children[FLOW_N_COLUMNS]->format, "L");
    schema.release(&schema);
    const char *json;
    assert_int_equal(weir_answer_summary(a, &json, &err), WEIR_EINVAL);
    int status;
    unsigned n_batches;
    assert_int_equal(arrow_drain(&s, NULL, &status, &n_batches), N_ROWS);
    assert_int_equal(status, 0);
    assert_in_range(n_batches, 5, 20);
    assert_int_equal(weir_answer_summary(a, &json, &err), WEIR_OK);
    s.release(&s);
    assert_int_equal(weir_answer_summary(a, &json, &err), WEIR_OK);
    weir_answer_free(a);
    weir_answer_free(NULL);
}

static void test_query_errors(void **state)
{
    (void)state;
    static const struct {
        const char *what, *path;
        weir_query q;
        weir_status status;
        const char *says;
    } cases[] = {
        {"filter",
         NULL,
         {.filter = "proto 6 and src prt 7"},
         WEIR_EFORMAT,
         "filter: line 1, column"},
        {"host name", NULL, {.filter = "host www.example.org"}, WEIR_EFORMAT, "not looked up"},
        {"include", NULL, {.filter = "@include /etc/passwd"}, WEIR_EFORMAT, "filter: line 1"},
        {"column", NULL, {.columns = "flow_id,nothing"}, WEIR_EFORMAT, "'nothing' is no field"},
        {"extra in the filter",
         NULL,
         {.columns = "flow_id", .filter = "nothing > 1"},
         WEIR_EFORMAT,
         "'nothing' is no field"},
        {"empty name", NULL, {.columns = "flow_id,"}, WEIR_EFORMAT, "empty name"},
        {"for tables", NULL, {.columns = "%sap"}, WEIR_EFORMAT, "tables only"},
        {"key", NULL, {.by = "nothing"}, WEIR_EFORMAT, "'nothing' is no field"},
        {"no column of groups",
         NULL,
         {.by = "proto", .columns = "src_addr"},
         WEIR_EFORMAT,
         "no value for 'src_addr'"},
        {"order",
         NULL,
         {.order = "nothing", .columns = "bytes"},
         WEIR_EFORMAT,
         "'nothing' is no field"},
        {"direction", NULL, {.order = "bytes:x"}, WEIR_EFORMAT, "direction"},
        {"window", NULL, {.window = "yesterday"}, WEIR_EFORMAT, "time window"},
        {"threads", NULL, {.threads = 100000}, WEIR_EINVAL, "threads"},
        {"path", "/nonexistent-archive", {.limit = 1}, WEIR_ENOTFOUND, "nonexistent-archive"},
        {"default path", "", {.limit = 1}, WEIR_ENOTFOUND, "no archive in ./archive"},
    };
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        const char *const path = cases[i].path ? cases[i].path : store->dir;
        weir_query q = cases[i].q;
        q.paths = *path ? &path : NULL;
        q.n_paths = *path ? 1 : 0;
        struct ArrowArrayStream s = {.release = NULL};
        weir_answer *a = NULL;
        weir_err err = {0};
        weir_status st = weir_query_start(&q, &s, &a, &err);
        UNIT_CHECK(st == cases[i].status && err.code == st && strstr(err.msg, cases[i].says),
                   "%s: %s: %s", cases[i].what, weir_status_text(st), err.msg);
        assert_null(s.release);
        assert_null(a);
        assert_int_equal(weir_query_start(&q, &s, &a, NULL), st);
    }
}

/* Files that are no Parquet: when none can be read, the stream says why; of some, the summary does. */
static void test_query_bad_files(void **state)
{
    (void)state;
    char dir[] = "/tmp/weir-arrow-XXXXXX", bad[64];
    assert_non_null(mkdtemp(dir));
    snprintf(bad, sizeof bad, "%s/bad.parquet", dir);
    FILE *f = fopen(bad, "w");
    fputs("PAR1 this is none PAR1", f);
    fclose(f);
    const char *const paths[] = {bad, store->dir};
    weir_query q = {.paths = paths, .n_paths = 1, .columns = "flow_id"};
    struct ArrowArrayStream s;
    weir_answer *a;
    weir_err err = {0};
    int status;
    UNIT_CHECK(weir_query_start(&q, &s, &a, &err) == WEIR_OK, "%s", err.msg);
    assert_int_equal(arrow_drain(&s, NULL, &status, NULL), 0);
    assert_int_equal(status, EIO);
    UNIT_CHECK(strstr(s.get_last_error(&s), "bad.parquet"), "%s", s.get_last_error(&s));
    const char *json;
    assert_int_equal(weir_answer_summary(a, &json, &err), WEIR_EINVAL);
    s.release(&s);
    weir_answer_free(a);
    q.n_paths = 2;
    UNIT_CHECK(weir_query_start(&q, &s, &a, &err) == WEIR_OK, "%s", err.msg);
    assert_int_equal(arrow_drain(&s, NULL, &status, NULL), N_ROWS);
    assert_int_equal(status, 0);
    assert_int_equal(weir_answer_summary(a, &json, &err), WEIR_OK);
    assert_non_null(strstr(json, "\"files_failed\":1"));
    s.release(&s);
    weir_answer_free(a);
    remove(bad);
    rmdir(dir);
}

static void start_all(struct ArrowArrayStream *s, weir_answer **a)
{
    const char *const path = store->dir;
    weir_query q = {.paths = &path, .n_paths = 1};
    weir_err err = {0};
    UNIT_CHECK(weir_query_start(&q, s, a, &err) == WEIR_OK, "start: %s", err.msg);
}

/* A question that still runs ends when either of its ends goes; nothing leaks, whatever was taken. */
static void test_query_early(void **state)
{
    (void)state;
    for (unsigned taken = 0; taken < 3; taken++) {
        for (int answer_first = 0; answer_first < 2; answer_first++) {
            struct ArrowArrayStream s;
            struct ArrowArray kept[3];
            weir_answer *a;
            weir_err err = {0};
            const char *json;
            start_all(&s, &a);
            for (unsigned i = 0; i < taken; i++) {
                assert_int_equal(s.get_next(&s, &kept[i]), 0);
                assert_int_equal(kept[i].length, 65536);
            }
            if (answer_first) {
                weir_answer_free(a);
                struct ArrowArray none;
                assert_int_equal(s.get_next(&s, &none), ECANCELED);
                assert_null(none.release);
                assert_non_null(strstr(s.get_last_error(&s), "ended before its last batch"));
                s.release(&s);
            } else {
                s.release(&s);
                assert_int_equal(weir_answer_summary(a, &json, &err), WEIR_EINVAL);
                weir_answer_free(a);
            }
            for (unsigned i = 0; i < taken; i++)
                kept[i].release(&kept[i]);
        }
    }
}

static void *take_all(void *user)
{
    struct ArrowArrayStream *s = user;
    struct ArrowArray batch;
    while (s->get_next(s, &batch) == 0 && batch.release)
        batch.release(&batch);
    s->release(s);
    return NULL;
}

/* The answer goes while another thread waits for a batch. */
static void test_query_threads(void **state)
{
    (void)state;
    for (int i = 0; i < 8; i++) {
        struct ArrowArrayStream s;
        weir_answer *a;
        pthread_t thread;
        start_all(&s, &a);
        assert_int_equal(pthread_create(&thread, NULL, take_all, &s), 0);
        if (i % 2)
            sched_yield();
        weir_answer_free(a);
        pthread_join(thread, NULL);
    }
}

/* ---- blocks of a result ---- */

#define TEXT(t)                                                                                    \
    {                                                                                              \
        t, sizeof t - 1                                                                            \
    }

/* Blocks of one answer differ: other dictionaries, other kinds where files do not agree, columns that are not there. */
static void test_gather(void **state)
{
    (void)state;
    struct query_field fields[] = {
        query_field_column(FLOW_src_addr),
        query_field_column(FLOW_src_port),
        query_field_column(FLOW_sampling_rate),
        query_field_column(FLOW_mpls_exp),
        query_field_named("xtexts"),
        query_field_named("xsigned"),
        query_field_named("xbool"),
        query_field_column(FLOW_acl_in),
    };
    fields[4].kind = QUERY_TEXT_LIST;
    fields[5].kind = QUERY_S64;
    fields[6].kind = QUERY_BOOL;
    const char *names[UNIT_N(fields)] = {[1] = "port"};
    static const struct query_text many[3000] = {TEXT("192.0.2.1"), [2999] = TEXT("192.0.2.2")};
    static const struct query_text texts[] = {TEXT("192.0.2.2"), TEXT("\xff\xc3\xa4\xc3"),
                                              TEXT("")};
    static const uint32_t codes[] = {0, 2999, 0}, others[] = {1, 0, 2}, starts[] = {0, 2, 2, 3};
    static const uint64_t valid[] = {5}, ports[] = {80, 65536, 65535}, exps[] = {7, 300, 0};
    static const uint64_t signs[] = {(uint64_t)-1, UINT64_MAX / 2, 0}, bools[] = {0, 1, 7};
    static const double rates[] = {100, 0.25, 1};
    uint64_t rate_bits[3];
    memcpy(rate_bits, rates, sizeof rate_bits);
    const struct query_vec first[] = {
        {.kind = QUERY_TEXT, .codes = codes, .dict = many, .n_dict = 3000, .valid = valid},
        {.kind = QUERY_U64, .num = ports},
        {.kind = QUERY_F64, .num = rate_bits},
        {.kind = QUERY_U64_LIST, .num = exps, .starts = starts},
        {.kind = QUERY_TEXT_LIST, .codes = others, .dict = texts, .n_dict = 3, .starts = starts},
        {.kind = QUERY_S64, .num = signs},
        {.kind = QUERY_BOOL, .num = bools},
        {.kind = QUERY_OCTETS, .codes = others, .dict = texts, .n_dict = 3},
    };
    const struct query_vec second[] = {
        {.kind = QUERY_TEXT, .codes = others, .dict = texts, .n_dict = 3},
        {.kind = QUERY_F64, .num = rate_bits}, /* numbers of another kind */
        {.kind = QUERY_UNKNOWN},
        {.kind = QUERY_U64, .num = ports},                       /* no list */
        {.kind = QUERY_U64_LIST, .num = exps, .starts = starts}, /* no texts */
        {.kind = QUERY_U64, .num = signs},
        {.kind = QUERY_UNKNOWN},
        {.kind = QUERY_OCTETS, .codes = codes, .dict = many, .n_dict = 3000, .valid = valid},
    };
    arrow_gather *g = arrow_gather_new(fields, names, UNIT_N(fields), true);
    assert_non_null(g);
    weir_err err = {0};
    struct ArrowSchema schema;
    struct ArrowArray array;
    base_buf lines = {0};
    for (int again = 0; again < 2; again++) { /* the second batch has nothing of the first */
        struct query_block b = {3, first};
        assert_int_equal(arrow_gather_add(g, &b, 0, 1, &err), WEIR_OK);
        assert_int_equal(arrow_gather_add(g, &b, 1, 2, &err), WEIR_OK);
        b.vecs = second;
        assert_int_equal(arrow_gather_add(g, &b, 0, 3, &err), WEIR_OK);
        assert_int_equal(arrow_gather_rows(g), 6);
        assert_int_equal(arrow_gather_take(g, &array, &err), WEIR_OK);
        assert_int_equal(arrow_gather_rows(g), 0);
        assert_int_equal(arrow_schema_make(arrow_gather_types(g), UNIT_N(fields), &schema, &err),
                         WEIR_OK);
        arrow_check(&schema, &array);
        assert_int_equal(array.children[0]->dictionary->length, 4);
        arrow_lines(&lines, &schema, &array);
        array.release(&array);
        schema.release(&schema);
        base_buf_char(&lines, 0);
        assert_string_equal(
            lines.data,
            "{\"src_addr\":\"192.0.2.1\",\"port\":80,\"sampling_rate\":1,\"mpls_exp\":[7,0],"
            "\"xtexts\":[\"\xef\xbf\xbd\xc3\xa4\xef\xbf\xbd\",\"192.0.2.2\"],\"xsigned\":-1,"
            "\"xbool\":false,\"acl_in\":\"ffc3a4c3\"}\n"
            "{\"src_addr\":null,\"port\":null,\"sampling_rate\":0.25,\"mpls_exp\":[],"
            "\"xtexts\":[],\"xsigned\":9223372036854775807,\"xbool\":true,"
            "\"acl_in\":\"3139322e302e322e32\"}\n"
            "{\"src_addr\":\"192.0.2.1\",\"port\":65535,\"sampling_rate\":1,\"mpls_exp\":[0],"
            "\"xtexts\":[\"\"],\"xsigned\":0,\"xbool\":true,\"acl_in\":\"\"}\n"
            "{\"src_addr\":\"\xef\xbf\xbd\xc3\xa4\xef\xbf\xbd\",\"port\":100,"
            "\"sampling_rate\":null,\"mpls_exp\":null,\"xtexts\":null,\"xsigned\":null,"
            "\"xbool\":null,\"acl_in\":\"3139322e302e322e31\"}\n"
            "{\"src_addr\":\"192.0.2.2\",\"port\":0,\"sampling_rate\":null,\"mpls_exp\":null,"
            "\"xtexts\":null,\"xsigned\":9223372036854775807,\"xbool\":null,\"acl_in\":null}\n"
            "{\"src_addr\":\"\",\"port\":1,\"sampling_rate\":null,\"mpls_exp\":null,"
            "\"xtexts\":null,\"xsigned\":0,\"xbool\":null,"
            "\"acl_in\":\"3139322e302e322e31\"}\n");
        base_buf_reset(&lines);
    }
    base_buf_done(&lines);
    arrow_gather_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types),       cmocka_unit_test(test_no_copy),
        cmocka_unit_test(test_settle),      cmocka_unit_test(test_release),
        cmocka_unit_test(test_batch),       cmocka_unit_test(test_batch_columns),
        cmocka_unit_test(test_batch_names), cmocka_unit_test(test_batch_options),
        cmocka_unit_test(test_capture),     cmocka_unit_test(test_capture_damaged),
        cmocka_unit_test(test_corpus),      cmocka_unit_test(test_gather),
    };
    const struct CMUnitTest questions[] = {
        cmocka_unit_test(test_query),        cmocka_unit_test(test_query_all),
        cmocka_unit_test(test_query_errors), cmocka_unit_test(test_query_bad_files),
        cmocka_unit_test(test_query_early),  cmocka_unit_test(test_query_threads),
    };
    int failed = cmocka_run_group_tests_name("arrow", tests, NULL, NULL);
    return failed +
           cmocka_run_group_tests_name("arrow-query", questions, set_up_store, fixture_tear_down);
}
