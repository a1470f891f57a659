/* wire -- what the files of this room share: the decoder's insides. Nothing outside src/wire includes it.
 *
 *   decoder ──┬── exporters (by address) ──┬── streams (port, version, domain) ──┬── templates (by id)
 *             │                            │                                     ├── sequence tracks (by port)
 *             │                            ├── samplers                          └── waiting sets (by template id)
 *             └── counters                 └── waiting sets (oldest first)
 *
 * Everything hangs below the decoder, is charged to its limits and dies with it. */
#ifndef WIRE_WIRE_H
#define WIRE_WIRE_H

#include "base/err.h"
#include "base/rd.h"
#include "wire/use.h"

#include <weir/decoder.h>

/* ---- lists and tables ---- */

/* A doubly linked list whose nodes live inside what they link. */
typedef struct wire_link {
    struct wire_link *prev, *next;
} wire_link;

static inline void wire_list_init(wire_link *head)
{
    head->prev = head->next = head;
}

static inline void wire_list_remove(wire_link *n)
{
    n->prev->next = n->next;
    n->next->prev = n->prev;
}

static inline void wire_list_append(wire_link *head, wire_link *n)
{
    n->prev = head->prev;
    n->next = head;
    head->prev->next = n;
    head->prev = n;
}

#define WIRE_OF(ptr, type, member) ((type *)((uintptr_t)(ptr)-offsetof(type, member)))

/* ---- templates ---- */

/* How a field's octets are read, from its type and length; kept in weir_field.load. */
enum wire_load {
    WIRE_LOAD_OCTETS,
    WIRE_LOAD_UINT,     /* 1 to 8 octets */
    WIRE_LOAD_UINT_BIG, /* more */
    WIRE_LOAD_SINT,
    WIRE_LOAD_FLOAT32,
    WIRE_LOAD_FLOAT64,
    WIRE_LOAD_BOOL,
    WIRE_LOAD_MAC,
    WIRE_LOAD_TEXT,
    WIRE_LOAD_SECONDS,
    WIRE_LOAD_MILLISECONDS,
    WIRE_LOAD_MICROSECONDS,
    WIRE_LOAD_NANOSECONDS,
    WIRE_LOAD_IPV4,
    WIRE_LOAD_IPV6,
    WIRE_LOAD_LIST,
    WIRE_LOAD_MISFIT /* the length does not fit the type */
};

uint8_t wire_load_of(uint8_t type, size_t len);

/* One field specifier as it stands in a template. */
typedef struct wire_spec {
    uint32_t pen;
    uint16_t id;
    uint16_t len;
    uint8_t space; /* weir_space */
} wire_spec;

/* Where a template's time fields are: indexes into its fields, -1 none. Filled once per template. */
typedef struct wire_times {
    int first, last;    /* of the finest pair the template has, else the finest of each */
    int duration, init; /* 161 or 162; 160 */
    uint8_t first_family, last_family; /* enum wire_family */
    bool duration_us;
} wire_times;

typedef struct wire_template {
    weir_template pub; /* first: a weir_template of ours is a wire_template */
    wire_times times;
    bool samples;       /* has a field that sampling.c looks at */
    bool rates;         /* has one that is a rate */
    uint16_t n_fixed;   /* fields before the first variable one, */
    uint32_t fixed_len; /* which have so many octets */
    bool speaks; /* options that the decoder itself listens to (statistics, flow keys, init time) */
    uint32_t export_s;   /* header time of the definition */
    uint64_t told_by;    /* the packet that said it last, 0: before a restart of the decoder */
    uint64_t digest;     /* of the definition */
    uint64_t before;     /* digest of the definition that this one replaced, 0 none */
    size_t charge;       /* octets counted against max_state_octets */
    weir_field fields[]; /* then the unknown elements, then their names */
} wire_template;

/* ---- what a stream is ---- */

typedef struct wire_gap {
    uint32_t from, to; /* sequence numbers that were skipped: [from, to) */
    bool restored;     /* counted as lost before a restart */
} wire_gap;

enum { WIRE_MAX_GAPS = 16, WIRE_MAX_TRACKS = 8 };

/* What sequence numbers count. */
enum wire_numbering {
    WIRE_STANDARD,      /* what the protocol says: flows (v5, v7), packets (v9), records (IPFIX) */
    WIRE_PACKETS,       /* v5, v7, IPFIX */
    WIRE_FLOWS,         /* v9; IPFIX: without options records */
    WIRE_RECORDS,       /* v9 */
    WIRE_FLOWS_AFTER,   /* flows up to the end of the packet, its own too (softflowd 1.1, IPFIX) */
    WIRE_RECORDS_AFTER, /* the same of all records */
    WIRE_CONVERSATIONS, /* v9: flows in both directions are one; never a track's, but a reason for none */
    WIRE_NUMBERED_NOT, /* no use can be made of them */
    WIRE_N_NUMBERINGS
};

/* A packet, as far as its sequence number is concerned. */
typedef struct wire_heard {
    int64_t silent_ns; /* since the packet before it */
    uint32_t sequence, flows, records;
    bool unsure; /* some of them could not be counted */
} wire_heard;

enum { WIRE_MAX_HELD = 64 };

/* Packets whose numbers another numbering explains and the track's does not: what they say is lost is not counted before
 * it is known which of the two is right. */
typedef struct wire_doubt {
    wire_heard before; /* the packet before the first one */
    uint32_t step;     /* from the last number but one to the last */
    uint8_t n;
    uint8_t alive; /* bit by enum wire_numbering: explains every difference */
    uint8_t odd;   /* differences that the track's numbering does not explain, */
    uint8_t plain; /* that it does too */
    uint8_t score; /* what the odd ones weigh against its being loss */
    uint8_t loose; /* the same for conversations */
    bool strong;   /* one of them can be no loss */
    wire_heard held[WIRE_MAX_HELD];
} wire_doubt;

/* A v9 packet that may be the first one heard of an exporter's new process (its uptime is lower than it was, its number does
 * not go on from the last one): not believed before another one goes on from it. */
typedef struct wire_newcomer {
    uint64_t id, held_id;         /* of that packet; of the first packet that was put aside */
    uint32_t uptime_ms, export_s; /* of its header */
    int64_t received_ns;
    wire_heard heard; /* it, and */
    uint32_t next;    /* the number expected behind it */
    uint8_t against;  /* packets since that were of somebody else; */
    uint8_t n_aside;  /* so many were put aside */
    bool open;        /* there is one */
} wire_newcomer;

/* Packets in a row that make a jump back true; a replay looks so too. */
enum { WIRE_BELIEVE_BACK = 3 };

/* Sequence numbers of one source port of a stream. */
typedef struct wire_track {
    uint16_t port;
    uint8_t numbering; /* enum wire_numbering */
    uint8_t wild;      /* packets in a row whose number stood in no relation to what was expected */
    uint8_t wild_duplicated; /* of those, counted as duplicates, */
    uint8_t wild_unsure;     /* and as unsure */
    uint8_t broken;          /* differences that an odd numbering cannot have */
    uint8_t suspects, score; /* of a doubt that was not settled: alive, score */
    uint8_t
        twins; /* bit by enum wire_numbering: explained all that numbering did when it was found */
    bool started;
    bool heard;               /* last is known */
    bool unsure;              /* the last packet's units could not be counted */
    uint8_t chain;            /* packets that went on from `jump`, 0: no jump pending */
    uint8_t chain_duplicated; /* of those, counted as duplicates */
    uint8_t chain_age;        /* packets since that said nothing about it */
    uint8_t n_gaps;
    bool jump_back; /* it went back */
    bool jump_unsure,
        jump_vague; /* the packet before it could not be counted; it itself could not */
    bool apart_known, before_known;
    uint32_t next;                 /* expected sequence number */
    uint32_t jump;                 /* expected after a jump that is not believed yet */
    uint32_t jump_from, jump_most; /* where it went; so far ahead the exporter can be by now */
    uint32_t early_from, early_to; /* units that came too early to be believed; equal: none */
    uint32_t uptime_ms,
        boot32; /* sysUptime of the last packet that went on; export time in ms minus it, modulo 2^32 */
    uint32_t boot_apart;  /* of another process behind this port: no restart of this one */
    uint32_t boot_before; /* before the last restart, */
    uint32_t restart_s, next_before; /* which was then; the number expected when it came */
    uint8_t n_before;                /* packets of that boot since */
    int64_t restart_ns;              /* its arrival, and */
    uint64_t told_since;             /* the packet before which templates do not hold; 0: all do */
    uint32_t rate;                   /* units a second in the fastest seconds, 0: not known yet */
    int64_t window_ns;               /* since then ... */
    uint64_t window_units;           /* ... so many have come */
    int64_t seen_ns;                 /* of the last packet that took the numbers on */
    wire_newcomer newcomer;
    wire_heard last;   /* the last packet, whatever its number */
    wire_doubt *doubt; /* NULL: none */
    wire_gap gaps[WIRE_MAX_GAPS];
} wire_track;

/* The queue of sets of one stream that wait for one template. */
typedef struct wire_wait_id {
    struct wire_wait_id *next;
    wire_link sets; /* wire_held.by_id, oldest first */
    uint16_t id;
} wire_wait_id;

enum { WIRE_WAIT_BUCKETS = 64 };

typedef struct weir_stream weir_stream;
typedef struct wire_exporter wire_exporter;

enum {
    WIRE_SAID_MESSAGES,
    WIRE_SAID_FLOWS,
    WIRE_SAID_OCTETS,
    WIRE_SAID_IGNORED_PACKETS,
    WIRE_SAID_IGNORED_OCTETS,
    WIRE_SAID_NOT_SENT_FLOWS,
    WIRE_SAID_NOT_SENT_PACKETS,
    WIRE_SAID_NOT_SENT_OCTETS,
    WIRE_N_SAID
};

typedef struct wire_stream_key {
    uint8_t addr[16];
    uint32_t domain;
    uint16_t port; /* 0 under WEIR_SCOPE_ADDRESS over UDP */
    uint16_t version;
    uint8_t family, transport;
    uint8_t zero[2];
} wire_stream_key;

struct weir_stream {
    struct weir_decoder *d;
    wire_exporter *e;
    weir_stream *chain;    /* next in its bucket */
    wire_link lru;         /* decoder->streams, least recently heard first */
    wire_link of_exporter; /* exporter->streams */
    wire_stream_key key;
    uint64_t hash, serial;
    uint16_t port;      /* of the last packet */
    uint32_t uptime_ms; /* of the last packet */
    uint16_t sampling;  /* v5: as the last header has it */
    bool rated;         /* a template of its flows has a field that is a rate */
    int64_t first_ns, last_ns, skew_ns;
    wire_template **slots;         /* open addressing by template id */
    uint32_t n_slots, n_templates; /* n_slots: power of two or 0 */
    uint32_t n_options;            /* of those, options templates */
    wire_track *tracks;
    uint32_t n_tracks, last_track;
    wire_wait_id **waits; /* WIRE_WAIT_BUCKETS or NULL */
    uint32_t n_waiting;   /* sets */
    bool init_known;
    int64_t init_ms; /* systemInitTimeMilliseconds, from options */
    int64_t said[WIRE_N_SAID];
    uint32_t
        learnt_in_call; /* templates learnt since weir_decode began: is there anything to release? */
    weir_counters c;
};

/* A sampling rate learnt from options, of one selector of one domain. */
typedef struct wire_sampler {
    struct wire_sampler *chain;
    uint64_t selector;
    uint32_t domain;
    uint16_t version, port;
    uint8_t kind; /* enum in sampling.c */
    weir_sampling sampling;
    int64_t seen_ns; /* when it was said last */
} wire_sampler;

enum { WIRE_SAMPLER_BUCKETS = 64, WIRE_MAX_SAMPLERS = 4096 };

struct wire_exporter {
    wire_exporter *chain;
    wire_link lru; /* decoder->exporters */
    wire_link streams;
    wire_link waiting;     /* wire_held.by_exporter, oldest first */
    weir_endpoint address; /* port and transport 0 */
    uint64_t hash, serial;
    weir_scope scope;
    bool configured; /* set by the user: never makes room for others */
    unsigned quirks;
    double rate; /* configured, 0: not */
    size_t n_streams, octets_waiting;
    int64_t first_ns, last_ns;
    wire_sampler **samplers; /* WIRE_SAMPLER_BUCKETS or NULL */
    size_t n_samplers;
    size_t n_selective;  /* of those, of a selector, sampler or interface: not of a whole domain */
    size_t n_interfaces; /* of those, of an interface */
    weir_counters c;
};

/* A packet of which sets wait, shared by them. */
typedef struct wire_held_packet {
    weir_packet packet; /* late, data NULL */
    uint32_t n_sets;    /* that still wait */
    bool given_up;      /* one of them was dropped */
} wire_held_packet;

/* One waiting set. */
typedef struct wire_held {
    wire_link by_id, by_exporter, by_age;
    weir_stream *s;
    wire_held_packet *packet;
    wire_wait_id *wait;
    uint32_t len;
    uint8_t body[]; /* without the set header */
} wire_held;

enum { WIRE_RECENT = 64 };

struct weir_decoder {
    weir_decoder_options opt;
    uint64_t seed;
    uint64_t packet_id, serial;
    uint64_t sampling_epoch; /* as wire_sampling_epoch has it */
    wire_exporter **exporter_slots;
    weir_stream **stream_slots;
    size_t n_exporter_slots, n_stream_slots, n_exporters, n_streams;
    wire_link exporters, streams; /* least recently heard first */
    wire_link waiting;            /* wire_held.by_age, oldest first */
    size_t state_octets, waiting_octets;
    /* Those that packets came from, by what WIRE_RECENT slots can tell of their keys: mostly the next come from them too. */
    wire_exporter *recent_exporters[WIRE_RECENT];
    weir_stream *recent_streams[WIRE_RECENT];
    wire_template *fixed[3]; /* v1, v5, v7 */
    wire_spec *specs;        /* scratch of template parsing, n_specs */
    size_t n_specs;
    weir_field *scratch; /* fields of the current variable-length record, n_scratch */
    size_t n_scratch;
    uint32_t list_items; /* left of max_list_items for the list being read */
    weir_counters total;
    /* the call being served */
    const weir_handlers *on;
    void *user;
    uint16_t *ready; /* template ids learnt in this call for which sets wait */
    size_t n_ready, cap_ready;
};

/* Count n for the stream, its exporter and in total. */
#define WIRE_COUNT(s, member, n)                                                                   \
    do {                                                                                           \
        uint64_t count_n_ = (uint64_t)(n);                                                         \
        (s)->c.member += count_n_;                                                                 \
        (s)->e->c.member += count_n_;                                                              \
        (s)->d->total.member += count_n_;                                                          \
    } while (0)
#define WIRE_UNCOUNT(s, member, n)                                                                 \
    do {                                                                                           \
        uint64_t count_n_ = (uint64_t)(n);                                                         \
        (s)->c.member -= count_n_;                                                                 \
        (s)->e->c.member -= count_n_;                                                              \
        (s)->d->total.member -= count_n_;                                                          \
    } while (0)

/* ---- one packet on its way through ---- */

typedef struct wire_pass {
    weir_decoder *d;
    weir_stream *s;
    weir_packet *p;
    wire_held_packet *held; /* made when the first set has to wait */
    uint32_t units;         /* records, for sequence numbers */
    uint32_t flows;         /* of those, flows */
    bool unsure;            /* some could not be counted */
    bool aside;             /* of a process that is not believed in yet: its numbers count later, */
    uint64_t told_since;    /* and templates that were told before that packet are not its own */
    uint64_t told_by;       /* the packet that its templates are from */
} wire_pass;

/* decoder.c */
void wire_fault(wire_pass *w, weir_fault fault, uint64_t at, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Deliver the records of one data set body. at: its offset in the packet, for messages. */
void wire_data_set(wire_pass *w, const wire_template *t, const uint8_t *body, size_t len,
                   uint64_t at);
/* The same by template id; a set whose template nobody knows is put aside. */
void wire_data_set_or_wait(wire_pass *w, uint16_t id, const uint8_t *body, size_t len, uint64_t at);

/* netflow5.c: v1, v5, v7. The header has been read; data[len] is the whole packet. */
enum { WIRE_V1_HEADER = 16, WIRE_V5_HEADER = 24, WIRE_V9_HEADER = 20, WIRE_IPFIX_HEADER = 16 };
size_t wire_fixed_header(uint16_t version);
weir_status wire_fixed_templates(weir_decoder *d);
weir_status wire_netflow5_check(const weir_packet *p, size_t len, weir_err *err);
void wire_netflow5(wire_pass *w, const uint8_t *data, size_t len);

/* Lay out one record of a template with variable fields (RFC 7011 section 7): out[n_fields] get offset, length and
 * load. Returns its octets, or 0 when it runs past p[left]; *short_at is then the field that did. */
size_t wire_layout(const weir_template *t, weir_field *out, const uint8_t *p, size_t left,
                   uint32_t *short_at);

/* Offset in the packet of what r reads next. */
static inline uint64_t wire_place(const uint8_t *data, const base_rd *r)
{
    return (uint64_t)(r->at - data);
}

/* Where the octets of a set that are not all zero end: found once, so that asking after every record is cheap. */
static inline const uint8_t *wire_content_end(const base_rd *r)
{
    const uint8_t *end = r->end;
    while (end > r->at && end[-1] == 0)
        end--;
    return end;
}

/* What is left cannot be a further record: too short for one, or all zero. */
static inline bool wire_padding(const base_rd *r, const uint8_t *content_end)
{
    return base_rd_left(r) < 4 || r->at >= content_end;
}

/* netflow9.c, ipfix.c */
void wire_netflow9(wire_pass *w, const uint8_t *data, size_t len);
weir_status wire_ipfix_check(const uint8_t *data, size_t len, bool skip_bad_templates,
                             weir_err *err);
void wire_ipfix(wire_pass *w, const uint8_t *data, size_t len);

/* template.c */
wire_template *wire_template_find(const weir_stream *s, uint16_t id);
/* Whether it is for data of the process behind this port: what that had said before the packet told_since is of its
 * predecessor. */
static inline bool wire_template_holds(const wire_template *t, uint64_t told_since, uint16_t port)
{
    return t->told_by >= told_since || t->pub.port != port;
}
/* Build a template from specs, charged to nobody yet. NULL: out of memory. */
wire_template *wire_template_build(weir_decoder *d, uint16_t id, bool options,
                                   const wire_spec *specs, uint32_t n, uint32_t n_scope,
                                   uint32_t *n_unknown);
/* Take a definition into the stream, count it, tell the handler. */
void wire_template_learn(wire_pass *w, uint16_t id, bool options, const wire_spec *specs,
                         uint32_t n, uint32_t n_scope, uint64_t at);
/* Of before a restart: kept for a while, for who it is from is not quite sure. */
bool wire_template_outlived(const weir_stream *s, const wire_template *t);
/* What a definition must be, whoever gives it. */
bool wire_template_valid(uint16_t id, const wire_spec *specs, uint32_t n, uint32_t n_scope);
/* The same without a packet, for restored state that is valid and new. */
weir_status wire_template_restore(weir_stream *s, uint16_t id, bool options, const wire_spec *specs,
                                  uint32_t n, uint32_t n_scope, uint16_t port, uint32_t export_s,
                                  int64_t learnt_ns, int64_t seen_ns);
void wire_template_withdraw(wire_pass *w, uint16_t id);
void wire_templates_withdraw_all(wire_pass *w, bool options);
void wire_template_drop(weir_stream *s, wire_template *t); /* take out and free, uncounted */
void wire_templates_free(weir_stream *s);
void wire_templates_expire(weir_stream *s, int64_t now_ns, const weir_packet *p);
void wire_template_ready(weir_stream *s, uint16_t id); /* sets may wait for it, and need not */
wire_spec *wire_specs(weir_decoder *d, size_t n); /* scratch for n specs, NULL: out of memory */

/* stream.c */
weir_status wire_tables_init(weir_decoder *d);
/* The exporter with this address, made when it is new. now_ns: heard then, 0: not heard (settings, restored state).
 * NULL: no room and none is idle, or out of memory; why says which. */
wire_exporter *wire_exporter_get(weir_decoder *d, const weir_endpoint *from, int64_t now_ns,
                                 weir_status *why);
weir_stream *wire_stream_find(const weir_decoder *d, const wire_exporter *e, const weir_packet *p);
weir_stream *wire_stream_get(weir_decoder *d, wire_exporter *e, const weir_packet *p,
                             weir_err *err);
void wire_stream_free(weir_stream *s); /* waiting sets must be gone */
void wire_exporter_free(weir_decoder *d, wire_exporter *e);
/* Count octets against max_state_octets. False: they do not fit; who may evict calls wire_make_room and asks again. */
bool wire_charge(weir_decoder *d, size_t octets);
/* Give up streams idle for idle_s at now_ns, oldest first, until one is gone. False: none was idle. */
bool wire_make_room(weir_decoder *d, const wire_exporter *of, int64_t now_ns,
                    const weir_stream *keep);

/* waiting.c */
bool wire_hold(wire_pass *w, uint16_t id, const uint8_t *body, size_t len);
void wire_release_own(wire_pass *w); /* before end: sets of this very packet whose template came */
void wire_release_ready(weir_stream *s); /* after end: sets of earlier packets */
/* After this packet, decode what waits of packets from id on and has a template that was told since. */
void wire_waiting_recheck(weir_stream *s, uint64_t id, uint64_t told_since);
void wire_waiting_expire(weir_decoder *d, int64_t now_ns);
void wire_waiting_drop_stream(weir_stream *s); /* gives all of them up, with calls */
void wire_waiting_drop_all(weir_decoder *d, bool silent);

/* time.c */
void wire_times_plan(wire_template *t);
int64_t wire_era_s(uint32_t seconds, int64_t near_s);
int64_t wire_reference_s(const weir_packet *p); /* arrival, or export time where that is unknown */

/* sampling.c */
bool wire_sampling_rate_field(const weir_element *e);
void wire_sampling_learn(wire_pass *w, const weir_record *r);
void wire_samplers_free(weir_decoder *d, wire_exporter *e);
/* The row of its domain and selector, made when it is new; else the one seen last stays. */
weir_status wire_sampler_restore(wire_exporter *e, weir_decoder *d, const wire_sampler *row);
/* What is known for all or most of a stream's records, origin UNKNOWN: nothing. */
weir_sampling wire_sampling_of_stream(const weir_stream *s);

/* sequence.c */
void wire_sequence(wire_pass *w);
void wire_sequence_finish(weir_stream *s); /* nothing more will come: give up all doubts */
void wire_tracks_free(weir_stream *s);
/* Take a restored track into the stream; q->n 0: without a doubt. False: no room. */
bool wire_track_restore(weir_stream *s, const wire_track *track, const wire_doubt *q);
const char *wire_numbering_text(uint8_t numbering);
const char *wire_numbering_unit(uint8_t numbering, uint16_t version);
/* Is this v9 packet of the process that is known? Before its sets are read. */
void wire_restart_watch(wire_pass *w);
wire_track *wire_track_of(weir_stream *s, uint16_t port, uint32_t sequence);

#endif
