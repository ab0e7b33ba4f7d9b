#include "agent/quarantine.h"
#include "agent/files.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int quarantine_put(const char *slots, const char *name, const char *reason, struct greta_err *e)
{
	char path[FILE_PATH_MAX], text[QUARANTINE_REASON_MAX], when[GRETA_ISO_LEN + 1];
	if (quarantine_is(slots, name, text))
		return 0;
	int n = snprintf(text, sizeof text, "since %s: %s\n", greta_clock_iso(when, greta_clock_wall_ns()), reason);
	if (n >= (int)sizeof text)
		n = (int)sizeof text - 1;
	return greta_fs_write_atomic(file_path(path, "%s/" QUARANTINE_FOLDER "/%s", slots, name), text, (size_t)n, 0644, e);
}

bool quarantine_is(const char *slots, const char *name, char reason[QUARANTINE_REASON_MAX])
{
	char dir[FILE_PATH_MAX];
	return file_text(file_path(dir, "%s/" QUARANTINE_FOLDER, slots), name, reason, QUARANTINE_REASON_MAX) == 0;
}

void quarantine_list(const char *slots, struct greta_strs *names)
{
	char dir[FILE_PATH_MAX];
	file_names(file_path(dir, "%s/" QUARANTINE_FOLDER, slots), "", names);
}

int quarantine_release(const char *slots, const char *name, struct greta_err *e)
{
	char path[FILE_PATH_MAX];
	if (strchr(name, '/') || name[0] == '.')
		return greta_err_set(e, GRETA_EINVAL, "\"%s\" is no slot's name", name);
	if (unlink(file_path(path, "%s/" QUARANTINE_FOLDER "/%s", slots, name)) == 0)
		return 0;
	if (errno == ENOENT)
		return greta_err_set(e, GRETA_ENOENT, "%s is not in quarantine", name);
	return greta_err_sys(e, "can't release %s (only who quarantined it, or root, may)", name);
}

/* The file's time is when it was put there; its text says so, too, for people. */
static void tell(const char *slots, const char *name, struct greta_msg *m)
{
	struct stat st;
	char path[FILE_PATH_MAX], text[QUARANTINE_REASON_MAX];
	if (!quarantine_is(slots, name, text) || stat(file_path(path, "%s/" QUARANTINE_FOLDER "/%s", slots, name), &st) != 0)
		return;
	const char *reason = strstr(text, ": ");
	*GRETA_PUSH(m->slots, m->n_slots, m->cap_slots) = (struct greta_quarantine){
		.slot = greta_strdup(name),
		.reason = greta_strdup(greta_str_starts(text, "since ") && reason ? reason + 2 : text),
		.since_wall_ns = st.st_mtim.tv_sec * GRETA_NS_PER_S + st.st_mtim.tv_nsec,
	};
}

void quarantine_tell(const char *slots, struct greta_msg *m)
{
	cleanup_strs struct greta_strs names = {0};
	quarantine_list(slots, &names);
	for (size_t i = 0; i < names.n; i++)
		tell(slots, names.items[i], m);
}
