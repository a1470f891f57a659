#include "source.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- schemas ---- */

py_shared_schema *py_schema_new(void)
{
    py_shared_schema *s = calloc(1, sizeof *s);
    if (s != NULL)
        atomic_init(&s->refs, 1);
    return s;
}

py_shared_schema *py_schema_hold(py_shared_schema *s)
{
    atomic_fetch_add(&s->refs, 1);
    return s;
}

void py_schema_drop(py_shared_schema *s)
{
    if (s == NULL || atomic_fetch_sub(&s->refs, 1) != 1)
        return;
    if (s->schema.release != NULL)
        s->schema.release(&s->schema);
    free(s);
}

/* What an exported schema keeps: the children are its own, texts are the shared one's. */
struct schema_node {
    py_shared_schema *of;
    struct ArrowSchema *children, dictionary;
    struct ArrowSchema *pointers[];
};

static void schema_release(struct ArrowSchema *s)
{
    struct schema_node *n = s->private_data;
    for (int64_t i = 0; i < s->n_children; i++)
        if (n->children[i].release != NULL)
            n->children[i].release(&n->children[i]);
    if (n->dictionary.release != NULL)
        n->dictionary.release(&n->dictionary);
    py_schema_drop(n->of);
    free(n->children);
    free(n);
    s->release = NULL;
}

static bool schema_clone(py_shared_schema *of, const struct ArrowSchema *from,
                         struct ArrowSchema *out)
{
    size_t n_children = (size_t)from->n_children;
    struct schema_node *n = calloc(1, sizeof *n + n_children * sizeof *n->pointers);
    struct ArrowSchema *children = calloc(n_children + 1, sizeof *children);
    if (n == NULL || children == NULL) {
        free(n);
        free(children);
        return false;
    }
    *n = (struct schema_node){.of = py_schema_hold(of), .children = children};
    *out = *from;
    out->private_data = n;
    out->release = schema_release;
    out->children = n_children != 0 ? n->pointers : NULL;
    out->dictionary = from->dictionary != NULL ? &n->dictionary : NULL;
    bool ok = true;
    for (size_t i = 0; i < n_children; i++) {
        n->pointers[i] = &children[i];
        ok = ok && schema_clone(of, from->children[i], &children[i]);
    }
    ok = ok && (from->dictionary == NULL || schema_clone(of, from->dictionary, &n->dictionary));
    if (!ok)
        out->release(out);
    return ok;
}

bool py_schema_export(py_shared_schema *s, struct ArrowSchema *out)
{
    return schema_clone(s, &s->schema, out);
}

/* ---- arrays ---- */

py_shared_array *py_array_new(void)
{
    py_shared_array *a = calloc(1, sizeof *a);
    if (a != NULL)
        atomic_init(&a->refs, 1);
    return a;
}

void py_array_drop(py_shared_array *a)
{
    if (a == NULL || atomic_fetch_sub(&a->refs, 1) != 1)
        return;
    if (a->array.release != NULL)
        a->array.release(&a->array);
    free(a);
}

struct array_node {
    py_shared_array *of;
    struct ArrowArray *children, dictionary;
    struct ArrowArray *pointers[];
};

static void array_release(struct ArrowArray *a)
{
    struct array_node *n = a->private_data;
    for (int64_t i = 0; i < a->n_children; i++)
        if (n->children[i].release != NULL)
            n->children[i].release(&n->children[i]);
    if (n->dictionary.release != NULL)
        n->dictionary.release(&n->dictionary);
    py_array_drop(n->of);
    free(n->children);
    free(n);
    a->release = NULL;
}

static bool array_clone(py_shared_array *of, const struct ArrowArray *from, struct ArrowArray *out)
{
    size_t n_children = (size_t)from->n_children;
    struct array_node *n = calloc(1, sizeof *n + n_children * sizeof *n->pointers);
    struct ArrowArray *children = calloc(n_children + 1, sizeof *children);
    if (n == NULL || children == NULL) {
        free(n);
        free(children);
        return false;
    }
    atomic_fetch_add(&of->refs, 1);
    *n = (struct array_node){.of = of, .children = children};
    *out = *from;
    out->private_data = n;
    out->release = array_release;
    out->children = n_children != 0 ? n->pointers : NULL;
    out->dictionary = from->dictionary != NULL ? &n->dictionary : NULL;
    bool ok = true;
    for (size_t i = 0; i < n_children; i++) {
        n->pointers[i] = &children[i];
        ok = ok && array_clone(of, from->children[i], &children[i]);
    }
    ok = ok && (from->dictionary == NULL || array_clone(of, from->dictionary, &n->dictionary));
    if (!ok)
        out->release(out);
    return ok;
}

bool py_array_export(py_shared_array *a, struct ArrowArray *out)
{
    return array_clone(a, &a->array, out);
}

/* ---- streams ---- */

py_source *py_source_new(void)
{
    py_source *s = calloc(1, sizeof *s);
    if (s != NULL && pthread_mutex_init(&s->lock, NULL) != 0) {
        free(s);
        return NULL;
    }
    if (s != NULL)
        atomic_init(&s->refs, 1);
    return s;
}

py_source *py_source_hold(py_source *s)
{
    atomic_fetch_add(&s->refs, 1);
    return s;
}

/* The stream still holds the answer, so that others may be using it. */
void py_source_cancel(py_source *s)
{
    if (!atomic_exchange(&s->cancelled, true))
        weir_answer_free(s->answer);
}

void py_source_drop(py_source *s)
{
    if (s == NULL || atomic_fetch_sub(&s->refs, 1) != 1)
        return;
    if (s->stream.release != NULL)
        s->stream.release(&s->stream);
    py_source_cancel(s);
    weir_elements_free(s->elements);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static void error_text(py_source *s, int code, char *msg, size_t n)
{
    const char *text = code != 0 ? s->stream.get_last_error(&s->stream) : NULL;
    snprintf(msg, n, "%s", text != NULL ? text : "");
}

int py_source_next(py_source *s, struct ArrowArray *out, char *msg, size_t n)
{
    atomic_store(&s->begun, true);
    out->release = NULL;
    if (atomic_load(&s->ended))
        return 0;
    pthread_mutex_lock(&s->lock);
    int code = s->stream.get_next(&s->stream, out);
    error_text(s, code, msg, n);
    pthread_mutex_unlock(&s->lock);
    if (code == 0 && out->release == NULL)
        atomic_store(&s->ended, true);
    return code;
}

int py_source_schema(py_source *s, struct ArrowSchema *out, char *msg, size_t n)
{
    pthread_mutex_lock(&s->lock);
    int code = s->stream.get_schema(&s->stream, out);
    error_text(s, code, msg, n);
    pthread_mutex_unlock(&s->lock);
    return code;
}

/* An exported stream: get_last_error must give the text of its own last call. */
struct lent {
    py_source *of;
    char msg[256];
};

static int lent_schema(struct ArrowArrayStream *stream, struct ArrowSchema *out)
{
    struct lent *l = stream->private_data;
    return py_source_schema(l->of, out, l->msg, sizeof l->msg);
}

static int lent_next(struct ArrowArrayStream *stream, struct ArrowArray *out)
{
    struct lent *l = stream->private_data;
    return py_source_next(l->of, out, l->msg, sizeof l->msg);
}

static const char *lent_error(struct ArrowArrayStream *stream)
{
    const struct lent *l = stream->private_data;
    return l->msg[0] != '\0' ? l->msg : NULL;
}

static void lent_release(struct ArrowArrayStream *stream)
{
    struct lent *l = stream->private_data;
    atomic_store(&l->of->lent, false);
    py_source_drop(l->of);
    free(l);
    stream->release = NULL;
}

bool py_source_export(py_source *s, struct ArrowArrayStream *out, bool *busy)
{
    *busy = atomic_exchange(&s->lent, true);
    if (*busy)
        return false;
    struct lent *l = calloc(1, sizeof *l);
    if (l == NULL) {
        atomic_store(&s->lent, false);
        return false;
    }
    l->of = py_source_hold(s);
    *out = (struct ArrowArrayStream){.get_schema = lent_schema,
                                     .get_next = lent_next,
                                     .get_last_error = lent_error,
                                     .release = lent_release,
                                     .private_data = l};
    return true;
}
