#include "analyze/lines.h"

#include "base/buf.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>
#include <zlib.h>

enum {
    BLOCK =
        128 *
        1024, /* unpacked octets handed over at once: both sides stay in the second-level cache */
    N_BLOCKS = 8,
    INPUT = 128 * 1024,
    MAX_BROKEN =
        1000 /* searches for the next member; each reads on from the damage, so they are limited */
};

struct block {
    size_t len;
    char data[BLOCK];
};

struct lines {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t filled_more, emptied_more;
    struct block
        *blocks; /* blocks[N_BLOCKS], a ring; the fields down to `final` are guarded by lock */
    unsigned long n_filled, n_emptied;
    bool ended, stop;
    weir_status final;
    weir_err final_err;
    struct lines_damage damage;

    /* The reading thread's own. */
    int fd;
    unsigned char *in;
    size_t in_at, in_len;
    uint64_t in_off; /* offset of in[0] in the input */
    bool in_eof;
    struct block *out; /* being filled; NULL: none taken */
    char last;         /* last octet put out */
    z_stream z;

    /* The caller's own. */
    struct block *now;
    size_t now_at, max_line;
    base_buf carry; /* a line that crosses blocks */
    uint64_t number;
};

/* ---- the reading thread ---- */

static weir_status fill(struct lines *l, weir_err *err)
{
    l->in_off += l->in_len;
    l->in_at = l->in_len = 0;
    while (!l->in_eof) {
        ssize_t n = read(l->fd, l->in, INPUT);
        if (n > 0) {
            l->in_len = (size_t)n;
            return WEIR_OK;
        }
        if (n == 0)
            l->in_eof = true;
        else if (errno != EINTR)
            return weir_err_set(err, WEIR_EIO, l->in_off, "cannot read: %m");
    }
    return WEIR_END;
}

/* A block with room, or NULL: the caller wants no more. */
static struct block *out_room(struct lines *l)
{
    if (l->out && l->out->len < BLOCK)
        return l->out;
    pthread_mutex_lock(&l->lock);
    if (l->out) {
        l->n_filled++;
        pthread_cond_signal(&l->filled_more);
    }
    while (l->n_filled - l->n_emptied == N_BLOCKS && !l->stop)
        pthread_cond_wait(&l->emptied_more, &l->lock);
    l->out = l->stop ? NULL : &l->blocks[l->n_filled % N_BLOCKS];
    pthread_mutex_unlock(&l->lock);
    if (l->out)
        l->out->len = 0;
    return l->out;
}

static weir_status copy_plain(struct lines *l, weir_err *err)
{
    for (;;) {
        while (l->in_at < l->in_len) {
            struct block *b = out_room(l);
            if (!b)
                return WEIR_END;
            size_t n =
                l->in_len - l->in_at < BLOCK - b->len ? l->in_len - l->in_at : BLOCK - b->len;
            memcpy(b->data + b->len, l->in + l->in_at, n);
            b->len += n;
            l->in_at += n;
        }
        WEIR_TRY(fill(l, err));
    }
}

/* The next octet without taking it, or -1 at the end of the input. */
static int peek(struct lines *l, weir_status *st, weir_err *err)
{
    if (l->in_at == l->in_len) {
        weir_status got = fill(l, err);
        if (got != WEIR_OK) {
            *st = got == WEIR_END ? WEIR_OK : got;
            return -1;
        }
    }
    return l->in[l->in_at];
}

/* Go back to offset `to` of the input when that is possible: it is still in the buffer, or the input is a file. */
static bool go_back(struct lines *l, uint64_t to)
{
    if (to >= l->in_off && to <= l->in_off + l->in_len) {
        l->in_at = (size_t)(to - l->in_off);
        return true;
    }
    off_t here = lseek(l->fd, 0, SEEK_CUR);
    if (here < 0)
        return false;
    uint64_t ahead = l->in_off + l->in_len;
    if (ahead < to || lseek(l->fd, here - (off_t)(ahead - to), SEEK_SET) < 0)
        return false;
    l->in_off = to;
    l->in_at = l->in_len = 0;
    l->in_eof = false;
    return true;
}

/* Take octets up to what looks like the start of a gzip member (RFC 1952 section 2.3.1: magic, method 8, no
 * reserved flag, and the extra flags and system that compressors write). WEIR_END: there is none. */
static weir_status find_member(struct lines *l, weir_err *err)
{
    enum { HEADER = 10 };
    for (;;) {
        const unsigned char *from = l->in + l->in_at;
        const unsigned char *w = memchr(from, 0x1f, l->in_len - l->in_at);
        l->in_at = w ? (size_t)(w - l->in) : l->in_len;
        while (l->in_len - l->in_at < HEADER) { /* keep what is left, read behind it */
            memmove(l->in, l->in + l->in_at, l->in_len - l->in_at);
            l->in_off += l->in_at;
            l->in_len -= l->in_at;
            l->in_at = 0;
            ssize_t n = l->in_eof ? 0 : read(l->fd, l->in + l->in_len, INPUT - l->in_len);
            if (n < 0 && errno == EINTR)
                continue;
            if (n < 0)
                return weir_err_set(err, WEIR_EIO, l->in_off, "cannot read: %m");
            if (n == 0) {
                l->in_eof = true;
                l->in_at = l->in_len;
                return WEIR_END;
            }
            l->in_len += (size_t)n;
        }
        w = l->in + l->in_at;
        if (w[0] == 0x1f && w[1] == 0x8b && w[2] == 8 && !(w[3] & 0xe0) &&
            (w[8] == 0 || w[8] == 2 || w[8] == 4) && (w[9] <= 13 || w[9] == 255))
            return WEIR_OK;
        l->in_at++;
    }
}

static bool emit_newline(struct lines *l)
{
    if (l->last == '\n')
        return true;
    struct block *b = out_room(l);
    if (!b)
        return false;
    b->data[b->len++] = l->last = '\n';
    return true;
}

/* After damage in the member that began at start: on to the next one. WEIR_END: nothing more to read. */
static weir_status resume(struct lines *l, uint64_t start, bool at_end, weir_err *err)
{
    bool tried = l->damage.n_broken < MAX_BROKEN;
    bool back = tried && go_back(l, start + 1);
    weir_status st = !tried || (at_end && !back) ? WEIR_END : find_member(l, err);
    if (st != WEIR_OK && st != WEIR_END)
        return st;
    if (st == WEIR_END && at_end) {
        l->damage.truncated = true;
        return WEIR_END;
    }
    if (l->damage.n_broken++ == 0)
        l->damage.first_at = start;
    if (st == WEIR_OK && !emit_newline(l))
        return WEIR_END;
    return st;
}

/* One member from its first octet. WEIR_OK: more may follow. */
static weir_status inflate_member(struct lines *l, weir_err *err)
{
    uint64_t start = l->in_off + l->in_at;
    if (inflateReset(&l->z) != Z_OK)
        return weir_err_set(err, WEIR_ENOMEM, start, "cannot unpack: out of memory");
    for (;;) {
        if (l->in_at == l->in_len) {
            weir_status st = fill(l, err);
            if (st == WEIR_END)
                return resume(l, start, true, err);
            WEIR_TRY(st);
        }
        struct block *b = out_room(l);
        if (!b)
            return WEIR_END;
        l->z.next_in = l->in + l->in_at;
        l->z.avail_in = (unsigned)(l->in_len - l->in_at);
        l->z.next_out = (unsigned char *)b->data + b->len;
        l->z.avail_out = (unsigned)(BLOCK - b->len);
        int got = inflate(&l->z, Z_NO_FLUSH);
        l->in_at = l->in_len - l->z.avail_in;
        if (BLOCK - l->z.avail_out > b->len) {
            b->len = BLOCK - l->z.avail_out;
            l->last = b->data[b->len - 1];
        }
        if (got == Z_STREAM_END)
            return WEIR_OK;
        if (got == Z_MEM_ERROR)
            return weir_err_set(err, WEIR_ENOMEM, start, "cannot unpack: out of memory");
        if (got != Z_OK && got != Z_BUF_ERROR)
            return resume(l, start, false, err);
    }
}

static weir_status unpack(struct lines *l, weir_err *err)
{
    for (;;) {
        weir_status st = WEIR_OK;
        int c = peek(l, &st, err);
        if (c < 0)
            return st == WEIR_OK ? WEIR_END : st;
        if (c == 0) { /* padding after a member, as tapes and block devices leave it */
            l->in_at++;
            continue;
        }
        WEIR_TRY(c == 0x1f ? inflate_member(l, err) : resume(l, l->in_off + l->in_at, false, err));
    }
}

static void *read_all(void *arg)
{
    struct lines *l = arg;
    weir_err err = {0};
    weir_status st = fill(l, &err);
    /* Two octets decide between gzip and text; a pipe may deliver them one by one. */
    while (st == WEIR_OK && l->in_len < 2) {
        ssize_t n = read(l->fd, l->in + l->in_len, INPUT - l->in_len);
        if (n > 0)
            l->in_len += (size_t)n;
        else if (n == 0 || errno != EINTR)
            break;
    }
    l->last = '\n';
    if (st == WEIR_OK && l->in_len >= 2 && l->in[0] == 0x1f && l->in[1] == 0x8b)
        st = unpack(l, &err);
    else if (st == WEIR_OK)
        st = copy_plain(l, &err);

    pthread_mutex_lock(&l->lock);
    if (l->out && l->out->len && !l->stop)
        l->n_filled++;
    l->final = st;
    l->final_err = err;
    l->ended = true;
    pthread_cond_signal(&l->filled_more);
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

/* ---- the caller's side ---- */

weir_status lines_new(lines **out, int fd, size_t max_line, weir_err *err)
{
    struct lines *l = calloc(1, sizeof *l);
    if (l) {
        l->blocks = malloc(N_BLOCKS * sizeof *l->blocks);
        l->in = malloc(INPUT);
    }
    if (!l || !l->blocks || !l->in || inflateInit2(&l->z, 15 + 16) != Z_OK) {
        if (l) {
            free(l->blocks);
            free(l->in);
        }
        free(l);
        return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
    }
    l->fd = fd;
    l->max_line = max_line;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->filled_more, NULL);
    pthread_cond_init(&l->emptied_more, NULL);
    int no = pthread_create(&l->thread, NULL, read_all, l);
    if (no) {
        errno = no;
        weir_err_set(err, WEIR_EIO, 0, "cannot start a thread: %m");
        inflateEnd(&l->z);
        free(l->blocks);
        free(l->in);
        free(l);
        return WEIR_EIO;
    }
    *out = l;
    return WEIR_OK;
}

void lines_free(lines *l)
{
    if (!l)
        return;
    pthread_mutex_lock(&l->lock);
    l->stop = true;
    pthread_cond_signal(&l->emptied_more);
    pthread_mutex_unlock(&l->lock);
    pthread_join(l->thread, NULL);
    pthread_cond_destroy(&l->filled_more);
    pthread_cond_destroy(&l->emptied_more);
    pthread_mutex_destroy(&l->lock);
    inflateEnd(&l->z);
    base_buf_done(&l->carry);
    free(l->blocks);
    free(l->in);
    free(l);
}

/* The next block into l->now, giving the one before back. WEIR_END or the reader's failure after the last. */
static weir_status next_block(struct lines *l, weir_err *err)
{
    pthread_mutex_lock(&l->lock);
    if (l->now) {
        l->n_emptied++;
        pthread_cond_signal(&l->emptied_more);
    }
    while (l->n_filled == l->n_emptied && !l->ended)
        pthread_cond_wait(&l->filled_more, &l->lock);
    l->now = l->n_filled == l->n_emptied ? NULL : &l->blocks[l->n_emptied % N_BLOCKS];
    pthread_mutex_unlock(&l->lock);
    l->now_at = 0;
    if (l->now)
        return WEIR_OK;
    if (err && l->final != WEIR_END)
        *err = l->final_err;
    return l->final;
}

static weir_status from_carry(struct lines *l, struct line *line, weir_err *err)
{
    line->too_long = l->carry.len > l->max_line;
    line->len = line->too_long ? 0 : l->carry.len;
    if (line->too_long)
        l->carry.len = 0;
    base_buf_char(&l->carry, '\n');
    if (l->carry.failed)
        return weir_err_set(err, WEIR_ENOMEM, 0, "line %llu: out of memory",
                            (unsigned long long)line->number);
    line->text = l->carry.data;
    return WEIR_OK;
}

weir_status lines_next(lines *l, struct line *line, weir_err *err)
{
    base_buf_reset(&l->carry);
    *line = (struct line){.number = ++l->number};
    bool some = false;
    for (;;) {
        if (!l->now || l->now_at == l->now->len) {
            weir_status st = next_block(l, err);
            if (st != WEIR_OK) {
                if (!some)
                    return st;
                line->cut = true; /* the next call ends */
                return from_carry(l, line, err);
            }
        }
        const char *at = l->now->data + l->now_at;
        size_t left = l->now->len - l->now_at;
        const char *nl = memchr(at, '\n', left);
        size_t n = nl ? (size_t)(nl - at) : left;
        l->now_at += n + (nl ? 1 : 0);
        if (nl && !some && n <= l->max_line) {
            line->text = at;
            line->len = n;
            return WEIR_OK;
        }
        some = true;
        /* One octet past the limit is kept as the mark that the line is too long. */
        if (l->carry.len <= l->max_line) {
            size_t room = l->max_line + 1 - l->carry.len;
            base_buf_add(&l->carry, at, n < room ? n : room);
        }
        if (nl)
            return from_carry(l, line, err);
    }
}

struct lines_damage lines_damage(lines *l)
{
    pthread_mutex_lock(&l->lock);
    struct lines_damage d = l->damage;
    pthread_mutex_unlock(&l->lock);
    return d;
}
