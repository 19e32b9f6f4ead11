/* SPDX-License-Identifier: MIT */
/* How many instances of each type live, counted per mutator so that making an object of a type that all threads use costs
 * no shared cache line. An instance is added by its maker and subtracted by its destroyer.
 *
 *   live(type) = stray(type) + sum over mutators of count(type)                                   [census.sum] */
#ifndef FH_OBJECT_CENSUS_H
#define FH_OBJECT_CENSUS_H

#include "object/type.h"

struct fh__census_local {
  int64_t *page[FH__CENSUS_PAGES]; /* made on first use by the mutator, released to readers */
};

void fh__census_add_slow(struct fh__census_local *census, fh_type *type, int64_t n);
void fh__census_finish(struct fh__census_local *census);

/* False: nothing happened, it takes the slow way. */
FH__INLINE bool fh__census_try_add(struct fh__census_local *census, const fh_type *type, int64_t n) {
  int64_t *page = census->page[type->census_page];
  if (FH__UNLIKELY(!page)) return false;
  FH__BUMP(&page[type->census_at], n);
  return true;
}

FH__INLINE void fh__census_add(struct fh__census_local *census, fh_type *type, int64_t n) {
  if (!fh__census_try_add(census, type, n)) fh__census_add_slow(census, type, n);
}

FH__INLINE int64_t fh__census_read(const struct fh__census_local *census, uint32_t index) {
  /* Acquire: partner is the release in fh__census_add_slow. */
  int64_t *page = FH__LOAD(&census->page[index / FH__CENSUS_PAGE], ACQUIRE);
  return page ? FH__LOAD(&page[index % FH__CENSUS_PAGE], RELAXED) : 0;
}

#endif
