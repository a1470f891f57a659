#include "collect/source.h"

#include "base/err.h"

#include <bzlib.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

enum { IN_OCTETS = 64 * 1024, WINDOW_OCTETS = 2 * SOURCE_PEEK_MAX, NAME_MAX_SHOWN = 60 };

enum packing { PLAIN, GZIP, BZIP2 };

/*      fd or memory --raw_read--> in[] --inflate--> window[] --peek, skip--> reader
 *                   \------------ plain --------/          \--stream_read--> libpcap  */
struct source {
    char name[NAME_MAX_SHOWN + 4];
    int fd; /* -1: memory */
    const uint8_t *mem;
    size_t mem_left;

    enum packing packing;
    bool codec_open;
    z_stream gz;
    bz_stream bz;
    uint8_t *in; /* compressed octets, IN_OCTETS of them; NULL when plain */
    size_t in_at, in_len;
    bool in_end;    /* raw input has ended */
    bool in_member; /* some octets of the current gzip member or bzip2 stream were read */

    uint8_t *window; /* WINDOW_OCTETS */
    size_t at, len;  /* unread octets are window[at] to window[len] */
    uint64_t taken;
    bool end; /* nothing more will come into the window */
    weir_err failure;
};

static void fail(source *s, weir_status code, const char *what)
{
    weir_err_set(&s->failure, code, 0, "%s: %s", s->name, what);
    s->end = true;
}

/* Octets straight from the file; 0 at its end and after a failure. */
static size_t raw_read(source *s, uint8_t *to, size_t n)
{
    if (s->fd < 0) {
        size_t m = n < s->mem_left ? n : s->mem_left;
        if (m) {
            memcpy(to, s->mem, m);
            s->mem += m;
            s->mem_left -= m;
        }
        return m;
    }
    for (;;) {
        ssize_t got = read(s->fd, to, n);
        if (got >= 0)
            return (size_t)got;
        if (errno == EAGAIN) /* somebody made stdin non-blocking */
            poll(&(struct pollfd){.fd = s->fd, .events = POLLIN}, 1, -1);
        else if (errno != EINTR)
            break;
    }
    weir_err_set(&s->failure, WEIR_EIO, 0, "%s: cannot read: %s", s->name, strerror(errno));
    s->end = true;
    return 0;
}

/* False: no compressed octets are left. */
static bool in_fill(source *s)
{
    if (s->in_at < s->in_len)
        return true;
    if (s->in_end)
        return false;
    s->in_at = 0;
    s->in_len = raw_read(s, s->in, IN_OCTETS);
    s->in_end = s->in_len == 0;
    return !s->in_end;
}

/* Behind the last octet of one gzip member or bzip2 stream: another may follow, or zeros (block devices and
 * tapes pad with them), or the end. */
static void next_member(source *s)
{
    s->in_member = false;
    if (!in_fill(s)) {
        s->end = true;
        return;
    }
    bool ok;
    if (s->packing == GZIP) {
        ok = s->in[s->in_at] == 0x1f && inflateReset(&s->gz) == Z_OK;
    } else {
        BZ2_bzDecompressEnd(&s->bz);
        memset(&s->bz, 0, sizeof s->bz);
        s->codec_open = BZ2_bzDecompressInit(&s->bz, 0, 0) == BZ_OK;
        ok = s->in[s->in_at] == 'B' && s->codec_open;
    }
    if (ok)
        return;
    while (in_fill(s)) {
        for (; s->in_at < s->in_len; s->in_at++) {
            if (s->in[s->in_at]) {
                fail(s, WEIR_EFORMAT, "other octets follow the compressed data (cut them off)");
                return;
            }
        }
    }
    s->end = true;
}

static size_t gzip_read(source *s, uint8_t *to, size_t n)
{
    s->gz.next_in = s->in + s->in_at;
    s->gz.avail_in = (uInt)(s->in_len - s->in_at);
    s->gz.next_out = to;
    s->gz.avail_out = (uInt)n;
    int rc = inflate(&s->gz, Z_NO_FLUSH);
    s->in_at = s->in_len - s->gz.avail_in;
    size_t made = n - s->gz.avail_out;
    if (rc == Z_STREAM_END)
        next_member(s);
    else if (rc == Z_MEM_ERROR)
        fail(s, WEIR_ENOMEM, "out of memory for gzip");
    else if (rc != Z_OK && rc != Z_BUF_ERROR)
        fail(s, WEIR_EFORMAT, "the gzip data are damaged (gzip -t tells more)");
    return made;
}

static size_t bzip2_read(source *s, uint8_t *to, size_t n)
{
    s->bz.next_in = (char *)s->in + s->in_at;
    s->bz.avail_in = (unsigned)(s->in_len - s->in_at);
    s->bz.next_out = (char *)to;
    s->bz.avail_out = (unsigned)n;
    int rc = BZ2_bzDecompress(&s->bz);
    s->in_at = s->in_len - s->bz.avail_in;
    size_t made = n - s->bz.avail_out;
    if (rc == BZ_STREAM_END)
        next_member(s);
    else if (rc == BZ_MEM_ERROR)
        fail(s, WEIR_ENOMEM, "out of memory for bzip2");
    else if (rc != BZ_OK)
        fail(s, WEIR_EFORMAT, "the bzip2 data are damaged (bzip2 -t tells more)");
    return made;
}

/* Some octets of the decompressed input; 0 at its end and after a failure. */
static size_t produce(source *s, uint8_t *to, size_t n)
{
    while (!s->end) {
        size_t made;
        if (s->packing == PLAIN) {
            made = raw_read(s, to, n);
            s->end = made == 0;
        } else if (in_fill(s)) {
            s->in_member = true;
            made = s->packing == GZIP ? gzip_read(s, to, n) : bzip2_read(s, to, n);
        } else {
            if (s->in_member && s->failure.code == WEIR_OK)
                fail(s, WEIR_ETRUNC, "the compressed data end too early (the file was cut short)");
            s->end = true;
            made = 0;
        }
        if (made)
            return made;
    }
    return 0;
}

size_t source_peek(source *s, size_t n, const uint8_t **p)
{
    if (n > SOURCE_PEEK_MAX)
        n = SOURCE_PEEK_MAX;
    if (s->len - s->at < n && WINDOW_OCTETS - s->at < n) {
        memmove(s->window, s->window + s->at, s->len - s->at);
        s->len -= s->at;
        s->at = 0;
    }
    while (s->len - s->at < n && !s->end)
        s->len += produce(s, s->window + s->len, WINDOW_OCTETS - s->len);
    *p = s->window + s->at;
    return s->len - s->at;
}

void source_skip(source *s, size_t n)
{
    size_t have = s->len - s->at;
    if (n > have)
        n = have;
    s->at += n;
    s->taken += n;
    if (s->at == s->len)
        s->at = s->len = 0;
}

uint64_t source_offset(const source *s)
{
    return s->taken;
}

const char *source_name(const source *s)
{
    return s->name;
}

weir_status source_status(const source *s, weir_err *err)
{
    if (s->failure.code != WEIR_OK && err) {
        *err = s->failure;
        err->at = s->taken + (s->len - s->at);
    }
    return s->failure.code;
}

static ssize_t stream_read(void *cookie, char *to, size_t n)
{
    source *s = cookie;
    const uint8_t *p;
    size_t have = source_peek(s, 1, &p);
    if (have == 0) {
        errno = EIO;
        return s->failure.code == WEIR_OK ? 0 : -1;
    }
    if (have > n)
        have = n;
    memcpy(to, p, have);
    source_skip(s, have);
    return (ssize_t)have;
}

/* Only "where am I", for ftello: the input may be a pipe. */
static int stream_seek(void *cookie, off64_t *off, int whence)
{
    const source *s = cookie;
    if (whence != SEEK_CUR || *off != 0) {
        errno = ESPIPE;
        return -1;
    }
    *off = (off64_t)s->taken;
    return 0;
}

FILE *source_stream(source *s)
{
    const cookie_io_functions_t io = {.read = stream_read, .seek = stream_seek};
    FILE *f = fopencookie(s, "rb", io);
    if (!f)
        return NULL;
    setvbuf(f, NULL, _IOFBF, IN_OCTETS);
    __fsetlocking(f,
                  FSETLOCKING_BYCALLER); /* one thread reads a capture: no lock for every field */
    return f;
}

/* Look at the first octets for compression. A file compressed twice is refused rather than guessed at. */
static weir_status unpack(source *s, weir_err *err)
{
    for (int level = 0; level < 2; level++) {
        const uint8_t *p;
        size_t n = source_peek(s, 5, &p);
        enum packing found = PLAIN;
        if (n >= 3 && p[0] == 0x1f && p[1] == 0x8b && p[2] == 8)
            found = GZIP;
        else if (n >= 5 && memcmp(p, "BZh", 3) == 0 && p[3] >= '1' && p[3] <= '9' &&
                 (p[4] == 0x31 ||
                  p[4] == 0x17)) /* first octet of a block or of the end of stream */
            found = BZIP2;
        if (found == PLAIN)
            return n == 0 ? source_status(s, err) : WEIR_OK;
        if (level == 1)
            return weir_err_set(err, WEIR_EFORMAT, 0, "%s: compressed twice (decompress it once)",
                                s->name);

        /* What was read so far becomes the compressed input; it fits, as source_peek read at most a window. */
        s->in = malloc(WINDOW_OCTETS);
        if (!s->in)
            return weir_err_set(err, WEIR_ENOMEM, 0, "%s: out of memory", s->name);
        s->in_len = s->len - s->at;
        memcpy(s->in, p, s->in_len);
        s->in_end = s->end;
        s->at = s->len = 0;
        s->end = false;
        int rc = found == GZIP ? inflateInit2(&s->gz, 16 + MAX_WBITS)
                               : BZ2_bzDecompressInit(&s->bz, 0, 0);
        if (rc != 0)
            return weir_err_set(err, WEIR_ENOMEM, 0, "%s: out of memory", s->name);
        s->packing = found;
        s->codec_open = true;
    }
    return WEIR_OK;
}

static source *make(const char *name)
{
    source *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->window = malloc(WINDOW_OCTETS);
    if (!s->window) {
        free(s);
        return NULL;
    }
    size_t n = strlen(name);
    bool cut = n > NAME_MAX_SHOWN;
    snprintf(s->name, sizeof s->name, "%s%s", cut ? "..." : "",
             cut ? name + n - NAME_MAX_SHOWN : name);
    s->fd = -1;
    return s;
}

static weir_status opened(source *s, source **out, weir_err *err)
{
    weir_status st = unpack(s, err);
    if (st != WEIR_OK)
        source_close(s);
    else
        *out = s;
    return st;
}

weir_status source_open(const char *path, source **out, weir_err *err)
{
    bool is_stdin = strcmp(path, "-") == 0;
    source *s = make(is_stdin ? "stdin" : path);
    if (!s)
        return weir_err_set(err, WEIR_ENOMEM, 0, "%.60s: out of memory", path);
    s->fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (s->fd < 0) {
        weir_status st =
            weir_err_set(err, WEIR_EIO, 0, "cannot open %s: %s", s->name, strerror(errno));
        source_close(s);
        return st;
    }
    return opened(s, out, err);
}

weir_status source_open_memory(const char *name, const void *data, size_t len, source **out,
                               weir_err *err)
{
    source *s = make(name);
    if (!s)
        return weir_err_set(err, WEIR_ENOMEM, 0, "%.60s: out of memory", name);
    s->mem = data;
    s->mem_left = len;
    return opened(s, out, err);
}

void source_close(source *s)
{
    if (!s)
        return;
    if (s->codec_open && s->packing == GZIP)
        inflateEnd(&s->gz);
    if (s->codec_open && s->packing == BZIP2)
        BZ2_bzDecompressEnd(&s->bz);
    if (s->fd > STDIN_FILENO)
        close(s->fd);
    free(s->in);
    free(s->window);
    free(s);
}
