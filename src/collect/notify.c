#include "collect/notify.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

bool notify_send(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    if (!path || (path[0] != '/' && path[0] != '@') || !path[1])
        return false;
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    size_t len = strlen(path);
    if (len >= sizeof to.sun_path)
        return false;
    memcpy(to.sun_path, path, len);
    if (path[0] == '@') /* the abstract name space */
        to.sun_path[0] = 0;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    socklen_t to_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    size_t n = strlen(state);
    bool sent = sendto(fd, state, n, MSG_NOSIGNAL, (struct sockaddr *)&to, to_len) == (ssize_t)n;
    (void)close(fd);
    return sent;
}
