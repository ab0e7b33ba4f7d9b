#include "agent/slots.h"
#include "agent/devices.h"
#include "agent/files.h"
#include "agent/foreign.h"
#include "agent/neighbours.h"
#include "agent/quarantine.h"
#include "base/cleanup.h"
#include "base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define NODE "node"
#define WANTS "node.wants"
#define PROC "/proc" /* locks are real, whatever stands in for the node's other files */

/* For all users of the node, as /tmp is: from the first moment, since nobody else could open it to them later. */
static int prepare_folder(const char *dir, struct greta_err *e)
{
	struct stat st;
	mode_t mask = umask(0);
	mkdir(dir, 01777);
	umask(mask);
	if (lstat(dir, &st) != 0)
		return greta_err_sys(e, "can't make the slot folder %s", dir);
	if (!S_ISDIR(st.st_mode))
		return greta_err_set(e, GRETA_EINVAL, "the slot folder %s is not a folder; remove it", dir);
	return 0;
}

int slots_prepare(const char *dir, struct greta_err *e)
{
	char quarantine[FILE_PATH_MAX], hangs[FILE_PATH_MAX];
	file_path(quarantine, "%s/" QUARANTINE_FOLDER, dir);
	file_path(hangs, "%s/" NEIGHBOURS_FOLDER, dir);
	return prepare_folder(dir, e) || prepare_folder(quarantine, e) || prepare_folder(hangs, e) ? -1 : 0;
}

static int create_slot(const char *path)
{
	mode_t mask = umask(0);
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
	umask(mask);
	return fd;
}

/* Not O_CREAT at first: the kernel may refuse that for another user's file in a sticky folder (protected_regular). */
static int open_slot(const char *dir, const char *name, struct greta_err *e)
{
	cleanup_free char *path = greta_format("%s/%s", dir, name);
	for (int tries = 0; tries < 3; tries++) {
		int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
		if (fd >= 0)
			return fd;
		if (errno != ENOENT)
			break;
		fd = create_slot(path);
		if (fd >= 0)
			return fd;
		if (errno != EEXIST)
			break;
	}
	return greta_err_sys(e, "can't open the slot %s", path);
}

static void keep(struct slots *s, int fd)
{
	*GRETA_PUSH(s->fds, s->n_fds, s->cap_fds) = fd;
}

/* holders */

/* Always as long, so that nothing of the one before is left over. */
static void write_holder(int fd, const char *attempt)
{
	char text[96];
	int n = snprintf(text, sizeof text, "%-11d %-10u %-36s\n", (int)getpid(), (unsigned)geteuid(), attempt);
	if (pwrite(fd, text, (size_t)n, 0) != n)
		return; /* only messages are poorer for it */
}

static bool read_holder(const char *dir, const char *name, struct slots_holder *out)
{
	char text[96];
	*out = (struct slots_holder){0};
	greta_str_copy(out->name, sizeof out->name, name);
	return file_text(dir, name, text, sizeof text) == 0 &&
	       sscanf(text, "%d %u %36s", &out->pid, &out->uid, out->attempt) >= 2;
}

static void say_foreign(struct slots *s, const char *proc, const char *what, const char *how, pid_t pid)
{
	char who[160] = "a process that can't be seen from here";
	if (pid > 0)
		foreign_name(proc, pid, who, sizeof who);
	snprintf(s->waiting_for, sizeof s->waiting_for, "%s, %s by %s, outside GRETA", what, how, who);
	s->foreign = true;
}

/* The file tells who took it last; the kernel, who has it now. */
static void say_holder(struct slots *s, const char *dir, const char *name)
{
	struct slots_holder h;
	cleanup_fd int fd = open_slot(dir, name, NULL);
	pid_t locker = fd >= 0 ? foreign_lock_holder(PROC, fd) : 0;
	if (!read_holder(dir, name, &h) || (locker > 0 && locker != h.pid)) {
		say_foreign(s, PROC, name, "held", locker);
		return;
	}
	const struct passwd *user = getpwuid(h.uid);
	snprintf(s->waiting_for, sizeof s->waiting_for, "%s, held by pid %d of user %s%s%s", name, h.pid,
		 user ? user->pw_name : "?", h.attempt[0] ? ", attempt " : "", h.attempt);
}

static int busy(struct slots *s, const char *dir, const char *name, struct greta_err *e)
{
	say_holder(s, dir, name);
	return greta_err_set(e, GRETA_EBUSY, "waiting for %s", s->waiting_for);
}

static bool is_locked(const char *dir, const char *name)
{
	cleanup_fd int fd = open_slot(dir, name, NULL);
	return fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

/* taking */

/* Something that tidies may have removed it between open and flock. */
static bool is_still_there(int fd, const char *dir, const char *name)
{
	struct stat held, there;
	cleanup_free char *path = greta_format("%s/%s", dir, name);
	return fstat(fd, &held) == 0 && lstat(path, &there) == 0 && there.st_ino == held.st_ino && there.st_dev == held.st_dev;
}

/* Used now, for what removes old files from /var/tmp: a lock that is only shared writes nothing else, and one on a file that
 * was removed excludes nobody. */
static void put_mark(int fd, int how, const char *attempt)
{
	if (how == LOCK_EX)
		write_holder(fd, attempt);
	else
		futimens(fd, NULL); /* it holds without */
}

static int take(struct slots *s, const char *dir, const char *name, int how, const char *attempt, struct greta_err *e)
{
	for (int tries = 0; tries < 100; tries++) {
		cleanup_fd int fd = open_slot(dir, name, e);
		if (fd < 0)
			return -1;
		if (flock(fd, how | LOCK_NB) != 0)
			return errno == EWOULDBLOCK ? busy(s, dir, name, e) : greta_err_sys(e, "can't lock the slot %s", name);
		if (!is_still_there(fd, dir, name))
			continue;
		put_mark(fd, how, attempt);
		keep(s, fd);
		fd = -1;
		return 0;
	}
	return greta_err_set(e, GRETA_EBUSY, "the slot %s is being removed and created again by another process", name);
}

/* Somebody has a part of the node: says who. */
static void say_any_part(struct slots *s, const char *dir)
{
	cleanup_strs struct greta_strs names = {0};
	file_names(dir, "", &names);
	for (size_t i = 0; i < names.n; i++)
		if ((greta_str_starts(names.items[i], "cpu-") || greta_str_starts(names.items[i], "gpu-")) &&
		    is_locked(dir, names.items[i])) {
			say_holder(s, dir, names.items[i]);
			return;
		}
}

static void want_node(struct slots *s, const char *dir, const char *attempt)
{
	if (s->wants_fd > 0)
		return;
	int fd = open_slot(dir, WANTS, NULL);
	if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0) {
		write_holder(fd, attempt);
		s->wants_fd = fd;
	} else if (fd >= 0) {
		close(fd);
	}
}

static int take_node(struct slots *s, const char *dir, const char *attempt, struct greta_err *e)
{
	if (take(s, dir, NODE, LOCK_EX, attempt, e) == 0) {
		greta_strs_add(&s->names, NODE);
		return 0;
	}
	if (!e || e->code != GRETA_EBUSY)
		return -1;
	want_node(s, dir, attempt);
	if (is_locked(dir, NODE)) /* exclusively, by another node slot */
		say_holder(s, dir, NODE);
	else
		say_any_part(s, dir);
	return greta_err_set(e, GRETA_EBUSY, "waiting for %s", s->waiting_for);
}

static int take_share(struct slots *s, const char *dir, const char *attempt, struct greta_err *e)
{
	if (is_locked(dir, WANTS))
		return busy(s, dir, WANTS, e);
	return take(s, dir, NODE, LOCK_SH, attempt, e);
}

static int take_cpus(struct slots *s, const char *dir, const struct greta_spec *spec, struct greta_err *e)
{
	cpu_set_t allowed;
	struct greta_err last = {0};
	if (sched_getaffinity(0, sizeof allowed, &allowed) != 0)
		return greta_err_sys(e, "can't ask which CPUs are ours");
	int64_t want = spec->cpus > 0 ? spec->cpus : CPU_COUNT(&allowed), got = 0;
	if (want > CPU_COUNT(&allowed))
		return greta_err_set(e, GRETA_EUNSUPPORTED, "the slot asks for %" PRId64 " CPUs, this node lets us use %d",
				     want, CPU_COUNT(&allowed));
	CPU_ZERO(&s->cpus);
	for (int cpu = 0; cpu < CPU_SETSIZE && got < want; cpu++) {
		char name[32];
		snprintf(name, sizeof name, "cpu-%d", cpu);
		if (!CPU_ISSET(cpu, &allowed) || take(s, dir, name, LOCK_EX, spec->attempt, &last) != 0)
			continue;
		CPU_SET(cpu, &s->cpus);
		greta_strs_add(&s->names, name);
		got++;
	}
	s->bind_cpus = spec->cpus > 0;
	if (got == want)
		return 0;
	*e = last;
	return -1;
}

static int lock_device(struct slots *s, const struct greta_device *d, struct greta_err *e)
{
	int fd = open(d->path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return greta_err_sys(e, "can't open %s of GPU %s (is the user in its group, render or video?)", d->path,
				     d->uuid);
	if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
		keep(s, fd);
		return 0;
	}
	say_foreign(s, PROC, d->path, "locked", foreign_lock_holder(PROC, fd));
	close(fd);
	return greta_err_set(e, GRETA_EBUSY, "waiting for %s", s->waiting_for);
}

/* Who computes there without a lock would disturb the measurement, and be disturbed. */
static int refuse_foreign(struct slots *s, const struct agent_paths *paths, const struct greta_device *d,
			  struct greta_err *e)
{
	cleanup_free char *name = greta_format("gpu-%s", d->uuid);
	pid_t user = foreign_user(paths->sys, d);
	if (!user)
		return 0;
	say_foreign(s, paths->proc, name, "used", user);
	return greta_err_set(e, GRETA_EBUSY, "waiting for %s", s->waiting_for);
}

static int refuse_quarantined(const char *dir, const char *name, struct greta_err *e)
{
	char reason[QUARANTINE_REASON_MAX];
	if (!quarantine_is(dir, name, reason))
		return 0;
	return greta_err_set(e, GRETA_EUNSUPPORTED, "%s is in quarantine %s; see to it, then `greta-agent quarantine --release %s`",
			     name, reason, name);
}

static int take_gpu(struct slots *s, const struct agent_paths *paths, const struct greta_device *d, const char *attempt,
		    struct greta_err *e)
{
	const char *dir = paths->slots;
	size_t before = s->n_fds;
	cleanup_free char *name = greta_format("gpu-%s", d->uuid);
	if (refuse_quarantined(dir, name, e) != 0 || take(s, dir, name, LOCK_EX, attempt, e) != 0)
		return -1;
	if (lock_device(s, d, e) != 0 || refuse_foreign(s, paths, d, e) != 0) {
		while (s->n_fds > before)
			close(s->fds[--s->n_fds]);
		return -1;
	}
	greta_strs_add(&s->names, name);
	greta_strs_add(&s->devices, d->uuid);
	return 0;
}

static bool is_asked(const struct greta_spec *spec, const struct greta_device *d)
{
	return spec->devices.n == 0 || greta_strs_has(&spec->devices, d->uuid);
}

/* The runtimes' own variables, so that the engine sees its GPUs and no others, numbered from 0. */
static void make_visible(struct slots *s, const struct greta_facts *found)
{
	cleanup_buf struct greta_buf list = {0};
	const struct greta_device *first = NULL;
	for (size_t i = 0; i < s->devices.n; i++)
		for (size_t k = 0; k < found->n_devices; k++)
			if (strcmp(s->devices.items[i], found->devices[k].uuid) == 0) {
				first = &found->devices[k];
				greta_buf_addf(&list, "%s%s", i ? "," : "", first->uuid);
			}
	if (first)
		greta_strs_addf(&s->visible, "%s=%s", devices_visible_variable(first), greta_buf_str(&list));
}

/* Why there are not enough: busy ones can be waited for, what is refused can't. */
static int too_few(const struct greta_spec *spec, size_t want, size_t usable, size_t there, const struct greta_err *busy_err,
		   const struct greta_err *refused, struct greta_err *e)
{
	if (usable >= want && busy_err->code != GRETA_OK)
		*e = *busy_err;
	else if (refused->code != GRETA_OK)
		*e = *refused;
	else
		greta_err_set(e, GRETA_EUNSUPPORTED, "the slot asks for %zu GPUs%s, this node has %zu", want,
			      spec->devices.n ? " by name" : "", there);
	return -1;
}

static int take_gpus_of(struct slots *s, const struct agent_paths *paths, const struct greta_spec *spec,
			const struct greta_facts *found, struct greta_err *e)
{
	struct greta_err busy_err = {0}, refused = {0};
	size_t want = spec->n_gpus > 0 ? (size_t)spec->n_gpus : spec->devices.n ? spec->devices.n : 1, usable = 0;
	for (size_t i = 0; i < found->n_devices && s->devices.n < want; i++) {
		struct greta_err why = {0};
		if (!is_asked(spec, &found->devices[i]))
			continue;
		take_gpu(s, paths, &found->devices[i], spec->attempt, &why);
		usable += why.code == GRETA_OK || why.code == GRETA_EBUSY;
		if (why.code == GRETA_EBUSY)
			busy_err = why;
		else if (why.code != GRETA_OK)
			refused = why;
	}
	if (s->devices.n < want)
		return too_few(spec, want, usable, found->n_devices, &busy_err, &refused, e);
	make_visible(s, found);
	return 0;
}

static int take_gpus(struct slots *s, const struct agent_paths *paths, const struct greta_spec *spec,
		     struct greta_err *e)
{
	struct greta_facts found = {0};
	devices_find(paths->sys, paths->proc, paths->dev, &found);
	int rc = take_gpus_of(s, paths, spec, &found, e);
	greta_facts_release(&found);
	return rc;
}

/* Gives back what a failed try has taken; keeps the wish for the whole node. */
static void give_back(struct slots *s)
{
	for (size_t i = 0; i < s->n_fds; i++)
		close(s->fds[i]);
	free(s->fds);
	s->fds = NULL;
	s->n_fds = s->cap_fds = 0;
	greta_strs_release(&s->devices);
	greta_strs_release(&s->visible);
	greta_strs_release(&s->names);
}

/* One that we may not open is nobody's reason to wait: the engine may need none of them. */
static int take_with_node(struct slots *s, const struct agent_paths *paths, const struct greta_device *d, struct greta_err *e)
{
	struct greta_err why = {0};
	cleanup_free char *name = greta_format("gpu-%s", d->uuid);
	if (refuse_quarantined(paths->slots, name, e) != 0)
		return -1;
	greta_strs_add(&s->devices, d->uuid);
	if (lock_device(s, d, &why) != 0 && why.code == GRETA_EBUSY) {
		*e = why;
		return -1;
	}
	return refuse_foreign(s, paths, d, e);
}

static int take_all_gpus(struct slots *s, const struct agent_paths *paths, struct greta_err *e)
{
	struct greta_facts found = {0};
	int rc = 0;
	devices_find(paths->sys, paths->proc, paths->dev, &found);
	for (size_t i = 0; i < found.n_devices && rc == 0; i++)
		rc = take_with_node(s, paths, &found.devices[i], e);
	if (getenv(DEVICES_ALLOCATED)) /* there are others, which are not ours */
		make_visible(s, &found);
	greta_facts_release(&found);
	return rc;
}

static int take_kind(struct slots *s, const struct agent_paths *paths, const struct greta_spec *spec,
		     struct greta_err *e)
{
	if (spec->slot == GRETA_SLOT_NODE) {
		if (take_node(s, paths->slots, spec->attempt, e) != 0)
			return -1;
		return take_all_gpus(s, paths, e);
	}
	if (take_share(s, paths->slots, spec->attempt, e) != 0)
		return -1;
	return spec->slot == GRETA_SLOT_GPU ? take_gpus(s, paths, spec, e) : take_cpus(s, paths->slots, spec, e);
}

int slots_take(struct slots *s, const struct agent_paths *paths, const struct greta_spec *spec, struct greta_err *e)
{
	struct greta_err why = {0};
	s->waiting_for[0] = '\0';
	s->foreign = false;
	if (refuse_quarantined(paths->slots, NODE, &why) != 0 || take_kind(s, paths, spec, &why) != 0) {
		give_back(s);
		if (e)
			*e = why;
		return -1;
	}
	if (s->wants_fd > 0)
		close(s->wants_fd);
	s->wants_fd = 0;
	return 0;
}

void slots_release(struct slots *s)
{
	give_back(s);
	if (s->wants_fd > 0)
		close(s->wants_fd);
	*s = (struct slots){0};
}

size_t slots_holders(const char *dir, struct slots_holder **out)
{
	size_t n = 0, cap = 0;
	cleanup_strs struct greta_strs names = {0};
	*out = NULL;
	file_names(dir, "", &names);
	for (size_t i = 0; i < names.n; i++) {
		struct slots_holder h;
		if (strcmp(names.items[i], QUARANTINE_FOLDER) == 0 || strcmp(names.items[i], NEIGHBOURS_FOLDER) == 0)
			continue;
		read_holder(dir, names.items[i], &h);
		h.held = is_locked(dir, names.items[i]);
		*GRETA_PUSH(*out, n, cap) = h;
	}
	return n;
}
