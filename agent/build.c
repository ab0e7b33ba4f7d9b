#include "agent/build.h"
#include "agent/files.h"
#include "agent/gc.h"
#include "agent/hash.h"
#include "base/cleanup.h"
#include "base/fs.h"
#include "base/mem.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOOKS_MAX 16
#define MAPS_MAX (1024 * 1024)
#define DECLARED "GRETA_BUILD_ID="

/* What the environment tells of, by its versions. */
static const char *const system_places[] = {"/lib/", "/lib64/", "/usr/lib/", "/usr/lib64/", "/usr/local/cuda", "/opt/rocm",
					    "/dev/", "/memfd:", "/SYSV", "/proc/", "/nix/store/"};

static bool is_own(const char *path)
{
	for (size_t i = 0; i < GRETA_COUNT(system_places); i++)
		if (greta_str_starts(path, system_places[i]))
			return false;
	return path[0] == '/' && !greta_str_ends(path, " (deleted)");
}

/* As exec looks for it. The caller owns the string; NULL: not found. */
static char *find_executable(const char *name, const char *cwd, const char *path)
{
	if (strchr(name, '/'))
		return name[0] == '/' ? greta_strdup(name) : greta_fs_join(cwd, name);
	for (const char *at = path; *at; at += strcspn(at, ":"), at += *at == ':') {
		char *file = greta_format("%.*s/%s", (int)strcspn(at, ":"), at, name);
		if (access(file, X_OK) == 0)
			return file;
		free(file);
	}
	return NULL;
}

void build_begin(struct build *b, const struct agent_paths *paths, const struct greta_spec *spec, const char *cwd,
		 const char *path)
{
	*b = (struct build){.paths = paths, .executable = find_executable(spec->argv.items[0], cwd, path)};
	for (size_t i = 0; i < spec->env.n; i++)
		if (greta_str_starts(spec->env.items[i], DECLARED))
			b->declared = greta_strdup(spec->env.items[i] + strlen(DECLARED));
	if (!b->executable)
		return;
	if (hash_file(paths->cache, b->executable, b->engine, NULL) != 0)
		b->engine[0] = '\0';
	gc_touch(paths, b->executable);
}

static void add_library(struct build *b, const char *path)
{
	for (size_t i = 0; i < b->libraries.n; i++)
		if (strcmp(b->libraries.items[i], path) == 0)
			return;
	greta_strs_add(&b->libraries, path);
}

/* "7f00-7f01 r-xp 00000000 08:01 123   /path": what is mapped to be executed. */
static void take_maps(struct build *b, char *maps, const char *executable)
{
	for (char *line = maps, *next; line && *line; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		const char *path = strchr(line, '/');
		char perms[8] = "";
		if (path && sscanf(line, "%*s %7s", perms) == 1 && strchr(perms, 'x') && is_own(path) &&
		    strcmp(path, executable) != 0)
			add_library(b, path);
	}
}

void build_look(struct build *b, const char *proc, pid_t pid, enum greta_phase phase)
{
	char file[64], self[FILE_PATH_MAX] = "", link[FILE_PATH_MAX];
	if (b->looks >= LOOKS_MAX || (b->looks > 0 && phase == b->seen_phase))
		return;
	b->looks++;
	b->seen_phase = phase;
	cleanup_free char *maps = greta_alloc(MAPS_MAX);
	snprintf(file, sizeof file, "%d/maps", (int)pid);
	ssize_t n = readlink(file_path(link, "%s/%d/exe", proc, (int)pid), self, sizeof self - 1);
	self[n > 0 ? n : 0] = '\0';
	if (file_text(proc, file, maps, MAPS_MAX) == 0)
		take_maps(b, maps, self);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Names without their folders: the same build installed elsewhere is the same. */
static bool add_hashed(struct build *b, struct greta_sha256 *h, const char *path)
{
	char hex[GRETA_SHA256_HEX + 1];
	if (hash_file(b->paths->cache, path, hex, NULL) != 0)
		return false;
	const char *name = strrchr(path, '/') + 1;
	greta_sha256_add(h, hex, GRETA_SHA256_HEX);
	greta_sha256_add(h, name, strlen(name) + 1);
	return true;
}

bool build_end(struct build *b, char out[GRETA_SHA256_HEX + 1])
{
	struct greta_sha256 h;
	if (!b->engine[0])
		return false;
	greta_sha256_init(&h);
	greta_sha256_add(&h, b->engine, GRETA_SHA256_HEX);
	if (b->declared)
		greta_sha256_add(&h, b->declared, strlen(b->declared) + 1);
	if (b->libraries.n > 1)
		qsort(b->libraries.items, b->libraries.n, sizeof *b->libraries.items, by_text);
	bool whole = true;
	for (size_t i = 0; i < b->libraries.n; i++)
		whole &= add_hashed(b, &h, b->libraries.items[i]);
	greta_sha256_hex(&h, out);
	return whole;
}

void build_release(struct build *b)
{
	free(b->executable);
	free(b->declared);
	greta_strs_release(&b->libraries);
	*b = (struct build){0};
}
