/* filer -- decoded records into the batches that the writer stores in an archive: a set at a time where the template
 * allows it. Serves one decoder and one writer, on the thread that decodes. */
#ifndef COLLECT_FILER_H
#define COLLECT_FILER_H

#include "collect/writer.h"
#include "flow/normalise.h"

typedef struct filer filer;

filer *filer_new(writer *w); /* NULL: out of memory */
void filer_free(filer *f);   /* takes NULL */

/* For weir_decode, with the filer as user. */
extern const weir_handlers filer_handlers;

const struct flow_counters *filer_counters(const filer *f);

#endif
