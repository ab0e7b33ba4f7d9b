#include "agent/neighbours.h"
#include "agent/files.h"
#include "agent/kernel_lines.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WINDOW_NS (int64_t)(NEIGHBOURS_WINDOW_S * (double)GRETA_NS_PER_S)

int neighbours_note_hang(const char *slots, const char *gpu, const char *attempt, struct greta_err *e)
{
	char path[FILE_PATH_MAX], text[160];
	int n = snprintf(text, sizeof text, "%s %" PRId64 " %s\n", greta_clock_boot_id(), greta_clock_boot_ns(), attempt);
	return greta_fs_write_atomic(file_path(path, "%s/" NEIGHBOURS_FOLDER "/%s.%u", slots, gpu, (unsigned)geteuid()), text,
				     (size_t)n, 0644, e);
}

/* ---- notes */

struct note {
	int64_t age_ns;
	char gpu[64], attempt[GRETA_UUID_LEN + 1];
};

static bool holds(const struct greta_facts *f, const char *gpu)
{
	for (size_t i = 0; i < f->n_devices; i++)
		if (strcmp(f->devices[i].uuid, gpu) == 0)
			return true;
	return false;
}

static bool read_note(const char *dir, const char *name, struct note *out)
{
	char text[160], boot[GRETA_BOOT_ID_LEN + 1];
	int64_t at_ns;
	greta_str_copy(out->gpu, sizeof out->gpu, name);
	char *uid = strrchr(out->gpu, '.');
	if (!uid || file_text(dir, name, text, sizeof text) != 0)
		return false;
	*uid = '\0';
	if (sscanf(text, "%36s %" SCNd64 " %36s", boot, &at_ns, out->attempt) != 3 || strcmp(boot, greta_clock_boot_id()) != 0 ||
	    !greta_uuid_valid(out->attempt))
		return false;
	out->age_ns = greta_clock_boot_ns() - at_ns;
	return true;
}

/* The newest hang on another GPU (gpu: on that one) in the time before the end. */
static bool find_note(const struct neighbours_case *c, const char *gpu, struct note *out)
{
	char dir[FILE_PATH_MAX];
	cleanup_strs struct greta_strs names = {0};
	int64_t since_end_ns = greta_clock_mono_ns() - c->ended_ns;
	bool found = false;
	file_names(file_path(dir, "%s/" NEIGHBOURS_FOLDER, c->slots), "", &names);
	for (size_t i = 0; i < names.n; i++) {
		struct note n;
		if (!read_note(dir, names.items[i], &n) || holds(c->held, n.gpu) || (gpu && strcmp(gpu, n.gpu) != 0) ||
		    n.age_ns > since_end_ns + WINDOW_NS || (found && n.age_ns > out->age_ns))
			continue;
		*out = n;
		found = true;
	}
	return found;
}

/* ---- whose doing it was */

static const char *gpu_named(const struct neighbours_case *c, const char *line)
{
	for (size_t i = 0; i < c->there->n_devices; i++)
		if (kernel_lines_name(line, &c->there->devices[i]))
			return c->there->devices[i].uuid;
	return NULL;
}

static void blame(struct neighbours_blame *out, enum greta_certainty certainty, const char *gpu, const struct note *note)
{
	out->certainty = certainty;
	if (gpu)
		snprintf(out->slot, sizeof out->slot, "gpu-%s", gpu);
	if (note)
		greta_str_copy(out->attempt, sizeof out->attempt, note->attempt);
}

static bool by_kernel_log(const struct neighbours_case *c, struct neighbours_blame *out)
{
	cleanup_free char *log = klog_between(c->klog, c->ended_ns - WINDOW_NS, INT64_MAX);
	struct kernel_finding f;
	struct note note;
	kernel_lines_read(log, c->held->devices, c->held->n_devices, &f);
	if (f.class_ != GRETA_CLASS_COLLATERAL)
		return false;
	const char *gpu = gpu_named(c, f.line);
	bool noted = find_note(c, gpu, &note);
	blame(out, GRETA_ESTABLISHED, gpu, noted ? &note : NULL);
	snprintf(out->text, sizeof out->text, "a neighbour's GPU took it down%s%s: the kernel says: %s",
		 noted ? ", on which hung attempt " : "", noted ? note.attempt : "", f.line);
	return true;
}

/* What a log that can be read, and was from before the neighbour's kill, does not tell did not happen. */
static bool by_note(const struct neighbours_case *c, struct neighbours_blame *out)
{
	struct note note;
	if (!find_note(c, NULL, &note))
		return false;
	bool before_us = note.age_ns > greta_clock_mono_ns() - c->begun_ns;
	if (c->klog->fd >= 0 && !before_us)
		return false;
	blame(out, GRETA_SUPPORTED, note.gpu, &note);
	snprintf(out->text, sizeof out->text, "it died %.0f s after attempt %s was killed for a hang on a neighbour's GPU%s",
		 (double)(note.age_ns - (greta_clock_mono_ns() - c->ended_ns)) / (double)GRETA_NS_PER_S, note.attempt,
		 c->klog->fd < 0 ? " (the kernel log can't be read)" : "");
	return true;
}

void neighbours_blame(const struct neighbours_case *c, struct neighbours_blame *out)
{
	*out = (struct neighbours_blame){0};
	if (c->held->n_devices && !by_kernel_log(c, out))
		by_note(c, out);
}
