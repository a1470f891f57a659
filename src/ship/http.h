/* http -- one keep-alive connection to an HTTP server, for requests with bodies in memory: libcurl, with its errors made words
 * for operators. Of one thread; nothing here waits without asking `stop`. */
#ifndef SHIP_HTTP_H
#define SHIP_HTTP_H

#include "base/buf.h"
#include "base/err.h"

enum { SHIP_HTTP_TEXT = 64 * 1024 }; /* octets of an answer that are kept */

typedef struct ship_http ship_http;

struct ship_http_options {
    const char *what; /* for messages: "clickhouse" */
    const char *host, *port;
    const char *remedy;        /* for messages when nobody answers: what to look at; "" for none */
    bool tls, any_certificate; /* certificates are verified unless any_certificate */
    const char *ca;            /* file of certificates to trust, NULL: the system's */
    unsigned connect_ms,
        answer_ms;            /* until connected; from then until all of the answer is there */
    bool (*stop)(void *user); /* NULL: never */
    void *user;
};

/* All is copied; connects to nobody. WEIR_EINVAL: ca cannot be read; WEIR_ENOMEM. */
weir_status ship_http_new(const struct ship_http_options *o, ship_http **out, weir_err *err);
void ship_http_free(ship_http *h); /* takes NULL; a request that is on its way is given up */

struct ship_http_request {
    const char *target;         /* "/?query_id=..." */
    const char *const *headers; /* n_headers of "Name: value" */
    size_t n_headers;
    const void *body; /* len octets, POSTed; borrowed until the request is done */
    size_t len;
    /* The octets of a good answer (status 200 to 299) as they come; NULL: they are kept as text. Any status but WEIR_OK ends
     * the request with it. */
    weir_status (*data)(void *user, const void *p, size_t n, weir_err *err);
    void *user;
};

struct ship_http_answer {
    int status;
    const char *
        text; /* len octets and a NUL, at most SHIP_HTTP_TEXT: of a bad answer, or of a good one without `data` */
    size_t len;
};

/* Send off a request; none may be on its way. WEIR_ENOMEM; WEIR_EINVAL. */
weir_status ship_http_start(ship_http *h, const struct ship_http_request *r, weir_err *err);
/* Go on with it, waiting at most wait_ms. *done: the answer is there, borrowed until the next start. WEIR_OK; WEIR_EIO: no
 * connection, or it broke, or took too long; WEIR_EINVAL: the server's certificate is not trusted; WEIR_END: stop said so. After
 * any but WEIR_OK the request is over. */
weir_status ship_http_go(ship_http *h, int wait_ms, bool *done, struct ship_http_answer *answer,
                         weir_err *err);
/* From the next request on: until all of an answer is there; 0: as long as it takes. */
void ship_http_patience(ship_http *h, unsigned answer_ms);
/* Give up the request that is on its way, if any. */
void ship_http_drop(ship_http *h);
/* Both: returns when all is there. */
weir_status ship_http_post(ship_http *h, const struct ship_http_request *r,
                           struct ship_http_answer *answer, weir_err *err);

/* Percent-encoded for a target: all but letters, digits and -._~ */
void ship_http_escape(base_buf *b, const char *text, size_t len);

#endif
