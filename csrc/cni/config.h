/* The little that nsx-cni itself wants to know of a network configuration. */

#ifndef NSX_CNI_CONFIG_H
#define NSX_CNI_CONFIG_H 1

#include "core.h"

/* What a configuration says; of a member that it hasn't, or that is of
 * another kind, nothing changes. */
struct config {
    struct nsx_buf version;     /* "cniVersion". */
    struct nsx_buf socket;      /* "socket": where the agent listens. */
    unsigned int timeout;       /* "timeout": seconds that it has. */
};

void config_read(struct config *, const struct nsx_buf *text);

#endif /* config.h */
