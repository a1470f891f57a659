/* buf -- a growable run of octets for building lines and files; one failed growth makes it `failed` until it
 * is reset, so that one check at the end serves many appends. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct base_buf {
    char *data;
    size_t len, cap;
    bool failed; /* out of memory; what was appended since is missing */
} base_buf;

/* Zero-initialise a base_buf to start; done frees it and leaves it empty. */
void base_buf_done(base_buf *b);

/* Make room for n more octets; false: out of memory (b is failed). The slow half of base_buf_room. */
bool base_buf_grow(base_buf *b, size_t n);

static inline void base_buf_reset(base_buf *b)
{
    b->len = 0;
    b->failed = false;
}

/* Where n more octets may be written (then add to len what was), or NULL. */
static inline char *base_buf_room(base_buf *b, size_t n)
{
    if (b->cap - b->len < n && !base_buf_grow(b, n))
        return NULL;
    return b->data + b->len;
}

static inline void base_buf_add(base_buf *b, const void *p, size_t n)
{
    char *at = n ? base_buf_room(b, n) : NULL; /* an empty buffer has no octets to point into */
    if (at) {
        memcpy(at, p, n);
        b->len += n;
    }
}

static inline void base_buf_str(base_buf *b, const char *s)
{
    base_buf_add(b, s, strlen(s));
}

static inline void base_buf_char(base_buf *b, char c)
{
    base_buf_add(b, &c, 1);
}

void base_buf_printf(base_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Big-endian integers, for state files. */
void base_buf_u8(base_buf *b, uint8_t v);
void base_buf_u16(base_buf *b, uint16_t v);
void base_buf_u32(base_buf *b, uint32_t v);
void base_buf_u64(base_buf *b, uint64_t v);

#endif
