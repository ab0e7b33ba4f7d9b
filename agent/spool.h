/* spool: what an attempt leaves on its node, kept until the controller has acknowledged its outcome.
 *
 *   <spool>/attempts/<uuid>/spec.json     what it was told to do, for which database, in which boot; synced before
 *                                         `accepted`
 *                          /control       one preallocated block of small records, written in place: who holds the lock,
 *                                         why a controller cancels, what runs, what is acknowledged. Its flock is the
 *                                         attempt's lock, held by its supervisor, and by nobody once that is gone
 *                          /events        ready frames, appended by the supervisor (journal.h), read by tail.h
 *                          /outcome.json  how it ended: space reserved at the start, renamed into place last
 *                          /outcome.part  that reserve, until then
 *                          /kernels.json  what the engine says of its kernels, where the spec asks (kernels.h)
 *                          /scratch/      the engine's working folder
 *   <spool>/fence/<db-uuid>               the highest fence seen (fence.h)
 *   <spool>/spare/<number>                folders that the next attempts begin with (spare.h)
 *   <spool>/supervisor.log                what supervisors have to say; normally empty
 *
 * A folder appears under its name only when spec.json is whole and its lock is held. Life of the lock: taken by the
 * session that creates the folder, inherited by the supervisor. So an unlocked folder without an outcome means that
 * its supervisor died; whoever takes the lock then must see to it: run the attempt if nothing of it has run yet, else
 * end it as `lost`. That nothing has run only the boot knows in which it would have: a power cut takes control and events,
 * which nobody syncs while it runs.
 */
#ifndef AGENT_SPOOL_H
#define AGENT_SPOOL_H

#include "base/err.h"
#include "base/str.h"
#include "schemas/msg.h"

#define SPOOL_OUTCOME_RESERVE (128 * 1024) /* GRETA_SAMPLES_BYTES_MAX of samples and the rest; fits into a frame */
#define SPOOL_DEAD ".dead-"                /* before the name of a folder that is about to go */
#define SPOOL_RECORD 1024                  /* of the control file; the longest text in one */

/* A folder that is ours alone: made 0700 if missing; refused when it is a link, somebody else's or open to others. */
int spool_own_folder(const char *path, struct greta_err *e);

/* Makes the spool ready; refuses a network file system, unless machines are meant to share it (queue.h). */
int spool_prepare(const char *spool, bool shared, struct greta_err *e);

/* The folder of an attempt; the caller owns the string. uuid: valid. */
char *spool_attempt_dir(const char *spool, const char *uuid);
void spool_list(const char *spool, struct greta_strs *uuids);

/* Creates the folder durably. *lock_fd is then held and close-on-exec. EEXIST: there is one already. shared: whichever
 * machine comes for it may run it, whose boot nobody knows yet. */
int spool_create(const char *spool, const struct greta_spec *spec, const char *db, int *lock_fd, struct greta_err *e);
int spool_create_shared(const char *spool, const struct greta_spec *spec, const char *db, int *lock_fd, struct greta_err *e);

/* Takes the lock of a folder whose supervisor is gone: a descriptor, or -1 with EBUSY while one lives. */
int spool_lock(const char *dir, struct greta_err *e);
/* Notes our pid beside the lock; the pid noted last, 0: unknown. */
int spool_lock_write(int lock_fd, struct greta_err *e);
pid_t spool_lock_pid(const char *dir);

int spool_read_spec(const char *dir, struct greta_spec *out, struct greta_err *e);
int spool_read_owner(const char *dir, char db[GRETA_UUID_LEN + 1], struct greta_err *e);
bool spool_is_of_another_boot(const char *dir);
bool spool_is_finished(const char *dir);

/* Publishes outcome.json: into the reserve, synced, renamed, synced. Works on a full disk. */
int spool_publish(const char *dir, const char *json, size_t n, struct greta_err *e);

/* Cancelling: whoever asks writes into the control file, which the supervisor watches. False: nobody asked. */
int spool_cancel(const char *dir, const char *why, struct greta_err *e);
bool spool_cancel_asked(const char *dir, char why[SPOOL_RECORD]);

/* What runs, written before it does. False: nothing has ever been started. */
int spool_note_engine(const char *dir, const char *text, struct greta_err *e);
bool spool_engine_note(const char *dir, char text[SPOOL_RECORD]);

int64_t spool_acked(const char *dir);
void spool_ack(const char *dir, int64_t seq);

/* Removes an attempt's folder: out of sight first, then its contents. recycle: what is left of one that is through may serve
 * another attempt (spare.h); not in a spool that machines share. */
int spool_remove(const char *spool, const char *uuid, struct greta_err *e);
int spool_recycle(const char *spool, const char *uuid, struct greta_err *e);

/* Removes what a crash left half made, half removed or half recycled. */
void spool_tidy(const char *spool);

#endif
