/* Any file as a MaxMind-format database: opened, and asked for addresses of both families. */
#include "query/geo.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check(bool right)
{
    if (!right)
        abort();
}

static void ask(const query_geo *g, const char *address, int family)
{
    uint8_t addr[16] = {0};
    struct query_geo_entry e;
    const char *text;
    size_t n;
    check(inet_pton(family == 4 ? AF_INET : AF_INET6, address, addr) == 1);
    if (!query_geo_find(g, addr, family, &e))
        return;
    if (query_geo_country(&e, &text, &n))
        check(n == 2 && text);
    if (query_geo_city(&e, &text, &n))
        check(n > 0 && n < 256);
    if (query_geo_as_org(&e, &text, &n))
        check(n > 0 && n < 256);
    (void)query_geo_as(&e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    char path[32];
    int fd = memfd_create("geo", MFD_CLOEXEC);
    check(fd >= 0 && write(fd, data, len) == (ssize_t)len);
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    query_geo *g;
    weir_err err = {0};
    if (query_geo_open(path, &g, &err) == WEIR_OK) {
        ask(g, "192.0.2.1", 4);
        ask(g, "198.51.100.1", 4);
        ask(g, "255.255.255.255", 4);
        ask(g, "0.0.0.0", 4);
        ask(g, "2001:db8::1", 6);
        ask(g, "::", 6);
        query_geo_close(g);
    } else {
        check(err.msg[0] != 0);
    }
    (void)close(fd);
    return 0;
}
