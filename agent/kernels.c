#include "agent/kernels.h"
#include "agent/devices.h"
#include "agent/files.h"
#include "agent/watch.h"
#include "base/child.h"
#include "base/cleanup.h"
#include "base/fs.h"
#include "base/log.h"
#include "schemas/kernels.h"
#include "schemas/spec.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ANSWER_MS 30000
#define KERNELS_PATH "%s/kernels.json"
#define QUESTION "--kernel-resources --json"

static int ask(const struct supervise *s, struct greta_buf *out, struct greta_kernels *kernels, struct greta_err *e)
{
	const char *const argv[] = {s->spec.argv.items[0], "--kernel-resources", "--json", NULL};
	struct greta_child_result r;
	cleanup_strs struct greta_strs env = {0};
	char scratch[FILE_PATH_MAX], how[64];
	engine_environment(&s->spec, &s->slots, (const char *const *)environ, &env);
	const struct greta_child_spec child = {
		.argv = argv,
		.env = (const char *const *)env.items,
		.cwd = s->spec.cwd ? s->spec.cwd : file_path(scratch, "%s/scratch", s->dir),
		.death_signal = SIGKILL,
	};
	if (greta_child_run(&child, ANSWER_MS, GRETA_KERNELS_TEXT_MAX, out, &r, e) != 0)
		return -1;
	if (r.timed_out)
		return greta_err_set(e, GRETA_ETIMEOUT, "no answer within %d s", ANSWER_MS / 1000);
	/* greta-infer ends with 1 when it lists a kernel that breaks a rule: the list is what counts. */
	if (greta_kernels_parse(out->data, out->len, kernels, e) != 0)
		return r.status == 0 ? -1 : greta_err_set(e, GRETA_EFAIL, "%s", greta_child_status_text(r.status, how));
	return 0;
}

/* Those of this node's GPUs; none where one of them is not known. */
static void find_archs(const struct supervise *s, struct greta_strs *out)
{
	struct greta_facts found = {0};
	devices_find(s->paths->sys, s->paths->proc, s->paths->dev, &found);
	for (size_t i = 0; i < found.n_devices; i++)
		if (found.devices[i].arch)
			greta_strs_add(out, found.devices[i].arch);
	if (out->n < found.n_devices)
		greta_strs_release(out);
	greta_facts_release(&found);
}

static int judge(const struct supervise *s, const struct greta_kernels *kernels, struct greta_err *e)
{
	cleanup_strs struct greta_strs archs = {0};
	cleanup_buf struct greta_buf why = {0};
	find_archs(s, &archs);
	if (greta_kernels_no_spill(kernels, &archs, greta_spec_attn_impl(&s->spec), &why))
		return 0;
	return greta_err_set(e, GRETA_EFAIL, "gate: %s", greta_buf_str(&why));
}

int kernels_check(const struct supervise *s, struct greta_err *e)
{
	cleanup_buf struct greta_buf answer = {0};
	cleanup_with(greta_kernels_release) struct greta_kernels kernels = {0};
	char path[FILE_PATH_MAX];
	struct greta_err why = {0};
	if (!s->spec.keep_kernels)
		return 0;
	if (ask(s, &answer, &kernels, &why) != 0)
		return !s->spec.no_spill ? 0 : greta_err_set(e, GRETA_EFAIL, "gate: no_spill can't see: %s " QUESTION ": %s",
							      s->spec.argv.items[0], why.text);
	if (greta_fs_write_atomic(file_path(path, KERNELS_PATH, s->dir), answer.data, answer.len, 0600, e) != 0)
		return -1;
	return s->spec.no_spill ? judge(s, &kernels, e) : 0;
}

void kernels_keep(struct supervise *s)
{
	cleanup_buf struct greta_buf answer = {0};
	struct greta_err e = {0};
	char path[FILE_PATH_MAX];
	file_path(path, KERNELS_PATH, s->dir);
	if (!s->spec.keep_kernels || access(path, F_OK) != 0)
		return;
	if (greta_fs_read(path, GRETA_KERNELS_TEXT_MAX, &answer, &e) == 0)
		watch_tell_item(s, "kernels", answer.data, answer.len);
	else
		greta_warn("what the engine said of its kernels can't be read: %s", e.text);
}
