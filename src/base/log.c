#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

/* Written once by log_init, before any other thread runs. */
static const char *log_program = "weir";
static enum log_level log_limit = LOG_LEVEL_INFO;

void log_init(const char *program, enum log_level most)
{
    log_program = program;
    log_limit = most;
}

enum log_level log_most(void)
{
    return log_limit;
}

/* File names and what others sent may hold escape sequences or new lines; a terminal must not obey them, and one
 * message stays one line. C1 controls, U+0080 to U+009F, are two octets in UTF-8. */
static void defuse(char *line)
{
    for (unsigned char *p = (unsigned char *)line; *p; p++) {
        if (*p < ' ' || *p == 0x7f)
            *p = '?';
        else if (*p == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0)
            p[0] = p[1] = '?';
    }
}

/* One fprintf a line, so that lines of several threads do not mix. */
__attribute__((format(printf, 3, 0))) static void say(enum log_level level, const char *tag,
                                                      const char *fmt, va_list ap)
{
    if (level > log_limit)
        return;
    char line[1024];
    (void)vsnprintf(line, sizeof line, fmt, ap);
    defuse(line);
    (void)fprintf(stderr, "%s: %s%s\n", log_program, tag, line);
}

#define SAY(name, level, tag)                                                                      \
    void name(const char *fmt, ...)                                                                \
    {                                                                                              \
        va_list ap;                                                                                \
        va_start(ap, fmt);                                                                         \
        say(level, tag, fmt, ap);                                                                  \
        va_end(ap);                                                                                \
    }
SAY(log_error, LOG_LEVEL_ERROR, "")
SAY(log_warning, LOG_LEVEL_WARNING, "warning: ")
SAY(log_info, LOG_LEVEL_INFO, "")
SAY(log_debug, LOG_LEVEL_DEBUG, "debug: ")
#undef SAY

bool log_due(double *last, unsigned long *held, double now, double period_s)
{
    if (*last > 0 && now - *last < period_s) {
        ++*held;
        return false;
    }
    *last = now;
    return true;
}
