/* notify -- tell a service manager how we are, by the protocol of sd_notify(3): one datagram to $NOTIFY_SOCKET. */
#ifndef COLLECT_NOTIFY_H
#define COLLECT_NOTIFY_H

#include <stdbool.h>

/* state: "READY=1", "STOPPING=1", lines of KEY=VALUE. False: nobody listens (no $NOTIFY_SOCKET) or it failed,
 * which is no reason to stop. */
bool notify_send(const char *state);

#endif
