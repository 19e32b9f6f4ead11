/* SPDX-License-Identifier: MIT */
/* What a fork costs that only starts a program, in a process of 32 mutators and in one of 32 threads that do the same without
 * the runtime. Two kinds of them: a server's, which wait most of the time, and threads that compute all the time. Each
 * process is a fresh one, and the processes of a round are: ours, theirs, theirs, ours. */
#include "bench.h"

#include <mimalloc.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
  THREADS = 32,
  SERVER_FORKS = 150,
  BUSY_FORKS = 50,
  PAUSE_NS = 10000000,   /* between two requests to a thread of the server */
  REQUEST_STEPS = 20000, /* about 20 us */
  REQUEST_OBJECTS = 64,
  STEPS_BETWEEN_POLLS = 1000
};

struct server {
  fh_type *type; /* NULL: without the runtime */
  bool busy;
  unsigned forks;
  atomic_uint begun;
  atomic_bool over;
};

/* ---- the threads ---- */

static void handle_request(const struct server *server, uint64_t *number) {
  void *made[REQUEST_OBJECTS];
  compute(number, REQUEST_STEPS);
  for (unsigned i = 0; i < REQUEST_OBJECTS; i++) {
    made[i] = server->type ? must_make(server->type) : must_allocate(sizeof(struct node));
  }
  for (unsigned i = 0; i < REQUEST_OBJECTS; i++) {
    if (server->type)
      fh_release(made[i]);
    else
      mi_free(made[i]);
  }
}

static void pause_for_request(void) {
  const struct timespec pause = {0, PAUSE_NS};
  nanosleep(&pause, NULL);
}

static void wait_for_request(const struct server *server) {
  if (!server->type) {
    pause_for_request();
    return;
  }
  FH_BLOCKING();
  pause_for_request();
}

static void *serve(void *argument) {
  struct server *server = argument;
  uint64_t number = 1;
  if (server->type) must_attach("server");
  atomic_fetch_add_explicit(&server->begun, 1, memory_order_relaxed);
  while (!atomic_load_explicit(&server->over, memory_order_relaxed)) {
    if (server->busy) {
      compute(&number, STEPS_BETWEEN_POLLS);
    } else {
      wait_for_request(server);
      handle_request(server, &number);
    }
    if (server->type) fh_safepoint();
  }
  if (server->type) fh_detach();
  return NULL;
}

/* ---- the one that forks ---- */

static void wait_for_child(const struct server *server, pid_t pid) {
  int status = 0;
  if (server->type) fh_blocking_begin();
  const pid_t ended = waitpid(pid, &status, 0);
  if (server->type) fh_blocking_end();
  expect(ended == pid && status == 0, "/bin/true runs and ends well");
}

static double fork_and_exec_ms(const struct server *server) {
  char program[] = "/bin/true";
  char *const arguments[] = {program, NULL};
  const uint64_t begun = now_ns();
  const pid_t pid = fork();
  if (pid == 0) {
    execv(program, arguments);
    _exit(127);
  }
  if (pid < 0) die("cannot fork");
  wait_for_child(server, pid);
  return (double)(now_ns() - begun) / 1e6;
}

static void fork_often(struct server *server, double *values) {
  double *sample = must_allocate(server->forks * sizeof *sample);
  if (server->type) must_attach("forker");
  for (unsigned i = 0; i < server->forks / 10; i++) fork_and_exec_ms(server);
  for (unsigned i = 0; i < server->forks; i++) sample[i] = fork_and_exec_ms(server);
  if (server->type) fh_detach();
  values[0] = median_of(sample, server->forks);
  values[1] = quantile_of(sample, server->forks, 0.9);
  mi_free(sample);
}

static void run_server(struct server *server, double *values, unsigned count) {
  pthread_t thread[THREADS];
  expect(count >= 2, "there is room for two values");
  for (unsigned i = 0; i < THREADS; i++)
    if (pthread_create(&thread[i], NULL, serve, server)) die("cannot start a thread");
  while (atomic_load_explicit(&server->begun, memory_order_relaxed) < THREADS) pause_for_request();
  fork_often(server, values);
  atomic_store_explicit(&server->over, true, memory_order_relaxed);
  for (unsigned i = 0; i < THREADS; i++) pthread_join(thread[i], NULL);
}

/* ---- the processes ---- Values: the median of a fork, exec and wait in ms, and nine tenths take no longer than this. */

void child_fork_server(double *values, unsigned count) {
  run_server(&(struct server){.type = must_register(&node_spec), .forks = SERVER_FORKS}, values, count);
}
void child_fork_server_plain(double *values, unsigned count) {
  run_server(&(struct server){.forks = SERVER_FORKS}, values, count);
}
void child_fork_busy(double *values, unsigned count) {
  run_server(&(struct server){.type = must_register(&node_spec), .busy = true, .forks = BUSY_FORKS}, values, count);
}
void child_fork_busy_plain(double *values, unsigned count) {
  run_server(&(struct server){.busy = true, .forks = BUSY_FORKS}, values, count);
}

/* ---- the figures ---- */

static void compare_processes(struct result *result, const char *ours, const char *theirs) {
  double our[2 * ROUNDS_MAX][2], their[2 * ROUNDS_MAX][2], ms[4][ROUNDS_MAX];
  for (unsigned round = 0; round < result->rounds; round++) {
    run_child(ours, our[2 * round], 2);
    run_child(theirs, their[2 * round], 2);
    run_child(theirs, their[2 * round + 1], 2);
    run_child(ours, our[2 * round + 1], 2);
    for (unsigned i = 0; i < 2; i++) {
      ms[i][round] = (our[2 * round][i] + our[2 * round + 1][i]) / 2;
      ms[2 + i][round] = (their[2 * round][i] + their[2 * round + 1][i]) / 2;
    }
    result_add(result, ms[0][round] / ms[2][round]);
  }
  snprintf(result->beside, sizeof result->beside, "%.3g ms (p90 %.3g) against %.3g ms (p90 %.3g)",
           median_of(ms[0], result->rounds), median_of(ms[1], result->rounds), median_of(ms[2], result->rounds),
           median_of(ms[3], result->rounds));
}

static void measure_server(struct result *result) { compare_processes(result, "fork_server", "fork_server_plain"); }

static void measure_busy(struct result *result) {
  result_limit_rounds(result, 5);
  compare_processes(result, "fork_busy", "fork_busy_plain");
}

const struct figure fork_figures[] = {
    {"fork.exec_ms_vs_plain", "x", AT_MOST, 1.2, measure_server},
    {"fork.exec_busy_vs_plain", "x", REPORTED, 0, measure_busy},
    {NULL, NULL, REPORTED, 0, NULL},
};
