/* banned: calls that this project does not make; included by the compiler before every file of ours. */
#ifndef BASE_BANNED_H
#define BASE_BANNED_H

#ifndef __cplusplus
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#pragma GCC poison strcpy strcat sprintf vsprintf gets strtok system popen tmpnam mktemp atoi atol atof
#endif

#endif
