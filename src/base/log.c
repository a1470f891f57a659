#include "base/log.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

/* Written once by log_init and log_patience, before any other thread runs. */
static const char *log_program = "weir";
static enum log_level log_limit = LOG_LEVEL_INFO;
static int log_wait_ms = -1;

/* So that lines of several threads do not mix, and what poll has promised to one is not used up by another. */
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static bool log_stalled; /* the last text was not taken: the next one is not waited for */
static bool log_torn;    /* it was taken in part, up to the middle of a line */

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

void log_patience(int ms)
{
    log_wait_ms = ms;
}

/* False: stderr takes no more now. A pipe that polls as writable has room for PIPE_BUF octets. */
static bool put(const char *text, size_t len)
{
    while (len) {
        struct pollfd p = {.fd = STDERR_FILENO, .events = POLLOUT};
        int ready = poll(&p, 1, log_stalled ? 0 : log_wait_ms);
        if (ready < 0 && errno == EINTR)
            continue;
        ssize_t n = ready > 0 ? write(p.fd, text, len < PIPE_BUF ? len : PIPE_BUF) : -1;
        if (n < 0 && ready > 0 && (errno == EINTR || (errno == EAGAIN && log_wait_ms < 0)))
            continue;
        log_stalled = n <= 0;
        if (log_stalled)
            return false;
        log_torn = text[n - 1] != '\n';
        text += n;
        len -= (size_t)n;
    }
    return true;
}

void log_text(const char *text, size_t len)
{
    (void)pthread_mutex_lock(&log_lock);
    if (!log_torn || put("\n", 1))
        (void)put(text, len);
    (void)pthread_mutex_unlock(&log_lock);
}

__attribute__((format(printf, 3, 0))) static void say(enum log_level level, const char *tag,
                                                      const char *fmt, va_list ap)
{
    if (level > log_limit)
        return;
    char line[1024];
    (void)vsnprintf(line, sizeof line, fmt, ap);
    defuse(line);
    char text[sizeof line + 64];
    int n = snprintf(text, sizeof text, "%s: %s%s\n", log_program, tag, line);
    if (n > 0)
        log_text(text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
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
