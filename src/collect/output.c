#include "collect/output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#include "base/err.h"
#include "base/log.h"

struct output {
    const char *path;
    int level;
    const atomic_bool *give_up;
    int fd;
    bool gzip, own_fd;
    z_stream deflate;
    bool deflate_ready;
    bool torn; /* half a member could not be taken back: to be cut off at torn_at before the next */
    off_t torn_at;
    base_buf member;
};

enum { READ_CHUNK = 256 * 1024 };

static void put_le32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> 8 * i);
}

static uint32_t get_le32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* ---- finding the valid end ---- */

enum member { MEMBER_WHOLE, MEMBER_TORN, MEMBER_DAMAGED };

/* Octets of the file at off, up to n, short only at its end. */
static size_t read_at(int fd, uint8_t *p, size_t n, uint64_t off, bool *failed)
{
    size_t got = 0;
    while (got < n) {
        ssize_t r = pread(fd, p + got, n - got, (off_t)(off + got));
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            *failed = true;
        if (r <= 0)
            break;
        got += (size_t)r;
    }
    return got;
}

/* Inflate one member from off: its length, and whether its checksum is right. */
static enum member inflate_member(int fd, uint64_t off, uint64_t *len, bool *failed)
{
    z_stream z = {0};
    uint8_t *in = malloc(READ_CHUNK), *out = malloc(READ_CHUNK);
    enum member m = MEMBER_DAMAGED;
    if (!in || !out || inflateInit2(&z, 16 + MAX_WBITS) != Z_OK) {
        *failed = true;
        goto done;
    }
    int r = Z_OK;
    *len = 0;
    while (r == Z_OK || r == Z_BUF_ERROR) {
        if (!z.avail_in) {
            size_t n = read_at(fd, in, READ_CHUNK, off + *len, failed);
            if (!n)
                break;
            z.next_in = in;
            z.avail_in = (uInt)n;
            *len += n;
        }
        z.next_out = out;
        z.avail_out = READ_CHUNK;
        r = inflate(&z, Z_NO_FLUSH);
    }
    *len -= z.avail_in;
    m = r == Z_STREAM_END               ? MEMBER_WHOLE
        : r == Z_OK || r == Z_BUF_ERROR ? MEMBER_TORN
                                        : MEMBER_DAMAGED;
    (void)inflateEnd(&z);
done:
    free(in);
    free(out);
    return m;
}

/* Power failed before the data of the last write reached the disk: the file is as long as it should be, of
 * zeros. */
static bool zeros_from(int fd, uint64_t off, bool *failed)
{
    uint8_t p[4096];
    size_t n;
    while ((n = read_at(fd, p, sizeof p, off, failed)) > 0) {
        for (size_t i = 0; i < n; i++)
            if (p[i])
                return false;
        off += n;
    }
    return true;
}

/* The member at off: its length from its extra field, *vouched, or by inflating it. */
static enum member next_member(int fd, uint64_t off, uint64_t size, uint64_t *len, bool *vouched,
                               bool *failed)
{
    static const uint8_t magic[4] = {0x1f, 0x8b, 8, 4};
    static const uint8_t extra[6] = {8, 0, OUTPUT_EXTRA_A, OUTPUT_EXTRA_B, 4, 0};
    uint8_t head[OUTPUT_HEAD];
    size_t n = read_at(fd, head, sizeof head, off, failed);
    *vouched = false;
    if (memcmp(head, magic, n < 3 ? n : 3) != 0)
        return zeros_from(fd, off, failed) ? MEMBER_TORN : MEMBER_DAMAGED;
    if (n < sizeof head)
        return MEMBER_TORN; /* the shortest member has 20 octets */
    if (head[3] == magic[3] && memcmp(head + 10, extra, sizeof extra) == 0) {
        *vouched = true;
        *len = get_le32(head + 16);
        if (*len < OUTPUT_HEAD + OUTPUT_TAIL)
            return MEMBER_DAMAGED;
        return *len > size - off ? MEMBER_TORN : MEMBER_WHOLE;
    }
    return inflate_member(fd, off, len, failed);
}

/* Where the chain of whole members ends. TORN: what follows may be cut off. */
static enum member find_end(int fd, uint64_t size, uint64_t *end, bool *failed)
{
    uint64_t off = 0, len = 0, last = 0;
    bool vouched = false, last_vouched = false;
    enum member m = MEMBER_WHOLE;
    while (off < size && !*failed) {
        m = next_member(fd, off, size, &len, &vouched, failed);
        if (m != MEMBER_WHOLE)
            break;
        last = off;
        last_vouched = vouched;
        off += len;
    }
    *end = off;
    if (last_vouched && !*failed) {
        /* A crash of the machine may have left the last member's length without its data. */
        enum member check = inflate_member(fd, last, &len, failed);
        if (check != MEMBER_WHOLE || len != off - last) {
            *end = last;
            m = m == MEMBER_DAMAGED ? m : MEMBER_TORN;
        }
    }
    return m;
}

/* Bring an existing regular file to its valid end. *again: it was moved aside, open anew. */
static weir_status recover(const char *path, int fd, uint64_t size, bool *again, weir_err *err)
{
    bool failed = false;
    uint64_t end = 0;
    uint8_t head[3];
    *again = false;
    if (!size)
        return WEIR_OK;
    size_t n = read_at(fd, head, sizeof head, 0, &failed);
    if (!failed && memcmp(head, "\x1f\x8b\x08", n) != 0 && !zeros_from(fd, 0, &failed))
        return weir_err_set(err, WEIR_EFORMAT, 0,
                            "%s exists and is no gzip file (choose another --file)", path);
    enum member m = failed ? MEMBER_DAMAGED : find_end(fd, size, &end, &failed);
    if (failed)
        return weir_err_set(err, WEIR_EIO, 0, "cannot read %s: %s", path, strerror(errno));
    if (m == MEMBER_WHOLE)
        return WEIR_OK;
    if (m == MEMBER_TORN && size - end <= OUTPUT_CUT_MAX) {
        if (ftruncate(fd, (off_t)end) != 0)
            return weir_err_set(err, WEIR_EIO, end, "cannot cut the torn end off %s: %s", path,
                                strerror(errno));
        log_warning("%s: cut off %llu octets of a member that was not written to its end", path,
                    (unsigned long long)(size - end));
        return WEIR_OK;
    }
    char aside[4096];
    int len = snprintf(aside, sizeof aside, "%s.damaged-%lld", path, (long long)time(NULL));
    for (int i = 1; len > 0 && access(aside, F_OK) == 0; i++) /* never over another one */
        len = snprintf(aside, sizeof aside, "%s.damaged-%lld-%d", path, (long long)time(NULL), i);
    if (len < 0 || (size_t)len >= sizeof aside || rename(path, aside) != 0)
        return weir_err_set(err, WEIR_EIO, end,
                            "%s is damaged at octet %llu and cannot be renamed: %s", path,
                            (unsigned long long)end, strerror(errno));
    log_warning("%s is damaged at octet %llu: kept as %s, starting a new file", path,
                (unsigned long long)end, aside);
    *again = true;
    return WEIR_OK;
}

/* ---- opening ---- */

static weir_status cannot_open(const char *path, weir_err *err)
{
    const char *remedy = "";
    if (errno == EACCES || errno == EPERM)
        remedy = " (run as a user who may write there or pass --file)";
    else if (errno == ENOENT)
        remedy = " (create the directory or pass --file)";
    return weir_err_set(err, WEIR_EIO, 0, "cannot open %s: %s%s", path, strerror(errno), remedy);
}

/* Open path into *fd, ready to append; *gzip: it is a regular file. */
static weir_status open_path(const char *path, int *fd, bool *gzip, weir_err *err)
{
    for (int tries = 0;; tries++) {
        struct stat st;
        /* A FIFO opened for both never waits for its reader and never breaks when the reader goes. */
        bool fifo = stat(path, &st) == 0 && S_ISFIFO(st.st_mode);
        bool regular = fifo || stat(path, &st) != 0 || S_ISREG(st.st_mode);
        int flags = (regular ? O_RDWR : O_WRONLY) | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY;
        *fd = open(path, flags, 0644);
        if (*fd < 0)
            return cannot_open(path, err);
        weir_status s = WEIR_OK;
        bool again = false;
        if (fstat(*fd, &st) != 0) {
            s = cannot_open(path, err);
        } else if (!(*gzip = S_ISREG(st.st_mode))) {
            return WEIR_OK;
        } else if (flock(*fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
            s = weir_err_set(err, WEIR_ELIMIT, 0,
                             "%s is being written by another process (choose another --file)",
                             path);
        } else {
            s = recover(path, *fd, (uint64_t)st.st_size, &again, err);
        }
        if (s == WEIR_OK && !again)
            return WEIR_OK;
        (void)close(*fd);
        *fd = -1;
        if (s != WEIR_OK)
            return s;
        if (tries)
            return weir_err_set(err, WEIR_EIO, 0, "%s changes while it is opened", path);
    }
}

static weir_status make_member(output *o, const char *text, size_t len, weir_err *err);

/* Not even an empty file is a gzip file: a new one begins with a member of nothing, so that any reader can open it
 * before the first flow. Where that fails, the disk is full and the first flows will say so. */
static void begin_file(output *o)
{
    struct stat st;
    if (!o->gzip || fstat(o->fd, &st) != 0 || st.st_size > 0 ||
        make_member(o, "", 0, NULL) != WEIR_OK)
        return;
    if (write(o->fd, o->member.data, o->member.len) != (ssize_t)o->member.len)
        (void)!ftruncate(o->fd, 0);
}

weir_status output_open(const char *path, int level, const atomic_bool *give_up, output **out,
                        weir_err *err)
{
    output *o = calloc(1, sizeof *o);
    if (!o)
        return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
    *o = (output){.path = path, .level = level, .give_up = give_up, .fd = -1};
    weir_status s = WEIR_OK;
    if (strcmp(path, "-") == 0) {
        o->fd = STDOUT_FILENO;
    } else {
        o->own_fd = true;
        s = open_path(path, &o->fd, &o->gzip, err);
    }
    if (s == WEIR_OK && o->gzip) {
        /* Negative window bits: raw deflate, the member's head and tail are ours. */
        if (deflateInit2(&o->deflate, level, Z_DEFLATED, -MAX_WBITS, 9, Z_DEFAULT_STRATEGY) == Z_OK)
            o->deflate_ready = true;
        else
            s = weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
    }
    if (s != WEIR_OK) {
        output_close(o);
        return s;
    }
    begin_file(o);
    *out = o;
    return WEIR_OK;
}

weir_status output_reopen(output *o, weir_err *err)
{
    if (!o->own_fd)
        return WEIR_OK;
    int fd = -1;
    bool gzip = false;
    struct stat old, now;
    if (o->gzip && fstat(o->fd, &old) == 0 && stat(o->path, &now) == 0 &&
        old.st_ino == now.st_ino && old.st_dev == now.st_dev)
        return WEIR_OK; /* nobody has renamed it */
    WEIR_TRY(open_path(o->path, &fd, &gzip, err));
    if (gzip != o->gzip) {
        (void)close(fd);
        return weir_err_set(err, WEIR_EIO, 0, "%s is %s regular file now", o->path,
                            gzip ? "a" : "no");
    }
    if (gzip)
        (void)fdatasync(o->fd);
    (void)close(o->fd);
    o->fd = fd;
    o->torn = false;
    begin_file(o);
    return WEIR_OK;
}

bool output_is_gzip(const output *o)
{
    return o->gzip;
}

void output_close(output *o)
{
    if (!o)
        return;
    if (o->own_fd && o->fd >= 0) {
        if (o->gzip)
            (void)fdatasync(o->fd);
        (void)close(o->fd);
    }
    if (o->deflate_ready)
        (void)deflateEnd(&o->deflate);
    base_buf_done(&o->member);
    free(o);
}

/* ---- writing ---- */

/* text as one whole member in o->member. */
static weir_status make_member(output *o, const char *text, size_t len, weir_err *err)
{
    base_buf *b = &o->member;
    z_stream *z = &o->deflate;
    base_buf_reset(b);
    if (len > UINT32_MAX / 2 || deflateReset(z) != Z_OK)
        return weir_err_set(err, WEIR_ELIMIT, 0, "%zu octets are too many for one member", len);
    z->next_in = (z_const Bytef *)(uintptr_t)text; /* zlib does not write there */
    z->avail_in = (uInt)len;
    size_t room = OUTPUT_HEAD + deflateBound(z, (uLong)len);
    int r = Z_OK;
    while (r != Z_STREAM_END) { /* more than once: zlib 1.2.13 promises too little for level 0 */
        uint8_t *at = (uint8_t *)base_buf_room(b, room + OUTPUT_TAIL);
        if (!at)
            return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
        size_t head = b->len ? 0 : OUTPUT_HEAD;
        z->next_out = at + head;
        z->avail_out = (uInt)(room - head);
        r = deflate(z, Z_FINISH);
        if (r != Z_STREAM_END && r != Z_OK && r != Z_BUF_ERROR)
            return weir_err_set(err, WEIR_ENOMEM, 0, "deflate failed");
        b->len += room - z->avail_out;
        room = 4096;
    }
    uint8_t *p = (uint8_t *)b->data;
    size_t total = b->len + OUTPUT_TAIL;
    memcpy(p, "\x1f\x8b\x08\x04", 4);
    put_le32(p + 4, (uint32_t)time(NULL));
    p[8] = o->level == 1 ? 4 : 0; /* XFL: fastest */
    p[9] = 3;                     /* Unix */
    p[10] = 8;
    p[11] = 0;
    p[12] = OUTPUT_EXTRA_A;
    p[13] = OUTPUT_EXTRA_B;
    p[14] = 4;
    p[15] = 0;
    put_le32(p + 16, (uint32_t)total);
    put_le32(p + total - 8, (uint32_t)crc32(0, (const Bytef *)text, (uInt)len));
    put_le32(p + total - 4, (uint32_t)len);
    b->len = total;
    return WEIR_OK;
}

/* *done grows by what was written of p[len]. */
static weir_status write_all(output *o, const char *p, size_t len, size_t *done, weir_err *err)
{
    while (*done < len) {
        ssize_t n = write(o->fd, p + *done, len - *done);
        if (n > 0) {
            *done += (size_t)n;
            continue;
        }
        if (n < 0 && (errno == EINTR || errno == EAGAIN)) {
            if (!atomic_load(o->give_up))
                continue;
            errno = EINTR;
        }
        if (n == 0)
            errno = ENOSPC;
        return weir_err_set(err, errno == EPIPE ? WEIR_END : WEIR_EIO, *done, "cannot write %s: %s",
                            strcmp(o->path, "-") == 0 ? "standard output" : o->path,
                            strerror(errno));
    }
    return WEIR_OK;
}

weir_status output_write(output *o, const char *text, size_t len, size_t *done, uint64_t *added,
                         weir_err *err)
{
    if (*done >= len)
        return WEIR_OK;
    if (!o->gzip) {
        size_t before = *done;
        weir_status s = write_all(o, text, len, done, err);
        *added += *done - before;
        return s;
    }
    WEIR_TRY(make_member(o, text, len, err));
    /* The end now, not as it was remembered: somebody may have emptied the file (copy and truncate). */
    struct stat st;
    size_t written = 0;
    if (fstat(o->fd, &st) != 0)
        return weir_err_set(err, WEIR_EIO, 0, "cannot write %s: %s", o->path, strerror(errno));
    if (o->torn && st.st_size > o->torn_at) {
        if (ftruncate(o->fd, o->torn_at) != 0)
            return weir_err_set(err, WEIR_EIO, 0, "cannot write %s: %s", o->path, strerror(errno));
        st.st_size = o->torn_at;
    }
    o->torn = false;
    weir_status s = write_all(o, o->member.data, o->member.len, &written, err);
    if (s != WEIR_OK) {
        o->torn = written && ftruncate(o->fd, st.st_size) != 0;
        o->torn_at = st.st_size;
        return s;
    }
    *done = len;
    *added += o->member.len;
    return WEIR_OK;
}
