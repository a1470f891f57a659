/* rd -- a careful big-endian reader for headers and templates: past the end it yields 0 and stays dead, so
 * one check serves a whole header. Not for hot loops. */
#ifndef BASE_RD_H
#define BASE_RD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct base_rd {
    const uint8_t *at, *end;
    bool dead; /* something was read past the end */
} base_rd;

static inline base_rd base_rd_of(const uint8_t *p, size_t len)
{
    return (base_rd){p, p + len, false};
}

static inline size_t base_rd_left(const base_rd *r)
{
    return (size_t)(r->end - r->at);
}

/* The next n octets, or NULL. */
static inline const uint8_t *base_rd_take(base_rd *r, size_t n)
{
    if (r->dead || base_rd_left(r) < n) {
        r->dead = true;
        return NULL;
    }
    const uint8_t *p = r->at;
    r->at += n;
    return p;
}

static inline uint8_t base_rd_u8(base_rd *r)
{
    const uint8_t *p = base_rd_take(r, 1);
    return p ? *p : 0;
}

static inline uint16_t base_rd_u16(base_rd *r)
{
    const uint8_t *p = base_rd_take(r, 2);
    return (uint16_t)(p ? p[0] << 8 | p[1] : 0);
}

static inline uint32_t base_rd_u32(base_rd *r)
{
    const uint8_t *p = base_rd_take(r, 4);
    return p ? (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3] : 0;
}

static inline uint64_t base_rd_u64(base_rd *r)
{
    uint64_t high = base_rd_u32(r);
    return high << 32 | base_rd_u32(r);
}

#endif
