/* query -- select, group and order the flows of an archive, as nfdump does it. */
#include "cli/cmd.h"

#include "base/log.h"
#include "query/books.h"
#include "query/complete.h"
#include "query/extras.h"
#include "query/format.h"
#include "query/lookup.h"
#include "query/paths.h"
#include "ship/clickhouse_query.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <langinfo.h>
#include <locale.h>
#include <malloc.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct query_args {
    struct opt_strs read, stats, top, geo;
    const char *from, *range, *dirs, *filter_file, *window, *order, *by, *keys, *having, *format,
        *write;
    const char *summary, *dns, *not_config, *not_tor, *not_ident, *not_level, *not_exporters,
        *not_verify, *not_extensions;
    uint64_t last, stop_after, rows, every, memory, threads;
    bool by_start, aggregate, merge, guess, full_ipv6, quiet, plain, totals, slots, check, show,
        tag, raw, explain, utc, no_color, not_lzo, not_bz2, not_lz4;
};

enum {
    EXIT_BAD_FILTER = 254,
    EXIT_INTERRUPTED = 130,
    TUPLE_KEYS = 7,
    DEFAULT_TOP = 10,
    MAX_RESULTS = 16,
    FILTER_FILE_MAX = 16 << 20
};

/* --- signals and progress ------------------------------------------------------------------------- */

static atomic_bool interrupted;
static pthread_t writer; /* the thread that may wait for a reader of the output */

/* The writer is called out of its wait whichever thread got the signal; and again after a second, should it have begun to
 * wait just now. */
static void on_interrupt(int sig)
{
    (void)sig;
    int kept = errno;
    atomic_store(&interrupted, true);
    if (!pthread_equal(pthread_self(), writer))
        (void)pthread_kill(writer, SIGALRM);
    (void)alarm(1);
    errno = kept;
}

static void catch_interrupts(void)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGALRM};
    struct sigaction on = {.sa_handler = on_interrupt};
    writer = pthread_self();
    for (size_t i = 0; i < ARRAY_LEN(signals); i++) {
        struct sigaction was;
        if (signals[i] == SIGHUP && sigaction(SIGHUP, NULL, &was) == 0 && was.sa_handler == SIG_IGN)
            continue; /* nohup */
        sigaction(signals[i], &on, NULL);
    }
}

struct run {
    const struct query_args *args;
    query_arena *arena;
    ship_clickhouse_query *server; /* of --from; NULL: files are read */
    int out;                       /* file descriptor of the results */
    bool closed, out_is_terminal, ranged;
    atomic_llong
        shown_ns; /* when the progress line was written last; 0: never, -1: there is none */
    int64_t started_ns;
};

static int64_t now_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static bool stop(void *user)
{
    (void)user;
    return atomic_load(&interrupted);
}

static void progress_clear(struct run *r)
{
    if (atomic_load(&r->shown_ns) > 0) {
        (void)fputs("\r\033[K", stderr);
        atomic_store(&r->shown_ns, 0);
    }
}

/* Called from any thread: the one that moves shown_ns on writes. */
static void progress(void *user, uint64_t done, uint64_t known, uint64_t rows)
{
    struct run *r = user;
    long long shown = atomic_load(&r->shown_ns);
    if (shown < 0)
        return;
    int64_t now = now_ns(CLOCK_MONOTONIC);
    if (now - r->started_ns < 2000000000 || now - shown < 500000000 ||
        !atomic_compare_exchange_strong(&r->shown_ns, &shown, now))
        return;
    (void)fprintf(stderr, "\r\033[K%" PRIu64 " MB", done / 1000000);
    if (known)
        (void)fprintf(stderr, " of %" PRIu64 " MB", known / 1000000);
    (void)fprintf(stderr, ", %" PRIu64 " flows", rows);
}

/* --- output --------------------------------------------------------------------------------------- */

static weir_status write_out(void *user, const void *data, size_t len, weir_err *err)
{
    struct run *r = user;
    const char *p = data;
    if (r->out_is_terminal) {
        progress_clear(r);
        atomic_store(&r->shown_ns, -1); /* rows and a progress line do not go together */
    }
    while (len && !r->closed) {
        ssize_t n = write(r->out, p, len);
        if (n > 0) {
            p += n;
            len -= (size_t)n;
        } else if (n < 0 && errno == EPIPE) {
            r->closed = true; /* a reader that has seen enough is no failure */
        } else if (n < 0 && errno != EINTR) {
            return weir_err_set(err, WEIR_EIO, 0, "cannot write the result: %s", strerror(errno));
        } else if (atomic_load(&interrupted)) {
            return WEIR_END;
        }
    }
    return r->closed ? WEIR_END : WEIR_OK;
}

/* --- what the filter asks for --------------------------------------------------------------------- */

static weir_status resolve(void *user, const char *name, struct query_prefix **out, size_t *n,
                           weir_err *err)
{
    (void)user;
    struct addrinfo hints = {.ai_socktype = SOCK_DGRAM}, *list = NULL;
    int failed = getaddrinfo(name, NULL, &hints, &list);
    if (failed)
        return weir_err_set(err, WEIR_ENOTFOUND, 0, "cannot look up host name '%.60s': %s", name,
                            gai_strerror(failed));
    size_t count = 0;
    for (const struct addrinfo *a = list; a; a = a->ai_next)
        count++;
    struct query_prefix *more = realloc(*out, (*n + count) * sizeof *more);
    if (!more) {
        freeaddrinfo(list);
        return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
    }
    *out = more;
    for (const struct addrinfo *a = list; a; a = a->ai_next) {
        struct query_prefix p = {0};
        if (a->ai_family == AF_INET) {
            struct sockaddr_in in;
            memcpy(&in, a->ai_addr, sizeof in);
            p.family = 4;
            p.bits = 32;
            memcpy(p.addr, &in.sin_addr, 4);
        } else if (a->ai_family == AF_INET6) {
            struct sockaddr_in6 in6;
            memcpy(&in6, a->ai_addr, sizeof in6);
            p.family = 6;
            p.bits = 128;
            memcpy(p.addr, &in6.sin6_addr, 16);
        } else {
            continue;
        }
        more[(*n)++] = p;
    }
    freeaddrinfo(list);
    return WEIR_OK;
}

static weir_status read_file(void *user, const char *path, char **text, size_t *len, weir_err *err)
{
    (void)user;
    FILE *f = fopen(path, "re");
    if (!f)
        return weir_err_set(err, WEIR_EIO, 0, "cannot open filter file %.80s: %s", path,
                            strerror(errno));
    size_t cap = 4096, n = 0;
    char *data = malloc(cap);
    while (data) {
        n += fread(data + n, 1, cap - n, f);
        if (n < cap || n >= FILTER_FILE_MAX)
            break;
        char *more = realloc(data, cap *= 2);
        if (!more)
            free(data);
        data = more;
    }
    const char *why = !data                  ? "out of memory"
                      : ferror(f)            ? strerror(errno)
                      : n >= FILTER_FILE_MAX ? "it is too long"
                                             : NULL;
    (void)fclose(f);
    if (why) {
        free(data);
        return weir_err_set(err, WEIR_EIO, 0, "cannot read filter file %.80s: %s", path, why);
    }
    *text = data;
    *len = n;
    return WEIR_OK;
}

/* Operands joined by blanks. NULL: out of memory. */
static char *joined(query_arena *a, int n, char **operands)
{
    size_t len = 1;
    for (int i = 0; i < n; i++)
        len += strlen(operands[i]) + 1;
    char *text = query_arena_alloc(a, len), *p = text;
    for (int i = 0; text && i < n; i++) {
        if (i)
            *p++ = ' ';
        size_t m = strlen(operands[i]);
        memcpy(p, operands[i], m);
        p += m;
    }
    return text;
}

/* 0, or the exit status after a message. */
static int parse_filter(query_arena *a, const char *text, size_t len, const char *what, bool check,
                        struct query_expr **out)
{
    struct query_filter_options o = {.resolve = resolve, .read = read_file};
    struct query_error where = {0};
    weir_err err = {0};
    weir_status s = query_filter_parse(a, text, len, &o, out, &where, &err);
    if (s == WEIR_OK)
        return 0;
    if (s == WEIR_EFORMAT || s == WEIR_ENOTFOUND) {
        base_buf b = {0};
        query_error_print(&where, &err, what, &b);
        if (b.len && !b.failed)
            log_text(b.data, b.len);
        base_buf_done(&b);
        return check ? EXIT_BAD_FILTER : 2;
    }
    log_error("%s", err.msg);
    return check ? EXIT_BAD_FILTER : s == WEIR_ELIMIT ? 2 : 1;
}

/* --- the query ------------------------------------------------------------------------------------ */

struct plan {
    struct query q;
    struct query_result results[MAX_RESULTS];
    struct query_stat stats[MAX_RESULTS]; /* of each result, with one order */
    size_t n_stats;
    struct query_field *keys; /* of -A, --every: printed in front */
    size_t n_keys;
    struct query_field tuple
        [8]; /* of a connection, the protocol first; TUPLE_KEYS tell it apart, flags are shown besides */
    struct query_order order;
    struct query_expr *having; /* -P, NULL: none */
    struct query_extras extras;
    const char *format;
};

static int bad(const char *option, const weir_err *err)
{
    return opt_usage(&cmd_query, "%s: %s", option, err->msg);
}

static int not_available(const struct query_args *a)
{
    const struct {
        bool given;
        const char *option, *why;
    } rows[] = {
        {a->not_config, "-C", "there is no configuration file: give formats with -o fmt:..."},
        {a->not_tor, "-H", "tor exit lists are not read"},
        {a->not_ident, "-i", "files of an archive have no ident"},
        {a->not_level || a->not_lzo || a->not_bz2 || a->not_lz4, "-J, -z, -j, -y",
         "files are Parquet with zstd: 'weir archive compact' makes them smaller"},
        {a->not_exporters, "-E", "use 'weir exporters', or -s router"},
        {a->not_verify, "-v", "use 'weir archive verify'"},
        {a->not_extensions, "-x", "use 'weir fields', every file names its columns"},
        {a->tag, "-T", "addresses are not tagged: use -o csv or -o json in scripts"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].given)
            return opt_usage(&cmd_query, "%s: not available: %s", rows[i].option, rows[i].why);
    return 0;
}

static void tuple_of(struct plan *p)
{
    static const enum flow_column_id ids[] = {FLOW_proto,     FLOW_src_addr, FLOW_dst_addr,
                                              FLOW_src_port,  FLOW_dst_port, FLOW_icmp_type,
                                              FLOW_icmp_code, FLOW_tcp_flags};
    for (size_t i = 0; i < ARRAY_LEN(ids); i++)
        p->tuple[i] = query_field_column(ids[i]);
}

/* -s and --top: a result for each order. */
static int stat_results(struct run *r, struct plan *p, const char *text)
{
    weir_err err;
    struct query_stat s;
    if (query_stat_parse(r->arena, text, &s, &err) != WEIR_OK)
        return bad("-s", &err);
    for (size_t i = 0; i < (s.n_orders ? s.n_orders : 1); i++) {
        if (p->n_stats == MAX_RESULTS)
            return opt_usage(&cmd_query, "-s: more than %d statistics at once", MAX_RESULTS);
        struct query_stat *stat = &p->stats[p->n_stats];
        struct query_result *result = &p->results[p->n_stats++];
        *stat = s;
        stat->orders = s.n_orders ? &s.orders[i] : NULL;
        stat->n_orders = s.n_orders ? 1 : 0;
        *result = (struct query_result){.grouped = true,
                                        .either = s.either,
                                        .keys = stat->keys,
                                        .n_keys = s.n_keys,
                                        .orders = stat->orders,
                                        .n_orders = stat->n_orders,
                                        .having = p->having,
                                        .limit = r->args->rows == UINT64_MAX ? DEFAULT_TOP
                                                                             : r->args->rows};
        if (s.record) {
            result->keys = p->n_keys ? p->keys : p->tuple;
            result->n_keys = p->n_keys ? p->n_keys : TUPLE_KEYS;
            result->either = false;
        } else if (s.by_proto && s.either) {
            result->also = p->tuple;
            result->n_also = 1;
        } else if (s.by_proto && !query_field_same(&stat->keys[0], p->tuple)) {
            stat->keys[1] = p->tuple[0]; /* a second key; stat->n_keys counts the statistic's own */
            result->n_keys = 2;
        }
    }
    return 0;
}

static int top_results(struct run *r, struct plan *p)
{
    const struct query_args *a = r->args;
    for (size_t i = 0; i < a->top.n; i++) {
        base_buf b = {0};
        base_buf_str(&b, a->top.items[i]);
        if (a->by) {
            base_buf_char(&b, '/');
            base_buf_str(&b, a->by);
        }
        base_buf_char(&b, 0);
        int status = b.failed ? 1 : stat_results(r, p, b.data);
        base_buf_done(&b);
        if (status)
            return status;
    }
    return 0;
}

/* Keys of -A and --every, the time first. */
static int group_keys(struct run *r, struct plan *p)
{
    const struct query_args *a = r->args;
    struct query_field *keys = NULL;
    size_t n = 0;
    weir_err err;
    if (a->keys && query_keys_parse(r->arena, a->keys, &keys, &n, &err) != WEIR_OK)
        return bad("-A", &err);
    p->keys = query_arena_alloc(r->arena, (n + 1) * sizeof *keys);
    if (!p->keys)
        return opt_usage(&cmd_query, "out of memory");
    bool chart = p->format && strcmp(p->format, "chart") == 0;
    uint64_t span = a->every != UINT64_MAX ? a->every : chart ? 60 * 1000000000ULL : 0;
    if (span || a->every == 0) {
        if (span < 1000 || span / 1000 > INT64_MAX / 1000)
            return opt_usage(&cmd_query, "--every: a span of at least a microsecond is needed");
        p->keys[0] = query_field_derived(QUERY_D_TIME_BUCKET);
        p->keys[0].span_us = (int64_t)(span / 1000);
        p->n_keys = 1;
    }
    if (n)
        memcpy(p->keys + p->n_keys, keys, n * sizeof *keys);
    p->n_keys += n;
    return 0;
}

static int plan_results(struct run *r, struct plan *p)
{
    const struct query_args *a = r->args;
    weir_err err;
    tuple_of(p);
    int status = group_keys(r, p);
    for (size_t i = 0; !status && i < a->stats.n; i++)
        status = stat_results(r, p, a->stats.items[i]);
    if (!status)
        status = top_results(r, p);
    if (status)
        return status;
    bool merge = a->merge || a->guess;
    if (merge && p->n_keys)
        return opt_usage(
            &cmd_query, "-b and -B merge on addresses, ports and protocol: not with -A or --every");
    if (p->n_stats && merge)
        return opt_usage(&cmd_query, "-b and -B: not together with -s");
    if (p->n_stats) {
        if (a->order || a->by_start)
            return opt_usage(&cmd_query, "-O and -m: a statistic is ordered by -s STAT/ORDER");
        for (size_t i = 0; i < p->n_stats; i++)
            if (p->stats[i].record != p->stats[0].record)
                return opt_usage(&cmd_query, "-s record: not together with other statistics");
        p->q.n_results = p->n_stats;
        return 0;
    }
    struct query_result *result = &p->results[0];
    p->q.n_results = 1;
    result->limit = a->rows == UINT64_MAX ? 0 : a->rows;
    result->grouped = a->aggregate || merge || p->n_keys;
    result->having = p->having;
    if (p->having && !result->grouped && !a->totals && !a->slots)
        return opt_usage(&cmd_query, "-P: selects groups (-s, -A, -a, -b, --every); of records the "
                                     "filter itself selects");
    if (result->grouped) {
        result->keys = p->n_keys ? p->keys : p->tuple;
        result->n_keys = p->n_keys ? p->n_keys : TUPLE_KEYS;
        result->merge = a->guess   ? QUERY_MERGE_GUESS
                        : a->merge ? QUERY_MERGE_BOTH
                                   : QUERY_MERGE_NONE;
    }
    bool chart = p->format && strcmp(p->format, "chart") == 0;
    const char *order = a->order ? a->order : a->by_start ? "tstart" : chart ? NULL : a->by;
    if (order) {
        if (query_order_parse(r->arena, order, &p->order, &err) != WEIR_OK)
            return bad(a->order ? "-O" : "--by", &err);
        result->orders = &p->order;
        result->n_orders = 1;
    }
    return 0;
}

static int plan_window(const struct query_args *a, struct query *q)
{
    weir_err err;
    q->from_us = INT64_MIN;
    q->to_us = INT64_MAX;
    int64_t now_us = now_ns(CLOCK_REALTIME) / 1000;
    if (a->window && query_window_parse(a->window, now_us, &q->from_us, &q->to_us, &err) != WEIR_OK)
        return bad("-t", &err);
    if (a->last != UINT64_MAX && a->window)
        return opt_usage(&cmd_query, "--last and -t: only one of them");
    if (a->last == 0)
        return opt_usage(&cmd_query, "--last: a span above 0 is needed");
    if (a->last != UINT64_MAX)
        q->from_us = now_us - (int64_t)(a->last / 1000);
    return 0;
}

/* Filter of the command line or of -f, and -P. */
static int plan_filter(struct run *r, struct plan *p, int n, char **operands)
{
    const struct query_args *a = r->args;
    struct query_expr *e = NULL;
    char *text = n ? joined(r->arena, n, operands) : NULL, *from_file = NULL;
    size_t len = text ? strlen(text) : 0;
    weir_err err;
    if (n && !text) {
        log_error("out of memory");
        return 1;
    }
    if (!n && a->filter_file) {
        if (read_file(NULL, a->filter_file, &from_file, &len, &err) != WEIR_OK) {
            log_error("%s", err.msg);
            return 1;
        }
        /* What goes wrong is shown by its line, which must outlive the parser. */
        text = query_arena_text(r->arena, from_file, len);
        free(from_file);
        if (!text) {
            log_error("out of memory");
            return 1;
        }
    }
    int status = parse_filter(r->arena, text, len, "filter", a->check, &e);
    if (status)
        return status;
    p->q.filter = e;
    if (!a->having)
        return 0;
    return parse_filter(r->arena, a->having, strlen(a->having), "-P", a->check, &p->having);
}

static int show_filter(struct run *r, const struct query_expr *e)
{
    base_buf b = {0};
    weir_err err;
    query_expr_print(e, &b);
    base_buf_char(&b, '\n');
    weir_status s = b.failed ? weir_err_set(&err, WEIR_ENOMEM, 0, "out of memory")
                             : write_out(r, b.data, b.len, &err);
    base_buf_done(&b);
    if (s != WEIR_OK && s != WEIR_END) {
        log_error("%s", err.msg);
        return 1;
    }
    return 0;
}

static unsigned terminal_width(void)
{
    struct winsize w;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col)
        return w.ws_col;
    const char *columns = getenv("COLUMNS");
    unsigned long n = columns ? strtoul(columns, NULL, 10) : 0;
    return n > 0 && n < 10000 ? (unsigned)n : 80;
}

/* no-color.org: set to anything but nothing. A terminal that is called dumb, or nothing, knows no colours. */
static bool colors_wanted(void)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    return !(no && *no) && term && *term && strcmp(term, "dumb") != 0;
}

static bool utf8_locale(void)
{
    return setlocale(LC_CTYPE, "") && strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

/* --- the file of -w ------------------------------------------------------------------------------- */

struct target {
    const char *path;
    char *real; /* behind symbolic links; NULL: as path, or no file (yet) */
    char *
        part; /* written first, renamed at the end; NULL: path is a device or a pipe, written as it is */
    bool open;
};

static int target_failed(struct target *t, const char *path)
{
    log_error("cannot write %s: %s", path, strerror(errno));
    free(t->part);
    free(t->real);
    t->part = t->real = NULL;
    return 1;
}

static int target_open(struct run *r, struct target *t)
{
    struct stat st;
    bool there = stat(t->path, &st) == 0;
    if (there && S_ISDIR(st.st_mode)) {
        errno = EISDIR;
        return target_failed(t, t->path);
    }
    if (there && !S_ISREG(st.st_mode)) {
        r->out = open(t->path, O_WRONLY | O_CLOEXEC);
    } else {
        t->real = there ? realpath(t->path, NULL) : NULL;
        const char *to = t->real ? t->real : t->path;
        size_t n = strlen(to) + 32;
        t->part = malloc(n);
        if (!t->part)
            return target_failed(t, t->path);
        (void)snprintf(t->part, n, "%s.%ld.part", to, (long)getpid());
        r->out = open(t->part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    }
    if (r->out < 0)
        return target_failed(t, t->part ? t->part : t->path);
    t->open = true;
    return 0;
}

/* The file appears under its name only when it is whole. */
static int target_close(struct run *r, struct target *t, int status)
{
    if (!t->open)
        return status;
    const char *to = t->real ? t->real : t->path;
    bool failed = close(r->out) != 0;
    if (status == 0 && (failed || (t->part && rename(t->part, to) != 0))) {
        log_error("cannot write %s: %s", t->path, strerror(errno));
        status = 1;
    }
    if (status && t->part)
        (void)unlink(t->part);
    free(t->part);
    free(t->real);
    return status;
}

/* --- totals: -I and -g ---------------------------------------------------------------------------- */

struct totals {
    uint64_t flows[5], packets[5], bytes[5]; /* tcp, udp, icmp, other, all */
    int64_t first, last;
    bool slots, any;
    base_buf out;
};

static weir_status totals_begin(void *user, const struct query *q, size_t result, weir_err *err)
{
    (void)user;
    (void)q;
    (void)result;
    (void)err;
    return WEIR_OK;
}

static uint64_t at(const struct query_vec *v, size_t i)
{
    return v->num ? v->num[i] : 0;
}

/* Columns: the key (proto, or the time of a slot), flows, packets, bytes, first, last. */
static weir_status totals_block(void *user, size_t result, const struct query_block *b,
                                weir_err *err)
{
    (void)result;
    (void)err;
    struct totals *t = user;
    for (size_t i = 0; i < b->n; i++) {
        uint64_t flows = at(&b->vecs[1], i), packets = at(&b->vecs[2], i),
                 bytes = at(&b->vecs[3], i);
        if (t->slots) {
            time_t s = (time_t)((int64_t)at(&b->vecs[0], i) / 1000000);
            struct tm tm;
            char text[32] = "";
            if (localtime_r(&s, &tm))
                (void)strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &tm);
            base_buf_printf(&t->out, "%s,%" PRIu64 ",%" PRIu64 ",%" PRIu64 "\n", text, flows,
                            packets, bytes);
            continue;
        }
        uint64_t proto = at(&b->vecs[0], i);
        int64_t first = (int64_t)at(&b->vecs[4], i), last = (int64_t)at(&b->vecs[5], i);
        int kinds[2] = {proto == 6 ? 0 : proto == 17 ? 1 : proto == 1 || proto == 58 ? 2 : 3, 4};
        for (int k = 0; k < 2; k++) {
            t->flows[kinds[k]] += flows;
            t->packets[kinds[k]] += packets;
            t->bytes[kinds[k]] += bytes;
        }
        t->first = !t->any || first < t->first ? first : t->first;
        t->last = !t->any || last > t->last ? last : t->last;
        t->any = true;
    }
    return WEIR_OK;
}

static weir_status totals_end(void *user, size_t result, const struct query_summary *s,
                              weir_err *err)
{
    (void)user;
    (void)result;
    (void)s;
    (void)err;
    return WEIR_OK;
}

static void totals_text(struct totals *t)
{
    static const char *const kinds[] = {"_tcp", "_udp", "_icmp", "_other"};
    const struct {
        const char *name;
        const uint64_t *n;
    } rows[] = {{"Flows", t->flows}, {"Packets", t->packets}, {"Bytes", t->bytes}};
    base_buf_str(&t->out, "Ident: none\n");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        base_buf_printf(&t->out, "%s: %" PRIu64 "\n", rows[i].name, rows[i].n[4]);
        for (int k = 0; k < 4; k++)
            base_buf_printf(&t->out, "%s%s: %" PRIu64 "\n", rows[i].name, kinds[k], rows[i].n[k]);
    }
    base_buf_printf(&t->out,
                    "First: %" PRId64 "\nLast: %" PRId64 "\nmsec_first: %d\nmsec_last: %d\n",
                    t->first / 1000000, t->last / 1000000, (int)(t->first / 1000 % 1000),
                    (int)(t->last / 1000 % 1000));
}

/* --- running -------------------------------------------------------------------------------------- */

/* Exit status of a query that ended with s. */
static int finished(struct run *r, weir_status s, const weir_err *err,
                    const struct query_summary *sum)
{
    progress_clear(r);
    if (atomic_load(&interrupted))
        return EXIT_INTERRUPTED;
    if (s == WEIR_ENOTFOUND && r->server) { /* something that is not available */
        log_error("%s", err->msg);
        return 2;
    }
    if (s != WEIR_OK && s != WEIR_END) {
        if (s == WEIR_ENOTFOUND)
            log_error("%s (name an archive with -R DIR; 'weir collect' writes one)", err->msg);
        else
            log_error("%s", err->msg);
        return 1;
    }
    if (r->ranged && s == WEIR_OK && sum->files == 0) {
        log_error("-R %s: no file of that range (give DIR, DIR/FIRST or DIR/FIRST:LAST)",
                  r->args->range);
        return 1;
    }
    if (sum->files_failed) {
        log_warning("%" PRIu64 " of %" PRIu64 " files could not be read: %s", sum->files_failed,
                    sum->files, sum->failed);
        return 1;
    }
    return 0;
}

static weir_status run_plan(struct run *r, struct plan *p, bool totals,
                            const struct query_sink *sink, struct query_summary *sum, weir_err *err)
{
    return r->server ? ship_clickhouse_query_run(r->server, &p->q, totals, sink, sum, err)
                     : query_run(&p->q, totals, sink, sum, err);
}

static int explain(struct run *r, struct plan *p, bool totals)
{
    base_buf b = {0};
    weir_err err = {0};
    weir_status s = ship_clickhouse_query_explain(r->server, &p->q, totals, &b, &err);
    if (s == WEIR_OK)
        s = write_out(r, b.data, b.len, &err);
    base_buf_done(&b);
    return finished(r, s, &err, &(struct query_summary){0});
}

static struct query_completeness *how_complete(const struct run *r, const struct plan *p)
{
    struct query_completeness *c = calloc(1, sizeof *c);
    if (c && r->server) {
        ship_clickhouse_query_complete(r->server, &p->q, now_ns(CLOCK_REALTIME) / 1000, c);
    } else if (c) {
        query_complete_read(&p->q, now_ns(CLOCK_REALTIME) / 1000, c);
    }
    return c;
}

static weir_status find_extras(struct run *r, struct plan *p, const struct query_paths *paths,
                               weir_err *err)
{
    if (r->server)
        return ship_clickhouse_query_extras(r->server, &p->extras, err);
    query_extras_find(r->arena, paths, stop, NULL, &p->extras);
    return WEIR_OK;
}

static int run_totals(struct run *r, struct plan *p)
{
    bool slots = r->args->slots;
    struct query_field keys[1] = {slots ? query_field_derived(QUERY_D_TIME_BUCKET)
                                        : query_field_column(FLOW_proto)};
    if (slots)
        keys[0].span_us =
            r->args->every != UINT64_MAX ? (int64_t)(r->args->every / 1000) : 300000000;
    struct query_field fields[6] = {keys[0],
                                    query_field_derived(QUERY_D_N_FLOWS),
                                    query_field_derived(QUERY_D_ALL_PACKETS),
                                    query_field_derived(QUERY_D_ALL_BYTES),
                                    query_field_column(FLOW_first),
                                    query_field_column(FLOW_last)};
    p->results[0] = (struct query_result){.fields = fields,
                                          .n_fields = ARRAY_LEN(fields),
                                          .grouped = true,
                                          .keys = keys,
                                          .n_keys = 1,
                                          .having = p->having};
    p->q.n_results = 1;
    struct totals t = {.slots = slots};
    if (slots)
        base_buf_str(&t.out, "# yyyy-mm-dd HH:MM:SS,flows,packets,bytes\n");
    struct query_sink sink = {totals_begin, totals_block, totals_end, &t};
    struct query_summary sum = {0};
    weir_err err = {0};
    if (r->args->explain)
        return explain(r, p, false);
    weir_status s = run_plan(r, p, false, &sink, &sum, &err);
    if (s == WEIR_OK && !slots) {
        totals_text(&t);
        struct query_completeness *complete = r->args->quiet ? NULL : how_complete(r, p);
        if (complete) {
            base_buf_str(&t.out, "Completeness: ");
            query_complete_text(complete, r->args->utc, &t.out);
            base_buf_char(&t.out, '\n');
        }
        free(complete);
    }
    if (s == WEIR_OK && t.out.failed)
        s = weir_err_set(&err, WEIR_ENOMEM, 0, "out of memory");
    if (s == WEIR_OK && t.out.len)
        s = write_out(r, t.out.data, t.out.len, &err);
    base_buf_done(&t.out);
    return finished(r, s, &err, &sum);
}

/* A name that is no column, no derived field and no word of nfdump's may be an extra column of the files; when none has
 * it, it is a slip of the pen. */
static int unknown_name(const struct plan *p, const struct query_field *f, const char *option)
{
    if (f->what != QUERY_F_EXTRA || query_extras_field(&p->extras, f))
        return 0;
    return opt_usage(
        &cmd_query,
        "%s: '%.60s' is no field ('weir fields' lists them), and no column of these files", option,
        f->name);
}

/* The same for every field of a filter. */
static int check_filter(const struct plan *p, const struct query_expr *e, const char *option)
{
    const struct query_field *missing = query_extras_missing(&p->extras, e);
    return missing ? unknown_name(p, missing, option) : 0;
}

static int check_names(const struct plan *p)
{
    int status = check_filter(p, p->q.filter, "filter");
    if (!status)
        status = check_filter(p, p->having, "-P");
    for (size_t i = 0; i < p->n_stats && !status; i++)
        for (size_t k = 0; k < p->stats[i].n_keys && !status; k++)
            status = unknown_name(p, &p->stats[i].keys[k], "-s");
    for (size_t i = 0; i < p->n_keys && !status; i++)
        status = unknown_name(p, &p->keys[i], "-A");
    for (size_t i = 0; i < p->q.n_results && !status; i++) {
        const struct query_result *r = &p->results[i];
        for (size_t k = 0; k < r->n_orders && !status; k++)
            status = unknown_name(p, &r->orders[k].field, "-O");
        for (size_t k = 0; k < r->n_fields && !status; k++)
            status = unknown_name(p, &r->fields[k], "-o");
    }
    return status;
}

static bool names_extras(const struct plan *p)
{
    bool any = query_extras_missing(NULL, p->q.filter) || query_extras_missing(NULL, p->having);
    for (size_t i = 0; i < p->q.n_results; i++) {
        const struct query_result *r = &p->results[i];
        for (size_t k = 0; k < r->n_keys; k++)
            any |= r->keys[k].what == QUERY_F_EXTRA;
        for (size_t k = 0; k < r->n_orders; k++)
            any |= r->orders[k].field.what == QUERY_F_EXTRA;
        for (size_t k = 0; k < r->n_fields; k++)
            any |= r->fields[k].what == QUERY_F_EXTRA;
    }
    return any;
}

/* What becomes of the summary: at the end of output for people; on standard error, behind data that must stay alone on standard
 * output. */
struct summary {
    bool within, text, json;
};

static struct summary summary_of(const struct query_args *a, const query_format *f)
{
    bool within = query_format_for_people(f) && !a->quiet;
    struct summary s = {.within = within,
                        .text = strcmp(a->summary, "text") == 0,
                        .json = strcmp(a->summary, "json") == 0};
    if (strcmp(a->summary, "auto") == 0)
        s.text = !a->quiet && (!query_format_for_people(f) || a->write) && isatty(STDERR_FILENO);
    else if (s.text && within && !a->write)
        s.text = false; /* it is there already */
    return s;
}

static void say_summary(struct run *r, const struct plan *p, struct summary how,
                        const struct query_summary *sum)
{
    base_buf b = {0};
    if (how.json)
        query_summary_json(&p->q, sum, &b);
    else if (how.text)
        query_summary_text(&p->q, sum, r->args->plain, r->args->utc, &b);
    if (b.len && !b.failed)
        log_text(b.data, b.len);
    base_buf_done(&b);
}

static int run_query(struct run *r, struct plan *p, const struct query_paths *paths)
{
    const struct query_args *a = r->args;
    weir_err err = {0};
    struct query_summary sum = {0};
    struct target target = {.path = a->write};
    bool parquet = p->format && strncmp(p->format, "parquet", 7) == 0;
    if (a->write && !p->format) {
        p->format = "parquet";
        parquet = true;
    }
    if (parquet && !a->write && isatty(STDOUT_FILENO))
        return opt_usage(&cmd_query, "-o parquet: is not for a terminal: name a file with -w FILE");
    /* Of a connection there is what its flows have in common, whichever format would show all. */
    bool all = query_format_shows_all(p->format);
    bool connections =
        all && p->results[0].grouped && p->n_keys == 0 && (p->n_stats == 0 || p->stats[0].record);
    if (all && p->n_stats == 0 && !p->results[0].grouped)
        (void)find_extras(r, p, paths, &err);
    struct query_format_options o = {
        .name = p->format              ? p->format
                : a->merge || a->guess ? "biline"
                                       : NULL,
        .plain_numbers = a->plain,
        .quiet = a->quiet,
        .full_ipv6 = a->full_ipv6,
        .color = !a->no_color && !a->write && isatty(STDOUT_FILENO) && colors_wanted(),
        .utc = a->utc,
        .width = terminal_width(),
        .stats = p->stats,
        .n_stats = p->n_stats,
        .aggregated = p->results[0].grouped,
        .keys = connections ? p->tuple : p->keys,
        .n_keys = connections ? ARRAY_LEN(p->tuple) : p->n_keys,
        .geo = a->geo.n > 0,
        .extras = p->extras.items,
        .n_extras = p->extras.n,
        .totals = &sum,
        .chart_by = a->by,
        .ascii = !utf8_locale(),
        .write = write_out,
        .user = r,
    };
    query_format *f = NULL;
    if (query_format_new(&o, r->arena, &f, &err) != WEIR_OK)
        return bad("-o", &err);
    for (size_t i = 0; i < p->q.n_results; i++)
        query_format_fields(f, i, &p->results[i].fields, &p->results[i].n_fields);
    int status = 0;
    if (names_extras(p)) {
        if (!p->extras.n)
            (void)find_extras(r, p, paths, &err);
        status = check_names(p);
    }
    if (status == 0 && a->explain) {
        status = explain(r, p, query_format_wants_totals(f));
        query_format_free(f);
        return status;
    }
    if (status == 0 && a->write)
        status = target_open(r, &target);
    if (status == 0) {
        bool totals = query_format_wants_totals(f) || strcmp(a->summary, "auto") != 0 ||
                      isatty(STDERR_FILENO);
        weir_status s = run_plan(r, p, totals, query_format_sink(f), &sum, &err);
        struct summary how = summary_of(a, f);
        struct query_completeness *complete =
            s == WEIR_OK && (how.within || how.text || how.json) ? how_complete(r, p) : NULL;
        sum.complete = complete;
        if (s == WEIR_OK)
            s = query_format_summary(f, &p->q, &sum, &err);
        status = finished(r, s, &err, &sum);
        if (s == WEIR_OK && !atomic_load(&interrupted))
            say_summary(r, p, how, &sum);
        sum.complete = NULL;
        free(complete);
        status = target_close(r, &target, status);
    }
    query_format_free(f);
    return status;
}

/* What goes with --from and what does not. */
static int check_from(const struct query_args *a)
{
    if (a->explain && !a->from)
        return opt_usage(&cmd_query, "--explain: is for --from");
    if (!a->from)
        return 0;
    if (a->read.n || a->range || a->dirs)
        return opt_usage(&cmd_query, "--from: not together with -r, -R or -M");
    if (a->geo.n)
        return opt_usage(&cmd_query, "-G: not available with --from: the server has no such "
                                     "databases");
    return 0;
}

static int query_with(struct run *r, struct plan *p, int n, char **operands)
{
    const struct query_args *a = r->args;
    int status = plan_filter(r, p, n, operands);
    if (status || a->check || a->show) {
        if (!status && a->show)
            status = show_filter(r, p->q.filter);
        return status;
    }
    status = plan_window(a, &p->q);
    if (!status)
        status = plan_results(r, p);
    if (status)
        return status;
    struct query_paths paths = {0};
    weir_err err = {0};
    status = check_from(a);
    if (status)
        return status;
    weir_status s =
        a->from
            ? ship_clickhouse_query_open(a->from, r->arena, stop, NULL, &r->server, &err)
            : query_paths_find(r->arena, a->read.items, a->read.n, a->range, a->dirs, &paths, &err);
    if (s == WEIR_EINVAL && !a->from)
        return opt_usage(&cmd_query, "%s", err.msg);
    if (s != WEIR_OK) {
        if (!atomic_load(&interrupted))
            log_error("%s", err.msg);
        return 1;
    }
    p->q.paths = paths.items;
    p->q.n_paths = paths.n;
    r->ranged = paths.from || paths.to;
    p->q.range_from = paths.from;
    p->q.range_to = paths.to;
    p->q.results = p->results;
    p->q.stop_after = a->stop_after == UINT64_MAX ? 0 : a->stop_after;
    p->q.raw = a->raw;
    p->q.max_octets = a->memory;
    p->q.threads = (unsigned)a->threads;
    p->q.stop = stop;
    p->q.progress = progress;
    p->q.user = r;
    p->q.lookup = query_lookup_new();
    p->q.books = query_books_new();
    if (!p->q.lookup || !p->q.books)
        s = weir_err_set(&err, WEIR_ENOMEM, 0, "out of memory");
    for (size_t i = 0; s == WEIR_OK && i < a->geo.n; i++)
        s = query_lookup_geo(p->q.lookup, a->geo.items[i], &err);
    if (s == WEIR_OK)
        s = query_lookup_options(p->q.lookup, paths.items, paths.n, &err);
    if (s == WEIR_OK) {
        status = a->totals || a->slots ? run_totals(r, p) : run_query(r, p, &paths);
    } else {
        log_error("%s", err.msg);
        status = 1;
    }
    query_books_free(p->q.books);
    query_lookup_free(p->q.lookup);
    return status;
}

/* What this process needs and may have: pages of freed buffers are used again, not given back and asked for anew (a tenth of
 * a short query's time); an hour of an archive may hold thousands of files, all of which are open while it is read. */
static void prepare_process(void)
{
    (void)mallopt(M_MMAP_THRESHOLD, 1 << 30);
    (void)mallopt(M_TRIM_THRESHOLD, 1 << 30);
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
}

static int query_main(const void *args, int n, char **operands)
{
    prepare_process();
    const struct query_args *a = args;
    int status = not_available(a);
    if (status)
        return status;
    if (a->stop_after == 0)
        return opt_usage(&cmd_query, "-c: a number above 0 is needed");
    if (a->threads > 1024)
        return opt_usage(&cmd_query, "--threads: '%" PRIu64 "' is above 1024", a->threads);
    log_init("weir query", LOG_LEVEL_INFO);
    signal(SIGPIPE, SIG_IGN);
    catch_interrupts();
    tzset();
    struct run r = {.args = a, .out = STDOUT_FILENO, .started_ns = now_ns(CLOCK_MONOTONIC)};
    r.out_is_terminal = !a->write && isatty(STDOUT_FILENO);
    atomic_init(&r.shown_ns, isatty(STDERR_FILENO) ? 0 : -1);
    r.arena = query_arena_new();
    struct plan *p = calloc(1, sizeof *p);
    if (!r.arena || !p) {
        log_error("out of memory");
        status = 1;
    } else {
        p->format = a->format;
        status = query_with(&r, p, n, operands);
        query_extras_done(&p->extras);
    }
    ship_clickhouse_query_close(r.server);
    query_arena_free(r.arena);
    free(p);
    return status && atomic_load(&interrupted) ? EXIT_INTERRUPTED : status;
}

static const char *const summaries[] = {"auto", "text", "json", "none", NULL};

#define AT(member) offsetof(struct query_args, member)
/* clang-format off */
static const struct opt query_opts[] = {
    {"read", 'r', OPT_STRS, AT(read), "PATH", "read this archive, directory or Parquet file; may be given again", NULL},
    {"archive", 'R', OPT_STR, AT(range), "DIR[/FIRST[:LAST]]", "read this archive, or its files from FIRST to LAST (default ./archive)", NULL},
    {"dirs", 'M', OPT_STR, AT(dirs), "BASE/D1:D2", "read -r and -R below each of these directories; @ stands for all", NULL},
    {"from", 0, OPT_STR, AT(from), "URL", "ask ClickHouse, where 'weir ship' delivers: clickhouse://host:8123/database", NULL},
    {"explain", 0, OPT_FLAG, AT(explain), NULL, "with --from: print the SQL instead of asking it", NULL},
    {"filter-file", 'f', OPT_STR, AT(filter_file), "FILE", "take the filter from FILE, unless one is given", NULL},
    {"time", 't', OPT_STR, AT(window), "FROM[-TO]", "flows that were alive then: 2026/11/22.21:00-2026/11/22.22, 2026-11-22T21:00Z, -1h, -2h--1h", NULL},
    {"last", 0, OPT_SPAN, AT(last), "SPAN", "flows of the last SPAN", NULL},
    {"count", 'c', OPT_U64, AT(stop_after), "N", "stop after N records that passed the filter", NULL},
    {"rows", 'n', OPT_U64, AT(rows), "N", "print N rows, 0 for all (default 10 with -s, else all)", NULL},
    {"order", 'O', OPT_STR, AT(order), "ORDER[:a|:d]", "order rows by flows, packets, bytes, pps, bps, bpp, tstart, tend, duration or any field", NULL},
    {"by-start", 'm', OPT_FLAG, AT(by_start), NULL, "order rows by the start of the flow", NULL},
    {"aggregate", 'a', OPT_FLAG, AT(aggregate), NULL, "one row for the flows of the same addresses, ports and protocol", NULL},
    {"keys", 'A', OPT_STR, AT(keys), "FIELDS", "one row for the flows of the same FIELDS: srcip4/24,dstport or column names", NULL},
    {"merge", 'b', OPT_FLAG, AT(merge), NULL, "one row for both directions of a connection", NULL},
    {"merge-guess", 'B', OPT_FLAG, AT(guess), NULL, "the same, with the side of the port below 1024 as destination", NULL},
    {"stat", 's', OPT_STRS, AT(stats), "STAT[:p][/ORDER]", "the top of a field: srcip/bytes, port:p, record/packets; may be given again", NULL},
    {"top", 0, OPT_STRS, AT(top), "STAT", "the same in plain words: --top srcip --by bytes", NULL},
    {"by", 0, OPT_STR, AT(by), "ORDER", "what --top, -A or a chart go by", NULL},
    {"having", 'P', OPT_STR, AT(having), "FILTER", "print only groups that pass this filter", NULL},
    {"every", 0, OPT_SPAN, AT(every), "SPAN", "one row for each SPAN of time; with -o chart a bar (default then 1m)", NULL},
    {"format", 'o', OPT_STR, AT(format), "FORMAT", "line, long, extended, biline, bilong, gline, glong, nsel, nat, raw, csv, csv-long, json, ndjson, parquet, chart, null; fmt:TOKENS; csv:, json:, ndjson: and parquet: with columns", NULL},
    {"write", 'w', OPT_STR, AT(write), "FILE", "write the result to FILE, as Parquet unless -o says otherwise", NULL},
    {"full-ipv6", '6', OPT_FLAG, AT(full_ipv6), NULL, "do not shorten IPv6 addresses in tables", NULL},
    {"plain-numbers", 'N', OPT_FLAG, AT(plain), NULL, "do not scale numbers: 1234567 instead of 1.2 M", NULL},
    {"quiet", 'q', OPT_FLAG, AT(quiet), NULL, "no header and no summary", NULL},
    {"utc", 0, OPT_FLAG, AT(utc), NULL, "show times in UTC instead of local time", NULL},
    {"raw", 0, OPT_FLAG, AT(raw), NULL, "counters as they were sent, not multiplied by the sampling rate", NULL},
    {"totals", 'I', OPT_FLAG, AT(totals), NULL, "print the totals by protocol", NULL},
    {"slots", 'g', OPT_FLAG, AT(slots), NULL, "print a line of totals for each 5 minutes (or --every), for gnuplot", NULL},
    {"geo", 'G', OPT_STRS, AT(geo), "FILE", "look up countries and AS in this MaxMind-format database; may be given again", NULL},
    {"summary", 0, OPT_CHOICE, AT(summary), "HOW", "summary of csv, json, ndjson, parquet: text or json on standard error, none; auto: text on a terminal", summaries},
    {"memory", 0, OPT_SIZE, AT(memory), "SIZE", "memory for groups and sorting; beyond it temporary files are used (default a quarter of the machine's)", NULL},
    {"threads", 'W', OPT_U64, AT(threads), "N", "work on N cores, 0 for all (default 0)", NULL},
    {"no-color", 0, OPT_FLAG, AT(no_color), NULL, "no colours on a terminal", NULL},
    {"check", 'Z', OPT_FLAG, AT(check), NULL, "only check the filter: exit status 0, or 254 when it is wrong", NULL},
    {"show-filter", 'X', OPT_FLAG, AT(show), NULL, "only print the filter as it was understood", NULL},
    {"dns", 'D', OPT_STR, AT(dns), "SERVER", "accepted and ignored, as in nfdump", NULL},
    {"config", 'C', OPT_STR, AT(not_config), "FILE", "not available", NULL},
    {"tor", 'H', OPT_STR, AT(not_tor), "FILE", "not available", NULL},
    {"ident", 'i', OPT_STR, AT(not_ident), "NAME", "not available", NULL},
    {"exporters", 'E', OPT_STR, AT(not_exporters), "FILE", "not available: see weir-exporters(1)", NULL},
    {"verify", 'v', OPT_STR, AT(not_verify), "FILE", "not available: see weir-archive(1)", NULL},
    {"extensions", 'x', OPT_STR, AT(not_extensions), "FILE", "not available: see weir-fields(1)", NULL},
    {"recompress", 'J', OPT_STR, AT(not_level), "N", "not available: see weir-archive(1)", NULL},
    {"lzo", 'z', OPT_FLAG, AT(not_lzo), NULL, "not available, as -j and -y", NULL},
    {"bz2", 'j', OPT_FLAG, AT(not_bz2), NULL, "not available", NULL},
    {"lz4", 'y', OPT_FLAG, AT(not_lz4), NULL, "not available", NULL},
    {"tag", 'T', OPT_FLAG, AT(tag), NULL, "not available", NULL},
    {0},
};
/* clang-format on */
static const struct query_args query_defaults = {.stop_after = UINT64_MAX,
                                                 .rows = UINT64_MAX,
                                                 .every = UINT64_MAX,
                                                 .last = UINT64_MAX,
                                                 .summary = "auto"};

const struct cmd cmd_query = {
    .name = "query",
    .what = "select, group and order flows of an archive",
    .operands = "[FILTER]...",
    .opts = query_opts,
    .args_size = sizeof(struct query_args),
    .defaults = &query_defaults,
    .run = query_main,
    .examples =
        "weir query -s srcip/bytes                         # who sent most\n"
        "weir query --top dstport --by packets --last 1h   # the busiest ports of the last hour\n"
        "weir query 'proto tcp and dst port 443 and bytes > 10k' -c 20  # the first 20 such flows\n"
        "weir query -A srcip4/24,dstport -O bytes -n 10    # the ten largest groups\n"
        "weir query -o chart --every 5m --by bps           # traffic over time\n"
        "weir query -o ndjson:first,src_addr,dst_addr,bytes 'host 192.0.2.1'  # for a script\n"
        "weir query -w web.parquet 'port in [80, 443]'     # a part of the archive as a file\n",
};
