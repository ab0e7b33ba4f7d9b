/* excerpt: the telling part of an item of evidence, for people who look at an attempt. Pure. */
#ifndef ORCHESTRATOR_REPORT_EXCERPT_H
#define ORCHESTRATOR_REPORT_EXCERPT_H

#include "base/buf.h"
#include <stdbool.h>

/* Appends some lines of it, or all of a short one; false, and nothing: it has no part that tells more than the rest. */
bool excerpt_of(const char *name, const char *text, struct greta_buf *out);

#endif
