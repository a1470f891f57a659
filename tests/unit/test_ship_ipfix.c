/* IPFIX messages that `weir ship` sends: octets written down by hand, and rows that come back from libweir's own decoder as they
 * were. */
#include "base/text.h"
#include "flow/normalise.h"
#include "ship/ipfix_message.h"

#include <string.h>

#include "cells.h"
#include "heap.h"
#include "ship_block.h"
#include "unit.h"

#define EXPORT_S 1700000000U
#define SECOND INT64_C(1000000000)

enum { ROWS = 900, PATTERNS = 40 };

/* ---- helpers ---- */

struct said {
    char text[4096];
    unsigned n;
};

static void note(void *user, const char *text)
{
    struct said *s = user;
    size_t len = strlen(s->text);
    (void)snprintf(s->text + len, sizeof s->text - len, "%s\n", text);
    s->n++;
}

static ship_ipfix *make(size_t message, bool stream, struct said *said)
{
    const struct ship_ipfix_options o = {.message = message,
                                         .stream = stream,
                                         .refresh_s = 60,
                                         .say = said ? note : NULL,
                                         .user = said};
    ship_ipfix *m = ship_ipfix_new(&o);
    assert_non_null(m);
    return m;
}

static void begin(ship_ipfix *m, const struct query_field *extras, size_t n_extras,
                  struct ship_block *b, size_t n_rows)
{
    const struct query_field *fields;
    size_t n;
    weir_err err = {0};
    UNIT_CHECK(ship_ipfix_columns(m, extras, n_extras, &fields, &n, &err) == WEIR_OK, "%s",
               err.msg);
    ship_block_init(b, fields, n, n_rows);
}

static void put(ship_ipfix *m, struct ship_block *b, int64_t now_ns)
{
    weir_err err = {0};
    weir_status s = ship_ipfix_put(m, ship_block_get(b), now_ns, EXPORT_S, &err);
    UNIT_CHECK(s == WEIR_OK, "%s", err.msg);
}

static uint32_t get(const uint8_t *p, size_t n)
{
    uint32_t v = 0;
    for (size_t i = 0; i < n; i++)
        v = v << 8 | p[i];
    return v;
}

/* Templates in all messages, and their data records as the messages count them. */
static unsigned templates_of(const ship_ipfix *m, unsigned *records)
{
    size_t n;
    unsigned templates = 0;
    const struct ship_ipfix_message *messages = ship_ipfix_messages(m, &n);
    *records = 0;
    for (size_t i = 0; i < n; i++) {
        const uint8_t *p = ship_ipfix_octets(m) + messages[i].off, *end = p + messages[i].len;
        *records += messages[i].records;
        assert_int_equal(get(p + 2, 2), messages[i].len);
        for (p += 16; p < end; p += get(p + 2, 2))
            for (const uint8_t *t = p + 4; get(p, 2) == 2 && t < p + get(p + 2, 2); templates++) {
                unsigned fields = get(t + 2, 2);
                for (t += 4; fields; fields--)
                    t += t[0] & 0x80 ? 8 : 4;
            }
    }
    return templates;
}

/* ---- octets ---- */

static void flow(struct ship_block *b, size_t row, uint32_t domain)
{
    ship_block_num(b, "domain", row, domain);
    ship_block_text(b, "exporter", row, "10.0.0.1");
    ship_block_time(b, "received", row, INT64_C(1700000000000000));
    ship_block_time(b, "first", row, INT64_C(1699999999000000));
    ship_block_time(b, "last", row, INT64_C(1699999999500000));
    ship_block_text(b, "src_addr", row, "192.0.2.1");
    ship_block_text(b, "dst_addr", row, "198.51.100.7");
    ship_block_num(b, "proto", row, 6);
    ship_block_num(b, "bytes", row, 1500);
}

static void by_hand(void **state)
{
    (void)state;
    struct ship_block b;
    size_t n;
    ship_ipfix *m = make(1400, false, NULL);
    begin(m, NULL, 0, &b, 1);
    flow(&b, 0, 7);
    put(m, &b, SECOND);
    const struct ship_ipfix_message *messages = ship_ipfix_messages(m, &n);
    assert_int_equal(n, 1);
    const uint8_t *got = ship_ipfix_octets(m) + messages[0].off;
    uint8_t want[93];
    assert_int_equal(
        unhex("000a 005d 6553f100 00000000 00000007"
              "0002 0024 0000 0007  0082 0004  0098 0008  0099 0008  0008 0004"
              "                     000c 0004  0004 0001  0001 0008"
              "0000 0029 0a000001 0000018bcfe56418 0000018bcfe5660c c0000201 c6336407 06"
              "          00000000000005dc",
              want, sizeof want),
        sizeof want);
    assert_int_equal(messages[0].len, sizeof want);
    uint16_t id = (uint16_t)get(got + 20, 2);
    assert_true(id >= 256);
    memcpy(want + 20, got + 20, 2); /* the same in both sets */
    memcpy(want + 52, got + 20, 2);
    assert_memory_equal(got, want, sizeof want);
    /* Ids follow from the fields: another process has the same. */
    assert_int_equal(id, 24424);
    ship_block_done(&b);
    ship_ipfix_free(m);
}

/* ---- rows come back ---- */

static uint64_t seed = 1;

static uint64_t random64(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed * UINT64_C(0x2545f4914f6cdd1d);
}

/* Which columns come together. */
static bool in_pattern(uint64_t pattern, size_t column)
{
    uint64_t h = (pattern * 1000 + column + 1) * UINT64_C(0x9e3779b97f4a7c15);
    h = (h ^ h >> 32) * UINT64_C(0xd6e8feb86659fd93);
    return (h >> 40) % 5 < 2;
}

/* Not sent as they are, or set by the other side. */
static bool is_own(const char *name)
{
    static const char *const names[] = {"received",         "exporter", "exporter_port",
                                        "protocol_version", "sequence", "template_id",
                                        "sampling_source"};
    for (size_t i = 0; i < UNIT_N(names); i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

static bool is_unsendable(const char *name)
{
    static const char *const names[] = {"fw_ext_event", "acl_in",      "acl_out",
                                        "src_as_path",  "dst_as_path", "extra"};
    for (size_t i = 0; i < UNIT_N(names); i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

static uint64_t number_for(const char *name, enum flow_type type)
{
    uint64_t v = random64() >> random64() % 64;
    if (strncmp(name, "service_", 8) == 0)
        return v & 0xffff; /* as their elements have it */
    if (strstr(name, "_latency_us"))
        return (v & 0xffffff) * 1000;
    switch (flow_type_octets(type)) {
    case 1:
        return v & 0xff;
    case 2:
        return v & 0xffff;
    case 4:
        return v & 0xffffffff;
    default:
        return v;
    }
}

static void address_for(const char *name, char *out, size_t cap)
{
    uint64_t v = random64();
    if (v & 1 || strncmp(name, "tunnel_", 7) == 0) /* there is no element for it with IPv6 */
        (void)snprintf(out, cap, "%u.%u.%u.%u", 1 + (unsigned)(v >> 8) % 255,
                       (unsigned)(v >> 16) % 256, (unsigned)(v >> 24) % 256,
                       (unsigned)(v >> 32) % 256);
    else
        (void)snprintf(out, cap, "2001:db8:%x::%x", 1 + (unsigned)(v >> 8) % 0xfffe,
                       1 + (unsigned)(v >> 24) % 0xfffe);
}

/* A value for a column, into the block; what it should come back as into want. */
static void value_for(struct ship_block *b, const struct query_field *f, size_t row, base_buf *want)
{
    const struct flow_column *c = f->what == QUERY_F_COLUMN ? &flow_columns()[f->id] : NULL;
    char text[400];
    size_t len;
    if (c && c->type == FLOW_TYPE_ADDR) {
        address_for(c->name, text, sizeof text);
        ship_block_text(b, f->name, row, text);
        base_buf_str(want, text);
        return;
    }
    if ((c && c->type == FLOW_TYPE_MAC) || strstr(f->name, "MacAddress")) {
        (void)snprintf(text, sizeof text, "02:00:5e:%02x:%02x:%02x", (unsigned)random64() & 255,
                       (unsigned)random64() & 255, (unsigned)random64() & 255);
        ship_block_text(b, f->name, row, text);
        base_buf_str(want, text);
        return;
    }
    switch (f->kind) {
    case QUERY_U64: {
        uint64_t v = c ? number_for(c->name, (enum flow_type)c->type) : random64() & 0xff;
        ship_block_num(b, f->name, row, v);
        len = base_u64_text(text, v);
        break;
    }
    case QUERY_S64: {
        int64_t v = (int32_t)random64();
        ship_block_value(b, f->name, row, QUERY_S64, (uint64_t)v);
        len = base_s64_text(text, v);
        break;
    }
    case QUERY_BOOL:
        ship_block_value(b, f->name, row, QUERY_BOOL, row & 1);
        len = (size_t)snprintf(text, sizeof text, "%d", (int)(row & 1));
        break;
    case QUERY_F64: {
        double v = random64() & 1 ? (double)(1 + random64() % 100000)
                                  : (double)(1001 + random64() % 1000000) / 1000;
        ship_block_real(b, f->name, row, v);
        len = base_f64_text(text, v);
        break;
    }
    case QUERY_TIME: {
        int64_t us = INT64_C(1699990000000000) + (int64_t)(random64() % 10000000000);
        us -= random64() & 1 ? us % 1000 : 0;
        us -= strstr(f->name, "Seconds") ? us % 1000000 : 0;
        ship_block_time(b, f->name, row, us);
        len = base_time_text(text, us * 1000, 6);
        break;
    }
    case QUERY_TEXT:
        len = 1 + random64() % 300;
        for (size_t i = 0; i < len; i++)
            text[i] = (char)('a' + random64() % 26);
        text[len] = 0;
        ship_block_text(b, f->name, row, text);
        break;
    case QUERY_OCTETS:
        len = 1 + random64() % 300;
        for (size_t i = 0; i < len; i++)
            text[i] = (char)random64();
        ship_block_octets(b, f->name, row, text, len);
        base_json_hex(want, (const uint8_t *)text, len);
        return;
    default:
        fail_msg("%s: a kind that the test knows no value for", f->name);
        return;
    }
    base_buf_add(want, text, len);
}

/* Labels with their classes; the last one is the bottom of the stack. */
static void labels_for(struct ship_block *b, size_t row, base_buf *labels, base_buf *classes,
                       base_buf *bottom)
{
    uint64_t label[10], class[10];
    size_t n = 1 + random64() % 10;
    for (size_t i = 0; i < n; i++) {
        label[i] = 16 + random64() % 1000000;
        class[i] = random64() % 8;
        base_buf_printf(labels, "%s%d", i ? "," : "[", (int)label[i]);
        base_buf_printf(classes, "%s%d", i ? "," : "[", (int)class[i]);
    }
    base_buf_char(labels, ']');
    base_buf_char(classes, ']');
    base_buf_printf(bottom, "%zu", n);
    ship_block_list(b, "mpls_labels", row, label, n);
    ship_block_list(b, "mpls_exp", row, class, n);
    ship_block_num(b, "mpls_eos", row, n);
}

static size_t column_of(const struct query_field *fields, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(fields[i].name, name) == 0)
            return i;
    fail_msg("%s is not asked for", name);
    return 0;
}

struct back {
    flow_normaliser *normaliser;
    flow_batch *batch;
};

static void take(void *user, const weir_record *r)
{
    struct back *b = user;
    assert_int_equal(flow_add_record(b->normaliser, b->batch, r), WEIR_OK);
}

static void refuse(void *user, const weir_packet *p, weir_fault fault, const weir_err *err)
{
    (void)user;
    (void)p;
    fail_msg("%s: %s", weir_fault_text(fault), err->msg);
}

/* Decode all messages of a put. */
static void decode(ship_ipfix *m, weir_decoder *d, struct back *back, size_t most)
{
    const weir_handlers on = {.record = take, .fault = refuse};
    const weir_endpoint from = {.family = 4, .port = 9, .addr = {192, 0, 2, 99}};
    size_t n;
    const struct ship_ipfix_message *messages = ship_ipfix_messages(m, &n);
    for (size_t i = 0; i < n; i++) {
        weir_err err = {0};
        UNIT_CHECK(messages[i].len <= most || messages[i].records <= 1, "%zu octets, %u records",
                   messages[i].len, messages[i].records);
        weir_status s =
            weir_decode(d, &from, EXPORT_S * SECOND, ship_ipfix_octets(m) + messages[i].off,
                        messages[i].len, &on, back, &err);
        UNIT_CHECK(s == WEIR_OK, "%s", err.msg);
    }
    assert_int_equal(weir_decoder_counters(d)->waiting, 0);
    assert_int_equal(weir_decoder_counters(d)->sequence_lost, 0);
}

static void come_back(size_t message)
{
    const struct query_field extras[] = {
        {QUERY_F_EXTRA, -1, "wlanChannelId", QUERY_U64, 0, 0, 0, 0},
        {QUERY_F_EXTRA, -1, "sectionExportedOctets", QUERY_U64, 0, 0, 0, 0},
        {QUERY_F_EXTRA, -1, "mibObjectValueInteger", QUERY_S64, 0, 0, 0, 0},
        {QUERY_F_EXTRA, -1, "absoluteError", QUERY_F64, 0, 0, 0, 0},
        {QUERY_F_EXTRA, -1, "dataRecordsReliability", QUERY_BOOL, 0, 0, 0, 0},
        {QUERY_F_EXTRA, -1, "wtpMacAddress", QUERY_TEXT, 0, 0, 0, 0},
        {QUERY_F_EXTRA, -1, "interfaceName", QUERY_TEXT, 0, 0, 0, 0},
        {QUERY_F_EXTRA, -1, "mplsPayloadPacketSection", QUERY_OCTETS, 0, 0, 0, 0},
        {QUERY_F_EXTRA, -1, "e4294967_77", QUERY_OCTETS, 0, 0, 0, 0},
        {QUERY_F_EXTRA, -1, "sourceTransportPort_list", QUERY_U64_LIST, 0, 0, 0, 0},
    };
    enum { SENT = UNIT_N(extras) - 1 }; /* the last one is not */
    struct said said = {.n = 0};
    struct ship_block b;
    ship_ipfix *m = make(message, false, &said);
    begin(m, extras, UNIT_N(extras), &b, ROWS);
    assert_non_null(strstr(said.text, "sourceTransportPort_list is left out"));
    size_t n = b.n_fields, row_column = column_of(b.fields, n, "flow_id");
    base_buf *want = calloc(n * ROWS, sizeof *want);
    assert_non_null(want);
    size_t labels = column_of(b.fields, n, "mpls_labels");
    for (size_t row = 0; row < ROWS; row++) {
        uint64_t pattern = random64() % PATTERNS;
        uint64_t proto = (uint64_t[]){6, 17, 1, 58, 47}[random64() % 5];
        for (size_t f = 0; f < n; f++) {
            const char *name = b.fields[f].name;
            base_buf *w = &want[f * ROWS + row];
            if (f == row_column) {
                ship_block_num(&b, name, row, row + 1);
                base_buf_printf(w, "%zu", row + 1);
                continue;
            }
            if (strcmp(name, "proto") == 0) {
                ship_block_num(&b, name, row, proto);
                base_buf_printf(w, "%d", (int)proto);
                continue;
            }
            if (strcmp(name, "domain") == 0) {
                uint32_t domain = (uint32_t[]){0, 7, 4294967295U}[random64() % 3];
                ship_block_num(&b, name, row, domain);
                base_buf_printf(w, "%u", domain);
                continue;
            }
            if (strncmp(name, "icmp_", 5) == 0) { /* both, and for ICMP alone */
                if (proto == 1 || proto == 58)
                    value_for(&b, &b.fields[f], row, w);
                continue;
            }
            if (strncmp(name, "mpls_", 5) == 0 &&
                (f == labels || strstr("mpls_exp mpls_eos", name))) {
                if (f == labels && pattern % 3 == 0)
                    labels_for(&b, row, w, &want[column_of(b.fields, n, "mpls_exp") * ROWS + row],
                               &want[column_of(b.fields, n, "mpls_eos") * ROWS + row]);
                continue;
            }
            bool time = strcmp(name, "first") == 0 || strcmp(name, "last") == 0; /* all have one */
            if ((!in_pattern(pattern, f) && !time) || b.fields[f].kind == QUERY_U64_LIST)
                continue;
            if (strcmp(name, "src_mask") == 0 || strcmp(name, "dst_mask") == 0) {
                uint64_t v = random64() % 33;
                ship_block_num(&b, name, row, v);
                base_buf_printf(w, "%d", (int)v);
                continue;
            }
            if (is_own(name) && strcmp(name, "received") != 0 && strcmp(name, "exporter") != 0)
                continue;
            value_for(&b, &b.fields[f], row, w);
            if (is_own(name) || is_unsendable(name))
                base_buf_reset(w);
        }
    }
    put(m, &b, SECOND);
    weir_err err = {0};
    weir_decoder *d = weir_decoder_new(NULL, &err);
    struct back back = {flow_normaliser_new(), flow_batch_new(FLOW_TABLE_FLOWS)};
    assert_non_null(d);
    assert_true(back.normaliser && back.batch);
    decode(m, d, &back, message);
    assert_int_equal(flow_batch_rows(back.batch), ROWS);
    base_buf got = {0};
    for (uint32_t i = 0; i < ROWS; i++) {
        base_buf_reset(&got);
        cells_cell(back.batch, FLOW_flow_id, i, &got);
        base_buf_char(&got, 0);
        size_t row = (size_t)atoi(got.data) - 1;
        assert_true(row < ROWS);
        for (size_t f = 0; f < n; f++) {
            struct flow_vec v;
            uint32_t column = 0;
            base_buf *w = &want[f * ROWS + row];
            const char *name = b.fields[f].name;
            base_buf_reset(&got);
            if (is_own(name))
                continue;
            if (cells_find(back.batch, name, &v, &column))
                cells_cell(back.batch, column, i, &got);
            base_buf_char(&got, 0);
            base_buf_char(w, 0);
            UNIT_CHECK(strcmp(got.data, w->data) == 0, "row %zu: %s: %s, not %s", row, name,
                       got.data, w->data);
        }
    }
    for (size_t k = 0; k < SENT; k++) {
        struct flow_vec v;
        uint32_t column;
        UNIT_CHECK(cells_find(back.batch, extras[k].name, &v, &column), "%s never came",
                   extras[k].name);
    }
    assert_non_null(strstr(said.text, "src_as_path is left out"));
    unsigned before = said.n;
    put(m, &b, SECOND);
    assert_int_equal(said.n, before); /* once */
    for (size_t i = 0; i < n * ROWS; i++)
        base_buf_done(&want[i]);
    free(want);
    base_buf_done(&got);
    flow_batch_free(back.batch);
    flow_normaliser_free(back.normaliser);
    weir_decoder_free(d);
    ship_block_done(&b);
    ship_ipfix_free(m);
}

static void rows_come_back(void **state)
{
    (void)state;
    come_back(1400);
    come_back(SHIP_IPFIX_LEAST_MESSAGE);
    come_back(SHIP_IPFIX_MOST_MESSAGE);
}

/* ---- sessions ---- */

static void templates_again(void **state)
{
    (void)state;
    static const struct {
        int64_t at_ms;
        unsigned templates;
    } udp[] = {{0, 1},     {500, 0},   {1000, 1},  {2999, 0},  {3000, 1},   {6999, 0},  {7000, 1},
               {15000, 1}, {31000, 1}, {62999, 0}, {63000, 1}, {122999, 0}, {123000, 1}};
    for (int stream = 0; stream < 2; stream++) {
        struct ship_block b;
        unsigned records;
        ship_ipfix *m = make(1400, stream, NULL);
        begin(m, NULL, 0, &b, 1);
        flow(&b, 0, 7);
        for (size_t i = 0; i < UNIT_N(udp); i++) {
            put(m, &b, SECOND + udp[i].at_ms * 1000000);
            unsigned want = stream ? i == 0 : udp[i].templates;
            UNIT_CHECK(templates_of(m, &records) == want, "stream %d, %d ms: not %u templates",
                       stream, (int)udp[i].at_ms, want);
            assert_int_equal(records, 1);
            assert_int_equal(get(ship_ipfix_octets(m) + 8, 4), i);
        }
        ship_ipfix_session(m, !stream);
        put(m, &b, 125 * SECOND);
        assert_int_equal(templates_of(m, &records), 1);
        assert_int_equal(get(ship_ipfix_octets(m) + 8, 4), stream ? 0 : UNIT_N(udp));
        ship_block_done(&b);
        ship_ipfix_free(m);
    }
}

/* Sequence numbers are those of the domain, and of what was sent. */
static void sequence(void **state)
{
    (void)state;
    struct ship_block b;
    size_t n;
    ship_ipfix *m = make(SHIP_IPFIX_LEAST_MESSAGE, false, NULL);
    begin(m, NULL, 0, &b, 100);
    for (size_t i = 0; i < 100; i++)
        flow(&b, i, i % 4 ? 1 : 2);
    for (unsigned round = 0; round < 3; round++) {
        uint32_t next[3] = {0, round * 75, round * 25};
        put(m, &b, SECOND);
        const struct ship_ipfix_message *messages = ship_ipfix_messages(m, &n);
        assert_true(n > 4);
        for (size_t i = 0; i < n; i++) {
            const uint8_t *p = ship_ipfix_octets(m) + messages[i].off;
            uint32_t domain = get(p + 12, 4);
            assert_true(domain == 1 || domain == 2);
            assert_int_equal(get(p + 8, 4), next[domain]);
            next[domain] += messages[i].records;
        }
        assert_int_equal(next[1] + next[2], (round + 1) * 100);
    }
    ship_ipfix_take_back(m, 0);
    put(m, &b, SECOND);
    assert_int_equal(get(ship_ipfix_octets(m) + 8, 4) % 50, 0);
    const struct ship_ipfix_message *messages = ship_ipfix_messages(m, &n);
    uint32_t sent = messages[0].records;
    ship_ipfix_take_back(m, 1); /* the first one was sent */
    put(m, &b, SECOND);
    assert_int_equal(get(ship_ipfix_octets(m) + 8, 4) % 50, sent);
    ship_block_done(&b);
    ship_ipfix_free(m);
}

/* Columns that come together in ever new ways: what a peer can make us remember has a limit, and over a stream templates are
 * withdrawn before ids are given again. */
static void too_many_templates(void **state)
{
    (void)state;
    enum { N = 9000, COLUMNS = 15 };
    static const char *const names[COLUMNS] = {
        "bytes", "packets", "in_if",   "out_if",  "src_as", "dst_as",  "vlan",      "ttl",
        "tos",   "flows",   "min_len", "max_len", "vrf_in", "vrf_out", "flow_label"};
    struct ship_block b;
    unsigned records, templates;
    size_t n;
    ship_ipfix *m = make(16000, true, NULL);
    begin(m, NULL, 0, &b, N);
    for (size_t i = 0; i < N; i++) {
        ship_block_num(&b, "flow_id", i, i);
        for (size_t k = 0; k < COLUMNS; k++)
            if (i >> k & 1)
                ship_block_num(&b, names[k], i, 1);
    }
    put(m, &b, SECOND);
    templates = templates_of(m, &records);
    assert_int_equal(templates, N);
    assert_int_equal(records, N);
    put(m, &b, SECOND);
    (void)ship_ipfix_messages(m, &n);
    const uint8_t *p = ship_ipfix_octets(m);
    uint8_t withdrawal[8];
    (void)unhex("0002 0008 0002 0000", withdrawal, sizeof withdrawal);
    assert_int_equal(get(p + 2, 2), 24);
    assert_memory_equal(p + 16, withdrawal, sizeof withdrawal);
    assert_int_equal(get(p + 8, 4), N);
    ship_block_done(&b);
    ship_ipfix_free(m);
}

static void long_texts(void **state)
{
    (void)state;
    struct said said = {.n = 0};
    struct ship_block b;
    size_t n;
    ship_ipfix *m = make(1400, false, &said);
    begin(m, NULL, 0, &b, 3);
    char *text = calloc(1, 70001);
    assert_non_null(text);
    memset(text, 'x', 70000);
    for (size_t i = 0; i < 3; i++)
        flow(&b, i, 7);
    ship_block_text(&b, "http_url", 0, text);
    text[50000] = 0;
    ship_block_text(&b, "http_url", 1, text);
    ship_block_text(&b, "http_url", 2, "/");
    put(m, &b, SECOND);
    const struct ship_ipfix_message *messages = ship_ipfix_messages(m, &n);
    assert_int_equal(n, 3);
    assert_true(messages[1].len > 50000 && messages[1].len < 51000 && messages[1].records == 1);
    assert_int_equal(messages[0].records + messages[2].records, 2);
    assert_int_equal(said.n, 1);
    assert_non_null(strstr(said.text, "http_url"));
    free(text);
    ship_block_done(&b);
    ship_ipfix_free(m);
}

/* ---- memory ---- */

/* Each allocation fails once: nothing is leaked, and the next put is whole. */
static void out_of_memory(void **state)
{
    (void)state;
    size_t live = heap.live;
    for (uint64_t k = 1;; k++) {
        const struct ship_ipfix_options o = {.message = 1400, .refresh_s = 60};
        const struct query_field extra = {
            QUERY_F_EXTRA, -1, "interfaceName", QUERY_TEXT, 0, 0, 0, 0};
        const struct query_field *fields;
        struct ship_block b;
        size_t n;
        weir_err err = {0};
        heap.calls = heap.failed = 0;
        heap.fail_at = k;
        ship_ipfix *m = ship_ipfix_new(&o);
        weir_status s = m ? ship_ipfix_columns(m, &extra, 1, &fields, &n, &err) : WEIR_ENOMEM;
        uint64_t calls = heap.calls;
        heap.fail_at = 0;
        if (s == WEIR_OK) {
            ship_block_init(&b, fields, n, 300);
            for (size_t i = 0; i < 300; i++) {
                flow(&b, i, (uint32_t)i % 5);
                if (i % 2)
                    ship_block_text(&b, "interfaceName", i, "eth0");
            }
            const struct query_block *block = ship_block_get(&b);
            heap.calls = calls;
            heap.fail_at = k;
            s = ship_ipfix_put(m, block, SECOND, EXPORT_S, &err);
            heap.fail_at = 0;
            if (s != WEIR_OK) {
                unsigned records;
                assert_int_equal(s, WEIR_ENOMEM);
                put(m, &b, SECOND);
                assert_int_equal(templates_of(m, &records), 10);
                assert_int_equal(records, 300);
                assert_int_equal(get(ship_ipfix_octets(m) + 8, 4), 0);
            }
            ship_block_done(&b);
        } else {
            assert_int_equal(s, WEIR_ENOMEM);
        }
        ship_ipfix_free(m);
        UNIT_CHECK(heap.live == live, "allocation %d: octets are leaked", (int)k);
        if (!heap.failed)
            break;
        assert_true(k < 1000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_hand),
        cmocka_unit_test(rows_come_back),
        cmocka_unit_test(templates_again),
        cmocka_unit_test(sequence),
        cmocka_unit_test(too_many_templates),
        cmocka_unit_test(long_texts),
        cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
