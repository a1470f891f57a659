#include "cli/opt.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <weir/status.h>

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

/* --- what a user may have meant ----------------------------------------------------------------- */

enum { NAME_MAX_LEN = 48 };

/* Edits (insert, delete, replace) that turn a into b; more than any limit when one of them is too long. */
static unsigned distance(const char *a, size_t a_len, const char *b)
{
    size_t b_len = strlen(b);
    if (a_len > NAME_MAX_LEN || b_len > NAME_MAX_LEN)
        return NAME_MAX_LEN;
    unsigned row[NAME_MAX_LEN + 1];
    for (unsigned j = 0; j <= b_len; j++)
        row[j] = j;
    for (unsigned i = 1; i <= a_len; i++) {
        unsigned diagonal = row[0];
        row[0] = i;
        for (unsigned j = 1; j <= b_len; j++) {
            unsigned best = diagonal + (a[i - 1] != b[j - 1]);
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[b_len];
}

/* The better of *best and candidate for what was typed: a name it begins, or one few edits away. */
static void suggest(const char *typed, size_t len, const char *candidate, const char **best,
                    unsigned *score)
{
    if (len == 0)
        return;
    bool begins = strlen(candidate) > len && strncmp(candidate, typed, len) == 0;
    unsigned edits = begins ? 1 : distance(typed, len, candidate);
    unsigned most = len <= 3 ? 1 : 2;
    if (edits <= most && edits < *score) {
        *score = edits;
        *best = candidate;
    }
}

/* --- usage errors ------------------------------------------------------------------------------- */

__attribute__((format(printf, 3, 0))) static int usage(const char *program, const char *sub,
                                                       const char *fmt, va_list ap)
{
    (void)fprintf(stderr, "%s%s%s: ", program, sub ? " " : "", sub ? sub : "");
    (void)vfprintf(stderr, fmt, ap);
    (void)fprintf(stderr, " (see '%s%s%s --help')\n", program, sub ? " " : "", sub ? sub : "");
    return EXIT_USAGE;
}

int opt_usage(const struct cmd *cmd, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int status = usage("weir", cmd->name, fmt, ap);
    va_end(ap);
    return status;
}

__attribute__((format(printf, 1, 2))) static int main_usage(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int status = usage("weir", NULL, fmt, ap);
    va_end(ap);
    return status;
}

/* Text that did not reach a file or a pipe is a failure like any other. */
static int printed(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return EXIT_DONE;
    perror("weir: standard output");
    return EXIT_FAILED;
}

/* --- values ------------------------------------------------------------------------------------- */

enum number { NUMBER_OK, NUMBER_BAD, NUMBER_BIG };

/* Decimal digits at s; *end is what follows them. */
static enum number number_read(const char *s, uint64_t *out, const char **end)
{
    uint64_t v = 0;
    const char *p = s;
    bool big = false;
    for (; *p >= '0' && *p <= '9'; p++) {
        if (__builtin_mul_overflow(v, (uint64_t)10, &v) ||
            __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
            big = true;
    }
    *out = v;
    *end = p;
    return p == s ? NUMBER_BAD : big ? NUMBER_BIG : NUMBER_OK;
}

struct unit {
    const char *text;
    uint64_t factor;
};

/* clang-format off */
static const struct unit size_units[] = {
    {"", 1},
    {"k", 1ULL << 10}, {"K", 1ULL << 10},
    {"m", 1ULL << 20}, {"M", 1ULL << 20},
    {"g", 1ULL << 30}, {"G", 1ULL << 30},
    {"t", 1ULL << 40}, {"T", 1ULL << 40},
    {NULL, 0},
};
static const struct unit count_units[] = {
    {"", 1},
    {"k", 1000},
    {"M", 1000000},
    {"G", 1000000000},
    {NULL, 0},
};
static const struct unit span_units[] = {
    {"", 1000000000ULL},
    {"ms", 1000000ULL},
    {"s", 1000000000ULL},
    {"m", 60 * 1000000000ULL},
    {"h", 3600 * 1000000000ULL},
    {"d", 86400 * 1000000000ULL},
    {NULL, 0},
};
/* clang-format on */

static enum number quantity_read(const char *s, const struct unit *units, uint64_t *out)
{
    const char *rest;
    enum number got = number_read(s, out, &rest);
    if (got == NUMBER_BAD)
        return got;
    for (; units->text; units++) {
        if (strcmp(units->text, rest) != 0)
            continue;
        if (__builtin_mul_overflow(*out, units->factor, out))
            got = NUMBER_BIG;
        return got;
    }
    return NUMBER_BAD;
}

/* --- one command's options ---------------------------------------------------------------------- */

struct parse {
    const struct cmd *cmd;
    unsigned char *args;
    char **operands;
    int n_operands;
    bool help;
};

static const struct opt *by_name(const struct cmd *cmd, const char *name, size_t len)
{
    for (const struct opt *o = cmd->opts; o && o->name; o++) {
        if (strlen(o->name) == len && memcmp(o->name, name, len) == 0)
            return o;
    }
    return NULL;
}

static const struct opt *by_letter(const struct cmd *cmd, char letter)
{
    for (const struct opt *o = cmd->opts; o && o->name; o++) {
        if (o->letter == letter)
            return o;
    }
    return NULL;
}

static int add_string(struct parse *p, const struct opt *o, const char *value)
{
    struct opt_strs *list = (void *)(p->args + o->at);
    /* Strings from the defaults are constants: the first one given replaces them all. */
    const struct opt_strs *from =
        p->cmd->defaults ? (const void *)((const unsigned char *)p->cmd->defaults + o->at) : NULL;
    bool ours = !from || list->items != from->items;
    size_t n = ours ? list->n : 0;
    const char **items = realloc(ours ? (void *)list->items : NULL, (n + 1) * sizeof *items);
    if (!items) {
        (void)fprintf(stderr, "weir %s: out of memory\n", p->cmd->name);
        return EXIT_FAILED;
    }
    items[n] = value;
    *list = (struct opt_strs){items, n + 1};
    return 0;
}

static int bad_choice(const struct parse *p, const struct opt *o, const char *as, const char *value)
{
    char list[256] = "";
    size_t len = 0;
    for (const char *const *c = o->choices; *c && len < sizeof list; c++)
        len += (size_t)snprintf(list + len, sizeof list - len, "%s%s", c == o->choices ? "" : ", ",
                                *c);
    return opt_usage(p->cmd, "%s: '%s' is not one of %s", as, value, list);
}

/* Store value (NULL for a flag) in args. as: how the option was written, for messages. */
static int set(struct parse *p, const struct opt *o, const char *as, const char *value)
{
    void *at = p->args + o->at;
    uint64_t v = 0;
    const char *rest;
    switch (o->type) {
    case OPT_FLAG:
        *(bool *)at = true;
        return 0;
    case OPT_STR:
        *(const char **)at = value;
        return 0;
    case OPT_STRS:
        return add_string(p, o, value);
    case OPT_U64: {
        enum number got = number_read(value, &v, &rest);
        if (got == NUMBER_BAD || *rest)
            return opt_usage(p->cmd, "%s: '%s' is not a whole number", as, value);
        if (got == NUMBER_BIG)
            return opt_usage(p->cmd, "%s: '%s' is above %llu", as, value,
                             (unsigned long long)UINT64_MAX);
        break;
    }
    case OPT_COUNT:
        switch (quantity_read(value, count_units, &v)) {
        case NUMBER_OK:
            break;
        case NUMBER_BAD:
            return opt_usage(p->cmd, "%s: '%s' is not a number (such as 4096, 64k, 8M or 2G)", as,
                             value);
        case NUMBER_BIG:
            return opt_usage(p->cmd, "%s: '%s' is above %llu", as, value,
                             (unsigned long long)UINT64_MAX);
        }
        break;
    case OPT_SIZE:
        switch (quantity_read(value, size_units, &v)) {
        case NUMBER_OK:
            break;
        case NUMBER_BAD:
            return opt_usage(p->cmd, "%s: '%s' is not a size (such as 4096, 64k, 8M or 2G)", as,
                             value);
        case NUMBER_BIG:
            return opt_usage(p->cmd, "%s: '%s' is above 2^64 octets", as, value);
        }
        break;
    case OPT_SPAN:
        switch (quantity_read(value, span_units, &v)) {
        case NUMBER_OK:
            break;
        case NUMBER_BAD:
            return opt_usage(p->cmd,
                             "%s: '%s' is not a span of time (such as 500ms, 5s, 5m, 1h or 1d)", as,
                             value);
        case NUMBER_BIG:
            return opt_usage(p->cmd, "%s: '%s' is longer than 584 years", as, value);
        }
        break;
    case OPT_PORT:
        if (number_read(value, &v, &rest) != NUMBER_OK || *rest || v > 65535)
            return opt_usage(p->cmd, "%s: '%s' is not a port (0 to 65535)", as, value);
        break;
    case OPT_CHOICE:
        for (const char *const *c = o->choices; *c; c++) {
            if (strcmp(*c, value) == 0) {
                *(const char **)at = *c;
                return 0;
            }
        }
        return bad_choice(p, o, as, value);
    }
    *(uint64_t *)at = v;
    return 0;
}

/* "--name", "--name=value" or "--name value"; *next is the argument that follows, used up or not. */
static int parse_long(struct parse *p, const char *word, char *const *next, bool *used)
{
    const char *name = word + 2;
    size_t len = strcspn(name, "=");
    const char *value = name[len] ? name + len + 1 : NULL;
    const struct opt *o = by_name(p->cmd, name, len);
    if (!o && len == 4 && memcmp(name, "help", 4) == 0) {
        p->help = !value;
        return value ? opt_usage(p->cmd, "--help: takes no argument, '%s' was given", value) : 0;
    }
    if (!o) {
        const char *best = NULL;
        unsigned score = NAME_MAX_LEN;
        for (o = p->cmd->opts; o && o->name; o++)
            suggest(name, len, o->name, &best, &score);
        suggest(name, len, "help", &best, &score);
        if (best)
            return opt_usage(p->cmd, "unknown option '--%.*s'; did you mean '--%s'?", (int)len,
                             name, best);
        return opt_usage(p->cmd, "unknown option '--%.*s'", (int)len, name);
    }
    char as[NAME_MAX_LEN + 3];
    (void)snprintf(as, sizeof as, "--%s", o->name);
    if (o->type == OPT_FLAG)
        return value ? opt_usage(p->cmd, "%s: takes no argument, '%s' was given", as, value)
                     : set(p, o, as, NULL);
    if (!value) {
        value = *next;
        *used = true;
    }
    return value ? set(p, o, as, value) : opt_usage(p->cmd, "%s: needs %s after it", as, o->arg);
}

/* "-nv", "-p9000" or "-p 9000". */
static int parse_short(struct parse *p, const char *word, char *const *next, bool *used)
{
    for (const char *c = word + 1; *c; c++) {
        const struct opt *o = by_letter(p->cmd, *c);
        if (!o && *c == 'h') {
            p->help = true;
            return 0;
        }
        if (!o && c == word + 1)
            return opt_usage(p->cmd, "unknown option '-%c'", *c);
        if (!o)
            return opt_usage(p->cmd, "unknown option '-%c' in '%s'", *c, word);
        char as[3] = {'-', *c, 0};
        if (o->type == OPT_FLAG) {
            int status = set(p, o, as, NULL);
            if (status)
                return status;
            continue;
        }
        const char *value = c + 1;
        if (!*value) {
            value = *next;
            *used = true;
        }
        return value ? set(p, o, as, value)
                     : opt_usage(p->cmd, "%s: needs %s after it", as, o->arg);
    }
    return 0;
}

static int parse(struct parse *p, int argc, char **argv)
{
    bool only_operands = false;
    for (int i = 1; i < argc; i++) {
        char *word = argv[i];
        bool used = false;
        int status = 0;
        if (only_operands || word[0] != '-' || !word[1]) {
            p->operands[p->n_operands++] = word;
        } else if (strcmp(word, "--") == 0) {
            only_operands = true;
        } else if (word[1] == '-') {
            status = parse_long(p, word, &argv[i + 1], &used);
        } else {
            status = parse_short(p, word, &argv[i + 1], &used);
        }
        if (status || p->help)
            return status;
        i += used;
    }
    p->operands[p->n_operands] = NULL;
    return 0;
}

/* Free what add_string allocated. */
static void opt_done(struct parse *p)
{
    for (const struct opt *o = p->cmd->opts; p->args && o && o->name; o++) {
        if (o->type != OPT_STRS)
            continue;
        struct opt_strs *list = (void *)(p->args + o->at);
        const struct opt_strs *from =
            p->cmd->defaults ? (const void *)((const unsigned char *)p->cmd->defaults + o->at)
                             : NULL;
        if (!from || list->items != from->items)
            free((void *)list->items);
    }
    free(p->args);
    free((void *)p->operands);
}

int opt_run(const struct cmd *cmd, int argc, char **argv)
{
    struct parse p = {.cmd = cmd};
    size_t room =
        argc > 0 ? (size_t)argc : 1; /* all words but the first, and the NULL behind them */
    p.args = calloc(1, cmd->args_size ? cmd->args_size : 1);
    p.operands = (char **)calloc(room, sizeof *p.operands);
    int status = EXIT_FAILED;
    if (!p.args || !p.operands) {
        (void)fprintf(stderr, "weir %s: out of memory\n", cmd->name);
    } else {
        if (cmd->defaults)
            memcpy(p.args, cmd->defaults, cmd->args_size);
        status = parse(&p, argc, argv);
        if (status == 0 && p.help) {
            opt_help(cmd, stdout);
            status = printed();
        } else if (status == 0 && p.n_operands > 0 && !*cmd->operands) {
            status = opt_usage(cmd, "'%s': takes no operands", p.operands[0]);
        } else if (status == 0) {
            status = cmd->run(p.args, p.n_operands, p.operands);
        }
    }
    opt_done(&p);
    return status;
}

/* --- all commands ------------------------------------------------------------------------------- */

static const struct cmd *find(const struct cmd *const *cmds, const char *name)
{
    for (; *cmds; cmds++) {
        if (strcmp((*cmds)->name, name) == 0)
            return *cmds;
    }
    return NULL;
}

static int unknown_command(const struct cmd *const *cmds, const char *name)
{
    const char *best = NULL;
    unsigned score = NAME_MAX_LEN;
    for (; *cmds; cmds++)
        suggest(name, strlen(name), (*cmds)->name, &best, &score);
    suggest(name, strlen(name), "help", &best, &score);
    if (best)
        return main_usage("unknown command '%s'; did you mean '%s'?", name, best);
    return main_usage("unknown command '%s'", name);
}

static int help_command(const struct cmd *const *cmds, int argc, char **argv)
{
    bool man = argc > 0 && strcmp(argv[0], "--man") == 0;
    argc -= man;
    argv += man;
    if (argc > 1)
        return main_usage("help: '%s': takes one command", argv[1]);
    const struct cmd *cmd = NULL;
    if (argc == 1 && !(cmd = find(cmds, argv[0])))
        return unknown_command(cmds, argv[0]);
    if (man)
        opt_man(cmds, cmd, stdout);
    else if (cmd)
        opt_help(cmd, stdout);
    else
        opt_help_all(cmds, stdout);
    return printed();
}

int opt_main(const struct cmd *const *cmds, int argc, char **argv)
{
    if (argc < 2) {
        opt_help_all(cmds, stderr);
        return EXIT_USAGE;
    }
    const char *word = argv[1];
    const struct cmd *cmd = find(cmds, word);
    if (cmd)
        return opt_run(cmd, argc - 1, argv + 1);
    if (strcmp(word, "help") == 0)
        return help_command(cmds, argc - 2, argv + 2);
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
        opt_help_all(cmds, stdout);
        return printed();
    }
    if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0) {
        (void)printf("weir %s\n", weir_version());
        return printed();
    }
    if (strcmp(word, "--completion") == 0 || strncmp(word, "--completion=", 13) == 0) {
        const char *shell = word[12] ? word + 13 : argc > 2 ? argv[2] : "";
        if (strcmp(shell, "bash") != 0)
            return main_usage("--completion: '%s' is not one of bash", shell);
        opt_completion(cmds, stdout);
        return printed();
    }
    if (word[0] == '-')
        return main_usage("unknown option '%s'; options of a command follow its name", word);
    return unknown_command(cmds, word);
}
