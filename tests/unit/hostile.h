/* hostile -- what the tests of bad input share: the conservation law at every level of a decoder, handlers that
 * touch all that a record gives, numbers that are random but the same in every run. */
#ifndef TESTS_HOSTILE_H
#define TESTS_HOSTILE_H

#include "export.h"
#include "unit.h"

static inline void law_of(const weir_counters *c, const char *level, const char *what)
{
    uint64_t rejected = 0;
    for (size_t i = 0; i < WEIR_N_REJECT; i++)
        rejected += c->rejected[i];
    UNIT_CHECK(c->packets == c->decoded + c->waiting + c->expired + rejected,
               "%s: %s: packets %" PRIu64 " != decoded %" PRIu64 " + waiting %" PRIu64
               " + expired %" PRIu64 " + rejected %" PRIu64,
               what, level, c->packets, c->decoded, c->waiting, c->expired, rejected);
    UNIT_CHECK(c->records == c->flows + c->options + c->records_rejected,
               "%s: %s: records %" PRIu64 " != flows %" PRIu64 " + options %" PRIu64
               " + rejected %" PRIu64,
               what, level, c->records, c->flows, c->options, c->records_rejected);
    /* Gauges go down again: one that passed zero is near 2^64. */
    UNIT_CHECK(c->waiting < UINT64_MAX / 2 && c->sets_waiting < UINT64_MAX / 2 &&
                   c->octets_waiting < UINT64_MAX / 2 && c->templates < UINT64_MAX / 2 &&
                   c->sequence_lost < UINT64_MAX / 2 && c->sequence_duplicated < UINT64_MAX / 2,
               "%s: %s: a gauge went below zero", what, level);
}

/* The conservation law of the decoder, of each exporter and of each stream; and that the gauges of the levels agree. */
static inline void law_check(const weir_decoder *d, const char *what)
{
    const weir_counters *total = weir_decoder_counters(d);
    uint64_t waiting = 0, sets = 0, templates = 0;
    law_of(total, "total", what);
    weir_exporter_info e;
    for (size_t at = 0; weir_exporter_next(d, &at, &e) == WEIR_OK;) {
        law_of(e.counters, "exporter", what);
        waiting += e.counters->waiting;
        sets += e.counters->sets_waiting;
        weir_stream_info s;
        for (size_t inner = 0; weir_stream_next(d, e.handle, &inner, &s) == WEIR_OK;) {
            law_of(s.counters, "stream", what);
            uint64_t n = 0;
            for (size_t slot = 0; weir_template_next(s.handle, &slot);)
                n++;
            UNIT_CHECK(n == s.counters->templates, "%s: %" PRIu64 " templates, counted %" PRIu64,
                       what, n, s.counters->templates);
            templates += n;
        }
    }
    UNIT_CHECK(waiting == total->waiting && sets == total->sets_waiting &&
                   templates == total->templates,
               "%s: gauges of the exporters do not add up to the decoder's", what);
}

/* Run a script and compare its transcript; the law holds after it. */
static inline void expect(export_case *c, const char *script, const char *want)
{
    const char *got = export_run(c, script);
    if (strcmp(got, want) != 0)
        fail_msg("\nscript: %s\n   got: %s\n  want: %s", script, got, want);
    law_check(c->d, script);
}

/* The same for a decoder that has seen nothing before. */
static inline void expect_new(const char *script, const char *want)
{
    export_case c = {0};
    expect(&c, script, want);
    export_done(&c);
}

/* The n'th event of a kind; the test fails when there is none. */
static inline const export_event *the_event(const export_case *c, export_kind kind, size_t n)
{
    const export_event *e = export_event_of(c, kind, n);
    if (!e) {
        fail_msg("no event %zu of kind %d", n, (int)kind);
        abort();
    }
    return e;
}

/* ---- handlers that read every field of every record, lists within lists too ---- */

typedef struct drain {
    uint64_t begins, ends, records, options, templates, samplings, faults, fields, items, sum;
    int open; /* packets between their begin and end */
} drain;

static inline void drain_record(drain *s, const weir_record *r)
{
    for (uint32_t i = 0; i < r->n_fields; i++) {
        weir_value v;
        weir_list list;
        s->fields++;
        (void)weir_value_read(r, i, &v);
        for (uint32_t k = 0; k < v.len; k++) /* a sanitizer sees octets that are not the record's */
            s->sum += v.data[k];
        if (v.kind != WEIR_KIND_LIST || weir_list_open(r, i, &list) != WEIR_OK)
            continue;
        for (weir_status status; (status = weir_list_next(&list)) != WEIR_END;) {
            if (status == WEIR_ELIMIT)
                break;
            if (status != WEIR_OK)
                continue;
            s->items++;
            drain_record(s, &list.item);
        }
        weir_list_close(&list);
    }
    int64_t first, last;
    (void)weir_record_times(r, &first, &last);
    s->sum += (uint64_t)first + (uint64_t)last;
    weir_sampling sampling = weir_record_sampling(r);
    s->sum += sampling.origin;
}

static inline void drain_on_begin(void *user, const weir_packet *p)
{
    drain *s = user;
    s->begins++;
    s->open++;
    s->sum += (uint64_t)weir_packet_export_ns(p);
}

static inline void drain_on_record(void *user, const weir_record *r)
{
    ((drain *)user)->records++;
    drain_record(user, r);
}

static inline void drain_on_options(void *user, const weir_record *r)
{
    ((drain *)user)->options++;
    drain_record(user, r);
}

static inline void drain_on_template(void *user, const weir_packet *p, const weir_template *t,
                                     weir_template_event event)
{
    drain *s = user;
    (void)p;
    (void)event;
    s->templates++;
    for (uint32_t i = 0; i < t->n_fields; i++)
        s->sum += strlen(t->fields[i].element->name);
}

static inline void drain_on_sampling(void *user, const weir_packet *p, uint64_t selector,
                                     const weir_sampling *sampling)
{
    (void)p;
    (void)selector;
    ((drain *)user)->samplings += sampling->rate > 0;
}

static inline void drain_on_fault(void *user, const weir_packet *p, weir_fault fault,
                                  const weir_err *err)
{
    (void)p;
    ((drain *)user)->faults += fault < WEIR_N_FAULT && err->msg[0] != 0;
}

static inline void drain_on_end(void *user, const weir_packet *p, weir_outcome outcome,
                                const weir_err *err)
{
    drain *s = user;
    (void)p;
    (void)err;
    s->ends++;
    s->open -= outcome != WEIR_PACKET_REJECTED;
}

static const weir_handlers drain_handlers = {.begin = drain_on_begin,
                                             .record = drain_on_record,
                                             .options = drain_on_options,
                                             .tmpl = drain_on_template,
                                             .sampling = drain_on_sampling,
                                             .fault = drain_on_fault,
                                             .end = drain_on_end};

/* ---- numbers ---- */

/* xorshift64*: *state is not 0. */
static inline uint64_t hostile_next(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545f4914f6cdd1dULL;
}

static inline uint32_t hostile_below(uint64_t *state, uint32_t n)
{
    return (uint32_t)(hostile_next(state) >> 33) % n;
}

/* One packet of a script, the caller's to free. */
static inline export_packet hostile_packet(const char *script)
{
    export_packet p = {0};
    (void)export_parse_block(script, &p);
    return p;
}

static inline weir_endpoint hostile_from(uint32_t address, uint16_t port)
{
    return (weir_endpoint){
        .family = 4,
        .port = port,
        .addr = {10, (uint8_t)(address >> 16), (uint8_t)(address >> 8), (uint8_t)address}};
}

#endif
