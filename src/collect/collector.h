/* collector -- the daemon: sockets or captures in, an archive or lines out, every packet accounted for.
 *
 *   main thread       signals; captures
 *   for each worker   receiving   takes datagrams, refuses strangers       -> pktq ->
 *                     decoding    owns decoder, open chunk and account     -> writer's queue ->
 *                     writing     encodes, writes, waits out a full disk; state and checkpoint
 *   passing thread    sends what was received on to other collectors, if there are any (tee.h)
 *   keeping thread    merges and expires the archive's files, when there is nothing better to do
 *
 * The queues are bounded. When the output is slow the packets wait as they came, which is compact; only when that
 * queue is three quarters full are finished chunks given up and counted, so that templates are always learnt. */
#ifndef COLLECT_COLLECTOR_H
#define COLLECT_COLLECTOR_H

#include <weir/decoder.h>

#include "archive/archive.h"
#include "base/buf.h"
#include "collect/allow.h"
#include "collect/keeper.h"
#include "collect/tee.h"

/* Setting of one exporter. */
struct collector_exporter {
    weir_endpoint address;
    enum { COLLECTOR_SCOPE, COLLECTOR_SAMPLING, COLLECTOR_QUIRKS } what;
    weir_scope scope;
    double rate;
    unsigned quirks;
};

struct collector_config {
    const weir_endpoint *listen; /* n_listen addresses; none: 0.0.0.0 and :: at port */
    size_t n_listen;
    uint16_t port;
    const char *const *read; /* n_read captures to read instead */
    size_t n_read;
    const struct archive_options *archive; /* where flows go; NULL: lines to file */
    struct keeper_options keep;            /* of the archive, but for look */
    /* What waits in the archive for those that it is delivered to, for the accounting: JSON objects with commas between them, or
     * lines. Asked about once a minute, on a thread that may be slow. NULL: nothing is said of it. */
    void (*delivery)(const char *dir, bool json, base_buf *out);
    const char *file;       /* output of lines, "-" for stdout */
    const char *state_path; /* NULL: none */
    int level;              /* of gzip */
    bool debug, stats_as_json;
    uint64_t stats_interval_ns; /* 0: never */
    uint64_t flush_ns;
    uint64_t receive_buffer;
    unsigned workers;             /* 1 for lines */
    uint64_t queue_octets;        /* datagrams between receiving and decoding, of all workers */
    uint64_t output_queue_octets; /* text between decoding and writing */
    uint64_t max_held_octets;     /* unfinished lines of packets that wait */
    struct allow allow;
    const weir_endpoint *tee; /* n_tee collectors that datagrams are passed on to; not with read */
    size_t n_tee;
    enum tee_source tee_source;
    weir_decoder_options decoder;
    const struct collector_exporter *exporters;
    size_t n_exporters;
};

/* Until SIGTERM or SIGINT, or the end of the captures. Exit status: 0 done, 1 something failed (said on stderr). */
int collector_run(const struct collector_config *config);

#endif
