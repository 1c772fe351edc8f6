// team.cpp: see team.h.
#include "team.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <utility>

#include "worker.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace linops {
namespace {

constexpr int64_t kChunks = 4;  // parts per thread, for even load

// The caller works as well and waits for nobody who has not started: with all threads of the pool waiting like that, no
// one would be left to work.
class Team {
 public:
  Team(const Execution& execution, int64_t threads)
      : execution_(&execution),
        total_(execution.loop.evaluations),
        chunk_(std::max<int64_t>(1, total_ / (kChunks * threads))) {}

  int64_t chunks() const { return (total_ + chunk_ - 1) / chunk_; }

  void help() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (closed_) return;  // the execution is over
      ++helping_;
    }
    work();
    std::lock_guard<std::mutex> lock(mutex_);
    if (--helping_ == 0) idle_.notify_all();
  }

  Failure finish() {
    work();
    std::unique_lock<std::mutex> lock(mutex_);
    closed_ = true;
    idle_.wait(lock, [this] { return helping_ == 0; });
    return failure_;
  }

 private:
  void work() {
    while (!failed_) {
      const int64_t first = next_.fetch_add(chunk_);
      if (first >= total_) return;
      Failure failure = run_on_this_thread(*execution_, first, std::min(first + chunk_, total_));
      if (!failure) continue;
      failed_ = true;
      std::lock_guard<std::mutex> lock(mutex_);
      if (!failure_) failure_ = std::move(failure);
    }
  }

  const Execution* execution_;
  int64_t total_;
  int64_t chunk_;
  std::atomic<int64_t> next_{0};
  std::atomic<bool> failed_{false};
  std::mutex mutex_;
  std::condition_variable idle_;
  int helping_ = 0;
  bool closed_ = false;
  Failure failure_;
};

}  // namespace

Failure run_in_parallel(const Execution& execution) {
  ffi::DiagnosticEngine diagnostic;
  auto pool = *ffi::CtxDecoding<ffi::ThreadPool>::Decode(execution.frame.api, execution.frame.ctx, diagnostic);
  const int64_t threads = pool.num_threads();
  if (threads < 2) return run_on_this_thread(execution, 0, execution.loop.evaluations);
  auto team = std::make_shared<Team>(execution, threads);
  const int64_t helpers = std::min(threads, team->chunks()) - 1;
  for (int64_t i = 0; i < helpers; ++i) pool.Schedule([team] { team->help(); });
  return team->finish();
}

}  // namespace linops
