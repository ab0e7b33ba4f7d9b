/* The folder first (upload_place.h). Then for each file, in turn:
 *
 *	LSTAT final -> there: next
 *	LSTAT part -> OPEN -> WRITE ... (many in flight) -> FSYNC -> CLOSE; `greta-agent hash` reads along
 *	-> compare its hash (or READ back, and hash here) -> wrong: REMOVE part, once more from the start
 *	-> CHMOD -> RENAME part to final
 *
 * Where nodes share a store, several may bring the same file at once: they write the same bytes to the same places, the
 * first one renames it, and the others, whose part is gone, find it there when they look once more from the start.
 */
#include "orchestrator/remote/upload.h"

#include "base/cleanup.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/sha256.h"
#include "base/str.h"
#include "orchestrator/remote/sftp.h"
#include "orchestrator/remote/upload_place.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define IN_FLIGHT 64                      /* requests of SFTP_IO_BYTES: 2 MiB, for 50 ms of distance */
#define UNSENT (512 * 1024)
#define SILENCE_MS 60000                  /* between two answers of the SFTP server */

struct file {
	char *local, *name, *final, *part, *sha256;
	int64_t bytes;
	bool executable;
};

struct chunk { /* a write or read under way; n 0: none */
	struct upload *u;
	int64_t offset;
	size_t n;
};

struct upload {
	struct greta_loop *loop;
	struct transport *transport;
	struct stream *stream;            /* to the SFTP server */
	struct stream *hasher;            /* the agent, hashing what comes; NULL: not yet, or it is through */
	struct sftp *sftp;
	struct upload_place *place;
	struct greta_watch *silence;
	char *store, *folder, *home;
	struct file *files;
	size_t n_files, at;
	bool read_back, again;            /* again: the present file is sent for the second time */
	upload_fn *fn;
	void *arg;
	/* the present file */
	int fd;
	struct sftp_handle handle;
	int64_t offset, done;             /* sent, acknowledged */
	struct chunk chunks[IN_FLIGHT];
	size_t in_flight;
	bool closing, written;            /* written: synced and closed */
	char *back;                       /* read back */
	struct greta_buf hash;            /* said by the agent */
	bool hashed;                      /* it said so, and ended */
	char hash_why[200];               /* why it said none; "": it did */
	bool *gone;
};

static struct file *file_of(struct upload *u)
{
	return &u->files[u->at];
}

static void release(struct upload *u)
{
	if (u->gone)
		*u->gone = true;
	greta_watch_remove(u->silence);
	if (u->hasher)
		u->hasher->ops->close(u->hasher);
	if (u->stream)
		u->stream->ops->close(u->stream);
	sftp_destroy(u->sftp);
	upload_place_release(u->place);
	if (u->fd >= 0)
		close(u->fd);
	for (size_t i = 0; i < u->n_files; i++) {
		struct file *f = &u->files[i];

		free(f->local);
		free(f->name);
		free(f->final);
		free(f->part);
		free(f->sha256);
	}
	free(u->files);
	free(u->back);
	greta_buf_release(&u->hash);
	free(u->store);
	free(u->folder);
	free(u->home);
	free(u);
}

void upload_cancel(struct upload *u)
{
	if (u)
		release(u);
}

static void finish(struct upload *u, const struct greta_err *why)
{
	upload_fn *fn = u->fn;
	void *arg = u->arg;
	cleanup_free char *path = u->home ? greta_format("%s/%s/%s", u->home, u->store, u->folder) : NULL;
	struct greta_err kept = why ? *why : (struct greta_err){0};

	if (u->store[0] == '/') {
		free(path);
		path = greta_format("%s/%s", u->store, u->folder);
	}
	release(u);
	fn(arg, path, why ? &kept : NULL);
}

static void fail(struct upload *u, enum greta_code code, const char *what, const char *path, const char *said)
{
	struct greta_err why = {0};

	greta_err_set(&why, code, "%s %s: %s", what, path, said);
	finish(u, &why);
}

static void fail_reply(struct upload *u, const char *what, const char *path, const struct sftp_reply *r)
{
	char said[300];
	bool full = r->status == SFTP_FAILURE && (greta_str_eq(what, "writing") || greta_str_eq(what, "syncing"));

	snprintf(said, sizeof said, "%s%s", *r->text ? r->text : "refused",
		 full ? " (disk full, or over quota, on the node?)" : "");
	fail(u, full ? GRETA_ENOSPC : r->status == SFTP_PERMISSION_DENIED ? GRETA_EAUTH : GRETA_EFAIL, what, path, said);
}

/* ---- the stream */

static void on_silence(struct greta_watch *w, uint32_t events, void *arg)
{
	struct upload *u = arg;
	bool syncing = u->closing && !u->written;

	(void)w;
	(void)events;
	if (syncing || (u->hasher && u->written)) {
		greta_watch_rearm(u->silence, SILENCE_MS); /* a large file takes its time; the ping sees a dead node */
		return;
	}
	fail(u, GRETA_ETIMEOUT, "uploading", file_of(u)->name, "the SFTP server gave no answer for 60 s");
}

static void flush(struct upload *u)
{
	struct greta_buf *out = sftp_out(u->sftp);

	while (out->len) {
		ssize_t n = u->stream->ops->write(u->stream, out->data, out->len);

		if (n <= 0)
			return;
		greta_buf_consume(out, (size_t)n);
	}
}

static void send_more(struct upload *u);
static void on_home(void *arg, const struct sftp_reply *r);

static void on_version(void *arg, const struct sftp_reply *r)
{
	struct upload *u = arg;

	(void)r;
	sftp_realpath(u->sftp, ".", on_home, u);
}

static void on_ready(void *arg)
{
	struct upload *u = arg;

	sftp_init(u->sftp, on_version, u);
	flush(u);
}

static void on_data(void *arg, const char *bytes, size_t n)
{
	struct upload *u = arg;
	struct greta_err why = {0};
	bool gone = false, sftp_gone;

	u->gone = &gone;
	greta_watch_rearm(u->silence, SILENCE_MS);
	if (sftp_feed(u->sftp, bytes, n, &sftp_gone, &why) < 0) {
		finish(u, &why);
		return;
	}
	if (gone)
		return;
	u->gone = NULL;
	flush(u);
}

static void on_writable(void *arg)
{
	struct upload *u = arg;

	flush(u);
	if (u->fd >= 0)
		send_more(u);
}

static void on_closed(void *arg, int exit_status, const char *said)
{
	struct greta_err why = {0};

	(void)exit_status;
	greta_err_set(&why, GRETA_ECLOSED, "the SFTP server ended%s%s (is the sftp subsystem configured on the node?)",
		      *said ? ": " : "", said);
	finish(arg, &why);
}

static const struct stream_events sftp_stream_events = {on_ready, on_data, on_writable, on_closed};

/* ---- one file after the other */

static void begin_file(struct upload *u);
static void on_part_stat(void *arg, const struct sftp_reply *r);

static void next_file(struct upload *u)
{
	u->at++;
	u->again = false;
	begin_file(u);
}

/* Something is wrong with the part: perhaps somebody else has brought the file meanwhile. Told the second time. */
static bool look_again(struct upload *u)
{
	if (u->again)
		return false;
	u->again = true;
	begin_file(u);
	return true;
}

static void on_renamed(void *arg, const struct sftp_reply *r)
{
	struct upload *u = arg;

	/* Where rename can't replace: somebody else was quicker with the same bytes. */
	if (r->status == SFTP_OK || !sftp_has_posix_rename(u->sftp))
		next_file(u);
	else if (!look_again(u))
		fail_reply(u, "renaming", file_of(u)->part, r);
}

static void on_moded(void *arg, const struct sftp_reply *r)
{
	struct upload *u = arg;

	if (r->status == SFTP_OK)
		sftp_rename(u->sftp, file_of(u)->part, file_of(u)->final, on_renamed, u);
	else if (!look_again(u))
		fail_reply(u, "setting the mode of", file_of(u)->part, r);
}

static void on_removed(void *arg, const struct sftp_reply *r)
{
	struct upload *u = arg;

	(void)r;
	sftp_lstat(u->sftp, file_of(u)->part, on_part_stat, u);
}

static void verified(struct upload *u, const char *sha256)
{
	struct file *f = file_of(u);

	if (greta_str_eq(sha256, f->sha256)) {
		sftp_chmod(u->sftp, f->part, f->executable ? 0755 : 0644, on_moded, u);
		flush(u);
		return;
	}
	if (u->again) {
		fail(u, GRETA_EFAIL, "uploading", f->name, "its hash on the node is not ours, also after sending it twice "
		     "(does the file change here, or is the node's disk bad?)");
		return;
	}
	u->again = true;
	sftp_remove(u->sftp, f->part, on_removed, u);
	flush(u);
}

static struct chunk *chunk_take(struct upload *u, int64_t offset, size_t n)
{
	struct chunk *k = u->chunks;

	while (k->n)
		k++;
	*k = (struct chunk){ u, offset, n };
	u->in_flight++;
	return k;
}

static size_t chunk_done(struct chunk *k)
{
	size_t n = k->n;

	k->u->in_flight--;
	k->n = 0;
	return n;
}

/* ---- verifying: by reading back */

static void read_more(struct upload *u);

static void on_read_closed(void *arg, const struct sftp_reply *r)
{
	struct upload *u = arg;
	char hex[GRETA_SHA256_HEX + 1];

	(void)r;
	greta_sha256_of(u->back, (size_t)file_of(u)->bytes, hex);
	free(u->back);
	u->back = NULL;
	verified(u, hex);
}

static void on_read(void *arg, const struct sftp_reply *r)
{
	struct chunk *k = arg;
	struct upload *u = k->u;

	if (r->status != SFTP_OK || !r->data || !r->n || r->n > k->n) {
		fail_reply(u, "reading back", file_of(u)->part, r);
		return;
	}
	memcpy(u->back + k->offset, r->data, r->n);
	u->done += (int64_t)r->n;
	if (r->n < k->n) {
		k->offset += (int64_t)r->n;
		k->n -= r->n;
		sftp_read(u->sftp, &u->handle, k->offset, k->n, on_read, k);
		return;
	}
	chunk_done(k);
	read_more(u);
}

static void read_more(struct upload *u)
{
	int64_t size = file_of(u)->bytes;

	while (u->offset < size && u->in_flight < IN_FLIGHT) {
		size_t n = size - u->offset < SFTP_IO_BYTES ? (size_t)(size - u->offset) : SFTP_IO_BYTES;
		struct chunk *k = chunk_take(u, u->offset, n);

		u->offset += (int64_t)n;
		sftp_read(u->sftp, &u->handle, k->offset, k->n, on_read, k);
	}
	if (u->done == size)
		sftp_close(u->sftp, &u->handle, on_read_closed, u);
}

static void on_read_open(void *arg, const struct sftp_reply *r)
{
	struct upload *u = arg;

	if (!r->data || r->n > sizeof u->handle.bytes) {
		if (!look_again(u))
			fail_reply(u, "reading back", file_of(u)->part, r);
		return;
	}
	memcpy(u->handle.bytes, r->data, r->n);
	u->handle.n = r->n;
	u->offset = u->done = 0;
	u->in_flight = 0;
	u->back = greta_alloc((size_t)file_of(u)->bytes + 1);
	read_more(u);
}

/* ---- verifying: by the node's own hash, which follows what is written */

static void hash_stop(struct upload *u)
{
	if (u->hasher)
		u->hasher->ops->close(u->hasher);
	u->hasher = NULL;
	u->hashed = false;
	u->hash_why[0] = '\0';
	greta_buf_clear(&u->hash);
}

/* A login shell may have spoken before it: the hash is the last word. */
static void judge_hash(struct upload *u)
{
	if (!u->written || !u->hashed)
		return;
	if (!*u->hash_why)
		verified(u, u->hash.data + u->hash.len - GRETA_SHA256_HEX);
	else if (!look_again(u))
		fail(u, GRETA_EFAIL, "hashing", file_of(u)->part, u->hash_why);
}

static void on_hash_ready(void *arg)
{
	(void)arg;
}

static void on_hash_data(void *arg, const char *bytes, size_t n)
{
	struct upload *u = arg;

	if (u->hash.len < 4096)
		greta_buf_add(&u->hash, bytes, n);
}

static void on_hash_closed(void *arg, int exit_status, const char *said)
{
	struct upload *u = arg;
	struct greta_buf *hash = &u->hash;

	while (hash->len && (hash->data[hash->len - 1] == '\n' || hash->data[hash->len - 1] == '\r'))
		hash->data[--hash->len] = '\0';
	if (exit_status > 0 || hash->len < GRETA_SHA256_HEX)
		greta_str_copy(u->hash_why, sizeof u->hash_why, *said ? said : "the agent said no hash");
	u->hasher->ops->close(u->hasher);
	u->hasher = NULL;
	u->hashed = true;
	judge_hash(u);
}

static const struct stream_events hash_events = {on_hash_ready, on_hash_data, on_writable, on_hash_closed};

/* Writes are carried out in order, so that the part grows as it was sent, and can be hashed while it does. */
static int begin_hash(struct upload *u, struct greta_err *e)
{
	char bytes[32];
	const char *const args[] = {"hash", "--bytes", bytes, file_of(u)->part, NULL};

	snprintf(bytes, sizeof bytes, "%lld", (long long)file_of(u)->bytes);
	hash_stop(u);
	u->hasher = u->transport->ops->agent(u->transport, args, &hash_events, u, e);
	return u->hasher ? 0 : -1;
}

/* ---- sending */

static void on_write_closed(void *arg, const struct sftp_reply *r)
{
	struct upload *u = arg;

	close(u->fd);
	u->fd = -1;
	u->written = true;
	if (r->status != SFTP_OK)
		fail_reply(u, "writing", file_of(u)->part, r);
	else if (u->read_back)
		sftp_open(u->sftp, file_of(u)->part, SFTP_READ, 0, on_read_open, u);
	else
		judge_hash(u);
}

static void on_synced(void *arg, const struct sftp_reply *r)
{
	struct upload *u = arg;

	if (r->status != SFTP_OK && r->status != SFTP_UNSUPPORTED)
		fail_reply(u, "syncing", file_of(u)->part, r);
	else
		sftp_close(u->sftp, &u->handle, on_write_closed, u);
}

static void sent(struct upload *u)
{
	if (u->closing)
		return;
	u->closing = true;
	if (sftp_has_fsync(u->sftp))
		sftp_fsync(u->sftp, &u->handle, on_synced, u);
	else
		sftp_close(u->sftp, &u->handle, on_write_closed, u);
}

static void on_written(void *arg, const struct sftp_reply *r)
{
	struct chunk *k = arg;
	struct upload *u = k->u;
	size_t n = chunk_done(k);

	if (r->status != SFTP_OK) {
		fail_reply(u, "writing", file_of(u)->part, r);
		return;
	}
	u->done += (int64_t)n;
	send_more(u);
}

/* The file is read as it goes out; one that shrinks meanwhile is noticed, one that changes by its hash. */
static void send_more(struct upload *u)
{
	struct file *f = file_of(u);

	if (u->closing)
		return;
	while (u->offset < f->bytes && u->in_flight < IN_FLIGHT && sftp_out(u->sftp)->len < UNSENT) {
		char bytes[SFTP_IO_BYTES];
		ssize_t n = pread(u->fd, bytes, sizeof bytes, u->offset);

		if (n <= 0) {
			fail(u, GRETA_EFAIL, "reading", f->local, n < 0 ? strerror(errno) : "it became shorter");
			return;
		}
		sftp_write(u->sftp, &u->handle, u->offset, bytes, (size_t)n, on_written,
			   chunk_take(u, u->offset, (size_t)n));
		u->offset += n;
	}
	if (u->offset >= f->bytes && !u->in_flight)
		sent(u);
	flush(u);
}

static void on_open(void *arg, const struct sftp_reply *r)
{
	struct upload *u = arg;
	struct greta_err why = {0};

	if (!r->data || r->n > sizeof u->handle.bytes) {
		if (!look_again(u))
			fail_reply(u, "creating", file_of(u)->part, r);
		return;
	}
	memcpy(u->handle.bytes, r->data, r->n);
	u->handle.n = r->n;
	u->closing = u->written = false;
	u->in_flight = 0;
	if (!u->read_back && begin_hash(u, &why) < 0) {
		finish(u, &why);
		return;
	}
	u->fd = open(file_of(u)->local, O_RDONLY | O_CLOEXEC);
	if (u->fd < 0) {
		fail(u, GRETA_ENOENT, "reading", file_of(u)->local, strerror(errno));
		return;
	}
	send_more(u);
}

static bool is_file(const struct sftp_reply *r)
{
	return r->status == SFTP_OK && (!r->mode || S_ISREG(r->mode));
}

/*
 * What a broken connection left is continued where it ends. What is no file, or too long, goes first. A part that was
 * there is not created: if somebody has renamed it meanwhile, a new one would lack what that one had.
 */
static void on_part_stat(void *arg, const struct sftp_reply *r)
{
	struct upload *u = arg;
	struct file *f = file_of(u);
	bool is_part = is_file(r) && r->bytes <= f->bytes;

	u->offset = is_part && r->bytes > 0 ? r->bytes : 0;
	u->done = u->offset;
	if (r->status == SFTP_OK && !is_part)
		sftp_remove(u->sftp, f->part, on_removed, u);
	else
		sftp_open(u->sftp, f->part, SFTP_WRITE | (is_part ? 0 : SFTP_CREATE), 0700, on_open, u);
}

static void on_final_stat(void *arg, const struct sftp_reply *r)
{
	struct upload *u = arg;

	if (is_file(r) && r->bytes == file_of(u)->bytes)
		next_file(u);
	else
		sftp_lstat(u->sftp, file_of(u)->part, on_part_stat, u);
}

static void begin_file(struct upload *u)
{
	if (u->at == u->n_files) {
		finish(u, NULL);
		return;
	}
	sftp_lstat(u->sftp, file_of(u)->final, on_final_stat, u);
	flush(u);
}

static void on_place(void *arg, const struct greta_err *why)
{
	struct upload *u = arg;

	if (why)
		finish(u, why);
	else
		begin_file(u);
}

static void on_home(void *arg, const struct sftp_reply *r)
{
	struct upload *u = arg;

	if (!r->data) {
		fail_reply(u, "finding", "the login folder", r);
		return;
	}
	u->home = greta_strndup(r->data, r->n);
	u->place = upload_place_make(u->sftp, u->store, u->folder, on_place, u);
	flush(u);
}

struct upload *upload_start(struct greta_loop *loop, struct transport *t, const char *store, const char *folder,
			    const struct upload_file *files, size_t n_files, bool read_back, upload_fn *fn, void *arg,
			    struct greta_err *e)
{
	struct upload *u = greta_alloc(sizeof *u);

	*u = (struct upload){ .loop = loop, .transport = t, .read_back = read_back, .fn = fn, .arg = arg, .fd = -1 };
	u->store = greta_strdup(store);
	u->folder = greta_strdup(folder);
	u->sftp = sftp_create();
	u->n_files = n_files;
	u->files = greta_alloc(n_files * sizeof *u->files + 1);
	for (size_t i = 0; i < n_files; i++) {
		struct file *f = &u->files[i];

		f->local = greta_strdup(files[i].local);
		f->name = greta_strdup(files[i].name);
		f->final = greta_format("%s/%s/%s", store, folder, f->name);
		f->part = greta_format("%s.part", f->final);
		f->sha256 = greta_strdup(files[i].sha256);
		f->bytes = files[i].bytes;
		f->executable = files[i].executable;
	}
	u->silence = greta_loop_timer(loop, SILENCE_MS, 0, on_silence, u);
	u->stream = t->ops->files(t, &sftp_stream_events, u, e);
	if (u->stream)
		return u;
	release(u);
	return NULL;
}

void upload_progress(const struct upload *u, const char **name, int64_t *done, int64_t *total)
{
	const struct file *f = u->at < u->n_files ? &u->files[u->at] : NULL;

	*name = f ? f->name : "";
	*done = u->done;
	*total = f ? f->bytes : 0;
}
