#include "ship/ship.h"

#include <stdlib.h>
#include <string.h>

/* Where the password of a url stands: [*from, *to) behind the colon; false: there is none. */
static bool password_of(const char *url, size_t *from, size_t *to)
{
    const char *at = strstr(url, "://");
    if (!at)
        return false;
    at += 3;
    const char *user = memrchr(at, '@', strcspn(at, "/?"));
    const char *colon = user ? memchr(at, ':', (size_t)(user - at)) : NULL;
    if (!colon)
        return false;
    *from = (size_t)(colon - url);
    *to = (size_t)(user - url);
    return true;
}

char *ship_url_shown(const char *url)
{
    char *out = strdup(url);
    size_t from, to;
    if (!out)
        return NULL;
    if (password_of(out, &from, &to))
        memmove(out + from, out + to, strlen(out + to) + 1);
    out[strcspn(out, "?")] = 0; /* settings may be secret, and may change */
    for (char *p = out; *p; p++)
        if ((unsigned char)*p < ' ')
            *p = '?';
    return out;
}

void ship_name_of(const char *url, char *out)
{
    char *shown = ship_url_shown(url);
    size_t n = 0;
    bool dash = false;
    for (const char *p = shown ? shown : "destination"; *p && n < ARCHIVE_CURSOR_NAME; p++) {
        bool plain = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
                     (*p >= '0' && *p <= '9') || ((*p == '.' || *p == '_') && n);
        if (plain && dash && n && n + 1 < ARCHIVE_CURSOR_NAME)
            out[n++] = '-';
        if (plain)
            out[n++] = *p;
        dash = !plain;
    }
    out[n] = 0;
    free(shown);
}
