#include "query/parse.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what is wrong, and where ---- */

/* Octets of s[n] that can be shown, into out[cap]. */
static void visible(const char *s, size_t n, char *out, size_t cap)
{
    size_t i = 0;
    for (; i < n && i + 1 < cap; i++)
        out[i] = (unsigned char)s[i] < 0x20 || s[i] == 0x7f ? '?' : s[i];
    out[i] = '\0';
}

const char *query_token_text(const struct query_token *t, char *out)
{
    char shown[41];
    if (t->kind == QUERY_T_END)
        return memcpy(out, "the end", sizeof "the end");
    visible(t->at, t->len < 40 ? t->len : 40, shown, sizeof shown);
    (void)snprintf(out, 64, "\"%s%s\"", shown, t->len > 40 ? "..." : "");
    return out;
}

static weir_status wrong_at(struct query_parser *p, weir_status status, size_t source,
                            const char *at, size_t len, const char *expected, const char *message)
{
    const struct query_source *s = &p->tokens.sources[source];
    const char *line = at, *end = at, *stop = s->text + s->len;
    uint32_t number = 1;
    while (line > s->text && line[-1] != '\n')
        line--;
    while (end < stop && *end != '\n')
        end++;
    for (const char *c = s->text; c < line; c++)
        number += *c == '\n';
    if (p->where) {
        char *copy = query_arena_text(p->arena, line, (size_t)(end - line));
        size_t most = (size_t)(end - at);
        len = len < most ? len : most;
        *p->where = (struct query_error){.text = copy ? copy : "",
                                         .line = number,
                                         .column = copy ? (uint32_t)(at - line) : 0,
                                         .len = len ? (uint32_t)len : 1};
        if (expected)
            (void)snprintf(p->where->expected, sizeof p->where->expected, "%s", expected);
    }
    if (s->name)
        return weir_err_set(p->err, status, (uint64_t)(at - s->text), "in %.40s, line %u: %s",
                            s->name, number, message);
    return weir_err_set(p->err, status, (uint64_t)(at - s->text), "%s", message);
}

weir_status query_wrong(struct query_parser *p, weir_status status, const struct query_token *t,
                        size_t n, const char *expected, const char *fmt, ...)
{
    char message[160];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    const char *end = t->at + t->len;
    for (size_t i = 1; i < n; i++)
        if (t[i].source == t->source && t[i].at >= end)
            end = t[i].at + t[i].len;
    return wrong_at(p, status, t->source, t->at, (size_t)(end - t->at), expected, message);
}

weir_status query_expected(struct query_parser *p, const struct query_token *t,
                           const char *expected)
{
    char text[64];
    if (t->kind == QUERY_T_END)
        return query_wrong(p, WEIR_EFORMAT, t, 1, expected, "the filter ends too early");
    return query_wrong(p, WEIR_EFORMAT, t, 1, expected, "unexpected %s", query_token_text(t, text));
}

weir_status query_no_memory(struct query_parser *p)
{
    return weir_err_set(p->err, WEIR_ENOMEM, 0, "out of memory for the filter");
}

/* ---- tokens ---- */

struct lexer {
    struct query_parser *p;
    size_t source;
    const char *at, *end;
};

static bool add(struct lexer *l, enum query_token_kind kind, const char *at, size_t len)
{
    struct query_tokens *t = &l->p->tokens;
    if (t->n == t->cap) {
        size_t cap = t->cap ? t->cap * 2 : 64;
        struct query_token *list = realloc(t->list, cap * sizeof *list);
        if (!list)
            return false;
        t->list = list;
        t->cap = cap;
    }
    t->list[t->n++] = (struct query_token){at, (uint32_t)len, (uint16_t)l->source, (uint8_t)kind};
    return true;
}

static weir_status bad(const struct lexer *l, const char *at, size_t len, const char *expected,
                       const char *message)
{
    return wrong_at(l->p, WEIR_EFORMAT, l->source, at, len, expected, message);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v';
}

static bool ends_word(char c)
{
    return is_blank(c) || (c && strchr("()[],'\"#!=<>~&|", c));
}

static bool is_control(char c)
{
    return ((unsigned char)c < 0x20 && !is_blank(c)) || c == 0x7f;
}

/* Operators and punctuation: the longer ones first. */
static const struct {
    char text[3];
    uint8_t kind;
} marks[] = {
    {"==", QUERY_T_EQ},   {"!=", QUERY_T_NE},   {"!~", QUERY_T_NO_MATCH}, {"<=", QUERY_T_LE},
    {">=", QUERY_T_GE},   {"=<", QUERY_T_LE},   {"=>", QUERY_T_GE},       {"<>", QUERY_T_NE},
    {"&&", QUERY_T_AND},  {"||", QUERY_T_OR},   {"=", QUERY_T_EQ},        {"<", QUERY_T_LT},
    {">", QUERY_T_GT},    {"~", QUERY_T_MATCH}, {"!", QUERY_T_NOT},       {"(", QUERY_T_OPEN},
    {")", QUERY_T_CLOSE}, {"[", QUERY_T_LIST},  {"]", QUERY_T_LIST_END},  {",", QUERY_T_COMMA},
};

/* Text between quotes, taken as it is: nothing is escaped, so that regular expressions stay readable. */
static weir_status quoted(struct lexer *l, const char **text, size_t *len)
{
    const char *open = l->at++;
    const char *close = memchr(l->at, *open, (size_t)(l->end - l->at));
    if (!close)
        return bad(l, open, 1, *open == '"' ? "a closing \"" : "a closing '",
                   "the quoted text has no end");
    for (const char *c = l->at; c < close; c++)
        if (is_control(*c))
            return bad(l, c, 1, NULL, "a control character in quoted text");
    *text = l->at;
    *len = (size_t)(close - l->at);
    l->at = close + 1;
    return WEIR_OK;
}

static weir_status add_source(struct query_parser *p, const char *name, const char *text,
                              size_t len, size_t *index)
{
    struct query_tokens *t = &p->tokens;
    struct query_source *sources = realloc(t->sources, (t->n_sources + 1) * sizeof *sources);
    if (!sources)
        return query_no_memory(p);
    t->sources = sources;
    sources[t->n_sources] = (struct query_source){name, text, len};
    *index = t->n_sources++;
    return WEIR_OK;
}

static weir_status lex_text(struct query_parser *p, size_t source, unsigned depth);

/* "@include FILE" at l->at, behind the word. */
static weir_status include(struct lexer *l, const char *word, unsigned depth)
{
    struct query_parser *p = l->p;
    const char *name;
    size_t len;
    while (l->at < l->end && (*l->at == ' ' || *l->at == '\t'))
        l->at++;
    const char *from = l->at;
    if (l->at < l->end && (*l->at == '"' || *l->at == '\'')) {
        WEIR_TRY(quoted(l, &name, &len));
    } else {
        name = l->at;
        while (l->at < l->end && !is_blank(*l->at) && !is_control(*l->at))
            l->at++;
        len = (size_t)(l->at - name);
    }
    if (!len)
        return bad(l, word, (size_t)(from - word), "the name of a file", "@include without a file");
    if (!p->options || !p->options->read)
        return bad(l, word, (size_t)(l->at - word), NULL, "@include is not allowed here");
    if (depth >= QUERY_MAX_INCLUDES || p->tokens.n_sources >= 1000)
        return bad(l, word, (size_t)(l->at - word), NULL,
                   "too many files include each other (at most 8 deep, 1000 in all)");
    char *path = query_arena_text(p->arena, name, len), *text = NULL;
    size_t octets = 0, index = 0;
    if (!path)
        return query_no_memory(p);
    weir_status read = p->options->read(p->options->user, path, &text, &octets, p->err);
    if (read != WEIR_OK) {
        char why[128]; /* the place, with the reader's message */
        (void)snprintf(why, sizeof why, "%.127s", p->err ? p->err->msg : "cannot be read");
        return wrong_at(p, read, l->source, from, (size_t)(l->at - from), NULL, why);
    }
    char *copy = octets <= QUERY_MAX_TEXT - p->tokens.octets
                     ? query_arena_text(p->arena, text, octets)
                     : NULL;
    free(text);
    if (octets > QUERY_MAX_TEXT - p->tokens.octets)
        return wrong_at(p, WEIR_ELIMIT, l->source, from, (size_t)(l->at - from), NULL,
                        "the filter and its files are longer than 4 MiB");
    if (!copy)
        return query_no_memory(p);
    p->tokens.octets += octets;
    WEIR_TRY(add_source(p, path, copy, octets, &index));
    return lex_text(p, index, depth + 1);
}

static weir_status lex_text(struct query_parser *p, size_t source, unsigned depth)
{
    const struct query_source *s = &p->tokens.sources[source];
    struct lexer l = {p, source, s->text, s->text + s->len};
    while (l.at < l.end) {
        char c = *l.at;
        if (is_blank(c)) {
            l.at++;
        } else if (c == '#') {
            while (l.at < l.end && *l.at != '\n')
                l.at++;
        } else if (c == '"' || c == '\'') {
            const char *text;
            size_t len;
            WEIR_TRY(quoted(&l, &text, &len));
            if (!add(&l, QUERY_T_STRING, text, len))
                return query_no_memory(p);
        } else if (is_control(c)) {
            return bad(&l, l.at, 1, NULL, "a control character");
        } else if (ends_word(c)) {
            size_t i = 0, len;
            while (i < ARRAY_LEN(marks) &&
                   (len = strlen(marks[i].text),
                    (size_t)(l.end - l.at) < len || memcmp(l.at, marks[i].text, len) != 0))
                i++;
            if (i == ARRAY_LEN(marks))
                return bad(&l, l.at, 1, c == '&' ? "and, &&" : "or, ||",
                           c == '&' ? "a single & means nothing" : "a single | means nothing");
            len = strlen(marks[i].text);
            if (!add(&l, marks[i].kind, l.at, len))
                return query_no_memory(p);
            l.at += len;
        } else {
            const char *from = l.at;
            while (l.at < l.end && !ends_word(*l.at) && !is_control(*l.at))
                l.at++;
            size_t len = (size_t)(l.at - from);
            if (query_word_is((struct query_word){from, len}, "@include"))
                WEIR_TRY(include(&l, from, depth));
            else if (!add(&l, QUERY_T_WORD, from, len))
                return query_no_memory(p);
        }
    }
    return WEIR_OK;
}

weir_status query_lex(struct query_parser *p, const char *text, size_t len)
{
    size_t source = 0;
    if (len > QUERY_MAX_TEXT)
        return weir_err_set(p->err, WEIR_ELIMIT, QUERY_MAX_TEXT,
                            "the filter has %zu octets, at most %d are allowed", len,
                            (int)QUERY_MAX_TEXT);
    WEIR_TRY(add_source(p, NULL, text ? text : "", len, &source));
    p->tokens.octets = len;
    WEIR_TRY(lex_text(p, source, 0));
    struct lexer l = {.p = p, .source = source};
    /* Behind the last word, where something is missing; not behind a comment. */
    const struct query_token *last = p->tokens.n ? &p->tokens.list[p->tokens.n - 1] : NULL;
    const char *end = p->tokens.sources[0].text;
    if (last) {
        l.source = last->source;
        end = last->at + last->len + (last->kind == QUERY_T_STRING);
    }
    return add(&l, QUERY_T_END, end, 0) ? WEIR_OK : query_no_memory(p);
}
