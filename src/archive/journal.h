/* journal -- what stands beside an open file (.part): which octets of it hold finished row groups, and the rows that
 * are in no row group yet. Append-only; whatever is damaged or torn at its end was never promised.
 *
 *     header  64 octets   magic "weirjrnl", version, table, worker, slot, boot, id, checksum
 *     entry   16 + len    u32 len, u8 type, u8 flags, u16 0, u64 checksum; payload
 *     entry   ...
 *
 * Integers are big-endian. A checksum is XXH64 over the octets in front of it and, for entries, the payload; its seed is the
 * journal's id plus the entry's place, so that neither an entry of another journal nor one that was rolled back and
 * partly overwritten passes for good.
 *
 *     COLUMNS  u32 n, n times: u8 list, u8 length of type, u16 length of name, type ("u64"), name. Added to those before
 *     ROWS     u32 rows, s64 min, s64 max (time of arrival, us), u32 octets uncompressed, flow_batch_save as zstd.
 *              One zstd frame spans the entries since the one with flag FRESH, each ends at a flush: small batches
 *              of similar rows compress to a third of what they would alone
 *     GROUP    u64 end (octets of .part), u32 rows, s64 min, s64 max, parquet_writer_group_meta. Its rows are all of
 *              the ROWS before it, and perhaps more
 *     RATE     u8 n, exporter[n], u32 domain, u64 selector, f64 rate, source: flow_batch_sampling over the ROWS since
 *              the last GROUP */
#ifndef ARCHIVE_JOURNAL_H
#define ARCHIVE_JOURNAL_H

#include "archive/columns.h"
#include "base/buf.h"

#include <zstd.h>

enum {
    ARCHIVE_JOURNAL_VERSION = 1,
    ARCHIVE_JOURNAL_HEAD = 64,
    ARCHIVE_JOURNAL_ENTRY = 16,
    ARCHIVE_BOOT_OCTETS = 16,
    ARCHIVE_MAX_ENTRY = 1 << 28 /* octets of a payload, and of rows uncompressed */
};

enum archive_entry {
    ARCHIVE_ENTRY_COLUMNS = 1,
    ARCHIVE_ENTRY_ROWS,
    ARCHIVE_ENTRY_GROUP,
    ARCHIVE_ENTRY_RATE
};
enum { ARCHIVE_ENTRY_FRESH = 1 };

struct archive_journal_head {
    enum flow_table table;
    uint32_t worker;
    int64_t slot_ns, slot_length_ns;
    /* Of the kernel that wrote it: when it runs no more, what the journal promises may not have reached the disk. */
    uint8_t boot[ARCHIVE_BOOT_OCTETS];
    uint64_t id; /* random */
};

/* Fill boot and id. */
void archive_journal_stamp(struct archive_journal_head *h);
/* That the kernel that wrote it is still the one that runs. */
bool archive_journal_same_boot(const struct archive_journal_head *h);

/* ---- writing: entries are put together in a buffer, whose first octet will stand at `at` ---- */

void archive_journal_put_head(base_buf *b, const struct archive_journal_head *h);
void archive_journal_put_columns(base_buf *b, uint64_t at, uint64_t id,
                                 const struct archive_columns *c, size_t from);
void archive_journal_put_group(base_buf *b, uint64_t at, uint64_t id, uint64_t end, uint32_t rows,
                               int64_t min, int64_t max, const base_buf *meta);
void archive_journal_put_rate(base_buf *b, uint64_t at, uint64_t id, const uint8_t *exporter,
                              uint32_t len, uint32_t domain, uint64_t selector, double rate,
                              const char *source);
/* The rows of b from `from` on. z: fresh begins a new frame (and must be so after an entry that did not get to the
 * file). scratch: reused from call to call. WEIR_ENOMEM; WEIR_ELIMIT: too much for one entry. */
weir_status archive_journal_put_rows(base_buf *b, uint64_t at, uint64_t id, ZSTD_CCtx *z,
                                     bool fresh, const flow_batch *rows, uint32_t from,
                                     base_buf *scratch, weir_err *err);

/* ---- reading ---- */

struct archive_group {
    uint64_t begin, end; /* octets of .part */
    uint32_t rows;
    int64_t min, max; /* arrival, us; max < min: unknown */
    size_t meta_at, meta_len;
};

struct archive_groups {
    struct archive_group *items;
    size_t n, cap;
    base_buf metas; /* meta i is metas.data[meta_at] on, meta_len octets */
};
void archive_groups_done(struct archive_groups *g);
weir_status archive_groups_add(struct archive_groups *g, uint64_t begin, uint64_t end,
                               uint32_t rows, int64_t min, int64_t max, const void *meta,
                               size_t meta_len, weir_err *err);
/* The metas as parquet_writer_resume takes them; NULL: out of memory. */
struct parquet_bytes *archive_groups_metas(const struct archive_groups *g);

struct archive_journal {
    struct archive_journal_head head;
    struct archive_columns columns;
    struct archive_groups groups;
    flow_batch *tail; /* rows that are in no group; never NULL after a successful read */
    int64_t tail_min, tail_max;
    uint64_t good;   /* octets up to the end of the last good entry */
    uint64_t behind; /* octets behind that, which say nothing */
    char why[80];    /* the entry behind is no good, "" when nothing is there */
};

/* Read a journal from its beginning as far as it is good. WEIR_EFORMAT, WEIR_ETRUNC: not even its header is (a
 * journal that was just made, or something else); WEIR_EVERSION: made by a later weir; WEIR_EIO; WEIR_ENOMEM. */
weir_status archive_journal_read(int fd, const char *name, struct archive_journal *out,
                                 weir_err *err);
void archive_journal_done(struct archive_journal *j);

#endif
