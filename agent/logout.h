/* logout: does a detached supervisor outlive the SSH session that started it?
 *
 * Without logind everything does. With it: root always; a user when KillUserProcesses=no (the default), or with
 * lingering on, when started in a scope of the user's own manager. */
#ifndef AGENT_LOGOUT_H
#define AGENT_LOGOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct logout {
	bool survives;
	bool needs_scope;   /* only when started by `systemd-run --user --scope` */
	char why[320];      /* how that is known, or what to do about it */
};

/* root: "" for the machine's own /etc, /run and /var; a test's folder otherwise. */
void logout_probe(struct logout *l, const char *root, uid_t uid, const char *user);

#endif
