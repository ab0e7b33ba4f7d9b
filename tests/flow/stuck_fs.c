/* stuck_fs FOLDER: a file system that answers nothing. Whoever asks for a file in it sleeps in the kernel, where no signal
 * reaches it, KILL included, until this program ends: it stands in for a driver that is stuck. It speaks FUSE itself
 * (include/uapi/linux/fuse.h), and only to say hello; to mount it takes root. Says "ready" when there is nothing more to wait
 * for. */
#include <fcntl.h>
#include <linux/fuse.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

static const char *folder;

static void leave(int signo)
{
	(void)signo;
	umount2(folder, MNT_DETACH);
	_exit(0); /* closes the connection, which wakes them all */
}

static bool say_hello(int fd, const struct fuse_in_header *asked)
{
	struct {
		struct fuse_out_header head;
		struct fuse_init_out init;
	} answer = {.head = {.len = sizeof answer, .unique = asked->unique},
		    .init = {.major = FUSE_KERNEL_VERSION, .minor = FUSE_KERNEL_MINOR_VERSION, .max_write = 4096}};
	return write(fd, &answer, sizeof answer) == sizeof answer;
}

int main(int argc, char **argv)
{
	static _Alignas(8) char request[1 << 17];
	char options[96];
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (argc != 2)
		return 2;
	folder = argv[1];
	snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0", fd);
	if (fd < 0 || mount("stuck_fs", folder, "fuse", MS_NOSUID | MS_NODEV, options) != 0) {
		perror("FUSE");
		return 1;
	}
	signal(SIGTERM, leave);
	while (read(fd, request, sizeof request) > 0) {
		const struct fuse_in_header *asked = (const void *)request;
		if (asked->opcode != FUSE_INIT)
			continue;
		if (!say_hello(fd, asked))
			break;
		puts("ready");
		fflush(stdout);
	}
	perror(folder);
	umount2(folder, MNT_DETACH);
	return 1;
}
