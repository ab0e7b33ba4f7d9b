#include "orchestrator/print/term.h"
#include "base/str.h"
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

void term_measure(struct term *t)
{
	struct winsize w;
	t->width = 80;
	t->height = 24;
	if (t->tty && ioctl(t->fd, TIOCGWINSZ, &w) == 0 && w.ws_col >= 20) {
		t->width = w.ws_col;
		t->height = w.ws_row ? w.ws_row : 24;
	}
}

struct term term_of(int fd, enum cmd_color color)
{
	const char *name = getenv("TERM");
	struct term t = {.fd = fd, .tty = isatty(fd) && name && !greta_str_eq(name, "dumb")};
	const char *no_color = getenv("NO_COLOR");
	t.color = color == CMD_COLOR_ALWAYS || (color == CMD_COLOR_AUTO && t.tty && !(no_color && *no_color));
	term_measure(&t);
	return t;
}

void term_add(const struct term *t, struct greta_buf *out, enum term_style style, const char *text)
{
	static const char *const codes[] = {
		[TERM_BOLD] = "1", [TERM_DIM] = "2", [TERM_GOOD] = "32", [TERM_WARN] = "33", [TERM_BAD] = "31",
	};
	if (!t->color || style == TERM_PLAIN)
		greta_buf_adds(out, text);
	else
		greta_buf_addf(out, "\033[%sm%s\033[0m", codes[style], text);
}

/* One character of UTF-8: its length in bytes and the columns it takes. Malformed bytes count as one column each. */
static size_t next_char(const char *s, int *columns)
{
	unsigned char c = (unsigned char)*s;
	if (c == '\033' && s[1] == '[') {
		size_t n = 2;
		while (s[n] && !(s[n] >= '@' && s[n] <= '~'))
			n++;
		*columns = 0;
		return s[n] ? n + 1 : n;
	}
	size_t n = c < 0x80 ? 1 : (c >> 5) == 6 ? 2 : (c >> 4) == 14 ? 3 : (c >> 3) == 30 ? 4 : 1;
	for (size_t i = 1; i < n; i++)
		if (((unsigned char)s[i] & 0xC0) != 0x80)
			n = 1;
	*columns = c < 0x20 ? 0 : 1;
	return n;
}

int term_columns(const char *text)
{
	int total = 0;
	while (*text) {
		int columns;
		text += next_char(text, &columns);
		total += columns;
	}
	return total;
}

size_t term_fit(const char *text, int columns)
{
	const char *s = text;
	while (*s) {
		int c;
		size_t n = next_char(s, &c);
		if (c > columns)
			break;
		columns -= c;
		s += n;
	}
	return (size_t)(s - text);
}
