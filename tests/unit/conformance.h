/* conformance -- tests of the decoder named after the ids of tests/conformance.tsv.
 *
 * Two forms; tools/gen-conformance finds both and writes docs/conformance.md:
 *   {"A12", "what the case shows", SCRIPT, TRANSCRIPT, COUNTERS, OPTIONS},   a row
 *   static void A05_what_it_shows(void **state)                             a function
 * SCRIPT and TRANSCRIPT are those of export.h; TRANSCRIPT NULL: only the counters matter. COUNTERS is
 * "name=value name=value" (export_counter). Each row is a test of its own, its id is in its name. After each row the
 * laws of weir_counters must hold. */
#ifndef TESTS_CONFORMANCE_H
#define TESTS_CONFORMANCE_H

#include "unit.h"

#include "export.h"

struct row {
    const char *id, *what, *script, *transcript, *counters;
    const weir_decoder_options *options;
};

/* packets = decoded + waiting + expired + rejected, records = flows + options + rejected; and what was counted as
 * delivered was. */
static inline void conformance_laws(export_case *c, const char *id)
{
    const weir_counters *n = export_counters(c);
    uint64_t rejected = 0, flows = 0, options = 0;
    for (int i = 0; i < (int)WEIR_N_REJECT; i++)
        rejected += n->rejected[i];
    for (size_t i = 0; i < c->n_events; i++) {
        flows += c->events[i].kind == EXPORT_RECORD;
        options += c->events[i].kind == EXPORT_OPTIONS;
    }
    UNIT_CHECK(n->packets == n->decoded + n->waiting + n->expired + rejected,
               "%s: %" PRIu64 " packets, but %" PRIu64 " decoded, %" PRIu64 " waiting, %" PRIu64
               " expired, %" PRIu64 " rejected",
               id, n->packets, n->decoded, n->waiting, n->expired, rejected);
    UNIT_CHECK(n->records == n->flows + n->options + n->records_rejected,
               "%s: %" PRIu64 " records, but %" PRIu64 " flows, %" PRIu64 " options, %" PRIu64
               " rejected",
               id, n->records, n->flows, n->options, n->records_rejected);
    UNIT_CHECK(n->flows == flows && n->options == options,
               "%s: %" PRIu64 " flows and %" PRIu64 " options counted, %" PRIu64 " and %" PRIu64
               " delivered",
               id, n->flows, n->options, flows, options);
}

/* The n'th event of a kind; the test fails when there is none. */
static inline const export_event *conformance_event(const export_case *c, export_kind kind,
                                                    size_t n, const char *what)
{
    const export_event *e = export_event_of(c, kind, n);
    if (!e) {
        fail_msg("%s: nothing was delivered", what);
        abort(); /* not reached: fail_msg ends the test */
    }
    return e;
}

/* "name=value name=value" against the totals. */
static inline void conformance_counters(export_case *c, const char *id, const char *want)
{
    for (const char *at = want; at && *at; at += strspn(at, " ")) {
        char name[64];
        size_t n = strcspn(at, "=");
        UNIT_CHECK(n < sizeof name, "%s: no counter in %s", id, at);
        memcpy(name, at, n);
        name[n] = 0;
        char *end;
        uint64_t value = strtoull(at + n + 1, &end, 0), got = export_counter(c, name);
        UNIT_CHECK(got == value, "%s: %s is %" PRIu64 ", not %" PRIu64, id, name, got, value);
        at = end;
    }
}

static inline void conformance_row(void **state)
{
    const struct row *r = *state;
    export_case c = {.options = r->options};
    const char *got = export_run(&c, r->script);
    UNIT_CHECK(r->transcript || r->counters, "%s: %s: nothing to compare", r->id, r->what);
    if (r->transcript)
        UNIT_CHECK(strcmp(got, r->transcript) == 0, "%s: %s\n  got:  %s\n  want: %s", r->id,
                   r->what, got, r->transcript);
    conformance_counters(&c, r->id, r->counters);
    conformance_laws(&c, r->id);
    export_done(&c);
}

/* Run the rows by `run` (its *state is a row; conformance_row feeds them to a decoder), then the functions (an array of
 * cmocka_unit_test, NULL: none). */
static inline int conformance_main(const char *name, CMUnitTestFunction run, const struct row *rows,
                                   size_t n_rows, const struct CMUnitTest *functions,
                                   size_t n_functions)
{
    struct CMUnitTest *tests = calloc(n_rows + n_functions, sizeof *tests);
    char **names = calloc(n_rows ? n_rows : 1, sizeof *names);
    if (!tests || !names)
        abort();
    for (size_t i = 0; i < n_rows; i++) {
        export_text t = {0};
        export_say(&t, "%s %s", rows[i].id, rows[i].what);
        names[i] = t.text;
        tests[i] = (struct CMUnitTest){names[i], run, NULL, NULL, (void *)(uintptr_t)&rows[i]};
    }
    if (n_functions)
        memcpy(tests + n_rows, functions, n_functions * sizeof *tests);
    int failed = _cmocka_run_group_tests(name, tests, n_rows + n_functions, NULL, NULL);
    for (size_t i = 0; i < n_rows; i++)
        free(names[i]);
    free(names);
    free(tests);
    return failed;
}

#endif
