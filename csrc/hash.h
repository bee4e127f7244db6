/* hash.h: a hash of bytes, and a hash map of nodes that lie in what they stand
 * for. */
#ifndef NSX_HASH_H
#define NSX_HASH_H 1

#include <stdlib.h>

#include "core.h"

/* The two halves of a 128-bit product, folded: every bit of either factor
 * reaches every bit of the result. */
static inline uint64_t
nsx_hash_fold(uint64_t a, uint64_t b)
{
    __extension__ typedef unsigned __int128 nsx_uint128;
    nsx_uint128 product = (nsx_uint128) a * b;
    return (uint64_t) product ^ (uint64_t) (product >> 64);
}

/* Hashes 'n' bytes.  The same bytes and 'basis' give the same hash on every
 * machine and in every version: hashes of flows live in switches. */
static inline uint64_t
nsx_hash_bytes(const void *p_, size_t n, uint64_t basis)
{
    const uint64_t k1 = 0x9e3779b97f4a7c15, k2 = 0xd1b54a32d192ed03;
    const uint8_t *p = p_;
    uint64_t hash = basis ^ k2;
    size_t left = n;

    for (; left >= 16; left -= 16, p += 16) {
        hash = nsx_hash_fold(nsx_get64(p) ^ k1, nsx_get64(p + 8) ^ hash);
    }
    if (left) {
        uint8_t tail[16] = { 0 };
        memcpy(tail, p, left);
        hash = nsx_hash_fold(nsx_get64(tail) ^ k1, nsx_get64(tail + 8) ^ hash);
    }
    return nsx_hash_fold(hash ^ k1, n ^ k2);
}

static inline uint64_t
nsx_hash_uint64(uint64_t x)
{
    return nsx_hash_fold(x ^ 0x9e3779b97f4a7c15, 0xd1b54a32d192ed03);
}

/* A map: chains of nodes.  A node is the first member of what it stands for: a
 * pointer to one is a pointer to the other. */

struct nsx_node {
    struct nsx_node *next;
    uint64_t hash;
};

struct nsx_map {
    struct nsx_node **chains;   /* 'mask' + 1, or NULL before the first. */
    size_t mask;
    size_t n;
};

static inline void
nsx_map_uninit(struct nsx_map *map)
{
    free(map->chains);
    *map = (struct nsx_map) { NULL, 0, 0 };
}

/* What a map makes of a hash.  Tests compile with NSX_HASH_WEAK, so that
 * nearly all nodes collide. */
static inline uint64_t
nsx_map_hash(uint64_t hash)
{
#ifdef NSX_HASH_WEAK
    return hash & 1;
#else
    return hash;
#endif
}

/* The nodes that have 'hash', one after the other: the caller compares what
 * they stand for. */
static inline struct nsx_node *
nsx_map_skip(struct nsx_node *node, uint64_t hash)
{
    while (node && node->hash != nsx_map_hash(hash)) {
        node = node->next;
    }
    return node;
}

static inline struct nsx_node *
nsx_map_first(const struct nsx_map *map, uint64_t hash)
{
    return map->chains
           ? nsx_map_skip(map->chains[nsx_map_hash(hash) & map->mask], hash)
           : NULL;
}

static inline struct nsx_node *
nsx_map_next(const struct nsx_node *node, uint64_t hash)
{
    return nsx_map_skip(node->next, hash);
}

static inline void
nsx_map_resize(struct nsx_map *map, size_t n_chains)
{
    struct nsx_node **chains = nsx_xcalloc(n_chains, sizeof *chains);

    for (size_t i = 0; map->chains && i <= map->mask; i++) {
        struct nsx_node *node = map->chains[i];
        while (node) {
            struct nsx_node *next = node->next;
            struct nsx_node **chain = &chains[node->hash & (n_chains - 1)];
            node->next = *chain;
            *chain = node;
            node = next;
        }
    }
    free(map->chains);
    map->chains = chains;
    map->mask = n_chains - 1;
}

static inline void
nsx_map_insert(struct nsx_map *map, struct nsx_node *node, uint64_t hash)
{
    if (!map->chains) {
        nsx_map_resize(map, 16);
    } else if (map->n > map->mask) {
        nsx_map_resize(map, (map->mask + 1) * 2);
    }

    node->hash = nsx_map_hash(hash);
    struct nsx_node **chain = &map->chains[node->hash & map->mask];
    node->next = *chain;
    *chain = node;
    map->n++;
}

static inline void
nsx_map_remove(struct nsx_map *map, struct nsx_node *node)
{
    struct nsx_node **p = &map->chains[node->hash & map->mask];

    while (*p != node) {
        p = &(*p)->next;
    }
    *p = node->next;
    map->n--;
}

#endif /* hash.h */
