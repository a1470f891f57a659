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
#include <time.h>
#include <unistd.h>

static const char magic[8] = "WEIRCHK1";
static const char *const suffixes[2] = {".a", ".b"};

enum { HEAD = 24, TAIL = 8, ROOM = 64 << 10, MAX_OCTETS = 1 << 30 };

struct ledger_checkpoint {
    char *names[2];
    int fd[2];      /* -1: it cannot be opened */
    size_t room[2]; /* octets that the file has on the disk */
    uint64_t serial;
    int newest; /* the copy that has it, -1: none yet */
    base_buf head;
    weir_err trouble; /* msg empty: none */
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

/* Whether a file has never been written to: it has its room at most. */
static bool is_blank(int fd)
{
    uint8_t head[HEAD], zero[HEAD] = {0};
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
           (st.st_size == 0 || (st.st_size >= HEAD && read_all(fd, head, sizeof head) &&
                                memcmp(head, zero, sizeof head) == 0));
}

weir_status ledger_checkpoint_look(const char *path, struct ledger_checkpoint_state *out,
                                   weir_err *err)
{
    bool blank[2] = {false, false};
    uint64_t newest = 0;
    *out = (struct ledger_checkpoint_state){0};
    for (int i = 0; i < 2; i++) {
        char *name = name_of(path, i);
        if (!name)
            return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
        int fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        int why = errno;
        free(name);
        struct stat st;
        uint64_t serial = 0;
        uint8_t *data = NULL;
        size_t len;
        if (fd >= 0 && fstat(fd, &st) == 0) {
            int64_t us = (int64_t)st.st_mtim.tv_sec * 1000000 + st.st_mtim.tv_nsec / 1000;
            out->copy_us[i] = us;
            out->modified_us = us > out->modified_us ? us : out->modified_us;
        }
        out->whole[i] = read_one(fd, MAX_OCTETS, &serial, &data, &len);
        blank[i] = fd < 0 ? why == ENOENT : !out->whole[i] && is_blank(fd);
        out->damaged[i] = !out->whole[i] && !blank[i];
        newest = out->whole[i] && serial > newest ? serial : newest;
        free(data);
        if (fd >= 0)
            (void)close(fd);
    }
    /* They are written in turn: when there is a second one, both have been. */
    for (int i = 0; i < 2; i++)
        out->damaged[i] = out->damaged[i] || (blank[i] && newest > 1);
    return WEIR_OK;
}

weir_status ledger_checkpoint_look_twice(const char *path, int *left,
                                         struct ledger_checkpoint_state *out, weir_err *err)
{
    enum { LOOKS = 10, PAUSE_MS = 20 };
    static const struct timespec pause = {.tv_nsec = PAUSE_MS * 1000000L};
    WEIR_TRY(ledger_checkpoint_look(path, out, err));
    for (int i = 0; i<LOOKS && * left> 0 && (out->damaged[0] || out->damaged[1]); i++) {
        (void)nanosleep(&pause, NULL);
        *left -= PAUSE_MS;
        WEIR_TRY(ledger_checkpoint_look(path, out, err));
    }
    return WEIR_OK;
}

/* errno, or what else is wrong with a copy. */
static void note_trouble(ledger_checkpoint *c, int i, int why)
{
    (void)weir_err_set(&c->trouble, WEIR_EIO, 0, "%s: %s", c->names[i],
                       why ? strerror(why) : "Not a file");
}

static void open_copy(ledger_checkpoint *c, int i)
{
    struct stat st;
    c->fd[i] = open(c->names[i], O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0600);
    if (c->fd[i] < 0) {
        note_trouble(c, i, errno);
        return;
    }
    if (fstat(c->fd[i], &st) != 0 || !S_ISREG(st.st_mode)) {
        (void)close(c->fd[i]);
        c->fd[i] = -1;
        note_trouble(c, i, 0);
        return;
    }
    c->room[i] = (size_t)st.st_size;
    uint64_t serial;
    uint8_t *data;
    size_t len;
    if (read_one(c->fd[i], MAX_OCTETS, &serial, &data, &len)) {
        free(data);
        if (serial > c->serial) {
            c->serial = serial;
            c->newest = i;
        }
    }
}

weir_status ledger_checkpoint_open(const char *path, ledger_checkpoint **out, weir_err *err)
{
    ledger_checkpoint *c = calloc(1, sizeof *c);
    if (!c)
        return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
    c->fd[0] = c->fd[1] = c->newest = -1;
    for (int i = 0; i < 2; i++) {
        c->names[i] = name_of(path, i);
        if (!c->names[i]) {
            ledger_checkpoint_close(c);
            return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
        }
        open_copy(c, i);
    }
    *out = c;
    return WEIR_OK;
}

void ledger_checkpoint_close(ledger_checkpoint *c)
{
    if (!c)
        return;
    for (int i = 0; i < 2; i++) {
        if (c->fd[i] >= 0)
            (void)close(c->fd[i]);
        free(c->names[i]);
    }
    base_buf_done(&c->head);
    free(c);
}

const char *ledger_checkpoint_trouble(const ledger_checkpoint *c)
{
    return c->trouble.msg[0] ? c->trouble.msg : NULL;
}

/* Room on the disk for so many octets, and half as much again: a disk that fills up later does not matter. */
static bool make_room(ledger_checkpoint *c, int i, size_t octets)
{
    size_t room = octets + octets / 2 < ROOM ? ROOM : octets + octets / 2;
    if (octets <= c->room[i])
        return true;
    if (posix_fallocate(c->fd[i], 0, (off_t)room) != 0)
        return false;
    c->room[i] = room;
    return true;
}

weir_status ledger_checkpoint_write(ledger_checkpoint *c, const uint8_t *data, size_t len)
{
    if (len > MAX_OCTETS)
        return WEIR_ELIMIT;
    c->trouble = (weir_err){0};
    for (int i = 0; i < 2; i++)
        if (c->fd[i] < 0)
            open_copy(c, i);
    int i = c->newest < 0 ? (int)((c->serial + 1) & 1) : !c->newest;
    bool alone = c->fd[i] < 0 || c->fd[!i] < 0;
    i = c->fd[i] < 0 ? !i : i;
    if (c->fd[i] < 0)
        return WEIR_EIO;
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
    /* What has no other copy is only overwritten where that cannot fail half way. */
    if (!make_room(c, i, b->len) && alone) {
        note_trouble(c, i, ENOSPC);
        return WEIR_EIO;
    }
    for (size_t done = 0; done < b->len;) {
        ssize_t n = pwrite(c->fd[i], b->data + done, b->len - done, (off_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            note_trouble(c, i, n < 0 ? errno : ENOSPC);
            return WEIR_EIO;
        }
        done += (size_t)n;
    }
    c->newest = i;
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
