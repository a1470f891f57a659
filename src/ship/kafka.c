/* kafka -- rows as messages of a topic, through librdkafka.
 *
 * What keeps flows from being lost or coming in another order: messages never time out one by one
 * (message.timeout.ms is 0); one request at a time is on its way to a broker (of a producer that it does not
 * know yet a broker takes the second batch also when it has refused the first); an error that would leave a
 * gap is fatal (enable.gapless.guarantee); and after any failure the producer is thrown away with all it
 * holds, so that what comes again comes from the first put that is not done. In each partition the first
 * appearance of every row of a key is therefore in the order of the file, whatever happens.
 *
 * Messages are not copied: librdkafka points into the chunk that the encoder wrote, which is kept until all
 * of it is reported. With gcc 12 -O2, 120-octet messages, no compression: 2.4 million a second of CPU by
 * rd_kafka_produce_batch, 0.76 million with a header on each (rd_kafka_produceva). */
#include "base/err.h"
#include "base/hash.h"
#include "base/text.h"
#include "ship/destinations.h"
#include "ship/encode.h"

#include <endian.h>
#include <errno.h>
#include <librdkafka/rdkafka.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

enum {
    CHUNK_OCTETS = 256 * 1024, /* aim; encoded at once */
    CHUNK_ROWS_MOST = 4096,
    CHUNK_ROWS_FIRST = 256,
    IDLE_CHUNKS = 16,    /* that stay allocated */
    MESSAGE_COST = 256,  /* octets that librdkafka keeps for each message beside its value */
    HEADER_COST = 192,   /* and for a header of it */
    PUTS_MOST = 1 << 20, /* that are not done; they may all be empty */
    WAIT_MS = 100,       /* between two looks at `stop` */
    REACH_MS = 5000,     /* for the first answer of a broker */
    TIMEOUT_MS = 120000,
    MEMORY_MIB = 64,
    HEADROOM = 512, /* of message.max.bytes, for a message's key, header and framing */
    TEXT = 160,
    KEY_OCTETS = 8
};

enum key { KEY_EXPORTER, KEY_FLOW, KEY_NONE };

/* What the key is made of; behind the encoder's columns. */
enum { K_EXPORTER, K_SRC_ADDR, K_DST_ADDR, K_SRC_PORT, K_DST_PORT, K_PROTO, N_KEY_COLUMNS };

struct chunk {
    base_buf octets;
    size_t left; /* messages that are not reported */
    uint64_t put;
    size_t held; /* octets that it counts for */
    struct chunk *next, *previous;
};

struct put {
    uint64_t left;    /* chunks that are not done, and 1 while it is being taken */
    uint64_t seen_ms; /* when the last of them became so */
};

struct ship_destination {
    /* Settings. */
    char *brokers, *topic, *format;
    enum key key;
    bool ids, delimited, text, joins, create, debug;
    bool own_order; /* enable.gapless.guarantee was given */
    size_t per_message, memory, message_most;
    int partitions, replication; /* -1: the broker's default */
    char retention_ms[24];       /* "": the broker's default */
    uint64_t timeout_ms;
    rd_kafka_conf_t *conf; /* of every producer */
    bool (*stop)(void *user);
    char archive[16]; /* "1a2b3c4d/", stands before the name of a file */
    void (*log)(void *user, const char *text);
    void *user;

    /* Columns: the encoder's, then the key's. */
    ship_encoder *encoder;
    struct query_field *fields;
    size_t n_fields, n_encoder;
    int key_at[N_KEY_COLUMNS]; /* numbers of them in a block */

    /* The producer; NULL: none. */
    rd_kafka_t *rk;
    rd_kafka_topic_t *rkt;
    bool reached, created, away;

    /* What it has. */
    struct chunk busy, idle; /* heads of rings */
    size_t n_idle, held;
    struct put *puts; /* ring of cap_puts, a power of two */
    size_t cap_puts;
    uint64_t done, taken;      /* numbers since open or the last failure */
    uint64_t now_ms, moved_ms; /* the latter: when done last grew */

    /* What is wrong with it. */
    bool failed;
    rd_kafka_resp_err_t why;
    char reason[TEXT];

    /* Of put, so that nothing is allocated for a chunk. */
    size_t chunk_rows, chunk_held; /* of the last chunk, for the next */
    size_t *ends;
    rd_kafka_message_t *messages;
    uint64_t *keys; /* of key=flow, a row each */
    uint32_t *firsts;
    base_buf joined, id;
};

static const char *const settings_help[] = {
    /* clang-format off */
    "key", "exporter (default): the exporter's address as text; flow: a hash of the 5-tuple, both directions equal; none",
    "ids", "header (default): a header weir-id with FILE:ROW on every message; none",
    "delimited", "flowmessage: yes (default): its length in front of every message, as goflow2 does; no",
    "per-message", "flows in a Kafka message, 1 (default) to 4096; ends also where the exporter changes",
    "compression", "lz4 (default), zstd, snappy, gzip, none",
    "memory", "MiB that may wait for the brokers, 8 to 4096 (default 64)",
    "partitions", "of a topic that is created (default: the broker's)",
    "replication", "replicas of a topic that is created (default: the broker's)",
    "retention", "of a topic that is created: 7d, 12h, 30m, forever (default: the broker's)",
    "delivery.timeout.ms", "without any acknowledgement for so long, all that waits is sent anew (default 120000)",
    "partitioner", "murmur2_random (default: as Java clients), consistent_random, fnv1a_random, random, ...",
    "any other", "a property of librdkafka: security.protocol, sasl.username, ssl.ca.location, ...",
    /* clang-format on */
    NULL};

/* librdkafka's own, where they are not what it has by itself. */
static const char *const defaults[][2] = {
    {"client.id", "weir"},
    {"enable.idempotence", "true"},
    {"max.in.flight", "1"}, /* batches are large: 5 are not faster (mock and Kafka 3.9) */
    {"message.timeout.ms", "0"},
    {"partitioner", "murmur2_random"},
    {"compression.type", "lz4"},
    {"linger.ms", "50"},
    {"batch.num.messages", "10000"},
    {"queue.buffering.max.messages", "0"}, /* `memory` is the limit */
    {"queue.buffering.max.kbytes", "2147483647"},
    {"reconnect.backoff.max.ms", "2000"},
    {"socket.nagle.disable", "true"},
    {"socket.keepalive.enable", "true"},
    {"log.queue", "true"},
    {"log.connection.close", "false"},
};

/* Properties that are not anybody's to set, and why. */
static const char *const refused[][2] = {
    {"bootstrap.servers", "the url has the brokers: kafka://HOST:PORT[,HOST:PORT...]/TOPIC"},
    {"metadata.broker.list", "the url has the brokers: kafka://HOST:PORT[,HOST:PORT...]/TOPIC"},
    {"transactional.id", "transactions are not used; leave it out"},
    {"delivery.report.only.error", "every report is needed; leave it out"},
    {"log.queue", "weir reads the log itself; leave it out"},
};

static weir_status no_memory(weir_err *err)
{
    return weir_err_set(err, WEIR_ENOMEM, 0, "kafka: out of memory");
}

static uint64_t clock_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void say(struct ship_destination *d, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

static void say(struct ship_destination *d, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (d->log)
        d->log(d->user, text);
}

static bool stopped(const struct ship_destination *d)
{
    return d->stop && d->stop(d->user);
}

/* Rings of chunks. */

static void ring_init(struct chunk *head)
{
    head->next = head->previous = head;
}

static void ring_remove(struct chunk *c)
{
    c->previous->next = c->next;
    c->next->previous = c->previous;
}

static void ring_add(struct chunk *head, struct chunk *c)
{
    c->next = head->next;
    c->previous = head;
    head->next->previous = c;
    head->next = c;
}

static void chunk_free(struct chunk *c)
{
    base_buf_done(&c->octets);
    free(c);
}

static void ring_free(struct chunk *head)
{
    while (head->next != head) {
        struct chunk *c = head->next;
        ring_remove(c);
        chunk_free(c);
    }
}

static struct put *put_of(struct ship_destination *d, uint64_t number)
{
    return &d->puts[number & (d->cap_puts - 1)];
}

/* A chunk of a put is done, or the put is taken as a whole. */
static void put_less(struct ship_destination *d, uint64_t number)
{
    struct put *p = put_of(d, number);
    p->left--;
    p->seen_ms = d->now_ms;
    for (; d->done < d->taken && !put_of(d, d->done)->left; d->done++)
        d->moved_ms = d->now_ms;
}

static weir_status put_begin(struct ship_destination *d, weir_err *err)
{
    if (d->taken - d->done == d->cap_puts) {
        size_t cap = d->cap_puts ? d->cap_puts * 2 : 64;
        struct put *puts = malloc(cap * sizeof *puts);
        if (!puts)
            return no_memory(err);
        for (uint64_t i = d->done; i < d->taken; i++)
            puts[i & (cap - 1)] = *put_of(d, i);
        free(d->puts);
        d->puts = puts;
        d->cap_puts = cap;
    }
    *put_of(d, d->taken++) = (struct put){.left = 1, .seen_ms = d->now_ms};
    return WEIR_OK;
}

static struct chunk *chunk_begin(struct ship_destination *d)
{
    struct chunk *c = d->idle.next;
    if (c != &d->idle) {
        ring_remove(c);
        d->n_idle--;
        base_buf_reset(&c->octets);
    } else {
        c = calloc(1, sizeof *c);
    }
    if (c)
        ring_add(&d->busy, c);
    return c;
}

/* Nothing points into it any more. */
static void chunk_end(struct ship_destination *d, struct chunk *c)
{
    ring_remove(c);
    d->held -= c->held;
    c->held = 0;
    if (d->n_idle < IDLE_CHUNKS) {
        ring_add(&d->idle, c);
        d->n_idle++;
    } else {
        chunk_free(c);
    }
}

/* What librdkafka tells; all of it from within rd_kafka_poll. */

static void keep_reason(struct ship_destination *d, rd_kafka_resp_err_t why, const char *text)
{
    d->why = why;
    (void)snprintf(d->reason, sizeof d->reason, "%.*s", TEXT - 1,
                   text && *text ? text : rd_kafka_err2str(why));
}

static void fail(struct ship_destination *d, rd_kafka_resp_err_t why, const char *text)
{
    if (!d->failed)
        keep_reason(d, why, text);
    d->failed = true;
}

/* Not only that it was given up because of another failure. */
static bool broker_says(rd_kafka_resp_err_t why)
{
    return why > RD_KAFKA_RESP_ERR_NO_ERROR;
}

static void on_report(rd_kafka_t *rk, const rd_kafka_message_t *m, void *user)
{
    struct ship_destination *d = user;
    struct chunk *c = m->_private;
    (void)rk;
    if (m->err) {
        if (d->failed && d->why == RD_KAFKA_RESP_ERR__GAPLESS_GUARANTEE && broker_says(m->err))
            keep_reason(d, m->err, NULL);
        fail(d, m->err, NULL);
        return;
    }
    if (!--c->left) {
        put_less(d, c->put);
        chunk_end(d, c);
    }
}

static void on_error(rd_kafka_t *rk, int code, const char *reason, void *user)
{
    struct ship_destination *d = user;
    if (code == RD_KAFKA_RESP_ERR__FATAL) {
        char text[TEXT];
        rd_kafka_resp_err_t why = rd_kafka_fatal_error(rk, text, sizeof text);
        fail(d, why, text);
        return;
    }
    if (d->failed)
        return;
    if (code != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) { /* which does not say why */
        keep_reason(d, (rd_kafka_resp_err_t)code, reason);
        return;
    }
    if (!d->reason[0])
        keep_reason(d, (rd_kafka_resp_err_t)code, reason);
    if (!d->away && d->reached)
        say(d, "kafka: no broker of %s can be reached: %s", d->brokers, d->reason);
    d->away = d->reached; /* before, the status of put says it */
}

static void on_log(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
    struct ship_destination *d = rd_kafka_opaque(rk);
    (void)level;
    if (d && d->debug) /* else on_error has said what matters, once */
        say(d, "kafka: %s: %s", facility, text);
}

/* The producer. */

static void drop_producer(struct ship_destination *d)
{
    if (!d->rk)
        return;
    if (d->rkt)
        rd_kafka_topic_destroy(d->rkt);
    (void)rd_kafka_purge(d->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT |
                                    RD_KAFKA_PURGE_F_NON_BLOCKING);
    rd_kafka_destroy(d->rk); /* waits for its threads: then nothing points into a chunk any more */
    d->rk = NULL;
    d->rkt = NULL;
    d->reached = false;
}

/* Forget all that is not done. */
static void reset(struct ship_destination *d)
{
    drop_producer(d);
    ring_free(&d->busy);
    d->held = 0;
    d->done = d->taken = 0;
    d->failed = d->away = false;
}

/* Whether a person must do something before it can go on. */
static bool needs_operator(rd_kafka_resp_err_t why)
{
    static const int those[] = {RD_KAFKA_RESP_ERR__AUTHENTICATION,
                                RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED,
                                RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
                                RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED,
                                RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
                                RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC,
                                RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION,
                                RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION,
                                RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
                                RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE,
                                RD_KAFKA_RESP_ERR_INVALID_REQUIRED_ACKS,
                                RD_KAFKA_RESP_ERR_INVALID_RECORD,
                                RD_KAFKA_RESP_ERR_POLICY_VIOLATION,
                                RD_KAFKA_RESP_ERR_INVALID_PARTITIONS,
                                RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR,
                                RD_KAFKA_RESP_ERR_INVALID_CONFIG,
                                RD_KAFKA_RESP_ERR_UNSUPPORTED_COMPRESSION_TYPE,
                                RD_KAFKA_RESP_ERR_UNSUPPORTED_FOR_MESSAGE_FORMAT,
                                RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE};
    for (size_t i = 0; i < ARRAY_LEN(those); i++)
        if (those[i] == (int)why)
            return true;
    return false;
}

static const char *remedy(const struct ship_destination *d, rd_kafka_resp_err_t why)
{
    if (why == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART || why == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC)
        return d->create ? "" : "; --create makes it";
    if (why == RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED)
        return "; allow IdempotentWrite, or --set enable.idempotence=false";
    if (why == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE)
        return "; the topic's max.message.bytes must not be below message.max.bytes";
    return "";
}

/* The failure that was found, as a status; all that is not done is forgotten. */
static weir_status give_up(struct ship_destination *d, weir_err *err)
{
    weir_status s = needs_operator(d->why) ? WEIR_EINVAL : WEIR_EIO;
    weir_err_set(err, s, 0, "kafka: topic %s: %s%s", d->topic, d->reason, remedy(d, d->why));
    reset(d);
    return s;
}

/* That there would be a gap is known before the report of the messages that make it, which says why; what the producer says of
 * it has at least the words. */
static void what_made_the_gap(struct ship_destination *d)
{
    char text[TEXT];
    for (int i = 0; i < 100 && d->why == RD_KAFKA_RESP_ERR__GAPLESS_GUARANTEE; i++)
        (void)rd_kafka_poll(d->rk, WAIT_MS / 10);
    if (d->why == RD_KAFKA_RESP_ERR__GAPLESS_GUARANTEE &&
        rd_kafka_fatal_error(d->rk, text, sizeof text))
        keep_reason(d, d->why, text);
}

/* Serve reports and errors for up to wait_ms. */
static weir_status serve(struct ship_destination *d, int wait_ms, weir_err *err)
{
    uint64_t done = d->done;
    (void)rd_kafka_poll(d->rk, wait_ms);
    d->now_ms = clock_ms();
    if (d->failed) {
        what_made_the_gap(d);
        return give_up(d, err);
    }
    if (d->away && d->done > done) {
        d->away = false;
        say(d, "kafka: %s is back", d->brokers);
    }
    if (d->done < d->taken && d->now_ms - d->moved_ms > d->timeout_ms &&
        d->now_ms - put_of(d, d->done)->seen_ms > d->timeout_ms) {
        char text[TEXT + 64];
        (void)snprintf(text, sizeof text, "nothing acknowledged for %llu ms%s%.100s",
                       (unsigned long long)d->timeout_ms, d->reason[0] ? ": " : "", d->reason);
        fail(d, RD_KAFKA_RESP_ERR__TIMED_OUT, text);
        return give_up(d, err);
    }
    return WEIR_OK;
}

static weir_status start(struct ship_destination *d, weir_err *err)
{
    char text[TEXT];
    rd_kafka_conf_t *conf = rd_kafka_conf_dup(d->conf);
    rd_kafka_conf_set_opaque(conf, d);
    rd_kafka_conf_set_dr_msg_cb(conf, on_report);
    rd_kafka_conf_set_error_cb(conf, on_error);
    rd_kafka_conf_set_log_cb(conf, on_log);
    if (rd_kafka_conf_set(conf, "bootstrap.servers", d->brokers, text, sizeof text) !=
            RD_KAFKA_CONF_OK ||
        !(d->rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text))) {
        rd_kafka_conf_destroy(conf);
        return weir_err_set(err, WEIR_EINVAL, 0, "kafka: %s", text);
    }
    d->failed = false;
    d->reason[0] = '\0';
    d->why = RD_KAFKA_RESP_ERR_NO_ERROR;
    (void)rd_kafka_set_log_queue(d->rk, NULL);
    return WEIR_OK;
}

/* What of the result of CreateTopics is not as good as a topic. */
static rd_kafka_resp_err_t created_as(rd_kafka_event_t *e, char *text, size_t cap)
{
    rd_kafka_resp_err_t why = rd_kafka_event_error(e);
    const char *says = rd_kafka_event_error_string(e);
    const rd_kafka_CreateTopics_result_t *r = rd_kafka_event_CreateTopics_result(e);
    size_t n = 0;
    const rd_kafka_topic_result_t **topics =
        !why && r ? rd_kafka_CreateTopics_result_topics(r, &n) : NULL;
    if (n) {
        why = rd_kafka_topic_result_error(topics[0]);
        says = rd_kafka_topic_result_error_string(topics[0]);
    }
    (void)snprintf(text, cap, "creating it: %s", says && *says ? says : rd_kafka_err2str(why));
    return why == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS ? RD_KAFKA_RESP_ERR_NO_ERROR : why;
}

static weir_status create_topic(struct ship_destination *d, weir_err *err)
{
    char text[TEXT];
    rd_kafka_NewTopic_t *topic =
        rd_kafka_NewTopic_new(d->topic, d->partitions, d->replication, text, sizeof text);
    if (!topic) {
        keep_reason(d, RD_KAFKA_RESP_ERR_INVALID_PARTITIONS, text);
        return give_up(d, err);
    }
    if (d->retention_ms[0])
        (void)rd_kafka_NewTopic_set_config(topic, "retention.ms", d->retention_ms);
    rd_kafka_AdminOptions_t *options =
        rd_kafka_AdminOptions_new(d->rk, RD_KAFKA_ADMIN_OP_CREATETOPICS);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(d->rk);
    rd_kafka_event_t *e = NULL;
    if (options && queue) {
        (void)rd_kafka_AdminOptions_set_request_timeout(options, 4 * REACH_MS, text, sizeof text);
        rd_kafka_CreateTopics(d->rk, &topic, 1, options, queue);
        while (!e && !stopped(d)) {
            e = rd_kafka_queue_poll(queue, WAIT_MS);
            (void)rd_kafka_poll(d->rk, 0);
        }
    }
    weir_status s = WEIR_OK;
    if (e) {
        rd_kafka_resp_err_t why = created_as(e, text, sizeof text);
        if (why) {
            fail(d, why, text);
            keep_reason(d, why, text);
        }
        d->created = !why;
        rd_kafka_event_destroy(e);
    } else {
        s = weir_err_set(err, WEIR_END, 0, "kafka: stopped");
    }
    if (queue)
        rd_kafka_queue_destroy(queue);
    if (options)
        rd_kafka_AdminOptions_destroy(options);
    rd_kafka_NewTopic_destroy(topic);
    return d->failed ? give_up(d, err) : s;
}

/* Wait until a broker has answered; of the topic, when `topic`. Nothing is encoded and nothing queued before, so that brokers
 * that are away for days cost no more than a look from time to time. */
static weir_status ask(struct ship_destination *d, bool topic, weir_err *err)
{
    uint64_t end = clock_ms() + (d->timeout_ms < REACH_MS ? d->timeout_ms : REACH_MS);
    for (;;) {
        const struct rd_kafka_metadata *m = NULL;
        rd_kafka_resp_err_t why =
            rd_kafka_metadata(d->rk, 0, topic ? d->rkt : NULL, &m, 2 * WAIT_MS);
        (void)rd_kafka_poll(d->rk, 0);
        if (!why && topic) {
            why = m->topic_cnt ? m->topics[0].err : RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
            if (!why && !m->topics[0].partition_cnt)
                why = RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE;
            if (why)
                keep_reason(d, why, NULL);
        }
        if (m)
            rd_kafka_metadata_destroy(m);
        if (stopped(d))
            return weir_err_set(err, WEIR_END, 0, "kafka: stopped");
        if (d->failed)
            return give_up(d, err);
        if (!why)
            return WEIR_OK;
        if (clock_ms() >= end || d->why == RD_KAFKA_RESP_ERR__AUTHENTICATION) {
            if (!d->reason[0])
                keep_reason(d, why, NULL);
            weir_status s = needs_operator(d->why) ? WEIR_EINVAL : WEIR_EIO;
            return weir_err_set(err, s, 0, "kafka: topic %s: %s%s", d->topic, d->reason,
                                remedy(d, d->why));
        }
        if (why != RD_KAFKA_RESP_ERR__TRANSPORT && why != RD_KAFKA_RESP_ERR__TIMED_OUT)
            (void)rd_kafka_poll(d->rk, WAIT_MS); /* it answers at once: not so fast */
    }
}

static weir_status reach(struct ship_destination *d, weir_err *err)
{
    if (!d->rk)
        WEIR_TRY(start(d, err));
    if (d->reached)
        return WEIR_OK;
    d->now_ms = clock_ms();
    if (d->create && !d->created) { /* before it is asked for, which alone may create it */
        WEIR_TRY(ask(d, false, err));
        WEIR_TRY(create_topic(d, err));
    }
    if (!d->rkt && !(d->rkt = rd_kafka_topic_new(d->rk, d->topic, NULL)))
        return weir_err_set(err, WEIR_EINVAL, 0, "kafka: topic %s: %s", d->topic,
                            rd_kafka_err2str(rd_kafka_last_error()));
    WEIR_TRY(ask(d, true, err));
    d->reached = true;
    return WEIR_OK;
}

/* Rows to messages. */

/* Until there is room for another chunk. */
static weir_status room(struct ship_destination *d, weir_err *err)
{
    WEIR_TRY(serve(d, 0, err));
    while (d->held && (d->held + d->chunk_held > d->memory || d->taken - d->done >= PUTS_MOST)) {
        if (stopped(d))
            return weir_err_set(err, WEIR_END, 0, "kafka: stopped");
        WEIR_TRY(serve(d, WAIT_MS, err));
    }
    return WEIR_OK;
}

static bool there(const struct query_vec *v, size_t row)
{
    return v->kind != QUERY_UNKNOWN && (!v->valid || v->valid[row / 64] >> row % 64 & 1);
}

static uint64_t end_hash(const struct query_vec *addr, const struct query_vec *port, size_t row)
{
    uint64_t seed = there(port, row) ? port->num[row] + 1 : 0;
    if (!there(addr, row))
        return seed;
    const struct query_text *t = &addr->dict[addr->codes[row]];
    return base_hash(t->data, t->len, seed);
}

/* Both ends are hashed for themselves and added, so that the directions of a connection have one key. */
static void flow_keys(struct ship_destination *d, const struct query_vec *vecs, size_t from,
                      size_t to)
{
    const struct query_vec *v[N_KEY_COLUMNS];
    for (int i = K_SRC_ADDR; i < N_KEY_COLUMNS; i++)
        v[i] = &vecs[d->key_at[i]];
    for (size_t row = from; row < to; row++) {
        uint64_t both = end_hash(v[K_SRC_ADDR], v[K_SRC_PORT], row) +
                        end_hash(v[K_DST_ADDR], v[K_DST_PORT], row);
        uint64_t proto = there(v[K_PROTO], row) ? v[K_PROTO]->num[row] + 1 : 0;
        d->keys[row - from] = htobe64(base_hash(&both, sizeof both, proto));
    }
}

static bool same_exporter(const struct query_vec *v, size_t a, size_t b)
{
    bool is = there(v, a), was = there(v, b);
    return is == was && (!is || v->codes[a] == v->codes[b]);
}

/* Lines with their ends, so that several make one message. */
static weir_status join(struct ship_destination *d, struct chunk *c, size_t n, weir_err *err)
{
    base_buf_reset(&d->joined);
    char *out = base_buf_room(&d->joined, c->octets.len + n);
    if (!out)
        return no_memory(err);
    for (size_t i = 0, at = 0; i < n; i++) {
        size_t len = d->ends[i] - at;
        memcpy(out, c->octets.data + at, len);
        out[len] = '\n';
        out += len + 1;
        at = d->ends[i];
        d->ends[i] += i + 1;
    }
    d->joined.len = c->octets.len + n;
    base_buf octets = c->octets;
    c->octets = d->joined;
    d->joined = octets;
    return WEIR_OK;
}

/* The messages of a chunk, which has rows [from, to) of the block. firsts: of each the first row, less from; one more for the
 * end. Returns how many there are. */
static size_t messages_of(struct ship_destination *d, struct chunk *c, const struct ship_rows *rows,
                          size_t from, size_t to, uint32_t *firsts)
{
    const struct query_vec *vecs = rows->block.vecs;
    const struct query_vec *exporter = d->key == KEY_EXPORTER ? &vecs[d->key_at[K_EXPORTER]] : NULL;
    size_t n = 0, n_rows = to - from, ends = d->joins ? 1 : 0;
    if (d->key == KEY_FLOW)
        flow_keys(d, vecs, from, to);
    for (size_t i = 0, at = 0; i < n_rows; n++) {
        size_t first = i, begin = at;
        do
            at = d->ends[i++];
        while (i < n_rows && i - first < d->per_message && d->ends[i] - begin <= d->message_most &&
               (!exporter || same_exporter(exporter, from + i, from + first)));
        rd_kafka_message_t *m = &d->messages[n];
        *m = (rd_kafka_message_t){
            .payload = c->octets.data + begin, .len = at - begin - ends, ._private = c};
        firsts[n] = (uint32_t)first;
        if (exporter && there(exporter, from + first)) {
            const struct query_text *t = &exporter->dict[exporter->codes[from + first]];
            union {
                const char *from;
                void *to;
            } key = {t->data}; /* librdkafka copies it, but does not say const */
            m->key = key.to;
            m->key_len = t->len;
        } else if (d->key == KEY_FLOW) {
            m->key = &d->keys[first];
            m->key_len = KEY_OCTETS;
        }
    }
    firsts[n] = (uint32_t)n_rows;
    return n;
}

/* Only where it is known which rows they are. */
static bool has_ids(const struct ship_destination *d, const struct ship_rows *rows)
{
    return d->ids && (rows->at || rows->block.n == rows->to - rows->from);
}

static uint64_t row_number(const struct ship_rows *rows, size_t i)
{
    return rows->from + (rows->at ? rows->at[i] : i);
}

/* One message with its id; the file stands in d->id already. */
static rd_kafka_resp_err_t produce_id(struct ship_destination *d, const rd_kafka_message_t *m,
                                      const struct ship_rows *rows, size_t first, size_t last)
{
    size_t file = d->id.len;
    char *id = d->id.data;
    size_t len = file + base_u64_text(id + file, row_number(rows, first));
    if (last != first) {
        id[len++] = '-';
        len += base_u64_text(id + len, row_number(rows, last));
    }
    /* Not RD_KAFKA_VTYPE_HEADER: librdkafka 2.0.2 frees such headers twice when it cannot take the message. */
    rd_kafka_headers_t *headers = rd_kafka_headers_new(1);
    rd_kafka_resp_err_t why = rd_kafka_header_add(headers, "weir-id", 7, id, (ssize_t)len);
    rd_kafka_vu_t parts[] = {
        {.vtype = RD_KAFKA_VTYPE_RKT, .u.rkt = d->rkt},
        {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {m->payload, m->len}},
        {.vtype = RD_KAFKA_VTYPE_OPAQUE, .u.ptr = m->_private},
        {.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = headers},
        {.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {m->key, m->key_len}},
    };
    rd_kafka_error_t *e =
        why ? NULL
            : rd_kafka_produceva(d->rk, parts, m->key ? ARRAY_LEN(parts) : ARRAY_LEN(parts) - 1);
    if (e) {
        why = rd_kafka_error_code(e);
        rd_kafka_error_destroy(e);
    }
    if (why) /* else they are librdkafka's */
        rd_kafka_headers_destroy(headers);
    return why;
}

/* As many of n messages as librdkafka takes now. */
static size_t produce(struct ship_destination *d, rd_kafka_message_t *m, size_t n,
                      const struct ship_rows *rows, const uint32_t *firsts, size_t from,
                      rd_kafka_resp_err_t *why)
{
    size_t i = 0;
    *why = RD_KAFKA_RESP_ERR_NO_ERROR;
    if (has_ids(d, rows)) {
        for (; i < n && !*why; i += !*why)
            *why = produce_id(d, &m[i], rows, from + firsts[i], from + firsts[i + 1] - 1);
        return i;
    }
    /* What is too large was looked for before; when the queue is full it takes nothing of what follows. */
    if (rd_kafka_produce_batch(d->rkt, RD_KAFKA_PARTITION_UA, 0, m, (int)n) == (int)n)
        return n;
    while (i < n && !m[i].err)
        i++;
    *why = i < n ? m[i].err : RD_KAFKA_RESP_ERR_NO_ERROR;
    return i;
}

/* Rows from *at on, as many as make a chunk. */
static weir_status send_chunk(struct ship_destination *d, const struct ship_rows *rows, size_t *at,
                              weir_err *err)
{
    size_t from = *at, n = rows->block.n - from;
    if (n > d->chunk_rows) /* whole messages, when it is for one of them */
        n = d->chunk_rows < d->per_message ? d->chunk_rows
                                           : d->chunk_rows - d->chunk_rows % d->per_message;
    struct chunk *c = chunk_begin(d);
    if (!c)
        return no_memory(err);
    c->put = d->taken - 1;
    WEIR_TRY(ship_encoder_rows(d->encoder, &rows->block, from, from + n, &c->octets, d->ends, err));
    for (size_t i = 0, begin = 0; i < n; begin = d->ends[i++])
        if (d->ends[i] - begin > d->message_most)
            return weir_err_set(err, WEIR_EFORMAT, 0,
                                "kafka: row %llu of %.60s has %zu octets; message.max.bytes is %zu",
                                (unsigned long long)row_number(rows, from + i), rows->file,
                                d->ends[i] - begin, d->message_most + HEADROOM);
    size_t row_octets = c->octets.len / n + 1, next = CHUNK_OCTETS / row_octets;
    d->chunk_rows = next < 1 ? 1 : next > CHUNK_ROWS_MOST ? CHUNK_ROWS_MOST : next;
    if (d->joins)
        WEIR_TRY(join(d, c, n, err));
    size_t n_messages = messages_of(d, c, rows, from, from + n, d->firsts);
    c->left = n_messages;
    d->chunk_held = c->held =
        c->octets.cap + n_messages * (d->ids ? MESSAGE_COST + HEADER_COST : MESSAGE_COST);
    d->held += c->held;
    put_of(d, c->put)->left++;
    for (size_t sent = 0; sent < n_messages;) {
        rd_kafka_resp_err_t why;
        sent +=
            produce(d, d->messages + sent, n_messages - sent, rows, d->firsts + sent, from, &why);
        if (why == RD_KAFKA_RESP_ERR__QUEUE_FULL) { /* by queue.buffering.max.* of the user's */
            if (stopped(d))
                return weir_err_set(err, WEIR_END, 0, "kafka: stopped");
            WEIR_TRY(serve(d, WAIT_MS, err));
        } else if (why) {
            char text[TEXT];
            if (why == RD_KAFKA_RESP_ERR__FATAL)
                why = rd_kafka_fatal_error(d->rk, text, sizeof text);
            else
                (void)snprintf(text, sizeof text, "%s", rd_kafka_err2str(why));
            fail(d, why, text);
            what_made_the_gap(d);
            return give_up(d, err);
        }
    }
    *at = from + n;
    return WEIR_OK;
}

static weir_status take(struct ship_destination *d, const struct ship_rows *rows, weir_err *err)
{
    if (rows->table != FLOW_TABLE_FLOWS || !rows->block.n) { /* done when those before it are */
        WEIR_TRY(d->rk ? room(d, err) : WEIR_OK);
        WEIR_TRY(put_begin(d, err));
        put_less(d, d->taken - 1);
        return WEIR_OK;
    }
    WEIR_TRY(reach(d, err));
    WEIR_TRY(room(d, err));
    WEIR_TRY(put_begin(d, err));
    if (has_ids(d, rows)) {
        base_buf_reset(&d->id);
        base_buf_str(&d->id, d->archive);
        base_buf_str(&d->id, rows->file);
        base_buf_char(&d->id, ':');
        if (!base_buf_room(&d->id, 2 * BASE_U64_TEXT + 1))
            return no_memory(err);
    }
    for (size_t at = 0; at < rows->block.n;) {
        WEIR_TRY(room(d, err));
        WEIR_TRY(send_chunk(d, rows, &at, err));
    }
    put_less(d, d->taken - 1);
    return WEIR_OK;
}

static weir_status kafka_put(ship_destination *d, const struct ship_rows *rows, weir_err *err)
{
    weir_status s = take(d, rows, err);
    if (s != WEIR_OK && s != WEIR_END && d->taken) /* not all of it was taken: none of it */
        reset(d);
    return s;
}

static weir_status kafka_done(ship_destination *d, int wait_ms, uint64_t *done, weir_err *err)
{
    /* `stop` is not asked: the last acknowledgements come after it, and the caller says how long to wait. */
    uint64_t was = d->done, end = clock_ms() + (wait_ms > 0 ? (uint64_t)wait_ms : 0);
    *done = was;
    if (!d->rk)
        return WEIR_OK;
    WEIR_TRY(serve(d, 0, err));
    while (d->done == was && d->done < d->taken && d->now_ms < end) {
        uint64_t left = end - d->now_ms;
        WEIR_TRY(serve(d, left < WAIT_MS ? (int)left : WAIT_MS, err));
    }
    *done = d->done;
    return WEIR_OK;
}

static void kafka_close(ship_destination *d)
{
    if (!d)
        return;
    reset(d);
    ring_free(&d->idle);
    ship_encoder_free(d->encoder);
    if (d->conf)
        rd_kafka_conf_destroy(d->conf);
    base_buf_done(&d->joined);
    base_buf_done(&d->id);
    free(d->brokers);
    free(d->topic);
    free(d->format);
    free(d->fields);
    free(d->puts);
    free(d->ends);
    free(d->messages);
    free(d->keys);
    free(d->firsts);
    free(d);
}

/* Columns. */

static int field_add(struct ship_destination *d, enum flow_column_id id)
{
    struct query_field f = query_field_column(id);
    for (size_t i = 0; i < d->n_fields; i++)
        if (query_field_same(&d->fields[i], &f))
            return (int)i;
    d->fields[d->n_fields] = f;
    return (int)d->n_fields++;
}

static weir_status kafka_fields(ship_destination *d, enum flow_table table,
                                const struct query_field *extras, size_t n_extras,
                                const struct query_field **fields, size_t *n, weir_err *err)
{
    *fields = NULL;
    *n = 0;
    if (table != FLOW_TABLE_FLOWS)
        return WEIR_OK;
    struct ship_encoder_options o = {
        .format = d->format, .delimited = d->delimited, .extras = extras, .n_extras = n_extras};
    ship_encoder *encoder;
    WEIR_TRY(ship_encoder_new(&o, &encoder, err));
    ship_encoder_free(d->encoder);
    d->encoder = encoder;
    const struct query_field *of_encoder;
    ship_encoder_fields(encoder, &of_encoder, &d->n_encoder);
    struct query_field *all = calloc(d->n_encoder + N_KEY_COLUMNS, sizeof *all);
    if (!all)
        return no_memory(err);
    if (d->n_encoder)
        memcpy(all, of_encoder, d->n_encoder * sizeof *all);
    free(d->fields);
    d->fields = all;
    d->n_fields = d->n_encoder;
    static const enum flow_column_id columns[N_KEY_COLUMNS] = {
        [K_EXPORTER] = FLOW_exporter, [K_SRC_ADDR] = FLOW_src_addr, [K_DST_ADDR] = FLOW_dst_addr,
        [K_SRC_PORT] = FLOW_src_port, [K_DST_PORT] = FLOW_dst_port, [K_PROTO] = FLOW_proto};
    for (int i = 0; i < N_KEY_COLUMNS; i++)
        if (d->key == (i == K_EXPORTER ? KEY_EXPORTER : KEY_FLOW))
            d->key_at[i] = field_add(d, columns[i]);
    *fields = d->fields;
    *n = d->n_fields;
    return WEIR_OK;
}

/* Settings. */

static weir_status bad(const char *name, const char *value, const char *allowed, weir_err *err)
{
    return weir_err_set(err, WEIR_EINVAL, 0, "kafka: setting %.40s=%.40s: %s", name, value,
                        allowed);
}

static bool whole_number(const char *text, long long least, long long most, long long *out)
{
    char *end;
    errno = 0;
    *out = strtoll(text, &end, 10);
    return *text && !*end && !errno && *out >= least && *out <= most;
}

static bool yes_or_no(const char *text, bool *out)
{
    *out = !strcasecmp(text, "yes") || !strcasecmp(text, "true") || !strcasecmp(text, "on");
    return *out || !strcasecmp(text, "no") || !strcasecmp(text, "false") ||
           !strcasecmp(text, "off");
}

/* "7d" as milliseconds. */
static bool retention(const char *text, char *out, size_t cap)
{
    static const struct {
        char unit;
        long long ms;
    } units[] = {{'d', 86400000}, {'h', 3600000}, {'m', 60000}, {'s', 1000}};
    if (!strcmp(text, "forever")) {
        (void)snprintf(out, cap, "-1");
        return true;
    }
    char *end;
    errno = 0;
    long long n = strtoll(text, &end, 10);
    for (size_t i = 0; i < ARRAY_LEN(units); i++)
        if (end != text && !errno && *end == units[i].unit && !end[1] && n > 0 && n < 1000000) {
            (void)snprintf(out, cap, "%lld", n * units[i].ms);
            return true;
        }
    return false;
}

/* One of n words, by its number in *out. */
static bool word(const char *text, const char *const *words, size_t n, int *out)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(text, words[i])) {
            *out = (int)i;
            return true;
        }
    return false;
}

/* Settings of this file; *own false: it is librdkafka's. */
static weir_status set_own(struct ship_destination *d, const char *name, const char *value,
                           bool *own, weir_err *err)
{
    static const char *const keys[] = {
        [KEY_EXPORTER] = "exporter", [KEY_FLOW] = "flow", [KEY_NONE] = "none"};
    static const char *const ids[] = {"none", "header"};
    long long n = 0;
    int which = 0;
    *own = true;
    if (!strcmp(name, "key")) {
        if (!word(value, keys, ARRAY_LEN(keys), &which))
            return bad(name, value, "exporter, flow or none", err);
        d->key = (enum key)which;
    } else if (!strcmp(name, "ids")) {
        if (!word(value, ids, ARRAY_LEN(ids), &which))
            return bad(name, value, "header or none", err);
        d->ids = which;
    } else if (!strcmp(name, "delimited")) {
        if (!yes_or_no(value, &d->delimited))
            return bad(name, value, "yes or no", err);
    } else if (!strcmp(name, "per-message")) {
        if (!whole_number(value, 1, CHUNK_ROWS_MOST, &n))
            return bad(name, value, "flows in a message, 1 to 4096", err);
        d->per_message = (size_t)n;
    } else if (!strcmp(name, "memory")) {
        if (!whole_number(value, 8, 4096, &n))
            return bad(name, value, "MiB, 8 to 4096", err);
        d->memory = (size_t)n << 20;
    } else if (!strcmp(name, "partitions")) {
        if (!whole_number(value, 1, 100000, &n))
            return bad(name, value, "1 to 100000", err);
        d->partitions = (int)n;
    } else if (!strcmp(name, "replication")) {
        if (!whole_number(value, 1, 1000, &n))
            return bad(name, value, "replicas, 1 to 1000", err);
        d->replication = (int)n;
    } else if (!strcmp(name, "retention")) {
        if (!retention(value, d->retention_ms, sizeof d->retention_ms))
            return bad(name, value, "a number with d, h, m or s, or forever", err);
    } else if (!strcmp(name, "delivery.timeout.ms") || !strcmp(name, "message.timeout.ms")) {
        if (!whole_number(value, 100, 86400000, &n))
            return bad(name, value, "milliseconds, 100 to 86400000", err);
        d->timeout_ms = (uint64_t)n;
    } else {
        *own = false;
    }
    return WEIR_OK;
}

static weir_status set(struct ship_destination *d, const char *name, const char *value,
                       weir_err *err)
{
    char text[512];
    bool own;
    WEIR_TRY(set_own(d, name, value, &own, err));
    if (own)
        return WEIR_OK;
    for (size_t i = 0; i < ARRAY_LEN(refused); i++)
        if (!strcmp(name, refused[i][0]))
            return weir_err_set(err, WEIR_EINVAL, 0, "kafka: setting %s: %s", name, refused[i][1]);
    if (!strcmp(name, "compression"))
        name = "compression.type";
    d->debug |= !strcmp(name, "debug");
    d->own_order |=
        !strcmp(name, "enable.gapless.guarantee") || !strncmp(name, "max.in.flight", 13);
    rd_kafka_conf_res_t is = rd_kafka_conf_set(d->conf, name, value, text, sizeof text);
    if (is == RD_KAFKA_CONF_UNKNOWN)
        return weir_err_set(err, WEIR_EINVAL, 0,
                            "kafka: %.90s (docs/kafka.md and librdkafka's CONFIGURATION.md)", text);
    if (is != RD_KAFKA_CONF_OK)
        return weir_err_set(err, WEIR_EINVAL, 0, "kafka: setting %.40s: %s", name, text);
    return WEIR_OK;
}

/* A property's value as a number, or what is said. */
static long long property(const rd_kafka_conf_t *conf, const char *name, long long otherwise)
{
    char text[64];
    size_t len = sizeof text;
    long long n;
    return rd_kafka_conf_get(conf, name, text, &len) == RD_KAFKA_CONF_OK &&
                   whole_number(text, 0, INT64_MAX, &n)
               ? n
               : otherwise;
}

/* What only all settings together show. */
static weir_status check(struct ship_destination *d, weir_err *err)
{
    char text[512];
    size_t len = sizeof text;
    if (!d->own_order &&
        rd_kafka_conf_get(d->conf, "enable.idempotence", text, &len) == RD_KAFKA_CONF_OK &&
        !strcmp(text, "true")) /* it asks for that */
        (void)rd_kafka_conf_set(d->conf, "enable.gapless.guarantee", "true", text, sizeof text);
    if (d->per_message > 1 && d->key == KEY_FLOW)
        return bad("key", "flow", "with per-message above 1 only exporter or none", err);
    if (d->per_message > 1 && !d->text && !d->delimited)
        return bad("delimited", "no", "with per-message above 1 nobody could tell flows apart",
                   err);
    d->joins = d->text && d->per_message > 1;
    d->message_most = (size_t)property(d->conf, "message.max.bytes", 1000000) - HEADROOM;
    /* What librdkafka finds only when it begins: a producer that knows no broker. */
    rd_kafka_conf_t *conf = rd_kafka_conf_dup(d->conf);
    rd_kafka_t *trial = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
    if (!trial) {
        rd_kafka_conf_destroy(conf);
        return weir_err_set(err, WEIR_EINVAL, 0, "kafka: %s", text);
    }
    rd_kafka_destroy(trial);
    return WEIR_OK;
}

/* Defaults, the url's and those given beside it, which come last. */
static weir_status settings(struct ship_destination *d, const struct ship_destination_options *o,
                            const struct ship_url *url, weir_err *err)
{
    char text[512];
    if (!(d->conf = rd_kafka_conf_new()))
        return no_memory(err);
    for (size_t i = 0; i < ARRAY_LEN(defaults); i++)
        if (rd_kafka_conf_set(d->conf, defaults[i][0], defaults[i][1], text, sizeof text) !=
            RD_KAFKA_CONF_OK)
            return weir_err_set(err, WEIR_EINVAL, 0, "kafka: this librdkafka: %s", text);
    if (url->user) {
        WEIR_TRY(set(d, "security.protocol", "sasl_ssl", err));
        WEIR_TRY(set(d, "sasl.mechanism", "PLAIN", err));
        WEIR_TRY(set(d, "sasl.username", url->user, err));
        WEIR_TRY(set(d, "sasl.password", url->password ? url->password : "", err));
    }
    for (size_t i = 0; i < url->n; i++)
        WEIR_TRY(set(d, url->names[i], url->values[i], err));
    for (size_t i = 0; i < o->n_settings; i++)
        WEIR_TRY(set(d, o->settings[i].name, o->settings[i].value, err));
    return check(d, err);
}

/* kafka://HOST[:PORT][,HOST[:PORT]...]/TOPIC */
static weir_status where(struct ship_destination *d, const struct ship_url *url, weir_err *err)
{
    static const char legal[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    const char *topic = url->path;
    if (!*url->host || !topic || !*topic)
        return weir_err_set(err, WEIR_EINVAL, 0,
                            "kafka: expected kafka://HOST:PORT[,HOST:PORT...]/TOPIC");
    size_t len = strlen(topic);
    if (len > 249 || strspn(topic, legal) != len || !strcmp(topic, ".") || !strcmp(topic, ".."))
        return weir_err_set(err, WEIR_EINVAL, 0,
                            "kafka: topic %.60s: up to 249 letters, digits, '.', '_' and '-'",
                            topic);
    /* Of several hosts the ports stand in host; when the first is an IPv6 address, in port. */
    bool v6 = strchr(url->host, ':') && !strchr(url->host, ',');
    base_buf b = {0};
    base_buf_printf(&b, "%s%s%s", v6 ? "[" : "", url->host, v6 ? "]" : "");
    if (url->port)
        base_buf_printf(&b, ":%s", url->port);
    base_buf_char(&b, '\0');
    d->brokers = b.failed ? NULL : b.data;
    if (b.failed)
        base_buf_done(&b);
    d->topic = strdup(topic);
    return d->brokers && d->topic ? WEIR_OK : no_memory(err);
}

static weir_status format(struct ship_destination *d, const char *name, weir_err *err)
{
    struct ship_encoder_options o = {.format = name};
    ship_encoder *trial;
    WEIR_TRY(ship_encoder_new(&o, &trial, err));
    ship_encoder_free(trial);
    for (const struct ship_format *f = ship_formats(); f->name; f++)
        if (!strcmp(f->name, name))
            d->text = f->text;
    return (d->format = strdup(name)) ? WEIR_OK : no_memory(err);
}

static weir_status kafka_open(const struct ship_destination_options *o, ship_destination **out,
                              weir_err *err)
{
    struct ship_destination *d = calloc(1, sizeof *d);
    if (!d)
        return no_memory(err);
    ring_init(&d->busy);
    ring_init(&d->idle);
    d->key = KEY_EXPORTER;
    d->ids = d->delimited = true;
    d->per_message = 1;
    d->memory = (size_t)MEMORY_MIB << 20;
    d->partitions = d->replication = -1;
    d->timeout_ms = TIMEOUT_MS;
    d->create = o->create;
    if (o->archive) /* the half of it will do: a topic has few archives */
        (void)snprintf(d->archive, sizeof d->archive, "%.8s/", o->archive);
    d->stop = o->stop;
    d->log = o->log;
    d->user = o->user;
    d->chunk_rows = CHUNK_ROWS_FIRST;
    d->chunk_held = 2 * CHUNK_OCTETS;
    d->ends = malloc(CHUNK_ROWS_MOST * sizeof *d->ends);
    d->messages = malloc(CHUNK_ROWS_MOST * sizeof *d->messages);
    d->keys = malloc(CHUNK_ROWS_MOST * sizeof *d->keys);
    d->firsts = malloc((CHUNK_ROWS_MOST + 1) * sizeof *d->firsts);
    weir_status s = d->ends && d->messages && d->keys && d->firsts ? WEIR_OK : no_memory(err);
    struct ship_url url = {0};
    if (s == WEIR_OK)
        s = ship_url_parse(o->url, &url, err);
    if (s == WEIR_OK)
        s = where(d, &url, err);
    if (s == WEIR_OK)
        s = format(d, o->format ? o->format : "flowmessage", err);
    if (s == WEIR_OK)
        s = settings(d, o, &url, err);
    ship_url_done(&url);
    if (s != WEIR_OK) {
        kafka_close(d);
        return s;
    }
    *out = d;
    return WEIR_OK;
}

const struct ship_destination_ops ship_kafka = {
    .scheme = "kafka",
    .help = "a topic of Apache Kafka: kafka://HOST:PORT[,HOST:PORT...]/TOPIC",
    .settings_help = settings_help,
    .open = kafka_open,
    .fields = kafka_fields,
    .put = kafka_put,
    .done = kafka_done,
    .close = kafka_close,
};
