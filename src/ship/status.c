#include "archive/layout.h"
#include "parquet/reader.h"
#include "ship/ship.h"
#include "ship/source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

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

/* Arrival of a file's first row by its metadata, else by its name. */
static int64_t begin_of(const struct ship_file *f, const struct ship_parts *p)
{
    const char *text = p->n ? parquet_key_value_find(p->parts[0].file, "weir.received_min") : NULL;
    struct tm tm = {0};
    if (text && strptime(text, "%Y-%m-%dT%H:%M:%S", &tm))
        return timegm(&tm) * INT64_C(1000000);
    struct archive_name name;
    archive_name_parse(f->name, &name);
    return name.time_ns / 1000;
}

weir_status ship_lag_of(const char *archive, const archive_cursor *c, struct ship_lag *out,
                        weir_err *err)
{
    ship_source *s;
    const struct ship_file *files;
    size_t n;
    *out = (struct ship_lag){0};
    WEIR_TRY(ship_source_new(archive, 1U << FLOW_TABLE_FLOWS, &s, err));
    weir_status st = ship_source_look(s, c, true, &files, &n, err);
    for (size_t i = 0; st == WEIR_OK && i < n; i++) {
        struct ship_parts p;
        weir_err why;
        weir_status one = ship_parts_open(&p, &files[i], &why);
        if (one == WEIR_ENOTFOUND)
            continue;
        if (one != WEIR_OK) {
            out->damaged = true;
            continue;
        }
        uint64_t done = archive_cursor_of(c, files[i].table, files[i].name).rows;
        if (p.rows > done) {
            int64_t begin = begin_of(&files[i], &p);
            out->files++;
            out->rows += p.rows - done;
            if (!out->oldest_us || begin < out->oldest_us)
                out->oldest_us = begin;
        }
        ship_parts_done(&p);
    }
    ship_source_free(s);
    return st;
}
