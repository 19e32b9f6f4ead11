/* SPDX-License-Identifier: MIT */
#include "object/census.h"

FH__COLD void fh__census_add_slow(struct fh__census_local *census, fh_type *type, int64_t n) {
  int64_t *page = fh__backend_alloc_zeroed(FH__CENSUS_PAGE * sizeof *page);
  if (!page) {
    FH__ADD(&type->stray, n, RELAXED); /* a contended counter is better than a lost one */
    return;
  }
  page[type->index % FH__CENSUS_PAGE] = n;
  FH__STORE_(&census->page[type->index / FH__CENSUS_PAGE], page, RELEASE); /* partner: fh__census_read */
}

void fh__census_finish(struct fh__census_local *census) {
  for (int i = 0; i < FH__CENSUS_PAGES; i++) fh__backend_free(census->page[i]);
}
