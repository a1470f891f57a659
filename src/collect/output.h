/* output -- the file that lines go to.
 *
 * A regular file is a chain of gzip members (RFC 1952), each written whole by one write(), so any gzip reader
 * can read it while it grows and after the writer was killed. Each member says its own length in an extra field,
 * which lets a restart find the valid end by hopping:
 *
 *      1f 8b 08 04  mtime:4  xfl os  08 00  'W' 'R' 04 00  length:4 LE   deflate ...   crc32:4 isize:4
 *
 * Anything else -- "-", a device, a FIFO -- gets the plain lines. One thread at a time. */
#ifndef COLLECT_OUTPUT_H
#define COLLECT_OUTPUT_H

#include <stdatomic.h>
#include <weir/status.h>

#include "base/buf.h"

typedef struct output output;

enum {
    OUTPUT_EXTRA_A = 'W', /* the extra field's id */
    OUTPUT_EXTRA_B = 'R',
    OUTPUT_HEAD = 20, /* octets of a member before its deflate data */
    OUTPUT_TAIL = 8,
    OUTPUT_CUT_MAX =
        64 << 20 /* a broken end longer than this is not cut off: the file is moved aside */
};

/* Open path for appending; it is created when missing. A last member that is torn is cut off; a file whose
 * damage is no torn end is renamed to path.damaged-<unix time> and a new one begun; both are logged.
 *   level    0..9, as gzip's
 *   give_up  set by another thread that also interrupts the write by a signal: output_write then returns
 * WEIR_EIO cannot be opened; WEIR_EFORMAT it exists and is no gzip file; WEIR_ELIMIT another process writes it;
 * WEIR_ENOMEM. path is borrowed until output_close. */
weir_status output_open(const char *path, int level, const atomic_bool *give_up, output **out,
                        weir_err *err);

/* Write text[len]. *done: octets of text already written, 0 at first; when writing failed half-way, the same
 * text is passed again with *done as it was left. *added: octets by which the file grew.
 * WEIR_OK; WEIR_EIO failed and may work later (disk full), a regular file ends where it did before; WEIR_END
 * nobody reads any more. */
weir_status output_write(output *o, const char *text, size_t len, size_t *done, uint64_t *added,
                         weir_err *err);

/* The same path again, after somebody has renamed the file. On failure the old one stays in use. */
weir_status output_reopen(output *o, weir_err *err);

bool output_is_gzip(const output *o);

/* To disk, close, free. Takes NULL. */
void output_close(output *o);

#endif
