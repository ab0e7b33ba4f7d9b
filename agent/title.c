#include "agent/title.h"
#include <stddef.h>
#include <stdio.h>
#include <string.h>

static struct {
	char *at;
	size_t n;
} arguments;

/* The kernel lays the arguments out one behind the other, and shows whatever stands there. */
void title_init(int argc, char **argv)
{
	if (argc < 1)
		return;
	arguments.at = argv[0];
	arguments.n = (size_t)(argv[argc - 1] + strlen(argv[argc - 1]) - argv[0]) + 1;
}

void title_set(const char *command, const char *operand)
{
	char title[1024];
	if (!arguments.n)
		return;
	int n = snprintf(title, sizeof title, "greta-agent%c%s%c%s", 0, command, 0, operand);
	size_t len = n < 0 ? 0 : (size_t)n < sizeof title ? (size_t)n : sizeof title - 1;
	len = len < arguments.n ? len : arguments.n - 1;
	memset(arguments.at, 0, arguments.n);
	memcpy(arguments.at, title, len);
}
