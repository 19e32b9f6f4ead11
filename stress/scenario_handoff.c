/* SPDX-License-Identifier: MIT */
/* handoff: made here, released there. What travels is published by hand and goes through mailboxes of the host's, as in a
 * program with queues of its own. */
#include "scenarios.h"

enum { BOXES = 16, BOX_LETTERS = 64, CHAIN = 32 };

/* A mutex of the host's: no safepoint is reached while one is held, so it needs no blocking region. */
static struct mailbox {
  pthread_mutex_t lock;
  unsigned count;
  struct thing *letter[BOX_LETTERS];
} mailbox[BOXES];

static void prepare(struct worker *main) {
  (void)main;
  for (int i = 0; i < BOXES; i++) mailbox[i] = (struct mailbox){.lock = PTHREAD_MUTEX_INITIALIZER};
}

/* Takes the caller's reference, if there is room. */
static bool post(struct mailbox *box, struct thing *letter) {
  pthread_mutex_lock(&box->lock);
  const bool fits = box->count < BOX_LETTERS;
  if (fits) box->letter[box->count++] = letter;
  pthread_mutex_unlock(&box->lock);
  return fits;
}

static struct thing *fetch(struct mailbox *box) {
  pthread_mutex_lock(&box->lock);
  struct thing *letter = box->count > 0 ? box->letter[--box->count] : NULL;
  pthread_mutex_unlock(&box->lock);
  return thing_whole(letter);
}

/* A chain of new things of any kind, as long as each takes the next. */
static struct thing *write_letter(struct worker *w) {
  struct thing *letter = thing_any(w);
  for (unsigned i = below(w, CHAIN); i > 0 && letter; i--) {
    FH_AUTO struct thing *rest = FH_MOVE(letter);
    letter = thing_new(w, PAIR);
    if (letter) thing_link(w, letter, rest);
  }
  return letter;
}

/* Sends as many references as it takes, and perhaps keeps one, so that the count is split between the two. */
static void send(struct worker *w) {
  FH_AUTO struct thing *letter = write_letter(w);
  if (!letter) return;
  fh_publish(letter);
  for (unsigned copies = 1 + below(w, 4); copies > 0; copies--) {
    fh_retain(letter);
    if (!post(&mailbox[below(w, BOXES)], letter)) fh_release(letter);
  }
  if (one_in(w, 4)) hoard_put(w, FH_MOVE(letter));
}

/* Where a release is not possible: in a blocking region. */
static void burn_later(struct mailbox *box) {
  FH_BLOCKING();
  for (struct thing *letter = fetch(box); letter; letter = fetch(box)) fh_release_later(letter);
}

static void receive(struct worker *w, struct mailbox *box) {
  for (struct thing *letter = fetch(box); letter; letter = fetch(box)) {
    FH_AUTO struct thing *child = thing_child(w, letter);
    if (one_in(w, 8))
      hoard_put(w, letter);
    else
      fh_release(letter);
  }
}

static void turn(struct worker *w) {
  struct mailbox *box = &mailbox[below(w, BOXES)];
  for (unsigned n = below(w, 8); n > 0; n--) send(w);
  if (one_in(w, 8))
    burn_later(box);
  else
    receive(w, box);
}

static void finish(struct worker *main) {
  for (int i = 0; i < BOXES; i++) receive(main, &mailbox[i]);
}

const struct scenario scenario_handoff = {
    .name = "handoff",
    .attacks = "objects made here and released there, through queues of the host's, and later",
    .threads = 4,
    .prepare = prepare,
    .turn = turn,
    .finish = finish,
};
