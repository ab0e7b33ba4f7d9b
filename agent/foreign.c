#include "agent/foreign.h"

#include "agent/files.h"
#include "agent/gauge.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/mem.h"

#include <inttypes.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

/* A runtime that only looked at a GPU keeps a few MB there; a model, or the room for one, is more. */
#define LOOKED_AT_BYTES (64 << 20)
#define NVML_MS 3000

/* ---- AMD */

/* The driver's own number of the GPU with this render node; 0: not found. */
static int64_t kfd_gpu_id(const char *sys, const struct greta_device *d)
{
	char root[FILE_PATH_MAX], node[FILE_PATH_MAX], props[8192];
	const char *number = strstr(d->path, "renderD");
	cleanup_strs struct greta_strs nodes = {0};
	int64_t minor, id;

	file_path(root, "%s/class/kfd/kfd/topology/nodes", sys);
	file_names(root, "", &nodes);
	for (size_t i = 0; number && i < nodes.n; i++) {
		file_path(node, "%s/%s", root, nodes.items[i]);
		if (file_text(node, "properties", props, sizeof props) == 0 &&
		    file_field_i64(props, "drm_render_minor", &minor) == 0 &&
		    minor == strtoll(number + strlen("renderD"), NULL, 10) && file_i64(node, "gpu_id", &id) == 0)
			return id;
	}
	return 0;
}

static bool has_queue_on(const char *process, int64_t gpu_id)
{
	char queues[FILE_PATH_MAX], queue[FILE_PATH_MAX];
	cleanup_strs struct greta_strs names = {0};
	int64_t id;

	file_path(queues, "%s/queues", process);
	file_names(queues, "", &names);
	for (size_t i = 0; i < names.n; i++)
		if (file_i64(file_path(queue, "%s/%s", queues, names.items[i]), "gpuid", &id) == 0 && id == gpu_id)
			return true;
	return false;
}

static pid_t kfd_user(const char *sys, const struct greta_device *d)
{
	char root[FILE_PATH_MAX], process[FILE_PATH_MAX], vram[64];
	int64_t gpu_id = kfd_gpu_id(sys, d), bytes;
	cleanup_strs struct greta_strs pids = {0};

	if (!gpu_id)
		return 0;
	snprintf(vram, sizeof vram, "vram_%" PRId64, gpu_id);
	file_path(root, "%s/class/kfd/kfd/proc", sys);
	file_names(root, "", &pids);
	for (size_t i = 0; i < pids.n; i++) {
		file_path(process, "%s/%s", root, pids.items[i]);
		if (has_queue_on(process, gpu_id) ||
		    (file_i64(process, vram, &bytes) == 0 && bytes >= LOOKED_AT_BYTES))
			return (pid_t)strtol(pids.items[i], NULL, 10);
	}
	return 0;
}

/* ---- NVIDIA */

/* Without our descriptors: locks of slots are among them, and one that hangs in the driver would keep them. */
static _Noreturn void ask_nvml(int to, const char *uuid)
{
	struct nvml *n;
	pid_t pid;

	if (to > 3)
		close_range(3, (unsigned)to - 1, 0);
	close_range((unsigned)to + 1, ~0u, 0);
	n = nvml_open();
	pid = n ? nvml_user(n, uuid) : 0;

	/* Not closed in order: that may hang, too, and this process ends here. */
	_exit(write(to, &pid, sizeof pid) == (ssize_t)sizeof pid ? 0 : 1);
}

static pid_t nvidia_user(const char *uuid)
{
	struct pollfd answer = {.events = POLLIN};
	int fds[2];
	pid_t child, user = 0;

	if (pipe(fds) != 0)
		return 0;
	child = fork();
	if (child == 0)
		ask_nvml(fds[1], uuid);
	close(fds[1]);
	answer.fd = fds[0];
	if (child > 0 && poll(&answer, 1, NVML_MS) == 1 && read(fds[0], &user, sizeof user) != (ssize_t)sizeof user)
		user = 0;
	close(fds[0]);
	if (child > 0) {
		kill(child, SIGKILL);
		waitpid(child, NULL, user ? 0 : WNOHANG); /* one that hangs in the driver is not waited for */
	}
	return user;
}

pid_t foreign_user(const char *sys, const struct greta_device *d)
{
	return strcmp(d->kind, "amd") == 0 ? kfd_user(sys, d) : nvidia_user(d->uuid);
}

/* ---- locks */

/* "1: FLOCK  ADVISORY  WRITE 4711 00:05:1234 0 EOF", major and minor in hex, by fs/locks.c */
pid_t foreign_lock_holder(const char *proc, int fd)
{
	char path[FILE_PATH_MAX], line[256], wanted[64];
	struct stat st;
	cleanup_file FILE *f = fopen(file_path(path, "%s/locks", proc), "re");

	if (!f || fstat(fd, &st) != 0)
		return 0;
	snprintf(wanted, sizeof wanted, "%02x:%02x:%" PRIu64, major(st.st_dev), minor(st.st_dev), (uint64_t)st.st_ino);
	while (fgets(line, sizeof line, f)) {
		char kind[16], file[64];
		int pid;

		if (sscanf(line, "%*s %15s %*s %*s %d %63s", kind, &pid, file) == 3 && !strcmp(kind, "FLOCK") &&
		    !strcmp(file, wanted))
			return pid;
	}
	return 0;
}

void foreign_name(const char *proc, pid_t pid, char *out, size_t cap)
{
	char dir[FILE_PATH_MAX], name[64];
	struct stat st;
	const struct passwd *user;
	int n = snprintf(out, cap, "pid %d", (int)pid);

	file_path(dir, "%s/%d", proc, (int)pid);
	if (file_text(dir, "comm", name, sizeof name) == 0)
		n += snprintf(out + n, n < (int)cap ? cap - (size_t)n : 0, " (%s)", name);
	if (stat(dir, &st) == 0 && n < (int)cap) {
		user = getpwuid(st.st_uid);
		if (user)
			snprintf(out + n, cap - (size_t)n, " of user %s", user->pw_name);
		else
			snprintf(out + n, cap - (size_t)n, " of user %u", (unsigned)st.st_uid);
	}
}
