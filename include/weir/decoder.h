/* decoder -- export packets in, records out: NetFlow v1, v5, v7, v9 and IPFIX.
 *
 * A decoder owns what exporters have said so far: templates, sampling, sequence numbers, data that waits for
 * its template. Everything a peer can make it keep has a limit, a rule for what goes and a counter. One thread
 * at a time per decoder; any number of decoders. The library never prints, exits or keeps mutable globals.
 *
 *     static void flow(void *user, const weir_record *r) { ... }
 *
 *     weir_decoder *d = weir_decoder_new(NULL, NULL);
 *     const weir_handlers on = {.record = flow};
 *     weir_decode(d, &from, now_ns, datagram, len, &on, NULL, &err);
 *     weir_decoder_free(d);
 */
#ifndef WEIR_DECODER_H
#define WEIR_DECODER_H

#include <weir/record.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weir_decoder weir_decoder;

/* Whose templates are whose, over UDP (RFC 7011 section 8.4 and what exporters really do). */
typedef enum weir_scope {
    WEIR_SCOPE_ADDRESS, /* exporter address + domain */
    WEIR_SCOPE_PORT     /* exporter address + source port + domain */
} weir_scope;

/* Known misbehaviour of an exporter, switched on for it by weir_decoder_set_quirks. The rows of
 * registry/quirks.tsv name them. */
enum {
    WEIR_QUIRK_UPTIME_SECONDS = 1, /* v9 sysUptime, FIRST_SWITCHED and LAST_SWITCHED are seconds */
    WEIR_QUIRK_EXPORT_TIME_FIXED =
        2, /* the header's clock stands still: arrival time is used instead */
    WEIR_QUIRK_RECORD_TIME_BROKEN = 4, /* record times mean nothing: export time is used instead */
    WEIR_QUIRK_SKIP_BAD_TEMPLATES = 8 /* IPFIX: a template running past its set spoils no message */
};

/* 0 or NULL in any member means its default. */
typedef struct weir_decoder_options {
    const weir_elements *elements; /* borrowed, outlives the decoder; default: the built-in rows */
    weir_scope scope;              /* default WEIR_SCOPE_ADDRESS */
    size_t max_exporters;          /* addresses; default 16384 */
    size_t max_streams; /* domains (times ports, under WEIR_SCOPE_PORT) of all exporters; 65536 */
    size_t max_exporter_streams; /* the same for one exporter; 1024 */
    size_t max_templates;        /* of one stream; 4096 */
    size_t max_fields;           /* of one template; 16384 */
    size_t max_state_octets;     /* templates, streams and samplers of all exporters; 256 MiB */
    size_t max_waiting_octets;   /* waiting data of one exporter; 4 MiB */
    size_t max_waiting_total;    /* waiting data of all exporters; 256 MiB */
    uint32_t waiting_s;          /* how long data waits; 3600 */
    uint32_t template_life_s;    /* UDP templates not repeated this long are forgotten; 0: never */
    uint32_t idle_s;         /* at a limit, streams idle this long make room for new ones; 600 */
    uint32_t max_depth;      /* lists within lists; 8 */
    uint32_t max_list_items; /* list items one field of a record may give; 65536 */
} weir_decoder_options;

/* Why a packet was rejected as a whole. One list makes the enum and its texts. */
#define WEIR_REJECT_MAP(X)                                                                         \
    X(VERSION, "unknown-version") /* first two octets are not 1, 5, 7, 9 or 10 */                  \
    X(HEADER, "short-header")     /* shorter than its version's header */                          \
    X(LENGTH, "message-length")   /* IPFIX length below 16 or not that of the datagram */          \
    X(SET, "set-bounds")          /* IPFIX set runs past the message or is below 4 octets */       \
    X(COUNT, "record-count")      /* v1, v5, v7: no whole record although some were announced */   \
    X(STATE, "state-limit")       /* no room for another exporter or domain */                     \
    X(MEMORY, "out-of-memory")

typedef enum weir_reject {
#define X(name, text) WEIR_REJECT_##name,
    WEIR_REJECT_MAP(X)
#undef X
        WEIR_N_REJECT
} weir_reject;

/* Why a part of a packet was rejected while the rest was delivered. */
#define WEIR_FAULT_MAP(X)                                                                          \
    X(SET_BOUNDS, "set-bounds")         /* v9: flow set longer than the rest or below 4 octets */  \
    X(SET_RESERVED, "reserved-set")     /* set id without meaning, skipped */                      \
    X(TEMPLATE, "template-malformed")   /* cut short, bad id, bad counts, zero-length records */   \
    X(TEMPLATE_LIMIT, "template-limit") /* too many templates, fields or octets */                 \
    X(RECORD, "record-truncated")       /* record runs past its set or its packet */               \
    X(MEMORY, "out-of-memory")

typedef enum weir_fault {
#define X(name, text) WEIR_FAULT_##name,
    WEIR_FAULT_MAP(X)
#undef X
        WEIR_N_FAULT
} weir_fault;

/* What was counted, per stream, exporter or in total. At every moment, for each of them:
 *   packets = decoded + waiting + expired + sum of rejected[]
 *   records = flows + options + records_rejected
 * A packet with several sets waits while one of them waits, and is expired when one of them had to be given up. */
#define WEIR_COUNTERS_MAP(X)                                                                        \
    X(packets)             /* fed to weir_decode (messages, where a datagram holds several) */      \
    X(octets)              /* of those */                                                           \
    X(decoded)             /* packets with all sets decoded or rejected */                          \
    X(waiting)             /* packets with a set that waits for its template, now */                \
    X(expired)             /* packets with a set whose template never came */                       \
    X(records)             /* data records seen in decoded sets */                                  \
    X(flows)               /* of those, delivered to .record */                                     \
    X(options)             /* of those, delivered to .options */                                    \
    X(records_rejected)    /* of those, cut short */                                                \
    X(sets_waiting)        /* now */                                                                \
    X(octets_waiting)      /* now */                                                                \
    X(sets_late)           /* sets that waited and were decoded */                                  \
    X(sets_expired)        /* sets that waited too long */                                          \
    X(sets_overflowed)     /* sets given up because a waiting limit was reached */                  \
    X(templates)           /* in force, now */                                                      \
    X(templates_learnt)    /* first definitions */                                                  \
    X(templates_changed)   /* different re-definitions */                                           \
    X(templates_refreshed) /* identical re-definitions */                                           \
    X(templates_expired)   /* forgotten after template_life_s or to make room */                    \
    X(withdrawn)           /* templates withdrawn */                                                \
    X(withdrawals_ignored) /* withdrawals over UDP or of templates nobody knows */                  \
    X(conflicts)           /* one id, two definitions that alternate from different ports */        \
    X(older_than_template) /* data exported before the definition that was in force when it came */ \
    X(padding_ambiguous)   /* sets of records so short that padding looks like a record */          \
    X(values_bad)          /* values that did not fit their type, among those weir looked at */     \
    X(elements_unknown)    /* fields in learnt templates that no registry knows */                  \
    X(sequence_lost)       /* in weir_stream_info.sequence_unit */                                  \
    X(sequence_recovered)  /* of those counted as lost before a restart: came after it */           \
    X(sequence_duplicated)                                                                          \
    X(sequence_out_of_order)                                                                        \
    X(sequence_resets) /* restarts of the exporter and jumps too large to be loss */                \
    X(sequence_unsure) /* gaps of unknown size, jumps of one packet, numbers that mean nothing */   \
    X(restarts)        /* v9: uptime and numbers began anew: templates of before are dropped */     \
    X(quirky)          /* packets read with a quirk */

typedef struct weir_counters {
#define X(name) uint64_t name;
    WEIR_COUNTERS_MAP(X)
#undef X
    uint64_t rejected[WEIR_N_REJECT]; /* packets */
    uint64_t faults[WEIR_N_FAULT];    /* sets, templates or records */
} weir_counters;

typedef enum weir_template_event {
    WEIR_TEMPLATE_LEARNT,
    WEIR_TEMPLATE_CHANGED,
    WEIR_TEMPLATE_REFRESHED,
    WEIR_TEMPLATE_WITHDRAWN, /* the template is still readable during the call */
    WEIR_TEMPLATE_EXPIRED,
    WEIR_TEMPLATE_CONFLICT /* follows WEIR_TEMPLATE_CHANGED */
} weir_template_event;

typedef enum weir_outcome {
    WEIR_PACKET_DECODED,
    WEIR_PACKET_WAITING, /* more calls for this packet's id will follow */
    WEIR_PACKET_EXPIRED, /* some of it could not be decoded */
    WEIR_PACKET_REJECTED
} weir_outcome;

/* What a decoder calls, all during weir_decode, weir_decoder_tick or weir_decoder_finish; NULL members are
 * skipped. For one packet: begin, then any of record, options, tmpl, sampling, fault in wire order,
 * then end. A rejected packet gets only end, with the reason in err.
 *
 * A packet with a set whose template is not known ends as WAITING. When the template comes, after the end of the packet
 * that brought it, each waiting set gets its own begin ... end (packet->late, same id), in order of arrival; the last of
 * them says DECODED or EXPIRED. So do sets of a v9 packet that may be the first of a restarted exporter, until another packet
 * says whether it is: the templates that are known may be of before. Between begin and end of one packet, begin and end of others may come whose waiting data
 * had to be given up to make room. Handlers must not call the decoder that calls them. */
typedef struct weir_handlers {
    void (*begin)(void *user, const weir_packet *p);
    void (*record)(void *user, const weir_record *r);
    /* When set, takes the place of .record for the records of a set whose template has no variable field: n records, the
     * next one always first->len octets behind. For reading a field at a time over all of them. */
    void (*records)(void *user, const weir_record *first, size_t n);
    void (*options)(void *user, const weir_record *r);
    /* When weir_decoder_tick finds that a template has expired, no packet says so: p then has id 0 and tells
     * the exporter, version and domain alone. Templates that go with their whole stream (to make room) or with
     * a v9 exporter's restart go without a call. */
    void (*tmpl)(void *user, const weir_packet *p, const weir_template *t,
                 weir_template_event event);
    /* A rate that was not known before, or another one than before: applies to the domain's records,
     * also to those delivered without a rate. selector: selectorId, samplerId or ifIndex; 0 the domain. */
    void (*sampling)(void *user, const weir_packet *p, uint64_t selector, const weir_sampling *s);
    void (*fault)(void *user, const weir_packet *p, weir_fault fault, const weir_err *err);
    void (*end)(void *user, const weir_packet *p, weir_outcome outcome, const weir_err *err);
} weir_handlers;

/* A decoder with these options (NULL: all defaults). NULL: out of memory or an option outside its range,
 * err says which. Free with weir_decoder_free (takes NULL), which drops what still waits without a call. */
WEIR_API weir_decoder *weir_decoder_new(const weir_decoder_options *options, weir_err *err);
WEIR_API void weir_decoder_free(weir_decoder *d);

/* Decode one datagram (WEIR_UDP) or message.
 *   from         who sent it; copied
 *   received_ns  arrival, ns since 1970 UTC, at most 2^62 (2116); the only clock the decoder knows
 *   data[len]    borrowed during the call; what has to wait is copied
 *   on, user     handlers, may be NULL to only learn and count
 * WEIR_OK also when parts were skipped (see .fault and the counters); WEIR_EVERSION, WEIR_ETRUNC,
 * WEIR_EFORMAT, WEIR_ELIMIT, WEIR_ENOMEM: rejected as a whole, nothing learnt from it. A datagram made of whole
 * IPFIX messages is decoded message by message, each a packet of its own; the status is the last bad one's. */
WEIR_API weir_status weir_decode(weir_decoder *d, const weir_endpoint *from, int64_t received_ns,
                                 const uint8_t *data, size_t len, const weir_handlers *on,
                                 void *user, weir_err *err);

/* Let time pass: expires waiting data and templates. Call about once a second; weir_decode never needs it for
 * its limits. */
WEIR_API void weir_decoder_tick(weir_decoder *d, int64_t now_ns, const weir_handlers *on,
                                void *user);

/* Give up all that waits, in order of arrival: each packet gets its last end (EXPIRED). For the end of the input. */
WEIR_API void weir_decoder_finish(weir_decoder *d, const weir_handlers *on, void *user);

/* Settings of one exporter, by address (port is ignored); they may come before its first packet.
 * rate 0: no longer set. WEIR_ELIMIT: no room (max_exporters, max_state_octets); WEIR_ENOMEM. */
WEIR_API weir_status weir_decoder_set_scope(weir_decoder *d, const weir_endpoint *exporter,
                                            weir_scope scope);
WEIR_API weir_status weir_decoder_set_sampling(weir_decoder *d, const weir_endpoint *exporter,
                                               double rate);
WEIR_API weir_status weir_decoder_set_quirks(weir_decoder *d, const weir_endpoint *exporter,
                                             unsigned quirks);

/* The bit of a quirk's name in registry/quirks.tsv ("uptime-seconds"), 0: no such quirk. */
WEIR_API unsigned weir_quirk_by_name(const char *name);
/* All names, "uptime-seconds, ...": static. */
WEIR_API const char *weir_quirk_names(void);

/* Totals since weir_decoder_new; values of exporters that had to make room stay in them. Borrowed. */
WEIR_API const weir_counters *weir_decoder_counters(const weir_decoder *d);

/* One exporter or one of its streams. Pointers are borrowed and live until the next weir_decode. */
typedef struct weir_exporter_info {
    weir_endpoint address; /* port 0 */
    weir_scope scope; /* PORT: each port is a stream of its own, and weir_stream_info.port is it */
    unsigned quirks;
    size_t n_streams;
    int64_t first_ns, last_ns; /* arrival of its first and last packet */
    const weir_counters *counters;
    const void *handle; /* for weir_stream_next */
    uint64_t serial;    /* never given twice: the address may come back after it had to make room */
} weir_exporter_info;

typedef struct weir_stream_info {
    uint16_t version; /* 1, 5, 7, 9, 10 */
    uint16_t port;    /* of the last packet */
    uint32_t domain;
    int64_t first_ns, last_ns;
    int64_t clock_skew_ns; /* export time minus arrival of the last packet */
    uint32_t uptime_ms;    /* sysUptime of the last packet; IPFIX has none: 0 */
    /* Of all its records, as far as it is known: configured, options of the domain or of selectors that agree, the last v5
     * header. Origin RECORD with rate 0: each record has its own. UNKNOWN: nothing learnt. */
    weir_sampling sampling;
    /* What the sequence numbers of the port of the last packet count, found from the numbers themselves: "flows", "packets",
     * "records", "none" where no use can be made of them, "" (v1). Then how: "standard", as the protocol says; "packets",
     * "flows", "records" instead of that; "flows-after", "records-after": up to the end of the packet; "none". */
    const char *sequence_unit, *sequence_numbering;
    const weir_counters *counters;
    /* What the exporter says of itself (RFC 7011 sections 4.1 to 4.3), -1: has not said. IE 41, 42, 40, 164,
     * 165, 166, 167, 168. */
    int64_t exported_messages, exported_flows, exported_octets;
    int64_t ignored_packets, ignored_octets;
    int64_t not_sent_flows, not_sent_packets, not_sent_octets;
    const void *handle; /* for weir_template_next */
    uint64_t serial;    /* never given twice, as that of an exporter */
} weir_stream_info;

/* Iterate: *cursor = 0 first; WEIR_END (weir_template_next: NULL) after the last. Not across a weir_decode. */
WEIR_API weir_status weir_exporter_next(const weir_decoder *d, size_t *cursor,
                                        weir_exporter_info *out);
WEIR_API weir_status weir_stream_next(const weir_decoder *d, const void *exporter, size_t *cursor,
                                      weir_stream_info *out);
WEIR_API const weir_template *weir_template_next(const void *stream, size_t *cursor);

/* What sequence numbers should count: "flows" (v5, v7), "packets" (v9), "records" (IPFIX), "" (v1 has none). What they do
 * count is weir_stream_info.sequence_unit. */
WEIR_API const char *weir_sequence_unit(uint16_t version);

WEIR_API const char *weir_reject_text(weir_reject r);
WEIR_API const char *weir_fault_text(weir_fault f);
WEIR_API const char *weir_outcome_text(weir_outcome o);

/* All that should outlive a restart (templates, sampling, sequence numbers; not counters, not waiting data) as
 * octets: *out is malloc'ed, the caller's to free. The form is versioned and checksummed. */
WEIR_API weir_status weir_decoder_save(const weir_decoder *d, uint8_t **out, size_t *len,
                                       weir_err *err);

/* Of that only where each stream stands (sequence numbers, no templates): small enough to be saved every second. */
WEIR_API weir_status weir_decoder_save_positions(const weir_decoder *d, uint8_t **out, size_t *len,
                                                 weir_err *err);

/* The other part: all but where each stream stands, which what is loaded beside it tells, also if that is older. For who
 * keeps positions with the records that they were counted with. */
WEIR_API weir_status weir_decoder_save_templates(const weir_decoder *d, uint8_t **out, size_t *len,
                                                 weir_err *err);

/* Take back what weir_decoder_save, weir_decoder_save_positions or weir_decoder_save_templates gave, into a decoder that
 * has seen no packet yet. Several may be loaded one after the other (those of several decoders, positions), in any order:
 * of one stream, template or sampler, what was heard last stays. Units that were sent while nobody listened are then counted as lost, exactly: up
 * to 16384 packets (v9), 262144 records or flows a second of the pause; what is further ahead is a reset.
 * Limits of d apply: what has no room is learnt again. WEIR_EFORMAT damaged or of another version, WEIR_EINVAL packets
 * have been seen: d is as before. WEIR_ENOMEM: a part was loaded, which can be worked with. */
WEIR_API weir_status weir_decoder_load(weir_decoder *d, const uint8_t *data, size_t len,
                                       weir_err *err);
/* The same for those exporters alone that keep (NULL: all) says true of; their port is 0. */
WEIR_API weir_status weir_decoder_load_some(weir_decoder *d, const uint8_t *data, size_t len,
                                            bool (*keep)(void *user, const weir_endpoint *exporter),
                                            void *user, weir_err *err);

#ifdef __cplusplus
}
#endif
#endif
