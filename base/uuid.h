/* uuid: random names (version 4) for attempts, databases and nodes. */
#ifndef BASE_UUID_H
#define BASE_UUID_H

#include <stdbool.h>

#define GRETA_UUID_LEN 36

char *greta_uuid_new(char out[GRETA_UUID_LEN + 1]); /* returns out */
bool greta_uuid_valid(const char *s);               /* 8-4-4-4-12 lower-case hex: safe as a file name */

#endif
