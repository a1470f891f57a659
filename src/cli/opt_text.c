/* The texts made from the option tables: --help, manual pages, completion. */
#include "cli/opt.h"

#include <stdbool.h>
#include <string.h>

enum { WIDTH = 80, HELP_AT_MOST = 28 };

/* Every command has this one without a row for it. */
static const struct opt help_opt = {
    .name = "help", .letter = 'h', .type = OPT_FLAG, .help = "show this help and exit"};

/* The row after o (NULL: the first): all rows of cmd, then --help; NULL after that. */
static const struct opt *opt_next(const struct cmd *cmd, const struct opt *o)
{
    if (o == &help_opt)
        return NULL;
    o = o ? o + 1 : cmd->opts;
    return o && o->name ? o : &help_opt;
}

static bool letter_taken(const struct cmd *cmd, char letter)
{
    for (const struct opt *o = cmd->opts; o && o->name; o++) {
        if (o->letter == letter)
            return true;
    }
    return false;
}

static char letter_of(const struct cmd *cmd, const struct opt *o)
{
    return o == &help_opt && letter_taken(cmd, o->letter) ? 0 : o->letter;
}

/* Words of text, broken at spaces so that no line that starts at column `at` passes WIDTH. */
static void wrap(FILE *out, const char *text, int at, int column)
{
    while (*text) {
        size_t len = strcspn(text, " ");
        if (column > at && column + 1 + (int)len > WIDTH) {
            (void)fprintf(out, "\n%*s", at, "");
            column = at;
        } else if (column > at) {
            (void)fputc(' ', out);
            column++;
        }
        (void)fwrite(text, 1, len, out);
        column += (int)len;
        text += len;
        text += strspn(text, " ");
    }
    (void)fputc('\n', out);
}

/* "-p, --port PORT" */
static int label(const struct cmd *cmd, const struct opt *o, char *out, size_t size)
{
    char letter[5] = "    ";
    if (letter_of(cmd, o))
        (void)snprintf(letter, sizeof letter, "-%c, ", letter_of(cmd, o));
    return snprintf(out, size, "  %s--%s%s%s", letter, o->name, o->arg ? " " : "",
                    o->arg ? o->arg : "");
}

/* The help of a row; with the choices it allows, unless the help names them all. */
static const char *help_text(const struct opt *o, char *out, size_t size)
{
    const char *const *c = o->choices;
    while (c && *c && strstr(o->help, *c))
        c++;
    if (!c || !*c)
        return o->help;
    size_t len = (size_t)snprintf(out, size, "%s; one of", o->help);
    for (c = o->choices; *c && len < size; c++)
        len += (size_t)snprintf(out + len, size - len, "%s %s", c == o->choices ? "" : ",", *c);
    return out;
}

/* The next line of cmd->examples: what to type and, behind "  # ", why. False: no more. */
struct example {
    const char *command, *why;
    int command_len, why_len;
};

static bool example_next(const char **at, struct example *e)
{
    while (*at && **at == '\n')
        ++*at;
    if (!*at || !**at)
        return false;
    const char *line = *at;
    size_t len = strcspn(line, "\n");
    *at = line + len;
    *e = (struct example){line, NULL, (int)len, 0};
    for (size_t i = 0; i + 2 < len; i++) {
        if (memcmp(line + i, " # ", 3) == 0) {
            e->why = line + i + 3;
            e->why_len = (int)(len - i - 3);
            while (i > 0 && line[i - 1] == ' ')
                i--;
            e->command_len = (int)i;
            break;
        }
    }
    return true;
}

void opt_help(const struct cmd *cmd, FILE *out)
{
    char text[1024];
    (void)fprintf(out, "weir %s -- %s\n\nUsage: weir %s [OPTION]...%s%s\n\nOptions:\n", cmd->name,
                  cmd->what, cmd->name, *cmd->operands ? " " : "", cmd->operands);
    int at = 0;
    for (const struct opt *o = opt_next(cmd, NULL); o; o = opt_next(cmd, o)) {
        int len = label(cmd, o, text, sizeof text) + 2;
        if (len > at && len <= HELP_AT_MOST)
            at = len;
    }
    for (const struct opt *o = opt_next(cmd, NULL); o; o = opt_next(cmd, o)) {
        int len = label(cmd, o, text, sizeof text);
        (void)fputs(text, out);
        if (len + 2 > at) {
            (void)fputc('\n', out);
            len = 0;
        }
        (void)fprintf(out, "%*s", at - len, "");
        wrap(out, help_text(o, text, sizeof text), at, at);
    }
    struct example e;
    const char *next = cmd->examples;
    for (int n = 0; example_next(&next, &e); n++) {
        (void)fputs(n ? "" : "\nExamples:\n", out);
        if (e.why)
            (void)fprintf(out, "  # %.*s\n", e.why_len, e.why);
        (void)fprintf(out, "  %.*s\n", e.command_len, e.command);
    }
}

void opt_help_all(const struct cmd *const *cmds, FILE *out)
{
    int at = 4;
    for (const struct cmd *const *c = cmds; *c; c++)
        at = (int)strlen((*c)->name) + 4 > at ? (int)strlen((*c)->name) + 4 : at;
    (void)fputs("weir -- collect, keep and question network flow exports\n\n"
                "Usage: weir COMMAND [OPTION]...\n\nCommands:\n",
                out);
    for (const struct cmd *const *c = cmds; *c; c++) {
        (void)fprintf(out, "  %-*s", at - 2, (*c)->name);
        wrap(out, (*c)->what, at, at);
    }
    (void)fputs(
        "\n'weir help COMMAND' shows the options of a command, 'weir --version' the version.\n",
        out);
}

/* --- manual pages ------------------------------------------------------------------------------- */

/* Text as roff prints it: a hyphen that stays one when copied, no accidental request at a line's start. */
static void roff(FILE *out, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        bool start = i == 0 || text[i - 1] == '\n';
        if (start && (text[i] == '.' || text[i] == '\''))
            (void)fputs("\\&", out);
        if (text[i] == '\\')
            (void)fputs("\\e", out);
        else if (text[i] == '-')
            (void)fputs("\\-", out);
        else
            (void)fputc(text[i], out);
    }
}

static void roff_str(FILE *out, const char *text)
{
    roff(out, text, strlen(text));
}

static void man_head(FILE *out, const char *page, const char *what)
{
    (void)fprintf(out, ".TH %s 1 \"\" \"weir " WEIR_VERSION "\" \"weir manual\"\n.SH NAME\n", page);
    roff_str(out, page);
    (void)fputs(" \\- ", out);
    roff_str(out, what);
    (void)fputs("\n.SH SYNOPSIS\n.B weir\n", out);
}

static void man_exit_status(FILE *out)
{
    (void)fputs(".SH EXIT STATUS\n"
                ".TP\n0\nAll is done.\n"
                ".TP\n1\nThe work failed, or some of the input was bad and the rest is done.\n"
                ".TP\n2\nWrong usage: nothing was done.\n",
                out);
}

void opt_man(const struct cmd *const *cmds, const struct cmd *cmd, FILE *out)
{
    char text[1024];
    if (!cmd) {
        man_head(out, "weir", "collect, keep and question network flow exports");
        (void)fputs(".I COMMAND\n.RI [ OPTION ]...\n.\\\" PROSE\n.SH COMMANDS\n", out);
        for (const struct cmd *const *c = cmds; *c; c++) {
            (void)fprintf(out, ".TP\n.BR weir\\-%s (1)\n", (*c)->name);
            roff_str(out, (*c)->what);
            (void)fputc('\n', out);
        }
        (void)fputs(".SH OPTIONS\n.TP\n.BR \\-h \", \" \\-\\-help\nshow all commands and exit\n"
                    ".TP\n.BR \\-V \", \" \\-\\-version\nshow the version and exit\n"
                    ".TP\n.BR \\-\\-completion \" bash\"\nprint a completion script and exit\n",
                    out);
        man_exit_status(out);
        return;
    }
    (void)snprintf(text, sizeof text, "weir-%s", cmd->name);
    man_head(out, text, cmd->what);
    (void)fprintf(out, ".B %s\n.RI [ OPTION ]...\n", cmd->name);
    roff_str(out, cmd->operands);
    /* tools/gen-man puts the page's own prose in place of this line. */
    (void)fputs("\n.\\\" PROSE\n.SH OPTIONS\n", out);
    for (const struct opt *o = opt_next(cmd, NULL); o; o = opt_next(cmd, o)) {
        (void)fputs(".TP\n", out);
        if (letter_of(cmd, o))
            (void)fprintf(out, "\\fB\\-%c\\fR, ", letter_of(cmd, o));
        (void)fputs("\\fB\\-\\-", out);
        roff_str(out, o->name);
        (void)fputs("\\fR", out);
        if (o->arg) {
            (void)fputs(" \\fI", out);
            roff_str(out, o->arg);
            (void)fputs("\\fR", out);
        }
        (void)fputc('\n', out);
        roff_str(out, help_text(o, text, sizeof text));
        (void)fputc('\n', out);
    }
    struct example e;
    const char *next = cmd->examples;
    for (int n = 0; example_next(&next, &e); n++) {
        (void)fputs(n ? "" : ".SH EXAMPLES\n", out);
        (void)fputs(".PP\n", out);
        if (e.why) {
            roff(out, e.why, (size_t)e.why_len);
            (void)fputs(":\n.PP\n", out);
        }
        (void)fputs(".nf\n.RS\n", out);
        roff(out, e.command, (size_t)e.command_len);
        (void)fputs("\n.RE\n.fi\n", out);
    }
    man_exit_status(out);
    (void)fputs(".SH SEE ALSO\n.BR weir (1)", out);
    for (const struct cmd *const *c = cmds; *c; c++) {
        if (*c != cmd)
            (void)fprintf(out, ",\n.BR weir\\-%s (1)", (*c)->name);
    }
    (void)fputc('\n', out);
}

/* --- completion --------------------------------------------------------------------------------- */

void opt_completion(const struct cmd *const *cmds, FILE *out)
{
    (void)fputs("# bash completion for weir; use it with: eval \"$(weir --completion bash)\"\n"
                "_weir()\n{\n"
                "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}\n"
                "    if ((COMP_CWORD == 1)); then\n"
                "        COMPREPLY=($(compgen -W '",
                out);
    for (const struct cmd *const *c = cmds; *c; c++)
        (void)fprintf(out, "%s ", (*c)->name);
    (void)fputs("help --help --version' -- \"$word\"))\n"
                "        return\n    fi\n"
                "    case ${COMP_WORDS[1]}:$before in\n",
                out);
    for (const struct cmd *const *c = cmds; *c; c++) {
        for (const struct opt *o = (*c)->opts; o && o->name; o++) {
            if (!o->choices)
                continue;
            (void)fprintf(out, "    %s:--%s", (*c)->name, o->name);
            if (o->letter)
                (void)fprintf(out, "|%s:-%c", (*c)->name, o->letter);
            (void)fputs(") COMPREPLY=($(compgen -W '", out);
            for (const char *const *choice = o->choices; *choice; choice++)
                (void)fprintf(out, "%s%s", choice == o->choices ? "" : " ", *choice);
            (void)fputs("' -- \"$word\")); return ;;\n", out);
        }
    }
    (void)fputs("    help:help) COMPREPLY=($(compgen -W '", out);
    for (const struct cmd *const *c = cmds; *c; c++)
        (void)fprintf(out, "%s%s", c == cmds ? "" : " ", (*c)->name);
    (void)fputs("' -- \"$word\")); return ;;\n    esac\n"
                "    local options=\n"
                "    case ${COMP_WORDS[1]} in\n",
                out);
    for (const struct cmd *const *c = cmds; *c; c++) {
        (void)fprintf(out, "    %s) options='", (*c)->name);
        for (const struct opt *o = opt_next(*c, NULL); o; o = opt_next(*c, o))
            (void)fprintf(out, "%s--%s", o == (*c)->opts ? "" : " ", o->name);
        (void)fputs("' ;;\n", out);
    }
    (void)fputs("    esac\n"
                "    if [[ $word == -* ]]; then\n"
                "        COMPREPLY=($(compgen -W \"$options\" -- \"$word\"))\n"
                "    else\n"
                "        COMPREPLY=($(compgen -f -- \"$word\"))\n"
                "    fi\n}\ncomplete -o filenames -F _weir weir\n",
                out);
}
