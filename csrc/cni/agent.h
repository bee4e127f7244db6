/* The node agent, as nsx-cni sees it. */

#ifndef NSX_CNI_AGENT_H
#define NSX_CNI_AGENT_H 1

#include "core.h"

/* Why there is no answer. */
struct failure {
    enum {
        AGENT_AWAY,             /* It isn't there, ended, or took too long. */
        AGENT_BROKEN            /* It can't be spoken with. */
    } kind;
    const char *what;           /* What was tried, in words. */
    int error;                  /* An errno, or 0. */
};

int64_t now_ms(void);
int wait_for(int fd, short events, int64_t deadline);
int agent_ask(const char *socket_path, int netns,
              const struct nsx_buf *request, int64_t deadline,
              struct nsx_buf *answer, uint32_t *status, struct failure *);

#endif /* agent.h */
