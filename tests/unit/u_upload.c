/* Uploads against OpenSSH's own sftp-server, over a socket pair, with a transport that is none. */
#include "tests/unit/unit.h"

#include "base/child.h"
#include "base/cleanup.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/sha256.h"
#include "orchestrator/remote/upload.h"
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

static const char *const servers[] = {"/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server",
				      "/usr/lib/ssh/sftp-server"};

struct fake_stream {
	struct stream base;
	const struct stream_events *ev;
	void *arg;
	int fd;
	pid_t pid;
	bool waits; /* for what may never come: it is killed */
	struct greta_watch *io, *ready;
	size_t left; /* bytes it takes before it is cut */
	bool *gone;
};

struct fake {
	struct transport base;
	struct greta_loop *loop;
	const char *server;
	size_t cut_after;   /* 0: never */
	size_t written;
	bool rival;         /* somebody else renames the part just before it is opened */
	bool wrong_hash;
	int hashes;
	size_t hashed_from; /* written when the last began */
	/* how it ended */
	bool ended;
	char path[300];
	struct greta_err why;
};

static struct fake *current;

static bool is_open(const void *packet, size_t n)
{
	return n > 4 && ((const char *)packet)[4] == 3; /* SSH_FXP_OPEN */
}

static ssize_t fake_write(struct stream *base, const void *bytes, size_t n)
{
	struct fake_stream *s = (struct fake_stream *)base;
	ssize_t wrote;

	if (current->rival && is_open(bytes, n)) {
		current->rival = false;
		assert_int_equal(rename("a/store/folder/model.gguf.part", "a/store/folder/model.gguf"), 0);
	}
	wrote = send(s->fd, bytes, n < 4096 ? n : 4096, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (wrote < 0)
		wrote = 0;
	if ((size_t)wrote < n)
		greta_watch_events(s->io, EPOLLIN | EPOLLOUT);
	current->written += (size_t)wrote;
	if (current->cut_after && current->written > current->cut_after)
		shutdown(s->fd, SHUT_RDWR);
	return wrote;
}

static void fake_close(struct stream *base)
{
	struct fake_stream *s = (struct fake_stream *)base;

	if (s->gone)
		*s->gone = true;
	greta_watch_remove(s->io);
	greta_watch_remove(s->ready); /* a process may end before anyone was told that it runs */
	close(s->fd);
	if (s->waits)
		kill(s->pid, SIGKILL);
	waitpid(s->pid, NULL, 0);
	free(s);
}

static const struct stream_ops fake_ops = {fake_write, fake_close};

static void on_io(struct greta_watch *w, uint32_t events, void *arg)
{
	struct fake_stream *s = arg;
	char bytes[3000];
	bool gone = false;
	ssize_t n;

	s->gone = &gone;
	if (events & EPOLLOUT) {
		greta_watch_events(w, EPOLLIN);
		s->ev->writable(s->arg);
	}
	if (gone || !(events & (EPOLLIN | EPOLLHUP)))
		goto out;
	n = recv(s->fd, bytes, sizeof bytes, MSG_DONTWAIT);
	if (n > 0)
		s->ev->data(s->arg, bytes, (size_t)n);
	else if (n == 0 || errno != EAGAIN)
		s->ev->closed(s->arg, 0, "");
out:
	if (!gone)
		s->gone = NULL;
}

static void on_ready(struct greta_watch *w, uint32_t events, void *arg)
{
	struct fake_stream *s = arg;

	(void)events;
	greta_watch_remove(w);
	s->ready = NULL;
	s->ev->ready(s->arg);
}

static struct stream *fake_run(struct transport *t, const char *const *argv, const struct stream_events *ev, void *arg,
			       struct greta_err *e)
{
	struct fake *f = (struct fake *)t;
	struct fake_stream *s = greta_alloc(sizeof *s);
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	s->base.ops = &fake_ops;
	s->ev = ev;
	s->arg = arg;
	s->fd = fds[0];
	s->pid = greta_child_spawn(&(struct greta_child_spec){.argv = argv,
							      .fds = (const struct greta_child_fd[]){{fds[1], 0}, {fds[1], 1}},
							      .n_fds = 2}, e);
	close(fds[1]);
	assert_true(s->pid > 0);
	s->io = greta_loop_fd(f->loop, s->fd, EPOLLIN, on_io, s);
	s->ready = greta_loop_timer(f->loop, 0, 0, on_ready, s);
	return &s->base;
}

static struct stream *fake_files(struct transport *t, const struct stream_events *ev, void *arg, struct greta_err *e)
{
	const char *const argv[] = {((struct fake *)t)->server, NULL};

	return fake_run(t, argv, ev, arg, e);
}

/* In place of `greta-agent hash --bytes N PATH`. */
static struct stream *fake_agent(struct transport *t, const char *const *args, const struct stream_events *ev, void *arg,
				 struct greta_err *e)
{
	struct fake *f = (struct fake *)t;
	const char *const argv[] = {"sh", "-c", "until [ $(stat -c %s \"$2\") -ge $1 ]; do sleep 0.01; done\n"
				    "sha256sum <\"$2\" | cut -c1-64 | { [ $3 = 0 ] && cat || tr 0-9 1-90; }\n", "hash", args[2], args[3],
				    f->wrong_hash ? "1" : "0", NULL};
	struct stream *s;

	assert_string_equal(args[0], "hash");
	assert_string_equal(args[1], "--bytes");
	f->hashes++;
	f->hashed_from = f->written;
	s = fake_run(t, argv, ev, arg, e);
	((struct fake_stream *)s)->waits = true;
	return s;
}

static const struct transport_ops fake_transport = {.name = "fake", .uploads = true, .agent = fake_agent,
						    .files = fake_files};

static void on_done(void *arg, const char *path, const struct greta_err *why)
{
	struct fake *f = arg;

	f->ended = true;
	greta_str_copy(f->path, sizeof f->path, path ? path : "");
	f->why = why ? *why : (struct greta_err){0};
	greta_loop_stop(f->loop);
}

static void write_file(const char *path, size_t n, unsigned seed)
{
	cleanup_free char *bytes = greta_alloc(n + 1);

	for (size_t i = 0; i < n; i++)
		bytes[i] = (char)rand_r(&seed);
	assert_int_equal(greta_fs_write_atomic(path, bytes, n, 0644, NULL), 0);
}

static bool begin(struct fake *f)
{
	*f = (struct fake){.base.ops = &fake_transport};
	current = f;
	for (size_t i = 0; i < GRETA_COUNT(servers); i++)
		if (access(servers[i], X_OK) == 0)
			f->server = servers[i];
	if (!f->server)
		return false;
	f->loop = greta_loop_create(NULL);
	return true;
}

static void run(struct fake *f, const char *local, bool read_back)
{
	char hex[GRETA_SHA256_HEX + 1];
	struct greta_err e = {0};
	struct stat st;
	struct upload_file file = {local, "model.gguf", hex, 0, true};

	assert_int_equal(stat(local, &st), 0);
	assert_int_equal(greta_sha256_file(local, hex, &e), 0);
	file.bytes = st.st_size;
	f->ended = false;
	f->written = 0;
	assert_non_null(upload_start(f->loop, &f->base, "a/store", "folder", &file, 1, read_back, on_done, f, &e));
	assert_int_equal(greta_loop_run(f->loop, &e), 0);
	assert_true(f->ended);
}

static void check_same(const char *local)
{
	char here[GRETA_SHA256_HEX + 1], there[GRETA_SHA256_HEX + 1];
	struct stat st;

	assert_int_equal(greta_sha256_file(local, here, NULL), 0);
	assert_int_equal(greta_sha256_file("a/store/folder/model.gguf", there, NULL), 0);
	assert_string_equal(here, there);
	assert_int_equal(stat("a/store/folder/model.gguf", &st), 0);
	assert_int_equal(st.st_mode & 0777, 0755);
	assert_true(access("a/store/folder/model.gguf.part", F_OK) != 0);
}

static void test_upload__sizes(void **state)
{
	static const size_t sizes[] = {0, 1, 32767, 32768, 32769, 3000000};
	struct fake f;

	(void)state;
	if (!begin(&f))
		skip();
	for (size_t i = 0; i < 2 * GRETA_COUNT(sizes); i++) {
		write_file("local", sizes[i / 2], (unsigned)i);
		greta_fs_remove_tree("a", NULL);
		run(&f, "local", i % 2);
		assert_int_equal(f.why.code, GRETA_OK);
		assert_true(greta_str_ends(f.path, "/a/store/folder"));
		check_same("local");
	}
	greta_loop_destroy(f.loop);
}

static void test_upload__never_twice(void **state)
{
	struct fake f;

	(void)state;
	if (!begin(&f))
		skip();
	write_file("local", 500000, 1);
	run(&f, "local", false);
	assert_true(f.written > 500000);
	assert_true(f.hashed_from < 1000); /* not after it, but along with it */
	run(&f, "local", false);
	assert_int_equal(f.why.code, GRETA_OK);
	assert_true(f.written < 1000);
	assert_int_equal(f.hashes, 1);
	greta_loop_destroy(f.loop);
}

static void test_upload__continues_where_it_was_cut(void **state)
{
	struct fake f;
	size_t sent;

	(void)state;
	if (!begin(&f))
		skip();
	write_file("local", 4000000, 2);
	f.cut_after = 3000000;
	run(&f, "local", false);
	assert_int_equal(f.why.code, GRETA_ECLOSED);
	assert_true(access("a/store/folder/model.gguf", F_OK) != 0);
	f.cut_after = 0;
	run(&f, "local", false);
	sent = f.written;
	assert_int_equal(f.why.code, GRETA_OK);
	check_same("local");
	assert_true(sent < 2000000);
	greta_loop_destroy(f.loop);
}

/* A part with other bytes in it: found out by the hash, sent once more from the start. */
static void test_upload__wrong_part(void **state)
{
	struct fake f;

	(void)state;
	if (!begin(&f))
		skip();
	for (int read_back = 0; read_back < 2; read_back++) {
		greta_fs_remove_tree("a", NULL);
		assert_int_equal(greta_fs_mkdirs("a/store/folder", 0700, NULL), 0);
		write_file("local", 300000, 3);
		write_file("a/store/folder/model.gguf.part", 100000, 4);
		run(&f, "local", read_back);
		assert_int_equal(f.why.code, GRETA_OK);
		check_same("local");
	}
	write_file("a/store/folder/model.gguf.part", 400000, 5); /* longer than the whole */
	unlink("a/store/folder/model.gguf");
	run(&f, "local", false);
	assert_int_equal(f.why.code, GRETA_OK);
	check_same("local");
	greta_loop_destroy(f.loop);
}

/* Nodes that share a store: another one's upload is through between our look at its part and our opening it. */
static void test_upload__another_was_quicker(void **state)
{
	struct fake f;

	(void)state;
	if (!begin(&f))
		skip();
	write_file("local", 300000, 13);
	for (int read_back = 0; read_back < 2; read_back++) {
		greta_fs_remove_tree("a", NULL);
		assert_int_equal(greta_fs_mkdirs("a/store/folder", 0700, NULL), 0);
		write_file("a/store/folder/model.gguf.part", 300000, 13);
		assert_int_equal(chmod("a/store/folder/model.gguf.part", 0755), 0);
		f.rival = true;
		run(&f, "local", read_back);
		assert_int_equal(f.why.code, GRETA_OK);
		assert_false(f.rival);
		assert_true(f.written < 2000);
		check_same("local");
	}
	greta_loop_destroy(f.loop);
}

static void test_upload__bad_disk_there(void **state)
{
	struct fake f;

	(void)state;
	if (!begin(&f))
		skip();
	write_file("local", 100000, 6);
	f.wrong_hash = true;
	run(&f, "local", false);
	assert_int_equal(f.why.code, GRETA_EFAIL);
	assert_non_null(strstr(f.why.text, "its hash on the node is not ours"));
	assert_int_equal(f.hashes, 2);
	assert_true(access("a/store/folder/model.gguf", F_OK) != 0);
	greta_loop_destroy(f.loop);
}

static void test_upload__no_place(void **state)
{
	struct fake f;

	(void)state;
	if (!begin(&f))
		skip();
	write_file("local", 1000, 7);
	write_file("a", 10, 8); /* a file where the store should be */
	run(&f, "local", false);
	assert_true(f.why.code != GRETA_OK);
	assert_non_null(strstr(f.why.text, "a on the node is not a folder"));
	greta_loop_destroy(f.loop);
}

static void expect_refused(struct fake *f, const char *has)
{
	run(f, "local", true);
	assert_int_equal(f->why.code, GRETA_EAUTH);
	if (!strstr(f->why.text, has))
		fail_msg("\"%s\" does not say \"%s\"", f->why.text, has);
	assert_true(access("a/store/folder/model.gguf.part", F_OK) != 0 && access("a/store/folder/model.gguf", F_OK) != 0);
}

/* A place that others could change things in is refused before anything is written there. */
static void test_upload__places_that_others_own(void **state)
{
	struct fake f;

	(void)state;
	if (!begin(&f))
		skip();
	write_file("local", 1000, 10);
	assert_int_equal(greta_fs_mkdirs("a/store/folder", 0700, NULL), 0);
	assert_int_equal(chmod("a/store", 0777), 0);
	expect_refused(&f, "a/store on the node is open to all users");
	assert_int_equal(chmod("a/store", 01777), 0);
	assert_int_equal(chmod("a/store/folder", 01777), 0);
	expect_refused(&f, "a/store/folder on the node is open to all users");
	if (geteuid() == 0) {
		assert_int_equal(chmod("a/store/folder", 0700), 0);
		assert_int_equal(chown("a/store/folder", 65534, 65534), 0);
		expect_refused(&f, "a/store/folder on the node belongs to another user (uid 65534)");
	}
	assert_int_equal(greta_fs_remove_tree("a/store/folder", NULL), 0);
	assert_int_equal(symlink("/tmp", "a/store/folder"), 0);
	expect_refused(&f, "a/store/folder on the node is a symbolic link");
	unlink("a/store/folder");
	run(&f, "local", true); /* sticky, as /tmp, will do */
	assert_int_equal(f.why.code, GRETA_OK);
	greta_loop_destroy(f.loop);
}

/* Links in place of files are not followed: what they lead to stays as it was. */
static void test_upload__links_are_not_followed(void **state)
{
	char before[GRETA_SHA256_HEX + 1], after[GRETA_SHA256_HEX + 1];
	struct fake f;

	(void)state;
	if (!begin(&f))
		skip();
	write_file("local", 100000, 11);
	write_file("victim", 100000, 12);
	assert_int_equal(greta_sha256_file("victim", before, NULL), 0);
	assert_int_equal(greta_fs_mkdirs("a/store/folder", 0700, NULL), 0);
	assert_int_equal(symlink("../../../victim", "a/store/folder/model.gguf"), 0);
	assert_int_equal(symlink("../../../victim", "a/store/folder/model.gguf.part"), 0);
	run(&f, "local", true);
	assert_int_equal(f.why.code, GRETA_OK);
	check_same("local");
	assert_int_equal(greta_sha256_file("victim", after, NULL), 0);
	assert_string_equal(before, after);
	greta_loop_destroy(f.loop);
}

/* What answers there is no SFTP server. */
static void test_upload__not_a_server(void **state)
{
	struct fake f;

	(void)state;
	if (!begin(&f))
		skip();
	write_file("local", 1000, 9);
	f.server = "/bin/cat";
	run(&f, "local", false);
	assert_int_equal(f.why.code, GRETA_EPROTO);
	f.server = "/bin/true";
	run(&f, "local", false);
	assert_int_equal(f.why.code, GRETA_ECLOSED);
	greta_loop_destroy(f.loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_upload__sizes, unit_tmp_create, unit_tmp_remove),
		cmocka_unit_test_setup_teardown(test_upload__never_twice, unit_tmp_create, unit_tmp_remove),
		cmocka_unit_test_setup_teardown(test_upload__continues_where_it_was_cut, unit_tmp_create, unit_tmp_remove),
		cmocka_unit_test_setup_teardown(test_upload__wrong_part, unit_tmp_create, unit_tmp_remove),
		cmocka_unit_test_setup_teardown(test_upload__another_was_quicker, unit_tmp_create, unit_tmp_remove),
		cmocka_unit_test_setup_teardown(test_upload__bad_disk_there, unit_tmp_create, unit_tmp_remove),
		cmocka_unit_test_setup_teardown(test_upload__no_place, unit_tmp_create, unit_tmp_remove),
		cmocka_unit_test_setup_teardown(test_upload__places_that_others_own, unit_tmp_create, unit_tmp_remove),
		cmocka_unit_test_setup_teardown(test_upload__links_are_not_followed, unit_tmp_create, unit_tmp_remove),
		cmocka_unit_test_setup_teardown(test_upload__not_a_server, unit_tmp_create, unit_tmp_remove),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
