/* spare: folders of attempts that are through, kept for the next ones as <spool>/spare/<number>, as long as the session
 * lasts. To make a folder with all that is in it, and to remove it again, is a large part of what a short attempt costs;
 * ext4 without a journal even looks through the inodes that were freed in the last seconds each time.
 *
 * Only what nobody reads by descriptor and no engine works in is used again: the folder, spec.json and the space reserved for
 * the outcome. Events, control and scratch are made anew, so that a session that has not noticed yet, or a process that
 * was left behind, holds nothing of another attempt.
 */
#ifndef AGENT_SPARE_H
#define AGENT_SPARE_H

#include <stdbool.h>

/* Takes `dead`, an attempt's folder that is out of sight. False: it holds what it should not, or there are spares enough. */
bool spare_keep(const char *spool, const char *dead);

/* Makes a spare `to`. False: there is none. Its spec.json and outcome.part hold what they held. */
bool spare_take(const char *spool, const char *to);

/* Removes all. */
void spare_clear(const char *spool);

#endif
