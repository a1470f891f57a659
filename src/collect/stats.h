/* stats -- the accounting of a collector in words or JSON. At every moment it was taken, live or at the end:
 *
 *   datagrams received = refused + dropped + queued + fed to the decoder     (receive)
 *   packets = decoded + waiting + expired + rejected                         (decode, and each exporter)
 *   records = flows + options + rejected                                     (the same)
 *   packets rendered = written + queued + lost, records likewise             (output)
 *
 * What the kernel dropped and what sequence numbers say is missing never arrived: they stand beside. */
#ifndef COLLECT_STATS_H
#define COLLECT_STATS_H

#include <weir/decoder.h>

#include "base/buf.h"
#include "collect/socket.h"
#include "collect/writer.h"
#include "flow/normalise.h"

struct stats {
    int64_t time_ns, started_ns; /* since 1970 UTC */
    const struct sock *socks;    /* socks[n_socks]: a copy; none when reading captures */
    size_t n_socks;
    uint64_t datagrams; /* from sockets or captures */
    uint64_t octets;
    uint64_t refused; /* by --allow */
    uint64_t dropped; /* no room in the queue to the decoder */
    uint64_t queued;  /* in that queue, now */
    uint64_t fed;     /* to the decoder */
    uint64_t kernel_drops;
    uint64_t receive_errors;
    struct writer_counters out;
    uint64_t held_octets;       /* lines unfinished because a set waits */
    uint64_t split, unrendered; /* lines written in parts; lines that memory did not suffice for */
    const weir_decoder *decoder;
    const struct flow_counters *archive; /* NULL: lines are written */
};

/* One line of JSON. */
void stats_json(base_buf *b, const struct stats *s);
/* Lines for people, each begun with prefix. The busiest of many exporters: at most max_exporters. */
void stats_text(base_buf *b, const struct stats *s, const char *prefix, size_t max_exporters);

#endif
