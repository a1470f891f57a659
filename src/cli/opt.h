/* opt -- one table of rows a subcommand: parsing, --help, the OPTIONS of its man page and shell completion are
 * all made from them. */
#ifndef CLI_OPT_H
#define CLI_OPT_H

#include <stddef.h>
#include <stdio.h>

enum opt_type {
    OPT_FLAG,  /* bool at `at`; takes no argument */
    OPT_STR,   /* const char * (from argv) */
    OPT_STRS,  /* struct opt_strs: may be given again */
    OPT_U64,   /* uint64_t, decimal */
    OPT_COUNT, /* uint64_t: 4096, 64k, 8M, 2G (powers of 1000) */
    OPT_SIZE,  /* uint64_t octets: 4096, 64k, 8M, 2G (powers of 1024) */
    OPT_SPAN,  /* uint64_t nanoseconds: 500ms, 5s, 5m, 1h, 1d; a bare number is seconds */
    OPT_PORT,  /* uint64_t 0..65535 */
    OPT_CHOICE /* const char *, one of choices */
};

struct opt_strs {
    const char **items; /* items[n], from argv; freed by opt_done */
    size_t n;
};

struct opt {
    const char *name; /* long name without the dashes; NULL ends the table */
    char letter;      /* or 0 */
    enum opt_type type;
    size_t at;                  /* offsetof in the args struct */
    const char *arg;            /* "FILE", NULL for flags */
    const char *help;           /* one sentence, default included */
    const char *const *choices; /* for OPT_CHOICE, NULL-terminated */
};

struct cmd {
    const char *name, *what; /* "decode", "turn export packets into records" */
    const char *operands;    /* "[FILE]...", "" */
    const struct opt *opts;
    size_t args_size;
    const void *defaults; /* args_size octets, or NULL for zeroes */
    /* The subcommand: args filled from the options, operands[n]. Returns the exit status: 0 done, 1 the
     * work failed, 2 wrong usage. */
    int (*run)(const void *args, int n, char **operands);
    const char *examples; /* lines "weir decode ...  # what it does", for --help and the man page */
};

/* Parse argv[1..] for cmd and run it. Handles --help (stdout, 0) and usage errors (one line, 2). */
int opt_run(const struct cmd *cmd, int argc, char **argv);

/* A usage error from inside run(): prints "weir NAME: ..." plus the hint to --help, returns 2. */
int opt_usage(const struct cmd *cmd, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

void opt_help(const struct cmd *cmd, FILE *out);

/* The whole command line of weir: cmds is its table, NULL-terminated. Knows `weir COMMAND ...`, `weir help
 * [COMMAND]`, --help, --version, --completion bash; `weir help --man [COMMAND]` prints a manual page. */
int opt_main(const struct cmd *const *cmds, int argc, char **argv);

/* The other texts made from the tables: all commands for a person, a manual page (cmd NULL: weir(1) itself), a
 * completion script for bash. */
void opt_help_all(const struct cmd *const *cmds, FILE *out);
void opt_man(const struct cmd *const *cmds, const struct cmd *cmd, FILE *out);
void opt_completion(const struct cmd *const *cmds, FILE *out);

#endif
