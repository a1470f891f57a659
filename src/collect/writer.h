/* writer -- what was decoded, on its way from the thread that decodes to the disk: chunks over a bounded queue to a
 * thread of its own, which encodes, writes, and waits out a full disk. A chunk is whole lines for an output file, or for an
 * archive a batch of each table and what should be found again when the process is killed behind it. It also writes the state file.
 * Every packet and record is counted at every moment:
 *   rendered = written + queued + lost
 * A packet costs no lock; a chunk costs two. */
#ifndef COLLECT_WRITER_H
#define COLLECT_WRITER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <weir/decoder.h>

#include "archive/archive.h"
#include "collect/bell.h"
#include "collect/output.h"
#include "ledger/checkpoint.h"

typedef struct writer writer;

enum {
    WRITER_CHUNK = 512 * 1024,            /* a chunk of so many octets of text is full, */
    WRITER_BATCH_ROWS = 1 << 20,          /* one of so many flows, */
    WRITER_BATCH_OCTETS = 192 * (1 << 20) /* or of so much memory */
};

struct writer_counters {
    uint64_t packets, records; /* rendered: taken by writer_line or writer_packet */
    uint64_t packets_written, records_written;
    uint64_t packets_queued, records_queued; /* now, the open chunk included */
    uint64_t packets_lost, records_lost;
    uint64_t octets_written; /* text; of an archive as octets_file */
    uint64_t octets_file;    /* as they are in the file */
    uint64_t octets_queued;  /* in memory, now */
    bool failing;            /* the last write did not succeed */
    uint64_t
        checkpoints_failed; /* times that a checkpoint could not be written, or one copy of it only */
};

struct writer_options {
    const struct archive_options *archive; /* write there, borrowed; NULL: to path */
    bool live;        /* time passes as it does for everybody: not a capture's */
    const char *path; /* as for output_open */
    int level;
    size_t max_octets;      /* queued before the queue counts as full */
    const char *state_path; /* NULL: none */
    struct bell *room;      /* rung when a chunk has left the queue */
    int gone_fd;            /* eventfd, written when nobody reads the output any more */
    const char *checkpoint; /* as for ledger_checkpoint_open; NULL: none */
};

/* Opens the output and starts the thread. NULL: err says why. */
writer *writer_new(const struct writer_options *o, weir_err *err);

/* All that follows is for the one thread that decodes. */
void writer_line(writer *w, const char *line, size_t len, unsigned long records);
size_t writer_open_octets(const writer *w); /* in the open chunk */
bool writer_blocked(writer *w);             /* writer_submit would say false: the queue is full */
int64_t writer_open_since(const writer *w); /* bell_now of its first line or row */
bool writer_full(const writer *w);          /* the open chunk should be handed over now */
bool writer_gathers(
    const writer
        *w); /* chunks are worth filling; false: they go out as soon as nothing more waits */

/* Of an archive: the open chunk's batch, for rows to be appended; NULL: out of memory. packet counts what was
 * appended since the last call, or lost for want of memory. received_ns: arrival, 0: late data, which go with the others.
 * slot: archive_slot of the archive. sampling: a rate that became known, as archive_writer_sampling takes it. */
flow_batch *writer_batch(writer *w, enum flow_table table);
flow_batch *writer_open_batch(writer *w,
                              enum flow_table table); /* the same, NULL when there is none yet */
void writer_packet(writer *w, int64_t received_ns, unsigned long records, unsigned long lost);
/* Records that writer_packet is told of did not become rows of the open chunk after all. */
void writer_unmake(writer *w, unsigned long records);
int64_t writer_slot(const writer *w, int64_t received_ns);
void writer_sampling(writer *w, const weir_endpoint *exporter, uint32_t domain, uint64_t selector,
                     const weir_sampling *s);

/* Octets (malloc'ed, taken over) that become the checkpoint when the open chunk is stored. */
void writer_checkpoint(writer *w, uint8_t *data, size_t len);

/* The same at once, before anything was handed over. False: it could not be written. */
bool writer_checkpoint_now(writer *w, const uint8_t *data, size_t len);

/* What became of chunks that were not stored: each is shown once, its batches by enum flow_table (NULL: none). */
typedef void writer_lost_fn(void *user, flow_batch *const *batches);
void writer_lost(writer *w, writer_lost_fn *fn, void *user);

/* Hand the open chunk over. False: the queue is full, the chunk stays open (unless force). */
bool writer_submit(writer *w, bool force);
void writer_drop(writer *w);   /* give the open chunk up, counted as lost */
void writer_reopen(writer *w); /* after all that was handed over (log rotation) */
/* Replace the state file by data[len]; takes data (malloc'ed). Only the newest waits. */
void writer_state(writer *w, uint8_t *data, size_t len);

/* Also for whoever comes after that thread. */
void writer_counters(writer *w, struct writer_counters *out);
const archive_writer *writer_archive(const writer *w); /* NULL: lines */

/* The end, for one thread when no other uses w any more: finish says that no more will come; ended tells when the
 * thread has written or lost all of it; give_up interrupts a write that does not return (call it again until
 * ended); stop waits for the end and closes the output. The counters stay readable until writer_free. */
void writer_finish(writer *w);
bool writer_ended(writer *w);
void writer_give_up(writer *w);
bool writer_stop(writer *w); /* false: what was queued at finish is not all on disk */
void writer_free(writer *w); /* takes NULL; after writer_stop */

#endif
