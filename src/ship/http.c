#include "ship/http.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    NAP_MS = 200, /* between questions whether to stop */
    IDLE_S =
        2, /* a connection that was idle for longer is not used again: servers close them after some seconds, and a
                      * request that meets the end of its connection cannot know whether it was read */
    UPLOAD = 1 << 20 /* octets that libcurl takes at a time */
};

struct ship_http {
    const char *body; /* what is left of it to be sent, borrowed from the request */
    size_t body_left;
    CURLM *multi;
    CURL *easy;
    char *what, *host, *port, *remedy, *base;
    bool tls;
    unsigned answer_ms;
    bool (*stop)(void *user);
    void *stop_user;
    /* the request */
    bool busy;
    struct curl_slist *headers;
    weir_status (*data)(void *user, const void *p, size_t n, weir_err *err);
    void *data_user;
    weir_status data_status;
    weir_err data_err;
    base_buf text;
    char why[CURL_ERROR_SIZE];
};

static weir_status no_memory(weir_err *err)
{
    return weir_err_set(err, WEIR_ENOMEM, 0, "ship: out of memory");
}

static size_t take(char *p, size_t size, size_t n, void *user)
{
    ship_http *h = user;
    size_t len = size * n;
    long status = 0;
    (void)curl_easy_getinfo(h->easy, CURLINFO_RESPONSE_CODE, &status);
    if (h->data && status >= 200 && status < 300) {
        h->data_status = h->data(h->data_user, p, len, &h->data_err);
        return h->data_status == WEIR_OK ? len : CURL_WRITEFUNC_ERROR;
    }
    size_t room = SHIP_HTTP_TEXT - h->text.len;
    base_buf_add(&h->text, p, len < room ? len : room); /* what is more is read and dropped */
    return h->text.failed ? CURL_WRITEFUNC_ERROR : len;
}

/* The body comes from here and cannot be rewound. Else libcurl would send a request again of its own accord when a connection that
 * it had used before ends without an answer: an INSERT would be stored twice. */
static size_t give(char *to, size_t size, size_t n, void *user)
{
    ship_http *h = user;
    size_t len = size * n < h->body_left ? size * n : h->body_left;
    if (len)
        memcpy(to, h->body, len);
    h->body += len;
    h->body_left -= len;
    return len;
}

static bool set_up(ship_http *h, const struct ship_http_options *o)
{
    CURL *c = h->easy;
    return curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, o->tls ? "https" : "http") == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_PROXY, "") == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_ERRORBUFFER, h->why) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_WRITEDATA, h) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_READFUNCTION, give) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_READDATA, h) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)o->connect_ms) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)o->answer_ms) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_TCP_KEEPALIVE, 1L) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_MAXAGE_CONN, (long)IDLE_S) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_UPLOAD_BUFFERSIZE, (long)UPLOAD) == CURLE_OK &&
           (!o->ca || curl_easy_setopt(c, CURLOPT_CAINFO, o->ca) == CURLE_OK) &&
           (!o->any_certificate || (curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, 0L) == CURLE_OK &&
                                    curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, 0L) == CURLE_OK));
}

weir_status ship_http_new(const struct ship_http_options *o, ship_http **out, weir_err *err)
{
    if (o->ca) {
        FILE *f = fopen(o->ca, "re");
        if (!f)
            return weir_err_set(err, WEIR_EINVAL, 0, "%s: cannot read the certificates in %s: %m",
                                o->what, o->ca);
        (void)fclose(f);
    }
    ship_http *h = calloc(1, sizeof *h);
    if (!h || curl_global_init(CURL_GLOBAL_DEFAULT) != 0) {
        free(h);
        return no_memory(err);
    }
    base_buf base = {0};
    bool brackets = strchr(o->host, ':') != NULL;
    base_buf_printf(&base, "%s://%s%s%s:%s", o->tls ? "https" : "http", brackets ? "[" : "",
                    o->host, brackets ? "]" : "", o->port);
    base_buf_char(&base, '\0');
    h->base = base.data;
    h->what = strdup(o->what);
    h->host = strdup(o->host);
    h->port = strdup(o->port);
    h->remedy = strdup(o->remedy ? o->remedy : "");
    h->tls = o->tls;
    h->answer_ms = o->answer_ms;
    h->stop = o->stop;
    h->stop_user = o->user;
    h->multi = curl_multi_init();
    h->easy = curl_easy_init();
    if (base.failed || !h->what || !h->host || !h->port || !h->remedy || !h->multi || !h->easy ||
        !set_up(h, o)) {
        ship_http_free(h);
        return no_memory(err);
    }
    *out = h;
    return WEIR_OK;
}

void ship_http_patience(ship_http *h, unsigned answer_ms)
{
    h->answer_ms = answer_ms;
    (void)curl_easy_setopt(h->easy, CURLOPT_TIMEOUT_MS, (long)answer_ms);
}

void ship_http_drop(ship_http *h)
{
    if (h->busy)
        (void)curl_multi_remove_handle(h->multi, h->easy);
    h->busy = false;
    curl_slist_free_all(h->headers);
    h->headers = NULL;
}

void ship_http_free(ship_http *h)
{
    if (!h)
        return;
    ship_http_drop(h);
    curl_easy_cleanup(h->easy);
    (void)curl_multi_cleanup(h->multi);
    base_buf_done(&h->text);
    free(h->what);
    free(h->host);
    free(h->port);
    free(h->remedy);
    free(h->base);
    free(h);
    curl_global_cleanup();
}

static bool add_header(ship_http *h, const char *text)
{
    struct curl_slist *more = curl_slist_append(h->headers, text);
    if (more)
        h->headers = more;
    return more;
}

weir_status ship_http_start(ship_http *h, const struct ship_http_request *r, weir_err *err)
{
    ship_http_drop(h);
    base_buf_reset(&h->text);
    h->why[0] = '\0';
    h->data = r->data;
    h->data_user = r->user;
    h->data_status = WEIR_OK;
    h->body = r->body;
    h->body_left = r->len;
    /* Neither a wait for "100 Continue" nor a form's type. */
    bool ok = add_header(h, "Expect:") && add_header(h, "Content-Type: application/octet-stream");
    for (size_t i = 0; i < r->n_headers && ok; i++)
        ok = add_header(h, r->headers[i]);
    base_buf url = {0};
    base_buf_str(&url, h->base);
    base_buf_str(&url, r->target);
    base_buf_char(&url, '\0');
    ok = ok && !url.failed && curl_easy_setopt(h->easy, CURLOPT_URL, url.data) == CURLE_OK &&
         curl_easy_setopt(h->easy, CURLOPT_HTTPHEADER, h->headers) == CURLE_OK &&
         curl_easy_setopt(h->easy, CURLOPT_POST, 1L) == CURLE_OK &&
         curl_easy_setopt(h->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->len) == CURLE_OK &&
         curl_multi_add_handle(h->multi, h->easy) == CURLM_OK;
    base_buf_done(&url);
    h->busy = ok;
    if (ok)
        return WEIR_OK;
    ship_http_drop(h);
    return no_memory(err);
}

/* What libcurl says, as an operator needs it. */
static weir_status failed(ship_http *h, CURLcode code, weir_err *err)
{
    const char *why = h->why[0] ? h->why : curl_easy_strerror(code);
    if (code == CURLE_OUT_OF_MEMORY || (code == CURLE_WRITE_ERROR && h->text.failed))
        return no_memory(err);
    if (code == CURLE_COULDNT_RESOLVE_HOST)
        return weir_err_set(err, WEIR_EIO, 0,
                            "%s: the host name %s cannot be resolved; is it right, and is DNS up?",
                            h->what, h->host);
    if (code == CURLE_COULDNT_CONNECT)
        return weir_err_set(err, WEIR_EIO, 0, "%s: no connection to %s port %s: %.60s%s%s", h->what,
                            h->host, h->port, why, h->remedy[0] ? "; " : "", h->remedy);
    if (code == CURLE_OPERATION_TIMEDOUT)
        return weir_err_set(err, WEIR_EIO, 0, "%s: %s port %s does not answer in time: %.80s",
                            h->what, h->host, h->port, why);
    if (code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE)
        return weir_err_set(err, WEIR_EINVAL, 0,
                            "%s: the certificate of %s port %s is not trusted: %.50s; "
                            "name its issuer with --set ca=FILE",
                            h->what, h->host, h->port, why);
    if (code == CURLE_SSL_CONNECT_ERROR)
        return weir_err_set(err, WEIR_EIO, 0,
                            "%s: no TLS with %s port %s: %.50s; is this port one with TLS?",
                            h->what, h->host, h->port, why);
    if (code == CURLE_SEND_FAIL_REWIND)
        why = "it ended before there was an answer";
    return weir_err_set(err, WEIR_EIO, 0, "%s: the connection to %s port %s failed: %.80s", h->what,
                        h->host, h->port, why);
}

weir_status ship_http_go(ship_http *h, int wait_ms, bool *done, struct ship_http_answer *answer,
                         weir_err *err)
{
    *done = false;
    if (!h->busy)
        return weir_err_set(err, WEIR_EINVAL, 0, "%s: there is no request on its way", h->what);
    for (;;) {
        int running = 0, left = 0;
        CURLMcode m = curl_multi_perform(h->multi, &running);
        CURLMsg *said;
        while (m == CURLM_OK && (said = curl_multi_info_read(h->multi, &left)))
            if (said->msg == CURLMSG_DONE) {
                CURLcode code = said->data.result;
                long status = 0;
                (void)curl_easy_getinfo(h->easy, CURLINFO_RESPONSE_CODE, &status);
                ship_http_drop(h);
                if (h->data_status != WEIR_OK) {
                    if (err)
                        *err = h->data_err;
                    return h->data_status;
                }
                if (code != CURLE_OK)
                    return failed(h, code, err);
                base_buf_char(&h->text, '\0');
                if (h->text.failed)
                    return no_memory(err);
                *answer = (struct ship_http_answer){
                    .status = (int)status, .text = h->text.data, .len = h->text.len - 1};
                *done = true;
                return WEIR_OK;
            }
        if (m != CURLM_OK) {
            ship_http_drop(h);
            return weir_err_set(err, WEIR_EIO, 0, "%s: %s", h->what, curl_multi_strerror(m));
        }
        if (h->stop && h->stop(h->stop_user)) {
            ship_http_drop(h);
            return weir_err_set(err, WEIR_END, 0, "%s: stopped", h->what);
        }
        if (wait_ms <= 0)
            return WEIR_OK;
        int nap = wait_ms < NAP_MS ? wait_ms : NAP_MS;
        (void)curl_multi_poll(h->multi, NULL, 0, nap, NULL);
        wait_ms -= nap;
    }
}

weir_status ship_http_post(ship_http *h, const struct ship_http_request *r,
                           struct ship_http_answer *answer, weir_err *err)
{
    WEIR_TRY(ship_http_start(h, r, err));
    for (bool done = false; !done;)
        WEIR_TRY(ship_http_go(h, NAP_MS, &done, answer, err));
    return WEIR_OK;
}

void ship_http_escape(base_buf *b, const char *text, size_t len)
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                     c == '-' || c == '.' || c == '_' || c == '~';
        if (plain) {
            base_buf_char(b, (char)c);
        } else {
            base_buf_char(b, '%');
            base_buf_char(b, digits[c >> 4]);
            base_buf_char(b, digits[c & 15]);
        }
    }
}
