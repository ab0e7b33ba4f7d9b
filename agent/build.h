/* build: which binary ran: the hash of its executable, and one over all that is the engine's own: executable, libraries
 * that are not the system's or the runtime's (those are the environment), and a declared id (GRETA_BUILD_ID).
 *
 * While the engine runs only names are taken, from /proc/PID/maps, at moments when it has just spoken: a process that
 * hangs may hold the lock that reading maps waits for. Hashing happens before it starts and after it has ended. */
#ifndef AGENT_BUILD_H
#define AGENT_BUILD_H

#include "agent/paths.h"
#include "base/sha256.h"
#include "base/str.h"
#include "schemas/msg.h"
#include <sys/types.h>

struct build {
	const struct agent_paths *paths;
	char engine[GRETA_SHA256_HEX + 1]; /* "": could not be read */
	char *executable;                  /* as hashed: the script for a script */
	char *declared;
	struct greta_strs libraries;       /* paths, sorted, once each */
	enum greta_phase seen_phase;
	int looks;
};

/* Finds and hashes the executable of spec->argv[0] as exec finds it in that folder with that PATH. */
void build_begin(struct build *b, const struct agent_paths *paths, const struct greta_spec *spec, const char *cwd,
		 const char *path);

/* The engine has just spoken, in this phase: takes the names of what it has mapped, if that may be news. */
void build_look(struct build *b, const char *proc, pid_t pid, enum greta_phase phase);

/* The hash over all. False: not known. */
bool build_end(struct build *b, char out[GRETA_SHA256_HEX + 1]);

void build_release(struct build *b);

#endif
