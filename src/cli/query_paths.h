/* query_paths -- what nfdump's -r, -R and -M name, as archives and ranges of files. */
#ifndef CLI_QUERY_PATHS_H
#define CLI_QUERY_PATHS_H

#include "base/err.h"
#include "cli/opt.h"
#include "query/filter.h"

struct query_paths {
    const char **items; /* n archives, directories or files */
    size_t n;
    const char *from, *to; /* file names of a range, NULL: all */
};

/* -r PATH (several), -R DIR[/FIRST[:LAST]], -M BASE/D1:D2... All NULL and 0: ./archive. Lives in a. WEIR_ENOTFOUND: a
 * path that does not exist, err says which and what to do. */
weir_status query_paths_find(query_arena *a, const struct opt_strs *read, const char *range,
                             const char *dirs, struct query_paths *out, weir_err *err);

#endif
