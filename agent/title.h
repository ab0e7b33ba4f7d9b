/* title: what `ps` calls this process, since a supervisor is forked from a session and not executed. */
#ifndef AGENT_TITLE_H
#define AGENT_TITLE_H

/* Remembers where the arguments lie; they must not be used after title_set. */
void title_init(int argc, char **argv);

/* "greta-agent supervise DIR", cut off where the arguments that we were started with were shorter. */
void title_set(const char *command, const char *operand);

#endif
