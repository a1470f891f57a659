/* cpu -- what the processor can do, for choosing a kernel once at start. Each kernel has a twin that runs anywhere. */
#ifndef BASE_CPU_H
#define BASE_CPU_H

#include <stdbool.h>

/* 256-bit integer instructions, known to the processor and allowed by the operating system. */
bool base_cpu_has_avx2(void);

#endif
