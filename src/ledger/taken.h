/* taken -- which parts of a checkpoint the ledger of an archive has already, so that they count once: for readers of both, and for
 * the collector that goes on from a checkpoint (which may be an old one that somebody put back, or that was left when the newer
 * copy was damaged).
 *
 * A checkpoint is a row of parts, each all that a worker has counted of a minute up to a moment, which the collector's own row at
 * its end says (column `last`). A store has the same part, or what it has grown to, and its own row says the same moment or a
 * later one. What a worker counts after it, in the same minute (after a restart), is another part: it ends later than all that
 * was stored before. So a part is in the archive exactly when that has an own row of this worker and minute that does not end
 * before it. */
#ifndef LEDGER_TAKEN_H
#define LEDGER_TAKEN_H

#include "base/err.h"
#include "flow/batch.h"

/* The collector's own rows: the latest of each minute and worker. */
typedef struct ledger_taken ledger_taken;

/* Of the archive in dir, from nothing on; dir is borrowed, NULL: rows are added one by one. NULL: out of memory. */
ledger_taken *ledger_taken_new(const char *dir);
void ledger_taken_free(ledger_taken *t); /* takes NULL */

/* False: out of memory. */
bool ledger_taken_add(ledger_taken *t, int64_t minute_us, uint16_t worker, int64_t last_us);

/* Read what the archive has of minutes from this one on, if that has not been done. WEIR_ENOMEM; what cannot be read is as if it
 * were not there. */
weir_status ledger_taken_since(ledger_taken *t, int64_t minute_us, weir_err *err);

/* The reading: all own rows of the archive in dir from this minute on (read.c). */
weir_status ledger_taken_read(const char *dir, int64_t minute_us, ledger_taken *t, weir_err *err);

/* The ledger has this part. */
bool ledger_taken_has(ledger_taken *t, int64_t minute_us, uint16_t worker, int64_t last_us);
/* The ledger goes on behind it: what it ends with is not the last that the worker counted. */
bool ledger_taken_is_behind(ledger_taken *t, int64_t minute_us, uint16_t worker, int64_t last_us);

/* Rows of a checkpoint (ledger_account_parse without what follows) as parts: rows [from, to). */
struct ledger_part {
    int64_t minute_us, last_us; /* last_us: INT64_MIN where it does not say */
    uint32_t from, to;
    uint16_t worker;
    bool has_minute;
};
/* The part that begins at row `from`; false: there is none. */
bool ledger_part_at(const flow_batch *rows, uint32_t from, struct ledger_part *out);

#endif
