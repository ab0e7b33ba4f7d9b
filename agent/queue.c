#include "agent/queue.h"
#include "agent/files.h"
#include "agent/pool_quarantine.h"
#include "agent/spool.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* when-it-came, attempt, slot kind, GPUs, CPUs, seconds */
#define TICKET_PRINT "%020" PRId64 "-%s-s%d-g%" PRId64 "-c%" PRId64 "-w%" PRId64
#define TICKET_SCAN "%20" SCNd64 "-%36[0-9a-f-]-s%d-g%" SCNd64 "-c%" SCNd64 "-w%" SCNd64

void tickets_release(struct tickets *t)
{
	free(t->items);
	*t = (struct tickets){0};
}

int queue_prepare(const char *spool, struct greta_err *e)
{
	static const char *const folders[] = {"queue", "pilots", "log"};
	for (size_t i = 0; i < GRETA_COUNT(folders); i++) {
		cleanup_free char *path = greta_fs_join(spool, folders[i]);
		if (spool_own_folder(path, e) != 0)
			return -1;
	}
	return pool_quarantine_prepare(spool, e);
}

static void place(char out[FILE_PATH_MAX], const char *spool, const char *pilot, const char *name)
{
	if (pilot)
		file_path(out, "%s/pilots/%s/%s", spool, pilot, name);
	else
		file_path(out, "%s/queue/%s", spool, name);
}

int queue_add(const char *spool, const struct greta_spec *spec, struct greta_err *e)
{
	char name[128], path[FILE_PATH_MAX];
	int64_t gpus = spec->slot != GRETA_SLOT_GPU ? 0 : spec->n_gpus > 0 ? spec->n_gpus : (int64_t)spec->devices.n;
	snprintf(name, sizeof name, TICKET_PRINT, greta_clock_wall_ns(), spec->attempt, (int)spec->slot,
		 spec->slot == GRETA_SLOT_GPU && gpus < 1 ? 1 : gpus, spec->cpus, (int64_t)ceil(spec->wall_s));
	place(path, spool, NULL, name);
	cleanup_fd int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	return fd >= 0 ? 0 : greta_err_sys(e, "can't queue the attempt as %s", path);
}

static bool parse(const char *name, struct ticket *t)
{
	int slot = 0;
	*t = (struct ticket){0};
	greta_str_copy(t->name, sizeof t->name, name);
	if (sscanf(name, TICKET_SCAN, &t->came_ns, t->attempt, &slot, &t->gpus, &t->cpus, &t->wall_s) != 6 ||
	    !greta_uuid_valid(t->attempt))
		return false;
	t->slot = (enum greta_slot_kind)slot;
	return true;
}

static void list(const char *dir, struct tickets *out)
{
	struct ticket t;
	cleanup_strs struct greta_strs names = {0};
	file_names(dir, "", &names);
	for (size_t i = 0; i < names.n; i++)
		if (parse(names.items[i], &t))
			*GRETA_PUSH(out->items, out->n, out->cap) = t;
}

void queue_list(const char *spool, struct tickets *out)
{
	char dir[FILE_PATH_MAX];
	list(file_path(dir, "%s/queue", spool), out);
}

bool queue_drop(const char *spool, const struct ticket *t)
{
	char path[FILE_PATH_MAX];
	place(path, spool, NULL, t->name);
	return unlink(path) == 0;
}

bool queue_drop_attempt(const char *spool, const char *attempt)
{
	struct tickets waiting = {0};
	bool dropped = false;
	queue_list(spool, &waiting);
	for (size_t i = 0; i < waiting.n; i++)
		if (strcmp(waiting.items[i].attempt, attempt) == 0)
			dropped |= queue_drop(spool, &waiting.items[i]);
	tickets_release(&waiting);
	return dropped;
}

/* A file server that lost its answer says ENOENT to the repetition of what it has done. */
static bool move(const char *from, const char *to)
{
	return rename(from, to) == 0 || (errno == ENOENT && access(to, F_OK) == 0);
}

bool queue_take(const char *spool, const char *pilot, const struct ticket *t)
{
	char from[FILE_PATH_MAX], to[FILE_PATH_MAX];
	place(from, spool, NULL, t->name);
	place(to, spool, pilot, t->name);
	return move(from, to);
}

bool queue_return(const char *spool, const char *pilot, const struct ticket *t)
{
	char from[FILE_PATH_MAX], to[FILE_PATH_MAX];
	place(from, spool, pilot, t->name);
	place(to, spool, NULL, t->name);
	return move(from, to);
}

int queue_pilot_begin(const char *spool, const char *pilot, struct greta_err *e)
{
	char dir[FILE_PATH_MAX];
	return spool_own_folder(file_path(dir, "%s/pilots/%s", spool, pilot), e);
}

void queue_pilot_end(const char *spool, const char *pilot)
{
	char dir[FILE_PATH_MAX];
	rmdir(file_path(dir, "%s/pilots/%s", spool, pilot));
}

void queue_pilots(const char *spool, struct greta_strs *out)
{
	char dir[FILE_PATH_MAX];
	file_names(file_path(dir, "%s/pilots", spool), "", out);
}

void queue_taken(const char *spool, const char *pilot, struct tickets *out)
{
	char dir[FILE_PATH_MAX];
	list(file_path(dir, "%s/pilots/%s", spool, pilot), out);
}

void queue_done(const char *spool, const char *pilot, const struct ticket *t)
{
	char path[FILE_PATH_MAX];
	place(path, spool, pilot, t->name);
	unlink(path);
}
