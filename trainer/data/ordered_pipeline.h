#pragma once

// Work on a stream of inputs with several threads, results taken in the order of the inputs, with a
// bounded number of inputs in flight. produce() and merge() run on the calling thread, work() on
// the workers; what merge() sees therefore does not depend on the number of threads.

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "proto/result.h"

namespace ratchet::trainer {

template <class In, class Out>
class OrderedPipeline {
 public:
  // produce(In&) -> Result<bool>: fills an input (which may hold an older one's memory); false at
  //   the end of the stream.
  // work(const In&) -> Out: thread-safe.
  // merge(const In&, Out&&) -> bool: false stops early.
  // With 0 threads all of it runs on the calling thread.
  // An exception thrown by work() is thrown again here after the workers have stopped.
  template <class Produce, class Work, class Merge>
  static Status run(unsigned threads, const Produce& produce, const Work& work,
                    const Merge& merge) {
    if (threads == 0) return run_here(produce, work, merge);
    OrderedPipeline pipeline(2 * static_cast<std::size_t>(threads));
    std::vector<std::jthread> pool;
    pool.reserve(threads);
    for (unsigned i = 0; i < threads; ++i) {
      pool.emplace_back([&] { pipeline.work_until_closed(work); });
    }
    const Status status = pipeline.feed(produce, merge);
    pipeline.close();
    pool.clear();
    return status;
  }

 private:
  struct Slot {
    In input;
    Out output;
    std::exception_ptr failure;
    bool done = false;
  };

  template <class Produce, class Work, class Merge>
  static Status run_here(const Produce& produce, const Work& work, const Merge& merge) {
    In input;
    for (;;) {
      const Result<bool> produced = produce(input);
      if (!produced) return produced.error();
      if (!*produced || !merge(input, work(std::as_const(input)))) return ok();
    }
  }

  explicit OrderedPipeline(std::size_t slots) : slots_(slots) {}

  template <class Produce, class Merge>
  Status feed(const Produce& produce, const Merge& merge) {
    std::size_t made = 0;
    std::size_t merged = 0;
    bool more = true;
    while (more || merged < made) {
      while (more && made - merged < slots_.size()) {
        Slot& slot = slots_[made % slots_.size()];
        const Result<bool> produced = produce(slot.input);
        if (!produced) return produced.error();
        more = *produced;
        if (more) submit(made++ % slots_.size());
      }
      if (merged == made) break;
      Slot& slot = slots_[merged++ % slots_.size()];
      wait_for(slot);
      if (slot.failure) {
        close();
        std::rethrow_exception(slot.failure);
      }
      if (!merge(slot.input, std::move(slot.output))) return ok();
    }
    return ok();
  }

  void submit(std::size_t index) {
    {
      const std::lock_guard lock(mutex_);
      slots_[index].done = false;
      queue_.push_back(index);
    }
    work_ready_.notify_one();
  }

  void wait_for(const Slot& slot) {
    std::unique_lock lock(mutex_);
    work_done_.wait(lock, [&] { return slot.done; });
  }

  template <class Work>
  void work_until_closed(const Work& work) {
    for (;;) {
      std::unique_lock lock(mutex_);
      work_ready_.wait(lock, [&] { return closed_ || !queue_.empty(); });
      if (closed_) return;
      Slot& slot = slots_[queue_.front()];
      queue_.pop_front();
      lock.unlock();
      try {
        slot.output = work(std::as_const(slot.input));
      } catch (...) {
        slot.failure = std::current_exception();
      }
      lock.lock();
      slot.done = true;
      lock.unlock();
      work_done_.notify_one();
    }
  }

  void close() {
    {
      const std::lock_guard lock(mutex_);
      closed_ = true;
    }
    work_ready_.notify_all();
  }

  std::vector<Slot> slots_;
  std::mutex mutex_;
  std::condition_variable work_ready_;
  std::condition_variable work_done_;
  std::deque<std::size_t> queue_;  // slots to work on; guarded by mutex_
  bool closed_ = false;            // guarded by mutex_
};

}  // namespace ratchet::trainer
