/* err -- fill a weir_err and return its status in one line. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <weir/status.h>

/* Set *err (unless NULL) and return code. at: octet offset in the input. A longer message is cut. */
weir_status weir_err_set(weir_err *err, weir_status code, uint64_t at, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* Return from the caller with a failed status as it is. */
#define WEIR_TRY(call)                                                                             \
    do {                                                                                           \
        weir_status try_status_ = (call);                                                          \
        if (try_status_ != WEIR_OK)                                                                \
            return try_status_;                                                                    \
    } while (0)

/* Run fn(&var) when var goes out of scope. */
#define CLEANUP(fn) __attribute__((cleanup(fn)))

#define ARRAY_LEN(a) (sizeof(a) / sizeof *(a))

#endif
