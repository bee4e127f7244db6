/* One request to the node agent, and its answer, until a deadline. */

#define _GNU_SOURCE

#include "agent.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "wire.h"

/* Milliseconds until an agent with a full backlog is tried again: connect(2)
 * of a Unix socket doesn't tell when there is room. */
#define BUSY_MS 5

static int connect_to(const char *socket_path, int64_t deadline, int *fd);
static int send_request(int fd, int netns, const struct nsx_buf *request,
                        int64_t deadline);
static int receive_all(int fd, void *data, size_t size, int64_t deadline);

/* Milliseconds of a clock that nobody sets. */
int64_t
now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Waits until 'fd' has one of 'events' or an error; gives 0, or ETIMEDOUT at
 * 'deadline', or what poll(2) says. */
int
wait_for(int fd, short events, int64_t deadline)
{
    struct pollfd pfd = { .fd = fd, .events = events };

    for (;;) {
        int64_t left = deadline - now_ms();
        int n = poll(&pfd, 1, left < 0 ? 0 : (int) left);

        if (n > 0) {
            return 0;
        } else if (!n) {
            return ETIMEDOUT;
        } else if (errno != EINTR) {
            return errno;
        }
    }
}

/* Sends the agent that listens at 'socket_path' a whole 'request', with the
 * file 'netns' unless that is negative.  Gives 0 with what the agent has to
 * say in 'answer' and its '*status', or -1 with 'failure'. */
int
agent_ask(const char *socket_path, int netns, const struct nsx_buf *request,
          int64_t deadline, struct nsx_buf *answer, uint32_t *status,
          struct failure *failure)
{
    struct wire_answer header;
    int fd = -1;
    int error;

    failure->kind = AGENT_AWAY;
    failure->what = "it can't be reached";
    error = connect_to(socket_path, deadline, &fd);
    if (error) {
        if (error != ENOENT && error != ECONNREFUSED && error != ETIMEDOUT) {
            failure->kind = AGENT_BROKEN;
        }
        failure->error = error;
        return -1;
    }

    failure->what = "it doesn't take the request";
    error = send_request(fd, netns, request, deadline);
    if (!error) {
        failure->what = "it doesn't answer";
        error = receive_all(fd, &header, sizeof header, deadline);
    }
    if (!error && (ntohl(header.magic) != WIRE_MAGIC
                   || ntohl(header.size) > WIRE_MAX_ANSWER
                   || ntohl(header.status) > 1)) {
        failure->kind = AGENT_BROKEN;
        failure->what = "its answer is of another version of nsx-cni";
        error = EPROTO;
    }
    if (!error) {
        uint32_t size = ntohl(header.size);

        failure->what = "its answer is cut off";
        error = receive_all(fd, nsx_buf_reserve(answer, size), size,
                            deadline);
        answer->size = error ? 0 : size;
        *status = ntohl(header.status);
    }
    close(fd);
    failure->error = error;
    return error ? -1 : 0;
}

static int
connect_to(const char *socket_path, int64_t deadline, int *fdp)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    size_t size = strlen(socket_path);
    int fd;

    if (size >= sizeof address.sun_path) {
        return ENAMETOOLONG;
    }
    memcpy(address.sun_path, socket_path, size + 1);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return errno;
    }
    while (connect(fd, (struct sockaddr *) &address, sizeof address)) {
        int error = errno;

        if (error == EAGAIN && now_ms() < deadline) {
            poll(NULL, 0, BUSY_MS);
        } else if (error != EINTR) {
            close(fd);
            return error == EAGAIN ? ETIMEDOUT : error;
        }
    }
    *fdp = fd;
    return 0;
}

static int
send_request(int fd, int netns, const struct nsx_buf *request,
             int64_t deadline)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec rest = { request->data, request->size };
    struct msghdr message = { .msg_iov = &rest, .msg_iovlen = 1 };

    if (netns >= 0) {
        struct cmsghdr *cmsg;

        memset(&control, 0, sizeof control);
        message.msg_control = &control;
        message.msg_controllen = sizeof control;
        cmsg = CMSG_FIRSTHDR(&message);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(sizeof netns);
        memcpy(CMSG_DATA(cmsg), &netns, sizeof netns);
    }
    while (rest.iov_len) {
        ssize_t n = sendmsg(fd, &message, MSG_NOSIGNAL);

        if (n >= 0) {
            rest.iov_base = (char *) rest.iov_base + n;
            rest.iov_len -= (size_t) n;
            message.msg_control = NULL;     /* Once is enough. */
            message.msg_controllen = 0;
        } else if (errno == EAGAIN) {
            int error = wait_for(fd, POLLOUT, deadline);

            if (error) {
                return error;
            }
        } else if (errno != EINTR) {
            return errno;
        }
    }
    return 0;
}

static int
receive_all(int fd, void *data, size_t size, int64_t deadline)
{
    char *at = data;

    while (size) {
        ssize_t n = recv(fd, at, size, 0);

        if (n > 0) {
            at += n;
            size -= (size_t) n;
        } else if (!n) {
            return ECONNRESET;
        } else if (errno == EAGAIN) {
            int error = wait_for(fd, POLLIN, deadline);

            if (error) {
                return error;
            }
        } else if (errno != EINTR) {
            return errno;
        }
    }
    return 0;
}
