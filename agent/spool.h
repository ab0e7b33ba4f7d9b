/* spool: what an attempt leaves on its node, kept until the controller has acknowledged its outcome.
 *
 *   <spool>/attempts/<uuid>/spec.json     what it was told to do; synced before `accepted` is reported
 *                          /owner         the database that it belongs to
 *                          /lock          flock held by its supervisor, and by nobody once that is gone
 *                          /events        ready frames, appended by the supervisor (journal.h), read by tail.h
 *                          /control       one preallocated block: a controller writes why it cancels
 *                          /acked         the last sequence number that the controller has committed
 *                          /outcome.json  how it ended: space reserved at the start, renamed into place last
 *                          /outcome.part  that reserve, until then
 *                          /engine        one preallocated block: what runs, for whoever cleans up; blank until the
 *                                         engine is about to be started
 *                          /scratch/      the engine's working folder
 *                          /supervisor.log  what the supervisor has to say; normally empty
 *   <spool>/fence/<db-uuid>               the highest fence seen (fence.h)
 *   <spool>/quarantine/                   slots that must not be used (quarantine.h)
 *
 * A folder appears under its name only when spec.json is whole and its lock is held. Life of the lock: taken by the
 * session that creates the folder, inherited by the supervisor. So an unlocked folder without an outcome means that
 * its supervisor died; whoever takes the lock then must see to it: run the attempt if nothing of it has run yet, else
 * end it as `lost`.
 */
#ifndef AGENT_SPOOL_H
#define AGENT_SPOOL_H

#include "base/err.h"
#include "base/str.h"
#include "schemas/msg.h"

#define SPOOL_OUTCOME_RESERVE GRETA_FRAME_BYTES_MAX /* its event must fit into a frame */
#define SPOOL_BLOCK_BYTES 4096

/* A folder that is ours alone: made 0700 if missing; refused when it is a link, somebody else's or open to others. */
int spool_own_folder(const char *path, struct greta_err *e);

/* Makes the spool ready; refuses a network file system. */
int spool_prepare(const char *spool, struct greta_err *e);

/* The folder of an attempt; the caller owns the string. uuid: valid. */
char *spool_attempt_dir(const char *spool, const char *uuid);
void spool_list(const char *spool, struct greta_strs *uuids);

/* Creates the folder durably. *lock_fd is then held and close-on-exec. EEXIST: there is one already. */
int spool_create(const char *spool, const struct greta_spec *spec, const char *db, int *lock_fd, struct greta_err *e);

/* Takes the lock of a folder whose supervisor is gone: a descriptor, or -1 with EBUSY while one lives. */
int spool_lock(const char *dir, struct greta_err *e);
/* The supervisor's pid as written into the lock; 0: unknown. */
int spool_lock_write(int lock_fd, struct greta_err *e);
pid_t spool_lock_pid(const char *dir);

int spool_read_spec(const char *dir, struct greta_spec *out, struct greta_err *e);
int spool_read_owner(const char *dir, char db[GRETA_UUID_LEN + 1], struct greta_err *e);
bool spool_is_finished(const char *dir);

/* Publishes outcome.json: into the reserve, synced, renamed, synced. Works on a full disk. */
int spool_publish(const char *dir, const char *json, size_t n, struct greta_err *e);

/* Cancelling: whoever asks writes into the preallocated block, the supervisor watches it. False: nobody asked. */
int spool_cancel(const char *dir, const char *why, struct greta_err *e);
bool spool_cancel_asked(const char *dir, char *why, size_t cap);

/* What runs, written before it does: text of less than a block. False: nothing has ever been started. */
int spool_note_engine(const char *dir, const char *text, struct greta_err *e);
bool spool_engine_note(const char *dir, char *text, size_t cap);

int64_t spool_acked(const char *dir);
void spool_ack(const char *dir, int64_t seq);

/* Removes an attempt's folder: out of sight first, then its contents. */
int spool_remove(const char *spool, const char *uuid, struct greta_err *e);

/* Removes what a crash left half made or half removed. */
void spool_tidy(const char *spool);

#endif
