#include "base/clock.h"
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int64_t now_ns(clockid_t id)
{
	struct timespec t;
	clock_gettime(id, &t);
	return (int64_t)t.tv_sec * GRETA_NS_PER_S + t.tv_nsec;
}

int64_t greta_clock_mono_ns(void)
{
	return now_ns(CLOCK_MONOTONIC);
}

int64_t greta_clock_boot_ns(void)
{
	return now_ns(CLOCK_BOOTTIME);
}

int64_t greta_clock_wall_ns(void)
{
	return now_ns(CLOCK_REALTIME);
}

static char boot_id[GRETA_BOOT_ID_LEN + 1];

static void read_boot_id(void)
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	if (read(fd, boot_id, GRETA_BOOT_ID_LEN) != GRETA_BOOT_ID_LEN)
		boot_id[0] = '\0';
	close(fd);
}

const char *greta_clock_boot_id(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, read_boot_id);
	return boot_id;
}

static void put_digits(char *at, int n, long v)
{
	while (n-- > 0) {
		at[n] = (char)('0' + v % 10);
		v /= 10;
	}
}

char *greta_clock_iso(char out[GRETA_ISO_LEN + 1], int64_t wall_ns)
{
	int64_t s = wall_ns / GRETA_NS_PER_S, ns = wall_ns % GRETA_NS_PER_S;
	if (ns < 0) {
		ns += GRETA_NS_PER_S;
		s--;
	}
	time_t t = (time_t)s;
	struct tm tm;
	gmtime_r(&t, &tm); /* 64 bits of ns are the years 1677 to 2262: it can't fail */
	memcpy(out, "0000-00-00T00:00:00.000Z", GRETA_ISO_LEN + 1);
	put_digits(out, 4, tm.tm_year + 1900L);
	put_digits(out + 5, 2, tm.tm_mon + 1L);
	put_digits(out + 8, 2, tm.tm_mday);
	put_digits(out + 11, 2, tm.tm_hour);
	put_digits(out + 14, 2, tm.tm_min);
	put_digits(out + 17, 2, tm.tm_sec);
	put_digits(out + 20, 3, (long)(ns / GRETA_NS_PER_MS));
	return out;
}

/* Exactly n digits at *s, then `stop` unless it is 0; -1 if they are not there. */
static int take_digits(const char **s, int n, char stop)
{
	int v = 0;
	for (; n > 0; n--, (*s)++) {
		if (**s < '0' || **s > '9')
			return -1;
		v = v * 10 + (**s - '0');
	}
	if (stop && *(*s)++ != stop)
		return -1;
	return v;
}

static int take_fraction(const char **s, int64_t *ns)
{
	int64_t unit = GRETA_NS_PER_S;
	const char *first = ++*s;
	*ns = 0;
	for (; **s >= '0' && **s <= '9'; (*s)++) {
		unit /= 10;
		*ns += (**s - '0') * unit;
	}
	return *s == first ? -1 : 0;
}

int greta_clock_parse_iso(const char *s, int64_t *wall_ns)
{
	struct tm tm = {0}, back;
	int64_t ns = 0;
	if ((tm.tm_year = take_digits(&s, 4, '-')) < 1678 || tm.tm_year > 2261 ||
	    (tm.tm_mon = take_digits(&s, 2, '-')) < 1 || (tm.tm_mday = take_digits(&s, 2, 'T')) < 1 ||
	    (tm.tm_hour = take_digits(&s, 2, ':')) < 0 || (tm.tm_min = take_digits(&s, 2, ':')) < 0 ||
	    (tm.tm_sec = take_digits(&s, 2, 0)) < 0)
		return -1;
	if ((*s == '.' && take_fraction(&s, &ns) != 0) || s[0] != 'Z' || s[1])
		return -1;
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	struct tm norm = tm;
	time_t t = timegm(&norm); /* takes 30 February for 2 March; what comes back then differs */
	gmtime_r(&t, &back);
	if (back.tm_mon != tm.tm_mon || back.tm_mday != tm.tm_mday || back.tm_hour != tm.tm_hour ||
	    back.tm_min != tm.tm_min || back.tm_sec != tm.tm_sec)
		return -1;
	*wall_ns = (int64_t)t * GRETA_NS_PER_S + ns;
	return 0;
}
