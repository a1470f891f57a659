#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void base_buf_done(base_buf *b)
{
    free(b->data);
    *b = (base_buf){0};
}

bool base_buf_grow(base_buf *b, size_t n)
{
    if (b->failed)
        return false;
    if (n > SIZE_MAX / 4 - b->len) {
        b->failed = true;
        return false;
    }
    size_t cap = b->cap ? b->cap : 256;
    while (cap - b->len < n)
        cap *= 2;
    char *data = realloc(b->data, cap);
    if (!data) {
        b->failed = true;
        return false;
    }
    b->data = data;
    b->cap = cap;
    return true;
}

void base_buf_printf(base_buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *at = n >= 0 ? base_buf_room(b, (size_t)n + 1) : NULL;
    if (at) {
        (void)vsnprintf(at, (size_t)n + 1, fmt, again);
        b->len += (size_t)n;
    }
    va_end(again);
}

void base_buf_u8(base_buf *b, uint8_t v)
{
    base_buf_add(b, &v, 1);
}

void base_buf_u16(base_buf *b, uint16_t v)
{
    base_buf_u8(b, (uint8_t)(v >> 8));
    base_buf_u8(b, (uint8_t)v);
}

void base_buf_u32(base_buf *b, uint32_t v)
{
    base_buf_u16(b, (uint16_t)(v >> 16));
    base_buf_u16(b, (uint16_t)v);
}

void base_buf_u64(base_buf *b, uint64_t v)
{
    base_buf_u32(b, (uint32_t)(v >> 32));
    base_buf_u32(b, (uint32_t)v);
}
