#include "agent/spool.h"
#include "agent/files.h"
#include "agent/spare.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SPEC_MAX (4 * 1024 * 1024)
#define NEW_MIN_AGE_S 60
#define NEW_PREFIX ".new-"

/* The control file's records: SPOOL_RECORD bytes each, NUL-terminated, blank while their first byte is NUL. */
enum record { RECORD_PID, RECORD_CANCEL, RECORD_ENGINE, RECORD_ACKED, RECORD_COUNT };

int spool_own_folder(const char *path, struct greta_err *e)
{
	struct stat st;
	if (mkdir(path, 0700) != 0 && errno != EEXIST)
		return greta_err_sys(e, "can't make the spool folder %s", path);
	if (lstat(path, &st) != 0)
		return greta_err_sys(e, "can't look at the spool folder %s", path);
	if (!S_ISDIR(st.st_mode))
		return greta_err_set(e, GRETA_EINVAL, "%s is %s, not a folder: refused as a spool; remove it", path,
				     S_ISLNK(st.st_mode) ? "a symbolic link" : "something else");
	if (st.st_uid != geteuid())
		return greta_err_set(e, GRETA_EAUTH, "%s belongs to uid %u, not to us (uid %u): refused as a spool", path,
				     (unsigned)st.st_uid, (unsigned)geteuid());
	if (st.st_mode & 077)
		return greta_err_set(e, GRETA_EAUTH, "%s is open to others (mode %03o): refused as a spool; chmod 700 it",
				     path, (unsigned)st.st_mode & 0777);
	return 0;
}

int spool_prepare(const char *spool, bool shared, struct greta_err *e)
{
	const char *type = NULL;
	static const char *const folders[] = {"attempts", "fence", "spare"};
	if (spool_own_folder(spool, e) != 0)
		return -1;
	if (!shared && greta_fs_is_network(spool, &type))
		return greta_err_set(e, GRETA_EUNSUPPORTED,
				     "the spool %s is on a network file system (%s), where locks and fsync can't be trusted; "
				     "point GRETA_SPOOL_DIR at a local disk", spool, type);
	for (size_t i = 0; i < GRETA_COUNT(folders); i++) {
		cleanup_free char *path = greta_fs_join(spool, folders[i]);
		if (spool_own_folder(path, e) != 0)
			return -1;
	}
	return 0;
}

static char *attempts_dir(const char *spool)
{
	return greta_fs_join(spool, "attempts");
}

char *spool_attempt_dir(const char *spool, const char *uuid)
{
	return greta_format("%s/attempts/%s", spool, uuid);
}

void spool_list(const char *spool, struct greta_strs *uuids)
{
	cleanup_free char *dir = attempts_dir(spool);
	cleanup_strs struct greta_strs names = {0};
	file_names(dir, "", &names);
	for (size_t i = 0; i < names.n; i++)
		if (greta_uuid_valid(names.items[i]))
			greta_strs_add(uuids, names.items[i]);
}

/* creating; what a spare (spare.h) has already is written over */

/* Not where it is that long already: freeing the rest of a reserve costs more than all else here. */
static int cut(int fd, off_t n)
{
	struct stat st;
	return fstat(fd, &st) == 0 && st.st_size == n ? 0 : ftruncate(fd, n);
}

static int write_synced(const char *dir, const char *name, const char *data, size_t n, struct greta_err *e)
{
	cleanup_free char *path = greta_fs_join(dir, name);
	cleanup_fd int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return greta_err_sys(e, "can't create %s", path);
	if (greta_fs_write_all(fd, data, n, e) != 0)
		return greta_err_wrap(e, "%s", path);
	return cut(fd, (off_t)n) == 0 && fsync(fd) == 0 ? 0 : greta_err_sys(e, "can't sync %s", path);
}

/* Blocks that can be written later on a full disk. Where the file system has no fallocate, zeros are written.
 * how: FALLOC_FL_KEEP_SIZE for a file that stays empty, where that can be; 0: of so many bytes. */
static int write_reserve(const char *dir, const char *name, int how, size_t bytes, struct greta_err *e)
{
	cleanup_free char *path = greta_fs_join(dir, name);
	cleanup_fd int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return greta_err_sys(e, "can't create %s", path);
	if (how && fallocate(fd, how, 0, (off_t)bytes) == 0)
		return 0;
	int sys = posix_fallocate(fd, 0, (off_t)bytes);
	if (sys == 0)
		return 0;
	errno = sys;
	return greta_err_sys(e, "can't reserve %zu bytes for %s", bytes, path);
}

/* For whom, and in which boot; "": in any. */
struct owner {
	const char *db, *boot;
};

/* The spec, with the owner in front: members that those who read specs ignore. */
static void print_spec(const struct greta_spec *spec, const struct owner *owner, struct greta_buf *out)
{
	cleanup_buf struct greta_buf text = {0};
	greta_spec_print(spec, &text);
	greta_buf_addf(out, "{\"db\":\"%s\",\"boot\":\"%s\",%s", owner->db, owner->boot, greta_buf_str(&text) + 1);
}

/* Everything is there before the first sync, so that file systems with a journal have one commit to make, not two. */
static int fill(const char *dir, const struct greta_spec *spec, const struct owner *owner, struct greta_err *e)
{
	cleanup_buf struct greta_buf text = {0};
	cleanup_free char *events = greta_fs_join(dir, "events");
	cleanup_free char *scratch = greta_fs_join(dir, "scratch");
	if (write_reserve(dir, "outcome.part", FALLOC_FL_KEEP_SIZE, SPOOL_OUTCOME_RESERVE, e) != 0)
		return -1;
	cleanup_fd int fd = open(events, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return greta_err_sys(e, "can't create %s", events);
	if (mkdir(scratch, 0700) != 0)
		return greta_err_sys(e, "can't make %s", scratch);
	print_spec(spec, owner, &text);
	return write_synced(dir, "spec.json", text.data, text.len, e) == 0 ? greta_fs_sync_dir(dir, e) : -1;
}

/* The control file with its lock taken, as a descriptor. */
static int make_control(const char *dir, struct greta_err *e)
{
	cleanup_free char *path = greta_fs_join(dir, "control");
	if (write_reserve(dir, "control", 0, RECORD_COUNT * SPOOL_RECORD, e) != 0)
		return -1;
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
		return fd;
	greta_err_sys(e, "can't lock %s", path);
	if (fd >= 0)
		close(fd);
	return -1;
}

static int reveal(const char *attempts, const char *from, const char *to, struct greta_err *e)
{
	if (rename(from, to) == 0)
		return greta_fs_sync_dir(attempts, e);
	if (errno == ENOTEMPTY || errno == EEXIST)
		return greta_err_set(e, GRETA_EEXIST, "there is a spool %s already", to);
	return greta_err_sys(e, "can't rename %s to %s", from, to);
}

static int create(const char *spool, const struct greta_spec *spec, const struct owner *owner, int *lock_fd,
		  struct greta_err *e)
{
	char unique[GRETA_UUID_LEN + 1];
	cleanup_free char *attempts = attempts_dir(spool);
	cleanup_free char *to = spool_attempt_dir(spool, spec->attempt);
	cleanup_free char *from = greta_format("%s/" NEW_PREFIX "%s", attempts, greta_uuid_new(unique));
	if (access(to, F_OK) == 0)
		return greta_err_set(e, GRETA_EEXIST, "there is a spool %s already", to);
	if (!spare_take(spool, from) && mkdir(from, 0700) != 0)
		return greta_err_sys(e, "can't make the spool folder %s", from);
	int fd = make_control(from, e);
	if (fd < 0 || fill(from, spec, owner, e) != 0 || reveal(attempts, from, to, e) != 0) {
		greta_fs_remove_tree(from, NULL);
		if (fd >= 0)
			close(fd);
		return -1;
	}
	*lock_fd = fd;
	return 0;
}

int spool_create(const char *spool, const struct greta_spec *spec, const char *db, int *lock_fd, struct greta_err *e)
{
	return create(spool, spec, &(struct owner){db, greta_clock_boot_id()}, lock_fd, e);
}

int spool_create_shared(const char *spool, const struct greta_spec *spec, const char *db, int *lock_fd, struct greta_err *e)
{
	return create(spool, spec, &(struct owner){db, ""}, lock_fd, e);
}

/* records */

static int write_record(int fd, enum record which, const char *text, struct greta_err *e)
{
	char record[SPOOL_RECORD] = "";
	greta_str_copy(record, sizeof record, text);
	if (pwrite(fd, record, sizeof record, which * SPOOL_RECORD) != (ssize_t)sizeof record)
		return greta_err_sys(e, "can't write the control file");
	return 0;
}

static int open_control(const char *dir, struct greta_err *e)
{
	cleanup_free char *path = greta_fs_join(dir, "control");
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	return fd >= 0 ? fd : greta_err_sys(e, "can't open %s", path);
}

static int put_record(const char *dir, enum record which, const char *text, struct greta_err *e)
{
	cleanup_fd int fd = open_control(dir, e);
	return fd < 0 ? -1 : write_record(fd, which, text, e);
}

static bool get_record(const char *dir, enum record which, char text[SPOOL_RECORD])
{
	cleanup_fd int fd = open_control(dir, NULL);
	if (fd < 0 || pread(fd, text, SPOOL_RECORD, which * SPOOL_RECORD) != SPOOL_RECORD || !text[0])
		return false;
	text[SPOOL_RECORD - 1] = '\0';
	return true;
}

/* the lock */

int spool_lock(const char *dir, struct greta_err *e)
{
	cleanup_fd int fd = open_control(dir, e);
	if (fd < 0)
		return -1;
	if (flock(fd, LOCK_EX | LOCK_NB) != 0)
		return errno == EWOULDBLOCK ? greta_err_set(e, GRETA_EBUSY, "%s is held by its supervisor, pid %d", dir,
							    (int)spool_lock_pid(dir))
					    : greta_err_sys(e, "can't lock %s", dir);
	int taken = fd;
	fd = -1;
	return taken;
}

int spool_lock_write(int lock_fd, struct greta_err *e)
{
	char text[32];
	snprintf(text, sizeof text, "%d", (int)getpid());
	return write_record(lock_fd, RECORD_PID, text, e);
}

pid_t spool_lock_pid(const char *dir)
{
	char text[SPOOL_RECORD];
	return get_record(dir, RECORD_PID, text) ? (pid_t)strtol(text, NULL, 10) : 0;
}

/* reading */

int spool_read_spec(const char *dir, struct greta_spec *out, struct greta_err *e)
{
	cleanup_free char *path = greta_fs_join(dir, "spec.json");
	cleanup_buf struct greta_buf text = {0};
	if (greta_fs_read(path, SPEC_MAX, &text, e) != 0)
		return -1;
	return greta_spec_parse(greta_buf_str(&text), text.len, out, e) == 0 ? 0 : greta_err_wrap(e, "%s", path);
}

/* Only its beginning is read: print_spec puts it there. */
static int read_begin(const char *dir, char *text, size_t cap, struct greta_err *e)
{
	cleanup_free char *path = greta_fs_join(dir, "spec.json");
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	ssize_t n = fd >= 0 ? read(fd, text, cap - 1) : -1;
	if (n < 0)
		return greta_err_sys(e, "can't read %s", path);
	text[n] = '\0';
	return 0;
}

int spool_read_owner(const char *dir, char db[GRETA_UUID_LEN + 1], struct greta_err *e)
{
	char text[64];
	if (read_begin(dir, text, sizeof text, e) != 0)
		return -1;
	if (sscanf(text, "{\"db\":\"%36[0-9a-f-]\"", db) == 1 && greta_uuid_valid(db))
		return 0;
	return greta_err_set(e, GRETA_EINVAL, "%s/spec.json does not say whose attempt it is", dir);
}

bool spool_is_of_another_boot(const char *dir)
{
	char text[128], boot[GRETA_BOOT_ID_LEN + 1];
	return read_begin(dir, text, sizeof text, NULL) == 0 &&
	       sscanf(text, "{\"db\":\"%*36[0-9a-f-]\",\"boot\":\"%36[0-9a-f-]\"", boot) == 1 &&
	       strcmp(boot, greta_clock_boot_id()) != 0;
}

bool spool_is_finished(const char *dir)
{
	cleanup_free char *path = greta_fs_join(dir, "outcome.json");
	return access(path, F_OK) == 0;
}

/* ending */

int spool_publish(const char *dir, const char *json, size_t n, struct greta_err *e)
{
	cleanup_free char *part = greta_fs_join(dir, "outcome.part");
	cleanup_free char *path = greta_fs_join(dir, "outcome.json");
	/* Open before the rename: from then on a session may tell the outcome and, once it is acknowledged, remove the folder. */
	cleanup_fd int folder = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_fd int fd = open(part, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (folder < 0)
		return greta_err_sys(e, "can't open the folder %s", dir);
	if (fd < 0)
		return greta_err_sys(e, "can't open %s", part);
	if (greta_fs_write_all(fd, json, n, e) != 0)
		return greta_err_wrap(e, "%s", part);
	if (cut(fd, (off_t)n) != 0 || fsync(fd) != 0)
		return greta_err_sys(e, "can't sync %s", part);
	if (rename(part, path) != 0)
		return greta_err_sys(e, "can't rename %s to %s", part, path);
	if (fsync(folder) != 0 && errno != EINVAL) /* EINVAL: as in greta_fs_sync_dir */
		return greta_err_sys(e, "can't sync the folder %s", dir);
	return 0;
}

int spool_cancel(const char *dir, const char *why, struct greta_err *e)
{
	return put_record(dir, RECORD_CANCEL, why && *why ? why : "asked to stop", e);
}

bool spool_cancel_asked(const char *dir, char why[SPOOL_RECORD])
{
	return get_record(dir, RECORD_CANCEL, why);
}

int spool_note_engine(const char *dir, const char *text, struct greta_err *e)
{
	return put_record(dir, RECORD_ENGINE, text, e);
}

bool spool_engine_note(const char *dir, char text[SPOOL_RECORD])
{
	return get_record(dir, RECORD_ENGINE, text);
}

int64_t spool_acked(const char *dir)
{
	char text[SPOOL_RECORD];
	return get_record(dir, RECORD_ACKED, text) ? strtoll(text, NULL, 10) : 0;
}

void spool_ack(const char *dir, int64_t seq)
{
	char text[32];
	snprintf(text, sizeof text, "%" PRId64, seq);
	put_record(dir, RECORD_ACKED, text, NULL); /* lost, it costs a replay of what the controller knows by number */
}

static int remove_attempt(const char *spool, const char *uuid, bool keep, struct greta_err *e)
{
	cleanup_free char *dir = spool_attempt_dir(spool, uuid);
	cleanup_free char *dead = greta_format("%s/attempts/" SPOOL_DEAD "%s", spool, uuid);
	if (rename(dir, dead) != 0) /* ENOENT: another session removes it, or makes a spare of it */
		return errno == ENOENT ? 0 : greta_err_sys(e, "can't remove %s", dir);
	return keep && spare_keep(spool, dead) ? 0 : greta_fs_remove_tree(dead, e);
}

int spool_remove(const char *spool, const char *uuid, struct greta_err *e)
{
	return remove_attempt(spool, uuid, false, e);
}

int spool_recycle(const char *spool, const char *uuid, struct greta_err *e)
{
	return remove_attempt(spool, uuid, true, e);
}

/* A folder in the making is locked by its maker; one that can be locked has none. */
static void tidy_new(const char *dir)
{
	struct stat st;
	if (stat(dir, &st) != 0 || time(NULL) - st.st_mtime < NEW_MIN_AGE_S)
		return; /* perhaps between its mkdir and its lock */
	cleanup_fd int fd = open_control(dir, NULL);
	if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
		greta_fs_remove_tree(dir, NULL);
	else if (fd < 0 && errno == ENOENT)
		rmdir(dir);
}

/* Where a power cut came before the renames of a folder that was recycled were on the disk, but not before its contents
 * were, it has its old name. */
static void tidy_attempt(const char *spool, const char *dir, const char *uuid)
{
	struct greta_spec spec = {0};
	if (spool_read_spec(dir, &spec, NULL) == 0 && strcmp(spec.attempt, uuid) != 0)
		spool_remove(spool, uuid, NULL);
	greta_spec_release(&spec);
}

/* It may be on its way to the spares, and in the next moment another attempt's: only what nobody else finds is removed. */
static void tidy_dead(const char *attempts, const char *dir)
{
	char unique[GRETA_UUID_LEN + 1];
	cleanup_free char *ours = greta_format("%s/" SPOOL_DEAD "%s", attempts, greta_uuid_new(unique));
	if (rename(dir, ours) == 0)
		greta_fs_remove_tree(ours, NULL);
}

static void tidy_one(const char *spool, const char *attempts, const char *name)
{
	cleanup_free char *dir = greta_fs_join(attempts, name);
	if (greta_str_starts(name, SPOOL_DEAD))
		tidy_dead(attempts, dir);
	else if (greta_str_starts(name, NEW_PREFIX))
		tidy_new(dir);
	else if (greta_uuid_valid(name))
		tidy_attempt(spool, dir, name);
}

void spool_tidy(const char *spool)
{
	cleanup_free char *attempts = attempts_dir(spool);
	cleanup_strs struct greta_strs names = {0};
	cleanup_dir DIR *d = opendir(attempts);
	spare_clear(spool);
	for (struct dirent *entry; d && (entry = readdir(d));)
		greta_strs_add(&names, entry->d_name); /* all first: one that can't be removed has another name then */
	for (size_t i = 0; i < names.n; i++)
		tidy_one(spool, attempts, names.items[i]);
}
