/* decode -- what the fuzz targets of the decoder share: handlers that read all that a record gives, and the
 * conservation law, which aborts when it does not hold. */
#ifndef FUZZ_DECODE_H
#define FUZZ_DECODE_H

#include <weir/decoder.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define FUZZ_TIME_NS (INT64_C(1700000000) * 1000000000)

/* The condition, or the input is kept as a finding. */
#define FUZZ_CHECK(condition)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            (void)fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition);    \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* Small tables: most inputs need no more, and a decoder is made for each. */
__attribute__((unused)) static const weir_decoder_options fuzz_small = {
    .max_exporters = 16, .max_streams = 64, .max_list_items = 500};

typedef struct fuzz_seen {
    int64_t open; /* packets between their begin and end */
    uint64_t records, options, sum;
} fuzz_seen;

static inline void fuzz_law_of(const weir_counters *c)
{
    uint64_t rejected = 0;
    for (size_t i = 0; i < WEIR_N_REJECT; i++)
        rejected += c->rejected[i];
    FUZZ_CHECK(c->packets == c->decoded + c->waiting + c->expired + rejected);
    FUZZ_CHECK(c->records == c->flows + c->options + c->records_rejected);
    FUZZ_CHECK(c->templates < UINT64_MAX / 2 && c->sequence_lost < UINT64_MAX / 2 &&
               c->sequence_duplicated < UINT64_MAX / 2 && c->octets_waiting < UINT64_MAX / 2);
}

static inline void fuzz_law(const weir_decoder *d, const fuzz_seen *seen)
{
    const weir_counters *total = weir_decoder_counters(d);
    uint64_t templates = 0, waiting = 0;
    fuzz_law_of(total);
    weir_exporter_info e;
    for (size_t at = 0; weir_exporter_next(d, &at, &e) == WEIR_OK;) {
        fuzz_law_of(e.counters);
        waiting += e.counters->sets_waiting;
        weir_stream_info s;
        for (size_t inner = 0; weir_stream_next(d, e.handle, &inner, &s) == WEIR_OK;) {
            fuzz_law_of(s.counters);
            for (size_t slot = 0; weir_template_next(s.handle, &slot);)
                templates++;
        }
    }
    FUZZ_CHECK(templates == total->templates);
    FUZZ_CHECK(waiting == total->sets_waiting);
    FUZZ_CHECK(total->flows == seen->records && total->options == seen->options);
    FUZZ_CHECK(seen->open == 0);
}

static inline void fuzz_read(fuzz_seen *seen, const weir_record *r)
{
    for (uint32_t i = 0; i < r->n_fields; i++) {
        weir_value v;
        weir_list list;
        weir_status status = weir_value_read(r, i, &v);
        FUZZ_CHECK(status == WEIR_OK || (status == WEIR_ETYPE && v.kind == WEIR_KIND_OCTETS));
        FUZZ_CHECK(v.data >= r->data && v.data + v.len <= r->data + r->len);
        for (uint32_t k = 0; k < v.len; k++)
            seen->sum += v.data[k];
        if (v.kind != WEIR_KIND_LIST || weir_list_open(r, i, &list) != WEIR_OK)
            continue;
        while ((status = weir_list_next(&list)) != WEIR_END && status != WEIR_ELIMIT) {
            if (status != WEIR_OK)
                continue;
            FUZZ_CHECK(list.item.depth == r->depth + 1);
            fuzz_read(seen, &list.item);
        }
        weir_list_close(&list);
    }
    int64_t first, last;
    unsigned flags = weir_record_times(r, &first, &last);
    FUZZ_CHECK(last >= first || (flags & WEIR_TIME_REVERSED));
    weir_sampling sampling = weir_record_sampling(r);
    FUZZ_CHECK(sampling.rate >= 0 && sampling.rate <= 0x1p64);
}

static inline void fuzz_begin(void *user, const weir_packet *p)
{
    fuzz_seen *seen = user;
    seen->open++;
    seen->sum += (uint64_t)weir_packet_export_ns(p);
    FUZZ_CHECK(p->late == (p->data == NULL));
}

static inline void fuzz_record(void *user, const weir_record *r)
{
    ((fuzz_seen *)user)->records++;
    fuzz_read(user, r);
}

static inline void fuzz_options(void *user, const weir_record *r)
{
    ((fuzz_seen *)user)->options++;
    FUZZ_CHECK(r->n_scope <= r->n_fields);
    fuzz_read(user, r);
}

static inline void fuzz_template(void *user, const weir_packet *p, const weir_template *t,
                                 weir_template_event event)
{
    fuzz_seen *seen = user;
    FUZZ_CHECK(p && (p->id || event == WEIR_TEMPLATE_EXPIRED) && t->id >= 256 && t->n_fields > 0 &&
               t->min_len > 0);
    for (uint32_t i = 0; i < t->n_fields; i++)
        seen->sum += strlen(t->fields[i].element->name) + (unsigned)event;
}

static inline void fuzz_sampling(void *user, const weir_packet *p, uint64_t selector,
                                 const weir_sampling *s)
{
    (void)p;
    ((fuzz_seen *)user)->sum += selector;
    FUZZ_CHECK(s->rate > 0 && s->rate <= 0x1p64);
}

static inline void fuzz_fault(void *user, const weir_packet *p, weir_fault fault,
                              const weir_err *err)
{
    (void)user;
    FUZZ_CHECK(fault < WEIR_N_FAULT && err->code != WEIR_OK && err->msg[0]);
    FUZZ_CHECK(p->late || err->at <= p->len);
}

static inline void fuzz_end(void *user, const weir_packet *p, weir_outcome outcome,
                            const weir_err *err)
{
    (void)p;
    ((fuzz_seen *)user)->open -= outcome != WEIR_PACKET_REJECTED;
    FUZZ_CHECK((outcome == WEIR_PACKET_REJECTED) == (err != NULL));
}

static const weir_handlers fuzz_handlers = {.begin = fuzz_begin,
                                            .record = fuzz_record,
                                            .options = fuzz_options,
                                            .tmpl = fuzz_template,
                                            .sampling = fuzz_sampling,
                                            .fault = fuzz_fault,
                                            .end = fuzz_end};

/* Feed a packet in a block of its own size, so that a sanitizer sees every octet read past it. */
static inline void fuzz_feed(weir_decoder *d, const weir_endpoint *from, int64_t now_ns,
                             const uint8_t *data, size_t len, fuzz_seen *seen)
{
    uint8_t *exact = malloc(len ? len : 1);
    if (!exact)
        abort();
    if (len)
        memcpy(exact, data, len);
    weir_err err;
    (void)weir_decode(d, from, now_ns, exact, len, &fuzz_handlers, seen, &err);
    free(exact);
    fuzz_law(d, seen);
}

/* What d saves loads into a new decoder, which saves the same octets. */
static inline void fuzz_round_trip(const weir_decoder *d, const weir_decoder_options *options)
{
    uint8_t *first = NULL, *second = NULL;
    size_t n_first = 0, n_second = 0;
    weir_err err;
    weir_decoder *other = weir_decoder_new(options, &err);
    FUZZ_CHECK(other);
    FUZZ_CHECK(weir_decoder_save(d, &first, &n_first, &err) == WEIR_OK);
    FUZZ_CHECK(weir_decoder_load(other, first, n_first, &err) == WEIR_OK);
    FUZZ_CHECK(weir_decoder_save(other, &second, &n_second, &err) == WEIR_OK);
    FUZZ_CHECK(n_first == n_second && memcmp(first, second, n_first) == 0);
    weir_decoder_free(other);
    free(first);
    free(second);
}

/* Feed a row of packets from one exporter, a second apart: the input is a row of 2-octet lengths, each before that many
 * octets, which go behind head[n_head]. ipfix: octets 2 and 3 of the packet get its length, as the message says it. */
static inline int fuzz_packets(const uint8_t *data, size_t len, const uint8_t *head, size_t n_head,
                               bool ipfix)
{
    weir_decoder *d = weir_decoder_new(&fuzz_small, NULL);
    weir_endpoint from = {.family = 4, .port = 2055, .addr = {192, 0, 2, 1}};
    fuzz_seen seen = {0};
    uint8_t packet[65535];
    memcpy(packet, head, n_head);
    for (int64_t now_ns = FUZZ_TIME_NS; len >= 2; now_ns += 1000000000) {
        size_t n = (size_t)weir_be(data, 2);
        data += 2;
        len -= 2;
        n = n < len ? n : len;
        n = n < sizeof packet - n_head ? n : sizeof packet - n_head;
        memcpy(packet + n_head, data, n);
        if (ipfix) {
            packet[2] = (uint8_t)((n + n_head) >> 8);
            packet[3] = (uint8_t)(n + n_head);
        }
        fuzz_feed(d, &from, now_ns, packet, n + n_head, &seen);
        data += n;
        len -= n;
    }
    fuzz_round_trip(d, &fuzz_small);
    weir_decoder_finish(d, &fuzz_handlers, &seen);
    fuzz_law(d, &seen);
    weir_decoder_free(d);
    return 0;
}

#endif
