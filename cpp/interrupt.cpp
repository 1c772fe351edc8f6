// interrupt.cpp: a counter in front of whatever SIGINT handler is installed.
#include "interrupt.h"

#include <signal.h>

#include <atomic>

namespace linops {
namespace {

std::atomic<int64_t> interrupts{0};
struct sigaction previous;
volatile sig_atomic_t running = 0;  // a handler that chains back to us must not loop

void count_and_forward(int number, siginfo_t* info, void* context) {
  if (running) return;
  running = 1;
  interrupts.fetch_add(1, std::memory_order_relaxed);
  if (previous.sa_flags & SA_SIGINFO) {
    previous.sa_sigaction(number, info, context);
  } else {
    previous.sa_handler(number);
  }
  running = 0;
}

}  // namespace

void watch_interrupts() {
  struct sigaction current;
  if (sigaction(SIGINT, nullptr, &current) != 0) return;
  if (current.sa_flags & SA_SIGINFO) {
    if (current.sa_sigaction == count_and_forward) return;
  } else if (current.sa_handler == SIG_DFL || current.sa_handler == SIG_IGN) {
    return;
  }
  previous = current;
  struct sigaction ours = current;
  ours.sa_sigaction = count_and_forward;
  ours.sa_flags |= SA_SIGINFO;
  sigaction(SIGINT, &ours, nullptr);
}

int64_t count_interrupts() { return interrupts.load(std::memory_order_relaxed); }

}  // namespace linops
