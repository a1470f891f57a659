/* lookup -- what flows do not say themselves: names from the options records of their exporter (interfaces, VRFs,
 * applications), sampling rates that were told apart from the flows, countries and organisations of addresses. Filled once before a
 * query, then read by any thread. */
#ifndef QUERY_LOOKUP_H
#define QUERY_LOOKUP_H

#include "query/expr.h"

typedef struct query_lookup query_lookup;

query_lookup *query_lookup_new(void);    /* NULL: out of memory */
void query_lookup_free(query_lookup *l); /* takes NULL */

/* A MaxMind-format database (country, city or ASN, told by its metadata); up to 4. WEIR_EIO; WEIR_EFORMAT. */
weir_status query_lookup_geo(query_lookup *l, const char *path, weir_err *err);

/* Read the options records of these archives (paths that are no archives are passed over). Bounded: at most 1M names. */
weir_status query_lookup_options(query_lookup *l, const char *const *paths, size_t n,
                                 weir_err *err);
/* Read rows [from, end) of one file of options records: for those who go on behind what they have read. Names and rates of later
 * records replace earlier ones, in whatever order they are read. Texts that were borrowed are not valid any more. WEIR_EFORMAT,
 * WEIR_EIO: of the file; WEIR_ENOMEM. */
struct parquet_file;
weir_status query_lookup_rows(query_lookup *l, const struct parquet_file *f, uint64_t from,
                              weir_err *err);

/* Is there anything of the kind at all? For plans that can then leave it out. */
enum query_lookup_what {
    QUERY_LOOKUP_IF,
    QUERY_LOOKUP_VRF,
    QUERY_LOOKUP_APP,
    QUERY_LOOKUP_RATE,
    QUERY_LOOKUP_GEO,
    QUERY_LOOKUP_ASN
};
bool query_lookup_has(const query_lookup *l, enum query_lookup_what what);

/* NULL: unknown. exporter and addresses as text, as they stand in the files. Borrowed from l. */
const char *query_lookup_interface(const query_lookup *l, const char *exporter, size_t len,
                                   uint32_t index);
const char *query_lookup_vrf(const query_lookup *l, const char *exporter, size_t len, uint32_t vrf);
const char *query_lookup_app(const query_lookup *l, const char *exporter, size_t len,
                             const uint8_t *id, size_t id_len);
/* 0: unknown. has_sampler: the flow names its sampler. */
double query_lookup_rate(const query_lookup *l, const char *exporter, size_t len, uint32_t domain,
                         bool has_sampler, uint64_t sampler);
/* A rate that was told of an interface alone, for flows that come in there and that query_lookup_rate has none for. */
double query_lookup_rate_interface(const query_lookup *l, const char *exporter, size_t len,
                                   uint32_t domain, uint32_t index);

/* Of an address as text. out[cap] takes the text (no NUL), 0: unknown. */
size_t query_lookup_country(const query_lookup *l, const char *addr, size_t len, char *out,
                            size_t cap);
size_t query_lookup_city(const query_lookup *l, const char *addr, size_t len, char *out,
                         size_t cap);
size_t query_lookup_as_org(const query_lookup *l, const char *addr, size_t len, char *out,
                           size_t cap);
uint32_t query_lookup_as(const query_lookup *l, const char *addr, size_t len); /* 0: unknown */

#endif
