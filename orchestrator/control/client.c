#include "orchestrator/control/client.h"

#include "base/child.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/jsonw.h"
#include "base/mem.h"
#include "orchestrator/control/control.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define OPEN_NS (15 * GRETA_NS_PER_S) /* another command may hold the database just now */
#define AGAIN_MS 30
#define LINES_MAX 64                  /* of what came unasked while an answer was waited for: the newest count */

struct client {
	int fd;
	pid_t pid;
	int64_t next_re;
	struct greta_buf in;
	struct greta_json *lines[LINES_MAX];
	size_t n_lines;
	struct greta_json **early;    /* answers that nobody has waited for yet */
	size_t n_early, cap_early;
};

/* ---- opening */

static int try_connect(const char *db_path, struct greta_err *e)
{
	struct sockaddr_un address;
	cleanup_fd int dir = -1;
	int fd;

	if (control_address(db_path, &address, &dir, e) < 0)
		return -1;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return greta_err_sys(e, "socket");
	if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
		return fd;
	greta_err_set(e, errno == ENOENT || errno == ECONNREFUSED ? GRETA_EAGAIN : GRETA_EFAIL,
		      "no controller listens on %s.sock", db_path);
	close(fd);
	return -1;
}

static enum greta_code parse_code(const char *name, size_t n)
{
	for (enum greta_code c = GRETA_OK; c <= GRETA_ECANCELLED; c++)
		if (strlen(greta_code_name(c)) == n && !strncmp(greta_code_name(c), name, n))
			return c;
	return GRETA_EFAIL;
}

static int make_folder(const char *db_path, struct greta_err *e)
{
	const char *slash = strrchr(db_path, '/');
	cleanup_free char *dir = slash && slash != db_path ? greta_strndup(db_path, (size_t)(slash - db_path)) : NULL;

	return dir ? greta_fs_mkdirs(dir, 0700, e) : 0;
}

/* Says what it did once it listens or has given up. 0: it listens; -1 EBUSY: another was quicker. */
static int hear_ready(int fd, struct greta_err *e)
{
	char text[600];
	size_t n = 0, word;
	ssize_t got;

	while (n < sizeof text - 1 && (got = read(fd, text + n, sizeof text - 1 - n)) != 0) {
		if (got < 0 && errno != EINTR)
			break;
		n += got > 0 ? (size_t)got : 0;
	}
	text[n] = '\0';
	text[strcspn(text, "\n")] = '\0';
	if (greta_str_eq(text, "ok"))
		return 0;
	word = strcspn(text, " ");
	if (!text[word])
		return greta_err_set(e, GRETA_EFAIL, "the controller died while it started");
	return greta_err_set(e, parse_code(text, word), "%s", text + word + 1);
}

/* A session of its own, so that the end of this terminal is not its end. */
static int start_controller(const char *db_path, pid_t *pid, struct greta_err *e)
{
	cleanup_free char *log_path = greta_format("%s.log", db_path);
	cleanup_free char *self = realpath("/proc/self/exe", NULL);
	const char *const argv[] = {self, "controller", "--db", db_path, "--ready-fd", "3", NULL};
	cleanup_fd int log = -1, mine = -1;
	int fds[2];

	if (!self)
		return greta_err_sys(e, "/proc/self/exe");
	log = open(log_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	if (log < 0)
		return greta_err_sys(e, "%s", log_path);
	if (pipe2(fds, O_CLOEXEC) < 0)
		return greta_err_sys(e, "pipe");
	mine = fds[0];
	*pid = greta_child_spawn(&(struct greta_child_spec){
		.argv = argv,
		.fds = (const struct greta_child_fd[]){{log, 1}, {log, 2}, {fds[1], 3}},
		.n_fds = 3,
		.new_session = true,
	}, e);
	close(fds[1]);
	return *pid < 0 ? -1 : hear_ready(mine, e);
}

static int next_line(struct client *c, int timeout_ms, struct greta_json **out, struct greta_err *e);

/* Connected is not accepted: the controller may be ending. */
static int hear_hello(struct client *c, struct greta_err *e)
{
	struct greta_json *hello = NULL;
	struct greta_err why = {0};
	int64_t pid = 0;

	if (next_line(c, -1, &hello, &why) < 0) {
		close(c->fd);
		greta_buf_clear(&c->in);
		return greta_err_set(e, why.code == GRETA_ECLOSED ? GRETA_EAGAIN : why.code, "%s", why.text);
	}
	greta_json_i64(greta_json_get(greta_json_get(greta_json_root(hello), "hello"), "pid"), &pid);
	greta_json_destroy(hello);
	c->pid = (pid_t)pid;
	return 0;
}

struct client *client_open(const char *db_path, bool start, struct greta_err *e)
{
	int64_t give_up_ns = greta_clock_mono_ns() + OPEN_NS;
	struct client *c = greta_alloc(sizeof *c);
	struct greta_err why = {0};

	if (make_folder(db_path, e) < 0) {
		free(c);
		return NULL;
	}
	for (;;) {
		why = (struct greta_err){0};
		c->fd = try_connect(db_path, &why);
		if (c->fd >= 0 && hear_hello(c, &why) == 0)
			return c;
		if (why.code != GRETA_EAGAIN || !start)
			break;
		why = (struct greta_err){0};
		if (start_controller(db_path, &c->pid, &why) == 0)
			continue;
		if (why.code != GRETA_EBUSY || greta_clock_mono_ns() > give_up_ns)
			break;
		poll(NULL, 0, AGAIN_MS);
	}
	greta_buf_release(&c->in);
	free(c);
	greta_err_set(e, why.code, "%s", why.text);
	return NULL;
}

void client_close(struct client *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->n_lines; i++)
		greta_json_destroy(c->lines[i]);
	for (size_t i = 0; i < c->n_early; i++)
		greta_json_destroy(c->early[i]);
	free(c->early);
	close(c->fd);
	greta_buf_release(&c->in);
	free(c);
}

pid_t client_pid(const struct client *c)
{
	return c->pid;
}

int client_fd(const struct client *c)
{
	return c->fd;
}

/* ---- lines */

/* 1 a line; 0: none within timeout_ms, or a signal came; -1. timeout_ms -1: as long as it takes, signals or not. */
static int next_line(struct client *c, int timeout_ms, struct greta_json **out, struct greta_err *e)
{
	for (;;) {
		char *end = c->in.len ? memchr(c->in.data, '\n', c->in.len) : NULL;
		struct pollfd p = {.fd = c->fd, .events = POLLIN};
		ssize_t n;

		if (end) {
			size_t len = (size_t)(end - c->in.data);

			*out = greta_json_parse("controller", c->in.data, len, e);
			greta_buf_consume(&c->in, len + 1);
			return *out ? 1 : -1;
		}
		n = poll(&p, 1, timeout_ms);
		if (n == 0 || (n < 0 && errno == EINTR && timeout_ms >= 0))
			return 0;
		if (n < 0 && errno == EINTR)
			continue;
		n = recv(c->fd, greta_buf_reserve(&c->in, 65536), 65536, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != ECONNRESET)
			return greta_err_sys(e, "the controller's socket");
		if (n <= 0)
			return greta_err_set(e, GRETA_ECLOSED, "the controller (pid %d) is gone; `greta-orch resume` goes "
					     "on from where it was", (int)c->pid);
		c->in.len += (size_t)n;
		c->in.data[c->in.len] = '\0';
	}
}

static void keep_line(struct client *c, struct greta_json *j)
{
	if (c->n_lines == LINES_MAX) {
		greta_json_destroy(c->lines[0]);
		memmove(c->lines, c->lines + 1, --c->n_lines * sizeof *c->lines);
	}
	c->lines[c->n_lines++] = j;
}

int client_next(struct client *c, int timeout_ms, struct greta_json **out, struct greta_err *e)
{
	if (!c->n_lines)
		return next_line(c, timeout_ms, out, e);
	*out = c->lines[0];
	memmove(c->lines, c->lines + 1, --c->n_lines * sizeof *c->lines);
	return 1;
}

int64_t client_ask(struct client *c, const char *op, const char *args, struct greta_err *e)
{
	cleanup_buf struct greta_buf line = {0};
	struct greta_jsonw w = greta_jsonw(&line);
	const char *members = args ? strchr(args, '{') : NULL;

	greta_jsonw_object(&w, NULL);
	greta_jsonw_i64(&w, "re", ++c->next_re);
	greta_jsonw_str(&w, "op", op);
	if (members && members[1 + strspn(members + 1, " ")] != '}')
		greta_buf_addf(&line, ",%s", members + 1);
	else
		greta_jsonw_end_object(&w);
	greta_buf_addc(&line, '\n');
	return greta_fs_write_all(c->fd, line.data, line.len, e) < 0 ? -1 : c->next_re;
}

static int refusal(const struct greta_json_val *error, struct greta_err *e)
{
	const char *code = "EFAIL", *text = "refused";

	greta_json_str(greta_json_get(error, "code"), &code);
	greta_json_str(greta_json_get(error, "text"), &text);
	return greta_err_set(e, parse_code(code, strlen(code)), "%s", text);
}

static int64_t answers_what(const struct greta_json *j)
{
	int64_t re = 0;

	greta_json_i64(greta_json_get(greta_json_root(j), "re"), &re);
	return re;
}

/* An answer that came while another was waited for; NULL: it is still to come. */
static struct greta_json *early_answer(struct client *c, int64_t re)
{
	for (size_t i = 0; i < c->n_early; i++) {
		struct greta_json *j = c->early[i];

		if (answers_what(j) != re)
			continue;
		c->early[i] = c->early[--c->n_early];
		return j;
	}
	return NULL;
}

struct greta_json *client_answer(struct client *c, int64_t re, struct greta_err *e)
{
	struct greta_json *j = early_answer(c, re);
	const struct greta_json_val *error;

	while (!j) {
		if (next_line(c, -1, &j, e) < 0)
			return NULL;
		if (answers_what(j) == re)
			break;
		if (answers_what(j))
			*GRETA_PUSH(c->early, c->n_early, c->cap_early) = j;
		else
			keep_line(c, j);
		j = NULL;
	}
	error = greta_json_get(greta_json_root(j), "error");
	if (!error)
		return j;
	refusal(error, e);
	greta_json_destroy(j);
	return NULL;
}

struct greta_json *client_call(struct client *c, const char *op, const char *args, struct greta_err *e)
{
	int64_t re = client_ask(c, op, args, e);

	return re < 0 ? NULL : client_answer(c, re, e);
}

struct greta_json *client_action(const char *db_path, const char *name, const char *args, struct greta_err *e)
{
	struct client *c = client_open(db_path, true, e);
	cleanup_buf struct greta_buf request = {0};
	struct greta_jsonw w = greta_jsonw(&request);
	struct greta_json *answer;

	if (!c)
		return NULL;
	greta_jsonw_object(&w, NULL);
	greta_jsonw_str(&w, "name", name);
	greta_jsonw_raw(&w, "args", args ? args : "{}");
	greta_jsonw_end_object(&w);
	answer = client_call(c, "action", greta_buf_str(&request), e);
	client_close(c);
	return answer;
}
