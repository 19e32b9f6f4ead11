/* SPDX-License-Identifier: MIT */
/* The program that is known as GCBench: it makes and drops binary trees of many sizes, from the leaves up and from the root
 * down, while a large tree and an array of numbers live on. It is written once, for any memory management; whoever includes
 * this has defined before:
 *
 *   struct tree                  with the fields left and right
 *   make_tree()                  a tree of one node
 *   set_left(tree, part)         gives a part to a tree that has none there; so does set_right
 *   drop_tree(tree)
 *   struct numbers               with the field at[]
 *   make_numbers(count)          zeros; and drop_numbers */
#ifndef FREEHOLD_BENCH_GCBENCH_H
#define FREEHOLD_BENCH_GCBENCH_H

enum { STRETCH_DEPTH = 18, LONG_LIVED_DEPTH = 16, LEAST_DEPTH = 4, MOST_DEPTH = 16, NUMBERS = 500000 };

static unsigned tree_size(unsigned depth) { return (2u << depth) - 1; }

static struct tree *grow_up(unsigned depth) {
  if (depth == 0) return make_tree();
  struct tree *left = grow_up(depth - 1), *right = grow_up(depth - 1);
  struct tree *tree = make_tree();
  set_left(tree, left);
  set_right(tree, right);
  return tree;
}

static void grow_down(struct tree *tree, unsigned depth) {
  if (depth == 0) return;
  set_left(tree, make_tree());
  set_right(tree, make_tree());
  grow_down(tree->left, depth - 1);
  grow_down(tree->right, depth - 1);
}

/* As many trees of any depth as take twice the memory of the largest one. */
static void grow_and_drop(unsigned depth) {
  const unsigned trees = 2 * tree_size(STRETCH_DEPTH) / tree_size(depth);
  for (unsigned i = 0; i < trees; i++) {
    struct tree *tree = make_tree();
    grow_down(tree, depth);
    drop_tree(tree);
  }
  for (unsigned i = 0; i < trees; i++) drop_tree(grow_up(depth));
}

static void run_gcbench(void) {
  drop_tree(grow_up(STRETCH_DEPTH));
  struct tree *long_lived = make_tree();
  grow_down(long_lived, LONG_LIVED_DEPTH);
  struct numbers *numbers = make_numbers(NUMBERS);
  for (unsigned i = 0; i < NUMBERS / 2; i++) numbers->at[i] = 1.0 / (i + 1);
  for (unsigned depth = LEAST_DEPTH; depth <= MOST_DEPTH; depth += 2) grow_and_drop(depth);
  expect(long_lived->left && numbers->at[1] > 0.49, "what is held lives on");
  drop_numbers(numbers);
  drop_tree(long_lived);
}

#endif
