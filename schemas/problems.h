/* problems: all that is wrong with a file, collected, so that a user mends it in one go. */
#ifndef SCHEMAS_PROBLEMS_H
#define SCHEMAS_PROBLEMS_H

#include "base/buf.h"
#include <stdbool.h>
#include <stddef.h>

struct greta_problem {
	int line, column;  /* from 1; 0: no place in the text */
	char *path;        /* "variants[1].args" */
	char *text;        /* what is wrong, and what was expected */
	bool warning;      /* worth saying, does not refuse the file */
};

struct greta_problems {
	struct greta_problem *items;
	size_t n, cap;
};

void greta_problems_add(struct greta_problems *p, bool warning, int line, int column, const char *path, const char *fmt,
			...) __attribute__((format(printf, 6, 7)));
size_t greta_problems_errors(const struct greta_problems *p);
/* "campaign.json:12:5: variants[1].args: expected ..." a line each. */
void greta_problems_print(const struct greta_problems *p, const char *file, struct greta_buf *out);
void greta_problems_release(struct greta_problems *p);

#endif
