#include "orchestrator/remote/sftp.h"

#include "base/mem.h"

#include <string.h>

#define VERSION 3
#define PACKET_MAX (256 * 1024)
#define ATTR_SIZE 1
#define ATTR_UIDGID 2
#define ATTR_PERMISSIONS 4

enum packet {
	P_INIT = 1, P_VERSION = 2, P_OPEN = 3, P_CLOSE = 4, P_READ = 5, P_WRITE = 6, P_LSTAT = 7, P_SETSTAT = 9,
	P_REMOVE = 13, P_MKDIR = 14, P_RMDIR = 15, P_REALPATH = 16, P_STAT = 17, P_RENAME = 18, P_STATUS = 101, P_HANDLE = 102, P_DATA = 103,
	P_NAME = 104, P_ATTRS = 105, P_EXTENDED = 200,
};

struct pending {
	uint32_t id;
	sftp_fn *fn;
	void *arg;
};

struct sftp {
	struct greta_buf in, out;
	struct pending *pending;
	size_t n_pending, cap_pending;
	uint32_t next_id;
	size_t packet_at;        /* where the packet being written begins in out */
	bool fsync, posix_rename;
	bool *gone;
};

struct sftp *sftp_create(void)
{
	return greta_alloc(sizeof(struct sftp));
}

void sftp_destroy(struct sftp *s)
{
	if (!s)
		return;
	if (s->gone)
		*s->gone = true;
	greta_buf_release(&s->in);
	greta_buf_release(&s->out);
	free(s->pending);
	free(s);
}

struct greta_buf *sftp_out(struct sftp *s)
{
	return &s->out;
}

bool sftp_has_fsync(const struct sftp *s)
{
	return s->fsync;
}

bool sftp_has_posix_rename(const struct sftp *s)
{
	return s->posix_rename;
}

/* ---- writing */

static void put32(struct sftp *s, uint32_t v)
{
	unsigned char b[4] = {(unsigned char)(v >> 24), (unsigned char)(v >> 16), (unsigned char)(v >> 8),
			       (unsigned char)v};

	greta_buf_add(&s->out, b, sizeof b);
}

static void put64(struct sftp *s, uint64_t v)
{
	put32(s, (uint32_t)(v >> 32));
	put32(s, (uint32_t)v);
}

static void put_bytes(struct sftp *s, const void *bytes, size_t n)
{
	put32(s, (uint32_t)n);
	greta_buf_add(&s->out, bytes, n);
}

static void put_str(struct sftp *s, const char *text)
{
	put_bytes(s, text, strlen(text));
}

static void begin(struct sftp *s, enum packet type, sftp_fn *fn, void *arg)
{
	*GRETA_PUSH(s->pending, s->n_pending, s->cap_pending) = (struct pending){ s->next_id, fn, arg };
	s->packet_at = s->out.len;
	put32(s, 0);
	greta_buf_addc(&s->out, (char)type);
	put32(s, s->next_id++);
}

static void end(struct sftp *s)
{
	uint32_t n = (uint32_t)(s->out.len - s->packet_at - 4);
	unsigned char *at = (unsigned char *)s->out.data + s->packet_at;

	at[0] = (unsigned char)(n >> 24);
	at[1] = (unsigned char)(n >> 16);
	at[2] = (unsigned char)(n >> 8);
	at[3] = (unsigned char)n;
}

void sftp_init(struct sftp *s, sftp_fn *fn, void *arg)
{
	/* The only packet without an id; its answer has none either, and is known by its type. */
	*GRETA_PUSH(s->pending, s->n_pending, s->cap_pending) = (struct pending){ UINT32_MAX, fn, arg };
	s->packet_at = s->out.len;
	put32(s, 0);
	greta_buf_addc(&s->out, P_INIT);
	put32(s, VERSION);
	end(s);
}

static void path_request(struct sftp *s, enum packet type, const char *path, sftp_fn *fn, void *arg)
{
	begin(s, type, fn, arg);
	put_str(s, path);
	end(s);
}

void sftp_realpath(struct sftp *s, const char *path, sftp_fn *fn, void *arg)
{
	path_request(s, P_REALPATH, path, fn, arg);
}

void sftp_stat(struct sftp *s, const char *path, sftp_fn *fn, void *arg)
{
	path_request(s, P_STAT, path, fn, arg);
}

void sftp_lstat(struct sftp *s, const char *path, sftp_fn *fn, void *arg)
{
	path_request(s, P_LSTAT, path, fn, arg);
}

void sftp_rmdir(struct sftp *s, const char *path, sftp_fn *fn, void *arg)
{
	path_request(s, P_RMDIR, path, fn, arg);
}

void sftp_remove(struct sftp *s, const char *path, sftp_fn *fn, void *arg)
{
	path_request(s, P_REMOVE, path, fn, arg);
}

static void put_mode(struct sftp *s, mode_t mode)
{
	put32(s, ATTR_PERMISSIONS);
	put32(s, (uint32_t)mode);
}

void sftp_mkdir(struct sftp *s, const char *path, mode_t mode, sftp_fn *fn, void *arg)
{
	begin(s, P_MKDIR, fn, arg);
	put_str(s, path);
	put_mode(s, mode);
	end(s);
}

void sftp_chmod(struct sftp *s, const char *path, mode_t mode, sftp_fn *fn, void *arg)
{
	begin(s, P_SETSTAT, fn, arg);
	put_str(s, path);
	put_mode(s, mode);
	end(s);
}

void sftp_rename(struct sftp *s, const char *from, const char *to, sftp_fn *fn, void *arg)
{
	begin(s, s->posix_rename ? P_EXTENDED : P_RENAME, fn, arg);
	if (s->posix_rename)
		put_str(s, "posix-rename@openssh.com");
	put_str(s, from);
	put_str(s, to);
	end(s);
}

void sftp_open(struct sftp *s, const char *path, int flags, mode_t mode, sftp_fn *fn, void *arg)
{
	begin(s, P_OPEN, fn, arg);
	put_str(s, path);
	put32(s, (uint32_t)flags);
	put_mode(s, mode);
	end(s);
}

void sftp_write(struct sftp *s, const struct sftp_handle *h, int64_t offset, const void *bytes, size_t n, sftp_fn *fn,
		void *arg)
{
	begin(s, P_WRITE, fn, arg);
	put_bytes(s, h->bytes, h->n);
	put64(s, (uint64_t)offset);
	put_bytes(s, bytes, n);
	end(s);
}

void sftp_read(struct sftp *s, const struct sftp_handle *h, int64_t offset, size_t n, sftp_fn *fn, void *arg)
{
	begin(s, P_READ, fn, arg);
	put_bytes(s, h->bytes, h->n);
	put64(s, (uint64_t)offset);
	put32(s, (uint32_t)n);
	end(s);
}

void sftp_fsync(struct sftp *s, const struct sftp_handle *h, sftp_fn *fn, void *arg)
{
	begin(s, P_EXTENDED, fn, arg);
	put_str(s, "fsync@openssh.com");
	put_bytes(s, h->bytes, h->n);
	end(s);
}

void sftp_close(struct sftp *s, const struct sftp_handle *h, sftp_fn *fn, void *arg)
{
	begin(s, P_CLOSE, fn, arg);
	put_bytes(s, h->bytes, h->n);
	end(s);
}

/* ---- reading: a cursor that goes bad instead of out of bounds */

struct cursor {
	const unsigned char *at;
	size_t left;
	bool bad;
};

static uint32_t get32(struct cursor *c)
{
	uint32_t v;

	if (c->left < 4) {
		c->bad = true;
		return 0;
	}
	v = (uint32_t)c->at[0] << 24 | (uint32_t)c->at[1] << 16 | (uint32_t)c->at[2] << 8 | c->at[3];
	c->at += 4;
	c->left -= 4;
	return v;
}

static const void *get_bytes(struct cursor *c, size_t *n)
{
	const void *at;

	*n = get32(c);
	if (c->bad || *n > c->left) {
		c->bad = true;
		*n = 0;
		return "";
	}
	at = c->at;
	c->at += *n;
	c->left -= *n;
	return at;
}

static bool bytes_are(const void *bytes, size_t n, const char *text)
{
	return n == strlen(text) && !memcmp(bytes, text, n);
}

static void take_extensions(struct sftp *s, struct cursor *c)
{
	while (c->left && !c->bad) {
		size_t n, ignored;
		const void *name = get_bytes(c, &n);

		get_bytes(c, &ignored);
		s->fsync |= bytes_are(name, n, "fsync@openssh.com");
		s->posix_rename |= bytes_are(name, n, "posix-rename@openssh.com");
	}
}

static void take_attributes(struct cursor *c, struct sftp_reply *r)
{
	uint32_t what = get32(c);

	if (what & ATTR_SIZE) {
		r->bytes = (int64_t)get32(c) << 32;
		r->bytes |= get32(c);
	}
	if (what & ATTR_UIDGID) {
		r->uid = get32(c);
		get32(c);
	}
	if (what & ATTR_PERMISSIONS)
		r->mode = (mode_t)get32(c);
}

static int take_reply(struct sftp *s, enum packet type, struct cursor *c, struct sftp_reply *r, char text[200])
{
	size_t n = 0;
	const void *words;

	switch (type) {
	case P_VERSION:
		if (get32(c) < VERSION)
			return -1;
		take_extensions(s, c);
		return 0;
	case P_STATUS:
		r->status = (int)get32(c);
		words = c->left ? get_bytes(c, &n) : "";
		n = n < 199 ? n : 199;
		memcpy(text, words, n);
		text[n] = '\0';
		return 0;
	case P_HANDLE:
	case P_DATA:
		r->data = get_bytes(c, &r->n);
		return 0;
	case P_NAME:
		if (get32(c) != 1)
			return -1;
		r->data = get_bytes(c, &r->n);
		return 0;
	case P_ATTRS:
		take_attributes(c, r);
		return 0;
	default:
		return -1;
	}
}

static int take_packet(struct sftp *s, const unsigned char *bytes, size_t n, struct greta_err *e)
{
	enum packet type = n ? bytes[0] : 0;
	struct cursor c = {bytes + 1, n - 1, false};
	struct sftp_reply r = {.bytes = -1, .uid = -1};
	uint32_t id = type == P_VERSION ? UINT32_MAX : get32(&c);
	char text[200] = "";
	struct pending p;
	size_t i = 0;

	r.text = text;
	while (i < s->n_pending && s->pending[i].id != id)
		i++;
	if (i == s->n_pending || take_reply(s, type, &c, &r, text) < 0 || c.bad)
		return greta_err_set(e, GRETA_EPROTO, "the SFTP server sent something that is no answer");
	p = s->pending[i];
	s->pending[i] = s->pending[--s->n_pending];
	p.fn(p.arg, &r);
	return 0;
}

int sftp_feed(struct sftp *s, const char *bytes, size_t n, bool *gone, struct greta_err *e)
{
	size_t used = 0;

	*gone = false;
	s->gone = gone;
	greta_buf_add(&s->in, bytes, n);
	while (s->in.len - used >= 4) {
		struct cursor c = {(const unsigned char *)s->in.data + used, 4, false};
		uint32_t len = get32(&c);

		if (!len || len > PACKET_MAX)
			return greta_err_set(e, GRETA_EPROTO, "the SFTP server is none (a packet of %u bytes)", len);
		if (s->in.len - used - 4 < len)
			break;
		if (take_packet(s, (const unsigned char *)s->in.data + used + 4, len, e) < 0)
			return -1;
		if (*gone)
			return 0;
		used += 4 + len;
	}
	greta_buf_consume(&s->in, used);
	s->gone = NULL;
	return 0;
}
