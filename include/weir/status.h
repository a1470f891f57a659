/* status -- what every call of libweir returns, and the place where it says why.
 *
 * A weir_status is a value, never a signal: bad input is data. Functions that can fail take a
 * weir_err (may be NULL) and fill it on failure; on success it is left as it was. */
#ifndef WEIR_STATUS_H
#define WEIR_STATUS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Symbols of the shared library carry this mark; all others stay hidden. */
#define WEIR_API __attribute__((visibility("default")))

/* One list makes the enum and its texts. */
#define WEIR_STATUS_MAP(X)                                                                         \
    X(OK, "ok")                                                                                    \
    X(END, "no more items")                                                                        \
    X(ENOMEM, "out of memory")                                                                     \
    X(EINVAL, "argument outside its range")                                                        \
    X(EIO, "input or output failed")                                                               \
    X(EFORMAT, "input breaks its format")                                                          \
    X(ETRUNC, "input shorter than its own lengths claim")                                          \
    X(EVERSION, "unknown export version")                                                          \
    X(ELIMIT, "a limit was reached")                                                               \
    X(ENOTFOUND, "no such item")                                                                   \
    X(ETYPE, "value does not fit its type")

typedef enum weir_status {
#define X(name, text) WEIR_##name,
    WEIR_STATUS_MAP(X)
#undef X
        WEIR_N_STATUS
} weir_status;

/* Why a call failed. The caller's, reusable, may be NULL wherever it is asked for. */
typedef struct weir_err {
    weir_status code; /* the status that was returned */
    uint64_t at;      /* octet offset in the input that the message speaks of */
    char msg[160];    /* names the thing, the place, what was found and what was allowed */
} weir_err;

/* The text of a status, a static string; "unknown status" outside the enum. */
WEIR_API const char *weir_status_text(weir_status status);

/* The version of the library, "0.1.0". */
WEIR_API const char *weir_version(void);

#ifdef __cplusplus
}
#endif
#endif
