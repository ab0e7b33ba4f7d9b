#include "base/trace.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/jsonw.h"
#include "base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct {
	const char *program;
	int64_t start_ns;
	int fd; /* 0: off */
} trace;

static double since_s(int64_t mono_ns)
{
	return (double)(greta_clock_mono_ns() - mono_ns) / (double)GRETA_NS_PER_S;
}

static struct greta_jsonw line_begin(struct greta_buf *line, const char *kind)
{
	struct greta_jsonw w = greta_jsonw(line);
	greta_jsonw_object(&w, NULL);
	greta_jsonw_f64(&w, "t", since_s(trace.start_ns));
	greta_jsonw_str(&w, "program", trace.program);
	greta_jsonw_i64(&w, "pid", getpid());
	greta_jsonw_str(&w, "trace", kind);
	return w;
}

/* One write with O_APPEND: lines of several processes in one file stay whole. */
static void line_end(struct greta_jsonw *w)
{
	int saved = errno;
	greta_jsonw_end_object(w);
	greta_buf_addc(w->out, '\n');
	while (write(trace.fd, w->out->data, w->out->len) < 0 && errno == EINTR)
		;
	greta_buf_release(w->out);
	errno = saved;
}

static int open_target(const char *target)
{
	if (strcmp(target, "2") == 0)
		return STDERR_FILENO;
	int fd = open(target, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		greta_warn("GRETA_TRACE=%s can't be opened (%s); running without a trace", target, strerror(errno));
	return fd < 0 ? 0 : fd;
}

void greta_trace_start(const char *program, char **argv)
{
	trace.program = program;
	trace.start_ns = greta_clock_mono_ns();
	const char *target = getenv("GRETA_TRACE");
	if (!target || !*target)
		return;
	trace.fd = open_target(target);
	if (!trace.fd)
		return;
	struct greta_buf line = {0};
	struct greta_jsonw w = line_begin(&line, "start");
	greta_jsonw_array(&w, "argv");
	for (; argv && *argv; argv++)
		greta_jsonw_str(&w, NULL, *argv);
	greta_jsonw_end_array(&w);
	line_end(&w);
}

bool greta_trace_on(void)
{
	return trace.fd != 0;
}

void greta_trace_event(const char *name, const char *fmt, ...)
{
	if (!trace.fd)
		return;
	cleanup_buf struct greta_buf detail = {0};
	va_list ap;
	va_start(ap, fmt);
	greta_buf_vaddf(&detail, fmt, ap);
	va_end(ap);
	struct greta_buf line = {0};
	struct greta_jsonw w = line_begin(&line, "event");
	greta_jsonw_str(&w, "name", name);
	greta_jsonw_str(&w, "detail", greta_buf_str(&detail));
	line_end(&w);
}

int64_t greta_trace_region_begin(void)
{
	return trace.fd ? greta_clock_mono_ns() : 0;
}

void greta_trace_region_end(const char *name, int64_t begun)
{
	if (!trace.fd)
		return;
	struct greta_buf line = {0};
	struct greta_jsonw w = line_begin(&line, "region");
	greta_jsonw_str(&w, "name", name);
	greta_jsonw_f64(&w, "s", since_s(begun));
	line_end(&w);
}

void greta_trace_exit(int code)
{
	if (!trace.fd)
		return;
	struct greta_buf line = {0};
	struct greta_jsonw w = line_begin(&line, "exit");
	greta_jsonw_i64(&w, "code", code);
	greta_jsonw_f64(&w, "s", since_s(trace.start_ns));
	line_end(&w);
}
