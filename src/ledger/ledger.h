/* ledger -- reading the loss ledger of an archive: what was received and what was not, for each exporter, domain and
 * minute. account.h makes the rows, complete.h says from them how complete an answer is, exporters.h what each exporter did,
 * findings.h what is wrong with it. registry/ledger-columns.tsv is the list of columns and how rows of one key fold. */
#ifndef LEDGER_LEDGER_H
#define LEDGER_LEDGER_H

#include "base/err.h"
#include "flow/batch.h"

/* A value; which member is right follows from the column's type. Text (the sampling source) is one of static strings. */
union ledger_value {
    uint64_t u64;
    int64_t s64;
    double f64;
    const char *text;
};

enum { LEDGER_WORDS = (FLOW_N_LEDGER_COLUMNS + 63) / 64 };

/* One row, or several that were folded. The key columns are in front as well, as people want them. */
struct ledger_row {
    int64_t minute_us;                  /* since 1970 */
    uint8_t exporter[16], exporter_len; /* 4, 16; 0: the collector itself */
    uint16_t exporter_port;             /* 0: not told apart */
    uint32_t domain;
    bool has_domain;
    uint8_t version; /* 0: not known */
    uint16_t worker;
    uint64_t has[LEDGER_WORDS]; /* bit i: values[i] is there */
    union ledger_value values[FLOW_N_LEDGER_COLUMNS];
};

static inline bool ledger_has(const struct ledger_row *r, enum flow_ledger_id c)
{
    return r->has[c / 64] >> c % 64 & 1;
}

/* A count, 0 where there is none. */
static inline uint64_t ledger_count(const struct ledger_row *r, enum flow_ledger_id c)
{
    return ledger_has(r, c) ? r->values[c].u64 : 0;
}

/* The same of a column that may be below 0. */
static inline int64_t ledger_signed(const struct ledger_row *r, enum flow_ledger_id c)
{
    return ledger_has(r, c) ? r->values[c].s64 : 0;
}

/* Fold src into dst, as the columns' folds say; keys of dst stay. src was written after dst. */
void ledger_fold(struct ledger_row *dst, const struct ledger_row *src);

/* The rows of one or more archives whose minute overlaps [from_us, to_us], partition by partition, those of one partition
 * folded by minute and key (workers folded together unless by_worker) and in order of minute, then exporter, port, domain,
 * version. Of an archive that is written now, the minutes that its workers count now come as one more partition: they are in
 * the checkpoints beside it (checkpoint.h), about a second old. A plain directory or file has no ledger: no rows. each: false ends it.
 * A partition that takes more than max_octets (hostile, or some hundred thousand streams) comes in pieces, each folded and in
 * order by itself. Values that do not fit their column are null, and so are columns that a file has not.
 * WEIR_OK; WEIR_EIO, WEIR_EFORMAT: a file could not be read, the others were (err names the first); WEIR_ENOMEM. */
struct ledger_range {
    int64_t from_us, to_us; /* INT64_MIN, INT64_MAX: all */
    bool by_worker;
    const uint64_t *columns; /* LEDGER_WORDS words, bit i: read column i too; NULL: all */
    size_t max_octets;       /* of a partition, folded; 0: 256 MiB */
    /* Only rows that were stored more than an hour behind to_us, which are otherwise left out: a collector that was killed has
     * its last minutes stored by the next one, whenever that is. Not those of checkpoints. */
    bool late;
};
typedef bool ledger_each_fn(void *user, const struct ledger_row *row);
weir_status ledger_each(const char *const *paths, size_t n_paths, const struct ledger_range *range,
                        ledger_each_fn *each, void *user, weir_err *err);
/* The same of a batch, for an account that was not stored. */
weir_status ledger_each_of_batch(const flow_batch *b, const struct ledger_range *range,
                                 ledger_each_fn *each, void *user, weir_err *err);

/* Whether the directory has a ledger: an archive's, since it has been written to by a collector that makes one. */
bool ledger_is_there(const char *dir);

/* Flows that a decoded packet of this row had on average, 0: there were none. */
double ledger_flows_a_packet(const struct ledger_row *r);

/* The unit of a row's sequence_lost: "flows", "packets", "records", "none", "" (v1): that of its version, unless the exporter
 * was found to count something else. */
const char *ledger_sequence_unit(const struct ledger_row *r);

/* How many flows never arrived according to sequence numbers, from a row: packets (v9) are as many flows as its packets of
 * that minute had on average; of records (IPFIX) the flows' share counts (*estimated then
 * becomes true). Below 0 where more came late of what was missing in minutes before. */
double ledger_flows_missing(const struct ledger_row *r, bool *estimated);

#endif
