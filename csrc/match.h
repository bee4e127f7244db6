/* match.h: what the files that make up matches share. */
#ifndef NSX_MATCH_H
#define NSX_MATCH_H 1

#include "table.h"

enum { VLAN_VID = 0x0fff, VLAN_CFI = 0x1000, VLAN_PCP = 0xe000 };

/* The value and the mask of a field of at most 4 bytes; 0 if 'match' lacks
 * it. */
uint32_t nsx_match_number(const struct nsx_match *, enum nsx_field_id);
uint32_t nsx_match_mask(const struct nsx_match *, enum nsx_field_id);

/* Add to a match.  'region' (NULL: all) has the bits of the field that are
 * spoken of; an 'exact' hole is matched with all the field's bits, though a
 * value may have only 'n_bits'.  They return NULL or what is wrong. */
const char *nsx_match_store(struct nsx_match *, enum nsx_field_id,
                            const uint8_t *value, const uint8_t *mask,
                            const uint8_t *region);
const char *nsx_match_store_hole(struct nsx_match *, enum nsx_field_id,
                                 size_t bit_offset, size_t n_bits, bool exact,
                                 struct nsx_slice name);

bool nsx_match_has_hole(const struct nsx_match *, enum nsx_field_id);

/* Returns a field whose prerequisites 'match' lacks, and sets '*needs' to what
 * these are, or NULL. */
const struct nsx_field *nsx_match_find_unmet(const struct nsx_match *,
                                             const char **needs);

/* Returns what of 'match''s vlan_tci OpenFlow 1.5 has no way to say, or
 * NULL. */
const char *nsx_match_check_vlan(const struct nsx_match *);

/* The bits that a value of the field may have. */
size_t nsx_field_value_bits(const struct nsx_field *);

/* Parses a number of at most 'n_bits' bits, decimal (up to 64 bits) or
 * hexadecimal, into the 'n' bytes at 'p'. */
int nsx_parse_integer(const struct nsx_parser *, const char *what,
                      struct nsx_slice, size_t n, size_t n_bits, uint8_t *p);

#endif /* match.h */
