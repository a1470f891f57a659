/* archive -- what there is in an archive, whether it is sound, and keeping it small. */
#include "archive/archive.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/cmd.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct archive_args {
    const char *archive;
    uint64_t older_than, level, keep, max_size, min_free;
    bool json, dry_run, move_damaged;
};

#define SECOND INT64_C(1000000000)
#define DEFAULT_DIR "archive"

#define AT(member) offsetof(struct archive_args, member)
/* clang-format off */
static const struct opt archive_opts[] = {
    {"archive", 'a', OPT_STR, AT(archive), "DIR", "the archive (default ./archive)"},
    {"json", 'j', OPT_FLAG, AT(json), NULL, "ls, info, verify: one JSON object a line"},
    {"older-than", 0, OPT_SPAN, AT(older_than), "SPAN", "compact: only hours that ended so long ago (default all that are over)"},
    {"level", 0, OPT_U64, AT(level), "LEVEL", "compact: level of zstd, 1 to 22 (default 9)"},
    {"keep", 0, OPT_SPAN, AT(keep), "SPAN", "expire: remove hours that ended so long ago"},
    {"max-size", 0, OPT_SIZE, AT(max_size), "SIZE", "expire: remove the oldest hours until no more than this is left"},
    {"min-free", 0, OPT_SIZE, AT(min_free), "SIZE", "expire: remove the oldest hours until the device has this much room"},
    {"dry-run", 'n', OPT_FLAG, AT(dry_run), NULL, "expire: only say what would be removed"},
    {"move-damaged", 0, OPT_FLAG, AT(move_damaged), NULL, "repair: move what cannot be read to DIR/damaged"},
    {0},
};
/* clang-format on */

/* --- texts ----------------------------------------------------------------------------------------- */

enum { SIZE_TEXT = 16 };

/* 4711 -> "4.6K". */
static const char *size_text(char out[SIZE_TEXT], uint64_t octets)
{
    static const char units[] = "BKMGTPE";
    double v = (double)octets;
    size_t unit = 0;
    while (v >= 1023.95 && unit + 2 < sizeof units) {
        v /= 1024;
        unit++;
    }
    (void)snprintf(out, SIZE_TEXT, unit ? "%.1f%c" : "%.0f", v, units[unit]);
    return out;
}

/* Microseconds since 1970 with `digits` of a second. */
static const char *time_text(char out[BASE_TIME_TEXT + 1], int64_t us, unsigned digits)
{
    out[base_time_text(out, us * 1000, digits)] = 0;
    return out;
}

static const char *table_text(enum flow_table table)
{
    static const char *const names[FLOW_N_TABLES] = {
        [FLOW_TABLE_FLOWS] = "flows",
        [FLOW_TABLE_OPTIONS] = "options",
        [FLOW_TABLE_LEDGER] = "ledger",
    };
    return names[table];
}

static int print(const base_buf *line)
{
    if (line->failed) {
        log_error("out of memory");
        return 1;
    }
    return fwrite(line->data, 1, line->len, stdout) != line->len;
}

/* --- ls, info -------------------------------------------------------------------------------------- */

struct tally {
    enum flow_table table;
    int64_t from_ns; /* hour or day; INT64_MIN: none */
    bool has_received;
    int64_t min_us, max_us;
    uint64_t files, open, compacted, rows, groups, octets;
};

struct listing {
    bool json, by_day;
    bool begun, headed;
    struct tally now, all[FLOW_N_TABLES];
    uint64_t n_bad;
    base_buf line;
    int status;
};

static void add(struct tally *t, const struct archive_file_info *info)
{
    t->files++;
    t->open += info->open;
    t->compacted += info->compacted;
    t->rows += info->rows;
    t->groups += info->groups;
    t->octets += info->octets;
    if (!info->has_received)
        return;
    t->min_us =
        t->has_received && t->min_us < info->received_min_us ? t->min_us : info->received_min_us;
    t->max_us =
        t->has_received && t->max_us > info->received_max_us ? t->max_us : info->received_max_us;
    t->has_received = true;
}

static void json_tally(base_buf *b, const struct tally *t)
{
    char at[BASE_TIME_TEXT + 1];
    base_buf_printf(b,
                    "\"table\":\"%s\",\"files\":%llu,\"open\":%llu,\"compacted\":%llu,\"rows\":%"
                    "llu,\"row_groups\":%llu,"
                    "\"octets\":%llu",
                    table_text(t->table), (unsigned long long)t->files, (unsigned long long)t->open,
                    (unsigned long long)t->compacted, (unsigned long long)t->rows,
                    (unsigned long long)t->groups, (unsigned long long)t->octets);
    if (t->has_received) {
        base_buf_printf(b, ",\"first_received\":\"%s\"", time_text(at, t->min_us, 6));
        base_buf_printf(b, ",\"last_received\":\"%s\"", time_text(at, t->max_us, 6));
    }
}

/* One line for a tally that is complete. */
static void print_tally(struct listing *l, const struct tally *t, const char *name)
{
    char first[BASE_TIME_TEXT + 1] = "-", last[BASE_TIME_TEXT + 1] = "-", size[SIZE_TEXT],
                                hour[BASE_TIME_TEXT + 1];
    base_buf_reset(&l->line);
    if (t->from_ns != INT64_MIN)
        (void)time_text(hour, t->from_ns / 1000, 0);
    if (l->json) {
        base_buf_printf(&l->line, "{\"%s\":", l->by_day ? "day" : "hour");
        if (t->from_ns == INT64_MIN)
            base_buf_str(&l->line, "null");
        else
            base_buf_printf(&l->line, "\"%.*s\"", l->by_day ? 10 : 20, hour);
        base_buf_char(&l->line, ',');
        json_tally(&l->line, t);
        base_buf_str(&l->line, "}\n");
    } else {
        if (t->has_received) {
            (void)time_text(first, t->min_us, 3);
            (void)time_text(last, t->max_us, 3);
        }
        if (!name && t->from_ns != INT64_MIN) {
            hour[l->by_day ? 10 : 16] = 0;
            if (!l->by_day)
                hour[10] = ' ';
            name = hour;
        }
        /* Of times within the line's day or hour the date is known. */
        bool same = t->from_ns != INT64_MIN && t->has_received && strncmp(first, hour, 10) == 0 &&
                    strncmp(last, hour, 10) == 0;
        base_buf_printf(&l->line, "%-16s  %-7s %6llu %12llu %8s  %s  %s%s\n", name ? name : "-",
                        table_text(t->table), (unsigned long long)t->files,
                        (unsigned long long)t->rows, size_text(size, t->octets),
                        same ? first + 11 : first, same ? last + 11 : last,
                        t->open                                    ? "  open"
                        : t->compacted && t->compacted == t->files ? "  compacted"
                                                                   : "");
    }
    l->status |= print(&l->line);
}

static void flush(struct listing *l)
{
    if (l->begun && !l->json && !l->headed)
        (void)printf("%-16s  %-7s %6s %12s %8s  %-13s  %s\n",
                     l->by_day ? "day (UTC)" : "hour (UTC)", "table", "files", "rows", "size",
                     "first", "last");
    l->headed |= l->begun;
    if (l->begun)
        print_tally(l, &l->now, NULL);
    l->begun = false;
}

static bool list_file(void *user, const struct archive_file_info *info)
{
    struct listing *l = user;
    int64_t unit = (l->by_day ? 24 : 1) * 3600 * SECOND;
    int64_t from = info->has_hour ? info->hour_ns - info->hour_ns % unit : INT64_MIN;
    if (l->begun && (l->now.table != info->table || l->now.from_ns != from))
        flush(l);
    if (!l->begun) {
        l->now = (struct tally){.table = info->table, .from_ns = from};
        l->begun = true;
    }
    add(&l->now, info);
    add(&l->all[info->table], info);
    return l->status == 0;
}

static void list_bad(void *user, const weir_err *err)
{
    struct listing *l = user;
    l->n_bad++;
    log_error("%s", err->msg);
}

static int run_list(const struct archive_args *args, const char *dir, bool by_day)
{
    weir_err err = {0};
    struct listing l = {.json = args->json, .by_day = by_day};
    for (int t = 0; t < FLOW_N_TABLES; t++)
        l.all[t] = (struct tally){.table = (enum flow_table)t, .from_ns = INT64_MIN};
    weir_status s = archive_list(dir, list_file, list_bad, &l, &err);
    flush(&l);
    for (int t = 0; t < FLOW_N_TABLES && by_day && !l.json && s == WEIR_OK; t++) {
        if (l.all[t].files)
            print_tally(&l, &l.all[t], "total");
    }
    base_buf_done(&l.line);
    if (s != WEIR_OK)
        log_error("%s", err.msg);
    else if (!l.headed && !l.json && !l.n_bad)
        log_info("%s is empty", dir);
    if (fflush(stdout) != 0)
        l.status = 1;
    return s != WEIR_OK || l.n_bad || l.status;
}

/* --- verify ---------------------------------------------------------------------------------------- */

struct verifying {
    bool json, progress;
    uint64_t n, rows;
    time_t begun, told;
    base_buf line;
};

static void verified(void *user, const char *path, uint64_t rows, const weir_err *err)
{
    struct verifying *v = user;
    v->n++;
    v->rows += rows;
    if (v->json) {
        base_buf_reset(&v->line);
        base_buf_str(&v->line, "{\"path\":");
        if (path)
            base_json_string(&v->line, path, strlen(path), false);
        else
            base_buf_str(&v->line, "null");
        base_buf_printf(&v->line, ",\"rows\":%llu,\"sound\":%s", (unsigned long long)rows,
                        err ? "false" : "true");
        if (err) {
            base_buf_str(&v->line, ",\"error\":");
            base_json_string(&v->line, err->msg, strlen(err->msg), false);
        }
        base_buf_str(&v->line, "}\n");
        (void)print(&v->line);
    } else if (err) {
        bool named = !path || strstr(err->msg, path);
        (void)printf("%s%s%s\n", named ? "" : path, named ? "" : ": ", err->msg);
    }
    time_t now = time(NULL);
    if (v->progress && now - v->begun >= 2 && now != v->told) {
        v->told = now;
        (void)fprintf(stderr, "\r%llu files, %llu rows ", (unsigned long long)v->n,
                      (unsigned long long)v->rows);
    }
}

static int run_verify(const struct archive_args *args, const char *dir)
{
    weir_err err = {0};
    uint64_t n_files = 0, n_bad = 0;
    struct verifying v = {
        .json = args->json, .progress = isatty(STDERR_FILENO) == 1, .begun = time(NULL)};
    weir_status s = archive_verify(dir, verified, &v, &n_files, &n_bad, &err);
    if (v.told)
        (void)fputs("\r\33[K", stderr);
    base_buf_done(&v.line);
    if (s != WEIR_OK)
        log_error("%s", err.msg);
    else if (!args->json)
        (void)printf("%llu files, %llu rows: %s\n", (unsigned long long)n_files,
                     (unsigned long long)v.rows, n_bad ? "damaged" : "sound");
    if (s == WEIR_OK && n_bad)
        log_error("%llu of %llu files are damaged ('weir archive repair --move-damaged' moves what "
                  "cannot be opened aside)",
                  (unsigned long long)n_bad, (unsigned long long)n_files);
    return s != WEIR_OK || n_bad || fflush(stdout) != 0;
}

/* --- compact, expire, repair ----------------------------------------------------------------------- */

static volatile sig_atomic_t interrupted;

static void interrupt(int signal)
{
    (void)signal;
    interrupted = 1;
}

static bool is_interrupted(void *user)
{
    (void)user;
    return interrupted != 0;
}

static void compacted(void *user, const char *partition, uint64_t before, uint64_t after)
{
    char a[SIZE_TEXT], b[SIZE_TEXT];
    (void)user;
    log_info("%s: %s -> %s", partition, size_text(a, before), size_text(b, after));
}

static int run_compact(const struct archive_args *args, const char *dir)
{
    weir_err err = {0};
    struct archive_compact_counters c = {0};
    struct archive_compact_options o = {
        .dir = dir, .zstd_level = (int)args->level, .stop = is_interrupted, .progress = compacted};
    if (args->older_than)
        o.older_than_ns = (int64_t)time(NULL) * SECOND - (int64_t)args->older_than;
    struct sigaction act = {.sa_handler = interrupt};
    (void)sigaction(SIGINT, &act, NULL);
    (void)sigaction(SIGTERM, &act, NULL);
    weir_status s = archive_compact(&o, &c, &err);
    char before[SIZE_TEXT], after[SIZE_TEXT];
    (void)printf("%llu hours compacted: %llu files of %s -> %llu of %s, %llu rows\n",
                 (unsigned long long)c.partitions, (unsigned long long)c.files_before,
                 size_text(before, c.octets_before), (unsigned long long)c.files_after,
                 size_text(after, c.octets_after), (unsigned long long)c.rows);
    if (s != WEIR_OK)
        log_error("%s", err.msg);
    else if (interrupted)
        log_warning("stopped; what was done stays, 'weir archive compact' goes on from there");
    return s != WEIR_OK || interrupted;
}

static void expired(void *user, const char *partition, uint64_t octets)
{
    char size[SIZE_TEXT];
    const bool *dry_run = user;
    log_info("%s: %s %s", partition, size_text(size, octets),
             *dry_run ? "would be removed" : "removed");
}

static void awaited(void *user, const char *partition, const char *cursor, bool lost)
{
    const bool *dry_run = user;
    if (lost)
        log_warning("%s: '%s' has not got all of it, and %s (weir ship --hold)", partition, cursor,
                    *dry_run ? "would lose it" : "loses it");
    else
        log_info("%s: held for '%s', stays (weir ship --forget)", partition, cursor);
}

static int run_expire(const struct cmd *cmd, const struct archive_args *args, const char *dir)
{
    weir_err err = {0};
    uint64_t octets = 0, n_files = 0;
    if (!args->keep && !args->max_size && !args->min_free)
        return opt_usage(
            cmd, "expire: say what to keep: --keep SPAN, --max-size SIZE or --min-free SIZE");
    bool dry_run = args->dry_run;
    struct archive_expire_options o = {.dir = dir,
                                       .max_octets = args->max_size,
                                       .min_free = args->min_free,
                                       .dry_run = dry_run,
                                       .progress = expired,
                                       .awaited = awaited,
                                       .user = &dry_run};
    if (args->keep)
        o.before_ns = (int64_t)time(NULL) * SECOND - (int64_t)args->keep;
    weir_status s = archive_expire(&o, &octets, &n_files, &err);
    char size[SIZE_TEXT];
    if (s == WEIR_OK)
        (void)printf("%llu files, %s %s\n", (unsigned long long)n_files, size_text(size, octets),
                     dry_run ? "would be removed" : "removed");
    else
        log_error("%s", err.msg);
    return s != WEIR_OK;
}

static void repaired(void *user, const char *text)
{
    uint64_t *n = user;
    ++*n;
    log_info("%s", text);
}

static int run_repair(const struct archive_args *args, const char *dir)
{
    weir_err err = {0};
    uint64_t n = 0;
    weir_status s = archive_repair(dir, args->move_damaged, repaired, &n, &err);
    if (s != WEIR_OK)
        log_error("%s", err.msg);
    else if (n == 0)
        (void)puts("nothing to repair");
    return s != WEIR_OK;
}

/* --- command line ---------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    bool json, compact, expire, repair; /* the options that mean something to it */
} actions[] = {
    {"ls", .json = true},         {"info", .json = true},     {"verify", .json = true},
    {"compact", .compact = true}, {"expire", .expire = true}, {"repair", .repair = true},
};

static int run(const void *args_, int n, char **operands)
{
    const struct archive_args *args = args_;
    log_init("weir archive", LOG_LEVEL_INFO);
    if (n == 0)
        return opt_usage(&cmd_archive,
                         "say what to do: ls, info, verify, compact, expire or repair");
    size_t i = 0;
    while (i < ARRAY_LEN(actions) && strcmp(actions[i].name, operands[0]) != 0)
        i++;
    if (i == ARRAY_LEN(actions))
        return opt_usage(&cmd_archive, "%s: known are ls, info, verify, compact, expire and repair",
                         operands[0]);
    if (n > 2 || (n == 2 && args->archive))
        return opt_usage(&cmd_archive, "%s: one archive at a time", operands[n - 1]);
    if ((args->json && !actions[i].json) ||
        ((args->older_than || args->level) && !actions[i].compact) ||
        ((args->keep || args->max_size || args->min_free || args->dry_run) && !actions[i].expire) ||
        (args->move_damaged && !actions[i].repair))
        return opt_usage(&cmd_archive, "an option means nothing to %s", operands[0]);
    if (args->level > 22)
        return opt_usage(&cmd_archive, "--level: 1 to 22");
    const char *dir = n == 2 ? operands[1] : args->archive ? args->archive : DEFAULT_DIR;
    switch (*operands[0]) {
    case 'l':
        return run_list(args, dir, false);
    case 'i':
        return run_list(args, dir, true);
    case 'v':
        return run_verify(args, dir);
    case 'c':
        return run_compact(args, dir);
    case 'e':
        return run_expire(&cmd_archive, args, dir);
    default:
        return run_repair(args, dir);
    }
}

const struct cmd cmd_archive = {
    .name = "archive",
    .what = "list, check, compact and expire the files of an archive",
    .operands = "ls|info|verify|compact|expire|repair [DIR]",
    .opts = archive_opts,
    .args_size = sizeof(struct archive_args),
    .run = run,
    .examples = "weir archive ls  # the hours of ./archive, with files, rows and sizes\n"
                "weir archive info -j /var/lib/weir  # the days of another one, as JSON\n"
                "weir archive verify  # read everything, compare all checksums\n"
                "weir archive compact --older-than 1d  # merge the files of each hour\n"
                "weir archive expire --keep 90d --min-free 50G -n  # what would go\n",
};
