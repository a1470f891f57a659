#include "collect/state.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"

/* The rename itself must survive a crash of the machine too. */
static void sync_directory(const char *path)
{
    char *copy = strdup(path);
    int fd = copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        (void)fsync(fd);
        (void)close(fd);
    }
    free(copy);
}

weir_status state_write(const char *path, const uint8_t *data, size_t len, weir_err *err)
{
    char *tmp = NULL;
    if (asprintf(&tmp, "%s.tmp", path) < 0)
        return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
    int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool ok = fd >= 0;
    for (size_t done = 0; ok && done < len;) {
        ssize_t n = write(fd, data + done, len - done);
        if (n < 0 && errno == EINTR)
            continue;
        ok = n > 0;
        done += ok ? (size_t)n : 0;
    }
    ok = ok && fsync(fd) == 0;
    int why = errno;
    if (fd >= 0 && close(fd) != 0 && ok) {
        ok = false;
        why = errno;
    }
    if (ok && rename(tmp, path) != 0) {
        ok = false;
        why = errno;
    }
    weir_status s = WEIR_OK;
    if (ok)
        sync_directory(path);
    else {
        s = weir_err_set(err, WEIR_EIO, 0, "cannot write the state file %s: %s", path,
                         strerror(why));
        (void)unlink(tmp);
    }
    free(tmp);
    return s;
}

weir_status state_lock(const char *path, int *lock, weir_err *err)
{
    char *name = NULL;
    *lock = -1;
    if (asprintf(&name, "%s.lock", path) < 0)
        return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
    weir_status s = WEIR_OK;
    int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        s = weir_err_set(err, WEIR_EIO, 0, "cannot make %s: %s", name, strerror(errno));
    } else if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        s = errno == EWOULDBLOCK
                ? weir_err_set(err, WEIR_ELIMIT, 0,
                               "the state file %s is in use by another collector (choose another "
                               "--state, or "
                               "pass --no-state)",
                               path)
                : weir_err_set(err, WEIR_EIO, 0, "cannot lock %s: %s", name, strerror(errno));
        (void)close(fd);
    } else {
        *lock = fd;
    }
    free(name);
    return s;
}

weir_status state_read(const char *path, uint8_t **out, size_t *len, weir_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return weir_err_set(err, errno == ENOENT ? WEIR_ENOTFOUND : WEIR_EIO, 0,
                            "cannot read the state file %s: %s", path, strerror(errno));
    weir_status s = WEIR_OK;
    struct stat st;
    uint8_t *data = NULL;
    size_t got = 0;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        s = weir_err_set(err, WEIR_EIO, 0, "the state file %s is no regular file", path);
    } else if (st.st_size > STATE_MAX_OCTETS) {
        s = weir_err_set(err, WEIR_ELIMIT, 0, "the state file %s is larger than 1 GiB", path);
    } else if (!(data = malloc((size_t)st.st_size + 1))) {
        s = weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
    } else {
        while (got < (size_t)st.st_size) {
            ssize_t n = read(fd, data + got, (size_t)st.st_size - got);
            if (n < 0 && errno == EINTR)
                continue;
            if (n < 0)
                s = weir_err_set(err, WEIR_EIO, got, "cannot read the state file %s: %s", path,
                                 strerror(errno));
            if (n <= 0)
                break;
            got += (size_t)n;
        }
    }
    (void)close(fd);
    if (s != WEIR_OK) {
        free(data);
        return s;
    }
    *out = data;
    *len = got;
    return WEIR_OK;
}
