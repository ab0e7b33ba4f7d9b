#include "base/err.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define TEXT_MAX sizeof((struct greta_err *)0)->text

static const char *const code_names[] = {
#define X(name) #name,
	GRETA_CODES(X)
#undef X
};

const char *greta_code_name(enum greta_code code)
{
	if ((unsigned)code >= sizeof code_names / sizeof code_names[0])
		return "?";
	return code_names[code];
}

/* What was left out must show: a cut text ends in "...", and never in half a UTF-8 character. */
static void mark_cut(char *text, size_t cap, int wanted)
{
	if (wanted < 0 || (size_t)wanted < cap)
		return;
	size_t end = cap - 4;
	while (end > 0 && ((unsigned char)text[end] & 0xc0) == 0x80)
		end--;
	memcpy(text + end, "...", 4);
}

/* Formats beside *e, since the arguments may point into e->text. */
static void format(char *out, size_t cap, const char *fmt, va_list ap)
{
	out[0] = '\0';
	mark_cut(out, cap, vsnprintf(out, cap, fmt, ap));
}

int greta_err_set(struct greta_err *e, enum greta_code code, const char *fmt, ...)
{
	if (!e)
		return -1;
	char text[TEXT_MAX];
	va_list ap;
	va_start(ap, fmt);
	format(text, sizeof text, fmt, ap);
	va_end(ap);
	e->code = code;
	e->sys = 0;
	memcpy(e->text, text, sizeof text);
	return -1;
}

static enum greta_code code_of_errno(int sys)
{
	switch (sys) {
	case ENOENT:
		return GRETA_ENOENT;
	case EEXIST:
		return GRETA_EEXIST;
	case EAGAIN:
		return GRETA_EAGAIN;
	case EBUSY:
		return GRETA_EBUSY;
	case ETIMEDOUT:
		return GRETA_ETIMEOUT;
	case ENOSPC:
	case EDQUOT:
		return GRETA_ENOSPC;
	case ENOMEM:
		return GRETA_ENOMEM;
	case ENOSYS:
	case EOPNOTSUPP:
		return GRETA_EUNSUPPORTED;
	case EPIPE:
	case ECONNRESET:
		return GRETA_ECLOSED;
	default:
		return GRETA_EFAIL;
	}
}

int greta_err_sys(struct greta_err *e, const char *fmt, ...)
{
	int sys = errno;
	if (!e)
		return -1;
	char words[96], text[TEXT_MAX];
	const char *why = strerror_r(sys, words, sizeof words);
	va_list ap;
	va_start(ap, fmt);
	/* Room is kept for errno's words: of a long text, they matter most. */
	format(text, sizeof text - strnlen(why, 96) - 2, fmt, ap);
	va_end(ap);
	e->code = code_of_errno(sys);
	e->sys = sys;
	mark_cut(e->text, sizeof e->text, snprintf(e->text, sizeof e->text, "%s: %s", text, why));
	errno = sys;
	return -1;
}

int greta_err_wrap(struct greta_err *e, const char *fmt, ...)
{
	if (!e)
		return -1;
	char before[TEXT_MAX], was[TEXT_MAX];
	va_list ap;
	va_start(ap, fmt);
	format(before, sizeof before, fmt, ap);
	va_end(ap);
	memcpy(was, e->text, sizeof was);
	mark_cut(e->text, sizeof e->text, snprintf(e->text, sizeof e->text, "%s: %s", before, was));
	return -1;
}
