/* stats -- the accounting of a collector in words or JSON. At every moment it was taken, live or at the end:
 *
 *   datagrams received = refused + dropped + queued + fed to the decoder     (receive)
 *   packets = decoded + waiting + expired + rejected                         (decode, and each exporter)
 *   records = flows + options + rejected                                     (the same)
 *   packets rendered = written + queued + lost, records likewise             (output)
 *   datagrams let in = dropped + queued + done, done = sent + failed         (tee, each target)
 *
 * What the kernel dropped and what sequence numbers say is missing never arrived: they stand beside. */
#ifndef COLLECT_STATS_H
#define COLLECT_STATS_H

#include <weir/decoder.h>

#include "base/buf.h"
#include "collect/socket.h"
#include "collect/tee.h"
#include "collect/writer.h"
#include "flow/normalise.h"

/* What the decoding side of one worker has counted: taken by its own thread, read by any. */
struct stats_exporter {
    weir_endpoint address;
    weir_counters counters;
};
struct stats_part {
    weir_counters decode;
    uint64_t fed; /* packets taken from the queue */
    struct writer_counters out;
    uint64_t held_octets;       /* lines unfinished because a set waits */
    uint64_t split, unrendered; /* lines written in parts; lines that memory did not suffice for */
    uint64_t values_extra;
    struct stats_exporter *exporters; /* n_exporters, for words */
    size_t n_exporters;
    base_buf json; /* its exporters, comma-separated, for JSON */
};
/* Copy a decoder's counters and exporters; the rest of *p is the caller's to fill. */
void stats_part_take(struct stats_part *p, const weir_decoder *d, bool json);
void stats_part_done(struct stats_part *p);

struct stats {
    int64_t time_ns, started_ns; /* since 1970 UTC */
    const struct sock *socks;    /* socks[n_socks]: a copy; none when reading captures */
    size_t n_socks;
    uint64_t datagrams; /* from sockets or captures */
    uint64_t octets;
    uint64_t refused; /* by --allow */
    uint64_t dropped; /* no room in the queue to the decoder */
    uint64_t pushed;  /* into the queues */
    uint64_t kernel_drops;
    uint64_t receive_errors, misdirected;
    const struct tee_target_counters *targets; /* n_targets, of --tee */
    size_t n_targets;
    struct tee_counters tee;
    bool archive;                   /* false: lines are written */
    const base_buf *delivery;       /* collector_config's, NULL: nothing is known of it */
    const struct stats_part *parts; /* n_parts, one a worker */
    size_t n_parts;
};

/* One line of JSON. */
void stats_json(base_buf *b, const struct stats *s);
/* Lines for people, each begun with prefix. The busiest of many exporters: at most max_exporters. */
void stats_text(base_buf *b, const struct stats *s, const char *prefix, size_t max_exporters);

#endif
