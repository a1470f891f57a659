/* field -- whatever a query can name: a column of the flow schema, an extra column of some files, or a value worked out
 * from others. One list of derived fields; filters, keys, orders and output formats all name fields the same way. */
#ifndef QUERY_FIELD_H
#define QUERY_FIELD_H

#include "base/err.h"
#include "flow/schema.h"

/* What a field's values are in a query. */
enum query_kind {
    QUERY_U64,
    QUERY_S64,
    QUERY_F64,
    QUERY_BOOL,
    QUERY_TIME, /* microseconds since 1970 UTC, signed */
    QUERY_TEXT, /* text, addresses and MACs included: as in the file */
    QUERY_OCTETS,
    QUERY_U64_LIST,
    QUERY_TEXT_LIST,
    QUERY_UNKNOWN /* an extra column that no file has shown yet */
};

/* Derived fields. How each is made of a row's columns; counters are scaled by the sampling rate unless the query is raw.
 *   id, name, kind, unit, what it is (for weir fields) */
#define QUERY_DERIVED_MAP(X)                                                                       \
    X(DURATION, "duration", U64, "ms", "last - first, 0 when last is before first")                \
    X(PPS, "pps", U64, "packets/s", "packets per second of the duration (in)")                     \
    X(BPS, "bps", U64, "bit/s", "bits per second of the duration (in)")                            \
    X(BPP, "bpp", U64, "octets", "octets per packet (in)")                                         \
    X(OUT_BYTES, "out_bytes", U64, "octets", "bytes_rev, else bytes_out: the other direction")     \
    X(OUT_PACKETS, "out_packets", U64, "packets", "packets_rev, else packets_out")                 \
    X(ALL_BYTES, "all_bytes", U64, "octets", "bytes + out_bytes")                                  \
    X(ALL_PACKETS, "all_packets", U64, "packets", "packets + out_packets")                         \
    X(OUT_PPS, "out_pps", U64, "packets/s", "of out_packets")                                      \
    X(OUT_BPS, "out_bps", U64, "bit/s", "of out_bytes")                                            \
    X(OUT_BPP, "out_bpp", U64, "octets", "of out_bytes")                                           \
    X(ALL_PPS, "all_pps", U64, "packets/s", "of all_packets")                                      \
    X(ALL_BPS, "all_bps", U64, "bit/s", "of all_bytes")                                            \
    X(ALL_BPP, "all_bpp", U64, "octets", "of all_bytes")                                           \
    X(N_FLOWS, "n_flows", U64, "flows",                                                            \
      "flows that the record stands for: the column flows, else 1")                                \
    X(SRC_NET, "src_net", TEXT, "",                                                                \
      "src_addr cut to a prefix: of src_mask, or of the given length")                             \
    X(DST_NET, "dst_net", TEXT, "",                                                                \
      "dst_addr cut to a prefix: of dst_mask, or of the given length")                             \
    X(IP_FAMILY, "ip_family", U64, "", "4 or 6, by src_addr, else dst_addr; null without")         \
    X(TIME_BUCKET, "time", TIME, "", "first, rounded down to the given span (--every)")            \
    X(COUNT, "count", U64, "", "number of the record, from 1, as they are read")                   \
    X(MPLS_LABEL, "mpls_label", U64, "", "the n-th MPLS label")                                    \
    X(MPLS_EXP_N, "mpls_exp_n", U64, "", "traffic class of the n-th MPLS label")                   \
    X(ACL_IN_ID, "acl_in_id", U64, "", "n-th 32-bit id of acl_in: 1 ACL, 2 ACE, 3 extended ACE")   \
    X(ACL_OUT_ID, "acl_out_id", U64, "", "n-th 32-bit id of acl_out")                              \
    X(SRC_COUNTRY, "src_country", TEXT, "", "ISO code of src_addr's country (--geo)")              \
    X(DST_COUNTRY, "dst_country", TEXT, "", "ISO code of dst_addr's country (--geo)")              \
    X(SRC_CITY, "src_city", TEXT, "", "city of src_addr (--geo)")                                  \
    X(DST_CITY, "dst_city", TEXT, "", "city of dst_addr (--geo)")                                  \
    X(SRC_AS_NUMBER, "src_as_number", U64, "",                                                     \
      "src_as where it is not 0, else by address (--geo)")                                         \
    X(DST_AS_NUMBER, "dst_as_number", U64, "",                                                     \
      "dst_as where it is not 0, else by address (--geo)")                                         \
    X(SRC_AS_ORG, "src_as_org", TEXT, "", "organisation of src_addr's AS (--geo)")                 \
    X(DST_AS_ORG, "dst_as_org", TEXT, "", "organisation of dst_addr's AS (--geo)")

/* The columns in_if_name, out_if_name, vrf_in_name, vrf_out_name, app_name and sampling_rate are completed from the
 * exporter's options records where the flow itself has none (lookup.h). */

enum query_derived {
#define X(id, name, kind, unit, help) QUERY_D_##id,
    QUERY_DERIVED_MAP(X)
#undef X
        QUERY_N_DERIVED
};

struct query_field {
    enum { QUERY_F_COLUMN, QUERY_F_EXTRA, QUERY_F_DERIVED } what;
    int id; /* enum flow_column_id or enum query_derived; -1 for an extra column */
    const char
        *name; /* stable name in JSON, CSV and Parquet: lives as long as the query (query_arena) */
    uint8_t kind; /* enum query_kind */
    uint8_t bits4,
        bits6;       /* of a network: prefix lengths for IPv4 and IPv6; 255: by the flow's mask */
    uint32_t n;      /* of mpls_label, mpls_exp_n, acl_in_id and acl_out_id: which, from 1 */
    int64_t span_us; /* of time */
};

/* Same field, arguments included. */
bool query_field_same(const struct query_field *a, const struct query_field *b);

/* By name: a column, a derived field, a name of nfdump's ("srcip", "dstport"), else an extra column of that name. kind
 * QUERY_UNKNOWN for the last. */
struct query_field query_field_named(const char *name);
struct query_field query_field_column(enum flow_column_id id);
struct query_field query_field_derived(enum query_derived id);

/* A counter that is multiplied by the sampling rate: bytes, packets and what is made of them. */
bool query_field_scales(const struct query_field *f);

struct query_derived_row {
    const char *name, *unit, *help;
    uint8_t kind;
};
const struct query_derived_row *query_derived_rows(void); /* QUERY_N_DERIVED */

#endif
