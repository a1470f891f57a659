/* batch -- flows as columns in memory, on their way from a decoder to a file.
 *
 * A batch has the columns of a table (flows, options or ledger) and extra columns, added as records bring elements that have no
 * column of their own. Rows are only appended. A column that no row has a value for costs nothing.
 *
 *                  src_addr (ADDR)            bytes (U64)       httpHost (TEXT, extra)
 *     row 0        code 0 ─┐ keys:            1500              (null)
 *     row 1        code 1  ├ 0: c0000201      40                (null)
 *     row 2        code 0 ─┘ 1: 2001:db8..    null              code 0 -> "example.org"
 *
 * One thread at a time; the finished batch moves to another thread whole. */
#ifndef FLOW_BATCH_H
#define FLOW_BATCH_H

#include "base/buf.h"
#include "base/err.h"
#include "flow/schema.h"

typedef struct flow_batch flow_batch;

enum {
    FLOW_MAX_EXTRA =
        512, /* extra columns of a batch; what is beyond goes into the JSON column `extra` */
    FLOW_MAX_GAP =
        256
        << 20 /* octets of a batch into which flow_batch_load may put null rows before its own */
};

/* Different values of a column, in order of first appearance. Key i is keys[starts[i] .. starts[i + 1]). */
struct flow_dict {
    uint32_t n;
    const uint32_t *starts; /* n + 1 */
    const uint8_t *keys;
};

/* One column, for reading; borrowed until the batch changes. */
struct flow_vec {
    const struct flow_column *column;
    uint32_t n; /* rows that have a place here; rows from n on are null; 0: all rows are null */
    uint32_t n_valid;      /* rows that have a value */
    const uint64_t *valid; /* n bits, least significant first; NULL: all n are there */
    const void
        *values; /* n values of flow_type_octets(type), null rows 0; NULL for dictionary columns */
    const uint32_t *codes; /* n codes into dict, null rows 0 */
    struct flow_dict dict;
    /* of a list: row i has items starts[i] .. starts[i + 1] (of values or codes); n_items = starts[n] */
    const uint32_t *starts;
};

flow_batch *flow_batch_new(enum flow_table table); /* NULL: out of memory */
void flow_batch_free(flow_batch *b);
/* Empty again, extra columns forgotten; memory of which this filling made use is kept for the next one. */
void flow_batch_reset(flow_batch *b);

/* No more rows will come: every column with a value gets a place for each row (flow_vec.n is flow_batch_rows), and memory that
 * only adding rows needs is given back. False: out of memory, rows are as before. */
bool flow_batch_settle(flow_batch *b);

enum flow_table flow_batch_table(const flow_batch *b);
uint32_t flow_batch_rows(const flow_batch *b);
size_t flow_batch_octets(const flow_batch *b);      /* memory in use by values and dictionaries */
size_t flow_batch_memory(const flow_batch *b);      /* what it has allocated for them */
uint32_t flow_batch_n_columns(const flow_batch *b); /* those of the table, then the extra ones */
void flow_batch_vec(const flow_batch *b, uint32_t column, struct flow_vec *out);

/* ---- writing rows ---- */

/* Which filling of which batch this is: no two are the same in one process, flow_batch_reset begins another one, and so
 * does flow_batch_cut when extra columns go. For those who remember columns of extra elements by number. */
uint64_t flow_batch_generation(const flow_batch *b);

/* Begin n rows, all columns null; returns the first one's number, UINT32_MAX: out of memory. */
uint32_t flow_batch_add_rows(flow_batch *b, uint32_t n);
/* Take back all rows from `rows` on, after a failure half-way, and the extra columns that came with them. */
void flow_batch_cut(flow_batch *b, uint32_t rows);

/* The extra column of this name and type (list or not), made when new. UINT32_MAX: no room (FLOW_MAX_EXTRA), the name is
 * taken with another type or in another case, or out of memory. name is copied. */
uint32_t flow_batch_extra(flow_batch *b, const char *name, enum flow_type type, bool list);

/* Where to write n values from row `row` on (rows already begun; all become valid): an array of the column's type, for
 * the field-at-a-time kernels. NULL: out of memory. */
void *flow_batch_values(flow_batch *b, uint32_t column, uint32_t row, uint32_t n);
/* The same for dictionary columns: codes, to be filled from flow_batch_key. */
uint32_t *flow_batch_codes(flow_batch *b, uint32_t column, uint32_t row, uint32_t n);
/* The code of a key, added when new; UINT32_MAX: out of memory. */
uint32_t flow_batch_key(flow_batch *b, uint32_t column, const void *key, uint32_t len);
/* A list's items for one row: values of the item type (or codes), n may be 0. False: out of memory. */
bool flow_batch_list(flow_batch *b, uint32_t column, uint32_t row, const void *items, uint32_t n);

/* One value at a time, for the record path. False: out of memory. */
bool flow_batch_set_u64(flow_batch *b, uint32_t column, uint32_t row,
                        uint64_t v); /* narrowed; also S*, TIME */
bool flow_batch_set_f64(flow_batch *b, uint32_t column, uint32_t row, double v);
bool flow_batch_set_key(flow_batch *b, uint32_t column, uint32_t row, const void *key,
                        uint32_t len);
bool flow_batch_set_null(flow_batch *b, uint32_t column, uint32_t row);

/* ---- moving rows ---- */

/* How much flow_batch_octets(dst) would grow by flow_batch_append, at most: null rows of columns that one of the two has
 * not may be far more than what both have. */
size_t flow_batch_append_octets(const flow_batch *dst, const flow_batch *src);
/* Append all rows of src to dst (same table), extra columns by name. WEIR_OK; WEIR_ENOMEM (dst as before); WEIR_ELIMIT: an
 * extra column has no room in dst: nothing was appended. */
weir_status flow_batch_append(flow_batch *dst, const flow_batch *src, weir_err *err);

/* Rows as octets, for the journal: compact, versioned, not compressed. flow_batch_load appends them to b; hostile octets
 * give WEIR_EFORMAT, WEIR_ETRUNC or WEIR_ELIMIT and leave b as it was. Columns are named, so that another version reads them. */
void flow_batch_save(const flow_batch *b, uint32_t from_row, base_buf *out);
weir_status flow_batch_load(flow_batch *b, const uint8_t *data, size_t len, weir_err *err);
/* The same; WEIR_ELIMIT also when flow_batch_octets would exceed `most`: a few octets may stand for many rows. */
weir_status flow_batch_load_most(flow_batch *b, const uint8_t *data, size_t len, size_t most,
                                 weir_err *err);

/* A rate that became known after the rows: for rows of this exporter and domain without a rate (and of this sampler_id,
 * where selector is not 0). Domain 0 speaks for all domains of its exporter (RFC 7011 section 3.1). Returns how many rows
 * got it. exporter: 4 or 16 octets. */
uint32_t flow_batch_sampling(flow_batch *b, const uint8_t *exporter, uint32_t len, uint32_t domain,
                             uint64_t selector, double rate, const char *source);

/* The text of a dictionary key as people and files have it (address, MAC; text, JSON and octets as they are), appended to
 * out. */
void flow_key_text(enum flow_type type, const uint8_t *key, uint32_t len, base_buf *out);

#endif
