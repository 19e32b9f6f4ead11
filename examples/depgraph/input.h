/* SPDX-License-Identifier: MIT */
/* The stanzas, read into memory once. */
#ifndef DEPGRAPH_INPUT_H
#define DEPGRAPH_INPUT_H

#include <stdbool.h>
#include <stddef.h>

struct input {
  const char *name; /* of a file, or of where it came from */
  char *bytes;
  size_t size;
};

/* Reads a file, standard input ("-"), or what this system knows (NULL). False: it said why on standard error. */
bool input_read(struct input *input, const char *file);
void input_finish(struct input *input);

/* Resident set of this process in bytes; 0 if the system does not tell. */
size_t resident_bytes(void);

#endif
