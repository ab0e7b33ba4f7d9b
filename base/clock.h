/* clock: three clocks, each for its one use.
 *
 * Durations on one machine: monotonic. Stamps that two processes or a resumed controller compare: (boot id, boottime),
 * since boottime runs on through suspend. What a person reads: wall time. Never a wall-clock deadline.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

#define GRETA_NS_PER_S INT64_C(1000000000)
#define GRETA_NS_PER_MS INT64_C(1000000)

int64_t greta_clock_mono_ns(void);
int64_t greta_clock_boot_ns(void);
int64_t greta_clock_wall_ns(void); /* since 1970, UTC */

#define GRETA_BOOT_ID_LEN 36
const char *greta_clock_boot_id(void); /* of this boot, from the kernel; "" if it can't be read */

/* "2026-02-12T09:30:00.123Z" (24 characters) into a caller's buffer, returning it; and back. */
#define GRETA_ISO_LEN 24
char *greta_clock_iso(char out[GRETA_ISO_LEN + 1], int64_t wall_ns);
int greta_clock_parse_iso(const char *s, int64_t *wall_ns);

#endif
