/* slots.c: a number for each bucket of a group, the same after every restart:
 * 1 to 2**31 - 1, a hash of its endpoint's address and port.  Of two equal
 * ones in a group the later gets the next number that is free. */

#include <stdlib.h>

#include "core.h"

#define LAST_SLOT INT32_MAX     /* Below OFPG_BUCKET_MAX, 0xffffff00. */

/* Spreads a word's bits over the whole word (the finalizer of SplitMix64). */
static uint64_t
mix(uint64_t word)
{
    word = (word ^ word >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    word = (word ^ word >> 27) * UINT64_C(0x94d049bb133111eb);
    return word ^ word >> 31;
}

static uint32_t
slot_of(const uint8_t *address, size_t width, uint16_t port)
{
    uint64_t word = (width == 4 ? nsx_get32(address)
                     : mix(nsx_get64(address)) ^ nsx_get64(address + 8));
    uint32_t slot = mix((word << 16 ^ word >> 48) ^ port) >> 33;

    return slot ? slot : 1;
}

/* The room that 'n' numbers need so that half of it stays free: a power of
 * two. */
static size_t
room_for(uint64_t n)
{
    size_t room = 16;

    while (room < 2 * n) {
        room *= 2;
    }
    return room;
}

/* Gives a later one of two equal numbers of 'slots' the next that is free.
 * 'taken' has room for 'mask' + 1 numbers, more than 'n'. */
static void
separate(uint32_t *slots, size_t n, uint32_t *taken, size_t mask)
{
    memset(taken, 0, (mask + 1) * sizeof *taken);
    for (size_t i = 0; i < n; i++) {
        size_t place = slots[i] & mask;

        while (taken[place]) {
            if (taken[place] == slots[i]) {
                slots[i] = slots[i] % LAST_SLOT + 1;
                place = slots[i] & mask;
            } else {
                place = (place + 1) & mask;
            }
        }
        taken[place] = slots[i];
    }
}

int
nsx_endpoint_slots(const uint8_t *addresses, size_t width,
                   const uint16_t *ports, size_t n, const uint64_t *offsets,
                   size_t n_groups, uint32_t *slots, struct nsx_error *error)
{
    uint64_t largest = 0;

    for (size_t i = 0; i < n_groups; i++) {
        if (offsets[i] > offsets[i + 1] || offsets[i + 1] > n) {
            nsx_decode_error(error, NSX_NO_OFPERR, i, "group %zu has rows "
                             "%llu to %llu, of %zu", i,
                             (unsigned long long) offsets[i],
                             (unsigned long long) offsets[i + 1], n);
            return EINVAL;
        }
        if (offsets[i + 1] - offsets[i] > largest) {
            largest = offsets[i + 1] - offsets[i];
        }
    }
    for (size_t i = 0; i < n; i++) {
        slots[i] = slot_of(addresses + i * width, width, ports[i]);
    }

    uint32_t *taken = nsx_xmalloc(room_for(largest) * sizeof *taken);
    for (size_t i = 0; i < n_groups; i++) {
        size_t n_slots = offsets[i + 1] - offsets[i];

        separate(slots + offsets[i], n_slots, taken, room_for(n_slots) - 1);
    }
    free(taken);
    return 0;
}
