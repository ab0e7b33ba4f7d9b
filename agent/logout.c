#include "agent/logout.h"
#include "agent/files.h"
#include "base/cleanup.h"
#include "base/mem.h"
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

static bool exists(const char *root, const char *path)
{
	cleanup_free char *full = greta_format("%s%s", root, path);
	return access(full, F_OK) == 0;
}

static bool is_yes(const char *value)
{
	return strcasecmp(value, "yes") == 0 || strcasecmp(value, "true") == 0 || strcasecmp(value, "on") == 0 ||
	       strcmp(value, "1") == 0;
}

static void read_setting(const char *path, bool *kills)
{
	char text[16384], value[64];
	if (file_text(path, NULL, text, sizeof text) == 0 &&
	    file_field(text, "KillUserProcesses", value, sizeof value) == 0)
		*kills = is_yes(value);
}

/* The main file, then the drop-ins of each folder in order of name; the last setting counts. */
static bool kills_user_processes(const char *root)
{
	static const char *const folders[] = {"/usr/lib/systemd/logind.conf.d", "/run/systemd/logind.conf.d",
					      "/etc/systemd/logind.conf.d"};
	bool kills = false;
	cleanup_free char *main_file = greta_format("%s/etc/systemd/logind.conf", root);
	read_setting(main_file, &kills);
	for (size_t i = 0; i < GRETA_COUNT(folders); i++) {
		cleanup_free char *dir = greta_format("%s%s", root, folders[i]);
		cleanup_strs struct greta_strs names = {0};
		file_names(dir, "", &names);
		for (size_t k = 0; k < names.n; k++) {
			cleanup_free char *path = greta_format("%s/%s", dir, names.items[k]);
			if (greta_str_ends(names.items[k], ".conf"))
				read_setting(path, &kills);
		}
	}
	return kills;
}

static void say(struct logout *l, bool survives, bool needs_scope, const char *why)
{
	l->survives = survives;
	l->needs_scope = needs_scope;
	greta_str_copy(l->why, sizeof l->why, why);
}

void logout_probe(struct logout *l, const char *root, uid_t uid, const char *user)
{
	cleanup_free char *linger = greta_format("/var/lib/systemd/linger/%s", user);
	*l = (struct logout){0};
	if (!exists(root, "/run/systemd/system"))
		say(l, true, false, "systemd does not run here: nobody ends processes at logout");
	else if (uid == 0)
		say(l, true, false, "root's processes are not ended at logout (KillExcludeUsers)");
	else if (!kills_user_processes(root))
		say(l, true, false, "logind leaves processes alone at logout (KillUserProcesses=no)");
	else if (exists(root, linger))
		say(l, true, true, "logind ends processes at logout, but lingering is on: supervisors run in a scope of their own");
	else
		say(l, false, false, "logind ends all processes of this user at logout (KillUserProcesses=yes): an attempt dies "
		    "with its connection; run `loginctl enable-linger` once on this node");
}
