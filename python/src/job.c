/* In the main thread a job is run by a thread of its own, while this one wakes up now and then to look for signals. */
#include "job.h"
#include "ext.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { LOOK_NS = 50000000 };

struct run {
    py_job *job;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool done, left; /* left: nobody waits any more */
};

static void run_free(struct run *r)
{
    pthread_cond_destroy(&r->changed);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

static struct run *run_new(py_job *job)
{
    struct run *r = calloc(1, sizeof *r);
    pthread_condattr_t clock;
    if (r == NULL || pthread_condattr_init(&clock) != 0) {
        free(r);
        return NULL;
    }
    r->job = job;
    bool ok = pthread_condattr_setclock(&clock, CLOCK_MONOTONIC) == 0 &&
              pthread_cond_init(&r->changed, &clock) == 0;
    pthread_condattr_destroy(&clock);
    if (ok && pthread_mutex_init(&r->lock, NULL) != 0) {
        pthread_cond_destroy(&r->changed);
        ok = false;
    }
    if (!ok) {
        free(r);
        return NULL;
    }
    return r;
}

static void *work(void *user)
{
    struct run *r = user;
    r->job->run(r->job);
    pthread_mutex_lock(&r->lock);
    r->done = true;
    bool left = r->left;
    pthread_cond_signal(&r->changed);
    pthread_mutex_unlock(&r->lock);
    if (left) {
        r->job->drop(r->job);
        run_free(r);
    }
    return NULL;
}

/* All signals are left to the threads that were there. */
static bool start(struct run *r)
{
    pthread_t thread;
    pthread_attr_t attr;
    sigset_t all, before;
    if (pthread_attr_init(&attr) != 0)
        return false;
    sigfillset(&all);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int failed = pthread_create(&thread, &attr, work, r);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    return failed == 0;
}

/* Waits for the end for a while. */
static bool ended(struct run *r)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += LOOK_NS;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    pthread_mutex_lock(&r->lock);
    while (!r->done && pthread_cond_timedwait(&r->changed, &r->lock, &until) == 0)
        ;
    bool done = r->done;
    pthread_mutex_unlock(&r->lock);
    return done;
}

/* Nobody waits for it any more. */
static void leave(struct run *r)
{
    if (r->job->cancel != NULL)
        r->job->cancel(r->job);
    pthread_mutex_lock(&r->lock);
    r->left = true;
    bool done = r->done;
    pthread_mutex_unlock(&r->lock);
    if (done) {
        r->job->drop(r->job);
        run_free(r);
    }
}

bool py_job_run(py_job *job)
{
    PyThreadState *gil = PyEval_SaveThread();
    struct run *r = syscall(SYS_gettid) == getpid() ? run_new(job) : NULL;
    if (r == NULL || !start(r)) {
        if (r != NULL)
            run_free(r);
        job->run(job);
        PyEval_RestoreThread(gil);
        return true;
    }
    while (!ended(r)) {
        PyEval_RestoreThread(gil);
        bool raised = PyErr_CheckSignals() != 0;
        gil = PyEval_SaveThread();
        if (raised) {
            leave(r);
            PyEval_RestoreThread(gil);
            return false;
        }
    }
    run_free(r);
    PyEval_RestoreThread(gil);
    return true;
}
