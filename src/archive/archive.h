/* archive -- one directory of flows: Parquet files in Hive-style partitions, an open file per table and writer that
 * every reader can follow, recovery after a crash.
 *
 *     DIR/flows/date=2026-11-22/hour=21/20261122T210500Z-w0-000017.parquet   closed, never modified
 *                                       20261122T211000Z-w0-000018.part      row groups, append-only
 *                                       20261122T211000Z-w0-000018.journal   what .part holds, and the tail
 *     DIR/options/date=.../hour=.../....pq      options records, in the same form (another suffix, so that
 *                                               all files *.parquet are flows alone)
 *     DIR/ledger/date=.../hour=.../....pq       the loss ledger: what was received and what was not
 *     DIR/lock                                  held by the collector that writes
 *
 * A file belongs to the hour in which its first row was received. docs/archive.md is the reference of the layout. */
#ifndef ARCHIVE_ARCHIVE_H
#define ARCHIVE_ARCHIVE_H

#include "base/err.h"
#include "flow/batch.h"

/* ---- writing: one archive_writer per thread, all of one archive in one process ---- */

typedef struct archive_writer archive_writer;

enum archive_sync {
    ARCHIVE_SYNC_CLOSE, /* fsync a file when it is closed (default) */
    ARCHIVE_SYNC_FLUSH, /* and at every flush: survives a power cut too */
    ARCHIVE_SYNC_NEVER
};

struct archive_options {
    const char *dir; /* made when missing; with beside: NULL, or the same */
    unsigned worker; /* the number behind -w in file names: no two writers have the same */
    archive_writer *
        beside; /* another writer of this archive, open until after this one: its lock holds for both, and
                               what a crash left has been recovered */
    int64_t rotate_ns;   /* length of a file, a divisor of an hour; 0: 5 min */
    uint32_t group_rows; /* rows of a full row group; 0: 1048576 */
    /* So many rows at once, or so much memory, become a row group without passing the journal; what is stored in
     * smaller portions becomes one when it has grown to this. */
    uint32_t direct_rows;   /* 0: 131072 */
    uint32_t direct_octets; /* 0: 64 MiB */
    uint64_t
        file_octets; /* a file that has grown to this is closed and another one begun; 0: 1 GiB */
    enum archive_sync sync;
    bool
        closer; /* files are closed by a thread of their own; false: within the call that finds them due */
    int zstd_level; /* 0: 1 */
    void (*log)(void *user,
                const char *text); /* what recovery did and what went wrong; may be NULL */
    void *user;
};

/* Takes the lock and recovers what a crash left, whichever writers there were then; with o->beside neither. Each writer is
 * used by one thread at a time, different ones by different threads (o->log is called in any of them).
 * WEIR_ELIMIT: another process writes this archive (err says its pid); WEIR_EIO; WEIR_ENOMEM; WEIR_EINVAL: also the
 * worker's number is taken. */
weir_status archive_writer_open(const struct archive_options *o, archive_writer **out,
                                weir_err *err);

/* Store the rows of a batch received at or before received_ns (of any table): after WEIR_OK every reader sees them and a crash
 * of the process does not lose them. All rows belong into the file of received_ns's rotation slot; the caller cuts its
 * batches there (archive_slot). The batch is only read.
 * WEIR_EIO, WEIR_ELIMIT (no room on the device): nothing of the batch was stored and what was stored before is intact; the same batch may be
 * given again. WEIR_ENOMEM likewise. */
weir_status archive_writer_store(archive_writer *w, const flow_batch *b, int64_t received_ns,
                                 weir_err *err);

/* The slot a time belongs to, by its first moment: batches should not span two of them. */
int64_t archive_slot(const archive_writer *w, int64_t received_ns);

/* Time passes: closes files whose slot is over by more than a flush (live collectors call it every second). The first
 * failure, with o->closer one of an earlier call; it will be tried again. */
weir_status archive_writer_tick(archive_writer *w, int64_t now_ns, weir_err *err);

/* A rate that became known after the data: applied to rows of open files that are not yet in a row group. */
void archive_writer_sampling(archive_writer *w, const uint8_t *exporter, uint32_t len,
                             uint32_t domain, uint64_t selector, double rate, const char *source);

struct archive_counters {
    uint64_t rows, option_rows, ledger_rows; /* stored */
    uint64_t groups, files;                  /* row groups and files finished */
    uint64_t octets;                         /* written, journals included */
    uint64_t octets_files;                   /* size of closed files */
    uint64_t recovered_rows;                 /* taken over from a crash */
    uint64_t recovered_files;
};
const struct archive_counters *archive_writer_counters(const archive_writer *w);

/* Close all files properly. WEIR_OK or the first failure; WEIR_EINVAL: others were opened beside this one and are not
 * closed yet (which does them no harm: the lock is held until the last one is); frees w in any case. Takes NULL. */
weir_status archive_writer_close(archive_writer *w, weir_err *err);

/* ---- reading ---- */

/* What a reader may read: an hour's partition at a time, each a consistent snapshot, in which no row is missing or
 * twice while a collector writes and compacts. */
typedef struct archive_scan archive_scan;
typedef struct parquet_file parquet_file;

struct archive_part {
    const char *path;         /* as opened, for messages */
    const parquet_file *file; /* rows, in order; borrowed from the scan */
    bool open;                /* of a file that is still being written */
    bool tail;                /* rows that are not in a row group yet */
    int64_t
        slot_length_ns; /* of the slots of its rows (of a compacted one: the longest), 0: it does not say */
};

/* path: an archive's directory, a directory of Parquet files (recursively, hidden and _ names left out), or one
 * file. table: which part of an archive. Files by path are read as they are. from, to (both borrowed until open
 * returns): first and last file name of a range as nfdump's -R dir/first:last has it, NULL: all.
 * WEIR_EIO with what cannot be opened; WEIR_ENOTFOUND: nothing there that looks like an archive or a Parquet file. */
weir_status archive_scan_open(const char *path, enum flow_table table, const char *from,
                              const char *to, archive_scan **out, weir_err *err);

/* Read only partitions of hours that have to do with what was received at or after from_ns and at or before to_ns (of the
 * ledger: with minutes from then, as far as they were stored within an hour); files outside an archive's hours are all
 * read. Before the first archive_scan_next. */
void archive_scan_limit(archive_scan *s, int64_t from_ns, int64_t to_ns);
/* Partitions that archive_scan_next has been through, and all of them: for progress. */
void archive_scan_progress(const archive_scan *s, size_t *done, size_t *all);

/* The next partition's parts, in order of time; *n may be 0. parts live until archive_scan_release (any thread) for this
 * partition. WEIR_END after the last. A file that cannot be read is reported by name in err with its status; the next call
 * goes on behind it (the caller counts it). */
weir_status archive_scan_next(archive_scan *s, struct archive_part **parts, size_t *n,
                              weir_err *err);
void archive_scan_release(archive_scan *s, struct archive_part *parts, size_t n);
void archive_scan_close(archive_scan *s); /* takes NULL; all parts released before */

/* Whether a collector writes it now; also where nobody may know. */
bool archive_is_locked(const char *dir);

/* ---- keeping ---- */

struct archive_compact_options {
    const char *dir;
    int64_t
        older_than_ns; /* only partitions whose hour ended before; 0: all hours before the current one */
    int zstd_level;           /* 0: 9 */
    uint32_t group_rows;      /* 0: 1048576 */
    bool (*stop)(void *user); /* asked often; true: give up, nothing is changed; may be NULL */
    void (*progress)(void *user, const char *partition, uint64_t octets_before,
                     uint64_t octets_after);
    void *user;
};
struct archive_compact_counters {
    uint64_t
        awaited; /* partitions left as they are for a cursor (cursor.h) that has not passed them */
    uint64_t partitions, files_before, files_after, rows, octets_before, octets_after;
};
/* Merge the closed files of each past hour into one (more when above 2^31 rows), rows of a group sorted by source address, bloom
 * filters on addresses; the inputs go when the result is safe on disk. Harmless beside a running collector, and when
 * killed at any moment. */
weir_status archive_compact(const struct archive_compact_options *o,
                            struct archive_compact_counters *out, weir_err *err);

struct archive_expire_options {
    const char *dir;
    int64_t before_ns;   /* partitions whose hour ended before this go; 0: no limit of age */
    uint64_t max_octets; /* oldest partitions go until no more is left; 0: no limit */
    uint64_t min_free;   /* ... until the device has this much free; 0: no limit */
    bool dry_run;
    void (*progress)(void *user, const char *partition, uint64_t octets);
    /* A cursor (cursor.h) that has not passed all of the partition. lost: it goes all the same, since the cursor does not
     * hold, or more waits for it than it may; else it stays. May be NULL. */
    void (*awaited)(void *user, const char *partition, const char *cursor, bool lost);
    void *user;
};
/* *octets, *n_files: removed (or would be). Never touches open files, nor what a cursor holds. */
weir_status archive_expire(const struct archive_expire_options *o, uint64_t *octets,
                           uint64_t *n_files, weir_err *err);

/* What there is: one call for each file of all tables, table by table, in order of time. path is borrowed for the call. */
struct archive_file_info {
    const char *path;
    enum flow_table table;
    bool open, compacted, has_hour, has_received;
    int64_t hour_ns;                          /* of its partition */
    int64_t received_min_us, received_max_us; /* earliest and latest arrival, us since 1970 */
    uint64_t rows, tail_rows;                 /* tail_rows: of those, in no row group yet */
    uint64_t groups, octets;                  /* octets on disk, journal included */
};
/* each: false ends it. bad: a file that cannot be read. */
weir_status archive_list(const char *dir,
                         bool (*each)(void *user, const struct archive_file_info *info),
                         void (*bad)(void *user, const weir_err *err), void *user, weir_err *err);

/* Every checksum, statistic and row count of every file. report: one call a file (an open one has two parts: row groups and
 * tail), err NULL: it is sound; path NULL: err names it. *n_bad. */
weir_status archive_verify(const char *dir,
                           void (*report)(void *user, const char *path, uint64_t rows,
                                          const weir_err *err),
                           void *user, uint64_t *n_files, uint64_t *n_bad, weir_err *err);

/* Recover what a crash left, without a collector (which does the same at its start): takes the lock. Files that
 * cannot be read are moved to DIR/damaged, if move_damaged. */
weir_status archive_repair(const char *dir, bool move_damaged,
                           void (*log)(void *user, const char *text), void *user, weir_err *err);

#endif
