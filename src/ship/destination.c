#include "ship/destination.h"

#include "base/text.h"
#include "ship/destinations.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct ship_destination_ops *const all[] = {
    &ship_clickhouse, &ship_clickhouses, &ship_kafka,   &ship_ipfix_udp,
    &ship_ipfix_tcp,  &ship_file,        &ship_command, NULL};

const struct ship_destination_ops *const *ship_destinations(void)
{
    return all;
}

enum { SHOWN = 100 };

/* A url as messages may show it, readable or not: without user, password and settings. */
static const char *shown(const char *url, char out[SHOWN])
{
    size_t len = strcspn(url, "?"), colon = strcspn(url, ":"), n = 0;
    const char *at = memrchr(url, '@', len);
    const char *hidden = at && colon < (size_t)(at - url) ? url + colon + 1 : at ? url : NULL;
    if (hidden && strncmp(hidden, "//", 2) == 0 && hidden + 2 <= at)
        hidden += 2;
    for (const char *p = url; p < url + len && n + 4 < SHOWN; p++) {
        if (p == hidden) {
            memcpy(out + n, "***", 3);
            n += 3;
            p = at;
        }
        out[n++] = (unsigned char)*p < ' ' || *p == 127 ? '?' : *p;
    }
    out[n] = '\0';
    return out;
}

const struct ship_destination_ops *ship_destination_find(const char *url, weir_err *err)
{
    const char *colon = strchr(url, ':');
    char known[256] = "", text[SHOWN];
    for (size_t i = 0; all[i]; i++) {
        size_t n = strlen(all[i]->scheme), have = strlen(known);
        if (colon && n == (size_t)(colon - url) && strncmp(url, all[i]->scheme, n) == 0)
            return all[i];
        (void)snprintf(known + have, sizeof known - have, "%s%s:", have ? ", " : "",
                       all[i]->scheme);
    }
    (void)weir_err_set(err, WEIR_EINVAL, 0, "'%s' is no destination: one begins with %s",
                       shown(url, text), known);
    return NULL;
}

const char *ship_setting_find(const struct ship_destination_options *o, const char *name)
{
    const char *value = NULL; /* the last one counts */
    for (size_t i = 0; i < o->n_settings; i++)
        if (strcmp(o->settings[i].name, name) == 0)
            value = o->settings[i].value;
    return value;
}

weir_status ship_settings_known(const struct ship_destination_options *o,
                                const char *const *settings_help, weir_err *err)
{
    for (size_t i = 0; i < o->n_settings; i++) {
        bool known = false;
        base_buf names = {0};
        for (size_t k = 0; settings_help[k]; k += 2) {
            known |= strcmp(settings_help[k], o->settings[i].name) == 0;
            base_buf_printf(&names, "%s%s", k ? ", " : "", settings_help[k]);
        }
        base_buf_char(&names, 0);
        if (!known)
            (void)weir_err_set(err, WEIR_EINVAL, 0,
                               "'%.60s' is no setting of %.*s: there are %.300s",
                               o->settings[i].name, (int)strcspn(o->url, ":"), o->url,
                               names.failed       ? "others"
                               : settings_help[0] ? names.data
                                                  : "none");
        base_buf_done(&names);
        if (!known)
            return WEIR_EINVAL;
    }
    return WEIR_OK;
}

/* ---- urls ---- */

static int hex(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* text[len] with %XX decoded; NULL: out of memory, or a NUL in it. */
static char *part(const char *text, size_t len)
{
    char *out = malloc(len + 1);
    size_t n = 0;
    for (size_t i = 0; out && i < len; i++) {
        char c = text[i];
        if (c == '%' && i + 2 < len && hex(text[i + 1]) >= 0 && hex(text[i + 2]) >= 0) {
            c = (char)(hex(text[i + 1]) << 4 | hex(text[i + 2]));
            i += 2;
        }
        if (!c) {
            free(out);
            return NULL;
        }
        out[n++] = c;
    }
    if (out)
        out[n] = 0;
    return out;
}

static weir_status queries(const char *at, struct ship_url *u, const char *url, weir_err *err)
{
    char text[SHOWN];
    while (*at) {
        size_t len = strcspn(at, "&"), name = strcspn(at, "=&");
        char **names = realloc(u->names, (u->n + 1) * sizeof *names);
        if (names)
            u->names = names;
        char **values = realloc(u->values, (u->n + 1) * sizeof *values);
        if (values)
            u->values = values;
        if (!names || !values)
            return weir_err_set(err, WEIR_ENOMEM, 0, "ship: out of memory");
        if (name == len || !name)
            return weir_err_set(err, WEIR_EINVAL, 0, "'%s': settings are name=value&...",
                                shown(url, text));
        u->names[u->n] = part(at, name);
        u->values[u->n] = part(at + name + 1, len - name - 1);
        u->n++;
        if (!u->names[u->n - 1] || !u->values[u->n - 1])
            return weir_err_set(err, WEIR_EINVAL, 0, "'%s' cannot be read", shown(url, text));
        at += len + (at[len] == '&');
    }
    return WEIR_OK;
}

/* [user[:password]@]host[:port]; several hosts with commas stay as they are in host, with their ports. */
static bool authority(const char *at, size_t len, struct ship_url *u)
{
    const char *end = at + len, *user = memrchr(at, '@', len);
    if (user) {
        const char *colon = memchr(at, ':', (size_t)(user - at));
        u->user = part(at, (size_t)((colon ? colon : user) - at));
        if (!u->user || (colon && !(u->password = part(colon + 1, (size_t)(user - colon - 1)))))
            return false;
        at = user + 1;
    }
    const char *port = NULL;
    if (*at == '[' && at < end) {
        const char *close = memchr(at, ']', (size_t)(end - at));
        if (!close || (close + 1 < end && close[1] != ':'))
            return false;
        port = close + 1 < end ? close + 1 : NULL;
        u->host = part(at + 1, (size_t)(close - at - 1));
    } else {
        port = memchr(at, ',', (size_t)(end - at)) ? NULL : memchr(at, ':', (size_t)(end - at));
        u->host = part(at, (size_t)((port ? port : end) - at));
    }
    return u->host && (!port || (u->port = part(port + 1, (size_t)(end - port - 1))));
}

weir_status ship_url_parse(const char *text, struct ship_url *out, weir_err *err)
{
    char said[SHOWN];
    *out = (struct ship_url){0};
    const char *colon = strstr(text, "://");
    if (!colon || colon == text)
        return weir_err_set(err, WEIR_EINVAL, 0,
                            "'%s' is no address of the form kind://host:port/path",
                            shown(text, said));
    out->scheme = part(text, (size_t)(colon - text));
    const char *at = colon + 3;
    size_t len = strcspn(at, "/?");
    bool ok = out->scheme && authority(at, len, out);
    at += len;
    if (ok && *at == '/') {
        len = strcspn(++at, "?");
        ok = (out->path = part(at, len)) != NULL;
        at += len;
    }
    weir_status s = ok ? WEIR_OK
                       : weir_err_set(err, WEIR_EINVAL, 0, "'%s': its host or path cannot be read",
                                      shown(text, said));
    if (s == WEIR_OK && *at == '?')
        s = queries(at + 1, out, text, err);
    if (s != WEIR_OK)
        ship_url_done(out);
    return s;
}

void ship_url_done(struct ship_url *u)
{
    free(u->scheme);
    free(u->user);
    free(u->password);
    free(u->host);
    free(u->port);
    free(u->path);
    for (size_t i = 0; i < u->n; i++) {
        free(u->names[i]);
        free(u->values[i]);
    }
    free(u->names);
    free(u->values);
    *u = (struct ship_url){0};
}
