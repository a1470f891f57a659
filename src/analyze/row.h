/* row -- a flow as a row of values, from an archive or any other table, made into what the analysis keeps of a flow.
 * Knows nothing of files: the caller has the values.
 *
 * Where lines of a collector carry what the exporter sent, rows carry what was made of it: times since 1970. Uptimes of
 * NetFlow v1 to v9 are counted in milliseconds since then instead of since the exporter's start
 * (FLOW_TIME_EPOCH_MS), so that flows of one exporter are found by the same rules as in lines. */
#ifndef ANALYZE_ROW_H
#define ANALYZE_ROW_H

#include "analyze/entry.h"

struct row {
    uint8_t version;           /* 1, 5, 7, 9, or 10 for IPFIX */
    int64_t received_us;       /* arrival of its packet, since 1970-01-01 UTC */
    uint32_t domain;           /* of its packet */
    uint32_t packet;           /* which of those that came from one exporter in one microsecond */
    int64_t first_us, last_us; /* since 1970-01-01 UTC */
    bool has_first, has_last;
    const char *exporter, *src, *dst; /* addresses as text, borrowed; NULL: none */
    size_t exporter_len, src_len, dst_len;
    uint64_t octets, packets, octets_back, packets_back; /* back: of the way back, else 0 */
    uint16_t src_port, dst_port;
    uint8_t proto;
};

/* The entry of one row: *e with one flow, or two when the row counts both ways, in flows[2], which e borrows; none and
 * n_no_address 1 when it has no pair of addresses, none when `only` is neither of them. Its key sorts rows by arrival, then by packet, then
 * by start, and begins with the arrival in seconds and a space. */
void row_entry(const struct row *r, const struct entry_host *only, struct flow flows[2],
               struct entry *e);

/* Octets of the key that are the arrival; those of lines have nothing behind it. */
size_t row_key_time_len(const char *key, size_t len);

#endif
