/* cmd -- the subcommands that main.c knows; each lives in its own file. */
#ifndef CLI_CMD_H
#define CLI_CMD_H

#include "cli/opt.h"

extern const struct cmd cmd_decode, cmd_collect, cmd_query, cmd_fields, cmd_analyze, cmd_archive,
    cmd_gen, cmd_doctor, cmd_exporters, cmd_ship;

#endif
