#include "agent/kill.h"
#include "agent/files.h"
#include "base/cleanup.h"
#include "base/fs.h"
#include "base/mem.h"
#include <ctype.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ENVIRON_MAX (2 * 1024 * 1024)

struct entry {
	pid_t pid, parent, session;
	bool dead, ours;
	bool headless; /* its first thread has ended, others run on */
};

struct table {
	struct entry *items;
	size_t n, cap;
};

/* "pid (any thing) S ppid pgrp session ... num_threads ...": the name may hold spaces and parentheses, so the last ')'
 * counts. What looks like a zombie may only have lost its first thread. */
static bool read_entry(const char *proc, const char *name, struct entry *out)
{
	char file[64], stat[1024], state = 0;
	int parent = 0, session = 0, n_threads = 0;
	snprintf(file, sizeof file, "%.16s/stat", name);
	if (file_text(proc, file, stat, sizeof stat) != 0)
		return false;
	const char *after = strrchr(stat, ')');
	if (!after || sscanf(after + 1, " %c %d %*d %d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %d", &state, &parent,
			     &session, &n_threads) != 4)
		return false;
	*out = (struct entry){.pid = (pid_t)strtol(name, NULL, 10), .parent = parent, .session = session};
	out->headless = state == 'Z' && n_threads > 1;
	out->dead = (state == 'Z' || state == 'X') && !out->headless;
	return true;
}

static void read_table(const char *proc, struct table *t)
{
	cleanup_dir DIR *d = opendir(proc);
	for (struct dirent *entry; d && (entry = readdir(d));) {
		struct entry read;
		if (isdigit((unsigned char)entry->d_name[0]) && read_entry(proc, entry->d_name, &read))
			*GRETA_PUSH(t->items, t->n, t->cap) = read;
	}
}

/* Children may come before their parents in the table: repeated until nothing changes. */
static void mark_descendants(struct table *t, pid_t ancestor)
{
	for (bool changed = true; changed;) {
		changed = false;
		for (size_t i = 0; i < t->n; i++) {
			struct entry *child = &t->items[i];
			bool ours = child->parent == ancestor;
			for (size_t k = 0; k < t->n && !ours && !child->ours; k++)
				ours = t->items[k].ours && t->items[k].pid == child->parent;
			changed |= ours && !child->ours;
			child->ours |= ours;
		}
	}
}

/* A process that has lost its first thread tells its environment by the others. */
static void read_environ(const char *proc, const struct entry *process, struct greta_buf *out)
{
	cleanup_free char *dir = greta_format("%s/%d", proc, (int)process->pid);
	cleanup_free char *own = greta_fs_join(dir, "environ"), *tasks = greta_fs_join(dir, "task");
	cleanup_strs struct greta_strs tids = {0};
	if (!process->headless) {
		greta_fs_read(own, ENVIRON_MAX, out, NULL);
		return;
	}
	file_names(tasks, "", &tids);
	for (size_t i = 0; i < tids.n && out->len == 0; i++) {
		cleanup_free char *path = greta_format("%s/%s/environ", tasks, tids.items[i]);
		greta_fs_read(path, ENVIRON_MAX, out, NULL);
	}
}

static bool environ_names(const char *proc, const struct entry *process, const char *attempt)
{
	cleanup_free char *want = greta_format(KILL_ATTEMPT_VARIABLE "=%s", attempt);
	cleanup_buf struct greta_buf env = {0};
	read_environ(proc, process, &env);
	for (size_t at = 0; at < env.len; at += strlen(env.data + at) + 1)
		if (strcmp(env.data + at, want) == 0)
			return true;
	return false;
}

static void mark_named(struct table *t, const struct kill_target *target)
{
	for (size_t i = 0; i < t->n; i++)
		if (!t->items[i].ours && !t->items[i].dead)
			t->items[i].ours = environ_names(target->proc, &t->items[i], target->attempt);
}

static void mark_cgroup(struct table *t, const struct cgroup *c)
{
	char text[65536];
	if (file_text(c->path, "cgroup.procs", text, sizeof text) != 0)
		return;
	for (char *at = text, *end; *at; at = end) {
		pid_t pid = (pid_t)strtol(at, &end, 10);
		if (end == at)
			return;
		for (size_t i = 0; i < t->n; i++)
			t->items[i].ours |= t->items[i].pid == pid;
	}
}

static bool is_helper(const struct kill_target *target, const struct entry *process)
{
	for (size_t i = 0; target->helpers && i < target->helpers->n; i++)
		if (target->helpers->items[i] == process->session || target->helpers->items[i] == process->pid)
			return true;
	return false;
}

static void find(const struct kill_target *target, bool helpers, struct kill_pids *out)
{
	struct table t = {0};
	read_table(target->proc, &t);
	if (target->ancestor)
		mark_descendants(&t, target->ancestor);
	if (target->attempt)
		mark_named(&t, target);
	if (target->cgroup && target->cgroup->path)
		mark_cgroup(&t, target->cgroup);
	for (size_t i = 0; i < t.n; i++)
		if (t.items[i].ours && !t.items[i].dead && t.items[i].pid != getpid() && is_helper(target, &t.items[i]) == helpers)
			*GRETA_PUSH(out->items, out->n, out->cap) = t.items[i].pid;
	free(t.items);
}

void kill_find(const struct kill_target *target, struct kill_pids *out)
{
	find(target, false, out);
}

void kill_ask(pid_t group)
{
	kill(-group, SIGTERM);
	kill(-group, SIGCONT);
}

static size_t kill_found(const struct kill_target *target, bool helpers)
{
	struct kill_pids found = {0};
	find(target, helpers, &found);
	for (size_t i = 0; i < found.n; i++)
		kill(found.items[i], SIGKILL);
	size_t n = found.n;
	kill_pids_release(&found);
	return n;
}

size_t kill_all(const struct kill_target *target)
{
	if (target->cgroup)
		cgroup_kill(target->cgroup);
	return kill_found(target, false);
}

size_t kill_helpers(const struct kill_target *target)
{
	return kill_found(target, true);
}

void kill_pids_release(struct kill_pids *p)
{
	free(p->items);
	*p = (struct kill_pids){0};
}
