/* entry -- one line of a collector's file, {"<ts>": {"client": [ip, port], "header": {...}, "flows": [{...}]}},
 * read into the few values of each flow that the analysis needs. Knows the names that NetFlow v1, v5, v7 and v9
 * and IPFIX have in such files; what a flow holds besides is checked as JSON and passed over. */
#ifndef ANALYZE_ENTRY_H
#define ANALYZE_ENTRY_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What first and last count. */
enum flow_time {
    FLOW_TIME_NONE,      /* the record has no time; both are 0 */
    FLOW_TIME_UPTIME_MS, /* milliseconds since the exporter started; wraps at 2^32 in most protocols */
    FLOW_TIME_EPOCH_NS, /* nanoseconds since 1970-01-01 UTC */
    FLOW_TIME_EPOCH_MS  /* an uptime that was made into milliseconds since 1970-01-01 UTC (row.h) */
};

/* Which flows may be compared with which. */
enum flow_kind {
    FLOW_KIND_V9, /* v9 and whatever else names its fields so: paired as netflow.analyzer does */
    FLOW_KIND_V5, /* v1, v5, v7 */
    FLOW_KIND_IPFIX
};

#define FLOW_START_UNKNOWN INT64_MIN

/* Fixed size and without pointers: it goes to temporary files as it is. */
struct flow {
    uint8_t src[16], dst[16]; /* an IPv4 address in the first four, zeroes behind it */
    uint64_t first, last;     /* as enum flow_time */
    uint64_t octets, packets; /* what exceeds 64 bits is held at UINT64_MAX */
    int64_t start_ms;         /* first in milliseconds since 1970-01-01 UTC; FLOW_START_UNKNOWN */
    uint32_t exporter;        /* hash of its address as it stands in "client" */
    uint16_t src_port, dst_port;
    uint8_t proto, family; /* family: 4 or 6 */
    uint8_t time, kind;    /* enum flow_time, enum flow_kind */
};

enum { ENTRY_KEY_MAX = 63 };

struct entry {
    char key[ENTRY_KEY_MAX + 1]; /* arrival time as it stands in the line, "1585000000.25" */
    size_t key_len;
    double time;         /* key as a number: seconds since 1970-01-01 UTC */
    enum flow_kind kind; /* of all flows */
    struct flow
        *flows; /* flows[n_flows], by first, equal ones in the order of the line; the parser's */
    size_t n_flows;
    size_t
        n_no_address; /* records left out because they have no pair of addresses (options, counters) */
};

struct entry_host {
    uint8_t addr[16], family; /* family 0: none */
};

typedef struct entry_parser entry_parser;

/* both_families: a v9 record with IPv4 and IPv6 addresses uses those that IP_PROTOCOL_VERSION names; otherwise
 * IPv4, as netflow.analyzer does. only: keep only flows to or from this host. NULL: out of memory. */
entry_parser *entry_parser_new(bool both_families, struct entry_host only);
void entry_parser_free(entry_parser *p);

/* line[len] must be '\n'. WEIR_OK with *e, whose flows live until the next call; WEIR_EFORMAT with err->at, the
 * octet in the line, 0-based; WEIR_ENOMEM. */
weir_status entry_parse(entry_parser *p, const char *line, size_t len, struct entry *e,
                        weir_err *err);

/* Text of an IPv4 or IPv6 address into addr and family; false: neither. len need not be right behind a NUL. */
bool entry_address(const char *text, size_t len, uint8_t addr[16], uint8_t *family);

/* False: key is no number that names a second of the years 1 to 9999. */
bool entry_key_time(const char *key, size_t len, double *time);

#endif
