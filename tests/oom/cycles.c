/* SPDX-License-Identifier: MIT */
/* Garbage: rings that the collector frees, finalizers that run in collections and without, objects that come back from the
 * dead, and rings that are left to the end of the runtime. */
#include "user.h"

struct member {
  fh_object fh;
  struct member *next;
  uint64_t id;
  void *buffer;
};
static const fh_ref member_refs[] = {FH_FIELD(struct member, next), FH_END};

static atomic_uint finalized, deallocated;

static void member_dealloc(void *object) {
  fh_free(((struct member *)object)->buffer);
  atomic_fetch_add(&deallocated, 1);
}
static const fh_type_spec plain_spec = {
    .name = "plain", .size = sizeof(struct member), .refs = member_refs, .dealloc = member_dealloc};
static const fh_type_spec grace_spec = {
    .name = "grace", .size = sizeof(struct member), .flags = FH_GRACE, .refs = member_refs, .dealloc = member_dealloc};

/* Where finalizers put what they resurrect. */
static fh_slot rescued;
enum { COMES_BACK = 3 };

static void member_finalize(void *object) {
  struct member *member = object;
  atomic_fetch_add(&finalized, 1);
  if (member->id == COMES_BACK) fh_slot_store(&rescued, member);
}
static const fh_type_spec finalized_spec = {.name = "finalized",
                                            .size = sizeof(struct member),
                                            .refs = member_refs,
                                            .finalize = member_finalize,
                                            .dealloc = member_dealloc};

static const fh_type_spec unheard_spec = {.name = "unheard", .size = sizeof(struct member), .refs = member_refs};

static fh_type *plain_type, *grace_type, *finalized_type, *unheard_type;

static struct member *make_member(fh_type *type, uint64_t id) {
  FH_AUTO struct member *member = user_new(type);
  if (!member) return NULL;
  member->id = id;
  member->buffer = user_alloc(24);
  return member->buffer ? FH_MOVE(member) : NULL;
}

/* Leaves a ring of two as garbage. False: what could be made of it was freed by count. */
static bool make_ring(fh_type *type, uint64_t id, bool published) {
  FH_AUTO struct member *a = make_member(type, id);
  FH_AUTO struct member *b = a ? make_member(type, id + 1) : NULL;
  if (!b) {
    if (a) a->id = 0; /* alone it does not come back */
    return false;
  }
  if (published) fh_publish(a);
  fh_set(a, next, b);
  fh_set(b, next, a);
  return true;
}

static uint64_t live(void) {
  return fh_type_live(plain_type) + fh_type_live(grace_type) + fh_type_live(finalized_type);
}

/* Everything of one kind dies, though a finalizer may hold it up once. */
static bool work_on(fh_type *type, bool published) {
  unsigned before = atomic_load(&deallocated);
  bool went_well = make_ring(type, 0, published) && make_ring(type, 2, published);
  user_collect();
  user_check_heap();
  fh_slot_store(&rescued, NULL);
  user_collect(); /* what came back once does not a second time */
  fh_housekeep(); /* with a look at what waited for a grace period */
  demand(live() == 0);
  demand(!went_well || atomic_load(&deallocated) == before + 4);
  return went_well;
}

/* Members that nobody hears of when they die: of what is closed, a collection takes its list without a second look if it was young,
 * and looks at all of it again if it was full. */
static bool make_unheard(void) {
  FH_AUTO struct member *member = user_new(unheard_type);
  if (member) fh_set(member, next, member);
  return member;
}

static bool work_on_closed(int generation) {
  bool went_well = make_unheard() && make_unheard();
  user_collect_generation(generation);
  user_check_heap();
  demand(fh_type_live(unheard_type) == 0);
  return went_well;
}

/* By count, without a collection; the finalizer runs at the next safepoint. */
static bool work_on_counts(void) {
  unsigned before = atomic_load(&finalized);
  struct member *member = make_member(finalized_type, COMES_BACK);
  if (!member) return false;
  fh_release(member);
  for (int i = 0; i < 100 && atomic_load(&finalized) == before; i++) fh_housekeep();
  demand(atomic_load(&finalized) == before + 1);
  FH_AUTO struct member *back = fh_slot_load(&rescued);
  demand(back == member && back->id == COMES_BACK && back->buffer && fh_gc_is_tracked(back));
  fh_slot_store(&rescued, NULL);
  return true;
}

static bool work(void) {
  if (!user_type(&plain_spec, &plain_type) || !user_type(&grace_spec, &grace_type) ||
      !user_type(&finalized_spec, &finalized_type) || !user_type(&unheard_spec, &unheard_type) ||
      !user_root_add(&rescued))
    return false;
  bool went_well = work_on(plain_type, false) && work_on(plain_type, true) && work_on(grace_type, true) &&
                   work_on(finalized_type, false) && work_on(finalized_type, true) && work_on_closed(0) &&
                   work_on_closed(2) && work_on_counts();
  /* The rest is for the end of the runtime. */
  return went_well && make_ring(plain_type, 0, false) && make_ring(finalized_type, 0, true) &&
         make_ring(grace_type, 0, true);
}

int main(void) { return user_run(work); }
