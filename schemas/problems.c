#include "schemas/problems.h"
#include "base/mem.h"
#include <stdarg.h>
#include <stdlib.h>

/* What a file says is quoted in complaints about it, and goes to a terminal: no control characters from there. */
static char *printable(char *s)
{
	for (char *c = s; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?';
	return s;
}

void greta_problems_add(struct greta_problems *p, bool warning, int line, int column, const char *path, const char *fmt,
			...)
{
	struct greta_problem *item = GRETA_PUSH(p->items, p->n, p->cap);
	struct greta_buf text = {0};
	va_list ap;

	va_start(ap, fmt);
	greta_buf_vaddf(&text, fmt, ap);
	va_end(ap);
	*item = (struct greta_problem){
		.line = line,
		.column = column,
		.path = printable(greta_strdup(path ? path : "")),
		.text = printable(greta_buf_steal(&text)),
		.warning = warning,
	};
}

size_t greta_problems_errors(const struct greta_problems *p)
{
	size_t n = 0;

	for (size_t i = 0; i < p->n; i++)
		n += !p->items[i].warning;
	return n;
}

void greta_problems_print(const struct greta_problems *p, const char *file, struct greta_buf *out)
{
	for (size_t i = 0; i < p->n; i++) {
		const struct greta_problem *item = &p->items[i];

		greta_buf_adds(out, file);
		if (item->line > 0)
			greta_buf_addf(out, ":%d:%d", item->line, item->column);
		greta_buf_addf(out, ": %s%s%s%s\n", item->warning ? "warning: " : "", item->path,
			       item->path[0] ? ": " : "", item->text);
	}
}

void greta_problems_release(struct greta_problems *p)
{
	for (size_t i = 0; i < p->n; i++) {
		free(p->items[i].path);
		free(p->items[i].text);
	}
	free(p->items);
	*p = (struct greta_problems){0};
}
