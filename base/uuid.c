#include "base/uuid.h"
#include "base/clock.h"
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static const char shape[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";

static void draw(unsigned char random[16], unsigned version)
{
	while (getrandom(random, 16, 0) != 16)
		if (errno != EINTR)
			abort(); /* two attempts of one name would overwrite each other's results */
	random[6] = (unsigned char)((random[6] & 0x0f) | version << 4);
	random[8] = (random[8] & 0x3f) | 0x80;
}

static char *print(const unsigned char bytes[16], char out[GRETA_UUID_LEN + 1])
{
	int nibble = 0;
	for (int i = 0; i < GRETA_UUID_LEN; i++) {
		if (shape[i] == '-') {
			out[i] = '-';
			continue;
		}
		out[i] = "0123456789abcdef"[nibble % 2 ? bytes[nibble / 2] & 15 : bytes[nibble / 2] >> 4];
		nibble++;
	}
	out[GRETA_UUID_LEN] = '\0';
	return out;
}

char *greta_uuid_new(char out[GRETA_UUID_LEN + 1])
{
	unsigned char bytes[16];
	draw(bytes, 4);
	return print(bytes, out);
}

char *greta_uuid_next(char out[GRETA_UUID_LEN + 1])
{
	static int64_t last_ms;
	int64_t now_ms = greta_clock_wall_ns() / GRETA_NS_PER_MS;
	unsigned char bytes[16];
	last_ms = now_ms > last_ms ? now_ms : last_ms + 1;
	draw(bytes, 8);
	for (int i = 0; i < 4; i++)
		bytes[i] = (unsigned char)(last_ms >> (24 - 8 * i));
	return print(bytes, out);
}

bool greta_uuid_valid(const char *s)
{
	if (!s || strnlen(s, GRETA_UUID_LEN + 1) != GRETA_UUID_LEN)
		return false;
	for (int i = 0; i < GRETA_UUID_LEN; i++)
		if (shape[i] == '-' ? s[i] != '-' : !strchr("0123456789abcdef", s[i]))
			return false;
	return true;
}
