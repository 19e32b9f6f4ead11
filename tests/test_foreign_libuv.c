/* SPDX-License-Identifier: MIT */
/* Freehold inside a program whose threads and whose loop are libuv's, or whose loop is its own.
 *
 * Claims: work items of libuv's pool, whose threads nobody else starts or ends, attach around what they do, and may leave
 * themselves attached for life; a loop blocks nobody who stops the world or shuts down, if its poll is in a blocking region,
 * and callbacks of the loop find the thread attached; a loop that knows nothing of Freehold may run in a region as a whole.
 *
 * The loop with attached callbacks is the one that docs/embedding.md shows. */
#include "support/support.h"

#include <sched.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <uv.h>

/* ---- work for the pool ---- */

struct item {
  uv_work_t request;
  struct node *job; /* owned by the item, published: the loop's thread makes it, a thread of the pool works on it */
  bool stay;        /* leave the pool's thread attached, in a blocking region */
};
static atomic_int worked;
static int finished;

static void use(struct node *job) {
  require(fh_is_attached() && node_is_whole(job));
  FH_AUTO struct node *result = node_new(job->id + 1);
  FH_CRITICAL(job);
  fh_set(job, left, result);
  fh_set(job, right, job);
}

/* In a thread of libuv's. One that was left in a region attaches inside of it, and goes back to it. */
static void work(uv_work_t *request) {
  struct item *item = request->data;
  FH_ATTACHED(status, "uv worker");
  require(status == FH_OK);
  use(item->job);
  atomic_fetch_add(&worked, 1);
}
static __thread bool is_regular;
static void work_as_a_regular(uv_work_t *request) {
  struct item *item = request->data;
  if (is_regular)
    require(fh_blocking_end() == FH_OK);
  else
    require(fh_attach("uv regular") == FH_OK);
  is_regular = true;
  use(item->job);
  atomic_fetch_add(&worked, 1);
  fh_blocking_begin(); /* until the next item, or for ever */
}

static void after_work(uv_work_t *request, int status) {
  struct item *item = request->data;
  require(!status);
  FH_ATTACHED(attached, "uv loop");
  require(attached == FH_OK);
  require(fh_get(item->job, left)->id == item->job->id + 1); /* nobody else has it any more */
  fh_release(item->job);
  free(item);
  finished++;
}

static void queue_work(uv_loop_t *loop, uint64_t id, bool stay) {
  struct item *item = calloc(1, sizeof *item);
  require(item);
  item->request.data = item;
  item->job = node_new(id);
  fh_publish(item->job);
  require(!uv_queue_work(loop, &item->request, stay ? work_as_a_regular : work, after_work));
}

static void run_pool(bool stay) {
  const int items = (int)scaled(4000) + 100;
  uv_loop_t loop;
  finished = 0;
  atomic_store(&worked, 0);
  require(!uv_loop_init(&loop));
  for (int i = 0; i < items; i++) queue_work(&loop, (uint64_t)i, stay);
  fh_collect(2);
  fh_blocking_begin(); /* the loop as a whole: callbacks attach */
  require(!uv_run(&loop, UV_RUN_DEFAULT));
  require(fh_blocking_end() == FH_OK);
  require(!uv_loop_close(&loop));
  assert_int_equal(atomic_load(&worked), items);
  assert_int_equal(finished, items);
  fh_settle();
  assert_int_equal(fh_type_live(node_type()), 0);
}

static void items_attach_around_their_work(void **state) {
  run_pool(false);
  assert_int_equal(stats_now().attached, 1);
}

/* Its threads stay in the pool, and keep the runtime from ending: so this one is a process of its own. The pool's threads end
 * in libuv's own clean-up, and are detached by themselves there. */
static void run_regulars(void) {
  runtime_start(NULL);
  run_pool(true);
  require(stats_now().attached > 1);
  fh_detach();
  require(fh_shutdown(0, NULL) == FH_EBUSY);
  uv_library_shutdown();
  uint64_t leaked = 1;
  require(fh_shutdown(10000, &leaked) == FH_OK && !leaked);
}
static void a_pool_may_stay_attached_until_its_threads_end(void **state) { expect_fine(run_regulars); }

/* ---- a loop of one's own ---- */

enum { EVENTS_MAX = 8 };
struct own_loop {
  int queue, pipe_ends[2];
  int bytes;
  fh_status status;
};

static void run_own_loop(void *argument) {
  struct own_loop *loop = argument;
  struct epoll_event events[EVENTS_MAX];
  FH_ATTACHED(attached, "own loop");
  require(attached == FH_OK);
  for (char byte = 'x'; byte != 'q';) {
    fh_blocking_begin();
    int n = epoll_wait(loop->queue, events, EVENTS_MAX, -1);
    loop->status = fh_blocking_end();
    if (loop->status) return;
    for (int i = 0; i < n; i++) {
      require(read(events[i].data.fd, &byte, 1) == 1);
      fh_release(node_new((uint64_t)byte));
      loop->bytes++;
    }
  }
}

static void own_loop_init(struct own_loop *loop) {
  *loop = (struct own_loop){.queue = epoll_create1(EPOLL_CLOEXEC)};
  require(loop->queue >= 0 && !pipe(loop->pipe_ends));
  struct epoll_event event = {.events = EPOLLIN, .data.fd = loop->pipe_ends[0]};
  require(!epoll_ctl(loop->queue, EPOLL_CTL_ADD, loop->pipe_ends[0], &event));
}
static void own_loop_finish(struct own_loop *loop) {
  close(loop->queue);
  close(loop->pipe_ends[0]);
  close(loop->pipe_ends[1]);
}

static void a_loop_of_ones_own_holds_nobody_up(void **state) {
  struct own_loop loop;
  struct companion companion;
  own_loop_init(&loop);
  companion_start_bare(&companion, run_own_loop, &loop);
  for (int i = 0; i < 100; i++) {
    require(write(loop.pipe_ends[1], i == 99 ? "q" : "x", 1) == 1);
    fh_collect(2);
  }
  companion_join(&companion);
  assert_int_equal(loop.bytes, 100);
  own_loop_finish(&loop);
}

static void shut_down(void *status_out) { *(fh_status *)status_out = fh_shutdown(60000, NULL); }

static void a_loop_of_ones_own_ends_with_the_runtime(void **state) {
  struct own_loop loop;
  struct companion companion, shutter;
  fh_status status = FH_EAGAIN;
  runtime_start(NULL);
  own_loop_init(&loop);
  companion_start_bare(&companion, run_own_loop, &loop);
  while (stats_now().attached < 2) sched_yield();
  fh_detach();
  companion_start_bare(&shutter, shut_down, &status);
  while (!fh_is_stopping()) sched_yield();
  require(write(loop.pipe_ends[1], "x", 1) == 1); /* the runtime interrupts no poll */
  companion_join(&companion);
  companion_join(&shutter);
  assert_int_equal(loop.status, FH_ESHUTDOWN);
  assert_int_equal(status, FH_OK);
  own_loop_finish(&loop);
}

/* ---- a loop whose callbacks are attached ----
 *
 * libuv calls the prepare handles, polls, and calls the check handles. The callback of what the poll finds ready is called inside
 * of the poll, hence inside of the region: it attaches, which leaves the region until it detaches. Timers and closing callbacks
 * are called outside, and find the thread attached. Among handles of one kind libuv calls the youngest first: so the
 * prepare handle is started before all others, to be the last, and the check handle after all others. */

struct region {
  uv_prepare_t prepare;
  uv_check_t check;
  bool inside;
  fh_status status;
  int turns;
};

static void enter_region(uv_prepare_t *prepare) {
  struct region *region = prepare->data;
  fh_blocking_begin();
  region->inside = true;
}
static void leave_region(uv_check_t *check) {
  struct region *region = check->data;
  if (!region->inside) return; /* started inside of the poll */
  region->inside = false;
  region->turns++;
  region->status = fh_blocking_end();
  if (region->status) uv_stop(check->loop); /* the runtime is ending: finish, and detach */
}

static void region_start_prepare(struct region *region, uv_loop_t *loop) {
  *region = (struct region){.status = FH_OK};
  require(!uv_prepare_init(loop, &region->prepare));
  region->prepare.data = region;
  require(!uv_prepare_start(&region->prepare, enter_region));
  uv_unref((uv_handle_t *)&region->prepare); /* it keeps no loop alive */
}
static void region_start_check(struct region *region, uv_loop_t *loop) {
  require(!uv_check_init(loop, &region->check));
  region->check.data = region;
  require(!uv_check_start(&region->check, leave_region));
  uv_unref((uv_handle_t *)&region->check);
}
static void region_close(struct region *region) {
  require(!region->inside); /* each turn of uv_run that polls comes to the check handles */
  uv_close((uv_handle_t *)&region->prepare, NULL);
  uv_close((uv_handle_t *)&region->check, NULL);
}

struct server {
  uv_loop_t loop;
  struct region region;
  uv_prepare_t prepare;
  uv_check_t check;
  uv_poll_t poll;
  uv_timer_t timer;
  uv_async_t wake;
  struct node *kept;
  int pipe_ends[2];
  int ticks, bytes, wakes;
  struct gate polling;
};

static void tick(uv_timer_t *timer) {
  struct server *server = timer->data;
  require(fh_is_attached()); /* called outside of the poll */
  struct node *n = node_new((uint64_t)server->ticks++);
  fh_set(server->kept, left, n);
  fh_release(n);
}

static void read_byte(uv_poll_t *poll, int status, int events) {
  struct server *server = poll->data;
  char byte;
  require(!status && events == UV_READABLE);
  require(!fh_is_attached()); /* called inside of the poll */
  require(read(server->pipe_ends[0], &byte, 1) == 1);
  FH_ATTACHED(attached, "read_byte");
  require(attached == FH_OK);
  struct node *n = node_new((uint64_t)byte);
  fh_set(server->kept, right, n);
  fh_release(n);
  server->bytes++;
}

/* The server's own handles of both kinds are called outside of the region. */
static void prepare_attached(uv_prepare_t *prepare) { require(fh_is_attached()); }
static void check_attached(uv_check_t *check) { require(fh_is_attached()); }

static void close_handle(uv_handle_t *handle, void *unused) {
  if (!uv_is_closing(handle)) uv_close(handle, NULL);
}

static void wake(uv_async_t *async) {
  struct server *server = async->data;
  require(!fh_is_attached()); /* called inside of the poll */
  server->wakes++;
  uv_stop(async->loop);
}

static void serve(void *argument) {
  struct server *server = argument;
  require(fh_attach("server") == FH_OK);
  server->kept = node_new(1);
  require(!uv_run(&server->loop, UV_RUN_DEFAULT) || server->region.status || server->wakes);
  region_close(&server->region);
  require(fh_is_attached());
  uv_walk(&server->loop, close_handle, NULL);
  require(!uv_run(&server->loop, UV_RUN_DEFAULT)); /* the closing callbacks: nothing to wait for */
  fh_drop(&server->kept);
  fh_detach();
}

static void server_init(struct server *server) {
  *server = (struct server){.polling = GATE};
  require(!pipe(server->pipe_ends) && !uv_loop_init(&server->loop));
  region_start_prepare(&server->region, &server->loop);
  require(!uv_prepare_init(&server->loop, &server->prepare) && !uv_check_init(&server->loop, &server->check));
  require(!uv_prepare_start(&server->prepare, prepare_attached) && !uv_check_start(&server->check, check_attached));
  uv_unref((uv_handle_t *)&server->prepare);
  uv_unref((uv_handle_t *)&server->check);
  region_start_check(&server->region, &server->loop);
  require(!uv_poll_init(&server->loop, &server->poll, server->pipe_ends[0]) && !uv_timer_init(&server->loop, &server->timer));
  require(!uv_async_init(&server->loop, &server->wake, wake));
  server->poll.data = server->timer.data = server->wake.data = server;
  require(!uv_poll_start(&server->poll, UV_READABLE, read_byte) && !uv_timer_start(&server->timer, tick, 0, 1));
}
static void server_finish(struct server *server) {
  require(!uv_loop_close(&server->loop));
  close(server->pipe_ends[0]);
  close(server->pipe_ends[1]);
}

static void a_polling_loop_holds_nobody_up(void **state) {
  static struct server server;
  struct companion companion;
  server_init(&server);
  companion_start_bare(&companion, serve, &server);
  for (size_t i = 0; i < scaled(1000) + 20; i++) {
    require(write(server.pipe_ends[1], "x", 1) == 1);
    fh_collect(2); /* stops the loop's thread, wherever it is */
    assert_int_equal(fh_check_heap(), FH_OK);
  }
  require(!uv_async_send(&server.wake));
  companion_join(&companion);
  assert_int_equal(server.wakes, 1);
  assert_true(server.bytes > 0 && server.region.turns > 0);
  server_finish(&server);
  fh_settle();
  assert_int_equal(fh_type_live(node_type()), 0);
}

/* The loop comes back from its poll to a status, and ends by itself. */
static void a_loop_ends_when_the_runtime_does(void **state) {
  static struct server server;
  struct companion companion, shutter;
  fh_status status = FH_EAGAIN;
  runtime_start(NULL);
  server_init(&server);
  companion_start_bare(&companion, serve, &server);
  while (stats_now().attached < 2) sched_yield();
  fh_detach();
  companion_start_bare(&shutter, shut_down, &status);
  companion_join(&companion); /* nobody calls uv_async_send */
  companion_join(&shutter);
  assert_int_equal(server.region.status, FH_ESHUTDOWN);
  assert_int_equal(status, FH_OK);
  server_finish(&server);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      with_runtime(items_attach_around_their_work),
      cmocka_unit_test(a_pool_may_stay_attached_until_its_threads_end),
      with_runtime(a_loop_of_ones_own_holds_nobody_up),
      cmocka_unit_test(a_loop_of_ones_own_ends_with_the_runtime),
      with_runtime(a_polling_loop_holds_nobody_up),
      cmocka_unit_test(a_loop_ends_when_the_runtime_does),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
