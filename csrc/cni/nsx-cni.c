/* nsx-cni: the CNI plugin that a container runtime calls for each pod.
 *
 * It has no knowledge of its own: what the runtime says goes to the node
 * agent, and what the agent answers goes to the runtime.  Only what the agent
 * can't say, because it isn't there, is said here.  See the CNI specification,
 * version 1.1, for what a runtime expects. */

#define _GNU_SOURCE

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "agent.h"
#include "config.h"
#include "wire.h"

/* Where the agent listens, unless the configuration's "socket" says. */
#define DEFAULT_SOCKET "/var/run/nsx-ujo/cni.sock"

/* Seconds until the agent must have answered, unless the configuration's
 * "timeout" says. */
#define DEFAULT_TIMEOUT 60

/* Seconds until the runtime must have written the configuration. */
#define CONFIG_TIMEOUT 10

#define LATEST "1.1.0"
static const char *const versions[] = {
    "0.3.0", "0.3.1", "0.4.0", "1.0.0", LATEST
};
#define N_VERSIONS (sizeof versions / sizeof versions[0])

/* The variables that the agent is told of. */
static const char *const names[] = {
    "CNI_COMMAND", "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS"
};
#define N_NAMES (sizeof names / sizeof names[0])

/* The specification's error codes. */
enum code {
    CODE_NO_CONTAINER = 3,
    CODE_BAD_ENVIRONMENT = 4,
    CODE_IO = 5,
    CODE_TRY_AGAIN = 11,
    CODE_NOT_AVAILABLE = 50
};

static void hurry(void);
static int run(struct nsx_buf *text, struct config *);
static int ask(const char *command, int netns, const struct nsx_buf *text,
               const struct config *);
static int read_input(struct nsx_buf *);
static int put_variables(struct nsx_buf *);
static const char *version_of(const struct config *);
static int say_versions(const struct config *);
static int say(const void *data, size_t size);
static int fail(const struct config *, enum code, int error,
                const char *format, ...) NSX_PRINTF(4, 5);
static void put_escaped(struct nsx_buf *, const char *);

int
main(void)
{
    struct config config = { .timeout = DEFAULT_TIMEOUT };
    struct nsx_buf text;
    int status;

    hurry();
    nsx_buf_init(&text);
    nsx_buf_init(&config.version);
    nsx_buf_init(&config.socket);
    status = run(&text, &config);
    nsx_buf_uninit(&config.socket);
    nsx_buf_uninit(&config.version);
    nsx_buf_uninit(&text);
    return status;
}

/* Lets this process run before those of no real-time priority (sched(7)): it
 * has next to nothing to do, and would wait in line for a processor several
 * times, on a node where many pods start at once.  If it may not, it waits. */
static void
hurry(void)
{
    struct sched_param lowest = { .sched_priority = 1 };

    (void) sched_setscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, &lowest);
}

/* Does what the runtime wants; gives the exit status. */
static int
run(struct nsx_buf *text, struct config *config)
{
    const char *command = getenv("CNI_COMMAND");
    const char *netns_path = getenv("CNI_NETNS");
    int netns = -1;
    int status;
    int error;

    /* First of all: somebody who calls it by hand has nothing to read. */
    if (!command || !*command) {
        return fail(config, CODE_BAD_ENVIRONMENT, 0, "CNI_COMMAND is not "
                    "set: nsx-cni is called by a container runtime");
    }
    error = read_input(text);
    if (error) {
        return fail(config, CODE_IO, error, "the network configuration can't "
                    "be read from standard input");
    }
    config_read(config, text);
    if (!config->socket.size) {
        nsx_buf_put(&config->socket, DEFAULT_SOCKET, strlen(DEFAULT_SOCKET));
    }
    nsx_buf_put(&config->socket, "", 1);

    if (!strcmp(command, "VERSION")) {
        return say_versions(config);
    }
    if (netns_path && *netns_path) {
        netns = open(netns_path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        /* DEL must do what it can when the namespace is gone. */
        if (netns < 0 && strcmp(command, "DEL")) {
            return fail(config, CODE_NO_CONTAINER, errno,
                        "CNI_NETNS=%s can't be opened", netns_path);
        }
    }
    status = ask(command, netns, text, config);
    if (netns >= 0) {
        close(netns);
    }
    return status;
}

/* Has the agent do it. */
static int
ask(const char *command, int netns, const struct nsx_buf *text,
    const struct config *config)
{
    struct wire_request header = {
        .magic = htonl(WIRE_MAGIC),
        .version = htonl(WIRE_VERSION),
        .config = htonl((uint32_t) text->size),
    };
    int64_t deadline = now_ms() + (int64_t) config->timeout * 1000;
    const char *socket_path = (const char *) config->socket.data;
    struct failure failure = { 0 };
    struct nsx_buf request;
    struct nsx_buf answer;
    uint32_t status = 0;
    int retval;

    nsx_buf_init(&request);
    nsx_buf_init(&answer);
    nsx_buf_put(&request, &header, sizeof header);
    if (put_variables(&request)) {
        retval = fail(config, CODE_BAD_ENVIRONMENT, 0, "the CNI's variables "
                      "have more than %d bytes", WIRE_MAX_VARIABLES);
        goto out;
    }
    header.variables = htonl((uint32_t) (request.size - sizeof header));
    memcpy(request.data, &header, sizeof header);
    nsx_buf_put(&request, text->data, text->size);

    if (!agent_ask(socket_path, netns, &request, deadline, &answer, &status,
                   &failure)) {
        retval = say(answer.data, answer.size) ? EXIT_FAILURE : (int) status;
    } else if (failure.kind == AGENT_AWAY) {
        retval = fail(config, (strcmp(command, "STATUS") ? CODE_TRY_AGAIN
                               : CODE_NOT_AVAILABLE), failure.error,
                      "nsx-node-agent at %s: %s: see whether it runs on this "
                      "node, and what its log says", socket_path,
                      failure.what);
    } else {
        retval = fail(config, CODE_IO, failure.error,
                      "nsx-node-agent at %s: %s", socket_path, failure.what);
    }

out:
    nsx_buf_uninit(&answer);
    nsx_buf_uninit(&request);
    return retval;
}

/* Reads all of standard input; gives 0 or an errno. */
static int
read_input(struct nsx_buf *text)
{
    int64_t deadline = now_ms() + CONFIG_TIMEOUT * 1000;

    while (text->size <= WIRE_MAX_CONFIG) {
        size_t room = 16 << 10;
        uint8_t *p = nsx_buf_reserve(text, room);
        int error = wait_for(STDIN_FILENO, POLLIN, deadline);
        ssize_t n;

        if (error) {
            return error;
        }
        n = read(STDIN_FILENO, p, room);
        if (!n) {
            return 0;
        } else if (n > 0) {
            text->size += (size_t) n;
        } else if (errno != EINTR && errno != EAGAIN) {
            return errno;
        }
    }
    return EFBIG;
}

/* Appends the variables that are set; gives 0, or E2BIG. */
static int
put_variables(struct nsx_buf *request)
{
    size_t before = request->size;

    for (size_t i = 0; i < N_NAMES; i++) {
        const char *value = getenv(names[i]);

        if (value) {
            nsx_buf_put(request, names[i], strlen(names[i]));
            nsx_buf_put(request, "=", 1);
            nsx_buf_put(request, value, strlen(value) + 1);
        }
    }
    return request->size - before > WIRE_MAX_VARIABLES ? E2BIG : 0;
}

/* The version that a configuration is written in, if it is one of ours, else
 * the latest: in it we speak to the runtime. */
static const char *
version_of(const struct config *config)
{
    for (size_t i = 0; i < N_VERSIONS; i++) {
        if (buf_is(&config->version, versions[i])) {
            return versions[i];
        }
    }
    return LATEST;
}

static int
say_versions(const struct config *config)
{
    struct nsx_buf text;
    int status;

    nsx_buf_init(&text);
    nsx_printf(&text, "{\"cniVersion\":\"%s\",\"supportedVersions\":[",
               version_of(config));
    for (size_t i = 0; i < N_VERSIONS; i++) {
        nsx_printf(&text, "%s\"%s\"", i ? "," : "", versions[i]);
    }
    nsx_printf(&text, "]}\n");
    status = say(text.data, text.size);
    nsx_buf_uninit(&text);
    return status;
}

/* Writes to the runtime; gives the exit status. */
static int
say(const void *data, size_t size)
{
    return ((!size || fwrite(data, size, 1, stdout) == 1) && !fflush(stdout)
            ? EXIT_SUCCESS : EXIT_FAILURE);
}

/* Tells the runtime of an error, with the errno 'error' unless that is 0;
 * gives the exit status. */
static int
fail(const struct config *config, enum code code, int error,
     const char *format, ...)
{
    char message[8192];
    struct nsx_buf text;
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);

    nsx_buf_init(&text);
    nsx_printf(&text, "{\"cniVersion\":\"%s\",\"code\":%d,\"msg\":\"",
               version_of(config), (int) code);
    put_escaped(&text, message);
    if (error) {
        nsx_printf(&text, "\",\"details\":\"");
        put_escaped(&text, strerror(error));
    }
    nsx_printf(&text, "\"}\n");
    say(text.data, text.size);
    nsx_buf_uninit(&text);
    return EXIT_FAILURE;
}

/* Appends 's' as a JSON string has it.  What isn't ASCII can be anything, in
 * a path, and JSON is UTF-8: it becomes a question mark. */
static void
put_escaped(struct nsx_buf *text, const char *s)
{
    for (; *s; s++) {
        unsigned char c = (unsigned char) *s;

        if (c == '"' || c == '\\') {
            nsx_printf(text, "\\%c", c);
        } else if (c < 0x20) {
            nsx_printf(text, "\\u%04x", c);
        } else {
            nsx_printf(text, "%c", c < 0x7f ? c : '?');
        }
    }
}
