#include "agent/cgroup.h"
#include "agent/files.h"
#include "base/cleanup.h"
#include "base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEXT_CAP (256 * 1024) /* of mountinfo: container hosts have long ones */

/* Is the line of mountinfo ("36 31 0:31 ROOT MOUNTPOINT opts - TYPE SOURCE superopts") this hierarchy's? */
static bool is_hierarchy(const char *line, const char *controller)
{
	const char *type = strstr(line, " - ");
	if (!type)
		return false;
	if (!*controller)
		return greta_str_starts(type, " - cgroup2 ");
	const char *options = greta_str_starts(type, " - cgroup ") ? strrchr(type, ' ') : NULL;
	const char *hit = options ? strstr(options, controller) : NULL;
	return hit && strchr(" ,", hit[-1]) && strchr(",", hit[strlen(controller)]);
}

/* MOUNTPOINT of the first line of this hierarchy. */
static bool mount_point(const char *mounts, const char *controller, char *out, size_t cap)
{
	for (const char *line = mounts; *line; line += strcspn(line, "\n"), line += *line == '\n') {
		char at[512];
		cleanup_free char *copy = greta_strndup(line, strcspn(line, "\n"));
		if (!is_hierarchy(copy, controller) || sscanf(copy, "%*s %*s %*s %*s %511s", at) != 1)
			continue;
		greta_str_copy(out, cap, at);
		return true;
	}
	return false;
}

/* In /proc/self/cgroup: "0::/a/b" for v2, "4:cpu,memory:/a/b" for v1. */
static bool own_group(const char *groups, const char *controller, char *out, size_t cap)
{
	for (const char *line = groups; *line; line += strcspn(line, "\n"), line += *line == '\n') {
		cleanup_free char *copy = greta_strndup(line, strcspn(line, "\n"));
		char *names = strchr(copy, ':'), *group = names ? strchr(names + 1, ':') : NULL;
		if (!group)
			continue;
		*names++ = *group++ = '\0';
		const char *hit = strstr(names, controller);
		if (*controller ? !hit || !strchr(",", hit[strlen(controller)]) : *names != '\0')
			continue;
		greta_str_copy(out, cap, group);
		return true;
	}
	return false;
}

static void find_own(const char *mounts, const char *groups, const char *controller, char out[CGROUP_PATH_MAX])
{
	char mount[512], group[512];
	out[0] = '\0';
	if (mount_point(mounts, controller, mount, sizeof mount) && own_group(groups, controller, group, sizeof group))
		snprintf(out, CGROUP_PATH_MAX, "%s%s", mount, strcmp(group, "/") == 0 ? "" : group);
}

void cgroup_find_own(struct cgroup_own *own, const char *proc)
{
	cleanup_free char *mounts = greta_alloc(TEXT_CAP);
	char groups[8192];
	*own = (struct cgroup_own){0};
	if (file_text(proc, "self/mountinfo", mounts, TEXT_CAP) != 0 ||
	    file_text(proc, "self/cgroup", groups, sizeof groups) != 0)
		return;
	find_own(mounts, groups, "", own->unified);
	find_own(mounts, groups, "memory", own->memory);
}

static void without(struct cgroup *c, const char *what, int sys)
{
	snprintf(c->why, sizeof c->why, sys ? "%s: %s" : "%s", what, strerror(sys));
}

void cgroup_create(struct cgroup *c, const struct cgroup_own *own, const char *attempt)
{
	*c = (struct cgroup){0};
	if (!own->unified[0]) {
		without(c, "no cgroup v2 on this node", 0);
		return;
	}
	char *path = greta_format("%s/greta-%s", own->unified, attempt);
	if (mkdir(path, 0755) == 0 || errno == EEXIST) {
		c->path = path;
		return;
	}
	without(c, "can't make a cgroup", errno);
	free(path);
}

static int open_file(const struct cgroup *c, const char *name)
{
	if (!c->path)
		return -1;
	cleanup_free char *path = greta_format("%s/%s", c->path, name);
	return open(path, O_WRONLY | O_CLOEXEC);
}

int cgroup_open_procs(const struct cgroup *c)
{
	return open_file(c, "cgroup.procs");
}

void cgroup_kill(const struct cgroup *c)
{
	cleanup_fd int fd = open_file(c, "cgroup.kill");
	if (fd >= 0 && write(fd, "1", 1) != 1)
		return; /* the scan for the attempt's processes follows anyway */
}

void cgroup_remove(struct cgroup *c)
{
	if (c->path)
		rmdir(c->path);
	cgroup_release(c);
}

void cgroup_release(struct cgroup *c)
{
	free(c->path);
	*c = (struct cgroup){0};
}
