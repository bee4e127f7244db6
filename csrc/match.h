/* match.h: what the files that make up fields' values and matches share. */
#ifndef NSX_MATCH_H
#define NSX_MATCH_H 1

#include "table.h"

/* Values. */

/* Flags' names, by their bit, and the bits that there are. */
#define NSX_N_FLAGS 12

struct nsx_flags {
    const char *names[NSX_N_FLAGS];
    uint32_t all;
};

/* The flags of a field that has some, else NULL. */
const struct nsx_flags *nsx_field_flags(const struct nsx_field *);

#define NSX_FRAG_MASK 3         /* Bits of ip_frag. */
#define NSX_N_FRAGS 7

struct nsx_frag {
    const char *name;
    uint8_t mask, value;
};

extern const struct nsx_frag nsx_frags[NSX_N_FRAGS];

/* Parses an integer of at most 'n_bits' bits, decimal or octal (up to 64
 * bits) or hexadecimal, into the 'n' bytes at 'p'. */
int nsx_parse_integer(const struct nsx_parser *, const char *what,
                      struct nsx_slice, size_t n, size_t n_bits, uint8_t *p);

/* Matches. */

enum { VLAN_VID = 0x0fff, VLAN_CFI = 0x1000, VLAN_PCP = 0xe000 };

/* The value and the mask of a slot of at most 4 bytes; 0 if 'match' lacks
 * it. */
uint32_t nsx_match_number(const struct nsx_match *, enum nsx_field_id slot);
uint32_t nsx_match_mask(const struct nsx_match *, enum nsx_field_id slot);

/* Makes 'match' match Ethernet packets, where it says nothing of them: what a
 * field that has prerequisites implies. */
void nsx_match_imply_ethernet(struct nsx_match *);

/* As nsx_match_set(), where all that the match said before has to stay: of a
 * template's text.  'named' are the bits that it speaks of. */
const char *nsx_match_add(struct nsx_match *, const struct nsx_field *,
                          const uint8_t *value, const uint8_t *mask,
                          const uint8_t *named);

/* Adds a hole of 'n_bits' bits.  It is matched with 'mask' (NULL: all of the
 * field's). */
const char *nsx_match_add_hole(struct nsx_match *, enum nsx_field_id,
                               size_t bit_offset, size_t n_bits,
                               const uint8_t *mask, struct nsx_slice name);

bool nsx_match_has_hole(const struct nsx_match *, enum nsx_field_id slot);

/* What a field's prerequisites are, to say so. */
const char *nsx_prereq_text(const struct nsx_field *);

/* Returns what of 'match''s vlan_tci OpenFlow 1.5 has no way to say, or
 * NULL. */
const char *nsx_match_check_vlan(const struct nsx_match *);

#endif /* match.h */
