#include "agent/pool_child.h"
#include "base/buf.h"
#include "base/child.h"
#include "base/cleanup.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define AGAIN_MS 5000 /* it should not end; if it does, another one is started */
#define LINE_MAX_BYTES 4096

struct pool_child {
	struct greta_loop *loop;
	char *slurm;
	pool_news_fn *news;
	void *arg;
	int in, out;          /* its standard input and output; -1: it is not there */
	struct greta_watch *output, *child, *again;
	struct greta_buf line;
};

static int start(struct pool_child *c, struct greta_err *e);

static void on_again(struct greta_watch *w, uint32_t events, void *arg)
{
	struct pool_child *c = arg;
	struct greta_err e = {0};
	(void)events;
	greta_watch_remove(w);
	c->again = NULL;
	if (start(c, &e) != 0)
		greta_error("%s", e.text);
}

static void on_end(struct greta_watch *w, uint32_t status, void *arg)
{
	struct pool_child *c = arg;
	char text[64];
	(void)w;
	c->child = NULL;
	greta_watch_remove(c->output);
	c->output = NULL;
	close(c->in);
	close(c->out);
	c->in = c->out = -1;
	greta_error("greta-agent pool ended (%s)", greta_child_status_text((int)status, text));
	c->again = greta_loop_timer(c->loop, AGAIN_MS, 0, on_again, c);
}

static void tell(struct pool_child *c)
{
	char *end;
	while (c->line.len && (end = memchr(c->line.data, '\n', c->line.len))) {
		*end = '\0';
		c->news(c->arg, c->line.data);
		greta_buf_consume(&c->line, (size_t)(end - c->line.data) + 1);
	}
	if (c->line.len > LINE_MAX_BYTES)
		greta_buf_clear(&c->line);
}

static void on_output(struct greta_watch *w, uint32_t events, void *arg)
{
	struct pool_child *c = arg;
	ssize_t n = read(c->out, greta_buf_reserve(&c->line, LINE_MAX_BYTES), LINE_MAX_BYTES);
	(void)events;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		greta_watch_remove(w);
		c->output = NULL;
		return;
	}
	c->line.len += (size_t)n;
	tell(c);
}

static int start(struct pool_child *c, struct greta_err *e)
{
	const char *const argv[] = {"/proc/self/exe", "pool", "--slurm", c->slurm, NULL};
	cleanup_fd int their_in = -1, their_out = -1;
	int in[2], out[2];
	if (pipe2(in, O_CLOEXEC) != 0)
		return greta_err_sys(e, "pipe");
	their_in = in[0];
	c->in = in[1];
	if (pipe2(out, O_CLOEXEC) != 0) {
		close(c->in);
		c->in = -1;
		return greta_err_sys(e, "pipe");
	}
	their_out = out[1];
	c->out = out[0];
	pid_t pid = greta_child_spawn(&(struct greta_child_spec){
		.argv = argv,
		.fds = (const struct greta_child_fd[]){{their_in, 0}, {their_out, 1}},
		.n_fds = 2,
		.new_group = true,
	}, e);
	if (pid < 0 || greta_fs_set_nonblock(c->out, e) != 0)
		return -1;
	c->output = greta_loop_fd(c->loop, c->out, EPOLLIN, on_output, c);
	c->child = greta_loop_child(c->loop, pid, on_end, c);
	return 0;
}

struct pool_child *pool_child_start(struct greta_loop *loop, const char *slurm, pool_news_fn *news, void *arg,
				    struct greta_err *e)
{
	struct pool_child *c = greta_alloc(sizeof *c);
	*c = (struct pool_child){.loop = loop, .slurm = greta_strdup(slurm), .news = news, .arg = arg, .in = -1, .out = -1};
	if (start(c, e) == 0)
		return c;
	pool_child_end(c);
	return NULL;
}

const char *pool_child_settings(const struct pool_child *c)
{
	return c->slurm;
}

void pool_child_end(struct pool_child *c)
{
	if (!c)
		return;
	greta_watch_remove(c->output);
	greta_watch_remove(c->child);
	greta_watch_remove(c->again);
	if (c->in >= 0)
		close(c->in);
	if (c->out >= 0)
		close(c->out);
	greta_buf_release(&c->line);
	free(c->slurm);
	free(c);
}
