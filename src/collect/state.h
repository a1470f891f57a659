/* state -- a small file that is always whole: written beside, synced, renamed into place. */
#ifndef COLLECT_STATE_H
#define COLLECT_STATE_H

#include <stddef.h>
#include <stdint.h>
#include <weir/status.h>

enum { STATE_MAX_OCTETS = 1 << 30 };

/* WEIR_EIO: err says what failed; the file is as it was. */
weir_status state_write(const char *path, const uint8_t *data, size_t len, weir_err *err);

/* The whole file: *out is malloc'ed, the caller's. WEIR_ENOTFOUND there is none; WEIR_EIO; WEIR_ELIMIT larger
 * than STATE_MAX_OCTETS; WEIR_ENOMEM. */
weir_status state_read(const char *path, uint8_t **out, size_t *len, weir_err *err);

/* One collector a state file: a lock beside it (path.lock), held until *lock is closed or the process ends.
 * WEIR_ELIMIT another process has it; WEIR_EIO it cannot be made, *lock is -1. */
weir_status state_lock(const char *path, int *lock, weir_err *err);

#endif
