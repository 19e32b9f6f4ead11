/* SPDX-License-Identifier: MIT */
/* What a host asks a plugin for. The host knows nothing of Freehold; the plugin uses it for its own work. */
#ifndef TESTS_LINK_PLUGIN_H
#define TESTS_LINK_PLUGIN_H

#include <stdbool.h>

/* How `start` found the runtime. */
enum started { START_FAILED, STARTED_FIRST, STARTED_ANEW };

struct plugin {
  enum started (*start)(void); /* counts the plugin as a user of Freehold and makes its type */
  bool (*work)(void);          /* on any thread: takes part, makes objects and rings of them, drops them, and leaves */
  bool (*enter)(void);         /* takes part and does not leave: the thread may wait for what it likes, and end */
  bool (*forget)(void);        /* takes its type back: none of the plugin's code will be called any more */
  bool (*end)(void);           /* ends one use; false if objects were left */
};

/* The one name that a plugin exports. */
#define PLUGIN_NAME "plugin"

#endif
