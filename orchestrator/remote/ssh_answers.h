/* ssh_answers: what `ssh -G HOST` said, kept from one controller to the next. To ask takes a sixth of the CPU time that a
 * connection costs on all sides; the answer changes when a configuration file does.
 *
 * An answer is used again while the command, the user, the local host's name, the ssh program and all files that ssh would
 * read (absent ones, and folders that an Include looks into, among them) are what they were when it was given. It is not
 * kept where something else has a say: Match exec or localnetwork, CanonicalizeHostname, ${variables}.
 *
 * They lie in ssh/ of greta_fs_cache_dir(), in at most 4096 files, where a newer one takes the place of an older. A torn or
 * foreign file is no answer. Where nothing can be written, ssh is asked each time.
 */
#ifndef ORCHESTRATOR_REMOTE_SSH_ANSWERS_H
#define ORCHESTRATOR_REMOTE_SSH_ANSWERS_H

#include "base/buf.h"
#include "base/sha256.h"
#include "base/str.h"
#include <stdbool.h>

struct ssh_question {
	char place[4];                    /* name of its file */
	char hash[GRETA_SHA256_HEX + 1];  /* of the command and all that the answer depends on */
	bool may_keep;
};

/* argv: the command; config: the file that its -F names, NULL: the user's and the system's. To be taken before ssh is asked,
 * so that a file which changes meanwhile is seen. */
void ssh_question_take(const struct greta_strs *argv, const char *config, struct ssh_question *q);
bool ssh_answer_find(const struct ssh_question *q, struct greta_buf *out); /* appended */
void ssh_answer_keep(const struct ssh_question *q, const char *text, size_t n);

#endif
