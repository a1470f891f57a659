/* closer -- a thread that closes the files of one writer: the footer, fsync, the rename. The writer goes on with the next
 * file meanwhile, since fsync of a gigabyte takes longer than what arrives can wait for. */
#ifndef ARCHIVE_CLOSER_H
#define ARCHIVE_CLOSER_H

#include "archive/openfile.h"

typedef struct archive_closer archive_closer;

/* WEIR_ENOMEM: no thread. */
weir_status archive_closer_new(archive_closer **out, weir_err *err);
/* Takes f over; once closed it is freed. Waits while several are on their way: a disk that is slower than what arrives
 * must not gather open files. */
void archive_closer_give(archive_closer *c, archive_open *f);
/* How many were given and neither closed nor taken back. */
size_t archive_closer_holds(archive_closer *c);
/* A file that could not be closed (f->status, f->why), for another attempt; NULL: none. What was counted meanwhile is
 * added to n. */
archive_open *archive_closer_take(archive_closer *c, struct archive_counters *n);
void archive_closer_wait(archive_closer *c); /* until each is closed or can be taken back */
void archive_closer_free(
    archive_closer *c); /* takes NULL; waits; what can be taken back is left to the next start */

#endif
