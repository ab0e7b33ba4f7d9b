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

#define TEXT_CAP 65536

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
	return hit && strchr(" ,", hit[-1]) && strchr(",\n", hit[strlen(controller)]);
}

static bool mount_point(const char *proc, const char *controller, char *out, size_t cap)
{
	cleanup_free char *text = greta_alloc(TEXT_CAP);
	if (file_text(proc, "self/mountinfo", text, TEXT_CAP) != 0)
		return false;
	for (char *line = text, *next; line; line = next) {
		char at[512];
		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		if (!is_hierarchy(line, controller) || sscanf(line, "%*s %*s %*s %*s %511s", at) != 1)
			continue;
		greta_str_copy(out, cap, at);
		return true;
	}
	return false;
}

/* In /proc/self/cgroup: "0::/a/b" for v2, "4:cpu,memory:/a/b" for v1. */
static bool own_group(const char *proc, const char *controller, char *out, size_t cap)
{
	char text[8192];
	if (file_text(proc, "self/cgroup", text, sizeof text) != 0)
		return false;
	for (char *line = text, *next; line; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		char *names = strchr(line, ':'), *group = names ? strchr(names + 1, ':') : NULL;
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

bool cgroup_own(const char *proc, const char *controller, char *out, size_t cap)
{
	char mount[512], group[512];
	if (!mount_point(proc, controller, mount, sizeof mount) || !own_group(proc, controller, group, sizeof group))
		return false;
	int n = snprintf(out, cap, "%s%s", mount, strcmp(group, "/") == 0 ? "" : group);
	return n > 0 && (size_t)n < cap;
}

static void without(struct cgroup *c, const char *what, int sys)
{
	snprintf(c->why, sizeof c->why, sys ? "%s: %s" : "%s", what, strerror(sys));
}

void cgroup_create(struct cgroup *c, const char *proc, const char *attempt)
{
	char own[1024];
	*c = (struct cgroup){0};
	if (!cgroup_own(proc, "", own, sizeof own)) {
		without(c, "no cgroup v2 on this node", 0);
		return;
	}
	char *path = greta_format("%s/greta-%s", own, attempt);
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

bool cgroup_is_empty(const struct cgroup *c)
{
	char text[512];
	int64_t populated = 0;
	return !c->path || file_text(c->path, "cgroup.events", text, sizeof text) != 0 ||
	       file_field_i64(text, "populated", &populated) != 0 || populated == 0;
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
