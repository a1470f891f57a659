/* job -- work that may take long, so that Ctrl-C and other signals end the wait for it. Python runs its handlers in the main
 * thread alone, between two steps of Python code: a call that does not come back leaves them waiting. */
#ifndef WEIR_PY_JOB_H
#define WEIR_PY_JOB_H

#include <stdbool.h>

/* The head of what a kind of work needs. Its functions are called without the GIL and use nothing of Python. */
typedef struct py_job {
    void (*run)(struct py_job *job); /* does it */
    void (*cancel)(
        struct py_job *job); /* from another thread: run is to end soon; NULL: it cannot be told */
    void (*drop)(struct py_job *job); /* frees it */
} py_job;

/* Runs it, with the GIL released. true: done, job is the caller's. false: the handler of a signal has raised an exception;
 * what has been done is given up, and job dropped once run has ended, which may be later and by another thread. */
bool py_job_run(py_job *job);

#endif
