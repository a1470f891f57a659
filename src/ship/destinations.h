/* destinations -- the kinds of destinations, one file each. */
#ifndef SHIP_DESTINATIONS_H
#define SHIP_DESTINATIONS_H

#include "ship/destination.h"

extern const struct ship_destination_ops ship_clickhouse, ship_clickhouses, ship_kafka,
    ship_ipfix_udp, ship_ipfix_tcp, ship_file, ship_command;

#endif
