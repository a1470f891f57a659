/* main -- the table of subcommands; opt.c does the rest. */
#include "cli/cmd.h"

static const struct cmd *const cmds[] = {
    &cmd_collect, &cmd_query, &cmd_exporters, &cmd_fields, &cmd_decode, &cmd_analyze,
    &cmd_archive, &cmd_gen,   &cmd_doctor,    &cmd_ship,   NULL};

int main(int argc, char **argv)
{
    return opt_main(cmds, argc, argv);
}
