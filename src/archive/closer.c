#include "archive/closer.h"

#include "archive/layout.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_GIVEN = 3 }; /* files, the one that is being closed included */

struct archive_closer {
    pthread_t thread;
    pthread_mutex_t mutex; /* of all that follows */
    pthread_cond_t changed;
    archive_open *first, **last; /* the first is being closed */
    archive_open *failed;
    size_t n_given, n_failed;
    struct archive_counters counters; /* of what was done since the last take */
    bool ending;
};

static void add(struct archive_counters *to, const struct archive_counters *n)
{
    to->groups += n->groups;
    to->files += n->files;
    to->octets += n->octets;
    to->octets_files += n->octets_files;
}

static void *run(void *arg)
{
    archive_closer *c = arg;
    (void)pthread_mutex_lock(&c->mutex);
    for (;;) {
        while (!c->first && !c->ending)
            (void)pthread_cond_wait(&c->changed, &c->mutex);
        archive_open *f = c->first;
        if (!f)
            break;
        (void)pthread_mutex_unlock(&c->mutex);
        struct archive_counters n = {0};
        f->counters = &n;
        f->status = archive_open_finish(f, &f->why);
        (void)pthread_mutex_lock(&c->mutex);
        add(&c->counters, &n);
        c->first = f->next;
        if (!c->first)
            c->last = &c->first;
        c->n_given--;
        if (f->status == WEIR_OK) {
            archive_open_free(f);
        } else {
            f->next = c->failed;
            c->failed = f;
            c->n_failed++;
        }
        (void)pthread_cond_broadcast(&c->changed);
    }
    (void)pthread_mutex_unlock(&c->mutex);
    return NULL;
}

weir_status archive_closer_new(archive_closer **out, weir_err *err)
{
    archive_closer *c = calloc(1, sizeof *c);
    if (!c)
        return archive_no_memory(err);
    c->last = &c->first;
    (void)pthread_mutex_init(&c->mutex, NULL);
    (void)pthread_cond_init(&c->changed, NULL);
    int failed = pthread_create(&c->thread, NULL, run, c);
    if (failed) {
        (void)pthread_cond_destroy(&c->changed);
        (void)pthread_mutex_destroy(&c->mutex);
        free(c);
        return weir_err_set(err, WEIR_ENOMEM, 0, "cannot start a thread: %s", strerror(failed));
    }
    *out = c;
    return WEIR_OK;
}

void archive_closer_give(archive_closer *c, archive_open *f)
{
    f->next = NULL;
    (void)pthread_mutex_lock(&c->mutex);
    *c->last = f;
    c->last = &f->next;
    c->n_given++;
    (void)pthread_cond_broadcast(&c->changed);
    while (c->n_given > MAX_GIVEN)
        (void)pthread_cond_wait(&c->changed, &c->mutex);
    (void)pthread_mutex_unlock(&c->mutex);
}

size_t archive_closer_holds(archive_closer *c)
{
    (void)pthread_mutex_lock(&c->mutex);
    size_t n = c->n_given + c->n_failed;
    (void)pthread_mutex_unlock(&c->mutex);
    return n;
}

archive_open *archive_closer_take(archive_closer *c, struct archive_counters *n)
{
    (void)pthread_mutex_lock(&c->mutex);
    add(n, &c->counters);
    c->counters = (struct archive_counters){0};
    archive_open *f = c->failed;
    if (f) {
        c->failed = f->next;
        c->n_failed--;
        f->counters = n;
    }
    (void)pthread_mutex_unlock(&c->mutex);
    return f;
}

void archive_closer_wait(archive_closer *c)
{
    (void)pthread_mutex_lock(&c->mutex);
    while (c->n_given)
        (void)pthread_cond_wait(&c->changed, &c->mutex);
    (void)pthread_mutex_unlock(&c->mutex);
}

void archive_closer_free(archive_closer *c)
{
    if (!c)
        return;
    (void)pthread_mutex_lock(&c->mutex);
    c->ending = true;
    (void)pthread_cond_broadcast(&c->changed);
    (void)pthread_mutex_unlock(&c->mutex);
    (void)pthread_join(c->thread, NULL);
    for (archive_open *f = c->failed, *next; f; f = next) {
        next = f->next;
        archive_open_free(f);
    }
    (void)pthread_cond_destroy(&c->changed);
    (void)pthread_mutex_destroy(&c->mutex);
    free(c);
}
