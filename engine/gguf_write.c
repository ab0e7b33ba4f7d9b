#include "engine/gguf_write.h"

#include "base/cleanup.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

struct out_tensor {
	char name[GGUF_MAX_NAME + 1];
	const struct quant_traits *type;
	int n_dims;
	uint64_t ne[GGUF_MAX_DIMS];
	uint64_t offset, bytes; /* offset: from the beginning of the data */
};

struct gguf_write {
	char *path; /* where it will be */
	char *dir;
	char *tmp_path; /* beside it: for a moment in the commit, or throughout where O_TMPFILE is not had */
	bool has_tmp;   /* there is a file under tmp_path */
	int fd;
	mode_t mode;
	uint32_t alignment;
	struct greta_buf kvs;
	uint64_t n_kvs;
	struct out_tensor *tensors;
	size_t n_tensors, cap_tensors;
	uint64_t data_offset, total_bytes;
};

/* --- the file without a name --- */

/* The mode of the file that is replaced, else what the umask leaves. A device or a folder is not replaced. */
static int choose_mode(struct gguf_write *w, struct greta_err *e)
{
	struct stat st;
	mode_t mask;

	if (stat(w->path, &st)) {
		mask = umask(0);
		umask(mask);
		w->mode = 0666 & ~mask;
		return 0;
	}
	w->mode = st.st_mode & 07777;
	if (S_ISREG(st.st_mode))
		return 0;
	return greta_err_set(e, GRETA_EINVAL, "%s: %s cannot be replaced by a model", w->path,
			     S_ISDIR(st.st_mode) ? "a folder" : "what is no regular file");
}

static int open_unnamed(struct gguf_write *w, struct greta_err *e)
{
	w->fd = open(w->dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (w->fd >= 0)
		return 0;
	if (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT)
		return greta_err_sys(e, "%s: cannot create a file in %s", w->path, w->dir);
	w->fd = open(w->tmp_path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
	if (w->fd < 0)
		return greta_err_sys(e, "%s: cannot create a file in %s", w->path, w->dir);
	w->has_tmp = true;
	return 0;
}

static void set_paths(struct gguf_write *w, const char *path)
{
	char real[PATH_MAX];
	const char *slash;

	w->path = greta_strdup(realpath(path, real) ? real : path);
	slash = strrchr(w->path, '/');
	w->dir = !slash ? greta_strdup(".") : greta_strndup(w->path, slash == w->path ? 1 : (size_t)(slash - w->path));
	/* Left behind by a killed process of this very id, if it is there. */
	w->tmp_path = greta_format("%s.greta-tmp-%d", w->path, (int)getpid());
	unlink(w->tmp_path);
}

struct gguf_write *gguf_write_create(const char *path, struct greta_err *e)
{
	struct gguf_write *w = greta_alloc(sizeof *w);

	w->fd = -1;
	w->alignment = GGUF_DEFAULT_ALIGNMENT;
	set_paths(w, path);
	if (!choose_mode(w, e) && !open_unnamed(w, e))
		return w;
	gguf_write_destroy(w);
	return NULL;
}

void gguf_write_destroy(struct gguf_write *w)
{
	if (!w)
		return;
	if (w->fd >= 0)
		close(w->fd);
	if (w->has_tmp)
		unlink(w->tmp_path);
	greta_buf_release(&w->kvs);
	free(w->tensors);
	free(w->tmp_path);
	free(w->dir);
	free(w->path);
	free(w);
}

/* --- keys --- */

static void add_u32(struct greta_buf *b, uint32_t v)
{
	greta_buf_add(b, &v, sizeof v);
}

static void add_u64(struct greta_buf *b, uint64_t v)
{
	greta_buf_add(b, &v, sizeof v);
}

void gguf_write_item(struct greta_buf *items, const char *s, size_t n)
{
	add_u64(items, n);
	greta_buf_add(items, s, n);
}

static void add_key(struct gguf_write *w, const char *key, enum gguf_value_type type)
{
	gguf_write_item(&w->kvs, key, strlen(key));
	add_u32(&w->kvs, type);
	w->n_kvs++;
}

void gguf_write_u32(struct gguf_write *w, const char *key, uint32_t value)
{
	add_key(w, key, GGUF_U32);
	add_u32(&w->kvs, value);
}

void gguf_write_f32(struct gguf_write *w, const char *key, float value)
{
	add_key(w, key, GGUF_F32);
	greta_buf_add(&w->kvs, &value, sizeof value);
}

void gguf_write_bool(struct gguf_write *w, const char *key, bool value)
{
	add_key(w, key, GGUF_BOOL);
	greta_buf_addc(&w->kvs, value);
}

void gguf_write_str(struct gguf_write *w, const char *key, const char *value)
{
	add_key(w, key, GGUF_STR);
	gguf_write_item(&w->kvs, value, strlen(value));
}

void gguf_write_array(struct gguf_write *w, const char *key, enum gguf_value_type item_type, uint64_t n,
		      const void *items, size_t bytes)
{
	add_key(w, key, GGUF_ARRAY);
	add_u32(&w->kvs, item_type);
	add_u64(&w->kvs, n);
	greta_buf_add(&w->kvs, items, bytes);
}

void gguf_write_kv(struct gguf_write *w, const struct gguf_kv *kv)
{
	if (kv->type == GGUF_ARRAY) {
		gguf_write_array(w, kv->key, kv->item_type, kv->n, kv->data, kv->bytes);
		return;
	}
	add_key(w, kv->key, kv->type);
	greta_buf_add(&w->kvs, kv->data, kv->bytes);
}

/* --- tensors --- */

void gguf_write_alignment(struct gguf_write *w, uint32_t alignment)
{
	w->alignment = alignment;
}

void gguf_write_tensor(struct gguf_write *w, const char *name, const struct quant_traits *type, int n_dims,
		       const uint64_t *ne)
{
	struct out_tensor *t = GRETA_PUSH(w->tensors, w->n_tensors, w->cap_tensors);

	snprintf(t->name, sizeof t->name, "%s", name);
	t->type = type;
	t->n_dims = n_dims;
	t->bytes = 1;
	for (int i = 0; i < n_dims; i++) {
		t->ne[i] = ne[i];
		t->bytes *= i ? ne[i] : quant_bytes(type, ne[0]);
	}
}

static uint64_t padded(const struct gguf_write *w, uint64_t n)
{
	return (n + w->alignment - 1) / w->alignment * w->alignment;
}

static void add_head(struct gguf_write *w, struct greta_buf *head)
{
	uint64_t offset = 0;

	greta_buf_add(head, "GGUF", 4);
	add_u32(head, 3);
	add_u64(head, w->n_tensors);
	add_u64(head, w->n_kvs);
	greta_buf_add(head, w->kvs.data, w->kvs.len);
	for (size_t i = 0; i < w->n_tensors; i++) {
		struct out_tensor *t = &w->tensors[i];
		t->offset = offset;
		offset += padded(w, t->bytes);
		gguf_write_item(head, t->name, strlen(t->name));
		add_u32(head, (uint32_t)t->n_dims);
		greta_buf_add(head, t->ne, (size_t)t->n_dims * sizeof t->ne[0]);
		add_u32(head, t->type->type);
		add_u64(head, t->offset);
	}
	w->data_offset = padded(w, head->len);
	w->total_bytes = w->data_offset + offset;
}

/* Blocks are reserved before hours of work, where the file system can; the length is set in any case. What can't fit is
 * not tried: fallocate would first take all there is, from everybody who writes to that disk meanwhile. */
static int reserve(struct gguf_write *w, struct greta_err *e)
{
	struct statvfs disk;
	uint64_t free_bytes = fstatvfs(w->fd, &disk) == 0 ? (uint64_t)disk.f_bavail * disk.f_frsize : UINT64_MAX;
	char size[32], left[32];

	if (w->total_bytes > free_bytes) {
		errno = ENOSPC;
		return greta_err_sys(e, "%s: cannot reserve %s in %s, where %s are free", w->path,
				     greta_str_bytes(size, sizeof size, (double)w->total_bytes), w->dir,
				     greta_str_bytes(left, sizeof left, (double)free_bytes));
	}
	if (!fallocate(w->fd, 0, 0, (off_t)w->total_bytes))
		return 0;
	if (errno == EOPNOTSUPP && !ftruncate(w->fd, (off_t)w->total_bytes))
		return 0;
	return greta_err_sys(e, "%s: cannot reserve %s in %s", w->path,
			     greta_str_bytes(size, sizeof size, (double)w->total_bytes), w->dir);
}

static int write_at(struct gguf_write *w, uint64_t at, const void *data, size_t n, struct greta_err *e)
{
	const char *p = data;

	while (n > 0) {
		ssize_t done = pwrite(w->fd, p, n, (off_t)at);
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return greta_err_sys(e, "%s: write at offset %llu", w->path, (unsigned long long)at);
		p += done;
		at += (uint64_t)done;
		n -= (size_t)done;
	}
	return 0;
}

int gguf_write_start(struct gguf_write *w, struct greta_err *e)
{
	cleanup_buf struct greta_buf head = {0};

	add_head(w, &head);
	if (reserve(w, e))
		return -1;
	return write_at(w, 0, head.data, head.len, e);
}

int gguf_write_data(struct gguf_write *w, size_t i, uint64_t at, const void *data, size_t n, struct greta_err *e)
{
	uint64_t offset = w->data_offset + w->tensors[i].offset + at;

	if (write_at(w, offset, data, n, e))
		return -1;
	/* Starts the disk early, so that the commit does not wait for gigabytes. A hint: failure costs only time. */
	sync_file_range(w->fd, (off_t)offset, (off_t)n, SYNC_FILE_RANGE_WRITE);
	return 0;
}

/* --- commit --- */

static int give_name(struct gguf_write *w, struct greta_err *e)
{
	char unnamed[64];

	snprintf(unnamed, sizeof unnamed, "/proc/self/fd/%d", w->fd);
	if (!w->has_tmp && linkat(AT_FDCWD, unnamed, AT_FDCWD, w->tmp_path, AT_SYMLINK_FOLLOW))
		return greta_err_sys(e, "%s: cannot link %s", w->path, w->tmp_path);
	w->has_tmp = true;
	if (rename(w->tmp_path, w->path))
		return greta_err_sys(e, "%s: cannot rename %s to it", w->path, w->tmp_path);
	w->has_tmp = false;
	return 0;
}

int gguf_write_commit(struct gguf_write *w, struct greta_err *e)
{
	if (fchmod(w->fd, w->mode) || fsync(w->fd))
		return greta_err_sys(e, "%s", w->path);
	if (give_name(w, e))
		return -1;
	return greta_fs_sync_dir(w->dir, e);
}

uint64_t gguf_write_total_bytes(const struct gguf_write *w)
{
	return w->total_bytes;
}

int gguf_write_fd(const struct gguf_write *w)
{
	return w->fd;
}
