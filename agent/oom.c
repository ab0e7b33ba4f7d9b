#include "agent/oom.h"
#include "agent/files.h"
#include "base/cleanup.h"
#include "base/mem.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_CAP 16384 /* of vmstat, the longest: some 5 KB */

static int64_t count_in(const char *dir, const char *file, const char *key)
{
	char text[TEXT_CAP];
	int64_t n = -1;
	if (!*dir || file_text(dir, file, text, sizeof text) != 0 || file_field_i64(text, key, &n) != 0)
		return -1;
	return n;
}

void oom_begin(struct oom *o, const char *proc, const struct cgroup_own *own)
{
	*o = (struct oom){.proc = proc, .own = own};
	o->v2_kills = count_in(own->unified, "memory.events", "oom_kill");
	o->v1_kills = count_in(own->memory, "memory.oom_control", "oom_kill");
	o->node_kills = count_in(proc, "vmstat", "oom_kill");
}

static char *counter_proof(const struct oom *o, const char *dir, const char *file, int64_t before)
{
	int64_t now = before < 0 ? -1 : count_in(dir, file, "oom_kill");
	if (now <= before)
		return NULL;
	return greta_format("oom_kill of %s/%s went from %" PRId64 " to %" PRId64 "%s", dir, file, before, now,
			    strcmp(o->proc, "/proc") == 0 ? "" : ", played back by GRETA_PROC_ROOT");
}

static char *kernel_line(const struct klog *k, pid_t engine, bool killed)
{
	char pid[48];
	snprintf(pid, sizeof pid, "Killed process %d ", (int)engine);
	char *line = klog_find(k, (const char *const[]){pid, NULL});
	/* Without the engine's own number it was another process: ours perhaps, if the engine was killed too. */
	return line || !killed ? line : klog_find(k, (const char *const[]){"ut of memory", "Killed process ", NULL});
}

char *oom_host_proof(const struct oom *o, const struct cgroup *c, const struct klog *k, pid_t engine, bool killed)
{
	char *proof = kernel_line(k, engine, killed);
	if (!proof && c->path)
		proof = counter_proof(o, c->path, "memory.events", 0);
	if (!proof)
		proof = counter_proof(o, o->own->unified, "memory.events", o->v2_kills);
	if (!proof)
		proof = counter_proof(o, o->own->memory, "memory.oom_control", o->v1_kills);
	if (!proof && killed)
		proof = counter_proof(o, o->proc, "vmstat", o->node_kills);
	return proof;
}

/* What the runtimes say when an allocation fails: HIP, CUDA, libc and C++. */
static const char *const words[] = {
	"hipErrorOutOfMemory", "HIP out of memory",     "HIP error: out of memory", "HSA_STATUS_ERROR_OUT_OF_RESOURCES",
	"CUDA out of memory",  "CUDA error: out of memory", "cudaErrorMemoryAllocation", "CUDA_ERROR_OUT_OF_MEMORY",
	"std::bad_alloc",      "Cannot allocate memory",
};

char *oom_engine_proof(const char *tail, size_t n)
{
	for (size_t at = 0; at < n;) {
		const char *newline = memchr(tail + at, '\n', n - at);
		size_t len = newline ? (size_t)(newline - tail) - at : n - at;
		for (size_t i = 0; i < GRETA_COUNT(words); i++)
			if (memmem(tail + at, len, words[i], strlen(words[i])))
				return greta_strndup(tail + at, len < 200 ? len : 200);
		at += len + 1;
	}
	return NULL;
}
