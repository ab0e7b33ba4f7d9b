#include "base/buf.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/jsonw.h"
#include "base/str.h"
#include "engine/infer.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static struct {
	int fd; /* 0: nobody listens */
	int64_t begun_ns;
	uint64_t n_dropped;
	struct greta_buf line;
} progress;

void progress_init(void)
{
	const char *name = getenv("GRETA_PROGRESS_FD");
	int64_t fd;

	progress.begun_ns = greta_clock_mono_ns();
	if (!name || greta_str_i64(name, &fd) || fd < 1 || fd > 1 << 20)
		return;
	if (fcntl((int)fd, F_GETFD) < 0 || greta_fs_set_nonblock((int)fd, NULL))
		return;
	fcntl((int)fd, F_SETFD, FD_CLOEXEC);
	progress.fd = (int)fd;
}

static double since_start(void)
{
	return (double)((greta_clock_mono_ns() - progress.begun_ns) / 1000) / 1e6;
}

/* Lines are shorter than PIPE_BUF, so a write to a pipe takes all or nothing. */
static void send_line(void)
{
	ssize_t n;

	do
		n = write(progress.fd, progress.line.data, progress.line.len);
	while (n < 0 && errno == EINTR);
	if (n == (ssize_t)progress.line.len)
		return;
	progress.n_dropped++;
	if (n < 0 && errno != EAGAIN)
		progress.fd = 0;
}

void progress_tell(const char *phase, uint64_t done, uint64_t total, const char *unit, const char *at)
{
	if (!progress.fd)
		return;
	greta_buf_clear(&progress.line);
	struct greta_jsonw w = greta_jsonw(&progress.line);
	greta_jsonw_object(&w, NULL);
	greta_jsonw_str(&w, "phase", phase);
	greta_jsonw_i64(&w, "done", (int64_t)done);
	greta_jsonw_i64(&w, "total", (int64_t)total);
	greta_jsonw_str(&w, "unit", unit);
	greta_jsonw_f64(&w, "t", since_start());
	if (at)
		greta_jsonw_str(&w, "at", at);
	greta_jsonw_end_object(&w);
	greta_buf_addc(&progress.line, '\n');
	send_line();
}

uint64_t progress_dropped(void)
{
	return progress.n_dropped;
}
