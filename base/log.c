#include "base/log.h"
#include "base/buf.h"
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

static struct {
	const char *program;
	enum greta_log_level level;
	int fd;
} log_to = {.level = GRETA_LOG_INFO, .fd = STDERR_FILENO};

static const struct {
	const char *word, *colour;
} looks[] = {
	[GRETA_LOG_ERROR] = {"error: ", "\033[1;31m"},
	[GRETA_LOG_WARN] = {"warning: ", "\033[1;33m"},
	[GRETA_LOG_INFO] = {"", ""},
	[GRETA_LOG_DEBUG] = {"debug: ", "\033[2m"},
};

void greta_log_init(const char *program, enum greta_log_level level)
{
	log_to.program = program;
	log_to.level = level;
}

void greta_log_level_set(enum greta_log_level level)
{
	log_to.level = level;
}

void greta_log_to_fd(int fd)
{
	log_to.fd = fd;
}

static bool wants_colour(int fd)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
	return !(no && *no) && term && *term && !(term[0] == 'd' && term[1] == 'u') && isatty(fd);
}

static void add_head(struct greta_buf *line, enum greta_log_level level)
{
	if (log_to.program)
		greta_buf_addf(line, "%s: ", log_to.program);
	if (*looks[level].word && wants_colour(log_to.fd))
		greta_buf_addf(line, "%s%s\033[0m", looks[level].colour, looks[level].word);
	else
		greta_buf_adds(line, looks[level].word);
}

/* Messages quote what nodes and engines sent: none of it may drive the operator's terminal. */
static void defuse(char *s)
{
	for (; *s; s++)
		if (((unsigned char)*s < ' ' && *s != '\n' && *s != '\t') || *s == 0x7f)
			*s = '?';
}

void greta_log(enum greta_log_level level, const char *fmt, ...)
{
	if (level > log_to.level || log_to.fd < 0)
		return;
	int saved = errno;
	cleanup_buf struct greta_buf line = {0};
	add_head(&line, level);
	size_t head = line.len;
	va_list ap;
	va_start(ap, fmt);
	greta_buf_vaddf(&line, fmt, ap);
	va_end(ap);
	defuse(line.data + head);
	if (line.data[line.len - 1] != '\n')
		greta_buf_addc(&line, '\n');
	while (write(log_to.fd, line.data, line.len) < 0 && errno == EINTR)
		;
	errno = saved;
}
