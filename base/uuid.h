/* uuid: names for attempts, databases and nodes: nobody else's, whoever makes them and wherever (RFC 9562). */
#ifndef BASE_UUID_H
#define BASE_UUID_H

#include <stdbool.h>

#define GRETA_UUID_LEN 36

char *greta_uuid_new(char out[GRETA_UUID_LEN + 1]); /* random (version 4); returns out */
/* Its first eight digits count milliseconds (they begin anew after 50 days), one more each time; the rest is random
 * (version 8). So those of one process are told apart by eight digits, and lie side by side in an index. For one thread. */
char *greta_uuid_next(char out[GRETA_UUID_LEN + 1]);
bool greta_uuid_valid(const char *s);               /* 8-4-4-4-12 lower-case hex: safe as a file name */

#endif
