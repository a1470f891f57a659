#include "collect/keeper.h"

#include "archive/archive.h"
#include "base/log.h"
#include "collect/bell.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    ROUND_S = 60,
    SETTLE_S =
        600, /* after its end an hour is left alone for so long: late data may still be on their way */
    NICE = 19
};

struct keeper {
    struct keeper_options opt;
    pthread_t thread;
    struct bell wake;
    atomic_bool stopping;
    double warned, kept;
    unsigned long held, kept_held;
};

static bool stop(void *user)
{
    keeper *k = user;
    return atomic_load(&k->stopping);
}

static void compacted(void *user, const char *partition, uint64_t before, uint64_t after)
{
    (void)user;
    log_info("compacted %s: %.1f MB became %.1f MB", partition, (double)before / 1e6,
             (double)after / 1e6);
}

static void expired(void *user, const char *partition, uint64_t octets)
{
    (void)user;
    log_info("removed %s: %.1f MB", partition, (double)octets / 1e6);
}

static void awaited(void *user, const char *partition, const char *cursor, bool lost)
{
    keeper *k = user;
    if (lost)
        log_warning("removing %s, which '%s' has not got all of: lost to it", partition, cursor);
    else if (log_due(&k->kept, &k->kept_held, (double)bell_now() / BELL_S, 3600))
        log_warning("%s would be removed, but is held for '%s'", partition, cursor);
}

static void warn(keeper *k, const weir_err *err)
{
    if (log_due(&k->warned, &k->held, (double)bell_now() / BELL_S, 3600))
        log_warning("%s (trying again every minute)", err->msg);
}

static void one_round(keeper *k)
{
    weir_err err = {0};
    int64_t now = bell_clock();
    if (k->opt.look)
        k->opt.look(k->opt.dir, k->opt.user);
    if (k->opt.keep_ns || k->opt.max_octets || k->opt.min_free) {
        struct archive_expire_options o = {.dir = k->opt.dir,
                                           .before_ns = k->opt.keep_ns ? now - k->opt.keep_ns : 0,
                                           .max_octets = k->opt.max_octets,
                                           .min_free = k->opt.min_free,
                                           .progress = expired,
                                           .awaited = awaited,
                                           .user = k};
        uint64_t octets, files;
        if (archive_expire(&o, &octets, &files, &err) != WEIR_OK)
            warn(k, &err);
    }
    if (k->opt.compact) {
        struct archive_compact_options o = {.dir = k->opt.dir,
                                            .older_than_ns = now - SETTLE_S * (int64_t)BELL_S,
                                            .stop = stop,
                                            .progress = compacted,
                                            .user = k};
        struct archive_compact_counters n;
        weir_status s = archive_compact(&o, &n, &err);
        if (s != WEIR_OK && s != WEIR_END)
            warn(k, &err);
    }
}

static void *run(void *arg)
{
    keeper *k = arg;
    /* On Linux the priority belongs to the thread. */
    (void)setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), NICE);
    while (!atomic_load(&k->stopping)) {
        one_round(k);
        int64_t next = bell_now() + ROUND_S * (int64_t)BELL_S;
        if (!atomic_load(&k->stopping))
            bell_wait(&k->wake, next);
    }
    return NULL;
}

keeper *keeper_start(const struct keeper_options *o, weir_err *err)
{
    keeper *k = calloc(1, sizeof *k);
    if (!k) {
        (void)weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
        return NULL;
    }
    k->opt = *o;
    int failed = pthread_create(&k->thread, NULL, run, k);
    if (!failed)
        return k;
    (void)weir_err_set(err, WEIR_ENOMEM, 0, "cannot start a thread: %s", strerror(failed));
    free(k);
    return NULL;
}

void keeper_stop(keeper *k)
{
    if (!k)
        return;
    atomic_store(&k->stopping, true);
    bell_ring(&k->wake);
    (void)pthread_join(k->thread, NULL);
    free(k);
}
