/* lines -- rows as lines of text into a file or a command: file:PATH, file:- (stdout), command:WORDS FOR THE SHELL. */
#include "ship/destinations.h"
#include "ship/encode.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WAIT_MS = 200, END_MS = 10000 };

struct ship_destination {
    struct ship_destination_options o;
    char *target; /* path or command */
    bool command;
    int fd;       /* -1: not open */
    bool regular; /* a file whose end can be cut off */
    pid_t child;  /* 0: none */
    char *format;
    ship_encoder *encoder;
    base_buf made, out; /* messages; lines */
    size_t *ends;
    size_t cap_ends;
    uint64_t done;
};

static const char *const settings[] = {NULL};

static weir_status no_memory(weir_err *err)
{
    return weir_err_set(err, WEIR_ENOMEM, 0, "ship: out of memory");
}

static weir_status failed(const ship_destination *d, const char *what, weir_err *err)
{
    return weir_err_set(err, WEIR_EIO, 0, "cannot %s %.200s: %s", what, d->target, strerror(errno));
}

static void lines_close(ship_destination *d);

static weir_status lines_open(const struct ship_destination_options *o, ship_destination **out,
                              weir_err *err)
{
    const char *colon = strchr(o->url, ':');
    const char *target = colon ? colon + 1 : "";
    const char *format = o->format ? o->format : "json";
    WEIR_TRY(ship_settings_known(o, settings, err));
    if (!*target)
        return weir_err_set(err, WEIR_EINVAL, 0,
                            "'%.100s' names nothing: file:PATH, file:- or command:...", o->url);
    for (const struct ship_format *f = ship_formats(); f->name; f++)
        if (strcmp(f->name, format) == 0 && !f->text)
            return weir_err_set(err, WEIR_EINVAL, 0, "format %s is not made of lines of text",
                                format);
    ship_destination *d = calloc(1, sizeof *d);
    if (!d)
        return no_memory(err);
    d->o = *o;
    d->fd = -1;
    d->command = strncmp(o->url, "command:", 8) == 0;
    d->target = strdup(target);
    d->format = strdup(format);
    weir_status s = d->target && d->format ? WEIR_OK : no_memory(err);
    if (s == WEIR_OK) {
        const struct ship_encoder_options e = {.format = d->format};
        s = ship_encoder_new(&e, &d->encoder, err);
    }
    if (s != WEIR_OK) {
        lines_close(d);
        return s;
    }
    *out = d;
    return WEIR_OK;
}

static weir_status lines_fields(ship_destination *d, enum flow_table table,
                                const struct query_field *extras, size_t n_extras,
                                const struct query_field **fields, size_t *n, weir_err *err)
{
    *n = 0;
    if (table != FLOW_TABLE_FLOWS)
        return WEIR_OK;
    ship_encoder_free(d->encoder);
    d->encoder = NULL;
    const struct ship_encoder_options e = {
        .format = d->format, .extras = extras, .n_extras = n_extras};
    WEIR_TRY(ship_encoder_new(&e, &d->encoder, err));
    ship_encoder_fields(d->encoder, fields, n);
    return WEIR_OK;
}

/* ---- what is written to ---- */

static void end_child(ship_destination *d)
{
    if (d->fd >= 0)
        (void)close(d->fd);
    d->fd = -1;
    for (int waited = 0; d->child; waited += WAIT_MS) {
        int status;
        if (waitpid(d->child, &status, WNOHANG) != 0)
            break;
        if (waited == END_MS)
            (void)kill(-d->child, SIGTERM);
        if (waited >= 2 * END_MS)
            (void)kill(-d->child, SIGKILL);
        (void)poll(NULL, 0, WAIT_MS);
    }
    d->child = 0;
}

static weir_status start_command(ship_destination *d, weir_err *err)
{
    char shell[] = "sh", c[] = "-c";
    char *const argv[] = {shell, c, d->target, NULL};
    int ends[2];
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, pipe;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return failed(d, "make a pipe to", err);
    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawn_file_actions_adddup2(&actions, ends[0], STDIN_FILENO);
    (void)posix_spawnattr_init(&attributes);
    (void)sigemptyset(&none);
    (void)sigemptyset(&pipe);
    (void)sigaddset(&pipe, SIGPIPE);
    (void)posix_spawnattr_setsigmask(&attributes, &none);
    (void)posix_spawnattr_setsigdefault(&attributes, &pipe);
    (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                                    POSIX_SPAWN_SETPGROUP);
    int e = posix_spawn(&d->child, "/bin/sh", &actions, &attributes, argv, environ);
    (void)posix_spawn_file_actions_destroy(&actions);
    (void)posix_spawnattr_destroy(&attributes);
    (void)close(ends[0]);
    if (e) {
        d->child = 0;
        (void)close(ends[1]);
        errno = e;
        return failed(d, "start", err);
    }
    (void)fcntl(ends[1], F_SETFL, O_NONBLOCK);
    d->fd = ends[1];
    return WEIR_OK;
}

/* A line that a crash cut off would spoil the next one: it comes again, so what is there of it goes. */
static weir_status cut_half_line(ship_destination *d, off_t size, weir_err *err)
{
    char buf[4096];
    off_t at = size;
    while (at > 0) {
        size_t n = at < (off_t)sizeof buf ? (size_t)at : sizeof buf;
        if (pread(d->fd, buf, n, at - (off_t)n) != (ssize_t)n)
            return failed(d, "read", err);
        const char *end = memrchr(buf, '\n', n);
        if (end) {
            at = at - (off_t)n + (end - buf) + 1;
            break;
        }
        at -= (off_t)n;
    }
    return at == size || ftruncate(d->fd, at) == 0 ? WEIR_OK : failed(d, "write", err);
}

static weir_status open_file(ship_destination *d, weir_err *err)
{
    struct stat st;
    bool out = strcmp(d->target, "-") == 0;
    d->fd = out ? fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3)
                : open(d->target, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0666);
    if (d->fd < 0)
        return failed(d, "open", err);
    if (fstat(d->fd, &st) != 0)
        return failed(d, "read", err);
    d->regular = S_ISREG(st.st_mode) && !out;
    return d->regular ? cut_half_line(d, st.st_size, err) : WEIR_OK;
}

static weir_status write_out(ship_destination *d, weir_err *err)
{
    off_t began = d->regular ? lseek(d->fd, 0, SEEK_END) : 0;
    for (size_t at = 0; at < d->out.len;) {
        ssize_t n = write(d->fd, d->out.data + at, d->out.len - at);
        if (n >= 0) {
            at += (size_t)n;
            continue;
        }
        if (errno == EINTR || errno == EAGAIN) {
            struct pollfd p = {.fd = d->fd, .events = POLLOUT};
            if (d->o.stop && d->o.stop(d->o.user))
                return WEIR_END;
            (void)poll(&p, 1, WAIT_MS);
            continue;
        }
        weir_status s = failed(d, "write to", err);
        if (d->regular)
            (void)!ftruncate(d->fd, began); /* whole rows or nothing */
        return s;
    }
    return WEIR_OK;
}

static weir_status encode(ship_destination *d, const struct query_block *b, weir_err *err)
{
    if (d->cap_ends < b->n) {
        free(d->ends);
        d->ends = malloc(b->n * sizeof *d->ends);
        d->cap_ends = d->ends ? b->n : 0;
        if (!d->ends)
            return no_memory(err);
    }
    base_buf_reset(&d->made);
    base_buf_reset(&d->out);
    WEIR_TRY(ship_encoder_rows(d->encoder, b, 0, b->n, &d->made, d->ends, err));
    for (size_t i = 0; i < b->n; i++) {
        size_t at = i ? d->ends[i - 1] : 0;
        base_buf_add(&d->out, d->made.data + at, d->ends[i] - at);
        base_buf_char(&d->out, '\n');
    }
    return d->out.failed ? no_memory(err) : WEIR_OK;
}

static weir_status lines_put(ship_destination *d, const struct ship_rows *rows, weir_err *err)
{
    weir_status s = WEIR_OK;
    if (d->fd < 0)
        s = d->command ? start_command(d, err) : open_file(d, err);
    if (s == WEIR_OK && rows->block.n)
        s = encode(d, &rows->block, err);
    if (s == WEIR_OK && rows->block.n)
        s = write_out(d, err);
    if (s == WEIR_OK) {
        d->done++;
        return s;
    }
    d->done = 0;
    if (d->command)
        end_child(d);
    else if (d->fd >= 0) {
        (void)close(d->fd);
        d->fd = -1;
    }
    return s;
}

static weir_status lines_done(ship_destination *d, int wait_ms, uint64_t *done, weir_err *err)
{
    (void)wait_ms; /* a put is done when it returns */
    (void)err;
    *done = d->done;
    return WEIR_OK;
}

static void lines_close(ship_destination *d)
{
    if (!d)
        return;
    end_child(d);
    ship_encoder_free(d->encoder);
    base_buf_done(&d->made);
    base_buf_done(&d->out);
    free(d->ends);
    free(d->format);
    free(d->target);
    free(d);
}

const struct ship_destination_ops ship_file = {
    "file",       "lines of JSON appended to a file, file:- for stdout",
    settings,     lines_open,
    lines_fields, lines_put,
    lines_done,   lines_close,
};
const struct ship_destination_ops ship_command = {
    "command",    "lines of JSON to the standard input of a shell command",
    settings,     lines_open,
    lines_fields, lines_put,
    lines_done,   lines_close,
};
