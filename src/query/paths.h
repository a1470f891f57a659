/* paths -- what nfdump's -r, -R and -M name, as archives and ranges of files. */
#ifndef QUERY_PATHS_H
#define QUERY_PATHS_H

#include "base/err.h"
#include "query/filter.h"

struct query_paths {
    const char **items; /* n archives, directories or files */
    size_t n;
    const char *from, *to; /* file names of a range, NULL: all */
};

/* -r PATH (n_read of them), -R DIR[/FIRST[:LAST]], -M BASE/D1:D2... All NULL and 0: ./archive. Lives in a. WEIR_ENOTFOUND: a
 * path that does not exist, err says which and what to do. */
weir_status query_paths_find(query_arena *a, const char *const *read, size_t n_read,
                             const char *range, const char *dirs, struct query_paths *out,
                             weir_err *err);

#endif
