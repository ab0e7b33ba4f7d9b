#include "base/uuid.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static const char shape[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";

char *greta_uuid_new(char out[GRETA_UUID_LEN + 1])
{
	unsigned char random[16];
	while (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
		if (errno != EINTR)
			abort(); /* two attempts of one name would overwrite each other's results */
	random[6] = (random[6] & 0x0f) | 0x40;
	random[8] = (random[8] & 0x3f) | 0x80;
	int nibble = 0;
	for (int i = 0; i < GRETA_UUID_LEN; i++) {
		if (shape[i] == '-') {
			out[i] = '-';
			continue;
		}
		out[i] = "0123456789abcdef"[nibble % 2 ? random[nibble / 2] & 15 : random[nibble / 2] >> 4];
		nibble++;
	}
	out[GRETA_UUID_LEN] = '\0';
	return out;
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
