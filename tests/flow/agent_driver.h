/* agent_driver: plays the controller towards a real greta-agent session, over a socket pair. */
#ifndef TESTS_AGENT_DRIVER_H
#define TESTS_AGENT_DRIVER_H

#include "schemas/msg.h"
#include <sys/types.h>

/* A node of its own: spool, slots and cache under a temporary folder. */
struct node {
	char *root;     /* temporary folder */
	char *spool;    /* <root>/spool/test-node */
	char *engine;   /* the fake one */
	char *agent;
};

int node_create(void **state); /* cmocka setup: struct node in *state, environment set, cwd is root */
int node_remove(void **state); /* fails when a process of an attempt is left */

struct driver {
	pid_t pid;
	int fd;
	struct greta_buf in;
	int64_t re;
	bool greeted;
	int64_t sent_ns;
};

#define DRIVER_DB "11111111-1111-4111-8111-111111111111"

/* Starts a session, checks its magic line, says hello. */
void driver_open(struct driver *d, const char *db, int64_t fence, struct greta_msg *hello);
void driver_open_raw(struct driver *d); /* without hello */
void driver_close(struct driver *d);    /* end of input; the session must exit 0 */
void driver_kill(struct driver *d);     /* KILL */

int64_t driver_send(struct driver *d, struct greta_msg *m); /* numbers it and returns the number */
void driver_send_raw(struct driver *d, const void *bytes, size_t n);

/* The next message within timeout_ms; fails the test if none comes. False: the session ended. */
bool driver_read(struct driver *d, struct greta_msg *out, int timeout_ms);

/* The answer to request re; events before it stay to be read. */
void driver_answer(struct driver *d, int64_t re, struct greta_msg *out);

/* A spec for the fake engine: args ends with NULL. */
void spec_make(const struct node *n, struct greta_spec *spec, const char *const *args);

/* Sends start and expects it to be taken. */
void driver_start(struct driver *d, struct greta_spec *spec);
void driver_attach(struct driver *d, const char *attempt, int64_t seq);
void driver_ack(struct driver *d, const char *attempt, int64_t seq);
void driver_cancel(struct driver *d, const char *attempt, const char *why);

struct seen;
/* Starts an attempt that has the whole node, so that others wait, until it is cancelled. */
void driver_hold_node(struct driver *d, const struct node *n, struct greta_spec *holder, struct seen *out);

/* What was seen of an attempt until its outcome. */
struct seen {
	struct greta_end end;
	int64_t last_seq;
	size_t n[GRETA_EVENT_COUNT];
	struct greta_buf out, err;     /* log bytes */
	char *waiting, *started;       /* details */
	int64_t dropped;               /* by gaps */
};

/* Reads events of the attempt (granting credit) until its outcome; numbers must follow after `after` without gaps. */
void driver_follow(struct driver *d, const char *attempt, int64_t after, struct seen *out, int timeout_ms);
/* The same, until an event of this kind was seen. */
void driver_until(struct driver *d, const char *attempt, enum greta_event_kind kind, struct seen *out, int timeout_ms);
/* Called for every event that the functions above see; NULL: nobody. */
void driver_on_event(void (*fn)(void *arg, const struct greta_event *ev), void *arg);
/* Takes an event read by driver_read into what was seen of its attempt, and gives its credit back. */
void driver_see(struct driver *d, struct seen *s, const struct greta_event *ev);
void seen_release(struct seen *s);

/* start, follow, ack: the whole life of one attempt in one session. */
void run_attempt(struct node *n, const char *const *args, struct greta_spec *spec, struct seen *out);

/* Processes whose environment names the attempt. */
int count_processes(const char *attempt);
pid_t supervisor_of(const struct node *n, const char *attempt);
bool wait_until(bool (*question)(void *), void *arg, int timeout_ms);

struct CMUnitTest;
/* As cmocka_run_group_tests, but at_once of them at a time, each in a process of its own: for tests that mostly wait.
 * Returns how many failed. */
int run_side_by_side(const struct CMUnitTest *tests, size_t n, size_t at_once);

#endif
