/* b389: reads what the bash executor of GRETA CORE's B3.89 campaigns left on disk, without changing anything.
 *
 * Nested trees, <variant>/ctx_<N>_run<i>/, and the older flat one, runs/ctx_<N>_<i>/. In a run's folder: perf.json,
 * and beside it run.log, vram_samples.jsonl, vram_before.json, vram_after.json, diag.txt, each of which may be missing.
 * The executor's event log is any *.jsonl or *.log in the tree whose lines are {"event": "SUITE_START", ...}. */
#ifndef ORCHESTRATOR_IMPORT_B389_H
#define ORCHESTRATOR_IMPORT_B389_H

#include "base/err.h"
#include "base/str.h"
#include "schemas/problems.h"
#include "schemas/result.h"
#include <stdbool.h>
#include <stdint.h>

struct b389_run {
	char *dir;                 /* relative to the tree */
	char *variant;             /* NULL: a flat tree that does not say */
	int64_t context, repeat;   /* repeat as the folder counts it */
	char *mode;                /* "perf", "debug"; NULL: not said */
	bool failed;               /* exit_status is not OK */
	char *exit_status;
	double wall_s;             /* NAN: not said */
	int exit_code;             /* from the event log; -1: not said */
	int64_t started_ns, ended_ns; /* from the event log; 0: not said */
	struct greta_samples samples;
	char *sha256;              /* of perf.json */
	bool has_log, has_diag, has_vram;
};

struct b389_skip { /* TEST_SKIP, or TEST_START without an end and without a folder */
	char *variant;
	int64_t context, repeat;
	char *reason;
};

struct b389_tree {
	char *root;                /* as given */
	char *ticket;              /* "b3_89"; NULL: not said */
	struct b389_run *runs;
	size_t n_runs, cap_runs;
	struct b389_skip *skips;
	size_t n_skips, cap_skips;
};

/* Reads the tree. A run that can't be read is named in *problems and left out; -1 when there is no run at all. */
int b389_read(const char *root, struct b389_tree *out, struct greta_problems *problems, struct greta_err *e);
void b389_release(struct b389_tree *t);

/* A text file of a run's folder, appended; one that is not there adds nothing. At most max_bytes: its end is kept. */
int b389_read_text(const struct b389_tree *t, const struct b389_run *r, const char *name, size_t max_bytes,
		   struct greta_buf *out, struct greta_err *e);

/* Peak of the "VRAM Total Used Memory (B)" readings in vram_samples.jsonl; -1: none. */
int64_t b389_peak_vram(const struct b389_tree *t, const struct b389_run *r);

#endif
