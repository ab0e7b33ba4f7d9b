/* trace: what a program did and how long it took, as JSON lines, for its developers.
 *
 * GRETA_TRACE=path appends to a file, GRETA_TRACE=2 to stderr; otherwise every call costs one branch.
 * Vocabulary: `start` (argv), `exit` (code, s), `region` (name, s), `event` (name, detail). Every line carries
 * program, pid and seconds since start.
 */
#ifndef BASE_TRACE_H
#define BASE_TRACE_H

#include <stdbool.h>
#include <stdint.h>

void greta_trace_start(const char *program, char **argv); /* first call in main */
bool greta_trace_on(void);
void greta_trace_event(const char *name, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int64_t greta_trace_region_begin(void);
void greta_trace_region_end(const char *name, int64_t begun);
void greta_trace_exit(int code);

#endif
