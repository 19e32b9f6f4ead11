/* SPDX-License-Identifier: MIT */
/* Two libraries that know nothing of each other, but that both use Freehold, and one program that brings them together. What they
 * exchange are references to objects: any type of any library will do. */
#ifndef TESTS_LINK_USERS_H
#define TESTS_LINK_USERS_H

#include <stdbool.h>
#include <stdint.h>

/* The maker: one published object a call. The receiver owns the reference. */
bool maker_open(void);
void *maker_make(int number);
void maker_bind(void *thing, void *to); /* the thing refers to any other object from now on */
int64_t maker_alive(void);              /* things made and not yet destroyed */
bool maker_close(void);

/* The keeper: shelves, on which it keeps objects of others. Each calling thread takes part for as long as it has a shelf. */
bool keeper_open(void);
void *keeper_shelf(void);
bool keeper_put(void *shelf, void *thing); /* takes the caller's reference to the thing */
void keeper_drop(void *shelf);
bool keeper_close(uint64_t *leaked);

#endif
