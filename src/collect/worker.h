/* worker -- one of the collector's independent lines from packets to disk: a queue, a decoder, the open batches, a writer and
 * the account of what became of everything. An exporter belongs to one worker (steer.h); workers share nothing but the
 * directory they write to.
 *
 *   feeder     receiver or capture     puts packets into the queue
 *   decoding   worker                  owns decoder, account and open chunk
 *   writing    writer                  encodes, compresses, writes; state and checkpoint
 */
#ifndef COLLECT_WORKER_H
#define COLLECT_WORKER_H

#include "collect/collector.h"
#include "collect/feed.h"
#include "collect/receiver.h"
#include "collect/stats.h"

typedef struct worker worker;

struct worker_options {
    const struct collector_config *config;
    unsigned index, n_workers;
    bool live;
    const archive_writer
        *beside; /* that of the first worker; NULL for itself and without an archive */
    int gone_fd; /* as struct writer_options has it */
    /* The account of all workers is asked for: called on the decoding thread, which gives its part. */
    void (*report)(void *user, unsigned index, const struct stats_part *part);
    void *user;
};

/* Opens the output, loads state and checkpoints. NULL: err says why. */
worker *worker_new(const struct worker_options *o, weir_err *err);
/* Live, all have been opened, none has started: what this one took up, of whatever workers' files, goes into its own. When all
 * have done so (true: it is written), the files of workers that are no more can go. */
bool worker_settle(worker *w);
void worker_forget_others(const struct collector_config *config, unsigned n_workers);
/* f, r: the feed and the receiver whose counters go into its account; NULL: another worker has them. Borrowed. */
weir_status worker_start(worker *w, feed *f, receiver *r, weir_err *err);

struct feed_queue worker_queue(worker *w);
struct bell *worker_room(worker *w); /* rung when the queue has been emptied somewhat */
const archive_writer *worker_archive(const worker *w);

/* Any thread. */
void worker_ask(worker *w);    /* for a report */
void worker_reopen(worker *w); /* the output, of lines */

/* The end, in this order: no more packets come; by stop_by (bell_now) a blocked output is given up; true: the decoding
 * thread has ended; then the writing thread. */
void worker_close(worker *w);
void worker_stop_by(worker *w, int64_t stop_by);
bool worker_decoded(worker *w);
void worker_finish(worker *w);
bool worker_written(worker *w, int64_t now);
/* After that: false: not all is on disk. Its last report goes into *part. */
bool worker_end(worker *w, struct stats_part *part);
void worker_free(worker *w); /* takes NULL */

#endif
