/* SPDX-License-Identifier: MIT */
/* What the system says about memory.
 *
 * Claims: of all cgroups from the process's own up to the mount, in both versions, the smallest limit counts; "max" and the huge
 * numbers of version 1 are none; what is missing or not understood is none. Real: the parser. Faked: the files, in a folder of
 * the test's. */
#include "support/support.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory/system.h"

static char folder[64];

static void path_of(char *path, const char *name) { snprintf(path, 4096, "%s/%s", folder, name); }

/* Writes a file, and makes the folders on its way. */
static void put(const char *name, const char *text) {
  char path[4096];
  path_of(path, name);
  for (char *slash = path + strlen(folder) + 1; (slash = strchr(slash, '/')); slash++) {
    *slash = 0;
    mkdir(path, 0700);
    *slash = '/';
  }
  FILE *file = fopen(path, "w");
  require(file && fputs(text, file) >= 0 && !fclose(file));
}

static int make_folder(void **state) {
  strcpy(folder, "/tmp/freehold-test-XXXXXX");
  return mkdtemp(folder) ? 0 : -1;
}
static int remove_folder(void **state) {
  char command[128];
  snprintf(command, sizeof command, "rm -r %s", folder);
  return system(command);
}

static size_t limit(const char *membership) {
  char file[4096], mount[4096];
  put("membership", membership);
  path_of(file, "membership");
  path_of(mount, "mount");
  return fh__system_cgroup_limit(file, mount);
}

static void version_2_is_read(void **state) {
  put("mount/a/b/memory.max", "1000\n");
  assert_int_equal(limit("0::/a/b\n"), 1000);
  assert_int_equal(limit("0::/a/b"), 1000); /* without a last newline */
  assert_int_equal(limit("0::/a/other\n"), 0);
}

static void the_smallest_on_the_way_up_counts(void **state) {
  put("mount/a/b/c/memory.max", "3000\n");
  put("mount/a/b/memory.max", "2000\n");
  put("mount/a/memory.max", "max\n");
  assert_int_equal(limit("0::/a/b/c\n"), 2000);
  put("mount/a/memory.max", "500\n");
  assert_int_equal(limit("0::/a/b/c\n"), 500);
  assert_int_equal(limit("0::/a/b/c/d/e\n"), 500); /* deeper than the files go */
  put("mount/memory.max", "400\n");
  assert_int_equal(limit("0::/a/b/c\n"), 400);
  put("mount/a/b/c/memory.max", "100\n");
  assert_int_equal(limit("0::/a/b/c\n"), 100);
}

/* In a container the group of the host's name is not there: the mount itself is the group. */
static void the_mount_is_looked_at(void **state) {
  put("mount/memory.max", "700\n");
  assert_int_equal(limit("0::/\n"), 700);
  assert_int_equal(limit("0::/not/mounted/here\n"), 700);
  assert_int_equal(limit("0::\n"), 700);
}

static void no_limit_is_none(void **state) {
  put("mount/a/memory.max", "max\n");
  put("mount/memory/a/memory.limit_in_bytes", "9223372036854771712\n");
  assert_int_equal(limit("0::/a\n"), 0);
  assert_int_equal(limit("4:memory:/a\n"), 0);
  put("mount/memory/a/memory.limit_in_bytes", "-1\n");
  assert_int_equal(limit("4:memory:/a\n"), 0);
  put("mount/memory/a/memory.limit_in_bytes", "99999999999999999999999\n");
  assert_int_equal(limit("4:memory:/a\n"), 0);
}

static void version_1_is_read(void **state) {
  put("mount/memory/docker/x/memory.limit_in_bytes", "8000\n");
  put("mount/memory/memory.limit_in_bytes", "9223372036854771712\n");
  put("mount/docker/x/memory.limit_in_bytes", "1\n"); /* not where version 1 has it */
  assert_int_equal(limit("9:name=systemd:/\n8:pids:/docker/x\n4:memory:/docker/x\n0::/docker/x\n"), 8000);
  assert_int_equal(limit("4:hugetlb,memory:/docker/x\n"), 8000);
  assert_int_equal(limit("4:memory,hugetlb:/docker/x\n"), 8000);
  assert_int_equal(limit("4:memoryless,mem:/docker/x\n"), 0);
  put("mount/memory/docker/memory.limit_in_bytes", "6000\n");
  assert_int_equal(limit("4:memory:/docker/x\n"), 6000);
}

static void both_versions_at_once(void **state) {
  put("mount/memory/a/memory.limit_in_bytes", "8000\n");
  put("mount/b/memory.max", "9000\n");
  assert_int_equal(limit("4:memory:/a\n0::/b\n"), 8000);
  put("mount/b/memory.max", "7000\n");
  assert_int_equal(limit("4:memory:/a\n0::/b\n"), 7000);
}

static void what_is_not_understood_is_none(void **state) {
  put("mount/memory.max", "many\n");
  put("mount/a/memory.max", "");
  assert_int_equal(limit("0::/a\n"), 0);
  assert_int_equal(limit(""), 0);
  assert_int_equal(limit("\n:\n::\nmemory\n4:memory\n"), 0);
  char path[4096];
  path_of(path, "nothing");
  assert_int_equal(fh__system_cgroup_limit(path, path), 0);
  assert_int_equal(fh__system_cgroup_limit(folder, folder), 0); /* a folder is no file */
}

static void a_group_with_colons_and_a_long_name(void **state) {
  put("mount/a:b/memory.max", "1000\n");
  assert_int_equal(limit("0::/a:b\n"), 1000);
  char line[12000] = "0::";
  while (strlen(line) < sizeof line - 10) strcat(line, "/long");
  assert_int_equal(limit(line), 0);
}

static void the_process_has_a_size(void **state) {
  size_t before = fh__system_resident();
  assert_true(before > 100000);
  enum { MUCH = 64 << 20 };
  volatile char *block = malloc(MUCH);
  require(block);
  for (size_t at = 0; at < MUCH; at += 512) block[at] = 1;
  assert_true(fh__system_resident() > before + MUCH / 2);
  free((void *)(uintptr_t)block);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(version_2_is_read, make_folder, remove_folder),
      cmocka_unit_test_setup_teardown(the_smallest_on_the_way_up_counts, make_folder, remove_folder),
      cmocka_unit_test_setup_teardown(the_mount_is_looked_at, make_folder, remove_folder),
      cmocka_unit_test_setup_teardown(no_limit_is_none, make_folder, remove_folder),
      cmocka_unit_test_setup_teardown(version_1_is_read, make_folder, remove_folder),
      cmocka_unit_test_setup_teardown(both_versions_at_once, make_folder, remove_folder),
      cmocka_unit_test_setup_teardown(what_is_not_understood_is_none, make_folder, remove_folder),
      cmocka_unit_test_setup_teardown(a_group_with_colons_and_a_long_name, make_folder, remove_folder),
      cmocka_unit_test(the_process_has_a_size),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
