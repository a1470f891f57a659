/* checkpoint -- what one worker should find again after it was killed: two small files that are overwritten in turn, so that
 * one of them is whole at every moment, and that have their room on the disk from the beginning.
 *
 *     PATH.a  "WEIRCHK1" | u64 serial | u64 len | len octets | u64 hash of all before it      big-endian
 *     PATH.b  the same; the larger serial is the newer one */
#ifndef COLLECT_CHECKPOINT_H
#define COLLECT_CHECKPOINT_H

#include <stddef.h>
#include <stdint.h>
#include <weir/status.h>

typedef struct checkpoint checkpoint;

/* Opens both files, made when missing, and goes on behind the newer one. WEIR_EIO: err names the file; WEIR_ENOMEM. */
weir_status checkpoint_open(const char *path, checkpoint **out, weir_err *err);
void checkpoint_close(checkpoint *c); /* takes NULL */
/* WEIR_EIO: what was there stays. */
weir_status checkpoint_write(checkpoint *c, const uint8_t *data, size_t len);

/* The newer whole one: *out is malloc'ed, the caller's. WEIR_ENOTFOUND: none; WEIR_EFORMAT: both are damaged; WEIR_ENOMEM. */
weir_status checkpoint_read(const char *path, uint8_t **out, size_t *len, weir_err *err);
void checkpoint_remove(const char *path);

#endif
