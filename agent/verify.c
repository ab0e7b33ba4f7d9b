#include "agent/verify.h"
#include "agent/gc.h"
#include "agent/hash.h"
#include "agent/kernels.h"
#include "agent/model.h"
#include "agent/take.h"
#include "base/buf.h"
#include "base/fs.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define ANSWER_MAX (HASH_LINE_MAX + 8) /* also larger than an error's text */

/* One line of a spec: "SHA256 PATH". */
static int verify_one(const char *cache, const char *line, struct greta_err *e)
{
	char is[GRETA_SHA256_HEX + 1];
	if (strlen(line) < GRETA_SHA256_HEX + 2 || line[GRETA_SHA256_HEX] != ' ')
		return greta_err_set(e, GRETA_EINVAL, "verify: expected \"SHA256 PATH\", found \"%.100s\"", line);
	const char *path = line + GRETA_SHA256_HEX + 1;
	if (hash_file(cache, path, is, e) != 0)
		return -1;
	if (strncmp(line, is, GRETA_SHA256_HEX) == 0)
		return 0;
	return greta_err_set(e, GRETA_EFAIL, "%s is not what the campaign was submitted with: its sha256 is %.12s..., not %.12s...",
			     path, is, line);
}

/* "ok " and the model's identity, or nothing behind it where there is no such file (an engine may bring its own idea of a
 * model). */
static void model_identity(const struct supervise *s, char out[ANSWER_MAX])
{
	char line[HASH_LINE_MAX] = "";
	struct stat st;
	const char *path = s->spec.model;
	if (path && stat(path, &st) == 0 && S_ISREG(st.st_mode) && model_identify(s->paths->cache, path, line, NULL) != 0)
		line[0] = '\0';
	snprintf(out, ANSWER_MAX, "ok %s", line);
}

static int verify_files(const struct supervise *s, struct greta_err *e)
{
	for (size_t i = 0; i < s->spec.verify.n; i++) {
		if (verify_one(s->paths->cache, s->spec.verify.items[i], e) != 0)
			return -1;
		gc_touch(s->paths, s->spec.verify.items[i] + GRETA_SHA256_HEX + 1);
	}
	return 0;
}

static _Noreturn void verify_all(const struct supervise *s, pid_t parent, int fd)
{
	struct greta_err e = {0};
	char answer[ANSWER_MAX];
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (getppid() != parent) /* died before the prctl: its signal will never come */
		_exit(1);
	if (verify_files(s, &e) != 0 || kernels_check(s, &e) != 0) {
		greta_fs_write_all(fd, e.text, strlen(e.text), NULL);
		_exit(1);
	}
	model_identity(s, answer);
	_exit(greta_fs_write_all(fd, answer, strlen(answer), NULL) == 0 ? 0 : 1);
}

static bool take_answer(struct supervise *s, const char *text)
{
	if (strncmp(text, "ok ", 3) != 0)
		return false;
	greta_str_copy(s->model_facts, sizeof s->model_facts, text + 3);
	return true;
}

static void on_verified(struct greta_watch *w, uint32_t events, void *arg)
{
	struct supervise *s = arg;
	struct greta_err e = {0};
	char text[ANSWER_MAX];
	(void)w, (void)events;
	ssize_t n = read(s->verify_fd, text, sizeof text - 1); /* one write, far below a pipe's size */
	text[n > 0 ? n : 0] = '\0';
	verify_cancel(s);
	kernels_keep(s);
	if (take_answer(s, text)) {
		take_begin(s);
		return;
	}
	greta_err_set(&e, GRETA_EFAIL, "%s", n > 0 ? text : "the check of the attempt's files died");
	supervise_fail_start(s, greta_str_starts(e.text, "gate: ") ? "gate" : "verify", &e);
}

void verify_begin(struct supervise *s)
{
	struct greta_err e = {0};
	int ends[2];
	pid_t parent = getpid();
	if (s->spec.verify.n == 0 && !s->spec.model && !s->spec.keep_kernels) {
		take_begin(s);
		return;
	}
	if (pipe2(ends, O_CLOEXEC) != 0 || (s->verify_pid = fork()) < 0) {
		greta_err_sys(&e, "can't check the attempt's files");
		supervise_fail_start(s, "verify", &e);
		return;
	}
	if (s->verify_pid == 0)
		verify_all(s, parent, ends[1]);
	close(ends[1]);
	s->verify_fd = ends[0];
	s->verified = greta_loop_fd(s->loop, s->verify_fd, EPOLLIN, on_verified, s);
}

void verify_cancel(struct supervise *s)
{
	if (!s->verified)
		return;
	greta_watch_remove(s->verified);
	s->verified = NULL;
	close(s->verify_fd);
	kill(s->verify_pid, SIGKILL);
}
