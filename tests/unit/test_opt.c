#include "cli/opt.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "unit.h"

/* --- a command with a row of every type --------------------------------------------------------- */

struct args {
    bool flag, other;
    const char *file;
    struct opt_strs allow;
    uint64_t count, size, span, port;
    const char *format;
};

static const char *const formats[] = {"json", "python", "text", NULL};

/* clang-format off */
static const struct opt opts[] = {
    {"no-dns", 'n', OPT_FLAG, offsetof(struct args, flag), NULL, "look up no names", NULL},
    {"verbose", 'v', OPT_FLAG, offsetof(struct args, other), NULL, "more lines", NULL},
    {"file", 'f', OPT_STR, offsetof(struct args, file), "FILE",
     "file to read, with a text about it that is so long that it cannot stand on one line of a terminal", NULL},
    {"allow", 0, OPT_STRS, offsetof(struct args, allow), "CIDR", "senders to accept (default: all)", NULL},
    {"packets", 0, OPT_U64, offsetof(struct args, count), "N", "threshold (default 10)", NULL},
    {"receive-buffer", 'b', OPT_SIZE, offsetof(struct args, size), "OCTETS", "socket buffer", NULL},
    {"stats-interval-of-many-words", 0, OPT_SPAN, offsetof(struct args, span), "TIME", "time between", NULL},
    {"port", 'p', OPT_PORT, offsetof(struct args, port), "PORT", "port (default 2055)", NULL},
    {"format", 'o', OPT_CHOICE, offsetof(struct args, format), "FORMAT", "form (default json)", formats},
    {0},
};
/* clang-format on */

static struct {
    bool ran;
    struct args args;
    const char *allow[8];
    char operands[8][32];
    int n;
} seen;

static int run(const void *args, int n, char **operands)
{
    seen.ran = true;
    memcpy(&seen.args, args, sizeof seen.args);
    for (size_t i = 0; i < seen.args.allow.n && i < UNIT_N(seen.allow); i++)
        seen.allow[i] = seen.args.allow.items[i];
    seen.n = n;
    for (int i = 0; i < n && i < 8; i++)
        (void)snprintf(seen.operands[i], sizeof seen.operands[i], "%s", operands[i]);
    assert_null(operands[n]);
    return 7;
}

static int run_plain(const void *args, int n, char **operands)
{
    assert_non_null(args);
    assert_int_equal(n, 0);
    assert_null(operands[0]);
    return 7;
}

static const struct args defaults = {.port = 2055, .count = 10, .format = "json"};
static const struct cmd cmd_try = {"try",
                                   "a command for tests",
                                   "[FILE]...",
                                   opts,
                                   sizeof(struct args),
                                   &defaults,
                                   run,
                                   "weir try -n .file-x  # with \\a reason\nweir try -\n"};
static const struct cmd cmd_plain = {
    "plain", "a command without operands", "", NULL, 0, NULL, run_plain, NULL};
static const struct cmd *const cmds[] = {&cmd_try, &cmd_plain, NULL};

/* --- run it with what it prints caught ---------------------------------------------------------- */

static char out_text[16384], err_text[4096];

static void text_of(int fd, char *text, size_t size)
{
    ssize_t n = pread(fd, text, size - 1, 0);
    assert_true(n >= 0);
    text[n] = 0;
    assert_int_equal(close(fd), 0);
}

/* Words of line, split at spaces; '' stands for an empty word. */
static int type(bool whole, const char *line)
{
    static char words[512];
    char *argv[32];
    int argc = 0;
    (void)snprintf(words, sizeof words, "%s", line);
    char *save = NULL;
    for (char *w = strtok_r(words, " ", &save); w; w = strtok_r(NULL, " ", &save))
        argv[argc++] = strcmp(w, "''") == 0 ? w + 2 : w;
    argv[argc] = NULL;

    memset(&seen, 0, sizeof seen);
    (void)fflush(NULL);
    int fd[2] = {memfd_create("out", 0), memfd_create("err", 0)};
    int old[2] = {dup(1), dup(2)};
    assert_true(fd[0] >= 0 && fd[1] >= 0 && old[0] >= 0 && old[1] >= 0);
    assert_true(dup2(fd[0], 1) >= 0 && dup2(fd[1], 2) >= 0);
    int status = whole ? opt_main(cmds, argc, argv) : opt_run(&cmd_try, argc, argv);
    (void)fflush(NULL);
    assert_true(dup2(old[0], 1) >= 0 && dup2(old[1], 2) >= 0);
    (void)close(old[0]);
    (void)close(old[1]);
    text_of(fd[0], out_text, sizeof out_text);
    text_of(fd[1], err_text, sizeof err_text);
    return status;
}

/* Every option in a text form, so that a case is one row. */
static const char *summary(void)
{
    static char text[512];
    const struct args *a = &seen.args;
    int len = snprintf(text, sizeof text, "%s%s f=%s c=%llu b=%llu s=%llu p=%llu o=%s",
                       a->flag ? "n" : "-", a->other ? "v" : "-", a->file ? a->file : "-",
                       (unsigned long long)a->count, (unsigned long long)a->size,
                       (unsigned long long)a->span, (unsigned long long)a->port, a->format);
    for (size_t i = 0; i < a->allow.n; i++)
        len += snprintf(text + len, sizeof text - (size_t)len, " +%s", seen.allow[i]);
    for (int i = 0; i < seen.n; i++)
        len += snprintf(text + len, sizeof text - (size_t)len, " [%s]", seen.operands[i]);
    return text;
}

static void test_good(void **state)
{
    (void)state;
    static const struct {
        const char *line, *want;
    } cases[] = {
        {"try", "-- f=- c=10 b=0 s=0 p=2055 o=json"},
        {"try -nv", "nv f=- c=10 b=0 s=0 p=2055 o=json"},
        {"try --no-dns --verbose", "nv f=- c=10 b=0 s=0 p=2055 o=json"},
        {"try -p9000", "-- f=- c=10 b=0 s=0 p=9000 o=json"},
        {"try -p 9000", "-- f=- c=10 b=0 s=0 p=9000 o=json"},
        {"try --port=9000", "-- f=- c=10 b=0 s=0 p=9000 o=json"},
        {"try --port 9000", "-- f=- c=10 b=0 s=0 p=9000 o=json"},
        {"try -nvp9000", "nv f=- c=10 b=0 s=0 p=9000 o=json"},
        {"try -nvp 9000 x", "nv f=- c=10 b=0 s=0 p=9000 o=json [x]"},
        {"try -p 1 -p 2", "-- f=- c=10 b=0 s=0 p=2 o=json"},
        {"try -p 0", "-- f=- c=10 b=0 s=0 p=0 o=json"},
        {"try -p 65535", "-- f=- c=10 b=0 s=0 p=65535 o=json"},
        {"try -p 00080", "-- f=- c=10 b=0 s=0 p=80 o=json"},
        {"try a -n b -- -v --port c",
         "n- f=- c=10 b=0 s=0 p=2055 o=json [a] [b] [-v] [--port] [c]"},
        {"try - -n", "n- f=- c=10 b=0 s=0 p=2055 o=json [-]"},
        {"try -f -", "-- f=- c=10 b=0 s=0 p=2055 o=json"},
        {"try -f --verbose", "-- f=--verbose c=10 b=0 s=0 p=2055 o=json"},
        {"try --file=", "-- f= c=10 b=0 s=0 p=2055 o=json"},
        {"try --file=a=b", "-- f=a=b c=10 b=0 s=0 p=2055 o=json"},
        {"try --allow 1/8 x --allow=2/8 y", "-- f=- c=10 b=0 s=0 p=2055 o=json +1/8 +2/8 [x] [y]"},
        {"try --packets 18446744073709551615",
         "-- f=- c=18446744073709551615 b=0 s=0 p=2055 o=json"},
        {"try -b4096", "-- f=- c=10 b=4096 s=0 p=2055 o=json"},
        {"try -b64k", "-- f=- c=10 b=65536 s=0 p=2055 o=json"},
        {"try -b8M", "-- f=- c=10 b=8388608 s=0 p=2055 o=json"},
        {"try -b2G", "-- f=- c=10 b=2147483648 s=0 p=2055 o=json"},
        {"try -b1t", "-- f=- c=10 b=1099511627776 s=0 p=2055 o=json"},
        {"try --stats-interval-of-many-words 500ms", "-- f=- c=10 b=0 s=500000000 p=2055 o=json"},
        {"try --stats-interval-of-many-words 5", "-- f=- c=10 b=0 s=5000000000 p=2055 o=json"},
        {"try --stats-interval-of-many-words 5s", "-- f=- c=10 b=0 s=5000000000 p=2055 o=json"},
        {"try --stats-interval-of-many-words 5m", "-- f=- c=10 b=0 s=300000000000 p=2055 o=json"},
        {"try --stats-interval-of-many-words 1h", "-- f=- c=10 b=0 s=3600000000000 p=2055 o=json"},
        {"try --stats-interval-of-many-words 1d", "-- f=- c=10 b=0 s=86400000000000 p=2055 o=json"},
        {"try -o text", "-- f=- c=10 b=0 s=0 p=2055 o=text"},
        {"try --format=python", "-- f=- c=10 b=0 s=0 p=2055 o=python"},
    };
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        int status = type(false, cases[i].line);
        UNIT_CHECK(status == 7 && seen.ran && strcmp(summary(), cases[i].want) == 0 && !*err_text,
                   "%s: status %d, '%s', want '%s'; %s\n", cases[i].line, status, summary(),
                   cases[i].want, err_text);
    }
}

static void test_usage_errors(void **state)
{
    (void)state;
    static const struct {
        const char *line, *want; /* what stands between "weir try: " and the hint */
    } cases[] = {
        {"try -p 70000", "-p: '70000' is not a port (0 to 65535)"},
        {"try --port=70000", "--port: '70000' is not a port (0 to 65535)"},
        {"try --port 65536", "--port: '65536' is not a port (0 to 65535)"},
        {"try --port -1", "--port: '-1' is not a port (0 to 65535)"},
        {"try --port=", "--port: '' is not a port (0 to 65535)"},
        {"try --port 99999999999999999999",
         "--port: '99999999999999999999' is not a port (0 to 65535)"},
        {"try -p 1x", "-p: '1x' is not a port (0 to 65535)"},
        {"try --port", "--port: needs PORT after it"},
        {"try -np", "-p: needs PORT after it"},
        {"try --packets ten", "--packets: 'ten' is not a whole number"},
        {"try --packets +1", "--packets: '+1' is not a whole number"},
        {"try --packets 1.5", "--packets: '1.5' is not a whole number"},
        {"try --packets 18446744073709551616",
         "--packets: '18446744073709551616' is above 18446744073709551615"},
        {"try -b 12q", "-b: '12q' is not a size (such as 4096, 64k, 8M or 2G)"},
        {"try -b k", "-b: 'k' is not a size (such as 4096, 64k, 8M or 2G)"},
        {"try -b 16777216T", "-b: '16777216T' is above 2^64 octets"},
        {"try --stats-interval-of-many-words 5y", "--stats-interval-of-many-words: '5y' is not a "
                                                  "span of time (such as 500ms, 5s, 5m, 1h or 1d)"},
        {"try --stats-interval-of-many-words 300000d",
         "--stats-interval-of-many-words: '300000d' is longer than 584 years"},
        {"try -o xml", "-o: 'xml' is not one of json, python, text"},
        {"try --format=jso", "--format: 'jso' is not one of json, python, text"},
        {"try --verbose=yes", "--verbose: takes no argument, 'yes' was given"},
        {"try --help=yes", "--help: takes no argument, 'yes' was given"},
        {"try --prot 1", "unknown option '--prot'; did you mean '--port'?"},
        {"try --por 1", "unknown option '--por'; did you mean '--port'?"},
        {"try --stats", "unknown option '--stats'; did you mean '--stats-interval-of-many-words'?"},
        {"try --hepl", "unknown option '--hepl'; did you mean '--help'?"},
        {"try --zzz=1", "unknown option '--zzz'"},
        {"try --=1", "unknown option '--'"},
        {"try -x", "unknown option '-x'"},
        {"try -nx", "unknown option '-x' in '-nx'"},
    };
    char want[512];
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        int status = type(false, cases[i].line);
        (void)snprintf(want, sizeof want, "weir try: %s (see 'weir try --help')\n", cases[i].want);
        UNIT_CHECK(status == 2 && !seen.ran && strcmp(err_text, want) == 0 && !*out_text,
                   "%s: status %d, stderr: %s          want: %s", cases[i].line, status, err_text,
                   want);
    }
}

static const struct args list_defaults = {
    .allow = {(const char *[]){"default", NULL}, 1}, .port = 1, .format = "text"};

static void test_list_defaults(void **state)
{
    (void)state;
    struct cmd cmd = cmd_try;
    cmd.defaults = &list_defaults;
    char *none[] = {(char[]){"try"}, NULL};
    assert_int_equal(opt_run(&cmd, 1, none), 7);
    assert_int_equal(seen.args.allow.n, 1);
    assert_string_equal(seen.allow[0], "default");
    char *two[] = {(char[]){"try"}, (char[]){"--allow=a"}, (char[]){"--allow=b"}, NULL};
    assert_int_equal(opt_run(&cmd, 3, two), 7);
    assert_int_equal(seen.args.allow.n, 2);
    assert_string_equal(seen.allow[0], "a");
    assert_string_equal(seen.allow[1], "b");
}

static void test_help(void **state)
{
    (void)state;
    static const char want[] =
        "weir try -- a command for tests\n"
        "\n"
        "Usage: weir try [OPTION]... [FILE]...\n"
        "\n"
        "Options:\n"
        "  -n, --no-dns         look up no names\n"
        "  -v, --verbose        more lines\n"
        "  -f, --file FILE      file to read, with a text about it that is so long that\n"
        "                       it cannot stand on one line of a terminal\n"
        "      --allow CIDR     senders to accept (default: all)\n"
        "      --packets N      threshold (default 10)\n"
        "  -b, --receive-buffer OCTETS\n"
        "                       socket buffer\n"
        "      --stats-interval-of-many-words TIME\n"
        "                       time between\n"
        "  -p, --port PORT      port (default 2055)\n"
        "  -o, --format FORMAT  form (default json); one of json, python, text\n"
        "  -h, --help           show this help and exit\n"
        "\n"
        "Examples:\n"
        "  # with \\a reason\n"
        "  weir try -n .file-x\n"
        "  weir try -\n";
    static const char *const lines[] = {"try --help", "try -h", "try -n --help x", "try -nh",
                                        "try --help --zzz"};
    for (size_t i = 0; i < UNIT_N(lines); i++) {
        assert_int_equal(type(false, lines[i]), 0);
        assert_string_equal(out_text, want);
        assert_string_equal(err_text, "");
        assert_false(seen.ran);
    }
    assert_int_equal(type(true, "weir help try"), 0);
    assert_string_equal(out_text, want);
}

static void test_commands(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        int status;
        const char *out, *err; /* beginnings */
    } cases[] = {
        {"weir", 2, "", "weir -- collect"},
        {"weir --help", 0, "weir -- collect", ""},
        {"weir -h", 0, "weir -- collect", ""},
        {"weir help", 0, "weir -- collect", ""},
        {"weir --version", 0, "weir 0.", ""},
        {"weir try -n", 7, "", ""},
        {"weir plain", 7, "", ""},
        {"weir plain x", 2, "", "weir plain: 'x': takes no operands (see 'weir plain --help')\n"},
        {"weir tyr", 2, "", "weir: unknown command 'tyr' (see 'weir --help')\n"},
        {"weir trry", 2, "",
         "weir: unknown command 'trry'; did you mean 'try'? (see 'weir --help')\n"},
        {"weir pla", 2, "",
         "weir: unknown command 'pla'; did you mean 'plain'? (see 'weir --help')\n"},
        {"weir ''", 2, "", "weir: unknown command '' (see 'weir --help')\n"},
        {"weir help plian", 2, "", "weir: unknown command 'plian'; did you mean 'plain'?"},
        {"weir help try plain", 2, "", "weir: help: 'plain': takes one command"},
        {"weir --verbose try", 2, "",
         "weir: unknown option '--verbose'; options of a command follow"},
        {"weir --completion zsh", 2, "", "weir: --completion: 'zsh' is not one of bash"},
        {"weir --completion", 2, "", "weir: --completion: '' is not one of bash"},
        {"weir --completion bash", 0, "# bash completion", ""},
        {"weir --completion=bash", 0, "# bash completion", ""},
    };
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        int status = type(true, cases[i].line);
        UNIT_CHECK(status == cases[i].status &&
                       strncmp(out_text, cases[i].out, strlen(cases[i].out)) == 0 &&
                       strncmp(err_text, cases[i].err, strlen(cases[i].err)) == 0 &&
                       (*cases[i].out || !*out_text) && (*cases[i].err || !*err_text),
                   "%s: status %d, stdout '%s', stderr '%s'\n", cases[i].line, status, out_text,
                   err_text);
    }
}

static void test_man(void **state)
{
    (void)state;
    assert_int_equal(type(true, "weir help --man try"), 0);
    static const char *const parts[] = {
        ".TH weir-try 1 ",
        ".SH NAME\nweir\\-try \\- a command for tests\n",
        "\n.\\\" PROSE\n",
        ".TP\n\\fB\\-p\\fR, \\fB\\-\\-port\\fR \\fIPORT\\fR\nport (default 2055)\n",
        ".TP\n\\fB\\-\\-no\\-dns\\fR\n",
        "with \\ea reason:\n.PP\n.nf\n.RS\nweir try \\-n .file\\-x\n.RE\n.fi\n",
        ".BR weir\\-plain (1)\n",
    };
    for (size_t i = 0; i < UNIT_N(parts); i++) {
        bool want = i != 4; /* it has a letter in front */
        UNIT_CHECK((strstr(out_text, parts[i]) != NULL) == want, "'%s' in:\n%s", parts[i],
                   out_text);
    }
    assert_int_equal(type(true, "weir help --man"), 0);
    assert_non_null(strstr(out_text, ".TP\n.BR weir\\-plain (1)\na command without operands\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),          cmocka_unit_test(test_usage_errors),
        cmocka_unit_test(test_list_defaults), cmocka_unit_test(test_help),
        cmocka_unit_test(test_commands),      cmocka_unit_test(test_man),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
