#include "agent/model.h"
#include "base/child.h"
#include "base/cleanup.h"
#include "base/fs.h"
#include "base/jsonw.h"
#include "base/str.h"
#include "schemas/json.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_gguf(const char *path)
{
	char magic[4];
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd >= 0 && read(fd, magic, sizeof magic) == sizeof magic && memcmp(magic, "GGUF", 4) == 0;
}

/* The one line that it prints, if that is an object with the file's hash. */
static bool take_line(struct greta_buf *printed, char line[HASH_LINE_MAX])
{
	const char *sha = NULL;
	printed->len = strcspn(greta_buf_str(printed), "\n");
	if (printed->len >= HASH_LINE_MAX)
		return false;
	struct greta_json *j = greta_json_parse("greta-gguf", greta_buf_str(printed), printed->len, NULL);
	bool good = j && greta_json_str(greta_json_get(greta_json_root(j), "file_sha256"), &sha) == 0;
	greta_json_destroy(j);
	if (good)
		snprintf(line, HASH_LINE_MAX, "%.*s", (int)printed->len, printed->data);
	return good;
}

/* False where there is no greta-gguf, or it can't run here, or the file is none that it can read. */
static bool ask_gguf(const char *path, char line[HASH_LINE_MAX])
{
	cleanup_free char *dir = greta_fs_self_dir();
	cleanup_free char *program = dir ? greta_fs_join(dir, "greta-gguf") : NULL;
	if (!program || access(program, X_OK) != 0)
		return false;
	const char *const argv[] = {program, "hash", "--json", path, NULL};
	const struct greta_child_spec spec = {.argv = argv, .death_signal = SIGKILL};
	struct greta_child_result result;
	cleanup_buf struct greta_buf printed = {0};
	return greta_child_run(&spec, -1, HASH_LINE_MAX, &printed, &result, NULL) == 0 && result.status == 0 &&
	       take_line(&printed, line);
}

static int find(void *arg, const char *path, char line[HASH_LINE_MAX], struct greta_err *e)
{
	char sha[GRETA_SHA256_HEX + 1];
	struct stat st;
	if (is_gguf(path) && ask_gguf(path, line))
		return 0;
	if (hash_file(arg, path, sha, e) != 0)
		return -1;
	if (stat(path, &st) != 0)
		return greta_err_sys(e, "%s", path);
	cleanup_buf struct greta_buf out = {0};
	struct greta_jsonw w = greta_jsonw(&out);
	greta_jsonw_object(&w, NULL);
	greta_jsonw_str(&w, "file_sha256", sha);
	greta_jsonw_i64(&w, "file_bytes", (int64_t)st.st_size);
	greta_jsonw_end_object(&w);
	greta_str_copy(line, HASH_LINE_MAX, greta_buf_str(&out));
	return 0;
}

int model_identify(const char *cache, const char *path, char line[HASH_LINE_MAX], struct greta_err *e)
{
	return hash_remembered(cache, path, ".model", find, (void *)cache, line, e);
}
