/* term: what standard output is, and how to write to it: width, colours, redrawing. */
#ifndef ORCHESTRATOR_PRINT_TERM_H
#define ORCHESTRATOR_PRINT_TERM_H

#include "base/buf.h"
#include "orchestrator/cmd.h"
#include <stdbool.h>
#include <stddef.h>

struct term {
	int fd;
	bool tty;      /* lines may be redrawn */
	bool color;
	int width;     /* columns; 80 where it is not a terminal */
	int height;
};

enum term_style { TERM_PLAIN, TERM_BOLD, TERM_DIM, TERM_GOOD, TERM_WARN, TERM_BAD };

/* color auto: colours on a terminal unless NO_COLOR is set or TERM is dumb. */
struct term term_of(int fd, enum cmd_color color);
void term_measure(struct term *t); /* again, after a resize */

/* Appends text in a style; plain text where colours are off. */
void term_add(const struct term *t, struct greta_buf *out, enum term_style style, const char *text);

/* Columns that UTF-8 text takes (control characters and escape sequences take none). */
int term_columns(const char *text);
/* The longest prefix of text, in bytes, that fits in so many columns. */
size_t term_fit(const char *text, int columns);

#endif
