#include "orchestrator/report/excerpt.h"
#include "base/mem.h"
#include "base/str.h"
#include <ctype.h>
#include <string.h>

#define LINES 10          /* of the end of a log */
#define FRAMES 6          /* of a stack */
#define STACKS 6
#define LINE_MAX_BYTES 160

static void put_line(const char *line, size_t n, struct greta_buf *out)
{
	size_t kept = n < LINE_MAX_BYTES ? n : LINE_MAX_BYTES;
	greta_buf_adds(out, "  ");
	for (size_t i = 0; i < kept; i++)
		greta_buf_addc(out, iscntrl((unsigned char)line[i]) ? ' ' : line[i]);
	greta_buf_adds(out, n > kept ? " ...\n" : "\n");
}

static const char *next_line(const char *line)
{
	size_t n = strcspn(line, "\n");
	return line + n + (line[n] == '\n');
}

/* The last lines. */
static void put_end(const char *text, size_t lines, struct greta_buf *out)
{
	size_t total = 0;
	for (const char *line = text; *line; line = next_line(line))
		total++;
	if (total > lines)
		greta_buf_addf(out, "  (%zu lines before)\n", total - lines);
	for (const char *line = text; *line; line = next_line(line))
		if (total-- <= lines)
			put_line(line, strcspn(line, "\n"), out);
}

/* Headings and innermost frames, as gdb prints them. */
static void put_stacks(const char *text, struct greta_buf *out)
{
	size_t stacks = 0, frames = 0;
	for (const char *line = text; *line; line = next_line(line)) {
		size_t n = strcspn(line, "\n");
		if (greta_str_starts(line, "Thread ")) {
			if (++stacks > STACKS) {
				greta_buf_adds(out, "  (more threads)\n");
				return;
			}
			frames = 0;
			put_line(line, n, out);
		} else if (stacks && *line == '#' && frames++ < FRAMES) {
			put_line(line, n, out);
		}
	}
	if (stacks == 0)
		put_end(text, 3, out);
}

/* Which way the readings went: their names and the last rows. */
static void put_rows(const char *text, struct greta_buf *out)
{
	put_line(text, strcspn(text, "\n"), out);
	put_end(next_line(text), 3, out);
}

bool excerpt_of(const char *name, const char *text, struct greta_buf *out)
{
	static const char *const ends[] = {"breadcrumb", "kernel_log", "log_tail"};
	if (greta_str_eq(name, "debugger"))
		put_stacks(text, out);
	else if (greta_str_eq(name, "black_box"))
		put_rows(text, out);
	else if (!greta_str_eq(name, ends[0]) && !greta_str_eq(name, ends[1]) && !greta_str_eq(name, ends[2]))
		return false;
	else if (*text)
		put_end(text, LINES, out);
	else
		greta_buf_adds(out, "  (nothing)\n");
	return true;
}
