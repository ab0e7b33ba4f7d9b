/* driver: runs a fuzz target where there is no libFuzzer. Takes its options (the ones that CMakeLists.txt gives) and
 * folders of inputs; runs every input, then seeded mutations of them until the time is over. Sanitizers do the
 * judging. */
#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define INPUT_BYTES_MAX 65536

struct inputs {
	uint8_t **data;
	size_t *len;
	size_t n;
};

static uint64_t state = 88172645463325252u;

static uint64_t next_random(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	return state ^= state << 17;
}

static void add_input(struct inputs *in, const uint8_t *data, size_t len)
{
	in->data = realloc(in->data, (in->n + 1) * sizeof *in->data);
	in->len = realloc(in->len, (in->n + 1) * sizeof *in->len);
	in->data[in->n] = malloc(len + 1);
	memcpy(in->data[in->n], data, len);
	in->len[in->n++] = len;
}

static void add_folder(struct inputs *in, const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	static uint8_t bytes[INPUT_BYTES_MAX];

	while (dir && (entry = readdir(dir))) {
		char name[4096];
		snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
		FILE *f = entry->d_name[0] == '.' ? NULL : fopen(name, "rb");
		if (!f)
			continue;
		add_input(in, bytes, fread(bytes, 1, sizeof bytes, f));
		fclose(f);
	}
	if (dir)
		closedir(dir);
}

static void overwrite(uint8_t *p, size_t room)
{
	static const uint64_t odd[] = {0,          1,          0x7f,       0x80,       0xff,
				       0x7fffffff, 0x80000000, 0xffffffff, UINT64_MAX, 1ull << 62};
	uint64_t v = next_random() & 1 ? odd[next_random() % (sizeof odd / sizeof odd[0])] : next_random();
	size_t n = (size_t)1 << next_random() % 4;

	memcpy(p, &v, n < room ? n : room);
}

static size_t mutate(uint8_t *p, size_t n)
{
	for (uint64_t rounds = 1 + next_random() % 8; rounds > 0 && n > 0; rounds--) {
		size_t at = next_random() % n;
		switch (next_random() % 4) {
		case 0:
			p[at] ^= (uint8_t)(1 << next_random() % 8);
			break;
		case 1:
			overwrite(p + at, n - at);
			break;
		case 2:
			n = at; /* cut */
			break;
		default: { /* copy a piece elsewhere */
			size_t from = next_random() % n, len = next_random() % 64, room = n - (at > from ? at : from);
			memmove(p + at, p + from, len < room ? len : room);
		}
		}
	}
	return n;
}

static void run_one(const uint8_t *data, size_t n)
{
	uint8_t *exact = malloc(n ? n : 1); /* so that the sanitizer sees the first byte beyond */

	memcpy(exact, data, n);
	LLVMFuzzerTestOneInput(exact, n);
	free(exact);
}

static time_t now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

int main(int argc, char **argv)
{
	struct inputs in = {0};
	static uint8_t bytes[INPUT_BYTES_MAX];
	unsigned long seconds = 5, runs = 0;

	add_input(&in, (const uint8_t *)"", 0);
	for (int i = 1; i < argc; i++) {
		if (!strncmp(argv[i], "-max_total_time=", 16))
			seconds = strtoul(argv[i] + 16, NULL, 10);
		else if (argv[i][0] != '-')
			add_folder(&in, argv[i]);
	}
	for (size_t i = 0; i < in.n; i++)
		run_one(in.data[i], in.len[i]);
	for (time_t end = now_s() + (time_t)seconds; now_s() < end; runs++) {
		size_t i = next_random() % in.n;
		memcpy(bytes, in.data[i], in.len[i]);
		run_one(bytes, mutate(bytes, in.len[i]));
	}
	for (size_t i = 0; i < in.n; i++)
		free(in.data[i]);
	free(in.data);
	free(in.len);
	printf("%zu inputs, %lu mutations\n", in.n, runs);
	return 0;
}
