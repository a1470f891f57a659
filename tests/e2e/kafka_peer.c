/* kafka_peer -- what tests need on the other side of a topic:
 *
 *     kafka_peer mock                   librdkafka's mock cluster of one broker. Prints "ready SERVERS"; reads commands, a line each, and
 *                                       answers "ok": topic NAME PARTITIONS, down, up, rtt MS. Ends with its input.
 *     kafka_peer wait SERVERS SECONDS   until a broker answers; 1 when none does
 *     kafka_peer read SERVERS TOPIC     all messages, a line each: partition, key (hex), weir-id, value (hex), with tabs between; "-"
 *                                       for what is not there. The last line is "end MESSAGES PARTITIONS". */
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT = 256, PATIENCE_MS = 20000 };

static int fail(const char *what)
{
    (void)fprintf(stderr, "kafka_peer: %s\n", what);
    return 1;
}

static void silent(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
    (void)rk;
    (void)level;
    (void)facility;
    (void)text;
}

static rd_kafka_t *client(rd_kafka_type_t type, const char *servers)
{
    static const char *const settings[][2] = {{"group.id", "peer"},
                                              {"enable.partition.eof", "true"},
                                              {"enable.auto.commit", "false"},
                                              {"fetch.wait.max.ms", "20"},
                                              {"auto.offset.reset", "error"},
                                              {"reconnect.backoff.max.ms", "200"}};
    char text[TEXT];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set_log_cb(conf, silent);
    bool ok = !servers || rd_kafka_conf_set(conf, "bootstrap.servers", servers, text,
                                            sizeof text) == RD_KAFKA_CONF_OK;
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        if (type == RD_KAFKA_CONSUMER || !strncmp(settings[i][0], "reconnect", 9))
            ok = ok && rd_kafka_conf_set(conf, settings[i][0], settings[i][1], text, sizeof text) ==
                           RD_KAFKA_CONF_OK;
    rd_kafka_t *rk = ok ? rd_kafka_new(type, conf, text, sizeof text) : NULL;
    if (!rk) {
        (void)fprintf(stderr, "kafka_peer: %s\n", text);
        exit(1);
    }
    return rk;
}

/* ---- mock ---- */

static bool command(rd_kafka_mock_cluster_t *c, const char *line)
{
    char name[TEXT];
    int n;
    if (sscanf(line, "topic %200s %d", name, &n) == 2)
        return !rd_kafka_mock_topic_create(c, name, n, 1);
    if (sscanf(line, "rtt %d", &n) == 1)
        return !rd_kafka_mock_broker_set_rtt(c, 1, n);
    if (!strcmp(line, "down\n"))
        return !rd_kafka_mock_broker_set_down(c, 1);
    return !strcmp(line, "up\n") && !rd_kafka_mock_broker_set_up(c, 1);
}

static int mock(void)
{
    char line[TEXT];
    rd_kafka_t *rk = client(RD_KAFKA_PRODUCER, NULL);
    rd_kafka_mock_cluster_t *c = rd_kafka_mock_cluster_new(rk, 1);
    if (!c)
        return fail("no mock cluster");
    (void)printf("ready %s\n", rd_kafka_mock_cluster_bootstraps(c));
    (void)fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        (void)puts(command(c, line) ? "ok" : "cannot");
        (void)fflush(stdout);
    }
    rd_kafka_mock_cluster_destroy(c);
    rd_kafka_destroy(rk);
    return 0;
}

/* ---- clients ---- */

/* Partitions of a topic, or of no topic 1 when a broker answers; 0: it does not. */
static int ask(rd_kafka_t *rk, const char *topic)
{
    const struct rd_kafka_metadata *m;
    rd_kafka_topic_t *t = topic ? rd_kafka_topic_new(rk, topic, NULL) : NULL;
    int n = 0;
    if (!rd_kafka_metadata(rk, 0, t, &m, 500)) {
        n = !topic                              ? m->broker_cnt > 0
            : m->topic_cnt && !m->topics[0].err ? m->topics[0].partition_cnt
                                                : 0;
        rd_kafka_metadata_destroy(m);
    }
    if (t)
        rd_kafka_topic_destroy(t);
    return n;
}

static int wait_for(const char *servers, int seconds)
{
    rd_kafka_t *rk = client(RD_KAFKA_PRODUCER, servers);
    int n = 0;
    for (int i = 0; i < 2 * seconds && !n; i++)
        n = ask(rk, NULL);
    rd_kafka_destroy(rk);
    return n ? 0 : fail("no broker answers");
}

static void put_hex(const void *p, size_t n)
{
    const unsigned char *c = p;
    if (!n)
        (void)putchar('-');
    for (size_t i = 0; i < n; i++)
        (void)printf("%02x", c[i]);
}

static void put(const rd_kafka_message_t *m)
{
    rd_kafka_headers_t *headers;
    const void *id = "-";
    size_t len = 1;
    if (!rd_kafka_message_headers(m, &headers))
        (void)rd_kafka_header_get_last(headers, "weir-id", &id, &len);
    (void)printf("%d\t", m->partition);
    put_hex(m->key, m->key_len);
    (void)printf("\t%.*s\t", (int)len, (const char *)id);
    put_hex(m->payload, m->len);
    (void)putchar('\n');
}

static int read_all(const char *servers, const char *topic)
{
    rd_kafka_t *rk = client(RD_KAFKA_CONSUMER, servers);
    int partitions = 0;
    for (int i = 0; i < PATIENCE_MS / 500 && !partitions; i++)
        partitions = ask(rk, topic);
    if (!partitions)
        return fail("no such topic");
    rd_kafka_topic_partition_list_t *all = rd_kafka_topic_partition_list_new(partitions);
    for (int i = 0; i < partitions; i++)
        rd_kafka_topic_partition_list_add(all, topic, i)->offset = 0;
    if (rd_kafka_assign(rk, all))
        return fail("cannot read");
    size_t n = 0;
    int ended = 0;
    while (ended < partitions) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(rk, PATIENCE_MS);
        if (!m)
            return fail("nothing comes");
        if (m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
            ended++;
        } else if (!m->err) {
            put(m);
            n++;
        } else if (m->err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET) {
            return fail("the first messages are gone: the mock cluster keeps 5 MB of a partition");
        }
        rd_kafka_message_destroy(m);
    }
    (void)printf("end %zu %d\n", n, partitions);
    rd_kafka_topic_partition_list_destroy(all);
    rd_kafka_destroy(rk);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 2 && !strcmp(argv[1], "mock"))
        return mock();
    if (argc == 4 && !strcmp(argv[1], "wait"))
        return wait_for(argv[2], atoi(argv[3]));
    if (argc == 4 && !strcmp(argv[1], "read"))
        return read_all(argv[2], argv[3]);
    return fail("mock | wait SERVERS SECONDS | read SERVERS TOPIC");
}
