#include "common/posix/terminal.h"

#include "common/check.h"
#include "common/mem.h"
#include "common/posix/posix_watch.h"
#include "common/seam/net.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

struct terminal_input {
    int fd;
    struct posix_watch *watch; /* NULL: can't be watched, is always ready */
    bool *is_done;
};

static void input_on_ready(void *ctx, unsigned events)
{
    struct terminal_input *input = ctx;
    (void)events;
    posix_watch_set(input->watch, 0);
    if (input->is_done != NULL) {
        *input->is_done = true;
        input->is_done = NULL;
    }
}

/* epoll takes what can keep its reader waiting, and refuses files and some devices. */
static bool input_can_be_watched(int fd)
{
    struct stat status;
    return fstat(fd, &status) == 0 && (S_ISFIFO(status.st_mode) || S_ISSOCK(status.st_mode) || isatty(fd) == 1);
}

enum err terminal_input_open(struct loop *loop, const char *path, struct terminal_input **ret_input)
{
    int fd = path == NULL ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return err_from_errno(errno);
    }
    struct terminal_input *input = MEM_NEW(struct terminal_input);
    input->fd = fd;
    if (input_can_be_watched(fd)) {
        input->watch = posix_watch_new(loop, fd, input_on_ready, input);
    }
    *ret_input = input;
    return ERR_OK;
}

void terminal_input_close(struct terminal_input *input)
{
    if (input == NULL) {
        return;
    }
    posix_watch_free(input->watch);
    if (input->fd != STDIN_FILENO) {
        (void)close(input->fd);
    }
    mem_free(input);
}

bool terminal_input_is_ready(const struct terminal_input *input)
{
    struct pollfd wish = {.fd = input->fd, .events = POLLIN};
    return input->watch == NULL || poll(&wish, 1, 0) > 0;
}

enum err terminal_input_read(struct terminal_input *input, void *ret_bytes, size_t bytes, size_t *ret_read_bytes)
{
    ssize_t read_bytes = 0;
    do {
        read_bytes = read(input->fd, ret_bytes, bytes);
    } while (read_bytes < 0 && errno == EINTR);
    if (read_bytes < 0) {
        return err_from_errno(errno);
    }
    if (read_bytes == 0) {
        return ERR_END;
    }
    *ret_read_bytes = (size_t)read_bytes;
    return ERR_OK;
}

void terminal_input_wait(struct terminal_input *input, bool *is_done)
{
    if (input->watch != NULL) {
        input->is_done = is_done;
        posix_watch_set(input->watch, is_done == NULL ? 0 : NET_READABLE);
    } else if (is_done != NULL) {
        *is_done = true;
    }
}

bool terminal_is_input(void)
{
    return isatty(STDIN_FILENO) == 1;
}

bool terminal_is_output(void)
{
    return isatty(STDOUT_FILENO) == 1;
}

bool terminal_is_error(void)
{
    return isatty(STDERR_FILENO) == 1;
}
