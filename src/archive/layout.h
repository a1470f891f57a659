/* layout -- where the files of an archive stand and what they are called (docs/archive.md).
 *
 *     DIR/flows/date=2026-11-22/hour=21/20261122T210500Z-w0-000017.parquet
 *         table partition               stem: time, writer, number  suffix
 *
 * -w0: the writer of worker 0; -c0: made by compaction. */
#ifndef ARCHIVE_LAYOUT_H
#define ARCHIVE_LAYOUT_H

#include "base/buf.h"
#include "base/err.h"
#include "flow/batch.h"

#define ARCHIVE_SECOND INT64_C(1000000000)
#define ARCHIVE_HOUR (3600 * ARCHIVE_SECOND)

enum archive_kind {
    ARCHIVE_KIND_OTHER,
    ARCHIVE_KIND_CLOSED, /* .parquet, .pq */
    ARCHIVE_KIND_PART,
    ARCHIVE_KIND_JOURNAL,
    ARCHIVE_KIND_TEMP /* .tmp: what compaction has not finished */
};

struct archive_name {
    enum archive_kind kind;
    bool ours;      /* the stem is one of ours, so what follows is known */
    bool compacted; /* -c */
    int64_t time_ns;
    unsigned writer;
    uint32_t number;
    size_t stem_len; /* the name without its suffix */
};

void archive_name_parse(const char *name, struct archive_name *out);

const char *archive_table_name(enum flow_table table);   /* "flows" */
const char *archive_table_suffix(enum flow_table table); /* ".parquet" */

/* "date=2026-11-22/hour=21" of a time, "20261122T210500Z": both with their NUL. */
enum { ARCHIVE_PARTITION_TEXT = 32, ARCHIVE_TIME_TEXT = 24 };
void archive_partition_text(char out[ARCHIVE_PARTITION_TEXT], int64_t ns);
void archive_time_text(char out[ARCHIVE_TIME_TEXT], int64_t ns);
/* The length of slots in seconds as metadata has it, "300"; up to an hour. */
enum { ARCHIVE_SECONDS_TEXT = 24 };
void archive_seconds_text(char out[ARCHIVE_SECONDS_TEXT], int64_t ns);
bool archive_seconds(const char *text, int64_t *ns); /* false: NULL, or no such length */
/* The hour that a path ends in (".../date=2026-11-22/hour=21"); false: none. */
bool archive_partition_time(const char *path, int64_t *hour_ns);

/* Strings that belong to a list. Zero-initialise; done frees all. */
struct archive_names {
    char **items;
    size_t n, cap;
};
void archive_names_done(struct archive_names *l);
bool archive_names_add(struct archive_names *l, const char *text,
                       size_t len); /* false: out of memory */
void archive_names_sort(struct archive_names *l);
bool archive_names_same(const struct archive_names *a, const struct archive_names *b);
bool archive_names_have(const struct archive_names *sorted, const char *text, size_t len);

/* Sorted names in a directory that are no directories; those that start with . or _ left out unless all.
 * WEIR_ENOTFOUND: no such directory; WEIR_EIO; WEIR_ENOMEM. */
weir_status archive_list_files(const char *dir, bool all, struct archive_names *out, weir_err *err);
/* Sorted paths of root and all directories below it that may hold files, in order of their names at every level
 * (which is order of time in an archive). Links to directories are followed to a depth of 16; a directory to which several
 * names lead stands there once, under the first. */
weir_status archive_list_dirs(const char *root, struct archive_names *out, weir_err *err);

/* dir/name as a new string; NULL: out of memory. */
char *archive_path(const char *dir, const char *name);
/* dir and its parents below `keep`, made when missing; new entries are synced to disk when asked for. */
weir_status archive_make_dirs(const char *dir, bool sync, weir_err *err);
/* The status for an errno: WEIR_ELIMIT when there is no room, WEIR_ENOTFOUND, WEIR_EIO; the message names what
 * could not be done to path. */
weir_status archive_errno(weir_err *err, int error, const char *what, const char *path);
weir_status archive_no_memory(weir_err *err);
/* The entries of a directory to disk; failures are not reported (some file systems cannot). */
void archive_sync_dir(const char *dir);
void archive_sync_dirs(const char *dir, const char *root); /* of dir and each above it up to root */

#endif
