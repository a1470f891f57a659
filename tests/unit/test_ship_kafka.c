/* Kafka: what arrives at a broker (librdkafka's mock cluster) is what was put, in order, whatever the broker does. */
#include "unit.h"

#include "base/err.h"
#include "ship/destinations.h"
#include "ship/encode.h"
#include "ship_block.h"

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <string.h>
#include <time.h>

enum { PRODUCE = 0, PARTITIONS = 3, SETTINGS = 12, MOST_ROWS = 200000 };

/* ---- a broker ---- */

struct broker {
    rd_kafka_t *rk;
    rd_kafka_mock_cluster_t *cluster;
    char servers[200];
};

static void silent(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
    (void)rk, (void)level, (void)facility, (void)text;
}

/* One for all tests: to end a mock cluster takes it a second. Each test has topics of its own. */
static int broker_up(void **state)
{
    static struct broker b;
    char text[200];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set_log_cb(conf, silent);
    b.rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
    if (!b.rk || !(b.cluster = rd_kafka_mock_cluster_new(b.rk, 1)))
        return -1;
    (void)snprintf(b.servers, sizeof b.servers, "%s", rd_kafka_mock_cluster_bootstraps(b.cluster));
    *state = &b;
    return 0;
}

static int broker_end(void **state)
{
    struct broker *b = *state;
    rd_kafka_mock_cluster_destroy(b->cluster);
    rd_kafka_destroy(b->rk);
    return 0;
}

/* Whatever a test has done to it. */
static int broker_well(void **state)
{
    struct broker *b = *state;
    rd_kafka_mock_clear_request_errors(b->cluster, PRODUCE);
    (void)rd_kafka_mock_broker_set_rtt(b->cluster, 1, 0);
    (void)rd_kafka_mock_broker_set_up(b->cluster, 1);
    return 0;
}

/* ---- a destination ---- */

struct side {
    ship_destination *d;
    const struct query_field *fields;
    size_t n_fields;
    char topic[20]; /* of its own, when start made it */
    int stop_after; /* asks; -1: never */
    size_t n_said;
    char said[400]; /* last */
};

static bool stop(void *user)
{
    struct side *s = user;
    if (s->stop_after < 0)
        return false;
    return s->stop_after-- == 0 ? (s->stop_after = 0, true) : false;
}

static void says(void *user, const char *text)
{
    struct side *s = user;
    s->n_said++;
    (void)snprintf(s->said, sizeof s->said, "%s", text);
}

/* text: "name=value name=value ..." */
static weir_status open_side(struct side *s, const char *servers, const char *topic,
                             const char *format, const char *text, weir_err *err)
{
    char url[300], words[400];
    struct ship_setting settings[SETTINGS];
    size_t n = 0;
    *s = (struct side){.stop_after = -1};
    (void)snprintf(url, sizeof url, "kafka://%s%s%s", servers, topic ? "/" : "",
                   topic ? topic : "");
    (void)snprintf(words, sizeof words, "%s", text);
    for (char *at = NULL, *w = strtok_r(words, " ", &at); w; w = strtok_r(NULL, " ", &at)) {
        char *value = strchr(w, '=');
        *value++ = '\0';
        assert_true(n < SETTINGS);
        settings[n++] = (struct ship_setting){w, value};
    }
    const struct ship_destination_options o = {.url = url,
                                               .format = format,
                                               .settings = settings,
                                               .n_settings = n,
                                               .stop = stop,
                                               .log = says,
                                               .user = s};
    weir_status st = ship_kafka.open(&o, &s->d, err);
    if (st == WEIR_OK)
        st = ship_kafka.fields(s->d, FLOW_TABLE_FLOWS, NULL, 0, &s->fields, &s->n_fields, err);
    return st;
}

/* With a topic that nobody else has. */
static void start(struct side *s, const struct broker *b, const char *format, const char *text)
{
    static unsigned n;
    char topic[sizeof s->topic];
    weir_err err = {0};
    (void)snprintf(topic, sizeof topic, "flows%u", n++);
    assert_int_equal(rd_kafka_mock_topic_create(b->cluster, topic, PARTITIONS, 1), 0);
    UNIT_CHECK(open_side(s, b->servers, topic, format, text, &err) == WEIR_OK, "%s: %s", text,
               err.msg);
    memcpy(s->topic, topic, sizeof topic);
}

/* ---- rows: number `row` of the file always has the same values ---- */

static const char *exporter_of(uint64_t row, char *text, size_t cap)
{
    (void)snprintf(text, cap, "192.0.2.%u", (unsigned)(row / 5 % 4));
    return text;
}

static void fill(struct ship_block *b, const struct side *s, uint64_t from, size_t n)
{
    char text[40];
    ship_block_init(b, s->fields, s->n_fields, n);
    for (size_t i = 0; i < n; i++) {
        uint64_t row = from + i;
        if (row % 11) /* else null */
            ship_block_text(b, "exporter", i, exporter_of(row, text, sizeof text));
        (void)snprintf(text, sizeof text, "198.51.100.%u", (unsigned)(row % 200));
        ship_block_text(b, "src_addr", i, text);
        ship_block_text(b, "dst_addr", i, "203.0.113.9");
        ship_block_num(b, "src_port", i, row % 60000);
        ship_block_num(b, "dst_port", i, 443);
        ship_block_num(b, "proto", i, 6);
        ship_block_num(b, "bytes", i, row);
    }
}

static weir_status put(struct side *s, uint64_t from, size_t n, weir_err *err)
{
    struct ship_block b;
    fill(&b, s, from, n);
    const struct ship_rows rows = {.table = FLOW_TABLE_FLOWS,
                                   .file = "20261123-1200.1",
                                   .from = from,
                                   .to = from + n,
                                   .fields = s->fields,
                                   .n_fields = s->n_fields,
                                   .block = *ship_block_get(&b)};
    weir_status st = ship_kafka.put(s->d, &rows, err);
    ship_block_done(&b);
    return st;
}

/* Waits until n puts are done, or a failure. */
static weir_status wait_done(struct side *s, uint64_t n, weir_err *err)
{
    uint64_t done = 0;
    for (int i = 0; i < 200 && done < n; i++)
        WEIR_TRY(ship_kafka.done(s->d, 100, &done, err));
    assert_int_equal(done, n);
    return WEIR_OK;
}

/* As the loop of ship does: put all rows from base on, and after a failure again from the first that is not done. */
static size_t deliver_from(struct side *s, uint64_t base, uint64_t rows, size_t a_put)
{
    size_t failures = 0;
    for (uint64_t at = base, done = 0;;) {
        weir_err err = {0};
        weir_status st = WEIR_OK;
        if (at < rows) {
            size_t n = rows - at < a_put ? (size_t)(rows - at) : a_put;
            st = put(s, at, n, &err);
            at += st == WEIR_OK ? n : 0;
        }
        if (st == WEIR_OK)
            st = ship_kafka.done(s->d, at < rows ? 0 : 200, &done, &err);
        if (st != WEIR_OK) {
            UNIT_CHECK(++failures < 50 && err.msg[0], "%zu failures, the last: %s", failures,
                       err.msg);
            base += done * a_put;
            at = base < rows ? base : rows;
            done = 0;
            continue;
        }
        if (base + done * a_put >= rows)
            return failures;
    }
}

static size_t deliver(struct side *s, uint64_t rows, size_t a_put)
{
    return deliver_from(s, 0, rows, a_put);
}

/* ---- what arrived ---- */

struct message {
    char *key, *value, *id; /* NULL: none; id ends with a NUL */
    size_t key_len, len;
    int32_t partition;
};

struct arrived {
    struct message *m;
    size_t n;
};

static char *copied(const void *p, size_t len)
{
    char *out = p ? malloc(len + 1) : NULL;
    if (out) {
        memcpy(out, p, len);
        out[len] = '\0';
    }
    return out;
}

static void keep(struct arrived *a, const rd_kafka_message_t *m)
{
    rd_kafka_headers_t *headers;
    const void *id = NULL;
    size_t id_len = 0;
    if (a->n % 1024 == 0)
        a->m = realloc(a->m, (a->n + 1024) * sizeof *a->m);
    assert_non_null(a->m);
    if (rd_kafka_message_headers(m, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR)
        assert_int_equal(rd_kafka_header_get_last(headers, "weir-id", &id, &id_len), 0);
    a->m[a->n++] = (struct message){.key = copied(m->key, m->key_len),
                                    .key_len = m->key_len,
                                    .value = copied(m->payload, m->len),
                                    .len = m->len,
                                    .id = copied(id, id_len),
                                    .partition = m->partition};
}

/* All of a topic, in order per partition. */
static struct arrived read_all(const struct broker *b, const char *topic)
{
    char text[200];
    struct arrived a = {0};
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    static const char *const settings[][2] = {{"group.id", "test"},
                                              {"enable.partition.eof", "true"},
                                              {"enable.auto.commit", "false"},
                                              {"fetch.wait.max.ms", "20"},
                                              {"fetch.error.backoff.ms", "10"},
                                              {"topic.metadata.refresh.fast.interval.ms", "10"}};
    rd_kafka_conf_set_log_cb(conf, silent);
    for (size_t i = 0; i < UNIT_N(settings); i++)
        assert_int_equal(rd_kafka_conf_set(conf, settings[i][0], settings[i][1], text, sizeof text),
                         0);
    assert_int_equal(rd_kafka_conf_set(conf, "bootstrap.servers", b->servers, text, sizeof text),
                     0);
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof text);
    assert_non_null(rk);
    rd_kafka_topic_partition_list_t *all = rd_kafka_topic_partition_list_new(PARTITIONS);
    for (int32_t i = 0; i < PARTITIONS; i++)
        rd_kafka_topic_partition_list_add(all, topic, i)->offset = 0;
    assert_int_equal(rd_kafka_assign(rk, all), 0);
    for (int ended = 0, empty = 0; ended < PARTITIONS;) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(rk, 1000);
        assert_true((m && !m->err) || ++empty < 20);
        if (m && m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
            ended++;
        else if (m && !m->err)
            keep(&a, m);
        if (m)
            rd_kafka_message_destroy(m);
    }
    rd_kafka_topic_partition_list_destroy(all);
    rd_kafka_destroy(rk);
    return a;
}

static void arrived_done(struct arrived *a)
{
    for (size_t i = 0; i < a->n; i++) {
        free(a->m[i].key);
        free(a->m[i].value);
        free(a->m[i].id);
    }
    free(a->m);
}

/* Rows [*first, *last] of an id. */
static void row_of(const struct message *m, uint64_t *first, uint64_t *last)
{
    unsigned long long a = 0, b = 0;
    int n = m->id ? sscanf(m->id, "20261123-1200.1:%llu-%llu", &a, &b) : 0;
    UNIT_CHECK(n >= 1, "id %s", m->id ? m->id : "(none)");
    *first = a;
    *last = n == 2 ? b : a;
}

/* Every row [0, rows) is there; a consumer that drops what is not above the highest row of its partition (without key:
 * what it has) has each once; each value is what the encoder makes of that row. Returns how many came again. */
static size_t check_rows(const struct arrived *a, uint64_t rows, const struct side *s)
{
    static uint8_t seen[MOST_ROWS];
    int64_t highest[PARTITIONS];
    size_t again = 0, n = 0;
    weir_err err = {0};
    ship_encoder *e;
    const struct ship_encoder_options o = {.format = "flowmessage", .delimited = true};
    assert_int_equal(ship_encoder_new(&o, &e, &err), WEIR_OK);
    assert_true(rows <= MOST_ROWS);
    memset(seen, 0, sizeof seen);
    for (int i = 0; i < PARTITIONS; i++)
        highest[i] = -1;
    base_buf out = {0};
    size_t ends[1024];
    uint64_t at = 0, encoded = 0; /* rows [at, at + encoded) are in out */
    for (size_t i = 0; i < a->n; i++) {
        const struct message *m = &a->m[i];
        uint64_t first, last;
        row_of(m, &first, &last);
        assert_true(first == last && first < rows);
        bool keyless = first % 11 == 0; /* it may come to another partition when it comes again */
        if (keyless ? seen[first] : (int64_t)first <= highest[m->partition]) {
            again++;
            continue;
        }
        if (!keyless)
            highest[m->partition] = (int64_t)first;
        UNIT_CHECK(!seen[first], "row %llu in two partitions", (unsigned long long)first);
        seen[first] = 1;
        n++;
        if (first < at || first >= at + encoded) {
            struct ship_block b;
            at = first;
            encoded = UNIT_N(ends);
            base_buf_reset(&out);
            fill(&b, s, at, UNIT_N(ends));
            assert_int_equal(
                ship_encoder_rows(e, ship_block_get(&b), 0, UNIT_N(ends), &out, ends, &err),
                WEIR_OK);
            ship_block_done(&b);
        }
        size_t begin = first > at ? ends[first - at - 1] : 0;
        UNIT_CHECK(m->len == ends[first - at] - begin &&
                       memcmp(m->value, out.data + begin, m->len) == 0,
                   "row %llu is not what the encoder makes of it", (unsigned long long)first);
    }
    UNIT_CHECK(n == rows, "%zu of %llu rows arrived", n, (unsigned long long)rows);
    base_buf_done(&out);
    ship_encoder_free(e);
    return again;
}

/* ---- tests ---- */

static void settings_are_looked_at(void **state)
{
    static const struct {
        const char *servers, *topic, *format, *text, *want; /* want NULL: good */
    } cases[] = {
        {"h:1", "t", NULL, "", NULL},
        {"h:1,i,[::1]:9092", "t", "json", "key=none ids=none per-message=50", NULL},
        {"h:1", NULL, NULL, "", "expected kafka://HOST:PORT[,HOST:PORT...]/TOPIC"},
        {"h:1", "", NULL, "", "expected kafka://HOST:PORT[,HOST:PORT...]/TOPIC"},
        {"", "t", NULL, "", "expected kafka://"},
        {"me:secret@h:1", "t", NULL, "", NULL},
        {"h:1", "t?key=none&per-message=3", NULL, "", NULL},
        {"h:1", "t?key=port", NULL, "", "exporter, flow or none"},
        {"h:1", "t?key=flow", NULL, "per-message=2", "only exporter or none"},
        {"h:1", "t?key=flow", NULL, "per-message=2 key=none", NULL},
        {"h:1", "a b", NULL, "", "letters, digits"},
        {"h:1", "a/b", NULL, "", "letters, digits"},
        {"h:1", "..", NULL, "", "letters, digits"},
        {"h:1", "t", "xml", "", "flowmessage"},
        {"h:1", "t", NULL, "key=port", "exporter, flow or none"},
        {"h:1", "t", NULL, "ids=both", "header or none"},
        {"h:1", "t", NULL, "delimited=maybe", "yes or no"},
        {"h:1", "t", NULL, "per-message=0", "1 to 4096"},
        {"h:1", "t", NULL, "per-message=2 key=flow", "only exporter or none"},
        {"h:1", "t", NULL, "per-message=2 delimited=no", "nobody could tell flows apart"},
        {"h:1", "t", "json", "per-message=2 delimited=no", NULL},
        {"h:1", "t", NULL, "memory=7", "8 to 4096"},
        {"h:1", "t", NULL, "partitions=0", "1 to 100000"},
        {"h:1", "t", NULL, "replication=x", "replicas"},
        {"h:1", "t", NULL, "retention=7", "d, h, m or s, or forever"},
        {"h:1", "t", NULL, "retention=7d partitions=3 replication=1", NULL},
        {"h:1", "t", NULL, "retention=forever", NULL},
        {"h:1", "t", NULL, "delivery.timeout.ms=0", "milliseconds"},
        {"h:1", "t", NULL, "compression=zstd compression.level=3", NULL},
        {"h:1", "t", NULL, "compression=rar", "compression"},
        {"h:1", "t", NULL, "colour=red", "No such configuration property: \"colour\""},
        {"h:1", "t", NULL, "colour=red", "CONFIGURATION.md"},
        {"h:1", "t", NULL, "linger.ms=-5", "linger.ms"},
        {"h:1", "t", NULL, "partitioner=dice", "partitioner"},
        {"h:1", "t", NULL, "partitioner=consistent_random linger.ms=5", NULL},
        {"h:1", "t", NULL,
         "security.protocol=sasl_ssl sasl.mechanism=PLAIN sasl.username=u sasl.password=p", NULL},
        {"h:1", "t", NULL, "security.protocol=ssl ssl.ca.location=/no/such/file",
         "ssl.ca.location"},
        {"h:1", "t", NULL, "acks=1", "acks"},
        {"h:1", "t", NULL, "enable.idempotence=false acks=1", NULL},
        {"h:1", "t", NULL, "bootstrap.servers=x:1", "the url has the brokers"},
        {"h:1", "t", NULL, "transactional.id=x", "transactions are not used"},
    };
    (void)state;
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        struct side s;
        weir_err err = {0};
        weir_status st =
            open_side(&s, cases[i].servers, cases[i].topic, cases[i].format, cases[i].text, &err);
        const char *want = cases[i].want;
        UNIT_CHECK(want ? st == WEIR_EINVAL && strstr(err.msg, want) : st == WEIR_OK,
                   "%s/%s %s: %d %s", cases[i].servers, cases[i].topic ? cases[i].topic : "",
                   cases[i].text, st, err.msg);
        ship_kafka.close(s.d);
    }
    ship_kafka.close(NULL);
}

/* One message a flow, key exporter, ids: the defaults. */
static void flows_arrive(void **state)
{
    const struct broker *b = *state;
    struct side s;
    start(&s, b, NULL, "linger.ms=1");
    assert_int_equal(deliver(&s, 5000, 777), 0);
    struct arrived a = read_all(b, s.topic);
    assert_int_equal(check_rows(&a, 5000, &s), 0);
    for (size_t i = 0; i < a.n; i++) {
        uint64_t row, last;
        char text[40];
        row_of(&a.m[i], &row, &last);
        if (row % 11)
            assert_string_equal(a.m[i].key, exporter_of(row, text, sizeof text));
        else
            assert_int_equal(a.m[i].key_len, 0);
    }
    assert_int_equal(s.n_said, 0);
    arrived_done(&a);
    ship_kafka.close(s.d);
}

static void no_ids(void **state)
{
    const struct broker *b = *state;
    struct side s;
    start(&s, b, NULL, "ids=none key=none linger.ms=1 compression=none");
    assert_int_equal(deliver(&s, 100, 100), 0);
    struct arrived a = read_all(b, s.topic);
    assert_int_equal(a.n, 100);
    for (size_t i = 0; i < a.n; i++)
        assert_true(!a.m[i].id && !a.m[i].key_len);
    arrived_done(&a);
    ship_kafka.close(s.d);
}

/* Rows that a filter left out are not counted away. */
static void ids_of_selected_rows(void **state)
{
    const struct broker *b = *state;
    static const uint32_t at[] = {3, 4, 900};
    static const char *const want[] = {"20261123-1200.1:1003", "20261123-1200.1:1004",
                                       "20261123-1200.1:1900"};
    struct side s;
    struct ship_block block;
    weir_err err = {0};
    start(&s, b, NULL, "linger.ms=1");
    fill(&block, &s, 1, 3); /* one exporter: one partition */
    const struct ship_rows rows = {.file = "20261123-1200.1",
                                   .from = 1000,
                                   .to = 2000,
                                   .fields = s.fields,
                                   .n_fields = s.n_fields,
                                   .block = *ship_block_get(&block),
                                   .at = at};
    const struct ship_rows nothing = {.file = "20261123-1200.1", .from = 2000, .to = 9000};
    assert_int_equal(ship_kafka.put(s.d, &nothing, &err), WEIR_OK);
    assert_int_equal(ship_kafka.put(s.d, &rows, &err), WEIR_OK);
    assert_int_equal(ship_kafka.put(s.d, &nothing, &err), WEIR_OK);
    assert_int_equal(wait_done(&s, 3, &err), WEIR_OK);
    ship_block_done(&block);
    struct arrived a = read_all(b, s.topic);
    assert_int_equal(a.n, 3);
    for (size_t i = 0; i < a.n; i++)
        assert_string_equal(a.m[i].id, want[i]);
    arrived_done(&a);
    ship_kafka.close(s.d);
}

static void both_directions_have_one_key(void **state)
{
    const struct broker *b = *state;
    struct side s;
    struct ship_block block;
    weir_err err = {0};
    static const struct {
        const char *src, *dst;
        uint64_t src_port, dst_port, proto;
        int same_as;
    } rows[] = {
        {"192.0.2.1", "2001:db8::1", 1234, 80, 6, 0},  {"2001:db8::1", "192.0.2.1", 80, 1234, 6, 0},
        {"192.0.2.1", "2001:db8::1", 1234, 80, 17, 2}, {"192.0.2.1", "2001:db8::1", 80, 1234, 6, 3},
        {"192.0.2.1", "192.0.2.1", 5, 5, 6, 4},
    };
    start(&s, b, NULL, "key=flow linger.ms=1");
    ship_block_init(&block, s.fields, s.n_fields, UNIT_N(rows));
    for (size_t i = 0; i < UNIT_N(rows); i++) {
        ship_block_text(&block, "src_addr", i, rows[i].src);
        ship_block_text(&block, "dst_addr", i, rows[i].dst);
        ship_block_num(&block, "src_port", i, rows[i].src_port);
        ship_block_num(&block, "dst_port", i, rows[i].dst_port);
        ship_block_num(&block, "proto", i, rows[i].proto);
    }
    const struct ship_rows put_rows = {.file = "20261123-1200.1",
                                       .to = UNIT_N(rows),
                                       .fields = s.fields,
                                       .n_fields = s.n_fields,
                                       .block = *ship_block_get(&block)};
    assert_int_equal(ship_kafka.put(s.d, &put_rows, &err), WEIR_OK);
    assert_int_equal(wait_done(&s, 1, &err), WEIR_OK);
    ship_block_done(&block);
    struct arrived a = read_all(b, s.topic);
    assert_int_equal(a.n, UNIT_N(rows));
    const struct message *by_row[UNIT_N(rows)];
    for (size_t i = 0; i < a.n; i++) {
        uint64_t row, last;
        row_of(&a.m[i], &row, &last);
        assert_int_equal(a.m[i].key_len, 8);
        by_row[row] = &a.m[i];
    }
    for (size_t i = 0; i < UNIT_N(rows); i++)
        for (size_t k = 0; k < UNIT_N(rows); k++)
            UNIT_CHECK(!memcmp(by_row[i]->key, by_row[k]->key, 8) ==
                           (rows[i].same_as == rows[k].same_as),
                       "rows %zu and %zu", i, k);
    arrived_done(&a);
    ship_kafka.close(s.d);
}

/* Messages of up to seven flows: delimited protobuf one behind the other, lines with line ends between them. */
static void several_flows_in_a_message(void **state)
{
    const struct broker *b = *state;
    static const char *const formats[] = {"flowmessage", "json"};
    enum { ROWS = 500 };
    for (size_t f = 0; f < UNIT_N(formats); f++) {
        struct side s;
        weir_err err = {0};
        start(&s, b, formats[f], "per-message=7 linger.ms=1 key=none");
        assert_int_equal(deliver(&s, ROWS, ROWS), 0);
        /* What the encoder makes of them. */
        ship_encoder *e;
        const struct ship_encoder_options o = {.format = formats[f], .delimited = true};
        struct ship_block block;
        base_buf out = {0};
        size_t ends[ROWS], flows = 0;
        assert_int_equal(ship_encoder_new(&o, &e, &err), WEIR_OK);
        fill(&block, &s, 0, ROWS);
        assert_int_equal(ship_encoder_rows(e, ship_block_get(&block), 0, ROWS, &out, ends, &err),
                         WEIR_OK);
        struct arrived a = read_all(b, s.topic);
        assert_int_equal(a.n, (ROWS + 6) / 7);
        for (size_t i = 0; i < a.n; i++) {
            uint64_t first, last;
            row_of(&a.m[i], &first, &last);
            assert_true(last <= first + 6);
            size_t at = 0;
            for (uint64_t row = first; row <= last; row++, flows++) {
                size_t begin = row ? ends[row - 1] : 0, len = ends[row] - begin;
                UNIT_CHECK(at + len <= a.m[i].len &&
                               memcmp(a.m[i].value + at, out.data + begin, len) == 0,
                           "%s: row %llu", formats[f], (unsigned long long)row);
                at += len;
                if (f == 1 && row < last)
                    assert_int_equal(a.m[i].value[at++], '\n');
            }
            assert_int_equal(at, a.m[i].len);
        }
        assert_int_equal(flows, ROWS);
        arrived_done(&a);
        ship_block_done(&block);
        base_buf_done(&out);
        ship_encoder_free(e);
        ship_kafka.close(s.d);
    }
}

/* A message has flows of one exporter only. */
static void messages_end_where_the_key_changes(void **state)
{
    const struct broker *b = *state;
    struct side s;
    start(&s, b, NULL, "per-message=1000 linger.ms=1");
    assert_int_equal(deliver(&s, 1000, 1000), 0);
    struct arrived a = read_all(b, s.topic);
    uint64_t flows = 0;
    for (size_t i = 0; i < a.n; i++) {
        uint64_t first, last;
        char text[40];
        row_of(&a.m[i], &first, &last);
        flows += last - first + 1;
        for (uint64_t row = first; row <= last; row++)
            if (row % 11)
                assert_string_equal(a.m[i].key, exporter_of(row, text, sizeof text));
            else
                assert_true(first == last && !a.m[i].key_len);
    }
    assert_int_equal(flows, 1000);
    arrived_done(&a);
    ship_kafka.close(s.d);
}

/* Errors that librdkafka overcomes by itself: nobody hears of them. */
static void passing_errors(void **state)
{
    const struct broker *b = *state;
    struct side s;
    start(&s, b, NULL, "linger.ms=1 retry.backoff.ms=10 reconnect.backoff.ms=10");
    rd_kafka_mock_push_request_errors(
        b->cluster, PRODUCE, 6, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT, RD_KAFKA_RESP_ERR__TRANSPORT,
        RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, RD_KAFKA_RESP_ERR__TRANSPORT,
        RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE);
    assert_int_equal(deliver(&s, 20000, 1000), 0);
    struct arrived a = read_all(b, s.topic);
    (void)check_rows(&a, 20000, &s);
    arrived_done(&a);
    ship_kafka.close(s.d);
}

/* Errors that end the producer: said once each, then all that is not done comes again. */
static void lasting_errors(void **state)
{
    const struct broker *b = *state;
    static const struct {
        rd_kafka_resp_err_t code;
        weir_status want;
        const char *says;
    } cases[] = {
        {RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, WEIR_EINVAL, "authoriz"},
        {RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, WEIR_EINVAL, "max.message.bytes"},
        {RD_KAFKA_RESP_ERR_INVALID_RECORD, WEIR_EINVAL, "record"},
        {RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, WEIR_EIO, "sequence"},
        {RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH, WEIR_EIO, "epoch"},
        {RD_KAFKA_RESP_ERR_UNKNOWN, WEIR_EIO, "nknown"},
    };
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        struct side s;
        weir_err err = {0};
        start(&s, b, NULL, "linger.ms=1 retry.backoff.ms=10");
        assert_int_equal(put(&s, 0, 1000, &err), WEIR_OK);
        assert_int_equal(wait_done(&s, 1, &err), WEIR_OK);
        rd_kafka_mock_push_request_errors(b->cluster, PRODUCE, 1, cases[i].code);
        weir_status st = put(&s, 1000, 1000, &err);
        if (st == WEIR_OK) {
            uint64_t done = 1;
            for (int k = 0; k < 50 && st == WEIR_OK && done < 2; k++)
                st = ship_kafka.done(s.d, 100, &done, &err);
        }
        UNIT_CHECK(st == cases[i].want && strstr(err.msg, cases[i].says), "%s: %d %s",
                   rd_kafka_err2name(cases[i].code), st, err.msg);
        rd_kafka_mock_clear_request_errors(b->cluster, PRODUCE);
        /* Once: from then on it counts from 0 again. */
        uint64_t done = 9;
        assert_int_equal(ship_kafka.done(s.d, 0, &done, &err), WEIR_OK);
        assert_int_equal(done, 0);
        assert_int_equal(put(&s, 1000, 1000, &err), WEIR_OK);
        assert_int_equal(put(&s, 2000, 1000, &err), WEIR_OK);
        assert_int_equal(wait_done(&s, 2, &err), WEIR_OK);
        struct arrived a = read_all(b, s.topic);
        (void)check_rows(&a, 3000, &s);
        arrived_done(&a);
        ship_kafka.close(s.d);
    }
}

static double now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Away from the beginning: an answer within the time that was given, no matter how often, then all goes through. */
static void away_at_first(void **state)
{
    const struct broker *b = *state;
    struct side s;
    weir_err err = {0};
    start(
        &s, b, NULL,
        "linger.ms=1 delivery.timeout.ms=200 reconnect.backoff.ms=10 reconnect.backoff.max.ms=50");
    (void)rd_kafka_mock_broker_set_down(b->cluster, 1);
    double began = now();
    for (int i = 0; i < 3; i++) {
        uint64_t done = 7;
        assert_int_equal(put(&s, 0, 100, &err), WEIR_EIO);
        assert_true(strstr(err.msg, s.topic) != NULL);
        assert_int_equal(ship_kafka.done(s.d, 0, &done, &err), WEIR_OK);
        assert_int_equal(done, 0);
    }
    UNIT_CHECK(now() - began < 3, "%f s", now() - began);
    assert_int_equal(s.n_said, 0); /* the status says it */
    (void)rd_kafka_mock_broker_set_up(b->cluster, 1);
    (void)deliver(&s, 100, 100);
    struct arrived a = read_all(b, s.topic);
    assert_int_equal(check_rows(&a, 100, &s), 0);
    arrived_done(&a);
    ship_kafka.close(s.d);
}

/* Away in the middle for less than delivery.timeout.ms: one line when it goes, one when it is back, no failure, and what waits does
 * not grow beyond `memory`. */
static void away_for_a_while(void **state)
{
    const struct broker *b = *state;
    enum { A_PUT = 1000 };
    struct side s;
    weir_err err = {0};
    uint64_t rows = 0, puts = 0;
    start(&s, b, NULL, "linger.ms=1 memory=8 reconnect.backoff.ms=10 reconnect.backoff.max.ms=50");
    assert_int_equal(put(&s, 0, A_PUT, &err), WEIR_OK);
    assert_int_equal(wait_done(&s, 1, &err), WEIR_OK);
    (void)rd_kafka_mock_broker_set_down(b->cluster, 1);
    s.stop_after = 3; /* it waits for room: three looks, then stop */
    double began = now();
    for (rows = A_PUT, puts = 1;; rows += A_PUT, puts++) {
        weir_status st = put(&s, rows, A_PUT, &err);
        if (st == WEIR_END)
            break;
        UNIT_CHECK(st == WEIR_OK, "%s", err.msg);
        assert_true(rows < MOST_ROWS - A_PUT);
    }
    UNIT_CHECK(now() - began < 5, "%f s", now() - began);
    UNIT_CHECK(rows > 5000 && rows * 300 < 8 << 20, "%llu rows taken", (unsigned long long)rows);
    assert_int_equal(s.n_said, 1);
    assert_true(strstr(s.said, "can be reached") != NULL);
    s.stop_after = -1;
    (void)rd_kafka_mock_broker_set_up(b->cluster, 1);
    assert_int_equal(wait_done(&s, puts, &err), WEIR_OK);
    assert_int_equal(s.n_said, 2);
    assert_true(strstr(s.said, "is back") != NULL);
    struct arrived a = read_all(b, s.topic);
    assert_true(a.n >= rows);
    arrived_done(&a);
    ship_kafka.close(s.d);
}

/* Away for longer, again and again: failures, and afterwards all is there. */
static void away_for_long(void **state)
{
    const struct broker *b = *state;
    enum { ROWS = 40000, A_PUT = 2000 };
    struct side s;
    weir_err err = {0};
    uint64_t base = 0;
    start(&s, b, NULL,
          "linger.ms=1 memory=8 delivery.timeout.ms=250 reconnect.backoff.ms=10 "
          "reconnect.backoff.max.ms=50");
    for (int i = 0; i < 3; i++) {
        uint64_t at = base, done = 0;
        weir_status st = WEIR_OK;
        for (int k = 0; k < 4 && st == WEIR_OK; k++, at += A_PUT) {
            if (k == 2)
                (void)rd_kafka_mock_broker_set_down(b->cluster, 1);
            st = put(&s, at, A_PUT, &err);
            if (st == WEIR_OK && k == 1)
                st = ship_kafka.done(s.d, 100, &done, &err);
        }
        for (int k = 0; k < 100 && st == WEIR_OK; k++)
            st = ship_kafka.done(s.d, 100, &done, &err);
        UNIT_CHECK(st == WEIR_EIO && done < 4, "%d, %llu done", st, (unsigned long long)done);
        base += done * A_PUT;
        (void)rd_kafka_mock_broker_set_up(b->cluster, 1);
    }
    (void)deliver_from(&s, base, ROWS, A_PUT);
    struct arrived a = read_all(b, s.topic);
    (void)check_rows(&a, ROWS, &s);
    arrived_done(&a);
    ship_kafka.close(s.d);
}

/* A broker that takes what comes and answers too late. */
static void stalled(void **state)
{
    const struct broker *b = *state;
    struct side s;
    weir_err err = {0};
    uint64_t done = 0;
    weir_status st = WEIR_OK;
    start(&s, b, NULL, "linger.ms=1 delivery.timeout.ms=300");
    assert_int_equal(put(&s, 0, 1000, &err), WEIR_OK);
    assert_int_equal(wait_done(&s, 1, &err), WEIR_OK);
    (void)rd_kafka_mock_broker_set_rtt(b->cluster, 1, 10000);
    assert_int_equal(put(&s, 1000, 1000, &err), WEIR_OK);
    double began = now();
    for (int i = 0; i < 20 && st == WEIR_OK; i++)
        st = ship_kafka.done(s.d, 100, &done, &err);
    assert_int_equal(st, WEIR_EIO);
    UNIT_CHECK(strstr(err.msg, "nothing acknowledged for 300 ms"), "%s", err.msg);
    UNIT_CHECK(now() - began < 2, "%f s", now() - began);
    (void)rd_kafka_mock_broker_set_rtt(b->cluster, 1, 0);
    ship_kafka.close(s.d);
}

/* The other tables of the archive are passed by, without a broker. */
static void nothing_of_the_ledger(void **state)
{
    struct side s;
    weir_err err = {0};
    const struct query_field *fields;
    size_t n = 5;
    uint64_t done = 0;
    (void)state;
    assert_int_equal(open_side(&s, "127.0.0.1:1", "t", NULL, "", &err), WEIR_OK);
    assert_int_equal(ship_kafka.fields(s.d, FLOW_TABLE_LEDGER, NULL, 0, &fields, &n, &err),
                     WEIR_OK);
    assert_int_equal(n, 0);
    const struct ship_rows rows = {.table = FLOW_TABLE_LEDGER, .file = "x", .to = 10};
    assert_int_equal(ship_kafka.put(s.d, &rows, &err), WEIR_OK);
    assert_int_equal(ship_kafka.done(s.d, 0, &done, &err), WEIR_OK);
    assert_int_equal(done, 1);
    ship_kafka.close(s.d);
}

static void a_row_too_large(void **state)
{
    const struct broker *b = *state;
    struct side s;
    struct ship_block block;
    weir_err err = {0};
    char *name = malloc(3000);
    assert_non_null(name);
    memset(name, 'x', 3000);
    start(&s, b, "json", "message.max.bytes=2000 linger.ms=1");
    ship_block_init(&block, s.fields, s.n_fields, 2);
    ship_block_text(&block, "exporter", 0, "192.0.2.1");
    ship_block_bytes(&block, "in_if_name", 1, QUERY_TEXT, name, 3000);
    const struct ship_rows rows = {.file = "20261123-1200.1",
                                   .from = 40,
                                   .to = 42,
                                   .fields = s.fields,
                                   .n_fields = s.n_fields,
                                   .block = *ship_block_get(&block)};
    assert_int_equal(ship_kafka.put(s.d, &rows, &err), WEIR_EFORMAT);
    UNIT_CHECK(strstr(err.msg, "row 41 of 20261123-1200.1") && strstr(err.msg, "2000"), "%s",
               err.msg);
    ship_block_done(&block);
    free(name);
    ship_kafka.close(s.d);
}

#define WITH_BROKER(f) cmocka_unit_test_teardown(f, broker_well)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(settings_are_looked_at),
        WITH_BROKER(flows_arrive),
        WITH_BROKER(no_ids),
        WITH_BROKER(ids_of_selected_rows),
        WITH_BROKER(both_directions_have_one_key),
        WITH_BROKER(several_flows_in_a_message),
        WITH_BROKER(messages_end_where_the_key_changes),
        WITH_BROKER(passing_errors),
        WITH_BROKER(lasting_errors),
        WITH_BROKER(away_at_first),
        WITH_BROKER(away_for_a_while),
        WITH_BROKER(away_for_long),
        WITH_BROKER(stalled),
        cmocka_unit_test(nothing_of_the_ledger),
        WITH_BROKER(a_row_too_large),
    };
    return cmocka_run_group_tests(tests, broker_up, broker_end);
}
