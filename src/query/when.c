#include "query/when.h"

#include "query/filter.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static const int64_t SECOND = 1000000;

/* What messages show; with what they quote of the text they fit into a weir_err. */
#define FORMS "(write 2026/11/22-2026/11/23, 2026/11/22.21:00-2026/11/22.22:00 or -1h)"

struct scan {
    const char *at, *end;
};

static bool is_digit(const struct scan *s, size_t i)
{
    return (size_t)(s->end - s->at) > i && s->at[i] >= '0' && s->at[i] <= '9';
}

static bool is_char(const struct scan *s, size_t i, const char *set)
{
    return (size_t)(s->end - s->at) > i && s->at[i] && strchr(set, s->at[i]);
}

/* Digits that stand at s + skip. */
static size_t digits(const struct scan *s, size_t skip)
{
    size_t n = 0;
    while (is_digit(s, skip + n))
        n++;
    return n;
}

static int number(struct scan *s, size_t n)
{
    int v = 0;
    for (size_t i = 0; i < n; i++)
        v = v * 10 + (*s->at++ - '0');
    return v;
}

static int days_in(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (month == 2 && leap);
}

/* "Z", "+01:00", "-0500" or "+01" at s; an offset is told from the second half of a window by its length. */
static bool zone(struct scan *s, bool timed, int *offset_min)
{
    *offset_min = 0;
    if (is_char(s, 0, "Zz")) {
        s->at++;
        return true;
    }
    if (!timed || !is_char(s, 0, "+-"))
        return false;
    size_t n = digits(s, 1);
    bool colon = n == 2 && is_char(s, 3, ":") && digits(s, 4) == 2;
    if (n != 2 && n != 4)
        return false;
    if (n == 4) { /* -0500, but not -2026/11/22 or -2026 */
        struct scan rest = {s->at + 5, s->end};
        if (s->at[0] == '-' && (s->at[1] >= '2' || is_char(&rest, 0, "/") ||
                                (is_char(&rest, 0, "-") && digits(&rest, 1) == 2)))
            return false;
    }
    bool minus = *s->at++ == '-';
    int hours = number(s, 2);
    s->at += colon;
    int minutes = colon || n == 4 ? number(s, 2) : 0;
    *offset_min = (hours * 60 + minutes) * (minus ? -1 : 1);
    return true;
}

const char *query_when_parse(const char *text, size_t len, struct query_when *out)
{
    struct scan s = {text, text + len};
    struct tm tm = {.tm_mday = 1, .tm_isdst = -1};
    int64_t us = 0, span = 0;
    bool timed = false;
    if (digits(&s, 0) != 4)
        return "a time begins with its year, 4 digits";
    int year = number(&s, 4);
    if (year < 1970 || year > 2261)
        return "the year must be 1970 to 2261";
    tm.tm_year = year - 1900;
    int last = 'Y';
    if (is_char(&s, 0, "/-") && digits(&s, 1) > 0 && digits(&s, 1) <= 2) {
        char sep = *s.at++;
        int month = number(&s, digits(&s, 0));
        if (month < 1 || month > 12)
            return "the month must be 1 to 12";
        tm.tm_mon = month - 1;
        last = 'M';
        if (is_char(&s, 0, "/-") && *s.at == sep && digits(&s, 1) > 0 && digits(&s, 1) <= 2) {
            s.at++;
            int day = number(&s, digits(&s, 0));
            if (day < 1 || day > days_in(year, month))
                return "no such day in that month";
            tm.tm_mday = day;
            last = 'D';
        }
    }
    if (last == 'D' && is_char(&s, 0, ".Tt ") && digits(&s, 1) > 0 && digits(&s, 1) <= 2) {
        s.at++;
        tm.tm_hour = number(&s, digits(&s, 0));
        if (tm.tm_hour > 23)
            return "the hour must be 0 to 23";
        timed = true;
        last = 'h';
        if (is_char(&s, 0, ":") && digits(&s, 1) > 0 && digits(&s, 1) <= 2) {
            s.at++;
            tm.tm_min = number(&s, digits(&s, 0));
            if (tm.tm_min > 59)
                return "the minute must be 0 to 59";
            last = 'm';
        }
        if (last == 'm' && is_char(&s, 0, ":") && digits(&s, 1) > 0 && digits(&s, 1) <= 2) {
            s.at++;
            tm.tm_sec = number(&s, digits(&s, 0));
            if (tm.tm_sec > 60)
                return "the second must be 0 to 60";
            last = 's';
        }
        if (last == 's' && is_char(&s, 0, ".,") && digits(&s, 1) > 0) {
            s.at++;
            span = SECOND;
            for (size_t n = digits(&s, 0); n > 0; n--) {
                span /=
                    10; /* 0 from the seventh digit on: what is finer than our times is cut off */
                us += (*s.at++ - '0') * span;
            }
            last = 'f';
        }
    }
    int offset_min = 0;
    time_t begin, end;
    struct tm next = tm;
    if (last == 'Y')
        next.tm_year++;
    else if (last == 'M')
        next.tm_mon++;
    else if (last == 'D')
        next.tm_mday++;
    if (zone(&s, timed, &offset_min)) {
        begin = timegm(&tm) - offset_min * 60;
        end = timegm(&next) - offset_min * 60;
    } else {
        begin = mktime(&tm);
        end = mktime(&next);
    }
    if (last == 'Y' || last == 'M' || last == 'D')
        span = (int64_t)(end - begin) * SECOND;
    else if (last == 'h')
        span = 3600 * SECOND;
    else if (last == 'm')
        span = 60 * SECOND;
    else if (last == 's')
        span = SECOND;
    out->us = (int64_t)begin * SECOND + us;
    out->span_us = span > 0 ? span : 1;
    out->used = (size_t)(s.at - text);
    return NULL;
}

/* "1h30m", "90" (seconds) at s; false: no span stands there, or one of more than 100 years. */
static bool span_of(struct scan *s, int64_t *us)
{
    static const struct {
        const char *unit;
        int64_t us;
    } units[] = {{"ms", 1000},
                 {"min", 60 * 1000000LL},
                 {"s", 1000000},
                 {"m", 60 * 1000000LL},
                 {"h", 3600 * 1000000LL},
                 {"d", 86400 * 1000000LL},
                 {"w", 604800 * 1000000LL}};
    const int64_t most = 36525 * INT64_C(86400) * SECOND;
    int64_t sum = 0;
    if (!is_digit(s, 0))
        return false;
    while (is_digit(s, 0)) {
        int64_t v = 0, unit = SECOND;
        while (is_digit(s, 0)) {
            v = v * 10 + (*s->at++ - '0');
            if (v > most)
                return false;
        }
        for (size_t i = 0; i < ARRAY_LEN(units); i++) {
            size_t n = strlen(units[i].unit);
            if ((size_t)(s->end - s->at) >= n && strncmp(s->at, units[i].unit, n) == 0) {
                unit = units[i].us;
                s->at += n;
                break;
            }
        }
        if (v > most / unit)
            return false;
        sum += v * unit;
        if (sum > most)
            return false;
    }
    *us = sum;
    return true;
}

/* Whether a '-' at s begins "1h" or "90" before the present and no year: "-2026/11/22". */
static bool is_relative(const struct scan *s)
{
    size_t n = digits(s, 1);
    struct scan rest = {s->at + 1 + n, s->end};
    return n > 0 &&
           !(n == 4 && is_char(&rest, 0, "/-") && digits(&rest, 1) > 0 && digits(&rest, 1) <= 2);
}

static weir_status moment(struct scan *s, const char *text, int64_t now_us, int64_t *us,
                          weir_err *err)
{
    uint64_t at = (uint64_t)(s->at - text);
    if ((size_t)(s->end - s->at) >= 3 && strncmp(s->at, "now", 3) == 0) {
        s->at += 3;
        *us = now_us;
        return WEIR_OK;
    }
    if (is_char(s, 0, "-") && is_relative(s)) {
        int64_t back;
        s->at++;
        if (!span_of(s, &back))
            return weir_err_set(err, WEIR_EFORMAT, at,
                                "time window \"%.40s\": no span behind the - " FORMS, text);
        *us = now_us - back;
        return WEIR_OK;
    }
    struct query_when when;
    const char *wrong = query_when_parse(s->at, (size_t)(s->end - s->at), &when);
    if (wrong)
        return weir_err_set(err, WEIR_EFORMAT, at, "time window \"%.30s\": %s " FORMS, text, wrong);
    *us = when.us;
    s->at += when.used;
    return WEIR_OK;
}

weir_status query_window_parse(const char *text, int64_t now_us, int64_t *from_us, int64_t *to_us,
                               weir_err *err)
{
    struct scan s = {text, text + strlen(text)};
    int64_t from = INT64_MIN, to = INT64_MAX;
    while (is_char(&s, 0, " "))
        s.at++;
    while (s.end > s.at && s.end[-1] == ' ')
        s.end--;
    if (s.at == s.end)
        return weir_err_set(err, WEIR_EFORMAT, 0, "time window is empty " FORMS);
    if (is_char(&s, 0, "+"))
        return weir_err_set(err, WEIR_EFORMAT, 0,
                            "time window \"%.60s\": counting from the first flow is not available: "
                            "give a time, or a span before now such as -1h",
                            text);
    bool open = is_char(&s, 0, "-") && !is_relative(&s); /* "-2026/11/22": from the beginning */
    bool back = is_char(&s, 0, "-") && !open;
    if (!open)
        WEIR_TRY(moment(&s, text, now_us, &from, err));
    struct scan behind = s; /* "2026/11/22 - 2026/11/23" */
    while (is_char(&behind, 0, " "))
        behind.at++;
    bool two = is_char(&behind, 0, "-");
    if (two) {
        s = behind;
        s.at++;
        while (is_char(&s, 0, " "))
            s.at++;
        if (s.at < s.end)
            WEIR_TRY(moment(&s, text, now_us, &to, err));
        else if (open)
            return weir_err_set(err, WEIR_EFORMAT, 0, "time window \"%.40s\" has no time " FORMS,
                                text);
    }
    if (s.at < s.end)
        return weir_err_set(err, WEIR_EFORMAT, (uint64_t)(s.at - text),
                            "time window \"%.24s\": not understood from \"%.16s\" on " FORMS, text,
                            s.at);
    if (back && !two)
        to = now_us;
    if (from > to)
        return weir_err_set(err, WEIR_EFORMAT, 0, "time window \"%.60s\" ends before it begins",
                            text);
    *from_us = from;
    *to_us = to;
    return WEIR_OK;
}
