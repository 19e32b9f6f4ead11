/* SPDX-License-Identifier: MIT */
/* What the programs here share: a user of Freehold for whom any allocation may fail, and who looks closely at what a failure
 * leaves behind. Wherever a call fails, the statistics, the living objects and the whole heap must be what they were.
 *
 * There are two users, and every program runs as each of them: one tries again until it works, so that all that comes after
 * the failure is reached as well; the other gives back what it has and ends. The environment chooses:
 *
 *   OOM_USER=gives-up   the second one; its program ends with GAVE_UP */
#ifndef TESTS_OOM_USER_H
#define TESTS_OOM_USER_H

#include <freehold/freehold.h>

#include "support/support.h"

/* Exit statuses. A program that finds something wrong says what, and ends with the last. */
enum { WENT_WELL = 0, GAVE_UP = 2, FOUND_WRONG = 3 };

#define demand(condition) ((condition) ? (void)0 : user_complain(__FILE__, __LINE__, #condition))
_Noreturn void user_complain(const char *file, int line, const char *condition);

/* True while no other thread uses the runtime: only then do statistics stand still. Programs with threads clear it. */
extern bool user_is_alone;

/* The state before a call that may fail. */
struct sight {
  bool was_taken; /* not if nothing can fail so soon */
  fh_stats stats;
};
struct sight user_look(void);
/* After a failure: demands that nothing changed. True: try again. */
bool user_tries_again(const struct sight *before);

/* The calls of Freehold that can fail, each tried again by the user who does that. False and NULL: the user gives up. */
bool user_init(const fh_options *options);
bool user_attach(const char *name);
bool user_type(const fh_type_spec *spec, fh_type **type_out);
void *user_new(fh_type *type);
void *user_new_items(fh_type *type, size_t count);
void *user_alloc(size_t n);
void *user_realloc(void *block, size_t n);
bool user_root_add(fh_slot *slot);

/* Collects, until a collection has found its memory: there is nothing that either user could give up here. */
size_t user_collect_generation(int generation);
size_t user_collect(void); /* all of them */
/* The heap is right, or there is no memory to look at it. */
void user_check_heap(void);

/* Runs `work` between fh_init, fh_attach, fh_detach and fh_shutdown, and demands that nothing leaked. Returns the exit status
 * of the program. */
int user_run(bool (*work)(void));
/* The last of these steps, for programs that do the others themselves; the caller is detached. */
void user_shutdown(void);
int user_status(bool went_well);

#endif
