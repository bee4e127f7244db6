/* What nsx-cni and the node agent say to each other, over a Unix socket.
 *
 * The plugin sends a request and reads an answer, then both close.  All
 * numbers are in network byte order.
 *
 * A request is a header, the CNI's variables ("NAME=VALUE", each with a zero
 * byte at its end), and what the runtime wrote on standard input, as it is.
 * Its first byte carries the pod's network namespace, an open file
 * (SCM_RIGHTS), where CNI_NETNS names one: so the agent needn't see the
 * runtime's files.
 *
 * An answer is a header and what the plugin is to print. */

#ifndef NSX_CNI_WIRE_H
#define NSX_CNI_WIRE_H 1

#include <stdint.h>

#define WIRE_MAGIC 0x4e53582d   /* "NSX-" */
#define WIRE_VERSION 1

/* The most that is read of each, in bytes. */
#define WIRE_MAX_VARIABLES (64 << 10)
#define WIRE_MAX_CONFIG (1 << 20)
#define WIRE_MAX_ANSWER (1 << 20)

struct wire_request {
    uint32_t magic;
    uint32_t version;
    uint32_t variables;         /* Bytes. */
    uint32_t config;            /* Bytes. */
};
_Static_assert(sizeof(struct wire_request) == 16, "as it is sent");

struct wire_answer {
    uint32_t magic;
    uint32_t status;            /* The plugin's exit status: 0 or 1. */
    uint32_t size;              /* Bytes. */
};
_Static_assert(sizeof(struct wire_answer) == 12, "as it is sent");

#endif /* wire.h */
