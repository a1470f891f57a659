/* keeper -- looks after an archive while a collector fills it: merges the files of past hours and removes what is to
 * be kept no longer, on a thread of its own that yields to everything else. */
#ifndef COLLECT_KEEPER_H
#define COLLECT_KEEPER_H

#include <weir/status.h>

#include <stdbool.h>
#include <stdint.h>

typedef struct keeper keeper;

struct keeper_options {
    const char *dir;
    bool compact;
    int64_t keep_ns;     /* flows older than this go; 0: no limit */
    uint64_t max_octets; /* size of the archive; 0: no limit */
    uint64_t min_free;   /* octets that stay free on the device; 0: no limit */
    void (*look)(const char *dir, void *user); /* once a minute, on the thread; NULL: not */
    void *user;
};

/* Starts the thread; dir is borrowed until keeper_stop. NULL: err says why. */
keeper *keeper_start(const struct keeper_options *o, weir_err *err);
/* Ends it soon, in the middle of a compaction too, which is harmless. Takes NULL. */
void keeper_stop(keeper *k);

#endif
