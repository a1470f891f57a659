/* cells_in -- what the files of cells.c share: the columns of the block at hand, and small texts written in place. */
#ifndef QUERY_CELLS_IN_H
#define QUERY_CELLS_IN_H

#include "base/text.h"
#include "parquet/parquet.h"
#include "query/cells.h"

static inline void copy_text(char *to, const char *from, size_t len)
{
    if (len >= 16) {
        if (len > 64) {
            memcpy(to, from, len);
            return;
        }
        for (size_t i = 0; i + 16 <= len; i += 16)
            memcpy(to + i, from + i, 16);
        memcpy(to + len - 16, from + len - 16, 16);
    } else if (len >= 8) {
        memcpy(to, from, 8);
        memcpy(to + len - 8, from + len - 8, 8);
    } else if (len >= 4) {
        memcpy(to, from, 4);
        memcpy(to + len - 4, from + len - 4, 4);
    } else {
        for (size_t i = 0; i < len; i++)
            to[i] = from[i];
    }
}

static inline char *put(char *p, const char *text, size_t len)
{
    copy_text(p, text, len);
    return p + len;
}

static inline char *put_str(char *p, const char *text)
{
    return put(p, text, strlen(text));
}

static inline char *put_number(char *p, uint64_t v)
{
    if (v < 10) {
        *p = (char)('0' + v);
        return p + 1;
    }
    return p + base_u64_text(p, v);
}

static inline char *put_3(char *p, unsigned v)
{
    p[0] = (char)('0' + v / 100);
    p[1] = (char)('0' + v / 10 % 10);
    p[2] = (char)('0' + v % 10);
    return p + 3;
}

static inline char *put_2(char *p, unsigned v)
{
    p[0] = (char)('0' + v / 10);
    p[1] = (char)('0' + v % 10);
    return p + 2;
}

/* The text from `from` to p, at least width columns wide. */
static inline char *fit(char *from, char *p, size_t width, bool left)
{
    size_t len = (size_t)(p - from);
    if (len >= width)
        return p;
    if (left) {
        memset(p, ' ', width - len);
    } else {
        memmove(from + (width - len), from, len);
        memset(from, ' ', width - len);
    }
    return from + width;
}

/* A column of the block. */
struct query_view {
    const struct query_vec *v; /* NULL: no row has a value */
    const uint64_t *num;       /* a number a row; NULL: none, or lists */
    bool text;                 /* codes into a dictionary */
    bool plain;                /* no text of the dictionary needs quotes, escapes or care */
    uint32_t max;              /* length of the longest text, when plain */
};

static inline bool has(const struct query_view *view, size_t i)
{
    const struct query_vec *v = view->v;
    return v && (!v->valid || parquet_bit(v->valid, i));
}

static inline uint64_t number(const struct query_view *view, size_t i)
{
    return view->num ? view->num[i] : 0;
}

static inline const struct query_text *text_at(const struct query_view *view, size_t i)
{
    return view->text && has(view, i) ? &view->v->dict[view->v->codes[i]] : NULL;
}

static inline const struct query_view *view_of(const struct query_writer *w,
                                               const struct query_cell *c, size_t k)
{
    static const struct query_view nothing = {0};
    return c->v[k] < 0 ? &nothing : &w->views[c->v[k]];
}

/* Whether JSON, CSV and a terminal take a text as it is: printable ASCII without quotation marks, backslashes and commas.
 * Eight octets at a time; the sign bits of `odd` tell. */
static inline uint64_t odd_octets(uint64_t x)
{
    const uint64_t ones = 0x0101010101010101ULL, high = 0x80 * ones;
#define IS(octet)                                                                                  \
    (((x ^ (octet)*ones) - ones) &                                                                 \
     ~(x ^ (octet)*ones)) /* exact in its lowest hit, which is enough */
    return (x | ((x - 0x20 * ones) & ~x) | IS('"') | IS('\\') | IS(',') | IS(0x7f)) & high;
#undef IS
}

static inline bool text_plain(const char *text, size_t len)
{
    uint64_t x, odd = 0;
    if (len >= 8) {
        for (size_t i = 0; i + 8 <= len; i += 8) {
            memcpy(&x, text + i, 8);
            odd |= odd_octets(x);
        }
        memcpy(&x, text + len - 8, 8);
        return (odd | odd_octets(x)) == 0;
    }
    x = 0x3030303030303030ULL;
    if (len)
        memcpy(&x, text, len);
    return odd_octets(x) == 0;
}

/* The same, for callers that do not need it fast. */
bool query_text_plain(const char *text, size_t len);

/* Whether an address as text is of IPv6. */
static inline bool is_ipv6(const struct query_text *t)
{
    for (uint32_t i = 0; i < t->len && i < 5; i++)
        if (t->data[i] == ':')
            return true;
    return false;
}

static inline bool is_icmp(uint64_t proto)
{
    return proto == 1 || proto == 58;
}

/* "2026-11-22 21:05:", the text of a minute since 1970. */
const char *query_clock_minute(struct query_clock *c, int64_t minute);

/* Year 1 to 9999, so that every time has the same width. */
static inline int64_t us_clamp(int64_t us)
{
    const int64_t least = -62135596800LL * 1000000, most = 253402214400LL * 1000000 - 1;
    return us < least ? least : us > most ? most : us;
}

/* "2026-11-22 21:05:00", 19 octets; returns the microseconds of the second. */
static inline unsigned clock_second(struct query_clock *c, int64_t us, char *out)
{
    const int64_t us_minute = 60 * 1000000LL;
    us = us_clamp(us);
    int64_t minute = us / us_minute, rest = us % us_minute;
    if (rest < 0) {
        minute--;
        rest += us_minute;
    }
    memcpy(out, query_clock_minute(c, minute), 17);
    put_2(out + 17, (unsigned)rest / 1000000);
    return (unsigned)rest % 1000000;
}

/* Whether the cell is written in row i at all, and its value at p; NULL: out of memory. */
bool query_cell_due(const struct query_writer *w, const struct query_cell *c, size_t i);
char *query_cell_value(struct query_writer *w, const struct query_cell *c, size_t i, char *p);

/* The address with only its first `bits` left, or as it is when that makes no sense. out holds 48. Returns the length. */
size_t query_net_text(char *out, const struct query_text *t, uint64_t bits);
/* Octets of an address as text: 4, 16, or 0 when it is neither. */
unsigned query_addr_octets(const struct query_text *t, uint8_t out[16]);

#endif
