/* CONFIG: what the user's ssh configuration says of a host, as `ssh -G` resolves it, or did before. */
#include "orchestrator/remote/ssh_conn.h"

#include "base/child.h"
#include "base/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#define CONFIG_DEADLINE_MS 10000    /* Match exec may run programs */

static void take_answer(struct ssh_conn *c)
{
	struct greta_err why = {0};

	if (ssh_settings_parse(&c->node, greta_buf_str(&c->config_out), c->config_out.len, &c->settings, &why) < 0) {
		ssh_conn_fail(c, TRANSPORT_REFUSED, &why);
		return;
	}
	greta_buf_release(&c->config_out);
	ssh_gate_leave(&c->gate);
	ssh_conn_state(c, CONN_GATE, 0);
	ssh_gate_enter(&c->gate, c->pool, ssh_settings_bastion(&c->settings), ssh_conn_dial, c);
}

static void config_end(struct ssh_conn *c)
{
	struct greta_err why = {0};

	if (c->config_io || c->config_child)
		return; /* both the output's end and the exit status are needed */
	close(c->config_fd);
	c->config_fd = -1;
	if (!WIFEXITED(c->config_status) || WEXITSTATUS(c->config_status) != 0) {
		for (char *at = c->config_out.data; at && *at; at++)
			if (*at == '\n' || *at == '\r')
				*at = ' ';
		greta_err_set(&why, GRETA_EINVAL, "the ssh configuration is not usable: %.300s",
			      greta_buf_str(&c->config_out));
		ssh_conn_fail(c, TRANSPORT_REFUSED, &why);
		return;
	}
	ssh_answer_keep(&c->question, greta_buf_str(&c->config_out), c->config_out.len);
	take_answer(c);
}

static void on_config_out(struct greta_watch *w, uint32_t events, void *arg)
{
	struct ssh_conn *c = arg;
	ssize_t n = read(c->config_fd, greta_buf_reserve(&c->config_out, 16384), 16384);

	(void)events;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0 && c->config_out.len < (1 << 20)) {
		c->config_out.len += (size_t)n;
		c->config_out.data[c->config_out.len] = '\0';
		return;
	}
	greta_watch_remove(w);
	c->config_io = NULL;
	config_end(c);
}

static void on_config_end(struct greta_watch *w, uint32_t status, void *arg)
{
	struct ssh_conn *c = arg;

	(void)w;
	c->config_child = NULL;
	c->config_pid = 0;
	c->config_status = (int)status;
	config_end(c);
}

static void ask_ssh(struct ssh_conn *c, const struct greta_strs *argv)
{
	struct greta_err why = {0};
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0) {
		greta_err_sys(&why, "pipe");
		ssh_conn_fail(c, TRANSPORT_RETRY, &why);
		return;
	}
	c->config_pid = greta_child_spawn(&(struct greta_child_spec){
		.argv = (const char *const *)argv->items,
		.fds = (const struct greta_child_fd[]){{fds[1], 1}, {fds[1], 2}},
		.n_fds = 2,
		.new_session = true,
	}, &why);
	close(fds[1]);
	c->config_fd = fds[0];
	if (c->config_pid < 0 || greta_fs_set_nonblock(c->config_fd, &why) < 0) {
		ssh_conn_fail(c, TRANSPORT_RETRY, &why);
		return;
	}
	c->config_io = greta_loop_fd(c->loop, c->config_fd, EPOLLIN, on_config_out, c);
	c->config_child = greta_loop_child(c->loop, c->config_pid, on_config_end, c);
}

void ssh_config_begin(void *arg)
{
	struct ssh_conn *c = arg;
	cleanup_strs struct greta_strs argv = {0};

	ssh_conn_state(c, CONN_CONFIG, CONFIG_DEADLINE_MS);
	ssh_settings_command(&c->node, &argv);
	ssh_question_take(&argv, ssh_settings_file(&c->node), &c->question);
	if (ssh_answer_find(&c->question, &c->config_out))
		take_answer(c);
	else
		ask_ssh(c, &argv);
}

static void on_orphan(struct greta_watch *w, uint32_t status, void *arg)
{
	(void)w;
	(void)status;
	(void)arg;
}

void ssh_config_abandon(struct ssh_conn *c)
{
	greta_watch_remove(c->config_io);
	greta_watch_remove(c->config_child);
	if (c->config_pid > 0) {
		kill(-c->config_pid, SIGKILL);
		greta_loop_child(c->loop, c->config_pid, on_orphan, NULL);
	}
	if (c->config_fd >= 0)
		close(c->config_fd);
	greta_buf_release(&c->config_out);
}
