#include "orchestrator/control/file_hash.h"

#include "base/cleanup.h"
#include "base/mem.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>

/* What a thread works on; whoever comes second, thread or owner, frees it. */
struct work {
	char *path;
	char sha256[GRETA_SHA256_HEX + 1];
	struct greta_err why;
	int done_fd;
	atomic_bool one_left;
};

struct file {
	struct file_hashes *owner;
	char *path;
	struct stat st;
	char sha256[GRETA_SHA256_HEX + 1]; /* "": not yet */
	struct greta_err why;
	struct work *work;
	int fd;
	struct greta_watch *watch;
};

struct file_hashes {
	struct greta_loop *loop;
	void (*done)(void *arg);
	void *arg;
	struct file **files;
	size_t n, cap;
};

struct file_hashes *file_hashes_create(struct greta_loop *loop, void (*done)(void *arg), void *arg)
{
	struct file_hashes *h = greta_alloc(sizeof *h);

	h->loop = loop;
	h->done = done;
	h->arg = arg;
	return h;
}

static void work_drop(struct work *w)
{
	if (!atomic_exchange(&w->one_left, true))
		return;
	free(w->path);
	free(w);
}

static void *work_run(void *arg)
{
	struct work *w = arg;
	int fd = w->done_fd;

	greta_sha256_file(w->path, w->sha256, &w->why);
	work_drop(w);
	close(fd);
	return NULL;
}

static void file_stop(struct file *f)
{
	greta_watch_remove(f->watch);
	f->watch = NULL;
	if (f->work) {
		work_drop(f->work);
		close(f->fd);
	}
	f->work = NULL;
}

static void on_done(struct greta_watch *w, uint32_t events, void *arg)
{
	struct file *f = arg;
	struct file_hashes *h = f->owner;

	(void)w;
	(void)events;
	f->why = f->work->why;
	greta_str_copy(f->sha256, sizeof f->sha256, f->work->sha256);
	file_stop(f);
	h->done(h->arg);
}

static int file_start(struct file *f, struct greta_err *e)
{
	struct work *w = greta_alloc(sizeof *w);
	pthread_t thread;
	int fds[2], rc;

	if (pipe2(fds, O_CLOEXEC) < 0) {
		free(w);
		return greta_err_sys(e, "pipe");
	}
	w->path = greta_strdup(f->path);
	w->done_fd = fds[1];
	rc = pthread_create(&thread, NULL, work_run, w);
	if (rc) {
		close(fds[0]);
		close(fds[1]);
		free(w->path);
		free(w);
		errno = rc;
		return greta_err_sys(e, "a thread to hash %s", f->path);
	}
	pthread_detach(thread);
	f->work = w;
	f->fd = fds[0];
	f->watch = greta_loop_fd(f->owner->loop, f->fd, EPOLLIN, on_done, f);
	return 0;
}

static bool same(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
	       a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

static struct file *find(struct file_hashes *h, const char *path)
{
	struct file *f;

	for (size_t i = 0; i < h->n; i++)
		if (greta_str_eq(h->files[i]->path, path))
			return h->files[i];
	f = greta_alloc(sizeof *f);
	f->owner = h;
	f->path = greta_strdup(path);
	*GRETA_PUSH(h->files, h->n, h->cap) = f;
	return f;
}

int file_hash(struct file_hashes *h, const char *path, char sha256[GRETA_SHA256_HEX + 1], int64_t *bytes,
	      struct greta_err *e)
{
	struct file *f = find(h, path);
	struct stat st;

	if (stat(path, &st) < 0)
		return greta_err_sys(e, "%s", path);
	if (!S_ISREG(st.st_mode))
		return greta_err_set(e, GRETA_EINVAL, "%s is not a file", path);
	if (!same(&st, &f->st)) {
		file_stop(f);
		f->st = st;
		f->sha256[0] = '\0';
		f->why = (struct greta_err){0};
		return file_start(f, e);
	}
	if (f->work)
		return 0;
	if (f->why.code)
		return greta_err_set(e, f->why.code, "%s", f->why.text);
	greta_str_copy(sha256, GRETA_SHA256_HEX + 1, f->sha256);
	*bytes = f->st.st_size;
	return 1;
}

void file_hashes_destroy(struct file_hashes *h)
{
	if (!h)
		return;
	for (size_t i = 0; i < h->n; i++) {
		file_stop(h->files[i]);
		free(h->files[i]->path);
		free(h->files[i]);
	}
	free(h->files);
	free(h);
}
