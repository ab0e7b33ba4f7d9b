#include "agent/files.h"
#include "agent/kill.h"
#include "agent/spool.h"
#include "agent/supervise.h"
#include "agent/unsupervised.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define KILL_EVERY_US 50000
#define UNKILLABLE_NS (60 * GRETA_NS_PER_S)

/* What the dead supervisor has left in the spool. */
struct remains {
	const char *attempt;
	pid_t supervisor;
	struct cgroup cgroup;
	bool rebooted;
	bool noted;      /* that the engine would run now */
	bool started;
};

static void read_remains(struct remains *r, const char *dir)
{
	char text[SPOOL_RECORD], value[2048];
	const char *slash = strrchr(dir, '/');
	*r = (struct remains){.attempt = slash ? slash + 1 : dir, .supervisor = spool_lock_pid(dir)};
	r->noted = spool_engine_note(dir, text);
	r->rebooted = spool_is_of_another_boot(dir);
	if (!r->noted)
		return;
	if (file_field(text, "cgroup", value, sizeof value) == 0 && value[0] == '/')
		r->cgroup.path = greta_strdup(value);
	if (file_field(text, "boot", value, sizeof value) == 0)
		r->rebooted = strcmp(value, greta_clock_boot_id()) != 0;
}

/* True when nothing is left. */
static bool kill_remains(const struct remains *r)
{
	int64_t begun = greta_clock_mono_ns();
	const struct kill_target target = {.proc = "/proc", .attempt = r->attempt, .cgroup = &r->cgroup};
	while (kill_all(&target) > 0) {
		if (greta_clock_mono_ns() - begun > UNKILLABLE_NS)
			return false;
		usleep(KILL_EVERY_US);
	}
	return true;
}

static void describe(const struct remains *r, struct greta_end *end)
{
	end->outcome = GRETA_OUTCOME_LOST;
	end->cause = greta_strdup(r->rebooted ? "reboot" : "supervisor");
	if (r->rebooted)
		end->reason = greta_strdup(r->noted ? "the node was rebooted while the attempt ran"
						    : "the node was rebooted, and whether the attempt ran before is not known");
	else
		end->reason = greta_format("its supervisor (pid %d) died %s; what was left of the attempt was killed",
					   (int)r->supervisor,
					   r->started ? "while the engine ran" : "before it told that the engine runs");
}

int supervise_recover(const struct agent_paths *paths, const char *dir, int lock_fd, struct greta_err *e)
{
	struct remains r;
	struct greta_end end = {0};
	(void)paths;
	read_remains(&r, dir);
	spool_lock_write(lock_fd, NULL);
	end.survivors = !r.rebooted && !kill_remains(&r);
	unsupervised_read(dir, &end);
	r.started = end.started_wall_ns != 0;
	describe(&r, &end);
	int rc = unsupervised_end(dir, &end, e);
	cgroup_remove(&r.cgroup);
	greta_end_release(&end);
	return rc;
}
