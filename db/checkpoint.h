/* checkpoint: brings what the write-ahead log holds into the database file, beside the writer.
 *
 * SQLite's own way is to do it inside the commit that fills the log: thousands of pages and two flushes, 50 to 100 ms in
 * which a controller tells no node anything. Here a thread with a connection of its own does it, and does not keep the
 * writer from committing. What is committed meanwhile is left, though, so that the log would never begin anew while
 * there is always something to commit: the writer itself does the rest, which is little, when the log has become large.
 *
 * A thread that can't be had, or a disk that is full, only makes the log longer: nothing is lost, and closing the last
 * connection does all that is left.
 */
#ifndef DB_CHECKPOINT_H
#define DB_CHECKPOINT_H

struct greta_db;

/* From now on after each commit of this writer, instead of SQLite's own. */
void checkpoint_watch(struct greta_db *db);
/* No more of it: waits for one under way, and the writer's is the only connection again. Twice is fine. */
void checkpoint_end(struct greta_db *db);

#endif
