/* cursor -- how far somebody who takes rows away from the archive (weir ship) has got: DIR/ship/NAME.cursor. What a cursor has
 * not passed is not compacted, and when it holds, not expired either.
 *
 *     weir-cursor 1
 *     destination clickhouse://db.example.net:8123/flows
 *     hold 68719476736        octets that expiry leaves for it, or 0
 *     floor 17                all files that collectors made with a number below are done
 *     file flows 20261122T211000Z-w0-000019 1048576     so many of its rows are
 *     file flows 20261122T211000Z-w1-000020 done
 *     file flows 20261121T130000Z-c0-000001 0           of compaction: what is not listed holds nothing new
 *     check 0123456789abcdef  XXH64 of the lines before
 *
 * Files that collectors make have numbers which rise as they are made, whatever hour they belong to. Compaction only takes what all
 * cursors have passed, so files of compaction that came after the cursor are done from the beginning: only those that were
 * there before it are listed. A new version of a cursor is written beside it, synced and renamed; the one before it stays as
 * NAME.cursor.old. */
#ifndef ARCHIVE_CURSOR_H
#define ARCHIVE_CURSOR_H

#include "base/err.h"
#include "flow/schema.h"

#include <stdbool.h>
#include <stddef.h>

enum { ARCHIVE_CURSOR_STEM = 48 }; /* octets of a file's name without its suffix, NUL included */

struct archive_cursor_file {
    enum flow_table table;
    char stem[ARCHIVE_CURSOR_STEM];
    bool done;
    uint64_t rows; /* that are done, from its first on */
};

typedef struct archive_cursor {
    char *destination; /* for people; never a password */
    uint64_t hold;     /* octets */
    uint32_t floor;
    struct archive_cursor_file *files; /* n, by table and name */
    size_t n, cap;
} archive_cursor;

/* Zero-initialise. */
void archive_cursor_done(archive_cursor *c);

/* How far it has got in a file of that name (its suffix does not matter). */
struct archive_cursor_file archive_cursor_of(const archive_cursor *c, enum flow_table table,
                                             const char *name);
/* So many rows of the file are done, or all. WEIR_EINVAL: no name of a file of ours; WEIR_ENOMEM. */
weir_status archive_cursor_set(archive_cursor *c, enum flow_table table, const char *name,
                               uint64_t rows, bool done, weir_err *err);
/* All files of collectors with numbers below are done: they are forgotten, as those of compaction that are. */
void archive_cursor_raise(archive_cursor *c, uint32_t floor);

enum { ARCHIVE_CURSOR_NAME = 64 }; /* octets of a name: letters, digits and . _ - */
bool archive_cursor_name_ok(const char *name);

/* WEIR_ENOTFOUND: there is none; WEIR_EFORMAT: neither it nor the one before can be read (err says what to do). *old: the one
 * before was taken, since the newest is damaged. *out is to be zeroed or done. */
weir_status archive_cursor_read(const char *dir, const char *name, archive_cursor *out, bool *old,
                                weir_err *err);
/* WEIR_EIO, WEIR_ELIMIT (no room), WEIR_ENOMEM: the one that was there still is. */
weir_status archive_cursor_write(const char *dir, const char *name, const archive_cursor *c,
                                 weir_err *err);
/* Cursor and lock of a name are removed. WEIR_ENOTFOUND; WEIR_ELIMIT: it is in use. */
weir_status archive_cursor_forget(const char *dir, const char *name, weir_err *err);

/* One process at a time moves a cursor. *fd: closing it gives the lock back. WEIR_ELIMIT: another process has it. */
weir_status archive_cursor_lock(const char *dir, const char *name, int *fd, weir_err *err);
bool archive_cursor_locked(const char *dir, const char *name);

/* While *fd is open nothing is compacted: a new cursor lists in peace what there is. WEIR_ELIMIT: a compaction is under way. */
weir_status archive_cursor_quiet(const char *dir, int *fd, weir_err *err);

/* An id of the archive, DIR/ship/id, made when it is missing: what tells its files from those of another archive, wherever it
 * is moved. WEIR_EIO, WEIR_ELIMIT; WEIR_EFORMAT: the file is damaged; WEIR_ENOMEM. */
enum { ARCHIVE_CURSOR_ID = 17 }; /* 16 hex digits and a NUL */
weir_status archive_cursor_id(const char *dir, char out[ARCHIVE_CURSOR_ID], weir_err *err);

/* Names of all cursors of the archive, sorted; none: an empty list. */
struct archive_names;
weir_status archive_cursor_names(const char *dir, struct archive_names *out, weir_err *err);

/* All cursors of an archive. Zero-initialise. */
struct archive_cursors {
    struct archive_cursors_item {
        char *name;
        archive_cursor cursor;
        uint64_t waiting; /* octets of files that it has not passed; of archive_expire */
    } * items;
    size_t n;
};
/* WEIR_EFORMAT, WEIR_EIO: one cannot be read, *out has the others; WEIR_ENOMEM. */
weir_status archive_cursors_read(const char *dir, struct archive_cursors *out, weir_err *err);
void archive_cursors_done(struct archive_cursors *c);
/* The first that has not passed the file; NULL: all have. */
struct archive_cursors_item *archive_cursors_waiting(const struct archive_cursors *c,
                                                     enum flow_table table, const char *name);

#endif
