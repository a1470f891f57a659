/* log -- words for people on stderr: one line each, control characters shown as '?'. Only collect, ship, serve and
 * cli log; the library never does. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* Once, before threads start. program: prefix of every line, "weir collect". */
void log_init(const char *program, enum log_level most);
enum log_level log_most(void);

/* Once, before threads start: wait for a reader of stderr no longer than this; what it does not take is lost. For
 * daemons, which must not stand still because nobody reads what they say. Without it stderr is waited for. */
void log_patience(int ms);

/* Text of whole lines as it is. */
void log_text(const char *text, size_t len);

void log_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_warning(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_debug(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* True at most once in every period_s seconds for one *last (0 at first): for messages that repeat. Tells how
 * many were held back through *held. */
bool log_due(double *last, unsigned long *held, double now, double period_s);

#endif
