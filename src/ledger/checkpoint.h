/* checkpoint -- what one worker should find again after it was killed: two small files that are overwritten in turn, so that
 * one of them is whole at every moment, and that have their room on the disk from the beginning. The account in it is also
 * what readers see of the minute that is not over yet.
 *
 *     PATH.a  "WEIRCHK1" | u64 serial | u64 len | len octets | u64 hash of all before it      big-endian
 *     PATH.b  the same; the larger serial is the newer one
 *
 * and of the len octets
 *
 *     u64 octets of the account | account (ledger_account_save) | u64 octets of the positions | positions of sequence numbers
 */
#ifndef LEDGER_CHECKPOINT_H
#define LEDGER_CHECKPOINT_H

#include "base/buf.h"
#include "base/err.h"

typedef struct ledger_checkpoint ledger_checkpoint;

enum { LEDGER_CHECKPOINTS = 256 }; /* beside an archive, at most */

/* Always there when any is, below DIR; but for what somebody removed. */
#define LEDGER_CHECKPOINT_FIRST "weir.checkpoint-w0.a"
#define LEDGER_CHECKPOINT_SECOND "weir.checkpoint-w0.b"

/* DIR/weir.checkpoint-wN, for worker N of an archive; malloc'ed, NULL: out of memory. */
char *ledger_checkpoint_path(const char *dir, unsigned worker);

/* Opens both copies, made when missing, and goes on behind the newer one. A copy that cannot be opened, or is no file, stays as
 * it is and is tried again with each write. WEIR_ENOMEM. */
weir_status ledger_checkpoint_open(const char *path, ledger_checkpoint **out, weir_err *err);
void ledger_checkpoint_close(ledger_checkpoint *c); /* takes NULL */

/* Where one copy cannot be written at all, the other one is each time: then a kill in the middle of that leaves none.
 * WEIR_EIO, WEIR_ENOMEM, WEIR_ELIMIT: the newest that is whole stays. */
weir_status ledger_checkpoint_write(ledger_checkpoint *c, const uint8_t *data, size_t len);

/* What was wrong with a copy when it was opened or written last, "DIR/weir.checkpoint-w0.a: Is a directory"; NULL: nothing. Until
 * the next write. */
const char *ledger_checkpoint_trouble(const ledger_checkpoint *c);

/* The newer whole one, of at most `most` octets (0: 1 GiB): *out is malloc'ed, the caller's. Also while it is written.
 * WEIR_ENOTFOUND: none; WEIR_EFORMAT: both are damaged; WEIR_ENOMEM. */
weir_status ledger_checkpoint_read(const char *path, size_t most, uint8_t **out, size_t *len,
                                   weir_err *err);
void ledger_checkpoint_remove(const char *path);

/* How the copies are, whichever is the newer one. A collector that is just writing leaves one looking damaged for less than a
 * moment. */
struct ledger_checkpoint_state {
    bool whole[2];   /* .a, .b */
    bool damaged[2]; /* torn, no file, not to be read; or gone although it must have been written */
    int64_t modified_us; /* when the newer file was written to last; 0: there is none */
    int64_t copy_us[2];  /* the same of each */
};
weir_status ledger_checkpoint_look(const char *path, struct ledger_checkpoint_state *out,
                                   weir_err *err); /* WEIR_ENOMEM */
/* The same, again for 200 ms while one looks damaged. *left: milliseconds that may still be spent in this way, of several
 * checkpoints together; LEDGER_CHECKPOINT_PATIENCE at first. */
enum { LEDGER_CHECKPOINT_PATIENCE = 1000 };
weir_status ledger_checkpoint_look_twice(const char *path, int *left,
                                         struct ledger_checkpoint_state *out, weir_err *err);

/* What it holds. */
struct ledger_checkpoint_data {
    const uint8_t *account, *positions; /* borrowed */
    size_t account_len, positions_len;  /* 0: none */
};
void ledger_checkpoint_put(const struct ledger_checkpoint_data *d, base_buf *out);
weir_status ledger_checkpoint_get(const uint8_t *data, size_t len,
                                  struct ledger_checkpoint_data *out, weir_err *err);

#endif
