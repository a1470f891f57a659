/* heap -- how much the code under test has allocated, and allocations that fail on demand. Link the test with
 * -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=free (tests/unit/meson.build); for one test program alone. */
#ifndef TESTS_HEAP_H
#define TESTS_HEAP_H

#include <malloc.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void __real_free(void *p);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void __wrap_free(void *p);

static struct heap {
    size_t live, peak; /* octets that malloc has given, its rounding included */
    uint64_t calls;
    uint64_t fail_at; /* the call that fails, counted from 1; 0: none */
    bool fail_on;     /* and all after it */
    uint64_t failed;
} heap;

static inline bool heap_fails(void)
{
    heap.calls++;
    if (heap.fail_at == 0 ||
        (heap.fail_on ? heap.calls < heap.fail_at : heap.calls != heap.fail_at))
        return false;
    heap.failed++;
    return true;
}

static inline void *heap_got(void *p)
{
    heap.live += p ? malloc_usable_size(p) : 0;
    if (heap.live > heap.peak)
        heap.peak = heap.live;
    return p;
}

void *__wrap_malloc(size_t n)
{
    return heap_fails() ? NULL : heap_got(__real_malloc(n));
}

void *__wrap_calloc(size_t n, size_t size)
{
    return heap_fails() ? NULL : heap_got(__real_calloc(n, size));
}

void *__wrap_realloc(void *p, size_t n)
{
    if (heap_fails())
        return NULL;
    size_t before = p ? malloc_usable_size(p) : 0;
    void *q = __real_realloc(p, n);
    if (q)
        heap.live -= before;
    return q ? heap_got(q) : NULL;
}

void __wrap_free(void *p)
{
    heap.live -= p ? malloc_usable_size(p) : 0;
    __real_free(p);
}

#endif
