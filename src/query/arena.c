#include "query/filter.h"

#include "query/parse.h"

#include <regex.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK_OCTETS = 32 * 1024 };

struct chunk {
    struct chunk *next;
    size_t used, cap;
    _Alignas(max_align_t) char data[];
};

struct compiled {
    struct compiled *next;
    regex_t regex;
};

struct query_arena {
    struct chunk *chunks; /* the first has room, perhaps */
    struct compiled *regexes;
};

query_arena *query_arena_new(void)
{
    return calloc(1, sizeof(query_arena));
}

void query_arena_free(query_arena *a)
{
    if (!a)
        return;
    for (struct compiled *c = a->regexes; c; c = c->next)
        regfree(&c->regex);
    for (struct chunk *c = a->chunks, *next; c; c = next) {
        next = c->next;
        free(c);
    }
    free(a);
}

void *query_arena_alloc(query_arena *a, size_t n)
{
    const size_t align = _Alignof(max_align_t);
    if (n > SIZE_MAX - sizeof(struct chunk) - align)
        return NULL;
    n = (n + align - 1) / align * align;
    struct chunk *c = a->chunks;
    if (!c || c->cap - c->used < n) {
        size_t cap = n > CHUNK_OCTETS ? n : CHUNK_OCTETS;
        c = calloc(1, sizeof *c + cap);
        if (!c)
            return NULL;
        c->cap = cap;
        if (a->chunks && n > CHUNK_OCTETS / 2) { /* full at once: the one in front keeps its room */
            c->next = a->chunks->next;
            a->chunks->next = c;
        } else {
            c->next = a->chunks;
            a->chunks = c;
        }
    }
    void *p = c->data + c->used;
    c->used += n;
    return p;
}

char *query_arena_text(query_arena *a, const char *text, size_t len)
{
    char *copy = query_arena_alloc(a, len + 1);
    if (copy && len)
        memcpy(copy, text, len);
    return copy;
}

void *query_arena_regex(query_arena *a, const char *pattern, bool ignore_case, char *why,
                        size_t cap)
{
    struct compiled *c = query_arena_alloc(a, sizeof *c);
    if (!c)
        return NULL;
    int failed =
        regcomp(&c->regex, pattern, REG_EXTENDED | REG_NOSUB | (ignore_case ? REG_ICASE : 0));
    if (failed) {
        why[0] = '\0';
        if (failed != REG_ESPACE)
            (void)regerror(failed, &c->regex, why, cap);
        return NULL;
    }
    c->next = a->regexes;
    a->regexes = c;
    return &c->regex;
}
