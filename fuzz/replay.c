/* replay -- the main of a fuzz target where libFuzzer is not: feeds every file of the folders named on the command
 * line to LLVMFuzzerTestOneInput, then the empty input, then mutations of them, the same ones in every run.
 *
 *     fuzz_x [-n MUTATIONS] [-s SEED] [FOLDER|FILE]...
 *
 * The inputs run in a child. When it dies or one input takes longer than INPUT_S seconds, the parent says which input
 * that was and keeps it as crash-<name>.bin in the working directory. */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum { INPUT_MAX = 1 << 20, INPUT_S = 20 };

/* Shared with the child: what it was doing. */
static struct now {
    bool done;
    size_t n_inputs, len;
    char what[PATH_MAX + 64];
    uint8_t data[INPUT_MAX];
} * now;

static struct seed {
    char *path;
    uint8_t *data;
    size_t len;
} * seeds;
static size_t n_seeds;

static _Noreturn void give_up(const char *what)
{
    perror(what);
    exit(2);
}

static void add_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        give_up(path);
    seeds = realloc(seeds, (n_seeds + 1) * sizeof *seeds);
    if (!seeds)
        give_up("replay");
    struct seed *s = &seeds[n_seeds++];
    s->path = strdup(path);
    s->data = malloc(INPUT_MAX);
    if (!s->path || !s->data)
        give_up("replay");
    s->len = fread(s->data, 1, INPUT_MAX, f);
    if (ferror(f))
        give_up(path);
    (void)fclose(f);
    uint8_t *less = realloc(s->data, s->len ? s->len : 1);
    s->data = less ? less : s->data;
}

static int by_path(const void *a, const void *b)
{
    const struct seed *x = a, *y = b;
    return strcmp(x->path, y->path);
}

static void add(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0)
        give_up(path);
    if (!S_ISDIR(st.st_mode)) {
        add_file(path);
        return;
    }
    DIR *dir = opendir(path);
    if (!dir)
        give_up(path);
    for (struct dirent *e; (e = readdir(dir));) {
        char name[PATH_MAX];
        if (e->d_name[0] == '.')
            continue;
        if (snprintf(name, sizeof name, "%s/%s", path, e->d_name) < (int)sizeof name)
            add(name);
    }
    (void)closedir(dir);
}

static uint64_t rng = 1;

static size_t below(size_t n)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return (size_t)((rng * 0x2545f4914f6cdd1dULL) >> 33) % n;
}

/* One input: in a block of exactly its size, so that a sanitizer sees an octet read past its end. */
static void feed(const uint8_t *data, size_t len)
{
    memcpy(now->data, data, len);
    now->len = len;
    now->n_inputs++;
    uint8_t *copy = malloc(len ? len : 1);
    if (!copy)
        give_up("replay");
    memcpy(copy, data, len);
    (void)alarm(INPUT_S);
    (void)LLVMFuzzerTestOneInput(copy, len);
    free(copy);
}

/* Lengths, counts and ids are where decoders go wrong: small, largest, and the format's own. */
static const uint16_t words[] = {0,  1,  2,   3,   4,   5,      7,      9,      10,    16,
                                 20, 24, 255, 256, 257, 0x7fff, 0x8000, 0xfffe, 0xffff};

static size_t mutate(uint8_t *data, size_t len)
{
    for (size_t n = 1 + below(6); n-- > 0;) {
        size_t at = len ? below(len) : 0;
        switch (below(8)) {
        case 0: /* one bit */
            if (len)
                data[at] ^= (uint8_t)(1U << below(8));
            break;
        case 1: /* one octet */
            if (len)
                data[at] = (uint8_t)below(256);
            break;
        case 2: /* a 16-bit word, mostly where words stand */
        case 3:
            if (len >= 2) {
                at = below(len - 1);
                if (below(4))
                    at &= ~(size_t)1;
                uint16_t v = words[below(sizeof words / sizeof *words)];
                data[at] = (uint8_t)(v >> 8);
                data[at + 1] = (uint8_t)v;
            }
            break;
        case 4: /* cut */
            len = below(len + 1);
            break;
        case 5: { /* drop a piece */
            size_t piece = len ? 1 + below(len - at) : 0;
            memmove(data + at, data + at + piece, len - at - piece);
            len -= piece;
            break;
        }
        case 6: { /* repeat a piece */
            size_t piece = len ? 1 + below(len - at) : 0;
            if (len + piece <= INPUT_MAX) {
                memmove(data + at + piece, data + at, len - at);
                len += piece;
            }
            break;
        }
        default: { /* a piece of another seed */
            const struct seed *s = &seeds[below(n_seeds)];
            size_t from = s->len ? below(s->len) : 0, piece = s->len ? 1 + below(s->len - from) : 0;
            if (at + piece <= INPUT_MAX) {
                memcpy(data + at, s->data + from, piece);
                len = at + piece > len ? at + piece : len;
            }
        }
        }
    }
    return len;
}

static void feed_all(unsigned long n_mutations)
{
    for (size_t i = 0; i < n_seeds; i++) {
        (void)snprintf(now->what, sizeof now->what, "%s", seeds[i].path);
        feed(seeds[i].data, seeds[i].len);
    }
    static uint8_t data[INPUT_MAX];
    for (unsigned long i = 0; i < n_mutations; i++) {
        const struct seed *s = &seeds[below(n_seeds)];
        memcpy(data, s->data, s->len);
        size_t len = mutate(data, s->len);
        (void)snprintf(now->what, sizeof now->what, "mutation %lu of %s", i, s->path);
        feed(data, len);
    }
    (void)alarm(0);
    (void)snprintf(now->what, sizeof now->what, "the end: leaks");
    now->len = 0;
}

static void keep_input(const char *program)
{
    const char *name = strrchr(program, '/');
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "crash-%s.bin", name ? name + 1 : program);
    FILE *f = fopen(path, "wb");
    if (f && fwrite(now->data, 1, now->len, f) == now->len && fclose(f) == 0)
        (void)fprintf(stderr, "replay: the input (%zu octets) is kept as %s\n", now->len, path);
    else
        perror(path);
}

int main(int argc, char **argv)
{
    unsigned long n_mutations = 0;
    for (int c; (c = getopt(argc, argv, "n:s:")) != -1;) {
        if (c == 'n') {
            n_mutations = strtoul(optarg, NULL, 10);
        } else if (c == 's') {
            rng = strtoull(optarg, NULL, 10) | 1;
        } else {
            (void)fprintf(stderr, "usage: %s [-n MUTATIONS] [-s SEED] [FOLDER|FILE]...\n", argv[0]);
            return 2;
        }
    }
    for (int i = optind; i < argc; i++)
        add(argv[i]);
    size_t n_files = n_seeds;
    if (n_files == 0 && optind < argc) {
        (void)fprintf(stderr, "replay: no seeds in %s\n", argv[optind]);
        return 2;
    }
    if (n_seeds)
        qsort(seeds, n_seeds, sizeof *seeds,
              by_path); /* the order of a folder differs between file systems */
    seeds = realloc(seeds, (n_seeds + 1) * sizeof *seeds);
    if (!seeds)
        give_up("replay");
    seeds[n_seeds++] = (struct seed){(char[]){"the empty input"}, (uint8_t[]){0}, 0};

    now = mmap(NULL, sizeof *now, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (now == MAP_FAILED)
        give_up("replay: mmap");
    pid_t child = fork();
    if (child < 0)
        give_up("replay: fork");
    if (child == 0) {
        feed_all(n_mutations);
        now->done = true;
        exit(0); /* not _exit: a leak checker reports here */
    }
    int status;
    while (waitpid(child, &status, 0) < 0) {
        if (errno != EINTR)
            give_up("replay: waitpid");
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && now->done) {
        (void)printf("%zu inputs: %zu files, %lu mutations\n", now->n_inputs, n_files, n_mutations);
        return 0;
    }
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
        (void)fprintf(stderr, "replay: %s: took longer than %d s\n", now->what, INPUT_S);
    else if (WIFSIGNALED(status))
        (void)fprintf(stderr, "replay: %s: %s\n", now->what, strsignal(WTERMSIG(status)));
    else
        (void)fprintf(stderr, "replay: %s: exit status %d\n", now->what, WEXITSTATUS(status));
    keep_input(argv[0]);
    return 1;
}
