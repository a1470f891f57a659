/* use -- what the room flow has to know beyond the public headers, so that it can read many records of a template at once
 * as weir_record_times and weir_record_sampling read one. */
#ifndef WIRE_USE_H
#define WIRE_USE_H

#include <weir/record.h>

/* libweir exports these for libweir-archive, under names that are no part of the API, tied to one version of weir by
 * libweir.map.in. */
#define WIRE_SHARED(name) __asm__("weir_private_" #name) __attribute__((visibility("default")))

/* A template that stays when the decoder forgets its own: records without a stream can be read by it. In one piece, to be
 * freed by free(); its octets are added to *octets. NULL: out of memory. */
weir_template *wire_template_copy(const weir_template *t, size_t *octets)
    WIRE_SHARED(template_copy);

/* Ways to say a moment, finest first: the order in which a pair is chosen. */
enum wire_family {
    WIRE_FAMILY_NANOSECONDS,
    WIRE_FAMILY_MICROSECONDS,
    WIRE_FAMILY_MILLISECONDS,
    WIRE_FAMILY_DELTA,  /* microseconds before the export time */
    WIRE_FAMILY_UPTIME, /* milliseconds of sysUptime */
    WIRE_FAMILY_SECONDS,
    WIRE_FAMILY_OBSERVATION, /* of a packet or an event: both ends at once */
    WIRE_N_FAMILIES
};

/* The fields that weir_record_times reads in records of this template: indexes into its fields, -1: none. */
struct wire_time_fields {
    int first, last;
    uint8_t first_family, last_family; /* enum wire_family */
};
struct wire_time_fields wire_time_fields(const weir_template *t) WIRE_SHARED(time_fields);

/* True: no quirk of this exporter changes how times are read. */
bool wire_times_plain(const weir_record *r) WIRE_SHARED(times_plain);

/* Sysuptime values of one day ahead of the header's are the future, others are the past. */
enum { WIRE_AHEAD_MS = 86400000 };

/* Whether weir_record_sampling looks at such a field: records that agree in all of them have one rate. */
bool wire_sampling_field(const weir_element *e) WIRE_SHARED(sampling_field);
/* All records of this packet and template have one rate. */
bool wire_sampling_uniform(const weir_record *r) WIRE_SHARED(sampling_uniform);
/* Whether such a field can make a difference to records of this exporter, by what it has said up to now. */
bool wire_sampling_decides(const weir_record *r, const weir_element *e)
    WIRE_SHARED(sampling_decides);
/* A number that is another one whenever records of the same stream and template, under the same weir_packet.sampling, may
 * have another rate than before. */
uint64_t wire_sampling_epoch(const weir_record *r) WIRE_SHARED(sampling_epoch);

#endif
