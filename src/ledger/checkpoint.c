#include "ledger/checkpoint.h"

#include "base/hash.h"
#include "base/rd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char magic[8] = "WEIRCHK1";
static const char *const suffixes[2] = {".a", ".b"};

enum { HEAD = 24, TAIL = 8, ROOM = 64 << 10, MAX_OCTETS = 1 << 30 };

struct ledger_checkpoint {
    int fd[2];
    size_t room[2]; /* octets that the file has on the disk */
    uint64_t serial;
    base_buf head;
};

static char *name_of(const char *path, int i)
{
    char *name;
    return asprintf(&name, "%s%s", path, suffixes[i]) < 0 ? NULL : name;
}

static bool read_all(int fd, uint8_t *to, size_t n)
{
    for (size_t got = 0; got < n;) {
        ssize_t k = pread(fd, to + got, n - got, (off_t)got);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return false;
        got += (size_t)k;
    }
    return true;
}

/* What one of the two files holds; false: nothing whole. */
static bool read_one(int fd, size_t most, uint64_t *serial, uint8_t **data, size_t *len)
{
    uint8_t head[HEAD];
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size < HEAD + TAIL ||
        !read_all(fd, head, sizeof head) || memcmp(head, magic, sizeof magic) != 0)
        return false;
    base_rd r = base_rd_of(head + sizeof magic, sizeof head - sizeof magic);
    *serial = base_rd_u64(&r);
    uint64_t n = base_rd_u64(&r);
    if (n > most || n > (uint64_t)st.st_size - HEAD - TAIL)
        return false;
    uint8_t *all = malloc(HEAD + n + TAIL);
    if (!all)
        return false;
    base_rd tail = base_rd_of(all + HEAD + n, TAIL);
    if (!read_all(fd, all, HEAD + n + TAIL) || base_rd_u64(&tail) != base_hash(all, HEAD + n, 0)) {
        free(all);
        return false;
    }
    memmove(all, all + HEAD, n);
    *data = all;
    *len = n;
    return true;
}

weir_status ledger_checkpoint_read(const char *path, size_t most, uint8_t **out, size_t *len,
                                   weir_err *err)
{
    bool there = false, found = false;
    uint64_t newest = 0;
    for (int i = 0; i < 2; i++) {
        char *name = name_of(path, i);
        if (!name)
            return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
        int fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* nor wait for a pipe */
        free(name);
        uint64_t serial;
        uint8_t *data;
        size_t n;
        struct stat st;
        there |= fd >= 0 && fstat(fd, &st) == 0 && st.st_size > 0;
        if (read_one(fd, most && most < MAX_OCTETS ? most : MAX_OCTETS, &serial, &data, &n)) {
            if (!found || serial > newest) {
                if (found)
                    free(*out);
                found = true;
                newest = serial;
                *out = data;
                *len = n;
            } else {
                free(data);
            }
        }
        if (fd >= 0)
            (void)close(fd);
    }
    if (found)
        return WEIR_OK;
    return there ? weir_err_set(err, WEIR_EFORMAT, 0, "%s.a and .b are damaged", path)
                 : weir_err_set(err, WEIR_ENOTFOUND, 0, "there is no %s.a", path);
}

weir_status ledger_checkpoint_open(const char *path, ledger_checkpoint **out, weir_err *err)
{
    ledger_checkpoint *c = calloc(1, sizeof *c);
    if (!c)
        return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
    c->fd[0] = c->fd[1] = -1;
    for (int i = 0; i < 2; i++) {
        char *name = name_of(path, i);
        c->fd[i] = name ? open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
        int why = name ? errno : ENOMEM;
        free(name);
        if (c->fd[i] < 0) {
            ledger_checkpoint_close(c);
            return weir_err_set(err, WEIR_EIO, 0, "cannot open %s%s: %s", path, suffixes[i],
                                strerror(why));
        }
        struct stat st;
        if (fstat(c->fd[i], &st) == 0)
            c->room[i] = (size_t)st.st_size;
        uint64_t serial;
        uint8_t *data;
        size_t len;
        if (read_one(c->fd[i], MAX_OCTETS, &serial, &data, &len)) {
            c->serial = serial > c->serial ? serial : c->serial;
            free(data);
        }
    }
    *out = c;
    return WEIR_OK;
}

void ledger_checkpoint_close(ledger_checkpoint *c)
{
    if (!c)
        return;
    for (int i = 0; i < 2; i++)
        if (c->fd[i] >= 0)
            (void)close(c->fd[i]);
    base_buf_done(&c->head);
    free(c);
}

weir_status ledger_checkpoint_write(ledger_checkpoint *c, const uint8_t *data, size_t len)
{
    if (len > MAX_OCTETS)
        return WEIR_ELIMIT;
    int i = (int)((c->serial + 1) & 1);
    base_buf *b = &c->head;
    base_buf_reset(b);
    base_buf_add(b, magic, sizeof magic);
    base_buf_u64(b, c->serial + 1);
    base_buf_u64(b, len);
    base_buf_add(b, data, len);
    if (!b->failed)
        base_buf_u64(b, base_hash(b->data, b->len, 0));
    if (b->failed) {
        b->failed = false;
        return WEIR_ENOMEM;
    }
    /* Half as much again: a disk that fills up later does not matter. */
    size_t room = b->len + b->len / 2 < ROOM ? ROOM : b->len + b->len / 2;
    if (b->len > c->room[i] && posix_fallocate(c->fd[i], 0, (off_t)room) == 0)
        c->room[i] = room;
    for (size_t done = 0; done < b->len;) {
        ssize_t n = pwrite(c->fd[i], b->data + done, b->len - done, (off_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return WEIR_EIO;
        done += (size_t)n;
    }
    c->serial++;
    return WEIR_OK;
}

char *ledger_checkpoint_path(const char *dir, unsigned worker)
{
    char *name;
    return asprintf(&name, "%s/weir.checkpoint-w%u", dir, worker) < 0 ? NULL : name;
}

void ledger_checkpoint_put(const struct ledger_checkpoint_data *d, base_buf *out)
{
    base_buf_u64(out, d->account_len);
    base_buf_add(out, d->account, d->account_len);
    base_buf_u64(out, d->positions_len);
    base_buf_add(out, d->positions, d->positions_len);
}

weir_status ledger_checkpoint_get(const uint8_t *data, size_t len,
                                  struct ledger_checkpoint_data *out, weir_err *err)
{
    base_rd r = base_rd_of(data, len);
    uint64_t n = base_rd_u64(&r);
    *out = (struct ledger_checkpoint_data){.account = base_rd_take(&r, n), .account_len = n};
    n = base_rd_u64(&r);
    out->positions = base_rd_take(&r, n);
    out->positions_len = n;
    if (!r.dead)
        return WEIR_OK;
    *out = (struct ledger_checkpoint_data){0};
    return weir_err_set(err, WEIR_EFORMAT, len, "it is cut short");
}

void ledger_checkpoint_remove(const char *path)
{
    for (int i = 0; i < 2; i++) {
        char *name = name_of(path, i);
        if (name)
            (void)unlink(name);
        free(name);
    }
}
