/* gather: a VFS of SQLite's that writes the write-ahead log in large pieces, into a file that is longer than the log.
 *
 * SQLite writes each page of a commit by two calls, header and page: 35 calls for a short attempt, a tenth of all that it
 * costs a controller. Here they are put together until SQLite syncs the log, which it does at the end of each commit with
 * synchronous=FULL, before it tells anybody that there is something to read; or until it reads from it.
 *
 * A file that grows has its length written, and on most file systems a journal, each time that it is synced. So it grows
 * by a megabyte of zeros at a time, which SQLite takes for no part of the log: they carry no salt and no checksum of its.
 *
 * All this is for writers with synchronous=FULL only. All files but the log are the system's own business.
 */
#ifndef DB_GATHER_H
#define DB_GATHER_H

const char *gather_vfs(void); /* its name, for sqlite3_open_v2; NULL, which is the system's own: it can't be had */

#endif
