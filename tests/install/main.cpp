/* SPDX-License-Identifier: MIT */
/* A C++ user's program in small: references are values of a class, objects have a destructor, and threads share a list. */
#include <freehold/freehold.h>

#include <atomic>
#include <cstdio>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

struct node {
  fh_object fh;
  node *next;
  std::string *text; /* made and destroyed by C++, owned by the node */
};

std::atomic<int> texts{0};

void node_dealloc(void *object) {
  delete static_cast<node *>(object)->text;
  texts--;
}

const fh_ref node_refs[] = {FH_FIELD(node, next), FH_END};

fh_type *node_type() {
  static const fh_type_spec spec = [] {
    fh_type_spec made{};
    made.name = "node";
    made.size = sizeof(node);
    made.refs = node_refs;
    made.dealloc = node_dealloc;
    return made;
  }();
  fh_type *type = nullptr;
  return fh_type_register(&spec, &type) == FH_OK ? type : nullptr;
}

/* One reference, owned: copies retain, the end releases. */
template <typename T>
class ref {
 public:
  explicit ref(T *owned) : object(owned) {}
  ref(const ref &other) : object(other.object ? fh_retain(other.object) : nullptr) {}
  ref(ref &&other) noexcept : object(std::exchange(other.object, nullptr)) {}
  ref &operator=(ref other) noexcept {
    std::swap(object, other.object);
    return *this;
  }
  ~ref() {
    if (object) fh_release(object);
  }
  T *get() const { return object; }
  T *operator->() const { return object; }

 private:
  T *object;
};

ref<node> make(fh_type *type, std::string text, const ref<node> &next) {
  ref<node> made(static_cast<node *>(fh_new(type)));
  made->text = new std::string(std::move(text));
  texts++;
  fh_set(made.get(), next, next.get());
  return made;
}

bool work() {
  FH_ATTACHED(status, "main");
  fh_type *type = status ? nullptr : node_type();
  if (!type) return false;

  ref<node> list(nullptr);
  for (int i = 0; i < 100; i++) list = make(type, "node " + std::to_string(i), list);
  fh_publish(list.get());

  std::atomic<int> seen{0};
  std::vector<std::thread> readers;
  for (int i = 0; i < 2; i++)
    readers.emplace_back([&] {
      FH_ATTACHED(attached, "reader");
      if (attached) return;
      for (node *at = list.get(); at; at = fh_get(at, next))
        if (at->text->compare(0, 5, "node ") == 0) seen++;
    });
  {
    FH_BLOCKING();
    for (auto &reader : readers) reader.join();
  }

  /* A ring that nobody refers to any more is what the collector is for. */
  ref<node> first = make(type, "ring", ref<node>(nullptr));
  fh_set(first.get(), next, first.get());
  return seen == 200;
}

} /* namespace */

int main() {
  if (fh_init(nullptr) != FH_OK) return 1;
  bool worked = work();
  uint64_t leaked = 0;
  if (fh_shutdown(1000, &leaked) != FH_OK || leaked != 0 || texts != 0) worked = false;
  std::printf("Freehold %s: %s\n", fh_version(), worked ? "works" : "failed");
  return worked ? 0 : 1;
}
