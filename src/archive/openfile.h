/* openfile -- one file that is still being written: its row groups in .part, its journal, and the rows that are in no
 * row group yet. Whatever fails leaves it as it was, and may be tried again. */
#ifndef ARCHIVE_OPENFILE_H
#define ARCHIVE_OPENFILE_H

#include "archive/archive.h"
#include "archive/journal.h"
#include "parquet/writer.h"

#include <pthread.h>

/* What all writers of an archive share, each in a thread of its own. */
struct archive_root {
    char *dir;
    int lock; /* held as long as one of them is open, and notes the number; -1: nowhere */
    pthread_mutex_t mutex;   /* of what follows */
    uint32_t number;         /* of the last file, whoever wrote it */
    archive_writer *writers; /* those that are open */
};

/* What all files of a writer share. */
struct archive_files {
    struct archive_options options; /* defaults filled in */
    struct archive_root *root;
    const char *dir; /* of the archive: the root's */
    struct archive_counters counters;
};

typedef struct archive_open {
    struct archive_files *shared;
    struct archive_counters *counters; /* of shared, or of the thread that closes it */
    struct archive_journal_head head;
    char *dir, *stem; /* of the partition; name without suffix */
    char *part_path, *journal_path, *closed_path;
    int part, journal;
    struct archive_columns columns;
    size_t columns_journaled; /* so many of them are in the journal */
    struct archive_groups groups;
    uint64_t part_good,
        journal_good; /* octets that are promised; what is behind them does not count */
    uint64_t rows;    /* in groups and tail */
    flow_batch *tail;
    int64_t tail_min, tail_max; /* arrival, us; max < min: unknown */
    ZSTD_CCtx *z;
    bool fresh;             /* the next rows begin a frame */
    parquet_writer *writer; /* NULL: to be made from the groups */
    size_t writer_columns;
    uint64_t sink_at; /* where the writer's next octets go */
    base_buf entry, scratch;
    struct archive_rows made; /* memory for rows on their way to the writer */
    uint64_t used; /* number of the last store, for the writer that chooses among its files */
    struct archive_open *next; /* in a closer's list */
    weir_status status;        /* of a closer's attempt, and why it failed */
    weir_err why;
} archive_open;

void archive_say(const struct archive_files *shared, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* How long a file of this table is. The ledger has few rows: an hour. */
int64_t archive_slot_length(const struct archive_files *shared, enum flow_table table);

/* A new file for a slot: .part and .journal are made. */
weir_status archive_open_new(struct archive_files *shared, enum flow_table table, int64_t slot_ns,
                             archive_open **out, weir_err *err);
/* What a crash left, from dir/stem.journal and dir/stem.part: to be finished. With what is missing or damaged left out
 * and said. WEIR_EFORMAT, WEIR_ETRUNC, WEIR_EVERSION: its journal cannot be read. */
weir_status archive_open_load(struct archive_files *shared, const char *dir, const char *stem,
                              archive_open **out, weir_err *err);

bool archive_open_fits(const archive_open *f, const flow_batch *b);
/* As archive_writer_store. */
weir_status archive_open_store(archive_open *f, const flow_batch *b, weir_err *err);
/* As archive_writer_sampling. */
void archive_open_rate(archive_open *f, const uint8_t *exporter, uint32_t len, uint32_t domain,
                       uint64_t selector, double rate, const char *source);
/* Write what is left and the footer, to its final name. Without rows: all of it is removed. After WEIR_OK f is only good to
 * be freed. */
weir_status archive_open_finish(archive_open *f, weir_err *err);
void archive_open_free(archive_open *f); /* takes NULL; nothing is written */

/* The schema and metadata of a file as a writer is given them, for readers of open files as well. */
weir_status archive_resume(const struct parquet_writer_options *o,
                           const struct archive_columns *columns,
                           const struct archive_groups *groups, uint64_t offset,
                           parquet_writer **out, weir_err *err);
const char *archive_created_by(void);
/* An id as the key weir.id has it: 16 hex digits and a NUL. */
enum { ARCHIVE_ID_TEXT = 17 };
void archive_id_text(char out[ARCHIVE_ID_TEXT], uint64_t id);

#endif
