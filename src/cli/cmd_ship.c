/* ship -- rows of an archive to brokers, databases and files, and how far each has got. */
#include "archive/cursor.h"
#include "archive/layout.h"
#include "base/log.h"
#include "cli/cmd.h"
#include "query/filter.h"
#include "ship/encode.h"
#include "ship/ship.h"
#include "ship/status.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct ship_args {
    const char *archive, *name, *format, *begin, *filter, *forget, *metrics;
    struct opt_strs set;
    uint64_t hold, report;
    bool once, create, status, json, formats;
};

#define DEFAULT_DIR "archive"

static const char *const begins[] = {"all", "now", NULL};
static const struct ship_args ship_defaults = {
    .archive = DEFAULT_DIR, .begin = "all", .report = UINT64_C(60000000000)};

#define AT(member) offsetof(struct ship_args, member)
/* clang-format off */
static const struct opt ship_opts[] = {
    {"archive", 'a', OPT_STR, AT(archive), "DIR", "the archive (default ./archive)"},
    {"format", 'f', OPT_STR, AT(format), "FORMAT", "of messages; --formats lists them (default: the destination's)"},
    {"set", 's', OPT_STRS, AT(set), "NAME=VALUE", "a setting of the destination; may be repeated (also in the address: ?name=value&...)"},
    {"create", 0, OPT_FLAG, AT(create), NULL, "make the table or topic when it is missing"},
    {"filter", 0, OPT_STR, AT(filter), "FILTER", "only flows that pass, in the language of 'weir query'"},
    {"begin", 0, OPT_CHOICE, AT(begin), "WHERE", "a destination that is new: with all that there is, or with what comes now: all, now (default all)", begins},
    {"hold", 0, OPT_SIZE, AT(hold), "SIZE", "expiry leaves up to so much that is not delivered (default nothing)"},
    {"once", '1', OPT_FLAG, AT(once), NULL, "end when all that is there has been delivered; 1 when the destination fails"},
    {"name", 0, OPT_STR, AT(name), "NAME", "of the cursor (default: made of the address)"},
    {"report", 0, OPT_SPAN, AT(report), "SPAN", "say how it goes so often, 0: never (default 1m)"},
    {"status", 0, OPT_FLAG, AT(status), NULL, "say how far each destination has got, and end"},
    {"json", 'j', OPT_FLAG, AT(json), NULL, "--status: one JSON object a line"},
    {"metrics", 0, OPT_STR, AT(metrics), "FILE", "write lag and counters for Prometheus (node_exporter's textfile collector) into FILE every 10 s; with --status once, of all destinations (-: to standard output)"},
    {"forget", 0, OPT_STR, AT(forget), "NAME", "remove a cursor: nothing waits for that destination any more"},
    {"formats", 0, OPT_FLAG, AT(formats), NULL, "list destinations, their settings, and formats"},
    {0},
};
/* clang-format on */

/* ---- what there is ---- */

static int list_formats(void)
{
    printf("destinations:\n");
    for (const struct ship_destination_ops *const *d = ship_destinations(); *d; d++) {
        printf("  %-14s %s\n", (*d)->scheme, (*d)->help);
        bool same = d[1] && d[1]->settings_help == (*d)->settings_help; /* said with the next one */
        for (const char *const *s = (*d)->settings_help; !same && s && *s; s += 2)
            printf("    %-28s %s\n", s[0], s[1]);
    }
    printf("formats:\n");
    for (const struct ship_format *f = ship_formats(); f->name; f++)
        printf("  %-14s %s\n", f->name, f->help);
    return 0;
}

/* To FILE by way of a new file beside it, so that nobody reads half of it; "-": standard output. */
static bool write_metrics(const char *path, const base_buf *b)
{
    char *part = NULL;
    bool ok = !b->failed;
    if (strcmp(path, "-") == 0)
        return ok && fwrite(b->data, 1, b->len, stdout) == b->len && fflush(stdout) == 0;
    ok = ok && asprintf(&part, "%s.%ld.part", path, (long)getpid()) >= 0;
    FILE *f = ok ? fopen(part, "we") : NULL;
    int why = errno;
    ok = f && fwrite(b->data, 1, b->len, f) == b->len;
    if (f && fclose(f) != 0)
        ok = false;
    if (f && ok)
        ok = rename(part, path) == 0;
    if (!ok && f) {
        why = errno;
        (void)unlink(part);
    }
    free(part);
    errno = why;
    return ok;
}

static int show_status(const struct ship_args *a)
{
    struct archive_names names;
    weir_err err = {0};
    int status = 0;
    if (archive_cursor_names(a->archive, &names, &err) != WEIR_OK) {
        log_error("%s", err.msg);
        return 1;
    }
    struct ship_status *all = calloc(names.n + 1, sizeof *all);
    base_buf b = {0};
    size_t n = 0;
    for (size_t i = 0; all && i < names.n; i++) {
        if (ship_status_of(a->archive, names.items[i], &all[n], &err) != WEIR_OK) {
            log_error("%s: %s", names.items[i], err.msg);
            ship_status_done(&all[n]);
            status = 1;
            continue;
        }
        if (!a->metrics)
            (a->json ? ship_status_json : ship_status_text)(&all[n], &b);
        n++;
    }
    if (a->metrics)
        ship_status_metrics(all, NULL, n, &b);
    else if (!names.n && !a->json)
        base_buf_printf(&b, "nothing is delivered from %s: there is no cursor in it\n", a->archive);
    const char *to = a->metrics ? a->metrics : "-";
    if (!all || !write_metrics(to, &b)) {
        log_error("cannot write %s: %s", to, strerror(all ? errno : ENOMEM));
        status = 1;
    }
    for (size_t i = 0; i < n; i++)
        ship_status_done(&all[i]);
    base_buf_done(&b);
    free(all);
    archive_names_done(&names);
    return status;
}

static int forget(const struct ship_args *a)
{
    weir_err err = {0};
    if (!archive_cursor_name_ok(a->forget))
        return opt_usage(&cmd_ship, "--forget: '%s' is no name of a cursor", a->forget);
    if (archive_cursor_forget(a->archive, a->forget, &err) == WEIR_OK)
        return 0;
    log_error("%s", err.msg);
    return 1;
}

/* ---- delivery ---- */

struct delivery {
    ship *s;
    pthread_t thread;
    bool started;
    atomic_bool ended;
    char name[ARCHIVE_CURSOR_NAME + 1];
    struct ship_url url; /* its settings are among those below */
    struct ship_setting *settings;
    weir_status status;
    weir_err err;
    uint64_t rows_said;
};

static void says(void *user, bool trouble, const char *text)
{
    (void)user;
    if (trouble)
        log_warning("%s", text);
    else
        log_info("%s", text);
}

static void *deliver(void *user)
{
    struct delivery *d = user;
    d->status = ship_run(d->s, &d->err);
    atomic_store(&d->ended, true);
    return NULL;
}

/* name=value of --set. */
static weir_status split(const char *text, char **copy, struct ship_setting *out, weir_err *err)
{
    const char *equals = strchr(text, '=');
    if (!equals || equals == text)
        return weir_err_set(err, WEIR_EINVAL, 0, "--set: '%.60s' is not NAME=VALUE", text);
    if (!(*copy = strdup(text)))
        return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
    (*copy)[equals - text] = 0;
    *out = (struct ship_setting){.name = *copy, .value = *copy + (equals - text) + 1};
    return WEIR_OK;
}

static weir_status open_one(const struct ship_args *a, const char *url,
                            const struct query_expr *filter, const struct ship_setting *set,
                            struct delivery *d, weir_err *err)
{
    struct ship_options o = {.archive = a->archive,
                             .name = d->name,
                             .filter = filter,
                             .begin_now = strcmp(a->begin, "now") == 0,
                             .once = a->once,
                             .hold = a->hold,
                             .log = says};
    if (!(o.ops = ship_destination_find(url, err)))
        return WEIR_EINVAL;
    if (a->name)
        (void)snprintf(d->name, sizeof d->name, "%s", a->name);
    else
        ship_name_of(url, d->name);
    if (strstr(url, "://"))
        WEIR_TRY(ship_url_parse(url, &d->url, err));
    size_t n = a->set.n + d->url.n;
    if (!(d->settings = calloc(n + 1, sizeof *d->settings)))
        return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
    for (size_t i = 0; i < d->url.n; i++)
        d->settings[i] = (struct ship_setting){d->url.names[i], d->url.values[i]};
    for (size_t i = 0; i < a->set.n; i++)
        d->settings[d->url.n + i] = set[i];
    o.destination = (struct ship_destination_options){.url = url,
                                                      .format = a->format,
                                                      .settings = d->settings,
                                                      .n_settings = n,
                                                      .create = a->create};
    return ship_open(&o, &d->s, err);
}

static void report(struct delivery *d, int n, double span_s)
{
    for (int i = 0; i < n; i++) {
        struct ship_counters c;
        ship_read(d[i].s, &c);
        log_info("%s: %" PRIu64 " rows delivered, %.0f a second%s%s", d[i].name, c.rows,
                 (double)(c.rows - d[i].rows_said) / span_s, c.away ? "; away: " : "",
                 c.away ? c.why : "");
        d[i].rows_said = c.rows;
    }
}

/* How long it takes depends on how many files wait: most of the time nothing is done for it. */
static uint64_t write_lags(const struct ship_args *a, struct delivery *d, int n, bool ended)
{
    enum { EVERY_S = 10, SHARE = 20 };
    static const uint64_t SECOND = 1000000000;
    struct timespec t0, t1;
    base_buf b = {0};
    weir_err err = {0};
    struct ship_status *all = calloc((size_t)n, sizeof *all);
    struct ship_counters *c = calloc((size_t)n, sizeof *c);
    const struct ship_counters **counted = calloc((size_t)n, sizeof *counted);
    bool ok = all && c && counted;
    (void)clock_gettime(CLOCK_MONOTONIC, &t0);
    for (int i = 0; i < n && ok; i++) {
        ship_read(d[i].s, &c[i]);
        counted[i] = &c[i];
        if (ship_status_of(a->archive, d[i].name, &all[i], &err) != WEIR_OK) {
            log_warning("%s: lag is not known: %s", d[i].name, err.msg);
            ok = false;
        }
        all[i].running = !ended; /* this process it is that has the lock */
    }
    if (ok) {
        ship_status_metrics(all, counted, (size_t)n, &b);
        if (!write_metrics(a->metrics, &b))
            log_warning("cannot write %s: %s", a->metrics, strerror(errno));
    }
    for (int i = 0; i < n && all; i++)
        ship_status_done(&all[i]);
    free(all);
    free(c);
    free(counted);
    base_buf_done(&b);
    (void)clock_gettime(CLOCK_MONOTONIC, &t1);
    uint64_t took =
        (uint64_t)(t1.tv_sec - t0.tv_sec) * SECOND + (uint64_t)t1.tv_nsec - (uint64_t)t0.tv_nsec;
    return took * SHARE > EVERY_S * SECOND ? took * SHARE : EVERY_S * SECOND;
}

static bool is_running(const struct delivery *d, int n)
{
    for (int i = 0; i < n; i++)
        if (d[i].started && !atomic_load(&d[i].ended))
            return true;
    return false;
}

static int run_all(const struct ship_args *a, struct delivery *d, int n)
{
    sigset_t ends;
    weir_err err = {0};
    int status = 0, n_started = 0;
    (void)sigemptyset(&ends);
    (void)sigaddset(&ends, SIGINT);
    (void)sigaddset(&ends, SIGTERM);
    (void)pthread_sigmask(SIG_BLOCK, &ends, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < n; i++) {
        d[i].started = pthread_create(&d[i].thread, NULL, deliver, &d[i]) == 0;
        if (!d[i].started)
            (void)weir_err_set(&err, WEIR_ENOMEM, 0, "cannot start a thread");
        n_started += d[i].started;
    }
    if (n_started == n)
        log_info("delivers %s to %d destination%s", a->archive, n, n > 1 ? "s" : "");
    uint64_t waited = 0, to_metrics = 0;
    bool stop = n_started < n;
    while (!stop && is_running(d, n)) {
        const struct timespec tick = {.tv_nsec = 200000000};
        stop = sigtimedwait(&ends, NULL, &tick) > 0;
        waited += (uint64_t)tick.tv_nsec;
        if (a->metrics && to_metrics <= (uint64_t)tick.tv_nsec)
            to_metrics = write_lags(a, d, n, false);
        else if (a->metrics)
            to_metrics -= (uint64_t)tick.tv_nsec;
        if (a->report && waited >= a->report) {
            report(d, n, (double)waited / 1e9);
            waited = 0;
        }
    }
    for (int i = 0; i < n; i++)
        ship_stop(d[i].s);
    for (int i = 0; i < n; i++) {
        if (!d[i].started)
            continue;
        (void)pthread_join(d[i].thread, NULL);
        struct ship_counters c;
        ship_read(d[i].s, &c);
        log_info("%s: %" PRIu64 " rows delivered", d[i].name, c.rows);
        if (d[i].status != WEIR_OK) {
            log_error("%s: %s", d[i].name, d[i].err.msg);
            status = 1;
        }
    }
    if (a->metrics && n_started == n)
        (void)write_lags(a, d, n, true);
    if (err.msg[0])
        log_error("%s", err.msg);
    return err.msg[0] ? 1 : status;
}

static int parse_filter(const struct ship_args *a, query_arena *arena, struct query_expr **out)
{
    const struct query_filter_options o = {.resolve = NULL};
    struct query_error where = {0};
    weir_err err = {0};
    if (!a->filter)
        return 0;
    if (query_filter_parse(arena, a->filter, strlen(a->filter), &o, out, &where, &err) == WEIR_OK)
        return 0;
    base_buf b = {0};
    query_error_print(&where, &err, "filter", &b);
    if (b.len && !b.failed)
        log_text(b.data, b.len);
    base_buf_done(&b);
    return 2;
}

static int run(const void *args, int n, char **urls)
{
    const struct ship_args *a = args;
    log_init("weir ship", LOG_LEVEL_INFO);
    if (a->formats)
        return list_formats();
    if (a->status || a->forget)
        return n           ? opt_usage(&cmd_ship, "--%s takes no destination",
                             a->status ? "status" : "forget")
               : a->status ? show_status(a)
                           : forget(a);
    if (!n)
        return opt_usage(&cmd_ship, "no destination is given (--formats lists them)");
    if (a->name && n > 1)
        return opt_usage(&cmd_ship, "--name names one destination, %d are given", n);
    if (a->name && !archive_cursor_name_ok(a->name))
        return opt_usage(&cmd_ship, "--name: letters, digits and . _ - only, at most %d",
                         (int)ARCHIVE_CURSOR_NAME);
    query_arena *arena = query_arena_new();
    struct delivery *d = calloc((size_t)n, sizeof *d);
    struct ship_setting *set = calloc(a->set.n + 1, sizeof *set);
    char **copies = calloc(a->set.n + 1, sizeof *copies);
    struct query_expr *filter = NULL;
    weir_err err = {0};
    weir_status s = WEIR_OK;
    int status = 1;
    if (!arena || !d || !set || !copies) {
        log_error("out of memory");
        goto out;
    }
    status = parse_filter(a, arena, &filter);
    for (size_t i = 0; i < a->set.n && s == WEIR_OK && !status; i++)
        s = split(a->set.items[i], &copies[i], &set[i], &err);
    for (int i = 0; i < n && s == WEIR_OK && !status; i++)
        s = open_one(a, urls[i], filter, set, &d[i], &err);
    if (s == WEIR_EINVAL)
        status = opt_usage(&cmd_ship, "%s", err.msg);
    else if (s != WEIR_OK) {
        log_error("%s", err.msg);
        status = 1;
    } else if (!status)
        status = run_all(a, d, n);
out:
    for (int i = 0; d && i < n; i++) {
        ship_close(d[i].s);
        ship_url_done(&d[i].url);
        free(d[i].settings);
    }
    for (size_t i = 0; copies && i < a->set.n; i++)
        free(copies[i]);
    free(copies);
    free(set);
    free(d);
    query_arena_free(arena);
    return status;
}

const struct cmd cmd_ship = {
    .name = "ship",
    .what = "deliver an archive to Kafka, ClickHouse, collectors, files, and go on behind it",
    .operands = "DESTINATION...",
    .opts = ship_opts,
    .args_size = sizeof(struct ship_args),
    .defaults = &ship_defaults,
    .run = run,
    .examples =
        "weir ship --once file:flows.ndjson              # all that is there, one JSON object a "
        "line\n"
        "weir ship --begin now file:- | jq .src_addr      # what comes from now on\n"
        "weir ship 'command:gzip > flows.ndjson.gz'       # into a command\n"
        "weir ship ipfix://192.0.2.9:4739                 # to another collector\n"
        "weir ship --status                               # how far each destination has got\n"
        "weir ship --metrics /var/lib/node_exporter/weir.prom clickhouse://db.example.net/net\n",
};
