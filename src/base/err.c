#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>

weir_status weir_err_set(weir_err *err, weir_status code, uint64_t at, const char *fmt, ...)
{
    if (err) {
        err->code = code;
        err->at = at;
        va_list ap;
        va_start(ap, fmt);
        (void)vsnprintf(err->msg, sizeof err->msg, fmt, ap);
        va_end(ap);
    }
    return code;
}

const char *weir_status_text(weir_status status)
{
    static const char *const texts[] = {
#define X(name, text) text,
        WEIR_STATUS_MAP(X)
#undef X
    };
    return (unsigned)status < ARRAY_LEN(texts) ? texts[status] : "unknown status";
}

const char *weir_version(void)
{
    return WEIR_VERSION;
}
