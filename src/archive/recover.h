/* recover -- the lock of an archive, and what a crash left in it. */
#ifndef ARCHIVE_RECOVER_H
#define ARCHIVE_RECOVER_H

#include "archive/layout.h"
#include "archive/openfile.h"
#include "parquet/reader.h"

/* Take a lock file of the archive: name is "lock" (who collects into it) or "compact.lock". *fd: close it to let go. It
 * holds the process and the number of the last file, "1234      \n0000000017\n".
 * WEIR_ELIMIT: another process has it; err names it. WEIR_EIO. */
weir_status archive_lock(const char *dir, const char *name, int *fd, weir_err *err);

/* flock of an open file, for oneself alone. Who only asks whether it is taken has it for a moment, which is waited out. False:
 * another one has it, errno EWOULDBLOCK, or another error. */
bool archive_lock_take(int fd);

/* The number in a lock file, 0 when there is none; and put it there. */
uint32_t archive_lock_number(int fd);
void archive_lock_set_number(int fd, uint32_t number);

/* Finish every open file in the archive, remove what is left of files that were being closed or replaced, and find the
 * last file's number. move_damaged: files without a readable journal go to DIR/damaged. With the lock held. left: paths
 * (without suffix) of those that could not be finished now (no room, say); they stay readable. */
weir_status archive_recover(struct archive_files *shared, bool move_damaged,
                            struct archive_names *left, weir_err *err);
/* Try one of those again; false: it must wait longer. */
bool archive_recover_again(struct archive_files *shared, const char *path);

/* Move dir/name to the archive's DIR/damaged, and say so. False: it could not be moved. */
bool archive_put_aside(const struct archive_files *shared, const char *dir, const char *name);

/* Ids (key weir.id) of the files whose rows a compacted file has, appended to out (not sorted). Names would not do: they
 * might be used again. */
weir_status archive_replaces(const parquet_file *f, struct archive_names *out, weir_err *err);
/* Whether a file is one of those. */
bool archive_is_replaced(const parquet_file *f, const struct archive_names *sorted_ids);

/* Remove what a compaction left that was stopped by a crash: its unfinished result, or what that replaces. With
 * compact.lock held. shared: told about it, may be NULL. */
weir_status archive_clean_compaction(const struct archive_files *shared, const char *dir,
                                     const struct archive_names *names, weir_err *err);

#endif
