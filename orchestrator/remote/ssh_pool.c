#include "orchestrator/remote/ssh_pool.h"

#include "base/clock.h"
#include "base/mem.h"
#include "orchestrator/remote/transport.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define IN_FLIGHT_MAX 64
#define IN_FLIGHT_PER_BASTION 8
#define AGENT_DEADLINE_MS 1500
#define AGENT_KEEP_NS (10 * GRETA_NS_PER_S)

struct stamp { /* of a file, to see that it changed */
	struct timespec mtime, ctime;
	off_t size;
	ino_t inode;
};

struct key_file {
	char *path;
	struct stamp stamp;
	ssh_key key;
	struct greta_err why;
};

struct hosts_file {
	char *path;
	struct stamp stamp;
	struct known_hosts *hosts;
};

struct ssh_pool {
	struct greta_loop *loop;
	struct ssh_gate *gates; /* all that wait or are inside, in the order they came */
	size_t n_inside;
	struct greta_watch *admit;
	struct key_file *keys;
	size_t n_keys, cap_keys;
	struct hosts_file *hosts;
	size_t n_hosts, cap_hosts;
	char *agent_socket; /* that the answer is from */
	int agent_n;
	char agent_why[160];
	int64_t agent_asked_ns;
};

struct greta_loop *ssh_pool_loop(struct ssh_pool *p)
{
	return p->loop;
}

struct ssh_pool *ssh_pool_create(struct greta_loop *loop)
{
	struct ssh_pool *p = greta_alloc(sizeof *p);

	ssh_init();
	p->loop = loop;
	return p;
}

void ssh_pool_destroy(struct ssh_pool *p)
{
	if (!p)
		return;
	greta_watch_remove(p->admit);
	for (size_t i = 0; i < p->n_keys; i++) {
		ssh_key_free(p->keys[i].key);
		free(p->keys[i].path);
	}
	for (size_t i = 0; i < p->n_hosts; i++) {
		known_hosts_destroy(p->hosts[i].hosts);
		free(p->hosts[i].path);
	}
	free(p->keys);
	free(p->hosts);
	free(p->agent_socket);
	free(p);
	ssh_finalize();
}

/* ---- handshakes in flight */

static bool may_enter(const struct ssh_pool *p, const struct ssh_gate *g)
{
	size_t n = 0;

	if (p->n_inside >= IN_FLIGHT_MAX)
		return false;
	for (const struct ssh_gate *o = p->gates; o && *g->bastion; o = o->next)
		n += o->inside && greta_str_eq(o->bastion, g->bastion);
	return n < IN_FLIGHT_PER_BASTION;
}

/* One a call: fn may change the list. */
static void on_admit(struct greta_watch *w, uint32_t events, void *arg)
{
	struct ssh_pool *p = arg;

	(void)events;
	for (struct ssh_gate *g = p->gates; g; g = g->next) {
		if (!g->waiting || !may_enter(p, g))
			continue;
		g->waiting = false;
		g->inside = true;
		p->n_inside++;
		greta_watch_rearm(w, 0);
		g->fn(g->arg);
		return;
	}
}

static void admit_soon(struct ssh_pool *p)
{
	if (p->admit)
		greta_watch_rearm(p->admit, 0);
	else
		p->admit = greta_loop_timer(p->loop, 0, 0, on_admit, p);
}

void ssh_gate_enter(struct ssh_gate *g, struct ssh_pool *p, const char *bastion, void (*fn)(void *arg), void *arg)
{
	struct ssh_gate **at = &p->gates;

	*g = (struct ssh_gate){ .pool = p, .bastion = greta_strdup(bastion), .fn = fn, .arg = arg, .waiting = true };
	while (*at)
		at = &(*at)->next;
	*at = g;
	admit_soon(p);
}

void ssh_gate_leave(struct ssh_gate *g)
{
	struct ssh_gate **at;

	if (!g->pool || (!g->waiting && !g->inside))
		return;
	for (at = &g->pool->gates; *at != g;)
		at = &(*at)->next;
	*at = g->next;
	g->pool->n_inside -= g->inside;
	g->waiting = g->inside = false;
	free(g->bastion);
	g->bastion = NULL;
	admit_soon(g->pool);
}

/* ---- files */

static bool stamp_take(const char *path, struct stamp *out)
{
	struct stat st;

	if (stat(path, &st) < 0) {
		*out = (struct stamp){0};
		return false;
	}
	*out = (struct stamp){ st.st_mtim, st.st_ctim, st.st_size, st.st_ino };
	return true;
}

static bool stamp_same(const struct stamp *a, const struct stamp *b)
{
	return a->mtime.tv_sec == b->mtime.tv_sec && a->mtime.tv_nsec == b->mtime.tv_nsec &&
	       a->ctime.tv_sec == b->ctime.tv_sec && a->ctime.tv_nsec == b->ctime.tv_nsec && a->size == b->size &&
	       a->inode == b->inode;
}

static void key_read(struct key_file *f, bool exists)
{
	ssh_key_free(f->key);
	f->key = NULL;
	f->why = (struct greta_err){0};
	if (!exists)
		greta_err_set(&f->why, GRETA_ENOENT, "%s: no such file", f->path);
	else if (ssh_pki_import_privkey_file(f->path, NULL, NULL, NULL, &f->key) != SSH_OK)
		greta_err_set(&f->why, GRETA_EAUTH,
			      "%s: encrypted or unreadable (a passphrase is never asked for: ssh-add it)", f->path);
}

ssh_key ssh_pool_key(struct ssh_pool *p, const char *path, struct greta_err *e)
{
	struct key_file *f = NULL;
	struct stamp stamp;
	bool exists = stamp_take(path, &stamp);

	for (size_t i = 0; i < p->n_keys; i++)
		if (greta_str_eq(p->keys[i].path, path))
			f = &p->keys[i];
	if (!f) {
		f = GRETA_PUSH(p->keys, p->n_keys, p->cap_keys);
		f->path = greta_strdup(path);
		f->stamp = stamp;
		key_read(f, exists);
	} else if (!stamp_same(&f->stamp, &stamp)) {
		f->stamp = stamp;
		key_read(f, exists);
	}
	if (!f->key)
		greta_err_set(e, f->why.code, "%s", f->why.text);
	return f->key;
}

const struct known_hosts *ssh_pool_known_hosts(struct ssh_pool *p, const char *path, struct greta_err *e)
{
	struct hosts_file *f = NULL;
	struct known_hosts *hosts;
	struct stamp stamp;

	stamp_take(path, &stamp);
	for (size_t i = 0; i < p->n_hosts; i++)
		if (greta_str_eq(p->hosts[i].path, path))
			f = &p->hosts[i];
	if (f && stamp_same(&f->stamp, &stamp))
		return f->hosts;
	hosts = known_hosts_load(path, e);
	if (!hosts)
		return NULL;
	if (!f) {
		f = GRETA_PUSH(p->hosts, p->n_hosts, p->cap_hosts);
		f->path = greta_strdup(path);
	}
	known_hosts_destroy(f->hosts);
	f->hosts = hosts;
	f->stamp = stamp;
	return hosts;
}

/* ---- the user's ssh-agent (draft-miller-ssh-agent: length, type; 11 asks for identities, 12 answers) */

struct ssh_agent_ask {
	struct ssh_pool *pool;
	ssh_agent_fn *fn;
	void *arg;
	int fd;
	struct greta_watch *io, *deadline;
	unsigned char answer[9]; /* length 4, type 1, number of keys 4 */
	size_t n;
};

static void ask_end(struct ssh_agent_ask *a, int n_keys, const char *why)
{
	struct ssh_pool *p = a->pool;
	ssh_agent_fn *fn = a->fn;
	void *arg = a->arg;

	p->agent_n = n_keys;
	greta_str_copy(p->agent_why, sizeof p->agent_why, why);
	p->agent_asked_ns = greta_clock_mono_ns();
	ssh_agent_ask_cancel(a);
	fn(arg, n_keys, p->agent_why);
}

static void on_agent_answer(struct greta_watch *w, uint32_t events, void *arg)
{
	struct ssh_agent_ask *a = arg;
	ssize_t n = recv(a->fd, a->answer + a->n, sizeof a->answer - a->n, MSG_DONTWAIT);

	(void)w;
	(void)events;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		ask_end(a, 0, "the ssh-agent closed the connection");
		return;
	}
	a->n += (size_t)n;
	if (a->n < sizeof a->answer)
		return;
	if (a->answer[4] != 12)
		ask_end(a, 0, "the ssh-agent refused to list its keys");
	else
		ask_end(a, a->answer[7] << 8 | a->answer[8], "");
}

static void on_agent_deadline(struct greta_watch *w, uint32_t events, void *arg)
{
	(void)w;
	(void)events;
	ask_end(arg, 0, "the ssh-agent did not answer within 1.5 s, so its keys were not used");
}

static void on_agent_known(struct greta_watch *w, uint32_t events, void *arg)
{
	struct ssh_agent_ask *a = arg;
	struct ssh_pool *p = a->pool;
	ssh_agent_fn *fn = a->fn;
	void *fn_arg = a->arg;

	(void)w;
	(void)events;
	ssh_agent_ask_cancel(a);
	fn(fn_arg, p->agent_n, p->agent_why);
}

static int agent_connect(const char *path)
{
	static const unsigned char list_keys[] = {0, 0, 0, 1, 11};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd;

	if (!path || !*path || strlen(path) >= sizeof address.sun_path)
		return -1;
	greta_str_copy(address.sun_path, sizeof address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -1;
	if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0 ||
	    send(fd, list_keys, sizeof list_keys, MSG_NOSIGNAL) != (ssize_t)sizeof list_keys) {
		close(fd);
		return -1;
	}
	return fd;
}

struct ssh_agent_ask *ssh_agent_ask(struct ssh_pool *p, const char *socket_path, ssh_agent_fn *fn, void *arg)
{
	struct ssh_agent_ask *a = greta_alloc(sizeof *a);
	bool known = p->agent_asked_ns && greta_str_eq(p->agent_socket, socket_path) &&
		     greta_clock_mono_ns() - p->agent_asked_ns < AGENT_KEEP_NS;

	*a = (struct ssh_agent_ask){ .pool = p, .fn = fn, .arg = arg, .fd = -1 };
	if (!known) {
		free(p->agent_socket);
		p->agent_socket = greta_strdup(socket_path);
		p->agent_n = 0;
		p->agent_why[0] = '\0';
		a->fd = agent_connect(socket_path);
	}
	if (a->fd < 0) {
		a->deadline = greta_loop_timer(p->loop, 0, 0, on_agent_known, a);
		return a;
	}
	a->io = greta_loop_fd(p->loop, a->fd, EPOLLIN, on_agent_answer, a);
	a->deadline = greta_loop_timer(p->loop, AGENT_DEADLINE_MS, 0, on_agent_deadline, a);
	return a;
}

void ssh_agent_ask_cancel(struct ssh_agent_ask *a)
{
	if (!a)
		return;
	greta_watch_remove(a->io);
	greta_watch_remove(a->deadline);
	if (a->fd >= 0)
		close(a->fd);
	free(a);
}
