#include "query/spill.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

weir_status query_spill_open(struct query_spill *s, const char *dir, weir_err *err)
{
    *s = (struct query_spill){.fd = -1};
    if (!dir)
        dir = getenv("TMPDIR");
    if (!dir || !*dir)
        dir = "/tmp";
    s->fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (s->fd < 0) { /* a file system that has no such files */
        char path[4096];
        int n = snprintf(path, sizeof path, "%s/weir-query-XXXXXX", dir);
        if (n > 0 && (size_t)n < sizeof path && (s->fd = mkostemp(path, O_CLOEXEC)) >= 0)
            unlink(path);
    }
    if (s->fd < 0)
        return weir_err_set(err, WEIR_EIO, 0,
                            "query: cannot make a temporary file in %s: %s (set TMPDIR)", dir,
                            strerror(errno));
    return WEIR_OK;
}

void query_spill_close(struct query_spill *s)
{
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
}

weir_status query_spill_write(struct query_spill *s, const void *data, size_t len, weir_err *err)
{
    const char *p = data;
    while (len) {
        ssize_t n = pwrite(s->fd, p, len, (off_t)s->end);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return weir_err_set(err, WEIR_EIO, s->end,
                                "query: cannot write a temporary file: %s (set TMPDIR)",
                                n ? strerror(errno) : "no room");
        p += n;
        len -= (size_t)n;
        s->end += (uint64_t)n;
    }
    return WEIR_OK;
}

bool query_spill_reader_init(struct query_spill_reader *r, const struct query_spill *s,
                             struct query_extent extent, size_t room)
{
    *r = (struct query_spill_reader){
        .spill = s, .at = extent.at, .end = extent.at + extent.len, .cap = room};
    r->data = malloc(room);
    return r->data;
}

void query_spill_reader_done(struct query_spill_reader *r)
{
    free(r->data);
    r->data = NULL;
}

bool query_spill_at_end(const struct query_spill_reader *r)
{
    return r->pos == r->have && r->at == r->end;
}

weir_status query_spill_read(struct query_spill_reader *r, size_t n, const void **out,
                             weir_err *err)
{
    if (r->have - r->pos < n) {
        size_t left = r->have - r->pos;
        if (n > r->cap) {
            char *more = malloc(n);
            if (!more)
                return weir_err_set(err, WEIR_ENOMEM, 0, "query: out of memory");
            memcpy(more, r->data + r->pos, left);
            free(r->data);
            r->data = more;
            r->cap = n;
        } else {
            memmove(r->data, r->data + r->pos, left);
        }
        r->pos = 0;
        r->have = left;
        while (r->have < n) {
            uint64_t rest = r->end - r->at;
            size_t want = r->cap - r->have < rest ? r->cap - r->have : (size_t)rest;
            ssize_t got = want ? pread(r->spill->fd, r->data + r->have, want, (off_t)r->at) : 0;
            if (got < 0 && errno == EINTR)
                continue;
            if (got <= 0)
                return weir_err_set(err, WEIR_EIO, r->at, "query: cannot read a temporary file: %s",
                                    got ? strerror(errno) : "it ends early");
            r->have += (size_t)got;
            r->at += (uint64_t)got;
        }
    }
    *out = r->data + r->pos;
    r->pos += n;
    return WEIR_OK;
}
